/* SPDX-License-Identifier: MIT */
/* test_lineage: a branch finds every row it sees, however branches branched. */
#include <criterion/criterion.h>
#include <string.h>

#include "app/lineage.h"

static struct ident named(unsigned n)
{
	struct ident id = { { 0 } };
	id.b[0] = (unsigned char)n;
	id.b[1] = (unsigned char)(n >> 8);
	id.b[15] = 1;
	return id;
}

static unsigned name_of(const struct ident *id)
{
	return id->b[0] | (unsigned)id->b[1] << 8;
}

Test(lineage, a_conversation_without_ancestors_owns_all_it_sees)
{
	struct ident own = named(1);
	struct bytes none = { NULL, 0 };
	struct lineage_run run = lineage_find(&own, none, 7);
	cr_assert(lineage_is_sound(none));
	cr_assert_eq(lineage_base(none), 0);
	cr_assert(ident_equal(&run.conversation, &own));
	cr_assert_eq(run.lo, 1);
	cr_assert_eq(run.hi, INT64_MAX);
}

Test(lineage, a_branch_at_an_inherited_message_descends_from_its_owner)
{
	struct arena *a = arena_open(0);
	struct ident root = named(1), child = named(2), parent;
	struct bytes none = { NULL, 0 }, first, second, third;
	cr_assert(lineage_branch(a, &root, none, 10, &first, &parent));
	cr_assert_eq(name_of(&parent), 1);
	cr_assert_eq(lineage_base(first), 10);
	cr_assert(lineage_branch(a, &child, first, 4, &second, &parent));
	cr_assert_eq(name_of(&parent), 1, "row 4 is the root's");
	cr_assert_eq(second.n, LINEAGE_STEP_SIZE);
	cr_assert(lineage_branch(a, &child, first, 12, &third, &parent));
	cr_assert_eq(name_of(&parent), 2);
	struct ident leaf = named(3);
	struct lineage_run run = lineage_find(&leaf, third, 11);
	cr_assert_eq(name_of(&run.conversation), 2);
	cr_assert(run.lo == 11 && run.hi == 12);
	run = lineage_find(&leaf, third, 10);
	cr_assert_eq(name_of(&run.conversation), 1);
	cr_assert(run.lo == 1 && run.hi == 10);
	arena_close(&a);
}

Test(lineage, a_branch_in_front_of_everything_shares_nothing)
{
	struct arena *a = arena_open(0);
	struct ident root = named(1), child = named(2), parent;
	struct bytes none = { NULL, 0 }, first, second;
	cr_assert(lineage_branch(a, &root, none, 3, &first, &parent));
	cr_assert(lineage_branch(a, &child, first, 0, &second, &parent));
	cr_assert_eq(second.n, 0);
	cr_assert_eq(name_of(&parent), 1, "the root of them all");
	arena_close(&a);
}

/* CNV-2: against the plain rule: a line is its parent's up to the base, then its own. */
Test(lineage, any_tree_is_seen_as_the_plain_rule_sees_it)
{
	enum { CONVERSATIONS = 200, MOST = 400 };
	static unsigned owner[CONVERSATIONS][MOST]; /* who holds row seq - 1 of a conversation's line */
	static int length[CONVERSATIONS];
	static struct bytes lineages[CONVERSATIONS];
	struct arena *a = arena_open(0);
	unsigned seed = 20261120;
	length[0] = 20;
	for (unsigned c = 1; c < CONVERSATIONS; c++) {
		struct ident parent;
		seed = seed * 1103515245u + 12345u;
		unsigned from = (seed >> 16) % c;
		struct ident own = named(from);
		seed = seed * 1103515245u + 12345u;
		int at = (int)((seed >> 16) % (unsigned)(length[from] + 1));
		cr_assert(lineage_branch(a, &own, lineages[from], at, &lineages[c], &parent));
		cr_assert(lineage_is_sound(lineages[c]));
		cr_assert_eq(lineage_base(lineages[c]), at);
		memcpy(owner[c], owner[from], sizeof owner[c]);
		length[c] = at + 1 + (int)(seed >> 28);
		for (int i = at; i < length[c]; i++)
			owner[c][i] = c;
		if (at)
			cr_assert_eq(name_of(&parent), owner[from][at - 1]);
	}
	for (unsigned c = 0; c < CONVERSATIONS; c++)
		for (int seq = 1; seq <= length[c]; seq++) {
			struct ident own = named(c);
			struct lineage_run run = lineage_find(&own, lineages[c], seq);
			cr_assert_eq(name_of(&run.conversation), owner[c][seq - 1], "conversation %u, seq %d", c, seq);
			cr_assert(run.lo <= seq && seq <= run.hi);
		}
	arena_close(&a);
}

Test(lineage, what_is_too_deep_is_refused)
{
	struct arena *a = arena_open(0);
	struct bytes lineage = { NULL, 0 };
	struct ident parent;
	for (unsigned i = 0; i < LINEAGE_DEPTH; i++) {
		struct ident own = named(i);
		cr_assert(lineage_branch(a, &own, lineage, (int64_t)i + 1, &lineage, &parent));
	}
	struct ident last = named(LINEAGE_DEPTH);
	struct bytes deeper;
	cr_assert(lineage_is_sound(lineage));
	cr_assert_not(lineage_branch(a, &last, lineage, LINEAGE_DEPTH + 1, &deeper, &parent));
	cr_assert(lineage_branch(a, &last, lineage, 5, &deeper, &parent), "further up there is room");
	arena_close(&a);
}

Test(lineage, bytes_that_are_none_are_not_sound)
{
	struct arena *a = arena_open(0);
	struct ident own = named(1), parent;
	struct bytes good, more;
	cr_assert(lineage_branch(a, &own, (struct bytes){ NULL, 0 }, 5, &good, &parent));
	own = named(2);
	cr_assert(lineage_branch(a, &own, good, 9, &more, &parent));
	char bytes[2 * LINEAGE_STEP_SIZE];
	memcpy(bytes, more.p, more.n);
	cr_assert(lineage_is_sound((struct bytes){ bytes, sizeof bytes }));
	cr_assert_not(lineage_is_sound((struct bytes){ bytes, sizeof bytes - 1 }), "half a step");
	bytes[LINEAGE_STEP_SIZE - 1] = 5;
	cr_assert_not(lineage_is_sound((struct bytes){ bytes, sizeof bytes }), "an ancestor's part must end below its descendant's");
	bytes[LINEAGE_STEP_SIZE - 1] = 9;
	bytes[16] = (char)0x80;
	cr_assert_not(lineage_is_sound((struct bytes){ bytes, sizeof bytes }), "negative");
	memset(bytes + 16, 0, 8);
	cr_assert_not(lineage_is_sound((struct bytes){ bytes, LINEAGE_STEP_SIZE }), "nothing shared is no step");
	arena_close(&a);
}
