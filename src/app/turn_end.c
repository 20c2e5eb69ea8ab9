/* SPDX-License-Identifier: MIT */
/*
 * turn_end: the second of a turn's two transactions. An answer that was paid for is kept, also when its session was ended meanwhile; a COMMIT whose
 * outcome is unknown is looked after, not repeated blindly.
 */
#include "app/turn_end.h"

#include "app/codec.h"
#include "app/conversation.h"
#include "app/rows.h"
#include "app/turn_log.h"
#include "base/metrics.h"
#include "base/stamp.h"

enum { FINISH, BILL };
static const struct db_stmt stmts[] = {
	[FINISH] = { "UPDATE turns SET status = ?, answer_seq = ?, provider = ?, model = ?, finish = ?, input_tokens = ?, output_tokens = ?, cost = ?,"
		     " steps = ?, partial = ?, ended_at = ? WHERE id = ? AND site = ? AND status = 1", NULL, NULL },
	[BILL] = { "UPDATE turns SET input_tokens = ?, output_tokens = ?, cost = ? WHERE id = ? AND site = ? AND status = 3", NULL, NULL },
};

enum err turn_read_message(struct task *t, struct app *app, struct head *h, const struct turn *u, int64_t seq, struct bytes *json_r)
{
	char text[IDENT_SIZE];
	struct message_list list = { .has_more = false };
	struct message_page page = { .after = seq - 1, .limit = 1 };
	enum err e = ERR_OK;
	if (h->last_seq < seq || !ident_equal(&h->conversation, &u->conversation))
		e = head_reload(t, app, h);
	ident_format(PREFIX_CONVERSATION, &u->conversation, text);
	if (!e)
		e = conversation_enter(t, app, h, bytes_of(arena_strdup(t->arena, text)));
	if (!e)
		e = message_list(t, app, h, &page, &list);
	*json_r = list.json;
	return !e && !list.json.n ? task_fail(t, ERR_NOT_FOUND, "there is no such conversation any more") : e;
}

struct bytes turn_content_text(struct arena *a, struct bytes content)
{
	struct jsonx_walk w;
	struct buf b;
	if (jsonx_type(content) == JSONX_STRING)
		return jsonx_string(a, content);
	buf_init(&b, a, content.n);
	if (jsonx_type(content) != JSONX_ARRAY)
		return buf_bytes(&b);
	for (jsonx_walk_begin(&w, content); jsonx_walk_next(&w);) {
		struct bytes text = jsonx_type(w.value) == JSONX_OBJECT ? jsonx_member(w.value, "text") : (struct bytes){ NULL, 0 };
		if (jsonx_type(text) == JSONX_STRING)
			buf_add_bytes(&b, jsonx_string(a, text));
	}
	return buf_bytes(&b);
}

enum err turn_read_answer(struct task *t, struct app *app, struct head *h, const struct turn *u, struct bytes *answer_r)
{
	struct turn_answer an = { .head = h, .turn = u };
	enum err e = turn_read_message(t, app, h, u, u->user_seq, &an.user_json);
	if (!e && u->answer_seq)
		e = turn_read_message(t, app, h, u, u->answer_seq, &an.message_json);
	if (e)
		return e;
	if (u->answer_seq)
		an.text = turn_content_text(t->arena, jsonx_member(an.message_json, "content"));
	*answer_r = turn_render_answer(t->arena, &an);
	return ERR_OK;
}

struct finish {
	struct app *app;
	struct head *h;
	struct turn *turn;
	struct bytes user_json;
	const struct turn_outcome *out;
	struct message_row *rows; /* as many as the outcome has messages */
	struct bytes *json;
	struct bytes answer;
};

/* The log says nothing that the answer does not, mostly; it is kept where it does. */
static struct bytes kept_log(struct arena *a, const struct turn_outcome *out)
{
	if (out->log.n == 0 || (turn_log_is_plain(out->log) && out->has_answer && bytes_equal(out->log, out->text)))
		return (struct bytes){ NULL, 0 };
	return codec_pack(a, out->log);
}

static void describe(struct turn *u, const struct turn_outcome *out, int64_t answer_seq, int64_t now)
{
	u->answer_seq = answer_seq;
	u->provider = out->provider;
	u->model = out->model;
	u->finish = out->finish;
	u->input_tokens = out->bill.input_tokens;
	u->output_tokens = out->bill.output_tokens;
	u->cost = spend_cost(&out->bill);
	u->steps = out->steps;
	u->ended_at = now;
}

static struct spend_who who_pays(const struct head *h, const struct turn *u)
{
	return (struct spend_who){ &u->site, ident_is_zero(&h->user) ? NULL : &h->user, &u->session };
}

/*
 * The user's message as it stands, for the answer that a key keeps: it may have been redacted since the turn began. Whoever stores messages holds the
 * session's row by now, so a redaction that comes later erases that answer as well.
 */
static enum err read_user(struct task *t, struct db_conn *c, struct finish *f)
{
	struct rows_line line = head_line(f->h);
	struct message_row *rows;
	size_t n = 0;
	enum err e = ERR_OK;
	if (ident_equal(&line.conversation, &f->turn->conversation))
		e = rows_read(t, f->app, c, &line, f->turn->user_seq, f->turn->user_seq, 1, false, &rows, &n);
	if (!e && n)
		f->user_json = *message_render_all(t->arena, rows, 1);
	return e;
}

static enum err finish_in(struct task *t, struct db_conn *c, void *arg)
{
	struct finish *f = arg;
	const struct turn_outcome *out = f->out;
	struct turn u = *f->turn;
	struct bytes log = kept_log(t->arena, out), steps = { NULL, 0 };
	int64_t n;
	enum err e = ERR_OK;
	if (out->n_messages)
		e = message_insert(t, c, &u.site, &u.conversation, out->messages, out->n_messages, false, f->rows);
	if (!e && u.has_key)
		e = read_user(t, c, f);
	if (e)
		return e;
	if (out->steps.n)
		steps = codec_pack(t->arena, out->steps);
	u.status = out->status;
	describe(&u, out, out->has_answer ? f->rows[out->n_messages - 1].seq : 0, stamp_now());
	e = db_run(t, c, &stmts[FINISH],
		   DB_ARGS(db_int(u.status), db_int(u.answer_seq), db_text(u.provider), db_text(u.model), db_text(u.finish), db_int(u.input_tokens),
			   db_int(u.output_tokens), u.cost == PRICE_UNKNOWN ? db_null() : db_int(u.cost), db_blob(steps.p, steps.n),
			   db_blob(log.p, log.n), db_int(u.ended_at), db_ident(&u.id), db_ident(&u.site)), &n);
	if (!e && n == 0)
		e = task_fail(t, ERR_CONFLICT, "the turn was ended meanwhile");
	if (!e)
		e = turn_drop_lease(t, c, &u);
	if (e)
		return e;
	f->json = message_render_all(t->arena, f->rows, out->n_messages);
	f->answer = turn_render_answer(t->arena, &(struct turn_answer){ f->h, &u, out->text,
				       out->has_answer ? f->json[out->n_messages - 1] : (struct bytes){ NULL, 0 }, f->user_json });
	*f->turn = u;
	f->turn->status = TURN_RUNNING; /* until the COMMIT stands */
	if (u.has_key)
		e = idem_finish(t, c, u.key_hash, &u.site, &u.id, 200, f->answer);
	struct spend_who who = who_pays(f->h, &u);
	return e ? e : spend_add(t, c, &who, &out->bill, stamp_now());
}

/* After a COMMIT of unknown outcome: the row tells. */
static enum err resolve_finish(struct task *t, struct app *app, struct finish *f)
{
	struct turn now;
	int64_t unused;
	enum err e = turn_read(t, app, NULL, &f->turn->site, &f->turn->id, &now, &unused);
	if (!e && now.status == f->out->status && now.answer_seq == f->turn->answer_seq)
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
	int64_t unused;
	enum err e = turn_read(t, app, NULL, &f->turn->site, &f->turn->id, &now, &unused);
	if (!e && now.status != TURN_DONE && now.status != TURN_CANCELLED)
		e = task_fail(t, ERR_CONFLICT, "the turn was ended meanwhile");
	if (e)
		return e;
	*f->turn = now;
	return turn_read_answer(t, app, f->h, f->turn, &f->answer);
}

enum err turn_finish(struct task *t, struct app *app, struct head *h, struct turn *u, struct bytes user_json, const struct turn_outcome *out,
		     struct bytes *answer_r)
{
	struct finish f = { .app = app, .h = h, .turn = u, .user_json = user_json, .out = out,
			    .rows = arena_array(t->arena, out->n_messages + 1, sizeof *f.rows) };
	head_refresh(t, app, h); /* the beginning has used its copy up, and much may have happened since */
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
	u->status = out->status;
	if (!is_found && out->n_messages)
		head_appended(t, app, h, f.rows[0].seq, f.json, out->n_messages, f.rows[out->n_messages - 1].created_at);
	metric_add(METRIC_messages_appended_total, (int64_t)out->n_messages);
	metric_add(METRIC_tokens_in_total, u->input_tokens);
	metric_add(METRIC_tokens_out_total, u->output_tokens);
	if (u->status == TURN_CANCELLED)
		metric_add(METRIC_turns_cancelled_total, 1);
	*answer_r = f.answer;
	return ERR_OK;
}

struct failure {
	struct turn *turn;
	struct bytes code, detail, log;
	const struct spend_bill *bill;
	bool is_paid; /* it was finished after all, and what it cost is counted */
};

static enum err fail_and_release(struct task *t, struct db_conn *c, void *arg)
{
	struct failure *f = arg;
	struct turn now = { 0 };
	int64_t unused;
	enum err e = turn_read(t, NULL, c, &f->turn->site, &f->turn->id, &now, &unused);
	f->is_paid = !e && (now.status == TURN_DONE || now.status == TURN_CANCELLED);
	if (e == ERR_NOT_FOUND) { /* its session was deleted */
		task_clear_fault(t);
		e = ERR_OK;
	}
	if (!e)
		e = turn_fail_in(t, c, f->turn, f->code, f->detail, f->log);
	if (!e && (f->bill->input_tokens || f->bill->output_tokens || f->bill->nano)) { /* whoever has ended it: it is what its calls used */
		int64_t cost = spend_cost(f->bill);
		e = db_run(t, c, &stmts[BILL],
			   DB_ARGS(db_int(f->bill->input_tokens), db_int(f->bill->output_tokens), cost == PRICE_UNKNOWN ? db_null() : db_int(cost),
				   db_ident(&f->turn->id), db_ident(&f->turn->site)), NULL);
	}
	return e ? e : turn_drop_lease(t, c, f->turn);
}

void turn_fail(struct task *t, struct app *app, const struct head *h, struct turn *u, struct bytes log, const struct spend_bill *bill)
{
	struct fault kept = t->fault;
	const char *detail = kept.detail ? kept.detail : err_title(kept.code);
	struct failure f = { u, bytes_of(err_code(kept.code)), bytes_of(detail), log, bill, false };
	struct spend_who who = who_pays(h, u);
	/* If this cannot be stored the lease runs out and ends the turn. */
	if (store_transact(t, app, fail_and_release, &f) == ERR_OK)
		u->status = TURN_FAILED;
	if (!f.is_paid)
		spend_pay(t, app, &who, bill, 1);
	metric_add(METRIC_turns_failed_total, 1);
	t->fault = kept;
}

const struct feature turn_end_feature = { .name = "turn_end", .stmts = stmts, .n_stmts = COUNT(stmts) };
