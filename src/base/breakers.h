/* SPDX-License-Identifier: MIT */
/* breakers: keeps all processes of an install away from services that fail, each known by a name; one call now and then tries whether it is back. */
#ifndef PARLEY_BASE_BREAKERS_H
#define PARLEY_BASE_BREAKERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"

struct breakers;        /* the table, in shared memory; all zero is empty */
struct breakers_slot;   /* of one name; NULL stands for one that is never open */

/* When one opens. Times here are milliseconds of the monotonic clock, given by the caller. */
struct breakers_rule {
	int64_t failures; /* so many in a row, none five minutes behind the one before; 0: never */
	int64_t open_ms;  /* how long it stays open before one call may try */
};

/* Bytes of shared memory for a table. */
size_t breakers_size(void);

/* The slot of a name, taken if it has none; NULL when all are taken by others: that name goes without. */
struct breakers_slot *breakers_find(struct breakers *table, struct bytes name);

/* What a caller is told. */
struct breakers_pass {
	bool is_probe;   /* it may call, and is the one that tries */
	bool is_limited; /* it may not because the service asked for it, not because it fails */
	int64_t wait_ms; /* how long it may not */
};

/*
 * Whether the service may be called now. After an open breaker's time one caller hears yes and is the probe: no other does while it says breakers_hold at
 * least every open_ms. It ends with a report below, or with breakers_release; a probe that dies loses its place after open_ms.
 */
bool breakers_admit(struct breakers_slot *s, const struct breakers_rule *rule, int64_t now, struct breakers_pass *pass_r);
void breakers_hold(struct breakers_slot *s, const struct breakers_rule *rule, int64_t now);
/* The probe ended and nobody knows how it would have: the next caller may probe at once. */
void breakers_release(struct breakers_slot *s, int64_t now);

/* Reports. Each returns whether it changed what callers hear. */

/* It failed. Of an open breaker only the probe's failure counts: it starts the time anew. */
bool breakers_fail(struct breakers_slot *s, const struct breakers_rule *rule, int64_t now, bool is_probe);
/* The probe's answer has begun: closes it, and one failure opens it again. */
bool breakers_trust(struct breakers_slot *s, const struct breakers_rule *rule, int64_t now);
/* It answered: closes an open breaker and forgets failures. Writes nothing where there is nothing to forget. */
bool breakers_close(struct breakers_slot *s, int64_t now);
/* It asks to be left alone for so long (a minute at most): afterwards all may call, without a probe. */
bool breakers_limit(struct breakers_slot *s, int64_t now, int64_t ms);

#endif
