/* SPDX-License-Identifier: MIT */
/*
 * purge: works off the table deletions. A row there names a conversation whose session is gone; it leaves when nothing is left below, so a
 * deletion that was interrupted is finished later.
 */
#include "app/purge.h"

#include "app/message.h"
#include "app/turn.h"

enum { PENDING, DONE };
static const struct db_stmt stmts[] = {
	[PENDING] = { "SELECT conversation, site FROM deletions ORDER BY created_at LIMIT ?", NULL, "the janitor's, of all sites" },
	[DONE] = { "DELETE FROM deletions WHERE conversation = ? AND site = ?", NULL, NULL },
};

static enum err purge(struct task *t, struct app *app, const struct ident *site, const struct ident *conversation, int64_t *n_r)
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
	return store_run(t, app, &stmts[DONE], DB_ARGS(db_ident(conversation), db_ident(site)), NULL);
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
