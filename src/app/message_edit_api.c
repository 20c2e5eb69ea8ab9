/* SPDX-License-Identifier: MIT */
/* message_edit_api: one message read, edited, redacted, deleted; its versions; the history cleared. */
#include "app/message_edit_api.h"

#include <stddef.h>

#include "app/dispatch.h"
#include "app/idem.h"
#include "app/message_edit.h"
#include "app/purge.h"

#define VERSIONS_MAX 100
#define CLEARED 100 /* conversations that are removed at once; the janitor has the rest */

struct place_query {
	struct bytes conversation;
};
static const struct field place_fields[] = {
	{ .name = "conversation", .type = FIELD_STRING, .min = 1, .max = 64, .offset = offsetof(struct place_query, conversation),
	  .help = "The conversation it is read in: the active one unless said" },
	{ .name = NULL },
};
static const struct field_table place_table = { place_fields, sizeof(struct place_query) };

struct edit_in {
	struct bytes content, metadata, title;
	bool is_active, has_active;
};
static const struct field edit_fields[] = {
	{ .name = "content", .type = FIELD_TEXT_OR_ARRAY, .flags = FIELD_REQUIRED, .offset = offsetof(struct edit_in, content),
	  .help = "What stands there instead: a string, or an array of parts" },
	{ .name = "metadata", .type = FIELD_OBJECT, .max = 16384, .offset = offsetof(struct edit_in, metadata), .help = "Any object; the old version's unless given" },
	{ .name = "active", .type = FIELD_BOOL, .offset = offsetof(struct edit_in, is_active), .given_offset = offsetof(struct edit_in, has_active),
	  .help = "Whether the session goes on behind the new version: true unless said" },
	{ .name = NULL },
};
static const struct field_table edit_table = { edit_fields, sizeof(struct edit_in) };

struct redact_in {
	struct bytes text;
};
static const struct field redact_fields[] = {
	{ .name = "text", .type = FIELD_STRING, .min = 1, .max = 1000, .offset = offsetof(struct redact_in, text), .help = "What stands there instead: [redacted] unless said" },
	{ .name = NULL },
};
static const struct field_table redact_table = { redact_fields, sizeof(struct redact_in) };

/* Enters the conversation that is asked for and finds the message there. */
static enum err find_message(struct call *c, struct message_row *m_r)
{
	const struct place_query *in = c->query;
	enum err e = conversation_enter(c->task, c->app, c->head, in->conversation);
	return e ? e : message_find(c->task, c->app, c->head, c->params[1], m_r);
}

/* A visitor may change what the visitor said. */
static enum err check_may_change(struct call *c, const struct message_row *m)
{
	if (c->who.who == WHO_SECRET_KEY || m->role == ROLE_USER)
		return ERR_OK;
	return task_fail(c->task, ERR_FORBIDDEN, "a session token may only change messages of the user");
}

static enum err api_message_get(struct call *c)
{
	struct message_row m;
	enum err e = find_message(c, &m);
	if (e)
		return e;
	render_message(&c->rs->body, &m);
	dispatch_reply(c, 200);
	return ERR_OK;
}

static enum err api_message_versions(struct call *c)
{
	struct message_row m, *rows;
	size_t n;
	enum err e = find_message(c, &m);
	if (!e)
		e = message_edit_versions(c->task, c->app, c->head, &m, VERSIONS_MAX, &rows, &n);
	if (e)
		return e;
	struct buf *b = &c->rs->body;
	render_list_begin(b);
	for (size_t i = 0; i < n; i++) {
		render_list_next(b);
		render_message(b, &rows[i]);
	}
	buf_add_str(b, "]}");
	dispatch_reply(c, 200);
	return ERR_OK;
}

struct edit {
	struct call *c;
	const struct message_row *old;
	struct message_new now;
	struct conversation from;
	bool is_active;
};

static enum err edit_in(struct task *t, struct db_conn *conn, void *arg)
{
	struct edit *x = arg;
	struct call *c = x->c;
	struct message_row row;
	enum err e = conversation_read(t, c->app, conn, c->head, &c->head->conversation, &x->from);
	if (!e)
		e = message_edit_branch(t, conn, c->head, &x->from, x->old, &x->now, x->is_active, &row);
	if (e)
		return e;
	buf_clear(&c->rs->body);
	render_message(&c->rs->body, &row);
	return idem_store(t, conn, &c->idem, c->app, &c->head->site, &c->head->session, 201, buf_bytes(&c->rs->body));
}

/* What is kept beside content and metadata: of whom it is a version, who speaks, and to which call of a tool it is the answer. */
static struct bytes edited_from(struct arena *a, const struct message_row *old)
{
	static const char *const kept[] = { "name", "tool_call_id" };
	struct buf b;
	buf_init(&b, a, 64);
	buf_add_char(&b, '{');
	render_ident(&b, "version_of", PREFIX_MESSAGE, &old->id);
	for (size_t i = 0; old->extra.n && i < COUNT(kept); i++) {
		struct bytes value = jsonx_member(old->extra, kept[i]);
		if (value.n)
			buf_member_json(&b, kept[i], value);
	}
	buf_add_char(&b, '}');
	return buf_bytes(&b);
}

static enum err api_message_edit(struct call *c)
{
	const struct edit_in *in = c->body;
	struct message_row old;
	struct edit x = { .c = c, .old = &old, .is_active = !in->has_active || in->is_active };
	enum err e = find_message(c, &old);
	if (!e)
		e = check_may_change(c, &old);
	if (!e && (int64_t)in->content.n > c->app->conf->max_message)
		e = task_fail_field(c->task, "content", "range", "must be at most %lld bytes", (long long)c->app->conf->max_message);
	if (e)
		return e;
	x.now = (struct message_new){ .role = old.role, .content = in->content, .metadata = bytes_or(in->metadata, old.metadata),
				      .extra = edited_from(c->task->arena, &old) };
	e = store_transact(c->task, c->app, edit_in, &x);
	if (!e || e == ERR_COMMIT_UNKNOWN) {
		head_changed(c->task, c->app, &c->head->site, &c->head->session);
		c->head->found = CACHE_SKIP;
	}
	if (!e)
		dispatch_reply(c, 201);
	return e;
}

static enum err erase(struct call *c, struct bytes text, struct message_row *left_r)
{
	struct message_row old;
	enum err e = find_message(c, &old);
	if (!e)
		e = check_may_change(c, &old);
	if (!e)
		e = message_edit_erase(c->task, c->app, c->head, &old, text, &c->idem, left_r);
	c->head->found = CACHE_SKIP;
	return e;
}

static enum err api_message_redact(struct call *c)
{
	const struct redact_in *in = c->body;
	struct message_row left;
	struct buf text;
	buf_init(&text, c->task->arena, 64 + in->text.n);
	buf_add_json(&text, bytes_or(in->text, BYTES("[redacted]")));
	enum err e = erase(c, buf_bytes(&text), &left);
	if (e)
		return e;
	render_message(&c->rs->body, &left);
	dispatch_reply(c, 200);
	return ERR_OK;
}

static enum err api_message_delete(struct call *c)
{
	struct message_row left;
	enum err e = erase(c, (struct bytes){ NULL, 0 }, &left);
	if (!e)
		dispatch_reply(c, 204);
	return e;
}

static enum err clear_in(struct task *t, struct db_conn *conn, void *arg)
{
	const struct head *h = arg;
	struct ident id;
	return conversation_clear(t, conn, &h->site, &h->session, &id);
}

static enum err api_history_clear(struct call *c)
{
	struct head *h = c->head;
	struct conversation *list;
	struct ident ids[CLEARED], first = { { 0 } };
	size_t n;
	enum err e = conversation_list(c->task, c->app, h, &first, CLEARED, &list, &n);
	if (e == ERR_CORRUPT) { /* goes like any other; the janitor finds it */
		task_clear_fault(c->task);
		n = 0;
		e = ERR_OK;
	}
	if (!e)
		e = store_transact(c->task, c->app, clear_in, h);
	if (!e || e == ERR_COMMIT_UNKNOWN)
		head_changed(c->task, c->app, &h->site, &h->session);
	h->found = CACHE_SKIP;
	if (e)
		return e;
	for (size_t i = 0; i < n; i++)
		ids[i] = list[i].id;
	/* Out of reach already; should this fail, the janitor goes on with it. */
	if (purge_conversations(c->task, c->app, &h->site, ids, n) != ERR_OK)
		task_clear_fault(c->task);
	dispatch_reply(c, 204);
	return ERR_OK;
}

#define AT "/v1/sessions/{s}/messages"
static const struct api_route routes[] = {
	{ HTTP_DELETE, AT, SCOPE_SESSION, api_history_clear, NULL, NULL, 0, "Clear the whole history: every conversation goes, the session stays", 204, NULL },
	{ HTTP_GET, AT "/{m}", SCOPE_SESSION, api_message_get, NULL, &place_table, 0, "Get one message", 200, "Message" },
	{ HTTP_DELETE, AT "/{m}", SCOPE_SESSION, api_message_delete, NULL, &place_table, 0, "Delete a message's content; its place stays", 204, NULL },
	{ HTTP_GET, AT "/{m}/versions", SCOPE_SESSION, api_message_versions, NULL, &place_table, 0, "List the versions of a message: the edits of it, and itself", 200,
	  "MessageVersions" },
	{ HTTP_POST, AT "/{m}/edit", SCOPE_SESSION, api_message_edit, &edit_table, &place_table, 0,
	  "Put another version of a message on a branch; both are kept", 201, "Message" },
	{ HTTP_POST, AT "/{m}/redact", SCOPE_SESSION, api_message_redact, &redact_table, &place_table, ROUTE_BODY_OPTIONAL,
	  "Put a text in place of a message's content, for good", 200, "Message" },
};

const struct feature message_edit_api_feature = { .name = "message_edit_api", .routes = routes, .n_routes = COUNT(routes) };
