/* SPDX-License-Identifier: MIT */
/*
 * move_export: sessions into a file. Owns no table. A session is read in this order: its row, its conversations with the newest seq of each, then the
 * messages up to there. Messages are only ever added behind that, so what is read fits together; should rows be missing, the session was
 * deleted meanwhile, and the file is set back to where it began.
 */
#include "app/move_export.h"

#include <stdlib.h>

#include "app/codec.h"
#include "app/lineage.h"
#include "app/session.h"
#include "app/template.h"
#include "base/ident_map.h"

#define SESSIONS_PAGE 200
#define AGENTS_PAGE 50
#define ROWS_MOST 64            /* messages in a page ... */
#define ROWS_FIRST 16
#define PAGE_BYTES (2u << 20)   /* ... unless they come to much more than this */
#define TRIES 3                 /* of a session that changes while it is read */

#define PAGE_SQL(filter) \
	{ "SELECT id, created_at, name FROM sessions WHERE site = ?" filter " AND created_at > ? ORDER BY created_at, id LIMIT ?", NULL, NULL }
#define SESSION_COLUMNS                                                                                                \
	"own_id, name, agent, agent_name, user_id, client_type, context, title, status, tags, metadata, state, config, conversation," \
	" website_domain, ip_address, version, created_at, updated_at, active_at, ended_at, expires_at, idle_ttl, flags"

enum { PAGE, PAGE_USER, SESSION, CONVERSATIONS, SUMMARIES };
static const struct db_stmt stmts[] = {
	[PAGE] = PAGE_SQL(""),
	[PAGE_USER] = PAGE_SQL(" AND user_id = ?"),
	[SESSION] = { "SELECT " SESSION_COLUMNS " FROM sessions WHERE site = ? AND id = ?", NULL, NULL },
	[CONVERSATIONS] = { "SELECT c.id, c.title, c.created_at, c.lineage, (SELECT m.seq FROM messages m WHERE m.conversation = c.id ORDER BY m.seq DESC LIMIT 1), c.parent"
			    " FROM conversations c WHERE c.session = ? AND c.site = ? ORDER BY c.id", NULL, NULL },
	[SUMMARIES] = { "SELECT upto_seq, method, content, tokens_before, tokens_after, created_at FROM summaries"
			" WHERE conversation = ? AND site = ? AND upto_seq >= ? AND upto_seq <= ? ORDER BY upto_seq", NULL, NULL },
};

/* An export under way. */
struct run {
	struct task *t;
	struct app *app;
	struct move_export *x;
	struct move_out out;
	struct task session, page; /* memory of one session, and of one page of rows */
	struct ident_map agents;   /* those that have a line: their place in agent_names */
	struct bytes *agent_names;
};

/* A conversation of the session that is being written. */
struct line_of {
	struct move_conversation c;
	struct ident stored_parent;
	struct bytes lineage;
	int64_t last_seq;
	bool is_written;
};

/* A session that is being written. */
struct session_of {
	struct move_session s;
	struct ident agent;
	int flags;
	struct line_of *lines;
	size_t n_lines;
	struct ident_map by_id; /* places in `lines` */
};

static void tell(struct run *r)
{
	if (r->x->progress)
		r->x->progress(r->x->arg, &r->out.counts);
}

/* A line whose texts came from columns: what a reader would refuse must not get into the file. */
static enum err add_checked(struct run *r, struct task *t, const struct move_line *line)
{
	struct move_line back;
	struct buf b;
	buf_init(&b, t->arena, 1024);
	move_line_format(&b, line);
	b.n--;
	if (move_line_parse(t, buf_bytes(&b), &back) != ERR_OK)
		return task_fail(t, ERR_CORRUPT, "a stored record cannot be exported: %s", t->fault.detail);
	return move_out_add(t, &r->out, line);
}

/* ---- agents and templates ---- */

static enum err add_agent(struct run *r, struct task *t, const struct agent *a)
{
	size_t n = r->agents.n;
	if (!ident_map_add(&r->agents, &a->id, (int64_t)n))
		return ERR_OK;
	r->agent_names = arena_grow(r->t->arena, r->agent_names, n * sizeof *r->agent_names, (n + 1) * sizeof *r->agent_names);
	r->agent_names[n] = arena_bytes(r->t->arena, a->name);
	return r->x->is_public ? ERR_OK : add_checked(r, t, &(struct move_line){ .type = MOVE_AGENT, .agent = *a });
}

static enum err add_all_agents(struct run *r)
{
	struct task *t = &r->page;
	struct agent *list;
	struct bytes after = BYTES("");
	size_t n = AGENTS_PAGE;
	enum err e = ERR_OK;
	while (!e && n == AGENTS_PAGE) {
		task_reset_part(t);
		e = agent_list(t, r->app, &r->x->site, after, AGENTS_PAGE, &list, &n);
		for (size_t i = 0; !e && i < n; i++)
			e = add_agent(r, t, &list[i]);
		if (!e && n)
			after = arena_bytes(r->t->arena, list[n - 1].name);
	}
	return task_take_fault(r->t, t, e);
}

/* The name of a session's agent, which gets its line before the first session that needs it; NULL p for one that is gone. */
static enum err find_agent(struct run *r, struct session_of *so)
{
	struct task *t = &r->session;
	struct agent a;
	int64_t at;
	if (!ident_map_find(&r->agents, &so->agent, NULL)) {
		enum err e = agent_get(t, r->app, &r->x->site, &so->agent, &a);
		if (e == ERR_NOT_FOUND) {
			task_clear_fault(t);
			return ERR_OK;
		}
		if (!e)
			e = add_agent(r, t, &a);
		if (e)
			return e;
	}
	ident_map_find(&r->agents, &so->agent, &at);
	so->s.agent = r->agent_names[at];
	return ERR_OK;
}

static enum err add_templates(struct run *r)
{
	struct task *t = &r->page;
	struct template *list;
	struct bytes after = BYTES("");
	size_t n = AGENTS_PAGE;
	enum err e = ERR_OK;
	while (!e && n == AGENTS_PAGE) {
		task_reset_part(t);
		e = template_list(t, r->app, &r->x->site, after, AGENTS_PAGE, &list, &n);
		for (size_t i = 0; !e && i < n; i++)
			e = add_checked(r, t, &(struct move_line){ .type = MOVE_TEMPLATE, .template = list[i] });
		if (!e && n)
			after = arena_bytes(r->t->arena, list[n - 1].name);
	}
	return task_take_fault(r->t, t, e);
}

/* ---- one session ---- */

static enum err session_from_row(struct task *t, const struct move_export *x, const struct ident *id, const struct db_rows *r, struct session_of *so)
{
	struct move_session *s = &so->s;
	*s = (struct move_session){
		.own_id = db_cell_bytes(r, 0, 0), .name = db_cell_bytes(r, 0, 1), .agent_name = db_cell_bytes(r, 0, 3), .user = db_cell_bytes(r, 0, 4),
		.client_type = db_cell_bytes(r, 0, 5), .context = db_cell_bytes(r, 0, 6), .title = db_cell_bytes(r, 0, 7),
		.status = (int)db_cell_int(r, 0, 8), .tags = db_cell_bytes(r, 0, 9), .metadata = db_cell_bytes(r, 0, 10),
		.website_domain = db_cell_bytes(r, 0, 14), .ip_address = x->is_public ? BYTES("") : db_cell_bytes(r, 0, 15),
		.version = db_cell_int(r, 0, 16), .created_at = db_cell_int(r, 0, 17), .updated_at = db_cell_int(r, 0, 18),
		.active_at = db_cell_int(r, 0, 19), .ended_at = db_cell_int(r, 0, 20), .expires_at = db_cell_int(r, 0, 21),
		.idle_ttl = db_cell_int(r, 0, 22),
	};
	if (!s->own_id.p)
		s->id = *id;
	so->flags = (int)db_cell_int(r, 0, 23);
	db_cell_ident(r, 0, 2, &so->agent);
	if (!codec_unpack(t->arena, db_cell_bytes(r, 0, 11), &s->state) || !codec_unpack(t->arena, db_cell_bytes(r, 0, 12), &s->config) ||
	    !db_cell_ident(r, 0, 13, &s->conversation))
		return task_fail(t, ERR_CORRUPT, "this session's record cannot be read");
	return ERR_OK;
}

static enum err read_lines(struct run *r, const struct ident *session, struct session_of *so)
{
	struct task *t = &r->session;
	struct db_rows *rows;
	enum err e = store_query(t, r->app, &stmts[CONVERSATIONS], DB_ARGS(db_ident(session), db_ident(&r->x->site)), &rows);
	if (e)
		return e;
	so->n_lines = rows->n_rows;
	so->lines = arena_array(t->arena, so->n_lines, sizeof *so->lines);
	ident_map_init(&so->by_id, t->arena);
	for (size_t i = 0; i < so->n_lines; i++) {
		struct line_of *l = &so->lines[i];
		db_cell_ident(rows, i, 0, &l->c.id);
		l->c.title = db_cell_bytes(rows, i, 1);
		l->c.created_at = db_cell_int(rows, i, 2);
		l->lineage = db_cell_bytes(rows, i, 3);
		db_cell_ident(rows, i, 5, &l->stored_parent);
		if (!lineage_is_sound(l->lineage))
			return task_fail(t, ERR_CORRUPT, "a conversation's record cannot be read");
		l->last_seq = db_cell(rows, i, 4)->type == DB_NULL ? lineage_base(l->lineage) : db_cell_int(rows, i, 4);
		ident_map_add(&so->by_id, &l->c.id, (int64_t)i);
	}
	if (!ident_map_find(&so->by_id, &so->s.conversation, NULL))
		return task_fail_internal(t, ERR_RETRY, "another conversation became the active one");
	return ERR_OK;
}

/*
 * Whom a conversation descends from in the file: the nearest ancestor that is in its session too. What it sees of others, of the session it was cloned
 * from or of a branch that was deleted, is written as its own.
 */
static void find_parent(const struct session_of *so, struct line_of *l)
{
	for (int64_t seq = lineage_base(l->lineage); seq > 0;) {
		struct lineage_run run = lineage_find(&l->c.id, l->lineage, seq);
		if (ident_map_find(&so->by_id, &run.conversation, NULL)) {
			l->c.parent = run.conversation;
			l->c.base_seq = seq;
			return;
		}
		seq = run.lo - 1;
	}
	if (lineage_base(l->lineage) == 0 && ident_map_find(&so->by_id, &l->stored_parent, NULL))
		l->c.parent = l->stored_parent;
}

/* Its parent in the file; NULL: it has none. */
static struct line_of *parent_of(const struct session_of *so, const struct line_of *l)
{
	int64_t at;
	return ident_map_find(&so->by_id, &l->c.parent, &at) ? &so->lines[at] : NULL;
}

/* Writes the conversations, each behind its parent; order_r gets them in that order. */
static enum err add_lines(struct run *r, struct session_of *so, struct line_of **order_r)
{
	struct task *t = &r->session;
	struct line_of **waiting = arena_array(t->arena, so->n_lines, sizeof(struct line_of *));
	size_t n = 0;
	for (size_t i = 0; i < so->n_lines; i++)
		find_parent(so, &so->lines[i]);
	for (size_t i = 0; i < so->n_lines; i++) {
		size_t n_waiting = 0;
		for (struct line_of *l = &so->lines[i]; l && !l->is_written; l = parent_of(so, l)) {
			if (n_waiting == so->n_lines)
				return task_fail(t, ERR_CORRUPT, "the conversations of this session descend from each other");
			waiting[n_waiting++] = l;
		}
		while (n_waiting > 0) {
			struct line_of *l = waiting[--n_waiting];
			enum err e = add_checked(r, t, &(struct move_line){ .type = MOVE_CONVERSATION, .conversation = l->c });
			if (e)
				return e;
			l->is_written = true;
			order_r[n++] = l;
		}
	}
	return ERR_OK;
}

static enum err add_message(struct run *r, const struct line_of *l, const struct message_row *m)
{
	struct move_line line = { .type = MOVE_MESSAGE, .message = {
		.conversation = l->c.id, .id = m->id, .turn = m->turn, .seq = m->seq, .tokens = m->tokens, .created_at = m->created_at,
		.role = m->role, .content = m->content, .metadata = m->metadata, .extra = m->extra,
	} };
	r->x->n_corrupt += m->content.n == 0;
	return move_out_add(&r->page, &r->out, &line);
}

/* The next page is smaller when this one was heavy, at most twice as long when it was not. */
static int64_t next_limit(const struct task *page, int64_t limit)
{
	size_t used = arena_used(page->arena);
	if (used > PAGE_BYTES)
		return limit > 8 ? limit / 8 : 1;
	return used < PAGE_BYTES / 4 && limit < ROWS_MOST ? limit * 2 : limit;
}

/* Writes what a conversation has to itself: what it sees behind its base, up to the seq that was its last. */
static enum err add_messages(struct run *r, const struct ident *session, const struct session_of *so, const struct line_of *l)
{
	struct task *t = &r->page;
	struct rows_line line = { .site = r->x->site, .session = *session, .conversation = l->c.id, .lineage = l->lineage,
				  .has_masks = so->flags & SESSION_HAS_MASKS };
	int64_t limit = ROWS_FIRST;
	enum err e = ERR_OK;
	for (int64_t seq = l->c.base_seq + 1; !e && seq <= l->last_seq;) {
		struct message_row *rows;
		size_t n;
		task_reset_part(t);
		e = rows_read(t, r->app, NULL, &line, seq, l->last_seq, limit, false, &rows, &n);
		if (!e && n == 0)
			e = task_fail(t, ERR_RETRY, "message %lld is missing", (long long)seq);
		for (size_t i = 0; !e && i < n; i++, seq++)
			e = rows[i].seq == seq ? add_message(r, l, &rows[i]) : task_fail(t, ERR_RETRY, "message %lld is missing", (long long)seq);
		limit = next_limit(t, limit);
		tell(r);
	}
	return task_take_fault(&r->session, t, e);
}

/* Summaries as they are gathered, one for each seq. */
struct summaries {
	struct move_summary *list;
	size_t n;
};

/* Adds those that `holder` holds of messages lo..hi; of two that end at the same message the first stays. */
static enum err gather(struct run *r, const struct line_of *l, const struct ident *holder, int64_t lo, int64_t hi, struct summaries *all)
{
	struct task *t = &r->session;
	struct db_rows *rows;
	enum err e = store_query(t, r->app, &stmts[SUMMARIES], DB_ARGS(db_ident(holder), db_ident(&r->x->site), db_int(lo), db_int(hi)), &rows);
	if (e)
		return e;
	all->list = arena_grow(t->arena, all->list, all->n * sizeof *all->list, (all->n + rows->n_rows) * sizeof *all->list);
	for (size_t i = 0; i < rows->n_rows; i++) {
		struct move_summary *s = &all->list[all->n];
		*s = (struct move_summary){
			.conversation = l->c.id, .upto_seq = db_cell_int(rows, i, 0), .method = db_cell_bytes(rows, i, 1),
			.tokens_before = db_cell_int(rows, i, 3), .tokens_after = db_cell_int(rows, i, 4), .created_at = db_cell_int(rows, i, 5),
		};
		bool is_new = codec_unpack(t->arena, db_cell_bytes(rows, i, 2), &s->content); /* one that cannot be read can be made again */
		for (size_t k = 0; k < all->n; k++)
			is_new &= all->list[k].upto_seq != s->upto_seq;
		all->n += is_new;
	}
	return ERR_OK;
}

static int compare_summaries(const void *a, const void *b)
{
	const struct move_summary *x = a, *y = b;
	return (x->upto_seq > y->upto_seq) - (x->upto_seq < y->upto_seq);
}

/* Its own summaries, and those of the messages that are written as its own; but none made of messages that the session masks. */
static enum err add_summaries(struct run *r, const struct session_of *so, const struct line_of *l)
{
	struct summaries all = { NULL, 0 };
	enum err e = gather(r, l, &l->c.id, 1, l->last_seq, &all);
	for (int64_t seq = lineage_base(l->lineage); !e && seq > l->c.base_seq && !(so->flags & SESSION_HAS_MASKS);) {
		struct lineage_run run = lineage_find(&l->c.id, l->lineage, seq);
		e = gather(r, l, &run.conversation, run.lo, seq, &all);
		seq = run.lo - 1;
	}
	if (!e && all.n)
		qsort(all.list, all.n, sizeof *all.list, compare_summaries);
	for (size_t i = 0; !e && i < all.n; i++)
		e = add_checked(r, &r->session, &(struct move_line){ .type = MOVE_SUMMARY, .summary = all.list[i] });
	return e;
}

static enum err add_session(struct run *r, const struct ident *id, struct session_of *so)
{
	struct task *t = &r->session;
	enum err e = read_lines(r, id, so);
	if (!e)
		e = add_checked(r, t, &(struct move_line){ .type = MOVE_SESSION, .session = so->s });
	if (e)
		return e;
	struct line_of **order = arena_array(t->arena, so->n_lines, sizeof(struct line_of *));
	e = add_lines(r, so, order);
	for (size_t i = 0; !e && i < so->n_lines; i++)
		e = add_messages(r, id, so, order[i]);
	for (size_t i = 0; !e && i < so->n_lines && (so->flags & SESSION_HAS_SUMMARIES); i++)
		e = add_summaries(r, so, order[i]);
	return e;
}

/* Reads the session's row and writes all of it. ERR_RETRY when it changed under the reader; the file is then as before. */
static enum err try_session(struct run *r, const struct ident *id)
{
	struct task *t = &r->session;
	struct session_of so = { .flags = 0 };
	struct db_rows *rows;
	task_reset_part(t);
	enum err e = store_query(t, r->app, &stmts[SESSION], DB_ARGS(db_ident(&r->x->site), db_ident(id)), &rows);
	if (!e && rows->n_rows == 0)
		e = task_fail(t, ERR_NOT_FOUND, "there is no such session");
	if (!e)
		e = session_from_row(t, r->x, id, rows, &so);
	if (!e)
		e = find_agent(r, &so);
	if (e)
		return e;
	struct move_mark mark = move_out_mark(&r->out);
	int64_t n_corrupt = r->x->n_corrupt;
	e = add_session(r, id, &so);
	if (e != ERR_RETRY && e != ERR_CORRUPT)
		return e;
	r->x->n_corrupt = n_corrupt;
	enum err returned = move_out_return(r->t, &r->out, &mark);
	return returned ? task_take_fault(t, r->t, returned) : e;
}

static enum err export_session(struct run *r, const struct ident *id)
{
	bool is_alone = !ident_is_zero(&r->x->session);
	enum err e = ERR_RETRY;
	for (int i = 0; i < TRIES && e == ERR_RETRY; i++)
		e = try_session(r, id);
	if (e == ERR_RETRY)
		e = task_fail(&r->session, ERR_CORRUPT, "this session cannot be exported: %s", r->session.fault.detail);
	if (is_alone || (e != ERR_CORRUPT && e != ERR_NOT_FOUND))
		return task_take_fault(r->t, &r->session, e);
	r->x->n_corrupt += e == ERR_CORRUPT; /* the rest is worth having; a deleted one is nobody's loss */
	return ERR_OK;
}

/* ---- many sessions ---- */

struct key {
	struct ident id;
	int64_t created_at;
	struct bytes name;
};

/* By time, then by name: ids of sessions with an own id are not the same everywhere. */
static int compare_keys(const void *a, const void *b)
{
	const struct key *x = a, *y = b;
	if (x->created_at != y->created_at)
		return x->created_at < y->created_at ? -1 : 1;
	size_t n = x->name.n < y->name.n ? x->name.n : y->name.n;
	int order = memcmp(x->name.p, y->name.p, n);
	return order ? order : (x->name.n > y->name.n) - (x->name.n < y->name.n);
}

static enum err read_keys(struct run *r, struct task *t, int64_t after, int64_t limit, struct key **keys_r, size_t *n_r)
{
	struct db_rows *rows;
	struct ident *site = &r->x->site;
	enum err e = r->x->user.p ? store_query(t, r->app, &stmts[PAGE_USER], DB_ARGS(db_ident(site), db_text(r->x->user), db_int(after), db_int(limit)), &rows)
				  : store_query(t, r->app, &stmts[PAGE], DB_ARGS(db_ident(site), db_int(after), db_int(limit)), &rows);
	if (e)
		return e;
	*n_r = rows->n_rows;
	*keys_r = arena_array(t->arena, *n_r, sizeof **keys_r);
	for (size_t i = 0; i < *n_r; i++) {
		db_cell_ident(rows, i, 0, &(*keys_r)[i].id);
		(*keys_r)[i].created_at = db_cell_int(rows, i, 1);
		(*keys_r)[i].name = db_cell_bytes(rows, i, 2);
	}
	return ERR_OK;
}

/* How many of a full page come before the time of its last: those of that time may go on behind it. */
static size_t whole_times(const struct key *keys, size_t n)
{
	size_t whole = n;
	while (whole > 0 && keys[whole - 1].created_at == keys[n - 1].created_at)
		whole--;
	return whole;
}

static enum err export_all(struct run *r)
{
	struct task t;
	int64_t after = -1, limit = SESSIONS_PAGE;
	bool is_over = false;
	enum err e = ERR_OK;
	task_open_part(&t, r->t);
	while (!e && !is_over) {
		struct key *keys = NULL;
		size_t n = 0;
		task_reset_part(&t);
		e = task_take_fault(r->t, &t, read_keys(r, &t, after, limit, &keys, &n));
		if (e)
			break;
		is_over = (int64_t)n < limit;
		if (!is_over)
			n = whole_times(keys, n);
		limit = n || is_over ? SESSIONS_PAGE : limit * 2; /* all of one time: more of them at once */
		if (n)
			qsort(keys, n, sizeof *keys, compare_keys);
		for (size_t i = 0; !e && i < n; i++)
			e = export_session(r, &keys[i].id);
		if (n)
			after = keys[n - 1].created_at;
	}
	task_close_part(&t);
	return e;
}

enum err move_export(struct task *t, struct app *app, struct move_export *x, int fd, struct move_counts *counts_r, int64_t *size_r)
{
	bool is_alone = !ident_is_zero(&x->session), is_site = !is_alone && !x->user.p;
	struct run r = { .t = t, .app = app, .x = x };
	enum err e = ERR_OK;
	x->n_corrupt = 0;
	move_out_begin(t, &r.out, fd);
	ident_map_init(&r.agents, t->arena);
	task_open_part(&r.session, t);
	task_open_part(&r.page, t);
	if (is_site)
		e = add_all_agents(&r);
	if (is_site && !e)
		e = add_templates(&r);
	if (!e)
		e = is_alone ? export_session(&r, &x->session) : export_all(&r);
	task_close_part(&r.page);
	task_close_part(&r.session);
	*counts_r = r.out.counts;
	tell(&r);
	if (e)
		return e;
	return move_out_end(t, &r.out, is_alone ? BYTES("session") : is_site ? BYTES("site") : BYTES("user"), x->site_name, size_r);
}

const struct feature move_export_feature = { .name = "move_export", .stmts = stmts, .n_stmts = COUNT(stmts) };
