/* SPDX-License-Identifier: MIT */
/* template: what a site's sessions of one kind begin with: a preset, a config, and the context data that must be there. */
#ifndef PARLEY_APP_TEMPLATE_H
#define PARLEY_APP_TEMPLATE_H

#include "app/call.h"

#define TEMPLATE_CONFIG_MAX 65536 /* bytes */

struct template {
	struct ident id, site;
	struct bytes name, title;
	struct bytes preset;            /* its name, or empty */
	struct bytes config;            /* raw JSON object, over the preset's */
	struct bytes required_context;  /* raw JSON array of the keys that a session's state must have */
	struct bytes memory_categories; /* raw JSON array of words */
	int64_t version, created_at, updated_at;
};

/* What to make or change; NULL p: its default, or as it is. */
struct template_change {
	struct bytes name, title, preset, config, required_context, memory_categories;
	bool is_preset_given; /* a preset given as null (NULL p) is taken off */
	int64_t if_version;   /* 0: whatever it is */
};

/* Creates one within the caller's transaction. ERR_INVALID (name, config), ERR_CONFLICT when the name is taken. */
enum err template_create(struct task *t, struct db_conn *c, const struct ident *site, const struct template_change *in,
			 struct template *tpl_r) MUST_CHECK;

/* By name. ERR_NOT_FOUND. */
enum err template_find(struct task *t, struct app *app, const struct ident *site, struct bytes name, struct template *tpl_r) MUST_CHECK;

/* Up to `limit` by name, behind the name `after` (NULL p: from the first). */
enum err template_list(struct task *t, struct app *app, const struct ident *site, struct bytes after, int64_t limit, struct template **list_r,
		       size_t *n_r) MUST_CHECK;

/* Changes what is given, in one transaction; config is a merge patch. ERR_NOT_FOUND, ERR_PRECONDITION, ERR_INVALID, ERR_CONFLICT (name). */
enum err template_update(struct task *t, struct app *app, const struct ident *site, struct bytes name, const struct template_change *in,
			 struct template *tpl_r) MUST_CHECK;

/* Sessions that began with it stay as they are. ERR_NOT_FOUND. */
enum err template_delete(struct task *t, struct app *app, const struct ident *site, struct bytes name) MUST_CHECK;

/*
 * The config of a new session: the preset's, under the template's, under the one given; the names of both and the template's memory categories
 * are written into it. A preset that is given wins over the template's own. Absent parts have NULL p; without preset and template the config is
 * the given one, byte for byte. ERR_INVALID names a wrong config, an unknown template ("template") and each value of the state that the
 * template requires and that is absent or null ("state.<key>").
 */
enum err template_compose(struct task *t, struct app *app, const struct ident *site, struct bytes preset, struct bytes name, struct bytes state,
			  struct bytes config, struct bytes *config_r) MUST_CHECK;

/* Adds the template as a JSON object. */
void template_render(struct buf *b, const struct template *tpl);

extern const struct feature template_feature;

#endif
