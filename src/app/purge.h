/* SPDX-License-Identifier: MIT */
/* purge: removes what was below deleted sessions, batch by batch, at once or by the janitor. */
#ifndef PARLEY_APP_PURGE_H
#define PARLEY_APP_PURGE_H

#include "app/call.h"

/* Removes everything below a conversation that a deletion noted, then the note. Goes on where an earlier run stopped. */
enum err purge_session(struct task *t, struct app *app, const struct ident *site, const struct ident *conversation) MUST_CHECK;

extern const struct feature purge_feature;

#endif
