/* SPDX-License-Identifier: MIT */
/* conversation: the lines of messages in a session: begun, branched, renamed, made the active one, deleted. */
#ifndef PARLEY_APP_CONVERSATION_H
#define PARLEY_APP_CONVERSATION_H

#include "app/head.h"

/* A conversation as it is read. */
struct conversation {
	struct ident id, site, session;
	struct ident parent;                    /* zero: none in this session */
	struct bytes lineage;                   /* see lineage.h */
	struct bytes title;
	int64_t last_seq;                       /* newest message it sees, its own or an ancestor's */
	int64_t created_at, last_at;            /* last_at: of its newest own message, or created_at */
};

/* A session's row as a transaction that holds it sees it. */
struct conversation_session {
	int status, flags;
	struct ident conversation; /* the active one */
	int64_t version;
};

/* Within the caller's transaction: holds the session's row until its end. ERR_NOT_FOUND. */
enum err conversation_lock_session(struct task *t, struct db_conn *c, const struct ident *site, const struct ident *session,
				   struct conversation_session *out_r) MUST_CHECK;

/* Reads one by the text or id of a path; ERR_NOT_FOUND unless it is of h's session. `c` may be NULL (then on a connection of its own). */
enum err conversation_find(struct task *t, struct app *app, struct db_conn *c, const struct head *h, struct bytes ref, struct conversation *out_r) MUST_CHECK;
enum err conversation_read(struct task *t, struct app *app, struct db_conn *c, const struct head *h, const struct ident *id,
			   struct conversation *out_r) MUST_CHECK;

/*
 * Makes h describe another conversation of its session than the active one: everything in message.h then works on that. `ref` without
 * bytes, or naming the active one, changes nothing. What h then holds is not for the cache. ERR_NOT_FOUND.
 */
enum err conversation_enter(struct task *t, struct app *app, struct head *h, struct bytes ref) MUST_CHECK;

/*
 * Within the caller's transaction: inserts a conversation of `session`, which is being made or whose row the caller holds. from NULL: an empty one.
 * Otherwise it sees what `from`, of whatever session, sees up to `at` (0..from->last_seq): from's row is locked against deletion and must
 * still belong to a session. Errors: ERR_NOT_FOUND (from is gone), ERR_INVALID (branched too deep).
 */
enum err conversation_insert(struct task *t, struct db_conn *c, const struct ident *site, const struct ident *session, const struct conversation *from,
			     int64_t at, struct bytes title, struct conversation *made_r) MUST_CHECK;

/*
 * Within the caller's transaction: the same for a branch of `from` in from's own active session, whose row is held from then on; with is_active the
 * session goes on in it. Errors: as above, ERR_SESSION_ENDED.
 */
enum err conversation_branch(struct task *t, struct db_conn *c, const struct conversation *from, int64_t at, struct bytes title, bool is_active,
			     struct conversation *made_r) MUST_CHECK;

/* Within the caller's transaction: makes it the session's active one and counts the session's version up. */
enum err conversation_activate(struct task *t, struct db_conn *c, const struct ident *site, const struct ident *session, const struct ident *id) MUST_CHECK;

/*
 * Within the caller's transaction: takes conversations out of their session (all of them, or one) and notes them for the purge. Nobody finds
 * them from the commit on but those that descend from them.
 */
enum err conversation_detach_all(struct task *t, struct db_conn *c, const struct ident *site, const struct ident *session) MUST_CHECK;
enum err conversation_detach(struct task *t, struct db_conn *c, const struct ident *site, const struct ident *session, const struct ident *id) MUST_CHECK;

/*
 * Within the caller's transaction: clears the session's history: an empty conversation becomes the active one, all others are detached, masks and
 * summaries go with them. The caller tells the cache (head_changed) after the commit.
 */
enum err conversation_clear(struct task *t, struct db_conn *c, const struct ident *site, const struct ident *session, struct ident *id_r) MUST_CHECK;

/* Within the caller's transaction: gives it another title. ERR_NOT_FOUND. */
enum err conversation_rename(struct task *t, struct db_conn *c, const struct ident *site, const struct ident *session, const struct ident *id,
			     struct bytes title) MUST_CHECK;

/* All conversations of h's session in the order they were begun, up to `limit` behind the id `after` (zero: from the first). */
enum err conversation_list(struct task *t, struct app *app, const struct head *h, const struct ident *after, int64_t limit,
			   struct conversation **list_r, size_t *n_r) MUST_CHECK;

/* Adds the JSON object of one. */
void conversation_render(struct buf *b, const struct conversation *c, bool is_active);

extern const struct feature conversation_feature;

#endif
