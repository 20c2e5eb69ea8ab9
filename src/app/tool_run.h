/* SPDX-License-Identifier: MIT */
/* tool_run: the tools of an agent, and the calls of one answer of its model. */
#ifndef PARLEY_APP_TOOL_RUN_H
#define PARLEY_APP_TOOL_RUN_H

#include "app/agent.h"
#include "app/tool.h"
#include "llm/llm.h"

#define TOOL_CALLS_MAX 64 /* of one answer that are carried out */

/* The tools of one agent, for one turn. In the task's arena. */
struct tool_set;

/* Loads what the agent names. A tool that is gone, or whose record cannot be read, is left out and noted in the log. */
enum err tool_set_open(struct task *t, struct app *app, const struct ident *site, const struct agent *agent, struct tool_set **set_r) MUST_CHECK;

/* As a provider is told of them, in the agent's order. */
const struct llm_tool *tool_set_list(const struct tool_set *set, size_t *n_r);

/*
 * Makes the calls of one answer (llm_result.tool_calls), the site's at the same time, and gives an outcome for each in its order. Whatever goes wrong
 * with one is that one's outcome, with a text that tells the model and reveals nothing. Errors are those of env's callbacks, the client's hang-up
 * (ERR_CANCELLED) and a built-in tool's ERR_CANCELLED; the outcomes are there then too, and a call that had not ended has no result. The same set must
 * serve all answers of a turn: it numbers its calls.
 */
enum err tool_call_all(struct task *t, struct app *app, struct tool_set *set, const struct tool_env *env, struct bytes calls,
		       struct tool_outcome **outcomes_r, size_t *n_r) MUST_CHECK;

extern const struct feature tool_run_feature;

#endif
