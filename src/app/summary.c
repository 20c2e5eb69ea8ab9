/* SPDX-License-Identifier: MIT */
/*
 * summary: owns the table summaries. Invariants: no summary outlives what it was made of: whoever changes a message drops those that cover it in the
 * same transaction, and whoever stores one has read its messages again under the same locks. A session never sees another's later summaries of
 * messages that it masks, and never stores one below another's conversation.
 */
#include "app/summary.h"

#include "app/codec.h"
#include "app/lineage.h"
#include "base/log.h"
#include "base/metrics.h"
#include "base/stamp.h"

#define COLUMNS "s.upto_seq, s.content, s.method, s.tokens_before, s.tokens_after, s.created_at"
#define FIND_SQL "SELECT " COLUMNS " FROM summaries s WHERE s.conversation = ? AND s.site = ? AND s.upto_seq <= ?"
#define NEWEST " ORDER BY s.upto_seq DESC LIMIT 1"
#define LOCK_ONE_SQL "SELECT c.session FROM conversations c WHERE c.id = ? AND c.site = ?"
#define LOCK_SESSION_SQL "SELECT s.flags FROM sessions s WHERE s.id = ? AND s.site = ?"

enum { FIND, FIND_UNMASKED, LOCK_ONE, LOCK_SESSION, REMOVE, INSERT, FLAG, COVERING, COVERING_OF_SESSION, PURGE };
static const struct db_stmt stmts[] = {
	[FIND] = { FIND_SQL NEWEST, NULL, NULL },
	[FIND_UNMASKED] = { FIND_SQL " AND (s.upto_seq < (SELECT COALESCE(MIN(x.seq), 9223372036854775807) FROM message_masks x"
			    " WHERE x.session = ? AND x.site = ?) OR EXISTS (SELECT 1 FROM conversations c WHERE c.id = s.conversation AND c.session = ?))"
			    NEWEST, NULL, NULL },
	[LOCK_ONE] = { LOCK_ONE_SQL " FOR UPDATE", LOCK_ONE_SQL, NULL },
	[LOCK_SESSION] = { LOCK_SESSION_SQL " FOR UPDATE", LOCK_SESSION_SQL, NULL },
	[REMOVE] = { "DELETE FROM summaries WHERE conversation = ? AND site = ? AND upto_seq = ?", NULL, NULL },
	[INSERT] = { "INSERT INTO summaries (conversation, upto_seq, site, method, content, tokens_before, tokens_after, created_at)"
		     " VALUES (?, ?, ?, ?, ?, ?, ?, ?)", NULL, NULL },
	[FLAG] = { "UPDATE sessions SET flags = flags | 4 WHERE id = ? AND site = ? AND (flags & 4) = 0", NULL, NULL },
	/* A branch inherits the row when it left behind it; its own branches again. */
	[COVERING] = { "WITH RECURSIVE d (id) AS (SELECT c.id FROM conversations c WHERE c.id = ? AND c.site = ?"
		       " UNION ALL SELECT c.id FROM conversations c JOIN d ON c.parent = d.id WHERE c.site = ? AND c.base_seq >= ?)"
		       " SELECT s.conversation, s.upto_seq FROM d JOIN summaries s ON s.conversation = d.id WHERE s.site = ? AND s.upto_seq >= ?", NULL, NULL },
	[COVERING_OF_SESSION] = { "SELECT s.conversation, s.upto_seq FROM conversations c JOIN summaries s ON s.conversation = c.id"
				  " WHERE c.session = ? AND c.site = ? AND s.upto_seq >= ?", NULL, NULL },
	[PURGE] = { "DELETE FROM summaries WHERE conversation = ? AND site = ? AND upto_seq > ?", NULL, NULL },
};

_Static_assert(SESSION_HAS_SUMMARIES == 4, "the statement FLAG says so");

/* Takes a row over; one that cannot be read counts as none, so that the messages themselves are used. */
static void take(struct task *t, const struct head *h, const struct db_rows *r, struct summary *out_r)
{
	struct summary s = { .upto_seq = db_cell_int(r, 0, 0), .method = db_cell_bytes(r, 0, 2), .tokens_before = db_cell_int(r, 0, 3),
			     .tokens_after = db_cell_int(r, 0, 4), .created_at = db_cell_int(r, 0, 5) };
	if (codec_unpack(t->arena, db_cell_bytes(r, 0, 1), &s.text)) {
		*out_r = s;
		return;
	}
	char id[IDENT_SIZE];
	ident_format(PREFIX_SESSION, &h->session, id);
	metric_add(METRIC_corrupt_records_total, 1);
	log_error(t, "corrupt_record", { "table", "summaries", 0 }, { "session", id, 0 }, { "seq", NULL, s.upto_seq });
}

enum err summary_find(struct task *t, struct app *app, struct db_conn *c, const struct head *h, struct summary *out_r)
{
	memset(out_r, 0, sizeof *out_r);
	bool has_masks = h->flags & SESSION_HAS_MASKS;
	int64_t seq = h->flags & SESSION_HAS_SUMMARIES ? INT64_MAX : 0;
	while (seq > out_r->upto_seq) {
		struct lineage_run run = lineage_find(&h->conversation, h->lineage, seq);
		const struct db_arg args[] = { db_ident(&run.conversation), db_ident(&h->site), db_int(run.hi),
					       db_ident(&h->session), db_ident(&h->site), db_ident(&h->session) };
		struct db_rows *r;
		enum err e = store_read(t, app, c, &stmts[has_masks ? FIND_UNMASKED : FIND], args, has_masks ? 6 : 3, &r);
		if (e)
			return e;
		if (r->n_rows && db_cell_int(r, 0, 0) > out_r->upto_seq)
			take(t, h, r, out_r);
		seq = run.lo - 1;
	}
	return ERR_OK;
}

enum err summary_lock(struct task *t, struct db_conn *c, const struct head *h, int64_t upto_seq, int *flags_r)
{
	struct db_rows *r;
	struct ident session;
	enum err e = db_query(t, c, &stmts[LOCK_SESSION], DB_ARGS(db_ident(&h->session), db_ident(&h->site)), &r);
	*flags_r = !e && r->n_rows ? (int)db_cell_int(r, 0, 0) : 0;
	if (!e)
		e = db_query(t, c, &stmts[LOCK_ONE], DB_ARGS(db_ident(&h->conversation), db_ident(&h->site)), &r);
	if (!e && (r->n_rows == 0 || !db_cell_ident(r, 0, 0, &session) || !ident_equal(&session, &h->session)))
		e = task_fail(t, ERR_NOT_FOUND, "there is no such conversation");
	int64_t base = lineage_base(h->lineage);
	for (int64_t seq = upto_seq < base ? upto_seq : base; !e && seq >= 1;) {
		struct lineage_run run = lineage_find(&h->conversation, h->lineage, seq);
		e = db_query(t, c, &stmts[LOCK_ONE], DB_ARGS(db_ident(&run.conversation), db_ident(&h->site)), &r);
		seq = run.lo - 1;
	}
	return e;
}

/* Who holds the summary: the owner of the row, if it is of the same session. */
static enum err choose_holder(struct task *t, struct db_conn *c, const struct head *h, int64_t upto_seq, struct ident *holder_r)
{
	struct db_rows *r;
	struct ident session;
	*holder_r = lineage_find(&h->conversation, h->lineage, upto_seq).conversation;
	if (ident_equal(holder_r, &h->conversation))
		return ERR_OK;
	enum err e = db_query(t, c, &stmts[LOCK_ONE], DB_ARGS(db_ident(holder_r), db_ident(&h->site)), &r);
	if (!e && (r->n_rows == 0 || !db_cell_ident(r, 0, 0, &session) || !ident_equal(&session, &h->session)))
		*holder_r = h->conversation;
	return e;
}

enum err summary_store(struct task *t, struct db_conn *c, const struct head *h, const struct summary *s)
{
	struct ident holder;
	struct bytes packed = codec_pack(t->arena, s->text);
	enum err e = choose_holder(t, c, h, s->upto_seq, &holder);
	if (!e)
		e = db_run(t, c, &stmts[REMOVE], DB_ARGS(db_ident(&holder), db_ident(&h->site), db_int(s->upto_seq)), NULL);
	if (!e)
		e = db_run(t, c, &stmts[INSERT],
			   DB_ARGS(db_ident(&holder), db_int(s->upto_seq), db_ident(&h->site), db_text(s->method), db_blob(packed.p, packed.n),
				   db_int(s->tokens_before), db_int(s->tokens_after), db_int(s->created_at)), NULL);
	if (!e)
		e = db_run(t, c, &stmts[FLAG], DB_ARGS(db_ident(&h->session), db_ident(&h->site)), NULL);
	return e;
}

static enum err remove_all(struct task *t, struct db_conn *c, const struct ident *site, const struct db_rows *r)
{
	for (size_t i = 0; i < r->n_rows; i++) {
		struct ident conversation;
		db_cell_ident(r, i, 0, &conversation);
		enum err e = db_run(t, c, &stmts[REMOVE], DB_ARGS(db_ident(&conversation), db_ident(site), db_int(db_cell_int(r, i, 1))), NULL);
		if (e)
			return e;
	}
	return ERR_OK;
}

enum err summary_forget(struct task *t, struct db_conn *c, const struct ident *site, const struct ident *conversation, int64_t seq)
{
	struct db_rows *r;
	enum err e = db_query(t, c, &stmts[LOCK_ONE], DB_ARGS(db_ident(conversation), db_ident(site)), &r);
	if (!e)
		e = db_query(t, c, &stmts[COVERING], DB_ARGS(db_ident(conversation), db_ident(site), db_ident(site), db_int(seq), db_ident(site), db_int(seq)), &r);
	return e ? e : remove_all(t, c, site, r);
}

enum err summary_forget_session(struct task *t, struct db_conn *c, const struct ident *site, const struct ident *session, int64_t seq)
{
	struct db_rows *r;
	enum err e = db_query(t, c, &stmts[LOCK_SESSION], DB_ARGS(db_ident(session), db_ident(site)), &r);
	if (!e)
		e = db_query(t, c, &stmts[COVERING_OF_SESSION], DB_ARGS(db_ident(session), db_ident(site), db_int(seq)), &r);
	return e ? e : remove_all(t, c, site, r);
}

enum err summary_purge(struct task *t, struct app *app, const struct ident *site, const struct ident *conversation, int64_t keep,
			int64_t *n_r)
{
	return store_run(t, app, &stmts[PURGE], DB_ARGS(db_ident(conversation), db_ident(site), db_int(keep)), n_r);
}

const struct feature summary_feature = { .name = "summary", .stmts = stmts, .n_stmts = COUNT(stmts) };
