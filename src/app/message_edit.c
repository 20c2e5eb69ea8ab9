/* SPDX-License-Identifier: MIT */
/*
 * message_edit: owns the table message_masks, and the only statements that change stored messages. Invariants: a place once given keeps its seq, id
 * and role; no session ever changes what another one wrote, but for what that one left when it went and nobody else sees.
 */
#include "app/message_edit.h"

#include "app/codec.h"
#include "app/lineage.h"
#include "app/summary.h"
#include "base/stamp.h"

enum { ERASE, ERASE_TURN, MASK, MASK_AGAIN, FLAG, OWNED, DESCENDANTS, VERSIONS, INHERITING };
static const struct db_stmt stmts[] = {
	[ERASE_TURN] = { "UPDATE turns SET partial = NULL, steps = NULL WHERE id = ? AND site = ? AND status <> 1", NULL, NULL },
	[ERASE] = { "UPDATE messages SET content = ?, metadata = NULL, extra = ? WHERE conversation = ? AND seq = ? AND site = ?", NULL, NULL },
	[MASK] = { "INSERT INTO message_masks (content, extra, session, conversation, seq, site, created_at) VALUES (?, ?, ?, ?, ?, ?, ?)", NULL, NULL },
	[MASK_AGAIN] = { "UPDATE message_masks SET content = ?, extra = ? WHERE session = ? AND conversation = ? AND seq = ? AND site = ?", NULL, NULL },
	[FLAG] = { "UPDATE sessions SET flags = ? WHERE id = ? AND site = ?", NULL, NULL },
	[OWNED] = { "SELECT session FROM conversations WHERE id = ? AND site = ?", NULL, NULL },
	/* A branch inherits the row when it left behind it; its own branches again. */
	[DESCENDANTS] = { "WITH RECURSIVE below (id, session) AS (SELECT id, session FROM conversations WHERE parent = ? AND site = ? AND base_seq >= ?"
			  " UNION SELECT c.id, c.session FROM conversations c JOIN below b ON c.parent = b.id WHERE c.site = ? AND c.base_seq >= ?)"
			  " SELECT DISTINCT session FROM below", NULL, NULL },
	[VERSIONS] = { "SELECT " MESSAGE_COLUMNS ", c.lineage, c.parent FROM conversations c JOIN messages m ON m.conversation = c.id AND m.seq = ?"
		       " WHERE c.session = ? AND c.site = ? ORDER BY m.created_at, c.id LIMIT ?", NULL, NULL },
	[INHERITING] = { "SELECT id, lineage FROM conversations WHERE session = ? AND site = ? AND base_seq >= ? ORDER BY id LIMIT ?", NULL, NULL },
};

enum err message_edit_branch(struct task *t, struct db_conn *c, const struct head *h, const struct conversation *from, const struct message_row *old,
			     const struct message_new *now, bool is_active, struct message_row *row_r)
{
	struct conversation made;
	enum err e = conversation_branch(t, c, from, old->seq - 1, from->title, is_active, &made);
	return e ? e : message_insert(t, c, &h->site, &made.id, now, 1, true, row_r);
}

/* An erasure under way. */
struct erasure {
	const struct head *h;
	const struct message_row *old;
	bool is_deletion;
	const struct message_row *row;
	struct app *app;
	const struct idem *idem;
	struct bytes content, extra; /* packed */
	bool reaches_clones;
};

static enum err mask(struct task *t, struct db_conn *c, const struct erasure *x, int flags)
{
	const struct head *h = x->h;
	int64_t now = stamp_now();
	const struct db_arg args[] = { db_blob(x->content.p, x->content.n), db_blob(x->extra.p, x->extra.n), db_ident(&h->session),
				       db_ident(&x->old->stored_in), db_int(x->old->seq), db_ident(&h->site), db_int(now) };
	enum err e = db_run(t, c, &stmts[MASK], args, COUNT(args), NULL);
	if (e == ERR_DUPLICATE) {
		task_clear_fault(t);
		e = db_run(t, c, &stmts[MASK_AGAIN], args, COUNT(args) - 1, NULL);
	}
	if (e || (flags & SESSION_HAS_MASKS))
		return e;
	return db_run(t, c, &stmts[FLAG], DB_ARGS(db_int(flags | SESSION_HAS_MASKS), db_ident(&h->session), db_ident(&h->site)), NULL);
}

/* The sessions of the conversations that inherit the row. */
static enum err list_descendants(struct task *t, struct app *app, struct db_conn *c, const struct erasure *x, struct db_rows **r_r)
{
	struct db_arg site = db_ident(&x->h->site), seq = db_int(x->old->seq);
	return store_read(t, app, c, &stmts[DESCENDANTS], DB_ARGS(db_ident(&x->old->stored_in), site, seq, site, seq), r_r);
}

/*
 * Whether another session sees the row. It stays as it was found until the transaction ends: who clones this session waits for its row, and whoever
 * else could hand the row on is counted already.
 */
static enum err is_seen_elsewhere(struct task *t, struct db_conn *c, const struct erasure *x, bool *is_seen_r)
{
	struct db_rows *r;
	enum err e = list_descendants(t, NULL, c, x, &r);
	*is_seen_r = false;
	for (size_t i = 0; !e && i < r->n_rows; i++) {
		struct ident session;
		*is_seen_r |= db_cell_ident(r, i, 0, &session) && !ident_is_zero(&session) && !ident_equal(&session, &x->h->session);
	}
	return e;
}

static enum err erase(struct task *t, struct db_conn *c, const struct erasure *x, int flags)
{
	const struct head *h = x->h;
	const struct db_arg content = db_blob(x->content.p, x->content.n), extra = db_blob(x->extra.p, x->extra.n), site = db_ident(&h->site);
	const struct db_arg stored_in = db_ident(&x->old->stored_in), seq = db_int(x->old->seq);
	enum err e = summary_forget(t, c, &h->site, &x->old->stored_in, x->old->seq);
	if (!e)
		e = db_run(t, c, &stmts[ERASE], DB_ARGS(content, extra, stored_in, seq, site), NULL);
	if (!e && (flags & SESSION_HAS_MASKS)) /* an earlier deletion may have masked it */
		e = db_run(t, c, &stmts[MASK_AGAIN], DB_ARGS(content, extra, db_ident(&h->session), stored_in, seq, site), NULL);
	if (!e && !ident_is_zero(&x->old->turn)) /* its steps and what it said may quote the message */
		e = db_run(t, c, &stmts[ERASE_TURN], DB_ARGS(db_ident(&x->old->turn), site), NULL);
	return e;
}

static enum err change_row(struct task *t, struct db_conn *c, struct erasure *x)
{
	const struct head *h = x->h;
	struct conversation_session s;
	struct db_rows *r;
	struct ident owner = { { 0 } };
	bool is_seen = false;
	x->reaches_clones = false;
	enum err e = conversation_lock_session(t, c, &h->site, &h->session, &s);
	if (!e)
		e = db_query(t, c, &stmts[OWNED], DB_ARGS(db_ident(&x->old->stored_in), db_ident(&h->site)), &r);
	if (e)
		return e;
	bool is_there = r->n_rows && db_cell_ident(r, 0, 0, &owner);
	bool is_own = is_there && ident_equal(&owner, &h->session), is_left = is_there && ident_is_zero(&owner);
	if (is_left || (is_own && (s.flags & SESSION_IS_CLONED)))
		e = is_seen_elsewhere(t, c, x, &is_seen);
	if (e)
		return e;
	if ((is_own && !(x->is_deletion && is_seen)) || (is_left && !is_seen)) {
		x->reaches_clones = is_seen;
		return erase(t, c, x, s.flags);
	}
	e = mask(t, c, x, s.flags);
	return e ? e : summary_forget_session(t, c, &h->site, &h->session, x->old->seq);
}

static enum err erase_in(struct task *t, struct db_conn *c, void *arg)
{
	struct erasure *x = arg;
	enum err e = change_row(t, c, x);
	if (!e)
		e = idem_erase(t, c, &x->h->site, &x->h->session);
	if (e || !x->idem->is_active)
		return e;
	struct buf b;
	buf_init(&b, t->arena, 512);
	render_message(&b, x->row);
	return idem_store(t, c, x->idem, x->app, &x->h->site, &x->h->session, 200, buf_bytes(&b));
}

/* Tells the cache of every session that sees rows of the conversation. */
static enum err tell_descendants(struct task *t, struct app *app, const struct erasure *x)
{
	struct db_rows *r;
	const struct head *h = x->h;
	enum err e = list_descendants(t, app, NULL, x, &r);
	for (size_t i = 0; !e && i < r->n_rows; i++) {
		struct ident session;
		if (db_cell_ident(r, i, 0, &session) && !ident_is_zero(&session))
			head_changed(t, app, &h->site, &session);
	}
	return e;
}

static struct bytes note(struct arena *a, bool is_deletion)
{
	struct buf b;
	buf_init(&b, a, 64);
	buf_add_char(&b, '{');
	buf_member_time(&b, is_deletion ? "deleted_at" : "redacted_at", stamp_now());
	buf_add_char(&b, '}');
	return buf_bytes(&b);
}

enum err message_edit_erase(struct task *t, struct app *app, const struct head *h, const struct message_row *old, struct bytes text,
			    const struct idem *idem, struct message_row *row_r)
{
	struct erasure x = { .h = h, .old = old, .is_deletion = text.n == 0, .row = row_r, .app = app, .idem = idem };
	*row_r = *old;
	row_r->content = text.n ? text : BYTES("null");
	row_r->metadata = (struct bytes){ NULL, 0 };
	row_r->extra = note(t->arena, x.is_deletion);
	x.content = codec_pack(t->arena, row_r->content);
	x.extra = codec_pack(t->arena, row_r->extra);
	enum err e = store_transact(t, app, erase_in, &x);
	if (!e || e == ERR_COMMIT_UNKNOWN)
		head_changed(t, app, &h->site, &h->session);
	if (!e && x.reaches_clones)
		return tell_descendants(t, app, &x);
	struct fault kept = t->fault;
	if (e == ERR_COMMIT_UNKNOWN && x.reaches_clones && tell_descendants(t, app, &x) != ERR_OK)
		t->fault = kept;
	return e;
}

/* A message that stands where another one does, and whom it follows. */
struct version {
	struct message_row row;
	struct ident parent; /* of the conversation that holds it; zero: none */
	struct ident before; /* the conversation that holds the message in front of it */
};

/* For a first message, with none in front: the conversation in whose place all began. */
static struct ident origin_of(const struct version *all, size_t n, struct ident id)
{
	for (size_t steps = 0; steps < n; steps++) {
		size_t i = 0;
		while (i < n && !ident_equal(&all[i].row.stored_in, &id))
			i++;
		if (i == n || ident_is_zero(&all[i].parent))
			break;
		id = all[i].parent;
	}
	return id;
}

/* What the session's own conversations hold at a seq. */
static enum err list_own(struct task *t, struct app *app, const struct head *h, int64_t seq, int64_t limit, struct version **list_r, size_t *n_r)
{
	struct db_rows *r;
	*n_r = 0;
	enum err e = store_query(t, app, &stmts[VERSIONS], DB_ARGS(db_int(seq), db_ident(&h->session), db_ident(&h->site), db_int(limit)), &r);
	if (e)
		return e;
	struct version *list = arena_array(t->arena, r->n_rows, sizeof *list);
	for (size_t i = 0; i < r->n_rows; i++) {
		struct version *v = &list[*n_r];
		struct bytes lineage = db_cell_bytes(r, i, MESSAGE_N_COLUMNS);
		message_from_row(t, r, i, &v->row);
		memset(&v->parent, 0, sizeof v->parent);
		db_cell_ident(r, i, MESSAGE_N_COLUMNS + 1, &v->parent);
		if (!lineage_is_sound(lineage))
			continue;
		if (seq > 1)
			v->before = lineage_find(&v->row.stored_in, lineage, seq - 1).conversation;
		++*n_r;
	}
	*list_r = list;
	return ERR_OK;
}

/* Reads one message as a conversation of the session sees it; nothing when it is not there. */
static enum err add_inherited(struct task *t, struct app *app, const struct head *h, const struct ident *conversation, struct bytes lineage, int64_t seq,
			      struct version *list, size_t *n)
{
	struct rows_line line = head_line(h);
	struct message_row *rows;
	size_t n_rows;
	struct ident owner = lineage_find(conversation, lineage, seq).conversation;
	for (size_t i = 0; i < *n; i++)
		if (ident_equal(&list[i].row.stored_in, &owner))
			return ERR_OK;
	line.conversation = *conversation;
	line.lineage = lineage;
	enum err e = rows_read(t, app, NULL, &line, seq, seq, 1, false, &rows, &n_rows);
	if (e || n_rows == 0)
		return e;
	list[*n] = (struct version){ .row = rows[0] };
	if (seq > 1)
		list[*n].before = lineage_find(conversation, lineage, seq - 1).conversation;
	++*n;
	return ERR_OK;
}

/* The same and what they inherit there from elsewhere. */
static enum err list_all(struct task *t, struct app *app, const struct head *h, int64_t seq, int64_t limit, struct version **list_r, size_t *n_r)
{
	struct db_rows *r;
	struct version *own = NULL;
	enum err e = list_own(t, app, h, seq, limit, &own, n_r);
	if (!e)
		e = store_query(t, app, &stmts[INHERITING], DB_ARGS(db_ident(&h->session), db_ident(&h->site), db_int(seq), db_int(limit)), &r);
	if (e)
		return e;
	struct version *list = arena_array(t->arena, *n_r + r->n_rows + 1, sizeof *list);
	if (*n_r)
		memcpy(list, own, *n_r * sizeof *list);
	for (size_t i = 0; !e && i < r->n_rows; i++) {
		struct ident id;
		struct bytes lineage = db_cell_bytes(r, i, 1);
		if (db_cell_ident(r, i, 0, &id) && lineage_is_sound(lineage))
			e = add_inherited(t, app, h, &id, lineage, seq, list, n_r);
	}
	for (size_t i = 0; seq == 1 && i < *n_r; i++)
		list[i].before = origin_of(list, *n_r, list[i].row.stored_in);
	*list_r = list;
	return e;
}

/* Puts a row among rows that are in the order of time. */
static void insert_by_time(struct message_row *rows, size_t *n, const struct message_row *row)
{
	size_t i = (*n)++;
	for (; i > 0 && rows[i - 1].created_at > row->created_at; i--)
		rows[i] = rows[i - 1];
	rows[i] = *row;
}

enum err message_edit_versions(struct task *t, struct app *app, const struct head *h, const struct message_row *m, int64_t limit,
			       struct message_row **rows_r, size_t *n_r)
{
	struct version *all;
	size_t n;
	struct rows_line line = head_line(h);
	*n_r = 0;
	enum err e = list_all(t, app, h, m->seq, limit, &all, &n);
	if (e)
		return e;
	struct message_row *rows = arena_array(t->arena, n + 1, sizeof *rows);
	struct ident before = m->stored_in;
	if (m->seq > 1)
		before = lineage_find(&h->conversation, h->lineage, m->seq - 1).conversation;
	else
		before = origin_of(all, n, before);
	bool has_itself = false;
	for (size_t i = 0; i < n; i++) {
		bool is_itself = ident_equal(&all[i].row.stored_in, &m->stored_in);
		if (!is_itself && !ident_equal(&all[i].before, &before))
			continue;
		has_itself |= is_itself;
		insert_by_time(rows, n_r, &all[i].row);
	}
	if (!has_itself) /* past the limit */
		insert_by_time(rows, n_r, m);
	*rows_r = rows;
	return rows_mask(t, app, NULL, &line, rows, *n_r);
}

const struct feature message_edit_feature = { .name = "message_edit", .stmts = stmts, .n_stmts = COUNT(stmts) };
