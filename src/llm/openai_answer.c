/* SPDX-License-Identifier: MIT */
/*
 * openai_answer: the parser of chat completions. Takes the body in any pieces, appends text as it comes and joins the fragments of
 * tool calls; an event is read in a scratch arena, so that a long stream costs no more memory than its text.
 */
#include "llm/openai_answer.h"

enum shape { SHAPE_UNKNOWN, SHAPE_STREAM, SHAPE_WHOLE, SHAPE_ERROR };

/* A tool call as its fragments come in. */
struct tool {
	struct tool *next;
	int64_t index;
	struct buf id, name, arguments;
};

struct llm_parser {
	struct task *task;
	const struct llm_events *ev;
	struct llm_result *result;
	int status, retry_after_s;
	enum shape shape;
	struct sse sse;
	struct buf text;       /* what result->text shows */
	struct buf body;       /* of an error, or of an answer that is no stream */
	struct arena *scratch; /* for reading one event */
	struct tool *tools, **tools_end;
	size_t n_tools;
	bool has_finish, is_done, is_ending, has_event, is_refusal;
};

static enum err fail_protocol(struct llm_parser *ps, const char *why)
{
	return answer_fail_protocol(ps->task, why);
}

static enum err fail_status(struct llm_parser *ps)
{
	return answer_fail_status(ps->task, ps->status, ps->retry_after_s, buf_bytes(&ps->body));
}

/* ---- parts of a chunk ---- */

static enum err add_text(struct llm_parser *ps, struct bytes raw)
{
	struct bytes text = jsonx_string(ps->scratch, raw);

	if (text.n == 0)
		return ERR_OK;
	buf_add_bytes(&ps->text, text);
	ps->result->text = buf_bytes(&ps->text);
	return ps->ev->on_text ? ps->ev->on_text(ps->ev->arg, text) : ERR_OK;
}

/* Content is a string, or with some servers a list of parts. */
static enum err take_content(struct llm_parser *ps, struct bytes content)
{
	struct jsonx_walk w;
	enum err e = ERR_OK;

	if (is_string(content))
		return add_text(ps, content);
	if (jsonx_type(content) != JSONX_ARRAY)
		return ERR_OK;
	jsonx_walk_begin(&w, content);
	while (e == ERR_OK && jsonx_walk_next(&w)) {
		struct bytes text = member_of(w.value, "text");

		if (string_is(ps->scratch, member_of(w.value, "type"), BYTES("text")) && is_string(text))
			e = add_text(ps, text);
	}
	return e;
}

/* The newest call of this index, unless the fragment brings another id: some servers number all of them 0. NULL: too many. */
static struct tool *find_tool(struct llm_parser *ps, int64_t index, struct bytes id)
{
	struct tool *found = NULL;

	for (struct tool *tool = ps->tools; tool; tool = tool->next) {
		if (tool->index == index)
			found = tool;
	}
	if (found && (id.n == 0 || found->id.n == 0 || bytes_equal(id, buf_bytes(&found->id))))
		return found;
	if (ps->n_tools >= ANSWER_MAX_TOOLS)
		return NULL;
	found = arena_alloc(ps->task->arena, sizeof(*found));
	found->index = index;
	buf_init(&found->id, ps->task->arena, 0);
	buf_init(&found->name, ps->task->arena, 0);
	buf_init(&found->arguments, ps->task->arena, 0);
	*ps->tools_end = found;
	ps->tools_end = &found->next;
	ps->n_tools++;
	return found;
}

/* Id and name come whole, normally with the first fragment only; some servers repeat them. */
static void set_once(struct buf *b, struct arena *scratch, struct bytes raw)
{
	if (b->n == 0 && is_string(raw))
		buf_add_bytes(b, jsonx_string(scratch, raw));
}

static enum err take_tool(struct llm_parser *ps, struct bytes fragment, int64_t position)
{
	struct bytes index = member_of(fragment, "index"), id = member_of(fragment, "id"), function = member_of(fragment, "function");
	struct bytes arguments = member_of(function, "arguments");
	struct tool *tool;

	if (jsonx_type(fragment) != JSONX_OBJECT)
		return fail_protocol(ps, "a tool call is no object");
	if (jsonx_type(index) == JSONX_INT)
		position = jsonx_int(index);
	tool = find_tool(ps, position, is_string(id) ? jsonx_string(ps->scratch, id) : (struct bytes){ 0 });
	if (!tool)
		return fail_protocol(ps, "too many tool calls");
	set_once(&tool->id, ps->scratch, id);
	set_once(&tool->name, ps->scratch, member_of(function, "name"));
	if (is_string(arguments))
		buf_add_bytes(&tool->arguments, jsonx_string(ps->scratch, arguments));
	else if (jsonx_type(arguments) == JSONX_OBJECT)
		buf_add_bytes(&tool->arguments, arguments);
	return ERR_OK;
}

static enum err take_tools(struct llm_parser *ps, struct bytes list)
{
	struct jsonx_walk w;
	int64_t position = 0;

	if (jsonx_type(list) != JSONX_ARRAY)
		return ERR_OK;
	jsonx_walk_begin(&w, list);
	while (jsonx_walk_next(&w)) {
		enum err e = take_tool(ps, w.value, position++);

		if (e != ERR_OK)
			return e;
	}
	return ERR_OK;
}

static void take_finish(struct llm_parser *ps, struct bytes raw)
{
	struct bytes reason;

	if (!is_string(raw))
		return;
	reason = jsonx_string(ps->scratch, raw);
	ps->has_finish = true;
	if (bytes_equal(reason, BYTES("length")))
		ps->result->finish = LLM_LENGTH;
	else if (bytes_equal(reason, BYTES("tool_calls")) || bytes_equal(reason, BYTES("function_call")))
		ps->result->finish = LLM_TOOL;
	else if (bytes_equal(reason, BYTES("content_filter")))
		ps->result->finish = LLM_FILTER;
	else
		ps->result->finish = LLM_STOP;
}

/* A choice of a stream has a delta, one of a plain answer a message; their members are the same. */
static enum err take_choice(struct llm_parser *ps, struct bytes choice)
{
	struct bytes index = member_of(choice, "index"), delta = member_of(choice, "delta"), refusal;
	enum err e;

	if (jsonx_type(choice) != JSONX_OBJECT)
		return fail_protocol(ps, "a choice is no object");
	if (jsonx_type(index) == JSONX_INT && jsonx_int(index) != 0)
		return ERR_OK; /* one was asked for */
	if (delta.n == 0)
		delta = member_of(choice, "message");
	e = take_content(ps, member_of(delta, "content"));
	if (e != ERR_OK)
		return e;
	refusal = member_of(delta, "refusal");
	if (is_string(refusal) && refusal.n > 2) {
		ps->is_refusal = true;
		e = add_text(ps, refusal);
		if (e != ERR_OK)
			return e;
	}
	e = take_tools(ps, member_of(delta, "tool_calls"));
	if (e == ERR_OK)
		take_finish(ps, member_of(choice, "finish_reason"));
	return e;
}

static void take_usage(struct llm_parser *ps, struct bytes usage)
{
	struct llm_usage u = { .is_known = true };

	answer_count(member_of(member_of(usage, "prompt_tokens_details"), "cached_tokens"), &u.cached_tokens);
	if (answer_count(member_of(usage, "prompt_tokens"), &u.input_tokens) && answer_count(member_of(usage, "completion_tokens"), &u.output_tokens))
		ps->result->usage = u;
}

/* One chunk of the stream, or a plain answer: validated JSON. */
static enum err take_object(struct llm_parser *ps, struct bytes object)
{
	struct bytes error, choices, model;
	struct jsonx_walk w;

	if (jsonx_type(object) != JSONX_OBJECT)
		return fail_protocol(ps, "it is no JSON object");
	error = jsonx_member(object, "error");
	if (error.n > 0 && jsonx_type(error) != JSONX_NULL)
		return answer_fail_inside(ps->task, object);
	model = jsonx_member(object, "model");
	if (ps->result->model.n == 0 && is_string(model))
		ps->result->model = arena_bytes(ps->task->arena, jsonx_string(ps->scratch, model));
	take_usage(ps, jsonx_member(object, "usage"));
	choices = jsonx_member(object, "choices");
	if (jsonx_type(choices) != JSONX_ARRAY)
		return ERR_OK;
	jsonx_walk_begin(&w, choices);
	while (jsonx_walk_next(&w)) {
		enum err e = take_choice(ps, w.value);

		if (e != ERR_OK)
			return e;
	}
	return ERR_OK;
}

/* ---- the stream ---- */

static enum err take_event(void *arg, const struct sse_event *event)
{
	struct llm_parser *ps = arg;
	struct bytes data = event->data;
	struct jsonx_flaw flaw;

	while (data.n > 0 && is_blank(data.p[data.n - 1]))
		data.n--;
	if (ps->is_done || data.n == 0)
		return ERR_OK;
	ps->has_event = true;
	if (bytes_equal(event->name, BYTES("error")))
		return answer_fail_inside(ps->task, data);
	if (bytes_equal(data, BYTES("[DONE]"))) {
		ps->is_done = true;
		return ERR_OK;
	}
	arena_reset(ps->scratch);
	if (!jsonx_check_strict(ps->scratch, data, &flaw))
		return ps->is_ending ? ERR_OK : fail_protocol(ps, flaw.reason); /* a line that was cut off is no nonsense */
	return take_object(ps, data);
}

static void close_scratch(void *arg)
{
	struct arena *scratch = arg;

	arena_close(&scratch);
}

struct llm_parser *openai_answer_begin(struct task *t, int status, int retry_after_s, const struct llm_events *ev,
				       struct llm_result *result_r)
{
	struct llm_parser *ps = arena_alloc(t->arena, sizeof(*ps));

	ps->task = t;
	ps->ev = ev;
	ps->result = result_r;
	ps->status = status;
	ps->retry_after_s = retry_after_s;
	ps->shape = status >= 300 ? SHAPE_ERROR : SHAPE_UNKNOWN;
	ps->tools_end = &ps->tools;
	ps->scratch = arena_open(4096);
	arena_defer(t->arena, close_scratch, ps->scratch);
	sse_init(&ps->sse, t, ANSWER_MAX_EVENT, take_event, ps);
	buf_init(&ps->text, t->arena, 0);
	buf_init(&ps->body, t->arena, 0);
	return ps;
}

/* A server that knows no streaming answers with one JSON object; no line of an event stream starts like one. */
static struct bytes find_shape(struct llm_parser *ps, struct bytes piece)
{
	while (piece.n > 0 && is_blank(piece.p[0]))
		piece = (struct bytes){ piece.p + 1, piece.n - 1 };
	if (piece.n > 0)
		ps->shape = piece.p[0] == '{' || piece.p[0] == '[' ? SHAPE_WHOLE : SHAPE_STREAM;
	return piece;
}

enum err openai_answer_take(struct llm_parser *ps, struct bytes piece)
{
	enum err e;

	if (ps->is_done)
		return ERR_OK;
	if (ps->shape == SHAPE_UNKNOWN)
		piece = find_shape(ps, piece);
	if (ps->shape == SHAPE_STREAM) {
		e = sse_take(&ps->sse, piece);
		if (!ps->is_done)
			return e;
		task_clear_fault(ps->task); /* what follows the end mark is of no interest */
		return ERR_OK;
	}
	if (ps->shape == SHAPE_ERROR && piece.n > ANSWER_MAX_ERROR - ps->body.n) {
		buf_add(&ps->body, piece.p, ANSWER_MAX_ERROR - ps->body.n);
		return fail_status(ps);
	}
	buf_add_bytes(&ps->body, piece);
	return ERR_OK;
}

bool openai_answer_is_whole(const struct llm_parser *ps)
{
	return ps->is_done || ps->has_finish;
}

static enum err end_whole(struct llm_parser *ps)
{
	struct bytes body = buf_bytes(&ps->body);
	struct jsonx_flaw flaw;
	enum err e;

	arena_reset(ps->scratch);
	if (!jsonx_check_strict(ps->scratch, body, &flaw))
		return fail_protocol(ps, flaw.reason);
	e = take_object(ps, body);
	if (e == ERR_OK && jsonx_type(jsonx_member(body, "choices")) != JSONX_ARRAY)
		return fail_protocol(ps, "it has no choices");
	return e;
}

static enum err end_stream(struct llm_parser *ps)
{
	enum err e;

	ps->is_ending = true;
	e = sse_finish(&ps->sse);
	if (e != ERR_OK)
		return e;
	if (!ps->has_event && ps->shape == SHAPE_STREAM)
		return fail_protocol(ps, "it is no event stream");
	if (!openai_answer_is_whole(ps))
		return task_fail_internal(ps->task, ERR_PROVIDER_CUT, "the provider's stream ended without a finish");
	return ERR_OK;
}

static void make_tool_calls(struct llm_parser *ps)
{
	struct buf b;

	buf_init(&b, ps->task->arena, 0);
	buf_add_char(&b, '[');
	for (const struct tool *tool = ps->tools; tool; tool = tool->next) {
		add_comma(&b);
		buf_add_char(&b, '{');
		buf_member_string(&b, "id", (struct bytes){ tool->id.p ? tool->id.p : "", tool->id.n });
		buf_member_string(&b, "name", (struct bytes){ tool->name.p ? tool->name.p : "", tool->name.n });
		buf_member_string(&b, "arguments", (struct bytes){ tool->arguments.p ? tool->arguments.p : "", tool->arguments.n });
		buf_add_char(&b, '}');
	}
	buf_add_char(&b, ']');
	ps->result->tool_calls = buf_bytes(&b);
}

enum err openai_answer_end(struct llm_parser *ps)
{
	enum err e;

	if (ps->shape == SHAPE_ERROR)
		return fail_status(ps);
	e = ps->shape == SHAPE_WHOLE ? end_whole(ps) : end_stream(ps);
	if (e != ERR_OK)
		return e;
	if (ps->n_tools > 0) {
		make_tool_calls(ps);
		if (ps->result->finish == LLM_STOP)
			ps->result->finish = LLM_TOOL;
	}
	if (ps->is_refusal)
		ps->result->finish = LLM_FILTER;
	return ERR_OK;
}
