/* SPDX-License-Identifier: MIT */
/* call: one API request as a handler sees it, and the tables from which the dispatcher serves it. */
#ifndef PARLEY_APP_CALL_H
#define PARLEY_APP_CALL_H

#include "app/store.h"
#include "base/field.h"
#include "http/http.h"

enum who { WHO_NOBODY, WHO_SECRET_KEY, WHO_PUBLISHABLE_KEY, WHO_SESSION };

/* Who asks. It comes from the credential alone. */
struct principal {
	enum who who;
	struct ident site;
	struct ident key;     /* of a key: its id */
	struct ident session; /* of a session token */
	struct ident user;    /* of a session token */
	bool is_operator;     /* no credential at all: the operator in this process, who has the reach of the site's secret key */
};

/* Who may call a route. A route without one is refused at start. */
enum scope {
	SCOPE_UNSET,
	SCOPE_PUBLIC,   /* anybody, no credential looked at */
	SCOPE_LOCAL,    /* loopback addresses, unless the settings open it */
	SCOPE_SITE,     /* the site's secret key */
	SCOPE_START,    /* any credential: starts a session, or goes on with the token's own */
	SCOPE_SESSION,  /* the secret key, or a token of the user whose session the path names */
	SCOPE_USER,     /* the site's secret key, or any session token: the handler restricts what it gives to the token's user */
};

enum route_flag {
	ROUTE_BODY_OPTIONAL = 1, /* an empty body is taken as {} */
	ROUTE_GIVES_TOKEN = 2,   /* the answer gets a fresh session token when the handler set token_session */
	ROUTE_OWN_IDEMPOTENCY = 4, /* the handler itself looks after the Idempotency-Key */
	ROUTE_STREAMS = 8,       /* may answer with text/event-stream */
	ROUTE_RAW_BODY = 32,     /* the body is no JSON object: the handler reads c->rq->body, application/x-ndjson */
	ROUTE_GIVES_SECRET = 64, /* the answer, a tool, gets the secret of its calls, which is never stored with the answer */
	ROUTE_TAKES_CORRUPT = 16, /* works on a session whose record cannot be read: its head has ids alone */
};

struct call;
struct head; /* head.h */

struct api_route {
	enum http_method method;
	const char *path;
	enum scope scope;
	enum err (*handler)(struct call *c);
	const struct field_table *body;  /* NULL: the route takes none */
	const struct field_table *query; /* NULL: no parameters */
	unsigned flags;
	const char *help;
	int status;         /* of success, as the interface's document says it */
	const char *answer; /* name of the answer's schema in openapi_schemas.c; NULL: no JSON body */
};

/* The Idempotency-Key of a request (idem.c). */
struct idem {
	bool is_active;
	unsigned char hash[SECRET_HASH_SIZE];      /* of site, credential's reach and key */
	unsigned char body_hash[SECRET_HASH_SIZE]; /* of method, path, body and query */
};

struct call {
	struct task *task;
	struct app *app;
	const struct http_request *rq;
	struct http_response *rs;
	const struct api_route *route;
	const struct bytes *params; /* decoded values of the path's {names} */
	struct principal who;
	struct head *head; /* of SCOPE_SESSION: the session the path names, within the principal's reach */
	void *body;  /* what the route's table filled, or NULL */
	void *query;
	struct idem idem;
	struct bytes remote_addr; /* the client's, behind trusted proxies too */
	/* Set by handlers of ROUTE_GIVES_TOKEN: whose token the answer gets. */
	bool has_token;
	struct ident token_session, token_user;
	const char *problem_extra; /* further members for the problem of a failed call, joined by commas; NULL: none */
	struct ident audit_session; /* zero: none; the session that was touched, for the audit hook */
};

struct tool_builtin; /* tool.h */

/* A feature: the one constant row that app.c lists. */
struct feature {
	const char *name;
	const struct db_stmt *stmts;
	size_t n_stmts;
	const struct api_route *routes;
	size_t n_routes;
	/* Job of the janitor; adds what it ended or removed to *n_r. */
	enum err (*sweep)(struct task *t, struct app *app, int64_t *n_r);
	const char *swept; /* what it counts: "idle sessions ended" */
	/* What agents may call here, beside the tools of their site (tool.h). */
	const struct tool_builtin *tools;
	size_t n_tools;
};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* All features in order, ending with NULL (app.c). */
extern const struct feature *const app_features[];

#endif
