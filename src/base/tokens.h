/* SPDX-License-Identifier: MIT */
/*
 * tokens: how many tokens a text is, estimated without any provider's tokenizer: cheap, linear, and rather too high than too low. The rule, in twelfths of
 * a token, each run rounded up to whole tokens:
 *
 *   letters     3 each, 6 for an ASCII capital within a word, 6 for a two-byte letter of Latin or Cyrillic, 9 for one of another script;
 *               a capital behind a small letter begins a new run
 *   digits      4 each
 *   marks       6 each (ASCII punctuation)
 *   blanks      a single space is free; else 1 for each space and 2 for each tab or line end
 *   the rest    15 for a three-byte character (Chinese, Japanese, Korean, Thai, Indic scripts), 36 for a four-byte one (emoji)
 */
#ifndef PARLEY_BASE_TOKENS_H
#define PARLEY_BASE_TOKENS_H

#include <stdint.h>

#include "base/jsonx.h"

#define TOKENS_MESSAGE 4  /* what surrounds a message in any provider's form */
#define TOKENS_MEDIA 1000 /* a part that is an image, sound or video, however large its data */

/* Of plain text; any bytes are taken. */
int64_t tokens_of_text(struct bytes text);

/*
 * Of a message's content as stored (validated JSON): a string by its text, an array by its parts: a text part by its text, media by a flat number, any
 * other by its JSON. Null and absent content: 0.
 */
int64_t tokens_of_content(struct arena *a, struct bytes content);

#endif
