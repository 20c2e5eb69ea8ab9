/* SPDX-License-Identifier: MIT */
/* llm_anthropic: Anthropic's Messages API: the request, from stored messages. */
#include <stdlib.h>

#include "llm/answer.h"
#include "llm/anthropic_answer.h"
#include "llm/request.h"

/* The API wants a limit; this one every model takes. */
#define MAX_TOKENS_DEFAULT 4096

/* Numbers of more digits than this are dates. */
#define VERSION_DIGITS 2

/* The number that begins here, if it is one of a version; where it ends. */
static bool read_number(const char **at, long *number_r)
{
	char *end;

	if (**at < '0' || **at > '9')
		return false;
	*number_r = strtol(*at, &end, 10);
	if (end - *at > VERSION_DIGITS)
		return false;
	*at = end;
	return true;
}

/*
 * Models after 4.6 refuse temperature, top_p and top_k. The version is the first number in the name behind "claude", with the one behind it:
 * claude-3-5-haiku-20241022, claude-opus-4-20250514 (4.0), claude-opus-4.7. A claude without one is the newest; what is no claude takes them.
 */
static bool takes_temperature(const char *model)
{
	const char *at = strstr(model, "claude");
	long major, minor = 0;

	if (!at)
		return true;
	at += strcspn(at, "0123456789");
	if (!read_number(&at, &major))
		return false;
	if (*at == '-' || *at == '.') {
		at++;
		if (!read_number(&at, &minor))
			minor = 0;
	}
	return major < 4 || (major == 4 && minor <= 6);
}

/* Whether the history has calls of tools or their results. */
static bool has_calls(const struct llm_request *rq)
{
	for (size_t i = 0; i < rq->n_messages; i++) {
		const struct llm_message *m = &rq->messages[i];

		if (bytes_equal(m->role, BYTES("tool")) || jsonx_type(member_of(m->extra, "tool_calls")) == JSONX_ARRAY)
			return true;
	}
	return false;
}

/* The service refuses calls in a history when no tool is defined: one that cannot be called stands for those that were. */
static void add_tools(struct buf *b, const struct llm_request *rq)
{
	static const struct llm_tool past = { BYTES("past_tool"), BYTES("Stands for tools that are not there any more"), { 0 } };
	struct llm_request none = { .tools = &past, .n_tools = 1 };
	bool is_past = rq->n_tools == 0 && has_calls(rq);

	if (rq->n_tools == 0 && !is_past)
		return;
	buf_add_member(b, "tools");
	buf_add_char(b, '[');
	request_add_tools(b, is_past ? &none : rq, "input_schema", "", "");
	buf_add_char(b, ']');
	if (is_past || rq->must_answer)
		buf_member_json(b, "tool_choice", BYTES("{\"type\":\"none\"}"));
}

static struct bytes make_body(struct task *t, const struct llm_request *rq)
{
	struct buf b;

	buf_init(&b, t->arena, 4096);
	buf_add_char(&b, '{');
	buf_member_str(&b, "model", rq->model);
	buf_member_int(&b, "max_tokens", rq->max_output_tokens > 0 ? rq->max_output_tokens : MAX_TOKENS_DEFAULT);
	request_add_prompt(&b, t, CONVERT_ANTHROPIC, rq);
	add_tools(&b, rq);
	buf_member_bool(&b, "stream", true);
	if (request_has_temperature(rq) && takes_temperature(rq->model)) /* its scale ends at 1, that of agents at 2 */
		request_add_real(&b, "temperature", rq->temperature > 1 ? 1 : rq->temperature);
	buf_add_char(&b, '}');
	return buf_bytes(&b);
}

static enum err build(struct task *t, const struct llm_provider *p, const struct llm_request *rq, struct fetch_request *fetch_r)
{
	return request_make(t, p, "/messages", "x-api-key: ", "anthropic-version: 2023-06-01", make_body(t, rq), fetch_r);
}

const struct llm_driver llm_anthropic = {
	.kind = "anthropic",
	.default_url = "https://api.anthropic.com/v1",
	.build = build,
	.parse_begin = anthropic_answer_begin,
	.parse_take = anthropic_answer_take,
	.parse_is_whole = anthropic_answer_is_whole,
	.parse_end = anthropic_answer_end,
};
