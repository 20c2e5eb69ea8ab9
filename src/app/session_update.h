/* SPDX-License-Identifier: MIT */
/* session_update: what a session says and holds is changed: several parts at once or none, and its way from active to ended, archived and back. */
#ifndef PARLEY_APP_SESSION_UPDATE_H
#define PARLEY_APP_SESSION_UPDATE_H

#include "app/message.h"
#include "app/session.h"

/* What to change; a text with NULL p stays. */
struct session_change {
	struct bytes title, context;
	struct bytes tags;                    /* raw array: replaces them */
	struct bytes metadata, state, config; /* raw objects: merge patches */
	struct bytes preferences;             /* raw object: a merge patch of the state's member of this name */
	struct bytes metrics;                 /* raw object of numbers: each is added to the state's metrics of its name */
	const struct ident *conversation;     /* becomes the active one; NULL: stays */
	const struct message_new *messages;   /* appended to the active one, after it was changed */
	size_t n_messages;
	int64_t if_version;                   /* ERR_PRECONDITION unless the session has this version; 0: whatever it has */
};

/*
 * Changes all that is given in one transaction, or nothing; the version grows by one. h is read anew; json_r gets the n_messages message
 * objects. Errors: ERR_PRECONDITION, ERR_INVALID (limits, a conversation that is not the session's), ERR_SESSION_ENDED (messages), ERR_NOT_FOUND.
 */
enum err session_update(struct task *t, struct app *app, struct head *h, const struct session_change *in, struct bytes *json_r) MUST_CHECK;

/* Within the caller's transaction: makes an ended or archived session active again; an active one stays as it is. */
enum err session_resume(struct task *t, struct db_conn *c, const struct ident *site, const struct ident *session) MUST_CHECK;

/* Within the caller's transaction: archives a session: it takes no messages and no sweep removes it. An archived one stays as it is. */
enum err session_archive(struct task *t, struct db_conn *c, const struct ident *site, const struct ident *session) MUST_CHECK;

extern const struct feature session_update_feature;

#endif
