/* SPDX-License-Identifier: MIT */
/* llm: the providers' table, and the call that joins a provider's builder and parser with fetch. */
#include "llm/llm.h"

#include "base/buf.h"
#include "base/stamp.h"
#include "llm/llm_private.h"
#include "llm/text_answer.h"
#include "llm/text_mode.h"

/* A server may leave its stream open after the answer: it gets this long to send its last words. */
#define LINGER_MS 1000
#define LINGER_CHECK_MS 250

static const struct llm_driver *const drivers[] = { &llm_echo, &llm_openai, &llm_anthropic, &llm_gemini };

struct llm_run {
	struct task *task;
	const struct llm_provider *provider;
	const struct llm_driver *driver;
	const struct llm_events *ev;
	struct llm_result *result;
	struct llm_parser *parser; /* NULL until the status came */
	int status;
	int tick_ms;
	int64_t next_tick, last_byte;
	enum err stopped; /* what the parser or the caller ended the call with */
};

static const struct llm_driver *find_driver(struct bytes kind)
{
	for (size_t i = 0; i < sizeof(drivers) / sizeof(drivers[0]); i++) {
		if (bytes_equal(kind, bytes_of(drivers[i]->kind)))
			return drivers[i];
	}
	return NULL;
}

bool llm_is_kind(struct bytes kind)
{
	return find_driver(kind) != NULL;
}

const char *llm_default_url(struct bytes kind)
{
	const struct llm_driver *driver = find_driver(kind);

	return driver ? driver->default_url : NULL;
}

static enum err on_status(void *arg, int status, int retry_after_s)
{
	struct llm_run *run = arg;

	run->status = status;
	run->last_byte = stamp_mono_ms();
	run->parser = run->driver->parse_begin(run->task, run->provider, status, retry_after_s, run->ev, run->result);
	return ERR_OK;
}

static enum err on_body(void *arg, struct bytes piece)
{
	struct llm_run *run = arg;

	run->last_byte = stamp_mono_ms();
	run->stopped = run->driver->parse_take(run->parser, piece);
	return run->stopped;
}

static bool is_whole(const struct llm_run *run)
{
	return run->parser && run->driver->parse_is_whole(run->parser);
}

/* Fetch ticks often enough to see a stream that stays open; the caller's ticks come as often as it asked. */
static enum err on_tick(void *arg)
{
	struct llm_run *run = arg;
	int64_t now = stamp_mono_ms();

	if (is_whole(run) && now - run->last_byte >= LINGER_MS)
		return ERR_CANCELLED;
	if (run->tick_ms <= 0 || !run->ev->on_tick || now < run->next_tick)
		return ERR_OK;
	run->next_tick = now + run->tick_ms;
	run->stopped = run->ev->on_tick(run->ev->arg);
	return run->stopped;
}

/* A provider may quote the request in its error: the key goes into no log. */
static void hide_key(struct task *t, const char *key)
{
	const char *at = t->fault.internal, *found;
	struct buf b;

	if (!key || !key[0] || !at || !strstr(at, key))
		return;
	buf_init(&b, t->arena, strlen(at) + 1);
	while ((found = strstr(at, key)) != NULL) {
		buf_add(&b, at, (size_t)(found - at));
		buf_add_str(&b, "[key]");
		at = found + strlen(key);
	}
	buf_add_str(&b, at);
	t->fault.internal = b.p;
}

/* Joins how the transport ended with what the parser saw: a whole answer stands, and a status says more than a broken body. */
static enum err settle(struct llm_run *run, enum err e)
{
	bool is_error_status = run->status >= 300 && (e == ERR_PROVIDER_CUT || e == ERR_PROVIDER_TIMEOUT);

	if (run->stopped != ERR_OK)
		return run->stopped;
	if (e != ERR_OK && !is_whole(run) && !is_error_status)
		return e;
	task_clear_fault(run->task);
	return run->driver->parse_end(run->parser);
}

static enum err call(struct task *t, const struct llm_provider *p, const struct fetch_conf *conf, const struct llm_request *rq,
		     int client_fd, int tick_ms, const struct llm_events *ev, struct llm_result *result_r)
{
	const struct llm_driver *driver = find_driver(bytes_of(p->kind));
	struct llm_run run = { .task = t, .provider = p, .driver = driver, .ev = ev, .result = result_r, .tick_ms = tick_ms };
	struct fetch_events events = { &run, on_status, on_body, on_tick };
	struct fetch_request request;
	enum err e;

	*result_r = (struct llm_result){ 0 };
	if (!driver)
		return task_fail_internal(t, ERR_PROVIDER_REFUSED, "there is no kind of provider named %s", p->kind);
	if (!driver->build)
		return driver->answer(t, rq, client_fd, tick_ms, ev, result_r);
	e = driver->build(t, p, rq, &request);
	if (e != ERR_OK)
		return e;
	request.client_fd = client_fd;
	request.tick_ms = tick_ms > 0 && tick_ms < LINGER_CHECK_MS ? tick_ms : LINGER_CHECK_MS;
	run.next_tick = stamp_mono_ms() + tick_ms;
	e = settle(&run, fetch_run(t, conf, &request, &events));
	if (e != ERR_OK) {
		hide_key(t, p->api_key);
		result_r->usage.is_partial = true;
	}
	return e;
}

/* ---- text mode ---- */

/* A call whose text is read once more. */
struct text_run {
	const struct llm_events *ev;
	struct text_answer *answer;
};

static enum err on_plain_text(void *arg, struct bytes text)
{
	struct text_run *run = arg;

	return text_answer_take(run->answer, text);
}

static enum err on_plain_tick(void *arg)
{
	struct text_run *run = arg;

	return run->ev->on_tick ? run->ev->on_tick(run->ev->arg) : ERR_OK;
}

static enum err call_in_text(struct task *t, const struct llm_provider *p, const struct fetch_conf *conf, const struct llm_request *rq,
			     int client_fd, int tick_ms, const struct llm_events *ev, struct llm_result *result_r)
{
	struct text_run run = { .ev = ev };
	struct llm_events events = { &run, on_plain_text, on_plain_tick };
	struct llm_request plain_rq;
	struct llm_result plain;
	enum err e;

	*result_r = (struct llm_result){ 0 };
	text_mode_request(t, rq, &plain_rq);
	run.answer = text_answer_begin(t, ev, result_r);
	e = call(t, p, conf, &plain_rq, client_fd, tick_ms, &events, &plain);
	if (e == ERR_OK)
		return text_answer_end(run.answer, &plain);
	result_r->model = plain.model;
	result_r->usage = plain.usage;
	return e;
}

enum err llm_call(struct task *t, const struct llm_provider *p, const struct fetch_conf *conf, const struct llm_request *rq,
		  int client_fd, int tick_ms, const struct llm_events *ev, struct llm_result *result_r)
{
	const struct llm_driver *driver = find_driver(bytes_of(p->kind));
	bool is_text = rq->is_text_mode && driver && driver->build; /* one that answers by itself needs no words for it */

	return (is_text ? call_in_text : call)(t, p, conf, rq, client_fd, tick_ms, ev, result_r);
}
