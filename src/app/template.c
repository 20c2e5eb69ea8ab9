/* SPDX-License-Identifier: MIT */
/*
 * template: owns the table templates. Invariants: a name is one template of its site; what is stored passes policy_check_config; the version grows
 * with each change.
 */
#include "app/template.h"

#include "app/codec.h"
#include "app/policy.h"
#include "app/preset.h"
#include "app/render.h"
#include "app/site.h"
#include "base/stamp.h"

#define TEMPLATE_COLUMNS "id, site, name, title, preset, config, required_context, memory_categories, version, created_at, updated_at"
#define FIND_SQL "SELECT " TEMPLATE_COLUMNS " FROM templates WHERE site = ? AND name = ?"

enum { FIND, LOCK, LIST, CREATE, UPDATE, DELETE };
static const struct db_stmt stmts[] = {
	[FIND] = { FIND_SQL, NULL, NULL },
	[LOCK] = { FIND_SQL " FOR UPDATE", FIND_SQL, NULL },
	[LIST] = { "SELECT " TEMPLATE_COLUMNS " FROM templates WHERE site = ? AND name > ? ORDER BY name LIMIT ?", NULL, NULL },
	[CREATE] = { "INSERT INTO templates (" TEMPLATE_COLUMNS ") VALUES (?, ?, ?, ?, ?, ?, ?, ?, 1, ?, ?)", NULL, NULL },
	[UPDATE] = { "UPDATE templates SET name = ?, title = ?, preset = ?, config = ?, required_context = ?, memory_categories = ?,"
		     " version = version + 1, updated_at = ? WHERE site = ? AND id = ?", NULL, NULL },
	[DELETE] = { "DELETE FROM templates WHERE site = ? AND name = ?", NULL, NULL },
};

static enum err template_from_row(struct task *t, const struct db_rows *r, size_t row, struct template *tpl_r)
{
	memset(tpl_r, 0, sizeof *tpl_r);
	db_cell_ident(r, row, 0, &tpl_r->id);
	db_cell_ident(r, row, 1, &tpl_r->site);
	tpl_r->name = db_cell_bytes(r, row, 2);
	tpl_r->title = db_cell_bytes(r, row, 3);
	tpl_r->preset = db_cell_bytes(r, row, 4);
	tpl_r->required_context = db_cell_bytes(r, row, 6);
	tpl_r->memory_categories = db_cell_bytes(r, row, 7);
	tpl_r->version = db_cell_int(r, row, 8);
	tpl_r->created_at = db_cell_int(r, row, 9);
	tpl_r->updated_at = db_cell_int(r, row, 10);
	bool is_sound = codec_unpack(t->arena, db_cell_bytes(r, row, 5), &tpl_r->config) && render_is_sound(t, tpl_r->config, JSONX_OBJECT) &&
			render_is_sound(t, tpl_r->required_context, JSONX_ARRAY) && render_is_sound(t, tpl_r->memory_categories, JSONX_ARRAY);
	return is_sound ? ERR_OK : task_fail(t, ERR_CORRUPT, "the template %.*s cannot be read", (int)tpl_r->name.n, tpl_r->name.p);
}

enum err template_find(struct task *t, struct app *app, const struct ident *site, struct bytes name, struct template *tpl_r)
{
	struct db_rows *r;
	enum err e = store_query(t, app, &stmts[FIND], DB_ARGS(db_ident(site), db_text(name)), &r);
	if (e)
		return e;
	return r->n_rows ? template_from_row(t, r, 0, tpl_r) : task_fail(t, ERR_NOT_FOUND, "there is no such template");
}

enum err template_list(struct task *t, struct app *app, const struct ident *site, struct bytes after, int64_t limit, struct template **list_r,
		       size_t *n_r)
{
	struct db_rows *r;
	enum err e = store_query(t, app, &stmts[LIST], DB_ARGS(db_ident(site), db_text(bytes_or(after, BYTES(""))), db_int(limit)), &r);
	if (e)
		return e;
	*list_r = arena_array(t->arena, r->n_rows, sizeof **list_r);
	for (size_t i = 0; !e && i < r->n_rows; i++)
		e = template_from_row(t, r, i, &(*list_r)[i]);
	*n_r = r->n_rows;
	return e;
}

/* tpl with what the change gives, checked. */
static enum err apply(struct task *t, const struct template_change *in, struct template *tpl)
{
	tpl->name = bytes_or(in->name, tpl->name);
	tpl->title = bytes_or(in->title, tpl->title);
	if (in->is_preset_given)
		tpl->preset = bytes_or(in->preset, BYTES(""));
	if (in->config.p)
		tpl->config = jsonx_merge(t->arena, tpl->config, in->config);
	tpl->required_context = bytes_or(in->required_context, tpl->required_context);
	tpl->memory_categories = bytes_or(in->memory_categories, tpl->memory_categories);
	enum err e = policy_check_config(t, "config", tpl->config);
	if (tpl->config.n > TEMPLATE_CONFIG_MAX)
		e = task_fail_field(t, "config", "range", "must be at most %d bytes", TEMPLATE_CONFIG_MAX);
	if (!site_is_name(tpl->name))
		e = task_fail_field(t, "name", "format", "a name has 1 to 64 lower-case letters, digits and -, and does not begin with -");
	return e;
}

static enum err name_is_taken(struct task *t, struct bytes name)
{
	return task_fail(t, ERR_CONFLICT, "there is a template named %.*s", (int)name.n, name.p);
}

enum err template_create(struct task *t, struct db_conn *c, const struct ident *site, const struct template_change *in, struct template *tpl_r)
{
	struct template tpl = { .id = ident_new(), .site = *site, .version = 1, .created_at = stamp_now(), .title = BYTES(""), .preset = BYTES(""),
				.config = BYTES("{}"), .required_context = BYTES("[]"), .memory_categories = BYTES("[]") };
	tpl.updated_at = tpl.created_at;
	enum err e = apply(t, in, &tpl);
	if (e)
		return e;
	if (tpl.title.n == 0)
		tpl.title = tpl.name;
	struct bytes config = codec_pack(t->arena, tpl.config);
	e = db_run(t, c, &stmts[CREATE],
		   DB_ARGS(db_ident(&tpl.id), db_ident(site), db_text(tpl.name), db_text(tpl.title), db_text(tpl.preset), db_blob(config.p, config.n),
			   db_text(tpl.required_context), db_text(tpl.memory_categories), db_int(tpl.created_at), db_int(tpl.updated_at)), NULL);
	*tpl_r = tpl;
	return e == ERR_DUPLICATE ? name_is_taken(t, tpl.name) : e;
}

struct update {
	const struct ident *site;
	struct bytes name;
	const struct template_change *in;
	struct template *tpl_r;
};

static enum err update_in(struct task *t, struct db_conn *c, void *arg)
{
	const struct update *u = arg;
	struct template *tpl = u->tpl_r;
	struct db_rows *r;
	enum err e = db_query(t, c, &stmts[LOCK], DB_ARGS(db_ident(u->site), db_text(u->name)), &r);
	if (e)
		return e;
	if (r->n_rows == 0)
		return task_fail(t, ERR_NOT_FOUND, "there is no such template");
	e = template_from_row(t, r, 0, tpl);
	if (!e && u->in->if_version && u->in->if_version != tpl->version)
		e = task_fail(t, ERR_PRECONDITION, "the template has changed since it was read");
	if (!e)
		e = apply(t, u->in, tpl);
	if (e)
		return e;
	tpl->version++;
	tpl->updated_at = stamp_now();
	struct bytes config = codec_pack(t->arena, tpl->config);
	e = db_run(t, c, &stmts[UPDATE],
		   DB_ARGS(db_text(tpl->name), db_text(tpl->title), db_text(tpl->preset), db_blob(config.p, config.n), db_text(tpl->required_context),
			   db_text(tpl->memory_categories), db_int(tpl->updated_at), db_ident(u->site), db_ident(&tpl->id)), NULL);
	return e == ERR_DUPLICATE ? name_is_taken(t, tpl->name) : e;
}

enum err template_update(struct task *t, struct app *app, const struct ident *site, struct bytes name, const struct template_change *in,
			 struct template *tpl_r)
{
	return store_transact(t, app, update_in, &(struct update){ site, name, in, tpl_r });
}

enum err template_delete(struct task *t, struct app *app, const struct ident *site, struct bytes name)
{
	int64_t n;
	enum err e = store_run(t, app, &stmts[DELETE], DB_ARGS(db_ident(site), db_text(name)), &n);
	return !e && n == 0 ? task_fail(t, ERR_NOT_FOUND, "there is no such template") : e;
}

/* Names every required key that the state lacks. */
static enum err check_required(struct task *t, const struct template *tpl, struct bytes state)
{
	enum err e = ERR_OK;
	struct jsonx_walk w;
	jsonx_walk_begin(&w, tpl->required_context);
	while (jsonx_walk_next(&w)) {
		struct bytes key = jsonx_string(t->arena, w.value);
		enum jsonx_type type = state.p ? jsonx_type(jsonx_member(state, arena_copy(t->arena, key.p, key.n))) : JSONX_NONE;
		if (type == JSONX_NONE || type == JSONX_NULL)
			e = task_fail_field(t, arena_printf(t->arena, "state.%.*s", (int)key.n, key.p), "required", "the template %.*s requires it",
					    (int)tpl->name.n, tpl->name.p);
	}
	return e;
}

/* What a config records of where it came from, as a merge patch. */
static struct bytes format_record(struct arena *a, struct bytes preset, const struct template *tpl)
{
	struct buf b;
	buf_init(&b, a, 256);
	buf_add_char(&b, '{');
	if (preset.n)
		buf_member_string(&b, "preset", preset);
	if (tpl) {
		buf_member_string(&b, "template", tpl->name);
		if (tpl->memory_categories.n > strlen("[]"))
			buf_member_json(&b, "memory_categories", tpl->memory_categories);
	}
	buf_add_char(&b, '}');
	return buf_bytes(&b);
}

enum err template_compose(struct task *t, struct app *app, const struct ident *site, struct bytes preset, struct bytes name, struct bytes state,
			  struct bytes config, struct bytes *config_r)
{
	struct template tpl;
	*config_r = config;
	enum err checked = config.p ? policy_check_config(t, "config", config) : ERR_OK;
	if (checked || (!preset.p && !name.p))
		return checked;
	if (name.p) {
		enum err e = template_find(t, app, site, name, &tpl);
		if (e == ERR_NOT_FOUND)
			return task_fail_field(t, "template", "value", "there is no template named \"%.*s\"", (int)name.n, name.p);
		if (!e)
			e = check_required(t, &tpl, state);
		if (e)
			return e;
		preset = bytes_or(preset, tpl.preset);
	}
	const struct preset *base = preset_find(preset);
	struct bytes merged = base ? bytes_of(base->config) : BYTES("{}");
	if (name.p)
		merged = jsonx_merge(t->arena, merged, tpl.config);
	if (config.p)
		merged = jsonx_merge(t->arena, merged, config);
	*config_r = jsonx_merge(t->arena, merged, format_record(t->arena, base ? preset : (struct bytes){ NULL, 0 }, name.p ? &tpl : NULL));
	return policy_check_config(t, "config", *config_r);
}

void template_render(struct buf *b, const struct template *tpl)
{
	buf_add_char(b, '{');
	buf_member_string(b, "name", tpl->name);
	buf_member_string(b, "title", tpl->title);
	buf_member_string(b, "preset", tpl->preset.n ? tpl->preset : (struct bytes){ NULL, 0 });
	buf_member_json(b, "config", tpl->config);
	buf_member_json(b, "required_context", tpl->required_context);
	buf_member_json(b, "memory_categories", tpl->memory_categories);
	buf_member_int(b, "version", tpl->version);
	buf_member_time(b, "created_at", tpl->created_at);
	buf_member_time(b, "updated_at", tpl->updated_at);
	buf_add_char(b, '}');
}

const struct feature template_feature = { .name = "template", .stmts = stmts, .n_stmts = COUNT(stmts) };
