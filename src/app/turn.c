/* SPDX-License-Identifier: MIT */
/*
 * turn: owns the tables turns and turn_leases. Invariants: a conversation has at most one lease; whoever ends a turn changes its status from
 * running in the same transaction that gives its lease back, so it is ended once; a key is answered or released with it.
 */
#include "app/turn.h"

#include "app/codec.h"
#include "base/metrics.h"
#include "base/stamp.h"

#define LOST_CODE "worker_lost"
#define LOST_DETAIL "the worker that ran this turn was lost; try again"
#define DETAIL_MAX 500

#define LEASE_SQL "SELECT turn, lease_until FROM turn_leases WHERE conversation = ? AND site = ?"
#define ACTIVE_SQL "SELECT s.status FROM conversations c JOIN sessions s ON s.id = c.session WHERE c.id = ? AND c.site = ?"
enum { LEASE, LEASE_INSERT, LEASE_UPDATE, LEASE_RENEW, LEASE_DELETE, LEASES_OLD, INSERT, GET, SAVE, FINISH, FAIL, PURGE_FROM, PURGE_SOME, PURGE_ALL,
       LEASE_PURGE, ACTIVE };
static const struct db_stmt stmts[] = {
	[ACTIVE] = { ACTIVE_SQL " FOR UPDATE", ACTIVE_SQL, NULL },
	[LEASE] = { LEASE_SQL " FOR UPDATE", LEASE_SQL, NULL },
	[LEASE_INSERT] = { "INSERT INTO turn_leases (conversation, site, turn, lease_until) VALUES (?, ?, ?, ?)", NULL, NULL },
	[LEASE_UPDATE] = { "UPDATE turn_leases SET turn = ?, lease_until = ? WHERE conversation = ? AND site = ?", NULL, NULL },
	[LEASE_RENEW] = { "UPDATE turn_leases SET lease_until = ? WHERE conversation = ? AND site = ? AND turn = ?", NULL, NULL },
	[LEASE_DELETE] = { "DELETE FROM turn_leases WHERE conversation = ? AND site = ? AND turn = ?", NULL, NULL },
	[LEASES_OLD] = { "SELECT conversation, site, turn FROM turn_leases WHERE lease_until < ? ORDER BY lease_until LIMIT ?", NULL,
			 "the janitor's, of all sites" },
	[INSERT] = { "INSERT INTO turns (id, site, session, conversation, status, user_seq, answer_seq, model, finish, error_code, error_detail,"
		     " input_tokens, output_tokens, partial, idem, created_at, ended_at)"
		     " VALUES (?, ?, ?, ?, 1, ?, 0, ?, '', '', '', 0, 0, NULL, ?, ?, 0)", NULL, NULL },
	[GET] = { "SELECT t.session, t.conversation, t.status, t.user_seq, t.answer_seq, t.model, t.finish, t.error_code, t.error_detail,"
		  " t.input_tokens, t.output_tokens, t.partial, t.idem, t.created_at, t.ended_at, l.lease_until"
		  " FROM turns t LEFT JOIN turn_leases l ON l.conversation = t.conversation AND l.turn = t.id WHERE t.id = ? AND t.site = ?", NULL, NULL },
	[SAVE] = { "UPDATE turns SET partial = ? WHERE id = ? AND site = ? AND status = 1", NULL, NULL },
	[FINISH] = { "UPDATE turns SET status = 2, answer_seq = ?, model = ?, finish = ?, input_tokens = ?, output_tokens = ?, partial = NULL,"
		     " ended_at = ? WHERE id = ? AND site = ? AND status = 1", NULL, NULL },
	[FAIL] = { "UPDATE turns SET status = 3, error_code = ?, error_detail = ?, partial = COALESCE(?, partial), ended_at = ?"
		   " WHERE id = ? AND site = ? AND status = 1", NULL, NULL },
	[PURGE_FROM] = { "SELECT id FROM turns WHERE conversation = ? AND site = ? ORDER BY id LIMIT 1 OFFSET ?", NULL, NULL },
	[PURGE_SOME] = { "DELETE FROM turns WHERE conversation = ? AND site = ? AND id < ?", NULL, NULL },
	[PURGE_ALL] = { "DELETE FROM turns WHERE conversation = ? AND site = ?", NULL, NULL },
	[LEASE_PURGE] = { "DELETE FROM turn_leases WHERE conversation = ? AND site = ?", NULL, NULL },
};

static const char *const statuses[] = { "unknown", "running", "done", "failed" };
static const char *const finishes[] = { [LLM_STOP] = "stop", [LLM_LENGTH] = "length", [LLM_TOOL] = "tool", [LLM_FILTER] = "filter" };

static enum err read_turn(struct task *t, struct db_conn *c, struct app *app, const struct ident *site, const struct ident *id, struct turn *turn_r,
			  int64_t *lease_until_r)
{
	struct db_rows *r;
	struct db_arg args[] = { db_ident(id), db_ident(site) };
	enum err e = c ? db_query(t, c, &stmts[GET], args, COUNT(args), &r) : store_query(t, app, &stmts[GET], args, COUNT(args), &r);
	if (e)
		return e;
	if (r->n_rows == 0)
		return task_fail(t, ERR_NOT_FOUND, "there is no such turn");
	struct turn *u = turn_r;
	memset(u, 0, sizeof *u);
	u->id = *id;
	u->site = *site;
	db_cell_ident(r, 0, 0, &u->session);
	db_cell_ident(r, 0, 1, &u->conversation);
	u->status = (int)db_cell_int(r, 0, 2);
	u->user_seq = db_cell_int(r, 0, 3);
	u->answer_seq = db_cell_int(r, 0, 4);
	u->model = db_cell_bytes(r, 0, 5);
	u->finish = db_cell_bytes(r, 0, 6);
	u->error_code = db_cell_bytes(r, 0, 7);
	u->error_detail = db_cell_bytes(r, 0, 8);
	u->input_tokens = db_cell_int(r, 0, 9);
	u->output_tokens = db_cell_int(r, 0, 10);
	struct bytes partial = db_cell_bytes(r, 0, 11), key = db_cell_bytes(r, 0, 12);
	if (partial.p && !codec_unpack(t->arena, partial, &u->text))
		metric_add(METRIC_corrupt_records_total, 1);
	u->has_key = key.n == sizeof u->key_hash;
	if (u->has_key)
		memcpy(u->key_hash, key.p, key.n);
	u->created_at = db_cell_int(r, 0, 13);
	u->ended_at = db_cell_int(r, 0, 14);
	*lease_until_r = db_cell_int(r, 0, 15);
	return ERR_OK;
}

/* Ends a running turn as failed and releases its key; no harm when it has ended already. */
static enum err fail_in(struct task *t, struct db_conn *c, const struct turn *u, struct bytes code, struct bytes detail, struct bytes text)
{
	int64_t n;
	struct bytes partial = { NULL, 0 };
	if (text.n)
		partial = codec_pack(t->arena, text);
	if (detail.n > DETAIL_MAX)
		detail = BYTES("the provider failed");
	enum err e = db_run(t, c, &stmts[FAIL],
			    DB_ARGS(db_text(code), db_text(detail), db_blob(partial.p, partial.n), db_int(stamp_now()), db_ident(&u->id), db_ident(&u->site)), &n);
	if (e || n == 0 || !u->has_key)
		return e;
	return idem_finish(t, c, u->key_hash, &u->site, &u->id, IDEM_RELEASED, (struct bytes){ NULL, 0 });
}

/* Takes the conversation's lease, ending the turn of one that has run out. */
static enum err take_lease(struct task *t, struct db_conn *c, const struct turn *u, int64_t until)
{
	struct db_rows *r;
	enum err e = db_query(t, c, &stmts[LEASE], DB_ARGS(db_ident(&u->conversation), db_ident(&u->site)), &r);
	if (e)
		return e;
	if (r->n_rows == 0) {
		e = db_run(t, c, &stmts[LEASE_INSERT], DB_ARGS(db_ident(&u->conversation), db_ident(&u->site), db_ident(&u->id), db_int(until)), NULL);
		return e == ERR_DUPLICATE ? task_fail_internal(t, ERR_RETRY, "the lease was taken meanwhile") : e;
	}
	if (db_cell_int(r, 0, 1) >= stamp_now())
		return task_fail(t, ERR_TURN_RUNNING, "another turn is running in this conversation");
	struct turn old;
	struct ident old_id;
	int64_t unused;
	db_cell_ident(r, 0, 0, &old_id);
	e = read_turn(t, c, NULL, &u->site, &old_id, &old, &unused);
	if (!e)
		e = fail_in(t, c, &old, BYTES(LOST_CODE), BYTES(LOST_DETAIL), (struct bytes){ NULL, 0 });
	if (e && e != ERR_NOT_FOUND)
		return e;
	task_clear_fault(t);
	return db_run(t, c, &stmts[LEASE_UPDATE], DB_ARGS(db_ident(&u->id), db_int(until), db_ident(&u->conversation), db_ident(&u->site)), NULL);
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
		enum err e = read_turn(t, c, NULL, &in->head->site, &in->retried, &old, &unused);
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
	e = take_lease(t, c, u, stamp_now() + b->app->conf->turn_lease);
	if (!e)
		e = store_user(t, c, b);
	if (e)
		return e;
	u->user_seq = b->user.seq;
	e = db_run(t, c, &stmts[INSERT],
		   DB_ARGS(db_ident(&u->id), db_ident(&u->site), db_ident(&u->session), db_ident(&u->conversation), db_int(u->user_seq), db_text(u->model),
			   db_blob(u->has_key ? u->key_hash : NULL, sizeof u->key_hash), db_int(u->created_at)), NULL);
	return e ? e : idem_reserve(t, c, in->idem, b->app, &u->site, &u->session, &u->id, ident_is_zero(&in->retried) ? NULL : &in->retried);
}

/* A message of the turn's conversation, from h or, where that is older or the session has gone on elsewhere, read anew. */
static enum err read_message(struct task *t, struct app *app, struct head *h, const struct turn *u, int64_t seq, struct bytes *json_r)
{
	char text[IDENT_SIZE];
	struct message_list list = { .has_more = false };
	struct message_page page = { .after = seq - 1, .limit = 1 };
	enum err e = ERR_OK;
	if (h->last_seq < seq || !ident_equal(&h->conversation, &u->conversation))
		e = head_reload(t, app, h);
	ident_format(PREFIX_CONVERSATION, &u->conversation, text);
	if (!e)
		e = conversation_enter(t, app, h, bytes_of(text));
	if (!e)
		e = message_list(t, app, h, &page, &list);
	*json_r = list.json;
	return !e && !list.json.n ? task_fail(t, ERR_NOT_FOUND, "there is no such conversation any more") : e;
}

enum err turn_begin(struct task *t, struct app *app, struct turn_start *in, struct turn *turn_r)
{
	struct begin b = { .app = app, .in = in, .turn = turn_r };
	*turn_r = (struct turn){ .id = ident_new(), .status = TURN_RUNNING, .model = in->agent->model, .created_at = stamp_now() };
	if (!turn_r->model.p)
		turn_r->model = BYTES("");
	turn_r->has_key = in->idem->is_active;
	memcpy(turn_r->key_hash, in->idem->hash, sizeof turn_r->key_hash);
	enum err e = store_transact(t, app, begin_in, &b);
	if (e == ERR_NOT_FOUND && !in->new_session && !in->from) { /* the history was cleared meanwhile, or the session deleted */
		e = head_follow(t, app, in->head);
		e = e ? e : store_transact(t, app, begin_in, &b);
	}
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
		e = read_message(t, app, in->head, turn_r, turn_r->user_seq, &in->user_json);
		head_changed(t, app, &in->head->site, &in->head->session);
		in->head->found = CACHE_SKIP;
		if (e) /* nobody will run it: the next try need not wait for the lease */
			turn_fail(t, app, turn_r, (struct bytes){ NULL, 0 });
		return e;
	}
	struct bytes *json = message_render_all(t->arena, &b.user, 1);
	head_appended(t, app, in->head, b.user.seq, json, 1, b.user.created_at);
	metric_add(METRIC_messages_appended_total, 1);
	in->user_json = json[0];
	return ERR_OK;
}

enum err turn_renew(struct task *t, struct app *app, const struct turn *u, bool *is_held_r)
{
	int64_t n = 0;
	enum err e = store_run(t, app, &stmts[LEASE_RENEW],
			       DB_ARGS(db_int(stamp_now() + app->conf->turn_lease), db_ident(&u->conversation), db_ident(&u->site), db_ident(&u->id)), &n);
	*is_held_r = e || n > 0;
	return e;
}

enum err turn_save(struct task *t, struct app *app, const struct turn *u, struct bytes text)
{
	struct bytes packed = codec_pack(t->arena, text);
	return store_run(t, app, &stmts[SAVE], DB_ARGS(db_blob(packed.p, packed.n), db_ident(&u->id), db_ident(&u->site)), NULL);
}

struct finish {
	struct app *app;
	struct head *h;
	struct turn *turn;
	struct bytes user_json;
	const struct llm_result *result;
	struct message_row row;
	struct bytes *json;
	struct bytes answer;
};

static void render_usage(struct buf *b, int64_t in, int64_t out)
{
	buf_add_member(b, "usage");
	buf_add_char(b, '{');
	buf_member_int(b, "input_tokens", in);
	buf_member_int(b, "output_tokens", out);
	buf_member_int(b, "total_tokens", in + out);
	buf_add_char(b, '}');
}

static struct bytes render_answer(struct arena *a, const struct finish *f)
{
	struct buf b;
	buf_init(&b, a, 1024 + 2 * f->result->text.n);
	buf_add_char(&b, '{');
	buf_member_string(&b, "session_id", head_id(f->h));
	render_ident(&b, "turn_id", PREFIX_TURN, &f->turn->id);
	buf_member_string(&b, "result", f->result->text.p ? f->result->text : BYTES(""));
	buf_member_bool(&b, "success", true);
	buf_member_str(&b, "finish", finishes[f->result->finish]);
	buf_member_json(&b, "message", f->json[0]);
	buf_member_json(&b, "user_message", f->user_json);
	render_usage(&b, f->turn->input_tokens, f->turn->output_tokens);
	buf_add_str(&b, ",\"steps\":[]}");
	return buf_bytes(&b);
}

/* The answer as it is stored: text, and what else a later prompt needs. */
static struct message_new answer_message(struct arena *a, const struct finish *f)
{
	struct buf content, extra;
	buf_init(&content, a, f->result->text.n + 64);
	if (f->result->parts.n)
		buf_add_bytes(&content, f->result->parts);
	else
		buf_add_json(&content, f->result->text.p ? f->result->text : BYTES(""));
	buf_init(&extra, a, 256);
	buf_add_char(&extra, '{');
	if (f->result->tool_calls.n)
		buf_member_json(&extra, "tool_calls", f->result->tool_calls);
	if (f->turn->model.n)
		buf_member_string(&extra, "model", f->turn->model);
	buf_member_int(&extra, "tokens_used", f->turn->output_tokens);
	buf_member_int(&extra, "latency_ms", stamp_now() - f->turn->created_at);
	buf_add_char(&extra, '}');
	return (struct message_new){ .role = ROLE_ASSISTANT, .content = buf_bytes(&content), .extra = buf_bytes(&extra), .turn = f->turn->id,
				     .tokens = f->turn->output_tokens };
}

static enum err finish_in(struct task *t, struct db_conn *c, void *arg)
{
	struct finish *f = arg;
	struct turn *u = f->turn;
	struct message_new m = answer_message(t->arena, f);
	int64_t n, now = stamp_now();
	/* The session may have been ended meanwhile; an answer that was paid for is kept all the same. */
	enum err e = message_insert(t, c, &u->site, &u->conversation, &m, 1, false, &f->row);
	if (e)
		return e;
	e = db_run(t, c, &stmts[FINISH],
		   DB_ARGS(db_int(f->row.seq), db_text(u->model), db_text(bytes_of(finishes[f->result->finish])), db_int(u->input_tokens),
			   db_int(u->output_tokens), db_int(now), db_ident(&u->id), db_ident(&u->site)), &n);
	if (e)
		return e;
	if (n == 0)
		return task_fail(t, ERR_CONFLICT, "the turn was ended meanwhile");
	e = db_run(t, c, &stmts[LEASE_DELETE], DB_ARGS(db_ident(&u->conversation), db_ident(&u->site), db_ident(&u->id)), NULL);
	if (e)
		return e;
	f->json = message_render_all(t->arena, &f->row, 1);
	f->answer = render_answer(t->arena, f);
	return u->has_key ? idem_finish(t, c, u->key_hash, &u->site, &u->id, 200, f->answer) : ERR_OK;
}

/* After a COMMIT of unknown outcome: the row tells. */
static enum err resolve_finish(struct task *t, struct app *app, struct finish *f)
{
	struct turn now;
	int64_t unused;
	enum err e = read_turn(t, NULL, app, &f->turn->site, &f->turn->id, &now, &unused);
	if (!e && now.status == TURN_DONE && now.answer_seq == f->row.seq)
		return ERR_OK;
	return e ? e : store_transact(t, app, finish_in, f);
}

/*
 * The turn runs no more: either somebody ended it as failed, or an attempt before this one has finished it after all, whose COMMIT got no answer
 * while the database went away. Only its own worker finishes a turn, so what is stored is the answer.
 */
static enum err find_finished(struct task *t, struct app *app, struct finish *f)
{
	struct turn now = { 0 };
	struct bytes json;
	int64_t unused;
	enum err e = read_turn(t, NULL, app, &f->turn->site, &f->turn->id, &now, &unused);
	if (!e && now.status != TURN_DONE)
		e = task_fail(t, ERR_CONFLICT, "the turn was ended meanwhile");
	if (!e)
		e = read_message(t, app, f->h, f->turn, now.answer_seq, &json);
	if (e)
		return e;
	f->json = arena_array(t->arena, 1, sizeof *f->json);
	*f->json = json;
	f->answer = render_answer(t->arena, f);
	return ERR_OK;
}

enum err turn_finish(struct task *t, struct app *app, struct head *h, struct turn *u, struct bytes user_json, const struct llm_result *result,
		     struct bytes *answer_r)
{
	struct finish f = { .app = app, .h = h, .turn = u, .user_json = user_json, .result = result };
	if (result->model.n && result->model.n <= 128)
		u->model = result->model;
	u->input_tokens = result->usage.input_tokens;
	u->output_tokens = result->usage.output_tokens;
	enum err e = store_transact(t, app, finish_in, &f);
	if (e == ERR_COMMIT_UNKNOWN)
		e = resolve_finish(t, app, &f);
	bool is_found = e == ERR_CONFLICT;
	if (is_found)
		e = find_finished(t, app, &f);
	if (e || is_found)
		head_changed(t, app, &h->site, &h->session);
	if (e)
		return e;
	task_clear_fault(t);
	u->status = TURN_DONE;
	if (!is_found)
		head_appended(t, app, h, f.row.seq, f.json, 1, f.row.created_at);
	metric_add(METRIC_messages_appended_total, 1);
	metric_add(METRIC_tokens_in_total, u->input_tokens);
	metric_add(METRIC_tokens_out_total, u->output_tokens);
	*answer_r = f.answer;
	return ERR_OK;
}

struct failure {
	struct turn *turn;
	struct bytes code, detail, text;
};

static enum err fail_and_release(struct task *t, struct db_conn *c, void *arg)
{
	const struct failure *f = arg;
	enum err e = fail_in(t, c, f->turn, f->code, f->detail, f->text);
	if (e)
		return e;
	return db_run(t, c, &stmts[LEASE_DELETE], DB_ARGS(db_ident(&f->turn->conversation), db_ident(&f->turn->site), db_ident(&f->turn->id)), NULL);
}

void turn_fail(struct task *t, struct app *app, struct turn *u, struct bytes text)
{
	struct fault kept = t->fault;
	const char *detail = kept.detail ? kept.detail : err_title(kept.code);
	struct failure f = { u, bytes_of(err_code(kept.code)), bytes_of(detail), text };
	/* If this cannot be stored the lease runs out and ends the turn. */
	if (store_transact(t, app, fail_and_release, &f) == ERR_OK)
		u->status = TURN_FAILED;
	metric_add(METRIC_turns_failed_total, 1);
	t->fault = kept;
}

struct expire {
	struct ident site, conversation, id;
};

static enum err expire_in(struct task *t, struct db_conn *c, void *arg)
{
	const struct expire *x = arg;
	struct db_rows *r;
	struct turn u;
	struct ident holder;
	int64_t unused;
	enum err e = db_query(t, c, &stmts[LEASE], DB_ARGS(db_ident(&x->conversation), db_ident(&x->site)), &r);
	if (e)
		return e;
	bool is_held = r->n_rows && db_cell_ident(r, 0, 0, &holder) && ident_equal(&holder, &x->id);
	if (is_held && db_cell_int(r, 0, 1) >= stamp_now())
		return ERR_OK;
	e = read_turn(t, c, NULL, &x->site, &x->id, &u, &unused);
	if (!e)
		e = fail_in(t, c, &u, BYTES(LOST_CODE), BYTES(LOST_DETAIL), (struct bytes){ NULL, 0 });
	if (e && e != ERR_NOT_FOUND)
		return e;
	task_clear_fault(t);
	return db_run(t, c, &stmts[LEASE_DELETE], DB_ARGS(db_ident(&x->conversation), db_ident(&x->site), db_ident(&x->id)), NULL);
}

enum err turn_expire(struct task *t, struct app *app, const struct ident *site, const struct ident *conversation, const struct ident *id)
{
	struct expire x = { *site, *conversation, *id };
	return store_transact(t, app, expire_in, &x);
}

enum err turn_get(struct task *t, struct app *app, const struct head *h, const struct ident *id, struct turn *turn_r)
{
	int64_t until;
	enum err e = read_turn(t, NULL, app, &h->site, id, turn_r, &until);
	if (!e && !ident_equal(&turn_r->session, &h->session))
		return task_fail(t, ERR_NOT_FOUND, "there is no such turn");
	if (e || turn_r->status != TURN_RUNNING || until >= stamp_now())
		return e;
	e = turn_expire(t, app, &h->site, &turn_r->conversation, id);
	return e ? e : read_turn(t, NULL, app, &h->site, id, turn_r, &until);
}

void turn_render(struct buf *b, const struct head *h, const struct turn *u)
{
	buf_add_char(b, '{');
	render_ident(b, "id", PREFIX_TURN, &u->id);
	buf_member_string(b, "session_id", head_id(h));
	render_ident(b, "conversation_id", PREFIX_CONVERSATION, &u->conversation);
	buf_member_str(b, "status", statuses[u->status >= TURN_RUNNING && u->status <= TURN_FAILED ? u->status : 0]);
	buf_member_int(b, "user_seq", u->user_seq);
	buf_add_member(b, "answer_seq");
	if (u->answer_seq)
		buf_add_int(b, u->answer_seq);
	else
		buf_add_str(b, "null");
	buf_member_string(b, "model", u->model);
	buf_member_string(b, "finish", u->finish.n ? u->finish : (struct bytes){ NULL, 0 });
	buf_member_string(b, "result", u->text.p ? u->text : BYTES(""));
	buf_add_member(b, "error");
	if (u->status == TURN_FAILED) {
		buf_add_char(b, '{');
		buf_member_string(b, "code", u->error_code);
		buf_member_string(b, "detail", u->error_detail);
		buf_add_char(b, '}');
	} else {
		buf_add_str(b, "null");
	}
	render_usage(b, u->input_tokens, u->output_tokens);
	buf_member_time(b, "created_at", u->created_at);
	buf_member_time(b, "ended_at", u->ended_at);
	buf_add_char(b, '}');
}

enum err turn_purge(struct task *t, struct app *app, const struct ident *site, const struct ident *conversation, int64_t batch, int64_t *n_r)
{
	struct db_rows *r;
	*n_r = 0;
	enum err e = store_run(t, app, &stmts[LEASE_PURGE], DB_ARGS(db_ident(conversation), db_ident(site)), NULL);
	if (!e)
		e = store_query(t, app, &stmts[PURGE_FROM], DB_ARGS(db_ident(conversation), db_ident(site), db_int(batch)), &r);
	if (e)
		return e;
	struct ident id;
	if (r->n_rows == 0 || !db_cell_ident(r, 0, 0, &id))
		return store_run(t, app, &stmts[PURGE_ALL], DB_ARGS(db_ident(conversation), db_ident(site)), n_r);
	return store_run(t, app, &stmts[PURGE_SOME], DB_ARGS(db_ident(conversation), db_ident(site), db_ident(&id)), n_r);
}

static enum err sweep(struct task *t, struct app *app, int64_t *n_r)
{
	struct db_rows *r;
	enum err e = store_query(t, app, &stmts[LEASES_OLD], DB_ARGS(db_int(stamp_now()), db_int(app->conf->sweep_batch)), &r);
	for (size_t i = 0; !e && i < r->n_rows; i++) {
		struct ident conversation, site, id;
		db_cell_ident(r, i, 0, &conversation);
		db_cell_ident(r, i, 1, &site);
		db_cell_ident(r, i, 2, &id);
		e = turn_expire(t, app, &site, &conversation, &id);
		*n_r += !e;
	}
	return e;
}

const struct feature turn_feature = { .name = "turn", .stmts = stmts, .n_stmts = COUNT(stmts), .sweep = sweep, .swept = "lost turns ended" };
