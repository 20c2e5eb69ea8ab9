/* SPDX-License-Identifier: MIT */
/* turn_run: carries a turn that has begun to its end: context, provider, partial text, heartbeat, answer. */
#ifndef PARLEY_APP_TURN_RUN_H
#define PARLEY_APP_TURN_RUN_H

#include "app/turn.h"

/* Who watches the text come. Both may be NULL. What they cannot deliver is their own business: the turn goes on. */
struct turn_watch {
	void *arg;
	void (*on_text)(void *arg, struct bytes text);
	void (*on_silence)(void *arg); /* nothing came for sse_heartbeat */
};

/*
 * Takes one of the places for turns of this process. ERR_BUSY when all are taken. Every success is followed by turn_leave; the database is not
 * touched while a provider works but for the heartbeat and the partial text.
 */
enum err turn_enter(struct task *t, struct app *app) MUST_CHECK;
void turn_leave(struct app *app);

/*
 * Runs the turn to its end and ends it either way: with the answer (answer_r, the JSON that clients get), or as failed, with what came of the text
 * kept. Returns the provider's error or the store's.
 */
enum err turn_run(struct task *t, struct app *app, struct head *h, const struct agent *agent, struct turn *turn, struct bytes user_json,
		  const struct turn_watch *watch, struct bytes *answer_r) MUST_CHECK;

#endif
