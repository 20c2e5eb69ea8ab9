/* SPDX-License-Identifier: MIT */
/*
 * attempt: the only way to a provider. A call that failed is made again as long as that may help: what the provider did not answer, or broke off. What it
 * refused is the operator's to mend and goes to the next provider at once. An answer that the model has ended is never asked for again (llm.c sees
 * to that), and a callback's error ends everything. The processes of an install share a breaker for each provider.
 */
#include "app/attempt.h"

#include <poll.h>

#include "base/breakers.h"
#include "base/log.h"
#include "base/metrics.h"
#include "base/stamp.h"

#define TICK_MS 250
#define FIND_TRIES 5
#define FIND_PAUSE_MS 400
#define TRIES_LOGGED 4096 /* bytes of the list of calls; the log cuts its lines anyway */

/* Somebody to ask. */
struct candidate {
	struct bytes provider, model;
	struct llm_provider llm;
	struct breakers_slot *breaker; /* NULL: none */
};

struct run {
	struct task *task;
	struct app *app;
	struct llm_request *rq;
	int client_fd;
	const struct attempt_events *ev;
	struct attempt_outcome *out;
	struct breakers_rule rule;
	int64_t deadline;
	struct buf tries;      /* what was tried, for the log */
	struct fault last;     /* what the whole fails with */
	bool has_told;         /* text went out since the last reset */
	bool is_over;          /* nothing may follow: a callback, the client or the store ended it */
	int64_t shortest_wait; /* of the open breakers met; 0: none */
	/* of the call under way, or the last one */
	const struct candidate *now;
	bool is_probe, has_text;
};

int64_t attempt_pause(int n, int64_t base, int64_t max, uint64_t random)
{
	int64_t bound = base;
	for (; n > 0 && bound < max; n--)
		bound *= 2;
	bound = bound < max ? bound : max;
	return (int64_t)(random % (uint64_t)(bound + 1));
}

static enum err end_with(struct run *r, enum err e)
{
	if (e)
		r->is_over = true;
	return e;
}

static const char *name_of(struct task *t, const struct candidate *c)
{
	return arena_copy(t->arena, c->provider.p, c->provider.n);
}

/* ---- the breaker of the call under way ---- */

static void log_breaker(const struct run *r, const struct candidate *c, enum log_level level, const char *event)
{
	const char *why = r->task->fault.internal;
	log_write(r->task, level, event, LOG_ITEMS({ "provider", name_of(r->task, c), 0 }, { "reason", why ? why : "", 0 }));
}

static void note_opened(const struct run *r)
{
	metric_add(METRIC_breaker_opens_total, 1);
	log_breaker(r, r->now, LOG_WARN_LEVEL, "breaker_opened");
}

static void note_closed(const struct run *r)
{
	log_breaker(r, r->now, LOG_INFO_LEVEL, "breaker_closed");
}

/* A call that the deadline ended says little of a provider that had not half of the turn to begin. */
static bool is_failure(const struct run *r, enum err e, int64_t now, int64_t took)
{
	if (e == ERR_PROVIDER_TIMEOUT && now >= r->deadline)
		return !r->has_text && took >= r->app->conf->turn_timeout / 2;
	return e == ERR_PROVIDER_DOWN || e == ERR_PROVIDER_FAILED || e == ERR_PROVIDER_CUT || e == ERR_PROVIDER_TIMEOUT;
}

/* Tells the breaker how the call ended. */
static void report(struct run *r, enum err e, int64_t took)
{
	struct breakers_slot *b = r->now->breaker;
	int64_t now = stamp_mono_ms(), limit = (int64_t)r->task->fault.retry_after_s * 1000;
	if (e && (r->is_over || (e == ERR_PROVIDER_TIMEOUT && !is_failure(r, e, now, took)))) {
		if (r->is_probe)
			breakers_release(b, now);
	} else if (e && is_failure(r, e, now, took)) {
		if (breakers_fail(b, &r->rule, now, r->is_probe))
			note_opened(r);
	} else if (e == ERR_PROVIDER_RATE && limit > 0) {
		if (breakers_limit(b, now, limit))
			note_opened(r);
	} else if (breakers_close(b, now)) {
		note_closed(r);
	}
}

/* ---- one call ---- */

static enum err on_text(void *arg, struct bytes text)
{
	struct run *r = arg;
	if (r->is_probe && breakers_trust(r->now->breaker, &r->rule, stamp_mono_ms()))
		note_closed(r);
	r->is_probe = false; /* it is a call as any other now: it must not hold a breaker that others open again */
	r->has_text = r->has_told = true;
	return r->ev->on_text ? end_with(r, r->ev->on_text(r->ev->arg, text)) : ERR_OK;
}

static enum err tick(struct run *r)
{
	return r->ev->on_tick ? end_with(r, r->ev->on_tick(r->ev->arg)) : ERR_OK;
}

static enum err on_tick(void *arg)
{
	struct run *r = arg;
	int64_t now = stamp_mono_ms();
	if (r->is_probe)
		breakers_hold(r->now->breaker, &r->rule, now);
	if (now >= r->deadline)
		return task_fail_internal(r->task, ERR_PROVIDER_TIMEOUT, "not done when the turn's time was over");
	return tick(r);
}

static void add_usage(struct llm_usage *sum, const struct llm_usage *u)
{
	sum->input_tokens += u->input_tokens;
	sum->output_tokens += u->output_tokens;
	sum->cached_tokens += u->cached_tokens;
	sum->is_known |= u->is_known;
}

/* Adds the task's fault to what was tried. That nobody was asked says less than how somebody answered. */
static void note_try(struct run *r, const struct candidate *c, bool is_called)
{
	const struct fault *f = &r->task->fault;
	if (is_called || r->out->n_calls == 0)
		r->last = *f;
	if (r->tries.n > TRIES_LOGGED)
		return;
	buf_addf(&r->tries, "%s%.*s", r->tries.n ? "; " : "", (int)c->provider.n, c->provider.p);
	if (c->model.n)
		buf_addf(&r->tries, "/%.*s", (int)c->model.n, c->model.p);
	buf_addf(&r->tries, ": %s", err_code(f->code));
	if (f->internal)
		buf_addf(&r->tries, " (%s)", f->internal);
}

/* What a new call changes of what there is of the one before. */
static enum err begin_call(struct run *r, const struct candidate *c, bool is_fallback)
{
	struct attempt_outcome *out = r->out;
	if (r->has_told && r->ev->on_reset) {
		enum err e = r->ev->on_reset(r->ev->arg, r->now == c ? "retry" : "failover");
		if (e)
			return end_with(r, e);
	}
	add_usage(&out->wasted, &out->result.usage);
	r->has_told = r->has_text = false;
	r->now = c;
	out->provider = c->provider;
	out->model = c->model;
	out->used_fallback = is_fallback;
	out->n_calls++;
	metric_add(METRIC_provider_calls_total, 1);
	task_clear_fault(r->task);
	return ERR_OK;
}

static enum err call(struct run *r, const struct candidate *c, bool is_fallback)
{
	const struct conf *conf = r->app->conf;
	struct llm_events ev = { .arg = r, .on_text = on_text, .on_tick = on_tick };
	enum err e = begin_call(r, c, is_fallback);
	if (e)
		return e;
	int64_t began = stamp_mono_ms(), left = r->deadline - began;
	struct fetch_conf fc = { .connect_timeout_ms = (int)conf->provider_connect_timeout, .idle_timeout_ms = (int)conf->provider_idle_timeout,
				 .total_timeout_ms = (int)(left > 1 ? left : 1), .max_bytes = conf->provider_max_bytes,
				 .allow_hosts = conf->provider_allow_hosts };
	r->rq->model = arena_copy(r->task->arena, c->model.p, c->model.n);
	e = llm_call(r->task, &c->llm, &fc, r->rq, r->client_fd, TICK_MS, &ev, &r->out->result);
	if (e == ERR_CANCELLED)
		r->is_over = true;
	report(r, e, stamp_mono_ms() - began);
	/* An answer that names its model has begun, though nobody saw a word of it: of thoughts, say, or of calls that were too many. */
	if (r->ev->on_call && (!e || r->is_over || r->has_text || r->out->result.usage.is_known || r->out->result.model.n > 0))
		r->ev->on_call(r->ev->arg, c->provider, c->model, &r->out->result);
	return e;
}

/* ---- one provider ---- */

/* Waits, ticks, and ends early when the client hangs up. */
static enum err wait_for(struct run *r, int64_t ms)
{
	struct pollfd client = { .fd = r->client_fd, .events = POLLRDHUP }; /* a negative fd is passed over */
	int64_t end = stamp_mono_ms() + ms;
	for (;;) {
		int64_t left = end - stamp_mono_ms();
		enum err e = tick(r);
		if (e || left <= 0)
			return e;
		if (poll(&client, 1, (int)(left < TICK_MS ? left : TICK_MS)) <= 0)
			continue;
		if (client.revents & (POLLRDHUP | POLLHUP | POLLERR))
			return end_with(r, task_fail_internal(r->task, ERR_CANCELLED, "the client hung up while the provider was to be asked again"));
		client.fd = -1;
	}
}

/* Where and how it is called. What the operator has left undone is a refusal. */
static enum err open_candidate(struct run *r, struct candidate *c)
{
	struct task *t = r->task;
	struct provider p;
	enum err e = provider_find(t, r->app, c->provider, &p);
	/* The answers of other calls, and what tools did, may be at stake: the database gets a moment to come back. */
	for (int i = 0; i < FIND_TRIES && (e == ERR_UNAVAILABLE || e == ERR_BUSY); i++) {
		enum err stopped = wait_for(r, FIND_PAUSE_MS);
		if (stopped)
			return stopped;
		e = provider_find(t, r->app, c->provider, &p);
	}
	if (e == ERR_NOT_FOUND)
		return task_fail_internal(t, ERR_PROVIDER_REFUSED, "the provider is not defined");
	if (e)
		return end_with(r, e);
	c->llm = (struct llm_provider){ .kind = arena_copy(t->arena, p.kind.p, p.kind.n), .base_url = arena_copy(t->arena, p.base_url.p, p.base_url.n) };
	if (!bytes_equal(p.kind, BYTES("echo")))
		c->breaker = breakers_find(r->app->breakers, c->provider);
	return provider_read_key(t, r->app, &p, &c->llm.api_key);
}

static uint64_t random_number(void)
{
	uint64_t n;
	secret_random(&n, sizeof n);
	return n;
}

/* How long to wait before the same provider is asked again after its n-th failure; -1: it is not. */
static int64_t pause_after(const struct run *r, enum err e, int n, int64_t took)
{
	const struct conf *conf = r->app->conf;
	int64_t asked = (int64_t)r->task->fault.retry_after_s * 1000, pause;
	if (r->is_over || n >= conf->provider_retries)
		return -1;
	switch (e) {
	case ERR_PROVIDER_RATE:
	case ERR_PROVIDER_FAILED:
		break;
	case ERR_PROVIDER_DOWN:
	case ERR_PROVIDER_CUT:
		asked = 0;
		break;
	case ERR_PROVIDER_TIMEOUT: /* a silence that took long would take as long again, and another provider may be quicker */
		if (took > conf->provider_retry_max)
			return -1;
		break;
	default:
		return -1;
	}
	if (asked > conf->provider_retry_max)
		return -1;
	pause = attempt_pause(asked ? 0 : n, conf->provider_retry_base, conf->provider_retry_max, random_number()) + asked;
	return stamp_mono_ms() + pause < r->deadline ? pause : -1;
}

/*
 * Whether the provider may be called now. One that only limits requests is waited for if it takes them again soon enough, as it would be had it told
 * this turn so; each wait takes a try.
 */
static enum err pass_breaker(struct run *r, const struct candidate *c, int *n)
{
	const struct conf *conf = r->app->conf;
	struct breakers_pass pass;
	for (; !breakers_admit(c->breaker, &r->rule, stamp_mono_ms(), &pass); ++*n) {
		int64_t wait = pass.wait_ms, pause = wait + attempt_pause(0, conf->provider_retry_base, conf->provider_retry_max, random_number());
		bool is_worth_it = pass.is_limited && *n < conf->provider_retries && wait <= conf->provider_retry_max;
		if (!is_worth_it || stamp_mono_ms() + pause >= r->deadline) {
			r->shortest_wait = r->shortest_wait && r->shortest_wait < wait ? r->shortest_wait : wait;
			return task_fail_internal(r->task, ERR_PROVIDER_DOWN, "its breaker is open for another %lld ms", (long long)wait);
		}
		enum err e = wait_for(r, pause);
		if (e)
			return e;
	}
	r->is_probe = pass.is_probe;
	if (r->is_probe)
		log_breaker(r, c, LOG_INFO_LEVEL, "breaker_probing");
	return ERR_OK;
}

/* Asks one provider until it has answered or it makes no sense to ask again. */
static enum err ask(struct run *r, struct candidate *c, bool is_fallback)
{
	bool was_called = false;
	enum err e = open_candidate(r, c);
	for (int n = 0; !e; n++) {
		e = pass_breaker(r, c, &n);
		if (e)
			break;
		int64_t began = stamp_mono_ms(), pause;
		metric_add(METRIC_provider_retries_total, was_called);
		metric_add(METRIC_provider_failovers_total, !was_called && is_fallback);
		was_called = true;
		e = call(r, c, is_fallback);
		if (!e || r->is_over)
			return e;
		note_try(r, c, true);
		pause = pause_after(r, e, n, stamp_mono_ms() - began);
		if (pause < 0)
			return e;
		e = wait_for(r, pause);
	}
	if (!r->is_over)
		note_try(r, c, false);
	return e;
}

/* ---- the whole ---- */

static size_t list_candidates(struct task *t, const struct agent *agent, struct candidate list_r[AGENT_FALLBACKS + 1])
{
	struct agent_fallback fallbacks[AGENT_FALLBACKS];
	size_t n = agent_fallbacks(t, agent, fallbacks);
	list_r[0] = (struct candidate){ .provider = agent->provider, .model = agent->model };
	for (size_t i = 0; i < n; i++)
		list_r[i + 1] = (struct candidate){ .provider = fallbacks[i].provider, .model = fallbacks[i].model };
	return n + 1;
}

/* The fault of the whole: that of the last call, with all that was tried. */
static enum err fail(struct run *r)
{
	struct fault fault = r->last;
	if (r->out->n_calls == 0 && r->shortest_wait && fault.code == ERR_PROVIDER_DOWN)
		fault.retry_after_s = (int)((r->shortest_wait + 999) / 1000);
	fault.internal = buf_bytes(&r->tries).p;
	r->task->fault = fault;
	return fault.code;
}

enum err attempt_run(struct task *t, struct app *app, const struct agent *agent, struct llm_request *rq, int client_fd, const struct attempt_events *ev,
		     struct attempt_outcome *out_r)
{
	struct run r = { .task = t, .app = app, .rq = rq, .client_fd = client_fd, .ev = ev, .out = out_r,
			 .rule = { app->conf->breaker_failures, app->conf->breaker_open } };
	struct candidate list[AGENT_FALLBACKS + 1] = { 0 };
	size_t n = list_candidates(t, agent, list);
	enum err e = ERR_OK;
	r.deadline = ev->deadline ? ev->deadline : stamp_mono_ms() + app->conf->turn_timeout;
	memset(out_r, 0, sizeof *out_r);
	buf_init(&r.tries, t->arena, 256);
	for (size_t i = 0; i < n && (i == 0 || stamp_mono_ms() < r.deadline); i++) {
		e = ask(&r, &list[i], i > 0);
		if (!e || r.is_over)
			break;
	}
	if (e && !r.is_over)
		return fail(&r);
	if (!e && r.tries.n)
		log_info(t, "provider_answered_at_last", { "provider", name_of(t, r.now), 0 }, { "before", buf_bytes(&r.tries).p, 0 });
	return e;
}

const struct feature attempt_feature = { .name = "attempt" };
