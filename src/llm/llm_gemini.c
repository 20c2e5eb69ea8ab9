/* SPDX-License-Identifier: MIT */
/* llm_gemini: Google's Gemini API: the request, from stored messages. */
#include "llm/gemini_answer.h"
#include "llm/request.h"

/* The model is part of the address: ".../models/gemini-2.5-flash:streamGenerateContent". A name with a slash says itself what it is of. */
static const char *make_path(struct arena *a, const char *model)
{
	static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~/";
	struct buf b;

	buf_init(&b, a, 128);
	buf_add_str(&b, strchr(model, '/') ? "/" : "/models/");
	for (; *model; model++) {
		if (strchr(plain, *model))
			buf_add_char(&b, *model);
		else
			buf_addf(&b, "%%%02X", (unsigned)(unsigned char)*model);
	}
	buf_add_str(&b, ":streamGenerateContent?alt=sse");
	return buf_bytes(&b).p;
}

static struct bytes make_body(struct task *t, const struct llm_request *rq)
{
	struct buf b;

	buf_init(&b, t->arena, 4096);
	buf_add_char(&b, '{');
	request_add_prompt(&b, t, CONVERT_GEMINI, rq);
	if (rq->n_tools > 0) {
		buf_add_member(&b, "tools");
		buf_add_str(&b, "[{\"functionDeclarations\":[");
		request_add_tools(&b, rq, "parametersJsonSchema", "", "");
		buf_add_str(&b, "]}]");
		if (rq->must_answer)
			buf_member_json(&b, "toolConfig", BYTES("{\"functionCallingConfig\":{\"mode\":\"NONE\"}}"));
	}
	if (request_has_temperature(rq) || rq->max_output_tokens > 0) {
		buf_add_member(&b, "generationConfig");
		buf_add_char(&b, '{');
		if (request_has_temperature(rq))
			request_add_real(&b, "temperature", rq->temperature);
		if (rq->max_output_tokens > 0)
			buf_member_int(&b, "maxOutputTokens", rq->max_output_tokens);
		buf_add_char(&b, '}');
	}
	buf_add_char(&b, '}');
	return buf_bytes(&b);
}

static enum err build(struct task *t, const struct llm_provider *p, const struct llm_request *rq, struct fetch_request *fetch_r)
{
	if (strstr(rq->model, "..") || rq->model[0] == '/') /* would name another address */
		return task_fail_internal(t, ERR_PROVIDER_REFUSED, "\"%s\" is no name of a model", rq->model);
	return request_make(t, p, make_path(t->arena, rq->model), "x-goog-api-key: ", NULL, make_body(t, rq), fetch_r);
}

const struct llm_driver llm_gemini = {
	.kind = "gemini",
	.default_url = "https://generativelanguage.googleapis.com/v1beta",
	.build = build,
	.parse_begin = gemini_answer_begin,
	.parse_take = gemini_answer_take,
	.parse_is_whole = gemini_answer_is_whole,
	.parse_end = gemini_answer_end,
};
