/* SPDX-License-Identifier: MIT */
/* answer_fixture: builds requests and parses answers for the tests of a provider's driver. */
#ifndef PARLEY_TESTS_ANSWER_FIXTURE_H
#define PARLEY_TESTS_ANSWER_FIXTURE_H

#include <criterion/criterion.h>

#include "base/buf.h"
#include "base/jsonx.h"
#include "llm/llm_private.h"

static struct arena *arena;
static struct task task;
static struct fetch_request built;

static inline void answer_setup(void)
{
	arena = arena_open(4096);
	task_init(&task, arena);
}

static inline void answer_teardown(void)
{
	arena_close(&arena);
}

static inline enum err build(const struct llm_driver *driver, const char *base_url, const char *key, const struct llm_request *rq)
{
	struct llm_provider p = { driver->kind, base_url, key };
	struct jsonx_flaw flaw;
	enum err e = driver->build(&task, &p, rq, &built);

	if (e == ERR_OK)
		cr_assert(jsonx_check_strict(arena, built.body, &flaw), "%s at %zu: %.*s", flaw.reason, flaw.offset, (int)built.body.n, built.body.p);
	return e;
}

#define expect_body(literal) cr_expect(bytes_equal(built.body, BYTES(literal)), "%.*s", (int)built.body.n, built.body.p)

#define expect_bytes(got, literal) cr_expect(bytes_equal((got), BYTES(literal)), "%.*s", (int)(got).n, (got).p)
#define expect_text(o, literal) expect_bytes((o).result.text, literal)

/* Some tools as a request has them. */
static inline struct llm_request tools_request(void)
{
	static const struct llm_tool tools[] = {
		{ BYTES("get_weather"), BYTES("Tells the \"weather\""),
		  BYTES("{\"type\":\"object\",\"properties\":{\"city\":{\"type\":\"string\"}}}") },
		{ BYTES("get_time"), { 0 }, { 0 } },
	};

	return (struct llm_request){ .model = "m", .temperature = -1, .tools = tools, .n_tools = 2 };
}

/* Rounds of tools: two at once of which one failed, one with arguments that are no JSON; ids and blobs as several providers make them. */
static inline enum err build_rounds(const struct llm_driver *driver)
{
	static const struct llm_message m[] = {
		{ BYTES("user"), BYTES("\"What now?\""), { 0 } },
		{ BYTES("assistant"), BYTES("[{\"type\":\"thinking\",\"thinking\":\"Hm.\",\"anthropic\":{\"signature\":\"c2ln\"}},{\"type\":\"text\",\"text\":\"I look.\"}]"),
		  BYTES("{\"tool_calls\":[{\"id\":\"toolu_1\",\"name\":\"get_weather\",\"arguments\":\"{\\\"city\\\":\\\"Bonn\\\"}\"},"
			"{\"id\":\"call|with/odd characters\",\"name\":\"get_time\",\"arguments\":\"{}\"}],\"model\":\"claude\"}") },
		{ BYTES("tool"), BYTES("\"sunny\""), BYTES("{\"tool_call_id\":\"toolu_1\"}") },
		{ BYTES("tool"), BYTES("\"no clock\""), BYTES("{\"tool_call_id\":\"call|with/odd characters\",\"is_error\":true}") },
		{ BYTES("assistant"), BYTES("[{\"type\":\"thinking\",\"thinking\":\"In text mode.\"}]"),
		  BYTES("{\"tool_calls\":[{\"id\":\"call_2\",\"name\":\"get_weather\",\"arguments\":\"{\\\"city\\\":\",\"openai\":{\"x\":1}}]}") },
		{ BYTES("tool"), BYTES("[{\"type\":\"json\",\"json\":{\"code\":1}}]"), BYTES("{\"tool_call_id\":\"call_2\"}") },
	};
	struct llm_request rq = { .model = "m", .messages = m, .n_messages = 6, .temperature = -1 };

	return build(driver, "http://llm.example/v1", "", &rq);
}

/* What one parse gave. */
struct outcome {
	enum err e;
	struct llm_result result;
	struct buf heard;
	size_t n_texts;
	int retry_after_s;
	const char *internal;
	bool is_whole;
};

static enum err fail_text; /* what hearing a text gives */

static enum err on_text(void *arg, struct bytes text)
{
	struct outcome *o = arg;

	buf_add_bytes(&o->heard, text);
	o->n_texts++;
	return fail_text;
}

static inline struct outcome parse_in(const struct llm_driver *driver, int status, struct bytes body, size_t step)
{
	struct outcome o = { 0 };
	struct llm_events ev = { &o, on_text, NULL };
	struct llm_provider p = { driver->kind, "http://llm.example/v1", "" };
	struct llm_parser *ps;
	struct jsonx_flaw flaw;

	task_clear_fault(&task);
	buf_init(&o.heard, arena, 16);
	ps = driver->parse_begin(&task, &p, status, 5, &ev, &o.result);
	for (size_t at = 0; o.e == ERR_OK && at < body.n; at += step) {
		size_t n = body.n - at < step ? body.n - at : step;

		o.e = driver->parse_take(ps, (struct bytes){ arena_copy(arena, body.p + at, n), n });
	}
	o.is_whole = driver->parse_is_whole(ps);
	if (o.e == ERR_OK)
		o.e = driver->parse_end(ps);
	o.retry_after_s = task.fault.retry_after_s;
	o.internal = task.fault.internal;
	cr_expect_eq(task.fault.code, o.e, "the fault says what was returned");
	cr_expect(bytes_equal(buf_bytes(&o.heard), o.result.text), "what was heard is what was kept");
	cr_expect(o.result.parts.n == 0 || jsonx_check_strict(arena, o.result.parts, &flaw));
	cr_expect(o.result.tool_calls.n == 0 || jsonx_check_strict(arena, o.result.tool_calls, &flaw));
	return o;
}

static inline bool same(const struct outcome *a, const struct outcome *b)
{
	const struct llm_result *x = &a->result, *y = &b->result;

	return a->e == b->e && bytes_equal(x->text, y->text) && bytes_equal(x->tool_calls, y->tool_calls) && bytes_equal(x->model, y->model) &&
	       bytes_equal(x->parts, y->parts) && x->finish == y->finish && x->usage.is_known == y->usage.is_known &&
	       x->usage.input_tokens == y->usage.input_tokens && x->usage.output_tokens == y->usage.output_tokens && x->usage.cached_tokens == y->usage.cached_tokens && a->n_texts == b->n_texts &&
	       a->is_whole == b->is_whole;
}

/* A stream with another line end. */
static inline struct bytes with_ends(struct bytes body, const char *end)
{
	struct buf b;

	buf_init(&b, arena, 2 * body.n);
	for (size_t i = 0; i < body.n; i++) {
		if (body.p[i] == '\n')
			buf_add_str(&b, end);
		else
			buf_add_char(&b, body.p[i]);
	}
	return buf_bytes(&b);
}

/* Parses at once, in pieces of several sizes, and with every kind of line end. */
static inline struct outcome parse_status(const struct llm_driver *driver, int status, struct bytes body)
{
	static const char *const ends[] = { "\n", "\r\n", "\r" };
	struct outcome whole = parse_in(driver, status, body, body.n + 1), last = whole;

	for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
		struct bytes text = status < 300 ? with_ends(body, ends[i]) : body;

		for (size_t step = 1; step < 9; step += 2) {
			last = parse_in(driver, status, text, step);
			cr_expect(same(&whole, &last), "pieces of %zu, line end %zu: %.*s", step, i, (int)body.n, body.p);
		}
	}
	return last;
}

#define parse(text) parse_status(&DRIVER, 200, bytes_of(text))

/* A request with a message as the answer would be stored. */
static inline void build_answered(const struct llm_driver *driver, const struct outcome *o)
{
	struct bytes content = o->result.parts.n ? o->result.parts : bytes_of(arena_printf(arena, "\"%.*s\"", (int)o->result.text.n,
			o->result.text.p));
	struct bytes extra = { 0 };

	if (o->result.tool_calls.n)
		extra = bytes_of(arena_printf(arena, "{\"tool_calls\":%.*s}", (int)o->result.tool_calls.n, o->result.tool_calls.p));
	struct llm_message m[] = { { BYTES("user"), BYTES("\"Hi\""), { 0 } }, { BYTES("assistant"), content, extra } };
	struct llm_request rq = { .model = "m", .messages = m, .n_messages = 2, .temperature = -1 };

	cr_assert_eq(build(driver, "http://llm.example/v1", "", &rq), ERR_OK);
}

#endif
