/* SPDX-License-Identifier: MIT */
/*
 * session: owns the tables sessions and session_tags. Invariants: a session's id is fixed by its site and own id, or random; its version grows with
 * each change of its row; session_tags says what the column tags says.
 */
#include "app/session.h"

#include <ctype.h>

#include "app/codec.h"
#include "app/idem.h"
#include "app/lineage.h"
#include "app/policy.h"
#include "app/spend.h"
#include "base/jsonx.h"
#include "base/secret.h"
#include "base/stamp.h"

enum { INSERT, DELETE, TAG, UNTAG };
static const struct db_stmt stmts[] = {
	[INSERT] = { "INSERT INTO sessions (id, site, own_id, name, agent, agent_name, user_id, client_type, context, title, status, tags, metadata, state,"
		     " config, conversation, website_domain, ip_address, version, created_at, updated_at, active_at, ended_at, expires_at, flags, idle_ttl)"
		     " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", NULL, NULL },
	[DELETE] = { "DELETE FROM sessions WHERE site = ? AND id = ?", NULL, NULL },
	[TAG] = { "INSERT INTO session_tags (site, tag, created_at, session) VALUES (?, ?, ?, ?)", NULL, NULL },
	[UNTAG] = { "DELETE FROM session_tags WHERE site = ? AND session = ?", NULL, NULL },
};

static bool is_own_id_char(char ch)
{
	return isalnum((unsigned char)ch) || (ch && strchr("._:@-", ch));
}

bool session_is_own_id(struct bytes text)
{
	if (text.n == 0 || text.n > 128 || (text.n >= 4 && memcmp(text.p, PREFIX_SESSION, 4) == 0))
		return false;
	for (size_t i = 0; i < text.n; i++)
		if (!is_own_id_char(text.p[i]))
			return false;
	return true;
}

/* A part of a readable name: what could not stand in a path becomes "-"; each run of such bytes one, so that long words of any script stay short. */
static void add_name_part(struct buf *b, struct bytes part, size_t max)
{
	size_t begin = b->n;
	for (size_t i = 0; i < part.n && b->n - begin < max; i++) {
		bool is_plain = is_own_id_char(part.p[i]);
		if (is_plain || b->n == begin || b->p[b->n - 1] != '-')
			buf_add_char(b, is_plain ? part.p[i] : '-');
	}
	if (b->n == begin)
		buf_add_char(b, '-');
}

/* {client_type}_{user}_{context}_{YYYYMMDD_HHMMSS}_{8 hex} (SES-1). */
static struct bytes make_name(struct arena *a, struct bytes client_type, struct bytes user, struct bytes context, int64_t now)
{
	char when[16], hex[9];
	unsigned char random[4];
	struct buf b;
	buf_init(&b, a, 256);
	add_name_part(&b, client_type, 32);
	buf_add_char(&b, '_');
	add_name_part(&b, user, 100);
	buf_add_char(&b, '_');
	add_name_part(&b, context, 80);
	stamp_format_compact(now, when);
	secret_random(random, sizeof random);
	secret_hex(random, sizeof random, hex);
	buf_addf(&b, "_%s_%s", when, hex);
	return buf_bytes(&b);
}

/* An anonymous visitor's own unguessable name. */
static struct bytes anonymous_user(struct arena *a)
{
	char text[IDENT_SIZE];
	struct ident id;
	secret_random(id.b, sizeof id.b);
	ident_format("anon_", &id, text);
	return bytes_of(arena_strdup(a, text));
}

enum err session_tags_store(struct task *t, struct db_conn *c, const struct ident *site, const struct ident *session, int64_t created_at,
			    struct bytes tags)
{
	struct jsonx_walk w;
	enum err e = ERR_OK;
	jsonx_walk_begin(&w, tags);
	while (!e && jsonx_walk_next(&w)) {
		e = db_run(t, c, &stmts[TAG],
			   DB_ARGS(db_ident(site), db_text(jsonx_string(t->arena, w.value)), db_int(created_at), db_ident(session)), NULL);
		if (e == ERR_DUPLICATE) { /* but for spaces at its end, it is there */
			task_clear_fault(t);
			e = ERR_OK;
		}
	}
	return e;
}

enum err session_tags_replace(struct task *t, struct db_conn *c, const struct ident *site, const struct ident *session, int64_t created_at,
			      struct bytes tags)
{
	enum err e = db_run(t, c, &stmts[UNTAG], DB_ARGS(db_ident(site), db_ident(session)), NULL);
	return e ? e : session_tags_store(t, c, site, session, created_at, tags);
}

static struct db_cell cell_of(const struct db_arg *a)
{
	return (struct db_cell){ .type = a->type, .i = a->i, .b = { a->p, a->n } };
}

/* The head of a session just inserted, from the very values that were: args from own_id on. Its tail is not read. */
static enum err head_of(struct task *t, const struct db_arg *args, const struct conversation *first, struct head *h_r)
{
	struct db_cell *cells = arena_array(t->arena, HEAD_N_COLUMNS, sizeof *cells);
	struct db_rows r = { .n_rows = 1, .n_cols = HEAD_N_COLUMNS, .cells = cells };
	for (size_t i = 0; i < 22; i++)
		cells[i] = cell_of(&args[i]);
	cells[22] = (struct db_cell){ .type = DB_INT, .i = lineage_base(first->lineage) };
	cells[23] = (struct db_cell){ .type = first->lineage.n ? DB_BLOB : DB_NULL, .b = first->lineage };
	cells[24] = cell_of(&args[22]);
	cells[25] = cell_of(&args[23]);
	h_r->key = head_key(&h_r->site, &h_r->session);
	h_r->found = CACHE_SKIP;
	return head_from_row(t, &r, 0, h_r);
}

struct ident session_ident(const struct ident *site, struct bytes own_id)
{
	return own_id.p ? head_own_ident(site, own_id) : ident_new();
}

enum err session_insert(struct task *t, struct db_conn *c, const struct ident *site, const struct agent *agent, const struct session_new *in,
			struct head *h_r)
{
	struct conversation empty_one;
	const struct conversation *first = in->first ? in->first : &empty_one;
	int64_t now = stamp_now();
	struct bytes empty = BYTES("{}");
	struct bytes user = in->user.p ? in->user : anonymous_user(t->arena);
	struct bytes client_type = bytes_or(in->client_type, BYTES("api")), context = bytes_or(in->context, BYTES("default"));
	struct bytes state = codec_pack(t->arena, bytes_or(in->state, empty)), config = codec_pack(t->arena, bytes_or(in->config, empty));
	memset(h_r, 0, sizeof *h_r);
	h_r->site = *site;
	h_r->session = in->first ? in->first->session : session_ident(site, in->own_id);
	enum err e = in->first ? ERR_OK : conversation_insert(t, c, site, &h_r->session, NULL, 0, (struct bytes){ NULL, 0 }, &empty_one);
	if (e)
		return e;
	const struct db_arg args[] = {
		db_ident(&h_r->session), db_ident(site), db_text(in->own_id), db_text(make_name(t->arena, client_type, user, context, now)),
		db_ident(&agent->id), db_text(agent->name), db_text(user), db_text(client_type), db_text(context), db_text(bytes_or(in->title, BYTES(""))),
		db_int(SESSION_ACTIVE), db_text(bytes_or(in->tags, BYTES("[]"))), db_text(bytes_or(in->metadata, empty)), db_blob(state.p, state.n),
		db_blob(config.p, config.n), db_ident(&first->id), db_text(bytes_or(in->website_domain, BYTES(""))),
		db_text(bytes_or(in->ip_address, BYTES(""))), db_int(1), db_int(now), db_int(now), db_int(now), db_int(0),
		db_int(in->idle_ttl > 0 ? now + in->idle_ttl : 0), db_int(in->flags), db_int(in->idle_ttl),
	};
	e = db_run(t, c, &stmts[INSERT], args, COUNT(args), NULL);
	if (!e && in->tags.p)
		e = session_tags_store(t, c, site, &h_r->session, now, in->tags);
	return e ? e : head_of(t, args + 2, first, h_r);
}

static size_t count_members(struct bytes object)
{
	struct jsonx_walk w;
	size_t n = 0;
	jsonx_walk_begin(&w, object);
	while (jsonx_walk_next(&w))
		n++;
	return n;
}

enum err session_check_documents(struct task *t, struct bytes metadata, struct bytes state, struct bytes config)
{
	enum err e = ERR_OK;
	if (count_members(metadata) > SESSION_METADATA_PAIRS)
		e = task_fail_field(t, "metadata", "range", "may hold at most %d pairs", SESSION_METADATA_PAIRS);
	if (state.n > SESSION_DOCUMENT_MAX)
		e = task_fail_field(t, "state", "range", "must be at most %d bytes", SESSION_DOCUMENT_MAX);
	if (config.n > SESSION_DOCUMENT_MAX)
		return task_fail_field(t, "config", "range", "must be at most %d bytes", SESSION_DOCUMENT_MAX);
	enum err checked = policy_check_config(t, "config", config);
	return checked ? checked : e;
}

enum err session_remove(struct task *t, struct db_conn *c, const struct ident *site, const struct ident *session)
{
	int64_t n;
	enum err e = db_run(t, c, &stmts[DELETE], DB_ARGS(db_ident(site), db_ident(session)), &n);
	if (e)
		return e;
	if (n == 0)
		return task_fail(t, ERR_NOT_FOUND, "there is no such session");
	e = db_run(t, c, &stmts[UNTAG], DB_ARGS(db_ident(site), db_ident(session)), NULL);
	if (e)
		return e;
	e = conversation_detach_all(t, c, site, session);
	if (!e)
		e = spend_forget(t, c, site, session); /* behind the conversations, on which a turn that ends waits before it enters its cost */
	return e ? e : idem_forget(t, c, site, session);
}

enum err session_check_version(struct task *t, struct db_conn *c, const struct ident *site, const struct ident *session, int64_t if_version)
{
	struct conversation_session s;
	enum err e = conversation_lock_session(t, c, site, session, &s);
	return !e && if_version && s.version != if_version ? task_fail(t, ERR_PRECONDITION, "the session has changed since it was read") : e;
}

struct deletion {
	const struct head *h;
	int64_t if_version;
};

static enum err delete_in(struct task *t, struct db_conn *c, void *arg)
{
	const struct deletion *d = arg;
	enum err e = d->if_version ? session_check_version(t, c, &d->h->site, &d->h->session, d->if_version) : ERR_OK;
	return e ? e : session_remove(t, c, &d->h->site, &d->h->session);
}

enum err session_delete(struct task *t, struct app *app, const struct head *h, int64_t if_version)
{
	enum err e = store_transact(t, app, delete_in, &(struct deletion){ h, if_version });
	if (!e || e == ERR_COMMIT_UNKNOWN)
		head_changed(t, app, &h->site, &h->session);
	return e;
}

struct bytes session_object(struct arena *a, const struct head *h)
{
	struct buf b;
	buf_init(&b, a, h->json.n + 2);
	buf_add_bytes(&b, h->json);
	buf_add_char(&b, '}');
	return buf_bytes(&b);
}

struct bytes session_user(struct arena *a, const struct head *h)
{
	return jsonx_string(a, jsonx_member(session_object(a, h), "user"));
}

const struct feature session_feature = { .name = "session", .stmts = stmts, .n_stmts = COUNT(stmts) };
