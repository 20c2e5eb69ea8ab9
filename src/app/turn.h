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
#include "app/session.h"
#include "llm/llm.h"

enum turn_status { TURN_RUNNING = 1, TURN_DONE = 2, TURN_FAILED = 3 };

struct turn {
	struct ident id, site, session, conversation;
	int status; /* enum turn_status */
	int64_t user_seq, answer_seq; /* 0: none (yet) */
	struct bytes model, finish, error_code, error_detail;
	int64_t input_tokens, output_tokens;
	struct bytes text; /* as far as it came */
	bool has_key;
	unsigned char key_hash[SECRET_HASH_SIZE]; /* of its Idempotency-Key */
	int64_t created_at, ended_at;
};

/* What a turn begins with. */
struct turn_start {
	struct head *head; /* the session; when new_session is given, filled with the one that is made */
	const struct session_new *new_session; /* NULL: the session exists */
	const struct agent *agent;
	struct message_new message;
	const struct idem *idem;
	const struct conversation *from; /* answer anew: on a branch of this conversation that leaves it after `at`, a message that is there; NULL: `message` is new */
	int64_t at;
	bool must_keep;       /* a retried one that must go on with its own message: there is no other */
	struct ident retried; /* the failed turn that held this key; zero: none */
	struct bytes user_json; /* out: the user's message as clients see it */
};

/*
 * Takes the lease, makes the session if asked to, stores the user's message (a retried turn's message is kept, not stored twice), the turn, and the
 * key, in one transaction; tells the cache. Errors: ERR_TURN_RUNNING, ERR_SESSION_ENDED, ERR_NOT_FOUND, ERR_REQUEST_RUNNING, ERR_DUPLICATE (own id
 * taken), or the database's.
 */
enum err turn_begin(struct task *t, struct app *app, struct turn_start *in, struct turn *turn_r) MUST_CHECK;

/* Renews the lease. *is_held_r is false when the turn was ended by somebody else. */
enum err turn_renew(struct task *t, struct app *app, const struct turn *turn, bool *is_held_r) MUST_CHECK;
/* Keeps the text so far, for readers that come back. */
enum err turn_save(struct task *t, struct app *app, const struct turn *turn, struct bytes text) MUST_CHECK;

/*
 * Ends a turn with its answer: message, turn, lease and key's answer in one transaction; tells the cache. answer_r is the JSON that clients get.
 * ERR_CONFLICT when the turn was ended by somebody else meanwhile.
 */
enum err turn_finish(struct task *t, struct app *app, struct head *h, struct turn *turn, struct bytes user_json, const struct llm_result *result,
		     struct bytes *answer_r) MUST_CHECK;

/* Ends a turn as failed with the task's fault; its key is free to try again. The task keeps the fault. */
void turn_fail(struct task *t, struct app *app, struct turn *turn, struct bytes text);

/* A turn of a session; one whose lease has run out is ended first. ERR_NOT_FOUND. */
enum err turn_get(struct task *t, struct app *app, const struct head *h, const struct ident *id, struct turn *turn_r) MUST_CHECK;

/* Ends a turn if its lease has run out; nothing otherwise. */
enum err turn_expire(struct task *t, struct app *app, const struct ident *site, const struct ident *conversation, const struct ident *id) MUST_CHECK;

/* Adds the turn as clients see it. */
void turn_render(struct buf *b, const struct head *h, const struct turn *turn);

/* Removes up to `batch` turns of a conversation whose session is gone, and its lease. */
enum err turn_purge(struct task *t, struct app *app, const struct ident *site, const struct ident *conversation, int64_t batch, int64_t *n_r) MUST_CHECK;

extern const struct feature turn_feature;

#endif
