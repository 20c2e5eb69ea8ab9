/* SPDX-License-Identifier: MIT */
/*
 * compress: shortens what the model sees of a long conversation: a summary takes the place of the older messages, which stay stored as they are.
 * Made by the agent's provider, or by a fixed rule that picks the sentences which say most (extract.h).
 */
#ifndef PARLEY_APP_COMPRESS_H
#define PARLEY_APP_COMPRESS_H

#include "app/context.h"
#include "app/extract.h"
#include "app/idem.h"

/* How much stays as it is; the newest turn always does. */
struct compress_keep {
	int64_t messages; /* at least so many of the newest; -1: as `ms` says */
	int64_t ms;       /* what is younger */
};

/* A compression under way. */
struct compress {
	struct summary earlier;            /* what stood for the older messages so far; upto_seq 0: nothing */
	int64_t upto_seq;                  /* the new summary stands for 1..upto_seq; 0: there is nothing to compress */
	int64_t messages;                  /* how many that adds to the earlier one */
	int64_t tokens_before;             /* of earlier summary and messages; of more than is read, an estimate from what is */
	int64_t budget;                    /* tokens the new summary may have */
	const struct extract_text *texts;  /* earlier summary and messages, in order: all of them, or a bounded number, the opening and the newest */
	size_t n_texts;
	struct summary made;               /* set by the caller: text and method */
	unsigned char digest[SECRET_HASH_SIZE]; /* of the messages that were read */
};

/* Finds what to compress and reads it; changes nothing. `made` is empty. */
enum err compress_prepare(struct task *t, struct app *app, const struct head *h, const struct compress_keep *keep, struct compress *x_r) MUST_CHECK;

/* Makes the summary by the fixed rule. What cannot be said in words at all makes none, and then there is nothing to compress. */
void compress_by_rule(struct task *t, struct compress *x);

/*
 * Stores the summary in one transaction, with the answer for the key, and tells the cache. answer_r is the JSON that clients get. ERR_CONFLICT when a
 * message was changed since it was read: nothing was stored then. Without anything to compress only the answer is made.
 */
enum err compress_store(struct task *t, struct app *app, const struct head *h, struct compress *x, const struct idem *idem, struct bytes *answer_r) MUST_CHECK;

/*
 * The extractive summary of h's whole conversation as plain text, at most `tokens` long (0: 1024); empty when there is nothing to say. Reads a
 * bounded number of messages, however long the conversation is; stores nothing. On the caller's connection or, with c NULL, on its own.
 */
enum err compress_extract(struct task *t, struct app *app, struct db_conn *c, const struct head *h, int64_t tokens, struct bytes *text_r) MUST_CHECK;

extern const struct feature compress_feature;

#endif
