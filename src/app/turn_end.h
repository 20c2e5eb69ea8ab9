/* SPDX-License-Identifier: MIT */
/* turn_end: ends a turn, with what it came to or as failed. */
#ifndef PARLEY_APP_TURN_END_H
#define PARLEY_APP_TURN_END_H

#include "app/spend.h"
#include "app/turn.h"

/* What a turn came to. */
struct turn_outcome {
	int status;                     /* TURN_DONE or TURN_CANCELLED */
	struct bytes finish;            /* stop, length, tool, filter, cancelled, iterations */
	const struct message_new *messages; /* to store, in order: calls, tools' results, and the answer last */
	size_t n_messages;
	bool has_answer;                /* the last of them is the answer: nothing was said otherwise */
	struct bytes text;              /* of the answer */
	struct bytes steps;             /* JSON array; empty: none */
	struct bytes log;               /* turn_log.h */
	struct bytes provider, model;   /* who answered in the end */
	struct spend_bill bill;
};

/*
 * Ends a turn with its outcome: messages, turn, lease, what it cost and the key's answer in one transaction; tells the cache. turn and h are brought up to
 * date; answer_r is the JSON that clients get. ERR_CONFLICT when the turn was ended by somebody else meanwhile.
 */
enum err turn_finish(struct task *t, struct app *app, struct head *h, struct turn *turn, struct bytes user_json, const struct turn_outcome *out,
		     struct bytes *answer_r) MUST_CHECK;

/*
 * Ends a turn as failed with the task's fault; its key is free to try again. The task keeps the fault. log: what it had said; bill: what that cost;
 * h: its session.
 */
void turn_fail(struct task *t, struct app *app, const struct head *h, struct turn *turn, struct bytes log, const struct spend_bill *bill);

/*
 * A message of the turn's conversation, from h or, where that is older or the session has gone on elsewhere, read anew; h may be in the turn's
 * conversation then. ERR_NOT_FOUND.
 */
enum err turn_read_message(struct task *t, struct app *app, struct head *h, const struct turn *u, int64_t seq, struct bytes *json_r) MUST_CHECK;

/* The answer of a turn that has ended well, read anew, as turn_finish gave it. */
enum err turn_read_answer(struct task *t, struct app *app, struct head *h, const struct turn *u, struct bytes *answer_r) MUST_CHECK;

/* The text of an answer's content: a string, or its text parts one behind the other, as they were streamed. */
struct bytes turn_content_text(struct arena *a, struct bytes content);

extern const struct feature turn_end_feature;

#endif
