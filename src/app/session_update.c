/* SPDX-License-Identifier: MIT */
/*
 * session_update: changes rows of sessions. Invariants: whoever reads a row to write what comes of it holds it; a change counts the version up by one
 * exactly, so that of several writers who know the same version one wins.
 */
#include "app/session_update.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "app/codec.h"
#include "base/metrics.h"
#include "base/stamp.h"

#define LOCK_SQL "SELECT title, tags, metadata, state, config, context, version, created_at, conversation FROM sessions WHERE site = ? AND id = ?"

enum { LOCK, UPDATE, CONVERSATION, RESUME, ARCHIVE };
static const struct db_stmt stmts[] = {
	[LOCK] = { LOCK_SQL " FOR UPDATE", LOCK_SQL, NULL },
	[UPDATE] = { "UPDATE sessions SET title = ?, tags = ?, metadata = ?, state = ?, config = ?, context = ?, conversation = ?,"
		     " version = version + 1, updated_at = ?, active_at = ? WHERE site = ? AND id = ?", NULL, NULL },
	[CONVERSATION] = { "SELECT 1 FROM conversations WHERE id = ? AND session = ? AND site = ?", NULL, NULL },
	[RESUME] = { "UPDATE sessions SET status = 1, ended_at = 0, expires_at = CASE WHEN idle_ttl > 0 THEN ? + idle_ttl ELSE 0 END, updated_at = ?,"
		     " active_at = ?, version = version + 1 WHERE site = ? AND id = ? AND status <> 1", NULL, NULL },
	[ARCHIVE] = { "UPDATE sessions SET status = 3, ended_at = CASE WHEN ended_at = 0 THEN ? ELSE ended_at END, expires_at = 0, updated_at = ?,"
		      " version = version + 1 WHERE site = ? AND id = ? AND status <> 3", NULL, NULL },
};

/* A session's parts while they are changed. */
struct parts {
	struct bytes title, context, tags, metadata, state, config;
	struct ident conversation;
	int64_t created_at;
};

struct update {
	struct app *app;
	struct head *h;
	const struct session_change *in;
	struct bytes *json_r;
};

static struct bytes merged(struct arena *a, struct bytes stored, struct bytes patch)
{
	return patch.p ? jsonx_merge(a, stored, patch) : stored;
}

/* A document with one member merged with a patch. */
static struct bytes merged_member(struct arena *a, struct bytes stored, const char *name, struct bytes patch)
{
	struct buf b;
	buf_init(&b, a, patch.n + 32);
	buf_add_char(&b, '{');
	buf_member_json(&b, name, patch);
	buf_add_char(&b, '}');
	return jsonx_merge(a, stored, buf_bytes(&b));
}

/* The shortest decimal that reads back as the same number. */
static void add_real(struct buf *b, double v)
{
	char text[32];
	for (int digits = 15; digits <= 17; digits++) {
		snprintf(text, sizeof text, "%.*g", digits, v);
		if (strtod(text, NULL) == v)
			break;
	}
	buf_add_str(b, text);
}

/* The sum of two JSON numbers: whole while both are and it fits. False when it is past what a number holds. */
static bool add_numbers(struct buf *b, struct bytes x, struct bytes y)
{
	int64_t sum;
	if (jsonx_type(x) == JSONX_INT && jsonx_type(y) == JSONX_INT && !__builtin_add_overflow(jsonx_int(x), jsonx_int(y), &sum)) {
		buf_add_int(b, sum);
		return true;
	}
	double real = jsonx_real(x) + jsonx_real(y);
	if (!isfinite(real))
		return false;
	add_real(b, real);
	return true;
}

static bool is_number(struct bytes value)
{
	enum jsonx_type type = jsonx_type(value);
	return type == JSONX_INT || type == JSONX_REAL;
}

/* The patch of the state's metrics that adds what is given. */
static enum err sum_metrics(struct task *t, struct bytes state, struct bytes given, struct bytes *patch_r)
{
	struct jsonx_walk w;
	struct buf b;
	struct bytes stored = jsonx_member(state, "metrics");
	bool has_stored = jsonx_type(stored) == JSONX_OBJECT;
	enum err worst = ERR_OK;
	buf_init(&b, t->arena, given.n + 64);
	buf_add_char(&b, '{');
	jsonx_walk_begin(&w, given);
	while (jsonx_walk_next(&w)) {
		struct bytes name = jsonx_string(t->arena, w.raw_key);
		const char *key = arena_copy(t->arena, name.p, name.n);
		struct bytes old = has_stored ? jsonx_member(stored, key) : (struct bytes){ NULL, 0 };
		if (b.n > 1)
			buf_add_char(&b, ',');
		buf_add_bytes(&b, w.raw_key);
		buf_add_char(&b, ':');
		if (!is_number(w.value) || (old.n && !is_number(old)))
			worst = task_fail_field(t, arena_printf(t->arena, "metrics.%s", field_shown_name(t, name)), "type", "must be a number, and what it is added to as well");
		else if (!add_numbers(&b, old.n ? old : BYTES("0"), w.value))
			worst = task_fail_field(t, arena_printf(t->arena, "metrics.%s", field_shown_name(t, name)), "range", "the sum is past what a number can be");
	}
	buf_add_char(&b, '}');
	*patch_r = buf_bytes(&b);
	return worst;
}

/* A patch of one member goes one level deeper than it came; whoever reads the session must still be able to take it. */
static bool is_too_deep(struct arena *a, struct bytes state)
{
	struct jsonx_flaw flaw;
	struct buf b;
	buf_init(&b, a, state.n + 16);
	buf_add_char(&b, '{');
	buf_member_json(&b, "state", state);
	buf_add_char(&b, '}');
	return !jsonx_check(a, buf_bytes(&b), &flaw);
}

static enum err change_documents(struct task *t, const struct session_change *in, struct parts *p)
{
	struct bytes patch, none = BYTES("{}");
	p->metadata = merged(t->arena, p->metadata, in->metadata);
	p->state = merged(t->arena, p->state, in->state);
	p->config = merged(t->arena, p->config, in->config);
	if (in->preferences.p) {
		p->state = merged_member(t->arena, p->state, "preferences", in->preferences);
		if (is_too_deep(t->arena, p->state))
			return task_fail_field(t, "preferences", "range", "is nested too deeply");
	}
	if (in->metrics.p) {
		enum err e = sum_metrics(t, p->state, in->metrics, &patch);
		if (e)
			return e;
		p->state = merged_member(t->arena, p->state, "metrics", patch);
	}
	/* What was stored before a rule came is let be until it is changed. */
	return session_check_documents(t, p->metadata, p->state, in->config.p ? p->config : none);
}

/* Holds the row and reads it. */
static enum err read_parts(struct task *t, struct db_conn *c, const struct update *u, struct parts *p)
{
	struct db_rows *r;
	enum err e = db_query(t, c, &stmts[LOCK], DB_ARGS(db_ident(&u->h->site), db_ident(&u->h->session)), &r);
	if (e)
		return e;
	if (r->n_rows == 0)
		return task_fail(t, ERR_NOT_FOUND, "there is no such session");
	if (u->in->if_version && db_cell_int(r, 0, 6) != u->in->if_version)
		return task_fail(t, ERR_PRECONDITION, "the session has changed since it was read");
	p->title = bytes_or(u->in->title, db_cell_bytes(r, 0, 0));
	p->tags = bytes_or(u->in->tags, db_cell_bytes(r, 0, 1));
	p->metadata = db_cell_bytes(r, 0, 2);
	p->context = bytes_or(u->in->context, db_cell_bytes(r, 0, 5));
	p->created_at = db_cell_int(r, 0, 7);
	bool is_sound = codec_unpack(t->arena, db_cell_bytes(r, 0, 3), &p->state) && codec_unpack(t->arena, db_cell_bytes(r, 0, 4), &p->config) &&
			db_cell_ident(r, 0, 8, &p->conversation);
	return is_sound ? ERR_OK : task_fail(t, ERR_CORRUPT, "this session's record cannot be read");
}

/* The conversation that is to be the active one; the session's row keeps it from being deleted meanwhile. */
static enum err choose_conversation(struct task *t, struct db_conn *c, const struct update *u, struct parts *p)
{
	struct db_rows *r;
	if (!u->in->conversation)
		return ERR_OK;
	p->conversation = *u->in->conversation;
	enum err e = db_query(t, c, &stmts[CONVERSATION], DB_ARGS(db_ident(&p->conversation), db_ident(&u->h->session), db_ident(&u->h->site)), &r);
	if (!e && r->n_rows == 0)
		e = task_fail_field(t, "conversation_id", "value", "there is no such conversation in this session");
	return e;
}

static enum err write_parts(struct task *t, struct db_conn *c, const struct update *u, const struct parts *p)
{
	int64_t now = stamp_now();
	struct bytes state = codec_pack(t->arena, p->state), config = codec_pack(t->arena, p->config);
	enum err e = db_run(t, c, &stmts[UPDATE],
			    DB_ARGS(db_text(p->title), db_text(p->tags), db_text(p->metadata), db_blob(state.p, state.n), db_blob(config.p, config.n),
				    db_text(p->context), db_ident(&p->conversation), db_int(now), db_int(now), db_ident(&u->h->site),
				    db_ident(&u->h->session)), NULL);
	if (e || !u->in->tags.p)
		return e;
	return session_tags_replace(t, c, &u->h->site, &u->h->session, p->created_at, p->tags);
}

static enum err add_messages(struct task *t, struct db_conn *c, const struct update *u, const struct ident *conversation)
{
	size_t n = u->in->n_messages;
	if (n == 0)
		return ERR_OK;
	struct message_row *rows = arena_array(t->arena, n, sizeof *rows);
	enum err e = message_insert(t, c, &u->h->site, conversation, u->in->messages, n, true, rows);
	if (!e)
		memcpy(u->json_r, message_render_all(t->arena, rows, n), n * sizeof *u->json_r);
	return e;
}

static enum err update_in(struct task *t, struct db_conn *c, void *arg)
{
	const struct update *u = arg;
	struct parts p;
	enum err e = read_parts(t, c, u, &p);
	if (!e)
		e = change_documents(t, u->in, &p);
	if (!e)
		e = choose_conversation(t, c, u, &p);
	if (!e)
		e = write_parts(t, c, u, &p);
	if (!e)
		e = add_messages(t, c, u, &p.conversation);
	struct ident site = u->h->site, session = u->h->session; /* h is overwritten */
	return e ? e : head_read(t, u->app, c, &site, &session, u->h);
}

enum err session_update(struct task *t, struct app *app, struct head *h, const struct session_change *in, struct bytes *json_r)
{
	enum err e = store_transact(t, app, update_in, &(struct update){ app, h, in, json_r });
	if (!e || e == ERR_COMMIT_UNKNOWN)
		head_changed(t, app, &h->site, &h->session);
	if (!e)
		metric_add(METRIC_messages_appended_total, (int64_t)in->n_messages);
	return e;
}

enum err session_resume(struct task *t, struct db_conn *c, const struct ident *site, const struct ident *session)
{
	int64_t now = stamp_now();
	return db_run(t, c, &stmts[RESUME], DB_ARGS(db_int(now), db_int(now), db_int(now), db_ident(site), db_ident(session)), NULL);
}

enum err session_archive(struct task *t, struct db_conn *c, const struct ident *site, const struct ident *session)
{
	int64_t now = stamp_now();
	return db_run(t, c, &stmts[ARCHIVE], DB_ARGS(db_int(now), db_int(now), db_ident(site), db_ident(session)), NULL);
}

const struct feature session_update_feature = { .name = "session_update", .stmts = stmts, .n_stmts = COUNT(stmts) };
