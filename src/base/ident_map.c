/* SPDX-License-Identifier: MIT */
/* ident_map: open addressing, at most three quarters full; a slot with the zero id is free. */
#include "base/ident_map.h"

#include <assert.h>

#define FIRST_SLOTS 16

struct ident_map_slot {
	struct ident id;
	int64_t value;
};

void ident_map_init(struct ident_map *m, struct arena *a)
{
	*m = (struct ident_map){ .arena = a };
}

/* Ids are times and chance, or hashes; both halves count, so that neither a run of times nor one chance makes a cluster. */
static size_t hash_of(const struct ident *id)
{
	uint64_t high, low;
	memcpy(&high, id->b, sizeof high);
	memcpy(&low, id->b + sizeof high, sizeof low);
	uint64_t h = (high ^ low << 31 ^ low >> 33) * UINT64_C(0x9e3779b97f4a7c15);
	h = (h ^ h >> 29 ^ low) * UINT64_C(0xbf58476d1ce4e5b9);
	return (size_t)(h ^ h >> 32);
}

/* Where an id is, or would go. There is always a free slot. */
static struct ident_map_slot *slot_of(struct ident_map_slot *slots, size_t n_slots, const struct ident *id)
{
	size_t i = hash_of(id) & (n_slots - 1);
	while (!ident_is_zero(&slots[i].id) && !ident_equal(&slots[i].id, id))
		i = (i + 1) & (n_slots - 1);
	return &slots[i];
}

static void grow(struct ident_map *m)
{
	size_t n_slots = m->n_slots ? m->n_slots * 2 : FIRST_SLOTS;
	struct ident_map_slot *slots = arena_array(m->arena, n_slots, sizeof *slots);
	for (size_t i = 0; i < m->n_slots; i++)
		if (!ident_is_zero(&m->slots[i].id))
			*slot_of(slots, n_slots, &m->slots[i].id) = m->slots[i];
	m->slots = slots;
	m->n_slots = n_slots;
}

bool ident_map_add(struct ident_map *m, const struct ident *id, int64_t value)
{
	assert(!ident_is_zero(id));
	if (m->n * 4 >= m->n_slots * 3)
		grow(m);
	struct ident_map_slot *slot = slot_of(m->slots, m->n_slots, id);
	if (!ident_is_zero(&slot->id))
		return false;
	*slot = (struct ident_map_slot){ *id, value };
	m->n++;
	return true;
}

bool ident_map_find(const struct ident_map *m, const struct ident *id, int64_t *value_r)
{
	if (m->n == 0 || ident_is_zero(id))
		return false;
	const struct ident_map_slot *slot = slot_of(m->slots, m->n_slots, id);
	if (ident_is_zero(&slot->id))
		return false;
	if (value_r)
		*value_r = slot->value;
	return true;
}
