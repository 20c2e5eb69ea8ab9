/* SPDX-License-Identifier: MIT */
/*
 * cache: a look-aside copy of rows, never the truth, always allowed to vanish. A fill after a miss goes through a lease, a
 * writer replaces by CAS or removes, and an invalidation that could not be delivered makes every process of this host bypass the cache until it
 * was; so a read is never older than a write that was acknowledged before it began.
 */
#ifndef PARLEY_CACHE_CACHE_H
#define PARLEY_CACHE_CACHE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/task.h"

struct cache; /* one process's cache: servers, settings, a connection for each thread */

struct cache_conf {
	const char *servers;   /* see the setting `cache`; "" or NULL: none, every find is CACHE_SKIP */
	int timeout_ms;        /* of one operation, and of connecting */
	int ttl_ms;            /* longest life of an entry, counted from its fill: an update in place does not extend it */
	void *shared;          /* cache_shared_size() bytes, zeroed when new, shared by all processes of this host that read or write; NULL: this
				  process is the only one */
};

/* A key: 32 bytes of secret_hash over what it names. Goes out as 64 hex characters, verified again inside each value. */
struct cache_key {
	unsigned char b[32];
};

enum cache_found {
	CACHE_HIT,    /* entry.value is the value */
	CACHE_LEASED, /* absent, and this caller may fill it: read the database, then cache_fill with this entry */
	CACHE_SKIP,   /* absent, down or suspect: read the database and do not fill */
};

struct cache_entry {
	struct bytes value;   /* of a hit, in the task's arena */
	uint64_t cas;         /* of the value or of the lease marker; never 0 in a hit or lease */
	uint64_t connection;  /* on which it was read: a CAS token means nothing on another, a restarted server counts from 1 again */
	int64_t filled_at;    /* wall ms when the value was filled: bounds its life through updates */
};

size_t cache_shared_size(void);

/* Opens after the fork. ERR_CONFIG when the server list cannot be parsed; servers that are down are no error. */
enum err cache_open(struct task *t, const struct cache_conf *conf, struct cache **c_r) MUST_CHECK;
void cache_close(struct cache **c);

/* Looks a value up. With may_fill a miss tries to take the lease (add + gets). */
enum cache_found cache_find(struct task *t, struct cache *c, const struct cache_key *key, bool may_fill, struct cache_entry *e_r);

/* Stores a value read from the database after CACHE_LEASED; refused by itself if a writer came in between. */
void cache_fill(struct task *t, struct cache *c, const struct cache_key *key, const struct cache_entry *lease, struct bytes value);

/*
 * A writer's update after its commit and before its acknowledgement: replaces the very entry it found (CAS); if that has changed, removes it. When
 * neither can be delivered the key is written down and the cache is suspect until it is. An entry found by another thread is only removed.
 */
void cache_replace(struct task *t, struct cache *c, const struct cache_key *key, const struct cache_entry *found, struct bytes value);

/* A writer's invalidation after its commit and before its acknowledgement. The same when it cannot be delivered. */
void cache_drop(struct task *t, struct cache *c, const struct cache_key *key);

/* Whether the cache answers and is trusted right now; tries to deliver what is pending. False also when there is none. */
bool cache_is_up(struct task *t, struct cache *c);

#endif
