/* SPDX-License-Identifier: MIT */
/* text_mode: tools, calls and results as text. */
#include "llm/text_mode.h"

#include "llm/answer.h"
#include "llm/request.h"

static const char order[] =
	"You can use tools. The only way to use them is to write JSON: each of your messages is one JSON object with nothing around it.\n"
	"To use a tool: {\"thought\":\"why\",\"tool\":\"NAME\",\"arguments\":{...}}\n"
	"To use several at once: {\"thought\":\"why\",\"tools\":[{\"tool\":\"NAME\",\"arguments\":{...}},...]}\n"
	"To answer: {\"thought\":\"why\",\"answer\":\"what you say to the user\"}\n"
	"After you used a tool, the next message begins with \"Observation:\" and holds what it gave. Never write it yourself.\n"
	"The tools, with a JSON Schema of the arguments of each:\n";

static struct bytes make_instructions(struct arena *a, const struct llm_request *rq)
{
	struct buf b;

	if (rq->n_tools == 0)
		return rq->instructions;
	buf_init(&b, a, rq->instructions.n + 4096);
	buf_add_bytes(&b, rq->instructions);
	buf_add_str(&b, rq->instructions.n > 0 ? "\n\n" : "");
	buf_add_str(&b, order);
	for (size_t i = 0; i < rq->n_tools; i++) {
		request_add_tool(&b, &rq->tools[i], "parameters");
		buf_add_str(&b, i + 1 < rq->n_tools ? "\n" : "");
	}
	if (rq->must_answer)
		buf_add_str(&b, "\nYou may use no more tools now: answer.");
	return buf_bytes(&b);
}

/* ---- stored messages ---- */

/* A stored call of either form: name and arguments, plain; false for what is none. */
static bool read_call(struct arena *a, struct bytes call, struct bytes *name_r, struct bytes *arguments_r)
{
	struct bytes nested = member_of(call, "function"), name, arguments;

	if (jsonx_type(nested) == JSONX_OBJECT)
		call = nested;
	name = member_of(call, "name");
	arguments = member_of(call, "arguments");
	if (!is_string(name))
		return false;
	*name_r = jsonx_string(a, name);
	*arguments_r = is_string(arguments) ? jsonx_string(a, arguments) : bytes_or(arguments, BYTES("{}"));
	return true;
}

/* The texts of a content, one behind the other. Thoughts are those of this mode alone: others belong to a provider. */
static struct bytes texts_of(struct arena *a, struct bytes content, bool is_thought)
{
	struct jsonx_walk w;
	struct buf b;

	if (is_string(content))
		return is_thought ? BYTES("") : jsonx_string(a, content);
	buf_init(&b, a, 0);
	if (jsonx_type(content) != JSONX_ARRAY)
		return buf_bytes(&b);
	jsonx_walk_begin(&w, content);
	while (jsonx_walk_next(&w)) {
		struct bytes text = member_of(w.value, is_thought ? "thinking" : "text"), json = member_of(w.value, "json");
		bool is_owned = member_of(w.value, "openai").n > 0 || member_of(w.value, "anthropic").n > 0 || member_of(w.value, "gemini").n > 0;

		if (is_string(text) && !(is_thought && is_owned))
			buf_add_bytes(&b, jsonx_string(a, text));
		else if (!is_thought && json.n > 0)
			buf_add_bytes(&b, json);
	}
	return buf_bytes(&b);
}

static struct bytes as_string(struct arena *a, struct bytes text)
{
	struct buf b;

	buf_init(&b, a, text.n + 16);
	buf_add_json(&b, text);
	return buf_bytes(&b);
}

/* ---- calls ---- */

static void add_call(struct buf *b, struct bytes name, struct bytes arguments)
{
	struct jsonx_flaw flaw;
	bool is_object = jsonx_check_strict(b->arena, arguments, &flaw) && jsonx_type(arguments) == JSONX_OBJECT;

	buf_member_string(b, "tool", name);
	buf_add_member(b, "arguments");
	if (is_object)
		buf_add_bytes(b, arguments);
	else
		buf_add_json(b, arguments);
}

/* The object that the model would have written for an answer with calls; as the content of a message. */
static struct bytes say_calls(struct arena *a, const struct llm_message *m, struct bytes calls)
{
	struct bytes thought = texts_of(a, m->content, true), text = texts_of(a, m->content, false), name, arguments;
	struct jsonx_walk w;
	struct buf b, list;
	size_t n = 0;

	buf_init(&b, a, 256);
	buf_init(&list, a, calls.n);
	jsonx_walk_begin(&w, calls);
	while (jsonx_walk_next(&w)) {
		if (!read_call(a, w.value, &name, &arguments))
			continue;
		buf_add_str(&list, n++ > 0 ? "},{" : "{");
		add_call(&list, name, arguments);
	}
	buf_add_char(&b, '{');
	if (thought.n > 0 || text.n > 0)
		buf_member_string(&b, "thought", thought.n > 0 ? thought : text);
	if (n == 1) {
		buf_add_str(&b, b.n > 1 ? "," : "");
		buf_add(&b, list.p + 1, list.n - 1);
	} else if (n > 1) {
		buf_add_member(&b, "tools");
		buf_add_char(&b, '[');
		buf_add_bytes(&b, buf_bytes(&list));
		buf_add_str(&b, "}]");
	}
	buf_add_char(&b, '}');
	return as_string(a, buf_bytes(&b));
}

/* ---- results ---- */

/* The name of the tool that was called under this id, both plain. */
static struct bytes name_of(struct arena *a, struct bytes calls, struct bytes id)
{
	struct jsonx_walk w;
	struct bytes name, arguments;

	if (!is_string(id) || calls.n == 0)
		return (struct bytes){ 0 };
	jsonx_walk_begin(&w, calls);
	while (jsonx_walk_next(&w)) {
		if (string_is(a, member_of(w.value, "id"), jsonx_string(a, id)) && read_call(a, w.value, &name, &arguments))
			return name;
	}
	return (struct bytes){ 0 };
}

static void add_result(struct buf *b, const struct llm_message *m, struct bytes calls)
{
	struct bytes name = name_of(b->arena, calls, member_of(m->extra, "tool_call_id")), error = member_of(m->extra, "is_error");
	bool is_error = jsonx_type(error) == JSONX_BOOL && jsonx_bool(error);

	buf_add_str(b, "\n{");
	if (name.p)
		buf_member_string(b, "tool", name);
	buf_member_string(b, is_error ? "error" : "result", texts_of(b->arena, m->content, false));
	buf_add_char(b, '}');
}

void text_mode_request(struct task *t, const struct llm_request *rq, struct llm_request *rq_r)
{
	struct llm_message *messages = arena_array(t->arena, rq->n_messages + 1, sizeof(*messages));
	struct bytes calls = { 0 };
	struct buf b;
	size_t n = 0;

	for (size_t i = 0; i < rq->n_messages; i++) {
		const struct llm_message *m = &rq->messages[i];
		struct bytes own = member_of(m->extra, "tool_calls");

		if (bytes_equal(m->role, BYTES("assistant")) && jsonx_type(own) == JSONX_ARRAY && own.n > 2) {
			calls = own;
			messages[n++] = (struct llm_message){ .role = m->role, .content = say_calls(t->arena, m, own) };
		} else if (bytes_equal(m->role, BYTES("tool"))) {
			buf_init(&b, t->arena, 1024);
			buf_add_str(&b, "Observation:");
			for (; i < rq->n_messages && bytes_equal(rq->messages[i].role, BYTES("tool")); i++)
				add_result(&b, &rq->messages[i], calls);
			i--;
			messages[n++] = (struct llm_message){ .role = BYTES("user"), .content = as_string(t->arena, buf_bytes(&b)) };
		} else {
			messages[n++] = *m;
		}
	}
	*rq_r = *rq;
	rq_r->instructions = make_instructions(t->arena, rq);
	rq_r->messages = messages;
	rq_r->n_messages = n;
	rq_r->tools = NULL;
	rq_r->n_tools = 0;
}
