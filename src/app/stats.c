/* SPDX-License-Identifier: MIT */
/*
 * stats: counts, never kept anywhere. Sequence numbers are dense, so a conversation's newest one tells how many messages it holds without looking at
 * them.
 */
#include "app/stats.h"

#include "app/render.h"
#include "app/turn.h"
#include "base/stamp.h"

#define OWN_MESSAGES "COALESCE((SELECT m.seq FROM messages m WHERE m.conversation = c.id ORDER BY m.seq DESC LIMIT 1) - c.base_seq, 0)"
#define CONVERSATIONS_SQL(type) \
	"SELECT COUNT(*), CAST(SUM(" OWN_MESSAGES ") AS " type ") FROM sessions s JOIN conversations c ON c.session = s.id WHERE s.site = ?"

enum { SESSIONS, USERS, DUE, CONVERSATIONS, TURNS, DELETIONS, BYTES_USED };
static const struct db_stmt stmts[] = {
	[SESSIONS] = { "SELECT status, COUNT(*) FROM sessions WHERE site = ? GROUP BY status", NULL, NULL },
	[USERS] = { "SELECT COUNT(DISTINCT user_id) FROM sessions WHERE site = ?", NULL, NULL },
	[DUE] = { "SELECT COUNT(*) FROM sessions WHERE site = ? AND expires_at > 0 AND expires_at <= ? AND status < 3", NULL, NULL },
	[CONVERSATIONS] = { CONVERSATIONS_SQL("SIGNED"), CONVERSATIONS_SQL("INTEGER"), NULL },
	[TURNS] = { "SELECT t.status, COUNT(*) FROM sessions s JOIN conversations c ON c.session = s.id JOIN turns t ON t.conversation = c.id"
		    " WHERE s.site = ? GROUP BY t.status", NULL, NULL },
	[DELETIONS] = { "SELECT COUNT(*) FROM deletions WHERE site = ?", NULL, NULL },
	[BYTES_USED] = { "SELECT CAST(SUM(data_length + index_length) AS SIGNED) FROM information_schema.tables WHERE table_schema = DATABASE()",
			 "SELECT c.page_count * s.page_size FROM pragma_page_count() c, pragma_page_size() s", "of the whole database" },
};

/* Groups of (number, count): each count goes where the number points, counts[0] takes unknown ones. */
static enum err count_groups(struct task *t, struct app *app, const struct db_stmt *stmt, const struct ident *site, int64_t *counts, size_t n)
{
	struct db_rows *r;
	enum err e = store_query(t, app, stmt, DB_ARGS(db_ident(site)), &r);
	for (size_t i = 0; !e && i < r->n_rows; i++) {
		int64_t k = db_cell_int(r, i, 0);
		counts[k > 0 && k < (int64_t)n ? k : 0] += db_cell_int(r, i, 1);
	}
	return e;
}

static enum err count_one(struct task *t, struct app *app, const struct db_stmt *stmt, const struct db_arg *args, size_t n, int64_t *count_r)
{
	struct db_rows *r;
	enum err e = store_query(t, app, stmt, args, n, &r);
	*count_r = e ? 0 : db_cell_int(r, 0, 0);
	return e;
}

enum err stats_site(struct task *t, struct app *app, const struct ident *site, struct site_stats *stats_r)
{
	int64_t sessions[SESSION_ARCHIVED + 1] = { 0 }, turns[TURN_CANCELLED + 1] = { 0 }, now = stamp_now();
	struct db_rows *r;
	struct spend_day *days;
	size_t n_days;
	memset(stats_r, 0, sizeof *stats_r);
	enum err e = count_groups(t, app, &stmts[SESSIONS], site, sessions, COUNT(sessions));
	if (!e)
		e = count_groups(t, app, &stmts[TURNS], site, turns, COUNT(turns));
	if (!e)
		e = count_one(t, app, &stmts[USERS], DB_ARGS(db_ident(site)), &stats_r->users);
	if (!e)
		e = count_one(t, app, &stmts[DUE], DB_ARGS(db_ident(site), db_int(now)), &stats_r->due);
	if (!e)
		e = count_one(t, app, &stmts[DELETIONS], DB_ARGS(db_ident(site)), &stats_r->deletions);
	if (!e)
		e = spend_read_month(t, app, site, NULL, spend_date(now) / 100, &days, &n_days);
	if (!e)
		e = store_query(t, app, &stmts[CONVERSATIONS], DB_ARGS(db_ident(site)), &r);
	if (e)
		return e;
	stats_r->conversations = db_cell_int(r, 0, 0);
	stats_r->messages = db_cell_int(r, 0, 1);
	stats_r->active = sessions[SESSION_ACTIVE];
	stats_r->ended = sessions[SESSION_ENDED];
	stats_r->archived = sessions[SESSION_ARCHIVED];
	stats_r->turns_running = turns[TURN_RUNNING];
	stats_r->turns_done = turns[TURN_DONE];
	stats_r->turns_failed = turns[TURN_FAILED];
	stats_r->turns_cancelled = turns[TURN_CANCELLED];
	stats_r->month = spend_total(days, n_days);
	return ERR_OK;
}

enum err stats_bytes(struct task *t, struct app *app, int64_t *bytes_r)
{
	return count_one(t, app, &stmts[BYTES_USED], NULL, 0, bytes_r);
}

const struct feature stats_feature = { .name = "stats", .stmts = stmts, .n_stmts = COUNT(stmts) };
