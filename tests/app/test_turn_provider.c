/* SPDX-License-Identifier: MIT */
/* test_turn_provider: turns over each provider's form of API, against a server in a thread; one conversation goes on over all of them. */
#include "provider_help.h"

static void allow_local_once(struct conf *c)
{
	allow_local(c);
	c->provider_retries = 0;
	c->breaker_failures = 0;
}

static void use_provider(struct api *h, const char *provider)
{
	struct answer a = api_patch(h, h->sk, api_text(h, "{\"provider\":\"%s\",\"model\":\"m-1\"}", provider), "/v1/agents/poly");
	must_be(a, 200);
}

#define ANTHROPIC(deltas) \
	"event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"type\":\"message\",\"model\":\"claude-x\",\"content\":[]," \
	"\"usage\":{\"input_tokens\":5,\"cache_read_input_tokens\":4,\"output_tokens\":1}}}   \n\n" deltas \
	"event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":6}}\n\n" \
	"event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"
#define BLOCK(i, start, delta) "data: {\"type\":\"content_block_start\",\"index\":" #i ",\"content_block\":" start "}\n\n" delta \
	"data: {\"type\":\"content_block_stop\",\"index\":" #i "}\n\n"
#define DELTA(i, delta) "data: {\"type\":\"content_block_delta\",\"index\":" #i ",\"delta\":" delta "}\n\n"
#define THOUGHTFUL ANTHROPIC( \
	BLOCK(0, "{\"type\":\"thinking\",\"thinking\":\"\",\"signature\":\"\"}", DELTA(0, "{\"type\":\"thinking_delta\",\"thinking\":\"Secretly\"}") \
	      DELTA(0, "{\"type\":\"signature_delta\",\"signature\":\"SigA==\"}")) \
	BLOCK(1, "{\"type\":\"text\",\"text\":\"\"}", DELTA(1, "{\"type\":\"text_delta\",\"text\":\"Good \"}") \
	      DELTA(1, "{\"type\":\"text_delta\",\"text\":\"day\"}")))
#define SIGNED "data: {\"candidates\":[{\"content\":{\"role\":\"model\",\"parts\":[{\"text\":\"Fine \"}]}}],\"modelVersion\":\"gemini-x\"}\n\n" \
	"data: {\"candidates\":[{\"content\":{\"role\":\"model\",\"parts\":[{\"text\":\"thanks\"},{\"text\":\"\",\"thoughtSignature\":\"SigG==\"}]},\"finishReason\":\"STOP\"}]," \
	"\"usageMetadata\":{\"promptTokenCount\":20,\"candidatesTokenCount\":2,\"thoughtsTokenCount\":3}}\n\n"
#define PLAIN "data: {\"model\":\"gpt-x\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Bye\"},\"finish_reason\":null}]}\n\n" \
	"data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n"

/* TRN-2, MSG-6: what a provider signed goes back to it and to no other. */
Test(turn_provider, a_conversation_goes_on_over_all_forms)
{
	struct api *h = api_open_with(0, allow_local);
	static struct fake_provider p;
	start_provider(&p);
	const char *anthropic = add_provider(h, &p, "anthropic"), *gemini = add_provider(h, &p, "gemini"), *openai = add_provider(h, &p, "openai");
	struct answer a = api_post(h, h->sk, api_text(h,
			"{\"name\":\"poly\",\"provider\":\"%s\",\"model\":\"m-1\",\"instructions\":\"Be brief\"}", anthropic), "/v1/agents");
	must_be(a, 201);
	const char *id = new_session(h, h->sk, "{\"agent\":\"poly\"}", NULL);

	p.stream = THOUGHTFUL;
	a = api_post(h, h->sk, "{\"message\":\"Hello\"}", "/v1/sessions/%s/turns", id);
	must_be(a, 200);
	assert_str(a, "result", "Good day");
	assert_str(a, "finish", "stop");
	assert_int(a, "usage.input_tokens", 9);
	assert_int(a, "usage.output_tokens", 6);
	assert_str(a, "message.model", "claude-x");
	cr_assert_eq(count_at(&a, "message.content"), 2);
	assert_str(a, "message.content[1].text", "Good day");
	cr_assert(was_asked(&p, "POST /v1/messages ") && was_asked(&p, "anthropic-version: 2023-06-01"), "%s", p.asked);
	cr_assert(was_asked(&p,
			"\"max_tokens\":4096,\"system\":\"Be brief\",\"messages\":[{\"role\":\"user\",\"content\":\"Hello\"}]"), "%s", p.asked);
	struct answer turn = api_get(h, h->sk, "/v1/sessions/%s/turns/%s", id, str_at(&a, "turn_id"));
	assert_str(turn, "result", "Good day");

	use_provider(h, gemini);
	p.stream = SIGNED;
	a = api_post(h, h->sk, "{\"message\":\"How are you?\"}", "/v1/sessions/%s/turns", id);
	must_be(a, 200);
	assert_str(a, "result", "Fine thanks");
	assert_int(a, "usage.input_tokens", 20);
	assert_int(a, "usage.output_tokens", 5);
	assert_str(a, "message.model", "gemini-x");
	cr_assert(was_asked(&p, "POST /v1/models/m-1:streamGenerateContent?alt=sse "), "%s", p.asked);
	cr_assert(was_asked(&p,
			"\"contents\":[{\"role\":\"user\",\"parts\":[{\"text\":\"Hello\"}]},{\"role\":\"model\",\"parts\":[{\"text\":\"Good day\"}]},"), "%s", p.asked);
	cr_assert(!was_asked(&p, "SigA") && !was_asked(&p, "Secretly"), "%s", p.asked);

	use_provider(h, openai);
	p.stream = PLAIN;
	a = api_post(h, h->sk, "{\"message\":\"Go on\"}", "/v1/sessions/%s/turns", id);
	must_be(a, 200);
	assert_str(a, "result", "Bye");
	assert_str(a, "message.content", "Bye");
	cr_assert(was_asked(&p, "POST /v1/chat/completions ") && was_asked(&p, "Good day") && was_asked(&p, "Fine thanks"), "%s", p.asked);
	cr_assert(!was_asked(&p, "SigA") && !was_asked(&p, "Secretly") && !was_asked(&p, "SigG"), "%s", p.asked);

	use_provider(h, anthropic);
	p.stream = ANTHROPIC(BLOCK(0, "{\"type\":\"text\",\"text\":\"\"}", DELTA(0, "{\"type\":\"text_delta\",\"text\":\"Again\"}")));
	a = api_post(h, h->sk, "{\"message\":\"Once more\"}", "/v1/sessions/%s/turns", id);
	must_be(a, 200);
	assert_str(a, "message.content", "Again");
	cr_assert(was_asked(&p,
			"{\"type\":\"thinking\",\"thinking\":\"Secretly\",\"signature\":\"SigA==\"},{\"type\":\"text\",\"text\":\"Good day\"}"), "%s", p.asked);
	cr_assert(!was_asked(&p, "SigG"), "%s", p.asked);

	use_provider(h, gemini);
	p.stream = SIGNED;
	a = api_post(h, h->sk, "{\"message\":\"And more\"}", "/v1/sessions/%s/turns", id);
	must_be(a, 200);
	cr_assert(was_asked(&p, "{\"text\":\"Fine thanks\"},{\"text\":\"\",\"thoughtSignature\":\"SigG==\"}"), "%s", p.asked);
	stop_provider(&p);
	api_close(&h);
}

/* TRN-5: an answer that breaks into an error fails the turn and keeps its text. */
Test(turn_provider, an_error_in_the_stream_fails_the_turn)
{
	static const struct {
		const char *kind, *stream, *code, *text;
	} rows[] = {
		{ "anthropic", "data: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"Half\"}}\n\n"
			       "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"}}\n\n", "provider_failed", "Half" },
		{ "gemini", "data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"Half\"}]}}]}\n\n{\"error\":{\"code\":503,\"message\":\"Overloaded\"}}", "provider_failed", "Half" },
		{ "gemini", "data: {\"promptFeedback\":{\"blockReason\":\"SAFETY\"}}\n\n", "provider_refused", "" },
		{ "anthropic", "data: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"Half\"}}\n\n", "provider_cut", "Half" },
	};
	struct api *h = api_open_with(0, allow_local_once);
	static struct fake_provider p;
	start_provider(&p);
	struct answer a = api_post(h, h->sk, "{\"name\":\"poly\"}", "/v1/agents");
	must_be(a, 201);
	const char *id = new_session(h, h->sk, "{\"agent\":\"poly\"}", NULL);
	for (size_t i = 0; i < COUNT(rows); i++) {
		use_provider(h, add_provider(h, &p, rows[i].kind));
		p.stream = rows[i].stream;
		a = api_post(h, h->sk, "{\"message\":\"Hello\"}", "/v1/sessions/%s/turns", id);
		must_be(a, 502);
		assert_str(a, "code", rows[i].code);
		struct answer turn = api_get(h, h->sk, "/v1/sessions/%s/turns/%s", id, str_at(&a, "turn_id"));
		assert_str(turn, "status", "failed");
		assert_str(turn, "result", rows[i].text);
	}
	stop_provider(&p);
	api_close(&h);
}

#define WRITTEN(text) "data: {\"model\":\"gpt-x\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"" text "\"},\"finish_reason\":null}]}\n\n"
#define WRITTEN_END "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n"

/* TRN-6: reason, act, observe, in JSON; nobody but the model sees it. */
Test(turn_provider, a_model_that_only_writes_text_uses_tools)
{
	struct api *h = api_open_with(0, allow_local);
	static struct fake_provider p;
	start_provider(&p);
	struct answer a = api_post(h, h->sk, api_text(h, "{\"name\":\"poly\",\"provider\":\"%s\",\"model\":\"m-1\",\"tool_mode\":\"text\",\"tools\":[\"current_time\"]}",
						       add_provider(h, &p, "openai")), "/v1/agents");
	must_be(a, 201);
	const char *id = new_session(h, h->sk, "{\"agent\":\"poly\"}", NULL);
	p.stream = WRITTEN("```json\\n{\\\"thought\\\":\\\"I need the time.\\\",") WRITTEN("\\\"tool\\\":\\\"current_time\\\",\\\"arguments\\\":{}}\\n```") WRITTEN_END;
	p.next = WRITTEN("{\\\"thought\\\":\\\"Now I know.\\\",\\\"answer\\\":\\\"It is ") WRITTEN("late\\\\u0021\\\"}") WRITTEN_END;
	a = api_post(h, h->sk, "{\"message\":\"What time is it?\"}", "/v1/sessions/%s/turns", id);
	must_be(a, 200);
	assert_str(a, "result", "It is late!");
	assert_str(a, "finish", "stop");
	assert_str(a, "message.content", "It is late!");
	cr_assert_eq(count_at(&a, "steps"), 1);
	assert_str(a, "steps[0].tool_calls[0].name", "current_time");
	cr_assert(was_asked(&p, "You can use tools") && was_asked(&p, "Observation:\\n{\\\"tool\\\":\\\"current_time\\\",\\\"result\\\":"), "%s", p.asked);
	cr_assert(was_asked(&p, "{\\\"thought\\\":\\\"I need the time.\\\",\\\"tool\\\":\\\"current_time\\\",\\\"arguments\\\":{}}"), "%s", p.asked);
	cr_assert(!was_asked(&p, "\"tools\":") && !was_asked(&p, "tool_call"), "%s", p.asked);

	p.stream = WRITTEN("It is {later}.") WRITTEN_END;
	a = api_post(h, h->sk, "{\"message\":\"And now?\"}", "/v1/sessions/%s/turns", id);
	must_be(a, 200);
	assert_str(a, "result", "It is {later}.");
	stop_provider(&p);
	api_close(&h);
}
