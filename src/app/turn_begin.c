/* SPDX-License-Identifier: MIT */
/*
 * turn_begin: the first of a turn's two transactions: lease, session if new, branch if it answers anew, the user's message, the turn, the key. After it everybody
 * sees the message, and nobody else may begin.
 */
#include "app/turn_begin.h"

#include "app/turn_end.h"
#include "app/turn_keep.h"
#include "base/metrics.h"
#include "base/stamp.h"

#define ACTIVE_SQL "SELECT s.status FROM conversations c JOIN sessions s ON s.id = c.session WHERE c.id = ? AND c.site = ?"
enum { ACTIVE, LEASE_INSERT, LEASE_UPDATE, INSERT };
static const struct db_stmt stmts[] = {
	[ACTIVE] = { ACTIVE_SQL " FOR UPDATE", ACTIVE_SQL, NULL },
	[LEASE_INSERT] = { "INSERT INTO turn_leases (conversation, site, turn, lease_until, owner, cancel) VALUES (?, ?, ?, ?, ?, 0)", NULL, NULL },
	[LEASE_UPDATE] = { "UPDATE turn_leases SET turn = ?, lease_until = ?, owner = ?, cancel = 0 WHERE conversation = ? AND site = ?", NULL, NULL },
	[INSERT] = { "INSERT INTO turns (id, site, session, conversation, status, user_seq, answer_seq, model, finish, error_code, error_detail,"
		     " input_tokens, output_tokens, partial, idem, created_at, ended_at, provider)"
		     " VALUES (?, ?, ?, ?, 1, ?, 0, ?, '', '', '', 0, 0, NULL, ?, ?, 0, ?)", NULL, NULL },
};

/* Takes the conversation's lease, ending the turn of one that has run out. */
static enum err take_lease(struct task *t, struct db_conn *c, struct app *app, const struct turn *u, const struct turn_ticket *ticket)
{
	bool is_free, has_row;
	int64_t until = stamp_now() + app->conf->turn_lease;
	const struct ident *owner = turn_keep_owner(app);
	enum err e = turn_lock_lease(t, c, u, &is_free, &has_row);
	if (e)
		return e;
	if (!is_free)
		return task_fail(t, ERR_TURN_RUNNING, "another turn is running in this conversation");
	/* The session may have gone on elsewhere since the ticket was taken: it is worth nothing there. */
	bool counts = ticket && ident_equal(&ticket->conversation, &u->conversation);
	e = turn_queue_pass(t, c, &u->site, &u->conversation, counts ? ticket->number : 0);
	if (e)
		return e;
	if (has_row)
		return db_run(t, c, &stmts[LEASE_UPDATE],
			      DB_ARGS(db_ident(&u->id), db_int(until), db_ident(owner), db_ident(&u->conversation), db_ident(&u->site)), NULL);
	e = db_run(t, c, &stmts[LEASE_INSERT],
		   DB_ARGS(db_ident(&u->conversation), db_ident(&u->site), db_ident(&u->id), db_int(until), db_ident(owner)), NULL);
	return e == ERR_DUPLICATE ? task_fail_internal(t, ERR_RETRY, "the lease was taken meanwhile") : e;
}

struct begin {
	struct app *app;
	struct turn_start *in;
	struct turn *turn;
	struct message_row user;
	bool is_kept; /* the user's message is the retried turn's */
};

/* A turn on an ended session, or in a conversation that is gone, is refused also where its message is there already. */
static enum err check_active(struct task *t, struct db_conn *c, const struct head *h)
{
	struct db_rows *r;
	enum err e = db_query(t, c, &stmts[ACTIVE], DB_ARGS(db_ident(&h->conversation), db_ident(&h->site)), &r);
	if (!e && r->n_rows == 0)
		e = task_fail(t, ERR_NOT_FOUND, "there is no such session");
	return e ? e : head_check_active(t, (int)db_cell_int(r, 0, 0), "message");
}

/* Another answer to a message that is there: a branch behind it becomes the active conversation. */
static enum err branch_off(struct task *t, struct db_conn *c, struct begin *b)
{
	struct turn_start *in = b->in;
	struct head *h = in->head;
	struct conversation made;
	enum err e = conversation_branch(t, c, in->from, in->at, in->from->title, true, &made);
	return e ? e : head_read(t, b->app, c, &b->turn->site, &b->turn->session, h);
}

/* The user's message: the one a failed turn left when its key is tried again, or a new one. */
static enum err store_user(struct task *t, struct db_conn *c, struct begin *b)
{
	struct turn_start *in = b->in;
	struct turn old;
	int64_t unused;
	b->is_kept = false;
	if (!ident_is_zero(&in->retried)) {
		enum err e = turn_read(t, NULL, c, &in->head->site, &in->retried, &old, &unused);
		if (e && e != ERR_NOT_FOUND)
			return e;
		b->is_kept = !e && old.user_seq > 0 && ident_equal(&old.conversation, &in->head->conversation);
		task_clear_fault(t);
	}
	if (in->must_keep && !b->is_kept)
		return task_fail(t, ERR_CONFLICT, "the session has gone on in another conversation; use a new Idempotency-Key");
	if (in->from && !b->is_kept) {
		b->is_kept = true;
		b->user.seq = in->at;
		return ERR_OK;
	}
	if (b->is_kept) {
		b->user.seq = old.user_seq;
		return check_active(t, c, in->head);
	}
	in->message.turn = b->turn->id;
	return message_insert(t, c, &in->head->site, &in->head->conversation, &in->message, 1, true, &b->user);
}

static enum err begin_in(struct task *t, struct db_conn *c, void *arg)
{
	struct begin *b = arg;
	struct turn_start *in = b->in;
	struct turn *u = b->turn;
	enum err e = ERR_OK;
	if (in->new_session) {
		struct ident site = in->agent->site;
		e = session_insert(t, c, &site, in->agent, in->new_session, in->head);
		if (e)
			return e;
	}
	u->site = in->head->site;
	u->session = in->head->session;
	if (in->from && ident_is_zero(&in->retried))
		e = branch_off(t, c, b);
	if (e)
		return e;
	u->conversation = in->head->conversation;
	e = take_lease(t, c, b->app, u, in->ticket);
	if (!e)
		e = store_user(t, c, b);
	if (e)
		return e;
	u->user_seq = b->user.seq;
	e = db_run(t, c, &stmts[INSERT],
		   DB_ARGS(db_ident(&u->id), db_ident(&u->site), db_ident(&u->session), db_ident(&u->conversation), db_int(u->user_seq), db_text(u->model),
			   db_blob(u->has_key ? u->key_hash : NULL, sizeof u->key_hash), db_int(u->created_at), db_text(u->provider)), NULL);
	return e ? e : idem_reserve(t, c, in->idem, b->app, &u->site, &u->session, &u->id, ident_is_zero(&in->retried) ? NULL : &in->retried);
}

/*
 * After a COMMIT of unknown outcome: a turn that is there has begun, and is run, or its conversation would wait for its lease to run out. One that is not may
 * come yet.
 */
static enum err resolve_begin(struct task *t, struct app *app, const struct turn *u)
{
	struct fault kept = t->fault;
	struct turn now = { 0 };
	int64_t lease_until = 0;
	if (turn_read(t, app, NULL, &u->site, &u->id, &now, &lease_until) == ERR_OK && now.status == TURN_RUNNING && lease_until >= stamp_now())
		return ERR_OK;
	t->fault = kept;
	return ERR_COMMIT_UNKNOWN;
}

enum err turn_begin(struct task *t, struct app *app, struct turn_start *in, struct turn *turn_r)
{
	struct begin b = { .app = app, .in = in, .turn = turn_r };
	*turn_r = (struct turn){ .id = ident_new(), .status = TURN_RUNNING, .provider = in->agent->provider,
				  .model = bytes_or(in->agent->model, BYTES("")), .cost = PRICE_UNKNOWN, .created_at = stamp_now() };
	turn_r->has_key = in->idem->is_active;
	memcpy(turn_r->key_hash, in->idem->hash, sizeof turn_r->key_hash);
	enum err e = store_transact(t, app, begin_in, &b);
	if (e == ERR_NOT_FOUND && !in->new_session && !in->from) { /* the history was cleared meanwhile, or the session deleted */
		e = head_follow(t, app, in->head);
		e = e ? e : store_transact(t, app, begin_in, &b);
	}
	if (e == ERR_COMMIT_UNKNOWN)
		e = resolve_begin(t, app, turn_r);
	if (e) {
		if (e == ERR_COMMIT_UNKNOWN && !in->new_session)
			head_changed(t, app, &in->head->site, &in->head->session);
		return e;
	}
	task_clear_fault(t);
	metric_add(METRIC_turns_started_total, 1);
	if (in->new_session)
		metric_add(METRIC_sessions_created_total, 1);
	if (b.is_kept) {
		e = turn_read_message(t, app, in->head, turn_r, turn_r->user_seq, &in->user_json);
		head_changed(t, app, &in->head->site, &in->head->session);
		in->head->found = CACHE_SKIP;
		if (e) /* nobody will run it: the next try need not wait for the lease */
			turn_fail(t, app, in->head, turn_r, (struct bytes){ NULL, 0 }, &(struct spend_bill){ 0 });
		return e;
	}
	struct bytes *json = message_render_all(t->arena, &b.user, 1);
	head_appended(t, app, in->head, b.user.seq, json, 1, b.user.created_at);
	metric_add(METRIC_messages_appended_total, 1);
	in->user_json = json[0];
	return ERR_OK;
}

const struct feature turn_begin_feature = { .name = "turn_begin", .stmts = stmts, .n_stmts = COUNT(stmts) };
