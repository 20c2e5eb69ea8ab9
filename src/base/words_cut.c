/* SPDX-License-Identifier: MIT */
/* words_cut: the part of a text that shows why it was found. */
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "base/words_private.h"

#define SPANS_MAX 256 /* matches that a cut is chosen from */
#define EDGE_MAX 64   /* how far a cut or highlight moves to the edge of what is seen as one character */
#define RUN_MAX 1024  /* how far back such a run is followed: two flags side by side tell themselves apart from the first on */
#define WORD_NEAR 24  /* a cut moves so far to be at a word's edge */

/* A text whose characters are numbered, and where terms are in it. */
struct spot {
	size_t from, to; /* characters */
	uint32_t term;   /* a bit */
};

struct sheet {
	struct bytes text;
	uint32_t *starts; /* where each character begins, and the end */
	size_t n_chars;
	struct spot spots[SPANS_MAX];
	size_t n_spots;
};

static uint32_t sheet_char(const struct sheet *s, size_t i)
{
	uint32_t c = 0;
	if (i < s->n_chars)
		words_read_char(s->text.p + s->starts[i], s->text.n - s->starts[i], &c);
	return c;
}

static int spot_order(const void *a, const void *b)
{
	const struct spot *x = a, *y = b;
	return x->from != y->from ? (x->from < y->from ? -1 : 1) : (x->to > y->to) - (x->to < y->to);
}

static struct spot spot_of(const struct words_folder *f, size_t at, size_t end, size_t term)
{
	struct spot s = { f->sources[at], 0, 1u << term };
	for (size_t i = at; i < end; i++)
		s.to = f->sources[i] + 1 > s.to ? f->sources[i] + 1 : s.to;
	return s;
}

/* Numbers a text's characters and finds the terms in it, a fair share of places for each. */
static void read_sheet(struct arena *a, const struct words_query *q, struct bytes text, struct sheet *s_r)
{
	struct words_folder f = words_open_folder(a, q, text.n);
	f.sources = arena_array(a, f.cap, sizeof *f.sources);
	s_r->text = text;
	s_r->starts = arena_array(a, text.n + 1, sizeof *s_r->starts);
	s_r->n_chars = words_fold_text(&f, text, s_r->starts);
	s_r->starts[s_r->n_chars] = (uint32_t)text.n;
	s_r->n_spots = 0;
	for (size_t i = 0; i < q->n_terms; i++) {
		bool is_whole;
		size_t at = 0, share = SPANS_MAX / q->n_terms;
		for (size_t k = 0; k < share; k++) {
			size_t end = words_find_term((struct bytes){ f.p, f.n }, &q->terms[i], &at, &is_whole);
			if (!end)
				break;
			s_r->spots[s_r->n_spots++] = spot_of(&f, at, end, i);
			at = end;
		}
	}
	qsort(s_r->spots, s_r->n_spots, sizeof s_r->spots[0], spot_order);
}

/* Whether what is seen as one character ends between i - 1 and i. */
static bool is_break(const struct sheet *s, size_t i)
{
	utf8proc_int32_t state = 0;
	bool breaks = true;
	if (i == 0 || i >= s->n_chars)
		return true;
	size_t from = i - 1;
	for (size_t n = 0; from > 0 && n < RUN_MAX && utf8proc_get_property((utf8proc_int32_t)sheet_char(s, from))->boundclass != UTF8PROC_BOUNDCLASS_OTHER; n++)
		from--;
	for (size_t k = from; k < i; k++)
		breaks = utf8proc_grapheme_break_stateful((utf8proc_int32_t)sheet_char(s, k), (utf8proc_int32_t)sheet_char(s, k + 1), &state);
	return breaks;
}

static size_t break_at_or_before(const struct sheet *s, size_t i)
{
	for (size_t n = 0; n < EDGE_MAX && !is_break(s, i); n++)
		i--;
	return i;
}

static size_t break_at_or_behind(const struct sheet *s, size_t i)
{
	for (size_t n = 0; n < EDGE_MAX && !is_break(s, i); n++)
		i++;
	return i;
}

static bool is_separator(const struct sheet *s, size_t i)
{
	return words_kind_of(sheet_char(s, i)) == WORDS_SEPARATOR;
}

/* The stretch of at most `size` characters that holds most different terms, then most matches. */
static struct words_span best_stretch(const struct sheet *s, size_t size)
{
	struct words_span best = { 0, 0 };
	int best_terms = 0;
	size_t best_n = 0;
	for (size_t i = 0; i < s->n_spots; i++) {
		uint32_t terms = 0;
		size_t n = 0, to = s->spots[i].to;
		for (size_t k = i; k < s->n_spots && (k == i || s->spots[k].to <= s->spots[i].from + size); k++, n++) {
			terms |= s->spots[k].term;
			to = s->spots[k].to > to ? s->spots[k].to : to;
		}
		int n_terms = __builtin_popcount(terms);
		if (n_terms < best_terms || (n_terms == best_terms && n <= best_n))
			continue;
		best = (struct words_span){ s->spots[i].from, to - s->spots[i].from };
		best_terms = n_terms;
		best_n = n;
	}
	return best;
}

/* The beginning of a cut that would be at `at`: forward to a word's, but not past `limit`. */
static size_t cut_begin(const struct sheet *s, size_t at, size_t limit)
{
	if (at == 0)
		return 0;
	for (size_t i = at; i < at + WORD_NEAR && i <= limit; i++)
		if (is_separator(s, i - 1) && !is_separator(s, i) && is_break(s, i))
			return i;
	return break_at_or_before(s, at);
}

/* The same for its end: back to a word's, not in front of `limit`. */
static size_t cut_end(const struct sheet *s, size_t at, size_t limit)
{
	if (at >= s->n_chars)
		return s->n_chars;
	for (size_t i = at; i > 0 && i + WORD_NEAR > at && i >= limit; i--)
		if (!is_separator(s, i - 1) && is_separator(s, i) && is_break(s, i))
			return i;
	return break_at_or_behind(s, at);
}

/* Where to cut, in characters. */
static struct words_span choose_cut(const struct sheet *s, size_t size)
{
	struct words_span core = best_stretch(s, size * 3 / 4);
	size_t spare = size > core.n ? size - core.n : 0, lead = spare / 2 < size / 3 ? spare / 2 : size / 3;
	size_t begin = core.at > lead ? core.at - lead : 0, end = begin + (size > core.n ? size : core.n + lead);
	if (end > s->n_chars) {
		end = s->n_chars;
		begin = end > size && core.at > end - size ? end - size : begin < core.at ? begin : core.at;
	}
	if (s->n_chars <= size)
		begin = 0;
	begin = cut_begin(s, begin, core.at);
	end = cut_end(s, end, core.at + core.n);
	return (struct words_span){ begin, end > begin ? end - begin : 0 };
}

/* The matches of a sheet that is the cut, whole visible characters each, joined where they meet. */
static size_t highlight(const struct sheet *s, size_t offset, struct words_span *out)
{
	size_t n = 0;
	for (size_t i = 0; i < s->n_spots; i++) {
		size_t from = break_at_or_before(s, s->spots[i].from), to = break_at_or_behind(s, s->spots[i].to);
		struct words_span *last = n ? &out[n - 1] : NULL;
		if (last && from + offset <= last->at + last->n)
			last->n = to + offset > last->at + last->n ? to + offset - last->at : last->n;
		else
			out[n++] = (struct words_span){ from + offset, to - from };
	}
	return n;
}

struct words_snippet words_cut(struct arena *a, const struct words_query *q, struct bytes text, size_t size)
{
	static const char ellipsis[] = "\xe2\x80\xa6";
	struct sheet *s = arena_alloc(a, sizeof *s);
	read_sheet(a, q, text, s);
	struct words_span cut = choose_cut(s, size);
	struct bytes piece = { text.p + s->starts[cut.at], s->starts[cut.at + cut.n] - s->starts[cut.at] };
	bool is_begun = cut.at > 0, is_broken_off = cut.at + cut.n < s->n_chars;
	read_sheet(a, q, piece, s);
	struct words_span *spans = arena_array(a, s->n_spots + 1, sizeof *spans);
	struct words_snippet r = { .highlights = spans, .n_highlights = highlight(s, is_begun, spans) };
	char *p = arena_alloc(a, piece.n + 2 * sizeof ellipsis);
	size_t n = 0;
	if (is_begun)
		n = strlen(memcpy(p, ellipsis, sizeof ellipsis));
	if (piece.n)
		memcpy(p + n, piece.p, piece.n);
	n += piece.n;
	if (is_broken_off)
		memcpy(p + n, ellipsis, sizeof ellipsis);
	r.text = (struct bytes){ p, n + (is_broken_off ? strlen(ellipsis) : 0) };
	return r;
}
