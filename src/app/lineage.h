/* SPDX-License-Identifier: MIT */
/*
 * lineage: which rows a conversation sees. A branch owns the messages behind the place where it left its parent; everything up to there it
 * reads from its ancestors. The ancestors are written down flat with each branch, so that a page costs the same however deep it is.
 */
#ifndef PARLEY_APP_LINEAGE_H
#define PARLEY_APP_LINEAGE_H

#include "base/ident.h"
#include "base/task.h"

#define LINEAGE_STEP_SIZE 24 /* bytes of one ancestor as stored: its id and the last seq seen of it, big-endian */
#define LINEAGE_DEPTH 1000   /* most ancestors */

/* One stretch of a conversation: the rows lo..hi (both visible, lo <= hi) are stored under `conversation`. */
struct lineage_run {
	struct ident conversation;
	int64_t lo, hi;
};

/* Whether stored bytes are a lineage: whole steps, at most LINEAGE_DEPTH, seqs positive and falling from nearest ancestor to root. */
bool lineage_is_sound(struct bytes lineage);

/* The seq after which a conversation's own rows begin: the first step's; 0 without ancestors. */
int64_t lineage_base(struct bytes lineage);

/* The stretch that holds a seq (>= 1) of conversation `own` with this lineage; its hi is INT64_MAX for own rows. */
struct lineage_run lineage_find(const struct ident *own, struct bytes lineage, int64_t seq);

/*
 * The lineage of a branch that leaves conversation `own` after `at` (0: it shares nothing), and whom it descends from: whoever owns the row
 * `at`, or the root when there is none. False when that would be deeper than LINEAGE_DEPTH. The result is in the arena; n 0 and p not NULL when empty.
 */
bool lineage_branch(struct arena *a, const struct ident *own, struct bytes lineage, int64_t at, struct bytes *lineage_r, struct ident *parent_r);

#endif
