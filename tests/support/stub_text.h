/* SPDX-License-Identifier: MIT */
/* stub_text: the text that stub_stream answers with, so that whoever asked can tell a whole answer from a broken one. */
#ifndef PARLEY_TESTS_STUB_TEXT_H
#define PARLEY_TESTS_STUB_TEXT_H

#include <stdio.h>

#define STUB_ECHO_MAX 64 /* most bytes of the user's text that an answer begins with */
#define STUB_TOKEN_MAX (STUB_ECHO_MAX + 64)

/*
 * Token `i` of an answer to `echo`: the user's words first, then numbered ones, each eighth of which is more than ASCII. A `mark` stands behind each, to
 * tell one answer to the same words from another; "" for none. Returns its length.
 */
static inline size_t stub_token(char out[STUB_TOKEN_MAX], const char *echo, long i, const char *mark)
{
	int n = i == 0 ? snprintf(out, STUB_TOKEN_MAX, "%s%s", echo, mark) : snprintf(out, STUB_TOKEN_MAX, i % 8 == 7 ? " é世🌍%ld%s" : " t%ld%s", i, mark);
	return (size_t)n;
}

#endif
