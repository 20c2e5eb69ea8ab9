/* SPDX-License-Identifier: MIT */
/* ident: makes UUIDv7 ids that rise within a thread, and writes and reads them as Crockford base32. */
#include "base/ident.h"

#include <assert.h>
#include <pthread.h>
#include <sodium.h>
#include <string.h>

#include "base/stamp.h"

#define RAND_A_BITS 12
#define RAND_B_BITS 62
#define POOL_SIZE 1024

/*
 * What a thread remembers between two ids. The random bits are drawn in large pieces, since a system call for each id
 * would cost more than all the rest.
 */
struct ident_source {
	int64_t ms;      /* of the last id, which may run ahead of the clock */
	uint16_t rand_a; /* its random bits, read as one number of 74 bits */
	uint64_t rand_b;
	bool is_fresh;   /* the next id takes new random bits, and a later time than the last */
	size_t left;     /* unused bytes at the end of pool */
	unsigned char pool[POOL_SIZE];
};

static _Thread_local struct ident_source source;

/* The one thread of a forked child must not repeat what its parent goes on to make from the same state. */
static void forget_after_fork(void)
{
	source.left = 0;
	source.is_fresh = true;
}

static void watch_forks(void)
{
	int rc = pthread_atfork(NULL, NULL, forget_after_fork);

	assert(rc == 0);
}

static void take_random(void *out, size_t n)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	if (source.left < n) {
		pthread_once(&once, watch_forks);
		randombytes_buf(source.pool, POOL_SIZE);
		source.left = POOL_SIZE;
	}
	memcpy(out, source.pool + POOL_SIZE - source.left, n);
	source.left -= n;
}

static void draw_number(void)
{
	uint16_t a;
	uint64_t b;

	take_random(&a, sizeof(a));
	take_random(&b, sizeof(b));
	source.rand_a = a & ((1u << RAND_A_BITS) - 1);
	source.rand_b = b & (((uint64_t)1 << RAND_B_BITS) - 1);
}

/* Within one millisecond the number grows by a random step, so that the next id of a thread cannot be counted out. */
static void step_number(void)
{
	uint32_t step;

	take_random(&step, sizeof(step));
	source.rand_b += (uint64_t)step + 1;
	if (source.rand_b >> RAND_B_BITS == 0)
		return;
	source.rand_b &= ((uint64_t)1 << RAND_B_BITS) - 1;
	source.rand_a++;
	if (source.rand_a >> RAND_A_BITS == 0)
		return;
	source.ms++;
	draw_number();
}

struct ident ident_new(void)
{
	struct ident id;
	int64_t now = stamp_now();

	if (now > source.ms || source.is_fresh) {
		source.ms = now > source.ms ? now : source.ms + 1;
		source.is_fresh = false;
		draw_number();
	} else {
		step_number();
	}
	for (int i = 0; i < 6; i++)
		id.b[i] = (unsigned char)((uint64_t)source.ms >> (40 - 8 * i));
	id.b[6] = (unsigned char)(0x70 | source.rand_a >> 8);
	id.b[7] = (unsigned char)source.rand_a;
	for (int i = 0; i < 8; i++)
		id.b[8 + i] = (unsigned char)(source.rand_b >> (56 - 8 * i));
	id.b[8] |= 0x80;
	return id;
}

void ident_format(const char *prefix, const struct ident *id, char out[IDENT_SIZE])
{
	static const char digits[] = "0123456789abcdefghjkmnpqrstvwxyz";
	size_t n = strlen(prefix), at = 0;
	unsigned acc = 0;
	int held = 2; /* 26 digits are 130 bits: two zeros come first */

	assert(n <= IDENT_SIZE - IDENT_TEXT - 1);
	memcpy(out, prefix, n);
	for (int i = 0; i < IDENT_TEXT; i++) {
		if (held < 5) {
			acc = acc << 8 | id->b[at++];
			held += 8;
		}
		held -= 5;
		out[n++] = digits[acc >> held & 31];
	}
	out[n] = '\0';
}

/* The value of a Crockford digit, or -1. */
static int digit_value(char c)
{
	static const char letters[] = "abcdefghjkmnpqrstvwxyz";
	const char *at;

	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'A' && c <= 'Z')
		c = (char)(c - 'A' + 'a');
	if (c == 'i' || c == 'l')
		return 1;
	if (c == 'o')
		return 0;
	at = c ? strchr(letters, c) : NULL;
	return at ? (int)(at - letters) + 10 : -1;
}

bool ident_parse(const char *prefix, struct bytes text, struct ident *id_r)
{
	size_t n = strlen(prefix);
	struct ident id = { { 0 } };
	unsigned acc = 0;
	int held = 0, at = 0;

	if (text.n != n + IDENT_TEXT || memcmp(text.p, prefix, n) != 0)
		return false;
	for (int i = 0; i < IDENT_TEXT; i++) {
		int v = digit_value(text.p[n + (size_t)i]);

		if (v < 0 || (i == 0 && v > 7))
			return false;
		acc = (acc << 5 | (unsigned)v) & 0xfff;
		held += i == 0 ? 3 : 5;
		if (held >= 8) {
			held -= 8;
			id.b[at++] = (unsigned char)(acc >> held);
		}
	}
	*id_r = id;
	return true;
}

bool ident_equal(const struct ident *a, const struct ident *b)
{
	return memcmp(a->b, b->b, sizeof(a->b)) == 0;
}

bool ident_is_zero(const struct ident *a)
{
	static const struct ident zero;

	return ident_equal(a, &zero);
}
