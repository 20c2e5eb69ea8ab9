/* SPDX-License-Identifier: MIT */
/* search_shared: finds out who of a scope reads an ancestor's rows. Reads sessions, conversations and message_masks. */
#include "app/search_shared.h"

#include "app/head.h"
#include "app/lineage.h"

#define CLAIMS_MAX 10000 /* conversations that are looked at; past them a message may be found twice */

#define ANCESTORS_FIRST 16

#define CLAIM_COLUMNS SEARCH_SESSION_COLUMNS ", c.id, c.lineage"
#define CLAIMS_OF(column)                                                                                              \
	"SELECT " CLAIM_COLUMNS " FROM sessions s JOIN conversations c ON c.session = s.id"                            \
	" WHERE s.site = ? AND s." column " = ? AND c.site = s.site AND c.parent IS NOT NULL LIMIT ?"

enum { SESSION_OF, CLAIMS_SESSION, CLAIMS_USER, CLAIMS_BELOW, MASKED };
static const struct db_stmt stmts[] = {
	[SESSION_OF] = { "SELECT " SEARCH_SESSION_COLUMNS " FROM conversations c JOIN sessions s ON s.id = c.session"
			 " WHERE c.site = ? AND c.id = ? AND s.site = c.site", NULL, NULL },
	[CLAIMS_SESSION] = { CLAIMS_OF("id"), NULL, NULL },
	[CLAIMS_USER] = { CLAIMS_OF("user_id"), NULL, NULL },
	[CLAIMS_BELOW] = { "WITH RECURSIVE d (id) AS (SELECT c.id FROM conversations c WHERE c.site = ? AND c.parent = ?"
			   " UNION SELECT e.id FROM conversations e JOIN d ON e.parent = d.id)"
			   " SELECT " CLAIM_COLUMNS " FROM d JOIN conversations c ON c.id = d.id JOIN sessions s ON s.id = c.session"
			   " WHERE s.site = ? AND c.site = s.site LIMIT ?", NULL, NULL },
	[MASKED] = { "SELECT k.session, k.seq FROM message_masks k WHERE k.site = ? AND k.session IN (?, ?) AND k.conversation = ?"
		     " AND k.seq >= ? AND k.seq <= ? ORDER BY k.seq DESC", NULL, NULL },
};

/* A conversation of the scope that descends from others. */
struct search_claim {
	struct search_session session;
	struct ident conversation;
	struct bytes lineage;
};

/* An ancestor that was met. */
struct search_ancestor {
	struct ident id;
	struct ident session;  /* that has it, when that is in the scope: its rows are searched there; else zero */
	bool has_masks;        /* that session hides some */
	const struct search_claim *claims; /* who else may read it, when not all is searched there */
	size_t n_claims;
};

void search_session_read(struct arena *a, const struct db_rows *r, size_t row, struct search_session *s_r)
{
	*s_r = (struct search_session){ .created_at = db_cell_int(r, row, 1), .own_id = arena_bytes(a, db_cell_bytes(r, row, 2)),
					.user = arena_bytes(a, db_cell_bytes(r, row, 3)), .status = (int)db_cell_int(r, row, 5),
					.flags = (int)db_cell_int(r, row, 6) };
	db_cell_ident(r, row, 0, &s_r->id);
	db_cell_ident(r, row, 4, &s_r->agent);
}

bool search_scope_has(const struct search_scope *scope, const struct search_session *s)
{
	return (!scope->user.p || bytes_equal(scope->user, s->user)) && (ident_is_zero(&scope->agent) || ident_equal(&scope->agent, &s->agent)) &&
	       (ident_is_zero(&scope->session) || ident_equal(&scope->session, &s->id)) && (!scope->status || scope->status == s->status);
}

int search_compare(const struct search_session *a, const struct ident *a_conversation, const struct search_session *b, const struct ident *b_conversation)
{
	if (a->created_at != b->created_at)
		return a->created_at > b->created_at ? -1 : 1;
	int order = memcmp(b->id.b, a->id.b, sizeof a->id.b);
	return order ? order : memcmp(b_conversation->b, a_conversation->b, sizeof a_conversation->b);
}

/* Reads those of a statement's claims that are in the scope; kept as long as the search. */
static enum err read_claims(struct task *t, struct search_shared *x, int which, const struct db_arg *args, size_t n_args,
			    const struct search_claim **claims_r, size_t *n_r)
{
	struct db_rows *r;
	*n_r = 0;
	enum err e = store_query(t, x->app, &stmts[which], args, n_args, &r);
	if (e)
		return e;
	struct search_claim *claims = arena_array(x->arena, r->n_rows + 1, sizeof *claims);
	for (size_t i = 0; i < r->n_rows; i++) {
		struct search_claim *c = &claims[*n_r];
		search_session_read(x->arena, r, i, &c->session);
		db_cell_ident(r, i, SEARCH_SESSION_N_COLUMNS, &c->conversation);
		c->lineage = arena_bytes(x->arena, db_cell_bytes(r, i, SEARCH_SESSION_N_COLUMNS + 1));
		*n_r += search_scope_has(x->scope, &c->session) && lineage_is_sound(c->lineage);
	}
	*claims_r = claims;
	return ERR_OK;
}

/* Who else may read an ancestor: looked for among the conversations of the scope's user or session, or below the ancestor. */
static enum err find_claims(struct task *t, struct search_shared *x, struct search_ancestor *a)
{
	const struct search_scope *scope = x->scope;
	bool is_session = !ident_is_zero(&scope->session);
	enum err e = ERR_OK;
	if (!is_session && !scope->user.p)
		return read_claims(t, x, CLAIMS_BELOW, DB_ARGS(db_ident(&scope->site), db_ident(&a->id), db_ident(&scope->site), db_int(CLAIMS_MAX)), &a->claims,
				   &a->n_claims);
	if (!x->has_claims)
		e = read_claims(t, x, is_session ? CLAIMS_SESSION : CLAIMS_USER,
				DB_ARGS(db_ident(&scope->site), is_session ? db_ident(&scope->session) : db_text(scope->user), db_int(CLAIMS_MAX)), &x->claims,
				&x->n_claims);
	x->has_claims = true;
	a->claims = x->claims;
	a->n_claims = x->n_claims;
	return e;
}

static enum err find_ancestor(struct task *t, struct search_shared *x, const struct ident *id, const struct search_ancestor **a_r)
{
	int64_t at;
	if (!x->by_id.arena)
		ident_map_init(&x->by_id, x->arena);
	if (ident_map_find(&x->by_id, id, &at)) {
		*a_r = &x->ancestors[at];
		return ERR_OK;
	}
	struct db_rows *r;
	struct search_session session;
	enum err e = store_query(t, x->app, &stmts[SESSION_OF], DB_ARGS(db_ident(&x->scope->site), db_ident(id)), &r);
	if (e)
		return e;
	if (x->n_ancestors == x->room) {
		size_t room = x->room ? 2 * x->room : ANCESTORS_FIRST;
		x->ancestors = arena_grow(x->arena, x->ancestors, x->room * sizeof *x->ancestors, room * sizeof *x->ancestors);
		x->room = room;
	}
	ident_map_add(&x->by_id, id, (int64_t)x->n_ancestors);
	struct search_ancestor *a = &x->ancestors[x->n_ancestors++];
	*a = (struct search_ancestor){ .id = *id };
	*a_r = a;
	if (r->n_rows)
		search_session_read(t->arena, r, 0, &session);
	if (r->n_rows && search_scope_has(x->scope, &session)) {
		a->session = session.id;
		a->has_masks = session.flags & SESSION_HAS_MASKS;
	}
	return ident_is_zero(&a->session) || a->has_masks ? find_claims(t, x, a) : ERR_OK;
}

/* The newest seq of an ancestor that a claim reads, or 0. */
static int64_t reach_of(const struct search_claim *c, const struct ident *ancestor)
{
	for (int64_t seq = lineage_base(c->lineage); seq >= 1;) {
		struct lineage_run run = lineage_find(&c->conversation, c->lineage, seq);
		if (ident_equal(&run.conversation, ancestor))
			return run.hi;
		seq = run.lo - 1;
	}
	return 0;
}

/*
 * Up to which seq others stand for an ancestor's rows. A session that hides some leaves what it shares to those that do not, since they see more; of several
 * that hide some, each is searched.
 */
static int64_t claimed_upto(const struct search_ancestor *a, const struct search_session *session, const struct rows_line *line)
{
	int64_t upto = 0;
	for (size_t i = 0; i < a->n_claims; i++) {
		const struct search_claim *c = &a->claims[i];
		if ((c->session.flags & SESSION_HAS_MASKS) || ident_equal(&c->conversation, &line->conversation) ||
		    (!line->has_masks && search_compare(&c->session, &c->conversation, session, &line->conversation) > 0))
			continue;
		int64_t reach = reach_of(c, &a->id);
		upto = reach > upto ? reach : upto;
	}
	return upto;
}

enum err search_shared_find(struct task *t, struct search_shared *x, const struct search_session *session, const struct rows_line *line,
			    const struct ident *ancestor, int64_t lo, int64_t hi, int64_t *claimed_r, int64_t **masked_r, size_t *n_masked_r)
{
	const struct search_ancestor *a = NULL;
	struct db_rows *r;
	*n_masked_r = 0;
	enum err e = find_ancestor(t, x, ancestor, &a);
	if (e)
		return e;
	bool is_there = !ident_is_zero(&a->session);
	*claimed_r = hi;
	if (ident_equal(&a->session, &line->session)) /* searched there, and what is hidden there is hidden here */
		return ERR_OK;
	int64_t upto = claimed_upto(a, session, line);
	*claimed_r = is_there || upto > hi ? hi : upto;
	if (*claimed_r < lo || !(line->has_masks || a->has_masks))
		return ERR_OK;
	e = store_query(t, x->app, &stmts[MASKED],
			DB_ARGS(db_ident(&line->site), db_ident(&line->session), db_ident(is_there ? &a->session : &line->session), db_ident(ancestor), db_int(lo),
				db_int(*claimed_r)), &r);
	if (e)
		return e;
	*masked_r = arena_array(t->arena, r->n_rows + 1, sizeof **masked_r);
	for (size_t i = 0; i < r->n_rows; i++) {
		struct ident by;
		int64_t seq = db_cell_int(r, i, 1);
		bool is_new = *n_masked_r == 0 || (*masked_r)[*n_masked_r - 1] != seq;
		if (is_new && db_cell_ident(r, i, 0, &by) && (ident_equal(&by, &line->session) || seq > upto))
			(*masked_r)[(*n_masked_r)++] = seq;
	}
	return ERR_OK;
}

const struct feature search_shared_feature = { .name = "search_shared", .stmts = stmts, .n_stmts = COUNT(stmts) };
