/* SPDX-License-Identifier: MIT */
/* turn_queue: owns the table turn_queue. Numbers say the order and nothing else; they may begin anew when a queue is empty, and go below zero. */
#include "app/turn_queue.h"

#include "base/stamp.h"

#define LIFE_MS 10000
#define RENEW_MS 2500
#define MOST 10 /* in a conversation: each who waits holds one of the places for turns */

enum { BOUNDS, INSERT, AHEAD, RENEW, DELETE, FIRST, SWEEP_OLD };
static const struct db_stmt stmts[] = {
	[BOUNDS] = { "SELECT MIN(ticket), MAX(ticket), COUNT(CASE WHEN until >= ? THEN 1 END) FROM turn_queue WHERE conversation = ? AND site = ?", NULL, NULL },
	[INSERT] = { "INSERT INTO turn_queue (conversation, ticket, site, until) VALUES (?, ?, ?, ?)", NULL, NULL },
	[AHEAD] = { "SELECT (SELECT COUNT(*) FROM turn_queue WHERE conversation = ? AND site = ? AND ticket < ? AND until >= ?),"
		    " (SELECT COUNT(*) FROM turn_leases WHERE conversation = ? AND site = ? AND lease_until >= ?)", NULL, NULL },
	[RENEW] = { "UPDATE turn_queue SET until = ? WHERE conversation = ? AND ticket = ? AND site = ?", NULL, NULL },
	[DELETE] = { "DELETE FROM turn_queue WHERE conversation = ? AND ticket = ? AND site = ?", NULL, NULL },
	[FIRST] = { "SELECT MIN(ticket) FROM turn_queue WHERE conversation = ? AND site = ? AND until >= ?", NULL, NULL },
	[SWEEP_OLD] = { "DELETE FROM turn_queue WHERE until < ?", NULL, "the janitor's, of all sites" },
};

struct enter {
	struct turn_ticket *ticket;
	bool is_first;
};

/* Two that come at once take the same number, and the key tells one of them to try again. */
static enum err enter_in(struct task *t, struct db_conn *c, void *arg)
{
	const struct enter *in = arg;
	struct turn_ticket *k = in->ticket;
	struct db_rows *r;
	enum err e = db_query(t, c, &stmts[BOUNDS], DB_ARGS(db_int(stamp_now()), db_ident(&k->conversation), db_ident(&k->site)), &r);
	if (e)
		return e;
	if (db_cell_int(r, 0, 2) >= MOST)
		return task_fail(t, ERR_TURN_RUNNING, "as many wait for their turn in this conversation as may");
	k->number = in->is_first ? db_cell_int(r, 0, 0) - 1 : db_cell_int(r, 0, 1) + 1;
	if (k->number == 0) /* that is nobody's */
		k->number = in->is_first ? -1 : 1;
	e = db_run(t, c, &stmts[INSERT],
		   DB_ARGS(db_ident(&k->conversation), db_int(k->number), db_ident(&k->site), db_int(stamp_now() + LIFE_MS)), NULL);
	return e == ERR_DUPLICATE ? task_fail_internal(t, ERR_RETRY, "the ticket was taken meanwhile") : e;
}

enum err turn_queue_enter(struct task *t, struct app *app, const struct ident *site, const struct ident *conversation, bool is_first,
			  struct turn_ticket *ticket_r)
{
	struct enter in = { ticket_r, is_first };
	*ticket_r = (struct turn_ticket){ .site = *site, .conversation = *conversation };
	enum err e = store_transact(t, app, enter_in, &in);
	if (e)
		ticket_r->number = 0;
	ticket_r->renewed_at = stamp_mono_ms();
	return e;
}

static enum err renew(struct task *t, struct app *app, struct turn_ticket *k)
{
	int64_t now = stamp_mono_ms(), n = 0;
	if (now - k->renewed_at < RENEW_MS)
		return ERR_OK;
	enum err e = store_run(t, app, &stmts[RENEW],
			       DB_ARGS(db_int(stamp_now() + LIFE_MS), db_ident(&k->conversation), db_int(k->number), db_ident(&k->site)), &n);
	if (!e && n == 0) /* swept while the database was away, or the session is gone */
		return task_fail(t, ERR_TURN_RUNNING, "the place in the queue was lost; try again");
	k->renewed_at = now;
	return e;
}

enum err turn_queue_look(struct task *t, struct app *app, struct turn_ticket *k, int64_t *ahead_r)
{
	struct db_rows *r;
	struct db_arg conversation = db_ident(&k->conversation), site = db_ident(&k->site), now = db_int(stamp_now());
	enum err e = renew(t, app, k);
	if (!e)
		e = store_query(t, app, &stmts[AHEAD], DB_ARGS(conversation, site, db_int(k->number), now, conversation, site, now), &r);
	if (!e)
		*ahead_r = db_cell_int(r, 0, 0) + db_cell_int(r, 0, 1);
	return e;
}

void turn_queue_leave(struct task *t, struct app *app, struct turn_ticket *k)
{
	struct fault kept = t->fault;
	if (k->number == 0)
		return;
	/* If this fails the ticket runs out. */
	(void)!store_run(t, app, &stmts[DELETE], DB_ARGS(db_ident(&k->conversation), db_int(k->number), db_ident(&k->site)), NULL);
	k->number = 0;
	t->fault = kept;
}

enum err turn_queue_pass(struct task *t, struct db_conn *c, const struct ident *site, const struct ident *conversation, int64_t number)
{
	struct db_rows *r;
	enum err e = db_query(t, c, &stmts[FIRST], DB_ARGS(db_ident(conversation), db_ident(site), db_int(stamp_now())), &r);
	if (e)
		return e;
	if (db_cell(r, 0, 0)->type != DB_NULL && (number == 0 || db_cell_int(r, 0, 0) < number))
		return task_fail(t, ERR_TURN_RUNNING, "others wait for their turn in this conversation");
	if (number == 0)
		return ERR_OK;
	return db_run(t, c, &stmts[DELETE], DB_ARGS(db_ident(conversation), db_int(number), db_ident(site)), NULL);
}

static enum err sweep(struct task *t, struct app *app, int64_t *n_r)
{
	int64_t n = 0;
	enum err e = store_run(t, app, &stmts[SWEEP_OLD], DB_ARGS(db_int(stamp_now())), &n);
	*n_r += n;
	return e;
}

const struct feature turn_queue_feature = { .name = "turn_queue", .stmts = stmts, .n_stmts = COUNT(stmts), .sweep = sweep, .swept = "places in queues removed" };
