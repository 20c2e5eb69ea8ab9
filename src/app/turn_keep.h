/* SPDX-License-Identifier: MIT */
/*
 * turn_keep: the turns that run in this process, and the one thread that looks after all of them: it saves what they said, renews their leases, and
 * learns which of them are to stop. So a turn touches no database between its two transactions, and a thousand turns cost a few statements a second.
 */
#ifndef PARLEY_APP_TURN_KEEP_H
#define PARLEY_APP_TURN_KEEP_H

#include "app/turn.h"

#define TURN_KEEP_MS 250 /* how often it looks: what a dead worker had said since is lost, and a cancellation takes as long to be seen */

struct turn_keep;

/* A turn that runs here. It lives in its task's arena. */
struct turn_live;

struct turn_keep *turn_keep_open(struct app *app);
/* No turn may run any more. */
void turn_keep_close(struct turn_keep **k);

/* Who this process is, for leases. */
const struct ident *turn_keep_owner(const struct app *app);

/* Begins to look after a turn that has begun; turn and t outlive it. Starts the thread when it is the first. */
struct turn_live *turn_keep_add(struct task *t, struct app *app, const struct turn *turn);
/* Ends that: nothing is saved of it any more. */
void turn_keep_remove(struct app *app, struct turn_live *live);

/* Adds text, or a frame (turn_log.h), to the turn's log; returns the position behind it. */
size_t turn_live_say(struct turn_live *live, struct bytes text);
size_t turn_live_tell(struct turn_live *live, const char *event, struct bytes data);
/* The log; valid until something is added. For the turn's own thread. */
struct bytes turn_live_log(const struct turn_live *live);

/* ERR_OK while the turn may go on; ERR_CANCELLED when it is to stop, ERR_CONFLICT when somebody else has ended it, each with a fault. */
enum err turn_live_check(struct task *t, const struct turn_live *live) MUST_CHECK;

/* Asks a turn to stop, whatever worker runs it: at once if it is this one, within two rounds of TURN_KEEP_MS otherwise. */
enum err turn_keep_cancel(struct task *t, struct app *app, const struct turn *turn) MUST_CHECK;

/* The same for whatever turn holds a conversation's lease, if it began before `before`, an id made then; NULL: whenever it began. */
enum err turn_keep_interrupt(struct task *t, struct app *app, const struct ident *site, const struct ident *conversation,
			     const struct ident *before) MUST_CHECK;

extern const struct feature turn_keep_feature;

#endif
