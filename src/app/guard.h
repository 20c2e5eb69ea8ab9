/* SPDX-License-Identifier: MIT */
/* guard: who asks, may they, from which origin, and which session is theirs to name. A step of the dispatcher, never of a handler. */
#ifndef PARLEY_APP_GUARD_H
#define PARLEY_APP_GUARD_H

#include "app/call.h"

/*
 * Fills c->who from the credential (the operator needs none, and reaches a paused site too), refuses what the route's scope does not allow, adds the CORS headers of an allowed origin, and for
 * SCOPE_SESSION loads c->head. Errors: ERR_UNAUTHENTICATED, ERR_TOKEN_EXPIRED, ERR_FORBIDDEN, ERR_ORIGIN_REFUSED,
 * ERR_SITE_PAUSED, ERR_NOT_FOUND, or the database's.
 */
enum err guard_admit(struct call *c) MUST_CHECK;

/* Answers a CORS preflight for a path that has the methods in `allowed` (router_match). */
enum err guard_preflight(struct call *c, unsigned allowed) MUST_CHECK;

/* The client's address: the connection's, or what a trusted proxy says of it. */
struct bytes guard_client_address(const struct conf *conf, const struct http_request *rq);

/* Whether an address is this machine's own. */
bool guard_is_loopback(struct bytes address);

#endif
