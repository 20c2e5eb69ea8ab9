/* SPDX-License-Identifier: MIT */
/*
 * fuzz_convert: any document with any aside is read or refused with a field; what was read comes back whole through every format, and
 * what is written is JSON. The first byte says the format; a byte that JSON cannot have parts document and aside. Or it says that rows of
 * [role, content, extra, metadata] follow: stored messages, which can be any JSON, never break a document.
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

/* What was written can be read without its aside, or cut and with it, unless something in it is longer than a message may have it. */
static void assert_read(struct task *t, enum convert_kind kind, struct bytes document, struct bytes aside)
{
	struct convert_message *m;
	size_t n;

	task_clear_fault(t);
	if (convert_parse(t, kind, document, aside, &m, &n))
		assert(strcmp(t->fault.fields->code, "range") == 0 || strcmp(t->fault.fields->code, "format") == 0);
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
	assert_read(t, kind, document, (struct bytes){ 0 });
	if (n < 2)
		return;
	convert_format(t, kind, m + 1, n - 1, &document, &other);
	assert_read(t, kind, document, aside);
	convert_format(t, kind, m, n - 1, &document, &other);
	assert_read(t, kind, document, aside);
}

static bool is_content(struct bytes content)
{
	struct jsonx_walk w;

	if (jsonx_type(content) != JSONX_ARRAY)
		return jsonx_type(content) == JSONX_STRING || jsonx_type(content) == JSONX_NULL;
	for (jsonx_walk_begin(&w, content); jsonx_walk_next(&w);) {
		if (jsonx_type(w.value) != JSONX_OBJECT || jsonx_type(jsonx_member(w.value, "type")) != JSONX_STRING)
			return false;
	}
	return true;
}

/* Takes a row for a message as it may be stored: content as the interface checks it, all else of the right type. */
static bool read_row(struct arena *a, struct bytes row, struct convert_message *m_r)
{
	struct bytes v[4] = { { 0 } };
	struct jsonx_walk w;
	size_t n = 0;

	if (jsonx_type(row) != JSONX_ARRAY)
		return false;
	for (jsonx_walk_begin(&w, row); n < 4 && jsonx_walk_next(&w); n++)
		v[n] = w.value;
	if (jsonx_type(v[0]) != JSONX_STRING || !is_content(v[1]) || (v[2].p && jsonx_type(v[2]) != JSONX_OBJECT) ||
	    (v[3].p && jsonx_type(v[3]) != JSONX_OBJECT))
		return false;
	*m_r = (struct convert_message){ jsonx_string(a, v[0]), v[1], v[2], v[3], NULL };
	return true;
}

static void format_rows(struct task *t, struct bytes text)
{
	struct convert_message m[32], *again;
	struct bytes document, aside;
	struct jsonx_flaw flaw;
	struct jsonx_walk w;
	size_t n = 0, n_again;

	if (!jsonx_check_strict(t->arena, text, &flaw) || jsonx_type(text) != JSONX_ARRAY)
		return;
	for (jsonx_walk_begin(&w, text); n < 32 && jsonx_walk_next(&w);)
		n += read_row(t->arena, w.value, &m[n]);
	for (enum convert_kind kind = CONVERT_OPENAI; kind <= CONVERT_GEMINI; kind++) {
		convert_format(t, kind, m, n, &document, &aside);
		assert(jsonx_check_strict(t->arena, document, &flaw) && jsonx_check_strict(t->arena, aside, &flaw));
		if (convert_parse(t, kind, document, aside, &again, &n_again) == ERR_OK) /* extra may hold what no message may be given */
			assert(n_again <= n);
	}
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
	if (data[0] % 4 == 3) {
		format_rows(&t, document);
	} else if (convert_parse(&t, (enum convert_kind)(CONVERT_OPENAI + data[0] % 4), document, aside, &m, &n)) {
		assert(t.fault.code == ERR_INVALID && t.fault.fields && t.fault.fields->field[0]);
	} else {
		assert_comes_back(&t, CONVERT_OPENAI, m, n);
		assert_comes_back(&t, CONVERT_ANTHROPIC, m, n);
		assert_comes_back(&t, CONVERT_GEMINI, m, n);
	}
	arena_reset(arena);
	return 0;
}
