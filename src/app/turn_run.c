/* SPDX-License-Identifier: MIT */
/*
 * turn_run: the part of a turn between its two transactions. Each round asks the model; when it asks for tools they are run, what they said is put behind the
 * prompt, and it is asked again, the last time without a choice. The steps become messages in the transaction that ends the turn.
 */
#include "app/turn_run.h"

#include <time.h>

#include "app/attempt.h"
#include "app/context.h"
#include "app/policy.h"
#include "app/tool_run.h"
#include "app/turn_keep.h"
#include "app/turn_log.h"
#include "base/log.h"
#include "base/metrics.h"
#include "base/stamp.h"

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
	const struct turn_order *order;
	struct turn *turn;
	const struct turn_watch *watch;
	struct turn_live *live;
	struct tool_set *tools;
	struct llm_request rq;
	struct llm_message *prompt; /* rq.messages, with room */
	size_t prompt_room;
	struct message_new *said;   /* of this turn, to be stored */
	size_t n_said, said_room;
	struct buf steps;           /* JSON objects joined by commas */
	int64_t n_steps;
	struct spend_bill bill;
	struct bytes provider, model;
	int64_t deadline, told_at;  /* monotonic ms */
	bool has_text;
	int64_t began_us;
};

/* ---- what comes ---- */

static enum err on_tick(void *arg)
{
	struct run *r = arg;
	int64_t now = stamp_mono_ms();
	if (now - r->told_at >= r->app->conf->sse_heartbeat && r->watch->on_silence) {
		r->watch->on_silence(r->watch->arg);
		r->told_at = now;
	}
	if (r->watch->is_gone && r->watch->is_gone(r->watch->arg))
		return task_fail(r->task, ERR_CANCELLED, "the client hung up");
	return turn_live_check(r->task, r->live);
}

static enum err on_text(void *arg, struct bytes text)
{
	struct run *r = arg;
	if (!r->has_text)
		metric_observe(METRIC_turn_first_token_seconds, stamp_mono_us() - r->began_us);
	r->has_text = true;
	size_t at = turn_live_say(r->live, text);
	if (r->watch->on_text)
		r->watch->on_text(r->watch->arg, text, at);
	r->told_at = stamp_mono_ms();
	return turn_live_check(r->task, r->live);
}

static void tell(struct run *r, const char *event, struct bytes data)
{
	size_t at = turn_live_tell(r->live, event, data);
	if (r->watch->on_event)
		r->watch->on_event(r->watch->arg, event, data, at);
	r->told_at = stamp_mono_ms();
}

static enum err on_reset(void *arg, const char *reason)
{
	struct run *r = arg;
	struct buf b;
	buf_init(&b, r->task->arena, 128);
	buf_add_char(&b, '{');
	buf_member_str(&b, "reason", reason);
	buf_add_char(&b, '}');
	tell(r, TURN_LOG_RESET, buf_bytes(&b));
	return turn_live_check(r->task, r->live);
}

/* ---- the prompt ---- */

static void add_prompt(struct run *r, const char *role, struct bytes content, struct bytes extra)
{
	if (r->rq.n_messages == r->prompt_room) {
		size_t room = r->prompt_room * 2 + 8;
		r->prompt = arena_grow(r->task->arena, r->prompt, r->prompt_room * sizeof *r->prompt, room * sizeof *r->prompt);
		r->prompt_room = room;
		r->rq.messages = r->prompt;
	}
	r->prompt[r->rq.n_messages++] = (struct llm_message){ bytes_of(role), content, extra };
}

/* What the model is given of the conversation, the agent's instructions and the summary in front; its tools. */
static enum err build_prompt(struct run *r)
{
	struct task *t = r->task;
	const struct agent *agent = r->order->agent;
	const struct head *h = r->order->head;
	struct context x;
	struct context_options options = { .system = agent->instructions };
	enum err e = context_build(t, r->app, h, &options, &x);
	if (!e)
		e = tool_set_open(t, r->app, &h->site, agent, &r->tools);
	if (e)
		return e;
	double temperature = policy_read(t, jsonx_member(h->json, "config")).temperature;
	if (temperature < 0 && agent->has_temperature)
		temperature = agent->temperature;
	r->rq = (struct llm_request){ .temperature = temperature, .max_output_tokens = agent->max_output_tokens,
				      .instructions = context_instructions(t->arena, &x), .is_text_mode = bytes_equal(agent->tool_mode, BYTES("text")) };
	r->rq.tools = tool_set_list(r->tools, &r->rq.n_tools);
	for (size_t i = 0; i < x.n; i++)
		add_prompt(r, role_name(x.rows[i].role), x.rows[i].content, x.rows[i].extra);
	return ERR_OK;
}

/* ---- steps ---- */

static void add_said(struct run *r, const struct message_new *m)
{
	if (r->n_said == r->said_room) {
		size_t room = r->said_room * 2 + 4;
		r->said = arena_grow(r->task->arena, r->said, r->said_room * sizeof *r->said, room * sizeof *r->said);
		r->said_room = room;
	}
	r->said[r->n_said++] = *m;
}

/* A message of the model, with what else a later prompt needs of it. */
static struct message_new model_message(struct run *r, const struct llm_result *result, bool is_incomplete)
{
	struct buf extra;
	buf_init(&extra, r->task->arena, 256);
	buf_add_char(&extra, '{');
	if (result->tool_calls.n)
		buf_member_json(&extra, "tool_calls", result->tool_calls);
	if (r->model.n)
		buf_member_string(&extra, "model", r->model);
	buf_member_int(&extra, "tokens_used", result->usage.output_tokens);
	buf_member_int(&extra, "latency_ms", stamp_now() - r->turn->created_at);
	if (is_incomplete)
		buf_member_bool(&extra, "incomplete", true);
	buf_add_char(&extra, '}');
	return (struct message_new){ .role = ROLE_ASSISTANT, .turn = r->turn->id, .tokens = result->usage.output_tokens, .extra = buf_bytes(&extra),
				     .content = result->parts.n ? result->parts : buf_quote(r->task->arena, result->text) };
}

/* The calls as clients see them: arguments as what they are, or as the text that is no JSON. */
static struct bytes render_calls(struct task *t, struct bytes calls)
{
	struct jsonx_walk w;
	struct buf b;
	buf_init(&b, t->arena, calls.n + 64);
	buf_add_char(&b, '[');
	for (jsonx_walk_begin(&w, calls); jsonx_walk_next(&w);) {
		struct bytes arguments = jsonx_string(t->arena, jsonx_member(w.value, "arguments"));
		struct jsonx_flaw flaw;
		if (b.n > 1)
			buf_add_char(&b, ',');
		buf_add_char(&b, '{');
		buf_member_json(&b, "id", jsonx_member(w.value, "id"));
		buf_member_json(&b, "name", jsonx_member(w.value, "name"));
		if (arguments.n == 0)
			buf_member_json(&b, "arguments", BYTES("{}"));
		else if (jsonx_check_strict(t->arena, arguments, &flaw))
			buf_member_json(&b, "arguments", arguments);
		else
			buf_member_string(&b, "arguments", arguments);
		buf_add_char(&b, '}');
	}
	buf_add_char(&b, ']');
	return buf_bytes(&b);
}

static void add_outcome(struct buf *b, const struct tool_outcome *o)
{
	buf_member_string(b, "tool_call_id", o->id);
	buf_member_string(b, "name", o->name);
	buf_member_json(b, "result", o->result);
	buf_member_bool(b, "is_error", o->is_error);
	buf_member_int(b, "duration_ms", o->duration_ms);
}

/* What a tool said as a message: a string, an object, or any other value written out. */
static struct message_new tool_message(struct run *r, const struct tool_outcome *o)
{
	struct arena *a = r->task->arena;
	struct buf extra;
	struct bytes content = o->result;
	if (jsonx_type(o->result) == JSONX_OBJECT)
		content = bytes_of(arena_printf(a, "[{\"type\":\"json\",\"json\":%.*s}]", (int)o->result.n, o->result.p));
	else if (jsonx_type(o->result) != JSONX_STRING)
		content = buf_quote(a, o->result);
	buf_init(&extra, a, 128);
	buf_add_char(&extra, '{');
	buf_member_string(&extra, "tool_call_id", o->id);
	buf_member_string(&extra, "name", o->name);
	if (o->is_error)
		buf_member_bool(&extra, "is_error", true);
	buf_add_char(&extra, '}');
	return (struct message_new){ .role = ROLE_TOOL, .content = content, .extra = buf_bytes(&extra), .turn = r->turn->id };
}

/* Says that the model has asked for tools: what it said so far belongs to this step. */
static void begin_step(struct run *r, const struct llm_result *result)
{
	struct buf b;
	buf_init(&b, r->task->arena, 256 + result->text.n + result->tool_calls.n);
	buf_add_char(&b, '{');
	buf_member_int(&b, "index", ++r->n_steps);
	buf_member_string(&b, "text", bytes_or(result->text, BYTES("")));
	buf_member_json(&b, "tool_calls", render_calls(r->task, result->tool_calls));
	if (r->steps.n)
		buf_add_char(&r->steps, ',');
	buf_add_bytes(&r->steps, buf_bytes(&b));
	buf_add_char(&b, '}');
	tell(r, TURN_LOG_STEP, buf_bytes(&b));
}

static enum err on_outcome(void *arg, const struct tool_outcome *o)
{
	struct run *r = arg;
	struct buf b;
	buf_init(&b, r->task->arena, 256 + o->result.n);
	buf_add_char(&b, '{');
	buf_member_int(&b, "index", r->n_steps);
	add_outcome(&b, o);
	buf_add_char(&b, '}');
	tell(r, "tool", buf_bytes(&b));
	return turn_live_check(r->task, r->live);
}

/* Those that had ended when the turn was stopped: what readers were told stands in the answer as well. */
static void end_step(struct run *r, const struct tool_outcome *outcomes, size_t n)
{
	bool is_first = true;
	buf_add_str(&r->steps, ",\"results\":[");
	for (size_t i = 0; i < n; i++) {
		if (!outcomes[i].result.n)
			continue;
		buf_add_str(&r->steps, is_first ? "{" : ",{");
		is_first = false;
		add_outcome(&r->steps, &outcomes[i]);
		buf_add_char(&r->steps, '}');
	}
	buf_add_str(&r->steps, "]}");
}

/* Runs the tools of an answer, and puts the answer and what they said behind the prompt and among the messages. */
static enum err run_tools(struct run *r, const struct llm_result *result)
{
	const struct head *h = r->order->head;
	struct tool_env env = { .site = &h->site, .session = &h->session, .conversation = &r->turn->conversation, .turn = &r->turn->id,
				.user = jsonx_string(r->task->arena, jsonx_member(h->json, "user")), .agent = r->order->agent->name,
				.session_id = head_id(h), .deadline = r->deadline, .client_fd = r->watch->client_fd, .on_tick = on_tick,
				.on_outcome = on_outcome, .arg = r };
	struct tool_outcome *outcomes;
	struct message_new m = model_message(r, result, false);
	size_t n;
	begin_step(r, result);
	enum err e = tool_call_all(r->task, r->app, r->tools, &env, result->tool_calls, &outcomes, &n);
	end_step(r, outcomes, n);
	add_said(r, &m); /* also of a turn that is stopped here: what tools have done is no secret to the next prompt */
	add_prompt(r, "assistant", m.content, m.extra);
	for (size_t i = 0; i < n; i++) {
		if (!outcomes[i].result.n) /* it was not waited for */
			continue;
		m = tool_message(r, &outcomes[i]);
		add_said(r, &m);
		add_prompt(r, "tool", m.content, m.extra);
	}
	return e ? e : on_tick(r);
}

/* ---- the whole ---- */

static void on_call(void *arg, struct bytes provider, struct bytes model, const struct llm_result *result)
{
	struct run *r = arg;
	spend_charge_call(r->task, r->app, &r->bill, provider, model, &r->rq, result);
}

static enum err ask(struct run *r, struct llm_result *result_r)
{
	struct attempt_events ev = { .arg = r, .on_text = on_text, .on_tick = on_tick, .on_reset = on_reset, .on_call = on_call, .deadline = r->deadline };
	struct attempt_outcome out = { .n_calls = 0 };
	enum err e = attempt_run(r->task, r->app, r->order->agent, &r->rq, r->watch->client_fd, &ev, &out);
	*result_r = out.result;
	r->provider = bytes_or(out.provider, r->turn->provider);
	r->model = out.result.model.n && out.result.model.n <= 128 ? out.result.model : bytes_or(out.model, r->turn->model);
	return e;
}

static int64_t rounds_of(const struct run *r)
{
	if (r->order->max_iterations)
		return r->order->max_iterations;
	return r->order->agent->max_iterations ? r->order->agent->max_iterations : r->app->conf->turn_iterations;
}

static enum err check_size(const struct run *r)
{
	struct bytes log = turn_live_log(r->live);
	return (int64_t)log.n <= r->app->conf->provider_max_bytes ? ERR_OK :
		task_fail_internal(r->task, ERR_PROVIDER_INVALID, "the turn's steps have more than provider_max_bytes");
}

/* Asks until the model answers, or may not ask for tools again. */
static enum err go_rounds(struct run *r, struct llm_result *result_r, bool *is_out_r)
{
	int64_t rounds = rounds_of(r);
	enum err e = build_prompt(r);
	for (int64_t i = 1; !e; i++) {
		r->rq.must_answer = i == rounds;
		e = ask(r, result_r);
		bool wants_tools = !e && result_r->tool_calls.n && result_r->finish == LLM_TOOL;
		*is_out_r = wants_tools && (i == rounds || r->rq.n_tools == 0);
		if (e || !wants_tools || *is_out_r)
			return e;
		e = run_tools(r, result_r);
		if (!e)
			e = check_size(r);
	}
	return e;
}

static const char *const finishes[] = { [LLM_STOP] = "stop", [LLM_LENGTH] = "length", [LLM_TOOL] = "tool", [LLM_FILTER] = "filter" };

/* What the turn came to, to be stored. A model that went on asking for tools has its calls dropped: nobody will answer them. */
static struct turn_outcome conclude(struct run *r, struct llm_result *result, bool is_cancelled, bool is_out)
{
	struct turn_outcome out = { .status = is_cancelled ? TURN_CANCELLED : TURN_DONE, .bill = r->bill, .log = turn_live_log(r->live),
				    .provider = r->provider, .model = r->model, .finish = bytes_of(finishes[result->finish]) };
	if (is_cancelled) { /* what readers have seen, and nothing else */
		*result = (struct llm_result){ .text = turn_log_text(r->task->arena, out.log), .usage = result->usage };
		out.finish = BYTES("cancelled");
	} else if (is_out) {
		result->tool_calls = result->parts = (struct bytes){ NULL, 0 };
		out.finish = BYTES("iterations");
	}
	out.has_answer = result->text.n || !(is_cancelled || is_out);
	if (out.has_answer) {
		struct message_new m = model_message(r, result, is_cancelled);
		add_said(r, &m);
	}
	out.text = result->text;
	out.messages = r->said;
	out.n_messages = r->n_said;
	if (r->steps.n)
		out.steps = bytes_of(arena_printf(r->task->arena, "[%.*s]", (int)r->steps.n, r->steps.p));
	return out;
}

/* Stores the outcome; while the database is away it tries again for a moment, since the answer is paid for. */
static enum err finish(struct run *r, const struct turn_outcome *out, struct bytes *answer_r)
{
	enum err e;
	for (int i = 0; i < FINISH_TRIES; i++) {
		e = turn_finish(r->task, r->app, r->order->head, r->turn, r->order->user_json, out, answer_r);
		if (e != ERR_UNAVAILABLE && e != ERR_COMMIT_UNKNOWN && e != ERR_BUSY)
			return e;
		nanosleep(&(struct timespec){ .tv_nsec = FINISH_PAUSE_MS * 1000000L }, NULL);
	}
	return e;
}

enum err turn_run(struct task *t, struct app *app, const struct turn_order *order, struct turn *turn, const struct turn_watch *watch,
		  struct bytes *answer_r)
{
	struct run r = { .task = t, .app = app, .order = order, .turn = turn, .watch = watch, .told_at = stamp_mono_ms(), .began_us = stamp_mono_us(),
			 .provider = turn->provider, .model = turn->model, .deadline = stamp_mono_ms() + app->conf->turn_timeout };
	struct llm_result result = { .finish = LLM_STOP };
	bool is_out = false;
	buf_init(&r.steps, t->arena, 0);
	r.live = turn_keep_add(t, app, turn);
	enum err e = go_rounds(&r, &result, &is_out);
	if (!e || e == ERR_CANCELLED) {
		struct turn_outcome out = conclude(&r, &result, e == ERR_CANCELLED, is_out);
		e = finish(&r, &out, answer_r);
	}
	if (e) {
		t->fault.code = e;
		turn_fail(t, app, order->head, turn, turn_live_log(r.live), &r.bill);
		log_warn(t, "turn_failed", { "code", err_code(e), 0 }, { "internal", t->fault.internal ? t->fault.internal : "", 0 });
	}
	turn->log = turn_live_log(r.live);
	turn_keep_remove(app, r.live);
	metric_observe(METRIC_turn_seconds, stamp_mono_us() - r.began_us);
	return e;
}
