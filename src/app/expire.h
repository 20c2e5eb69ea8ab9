/* SPDX-License-Identifier: MIT */
/* expire: how sessions end, by a call or because nothing happened to them for too long, and what is left of them then. */
#ifndef PARLEY_APP_EXPIRE_H
#define PARLEY_APP_EXPIRE_H

#include "app/session.h"

/* What an end took away. */
struct expire_rest {
	bool is_gone;           /* the session itself */
	struct ident *detached; /* conversations that purge_conversations may remove at once; the janitor does otherwise */
	size_t n;
};

/*
 * Ends h's session within the caller's transaction as its memory policy says (SES-14). persistent: it stays for `keep_ms` (0: for ever). hybrid: so
 * do its state and metadata; its history is cleared, and unless auto_persist is off a summary of the active conversation (compress_extract) is
 * in the state as `summary`, together with what an earlier end left there. ephemeral: the session and all below are deleted. h then describes the
 * ended session. One that has ended already stays as it is. The caller found keep_ms before (expire_keep), and after the commit tells the
 * cache (head_changed). ERR_NOT_FOUND.
 */
enum err expire_end(struct task *t, struct app *app, struct db_conn *c, struct head *h, int64_t keep_ms,
		    struct expire_rest *rest_r) MUST_CHECK;

/* How long a site keeps ended sessions, in milliseconds; 0: for ever. */
enum err expire_keep(struct task *t, struct app *app, const struct ident *site, int64_t *keep_ms_r) MUST_CHECK;

/* The same in a transaction of its own, with the cache told. */
enum err expire_session(struct task *t, struct app *app, struct head *h, struct expire_rest *rest_r) MUST_CHECK;

/* A session that a sweep found due. */
struct expire_due {
	struct ident id, site;
	int64_t expires_at, idle_ttl, active_at;
};

/*
 * Calls one(t, app, due, done_r) for each session that the statement finds, which takes (now, after, after, id, limit) and gives id, site,
 * expires_at, idle_ttl, active_at in order of expires_at and id. Each gets a task of its own; its failure is logged and does not keep the others
 * waiting. Stops when half of sweep_interval is over. *n_r grows by how many were done; the last error is returned.
 */
enum err expire_each(struct task *t, struct app *app, const struct db_stmt *stmt,
		     enum err (*one)(struct task *t, struct app *app, const struct expire_due *due, bool *done_r), int64_t *n_r) MUST_CHECK;

/*
 * An ended session whose time has come, in a transaction of its own: removed, or, when a sweep ended it, given over to its memory policy. One that got
 * a message while a sweep ended it is active again instead. done_r: whether something was removed.
 */
enum err expire_remove(struct task *t, struct app *app, const struct expire_due *due, bool *done_r) MUST_CHECK;

extern const struct feature expire_feature;

#endif
