/* SPDX-License-Identifier: MIT */
/* test_cache: the promises of cache.h against a memcached of our own, stopped and killed. OPS-2 */
#include <criterion/criterion.h>

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "../support/private_memcached.h"
#include "base/metrics.h"
#include "base/secret.h"
#include "base/stamp.h"
#include "cache/cache_private.h"

static struct arena *arena;
static struct task task;
static struct private_memcached memcached;
static void *area; /* shared by the caches that one test opens as if they were processes */

static void set_up(void)
{
	secret_init();
	arena = arena_open(4096);
	task_init(&task, arena);
	area = mmap(NULL, cache_shared_size(), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	cr_assert_neq(area, MAP_FAILED);
	private_memcached_init(&memcached);
}

static void tear_down(void)
{
	private_memcached_clear(&memcached);
	munmap(area, cache_shared_size());
	arena_close(&arena);
}

TestSuite(cache, .init = set_up, .fini = tear_down, .timeout = 30);

static struct cache *open_timed(const char *servers, int ttl_ms, int timeout_ms)
{
	struct cache *c;
	struct cache_conf conf = { .servers = servers, .timeout_ms = timeout_ms, .ttl_ms = ttl_ms, .shared = area };
	cr_assert_eq(cache_open(&task, &conf, &c), ERR_OK);
	return c;
}

/* With a time-out that a busy machine does not reach. */
static struct cache *open_with(const char *servers, int ttl_ms)
{
	return open_timed(servers, ttl_ms, 2000);
}

/* For servers that do not answer. */
static struct cache *open_impatient(const char *servers)
{
	return open_timed(servers, 30000, 50);
}

static struct cache *open_cache(void)
{
	if (memcached.pid == 0 && !private_memcached_start(&memcached))
		cr_skip_test("no memcached on this machine");
	return open_with(memcached.setting, 30000);
}

static struct cache_key key_of(int n)
{
	struct cache_key key;
	struct bytes part = { (const char *)&n, sizeof n };
	secret_hash(&part, 1, key.b);
	return key;
}

static enum cache_found find(struct cache *c, int n, bool may_fill, struct cache_entry *e)
{
	struct cache_key key = key_of(n);
	return cache_find(&task, c, &key, may_fill, e);
}

static void drop(struct cache *c, int n)
{
	struct cache_key key = key_of(n);
	cache_drop(&task, c, &key);
}

static void fill(struct cache *c, int n, const struct cache_entry *lease, struct bytes value)
{
	struct cache_key key = key_of(n);
	cache_fill(&task, c, &key, lease, value);
}

static void replace(struct cache *c, int n, const struct cache_entry *found, struct bytes value)
{
	struct cache_key key = key_of(n);
	cache_replace(&task, c, &key, found, value);
}

/* Puts a value there by the rules. */
static void keep(struct cache *c, int n, struct bytes value)
{
	struct cache_entry e;
	cr_assert_eq(find(c, n, true, &e), CACHE_LEASED);
	fill(c, n, &e, value);
}

static bool holds(struct cache *c, int n, struct bytes value)
{
	struct cache_entry e;
	return find(c, n, false, &e) == CACHE_HIT && bytes_equal(e.value, value);
}

static void rest_ms(long ms)
{
	nanosleep(&(struct timespec){ .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000 }, NULL);
}

/* ---- servers ---- */

Test(cache, without_servers_every_find_is_skipped_and_nothing_fails)
{
	static const char *const none[] = { NULL, "", "  " };
	for (size_t i = 0; i < 3; i++) {
		struct cache *c = open_with(none[i], 30000);
		struct cache_entry e = { .cas = 5 };
		cr_assert_eq(find(c, 1, true, &e), CACHE_SKIP);
		cr_assert_eq(e.cas, 0);
		fill(c, 1, &e, BYTES("x"));
		replace(c, 1, &e, BYTES("x"));
		drop(c, 1);
		cr_assert_not(cache_is_up(&task, c));
		cache_close(&c);
		cr_assert_null(c);
	}
}

Test(cache, server_lists_are_read)
{
	struct cache_server s[PENDING_SERVERS];
	size_t n;
	cr_assert_eq(cache_parse_servers(&task, " a.example , 10.0.0.2:11212,[::1],[fe80::1]:99 ,unix:/run/m.sock", s, &n), ERR_OK);
	cr_assert_eq(n, 5);
	cr_assert_str_eq(s[0].host, "a.example");
	cr_assert_eq(s[0].port, 11211);
	cr_assert_str_eq(s[1].host, "10.0.0.2");
	cr_assert_eq(s[1].port, 11212);
	cr_assert_str_eq(s[2].host, "[::1]");
	cr_assert_eq(s[2].port, 11211);
	cr_assert_str_eq(s[3].host, "[fe80::1]");
	cr_assert_eq(s[3].port, 99);
	cr_assert_str_eq(s[4].host, "/run/m.sock");
	cr_assert_eq(s[4].port, 0);
}

Test(cache, server_lists_that_make_no_sense_are_refused_by_name)
{
	static const char *const bad[] = {
		",", "a,", "a,,b", "a:0", "a:65536", "a:1x", "a:", ":1", "unix:", "unix:relative", "a b", "a\nb", "[::1", "[::1]x", "a,a", "a,a:11211",
		"h1,h2,h3,h4,h5,h6,h7,h8,h9,h10,h11,h12,h13,h14,h15,h16,h17",
		"unix:/123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890",
	};
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		struct cache *c;
		struct cache_conf conf = { .servers = bad[i], .timeout_ms = 50, .ttl_ms = 1000 };
		cr_assert_eq(cache_open(&task, &conf, &c), ERR_CONFIG, "%s", bad[i]);
		cr_assert_null(c);
		cr_assert_not_null(task.fault.detail);
	}
}

Test(cache, a_server_that_is_not_there_yet_is_used_when_it_comes)
{
	struct cache *c = open_with(memcached.setting, 30000);
	struct cache_entry e;
	for (int i = 0; i < 6; i++)
		cr_assert_eq(find(c, 1, true, &e), CACHE_SKIP);
	cr_assert_not(cache_is_up(&task, c));
	drop(c, 1);
	if (!private_memcached_start(&memcached))
		cr_skip_test("no memcached on this machine");
	for (int i = 0; i < 60 && !cache_is_up(&task, c); i++)
		rest_ms(50);
	cr_assert(cache_is_up(&task, c));
	keep(c, 1, BYTES("v"));
	cr_assert(holds(c, 1, BYTES("v")));
	cache_close(&c);
}

Test(cache, keys_spread_over_several_servers_and_one_that_dies_takes_only_its_own)
{
	struct private_memcached second;
	private_memcached_init(&second);
	if (!private_memcached_start(&memcached) || !private_memcached_start(&second))
		cr_skip_test("no memcached on this machine");
	char list[256];
	snprintf(list, sizeof list, "%s,%s", memcached.setting, second.setting);
	struct cache *c = open_with(list, 30000);
	int on_second = 0;
	for (int i = 0; i < 100; i++) {
		struct cache_key key = key_of(i);
		on_second += cache_server_of(c, &key) == 1;
		keep(c, i, BYTES("v"));
	}
	cr_assert(on_second > 25 && on_second < 75, "%d of 100", on_second);
	private_memcached_clear(&second);
	for (int i = 0; i < 100; i++) {
		struct cache_key key = key_of(i);
		if (cache_server_of(c, &key) == 1)
			drop(c, i);
		cr_assert_eq(holds(c, i, BYTES("v")), cache_server_of(c, &key) == 0);
	}
	cr_assert_not(cache_is_up(&task, c));
	cache_close(&c);
}

/* ---- lease, fill, replace, drop ---- */

Test(cache, a_miss_is_leased_filled_and_then_hit)
{
	struct cache *c = open_cache();
	struct cache_entry e;
	static const char odd[] = "END\r\n\0VALUE x 0 1\r\n\xff";
	struct bytes values[] = { BYTES("value"), { odd, sizeof odd }, { "", 0 } };
	for (int i = 0; i < 3; i++) {
		cr_assert_eq(find(c, i, false, &e), CACHE_SKIP, "without leave to fill there is no lease");
		cr_assert_eq(find(c, i, true, &e), CACHE_LEASED);
		cr_assert_neq(e.cas, 0);
		fill(c, i, &e, values[i]);
		cr_assert_eq(find(c, i, true, &e), CACHE_HIT);
		cr_assert(bytes_equal(e.value, values[i]));
		cr_assert_neq(e.cas, 0);
	}
	cr_assert_eq(metric_get(METRIC_cache_fills_total), 3);
	cr_assert_eq(metric_get(METRIC_cache_hits_total), 3);
	cr_assert(cache_is_up(&task, c));
	cache_close(&c);
}

Test(cache, a_value_outlives_later_finds_of_the_same_task)
{
	struct cache *c = open_cache();
	keep(c, 1, BYTES("first"));
	keep(c, 2, BYTES("other"));
	struct cache_entry first, second;
	cr_assert_eq(find(c, 1, false, &first), CACHE_HIT);
	cr_assert_eq(find(c, 2, false, &second), CACHE_HIT);
	cr_assert(bytes_equal(first.value, BYTES("first")));
	cache_close(&c);
}

Test(cache, large_values_are_kept_and_too_large_ones_are_not)
{
	struct cache *c = open_cache();
	size_t n = CACHE_VALUE_MAX;
	char *p = arena_alloc(arena, n);
	memset(p, 'x', n);
	keep(c, 1, (struct bytes){ p, 990000 });
	cr_assert(holds(c, 1, (struct bytes){ p, 990000 }));
	struct cache_entry e;
	cr_assert_eq(find(c, 1, false, &e), CACHE_HIT);
	replace(c, 1, &e, (struct bytes){ p, n });
	cr_assert_eq(find(c, 1, false, &e), CACHE_SKIP, "what cannot be replaced is removed");
	keep(c, 2, (struct bytes){ p, n });
	cr_assert_eq(find(c, 2, false, &e), CACHE_SKIP);
	cache_close(&c);
}

Test(cache, only_one_reader_gets_the_lease)
{
	struct cache *a = open_cache(), *b = open_cache();
	struct cache_entry e;
	cr_assert_eq(find(a, 1, true, &e), CACHE_LEASED);
	cr_assert_eq(find(b, 1, true, &e), CACHE_SKIP);
	cr_assert_eq(find(a, 1, true, &e), CACHE_SKIP);
	cache_close(&a);
	cache_close(&b);
}

Test(cache, a_writer_voids_the_lease)
{
	struct cache *reader = open_cache(), *writer = open_cache();
	struct cache_entry old, again;
	cr_assert_eq(find(reader, 1, true, &old), CACHE_LEASED);
	drop(writer, 1);
	fill(reader, 1, &old, BYTES("old"));
	cr_assert_eq(metric_get(METRIC_cache_fills_refused_total), 1);
	cr_assert_eq(find(reader, 1, true, &again), CACHE_LEASED);
	fill(reader, 1, &old, BYTES("old"));
	cr_assert_eq(find(writer, 1, false, &old), CACHE_SKIP, "not with the newer marker there either");
	fill(reader, 1, &again, BYTES("new"));
	cr_assert(holds(writer, 1, BYTES("new")));
	cache_close(&reader);
	cache_close(&writer);
}

Test(cache, a_lease_dies_with_the_server_although_the_new_one_counts_from_one_again)
{
	struct cache *reader = open_cache(), *other = open_cache();
	struct cache_entry old, fresh;
	cr_assert_eq(find(reader, 1, true, &old), CACHE_LEASED);
	private_memcached_kill(&memcached);
	cr_assert(private_memcached_start(&memcached));
	cr_assert_eq(find(reader, 99, false, &fresh), CACHE_SKIP, "the reader's connection is made anew");
	cr_assert_eq(find(other, 1, true, &fresh), CACHE_LEASED);
	cr_assert_eq(old.cas, fresh.cas, "or the test shows nothing");
	fill(reader, 1, &old, BYTES("old"));
	cr_assert_not(holds(other, 1, BYTES("old")));
	fill(other, 1, &fresh, BYTES("new"));
	cr_assert(holds(reader, 1, BYTES("new")));
	cache_close(&reader);
	cache_close(&other);
}

Test(cache, an_update_replaces_the_entry_it_found)
{
	struct cache *c = open_cache();
	struct cache_entry e, after;
	keep(c, 1, BYTES("one"));
	cr_assert_eq(find(c, 1, false, &e), CACHE_HIT);
	rest_ms(5);
	replace(c, 1, &e, BYTES("one and two"));
	cr_assert_eq(find(c, 1, false, &after), CACHE_HIT);
	cr_assert(bytes_equal(after.value, BYTES("one and two")));
	cr_assert_eq(after.filled_at, e.filled_at, "an update does not prolong the life");
	cr_assert_eq(metric_get(METRIC_cache_updates_total), 1);
	cache_close(&c);
}

Test(cache, an_update_of_what_has_changed_removes_it)
{
	struct cache *a = open_cache(), *b = open_cache();
	struct cache_entry ea, eb;
	keep(a, 1, BYTES("one"));
	cr_assert_eq(find(a, 1, false, &ea), CACHE_HIT);
	cr_assert_eq(find(b, 1, false, &eb), CACHE_HIT);
	replace(a, 1, &ea, BYTES("one, a"));
	replace(b, 1, &eb, BYTES("one, b"));
	cr_assert_eq(find(a, 1, false, &ea), CACHE_SKIP);
	cache_close(&a);
	cache_close(&b);
}

Test(cache, an_update_of_what_is_gone_stores_nothing)
{
	struct cache *c = open_cache();
	struct cache_entry e;
	keep(c, 1, BYTES("one"));
	cr_assert_eq(find(c, 1, false, &e), CACHE_HIT);
	drop(c, 1);
	replace(c, 1, &e, BYTES("two"));
	cr_assert_eq(find(c, 1, false, &e), CACHE_SKIP);
	cache_close(&c);
}

Test(cache, an_update_without_a_token_only_removes)
{
	struct cache *c = open_cache();
	struct cache_entry none = { 0 }, e;
	keep(c, 1, BYTES("one"));
	replace(c, 1, &none, BYTES("delete\r\nflush_all\r\n"));
	cr_assert_eq(find(c, 1, false, &e), CACHE_SKIP);
	cr_assert_eq(metric_get(METRIC_cache_updates_total), 0);
	cache_close(&c);
}

Test(cache, an_entry_dies_ttl_after_its_fill_however_often_it_is_updated)
{
	if (!private_memcached_start(&memcached))
		cr_skip_test("no memcached on this machine");
	struct cache *c = open_with(memcached.setting, 1000);
	struct cache_entry e;
	keep(c, 1, BYTES("v"));
	int64_t start = stamp_mono_ms(), lived = 0;
	while (find(c, 1, false, &e) == CACHE_HIT) {
		lived = stamp_mono_ms() - start;
		replace(c, 1, &e, BYTES("v"));
		rest_ms(50);
	}
	cr_assert_leq(lived, 1500);
	cache_close(&c);
}

/* ---- values that are not ours ---- */

/* Stores raw bytes under a key, behind the cache's back. */
static void plant(int n, struct bytes raw)
{
	struct cache_server s[PENDING_SERVERS];
	size_t count;
	cr_assert_eq(cache_parse_servers(&task, memcached.setting, s, &count), ERR_OK);
	struct cache_link *l = cache_link_open(s, 50);
	struct cache_key key = key_of(n);
	char text[CACHE_KEY_TEXT + 1];
	secret_hex(key.b, sizeof key.b, text);
	cr_assert_eq(cache_link_set(l, text, raw, 30), CACHE_DONE);
	cache_link_close(&l);
}

/* The bytes on the server of a key that is held. */
static struct bytes raw_of(int n)
{
	struct cache_server s[PENDING_SERVERS];
	size_t count;
	cr_assert_eq(cache_parse_servers(&task, memcached.setting, s, &count), ERR_OK);
	struct cache_link *l = cache_link_open(s, 50);
	struct cache_key key = key_of(n);
	char text[CACHE_KEY_TEXT + 1];
	secret_hex(key.b, sizeof key.b, text);
	struct bytes raw;
	uint64_t cas;
	cr_assert_eq(cache_link_get(l, text, &raw, &cas), CACHE_DONE);
	raw = arena_bytes(arena, raw);
	cache_link_close(&l);
	return raw;
}

Test(cache, a_value_of_another_key_or_a_damaged_one_is_a_miss_and_removed)
{
	struct cache *c = open_cache();
	keep(c, 1, BYTES("someone's"));
	struct bytes good = raw_of(1);
	for (size_t i = 0; i < good.n; i++) {
		bool is_date = i >= 8 && i < 16, is_value = i >= good.n - 9;
		if (is_date || is_value)
			continue;
		char *bad = arena_copy(arena, good.p, good.n);
		bad[i] = (char)(bad[i] ^ 1);
		plant(1, (struct bytes){ bad, good.n });
		struct cache_entry e;
		cr_assert_eq(find(c, 1, false, &e), CACHE_SKIP, "byte %zu", i);
		cr_assert_eq(e.value.n, 0);
	}
	plant(2, good);
	struct cache_entry e;
	cr_assert_eq(find(c, 2, true, &e), CACHE_LEASED, "another session's bytes under this key");
	for (size_t n = 0; n < good.n; n++) {
		plant(3, (struct bytes){ good.p, n });
		cr_assert_eq(find(c, 3, false, &e), CACHE_SKIP, "%zu bytes", n);
	}
	cr_assert_gt(metric_get(METRIC_cache_rejected_total), 60);
	cache_close(&c);
}

Test(cache, a_token_of_zero_is_never_sent)
{
	struct cache *c = open_cache();
	keep(c, 1, BYTES("v"));
	struct cache_server s[PENDING_SERVERS];
	size_t n;
	cr_assert_eq(cache_parse_servers(&task, memcached.setting, s, &n), ERR_OK);
	struct cache_link *l = cache_link_open(s, 50);
	struct cache_key key = key_of(1);
	char text[CACHE_KEY_TEXT + 1];
	secret_hex(key.b, sizeof key.b, text);
	cr_assert_eq(cache_link_cas(l, text, BYTES("flush_all\r\n"), 10, 0), CACHE_REFUSED);
	cr_assert(holds(c, 1, BYTES("v")));
	cache_link_close(&l);
	cache_close(&c);
}

/* ---- servers that stop, die, come back ---- */

Test(cache, an_invalidation_that_cannot_be_delivered_makes_every_process_bypass_until_it_is)
{
	struct cache *reader = open_cache(), *writer = open_impatient(memcached.setting);
	struct cache_entry e;
	keep(reader, 1, BYTES("old"));
	cr_assert(holds(reader, 1, BYTES("old")));
	struct bytes old = raw_of(1);
	private_memcached_pause(&memcached);
	drop(writer, 1);
	private_memcached_resume(&memcached);
	plant(1, old); /* as if the deletion had not reached it */
	cr_assert_eq(metric_get(METRIC_cache_suspect), 1);
	cr_assert_neq(find(reader, 1, false, &e), CACHE_HIT);
	for (int i = 0; i < 60 && !cache_is_up(&task, reader); i++)
		rest_ms(20);
	cr_assert(cache_is_up(&task, reader));
	cr_assert_eq(metric_get(METRIC_cache_suspect), 0);
	cr_assert_eq(find(reader, 1, true, &e), CACHE_LEASED);
	cache_close(&writer);
	cache_close(&reader);
}

Test(cache, a_hung_server_costs_three_timeouts_and_then_nothing)
{
	struct cache *c = open_cache();
	struct cache_entry e;
	keep(c, 1, BYTES("v"));
	struct cache *hurried = open_impatient(memcached.setting);
	private_memcached_pause(&memcached);
	int64_t start = stamp_mono_ms();
	for (int i = 0; i < 100; i++)
		cr_assert_eq(find(hurried, 1, true, &e), CACHE_SKIP);
	cr_assert_lt(stamp_mono_ms() - start, 1500, "without a breaker it would be 5 s");
	cr_assert_lt(metric_get(METRIC_cache_errors_total), 10);
	cr_assert_geq(metric_get(METRIC_cache_bypassed_total), 100);
	cache_close(&hurried);
	private_memcached_resume(&memcached);
	for (int i = 0; i < 60 && !holds(c, 1, BYTES("v")); i++)
		rest_ms(20);
	cr_assert(holds(c, 1, BYTES("v")), "nothing was written meanwhile, so the entry is good");
	cache_close(&c);
}

Test(cache, a_server_that_was_started_anew_is_used_at_once)
{
	struct cache *c = open_cache();
	struct cache_entry e;
	keep(c, 1, BYTES("v"));
	private_memcached_kill(&memcached);
	cr_assert(private_memcached_start(&memcached));
	cr_assert_eq(find(c, 1, true, &e), CACHE_LEASED);
	private_memcached_kill(&memcached);
	cr_assert(private_memcached_start(&memcached));
	drop(c, 1);
	cr_assert_eq(metric_get(METRIC_cache_suspect), 0);
	cache_close(&c);
}

Test(cache, a_host_that_forgot_what_was_pending_trusts_nothing_older)
{
	struct cache *c = open_cache();
	struct cache_entry e;
	keep(c, 1, BYTES("old"));
	cache_close(&c);
	rest_ms(2);
	memset(area, 0, cache_shared_size());
	c = open_cache();
	cr_assert_eq(find(c, 1, true, &e), CACHE_LEASED);
	fill(c, 1, &e, BYTES("new"));
	cr_assert(holds(c, 1, BYTES("new")));
	cache_close(&c);
}

Test(cache, after_a_change_of_servers_old_processes_read_nothing_and_their_writes_void_everything)
{
	struct private_memcached second;
	private_memcached_init(&second);
	struct cache *old = open_cache();
	if (!private_memcached_start(&second))
		cr_skip_test("no memcached on this machine");
	struct cache_entry e;
	keep(old, 1, BYTES("v"));
	struct cache *fresh = open_with(second.setting, 30000);
	cr_assert_eq(find(old, 1, true, &e), CACHE_SKIP);
	cr_assert_eq(find(fresh, 1, true, &e), CACHE_SKIP, "for a second nothing is trusted");
	rest_ms(1100);
	keep(fresh, 1, BYTES("v"));
	cr_assert(holds(fresh, 1, BYTES("v")));
	drop(old, 1);
	cr_assert_not(holds(fresh, 1, BYTES("v")));
	private_memcached_clear(&second);
	cache_close(&old);
	cache_close(&fresh);
}

struct look {
	struct cache *cache;
	uint64_t connection;
};

static void *look(void *arg)
{
	struct look *l = arg;
	struct arena *a = arena_open(1024);
	struct task t;
	task_init(&t, a);
	struct cache_key key = key_of(1);
	struct cache_entry e;
	if (cache_find(&t, l->cache, &key, false, &e) == CACHE_HIT)
		l->connection = e.connection;
	arena_close(&a);
	return NULL;
}

Test(cache, threads_have_connections_of_their_own_that_end_with_them)
{
	struct cache *c = open_cache();
	keep(c, 1, BYTES("v"));
	struct look looks[4];
	pthread_t threads[4];
	for (int i = 0; i < 4; i++) {
		looks[i] = (struct look){ .cache = c };
		pthread_create(&threads[i], NULL, look, &looks[i]);
	}
	for (int i = 0; i < 4; i++) {
		pthread_join(threads[i], NULL);
		cr_assert_neq(looks[i].connection, 0);
		for (int j = 0; j < i; j++)
			cr_assert_neq(looks[i].connection, looks[j].connection);
	}
	cache_close(&c);
}
