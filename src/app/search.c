/* SPDX-License-Identifier: MIT */
/*
 * search: reads the messages of its scope and ranks them; there is no index. So an append costs nothing, a search sees what was committed before it
 * began, and nothing stays behind of what was deleted. Reads the tables sessions, conversations and messages.
 *
 * Invariants: a row is read because its own conversation belongs to a session of the scope, or as such a conversation sees it (rows.c); at most
 * search_messages rows, and as many sessions and conversations; memory for one batch of rows and one message at a time.
 */
#include "app/search.h"

#include <stdlib.h>

#include "app/codec.h"
#include "app/cursor.h"
#include "app/head.h"
#include "app/lineage.h"
#include "app/search_rank.h"
#include "app/search_text.h"

#define SLOTS 32         /* ids of one statement */
#define SESSIONS_PAGE 256
#define SMALL 256        /* own messages of a conversation that is read together with others */
#define BATCH_MIN 16     /* rows of one statement ... */
#define BATCH_MAX 1024
#define BATCH_BYTES (2 << 20) /* ... and what they should come to */

#define LIST_SQL(filter)                                                                                               \
	"SELECT " SEARCH_SESSION_COLUMNS " FROM sessions s WHERE s.site = ?" filter                                    \
	" AND s.created_at <= ? AND (s.created_at < ? OR s.id < ?) ORDER BY s.created_at DESC, s.id DESC LIMIT ?"
#define EIGHT "?, ?, ?, ?, ?, ?, ?, ?"
#define IN_SLOTS " IN (" EIGHT ", " EIGHT ", " EIGHT ", " EIGHT ")"
#define MESSAGES_SQL(which)                                                                                            \
	"SELECT m.conversation, m.seq, m.content FROM messages m WHERE m.site = ? AND " which                          \
	" AND m.created_at >= ? AND m.created_at < ? AND (? = 0 OR m.role = ?)"

enum { LIST, LIST_USER, LIST_AGENT, SESSION, SESSION_OF, CONVERSATIONS, MESSAGES_OF, MESSAGES_RANGE };
static const struct db_stmt stmts[] = {
	[LIST] = { LIST_SQL(""), NULL, NULL },
	[LIST_USER] = { LIST_SQL(" AND s.user_id = ?"), NULL, NULL },
	[LIST_AGENT] = { LIST_SQL(" AND s.agent = ?"), NULL, NULL },
	[SESSION] = { "SELECT " SEARCH_SESSION_COLUMNS " FROM sessions s WHERE s.site = ? AND s.id = ?", NULL, NULL },
	[SESSION_OF] = { "SELECT " SEARCH_SESSION_COLUMNS " FROM conversations c JOIN sessions s ON s.id = c.session"
			 " WHERE c.site = ? AND c.id = ? AND s.site = c.site", NULL, NULL },
	[CONVERSATIONS] = { "SELECT c.id, c.session, c.lineage, (SELECT m.seq FROM messages m WHERE m.conversation = c.id ORDER BY m.seq DESC LIMIT 1)"
			    " FROM conversations c WHERE c.site = ? AND c.session" IN_SLOTS, NULL, NULL },
	[MESSAGES_OF] = { MESSAGES_SQL("m.conversation" IN_SLOTS), NULL, NULL },
	[MESSAGES_RANGE] = { MESSAGES_SQL("m.conversation = ? AND m.seq >= ? AND m.seq <= ?"), NULL, NULL },
};

/* A conversation of a session in the scope. */
struct line {
	struct rows_line rows;
	const struct search_session *session;
	int64_t last;             /* newest message of its own; the base when it has none */
	uint32_t order;           /* among all lines of the search */
	struct search_line *kept; /* what stays of it, once something was found in it */
};

struct scan {
	struct task *task;
	struct app *app;
	const struct search_scope *scope;
	struct task page;       /* a task of its own memory, for one page of sessions ... */
	struct task rows;       /* ... and one for a batch of rows */
	struct arena *scratch;  /* memory for one message */
	int64_t batch_size;     /* rows of the next batch */
	int64_t left, sessions_left, lines_left; /* that may still be looked at: messages, sessions, conversations ... */
	int64_t bytes_left;                      /* ... and bytes of messages */
	int64_t scanned;
	uint32_t n_lines;
	struct search_ranking ranking;
	struct search_shared shared;
	/* Small conversations that wait to be read with one statement. */
	struct line *batch[SLOTS];
	size_t n_batch;
	int64_t batch_rows;
	/* Where it goes on, or stopped. */
	struct cursor at;     /* sessions: behind this one */
	struct cursor inside; /* id of a conversation, at: in front of this seq */
	bool is_inside, is_stopped;
};

static void release_arena(void *arena)
{
	struct arena *a = arena;
	arena_close(&a);
}

/* Memory that goes with the task at the latest. */
static struct arena *open_arena(struct task *t, size_t first)
{
	struct arena *a = arena_open(first);
	arena_defer(t->arena, release_arena, a);
	return a;
}

/* Passes on the fault of a task whose memory goes. */
static enum err fail(struct scan *s, const struct task *from, enum err e)
{
	const struct fault *f = &from->fault;
	if (e)
		s->task->fault = (struct fault){ .code = e, .detail = arena_strdup(s->task->arena, f->detail),
						 .internal = arena_strdup(s->task->arena, f->internal), .retry_after_s = f->retry_after_s };
	return e;
}

/* Ends a batch: the next has more rows when this was small, fewer when it was large, so that memory stays bounded whatever messages hold. */
static enum err end_batch(struct scan *s, enum err e)
{
	size_t used = arena_used(s->rows.arena);
	if (used > BATCH_BYTES && s->batch_size > BATCH_MIN)
		s->batch_size /= 2;
	else if (used < BATCH_BYTES / 4 && s->batch_size < BATCH_MAX)
		s->batch_size *= 2;
	(void)fail(s, &s->rows, e);
	arena_reset(s->rows.arena);
	return e;
}

static const struct search_line *keep_line(struct scan *s, struct line *line)
{
	if (line->kept)
		return line->kept;
	struct arena *a = s->task->arena;
	struct search_line *k = arena_alloc(a, sizeof *k);
	char text[IDENT_SIZE];
	ident_format(PREFIX_SESSION, &line->session->id, text);
	*k = (struct search_line){ .rows = line->rows, .order = line->order };
	k->rows.lineage = arena_bytes(a, line->rows.lineage);
	k->session_id = arena_bytes(a, line->session->own_id.p ? line->session->own_id : bytes_of(text));
	line->kept = k;
	return k;
}

/* Looks at one message's content (JSON). */
static void consider(struct scan *s, struct line *line, const struct ident *stored_in, int64_t seq, struct bytes content)
{
	struct search_match m = { .stored_in = *stored_in, .seq = seq };
	s->bytes_left -= (int64_t)content.n;
	struct bytes text = search_text(s->scratch, content);
	if (!text.p || !search_rank_text(&s->ranking, s->scratch, text, &m))
		return;
	m.line = keep_line(s, line);
	search_rank_add(&s->ranking, &m);
}

static void consider_row(struct scan *s, struct line *line, const struct db_rows *r, size_t row)
{
	struct bytes content;
	if (codec_unpack(s->scratch, db_cell_bytes(r, row, 2), &content))
		consider(s, line, &line->rows.conversation, db_cell_int(r, row, 1), content);
	arena_reset(s->scratch);
}

/* Adds the arguments by which MESSAGES_SQL filters. */
static size_t add_filters(const struct search_scope *scope, struct db_arg *args, size_t n)
{
	args[n++] = db_int(scope->from);
	args[n++] = db_int(scope->to);
	args[n++] = db_int(scope->role);
	args[n++] = db_int(scope->role);
	return n;
}

/* Fills SLOTS arguments with ids; the places left over repeat one, since a zero id is what detached conversations have. */
static size_t add_slots(struct db_arg *args, size_t n, const struct ident *const *ids, size_t n_ids)
{
	for (size_t i = 0; i < SLOTS; i++)
		args[n++] = db_ident(ids[i < n_ids ? i : 0]);
	return n;
}

/* Reads the conversations that wait. */
static enum err flush(struct scan *s)
{
	const struct ident *ids[SLOTS];
	struct db_arg args[SLOTS + 5] = { db_ident(&s->scope->site) };
	struct db_rows *r;
	if (s->n_batch == 0)
		return ERR_OK;
	for (size_t i = 0; i < s->n_batch; i++)
		ids[i] = &s->batch[i]->rows.conversation;
	size_t n = add_filters(s->scope, args, add_slots(args, 1, ids, s->n_batch));
	enum err e = store_query(&s->rows, s->app, &stmts[MESSAGES_OF], args, n, &r);
	struct line *line = s->batch[0];
	for (size_t i = 0; !e && i < r->n_rows; i++) {
		struct ident id;
		db_cell_ident(r, i, 0, &id);
		for (size_t k = 0; k < s->n_batch && !ident_equal(&line->rows.conversation, &id); k++)
			line = s->batch[k];
		consider_row(s, line, r, i);
	}
	s->n_batch = 0;
	s->batch_rows = 0;
	if (s->bytes_left <= 0)
		s->left = 0;
	return end_batch(s, e);
}

/* How many of the messages lo..hi may be looked at; notes where to go on when that is not all. */
static int64_t take(struct scan *s, const struct line *line, int64_t lo, int64_t hi)
{
	int64_t n = hi - lo + 1 < s->left ? hi - lo + 1 : s->left;
	s->left -= n;
	s->scanned += n;
	if (n < hi - lo + 1) {
		s->is_stopped = s->is_inside = true;
		s->inside = (struct cursor){ .at = hi - n + 1, .id = line->rows.conversation };
	}
	return n;
}

/* After a batch that was large enough: gives back the messages lo..hi that were taken and not read yet, and notes where to go on. */
static bool is_enough(struct scan *s, const struct line *line, int64_t lo, int64_t hi)
{
	if (s->bytes_left > 0)
		return false;
	s->left = 0; /* nor any of another line */
	if (hi < lo)
		return true;
	s->scanned -= hi - lo + 1;
	s->is_stopped = s->is_inside = true;
	s->inside = (struct cursor){ .at = hi + 1, .id = line->rows.conversation };
	return true;
}

static bool passes(const struct search_scope *scope, const struct message_row *m)
{
	return (!scope->role || scope->role == m->role) && m->created_at >= scope->from && m->created_at < scope->to;
}

/* The messages lo..hi as the line sees them: with what it inherits, less what its session hides. */
static enum err scan_seen(struct scan *s, struct line *line, int64_t lo, int64_t hi)
{
	enum err e = ERR_OK;
	for (lo = hi - take(s, line, lo, hi) + 1; !e && hi >= lo;) {
		struct message_row *rows;
		size_t n;
		int64_t first = hi - s->batch_size + 1 > lo ? hi - s->batch_size + 1 : lo;
		e = rows_read(&s->rows, s->app, NULL, &line->rows, first, hi, s->batch_size, true, &rows, &n);
		for (size_t i = 0; !e && i < n; i++) {
			if (passes(s->scope, &rows[i]))
				consider(s, line, &rows[i].stored_in, rows[i].seq, rows[i].content);
			arena_reset(s->scratch);
		}
		e = end_batch(s, e);
		hi = first - 1;
		if (is_enough(s, line, lo, hi))
			break;
	}
	return e;
}

/* The line's own messages lo..hi, nothing of which is hidden: the short way, which reads no more than what is said. */
static enum err scan_own(struct scan *s, struct line *line, int64_t lo, int64_t hi)
{
	int64_t n = take(s, line, lo, hi);
	enum err e = ERR_OK;
	if (n > 0 && n <= SMALL && n <= s->batch_size && n == line->last - lineage_base(line->rows.lineage)) {
		if (s->n_batch == SLOTS || s->batch_rows + n > s->batch_size)
			e = flush(s);
		s->batch[s->n_batch++] = line;
		s->batch_rows += n;
		return e;
	}
	for (lo = hi - n + 1; !e && hi >= lo;) {
		struct db_rows *r;
		int64_t first = hi - s->batch_size + 1 > lo ? hi - s->batch_size + 1 : lo;
		struct db_arg args[8] = { db_ident(&s->scope->site), db_ident(&line->rows.conversation), db_int(first), db_int(hi) };
		e = store_query(&s->rows, s->app, &stmts[MESSAGES_RANGE], args, add_filters(s->scope, args, 4), &r);
		for (size_t i = 0; !e && i < r->n_rows; i++)
			consider_row(s, line, r, i);
		e = end_batch(s, e);
		hi = first - 1;
		if (is_enough(s, line, lo, hi))
			break;
	}
	return e;
}

/* An ancestor's messages lo..hi, as far as they are not searched with another line. */
static enum err scan_inherited(struct scan *s, struct line *line, const struct ident *ancestor, int64_t lo, int64_t hi)
{
	int64_t claimed, *masked;
	size_t n_masked;
	enum err e = search_shared_find(&s->page, &s->shared, line->session, &line->rows, ancestor, lo, hi, &claimed, &masked, &n_masked);
	if (e)
		return fail(s, &s->page, e);
	int64_t from = claimed + 1 > lo ? claimed + 1 : lo;
	if (from <= hi)
		e = scan_seen(s, line, from, hi);
	for (size_t i = 0; !e && !s->is_stopped && i < n_masked; i++)
		e = scan_seen(s, line, masked[i], masked[i]);
	return e;
}

/* All that a line has in front of `before`: its own messages, then its ancestors'. */
static enum err scan_line(struct scan *s, struct line *line, int64_t before)
{
	int64_t base = lineage_base(line->rows.lineage), top = line->last < before - 1 ? line->last : before - 1;
	enum err e = ERR_OK;
	if (top > base)
		e = line->rows.has_masks ? scan_seen(s, line, base + 1, top) : scan_own(s, line, base + 1, top);
	for (int64_t seq = base < top ? base : top; !e && !s->is_stopped && seq >= 1;) {
		struct lineage_run run = lineage_find(&line->rows.conversation, line->rows.lineage, seq);
		e = scan_inherited(s, line, &run.conversation, run.lo, seq);
		seq = run.lo - 1;
	}
	return e;
}

static int line_order(const void *a, const void *b)
{
	const struct line *x = a, *y = b;
	return search_compare(x->session, &x->rows.conversation, y->session, &y->rows.conversation);
}

/* Fills a line from a row; false when its record cannot be read. */
static bool read_line(const struct scan *s, const struct db_rows *r, size_t row, const struct search_session *sessions, size_t n, struct line *line_r)
{
	*line_r = (struct line){ .rows = { .site = s->scope->site, .lineage = db_cell_bytes(r, row, 2) } };
	db_cell_ident(r, row, 0, &line_r->rows.conversation);
	db_cell_ident(r, row, 1, &line_r->rows.session);
	for (size_t i = 0; i < n && !line_r->session; i++)
		if (ident_equal(&sessions[i].id, &line_r->rows.session))
			line_r->session = &sessions[i];
	if (!line_r->session || !lineage_is_sound(line_r->rows.lineage))
		return false;
	line_r->rows.has_masks = line_r->session->flags & SESSION_HAS_MASKS;
	line_r->last = db_cell(r, row, 3)->type == DB_NULL ? lineage_base(line_r->rows.lineage) : db_cell_int(r, row, 3);
	return true;
}

/* The conversations of 1 to SLOTS sessions, in the order of the search. */
static enum err read_lines(struct scan *s, const struct search_session *sessions, size_t n, struct line **lines_r, size_t *n_r)
{
	const struct ident *ids[SLOTS];
	struct db_arg args[SLOTS + 1] = { db_ident(&s->scope->site) };
	struct db_rows *r;
	*n_r = 0;
	for (size_t i = 0; i < n; i++)
		ids[i] = &sessions[i].id;
	enum err e = store_query(&s->page, s->app, &stmts[CONVERSATIONS], args, add_slots(args, 1, ids, n), &r);
	if (e)
		return fail(s, &s->page, e);
	struct line *lines = arena_array(s->page.arena, r->n_rows + 1, sizeof *lines);
	for (size_t i = 0; i < r->n_rows; i++)
		*n_r += read_line(s, r, i, sessions, n, &lines[*n_r]);
	qsort(lines, *n_r, sizeof *lines, line_order);
	*lines_r = lines;
	return ERR_OK;
}

/* 1 to SLOTS sessions; `inside` not NULL: the one session from that place on. */
static enum err scan_sessions(struct scan *s, const struct search_session *sessions, size_t n, const struct cursor *inside)
{
	struct line *lines = NULL;
	size_t n_lines = 0;
	enum err e = read_lines(s, sessions, n, &lines, &n_lines);
	for (size_t i = 0; !e && !s->is_stopped && i < n_lines; i++) {
		int order = inside ? memcmp(lines[i].rows.conversation.b, inside->id.b, sizeof inside->id.b) : -1;
		lines[i].order = s->n_lines++;
		if (order <= 0 && s->lines_left-- == 0) {
			s->is_stopped = s->is_inside = true;
			s->inside = (struct cursor){ .at = order == 0 ? inside->at : INT64_MAX, .id = lines[i].rows.conversation };
		} else if (order <= 0) {
			e = scan_line(s, &lines[i], order == 0 ? inside->at : INT64_MAX);
		}
	}
	return e ? e : flush(s);
}

/* Lists the next page behind s->at; *n_listed_r rows, of which the n_r in the scope are in sessions_r. */
static enum err list_sessions(struct scan *s, struct search_session **sessions_r, size_t *n_r, size_t *n_listed_r)
{
	const struct search_scope *scope = s->scope;
	struct db_arg args[6] = { db_ident(&scope->site) };
	struct db_rows *r;
	size_t n = 1;
	bool has_agent = !ident_is_zero(&scope->agent);
	if (scope->user.p)
		args[n++] = db_text(scope->user);
	else if (has_agent)
		args[n++] = db_ident(&scope->agent);
	args[n++] = db_int(s->at.at);
	args[n++] = db_int(s->at.at);
	args[n++] = db_ident(&s->at.id);
	args[n++] = db_int(SESSIONS_PAGE);
	enum err e = store_query(&s->page, s->app, &stmts[scope->user.p ? LIST_USER : has_agent ? LIST_AGENT : LIST], args, n, &r);
	if (e)
		return fail(s, &s->page, e);
	struct search_session *list = arena_array(s->page.arena, r->n_rows + 1, sizeof *list);
	*n_r = 0;
	*n_listed_r = r->n_rows;
	for (size_t i = 0; i < r->n_rows; i++) {
		struct search_session *one = &list[*n_r];
		search_session_read(s->page.arena, r, i, one);
		s->at = (struct cursor){ one->created_at, one->id };
		*n_r += search_scope_has(scope, one);
	}
	*sessions_r = list;
	return ERR_OK;
}

/* Sessions by time, newest first, until all were looked at or enough. */
static enum err scan_list(struct scan *s)
{
	size_t n_listed = SESSIONS_PAGE;
	while (n_listed == SESSIONS_PAGE && !s->is_stopped) {
		struct search_session *list = NULL;
		size_t n = 0;
		enum err e = list_sessions(s, &list, &n, &n_listed);
		for (size_t i = 0; !e && !s->is_stopped && i < n; i += SLOTS)
			e = scan_sessions(s, &list[i], n - i < SLOTS ? n - i : SLOTS, NULL);
		if (e)
			return e;
		arena_reset(s->page.arena);
		s->sessions_left -= (int64_t)n_listed;
		if (n_listed == SESSIONS_PAGE && (s->sessions_left <= 0 || s->left == 0))
			s->is_stopped = true; /* between two sessions, or inside already */
	}
	return ERR_OK;
}

/* The session that a search of one session looks at, or in which the one before stopped. */
static enum err scan_one(struct scan *s, int which, const struct ident *id, const struct cursor *inside)
{
	struct db_rows *r;
	struct search_session session;
	enum err e = store_query(&s->page, s->app, &stmts[which], DB_ARGS(db_ident(&s->scope->site), db_ident(id)), &r);
	if (e)
		return fail(s, &s->page, e);
	if (r->n_rows)
		search_session_read(s->page.arena, r, 0, &session);
	if (r->n_rows == 0 || !search_scope_has(s->scope, &session))
		return inside ? task_fail_field(s->task, "after", "value", "the conversation that this cursor leads to is gone; begin anew") : ERR_OK;
	s->at = (struct cursor){ session.created_at, session.id };
	e = scan_sessions(s, &session, 1, inside);
	arena_reset(s->page.arena);
	return e;
}

static enum err scan_scope(struct scan *s)
{
	bool is_one = !ident_is_zero(&s->scope->session);
	enum err e = ERR_OK;
	if (s->is_inside) {
		struct cursor from = s->inside;
		s->is_inside = false;
		e = scan_one(s, SESSION_OF, &from.id, &from);
	} else if (is_one) {
		e = scan_one(s, SESSION, &s->scope->session, NULL);
	}
	return e || is_one || s->is_stopped ? e : scan_list(s);
}

/* Reads a found message again and shows why it was found; not so when it changed meanwhile. */
static enum err show(struct scan *s, const struct search_match *m, struct search_hit *hit_r, bool *is_shown_r)
{
	const struct words_query *q = s->ranking.q;
	struct message_row *rows;
	size_t n;
	unsigned char weights[WORDS_TERMS_MAX];
	*is_shown_r = false;
	enum err e = rows_read(&s->page, s->app, NULL, &m->line->rows, m->seq, m->seq, 1, false, &rows, &n);
	if (e)
		return fail(s, &s->page, e);
	struct bytes text = n ? search_text(s->page.arena, rows[0].content) : (struct bytes){ NULL, 0 };
	if (text.p && words_count(q, words_fold(s->page.arena, q, text).folded, weights)) {
		struct words_snippet cut = words_cut(s->page.arena, q, text, SEARCH_SNIPPET);
		struct arena *a = s->task->arena;
		*hit_r = (struct search_hit){ .session_id = m->line->session_id, .message = rows[0], .score = m->score, .snippet = cut };
		hit_r->message.content = hit_r->message.metadata = hit_r->message.extra = (struct bytes){ NULL, 0 };
		hit_r->snippet.text = arena_bytes(a, cut.text);
		hit_r->snippet.highlights = (const struct words_span *)arena_copy(a, cut.highlights, cut.n_highlights * sizeof *cut.highlights);
		*is_shown_r = true;
	}
	arena_reset(s->page.arena);
	return ERR_OK;
}

static enum err show_best(struct scan *s, int64_t limit, struct search_result *r_r)
{
	enum err e = ERR_OK;
	r_r->hits = arena_array(s->task->arena, (size_t)limit, sizeof *r_r->hits);
	search_rank_sort(&s->ranking);
	for (size_t i = 0; !e && i < s->ranking.n_matches && (int64_t)r_r->n < limit; i++) {
		bool is_shown = false;
		if (!search_rank_is_repeated(&s->ranking, i))
			e = show(s, &s->ranking.matches[i], &r_r->hits[r_r->n], &is_shown);
		r_r->n += is_shown;
	}
	return e;
}

/* What a cursor of this very search is bound to; those between sessions and those inside of one are apart. */
static struct bytes list_name(struct arena *a, const struct search_scope *scope, struct bytes query, bool is_inside)
{
	struct buf b;
	buf_init(&b, a, 256);
	buf_add(&b, scope->site.b, sizeof scope->site.b);
	buf_add(&b, scope->agent.b, sizeof scope->agent.b);
	buf_add(&b, scope->session.b, sizeof scope->session.b);
	buf_addf(&b, "search %d %d %d %lld %lld %zu ", is_inside, scope->status, scope->role, (long long)scope->from, (long long)scope->to, query.n);
	buf_add_bytes(&b, query);
	buf_add_bytes(&b, bytes_or(scope->user, BYTES("\n")));
	return buf_bytes(&b);
}

static enum err begin(struct scan *s, struct bytes query, struct bytes after)
{
	s->at = (struct cursor){ .at = INT64_MAX };
	memset(s->at.id.b, 0xff, sizeof s->at.id.b);
	if (!after.p)
		return ERR_OK;
	s->is_inside = cursor_parse(after, list_name(s->task->arena, s->scope, query, true), &s->inside);
	if (s->is_inside || cursor_parse(after, list_name(s->task->arena, s->scope, query, false), &s->at))
		return ERR_OK;
	return task_fail_field(s->task, "after", "value", "is not a cursor of this search");
}

enum err search_run(struct task *t, struct app *app, const struct search_scope *scope, const struct words_query *q, struct bytes query, struct bytes after,
		    int64_t limit, struct search_result *r_r)
{
	struct scan s = { .task = t, .app = app, .scope = scope, .page = *t, .rows = *t, .scratch = open_arena(t, 65536), .batch_size = 128,
			  .left = app->conf->search_messages, .sessions_left = app->conf->search_messages,
			  .lines_left = app->conf->search_messages, .bytes_left = app->conf->search_bytes, .ranking = { .arena = t->arena, .q = q },
			  .shared = { .app = app, .scope = scope, .arena = t->arena } };
	s.page.arena = open_arena(t, 65536);
	s.rows.arena = open_arena(t, 524288);
	memset(r_r, 0, sizeof *r_r);
	enum err e = begin(&s, query, after);
	if (!e)
		e = scan_scope(&s);
	if (e)
		return e;
	r_r->scanned = s.scanned;
	if (s.is_stopped) {
		char text[CURSOR_SIZE];
		cursor_format(s.is_inside ? &s.inside : &s.at, list_name(t->arena, scope, query, s.is_inside), text);
		r_r->next = arena_strdup(t->arena, text);
	}
	return show_best(&s, limit, r_r);
}

const struct feature search_feature = { .name = "search", .stmts = stmts, .n_stmts = COUNT(stmts) };
