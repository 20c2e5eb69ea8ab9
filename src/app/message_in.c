/* SPDX-License-Identifier: MIT */
/* message_in: from the fields of a request to what is stored. */
#include "app/message_in.h"

static const struct field item_fields[] = { MESSAGE_IN_FIELDS(0, FIELD_REQUIRED), { .name = NULL } };
const struct field_table message_in_table = { item_fields, sizeof(struct message_in) };

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

enum err message_in_read(struct call *c, const struct message_in *in, const char *path, struct message_new *m_r)
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

enum err message_in_read_list(struct call *c, const struct field_list *list, const char *path, struct message_new *items_r)
{
	if ((int64_t)list->n > c->app->conf->max_batch)
		return task_fail_field(c->task, path, "range", "must have at most %lld elements", (long long)c->app->conf->max_batch);
	enum err worst = ERR_OK;
	const struct message_in *items = list->items;
	for (size_t i = 0; i < list->n; i++) {
		enum err e = message_in_read(c, &items[i], arena_printf(c->task->arena, "%s[%zu]", path, i), &items_r[i]);
		worst = e ? e : worst;
	}
	return worst;
}
