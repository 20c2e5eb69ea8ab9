/* SPDX-License-Identifier: MIT */
/* buf: a growing run of bytes in an arena, with what is needed to write JSON into it. */
#include "base/buf.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/stamp.h"

#define CAP_MIN 64

void buf_init(struct buf *b, struct arena *a, size_t hint)
{
	*b = (struct buf){ .arena = a };
	if (hint > 0)
		buf_room(b, hint);
}

void buf_clear(struct buf *b)
{
	b->n = 0;
	if (b->p)
		b->p[0] = '\0';
}

static __attribute__((noinline)) void grow(struct buf *b, size_t n)
{
	size_t need;
	if (__builtin_add_overflow(b->n, n, &need) || need > PTRDIFF_MAX / 4)
		abort();
	size_t cap = b->cap > 0 ? b->cap * 2 : CAP_MIN;
	if (cap < need + 1)
		cap = need + 1;
	b->p = arena_grow(b->arena, b->p, b->cap, cap);
	b->cap = cap;
}

char *buf_room(struct buf *b, size_t n)
{
	if (b->cap - b->n <= n)
		grow(b, n);
	return b->p + b->n;
}

void buf_add(struct buf *b, const void *p, size_t n)
{
	char *to = buf_room(b, n);
	if (n > 0)
		memcpy(to, p, n);
	to[n] = '\0';
	b->n += n;
}

void buf_add_bytes(struct buf *b, struct bytes s)
{
	buf_add(b, s.p, s.n);
}

void buf_add_str(struct buf *b, const char *s)
{
	buf_add(b, s, strlen(s));
}

void buf_add_char(struct buf *b, char c)
{
	char *to = buf_room(b, 1);
	to[0] = c;
	to[1] = '\0';
	b->n++;
}

void buf_add_int(struct buf *b, int64_t v)
{
	char digits[20];
	size_t at = sizeof(digits);
	uint64_t u = v < 0 ? 0 - (uint64_t)v : (uint64_t)v;
	do {
		digits[--at] = (char)('0' + u % 10);
		u /= 10;
	} while (u > 0);
	if (v < 0)
		digits[--at] = '-';
	buf_add(b, digits + at, sizeof(digits) - at);
}

void buf_addf(struct buf *b, const char *fmt, ...)
{
	va_list ap;
	char *to = buf_room(b, CAP_MIN);
	size_t room = b->cap - b->n;
	va_start(ap, fmt);
	int n = vsnprintf(to, room, fmt, ap);
	va_end(ap);
	assert(n >= 0);
	if ((size_t)n >= room) {
		to = buf_room(b, (size_t)n);
		va_start(ap, fmt);
		vsnprintf(to, (size_t)n + 1, fmt, ap);
		va_end(ap);
	}
	b->n += (size_t)n;
}

static bool needs_escape(unsigned char c)
{
	return c < 0x20 || c == '"' || c == '\\';
}

/* Length of the run at p that goes into a JSON string as it is. Looks at eight bytes at a time. */
static size_t plain_run(const char *p, size_t n)
{
	const uint64_t ones = 0x0101010101010101u, high = 0x8080808080808080u;
	size_t i = 0;
	while (n - i >= 8) {
		uint64_t w;
		memcpy(&w, p + i, 8);
		uint64_t quote = w ^ (ones * '"'), slash = w ^ (ones * '\\');
		/* The high bit of a byte is set when it is below 0x20, or equal; borrows only reach bytes above a hit. */
		uint64_t hit = ((w - ones * 0x20) & ~w) | ((quote - ones) & ~quote) | ((slash - ones) & ~slash);
		if (hit & high)
			break;
		i += 8;
	}
	while (i < n && !needs_escape((unsigned char)p[i]))
		i++;
	return i;
}

static void add_escape(struct buf *b, unsigned char c)
{
	static const char letters[] = "\bb\ff\nn\rr\tt\"\"\\\\";
	for (const char *l = letters; *l; l += 2) {
		if ((unsigned char)l[0] == c) {
			buf_add(b, (const char[]){ '\\', l[1] }, 2);
			return;
		}
	}
	static const char hex[] = "0123456789abcdef";
	buf_add(b, (const char[]){ '\\', 'u', '0', '0', hex[c >> 4], hex[c & 15] }, 6);
}

void buf_add_json(struct buf *b, struct bytes s)
{
	buf_room(b, s.n + 2);
	buf_add_char(b, '"');
	size_t i = 0;
	while (i < s.n) {
		size_t run = plain_run(s.p + i, s.n - i);
		buf_add(b, s.p + i, run);
		i += run;
		if (i < s.n)
			add_escape(b, (unsigned char)s.p[i++]);
	}
	buf_add_char(b, '"');
}

void buf_add_json_str(struct buf *b, const char *s)
{
	if (s)
		buf_add_json(b, bytes_of(s));
	else
		buf_add(b, "null", 4);
}

void buf_add_member(struct buf *b, const char *name)
{
	size_t n = strlen(name);
	char last = b->n > 0 ? b->p[b->n - 1] : '{';
	char *start = buf_room(b, n + 4), *to = start;
	if (last != '{' && last != '[')
		*to++ = ',';
	*to++ = '"';
	memcpy(to, name, n);
	to += n;
	*to++ = '"';
	*to++ = ':';
	*to = '\0';
	b->n += (size_t)(to - start);
}

void buf_member_json(struct buf *b, const char *name, struct bytes raw_json)
{
	buf_add_member(b, name);
	buf_add_bytes(b, raw_json.n > 0 ? raw_json : BYTES("null"));
}

void buf_member_string(struct buf *b, const char *name, struct bytes s)
{
	buf_add_member(b, name);
	if (s.p)
		buf_add_json(b, s);
	else
		buf_add(b, "null", 4);
}

void buf_member_str(struct buf *b, const char *name, const char *s)
{
	buf_member_string(b, name, bytes_of(s));
}

void buf_member_int(struct buf *b, const char *name, int64_t v)
{
	buf_add_member(b, name);
	buf_add_int(b, v);
}

void buf_member_bool(struct buf *b, const char *name, bool v)
{
	buf_add_member(b, name);
	buf_add_str(b, v ? "true" : "false");
}

void buf_member_time(struct buf *b, const char *name, int64_t unix_ms)
{
	char text[STAMP_SIZE];
	if (unix_ms == 0) {
		buf_member_str(b, name, NULL);
		return;
	}
	stamp_format(unix_ms, text);
	buf_member_str(b, name, text);
}

struct bytes buf_bytes(const struct buf *b)
{
	if (!b->p)
		return BYTES("");
	b->p[b->n] = '\0'; /* buf_room's callers count what they wrote, and end it here */
	return (struct bytes){ b->p, b->n };
}

struct bytes buf_quote(struct arena *a, struct bytes s)
{
	struct buf b;

	buf_init(&b, a, s.n + 16);
	buf_add_json(&b, bytes_or(s, BYTES("")));
	return buf_bytes(&b);
}
