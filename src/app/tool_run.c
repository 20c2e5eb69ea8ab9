/* SPDX-License-Identifier: MIT */
/*
 * tool_run: calls tools. A call of a site's tool is a POST that is signed after Standard Webhooks; it is made once and never again. What a model is
 * told of a failure says what failed and not where: addresses, status texts and reasons of TLS are for the log.
 */
#include "app/tool_run.h"

#include <stdio.h>

#include "app/render.h"
#include "app/site.h"
#include "base/log.h"
#include "base/metrics.h"
#include "base/schema.h"
#include "base/stamp.h"

#define TICK_MS 250
#define RESULT_DEPTH 32  /* of a result that stays JSON: it has to stand inside of messages */
#define PIECE (64 << 10) /* more than fetch hands out at once */
#define NOTE "\n[cut: %zu of %zu bytes]"
#define NOTE_SIZE 64

/* One tool of a set. */
struct entry {
	const struct tool_builtin *builtin; /* NULL: the site's own */
	struct tool tool;
};

struct tool_set {
	struct llm_tool *list; /* beside entries */
	struct entry *entries;
	size_t n;
	struct bytes site_name;
	uint64_t n_calls; /* made so far */
};

/* One call. */
struct call_run {
	struct tool_outcome out;
	const struct entry *entry;
	struct bytes arguments; /* checked; no bytes: the call came to nothing before it was made */
	bool is_done;
	/* Of a site's tool. */
	struct fetch_job *job;
	struct arena *scratch; /* of the answer as it comes, up to when it is settled: a turn has room for what the model is given, and no more */
	struct buf answer;
	int64_t limit;
	uint64_t number;
	char id[IDENT_SIZE], signatures[40 + 2 * WEBHOOK_SIGNATURE_SIZE];
	const char *headers[6];
};

/* The calls of one answer. */
struct batch {
	struct task *task;
	struct app *app;
	struct tool_set *set;
	const struct tool_env *env;
	struct call_run *calls;
	size_t n;
	struct call_run **posted; /* those of the site's tools, beside their jobs */
};

/* ---- the tools of an agent ---- */

static void note_missing(struct task *t, const struct agent *agent, struct bytes name, const char *why)
{
	log_warn(t, "tool_left_out", { "agent", arena_copy(t->arena, agent->name.p, agent->name.n), 0 }, { "tool", field_shown_name(t, name), 0 },
		 { "why", why, 0 });
}

static void add_entry(struct tool_set *set, const struct entry *e, struct llm_tool shown)
{
	set->entries[set->n] = *e;
	set->list[set->n++] = shown;
}

/* Adds the tool of this name, if there is one. */
static void add_tool(struct task *t, struct tool_set *set, const struct agent *agent, struct bytes name, const struct tool *tools, size_t n)
{
	const struct tool_builtin *b = tool_find_builtin(name);
	if (b) {
		add_entry(set, &(struct entry){ .builtin = b }, (struct llm_tool){ name, bytes_of(b->description), bytes_of(b->parameters) });
		return;
	}
	for (size_t i = 0; i < n; i++) {
		if (!bytes_equal(tools[i].name, name))
			continue;
		if (tools[i].parameters.p)
			add_entry(set, &(struct entry){ .tool = tools[i] }, (struct llm_tool){ name, tools[i].description, tools[i].parameters });
		else
			note_missing(t, agent, name, "its record cannot be read");
		return;
	}
	note_missing(t, agent, name, "the site has none of this name");
}

enum err tool_set_open(struct task *t, struct app *app, const struct ident *site, const struct agent *agent, struct tool_set **set_r)
{
	struct tool_set *set = arena_alloc(t->arena, sizeof *set);
	struct bytes names = render_is_sound(t, agent->tools, JSONX_ARRAY) ? agent->tools : BYTES("[]");
	struct jsonx_walk w;
	struct site s;
	struct tool *tools;
	size_t n, n_names = 0;
	jsonx_walk_begin(&w, names);
	while (jsonx_walk_next(&w))
		n_names++;
	*set_r = set;
	if (n_names == 0)
		return ERR_OK;
	set->list = arena_array(t->arena, n_names, sizeof *set->list);
	set->entries = arena_array(t->arena, n_names, sizeof *set->entries);
	enum err e = site_find(t, app, site, &s);
	if (!e)
		e = tool_list_named(t, app, NULL, site, names, &tools, &n);
	if (e)
		return e;
	set->site_name = s.name;
	jsonx_walk_begin(&w, names);
	while (jsonx_walk_next(&w))
		add_tool(t, set, agent, jsonx_string(t->arena, w.value), tools, n);
	return ERR_OK;
}

const struct llm_tool *tool_set_list(const struct tool_set *set, size_t *n_r)
{
	*n_r = set->n;
	return set->list;
}

/* ---- what came of a call ---- */

/* The beginning of a text, cut between characters, and a note that says so; at most `max` bytes. */
static struct bytes cut(struct arena *a, struct bytes text, size_t max)
{
	struct buf b;
	size_t n = max - NOTE_SIZE;
	while (n > 0 && ((unsigned char)text.p[n] & 0xc0) == 0x80)
		n--;
	buf_init(&b, a, max);
	buf_add(&b, text.p, n);
	buf_addf(&b, NOTE, n, text.n);
	return buf_bytes(&b);
}

/* Checked JSON without blanks and lines' ends between its parts. */
static struct bytes compact(struct arena *a, struct bytes json)
{
	char *out = arena_alloc(a, json.n + 1);
	size_t n = 0;
	bool is_text = false;
	for (size_t i = 0; i < json.n; i++) {
		char byte = json.p[i];
		if (!is_text && strchr(" \t\r\n", byte))
			continue;
		out[n++] = byte;
		if (is_text && byte == '\\')
			out[n++] = json.p[++i];
		else if (byte == '"')
			is_text = !is_text;
	}
	return (struct bytes){ out, n };
}

static struct arena *scratch_of(struct call_run *c)
{
	if (!c->scratch)
		c->scratch = arena_open(4096);
	return c->scratch;
}

/* Puts the result in place, no longer than a model is given. */
static void set_result(struct batch *b, struct call_run *c, struct bytes json)
{
	size_t max = (size_t)b->app->conf->tool_max_bytes;
	struct arena *a = scratch_of(c);
	json = compact(a, json);
	if (json.n > max) {
		struct bytes text = jsonx_type(json) == JSONX_STRING ? jsonx_string(a, json) : json;
		json = text.n > max ? buf_quote(a, cut(a, text, max)) : json;
	}
	c->out.result = arena_bytes(b->task->arena, json);
}

__attribute__((format(printf, 3, 4))) static void set_failure(struct batch *b, struct call_run *c, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	const char *text = arena_vprintf(b->task->arena, fmt, ap);
	va_end(ap);
	set_result(b, c, buf_quote(b->task->arena, bytes_of(arena_printf(b->task->arena, "Error: %s", text))));
	c->out.is_error = true;
}

/* A call has ended. */
static enum err settle(struct batch *b, struct call_run *c)
{
	c->is_done = true;
	arena_close(&c->scratch);
	metric_add(METRIC_tool_calls_total, 1);
	metric_add(METRIC_tool_failures_total, c->out.is_error);
	if (c->arguments.p)
		metric_observe(METRIC_tool_seconds, c->out.duration_ms * 1000);
	return b->env->on_outcome ? b->env->on_outcome(b->env->arg, &c->out) : ERR_OK;
}

/* ---- what a call must be before it is made ---- */

static void refuse_unknown(struct batch *b, struct call_run *c)
{
	struct buf names;
	buf_init(&names, b->task->arena, 256);
	for (size_t i = 0; i < b->set->n; i++) {
		buf_add_str(&names, i ? ", " : "");
		buf_add_bytes(&names, b->set->list[i].name);
	}
	set_failure(b, c, "there is no tool named \"%s\". The tools are: %s", field_shown_name(b->task, c->out.name), names.n ? names.p : "none");
}

static void refuse_arguments(struct batch *b, struct call_run *c, const char *const *problems, size_t n)
{
	struct buf text;
	buf_init(&text, b->task->arena, 512);
	for (size_t i = 0; i < n; i++)
		buf_addf(&text, "\n%s", problems[i]);
	set_failure(b, c, "the arguments do not match the parameters of the tool, so it was not called.%s", text.p);
}

static bool check_arguments(struct batch *b, struct call_run *c, struct bytes arguments, struct bytes parameters)
{
	const struct schema *s;
	struct schema_flaw unsound;
	struct jsonx_flaw flaw;
	const char *problems[SCHEMA_PROBLEMS];
	if (!jsonx_check_strict(b->task->arena, arguments, &flaw)) {
		set_failure(b, c, "the arguments are not JSON: %s, at byte %zu. The tool was not called.", flaw.reason, flaw.offset);
		return false;
	}
	if (!schema_parse(b->task->arena, parameters, &s, &unsound)) {
		log_error(b->task, "tool_unsound", { "place", unsound.place, 0 }, { "why", unsound.reason, 0 });
		set_failure(b, c, "the tool cannot be called");
		return false;
	}
	size_t n = schema_check(b->task->arena, s, arguments, problems);
	if (n)
		refuse_arguments(b, c, problems, n);
	return n == 0;
}

static struct bytes text_member(struct task *t, struct bytes object, const char *name)
{
	struct bytes raw = jsonx_member(object, name);
	return jsonx_type(raw) == JSONX_STRING ? jsonx_string(t->arena, raw) : BYTES("");
}

/* Reads one call and decides whether it can be made. */
static void prepare(struct batch *b, struct call_run *c, struct bytes json, bool is_too_many)
{
	struct bytes raw = jsonx_member(json, "arguments"), arguments = raw;
	size_t i = 0;
	c->number = b->set->n_calls++;
	c->out.id = text_member(b->task, json, "id");
	c->out.name = text_member(b->task, json, "name");
	while (i < b->set->n && !bytes_equal(b->set->list[i].name, c->out.name))
		i++;
	if (jsonx_type(raw) == JSONX_STRING)
		arguments = jsonx_string(b->task->arena, raw);
	if (arguments.n == 0) /* what models write for none */
		arguments = BYTES("{}");
	if (is_too_many)
		set_failure(b, c, "too many calls at once: at most %d are made", TOOL_CALLS_MAX);
	else if (i == b->set->n)
		refuse_unknown(b, c);
	else if (check_arguments(b, c, arguments, b->set->list[i].parameters)) {
		c->entry = &b->set->entries[i];
		c->arguments = arguments;
	}
}

/* ---- built-in tools ---- */

static enum err run_builtin(struct batch *b, struct call_run *c)
{
	struct task *t = b->task;
	struct bytes result = BYTES("null");
	int64_t began = stamp_mono_ms();
	enum err e = c->entry->builtin->call(t, b->app, b->env, c->arguments, &result);
	c->out.duration_ms = stamp_mono_ms() - began;
	if (e == ERR_CANCELLED)
		return e;
	if (e) {
		log_warn(t, "tool_failed", { "tool", c->entry->builtin->name, 0 }, { "code", err_code(e), 0 }, { "detail", t->fault.internal, 0 });
		set_failure(b, c, "%s", t->fault.detail ? t->fault.detail : "the tool failed");
		task_clear_fault(t);
	} else {
		set_result(b, c, result);
	}
	return settle(b, c);
}

/* ---- the site's tools ---- */

static enum err on_status(void *arg, int status, int retry_after_s)
{
	struct call_run *c = arg;
	(void)retry_after_s;
	if (status / 100 == 2)
		return ERR_OK;
	return task_fail(&c->job->task, ERR_PROVIDER_FAILED, "the tool answered with status %d", status);
}

static enum err on_body(void *arg, struct bytes piece)
{
	struct call_run *c = arg;
	if ((int64_t)(c->answer.n + piece.n) > c->limit)
		return task_fail(&c->job->task, ERR_TOO_LARGE, "the tool's answer has more than %lld bytes", (long long)c->limit);
	if (!c->answer.arena)
		buf_init(&c->answer, scratch_of(c), 0);
	buf_add_bytes(&c->answer, piece);
	return ERR_OK;
}

/* How deeply a checked JSON text is nested. */
static int depth_of(struct bytes json)
{
	int depth = 0, deepest = 0;
	bool is_text = false;
	for (size_t i = 0; i < json.n; i++) {
		char b = json.p[i];
		if (is_text && b == '\\')
			i++;
		else if (b == '"')
			is_text = !is_text;
		else if (!is_text && (b == '{' || b == '['))
			deepest = ++depth > deepest ? depth : deepest;
		else if (!is_text && (b == '}' || b == ']'))
			depth--;
	}
	return deepest;
}

/* The answer is JSON, or a text, which becomes a JSON string. */
static void read_answer(struct batch *b, struct call_run *c)
{
	struct bytes answer = buf_bytes(&c->answer), text;
	struct arena *a = scratch_of(c);
	struct jsonx_flaw flaw;
	if (answer.n == 0) {
		set_result(b, c, BYTES("null"));
	} else if (jsonx_check_strict(a, answer, &flaw) && depth_of(answer) <= RESULT_DEPTH) {
		set_result(b, c, answer);
	} else {
		text = buf_quote(a, answer);
		if (jsonx_check_strict(a, text, &flaw))
			set_result(b, c, text);
		else
			set_failure(b, c, "the tool's answer is neither JSON nor text");
	}
}

static const char *failure_text(const struct fetch_job *job)
{
	switch (job->result) {
	case ERR_PROVIDER_TIMEOUT:
		return "the tool did not answer in time";
	case ERR_PROVIDER_CUT:
		return "the tool's answer broke off";
	case ERR_PROVIDER_INVALID:
		return "the tool's answer made no sense";
	case ERR_PROVIDER_FAILED: /* these two are ours, from above */
	case ERR_TOO_LARGE:
		return job->task.fault.detail;
	default:
		return "the tool cannot be reached";
	}
}

static enum err on_end(void *arg, size_t i)
{
	struct batch *b = arg;
	struct call_run *c = b->posted[i];
	const struct fault *f = &c->job->task.fault;
	c->out.duration_ms = c->job->duration_ms;
	if (c->job->result == ERR_OK) {
		read_answer(b, c);
	} else {
		log_warn(b->task, "tool_failed", { "tool", arena_copy(b->task->arena, c->out.name.p, c->out.name.n), 0 },
			 { "code", err_code(c->job->result), 0 }, { "detail", f->internal ? f->internal : f->detail, 0 });
		set_failure(b, c, "%s", failure_text(c->job));
	}
	return settle(b, c);
}

static enum err on_tick(void *arg)
{
	const struct tool_env *env = ((const struct batch *)arg)->env;
	return env->on_tick ? env->on_tick(env->arg) : ERR_OK;
}

/* The same for the same call of the same turn, so that a site can tell one that it had; no dot is in it. */
static void make_id(const struct batch *b, struct call_run *c)
{
	const struct bytes parts[] = { BYTES("tool call"), { (const char *)b->env->turn->b, sizeof b->env->turn->b },
				       { (const char *)&c->number, sizeof c->number }, c->out.id };
	struct ident id = secret_ident(parts, COUNT(parts));
	ident_format("call_", &id, c->id);
}

static struct bytes format_body(const struct batch *b, const struct call_run *c)
{
	const struct tool_env *env = b->env;
	struct buf body;
	buf_init(&body, b->task->arena, c->arguments.n + 512);
	buf_add_char(&body, '{');
	buf_member_str(&body, "type", "tool_call");
	buf_member_string(&body, "tool", c->out.name);
	buf_member_json(&body, "arguments", c->arguments);
	buf_member_string(&body, "call_id", c->out.id);
	buf_member_string(&body, "site", b->set->site_name);
	if (env->session_id.p)
		buf_member_string(&body, "session_id", env->session_id);
	else
		render_ident(&body, "session_id", PREFIX_SESSION, env->session);
	if (env->conversation)
		render_ident(&body, "conversation_id", PREFIX_CONVERSATION, env->conversation);
	render_ident(&body, "turn_id", PREFIX_TURN, env->turn);
	buf_member_string(&body, "user", env->user);
	buf_member_string(&body, "agent", env->agent);
	buf_add_char(&body, '}');
	return buf_bytes(&body);
}

/* Signs with the tool's key and, while it has not been the only one for ever, with the one before. */
static void sign(const struct batch *b, struct call_run *c, struct bytes body)
{
	const struct tool *tool = &c->entry->tool;
	int64_t now = stamp_now() / 1000;
	char *at = c->signatures;
	at += sprintf(at, "webhook-signature:");
	for (int64_t g = tool->generation; g > 0 && g > tool->generation - 2; g--) {
		unsigned char key[WEBHOOK_KEY_SIZE];
		tool_derive_key(b->app, &tool->site, &tool->id, g, key);
		*at++ = ' ';
		webhook_sign(key, bytes_of(c->id), now, body, at);
		at += strlen(at);
		secret_wipe(key, sizeof key);
	}
	c->headers[0] = "Content-Type: application/json";
	c->headers[1] = "User-Agent: parley";
	c->headers[2] = arena_printf(b->task->arena, "webhook-id: %s", c->id);
	c->headers[3] = arena_printf(b->task->arena, "webhook-timestamp: %lld", (long long)now);
	c->headers[4] = c->signatures;
}

/* It may have waited for others: sites refuse what was signed long ago. */
static void on_begin(void *arg, size_t i)
{
	const struct batch *b = arg;
	sign(b, b->posted[i], b->posted[i]->job->request.body);
}

static int64_t lesser(int64_t own, int64_t limit)
{
	return own > 0 && own < limit ? own : limit;
}

static void make_job(struct batch *b, struct call_run *c, struct fetch_job *job)
{
	const struct conf *conf = b->app->conf;
	const struct tool *tool = &c->entry->tool;
	int timeout = (int)lesser(tool->timeout_ms, conf->tool_timeout);
	struct bytes body = format_body(b, c);
	make_id(b, c);
	c->job = job;
	c->limit = tool->max_bytes > 0 ? tool->max_bytes : conf->tool_max_bytes;
	*job = (struct fetch_job){
		.conf = { .connect_timeout_ms = (int)lesser(conf->provider_connect_timeout, timeout), .idle_timeout_ms = timeout,
			  .total_timeout_ms = timeout, .max_bytes = c->limit + PIECE, .allow_hosts = conf->tool_allow_hosts },
		.request = { .method = "POST", .url = arena_copy(b->task->arena, tool->url.p, tool->url.n), .headers = c->headers, .body = body, .client_fd = -1 },
		.events = { .arg = c, .on_status = on_status, .on_body = on_body },
	};
}

/* Makes the calls that are left: those of the site's tools. */
static enum err post_all(struct batch *b)
{
	const struct tool_env *env = b->env;
	struct fetch_job *jobs = arena_array(b->task->arena, b->n, sizeof *jobs);
	size_t n = 0;
	b->posted = arena_array(b->task->arena, b->n, sizeof(struct call_run *));
	for (size_t i = 0; i < b->n; i++) {
		if (b->calls[i].is_done)
			continue;
		b->posted[n] = &b->calls[i];
		make_job(b, &b->calls[i], &jobs[n++]);
	}
	struct fetch_watch watch = { .at_once = (size_t)b->app->conf->tool_parallel, .client_fd = env->client_fd, .deadline = env->deadline,
				     .tick_ms = TICK_MS, .on_begin = on_begin, .on_tick = on_tick, .on_end = on_end, .arg = b };
	return fetch_run_all(b->task, &watch, jobs, n);
}

enum err tool_call_all(struct task *t, struct app *app, struct tool_set *set, const struct tool_env *env, struct bytes calls,
		       struct tool_outcome **outcomes_r, size_t *n_r)
{
	struct batch b = { .task = t, .app = app, .set = set, .env = env };
	struct jsonx_walk w;
	enum err e = ERR_OK;
	jsonx_walk_begin(&w, calls);
	while (jsonx_walk_next(&w))
		b.n++;
	b.calls = arena_array(t->arena, b.n, sizeof *b.calls);
	jsonx_walk_begin(&w, calls);
	for (size_t i = 0; jsonx_walk_next(&w); i++)
		prepare(&b, &b.calls[i], w.value, i >= TOOL_CALLS_MAX);
	for (size_t i = 0; i < b.n && !e; i++) {
		struct call_run *c = &b.calls[i];
		if (!c->entry)
			e = settle(&b, c);
		else if (c->entry->builtin)
			e = run_builtin(&b, c);
	}
	if (!e)
		e = post_all(&b);
	*outcomes_r = arena_array(t->arena, b.n, sizeof **outcomes_r);
	*n_r = b.n;
	for (size_t i = 0; i < b.n; i++) {
		arena_close(&b.calls[i].scratch); /* of one that was cancelled */
		(*outcomes_r)[i] = b.calls[i].out;
	}
	return e;
}

const struct feature tool_run_feature = { .name = "tool_run" };
