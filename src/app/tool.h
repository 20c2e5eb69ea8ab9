/* SPDX-License-Identifier: MIT */
/*
 * tool: what the agents of a site may call: the site's own tools, which are addresses that parley posts to, and those built in. Nothing secret is
 * stored: the key that signs the calls of a tool is made from the install's secret, the tool's id and its generation.
 */
#ifndef PARLEY_APP_TOOL_H
#define PARLEY_APP_TOOL_H

#include "app/call.h"
#include "base/webhook.h"

#define TOOL_PARAMETERS_MAX 32768 /* bytes */
#define TOOL_URL_MAX 2000         /* bytes */

struct tool {
	struct ident id, site;
	struct bytes name, description;
	struct bytes parameters; /* raw JSON: a schema as base/schema.h has it, of an object; no bytes where the record cannot be read */
	struct bytes url;
	int64_t timeout_ms; /* 0: the setting's */
	int64_t max_bytes;  /* of an answer; 0: the setting's */
	int64_t generation; /* of its key */
	int64_t version, created_at, updated_at;
};

/* What to make or change; NULL p, false: its default, or as it is. The name stays what it is made with, since agents name tools. */
struct tool_change {
	struct bytes name, description, parameters, url;
	int64_t timeout_ms, max_bytes;
	bool has_timeout_ms, has_max_bytes;
	int64_t if_version; /* 0: whatever it is */
};

/* What came of one call. */
struct tool_outcome {
	struct bytes id, name; /* as the model gave them */
	struct bytes result;   /* raw JSON for the model: what the tool answered, or a string that says what went wrong */
	bool is_error;
	int64_t duration_ms;
};

/* Who tools are called for. */
struct tool_env {
	const struct ident *site, *session, *conversation, *turn; /* conversation may be NULL */
	struct bytes session_id; /* as the site knows it; no bytes: made from session */
	struct bytes user, agent;
	int client_fd;           /* as in fetch.h; -1: none */
	enum err (*on_tick)(void *arg); /* may be NULL; comes now and then while a call waits */
	enum err (*on_outcome)(void *arg, const struct tool_outcome *outcome); /* may be NULL; comes for each call as it ends */
	void *arg;
	int64_t deadline; /* stamp_mono_ms() at which all calls end; 0: none */
};

/*
 * A tool that is built in: a feature lists it. call gets checked arguments, a JSON object, and gives JSON in the task's arena. Where it fails with a
 * text for the client (task_fail), that is what the model reads; only ERR_CANCELLED ends the turn.
 */
struct tool_builtin {
	const char *name, *description;
	const char *parameters; /* a schema as above */
	enum err (*call)(struct task *t, struct app *app, const struct tool_env *env, struct bytes arguments, struct bytes *result_r);
};

/* The built-in tool of this name, or NULL. */
const struct tool_builtin *tool_find_builtin(struct bytes name);

/* Creates one within the caller's transaction. ERR_INVALID (name, url, parameters), ERR_CONFLICT when the name is taken. */
enum err tool_create(struct task *t, struct db_conn *c, const struct app *app, const struct ident *site, const struct tool_change *in,
		     struct tool *tool_r) MUST_CHECK;

/* By name or "tol_..." id. ERR_NOT_FOUND. */
enum err tool_find(struct task *t, struct app *app, const struct ident *site, struct bytes ref, struct tool *tool_r) MUST_CHECK;

/* Up to `limit` by name, behind the name `after` (NULL p: from the first). */
enum err tool_list(struct task *t, struct app *app, const struct ident *site, struct bytes after, int64_t limit, struct tool **list_r,
		   size_t *n_r) MUST_CHECK;

/* Those of these names (a JSON array of strings) that the site has, in any order; built-in ones are not among them. */
enum err tool_list_named(struct task *t, struct app *app, struct db_conn *c, const struct ident *site, struct bytes names, struct tool **list_r,
			 size_t *n_r) MUST_CHECK;

/* Changes what is given, in one transaction. ERR_NOT_FOUND, ERR_PRECONDITION, ERR_INVALID. */
enum err tool_update(struct task *t, struct app *app, const struct ident *site, struct bytes ref, const struct tool_change *in,
		     struct tool *tool_r) MUST_CHECK;

/* Gives it another key, within the caller's transaction. Calls are signed with the one before as well, until the next time. ERR_NOT_FOUND. */
enum err tool_rotate(struct task *t, struct db_conn *c, const struct ident *site, struct bytes ref, struct tool *tool_r) MUST_CHECK;

/* Agents that name it go on without it. ERR_NOT_FOUND. */
enum err tool_delete(struct task *t, struct app *app, const struct ident *site, struct bytes ref) MUST_CHECK;

/* Whether each of these names (a JSON array of strings) is a tool that the site has or that is built in; ERR_INVALID blames "tools[i]". */
enum err tool_check_names(struct task *t, struct db_conn *c, const struct ident *site, struct bytes names) MUST_CHECK;

/* The key of a tool's generation. */
void tool_derive_key(const struct app *app, const struct ident *site, const struct ident *tool, int64_t generation, unsigned char out[WEBHOOK_KEY_SIZE]);

/* Adds the tool as a JSON object, without its secret. */
void tool_render(struct buf *b, const struct tool *tool);
/* Adds the member "secret" to what tool_render wrote. */
void tool_add_secret(const struct app *app, const struct ident *site, struct buf *b);

extern const struct feature tool_feature;

#endif
