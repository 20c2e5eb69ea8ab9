/* SPDX-License-Identifier: MIT */
/*
 * message_edit: owns the table message_masks, and the only statements that change stored messages. Invariants: a place once given keeps its seq, id
 * and role; no session ever changes what another one wrote.
 */
#include "app/message_edit.h"

#include "app/codec.h"
#include "app/lineage.h"
#include "app/summary.h"
#include "base/stamp.h"

enum { ERASE, MASK, MASK_AGAIN, FLAG, OWNED, DESCENDANTS, VERSIONS };
static const struct db_stmt stmts[] = {
	[ERASE] = { "UPDATE messages SET content = ?, metadata = NULL, extra = ? WHERE conversation = ? AND seq = ? AND site = ?", NULL, NULL },
	[MASK] = { "INSERT INTO message_masks (content, extra, session, conversation, seq, site, created_at) VALUES (?, ?, ?, ?, ?, ?, ?)", NULL, NULL },
	[MASK_AGAIN] = { "UPDATE message_masks SET content = ?, extra = ? WHERE session = ? AND conversation = ? AND seq = ? AND site = ?", NULL, NULL },
	[FLAG] = { "UPDATE sessions SET flags = ? WHERE id = ? AND site = ?", NULL, NULL },
	[OWNED] = { "SELECT session FROM conversations WHERE id = ? AND site = ?", NULL, NULL },
	[DESCENDANTS] = { "WITH RECURSIVE below (id, session) AS (SELECT id, session FROM conversations WHERE parent = ? AND site = ?"
			  " UNION ALL SELECT c.id, c.session FROM conversations c JOIN below b ON c.parent = b.id WHERE c.site = ?)"
			  " SELECT DISTINCT session FROM below", NULL, NULL },
	[VERSIONS] = { "SELECT " MESSAGE_COLUMNS ", c.lineage, c.parent FROM conversations c JOIN messages m ON m.conversation = c.id AND m.seq = ?"
		       " WHERE c.session = ? AND c.site = ? ORDER BY m.created_at, c.id LIMIT ?", NULL, NULL },
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

static enum err change_row(struct task *t, struct db_conn *c, struct erasure *x)
{
	const struct head *h = x->h;
	struct conversation_session s;
	struct db_rows *r;
	struct ident owner;
	x->reaches_clones = false;
	enum err e = conversation_lock_session(t, c, &h->site, &h->session, &s);
	if (!e)
		e = db_query(t, c, &stmts[OWNED], DB_ARGS(db_ident(&x->old->stored_in), db_ident(&h->site)), &r);
	if (e)
		return e;
	bool is_own = r->n_rows && db_cell_ident(r, 0, 0, &owner) && ident_equal(&owner, &h->session);
	bool is_cloned = s.flags & SESSION_IS_CLONED;
	if (!is_own || (x->is_deletion && is_cloned)) {
		e = mask(t, c, x, s.flags);
		return e ? e : summary_forget_session(t, c, &h->site, &h->session, x->old->seq);
	}
	x->reaches_clones = is_cloned;
	e = summary_forget(t, c, &h->site, &x->old->stored_in, x->old->seq);
	return e ? e : db_run(t, c, &stmts[ERASE],
		      DB_ARGS(db_blob(x->content.p, x->content.n), db_blob(x->extra.p, x->extra.n), db_ident(&x->old->stored_in), db_int(x->old->seq),
			      db_ident(&h->site)), NULL);
}

static enum err erase_in(struct task *t, struct db_conn *c, void *arg)
{
	struct erasure *x = arg;
	enum err e = change_row(t, c, x);
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
	enum err e = store_query(t, app, &stmts[DESCENDANTS], DB_ARGS(db_ident(&x->old->stored_in), db_ident(&h->site), db_ident(&h->site)), &r);
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
		e = tell_descendants(t, app, &x);
	return e;
}

/* What the message in front of a place is: the conversation that holds it, or for a first message the one they all began with. */
static struct ident forerunner(const struct ident *own, struct bytes lineage, const struct ident *parent, int64_t seq)
{
	if (seq > 1)
		return lineage_find(own, lineage, seq - 1).conversation;
	return ident_is_zero(parent) ? *own : *parent;
}

enum err message_edit_versions(struct task *t, struct app *app, const struct head *h, const struct message_row *m, int64_t limit,
			       struct message_row **rows_r, size_t *n_r)
{
	struct db_rows *r;
	struct ident parent = { { 0 } }, before = { { 0 } };
	*n_r = 0;
	enum err e = store_query(t, app, &stmts[VERSIONS], DB_ARGS(db_int(m->seq), db_ident(&h->session), db_ident(&h->site), db_int(limit)), &r);
	if (e)
		return e;
	struct message_row *rows = arena_array(t->arena, r->n_rows + 1, sizeof *rows);
	if (m->seq > 1)
		before = forerunner(&h->conversation, h->lineage, &parent, m->seq);
	else /* the row's own conversation says what it began in place of */
		for (size_t i = 0; i < r->n_rows; i++) {
			struct message_row one;
			message_from_row(t, r, i, &one);
			memset(&parent, 0, sizeof parent);
			db_cell_ident(r, i, MESSAGE_N_COLUMNS + 1, &parent);
			if (ident_equal(&one.stored_in, &m->stored_in))
				before = forerunner(&one.stored_in, (struct bytes){ NULL, 0 }, &parent, 1);
		}
	for (size_t i = 0; i < r->n_rows; i++) {
		struct message_row *one = &rows[*n_r];
		message_from_row(t, r, i, one);
		memset(&parent, 0, sizeof parent);
		db_cell_ident(r, i, MESSAGE_N_COLUMNS + 1, &parent);
		struct bytes lineage = db_cell_bytes(r, i, MESSAGE_N_COLUMNS);
		if (!lineage_is_sound(lineage))
			continue;
		struct ident theirs = forerunner(&one->stored_in, lineage, &parent, m->seq);
		*n_r += ident_equal(&theirs, &before);
	}
	if (*n_r == 0) /* inherited from another session, and never written anew here */
		rows[(*n_r)++] = *m;
	*rows_r = rows;
	return ERR_OK;
}

const struct feature message_edit_feature = { .name = "message_edit", .stmts = stmts, .n_stmts = COUNT(stmts) };
