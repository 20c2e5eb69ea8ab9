/* SPDX-License-Identifier: MIT */
/*
 * words: text of any script as search compares it. A query becomes terms, a text is folded, terms are counted in it. Pure; any bytes may come, what is
 * not UTF-8 parts words.
 *
 * Folded text is compatibility-decomposed and case-folded (NFKD), without what cannot be seen (joiners, variation selectors). So one text written in
 * other forms matches itself, "STRASSE" matches "straße", full-width Latin the plain one. The marks on letters (accents, the points of Arabic and
 * Hebrew) count only when the query has any: "cafe" finds "café", "café" does not find "cafe". What makes another letter is no such mark (й, ї).
 *
 * Scripts with spaces: a term is a word, matched where a word begins; the whole word counts twice as much as a longer one that begins so. Han and
 * kana, Hangul, Thai, Lao, Khmer, Myanmar and emoji: a run of such characters is a term and matches anywhere.
 */
#ifndef PARLEY_BASE_WORDS_H
#define PARLEY_BASE_WORDS_H

#include <stdbool.h>

#include "base/arena.h"

#define WORDS_QUERY_MAX 200 /* characters of a query */
#define WORDS_TERMS_MAX 16
#define WORDS_WEIGHT_MAX 254 /* two for each whole match of a term, one for each that goes on */

/* A run of characters to be found as it stands. */
struct words_token {
	struct bytes text;
	bool is_spaced; /* a word of a script with spaces: it matches where a word begins */
};

struct words_term {
	const struct words_token *tokens; /* more than one: a phrase, with nothing but separators between them */
	size_t n_tokens;
	bool is_whole; /* words in it must end where it does: of phrases and of what is excluded */
};

struct words_query {
	struct words_term terms[WORDS_TERMS_MAX], excluded[WORDS_TERMS_MAX];
	size_t n_terms, n_excluded;
	bool has_marks; /* so marks on letters count */
};

enum words_flaw {
	WORDS_SOUND,
	WORDS_TOO_LONG,      /* more than WORDS_QUERY_MAX characters */
	WORDS_NONE,          /* no term: nothing, or punctuation alone */
	WORDS_ONLY_EXCLUDED,
	WORDS_TOO_MANY,      /* more than WORDS_TERMS_MAX terms, wanted and excluded */
};

/*
 * Reads a query: words and runs, "phrases" in quotes, each left out when a - stands in front (at the beginning or behind a blank). Terms given twice
 * count once. Memory is the arena's.
 */
enum words_flaw words_parse(struct arena *a, struct bytes query, struct words_query *q_r);

/* A folded text and its length in characters. */
struct words_text {
	struct bytes folded;
	size_t length;
};

/* Folds a text for this query. */
struct words_text words_fold(struct arena *a, const struct words_query *q, struct bytes text);

/*
 * Counts the terms in a folded text: weights[i] becomes the weight of q->terms[i], 0 if absent. False when none of them is there, or something that is
 * excluded is.
 */
bool words_count(const struct words_query *q, struct bytes folded, unsigned char weights[WORDS_TERMS_MAX]);

/* A stretch of characters. */
struct words_span {
	size_t at, n;
};

/* The part of a text around its best matches, and where they are in it, in characters (code points) of `text`; in order, apart from each other. */
struct words_snippet {
	struct bytes text;
	const struct words_span *highlights;
	size_t n_highlights;
};

/*
 * Cuts about `size` characters out of a text, where most terms are close together; at a word's ends where one is near, never inside of what is seen as
 * one character. An ellipsis stands where text was left off. A text in which no term is gives its beginning.
 */
struct words_snippet words_cut(struct arena *a, const struct words_query *q, struct bytes text, size_t size);

#endif
