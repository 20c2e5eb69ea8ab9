/* SPDX-License-Identifier: MIT */
/* test_llm_echo: the agent that answers without a network. */
#include <criterion/criterion.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/jsonx.h"
#include "base/stamp.h"
#include "llm/llm.h"

static struct arena *arena;
static struct task task;
static struct buf heard;
static int n_texts, n_ticks;
static enum err fail_text, fail_tick;

static const struct llm_tool tools[] = { { BYTES("add"), BYTES("Adds"), { 0 } }, { BYTES("now"), { 0 }, { 0 } } };
static size_t n_tools;

static void setup(void)
{
	arena = arena_open(4096);
	task_init(&task, arena);
	buf_init(&heard, arena, 64);
	n_texts = n_ticks = 0;
	n_tools = 0;
	fail_text = fail_tick = ERR_OK;
}

static void teardown(void)
{
	arena_close(&arena);
}

TestSuite(llm_echo, .init = setup, .fini = teardown, .timeout = 20);

static enum err on_text(void *arg, struct bytes text)
{
	(void)arg;
	n_texts++;
	buf_add_char(&heard, '|');
	buf_add_bytes(&heard, text);
	return fail_text;
}

static enum err on_tick(void *arg)
{
	(void)arg;
	n_ticks++;
	return fail_tick;
}

static const struct llm_events events = { NULL, on_text, on_tick };

static enum err ask_as(const char *model, const struct llm_message *messages, size_t n, int64_t max, int client_fd, int tick_ms,
		       struct llm_result *result_r)
{
	struct llm_provider p = { .kind = "echo" };
	struct fetch_conf conf = { 0 };
	struct llm_request rq = { .model = model, .instructions = BYTES("Be kind."), .messages = messages, .n_messages = n, .temperature = -1,
				  .max_output_tokens = max, .tools = tools, .n_tools = n_tools };

	return llm_call(&task, &p, &conf, &rq, client_fd, tick_ms, &events, result_r);
}

static struct llm_message user(struct bytes content)
{
	return (struct llm_message){ BYTES("user"), content, { 0 } };
}

static void expect_text(struct bytes content, struct bytes text)
{
	struct llm_message m = user(content);
	struct llm_result r;

	cr_assert_eq(ask_as("any", &m, 1, 0, -1, 0, &r), ERR_OK);
	cr_expect(bytes_equal(r.text, text), "%.*s", (int)r.text.n, r.text.p);
}

/* TRN-2 */
Test(llm_echo, says_the_last_user_message_back_word_by_word)
{
	struct llm_message m[] = { user(BYTES("\"one\"")), user(BYTES("\"two  \\u00fc words\"")),
				   { BYTES("assistant"), BYTES("\"You said: one\""), { 0 } } };
	struct llm_result r;

	cr_assert_eq(ask_as("any", m, 3, 0, -1, 0, &r), ERR_OK);
	cr_expect(bytes_equal(r.text, BYTES("You said: two  \xc3\xbc words")));
	cr_expect(bytes_equal(buf_bytes(&heard), BYTES("|You |said: |two  |\xc3\xbc |words")));
	cr_expect_eq(r.finish, LLM_STOP);
	cr_expect(r.usage.is_known);
	cr_expect_eq(r.usage.input_tokens, 2 + 1 + 3 + 3);
	cr_expect_eq(r.usage.output_tokens, 5);
	cr_expect(bytes_equal(r.model, BYTES("any")));
	cr_expect_eq(r.tool_calls.n, 0);
}

Test(llm_echo, takes_the_text_of_parts_and_nothing_else)
{
	expect_text(BYTES("[{\"type\":\"text\",\"text\":\"a\"},{\"type\":\"image_url\",\"image_url\":{\"url\":\"x\"}},7,\"s\",{\"type\":\"text\",\"text\":\"b\"}]"),
		    BYTES("You said: a\nb"));
	expect_text(BYTES("\"\""), BYTES("You said: "));
	expect_text(BYTES("\"   \""), BYTES("You said:    "));
	expect_text(BYTES("null"), BYTES("You said: "));
	expect_text(BYTES("[]"), BYTES("You said: "));
	expect_text(BYTES("\"a\\u0000b\""), BYTES("You said: a\0b"));
}

Test(llm_echo, answers_where_nobody_spoke)
{
	struct llm_result r;

	cr_assert_eq(ask_as(NULL, NULL, 0, 0, -1, 0, &r), ERR_OK);
	cr_expect(bytes_equal(r.text, BYTES("You said: ")));
	cr_expect(bytes_equal(r.model, BYTES("echo")));
}

Test(llm_echo, stops_at_the_most_tokens_asked_for)
{
	struct llm_message m = user(BYTES("\"a b c d\""));
	struct llm_result r;

	cr_assert_eq(ask_as("any", &m, 1, 4, -1, 0, &r), ERR_OK);
	cr_expect(bytes_equal(r.text, BYTES("You said: a b ")));
	cr_expect_eq(r.finish, LLM_LENGTH);
	cr_expect_eq(r.usage.output_tokens, 4);
	cr_assert_eq(ask_as("any", &m, 1, 6, -1, 0, &r), ERR_OK);
	cr_expect_eq(r.finish, LLM_STOP, "just enough");
}

Test(llm_echo, a_slow_model_takes_its_time_and_ticks)
{
	struct llm_message m = user(BYTES("\"a b\""));
	struct llm_result r;
	int64_t began = stamp_mono_ms(), ms;

	cr_assert_eq(ask_as("slow:40", &m, 1, 0, -1, 10, &r), ERR_OK);
	ms = stamp_mono_ms() - began;
	cr_expect(ms >= 160 && ms < 1500, "%d ms", (int)ms);
	cr_expect(n_ticks >= 8 && n_ticks <= ms / 10 + 1, "%d ticks", n_ticks);
	cr_expect_eq(n_texts, 4);
}

Test(llm_echo, a_callback_ends_the_answer_and_what_was_said_stays)
{
	struct llm_message m = user(BYTES("\"a b\""));
	struct llm_result r;

	fail_text = ERR_BUSY;
	cr_expect_eq(ask_as("any", &m, 1, 0, -1, 0, &r), ERR_BUSY);
	cr_expect(bytes_equal(r.text, BYTES("You ")));
	fail_text = ERR_OK;
	fail_tick = ERR_CONFLICT;
	cr_expect_eq(ask_as("slow:30", &m, 1, 0, -1, 5, &r), ERR_CONFLICT);
	cr_expect_eq(n_ticks, 1);
}

/* TRN-5 */
Test(llm_echo, a_client_that_hangs_up_ends_the_answer)
{
	struct llm_message m = user(BYTES("\"a b\""));
	struct llm_result r;
	int64_t began = stamp_mono_ms();
	int pair[2];

	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	close(pair[1]);
	cr_expect_eq(ask_as("slow:5000", &m, 1, 0, pair[0], 0, &r), ERR_CANCELLED);
	cr_expect(stamp_mono_ms() - began < 4000);
	cr_expect_eq(task.fault.code, ERR_CANCELLED);
	close(pair[0]);
}

/* ---- tools ---- */

/* The calls of an answer, each as "name arguments" and a newline; their ids differ. */
static struct bytes calls_of(const struct llm_result *r)
{
	struct bytes last = { 0 };
	struct jsonx_flaw flaw;
	struct jsonx_walk w;
	struct buf b;

	buf_init(&b, arena, 64);
	if (r->tool_calls.n == 0)
		return buf_bytes(&b);
	cr_assert(jsonx_check_strict(arena, r->tool_calls, &flaw), "%s", flaw.reason);
	jsonx_walk_begin(&w, r->tool_calls);
	while (jsonx_walk_next(&w)) {
		struct bytes id = jsonx_member(w.value, "id");

		cr_expect(id.n > 7 && memcmp(id.p, "\"call_", 6) == 0);
		cr_expect_not(bytes_equal(id, last));
		last = id;
		buf_add_bytes(&b, jsonx_string(arena, jsonx_member(w.value, "name")));
		buf_add_char(&b, ' ');
		buf_add_bytes(&b, jsonx_string(arena, jsonx_member(w.value, "arguments")));
		buf_add_char(&b, '\n');
	}
	return buf_bytes(&b);
}

static void expect_calls(const char *content, const char *calls, const char *text)
{
	struct llm_message m = user(bytes_of(content));
	struct bytes got;
	struct llm_result r;

	cr_assert_eq(ask_as("any", &m, 1, 0, -1, 0, &r), ERR_OK);
	got = calls_of(&r);
	cr_expect(bytes_equal(got, bytes_of(calls)), "%s: %.*s", content, (int)got.n, got.p);
	cr_expect(bytes_equal(r.text, bytes_of(text)), "%s: %.*s", content, (int)r.text.n, r.text.p);
	cr_expect_eq(r.finish, calls[0] ? LLM_TOOL : LLM_STOP);
}

/* TRN-6 */
Test(llm_echo, calls_the_tools_that_the_user_names)
{
	n_tools = 2;
	expect_calls("\"/call add {\\\"a\\\":1, \\\"b\\\":2}\"", "add {\"a\":1, \"b\":2}\n", "");
	expect_calls("\"/call now\"", "now {}\n", "");
	expect_calls("\"/call now  \\r\\n/call add [1\\r\\n\\nLet me see.\"", "now {}\nadd [1\n", "\nLet me see.");
	expect_calls("\"/loop add {}\\n/call now {}\"", "add {}\nnow {}\n", "");
	expect_calls("\"/call other {}\"", "", "You said: /call other {}");
	expect_calls("\"/call other {}\\n/call now\"", "now {}\n", "/call other {}");
	expect_calls("\"/call\"", "", "You said: /call");
	expect_calls("\"please /call now\"", "", "You said: please /call now");
	expect_calls("\"/calls now\"", "", "You said: /calls now");
	n_tools = 0;
	expect_calls("\"/call now\"", "", "You said: /call now");
}

/* TRN-6 */
Test(llm_echo, says_what_the_tools_said)
{
	struct llm_message m[] = { user(BYTES("\"/call add {}\\n/call now\"")), { BYTES("assistant"), BYTES("\"\""), { 0 } },
				   { BYTES("tool"), BYTES("\"three\""), { 0 } }, { BYTES("tool"), BYTES("[{\"type\":\"json\",\"json\":{\"t\":1}}]"), { 0 } },
				   user(BYTES("\"thanks\"")) };
	struct llm_result r;

	n_tools = 2;
	cr_assert_eq(ask_as("any", m, 4, 0, -1, 0, &r), ERR_OK);
	cr_expect(bytes_equal(r.text, BYTES("The tool said: three\nThe tool said: {\"t\":1}")), "%.*s", (int)r.text.n, r.text.p);
	cr_expect_eq(r.finish, LLM_STOP);
	cr_expect_eq(r.tool_calls.n, 0);
	cr_assert_eq(ask_as("any", m, 5, 0, -1, 0, &r), ERR_OK);
	cr_expect(bytes_equal(r.text, BYTES("You said: thanks")));
	m[2].content = BYTES("\"\"");
	cr_assert_eq(ask_as("any", m, 3, 0, -1, 0, &r), ERR_OK);
	cr_expect(bytes_equal(r.text, BYTES("The tool said: ")));
}

Test(llm_echo, a_loop_has_no_end)
{
	struct llm_message m[] = { user(BYTES("\"/loop add {}\\n/call now\"")), { BYTES("assistant"), BYTES("\"\""), { 0 } },
				   { BYTES("tool"), BYTES("\"three\""), { 0 } } };
	struct llm_result r;
	struct bytes got;

	n_tools = 2;
	cr_assert_eq(ask_as("any", m, 3, 0, -1, 0, &r), ERR_OK);
	got = calls_of(&r);
	cr_expect(bytes_equal(got, BYTES("add {}\n")), "%.*s", (int)got.n, got.p);
	cr_expect_eq(r.text.n, 0);
	fail_tick = ERR_CONFLICT;
	cr_expect_eq(ask_as("slow:30", m, 3, 0, -1, 5, &r), ERR_CONFLICT, "it can be stopped");
	cr_expect_eq(r.tool_calls.n, 0);
}
