/* SPDX-License-Identifier: MIT */
/* clone: an independent session with the history of another one, at the cost of a few rows however long that is (SES-7). */
#ifndef PARLEY_APP_CLONE_H
#define PARLEY_APP_CLONE_H

#include "app/session.h"

/* What a clone differs in; absent texts have NULL p and are the original's. */
struct clone_new {
	struct bytes own_id, user, context, title;
	struct bytes tags, metadata, state, config; /* raw JSON; the last three are merge patches of the original's */
	struct bytes website_domain, ip_address;
	int64_t idle_ttl; /* ms, see session_new; negative: the original's */
	int64_t at;       /* last seq to be seen */
};

/*
 * Within the caller's transaction: makes a session that sees what `from`, a conversation of h's session, holds up to in->at, masks included. h's session
 * is marked as cloned, so that what it deletes later stays with the clone. made_r is the clone's head, without messages. Errors: ERR_NOT_FOUND (the
 * original is gone), ERR_DUPLICATE (own id), ERR_INVALID (limits).
 */
enum err clone_insert(struct task *t, struct db_conn *c, const struct head *h, const struct conversation *from, const struct clone_new *in,
		      struct head *made_r) MUST_CHECK;

extern const struct feature clone_feature;

#endif
