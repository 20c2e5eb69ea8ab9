/* SPDX-License-Identifier: MIT */
/* dispatch: what is done once for every route: guard, CORS, field check, idempotency, audit and the error reply. */
#ifndef PARLEY_APP_DISPATCH_H
#define PARLEY_APP_DISPATCH_H

#include "app/call.h"

/* The table of a body or query without members. */
extern const struct field_table dispatch_no_fields;

/* What a list by name takes, and its table. */
struct dispatch_page {
	int64_t limit;
	bool has_limit;
	struct bytes after;
};
extern const struct field_table dispatch_page_table;

/* Fills the router from the features' tables. Asserts that every row has a scope, a handler and a help text. */
struct router *dispatch_open_router(void);

/* Answers a request (app_answer). Who asks comes from its credential, unless `who` says it. */
void dispatch(struct app *app, const struct principal *who, struct task *t, const struct http_request *rq, struct http_response *rs);

/* Writes a fault as an RFC 9457 problem; `extra` are further members, joined by commas, or NULL. */
void dispatch_format_problem(const struct task *t, enum err e, const char *extra, struct buf *out);

/* Seconds after which the request is worth trying again: what the fault says, or what goes with the error; 0 when that makes no sense. */
int dispatch_retry_after(const struct task *t, enum err e);

/* Ends a call with `status` and what was written to c->rs->body, adding a session token where the route gives one. */
void dispatch_reply(struct call *c, int status);

/* Gives a version as the ETag. */
void dispatch_add_etag(struct call *c, int64_t version);

/* The version of an If-Match header: 0 for none or *; ERR_PRECONDITION for one that is no version of ours. */
enum err dispatch_read_if_match(struct call *c, int64_t *version_r) MUST_CHECK;

/* Adds the members "token" and "token_expires_at" of a fresh token for a session. */
void dispatch_add_token(struct call *c, struct buf *b, const struct ident *session, const struct ident *user);

#endif
