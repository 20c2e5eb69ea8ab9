/* SPDX-License-Identifier: MIT */
/* test_convert_random: what must hold for any conversation, over conversations made with a fixed seed. MSG-6 */
#include "convert_fixture.h"

TestSuite(convert_random, .init = fixture_open, .fini = fixture_close, .timeout = 120);

static uint64_t seed;

static unsigned pick(unsigned n)
{
	seed = seed * 6364136223846793005u + 1442695040888963407u;
	return (unsigned)(seed >> 33) % n;
}

static const char *one_of(const char *const *list, unsigned n)
{
	return list[pick(n)];
}

static const char *const texts[] = { "\"\"", "\" \"", "\"hi\"", "\"hi\"", "\"\\u00e9\\ud83d\\ude00 \\\"x\\\"\"", "\"{\\\"a\\\":1}\"", "\"line\\nline\"", "\"a\\u0000b\"" };
static const char *const objects[] = { "{\"k\":1}", "{\"a\":[1.50,null,{\"b\":\"\\u0041\"}],\"c\":-0.0}", "{\"type\":\"text\"}", "{\"turn\":{\"x\":1}}", "{}",
				       "{\"role\":\"user\",\"content\":\"x\",\"text\":7,\"parts\":[],\"name\":1}" };
static const char *const providers[] = { "openai", "anthropic", "gemini" };
static const char *const blocks[] = { "{\"type\":\"redacted_thinking\",\"data\":\"x\"}", "{\"type\":\"server_tool_use\",\"id\":\"s\"}", "{\"executableCode\":{}}",
				      "{\"type\":\"text\",\"text\":5}", "{\"text\":\"t\"}", "{\"functionCall\":{\"name\":\"f\",\"willContinue\":true}}",
				      "{\"type\":\"image\",\"source\":{\"type\":\"text\"}}", "{\"type\":\"tool_result\",\"tool_use_id\":\"a\"}", "{}" };
static const char *const ids[] = { "a", "b", "call_1", "a b", "parley_0123456789abcdef", "0123456789012345678901234567890123456789012345" };
static const char *const arguments[] = { "\"{}\"", "\"{\\\"q\\\":1}\"", "\"{\\\"q\\\"\"", "\"\"", "\"[1]\"", "\"{\\\"a\\\":1,\\\"a\\\":2}\"", "{\"q\":1}" };
#define ONE_OF(list) one_of(list, sizeof(list) / sizeof((list)[0]))

/* Sometimes a member with what a provider's form had besides. */
static void add_rest(struct buf *b)
{
	if (pick(3) == 0)
		buf_addf(b, ",\"%s\":%s", ONE_OF(providers), ONE_OF(objects));
}

static void add_part(struct buf *b)
{
	static const char *const media[] = { "image", "audio", "file" };
	static const char *const sources[] = { "\"url\":\"https://shop.example/a.png\"", "\"url\":\"https://shop.example/x\",\"media_type\":\"video/mp4\"",
					       "\"media_type\":\"image/png\",\"data\":\"aWk=\"", "\"media_type\":\"audio/mpeg\",\"data\":\"aWk=\"",
					       "\"media_type\":\"application/pdf\",\"data\":\"cGQ=\",\"filename\":\"a.pdf\"", "\"file_id\":\"f-1\"", "\"data\":\"aWk=\"",
					       "\"url\":\"data:image/gif;base64,aWk=\",\"detail\":\"low\"", "\"url\":7" };
	buf_add_char(b, '{');
	switch (pick(9)) {
	case 0:
	case 1:
		buf_addf(b, "\"type\":\"text\",\"text\":%s", ONE_OF(texts));
		break;
	case 2:
	case 3:
		buf_addf(b, "\"type\":\"%s\",%s", ONE_OF(media), ONE_OF(sources));
		break;
	case 4:
		buf_addf(b, "\"type\":\"thinking\",\"thinking\":%s,\"%s\":{\"signature\":\"c2ln\",\"thoughtSignature\":\"Z2Vt\"}}", ONE_OF(texts), ONE_OF(providers));
		return;
	case 5:
		buf_addf(b, "\"type\":\"%s\",\"raw\":%s}", ONE_OF(providers), ONE_OF(blocks));
		return;
	case 6:
		buf_addf(b, "\"type\":\"json\",\"json\":%s", pick(4) ? ONE_OF(objects) : "{\"output\":\"x\"}");
		break;
	case 7:
		buf_addf(b, "\"type\":\"tool_call\",\"index\":%u", pick(3));
		break;
	default:
		buf_addf(b, "\"type\":\"%s\",\"refusal\":%s,\"image_url\":{\"url\":\"https://x.example/%u\"}", pick(2) ? "refusal" : "image_url", ONE_OF(texts), pick(9));
	}
	add_rest(b);
	buf_add_char(b, '}');
}

static struct bytes make_content(void)
{
	struct buf b;

	if (pick(2))
		return bytes_of(ONE_OF(texts));
	buf_init(&b, arena, 64);
	buf_add_char(&b, '[');
	for (unsigned i = 0, n = 1 + pick(5); i < n; i++) {
		buf_add_str(&b, i > 0 ? "," : "");
		add_part(&b);
	}
	buf_add_char(&b, ']');
	return buf_bytes(&b);
}

static void add_calls(struct buf *b)
{
	buf_add_member(b, "tool_calls");
	buf_add_char(b, '[');
	for (unsigned i = 0, n = 1 + pick(3); i < n; i++) {
		const char *arg = ONE_OF(arguments);

		buf_add_str(b, i > 0 ? "," : "");
		if (pick(8) == 0) {
			buf_add_str(b, pick(2) ? "7" : "{\"id\":\"x\"}");
			continue;
		}
		if (pick(4) == 0)
			buf_addf(b, "{\"id\":\"%s\",\"type\":\"function\",\"function\":{\"name\":\"f\",\"arguments\":%s}", ONE_OF(ids), arg);
		else
			buf_addf(b, "{\"id\":\"%s\",\"name\":\"%s\",\"arguments\":%s", ONE_OF(ids), pick(2) ? "f" : "g", arg);
		add_rest(b);
		buf_add_char(b, '}');
	}
	buf_add_char(b, ']');
}

static struct bytes make_extra(struct bytes role)
{
	struct buf b;

	buf_init(&b, arena, 64);
	buf_add_char(&b, '{');
	if (bytes_equal(role, BYTES("tool")) ? pick(8) > 0 : pick(20) == 0)
		buf_member_str(&b, "tool_call_id", ONE_OF(ids));
	if (bytes_equal(role, BYTES("assistant")) ? pick(2) : pick(20) == 0)
		add_calls(&b);
	if (pick(4) == 0)
		buf_member_str(&b, "name", pick(2) ? "f" : "Ann Lee");
	if (pick(6) == 0)
		buf_member_bool(&b, "is_error", pick(2));
	if (pick(6) == 0)
		buf_member_int(&b, "tokens_used", pick(100));
	if (pick(6) == 0)
		buf_member_json(&b, ONE_OF(providers), bytes_of(pick(2) ? ONE_OF(objects) : "{\"functionResponse\":{\"willContinue\":false},\"cache_control\":{}}"));
	buf_add_char(&b, '}');
	return buf_bytes(&b);
}

static struct messages make(void)
{
	static const char *const roles[] = { "system", "developer", "user", "user", "assistant", "assistant", "tool", "tool" };
	struct messages m = { .n = pick(9) };

	m.items = arena_array(arena, m.n, sizeof(*m.items));
	for (size_t i = 0; i < m.n; i++) {
		m.items[i].role = bytes_of(ONE_OF(roles));
		m.items[i].content = make_content();
		m.items[i].extra = make_extra(m.items[i].role);
		if (pick(4) == 0)
			m.items[i].metadata = bytes_of(ONE_OF(objects));
	}
	return m;
}

#define ROUNDS 2000

/* Runs a check on many conversations; the arena is new each time. */
static void for_each(void (*check)(struct messages m))
{
	for (unsigned i = 1; i <= ROUNDS; i++) {
		seed = i;
		check(make());
		fixture_close();
		fixture_open();
	}
}

static void check_comes_back(struct messages m)
{
	for (size_t i = 0; i < 3; i++) {
		struct document d = format(kinds[i], m);

		assert_same(parse(kinds[i], d.text, d.aside), m);
		for (size_t k = 0; k < 3; k++) {
			struct document e = format(kinds[k], parse(kinds[i], d.text, d.aside));

			assert_same(parse(kinds[k], e.text, e.aside), m);
		}
	}
}

Test(convert_random, any_conversation_comes_back_from_any_format)
{
	for_each(check_comes_back);
}

/* The best reading loses what the aside had, and then nothing more. */
static void check_settles(struct messages m)
{
	for (size_t i = 0; i < 3; i++) {
		struct messages read = parse(kinds[i], format(kinds[i], m).text, BYTES(""));
		struct document d = format(kinds[i], read);

		assert_same(parse(kinds[i], d.text, d.aside), read);
		check_comes_back(read);
	}
}

Test(convert_random, a_document_without_its_aside_can_be_read_and_goes_on_from_there)
{
	for_each(check_settles);
}

/* Blanks, other spellings and the order of members are no edits; only arguments said as objects are spelled as they came. */
static void check_respelled(struct messages m)
{
	for (size_t i = 0; i < 3; i++) {
		struct document d = format(kinds[i], m);
		size_t n;
		const char *text = json_object_to_json_string_length(jsonx_tree(arena, d.text), JSON_C_TO_STRING_SPACED, &n);
		struct messages got = parse(kinds[i], (struct bytes){ text, n }, d.aside);

		cr_assert_eq(got.n, m.n);
		for (size_t k = 0; k < m.n; k++) {
			cr_assert(bytes_equal(got.items[k].role, m.items[k].role) && same_json(got.items[k].content, m.items[k].content) &&
				  same_object(got.items[k].metadata, m.items[k].metadata), "%s\nwanted%s", show(got), show(m));
		}
	}
}

Test(convert_random, a_respelled_document_keeps_its_aside)
{
	for_each(check_respelled);
}

/* ---- what a provider accepts ---- */

static void assert_blocks(struct bytes content, bool is_user)
{
	bool is_behind = false;
	struct jsonx_walk w;
	size_t n = 0;

	if (jsonx_type(content) == JSONX_STRING) {
		cr_assert(jsonx_string(arena, content).n > 0);
		return;
	}
	for (jsonx_walk_begin(&w, content); jsonx_walk_next(&w); n++) {
		struct bytes type = jsonx_string(arena, jsonx_member(w.value, "type"));

		if (!is_user)
			continue;
		cr_assert(!is_behind || !bytes_equal(type, BYTES("tool_result")), "an answer stands behind something else");
		is_behind = is_behind || !bytes_equal(type, BYTES("tool_result"));
	}
	cr_assert(n > 0);
}

static void check_turns(struct messages m)
{
	struct bytes before = { 0 };
	struct jsonx_walk w;
	struct document d = format(CONVERT_ANTHROPIC, m);

	for (jsonx_walk_begin(&w, jsonx_member(d.text, "messages")); jsonx_walk_next(&w);) {
		struct bytes role = jsonx_member(w.value, "role");

		assert_blocks(jsonx_member(w.value, "content"), bytes_equal(role, BYTES("\"user\"")));
		/* a head gives a message a turn for itself */
		cr_assert(!bytes_equal(role, before) || memmem(d.text.p, d.text.n, "\"x\":1", 5), "%.*s", (int)d.text.n, d.text.p);
		before = role;
	}
	d = format(CONVERT_GEMINI, m);
	before = (struct bytes){ 0 };
	for (jsonx_walk_begin(&w, jsonx_member(d.text, "contents")); jsonx_walk_next(&w);) {
		struct bytes role = jsonx_member(w.value, "role");

		cr_assert(!bytes_equal(role, before) || memmem(d.text.p, d.text.n, "\"x\":1", 5), "%.*s", (int)d.text.n, d.text.p);
		before = role;
	}
}

Test(convert_random, turns_alternate_and_answers_come_first)
{
	for_each(check_turns);
}

/* ---- edits ---- */

/* Puts a message of plain text into the conversation's document, in front of what message `at` says. */
static struct messages with_text(struct messages m, size_t at, const char *role, const char *text)
{
	struct messages out = { arena_array(arena, m.n + 1, sizeof(*m.items)), m.n + 1 };

	for (size_t i = 0; i < out.n; i++)
		out.items[i] = i < at ? m.items[i] : i > at ? m.items[i - 1] : (struct convert_message){ .role = bytes_of(role), .content = bytes_of(text) };
	return out;
}

static void check_insert(struct messages m)
{
	struct document d = format(CONVERT_OPENAI, m), edited;
	size_t at = pick((unsigned)m.n + 1);
	struct messages wanted = with_text(m, at, "user", "\"this is new\""), got;

	edited = format(CONVERT_OPENAI, wanted);
	got = parse(CONVERT_OPENAI, edited.text, d.aside);
	cr_assert_eq(got.n, m.n + 1);
	/* it may come to stand behind silent neighbours; all others are whole and in their order */
	for (size_t i = 0, k = 0; i < got.n; i++) {
		if (bytes_equal(got.items[i].content, BYTES("\"this is new\"")))
			continue;
		cr_assert(same_message(&got.items[i], &m.items[k++]), "%s\nwanted%s", show(got), show(wanted));
	}
}

Test(convert_random, a_new_message_leaves_the_others_whole)
{
	for_each(check_insert);
}

static void check_delete(struct messages m)
{
	struct document d = format(CONVERT_OPENAI, m), edited;
	struct messages less = m, got;
	size_t at, k = 0;

	if (m.n == 0)
		return;
	at = pick((unsigned)m.n);
	less.items = arena_array(arena, m.n, sizeof(*m.items));
	less.n = 0;
	for (size_t i = 0; i < m.n; i++) {
		if (i != at)
			less.items[less.n++] = m.items[i];
	}
	edited = format(CONVERT_OPENAI, less);
	got = parse(CONVERT_OPENAI, edited.text, d.aside);
	/* a message that the document never said cannot be taken out of it */
	cr_assert(got.n == less.n || same_json(edited.text, d.text), "%s\nwanted%s", show(got), show(less));
	for (size_t i = 0; got.n == less.n && i < got.n; i++)
		k += same_message(&got.items[i], &less.items[i]);
	cr_assert(got.n != less.n || k + 1 >= got.n, "%s\nwanted%s", show(got), show(less)); /* of two that say the same, the other's aside may stay */
}

Test(convert_random, a_removed_message_takes_its_aside_along)
{
	for_each(check_delete);
}
