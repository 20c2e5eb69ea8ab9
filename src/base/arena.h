/* SPDX-License-Identifier: MIT */
/* arena: the memory of one request, job run, command or test; everything in it goes at once. */
#ifndef PARLEY_BASE_ARENA_H
#define PARLEY_BASE_ARENA_H

#include <stdarg.h>
#include <stddef.h>

#include "base/bytes.h"

struct arena;

/*
 * Opens an arena whose first block holds `first` bytes (at least 256 are taken). Later blocks double up to 1 MB;
 * a larger request gets a block of its own. Out of memory aborts the process, so no function here returns NULL.
 */
struct arena *arena_open(size_t first);

/* Runs the deferred releases, newest first, frees every block and clears the caller's pointer. NULL is fine. */
void arena_close(struct arena **a);

/* As arena_close, but keeps the first block for the next use: what a worker thread does between two requests. */
void arena_reset(struct arena *a);

/* n zeroed bytes aligned for any type, valid until the arena is reset or closed. n may be 0. */
void *arena_alloc(struct arena *a, size_t n);

/* An array of `count` zeroed elements of `size` bytes; an overflow of the product aborts. */
void *arena_array(struct arena *a, size_t count, size_t size);

/*
 * Makes p, which was the last allocation or not, `to` bytes long (from <= to) and returns where it is now: in place when
 * nothing was allocated behind it, else a copy. What is behind `from` is zeroed. p may be NULL when from is 0.
 */
void *arena_grow(struct arena *a, void *p, size_t from, size_t to);

/* A NUL-terminated copy of s (NULL gives NULL). */
char *arena_strdup(struct arena *a, const char *s);

/* A copy of n bytes with a NUL behind them, so that it also serves as a C string. */
char *arena_copy(struct arena *a, const void *p, size_t n);

/* As arena_copy, for bytes; a NULL p stays NULL. */
struct bytes arena_bytes(struct arena *a, struct bytes b);

/* A formatted NUL-terminated string. */
char *arena_printf(struct arena *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
char *arena_vprintf(struct arena *a, const char *fmt, va_list ap) __attribute__((format(printf, 2, 0)));

/*
 * Calls release(object) when the arena is reset or closed: how foreign objects (json-c trees, curl handles, rows)
 * are attached to a request. Releases run newest first, before any memory is given back.
 */
void arena_defer(struct arena *a, void (*release)(void *object), void *object);

/* Bytes handed out since the arena was opened or reset. */
size_t arena_used(const struct arena *a);

#endif
