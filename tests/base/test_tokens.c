/* SPDX-License-Identifier: MIT */
/* test_tokens: the estimate is near what tokenizers say for any kind of text, and never far below. */
#include <criterion/criterion.h>
#include <stdlib.h>

#include "base/tokens.h"

static int64_t of(const char *text)
{
	return tokens_of_text(bytes_of(text));
}

static int64_t of_content(const char *json)
{
	struct arena *a = arena_open(0);
	int64_t n = tokens_of_content(a, bytes_of(json));
	arena_close(&a);
	return n;
}

/* MSG-7: `low` and `high` bracket what the tokenizers in use today make of it, from the best for that text to the worst. */
Test(tokens, are_near_what_tokenizers_say)
{
	static const struct {
		const char *what, *text;
		int64_t low, high;
	} cases[] = {
		{ "English", "The quick brown fox jumps over the lazy dog. It was a bright cold day in April, and the clocks were striking thirteen.", 26, 40 },
		{ "German", "Die Donaudampfschifffahrtsgesellschaft hat ihre Sitzung auf n\xc3\xa4""chste Woche verschoben, weil der Vorsitzende erkrankt ist.", 30, 56 },
		{ "Russian", "\xd0\x9f\xd1\x80\xd0\xb8\xd0\xb2\xd0\xb5\xd1\x82 \xd0\xba\xd0\xb0\xd0\xba \xd0\xb4\xd0\xb5\xd0\xbb\xd0\xb0", 5, 14 },
		{ "Chinese", "\xe6\x88\x91\xe4\xbb\xac\xe6\x98\x8e\xe5\xa4\xa9\xe5\x8e\xbb\xe5\x8c\x97\xe4\xba\xac\xe5\x90\x83\xe7\x83\xa4\xe9\xb8\xad\xe3\x80\x82", 9, 18 },
		{ "Thai", "\xe0\xb8\xaa\xe0\xb8\xa7\xe0\xb8\xb1\xe0\xb8\xaa\xe0\xb8\x94\xe0\xb8\xb5", 4, 12 },
		{ "code", "for (size_t i = 0; i < n_rows; i++) {\n\tif (rows[i].contentLength == 0)\n\t\tcontinue;\n}\n", 28, 60 },
		{ "emoji", "\xf0\x9f\x98\x80\xf0\x9f\x8e\x89\xf0\x9f\x91\x8d", 3, 12 },
		{ "base64", "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==", 45, 90 },
		{ "numbers", "3.14159265358979 2026-11-20 12345678901234567890", 20, 40 },
		{ "blanks", "a\n\n\n\nb                                c", 4, 12 },
		{ "JSON", "{\"name\":\"weather\",\"arguments\":{\"city\":\"Oslo\",\"days\":3}}", 17, 40 },
	};
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		int64_t n = of(cases[i].text);
		cr_expect(n >= cases[i].low && n <= cases[i].high, "%s: %lld not in %lld..%lld", cases[i].what, (long long)n, (long long)cases[i].low,
			  (long long)cases[i].high);
	}
}

Test(tokens, grow_with_the_text)
{
	char text[4001];
	int64_t last = 0;
	srand(7);
	for (size_t n = 0; n < sizeof text - 1; n++) {
		text[n] = "aB3 .\n{\xe6\xf0\xc3"[rand() % 10];
		int64_t now = tokens_of_text((struct bytes){ text, n + 1 });
		cr_assert_geq(now, last - 1, "only a space that turns out to be single is taken back");
		last = now;
	}
	cr_assert_gt(last, 1000);
	cr_assert_eq(of(""), 0);
	cr_assert_eq(of(" "), 0);
	cr_assert_eq(of("a"), 1);
	cr_assert_eq(of("getElementById"), 5);
}

Test(tokens, of_content_are_those_of_its_text)
{
	cr_assert_eq(of_content("\"one two\""), of("one two"));
	cr_assert_eq(of_content("\"line\\nend \\u00e4\""), of("line\nend \xc3\xa4"));
	cr_assert_eq(of_content("[{\"type\":\"text\",\"text\":\"one\"},{\"type\":\"text\",\"text\":\"two\"}]"), of("one") + of("two"));
	cr_assert_eq(of_content("null"), 0);
	cr_assert_eq(of_content(""), 0);
	cr_assert_eq(of_content("[{\"type\":\"image\",\"data\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"}]"), TOKENS_MEDIA);
	cr_assert_eq(of_content("[{\"type\":\"image_url\",\"image_url\":{\"url\":\"https://x\"}},{\"type\":\"text\",\"text\":\"hi\"}]"), TOKENS_MEDIA + 1);
	cr_assert_gt(of_content("[{\"type\":\"json\",\"json\":{\"a\":[1,2,3]}}]"), 8);
	cr_assert_gt(of_content("[1,\"x\",{}]"), 2);
}
