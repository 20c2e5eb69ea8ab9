/* SPDX-License-Identifier: MIT */
/* guard: authentication, authorisation and origins. The principal comes from the credential alone (SEC-1). */
#include "app/guard.h"

#include <stdlib.h>
#include <strings.h>

#include "app/head.h"
#include "app/site.h"
#include "base/metrics.h"
#include "base/secret.h"
#include "base/stamp.h"

#define CORS_HEADERS "Authorization, Content-Type, Idempotency-Key, If-Match, If-None-Match, Last-Event-ID, X-Request-Id"
#define CORS_EXPOSED "X-Request-Id, ETag, Retry-After, Idempotent-Replayed, X-Parley-Stale"

static bool starts_with(struct bytes s, const char *prefix)
{
	size_t n = strlen(prefix);
	return s.n >= n && memcmp(s.p, prefix, n) == 0;
}

static enum err refuse(struct call *c, enum err e, const char *why)
{
	metric_add(METRIC_auth_failures_total, 1);
	return task_fail(c->task, e, "%s", why);
}

/* The credential of "Bearer <credential>"; none is an error of its own, so that the client learns what is missing. */
static enum err find_bearer(struct call *c, struct bytes *credential_r)
{
	struct bytes a = c->rq->authorization;
	if (a.n == 0)
		return refuse(c, ERR_UNAUTHENTICATED, "an Authorization header with a key or session token is needed");
	if (a.n < 8 || strncasecmp(a.p, "Bearer ", 7) != 0)
		return refuse(c, ERR_UNAUTHENTICATED, "the Authorization header must be: Bearer, a space, and a key or session token");
	size_t from = 7;
	while (from < a.n && a.p[from] == ' ')
		from++;
	*credential_r = (struct bytes){ a.p + from, a.n - from };
	return ERR_OK;
}

static enum err admit_key(struct call *c, struct bytes credential, struct site *site_r)
{
	unsigned char hash[SECRET_HASH_SIZE];
	if (!api_key_is_wellformed(credential))
		return refuse(c, ERR_UNAUTHENTICATED, "the key is not valid");
	api_key_hash(credential, hash);
	enum err e = site_find_by_key(c->task, c->app, hash, site_r);
	if (e == ERR_UNAUTHENTICATED)
		metric_add(METRIC_auth_failures_total, 1);
	if (e)
		return e;
	c->who.who = site_r->key_kind == KEY_SECRET ? WHO_SECRET_KEY : WHO_PUBLISHABLE_KEY;
	c->who.site = site_r->id;
	c->who.key = site_r->key;
	return ERR_OK;
}

static enum err admit_token(struct call *c, struct bytes credential, struct site *site_r)
{
	struct token tk;
	enum err verdict = token_parse(credential, c->app->token_key, stamp_now(), &tk);
	if (verdict == ERR_UNAUTHENTICATED)
		return refuse(c, verdict, "the session token is not valid");
	enum err e = site_find(c->task, c->app, &tk.site, site_r);
	if (e == ERR_NOT_FOUND)
		return refuse(c, ERR_UNAUTHENTICATED, "the session token is not valid");
	if (e)
		return e;
	c->who = (struct principal){ .who = WHO_SESSION, .site = tk.site, .session = tk.session, .user = tk.user };
	/* An expired token is genuine, so its site may hear of it: the browser can then start anew. */
	return verdict;
}

static void add_cors(struct call *c)
{
	http_header(c->rs, "Access-Control-Allow-Origin", "%.*s", (int)c->rq->origin.n, c->rq->origin.p);
	http_header(c->rs, "Access-Control-Expose-Headers", "%s", CORS_EXPOSED);
}

static enum err check_origin(struct call *c, const struct site *site)
{
	bool is_public = c->who.who == WHO_PUBLISHABLE_KEY;
	if (!c->rq->origin.p) /* a page reads its own origin's answers without naming it, but it starts nothing so */
		return is_public ? refuse(c, ERR_ORIGIN_REFUSED, "a publishable key is for pages: the request must name its origin") : ERR_OK;
	http_header(c->rs, "Vary", "Origin");
	if (site_allows_origin(site, c->rq->origin)) {
		add_cors(c);
		return ERR_OK;
	}
	/* A server may send any Origin along with its secret key; what a browser holds is bound to the site's origins. */
	if (c->who.who == WHO_SECRET_KEY)
		return ERR_OK;
	return refuse(c, ERR_ORIGIN_REFUSED, "this site does not list the origin of the request");
}

static enum err check_scope(struct call *c)
{
	enum who who = c->who.who;
	switch (c->route->scope) {
	case SCOPE_SITE:
		return who == WHO_SECRET_KEY ? ERR_OK : refuse(c, ERR_FORBIDDEN, "this needs the site's secret key");
	case SCOPE_START:
		return ERR_OK;
	case SCOPE_SESSION:
	case SCOPE_USER:
		return who != WHO_PUBLISHABLE_KEY ? ERR_OK : refuse(c, ERR_FORBIDDEN, "a publishable key may only start sessions; use the session's token");
	default:
		abort(); /* the others never come here */
	}
}

/*
 * The session the path names, if it is within reach; a foreign one is as absent as one that never was. A token reaches all of its user's
 * sessions (SES-6); an anonymous user's name is unguessable, so that these are the visitor's own session and what was cloned from it.
 */
static enum err find_session(struct call *c)
{
	c->head = arena_alloc(c->task->arena, sizeof *c->head);
	enum err e = head_find(c->task, c->app, &c->who.site, c->params[0], c->head);
	if (e && e != ERR_CORRUPT)
		return e;
	c->audit_session = c->head->session;
	if (c->who.who == WHO_SESSION && !ident_equal(&c->who.user, &c->head->user))
		return refuse(c, ERR_NOT_FOUND, "there is no such session");
	if (e && !(c->route->flags & ROUTE_TAKES_CORRUPT))
		return e;
	task_clear_fault(c->task);
	return ERR_OK;
}

static enum err admit_credential(struct call *c)
{
	struct bytes credential;
	struct site site;
	enum err e = find_bearer(c, &credential);
	if (e)
		return e;
	enum err verdict = starts_with(credential, "st_") ? admit_token(c, credential, &site) : admit_key(c, credential, &site);
	if (verdict && verdict != ERR_TOKEN_EXPIRED)
		return verdict;
	e = check_origin(c, &site);
	if (e)
		return e;
	if (verdict == ERR_TOKEN_EXPIRED)
		return refuse(c, verdict, "the session token has expired");
	if (site.is_paused)
		return task_fail(c->task, ERR_SITE_PAUSED, "this site is paused");
	return check_scope(c);
}

enum err guard_admit(struct call *c)
{
	if (c->route->scope == SCOPE_PUBLIC)
		return ERR_OK;
	if (c->route->scope == SCOPE_LOCAL) {
		if (c->app->conf->metrics_public || guard_is_loopback(c->remote_addr))
			return ERR_OK;
		return task_fail(c->task, ERR_FORBIDDEN, "this is for the operator's own machine");
	}
	enum err e = c->who.is_operator ? ERR_OK : admit_credential(c);
	if (!e && c->route->scope == SCOPE_SESSION)
		e = find_session(c);
	return e;
}

enum err guard_preflight(struct call *c, unsigned allowed)
{
	bool is_allowed = false;
	http_header(c->rs, "Vary", "Origin");
	if (c->rq->origin.p) {
		enum err e = site_any_allows_origin(c->task, c->app, c->rq->origin, &is_allowed);
		if (e)
			return e;
	}
	if (is_allowed) {
		struct buf methods;
		buf_init(&methods, c->task->arena, 64);
		for (int m = 0; m < HTTP_METHOD_COUNT; m++)
			if (allowed & (1u << m))
				buf_addf(&methods, "%s%s", methods.n ? ", " : "", http_method_name((enum http_method)m));
		add_cors(c);
		http_header(c->rs, "Access-Control-Allow-Methods", "%s", methods.p);
		http_header(c->rs, "Access-Control-Allow-Headers", "%s", CORS_HEADERS);
		http_header(c->rs, "Access-Control-Max-Age", "600");
	}
	c->rs->status = 204;
	c->rs->content_type = NULL;
	return ERR_OK;
}

bool guard_is_loopback(struct bytes a)
{
	return a.n == 0 || starts_with(a, "127.") || bytes_equal(a, BYTES("::1")) || starts_with(a, "unix:");
}

static bool is_listed(const char *list, struct bytes address)
{
	while (*list) {
		size_t n = strcspn(list, ", ");
		if (n && n == address.n && memcmp(list, address.p, n) == 0)
			return true;
		list += n + strspn(list + n, ", ");
	}
	return false;
}

struct bytes guard_client_address(const struct conf *conf, const struct http_request *rq)
{
	struct bytes address = rq->remote_addr.p ? rq->remote_addr : BYTES("");
	struct bytes hops = rq->forwarded_for;
	/* From the nearest hop outwards, as long as who says so is trusted. */
	while (hops.n && is_listed(conf->trusted_proxies, address)) {
		size_t end = hops.n;
		while (end > 0 && strchr(" ,", hops.p[end - 1]))
			end--;
		size_t from = end;
		while (from > 0 && !strchr(" ,", hops.p[from - 1]))
			from--;
		if (end == from)
			break;
		address = (struct bytes){ hops.p + from, end - from };
		hops.n = from;
	}
	return address;
}
