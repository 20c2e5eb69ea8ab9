/* SPDX-License-Identifier: MIT */
/* clone: a session whose first conversation descends from another session's. Rows are shared until one of the two is deleted (purge.c). */
#include "app/clone.h"

#include <stddef.h>

#include "app/conversation_api.h"
#include "app/dispatch.h"
#include "app/idem.h"
#include "app/policy.h"
#include "app/session_api.h"
#include "app/site.h"
#include "base/metrics.h"

enum { MARK, COPY_MASKS };
static const struct db_stmt stmts[] = {
	[MARK] = { "UPDATE sessions SET flags = flags | 2 WHERE id = ? AND site = ?", NULL, NULL },
	[COPY_MASKS] = { "INSERT INTO message_masks (session, conversation, seq, site, content, extra, created_at)"
			 " SELECT ?, conversation, seq, site, content, extra, created_at FROM message_masks WHERE session = ? AND site = ? AND seq <= ?",
			 NULL, NULL },
};

/* Members of the original's session object, where the clone does not say otherwise. */
static struct bytes text_of(struct arena *a, struct bytes object, const char *name, struct bytes given)
{
	return given.p ? given : jsonx_string(a, jsonx_member(object, name));
}

static struct bytes merged(struct arena *a, struct bytes object, const char *name, struct bytes patch)
{
	struct bytes theirs = jsonx_member(object, name);
	return patch.p ? jsonx_merge(a, theirs, patch) : theirs;
}

static struct session_new describe(struct arena *a, struct bytes original, const struct clone_new *in)
{
	struct bytes none = { NULL, 0 };
	return (struct session_new){
		.own_id = in->own_id, .user = text_of(a, original, "user", in->user), .client_type = text_of(a, original, "client_type", none),
		.context = text_of(a, original, "context", in->context), .title = text_of(a, original, "title", in->title),
		.tags = in->tags.p ? in->tags : merged(a, original, "tags", none), .metadata = merged(a, original, "metadata", in->metadata),
		.state = merged(a, original, "state", in->state), .config = merged(a, original, "config", in->config),
		.website_domain = in->website_domain, .ip_address = in->ip_address,
	};
}

enum err clone_insert(struct task *t, struct db_conn *c, const struct head *h, const struct conversation *from, const struct clone_new *in,
		      struct head *made_r)
{
	struct bytes original = session_object(t->arena, h);
	struct agent agent = { .id = h->agent, .site = h->site, .name = text_of(t->arena, original, "agent", (struct bytes){ NULL, 0 }) };
	struct session_new fresh = describe(t->arena, original, in);
	struct conversation_session s;
	struct conversation first;
	struct ident id = session_ident(&h->site, in->own_id);
	enum err e = session_check_documents(t, fresh.metadata, fresh.state, fresh.config);
	if (!e) /* this holds the conversation, before its session as turns do: neither then waits for the other in a circle */
		e = conversation_insert(t, c, &h->site, &id, from, in->at, (struct bytes){ NULL, 0 }, &first);
	if (!e) /* h may be older than the last deletion, and what that one does depends on whether there are clones */
		e = conversation_lock_session(t, c, &h->site, &h->session, &s);
	if (e)
		return e;
	fresh.flags = s.flags & (SESSION_HAS_MASKS | SESSION_HAS_SUMMARIES);
	fresh.first = &first;
	fresh.idle_ttl = in->idle_ttl >= 0 ? in->idle_ttl : h->idle_ttl;
	e = session_insert(t, c, &h->site, &agent, &fresh, made_r);
	if (!e && !(s.flags & SESSION_IS_CLONED))
		e = db_run(t, c, &stmts[MARK], DB_ARGS(db_ident(&h->session), db_ident(&h->site)), NULL);
	if (!e && (s.flags & SESSION_HAS_MASKS))
		e = db_run(t, c, &stmts[COPY_MASKS], DB_ARGS(db_ident(&made_r->session), db_ident(&h->session), db_ident(&h->site), db_int(in->at)), NULL);
	return e;
}

struct clone_in {
	struct clone_new make;
	struct place_in place;
	struct bytes id, if_exists, conversation;
	int64_t ttl; /* seconds */
	bool has_ttl;
};
#define MAKE(name) offsetof(struct clone_in, make) + offsetof(struct clone_new, name)
static const struct field clone_fields[] = {
	{ .name = "id", .type = FIELD_STRING, .flags = FIELD_IDENT, .min = 1, .max = 128, .offset = offsetof(struct clone_in, id), .help = "The caller's own id, unique in its site (secret key only)" },
	{ .name = "if_exists", .type = FIELD_ENUM, .choices = "error|return", .offset = offsetof(struct clone_in, if_exists), .help = "What to do when the own id is taken: error, as unless said, or return what there is" },
	{ .name = "user", .type = FIELD_STRING, .min = 1, .max = 128, .offset = MAKE(user), .help = "Whose the clone is, the original's unless given (secret key only)" },
	{ .name = "context", .type = FIELD_STRING, .min = 1, .max = 128, .offset = MAKE(context), .help = "What the clone is about" },
	{ .name = "title", .type = FIELD_STRING, .max = 200, .offset = MAKE(title), .help = "Shown in lists" },
	{ .name = "tags", .type = FIELD_STRINGS, .max = 32, .offset = MAKE(tags), .help = "Instead of the original's (secret key only)" },
	{ .name = "metadata", .type = FIELD_PAIRS, .flags = FIELD_NULLS, .max = 64, .offset = MAKE(metadata), .help = "A string sets a key, null deletes it (secret key only)" },
	{ .name = "state", .type = FIELD_OBJECT, .max = SESSION_DOCUMENT_MAX, .offset = MAKE(state), .help = "JSON merge patch of the original's state" },
	{ .name = "config", .type = FIELD_OBJECT, .max = SESSION_DOCUMENT_MAX, .offset = MAKE(config), .sub = &policy_config_table, .help = "JSON merge patch of the original's config (secret key only)" },
	{ .name = "conversation", .type = FIELD_STRING, .min = 1, .max = 64, .offset = offsetof(struct clone_in, conversation), .help = "Which conversation's history: the active one's unless said" },
	{ .name = "ttl", .type = FIELD_INT, .min = 0, .max = TTL_MAX / 1000, .offset = offsetof(struct clone_in, ttl), .given_offset = offsetof(struct clone_in, has_ttl),
	  .help = "Seconds without activity after which it ends, 0: never; the original's unless given (secret key only)" },
	PLACE_FIELDS(offsetof(struct clone_in, place), "The last message the clone sees, the newest unless said"),
	{ .name = NULL },
};
static const struct field_table clone_table = { clone_fields, sizeof(struct clone_in) };

struct clone {
	struct call *c;
	const struct clone_in *in;
	struct conversation from;
	struct head h;
};

static enum err clone_in_transaction(struct task *t, struct db_conn *conn, void *arg)
{
	struct clone *cl = arg;
	struct call *c = cl->c;
	enum err e = clone_insert(t, conn, c->head, &cl->from, &cl->in->make, &cl->h);
	if (e)
		return e;
	buf_clear(&c->rs->body);
	session_api_write(c, &c->rs->body, &cl->h);
	return idem_store(t, conn, &c->idem, c->app, &c->who.site, &cl->h.session, 201, buf_bytes(&c->rs->body));
}

static enum err check_clone(struct call *c, struct clone_in *in)
{
	const struct {
		const char *field;
		struct bytes value;
	} reserved[] = { { "tags", in->make.tags }, { "metadata", in->make.metadata }, { "config", in->make.config } };
	enum err e = session_api_check_public(c, in->id, in->make.user);
	for (size_t i = 0; c->who.who != WHO_SECRET_KEY && i < COUNT(reserved); i++)
		if (reserved[i].value.p)
			e = task_fail_field(c->task, reserved[i].field, "forbidden", "only the site's secret key may set this");
	if (in->id.p && !session_is_own_id(in->id))
		e = task_fail_field(c->task, "id", "format", "must be letters, digits and . _ : @ -, and must not begin with ses_");
	if (c->who.who != WHO_SECRET_KEY && in->has_ttl)
		e = task_fail_field(c->task, "ttl", "forbidden", "only the site's secret key may choose how long it lives");
	in->make.own_id = in->id;
	in->make.idle_ttl = in->has_ttl ? in->ttl * 1000 : -1;
	if (c->who.who != WHO_SECRET_KEY) {
		struct session_new origin = { 0 };
		session_api_add_origin(c, &origin);
		in->make.website_domain = origin.website_domain;
		in->make.ip_address = origin.ip_address;
	}
	return e;
}

static enum err make_clone(struct call *c, struct clone_in *in, struct clone *cl)
{
	const struct head *h = c->head;
	enum err e = conversation_api_find_place(c, h, &in->place, h->last_seq, &in->make.at);
	cl->from = (struct conversation){ .id = h->conversation, .site = h->site, .session = h->session, .lineage = h->lineage };
	return e ? e : store_transact(c->task, c->app, clone_in_transaction, cl);
}

static enum err api_session_clone(struct call *c)
{
	struct clone_in *in = c->body;
	struct clone cl = { .c = c, .in = in };
	enum err e = check_clone(c, in);
	if (!e)
		e = conversation_enter(c->task, c->app, c->head, in->conversation);
	if (e)
		return e;
	e = make_clone(c, in, &cl);
	if (e == ERR_NOT_FOUND) { /* the history was cleared meanwhile, or the session deleted */
		e = head_follow(c->task, c->app, c->head);
		e = e ? e : make_clone(c, in, &cl);
	}
	if (e == ERR_DUPLICATE && in->id.p)
		return session_api_reply_existing(c, in->id, in->if_exists);
	if (!e || e == ERR_COMMIT_UNKNOWN) {
		if (!(c->head->flags & SESSION_IS_CLONED))
			head_changed(c->task, c->app, &c->head->site, &c->head->session);
		c->head->found = CACHE_SKIP;
	}
	if (e)
		return e;
	if (in->id.p) /* somebody may hold a lease on the absent one */
		head_changed(c->task, c->app, &cl.h.site, &cl.h.session);
	metric_add(METRIC_sessions_created_total, 1);
	session_api_reply(c, &cl.h, 201);
	return ERR_OK;
}

static const struct api_route routes[] = {
	{ HTTP_POST, "/v1/sessions/{s}/clone", SCOPE_SESSION, api_session_clone, &clone_table, NULL, ROUTE_BODY_OPTIONAL | ROUTE_GIVES_TOKEN,
	  "Clone a session: a new, independent one with the same history", 201, "SessionWithToken" },
};

const struct feature clone_feature = { .name = "clone", .stmts = stmts, .n_stmts = COUNT(stmts), .routes = routes, .n_routes = COUNT(routes) };
