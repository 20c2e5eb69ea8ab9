/* SPDX-License-Identifier: MIT */
/*
 * unescape: the inside of a JSON string, character by character, as models write it: line ends and escapes that JSON does not know are what they look like,
 * half a pair of surrogates is U+FFFD.
 */
#ifndef PARLEY_LLM_UNESCAPE_H
#define PARLEY_LLM_UNESCAPE_H

#include "base/bytes.h"

/* Zeroed: at the beginning of a string. */
struct unescape {
	bool is_begun, is_hex; /* behind a backslash; behind \u */
	char hex[4];
	int n_hex;
	unsigned high; /* the first half of a pair of surrogates */
	char out[16];
	size_t n_out;
};

/* What the next byte adds to the text, often nothing yet; valid until the next call. A character that was no escape comes out byte by byte. */
struct bytes unescape_take(struct unescape *u, char c);

/* Whether a quote would be part of the string. */
bool unescape_takes_quote(const struct unescape *u);

/* What the end of the string adds. */
struct bytes unescape_end(struct unescape *u);

#endif
