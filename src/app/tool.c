/* SPDX-License-Identifier: MIT */
/*
 * tool: owns the table tools. A tool's name is unique in its site and never that of a built-in one. Its parameters were read as a schema when they
 * were stored, its url as one that may be called.
 */
#include "app/tool.h"

#include <stdio.h>

#include "app/render.h"
#include "base/schema.h"
#include "base/stamp.h"
#include "net/fetch.h"

#define NAMED 16 /* names a statement asks for */
#define NO_PARAMETERS "{\"type\":\"object\",\"properties\":{}}"

#define TOOL_COLUMNS "id, site, name, description, parameters, url, timeout_ms, max_bytes, generation, version, created_at, updated_at"
#define SELECT "SELECT " TOOL_COLUMNS " FROM tools WHERE site = ? AND "
enum { FIND, GET, LOCK_FIND, LOCK_GET, LIST, LIST_NAMED, CREATE, UPDATE, DELETE };
static const struct db_stmt stmts[] = {
	[FIND] = { SELECT "name = ?", NULL, NULL },
	[GET] = { SELECT "id = ?", NULL, NULL },
	[LOCK_FIND] = { SELECT "name = ? FOR UPDATE", SELECT "name = ?", NULL },
	[LOCK_GET] = { SELECT "id = ? FOR UPDATE", SELECT "id = ?", NULL },
	[LIST] = { SELECT "name > ? ORDER BY name LIMIT ?", NULL, NULL },
	[LIST_NAMED] = { SELECT "name IN (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", NULL, NULL },
	[CREATE] = { "INSERT INTO tools (" TOOL_COLUMNS ") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", NULL, NULL },
	[UPDATE] = { "UPDATE tools SET description = ?, parameters = ?, url = ?, timeout_ms = ?, max_bytes = ?, generation = ?, version = ?,"
		     " updated_at = ? WHERE site = ? AND id = ?", NULL, NULL },
	[DELETE] = { "DELETE FROM tools WHERE site = ? AND id = ?", NULL, NULL },
};

static void tool_from_row(struct task *t, const struct db_rows *r, size_t row, struct tool *tool_r)
{
	memset(tool_r, 0, sizeof *tool_r);
	db_cell_ident(r, row, 0, &tool_r->id);
	db_cell_ident(r, row, 1, &tool_r->site);
	tool_r->name = db_cell_bytes(r, row, 2);
	tool_r->description = db_cell_bytes(r, row, 3);
	tool_r->parameters = db_cell_bytes(r, row, 4);
	if (!render_is_sound(t, tool_r->parameters, JSONX_OBJECT))
		tool_r->parameters = (struct bytes){ NULL, 0 };
	tool_r->url = db_cell_bytes(r, row, 5);
	tool_r->timeout_ms = db_cell_int(r, row, 6);
	tool_r->max_bytes = db_cell_int(r, row, 7);
	tool_r->generation = db_cell_int(r, row, 8);
	tool_r->version = db_cell_int(r, row, 9);
	tool_r->created_at = db_cell_int(r, row, 10);
	tool_r->updated_at = db_cell_int(r, row, 11);
}

static void tools_from_rows(struct task *t, const struct db_rows *r, struct tool **list_r, size_t *n_r)
{
	*list_r = arena_array(t->arena, r->n_rows, sizeof **list_r);
	for (size_t i = 0; i < r->n_rows; i++)
		tool_from_row(t, r, i, &(*list_r)[i]);
	*n_r = r->n_rows;
}

static enum err not_found(struct task *t)
{
	return task_fail(t, ERR_NOT_FOUND, "there is no such tool");
}

const struct tool_builtin *tool_find_builtin(struct bytes name)
{
	for (const struct feature *const *f = app_features; *f; f++)
		for (size_t i = 0; i < (*f)->n_tools; i++)
			if (bytes_equal(bytes_of((*f)->tools[i].name), name))
				return &(*f)->tools[i];
	return NULL;
}

/* A reference is an id when it reads as one; no name does. */
static enum err find(struct task *t, struct app *app, struct db_conn *c, bool is_locked, const struct ident *site, struct bytes ref, struct tool *tool_r)
{
	struct ident id;
	struct db_rows *r;
	bool is_id = ident_parse(PREFIX_TOOL, ref, &id);
	const struct db_stmt *s = &stmts[is_locked ? (is_id ? LOCK_GET : LOCK_FIND) : (is_id ? GET : FIND)];
	enum err e = store_read(t, app, c, s, DB_ARGS(db_ident(site), is_id ? db_ident(&id) : db_text(ref)), &r);
	if (e)
		return e;
	if (r->n_rows == 0)
		return not_found(t);
	tool_from_row(t, r, 0, tool_r);
	return ERR_OK;
}

enum err tool_find(struct task *t, struct app *app, const struct ident *site, struct bytes ref, struct tool *tool_r)
{
	return find(t, app, NULL, false, site, ref, tool_r);
}

enum err tool_list(struct task *t, struct app *app, const struct ident *site, struct bytes after, int64_t limit, struct tool **list_r, size_t *n_r)
{
	struct db_rows *r;
	enum err e = store_query(t, app, &stmts[LIST], DB_ARGS(db_ident(site), db_text(bytes_or(after, BYTES(""))), db_int(limit)), &r);
	if (!e)
		tools_from_rows(t, r, list_r, n_r);
	return e;
}

/* Adds the tools of some names to the list; names that are not there repeat the last one. */
static enum err add_named(struct task *t, struct app *app, struct db_conn *c, const struct ident *site, const struct bytes *names, size_t n,
			  struct tool *list, size_t *n_list)
{
	struct db_arg args[1 + NAMED] = { db_ident(site) };
	struct db_rows *r;
	for (size_t i = 0; i < NAMED; i++)
		args[1 + i] = db_text(names[i < n ? i : n - 1]);
	enum err e = store_read(t, app, c, &stmts[LIST_NAMED], args, COUNT(args), &r);
	for (size_t i = 0; !e && i < r->n_rows; i++)
		tool_from_row(t, r, i, &list[(*n_list)++]);
	return e;
}

enum err tool_list_named(struct task *t, struct app *app, struct db_conn *c, const struct ident *site, struct bytes names, struct tool **list_r,
			 size_t *n_r)
{
	struct bytes some[NAMED];
	struct jsonx_walk w;
	size_t n = 0, n_all = 0;
	enum err e = ERR_OK;
	*n_r = 0;
	jsonx_walk_begin(&w, names);
	while (jsonx_walk_next(&w))
		n_all++;
	*list_r = arena_array(t->arena, n_all, sizeof **list_r);
	jsonx_walk_begin(&w, names);
	while (!e && jsonx_walk_next(&w)) {
		struct bytes name = jsonx_string(t->arena, w.value);
		if (!tool_find_builtin(name))
			some[n++] = name;
		if (n == NAMED) {
			e = add_named(t, app, c, site, some, n, *list_r, n_r);
			n = 0;
		}
	}
	return !e && n ? add_named(t, app, c, site, some, n, *list_r, n_r) : e;
}

enum err tool_check_names(struct task *t, struct db_conn *c, const struct ident *site, struct bytes names)
{
	struct tool *list;
	struct jsonx_walk w;
	size_t n, i = 0;
	enum err e = tool_list_named(t, NULL, c, site, names, &list, &n);
	if (e)
		return e;
	jsonx_walk_begin(&w, names);
	for (; jsonx_walk_next(&w); i++) {
		struct bytes name = jsonx_string(t->arena, w.value);
		size_t at = 0;
		while (at < n && !bytes_equal(list[at].name, name))
			at++;
		if (at == n && !tool_find_builtin(name))
			e = task_fail_field(t, arena_printf(t->arena, "tools[%zu]", i), "value", "there is no tool named \"%s\"", field_shown_name(t, name));
	}
	return e;
}

static bool is_name(struct bytes name)
{
	for (size_t i = 0; i < name.n; i++) {
		unsigned char b = (unsigned char)name.p[i];
		if (!((b | 0x20) >= 'a' && (b | 0x20) <= 'z') && !(b >= '0' && b <= '9') && b != '_' && b != '-')
			return false;
	}
	return name.n >= 1 && name.n <= 64;
}

static enum err check_name(struct task *t, struct bytes name)
{
	struct ident id;
	if (!is_name(name) || ident_parse(PREFIX_TOOL, name, &id))
		return task_fail_field(t, "name", "format", "a name has 1 to 64 letters, digits, _ and -, and is no tool's id");
	if (tool_find_builtin(name))
		return task_fail_field(t, "name", "value", "%.*s is built in", (int)name.n, name.p);
	return ERR_OK;
}

static enum err check_parameters(struct task *t, struct bytes parameters)
{
	const struct schema *s;
	struct schema_flaw flaw;
	struct bytes type = jsonx_member(parameters, "type");
	if (!schema_parse(t->arena, parameters, &s, &flaw))
		return task_fail_field(t, "parameters", "value", "%s: %s", flaw.place, flaw.reason);
	if (jsonx_type(type) != JSONX_STRING || !bytes_equal(jsonx_string(t->arena, type), BYTES("object")))
		return task_fail_field(t, "parameters", "value", "must be the schema of an object: \"type\":\"object\"");
	return ERR_OK;
}

static enum err check_url(struct task *t, const struct app *app, struct bytes url)
{
	const char *flaw = fetch_url_flaw(arena_copy(t->arena, url.p, url.n), app->conf->tool_allow_hosts);
	return flaw ? task_fail_field(t, "url", "value", "%s", flaw) : ERR_OK;
}

/* The tool with what the change gives, checked as far as it is given. */
static enum err apply(struct task *t, const struct app *app, const struct tool_change *in, struct tool *tool)
{
	enum err e = ERR_OK, found;
	tool->description = bytes_or(in->description, tool->description);
	if (in->parameters.p) {
		tool->parameters = in->parameters;
		e = check_parameters(t, in->parameters);
	}
	if (in->url.p) {
		tool->url = in->url;
		found = check_url(t, app, in->url);
		e = found ? found : e;
	}
	if (in->has_timeout_ms)
		tool->timeout_ms = in->timeout_ms;
	if (in->has_max_bytes)
		tool->max_bytes = in->max_bytes;
	return e;
}

enum err tool_create(struct task *t, struct db_conn *c, const struct app *app, const struct ident *site, const struct tool_change *in,
		     struct tool *tool_r)
{
	struct tool tool = { .id = ident_new(), .site = *site, .name = in->name, .description = BYTES(""), .parameters = BYTES(NO_PARAMETERS),
			     .generation = 1, .version = 1, .created_at = stamp_now() };
	tool.updated_at = tool.created_at;
	enum err named = check_name(t, tool.name), e = apply(t, app, in, &tool);
	if (e || named)
		return e ? e : named;
	e = db_run(t, c, &stmts[CREATE],
		   DB_ARGS(db_ident(&tool.id), db_ident(site), db_text(tool.name), db_text(tool.description), db_text(tool.parameters),
			   db_text(tool.url), db_int(tool.timeout_ms), db_int(tool.max_bytes), db_int(tool.generation), db_int(tool.version),
			   db_int(tool.created_at), db_int(tool.updated_at)), NULL);
	if (e == ERR_DUPLICATE)
		return task_fail(t, ERR_CONFLICT, "there is a tool named %.*s", (int)tool.name.n, tool.name.p);
	*tool_r = tool;
	return e;
}

/* Stores a changed tool as its next version. */
static enum err store_next(struct task *t, struct db_conn *c, struct tool *tool)
{
	tool->version++;
	tool->updated_at = stamp_now();
	return db_run(t, c, &stmts[UPDATE],
		      DB_ARGS(db_text(tool->description), db_text(tool->parameters), db_text(tool->url), db_int(tool->timeout_ms),
			      db_int(tool->max_bytes), db_int(tool->generation), db_int(tool->version), db_int(tool->updated_at),
			      db_ident(&tool->site), db_ident(&tool->id)), NULL);
}

struct update {
	const struct app *app;
	const struct ident *site;
	struct bytes ref;
	const struct tool_change *in;
	struct tool *tool_r;
};

static enum err update_in(struct task *t, struct db_conn *c, void *arg)
{
	const struct update *u = arg;
	struct tool *tool = u->tool_r;
	enum err e = find(t, NULL, c, true, u->site, u->ref, tool);
	if (!e && u->in->if_version && u->in->if_version != tool->version)
		e = task_fail(t, ERR_PRECONDITION, "the tool has changed since it was read");
	if (!e)
		e = apply(t, u->app, u->in, tool);
	return e ? e : store_next(t, c, tool);
}

enum err tool_update(struct task *t, struct app *app, const struct ident *site, struct bytes ref, const struct tool_change *in, struct tool *tool_r)
{
	return store_transact(t, app, update_in, &(struct update){ app, site, ref, in, tool_r });
}

enum err tool_rotate(struct task *t, struct db_conn *c, const struct ident *site, struct bytes ref, struct tool *tool_r)
{
	enum err e = find(t, NULL, c, true, site, ref, tool_r);
	if (e)
		return e;
	tool_r->generation++;
	return store_next(t, c, tool_r);
}

enum err tool_delete(struct task *t, struct app *app, const struct ident *site, struct bytes ref)
{
	struct tool tool;
	int64_t n;
	enum err e = tool_find(t, app, site, ref, &tool);
	if (!e)
		e = store_run(t, app, &stmts[DELETE], DB_ARGS(db_ident(site), db_ident(&tool.id)), &n);
	return !e && n == 0 ? not_found(t) : e;
}

void tool_derive_key(const struct app *app, const struct ident *site, const struct ident *tool, int64_t generation, unsigned char out[WEBHOOK_KEY_SIZE])
{
	char number[24];
	snprintf(number, sizeof number, "%lld", (long long)generation);
	const struct bytes parts[] = { BYTES("parley tool key"), { (const char *)site->b, sizeof site->b }, { (const char *)tool->b, sizeof tool->b },
				       bytes_of(number) };
	_Static_assert(WEBHOOK_KEY_SIZE == SECRET_KEY_SIZE, "a derived key signs");
	secret_derive(app->token_key, parts, COUNT(parts), out);
}

void tool_render(struct buf *b, const struct tool *tool)
{
	buf_add_char(b, '{');
	render_ident(b, "id", PREFIX_TOOL, &tool->id);
	buf_member_string(b, "name", tool->name);
	buf_member_string(b, "description", tool->description);
	buf_member_json(b, "parameters", tool->parameters);
	buf_member_string(b, "url", tool->url);
	buf_member_int(b, "timeout_ms", tool->timeout_ms);
	buf_member_int(b, "max_bytes", tool->max_bytes);
	buf_member_int(b, "generation", tool->generation);
	buf_member_int(b, "version", tool->version);
	buf_member_time(b, "created_at", tool->created_at);
	buf_member_time(b, "updated_at", tool->updated_at);
	buf_add_char(b, '}');
}

void tool_add_secret(const struct app *app, const struct ident *site, struct buf *b)
{
	unsigned char key[WEBHOOK_KEY_SIZE];
	char text[WEBHOOK_SECRET_SIZE];
	struct ident id;
	struct bytes json = buf_bytes(b);
	if (json.n < 2 || !ident_parse(PREFIX_TOOL, jsonx_string(b->arena, jsonx_member(json, "id")), &id))
		return;
	tool_derive_key(app, site, &id, jsonx_int(jsonx_member(json, "generation")), key);
	webhook_format_secret(key, text);
	b->n--;
	buf_member_str(b, "secret", text);
	buf_add_char(b, '}');
	secret_wipe(key, sizeof key);
	secret_wipe(text, sizeof text);
}

const struct feature tool_feature = { .name = "tool", .stmts = stmts, .n_stmts = COUNT(stmts) };
