/* SPDX-License-Identifier: MIT */
/* turn_view_api: turns that have begun, over HTTP: read, listed, followed from any place on any worker, and stopped. */
#include "app/turn_view_api.h"

#include <stddef.h>
#include <stdlib.h>
#include <unistd.h>

#include "app/dispatch.h"
#include "app/turn_keep.h"
#include "app/turn_log.h"
#include "app/turn_stream.h"
#include "base/stamp.h"

#define CANCEL_WAIT_MS 2000
#define CANCEL_LOOK_MS 50

static enum err find_turn(struct call *c, struct turn *turn_r)
{
	struct ident id;
	if (!ident_parse(PREFIX_TURN, c->params[1], &id))
		return task_fail(c->task, ERR_NOT_FOUND, "there is no such turn");
	return turn_get(c->task, c->app, c->head, &id, turn_r);
}

/* What a turn has said: so far, or as its answer stands now. */
static enum err read_text(struct call *c, const struct turn *u, struct bytes *text_r)
{
	struct bytes json;
	*text_r = BYTES("");
	if (u->status == TURN_RUNNING || u->status == TURN_FAILED) {
		*text_r = turn_log_text(c->task->arena, u->log);
		return ERR_OK;
	}
	if (!u->answer_seq)
		return ERR_OK;
	/* The head was read before the turn, from the cache or from the database: catch up with its answer. */
	enum err e = ident_equal(&u->conversation, &c->head->conversation) ? head_catch_up(c->task, c->app, c->head, u->answer_seq) : ERR_OK;
	if (!e)
		e = turn_read_message(c->task, c->app, c->head, u, u->answer_seq, &json);
	if (!e)
		*text_r = turn_content_text(c->task->arena, jsonx_member(json, "content"));
	return e;
}

static enum err reply_turn(struct call *c, const struct turn *u)
{
	struct bytes text;
	enum err e = read_text(c, u, &text);
	if (e)
		return e;
	turn_render(&c->rs->body, c->head, u, text);
	dispatch_reply(c, 200);
	return ERR_OK;
}

static enum err api_turn_get(struct call *c)
{
	struct turn turn;
	enum err e = find_turn(c, &turn);
	return e ? e : reply_turn(c, &turn);
}

/* Waits a moment for the turn's end, and reads it again. */
static enum err wait_for_end(struct call *c, struct turn *u)
{
	int64_t deadline = stamp_mono_ms() + CANCEL_WAIT_MS;
	struct task part;
	int status = TURN_RUNNING;
	bool is_lost = false;
	enum err e = ERR_OK;
	task_open_part(&part, c->task);
	while (!e && status == TURN_RUNNING && !is_lost && stamp_mono_ms() < deadline) {
		struct bytes log;
		usleep(CANCEL_LOOK_MS * 1000);
		e = task_take_fault(c->task, &part, turn_peek(&part, c->app, &u->site, &u->id, u->log.n, &status, &is_lost, &log));
		task_reset_part(&part);
	}
	task_close_part(&part);
	return e ? e : find_turn(c, u);
}

/* Asks the turn to stop and waits a moment for its end; a turn that has ended is told as it is (TRN-5). */
static enum err api_turn_cancel(struct call *c)
{
	struct turn turn;
	enum err e = find_turn(c, &turn);
	if (!e && turn.status == TURN_RUNNING) {
		e = turn_keep_cancel(c->task, c->app, &turn);
		e = e ? e : wait_for_end(c, &turn);
	}
	return e ? e : reply_turn(c, &turn);
}

struct follow_in {
	int64_t after;
	bool has_after;
};
static const struct field follow_fields[] = {
	{ .name = "after", .type = FIELD_INT, .min = 0, .max = INT64_C(1) << 48, .offset = offsetof(struct follow_in, after),
	  .given_offset = offsetof(struct follow_in, has_after), .help = "The number behind the colon in the id of the last event that came; Last-Event-ID says the same" },
	{ .name = NULL },
};
static const struct field_table follow_table = { follow_fields, sizeof(struct follow_in) };

/* Where the reader is: behind the event that Last-Event-ID names, which must be this turn's. */
static enum err read_position(struct call *c, const struct turn *u, size_t *from_r)
{
	const struct follow_in *in = c->query;
	struct bytes id = c->rq->last_event_id;
	struct ident turn;
	char *end = NULL;
	*from_r = (size_t)in->after;
	if (!id.n)
		return ERR_OK;
	const char *colon = memchr(id.p, ':', id.n);
	const char *number = colon ? arena_copy(c->task->arena, colon + 1, id.n - (size_t)(colon + 1 - id.p)) : "";
	long long at = strtoll(number, &end, 10);
	if (!colon || !ident_parse(PREFIX_TURN, (struct bytes){ id.p, (size_t)(colon - id.p) }, &turn) || !ident_equal(&turn, &u->id) ||
	    *number < '0' || *number > '9' || *end || at < 0)
		return task_fail_field(c->task, "Last-Event-ID", "value", "is not the id of an event of this turn");
	if (in->has_after && in->after != at)
		return task_fail_field(c->task, "after", "conflict", "says another position than Last-Event-ID");
	*from_r = (size_t)at;
	return ERR_OK;
}

static enum err send_turn(struct turn_stream *s, struct head *h)
{
	struct bytes user_json;
	enum err e = turn_read_message(s->c->task, s->c->app, h, s->turn, s->turn->user_seq, &user_json);
	if (e)
		return e;
	turn_stream_begin(s);
	buf_member_json(turn_stream_open(s), "user_message", user_json);
	turn_stream_close(s, "turn", 0);
	return ERR_OK;
}

/* TRN-4: any number of readers, each from where it is, on any worker. */
static enum err api_turn_stream(struct call *c)
{
	struct turn turn;
	struct turn_stream s;
	size_t from;
	enum err e = find_turn(c, &turn);
	if (!e)
		e = read_position(c, &turn, &from);
	if (!e && turn.status == TURN_RUNNING)
		e = turn_enter(c->task, c->app); /* it holds a thread as long as the turn does */
	if (e)
		return e;
	bool has_place = turn.status == TURN_RUNNING;
	turn_stream_init(&s, c, c->head, &turn);
	if (from == 0)
		e = send_turn(&s, c->head);
	if (!e)
		e = turn_stream_follow(&s, c->head, from);
	if (has_place)
		turn_leave(c->app);
	return e;
}

struct list_in {
	int64_t limit;
	bool has_limit;
	struct bytes after, status;
};
static const struct field list_fields[] = {
	{ .name = "limit", .type = FIELD_INT, .min = 1, .max = 100, .offset = offsetof(struct list_in, limit),
	  .given_offset = offsetof(struct list_in, has_limit), .help = "Most turns of a page; 20 otherwise" },
	{ .name = "after", .type = FIELD_STRING, .min = 1, .max = IDENT_SIZE, .offset = offsetof(struct list_in, after), .help = "The `next` of the page before" },
	{ .name = "status", .type = FIELD_ENUM, .choices = TURN_STATUSES, .offset = offsetof(struct list_in, status),
	  .help = "Only turns of this status" },
	{ .name = NULL },
};
static const struct field_table list_table = { list_fields, sizeof(struct list_in) };

/* One turn of a list; one that has ended well has its text in its message alone. */
static void render_listed(struct call *c, struct buf *b, const struct turn *u)
{
	bool is_partial = u->status == TURN_RUNNING || u->status == TURN_FAILED;
	render_list_next(b);
	turn_render(b, c->head, u, is_partial ? turn_log_text(c->task->arena, u->log) : (struct bytes){ NULL, 0 });
}

static enum err api_turn_list(struct call *c)
{
	const struct list_in *in = c->query;
	int64_t limit = in->has_limit ? in->limit : 20;
	struct turn_page page = { .limit = limit + 1, .status = turn_status_find(in->status) };
	struct turn *list;
	size_t n;
	char next[IDENT_SIZE];
	if (in->after.p && !ident_parse(PREFIX_TURN, in->after, &page.before))
		return task_fail_field(c->task, "after", "value", "is not a cursor of this list");
	enum err e = turn_list(c->task, c->app, c->head, &page, &list, &n);
	if (e)
		return e;
	bool has_more = (int64_t)n > limit;
	n -= has_more;
	if (has_more)
		ident_format(PREFIX_TURN, &list[n - 1].id, next);
	render_list_begin(&c->rs->body);
	for (size_t i = 0; i < n; i++)
		render_listed(c, &c->rs->body, &list[i]);
	render_list_end(&c->rs->body, has_more, has_more ? bytes_of(next) : (struct bytes){ NULL, 0 });
	dispatch_reply(c, 200);
	return ERR_OK;
}

#define AT "/v1/sessions/{s}/turns"
static const struct api_route routes[] = {
	{ HTTP_GET, AT, SCOPE_SESSION, api_turn_list, NULL, &list_table, 0, "List a session's turns, newest first", 200, "TurnList" },
	{ HTTP_GET, AT "/{t}", SCOPE_SESSION, api_turn_get, NULL, NULL, 0, "Get a turn, with the text as far as it has come", 200, "Turn" },
	{ HTTP_GET, AT "/{t}/stream", SCOPE_SESSION, api_turn_stream, NULL, &follow_table, ROUTE_STREAMS,
	  "Follow a turn from where the reader is, to its end: server-sent events", 200, NULL },
	{ HTTP_POST, AT "/{t}/cancel", SCOPE_SESSION, api_turn_cancel, &dispatch_no_fields, NULL, ROUTE_BODY_OPTIONAL,
	  "Stop a turn, wherever it runs; what it said is kept", 200, "Turn" },
};

const struct feature turn_view_api_feature = { .name = "turn_view_api", .routes = routes, .n_routes = COUNT(routes) };
