/* SPDX-License-Identifier: MIT */
/* message: the lines of a conversation. A sequence number given by the server, without gaps, is the only order. */
#ifndef PARLEY_APP_MESSAGE_H
#define PARLEY_APP_MESSAGE_H

#include "app/head.h"
#include "app/idem.h"

/* A message to store. Raw members are validated JSON; empty ones are absent. */
struct message_new {
	int role;
	struct bytes content;
	struct bytes metadata;
	struct bytes extra; /* object of further members (tool_calls, name, ...) */
	struct ident turn;  /* zero: none */
	int64_t tokens;     /* what it cost; also in extra when the client is to see it */
};

/* Which messages to list. */
struct message_page {
	int64_t after, before; /* exclusive; 0: no bound */
	int64_t limit;
	bool is_descending;
};

/* One page. */
struct message_list {
	struct bytes json; /* message objects joined by commas, in the order asked for */
	bool has_more;
	int64_t next; /* seq to go on from; meaningful when has_more */
};

/*
 * Appends n messages as one atomic batch behind the newest of h's conversation, whatever others append meanwhile, tells the cache and
 * brings h up to date. json_r gets n message objects. With an active idem the answer (rendered by message_format_answer) is stored in the same
 * transaction. Errors: ERR_SESSION_ENDED, ERR_NOT_FOUND (deleted meanwhile), ERR_REQUEST_RUNNING, or the database's.
 */
enum err message_append(struct task *t, struct app *app, struct head *h, const struct message_new *items, size_t n, bool is_batch,
			const struct idem *idem, struct bytes *json_r) MUST_CHECK;

/* The answer to an append: the message itself, or {"data":[...]} of a batch. */
void message_format_answer(struct buf *out, const struct bytes *json, size_t n, bool is_batch);

/*
 * Within a transaction: locks the conversation, checks that its session is active, inserts behind its newest message. first_seq_r and rows_r
 * (n rows) say what was stored. ERR_SESSION_ENDED, ERR_NOT_FOUND, or the database's.
 */
enum err message_insert(struct task *t, struct db_conn *c, const struct ident *site, const struct ident *conversation,
			const struct message_new *items, size_t n, bool must_be_active, struct message_row *rows_r) MUST_CHECK;

/* One page of h's conversation, from the cached tail when it holds it. ERR_NOT_FOUND when it was removed since h was read (head_follow). */
enum err message_list(struct task *t, struct app *app, const struct head *h, const struct message_page *page, struct message_list *list_r) MUST_CHECK;

/* The same for a reader of the active conversation: when the history was cleared meanwhile, h is read anew and the page is of what there is now. */
enum err message_list_active(struct task *t, struct app *app, struct head *h, const struct message_page *page, struct message_list *list_r) MUST_CHECK;

/*
 * The message of h's conversation that an id names. A caller with a session token must still ask what it may do with it. ERR_NOT_FOUND, also for
 * one that the conversation does not see.
 */
enum err message_find(struct task *t, struct app *app, const struct head *h, struct bytes ref, struct message_row *row_r) MUST_CHECK;

/* The newest `limit` messages, oldest first, unpacked: what a prompt is made of. */
enum err message_newest_rows(struct task *t, struct app *app, const struct head *h, int64_t limit, struct message_row **rows_r, size_t *n_r) MUST_CHECK;

/* Removes up to `batch` messages behind `keep` of a conversation that was detached; *n_r is 0 when none is left. */
enum err message_purge(struct task *t, struct app *app, const struct ident *site, const struct ident *conversation, int64_t keep, int64_t batch,
		       int64_t *n_r) MUST_CHECK;

/* Renders rows one by one. */
struct bytes *message_render_all(struct arena *a, const struct message_row *rows, size_t n);

extern const struct feature message_feature;

#endif
