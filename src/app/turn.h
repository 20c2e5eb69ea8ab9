/* SPDX-License-Identifier: MIT */
/*
 * turn: one user message and all it takes to answer it. A lease on the conversation keeps turns apart; a lease that runs out ends its turn as
 * failed, with the user's message kept (TRN-8).
 */
#ifndef PARLEY_APP_TURN_H
#define PARLEY_APP_TURN_H

#include "app/agent.h"
#include "app/idem.h"
#include "app/message.h"
#include "app/price.h"
#include "app/session.h"

enum turn_status { TURN_RUNNING = 1, TURN_DONE = 2, TURN_FAILED = 3, TURN_CANCELLED = 4 };
#define TURN_STATUSES "running|done|failed|cancelled" /* for field tables */

/* The status of this name; 0 for another word. */
int turn_status_find(struct bytes name);

#define TURN_LOST_CODE "worker_lost" /* error_code of a turn whose lease ran out */

struct turn {
	struct ident id, site, session, conversation;
	int status; /* enum turn_status */
	int64_t user_seq, answer_seq; /* 0: none (yet) */
	struct bytes provider, model, finish, error_code, error_detail;
	int64_t input_tokens, output_tokens;
	int64_t cost;       /* in 1e-9 of the currency, or PRICE_UNKNOWN */
	struct bytes log;   /* turn_log.h, as far as it came; kept when it tells more than the answer */
	struct bytes steps; /* JSON array; empty: none */
	bool has_key;
	unsigned char key_hash[SECRET_HASH_SIZE]; /* of its Idempotency-Key */
	int64_t created_at, ended_at;
};

/* A turn of a session; one whose lease has run out is ended first. ERR_NOT_FOUND. */
enum err turn_get(struct task *t, struct app *app, const struct head *h, const struct ident *id, struct turn *turn_r) MUST_CHECK;
/* Reads it as it is, on the caller's connection when it has one, else by itself; *lease_until_r is 0 when it holds no lease. ERR_NOT_FOUND. */
enum err turn_read(struct task *t, struct app *app, struct db_conn *c, const struct ident *site, const struct ident *id, struct turn *turn_r,
		   int64_t *lease_until_r) MUST_CHECK;
/* What a follower needs of a turn of whose log it knows known_n bytes: its status, whether its lease has run out, and the log where it is longer. */
enum err turn_peek(struct task *t, struct app *app, const struct ident *site, const struct ident *id, size_t known_n, int *status_r, bool *is_lost_r,
		   struct bytes *log_r) MUST_CHECK;

/* Which turns of a session to list, newest first. */
struct turn_page {
	struct ident before; /* zero: from the newest */
	int64_t limit;
	int status;          /* 0: any */
};
enum err turn_list(struct task *t, struct app *app, const struct head *h, const struct turn_page *page, struct turn **list_r, size_t *n_r) MUST_CHECK;

/*
 * The conversation's lease, locked within the caller's transaction. *is_free_r: nobody holds it, or not any more; *has_row_r: a row of it is there.
 * The turn of one that has run out is ended.
 */
enum err turn_lock_lease(struct task *t, struct db_conn *c, const struct turn *u, bool *is_free_r, bool *has_row_r) MUST_CHECK;
/* Gives the lease back within the transaction that ends the turn. */
enum err turn_drop_lease(struct task *t, struct db_conn *c, const struct turn *u) MUST_CHECK;

/* Ends a running turn as failed and releases its key; no harm when it has ended already. log: what it had said, or none to keep what is saved. */
enum err turn_fail_in(struct task *t, struct db_conn *c, const struct turn *u, struct bytes code, struct bytes detail, struct bytes log) MUST_CHECK;

/* Ends a turn if its lease has run out; nothing otherwise. */
enum err turn_expire(struct task *t, struct app *app, const struct ident *site, const struct ident *conversation, const struct ident *id) MUST_CHECK;

/* Adds the turn as clients see it; text is what it has said, NULL: that is not told here. */
void turn_render(struct buf *b, const struct head *h, const struct turn *turn, struct bytes text);

/* The answer of a turn that is done or was cancelled, as clients get it and keys replay it. */
struct turn_answer {
	const struct head *head;
	const struct turn *turn;
	struct bytes text;         /* of its message */
	struct bytes message_json; /* empty: there is none */
	struct bytes user_json;
};
struct bytes turn_render_answer(struct arena *a, const struct turn_answer *an);

/* Removes up to `batch` turns of a conversation whose session is gone, and its lease; places in its queue run out. */
enum err turn_purge(struct task *t, struct app *app, const struct ident *site, const struct ident *conversation, int64_t batch, int64_t *n_r) MUST_CHECK;

extern const struct feature turn_feature;

#endif
