/* SPDX-License-Identifier: MIT */
/* test_chat: the parts of `parley chat` that need no server: what a typed line means, and what is shown of a turn. OPS-7 */
#include <criterion/criterion.h>
#include <stdlib.h>

#include "base/jsonx.h"
#include "main/chat_line.h"
#include "main/chat_view.h"
#include "main/terminal.h"

static struct arena *arena;
static struct task task;

/* A view that writes into memory. */
static struct {
	struct chat_view view;
	char *out, *notes;
	size_t out_n, notes_n;
} it;

static void begin(void)
{
	terminal_init();
	arena = arena_open(0);
	task_init(&task, arena);
	it.view = (struct chat_view){ .out = open_memstream(&it.out, &it.out_n), .notes = open_memstream(&it.notes, &it.notes_n) };
	chat_view_begin(&it.view, arena);
}

static void end(void)
{
	fclose(it.view.out);
	fclose(it.view.notes);
	free(it.out);
	free(it.notes);
	arena_close(&arena);
}

TestSuite(chat_line, .init = begin, .fini = end);
TestSuite(chat_view, .init = begin, .fini = end);

/* ---- lines ---- */

static struct chat_line parsed(const char *text)
{
	struct chat_line line;
	enum err e = chat_line_parse(&task, bytes_of(text), &line);
	cr_assert_eq(e, ERR_OK, "%s: %s", text, task.fault.detail);
	return line;
}

Test(chat_line, what_does_not_begin_with_a_slash_is_said)
{
	static const struct {
		const char *text, *said;
	} cases[] = { { "hello", "hello" }, { "  a b \r\n", "a b" }, { "//etc/passwd", "/etc/passwd" }, { "a\n/new", "a\n/new" }, { "///", "//" }, { "1/2", "1/2" } };
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct chat_line line = parsed(cases[i].text);
		cr_assert_eq(line.verb, CHAT_SAY);
		cr_assert(bytes_equal(line.text, bytes_of(cases[i].said)), "%s: %.*s", cases[i].text, (int)line.text.n, line.text.p);
	}
	cr_assert_eq(parsed("").verb, CHAT_NOTHING);
	cr_assert_eq(parsed(" \t\r\n").verb, CHAT_NOTHING);
}

Test(chat_line, commands_have_their_numbers)
{
	cr_assert_eq(parsed("/new").verb, CHAT_NEW);
	cr_assert_eq(parsed(" /clear ").verb, CHAT_CLEAR);
	cr_assert_eq(parsed("/count").verb, CHAT_COUNT);
	cr_assert_eq(parsed("/regenerate").verb, CHAT_REGENERATE);
	cr_assert_eq(parsed("/usage").verb, CHAT_USAGE);
	cr_assert_eq(parsed("/help").verb, CHAT_HELP);
	cr_assert_eq(parsed("/exit").verb, CHAT_EXIT);
	cr_assert_eq(parsed("/quit").verb, CHAT_EXIT);
	cr_assert_eq(parsed("/branch").number, -1);
	cr_assert_eq(parsed("/branch 0").number, 0);
	cr_assert_eq(parsed("/branch\t12 ").number, 12);
	cr_assert_eq(parsed("/history").number, CHAT_HISTORY);
	cr_assert_eq(parsed("/history 100").number, 100);
}

Test(chat_line, whatever_else_begins_with_a_slash_is_refused)
{
	static const char *const bad[] = { "/", "/ new", "/nope", "/New", "/newer", "/new 1", "/exit now", "/branch -1", "/branch x", "/branch 1 2", "/branch 9999999999999999999",
					   "/history 0", "/history 101", "/history 1.5", "/history +5" };
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		struct chat_line line;
		task_clear_fault(&task);
		cr_assert_eq(chat_line_parse(&task, bytes_of(bad[i]), &line), ERR_USAGE, "%s", bad[i]);
		cr_assert(task.fault.detail);
	}
}

/* ---- the view ---- */

static void show(const char *name, const char *data)
{
	struct jsonx_flaw flaw;
	cr_assert(jsonx_check(arena, bytes_of(data), &flaw), "%s: %s", data, flaw.reason);
	chat_view_event(&it.view, &(struct chat_event){ bytes_of(name), bytes_of(data), { NULL, 0 } });
}

#define must_show(wanted_out, wanted_notes)                                                                            \
	do {                                                                                                           \
		chat_view_end(&it.view);                                                                               \
		fflush(it.view.out);                                                                                   \
		fflush(it.view.notes);                                                                                 \
		cr_assert_str_eq(it.out, (wanted_out));                                                                \
		cr_assert_str_eq(it.notes, (wanted_notes));                                                            \
	} while (0)

Test(chat_view, text_comes_as_it_is_and_done_adds_what_is_missing)
{
	show("turn", "{\"session_id\":\"s\",\"turn_id\":\"t\"}");
	show("delta", "{\"text\":\"Gr\\u00fc\"}");
	show("delta", "{\"text\":\"\xc3\x9f \\n\\tdich\"}");
	show("done", "{\"result\":\"Gr\xc3\xbc\xc3\x9f \\n\\tdich!\",\"finish\":\"stop\",\"usage\":{\"input_tokens\":3,\"output_tokens\":2,\"cost\":0.5}}");
	cr_assert_eq(it.view.turns, 1);
	cr_assert_eq(it.view.input_tokens, 3);
	cr_assert_eq(it.view.output_tokens, 2);
	cr_assert(it.view.cost == 0.5);
	must_show("Gr\xc3\xbc\xc3\x9f \n\tdich!\n", "");
}

Test(chat_view, no_text_of_a_model_acts_on_the_terminal)
{
	show("delta", "{\"text\":\"a\\u001b[31mb\\u0007c\\u009bd\\r\\ne\\u202ef\\u0000\"}");
	show("step", "{\"text\":\"a\\u001b[31mb\\u0007c\\u009bd\\r\\ne\\u202ef\\u0000\",\"tool_calls\":[{\"id\":\"1\",\"name\":\"\\u001bc\",\"arguments\":\"{\\\"a\\\":\\\"\\u001b]0;x\\\"}\"}]}");
	show("tool", "{\"name\":\"look\",\"result\":\"line\\n\\u001b[2J\",\"is_error\":true,\"duration_ms\":7}");
	show("reset", "{\"reason\":\"\\u001b[1m\"}");
	show("broken", "{\"detail\":\"\\u001b[1m\"}");
	must_show("a\xef\xbf\xbd[31mb\xef\xbf\xbd" "c\xef\xbf\xbd" "d\ne\xef\xbf\xbd" "f\xef\xbf\xbd\n",
		  "-> \xef\xbf\xbd" "c {\"a\":\"\xef\xbf\xbd]0;x\"}\n<- look failed: line \xef\xbf\xbd[2J (7 ms)\n[\xef\xbf\xbd[1m; taking it up again]\n");
}

Test(chat_view, a_reset_begins_anew_visibly)
{
	show("delta", "{\"text\":\"one\"}");
	show("reset", "{\"reason\":\"failover\"}");
	show("delta", "{\"text\":\"tw\"}");
	show("reset", "{\"reason\":\"a new word\"}");
	show("delta", "{\"text\":\"two\"}");
	show("done", "{\"result\":\"two\",\"finish\":\"length\"}");
	must_show("one\ntw\ntwo\n", "[the answer begins anew: another provider is asked]\n[the answer begins anew: a new word]\n[cut off at the agent's limit of length]\n");
}

Test(chat_view, an_answer_that_is_not_what_was_shown_is_shown_whole)
{
	show("delta", "{\"text\":\"one\"}");
	show("done", "{\"result\":\"other\",\"finish\":\"cancelled\"}");
	must_show("one\nother\n", "[the answer begins anew]\n[stopped]\n");
}

Test(chat_view, the_text_of_a_step_is_shown_once)
{
	show("delta", "{\"text\":\"Let me\"}");
	show("step", "{\"index\":0,\"text\":\"Let me look.\",\"tool_calls\":[{\"id\":\"1\",\"name\":\"look\",\"arguments\":{\"q\":1}},{\"id\":\"2\",\"name\":\"see\"}]}");
	show("tool", "{\"index\":0,\"name\":\"look\",\"result\":{\"n\":4},\"is_error\":false,\"duration_ms\":12}");
	show("delta", "{\"text\":\"Four.\"}");
	show("done", "{\"result\":\"Four.\",\"finish\":\"stop\"}");
	must_show("Let me look.\nFour.\n", "-> look {\"q\":1}\n-> see \n<- look {\"n\":4} (12 ms)\n");
}

Test(chat_view, notes_are_dimmed_where_colours_may_be)
{
	it.view.has_colour = true;
	show("queued", "{\"position\":2}");
	must_show("", "\x1b[2m[waiting for the turns before this one: 2]\x1b[0m\n");
}

Test(chat_view, events_of_strange_shapes_do_no_harm)
{
	static const char *const names[] = { "turn", "delta", "reset", "step", "tool", "queued", "broken", "done", "error", "later", "" };
	static const char *const shapes[] = { "{}", "{\"text\":1,\"result\":[],\"reason\":{},\"tool_calls\":{},\"usage\":\"x\",\"position\":\"9\",\"name\":null,\"is_error\":7,\"finish\":3}",
					      "{\"text\":null,\"tool_calls\":[1,\"a\",null,[],{\"name\":4,\"arguments\":null}],\"usage\":{\"input_tokens\":1.5,\"cost\":\"1\"}}" };
	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		for (size_t k = 0; k < sizeof shapes / sizeof *shapes; k++)
			show(names[i], shapes[k]);
	cr_assert_eq(it.view.input_tokens, 0);
}

Test(chat_view, each_event_is_a_line_of_json_for_scripts)
{
	it.view.is_json = true;
	show("delta", "{\"text\":\"a\\nb\"}");
	chat_view_event(&it.view, &(struct chat_event){ BYTES("done"), BYTES("{\n\"result\":\"a\\nb\"}"), BYTES("trn_1:9") });
	task_fail(&task, ERR_INVALID, "no\x1b");
	chat_view_failure(&it.view, &task, ERR_INVALID, &(struct chat_talk){ .code = "turn_running" });
	cr_assert(chat_view_json(&it.view, arena, "count", BYTES("{\"n\":1}")));
	cr_assert(chat_view_json(&it.view, arena, "count", (struct bytes){ NULL, 0 }));
	must_show("{\"event\":\"delta\",\"data\":{\"text\":\"a\\nb\"}}\n{\"event\":\"done\",\"id\":\"trn_1:9\",\"data\":{ \"result\":\"a\\nb\"}}\n"
		  "{\"event\":\"failed\",\"data\":{\"code\":\"turn_running\",\"detail\":\"no\\u001b\"}}\n{\"event\":\"count\",\"data\":{\"n\":1}}\n{\"event\":\"count\",\"data\":null}\n", "");
}

Test(chat_view, a_failure_says_what_one_can_do)
{
	task_fail(&task, ERR_TURN_RUNNING, "another turn\nis running");
	show("delta", "{\"text\":\"half\"}");
	chat_view_failure(&it.view, &task, ERR_TURN_RUNNING, &(struct chat_talk){ .code = "turn_running", .retry_after_s = 3 });
	must_show("half\n", "parley: another turn is running (try again in 3 s); wait until that one has ended, then send it again\n");
}

Test(chat_view, history_is_oldest_first)
{
	chat_view_history(&it.view, arena, BYTES("{\"data\":[{\"seq\":2,\"role\":\"assistant\",\"content\":[{\"type\":\"text\",\"text\":\"x\\ny\"},{\"type\":\"image\"}]},"
						 "{\"seq\":1,\"role\":\"us\\u001ber\",\"content\":\"\\u001b[0m\"},{\"seq\":0,\"role\":\"user\",\"content\":null}]}"));
	must_show("    0  user: (deleted)\n    1  us\xef\xbf\xbd" "er: \xef\xbf\xbd[0m\n    2  assistant: x\n       y[image]\n", "");
}
