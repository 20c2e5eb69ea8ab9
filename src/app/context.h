/* SPDX-License-Identifier: MIT */
/*
 * context: what a model gets to see of a conversation: system text, summary, newest messages in prompt order, within a budget.
 *
 * Rules. It starts at a turn boundary, a message of the user that parts no tool call from its result, or where the conversation (or what is behind the
 * summary) begins. Every tool call is followed by its results: a result that was stored late is moved there, one that was never stored is
 * replaced by a sentence that says so. Results without a call, deleted and corrupt messages are left out. While messages are added the start stays
 * where it is until the budget is full and then jumps by about a fifth of it, so that providers can go on using what they have cached.
 */
#ifndef PARLEY_APP_CONTEXT_H
#define PARLEY_APP_CONTEXT_H

#include "app/head.h"
#include "app/summary.h"

struct context_options {
	int64_t tokens;      /* most tokens of system text, summary and messages together; 0: no such bound */
	struct bytes system; /* plain text in front of all: the agent's instructions; may be empty */
};

struct context {
	struct bytes system;
	struct summary summary;          /* upto_seq 0: none */
	const struct message_row *rows;  /* in prompt order; one put in for a missing result has seq 0 and no id */
	size_t n;
	int64_t tokens;                  /* estimate of it all */
	int64_t first_seq, last_seq;     /* of the rows that were stored; 0: no rows */
	bool is_truncated;               /* not even the newest turn fits: it is given alone, and the budget is exceeded */
};

/*
 * Assembles the context of h's conversation. Beside options->tokens the settings context_messages and context_bytes bound it, and
 * max_context_messages of the session's config. Reads the cached tail, then pages downward, and stops where the budget does.
 */
enum err context_build(struct task *t, struct app *app, const struct head *h, const struct context_options *options, struct context *context_r) MUST_CHECK;

/* System text and summary as one text for a model; empty when there is neither. */
struct bytes context_instructions(struct arena *a, const struct context *x);

extern const struct feature context_feature;

#endif
