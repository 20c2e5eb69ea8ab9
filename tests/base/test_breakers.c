/* SPDX-License-Identifier: MIT */
/* test_breakers: what a breaker says at each time of a clock that the test sets (TRN-9). */
#include <criterion/criterion.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/breakers.h"
#include "base/secret.h"

static const struct breakers_rule rule = { 3, 1000 };

static struct breakers *open_table(void)
{
	void *p = NULL;
	secret_init();
	cr_assert_eq(posix_memalign(&p, 64, breakers_size()), 0);
	return memset(p, 0, breakers_size());
}

static bool admits(struct breakers_slot *s, int64_t now, struct breakers_pass *pass_r)
{
	return breakers_admit(s, &rule, now, pass_r);
}

/* Opens the breaker at a time. */
static void open_at(struct breakers_slot *s, int64_t now)
{
	cr_assert(!breakers_fail(s, &rule, now, false));
	cr_assert(!breakers_fail(s, &rule, now, false));
	cr_assert(breakers_fail(s, &rule, now, false));
}

Test(breakers, opens_after_so_many_failures_and_lets_one_probe_through)
{
	struct breakers *table = open_table();
	struct breakers_slot *s = breakers_find(table, BYTES("a"));
	struct breakers_pass pass;
	open_at(s, 5000);
	cr_assert(!breakers_fail(s, &rule, 5500, false), "calls on their way change nothing");
	cr_assert(!admits(s, 5001, &pass));
	cr_assert_eq(pass.wait_ms, 999);
	cr_assert(!admits(s, 5999, &pass));
	cr_assert(admits(s, 6000, &pass) && pass.is_probe);
	cr_assert(!admits(s, 6000, &pass), "a second probe");
	cr_assert(!pass.is_probe);
	cr_assert_eq(pass.wait_ms, 1000);
	cr_assert(breakers_close(s, 6100));
	cr_assert(admits(s, 6100, &pass) && !pass.is_probe);
	cr_assert(!breakers_close(s, 6200), "it is closed already");
	open_at(s, 6300);
	free(table);
}

Test(breakers, a_probe_that_fails_starts_the_time_anew)
{
	struct breakers *table = open_table();
	struct breakers_slot *s = breakers_find(table, BYTES("a"));
	struct breakers_pass pass;
	open_at(s, 5000);
	cr_assert(admits(s, 6000, &pass) && pass.is_probe);
	breakers_hold(s, &rule, 6900);
	cr_assert(!admits(s, 7800, &pass), "the probe is still at it");
	cr_assert(!breakers_fail(s, &rule, 7850, true), "callers hear the same");
	cr_assert(!admits(s, 8849, &pass));
	cr_assert(admits(s, 8850, &pass) && pass.is_probe);
	free(table);
}

/* A process that dies in the middle of its probe reports nothing. */
Test(breakers, a_probe_that_dies_or_gives_up_makes_room)
{
	struct breakers *table = open_table();
	struct breakers_slot *s = breakers_find(table, BYTES("a"));
	struct breakers_pass pass;
	open_at(s, 5000);
	cr_assert(admits(s, 6000, &pass) && pass.is_probe);
	cr_assert(!admits(s, 6999, &pass));
	cr_assert(admits(s, 7000, &pass) && pass.is_probe, "died");
	breakers_release(s, 7100);
	cr_assert(admits(s, 7100, &pass) && pass.is_probe, "gave up");
	free(table);
}

Test(breakers, an_answer_that_begins_is_trusted_until_it_breaks)
{
	struct breakers *table = open_table();
	struct breakers_slot *s = breakers_find(table, BYTES("a"));
	struct breakers_pass pass;
	open_at(s, 5000);
	cr_assert(admits(s, 6000, &pass) && pass.is_probe);
	cr_assert(breakers_trust(s, &rule, 6100));
	cr_assert(!breakers_trust(s, &rule, 6100));
	cr_assert(admits(s, 6100, &pass) && !pass.is_probe);
	cr_assert(breakers_fail(s, &rule, 6200, true), "one failure is enough");
	cr_assert(!admits(s, 6300, &pass));
	free(table);
}

Test(breakers, only_failures_in_a_row_and_near_each_other_count)
{
	struct breakers *table = open_table();
	struct breakers_slot *s = breakers_find(table, BYTES("a"));
	struct breakers_pass pass;
	int64_t now = 1000;
	for (int i = 0; i < 20; i++, now += 10) {
		cr_assert(!breakers_fail(s, &rule, now, false));
		cr_assert(!breakers_fail(s, &rule, now, false));
		breakers_close(s, now);
	}
	for (int i = 0; i < 20; i++, now += 300001)
		cr_assert(!breakers_fail(s, &rule, now, false), "five minutes lie between them");
	cr_assert(admits(s, now, &pass));
	static const struct breakers_rule never = { 0, 1000 };
	for (int i = 0; i < 100; i++)
		cr_assert(!breakers_fail(s, &never, now, false));
	free(table);
}

Test(breakers, a_limit_lasts_as_long_as_was_asked_and_needs_no_probe)
{
	struct breakers *table = open_table();
	struct breakers_slot *s = breakers_find(table, BYTES("a"));
	struct breakers_pass pass;
	cr_assert(breakers_limit(s, 1000, 2000));
	cr_assert(!breakers_limit(s, 1000, 1000), "a shorter one changes nothing");
	cr_assert(!breakers_close(s, 1500), "a call that was on its way does not lift it");
	cr_assert(!breakers_fail(s, &rule, 1500, false));
	cr_assert(!admits(s, 2999, &pass) && pass.is_limited);
	cr_assert_eq(pass.wait_ms, 1);
	cr_assert(admits(s, 3000, &pass) && !pass.is_probe);
	cr_assert(admits(s, 3000, &pass) && !pass.is_probe);
	cr_assert(breakers_limit(s, 4000, INT64_C(86400000)));
	cr_assert(!admits(s, 4000, &pass));
	cr_assert_eq(pass.wait_ms, 60000, "a minute at most");
	cr_assert(!breakers_limit(s, 4000, 0));
	free(table);
}

/* Over processes: one that is killed in the middle of its probe, or while it counts, leaves nothing locked. */
Test(breakers, processes_share_them_and_may_be_killed)
{
	struct breakers *table = mmap(NULL, breakers_size(), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct breakers_pass pass;
	secret_init();
	cr_assert_neq(table, MAP_FAILED);
	for (int i = 0; i < 20; i++) {
		pid_t pid = fork();
		if (pid == 0)
			for (int64_t now = 1;; now++) {
				struct breakers_slot *s = breakers_find(table, BYTES("busy"));
				(void)breakers_fail(s, &rule, now, admits(s, now, &pass) && pass.is_probe);
				(void)breakers_close(s, now);
			}
		usleep(2000);
		kill(pid, SIGKILL);
		cr_assert_eq(waitpid(pid, NULL, 0), pid);
	}
	struct breakers_slot *busy = breakers_find(table, BYTES("busy")), *s = breakers_find(table, BYTES("a"));
	cr_assert(admits(busy, 1 << 30, &pass));
	open_at(s, 5000);
	if (fork() == 0) {
		(void)!admits(s, 6000, &pass);
		kill(getpid(), SIGKILL);
	}
	wait4(-1, NULL, 0, NULL);
	cr_assert(!admits(s, 6500, &pass), "the other process has the probe");
	cr_assert(admits(s, 7000, &pass) && pass.is_probe);
	munmap(table, breakers_size());
}

/* Whoever reports looked at the clock a moment before, and another came in between. */
Test(breakers, reports_may_come_in_another_order_than_their_times)
{
	struct breakers *table = open_table();
	struct breakers_slot *s = breakers_find(table, BYTES("a"));
	struct breakers_pass pass;
	cr_assert(!breakers_fail(s, &rule, 5003, false));
	cr_assert(!breakers_fail(s, &rule, 5002, false));
	cr_assert(breakers_fail(s, &rule, 5001, false), "all count");
	cr_assert(!admits(s, 5005, &pass));
	free(table);
}

/* The area may be a file that outlives a boot, and the monotonic clock begins again. */
Test(breakers, times_of_another_boot_are_past)
{
	struct breakers *table = open_table();
	struct breakers_slot *a = breakers_find(table, BYTES("a")), *b = breakers_find(table, BYTES("b")), *c = breakers_find(table, BYTES("c"));
	struct breakers_pass pass;
	int64_t old = INT64_C(1000000000);
	open_at(a, old);
	breakers_limit(b, old, 60000);
	cr_assert(!breakers_fail(c, &rule, old, false));
	cr_assert(!breakers_fail(c, &rule, old, false));
	cr_assert(admits(a, 10, &pass) && pass.is_probe);
	cr_assert(admits(b, 10, &pass) && !pass.is_probe);
	cr_assert(!breakers_fail(c, &rule, 10, false));
	free(table);
}

Test(breakers, each_name_has_its_own_as_long_as_there_is_room)
{
	struct breakers *table = open_table();
	struct breakers_slot *slots[64];
	char name[16];
	struct breakers_pass pass;
	for (int i = 0; i < 64; i++) {
		snprintf(name, sizeof name, "p-%d", i);
		slots[i] = breakers_find(table, bytes_of(name));
		cr_assert_not_null(slots[i]);
		for (int k = 0; k < i; k++)
			cr_assert_neq(slots[i], slots[k]);
	}
	for (int i = 0; i < 64; i++) {
		snprintf(name, sizeof name, "p-%d", i);
		cr_assert_eq(breakers_find(table, bytes_of(name)), slots[i]);
	}
	struct breakers_slot *none = breakers_find(table, BYTES("one-more"));
	cr_assert_null(none);
	for (int i = 0; i < 10; i++)
		cr_assert(!breakers_fail(none, &rule, 1, false));
	cr_assert(admits(none, 1, &pass) && !pass.is_probe);
	breakers_hold(none, &rule, 1);
	breakers_release(none, 1);
	cr_assert(!breakers_close(none, 1) && !breakers_trust(none, &rule, 1) && !breakers_limit(none, 1, 5));
	free(table);
}

struct crowd {
	struct breakers *table;
	pthread_barrier_t barrier;
	_Atomic int probes, opened;
};

static void *fail_and_probe(void *arg)
{
	struct crowd *c = arg;
	struct breakers_slot *s = breakers_find(c->table, BYTES("shared"));
	for (int i = 0; i < 1000; i++)
		if (breakers_fail(s, &rule, 5000, false))
			atomic_fetch_add(&c->opened, 1);
	for (int64_t now = 6000; now < 6000 + 50 * 1000; now += 1000) {
		struct breakers_pass pass;
		pthread_barrier_wait(&c->barrier);
		if (breakers_admit(s, &rule, now, &pass))
			atomic_fetch_add(&c->probes, 1);
	}
	return NULL;
}

Test(breakers, of_many_callers_one_opens_it_and_one_probes)
{
	struct crowd c = { .table = open_table() };
	pthread_t threads[8];
	pthread_barrier_init(&c.barrier, NULL, 8);
	for (int i = 0; i < 8; i++)
		cr_assert_eq(pthread_create(&threads[i], NULL, fail_and_probe, &c), 0);
	for (int i = 0; i < 8; i++)
		pthread_join(threads[i], NULL);
	cr_assert_eq(c.opened, 1);
	cr_assert_eq(c.probes, 50, "%d", c.probes);
	pthread_barrier_destroy(&c.barrier);
	free(c.table);
}
