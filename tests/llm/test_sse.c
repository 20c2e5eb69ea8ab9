/* SPDX-License-Identifier: MIT */
/* test_sse: the same stream in one piece, in every two pieces and byte by byte must give the same events. */
#include <criterion/criterion.h>
#include <stdio.h>

#include "llm/sse.h"

static struct arena *arena;
static struct task task;

static void setup(void)
{
	arena = arena_open(4096);
	task_init(&task, arena);
}

static void teardown(void)
{
	arena_close(&arena);
}

TestSuite(sse, .init = setup, .fini = teardown, .timeout = 20);

static void add_shown(struct buf *out, struct bytes b)
{
	for (size_t i = 0; i < b.n; i++) {
		if (b.p[i] == '\n')
			buf_add_str(out, "\\n");
		else
			buf_add_char(out, b.p[i]);
	}
}

/* Writes name(id)=data; for each event. */
static enum err show(void *arg, const struct sse_event *event)
{
	struct buf *out = arg;

	add_shown(out, event->name);
	buf_add_char(out, '(');
	add_shown(out, event->id);
	buf_add_str(out, ")=");
	add_shown(out, event->data);
	buf_add_char(out, ';');
	return ERR_OK;
}

/* Feeds the stream split at `split`, each half in pieces of `step` bytes. */
static const char *parse(struct bytes in, size_t split, size_t step)
{
	struct buf out;
	struct sse s;

	buf_init(&out, arena, 64);
	buf_add_str(&out, "");
	sse_init(&s, &task, 1000, show, &out);
	for (size_t at = 0; at < in.n;) {
		size_t end = at < split ? split : in.n, n = end - at < step ? end - at : step;
		char *copy = arena_copy(arena, in.p + at, n); /* so that reading past a piece is seen */

		cr_assert_eq(sse_take(&s, (struct bytes){ copy, n }), ERR_OK);
		at += n;
	}
	cr_assert_eq(sse_finish(&s), ERR_OK);
	return arena_copy(arena, out.p ? out.p : "", out.n);
}

static void expect(struct bytes in, const char *events)
{
	cr_expect_str_eq(parse(in, in.n, in.n + 1), events);
	cr_expect_str_eq(parse(in, in.n, 1), events, "byte by byte");
	cr_expect_str_eq(parse(in, in.n, 3), events, "in threes");
	for (size_t i = 0; i <= in.n; i++)
		cr_expect_str_eq(parse(in, i, in.n + 1), events, "split at %zu", i);
}

/* TRN-4 */
Test(sse, line_ends_of_every_kind_give_the_same_events)
{
	expect(BYTES("data: a\n\nevent: x\ndata: b\n\n"), "()=a;x()=b;");
	expect(BYTES("data: a\r\n\r\nevent: x\r\ndata: b\r\n\r\n"), "()=a;x()=b;");
	expect(BYTES("data: a\r\revent: x\rdata: b\r\r"), "()=a;x()=b;");
	expect(BYTES("data: a\r\n\n\revent: x\rdata: b\r\n\n"), "()=a;x()=b;");
}

Test(sse, data_lines_are_joined_and_one_blank_after_the_colon_is_dropped)
{
	expect(BYTES("data: a\ndata:b\ndata:  c \n\n"), "()=a\\nb\\n c ;");
	expect(BYTES("data:\n\n"), "()=;");
	expect(BYTES("data\ndata\n\n"), "()=\\n;");
	expect(BYTES("data: a:b\n\n"), "()=a:b;");
}

Test(sse, comments_and_unknown_fields_are_skipped)
{
	expect(BYTES(": hello\n\n:\n\nretry: 5\nfoo: bar\nfoo\nDATA: x\ndata : y\n data: z\ndata: a\n\n"), "()=a;");
}

Test(sse, an_event_without_data_is_none_and_its_name_is_forgotten)
{
	expect(BYTES("event: x\n\ndata: a\n\n\n\n"), "()=a;");
}

Test(sse, the_last_id_stays_until_another_comes)
{
	expect(BYTES("id: 1\ndata: a\n\ndata: b\n\nid\ndata: c\n\nid: 2\n\ndata: d\n\n"), "(1)=a;(1)=b;()=c;(2)=d;");
	expect(BYTES("id: 1\ndata: a\n\nid: 2\0003\ndata: b\n\n"), "(1)=a;(1)=b;");
}

Test(sse, a_byte_order_mark_is_skipped_at_the_start_alone)
{
	expect(BYTES("\xef\xbb\xbf" "data: a\n\n\xef\xbb\xbf" "data: b\n\ndata: c\n\n"), "()=a;()=c;");
	expect(BYTES("\xef\xbb" "data: a\n\ndata: b\n\n"), "()=b;");
}

Test(sse, characters_split_between_pieces_stay_whole)
{
	expect(BYTES("data: Gr\xc3\xbc\xc3\x9f" "e \xf0\x9f\x8c\x8d\n\n"), "()=Gr\xc3\xbc\xc3\x9f" "e \xf0\x9f\x8c\x8d;");
}

Test(sse, an_event_without_its_blank_line_is_delivered_at_the_end)
{
	expect(BYTES("data: a\n\ndata: b\n"), "()=a;()=b;");
	expect(BYTES("data: a\n\ndata: b"), "()=a;()=b;");
	expect(BYTES("event: x\r\ndata: b\r"), "x()=b;");
	expect(BYTES("event: x"), "");
	expect(BYTES(""), "");
	expect(BYTES("\n\n\r\r\n"), "");
}

static enum err count(void *arg, const struct sse_event *event)
{
	size_t *bytes = arg;

	*bytes += event->data.n;
	return ERR_OK;
}

/* Feeds head, n times 'x', tail. */
static enum err feed(size_t max, const char *head, size_t n, const char *tail, size_t *bytes_r)
{
	struct sse s;
	enum err e;

	*bytes_r = 0;
	sse_init(&s, &task, max, count, bytes_r);
	e = sse_take(&s, bytes_of(head));
	for (size_t i = 0; e == ERR_OK && i < n; i++)
		e = sse_take(&s, BYTES("x"));
	return e == ERR_OK ? sse_take(&s, bytes_of(tail)) : e;
}

Test(sse, an_event_may_have_so_many_bytes_and_no_more)
{
	size_t n;

	cr_expect_eq(feed(100, "data: ", 100, "\n\n", &n), ERR_OK);
	cr_expect_eq(n, 100);
	cr_expect_eq(feed(100, "data: ", 101, "\n\n", &n), ERR_PROVIDER_INVALID);
	cr_expect_eq(n, 0);
	cr_expect_eq(feed(100, "data: ", 49, "\ndata: 12345678901234567890123456789012345678901234567890\n\n", &n), ERR_OK);
	cr_expect_eq(n, 100);
	cr_expect_eq(feed(100, "data: ", 50, "\ndata: 12345678901234567890123456789012345678901234567890\n\n", &n), ERR_PROVIDER_INVALID);
}

Test(sse, a_line_without_an_end_is_refused_in_time)
{
	size_t n;

	cr_expect_eq(feed(100, ":", 1000000, "", &n), ERR_PROVIDER_INVALID);
	cr_expect(arena_used(arena) < 10000, "%zu bytes", arena_used(arena));
}

static enum err refuse(void *arg, const struct sse_event *event)
{
	int *calls = arg;

	(void)event;
	(*calls)++;
	return ERR_CANCELLED;
}

Test(sse, an_error_of_the_callback_ends_the_parse)
{
	struct sse s;
	int calls = 0;

	sse_init(&s, &task, 100, refuse, &calls);
	cr_expect_eq(sse_take(&s, BYTES("data: a\n\ndata: b\n\n")), ERR_CANCELLED);
	cr_expect_eq(calls, 1);
}
