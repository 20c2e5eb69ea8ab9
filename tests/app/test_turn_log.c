/* SPDX-License-Identifier: MIT */
/* test_turn_log: positions in what a turn has said: where a reader may go on, and what it is given from there (TRN-4). */
#include <criterion/criterion.h>

#include "app/turn_log.h"

struct fixture {
	struct arena *a;
	struct buf b;
};

static struct fixture open_log(void)
{
	struct fixture f = { .a = arena_open(0) };
	buf_init(&f.b, f.a, 0);
	return f;
}

Test(turn_log, reads_text_and_frames_in_their_order)
{
	struct fixture f = open_log();
	struct turn_log_item item;
	buf_add_str(&f.b, "Let me see.");
	turn_log_format(&f.b, "step", BYTES("{\"index\":1}"));
	turn_log_format(&f.b, "tool", BYTES("{}"));
	buf_add_str(&f.b, "Rain.");
	struct bytes log = buf_bytes(&f.b);
	static const char *const wanted[][2] = { { "", "Let me see." }, { "step", "{\"index\":1}" }, { "tool", "{}" }, { "", "Rain." } };
	size_t at = 0, i = 0;
	for (; turn_log_read(log, at, &item); at = item.end, i++) {
		cr_assert_lt(i, 4);
		cr_assert(bytes_equal(item.event, bytes_of(wanted[i][0])), "%zu", i);
		cr_assert(bytes_equal(item.data, bytes_of(wanted[i][1])), "%zu", i);
	}
	cr_assert_eq(i, 4);
	cr_assert_eq(at, log.n);
	cr_assert(bytes_equal(turn_log_text(f.a, log), BYTES("Rain.")));
	cr_assert(!turn_log_is_plain(log));
	cr_assert(turn_log_is_plain(BYTES("Rain.")));
	cr_assert(turn_log_is_plain((struct bytes){ NULL, 0 }));
	arena_close(&f.a);
}

Test(turn_log, a_reader_goes_on_from_between_characters_and_frames_alone)
{
	struct fixture f = open_log();
	buf_add_str(&f.b, "a\xc3\xa9\xf0\x9f\x8c\x8d");
	turn_log_format(&f.b, "reset", BYTES("{}"));
	buf_add_str(&f.b, "b");
	struct bytes log = buf_bytes(&f.b);
	static const bool is_place[] = { 1, 1, 0, 1, 0, 0, 0, 1 };
	for (size_t at = 0; at < sizeof(is_place) / sizeof(is_place[0]); at++)
		cr_assert_eq(turn_log_is_place(log, at), is_place[at], "%zu", at);
	for (size_t at = 8; at < log.n - 1; at++)
		cr_assert(!turn_log_is_place(log, at), "%zu is in the frame", at);
	cr_assert(turn_log_is_place(log, log.n - 1));
	cr_assert(turn_log_is_place(log, log.n));
	cr_assert(!turn_log_is_place(log, log.n + 1));
	cr_assert(turn_log_is_place((struct bytes){ NULL, 0 }, 0));
	arena_close(&f.a);
}

/* A saved log ends where it was saved; a broken one is no reason to read past it. */
Test(turn_log, what_is_cut_off_ends_it)
{
	struct fixture f = open_log();
	struct turn_log_item item;
	buf_add_str(&f.b, "ab");
	turn_log_format(&f.b, "tool", BYTES("{\"result\":\"x\"}"));
	for (size_t n = 3; n < f.b.n; n++) {
		struct bytes cut = { arena_copy(f.a, f.b.p, n), n };
		cr_assert(turn_log_read(cut, 0, &item));
		cr_assert_eq(item.end, 2);
		cr_assert(!turn_log_read(cut, 2, &item), "%zu", n);
		cr_assert(bytes_equal(turn_log_text(f.a, cut), BYTES("ab")));
	}
	cr_assert(!turn_log_read(BYTES("\xff\xff"), 0, &item), "a frame has a name");
	cr_assert(!turn_log_read(BYTES("x"), 7, &item));
	arena_close(&f.a);
}
