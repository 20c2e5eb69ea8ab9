/* SPDX-License-Identifier: MIT */
/*
 * pending: what the processes of a host must know in common for no read to be older than an acknowledged write: the invalidations that were not
 * delivered, and the moment since which entries are trusted at all. Lives in shared memory; any process may die at any instruction.
 */
#ifndef PARLEY_CACHE_PENDING_H
#define PARLEY_CACHE_PENDING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cache/cache.h"

#define PENDING_SERVERS 16 /* servers a list may name */
#define PENDING_KEYS 8192  /* places for undelivered keys; a full table falls back to pending_distrust */

struct pending;

/* A key as it was when it was listed. */
struct pending_key {
	struct cache_key key;
	uint64_t stamp; /* changes whenever the key is noted again */
};

size_t pending_size(void);

/*
 * Makes the area ready, once a boot, whoever comes first. `setup` (not 0) names the server list and the ttl of the caller; when it differs from
 * what the area knows, the caller's is adopted and everything cached so far is distrusted: with another list keys live on other servers.
 * A new area distrusts what was cached before it, since nobody knows which invalidations an older area took with it.
 */
void pending_open(struct pending *p, uint64_t setup, int64_t ttl_ms);

/* Whether the caller's setup is still the one in force. A reader asks before it reads, a writer after it has invalidated. */
bool pending_is_current(const struct pending *p, uint64_t setup);

/* Whether some invalidation of this server is undelivered, so that nothing it holds may be shown. */
bool pending_is_suspect(const struct pending *p, size_t server);

/* Writes an undelivered key down. When it returns, every process of the host knows. */
void pending_note(struct pending *p, size_t server, const struct cache_key *key);

/* Whether the caller should try to deliver now: at most one in 20 ms for each server. */
bool pending_take_turn(struct pending *p, size_t server);

/* Copies up to `max` keys of a server; they stay written down. Returns how many. */
size_t pending_list(struct pending *p, size_t server, struct pending_key *keys_r, size_t max);

/* Strikes out keys that the server has confirmed, except those noted again since they were listed. */
void pending_settle(struct pending *p, const struct pending_key *keys, size_t n);

/* From now on every process of the host refuses what was filled before this moment and, for other hosts' clocks, a second after it. */
void pending_distrust(struct pending *p);

/* Whether an entry filled at this wall time (ms) may be shown. */
bool pending_trusts(const struct pending *p, int64_t filled_at);

#endif
