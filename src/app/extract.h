/* SPDX-License-Identifier: MIT */
/*
 * extract: a summary made of the sentences that say most, by a fixed rule without any model. Pure and deterministic, for any script.
 *
 * Texts are cut into sentences (at the ends that ., !, ? and their like of other scripts mark, at line ends, at the latest after 320 bytes). Terms are words,
 * or pairs of characters in scripts without blanks; a term counts most when several sentences have it and most do not. A sentence is worth the mean of
 * its terms, more when the user said it, when it begins or ends the conversation, opens its message or holds a figure, and less in a
 * tool's result. The best are taken until the budget is full, but for those that say again what others have said, and given in their own order.
 */
#ifndef PARLEY_APP_EXTRACT_H
#define PARLEY_APP_EXTRACT_H

#include <stdint.h>

#include "base/arena.h"

/* One text of the conversation, in order. */
struct extract_text {
	int role; /* enum role; 0: an earlier summary, whose lines name their speakers themselves */
	struct bytes text;
};

/* The summary of n texts in at most `tokens` estimated tokens (tokens.h): a line for each speaker's part. Empty when they hold no term. */
struct bytes extract_summary(struct arena *a, const struct extract_text *texts, size_t n, int64_t tokens);

#endif
