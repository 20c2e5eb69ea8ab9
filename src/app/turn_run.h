/* SPDX-License-Identifier: MIT */
/*
 * turn_run: carries a turn that has begun to its end: context, the model's answer, the tools it asks for, and again, until it answers. Meanwhile no database
 * connection is held; turn_keep.h saves what is said.
 */
#ifndef PARLEY_APP_TURN_RUN_H
#define PARLEY_APP_TURN_RUN_H

#include "app/turn_begin.h"
#include "app/turn_end.h"

/*
 * Who watches the turn's log grow; each may be NULL. `at` is the position behind what came. What they cannot deliver is their own business: the turn
 * goes on, unless is_gone says that nobody waits for it any more.
 */
struct turn_watch {
	void *arg;
	void (*on_text)(void *arg, struct bytes text, size_t at);
	void (*on_event)(void *arg, const char *event, struct bytes data, size_t at); /* reset, step, tool */
	void (*on_silence)(void *arg); /* nothing came for sse_heartbeat */
	bool (*is_gone)(void *arg);    /* asked every 250 ms or so */
	int client_fd;                 /* its hang-up cancels the turn; -1: none */
};

/* What to run. */
struct turn_order {
	struct head *head;
	const struct agent *agent;
	struct bytes user_json;
	int64_t max_iterations; /* 0: the agent's, or the setting's */
};

/*
 * Takes one of the places for turns of this process. ERR_BUSY when all are taken. Every success is followed by turn_leave.
 */
enum err turn_enter(struct task *t, struct app *app) MUST_CHECK;
void turn_leave(struct app *app);

/*
 * Runs the turn to its end and ends it either way: with the answer (answer_r, the JSON that clients get; also when it was cancelled), or as failed, with
 * what it said kept. Returns the provider's error or the store's.
 */
enum err turn_run(struct task *t, struct app *app, const struct turn_order *order, struct turn *turn, const struct turn_watch *watch,
		  struct bytes *answer_r) MUST_CHECK;

#endif
