/* SPDX-License-Identifier: MIT */
/* llm_openai: chat completions as OpenAI and many compatible servers speak them: the request, from stored messages. */
#include <stdlib.h>
#include <strings.h>

#include "llm/answer.h"
#include "llm/convert_openai.h"
#include "llm/openai_answer.h"
#include "llm/request.h"

/* The vendor's own service took up new names that many compatible servers do not know. */
static bool is_vendor(struct bytes host)
{
	static const char vendor[] = "api.openai.com";
	const char *port = host.n > 0 ? memchr(host.p, ':', host.n) : NULL;
	size_t n = port ? (size_t)(port - host.p) : host.n;

	return n == sizeof(vendor) - 1 && strncasecmp(host.p, vendor, n) == 0;
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

/* Adds the text of a part in the provider's form, if it is mere text. */
static bool add_plain(struct buf *plain, struct bytes said)
{
	struct bytes text = jsonx_member(said, "text");
	struct jsonx_walk w;
	size_t n = 0;

	for (jsonx_walk_begin(&w, said); jsonx_walk_next(&w);)
		n++;
	if (n != 2 || !is_string(text))
		return false;
	buf_add_bytes(plain, jsonx_string(plain->arena, text));
	return true;
}

/*
 * The stored content in the provider's form: a string, or an array of the parts it knows, or "" when none is left. Many servers take an array of the
 * user alone, so that mere text of others is a string.
 */
static struct bytes make_content(struct task *t, struct bytes role, struct bytes content)
{
	bool is_plain = bytes_equal(role, BYTES("assistant")) || bytes_equal(role, BYTES("tool"));
	struct buf parts, plain, quoted;
	struct jsonx_walk w;

	if (is_string(content))
		return content;
	if (jsonx_type(content) != JSONX_ARRAY)
		return BYTES("\"\"");
	buf_init(&parts, t->arena, content.n);
	buf_init(&plain, t->arena, 0);
	for (jsonx_walk_begin(&w, content); jsonx_walk_next(&w);) {
		size_t at = parts.n;

		convert_openai_part(&parts, role, w.value);
		at += at > 0 ? 1 : 0;
		if (is_plain && parts.n > at)
			is_plain = add_plain(&plain, (struct bytes){ parts.p + at, parts.n - at });
	}
	if (parts.n == 0)
		return BYTES("\"\"");
	if (!is_plain)
		return bytes_of(arena_printf(t->arena, "[%s]", buf_bytes(&parts).p)); /* JSON holds no NUL */
	buf_init(&quoted, t->arena, plain.n + 16);
	buf_add_json(&quoted, buf_bytes(&plain));
	return buf_bytes(&quoted);
}

/* The thought of an answer that says what its maker wants back (openai_answer.c); no bytes without one. */
static struct bytes find_besides(struct arena *a, const struct llm_message *m)
{
	struct jsonx_walk w;

	if (!bytes_equal(m->role, BYTES("assistant")) || jsonx_type(m->content) != JSONX_ARRAY)
		return (struct bytes){ 0 };
	for (jsonx_walk_begin(&w, m->content); jsonx_walk_next(&w);) {
		if (string_is(a, member_of(w.value, "type"), BYTES("thinking")) && is_string(member_of(member_of(w.value, "openai"), "maker")))
			return w.value;
	}
	return (struct bytes){ 0 };
}

/* Gives a server back what it gave besides an answer: thoughts while their tools are called, the rest always. */
static void add_besides(struct buf *b, struct bytes part, bool is_current)
{
	static const char *const always[] = { "encrypted_content", "phase" }, *const texts[] = { "reasoning_content", "reasoning" };
	struct bytes own = member_of(part, "openai"), text = member_of(own, "text"), details = member_of(own, "reasoning_details");
	struct bytes thought = member_of(part, "thinking");

	for (size_t i = 0; i < 2; i++) {
		if (is_current && string_is(b->arena, text, bytes_of(texts[i])) && is_string(thought))
			buf_member_json(b, texts[i], thought);
	}
	if (is_current && jsonx_type(details) == JSONX_ARRAY)
		buf_member_json(b, "reasoning_details", details);
	for (size_t i = 0; i < 2; i++) {
		if (member_of(own, always[i]).n > 0)
			buf_member_json(b, always[i], member_of(own, always[i]));
	}
}

/*
 * A stored call as this server takes it: without what another server wants back of it, and with an object for arguments that are none, which the vendor
 * alone reads.
 */
static struct bytes mend_call(struct arena *a, struct bytes call, bool is_own, bool to_vendor)
{
	struct bytes flat = jsonx_type(member_of(call, "function")) == JSONX_OBJECT ? member_of(call, "function") : call;
	struct bytes rest = member_of(call, "openai"), arguments = member_of(flat, "arguments");
	struct jsonx_flaw flaw;
	struct buf b;
	bool is_object;

	if (!is_string(member_of(call, "id")) || !is_string(member_of(flat, "name")) || !is_string(arguments))
		return call;
	is_object = to_vendor || (jsonx_check(a, jsonx_string(a, arguments), &flaw) && jsonx_type(jsonx_string(a, arguments)) == JSONX_OBJECT);
	if (is_object && (is_own || rest.n == 0))
		return call;
	buf_init(&b, a, call.n);
	buf_add_char(&b, '{');
	buf_member_json(&b, "id", member_of(call, "id"));
	buf_member_json(&b, "name", member_of(flat, "name"));
	buf_member_json(&b, "arguments", is_object ? arguments : BYTES("\"{}\""));
	if (is_own && rest.n > 0)
		buf_member_json(&b, "openai", rest);
	buf_add_char(&b, '}');
	return buf_bytes(&b);
}

/* The stored members besides role and content that this provider needs. */
static void add_extra(struct buf *b, const struct llm_message *m, bool is_own, bool to_vendor)
{
	struct bytes calls = member_of(m->extra, "tool_calls"), id = member_of(m->extra, "tool_call_id"), name = member_of(m->extra, "name");
	struct jsonx_walk w;
	struct buf said;

	if (convert_openai_is_name(b->arena, name))
		buf_member_json(b, "name", name);
	if (bytes_equal(m->role, BYTES("tool")) && is_string(id))
		buf_member_string(b, "tool_call_id", convert_openai_id(b->arena, jsonx_string(b->arena, id)));
	if (!bytes_equal(m->role, BYTES("assistant")) || jsonx_type(calls) != JSONX_ARRAY)
		return;
	buf_init(&said, b->arena, calls.n);
	jsonx_walk_begin(&w, calls);
	while (jsonx_walk_next(&w))
		convert_openai_call(&said, mend_call(b->arena, w.value, is_own, to_vendor));
	if (said.n == 0) /* an empty list is refused */
		return;
	buf_add_member(b, "tool_calls");
	buf_add_char(b, '[');
	buf_add_bytes(b, buf_bytes(&said));
	buf_add_char(b, ']');
}

static void add_message(struct task *t, struct buf *b, const struct llm_message *m, struct bytes host, bool is_current)
{
	struct bytes role = m->role, besides = find_besides(t->arena, m);
	bool to_vendor = is_vendor(host), is_own = besides.n == 0 || string_is(t->arena, member_of(member_of(besides, "openai"), "maker"), host);

	if (!to_vendor && bytes_equal(role, BYTES("developer")))
		role = BYTES("system");
	add_comma(b);
	buf_add_char(b, '{');
	buf_member_string(b, "role", role);
	buf_member_json(b, "content", make_content(t, role, m->content));
	add_extra(b, m, is_own, to_vendor);
	if (is_own)
		add_besides(b, besides, is_current);
	buf_add_char(b, '}');
}

/* How many messages there are up to the last of a user: what stands behind is the turn under way. */
static size_t count_past(const struct llm_request *rq)
{
	size_t n = rq->n_messages;

	while (n > 0 && !bytes_equal(rq->messages[n - 1].role, BYTES("user")))
		n--;
	return n;
}

static struct bytes make_body(struct task *t, const struct llm_request *rq, struct bytes host)
{
	bool to_vendor = is_vendor(host);
	size_t n_past = count_past(rq);
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
		add_message(t, &b, &rq->messages[i], host, i >= n_past);
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
	return request_make(t, p, "/chat/completions", "Authorization: Bearer ", NULL, make_body(t, rq, request_host(p->base_url)), fetch_r);
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
