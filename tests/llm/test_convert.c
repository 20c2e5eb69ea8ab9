/* SPDX-License-Identifier: MIT */
/* test_convert: messages as documents of providers, and back. MSG-6 */
#include "convert_fixture.h"

TestSuite(convert, .init = fixture_open, .fini = fixture_close, .timeout = 60);

static struct messages back(enum convert_kind kind, struct messages m)
{
	struct document d = format(kind, m);

	return parse(kind, d.text, d.aside);
}

static void assert_document(enum convert_kind kind, const char *messages, const char *wanted)
{
	struct document d = format(kind, messages_of(messages));

	assert_text(d.text, wanted);
	assert_same(parse(kind, d.text, d.aside), messages_of(messages));
}

static void assert_messages(enum convert_kind kind, const char *document, const char *wanted)
{
	assert_same(parse(kind, bytes_of(document), BYTES("")), messages_of(wanted));
}

static const char conversation[] =
	"[[\"system\",\"Be kind.\"],"
	"[\"user\",[{\"type\":\"text\",\"text\":\"What is this?\"},{\"type\":\"image\",\"url\":\"https://shop.example/a.png\",\"detail\":\"low\"}],"
	"{\"name\":\"ann\",\"client_id\":\"c-1\"},{\"page\":7}],"
	"[\"assistant\",[{\"type\":\"thinking\",\"thinking\":\"A look-up.\",\"anthropic\":{\"signature\":\"c2ln\"}},"
	"{\"type\":\"anthropic\",\"raw\":{\"type\":\"redacted_thinking\",\"data\":\"eHg=\"}},{\"type\":\"text\",\"text\":\"One moment.\"}],"
	"{\"tool_calls\":[{\"id\":\"call_1\",\"name\":\"look\",\"arguments\":\"{\\\"q\\\":\\\"a\\\"}\"},"
	"{\"id\":\"call_2\",\"name\":\"price\",\"arguments\":\"{}\",\"gemini\":{\"thoughtSignature\":\"Z2Vt\"}}],\"model\":\"m\",\"tokens_used\":9}],"
	"[\"tool\",\"a lamp\",{\"tool_call_id\":\"call_1\"}],"
	"[\"tool\",\"no price\",{\"tool_call_id\":\"call_2\",\"is_error\":true}],"
	"[\"developer\",\"Speak French now.\"],"
	"[\"assistant\",\"Une lampe.\"],"
	"[\"user\",[{\"type\":\"image\",\"media_type\":\"image/png\",\"data\":\"aWk=\"}]]]";

Test(convert, survives_every_format_in_turn)
{
	struct messages m = messages_of(conversation);

	for (size_t i = 0; i < 3; i++)
		assert_same(back(kinds[i], m), m);
	for (size_t i = 0; i < 3; i++) {
		for (size_t k = 0; k < 3; k++)
			assert_same(back(kinds[k], back(kinds[i], m)), m);
	}
}

/* The way of a conversation from one provider's client to the next. */
Test(convert, carries_an_openai_conversation_through_anthropic_and_gemini_and_home)
{
	static const char openai[] =
		"{\"messages\":[{\"role\":\"system\",\"content\":\"Be kind.\"},{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"What?\"},"
		"{\"type\":\"image_url\",\"image_url\":{\"url\":\"https://shop.example/a.png\",\"detail\":\"low\"}}]},"
		"{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[{\"id\":\"call_1\",\"type\":\"function\",\"function\":{\"name\":\"look\","
		"\"arguments\":\"{\\\"q\\\": 1}\"}},{\"id\":\"call_2\",\"type\":\"function\",\"function\":{\"name\":\"look\",\"arguments\":\"{\\\"q\\\"\"}}]},"
		"{\"role\":\"tool\",\"content\":\"a lamp\",\"tool_call_id\":\"call_1\"},{\"role\":\"tool\",\"content\":\"\",\"tool_call_id\":\"call_2\"},"
		"{\"role\":\"assistant\",\"content\":\"A lamp.\",\"annotations\":[{\"x\":1.50}]}]}";
	struct messages m = parse(CONVERT_OPENAI, bytes_of(openai), BYTES(""));

	m = back(CONVERT_GEMINI, back(CONVERT_ANTHROPIC, m));
	assert_text(format(CONVERT_OPENAI, m).text, openai);
	assert_text(format(CONVERT_OPENAI, m).aside, "null");
}

Test(convert, carries_an_anthropic_conversation_through_gemini_and_openai_and_home)
{
	static const char anthropic[] =
		"{\"system\":[{\"type\":\"text\",\"text\":\"Be kind.\",\"cache_control\":{\"type\":\"ephemeral\"}}],\"messages\":["
		"{\"role\":\"user\",\"content\":[{\"type\":\"document\",\"source\":{\"type\":\"base64\",\"media_type\":\"application/pdf\",\"data\":\"aWk=\"},\"title\":\"T\"},"
		"{\"type\":\"text\",\"text\":\"What?\"}]},"
		"{\"role\":\"assistant\",\"content\":[{\"type\":\"thinking\",\"thinking\":\"Hm.\",\"signature\":\"c2ln\"},{\"type\":\"redacted_thinking\",\"data\":\"eA==\"},"
		"{\"type\":\"text\",\"text\":\"First.\",\"citations\":null},{\"type\":\"tool_use\",\"id\":\"toolu_1\",\"name\":\"look\",\"input\":{\"n\":1e2}},"
		"{\"type\":\"text\",\"text\":\"Second.\"},{\"type\":\"tool_use\",\"id\":\"toolu_2\",\"name\":\"look\",\"input\":{},\"caller\":{\"type\":\"direct\"}}]},"
		"{\"role\":\"user\",\"content\":[{\"type\":\"tool_result\",\"tool_use_id\":\"toolu_1\",\"content\":[{\"type\":\"text\",\"text\":\"ok\"},"
		"{\"type\":\"image\",\"source\":{\"type\":\"url\",\"url\":\"https://shop.example/x\"}}]},"
		"{\"type\":\"tool_result\",\"tool_use_id\":\"toolu_2\",\"is_error\":true,\"cache_control\":{\"type\":\"ephemeral\"}},"
		"{\"type\":\"text\",\"text\":\"And?\"}]},{\"role\":\"assistant\",\"content\":\"Done.\"}]}";
	struct messages m = parse(CONVERT_ANTHROPIC, bytes_of(anthropic), BYTES(""));

	cr_assert_eq(m.n, 7);
	m = back(CONVERT_OPENAI, back(CONVERT_GEMINI, m));
	assert_text(format(CONVERT_ANTHROPIC, m).text, anthropic);
}

Test(convert, carries_a_gemini_conversation_through_openai_and_anthropic_and_home)
{
	static const char gemini[] =
		"{\"systemInstruction\":{\"parts\":[{\"text\":\"Be kind.\"}]},\"contents\":[{\"role\":\"user\",\"parts\":[{\"text\":\"What?\"},"
		"{\"fileData\":{\"mimeType\":\"video/mp4\",\"fileUri\":\"https://shop.example/v\"},\"videoMetadata\":{\"fps\":2}}]},"
		"{\"role\":\"model\",\"parts\":[{\"text\":\"Hm.\",\"thought\":true},{\"functionCall\":{\"name\":\"look\",\"args\":{\"q\":1}},\"thoughtSignature\":\"c2ln\"},"
		"{\"functionCall\":{\"name\":\"look\",\"args\":{\"q\":2}}},{\"executableCode\":{\"language\":\"PYTHON\",\"code\":\"1\"}},"
		"{\"functionCall\":{\"id\":\"x/1\",\"name\":\"price\",\"args\":{}}}]},"
		"{\"role\":\"user\",\"parts\":[{\"functionResponse\":{\"name\":\"look\",\"response\":{\"output\":\"one\"}}},"
		"{\"functionResponse\":{\"id\":\"x/1\",\"name\":\"price\",\"response\":{\"usd\":2.50}}},"
		"{\"functionResponse\":{\"name\":\"look\",\"response\":{\"error\":\"none\"},\"willContinue\":false}}]},"
		"{\"role\":\"model\",\"parts\":[{\"text\":\"Both.\",\"thoughtSignature\":\"c2lnMg==\"}]}]}";
	struct messages m = parse(CONVERT_GEMINI, bytes_of(gemini), BYTES(""));

	cr_assert_eq(m.n, 7);
	m = back(CONVERT_ANTHROPIC, back(CONVERT_OPENAI, m));
	assert_text(format(CONVERT_GEMINI, m).text, gemini);
}

Test(convert, finds_a_format_by_its_name)
{
	cr_assert_eq(convert_find(BYTES("openai")), CONVERT_OPENAI);
	cr_assert_eq(convert_find(BYTES("gemini")), CONVERT_GEMINI);
	cr_assert_eq(convert_find(BYTES("mistral")), CONVERT_NONE);
	cr_assert_str_eq(convert_name(CONVERT_ANTHROPIC), "anthropic");
}

/* ---- what documents look like ---- */

Test(convert, has_an_aside_only_for_what_is_missing)
{
	const char *plain = "[[\"system\",\"S\"],[\"user\",\"hi\"],[\"assistant\",\"ho\",{\"tool_calls\":[{\"id\":\"a\",\"name\":\"f\",\"arguments\":\"{}\"}]}],"
			    "[\"tool\",\"x\",{\"tool_call_id\":\"a\"}],[\"assistant\",\"yes\"]]";

	assert_text(format(CONVERT_OPENAI, messages_of(plain)).aside, "null");
	assert_text(format(CONVERT_GEMINI, messages_of("[[\"user\",\"hi\"],[\"assistant\",\"ho\"]]")).aside, "null");
	assert_text(format(CONVERT_ANTHROPIC, messages_of("[[\"user\",\"hi\"],[\"assistant\",\"ho\"]]")).aside, "null");
	cr_assert(!same_json(format(CONVERT_OPENAI, messages_of("[[\"user\",\"hi\",{},{\"k\":1}]]")).aside, BYTES("null")));
}

Test(convert, gives_empty_documents_for_no_messages)
{
	struct messages none = { NULL, 0 };

	assert_text(format(CONVERT_OPENAI, none).text, "{\"messages\":[]}");
	assert_text(format(CONVERT_ANTHROPIC, none).text, "{\"messages\":[]}");
	assert_text(format(CONVERT_GEMINI, none).text, "{\"contents\":[]}");
	for (size_t i = 0; i < 3; i++)
		cr_assert_eq(back(kinds[i], none).n, 0);
}

Test(convert, leaves_deleted_messages_and_facts_of_the_store_out)
{
	struct messages m = messages_of("[[\"user\",\"a\",{\"edited_at\":\"x\"}],[\"assistant\",null,{\"deleted_at\":\"y\"}],[\"user\",\"b\"]]");

	for (size_t i = 0; i < 3; i++)
		assert_same(back(kinds[i], m), messages_of("[[\"user\",\"a\"],[\"user\",\"b\"]]"));
}

Test(convert, merges_turns_of_one_side_and_parts_them_again)
{
	const char *m = "[[\"user\",\"a\"],[\"user\",[{\"type\":\"text\",\"text\":\"b\"}]],[\"assistant\",\"c\"],[\"assistant\",\"d\"],[\"user\",\"e\"]]";

	assert_document(CONVERT_ANTHROPIC, m,
			"{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"a\"},{\"type\":\"text\",\"text\":\"b\"}]},"
			"{\"role\":\"assistant\",\"content\":[{\"type\":\"text\",\"text\":\"c\"},{\"type\":\"text\",\"text\":\"d\"}]},{\"role\":\"user\",\"content\":\"e\"}]}");
	assert_document(CONVERT_GEMINI, m,
			"{\"contents\":[{\"role\":\"user\",\"parts\":[{\"text\":\"a\"},{\"text\":\"b\"}]},{\"role\":\"model\",\"parts\":[{\"text\":\"c\"},{\"text\":\"d\"}]},"
			"{\"role\":\"user\",\"parts\":[{\"text\":\"e\"}]}]}");
}

Test(convert, puts_answers_of_tools_first_in_the_turn)
{
	const char *m = "[[\"assistant\",\"\",{\"tool_calls\":[{\"id\":\"a\",\"name\":\"f\",\"arguments\":\"{\\\"x\\\":1}\"},{\"id\":\"b\",\"name\":\"g\",\"arguments\":\"{}\"}]}],"
			"[\"user\",\"wait\"],[\"tool\",\"1\",{\"tool_call_id\":\"a\"}],[\"tool\",\"2\",{\"tool_call_id\":\"b\"}]]";

	assert_document(CONVERT_ANTHROPIC, m,
			"{\"messages\":[{\"role\":\"assistant\",\"content\":[{\"type\":\"tool_use\",\"id\":\"a\",\"name\":\"f\",\"input\":{\"x\":1}},"
			"{\"type\":\"tool_use\",\"id\":\"b\",\"name\":\"g\",\"input\":{}}]},{\"role\":\"user\",\"content\":["
			"{\"type\":\"tool_result\",\"tool_use_id\":\"a\",\"content\":\"1\"},{\"type\":\"tool_result\",\"tool_use_id\":\"b\",\"content\":\"2\"},"
			"{\"type\":\"text\",\"text\":\"wait\"}]}]}");
	assert_document(CONVERT_GEMINI, m,
			"{\"contents\":[{\"role\":\"model\",\"parts\":[{\"functionCall\":{\"id\":\"a\",\"name\":\"f\",\"args\":{\"x\":1}}},"
			"{\"functionCall\":{\"id\":\"b\",\"name\":\"g\",\"args\":{}}}]},{\"role\":\"user\",\"parts\":["
			"{\"functionResponse\":{\"id\":\"a\",\"name\":\"f\",\"response\":{\"output\":\"1\"}}},"
			"{\"functionResponse\":{\"id\":\"b\",\"name\":\"g\",\"response\":{\"output\":\"2\"}}},{\"text\":\"wait\"}]}]}");
}

Test(convert, gathers_system_texts_at_the_top_and_knows_where_they_were)
{
	const char *m = "[[\"user\",\"a\"],[\"developer\",\"D\"],[\"user\",\"b\"],[\"system\",\"S\"]]";

	assert_document(CONVERT_ANTHROPIC, m,
			"{\"system\":[{\"type\":\"text\",\"text\":\"D\"},{\"type\":\"text\",\"text\":\"S\"}],"
			"\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"a\"},{\"type\":\"text\",\"text\":\"b\"}]}]}");
	assert_document(CONVERT_GEMINI, m,
			"{\"systemInstruction\":{\"parts\":[{\"text\":\"D\"},{\"text\":\"S\"}]},\"contents\":[{\"role\":\"user\",\"parts\":[{\"text\":\"a\"},{\"text\":\"b\"}]}]}");
	assert_document(CONVERT_OPENAI, m,
			"{\"messages\":[{\"role\":\"user\",\"content\":\"a\"},{\"role\":\"developer\",\"content\":\"D\"},{\"role\":\"user\",\"content\":\"b\"},"
			"{\"role\":\"system\",\"content\":\"S\"}]}");
}

Test(convert, shows_thoughts_to_who_made_them_alone)
{
	const char *m = "[[\"assistant\",[{\"type\":\"thinking\",\"thinking\":\"A\",\"anthropic\":{\"signature\":\"s\"}},"
			"{\"type\":\"thinking\",\"thinking\":\"G\",\"gemini\":{\"thoughtSignature\":\"t\"}},{\"type\":\"thinking\",\"thinking\":\"?\"},"
			"{\"type\":\"anthropic\",\"raw\":{\"type\":\"redacted_thinking\",\"data\":\"r\"}},{\"type\":\"text\",\"text\":\"x\"}]]]";

	assert_document(CONVERT_ANTHROPIC, m,
			"{\"messages\":[{\"role\":\"assistant\",\"content\":[{\"type\":\"thinking\",\"thinking\":\"A\",\"signature\":\"s\"},"
			"{\"type\":\"redacted_thinking\",\"data\":\"r\"},{\"type\":\"text\",\"text\":\"x\"}]}]}");
	assert_document(CONVERT_GEMINI, m, "{\"contents\":[{\"role\":\"model\",\"parts\":[{\"text\":\"G\",\"thought\":true,\"thoughtSignature\":\"t\"},{\"text\":\"x\"}]}]}");
	assert_document(CONVERT_OPENAI, m, "{\"messages\":[{\"role\":\"assistant\",\"content\":[{\"type\":\"text\",\"text\":\"x\"}]}]}");
}

Test(convert, never_says_empty_text_where_it_is_refused)
{
	const char *m = "[[\"user\",\"\"],[\"user\",[{\"type\":\"text\",\"text\":\" \\n\"},{\"type\":\"text\",\"text\":\"x\"}]],[\"assistant\",\"\"],[\"system\",\"\"]]";

	assert_document(CONVERT_ANTHROPIC, m, "{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"x\"}]}]}");
	assert_document(CONVERT_GEMINI, m, "{\"contents\":[{\"role\":\"user\",\"parts\":[{\"text\":\" \\n\"},{\"text\":\"x\"}]}]}");
	assert_document(CONVERT_ANTHROPIC, "[[\"tool\",\"\",{\"tool_call_id\":\"a\"}]]",
			"{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"tool_result\",\"tool_use_id\":\"a\"}]}]}");
}

Test(convert, keeps_arguments_that_are_no_object)
{
	const char *m = "[[\"assistant\",\"\",{\"tool_calls\":[{\"id\":\"a\",\"name\":\"f\",\"arguments\":\"{\\\"cut\"},{\"id\":\"b\",\"name\":\"f\",\"arguments\":\"\"},"
			"{\"id\":\"c\",\"name\":\"f\",\"arguments\":\"[1]\"},{\"id\":\"d\",\"name\":\"f\",\"arguments\":\"{\\\"a\\\":1,\\\"a\\\":2}\"}]}]]";
	struct messages x = messages_of(m);

	for (size_t i = 0; i < 3; i++)
		assert_same(back(kinds[i], x), x);
	assert_document(CONVERT_ANTHROPIC, m,
			"{\"messages\":[{\"role\":\"assistant\",\"content\":[{\"type\":\"tool_use\",\"id\":\"a\",\"name\":\"f\",\"input\":{}},"
			"{\"type\":\"tool_use\",\"id\":\"b\",\"name\":\"f\",\"input\":{}},{\"type\":\"tool_use\",\"id\":\"c\",\"name\":\"f\",\"input\":{}},"
			"{\"type\":\"tool_use\",\"id\":\"d\",\"name\":\"f\",\"input\":{}}]}]}");
}

Test(convert, makes_ids_that_every_provider_takes)
{
	const char *m = "[[\"assistant\",\"\",{\"tool_calls\":[{\"id\":\"a b/c\",\"name\":\"f\",\"arguments\":\"{}\"}]}],[\"tool\",\"x\",{\"tool_call_id\":\"a b/c\"}]]";
	struct document d = format(CONVERT_ANTHROPIC, messages_of(m));
	struct messages read = parse(CONVERT_ANTHROPIC, d.text, BYTES(""));
	struct bytes id = jsonx_member(read.items[1].extra, "tool_call_id");

	cr_assert_eq(id.n, 2 + 3 + 32);
	cr_assert(memmem(read.items[0].extra.p, read.items[0].extra.n, id.p, id.n) != NULL);
	assert_same(parse(CONVERT_ANTHROPIC, d.text, d.aside), messages_of(m));
}

/* An answer that is matched by name takes over its call's id, which a message must be able to hold. */
Test(convert, says_no_id_that_an_answer_could_not_be_stored_with)
{
	const char *id = arena_printf(arena, "%0130d", 7);
	struct messages m = messages_of(arena_printf(arena, "[[\"assistant\",\"\",{\"tool_calls\":[{\"id\":\"%s\",\"name\":\"f\",\"arguments\":\"{}\"}]}],"
							   "[\"tool\",\"x\",{\"tool_call_id\":\"parley_0123456789abcdef\",\"name\":\"f\"}]]", id));
	struct document d = format(CONVERT_GEMINI, m);

	assert_same(parse(CONVERT_GEMINI, d.text, d.aside), m);
	cr_assert_eq(parse(CONVERT_GEMINI, d.text, BYTES("")).n, 2);
}

Test(convert, understands_openais_own_calls_and_images_as_stored)
{
	const char *m = "[[\"user\",[{\"type\":\"image_url\",\"image_url\":{\"url\":\"data:image/png;base64,aWk=\"}}]],"
			"[\"assistant\",\"\",{\"tool_calls\":[{\"id\":\"a\",\"type\":\"function\",\"function\":{\"name\":\"f\",\"arguments\":\"{}\"}}]}]]";

	assert_document(CONVERT_ANTHROPIC, m,
			"{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image\",\"source\":{\"type\":\"base64\",\"media_type\":\"image/png\",\"data\":\"aWk=\"}}]},"
			"{\"role\":\"assistant\",\"content\":[{\"type\":\"tool_use\",\"id\":\"a\",\"name\":\"f\",\"input\":{}}]}]}");
	assert_document(CONVERT_OPENAI, m,
			"{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image_url\",\"image_url\":{\"url\":\"data:image/png;base64,aWk=\"}}]},"
			"{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[{\"id\":\"a\",\"type\":\"function\",\"function\":{\"name\":\"f\",\"arguments\":\"{}\"}}]}]}");
}

Test(convert, says_media_as_each_provider_has_it)
{
	const char *m = "[[\"user\",[{\"type\":\"audio\",\"media_type\":\"audio/mpeg\",\"data\":\"aWk=\"},{\"type\":\"file\",\"media_type\":\"application/pdf\","
			"\"data\":\"cGQ=\",\"filename\":\"a.pdf\"},{\"type\":\"image\",\"url\":\"https://shop.example/a.jpg\"},{\"type\":\"file\",\"file_id\":\"file-1\"}]]]";

	assert_document(CONVERT_OPENAI, m,
			"{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"input_audio\",\"input_audio\":{\"data\":\"aWk=\",\"format\":\"mp3\"}},"
			"{\"type\":\"file\",\"file\":{\"file_data\":\"data:application/pdf;base64,cGQ=\",\"filename\":\"a.pdf\"}},"
			"{\"type\":\"image_url\",\"image_url\":{\"url\":\"https://shop.example/a.jpg\"}},{\"type\":\"file\",\"file\":{\"file_id\":\"file-1\"}}]}]}");
	assert_document(CONVERT_ANTHROPIC, m,
			"{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"document\",\"source\":{\"type\":\"base64\",\"media_type\":\"application/pdf\",\"data\":\"cGQ=\"}},"
			"{\"type\":\"image\",\"source\":{\"type\":\"url\",\"url\":\"https://shop.example/a.jpg\"}},{\"type\":\"document\",\"source\":{\"type\":\"file\",\"file_id\":\"file-1\"}}]}]}");
	assert_document(CONVERT_GEMINI, m,
			"{\"contents\":[{\"role\":\"user\",\"parts\":[{\"inlineData\":{\"mimeType\":\"audio/mpeg\",\"data\":\"aWk=\"}},"
			"{\"inlineData\":{\"mimeType\":\"application/pdf\",\"data\":\"cGQ=\"}},{\"fileData\":{\"mimeType\":\"image/jpeg\",\"fileUri\":\"https://shop.example/a.jpg\"}}]}]}");
}

/* Whoever stores odd things must not make a document that another part of it contradicts. */
Test(convert, lets_no_kept_member_override_a_known_one)
{
	const char *m = "[[\"assistant\",[{\"type\":\"text\",\"text\":\"x\",\"anthropic\":{\"type\":\"tool_use\",\"text\":\"y\",\"k\":1},\"gemini\":{\"text\":\"z\",\"thought\":true},"
			"\"openai\":{\"type\":\"q\"}},{\"type\":\"anthropic\",\"raw\":{\"type\":\"text\",\"text\":5}},{\"type\":\"openai\",\"raw\":{\"type\":\"text\"}},"
			"{\"type\":\"gemini\",\"raw\":{\"text\":7}},{\"type\":\"gemini\",\"raw\":{\"functionCall\":1}}],"
			"{\"openai\":{\"role\":\"user\",\"content\":1},\"anthropic\":{\"turn\":{\"role\":\"user\"}},\"gemini\":{\"turn\":{\"parts\":1,\"k\":2}}}]]";

	assert_document(CONVERT_ANTHROPIC, m, "{\"messages\":[{\"role\":\"assistant\",\"content\":[{\"type\":\"text\",\"text\":\"x\",\"k\":1}]}]}");
	assert_document(CONVERT_OPENAI, m, "{\"messages\":[{\"role\":\"assistant\",\"content\":[{\"type\":\"text\",\"text\":\"x\"}]}]}");
	assert_document(CONVERT_GEMINI, m, "{\"contents\":[{\"role\":\"model\",\"parts\":[{\"text\":\"x\"}],\"k\":2}]}");
}

/* ---- best readings ---- */

Test(convert, reads_gemini_answers_by_id_and_else_by_name)
{
	struct messages m = parse(CONVERT_GEMINI,
				  BYTES("{\"contents\":[{\"role\":\"model\",\"parts\":[{\"functionCall\":{\"name\":\"f\",\"args\":{}}},{\"functionCall\":{\"name\":\"f\"}},"
					"{\"functionCall\":{\"id\":\"i\",\"name\":\"f\"}}]},{\"parts\":[{\"functionResponse\":{\"id\":\"i\",\"name\":\"f\",\"response\":{}}},"
					"{\"functionResponse\":{\"name\":\"f\",\"response\":{}}},{\"functionResponse\":{\"name\":\"f\",\"response\":{}}},"
					"{\"functionResponse\":{\"name\":\"f\",\"response\":{}}}]}]}"),
				  BYTES(""));
	struct bytes calls = jsonx_member(m.items[0].extra, "tool_calls");
	struct jsonx_walk w;
	struct bytes id[3];
	size_t n = 0;

	cr_assert_eq(m.n, 5);
	for (jsonx_walk_begin(&w, calls); jsonx_walk_next(&w); n++)
		id[n] = jsonx_member(w.value, "id");
	cr_assert_eq(n, 3);
	cr_assert(!bytes_equal(id[0], id[1]));
	cr_assert(bytes_equal(jsonx_member(m.items[1].extra, "tool_call_id"), id[2]));
	cr_assert(bytes_equal(jsonx_member(m.items[2].extra, "tool_call_id"), id[0]));
	cr_assert(bytes_equal(jsonx_member(m.items[3].extra, "tool_call_id"), id[1]));
	assert_text(m.items[4].extra, "{\"name\":\"f\"}");
}

Test(convert, reads_what_clients_commonly_send)
{
	assert_messages(CONVERT_GEMINI, "{\"system_instruction\":{\"role\":\"user\",\"parts\":[{\"text\":\"S\"}]},\"contents\":[{\"parts\":[{\"text\":\"hi\"}]}]}",
			"[[\"system\",\"S\"],[\"user\",\"hi\"]]");
	assert_messages(CONVERT_OPENAI, "{\"messages\":[{\"role\":\"assistant\",\"content\":\"x\",\"refusal\":null,\"tool_calls\":null,\"annotations\":[]}]}",
			"[[\"assistant\",\"x\",{\"openai\":{\"annotations\":[]}}]]");
	assert_messages(CONVERT_OPENAI, "{\"messages\":[{\"role\":\"assistant\",\"content\":null,\"refusal\":\"No.\"}]}",
			"[[\"assistant\",[{\"type\":\"refusal\",\"refusal\":\"No.\"}]]]");
	assert_messages(CONVERT_ANTHROPIC,
			"{\"messages\":[{\"role\":\"assistant\",\"id\":\"msg_1\",\"model\":\"m\",\"content\":[{\"type\":\"text\",\"text\":\"x\",\"citations\":null}]},"
			"{\"role\":\"user\",\"content\":[]}]}",
			"[[\"assistant\",[{\"type\":\"text\",\"text\":\"x\",\"anthropic\":{\"citations\":null}}],{\"anthropic\":{\"turn\":{\"id\":\"msg_1\",\"model\":\"m\"}}}],"
			"[\"user\",\"\"]]");
	assert_messages(CONVERT_ANTHROPIC, "{\"system\":\"S\",\"messages\":[{\"role\":\"user\",\"content\":\"a\"},{\"role\":\"user\",\"content\":\"b\"}]}",
			"[[\"system\",\"S\"],[\"user\",\"a\"],[\"user\",\"b\"]]");
}

Test(convert, keeps_unknown_blocks_byte_for_byte)
{
	static const char block[] = "{\"type\":\"server_tool_use\", \"id\":\"s\\u0031\",\"n\":[1.50,1E2,12345678901234567]}";
	struct messages m = parse(CONVERT_ANTHROPIC, bytes_of(arena_printf(arena, "{\"messages\":[{\"role\":\"assistant\",\"content\":[%s]}]}", block)), BYTES(""));

	for (size_t i = 0; i < 6; i++)
		m = back(kinds[i % 3], m);
	cr_assert(memmem(m.items[0].content.p, m.items[0].content.n, block, sizeof(block) - 1) != NULL, "%s", show(m));
	cr_assert(memmem(format(CONVERT_ANTHROPIC, m).text.p, format(CONVERT_ANTHROPIC, m).text.n, block, sizeof(block) - 1) != NULL);
}

/* Values as deep as JSON may be come back through a document that is itself no deeper. */
Test(convert, carries_deep_values)
{
	struct buf deep;
	struct messages m;

	buf_init(&deep, arena, 256);
	buf_add_str(&deep, "[[\"user\",[{\"type\":\"odd\",\"v\":");
	for (int i = 0; i < 56; i++)
		buf_add_str(&deep, "[");
	for (int i = 0; i < 56; i++)
		buf_add_str(&deep, "]");
	buf_add_str(&deep, "}],{},{\"m\":[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]}]]");
	m = messages_of(buf_bytes(&deep).p);
	for (size_t i = 0; i < 3; i++) {
		struct document d = format(kinds[i], m);
		struct bytes body = bytes_of(arena_printf(arena, "{\"a\":{\"b\":{\"input\":%s,\"aside\":%s}}}", d.text.p, d.aside.p));

		sound(body);
		assert_same(parse(kinds[i], d.text, d.aside), m);
	}
}
