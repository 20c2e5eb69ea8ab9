/* SPDX-License-Identifier: MIT */
/*
 * llm_echo: the agent of the first try. It says back what the user said, word by word, without a network. A model named
 * "slow:<ms>" waits so long before each word.
 */
#include <poll.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/jsonx.h"
#include "base/stamp.h"
#include "llm/llm_private.h"

#define MAX_PAUSE_MS 60000

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

/* The text of a stored content: the string, or its text parts, one a line. */
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
		struct bytes text = { 0 };

		if (jsonx_type(w.value) == JSONX_OBJECT)
			text = jsonx_member(w.value, "text");
		if (jsonx_type(text) != JSONX_STRING)
			continue;
		if (b.n > 0)
			buf_add_char(&b, '\n');
		buf_add_bytes(&b, jsonx_string(a, text));
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

static enum err answer(struct task *t, const struct llm_request *rq, int client_fd, int tick_ms, const struct llm_events *ev,
		       struct llm_result *result_r)
{
	struct echo ec = { t, ev, client_fd, tick_ms, stamp_mono_ms() + tick_ms };
	struct buf text;
	struct bytes heard = { 0 };

	result_r->model = arena_bytes(t->arena, rq->model && rq->model[0] ? bytes_of(rq->model) : BYTES("echo"));
	result_r->usage.is_known = true;
	result_r->usage.input_tokens = count_words(rq->instructions);
	for (size_t i = 0; i < rq->n_messages; i++) {
		struct bytes content = text_of(t->arena, rq->messages[i].content);

		result_r->usage.input_tokens += count_words(content);
		if (bytes_equal(rq->messages[i].role, BYTES("user")))
			heard = content;
	}
	buf_init(&text, t->arena, heard.n + 16);
	buf_add_str(&text, "You said: ");
	buf_add_bytes(&text, heard);
	return say(&ec, buf_bytes(&text), pause_of(rq->model), rq->max_output_tokens, result_r);
}

const struct llm_driver llm_echo = {
	.kind = "echo",
	.answer = answer,
};
