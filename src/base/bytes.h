/* SPDX-License-Identifier: MIT */
/* bytes: a borrowed run of bytes, pointer and length. It owns nothing and need not end in NUL. */
#ifndef PARLEY_BASE_BYTES_H
#define PARLEY_BASE_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

struct bytes {
	const char *p;
	size_t n;
};

/* The bytes of a string literal, without its NUL. */
#define BYTES(literal) ((struct bytes){ (literal), sizeof(literal) - 1 })

/* The bytes of a NUL-terminated string; NULL gives no bytes. */
static inline struct bytes bytes_of(const char *s)
{
	return (struct bytes){ s, s ? strlen(s) : 0 };
}

/* Whether two runs hold the same bytes. Not constant in time: never for secrets. */
static inline bool bytes_equal(struct bytes a, struct bytes b)
{
	return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

/* b, or fallback where b is absent (NULL p). */
static inline struct bytes bytes_or(struct bytes b, struct bytes fallback)
{
	return b.p ? b : fallback;
}

/* The value of a hexadecimal digit of either case, or -1. */
static inline int bytes_hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

#endif
