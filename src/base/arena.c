/* SPDX-License-Identifier: MIT */
/*
 * arena: a chain of blocks, handed out from front to back. Invariant: what a block has not handed out is zero, so that
 * an allocation need not clear anything; a reset clears what the first block gave.
 */
#include "base/arena.h"

#include <assert.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ARENA_POISONS 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) && !defined(ARENA_POISONS)
#define ARENA_POISONS 1
#endif

#ifdef ARENA_POISONS
#include <sanitizer/asan_interface.h>
#define REDZONE 16 /* stays poisoned between two allocations, so that an overrun of one does not land in the next */
#define poison(p, n) ASAN_POISON_MEMORY_REGION((p), (n))
#define unpoison(p, n) ASAN_UNPOISON_MEMORY_REGION((p), (n))
#else
#define REDZONE 0
#define poison(p, n) ((void)(p), (void)(n))
#define unpoison(p, n) ((void)(p), (void)(n))
#endif

#define ALIGNMENT 16
#define FIRST_MIN 256
#define BLOCK_MAX ((size_t)1 << 20)

struct block {
	struct block *next; /* older, or a block of its own for one allocation */
	char *end;
	_Alignas(ALIGNMENT) char start[];
};

struct deferred {
	void (*release)(void *object);
	void *object;
	struct deferred *next; /* older */
};

struct arena {
	char *at;  /* next byte of the current block */
	char *end; /* of the current block */
	struct block *blocks; /* all but the first, newest first */
	struct deferred *deferred;
	size_t used;
	size_t next_size; /* of the next block */
	size_t first_size;
	struct block first; /* lies behind the arena in one piece of memory */
};

static_assert(sizeof(struct arena) % ALIGNMENT == 0, "the first block's bytes must be aligned");

static size_t rounded(size_t n)
{
	return (n + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT + REDZONE;
}

static void *zeroed_memory(size_t n)
{
	void *p = calloc(1, n);
	if (!p)
		abort();
	return p;
}

struct arena *arena_open(size_t first)
{
	size_t size = rounded(first < FIRST_MIN ? FIRST_MIN : first);
	struct arena *a = zeroed_memory(sizeof(*a) + size);
	a->first_size = size;
	a->next_size = size;
	a->at = a->first.start;
	a->end = a->first.end = a->first.start + size;
	poison(a->at, size);
	return a;
}

static void release_deferred(struct arena *a)
{
	/* A release may defer another one: it then comes next. */
	while (a->deferred) {
		struct deferred *d = a->deferred;
		a->deferred = d->next;
		d->release(d->object);
	}
}

static void free_blocks(struct arena *a)
{
	while (a->blocks) {
		struct block *b = a->blocks;
		a->blocks = b->next;
		unpoison(b->start, (size_t)(b->end - b->start));
		free(b);
	}
}

void arena_close(struct arena **ap)
{
	struct arena *a = *ap;
	if (!a)
		return;
	release_deferred(a);
	free_blocks(a);
	unpoison(a->first.start, a->first_size);
	free(a);
	*ap = NULL;
}

void arena_reset(struct arena *a)
{
	release_deferred(a);
	/* The first block is used up to `at` while it is the current one, else taken to be used to its end. */
	bool in_first = a->end == a->first.end;
	size_t dirty = in_first ? (size_t)(a->at - a->first.start) : a->first_size;
	free_blocks(a);
	unpoison(a->first.start, dirty);
	memset(a->first.start, 0, dirty);
	poison(a->first.start, a->first_size);
	a->at = a->first.start;
	a->end = a->first.end;
	a->used = 0;
	a->next_size = a->first_size;
}

static struct block *add_block(struct arena *a, size_t size)
{
	struct block *b = zeroed_memory(sizeof(*b) + size);
	b->end = b->start + size;
	b->next = a->blocks;
	a->blocks = b;
	poison(b->start, size);
	return b;
}

/* Takes n bytes (already rounded) that the current block has no room for. */
static __attribute__((noinline)) char *take_from_new_block(struct arena *a, size_t n)
{
	size_t size = a->next_size;
	if (a->next_size < BLOCK_MAX)
		a->next_size = size * 2 < BLOCK_MAX ? size * 2 : BLOCK_MAX;
	if (n > size / 2)
		return add_block(a, n)->start; /* of its own; the current block stays current */
	struct block *b = add_block(a, size);
	a->at = b->start + n;
	a->end = b->end;
	return b->start;
}

static inline void *take(struct arena *a, size_t n)
{
	if (n > PTRDIFF_MAX / 2)
		abort();
	size_t need = rounded(n);
	char *p = a->at;
	if (need <= (size_t)(a->end - p))
		a->at = p + need;
	else
		p = take_from_new_block(a, need);
	unpoison(p, n);
	return p;
}

void *arena_alloc(struct arena *a, size_t n)
{
	a->used += n;
	return take(a, n);
}

void *arena_array(struct arena *a, size_t count, size_t size)
{
	size_t n;
	if (__builtin_mul_overflow(count, size, &n))
		abort();
	return arena_alloc(a, n);
}

#ifdef ARENA_POISONS
/* Always moves, and poisons where it was: whoever kept a pointer into it is found. */
void *arena_grow(struct arena *a, void *p, size_t from, size_t to)
{
	assert(from <= to);
	char *q = arena_alloc(a, to);
	if (from > 0) {
		memcpy(q, p, from);
		poison(p, from);
		a->used -= from;
	}
	return q;
}
#else
void *arena_grow(struct arena *a, void *p, size_t from, size_t to)
{
	assert(from <= to);
	size_t old = rounded(from);
	if (p && to < PTRDIFF_MAX / 2 && (char *)p + old == a->at && rounded(to) - old <= (size_t)(a->end - a->at)) {
		a->at += rounded(to) - old;
		a->used += to - from;
		return p;
	}
	char *q = arena_alloc(a, to);
	a->used -= from;
	if (from > 0)
		memcpy(q, p, from);
	return q;
}
#endif

char *arena_strdup(struct arena *a, const char *s)
{
	return s ? arena_copy(a, s, strlen(s)) : NULL;
}

char *arena_copy(struct arena *a, const void *p, size_t n)
{
	char *q = arena_alloc(a, n + 1);
	if (n > 0)
		memcpy(q, p, n);
	return q;
}

struct bytes arena_bytes(struct arena *a, struct bytes b)
{
	return (struct bytes){ b.p ? arena_copy(a, b.p, b.n) : NULL, b.n };
}

char *arena_printf(struct arena *a, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	char *s = arena_vprintf(a, fmt, ap);
	va_end(ap);
	return s;
}

char *arena_vprintf(struct arena *a, const char *fmt, va_list ap)
{
	char small[256]; /* most texts fit: then they are formatted once */
	va_list again;
	va_copy(again, ap);
	int n = vsnprintf(small, sizeof(small), fmt, ap);
	assert(n >= 0);
	char *s;
	if ((size_t)n < sizeof(small)) {
		s = arena_copy(a, small, (size_t)n);
	} else {
		s = arena_alloc(a, (size_t)n + 1);
		vsnprintf(s, (size_t)n + 1, fmt, again);
	}
	va_end(again);
	return s;
}

void arena_defer(struct arena *a, void (*release)(void *object), void *object)
{
	struct deferred *d = take(a, sizeof(*d));
	d->release = release;
	d->object = object;
	d->next = a->deferred;
	a->deferred = d;
}

size_t arena_used(const struct arena *a)
{
	return a->used;
}
