/* SPDX-License-Identifier: MIT */
/*
 * agent: owns the tables agents and providers. Providers are the operator's: a site chooses one by name and never sees its address or
 * key, so that no site can send another's key anywhere.
 */
#include "app/agent.h"

#include <fcntl.h>
#include <stddef.h>
#include <unistd.h>

#include "app/render.h"
#include "app/site.h"
#include "app/tool.h"
#include "base/secret.h"
#include "base/stamp.h"
#include "llm/llm.h"

#define KEY_FILE_MAX 4096

#define AGENT_COLUMNS                                                                                                  \
	"id, site, name, title, instructions, provider, model, language, temperature, max_output_tokens, version, created_at, updated_at, tools," \
	" fallbacks, max_iterations, tool_mode"
enum { FIND, GET, LIST, CREATE, UPDATE, DELETE, PROVIDER_FIND, PROVIDER_CREATE, PROVIDER_LIST };
static const struct db_stmt stmts[] = {
	[FIND] = { "SELECT " AGENT_COLUMNS " FROM agents WHERE site = ? AND name = ?", NULL, NULL },
	[GET] = { "SELECT " AGENT_COLUMNS " FROM agents WHERE site = ? AND id = ?", NULL, NULL },
	[LIST] = { "SELECT " AGENT_COLUMNS " FROM agents WHERE site = ? AND name > ? ORDER BY name LIMIT ?", NULL, NULL },
	[CREATE] = { "INSERT INTO agents (" AGENT_COLUMNS ") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 1, ?, ?, ?, ?, ?, ?)", NULL, NULL },
	[UPDATE] = { "UPDATE agents SET name = ?, title = ?, instructions = ?, provider = ?, model = ?, language = ?, temperature = ?,"
		     " max_output_tokens = ?, tools = ?, fallbacks = ?, max_iterations = ?, tool_mode = ?, version = version + 1, updated_at = ? WHERE site = ? AND id = ? AND version = ?", NULL, NULL },
	[DELETE] = { "DELETE FROM agents WHERE site = ? AND id = ?", NULL, NULL },
	[PROVIDER_FIND] = { "SELECT name, kind, base_url, key_file FROM providers WHERE name = ?", NULL, "providers are the install's" },
	[PROVIDER_CREATE] = { "INSERT INTO providers (name, kind, base_url, key_file, created_at) VALUES (?, ?, ?, ?, ?)", NULL, "providers are the install's" },
	[PROVIDER_LIST] = { "SELECT name, kind, base_url, key_file FROM providers ORDER BY name", NULL, "providers are the install's" },
};

static void agent_from_row(const struct db_rows *r, size_t row, struct agent *a_r)
{
	memset(a_r, 0, sizeof *a_r);
	db_cell_ident(r, row, 0, &a_r->id);
	db_cell_ident(r, row, 1, &a_r->site);
	a_r->name = db_cell_bytes(r, row, 2);
	a_r->title = db_cell_bytes(r, row, 3);
	a_r->instructions = db_cell_bytes(r, row, 4);
	a_r->provider = db_cell_bytes(r, row, 5);
	a_r->model = db_cell_bytes(r, row, 6);
	a_r->language = db_cell_bytes(r, row, 7);
	a_r->has_temperature = db_cell(r, row, 8)->type != DB_NULL;
	a_r->temperature = db_cell(r, row, 8)->type == DB_INT ? (double)db_cell_int(r, row, 8) : db_cell(r, row, 8)->real;
	a_r->max_output_tokens = db_cell_int(r, row, 9);
	a_r->version = db_cell_int(r, row, 10);
	a_r->created_at = db_cell_int(r, row, 11);
	a_r->updated_at = db_cell_int(r, row, 12);
	a_r->tools = bytes_or(db_cell_bytes(r, row, 13), BYTES("[]"));
	a_r->fallbacks = bytes_or(db_cell_bytes(r, row, 14), BYTES("[]"));
	a_r->max_iterations = db_cell_int(r, row, 15);
	a_r->tool_mode = db_cell_bytes(r, row, 16);
}

static enum err find_one(struct task *t, struct app *app, const struct db_stmt *s, const struct ident *site, struct db_arg by, struct agent *a_r)
{
	struct db_rows *r;
	enum err e = store_query(t, app, s, DB_ARGS(db_ident(site), by), &r);
	if (e)
		return e;
	if (r->n_rows == 0)
		return task_fail(t, ERR_NOT_FOUND, "there is no such agent");
	agent_from_row(r, 0, a_r);
	return ERR_OK;
}

enum err agent_get(struct task *t, struct app *app, const struct ident *site, const struct ident *id, struct agent *a_r)
{
	return find_one(t, app, &stmts[GET], site, db_ident(id), a_r);
}

enum err agent_find(struct task *t, struct app *app, const struct ident *site, struct bytes ref, struct agent *a_r)
{
	struct ident id;
	if (ident_parse(PREFIX_AGENT, ref, &id))
		return agent_get(t, app, site, &id, a_r);
	return find_one(t, app, &stmts[FIND], site, db_text(ref), a_r);
}

enum err agent_list(struct task *t, struct app *app, const struct ident *site, struct bytes after, int64_t limit, struct agent **list_r, size_t *n_r)
{
	struct db_rows *r;
	enum err e = store_query(t, app, &stmts[LIST], DB_ARGS(db_ident(site), db_text(after.p ? after : BYTES("")), db_int(limit)), &r);
	if (e)
		return e;
	*list_r = arena_array(t->arena, r->n_rows, sizeof **list_r);
	for (size_t i = 0; i < r->n_rows; i++)
		agent_from_row(r, i, &(*list_r)[i]);
	*n_r = r->n_rows;
	return ERR_OK;
}

/* a with what the change gives. */
static void apply(struct agent *a, const struct agent_change *in)
{
	const struct {
		struct bytes *to;
		struct bytes from;
	} texts[] = { { &a->name, in->name }, { &a->title, in->title }, { &a->instructions, in->instructions },
		      { &a->provider, in->provider }, { &a->model, in->model }, { &a->language, in->language }, { &a->tools, in->tools },
		      { &a->fallbacks, in->fallbacks }, { &a->tool_mode, in->tool_mode } };
	for (size_t i = 0; i < COUNT(texts); i++)
		*texts[i].to = texts[i].from.p ? texts[i].from : bytes_or(*texts[i].to, BYTES(""));
	if (in->has_temperature) {
		a->has_temperature = !in->is_temperature_null;
		a->temperature = in->temperature;
	}
	if (in->has_max_output_tokens)
		a->max_output_tokens = in->max_output_tokens;
	if (in->has_max_iterations)
		a->max_iterations = in->max_iterations;
}

static enum err check_name(struct task *t, struct bytes name)
{
	if (site_is_name(name))
		return ERR_OK;
	return task_fail_field(t, "name", "format", "a name has 1 to 64 lower-case letters, digits and -, and does not begin with -");
}

/* Whether the provider is one the operator defined; on the caller's connection, so that it works inside its transaction. */
static enum err check_provider(struct task *t, struct db_conn *c, const char *field, struct bytes name)
{
	struct db_rows *r;
	if (bytes_equal(name, BYTES("echo")))
		return ERR_OK;
	enum err e = db_query(t, c, &stmts[PROVIDER_FIND], DB_ARGS(db_text(name)), &r);
	if (e || r->n_rows)
		return e;
	return task_fail_field(t, field, "value", "there is no provider named \"%.*s\"", (int)name.n, name.p);
}

static const struct field fallback_fields[] = {
	{ .name = "provider", .type = FIELD_STRING, .flags = FIELD_REQUIRED, .min = 1, .max = 64, .offset = offsetof(struct agent_fallback, provider),
	  .help = "echo, or one the operator defined", .example = "\"echo\"" },
	{ .name = "model", .type = FIELD_STRING, .max = 128, .offset = offsetof(struct agent_fallback, model),
	  .help = "That provider's name of the model; the agent's when left out" },
	{ .name = NULL },
};
const struct field_table agent_fallback_table = { fallback_fields, sizeof(struct agent_fallback) };

size_t agent_fallbacks(struct task *t, const struct agent *a, struct agent_fallback list_r[AGENT_FALLBACKS])
{
	struct jsonx_walk w;
	size_t n = 0;
	for (jsonx_walk_begin(&w, a->fallbacks); n < AGENT_FALLBACKS && jsonx_walk_next(&w);) {
		struct agent_fallback *f = &list_r[n];
		*f = (struct agent_fallback){ .model = { NULL, 0 } };
		if (jsonx_type(w.value) != JSONX_OBJECT || field_parse(t, &agent_fallback_table, w.value, "", f) != ERR_OK) {
			task_clear_fault(t); /* it came with an import; nobody can be asked by it */
			continue;
		}
		f->model = f->model.n ? f->model : a->model;
		n++;
	}
	return n;
}

struct bytes agent_format_fallbacks(struct task *t, const struct agent_fallback *list, size_t n)
{
	struct buf b;
	buf_init(&b, t->arena, 128);
	buf_add_char(&b, '[');
	for (size_t i = 0; i < n; i++) {
		buf_add_str(&b, i ? ",{" : "{");
		buf_member_string(&b, "provider", list[i].provider);
		if (list[i].model.n)
			buf_member_string(&b, "model", list[i].model);
		buf_add_char(&b, '}');
	}
	buf_add_char(&b, ']');
	return buf_bytes(&b);
}

/* The agent's provider and those in its place. */
static enum err check_providers(struct task *t, struct db_conn *c, const struct agent *a)
{
	struct agent_fallback list[AGENT_FALLBACKS];
	size_t n = agent_fallbacks(t, a, list);
	enum err e = check_provider(t, c, "provider", a->provider);
	for (size_t i = 0; i < n && !e; i++)
		e = check_provider(t, c, arena_printf(t->arena, "fallbacks[%zu].provider", i), list[i].provider);
	return e;
}

static struct db_arg temperature_of(const struct agent *a)
{
	return a->has_temperature ? db_real(a->temperature) : db_null();
}

enum err agent_create(struct task *t, struct db_conn *c, const struct ident *site, const struct agent_change *in, struct agent *a_r)
{
	struct agent a = { .id = ident_new(), .site = *site, .version = 1, .created_at = stamp_now(), .provider = BYTES("echo"), .tools = BYTES("[]"),
			   .fallbacks = BYTES("[]"), .tool_mode = BYTES("native") };
	a.updated_at = a.created_at;
	apply(&a, in);
	if (a.title.n == 0)
		a.title = a.name;
	enum err e = check_name(t, a.name);
	if (!e)
		e = check_providers(t, c, &a);
	if (!e)
		e = tool_check_names(t, c, site, a.tools);
	if (e)
		return e;
	e = db_run(t, c, &stmts[CREATE],
		   DB_ARGS(db_ident(&a.id), db_ident(site), db_text(a.name), db_text(a.title), db_text(a.instructions), db_text(a.provider),
			   db_text(a.model), db_text(a.language), temperature_of(&a), db_int(a.max_output_tokens), db_int(a.created_at),
			   db_int(a.updated_at), db_text(a.tools), db_text(a.fallbacks), db_int(a.max_iterations), db_text(a.tool_mode)), NULL);
	if (e == ERR_DUPLICATE)
		return task_fail(t, ERR_CONFLICT, "there is an agent named %.*s", (int)a.name.n, a.name.p);
	*a_r = a;
	return e;
}

struct update {
	struct agent *next;
	int64_t version;
	bool has_tools;
};

static enum err update_in(struct task *t, struct db_conn *c, void *arg)
{
	struct update *u = arg;
	struct agent *a = u->next;
	int64_t n;
	enum err e = check_providers(t, c, a);
	if (!e && u->has_tools) /* others may name a tool that is gone */
		e = tool_check_names(t, c, &a->site, a->tools);
	if (e)
		return e;
	e = db_run(t, c, &stmts[UPDATE],
		   DB_ARGS(db_text(a->name), db_text(a->title), db_text(a->instructions), db_text(a->provider), db_text(a->model),
			   db_text(a->language), temperature_of(a), db_int(a->max_output_tokens), db_text(a->tools), db_text(a->fallbacks),
			   db_int(a->max_iterations), db_text(a->tool_mode), db_int(a->updated_at), db_ident(&a->site), db_ident(&a->id),
			   db_int(u->version)), &n);
	if (e == ERR_DUPLICATE)
		return task_fail(t, ERR_CONFLICT, "there is an agent named %.*s", (int)a->name.n, a->name.p);
	return !e && n == 0 ? task_fail(t, ERR_PRECONDITION, "the agent has changed since it was read") : e;
}

enum err agent_update(struct task *t, struct app *app, const struct agent *a, const struct agent_change *in, struct agent *a_r)
{
	struct agent next = *a;
	apply(&next, in);
	next.updated_at = stamp_now();
	enum err e = check_name(t, next.name);
	if (e)
		return e;
	e = store_transact(t, app, update_in, &(struct update){ &next, a->version, in->tools.p != NULL });
	next.version = a->version + 1;
	*a_r = next;
	return e;
}

enum err agent_delete(struct task *t, struct app *app, const struct ident *site, const struct ident *id)
{
	int64_t n;
	enum err e = store_run(t, app, &stmts[DELETE], DB_ARGS(db_ident(site), db_ident(id)), &n);
	return !e && n == 0 ? task_fail(t, ERR_NOT_FOUND, "there is no such agent") : e;
}

void agent_render(struct buf *b, const struct agent *a)
{
	buf_add_char(b, '{');
	render_ident(b, "id", PREFIX_AGENT, &a->id);
	buf_member_string(b, "name", a->name);
	buf_member_string(b, "title", a->title);
	buf_member_string(b, "instructions", a->instructions);
	buf_member_string(b, "provider", a->provider);
	buf_member_string(b, "model", a->model);
	buf_member_string(b, "language", a->language);
	buf_add_member(b, "temperature");
	if (a->has_temperature)
		buf_addf(b, "%.3g", a->temperature);
	else
		buf_add_str(b, "null");
	buf_member_int(b, "max_output_tokens", a->max_output_tokens);
	buf_member_json(b, "tools", a->tools);
	buf_member_string(b, "tool_mode", a->tool_mode);
	buf_member_int(b, "max_iterations", a->max_iterations);
	buf_member_json(b, "fallbacks", a->fallbacks);
	buf_member_int(b, "version", a->version);
	buf_member_time(b, "created_at", a->created_at);
	buf_member_time(b, "updated_at", a->updated_at);
	buf_add_char(b, '}');
}

static void provider_from_row(const struct db_rows *r, size_t row, struct provider *p_r)
{
	p_r->name = db_cell_bytes(r, row, 0);
	p_r->kind = db_cell_bytes(r, row, 1);
	p_r->base_url = db_cell_bytes(r, row, 2);
	p_r->key_file = db_cell_bytes(r, row, 3);
}

enum err provider_find(struct task *t, struct app *app, struct bytes name, struct provider *p_r)
{
	struct db_rows *r;
	if (bytes_equal(name, BYTES("echo"))) {
		*p_r = (struct provider){ BYTES("echo"), BYTES("echo"), BYTES(""), BYTES("") };
		return ERR_OK;
	}
	enum err e = store_query(t, app, &stmts[PROVIDER_FIND], DB_ARGS(db_text(name)), &r);
	if (e)
		return e;
	if (r->n_rows == 0)
		return task_fail(t, ERR_NOT_FOUND, "there is no provider named %.*s", (int)name.n, name.p);
	provider_from_row(r, 0, p_r);
	return ERR_OK;
}

static bool is_key_file(struct bytes f)
{
	if (f.n > 200 || (f.n && f.p[0] == '.'))
		return false;
	return memchr(f.p, '/', f.n) == NULL;
}

enum err provider_create(struct task *t, struct app *app, const struct provider *in)
{
	bool is_url = in->base_url.n > 8 && in->base_url.n <= 1000 &&
		      (memcmp(in->base_url.p, "https://", 8) == 0 || memcmp(in->base_url.p, "http://", 7) == 0);
	enum err e = check_name(t, in->name);
	if (bytes_equal(in->name, BYTES("echo")))
		e = task_fail_field(t, "name", "value", "echo is built in");
	if (!llm_is_kind(in->kind))
		e = task_fail_field(t, "kind", "value", "there is no kind of provider named \"%.*s\"", (int)in->kind.n, in->kind.p);
	if (!is_url)
		e = task_fail_field(t, "base_url", "format", "must be an address such as https://api.openai.com/v1");
	if (in->key_file.n && !is_key_file(in->key_file))
		e = task_fail_field(t, "key_file", "format", "must be the name of a file in provider_key_dir");
	if (e)
		return e;
	e = store_run(t, app, &stmts[PROVIDER_CREATE],
		      DB_ARGS(db_text(in->name), db_text(in->kind), db_text(in->base_url), db_text(bytes_or(in->key_file, BYTES(""))), db_int(stamp_now())), NULL);
	return e == ERR_DUPLICATE ? task_fail(t, ERR_CONFLICT, "there is a provider named %.*s", (int)in->name.n, in->name.p) : e;
}

enum err provider_list(struct task *t, struct app *app, struct provider **list_r, size_t *n_r)
{
	struct db_rows *r;
	enum err e = store_query(t, app, &stmts[PROVIDER_LIST], NULL, 0, &r);
	if (e)
		return e;
	*list_r = arena_array(t->arena, r->n_rows, sizeof **list_r);
	for (size_t i = 0; i < r->n_rows; i++)
		provider_from_row(r, i, &(*list_r)[i]);
	*n_r = r->n_rows;
	return ERR_OK;
}

static void wipe_key(void *key)
{
	secret_wipe(key, KEY_FILE_MAX);
}

enum err provider_read_key(struct task *t, struct app *app, const struct provider *p, const char **key_r)
{
	*key_r = "";
	if (p->key_file.n == 0)
		return ERR_OK;
	const char *path = arena_printf(t->arena, "%s/%.*s", app->conf->provider_key_dir, (int)p->key_file.n, p->key_file.p);
	char *key = arena_alloc(t->arena, KEY_FILE_MAX);
	arena_defer(t->arena, wipe_key, key);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, key, KEY_FILE_MAX - 1);
	if (fd >= 0)
		close(fd);
	if (n < 0)
		return task_fail_internal(t, ERR_PROVIDER_REFUSED, "cannot read the key file %s", path);
	key[n] = 0;
	key[strcspn(key, "\r\n")] = 0;
	*key_r = key;
	return ERR_OK;
}

const struct feature agent_feature = { .name = "agent", .stmts = stmts, .n_stmts = COUNT(stmts) };
