/* SPDX-License-Identifier: MIT */
/* ident: 128-bit ids. UUIDv7 inside, prefix + 26 characters of Crockford base32 outside ("ses_01J..."). */
#ifndef PARLEY_BASE_IDENT_H
#define PARLEY_BASE_IDENT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"

struct ident {
	unsigned char b[16];
};

#define IDENT_TEXT 26                   /* characters behind the prefix */
#define IDENT_SIZE (8 + IDENT_TEXT + 1) /* room for any prefix we use, the text and a NUL */

/* A new UUIDv7: 48 bits of wall milliseconds, 74 random bits. Later calls of one thread never sort before earlier. */
struct ident ident_new(void);

/* Writes prefix + 26 lower-case Crockford characters + NUL; prefix has at most 8 characters, e.g. "ses_". */
void ident_format(const char *prefix, const struct ident *id, char out[IDENT_SIZE]);

/*
 * Parses what ident_format wrote, upper or lower case (i, l read as 1, o as 0, as Crockford says). False on a wrong
 * prefix, length, character, or a value past 128 bits.
 */
bool ident_parse(const char *prefix, struct bytes text, struct ident *id_r);

bool ident_equal(const struct ident *a, const struct ident *b);
bool ident_is_zero(const struct ident *a);

#endif
