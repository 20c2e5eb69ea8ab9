/* SPDX-License-Identifier: MIT */
/* test_cursor: a cursor comes back, for its own list alone. */
#include "app/cursor.h"

#include <criterion/criterion.h>
#include <stdint.h>

#include "base/secret.h"

Test(cursor, comes_back_for_its_list_alone)
{
	static const int64_t times[] = { 0, 1, 1700000000000, INT64_MAX };
	secret_init();
	for (size_t i = 0; i < sizeof times / sizeof times[0]; i++) {
		struct cursor c = { .at = times[i], .id = ident_new() }, back;
		char text[CURSOR_SIZE];
		cursor_format(&c, BYTES("list"), text);
		cr_assert_eq(strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"), strlen(text));
		cr_assert(cursor_parse(bytes_of(text), BYTES("list"), &back));
		cr_assert(back.at == c.at && ident_equal(&back.id, &c.id));
		cr_assert_not(cursor_parse(bytes_of(text), BYTES("lisu"), &back));
		cr_assert_not(cursor_parse(bytes_of(text), BYTES(""), &back));
	}
}

Test(cursor, a_changed_one_is_refused)
{
	struct cursor c = { .at = 1700000000000, .id = ident_new() }, back;
	char text[CURSOR_SIZE];
	secret_init();
	cursor_format(&c, BYTES("list"), text);
	size_t n = strlen(text);
	for (size_t i = 0; i < n; i++) {
		char was = text[i];
		text[i] = was == 'A' ? 'B' : 'A';
		cr_assert_not(cursor_parse(bytes_of(text), BYTES("list"), &back), "%zu", i);
		text[i] = was;
		cr_assert_not(cursor_parse((struct bytes){ text, i }, BYTES("list"), &back), "cut at %zu", i);
	}
	static const char *const bad[] = { "", "=", "AAAA", "a b", "++++", "....................................................................." };
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		cr_assert_not(cursor_parse(bytes_of(bad[i]), BYTES("list"), &back));
	cr_assert_not(cursor_parse((struct bytes){ NULL, 0 }, BYTES("list"), &back));
}
