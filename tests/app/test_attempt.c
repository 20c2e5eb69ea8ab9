/* SPDX-License-Identifier: MIT */
/* test_attempt: retries, breakers and fail-over against servers in threads that answer by a script (TRN-9). */
#include "harness.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "app/attempt.h"
#include "base/breakers.h"
#include "base/shm.h"

#define HEAD "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
#define PIECE(text) "data: {\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"" text "\"},\"finish_reason\":null}]}\n\n"
#define FINISH(why) "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"" why "\"}]}\n\n"
#define OK(text) HEAD PIECE(text) FINISH("stop") "data: [DONE]\n\n"
#define CUT(text) HEAD PIECE(text)
#define STATUS(line) "HTTP/1.1 " line "\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
#define LIMITED(seconds) "HTTP/1.1 429 Too Many\r\nRetry-After: " seconds "\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
#define HANG_UP "" /* closes the connection without a word */
#define SILENCE NULL /* says nothing until the client goes */

/* A provider in a thread: its n-th request gets the n-th answer, the last one for ever. */
struct scripted {
	int listener, port;
	const char *answers[8];
	_Atomic int pause_ms; /* before each answer */
	_Atomic int n_requests;
	pthread_t thread;
};

/* Reads a whole request; false when it does not come. */
static bool read_request(int fd)
{
	char asked[65536];
	for (size_t n = 0; n < sizeof asked - 1;) {
		ssize_t got = read(fd, asked + n, sizeof asked - 1 - n);
		if (got <= 0)
			return false;
		n += (size_t)got;
		asked[n] = 0;
		const char *body = strstr(asked, "\r\n\r\n"), *length = strcasestr(asked, "content-length:");
		if (body && length && n >= (size_t)(body + 4 - asked) + (size_t)atoi(length + 15))
			return true;
	}
	return false;
}

static const char *next_answer(struct scripted *p)
{
	int n = atomic_fetch_add(&p->n_requests, 1), last = 0;
	while (last + 1 < (int)COUNT(p->answers) && p->answers[last + 1])
		last++;
	return p->answers[n < last ? n : last];
}

static void serve(struct scripted *p, int fd)
{
	char c;
	while (read_request(fd)) {
		const char *answer = next_answer(p);
		if (!answer) {
			while (read(fd, &c, 1) > 0)
				continue;
			return;
		}
		nap(p->pause_ms);
		if (send(fd, answer, strlen(answer), MSG_NOSIGNAL) <= 0 || strstr(answer, "Connection: close"))
			return;
	}
}

static void *accept_clients(void *arg)
{
	struct scripted *p = arg;
	for (;;) {
		int fd = accept(p->listener, NULL, NULL);
		if (fd < 0)
			return NULL;
		serve(p, fd);
		close(fd);
	}
}

static void start(struct scripted *p)
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t n = sizeof at;
	p->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	cr_assert(p->listener >= 0 && bind(p->listener, (struct sockaddr *)&at, sizeof at) == 0 && listen(p->listener, 16) == 0);
	cr_assert_eq(getsockname(p->listener, (struct sockaddr *)&at, &n), 0);
	p->port = ntohs(at.sin_port);
	cr_assert_eq(pthread_create(&p->thread, NULL, accept_clients, p), 0);
}

static void stop(struct scripted *p)
{
	shutdown(p->listener, SHUT_RDWR);
	pthread_join(p->thread, NULL);
	close(p->listener);
}

static void tune(struct conf *c)
{
	c->provider_allow_hosts = "127.0.0.1";
	c->provider_retry_base = 20;
}

static const char *add_provider(struct api *h, int port, const char *kind, const char *key_file)
{
	struct ident random = ident_new();
	char name[IDENT_SIZE];
	ident_format("fake-", &random, name);
	struct provider made = { bytes_of(name), bytes_of(kind), bytes_of(api_text(h, "http://127.0.0.1:%d/v1", port)), bytes_of(key_file) };
	cr_assert_eq(provider_create(&h->task, h->app, &made), ERR_OK, "%s", h->task.fault.detail);
	return api_text(h, "%s", name);
}

static struct agent agent_of(const char *provider, const char *fallbacks)
{
	return (struct agent){ .provider = bytes_of(provider), .model = BYTES("m-1"), .fallbacks = bytes_of(fallbacks) };
}

/* Who follows an attempt. */
struct follower {
	struct task *task;
	char text[1024], resets[256];
	int n_ticks, n_calls, n_partial;
	int64_t tokens; /* of all calls */
	int64_t cancel_at;   /* monotonic ms; 0: never */
	enum err cancel_as;  /* 0: ERR_CANCELLED */
	bool refuses_text;
	/* Another turn's call fails while this one's text comes; when the next was let in after that. */
	struct breakers_slot *breaker;
	const struct breakers_rule *rule;
	int64_t failed_at, let_in_after;
};

static enum err on_text(void *arg, struct bytes text)
{
	struct follower *f = arg;
	size_t n = strlen(f->text);
	snprintf(f->text + n, sizeof f->text - n, "%.*s", (int)text.n, text.p);
	if (f->breaker)
		breakers_fail(f->breaker, f->rule, f->failed_at = stamp_mono_ms(), false);
	return f->refuses_text ? task_fail(f->task, ERR_CONFLICT, "no more") : ERR_OK;
}

static enum err on_tick(void *arg)
{
	struct follower *f = arg;
	struct breakers_pass pass;
	int64_t now = stamp_mono_ms();
	f->n_ticks++;
	if (f->failed_at && !f->let_in_after && breakers_admit(f->breaker, f->rule, now, &pass))
		f->let_in_after = now - f->failed_at;
	return f->cancel_at && now >= f->cancel_at ? task_fail(f->task, f->cancel_as ? f->cancel_as : ERR_CANCELLED, "stopped") : ERR_OK;
}

static enum err on_reset(void *arg, const char *reason)
{
	struct follower *f = arg;
	size_t n = strlen(f->resets);
	snprintf(f->resets + n, sizeof f->resets - n, "%s[%s];", reason, f->text);
	f->text[0] = 0;
	return ERR_OK;
}

static void on_call(void *arg, struct bytes provider, struct bytes model, const struct llm_result *result)
{
	struct follower *f = arg;
	f->n_calls++;
	f->n_partial += result->usage.is_partial;
	f->tokens += result->usage.input_tokens + result->usage.output_tokens;
	cr_assert(provider.n && model.n);
}

static struct attempt_outcome out;

static enum err run_with(struct api *h, const struct agent *agent, struct follower *f, int client_fd, int64_t deadline)
{
	struct llm_message message = { BYTES("user"), BYTES("\"Hello\""), { NULL, 0 } };
	struct llm_request rq = { .messages = &message, .n_messages = 1, .temperature = -1 };
	struct attempt_events ev = { f, on_text, on_tick, on_reset, on_call, deadline };
	task_clear_fault(&h->task);
	f->task = &h->task;
	return attempt_run(&h->task, h->app, agent, &rq, client_fd, &ev, &out);
}

static enum err run(struct api *h, const struct agent *agent, struct follower *f)
{
	*f = (struct follower){ .n_ticks = 0 };
	return run_with(h, agent, f, -1, 0);
}

#define assert_err(got, wanted) cr_assert_eq((got), (wanted), "%s: %s", err_code(h->task.fault.code), h->task.fault.internal)

/* ---- retries ---- */

Test(attempt, a_pause_is_random_below_a_bound_that_doubles)
{
	static const struct {
		int n;
		int64_t bound;
	} rows[] = { { 0, 500 }, { 1, 1000 }, { 2, 2000 }, { 3, 4000 }, { 4, 8000 }, { 5, 8000 }, { 10, 8000 }, { 1000, 8000 } };
	for (size_t i = 0; i < COUNT(rows); i++) {
		cr_assert_eq(attempt_pause(rows[i].n, 500, 8000, 0), 0);
		cr_assert_eq(attempt_pause(rows[i].n, 500, 8000, (uint64_t)rows[i].bound), rows[i].bound);
		cr_assert_eq(attempt_pause(rows[i].n, 500, 8000, (uint64_t)rows[i].bound + 1), 0);
		for (uint64_t r = 1, k = 0; k < 200; k++, r = r * 6364136223846793005u + 1442695040888963407u) {
			int64_t ms = attempt_pause(rows[i].n, 500, 8000, r);
			cr_assert(ms >= 0 && ms <= rows[i].bound);
		}
	}
	cr_assert_eq(attempt_pause(0, 500, 100, 100), 100, "a base above the bound");
	cr_assert_leq(attempt_pause(0, 1, 1, UINT64_MAX), 1);
}

Test(attempt, what_a_provider_did_not_answer_is_asked_again)
{
	struct api *h = api_open_with(0, tune);
	static const char *const failures[] = { STATUS("503 Later"), STATUS("500 Oh"), STATUS("529 Overloaded"), HANG_UP, STATUS("429 Slow"), CUT("") };
	for (size_t i = 0; i < COUNT(failures); i++) {
		struct scripted p = { .answers = { failures[i], failures[i], OK("Bye") } };
		struct follower f;
		int64_t calls = metric_get(METRIC_provider_calls_total), retries = metric_get(METRIC_provider_retries_total);
		start(&p);
		struct agent agent = agent_of(add_provider(h, p.port, "openai", ""), "[]");
		assert_err(run(h, &agent, &f), ERR_OK);
		cr_assert_str_eq(f.text, "Bye");
		cr_assert_str_eq(f.resets, "");
		cr_assert(bytes_equal(out.result.text, BYTES("Bye")));
		cr_assert(bytes_equal(out.provider, agent.provider) && bytes_equal(out.model, BYTES("m-1")) && !out.used_fallback);
		cr_assert_eq(out.n_calls, 3);
		cr_assert_eq(p.n_requests, 3);
		cr_assert_eq(metric_get(METRIC_provider_calls_total) - calls, 3);
		cr_assert_eq(metric_get(METRIC_provider_retries_total) - retries, 2);
		cr_assert_null(h->task.fault.internal);
		stop(&p);
	}
	api_close(&h);
}

Test(attempt, retries_have_an_end_and_the_last_failure_is_told)
{
	struct api *h = api_open_with(0, tune);
	struct scripted p = { .answers = { STATUS("503 Later"), HANG_UP, STATUS("500 Oh") } };
	struct follower f;
	start(&p);
	struct agent agent = agent_of(add_provider(h, p.port, "openai", ""), "[]");
	assert_err(run(h, &agent, &f), ERR_PROVIDER_FAILED);
	cr_assert_eq(p.n_requests, 3);
	const char *internal = h->task.fault.internal;
	cr_assert(strstr(internal, "503") && strstr(internal, "500") && strstr(internal, "provider_cut"), "%s", internal);
	cr_assert_str_eq(h->task.fault.detail, err_title(ERR_PROVIDER_FAILED));
	stop(&p);
	api_close(&h);
}

#define CLAUDE_HALF HEAD "data: {\"type\":\"message_start\",\"message\":{\"type\":\"message\",\"model\":\"c\",\"content\":[],"  \
	"\"usage\":{\"input_tokens\":9,\"output_tokens\":1}}}\n\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":" \
	"{\"type\":\"text\",\"text\":\"Half\"}}\n\n"
#define CLAUDE_WHOLE CLAUDE_HALF "data: {\"type\":\"content_block_stop\",\"index\":0}\n\n"                                       \
	"data: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":6}}\n\n"            \
	"data: {\"type\":\"message_stop\"}\n\n"

/* What broke off may have been billed. */
Test(attempt, text_that_broke_off_is_taken_back_before_the_next_try)
{
	struct api *h = api_open_with(0, tune);
	struct scripted p = { .answers = { CLAUDE_HALF, STATUS("503 Later"), CLAUDE_WHOLE } };
	struct follower f;
	start(&p);
	struct agent agent = agent_of(add_provider(h, p.port, "anthropic", ""), "[]");
	assert_err(run(h, &agent, &f), ERR_OK);
	cr_assert_str_eq(f.resets, "retry[Half];");
	cr_assert_str_eq(f.text, "Half");
	cr_assert_eq(out.n_calls, 3);
	cr_assert_eq(out.wasted.input_tokens, 9);
	cr_assert_eq(f.n_calls, 2, "the one in the middle brought nothing");
	cr_assert_eq(f.tokens, 25);
	cr_expect_eq(f.n_partial, 1);
	cr_assert(out.wasted.is_known);
	cr_assert_eq(out.result.usage.input_tokens, 9);
	cr_assert_eq(out.result.usage.output_tokens, 6);
	stop(&p);
	api_close(&h);
}

#define THOUGHT "data: {\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{\"reasoning_content\":\"Hm\"},\"finish_reason\":null}]}\n\n"
#define TEN_CALLS(n) "{\"index\":" #n "0},{\"index\":" #n "1},{\"index\":" #n "2},{\"index\":" #n "3},{\"index\":" #n "4},"                                  \
	"{\"index\":" #n "5},{\"index\":" #n "6},{\"index\":" #n "7},{\"index\":" #n "8},{\"index\":" #n "9}"
#define MANY_CALLS "data: {\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[" TEN_CALLS(1) "," TEN_CALLS(2) "," TEN_CALLS(3) ","       \
	TEN_CALLS(4) "," TEN_CALLS(5) "," TEN_CALLS(6) "," TEN_CALLS(7) "," TEN_CALLS(8) "," TEN_CALLS(9) "," TEN_CALLS(10) "," TEN_CALLS(11)            \
	"," TEN_CALLS(12) "," TEN_CALLS(13) "]}}]}\n\n"

/* An answer that had begun may be billed although nobody saw a word of it: who makes a model think until it breaks, or ask for too much, pays too. */
Test(attempt, answers_without_text_are_told_once_they_began)
{
	struct api *h = api_open_with(0, tune);
	struct scripted p = { .answers = { HEAD THOUGHT } }, q = { .answers = { HEAD MANY_CALLS } };
	struct follower f;
	start(&p);
	start(&q);
	struct agent agent = agent_of(add_provider(h, p.port, "openai", ""), "[]");
	assert_err(run(h, &agent, &f), ERR_PROVIDER_CUT);
	cr_expect_eq(f.n_calls, 3, "%d", f.n_calls);
	agent = agent_of(add_provider(h, q.port, "openai", ""), "[]");
	assert_err(run(h, &agent, &f), ERR_PROVIDER_INVALID);
	cr_expect_eq(f.n_calls, 1, "%d", f.n_calls);
	stop(&p);
	stop(&q);
	api_close(&h);
}

/* Whoever ended it while the provider worked. */
Test(attempt, a_call_that_was_given_up_is_told)
{
	struct api *h = api_open_with(0, tune);
	struct scripted p = { .answers = { SILENCE } };
	static const enum err ends[] = { ERR_CANCELLED, ERR_CONFLICT };
	start(&p);
	struct agent agent = agent_of(add_provider(h, p.port, "openai", ""), "[]");
	for (size_t i = 0; i < COUNT(ends); i++) {
		struct follower f = { .cancel_at = 1, .cancel_as = ends[i] };
		assert_err(run_with(h, &agent, &f, -1, 0), ends[i]);
		cr_expect_eq(f.n_calls, 1, "%s", err_code(ends[i]));
	}
	stop(&p);
	api_close(&h);
}

/* The last piece stays: it is what a failed turn keeps. */
Test(attempt, text_of_the_last_try_stays)
{
	struct api *h = api_open_with(0, tune);
	struct scripted p = { .answers = { CUT("a"), CUT("b"), CUT("c") } };
	struct follower f;
	start(&p);
	struct agent agent = agent_of(add_provider(h, p.port, "openai", ""), "[]");
	assert_err(run(h, &agent, &f), ERR_PROVIDER_CUT);
	cr_assert_str_eq(f.resets, "retry[a];retry[b];");
	cr_assert_str_eq(f.text, "c");
	cr_assert(bytes_equal(out.result.text, BYTES("c")));
	stop(&p);
	api_close(&h);
}

Test(attempt, some_things_are_never_asked_again)
{
	struct api *h = api_open_with(0, tune);
	static const struct {
		const char *answer;
		enum err e;
	} rows[] = {
		{ STATUS("400 Bad"), ERR_PROVIDER_REFUSED }, { STATUS("401 Who"), ERR_PROVIDER_REFUSED }, { STATUS("404 Gone"), ERR_PROVIDER_REFUSED },
		{ HEAD "<html>", ERR_PROVIDER_INVALID }, { HEAD PIECE("Done") FINISH("stop"), ERR_OK }, { HEAD PIECE("Bad") FINISH("content_filter"), ERR_OK },
		{ HEAD PIECE("Much") FINISH("length"), ERR_OK },
	};
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct scripted p = { .answers = { rows[i].answer } };
		struct follower f;
		start(&p);
		struct agent agent = agent_of(add_provider(h, p.port, "openai", ""), "[{\"provider\":\"echo\"}]");
		if (rows[i].e)
			agent.fallbacks = BYTES("[]");
		assert_err(run(h, &agent, &f), rows[i].e);
		cr_assert_eq(p.n_requests, 1, "%s", rows[i].answer);
		cr_assert(!out.used_fallback);
		stop(&p);
	}
	api_close(&h);
}

Test(attempt, a_kept_connection_that_broke_is_no_loss)
{
	static const char body[] = PIECE("One") FINISH("stop");
	struct api *h = api_open_with(0, tune);
	struct follower f;
	char first[512];
	snprintf(first, sizeof first, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: %zu\r\n\r\n%s", sizeof body - 1, body);
	struct scripted p = { .answers = { first, HANG_UP, OK("Two") } };
	start(&p);
	struct agent agent = agent_of(add_provider(h, p.port, "openai", ""), "[]");
	assert_err(run(h, &agent, &f), ERR_OK);
	assert_err(run(h, &agent, &f), ERR_OK);
	cr_assert_str_eq(f.text, "Two");
	cr_assert_eq(out.n_calls, 2);
	cr_assert_eq(p.n_requests, 3);
	stop(&p);
	api_close(&h);
}

Test(attempt, retry_after_is_kept_to_within_bounds)
{
	struct api *h = api_open_with(0, tune);
	struct scripted p = { .answers = { LIMITED("1"), OK("Bye") } }, strict = { .answers = { LIMITED("30"), OK("Bye") } };
	struct follower f;
	int64_t began = stamp_mono_ms();
	start(&p);
	start(&strict);
	struct agent agent = agent_of(add_provider(h, p.port, "openai", ""), "[]"), limited = agent_of(add_provider(h, strict.port, "openai", ""), "[]");
	assert_err(run(h, &agent, &f), ERR_OK);
	cr_assert_geq(stamp_mono_ms() - began, 1000);
	cr_assert_geq(f.n_ticks, 4);
	began = stamp_mono_ms();
	assert_err(run(h, &limited, &f), ERR_PROVIDER_RATE);
	cr_assert_lt(stamp_mono_ms() - began, 10000);
	cr_assert_eq(h->task.fault.retry_after_s, 30);
	assert_err(run(h, &limited, &f), ERR_PROVIDER_DOWN);
	cr_assert_eq(strict.n_requests, 1, "it is left alone meanwhile");
	cr_assert(h->task.fault.retry_after_s > 25 && h->task.fault.retry_after_s <= 30);
	stop(&p);
	stop(&strict);
	api_close(&h);
}

static void be_impatient(struct conf *c)
{
	tune(c);
	c->provider_idle_timeout = 200;
	c->provider_retries = 1;
}

static void be_slow(struct conf *c)
{
	be_impatient(c);
	c->provider_retry_max = 100;
}

Test(attempt, only_a_short_silence_is_worth_another_call)
{
	struct follower f;
	struct scripted quick = { .answers = { SILENCE } }, slow = { .answers = { SILENCE } };
	struct api *h = api_open_with(0, be_impatient);
	start(&quick);
	struct agent agent = agent_of(add_provider(h, quick.port, "openai", ""), "[]");
	assert_err(run(h, &agent, &f), ERR_PROVIDER_TIMEOUT);
	cr_assert_eq(quick.n_requests, 2);
	stop(&quick);
	api_close(&h);
	h = api_open_with(0, be_slow);
	start(&slow);
	agent = agent_of(add_provider(h, slow.port, "openai", ""), "[{\"provider\":\"echo\"}]");
	assert_err(run(h, &agent, &f), ERR_OK);
	cr_assert_eq(slow.n_requests, 1);
	cr_assert(out.used_fallback);
	stop(&slow);
	api_close(&h);
}

/* ---- its end ---- */

Test(attempt, all_of_it_is_done_by_the_deadline)
{
	struct api *h = api_open_with(0, tune);
	struct scripted silent = { .answers = { SILENCE } }, limited = { .answers = { LIMITED("2") } };
	struct follower f = { .n_ticks = 0 };
	start(&silent);
	start(&limited);
	struct agent agent = agent_of(add_provider(h, silent.port, "openai", ""), "[{\"provider\":\"echo\"}]");
	int64_t began = stamp_mono_ms();
	assert_err(run_with(h, &agent, &f, -1, began + 400), ERR_PROVIDER_TIMEOUT);
	int64_t took = stamp_mono_ms() - began;
	cr_assert(took >= 390 && took < 900, "%lld", (long long)took);
	cr_assert_eq(silent.n_requests, 1);
	agent = agent_of(add_provider(h, limited.port, "openai", ""), "[]");
	began = stamp_mono_ms();
	assert_err(run_with(h, &agent, &f, -1, began + 1000), ERR_PROVIDER_RATE);
	cr_assert_lt(stamp_mono_ms() - began, 950, "a pause that reaches past the deadline is none");
	agent = agent_of("echo", "[]");
	agent.model = BYTES("slow:200");
	began = stamp_mono_ms();
	assert_err(run_with(h, &agent, &f, -1, began + 300), ERR_PROVIDER_TIMEOUT);
	cr_assert_lt(stamp_mono_ms() - began, 900);
	stop(&silent);
	stop(&limited);
	api_close(&h);
}

static void *hang_up_later(void *arg)
{
	nap(300);
	close(*(int *)arg);
	return NULL;
}

Test(attempt, a_pause_ends_when_the_turn_is_cancelled_or_the_client_goes)
{
	struct api *h = api_open_with(0, tune);
	struct scripted p = { .answers = { LIMITED("5") } }, q = { .answers = { LIMITED("5") } };
	int pair[2];
	pthread_t thread;
	start(&p);
	start(&q);
	struct agent agent = agent_of(add_provider(h, p.port, "openai", ""), "[{\"provider\":\"echo\"}]");
	int64_t began = stamp_mono_ms();
	struct follower f = { .cancel_at = began + 300 };
	assert_err(run_with(h, &agent, &f, -1, 0), ERR_CANCELLED);
	int64_t took = stamp_mono_ms() - began;
	cr_assert(took >= 300 && took < 3000, "%lld", (long long)took);
	cr_assert_str_eq(h->task.fault.detail, "stopped");

	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	agent.provider = bytes_of(add_provider(h, q.port, "openai", ""));
	f = (struct follower){ .n_ticks = 0 };
	began = stamp_mono_ms();
	cr_assert_eq(pthread_create(&thread, NULL, hang_up_later, &pair[1]), 0);
	assert_err(run_with(h, &agent, &f, pair[0], 0), ERR_CANCELLED);
	took = stamp_mono_ms() - began;
	cr_assert(took >= 290 && took < 3000, "%lld", (long long)took);
	pthread_join(thread, NULL);
	close(pair[0]);
	cr_assert_eq(p.n_requests + q.n_requests, 2);
	stop(&p);
	stop(&q);
	api_close(&h);
}

Test(attempt, a_followers_error_ends_it)
{
	struct api *h = api_open_with(0, tune);
	struct scripted p = { .answers = { OK("Bye") } };
	struct follower f = { .refuses_text = true };
	start(&p);
	struct agent agent = agent_of(add_provider(h, p.port, "openai", ""), "[{\"provider\":\"echo\"}]");
	assert_err(run_with(h, &agent, &f, -1, 0), ERR_CONFLICT);
	cr_assert_str_eq(h->task.fault.detail, "no more");
	cr_assert_eq(p.n_requests, 1);
	cr_assert_eq(out.n_calls, 1);
	stop(&p);
	api_close(&h);
}

/* ---- fail-over ---- */

Test(attempt, the_agents_other_providers_are_asked_in_order)
{
	struct api *h = api_open_with(0, tune);
	struct scripted a = { .answers = { CUT("Half") } }, b = { .answers = { STATUS("401 Who") } }, c = { .answers = { OK("Bye") } };
	struct follower f;
	start(&a);
	start(&b);
	start(&c);
	const char *last = add_provider(h, c.port, "openai", "");
	struct agent agent = agent_of(add_provider(h, a.port, "openai", ""),
			api_text(h, "[{\"provider\":\"nobody\",\"model\":\"x\"},{\"provider\":\"%s\"},{\"provider\":\"%s\"},{\"provider\":\"%s\",\"model\":\"m-2\"}]",
				 add_provider(h, c.port, "openai", "no-such-file"), add_provider(h, b.port, "openai", ""), last));
	int64_t failovers = metric_get(METRIC_provider_failovers_total);
	assert_err(run(h, &agent, &f), ERR_OK);
	cr_assert_eq(a.n_requests, 3);
	cr_assert_eq(b.n_requests, 1);
	cr_assert_eq(c.n_requests, 1);
	cr_assert_str_eq(f.resets, "retry[Half];retry[Half];failover[Half];");
	cr_assert_str_eq(f.text, "Bye");
	cr_assert(out.used_fallback && bytes_equal(out.provider, bytes_of(last)) && bytes_equal(out.model, BYTES("m-2")));
	cr_assert_eq(out.n_calls, 5);
	cr_assert_eq(metric_get(METRIC_provider_failovers_total) - failovers, 2);
	stop(&a);
	stop(&b);
	stop(&c);
	api_close(&h);
}

Test(attempt, when_nobody_answers_the_last_error_stands_with_all_that_was_tried)
{
	struct api *h = api_open_with(0, tune);
	struct scripted a = { .answers = { STATUS("400 Bad") } }, b = { .answers = { STATUS("500 Oh") } };
	struct follower f;
	start(&a);
	start(&b);
	const char *first = add_provider(h, a.port, "openai", ""), *second = add_provider(h, b.port, "openai", "");
	struct agent agent = agent_of(first, api_text(h, "[{\"provider\":\"%s\"},{\"provider\":\"nobody\"}]", second));
	assert_err(run(h, &agent, &f), ERR_PROVIDER_FAILED);
	const char *internal = h->task.fault.internal;
	cr_assert(strstr(internal, first) && strstr(internal, second) && strstr(internal, "nobody/m-1: provider_refused"), "%s", internal);
	agent = agent_of("nobody", "[]");
	assert_err(run(h, &agent, &f), ERR_PROVIDER_REFUSED);
	cr_assert_eq(out.n_calls, 0);
	stop(&a);
	stop(&b);
	api_close(&h);
}

/* What an import may have brought is passed over. */
Test(attempt, fallbacks_that_make_no_sense_are_passed_over)
{
	struct api *h = api_open_with(0, tune);
	struct follower f;
	struct agent agent = agent_of("nobody", "[1,\"x\",{},{\"provider\":7},{\"provider\":\"echo\",\"x\":1},{\"provider\":\"echo\",\"model\":\"\"}]");
	assert_err(run(h, &agent, &f), ERR_OK);
	cr_assert_str_eq(f.text, "You said: Hello");
	cr_assert(bytes_equal(out.model, BYTES("m-1")));
	api_close(&h);
}

/* ---- breakers ---- */

static void be_brittle(struct conf *c)
{
	tune(c);
	c->provider_retries = 0;
	c->breaker_failures = 3;
	c->breaker_open = 500;
}

Test(attempt, a_provider_that_keeps_failing_is_left_alone_for_a_while)
{
	struct api *h = api_open_with(0, be_brittle);
	struct scripted p = { .answers = { STATUS("500 Oh"), HANG_UP, CUT("x"), STATUS("500 Oh"), OK("Bye") } };
	struct follower f;
	int64_t opens = metric_get(METRIC_breaker_opens_total);
	start(&p);
	struct agent agent = agent_of(add_provider(h, p.port, "openai", ""), "[]");
	for (int i = 0; i < 3; i++)
		cr_assert_neq(run(h, &agent, &f), ERR_OK);
	cr_assert_eq(metric_get(METRIC_breaker_opens_total) - opens, 1);
	for (int i = 0; i < 3; i++)
		assert_err(run(h, &agent, &f), ERR_PROVIDER_DOWN);
	cr_assert_eq(p.n_requests, 3, "refused at once");
	cr_assert_eq(h->task.fault.retry_after_s, 1);
	cr_assert(strstr(h->task.fault.internal, "breaker is open"), "%s", h->task.fault.internal);
	agent.fallbacks = BYTES("[{\"provider\":\"echo\"}]");
	assert_err(run(h, &agent, &f), ERR_OK);
	cr_assert(out.used_fallback && out.n_calls == 1);
	agent.fallbacks = BYTES("[]");
	nap(520);
	assert_err(run(h, &agent, &f), ERR_PROVIDER_FAILED); /* the probe */
	assert_err(run(h, &agent, &f), ERR_PROVIDER_DOWN);
	nap(520);
	assert_err(run(h, &agent, &f), ERR_OK);
	assert_err(run(h, &agent, &f), ERR_OK);
	cr_assert_eq(p.n_requests, 6);
	stop(&p);
	api_close(&h);
}

static void be_brittle_and_try_again(struct conf *c)
{
	be_brittle(c);
	c->provider_retries = 5;
}

/* What opens it may be the turn's own failures. */
Test(attempt, an_open_breaker_ends_the_retries)
{
	struct api *h = api_open_with(0, be_brittle_and_try_again);
	struct scripted p = { .answers = { STATUS("500 Oh") } };
	struct follower f;
	start(&p);
	struct agent agent = agent_of(add_provider(h, p.port, "openai", ""), "[{\"provider\":\"echo\"}]");
	int64_t began = stamp_mono_ms();
	assert_err(run(h, &agent, &f), ERR_OK);
	cr_assert_eq(p.n_requests, 3);
	cr_assert(out.used_fallback);
	cr_assert_lt(stamp_mono_ms() - began, 450, "it does not wait for the breaker");
	agent.fallbacks = BYTES("[]");
	nap(520);
	assert_err(run(h, &agent, &f), ERR_PROVIDER_FAILED);
	cr_assert_eq(p.n_requests, 4, "a probe is one call");
	stop(&p);
	api_close(&h);
}

/* An agent whose own provider is left alone, and whose other one is too. */
Test(attempt, with_all_breakers_open_it_fails_at_once_and_says_when_to_come_back)
{
	struct api *h = api_open_with(0, be_brittle);
	struct scripted a = { .answers = { STATUS("500 Oh") } }, b = { .answers = { LIMITED("40") } };
	struct follower f;
	start(&a);
	start(&b);
	struct agent agent = agent_of(add_provider(h, a.port, "openai", ""), api_text(h, "[{\"provider\":\"%s\"}]", add_provider(h, b.port, "openai", "")));
	assert_err(run(h, &agent, &f), ERR_PROVIDER_RATE);
	for (int i = 0; i < 2; i++)
		assert_err(run(h, &agent, &f), ERR_PROVIDER_FAILED);
	assert_err(run(h, &agent, &f), ERR_PROVIDER_DOWN);
	cr_assert_eq(out.n_calls, 0);
	cr_assert_eq(h->task.fault.retry_after_s, 1, "the sooner of the two");
	cr_assert_eq(a.n_requests, 3);
	cr_assert_eq(b.n_requests, 1);
	stop(&a);
	stop(&b);
	api_close(&h);
}

static struct app *open_another(struct api *h, void *shared)
{
	struct app *app;
	fetch_cleanup(); /* an application starts it once in a process */
	cr_assert_eq(app_open(&h->task, &h->conf, shared, false, &app), ERR_OK);
	return app;
}

Test(attempt, what_one_worker_met_all_of_the_install_know)
{
	struct api *h = api_open_with(API_FILE, be_brittle);
	struct scripted p = { .answers = { STATUS("500 Oh") } };
	struct follower f;
	void *shared;
	start(&p);
	struct agent agent = agent_of(add_provider(h, p.port, "openai", ""), "[]");
	cr_assert_eq(shm_map(&h->task, NULL, app_shared_size(), &shared), ERR_OK);
	struct app *own = h->app, *one = open_another(h, shared), *two = open_another(h, shared);
	h->app = one;
	for (int i = 0; i < 3; i++)
		assert_err(run(h, &agent, &f), ERR_PROVIDER_FAILED);
	h->app = two;
	assert_err(run(h, &agent, &f), ERR_PROVIDER_DOWN);
	h->app = own; /* shares nothing */
	assert_err(run(h, &agent, &f), ERR_PROVIDER_FAILED);
	cr_assert_eq(p.n_requests, 4);
	app_close(&one);
	app_close(&two);
	stop(&p);
	api_close(&h);
}

struct probe {
	struct api *h;
	const struct agent *agent;
	_Atomic int n_ok, n_down;
};

static void ask_once(void *arg, int i)
{
	struct probe *p = arg;
	struct arena *a = arena_open(4096);
	struct llm_message message = { BYTES("user"), BYTES("\"Hello\""), { NULL, 0 } };
	struct llm_request rq = { .messages = &message, .n_messages = 1, .temperature = -1 };
	struct attempt_events ev = { .arg = NULL };
	struct attempt_outcome o;
	struct task t;
	(void)i;
	task_init(&t, a);
	enum err e = attempt_run(&t, p->h->app, p->agent, &rq, -1, &ev, &o);
	atomic_fetch_add(e == ERR_PROVIDER_DOWN ? &p->n_down : &p->n_ok, 1);
	arena_close(&a);
}

Test(attempt, of_many_turns_one_is_the_probe)
{
	struct api *h = api_open_with(0, be_brittle);
	struct scripted p = { .answers = { STATUS("500 Oh"), STATUS("500 Oh"), STATUS("500 Oh"), CUT("Half"), OK("Bye") }, .pause_ms = 100 };
	struct follower f;
	start(&p);
	struct agent agent = agent_of(add_provider(h, p.port, "openai", ""), "[]");
	for (int i = 0; i < 3; i++)
		assert_err(run(h, &agent, &f), ERR_PROVIDER_FAILED);
	nap(520);
	struct probe probe = { .h = h, .agent = &agent };
	in_parallel(8, ask_once, &probe);
	cr_assert_eq(p.n_requests, 4);
	cr_assert_eq(probe.n_down, 7);
	assert_err(run(h, &agent, &f), ERR_PROVIDER_DOWN); /* it had begun to answer, and broke off */
	nap(520);
	p.pause_ms = 400;
	f = (struct follower){ .cancel_at = 1 };
	assert_err(run_with(h, &agent, &f, -1, 0), ERR_CANCELLED);
	assert_err(run(h, &agent, &f), ERR_OK); /* the probe that was cancelled makes room at once */
	stop(&p);
	api_close(&h);
}

/* Once its answer has begun a probe is a call as any other: a long one does not keep the breaker open that others' failures open again. */
Test(attempt, a_probe_that_was_trusted_holds_nothing)
{
	struct api *h = api_open_with(0, be_brittle);
	struct scripted p = { .answers = { STATUS("500 Oh"), STATUS("500 Oh"), STATUS("500 Oh"),
					   "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n" PIECE("Well") } };
	struct breakers_rule rule = { h->conf.breaker_failures, h->conf.breaker_open };
	struct follower f;
	start(&p);
	struct agent agent = agent_of(add_provider(h, p.port, "openai", ""), "[]");
	for (int i = 0; i < 3; i++)
		assert_err(run(h, &agent, &f), ERR_PROVIDER_FAILED);
	nap(520);
	f = (struct follower){ .breaker = breakers_find(h->app->breakers, agent.provider), .rule = &rule, .cancel_at = stamp_mono_ms() + 2000 };
	assert_err(run_with(h, &agent, &f, -1, 0), ERR_CANCELLED);
	cr_assert_str_eq(f.text, "Well");
	cr_assert(f.let_in_after >= 500 && f.let_in_after < 1500, "%d ms", (int)f.let_in_after);
	stop(&p);
	api_close(&h);
}

/* A limit that another turn met is kept by all, as if it had been told to them. */
Test(attempt, a_short_limit_is_waited_for)
{
	struct api *h = api_open_with(0, tune);
	struct scripted p = { .answers = { LIMITED("1"), OK("Bye") } };
	struct follower f = { .cancel_at = 1 };
	start(&p);
	struct agent agent = agent_of(add_provider(h, p.port, "openai", ""), "[]");
	int64_t began = stamp_mono_ms(), retries = metric_get(METRIC_provider_retries_total);
	assert_err(run_with(h, &agent, &f, -1, 0), ERR_CANCELLED);
	assert_err(run(h, &agent, &f), ERR_OK);
	cr_assert_geq(stamp_mono_ms() - began, 1000);
	cr_assert_eq(out.n_calls, 1);
	cr_assert_eq(p.n_requests, 2);
	cr_assert_eq(metric_get(METRIC_provider_retries_total) - retries, 0);
	stop(&p);
	api_close(&h);
}

/* A refusal is an answer: the provider is there. */
Test(attempt, refusals_and_cancelled_calls_open_no_breaker)
{
	struct api *h = api_open_with(0, be_brittle);
	struct scripted p = { .answers = { STATUS("401 Who") } }, q = { .answers = { SILENCE } };
	struct follower f;
	start(&p);
	start(&q);
	struct agent agent = agent_of(add_provider(h, p.port, "openai", ""), "[]");
	for (int i = 0; i < 6; i++)
		assert_err(run(h, &agent, &f), ERR_PROVIDER_REFUSED);
	agent = agent_of(add_provider(h, q.port, "openai", ""), "[]");
	for (int i = 0; i < 4; i++) {
		f = (struct follower){ .cancel_at = 1 };
		assert_err(run_with(h, &agent, &f, -1, 0), ERR_CANCELLED);
	}
	cr_assert_eq(p.n_requests, 6);
	cr_assert_eq(q.n_requests, 4);
	stop(&p);
	stop(&q);
	api_close(&h);
}

/* ---- turns ---- */

Test(attempt, a_turn_goes_on_with_another_provider)
{
	struct api *h = api_open_with(0, tune);
	struct scripted p = { .answers = { CUT("Half") } };
	start(&p);
	const char *provider = add_provider(h, p.port, "openai", "");
	struct answer a = api_patch(h, h->sk, api_text(h, "{\"provider\":\"%s\",\"fallbacks\":[{\"provider\":\"echo\",\"model\":\"m\"}]}", provider), "/v1/agents/guide");
	must_be(a, 200);
	assert_str(a, "fallbacks[0].provider", "echo");
	const char *id = new_session(h, h->sk, NULL, NULL);
	a = api_post(h, h->sk, "{\"message\":\"Hello\"}", "/v1/sessions/%s/turns", id);
	must_be(a, 200);
	assert_str(a, "result", "You said: Hello");
	assert_str(a, "message.content", "You said: Hello");
	struct answer turn = api_get(h, h->sk, "/v1/sessions/%s/turns/%s", id, str_at(&a, "turn_id"));
	assert_str(turn, "result", "You said: Hello");
	stop(&p);
	api_close(&h);
}
