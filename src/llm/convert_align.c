/* SPDX-License-Identifier: MIT */
/*
 * convert_align: finds in a document the units that an aside knows. What is equal at both ends is taken first, then what is there once on
 * either side and in the same order, then the neighbours of that: n log n, and right wherever an edit leaves something to go by.
 */
#include <stdlib.h>

#include "llm/convert_private.h"

#define NO_MATCH ((size_t)-1)

struct align {
	struct arena *arena;
	const uint64_t *known; /* digests of the aside */
	const struct convert_unit *units;
	size_t n_known, n_units;
	size_t *match; /* of each unit: its place in `known` */
};

struct place {
	uint64_t digest;
	size_t at;
	bool is_unit;
};

/* Two places of one digest that is once on either side. */
struct anchor {
	size_t unit, known;
};

static bool is_equal(const struct align *al, size_t unit, size_t known)
{
	return al->units[unit].digest == al->known[known];
}

static int compare_places(const void *x, const void *y)
{
	const struct place *a = x, *b = y;

	if (a->digest != b->digest)
		return a->digest < b->digest ? -1 : 1;
	return (a->is_unit > b->is_unit) - (a->is_unit < b->is_unit);
}

static int compare_anchors(const void *x, const void *y)
{
	const struct anchor *a = x, *b = y;

	return (a->unit > b->unit) - (a->unit < b->unit);
}

/* The anchors between from and the two ends, by unit. */
static size_t find_anchors(const struct align *al, size_t from, size_t units_end, size_t known_end, struct anchor *anchors_r)
{
	size_t n = 0, n_anchors = 0;
	struct place *p = arena_array(al->arena, units_end - from + known_end - from, sizeof(*p));

	for (size_t i = from; i < units_end; i++)
		p[n++] = (struct place){ al->units[i].digest, i, true };
	for (size_t i = from; i < known_end; i++)
		p[n++] = (struct place){ al->known[i], i, false };
	qsort(p, n, sizeof(*p), compare_places);
	for (size_t i = 0, end; i < n; i = end) {
		for (end = i + 1; end < n && p[end].digest == p[i].digest;)
			end++;
		if (end == i + 2 && !p[i].is_unit && p[i + 1].is_unit)
			anchors_r[n_anchors++] = (struct anchor){ p[i + 1].at, p[i].at };
	}
	qsort(anchors_r, n_anchors, sizeof(*anchors_r), compare_anchors);
	return n_anchors;
}

/* Matches the longest run of anchors whose places rise on both sides. */
static void match_rising(struct align *al, const struct anchor *anchors, size_t n)
{
	size_t *tops = arena_array(al->arena, n, sizeof(*tops)), *before = arena_array(al->arena, n, sizeof(*before)), n_tops = 0;

	for (size_t i = 0; i < n; i++) {
		size_t lo = 0, hi = n_tops;

		while (lo < hi) {
			size_t mid = (lo + hi) / 2;

			if (anchors[tops[mid]].known < anchors[i].known)
				lo = mid + 1;
			else
				hi = mid;
		}
		before[i] = lo > 0 ? tops[lo - 1] : NO_MATCH;
		tops[lo] = i;
		n_tops += lo == n_tops;
	}
	for (size_t i = n_tops > 0 ? tops[n_tops - 1] : NO_MATCH; i != NO_MATCH; i = before[i])
		al->match[anchors[i].unit] = anchors[i].known;
}

/* Goes on from each match to the neighbours behind it, as far as they are equal and free; then to those in front. */
static void match_neighbours(struct align *al)
{
	size_t *bound = arena_array(al->arena, al->n_units, sizeof(*bound)), *m = al->match, last = al->n_known;

	for (size_t i = al->n_units; i-- > 0; last = m[i] != NO_MATCH ? m[i] : last)
		bound[i] = last;
	for (size_t i = 1; i < al->n_units; i++) {
		if (m[i] == NO_MATCH && m[i - 1] != NO_MATCH && m[i - 1] + 1 < bound[i] && is_equal(al, i, m[i - 1] + 1))
			m[i] = m[i - 1] + 1;
	}
	last = 0; /* how many are taken by what is in front */
	for (size_t i = 0; i < al->n_units; last = m[i] != NO_MATCH ? m[i] + 1 : last, i++)
		bound[i] = last;
	for (size_t i = al->n_units; i-- > 1;) {
		if (m[i - 1] == NO_MATCH && m[i] != NO_MATCH && m[i] > bound[i - 1] && is_equal(al, i - 1, m[i] - 1))
			m[i - 1] = m[i] - 1;
	}
}

static void match_units(struct align *al)
{
	size_t from = 0, units_end = al->n_units, known_end = al->n_known;
	struct anchor *anchors;

	for (; from < units_end && from < known_end && is_equal(al, from, from); from++)
		al->match[from] = from;
	for (; units_end > from && known_end > from && is_equal(al, units_end - 1, known_end - 1); units_end--, known_end--)
		al->match[units_end - 1] = known_end - 1;
	if (from == units_end || from == known_end)
		return;
	anchors = arena_array(al->arena, units_end - from, sizeof(*anchors));
	match_rising(al, anchors, find_anchors(al, from, units_end, known_end, anchors));
	match_neighbours(al);
}

/* Whether a message's units stand in the document as they were, one behind the other. */
static bool is_whole(const size_t *place, const struct convert_entry *e)
{
	for (size_t i = 0; i < e->n; i++) {
		if (place[e->start + i] == NO_MATCH || place[e->start + i] != place[e->start] + i)
			return false;
	}
	return e->n > 0;
}

static void own(struct convert_units *us, const struct convert_entry *e, size_t owner)
{
	for (size_t i = 0; i < e->n; i++)
		us->items[e->first + i].owner = owner;
}

/*
 * What a model says in one turn is one message: a message of it that has something new at its side was touched, as was one whose turn
 * has another head.
 */
static void release_touched(struct convert_aside *aside, struct convert_units *us)
{
	struct convert_unit *u = us->items;
	bool *is_touched = arena_array(us->arena, aside->n_entries, sizeof(*is_touched));

	for (size_t i = 0; i < us->n; i++) {
		bool has_next = i + 1 < us->n && u[i + 1].turn == u[i].turn && u[i + 1].side == u[i].side;

		if (u[i].owner == NO_OWNER && has_next && (u[i].side == SIDE_MODEL || u[i].is_head) && u[i + 1].owner != NO_OWNER)
			is_touched[u[i + 1].owner] = true;
		if (u[i].owner != NO_OWNER && has_next && u[i].side == SIDE_MODEL && u[i + 1].owner == NO_OWNER)
			is_touched[u[i].owner] = true;
	}
	for (size_t i = 0; i < aside->n_entries; i++) {
		if (!is_touched[i])
			continue;
		aside->entries[i].is_restored = false;
		own(us, &aside->entries[i], NO_OWNER);
	}
}

void convert_align(struct task *t, struct convert_aside *aside, struct convert_units *us)
{
	struct align al = { t->arena, aside->digests, us->items, aside->n_digests, us->n, NULL };
	size_t *place = arena_array(t->arena, al.n_known, sizeof(*place)); /* of each known digest: its unit */

	al.match = arena_array(t->arena, al.n_units, sizeof(*al.match));
	for (size_t i = 0; i < al.n_known; i++)
		place[i] = NO_MATCH;
	for (size_t i = 0; i < al.n_units; i++) {
		us->items[i].digest = convert_digest(t->arena, &us->items[i]);
		al.match[i] = NO_MATCH;
	}
	match_units(&al);
	for (size_t i = 0; i < al.n_units; i++) {
		if (al.match[i] != NO_MATCH)
			place[al.match[i]] = i;
	}
	for (size_t i = 0; i < aside->n_entries; i++) {
		struct convert_entry *e = &aside->entries[i];

		e->is_restored = is_whole(place, e);
		if (!e->is_restored)
			continue;
		e->first = place[e->start];
		own(us, e, i);
	}
	release_touched(aside, us);
}
