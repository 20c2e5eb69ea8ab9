/* SPDX-License-Identifier: MIT */
/*
 * cache: what may be read from and written to the servers, so that no read is older than a write acknowledged before it began.
 *
 * - A value gets into a server only by `cas`, never by `set`. A fill's token is that of a marker put there by `add` before the database was
 *   read; a writer's is that of the entry it extends. Any deletion of the key voids both.
 * - A writer invalidates between its commit and its acknowledgement. Once a server has confirmed the deletion, whatever it holds of the key later
 *   was read from the database after that deletion, hence after the commit.
 * - What no server confirmed is written down in the host's shared area before the writer acknowledges (pending.h). A reader looks there before it
 *   asks a server: if it sees nothing undelivered, every write acknowledged so far has been confirmed. Looking afterwards instead would be wrong: the
 *   deletion might be delivered between the answer and the look. The table losing keys (full, a dead process, a new area) distrusts every
 *   entry filled before that moment; a fill is dated before its database read, an update keeps its fill's date.
 * - A token counts on the connection that gave it and on no other: a server that died comes back empty and counts from 1, and would take an
 *   old token for that of a new marker. A connection never outlives the server process behind it.
 *
 * A server that was stopped carries out, when it goes on, what still lies in its sockets, after their senders gave up. Each such
 * command is harmless: a `get` has no reader; an `add` puts down a marker whose token nobody has, so that the key is not filled until it
 * expires; a `delete` costs a miss; a `cas` finds its token only if no deletion of the key was carried out since the token was given, and then either
 * nothing was committed since, or that writer's deletion is still undelivered, the server suspect, and the value goes with the deletion.
 */
#include "cache/cache.h"

#include <assert.h>
#include <endian.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/metrics.h"
#include "base/secret.h"
#include "base/stamp.h"
#include "cache/breaker.h"
#include "cache/cache_private.h"

#define LEASE_S 3        /* a reader that dies leaves the key unfilled for so long */
#define DELIVER_MS 20    /* for so long one caller delivers what is pending */
#define DELIVER_KEYS 64

#define VALUE_MAGIC 0x31566350u  /* "PcV1" */
#define MARKER_MAGIC 0x314d6350u /* "PcM1" */

/* In front of each value on a server; numbers little-endian. */
struct value_head {
	uint32_t magic;
	uint32_t length;    /* of the value behind it */
	int64_t filled_at;
	struct cache_key key;
};

/* What a lease stores under the key. */
struct marker {
	uint32_t magic;
	uint32_t unused;
	uint64_t process; /* random */
	uint64_t lease;
};

/* One thread's connections. */
struct links {
	struct cache *cache;
	struct links *next, **at;
	struct cache_link *of[PENDING_SERVERS];
};

/* The shared area: breakers first, for their alignment, then what is pending. */
struct area {
	struct breaker breakers[PENDING_SERVERS];
};

struct cache {
	struct cache_server servers[PENDING_SERVERS];
	size_t n; /* 0: there is no cache */
	int timeout_ms;
	int64_t ttl_ms;
	uint64_t setup; /* names servers and ttl */
	struct breaker *breakers;
	struct pending *pending;
	void *private_area;
	uint64_t process;
	_Atomic uint64_t leases;
	pthread_key_t thread;
	pthread_mutex_t lock; /* of `links` */
	struct links *links;
};

/* ---- opening ---- */

size_t cache_shared_size(void)
{
	return sizeof(struct area) + pending_size() + _Alignof(struct area) - 1;
}

static void links_close(struct links *ls)
{
	for (size_t s = 0; s < PENDING_SERVERS; s++)
		cache_link_close(&ls->of[s]);
	free(ls);
}

static void lock_links(struct cache *c)
{
	int rc = pthread_mutex_lock(&c->lock);
	assert(rc == 0);
}

static void unlock_links(struct cache *c)
{
	int rc = pthread_mutex_unlock(&c->lock);
	assert(rc == 0);
}

/* The end of a thread. */
static void links_drop(void *object)
{
	struct links *ls = object;
	lock_links(ls->cache);
	*ls->at = ls->next;
	if (ls->next)
		ls->next->at = ls->at;
	unlock_links(ls->cache);
	links_close(ls);
}

static uint64_t name_setup(const struct cache *c)
{
	uint64_t words[PENDING_SERVERS + 1] = { (uint64_t)c->ttl_ms };
	for (size_t s = 0; s < c->n; s++)
		words[s + 1] = c->servers[s].hash;
	struct bytes part = { (const char *)words, sizeof words };
	unsigned char hash[SECRET_HASH_SIZE];
	secret_hash(&part, 1, hash);
	uint64_t setup;
	memcpy(&setup, hash, sizeof setup);
	return setup | 1;
}

static void use_area(struct cache *c, void *shared)
{
	if (!shared) {
		shared = c->private_area = calloc(1, cache_shared_size());
		assert(shared);
	}
	/* The same place in every process: mappings begin at pages. */
	struct area *area = (struct area *)(((uintptr_t)shared + _Alignof(struct area) - 1) & ~(uintptr_t)(_Alignof(struct area) - 1));
	c->breakers = area->breakers;
	c->pending = (struct pending *)(void *)(area + 1);
	pending_open(c->pending, c->setup, c->ttl_ms);
}

enum err cache_open(struct task *t, const struct cache_conf *conf, struct cache **c_r)
{
	*c_r = NULL;
	struct cache *c = calloc(1, sizeof *c);
	assert(c);
	enum err e = cache_parse_servers(t, conf->servers, c->servers, &c->n);
	if (e) {
		free(c);
		return e;
	}
	c->timeout_ms = conf->timeout_ms;
	c->ttl_ms = conf->ttl_ms;
	if (c->n > 0) {
		c->setup = name_setup(c);
		secret_random(&c->process, sizeof c->process);
		use_area(c, conf->shared);
		int rc = pthread_key_create(&c->thread, links_drop);
		rc |= pthread_mutex_init(&c->lock, NULL);
		assert(rc == 0);
	}
	*c_r = c;
	return ERR_OK;
}

void cache_close(struct cache **c)
{
	struct cache *old = *c;
	*c = NULL;
	if (!old)
		return;
	if (old->n > 0) {
		pthread_key_delete(old->thread);
		for (struct links *ls = old->links, *next; ls; ls = next) {
			next = ls->next;
			links_close(ls);
		}
		pthread_mutex_destroy(&old->lock);
	}
	free(old->private_area);
	free(old);
}

/* ---- asking a server ---- */

static struct links *links_of_thread(struct cache *c)
{
	struct links *ls = pthread_getspecific(c->thread);
	if (ls)
		return ls;
	ls = calloc(1, sizeof *ls);
	assert(ls);
	ls->cache = c;
	lock_links(c);
	ls->next = c->links;
	ls->at = &c->links;
	if (ls->next)
		ls->next->at = &ls->next;
	c->links = ls;
	unlock_links(c);
	int rc = pthread_setspecific(c->thread, ls);
	assert(rc == 0);
	return ls;
}

static struct cache_link *link_to(struct cache *c, size_t server)
{
	struct links *ls = links_of_thread(c);
	if (!ls->of[server])
		ls->of[server] = cache_link_open(&c->servers[server], c->timeout_ms);
	return ls->of[server];
}

static uint64_t mix(uint64_t x)
{
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
	return x ^ (x >> 31);
}

/* Consistent hashing: the server with the highest draw has the key, so a server more or fewer moves only the keys that are its own. */
size_t cache_server_of(const struct cache *c, const struct cache_key *key)
{
	if (c->n == 1)
		return 0;
	uint64_t bits;
	memcpy(&bits, key->b, sizeof bits);
	size_t best = 0;
	uint64_t highest = 0;
	for (size_t s = 0; s < c->n; s++) {
		uint64_t draw = mix(bits ^ c->servers[s].hash);
		if (draw >= highest) {
			highest = draw;
			best = s;
		}
	}
	return best;
}

/* One key's server, and the calling thread's connection to it. */
struct route {
	size_t server;
	struct cache_link *link;
	char key[CACHE_KEY_TEXT + 1];
};

static void route_to(struct cache *c, const struct cache_key *key, struct route *r)
{
	r->server = cache_server_of(c, key);
	r->link = link_to(c, r->server);
	secret_hex(key->b, sizeof key->b, r->key);
}

/* Tells the breaker how a question ended. Every call that it admitted comes here. */
static enum cache_answer note_answer(struct cache *c, size_t server, enum cache_answer a)
{
	if (a == CACHE_FAILED)
		breaker_count_failure(&c->breakers[server]);
	else if (a != CACHE_LOST)
		breaker_close(&c->breakers[server]);
	if (a == CACHE_FAILED || a == CACHE_LOST)
		metric_add(METRIC_cache_errors_total, 1);
	return a;
}

/* A server that was started anew has closed every connection: that costs a second attempt, not a failure. Both are safe to repeat. */
static enum cache_answer ask_get(struct cache *c, struct route *r, struct bytes *value_r, uint64_t *cas_r)
{
	enum cache_answer a = note_answer(c, r->server, cache_link_get(r->link, r->key, value_r, cas_r));
	return a == CACHE_LOST ? note_answer(c, r->server, cache_link_get(r->link, r->key, value_r, cas_r)) : a;
}

static bool ask_delete(struct cache *c, struct route *r)
{
	enum cache_answer a = note_answer(c, r->server, cache_link_delete(r->link, r->key));
	if (a == CACHE_LOST)
		a = note_answer(c, r->server, cache_link_delete(r->link, r->key));
	return a == CACHE_DONE || a == CACHE_ABSENT;
}

/* ---- what is pending ---- */

/* Sends the listed deletions until one is not confirmed; returns how many were. */
static size_t deliver(struct cache *c, const struct pending_key *keys, size_t n)
{
	size_t done = 0;
	while (done < n) {
		struct route r;
		route_to(c, &keys[done].key, &r);
		if (!ask_delete(c, &r))
			break;
		done++;
	}
	return done;
}

static void deliver_pending(struct cache *c, size_t server)
{
	if (!pending_take_turn(c->pending, server) || !breaker_admits(&c->breakers[server]))
		return;
	struct pending_key keys[DELIVER_KEYS];
	int64_t until = stamp_mono_ms() + DELIVER_MS;
	size_t n, done;
	do {
		n = pending_list(c->pending, server, keys, DELIVER_KEYS);
		done = deliver(c, keys, n);
		pending_settle(c->pending, keys, done);
	} while (n > 0 && done == n && stamp_mono_ms() < until);
}

/* Whether what the server holds may be shown to a read that begins now. */
static bool is_shown(struct cache *c, size_t server, int64_t now)
{
	if (!pending_is_current(c->pending, c->setup) || !pending_trusts(c->pending, now))
		return false;
	if (pending_is_suspect(c->pending, server))
		deliver_pending(c, server);
	return !pending_is_suspect(c->pending, server);
}

/* ---- values ---- */

enum value_state { VALUE_GOOD, VALUE_MARKER, VALUE_OLD, VALUE_WRONG };

static enum value_state check_value(const struct cache *c, const struct cache_key *key, struct bytes raw, int64_t now, struct cache_entry *e_r)
{
	struct value_head head;
	if (raw.n < sizeof head) {
		uint32_t magic = 0;
		if (raw.n == sizeof(struct marker))
			memcpy(&magic, raw.p, sizeof magic);
		return le32toh(magic) == MARKER_MAGIC ? VALUE_MARKER : VALUE_WRONG;
	}
	memcpy(&head, raw.p, sizeof head);
	if (le32toh(head.magic) != VALUE_MAGIC || memcmp(&head.key, key, sizeof *key) != 0 || le32toh(head.length) != raw.n - sizeof head)
		return VALUE_WRONG;
	e_r->filled_at = (int64_t)le64toh((uint64_t)head.filled_at);
	e_r->value = (struct bytes){ raw.p + sizeof head, raw.n - sizeof head };
	/* A date in the future is another host's clock, or this one's set back. */
	if (e_r->filled_at <= now - c->ttl_ms || e_r->filled_at >= now + c->ttl_ms || !pending_trusts(c->pending, e_r->filled_at))
		return VALUE_OLD;
	return VALUE_GOOD;
}

static struct bytes pack_value(struct task *t, const struct cache_key *key, int64_t filled_at, struct bytes value)
{
	struct value_head head = {
		.magic = htole32(VALUE_MAGIC),
		.length = htole32((uint32_t)value.n),
		.filled_at = (int64_t)htole64((uint64_t)filled_at),
		.key = *key,
	};
	char *p = arena_alloc(t->arena, sizeof head + value.n);
	memcpy(p, &head, sizeof head);
	if (value.n > 0)
		memcpy(p + sizeof head, value.p, value.n);
	return (struct bytes){ p, sizeof head + value.n };
}

static bool is_storable(struct bytes value)
{
	return value.n <= CACHE_VALUE_MAX - sizeof(struct value_head);
}

/* What is left of an entry's life, in whole seconds; 0: nothing. */
static int64_t life_left(const struct cache *c, int64_t filled_at)
{
	int64_t left = filled_at + c->ttl_ms - stamp_now();
	if (left <= 0)
		return 0;
	if (left > c->ttl_ms)
		left = c->ttl_ms;
	return left < 1000 ? 1 : left / 1000;
}

/* ---- reading and filling ---- */

static enum cache_found skip(void)
{
	metric_add(METRIC_cache_bypassed_total, 1);
	return CACHE_SKIP;
}

static enum cache_found take_lease(struct cache *c, struct route *r, int64_t now, struct cache_entry *e_r)
{
	struct marker mine = {
		.magic = htole32(MARKER_MAGIC),
		.process = c->process,
		.lease = atomic_fetch_add_explicit(&c->leases, 1, memory_order_relaxed),
	};
	struct bytes text = { (const char *)&mine, sizeof mine };
	if (note_answer(c, r->server, cache_link_add(r->link, r->key, text, LEASE_S)) != CACHE_DONE)
		return CACHE_SKIP;
	struct bytes found;
	uint64_t cas;
	if (note_answer(c, r->server, cache_link_get(r->link, r->key, &found, &cas)) != CACHE_DONE || cas == 0 || !bytes_equal(found, text))
		return CACHE_SKIP;
	*e_r = (struct cache_entry){ .cas = cas, .filled_at = now, .connection = cache_link_connection(r->link) };
	return CACHE_LEASED;
}

/* Deals with what was found under the key and is no hit. */
static enum cache_found miss(struct cache *c, struct route *r, enum value_state state, int64_t now, bool may_fill, struct cache_entry *e_r)
{
	*e_r = (struct cache_entry){ 0 };
	metric_add(METRIC_cache_misses_total, 1);
	if (state == VALUE_MARKER)
		return CACHE_SKIP;
	if (state == VALUE_WRONG)
		metric_add(METRIC_cache_rejected_total, 1);
	if ((state == VALUE_OLD || state == VALUE_WRONG) && !ask_delete(c, r))
		return CACHE_SKIP;
	return may_fill ? take_lease(c, r, now, e_r) : CACHE_SKIP;
}

enum cache_found cache_find(struct task *t, struct cache *c, const struct cache_key *key, bool may_fill, struct cache_entry *e_r)
{
	*e_r = (struct cache_entry){ 0 };
	if (c->n == 0)
		return CACHE_SKIP;
	struct route r;
	route_to(c, key, &r);
	int64_t now = stamp_now();
	if (!is_shown(c, r.server, now) || !breaker_admits(&c->breakers[r.server]))
		return skip();
	struct bytes raw;
	uint64_t cas;
	enum cache_answer a = ask_get(c, &r, &raw, &cas);
	if (a == CACHE_ABSENT)
		return miss(c, &r, VALUE_GOOD, now, may_fill, e_r);
	if (a != CACHE_DONE)
		return skip();
	enum value_state state = check_value(c, key, raw, now, e_r);
	if (state != VALUE_GOOD || cas == 0)
		return miss(c, &r, state, now, may_fill && cas != 0, e_r);
	e_r->value = arena_bytes(t->arena, e_r->value);
	e_r->cas = cas;
	e_r->connection = cache_link_connection(r.link);
	metric_add(METRIC_cache_hits_total, 1);
	return CACHE_HIT;
}

void cache_fill(struct task *t, struct cache *c, const struct cache_key *key, const struct cache_entry *lease, struct bytes value)
{
	if (c->n == 0 || lease->cas == 0 || !is_storable(value))
		return;
	int64_t life = life_left(c, lease->filled_at);
	struct route r;
	route_to(c, key, &r);
	if (lease->connection != cache_link_connection(r.link) || life == 0) {
		metric_add(METRIC_cache_fills_refused_total, 1);
		return;
	}
	if (!breaker_admits(&c->breakers[r.server]))
		return;
	struct bytes packed = pack_value(t, key, lease->filled_at, value);
	enum cache_answer a = note_answer(c, r.server, cache_link_cas(r.link, r.key, packed, life, lease->cas));
	if (a == CACHE_DONE)
		metric_add(METRIC_cache_fills_total, 1);
	else if (a == CACHE_ABSENT || a == CACHE_REFUSED)
		metric_add(METRIC_cache_fills_refused_total, 1);
}

/* ---- writing ---- */

/*
 * The last act of every invalidation. If the server list was changed meanwhile, it went to a server that others no longer read, and the one
 * they read is not known here.
 */
static void confirm_current(struct cache *c)
{
	if (!pending_is_current(c->pending, c->setup))
		pending_distrust(c->pending);
}

static void drop_at(struct cache *c, const struct cache_key *key, struct route *r)
{
	metric_add(METRIC_cache_drops_total, 1);
	if (!breaker_admits(&c->breakers[r->server]) || !ask_delete(c, r))
		pending_note(c->pending, r->server, key);
	confirm_current(c);
}

void cache_drop(struct task *t, struct cache *c, const struct cache_key *key)
{
	(void)t;
	if (c->n == 0)
		return;
	struct route r;
	route_to(c, key, &r);
	drop_at(c, key, &r);
}

void cache_replace(struct task *t, struct cache *c, const struct cache_key *key, const struct cache_entry *found, struct bytes value)
{
	if (c->n == 0)
		return;
	struct route r;
	route_to(c, key, &r);
	int64_t life = life_left(c, found->filled_at);
	bool is_possible = found->cas != 0 && found->connection == cache_link_connection(r.link) && life > 0 && is_storable(value);
	if (!is_possible || !breaker_admits(&c->breakers[r.server])) {
		drop_at(c, key, &r);
		return;
	}
	struct bytes packed = pack_value(t, key, found->filled_at, value);
	enum cache_answer a = note_answer(c, r.server, cache_link_cas(r.link, r.key, packed, life, found->cas));
	if (a == CACHE_REFUSED || a == CACHE_LOST) {
		drop_at(c, key, &r);
		return;
	}
	if (a == CACHE_DONE)
		metric_add(METRIC_cache_updates_total, 1);
	else if (a == CACHE_FAILED)
		pending_note(c->pending, r.server, key);
	confirm_current(c);
}

bool cache_is_up(struct task *t, struct cache *c)
{
	(void)t;
	if (c->n == 0)
		return false;
	static const char probe[] = "0000000000000000000000000000000000000000000000000000000000000000";
	for (size_t s = 0; s < c->n; s++) {
		struct route r = { .server = s, .link = link_to(c, s) };
		memcpy(r.key, probe, sizeof probe);
		struct bytes value;
		uint64_t cas;
		if (!is_shown(c, s, stamp_now()) || !breaker_admits(&c->breakers[s]))
			return false;
		enum cache_answer a = ask_get(c, &r, &value, &cas);
		if (a != CACHE_DONE && a != CACHE_ABSENT)
			return false;
	}
	return true;
}

void cache_set_blindly(struct task *t, struct cache *c, const struct cache_key *key, struct bytes value)
{
	struct route r;
	route_to(c, key, &r);
	if (breaker_admits(&c->breakers[r.server]))
		note_answer(c, r.server, cache_link_set(r.link, r.key, pack_value(t, key, stamp_now(), value), c->ttl_ms / 1000));
}
