/* SPDX-License-Identifier: MIT */
/*
 * dispatch: a request's way to its handler and back. Order: route, preflight, guard, body, fields, idempotency, handler, audit,
 * reply. A handler that returns an error has stored nothing; the reply to it is made here.
 */
#include "app/dispatch.h"

#include <assert.h>
#include <stddef.h>
#include <strings.h>

#include "app/guard.h"
#include "app/head.h"
#include "app/idem.h"
#include "app/tool.h"
#include "base/log.h"
#include "base/metrics.h"
#include "base/stamp.h"

#define REQUEST_ID_MAX 36

static const struct field no_fields[] = { { .name = NULL } };
const struct field_table dispatch_no_fields = { no_fields, 1 };

static const struct field page_fields[] = {
	{ .name = "limit", .type = FIELD_INT, .min = 1, .max = 100, .offset = offsetof(struct dispatch_page, limit),
	  .given_offset = offsetof(struct dispatch_page, has_limit), .help = "How many, 20 unless said" },
	{ .name = "after", .type = FIELD_STRING, .max = 64, .offset = offsetof(struct dispatch_page, after), .help = "`next` of the page before" },
	{ .name = NULL },
};
const struct field_table dispatch_page_table = { page_fields, sizeof(struct dispatch_page) };

struct router *dispatch_open_router(void)
{
	struct router *r = router_open();
	for (const struct feature *const *f = app_features; *f; f++)
		for (size_t i = 0; i < (*f)->n_routes; i++) {
			const struct api_route *route = &(*f)->routes[i];
			assert(route->scope != SCOPE_UNSET && route->handler && route->help);
			router_add(r, route->method, route->path, route);
		}
	return r;
}

/* A caller's X-Request-Id is taken over when it is short and plain, so that its logs and ours meet. */
static void take_request_id(struct task *t, const struct http_request *rq)
{
	struct bytes id = rq->request_id;
	if (id.n < 8 || id.n > REQUEST_ID_MAX)
		return;
	for (size_t i = 0; i < id.n; i++)
		if (!strchr("0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_", id.p[i]) || id.p[i] == 0)
			return;
	memcpy(t->id, id.p, id.n);
	t->id[id.n] = 0;
}

static void format_field_errors(const struct fault *f, struct buf *out)
{
	buf_add_member(out, "errors");
	buf_add_char(out, '[');
	for (const struct fault_field *ff = f->fields; ff; ff = ff->next) {
		if (ff != f->fields)
			buf_add_char(out, ',');
		buf_add_char(out, '{');
		buf_member_str(out, "field", ff->field);
		buf_member_str(out, "code", ff->code);
		buf_member_str(out, "detail", ff->detail);
		buf_add_char(out, '}');
	}
	buf_add_char(out, ']');
}

void dispatch_format_problem(const struct task *t, enum err e, const char *extra, struct buf *out)
{
	const struct fault *f = &t->fault;
	const char *detail = f->detail ? f->detail : err_title(e);
	if (f->fields && !f->detail)
		detail = f->fields->detail;
	buf_addf(out, "{\"type\":\"urn:parley:error:%s\"", err_code(e));
	buf_member_str(out, "title", err_title(e));
	buf_member_int(out, "status", err_status(e));
	buf_member_str(out, "detail", detail);
	buf_member_str(out, "code", err_code(e));
	buf_member_str(out, "request_id", t->id);
	if (f->fields)
		format_field_errors(f, out);
	if (extra) {
		buf_add_char(out, ',');
		buf_add_str(out, extra);
	}
	buf_add_char(out, '}');
}

int dispatch_retry_after(const struct task *t, enum err e)
{
	if (t->fault.retry_after_s > 0)
		return t->fault.retry_after_s;
	switch (e) {
	case ERR_TURN_RUNNING:
	case ERR_REQUEST_RUNNING:
	case ERR_BUSY:
		return 1;
	case ERR_UNAVAILABLE:
	case ERR_COMMIT_UNKNOWN:
		return 2;
	default:
		return 0;
	}
}

static void reply_problem(struct call *c, enum err e)
{
	struct http_response *rs = c->rs;
	if (rs->is_streaming)
		return; /* its handler has told the client inside the stream */
	buf_clear(&rs->body);
	rs->status = err_status(e);
	rs->content_type = "application/problem+json";
	int retry_after_s = dispatch_retry_after(c->task, e);
	if (retry_after_s > 0)
		http_header(rs, "Retry-After", "%d", retry_after_s);
	if (e == ERR_UNAUTHENTICATED || e == ERR_TOKEN_EXPIRED)
		http_header(rs, "WWW-Authenticate", "Bearer realm=\"parley\"");
	dispatch_format_problem(c->task, e, c->problem_extra, &rs->body);
	http_send(rs);
}

void dispatch_add_token(struct call *c, struct buf *b, const struct ident *session, const struct ident *user)
{
	char text[TOKEN_SIZE];
	struct token tk = { .site = c->who.site, .session = *session, .user = *user, .expires_at = stamp_now() + c->app->conf->token_ttl };
	token_format(&tk, c->app->token_key, text);
	buf_member_str(b, "token", text);
	buf_member_time(b, "token_expires_at", tk.expires_at);
}

void dispatch_add_etag(struct call *c, int64_t version)
{
	http_header(c->rs, "ETag", "\"%lld\"", (long long)version);
}

enum err dispatch_read_if_match(struct call *c, int64_t *version_r)
{
	struct bytes m = c->rq->if_match;
	*version_r = 0;
	if (!m.p || bytes_equal(m, BYTES("*")))
		return ERR_OK;
	int64_t v = 0;
	for (size_t i = 1; m.n > 2 && m.n < 20 && i < m.n - 1; i++)
		v = m.p[i] >= '0' && m.p[i] <= '9' && v >= 0 ? v * 10 + (m.p[i] - '0') : -1;
	if (v <= 0 || m.p[0] != '"' || m.p[m.n - 1] != '"')
		return task_fail(c->task, ERR_PRECONDITION, "the If-Match header is not a version of this");
	*version_r = v;
	return ERR_OK;
}

void dispatch_reply(struct call *c, int status)
{
	struct buf *b = &c->rs->body;
	if (c->has_token && b->n && b->p[b->n - 1] == '}') {
		b->n--;
		dispatch_add_token(c, b, &c->token_session, &c->token_user);
		buf_add_char(b, '}');
	}
	if (c->route->flags & ROUTE_GIVES_SECRET)
		tool_add_secret(c->app, &c->who.site, b);
	if (store_is_down(c->app) && c->head && c->head->entry.value.n)
		http_header(c->rs, "X-Parley-Stale", "database-unavailable");
	c->rs->status = status;
	if (status == 204)
		c->rs->content_type = NULL;
	http_send(c->rs);
}

static enum err check_body_state(struct call *c)
{
	switch (c->rq->body_state) {
	case HTTP_BODY_OK:
		return ERR_OK;
	case HTTP_BODY_TOO_LARGE:
		return task_fail(c->task, ERR_TOO_LARGE, "the body may have at most %lld bytes", (long long)c->app->conf->max_body);
	case HTTP_BODY_INCOMPLETE:
		metric_add(METRIC_bodies_incomplete_total, 1);
		return task_fail(c->task, ERR_INCOMPLETE_BODY, "the body ended before its Content-Length");
	default:
		return task_fail(c->task, ERR_INCOMPLETE_BODY, "the Content-Length is not that of the body");
	}
}

static bool is_media(struct bytes type, const char *want)
{
	size_t n = strlen(want);
	return type.n >= n && strncasecmp(type.p, want, n) == 0 && (type.n == n || type.p[n] == ';' || type.p[n] == ' ');
}

static enum err parse_body(struct call *c)
{
	const struct api_route *route = c->route;
	struct bytes body = c->rq->body;
	enum err e = check_body_state(c);
	if (e)
		return e;
	if (route->flags & ROUTE_RAW_BODY) {
		if (is_media(c->rq->content_type, "application/x-ndjson"))
			return ERR_OK;
		return task_fail(c->task, ERR_MEDIA_TYPE, "the Content-Type must be application/x-ndjson");
	}
	if (!route->body) {
		if (body.n == 0 || route->method == HTTP_GET)
			return ERR_OK;
		return task_fail(c->task, ERR_INVALID, "this request takes no body");
	}
	if (body.n == 0 && (route->flags & ROUTE_BODY_OPTIONAL))
		body = BYTES("{}");
	else if (c->rq->content_type.p && !is_media(c->rq->content_type, "application/json"))
		return task_fail(c->task, ERR_MEDIA_TYPE, "the Content-Type must be application/json");
	struct jsonx_flaw flaw;
	if (!jsonx_check_strict(c->task->arena, body, &flaw))
		return task_fail(c->task, ERR_MALFORMED_JSON, "%s, at byte %zu", flaw.reason, flaw.offset);
	if (jsonx_type(body) != JSONX_OBJECT)
		return task_fail(c->task, ERR_INVALID, "the body must be a JSON object");
	c->body = arena_alloc(c->task->arena, route->body->size);
	return field_parse(c->task, route->body, body, "", c->body);
}

static enum err parse_query(struct call *c)
{
	const struct field_table *table = c->route->query ? c->route->query : &dispatch_no_fields;
	c->query = arena_alloc(c->task->arena, table->size);
	if (c->rq->query.n == 0 && !c->route->query)
		return ERR_OK;
	return field_parse_query(c->task, table, c->rq->query, c->query);
}

/* Answers from what is stored under the key. The session it touched may be in the cache in an older state: drop that first. */
static enum err replay(struct call *c, const struct idem_record *rec)
{
	if (rec->status == IDEM_RUNNING)
		return task_fail(c->task, ERR_REQUEST_RUNNING, "a request with this Idempotency-Key is running");
	if (!ident_is_zero(&rec->session)) {
		head_changed(c->task, c->app, &c->who.site, &rec->session);
		struct head h;
		if ((c->route->flags & ROUTE_GIVES_TOKEN) && head_load(c->task, c->app, &c->who.site, &rec->session, &h) == ERR_OK) {
			c->has_token = true;
			c->token_session = h.session;
			c->token_user = h.user;
		}
		task_clear_fault(c->task);
	}
	metric_add(METRIC_idempotent_replays_total, 1);
	http_header(c->rs, "Idempotent-Replayed", "true");
	buf_clear(&c->rs->body);
	buf_add_bytes(&c->rs->body, rec->body);
	dispatch_reply(c, rec->status);
	return ERR_OK;
}

static enum err run_handler(struct call *c)
{
	struct idem_record rec = { 0 };
	bool is_keyed = c->route->method == HTTP_POST && !(c->route->flags & ROUTE_OWN_IDEMPOTENCY);
	if (is_keyed) {
		enum err e = idem_begin(c, &rec);
		if (e)
			return e;
		if (rec.is_found)
			return replay(c, &rec);
	}
	enum err e = c->route->handler(c);
	if (err_status(e) != 409 || !c->idem.is_active || !is_keyed)
		return e;
	/*
	 * The same key may have been faster on another worker, and its transaction is over: what it stored is the answer. That it was so may have
	 * shown first as a name that is taken, or as a session that was ended behind it.
	 */
	struct fault kept = c->task->fault;
	task_clear_fault(c->task);
	buf_clear(&c->rs->body);
	enum err looked = idem_begin(c, &rec);
	if (looked || rec.is_found)
		return looked ? looked : replay(c, &rec);
	if (e == ERR_REQUEST_RUNNING)
		return task_fail(c->task, ERR_BUSY, "try again");
	c->task->fault = kept;
	return e;
}

static enum err admit_and_run(struct call *c)
{
	enum err e = guard_admit(c);
	if (!e)
		e = parse_query(c);
	if (!e)
		e = parse_body(c);
	return e ? e : run_handler(c);
}

static enum err route_and_run(struct call *c)
{
	struct router_match m = { 0 };
	struct task *t = c->task;
	enum err e = router_find(c->app->router, t, c->rq->method, c->rq->path, &m);
	if (c->rq->method == HTTP_OPTIONS && (e == ERR_METHOD_NOT_ALLOWED || e == ERR_OK)) {
		task_clear_fault(t);
		e = guard_preflight(c, m.allowed);
		if (!e)
			http_send(c->rs);
		return e;
	}
	if (e == ERR_NOT_FOUND)
		return task_fail(t, e, "there is nothing at this path");
	if (e == ERR_METHOD_NOT_ALLOWED) {
		struct buf allowed;
		buf_init(&allowed, t->arena, 64);
		for (int i = 0; i < HTTP_METHOD_COUNT; i++)
			if (m.allowed & (1u << i))
				buf_addf(&allowed, "%s%s", allowed.n ? ", " : "", http_method_name((enum http_method)i));
		http_header(c->rs, "Allow", "%s", allowed.p);
		return task_fail(t, e, "this path takes %s", allowed.p);
	}
	if (e)
		return e;
	c->route = m.row;
	c->params = m.params;
	c->rs->is_head = c->rq->method == HTTP_HEAD;
	return admit_and_run(c);
}

/* The audit hook: every change and every refusal of a credential leaves a line that says who did what. */
static void audit(const struct call *c, int status)
{
	static const char *const who[] = { "nobody", "secret_key", "publishable_key", "session" };
	char site[IDENT_SIZE] = "", session[IDENT_SIZE] = "", key[IDENT_SIZE] = "";
	bool is_change = c->rq->method != HTTP_GET && c->rq->method != HTTP_HEAD && c->rq->method != HTTP_OPTIONS;
	if (!log_wants(LOG_INFO_LEVEL) || (!is_change && status != 401 && status != 403))
		return;
	if (!ident_is_zero(&c->who.site))
		ident_format(PREFIX_SITE, &c->who.site, site);
	if (!ident_is_zero(&c->who.key))
		ident_format(PREFIX_KEY, &c->who.key, key);
	if (!ident_is_zero(&c->audit_session))
		ident_format(PREFIX_SESSION, &c->audit_session, session);
	log_info(c->task, "audit", { "action", c->route ? arena_printf(c->task->arena, "%s %s", http_method_name(c->route->method), c->route->path) : "none", 0 },
		 { "who", c->who.is_operator ? "operator" : who[c->who.who], 0 }, { "site", site, 0 }, { "key", key, 0 }, { "session", session, 0 }, { "status", NULL, status });
}

static void log_request(const struct call *c, enum err e, int64_t us)
{
	const struct fault *f = &c->task->fault;
	bool is_ours = e && err_status(e) >= 500;
	enum log_level level = is_ours ? LOG_ERROR_LEVEL : LOG_DEBUG_LEVEL;
	if (!log_wants(level))
		return;
	log_write(c->task, level, "request",
		  LOG_ITEMS({ "method", arena_printf(c->task->arena, "%.*s", (int)c->rq->method_text.n, c->rq->method_text.p), 0 },
			    { "route", c->route ? c->route->path : "none", 0 }, { "status", NULL, c->rs->status }, { "us", NULL, us },
			    { "code", e ? err_code(e) : "ok", 0 }, { "detail", f->detail ? f->detail : "", 0 },
			    { "internal", f->internal ? f->internal : "", 0 }));
}

static void count(const struct call *c, int64_t us)
{
	int status = c->rs->status;
	metric_add(METRIC_requests_total, 1);
	metric_add(status < 400 ? METRIC_responses_2xx_total : status < 500 ? METRIC_responses_4xx_total : METRIC_responses_5xx_total, 1);
	if (!c->rs->is_streaming)
		metric_observe(METRIC_request_seconds, us);
}

void dispatch(struct app *app, const struct principal *who, struct task *t, const struct http_request *rq, struct http_response *rs)
{
	int64_t began = stamp_mono_us();
	struct call c = { .task = t, .app = app, .rq = rq, .rs = rs };
	if (who)
		c.who = *who;
	take_request_id(t, rq);
	http_header(rs, "X-Request-Id", "%s", t->id);
	c.remote_addr = guard_client_address(app->conf, rq);
	enum err e = route_and_run(&c);
	if (e)
		reply_problem(&c, e);
	if (c.head)
		head_settle(t, app, c.head);
	int64_t us = stamp_mono_us() - began;
	count(&c, us);
	audit(&c, rs->status);
	log_request(&c, e, us);
}
