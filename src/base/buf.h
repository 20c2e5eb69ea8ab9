/* SPDX-License-Identifier: MIT */
/* buf: a growing run of bytes in an arena, with what is needed to write JSON into it. */
#ifndef PARLEY_BASE_BUF_H
#define PARLEY_BASE_BUF_H

#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/bytes.h"

struct buf {
	struct arena *arena;
	char *p;    /* always NUL-terminated once something was added */
	size_t n;   /* bytes in it */
	size_t cap; /* room, the NUL included */
};

/* Starts an empty buffer in `a`, with room for `hint` bytes (0: on first use). */
void buf_init(struct buf *b, struct arena *a, size_t hint);

/* Empties the buffer and keeps its room. */
void buf_clear(struct buf *b);

/* Makes room for n more bytes and returns where they go; the caller adds what it wrote to b->n. buf_bytes sets the NUL. */
char *buf_room(struct buf *b, size_t n);

void buf_add(struct buf *b, const void *p, size_t n);
void buf_add_bytes(struct buf *b, struct bytes s);
/* Adds a NUL-terminated string without its NUL. */
void buf_add_str(struct buf *b, const char *s);
void buf_add_char(struct buf *b, char c);
void buf_add_int(struct buf *b, int64_t v);
void buf_addf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Adds s as a JSON string with its quotes: escapes quote, backslash and control characters; `/` and UTF-8 stay. */
void buf_add_json(struct buf *b, struct bytes s);
/* As buf_add_json for a C string; NULL adds `null`. */
void buf_add_json_str(struct buf *b, const char *s);

/*
 * Adds `"name":` of a JSON object member, with a comma in front unless the buffer is empty or its last byte is `{` or `[`. The value follows
 * by any of the calls above. `name` is a literal that needs no escapes.
 */
void buf_add_member(struct buf *b, const char *name);
/* A whole member in one call. A string member with NULL p is written as null. */
void buf_member_json(struct buf *b, const char *name, struct bytes raw_json); /* empty raw_json: null */
void buf_member_string(struct buf *b, const char *name, struct bytes s);
void buf_member_str(struct buf *b, const char *name, const char *s);
void buf_member_int(struct buf *b, const char *name, int64_t v);
void buf_member_bool(struct buf *b, const char *name, bool v);
/* A time in milliseconds since 1970 as an RFC 3339 string; 0 is written as null. */
void buf_member_time(struct buf *b, const char *name, int64_t unix_ms);

/* What is in it, with a NUL behind it, valid until the next call that adds. Never a NULL p. */
struct bytes buf_bytes(const struct buf *b);

/* A text as a JSON string, in `a`. */
struct bytes buf_quote(struct arena *a, struct bytes s);

#endif
