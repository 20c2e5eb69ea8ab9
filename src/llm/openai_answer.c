/* SPDX-License-Identifier: MIT */
/* openai_answer: the parser of chat completions. Text is passed on as it comes, the fragments of tool calls are joined. */
#include "llm/openai_answer.h"

#include "llm/answer.h"
#include "llm/convert_answer.h"
#include "llm/request.h"

/* A tool call as its fragments come in. */
struct tool {
	struct tool *next;
	int64_t index;
	struct buf id, name, arguments;
	struct bytes rest; /* further members, a signature, say; or no bytes */
};

/* What servers give besides the answer, to have it back with the next request. */
enum how { JOINED, LISTED, ONCE };

static const struct besides {
	const char *name;
	enum how how;
	bool is_thought; /* of use only while the tools that were thought of are called */
} besides[] = {
	{ "reasoning_content", JOINED, true },
	{ "reasoning", JOINED, true },
	{ "reasoning_details", LISTED, true },
	{ "encrypted_content", ONCE, false },
	{ "phase", ONCE, false },
};

#define N_BESIDES (sizeof(besides) / sizeof(besides[0]))

struct llm_parser {
	struct llm_answer an;
	struct bytes maker;
	struct buf besides[N_BESIDES]; /* text, elements of a list, or raw */
	struct tool *tools, **tools_end;
	size_t n_tools;
	struct bytes response_id;
	bool is_refusal;
};

/* ---- parts of a chunk ---- */

/* Content is a string, or with some servers a list of parts. */
static enum err take_content(struct llm_parser *ps, struct bytes content)
{
	struct jsonx_walk w;
	enum err e = ERR_OK;

	if (is_string(content))
		return answer_add_text(&ps->an, jsonx_string(ps->an.scratch, content));
	if (jsonx_type(content) != JSONX_ARRAY)
		return ERR_OK;
	jsonx_walk_begin(&w, content);
	while (e == ERR_OK && jsonx_walk_next(&w)) {
		struct bytes text = member_of(w.value, "text");

		if (string_is(ps->an.scratch, member_of(w.value, "type"), BYTES("text")) && is_string(text))
			e = answer_add_text(&ps->an, jsonx_string(ps->an.scratch, text));
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
	found = arena_alloc(ps->an.task->arena, sizeof(*found));
	found->index = index;
	buf_init(&found->id, ps->an.task->arena, 0);
	buf_init(&found->name, ps->an.task->arena, 0);
	buf_init(&found->arguments, ps->an.task->arena, 0);
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
	static const char *const names[] = { "index", "id", "type", "function", NULL };
	struct bytes arguments = member_of(function, "arguments");
	struct tool *tool;

	if (jsonx_type(fragment) != JSONX_OBJECT)
		return answer_fail_protocol(ps->an.task, "a tool call is no object");
	if (jsonx_type(index) == JSONX_INT)
		position = jsonx_int(index);
	tool = find_tool(ps, position, is_string(id) ? jsonx_string(ps->an.scratch, id) : (struct bytes){ 0 });
	if (!tool)
		return answer_fail_protocol(ps->an.task, "too many tool calls");
	set_once(&tool->id, ps->an.scratch, id);
	set_once(&tool->name, ps->an.scratch, member_of(function, "name"));
	if (is_string(arguments))
		buf_add_bytes(&tool->arguments, jsonx_string(ps->an.scratch, arguments));
	else if (jsonx_type(arguments) == JSONX_OBJECT)
		buf_add_bytes(&tool->arguments, arguments);
	if (!tool->rest.p)
		tool->rest = arena_bytes(ps->an.task->arena, convert_answer_rest(ps->an.scratch, fragment, names));
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

	if (!is_string(raw) || raw.n <= 2) /* some servers say "" until the end */
		return;
	reason = jsonx_string(ps->an.scratch, raw);
	ps->an.has_finish = true;
	if (bytes_equal(reason, BYTES("length")))
		ps->an.result->finish = LLM_LENGTH;
	else if (bytes_equal(reason, BYTES("tool_calls")) || bytes_equal(reason, BYTES("function_call")))
		ps->an.result->finish = LLM_TOOL;
	else if (bytes_equal(reason, BYTES("content_filter")))
		ps->an.result->finish = LLM_FILTER;
	else
		ps->an.result->finish = LLM_STOP;
}

static void take_besides(struct llm_parser *ps, struct bytes delta)
{
	struct jsonx_walk w;

	for (size_t i = 0; i < N_BESIDES; i++) {
		struct bytes value = member_of(delta, besides[i].name);
		struct buf *b = &ps->besides[i];

		if (besides[i].how == LISTED && jsonx_type(value) == JSONX_ARRAY) {
			for (jsonx_walk_begin(&w, value); jsonx_walk_next(&w);) {
				buf_add_str(b, b->n > 0 ? "," : "");
				buf_add_bytes(b, w.value);
			}
		} else if (besides[i].how == JOINED && is_string(value)) {
			buf_add_bytes(b, jsonx_string(ps->an.scratch, value));
		} else if (besides[i].how == ONCE && value.n > 0 && jsonx_type(value) != JSONX_NULL) {
			buf_clear(b);
			buf_add_bytes(b, value);
		}
	}
}

/* A choice of a stream has a delta, one of a plain answer a message; their members are the same. */
static enum err take_choice(struct llm_parser *ps, struct bytes choice)
{
	struct bytes index = member_of(choice, "index"), delta = member_of(choice, "delta"), refusal;
	enum err e;

	if (jsonx_type(choice) != JSONX_OBJECT)
		return answer_fail_protocol(ps->an.task, "a choice is no object");
	if (jsonx_type(index) == JSONX_INT && jsonx_int(index) != 0)
		return ERR_OK; /* one was asked for */
	if (delta.n == 0) {
		delta = member_of(choice, "message");
		ps->an.has_finish = ps->an.has_finish || delta.n > 0; /* a plain answer is all there is */
	}
	take_besides(ps, delta);
	e = take_content(ps, member_of(delta, "content"));
	if (e != ERR_OK)
		return e;
	refusal = member_of(delta, "refusal");
	if (is_string(refusal) && refusal.n > 2) {
		ps->is_refusal = true;
		e = answer_add_text(&ps->an, jsonx_string(ps->an.scratch, refusal));
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
		ps->an.result->usage = u;
}

/* One chunk of the stream, or a plain answer. */
static enum err take_object(void *arg, struct bytes object)
{
	struct llm_parser *ps = arg;
	struct bytes choices = member_of(object, "choices"), model = member_of(object, "model"), id = member_of(object, "id");
	struct jsonx_walk w;
	enum err e = ERR_OK;

	if (ps->an.result->model.n == 0 && is_string(model))
		ps->an.result->model = arena_bytes(ps->an.task->arena, jsonx_string(ps->an.scratch, model));
	if (ps->response_id.n == 0 && is_string(id))
		ps->response_id = arena_bytes(ps->an.task->arena, jsonx_string(ps->an.scratch, id));
	take_usage(ps, member_of(object, "usage"));
	if (jsonx_type(choices) != JSONX_ARRAY)
		return ERR_OK;
	for (jsonx_walk_begin(&w, choices); e == ERR_OK && jsonx_walk_next(&w);)
		e = take_choice(ps, w.value);
	return e;
}

/* ---- the driver's functions ---- */

struct llm_parser *openai_answer_begin(struct task *t, const struct llm_provider *p, int status, int retry_after_s,
					const struct llm_events *ev, struct llm_result *result_r)
{
	struct llm_parser *ps = arena_alloc(t->arena, sizeof(*ps));

	answer_begin(&ps->an, t, status, retry_after_s, ev, result_r);
	ps->an.take = take_object;
	ps->an.arg = ps;
	ps->an.end_mark = BYTES("[DONE]");
	ps->maker = request_host(p->base_url);
	for (size_t i = 0; i < N_BESIDES; i++)
		buf_init(&ps->besides[i], t->arena, 0);
	ps->tools_end = &ps->tools;
	return ps;
}

enum err openai_answer_take(struct llm_parser *ps, struct bytes piece)
{
	return answer_take(&ps->an, piece);
}

bool openai_answer_is_whole(const struct llm_parser *ps)
{
	return answer_is_whole(&ps->an);
}

/* Whether the arguments are an object: a limit may have cut them off. */
static bool is_object(struct arena *a, struct bytes text)
{
	struct jsonx_flaw flaw;

	return jsonx_check_strict(a, text, &flaw) && jsonx_type(text) == JSONX_OBJECT;
}

/*
 * Keeps what stood besides as a thought of its maker: {"maker":HOST,"text":NAME,...} holds the name that its text had, and the other members; it says whose
 * the further members of calls are, too. Thoughts in front of an answer would cost room in every prompt and go to nobody.
 */
static void end_besides(struct llm_parser *ps, struct convert_answer *ca)
{
	struct arena *a = ps->an.task->arena;
	struct bytes text = { 0 };
	struct buf rest;
	size_t n = 0;

	buf_init(&rest, a, 256);
	buf_add_char(&rest, '{');
	buf_member_string(&rest, "maker", ps->maker);
	for (size_t i = 0; i < N_BESIDES; i++) {
		struct bytes value = buf_bytes(&ps->besides[i]);

		if (value.n == 0 || (besides[i].is_thought && ps->n_tools == 0) || (besides[i].how == JOINED && text.n > 0))
			continue;
		n++;
		if (besides[i].how == JOINED) {
			buf_member_str(&rest, "text", besides[i].name);
			text = value;
		} else {
			buf_member_json(&rest, besides[i].name, besides[i].how == ONCE ? value : bytes_of(arena_printf(a, "[%s]", value.p)));
		}
	}
	buf_add_char(&rest, '}');
	for (const struct tool *tool = ps->tools; tool; tool = tool->next)
		n += tool->rest.p != NULL;
	if (n > 0)
		convert_answer_thinking(ca, text, buf_bytes(&rest));
}

static enum err end_calls(struct llm_parser *ps, struct convert_answer *ca)
{
	struct arena *a = ps->an.task->arena;
	size_t n = 0;

	for (const struct tool *tool = ps->tools; tool; tool = tool->next, n++) {
		struct bytes arguments = buf_bytes(&tool->arguments), id = buf_bytes(&tool->id);

		if (ps->an.result->finish == LLM_LENGTH && !is_object(a, arguments))
			continue;
		if (tool->name.n == 0)
			return answer_fail_protocol(ps->an.task, "a tool call without a name");
		convert_answer_call(ca, id.n > 0 ? id : convert_answer_id(a, ps->response_id, n), buf_bytes(&tool->name), arguments, tool->rest);
	}
	return ERR_OK;
}

enum err openai_answer_end(struct llm_parser *ps)
{
	struct llm_result *r = ps->an.result;
	struct convert_answer *ca;
	enum err e = answer_end(&ps->an);

	if (e != ERR_OK)
		return e;
	ca = convert_answer_begin(ps->an.task, CONVERT_OPENAI);
	end_besides(ps, ca);
	convert_answer_text(ca, r->text, (struct bytes){ 0 });
	e = end_calls(ps, ca);
	if (e != ERR_OK)
		return e;
	convert_answer_end(ca, &r->parts, &r->tool_calls);
	if (r->tool_calls.n > 0 && r->finish == LLM_STOP)
		r->finish = LLM_TOOL;
	if (ps->is_refusal)
		r->finish = LLM_FILTER;
	return ERR_OK;
}
