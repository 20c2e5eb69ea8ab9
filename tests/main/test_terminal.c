/* SPDX-License-Identifier: MIT */
/* test_terminal: nothing that comes from outside acts on a terminal; tables fit it, whatever is written in them. */
#include <criterion/criterion.h>
#include <stdlib.h>

#include "main/terminal.h"

static struct arena *arena;

static void open_arena(void)
{
	terminal_init();
	arena = arena_open(0);
}

static void close_arena(void)
{
	arena_close(&arena);
}

TestSuite(terminal, .init = open_arena, .fini = close_arena);

#define R "\xef\xbf\xbd"

Test(terminal, text_keeps_no_character_that_a_terminal_acts_on)
{
	static const struct {
		struct bytes text;
		const char *wanted;
	} cases[] = {
		{ { "plain", 5 }, "plain" },
		{ { "a\nb\rc\td", 7 }, "a b c d" },
		{ { "\x1b[31mred\x1b[0m", 12 }, R "[31mred" R "[0m" },
		{ { "\x07\x08\x7f\0x", 5 }, R R R R "x" },
		{ { "\xc2\x9b" "31m", 5 }, R "31m" },                 /* CSI of ISO 6429 */
		{ { "\xc2\x9d" "0;t\xc2\x9c", 7 }, R "0;t" R },         /* OSC and its end */
		{ { "a\xe2\x80\xae" "b", 5 }, "a" R "b" },              /* right-to-left override */
		{ { "\xe2\x81\xa6x\xe2\x81\xa9", 7 }, R "x" R },        /* isolates */
		{ { "\xe2\x80\xa8", 3 }, R },                           /* line separator */
		{ { "\xf3\xa0\x81\x81", 4 }, R },                       /* a tag character */
		{ { "\xff\xfe\xc0\x80", 4 }, R R R R },                 /* no UTF-8 */
		{ { "\xe6\x97", 2 }, R R },                             /* half a character */
		{ { "caf\xc3\xa9 \xe6\x97\xa5 \xf0\x9f\x98\x80", 14 }, "caf\xc3\xa9 \xe6\x97\xa5 \xf0\x9f\x98\x80" },
		{ { "", 0 }, "" },
	};
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct bytes got = terminal_clean(arena, cases[i].text);
		cr_assert(bytes_equal(got, bytes_of(cases[i].wanted)), "%zu: %.*s", i, (int)got.n, got.p);
	}
}

Test(terminal, random_bytes_become_printable_characters)
{
	srand(7);
	for (int round = 0; round < 20000; round++) {
		char raw[40];
		size_t n = (size_t)rand() % sizeof raw;
		for (size_t i = 0; i < n; i++)
			raw[i] = (char)(rand() % 4 ? rand() : rand() % 32);
		struct bytes clean = terminal_clean(arena, (struct bytes){ raw, n });
		for (size_t i = 0; i < clean.n; i++)
			cr_assert((unsigned char)clean.p[i] >= ' ' && clean.p[i] != 0x7f);
		cr_assert(bytes_equal(clean, terminal_clean(arena, clean)), "clean text stays as it is");
		for (size_t columns = 0; columns < 10; columns++)
			cr_assert_leq(terminal_measure(terminal_cut(arena, clean, columns)), columns);
	}
}

Test(terminal, json_stays_the_same_json)
{
	struct bytes raw = BYTES("{\"a\":\"\xc2\x9b" "31m \x7f \xe2\x80\xae \xf3\xa0\x81\x81 \xe6\x97\xa5 caf\xc3\xa9\"}");
	struct bytes got = terminal_clean_json(arena, raw);
	cr_assert_str_eq(got.p, "{\"a\":\"\\u009b31m \\u007f \\u202e \\udb40\\udc41 \xe6\x97\xa5 caf\xc3\xa9\"}");
}

Test(terminal, measures_and_cuts_by_columns)
{
	struct bytes wide = bytes_of("\xe6\x97\xa5\xe6\x9c\xac\xe8\xaa\x9e"); /* three characters of two columns */
	cr_assert_eq(terminal_measure(wide), 6);
	cr_assert_eq(terminal_measure(bytes_of("e\xcc\x81")), 1, "a combining mark takes none");
	cr_assert_str_eq(terminal_cut(arena, wide, 6).p, wide.p);
	cr_assert_str_eq(terminal_cut(arena, wide, 5).p, "\xe6\x97\xa5\xe6\x9c\xac\xe2\x80\xa6");
	cr_assert_str_eq(terminal_cut(arena, wide, 4).p, "\xe6\x97\xa5\xe2\x80\xa6");
	cr_assert_str_eq(terminal_cut(arena, wide, 1).p, "\xe2\x80\xa6");
	cr_assert_eq(terminal_cut(arena, wide, 0).n, 0);
	cr_assert_str_eq(terminal_cut(arena, bytes_of("abc"), 2).p, "a\xe2\x80\xa6");
}

static const struct table_column columns[] = { { "ID", false, false }, { "NAME", false, true }, { "N", true, false }, { "TITLE", false, true } };

/* What a table prints, and the width of its widest line. */
static const char *print(const struct table *t, size_t width, size_t *widest_r)
{
	char *text = NULL;
	size_t n;
	FILE *to = open_memstream(&text, &n);
	table_print(t, to, width);
	fclose(to);
	*widest_r = 0;
	for (char *line = text; *line;) {
		size_t len = strcspn(line, "\n"), wide = terminal_measure((struct bytes){ line, len });
		*widest_r = wide > *widest_r ? wide : *widest_r;
		line += len + (line[len] == '\n');
	}
	const char *kept = arena_strdup(arena, text);
	free(text);
	return kept;
}

Test(terminal, a_table_is_as_wide_as_it_needs_without_a_terminal)
{
	struct table t;
	size_t widest;
	table_init(&t, arena, columns, 4);
	for (const char *const *c = (const char *const[]){ "one", "\xe6\x97\xa5\xe6\x9c\xac", "7", "short", "three", "x\ny", "1234", "", NULL }; *c; c++)
		table_add(&t, bytes_of(*c));
	cr_assert_str_eq(print(&t, 0, &widest), "ID     NAME     N  TITLE\n"
						"one    \xe6\x97\xa5\xe6\x9c\xac     7  short\n"
						"three  x y   1234  \n");
}

Test(terminal, a_table_fits_its_terminal)
{
	struct table t;
	size_t widest;
	table_init(&t, arena, columns, 4);
	for (int i = 0; i < 50; i++) {
		table_add(&t, bytes_of("ses_01jcx3e8q6f0t9v1n4m7r2k5wd"));
		table_add(&t, bytes_of(i % 2 ? "\xe6\x97\xa5\xe6\x9c\xac\xe8\xaa\x9e\xe6\x97\xa5\xe6\x9c\xac\xe8\xaa\x9e\xe6\x97\xa5\xe6\x9c\xac\xe8\xaa\x9e" : "somebody"));
		table_add(&t, bytes_of("12345"));
		table_add(&t, bytes_of("a title that goes on and on and on, further than any terminal reaches, and then some more of it"));
	}
	for (size_t width = 30; width < 250; width += 7) {
		const char *text = print(&t, width, &widest);
		cr_assert_leq(widest, width, "%zu: %s", width, text);
		if (width > 70)
			cr_assert(strstr(text, "ses_01jcx3e8q6f0t9v1n4m7r2k5wd"), "what is not flexible stays whole while there is room");
	}
	print(&t, 1, &widest);
	cr_assert_gt(widest, 1, "no narrower than can be read");
}
