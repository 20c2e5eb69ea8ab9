/* SPDX-License-Identifier: MIT */
/*
 * session_list: reads the tables sessions and session_tags in the order of creation. Invariants: each statement walks one index from the cursor on and
 * sorts nothing; a cursor fits the list it came from and no other.
 */
#include "app/session_list.h"

#include "app/cursor.h"
#include "base/jsonx.h"

/*
 * MariaDB compares as if trailing spaces were not there. A leading filter does so by its index, the check behind it is exact; it stands on
 * the column, since the value may be NULL and then has no character set.
 */
#define EXACT " COLLATE utf8mb4_nopad_bin"

/* The newest message by order and limit: for a MAX of each row MariaDB would read the whole conversation. */
#define COLUMNS                                                                                                        \
	HEAD_COLUMNS ", s.id, s.created_at,"                                                                           \
	" (SELECT m.seq FROM messages m WHERE m.conversation = s.conversation ORDER BY m.seq DESC LIMIT 1),"           \
	" (SELECT m.created_at FROM messages m WHERE m.conversation = s.conversation ORDER BY m.seq DESC LIMIT 1)"
/* A tag is counted: of an EXISTS MariaDB would first gather all sessions that have it. */
#define CHECK(column) " AND (? IS NULL OR " column " = ?)"
#define CHECKS(exact)                                                                                                  \
	CHECK("s.user_id" exact) CHECK("s.agent") CHECK("s.client_type") CHECK("s.status") CHECK("s.context" exact)     \
	" AND (? IS NULL OR (SELECT COUNT(*) FROM session_tags x WHERE x.site = s.site AND x.tag = ?"                  \
	" AND x.created_at = s.created_at AND x.session = s.id) = 1)"
#define CONVERSATION " LEFT JOIN conversations c ON c.id = s.conversation"
#define PAGE(from, where, at, id, op, edge, order, exact)                                                             \
	"SELECT " COLUMNS from CONVERSATION " WHERE " where " AND " at " " op "= ? AND (" at " " op " ? OR " id " " op " ?)" \
	" AND " at " " edge "= ?" CHECKS(exact) " ORDER BY " at " " order ", " id " " order " LIMIT ?"
#define ORDERED(index, where, op, edge, order)                                                                         \
	{ PAGE(" FROM sessions s FORCE INDEX (" index ")", where, "s.created_at", "s.id", op, edge, order, EXACT),      \
	  PAGE(" FROM sessions s INDEXED BY " index, where, "s.created_at", "s.id", op, edge, order, ""), NULL }
#define TAGGED(op, edge, order)                                                                                        \
	{ PAGE(" FROM session_tags g STRAIGHT_JOIN sessions s ON s.id = g.session AND s.site = g.site",                 \
	       "g.site = ? AND g.tag = ?", "g.created_at", "g.session", op, edge, order, EXACT),                       \
	  PAGE(" FROM session_tags g CROSS JOIN sessions s ON s.id = g.session AND s.site = g.site",                   \
	       "g.site = ? AND g.tag = ?", "g.created_at", "g.session", op, edge, order, ""), NULL }
/* Both orders of a list that an index leads. */
#define LIST(index, where) ORDERED(index, "s.site = ?" where, "<", ">", "DESC"), ORDERED(index, "s.site = ?" where, ">", "<", "ASC")

/* What leads, the most telling first; each has two statements, newest first and oldest first. */
enum lead { LEAD_USER, LEAD_TAG, LEAD_CONTEXT, LEAD_AGENT, LEAD_CLIENT_TYPE, LEAD_STATUS, LEAD_NONE };
static const struct db_stmt stmts[] = {
	LIST("sessions_user", " AND s.user_id = ?"),
	TAGGED("<", ">", "DESC"), TAGGED(">", "<", "ASC"),
	LIST("sessions_context", " AND s.context = ?"),
	LIST("sessions_agent", " AND s.agent = ?"),
	LIST("sessions_client_type", " AND s.client_type = ?"),
	LIST("sessions_status", " AND s.status = ?"),
	LIST("sessions_time", ""),
};

#define ARGS_MAX 24

static void add_part(struct buf *b, struct bytes part)
{
	buf_addf(b, part.p ? "%zu:" : "-:", part.n);
	buf_add_bytes(b, part);
}

/* What a cursor of this list is bound to. */
static struct bytes list_name(struct arena *a, const struct ident *site, const struct session_filter *f)
{
	struct buf b;
	buf_init(&b, a, 256);
	buf_add(&b, site->b, sizeof site->b);
	buf_add(&b, f->agent.b, sizeof f->agent.b);
	add_part(&b, f->user);
	add_part(&b, f->client_type);
	add_part(&b, f->context);
	add_part(&b, f->tag);
	buf_addf(&b, "%d %lld %d %lld %c", f->status, (long long)f->created_from, f->has_created_to, (long long)f->created_to, f->is_ascending ? 'a' : 'd');
	return buf_bytes(&b);
}

static struct db_arg optional_ident(const struct ident *id)
{
	return ident_is_zero(id) ? db_null() : db_ident(id);
}

static enum err query_page(struct task *t, struct app *app, const struct ident *site, const struct session_filter *f, bool is_ascending,
			   const struct cursor *from, int64_t edge, struct db_rows **rows_r)
{
	/* In the order of CHECKS. */
	const struct db_arg checks[] = { db_text(f->user), optional_ident(&f->agent), db_text(f->client_type), f->status ? db_int(f->status) : db_null(),
					 db_text(f->context), db_text(f->tag) };
	const struct db_arg leads[] = { [LEAD_USER] = checks[0], [LEAD_TAG] = checks[5], [LEAD_CONTEXT] = checks[4], [LEAD_AGENT] = checks[1],
					[LEAD_CLIENT_TYPE] = checks[2], [LEAD_STATUS] = checks[3] };
	struct db_arg args[ARGS_MAX];
	size_t n = 0, lead = 0;
	while (lead < LEAD_NONE && leads[lead].type == DB_NULL)
		lead++;
	args[n++] = db_ident(site);
	if (lead < LEAD_NONE)
		args[n++] = leads[lead];
	args[n++] = db_int(from->at);
	args[n++] = db_int(from->at);
	args[n++] = db_ident(&from->id);
	args[n++] = db_int(edge);
	for (size_t i = 0; i < COUNT(checks); i++) {
		args[n++] = checks[i];
		args[n++] = checks[i];
	}
	args[n++] = db_int(f->limit + 1);
	return store_query(t, app, &stmts[2 * lead + (is_ascending ? 1 : 0)], args, n, rows_r);
}

/* A session whose record cannot be read stands in the list with its id alone; the rest works. */
static void render_corrupt(struct task *t, struct head *h)
{
	struct buf b;
	task_clear_fault(t);
	buf_init(&b, t->arena, 64);
	buf_add_char(&b, '{');
	render_ident(&b, "id", PREFIX_SESSION, &h->session);
	buf_member_bool(&b, "corrupt", true);
	h->json = buf_bytes(&b);
}

static enum err read_row(struct task *t, const struct ident *site, const struct db_rows *r, size_t row, struct head *h_r)
{
	h_r->site = *site;
	db_cell_ident(r, row, HEAD_N_COLUMNS, &h_r->session);
	enum err e = head_from_row(t, r, row, h_r);
	if (e == ERR_CORRUPT) { /* reported */
		render_corrupt(t, h_r);
		return ERR_OK;
	}
	if (db_cell(r, row, HEAD_N_COLUMNS + 2)->type != DB_NULL)
		h_r->last_seq = db_cell_int(r, row, HEAD_N_COLUMNS + 2);
	if (db_cell_int(r, row, HEAD_N_COLUMNS + 3) > h_r->last_at)
		h_r->last_at = db_cell_int(r, row, HEAD_N_COLUMNS + 3);
	return e;
}

/* Where the page begins, seen in the direction of reading, and the time at which it ends at the latest. */
static enum err find_start(struct task *t, const struct session_filter *f, struct bytes name, bool is_ascending, struct cursor *from_r, int64_t *edge_r)
{
	int64_t first = f->created_from, last = f->has_created_to ? f->created_to - 1 : INT64_MAX;
	*from_r = (struct cursor){ .at = is_ascending ? first : last };
	memset(from_r->id.b, is_ascending ? 0 : 0xff, sizeof from_r->id.b);
	*edge_r = is_ascending ? last : first;
	if (f->after.p && f->before.p)
		return task_fail_field(t, "before", "conflict", "give either after or before, not both");
	if (f->after.p && !cursor_parse(f->after, name, from_r))
		return task_fail_field(t, "after", "value", "is not a cursor of this list");
	if (f->before.p && !cursor_parse(f->before, name, from_r))
		return task_fail_field(t, "before", "value", "is not a cursor of this list");
	return ERR_OK;
}

/* The cursor of a row. */
static const char *cursor_of(struct arena *a, const struct db_rows *r, size_t row, struct bytes name)
{
	char text[CURSOR_SIZE];
	struct cursor c = { .at = db_cell_int(r, row, HEAD_N_COLUMNS + 1) };
	db_cell_ident(r, row, HEAD_N_COLUMNS, &c.id);
	cursor_format(&c, name, text);
	return arena_strdup(a, text);
}

enum err session_list(struct task *t, struct app *app, const struct ident *site, const struct session_filter *f, struct session_page *page_r)
{
	struct db_rows *r;
	struct cursor from;
	int64_t edge;
	struct bytes name = list_name(t->arena, site, f);
	bool is_backward = f->before.p != NULL, is_ascending = f->is_ascending != is_backward;
	memset(page_r, 0, sizeof *page_r);
	enum err e = find_start(t, f, name, is_ascending, &from, &edge);
	if (!e)
		e = query_page(t, app, site, f, is_ascending, &from, edge, &r);
	if (e)
		return e;
	page_r->has_more = (int64_t)r->n_rows > f->limit;
	page_r->n = page_r->has_more ? (size_t)f->limit : r->n_rows;
	page_r->list = arena_array(t->arena, page_r->n, sizeof *page_r->list);
	for (size_t i = 0; !e && i < page_r->n; i++)
		e = read_row(t, site, r, is_backward ? page_r->n - 1 - i : i, &page_r->list[i]);
	if (page_r->has_more)
		page_r->next = cursor_of(t->arena, r, page_r->n - 1, name);
	return e;
}

const struct feature session_list_feature = { .name = "session_list", .stmts = stmts, .n_stmts = COUNT(stmts) };
