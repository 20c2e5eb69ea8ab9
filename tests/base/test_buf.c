/* SPDX-License-Identifier: MIT */
/* test_buf: bytes are kept over growth; JSON strings are escaped as RFC 8259 says and nothing else is. */
#include <criterion/criterion.h>
#include <json-c/json.h>
#include <stdio.h>

#include "base/buf.h"

static struct arena *a;
static struct buf b;

static void setup(void)
{
	a = arena_open(0);
	buf_init(&b, a, 0);
}

static void teardown(void)
{
	arena_close(&a);
}

TestSuite(buf, .init = setup, .fini = teardown);

Test(buf, an_empty_buffer_is_an_empty_string)
{
	cr_assert_eq(buf_bytes(&b).n, 0);
	cr_assert_str_eq(buf_bytes(&b).p, "");
	buf_add(&b, NULL, 0);
	cr_assert_str_eq(buf_bytes(&b).p, "");
}

Test(buf, content_survives_growth)
{
	for (int i = 0; i < 20000; i++)
		buf_add_char(&b, (char)('a' + i % 26));
	cr_assert_eq(b.n, 20000);
	cr_assert_eq(b.p[20000], '\0');
	for (int i = 0; i < 20000; i++)
		cr_assert_eq(b.p[i], 'a' + i % 26);
}

Test(buf, two_buffers_that_grow_in_turn_do_not_mix)
{
	struct buf c;
	buf_init(&c, a, 10);
	for (int i = 0; i < 5000; i++) {
		buf_add_str(&b, "left");
		buf_add_str(&c, "right");
	}
	for (int i = 0; i < 5000; i++) {
		cr_assert_arr_eq(b.p + i * 4, "left", 4);
		cr_assert_arr_eq(c.p + i * 5, "right", 5);
	}
}

Test(buf, clear_keeps_the_room)
{
	buf_add_str(&b, "something");
	char *p = b.p;
	buf_clear(&b);
	cr_assert_eq(b.n, 0);
	cr_assert_str_eq(b.p, "");
	buf_add_str(&b, "new");
	cr_assert_eq(b.p, p);
	cr_assert_str_eq(b.p, "new");
}

Test(buf, room_is_counted_by_the_caller_and_ended_by_buf_bytes)
{
	buf_add_str(&b, "0123456789");
	buf_clear(&b);
	char *to = buf_room(&b, 3);
	memcpy(to, "abc", 3);
	b.n += 3;
	cr_assert_str_eq(buf_bytes(&b).p, "abc");
	to = buf_room(&b, 100000);
	memset(to, 'x', 100000);
	b.n += 100000;
	cr_assert_eq(strlen(buf_bytes(&b).p), 100003);
}

Test(buf, integers_of_every_size_are_exact)
{
	static const int64_t values[] = { 0, 7, -7, 10, 1234567890, INT64_MAX, INT64_MIN };
	for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
		char expected[32];
		snprintf(expected, sizeof(expected), "%lld", (long long)values[i]);
		buf_clear(&b);
		buf_add_int(&b, values[i]);
		cr_assert_str_eq(b.p, expected);
	}
}

Test(buf, addf_appends_whatever_the_length)
{
	buf_addf(&b, "%d,", 5);
	buf_addf(&b, "%0500d", 1);
	cr_assert_eq(b.n, 502);
	cr_assert_arr_eq(b.p, "5,00", 4);
	cr_assert_eq(b.p[501], '1');
	cr_assert_eq(b.p[502], '\0');
}

Test(buf, json_strings_escape_only_what_they_must)
{
	buf_add_json(&b, BYTES("a\"b\\c/d\b\f\n\r\t\x01\x1f\x7f h\xc3\xa9 \xf0\x9f\x98\x80"));
	cr_assert_str_eq(b.p, "\"a\\\"b\\\\c/d\\b\\f\\n\\r\\t\\u0001\\u001f\x7f h\xc3\xa9 \xf0\x9f\x98\x80\"");
	buf_clear(&b);
	buf_add_json(&b, (struct bytes){ "\0", 1 });
	cr_assert_str_eq(b.p, "\"\\u0000\"");
	buf_clear(&b);
	buf_add_json_str(&b, NULL);
	cr_assert_str_eq(b.p, "null");
	buf_clear(&b);
	buf_add_json(&b, (struct bytes){ NULL, 0 });
	cr_assert_str_eq(b.p, "\"\"");
}

/* Each byte at each place of a word: the scan looks at eight bytes at a time. */
Test(buf, every_byte_at_every_offset_reads_back)
{
	for (int c = 1; c < 256; c++) {
		for (size_t at = 0; at < 20; at++) {
			char text[21];
			memset(text, c % 2 ? 'x' : 0xff, 20);
			text[20] = '\0';
			text[at] = (char)c;
			buf_clear(&b);
			buf_add_json(&b, (struct bytes){ text, 20 });
			struct json_object *o = json_tokener_parse(b.p);
			cr_assert_not_null(o, "byte %d at %zu: %s", c, at, b.p);
			cr_assert_str_eq(json_object_get_string(o), text);
			bool plain = c >= 0x20 && c != '"' && c != '\\';
			cr_assert_eq(b.n == 22, plain, "byte %d at %zu", c, at);
			json_object_put(o);
		}
	}
}

Test(buf, members_are_separated_by_commas)
{
	buf_add_char(&b, '{');
	buf_member_str(&b, "s", "a\"");
	buf_member_string(&b, "n", (struct bytes){ NULL, 0 });
	buf_member_string(&b, "e", BYTES(""));
	buf_member_int(&b, "i", -3);
	buf_member_bool(&b, "t", true);
	buf_member_bool(&b, "f", false);
	buf_member_json(&b, "raw", BYTES("[1]"));
	buf_member_json(&b, "none", BYTES(""));
	buf_add_member(&b, "o");
	buf_add_char(&b, '{');
	buf_member_int(&b, "x", 1);
	buf_add_str(&b, "}}");
	cr_assert_str_eq(b.p, "{\"s\":\"a\\\"\",\"n\":null,\"e\":\"\",\"i\":-3,\"t\":true,\"f\":false,\"raw\":[1],\"none\":null,"
			      "\"o\":{\"x\":1}}");
}

Test(buf, an_empty_buffer_is_a_string_member_not_null)
{
	struct buf empty;
	buf_init(&empty, a, 0);
	buf_member_string(&b, "s", buf_bytes(&empty));
	cr_assert_str_eq(b.p, "\"s\":\"\"");
}

Test(buf, times_are_rfc_3339_and_zero_is_null)
{
	buf_member_time(&b, "at", 1767312245678);
	buf_member_time(&b, "never", 0);
	cr_assert_str_eq(b.p, "\"at\":\"2026-01-02T00:04:05.678Z\",\"never\":null");
}
