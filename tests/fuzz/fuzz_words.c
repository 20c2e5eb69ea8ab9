/* SPDX-License-Identifier: MIT */
/* fuzz_words: the first line is a query, the rest a text; whatever they hold, what was found can be shown, and a query finds itself. */
#include <assert.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/jsonx.h"
#include "base/words.h"

#define SIZE 40

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool is_utf8(struct arena *a, struct bytes text)
{
	struct jsonx_flaw flaw;
	struct buf b;
	buf_init(&b, a, text.n + 2);
	buf_add_json(&b, text);
	return jsonx_check(a, buf_bytes(&b), &flaw);
}

static size_t count_chars(struct bytes text)
{
	size_t n = 0;
	for (size_t i = 0; i < text.n; i++)
		n += ((unsigned char)text.p[i] & 0xc0) != 0x80;
	return n;
}

static void check_cut(struct arena *a, const struct words_query *q, struct bytes text, bool is_match)
{
	struct words_snippet s = words_cut(a, q, text, SIZE);
	bool is_sound = is_utf8(a, text);
	size_t end = 0, n = count_chars(s.text);
	assert(!is_sound || is_utf8(a, s.text));
	assert(!is_sound || !is_match || s.n_highlights > 0);
	for (size_t i = 0; i < s.n_highlights; i++) {
		assert(s.highlights[i].n > 0 && (i == 0 || s.highlights[i].at > end));
		end = s.highlights[i].at + s.highlights[i].n;
	}
	assert(!is_sound || end <= n);
}

static bool matches(struct arena *a, const struct words_query *q, struct bytes text)
{
	unsigned char weights[WORDS_TERMS_MAX];
	struct words_text folded = words_fold(a, q, text);
	assert(folded.folded.n >= folded.length);
	return words_count(q, folded.folded, weights);
}

/* The quick way for ASCII folds as the other does. */
static void check_ascii(struct arena *a, const struct words_query *q, struct bytes text)
{
	struct buf b;
	buf_init(&b, a, text.n + 4);
	buf_add_bytes(&b, text);
	buf_add_str(&b, "\xe4\xba\xac");
	struct bytes one = words_fold(a, q, text).folded, two = words_fold(a, q, buf_bytes(&b)).folded;
	for (size_t i = 0; i < text.n; i++)
		if ((unsigned char)text.p[i] >= 0x80)
			return;
	assert(two.n == one.n + 3 && memcmp(one.p, two.p, one.n) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct arena *a;
	struct words_query q;
	const uint8_t *end = size ? memchr(data, '\n', size) : NULL;
	size_t n = end ? (size_t)(end - data) : size;
	struct bytes query = { (const char *)data, n }, text = { (const char *)data + n, size - n };
	if (!a)
		a = arena_open(65536);
	if (words_parse(a, query, &q) == WORDS_SOUND) {
		assert(q.n_terms >= 1 && q.n_terms + q.n_excluded <= WORDS_TERMS_MAX);
		check_cut(a, &q, text, matches(a, &q, text));
		check_ascii(a, &q, text);
		bool is_plain = q.n_excluded == 0;
		for (size_t i = 0; i < q.n_terms; i++)
			is_plain &= !q.terms[i].is_whole; /* a phrase may have longer gaps in the query than it may have in a text */
		assert(!is_plain || matches(a, &q, query));
	}
	arena_reset(a);
	return 0;
}
