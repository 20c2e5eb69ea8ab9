/* SPDX-License-Identifier: MIT */
/* tool_run: runs the tools that a model asks for. */
#include "app/tool_run.h"

#include "base/jsonx.h"

struct tool_set {
	const struct llm_tool *tools;
	size_t n;
};

enum err tool_set_open(struct task *t, struct app *app, const struct ident *site, const struct agent *agent, struct tool_set **set_r)
{
	(void)app;
	(void)site;
	(void)agent;
	*set_r = arena_alloc(t->arena, sizeof **set_r);
	return ERR_OK;
}

const struct llm_tool *tool_set_list(const struct tool_set *set, size_t *n_r)
{
	*n_r = set->n;
	return set->tools;
}

enum err tool_call_all(struct task *t, struct app *app, struct tool_set *set, const struct tool_env *env, struct bytes calls, struct tool_outcome **out_r,
		       size_t *n_r)
{
	struct jsonx_walk w;
	size_t n = 0;
	(void)app;
	(void)set;
	(void)env;
	for (jsonx_walk_begin(&w, calls); jsonx_walk_next(&w);)
		n++;
	*out_r = arena_array(t->arena, n, sizeof **out_r);
	*n_r = 0;
	for (jsonx_walk_begin(&w, calls); jsonx_walk_next(&w);)
		(*out_r)[(*n_r)++] = (struct tool_outcome){ .id = jsonx_string(t->arena, jsonx_member(w.value, "id")),
							    .name = jsonx_string(t->arena, jsonx_member(w.value, "name")),
							    .result = BYTES("\"there is no such tool\""), .is_error = true };
	return ERR_OK;
}
