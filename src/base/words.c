/* SPDX-License-Identifier: MIT */
/* words: folding by utf8proc, with short ways for the scripts that need no table; terms are found as bytes, then their edges are looked at. */
#include "base/words_private.h"

#include <string.h>
#include <utf8proc.h>

#define FOLD_OPTIONS (UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT | UTF8PROC_CASEFOLD | UTF8PROC_IGNORE)
#define EXPANSION 24     /* most characters that one becomes */
#define GAP_MAX 16       /* most separators between the words of a phrase */
#define MATCHES_MAX 127  /* of one term that count */
#define COMPARED_LEAST 1024 /* most words that are compared to find a term, and more ... */
#define COMPARED_BYTE 4     /* ... for each byte of the text */
#define REPLACEMENT 0xfffd

static bool is_within(uint32_t c, uint32_t lo, uint32_t hi)
{
	return c - lo <= hi - lo;
}

static bool is_word_category(int category)
{
	return (category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_NO);
}

static bool is_emoji(uint32_t c, const utf8proc_property_t *p)
{
	return p->boundclass == UTF8PROC_BOUNDCLASS_EXTENDED_PICTOGRAPHIC || is_within(c, 0x1f1e6, 0x1f1ff) || is_within(c, 0x1f3fb, 0x1f3ff);
}

enum words_kind words_kind_of(uint32_t c)
{
	if (c < 0x80)
		return is_within(c | 0x20, 'a', 'z') || is_within(c, '0', '9') ? WORDS_SPACED : WORDS_SEPARATOR;
	const utf8proc_property_t *p = utf8proc_get_property((utf8proc_int32_t)c);
	if (is_emoji(c, p))
		return WORDS_EMOJI;
	if (!is_word_category(p->category))
		return WORDS_SEPARATOR;
	if (is_within(c, 0x2e80, 0x2fdf) || is_within(c, 0x3005, 0x30ff) || is_within(c, 0x3100, 0x312f) || is_within(c, 0x31a0, 0x31ff) ||
	    is_within(c, 0x3400, 0x9fff) || is_within(c, 0xf900, 0xfaff) || is_within(c, 0x1b000, 0x1b16f) || is_within(c, 0x20000, 0x3ffff))
		return WORDS_HAN_KANA;
	if (is_within(c, 0x1100, 0x11ff) || is_within(c, 0xa960, 0xa97f) || is_within(c, 0xac00, 0xd7ff))
		return WORDS_HANGUL;
	if (is_within(c, 0x0e00, 0x0eff) || is_within(c, 0x1000, 0x109f) || is_within(c, 0x1780, 0x17ff) || is_within(c, 0xa9e0, 0xa9ff) ||
	    is_within(c, 0xaa60, 0xaa7f))
		return WORDS_SOUTHEAST;
	return WORDS_SPACED;
}

/* Marks that a reader may leave off. */
static bool is_optional_mark(uint32_t c, uint32_t base)
{
	if (c < 0x300)
		return false;
	if (is_within(c, 0x300, 0x36f)) /* й, ў and ї are letters of their own */
		return !(c == 0x306 && (base == 0x438 || base == 0x443)) && !(c == 0x308 && base == 0x456);
	return is_within(c, 0x591, 0x5bd) || c == 0x5bf || c == 0x5c1 || c == 0x5c2 || c == 0x5c4 || c == 0x5c5 || c == 0x5c7 || is_within(c, 0x610, 0x61a) ||
	       is_within(c, 0x64b, 0x65f) || c == 0x670 || is_within(c, 0x1ab0, 0x1aff) || is_within(c, 0x1dc0, 0x1dff) || is_within(c, 0x20d0, 0x20ff) ||
	       is_within(c, 0xfe20, 0xfe2f);
}

/* Whether c belongs to the character in front of it, so that no match ends between the two. */
static bool is_continuing(uint32_t c)
{
	return c >= 0x300 && (is_optional_mark(c, 0) || is_within(c, 0x3099, 0x309a) || is_within(c, 0x1160, 0x11ff) || is_within(c, 0xd7b0, 0xd7ff));
}

size_t words_read_char(const char *p, size_t n, uint32_t *c_r)
{
	unsigned char first = (unsigned char)*p;
	utf8proc_int32_t c;
	if (first < 0x80) {
		*c_r = first;
		return 1;
	}
	utf8proc_ssize_t got = utf8proc_iterate((const utf8proc_uint8_t *)p, n < 4 ? (utf8proc_ssize_t)n : 4, &c);
	*c_r = got > 0 ? (uint32_t)c : REPLACEMENT;
	return got > 0 ? (size_t)got : 1;
}

/* The character at a place of folded text; 0 at its end. */
static uint32_t char_at(struct bytes folded, size_t at)
{
	uint32_t c = 0;
	if (at < folded.n)
		words_read_char(folded.p + at, folded.n - at, &c);
	return c;
}

/* The kind of the character that ends at a place; marks are what they stand on. */
static enum words_kind kind_before(struct bytes folded, size_t at)
{
	uint32_t c = 0;
	while (at > 0) {
		do
			at--;
		while (at > 0 && ((unsigned char)folded.p[at] & 0xc0) == 0x80);
		c = char_at(folded, at);
		if (!is_continuing(c))
			break;
	}
	return words_kind_of(c);
}

static void make_room(struct words_folder *f, size_t n)
{
	if (f->cap - f->n >= n)
		return;
	size_t cap = f->cap * 2 + n;
	f->p = arena_grow(f->arena, f->p, f->cap, cap);
	if (f->sources)
		f->sources = arena_grow(f->arena, f->sources, f->cap * sizeof *f->sources, cap * sizeof *f->sources);
	f->cap = cap;
}

static void put(struct words_folder *f, uint32_t c, uint32_t source)
{
	make_room(f, 4);
	size_t n = (size_t)utf8proc_encode_char((utf8proc_int32_t)c, (utf8proc_uint8_t *)f->p + f->n);
	for (size_t i = 0; f->sources && i < n; i++)
		f->sources[f->n + i] = source;
	f->n += n;
	f->length++;
}

static void put_marks(struct words_folder *f)
{
	for (size_t i = 0; i < f->n_marks; i++)
		put(f, f->marks[i].c, f->marks[i].source);
	f->n_marks = 0;
}

/* Keeps marks in the order of their classes, those of one class as they came. */
static void add_mark(struct words_folder *f, uint32_t c, int class, uint32_t source)
{
	if (f->n_marks == WORDS_MARKS_MAX)
		put_marks(f);
	size_t at = f->n_marks++;
	for (; at > 0 && f->marks[at - 1].class > class; at--)
		f->marks[at] = f->marks[at - 1];
	f->marks[at] = (struct words_mark){ c, source, class };
}

/* Adds a character that is decomposed and folded. */
static void add_folded(struct words_folder *f, uint32_t c, uint32_t source)
{
	int class = c < 0x300 ? 0 : utf8proc_get_property((utf8proc_int32_t)c)->combining_class;
	if (is_optional_mark(c, f->base)) {
		f->has_marks = true;
		if (f->drops_marks)
			return;
	}
	if (class) {
		add_mark(f, c, class, source);
		return;
	}
	put_marks(f);
	put(f, c, source);
	f->base = c;
}

static void add_hangul(struct words_folder *f, uint32_t c, uint32_t source)
{
	uint32_t i = c - 0xac00, tail = i % 28;
	put_marks(f);
	put(f, 0x1100 + i / 588, source);
	put(f, 0x1161 + i % 588 / 28, source);
	if (tail)
		put(f, 0x11a7 + tail, source);
	f->base = c;
}

/* Characters that fold to themselves and are no marks, for speed alone. */
static bool is_plain(uint32_t c)
{
	return is_within(c, 0x4e00, 0x9fff) || is_within(c, 0x430, 0x44f) != (c == 0x439) || is_within(c, 0x627, 0x63a) || is_within(c, 0x641, 0x64a) ||
	       is_within(c, 0x0e01, 0x0e30) || is_within(c, 0x1f300, 0x1f3fa) || is_within(c, 0x1f400, 0x1f64f);
}

/* Adds any character but those of ASCII. */
static void add_char(struct words_folder *f, uint32_t c, uint32_t source)
{
	utf8proc_int32_t out[EXPANSION];
	int bound = 0;
	if (is_plain(c)) {
		put_marks(f);
		put(f, c, source);
		f->base = c;
		return;
	}
	if (is_within(c, 0xac00, 0xd7a3)) {
		add_hangul(f, c, source);
		return;
	}
	utf8proc_ssize_t n = utf8proc_decompose_char((utf8proc_int32_t)c, out, EXPANSION, FOLD_OPTIONS, &bound);
	for (utf8proc_ssize_t i = 0; i < n && i < EXPANSION; i++)
		add_folded(f, (uint32_t)out[i], source);
}

/*
 * Folds ASCII from p on, up to the first other byte: eight letters at once, since this is most of what a search costs. No byte of a word carries into
 * its neighbour, as all are below 0x80.
 */
static size_t fold_ascii(const char *p, size_t n, char *out)
{
	const uint64_t ones = 0x0101010101010101u, tops = ones * 0x80;
	size_t i = 0;
	for (uint64_t word; n - i >= sizeof word; i += sizeof word) {
		memcpy(&word, p + i, sizeof word);
		if (word & tops)
			break;
		uint64_t from_a = word + ones * (0x80 - 'A'), past_z = word + ones * (0x7f - 'Z');
		word |= (from_a & ~past_z & tops) >> 2;
		memcpy(out + i, &word, sizeof word);
	}
	for (; i < n && (unsigned char)p[i] < 0x80; i++)
		out[i] = is_within((unsigned char)p[i], 'A', 'Z') ? (char)(p[i] | 0x20) : p[i];
	return i;
}

/* Adds the ASCII at the beginning of a text, whose first character has this number; returns how much it was. */
static size_t add_ascii(struct words_folder *f, struct bytes text, uint32_t source)
{
	if ((unsigned char)*text.p >= 0x80)
		return 0;
	put_marks(f);
	make_room(f, text.n);
	size_t n = fold_ascii(text.p, text.n, f->p + f->n);
	for (size_t i = 0; f->sources && i < n; i++)
		f->sources[f->n + i] = source + (uint32_t)i;
	f->n += n;
	f->length += n;
	f->base = (unsigned char)f->p[f->n - 1];
	return n;
}

size_t words_fold_text(struct words_folder *f, struct bytes text, uint32_t *starts)
{
	uint32_t count = 0;
	for (size_t at = 0; at < text.n;) {
		size_t n = add_ascii(f, (struct bytes){ text.p + at, text.n - at }, count);
		for (size_t i = 0; starts && i < n; i++)
			starts[count + i] = (uint32_t)(at + i);
		at += n;
		count += (uint32_t)n;
		if (at == text.n)
			break;
		uint32_t c;
		if (starts)
			starts[count] = (uint32_t)at;
		at += words_read_char(text.p + at, text.n - at, &c);
		add_char(f, c, count++);
	}
	put_marks(f);
	return count;
}

struct words_folder words_open_folder(struct arena *a, const struct words_query *q, size_t n)
{
	struct words_folder f = { .arena = a, .drops_marks = q && !q->has_marks, .cap = n + n / 4 + 16 };
	f.p = arena_alloc(a, f.cap);
	return f;
}

struct words_text words_fold(struct arena *a, const struct words_query *q, struct bytes text)
{
	struct words_folder f = words_open_folder(a, q, text.n);
	words_fold_text(&f, text, NULL);
	return (struct words_text){ { f.p, f.n }, f.length };
}

/* Where the token at `at` of folded text ends; no further than `end`. */
static size_t token_end(struct bytes folded, size_t at, enum words_kind kind)
{
	while (at < folded.n) {
		uint32_t c;
		size_t n = words_read_char(folded.p + at, folded.n - at, &c);
		if (words_kind_of(c) != kind && !is_continuing(c))
			break;
		at += n;
	}
	return at;
}

/* Finds the next token at or behind *at, which moves to its beginning; false when there is none. */
static bool next_token(struct bytes folded, size_t *at, struct words_token *token_r)
{
	while (*at < folded.n) {
		uint32_t c;
		size_t n = words_read_char(folded.p + *at, folded.n - *at, &c);
		enum words_kind kind = words_kind_of(c);
		if (kind != WORDS_SEPARATOR) {
			*token_r = (struct words_token){ { folded.p + *at, token_end(folded, *at, kind) - *at }, kind == WORDS_SPACED };
			return true;
		}
		*at += n;
	}
	return false;
}

static bool is_same_term(const struct words_term *a, const struct words_term *b)
{
	if (a->n_tokens != b->n_tokens || a->is_whole != b->is_whole)
		return false;
	for (size_t i = 0; i < a->n_tokens; i++)
		if (!bytes_equal(a->tokens[i].text, b->tokens[i].text))
			return false;
	return true;
}

/* Adds a term unless it is there already; false when there is no more room. */
static bool add_term(struct words_query *q, struct words_term term, bool is_excluded)
{
	struct words_term *list = is_excluded ? q->excluded : q->terms;
	size_t *n = is_excluded ? &q->n_excluded : &q->n_terms;
	for (size_t i = 0; i < *n; i++)
		if (is_same_term(&list[i], &term))
			return true;
	if (q->n_terms + q->n_excluded == WORDS_TERMS_MAX)
		return false;
	list[(*n)++] = term;
	return true;
}

/* Adds what a stretch of folded query holds: one phrase, or each token by itself. */
static bool add_terms(struct arena *a, struct words_query *q, struct bytes part, bool is_phrase, bool is_excluded)
{
	struct words_token *tokens = arena_array(a, part.n + 1, sizeof *tokens);
	size_t n = 0, at = 0;
	for (; next_token(part, &at, &tokens[n]); n++)
		at += tokens[n].text.n;
	if (n == 0)
		return true;
	if (is_phrase)
		return add_term(q, (struct words_term){ tokens, n, true }, is_excluded);
	for (size_t i = 0; i < n; i++)
		if (!add_term(q, (struct words_term){ &tokens[i], 1, is_excluded }, is_excluded))
			return false;
	return true;
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/* Bytes of a quotation mark at a place, 0 if there is none: the plain one and the curved ones. */
static size_t quote_at(struct bytes t, size_t at)
{
	if (at < t.n && t.p[at] == '"')
		return 1;
	uint32_t c = char_at(t, at);
	return is_within(c, 0x201c, 0x201e) ? 3 : 0;
}

/* Where a piece of the query ends: at the closing quote of a phrase, else at a blank or a quote. */
static size_t piece_end(struct bytes t, size_t at, bool is_phrase)
{
	while (at < t.n && !quote_at(t, at) && (is_phrase || !is_blank(t.p[at])))
		at++;
	return at;
}

static bool add_pieces(struct arena *a, struct words_query *q, struct bytes t)
{
	bool may_exclude = true;
	for (size_t at = 0; at < t.n;) {
		if (is_blank(t.p[at])) {
			may_exclude = true;
			at++;
			continue;
		}
		bool is_excluded = may_exclude && t.p[at] == '-';
		at += is_excluded;
		size_t quote = quote_at(t, at), end = piece_end(t, at + quote, quote);
		struct bytes piece = { t.p + at + quote, end - at - quote };
		if (!add_terms(a, q, piece, quote, is_excluded))
			return false;
		at = quote ? end + quote_at(t, end) : end;
		may_exclude = false;
	}
	return true;
}

enum words_flaw words_parse(struct arena *a, struct bytes query, struct words_query *q_r)
{
	memset(q_r, 0, sizeof *q_r);
	struct words_folder f = words_open_folder(a, NULL, query.n);
	if (words_fold_text(&f, query, NULL) > WORDS_QUERY_MAX)
		return WORDS_TOO_LONG;
	q_r->has_marks = f.has_marks;
	if (!add_pieces(a, q_r, (struct bytes){ f.p, f.n }))
		return WORDS_TOO_MANY;
	if (q_r->n_terms == 0)
		return q_r->n_excluded ? WORDS_ONLY_EXCLUDED : WORDS_NONE;
	return WORDS_SOUND;
}

/* Whether a token stands at `at`, its beginning aside; is_whole_r: nothing of a word goes on behind it. */
static bool is_token_at(struct bytes folded, size_t at, const struct words_token *token, bool *is_whole_r)
{
	if (folded.n - at < token->text.n || memcmp(folded.p + at, token->text.p, token->text.n) != 0)
		return false;
	uint32_t next = char_at(folded, at + token->text.n);
	*is_whole_r = !token->is_spaced || words_kind_of(next) != WORDS_SPACED;
	return !is_continuing(next);
}

/* The end of a term that begins at `at`, or 0 if it is not there; counts the words it compared. */
static size_t term_end(struct bytes folded, size_t at, const struct words_term *term, bool *is_whole_r, size_t *n_compared)
{
	for (size_t i = 0; i < term->n_tokens; i++) {
		++*n_compared;
		for (int gap = 0; i > 0 && gap < GAP_MAX && at < folded.n && words_kind_of(char_at(folded, at)) == WORDS_SEPARATOR; gap++) {
			uint32_t c;
			at += words_read_char(folded.p + at, folded.n - at, &c);
		}
		if (!is_token_at(folded, at, &term->tokens[i], is_whole_r) || (term->is_whole && !*is_whole_r))
			return 0;
		at += term->tokens[i].text.n;
	}
	return at;
}

size_t words_find_term(struct bytes folded, const struct words_term *term, size_t *at, bool *is_whole_r)
{
	const struct words_token *first = &term->tokens[0];
	size_t began = *at, n_compared = 0;
	/* A phrase of one word many times, in a text of that word alone, would be compared at each of them: such a text is given up. */
	while (*at < folded.n && n_compared <= COMPARED_LEAST + COMPARED_BYTE * (*at - began)) {
		const char *p = memmem(folded.p + *at, folded.n - *at, first->text.p, first->text.n);
		if (!p)
			return 0;
		*at = (size_t)(p - folded.p);
		size_t end = term_end(folded, *at, term, is_whole_r, &n_compared);
		/* only now: going back over marks takes as long as they are many */
		if (end && (!first->is_spaced || kind_before(folded, *at) != WORDS_SPACED))
			return end;
		*at += first->text.n ? 1 : folded.n;
	}
	return 0;
}

static unsigned char weigh(struct bytes folded, const struct words_term *term)
{
	unsigned weight = 0;
	bool is_whole;
	size_t at = 0;
	for (int i = 0; i < MATCHES_MAX; i++) {
		size_t end = words_find_term(folded, term, &at, &is_whole);
		if (!end)
			break;
		weight += is_whole ? 2 : 1;
		at = end;
	}
	return (unsigned char)weight;
}

bool words_count(const struct words_query *q, struct bytes folded, unsigned char weights[WORDS_TERMS_MAX])
{
	bool is_any = false, is_whole;
	memset(weights, 0, WORDS_TERMS_MAX);
	for (size_t i = 0; i < q->n_terms; i++) {
		weights[i] = weigh(folded, &q->terms[i]);
		is_any |= weights[i] > 0;
	}
	for (size_t i = 0; is_any && i < q->n_excluded; i++) {
		size_t at = 0;
		is_any = !words_find_term(folded, &q->excluded[i], &at, &is_whole);
	}
	return is_any;
}
