/* SPDX-License-Identifier: MIT */
/* test_llm_anthropic: requests as they go out, and recorded answers parsed in one piece and byte by byte, which must be equal. */
#include "answer_fixture.h"

TestSuite(llm_anthropic, .init = answer_setup, .fini = answer_teardown, .timeout = 20);

#define DRIVER llm_anthropic

/* ---- the request ---- */

/* TRN-2 */
Test(llm_anthropic, builds_a_streaming_request)
{
	struct llm_message m[] = {
		{ BYTES("user"), BYTES("\"h\\u00e9\""), { 0 } },
		{ BYTES("assistant"), BYTES("\"\""),
				BYTES("{\"tool_calls\":[{\"id\":\"t1\",\"name\":\"f\",\"arguments\":\"{\\\"a\\\":1}\"}],\"tokens_used\":3}") },
		{ BYTES("tool"), BYTES("\"done\""), BYTES("{\"tool_call_id\":\"t1\"}") },
		{ BYTES("system"), BYTES("\"Also this\""), { 0 } },
	};
	struct llm_request rq = { .model = "claude-opus-4-5", .instructions = BYTES("Be \"kind\"\n"), .messages = m, .n_messages = 4, .temperature = 0.7,
				  .max_output_tokens = 100 };

	cr_assert_eq(build(&DRIVER, "http://llm.example/v1/", "k-1", &rq), ERR_OK);
	cr_expect_str_eq(built.url, "http://llm.example/v1/messages");
	expect_body("{\"model\":\"claude-opus-4-5\",\"max_tokens\":100,\"system\":[{\"type\":\"text\",\"text\":\"Be \\\"kind\\\"\\n\"},"
		    "{\"type\":\"text\",\"text\":\"Also this\"}],\"messages\":[{\"role\":\"user\",\"content\":\"h\\u00e9\"},"
		    "{\"role\":\"assistant\",\"content\":[{\"type\":\"tool_use\",\"id\":\"t1\",\"name\":\"f\",\"input\":{\"a\":1}}]},"
		    "{\"role\":\"user\",\"content\":[{\"type\":\"tool_result\",\"tool_use_id\":\"t1\",\"content\":\"done\"}]}],"
		    "\"tools\":[{\"name\":\"past_tool\",\"description\":\"Stands for tools that are not there any more\",\"input_schema\":{\"type\":\"object\",\"properties\":{}}}],"
		    "\"tool_choice\":{\"type\":\"none\"},\"stream\":true,\"temperature\":0.7}");
	cr_expect_str_eq(built.headers[3], "anthropic-version: 2023-06-01");
	cr_expect_str_eq(built.headers[4], "x-api-key: k-1");
	cr_expect_eq(built.headers[5], NULL);
	cr_expect_eq(build(&DRIVER, "http://llm.example/v1", "k\r\nX: y", &rq), ERR_PROVIDER_REFUSED);
}

/* TRN-3, TRN-6 */
Test(llm_anthropic, says_rounds_of_tools)
{
	cr_assert_eq(build_rounds(&DRIVER), ERR_OK);
	expect_bytes(jsonx_member(built.body, "messages"),
		     "[{\"role\":\"user\",\"content\":\"What now?\"},"
		     "{\"role\":\"assistant\",\"content\":[{\"type\":\"thinking\",\"thinking\":\"Hm.\",\"signature\":\"c2ln\"},{\"type\":\"text\",\"text\":\"I look.\"},{\"type\":\"tool_use\",\"id\":\"toolu_1\",\"name\":\"get_weather\",\"input\":{\"city\":\"Bonn\"}},{\"type\":\"tool_use\",\"id\":\"id_43d11a7fb3a68d4558635069ae487424\",\"name\":\"get_time\",\"input\":{}}]},"
		     "{\"role\":\"user\",\"content\":[{\"type\":\"tool_result\",\"tool_use_id\":\"toolu_1\",\"content\":\"sunny\"},{\"type\":\"tool_result\",\"tool_use_id\":\"id_43d11a7fb3a68d4558635069ae487424\",\"content\":\"no clock\",\"is_error\":true}]},"
		     "{\"role\":\"assistant\",\"content\":[{\"type\":\"tool_use\",\"id\":\"call_2\",\"name\":\"get_weather\",\"input\":{}}]},"
		     "{\"role\":\"user\",\"content\":[{\"type\":\"tool_result\",\"tool_use_id\":\"call_2\",\"content\":[{\"type\":\"text\",\"text\":\"{\\\"code\\\":1}\"}]}]}]");
}

/* TRN-6 */
Test(llm_anthropic, sends_tools_in_its_form)
{
	struct llm_request rq = tools_request();

	cr_assert_eq(build(&DRIVER, "http://llm.example/v1", "", &rq), ERR_OK);
	expect_bytes(jsonx_member(built.body, "tools"),
		     "[{\"name\":\"get_weather\",\"description\":\"Tells the \\\"weather\\\"\","
		     "\"input_schema\":{\"type\":\"object\",\"properties\":{\"city\":{\"type\":\"string\"}}}},"
		     "{\"name\":\"get_time\",\"input_schema\":{\"type\":\"object\",\"properties\":{}}}]");
	rq.n_tools = 0;
	cr_assert_eq(build(&DRIVER, "http://llm.example/v1", "", &rq), ERR_OK);
	cr_expect_eq(jsonx_member(built.body, "tools").n, 0, "an empty list is refused");
}

/* A conversation goes on though its agent has no tools any more. */
Test(llm_anthropic, calls_of_the_past_have_a_tool_that_stands_for_them)
{
	struct llm_request rq = tools_request();

	cr_assert_eq(build_rounds(&DRIVER), ERR_OK);
	expect_bytes(jsonx_member(built.body, "tools"), "[{\"name\":\"past_tool\",\"description\":\"Stands for tools that are not there any more\","
						       "\"input_schema\":{\"type\":\"object\",\"properties\":{}}}]");
	expect_bytes(jsonx_member(built.body, "tool_choice"), "{\"type\":\"none\"}");
	rq.must_answer = true;
	cr_assert_eq(build(&DRIVER, "http://llm.example/v1", "", &rq), ERR_OK);
	expect_bytes(jsonx_member(built.body, "tool_choice"), "{\"type\":\"none\"}");
}

Test(llm_anthropic, the_limit_has_a_default)
{
	struct llm_request rq = { .model = "claude-x", .temperature = -1 };

	cr_assert_eq(build(&DRIVER, "http://llm.example/v1", NULL, &rq), ERR_OK);
	expect_body("{\"model\":\"claude-x\",\"max_tokens\":4096,\"messages\":[],\"stream\":true}");
	cr_expect_eq(built.headers[4], NULL, "no key, no header");
}

Test(llm_anthropic, temperature_goes_only_to_models_that_take_it)
{
	static const char *const takers[] = { "claude-2.1", "claude-3-haiku-20240307", "claude-3-5-sonnet-latest",
			"claude-3-7-sonnet-20250219", "claude-opus-4-20250514",
					      "claude-opus-4-6", "claude-sonnet-4.6", "anthropic/claude-haiku-4.5",
					      		"us.anthropic.claude-sonnet-4-5-20250929-v1:0",
					      "qwen3-8b", "glm-5" };
	static const char *const refusers[] = { "claude-opus-4-7", "claude-opus-4-10", "claude-sonnet-5", "claude-opus-5-20270101",
			"claude-haiku-5.1", "claude-latest",
						"claude-next-20270101", "anthropic/claude-opus-4.8" };
	struct llm_request rq = { .temperature = 0.5 };

	for (size_t i = 0; i < sizeof(takers) / sizeof(takers[0]); i++) {
		rq.model = takers[i];
		cr_assert_eq(build(&DRIVER, "http://llm.example/v1", "", &rq), ERR_OK);
		cr_expect(jsonx_member(built.body, "temperature").n > 0, "%s", takers[i]);
	}
	for (size_t i = 0; i < sizeof(refusers) / sizeof(refusers[0]); i++) {
		rq.model = refusers[i];
		cr_assert_eq(build(&DRIVER, "http://llm.example/v1", "", &rq), ERR_OK);
		cr_expect_eq(jsonx_member(built.body, "temperature").n, 0, "%s", refusers[i]);
	}
	rq.model = takers[0];
	rq.temperature = 1.7;
	cr_assert_eq(build(&DRIVER, "http://llm.example/v1", "", &rq), ERR_OK);
	cr_expect_eq(jsonx_real(jsonx_member(built.body, "temperature")), 1);
}

/* MSG-6 */
Test(llm_anthropic, thoughts_go_back_to_their_maker_alone)
{
	struct llm_message m[] = {
		{ BYTES("user"), BYTES("\"x\""), { 0 } },
		{ BYTES("assistant"), BYTES("[{\"type\":\"thinking\",\"thinking\":\"own\",\"anthropic\":{\"signature\":\"s\"}},"
					    "{\"type\":\"thinking\",\"thinking\":\"other\",\"gemini\":{\"thoughtSignature\":\"g\"}},"
					    "{\"type\":\"gemini\",\"raw\":{\"executableCode\":{}}},"
					    "{\"type\":\"text\",\"text\":\"y\",\"gemini\":{\"thoughtSignature\":\"h\"}}]"), { 0 } },
	};
	struct llm_request rq = { .model = "m", .messages = m, .n_messages = 2, .temperature = -1 };

	cr_assert_eq(build(&DRIVER, "http://llm.example/v1", "", &rq), ERR_OK);
	expect_bytes(jsonx_member(built.body, "messages"),
		     "[{\"role\":\"user\",\"content\":\"x\"},{\"role\":\"assistant\",\"content\":[{\"type\":\"thinking\",\"thinking\":\"own\",\"signature\":\"s\"},"
		     "{\"type\":\"text\",\"text\":\"y\"}]}]");
}

/* ---- the answer ---- */

#define EVENT(name, json) "event: " name "\ndata: " json "\n\n"
#define START EVENT("message_start", \
	"{\"type\":\"message_start\",\"message\":{\"id\":\"msg_1\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\"claude-1\"," \
	"\"content\":[],\"stop_reason\":null,\"stop_sequence\":null,\"usage\":{\"input_tokens\":11,\"cache_creation_input_tokens\":100," \
	"\"cache_read_input_tokens\":1000,\"output_tokens\":1}}}      ")
#define BEGIN(i, block) EVENT("content_block_start", "{\"type\":\"content_block_start\",\"index\":" #i ",\"content_block\":" block "}   ")
#define DELTA(i, delta) EVENT("content_block_delta", "{\"type\":\"content_block_delta\",\"index\":" #i ",\"delta\":" delta "}  ")
#define END(i) EVENT("content_block_stop", "{\"type\":\"content_block_stop\",\"index\":" #i "   }")
#define REASON(reason) EVENT("message_delta", "{\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"" \
	reason "\",\"stop_sequence\":null},\"usage\":{\"output_tokens\":15}}")
#define STOP EVENT("message_stop", "{\"type\":\"message_stop\"    }")
#define PING EVENT("ping", "{\"type\": \"ping\"}")
#define TEXT_BEGIN(i) BEGIN(i, "{\"type\":\"text\",\"text\":\"\"}")
#define TEXT(i, text) DELTA(i, "{\"type\":\"text_delta\",\"text\":\"" text "\"}")
#define JSON(i, text) DELTA(i, "{\"type\":\"input_json_delta\",\"partial_json\":\"" text "\"}")
#define USE(i, id, name) BEGIN(i, "{\"type\":\"tool_use\",\"id\":\"" id "\",\"name\":\"" name "\",\"input\":{}}")

Test(llm_anthropic, parses_a_stream_with_usage)
{
	struct outcome o = parse(START PING TEXT_BEGIN(0) PING TEXT(0, "Gr\xc3\xbc\\u00df") TEXT(0, "") TEXT(0, "e \\ud83c\\udf0d") END(0)
				 EVENT("message_delta",
				 		"{\"type\":\"message_delta\",\"delta\":{\"stop_reason\":null},\"usage\":{\"output_tokens\":5}}")
				 REASON("end_turn") STOP);

	cr_expect_eq(o.e, ERR_OK, "%s", o.internal);
	expect_text(o, "Gr\xc3\xbc\xc3\x9f" "e \xf0\x9f\x8c\x8d");
	cr_expect_eq(o.n_texts, 2);
	cr_expect_eq(o.result.finish, LLM_STOP);
	cr_expect(o.result.usage.is_known);
	cr_expect_eq(o.result.usage.input_tokens, 1111, "cached tokens are input too");
	cr_expect_eq(o.result.usage.cached_tokens, 1000);
	cr_expect_eq(o.result.usage.output_tokens, 15, "the last count is of all");
	expect_bytes(o.result.model, "claude-1");
	cr_expect_eq(o.result.tool_calls.n, 0);
	cr_expect_eq(o.result.parts.n, 0, "plain text is a string");
}

Test(llm_anthropic, a_later_count_replaces_an_earlier_one)
{
	struct outcome o = parse(START TEXT_BEGIN(0) TEXT(0, "a") END(0)
				 EVENT("message_delta",
				 		"{\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"input_tokens\":20,"
				       "\"cache_creation_input_tokens\":null,\"cache_read_input_tokens\":0,\"output_tokens\":7}}") STOP);

	cr_expect_eq(o.result.usage.input_tokens, 120);
	cr_expect_eq(o.result.usage.output_tokens, 7);
}

/* TRN-3 */
Test(llm_anthropic, joins_the_input_of_tool_calls)
{
	struct outcome o = parse(START TEXT_BEGIN(0) TEXT(0, "Let me see.") END(0) USE(1, "toolu_1", "get_weather") JSON(1, "")
			JSON(1, "{\\\"ci") JSON(1, "ty\\\": \\\"\xc3\xbc\\\\u00df\\\"}")
				 END(1) USE(2, "toolu_2", "now") END(2) REASON("tool_use") STOP);

	cr_expect_eq(o.e, ERR_OK, "%s", o.internal);
	cr_expect_eq(o.result.finish, LLM_TOOL);
	expect_text(o, "Let me see.");
	expect_bytes(o.result.tool_calls,
			"[{\"id\":\"toolu_1\",\"name\":\"get_weather\",\"arguments\":\"{\\\"city\\\": \\\"\xc3\xbc\\\\u00df\\\"}\"},"
					  "{\"id\":\"toolu_2\",\"name\":\"now\",\"arguments\":\"{}\"}]");
	cr_expect_eq(o.result.parts.n, 0);
	build_answered(&DRIVER, &o);
	cr_expect(memmem(built.body.p, built.body.n, "{\"city\": \"\xc3\xbc\\u00df\"}", 20) != NULL, "%.*s", (int)built.body.n, built.body.p);
}

Test(llm_anthropic, arguments_that_are_no_json_are_kept_for_the_tool_to_refuse)
{
	struct outcome o = parse(START USE(0, "t", "f") JSON(0, "{\\\"a\\\":") END(0) REASON("tool_use") STOP);

	cr_expect_eq(o.e, ERR_OK, "%s", o.internal);
	expect_bytes(o.result.tool_calls, "[{\"id\":\"t\",\"name\":\"f\",\"arguments\":\"{\\\"a\\\":\"}]");
}

/* A limit may end the stream inside a call, without content_block_stop. */
Test(llm_anthropic, a_call_that_the_limit_cut_off_is_left_out)
{
	struct outcome o = parse(START TEXT_BEGIN(0) TEXT(0, "a") END(0) USE(1, "t", "f") JSON(1, "{\\\"city\\\": \\\"Bos")
			REASON("max_tokens") STOP);

	cr_expect_eq(o.e, ERR_OK, "%s", o.internal);
	cr_expect_eq(o.result.finish, LLM_LENGTH);
	expect_text(o, "a");
	cr_expect_eq(o.result.tool_calls.n, 0);
	o = parse(START USE(1, "t", "f") JSON(1, "{}") REASON("max_tokens") STOP);
	cr_expect_eq(o.result.tool_calls.n, 0, "it may only look complete");
	o = parse(START USE(1, "t", "f") JSON(1, "{}") END(1) USE(2, "u", "g") JSON(2, "{") END(2) REASON("max_tokens") STOP);
	expect_bytes(o.result.tool_calls, "[{\"id\":\"t\",\"name\":\"f\",\"arguments\":\"{}\"}]");
	cr_expect_eq(o.result.finish, LLM_LENGTH);
}

/* MSG-6 */
Test(llm_anthropic, thoughts_and_signatures_come_back_as_they_were)
{
	struct outcome o = parse(START BEGIN(0, "{\"type\":\"thinking\",\"thinking\":\"\",\"signature\":\"\"}") DELTA(0,
			"{\"type\":\"thinking_delta\",\"thinking\":\"Let me \"}")
				 DELTA(0, "{\"type\":\"thinking_delta\",\"thinking\":\"see\\n\"}") DELTA(0,
				 		"{\"type\":\"signature_delta\",\"signature\":\"EqQB/+==\"}") END(0)
				 BEGIN(1, "{\"type\":\"redacted_thinking\",\"data\":\"EmwK\"}") END(1)
				 USE(2, "t1", "f") JSON(2, "{\\\"x\\\":1}") END(2) TEXT_BEGIN(3) TEXT(3, "Done") END(3) REASON("tool_use") STOP);

	cr_expect_eq(o.e, ERR_OK, "%s", o.internal);
	expect_text(o, "Done");
	expect_bytes(o.result.parts, "[{\"type\":\"thinking\",\"thinking\":\"Let me see\\n\",\"anthropic\":{\"signature\":\"EqQB/+==\"}},"
				     "{\"type\":\"anthropic\",\"raw\":{\"type\":\"redacted_thinking\",\"data\":\"EmwK\"}},"
				     "{\"type\":\"tool_call\",\"index\":0},{\"type\":\"text\",\"text\":\"Done\"}]");
	build_answered(&DRIVER, &o);
	expect_bytes(jsonx_member(built.body, "messages"),
		     "[{\"role\":\"user\",\"content\":\"Hi\"},{\"role\":\"assistant\",\"content\":["
		     "{\"type\":\"thinking\",\"thinking\":\"Let me see\\n\",\"signature\":\"EqQB/+==\"},{\"type\":\"redacted_thinking\",\"data\":\"EmwK\"},"
		     "{\"type\":\"tool_use\",\"id\":\"t1\",\"name\":\"f\",\"input\":{\"x\":1}},{\"type\":\"text\",\"text\":\"Done\"}]}]");
	build_answered(&llm_gemini, &o);
	cr_expect_null(memmem(built.body.p, built.body.n, "EqQB", 4), "no other provider gets them: %.*s", (int)built.body.n, built.body.p);
	cr_expect_null(memmem(built.body.p, built.body.n, "EmwK", 4));
	cr_expect_null(memmem(built.body.p, built.body.n, "Let me see", 10));
}

Test(llm_anthropic, citations_and_blocks_of_the_servers_tools_are_kept)
{
	struct outcome o = parse(START BEGIN(0,
			"{\"type\":\"server_tool_use\",\"id\":\"srv\",\"name\":\"web_search\",\"input\":{}}") JSON(0,
			"{\\\"query\\\":\\\"q\\\"}") END(0)
				 BEGIN(1, "{\"type\":\"web_search_tool_result\",\"tool_use_id\":\"srv\",\"content\":[]}") END(1)
				 BEGIN(2, "{\"type\":\"text\",\"text\":\"\",\"citations\":[]}") TEXT(2, "So") DELTA(2,
				 		"{\"type\":\"citations_delta\",\"citation\":{\"url\":\"u\"}}") END(2)
				 REASON("end_turn") STOP);

	cr_expect_eq(o.e, ERR_OK, "%s", o.internal);
	expect_bytes(o.result.parts,
			"[{\"type\":\"anthropic\",\"raw\":{\"type\":\"server_tool_use\",\"id\":\"srv\",\"name\":\"web_search\",\"input\":{\"query\":\"q\"}}},"
				     "{\"type\":\"anthropic\",\"raw\":{\"type\":\"web_search_tool_result\",\"tool_use_id\":\"srv\",\"content\":[]}},"
				     "{\"type\":\"text\",\"text\":\"So\",\"anthropic\":{\"citations\":[{\"url\":\"u\"}]}}]");
	cr_expect_eq(o.result.tool_calls.n, 0, "they are not ours to run");
}

Test(llm_anthropic, each_reason_has_its_finish)
{
	static const struct {
		const char *reason;
		enum llm_finish finish;
	} rows[] = { { "end_turn", LLM_STOP }, { "stop_sequence", LLM_STOP }, { "max_tokens", LLM_LENGTH },
			{ "model_context_window_exceeded", LLM_LENGTH },
		     { "tool_use", LLM_TOOL }, { "pause_turn", LLM_TOOL }, { "refusal", LLM_FILTER }, { "something_new", LLM_STOP } };

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct outcome o = parse(arena_printf(arena,
				START "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"%s\"}}\n\n" STOP,
						      rows[i].reason));

		cr_expect_eq(o.e, ERR_OK);
		cr_expect_eq(o.result.finish, rows[i].finish, "%s", rows[i].reason);
	}
}

Test(llm_anthropic, an_error_inside_the_stream_is_a_failure)
{
	struct outcome o = parse(START TEXT_BEGIN(0) TEXT(0, "a") EVENT("error",
			"{\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"}}   "));

	cr_expect_eq(o.e, ERR_PROVIDER_FAILED);
	cr_expect(strstr(o.internal, "Overloaded"), "%s", o.internal);
	expect_text(o, "a");
	o = parse(START "data: {\"type\":\"error\",\"error\":{\"type\":\"api_error\",\"message\":\"Oh\"}}\n\n");
	cr_expect_eq(o.e, ERR_PROVIDER_FAILED, "also without its name");
	o = parse(START "data: {\"type\":\"error\"}\n\n");
	cr_expect_eq(o.e, ERR_PROVIDER_FAILED);
	o = parse(START TEXT_BEGIN(0) TEXT(0, "a") "{\"type\":\"error\",\n \"error\":{\"message\":\"Bare\"}}\n");
	cr_expect_eq(o.e, ERR_PROVIDER_FAILED);
	cr_expect(strstr(o.internal, "Bare"), "%s", o.internal);
}

Test(llm_anthropic, a_stream_that_ends_without_a_reason_is_cut_and_its_text_kept)
{
	struct outcome o = parse(START TEXT_BEGIN(0) TEXT(0, "a") TEXT(0, "b"));

	cr_expect_eq(o.e, ERR_PROVIDER_CUT);
	expect_text(o, "ab");
	cr_expect_not(o.is_whole);
	o = parse(START TEXT_BEGIN(0) TEXT(0, "a") "event: content_block_delta\ndata: {\"type\":\"content_bl");
	cr_expect_eq(o.e, ERR_PROVIDER_CUT, "also inside a line");
	cr_expect_eq(parse("").e, ERR_PROVIDER_CUT);
	cr_expect_eq(parse(PING PING).e, ERR_PROVIDER_CUT);
	o = parse(START TEXT_BEGIN(0) TEXT(0, "a") END(0) REASON("end_turn"));
	cr_expect_eq(o.e, ERR_OK, "all but the last word is there");
	cr_expect(o.is_whole);
	o = parse(START TEXT_BEGIN(0) TEXT(0, "a") END(0) REASON("end_turn") STOP "data: nonsense\n\nevent: error\ndata: x\n\n{");
	cr_expect_eq(o.e, ERR_OK, "what follows the end does not matter: %s", o.internal);
}

Test(llm_anthropic, takes_what_there_will_be)
{
	struct outcome o = parse(": hello\n\n" START EVENT("new_event", "{\"type\":\"new_event\",\"index\":7}") TEXT_BEGIN(0)
			DELTA(0, "{\"type\":\"new_delta\",\"text\":\"no\"}")
				 TEXT(0, "a") DELTA(0, "null") END(0) REASON("end_turn") STOP);

	cr_expect_eq(o.e, ERR_OK, "%s", o.internal);
	expect_text(o, "a");
}

Test(llm_anthropic, what_is_not_the_protocol_is_invalid)
{
	static const char *const bodies[] = {
		EVENT("message_start", "this is no JSON"),
		"data: [1]\n\n",
		"data: {}\n\n",
		EVENT("message_start", "{\"type\":\"message_start\"}"),
		START TEXT(0, "a"),
		START TEXT_BEGIN(0) TEXT_BEGIN(0),
		START TEXT_BEGIN(0) TEXT(0, "a") TEXT_BEGIN(1) TEXT(1, "b") TEXT(0, "c"),
		START BEGIN(-1, "{\"type\":\"text\"}"),
		START BEGIN(0, "{}"),
		START BEGIN(0, "7"),
		START BEGIN(0, "{\"type\":\"tool_use\",\"id\":\"\",\"name\":\"f\",\"input\":{}}"),
		START BEGIN(0, "{\"type\":\"tool_use\",\"id\":\"t\",\"input\":{}}"),
		START TEXT_BEGIN(0) TEXT(0, "\xc3"),
		START TEXT_BEGIN(0) TEXT(0, "a") "{\"type\":\"message_stop\"}\n",
		"<!doctype html><p>Sign in: here</p>\n",
		": only comments\n\n",
		"{\"type\":\"message\",\"content\":[]}",
		"{\"type\":",
	};

	for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++) {
		struct outcome o = parse(bodies[i]);

		cr_expect_eq(o.e, ERR_PROVIDER_INVALID, "%s: %s", err_code(o.e), bodies[i]);
	}
}

Test(llm_anthropic, a_plain_answer_to_a_streaming_request_is_taken)
{
	struct outcome o = parse(" {\"id\":\"msg\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\"claude-2\",\"content\":[{\"type\":\"thinking\",\"thinking\":\"hm\",\"signature\":\"s\"},"
				 "{\"type\":\"text\",\"text\":\"All\",\"citations\":null},{\"type\":\"tool_use\",\"id\":\"t\",\"name\":\"f\",\"input\":{\"a\":[1]}}],"
				 "\"stop_reason\":\"tool_use\",\"stop_sequence\":null,\"usage\":{\"input_tokens\":1,\"output_tokens\":2}}\n");

	cr_expect_eq(o.e, ERR_OK, "%s", o.internal);
	expect_text(o, "All");
	expect_bytes(o.result.tool_calls, "[{\"id\":\"t\",\"name\":\"f\",\"arguments\":\"{\\\"a\\\":[1]}\"}]");
	expect_bytes(o.result.parts,
			"[{\"type\":\"thinking\",\"thinking\":\"hm\",\"anthropic\":{\"signature\":\"s\"}},{\"type\":\"text\",\"text\":\"All\"}]");
	cr_expect_eq(o.result.usage.output_tokens, 2);
}

Test(llm_anthropic, an_error_status_is_told_apart)
{
	static const struct {
		int status;
		enum err e;
	} rows[] = { { 302, ERR_PROVIDER_INVALID }, { 408, ERR_PROVIDER_FAILED }, { 409, ERR_PROVIDER_FAILED }, { 425, ERR_PROVIDER_FAILED },
		     { 400, ERR_PROVIDER_REFUSED }, { 401, ERR_PROVIDER_REFUSED }, { 413, ERR_PROVIDER_REFUSED },
		     { 429, ERR_PROVIDER_RATE }, { 500, ERR_PROVIDER_FAILED }, { 503, ERR_PROVIDER_FAILED }, { 529, ERR_PROVIDER_FAILED } };

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct outcome o = parse_status(&DRIVER, rows[i].status,
				BYTES("{\"type\":\"error\",\"error\":{\"type\":\"t\",\"message\":\"Because\"},\"request_id\":null}"));

		cr_expect_eq(o.e, rows[i].e, "%d: %s", rows[i].status, err_code(o.e));
		cr_expect_str_eq(o.internal, arena_printf(arena, "the provider answered %d: Because", rows[i].status));
		cr_expect_eq(o.retry_after_s, 5);
	}
}

Test(llm_anthropic, too_much_of_anything_is_refused)
{
	struct buf b;

	buf_init(&b, arena, 0);
	for (int i = 0; i < 129; i++)
		buf_addf(&b, "data: {\"type\":\"content_block_start\",\"index\":%d,\"content_block\":{\"type\":\"tool_use\",\"id\":\"t\",\"name\":\"f\",\"input\":{}}}\n\n", i);
	cr_expect_eq(parse_in(&DRIVER, 200, buf_bytes(&b), b.n).e, ERR_PROVIDER_INVALID);
	buf_clear(&b);
	for (int i = 0; i < 1025; i++)
		buf_addf(&b, "data: {\"type\":\"content_block_start\",\"index\":%d,\"content_block\":{\"type\":\"x\"}}\n\n", i);
	cr_expect_eq(parse_in(&DRIVER, 200, buf_bytes(&b), b.n).e, ERR_PROVIDER_INVALID);
	buf_clear(&b);
	for (int i = 0; i < 20000; i++)
		buf_add_char(&b, 'x');
	cr_expect_eq(parse_in(&DRIVER, 500, buf_bytes(&b), 1000).e, ERR_PROVIDER_FAILED);
	cr_expect(strlen(task.fault.internal) < 2100);
}

Test(llm_anthropic, a_long_stream_costs_little_more_than_its_text)
{
	struct outcome o = { 0 };
	struct llm_events ev = { &o, NULL, NULL };
	struct llm_parser *ps = DRIVER.parse_begin(&task, &(struct llm_provider){ .base_url = "http://llm.example/v1" }, 200, 0, &ev, &o.result);
	size_t before = arena_used(arena);

	cr_assert_eq(DRIVER.parse_take(ps, BYTES(START TEXT_BEGIN(0))), ERR_OK);
	for (int i = 0; i < 10000; i++)
		cr_assert_eq(DRIVER.parse_take(ps, BYTES(TEXT(0, "word \\\"x\\\""))), ERR_OK);
	cr_expect_eq(o.result.text.n, 80000);
	cr_expect(arena_used(arena) - before < 4 * 80000, "%zu bytes", arena_used(arena) - before);
}
