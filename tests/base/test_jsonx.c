/* SPDX-License-Identifier: MIT */
/* test_jsonx: what the validator accepts and refuses, and that readers hand out what was sent. */
#include <criterion/criterion.h>
#include <dirent.h>
#include <float.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/jsonx.h"

static struct arena *arena;

static void start(void)
{
	arena = arena_open(4096);
}

static void stop(void)
{
	arena_close(&arena);
}

TestSuite(jsonx, .init = start, .fini = stop);

/* The text in a block of its own, so that a read past its end is noticed by the sanitizers. */
static bool accepts(struct bytes text, struct jsonx_flaw *flaw_r)
{
	char *copy = malloc(text.n ? text.n : 1);
	bool ok;

	memcpy(copy, text.p, text.n);
	ok = jsonx_check_strict(arena, (struct bytes){ copy, text.n }, flaw_r);
	free(copy);
	return ok;
}

static bool is_json(const char *text)
{
	struct jsonx_flaw flaw;

	return accepts(bytes_of(text), &flaw);
}

static void expect_flaw(struct bytes text, const char *reason, size_t offset)
{
	struct jsonx_flaw flaw = { "none", 0 };

	cr_assert_not(accepts(text, &flaw), "%.60s was accepted", text.p);
	cr_assert_str_eq(flaw.reason, reason, "%.60s: %s", text.p, flaw.reason);
	cr_assert_eq(flaw.offset, offset, "%.60s: offset %zu", text.p, flaw.offset);
}

static bool reads_as(struct bytes raw, const char *want, size_t n)
{
	return bytes_equal(jsonx_string(arena, raw), (struct bytes){ want, n });
}

static bool is_text(struct bytes b, const char *want)
{
	return bytes_equal(b, bytes_of(want));
}

/* --- the public test suites --- */

static const char *shared_path(const char *rest)
{
	const char *root = getenv("PARLEY_SHARED");

	return arena_printf(arena, "%s/data/%s", root ? root : "../shared", rest);
}

static struct bytes read_file(const char *path)
{
	FILE *f = fopen(path, "rb");
	struct buf b;
	size_t n;

	buf_init(&b, arena, 0);
	if (!f)
		return (struct bytes){ NULL, 0 };
	while ((n = fread(buf_room(&b, 4096), 1, 4096, f)) > 0)
		b.n += n;
	fclose(f);
	return buf_bytes(&b);
}

struct verdict {
	const char *file;
	const char *reason; /* NULL: accepted */
};

/* Must-accept files that the strict check refuses on purpose: RFC 8259 leaves unique names to us, and json-c cuts keys at a NUL. */
static const struct verdict stricter[] = {
	{ "y_object_duplicated_key.json", "a key appears twice" },
	{ "y_object_duplicated_key_and_value.json", "a key appears twice" },
	{ "y_object_escaped_null_in_key.json", "a key holds a NUL" },
};

/* Files whose verdict RFC 8259 leaves open. */
static const struct verdict open_cases[] = {
	/* Too small for a double is 0, which is finite and near. */
	{ "i_number_double_huge_neg_exp.json", NULL },
	{ "i_number_real_underflow.json", NULL },
	/* Infinity could not be written back. */
	{ "i_number_huge_exp.json", "a number is too large" },
	{ "i_number_neg_int_huge_exp.json", "a number is too large" },
	{ "i_number_pos_double_huge_exp.json", "a number is too large" },
	{ "i_number_real_neg_overflow.json", "a number is too large" },
	{ "i_number_real_pos_overflow.json", "a number is too large" },
	/* json-c would clamp them without a word. */
	{ "i_number_too_big_neg_int.json", "an integer is beyond 64 bits" },
	{ "i_number_too_big_pos_int.json", "an integer is beyond 64 bits" },
	{ "i_number_very_big_negative_int.json", "an integer is beyond 64 bits" },
	/* A lone surrogate is no character; json-c would make U+FFFD of it. */
	{ "i_object_key_lone_2nd_surrogate.json", "a surrogate stands alone" },
	{ "i_string_1st_surrogate_but_2nd_missing.json", "a surrogate stands alone" },
	{ "i_string_1st_valid_surrogate_2nd_invalid.json", "a surrogate stands alone" },
	{ "i_string_incomplete_surrogate_and_escape_valid.json", "a surrogate stands alone" },
	{ "i_string_incomplete_surrogate_pair.json", "a surrogate stands alone" },
	{ "i_string_incomplete_surrogates_escape_valid.json", "a surrogate stands alone" },
	{ "i_string_invalid_lonely_surrogate.json", "a surrogate stands alone" },
	{ "i_string_invalid_surrogate.json", "a surrogate stands alone" },
	{ "i_string_inverted_surrogates_U+1D11E.json", "a surrogate stands alone" },
	{ "i_string_lone_second_surrogate.json", "a surrogate stands alone" },
	/* The database refuses what is not UTF-8, and two spellings of a character get past filters. */
	{ "i_string_UTF-8_invalid_sequence.json", "the text is not UTF-8" },
	{ "i_string_UTF8_surrogate_U+D800.json", "the text is not UTF-8" },
	{ "i_string_invalid_utf-8.json", "the text is not UTF-8" },
	{ "i_string_iso_latin_1.json", "the text is not UTF-8" },
	{ "i_string_lone_utf8_continuation_byte.json", "the text is not UTF-8" },
	{ "i_string_not_in_unicode_range.json", "the text is not UTF-8" },
	{ "i_string_overlong_sequence_2_bytes.json", "the text is not UTF-8" },
	{ "i_string_overlong_sequence_6_bytes.json", "the text is not UTF-8" },
	{ "i_string_overlong_sequence_6_bytes_null.json", "the text is not UTF-8" },
	{ "i_string_truncated-utf-8.json", "the text is not UTF-8" },
	/* RFC 8259 8.1: UTF-8 only, and no byte order mark in front of it. */
	{ "i_string_UTF-16LE_with_BOM.json", "a value is expected" },
	{ "i_string_utf16BE_no_BOM.json", "a value is expected" },
	{ "i_string_utf16LE_no_BOM.json", "a value is expected" },
	{ "i_structure_UTF-8_BOM_empty_object.json", "it begins with a byte order mark" },
	/* Deeper than JSONX_DEPTH. */
	{ "i_structure_500_nested_arrays.json", "it is nested too deeply" },
};

#define COUNT(table) (sizeof(table) / sizeof((table)[0]))

static const struct verdict *find_verdict(const struct verdict *table, size_t n, const char *file)
{
	for (size_t i = 0; i < n; i++) {
		if (strcmp(table[i].file, file) == 0)
			return &table[i];
	}
	return NULL;
}

static void expect_verdict(const struct verdict *v, const char *file, bool ok, const char *reason)
{
	cr_assert_not_null(v, "%s: no verdict is written down (%s)", file, ok ? "accepted" : reason);
	cr_assert_eq(ok, v->reason == NULL, "%s: %s", file, ok ? "accepted" : reason);
	if (!ok)
		cr_assert_str_eq(reason, v->reason, "%s: %s", file, reason);
}

Test(jsonx, the_json_test_suite_gets_the_verdicts_that_are_written_down_here)
{
	const char *dir = shared_path("JSONTestSuite/test_parsing");
	int seen[128] = { 0 }, accepted[128] = { 0 };
	DIR *d = opendir(dir);
	struct dirent *e;

	if (!d)
		cr_skip_test("no JSONTestSuite");
	while ((e = readdir(d))) {
		int kind = e->d_name[0] & 0x7f;
		struct jsonx_flaw flaw = { "", 0 };
		struct bytes text;
		bool ok;

		if (e->d_name[1] != '_')
			continue;
		text = read_file(arena_printf(arena, "%s/%s", dir, e->d_name));
		ok = accepts(text, &flaw);
		seen[kind]++;
		accepted[kind] += jsonx_check(arena, text, &(struct jsonx_flaw){ "", 0 });
		if (kind == 'n')
			cr_assert_not(ok, "%s was accepted", e->d_name);
		if (kind == 'y' && !ok)
			expect_verdict(find_verdict(stricter, COUNT(stricter), e->d_name), e->d_name, ok, flaw.reason);
		if (kind == 'i')
			expect_verdict(find_verdict(open_cases, COUNT(open_cases), e->d_name), e->d_name, ok, flaw.reason);
	}
	closedir(d);
	cr_assert_eq(seen['y'], 95);
	cr_assert_eq(accepted['y'], 95);
	cr_assert_eq(seen['n'], 188);
	cr_assert_eq(accepted['n'], 0);
	cr_assert_eq(seen['i'], (int)COUNT(open_cases));
	cr_assert_eq(accepted['i'], 2);
}

Test(jsonx, every_naughty_string_survives_reading_and_writing)
{
	struct bytes text = read_file(shared_path("naughty-strings/blns.json"));
	struct json_object *tree;
	struct jsonx_walk w;
	struct jsonx_flaw flaw;
	size_t i = 0;

	if (!text.p)
		cr_skip_test("no naughty strings");
	cr_assert(accepts(text, &flaw), "%s at %zu", flaw.reason, flaw.offset);
	tree = jsonx_tree(arena, text);
	jsonx_walk_begin(&w, text);
	for (; jsonx_walk_next(&w); i++) {
		struct json_object *item = json_object_array_get_idx(tree, i);
		struct bytes s = jsonx_string(arena, w.value);
		struct buf b;

		cr_assert(bytes_equal(s, (struct bytes){ json_object_get_string(item), (size_t)json_object_get_string_len(item) }));
		buf_init(&b, arena, 0);
		buf_add_json(&b, s);
		cr_assert(accepts(buf_bytes(&b), &flaw), "string %zu: %s", i, flaw.reason);
		cr_assert(bytes_equal(s, jsonx_string(arena, buf_bytes(&b))), "string %zu", i);
	}
	cr_assert_eq(i, json_object_array_length(tree));
	cr_assert_gt(i, 400);
}

/* --- the validator --- */

Test(jsonx, one_value_with_blanks_around_it_is_json)
{
	static const char *const good[] = { "null", " true ", "\t\r\n false\n", "0", "-0", "\"\"", "{}", "[]", " { } ", "[ ]", "[1,2]",
					    "{\"\":{\"\":[]}}", "1E+2", "1.5e-3", "\"\\u0000\"", "\"\x7f\"", "[[],{},\"\",0,null]" };

	for (size_t i = 0; i < COUNT(good); i++)
		cr_assert(is_json(good[i]), "%s", good[i]);
}

Test(jsonx, every_flaw_is_named_and_placed)
{
	expect_flaw((struct bytes){ "", 0 }, "the text ends too early", 0);
	expect_flaw(BYTES("   "), "the text ends too early", 3);
	expect_flaw(BYTES("[1"), "the text ends too early", 2);
	expect_flaw(BYTES("{\"a\""), "the text ends too early", 4);
	expect_flaw(BYTES("\"abc"), "the text ends too early", 4);
	expect_flaw(BYTES("\"\\u12"), "the text ends too early", 5);
	expect_flaw(BYTES("tru"), "the text ends too early", 3);
	expect_flaw(BYTES("-"), "the text ends too early", 1);
	expect_flaw(BYTES("[nul]"), "a value is expected", 4);
	expect_flaw(BYTES("[1,]"), "a value is expected", 3);
	expect_flaw(BYTES("\xc3\xa9"), "a value is expected", 0);
	expect_flaw(BYTES("\0"), "a value is expected", 0);
	expect_flaw(BYTES("[1 2]"), "a comma or ] is missing", 3);
	expect_flaw(BYTES("{\"a\":1 \"b\":2}"), "a comma or } is missing", 7);
	expect_flaw(BYTES("[1}"), "a comma or ] is missing", 2);
	expect_flaw(BYTES("{\"a\":1]"), "a comma or } is missing", 6);
	expect_flaw(BYTES("{\"a\" 1}"), "a colon is missing", 5);
	expect_flaw(BYTES("{a:1}"), "a key in quotes is expected", 1);
	expect_flaw(BYTES("{\"a\":1,}"), "a key in quotes is expected", 7);
	expect_flaw(BYTES("1 1"), "something follows the value", 2);
	expect_flaw(BYTES("{}}"), "something follows the value", 2);
	expect_flaw(BYTES("1\0"), "something follows the value", 1);
	expect_flaw(BYTES("[01]"), "a number begins with 0", 1);
	expect_flaw(BYTES("[1.]"), "a digit is missing", 3);
	expect_flaw(BYTES("[1e+]"), "a digit is missing", 4);
	expect_flaw(BYTES("[-a]"), "a digit is missing", 2);
	expect_flaw(BYTES("\"\\x\""), "an escape is not known", 2);
	expect_flaw(BYTES("\"\\\0\""), "an escape is not known", 2);
	expect_flaw(BYTES("\"\\u00g0\""), "a hex digit is missing", 5);
	expect_flaw(BYTES("\"\\ud800\\u00g0\""), "a hex digit is missing", 11);
	expect_flaw(BYTES("\"a\nb\""), "a control character in a string", 2);
	expect_flaw(BYTES("\"a\0b\""), "a control character in a string", 2);
	expect_flaw(BYTES("\"ab\xff\""), "the text is not UTF-8", 3);
	expect_flaw(BYTES("\xef\xbb\xbf{}"), "it begins with a byte order mark", 0);
}

Test(jsonx, utf_8_is_checked_at_every_border)
{
	static const char *const good[] = { "\xc2\x80", "\xdf\xbf", "\xe0\xa0\x80", "\xec\xbf\xbf", "\xed\x80\x80", "\xed\x9f\xbf",
					    "\xee\x80\x80", "\xef\xbf\xbf", "\xf0\x90\x80\x80", "\xf4\x8f\xbf\xbf", "\xef\xbb\xbf" };
	static const char *const bad[] = { "\x80", "\xbf", "\xc0\x80", "\xc0\xaf", "\xc1\xbf", "\xc2", "\xc2\x7f", "\xc2\xc0", "\xe0\x9f\xbf",
					   "\xe0\x80\xaf", "\xe1\x80", "\xe1\x80\x7f", "\xed\xa0\x80", "\xed\xbf\xbf", "\xf0\x8f\xbf\xbf",
					   "\xf1\x80\x80", "\xf1\x80\x80\xc0", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xfe", "\xff" };

	for (size_t i = 0; i < COUNT(good); i++)
		cr_assert(is_json(arena_printf(arena, "\"%s\"", good[i])), "good %zu", i);
	for (size_t i = 0; i < COUNT(bad); i++) {
		struct jsonx_flaw flaw;

		cr_assert_not(is_json(arena_printf(arena, "\"%s\"", bad[i])), "bad %zu", i);
		cr_assert_not(accepts(bytes_of(arena_printf(arena, "\"%s", bad[i])), &flaw), "cut %zu", i);
	}
}

Test(jsonx, integers_end_at_64_bits_and_reals_at_the_largest_double)
{
	cr_assert(is_json("9223372036854775807"));
	cr_assert_not(is_json("9223372036854775808"));
	cr_assert(is_json("-9223372036854775808"));
	cr_assert_not(is_json("-9223372036854775809"));
	cr_assert_not(is_json("10000000000000000000"));
	cr_assert(is_json("9223372036854775808.0"));
	cr_assert(is_json("1.7976931348623157e308"));
	cr_assert_not(is_json("1.7976931348623159e308"));
	cr_assert_not(is_json("-1e309"));
	cr_assert(is_json("1e-999999999999999999999999"));
	cr_assert_not(is_json("1e999999999999999999999999"));
	cr_assert(is_json("0e999999999999999999999999"));
}

Test(jsonx, nesting_ends_at_the_depth_promised)
{
	char text[2 * JSONX_DEPTH + 3];
	struct jsonx_flaw flaw;
	struct bytes t;

	memset(text, '[', JSONX_DEPTH);
	memset(text + JSONX_DEPTH, ']', JSONX_DEPTH);
	t = (struct bytes){ text, 2 * JSONX_DEPTH };
	cr_assert(accepts(t, &flaw));
	cr_assert_not_null(jsonx_tree(arena, t));
	cr_assert(bytes_equal(jsonx_print(arena, jsonx_tree(arena, t)), t));
	memset(text, '[', JSONX_DEPTH + 1);
	memset(text + JSONX_DEPTH + 1, ']', JSONX_DEPTH + 1);
	expect_flaw((struct bytes){ text, 2 * JSONX_DEPTH + 2 }, "it is nested too deeply", JSONX_DEPTH);
}

Test(jsonx, a_megabyte_of_brackets_is_refused_at_once)
{
	char *text = malloc(1 << 20);
	struct jsonx_flaw flaw;

	memset(text, '[', 1 << 20);
	cr_assert_not(accepts((struct bytes){ text, 1 << 20 }, &flaw));
	cr_assert_eq(flaw.offset, JSONX_DEPTH);
	for (size_t i = 0; i < 1 << 20; i += 5)
		memcpy(text + i, "{\"a\":", (1 << 20) - i < 5 ? 1 : 5);
	cr_assert_not(accepts((struct bytes){ text, 1 << 20 }, &flaw));
	cr_assert_str_eq(flaw.reason, "it is nested too deeply");
	free(text);
}

/* An object of n keys in a scattered order; the key numbered `again` comes once more at the end (-1: none). */
static struct bytes many_keys(int n, int again)
{
	struct buf b;

	buf_init(&b, arena, 0);
	buf_add_char(&b, '{');
	for (int i = 0; i < n; i++)
		buf_addf(&b, "%s\"key%d\":%d", i ? "," : "", (int)(i * 7919LL % n), i);
	if (again >= 0)
		buf_addf(&b, ",\"k\\u0065y%d\":0", again);
	buf_add_char(&b, '}');
	return buf_bytes(&b);
}

Test(jsonx, one_repeated_key_among_a_hundred_thousand_is_found)
{
	struct jsonx_flaw flaw;
	struct bytes text = many_keys(100000, -1);

	cr_assert(accepts(text, &flaw), "%s", flaw.reason);
	text = many_keys(100000, 31415);
	cr_assert_not(accepts(text, &flaw));
	cr_assert_str_eq(flaw.reason, "a key appears twice");
	cr_assert_eq(strncmp(text.p + flaw.offset, "\"k\\u0065y31415\":0}", 18), 0, "the second one is pointed at");
}

Test(jsonx, a_key_may_come_again_in_another_object_but_not_in_the_same)
{
	cr_assert(is_json("{\"a\":{\"a\":{\"a\":1}},\"b\":[{\"a\":1},{\"a\":2}],\"c\":{\"b\":0}}"));
	cr_assert(is_json("{\"a\":1,\"A\":2,\"a \":3,\"\":4}"));
	expect_flaw(BYTES("{\"a\":1,\"\\u0061\":2}"), "a key appears twice", 7);
	expect_flaw(BYTES("{\"\xf0\x9f\x98\x80\":1,\"\\ud83d\\uDE00\":2}"), "a key appears twice", 10);
	expect_flaw(BYTES("{\"/\":1,\"\\/\":2}"), "a key appears twice", 7);
	expect_flaw(BYTES("{\"\":1,\"\":2}"), "a key appears twice", 6);
	expect_flaw(BYTES("{\"a\":{\"b\":1},\"c\":{\"b\":1},\"a\":0}"), "a key appears twice", 25);
	expect_flaw(BYTES("{\"x\":[{\"b\":1,\"b\":2}],\"y\":"), "a key appears twice", 13);
	/* Past the border where keys are sorted, the earliest repetition counts too. */
	expect_flaw(BYTES("{\"a\":0,\"y\":0,\"a\":0,\"z\":0,\"b\":0,\"c\":0,\"d\":0,\"e\":0,\"f\":0,\"z\":0}"), "a key appears twice", 13);
	expect_flaw(BYTES("{\"z\":0,\"y\":0,\"z\":0,\"a\":0,\"b\":0,\"c\":0,\"d\":0,\"e\":0,\"f\":0,\"a\":0}"), "a key appears twice", 13);
}

Test(jsonx, a_nul_is_refused_in_keys_and_kept_in_values)
{
	expect_flaw(BYTES("{\"a\\u0000b\":1}"), "a key holds a NUL", 1);
	expect_flaw(BYTES("{\"a\":{\"\\u0000\":1}}"), "a key holds a NUL", 6);
	cr_assert(is_json("{\"a\":\"a\\u0000b\"}"));
	cr_assert(is_json("{\"a\\\\u0000b\":1}"));
	cr_assert(reads_as(BYTES("\"a\\u0000b\""), "a\0b", 3));
}

Test(jsonx, huge_numbers_and_strings_take_linear_time)
{
	size_t n = 1 << 20;
	char *text = malloc(n);
	struct jsonx_flaw flaw;

	memset(text, '9', n);
	cr_assert_not(accepts((struct bytes){ text, n }, &flaw));
	cr_assert_str_eq(flaw.reason, "an integer is beyond 64 bits");
	text[1] = '.';
	cr_assert(accepts((struct bytes){ text, n }, &flaw));
	cr_assert_float_eq(jsonx_real((struct bytes){ text, n }), 10.0, 1e-9);
	text[0] = text[n - 1] = '"';
	cr_assert(accepts((struct bytes){ text, n }, &flaw));
	cr_assert_eq(jsonx_string(arena, (struct bytes){ text, n }).n, n - 2);
	free(text);
}

/* --- readers --- */

Test(jsonx, types_are_told_by_the_first_bytes)
{
	static const struct {
		const char *text;
		enum jsonx_type type;
	} cases[] = { { "", JSONX_NONE }, { " \n", JSONX_NONE }, { "null", JSONX_NULL }, { " true", JSONX_BOOL }, { "false ", JSONX_BOOL },
		      { "0", JSONX_INT }, { "-12", JSONX_INT }, { "-1.0", JSONX_REAL }, { "1e5", JSONX_REAL }, { "1E5", JSONX_REAL },
		      { "\"1\"", JSONX_STRING }, { " [1.5]", JSONX_ARRAY }, { "\t{\"e\":1}", JSONX_OBJECT } };

	for (size_t i = 0; i < COUNT(cases); i++)
		cr_assert_eq(jsonx_type(bytes_of(cases[i].text)), cases[i].type, "%s", cases[i].text);
}

Test(jsonx, a_walk_hands_out_members_as_they_were_written)
{
	struct jsonx_walk w;

	jsonx_walk_begin(&w, BYTES(" { \"a\" : 1 ,\n\"b\\u0020\":\"x,}\\\"\" , \"c\":{ \"d\":[1, {}] }\t,\"e\":-1.50E+2,\"f\":[]} "));
	cr_assert(jsonx_walk_next(&w) && is_text(w.raw_key, "\"a\"") && is_text(w.value, "1"));
	cr_assert(jsonx_walk_next(&w) && is_text(w.raw_key, "\"b\\u0020\"") && is_text(w.value, "\"x,}\\\"\""));
	cr_assert(jsonx_walk_next(&w) && is_text(w.raw_key, "\"c\"") && is_text(w.value, "{ \"d\":[1, {}] }"));
	cr_assert(jsonx_walk_next(&w) && is_text(w.raw_key, "\"e\"") && is_text(w.value, "-1.50E+2"));
	cr_assert(jsonx_walk_next(&w) && is_text(w.raw_key, "\"f\"") && is_text(w.value, "[]"));
	cr_assert_not(jsonx_walk_next(&w));
	cr_assert_not(jsonx_walk_next(&w), "the end stays the end");
	cr_assert_eq(w.value.n, 0);
}

Test(jsonx, a_walk_over_an_array_has_no_keys)
{
	struct jsonx_walk w;

	jsonx_walk_begin(&w, BYTES("[ [\"]\"] ,null,\"\\\\\", {\"a\":\"}\"},1 ]"));
	cr_assert(jsonx_walk_next(&w) && is_text(w.value, "[\"]\"]"));
	cr_assert_null(w.raw_key.p);
	cr_assert(jsonx_walk_next(&w) && is_text(w.value, "null"));
	cr_assert(jsonx_walk_next(&w) && is_text(w.value, "\"\\\\\""));
	cr_assert(jsonx_walk_next(&w) && is_text(w.value, "{\"a\":\"}\"}"));
	cr_assert(jsonx_walk_next(&w) && is_text(w.value, "1"));
	cr_assert_not(jsonx_walk_next(&w));
	jsonx_walk_begin(&w, BYTES("{ }"));
	cr_assert_not(jsonx_walk_next(&w));
	jsonx_walk_begin(&w, BYTES("[]"));
	cr_assert_not(jsonx_walk_next(&w));
}

Test(jsonx, a_member_is_found_by_its_unescaped_name)
{
	struct bytes o = BYTES("{\"ab\":1,\"a\":2,\"\\u00e9\\n\":3,\"\":4,\"n\":{\"x\":5}}");

	cr_assert(is_text(jsonx_member(o, "a"), "2"));
	cr_assert(is_text(jsonx_member(o, "ab"), "1"));
	cr_assert(is_text(jsonx_member(o, "\xc3\xa9\n"), "3"));
	cr_assert(is_text(jsonx_member(o, ""), "4"));
	cr_assert_eq(jsonx_member(o, "x").n, 0);
	cr_assert_eq(jsonx_member(o, "abc").n, 0);
	cr_assert_eq(jsonx_member(o, "\xc3").n, 0);
	cr_assert_eq(jsonx_member(BYTES("{}"), "a").n, 0);
}

Test(jsonx, a_string_without_escapes_is_borrowed)
{
	struct bytes raw = BYTES("\"plain \xc3\xa9\"");
	size_t used = arena_used(arena);

	cr_assert_eq(jsonx_string(arena, raw).p, raw.p + 1);
	cr_assert_eq(jsonx_string(arena, raw).n, raw.n - 2);
	cr_assert_eq(arena_used(arena), used);
	cr_assert_eq(jsonx_string(arena, BYTES("\"\"")).n, 0);
}

Test(jsonx, every_escape_is_read)
{
	cr_assert(reads_as(BYTES("\"\\\"\\\\\\/\\b\\f\\n\\r\\t\""), "\"\\/\b\f\n\r\t", 8));
	cr_assert(reads_as(BYTES("\"x\\u0041\\u00e9\\u20AC\\uD83D\\ude00y\""), "xA\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80y", 12));
	cr_assert(reads_as(BYTES("\"\\u007f\\u0080\\u07ff\\u0800\\uffff\""), "\x7f\xc2\x80\xdf\xbf\xe0\xa0\x80\xef\xbf\xbf", 11));
	cr_assert(reads_as(BYTES("\"\\ud800\\udc00\\udbff\\udfff\""), "\xf0\x90\x80\x80\xf4\x8f\xbf\xbf", 8));
	cr_assert(reads_as(BYTES(" \"\\\\u0041\" "), "\\u0041", 6));
}

Test(jsonx, numbers_and_booleans_are_read)
{
	cr_assert_eq(jsonx_int(BYTES("0")), 0);
	cr_assert_eq(jsonx_int(BYTES("-0")), 0);
	cr_assert_eq(jsonx_int(BYTES(" 42\n")), 42);
	cr_assert_eq(jsonx_int(BYTES("9223372036854775807")), INT64_MAX);
	cr_assert_eq(jsonx_int(BYTES("-9223372036854775808")), INT64_MIN);
	cr_assert_eq(jsonx_real(BYTES("-12")), -12.0);
	cr_assert_eq(jsonx_real(BYTES("1.5e3")), 1500.0);
	cr_assert_eq(jsonx_real(BYTES("1.7976931348623157e308")), DBL_MAX);
	cr_assert_eq(jsonx_real((struct bytes){ "1.59", 3 }), 1.5, "nothing behind its end is read");
	cr_assert(jsonx_bool(BYTES("true")));
	cr_assert_not(jsonx_bool(BYTES("false")));
}

/* --- trees --- */

static const char *through_tree(const char *text)
{
	return jsonx_print(arena, jsonx_tree(arena, bytes_of(text))).p;
}

Test(jsonx, a_tree_prints_what_it_was_made_from)
{
	static const char *const same[] = { "null", "true", "0", "123", "\"\"", "[]", "{}", "\"a\\u0000b\"", "\"http://x/y\"", "1.10", "1e2",
					    "12345678901234567890.5", "0.1000000000000000055511151231257827", "-0.0", "1.7976931348623157e308",
					    "9223372036854775807", "-9223372036854775808", "\"\xf0\x9f\x98\x80\"", "{\"b\":1,\"a\":[null,false]}" };

	for (size_t i = 0; i < COUNT(same); i++)
		cr_assert_str_eq(through_tree(same[i]), same[i]);
	cr_assert_str_eq(through_tree(" { \"a\" : [ 1 , 2 ] }\n"), "{\"a\":[1,2]}");
	cr_assert_str_eq(through_tree("\"\\u00e9\\/\""), "\"\xc3\xa9/\"");
	cr_assert_str_eq(through_tree(" 17 "), "17");
	cr_assert_null(jsonx_tree(arena, BYTES("null")));
}

/* json-c alone makes U+FFFD of these when they are escaped. */
Test(jsonx, a_tree_keeps_characters_whose_low_bits_look_like_a_surrogate)
{
	cr_assert_str_eq(through_tree("\"\\ud836\\udd1e\""), "\"\xf0\x9d\xa4\x9e\"");
	cr_assert_str_eq(through_tree("\"\\uD876\\uDC00 \\udbb7\\uDFFF\""), "\"\xf0\xad\xa0\x80 \xf3\xbd\xbf\xbf\"");
	cr_assert_str_eq(through_tree("{\"\\ud836\\udd1e\":\"\\\\ud836\\\\udd1e\\\\\"}"),
			 "{\"\xf0\x9d\xa4\x9e\":\"\\\\ud836\\\\udd1e\\\\\"}");
}

static void expect_merge(const char *target, const char *patch, const char *want)
{
	struct bytes got = jsonx_merge(arena, bytes_of(target), bytes_of(patch));

	cr_assert(is_text(got, want), "%s + %s gave %.*s", target, patch, (int)got.n, got.p);
}

/* RFC 7396, appendix A. */
Test(jsonx, merge_does_what_the_rfc_shows)
{
	expect_merge("{\"a\":\"b\"}", "{\"a\":\"c\"}", "{\"a\":\"c\"}");
	expect_merge("{\"a\":\"b\"}", "{\"b\":\"c\"}", "{\"a\":\"b\",\"b\":\"c\"}");
	expect_merge("{\"a\":\"b\"}", "{\"a\":null}", "{}");
	expect_merge("{\"a\":\"b\",\"b\":\"c\"}", "{\"a\":null}", "{\"b\":\"c\"}");
	expect_merge("{\"a\":[\"b\"]}", "{\"a\":\"c\"}", "{\"a\":\"c\"}");
	expect_merge("{\"a\":\"c\"}", "{\"a\":[\"b\"]}", "{\"a\":[\"b\"]}");
	expect_merge("{\"a\":{\"b\":\"c\"}}", "{\"a\":{\"b\":\"d\",\"c\":null}}", "{\"a\":{\"b\":\"d\"}}");
	expect_merge("{\"a\":[{\"b\":\"c\"}]}", "{\"a\":[1]}", "{\"a\":[1]}");
	expect_merge("[\"a\",\"b\"]", "[\"c\",\"d\"]", "[\"c\",\"d\"]");
	expect_merge("{\"a\":\"b\"}", "[\"c\"]", "[\"c\"]");
	expect_merge("{\"a\":\"foo\"}", "null", "null");
	expect_merge("{\"a\":\"foo\"}", "\"bar\"", "\"bar\"");
	expect_merge("{\"e\":null}", "{\"a\":1}", "{\"e\":null,\"a\":1}");
	expect_merge("[1,2]", "{\"a\":\"b\",\"c\":null}", "{\"a\":\"b\"}");
	expect_merge("{}", "{\"a\":{\"bb\":{\"ccc\":null}}}", "{\"a\":{\"bb\":{}}}");
}

Test(jsonx, merge_takes_an_absent_target_for_an_empty_one)
{
	expect_merge("", "{\"a\":1,\"b\":null}", "{\"a\":1}");
	expect_merge("", "{}", "{}");
	expect_merge("null", "{\"a\":[null]}", "{\"a\":[null]}");
}

Test(jsonx, merge_leaves_what_it_does_not_touch_as_it_was)
{
	expect_merge("{\"i\":9223372036854775807,\"n\":-9223372036854775808,\"d\":12345678901234567890.5,\"e\":1e300,\"f\":0.10,\"z\":-0.0,"
		     "\"s\":\"a\\u0000\\\"\\\\\\n/\xc3\xa9\",\"o\":{\"x\":[1,{\"y\":null}]}}",
		     "{\"new\":true}",
		     "{\"i\":9223372036854775807,\"n\":-9223372036854775808,\"d\":12345678901234567890.5,\"e\":1e300,\"f\":0.10,\"z\":-0.0,"
		     "\"s\":\"a\\u0000\\\"\\\\\\n/\xc3\xa9\",\"o\":{\"x\":[1,{\"y\":null}]},\"new\":true}");
	expect_merge("{\"\\u0061\":1,\"b\":2}", "{\"a\":null}", "{\"b\":2}");
	expect_merge("{\"a\":{\"x\":1}}", "{\"a\":{}}", "{\"a\":{\"x\":1}}");
}

Test(jsonx, merge_reaches_the_deepest_level)
{
	struct buf target, patch, want;
	struct bytes got;
	struct jsonx_flaw flaw;

	buf_init(&target, arena, 0);
	buf_init(&patch, arena, 0);
	buf_init(&want, arena, 0);
	for (int i = 0; i < JSONX_DEPTH - 1; i++) {
		buf_add_str(&target, "{\"d\":");
		buf_add_str(&patch, "{\"d\":");
		buf_add_str(&want, "{\"d\":");
	}
	buf_add_str(&target, "{\"a\":1,\"b\":2}");
	buf_add_str(&patch, "{\"b\":null,\"c\":3}");
	buf_add_str(&want, "{\"a\":1,\"c\":3}");
	for (int i = 0; i < JSONX_DEPTH - 1; i++) {
		buf_add_char(&target, '}');
		buf_add_char(&patch, '}');
		buf_add_char(&want, '}');
	}
	cr_assert(accepts(buf_bytes(&target), &flaw), "%s", flaw.reason);
	cr_assert(accepts(buf_bytes(&patch), &flaw), "%s", flaw.reason);
	got = jsonx_merge(arena, buf_bytes(&target), buf_bytes(&patch));
	cr_assert(bytes_equal(got, buf_bytes(&want)), "%.*s", (int)got.n, got.p);
}
