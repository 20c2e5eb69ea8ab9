/* SPDX-License-Identifier: MIT */
/*
 * idem: the Idempotency-Key of POST requests. The answer is stored in the very transaction that makes the change, so a key
 * that was answered once is answered the same on any worker, and a change without its answer does not exist.
 */
#ifndef PARLEY_APP_IDEM_H
#define PARLEY_APP_IDEM_H

#include "app/call.h"

#define IDEM_RUNNING 0   /* status of a turn that runs */
#define IDEM_RELEASED 1  /* status of a turn that failed: the key is free to try again */
#define IDEM_ERASED 2    /* it was answered, and the answer was erased with messages it may hold: the key stays used */

/* What is stored under a key. */
struct idem_record {
	bool is_found;
	int status;          /* HTTP status of a finished answer, or one of the above */
	struct bytes body;
	struct ident session, turn; /* zero when none */
};

/*
 * Reads the header into c->idem, and what is stored under it. ERR_INVALID for a malformed key, ERR_KEY_REUSED when the key came with another
 * request before, ERR_CONFLICT when its answer was erased. Without the header c->idem stays inactive and nothing is found.
 */
enum err idem_begin(struct call *c, struct idem_record *record_r) MUST_CHECK;

/*
 * Stores the answer as the last statement of the caller's transaction. Does nothing when inactive. ERR_REQUEST_RUNNING when the same key was
 * faster in another transaction: roll back, and the dispatcher answers with what that one stored. `session` may be NULL.
 */
enum err idem_store(struct task *t, struct db_conn *c, const struct idem *idem, const struct app *app, const struct ident *site,
		    const struct ident *session, int status, struct bytes body) MUST_CHECK;

/* For a turn that begins: notes that it runs; takes over a released key (`released`: the turn that failed, or NULL). */
enum err idem_reserve(struct task *t, struct db_conn *c, const struct idem *idem, const struct app *app, const struct ident *site,
		      const struct ident *session, const struct ident *turn, const struct ident *released) MUST_CHECK;

/* For a turn that ends: its answer, or IDEM_RELEASED with no body. Does nothing when no key names the turn. */
enum err idem_finish(struct task *t, struct db_conn *c, const unsigned char hash[SECRET_HASH_SIZE], const struct ident *site,
		     const struct ident *turn, int status, struct bytes body) MUST_CHECK;

/*
 * Erases the answers kept of a session's requests, within the transaction that takes messages away which they may hold. Their keys stay used, so
 * that no retry does its work again.
 */
enum err idem_erase(struct task *t, struct db_conn *c, const struct ident *site, const struct ident *session) MUST_CHECK;

/* Removes what is kept of a session's answers, within the transaction that deletes it. */
enum err idem_forget(struct task *t, struct db_conn *c, const struct ident *site, const struct ident *session) MUST_CHECK;

extern const struct feature idem_feature;

#endif
