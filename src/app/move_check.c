/* SPDX-License-Identifier: MIT */
/* move_check: looks for what is twice in a file, and, some sessions at a time, for what is there already. Owns no table. */
#include "app/move_check.h"

#include "app/head.h"
#include "app/site.h"

#define ASKED 64     /* parameters of one look-up */
#define SESSIONS 64  /* sessions that wait to be looked up ... */
#define LINES 1024   /* ... or conversations */

#define Q4 "?, ?, ?, ?"
#define Q16 Q4 ", " Q4 ", " Q4 ", " Q4
#define Q64 Q16 ", " Q16 ", " Q16 ", " Q16

enum { SESSION_IDS, CONVERSATION_IDS, NAMES, TEMPLATE };
static const struct db_stmt stmts[] = {
	[SESSION_IDS] = { "SELECT id FROM sessions WHERE id IN (" Q64 ")", NULL, "ids are unique in the install" },
	[CONVERSATION_IDS] = { "SELECT id FROM conversations WHERE id IN (" Q64 ")", NULL, "ids are unique in the install" },
	[NAMES] = { "SELECT name FROM sessions WHERE site = ? AND name IN (" Q64 ")", NULL, NULL },
	[TEMPLATE] = { "SELECT 1 FROM templates WHERE site = ? AND name = ?", NULL, NULL },
};

/* A session that waits to be looked up. */
struct waiting {
	struct ident id;
	const char *shown; /* what the file calls it */
	struct bytes name;
	int64_t line, n_messages;
	size_t first, n;   /* its conversations that wait */
	size_t n_conversations;
	bool is_there;
};

struct run {
	struct app *app;
	struct move_check *m;
	struct ident_map seen;   /* every id and name of the file: the line it stands on */
	struct ident_map agents; /* agents that the site has or gets, by name */
	struct task part;        /* memory of what waits */
	struct waiting *sessions;
	size_t n_sessions;
	struct ident *lines;
	size_t n_lines, n_room;
};

struct ident move_session_ident(const struct ident *site, const struct move_session *s)
{
	return s->own_id.p ? head_own_ident(site, s->own_id) : s->id;
}

struct ident move_name_ident(const char *kind, struct bytes name)
{
	struct bytes parts[] = { bytes_of(kind), name };
	return secret_ident(parts, COUNT(parts));
}

/* ---- what waits ---- */

static void forget_waiting(struct run *r)
{
	task_reset_part(&r->part);
	r->sessions = arena_array(r->part.arena, SESSIONS, sizeof *r->sessions);
	r->n_sessions = 0;
	r->lines = NULL;
	r->n_lines = r->n_room = 0;
}

static enum err fail_line(struct task *t, int64_t line, const char *what, const char *which)
{
	return task_fail(t, ERR_CONFLICT, "line %lld: %s %s", (long long)line + 1, what, which);
}

/* Asks for up to 64 at once; the places left over repeat the last. `site` NULL: the statement has none. */
static enum err ask(struct task *t, struct app *app, const struct db_stmt *s, const struct ident *site, const struct db_arg *of, size_t n, struct db_rows **rows_r)
{
	struct db_arg args[1 + ASKED];
	size_t k = 0;
	if (site)
		args[k++] = db_ident(site);
	for (size_t i = 0; i < ASKED; i++)
		args[k++] = of[i < n ? i : n - 1];
	return store_query(t, app, s, args, k, rows_r);
}

static enum err find_sessions(struct task *t, struct run *r)
{
	struct db_arg of[SESSIONS];
	struct db_rows *rows;
	struct ident id;
	for (size_t i = 0; i < r->n_sessions; i++)
		of[i] = db_ident(&r->sessions[i].id);
	enum err e = ask(t, r->app, &stmts[SESSION_IDS], NULL, of, r->n_sessions, &rows);
	for (size_t i = 0; !e && i < rows->n_rows; i++) {
		db_cell_ident(rows, i, 0, &id);
		for (size_t k = 0; k < r->n_sessions; k++)
			r->sessions[k].is_there |= ident_equal(&r->sessions[k].id, &id);
	}
	for (size_t k = 0; !e && k < r->n_sessions; k++)
		if (r->sessions[k].is_there && !r->m->skips_existing)
			e = fail_line(t, r->sessions[k].line, r->sessions[k].shown, "exists already");
	return e;
}

/* Readable names are unique in a site. */
static enum err find_names(struct task *t, struct run *r)
{
	struct db_arg of[SESSIONS];
	struct db_rows *rows;
	size_t n = 0;
	for (size_t i = 0; i < r->n_sessions; i++)
		if (!r->sessions[i].is_there)
			of[n++] = db_text(r->sessions[i].name);
	enum err e = n ? ask(t, r->app, &stmts[NAMES], &r->m->site, of, n, &rows) : ERR_OK;
	for (size_t i = 0; !e && n && i < rows->n_rows; i++)
		for (size_t k = 0; !e && k < r->n_sessions; k++)
			if (!r->sessions[k].is_there && bytes_equal(r->sessions[k].name, db_cell_bytes(rows, i, 0)))
				e = fail_line(t, r->sessions[k].line, "another session has the name",
					      arena_copy(t->arena, r->sessions[k].name.p, r->sessions[k].name.n));
	return e;
}

static enum err find_conversations(struct task *t, struct run *r, const struct waiting *s)
{
	enum err e = ERR_OK;
	for (size_t from = 0; !e && from < s->n; from += ASKED) {
		struct db_arg of[ASKED];
		struct db_rows *rows;
		size_t n = s->n - from < ASKED ? s->n - from : ASKED;
		for (size_t i = 0; i < n; i++)
			of[i] = db_ident(&r->lines[s->first + from + i]);
		e = ask(t, r->app, &stmts[CONVERSATION_IDS], NULL, of, n, &rows);
		if (!e && rows->n_rows) {
			char text[IDENT_SIZE];
			struct ident id;
			db_cell_ident(rows, 0, 0, &id);
			ident_format(PREFIX_CONVERSATION, &id, text);
			e = fail_line(t, s->line, s->shown, arena_printf(t->arena, "has the conversation %s, which exists already, perhaps of an import "
									 "that was not finished", text));
		}
	}
	return e;
}

static enum err look_up(struct task *t, struct run *r)
{
	if (r->n_sessions == 0)
		return ERR_OK;
	enum err e = find_sessions(t, r);
	if (!e)
		e = find_names(t, r);
	for (size_t i = 0; !e && i < r->n_sessions; i++) {
		const struct waiting *s = &r->sessions[i];
		if (s->is_there) {
			ident_map_add(&r->m->skipped, &s->id, s->line);
			continue;
		}
		r->m->taken.sessions++;
		r->m->taken.conversations += (int64_t)s->n_conversations;
		r->m->taken.messages += s->n_messages;
		e = find_conversations(t, r, s);
	}
	if (!e)
		forget_waiting(r);
	return e;
}

/* ---- lines ---- */

static enum err note_once(struct task *t, struct run *r, const struct ident *id, const char *what, int64_t line)
{
	int64_t before;
	if (ident_map_add(&r->seen, id, line))
		return ERR_OK;
	ident_map_find(&r->seen, id, &before);
	return task_fail(t, ERR_INVALID, "%s stands on line %lld already", what, (long long)before + 1);
}

static enum err check_provider(struct task *t, struct run *r, const char *field, struct bytes name)
{
	struct provider p;
	enum err e = provider_find(t, r->app, name, &p);
	return e == ERR_NOT_FOUND ? task_fail_field(t, field, "value", "there is no provider named \"%.*s\" here; the operator defines it with "
						    "`parley provider add`", (int)name.n, name.p) : e;
}

static enum err check_agent(struct task *t, struct run *r, const struct agent *a, int64_t line)
{
	struct ident key = move_name_ident("agent", a->name);
	struct agent_fallback fallbacks[AGENT_FALLBACKS];
	struct agent present;
	if (!site_is_name(a->name))
		return task_fail_field(t, "name", "format", "a name has 1 to 64 lower-case letters, digits and -, and does not begin with -");
	enum err e = note_once(t, r, &key, "this agent", line);
	if (e)
		return e;
	ident_map_add(&r->agents, &key, line);
	e = agent_find(t, r->app, &r->m->site, a->name, &present);
	if (e != ERR_NOT_FOUND)
		return e;
	task_clear_fault(t);
	r->m->n_agents++;
	e = check_provider(t, r, "provider", a->provider);
	size_t n = agent_fallbacks(t, a, fallbacks);
	for (size_t i = 0; i < n && !e; i++)
		e = check_provider(t, r, arena_printf(t->arena, "fallbacks[%zu].provider", i), fallbacks[i].provider);
	return e;
}

static enum err check_template(struct task *t, struct run *r, const struct template *tp, int64_t line)
{
	struct ident key = move_name_ident("template", tp->name);
	struct db_rows *rows;
	enum err e = note_once(t, r, &key, "this template", line);
	if (!e)
		e = store_query(t, r->app, &stmts[TEMPLATE], DB_ARGS(db_ident(&r->m->site), db_text(tp->name)), &rows);
	if (!e && rows->n_rows == 0)
		r->m->n_templates++;
	return e;
}

/* A session's agent has its line in front, or is there. */
static enum err check_agent_of(struct task *t, struct run *r, struct bytes name)
{
	struct ident key = move_name_ident("agent", name);
	struct agent a;
	if (!name.p || ident_map_find(&r->agents, &key, NULL))
		return ERR_OK;
	enum err e = agent_find(t, r->app, &r->m->site, name, &a);
	if (e == ERR_NOT_FOUND)
		return task_fail_field(t, "agent", "value", "there is no agent named \"%.*s\", neither here nor in the file", (int)name.n, name.p);
	ident_map_add(&r->agents, &key, 0);
	return e;
}

static enum err check_line(struct task *t, void *arg, const struct move_walk *w, const struct move_line *line)
{
	struct run *r = arg;
	int64_t at = w->counts.lines;
	if (r->m->progress && at % 1000 == 0)
		r->m->progress(r->m->arg, &(struct move_counts){ .lines = at / 2 }, &w->in.header.counts);
	switch (line->type) {
	case MOVE_AGENT:
		return check_agent(t, r, &line->agent, at);
	case MOVE_TEMPLATE:
		return check_template(t, r, &line->template, at);
	case MOVE_SESSION: {
		struct ident id = move_session_ident(&r->m->site, &line->session), name = move_name_ident("session", line->session.name);
		enum err e = note_once(t, r, &id, "this session", at);
		if (!e)
			e = note_once(t, r, &name, "a session of this name", at);
		return e ? e : check_agent_of(t, r, line->session.agent);
	}
	case MOVE_CONVERSATION:
		return note_once(t, r, &line->conversation.id, "this conversation", at);
	default:
		return ERR_OK;
	}
}

static void add_line(struct run *r, const struct ident *id)
{
	if (r->n_lines == r->n_room) {
		size_t room = r->n_room ? r->n_room * 2 : SESSIONS;
		r->lines = arena_grow(r->part.arena, r->lines, r->n_room * sizeof *r->lines, room * sizeof *r->lines);
		r->n_room = room;
	}
	r->lines[r->n_lines++] = *id;
}

/* What an earlier run has stored is not in the way; of a session it did not finish, what it did not come to. */
static enum err check_session(struct task *t, void *arg, const struct move_walk *w)
{
	struct run *r = arg;
	struct arena *a = r->part.arena;
	if (w->counts.lines <= r->m->lines_done) {
		r->m->taken.sessions++;
		r->m->taken.conversations += (int64_t)w->n_lines;
		r->m->taken.messages += w->n_messages;
		return ERR_OK;
	}
	struct waiting *s = &r->sessions[r->n_sessions++];
	*s = (struct waiting){ .id = move_session_ident(&r->m->site, &w->s), .name = arena_bytes(a, w->s.name), .line = w->session_line,
			       .n_messages = w->n_messages, .first = r->n_lines, .n_conversations = w->n_lines };
	char text[IDENT_SIZE];
	ident_format(PREFIX_SESSION, &s->id, text);
	s->shown = w->s.own_id.p ? arena_printf(a, "the session %.*s", (int)w->s.own_id.n, w->s.own_id.p) : arena_printf(a, "the session %s", text);
	for (size_t i = 0; i < w->n_lines; i++)
		if (w->lines[i].line > r->m->lines_done)
			add_line(r, &w->lines[i].id);
	s->n = r->n_lines - s->first;
	return r->n_sessions == SESSIONS || r->n_lines >= LINES ? look_up(t, r) : ERR_OK;
}

enum err move_check(struct task *t, struct app *app, struct move_check *m, int fd, struct bytes memory)
{
	struct run r = { .app = app, .m = m };
	struct move_visitor v = { &r, check_line, check_session };
	ident_map_init(&m->skipped, t->arena);
	task_open_part(&r.part, t);
	struct task seen;
	task_open_part(&seen, t);
	ident_map_init(&r.seen, seen.arena);
	ident_map_init(&r.agents, seen.arena);
	forget_waiting(&r);
	enum err e = move_walk(t, fd, memory, &v, NULL);
	if (!e)
		e = look_up(t, &r);
	task_close_part(&seen);
	task_close_part(&r.part);
	return e;
}

const struct feature move_check_feature = { .name = "move_check", .stmts = stmts, .n_stmts = COUNT(stmts) };
