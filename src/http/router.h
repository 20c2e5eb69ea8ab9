/* SPDX-License-Identifier: MIT */
/* router: finds the route of a method and path in tables given at start. */
#ifndef PARLEY_HTTP_ROUTER_H
#define PARLEY_HTTP_ROUTER_H

#include "http/http.h"

#define ROUTER_PARAMS 4       /* most {names} in one pattern */
#define ROUTER_PARAM_BYTES 512 /* longest decoded value of one */

struct router;

/* What a path matched: the caller's row and the decoded values of its {names}, in order. */
struct router_match {
	const void *row;
	size_t n_params;
	struct bytes params[ROUTER_PARAMS];
	unsigned allowed; /* bit 1 << enum http_method for each method this path has; filled when the path exists at all */
};

struct router *router_open(void);
void router_close(struct router **r);

/* Adds a pattern such as "/v1/sessions/{s}/turns"; literal segments win over {names}. Asserts on a pattern added twice for one method. */
void router_add(struct router *r, enum http_method method, const char *pattern, const void *row);

/*
 * Matches the raw path, segment by segment, each decoded by itself. ERR_OK, ERR_NOT_FOUND, or ERR_METHOD_NOT_ALLOWED (allowed says which). Empty segments, a trailing slash,
 * "." and "..", bad escapes and values past ROUTER_PARAM_BYTES match nothing. HEAD falls back to GET. Thread-safe.
 */
enum err router_find(const struct router *r, struct task *t, enum http_method method, struct bytes path, struct router_match *m_r) MUST_CHECK;

#endif
