/* SPDX-License-Identifier: MIT */
/* test_ident_map: what was added is found with its number, nothing else is. */
#include <criterion/criterion.h>

#include "base/ident_map.h"
#include "base/secret.h"

Test(ident_map, finds_what_was_added_and_nothing_else)
{
	struct arena *a = arena_open(0);
	struct ident_map m;
	enum { N = 20000 };
	static struct ident ids[N];
	ident_map_init(&m, a);
	for (int i = 0; i < N; i++) {
		ids[i] = i % 2 ? ident_new() : (struct ident){ { 0 } };
		if (i % 2 == 0) { /* ids that differ in a few bits only */
			ids[i].b[0] = 1;
			ids[i].b[14] = (unsigned char)(i >> 8);
			ids[i].b[15] = (unsigned char)i;
		}
		cr_assert_not(ident_map_find(&m, &ids[i], NULL));
		cr_assert(ident_map_add(&m, &ids[i], i));
		cr_assert_not(ident_map_add(&m, &ids[i], -1), "an id is added once");
	}
	cr_assert_eq(m.n, N);
	for (int i = 0; i < N; i++) {
		int64_t at = -1;
		cr_assert(ident_map_find(&m, &ids[i], &at));
		cr_assert_eq(at, i);
		struct ident other = ident_new();
		cr_assert_not(ident_map_find(&m, &other, NULL));
	}
	arena_close(&a);
}

Test(ident_map, an_empty_one_holds_nothing)
{
	struct arena *a = arena_open(0);
	struct ident_map m;
	struct ident id = ident_new(), zero = { { 0 } };
	ident_map_init(&m, a);
	cr_assert_not(ident_map_find(&m, &id, NULL));
	cr_assert(ident_map_add(&m, &id, 7));
	cr_assert_not(ident_map_find(&m, &zero, NULL));
	arena_close(&a);
}
