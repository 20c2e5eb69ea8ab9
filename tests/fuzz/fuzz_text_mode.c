/* SPDX-License-Identifier: MIT */
/*
 * fuzz_text_mode: whatever a model writes in text mode is read alike in one piece and character by character, what is found is sound, and the next request
 * can be made with it; a text that has no brace is told as it is.
 */
#include <assert.h>
#include <stdint.h>

#include "llm/answer.h"
#include "llm/text_answer.h"
#include "llm/text_mode.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static enum err on_text(void *arg, struct bytes text)
{
	assert(text.n > 0);
	buf_add_bytes(arg, text);
	return ERR_OK;
}

static bool is_text(struct arena *a, struct bytes text)
{
	struct jsonx_flaw flaw;
	struct buf b;

	buf_init(&b, a, text.n + 16);
	buf_add_json(&b, text);
	return jsonx_check(a, buf_bytes(&b), &flaw);
}

static enum err read_in(struct task *t, struct bytes text, bool is_whole, enum llm_finish finish, struct llm_result *r)
{
	struct buf heard;
	struct llm_events ev = { &heard, on_text, NULL };
	struct llm_result plain = { .text = text, .finish = finish };
	struct text_answer *ta;
	struct jsonx_flaw flaw;
	enum err e = ERR_OK;

	*r = (struct llm_result){ 0 };
	buf_init(&heard, t->arena, 64);
	ta = text_answer_begin(t, &ev, r);
	for (size_t at = 0, n; e == ERR_OK && at < text.n; at += n) {
		for (n = is_whole ? text.n : 1; at + n < text.n && ((unsigned char)text.p[at + n] & 0xc0) == 0x80;)
			n++;
		e = text_answer_take(ta, (struct bytes){ text.p + at, n });
		assert(bytes_equal(buf_bytes(&heard), r->text));
		assert(is_whole || r->text.n < 64 || at % 64 || is_text(t->arena, r->text));
	}
	if (e == ERR_OK)
		e = text_answer_end(ta, &plain);
	assert(bytes_equal(buf_bytes(&heard), r->text) && is_text(t->arena, r->text));
	assert(r->tool_calls.n == 0 || jsonx_check_strict(t->arena, r->tool_calls, &flaw));
	assert(r->parts.n == 0 || jsonx_check_strict(t->arena, r->parts, &flaw));
	return e;
}

/* The calls without their ids, which no two readings share. */
static struct bytes strip(struct arena *a, struct bytes calls)
{
	struct jsonx_walk w;
	struct buf b;

	buf_init(&b, a, calls.n);
	if (calls.n == 0)
		return buf_bytes(&b);
	for (jsonx_walk_begin(&w, calls); jsonx_walk_next(&w);) {
		buf_add_bytes(&b, member_of(w.value, "name"));
		buf_add_bytes(&b, member_of(w.value, "arguments"));
	}
	return buf_bytes(&b);
}

static void ask_again(struct task *t, const struct llm_result *r)
{
	struct llm_message m = { .role = BYTES("assistant"), .content = r->parts.n ? r->parts : BYTES("\"\"") };
	struct llm_request rq = { .model = "m", .messages = &m, .n_messages = 1 }, made;
	struct jsonx_flaw flaw;

	if (r->tool_calls.n == 0)
		return;
	m.extra = bytes_of(arena_printf(t->arena, "{\"tool_calls\":%.*s}", (int)r->tool_calls.n, r->tool_calls.p));
	text_mode_request(t, &rq, &made);
	assert(made.n_messages == 1 && made.messages[0].extra.n == 0);
	assert(jsonx_check_strict(t->arena, made.messages[0].content, &flaw));
	assert(jsonx_check_strict(t->arena, jsonx_string(t->arena, made.messages[0].content), &flaw));
}

/* The first byte selects how the model ended. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct arena *arena;
	struct task t = { 0 };
	struct llm_result whole, pieces;
	struct bytes text;
	enum llm_finish finish;

	if (size < 1)
		return 0;
	if (!arena)
		arena = arena_open(262144);
	t.arena = arena;
	finish = data[0] & 1 ? LLM_LENGTH : LLM_STOP;
	text = (struct bytes){ (const char *)data + 1, size - 1 };
	if (is_text(arena, text)) {
		enum err e = read_in(&t, text, true, finish, &whole);

		assert(read_in(&t, text, false, finish, &pieces) == e);
		assert(bytes_equal(whole.text, pieces.text) && bytes_equal(whole.parts, pieces.parts) && whole.finish == pieces.finish);
		assert(bytes_equal(strip(arena, whole.tool_calls), strip(arena, pieces.tool_calls)));
		assert(text.n == 0 || memchr(text.p, '{', text.n) || bytes_equal(whole.text, text));
		ask_again(&t, &whole);
	}
	arena_reset(arena);
	return 0;
}
