/* SPDX-License-Identifier: MIT */
/* pending: a table of keys with bounded probing under a robust process-shared mutex; readers look at atomics alone. */
#include "cache/pending.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/metrics.h"
#include "base/secret.h"
#include "base/stamp.h"

#define PROBES 64        /* places looked at for a key */
#define TURN_MS 20
#define LOCK_MS 100      /* longer means a stopped process inside; then distrust, which needs no lock */
#define SETUP_MS 2000    /* longest wait for another process that makes the area ready */
#define SKEW_MS 1000     /* by how much clocks of hosts may differ */
#define LATE_MS 3000     /* by how much a server may outlive an entry's expiry: its clock ticks in seconds and stands still while stopped */

enum { PLACE_FREE = 0, PLACE_GONE = 255 }; /* else server + 1; GONE was used and does not end a search */

struct pending {
	_Atomic uint64_t boot;     /* names the boot for which the area is ready */
	_Atomic int32_t setup_by;  /* process that makes it ready; 0: none */
	_Atomic uint64_t setup;
	_Atomic int64_t ttl_ms;
	_Atomic int64_t trusted_since; /* wall ms */
	_Atomic int64_t distrust_ends; /* monotonic ms: by then the servers have dropped whatever was distrusted */
	_Atomic uint32_t waiting[PENDING_SERVERS];
	_Atomic int64_t turn_at[PENDING_SERVERS];
	pthread_mutex_t lock;
	uint32_t total;
	uint64_t stamp;
	unsigned char place[PENDING_KEYS];
	struct pending_key keys[PENDING_KEYS];
};

size_t pending_size(void)
{
	return sizeof(struct pending);
}

/* ---- trust ---- */

/* Only forward: of two that distrust at once the later moment must hold. */
static void raise_to(_Atomic int64_t *at, int64_t v)
{
	int64_t old = atomic_load(at);
	while (old < v && !atomic_compare_exchange_weak(at, &old, v))
		;
}

static void distrust_before(struct pending *p, int64_t wall_ms)
{
	raise_to(&p->trusted_since, wall_ms);
	raise_to(&p->distrust_ends, stamp_mono_ms() + atomic_load(&p->ttl_ms) + SKEW_MS + LATE_MS);
}

void pending_distrust(struct pending *p)
{
	distrust_before(p, stamp_now() + SKEW_MS);
}

bool pending_trusts(const struct pending *p, int64_t filled_at)
{
	return filled_at >= atomic_load(&p->trusted_since) || stamp_mono_ms() >= atomic_load(&p->distrust_ends);
}

/* ---- lock ---- */

static void forget_all(struct pending *p)
{
	memset(p->place, PLACE_FREE, sizeof p->place);
	p->total = 0;
	for (size_t s = 0; s < PENDING_SERVERS; s++)
		atomic_store(&p->waiting[s], 0);
	metric_set(METRIC_cache_suspect, 0);
}

/* False when somebody sits in the lock and does not move. */
static bool lock(struct pending *p)
{
	struct timespec until;
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_nsec += LOCK_MS * 1000000L;
	if (until.tv_nsec >= 1000000000L) {
		until.tv_nsec -= 1000000000L;
		until.tv_sec++;
	}
	int rc = pthread_mutex_timedlock(&p->lock, &until);
	if (rc == ETIMEDOUT)
		return false;
	if (rc == EOWNERDEAD) {
		/* The owner died half way. The table may be torn, so give it up, and with it everything cached until now. */
		pending_distrust(p);
		forget_all(p);
		rc = pthread_mutex_consistent(&p->lock);
	}
	assert(rc == 0);
	return true;
}

static void unlock(struct pending *p)
{
	int rc = pthread_mutex_unlock(&p->lock);
	assert(rc == 0);
}

/* ---- making ready ---- */

/* Names this boot: a mutex left locked in a file by a machine that went down would otherwise stay locked for ever. */
static uint64_t boot_now(void)
{
	char id[64] = "";
	ssize_t n = -1;
	int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
	if (fd >= 0) {
		n = read(fd, id, sizeof id);
		close(fd);
	}
	struct bytes part = { id, n > 0 ? (size_t)n : 0 };
	unsigned char hash[SECRET_HASH_SIZE];
	secret_hash(&part, 1, hash);
	uint64_t boot;
	memcpy(&boot, hash, sizeof boot);
	return boot | 1;
}

static void set_up(struct pending *p)
{
	pthread_mutexattr_t a;
	int rc = pthread_mutexattr_init(&a);
	rc |= pthread_mutexattr_setpshared(&a, PTHREAD_PROCESS_SHARED);
	rc |= pthread_mutexattr_setrobust(&a, PTHREAD_MUTEX_ROBUST);
	memset(&p->lock, 0, sizeof p->lock);
	rc |= pthread_mutex_init(&p->lock, &a);
	rc |= pthread_mutexattr_destroy(&a);
	assert(rc == 0);
	atomic_store(&p->distrust_ends, 0);
	distrust_before(p, stamp_now());
	forget_all(p);
}

/* Whether this process is the one to make the area ready; takes over from one that died at it. */
static bool take_setup(struct pending *p, int64_t waited_ms)
{
	int32_t by = atomic_load(&p->setup_by);
	if (by != 0 && waited_ms < SETUP_MS && (kill(by, 0) == 0 || errno != ESRCH))
		return false;
	return atomic_compare_exchange_strong(&p->setup_by, &by, (int32_t)getpid());
}

static void make_ready(struct pending *p)
{
	uint64_t boot = boot_now();
	int64_t start = stamp_mono_ms();
	while (atomic_load(&p->boot) != boot) {
		if (!take_setup(p, stamp_mono_ms() - start)) {
			nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
			continue;
		}
		if (atomic_load(&p->boot) != boot)
			set_up(p);
		atomic_store(&p->boot, boot);
		atomic_store(&p->setup_by, 0);
	}
}

void pending_open(struct pending *p, uint64_t setup, int64_t ttl_ms)
{
	assert(setup != 0);
	int64_t none = 0;
	atomic_compare_exchange_strong(&p->ttl_ms, &none, ttl_ms);
	make_ready(p);
	uint64_t known = 0;
	if (atomic_compare_exchange_strong(&p->setup, &known, setup) || known == setup)
		return;
	raise_to(&p->ttl_ms, ttl_ms);
	pending_distrust(p);
	atomic_store(&p->setup, setup);
	if (!lock(p))
		return;
	forget_all(p);
	unlock(p);
}

bool pending_is_current(const struct pending *p, uint64_t setup)
{
	return atomic_load(&p->setup) == setup;
}

/* ---- keys ---- */

bool pending_is_suspect(const struct pending *p, size_t server)
{
	return atomic_load(&p->waiting[server]) != 0;
}

/* The key's place, or else with `for_new` one it can have; -1 when there is none. */
static int find_place(const struct pending *p, const struct cache_key *key, bool for_new)
{
	uint32_t start;
	memcpy(&start, key->b, sizeof start);
	int usable = -1;
	for (uint32_t i = 0; i < PROBES; i++) {
		int at = (int)((start + i) % PENDING_KEYS);
		if (p->place[at] == PLACE_FREE)
			return for_new ? (usable >= 0 ? usable : at) : -1;
		if (p->place[at] != PLACE_GONE && memcmp(&p->keys[at].key, key, sizeof *key) == 0)
			return at;
		if (p->place[at] == PLACE_GONE && usable < 0)
			usable = at;
	}
	return for_new ? usable : -1;
}

static bool is_taken(const struct pending *p, int at)
{
	return p->place[at] != PLACE_FREE && p->place[at] != PLACE_GONE;
}

static void put(struct pending *p, int at, size_t server, const struct cache_key *key)
{
	if (!is_taken(p, at)) {
		p->keys[at].key = *key;
		p->place[at] = (unsigned char)(server + 1);
		if (p->total++ == 0)
			metric_set(METRIC_cache_suspect, 1);
		atomic_fetch_add(&p->waiting[server], 1);
	}
	p->keys[at].stamp = ++p->stamp;
}

void pending_note(struct pending *p, size_t server, const struct cache_key *key)
{
	if (!lock(p)) {
		pending_distrust(p);
		return;
	}
	int at = find_place(p, key, true);
	if (at >= 0) {
		put(p, at, server, key);
	} else {
		/* No room: distrusting everything filled until now covers this key and all that are written down. */
		pending_distrust(p);
		forget_all(p);
	}
	unlock(p);
}

bool pending_take_turn(struct pending *p, size_t server)
{
	int64_t now = stamp_mono_ms();
	int64_t at = atomic_load(&p->turn_at[server]);
	if (now < at && at - now <= TURN_MS)
		return false;
	return atomic_compare_exchange_strong(&p->turn_at[server], &at, now + TURN_MS);
}

size_t pending_list(struct pending *p, size_t server, struct pending_key *keys_r, size_t max)
{
	if (!lock(p))
		return 0;
	size_t n = 0;
	for (size_t at = 0; at < PENDING_KEYS && n < max; at++)
		if (p->place[at] == server + 1)
			keys_r[n++] = p->keys[at];
	unlock(p);
	return n;
}

static void strike_out(struct pending *p, int at)
{
	atomic_fetch_sub(&p->waiting[p->place[at] - 1], 1);
	p->place[at] = PLACE_GONE;
	if (--p->total == 0)
		forget_all(p);
}

void pending_settle(struct pending *p, const struct pending_key *keys, size_t n)
{
	if (!lock(p))
		return;
	for (size_t i = 0; i < n; i++) {
		int at = find_place(p, &keys[i].key, false);
		/* Noted again meanwhile: that write may have been committed after the deletion that was confirmed. */
		if (at >= 0 && p->keys[at].stamp == keys[i].stamp)
			strike_out(p, at);
	}
	unlock(p);
}
