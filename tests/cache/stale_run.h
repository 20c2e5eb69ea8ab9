/* SPDX-License-Identifier: MIT */
/* stale_run: readers and writers of a toy truth go through the cache while its memcached is stopped, continued, killed and started again. */
#ifndef PARLEY_TESTS_STALE_RUN_H
#define PARLEY_TESTS_STALE_RUN_H

#include <stdbool.h>
#include <stdint.h>

struct stale_options {
	double seconds;
	int processes;     /* 0: threads of the calling process, and none is killed */
	int threads;       /* in each process */
	int keys;          /* at most STALE_KEYS_MAX */
	bool is_broken;    /* fill by plain `set`: what the lease is there to prevent */
	bool is_calm;      /* leave memcached and the workers alone */
};

#define STALE_KEYS_MAX 64

struct stale_counts {
	uint64_t reads;
	uint64_t stale;    /* older than a write acknowledged before the read began */
	uint64_t wrong;    /* of another key, torn, or from the future */
	uint64_t hits, leased, skipped;
	uint64_t writes;
	uint64_t stops, kills, worker_kills;
};

/* False when there is no memcached on this machine. */
bool stale_run(const struct stale_options *o, struct stale_counts *counts_r);

#endif
