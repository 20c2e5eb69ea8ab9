/* SPDX-License-Identifier: MIT */
/* session_api: sessions over HTTP. */
#include "app/session_api.h"

#include <stddef.h>

#include "app/dispatch.h"
#include "app/expire.h"
#include "app/idem.h"
#include "app/message.h"
#include "app/preset.h"
#include "app/policy.h"
#include "app/purge.h"
#include "app/site.h"
#include "app/template.h"
#include "base/metrics.h"

#define CREATE_TRIES 10 /* each is lost only to a deletion between two statements */

struct create_in {
	struct bytes agent, id, if_exists, preset, template_name;
	int64_t ttl; /* seconds */
	bool has_ttl;
	struct session_new session;
};

#define SESSION(name) offsetof(struct create_in, session) + offsetof(struct session_new, name)
static const struct field create_fields[] = {
	{ .name = "agent", .type = FIELD_STRING, .flags = FIELD_REQUIRED, .min = 1, .max = 64, .offset = offsetof(struct create_in, agent), .help = "Name or id of the agent", .example = "\"baker\"" },
	{ .name = "id", .type = FIELD_STRING, .flags = FIELD_IDENT, .min = 1, .max = 128, .offset = offsetof(struct create_in, id), .help = "The caller's own id, unique in its site (secret key only)" },
	{ .name = "if_exists", .type = FIELD_ENUM, .choices = "error|return", .offset = offsetof(struct create_in, if_exists), .help = "What to do when the own id is taken: error, as unless said, or return what there is" },
	{ .name = "user", .type = FIELD_STRING, .min = 1, .max = 128, .offset = SESSION(user), .help = "Who talks, as the site names it; a new anonymous user unless given (secret key only)", .example = "\"anna\"" },
	{ .name = "client_type", .type = FIELD_STRING, .flags = FIELD_IDENT, .min = 1, .max = 32, .offset = SESSION(client_type), .help = "Kind of client, such as web" },
	{ .name = "context", .type = FIELD_STRING, .min = 1, .max = 128, .offset = SESSION(context), .help = "What the session is about" },
	{ .name = "title", .type = FIELD_STRING, .max = 200, .offset = SESSION(title), .help = "Shown in lists", .example = "\"Bread\"" },
	{ .name = "tags", .type = FIELD_STRINGS, .max = 32, .offset = SESSION(tags), .help = "Distinct words to find it by" },
	{ .name = "metadata", .type = FIELD_PAIRS, .max = SESSION_METADATA_PAIRS, .offset = SESSION(metadata), .help = "Up to 16 strings by name" },
	{ .name = "state", .type = FIELD_OBJECT, .max = SESSION_DOCUMENT_MAX, .offset = SESSION(state), .help = "Any object: what the conversation has come to" },
	{ .name = "config", .type = FIELD_OBJECT, .max = SESSION_DOCUMENT_MAX, .offset = SESSION(config), .sub = &policy_config_table, .help = "Any object: how the session behaves" },
	{ .name = "preset", .type = FIELD_ENUM, .choices = PRESET_CHOICES, .offset = offsetof(struct create_in, preset), .help = "What the config begins with (secret key only)" },
	{ .name = "template", .type = FIELD_STRING, .min = 1, .max = 64, .offset = offsetof(struct create_in, template_name), .help = "Name of the template it begins with (secret key only)" },
	{ .name = "ttl", .type = FIELD_INT, .min = 0, .max = TTL_MAX / 1000, .offset = offsetof(struct create_in, ttl), .given_offset = offsetof(struct create_in, has_ttl),
	  .help = "Seconds without activity after which it ends, 0: never; the site's own unless given (secret key only)" },
	{ .name = NULL },
};
static const struct field_table create_table = { create_fields, sizeof(struct create_in) };

struct get_in {
	int64_t messages, min_seq;
	bool has_messages;
};
static const struct field get_fields[] = {
	{ .name = "messages", .type = FIELD_INT, .min = 0, .max = 100, .offset = offsetof(struct get_in, messages),
	  .given_offset = offsetof(struct get_in, has_messages), .help = "Also give so many of the newest messages, oldest first" },
	{ .name = "min_seq", .type = FIELD_INT, .min = 0, .max = INT64_MAX, .offset = offsetof(struct get_in, min_seq), .help = "The newest seq the client knows of" },
	{ .name = NULL },
};
static const struct field_table get_table = { get_fields, sizeof(struct get_in) };

enum err session_api_check_public(struct call *c, struct bytes id, struct bytes user)
{
	enum err e = ERR_OK;
	if (c->who.who == WHO_SECRET_KEY)
		return e;
	if (id.p)
		e = task_fail_field(c->task, "id", "forbidden", "only the site's secret key may choose an id");
	if (user.p)
		e = task_fail_field(c->task, "user", "forbidden", "only the site's secret key may name a user");
	return e;
}

enum err session_api_own_user(struct call *c, struct bytes *user_r)
{
	struct head h;
	enum err e = head_load(c->task, c->app, &c->who.site, &c->who.session, &h);
	if (e)
		return e;
	head_settle(c->task, c->app, &h);
	if (!ident_equal(&h.user, &c->who.user))
		return task_fail(c->task, ERR_NOT_FOUND, "there is no such session");
	*user_r = session_user(c->task->arena, &h);
	return ERR_OK;
}

/* The host of an origin, without scheme and port. */
static struct bytes origin_host(struct bytes origin)
{
	const char *from = origin.p ? memmem(origin.p, origin.n, "://", 3) : NULL;
	if (!from)
		return (struct bytes){ NULL, 0 };
	from += 3;
	size_t n = (size_t)(origin.p + origin.n - from);
	const char *port = n && *from != '[' ? memchr(from, ':', n) : NULL;
	if (port)
		n = (size_t)(port - from);
	return (struct bytes){ from, n > 253 ? 253 : n };
}

void session_api_add_origin(struct call *c, struct session_new *in)
{
	if (c->who.who == WHO_SECRET_KEY)
		return;
	in->website_domain = origin_host(c->rq->origin);
	in->ip_address = (struct bytes){ c->remote_addr.p, c->remote_addr.n > 63 ? 63 : c->remote_addr.n };
	if (!in->client_type.p)
		in->client_type = BYTES("web");
}

void session_api_write(const struct call *c, struct buf *b, const struct head *h)
{
	head_render(b, h, c->who.who == WHO_SECRET_KEY);
	buf_add_char(b, '}');
}

void session_api_reply(struct call *c, const struct head *h, int status)
{
	dispatch_add_etag(c, h->version);
	c->has_token = c->route->flags & ROUTE_GIVES_TOKEN;
	c->token_session = h->session;
	c->token_user = h->user;
	c->audit_session = h->session;
	dispatch_reply(c, status);
}

struct create {
	struct call *c;
	const struct agent *agent;
	const struct session_new *in;
	struct head h;
};

static enum err create_in_transaction(struct task *t, struct db_conn *conn, void *arg)
{
	struct create *cr = arg;
	struct call *c = cr->c;
	enum err e = session_insert(t, conn, &c->who.site, cr->agent, cr->in, &cr->h);
	if (e)
		return e;
	buf_clear(&c->rs->body);
	session_api_write(c, &c->rs->body, &cr->h);
	return idem_store(t, conn, &c->idem, c->app, &c->who.site, &cr->h.session, 201, buf_bytes(&c->rs->body));
}

enum err session_api_reply_existing(struct call *c, struct bytes own_id, struct bytes if_exists)
{
	struct ident id = head_own_ident(&c->who.site, own_id);
	struct head h;
	if (if_exists.n != strlen("return"))
		return task_fail(c->task, ERR_SESSION_EXISTS, "a session with the id %.*s exists", (int)own_id.n, own_id.p);
	enum err e = head_load(c->task, c->app, &c->who.site, &id, &h);
	if (e)
		return e;
	task_clear_fault(c->task);
	buf_clear(&c->rs->body);
	session_api_write(c, &c->rs->body, &h);
	head_settle(c->task, c->app, &h);
	session_api_reply(c, &h, 200);
	return ERR_OK;
}

/* How a session is treated is the site's to choose, not the visitor's. */
static enum err check_choices(struct call *c, const struct create_in *in)
{
	enum err e = ERR_OK;
	if (c->who.who == WHO_SECRET_KEY)
		return e;
	if (in->preset.p)
		e = task_fail_field(c->task, "preset", "forbidden", "only the site's secret key may choose a preset");
	if (in->template_name.p)
		e = task_fail_field(c->task, "template", "forbidden", "only the site's secret key may choose a template");
	if (in->has_ttl)
		e = task_fail_field(c->task, "ttl", "forbidden", "only the site's secret key may choose how long it lives");
	return e;
}

/* Fills in what the preset, the template and the site make of it. */
static enum err complete_session(struct call *c, struct create_in *in)
{
	struct session_new *s = &in->session;
	enum err e = template_compose(c->task, c->app, &c->who.site, in->preset, in->template_name, s->state, s->config, &s->config);
	if (!e && s->config.n > SESSION_DOCUMENT_MAX)
		e = task_fail_field(c->task, "config", "range", "must be at most %d bytes", SESSION_DOCUMENT_MAX);
	if (e)
		return e;
	s->idle_ttl = in->ttl * 1000;
	return in->has_ttl ? ERR_OK : site_find_ttl(c->task, c->app, &c->who.site, TTL_SESSION, &s->idle_ttl);
}

static enum err check_create(struct call *c, const struct create_in *in)
{
	if (c->who.who == WHO_SESSION)
		return task_fail(c->task, ERR_FORBIDDEN, "a session token cannot start sessions");
	enum err e = session_api_check_public(c, in->id, in->session.user);
	if (check_choices(c, in) != ERR_OK)
		e = ERR_INVALID;
	if (in->id.p && !session_is_own_id(in->id))
		e = task_fail_field(c->task, "id", "format", "must be letters, digits and . _ : @ -, and must not begin with ses_");
	return e;
}

static enum err api_session_create(struct call *c)
{
	struct create_in *in = c->body;
	struct agent agent;
	enum err e = check_create(c, in);
	if (!e)
		e = agent_find(c->task, c->app, &c->who.site, in->agent, &agent);
	if (e == ERR_NOT_FOUND)
		e = task_fail_field(c->task, "agent", "value", "there is no agent named \"%.*s\"", (int)in->agent.n, in->agent.p);
	if (!e)
		e = complete_session(c, in);
	if (e)
		return e;
	in->session.own_id = in->id;
	session_api_add_origin(c, &in->session);
	struct create cr = { .c = c, .agent = &agent, .in = &in->session };
	for (int i = 0; i < CREATE_TRIES; i++) {
		task_clear_fault(c->task);
		e = store_transact(c->task, c->app, create_in_transaction, &cr);
		if (e != ERR_DUPLICATE || !in->id.p)
			break;
		e = session_api_reply_existing(c, in->id, in->if_exists);
		if (e != ERR_NOT_FOUND)
			return e;
		/* it was deleted since */
		e = task_fail(c->task, ERR_BUSY, "the session with this id is being made and deleted all the time");
	}
	if (e)
		return e;
	if (in->id.p) /* somebody may hold a lease on the absent one */
		head_changed(c->task, c->app, &cr.h.site, &cr.h.session);
	metric_add(METRIC_sessions_created_total, 1);
	session_api_reply(c, &cr.h, 201);
	return ERR_OK;
}

static enum err api_session_get(struct call *c)
{
	const struct get_in *in = c->query;
	struct bytes json = { NULL, 0 };
	enum err e = head_catch_up(c->task, c->app, c->head, in->min_seq);
	if (!e && in->has_messages && !head_newest(c->head, in->messages, &json)) {
		struct message_list list;
		struct message_page page = { .after = c->head->last_seq > in->messages ? c->head->last_seq - in->messages : 0, .limit = in->messages };
		e = message_list_active(c->task, c->app, c->head, &page, &list);
		json = list.json;
	}
	if (e)
		return e;
	struct buf *b = &c->rs->body;
	head_render(b, c->head, c->who.who == WHO_SECRET_KEY);
	if (in->has_messages) {
		buf_add_str(b, ",\"messages\":[");
		buf_add_bytes(b, json);
		buf_add_char(b, ']');
	}
	buf_add_char(b, '}');
	session_api_reply(c, c->head, 200);
	return ERR_OK;
}

struct end {
	struct call *c;
	int64_t if_version, keep_ms;
	struct expire_rest rest;
};

static enum err end_in_transaction(struct task *t, struct db_conn *conn, void *arg)
{
	struct end *x = arg;
	struct call *c = x->c;
	enum err e = session_check_version(t, conn, &c->head->site, &c->head->session, x->if_version);
	if (!e)
		e = expire_end(t, c->app, conn, c->head, x->keep_ms, &x->rest);
	if (e)
		return e;
	buf_clear(&c->rs->body);
	session_api_write(c, &c->rs->body, c->head);
	if (x->rest.is_gone) /* who asks again finds no session, and so no answer either */
		return ERR_OK;
	return idem_store(t, conn, &c->idem, c->app, &c->who.site, &c->audit_session, 200, buf_bytes(&c->rs->body));
}

static enum err api_session_end(struct call *c)
{
	struct end x = { .c = c };
	enum err e = dispatch_read_if_match(c, &x.if_version);
	if (!e)
		e = expire_keep(c->task, c->app, &c->who.site, &x.keep_ms);
	if (e)
		return e;
	e = store_transact(c->task, c->app, end_in_transaction, &x);
	if (!e || e == ERR_COMMIT_UNKNOWN)
		head_changed(c->task, c->app, &c->who.site, &c->audit_session);
	if (e)
		return e;
	/* Everything that went is out of reach already; should this fail, the janitor goes on with it. */
	if (purge_conversations(c->task, c->app, &c->who.site, x.rest.detached, x.rest.n) != ERR_OK)
		task_clear_fault(c->task);
	session_api_reply(c, c->head, 200);
	return ERR_OK;
}

static enum err api_session_delete(struct call *c)
{
	struct head *h = c->head;
	int64_t if_version;
	enum err e = dispatch_read_if_match(c, &if_version);
	if (!e)
		e = purge_session(c->task, c->app, h, if_version);
	if (e)
		return e;
	h->found = CACHE_SKIP;
	dispatch_reply(c, 204);
	return ERR_OK;
}

static enum err api_session_token(struct call *c)
{
	buf_add_char(&c->rs->body, '{');
	dispatch_add_token(c, &c->rs->body, &c->head->session, &c->head->user);
	buf_add_char(&c->rs->body, '}');
	dispatch_reply(c, 200);
	return ERR_OK;
}

static const struct api_route routes[] = {
	{ HTTP_POST, "/v1/sessions", SCOPE_START, api_session_create, &create_table, NULL, ROUTE_GIVES_TOKEN,
	  "Create a session; with an own id, create it or load it", 201, "SessionWithToken" },
	{ HTTP_GET, "/v1/sessions/{s}", SCOPE_SESSION, api_session_get, NULL, &get_table, 0, "Get a session, with its newest messages on request", 200, "SessionWithMessages" },
	{ HTTP_DELETE, "/v1/sessions/{s}", SCOPE_SESSION, api_session_delete, NULL, NULL, ROUTE_TAKES_CORRUPT, "Delete a session and everything below it", 204, NULL },
	{ HTTP_POST, "/v1/sessions/{s}/end", SCOPE_SESSION, api_session_end, &dispatch_no_fields, NULL, ROUTE_BODY_OPTIONAL, "End a session: it can be read, not added to", 200, "Session" },
	{ HTTP_POST, "/v1/sessions/{s}/token", SCOPE_SESSION, api_session_token, &dispatch_no_fields, NULL, ROUTE_BODY_OPTIONAL | ROUTE_OWN_IDEMPOTENCY,
	  "Make a fresh token for the session", 200, "Token" },
};

const struct feature session_api_feature = { .name = "session_api", .routes = routes, .n_routes = COUNT(routes) };
