/* SPDX-License-Identifier: MIT */
/* turn_run: the part of a turn between its two transactions. It holds no database connection while the provider works. */
#include "app/turn_run.h"

#include <time.h>

#include "app/attempt.h"
#include "app/context.h"
#include "app/policy.h"
#include "base/log.h"
#include "base/metrics.h"
#include "base/stamp.h"

#define SAVE_MS 250
#define SAVE_BYTES 2048
#define FINISH_TRIES 5
#define FINISH_PAUSE_MS 400

enum err turn_enter(struct task *t, struct app *app)
{
	if (atomic_fetch_add(&app->turns_running, 1) < app->conf->turn_threads) {
		metric_add(METRIC_turns_running, 1);
		return ERR_OK;
	}
	atomic_fetch_sub(&app->turns_running, 1);
	metric_add(METRIC_turns_refused_total, 1);
	return task_fail(t, ERR_BUSY, "as many turns run as may; try again in a moment");
}

void turn_leave(struct app *app)
{
	atomic_fetch_sub(&app->turns_running, 1);
	metric_add(METRIC_turns_running, -1);
}

/* A turn under way. */
struct run {
	struct task *task;
	struct app *app;
	struct turn *turn;
	const struct turn_watch *watch;
	struct buf text;
	size_t saved_n;      /* bytes of text that are saved */
	int64_t saved_at, renewed_at, told_at; /* monotonic ms */
	bool has_text;
	int64_t began_us;
};

/* Renews the lease when a third of it is gone; a turn that somebody else ended is given up. */
static enum err keep_lease(struct run *r, int64_t now)
{
	bool is_held;
	if (now - r->renewed_at < r->app->conf->turn_lease / 3)
		return ERR_OK;
	r->renewed_at = now;
	if (turn_renew(r->task, r->app, r->turn, &is_held) != ERR_OK) {
		task_clear_fault(r->task); /* the next beat tries again; the lease outlives two that fail */
		return ERR_OK;
	}
	return is_held ? ERR_OK : task_fail(r->task, ERR_CONFLICT, "the turn was ended meanwhile");
}

static void save_text(struct run *r, int64_t now)
{
	if (r->text.n - r->saved_n < SAVE_BYTES && now - r->saved_at < SAVE_MS)
		return;
	if (r->text.n == r->saved_n)
		return;
	r->saved_at = now;
	if (turn_save(r->task, r->app, r->turn, buf_bytes(&r->text)) == ERR_OK)
		r->saved_n = r->text.n;
	else
		task_clear_fault(r->task);
}

static enum err on_tick(void *arg)
{
	struct run *r = arg;
	int64_t now = stamp_mono_ms();
	save_text(r, now);
	if (now - r->told_at >= r->app->conf->sse_heartbeat && r->watch->on_silence) {
		r->watch->on_silence(r->watch->arg);
		r->told_at = now;
	}
	return keep_lease(r, now);
}

static enum err on_text(void *arg, struct bytes text)
{
	struct run *r = arg;
	int64_t now = stamp_mono_ms();
	if (!r->has_text)
		metric_observe(METRIC_turn_first_token_seconds, stamp_mono_us() - r->began_us);
	r->has_text = true;
	buf_add_bytes(&r->text, text);
	if (r->watch->on_text)
		r->watch->on_text(r->watch->arg, text);
	r->told_at = now;
	save_text(r, now);
	return keep_lease(r, now);
}

/* The text so far came to nothing. */
static enum err on_reset(void *arg, const char *reason)
{
	struct run *r = arg;
	(void)reason;
	buf_clear(&r->text);
	r->saved_n = 0;
	return ERR_OK;
}

/* What the model is given of the conversation, the agent's instructions and the summary in front. */
static enum err build_prompt(struct task *t, struct app *app, const struct head *h, const struct agent *agent, struct llm_request *rq_r)
{
	struct context x;
	struct context_options options = { .system = agent->instructions };
	enum err e = context_build(t, app, h, &options, &x);
	if (e)
		return e;
	struct llm_message *messages = arena_array(t->arena, x.n, sizeof *messages);
	for (size_t i = 0; i < x.n; i++)
		messages[i] = (struct llm_message){ bytes_of(role_name(x.rows[i].role)), x.rows[i].content, x.rows[i].extra };
	rq_r->instructions = context_instructions(t->arena, &x);
	rq_r->messages = messages;
	rq_r->n_messages = x.n;
	return ERR_OK;
}

static enum err call_provider(struct run *r, const struct head *h, const struct agent *agent, struct llm_result *result_r)
{
	double temperature = policy_read(r->task, jsonx_member(h->json, "config")).temperature;
	if (temperature < 0 && agent->has_temperature)
		temperature = agent->temperature;
	struct llm_request rq = { .temperature = temperature, .max_output_tokens = agent->max_output_tokens };
	struct attempt_events ev = { .arg = r, .on_text = on_text, .on_tick = on_tick, .on_reset = on_reset };
	struct attempt_outcome out;
	enum err e = build_prompt(r->task, r->app, h, agent, &rq);
	/* The client's socket is not watched: a turn goes on when the tab is closed. */
	if (!e)
		e = attempt_run(r->task, r->app, agent, &rq, -1, &ev, &out);
	if (!e)
		*result_r = out.result;
	return e;
}

/* Stores the answer; while the database is away it tries again for a moment, since the answer is paid for. */
static enum err finish(struct run *r, struct head *h, struct bytes user_json, const struct llm_result *result, struct bytes *answer_r)
{
	enum err e;
	for (int i = 0; i < FINISH_TRIES; i++) {
		e = turn_finish(r->task, r->app, h, r->turn, user_json, result, answer_r);
		if (e != ERR_UNAVAILABLE && e != ERR_COMMIT_UNKNOWN && e != ERR_BUSY)
			return e;
		nanosleep(&(struct timespec){ .tv_nsec = FINISH_PAUSE_MS * 1000000L }, NULL);
	}
	return e;
}

enum err turn_run(struct task *t, struct app *app, struct head *h, const struct agent *agent, struct turn *turn, struct bytes user_json,
		  const struct turn_watch *watch, struct bytes *answer_r)
{
	int64_t now = stamp_mono_ms();
	struct run r = { .task = t, .app = app, .turn = turn, .watch = watch, .saved_at = now, .renewed_at = now, .told_at = now,
			 .began_us = stamp_mono_us() };
	struct llm_result result = { .finish = LLM_STOP };
	buf_init(&r.text, t->arena, 1024);
	enum err e = call_provider(&r, h, agent, &result);
	if (!e)
		e = finish(&r, h, user_json, &result, answer_r);
	if (e) {
		struct bytes text = buf_bytes(&r.text);
		t->fault.code = e;
		turn_fail(t, app, turn, text);
		log_warn(t, "turn_failed", { "code", err_code(e), 0 }, { "internal", t->fault.internal ? t->fault.internal : "", 0 });
	}
	metric_observe(METRIC_turn_seconds, stamp_mono_us() - r.began_us);
	return e;
}
