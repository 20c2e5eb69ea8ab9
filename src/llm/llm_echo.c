/* SPDX-License-Identifier: MIT */
/*
 * llm_echo: the agent of the first try. It says back what the user said, word by word, without a network. A model named
 * "slow:<ms>" waits so long before each word.
 *
 * Tools can be tried with it: each line "/call NAME {json}" of a user's message asks for a tool of the request with these arguments, whether they are JSON or
 * not, the other lines are said; what the tools answer is said then. A line "/loop NAME {json}" asks again after each answer.
 */
#include <poll.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/ident.h"
#include "base/jsonx.h"
#include "base/stamp.h"
#include "llm/llm_private.h"

#define MAX_PAUSE_MS 60000
#define MAX_CALLS 128

struct echo {
	struct task *task;
	const struct llm_events *ev;
	int client_fd, tick_ms;
	int64_t next_tick;
};

static bool is_blank(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

/* The length of the first word with the blanks after it. */
static size_t word_length(struct bytes text)
{
	size_t n = 0;

	while (n < text.n && is_blank(text.p[n]))
		n++;
	while (n < text.n && !is_blank(text.p[n]))
		n++;
	while (n < text.n && is_blank(text.p[n]))
		n++;
	return n;
}

static int64_t count_words(struct bytes text)
{
	int64_t words = 0;

	for (size_t i = 0; i < text.n; i++)
		words += !is_blank(text.p[i]) && (i == 0 || is_blank(text.p[i - 1]));
	return words;
}

/* The text of a part, or the JSON that a tool answered; NULL p for others. */
static struct bytes text_of_part(struct arena *a, struct bytes part)
{
	struct bytes text = { 0 };

	if (jsonx_type(part) != JSONX_OBJECT)
		return text;
	text = jsonx_member(part, "text");
	if (jsonx_type(text) == JSONX_STRING)
		return jsonx_string(a, text);
	return jsonx_member(part, "json");
}

/* The text of a stored content: the string, or its parts, one a line. */
static struct bytes text_of(struct arena *a, struct bytes content)
{
	struct jsonx_walk w;
	struct buf b;

	if (jsonx_type(content) == JSONX_STRING)
		return jsonx_string(a, content);
	buf_init(&b, a, 0);
	if (jsonx_type(content) != JSONX_ARRAY)
		return buf_bytes(&b);
	jsonx_walk_begin(&w, content);
	while (jsonx_walk_next(&w)) {
		struct bytes text = text_of_part(a, w.value);

		if (!text.p)
			continue;
		if (b.n > 0)
			buf_add_char(&b, '\n');
		buf_add_bytes(&b, text);
	}
	return buf_bytes(&b);
}

/* Milliseconds before each word: of a model "slow:<ms>", else 0. */
static int pause_of(const char *model)
{
	long ms;

	if (!model || strncmp(model, "slow:", 5) != 0)
		return 0;
	ms = strtol(model + 5, NULL, 10);
	if (ms < 0)
		return 0;
	return ms > MAX_PAUSE_MS ? MAX_PAUSE_MS : (int)ms;
}

/* Calls on_tick when it is due. */
static enum err tick(struct echo *ec)
{
	int64_t now = stamp_mono_ms();

	if (ec->tick_ms <= 0 || !ec->ev->on_tick || now < ec->next_tick)
		return ERR_OK;
	ec->next_tick = now + ec->tick_ms;
	return ec->ev->on_tick(ec->ev->arg);
}

/* Waits, ticks, and ends early when the client hangs up. */
static enum err pause_for(struct echo *ec, int ms)
{
	struct pollfd client = { .fd = ec->client_fd, .events = POLLRDHUP }; /* a negative fd is passed over */
	int64_t end = stamp_mono_ms() + ms;

	for (;;) {
		int64_t now = stamp_mono_ms(), wait = end - now;
		enum err e = tick(ec);

		if (e != ERR_OK)
			return e;
		if (wait < 0)
			wait = 0;
		if (ec->tick_ms > 0 && ec->ev->on_tick && ec->next_tick - now < wait)
			wait = ec->next_tick > now ? ec->next_tick - now : 0;
		if (poll(&client, 1, (int)wait) > 0)
			return task_fail_internal(ec->task, ERR_CANCELLED, "the client hung up while the echo answered");
		if (now >= end)
			return ERR_OK;
	}
}

/* Says the text, at most max words of it (0: all). */
static enum err say(struct echo *ec, struct bytes text, int ms, int64_t max, struct llm_result *result)
{
	struct buf said;

	buf_init(&said, ec->task->arena, text.n + 1);
	while (text.n > 0) {
		size_t n = word_length(text);
		enum err e;

		if (max > 0 && result->usage.output_tokens >= max) {
			result->finish = LLM_LENGTH;
			return ERR_OK;
		}
		e = pause_for(ec, ms);
		if (e != ERR_OK)
			return e;
		buf_add(&said, text.p, n);
		result->text = buf_bytes(&said);
		result->usage.output_tokens += count_words((struct bytes){ text.p, n });
		e = ec->ev->on_text ? ec->ev->on_text(ec->ev->arg, (struct bytes){ text.p, n }) : ERR_OK;
		if (e != ERR_OK)
			return e;
		text = (struct bytes){ text.p + n, text.n - n };
	}
	return ERR_OK;
}

/* ---- tools ---- */

/* Cuts the next line off a text; false at its end. */
static bool cut_line(struct bytes *text, struct bytes *line_r)
{
	const char *end = text->n > 0 ? memchr(text->p, '\n', text->n) : NULL;
	size_t n = end ? (size_t)(end - text->p) : text->n;

	*line_r = (struct bytes){ text->p, n };
	if (text->n == 0)
		return false;
	n += end ? 1 : 0;
	*text = (struct bytes){ text->p + n, text->n - n };
	return true;
}

/* Cuts the next word off a line, and the blanks around it. */
static struct bytes cut_word(struct bytes *line)
{
	struct bytes word;
	size_t n = 0;

	while (line->n > 0 && is_blank(line->p[line->n - 1]))
		line->n--;
	while (n < line->n && !is_blank(line->p[n]))
		n++;
	word = (struct bytes){ line->p, n };
	while (n < line->n && is_blank(line->p[n]))
		n++;
	*line = (struct bytes){ line->p + n, line->n - n };
	return word;
}

static bool is_tool(const struct llm_request *rq, struct bytes name)
{
	for (size_t i = 0; i < rq->n_tools; i++) {
		if (bytes_equal(rq->tools[i].name, name))
			return true;
	}
	return false;
}

/* The order that a line begins with, if it is one: /loop, or /call unless it is asked again. The line is what stands behind it. */
static bool cut_order(const struct llm_request *rq, bool is_again, struct bytes *line, struct bytes *name_r)
{
	struct bytes word = cut_word(line);

	*name_r = cut_word(line);
	return (bytes_equal(word, BYTES("/loop")) || (!is_again && bytes_equal(word, BYTES("/call")))) && is_tool(rq, *name_r);
}

/* Reads what a user wants called: calls_r as llm_result has them, empty without any; the other lines in rest_r. */
static void read_calls(struct arena *a, const struct llm_request *rq, struct bytes text, bool is_again, struct bytes *calls_r, struct bytes *rest_r)
{
	struct bytes line;
	struct buf calls, rest;
	size_t n = 0;

	buf_init(&calls, a, 0);
	buf_init(&rest, a, text.n);
	while (cut_line(&text, &line)) {
		struct bytes left = line, name;
		char id[IDENT_SIZE];
		struct ident fresh;

		if (n == MAX_CALLS || !cut_order(rq, is_again, &left, &name)) {
			buf_add_bytes(&rest, line);
			buf_add_char(&rest, '\n');
			continue;
		}
		n++;
		fresh = ident_new();
		ident_format("call_", &fresh, id);
		buf_add_str(&calls, calls.n > 0 ? ",{" : "[{");
		buf_member_str(&calls, "id", id);
		buf_member_string(&calls, "name", name);
		buf_member_string(&calls, "arguments", left.n > 0 ? left : BYTES("{}"));
		buf_add_char(&calls, '}');
	}
	if (calls.n > 0)
		buf_add_char(&calls, ']');
	*calls_r = calls.n > 0 ? buf_bytes(&calls) : (struct bytes){ 0 };
	*rest_r = rest.n > 0 ? (struct bytes){ rest.p, rest.n - 1 } : (struct bytes){ 0 };
}

/* What the tools answered at the end of the prompt, one a line; no bytes when it ends otherwise. */
static struct bytes results_of(struct arena *a, const struct llm_request *rq)
{
	size_t first = rq->n_messages;
	struct buf b;

	while (first > 0 && bytes_equal(rq->messages[first - 1].role, BYTES("tool")))
		first--;
	buf_init(&b, a, 0);
	for (size_t i = first; i < rq->n_messages; i++) {
		buf_add_str(&b, i > first ? "\nThe tool said: " : "The tool said: ");
		buf_add_bytes(&b, text_of(a, rq->messages[i].content));
	}
	return b.n > 0 ? buf_bytes(&b) : (struct bytes){ 0 };
}

/* ---- the driver's functions ---- */

static struct bytes join(struct arena *a, struct bytes first, struct bytes second)
{
	struct buf b;

	buf_init(&b, a, first.n + second.n + 1);
	buf_add_bytes(&b, first);
	buf_add_bytes(&b, second);
	return buf_bytes(&b);
}

/* The user's last words; counts what was given to read. */
static struct bytes listen(struct arena *a, const struct llm_request *rq, int64_t *words_r)
{
	struct bytes heard = { 0 };

	*words_r = count_words(rq->instructions);
	for (size_t i = 0; i < rq->n_messages; i++) {
		struct bytes content = text_of(a, rq->messages[i].content);

		*words_r += count_words(content);
		if (bytes_equal(rq->messages[i].role, BYTES("user")))
			heard = content;
	}
	return heard;
}

static enum err answer(struct task *t, const struct llm_request *rq, int client_fd, int tick_ms, const struct llm_events *ev,
		       struct llm_result *result_r)
{
	struct echo ec = { t, ev, client_fd, tick_ms, stamp_mono_ms() + tick_ms };
	struct bytes heard, calls, results = results_of(t->arena, rq), text;
	int ms = pause_of(rq->model);
	enum err e;

	result_r->model = arena_bytes(t->arena, rq->model && rq->model[0] ? bytes_of(rq->model) : BYTES("echo"));
	result_r->usage.is_known = true;
	heard = listen(t->arena, rq, &result_r->usage.input_tokens);
	read_calls(t->arena, rq, heard, results.n > 0, &calls, &text);
	if (results.n > 0)
		text = calls.n > 0 ? (struct bytes){ 0 } : results;
	else if (calls.n == 0)
		text = join(t->arena, BYTES("You said: "), heard);
	e = say(&ec, text, ms, rq->max_output_tokens, result_r);
	if (e != ERR_OK || calls.n == 0 || result_r->finish == LLM_LENGTH)
		return e;
	e = pause_for(&ec, ms);
	if (e != ERR_OK)
		return e;
	result_r->tool_calls = calls;
	result_r->finish = LLM_TOOL;
	return ERR_OK;
}

const struct llm_driver llm_echo = {
	.kind = "echo",
	.answer = answer,
};
