/* SPDX-License-Identifier: MIT */
/*
 * gemini_answer: the parser of generateContent. Each chunk is a response with more parts of the same answer. Text parts are joined, but one with
 * a signature stays as it came, since the signature is only good for it.
 */
#include "llm/gemini_answer.h"

#include "llm/answer.h"
#include "llm/convert_answer.h"

#define MAX_PARTS 4096

enum kind { PART_TEXT, PART_THOUGHT, PART_CALL, PART_OTHER };

struct part {
	struct part *next;
	enum kind kind;
	size_t from, n;     /* of a text: where it is in the answer's text */
	struct buf thought;
	struct bytes raw;   /* of a call its functionCall, of others the part */
	struct bytes rest;  /* the part's further members, or no bytes */
};

struct llm_parser {
	struct llm_answer an;
	struct part *parts, *last, **parts_end;
	size_t n_parts, n_calls;
	int64_t input, output, thoughts, cached;
	bool has_input;
	struct bytes response_id, reason; /* plain */
};

static struct bytes keep(struct llm_parser *ps, struct bytes raw_string)
{
	return arena_bytes(ps->an.task->arena, jsonx_string(ps->an.scratch, raw_string));
}

/* ---- parts ---- */

/* The part that goes on, or a new one; NULL: too many. */
static struct part *find_part(struct llm_parser *ps, enum kind kind, struct bytes rest)
{
	struct arena *a = ps->an.task->arena;
	struct part *p = ps->last;

	if (p && p->kind == kind && kind <= PART_THOUGHT && !p->rest.p && !rest.p)
		return p;
	if (++ps->n_parts > MAX_PARTS)
		return NULL;
	p = arena_alloc(a, sizeof(*p));
	p->kind = kind;
	p->from = ps->an.text.n;
	p->rest = arena_bytes(a, rest);
	buf_init(&p->thought, a, 0);
	*ps->parts_end = ps->last = p;
	ps->parts_end = &p->next;
	return p;
}

static enum err take_text(struct llm_parser *ps, struct bytes part, struct bytes raw)
{
	static const char *const names[] = { "text", "thought", NULL };
	struct bytes thought = member_of(part, "thought"), rest = convert_answer_rest(ps->an.scratch, part, names);
	bool is_thought = jsonx_type(thought) == JSONX_BOOL && jsonx_bool(thought);
	struct bytes text = jsonx_string(ps->an.scratch, raw);
	struct part *p;

	if (text.n == 0 && !rest.p)
		return ERR_OK;
	p = find_part(ps, is_thought ? PART_THOUGHT : PART_TEXT, rest);
	if (!p)
		return answer_fail_protocol(ps->an.task, "too many parts");
	if (is_thought) {
		buf_add_bytes(&p->thought, text);
		return ERR_OK;
	}
	p->n += text.n;
	return answer_add_text(&ps->an, text);
}

static enum err take_call(struct llm_parser *ps, struct bytes part, struct bytes call)
{
	static const char *const names[] = { "functionCall", "thought", NULL };
	struct bytes name = member_of(call, "name"), args = member_of(call, "args");
	struct part *p;

	if (!is_string(name) || name.n <= 2)
		return answer_fail_protocol(ps->an.task, "a tool call without a name");
	if (args.n > 0 && jsonx_type(args) != JSONX_OBJECT && jsonx_type(args) != JSONX_NULL)
		return answer_fail_protocol(ps->an.task, "the arguments of a tool call are no object");
	if (++ps->n_calls > ANSWER_MAX_TOOLS)
		return answer_fail_protocol(ps->an.task, "too many tool calls");
	p = find_part(ps, PART_CALL, convert_answer_rest(ps->an.scratch, part, names));
	if (!p)
		return answer_fail_protocol(ps->an.task, "too many parts");
	p->raw = arena_bytes(ps->an.task->arena, call);
	return ERR_OK;
}

static enum err take_part(struct llm_parser *ps, struct bytes part)
{
	struct bytes text = member_of(part, "text"), call = member_of(part, "functionCall");
	struct jsonx_walk w;
	struct part *p;

	if (jsonx_type(part) != JSONX_OBJECT)
		return answer_fail_protocol(ps->an.task, "a part is no object");
	if (jsonx_type(call) == JSONX_OBJECT)
		return take_call(ps, part, call);
	if (is_string(text))
		return take_text(ps, part, text);
	jsonx_walk_begin(&w, part);
	if (!jsonx_walk_next(&w))
		return ERR_OK;
	if (string_is(ps->an.scratch, w.raw_key, BYTES("thoughtSignature")) && !jsonx_walk_next(&w)) /* of a text that is empty */
		return take_text(ps, part, BYTES("\"\""));
	p = find_part(ps, PART_OTHER, (struct bytes){ 0 });
	if (!p)
		return answer_fail_protocol(ps->an.task, "too many parts");
	p->raw = arena_bytes(ps->an.task->arena, part);
	return ERR_OK;
}

/* ---- chunks ---- */

static void take_usage(struct llm_parser *ps, struct bytes usage)
{
	if (answer_count(member_of(usage, "promptTokenCount"), &ps->input))
		ps->has_input = true;
	answer_count(member_of(usage, "candidatesTokenCount"), &ps->output);
	answer_count(member_of(usage, "thoughtsTokenCount"), &ps->thoughts);
	answer_count(member_of(usage, "cachedContentTokenCount"), &ps->cached);
	if (ps->has_input)
		ps->an.result->usage = (struct llm_usage){ .input_tokens = ps->input, .output_tokens = ps->output + ps->thoughts,
							       .cached_tokens = ps->cached, .is_known = true };
}

static void take_finish(struct llm_parser *ps, struct bytes raw)
{
	static const char *const filters[] = { "SAFETY", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "RECITATION", "IMAGE_SAFETY",
					       "IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION" };

	if (!is_string(raw) || raw.n <= 2 || string_is(ps->an.scratch, raw, BYTES("FINISH_REASON_UNSPECIFIED")))
		return;
	ps->reason = keep(ps, raw);
	ps->an.has_finish = true;
	ps->an.result->finish = bytes_equal(ps->reason, BYTES("MAX_TOKENS")) ? LLM_LENGTH : LLM_STOP;
	for (size_t i = 0; i < sizeof(filters) / sizeof(filters[0]); i++) {
		if (bytes_equal(ps->reason, bytes_of(filters[i])))
			ps->an.result->finish = LLM_FILTER;
	}
}

static enum err take_candidate(struct llm_parser *ps, struct bytes candidate)
{
	struct bytes index = member_of(candidate, "index"), parts = member_of(member_of(candidate, "content"), "parts");
	struct jsonx_walk w;
	enum err e = ERR_OK;

	if (jsonx_type(candidate) != JSONX_OBJECT)
		return answer_fail_protocol(ps->an.task, "a candidate is no object");
	if (jsonx_type(index) == JSONX_INT && jsonx_int(index) != 0)
		return ERR_OK; /* one was asked for */
	if (jsonx_type(parts) == JSONX_ARRAY) {
		for (jsonx_walk_begin(&w, parts); e == ERR_OK && jsonx_walk_next(&w);)
			e = take_part(ps, w.value);
	}
	take_finish(ps, member_of(candidate, "finishReason"));
	return e;
}

/* A prompt that is blocked gets no candidate. */
static enum err check_blocked(struct llm_parser *ps, struct bytes feedback)
{
	struct bytes reason = member_of(feedback, "blockReason"), text;

	if (!is_string(reason) || reason.n <= 2 || string_is(ps->an.scratch, reason, BYTES("BLOCK_REASON_UNSPECIFIED")) || ps->n_parts > 0)
		return ERR_OK;
	text = keep(ps, reason);
	return task_fail_internal(ps->an.task, ERR_PROVIDER_REFUSED, "the provider blocked the prompt: %.*s", (int)(text.n < 200 ? text.n : 200), text.p);
}

static enum err take_object(void *arg, struct bytes chunk)
{
	struct llm_parser *ps = arg;
	struct bytes model = member_of(chunk, "modelVersion"), id = member_of(chunk, "responseId"), candidates = member_of(chunk, "candidates");
	struct jsonx_walk w;
	enum err e;

	if (ps->an.result->model.n == 0 && is_string(model))
		ps->an.result->model = keep(ps, model);
	if (ps->response_id.n == 0 && is_string(id))
		ps->response_id = keep(ps, id);
	take_usage(ps, member_of(chunk, "usageMetadata"));
	e = check_blocked(ps, member_of(chunk, "promptFeedback"));
	if (jsonx_type(candidates) != JSONX_ARRAY)
		return e;
	for (jsonx_walk_begin(&w, candidates); e == ERR_OK && jsonx_walk_next(&w);)
		e = take_candidate(ps, w.value);
	return e;
}

/* ---- the driver's functions ---- */

struct llm_parser *gemini_answer_begin(struct task *t, const struct llm_provider *p, int status, int retry_after_s,
					const struct llm_events *ev, struct llm_result *result_r)
{
	struct llm_parser *ps = arena_alloc(t->arena, sizeof(*ps));

	(void)p;
	answer_begin(&ps->an, t, status, retry_after_s, ev, result_r);
	ps->an.take = take_object;
	ps->an.arg = ps;
	ps->parts_end = &ps->parts;
	return ps;
}

enum err gemini_answer_take(struct llm_parser *ps, struct bytes piece)
{
	return answer_take(&ps->an, piece);
}

bool gemini_answer_is_whole(const struct llm_parser *ps)
{
	return answer_is_whole(&ps->an);
}

static void end_call(struct llm_parser *ps, struct convert_answer *ca, const struct part *p, size_t n)
{
	struct arena *a = ps->an.task->arena;
	struct bytes id = member_of(p->raw, "id"), args = member_of(p->raw, "args"), seed;

	id = is_string(id) ? jsonx_string(a, id) : (struct bytes){ 0 };
	seed = bytes_of(arena_printf(a, "%.*s %.*s", (int)ps->response_id.n, ps->response_id.n ? ps->response_id.p : "", (int)p->raw.n, p->raw.p));
	convert_answer_call(ca, id.n > 0 ? id : convert_answer_id(a, seed, n), jsonx_string(a, member_of(p->raw, "name")),
			    jsonx_type(args) == JSONX_OBJECT ? args : BYTES("{}"), p->rest);
}

static void end_parts(struct llm_parser *ps, struct convert_answer *ca)
{
	size_t n_calls = 0;

	for (const struct part *p = ps->parts; p; p = p->next) {
		if (p->kind == PART_TEXT)
			convert_answer_text(ca, (struct bytes){ p->n > 0 ? ps->an.text.p + p->from : "", p->n }, p->rest);
		else if (p->kind == PART_THOUGHT)
			convert_answer_thinking(ca, buf_bytes(&p->thought), p->rest);
		else if (p->kind == PART_CALL)
			end_call(ps, ca, p, n_calls++);
		else
			convert_answer_raw(ca, p->raw);
	}
}

enum err gemini_answer_end(struct llm_parser *ps)
{
	struct llm_result *r = ps->an.result;
	struct convert_answer *ca;
	enum err e = answer_end(&ps->an);

	if (e != ERR_OK)
		return e;
	if (r->text.n == 0 && ps->n_calls == 0 && r->finish == LLM_STOP && !bytes_equal(ps->reason, BYTES("STOP"))) /* a malformed call, say */
		return task_fail_internal(ps->an.task, ERR_PROVIDER_FAILED, "the provider gave no answer: %.*s",
					  (int)(ps->reason.n < 200 ? ps->reason.n : 200), ps->reason.p);
	ca = convert_answer_begin(ps->an.task, CONVERT_GEMINI);
	end_parts(ps, ca);
	convert_answer_end(ca, &r->parts, &r->tool_calls);
	if (r->tool_calls.n > 0 && r->finish == LLM_STOP)
		r->finish = LLM_TOOL;
	return ERR_OK;
}
