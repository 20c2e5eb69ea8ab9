/* SPDX-License-Identifier: MIT */
/* search_rank: what a search found, and in which order it is shown. */
#ifndef PARLEY_APP_SEARCH_RANK_H
#define PARLEY_APP_SEARCH_RANK_H

#include "app/rows.h"
#include "base/words.h"

/* A conversation in which something was found. */
struct search_line {
	struct rows_line rows;
	struct bytes session_id; /* as clients know it */
	uint32_t order;          /* among the conversations of the search */
};

struct search_match {
	const struct search_line *line;
	struct ident stored_in;
	int64_t seq;
	size_t length; /* of the text, in characters */
	unsigned char weights[WORDS_TERMS_MAX];
	double score;
};

/* What is known of all texts that were looked at, and the matches among them. */
struct search_ranking {
	struct arena *arena;
	const struct words_query *q;
	int64_t n_texts, total_length, n_with[WORDS_TERMS_MAX];
	struct search_match *matches;
	size_t n_matches, cap;
};

/* Counts a text; true when it matches, with the weights of the terms. Memory for the moment is taken from `scratch`. */
bool search_rank_text(struct search_ranking *r, struct arena *scratch, struct bytes text, struct search_match *m_r);

/* Keeps a match. Of very many the worse half is dropped, as far as can be told by then. */
void search_rank_add(struct search_ranking *r, const struct search_match *m);

/*
 * Gives every match its score and sorts them, best first: BM25 over the texts that were looked at (k1 1.2, b 0.75), times the share of the terms that
 * are there; of equals the newer first.
 */
void search_rank_sort(struct search_ranking *r);

/* Whether the same message stands further up: sessions that share rows may both have found it. */
bool search_rank_is_repeated(const struct search_ranking *r, size_t i);

#endif
