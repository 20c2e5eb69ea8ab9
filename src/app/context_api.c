/* SPDX-License-Identifier: MIT */
/* context_api: the context of a conversation over HTTP, in our own form or as a provider's document. */
#include "app/context_api.h"

#include <stddef.h>

#include "app/agent.h"
#include "app/context.h"
#include "app/conversation.h"
#include "app/dispatch.h"
#include "llm/convert.h"

struct get_in {
	int64_t tokens, min_seq;
	struct bytes format, conversation;
};

static const struct field get_fields[] = {
	{ .name = "tokens", .type = FIELD_INT, .min = 1, .max = 100000000, .offset = offsetof(struct get_in, tokens),
	  .help = "Most tokens of it all, as estimated; the server's settings bound it too" },
	{ .name = "format", .type = FIELD_ENUM, .choices = "parley|" CONVERT_CHOICES, .offset = offsetof(struct get_in, format),
	  .help = "parley, as unless said, or the document of a provider" },
	{ .name = "conversation", .type = FIELD_STRING, .min = 1, .max = 64, .offset = offsetof(struct get_in, conversation),
	  .help = "A conversation of the session, the active one unless said" },
	{ .name = "min_seq", .type = FIELD_INT, .min = 0, .max = INT64_MAX, .offset = offsetof(struct get_in, min_seq), .help = "The newest seq the client knows of" },
	{ .name = NULL },
};
static const struct field_table get_table = { get_fields, sizeof(struct get_in) };

/* The agent's instructions are the site's own: a visitor's token does not show them. A deleted agent has none. */
static enum err read_system(struct call *c, struct bytes *system_r)
{
	struct agent agent;
	*system_r = (struct bytes){ NULL, 0 };
	if (c->who.who != WHO_SECRET_KEY)
		return ERR_OK;
	enum err e = agent_get(c->task, c->app, &c->who.site, &c->head->agent, &agent);
	if (e == ERR_NOT_FOUND) {
		task_clear_fault(c->task);
		return ERR_OK;
	}
	if (!e && agent.instructions.n)
		*system_r = agent.instructions;
	return e;
}

static void add_facts(struct buf *b, const struct context *x)
{
	buf_member_int(b, "tokens", x->tokens);
	buf_member_int(b, "first_seq", x->first_seq);
	buf_member_int(b, "last_seq", x->last_seq);
	buf_member_bool(b, "truncated", x->is_truncated);
	buf_add_char(b, '}');
}

/* A message as clients know it, or the result that was put in for one that is missing. */
static void add_message(struct buf *b, const struct message_row *m)
{
	if (m->seq) {
		render_message(b, m);
		return;
	}
	buf_add_char(b, '{');
	buf_member_str(b, "role", role_name(m->role));
	buf_member_json(b, "content", m->content);
	if (m->extra.n > 2) {
		buf_add_char(b, ',');
		buf_add(b, m->extra.p + 1, m->extra.n - 2);
	}
	buf_member_bool(b, "repaired", true);
	buf_add_char(b, '}');
}

static void write_parley(struct call *c, const struct context *x)
{
	struct buf *b = &c->rs->body;
	buf_add_char(b, '{');
	buf_member_string(b, "system", x->system);
	buf_member_string(b, "summary", x->summary.upto_seq ? x->summary.text : (struct bytes){ NULL, 0 });
	buf_member_int(b, "summary_upto_seq", x->summary.upto_seq);
	buf_add_member(b, "messages");
	buf_add_char(b, '[');
	for (size_t i = 0; i < x->n; i++) {
		if (i > 0)
			buf_add_char(b, ',');
		add_message(b, &x->rows[i]);
	}
	buf_add_char(b, ']');
	add_facts(b, x);
}

/* System text and summary go in front as a message of the system; the format puts it where its provider wants it. */
static void write_document(struct call *c, enum convert_kind kind, const struct context *x)
{
	struct arena *a = c->task->arena;
	struct bytes instructions = context_instructions(a, x), document, aside;
	struct convert_message *m = arena_array(a, x->n + 1, sizeof *m);
	size_t n = 0;
	if (instructions.n) {
		struct buf text;
		buf_init(&text, a, instructions.n + 16);
		buf_add_json(&text, instructions);
		m[n++] = (struct convert_message){ .role = BYTES("system"), .content = buf_bytes(&text) };
	}
	for (size_t i = 0; i < x->n; i++)
		m[n++] = (struct convert_message){ .role = bytes_of(role_name(x->rows[i].role)), .content = x->rows[i].content, .extra = x->rows[i].extra,
						   .metadata = x->rows[i].metadata };
	convert_format(c->task, kind, m, n, &document, &aside);
	struct buf *b = &c->rs->body;
	buf_add_char(b, '{');
	buf_member_str(b, "format", convert_name(kind));
	buf_member_json(b, "document", document);
	buf_member_json(b, "aside", aside);
	add_facts(b, x);
}

static enum err api_context_get(struct call *c)
{
	const struct get_in *in = c->query;
	struct context_options options = { .tokens = in->tokens };
	struct context x;
	enum err e = head_catch_up(c->task, c->app, c->head, in->min_seq);
	if (!e)
		e = conversation_enter(c->task, c->app, c->head, in->conversation);
	if (!e)
		e = read_system(c, &options.system);
	if (!e)
		e = context_build(c->task, c->app, c->head, &options, &x);
	if (e)
		return e;
	enum convert_kind kind = convert_find(in->format);
	if (kind == CONVERT_NONE)
		write_parley(c, &x);
	else
		write_document(c, kind, &x);
	dispatch_reply(c, 200);
	return ERR_OK;
}

static const struct api_route routes[] = {
	{ HTTP_GET, "/v1/sessions/{s}/context", SCOPE_SESSION, api_context_get, NULL, &get_table, 0,
	  "Get what a model is given of a conversation: system text, summary and newest messages within a budget", 200, "Context" },
};

const struct feature context_api_feature = { .name = "context_api", .routes = routes, .n_routes = COUNT(routes) };
