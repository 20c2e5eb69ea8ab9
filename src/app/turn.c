/* SPDX-License-Identifier: MIT */
/*
 * turn: owns the tables turns and turn_leases; turn_begin, turn_keep and turn_end write their part of them. Invariants: a conversation has at most one lease;
 * whoever ends a turn changes its status from running in the same transaction that gives its lease back, so it is ended once; a key is answered or
 * released with it.
 */
#include "app/turn.h"

#include "app/codec.h"
#include "base/metrics.h"
#include "base/stamp.h"

#define LOST_DETAIL "the worker that ran this turn was lost; try again"
#define DETAIL_MAX 500

#define LEASE_SQL "SELECT turn, lease_until FROM turn_leases WHERE conversation = ? AND site = ?"
#define TURN_SQL                                                                                                       \
	"SELECT t.id, t.session, t.conversation, t.status, t.user_seq, t.answer_seq, t.model, t.finish, t.error_code, t.error_detail,"\
	" t.input_tokens, t.output_tokens, t.partial, t.idem, t.created_at, t.ended_at, t.provider, t.cost, t.steps, l.lease_until"\
	" FROM turns t LEFT JOIN turn_leases l ON l.conversation = t.conversation AND l.turn = t.id"
enum { LEASE, LEASE_DELETE, LEASES_OLD, GET, PEEK, LIST, FAIL, PURGE_FROM, PURGE_SOME, PURGE_ALL, LEASE_PURGE };
static const struct db_stmt stmts[] = {
	[LEASE] = { LEASE_SQL " FOR UPDATE", LEASE_SQL, NULL },
	[LEASE_DELETE] = { "DELETE FROM turn_leases WHERE conversation = ? AND site = ? AND turn = ?", NULL, NULL },
	[LEASES_OLD] = { "SELECT conversation, site, turn FROM turn_leases WHERE lease_until < ? ORDER BY lease_until LIMIT ?", NULL,
			 "the janitor's, of all sites" },
	[GET] = { TURN_SQL " WHERE t.id = ? AND t.site = ?", NULL, NULL },
	[PEEK] = { "SELECT t.status, l.lease_until, CASE WHEN LENGTH(t.partial) <> ? THEN t.partial END FROM turns t LEFT JOIN turn_leases l"
		   " ON l.conversation = t.conversation AND l.turn = t.id WHERE t.id = ? AND t.site = ?", NULL, NULL },
	[LIST] = { TURN_SQL " WHERE t.session = ? AND t.site = ? AND t.id < ? AND (? = 0 OR t.status = ?) ORDER BY t.id DESC LIMIT ?", NULL, NULL },
	[FAIL] = { "UPDATE turns SET status = 3, error_code = ?, error_detail = ?, partial = COALESCE(?, partial), ended_at = ?"
		   " WHERE id = ? AND site = ? AND status = 1", NULL, NULL },
	[PURGE_FROM] = { "SELECT id FROM turns WHERE conversation = ? AND site = ? ORDER BY id LIMIT 1 OFFSET ?", NULL, NULL },
	[PURGE_SOME] = { "DELETE FROM turns WHERE conversation = ? AND site = ? AND id < ?", NULL, NULL },
	[PURGE_ALL] = { "DELETE FROM turns WHERE conversation = ? AND site = ?", NULL, NULL },
	[LEASE_PURGE] = { "DELETE FROM turn_leases WHERE conversation = ? AND site = ?", NULL, NULL },
};

static const char *const statuses[] = { "unknown", "running", "done", "failed", "cancelled" };

/* ---- reading ---- */

/* A stored document; a broken one is counted and reads as none. */
static struct bytes unpack(struct arena *a, struct bytes packed)
{
	struct bytes text = { NULL, 0 };
	if (packed.p && !codec_unpack(a, packed, &text))
		metric_add(METRIC_corrupt_records_total, 1);
	return text;
}

static void turn_from_row(struct arena *a, const struct db_rows *r, size_t row, const struct ident *site, struct turn *u, int64_t *lease_until_r)
{
	*u = (struct turn){ .site = *site };
	db_cell_ident(r, row, 0, &u->id);
	db_cell_ident(r, row, 1, &u->session);
	db_cell_ident(r, row, 2, &u->conversation);
	u->status = (int)db_cell_int(r, row, 3);
	u->user_seq = db_cell_int(r, row, 4);
	u->answer_seq = db_cell_int(r, row, 5);
	u->model = db_cell_bytes(r, row, 6);
	u->finish = db_cell_bytes(r, row, 7);
	u->error_code = db_cell_bytes(r, row, 8);
	u->error_detail = db_cell_bytes(r, row, 9);
	u->input_tokens = db_cell_int(r, row, 10);
	u->output_tokens = db_cell_int(r, row, 11);
	u->log = unpack(a, db_cell_bytes(r, row, 12));
	struct bytes key = db_cell_bytes(r, row, 13);
	u->has_key = key.n == sizeof u->key_hash;
	if (u->has_key)
		memcpy(u->key_hash, key.p, key.n);
	u->created_at = db_cell_int(r, row, 14);
	u->ended_at = db_cell_int(r, row, 15);
	u->provider = db_cell_bytes(r, row, 16);
	u->cost = db_cell(r, row, 17)->type == DB_NULL ? PRICE_UNKNOWN : db_cell_int(r, row, 17);
	u->steps = unpack(a, db_cell_bytes(r, row, 18));
	*lease_until_r = db_cell_int(r, row, 19);
}

enum err turn_read(struct task *t, struct app *app, struct db_conn *c, const struct ident *site, const struct ident *id, struct turn *turn_r,
		   int64_t *lease_until_r)
{
	struct db_rows *r;
	enum err e = store_read(t, app, c, &stmts[GET], DB_ARGS(db_ident(id), db_ident(site)), &r);
	if (e)
		return e;
	if (r->n_rows == 0)
		return task_fail(t, ERR_NOT_FOUND, "there is no such turn");
	turn_from_row(t->arena, r, 0, site, turn_r, lease_until_r);
	return ERR_OK;
}

enum err turn_get(struct task *t, struct app *app, const struct head *h, const struct ident *id, struct turn *turn_r)
{
	int64_t until;
	enum err e = turn_read(t, app, NULL, &h->site, id, turn_r, &until);
	if (!e && !ident_equal(&turn_r->session, &h->session))
		return task_fail(t, ERR_NOT_FOUND, "there is no such turn");
	if (e || turn_r->status != TURN_RUNNING || until >= stamp_now())
		return e;
	e = turn_expire(t, app, &h->site, &turn_r->conversation, id);
	return e ? e : turn_read(t, app, NULL, &h->site, id, turn_r, &until);
}

enum err turn_peek(struct task *t, struct app *app, const struct ident *site, const struct ident *id, size_t known_n, int *status_r, bool *is_lost_r,
		   struct bytes *log_r)
{
	struct db_rows *r;
	int64_t packed_n = (int64_t)(known_n ? codec_plain_size(known_n) : 0);
	enum err e = store_query(t, app, &stmts[PEEK], DB_ARGS(db_int(packed_n), db_ident(id), db_ident(site)), &r);
	if (!e && r->n_rows == 0)
		e = task_fail(t, ERR_NOT_FOUND, "there is no such turn");
	if (e)
		return e;
	*status_r = (int)db_cell_int(r, 0, 0);
	*is_lost_r = *status_r == TURN_RUNNING && db_cell_int(r, 0, 1) < stamp_now();
	*log_r = unpack(t->arena, db_cell_bytes(r, 0, 2));
	return ERR_OK;
}

enum err turn_list(struct task *t, struct app *app, const struct head *h, const struct turn_page *page, struct turn **list_r, size_t *n_r)
{
	struct ident before = page->before;
	struct db_rows *r;
	int64_t until;
	if (ident_is_zero(&before))
		memset(before.b, 0xff, sizeof before.b);
	struct db_arg status = db_int(page->status);
	enum err e = store_query(t, app, &stmts[LIST], DB_ARGS(db_ident(&h->session), db_ident(&h->site), db_ident(&before), status, status, db_int(page->limit)), &r);
	if (e)
		return e;
	*list_r = arena_array(t->arena, r->n_rows, sizeof **list_r);
	for (size_t i = 0; i < r->n_rows; i++)
		turn_from_row(t->arena, r, i, &h->site, &(*list_r)[i], &until);
	*n_r = r->n_rows;
	return ERR_OK;
}

/* ---- ending ---- */

enum err turn_fail_in(struct task *t, struct db_conn *c, const struct turn *u, struct bytes code, struct bytes detail, struct bytes log)
{
	int64_t n;
	struct bytes partial = { NULL, 0 };
	if (log.n)
		partial = codec_pack(t->arena, log);
	if (detail.n > DETAIL_MAX)
		detail = BYTES("the provider failed");
	enum err e = db_run(t, c, &stmts[FAIL],
			    DB_ARGS(db_text(code), db_text(detail), db_blob(partial.p, partial.n), db_int(stamp_now()), db_ident(&u->id), db_ident(&u->site)), &n);
	if (e || n == 0 || !u->has_key)
		return e;
	return idem_finish(t, c, u->key_hash, &u->site, &u->id, IDEM_RELEASED, (struct bytes){ NULL, 0 });
}

/* Ends the turn of a lease that has run out. */
static enum err fail_lost(struct task *t, struct db_conn *c, const struct ident *site, const struct ident *id)
{
	struct turn lost;
	int64_t unused;
	enum err e = turn_read(t, NULL, c, site, id, &lost, &unused);
	if (!e)
		e = turn_fail_in(t, c, &lost, BYTES(TURN_LOST_CODE), BYTES(LOST_DETAIL), (struct bytes){ NULL, 0 });
	if (e == ERR_NOT_FOUND) {
		task_clear_fault(t);
		return ERR_OK;
	}
	return e;
}

enum err turn_lock_lease(struct task *t, struct db_conn *c, const struct turn *u, bool *is_free_r, bool *has_row_r)
{
	struct db_rows *r;
	struct ident holder;
	enum err e = db_query(t, c, &stmts[LEASE], DB_ARGS(db_ident(&u->conversation), db_ident(&u->site)), &r);
	if (e)
		return e;
	*has_row_r = r->n_rows > 0;
	*is_free_r = !*has_row_r || db_cell_int(r, 0, 1) < stamp_now();
	return *has_row_r && *is_free_r && db_cell_ident(r, 0, 0, &holder) ? fail_lost(t, c, &u->site, &holder) : ERR_OK;
}

enum err turn_drop_lease(struct task *t, struct db_conn *c, const struct turn *u)
{
	return db_run(t, c, &stmts[LEASE_DELETE], DB_ARGS(db_ident(&u->conversation), db_ident(&u->site), db_ident(&u->id)), NULL);
}

static enum err expire_in(struct task *t, struct db_conn *c, void *arg)
{
	const struct turn *u = arg; /* its ids alone */
	struct db_rows *r;
	struct ident holder;
	enum err e = db_query(t, c, &stmts[LEASE], DB_ARGS(db_ident(&u->conversation), db_ident(&u->site)), &r);
	if (e)
		return e;
	bool is_held = r->n_rows && db_cell_ident(r, 0, 0, &holder) && ident_equal(&holder, &u->id);
	if (is_held && db_cell_int(r, 0, 1) >= stamp_now())
		return ERR_OK;
	e = fail_lost(t, c, &u->site, &u->id);
	return e ? e : turn_drop_lease(t, c, u);
}

enum err turn_expire(struct task *t, struct app *app, const struct ident *site, const struct ident *conversation, const struct ident *id)
{
	struct turn u = { .id = *id, .site = *site, .conversation = *conversation };
	return store_transact(t, app, expire_in, &u);
}

/* ---- rendering ---- */

static void add_usage(struct buf *b, const struct turn *u)
{
	buf_add_member(b, "usage");
	buf_add_char(b, '{');
	buf_member_int(b, "input_tokens", u->input_tokens);
	buf_member_int(b, "output_tokens", u->output_tokens);
	buf_member_int(b, "total_tokens", u->input_tokens + u->output_tokens);
	buf_add_member(b, "cost");
	if (u->cost == PRICE_UNKNOWN)
		buf_add_str(b, "null");
	else
		price_add_amount(b, u->cost);
	buf_add_char(b, '}');
}

int turn_status_find(struct bytes name)
{
	for (int i = TURN_RUNNING; i <= TURN_CANCELLED; i++)
		if (bytes_equal(name, bytes_of(statuses[i])))
			return i;
	return 0;
}

static const char *status_name(const struct turn *u)
{
	return statuses[u->status >= TURN_RUNNING && u->status <= TURN_CANCELLED ? u->status : 0];
}

struct bytes turn_render_answer(struct arena *a, const struct turn_answer *an)
{
	const struct turn *u = an->turn;
	struct buf b;
	buf_init(&b, a, 1024 + 2 * an->text.n + u->steps.n);
	buf_add_char(&b, '{');
	buf_member_string(&b, "session_id", head_id(an->head));
	render_ident(&b, "turn_id", PREFIX_TURN, &u->id);
	buf_member_string(&b, "result", bytes_or(an->text, BYTES("")));
	buf_member_bool(&b, "success", u->status == TURN_DONE && !bytes_equal(u->finish, BYTES("iterations")));
	buf_member_string(&b, "finish", u->finish);
	buf_member_json(&b, "message", an->message_json);
	buf_member_json(&b, "user_message", an->user_json);
	add_usage(&b, u);
	buf_member_json(&b, "steps", u->steps.n ? u->steps : BYTES("[]"));
	buf_add_char(&b, '}');
	return buf_bytes(&b);
}

void turn_render(struct buf *b, const struct head *h, const struct turn *u, struct bytes text)
{
	buf_add_char(b, '{');
	render_ident(b, "id", PREFIX_TURN, &u->id);
	buf_member_string(b, "session_id", head_id(h));
	render_ident(b, "conversation_id", PREFIX_CONVERSATION, &u->conversation);
	buf_member_str(b, "status", status_name(u));
	buf_member_int(b, "user_seq", u->user_seq);
	buf_add_member(b, "answer_seq");
	if (u->answer_seq)
		buf_add_int(b, u->answer_seq);
	else
		buf_add_str(b, "null");
	buf_member_string(b, "provider", u->provider);
	buf_member_string(b, "model", u->model);
	buf_member_string(b, "finish", u->finish.n ? u->finish : (struct bytes){ NULL, 0 });
	buf_member_string(b, "result", text);
	buf_add_member(b, "error");
	if (u->status == TURN_FAILED) {
		buf_add_char(b, '{');
		buf_member_string(b, "code", u->error_code);
		buf_member_string(b, "detail", u->error_detail);
		buf_add_char(b, '}');
	} else {
		buf_add_str(b, "null");
	}
	add_usage(b, u);
	buf_member_json(b, "steps", u->steps.n ? u->steps : BYTES("[]"));
	buf_member_time(b, "created_at", u->created_at);
	buf_member_time(b, "ended_at", u->ended_at);
	buf_add_char(b, '}');
}

/* ---- the janitor ---- */

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
