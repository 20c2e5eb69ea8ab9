/* SPDX-License-Identifier: MIT */
/* session: what one user and one agent share: created, listed, changed, ended, deleted. */
#ifndef PARLEY_APP_SESSION_H
#define PARLEY_APP_SESSION_H

#include "app/agent.h"
#include "app/conversation.h"

#define SESSION_METADATA_PAIRS 16
#define SESSION_DOCUMENT_MAX 262144 /* bytes of state or config */

/* What a new session is made of; absent texts have NULL p and get their defaults. */
struct session_new {
	struct bytes own_id;
	struct bytes user, client_type, context, title;
	struct bytes tags, metadata, state, config; /* raw JSON */
	struct bytes website_domain, ip_address;
	const struct conversation *first; /* a clone's: its first conversation, inserted already under the id of session_ident; NULL: an empty one is made */
	int flags;                       /* enum session_flag */
	int64_t idle_ttl; /* ms without activity after which it ends; 0: never. A site's own: site_find_ttl of TTL_SESSION */
};

/* The id inside of a session that is to be made: fixed by its own id, or a new one. */
struct ident session_ident(const struct ident *site, struct bytes own_id);

/*
 * Within the caller's transaction: makes the session and its first conversation. h_r, in which site must not point, is its head, without the messages
 * a clone has. ERR_DUPLICATE when the own id (or, against all odds, the name) is taken.
 */
enum err session_insert(struct task *t, struct db_conn *c, const struct ident *site, const struct agent *agent, const struct session_new *in,
			struct head *h_r) MUST_CHECK;

/*
 * Within the transaction that makes a session: enters its tags (a JSON array of distinct strings) in session_tags, where lists find it by them.
 * session_insert does so itself.
 */
enum err session_tags_store(struct task *t, struct db_conn *c, const struct ident *site, const struct ident *session, int64_t created_at,
			    struct bytes tags) MUST_CHECK;

/* The same in place of those it has. */
enum err session_tags_replace(struct task *t, struct db_conn *c, const struct ident *site, const struct ident *session, int64_t created_at,
			      struct bytes tags) MUST_CHECK;

/* Whether a session may hold these documents: bytes of each, pairs of the metadata, known keys of the config. ERR_INVALID names the field. */
enum err session_check_documents(struct task *t, struct bytes metadata, struct bytes state, struct bytes config) MUST_CHECK;

/*
 * Within the caller's transaction: holds the session's row until its end. ERR_PRECONDITION when it has another version than `if_version` (0: any),
 * ERR_NOT_FOUND.
 */
enum err session_check_version(struct task *t, struct db_conn *c, const struct ident *site, const struct ident *session, int64_t if_version) MUST_CHECK;

/*
 * Within the caller's transaction: removes the session's row and what names it, and notes its conversations for the purge. ERR_NOT_FOUND. The caller
 * tells the cache after the commit.
 */
enum err session_remove(struct task *t, struct db_conn *c, const struct ident *site, const struct ident *session) MUST_CHECK;

/*
 * Deletes the session in one transaction and notes its conversations for the purge (purge.c), which removes them and all that is below. From the
 * commit on the session is not found. ERR_NOT_FOUND; ERR_PRECONDITION unless it has the version `if_version` (0: any).
 */
enum err session_delete(struct task *t, struct app *app, const struct head *h, int64_t if_version) MUST_CHECK;

/* Whether text may be a caller's own session id: 1 to 128 letters, digits and . _ : @ -, not beginning with ses_. */
bool session_is_own_id(struct bytes text);

/* The session's row as a JSON object, without what changes with each message. */
struct bytes session_object(struct arena *a, const struct head *h);

/* The session's user as the site names it. */
struct bytes session_user(struct arena *a, const struct head *h);

extern const struct feature session_feature;

#endif
