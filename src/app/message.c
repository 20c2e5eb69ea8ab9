/* SPDX-License-Identifier: MIT */
/*
 * message: owns the table messages. Invariants: the key (conversation, seq) is given once and never again; seq has no gaps; an append either
 * commits whole or leaves nothing; no message stays below a session that is gone: the foreign key refuses it once the conversation is, and the
 * purge takes the conversation only when nothing is below. An append that began before its session was ended may still be stored.
 */
#include "app/message.h"

#include "app/codec.h"
#include "app/group.h"
#include "base/metrics.h"
#include "base/stamp.h"

#define TRIES_OPTIMISTIC 2 /* one statement each; past them the conversation is locked first, which queues fairly */
#define TRIES_LOCKED 20

#define INSERT_COLUMNS "conversation, seq, id, site, role, content, metadata, extra, turn, created_at, tokens"
#define LOCK_SQL                                                                                                       \
	"SELECT s.status, c.base_seq, (SELECT MAX(m.seq) FROM messages m WHERE m.conversation = c.id)"                 \
	" FROM conversations c JOIN sessions s ON s.id = c.session WHERE c.id = ? AND c.site = ?"

enum { LOCK, INSERT, PURGE_FROM, PURGE };
static const struct db_stmt stmts[] = {
	[LOCK] = { LOCK_SQL " FOR UPDATE", LOCK_SQL, NULL },
	[INSERT] = { "INSERT INTO messages (" INSERT_COLUMNS ") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", NULL, NULL },
	[PURGE_FROM] = { "SELECT MIN(m.seq) FROM messages m WHERE m.conversation = ? AND m.site = ? AND m.seq > ?", NULL, NULL },
	[PURGE] = { "DELETE FROM messages WHERE conversation = ? AND site = ? AND seq > ? AND seq < ?", NULL, NULL },
};

/* A message's id carries its seq in its random part, so that the id alone leads to the row's key. */
static struct ident message_ident(int64_t seq)
{
	struct ident id = ident_new();
	id.b[8] = (unsigned char)(0x80 | ((seq >> 24) & 0x3f));
	id.b[9] = (unsigned char)(seq >> 16);
	id.b[10] = (unsigned char)(seq >> 8);
	id.b[11] = (unsigned char)seq;
	return id;
}

static int64_t seq_of_ident(const struct ident *id)
{
	return (int64_t)(id->b[8] & 0x3f) << 24 | (int64_t)id->b[9] << 16 | (int64_t)id->b[10] << 8 | id->b[11];
}

/* The columns of a message behind its key, packed; optional ones NULL. */
struct packed {
	struct bytes content, metadata, extra;
};

static struct packed pack(struct arena *a, const struct message_new *m)
{
	struct packed p = { .content = codec_pack(a, m->content) };
	if (m->metadata.n)
		p.metadata = codec_pack(a, m->metadata);
	if (m->extra.n)
		p.extra = codec_pack(a, m->extra);
	return p;
}

static void row_of(const struct message_new *m, const struct ident *conversation, int64_t seq, int64_t now, struct message_row *row_r)
{
	*row_r = (struct message_row){
		.conversation = *conversation, .stored_in = *conversation, .id = message_ident(seq), .turn = m->turn, .seq = seq, .role = m->role,
		.content = m->content, .metadata = m->metadata, .extra = m->extra, .created_at = now,
	};
}

static struct db_arg optional_ident(const struct ident *id)
{
	return ident_is_zero(id) ? db_null() : db_ident(id);
}

enum err message_insert(struct task *t, struct db_conn *c, const struct ident *site, const struct ident *conversation,
			const struct message_new *items, size_t n, bool must_be_active, struct message_row *rows_r)
{
	struct db_rows *r;
	enum err e = db_query(t, c, &stmts[LOCK], DB_ARGS(db_ident(conversation), db_ident(site)), &r);
	if (e)
		return e;
	if (r->n_rows == 0)
		return task_fail(t, ERR_NOT_FOUND, "there is no such session");
	if (must_be_active)
		e = head_check_active(t, (int)db_cell_int(r, 0, 0), "message");
	if (e)
		return e;
	int64_t seq = 1 + (db_cell(r, 0, 2)->type == DB_NULL ? db_cell_int(r, 0, 1) : db_cell_int(r, 0, 2));
	int64_t now = stamp_now();
	for (size_t i = 0; i < n; i++) {
		struct packed p = pack(t->arena, &items[i]);
		row_of(&items[i], conversation, seq + (int64_t)i, now, &rows_r[i]);
		e = db_run(t, c, &stmts[INSERT],
			   DB_ARGS(db_ident(conversation), db_int(rows_r[i].seq), db_ident(&rows_r[i].id), db_ident(site), db_int(items[i].role),
				   db_blob(p.content.p, p.content.n), db_blob(p.metadata.p, p.metadata.n), db_blob(p.extra.p, p.extra.n),
				   optional_ident(&items[i].turn), db_int(now), db_int(items[i].tokens)), NULL);
		if (e == ERR_DUPLICATE) /* the one-statement path does not wait for the lock */
			return task_fail_internal(t, ERR_RETRY, "seq %lld was taken meanwhile", (long long)rows_r[i].seq);
		if (e)
			return e;
	}
	return ERR_OK;
}

struct bytes *message_render_all(struct arena *a, const struct message_row *rows, size_t n)
{
	struct bytes *json = arena_array(a, n, sizeof *json);
	for (size_t i = 0; i < n; i++) {
		struct buf b;
		buf_init(&b, a, 256 + rows[i].content.n + rows[i].metadata.n + rows[i].extra.n);
		render_message(&b, &rows[i]);
		json[i] = buf_bytes(&b);
	}
	return json;
}

void message_format_answer(struct buf *out, const struct bytes *json, size_t n, bool is_batch)
{
	if (is_batch)
		buf_add_str(out, "{\"data\":[");
	for (size_t i = 0; i < n; i++) {
		if (i > 0)
			buf_add_char(out, ',');
		buf_add_bytes(out, json[i]);
	}
	if (is_batch)
		buf_add_str(out, "]}");
}

/* An append under way. */
struct append {
	struct app *app;
	struct head *h;
	const struct message_new *items;
	size_t n;
	bool is_batch;
	const struct idem *idem;
	struct message_row *rows;
	struct bytes *json;
};

/* The whole in one transaction: lock, insert, answer for the key. */
static enum err append_locked(struct task *t, struct db_conn *c, void *arg)
{
	struct append *a = arg;
	enum err e = message_insert(t, c, &a->h->site, &a->h->conversation, a->items, a->n, true, a->rows);
	if (e)
		return e;
	a->json = message_render_all(t->arena, a->rows, a->n);
	if (!a->idem->is_active)
		return ERR_OK;
	struct buf answer;
	buf_init(&answer, t->arena, 1024);
	message_format_answer(&answer, a->json, a->n, a->is_batch);
	return idem_store(t, c, a->idem, a->app, &a->h->site, &a->h->session, 201, buf_bytes(&answer));
}

/*
 * One message in one statement, one round trip, one commit, often shared with others. It stores nothing unless h is up to date: the seq is
 * taken, or the conversation gone. ERR_RETRY then.
 */
static enum err append_one(struct task *t, struct append *a)
{
	struct packed p = pack(t->arena, a->items);
	int64_t now = stamp_now();
	row_of(a->items, &a->h->conversation, a->h->last_seq + 1, now, a->rows);
	const struct db_arg args[GROUP_COLUMNS] = {
		db_ident(&a->h->conversation), db_int(a->rows->seq), db_ident(&a->rows->id), db_ident(&a->h->site), db_int(a->items->role),
		db_blob(p.content.p, p.content.n), db_blob(p.metadata.p, p.metadata.n), db_blob(p.extra.p, p.extra.n),
		optional_ident(&a->items->turn), db_int(now), db_int(a->items->tokens),
	};
	enum err e = group_insert(t, a->app, args);
	if (e == ERR_DUPLICATE || e == ERR_NOT_FOUND)
		return ERR_RETRY;
	if (!e)
		a->json = message_render_all(t->arena, a->rows, 1);
	return e;
}

static enum err append_any(struct task *t, struct append *a)
{
	enum err e = ERR_RETRY;
	int64_t until = stamp_mono_ms() + a->app->conf->database_timeout; /* each try below may take as long */
	if (a->n == 1 && !a->idem->is_active && !a->h->is_elsewhere) {
		for (int i = 0; i < TRIES_OPTIMISTIC && e == ERR_RETRY; i++) {
			if (i > 0 || a->h->status != SESSION_ACTIVE) {
				e = head_reload(t, a->app, a->h);
				if (e)
					return e;
			}
			e = head_check_active(t, a->h->status, "message");
			if (e)
				return e;
			e = append_one(t, a);
		}
	}
	for (int i = 0; i < TRIES_LOCKED && (e == ERR_RETRY || (e == ERR_BUSY && stamp_mono_ms() < until)); i++) {
		e = store_transact(t, a->app, append_locked, a);
		if (e == ERR_NOT_FOUND) { /* the history was cleared meanwhile, or the session deleted */
			e = head_follow(t, a->app, a->h);
			e = e ? e : ERR_RETRY;
		}
	}
	return e;
}

enum err message_append(struct task *t, struct app *app, struct head *h, const struct message_new *items, size_t n, bool is_batch,
			const struct idem *idem, struct bytes *json_r)
{
	struct append a = { .app = app, .h = h, .items = items, .n = n, .is_batch = is_batch, .idem = idem };
	a.rows = arena_array(t->arena, n, sizeof *a.rows);
	enum err e = append_any(t, &a);
	if (e) {
		if (e == ERR_COMMIT_UNKNOWN) /* it may be there after all */
			head_changed(t, app, &h->site, &h->session);
		return e;
	}
	task_clear_fault(t);
	head_appended(t, app, h, a.rows[0].seq, a.json, n, a.rows[0].created_at);
	metric_add(METRIC_messages_appended_total, (int64_t)n);
	memcpy(json_r, a.json, n * sizeof *json_r);
	return ERR_OK;
}

/* Bounds of a page as a dense run of seqs, lo to hi; empty when lo > hi. */
static void bounds_of(const struct message_page *p, int64_t last, int64_t *lo_r, int64_t *hi_r, bool *has_more_r)
{
	int64_t lo = 1 + (p->after < last ? p->after : last);
	int64_t hi = p->before > 0 && p->before - 1 < last ? p->before - 1 : last;
	*has_more_r = hi - lo + 1 > p->limit;
	if (*has_more_r && p->is_descending)
		lo = hi - p->limit + 1;
	else if (*has_more_r)
		hi = lo + p->limit - 1;
	*lo_r = lo;
	*hi_r = hi;
}

static struct bytes page_from_tail(struct task *t, const struct head *h, int64_t lo, int64_t hi, bool is_descending)
{
	int64_t first = h->last_seq - (int64_t)h->n_tail + 1;
	struct buf b;
	if (!is_descending && lo <= hi) { /* one piece of the tail as it is */
		struct bytes from = head_tail_message(h, (size_t)(lo - first)), to = head_tail_message(h, (size_t)(hi - first));
		return (struct bytes){ from.p, (size_t)(to.p + to.n - from.p) };
	}
	buf_init(&b, t->arena, h->tail.n + 1);
	for (int64_t seq = hi; seq >= lo; seq--) {
		if (b.n)
			buf_add_char(&b, ',');
		buf_add_bytes(&b, head_tail_message(h, (size_t)(seq - first)));
	}
	return buf_bytes(&b);
}

enum err message_list(struct task *t, struct app *app, const struct head *h, const struct message_page *page, struct message_list *list_r)
{
	int64_t lo, hi;
	memset(list_r, 0, sizeof *list_r);
	bounds_of(page, h->last_seq, &lo, &hi, &list_r->has_more);
	list_r->next = page->is_descending ? lo : hi;
	if (lo > hi)
		return ERR_OK;
	if (lo > h->last_seq - (int64_t)h->n_tail) {
		list_r->json = page_from_tail(t, h, lo, hi, page->is_descending);
		return ERR_OK;
	}
	struct rows_line line = head_line(h);
	struct message_row *rows;
	size_t n;
	enum err e = rows_read(t, app, NULL, &line, lo, hi, page->limit, page->is_descending, &rows, &n);
	if (e)
		return e;
	if ((int64_t)n < hi - lo + 1) /* seqs have no gaps: it is being removed, and a page with holes would be worse than none */
		return task_fail(t, ERR_NOT_FOUND, "there is no such conversation any more");
	struct buf b;
	buf_init(&b, t->arena, 4096);
	for (size_t i = 0; i < n; i++) {
		if (i > 0)
			buf_add_char(&b, ',');
		render_message(&b, &rows[i]);
	}
	list_r->json = buf_bytes(&b);
	return ERR_OK;
}

enum err message_list_active(struct task *t, struct app *app, struct head *h, const struct message_page *page, struct message_list *list_r)
{
	enum err e = message_list(t, app, h, page, list_r);
	if (e != ERR_NOT_FOUND)
		return e;
	e = head_follow(t, app, h);
	return e ? e : message_list(t, app, h, page, list_r);
}

enum err message_find(struct task *t, struct app *app, const struct head *h, struct bytes ref, struct message_row *row_r)
{
	struct rows_line line = head_line(h);
	struct message_row *rows = NULL;
	struct ident id;
	size_t n = 0;
	int64_t seq = ident_parse(PREFIX_MESSAGE, ref, &id) ? seq_of_ident(&id) : 0;
	enum err e = seq > 0 ? rows_read(t, app, NULL, &line, seq, seq, 1, false, &rows, &n) : ERR_OK;
	if (!e && (n == 0 || !ident_equal(&rows[0].id, &id)))
		return task_fail(t, ERR_NOT_FOUND, "there is no such message in this conversation");
	if (!e)
		*row_r = rows[0];
	return e;
}

enum err message_newest_rows(struct task *t, struct app *app, const struct head *h, int64_t limit, struct message_row **rows_r, size_t *n_r)
{
	struct rows_line line = head_line(h);
	enum err e = rows_read(t, app, NULL, &line, 1, INT64_MAX, limit, true, rows_r, n_r);
	for (size_t i = 0; !e && i < *n_r / 2; i++) {
		struct message_row newer = (*rows_r)[i];
		(*rows_r)[i] = (*rows_r)[*n_r - 1 - i];
		(*rows_r)[*n_r - 1 - i] = newer;
	}
	return e;
}

enum err message_purge(struct task *t, struct app *app, const struct ident *site, const struct ident *conversation, int64_t keep, int64_t batch,
		       int64_t *n_r)
{
	struct db_rows *r;
	*n_r = 0;
	enum err e = store_query(t, app, &stmts[PURGE_FROM], DB_ARGS(db_ident(conversation), db_ident(site), db_int(keep)), &r);
	if (e || r->n_rows == 0 || db_cell(r, 0, 0)->type == DB_NULL)
		return e;
	return store_run(t, app, &stmts[PURGE], DB_ARGS(db_ident(conversation), db_ident(site), db_int(keep), db_int(db_cell_int(r, 0, 0) + batch)), n_r);
}

const struct feature message_feature = { .name = "message", .stmts = stmts, .n_stmts = COUNT(stmts) };
