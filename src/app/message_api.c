/* SPDX-License-Identifier: MIT */
/* message_api: appending and listing messages over HTTP. */
#include "app/message_api.h"

#include <stddef.h>

#include "app/conversation.h"
#include "app/dispatch.h"
#include "app/message.h"
#include "app/message_format.h"
#include "app/message_in.h"
#include "llm/convert.h"

struct append_in {
	struct message_in one;
	struct field_list messages;
	bool has_messages;
	struct message_format_in formatted;
};

#define FORMATTED(name) (offsetof(struct append_in, formatted) + offsetof(struct message_format_in, name))

static const struct field append_fields[] = {
	MESSAGE_IN_FIELDS(offsetof(struct append_in, one), 0),
	{ .name = "messages", .type = FIELD_LIST, .min = 1, .max = 1000, .offset = offsetof(struct append_in, messages),
	  .given_offset = offsetof(struct append_in, has_messages), .sub = &message_in_table, .help = "Several messages, stored together or not at all" },
	{ .name = "format", .type = FIELD_ENUM, .choices = CONVERT_CHOICES, .offset = FORMATTED(format),
	  .help = "Whose format the messages in input are in" },
	{ .name = "input", .type = FIELD_OBJECT, .offset = FORMATTED(input),
	  .help = "The messages as that provider's request has them: openai {messages}, anthropic {system, messages}, gemini {systemInstruction, contents}",
	  .example = "{\"messages\":[{\"role\":\"user\",\"content\":\"Do you bake rye bread?\"}]}" },
	{ .name = "aside", .type = FIELD_JSON, .offset = FORMATTED(aside), .help = "What came beside the document when parley gave it" },
	{ .name = NULL },
};
static const struct field_table append_table = { append_fields, sizeof(struct append_in) };

struct place_query {
	struct bytes conversation;
};
#define PLACE_FIELD(target)                                                                                                               \
	{ .name = "conversation", .type = FIELD_STRING, .min = 1, .max = 64, .offset = offsetof(target, conversation),                   \
	  .help = "Another conversation of the session than the active one" }
static const struct field place_fields[] = { PLACE_FIELD(struct place_query), { .name = NULL } };
static const struct field_table place_table = { place_fields, sizeof(struct place_query) };

struct list_in {
	struct bytes conversation;
	int64_t limit, after, before, min_seq;
	struct bytes order, format;
	bool has_limit;
};

static const struct field list_fields[] = {
	PLACE_FIELD(struct list_in),
	{ .name = "limit", .type = FIELD_INT, .min = 1, .max = 100, .offset = offsetof(struct list_in, limit),
	  .given_offset = offsetof(struct list_in, has_limit), .help = "How many, 20 unless said" },
	{ .name = "after", .type = FIELD_INT, .min = 0, .max = INT64_MAX, .offset = offsetof(struct list_in, after), .help = "Only what has a greater seq" },
	{ .name = "before", .type = FIELD_INT, .min = 1, .max = INT64_MAX, .offset = offsetof(struct list_in, before), .help = "Only what has a smaller seq" },
	{ .name = "order", .type = FIELD_ENUM, .choices = "asc|desc", .offset = offsetof(struct list_in, order), .help = "asc: oldest first, as unless said" },
	{ .name = "min_seq", .type = FIELD_INT, .min = 0, .max = INT64_MAX, .offset = offsetof(struct list_in, min_seq), .help = "The newest seq the client knows of" },
	{ .name = "format", .type = FIELD_ENUM, .choices = CONVERT_CHOICES, .offset = offsetof(struct list_in, format),
	  .help = "Give the page as this provider's request has it, in the conversation's order, and beside it what that cannot say" },
	{ .name = NULL },
};
static const struct field_table list_table = { list_fields, sizeof(struct list_in) };

static enum err read_one(struct call *c, const struct append_in *in, struct message_new *m_r)
{
	enum err e = ERR_OK;
	if (!in->one.has_role)
		e = task_fail_field(c->task, "role", "required", "role is missing");
	if (!in->one.has_content)
		e = task_fail_field(c->task, "content", "required", "content is missing");
	return e ? e : message_in_read(c, &in->one, "", m_r);
}

/* Whether members of a single message were given: beside a batch they would be lost in silence. */
static bool has_any(const struct message_in *m)
{
	return m->has_role || m->has_content || m->metadata.p || m->name.p || m->tool_calls.p || m->tool_call_id.p || m->audio_url.p || m->model.p ||
	       m->client_id.p || m->has_tokens || m->has_latency;
}

static bool is_formatted(const struct append_in *in)
{
	return in->formatted.format.p || in->formatted.input.p || in->formatted.aside.p;
}

/* What is to be appended, from the one of the three ways to say it that was taken. */
static enum err read_items(struct call *c, const struct append_in *in, struct message_new **items_r, size_t *n_r)
{
	if (is_formatted(in)) {
		if (in->has_messages || has_any(&in->one))
			return task_fail_field(c->task, "input", "conflict", "give either messages of ours or format and input, not both");
		return message_format_read(c, &in->formatted, items_r, n_r);
	}
	*n_r = in->has_messages ? in->messages.n : 1;
	*items_r = arena_array(c->task->arena, *n_r, sizeof **items_r);
	if (!in->has_messages)
		return read_one(c, in, *items_r);
	if (has_any(&in->one))
		return task_fail_field(c->task, "messages", "conflict", "give either one message or messages, not both");
	return message_in_read_list(c, &in->messages, "messages", *items_r);
}

static enum err api_message_create(struct call *c)
{
	const struct append_in *in = c->body;
	const struct place_query *place = c->query;
	bool is_batch = in->has_messages || is_formatted(in);
	struct message_new *items;
	size_t n;
	enum err e = read_items(c, in, &items, &n);
	if (!e)
		e = conversation_enter(c->task, c->app, c->head, place->conversation);
	if (e)
		return e;
	struct bytes *json = arena_array(c->task->arena, n, sizeof *json);
	e = message_append(c->task, c->app, c->head, items, n, is_batch, &c->idem, json);
	if (e)
		return e;
	message_format_answer(&c->rs->body, json, n, is_batch);
	dispatch_reply(c, 201);
	return ERR_OK;
}

static enum err api_message_list(struct call *c)
{
	const struct list_in *in = c->query;
	struct message_list list;
	struct message_page page = { .after = in->after, .before = in->before, .limit = in->has_limit ? in->limit : 20 };
	page.is_descending = in->order.n == 4;
	enum err e = conversation_enter(c->task, c->app, c->head, in->conversation);
	if (!e)
		e = head_catch_up(c->task, c->app, c->head, in->min_seq);
	if (!e)
		e = message_list_active(c->task, c->app, c->head, &page, &list);
	if (e)
		return e;
	struct buf *b = &c->rs->body;
	buf_add_char(b, '{');
	if (in->format.p) {
		message_format_write(c->task, b, in->format, &list, page.is_descending);
	} else {
		buf_add_member(b, "data");
		buf_add_char(b, '[');
		buf_add_bytes(b, list.json);
		buf_add_char(b, ']');
	}
	buf_member_bool(b, "has_more", list.has_more);
	if (list.has_more)
		buf_addf(b, ",\"next\":\"%lld\"}", (long long)list.next);
	else
		buf_add_str(b, ",\"next\":null}");
	dispatch_reply(c, 200);
	return ERR_OK;
}

static const struct api_route routes[] = {
	{ HTTP_POST, "/v1/sessions/{s}/messages", SCOPE_SESSION, api_message_create, &append_table, &place_table, 0,
	  "Append one message, or several as one atomic batch, in parley's form or a provider's", 201, "MessageOrList" },
	{ HTTP_GET, "/v1/sessions/{s}/messages", SCOPE_SESSION, api_message_list, NULL, &list_table, 0, "List messages in either direction, or get them in a provider's form", 200, "MessageListOrDocument" },
};

const struct feature message_api_feature = { .name = "message_api", .routes = routes, .n_routes = COUNT(routes) };
