/* SPDX-License-Identifier: MIT */
/*
 * conversation: owns the table conversations and what leads to deletions. Invariants: whoever adds a conversation to a session, or takes one away,
 * holds the session's row; a conversation that was taken away has session zero and a row in deletions, and nobody branches from it any more; what a
 * branch sees of its ancestors stays as long as the branch does (purge.c).
 */
#include "app/conversation.h"

#include "app/idem.h"
#include "app/lineage.h"
#include "base/stamp.h"

#define NONE_FITS "there is no such conversation in this session"
/* The newest message by order and limit: for a MAX of each row MariaDB would read the whole conversation. */
#define COLUMNS                                                                                                        \
	"c.id, (SELECT p.id FROM conversations p WHERE p.id = c.parent AND p.session = c.session), c.lineage, c.title, c.created_at,"                                                            \
	" (SELECT m.seq FROM messages m WHERE m.conversation = c.id ORDER BY m.seq DESC LIMIT 1),"                    \
	" (SELECT m.created_at FROM messages m WHERE m.conversation = c.id ORDER BY m.seq DESC LIMIT 1)"
#define SESSION_SQL "SELECT status, flags, conversation, version FROM sessions WHERE id = ? AND site = ?"
#define INSERT_SQL "INSERT INTO conversations (id, site, session, parent, base_seq, lineage, title, created_at)"
/* In share mode, as appends hold the row: they go on meanwhile, while a deletion waits. */
#define DESCEND_SQL INSERT_SQL " SELECT ?, ?, ?, ?, ?, ?, ?, ? FROM conversations c WHERE c.id = ? AND c.site = ? AND c.session <> ?"
#define BRANCH_SQL INSERT_SQL " SELECT ?, ?, ?, ?, ?, ?, ?, ? FROM conversations c JOIN sessions s ON s.id = c.session"                         \
	" WHERE c.id = ? AND c.site = ? AND c.session = ? AND s.status = 1"

enum { SESSION, READ, LIST, INSERT, DESCEND, BRANCH, ACTIVATE, CLEAR, NOTE_ALL, DETACH_ALL, NOTE, DETACH, RENAME, FORGET_MASKS };
static const struct db_stmt stmts[] = {
	[SESSION] = { SESSION_SQL " FOR UPDATE", SESSION_SQL, NULL },
	[READ] = { "SELECT " COLUMNS " FROM conversations c WHERE c.id = ? AND c.session = ? AND c.site = ?", NULL, NULL },
	[LIST] = { "SELECT " COLUMNS " FROM conversations c WHERE c.session = ? AND c.site = ? AND c.id > ? ORDER BY c.id LIMIT ?", NULL, NULL },
	[INSERT] = { INSERT_SQL " VALUES (?, ?, ?, ?, ?, ?, ?, ?)", NULL, NULL },
	[DESCEND] = { DESCEND_SQL " LOCK IN SHARE MODE", DESCEND_SQL, NULL },
	[BRANCH] = { BRANCH_SQL " FOR UPDATE", BRANCH_SQL, NULL },
	[ACTIVATE] = { "UPDATE sessions SET conversation = ?, version = version + 1, updated_at = ?, active_at = ? WHERE id = ? AND site = ?", NULL, NULL },
	[CLEAR] = { "UPDATE sessions SET conversation = ?, version = version + 1, flags = 0, updated_at = ?, active_at = ? WHERE id = ? AND site = ?", NULL, NULL },
	[NOTE_ALL] = { "INSERT INTO deletions (conversation, site, created_at, waits) SELECT c.id, c.site, ?, 0 FROM conversations c"
		       " WHERE c.session = ? AND c.site = ?", NULL, NULL },
	[DETACH_ALL] = { "UPDATE conversations SET session = ? WHERE session = ? AND site = ?", NULL, NULL },
	[NOTE] = { "INSERT INTO deletions (conversation, site, created_at, waits) VALUES (?, ?, ?, 0)", NULL, NULL },
	[DETACH] = { "UPDATE conversations SET session = ? WHERE id = ? AND session = ? AND site = ?", NULL, NULL },
	[RENAME] = { "UPDATE conversations SET title = ? WHERE id = ? AND session = ? AND site = ?", NULL, NULL },
	[FORGET_MASKS] = { "DELETE FROM message_masks WHERE session = ? AND site = ?", NULL, NULL },
};

static const struct ident nobody; /* the session of a detached conversation */

static enum err from_row(struct task *t, const struct ident *site, const struct ident *session, const struct db_rows *r, size_t row,
			 struct conversation *out_r)
{
	*out_r = (struct conversation){ .site = *site, .session = *session, .lineage = db_cell_bytes(r, row, 2), .title = db_cell_bytes(r, row, 3),
					.created_at = db_cell_int(r, row, 4), .last_at = db_cell_int(r, row, 6) };
	db_cell_ident(r, row, 0, &out_r->id);
	db_cell_ident(r, row, 1, &out_r->parent);
	if (!lineage_is_sound(out_r->lineage))
		return task_fail(t, ERR_CORRUPT, "this conversation's record cannot be read");
	bool has_own = db_cell(r, row, 5)->type != DB_NULL;
	out_r->last_seq = has_own ? db_cell_int(r, row, 5) : lineage_base(out_r->lineage);
	if (!has_own)
		out_r->last_at = out_r->created_at;
	return ERR_OK;
}

enum err conversation_lock_session(struct task *t, struct db_conn *c, const struct ident *site, const struct ident *session,
				   struct conversation_session *out_r)
{
	struct db_rows *r;
	enum err e = db_query(t, c, &stmts[SESSION], DB_ARGS(db_ident(session), db_ident(site)), &r);
	if (e)
		return e;
	if (r->n_rows == 0 || !db_cell_ident(r, 0, 2, &out_r->conversation))
		return task_fail(t, ERR_NOT_FOUND, "there is no such session");
	out_r->status = (int)db_cell_int(r, 0, 0);
	out_r->flags = (int)db_cell_int(r, 0, 1);
	out_r->version = db_cell_int(r, 0, 3);
	return ERR_OK;
}

enum err conversation_read(struct task *t, struct app *app, struct db_conn *c, const struct head *h, const struct ident *id,
			   struct conversation *out_r)
{
	struct db_rows *r;
	enum err e = store_read(t, app, c, &stmts[READ], DB_ARGS(db_ident(id), db_ident(&h->session), db_ident(&h->site)), &r);
	if (e)
		return e;
	return r->n_rows ? from_row(t, &h->site, &h->session, r, 0, out_r) : task_fail(t, ERR_NOT_FOUND, NONE_FITS);
}

enum err conversation_find(struct task *t, struct app *app, struct db_conn *c, const struct head *h, struct bytes ref, struct conversation *out_r)
{
	struct ident id;
	if (!ident_parse(PREFIX_CONVERSATION, ref, &id))
		return task_fail(t, ERR_NOT_FOUND, NONE_FITS);
	return conversation_read(t, app, c, h, &id, out_r);
}

enum err conversation_enter(struct task *t, struct app *app, struct head *h, struct bytes ref)
{
	struct conversation c;
	struct ident id;
	if (!ref.n || (ident_parse(PREFIX_CONVERSATION, ref, &id) && ident_equal(&id, &h->conversation)))
		return ERR_OK;
	head_settle(t, app, h); /* what was found is the active one's */
	enum err e = conversation_find(t, app, NULL, h, ref, &c);
	if (e)
		return e;
	h->conversation = c.id;
	h->lineage = c.lineage;
	h->last_seq = c.last_seq;
	h->is_elsewhere = true;
	h->n_tail = 0;
	h->tail = (struct bytes){ NULL, 0 };
	return ERR_OK;
}

/* Describes a conversation that descends from another, or from none. */
static enum err describe(struct task *t, const struct ident *site, const struct ident *session, const struct conversation *from, int64_t at,
			 struct bytes title, struct conversation *made_r)
{
	int64_t now = stamp_now();
	*made_r = (struct conversation){ .id = ident_new(), .site = *site, .session = *session, .title = bytes_or(title, BYTES("")), .last_seq = from ? at : 0,
					 .created_at = now, .last_at = now };
	if (!from)
		return ERR_OK;
	if (!lineage_branch(t->arena, &from->id, from->lineage, at, &made_r->lineage, &made_r->parent))
		return task_fail(t, ERR_INVALID, "a conversation may descend from at most %d others", LINEAGE_DEPTH);
	/* Two that begin anew in place of one conversation are versions of each other, not of one another's. */
	if (at == 0 && ident_equal(&from->session, session) && from->lineage.n == 0 && !ident_is_zero(&from->parent))
		made_r->parent = from->parent;
	return ERR_OK;
}

/* Inserts what was described: alone, or on condition that `from` is still there. */
static enum err insert(struct task *t, struct db_conn *c, int which, const struct conversation *m, const struct ident *from, const struct ident *of)
{
	int64_t n;
	const struct db_arg args[] = { db_ident(&m->id), db_ident(&m->site), db_ident(&m->session), ident_is_zero(&m->parent) ? db_null() : db_ident(&m->parent),
				       db_int(lineage_base(m->lineage)), m->lineage.n ? db_blob(m->lineage.p, m->lineage.n) : db_null(), db_text(m->title),
				       db_int(m->created_at), db_ident(from), db_ident(&m->site), db_ident(of) };
	enum err e = db_run(t, c, &stmts[which], args, which == INSERT ? 8 : COUNT(args), &n);
	return !e && n == 0 ? task_fail(t, ERR_NOT_FOUND, NONE_FITS) : e;
}

enum err conversation_insert(struct task *t, struct db_conn *c, const struct ident *site, const struct ident *session, const struct conversation *from,
			     int64_t at, struct bytes title, struct conversation *made_r)
{
	enum err e = describe(t, site, session, from, at, title, made_r);
	if (e)
		return e;
	e = insert(t, c, from ? DESCEND : INSERT, made_r, from ? &from->id : NULL, &nobody);
	if (from && !ident_equal(&from->session, session))
		memset(&made_r->parent, 0, sizeof made_r->parent);
	return e;
}

enum err conversation_branch(struct task *t, struct db_conn *c, const struct conversation *from, int64_t at, struct bytes title, bool is_active,
			     struct conversation *made_r)
{
	struct conversation_session s;
	enum err e = describe(t, &from->site, &from->session, from, at, title, made_r);
	if (!e)
		e = insert(t, c, BRANCH, made_r, &from->id, &from->session);
	if (!e)
		return is_active ? conversation_activate(t, c, &from->site, &from->session, &made_r->id) : ERR_OK;
	if (e != ERR_NOT_FOUND)
		return e;
	e = conversation_lock_session(t, c, &from->site, &from->session, &s);
	if (!e)
		e = head_check_active(t, s.status, "conversation");
	return e ? e : task_fail(t, ERR_NOT_FOUND, NONE_FITS);
}

static enum err point_session(struct task *t, struct db_conn *c, int which, const struct ident *site, const struct ident *session,
			      const struct ident *conversation)
{
	int64_t n, now = stamp_now();
	enum err e = db_run(t, c, &stmts[which], DB_ARGS(db_ident(conversation), db_int(now), db_int(now), db_ident(session), db_ident(site)), &n);
	return !e && n == 0 ? task_fail(t, ERR_NOT_FOUND, "there is no such session") : e;
}

enum err conversation_activate(struct task *t, struct db_conn *c, const struct ident *site, const struct ident *session, const struct ident *id)
{
	return point_session(t, c, ACTIVATE, site, session, id);
}

enum err conversation_detach_all(struct task *t, struct db_conn *c, const struct ident *site, const struct ident *session)
{
	enum err e = db_run(t, c, &stmts[NOTE_ALL], DB_ARGS(db_int(stamp_now()), db_ident(session), db_ident(site)), NULL);
	if (!e)
		e = db_run(t, c, &stmts[DETACH_ALL], DB_ARGS(db_ident(&nobody), db_ident(session), db_ident(site)), NULL);
	return e ? e : db_run(t, c, &stmts[FORGET_MASKS], DB_ARGS(db_ident(session), db_ident(site)), NULL);
}

enum err conversation_detach(struct task *t, struct db_conn *c, const struct ident *site, const struct ident *session, const struct ident *id)
{
	int64_t n;
	enum err e = db_run(t, c, &stmts[DETACH], DB_ARGS(db_ident(&nobody), db_ident(id), db_ident(session), db_ident(site)), &n);
	if (!e && n == 0)
		e = task_fail(t, ERR_NOT_FOUND, NONE_FITS);
	if (!e)
		e = db_run(t, c, &stmts[NOTE], DB_ARGS(db_ident(id), db_ident(site), db_int(stamp_now())), NULL);
	return e ? e : idem_erase(t, c, site, session);
}

enum err conversation_clear(struct task *t, struct db_conn *c, const struct ident *site, const struct ident *session, struct ident *id_r)
{
	*id_r = ident_new();
	enum err e = point_session(t, c, CLEAR, site, session, id_r); /* takes the session's row */
	if (!e)
		e = conversation_detach_all(t, c, site, session);
	if (!e)
		e = idem_erase(t, c, site, session);
	if (e)
		return e;
	return db_run(t, c, &stmts[INSERT],
		      DB_ARGS(db_ident(id_r), db_ident(site), db_ident(session), db_null(), db_int(0), db_null(), db_text(BYTES("")), db_int(stamp_now())),
		      NULL);
}

enum err conversation_rename(struct task *t, struct db_conn *c, const struct ident *site, const struct ident *session, const struct ident *id,
			     struct bytes title)
{
	int64_t n;
	enum err e = db_run(t, c, &stmts[RENAME], DB_ARGS(db_text(title), db_ident(id), db_ident(session), db_ident(site)), &n);
	return !e && n == 0 ? task_fail(t, ERR_NOT_FOUND, NONE_FITS) : e;
}

enum err conversation_list(struct task *t, struct app *app, const struct head *h, const struct ident *after, int64_t limit,
			   struct conversation **list_r, size_t *n_r)
{
	struct db_rows *r;
	enum err e = store_query(t, app, &stmts[LIST], DB_ARGS(db_ident(&h->session), db_ident(&h->site), db_ident(after), db_int(limit)), &r);
	if (e)
		return e;
	struct conversation *list = arena_array(t->arena, r->n_rows, sizeof *list);
	for (size_t i = 0; !e && i < r->n_rows; i++)
		e = from_row(t, &h->site, &h->session, r, i, &list[i]);
	*list_r = list;
	*n_r = r->n_rows;
	return e;
}

void conversation_render(struct buf *b, const struct conversation *c, bool is_active)
{
	buf_add_char(b, '{');
	render_ident(b, "id", PREFIX_CONVERSATION, &c->id);
	buf_member_string(b, "title", c->title);
	buf_member_bool(b, "active", is_active);
	render_ident(b, "parent_id", PREFIX_CONVERSATION, &c->parent);
	buf_member_int(b, "base_seq", lineage_base(c->lineage));
	buf_member_int(b, "message_count", c->last_seq);
	buf_member_time(b, "created_at", c->created_at);
	buf_member_time(b, "last_activity_at", c->last_at);
	buf_add_char(b, '}');
}

const struct feature conversation_feature = { .name = "conversation", .stmts = stmts, .n_stmts = COUNT(stmts) };
