/* SPDX-License-Identifier: MIT */
/*
 * purge: works off the table deletions. A row there names a detached conversation. Both leave in one transaction when nothing is below, so
 * a deletion that was interrupted is finished later, and an append that came late is purged too or refused. A conversation that others
 * descend from keeps what the longest of them sees, and waits: whoever removes a child wakes its parent. No new child can need more than
 * that: one that branches from a child sees no more of the parent than the child does.
 */
#include "app/purge.h"

#include "app/message.h"
#include "app/summary.h"
#include "app/turn.h"
#include "base/stamp.h"

#define LOCK_SQL "SELECT waits FROM deletions WHERE conversation = ? AND site = ?"
#define BELOW_SQL "SELECT c.parent, (SELECT MAX(m.seq) FROM messages m WHERE m.conversation = c.id) FROM conversations c WHERE c.id = ? AND c.site = ?"
#define ROUNDS 100  /* appends that were under way come once; nothing new finds the conversation */
#define LISTED 100  /* conversations of a deleted session that are removed at once */

enum { PENDING, NOTED, LOCK, BELOW, CHILDREN, FORGET_PARENT, REMOVE, DONE, WAIT, WAKE };
static const struct db_stmt stmts[] = {
	[PENDING] = { "SELECT conversation, site FROM deletions WHERE waits = 0 ORDER BY created_at LIMIT ?", NULL, "the janitor's, of all sites" },
	[NOTED] = { LOCK_SQL, NULL, NULL },
	[LOCK] = { LOCK_SQL " FOR UPDATE", LOCK_SQL, NULL },
	[BELOW] = { BELOW_SQL " FOR UPDATE", BELOW_SQL, NULL },
	[CHILDREN] = { "SELECT MAX(base_seq) FROM conversations WHERE parent = ? AND site = ?", NULL, NULL },
	[FORGET_PARENT] = { "UPDATE conversations SET parent = NULL WHERE parent = ? AND site = ? AND base_seq = 0", NULL, NULL },
	[REMOVE] = { "DELETE FROM conversations WHERE id = ? AND site = ?", NULL, NULL },
	[DONE] = { "DELETE FROM deletions WHERE conversation = ? AND site = ?", NULL, NULL },
	[WAIT] = { "UPDATE deletions SET waits = 1 WHERE conversation = ? AND site = ?", NULL, NULL },
	[WAKE] = { "UPDATE deletions SET waits = 0 WHERE conversation = ? AND site = ?", NULL, NULL },
};

struct removal {
	const struct ident *site, *conversation;
	bool is_over;        /* it went, or it waits, or somebody else was faster */
	struct ident parent; /* of one that went: to be looked at next; zero: none */
};

/* How much of a conversation its descendants see. */
static enum err read_kept(struct task *t, struct app *app, struct db_conn *c, const struct ident *site, const struct ident *conversation, int64_t *keep_r)
{
	struct db_rows *r;
	enum err e = store_read(t, app, c, &stmts[CHILDREN], DB_ARGS(db_ident(conversation), db_ident(site)), &r);
	*keep_r = e ? 0 : db_cell_int(r, 0, 0);
	return e;
}

static enum err remove_row(struct task *t, struct db_conn *c, struct removal *x)
{
	const struct db_arg id[] = { db_ident(x->conversation), db_ident(x->site) };
	enum err e = db_run(t, c, &stmts[FORGET_PARENT], id, COUNT(id), NULL);
	if (!e)
		e = db_run(t, c, &stmts[REMOVE], id, COUNT(id), NULL);
	if (!e)
		e = db_run(t, c, &stmts[DONE], id, COUNT(id), NULL);
	if (e || ident_is_zero(&x->parent))
		return e;
	return db_run(t, c, &stmts[WAKE], DB_ARGS(db_ident(&x->parent), db_ident(x->site)), NULL);
}

/*
 * Removes the conversation and the note if nothing is below and nobody descends from it. The note is locked first: a child that goes at the same time
 * wakes its parent either before the children are counted, or after the parent began to wait. The row lock keeps appends away.
 */
static enum err remove_in(struct task *t, struct db_conn *c, void *arg)
{
	struct removal *x = arg;
	struct db_rows *r;
	int64_t keep;
	const struct db_arg id[] = { db_ident(x->conversation), db_ident(x->site) };
	x->is_over = false;
	memset(&x->parent, 0, sizeof x->parent);
	enum err e = db_query(t, c, &stmts[LOCK], id, COUNT(id), &r);
	if (e)
		return e;
	if (r->n_rows == 0) {
		x->is_over = true;
		return ERR_OK;
	}
	e = db_query(t, c, &stmts[BELOW], id, COUNT(id), &r);
	if (!e)
		e = read_kept(t, NULL, c, x->site, x->conversation, &keep);
	if (e)
		return e;
	int64_t last = r->n_rows ? db_cell_int(r, 0, 1) : 0;
	if (r->n_rows)
		db_cell_ident(r, 0, 0, &x->parent);
	x->is_over = last <= keep;
	if (!x->is_over)
		return ERR_OK;
	if (keep == 0)
		return remove_row(t, c, x);
	memset(&x->parent, 0, sizeof x->parent);
	return db_run(t, c, &stmts[WAIT], id, COUNT(id), NULL);
}

static enum err is_noted(struct task *t, struct app *app, const struct ident *site, const struct ident *conversation, bool *is_noted_r)
{
	struct db_rows *r;
	enum err e = store_query(t, app, &stmts[NOTED], DB_ARGS(db_ident(conversation), db_ident(site)), &r);
	*is_noted_r = !e && r->n_rows > 0;
	return e;
}

/* Removes what is below and not seen by descendants, batch by batch. */
static enum err purge_below(struct task *t, struct app *app, const struct ident *site, const struct ident *conversation, int64_t *n_r)
{
	int64_t n, keep;
	enum err e = read_kept(t, app, NULL, site, conversation, &keep);
	if (e)
		return e;
	do {
		e = message_purge(t, app, site, conversation, keep, app->conf->sweep_batch, &n);
		if (e)
			return e;
		*n_r += n;
	} while (n > 0);
	do {
		e = turn_purge(t, app, site, conversation, app->conf->sweep_batch, &n);
		if (e)
			return e;
		*n_r += n;
	} while (n > 0);
	e = summary_purge(t, app, site, conversation, keep, &n);
	*n_r += e ? 0 : n;
	return e;
}

/* One conversation, and the ancestors that waited for it. One that is not noted is in use: nothing is touched. */
static enum err purge(struct task *t, struct app *app, const struct ident *site, const struct ident *conversation, int64_t *n_r)
{
	struct ident id = *conversation;
	while (!ident_is_zero(&id)) {
		struct ident next = { { 0 } };
		struct removal x = { .site = site, .conversation = &id };
		bool may_go;
		enum err noted = is_noted(t, app, site, &id, &may_go);
		if (noted || !may_go)
			return noted;
		for (int i = 0; i < ROUNDS && !x.is_over; i++) {
			enum err e = purge_below(t, app, site, &id, n_r);
			if (!e)
				e = store_transact(t, app, remove_in, &x);
			if (e)
				return e;
			next = x.parent;
		}
		if (!x.is_over)
			return ERR_OK;
		id = next;
	}
	return ERR_OK;
}

enum err purge_conversations(struct task *t, struct app *app, const struct ident *site, const struct ident *ids, size_t n)
{
	int64_t n_rows = 0;
	enum err worst = ERR_OK;
	for (size_t i = 0; i < n; i++) {
		enum err e = purge(t, app, site, &ids[i], &n_rows);
		worst = e ? e : worst;
	}
	return worst;
}

enum err purge_session(struct task *t, struct app *app, const struct head *h, int64_t if_version)
{
	struct conversation *list;
	struct ident ids[LISTED], first = { { 0 } };
	size_t n;
	enum err e = conversation_list(t, app, h, &first, LISTED, &list, &n);
	if (e && e != ERR_CORRUPT)
		return e;
	task_clear_fault(t);
	for (size_t i = 0; !e && i < n; i++)
		ids[i] = list[i].id;
	if (e)
		n = 0;
	e = session_delete(t, app, h, if_version);
	if (e)
		return e;
	/* Everything below is out of reach already; should this fail, the janitor goes on with it. */
	if (purge_conversations(t, app, &h->site, ids, n) != ERR_OK)
		task_clear_fault(t);
	return ERR_OK;
}

/* One batch; *is_last_r when nothing more can be done now. A conversation that cannot be removed does not keep the others. */
static enum err sweep_batch(struct task *t, struct app *app, int64_t *n_r, bool *is_last_r)
{
	struct db_rows *r;
	*is_last_r = true;
	enum err worst = store_query(t, app, &stmts[PENDING], DB_ARGS(db_int(app->conf->sweep_batch)), &r);
	size_t n = worst ? 0 : r->n_rows;
	for (size_t i = 0; i < n; i++) {
		struct ident conversation, site;
		db_cell_ident(r, i, 0, &conversation);
		db_cell_ident(r, i, 1, &site);
		enum err e = purge(t, app, &site, &conversation, n_r);
		worst = e ? e : worst;
	}
	if (!worst)
		*is_last_r = (int64_t)r->n_rows < app->conf->sweep_batch;
	return worst;
}

/* As much as there is time for: sessions may go faster than one batch a round. */
static enum err sweep(struct task *t, struct app *app, int64_t *n_r)
{
	int64_t until = stamp_mono_ms() + app->conf->sweep_interval / 2;
	struct arena *a = arena_open(16384);
	enum err e;
	bool is_last;
	do {
		struct task own;
		task_init(&own, a);
		e = sweep_batch(&own, app, n_r, &is_last);
		if (e)
			task_fail_internal(t, e, "%s", own.fault.internal ? own.fault.internal : err_code(e));
		arena_reset(a);
	} while (!is_last && stamp_mono_ms() < until);
	arena_close(&a);
	return e;
}

const struct feature purge_feature = { .name = "purge", .stmts = stmts, .n_stmts = COUNT(stmts), .sweep = sweep, .swept = "rows below deleted sessions removed" };
