/* SPDX-License-Identifier: MIT */
/* message_format: a provider's documents at the edge of the interface; inside, messages are always ours. */
#include "app/message_format.h"

#include "llm/convert.h"

static enum err fail_at(struct call *c, const struct convert_message *m, const char *member, const char *code, const char *detail)
{
	return task_fail_field(c->task, arena_printf(c->task->arena, "%s.%s", m->path, member), code, "%s", detail);
}

static enum err read_message(struct call *c, const struct convert_message *m, struct message_new *m_r)
{
	struct bytes tokens = m->extra.n ? jsonx_member(m->extra, "tokens_used") : m->extra;
	*m_r = (struct message_new){ .role = role_find(m->role), .content = m->content, .metadata = m->metadata, .extra = m->extra };
	m_r->tokens = jsonx_type(tokens) == JSONX_INT ? jsonx_int(tokens) : 0;
	if ((int64_t)m->content.n > c->app->conf->max_message)
		return fail_at(c, m, "content", "range",
			       arena_printf(c->task->arena, "must be at most %lld bytes", (long long)c->app->conf->max_message));
	if (c->who.who == WHO_SESSION && m_r->role != ROLE_USER)
		return fail_at(c, m, "role", "value", "a session token may only add messages of the user");
	return ERR_OK;
}

enum err message_format_read(struct call *c, const struct message_format_in *in, struct message_new **items_r, size_t *n_r)
{
	struct task *t = c->task;
	struct convert_message *m;
	if (!in->format.p)
		return task_fail_field(t, "format", "required", "says what format input is in");
	if (!in->input.p)
		return task_fail_field(t, "input", "required", "holds the messages in that format");
	enum err worst = convert_parse(t, convert_find(in->format), in->input, in->aside, &m, n_r);
	if (worst)
		return worst;
	if (*n_r == 0)
		return task_fail_field(t, "input", "range", "must hold at least one message");
	if ((int64_t)*n_r > c->app->conf->max_batch)
		return task_fail_field(t, "input", "range", "must hold at most %lld messages", (long long)c->app->conf->max_batch);
	*items_r = arena_array(t->arena, *n_r, sizeof **items_r);
	for (size_t i = 0; i < *n_r; i++) {
		enum err e = read_message(c, &m[i], &(*items_r)[i]);
		worst = e ? e : worst;
	}
	return worst;
}

/* The messages of a page as they were rendered. What is theirs besides the members below, the format knows to leave alone. */
static struct convert_message *read_page(struct task *t, const struct message_list *list, bool is_descending, size_t *n_r)
{
	struct jsonx_walk w;
	struct buf page;
	buf_init(&page, t->arena, list->json.n + 3);
	buf_add_char(&page, '[');
	buf_add_bytes(&page, list->json);
	buf_add_char(&page, ']');
	*n_r = 0;
	for (jsonx_walk_begin(&w, buf_bytes(&page)); jsonx_walk_next(&w);)
		*n_r += 1;
	struct convert_message *m = arena_array(t->arena, *n_r, sizeof *m);
	size_t i = 0;
	for (jsonx_walk_begin(&w, buf_bytes(&page)); jsonx_walk_next(&w); i++) {
		m[is_descending ? *n_r - 1 - i : i] = (struct convert_message){
			.role = jsonx_string(t->arena, jsonx_member(w.value, "role")),
			.content = jsonx_member(w.value, "content"),
			.extra = w.value,
			.metadata = jsonx_member(w.value, "metadata"),
		};
	}
	return m;
}

void message_format_write(struct task *t, struct buf *out, struct bytes format, const struct message_list *list, bool is_descending)
{
	struct bytes document, aside;
	size_t n;
	struct convert_message *m = read_page(t, list, is_descending, &n);
	convert_format(t, convert_find(format), m, n, &document, &aside);
	buf_member_string(out, "format", format);
	buf_member_json(out, "document", document);
	buf_member_json(out, "aside", aside);
}
