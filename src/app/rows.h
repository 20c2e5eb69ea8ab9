/* SPDX-License-Identifier: MIT */
/* rows: reads the messages that a conversation sees, its own and its ancestors', less what its session masks. */
#ifndef PARLEY_APP_ROWS_H
#define PARLEY_APP_ROWS_H

#include "app/call.h"
#include "app/render.h"

/* Whose messages: a conversation as some session sees it. */
struct rows_line {
	struct ident site, session, conversation;
	struct bytes lineage; /* lineage.h */
	bool has_masks;       /* the session has rows in message_masks */
};

/*
 * The messages lo..hi (seqs, inclusive, 1..INT64_MAX), at most `limit`, newest first when is_descending; on the caller's connection or, with c NULL, on
 * one of its own. One query for each stretch of the lineage that is touched. Rows are in the task's arena; their `conversation` is the line's.
 */
enum err rows_read(struct task *t, struct app *app, struct db_conn *c, const struct rows_line *line, int64_t lo, int64_t hi, int64_t limit,
		   bool is_descending, struct message_row **rows_r, size_t *n_r) MUST_CHECK;

/* Puts the masks of the line's session over rows of messages, which may be of several of its conversations. */
enum err rows_mask(struct task *t, struct app *app, struct db_conn *c, const struct rows_line *line, struct message_row *rows, size_t n) MUST_CHECK;

extern const struct feature rows_feature;

#endif
