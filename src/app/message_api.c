/* SPDX-License-Identifier: MIT */
/* message_api: appending and listing messages over HTTP. */
#include "app/message_api.h"

#include <stddef.h>

#include "app/dispatch.h"
#include "app/message.h"

/* One message of a request; the same members stand alone or in a batch. */
struct message_in {
	struct bytes role, content, metadata, name, tool_calls, tool_call_id, audio_url, model, client_id;
	int64_t tokens_used, latency_ms;
	bool has_role, has_content, has_tokens, has_latency;
};

struct append_in {
	struct message_in one;
	struct field_list messages;
	bool has_messages;
};

#define MEMBER(name) offsetof(struct message_in, name)
#define MESSAGE_FIELDS(base, required)                                                                                                             \
	{ .name = "role", .type = FIELD_ENUM, .flags = (required), .offset = (base) + MEMBER(role), .given_offset = (base) + MEMBER(has_role),     \
	  .choices = ROLE_CHOICES, .help = "Who says it", .example = "\"user\"" },                                                                                        \
	{ .name = "content", .type = FIELD_TEXT_OR_ARRAY, .flags = (required), .offset = (base) + MEMBER(content),                                \
	  .given_offset = (base) + MEMBER(has_content), .help = "A string, or an array of parts, each an object with a type",                     \
	  .example = "\"Do you bake rye bread?\"" },                                                                                               \
	{ .name = "metadata", .type = FIELD_OBJECT, .max = 16384, .offset = (base) + MEMBER(metadata), .help = "Any object, kept as it came" },   \
	{ .name = "name", .type = FIELD_STRING, .min = 1, .max = 64, .offset = (base) + MEMBER(name), .help = "Name of the speaker or tool" },    \
	{ .name = "tool_calls", .type = FIELD_ARRAY, .min = 1, .max = 128, .offset = (base) + MEMBER(tool_calls), .help = "Tool calls of an assistant message" }, \
	{ .name = "tool_call_id", .type = FIELD_STRING, .min = 1, .max = 128, .offset = (base) + MEMBER(tool_call_id), .help = "The call a tool message answers" }, \
	{ .name = "audio_url", .type = FIELD_STRING, .min = 1, .max = 2048, .offset = (base) + MEMBER(audio_url), .help = "Where its audio is" }, \
	{ .name = "model", .type = FIELD_STRING, .min = 1, .max = 128, .offset = (base) + MEMBER(model), .help = "Model that wrote it" },         \
	{ .name = "client_id", .type = FIELD_STRING, .min = 1, .max = 128, .offset = (base) + MEMBER(client_id), .help = "The client's own id of it" }, \
	{ .name = "tokens_used", .type = FIELD_INT, .min = 0, .max = 1000000000, .offset = (base) + MEMBER(tokens_used),                           \
	  .given_offset = (base) + MEMBER(has_tokens), .help = "Tokens it cost" },                                                                \
	{ .name = "latency_ms", .type = FIELD_INT, .min = 0, .max = 1000000000, .offset = (base) + MEMBER(latency_ms),                             \
	  .given_offset = (base) + MEMBER(has_latency), .help = "How long it took to make, in milliseconds" }

static const struct field item_fields[] = { MESSAGE_FIELDS(0, FIELD_REQUIRED), { .name = NULL } };
static const struct field_table item_table = { item_fields, sizeof(struct message_in) };

static const struct field append_fields[] = {
	MESSAGE_FIELDS(offsetof(struct append_in, one), 0),
	{ .name = "messages", .type = FIELD_LIST, .min = 1, .max = 1000, .offset = offsetof(struct append_in, messages),
	  .given_offset = offsetof(struct append_in, has_messages), .sub = &item_table, .help = "Several messages, stored together or not at all" },
	{ .name = NULL },
};
static const struct field_table append_table = { append_fields, sizeof(struct append_in) };

struct list_in {
	int64_t limit, after, before, min_seq;
	struct bytes order;
	bool has_limit;
};

static const struct field list_fields[] = {
	{ .name = "limit", .type = FIELD_INT, .min = 1, .max = 100, .offset = offsetof(struct list_in, limit),
	  .given_offset = offsetof(struct list_in, has_limit), .help = "How many, 20 unless said" },
	{ .name = "after", .type = FIELD_INT, .min = 0, .max = INT64_MAX, .offset = offsetof(struct list_in, after), .help = "Only what has a greater seq" },
	{ .name = "before", .type = FIELD_INT, .min = 1, .max = INT64_MAX, .offset = offsetof(struct list_in, before), .help = "Only what has a smaller seq" },
	{ .name = "order", .type = FIELD_ENUM, .choices = "asc|desc", .offset = offsetof(struct list_in, order), .help = "asc: oldest first, as unless said" },
	{ .name = "min_seq", .type = FIELD_INT, .min = 0, .max = INT64_MAX, .offset = offsetof(struct list_in, min_seq), .help = "The newest seq the client knows of" },
	{ .name = NULL },
};
static const struct field_table list_table = { list_fields, sizeof(struct list_in) };

/* The members beside role, content and metadata, as one JSON object; empty when there are none. */
static struct bytes format_extra(struct arena *a, const struct message_in *m)
{
	struct buf b;
	buf_init(&b, a, 128);
	buf_add_char(&b, '{');
	if (m->name.p)
		buf_member_string(&b, "name", m->name);
	if (m->tool_calls.p)
		buf_member_json(&b, "tool_calls", m->tool_calls);
	if (m->tool_call_id.p)
		buf_member_string(&b, "tool_call_id", m->tool_call_id);
	if (m->audio_url.p)
		buf_member_string(&b, "audio_url", m->audio_url);
	if (m->model.p)
		buf_member_string(&b, "model", m->model);
	if (m->client_id.p)
		buf_member_string(&b, "client_id", m->client_id);
	if (m->has_tokens)
		buf_member_int(&b, "tokens_used", m->tokens_used);
	if (m->has_latency)
		buf_member_int(&b, "latency_ms", m->latency_ms);
	if (b.n == 1)
		return (struct bytes){ NULL, 0 };
	buf_add_char(&b, '}');
	return buf_bytes(&b);
}

/* Turns one checked message into what is stored; the problems that a table cannot see are added to the fault under `path`. */
static enum err read_message(struct call *c, const struct message_in *in, const char *path, struct message_new *m_r)
{
	const char *sep = *path ? "." : "";
	*m_r = (struct message_new){ .role = role_find(in->role), .content = in->content, .metadata = in->metadata };
	if ((int64_t)in->content.n > c->app->conf->max_message)
		return task_fail_field(c->task, arena_printf(c->task->arena, "%s%scontent", path, sep), "range", "must be at most %lld bytes",
				       (long long)c->app->conf->max_message);
	if (c->who.who == WHO_SESSION && m_r->role != ROLE_USER)
		return task_fail_field(c->task, arena_printf(c->task->arena, "%s%srole", path, sep), "value", "a session token may only add messages of the user");
	m_r->extra = format_extra(c->task->arena, in);
	m_r->tokens = in->tokens_used;
	return ERR_OK;
}

static enum err read_one(struct call *c, const struct append_in *in, struct message_new *m_r)
{
	enum err e = ERR_OK;
	if (!in->one.has_role)
		e = task_fail_field(c->task, "role", "required", "role is missing");
	if (!in->one.has_content)
		e = task_fail_field(c->task, "content", "required", "content is missing");
	return e ? e : read_message(c, &in->one, "", m_r);
}

/* Whether members of a single message were given: beside a batch they would be lost in silence. */
static bool has_any(const struct message_in *m)
{
	return m->has_role || m->has_content || m->metadata.p || m->name.p || m->tool_calls.p || m->tool_call_id.p || m->audio_url.p || m->model.p ||
	       m->client_id.p || m->has_tokens || m->has_latency;
}

static enum err read_batch(struct call *c, const struct append_in *in, struct message_new *items_r)
{
	if (has_any(&in->one))
		return task_fail_field(c->task, "messages", "conflict", "give either one message or messages, not both");
	if ((int64_t)in->messages.n > c->app->conf->max_batch)
		return task_fail_field(c->task, "messages", "range", "must have at most %lld elements", (long long)c->app->conf->max_batch);
	enum err worst = ERR_OK;
	const struct message_in *items = in->messages.items;
	for (size_t i = 0; i < in->messages.n; i++) {
		enum err e = read_message(c, &items[i], arena_printf(c->task->arena, "messages[%zu]", i), &items_r[i]);
		worst = e ? e : worst;
	}
	return worst;
}

static enum err api_message_create(struct call *c)
{
	const struct append_in *in = c->body;
	size_t n = in->has_messages ? in->messages.n : 1;
	struct message_new *items = arena_array(c->task->arena, n, sizeof *items);
	struct bytes *json = arena_array(c->task->arena, n, sizeof *json);
	enum err e = in->has_messages ? read_batch(c, in, items) : read_one(c, in, items);
	if (!e)
		e = message_append(c->task, c->app, c->head, items, n, in->has_messages, &c->idem, json);
	if (e)
		return e;
	message_format_answer(&c->rs->body, json, n, in->has_messages);
	dispatch_reply(c, 201);
	return ERR_OK;
}

static enum err api_message_list(struct call *c)
{
	const struct list_in *in = c->query;
	struct message_list list;
	struct message_page page = { .after = in->after, .before = in->before, .limit = in->has_limit ? in->limit : 20 };
	page.is_descending = in->order.n == 4;
	enum err e = head_catch_up(c->task, c->app, c->head, in->min_seq);
	if (!e)
		e = message_list(c->task, c->app, c->head, &page, &list);
	if (e)
		return e;
	struct buf *b = &c->rs->body;
	buf_add_str(b, "{\"data\":[");
	buf_add_bytes(b, list.json);
	buf_add_char(b, ']');
	buf_member_bool(b, "has_more", list.has_more);
	if (list.has_more)
		buf_addf(b, ",\"next\":\"%lld\"}", (long long)list.next);
	else
		buf_add_str(b, ",\"next\":null}");
	dispatch_reply(c, 200);
	return ERR_OK;
}

static const struct api_route routes[] = {
	{ HTTP_POST, "/v1/sessions/{s}/messages", SCOPE_SESSION, api_message_create, &append_table, NULL, 0,
	  "Append one message, or several as one atomic batch", 201, "MessageOrList" },
	{ HTTP_GET, "/v1/sessions/{s}/messages", SCOPE_SESSION, api_message_list, NULL, &list_table, 0, "List messages in either direction", 200, "MessageList" },
};

const struct feature message_api_feature = { .name = "message_api", .routes = routes, .n_routes = COUNT(routes) };
