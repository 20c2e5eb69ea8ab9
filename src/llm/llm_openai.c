/* SPDX-License-Identifier: MIT */
/* llm_openai: chat completions as OpenAI and many compatible servers speak them: the request, from stored messages. */
#include <stdlib.h>
#include <strings.h>

#include "llm/answer.h"
#include "llm/convert_openai.h"
#include "llm/openai_answer.h"
#include "llm/request.h"

/* The vendor's own service took up new names that many compatible servers do not know. */
static bool is_vendor(const char *base_url)
{
	static const char vendor[] = "api.openai.com";
	const char *host = strstr(base_url, "://");

	if (!host)
		return false;
	host += 3;
	return strcspn(host, "/:?#") == sizeof(vendor) - 1 && strncasecmp(host, vendor, sizeof(vendor) - 1) == 0;
}

/* The vendor's reasoning models refuse a temperature: o1, o3-mini, gpt-5, gpt-6-pro ..., also where they were tuned ("ft:o4-mini:..."). */
static bool takes_temperature(const char *model)
{
	if (strncmp(model, "ft:", 3) == 0)
		model += 3;
	if (model[0] == 'o' && model[1] >= '1' && model[1] <= '9')
		return false;
	return strncmp(model, "gpt-", 4) != 0 || strtol(model + 4, NULL, 10) < 5;
}

/* The stored content in the provider's form: a string, or an array of the parts it knows, or "" when none is left. */
static struct bytes make_content(struct task *t, struct bytes role, struct bytes content)
{
	struct jsonx_walk w;
	struct buf parts;

	if (is_string(content))
		return content;
	if (jsonx_type(content) != JSONX_ARRAY)
		return BYTES("\"\"");
	buf_init(&parts, t->arena, content.n);
	jsonx_walk_begin(&w, content);
	while (jsonx_walk_next(&w))
		convert_openai_part(&parts, role, w.value);
	if (parts.n == 0)
		return BYTES("\"\"");
	return bytes_of(arena_printf(t->arena, "[%s]", buf_bytes(&parts).p)); /* JSON holds no NUL */
}

/* The stored members besides role and content that this provider needs. */
static void add_extra(struct buf *b, const struct llm_message *m)
{
	struct bytes calls = member_of(m->extra, "tool_calls"), id = member_of(m->extra, "tool_call_id"), name = member_of(m->extra, "name");
	struct jsonx_walk w;
	struct buf said;

	if (is_string(name))
		buf_member_json(b, "name", name);
	if (bytes_equal(m->role, BYTES("tool")) && is_string(id))
		buf_member_string(b, "tool_call_id", convert_openai_id(b->arena, jsonx_string(b->arena, id)));
	if (!bytes_equal(m->role, BYTES("assistant")) || jsonx_type(calls) != JSONX_ARRAY)
		return;
	buf_init(&said, b->arena, calls.n);
	jsonx_walk_begin(&w, calls);
	while (jsonx_walk_next(&w))
		convert_openai_call(&said, w.value);
	if (said.n == 0) /* an empty list is refused */
		return;
	buf_add_member(b, "tool_calls");
	buf_add_char(b, '[');
	buf_add_bytes(b, buf_bytes(&said));
	buf_add_char(b, ']');
}

static void add_message(struct task *t, struct buf *b, const struct llm_message *m, bool to_vendor)
{
	struct bytes role = m->role;

	if (!to_vendor && bytes_equal(role, BYTES("developer")))
		role = BYTES("system");
	add_comma(b);
	buf_add_char(b, '{');
	buf_member_string(b, "role", role);
	buf_member_json(b, "content", make_content(t, role, m->content));
	add_extra(b, m);
	buf_add_char(b, '}');
}

static struct bytes make_body(struct task *t, const struct llm_request *rq, bool to_vendor)
{
	struct buf b;

	buf_init(&b, t->arena, 4096);
	buf_add_char(&b, '{');
	buf_member_str(&b, "model", rq->model);
	buf_add_member(&b, "messages");
	buf_add_char(&b, '[');
	if (rq->instructions.n > 0) {
		buf_add_char(&b, '{');
		buf_member_str(&b, "role", "system");
		buf_member_string(&b, "content", rq->instructions);
		buf_add_char(&b, '}');
	}
	for (size_t i = 0; i < rq->n_messages; i++)
		add_message(t, &b, &rq->messages[i], to_vendor);
	buf_add_char(&b, ']');
	buf_member_bool(&b, "stream", true);
	buf_member_json(&b, "stream_options", to_vendor ? BYTES("{\"include_usage\":true,\"include_obfuscation\":false}") : BYTES("{\"include_usage\":true}"));
	if (rq->n_tools > 0) {
		buf_add_member(&b, "tools");
		buf_add_char(&b, '[');
		request_add_tools(&b, rq, "parameters", "{\"type\":\"function\",\"function\":", "}");
		buf_add_char(&b, ']');
		if (rq->must_answer)
			buf_member_str(&b, "tool_choice", "none");
	}
	if (rq->max_output_tokens > 0)
		buf_member_int(&b, to_vendor ? "max_completion_tokens" : "max_tokens", rq->max_output_tokens);
	if (request_has_temperature(rq) && (!to_vendor || takes_temperature(rq->model)))
		request_add_real(&b, "temperature", rq->temperature);
	buf_add_char(&b, '}');
	return buf_bytes(&b);
}

static enum err build(struct task *t, const struct llm_provider *p, const struct llm_request *rq, struct fetch_request *fetch_r)
{
	return request_make(t, p, "/chat/completions", "Authorization: Bearer ", NULL, make_body(t, rq, is_vendor(p->base_url)), fetch_r);
}

const struct llm_driver llm_openai = {
	.kind = "openai",
	.default_url = "https://api.openai.com/v1",
	.build = build,
	.parse_begin = openai_answer_begin,
	.parse_take = openai_answer_take,
	.parse_is_whole = openai_answer_is_whole,
	.parse_end = openai_answer_end,
};
