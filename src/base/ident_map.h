/* SPDX-License-Identifier: MIT */
/* ident_map: a growing table from ids to numbers, in an arena. */
#ifndef PARLEY_BASE_IDENT_MAP_H
#define PARLEY_BASE_IDENT_MAP_H

#include <stdint.h>

#include "base/arena.h"
#include "base/ident.h"

struct ident_map_slot;

struct ident_map {
	struct arena *arena;
	struct ident_map_slot *slots;
	size_t n, n_slots;
};

/* Starts an empty one; what it grows out of stays in the arena until that goes, less than it holds at the end. */
void ident_map_init(struct ident_map *m, struct arena *a);

/* Adds an id, not zero, with its number; false, and nothing changed, when the id is there. */
bool ident_map_add(struct ident_map *m, const struct ident *id, int64_t value);

/* Finds an id's number; value_r may be NULL. */
bool ident_map_find(const struct ident_map *m, const struct ident *id, int64_t *value_r);

#endif
