/* SPDX-License-Identifier: MIT */
/* breaker: three failures in a row open it; the time it stays open doubles with each probe that fails. */
#include "cache/breaker.h"

#include <stdatomic.h>

#include "base/stamp.h"

#define FAILURES_TO_OPEN 3
#define OPEN_MS 250
#define OPEN_MS_MAX 2000

/* A time further off than it is ever set belongs to another boot: the area may be a file. */
static bool is_ahead(int64_t until, int64_t now)
{
	return now < until && until - now <= OPEN_MS_MAX;
}

bool breaker_admits(struct breaker *b)
{
	int64_t until = atomic_load_explicit(&b->open_until, memory_order_relaxed);
	if (until == 0)
		return true;
	int64_t now = stamp_mono_ms();
	if (is_ahead(until, now))
		return false;
	/* The time to the next probe is set as if this one failed; if it does not, the breaker closes. */
	uint32_t doublings = atomic_load(&b->probes);
	int64_t next = doublings >= 3 ? OPEN_MS_MAX : OPEN_MS << doublings;
	if (!atomic_compare_exchange_strong(&b->open_until, &until, now + next))
		return false;
	atomic_fetch_add(&b->probes, 1);
	return true;
}

void breaker_close(struct breaker *b)
{
	if (atomic_load_explicit(&b->failures, memory_order_relaxed) != 0)
		atomic_store(&b->failures, 0);
	if (atomic_load_explicit(&b->open_until, memory_order_relaxed) != 0) {
		atomic_store(&b->probes, 0);
		atomic_store(&b->open_until, 0);
	}
}

void breaker_count_failure(struct breaker *b)
{
	/* Calls that were on their way when it opened fail too and change nothing. */
	int64_t closed = 0;
	if (atomic_fetch_add(&b->failures, 1) + 1 >= FAILURES_TO_OPEN)
		atomic_compare_exchange_strong(&b->open_until, &closed, stamp_mono_ms() + OPEN_MS);
}
