/* SPDX-License-Identifier: MIT */
/*
 * session_stats_api: a session in numbers (stats), with its conversations and no history (info), with all of that and its newest
 * messages (full). Every answer is bounded; the history goes on at /messages.
 */
#include "app/session_stats_api.h"

#include <stddef.h>

#include "app/conversation.h"
#include "app/dispatch.h"
#include "app/message.h"
#include "app/session_api.h"
#include "app/session_stats.h"

#define CONVERSATIONS_MAX 100
#define LIMIT_DEFAULT 20

struct full_in {
	int64_t limit, before;
	bool has_limit;
};
static const struct field full_fields[] = {
	{ .name = "limit", .type = FIELD_INT, .min = 1, .max = 100, .offset = offsetof(struct full_in, limit),
	  .given_offset = offsetof(struct full_in, has_limit), .help = "How many messages, 20 unless said" },
	{ .name = "before", .type = FIELD_INT, .min = 1, .max = INT64_MAX, .offset = offsetof(struct full_in, before), .help = "Only messages with a smaller seq: `next` of the answer before" },
	{ .name = NULL },
};
static const struct field_table full_table = { full_fields, sizeof(struct full_in) };

/* The session as one member. */
static void add_session(struct call *c, const char *object)
{
	struct buf *b = &c->rs->body;
	buf_add_char(b, '{');
	buf_member_str(b, "object", object);
	buf_add_member(b, "session");
	session_api_write(c, b, c->head);
}

/* Its conversations in the order they were begun, up to CONVERSATIONS_MAX. */
static enum err add_conversations(struct call *c)
{
	struct conversation *list;
	size_t n;
	struct buf *b = &c->rs->body;
	enum err e = conversation_list(c->task, c->app, c->head, &(struct ident){ { 0 } }, CONVERSATIONS_MAX, &list, &n);
	if (e)
		return e;
	buf_add_member(b, "conversations");
	buf_add_char(b, '[');
	for (size_t i = 0; i < n; i++) {
		if (i > 0)
			buf_add_char(b, ',');
		conversation_render(b, &list[i], ident_equal(&list[i].id, &c->head->conversation));
	}
	buf_add_char(b, ']');
	return ERR_OK;
}

/* The newest messages of the active conversation, oldest first, and where to go on towards the oldest. */
static enum err add_messages(struct call *c, const struct full_in *in)
{
	struct message_list list;
	struct buf *b = &c->rs->body;
	int64_t limit = in->has_limit ? in->limit : LIMIT_DEFAULT, last = c->head->last_seq;
	int64_t before = in->before > 0 && in->before <= last ? in->before : last + 1;
	struct message_page page = { .after = before > limit ? before - 1 - limit : 0, .before = before, .limit = limit };
	enum err e = message_list(c->task, c->app, c->head, &page, &list);
	if (e)
		return e;
	buf_member_json(b, "messages", BYTES("{"));
	buf_add_str(b, "\"data\":[");
	buf_add_bytes(b, list.json);
	buf_add_char(b, ']');
	buf_member_bool(b, "has_more", page.after > 0);
	buf_member_str(b, "next", page.after > 0 ? arena_printf(c->task->arena, "%lld", (long long)page.after + 1) : NULL);
	buf_add_char(b, '}');
	return ERR_OK;
}

static enum err api_session_stats(struct call *c)
{
	struct session_stats s;
	enum err e = session_stats_read(c->task, c->app, c->head, &s);
	if (e)
		return e;
	session_stats_render(&c->rs->body, c->head, &s);
	dispatch_reply(c, 200);
	return ERR_OK;
}

static enum err api_session_info(struct call *c)
{
	int64_t n;
	enum err e = session_stats_conversations(c->task, c->app, c->head, &n);
	if (e)
		return e;
	add_session(c, "session_info");
	buf_member_int(&c->rs->body, "conversation_count", n);
	e = add_conversations(c);
	if (e)
		return e;
	buf_add_char(&c->rs->body, '}');
	dispatch_add_etag(c, c->head->version);
	dispatch_reply(c, 200);
	return ERR_OK;
}

static enum err write_full(struct call *c)
{
	struct session_stats s;
	buf_clear(&c->rs->body);
	enum err e = session_stats_read(c->task, c->app, c->head, &s);
	if (e)
		return e;
	add_session(c, "session_full");
	buf_add_member(&c->rs->body, "stats");
	session_stats_render(&c->rs->body, c->head, &s);
	e = add_conversations(c);
	if (!e)
		e = add_messages(c, c->query);
	if (!e)
		buf_add_char(&c->rs->body, '}');
	return e;
}

static enum err api_session_full(struct call *c)
{
	enum err e = write_full(c);
	if (e == ERR_NOT_FOUND) { /* the history was cleared meanwhile, or the session deleted */
		e = head_follow(c->task, c->app, c->head);
		e = e ? e : write_full(c);
	}
	if (e)
		return e;
	dispatch_add_etag(c, c->head->version);
	dispatch_reply(c, 200);
	return ERR_OK;
}

static const struct api_route routes[] = {
	{ HTTP_GET, "/v1/sessions/{s}/stats", SCOPE_SESSION, api_session_stats, NULL, NULL, 0, "Count a session's messages, turns, tokens and bytes", 200, "SessionStats" },
	{ HTTP_GET, "/v1/sessions/{s}/info", SCOPE_SESSION, api_session_info, NULL, NULL, 0, "Get a session with its conversations and no history", 200, "SessionInfo" },
	{ HTTP_GET, "/v1/sessions/{s}/full", SCOPE_SESSION, api_session_full, NULL, &full_table, 0,
	  "Get a session with its conversations, its numbers and its newest messages", 200, "SessionFull" },
};

const struct feature session_stats_api_feature = { .name = "session_stats_api", .routes = routes, .n_routes = COUNT(routes) };
