/* SPDX-License-Identifier: MIT */
/* purge: removes what was below detached conversations, batch by batch, at once or by the janitor. */
#ifndef PARLEY_APP_PURGE_H
#define PARLEY_APP_PURGE_H

#include "app/session.h"

/*
 * Removes what nobody sees any more of detached conversations: what is below them, then themselves, then ancestors that only waited for them. Rows
 * that others descend from stay until the last of those goes. Goes on where an earlier run stopped; errors leave the rest to the janitor.
 */
enum err purge_conversations(struct task *t, struct app *app, const struct ident *site, const struct ident *ids, size_t n) MUST_CHECK;

/* Deletes the session (session_delete), then removes at once what was below it; what that leaves undone is the janitor's. */
enum err purge_session(struct task *t, struct app *app, const struct head *h, int64_t if_version) MUST_CHECK;

extern const struct feature purge_feature;

#endif
