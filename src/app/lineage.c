/* SPDX-License-Identifier: MIT */
/* lineage: arithmetic over packed ancestors, nearest first. */
#include "app/lineage.h"

#include <assert.h>
#include <string.h>

struct step {
	struct ident conversation;
	int64_t upto;
};

static size_t depth_of(struct bytes lineage)
{
	return lineage.n / LINEAGE_STEP_SIZE;
}

static struct step step_at(struct bytes lineage, size_t i)
{
	const unsigned char *p = (const unsigned char *)lineage.p + i * LINEAGE_STEP_SIZE;
	struct step s = { .upto = 0 };
	uint64_t upto = 0;
	memcpy(s.conversation.b, p, sizeof s.conversation.b);
	for (size_t k = 0; k < sizeof upto; k++)
		upto = upto << 8 | p[sizeof s.conversation.b + k];
	s.upto = (int64_t)upto;
	return s;
}

static void put_step(char *out, const struct ident *conversation, int64_t upto)
{
	memcpy(out, conversation->b, sizeof conversation->b);
	for (int k = 0; k < 8; k++)
		out[sizeof conversation->b + (size_t)k] = (char)((uint64_t)upto >> (56 - 8 * k));
}

bool lineage_is_sound(struct bytes lineage)
{
	int64_t above = INT64_MAX;
	if (lineage.n % LINEAGE_STEP_SIZE != 0 || depth_of(lineage) > LINEAGE_DEPTH)
		return false;
	for (size_t i = 0; i < depth_of(lineage); i++) {
		struct step s = step_at(lineage, i);
		if (s.upto < 1 || s.upto >= above)
			return false;
		above = s.upto;
	}
	return true;
}

int64_t lineage_base(struct bytes lineage)
{
	return depth_of(lineage) ? step_at(lineage, 0).upto : 0;
}

/* The ancestor that owns a seq at or below the base: the last one whose stretch reaches that far. */
static size_t owner_of(struct bytes lineage, int64_t seq)
{
	size_t lo = 0, hi = depth_of(lineage) - 1; /* upto falls with i: the greatest i whose upto >= seq */
	while (lo < hi) {
		size_t mid = (lo + hi + 1) / 2;
		if (step_at(lineage, mid).upto >= seq)
			lo = mid;
		else
			hi = mid - 1;
	}
	return lo;
}

struct lineage_run lineage_find(const struct ident *own, struct bytes lineage, int64_t seq)
{
	assert(seq >= 1);
	int64_t base = lineage_base(lineage);
	if (seq > base)
		return (struct lineage_run){ *own, base + 1, INT64_MAX };
	size_t i = owner_of(lineage, seq);
	struct step s = step_at(lineage, i);
	int64_t below = i + 1 < depth_of(lineage) ? step_at(lineage, i + 1).upto : 0;
	return (struct lineage_run){ s.conversation, below + 1, s.upto };
}

bool lineage_branch(struct arena *a, const struct ident *own, struct bytes lineage, int64_t at, struct bytes *lineage_r, struct ident *parent_r)
{
	size_t n = depth_of(lineage), from;
	*lineage_r = (struct bytes){ "", 0 };
	*parent_r = n ? step_at(lineage, n - 1).conversation : *own;
	if (at <= 0)
		return true;
	*parent_r = lineage_find(own, lineage, at).conversation;
	from = at > lineage_base(lineage) ? 0 : owner_of(lineage, at) + 1;
	if (n - from + 1 > LINEAGE_DEPTH)
		return false;
	char *out = arena_alloc(a, (n - from + 1) * LINEAGE_STEP_SIZE);
	put_step(out, parent_r, at);
	if (n > from)
		memcpy(out + LINEAGE_STEP_SIZE, lineage.p + from * LINEAGE_STEP_SIZE, (n - from) * LINEAGE_STEP_SIZE);
	*lineage_r = (struct bytes){ out, (n - from + 1) * LINEAGE_STEP_SIZE };
	return true;
}
