/* SPDX-License-Identifier: MIT */
/* test_pending: undelivered keys, trust, and processes that die at it. OPS-2 */
#include <criterion/criterion.h>

#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/metrics.h"
#include "base/secret.h"
#include "base/stamp.h"
#include "cache/breaker.h"
#include "cache/pending.h"

#define TTL 30000

static struct pending *area(void)
{
	secret_init();
	void *p = mmap(NULL, pending_size(), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	cr_assert_neq(p, MAP_FAILED);
	return p;
}

static struct pending *open_area(void)
{
	struct pending *p = area();
	pending_open(p, 1, TTL);
	return p;
}

static struct cache_key key_of(int n)
{
	struct cache_key key;
	struct bytes part = { (const char *)&n, sizeof n };
	secret_hash(&part, 1, key.b);
	return key;
}

static void note(struct pending *p, size_t server, int n)
{
	struct cache_key key = key_of(n);
	pending_note(p, server, &key);
}

static void rest_us(long us)
{
	nanosleep(&(struct timespec){ .tv_nsec = us * 1000 }, NULL);
}

Test(pending, a_noted_key_makes_its_server_suspect_until_it_is_settled)
{
	struct pending *p = open_area();
	struct pending_key k[4];
	cr_assert_not(pending_is_suspect(p, 2));
	note(p, 2, 7);
	cr_assert(pending_is_suspect(p, 2));
	cr_assert_not(pending_is_suspect(p, 1));
	cr_assert_eq(metric_get(METRIC_cache_suspect), 1);
	cr_assert_eq(pending_list(p, 1, k, 4), 0);
	cr_assert_eq(pending_list(p, 2, k, 4), 1);
	struct cache_key want = key_of(7);
	cr_assert_arr_eq(k[0].key.b, want.b, sizeof want.b);
	cr_assert(pending_is_suspect(p, 2), "listing strikes nothing out");
	pending_settle(p, k, 1);
	cr_assert_not(pending_is_suspect(p, 2));
	cr_assert_eq(metric_get(METRIC_cache_suspect), 0);
}

Test(pending, a_key_noted_twice_is_kept_once)
{
	struct pending *p = open_area();
	struct pending_key k[4];
	note(p, 0, 7);
	note(p, 0, 7);
	cr_assert_eq(pending_list(p, 0, k, 4), 1);
	pending_settle(p, k, 1);
	cr_assert_not(pending_is_suspect(p, 0));
}

Test(pending, a_key_noted_again_while_its_deletion_was_under_way_stays)
{
	struct pending *p = open_area();
	struct pending_key k[1];
	note(p, 0, 7);
	cr_assert_eq(pending_list(p, 0, k, 1), 1);
	note(p, 0, 7);
	pending_settle(p, k, 1);
	cr_assert(pending_is_suspect(p, 0));
	cr_assert_eq(pending_list(p, 0, k, 1), 1);
	pending_settle(p, k, 1);
	cr_assert_not(pending_is_suspect(p, 0));
}

Test(pending, settling_what_is_not_there_changes_nothing)
{
	struct pending *p = open_area();
	note(p, 0, 7);
	struct pending_key k[1];
	pending_list(p, 0, k, 1);
	pending_settle(p, k, 1);
	pending_settle(p, k, 1);
	cr_assert_not(pending_is_suspect(p, 0));
	note(p, 0, 8);
	pending_settle(p, k, 1);
	cr_assert(pending_is_suspect(p, 0));
}

Test(pending, thousands_of_keys_are_noted_and_settled_in_batches)
{
	struct pending *p = open_area();
	struct pending_key k[100];
	for (int round = 0; round < 3; round++) {
		for (int i = 0; i < 4000; i++)
			note(p, (size_t)i % 2, i);
		cr_assert(pending_trusts(p, stamp_now()), "half full is no reason to give the keys up");
		size_t n[2] = { 0, 0 };
		for (size_t s = 0; s < 2; s++) {
			for (size_t got; (got = pending_list(p, s, k, 100)) > 0; n[s] += got)
				pending_settle(p, k, got);
			cr_assert_not(pending_is_suspect(p, s));
		}
		cr_assert_eq(n[0], 2000);
		cr_assert_eq(n[1], 2000);
	}
}

Test(pending, a_full_table_distrusts_everything_filled_so_far)
{
	struct pending *p = open_area();
	int64_t before = stamp_now();
	cr_assert(pending_trusts(p, before));
	for (int i = 0; i < 2 * PENDING_KEYS; i++)
		note(p, 0, i);
	cr_assert_not(pending_trusts(p, before));
	cr_assert_not(pending_trusts(p, stamp_now()), "other hosts' clocks may run ahead");
	cr_assert(pending_trusts(p, stamp_now() + 1100));
}

Test(pending, a_new_area_trusts_only_what_is_filled_after_it)
{
	int64_t before = stamp_now() - 1;
	struct pending *p = open_area();
	cr_assert_not(pending_trusts(p, before));
	cr_assert(pending_trusts(p, stamp_now()));
}

Test(pending, an_area_that_is_opened_again_keeps_its_keys_and_its_trust)
{
	struct pending *p = open_area();
	note(p, 0, 7);
	pending_open(p, 1, TTL);
	cr_assert(pending_is_suspect(p, 0));
	cr_assert(pending_trusts(p, stamp_now()));
	cr_assert(pending_is_current(p, 1));
}

Test(pending, another_server_list_is_adopted_and_distrusts_what_was_cached)
{
	struct pending *p = open_area();
	note(p, 0, 7);
	int64_t now = stamp_now();
	pending_open(p, 2, TTL);
	cr_assert(pending_is_current(p, 2));
	cr_assert_not(pending_is_current(p, 1));
	cr_assert_not(pending_trusts(p, now));
	cr_assert_not(pending_is_suspect(p, 0));
}

Test(pending, distrust_ends_when_the_servers_have_dropped_the_entries)
{
	struct pending *p = area();
	pending_open(p, 1, 1);
	pending_distrust(p);
	int64_t before = stamp_now() - 10;
	cr_assert_not(pending_trusts(p, before));
	for (int i = 0; i < 50 && !pending_trusts(p, before); i++)
		rest_us(100000);
	cr_assert(pending_trusts(p, before));
}

Test(pending, one_caller_in_twenty_milliseconds_delivers)
{
	struct pending *p = open_area();
	cr_assert(pending_take_turn(p, 0));
	cr_assert_not(pending_take_turn(p, 0));
	cr_assert(pending_take_turn(p, 1));
	rest_us(25000);
	cr_assert(pending_take_turn(p, 0));
}

Test(pending, many_processes_may_open_one_area_at_once)
{
	for (int round = 0; round < 20; round++) {
		struct pending *p = area();
		pid_t child[6];
		for (int i = 0; i < 6; i++) {
			if ((child[i] = fork()) == 0) {
				pending_open(p, 1, TTL);
				note(p, 0, i);
				_exit(0);
			}
		}
		for (int i = 0; i < 6; i++)
			waitpid(child[i], NULL, 0);
		struct pending_key k[8];
		cr_assert_eq(pending_list(p, 0, k, 8), 6, "no key may be lost to a second set-up");
		munmap(p, pending_size());
	}
}

/* Kills a process that does nothing but note keys; mostly it dies inside the lock. */
static void kill_a_writer(struct pending *p, int round)
{
	pid_t pid = fork();
	if (pid == 0)
		for (int i = 0;; i = (i + 1) % 100)
			note(p, 0, i);
	rest_us(2000 + round * 97);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

Test(pending, a_process_that_dies_in_the_lock_blocks_nobody_and_costs_only_trust)
{
	int distrusted = 0;
	/* A loaded machine may not let the writer run before it is killed: on until one died inside. */
	for (int round = 0; round < 60 || (distrusted == 0 && round < 4000); round++) {
		struct pending *p = open_area();
		kill_a_writer(p, round % 200);
		note(p, 0, 1000);
		cr_assert(pending_is_suspect(p, 0), "the lock of a dead process is taken over at once");
		distrusted += !pending_trusts(p, stamp_now());
		struct pending_key k[200];
		size_t n = pending_list(p, 0, k, 200);
		cr_assert_gt(n, 0);
		pending_settle(p, k, n);
		cr_assert_not(pending_is_suspect(p, 0));
		munmap(p, pending_size());
	}
	cr_assert_gt(distrusted, 0, "no process died in the lock: the test shows nothing");
}

static void open_up(struct breaker *b)
{
	for (int i = 0; i < 3; i++)
		breaker_count_failure(b);
}

Test(breaker, opens_after_three_failures_in_a_row)
{
	struct breaker b = { 0 };
	breaker_count_failure(&b);
	breaker_count_failure(&b);
	breaker_close(&b);
	breaker_count_failure(&b);
	breaker_count_failure(&b);
	cr_assert(breaker_admits(&b));
	breaker_count_failure(&b);
	cr_assert_not(breaker_admits(&b));
}

Test(breaker, lets_one_probe_through_and_closes_when_it_is_answered)
{
	struct breaker b = { 0 };
	open_up(&b);
	rest_us(260000);
	cr_assert(breaker_admits(&b));
	cr_assert_not(breaker_admits(&b));
	breaker_close(&b);
	cr_assert(breaker_admits(&b));
	cr_assert(breaker_admits(&b));
}

Test(breaker, stays_open_longer_after_each_probe_that_fails_and_not_for_late_failures)
{
	struct breaker b = { 0 };
	open_up(&b);
	for (int i = 0; i < 20; i++)
		breaker_count_failure(&b);
	rest_us(260000);
	cr_assert(breaker_admits(&b), "calls that were under way do not prolong it");
	breaker_count_failure(&b);
	rest_us(260000);
	cr_assert(breaker_admits(&b));
	breaker_count_failure(&b);
	rest_us(260000);
	cr_assert_not(breaker_admits(&b));
}

Test(breaker, does_not_believe_a_time_of_another_boot)
{
	struct breaker b = { 0 };
	atomic_store(&b.open_until, stamp_mono_ms() + 1000000);
	cr_assert(breaker_admits(&b));
}
