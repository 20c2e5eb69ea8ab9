/* SPDX-License-Identifier: MIT */
/*
 * fuzz_convert: any document with any aside is read or refused with a field; what was read comes back whole through every format, and
 * what is written is JSON. The first byte says the format and where the aside begins.
 */
#include <assert.h>
#include <stdint.h>

#include "base/secret.h"
#include "llm/convert.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void assert_same(struct arena *a, struct bytes x, struct bytes y)
{
	struct jsonx_flaw flaw;

	x = x.n > 0 ? x : BYTES("{}");
	y = y.n > 0 ? y : BYTES("{}");
	assert(jsonx_check_strict(a, x, &flaw) && jsonx_check_strict(a, y, &flaw));
	if (!bytes_equal(x, y))
		assert(json_object_equal(jsonx_tree(a, x), jsonx_tree(a, y)));
}

static void assert_comes_back(struct task *t, enum convert_kind kind, const struct convert_message *m, size_t n)
{
	struct convert_message *again;
	struct bytes document, aside, other;
	size_t n_again;

	convert_format(t, kind, m, n, &document, &aside);
	assert(convert_parse(t, kind, document, aside, &again, &n_again) == ERR_OK && n_again == n);
	for (size_t i = 0; i < n; i++) {
		assert(bytes_equal(m[i].role, again[i].role));
		assert_same(t->arena, m[i].content, again[i].content);
		assert_same(t->arena, m[i].extra, again[i].extra);
		assert_same(t->arena, m[i].metadata, again[i].metadata);
	}
	/* without the aside it can still be read, and so can a document that was cut, with it */
	assert(convert_parse(t, kind, document, (struct bytes){ 0 }, &again, &n_again) == ERR_OK);
	if (n < 2)
		return;
	convert_format(t, kind, m + 1, n - 1, &document, &other);
	assert(convert_parse(t, kind, document, aside, &again, &n_again) == ERR_OK);
	convert_format(t, kind, m, n - 1, &document, &other);
	assert(convert_parse(t, kind, document, aside, &again, &n_again) == ERR_OK);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct arena *arena;
	struct convert_message *m;
	struct task t = { 0 };
	struct bytes document, aside = { 0 };
	const uint8_t *split;
	size_t n;

	if (size < 1)
		return 0;
	if (!arena) {
		secret_init();
		arena = arena_open(262144);
	}
	t.arena = arena;
	document = (struct bytes){ (const char *)data + 1, size - 1 };
	split = memchr(data + 1, 0xff, size - 1); /* never in JSON */
	if (split) {
		document.n = (size_t)(split - data) - 1;
		aside = (struct bytes){ (const char *)split + 1, size - document.n - 2 };
	}
	if (convert_parse(&t, (enum convert_kind)(CONVERT_OPENAI + data[0] % 3), document, aside, &m, &n)) {
		assert(t.fault.code == ERR_INVALID && t.fault.fields && t.fault.fields->field[0]);
	} else {
		assert_comes_back(&t, CONVERT_OPENAI, m, n);
		assert_comes_back(&t, CONVERT_ANTHROPIC, m, n);
		assert_comes_back(&t, CONVERT_GEMINI, m, n);
	}
	arena_reset(arena);
	return 0;
}
