/* SPDX-License-Identifier: MIT */
/*
 * anthropic_answer: the parser of the Messages API. An answer is a list of blocks: text is passed on as it comes; thoughts and their signatures,
 * and blocks that only the provider understands, are kept for its next request.
 */
#include "llm/anthropic_answer.h"

#include "llm/answer.h"
#include "llm/convert_answer.h"

#define MAX_BLOCKS 1024

enum kind { BLOCK_TEXT, BLOCK_THINKING, BLOCK_CALL, BLOCK_OTHER };

struct block {
	struct block *next;
	int64_t index;
	enum kind kind;
	struct bytes start;  /* as it began, an object */
	size_t from, n;      /* of a text: where it is in the answer's text */
	struct buf more;     /* of a thought its text, of others the JSON of their input */
	struct buf signature;
	struct buf citations; /* joined by commas */
	bool is_stopped;
};

struct llm_parser {
	struct llm_answer an;
	struct block *blocks, *last, **blocks_end;
	size_t n_blocks, n_calls;
	int64_t input, cache_creation, cache_read, output;
	bool has_input, has_output;
};

/* ---- blocks ---- */

static enum kind kind_of(struct arena *a, struct bytes type)
{
	static const char *const names[] = { "text", "thinking", "tool_use" };

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (string_is(a, type, bytes_of(names[i])))
			return (enum kind)i;
	}
	return BLOCK_OTHER;
}

static struct block *find_block(const struct llm_parser *ps, int64_t index)
{
	if (ps->last && ps->last->index == index)
		return ps->last;
	for (struct block *b = ps->blocks; b; b = b->next) {
		if (b->index == index)
			return b;
	}
	return NULL;
}

/* Adds text to the answer as part of a block, which must be the one whose text came last. */
static enum err take_text(struct llm_parser *ps, struct block *b, struct bytes raw)
{
	struct bytes text;

	if (!is_string(raw))
		return ERR_OK;
	if (b->from + b->n != ps->an.text.n)
		return answer_fail_protocol(ps->an.task, "two texts are mixed");
	text = jsonx_string(ps->an.scratch, raw);
	b->n += text.n;
	return answer_add_text(&ps->an, text);
}

static void take_string(struct llm_parser *ps, struct buf *b, struct bytes raw)
{
	if (is_string(raw))
		buf_add_bytes(b, jsonx_string(ps->an.scratch, raw));
}

static void take_citation(struct block *b, struct bytes citation)
{
	if (jsonx_type(citation) != JSONX_OBJECT)
		return;
	buf_add_str(&b->citations, b->citations.n > 0 ? "," : "");
	buf_add_bytes(&b->citations, citation);
}

/* What a block has when it begins; of an answer that is no stream, all of it. */
static enum err take_start(struct llm_parser *ps, struct block *b)
{
	struct bytes input = member_of(b->start, "input"), citations = member_of(b->start, "citations");
	struct jsonx_walk w;

	if (b->kind == BLOCK_CALL) {
		struct bytes id = member_of(b->start, "id"), name = member_of(b->start, "name");

		if (!is_string(id) || id.n <= 2 || !is_string(name) || name.n <= 2)
			return answer_fail_protocol(ps->an.task, "a tool call without id or name");
		if (++ps->n_calls > ANSWER_MAX_TOOLS)
			return answer_fail_protocol(ps->an.task, "too many tool calls");
		if (jsonx_type(input) != JSONX_OBJECT)
			return ERR_OK;
		jsonx_walk_begin(&w, input);
		if (jsonx_walk_next(&w)) /* a stream begins with {} and brings it in pieces */
			buf_add_bytes(&b->more, input);
	} else if (b->kind == BLOCK_THINKING) {
		take_string(ps, &b->more, member_of(b->start, "thinking"));
		take_string(ps, &b->signature, member_of(b->start, "signature"));
	} else if (b->kind == BLOCK_TEXT) {
		if (jsonx_type(citations) == JSONX_ARRAY) {
			for (jsonx_walk_begin(&w, citations); jsonx_walk_next(&w);)
				take_citation(b, w.value);
		}
		return take_text(ps, b, member_of(b->start, "text"));
	}
	return ERR_OK;
}

static enum err add_block(struct llm_parser *ps, int64_t index, struct bytes start, struct block **block_r)
{
	struct arena *a = ps->an.task->arena;
	struct block *b;

	if (jsonx_type(start) != JSONX_OBJECT || !is_string(member_of(start, "type")))
		return answer_fail_protocol(ps->an.task, "a block without a type");
	if (find_block(ps, index))
		return answer_fail_protocol(ps->an.task, "a block begins twice");
	if (++ps->n_blocks > MAX_BLOCKS)
		return answer_fail_protocol(ps->an.task, "too many blocks");
	b = arena_alloc(a, sizeof(*b));
	b->index = index;
	b->kind = kind_of(ps->an.scratch, member_of(start, "type"));
	b->start = arena_bytes(a, start);
	b->from = ps->an.text.n;
	buf_init(&b->more, a, 0);
	buf_init(&b->signature, a, 0);
	buf_init(&b->citations, a, 0);
	*ps->blocks_end = ps->last = b;
	ps->blocks_end = &b->next;
	*block_r = b;
	return take_start(ps, b);
}

static enum err take_delta(struct llm_parser *ps, struct block *b, struct bytes delta)
{
	struct bytes type = member_of(delta, "type");
	struct arena *a = ps->an.scratch;

	if (string_is(a, type, BYTES("text_delta")) && b->kind == BLOCK_TEXT)
		return take_text(ps, b, member_of(delta, "text"));
	if (string_is(a, type, BYTES("input_json_delta")) && (b->kind == BLOCK_CALL || b->kind == BLOCK_OTHER))
		take_string(ps, &b->more, member_of(delta, "partial_json"));
	else if (string_is(a, type, BYTES("thinking_delta")) && b->kind == BLOCK_THINKING)
		take_string(ps, &b->more, member_of(delta, "thinking"));
	else if (string_is(a, type, BYTES("signature_delta")) && b->kind == BLOCK_THINKING)
		take_string(ps, &b->signature, member_of(delta, "signature"));
	else if (string_is(a, type, BYTES("citations_delta")) && b->kind == BLOCK_TEXT)
		take_citation(b, member_of(delta, "citation"));
	return ERR_OK; /* there will be others */
}

/* ---- events ---- */

/* Counts are of the whole answer so far; an event that leaves one out does not change it. */
static void take_usage(struct llm_parser *ps, struct bytes usage)
{
	if (answer_count(member_of(usage, "input_tokens"), &ps->input))
		ps->has_input = true;
	if (answer_count(member_of(usage, "output_tokens"), &ps->output))
		ps->has_output = true;
	answer_count(member_of(usage, "cache_creation_input_tokens"), &ps->cache_creation);
	answer_count(member_of(usage, "cache_read_input_tokens"), &ps->cache_read);
	if (ps->has_input && ps->has_output)
		ps->an.result->usage = (struct llm_usage){ .input_tokens = ps->input + ps->cache_creation + ps->cache_read, .output_tokens = ps->output,
							       .cached_tokens = ps->cache_read, .is_known = true };
}

static void take_stop(struct llm_parser *ps, struct bytes raw)
{
	static const struct {
		const char *reason;
		enum llm_finish finish;
	} rows[] = {
		{ "max_tokens", LLM_LENGTH }, { "model_context_window_exceeded", LLM_LENGTH }, { "tool_use", LLM_TOOL }, { "pause_turn", LLM_TOOL },
		{ "refusal", LLM_FILTER },
	};

	if (!is_string(raw))
		return;
	ps->an.has_finish = true;
	ps->an.result->finish = LLM_STOP;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		if (string_is(ps->an.scratch, raw, bytes_of(rows[i].reason)))
			ps->an.result->finish = rows[i].finish;
	}
}

/* The message that a stream begins with, without blocks and reason; or a whole one. */
static enum err take_message(struct llm_parser *ps, struct bytes message)
{
	struct bytes model = member_of(message, "model"), content = member_of(message, "content");
	struct jsonx_walk w;
	struct block *b;
	int64_t index = 0;
	enum err e = ERR_OK;

	if (jsonx_type(message) != JSONX_OBJECT)
		return answer_fail_protocol(ps->an.task, "a message is no object");
	if (is_string(model))
		ps->an.result->model = arena_bytes(ps->an.task->arena, jsonx_string(ps->an.scratch, model));
	take_usage(ps, member_of(message, "usage"));
	if (jsonx_type(content) == JSONX_ARRAY) {
		for (jsonx_walk_begin(&w, content); e == ERR_OK && jsonx_walk_next(&w);) {
			e = add_block(ps, index++, w.value, &b);
			if (e == ERR_OK)
				b->is_stopped = true;
		}
	}
	take_stop(ps, member_of(message, "stop_reason"));
	return e;
}

static enum err take_block_event(struct llm_parser *ps, struct bytes event, struct bytes type)
{
	struct bytes raw = member_of(event, "index");
	int64_t index = jsonx_type(raw) == JSONX_INT ? jsonx_int(raw) : -1;
	struct block *b;

	if (index < 0)
		return answer_fail_protocol(ps->an.task, "a block without a number");
	if (bytes_equal(type, BYTES("content_block_start")))
		return add_block(ps, index, member_of(event, "content_block"), &b);
	b = find_block(ps, index);
	if (!b)
		return answer_fail_protocol(ps->an.task, "a block without a beginning");
	if (bytes_equal(type, BYTES("content_block_delta")))
		return take_delta(ps, b, member_of(event, "delta"));
	b->is_stopped = true;
	return ERR_OK;
}

static enum err take_object(void *arg, struct bytes event)
{
	struct llm_parser *ps = arg;
	struct bytes raw = member_of(event, "type"), type;

	if (!is_string(raw))
		return answer_fail_protocol(ps->an.task, "an event without a type");
	type = jsonx_string(ps->an.scratch, raw);
	if (bytes_equal(type, BYTES("message_start")))
		return take_message(ps, member_of(event, "message"));
	if (bytes_equal(type, BYTES("message")))
		return take_message(ps, event);
	if (type.n > 14 && memcmp(type.p, "content_block_", 14) == 0)
		return take_block_event(ps, event, type);
	if (bytes_equal(type, BYTES("message_delta"))) {
		take_usage(ps, member_of(event, "usage"));
		take_stop(ps, member_of(member_of(event, "delta"), "stop_reason"));
	} else if (bytes_equal(type, BYTES("message_stop"))) {
		ps->an.is_done = true;
	} else if (bytes_equal(type, BYTES("error"))) {
		return answer_fail_inside(ps->an.task, event);
	}
	return ERR_OK; /* ping, and what there will be */
}

/* ---- the driver's functions ---- */

struct llm_parser *anthropic_answer_begin(struct task *t, const struct llm_provider *p, int status, int retry_after_s,
					  const struct llm_events *ev, struct llm_result *result_r)
{
	struct llm_parser *ps = arena_alloc(t->arena, sizeof(*ps));

	(void)p;
	answer_begin(&ps->an, t, status, retry_after_s, ev, result_r);
	ps->an.take = take_object;
	ps->an.arg = ps;
	ps->blocks_end = &ps->blocks;
	return ps;
}

enum err anthropic_answer_take(struct llm_parser *ps, struct bytes piece)
{
	return answer_take(&ps->an, piece);
}

bool anthropic_answer_is_whole(const struct llm_parser *ps)
{
	return answer_is_whole(&ps->an);
}

/* Whether the input is an object: a limit may have cut it off. */
static bool is_object(struct arena *a, struct bytes text)
{
	struct jsonx_flaw flaw;

	return jsonx_check_strict(a, text, &flaw) && jsonx_type(text) == JSONX_OBJECT;
}

/* The members of a block's beginning but some, and perhaps one more that came later. */
static struct bytes rest_of(struct arena *a, const struct block *b, const char *const *names, const char *name, struct bytes raw)
{
	struct bytes rest = convert_answer_rest(a, b->start, names);
	struct buf out;

	if (!raw.p)
		return rest;
	buf_init(&out, a, rest.n + raw.n + 32);
	buf_add(&out, rest.p ? rest.p : "{", rest.p ? rest.n - 1 : 1);
	buf_member_json(&out, name, raw);
	buf_add_char(&out, '}');
	return buf_bytes(&out);
}

static void end_text(struct llm_parser *ps, struct convert_answer *ca, const struct block *b)
{
	static const char *const names[] = { "type", "text", "citations", NULL };
	struct arena *a = ps->an.task->arena;
	struct bytes citations = { 0 };

	if (b->citations.n > 0)
		citations = bytes_of(arena_printf(a, "[%s]", buf_bytes(&b->citations).p)); /* JSON holds no NUL */
	convert_answer_text(ca, (struct bytes){ b->n > 0 ? ps->an.text.p + b->from : "", b->n }, rest_of(a, b, names, "citations", citations));
}

static void end_thinking(struct llm_parser *ps, struct convert_answer *ca, const struct block *b)
{
	static const char *const names[] = { "type", "thinking", "signature", NULL };
	struct arena *a = ps->an.task->arena;
	struct bytes raw = { 0 };
	struct buf signature;

	if (b->signature.n > 0) {
		buf_init(&signature, a, b->signature.n + 16);
		buf_add_json(&signature, buf_bytes(&b->signature));
		raw = buf_bytes(&signature);
	}
	convert_answer_thinking(ca, buf_bytes(&b->more), rest_of(a, b, names, "signature", raw));
}

/* A call that a limit cut off must not be run, even if it happens to look complete. */
static void end_call(struct llm_parser *ps, struct convert_answer *ca, const struct block *b)
{
	static const char *const names[] = { "type", "id", "name", "input", NULL };
	struct arena *a = ps->an.task->arena;
	struct bytes input = b->more.n > 0 ? buf_bytes(&b->more) : BYTES("{}");

	if (ps->an.result->finish == LLM_LENGTH && (!b->is_stopped || !is_object(a, input)))
		return;
	convert_answer_call(ca, jsonx_string(a, member_of(b->start, "id")), jsonx_string(a, member_of(b->start, "name")), input,
			    convert_answer_rest(a, b->start, names));
}

static void end_other(struct llm_parser *ps, struct convert_answer *ca, const struct block *b)
{
	static const char *const names[] = { "input", NULL };
	struct bytes input = buf_bytes(&b->more);

	if (!b->is_stopped)
		return;
	if (input.n == 0)
		convert_answer_raw(ca, b->start);
	else if (is_object(ps->an.task->arena, input))
		convert_answer_raw(ca, rest_of(ps->an.task->arena, b, names, "input", input));
}

enum err anthropic_answer_end(struct llm_parser *ps)
{
	static void (*const ends[])(struct llm_parser *ps, struct convert_answer *ca, const struct block *b) = {
		[BLOCK_TEXT] = end_text, [BLOCK_THINKING] = end_thinking, [BLOCK_CALL] = end_call, [BLOCK_OTHER] = end_other,
	};
	struct llm_result *r = ps->an.result;
	struct convert_answer *ca;
	enum err e = answer_end(&ps->an);

	if (e != ERR_OK)
		return e;
	ca = convert_answer_begin(ps->an.task, CONVERT_ANTHROPIC);
	for (const struct block *b = ps->blocks; b; b = b->next)
		ends[b->kind](ps, ca, b);
	convert_answer_end(ca, &r->parts, &r->tool_calls);
	if (r->tool_calls.n > 0 && r->finish == LLM_STOP)
		r->finish = LLM_TOOL;
	return ERR_OK;
}
