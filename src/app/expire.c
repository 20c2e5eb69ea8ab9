/* SPDX-License-Identifier: MIT */
/*
 * expire: the end of sessions. sessions.expires_at says when a sweep has to look at one: no later than an active one may have been idle for too long,
 * and when an ended one goes. Appends never touch it: a sweep asks for the newest message and moves it on.
 *
 * Invariant: an acknowledged message is never lost to an idle session's end. A sweep locks the session and its conversations, which waits for
 * appends that are under way and keeps others out, and then looks at the newest message. An append that was admitted before the end may still
 * be stored after it; so what an ephemeral or hybrid session has to lose is taken only some time later (SESSION_IS_SETTLING), and the session is
 * active again if such a message came.
 */
#include "app/expire.h"

#include "app/codec.h"
#include "app/compress.h"
#include "app/conversation.h"
#include "app/policy.h"
#include "app/site.h"
#include "base/log.h"
#include "base/stamp.h"

#define LOCK_SQL "SELECT status, flags, idle_ttl, active_at, ended_at, expires_at, config FROM sessions WHERE site = ? AND id = ?"
#define CONVERSATIONS_SQL "SELECT id FROM conversations WHERE session = ? AND site = ? ORDER BY id"
#define SUMMARY_TOKENS 2048 /* of all ends together */
#define GRACE_TIMEOUTS 3 /* an append gives up when the database did not answer twice */

enum { DUE, LOCK, CONVERSATIONS, ACTIVITY, MOVE, END, REOPEN, KEEP, STATE };
static const struct db_stmt stmts[] = {
	[DUE] = { "SELECT id, site, expires_at, idle_ttl, active_at FROM sessions WHERE expires_at > 0 AND expires_at <= ? AND status = 1"
		  " AND expires_at >= ? AND (expires_at > ? OR id > ?) ORDER BY expires_at, id LIMIT ?", NULL, "the janitor's, of all sites" },
	[LOCK] = { LOCK_SQL " FOR UPDATE", LOCK_SQL, NULL },
	[CONVERSATIONS] = { CONVERSATIONS_SQL " FOR UPDATE", CONVERSATIONS_SQL, NULL },
	[ACTIVITY] = { "SELECT MAX(c.created_at), MAX((SELECT m.created_at FROM messages m WHERE m.conversation = c.id ORDER BY m.seq DESC LIMIT 1)),"
		       " MAX((SELECT l.lease_until FROM turn_leases l WHERE l.conversation = c.id)) FROM conversations c WHERE c.session = ? AND c.site = ?",
		       NULL, NULL },
	[MOVE] = { "UPDATE sessions SET expires_at = ? WHERE site = ? AND id = ? AND status = 1 AND expires_at = ?", NULL, NULL },
	[END] = { "UPDATE sessions SET status = 2, ended_at = ?, updated_at = ?, expires_at = ?, flags = ?, version = version + 1 WHERE site = ? AND id = ?",
		  NULL, NULL },
	[REOPEN] = { "UPDATE sessions SET status = 1, ended_at = 0, updated_at = ?, expires_at = ?, flags = ?, version = version + 1"
		     " WHERE site = ? AND id = ?", NULL, NULL },
	[STATE] = { "UPDATE sessions SET state = ? WHERE site = ? AND id = ?", NULL, NULL },
	[KEEP] = { "UPDATE sessions SET expires_at = ?, flags = ?, active_at = ? WHERE site = ? AND id = ?", NULL, NULL },
};

/* A session's row, locked. */
struct locked {
	const struct ident *site, *id;
	int status, flags;
	int64_t idle_ttl, active_at, ended_at, expires_at;
	enum memory_policy memory;
	bool auto_persist;
};

static enum err lock_session(struct task *t, struct db_conn *c, const struct ident *site, const struct ident *id, struct locked *s_r)
{
	struct db_rows *r;
	struct bytes config;
	enum err e = db_query(t, c, &stmts[LOCK], DB_ARGS(db_ident(site), db_ident(id)), &r);
	if (e)
		return e;
	if (r->n_rows == 0)
		return task_fail(t, ERR_NOT_FOUND, "there is no such session");
	*s_r = (struct locked){ .site = site, .id = id, .status = (int)db_cell_int(r, 0, 0), .flags = (int)db_cell_int(r, 0, 1), .idle_ttl = db_cell_int(r, 0, 2),
				.active_at = db_cell_int(r, 0, 3), .ended_at = db_cell_int(r, 0, 4), .expires_at = db_cell_int(r, 0, 5) };
	/* One that cannot be read is kept as long as any. */
	if (codec_unpack(t->arena, db_cell_bytes(r, 0, 6), &config) && render_is_sound(t, config, JSONX_OBJECT)) {
		struct policy p = policy_read(t, config);
		s_r->memory = p.memory;
		s_r->auto_persist = p.auto_persist;
	}
	return ERR_OK;
}

/* Waits for appends that are under way, and keeps others out until the transaction ends. Which ones they are is in rest_r. */
static enum err lock_conversations(struct task *t, struct db_conn *c, const struct locked *s, struct expire_rest *rest_r)
{
	struct db_rows *r;
	enum err e = db_query(t, c, &stmts[CONVERSATIONS], DB_ARGS(db_ident(s->id), db_ident(s->site)), &r);
	if (e)
		return e;
	rest_r->detached = arena_array(t->arena, r->n_rows, sizeof *rest_r->detached);
	rest_r->n = r->n_rows;
	for (size_t i = 0; i < r->n_rows; i++)
		db_cell_ident(r, i, 0, &rest_r->detached[i]);
	return ERR_OK;
}

/* What was last done in a session's conversations. */
struct activity {
	int64_t begun_at;   /* the newest conversation */
	int64_t message_at; /* the newest message that is theirs; 0: none */
	int64_t busy_until; /* a turn's lease */
};

static enum err read_activity(struct task *t, struct app *app, struct db_conn *c, const struct ident *site, const struct ident *id, struct activity *a_r)
{
	struct db_rows *r;
	enum err e = store_read(t, app, c, &stmts[ACTIVITY], DB_ARGS(db_ident(id), db_ident(site)), &r);
	if (e)
		return e;
	*a_r = (struct activity){ db_cell_int(r, 0, 0), db_cell_int(r, 0, 1), db_cell_int(r, 0, 2) };
	return ERR_OK;
}

static int64_t later(int64_t a, int64_t b)
{
	return a > b ? a : b;
}

/* When an active session ends unless something happens: never while a turn runs. */
static int64_t idle_end(const struct activity *a, int64_t active_at, int64_t idle_ttl)
{
	return later(later(later(a->begun_at, a->message_at), active_at) + idle_ttl, a->busy_until + 1);
}

static int64_t keep_until(int64_t from, int64_t keep_ms)
{
	return keep_ms > 0 ? from + keep_ms : 0;
}

static enum err run_end(struct task *t, struct db_conn *c, const struct locked *s, int64_t now, int64_t expires_at, int flags)
{
	return db_run(t, c, &stmts[END], DB_ARGS(db_int(now), db_int(now), db_int(expires_at), db_int(flags), db_ident(s->site), db_ident(s->id)), NULL);
}

/* A state with the summary of one more history. */
static struct bytes state_with(struct arena *a, struct bytes state, struct bytes summary)
{
	struct bytes earlier = jsonx_member(state, "summary");
	struct buf patch;
	if (jsonx_type(earlier) == JSONX_STRING) {
		struct extract_text both[] = { { 0, jsonx_string(a, earlier) }, { 0, summary } };
		summary = extract_summary(a, both, COUNT(both), SUMMARY_TOKENS);
	}
	buf_init(&patch, a, summary.n + 32);
	buf_add_char(&patch, '{');
	buf_member_string(&patch, "summary", summary);
	buf_add_char(&patch, '}');
	return jsonx_merge(a, state, buf_bytes(&patch));
}

/* Writes down what the history comes to. */
static enum err keep_summary(struct task *t, struct app *app, struct db_conn *c, const struct locked *s)
{
	struct head h;
	struct bytes text;
	enum err e = head_read(t, app, c, s->site, s->id, &h);
	if (!e)
		e = compress_extract(t, app, c, &h, 0, &text);
	if (e || text.n == 0)
		return e;
	struct buf json;
	buf_init(&json, t->arena, h.json.n + 1);
	buf_add_bytes(&json, h.json);
	buf_add_char(&json, '}');
	struct bytes state = codec_pack(t->arena, state_with(t->arena, jsonx_member(buf_bytes(&json), "state"), text));
	return db_run(t, c, &stmts[STATE], DB_ARGS(db_blob(state.p, state.n), db_ident(s->site), db_ident(s->id)), NULL);
}

static enum err forget_history(struct task *t, struct app *app, struct db_conn *c, const struct locked *s)
{
	struct ident fresh;
	enum err e = s->auto_persist ? keep_summary(t, app, c, s) : ERR_OK;
	return e ? e : conversation_clear(t, c, s->site, s->id, &fresh);
}

/* Takes from an ended session, whose conversations are locked, what its policy does not keep. It was last used at last_at. */
static enum err settle(struct task *t, struct app *app, struct db_conn *c, const struct locked *s, int64_t last_at, int64_t keep_ms,
		       struct expire_rest *rest)
{
	enum err e = ERR_OK;
	int flags = s->flags & ~SESSION_IS_SETTLING;
	rest->is_gone = s->memory == MEMORY_EPHEMERAL;
	if (rest->is_gone)
		return session_remove(t, c, s->site, s->id);
	if (s->memory == MEMORY_HYBRID)
		e = forget_history(t, app, c, s);
	if (e && e != ERR_CORRUPT)
		return e;
	if (s->memory == MEMORY_HYBRID && !e)
		flags = 0; /* they told of what is cleared */
	else
		rest->n = 0; /* what cannot be read is kept, as any other session */
	task_clear_fault(t);
	return db_run(t, c, &stmts[KEEP], DB_ARGS(db_int(keep_until(s->ended_at, keep_ms)), db_int(flags), db_int(last_at), db_ident(s->site), db_ident(s->id)),
		      NULL);
}

enum err expire_end(struct task *t, struct app *app, struct db_conn *c, struct head *h, int64_t keep_ms, struct expire_rest *rest_r)
{
	struct ident site = h->site, id = h->session; /* h is overwritten */
	struct locked s;
	*rest_r = (struct expire_rest){ .n = 0 };
	enum err e = lock_session(t, c, &site, &id, &s);
	if (!e && s.status == SESSION_ACTIVE) {
		s.ended_at = stamp_now();
		s.flags &= ~SESSION_IS_SETTLING;
		e = run_end(t, c, &s, s.ended_at, keep_until(s.ended_at, keep_ms), s.flags);
	} else {
		s.memory = MEMORY_PERSISTENT;
	}
	if (!e && s.memory != MEMORY_PERSISTENT)
		e = lock_conversations(t, c, &s, rest_r);
	if (!e && s.memory == MEMORY_EPHEMERAL) { /* its last state is the answer */
		e = head_read(t, app, c, &site, &id, h);
		return e ? e : settle(t, app, c, &s, s.ended_at, keep_ms, rest_r);
	}
	if (!e && s.memory == MEMORY_HYBRID)
		e = settle(t, app, c, &s, s.ended_at, keep_ms, rest_r);
	return e ? e : head_read(t, app, c, &site, &id, h);
}

enum err expire_keep(struct task *t, struct app *app, const struct ident *site, int64_t *keep_ms_r)
{
	return site_find_ttl(t, app, site, TTL_HISTORY, keep_ms_r);
}

struct end {
	struct app *app;
	struct head *h;
	int64_t keep_ms;
	struct expire_rest rest;
};

static enum err end_in(struct task *t, struct db_conn *c, void *arg)
{
	struct end *x = arg;
	return expire_end(t, x->app, c, x->h, x->keep_ms, &x->rest);
}

enum err expire_session(struct task *t, struct app *app, struct head *h, struct expire_rest *rest_r)
{
	struct end x = { .app = app, .h = h };
	struct ident site = h->site, id = h->session;
	enum err e = expire_keep(t, app, &site, &x.keep_ms);
	if (e)
		return e;
	e = store_transact(t, app, end_in, &x);
	if (!e || e == ERR_COMMIT_UNKNOWN)
		head_changed(t, app, &site, &id);
	*rest_r = x.rest;
	return e;
}

/* ---- sweeping ---- */

struct sweep {
	struct app *app;
	const struct expire_due *due;
	int64_t now, keep_ms;
	bool is_done, is_changed;
};

/* Locks the session; *is_due_r tells whether there is still something to do for it. */
static enum err lock_due(struct task *t, struct db_conn *c, struct sweep *x, int status, struct locked *s_r, bool *is_due_r)
{
	x->is_done = x->is_changed = false;
	enum err e = lock_session(t, c, &x->due->site, &x->due->id, s_r);
	*is_due_r = !e && s_r->status == status && s_r->expires_at != 0 && s_r->expires_at <= x->now;
	return e;
}

/* Looks again with everything locked. */
static enum err end_idle_in(struct task *t, struct db_conn *c, void *arg)
{
	struct sweep *x = arg;
	struct locked s;
	struct activity a;
	struct expire_rest rest;
	bool is_due;
	enum err e = lock_due(t, c, x, SESSION_ACTIVE, &s, &is_due);
	if (e || !is_due)
		return e;
	e = lock_conversations(t, c, &s, &rest);
	if (!e)
		e = read_activity(t, x->app, c, s.site, s.id, &a);
	if (e)
		return e;
	int64_t end = idle_end(&a, s.active_at, s.idle_ttl), now = stamp_now();
	if (s.idle_ttl <= 0 || end > now)
		return db_run(t, c, &stmts[MOVE], DB_ARGS(db_int(s.idle_ttl > 0 ? end : 0), db_ident(s.site), db_ident(s.id), db_int(s.expires_at)), NULL);
	x->is_done = x->is_changed = true;
	if (s.memory == MEMORY_PERSISTENT)
		return run_end(t, c, &s, now, keep_until(now, x->keep_ms), s.flags & ~SESSION_IS_SETTLING);
	return run_end(t, c, &s, now, now + GRACE_TIMEOUTS * x->app->conf->database_timeout, s.flags | SESSION_IS_SETTLING);
}

/* Runs one session's transaction; one that is gone meanwhile is fine. */
static enum err sweep_one(struct task *t, struct app *app, const struct expire_due *due, enum err (*fn)(struct task *t, struct db_conn *c, void *arg),
			  bool *done_r)
{
	struct sweep x = { .app = app, .due = due, .now = stamp_now() };
	enum err e = expire_keep(t, app, &due->site, &x.keep_ms);
	if (!e)
		e = store_transact(t, app, fn, &x);
	if ((!e && x.is_changed) || e == ERR_COMMIT_UNKNOWN)
		head_changed(t, app, &due->site, &due->id);
	*done_r = !e && x.is_done;
	return e == ERR_NOT_FOUND ? ERR_OK : e;
}

/* Most of those that are due were used meanwhile: they are moved on without a lock. */
static enum err end_idle(struct task *t, struct app *app, const struct expire_due *due, bool *done_r)
{
	struct activity a;
	enum err e = read_activity(t, app, NULL, &due->site, &due->id, &a);
	if (e)
		return e;
	int64_t end = due->idle_ttl > 0 ? idle_end(&a, due->active_at, due->idle_ttl) : 0;
	if (end == 0 || end > stamp_now())
		return store_run(t, app, &stmts[MOVE], DB_ARGS(db_int(end), db_ident(&due->site), db_ident(&due->id), db_int(due->expires_at)), NULL);
	return sweep_one(t, app, due, end_idle_in, done_r);
}

static enum err remove_in(struct task *t, struct db_conn *c, void *arg)
{
	struct sweep *x = arg;
	struct locked s;
	struct activity a;
	struct expire_rest rest;
	bool is_due;
	enum err e = lock_due(t, c, x, SESSION_ENDED, &s, &is_due);
	if (e || !is_due)
		return e;
	x->is_changed = true;
	if (!(s.flags & SESSION_IS_SETTLING)) {
		x->is_done = true;
		return session_remove(t, c, s.site, s.id);
	}
	e = lock_conversations(t, c, &s, &rest);
	if (!e)
		e = read_activity(t, x->app, c, s.site, s.id, &a);
	if (e)
		return e;
	/* Nothing was that young when it was ended, so it came after. */
	if (a.message_at + s.idle_ttl > s.ended_at)
		return db_run(t, c, &stmts[REOPEN], DB_ARGS(db_int(stamp_now()), db_int(a.message_at + s.idle_ttl), db_int(s.flags & ~SESSION_IS_SETTLING),
							    db_ident(s.site), db_ident(s.id)), NULL);
	x->is_done = true;
	return settle(t, x->app, c, &s, later(s.active_at, a.message_at), x->keep_ms, &rest);
}

enum err expire_remove(struct task *t, struct app *app, const struct expire_due *due, bool *done_r)
{
	return sweep_one(t, app, due, remove_in, done_r);
}

static void report(const struct task *t, const struct expire_due *due, enum err e)
{
	char id[IDENT_SIZE];
	ident_format(PREFIX_SESSION, &due->id, id);
	log_error(t, "session_not_swept", { "session", id, 0 }, { "code", err_code(e), 0 }, { "internal", t->fault.internal ? t->fault.internal : "", 0 });
}

enum err expire_each(struct task *t, struct app *app, const struct db_stmt *stmt,
		     enum err (*one)(struct task *t, struct app *app, const struct expire_due *due, bool *done_r), int64_t *n_r)
{
	int64_t until = stamp_mono_ms() + app->conf->sweep_interval / 2, batch = app->conf->sweep_batch, now = stamp_now();
	struct expire_due due = { .expires_at = 1 };
	struct arena *a = arena_open(16384); /* a round may see many sessions, and each its whole history */
	enum err worst = ERR_OK;
	struct db_rows *r;
	do {
		enum err e = store_query(t, app, stmt, DB_ARGS(db_int(now), db_int(due.expires_at), db_int(due.expires_at), db_ident(&due.id), db_int(batch)), &r);
		if (e) {
			worst = e;
			break;
		}
		for (size_t i = 0; i < r->n_rows; i++) {
			struct task own;
			bool is_done = false;
			db_cell_ident(r, i, 0, &due.id);
			db_cell_ident(r, i, 1, &due.site);
			due.expires_at = db_cell_int(r, i, 2);
			due.idle_ttl = db_cell_int(r, i, 3);
			due.active_at = db_cell_int(r, i, 4);
			task_init(&own, a);
			e = one(&own, app, &due, &is_done);
			if (e) {
				report(&own, &due, e);
				worst = e;
			}
			*n_r += is_done;
			arena_reset(a);
		}
	} while ((int64_t)r->n_rows == batch && stamp_mono_ms() < until);
	arena_close(&a);
	return worst;
}

static enum err sweep(struct task *t, struct app *app, int64_t *n_r)
{
	return expire_each(t, app, &stmts[DUE], end_idle, n_r);
}

const struct feature expire_feature = { .name = "expire", .stmts = stmts, .n_stmts = COUNT(stmts), .sweep = sweep, .swept = "idle sessions ended" };
