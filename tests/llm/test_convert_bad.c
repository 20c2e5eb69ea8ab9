/* SPDX-License-Identifier: MIT */
/* test_convert_bad: documents and asides of a wrong shape are refused by the path of what is wrong; edits win; nothing takes long. MSG-6 */
#include "base/stamp.h"
#include "convert_fixture.h"

TestSuite(convert_bad, .init = fixture_open, .fini = fixture_close, .timeout = 60);

struct bad {
	const char *document, *field, *code;
};

static void assert_bad(enum convert_kind kind, const char *document, const char *aside, const char *field, const char *code)
{
	struct messages m;
	enum err e;

	task_clear_fault(&task);
	e = convert_parse(&task, kind, bytes_of(document), bytes_of(aside), &m.items, &m.n);
	cr_assert_eq(e, ERR_INVALID, "%s was read", document);
	cr_assert_str_eq(task.fault.fields->field, field, "%s beside %s", document, aside);
	cr_assert_str_eq(task.fault.fields->code, code, "%s: %s is %s", document, field, task.fault.fields->code);
}

static void assert_all_bad(enum convert_kind kind, const struct bad *list, size_t n)
{
	for (size_t i = 0; i < n; i++)
		assert_bad(kind, list[i].document, "", list[i].field, list[i].code);
}
#define assert_each_bad(kind, list) assert_all_bad((kind), (list), sizeof(list) / sizeof((list)[0]))

Test(convert_bad, refuses_what_is_no_document_at_all)
{
	for (size_t i = 0; i < 3; i++) {
		assert_bad(kinds[i], "", "", "input", "format");
		assert_bad(kinds[i], "{", "", "input", "format");
		assert_bad(kinds[i], "{\"a\":1,\"a\":2}", "", "input", "format");
		assert_bad(kinds[i], "[]", "", "input", "type");
		assert_bad(kinds[i], "null", "", "input", "type");
		assert_bad(kinds[i], "{\"model\":\"m\"}", "", "input.model", "unknown");
	}
}

#define OPENAI(message) "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"}," message "]}"

Test(convert_bad, names_what_is_wrong_in_an_openai_document)
{
	static const struct bad list[] = {
		{ "{}", "input.messages", "required" },
		{ "{\"messages\":{}}", "input.messages", "type" },
		{ OPENAI("7"), "input.messages[1]", "type" },
		{ OPENAI("{}"), "input.messages[1].role", "required" },
		{ OPENAI("{\"role\":\"function\",\"content\":\"x\"}"), "input.messages[1].role", "value" },
		{ OPENAI("{\"role\":\"user\"}"), "input.messages[1].content", "required" },
		{ OPENAI("{\"role\":\"user\",\"content\":null}"), "input.messages[1].content", "required" },
		{ OPENAI("{\"role\":\"user\",\"content\":5}"), "input.messages[1].content", "type" },
		{ OPENAI("{\"role\":\"user\",\"content\":[\"x\"]}"), "input.messages[1].content[0]", "type" },
		{ OPENAI("{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"x\"},{\"type\":1}]}"), "input.messages[1].content[1].type", "type" },
		{ OPENAI("{\"role\":\"user\",\"content\":[{\"type\":\"text\"}]}"), "input.messages[1].content[0].text", "required" },
		{ OPENAI("{\"role\":\"user\",\"content\":\"x\",\"name\":7}"), "input.messages[1].name", "type" },
		{ OPENAI("{\"role\":\"user\",\"content\":\"x\",\"name\":\"\"}"), "input.messages[1].name", "range" },
		{ OPENAI("{\"role\":\"user\",\"content\":\"x\",\"name\":\"a\\u0000\"}"), "input.messages[1].name", "format" },
		{ OPENAI("{\"role\":\"user\",\"content\":\"x\",\"tool_calls\":[]}"), "input.messages[1].tool_calls", "value" },
		{ OPENAI("{\"role\":\"user\",\"content\":\"x\",\"tool_call_id\":\"a\"}"), "input.messages[1].tool_call_id", "value" },
		{ OPENAI("{\"role\":\"tool\",\"content\":\"x\"}"), "input.messages[1].tool_call_id", "required" },
		{ OPENAI("{\"role\":\"tool\",\"content\":\"x\",\"tool_call_id\":1}"), "input.messages[1].tool_call_id", "type" },
		{ OPENAI("{\"role\":\"assistant\",\"tool_calls\":{}}"), "input.messages[1].tool_calls", "type" },
		{ OPENAI("{\"role\":\"assistant\",\"tool_calls\":[7]}"), "input.messages[1].tool_calls[0]", "type" },
		{ OPENAI("{\"role\":\"assistant\",\"tool_calls\":[{\"id\":\"\"}]}"), "input.messages[1].tool_calls[0].id", "type" },
		{ OPENAI("{\"role\":\"assistant\",\"tool_calls\":[{\"id\":\"a\"}]}"), "input.messages[1].tool_calls[0].function", "required" },
		{ OPENAI("{\"role\":\"assistant\",\"tool_calls\":[{\"id\":\"a\",\"function\":{\"name\":\"f\",\"arguments\":{}}}]}"),
		  "input.messages[1].tool_calls[0].function.arguments", "required" },
	};

	assert_each_bad(CONVERT_OPENAI, list);
}

#define ANTHROPIC(role, block) "{\"messages\":[{\"role\":\"" role "\",\"content\":[" block "]}]}"

Test(convert_bad, names_what_is_wrong_in_an_anthropic_document)
{
	static const struct bad list[] = {
		{ "{\"system\":\"x\"}", "input.messages", "required" },
		{ "{\"system\":7,\"messages\":[]}", "input.system", "type" },
		{ "{\"system\":[\"x\"],\"messages\":[]}", "input.system[0]", "type" },
		{ "{\"messages\":[[]]}", "input.messages[0]", "type" },
		{ "{\"messages\":[{\"role\":\"system\",\"content\":\"x\"}]}", "input.messages[0].role", "value" },
		{ "{\"messages\":[{\"role\":\"user\"}]}", "input.messages[0].content", "required" },
		{ "{\"messages\":[{\"role\":\"user\",\"content\":null}]}", "input.messages[0].content", "type" },
		{ ANTHROPIC("user", "{}"), "input.messages[0].content[0].type", "required" },
		{ ANTHROPIC("user", "{\"type\":\"text\",\"text\":7}"), "input.messages[0].content[0].text", "type" },
		{ ANTHROPIC("user", "{\"type\":\"tool_result\"}"), "input.messages[0].content[0].tool_use_id", "required" },
		{ ANTHROPIC("user", "{\"type\":\"tool_result\",\"tool_use_id\":\"a\",\"content\":7}"), "input.messages[0].content[0].content", "type" },
		{ ANTHROPIC("user", "{\"type\":\"tool_result\",\"tool_use_id\":\"a\",\"content\":[{\"type\":\"text\"}]}"),
		  "input.messages[0].content[0].content[0].text", "required" },
		{ ANTHROPIC("user", "{\"type\":\"tool_result\",\"tool_use_id\":\"a\",\"is_error\":1}"), "input.messages[0].content[0].is_error", "type" },
		{ ANTHROPIC("assistant", "{\"type\":\"thinking\",\"signature\":\"x\"}"), "input.messages[0].content[0].thinking", "required" },
		{ ANTHROPIC("assistant", "{\"type\":\"tool_use\",\"id\":\"a\",\"name\":\"f\"}"), "input.messages[0].content[0].input", "required" },
		{ ANTHROPIC("assistant", "{\"type\":\"tool_use\",\"id\":\"a\",\"name\":\"f\",\"input\":\"{}\"}"), "input.messages[0].content[0].input", "type" },
		{ ANTHROPIC("assistant", "{\"type\":\"tool_use\",\"id\":\"\",\"name\":\"f\",\"input\":{}}"), "input.messages[0].content[0].id", "value" },
	};

	assert_each_bad(CONVERT_ANTHROPIC, list);
}

#define GEMINI(role, part) "{\"contents\":[{\"role\":\"" role "\",\"parts\":[" part "]}]}"

Test(convert_bad, names_what_is_wrong_in_a_gemini_document)
{
	static const struct bad list[] = {
		{ "{}", "input.contents", "required" },
		{ "{\"contents\":\"hi\"}", "input.contents", "type" },
		{ "{\"contents\":[],\"systemInstruction\":\"x\"}", "input.systemInstruction", "type" },
		{ "{\"contents\":[],\"system_instruction\":{}}", "input.system_instruction.parts", "required" },
		{ "{\"contents\":[],\"systemInstruction\":{\"parts\":[],\"k\":1}}", "input.systemInstruction.k", "unknown" },
		{ "{\"contents\":[],\"systemInstruction\":{\"parts\":[]},\"system_instruction\":{\"parts\":[]}}", "input.system_instruction", "conflict" },
		{ "{\"contents\":[7]}", "input.contents[0]", "type" },
		{ "{\"contents\":[{\"role\":\"assistant\",\"parts\":[]}]}", "input.contents[0].role", "value" },
		{ "{\"contents\":[{\"role\":\"user\"}]}", "input.contents[0].parts", "required" },
		{ GEMINI("user", "7"), "input.contents[0].parts[0]", "type" },
		{ GEMINI("user", "{\"text\":\"x\"},{\"text\":7}"), "input.contents[0].parts[1].text", "type" },
		{ GEMINI("model", "{\"functionCall\":7}"), "input.contents[0].parts[0].functionCall", "type" },
		{ GEMINI("model", "{\"functionCall\":{}}"), "input.contents[0].parts[0].functionCall.name", "required" },
		{ GEMINI("model", "{\"functionCall\":{\"name\":\"f\",\"args\":\"{}\"}}"), "input.contents[0].parts[0].functionCall.args", "type" },
		{ GEMINI("user", "{\"functionResponse\":{\"response\":{}}}"), "input.contents[0].parts[0].functionResponse.name", "required" },
		{ GEMINI("user", "{\"functionResponse\":{\"name\":\"f\",\"response\":\"x\"}}"), "input.contents[0].parts[0].functionResponse.response", "type" },
	};

	assert_each_bad(CONVERT_GEMINI, list);
}

#define ASIDE(units, entry) "{\"format\":\"openai\",\"units\":\"" units "\",\"messages\":[" entry "]}"
#define DIGEST "0123456789abcdef"

/* An aside is as much from outside as the document is. */
Test(convert_bad, names_what_is_wrong_in_an_aside)
{
	static const struct bad list[] = {
		{ "{", "aside", "format" },
		{ "[]", "aside", "type" },
		{ "{\"format\":\"openai\",\"units\":\"\",\"messages\":[],\"k\":1}", "aside.k", "unknown" },
		{ "{\"format\":\"gemini\",\"units\":\"\",\"messages\":[]}", "aside.format", "value" },
		{ "{\"format\":\"openai\",\"units\":[],\"messages\":[]}", "aside.units", "format" },
		{ ASIDE("0123", ""), "aside.units", "format" },
		{ ASIDE("0123456789abcdeg", ""), "aside.units", "format" },
		{ "{\"format\":\"openai\",\"units\":\"\"}", "aside.messages", "type" },
		{ ASIDE(DIGEST, "[0,2]"), "aside.messages[0].units", "range" },
		{ ASIDE(DIGEST, "[0,1],[0,1]"), "aside.messages[1].units", "range" },
		{ ASIDE(DIGEST, "[0,1,2]"), "aside.messages[0].units", "range" },
		{ ASIDE(DIGEST, "7"), "aside.messages[0].units", "type" },
		{ ASIDE("", "{}"), "aside.messages[0].role", "value" },
		{ ASIDE("", "{\"role\":\"user\"}"), "aside.messages[0].content", "type" },
		{ ASIDE("", "{\"role\":\"user\",\"bare\":true}"), "aside.messages[0].content", "type" },
		{ ASIDE("", "{\"role\":\"user\",\"parts\":[{}]}"), "aside.messages[0].content", "type" },
		{ ASIDE("", "{\"role\":\"user\",\"parts\":[0]}"), "aside.messages[0].parts[0]", "range" },
		{ ASIDE("", "{\"role\":\"user\",\"parts\":[[0,{}]]}"), "aside.messages[0].parts[0]", "format" },
		{ ASIDE("", "{\"role\":\"user\",\"parts\":[\"{\"]}"), "aside.messages[0].parts[0]", "format" },
		{ ASIDE("", "{\"role\":\"user\",\"parts\":7}"), "aside.messages[0].parts", "type" },
		{ ASIDE("", "{\"role\":\"user\",\"x\":7}"), "aside.messages[0].x", "unknown" },
		{ ASIDE("", "{\"role\":\"user\",\"bare\":true,\"parts\":[{\"type\":\"text\",\"text\":\"x\"}],\"extra\":{\"id\":\"msg_1\"}}"), "aside.messages[0].extra", "unknown" },
		{ ASIDE("", "{\"role\":\"user\",\"bare\":true,\"parts\":[{\"type\":\"text\",\"text\":\"x\"}],\"extra\":{\"is_error\":1}}"), "aside.messages[0].is_error", "type" },
		{ ASIDE("", "{\"role\":\"user\",\"bare\":true,\"parts\":[{\"type\":\"text\",\"text\":\"x\"}],\"metadata\":\"7\"}"), "aside.messages[0].metadata", "type" },
	};

	for (size_t i = 0; i < sizeof(list) / sizeof(list[0]); i++)
		assert_bad(CONVERT_OPENAI, "{\"messages\":[]}", list[i].document, list[i].field, list[i].code);
}

/* ---- edits ---- */

static const char kept[] =
	"[[\"system\",\"S\",{},{\"k\":0}],[\"user\",\"one\",{\"client_id\":\"c1\"},{\"k\":1}],[\"developer\",[{\"type\":\"odd\"}]],[\"assistant\",\"two\",{\"model\":\"m\"},{\"k\":2}],"
	"[\"user\",\"three\",{},{\"k\":3}],[\"assistant\",\"four\",{},{\"k\":4}]]";

/* Reads the document of `kept` with one text put in another's place. */
static struct messages edited(enum convert_kind kind, const char *from, const char *to)
{
	struct document d = format(kind, messages_of(kept));
	const char *at = memmem(d.text.p, d.text.n, from, strlen(from));
	struct buf b;

	cr_assert_not_null(at, "%.*s", (int)d.text.n, d.text.p);
	buf_init(&b, arena, d.text.n);
	buf_add(&b, d.text.p, (size_t)(at - d.text.p));
	buf_add_str(&b, to);
	buf_add_str(&b, at + strlen(from));
	return parse(kind, buf_bytes(&b), d.aside);
}

Test(convert_bad, an_edit_wins_and_the_rest_is_as_it_was)
{
	static const char *const wanted =
		"[[\"system\",\"S\",{},{\"k\":0}],[\"user\",\"one\",{\"client_id\":\"c1\"},{\"k\":1}],[\"developer\",[{\"type\":\"odd\"}]],[\"assistant\",\"TWO\"],"
		"[\"user\",\"three\",{},{\"k\":3}],[\"assistant\",\"four\",{},{\"k\":4}]]";

	for (size_t i = 0; i < 3; i++)
		assert_same(edited(kinds[i], "\"two\"", "\"TWO\""), messages_of(wanted));
}

Test(convert_bad, what_is_taken_out_is_gone_with_its_aside)
{
	assert_same(edited(CONVERT_OPENAI, "{\"role\":\"assistant\",\"content\":\"two\"},", ""),
		    messages_of("[[\"system\",\"S\",{},{\"k\":0}],[\"user\",\"one\",{\"client_id\":\"c1\"},{\"k\":1}],[\"developer\",[{\"type\":\"odd\"}]],"
				"[\"user\",\"three\",{},{\"k\":3}],[\"assistant\",\"four\",{},{\"k\":4}]]"));
	assert_same(edited(CONVERT_GEMINI, "{\"role\":\"user\",\"parts\":[{\"text\":\"one\"}]},", ""),
		    messages_of("[[\"system\",\"S\",{},{\"k\":0}],[\"developer\",[{\"type\":\"odd\"}]],[\"assistant\",\"two\",{\"model\":\"m\"},{\"k\":2}],"
				"[\"user\",\"three\",{},{\"k\":3}],[\"assistant\",\"four\",{},{\"k\":4}]]"));
}

Test(convert_bad, what_is_put_in_or_moved_finds_its_place)
{
	assert_same(edited(CONVERT_ANTHROPIC, "\"four\"}", "\"four\"},{\"role\":\"user\",\"content\":\"five\"}"),
		    messages_of("[[\"system\",\"S\",{},{\"k\":0}],[\"user\",\"one\",{\"client_id\":\"c1\"},{\"k\":1}],[\"developer\",[{\"type\":\"odd\"}]],"
				"[\"assistant\",\"two\",{\"model\":\"m\"},{\"k\":2}],[\"user\",\"three\",{},{\"k\":3}],[\"assistant\",\"four\",{},{\"k\":4}],[\"user\",\"five\"]]"));
	assert_same(edited(CONVERT_ANTHROPIC, "[{\"role\":\"user\",\"content\":\"one\"}", "[{\"role\":\"user\",\"content\":\"zero\"},{\"role\":\"user\",\"content\":\"one\"}"),
		    messages_of("[[\"system\",\"S\",{},{\"k\":0}],[\"user\",\"zero\"],[\"user\",\"one\",{\"client_id\":\"c1\"},{\"k\":1}],[\"developer\",[{\"type\":\"odd\"}]],"
				"[\"assistant\",\"two\",{\"model\":\"m\"},{\"k\":2}],[\"user\",\"three\",{},{\"k\":3}],[\"assistant\",\"four\",{},{\"k\":4}]]"));
	assert_same(edited(CONVERT_OPENAI, "{\"role\":\"user\",\"content\":\"three\"},{\"role\":\"assistant\",\"content\":\"four\"}",
			   "{\"role\":\"assistant\",\"content\":\"four\"},{\"role\":\"user\",\"content\":\"x\"}"),
		    messages_of("[[\"system\",\"S\",{},{\"k\":0}],[\"user\",\"one\",{\"client_id\":\"c1\"},{\"k\":1}],[\"developer\",[{\"type\":\"odd\"}]],"
				"[\"assistant\",\"two\",{\"model\":\"m\"},{\"k\":2}],[\"assistant\",\"four\",{},{\"k\":4}],[\"user\",\"x\"]]"));
}

/* A call that is added to a turn is of that turn's message, or its answer would stand between two. */
Test(convert_bad, what_is_added_to_a_models_turn_is_part_of_its_message)
{
	struct messages m = messages_of("[[\"user\",\"q\",{},{\"k\":1}],[\"assistant\",\"a\",{\"tool_calls\":[{\"id\":\"c\",\"name\":\"f\",\"arguments\":\"{}\"}]},{\"k\":2}]]");
	struct document d = format(CONVERT_ANTHROPIC, m);
	struct bytes text = bytes_of(arena_printf(arena, "%.*s,{\"type\":\"tool_use\",\"id\":\"d\",\"name\":\"g\",\"input\":{}}]}]}", (int)d.text.n - 4, d.text.p));

	assert_same(parse(CONVERT_ANTHROPIC, text, d.aside),
		    messages_of("[[\"user\",\"q\",{},{\"k\":1}],[\"assistant\",[{\"type\":\"text\",\"text\":\"a\"}],{\"tool_calls\":["
				"{\"id\":\"c\",\"name\":\"f\",\"arguments\":\"{}\"},{\"id\":\"d\",\"name\":\"g\",\"arguments\":\"{}\"}]}]]"));
}

/* ---- time ---- */

static void repeat(struct buf *b, const char *first, const char *piece, size_t n, const char *last)
{
	buf_clear(b);
	buf_add_str(b, first);
	for (size_t i = 0; i < n; i++) {
		buf_add_str(b, i > 0 ? "," : "");
		buf_add_str(b, piece);
	}
	buf_add_str(b, last);
}

/* Reads a document and writes it in every format; says how long that took at most. */
static void assert_fast(enum convert_kind kind, struct bytes text)
{
	int64_t begin = stamp_mono_ms();
	struct messages m = parse(kind, text, BYTES(""));

	for (size_t i = 0; i < 3; i++) {
		struct document d = format(kinds[i], m);

		cr_assert_eq(parse(kinds[i], d.text, d.aside).n, m.n);
	}
	cr_assert_lt(stamp_mono_ms() - begin, 20000, "%.40s", text.p);
}

Test(convert_bad, takes_time_in_proportion)
{
	struct buf b;

	buf_init(&b, arena, 4000000);
	repeat(&b, "{\"contents\":[{\"role\":\"model\",\"parts\":[{\"text\":\"x\"}]},{\"parts\":[",
	       "{\"functionResponse\":{\"name\":\"f\",\"response\":{}}}", 20000, "]}]}");
	assert_fast(CONVERT_GEMINI, buf_bytes(&b));
	repeat(&b, "{\"messages\":[", "{\"role\":\"assistant\",\"content\":\"x\",\"k\":1}", 20000, "]}");
	assert_fast(CONVERT_OPENAI, buf_bytes(&b));
	repeat(&b, "{\"messages\":[{\"role\":\"assistant\",\"content\":[", "{\"type\":\"thinking\",\"thinking\":\" \",\"signature\":\"s\"}", 20000, "]}]}");
	assert_fast(CONVERT_ANTHROPIC, buf_bytes(&b));
	repeat(&b, "{\"messages\":[{\"role\":\"user\",\"content\":[", "{\"type\":\"text\",\"text\":\" \"}", 20000, "]}]}");
	assert_fast(CONVERT_ANTHROPIC, buf_bytes(&b));
}
