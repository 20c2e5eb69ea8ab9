/* SPDX-License-Identifier: MIT */
/* conversation_api: a session's conversations over HTTP: begun, branched, rewound, made the active one, renamed, deleted. */
#include "app/conversation_api.h"

#include <stddef.h>

#include "app/dispatch.h"
#include "app/idem.h"
#include "app/message.h"
#include "app/purge.h"

struct create_in {
	struct bytes title;
	bool is_active, has_active;
};
static const struct field create_fields[] = {
	{ .name = "title", .type = FIELD_STRING, .max = 200, .offset = offsetof(struct create_in, title), .help = "Shown in lists" },
	{ .name = "active", .type = FIELD_BOOL, .offset = offsetof(struct create_in, is_active), .given_offset = offsetof(struct create_in, has_active),
	  .help = "Whether the session goes on in it: true unless said" },
	{ .name = NULL },
};
static const struct field_table create_table = { create_fields, sizeof(struct create_in) };

struct branch_in {
	struct create_in make;
	struct place_in place;
};
#define MAKE(name) offsetof(struct branch_in, make) + offsetof(struct create_in, name)
static const struct field branch_fields[] = {
	PLACE_FIELDS(offsetof(struct branch_in, place), "The last message that both share, the newest unless said"),
	{ .name = "title", .type = FIELD_STRING, .max = 200, .offset = MAKE(title), .help = "Shown in lists" },
	{ .name = "active", .type = FIELD_BOOL, .offset = MAKE(is_active), .given_offset = MAKE(has_active),
	  .help = "Whether the session goes on in it: true unless said" },
	{ .name = NULL },
};
static const struct field_table branch_table = { branch_fields, sizeof(struct branch_in) };

struct rewind_in {
	struct place_in place;
	struct bytes title;
};
static const struct field rewind_fields[] = {
	PLACE_FIELDS(offsetof(struct rewind_in, place), "The first message to leave behind"),
	{ .name = "title", .type = FIELD_STRING, .max = 200, .offset = offsetof(struct rewind_in, title), .help = "Shown in lists" },
	{ .name = NULL },
};
static const struct field_table rewind_table = { rewind_fields, sizeof(struct rewind_in) };

struct change_in {
	struct bytes title;
	bool is_active, has_active;
};
static const struct field change_fields[] = {
	{ .name = "title", .type = FIELD_STRING, .max = 200, .offset = offsetof(struct change_in, title), .help = "Shown in lists" },
	{ .name = "active", .type = FIELD_BOOL, .offset = offsetof(struct change_in, is_active), .given_offset = offsetof(struct change_in, has_active),
	  .help = "true: the session goes on in this one" },
	{ .name = NULL },
};
static const struct field_table change_table = { change_fields, sizeof(struct change_in) };

struct list_in {
	int64_t limit;
	bool has_limit;
	struct bytes after;
};
static const struct field list_fields[] = {
	{ .name = "limit", .type = FIELD_INT, .min = 1, .max = 100, .offset = offsetof(struct list_in, limit),
	  .given_offset = offsetof(struct list_in, has_limit), .help = "How many, 20 unless said" },
	{ .name = "after", .type = FIELD_STRING, .min = 1, .max = 64, .offset = offsetof(struct list_in, after), .help = "`next` of the page before" },
	{ .name = NULL },
};
static const struct field_table list_table = { list_fields, sizeof(struct list_in) };

enum err conversation_api_find_place(struct call *c, const struct head *h, const struct place_in *in, int64_t otherwise, int64_t *seq_r)
{
	*seq_r = otherwise;
	if (in->has_at && in->message.p)
		return task_fail_field(c->task, "message", "conflict", "give either at or message, not both");
	if (in->has_at && in->at > h->last_seq)
		return task_fail_field(c->task, "at", "range", "the newest message is %lld", (long long)h->last_seq);
	if (in->has_at)
		*seq_r = in->at;
	if (!in->message.p)
		return ERR_OK;
	struct message_row m;
	enum err e = message_find(c->task, c->app, h, in->message, &m);
	if (e == ERR_NOT_FOUND)
		return task_fail_field(c->task, "message", "value", "there is no such message in this conversation");
	*seq_r = e ? 0 : m.seq;
	return e;
}

/* A conversation to be made. */
struct make {
	struct call *c;
	const struct conversation *from; /* NULL: an empty one */
	int64_t at;
	struct bytes title;
	bool is_active;
};

static enum err begin_empty(struct task *t, struct db_conn *conn, const struct make *m, struct conversation *made_r)
{
	const struct head *h = m->c->head;
	struct conversation_session s;
	enum err e = conversation_lock_session(t, conn, &h->site, &h->session, &s);
	if (!e)
		e = head_check_active(t, s.status, "conversation");
	if (!e)
		e = conversation_insert(t, conn, &h->site, &h->session, NULL, 0, m->title, made_r);
	return !e && m->is_active ? conversation_activate(t, conn, &h->site, &h->session, &made_r->id) : e;
}

static enum err make_in(struct task *t, struct db_conn *conn, void *arg)
{
	struct make *m = arg;
	struct call *c = m->c;
	const struct head *h = c->head;
	struct conversation made;
	enum err e = m->from ? conversation_branch(t, conn, m->from, m->at, m->title, m->is_active, &made) : begin_empty(t, conn, m, &made);
	if (e)
		return e;
	buf_clear(&c->rs->body);
	conversation_render(&c->rs->body, &made, m->is_active);
	return idem_store(t, conn, &c->idem, c->app, &h->site, &h->session, 201, buf_bytes(&c->rs->body));
}

static enum err make(struct make *m)
{
	struct call *c = m->c;
	enum err e = store_transact(c->task, c->app, make_in, m);
	if (m->is_active && (!e || e == ERR_COMMIT_UNKNOWN)) {
		head_changed(c->task, c->app, &c->head->site, &c->head->session);
		c->head->found = CACHE_SKIP;
	}
	if (!e)
		dispatch_reply(c, 201);
	return e;
}

static enum err api_conversation_create(struct call *c)
{
	const struct create_in *in = c->body;
	return make(&(struct make){ .c = c, .title = in->title, .is_active = !in->has_active || in->is_active });
}

/* The conversation that the path names, and a head that is in it. */
static enum err find_named(struct call *c, struct conversation *from_r, struct head *in_r)
{
	struct ident id;
	const struct head *h = c->head;
	if (ident_parse(PREFIX_CONVERSATION, c->params[1], &id) && ident_equal(&id, &h->conversation) && h->last_seq > 0) {
		/* What the head has will do, but for what it began in place of (find_origin). */
		*from_r = (struct conversation){ .id = id, .site = h->site, .session = h->session, .lineage = h->lineage, .last_seq = h->last_seq };
		*in_r = *h;
		return ERR_OK;
	}
	enum err e = conversation_find(c->task, c->app, NULL, c->head, c->params[1], from_r);
	if (e)
		return e;
	head_settle(c->task, c->app, c->head);
	*in_r = *c->head;
	in_r->conversation = from_r->id;
	in_r->lineage = from_r->lineage;
	in_r->last_seq = from_r->last_seq;
	in_r->is_elsewhere = true;
	in_r->n_tail = 0;
	return ERR_OK;
}

/* A branch that shares nothing is a version of what `from` is a version of: its row says so, and its head does not. */
static enum err find_origin(struct call *c, int64_t at, struct conversation *from)
{
	return at == 0 ? conversation_find(c->task, c->app, NULL, c->head, c->params[1], from) : ERR_OK;
}

static enum err api_conversation_branch(struct call *c)
{
	const struct branch_in *in = c->body;
	struct conversation from;
	struct head h;
	struct make m = { .c = c, .from = &from, .title = in->make.title, .is_active = !in->make.has_active || in->make.is_active };
	enum err e = find_named(c, &from, &h);
	if (!e)
		e = conversation_api_find_place(c, &h, &in->place, from.last_seq, &m.at);
	if (!e)
		e = find_origin(c, m.at, &from);
	return e ? e : make(&m);
}

static enum err api_conversation_rewind(struct call *c)
{
	const struct rewind_in *in = c->body;
	struct conversation from;
	struct head h;
	struct make m = { .c = c, .from = &from, .title = in->title, .is_active = true };
	enum err e = ERR_OK;
	if (!in->place.has_at && !in->place.message.p)
		return task_fail_field(c->task, "at", "required", "at or message is missing: the first message to leave behind");
	if (in->place.has_at && in->place.at < 1)
		return task_fail_field(c->task, "at", "range", "must be at least 1");
	e = find_named(c, &from, &h);
	if (!e)
		e = conversation_api_find_place(c, &h, &in->place, 1, &m.at);
	m.at--;
	if (!e)
		e = find_origin(c, m.at, &from);
	return e ? e : make(&m);
}

static enum err api_conversation_list(struct call *c)
{
	const struct list_in *in = c->query;
	int64_t limit = in->has_limit ? in->limit : 20;
	struct ident after = { { 0 } };
	struct conversation *list;
	size_t n;
	if (in->after.p && !ident_parse(PREFIX_CONVERSATION, in->after, &after))
		return task_fail_field(c->task, "after", "value", "is not a cursor of this list");
	enum err e = conversation_list(c->task, c->app, c->head, &after, limit + 1, &list, &n);
	if (e)
		return e;
	struct buf *b = &c->rs->body;
	bool has_more = (int64_t)n > limit;
	n -= has_more;
	char next[IDENT_SIZE];
	if (has_more)
		ident_format(PREFIX_CONVERSATION, &list[n - 1].id, next);
	render_list_begin(b);
	for (size_t i = 0; i < n; i++) {
		render_list_next(b);
		conversation_render(b, &list[i], ident_equal(&list[i].id, &c->head->conversation));
	}
	render_list_end(b, has_more, has_more ? bytes_of(next) : (struct bytes){ NULL, 0 });
	dispatch_reply(c, 200);
	return ERR_OK;
}

static enum err api_conversation_get(struct call *c)
{
	struct conversation found;
	enum err e = conversation_find(c->task, c->app, NULL, c->head, c->params[1], &found);
	if (e)
		return e;
	conversation_render(&c->rs->body, &found, ident_equal(&found.id, &c->head->conversation));
	dispatch_reply(c, 200);
	return ERR_OK;
}

struct change {
	struct call *c;
	const struct change_in *in;
	struct conversation found;
};

static enum err update_in(struct task *t, struct db_conn *conn, void *arg)
{
	struct change *ch = arg;
	struct call *c = ch->c;
	const struct head *h = c->head;
	struct conversation_session s;
	enum err e = conversation_lock_session(t, conn, &h->site, &h->session, &s);
	if (!e)
		e = conversation_find(t, c->app, conn, h, c->params[1], &ch->found);
	if (!e && ch->in->title.p)
		e = conversation_rename(t, conn, &h->site, &h->session, &ch->found.id, ch->in->title);
	bool is_active = ident_equal(&s.conversation, &ch->found.id);
	if (!e && ch->in->has_active && !is_active)
		e = conversation_activate(t, conn, &h->site, &h->session, &ch->found.id);
	if (e)
		return e;
	if (ch->in->title.p)
		ch->found.title = ch->in->title;
	buf_clear(&c->rs->body);
	conversation_render(&c->rs->body, &ch->found, is_active || ch->in->has_active);
	return ERR_OK;
}

static enum err api_conversation_update(struct call *c)
{
	struct change ch = { .c = c, .in = c->body };
	if (ch.in->has_active && !ch.in->is_active)
		return task_fail_field(c->task, "active", "value", "make another conversation the active one instead");
	enum err e = store_transact(c->task, c->app, update_in, &ch);
	if (!e || e == ERR_COMMIT_UNKNOWN) {
		head_changed(c->task, c->app, &c->head->site, &c->head->session);
		c->head->found = CACHE_SKIP;
	}
	if (!e)
		dispatch_reply(c, 200);
	return e;
}

struct deletion {
	const struct head *h;
	struct bytes ref;
	struct conversation found;
};

static enum err delete_in(struct task *t, struct db_conn *conn, void *arg)
{
	struct deletion *d = arg;
	const struct head *h = d->h;
	struct conversation_session s;
	enum err e = conversation_lock_session(t, conn, &h->site, &h->session, &s);
	if (!e)
		e = conversation_find(t, NULL, conn, h, d->ref, &d->found);
	if (!e && ident_equal(&s.conversation, &d->found.id))
		e = task_fail(t, ERR_CONFLICT, "this is the active conversation: make another one active first");
	return e ? e : conversation_detach(t, conn, &h->site, &h->session, &d->found.id);
}

static enum err api_conversation_delete(struct call *c)
{
	struct deletion d = { .h = c->head, .ref = c->params[1] };
	enum err e = store_transact(c->task, c->app, delete_in, &d);
	if (e)
		return e;
	/* Out of reach already; should this fail, the janitor goes on with it. */
	if (purge_conversations(c->task, c->app, &c->head->site, &d.found.id, 1) != ERR_OK)
		task_clear_fault(c->task);
	dispatch_reply(c, 204);
	return ERR_OK;
}

#define AT "/v1/sessions/{s}/conversations"
static const struct api_route routes[] = {
	{ HTTP_POST, AT, SCOPE_SESSION, api_conversation_create, &create_table, NULL, ROUTE_BODY_OPTIONAL,
	  "Begin an empty conversation; the session goes on in it", 201, "Conversation" },
	{ HTTP_GET, AT, SCOPE_SESSION, api_conversation_list, NULL, &list_table, 0, "List a session's conversations in the order they were begun", 200,
	  "ConversationList" },
	{ HTTP_GET, AT "/{c}", SCOPE_SESSION, api_conversation_get, NULL, NULL, 0, "Get a conversation", 200, "Conversation" },
	{ HTTP_PATCH, AT "/{c}", SCOPE_SESSION, api_conversation_update, &change_table, NULL, 0, "Rename a conversation, or make it the active one", 200,
	  "Conversation" },
	{ HTTP_DELETE, AT "/{c}", SCOPE_SESSION, api_conversation_delete, NULL, NULL, 0, "Delete a conversation; its branches keep what they see of it", 204,
	  NULL },
	{ HTTP_POST, AT "/{c}/branch", SCOPE_SESSION, api_conversation_branch, &branch_table, NULL, ROUTE_BODY_OPTIONAL,
	  "Branch off behind any message: what is before it is shared", 201, "Conversation" },
	{ HTTP_POST, AT "/{c}/rewind", SCOPE_SESSION, api_conversation_rewind, &rewind_table, NULL, 0,
	  "Go on from before a message; the log is kept as a conversation of its own", 201, "Conversation" },
};

const struct feature conversation_api_feature = { .name = "conversation_api", .routes = routes, .n_routes = COUNT(routes) };
