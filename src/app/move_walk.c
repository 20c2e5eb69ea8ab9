/* SPDX-License-Identifier: MIT */
/*
 * move_walk: what lines mean to each other. Agents and templates stand between sessions; a session's line is followed by its conversations, a
 * parent first, and what is in them; messages have no gaps; a branch leaves its parent at a message that is there.
 */
#include "app/move_walk.h"

#include "app/lineage.h"

#define LINES_FIRST 16

/* A conversation's place in the session, as its line gives it. */
static enum err take_conversation(struct task *t, struct move_walk *w, const struct move_conversation *c)
{
	struct move_walk_line l = { .id = c->id, .base_seq = c->base_seq, .last_seq = c->base_seq, .parent_at = -1, .line = w->counts.lines };
	if (!ident_is_zero(&c->parent)) {
		if (!ident_map_find(&w->by_id, &c->parent, &l.parent_at))
			return task_fail_field(t, "parent", "value", "is no conversation of this session that stands before this line");
		const struct move_walk_line *p = &w->lines[l.parent_at];
		if (!lineage_branch(w->session.arena, &p->id, p->lineage, c->base_seq, &l.lineage, &l.parent))
			return task_fail_field(t, "parent", "range", "the conversation has more than %d ancestors", LINEAGE_DEPTH);
		if (l.lineage.n == 0)
			l.lineage.p = NULL;
	}
	if (!ident_map_add(&w->by_id, &c->id, (int64_t)w->n_lines))
		return task_fail_field(t, "id", "repeated", "stands twice in this session");
	if (w->n_lines == w->n_room) {
		size_t room = w->n_room ? w->n_room * 2 : LINES_FIRST;
		w->lines = arena_grow(w->session.arena, w->lines, w->n_room * sizeof *w->lines, room * sizeof *w->lines);
		w->n_room = room;
	}
	w->lines[w->n_lines++] = l;
	w->counts.conversations++;
	return ERR_OK;
}

static enum err find_line(struct task *t, const struct move_walk *w, const struct ident *id, struct move_walk_line **l_r)
{
	int64_t at;
	if (!ident_map_find(&w->by_id, id, &at))
		return task_fail_field(t, "conversation", "value", "is no conversation of this session that stands before this line");
	*l_r = &w->lines[at];
	return ERR_OK;
}

static enum err take_message(struct task *t, struct move_walk *w, const struct move_message *m)
{
	struct move_walk_line *l = NULL;
	enum err e = find_line(t, w, &m->conversation, &l);
	if (!e && m->seq != l->last_seq + 1)
		e = task_fail_field(t, "seq", "value", "is %lld where %lld comes next", (long long)m->seq, (long long)l->last_seq + 1);
	if (e)
		return e;
	l->last_seq = m->seq;
	w->n_messages++;
	w->counts.messages++;
	return ERR_OK;
}

static enum err take_summary(struct task *t, struct move_walk *w, const struct move_summary *s)
{
	struct move_walk_line *l = NULL;
	enum err e = find_line(t, w, &s->conversation, &l);
	if (!e && (s->upto_seq < 1 || s->upto_seq > l->last_seq))
		e = task_fail_field(t, "upto_seq", "range", "is no message of the conversation");
	w->has_summaries = true;
	return e;
}

/* The session's own copy of its line outlives the line. */
static enum err take_session(struct task *t, struct move_walk *w, struct bytes text)
{
	struct move_line line;
	task_reset_part(&w->session);
	enum err e = move_line_parse(&w->session, arena_bytes(w->session.arena, text), &line);
	if (e)
		return task_take_fault(t, &w->session, e);
	w->s = line.session;
	w->is_in_session = true;
	w->session_line = w->counts.lines;
	w->lines = NULL;
	w->n_lines = w->n_room = 0;
	w->n_messages = 0;
	w->has_summaries = false;
	ident_map_init(&w->by_id, w->session.arena);
	w->counts.sessions++;
	return ERR_OK;
}

static enum err take(struct task *t, struct move_walk *w, struct bytes text, const struct move_line *line)
{
	if (line->type == MOVE_AGENT || line->type == MOVE_TEMPLATE)
		return ERR_OK;
	if (line->type == MOVE_SESSION)
		return take_session(t, w, text);
	if (!w->is_in_session)
		return task_fail(t, ERR_INVALID, "the line belongs to no session");
	if (line->type == MOVE_CONVERSATION)
		return take_conversation(t, w, &line->conversation);
	return line->type == MOVE_MESSAGE ? take_message(t, w, &line->message) : take_summary(t, w, &line->summary);
}

/* What can be said of a session when all its lines have been seen. */
static enum err check_session(struct task *t, const struct move_walk *w, int64_t *line_r)
{
	for (size_t i = 0; i < w->n_lines; i++) {
		const struct move_walk_line *l = &w->lines[i];
		if (l->parent_at < 0 || l->base_seq <= w->lines[l->parent_at].last_seq)
			continue;
		*line_r = l->line;
		return task_fail_field(t, "base_seq", "range", "is behind the parent's last message, which is %lld",
				       (long long)w->lines[l->parent_at].last_seq);
	}
	*line_r = w->session_line;
	if (!ident_map_find(&w->by_id, &w->s.conversation, NULL))
		return task_fail_field(t, "conversation", "value", "is not among the session's conversations");
	return ERR_OK;
}

/* Names the line, unless that was done: the header is the file's first. */
static enum err fail_at(struct task *t, enum err e, int64_t line)
{
	if ((e != ERR_INVALID && e != ERR_CONFLICT) || (t->fault.detail && strncmp(t->fault.detail, "line ", 5) == 0))
		return e;
	return task_fail(t, e, "line %lld: %s", (long long)line + 1, t->fault.detail ? t->fault.detail : err_title(e));
}

static enum err end_session(struct task *t, struct move_walk *w, const struct move_visitor *v)
{
	int64_t line = 0;
	if (!w->is_in_session)
		return ERR_OK;
	enum err e = check_session(t, w, &line);
	if (!e && v->session)
		e = v->session(t, v->arg, w);
	w->is_in_session = false;
	return fail_at(t, e, line);
}

static enum err step(struct task *t, struct move_walk *w, const struct move_visitor *v, struct bytes text)
{
	struct move_line line;
	enum err e = move_line_parse(t, text, &line);
	bool is_outside = line.type == MOVE_AGENT || line.type == MOVE_TEMPLATE || line.type == MOVE_SESSION;
	if (!e && is_outside) {
		e = end_session(t, w, v);
		if (e)
			return e;
	}
	w->counts.lines++;
	if (!e)
		e = take(t, w, text, &line);
	if (!e && v->line)
		e = v->line(t, v->arg, w, &line);
	return fail_at(t, e, w->counts.lines);
}

static bool counts_equal(const struct move_counts *a, const struct move_counts *b)
{
	return a->sessions == b->sessions && a->conversations == b->conversations && a->messages == b->messages;
}

static enum err walk_lines(struct task *t, struct move_walk *w, const struct move_visitor *v)
{
	struct bytes text;
	for (;;) {
		enum err e = move_in_next(t, &w->in, &text);
		if (e)
			return fail_at(t, e, w->counts.lines + 1);
		if (!text.p)
			break;
		task_reset_part(&w->line);
		e = task_take_fault(t, &w->line, step(&w->line, w, v, text));
		if (e)
			return e;
	}
	task_reset_part(&w->line);
	enum err e = move_in_check(t, &w->in);
	if (!e && !counts_equal(&w->counts, &w->in.header.counts))
		e = task_fail(t, ERR_INVALID, "line 1: the file does not hold what its header counts");
	return e ? e : task_take_fault(t, &w->line, end_session(&w->line, w, v));
}

enum err move_walk(struct task *t, int fd, struct bytes memory, const struct move_visitor *v, struct move_header *header_r)
{
	struct task buffer;
	struct move_walk w = { .is_in_session = false };
	task_open_part(&buffer, t);
	enum err e = move_in_begin(&buffer, &w.in, fd, memory);
	if (!e && header_r) {
		*header_r = w.in.header;
		header_r->scope = arena_bytes(t->arena, w.in.header.scope);
		header_r->site = arena_bytes(t->arena, w.in.header.site);
		header_r->checksum = arena_bytes(t->arena, w.in.header.checksum);
	}
	if (e) {
		e = task_take_fault(t, &buffer, fail_at(&buffer, e, 0));
		task_close_part(&buffer);
		return e;
	}
	task_open_part(&w.line, t);
	task_open_part(&w.session, t);
	e = task_take_fault(t, &buffer, walk_lines(&buffer, &w, v));
	task_close_part(&w.session);
	task_close_part(&w.line);
	task_close_part(&buffer);
	return e;
}
