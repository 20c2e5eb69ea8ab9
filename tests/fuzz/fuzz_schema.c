/* SPDX-License-Identifier: MIT */
/*
 * fuzz_schema: a definition, a line's end, a value. Whatever both are, the check ends, says the same twice, and agrees with itself when the
 * schema stands inside of others.
 */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "base/buf.h"
#include "base/jsonx.h"
#include "base/schema.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void expect_utf8(struct arena *a, const char *text)
{
	struct jsonx_flaw flaw;
	struct buf b;

	buf_init(&b, a, 0);
	buf_add_json_str(&b, text);
	assert(text[0] && jsonx_check_strict(a, buf_bytes(&b), &flaw));
}

/* Whether the value is valid; is_over_r: nobody can tell. */
static bool is_valid(struct arena *a, const struct schema *s, struct bytes value, bool *is_over_r)
{
	const char *problems[SCHEMA_PROBLEMS];
	size_t n = schema_check(a, s, value, problems);

	assert(n <= SCHEMA_PROBLEMS);
	for (size_t i = 0; i < n; i++) {
		expect_utf8(a, problems[i]);
		assert(problems[i][0] == '/' || strncmp(problems[i], "the whole value: ", 17) == 0);
	}
	*is_over_r = n > 0 && strstr(problems[0], "too deeply nested to be checked");
	return n == 0;
}

/* The schema inside of another: its own references lead elsewhere then, so one with any is left out. */
static void check_inside(struct arena *a, struct bytes definition, struct bytes value, bool is_valid_alone)
{
	static const struct {
		const char *before, *between, *after;
		bool is_turned;
	} forms[] = { { "{\"not\":", NULL, "}", true },
		      { "{\"allOf\":[true,", NULL, "]}", false },
		      { "{\"anyOf\":[false,", ",", "]}", false },
		      { "{\"oneOf\":[false,", NULL, "]}", false },
		      { "{\"$ref\":\"#/$defs/s\",\"$defs\":{\"s\":", NULL, "}}", false } };

	if (memmem(definition.p, definition.n, "$", 1) || memmem(definition.p, definition.n, "definitions", 11) || memchr(definition.p, '\\', definition.n))
		return;
	for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
		const struct schema *s;
		struct schema_flaw flaw;
		struct buf b;
		bool is_over;

		buf_init(&b, a, 0);
		buf_add_str(&b, forms[i].before);
		buf_add_bytes(&b, definition);
		if (forms[i].between) {
			buf_add_str(&b, forms[i].between);
			buf_add_bytes(&b, definition);
		}
		buf_add_str(&b, forms[i].after);
		if (!schema_parse(a, buf_bytes(&b), &s, &flaw))
			continue; /* now it has too many schemas */
		assert(is_valid(a, s, value, &is_over) == (is_valid_alone != forms[i].is_turned) || is_over);
	}
}

static void check(struct arena *a, struct bytes definition, struct bytes value)
{
	const struct schema *s;
	struct schema_flaw flaw;
	struct jsonx_flaw broken;
	bool is_over, is_over_again, is_good;

	if (!jsonx_check_strict(a, definition, &broken))
		return;
	if (!schema_parse(a, definition, &s, &flaw)) {
		assert(flaw.place[0] == '#');
		expect_utf8(a, flaw.place);
		expect_utf8(a, flaw.reason);
		return;
	}
	if (!jsonx_check_strict(a, value, &broken))
		value = definition; /* it is a value as well */
	is_good = is_valid(a, s, value, &is_over);
	assert(is_valid(a, s, value, &is_over_again) == is_good && is_over == is_over_again);
	if (!is_over)
		check_inside(a, definition, value, is_good);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct arena *a;
	const char *text = (const char *)data, *line = size ? memchr(text, '\n', size) : NULL;
	size_t n = line ? (size_t)(line - text) : size;

	if (!a)
		a = arena_open(1 << 16);
	check(a, (struct bytes){ text, n }, (struct bytes){ text + n, size - n });
	arena_reset(a);
	return 0;
}
