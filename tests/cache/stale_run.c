/* SPDX-License-Identifier: MIT */
/*
 * stale_run: the truth is an array of version numbers; raising one is the commit, noting it as acknowledged after the cache call is the
 * acknowledgement. A read may return nothing older than what was acknowledged when it began.
 */
#include "stale_run.h"

#include <assert.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../support/private_memcached.h"
#include "base/secret.h"
#include "base/stamp.h"
#include "cache/cache_private.h"

#define VALUE_BYTES_MAX 12000
#define WORKERS_MAX 16

struct truth {
	_Atomic uint64_t committed;
	_Atomic uint64_t acknowledged;
};

/* Shared by all processes; the cache's own area lies behind it. */
struct stage {
	struct stale_options options;
	char servers[128];
	_Atomic bool is_over;
	_Atomic uint64_t reads, stale, wrong, hits, leased, skipped, writes;
	struct truth truth[STALE_KEYS_MAX];
	_Alignas(64) char cache_area[];
};

/* One thread. */
struct actor {
	struct stage *stage;
	struct cache *cache;
	uint64_t seed;
	struct task task;
};

struct value {
	uint64_t key, version, length;
	unsigned char fill[];
};

static uint32_t draw(struct actor *a, uint32_t below)
{
	a->seed ^= a->seed << 13;
	a->seed ^= a->seed >> 7;
	a->seed ^= a->seed << 17;
	return (uint32_t)(a->seed >> 11) % below;
}

static void rest_us(uint32_t us)
{
	nanosleep(&(struct timespec){ .tv_sec = us / 1000000, .tv_nsec = us % 1000000 * 1000 }, NULL);
}

/* Now and then a pause of the length of a database's answer. */
static void maybe_rest(struct actor *a)
{
	if (draw(a, 3) == 0)
		rest_us(draw(a, 400));
}

static struct cache_key key_of(uint64_t k)
{
	struct cache_key key;
	struct bytes part = { (const char *)&k, sizeof k };
	secret_hash(&part, 1, key.b);
	return key;
}

static struct bytes make_value(struct actor *a, uint64_t k, uint64_t version)
{
	size_t length = draw(a, VALUE_BYTES_MAX);
	struct value *v = arena_alloc(a->task.arena, sizeof *v + length);
	*v = (struct value){ k, version, length };
	memset(v->fill, (int)(version % 251), length);
	return (struct bytes){ (const char *)v, sizeof *v + length };
}

/* The version in a value, or 0 with a count when it is not what was stored under the key. */
static uint64_t read_value(struct stage *g, uint64_t k, struct bytes b)
{
	struct value head;
	if (b.n >= sizeof head) {
		memcpy(&head, b.p, sizeof head);
		const char *fill = b.p + sizeof head;
		unsigned char byte = (unsigned char)(head.version % 251);
		bool is_whole = head.key == k && b.n == sizeof head + head.length &&
				(head.length == 0 || ((unsigned char)fill[0] == byte && memcmp(fill, fill + 1, head.length - 1) == 0));
		if (is_whole && head.version <= atomic_load(&g->truth[k].committed))
			return head.version;
	}
	atomic_fetch_add(&g->wrong, 1);
	return 0;
}

static uint64_t read_truth(struct actor *a, uint64_t k)
{
	maybe_rest(a);
	uint64_t version = atomic_load(&a->stage->truth[k].committed);
	maybe_rest(a);
	return version;
}

static uint64_t read_through(struct actor *a, uint64_t k)
{
	struct stage *g = a->stage;
	struct cache_key key = key_of(k);
	struct cache_entry e;
	enum cache_found found = cache_find(&a->task, a->cache, &key, !g->options.is_broken, &e);
	if (found == CACHE_HIT) {
		atomic_fetch_add(&g->hits, 1);
		return read_value(g, k, e.value);
	}
	atomic_fetch_add(found == CACHE_LEASED ? &g->leased : &g->skipped, 1);
	uint64_t version = read_truth(a, k);
	if (found == CACHE_LEASED)
		cache_fill(&a->task, a->cache, &key, &e, make_value(a, k, version));
	else if (g->options.is_broken)
		cache_set_blindly(&a->task, a->cache, &key, make_value(a, k, version));
	return version;
}

static void act_read(struct actor *a, uint64_t k)
{
	uint64_t owed = atomic_load(&a->stage->truth[k].acknowledged);
	uint64_t version = read_through(a, k);
	if (version < owed)
		atomic_fetch_add(&a->stage->stale, 1);
	atomic_fetch_add(&a->stage->reads, 1);
}

static void acknowledge(struct truth *tr, uint64_t version)
{
	uint64_t old = atomic_load(&tr->acknowledged);
	while (old < version && !atomic_compare_exchange_weak(&tr->acknowledged, &old, version))
		;
}

static void act_write(struct actor *a, uint64_t k)
{
	struct stage *g = a->stage;
	struct cache_key key = key_of(k);
	struct cache_entry e = { 0 };
	bool is_found = draw(a, 2) == 0 && cache_find(&a->task, a->cache, &key, false, &e) == CACHE_HIT;
	uint64_t version = atomic_fetch_add(&g->truth[k].committed, 1) + 1;
	maybe_rest(a);
	if (is_found && read_value(g, k, e.value) + 1 == version)
		cache_replace(&a->task, a->cache, &key, &e, make_value(a, k, version));
	else
		cache_drop(&a->task, a->cache, &key);
	acknowledge(&g->truth[k], version);
	atomic_fetch_add(&g->writes, 1);
}

static void *act(void *arg)
{
	struct actor *a = arg;
	struct arena *arena = arena_open(65536);
	task_init(&a->task, arena);
	while (!atomic_load(&a->stage->is_over)) {
		uint64_t k = draw(a, (uint32_t)a->stage->options.keys);
		if (draw(a, 100) < 15)
			act_write(a, k);
		else
			act_read(a, k);
		arena_reset(arena);
	}
	arena_close(&arena);
	return NULL;
}

static struct cache *open_cache(struct stage *g, struct arena *arena)
{
	struct task t;
	task_init(&t, arena);
	struct cache *c;
	struct cache_conf conf = { .servers = g->servers, .timeout_ms = 50, .ttl_ms = 30000, .shared = g->cache_area };
	enum err e = cache_open(&t, &conf, &c);
	assert(e == ERR_OK);
	return c;
}

struct crew {
	struct arena *arena;
	struct cache *cache;
	pthread_t threads[64];
	struct actor actors[64];
};

static void crew_start(struct crew *w, struct stage *g)
{
	w->arena = arena_open(4096);
	w->cache = open_cache(g, w->arena);
	for (int i = 0; i < g->options.threads; i++) {
		w->actors[i] = (struct actor){ .stage = g, .cache = w->cache };
		secret_random(&w->actors[i].seed, sizeof w->actors[i].seed);
		int rc = pthread_create(&w->threads[i], NULL, act, &w->actors[i]);
		assert(rc == 0);
	}
}

static void crew_join(struct crew *w, const struct stage *g)
{
	for (int i = 0; i < g->options.threads; i++)
		pthread_join(w->threads[i], NULL);
	cache_close(&w->cache);
	arena_close(&w->arena);
}

static pid_t start_worker(struct stage *g)
{
	pid_t pid = fork();
	assert(pid >= 0);
	if (pid != 0)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	struct crew w;
	crew_start(&w, g);
	crew_join(&w, g);
	_exit(0);
}

/* One blow: a stop of up to 400 ms, more often short, a kill with a new start, or the death of a worker. */
static void disturb(struct actor *chance, struct private_memcached *m, pid_t *workers, struct stale_counts *counts)
{
	const struct stale_options *o = &chance->stage->options;
	uint32_t which = draw(chance, 8);
	if (which < 4) {
		private_memcached_pause(m);
		rest_us(5000 + draw(chance, draw(chance, 400000) + 1));
		private_memcached_resume(m);
		counts->stops++;
	} else if (which < 6 || o->processes == 0) {
		private_memcached_kill(m);
		rest_us(draw(chance, 150000));
		bool is_back = private_memcached_start(m);
		assert(is_back);
		counts->kills++;
	} else {
		uint32_t i = draw(chance, (uint32_t)o->processes);
		kill(workers[i], SIGKILL);
		waitpid(workers[i], NULL, 0);
		workers[i] = start_worker(chance->stage);
		counts->worker_kills++;
	}
}

static void direct(struct stage *g, struct private_memcached *m, pid_t *workers, struct stale_counts *counts)
{
	struct actor chance = { .stage = g };
	secret_random(&chance.seed, sizeof chance.seed);
	int64_t end = stamp_mono_ms() + (int64_t)(g->options.seconds * 1000);
	while (stamp_mono_ms() < end) {
		rest_us(20000 + draw(&chance, 500000));
		if (!g->options.is_calm)
			disturb(&chance, m, workers, counts);
	}
	atomic_store(&g->is_over, true);
}

/* What a last reader finds when all is quiet. */
static void look_once_more(struct stage *g)
{
	struct arena *arena = arena_open(65536);
	struct actor a = { .stage = g, .seed = 88172645463325252u };
	a.cache = open_cache(g, arena);
	task_init(&a.task, arena);
	for (uint64_t k = 0; k < (uint64_t)g->options.keys; k++)
		act_read(&a, k);
	cache_close(&a.cache);
	arena_close(&arena);
}

static struct stage *open_stage(const struct stale_options *o, const struct private_memcached *m, size_t *size_r)
{
	*size_r = sizeof(struct stage) + cache_shared_size();
	struct stage *g = mmap(NULL, *size_r, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert(g != MAP_FAILED);
	g->options = *o;
	memcpy(g->servers, m->setting, sizeof m->setting);
	for (int k = 0; k < o->keys; k++)
		g->truth[k].committed = g->truth[k].acknowledged = 1;
	return g;
}

static void play(struct stage *g, struct private_memcached *m, struct stale_counts *counts)
{
	pid_t workers[WORKERS_MAX];
	struct crew w;
	for (int i = 0; i < g->options.processes; i++)
		workers[i] = start_worker(g);
	if (g->options.processes == 0)
		crew_start(&w, g);
	direct(g, m, workers, counts);
	for (int i = 0; i < g->options.processes; i++)
		waitpid(workers[i], NULL, 0);
	if (g->options.processes == 0)
		crew_join(&w, g);
	look_once_more(g);
}

bool stale_run(const struct stale_options *o, struct stale_counts *counts_r)
{
	assert(o->keys <= STALE_KEYS_MAX && o->processes <= WORKERS_MAX && o->threads <= 64);
	*counts_r = (struct stale_counts){ 0 };
	secret_init();
	struct private_memcached m;
	private_memcached_init(&m);
	bool is_there = private_memcached_start(&m);
	if (is_there) {
		size_t size;
		struct stage *g = open_stage(o, &m, &size);
		play(g, &m, counts_r);
		counts_r->reads = g->reads;
		counts_r->stale = g->stale;
		counts_r->wrong = g->wrong;
		counts_r->hits = g->hits;
		counts_r->leased = g->leased;
		counts_r->skipped = g->skipped;
		counts_r->writes = g->writes;
		munmap(g, size);
	}
	private_memcached_clear(&m);
	return is_there;
}
