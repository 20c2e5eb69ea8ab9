/* SPDX-License-Identifier: MIT */
/* test_llm_openai: requests as they go out, and answers parsed in one piece and byte by byte, which must be equal. */
#include "answer_fixture.h"

TestSuite(llm_openai, .init = answer_setup, .fini = answer_teardown, .timeout = 20);

#define DRIVER llm_openai

/* ---- the request ---- */

/* The raw "messages" of the request for some messages. */
static struct bytes messages_of(const char *base_url, const struct llm_message *m, size_t n)
{
	struct llm_request rq = { .model = "m", .messages = m, .n_messages = n, .temperature = -1 };

	cr_assert_eq(build(&DRIVER, base_url, "", &rq), ERR_OK);
	return jsonx_member(built.body, "messages");
}

static void expect_message(struct llm_message m, const char *raw)
{
	struct bytes got = messages_of("http://llm.example/v1", &m, 1), want = bytes_of(arena_printf(arena, "[%s]", raw));

	cr_expect(bytes_equal(got, want), "%.*s", (int)got.n, got.p);
}

/* TRN-2 */
Test(llm_openai, builds_a_streaming_request)
{
	struct llm_message m = { BYTES("user"), BYTES("\"h\\u00e9 \\\"you\\\"\""), { 0 } };
	struct llm_request rq = { .model = "model \"x\"", .instructions = BYTES("Be \"kind\"\n"), .messages = &m, .n_messages = 1, .temperature = 0.7,
				  .max_output_tokens = 100 };

	cr_assert_eq(build(&DRIVER, "http://llm.example/v1/", "k-1", &rq), ERR_OK);
	cr_expect_str_eq(built.method, "POST");
	cr_expect_str_eq(built.url, "http://llm.example/v1/chat/completions");
	cr_expect(bytes_equal(built.body, BYTES("{\"model\":\"model \\\"x\\\"\",\"messages\":[{\"role\":\"system\",\"content\":\"Be \\\"kind\\\"\\n\"},"
						"{\"role\":\"user\",\"content\":\"h\\u00e9 \\\"you\\\"\"}],\"stream\":true,"
						"\"stream_options\":{\"include_usage\":true},\"max_tokens\":100,\"temperature\":0.7}")),
		  "%.*s", (int)built.body.n, built.body.p);
	cr_expect_str_eq(built.headers[0], "Content-Type: application/json");
	cr_expect_str_eq(built.headers[3], "Authorization: Bearer k-1");
	cr_expect_eq(built.headers[4], NULL);
}

Test(llm_openai, leaves_out_what_was_not_asked_for)
{
	struct llm_request rq = { .model = "m", .temperature = -1 };

	cr_assert_eq(build(&DRIVER, "http://llm.example/v1", NULL, &rq), ERR_OK);
	cr_expect(bytes_equal(built.body, BYTES("{\"model\":\"m\",\"messages\":[],\"stream\":true,\"stream_options\":{\"include_usage\":true}}")));
	cr_expect_eq(built.headers[3], NULL, "no key, no Authorization");
	rq.temperature = 0;
	cr_assert_eq(build(&DRIVER, "http://llm.example/v1", "", &rq), ERR_OK);
	cr_expect_eq(jsonx_real(jsonx_member(built.body, "temperature")), 0);
	cr_expect_eq(built.headers[3], NULL);
}

Test(llm_openai, names_the_limit_as_the_server_knows_it)
{
	static const char *const vendor[] = { "https://api.openai.com/v1", "https://API.OpenAI.com:443/v1", "https://api.openai.com" };
	static const char *const others[] = { "https://api.openai.com.example/v1", "https://example/api.openai.com/v1", "http://localhost:8000/v1",
					      "api.openai.com", "" };
	struct llm_request rq = { .model = "m", .temperature = -1, .max_output_tokens = 9 };

	for (size_t i = 0; i < sizeof(vendor) / sizeof(vendor[0]); i++) {
		cr_assert_eq(build(&DRIVER, vendor[i], "", &rq), ERR_OK);
		cr_expect_eq(jsonx_int(jsonx_member(built.body, "max_completion_tokens")), 9, "%s", vendor[i]);
		cr_expect_eq(jsonx_member(built.body, "max_tokens").n, 0);
	}
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
		cr_assert_eq(build(&DRIVER, others[i], "", &rq), ERR_OK);
		cr_expect_eq(jsonx_int(jsonx_member(built.body, "max_tokens")), 9, "%s", others[i]);
		cr_expect_eq(jsonx_member(built.body, "max_completion_tokens").n, 0);
	}
}

Test(llm_openai, temperature_goes_only_to_models_that_take_it)
{
	static const char *const takers[] = { "gpt-4o", "gpt-4.1-mini", "gpt-3.5-turbo", "chatgpt-4o-latest", "ft:gpt-4o-mini:x::y", "omni", "o" };
	static const char *const refusers[] = { "o1", "o1-mini", "o3", "o4-mini-2025-04-16", "gpt-5", "gpt-5.1-codex", "gpt-6-pro", "ft:o4-mini:x::y" };
	struct llm_request rq = { .temperature = 0.5 };

	for (size_t i = 0; i < sizeof(takers) / sizeof(takers[0]); i++) {
		rq.model = takers[i];
		cr_assert_eq(build(&DRIVER, "https://api.openai.com/v1", "", &rq), ERR_OK);
		cr_expect_gt(jsonx_member(built.body, "temperature").n, 0, "%s", takers[i]);
	}
	for (size_t i = 0; i < sizeof(refusers) / sizeof(refusers[0]); i++) {
		rq.model = refusers[i];
		cr_assert_eq(build(&DRIVER, "https://api.openai.com/v1", "", &rq), ERR_OK);
		cr_expect_eq(jsonx_member(built.body, "temperature").n, 0, "%s", refusers[i]);
		cr_assert_eq(build(&DRIVER, "http://localhost:8000/v1", "", &rq), ERR_OK);
		cr_expect_gt(jsonx_member(built.body, "temperature").n, 0, "%s: another server's model of that name", refusers[i]);
	}
}

Test(llm_openai, a_key_that_would_make_another_header_is_refused)
{
	static const char *const keys[] = { "k9\r\nX: y", "k9\n", "k9 b", " k9", "k9\x7f", "k9\xc3\xa9" };
	struct llm_request rq = { .model = "m", .temperature = -1 };

	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
		cr_expect_eq(build(&DRIVER, "http://llm.example/v1", keys[i], &rq), ERR_PROVIDER_REFUSED);
		cr_expect_not(strstr(task.fault.internal, "k9"));
	}
}

/* TRN-3, TRN-6 */
Test(llm_openai, says_rounds_of_tools)
{
	cr_assert_eq(build_rounds(&DRIVER), ERR_OK);
	expect_bytes(jsonx_member(built.body, "messages"),
		     "[{\"role\":\"user\",\"content\":\"What now?\"},"
		     "{\"role\":\"assistant\",\"content\":\"I look.\",\"tool_calls\":[{\"id\":\"toolu_1\",\"type\":\"function\",\"function\":{\"name\":\"get_weather\",\"arguments\":\"{\\\"city\\\":\\\"Bonn\\\"}\"}},{\"id\":\"id_43d11a7fb3a68d4558635069ae487424\",\"type\":\"function\",\"function\":{\"name\":\"get_time\",\"arguments\":\"{}\"}}]},"
		     "{\"role\":\"tool\",\"content\":\"sunny\",\"tool_call_id\":\"toolu_1\"},"
		     "{\"role\":\"tool\",\"content\":\"no clock\",\"tool_call_id\":\"id_43d11a7fb3a68d4558635069ae487424\"},"
		     "{\"role\":\"assistant\",\"content\":\"\",\"tool_calls\":[{\"id\":\"call_2\",\"type\":\"function\",\"function\":{\"name\":\"get_weather\",\"arguments\":\"{}\"},\"x\":1}]},"
		     "{\"role\":\"tool\",\"content\":\"{\\\"code\\\":1}\",\"tool_call_id\":\"call_2\"}]");
}

/* TRN-6 */
Test(llm_openai, sends_tools_in_its_form)
{
	struct llm_request rq = tools_request();

	cr_assert_eq(build(&DRIVER, "http://llm.example/v1", "", &rq), ERR_OK);
	expect_bytes(jsonx_member(built.body, "tools"),
		     "[{\"type\":\"function\",\"function\":{\"name\":\"get_weather\",\"description\":\"Tells the \\\"weather\\\"\","
		     "\"parameters\":{\"type\":\"object\",\"properties\":{\"city\":{\"type\":\"string\"}}}}},"
		     "{\"type\":\"function\",\"function\":{\"name\":\"get_time\",\"parameters\":{\"type\":\"object\",\"properties\":{}}}}]");
	rq.n_tools = 0;
	cr_assert_eq(build(&DRIVER, "http://llm.example/v1", "", &rq), ERR_OK);
	cr_expect_eq(jsonx_member(built.body, "tools").n, 0, "an empty list is refused");
}

/* MSG-6 */
Test(llm_openai, passes_the_parts_it_knows_and_leaves_out_others)
{
	struct bytes user = BYTES("user"), none = { 0 };
	struct bytes mixed = BYTES("[{\"type\":\"text\",\"text\":\"a\\n\",\"annotations\":[]},{\"type\":\"thinking\",\"thinking\":\"t\"},"
				   "{\"type\":\"image_url\",\"image_url\":{\"url\":\"https://x/i.png\",\"detail\":\"low\"}},7,\"s\",{\"type\":\"text\",\"text\":5},"
				   "{\"type\":\"image_url\",\"image_url\":\"https://x/j.png\"},{\"text\":\"untyped\"}]");

	expect_message((struct llm_message){ user, mixed, none },
		       "{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"a\\n\"},"
		       "{\"type\":\"image_url\",\"image_url\":{\"url\":\"https://x/i.png\",\"detail\":\"low\"}},"
		       "{\"type\":\"image_url\",\"image_url\":{\"url\":\"https://x/j.png\"}}]}");
	expect_message((struct llm_message){ BYTES("assistant"), mixed, none },
		       "{\"role\":\"assistant\",\"content\":\"a\\n\"}");
	expect_message((struct llm_message){ user, BYTES("[{\"type\":\"audio\"}]"), none }, "{\"role\":\"user\",\"content\":\"\"}");
	expect_message((struct llm_message){ user, BYTES("[]"), none }, "{\"role\":\"user\",\"content\":\"\"}");
	expect_message((struct llm_message){ user, BYTES("null"), none }, "{\"role\":\"user\",\"content\":\"\"}");
	expect_message((struct llm_message){ user, BYTES("{\"a\":1}"), none }, "{\"role\":\"user\",\"content\":\"\"}");
	expect_message((struct llm_message){ user, none, none }, "{\"role\":\"user\",\"content\":\"\"}");
}

/* MSG-6: messages that came from another provider's client can be gone on with. */
Test(llm_openai, says_parts_of_ours_as_the_format_does)
{
	struct bytes none = { 0 };

	expect_message((struct llm_message){ BYTES("user"), BYTES("[{\"type\":\"image\",\"media_type\":\"image/png\",\"data\":\"aWk=\"},"
								 "{\"type\":\"file\",\"file_id\":\"f-1\"}]"), none },
		       "{\"role\":\"user\",\"content\":[{\"type\":\"image_url\",\"image_url\":{\"url\":\"data:image/png;base64,aWk=\"}},"
		       "{\"type\":\"file\",\"file\":{\"file_id\":\"f-1\"}}]}");
	expect_message((struct llm_message){ BYTES("assistant"), BYTES("[{\"type\":\"thinking\",\"thinking\":\"t\",\"anthropic\":{\"signature\":\"s\"}},"
								      "{\"type\":\"refusal\",\"refusal\":\"No.\"}]"),
					     BYTES("{\"tool_calls\":[{\"id\":\"c\",\"name\":\"f\",\"arguments\":\"{}\",\"openai\":{\"extra_content\":{\"k\":1}},"
						   "\"gemini\":{\"thoughtSignature\":\"s\"}}]}") },
		       "{\"role\":\"assistant\",\"content\":[{\"type\":\"refusal\",\"refusal\":\"No.\"}],\"tool_calls\":[{\"id\":\"c\",\"type\":\"function\","
		       "\"function\":{\"name\":\"f\",\"arguments\":\"{}\"},\"extra_content\":{\"k\":1}}]}");
}

Test(llm_openai, passes_tool_calls_of_either_form_and_their_results)
{
	expect_message((struct llm_message){ BYTES("assistant"), BYTES("\"\""),
					     BYTES("{\"tool_calls\":[{\"id\":\"c1\",\"name\":\"f\",\"arguments\":\"{\\\"a\\\":1}\"},"
						   "{\"id\":\"c2\",\"type\":\"function\",\"function\":{\"name\":\"g\",\"arguments\":\"{}\"}},"
						   "{\"id\":\"c3\",\"name\":\"h\",\"arguments\":{\"b\":\"x\"}},{\"id\":\"c4\",\"name\":\"i\"}],\"other\":1}") },
		       "{\"role\":\"assistant\",\"content\":\"\",\"tool_calls\":["
		       "{\"id\":\"c1\",\"type\":\"function\",\"function\":{\"name\":\"f\",\"arguments\":\"{\\\"a\\\":1}\"}},"
		       "{\"id\":\"c2\",\"type\":\"function\",\"function\":{\"name\":\"g\",\"arguments\":\"{}\"}},"
		       "{\"id\":\"c3\",\"type\":\"function\",\"function\":{\"name\":\"h\",\"arguments\":\"{\\\"b\\\":\\\"x\\\"}\"}},"
		       "{\"id\":\"c4\",\"type\":\"function\",\"function\":{\"name\":\"i\",\"arguments\":\"{}\"}}]}");
	expect_message((struct llm_message){ BYTES("tool"), BYTES("\"3 C\""), BYTES("{\"tool_call_id\":\"c1\",\"tool_calls\":[1]}") },
		       "{\"role\":\"tool\",\"content\":\"3 C\",\"tool_call_id\":\"c1\"}");
	expect_message((struct llm_message){ BYTES("user"), BYTES("\"x\""), BYTES("{\"name\":\"Ann\",\"tool_call_id\":\"c1\"}") },
		       "{\"role\":\"user\",\"content\":\"x\",\"name\":\"Ann\"}");
	expect_message((struct llm_message){ BYTES("assistant"), BYTES("\"x\""), BYTES("{\"tool_calls\":[],\"name\":null}") },
		       "{\"role\":\"assistant\",\"content\":\"x\"}");
}

Test(llm_openai, names_that_would_be_refused_are_not_sent)
{
	static const char *const names[] = { "\"a b\"", "\"\"", "\"<a>\"", "7", "\"a\\nb\"" };

	expect_message((struct llm_message){ BYTES("user"), BYTES("\"x\""), BYTES("{\"name\":\"J\xc3\xbcrgen\"}") },
		       "{\"role\":\"user\",\"content\":\"x\",\"name\":\"J\xc3\xbcrgen\"}");
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		struct bytes extra = bytes_of(arena_printf(arena, "{\"name\":%s}", names[i]));

		expect_message((struct llm_message){ BYTES("user"), BYTES("\"x\""), extra }, "{\"role\":\"user\",\"content\":\"x\"}");
	}
}

Test(llm_openai, sends_developer_only_where_it_is_known)
{
	struct llm_message m = { BYTES("developer"), BYTES("\"x\""), { 0 } };
	struct bytes got = messages_of("https://api.openai.com/v1", &m, 1);

	cr_expect(bytes_equal(got, BYTES("[{\"role\":\"developer\",\"content\":\"x\"}]")));
	expect_message(m, "{\"role\":\"system\",\"content\":\"x\"}");
}

/* ---- the answer ---- */

#define DATA(json) "data: " json "\n\n"
#define CHUNK(choice) DATA("{\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m-1\",\"choices\":[" choice "],\"usage\":null}")
#define DELTA(delta) CHUNK("{\"index\":0,\"delta\":" delta ",\"logprobs\":null,\"finish_reason\":null}")
#define FINISH(reason) CHUNK("{\"index\":0,\"delta\":{},\"logprobs\":null,\"finish_reason\":\"" reason "\"}")
#define USAGE DATA("{\"model\":\"m-1\",\"choices\":[],\"usage\":{\"prompt_tokens\":19,\"completion_tokens\":10,\"total_tokens\":29," \
	"\"prompt_tokens_details\":{\"cached_tokens\":5,\"audio_tokens\":0}}}")
#define DONE "data: [DONE]\n\n"

Test(llm_openai, parses_a_stream_with_usage)
{
	struct outcome o = parse(DELTA("{\"role\":\"assistant\",\"content\":\"\"}") DELTA("{\"content\":\"Gr\xc3\xbc\\u00df\"}")
				 DELTA("{\"content\":\"e \\ud83c\\udf0d\"}") FINISH("stop") USAGE DONE);

	cr_expect_eq(o.e, ERR_OK, "%s", o.internal);
	expect_text(o, "Gr\xc3\xbc\xc3\x9f" "e \xf0\x9f\x8c\x8d");
	cr_expect_eq(o.n_texts, 2);
	cr_expect_eq(o.result.finish, LLM_STOP);
	cr_expect(o.result.usage.is_known);
	cr_expect_eq(o.result.usage.input_tokens, 19);
	cr_expect_eq(o.result.usage.output_tokens, 10);
	cr_expect_eq(o.result.usage.cached_tokens, 5);
	cr_expect(bytes_equal(o.result.model, BYTES("m-1")));
	cr_expect_eq(o.result.tool_calls.n, 0);
}

Test(llm_openai, a_stream_may_lack_usage_or_its_end_mark)
{
	struct outcome o = parse(DELTA("{\"content\":\"a\"}") FINISH("length"));

	cr_expect_eq(o.e, ERR_OK);
	cr_expect_eq(o.result.finish, LLM_LENGTH);
	cr_expect_not(o.result.usage.is_known);
	o = parse(DELTA("{\"content\":\"a\"}") DONE);
	cr_expect_eq(o.e, ERR_OK);
	cr_expect_eq(o.result.finish, LLM_STOP);
	o = parse(DELTA("{\"content\":\"a\"}") "data: [DONE]");
	cr_expect_eq(o.e, ERR_OK, "without its line end");
}

Test(llm_openai, a_stream_that_ends_without_a_finish_is_cut_and_its_text_kept)
{
	struct outcome o = parse(DELTA("{\"content\":\"a\"}") DELTA("{\"content\":\"b\"}"));

	cr_expect_eq(o.e, ERR_PROVIDER_CUT);
	expect_text(o, "ab");
	cr_expect_not(o.is_whole);
	o = parse(DELTA("{\"content\":\"a\"}") "data: {\"choices\":[{\"del");
	cr_expect_eq(o.e, ERR_PROVIDER_CUT, "also inside a line");
	expect_text(o, "a");
	cr_expect_eq(parse("").e, ERR_PROVIDER_CUT);
}

Test(llm_openai, what_follows_the_end_mark_does_not_matter)
{
	struct outcome o = parse(DELTA("{\"content\":\"a\"}") FINISH("stop") DONE "data: nonsense\n\ndata: {\"error\":1}\n\nevent: error\ndata: x\n\n");

	cr_expect_eq(o.e, ERR_OK, "%s", o.internal);
	cr_expect(o.is_whole);
	expect_text(o, "a");
}

/* TRN-3 */
Test(llm_openai, joins_the_fragments_of_tool_calls_by_index)
{
	struct outcome o = parse(
		DELTA("{\"role\":\"assistant\",\"content\":null}")
		DELTA("{\"tool_calls\":[{\"index\":0,\"id\":\"c1\",\"type\":\"function\",\"function\":{\"name\":\"f\",\"arguments\":\"\"}}]}")
		DELTA("{\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":\"{\\\"ci\"}}]}")
		DELTA("{\"tool_calls\":[{\"index\":1,\"id\":\"c2\",\"function\":{\"name\":\"g\",\"arguments\":\"{}\"}}]}")
		DELTA("{\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":\"ty\\\":1}\"}}]}") FINISH("tool_calls") USAGE DONE);

	cr_expect_eq(o.e, ERR_OK, "%s", o.internal);
	cr_expect_eq(o.result.finish, LLM_TOOL);
	cr_expect(bytes_equal(o.result.tool_calls, BYTES("[{\"id\":\"c1\",\"name\":\"f\",\"arguments\":\"{\\\"city\\\":1}\"},"
							 "{\"id\":\"c2\",\"name\":\"g\",\"arguments\":\"{}\"}]")),
		  "%.*s", (int)o.result.tool_calls.n, o.result.tool_calls.p);
	expect_text(o, "");
}

/* TRN-3 */
Test(llm_openai, calls_go_back_as_they_came)
{
	struct outcome o = parse(DELTA("{\"content\":\"Let me see.\"}")
				 DELTA("{\"tool_calls\":[{\"index\":0,\"id\":\"call_1\",\"type\":\"function\",\"function\":{\"name\":\"f\",\"arguments\":\"{\\\"a\\\": 1}\"}}]}")
				 FINISH("tool_calls") USAGE DONE);

	build_answered(&DRIVER, &o);
	expect_bytes(jsonx_member(built.body, "messages"),
		     "[{\"role\":\"user\",\"content\":\"Hi\"},{\"role\":\"assistant\",\"content\":\"Let me see.\",\"tool_calls\":["
		     "{\"id\":\"call_1\",\"type\":\"function\",\"function\":{\"name\":\"f\",\"arguments\":\"{\\\"a\\\": 1}\"}}]}]");
}

Test(llm_openai, understands_servers_that_number_tool_calls_badly)
{
	struct outcome o = parse(DELTA("{\"tool_calls\":[{\"index\":0,\"id\":\"a\",\"function\":{\"name\":\"f\",\"arguments\":\"{}\"}}]}")
				 DELTA("{\"tool_calls\":[{\"index\":0,\"id\":\"b\",\"function\":{\"name\":\"g\",\"arguments\":{\"x\":1}}}]}") FINISH("stop") DONE);

	cr_expect_eq(o.e, ERR_OK);
	cr_expect_eq(o.result.finish, LLM_TOOL, "calls mean tools, whatever the finish says");
	cr_expect(bytes_equal(o.result.tool_calls, BYTES("[{\"id\":\"a\",\"name\":\"f\",\"arguments\":\"{}\"},"
							 "{\"id\":\"b\",\"name\":\"g\",\"arguments\":\"{\\\"x\\\":1}\"}]")),
		  "%.*s", (int)o.result.tool_calls.n, o.result.tool_calls.p);
	o = parse(DELTA("{\"tool_calls\":[{\"id\":\"a\",\"function\":{\"name\":\"f\"}},{\"id\":\"b\",\"function\":{\"name\":\"g\"}}]}") FINISH("stop") DONE);
	cr_expect(bytes_equal(o.result.tool_calls, BYTES("[{\"id\":\"a\",\"name\":\"f\",\"arguments\":\"\"},{\"id\":\"b\",\"name\":\"g\",\"arguments\":\"\"}]")));
}

Test(llm_openai, tool_calls_without_number_are_too_many)
{
	struct buf b;

	buf_init(&b, arena, 0);
	for (int i = 0; i < 129; i++)
		buf_addf(&b, "data: {\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":%d}]}}]}\n\n", i);
	cr_expect_eq(parse_in(&DRIVER, 200, buf_bytes(&b), b.n).e, ERR_PROVIDER_INVALID);
}

#define CALL(i, more, arguments) "{\"index\":" #i more ",\"function\":{" arguments "}}"
#define TOOLS(calls) DELTA("{\"tool_calls\":[" calls "]}")

Test(llm_openai, a_call_that_the_limit_cut_off_is_left_out)
{
	struct outcome o = parse(TOOLS(CALL(0, ",\"id\":\"a\"", "\"name\":\"f\",\"arguments\":\"{}\""))
				 TOOLS(CALL(1, ",\"id\":\"b\"", "\"name\":\"g\",\"arguments\":\"{\\\"ci\"")) FINISH("length") USAGE DONE);

	cr_expect_eq(o.e, ERR_OK);
	cr_expect_eq(o.result.finish, LLM_LENGTH);
	expect_bytes(o.result.tool_calls, "[{\"id\":\"a\",\"name\":\"f\",\"arguments\":\"{}\"}]");
	o = parse(TOOLS(CALL(0, ",\"id\":\"a\"", "\"name\":\"f\",\"arguments\":\"{\\\"ci\"")) FINISH("tool_calls") DONE);
	expect_bytes(o.result.tool_calls, "[{\"id\":\"a\",\"name\":\"f\",\"arguments\":\"{\\\"ci\"}]");
	cr_expect_eq(o.result.finish, LLM_TOOL, "arguments that are no JSON are for the tool to refuse");
}

/* The messages of a conversation whose second is an answer. */
static struct bytes go_on(const char *base_url, const struct outcome *o, size_t n)
{
	struct llm_message m[] = { { BYTES("user"), BYTES("\"Hi\""), { 0 } }, { BYTES("assistant"), o->result.parts, { 0 } },
				   { BYTES("tool"), BYTES("\"4\""), BYTES("{\"tool_call_id\":\"a\"}") }, { BYTES("user"), BYTES("\"Go on\""), { 0 } } };

	m[1].extra = bytes_of(arena_printf(arena, "{\"tool_calls\":%.*s}", (int)o->result.tool_calls.n, o->result.tool_calls.p));
	return messages_of(base_url, m, n);
}

/* TRN-3: a signature that stands in a call goes back with it. */
Test(llm_openai, what_a_call_holds_besides_goes_back_to_its_maker)
{
	struct outcome o = parse(TOOLS(CALL(0, ",\"id\":\"a\",\"type\":\"function\",\"extra_content\":{\"google\":{\"thought_signature\":\"c2ln\"}}", "\"name\":\"f\",\"arguments\":\"\""))
				 TOOLS(CALL(0, "", "\"arguments\":\"{}\"")) FINISH("tool_calls") DONE);

	expect_bytes(o.result.tool_calls, "[{\"id\":\"a\",\"name\":\"f\",\"arguments\":\"{}\",\"openai\":{\"extra_content\":{\"google\":{\"thought_signature\":\"c2ln\"}}}}]");
	build_answered(&DRIVER, &o);
	cr_expect(memmem(built.body.p, built.body.n, "\"arguments\":\"{}\"},\"extra_content\":{\"google\":{\"thought_signature\":\"c2ln\"}}}]", 75), "%.*s",
		  (int)built.body.n, built.body.p);
	build_answered(&llm_anthropic, &o);
	cr_expect_not(memmem(built.body.p, built.body.n, "c2ln", 4));
	struct bytes got = go_on("https://api.openai.com/v1", &o, 3);
	cr_expect_not(memmem(got.p, got.n, "c2ln", 4), "another server of the same form refuses it: %.*s", (int)got.n, got.p);
}

/* TRN-3: what servers want back goes to the one that said it, thoughts only while their tools are called. */
Test(llm_openai, thoughts_go_back_to_their_server_alone)
{
	struct outcome o = parse(DELTA("{\"role\":\"assistant\",\"reasoning_content\":\"Let me \",\"phase\":null}")
				 DELTA("{\"reasoning_content\":\"add.\",\"reasoning\":\"ignored\",\"reasoning_details\":[{\"type\":\"reasoning.encrypted\",\"data\":\"Zm9v\"}]}")
				 DELTA("{\"reasoning_details\":[{\"n\":2}],\"content\":\"So\"}") DELTA("{\"phase\":\"commentary\"}")
				 TOOLS(CALL(0, ",\"id\":\"a\"", "\"name\":\"f\",\"arguments\":\"{}\"")) FINISH("tool_calls") DONE);
	struct bytes got;

	expect_text(o, "So");
	expect_bytes(o.result.parts, "[{\"type\":\"thinking\",\"thinking\":\"Let me add.\",\"openai\":{\"maker\":\"llm.example\",\"text\":\"reasoning_content\","
				     "\"reasoning_details\":[{\"type\":\"reasoning.encrypted\",\"data\":\"Zm9v\"},{\"n\":2}],\"phase\":\"commentary\"}},"
				     "{\"type\":\"text\",\"text\":\"So\"}]");
	got = go_on("http://llm.example/v1", &o, 3);
	cr_expect(memmem(got.p, got.n, "\"content\":\"So\",\"tool_calls\"", 27), "%.*s", (int)got.n, got.p);
	cr_expect(memmem(got.p, got.n, "\"reasoning_content\":\"Let me add.\",\"reasoning_details\":[{\"type\":\"reasoning.encrypted\",\"data\":\"Zm9v\"},{\"n\":2}],"
				       "\"phase\":\"commentary\"}", 128), "%.*s", (int)got.n, got.p);
	got = go_on("http://llm.example/v1", &o, 4);
	cr_expect_not(memmem(got.p, got.n, "reasoning", 9), "the turn is over: %.*s", (int)got.n, got.p);
	cr_expect(memmem(got.p, got.n, "\"phase\":\"commentary\"", 20));
	got = go_on("http://llm.example:8080/v1", &o, 3);
	cr_expect_not(memmem(got.p, got.n, "reasoning", 9) || memmem(got.p, got.n, "phase", 5), "another server: %.*s", (int)got.n, got.p);
	build_answered(&llm_gemini, &o);
	cr_expect_not(memmem(built.body.p, built.body.n, "Zm9v", 4) || memmem(built.body.p, built.body.n, "Let me", 6));
}

Test(llm_openai, thoughts_in_front_of_an_answer_are_not_kept)
{
	struct outcome o = parse(DELTA("{\"reasoning\":\"Hm.\"}") DELTA("{\"content\":\"Yes\"}") FINISH("stop") DONE);

	expect_text(o, "Yes");
	cr_expect_eq(o.result.parts.n, 0);
	o = parse(DELTA("{\"reasoning\":\"Hm.\",\"encrypted_content\":\"Zm9v\"}") DELTA("{\"content\":\"Yes\"}") FINISH("stop") DONE);
	expect_bytes(o.result.parts, "[{\"type\":\"thinking\",\"thinking\":\"\",\"openai\":{\"maker\":\"llm.example\",\"encrypted_content\":\"Zm9v\"}},"
				     "{\"type\":\"text\",\"text\":\"Yes\"}]");
}

Test(llm_openai, calls_get_ids_where_they_have_none)
{
	struct outcome o = parse(TOOLS(CALL(0, "", "\"name\":\"f\",\"arguments\":\"{}\"") "," CALL(1, ",\"id\":\"\"", "\"name\":\"f\",\"arguments\":\"{}\"")) FINISH("stop") DONE);
	struct jsonx_walk w;
	struct bytes first;

	cr_expect_eq(o.result.finish, LLM_TOOL);
	jsonx_walk_begin(&w, o.result.tool_calls);
	cr_assert(jsonx_walk_next(&w));
	first = jsonx_member(w.value, "id");
	cr_assert(jsonx_walk_next(&w));
	cr_expect(first.n > 4 && !bytes_equal(first, jsonx_member(w.value, "id")));
}

/* Every provider refuses a history with a name that is none, and some one with the same id twice. */
Test(llm_openai, calls_are_named_and_told_apart_as_every_provider_takes_them)
{
	struct outcome o = parse(TOOLS(CALL(0, ",\"id\":\"c\"", "\"name\":\"functions.f\\n\",\"arguments\":\"{}\"") ","
				       CALL(1, ",\"id\":\"c\"", "\"name\":\"\\u00e4\",\"arguments\":\"{}\"")) FINISH("stop") DONE);
	struct jsonx_walk w;
	struct bytes first;

	jsonx_walk_begin(&w, o.result.tool_calls);
	cr_assert(jsonx_walk_next(&w));
	first = jsonx_member(w.value, "id");
	expect_bytes(first, "\"c\"");
	expect_bytes(jsonx_member(w.value, "name"), "\"functions_f_\"");
	cr_assert(jsonx_walk_next(&w));
	cr_expect(!bytes_equal(first, jsonx_member(w.value, "id")), "%.*s", (int)o.result.tool_calls.n, o.result.tool_calls.p);
	expect_bytes(jsonx_member(w.value, "name"), "\"__\"");
}

Test(llm_openai, a_call_of_any_length_of_names_can_be_stored)
{
	char *name = arena_alloc(arena, 2001);
	struct outcome o;
	struct jsonx_walk w;

	memset(name, 'n', 2000);
	o = parse(arena_printf(arena, TOOLS(CALL(0, ",\"id\":\"%s\"", "\"name\":\"%s\",\"arguments\":\"{}\"")) FINISH("stop") DONE, name, name));
	jsonx_walk_begin(&w, o.result.tool_calls);
	cr_assert(jsonx_walk_next(&w));
	cr_expect_leq(jsonx_member(w.value, "id").n, 130);
	cr_expect_eq(jsonx_member(w.value, "name").n, 66);
}

Test(llm_openai, a_refusal_is_a_filter_and_its_text_is_kept)
{
	struct outcome o = parse(DELTA("{\"refusal\":\"I can't\"}") DELTA("{\"content\":null,\"refusal\":\" do that.\"}") FINISH("stop") USAGE DONE);

	cr_expect_eq(o.e, ERR_OK);
	expect_text(o, "I can't do that.");
	cr_expect_eq(o.result.finish, LLM_FILTER);
	o = parse(DELTA("{\"content\":\"a\",\"refusal\":null}") FINISH("content_filter") DONE);
	cr_expect_eq(o.result.finish, LLM_FILTER);
}

Test(llm_openai, an_error_inside_the_stream_is_a_failure)
{
	struct outcome o = parse(DELTA("{\"content\":\"a\"}") DATA("{\"error\":{\"message\":\"Broken \xc3\xbc\",\"type\":\"server_error\"}}") DONE);

	cr_expect_eq(o.e, ERR_PROVIDER_FAILED);
	cr_expect(strstr(o.internal, "Broken \xc3\xbc"), "%s", o.internal);
	expect_text(o, "a");
	o = parse(DELTA("{\"content\":\"a\"}") "event: error\ndata: {\"message\":\"Oh\"}\n\n");
	cr_expect_eq(o.e, ERR_PROVIDER_FAILED);
	cr_expect(strstr(o.internal, "Oh"));
	cr_expect_eq(parse("event: error\ndata: not JSON\n\n").e, ERR_PROVIDER_FAILED);
	cr_expect_eq(parse(DATA("{\"error\":\"plain\"}")).e, ERR_PROVIDER_FAILED);
	cr_expect_eq(parse(DATA("{\"error\":null,\"choices\":[]}") DONE).e, ERR_OK);
	cr_expect_eq(parse("[{\"error\":{\"message\":\"x\"}}]").e, ERR_PROVIDER_FAILED, "some wrap it in a list");
	o = parse(DELTA("{\"content\":\"a\"}") "{\"error\":{\"message\":\"Bare\"}}\n");
	cr_expect_eq(o.e, ERR_PROVIDER_FAILED, "or send it without data:");
	cr_expect(strstr(o.internal, "Bare"));
	expect_text(o, "a");
}

/* What a prompt provokes must neither be asked again nor open the breaker of a provider that all share. */
Test(llm_openai, an_error_inside_the_stream_may_be_a_refusal)
{
	static const struct {
		const char *error;
		enum err e;
	} rows[] = {
		{ "{\"message\":\"x\",\"code\":400}", ERR_PROVIDER_REFUSED }, { "{\"message\":\"x\",\"code\":\"403\"}", ERR_PROVIDER_REFUSED },
		{ "{\"message\":\"x\",\"type\":\"invalid_request_error\",\"code\":\"context_length_exceeded\"}", ERR_PROVIDER_REFUSED },
		{ "{\"message\":\"x\",\"type\":\"billing_error\"}", ERR_PROVIDER_REFUSED },
		{ "{\"message\":\"x\",\"code\":429}", ERR_PROVIDER_RATE }, { "{\"message\":\"x\",\"type\":\"rate_limit_error\"}", ERR_PROVIDER_RATE },
		{ "{\"message\":\"x\",\"code\":502}", ERR_PROVIDER_FAILED }, { "{\"message\":\"x\",\"code\":408}", ERR_PROVIDER_FAILED },
		{ "{\"message\":\"x\",\"code\":7}", ERR_PROVIDER_FAILED }, { "{\"message\":\"x\",\"code\":\"4000\"}", ERR_PROVIDER_FAILED },
		{ "{\"message\":\"x\",\"type\":\"api_error\",\"code\":null}", ERR_PROVIDER_FAILED },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct outcome o = parse(arena_printf(arena, DELTA("{\"content\":\"a\"}") "data: {\"error\":%s}\n\n", rows[i].error));

		cr_expect_eq(o.e, rows[i].e, "%s: %s", err_code(o.e), rows[i].error);
		cr_expect(o.internal && strstr(o.internal, "is an error: x"), "%s", o.internal);
	}
	cr_expect_eq(parse("event: error\ndata: {\"message\":\"Oh\",\"code\":400}\n\n").e, ERR_PROVIDER_REFUSED);
}

Test(llm_openai, what_is_not_the_protocol_is_invalid)
{
	static const char *const bodies[] = {
		DATA("this is no JSON"),
		DATA("[1]"),
		DATA("{\"choices\":[1]}"),
		DATA("{\"choices\":[{\"delta\":{\"content\":\"\xc3\"}}]}"),
		DATA("{\"choices\":[{\"delta\":{\"content\":\"\\ud83c\"}}]}"),
		DATA("{\"choices\":[{\"delta\":{\"content\":\"a\",\"content\":\"b\"}}]}"),
		DATA("{\"choices\":[{\"delta\":{\"tool_calls\":[1]}}]}"),
		"<!doctype html><p>Sign in: here</p>\n",
		"hello",
		": only comments\n\n",
		"{\"object\":\"list\",\"data\":[]}",
		"{\"choices\":",
		"[{\"error\":null}]",
		CHUNK("{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":0,\"id\":\"c\",\"function\":{\"arguments\":\"{}\"}}]}}") FINISH("tool_calls") DONE,
		DELTA("{\"content\":\"a\"}") "[1,2]\n",
	};

	for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++) {
		struct outcome o = parse(bodies[i]);

		cr_expect_eq(o.e, ERR_PROVIDER_INVALID, "%s: %s", err_code(o.e), bodies[i]);
	}
}

Test(llm_openai, takes_what_servers_add_or_leave_out)
{
	struct outcome o = parse("\n: ping\n\n" DATA("") DATA("{\"choices\":null}") DATA("{}") DATA("{\"choices\":[{\"delta\":null}]}  ")
				 DATA("{\"choices\":[{\"delta\":{},\"finish_reason\":\"\"}],\"obfuscation\":\"x7Kq\"}")
				 DELTA("{\"content\":7,\"reasoning_content\":\"hm\"}") CHUNK("{\"index\":1,\"delta\":{\"content\":\"other\"}}")
				 DELTA("{\"content\":[{\"type\":\"text\",\"text\":\"a\"},{\"type\":\"thinking\",\"text\":\"no\"},1]}") FINISH("eos")
				 DATA("{\"choices\":[],\"usage\":{\"prompt_tokens\":3.0,\"completion_tokens\":4}}") DONE);

	cr_expect_eq(o.e, ERR_OK, "%s", o.internal);
	expect_text(o, "a");
	cr_expect_eq(o.result.finish, LLM_STOP);
	cr_expect_eq(o.result.usage.input_tokens, 3);
}

Test(llm_openai, counts_that_cannot_be_are_unknown)
{
	static const char *const usages[] = { "{}", "7", "{\"prompt_tokens\":-1,\"completion_tokens\":2}", "{\"prompt_tokens\":1}",
					      "{\"prompt_tokens\":\"1\",\"completion_tokens\":2}", "{\"prompt_tokens\":1e300,\"completion_tokens\":2}" };

	for (size_t i = 0; i < sizeof(usages) / sizeof(usages[0]); i++) {
		struct outcome o = parse(arena_printf(arena, "data: {\"choices\":[],\"usage\":%s}\n\n" DONE, usages[i]));

		cr_expect_eq(o.e, ERR_OK);
		cr_expect_not(o.result.usage.is_known, "%s", usages[i]);
	}
}

Test(llm_openai, a_plain_answer_to_a_streaming_request_is_taken)
{
	struct outcome o = parse(" {\"id\":\"c\",\"object\":\"chat.completion\",\"model\":\"m-2\",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\","
				 "\"content\":\"All \\n at once\",\"refusal\":null,\"tool_calls\":[{\"id\":\"c1\",\"type\":\"function\","
				 "\"function\":{\"name\":\"f\",\"arguments\":\"{}\"}}]},\"finish_reason\":\"tool_calls\"}],"
				 "\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":2}}\n");

	cr_expect_eq(o.e, ERR_OK, "%s", o.internal);
	expect_text(o, "All \n at once");
	cr_expect_eq(o.result.finish, LLM_TOOL);
	cr_expect_eq(o.result.usage.output_tokens, 2);
	cr_expect(bytes_equal(o.result.tool_calls, BYTES("[{\"id\":\"c1\",\"name\":\"f\",\"arguments\":\"{}\"}]")));
	o = parse("{\"error\":{\"message\":\"Nope\"}}");
	cr_expect_eq(o.e, ERR_PROVIDER_FAILED);
	cr_expect(strstr(o.internal, "Nope"));
}

Test(llm_openai, an_error_status_is_told_apart)
{
	static const struct {
		int status;
		enum err e;
	} rows[] = { { 302, ERR_PROVIDER_INVALID }, { 408, ERR_PROVIDER_FAILED }, { 409, ERR_PROVIDER_FAILED }, { 425, ERR_PROVIDER_FAILED },
		     { 400, ERR_PROVIDER_REFUSED }, { 401, ERR_PROVIDER_REFUSED }, { 403, ERR_PROVIDER_REFUSED },
		     { 404, ERR_PROVIDER_REFUSED }, { 413, ERR_PROVIDER_REFUSED }, { 422, ERR_PROVIDER_REFUSED }, { 429, ERR_PROVIDER_RATE },
		     { 500, ERR_PROVIDER_FAILED }, { 503, ERR_PROVIDER_FAILED }, { 529, ERR_PROVIDER_FAILED } };

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct outcome o = parse_status(&DRIVER, rows[i].status, BYTES("{\"error\":{\"message\":\"Because\",\"type\":\"t\",\"code\":null}}"));

		cr_expect_eq(o.e, rows[i].e, "%d: %s", rows[i].status, err_code(o.e));
		cr_expect_str_eq(o.internal, arena_printf(arena, "the provider answered %d: Because", rows[i].status));
		cr_expect_eq(o.retry_after_s, 5);
		cr_expect_eq(o.n_texts, 0);
	}
}

Test(llm_openai, the_body_of_an_error_is_bounded_and_harmless)
{
	struct buf b;
	struct outcome o;

	o = parse_status(&DRIVER, 500, BYTES("<h1>Bad\r\n\x01\xff gateway</h1>"));
	cr_expect_str_eq(o.internal, "the provider answered 500: <h1>Bad  ?? gateway</h1>");
	o = parse_status(&DRIVER, 500, BYTES(""));
	cr_expect_str_eq(o.internal, "the provider answered 500: ");
	o = parse_status(&DRIVER, 500, BYTES("{\"message\":\"top\"}"));
	cr_expect_str_eq(o.internal, "the provider answered 500: top");
	o = parse_status(&DRIVER, 500, BYTES("{\"detail\":[1]}"));
	cr_expect_str_eq(o.internal, "the provider answered 500: {\"detail\":[1]}");

	buf_init(&b, arena, 0);
	buf_add_str(&b, "{\"error\":\"");
	for (int i = 0; i < 1500; i++)
		buf_add_str(&b, "\xc3\xbc");
	buf_add_str(&b, "\"}");
	o = parse_in(&DRIVER, 500, buf_bytes(&b), b.n);
	cr_expect_eq(strlen(o.internal), strlen("the provider answered 500: ") + 2048);
	for (int i = 0; i < 100000; i++)
		buf_add_char(&b, 'x');
	o = parse_in(&DRIVER, 400, buf_bytes(&b), 1000);
	cr_expect_eq(o.e, ERR_PROVIDER_REFUSED);
	cr_expect(strlen(o.internal) < 2100);
}

Test(llm_openai, an_error_of_the_callback_is_passed_up)
{
	struct outcome o = { 0 };
	struct llm_events ev = { &o, on_text, NULL };
	struct llm_parser *ps = llm_openai.parse_begin(&task, &(struct llm_provider){ .base_url = "http://llm.example/v1" }, 200, 0, &ev, &o.result);

	buf_init(&o.heard, arena, 16);
	fail_text = ERR_UNAVAILABLE;
	cr_expect_eq(llm_openai.parse_take(ps, BYTES(DELTA("{\"content\":\"a\"}") DELTA("{\"content\":\"b\"}") DONE)), ERR_UNAVAILABLE);
	fail_text = ERR_OK;
	cr_expect_eq(o.n_texts, 1);
	expect_text(o, "a");
}

Test(llm_openai, a_long_stream_costs_little_more_than_its_text)
{
	struct outcome o = { 0 };
	struct llm_events ev = { &o, NULL, NULL };
	struct llm_parser *ps = llm_openai.parse_begin(&task, &(struct llm_provider){ .base_url = "http://llm.example/v1" }, 200, 0, &ev, &o.result);
	size_t before = arena_used(arena);

	for (int i = 0; i < 10000; i++)
		cr_assert_eq(llm_openai.parse_take(ps, BYTES(DELTA("{\"content\":\"word \\\"x\\\"\"}"))), ERR_OK);
	cr_expect_eq(o.result.text.n, 80000);
	cr_expect(arena_used(arena) - before < 4 * 80000, "%zu bytes", arena_used(arena) - before);
}
