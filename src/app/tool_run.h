/* SPDX-License-Identifier: MIT */
/* tool_run: runs the tools that a model asks for. */
#ifndef PARLEY_APP_TOOL_RUN_H
#define PARLEY_APP_TOOL_RUN_H

#include "app/agent.h"
#include "llm/llm.h"

/* The tools of one agent, as a turn knows them. */
struct tool_set;

/* Loads them. */
enum err tool_set_open(struct task *t, struct app *app, const struct ident *site, const struct agent *agent, struct tool_set **set_r) MUST_CHECK;
/* As models are told of them. */
const struct llm_tool *tool_set_list(const struct tool_set *set, size_t *n_r);

/* For whom tools are called. */
struct tool_env {
	const struct ident *site, *session, *conversation, *turn;
	struct bytes user, agent; /* their names */
	int client_fd;            /* its hang-up ends the calls with ERR_CANCELLED; -1: none */
	enum err (*on_tick)(void *arg); /* every 250 ms or so; an error ends the calls with it */
	void *arg;
};

/* What a call came to. */
struct tool_outcome {
	struct bytes id, name; /* of the call */
	struct bytes result;   /* raw JSON: a string, or any other value */
	bool is_error;         /* the result says why, for the model to read */
	int64_t duration_ms;
};

/*
 * Runs all calls of a model's answer (llm_result.tool_calls) at the same time; the outcomes are in their order. A call that fails is an outcome, never an error: those
 * are on_tick's, and ERR_CANCELLED.
 */
enum err tool_call_all(struct task *t, struct app *app, struct tool_set *set, const struct tool_env *env, struct bytes calls, struct tool_outcome **out_r,
		       size_t *n_r) MUST_CHECK;

#endif
