/* SPDX-License-Identifier: MIT */
/*
 * purge: works off the table deletions. A row there names a conversation whose session is gone. Both leave in one transaction when nothing is
 * below, so a deletion that was interrupted is finished later, and an append that came late is purged too or refused.
 */
#include "app/purge.h"

#include "app/message.h"
#include "app/turn.h"

#define LOCK_SQL "SELECT (SELECT MIN(m.seq) FROM messages m WHERE m.conversation = c.id) FROM conversations c WHERE c.id = ? AND c.site = ?"
#define ROUNDS 100 /* appends that were under way come once; nothing new finds the session */

enum { PENDING, LOCK, REMOVE, DONE };
static const struct db_stmt stmts[] = {
	[PENDING] = { "SELECT conversation, site FROM deletions ORDER BY created_at LIMIT ?", NULL, "the janitor's, of all sites" },
	[LOCK] = { LOCK_SQL " FOR UPDATE", LOCK_SQL, NULL },
	[REMOVE] = { "DELETE FROM conversations WHERE id = ? AND site = ?", NULL, NULL },
	[DONE] = { "DELETE FROM deletions WHERE conversation = ? AND site = ?", NULL, NULL },
};

struct removal {
	const struct ident *site, *conversation;
	bool is_empty; /* nothing was below, so the conversation went */
};

/* Removes the conversation and the note if nothing is below; its row lock keeps appends away meanwhile. */
static enum err remove_in(struct task *t, struct db_conn *c, void *arg)
{
	struct removal *x = arg;
	struct db_rows *r;
	enum err e = db_query(t, c, &stmts[LOCK], DB_ARGS(db_ident(x->conversation), db_ident(x->site)), &r);
	if (e)
		return e;
	x->is_empty = r->n_rows == 0 || db_cell(r, 0, 0)->type == DB_NULL;
	if (!x->is_empty)
		return ERR_OK;
	e = db_run(t, c, &stmts[REMOVE], DB_ARGS(db_ident(x->conversation), db_ident(x->site)), NULL);
	return e ? e : db_run(t, c, &stmts[DONE], DB_ARGS(db_ident(x->conversation), db_ident(x->site)), NULL);
}

/* Removes what is below, batch by batch. */
static enum err purge_below(struct task *t, struct app *app, const struct ident *site, const struct ident *conversation, int64_t *n_r)
{
	int64_t n;
	do {
		enum err e = message_purge(t, app, site, conversation, app->conf->sweep_batch, &n);
		if (e)
			return e;
		*n_r += n;
	} while (n > 0);
	do {
		enum err e = turn_purge(t, app, site, conversation, app->conf->sweep_batch, &n);
		if (e)
			return e;
		*n_r += n;
	} while (n > 0);
	return ERR_OK;
}

static enum err purge(struct task *t, struct app *app, const struct ident *site, const struct ident *conversation, int64_t *n_r)
{
	struct removal x = { .site = site, .conversation = conversation };
	for (int i = 0; i < ROUNDS && !x.is_empty; i++) {
		enum err e = purge_below(t, app, site, conversation, n_r);
		if (!e)
			e = store_transact(t, app, remove_in, &x);
		if (e)
			return e;
	}
	return ERR_OK;
}

enum err purge_session(struct task *t, struct app *app, const struct ident *site, const struct ident *conversation)
{
	int64_t n = 0;
	return purge(t, app, site, conversation, &n);
}

static enum err sweep(struct task *t, struct app *app, int64_t *n_r)
{
	struct db_rows *r;
	enum err e = store_query(t, app, &stmts[PENDING], DB_ARGS(db_int(app->conf->sweep_batch)), &r);
	for (size_t i = 0; !e && i < r->n_rows; i++) {
		struct ident conversation, site;
		db_cell_ident(r, i, 0, &conversation);
		db_cell_ident(r, i, 1, &site);
		e = purge(t, app, &site, &conversation, n_r);
	}
	return e;
}

const struct feature purge_feature = { .name = "purge", .stmts = stmts, .n_stmts = COUNT(stmts), .sweep = sweep };
