/* SPDX-License-Identifier: MIT */
/*
 * extract: sentences, terms, scores, choice. Terms are counted in a table of fixed size by their hash alone: texts from outside cannot make it
 * slow, and two terms that share a place do little harm.
 */
#include "app/extract.h"

#include <math.h>
#include <stdlib.h>

#include "app/render.h"
#include "base/tokens.h"

#define PLACES 65536    /* of the table of terms */
#define UNIT_BYTES 320  /* longest sentence */
#define UNIT_TERMS 64   /* most terms of one that count */
#define UNITS_MAX 20000 /* later ones are not looked at */
#define OPENING 2       /* the texts that begin a conversation */
#define SPEAKER_TOKENS 5 /* of a line's end and its speaker */

/* A sentence. */
struct unit {
	const struct extract_text *from;
	struct bytes text;
	size_t order;
	uint16_t *terms; /* places, each once */
	size_t n_terms;
	bool is_first, has_figure, is_taken;
	double score;
};

struct work {
	struct arena *arena;
	struct unit *units;
	size_t n, room;
	uint32_t *counts; /* PLACES: how many units have the term */
};

/* ---- terms ---- */

static size_t char_size(unsigned char lead)
{
	return lead < 0xc0 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool is_letter(unsigned char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || is_digit((char)c) || (c >= 0xc3 && c < 0xe0);
}

/* A character of three bytes that is no punctuation of its script. */
static bool is_wide(struct bytes s, size_t at)
{
	unsigned char c = (unsigned char)s.p[at], d = at + 1 < s.n ? (unsigned char)s.p[at + 1] : 0;
	return c >= 0xe0 && c < 0xf0 && at + 3 <= s.n && !(c == 0xe2 && d < 0x84) && !(c == 0xe3 && d == 0x80) && !(c == 0xef && (d == 0xbc || d == 0xbd));
}

static void add_term(struct unit *u, const char *p, size_t n)
{
	uint32_t h = 2166136261u;
	for (size_t i = 0; i < n; i++) {
		unsigned char c = (unsigned char)p[i];
		h = (h ^ (c >= 'A' && c <= 'Z' ? c + 32u : c)) * 16777619u;
	}
	uint16_t place = (uint16_t)(h ^ h >> 16);
	for (size_t i = 0; i < u->n_terms; i++)
		if (u->terms[i] == place)
			return;
	if (u->n_terms < UNIT_TERMS)
		u->terms[u->n_terms++] = place;
}

/* Words of letters and digits; where there are no blanks between words, each two characters that stand together. */
static void read_terms(struct unit *u)
{
	struct bytes s = u->text;
	for (size_t i = 0; i < s.n;) {
		size_t from = i;
		u->has_figure |= is_digit(s.p[i]);
		if (is_letter((unsigned char)s.p[i])) {
			while (i < s.n && is_letter((unsigned char)s.p[i])) {
				i += char_size((unsigned char)s.p[i]);
				i = i < s.n ? i : s.n;
			}
			if (i - from > 1)
				add_term(u, s.p + from, i - from);
		} else if (is_wide(s, i)) {
			i += 3;
			add_term(u, s.p + from, i < s.n && is_wide(s, i) ? 6 : 3);
		} else {
			i += char_size((unsigned char)s.p[i]);
		}
	}
}

/* ---- sentences ---- */

static void add_unit(struct work *w, const struct extract_text *from, struct bytes text, bool is_first)
{
	while (text.n && (unsigned char)text.p[0] <= ' ')
		text = (struct bytes){ text.p + 1, text.n - 1 };
	while (text.n && (unsigned char)text.p[text.n - 1] <= ' ')
		text.n--;
	if (text.n == 0 || w->n == UNITS_MAX)
		return;
	if (w->n == w->room) {
		w->units = arena_grow(w->arena, w->units, w->room * sizeof *w->units, 2 * w->room * sizeof *w->units);
		w->room *= 2;
	}
	struct unit *u = &w->units[w->n];
	uint16_t terms[UNIT_TERMS];
	*u = (struct unit){ .from = from, .text = text, .order = w->n, .terms = terms, .is_first = is_first };
	read_terms(u);
	if (u->n_terms == 0)
		return;
	u->terms = (uint16_t *)(void *)arena_copy(w->arena, terms, u->n_terms * sizeof *terms);
	for (size_t i = 0; i < u->n_terms; i++)
		w->counts[terms[i]]++;
	w->n++;
}

/* Bytes of the mark at `at` that ends a sentence; 0: none does. */
static size_t end_mark(struct bytes s, size_t at)
{
	static const char *const marks[] = { "\xe3\x80\x82", "\xef\xbc\x81", "\xef\xbc\x9f", "\xe2\x80\xa6", "\xe0\xa5\xa4", "\xd8\x9f", "\xdb\x94" };
	char c = s.p[at];
	if (c == '\n')
		return 1;
	if (c == '.' || c == '!' || c == '?')
		return at + 1 == s.n || (unsigned char)s.p[at + 1] <= ' ' ? 1 : 0;
	for (size_t i = 0; (unsigned char)c >= 0xd8 && i < sizeof marks / sizeof marks[0]; i++) {
		size_t n = strlen(marks[i]);
		if (at + n <= s.n && memcmp(s.p + at, marks[i], n) == 0)
			return n;
	}
	return 0;
}

/* Where to part what is too long: at the last blank of its second half, else between two characters. */
static size_t part_at(struct bytes s, size_t most)
{
	for (size_t i = most; i > most / 2; i--)
		if (s.p[i] == ' ')
			return i;
	while (most > 1 && ((unsigned char)s.p[most] & 0xc0) == 0x80)
		most--;
	return most;
}

static void read_text(struct work *w, const struct extract_text *x)
{
	bool is_first = true;
	struct bytes rest = x->text;
	for (size_t i = 0; rest.n;) {
		size_t mark = i < rest.n ? end_mark(rest, i) : 0;
		if (mark)
			i += mark;
		else if (i < rest.n && i < UNIT_BYTES) {
			i++;
			continue;
		} else if (i < rest.n)
			i = part_at(rest, i);
		add_unit(w, x, (struct bytes){ rest.p, i }, is_first);
		is_first = false;
		rest = (struct bytes){ rest.p + i, rest.n - i };
		i = 0;
	}
}

/* ---- scores and choice ---- */

static double role_factor(int role)
{
	switch (role) {
	case 0:
		return 1.5; /* what an earlier summary kept has proved its worth */
	case ROLE_USER:
		return 1.2;
	case ROLE_ASSISTANT:
		return 1.0;
	case ROLE_TOOL:
		return 0.4;
	default:
		return 0.8;
	}
}

static void score(const struct work *w, struct unit *u, const struct extract_text *texts, size_t n_texts)
{
	double sum = 0;
	for (size_t i = 0; i < u->n_terms; i++) {
		double n = w->counts[u->terms[i]];
		sum += log(1 + n) * log((double)(w->n + 1) / n);
	}
	size_t place = (size_t)(u->from - texts);
	u->score = sum / (double)(u->n_terms + 4) * role_factor(u->from->role) * (0.8 + 0.4 * (double)place / (double)n_texts);
	if (place < OPENING)
		u->score *= 1.3;
	if (u->is_first)
		u->score *= 1.15;
	if (u->has_figure)
		u->score *= 1.1;
}

static int by_score(const void *x, const void *y)
{
	const struct unit *a = *(const struct unit *const *)x, *b = *(const struct unit *const *)y;
	if (a->score != b->score)
		return a->score > b->score ? -1 : 1;
	return a->order < b->order ? -1 : 1;
}

/* Whether most of what it says is among what was taken. */
static bool is_said(const struct unit *u, const bool *said)
{
	size_t n = 0;
	for (size_t i = 0; i < u->n_terms; i++)
		n += said[u->terms[i]];
	return n * 10 > u->n_terms * 6;
}

/* Takes the best as long as they fit. When none does, the best is cut to what fits: no text has more tokens than bytes. */
static void choose(struct work *w, int64_t tokens)
{
	struct unit **list = arena_array(w->arena, w->n, sizeof *list);
	bool *said = arena_array(w->arena, PLACES, sizeof *said);
	int64_t left = tokens;
	for (size_t i = 0; i < w->n; i++)
		list[i] = &w->units[i];
	qsort(list, w->n, sizeof *list, by_score);
	for (size_t i = 0; i < w->n && left > SPEAKER_TOKENS; i++) {
		int64_t cost = tokens_of_text(list[i]->text) + SPEAKER_TOKENS;
		if (cost > left || is_said(list[i], said))
			continue;
		left -= cost;
		list[i]->is_taken = true;
		for (size_t k = 0; k < list[i]->n_terms; k++)
			said[list[i]->terms[k]] = true;
	}
	if (left == tokens && tokens > 2 * SPEAKER_TOKENS) {
		struct unit *best = list[0];
		if (best->text.n > (size_t)(tokens - SPEAKER_TOKENS))
			best->text.n = part_at(best->text, (size_t)(tokens - SPEAKER_TOKENS));
		best->is_taken = true;
	}
}

struct bytes extract_summary(struct arena *a, const struct extract_text *texts, size_t n, int64_t tokens)
{
	struct work w = { .arena = a, .room = 256, .counts = arena_array(a, PLACES, sizeof(uint32_t)) };
	struct buf b;
	w.units = arena_array(a, w.room, sizeof *w.units);
	for (size_t i = 0; i < n; i++)
		read_text(&w, &texts[i]);
	buf_init(&b, a, 1024);
	if (w.n == 0)
		return buf_bytes(&b);
	for (size_t i = 0; i < w.n; i++)
		score(&w, &w.units[i], texts, n);
	choose(&w, tokens);
	const struct extract_text *speaking = NULL;
	for (size_t i = 0; i < w.n; i++) {
		const struct unit *u = &w.units[i];
		if (!u->is_taken)
			continue;
		bool goes_on = u->from == speaking && u->from->role;
		if (b.n)
			buf_add_char(&b, goes_on ? ' ' : '\n');
		if (!goes_on && u->from->role)
			buf_addf(&b, "%s: ", role_name(u->from->role));
		buf_add_bytes(&b, u->text);
		speaking = u->from;
	}
	return buf_bytes(&b);
}
