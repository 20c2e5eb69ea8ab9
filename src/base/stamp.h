/* SPDX-License-Identifier: MIT */
/* stamp: time, as milliseconds since 1970 (wall) or since boot (monotonic), and RFC 3339 text. */
#ifndef PARLEY_BASE_STAMP_H
#define PARLEY_BASE_STAMP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"

#define STAMP_SIZE 25 /* "2026-01-02T03:04:05.678Z" and a NUL */

/* Wall clock, milliseconds since 1970 UTC. */
int64_t stamp_now(void);

/* Monotonic milliseconds and microseconds: for measuring and for deadlines only. */
int64_t stamp_mono_ms(void);
int64_t stamp_mono_us(void);

/* RFC 3339 UTC with milliseconds. */
void stamp_format(int64_t unix_ms, char out[STAMP_SIZE]);

/* YYYYMMDD_HHMMSS in UTC, 15 characters and a NUL: the date part of readable session names. */
void stamp_format_compact(int64_t unix_ms, char out[16]);

/* Parses RFC 3339 (any offset, 0 to 9 fraction digits, years 1970 to 9999). False if it is not that. */
bool stamp_parse(struct bytes text, int64_t *unix_ms_r);

#endif
