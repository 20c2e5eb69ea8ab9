/* SPDX-License-Identifier: MIT */
/* test_llm_gemini: requests as they go out, and recorded answers parsed in one piece and byte by byte, which must be equal. */
#include "answer_fixture.h"

TestSuite(llm_gemini, .init = answer_setup, .fini = answer_teardown, .timeout = 20);

#define DRIVER llm_gemini

/* ---- the request ---- */

/* TRN-2 */
Test(llm_gemini, builds_a_streaming_request)
{
	struct llm_message m[] = {
		{ BYTES("user"), BYTES("\"h\\u00e9\""), { 0 } },
		{ BYTES("assistant"), BYTES("\"\""),
				BYTES("{\"tool_calls\":[{\"id\":\"t1\",\"name\":\"f\",\"arguments\":\"{\\\"a\\\":1}\"}],\"tokens_used\":3}") },
		{ BYTES("tool"), BYTES("\"done\""), BYTES("{\"tool_call_id\":\"t1\"}") },
	};
	struct llm_request rq = { .model = "gemini-2.5-flash", .instructions = BYTES("Be \"kind\"\n"), .messages = m, .n_messages = 3, .temperature = 1.5,
				  .max_output_tokens = 100 };

	cr_assert_eq(build(&DRIVER, "http://llm.example/v1beta/", "k-1", &rq), ERR_OK);
	cr_expect_str_eq(built.url, "http://llm.example/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse");
	expect_body("{\"systemInstruction\":{\"parts\":[{\"text\":\"Be \\\"kind\\\"\\n\"}]},\"contents\":[{\"role\":\"user\",\"parts\":[{\"text\":\"h\\u00e9\"}]},"
		    "{\"role\":\"model\",\"parts\":[{\"functionCall\":{\"id\":\"t1\",\"name\":\"f\",\"args\":{\"a\":1}}}]},"
		    "{\"role\":\"user\",\"parts\":[{\"functionResponse\":{\"id\":\"t1\",\"name\":\"f\",\"response\":{\"output\":\"done\"}}}]}],"
		    "\"generationConfig\":{\"temperature\":1.5,\"maxOutputTokens\":100}}");
	cr_expect_str_eq(built.headers[3], "x-goog-api-key: k-1");
	cr_expect_eq(built.headers[4], NULL);
	cr_expect_eq(build(&DRIVER, "http://llm.example/v1beta", "k\r\nX: y", &rq), ERR_PROVIDER_REFUSED);
}

Test(llm_gemini, leaves_out_what_was_not_asked_for)
{
	struct llm_message m = { BYTES("user"), BYTES("\"x\""), { 0 } };
	struct llm_request rq = { .model = "m", .messages = &m, .n_messages = 1, .temperature = -1 };

	cr_assert_eq(build(&DRIVER, "http://llm.example/v1beta", NULL, &rq), ERR_OK);
	expect_body("{\"contents\":[{\"role\":\"user\",\"parts\":[{\"text\":\"x\"}]}]}");
	cr_expect_eq(built.headers[3], NULL, "no key, no header");
}

/* TRN-3, TRN-6 */
Test(llm_gemini, says_rounds_of_tools)
{
	cr_assert_eq(build_rounds(&DRIVER), ERR_OK);
	expect_bytes(jsonx_member(built.body, "contents"),
		     "[{\"role\":\"user\",\"parts\":[{\"text\":\"What now?\"}]},"
		     "{\"role\":\"model\",\"parts\":[{\"text\":\"I look.\"},{\"functionCall\":{\"id\":\"toolu_1\",\"name\":\"get_weather\",\"args\":{\"city\":\"Bonn\"}}},{\"functionCall\":{\"id\":\"call|with/odd characters\",\"name\":\"get_time\",\"args\":{}}}]},"
		     "{\"role\":\"user\",\"parts\":[{\"functionResponse\":{\"id\":\"toolu_1\",\"name\":\"get_weather\",\"response\":{\"output\":\"sunny\"}}},{\"functionResponse\":{\"id\":\"call|with/odd characters\",\"name\":\"get_time\",\"response\":{\"error\":\"no clock\"}}}]},"
		     "{\"role\":\"model\",\"parts\":[{\"functionCall\":{\"id\":\"call_2\",\"name\":\"get_weather\",\"args\":{}}}]},"
		     "{\"role\":\"user\",\"parts\":[{\"functionResponse\":{\"id\":\"call_2\",\"name\":\"get_weather\",\"response\":{\"code\":1}}}]}]");
}

/* TRN-6 */
Test(llm_gemini, sends_tools_in_its_form)
{
	struct llm_request rq = tools_request();

	cr_assert_eq(build(&DRIVER, "http://llm.example/v1", "", &rq), ERR_OK);
	expect_bytes(jsonx_member(built.body, "tools"),
		     "[{\"functionDeclarations\":[{\"name\":\"get_weather\",\"description\":\"Tells the \\\"weather\\\"\","
		     "\"parametersJsonSchema\":{\"type\":\"object\",\"properties\":{\"city\":{\"type\":\"string\"}}}},"
		     "{\"name\":\"get_time\",\"parametersJsonSchema\":{\"type\":\"object\",\"properties\":{}}}]}]");
	rq.n_tools = 0;
	cr_assert_eq(build(&DRIVER, "http://llm.example/v1", "", &rq), ERR_OK);
	cr_expect_eq(jsonx_member(built.body, "tools").n, 0, "an empty list is refused");
}

Test(llm_gemini, a_model_is_one_piece_of_the_address)
{
	static const char *const wrong[] = { "../x", "a/../../b", "/v1/x", ".." };
	struct llm_request rq = { .model = "tunedModels/m-1", .temperature = -1 };

	cr_assert_eq(build(&DRIVER, "http://llm.example/v1beta", "", &rq), ERR_OK);
	cr_expect_str_eq(built.url, "http://llm.example/v1beta/tunedModels/m-1:streamGenerateContent?alt=sse");
	rq.model = "m?a=b#c d%:\xc3\xbc";
	cr_assert_eq(build(&DRIVER, "http://llm.example/v1beta", "", &rq), ERR_OK);
	cr_expect_str_eq(built.url, "http://llm.example/v1beta/models/m%3Fa%3Db%23c%20d%25%3A%C3%BC:streamGenerateContent?alt=sse");
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		rq.model = wrong[i];
		cr_expect_eq(build(&DRIVER, "http://llm.example/v1beta", "", &rq), ERR_PROVIDER_REFUSED, "%s", wrong[i]);
	}
}

/* ---- the answer ---- */

#define DATA(json) "data: " json "\n\n"
#define CHUNK(parts, more) DATA("{\"candidates\":[{\"content\":{\"role\":\"model\",\"parts\":[" parts "]}" more ",\"index\":0}]," \
	"\"usageMetadata\":{\"promptTokenCount\":8,\"candidatesTokenCount\":2,\"thoughtsTokenCount\":30,\"totalTokenCount\":40},\"modelVersion\":\"gemini-x\",\"responseId\":\"r1\"}")
#define TEXT(text) CHUNK("{\"text\":\"" text "\"}", "")
#define LAST(text, reason) CHUNK("{\"text\":\"" text "\"}", ",\"finishReason\":\"" reason "\"")

Test(llm_gemini, parses_a_stream_with_usage)
{
	struct outcome o = parse(TEXT("Gr\xc3\xbc\\u00df") TEXT("") TEXT("e \\ud83c\\udf0d")
				 DATA("{\"candidates\":[{\"content\":{\"role\":\"model\",\"parts\":[{\"text\":\"!\"}]},\"finishReason\":\"STOP\"}],"
				      "\"usageMetadata\":{\"promptTokenCount\":8,\"candidatesTokenCount\":5,\"thoughtsTokenCount\":30,\"cachedContentTokenCount\":3}}  "));

	cr_expect_eq(o.e, ERR_OK, "%s", o.internal);
	expect_text(o, "Gr\xc3\xbc\xc3\x9f" "e \xf0\x9f\x8c\x8d!");
	cr_expect_eq(o.n_texts, 3);
	cr_expect_eq(o.result.finish, LLM_STOP);
	cr_expect(o.result.usage.is_known);
	cr_expect_eq(o.result.usage.input_tokens, 8);
	cr_expect_eq(o.result.usage.output_tokens, 35, "thoughts are paid for too");
	cr_expect_eq(o.result.usage.cached_tokens, 3);
	expect_bytes(o.result.model, "gemini-x");
	cr_expect_eq(o.result.parts.n, 0, "plain text is a string");
	cr_expect(o.is_whole);
}

/* TRN-3 */
Test(llm_gemini, calls_get_ids_where_they_have_none)
{
	struct outcome o = parse(CHUNK("{\"functionCall\":{\"name\":\"get_weather\",\"args\":{\"city\":\"Bos\\u0074on\"}},\"thoughtSignature\":\"AbC+/=\"}", "")
				 CHUNK("{\"functionCall\":{\"id\":\"c2\",\"name\":\"now\"}}", ",\"finishReason\":\"STOP\""));
	struct bytes calls = o.result.tool_calls;
	struct jsonx_walk w;

	cr_expect_eq(o.e, ERR_OK, "%s", o.internal);
	cr_expect_eq(o.result.finish, LLM_TOOL, "calls mean tools, whatever the reason says");
	cr_expect_eq(o.result.parts.n, 0, "a signature of a call is in the call");
	jsonx_walk_begin(&w, calls);
	cr_assert(jsonx_walk_next(&w));
	cr_expect_eq(jsonx_member(w.value, "id").n, 25, "%.*s", (int)calls.n, calls.p);
	expect_bytes(jsonx_member(w.value, "arguments"), "\"{\\\"city\\\":\\\"Bos\\\\u0074on\\\"}\"");
	expect_bytes(jsonx_member(w.value, "gemini"), "{\"thoughtSignature\":\"AbC+/=\"}");
	cr_assert(jsonx_walk_next(&w));
	expect_bytes(w.value, "{\"id\":\"c2\",\"name\":\"now\",\"arguments\":\"{}\"}");
	build_answered(&DRIVER, &o);
	expect_bytes(jsonx_member(built.body, "contents"),
		     "[{\"role\":\"user\",\"parts\":[{\"text\":\"Hi\"}]},{\"role\":\"model\",\"parts\":["
		     "{\"functionCall\":{\"name\":\"get_weather\",\"args\":{\"city\":\"Bos\\u0074on\"}},\"thoughtSignature\":\"AbC+/=\"},"
		     "{\"functionCall\":{\"id\":\"c2\",\"name\":\"now\",\"args\":{}}}]}]");
	build_answered(&llm_anthropic, &o);
	cr_expect_null(memmem(built.body.p, built.body.n, "AbC", 3), "no other provider gets it: %.*s", (int)built.body.n, built.body.p);
}

Test(llm_gemini, equal_calls_of_an_answer_have_different_ids)
{
	struct outcome o = parse(CHUNK("{\"functionCall\":{\"name\":\"f\",\"args\":{}}},{\"functionCall\":{\"name\":\"f\",\"args\":{}}}", ",\"finishReason\":\"STOP\""));
	struct jsonx_walk w;
	struct bytes first;

	cr_assert_eq(o.e, ERR_OK);
	jsonx_walk_begin(&w, o.result.tool_calls);
	cr_assert(jsonx_walk_next(&w));
	first = jsonx_member(w.value, "id");
	cr_assert(jsonx_walk_next(&w));
	cr_expect_not(bytes_equal(first, jsonx_member(w.value, "id")));
}

/* MSG-6 */
Test(llm_gemini, thoughts_and_signatures_come_back_as_they_were)
{
	struct outcome o = parse(CHUNK("{\"text\":\"Thinking \",\"thought\":true}", "")
			CHUNK("{\"text\":\"hard\",\"thought\":true}", "") TEXT("One ") TEXT("two")
				 CHUNK("{\"text\":\"\",\"thoughtSignature\":\"Sig=\"}", ",\"finishReason\":\"STOP\""));

	cr_expect_eq(o.e, ERR_OK, "%s", o.internal);
	expect_text(o, "One two");
	expect_bytes(o.result.parts, "[{\"type\":\"thinking\",\"thinking\":\"Thinking hard\",\"gemini\":{}},{\"type\":\"text\",\"text\":\"One two\"},"
				     "{\"type\":\"text\",\"text\":\"\",\"gemini\":{\"thoughtSignature\":\"Sig=\"}}]");
	build_answered(&DRIVER, &o);
	expect_bytes(jsonx_member(built.body, "contents"),
		     "[{\"role\":\"user\",\"parts\":[{\"text\":\"Hi\"}]},{\"role\":\"model\",\"parts\":[{\"text\":\"Thinking hard\",\"thought\":true},"
		     "{\"text\":\"One two\"},{\"text\":\"\",\"thoughtSignature\":\"Sig=\"}]}]");
	build_answered(&llm_anthropic, &o);
	expect_bytes(jsonx_member(built.body, "messages"),
			"[{\"role\":\"user\",\"content\":\"Hi\"},{\"role\":\"assistant\",\"content\":[{\"type\":\"text\",\"text\":\"One two\"}]}]");
	o = parse(CHUNK("{\"text\":\"a\",\"thoughtSignature\":\"S\"},{\"text\":\"b\"},{\"text\":\"c\"}", ",\"finishReason\":\"STOP\""));
	expect_bytes(o.result.parts,
			"[{\"type\":\"text\",\"text\":\"a\",\"gemini\":{\"thoughtSignature\":\"S\"}},{\"type\":\"text\",\"text\":\"bc\"}]");
	expect_text(o, "abc");
	o = parse(TEXT("a") CHUNK("{\"thoughtSignature\":\"S\"}", ",\"finishReason\":\"STOP\""));
	expect_bytes(o.result.parts,
			"[{\"type\":\"text\",\"text\":\"a\"},{\"type\":\"text\",\"text\":\"\",\"gemini\":{\"thoughtSignature\":\"S\"}}]");
}

Test(llm_gemini, other_parts_are_kept)
{
	struct outcome o = parse(CHUNK("{\"executableCode\":{\"language\":\"PYTHON\",\"code\":\"1\"}},{\"inlineData\":{\"mimeType\":\"image/png\",\"data\":\"AA==\"}},{}", ",\"finishReason\":\"STOP\""));

	cr_expect_eq(o.e, ERR_OK, "%s", o.internal);
	expect_bytes(o.result.parts, "[{\"type\":\"gemini\",\"raw\":{\"executableCode\":{\"language\":\"PYTHON\",\"code\":\"1\"}}},"
				     "{\"type\":\"image\",\"media_type\":\"image/png\",\"data\":\"AA==\"}]");
	build_answered(&DRIVER, &o);
	cr_expect(memmem(built.body.p, built.body.n,
			"{\"executableCode\":{\"language\":\"PYTHON\",\"code\":\"1\"}},{\"inlineData\"", 60) != NULL, "%.*s", (int)built.body.n,
		  built.body.p);
}

Test(llm_gemini, each_reason_has_its_finish)
{
	static const struct {
		const char *reason;
		enum llm_finish finish;
	} rows[] = { { "STOP", LLM_STOP }, { "MAX_TOKENS", LLM_LENGTH }, { "SAFETY", LLM_FILTER }, { "RECITATION", LLM_FILTER },
			{ "BLOCKLIST", LLM_FILTER },
		     { "PROHIBITED_CONTENT", LLM_FILTER }, { "SPII", LLM_FILTER }, { "OTHER", LLM_STOP }, { "LANGUAGE", LLM_STOP },
		     		{ "NEW", LLM_STOP } };

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct outcome o = parse(arena_printf(arena, TEXT("a") "data: {\"candidates\":[{\"finishReason\":\"%s\"}]}\n\n", rows[i].reason));

		cr_expect_eq(o.e, ERR_OK, "%s", o.internal);
		cr_expect_eq(o.result.finish, rows[i].finish, "%s", rows[i].reason);
	}
	cr_expect_eq(parse(TEXT("a") DATA("{\"candidates\":[{\"finishReason\":\"FINISH_REASON_UNSPECIFIED\"}]}")).e, ERR_PROVIDER_CUT);
	cr_expect_eq(parse(TEXT("a") DATA("{\"candidates\":[{\"finishReason\":\"\"}]}")).e, ERR_PROVIDER_CUT);
}

Test(llm_gemini, a_blocked_prompt_is_refused)
{
	struct outcome o = parse(DATA("{\"promptFeedback\":{\"blockReason\":\"SAFETY\",\"safetyRatings\":[]},\"usageMetadata\":{\"promptTokenCount\":8},\"modelVersion\":\"g\"}"));

	cr_expect_eq(o.e, ERR_PROVIDER_REFUSED);
	cr_expect(strstr(o.internal, "SAFETY"), "%s", o.internal);
	cr_expect_eq(o.result.usage.input_tokens, 8);
	o = parse(DATA("{\"promptFeedback\":{\"safetyRatings\":[]}}") LAST("a", "STOP"));
	cr_expect_eq(o.e, ERR_OK, "ratings alone block nothing");
}

Test(llm_gemini, an_answer_of_nothing_says_why)
{
	struct outcome o = parse(DATA("{\"candidates\":[{\"finishReason\":\"MALFORMED_FUNCTION_CALL\",\"finishMessage\":\"x\"}]}"));

	cr_expect_eq(o.e, ERR_PROVIDER_FAILED);
	cr_expect(strstr(o.internal, "MALFORMED_FUNCTION_CALL"), "%s", o.internal);
	o = parse(DATA("{\"candidates\":[{\"finishReason\":\"SAFETY\"}]}"));
	cr_expect_eq(o.e, ERR_OK);
	cr_expect_eq(o.result.finish, LLM_FILTER);
	o = parse(DATA("{\"candidates\":[{\"finishReason\":\"STOP\"}]}"));
	cr_expect_eq(o.e, ERR_OK, "the model had nothing to say");
}

/* An error breaks into the stream as it would be the body of a failed call: no data: in front of it, in one line or many, in a list or not. */
Test(llm_gemini, a_bare_error_inside_the_stream_is_a_failure)
{
	static const char *const errors[] = {
		"{\"error\":{\"code\":503,\"message\":\"The model is overloaded\",\"status\":\"UNAVAILABLE\"}}",
		"{\n  \"error\": {\n    \"code\": 503,\n    \"message\": \"The model is overloaded\"\n  }\n}\n",
		"  [{\"error\":{\"code\":503,\"message\":\"The model is overloaded\"}}]\n\n",
		"data: {\"error\":{\"code\":503,\"message\":\"The model is overloaded\"}}\n\n",
		"data: [{\"error\":{\"code\":503,\"message\":\"The model is overloaded\"}}]\n\n",
		"event: error\ndata: {\"error\":{\"code\":503,\"message\":\"The model is overloaded\"}}\n\n",
	};

	for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
		struct outcome o = parse(arena_printf(arena, "%s%s", TEXT("a") TEXT("b"), errors[i]));

		cr_expect_eq(o.e, ERR_PROVIDER_FAILED, "%s: %s", err_code(o.e), errors[i]);
		cr_expect(o.internal && strstr(o.internal, "is an error: The model is overloaded"), "%s", o.internal);
		expect_text(o, "ab");
		o = parse(errors[i]);
		cr_expect_eq(o.e, ERR_PROVIDER_FAILED, "alone: %s: %s", err_code(o.e), errors[i]);
	}
}

Test(llm_gemini, an_error_behind_an_event_that_has_no_blank_line_is_seen)
{
	struct outcome o = parse("data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"a\"}]}}]}\n{\"error\":{\"message\":\"Oh\"}}");

	cr_expect_eq(o.e, ERR_PROVIDER_FAILED);
	expect_text(o, "a");
}

Test(llm_gemini, a_stream_that_ends_without_a_reason_is_cut_and_its_text_kept)
{
	struct outcome o = parse(TEXT("a") TEXT("b"));

	cr_expect_eq(o.e, ERR_PROVIDER_CUT);
	expect_text(o, "ab");
	cr_expect_not(o.is_whole);
	o = parse(TEXT("a") "data: {\"candidates\":[{\"con");
	cr_expect_eq(o.e, ERR_PROVIDER_CUT, "also inside a line");
	expect_text(o, "a");
	cr_expect_eq(parse("").e, ERR_PROVIDER_CUT);
	o = parse(LAST("a", "STOP") DATA("{\"usageMetadata\":{\"promptTokenCount\":9,\"candidatesTokenCount\":1}}") "data: {\"candi");
	cr_expect_eq(o.e, ERR_OK, "what the model said is all there");
	cr_expect_eq(o.result.usage.input_tokens, 9);
}

Test(llm_gemini, what_is_not_the_protocol_is_invalid)
{
	static const char *const bodies[] = {
		DATA("this is no JSON"),
		DATA("[1]"),
		DATA("{\"candidates\":[1]}"),
		CHUNK("7", ""),
		CHUNK("{\"functionCall\":{\"args\":{}}}", ""),
		CHUNK("{\"functionCall\":{\"name\":\"f\",\"args\":\"{}\"}}", ""),
		TEXT("\xc3"),
		TEXT("a") "{\"candidates\":[]}\n",
		TEXT("a") "{\"err",
		"<!doctype html><p>Sign in: here</p>\n",
		": only comments\n\n",
		"{\"candidates\":[]}",
		"[]",
		"[7]",
		"{\"candidates\":",
	};

	for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++) {
		struct outcome o = parse(bodies[i]);

		cr_expect_eq(o.e, ERR_PROVIDER_INVALID, "%s: %s", err_code(o.e), bodies[i]);
	}
}

Test(llm_gemini, takes_what_servers_add_or_leave_out)
{
	struct outcome o = parse("\n: ping\n\n" DATA("{}") DATA("{\"candidates\":null}") DATA("{\"candidates\":[{\"content\":{}}]}")
				 DATA("{\"candidates\":[{\"index\":1,\"content\":{\"parts\":[{\"text\":\"other\"}]}}]}")
				 CHUNK("{\"text\":\"a\",\"thought\":false}",
				 		",\"safetyRatings\":[{\"category\":\"x\",\"probability\":\"LOW\"}]") LAST("", "STOP"));

	cr_expect_eq(o.e, ERR_OK, "%s", o.internal);
	expect_text(o, "a");
	cr_expect_eq(o.result.parts.n, 0);
}

Test(llm_gemini, a_list_of_chunks_or_a_plain_answer_is_taken)
{
	struct outcome o = parse("[{\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"a\"}]}}]}\n,\n{\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"b\"}]},\"finishReason\":\"STOP\"}]}]\n");

	cr_expect_eq(o.e, ERR_OK, "%s", o.internal);
	expect_text(o, "ab");
	o = parse("\n{\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"a\"}]},\"finishReason\":\"STOP\"}],\"usageMetadata\":{\"promptTokenCount\":1}}");
	cr_expect_eq(o.e, ERR_OK, "%s", o.internal);
	expect_text(o, "a");
	cr_expect(o.result.usage.is_known);
}

Test(llm_gemini, an_error_status_is_told_apart)
{
	static const struct {
		int status;
		enum err e;
	} rows[] = { { 302, ERR_PROVIDER_INVALID }, { 408, ERR_PROVIDER_FAILED }, { 409, ERR_PROVIDER_FAILED }, { 425, ERR_PROVIDER_FAILED },
		     { 400, ERR_PROVIDER_REFUSED }, { 403, ERR_PROVIDER_REFUSED }, { 404, ERR_PROVIDER_REFUSED },
		     { 429, ERR_PROVIDER_RATE }, { 500, ERR_PROVIDER_FAILED }, { 503, ERR_PROVIDER_FAILED } };
	static const char *const bodies[] = { "{\"error\":{\"code\":400,\"message\":\"Because\",\"status\":\"X\"}}",
			"[{\"error\":{\"code\":400,\"message\":\"Because\",\"status\":\"X\"}}]" };

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		for (size_t k = 0; k < 2; k++) {
			struct outcome o = parse_status(&DRIVER, rows[i].status, bytes_of(bodies[k]));

			cr_expect_eq(o.e, rows[i].e, "%d: %s", rows[i].status, err_code(o.e));
			cr_expect_str_eq(o.internal, arena_printf(arena, "the provider answered %d: Because", rows[i].status));
			cr_expect_eq(o.retry_after_s, 5);
		}
	}
}

Test(llm_gemini, too_much_of_anything_is_refused)
{
	struct buf b;

	buf_init(&b, arena, 0);
	for (int i = 0; i < 129; i++)
		buf_add_str(&b, CHUNK("{\"functionCall\":{\"name\":\"f\"}}", ""));
	cr_expect_eq(parse_in(&DRIVER, 200, buf_bytes(&b), b.n).e, ERR_PROVIDER_INVALID);
	buf_clear(&b);
	for (int i = 0; i < 4097; i++)
		buf_add_str(&b, CHUNK("{\"text\":\"\",\"thoughtSignature\":\"S\"}", ""));
	cr_expect_eq(parse_in(&DRIVER, 200, buf_bytes(&b), b.n).e, ERR_PROVIDER_INVALID);
}

Test(llm_gemini, a_long_stream_costs_little_more_than_its_text)
{
	struct outcome o = { 0 };
	struct llm_events ev = { &o, NULL, NULL };
	struct llm_parser *ps = DRIVER.parse_begin(&task, &(struct llm_provider){ .base_url = "http://llm.example/v1" }, 200, 0, &ev, &o.result);
	size_t before = arena_used(arena);

	for (int i = 0; i < 10000; i++)
		cr_assert_eq(DRIVER.parse_take(ps, BYTES(TEXT("word \\\"x\\\""))), ERR_OK);
	cr_expect_eq(o.result.text.n, 80000);
	cr_expect(arena_used(arena) - before < 4 * 80000, "%zu bytes", arena_used(arena) - before);
}
