/* SPDX-License-Identifier: MIT */
/* search_rank: BM25 over what was looked at. */
#include "app/search_rank.h"

#include <math.h>
#include <stdlib.h>

#define K1 1.2
#define B 0.75
#define MATCHES_MAX 16384 /* kept at once */

bool search_rank_text(struct search_ranking *r, struct arena *scratch, struct bytes text, struct search_match *m_r)
{
	struct words_text folded = words_fold(scratch, r->q, text);
	r->n_texts++;
	r->total_length += (int64_t)folded.length;
	m_r->length = folded.length;
	if (!words_count(r->q, folded.folded, m_r->weights))
		return false;
	for (size_t i = 0; i < r->q->n_terms; i++)
		r->n_with[i] += m_r->weights[i] > 0;
	return true;
}

static double score_of(const struct search_ranking *r, const struct search_match *m)
{
	double score = 0, mean = (double)r->total_length / (double)r->n_texts;
	size_t n_found = 0;
	for (size_t i = 0; i < r->q->n_terms; i++) {
		double n = (double)r->n_with[i], f = m->weights[i] / 2.0;
		if (m->weights[i] == 0)
			continue;
		n_found++;
		double rarity = log(1 + ((double)r->n_texts - n + 0.5) / (n + 0.5));
		score += rarity * f * (K1 + 1) / (f + K1 * (1 - B + B * (double)m->length / mean));
	}
	return score * (double)n_found / (double)r->q->n_terms;
}

static int match_order(const void *a, const void *b)
{
	const struct search_match *x = a, *y = b;
	if (x->score != y->score)
		return x->score > y->score ? -1 : 1;
	if (x->line->order != y->line->order)
		return x->line->order < y->line->order ? -1 : 1;
	return (x->seq < y->seq) - (x->seq > y->seq);
}

void search_rank_sort(struct search_ranking *r)
{
	for (size_t i = 0; i < r->n_matches; i++)
		r->matches[i].score = score_of(r, &r->matches[i]);
	if (r->n_matches)
		qsort(r->matches, r->n_matches, sizeof *r->matches, match_order);
}

void search_rank_add(struct search_ranking *r, const struct search_match *m)
{
	if (r->n_matches == MATCHES_MAX) {
		search_rank_sort(r);
		r->n_matches /= 2;
	}
	if (r->n_matches == r->cap) {
		size_t cap = r->cap ? r->cap * 2 : 256;
		r->matches = arena_grow(r->arena, r->matches, r->cap * sizeof *r->matches, cap * sizeof *r->matches);
		r->cap = cap;
	}
	r->matches[r->n_matches++] = *m;
}

bool search_rank_is_repeated(const struct search_ranking *r, size_t i)
{
	for (size_t k = 0; k < i; k++)
		if (r->matches[k].seq == r->matches[i].seq && ident_equal(&r->matches[k].stored_in, &r->matches[i].stored_in))
			return true;
	return false;
}
