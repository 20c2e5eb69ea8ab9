/* SPDX-License-Identifier: MIT */
/* fuzz_answer: what the fuzzers of providers' answers share. Each includes it once and names its driver. */
#ifndef PARLEY_TESTS_FUZZ_FUZZ_ANSWER_H
#define PARLEY_TESTS_FUZZ_FUZZ_ANSWER_H

#include <assert.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/jsonx.h"
#include "llm/llm_private.h"

struct outcome {
	enum err e;
	struct llm_result result;
	struct buf heard;
};

static enum err on_text(void *arg, struct bytes text)
{
	struct outcome *o = arg;

	assert(text.n > 0);
	buf_add_bytes(&o->heard, text);
	return ERR_OK;
}

/* Text is UTF-8 and tool calls are JSON, whatever came. */
static void check_sound(struct arena *a, const struct outcome *o)
{
	const struct llm_result *r = &o->result;
	struct jsonx_flaw flaw;
	struct buf quoted;

	buf_init(&quoted, a, r->text.n + 2);
	buf_add_json(&quoted, r->text);
	assert(jsonx_check(a, buf_bytes(&quoted), &flaw));
	assert(bytes_equal(buf_bytes(&o->heard), r->text));
	assert(r->tool_calls.n == 0 || jsonx_check(a, r->tool_calls, &flaw));
	assert(r->parts.n == 0 || jsonx_check_strict(a, r->parts, &flaw));
	assert(r->usage.input_tokens >= 0 && r->usage.output_tokens >= 0);
}

static void parse(const struct llm_driver *driver, struct task *t, int status, struct bytes in, size_t step, struct outcome *o)
{
	struct llm_events ev = { o, on_text, NULL };
	struct llm_provider p = { driver->kind, "https://llm.example/v1", "k" };
	struct llm_parser *ps;

	*o = (struct outcome){ 0 };
	buf_init(&o->heard, t->arena, 64);
	t->fault = (struct fault){ 0 };
	ps = driver->parse_begin(t, &p, status, 0, &ev, &o->result);
	for (size_t at = 0; o->e == ERR_OK && at < in.n; at += step)
		o->e = driver->parse_take(ps, (struct bytes){ in.p + at, in.n - at < step ? in.n - at : step });
	if (o->e == ERR_OK)
		o->e = driver->parse_end(ps);
	assert(t->fault.code == o->e);
	check_sound(t->arena, o);
}

/* Whatever was answered, the next request can be made with it. */
static void ask_again(const struct llm_driver *driver, struct task *t, const struct outcome *o)
{
	struct llm_provider p = { driver->kind, "https://llm.example/v1", "k" };
	struct llm_message m = { .role = BYTES("assistant"), .content = o->result.parts.n ? o->result.parts : BYTES("\"\"") };
	struct llm_request rq = { .model = "m", .messages = &m, .n_messages = 1, .temperature = -1 };
	struct fetch_request made;
	struct jsonx_flaw flaw;

	if (o->e)
		return;
	if (o->result.tool_calls.n > 0)
		m.extra = bytes_of(arena_printf(t->arena, "{\"tool_calls\":%.*s}", (int)o->result.tool_calls.n, o->result.tool_calls.p));
	assert(driver->build(t, &p, &rq, &made) == ERR_OK);
	assert(jsonx_check(t->arena, made.body, &flaw));
}

/* The first byte selects the status and the size of the pieces, the rest is the body. */
static int check_answer(const struct llm_driver *driver, const uint8_t *data, size_t size)
{
	static const int statuses[] = { 200, 200, 200, 200, 200, 200, 302, 500 };
	static struct arena *arena;
	struct task t = { 0 };
	struct outcome whole, pieces;
	struct bytes in;
	int status;

	if (size < 1)
		return 0;
	if (!arena)
		arena = arena_open(262144);
	t.arena = arena;
	status = statuses[data[0] % 8u];
	in = (struct bytes){ (const char *)data + 1, size - 1 };
	parse(driver, &t, status, in, size, &whole);
	parse(driver, &t, status, in, 1 + data[0] / 8u, &pieces);
	assert(whole.e == pieces.e && bytes_equal(whole.result.text, pieces.result.text));
	assert(bytes_equal(whole.result.parts, pieces.result.parts));
	assert(bytes_equal(whole.result.tool_calls, pieces.result.tool_calls) && whole.result.finish == pieces.result.finish);
	ask_again(driver, &t, &whole);
	arena_reset(arena);
	return 0;
}

#endif
