/* SPDX-License-Identifier: MIT */
/* test_arena: memory is zeroed, aligned, kept apart and given back; releases run newest first. */
#include <criterion/criterion.h>
#include <signal.h>
#include <stdint.h>

#include "base/arena.h"

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define POISONS 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) && !defined(POISONS)
#define POISONS 1
#endif
#ifdef POISONS
#include <sanitizer/asan_interface.h>
#endif

static bool all_zero(const char *p, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (p[i])
			return false;
	}
	return true;
}

Test(arena, memory_is_zeroed_and_aligned_also_after_a_reset)
{
	struct arena *a = arena_open(0);
	for (int round = 0; round < 3; round++) {
		for (size_t n = 0; n < 3000; n += 7) {
			char *p = arena_alloc(a, n);
			cr_assert_not_null(p);
			cr_assert_eq((uintptr_t)p % 16, 0);
			cr_assert(all_zero(p, n), "%zu bytes of round %d", n, round);
			memset(p, 0xa5, n);
		}
		arena_reset(a);
	}
	arena_close(&a);
	cr_assert_null(a);
}

Test(arena, a_reset_that_never_left_the_first_block_clears_what_was_used)
{
	struct arena *a = arena_open(4096);
	char *first = arena_alloc(a, 1000);
	memset(first, 1, 1000);
	arena_reset(a);
	char *again = arena_alloc(a, 2000);
	cr_assert_eq(again, first, "the first block must be used again");
	cr_assert(all_zero(again, 2000));
	arena_close(&a);
}

Test(arena, allocations_do_not_overlap)
{
	struct arena *a = arena_open(256);
	enum { COUNT = 500 };
	unsigned char *p[COUNT];
	size_t n[COUNT];
	for (size_t i = 0; i < COUNT; i++) {
		n[i] = i % 50 == 0 ? 70000 + i : i % 97;
		p[i] = arena_alloc(a, n[i]);
		memset(p[i], (int)(i & 255), n[i]);
	}
	for (size_t i = 0; i < COUNT; i++) {
		for (size_t j = 0; j < n[i]; j++)
			cr_assert_eq(p[i][j], i & 255);
	}
	arena_close(&a);
}

Test(arena, a_large_allocation_leaves_the_current_block_in_use)
{
	struct arena *a = arena_open(4096);
	char *before = arena_alloc(a, 16);
	char *large = arena_alloc(a, 3 << 20);
	char *after = arena_alloc(a, 16);
	cr_assert(after > before && after < before + 4096);
	cr_assert(all_zero(large, 3 << 20));
	memset(large, 1, 3 << 20);
	arena_close(&a);
}

Test(arena, used_counts_what_was_asked_for)
{
	struct arena *a = arena_open(256);
	cr_assert_eq(arena_used(a), 0);
	arena_alloc(a, 10);
	arena_alloc(a, 100000);
	cr_assert_eq(arena_used(a), 100010);
	arena_reset(a);
	cr_assert_eq(arena_used(a), 0);
	arena_close(&a);
}

Test(arena, close_of_null_is_fine)
{
	struct arena *a = NULL;
	arena_close(&a);
}

Test(arena, copies_end_in_nul)
{
	struct arena *a = arena_open(0);
	cr_assert_null(arena_strdup(a, NULL));
	cr_assert_str_eq(arena_strdup(a, ""), "");
	cr_assert_str_eq(arena_strdup(a, "text"), "text");
	cr_assert_str_eq(arena_copy(a, "a run of bytes", 5), "a run");
	cr_assert_str_eq(arena_copy(a, NULL, 0), "");
	struct bytes b = arena_bytes(a, (struct bytes){ "a\0b!", 3 });
	cr_assert(bytes_equal(b, (struct bytes){ "a\0b", 3 }));
	cr_assert_eq(b.p[3], '\0');
	cr_assert_null(arena_bytes(a, (struct bytes){ NULL, 0 }).p);
	cr_assert_not_null(arena_bytes(a, BYTES("")).p);
	arena_close(&a);
}

Test(arena, printf_formats_short_and_long_texts)
{
	struct arena *a = arena_open(0);
	cr_assert_str_eq(arena_printf(a, "%s-%d", "x", 7), "x-7");
	for (int n = 250; n < 260; n++) {
		const char *s = arena_printf(a, "%*d", n, 1);
		cr_assert_eq(strlen(s), (size_t)n);
		cr_assert_eq(s[n - 1], '1');
	}
	arena_close(&a);
}

Test(arena, grow_keeps_the_content_and_zeroes_the_rest)
{
	struct arena *a = arena_open(256);
	char *p = arena_grow(a, NULL, 0, 5);
	memcpy(p, "hello", 5);
	for (size_t n = 5; n < 300000; n = n * 3 / 2) {
		p = arena_grow(a, p, n, n * 3 / 2);
		cr_assert_arr_eq(p, "hello", 5);
		cr_assert(all_zero(p + 5, n * 3 / 2 - 5));
	}
	arena_alloc(a, 1);
	char *moved = arena_grow(a, p, 5, 50);
	cr_assert_neq(moved, p);
	cr_assert_arr_eq(moved, "hello", 5);
	arena_close(&a);
}

static char order[8];
static size_t order_n;

static void note(void *object)
{
	order[order_n++] = *(const char *)object;
}

Test(arena, releases_run_newest_first_before_memory_goes)
{
	struct arena *a = arena_open(0);
	arena_defer(a, note, arena_strdup(a, "1"));
	arena_alloc(a, 5000); /* the next ones lie in another block */
	arena_defer(a, note, arena_strdup(a, "2"));
	arena_defer(a, note, arena_strdup(a, "3"));
	arena_reset(a);
	cr_assert_str_eq(order, "321");
	arena_defer(a, note, arena_strdup(a, "4"));
	arena_close(&a);
	cr_assert_str_eq(order, "3214", "a release must not run twice");
}

static void defer_another(void *object)
{
	struct arena *a = object;
	arena_defer(a, note, arena_strdup(a, "n"));
}

Test(arena, a_release_may_defer_another)
{
	struct arena *a = arena_open(0);
	arena_defer(a, defer_another, a);
	arena_close(&a);
	cr_assert_str_eq(order, "n");
}

Test(arena, an_array_whose_size_overflows_aborts, .signal = SIGABRT)
{
	struct arena *a = arena_open(0);
	arena_array(a, SIZE_MAX / 2, 3);
}

Test(arena, a_senseless_size_aborts, .signal = SIGABRT)
{
	struct arena *a = arena_open(0);
	arena_alloc(a, SIZE_MAX - 4);
}

#ifdef POISONS
Test(arena, what_is_not_handed_out_cannot_be_touched_under_the_sanitizer)
{
	struct arena *a = arena_open(4096);
	char *p = arena_alloc(a, 13), *q = arena_alloc(a, 16);
	cr_assert(!__asan_address_is_poisoned(p) && !__asan_address_is_poisoned(p + 12));
	cr_assert(__asan_address_is_poisoned(p + 13));
	cr_assert(__asan_address_is_poisoned(q + 16));
	cr_assert(__asan_address_is_poisoned(q - 1));
	arena_reset(a);
	cr_assert(__asan_address_is_poisoned(p));
	arena_close(&a);
}
#endif
