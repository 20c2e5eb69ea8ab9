/* SPDX-License-Identifier: MIT */
/* agent: what answers on a site: instructions, provider and model; and the providers the operator defined. */
#ifndef PARLEY_APP_AGENT_H
#define PARLEY_APP_AGENT_H

#include "app/call.h"

struct agent {
	struct ident id, site;
	struct bytes name, title, instructions, provider, model, language;
	bool has_temperature;
	double temperature;
	int64_t max_output_tokens; /* 0: the provider's own */
	struct bytes tools;     /* JSON array of names of tools */
	struct bytes fallbacks; /* JSON array of {"provider","model"}: who answers in the provider's place */
	struct bytes tool_mode; /* native, or text: for models that know no tools */
	int64_t max_iterations; /* answers of the model in one turn; 0: the setting's */
	int64_t version, created_at, updated_at;
};

#define AGENT_FALLBACKS 4 /* at most */

/* One of its fallbacks. */
struct agent_fallback {
	struct bytes provider, model;
};

/* What of an agent a change gives; absent members (NULL p, false) stay. */
struct agent_change {
	struct bytes name, title, instructions, provider, model, language, tools, fallbacks, tool_mode;
	struct field_list fallback_list; /* of struct agent_fallback, where a request gave them: fallbacks is its raw text */
	double temperature;
	int64_t max_output_tokens, max_iterations;
	bool has_temperature, has_max_output_tokens, has_max_iterations;
	bool is_temperature_null;
};

struct provider {
	struct bytes name, kind, base_url, key_file;
};

/* By name or "agt_..." id, within a site. ERR_NOT_FOUND. */
enum err agent_find(struct task *t, struct app *app, const struct ident *site, struct bytes ref, struct agent *a_r) MUST_CHECK;
enum err agent_get(struct task *t, struct app *app, const struct ident *site, const struct ident *id, struct agent *a_r) MUST_CHECK;
/* Up to `limit` agents whose name sorts behind `after`, by name. */
enum err agent_list(struct task *t, struct app *app, const struct ident *site, struct bytes after, int64_t limit, struct agent **list_r, size_t *n_r) MUST_CHECK;
/* Creates one within the caller's transaction. ERR_INVALID (name, unknown provider here or among the fallbacks, unknown tool), ERR_CONFLICT (the name is taken). */
enum err agent_create(struct task *t, struct db_conn *c, const struct ident *site, const struct agent_change *in, struct agent *a_r) MUST_CHECK;
/* Changes one whose version is a's. ERR_PRECONDITION when it has changed since; a_r is the new state. */
enum err agent_update(struct task *t, struct app *app, const struct agent *a, const struct agent_change *in, struct agent *a_r) MUST_CHECK;
enum err agent_delete(struct task *t, struct app *app, const struct ident *site, const struct ident *id) MUST_CHECK;

/* Of one fallback: fills a struct agent_fallback. */
extern const struct field_table agent_fallback_table;

void agent_render(struct buf *b, const struct agent *a);
/* Its fallbacks in order, and how many there are. One that names no model has the agent's. */
size_t agent_fallbacks(struct task *t, const struct agent *a, struct agent_fallback list_r[AGENT_FALLBACKS]);
/* The same as stored. */
struct bytes agent_format_fallbacks(struct task *t, const struct agent_fallback *list, size_t n);

/* The provider an agent names: "echo" is always there. ERR_NOT_FOUND. */
enum err provider_find(struct task *t, struct app *app, struct bytes name, struct provider *p_r) MUST_CHECK;
/* For the operator: base_url is that of its API with the version, key_file a file name in provider_key_dir or empty. ERR_CONFLICT, ERR_INVALID. */
enum err provider_create(struct task *t, struct app *app, const struct provider *in) MUST_CHECK;
enum err provider_list(struct task *t, struct app *app, struct provider **list_r, size_t *n_r) MUST_CHECK;
/*
 * Reads a provider's key from its file (empty when it has none); the text is in the arena, wiped when the arena goes. ERR_CONFIG when the file
 * cannot be read.
 */
enum err provider_read_key(struct task *t, struct app *app, const struct provider *p, const char **key_r) MUST_CHECK;

extern const struct feature agent_feature;

#endif
