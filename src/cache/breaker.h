/* SPDX-License-Identifier: MIT */
/* breaker: keeps all processes of a host away from a server that does not answer; one of them tries it now and then. */
#ifndef PARLEY_CACHE_BREAKER_H
#define PARLEY_CACHE_BREAKER_H

#include <stdbool.h>
#include <stdint.h>

/* Of one server, in shared memory; all zero is closed. A cache line of its own, since every read looks at it. */
struct breaker {
	_Alignas(64) _Atomic int64_t open_until; /* monotonic ms; 0: closed */
	_Atomic uint32_t failures;               /* since the last success */
	_Atomic uint32_t probes;                 /* let through since it opened */
};

/*
 * Whether the server may be asked now. After an open breaker's time exactly one caller in the next moment hears yes: it is the probe and must
 * report its outcome.
 */
bool breaker_admits(struct breaker *b);

/* The server answered: closes the breaker. Writes nothing when it was closed. */
void breaker_close(struct breaker *b);

/* The server did not answer in time. The third time in a row opens it for 250 ms; the probe then waits its turn 250 ms, 500 ms, 1 s, 2 s. */
void breaker_count_failure(struct breaker *b);

#endif
