/* SPDX-License-Identifier: MIT */
/* test_llm: whole calls against the stub provider; skipped where node is absent. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/jsonx.h"
#include "base/secret.h"
#include "base/stamp.h"
#include "llm/llm.h"

static struct arena *arena;
static struct task task;
static pid_t stub;
static const char *base_url, *root_url;
static struct buf heard;
static int n_texts, n_ticks;
static int64_t first_text_us;

static void setup(void)
{
	secret_init();
	fetch_init();
	arena = arena_open(4096);
	task_init(&task, arena);
}

static void teardown(void)
{
	if (stub > 0) {
		kill(stub, SIGTERM);
		waitpid(stub, NULL, 0);
		stub = 0;
	}
	arena_close(&arena);
	fetch_cleanup();
}

TestSuite(llm, .init = setup, .fini = teardown, .timeout = 60);

static void exec_stub(const char *script, int out)
{
	int null = open("/dev/null", O_RDWR);

	dup2(null, 0);
	dup2(out, 1);
	dup2(null, 2);
	execlp("node", "node", script, "--port", "0", (char *)NULL);
	_exit(127);
}

/* Starts the stub and reads its port; skips the test without node. */
static void start_stub(void)
{
	const char *root = getenv("srcdir");
	const char *script = arena_printf(arena, "%s/tests/support/stub-provider.mjs", root ? root : ".");
	char line[16] = "";
	int pipes[2];
	ssize_t n;

	if (access(script, R_OK) != 0)
		cr_skip_test("the stub provider is not here");
	cr_assert_eq(pipe(pipes), 0);
	stub = fork();
	if (stub == 0)
		exec_stub(script, pipes[1]);
	close(pipes[1]);
	do
		n = read(pipes[0], line, sizeof(line) - 1);
	while (n < 0 && errno == EINTR);
	close(pipes[0]);
	if (n <= 0)
		cr_skip_test("node is not installed");
	root_url = arena_printf(arena, "http://127.0.0.1:%d", atoi(line));
	base_url = arena_printf(arena, "%s/v1", root_url);
}

static enum err on_text(void *arg, struct bytes text)
{
	(void)arg;
	if (n_texts++ == 0)
		first_text_us = stamp_mono_us();
	buf_add_bytes(&heard, text);
	return ERR_OK;
}

static enum err on_tick(void *arg)
{
	(void)arg;
	n_ticks++;
	return ERR_OK;
}

static const struct llm_events events = { NULL, on_text, on_tick };

static struct fetch_conf conf(void)
{
	return (struct fetch_conf){ .connect_timeout_ms = 3000, .idle_timeout_ms = 5000, .total_timeout_ms = 30000, .max_bytes = 1 << 20,
				    .allow_hosts = "127.0.0.1" };
}

static const char *kind = "openai";

static enum err ask_with(const char *model, const struct fetch_conf *c, int client_fd, int tick_ms, struct llm_result *r)
{
	struct llm_provider p = { kind, base_url, "k-very-secret" };
	struct llm_message m = { BYTES("user"), BYTES("\"Hi \\u4e16\"" ), { 0 } };
	struct llm_request rq = { .model = model, .messages = &m, .n_messages = 1, .temperature = -1 };
	enum err e;

	buf_init(&heard, arena, 64);
	n_texts = n_ticks = 0;
	task_clear_fault(&task);
	e = llm_call(&task, &p, c, &rq, client_fd, tick_ms, &events, r);
	cr_expect_eq(task.fault.code, e, "%s", model);
	cr_expect(bytes_equal(buf_bytes(&heard), r->text), "%s", model);
	cr_expect_not(task.fault.internal && strstr(task.fault.internal, "very-secret"), "%s", task.fault.internal);
	return e;
}

static enum err ask(const char *model, struct llm_result *r)
{
	struct fetch_conf c = conf();

	return ask_with(model, &c, -1, 0, r);
}

static enum err keep_body(void *arg, struct bytes piece)
{
	buf_add_bytes(arg, piece);
	return ERR_OK;
}

/* The stub's statistics, as JSON. */
static struct bytes stats(void)
{
	struct fetch_conf c = conf();
	struct buf *body = arena_alloc(arena, sizeof(*body));
	struct fetch_request rq = { .method = "GET", .url = arena_printf(arena, "%s/stats", root_url), .client_fd = -1 };
	struct fetch_events ev = { body, NULL, keep_body, NULL };

	buf_init(body, arena, 512);
	cr_assert_eq(fetch_run(&task, &c, &rq, &ev), ERR_OK);
	return buf_bytes(body);
}

static int64_t count_of(const char *name)
{
	return jsonx_int(jsonx_member(stats(), name));
}

#define HELLO "Hello from the stub. You said: Hi \xe4\xb8\x96"

Test(llm, kinds_are_known_by_name)
{
	struct llm_provider p = { "other", "http://127.0.0.1/", "" };
	struct llm_request rq = { .model = "m" };
	struct fetch_conf c = conf();
	struct llm_result r;

	cr_expect(llm_is_kind(BYTES("echo")));
	cr_expect(llm_is_kind(BYTES("openai")));
	cr_expect(llm_is_kind(BYTES("anthropic")));
	cr_expect(llm_is_kind(BYTES("gemini")));
	cr_expect_str_eq(llm_default_url(BYTES("anthropic")), "https://api.anthropic.com/v1");
	cr_expect_null(llm_default_url(BYTES("echo")));
	cr_expect_null(llm_default_url(BYTES("open")));
	cr_expect_not(llm_is_kind(BYTES("open")));
	cr_expect_not(llm_is_kind(BYTES("")));
	cr_expect_eq(llm_call(&task, &p, &c, &rq, -1, 0, &events, &r), ERR_PROVIDER_REFUSED);
}

/* TRN-2 */
Test(llm, every_way_to_send_the_same_answer_gives_the_same_text)
{
	static const char *const models[] = { "ok", "bytes", "crlf", "cr", "usage-null", "no-usage", "no-stream", "late-error-after-done", "slow:1" };
	struct llm_result r;

	start_stub();
	for (size_t i = 0; i < sizeof(models) / sizeof(models[0]); i++) {
		enum err e = ask(models[i], &r);

		cr_expect_eq(e, ERR_OK, "%s: %s %s", models[i], err_code(e), task.fault.internal);
		cr_expect(bytes_equal(r.text, BYTES(HELLO)), "%s: %.*s", models[i], (int)r.text.n, r.text.p);
		cr_expect_eq(r.finish, LLM_STOP);
		cr_expect_eq(r.usage.is_known, strcmp(models[i], "no-usage") != 0, "%s", models[i]);
		cr_expect_eq(r.usage.input_tokens, r.usage.is_known ? 11 : 0);
	}
	cr_expect_eq(ask("split-utf8", &r), ERR_OK);
	cr_expect(bytes_equal(r.text, BYTES("Gr\xc3\xbc\xc3\x9f" "e, \xe4\xb8\x96\xe7\x95\x8c \xf0\x9f\x8c\x8d!")));
	cr_expect_eq(ask("tools", &r), ERR_OK);
	cr_expect_eq(r.finish, LLM_TOOL);
	cr_expect(bytes_equal(r.tool_calls, BYTES("[{\"id\":\"call_1\",\"name\":\"get_weather\",\"arguments\":\"{\\\"city\\\":\\\"Boston\\\"}\"},"
						  "{\"id\":\"call_2\",\"name\":\"get_time\",\"arguments\":\"{}\"}]")));
}

Test(llm, the_provider_gets_the_request_and_the_key)
{
	struct llm_result r;
	struct bytes request;

	start_stub();
	cr_assert_eq(ask("ok", &r), ERR_OK);
	request = jsonx_member(stats(), "last_request");
	cr_expect(jsonx_bool(jsonx_member(request, "has_key")));
	cr_expect(jsonx_bool(jsonx_member(request, "stream")));
	cr_expect(bytes_equal(jsonx_member(jsonx_member(request, "headers"), "content-type"), BYTES("\"application/json\"")));
	cr_expect_eq(count_of("requests"), 1);
	cr_expect_eq(count_of("completed"), 1);
}

Test(llm, every_way_to_fail_is_told_apart)
{
	static const struct {
		const char *model;
		enum err e;
		bool has_text;
	} rows[] = {
		{ "cut", ERR_PROVIDER_CUT, true },
		{ "reset", ERR_PROVIDER_CUT, true },
		{ "reset-early", ERR_PROVIDER_CUT, false },
		{ "error-in-stream", ERR_PROVIDER_FAILED, true },
		{ "event-error", ERR_PROVIDER_FAILED, true },
		{ "429", ERR_PROVIDER_RATE, false },
		{ "500", ERR_PROVIDER_FAILED, false },
		{ "400", ERR_PROVIDER_REFUSED, false },
		{ "401", ERR_PROVIDER_REFUSED, false },
		{ "no such model", ERR_PROVIDER_REFUSED, false },
		{ "nonsense", ERR_PROVIDER_INVALID, false },
		{ "html", ERR_PROVIDER_INVALID, false },
		{ "huge", ERR_PROVIDER_INVALID, true },
		{ "hang", ERR_PROVIDER_TIMEOUT, false },
		{ "hang-mid", ERR_PROVIDER_TIMEOUT, true },
	};
	struct fetch_conf c = conf();
	struct llm_result r;

	start_stub();
	c.idle_timeout_ms = 400;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		enum err e = ask_with(rows[i].model, &c, -1, 0, &r);

		cr_expect_eq(e, rows[i].e, "%s: %s: %s", rows[i].model, err_code(e), task.fault.internal);
		cr_expect_eq(r.text.n > 0, rows[i].has_text, "%s", rows[i].model);
		cr_expect_eq(task.fault.retry_after_s, rows[i].e == ERR_PROVIDER_RATE ? 7 : 0, "%s", rows[i].model);
		if (strcmp(rows[i].model, "401") == 0)
			cr_expect(strstr(task.fault.internal, "[key]"), "%s", task.fault.internal);
	}
	cr_expect_eq(count_of("requests"), sizeof(rows) / sizeof(rows[0]), "none was sent twice");
}

Test(llm, a_stream_left_open_after_its_end_is_whole)
{
	struct llm_result r;
	int64_t began, ms;

	start_stub();
	began = stamp_mono_ms();
	cr_expect_eq(ask("open-after-done", &r), ERR_OK);
	ms = stamp_mono_ms() - began;
	cr_expect(bytes_equal(r.text, BYTES(HELLO)));
	cr_expect(r.usage.is_known);
	cr_expect(ms >= 900 && ms < 2500, "%d ms", (int)ms);
	cr_expect_eq(task.fault.code, ERR_OK);
}

Test(llm, ticks_come_as_often_as_asked)
{
	struct fetch_conf c = conf();
	struct llm_result r;
	int64_t began;

	start_stub();
	began = stamp_mono_ms();
	cr_expect_eq(ask_with("slow:60", &c, -1, 100, &r), ERR_OK); /* about 700 ms */
	cr_expect(n_ticks >= 3 && n_ticks <= (stamp_mono_ms() - began) / 100 + 1, "%d ticks", n_ticks);
	began = stamp_mono_ms();
	cr_expect_eq(ask_with("slow:60", &c, -1, 500, &r), ERR_OK);
	cr_expect(n_ticks >= 1 && n_ticks <= (stamp_mono_ms() - began) / 500 + 1, "%d ticks", n_ticks);
	cr_expect_eq(ask_with("slow:30", &c, -1, 0, &r), ERR_OK);
	cr_expect_eq(n_ticks, 0);
}

/* TRN-5 */
Test(llm, a_client_that_hangs_up_stops_the_provider_and_keeps_the_text)
{
	struct fetch_conf c = conf();
	struct llm_result r;
	int pair[2];
	pid_t leaver;
	int64_t began = 0, ms;

	start_stub();
	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	leaver = fork();
	if (leaver == 0) {
		close(pair[0]);
		nanosleep(&(struct timespec){ .tv_nsec = 300000000 }, NULL);
		_exit(0);
	}
	close(pair[1]);
	began = stamp_mono_ms();
	cr_expect_eq(ask_with("slow:100", &c, pair[0], 0, &r), ERR_CANCELLED);
	ms = stamp_mono_ms() - began;
	cr_expect(ms >= 250 && ms < 700, "%d ms", (int)ms);
	cr_expect(r.text.n > 0 && r.text.n < sizeof(HELLO) - 1);
	waitpid(leaver, NULL, 0);
	for (int i = 0; i < 100 && count_of("aborted") == 0; i++)
		nanosleep(&(struct timespec){ .tv_nsec = 10000000 }, NULL);
	cr_expect_eq(count_of("aborted"), 1);
	close(pair[0]);
}

Test(llm, the_first_token_comes_as_soon_as_the_provider_sends_it)
{
	struct llm_result r;
	int64_t worst = 0;

	start_stub();
	for (int i = 0; i < 3; i++) {
		int64_t began = stamp_mono_us();

		cr_assert_eq(ask("slow:40", &r), ERR_OK);
		if (first_text_us - began > worst)
			worst = first_text_us - began;
	}
	/* The stub sends an empty chunk, waits 40 ms, and then the first word; the whole answer takes it ten times as long. */
	cr_expect(worst < 250000, "%d us", (int)worst);
}

/* What asking one model of a kind gives. */
struct expectation {
	const char *kind, *model;
	enum err e;
	const char *text;
};

/* TRN-2 */
Test(llm, the_other_forms_behave_alike)
{
	static const struct expectation rows[] = {
		{ "anthropic", "ok", ERR_OK, HELLO }, { "anthropic", "bytes", ERR_OK, HELLO }, { "anthropic", "crlf", ERR_OK, HELLO },
		{ "anthropic", "cr", ERR_OK, HELLO }, { "anthropic", "unknown", ERR_OK, HELLO }, { "anthropic", "slow:1", ERR_OK, HELLO },
		{ "anthropic", "split-utf8", ERR_OK, "Gr\xc3\xbc\xc3\x9f" "e, \xe4\xb8\x96\xe7\x95\x8c \xf0\x9f\x8c\x8d!" },
		{ "anthropic", "thoughts", ERR_OK, "Thought over." }, { "anthropic", "tools", ERR_OK, "Let me see." },
		{ "anthropic", "cut-tool", ERR_OK, "Let me see." }, { "anthropic", "cut", ERR_PROVIDER_CUT, "Hello from" },
		{ "anthropic", "error-in-stream", ERR_PROVIDER_FAILED, "Hello from" }, { "anthropic", "429", ERR_PROVIDER_RATE, "" },
		{ "anthropic", "529", ERR_PROVIDER_FAILED, "" }, { "anthropic", "400", ERR_PROVIDER_REFUSED, "" },
		{ "anthropic", "401", ERR_PROVIDER_REFUSED, "" }, { "anthropic", "no such model", ERR_PROVIDER_REFUSED, "" },
		{ "gemini", "ok", ERR_OK, HELLO }, { "gemini", "bytes", ERR_OK, HELLO }, { "gemini", "crlf", ERR_OK, HELLO }, { "gemini", "cr", ERR_OK, HELLO },
		{ "gemini", "slow:1", ERR_OK, HELLO },
		{ "gemini", "split-utf8", ERR_OK, "Gr\xc3\xbc\xc3\x9f" "e, \xe4\xb8\x96\xe7\x95\x8c \xf0\x9f\x8c\x8d!" },
		{ "gemini", "thoughts", ERR_OK, "Thought over." }, { "gemini", "tools", ERR_OK, "" }, { "gemini", "cut", ERR_PROVIDER_CUT, "Hello from the" },
		{ "gemini", "error-in-stream", ERR_PROVIDER_FAILED, "Hello from the" }, { "gemini", "blocked", ERR_PROVIDER_REFUSED, "" },
		{ "gemini", "429", ERR_PROVIDER_RATE, "" }, { "gemini", "503", ERR_PROVIDER_FAILED, "" }, { "gemini", "400", ERR_PROVIDER_REFUSED, "" },
		{ "gemini", "no such model", ERR_PROVIDER_REFUSED, "" },
	};
	struct llm_result r;

	start_stub();
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct expectation *x = &rows[i];
		enum err e;

		kind = x->kind;
		e = ask(x->model, &r);
		cr_expect_eq(e, x->e, "%s %s: %s %s", x->kind, x->model, err_code(e), task.fault.internal);
		cr_expect(bytes_equal(r.text, bytes_of(x->text)), "%s %s: %.*s", x->kind, x->model, (int)r.text.n, r.text.p);
		cr_expect_eq(task.fault.retry_after_s, e == ERR_PROVIDER_RATE ? 7 : 0, "%s %s", x->kind, x->model);
		cr_expect_eq(r.parts.n > 0, strcmp(x->model, "thoughts") == 0, "%s %s", x->kind, x->model);
		cr_expect_eq(r.tool_calls.n > 0, strcmp(x->model, "tools") == 0, "%s %s", x->kind, x->model);
		if (e == ERR_OK)
			cr_expect(r.usage.input_tokens == 11 && r.usage.output_tokens == 7, "%s %s", x->kind, x->model);
	}
	cr_expect(jsonx_bool(jsonx_member(jsonx_member(stats(), "last_request"), "has_key")));
	kind = "openai";
}

/* TRN-8: whatever a provider does, it is told what it was, in time, and what was said is kept. */
Test(llm, a_hostile_provider_is_told_apart_in_every_form)
{
	static const char *const kinds[] = { "openai", "anthropic", "gemini" };
	static const struct {
		const char *model;
		enum err e;
		bool has_text;
	} rows[] = {
		{ "cut", ERR_PROVIDER_CUT, true },
		{ "cut-rune", ERR_PROVIDER_CUT, true },
		{ "reset", ERR_PROVIDER_CUT, true },
		{ "reset-early", ERR_PROVIDER_CUT, false },
		{ "error-in-stream", ERR_PROVIDER_FAILED, true },
		{ "nonsense", ERR_PROVIDER_INVALID, false },
		{ "html", ERR_PROVIDER_INVALID, false },
		{ "redirect", ERR_PROVIDER_INVALID, false },
		{ "huge", ERR_PROVIDER_INVALID, true },
		{ "huge-event", ERR_PROVIDER_INVALID, false },
		{ "huge-error", ERR_PROVIDER_FAILED, false },
		{ "429", ERR_PROVIDER_RATE, false },
		{ "400", ERR_PROVIDER_REFUSED, false },
		{ "hang", ERR_PROVIDER_TIMEOUT, false },
		{ "hang-mid", ERR_PROVIDER_TIMEOUT, true },
		{ "drip", ERR_PROVIDER_TIMEOUT, false },
	};
	struct fetch_conf c = conf();
	struct llm_result r;

	start_stub();
	for (size_t i = 0; i < 3 * sizeof(rows) / sizeof(rows[0]); i++) {
		const char *model = rows[i / 3].model;
		int64_t began = stamp_mono_ms();
		enum err e;

		kind = kinds[i % 3];
		c.idle_timeout_ms = strcmp(model, "drip") == 0 ? 5000 : 300;
		c.total_timeout_ms = strcmp(model, "drip") == 0 ? 1500 : 30000;
		e = ask_with(model, &c, -1, 0, &r);
		cr_expect_eq(e, rows[i / 3].e, "%s %s: %s: %s", kind, model, err_code(e), task.fault.internal);
		cr_expect_eq(r.text.n > 0, rows[i / 3].has_text, "%s %s: %.*s", kind, model, (int)r.text.n, r.text.p);
		cr_expect(stamp_mono_ms() - began < 4000, "%s %s", kind, model);
	}
	kind = "openai";
}

/* What other tests count on. */
Test(llm, the_stub_counts_whole_answers_by_what_was_said)
{
	static const char *const kinds[] = { "openai", "anthropic", "gemini" };
	struct bytes mine;
	struct llm_result r;

	start_stub();
	for (size_t i = 0; i < 3; i++) {
		kind = kinds[i];
		cr_expect_eq(ask("flaky:2", &r), ERR_PROVIDER_FAILED);
		cr_expect_eq(ask("flaky:2:429", &r), ERR_PROVIDER_RATE, "each model by itself");
		cr_expect_eq(ask("flaky:2", &r), ERR_PROVIDER_FAILED);
		cr_expect_eq(ask("flaky:2", &r), ERR_OK);
		cr_expect_eq(ask("cut-once", &r), ERR_PROVIDER_CUT);
		cr_expect_gt(r.text.n, 0);
		cr_expect_eq(ask("cut-once", &r), ERR_OK);
		cr_expect_eq(ask("reset-once", &r), ERR_PROVIDER_CUT);
		cr_expect_eq(ask("reset-once", &r), ERR_OK);
		cr_expect_eq(ask("count", &r), ERR_OK);
		cr_expect(bytes_equal(r.text, BYTES("Answer 1 to: Hi \xe4\xb8\x96")));
	}
	mine = jsonx_member(jsonx_member(stats(), "by_key"), "Hi \xe4\xb8\x96");
	cr_expect(bytes_equal(mine, BYTES("{\"requests\":27,\"completed\":12,\"failed\":15,\"aborted\":0}")), "%.*s", (int)mine.n, mine.p);
	kind = "openai";
}

/* ---- tools ---- */

static const struct llm_tool tools[] = {
	{ BYTES("get_weather"), BYTES("Tells the weather"),
	  BYTES("{\"type\":\"object\",\"properties\":{\"city\":{\"type\":\"string\"},\"days\":{\"type\":\"integer\",\"minimum\":2}},\"required\":[\"city\",\"days\"]}") },
	{ BYTES("get_time"), { 0 }, { 0 } },
};

/* A conversation as it grows. */
struct talk {
	struct llm_message messages[64];
	size_t n;
	bool is_text_mode;
	int n_results;
};

static void add(struct talk *k, const char *role, const char *content, const char *extra)
{
	k->messages[k->n++] = (struct llm_message){ bytes_of(role), bytes_of(content), bytes_of(extra) };
}

/* Asks with the tools; the answer is appended as it would be stored. */
static enum err ask_next(struct talk *k, const char *model, struct llm_result *r)
{
	struct llm_provider p = { kind, base_url, "k" };
	struct fetch_conf c = conf();
	struct llm_request rq = { .model = model, .messages = k->messages, .n_messages = k->n, .temperature = -1, .tools = tools, .n_tools = 2,
				  .instructions = BYTES("Be kind."), .is_text_mode = k->is_text_mode };
	struct buf content;
	enum err e;

	buf_init(&heard, arena, 64);
	task_clear_fault(&task);
	e = llm_call(&task, &p, &c, &rq, -1, 0, &events, r);
	cr_expect(bytes_equal(buf_bytes(&heard), r->text), "%s %s", kind, model);
	if (e != ERR_OK)
		return e;
	buf_init(&content, arena, 64);
	buf_add_json(&content, r->text);
	k->messages[k->n] = (struct llm_message){ BYTES("assistant"), r->parts.n > 0 ? r->parts : buf_bytes(&content), { 0 } };
	if (r->tool_calls.n > 0)
		k->messages[k->n].extra = bytes_of(arena_printf(arena, "{\"tool_calls\":%.*s}", (int)r->tool_calls.n, r->tool_calls.p));
	k->n++;
	return ERR_OK;
}

/* Appends a result for each call, every third one an error. */
static void answer_calls(struct talk *k, struct bytes calls)
{
	struct jsonx_walk w;

	jsonx_walk_begin(&w, calls);
	while (jsonx_walk_next(&w)) {
		struct bytes id = jsonx_member(w.value, "id");
		bool is_error = k->n_results % 3 == 2;

		add(k, "tool", arena_printf(arena, "\"result %d\"", k->n_results++),
		    arena_printf(arena, "{\"tool_call_id\":%.*s%s}", (int)id.n, id.p, is_error ? ",\"is_error\":true" : ""));
	}
}

/* A turn of two calls at once, and so many rounds of them. */
static void take_turn(struct talk *k, const char *model, int rounds)
{
	struct llm_result r;
	int first = 0;

	add(k, "user", "\"What now?\"", "");
	for (int i = 0; i < rounds; i++) {
		first = k->n_results;
		cr_assert_eq(ask_next(k, model, &r), ERR_OK, "%s %s: %s", kind, model, task.fault.internal);
		cr_assert_eq(r.finish, LLM_TOOL, "%s %s", kind, model);
		answer_calls(k, r.tool_calls);
		cr_assert_eq(k->n_results, first + 2, "%s %s: %.*s", kind, model, (int)r.tool_calls.n, r.tool_calls.p);
	}
	cr_assert_eq(ask_next(k, model, &r), ERR_OK, "%s %s: %s", kind, model, task.fault.internal);
	cr_expect_eq(r.finish, LLM_STOP);
	cr_expect_eq(r.tool_calls.n, 0);
	if (k->is_text_mode)
		cr_expect(memmem(r.text.p, r.text.n, "\"get_weather\",\"", 14) && !memmem(r.text.p, r.text.n, "thought", 7), "%.*s", (int)r.text.n, r.text.p);
	else
		cr_expect(bytes_equal(r.text, bytes_of(arena_printf(arena, "The tools said: result %d | result %d", first, first + 1))), "%s: %.*s", kind,
			  (int)r.text.n, r.text.p);
}

/* TRN-2, TRN-6 */
Test(llm, a_conversation_with_tools_goes_on_over_all_forms)
{
	static const char *const kinds[] = { "openai", "anthropic", "gemini" };
	struct talk k = { .n = 0 };

	start_stub();
	for (size_t i = 0; i < 9; i++) { /* each form behind each */
		kind = kinds[(i + i / 3) % 3];
		take_turn(&k, i % 2 ? "tool-loop" : "tool-loop:2", i % 2 ? 1 : 2);
	}
	kind = "openai";
}

/* TRN-6 */
Test(llm, a_model_that_only_writes_text_uses_tools_too)
{
	static const char *const kinds[] = { "openai", "anthropic", "gemini" };
	struct talk k = { .n = 0 };

	start_stub();
	for (size_t i = 0; i < 6; i++) { /* and goes on where one that knows tools was, and the other way round */
		kind = kinds[i / 2];
		k.is_text_mode = i % 2 == 0;
		take_turn(&k, k.is_text_mode ? "text-loop:2" : "tool-loop:2", 2);
		if (k.is_text_mode)
			cr_expect_eq(jsonx_member(jsonx_member(stats(), "last_request"), "tools").n, 0);
	}
	kind = "openai";
}

/* TRN-6 */
Test(llm, calls_that_cannot_be_are_passed_on)
{
	static const char *const kinds[] = { "openai", "anthropic" };
	struct llm_result r;

	start_stub();
	for (size_t i = 0; i < 2; i++) {
		struct talk k = { .n = 0 };

		kind = kinds[i];
		add(&k, "user", "\"What now?\"", "");
		cr_assert_eq(ask_next(&k, "tool-bad-args", &r), ERR_OK, "%s", task.fault.internal);
		cr_expect_eq(r.finish, LLM_TOOL);
		cr_expect(memmem(r.tool_calls.p, r.tool_calls.n, "{\\\"a\\\": not JSON", 15), "%.*s", (int)r.tool_calls.n, r.tool_calls.p);
		answer_calls(&k, r.tool_calls);
		cr_assert_eq(ask_next(&k, "tool-unknown", &r), ERR_OK, "the history can be said: %s", task.fault.internal);
	}
	kind = "openai";
}
