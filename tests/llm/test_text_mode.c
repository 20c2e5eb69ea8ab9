/* SPDX-License-Identifier: MIT */
/* test_text_mode: tools with a model that only writes text: what it is told, and what it writes, in one piece and character by character. */
#include "answer_fixture.h"
#include "llm/answer.h"
#include "llm/text_answer.h"
#include "llm/text_mode.h"

TestSuite(text_mode, .init = answer_setup, .fini = answer_teardown, .timeout = 20);

/* ---- what it is told ---- */

static struct llm_request made;

/* The messages of a request as the model reads them: role, colon, content, a line each. */
static struct bytes told(const struct llm_message *m, size_t n)
{
	struct llm_request rq = tools_request();
	struct buf b;

	rq.messages = m;
	rq.n_messages = n;
	rq.is_text_mode = true;
	text_mode_request(&task, &rq, &made);
	buf_init(&b, arena, 64);
	for (size_t i = 0; i < made.n_messages; i++) {
		cr_expect_eq(made.messages[i].extra.n, 0);
		buf_add_bytes(&b, made.messages[i].role);
		buf_add_char(&b, ':');
		buf_add_bytes(&b, is_string(made.messages[i].content) ? jsonx_string(arena, made.messages[i].content) : made.messages[i].content);
		buf_add_char(&b, '\n');
	}
	return buf_bytes(&b);
}

/* TRN-6 */
Test(text_mode, the_instructions_say_how_to_ask_for_tools)
{
	struct llm_request rq = tools_request();

	rq.instructions = BYTES("Be kind.");
	text_mode_request(&task, &rq, &made);
	cr_expect_eq(made.n_tools, 0);
	cr_expect_eq(memcmp(made.instructions.p, "Be kind.\n\nYou can use tools.", 27), 0);
	cr_expect(memmem(made.instructions.p, made.instructions.n, "\n{\"name\":\"get_weather\",\"description\":\"Tells the \\\"weather\\\"\",\"parameters\":{\"type\"", 80));
	cr_expect(memmem(made.instructions.p, made.instructions.n, "\n{\"name\":\"get_time\",\"parameters\":{", 34));
	rq.must_answer = true;
	text_mode_request(&task, &rq, &made);
	cr_expect_eq(memcmp(made.instructions.p + made.instructions.n - 8, " answer.", 8), 0);
	rq.instructions = (struct bytes){ 0 };
	text_mode_request(&task, &rq, &made);
	cr_expect_eq(memcmp(made.instructions.p, "You can", 7), 0);
	rq.n_tools = 0;
	text_mode_request(&task, &rq, &made);
	cr_expect_eq(made.instructions.n, 0, "without tools there is nothing to say");
}

/* TRN-6 */
Test(text_mode, calls_and_results_are_said_as_text)
{
	static const struct llm_message m[] = {
		{ BYTES("user"), BYTES("\"What now?\""), { 0 } },
		{ BYTES("assistant"), BYTES("[{\"type\":\"thinking\",\"thinking\":\"Hm.\"}]"),
		  BYTES("{\"tool_calls\":[{\"id\":\"a\",\"name\":\"get_weather\",\"arguments\":\"{\\\"city\\\": \\\"Bonn\\\"}\"}]}") },
		{ BYTES("tool"), BYTES("\"sunny\""), BYTES("{\"tool_call_id\":\"a\"}") },
		{ BYTES("assistant"), BYTES("[{\"type\":\"thinking\",\"thinking\":\"secret\",\"anthropic\":{\"signature\":\"s\"}},{\"type\":\"text\",\"text\":\"Let me see.\"}]"),
		  BYTES("{\"tool_calls\":[{\"id\":\"b\",\"type\":\"function\",\"function\":{\"name\":\"get_time\",\"arguments\":\"\"}},"
			"{\"id\":\"c\",\"name\":\"get_weather\",\"arguments\":\"no JSON\"}]}") },
		{ BYTES("tool"), BYTES("[{\"type\":\"json\",\"json\":{\"h\":12}}]"), BYTES("{\"tool_call_id\":\"b\"}") },
		{ BYTES("tool"), BYTES("\"bad \\\"city\\\"\""), BYTES("{\"tool_call_id\":\"c\",\"is_error\":true}") },
		{ BYTES("assistant"), BYTES("\"It is noon.\""), { 0 } },
		{ BYTES("tool"), BYTES("\"lost\""), BYTES("{\"tool_call_id\":\"z\"}") },
	};
	struct bytes got = told(m, 8);

	expect_bytes(got, "user:What now?\n"
			  "assistant:{\"thought\":\"Hm.\",\"tool\":\"get_weather\",\"arguments\":{\"city\": \"Bonn\"}}\n"
			  "user:Observation:\n{\"tool\":\"get_weather\",\"result\":\"sunny\"}\n"
			  "assistant:{\"thought\":\"Let me see.\",\"tools\":[{\"tool\":\"get_time\",\"arguments\":\"\"},"
			  "{\"tool\":\"get_weather\",\"arguments\":\"no JSON\"}]}\n"
			  "user:Observation:\n{\"tool\":\"get_time\",\"result\":\"{\\\"h\\\":12}\"}\n{\"tool\":\"get_weather\",\"error\":\"bad \\\"city\\\"\"}\n"
			  "assistant:It is noon.\n"
			  "user:Observation:\n{\"result\":\"lost\"}\n");
}

/* ---- what it writes ---- */

static enum llm_finish finish;

/* Calls as "name arguments" lines. */
static struct bytes calls_of(struct bytes calls)
{
	struct jsonx_flaw flaw;
	struct jsonx_walk w;
	struct buf b;

	buf_init(&b, arena, 64);
	if (calls.n == 0)
		return buf_bytes(&b);
	cr_assert(jsonx_check_strict(arena, calls, &flaw), "%s: %.*s", flaw.reason, (int)calls.n, calls.p);
	jsonx_walk_begin(&w, calls);
	while (jsonx_walk_next(&w)) {
		cr_expect_gt(jsonx_member(w.value, "id").n, 2);
		buf_add_bytes(&b, jsonx_string(arena, jsonx_member(w.value, "name")));
		buf_add_char(&b, ' ');
		buf_add_bytes(&b, jsonx_string(arena, jsonx_member(w.value, "arguments")));
		buf_add_char(&b, '\n');
	}
	return buf_bytes(&b);
}

static struct outcome write_in(struct bytes text, size_t step)
{
	struct outcome o = { 0 };
	struct llm_events ev = { &o, on_text, NULL };
	struct llm_result plain = { .text = text, .finish = finish, .model = BYTES("m"), .usage = { .output_tokens = 7, .is_known = true } };
	struct text_answer *ta = text_answer_begin(&task, &ev, &o.result);
	struct jsonx_flaw flaw;

	buf_init(&o.heard, arena, 16);
	for (size_t at = 0, n; o.e == ERR_OK && at < text.n; at += n) {
		for (n = step < text.n - at ? step : text.n - at; at + n < text.n && ((unsigned char)text.p[at + n] & 0xc0) == 0x80;)
			n++;
		o.e = text_answer_take(ta, (struct bytes){ arena_copy(arena, text.p + at, n), n });
	}
	if (o.e == ERR_OK) {
		o.e = text_answer_end(ta, &plain);
		cr_expect(o.result.model.n == 1 && o.result.usage.output_tokens == 7, "it is billed whatever came of it");
	}
	cr_expect(bytes_equal(buf_bytes(&o.heard), o.result.text), "what was heard is what was kept");
	cr_expect(o.result.parts.n == 0 || jsonx_check_strict(arena, o.result.parts, &flaw));
	return o;
}

/* Reads at once and in pieces. */
static struct outcome write_text(const char *text)
{
	struct outcome whole = write_in(bytes_of(text), strlen(text) + 1);

	for (size_t step = 1; step < 6; step++) {
		struct outcome o = write_in(bytes_of(text), step);

		cr_expect_eq(o.e, whole.e, "%s", text);
		cr_expect(bytes_equal(o.result.text, whole.result.text), "pieces of %zu: %s: %.*s", step, text, (int)o.result.text.n, o.result.text.p);
		cr_expect(bytes_equal(calls_of(o.result.tool_calls), calls_of(whole.result.tool_calls)), "pieces of %zu: %s", step, text);
		cr_expect(bytes_equal(o.result.parts, whole.result.parts), "pieces of %zu: %s", step, text);
		cr_expect_eq(o.result.finish, whole.result.finish);
	}
	return whole;
}

static void expect_read(const char *text, const char *answer, const char *calls)
{
	struct outcome o = write_text(text);
	struct bytes got = calls_of(o.result.tool_calls);

	cr_expect_eq(o.e, ERR_OK);
	cr_expect(bytes_equal(o.result.text, bytes_of(answer)), "%s: %.*s", text, (int)o.result.text.n, o.result.text.p);
	cr_expect(bytes_equal(got, bytes_of(calls)), "%s: %.*s", text, (int)got.n, got.p);
	if (calls[0])
		cr_expect_eq(o.result.finish, LLM_TOOL, "%s", text);
	else
		cr_expect_eq(o.result.finish, finish, "%s", text);
}

/* TRN-6 */
Test(text_mode, an_object_is_an_answer_or_calls)
{
	expect_read("{\"thought\":\"easy\",\"answer\":\"42\"}", "42", "");
	expect_read("{\"answer\":\"Gr\xc3\xbc\\u00df\\\"e\\\" \\ud83c\\udf0d\\n\\/\\\\\"}", "Gr\xc3\xbc\xc3\x9f\"e\" \xf0\x9f\x8c\x8d\n/\\", "");
	expect_read("{\"answer\":\"\"}", "", "");
	expect_read("{\"answer\":{\"a\":[1]}}", "{\"a\":[1]}", "");
	expect_read("{\"answer\": 42 }", "42", "");
	expect_read("{\"\\u0061nswer\":\"x\"}", "x", "");
	expect_read("{\"thought\":\"t\",\"tool\":\"f\",\"arguments\":{\"a\": [1, \"x\"]}}", "", "f {\"a\": [1, \"x\"]}\n");
	expect_read("{\"tool\":\"f\"}", "", "f {}\n");
	expect_read("{\"tool\":\"f\",\"arguments\":null}", "", "f {}\n");
	expect_read("{\"tool\":\"f\",\"arguments\":\"{\\\"a\\\":1}\"}", "", "f {\"a\":1}\n");
	expect_read("{\"thought\":\"t\",\"tools\":[{\"tool\":\"f\",\"arguments\":{}},{\"tool\":\"g\",\"arguments\":{\"b\":2}}]}", "", "f {}\ng {\"b\":2}\n");
	expect_read("{\"tool\":\"look up\\n\"}", "", "look_up_ {}\n");
	expect_read("{\"tool\":null,\"answer\":\"x\"}", "x", "");
	expect_read("{\"answer\":\"One moment.\",\"tool\":\"f\",\"arguments\":{}}", "One moment.", "f {}\n");
	expect_read("{\"answer\":null,\"tool\":\"f\",\"arguments\":{}}", "", "f {}\n");
}

Test(text_mode, what_stands_around_the_object_does_no_harm)
{
	expect_read("\n ```json\n{\"answer\":\"x\"}\n```\n", "x", "");
	expect_read("```{\"tool\":\"f\"}```", "", "f {}\n");
	expect_read("Let me look.\n\n{\"tool\":\"f\"}\nObservation: 17\n{\"answer\":\"made up\"}", "Let me look.", "f {}\n");
	expect_read("Action: {\"tool\":\"f\"}", "Action:", "f {}\n");
	expect_read("Well:\n{\"answer\":\"x\"} That was it.", "Well:\nx", "");
	expect_read("[{\"tool\":\"f\"},\n {\"name\":\"g\",\"arguments\":{}}]", "", "f {}\ng {}\n");
	expect_read("{\"tool\":\"f\"}\n{\"tool\":\"g\"}\n{\"answer\":\"made up\"}\n{\"tool\":\"h\"}", "", "f {}\ng {}\n");
}

Test(text_mode, text_without_an_object_is_the_answer)
{
	static const char *const texts[] = {
		"", " ", "Hello, world.\n", "Say {this} or {\"that\" or [1, 2].", "```c\nint main() { return 0; }\n```\n", "{\"temperature\":20}", "``", "{", "[[",
		"{}", "The body is {\"answer\": \"x\"}, always.", "{\"a\":1]", "{\"thought\":\"only that\"}", "{\"answer\":null}", "{\"a\":\"not ended", "[1, 2]",
		"{\"name\":\"Bo\",\"age\":3}", "a ` b `` c ``` d ```` e", "{\"a\" \"b\"}", "{\"a\":1 2}", "{\"tool\":\"\"}", "{,}", "{\"a\"}", "{\"a\":}", "  - a\n  - b",
		"\xe4\xb8\x96 {\"\xe7\x95\x8c\":",
	};

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		expect_read(texts[i], texts[i], "");
}

Test(text_mode, mistakes_of_models_are_mended)
{
	expect_read("{\"tool\":\"f\",\"arguments\":{\"a\":1}", "", "f {\"a\":1}\n");
	expect_read("{\"tools\":[{\"tool\":\"f\",\"arguments\":{\"a\":1", "", "f {\"a\":1}\n");
	expect_read("{\"tool\":\"f\",\"arguments\":{\"a\":[1,],},}", "", "f {\"a\":[1]}\n");
	expect_read("{\"tool\":\"f\",\"arguments\":{\"a\":\"x\ny\tz\"}}", "", "f {\"a\":\"x\\u000ay\\u0009z\"}\n");
	expect_read("{\"answer\":\"line\nline\"}", "line\nline", "");
	expect_read("{\"answer\":\"it\\'s \\$5 in C:\\users\"}", "it's $5 in C:\\users", "");
	expect_read("{\"answer\":\"half \\ud83c and \\udf0d\\ud83c\"}", "half \xef\xbf\xbd and \xef\xbf\xbd\xef\xbf\xbd", "");
	expect_read("{\"answer\":\"He said \"hi\", and \"bye\", too.\"}", "He said \"hi\", and \"bye\", too.", "");
	expect_read("{\"answer\":\"x\"", "x", "");
	expect_read("{\"answer\":\"x", "x", "");
	expect_read("{\"tool\":\"f\",\"arguments\":{\"a\":nope}}", "", "f {\"a\":nope}\n");
	expect_read("{\"tool\":\"f\",\"arguments\":{a:1}, \"why\":x}", "", "f {a:1}, \"why\":x\n");
	expect_read("{\"tool\":\"f\",\"arguments\":{\"a\":\"not ended", "", "f {\"a\":\"not ended\n");
}

Test(text_mode, what_a_limit_cut_off_is_told_or_left_out)
{
	finish = LLM_LENGTH;
	expect_read("{\"thought\":\"t\",\"answer\":\"so f\\u00", "so f", "");
	expect_read("{\"thought\":\"t\",\"tool\":\"f\",\"arguments\":{\"a\":1}", "", "");
	expect_read("{\"thought\":\"long", "", "");
	expect_read("{\"table\":[1,2", "{\"table\":[1,2", "");
	expect_read("Plain text is", "Plain text is", "");
	expect_read("{\"tool\":\"f\",\"arguments\":{\"a\":1}}\nObservation: and so on", "", "f {\"a\":1}\n");
	finish = LLM_STOP;
}

/* TRN-4 */
Test(text_mode, text_is_told_as_it_comes)
{
	static const char plain[] = "Hello there", answer[] = "{\"thought\":\"quite long\",\"answer\":\"Hello there\"}";
	struct outcome o = { 0 };
	struct llm_events ev = { &o, on_text, NULL };
	struct text_answer *ta = text_answer_begin(&task, &ev, &o.result);

	buf_init(&o.heard, arena, 16);
	cr_assert_eq(text_answer_take(ta, (struct bytes){ plain, 5 }), ERR_OK);
	expect_bytes(buf_bytes(&o.heard), "Hello");
	ta = text_answer_begin(&task, &ev, &o.result);
	buf_clear(&o.heard);
	cr_assert_eq(text_answer_take(ta, (struct bytes){ answer, sizeof(answer) - 9 }), ERR_OK);
	expect_bytes(buf_bytes(&o.heard), "Hello");
	fail_text = ERR_CANCELLED;
	cr_expect_eq(text_answer_take(ta, (struct bytes){ answer + sizeof(answer) - 9, 3 }), ERR_CANCELLED);
	expect_text(o, "Hello th");
	fail_text = ERR_OK;
}

/* TRN-6 */
Test(text_mode, the_thought_goes_back_with_the_calls)
{
	struct outcome o = write_text("Let me see.\n{\"thought\":\"It \\\"is\\\".\",\"tool\":\"f\"}"), plain;

	expect_bytes(o.result.parts, "[{\"type\":\"thinking\",\"thinking\":\"It \\\"is\\\".\"},{\"type\":\"text\",\"text\":\"Let me see.\"}]");
	o = write_text("{\"thought\":\"t\",\"answer\":\"x\"}");
	cr_expect_eq(o.result.parts.n, 0, "an answer needs none");
	plain = write_text("x");
	cr_expect_eq(plain.result.parts.n, 0);
}

Test(text_mode, too_many_calls_are_refused)
{
	struct buf b;

	buf_init(&b, arena, 4096);
	for (int i = 0; i < 129; i++)
		buf_add_str(&b, "{\"tool\":\"f\"}\n");
	cr_expect_eq(write_text(buf_bytes(&b).p).e, ERR_PROVIDER_INVALID);
	buf_clear(&b);
	buf_add_str(&b, "{\"tools\":[");
	for (int i = 0; i < 129; i++)
		buf_add_str(&b, "{\"tool\":\"f\"},");
	cr_expect_eq(write_text(buf_bytes(&b).p).e, ERR_PROVIDER_INVALID);
	buf_clear(&b);
	buf_add_str(&b, "{\"tool\":\"f\",\"arguments\":");
	for (int i = 0; i < 100; i++)
		buf_add_str(&b, "[");
	cr_expect(bytes_equal(write_text(buf_bytes(&b).p).result.text, buf_bytes(&b)), "what nests too deep is text");
}
