/* SPDX-License-Identifier: MIT */
/* session_update_api: several parts of a session in one call, all or nothing (SES-10); resume and archive. */
#include "app/session_update_api.h"

#include <stddef.h>

#include "app/dispatch.h"
#include "app/idem.h"
#include "app/message_in.h"
#include "app/policy.h"
#include "app/session_api.h"
#include "app/session_update.h"

struct update_in {
	struct session_change change;
	struct bytes conversation;
	struct field_list messages;
};

#define CHANGE(name) offsetof(struct update_in, change) + offsetof(struct session_change, name)
static const struct field update_fields[] = {
	{ .name = "title", .type = FIELD_STRING, .max = 200, .offset = CHANGE(title), .help = "Shown in lists", .example = "\"Bread\"" },
	{ .name = "context", .type = FIELD_STRING, .min = 1, .max = 128, .offset = CHANGE(context), .help = "What the session is about (secret key only)" },
	{ .name = "tags", .type = FIELD_STRINGS, .max = 32, .offset = CHANGE(tags), .help = "Replaces the tags (secret key only)" },
	{ .name = "metadata", .type = FIELD_PAIRS, .flags = FIELD_NULLS, .max = 64, .offset = CHANGE(metadata), .help = "A string sets a key, null deletes it (secret key only)" },
	{ .name = "state", .type = FIELD_OBJECT, .max = SESSION_DOCUMENT_MAX, .offset = CHANGE(state), .help = "JSON merge patch of the state" },
	{ .name = "config", .type = FIELD_OBJECT, .max = SESSION_DOCUMENT_MAX, .offset = CHANGE(config), .sub = &policy_config_table, .help = "JSON merge patch of the config (secret key only)" },
	{ .name = "preferences", .type = FIELD_OBJECT, .max = SESSION_DOCUMENT_MAX, .offset = CHANGE(preferences), .help = "JSON merge patch of state.preferences" },
	{ .name = "metrics", .type = FIELD_OBJECT, .max = SESSION_DOCUMENT_MAX, .offset = CHANGE(metrics), .help = "Numbers by name, each added to that of state.metrics",
	  .example = "{\"clicks\":1}" },
	{ .name = "conversation_id", .type = FIELD_STRING, .min = 1, .max = 64, .offset = offsetof(struct update_in, conversation),
	  .help = "Makes this conversation of the session the active one" },
	{ .name = "messages", .type = FIELD_LIST, .min = 1, .max = 1000, .offset = offsetof(struct update_in, messages), .sub = &message_in_table,
	  .help = "Appended to the active conversation together with the rest" },
	{ .name = NULL },
};
static const struct field_table update_table = { update_fields, sizeof(struct update_in) };

/* What decides how a session is treated is the site's to change, not the visitor's. */
static enum err check_reserved(struct call *c, const struct session_change *in)
{
	const struct {
		const char *field;
		struct bytes value;
	} reserved[] = { { "config", in->config }, { "metadata", in->metadata }, { "tags", in->tags }, { "context", in->context } };
	enum err e = ERR_OK;
	for (size_t i = 0; c->who.who != WHO_SECRET_KEY && i < COUNT(reserved); i++)
		if (reserved[i].value.p)
			e = task_fail_field(c->task, reserved[i].field, "forbidden", "only the site's secret key may change this");
	return e;
}

/* Brings the request into the form that the operation takes. */
static enum err read_change(struct call *c, struct update_in *in)
{
	struct message_new *items = arena_array(c->task->arena, in->messages.n, sizeof *items);
	struct ident *conversation = arena_alloc(c->task->arena, sizeof *conversation);
	enum err e = check_reserved(c, &in->change);
	if (in->conversation.p && !ident_parse(PREFIX_CONVERSATION, in->conversation, conversation))
		e = task_fail_field(c->task, "conversation_id", "value", "there is no such conversation in this session");
	if (message_in_read_list(c, &in->messages, "messages", items) != ERR_OK)
		e = ERR_INVALID;
	in->change.conversation = in->conversation.p ? conversation : NULL;
	in->change.messages = items;
	in->change.n_messages = in->messages.n;
	return e ? e : dispatch_read_if_match(c, &in->change.if_version);
}

static enum err api_session_update(struct call *c)
{
	struct update_in *in = c->body;
	size_t n = in->messages.n;
	struct bytes *json = arena_array(c->task->arena, n, sizeof *json);
	struct buf *b = &c->rs->body;
	enum err e = read_change(c, in);
	if (!e)
		e = session_update(c->task, c->app, c->head, &in->change, json);
	if (e)
		return e;
	head_render(b, c->head, c->who.who == WHO_SECRET_KEY);
	if (n > 0) {
		buf_add_str(b, ",\"messages\":[");
		for (size_t i = 0; i < n; i++) {
			if (i > 0)
				buf_add_char(b, ',');
			buf_add_bytes(b, json[i]);
		}
		buf_add_char(b, ']');
	}
	buf_add_char(b, '}');
	session_api_reply(c, c->head, 200);
	return ERR_OK;
}

/* A session on its way to another status. */
struct step {
	struct call *c;
	int64_t if_version;
	enum err (*take)(struct task *t, struct db_conn *c, const struct ident *site, const struct ident *session);
};

static enum err step_in(struct task *t, struct db_conn *conn, void *arg)
{
	struct step *s = arg;
	struct call *c = s->c;
	enum err e = session_check_version(t, conn, &c->who.site, &c->audit_session, s->if_version);
	if (!e)
		e = s->take(t, conn, &c->who.site, &c->audit_session);
	if (!e)
		e = head_read(t, c->app, conn, &c->who.site, &c->audit_session, c->head);
	if (e)
		return e;
	buf_clear(&c->rs->body);
	session_api_write(c, &c->rs->body, c->head);
	return idem_store(t, conn, &c->idem, c->app, &c->who.site, &c->audit_session, 200, buf_bytes(&c->rs->body));
}

static enum err step(struct call *c, enum err (*take)(struct task *t, struct db_conn *c, const struct ident *site, const struct ident *session))
{
	struct step s = { .c = c, .take = take };
	enum err e = dispatch_read_if_match(c, &s.if_version);
	if (e)
		return e;
	e = store_transact(c->task, c->app, step_in, &s);
	if (!e || e == ERR_COMMIT_UNKNOWN)
		head_changed(c->task, c->app, &c->who.site, &c->audit_session);
	if (!e)
		session_api_reply(c, c->head, 200);
	return e;
}

static enum err api_session_resume(struct call *c)
{
	return step(c, session_resume);
}

static enum err api_session_archive(struct call *c)
{
	if (c->who.who != WHO_SECRET_KEY) /* what is archived is kept for ever: the site's to decide */
		return task_fail(c->task, ERR_FORBIDDEN, "only the site's secret key may archive");
	return step(c, session_archive);
}

static const struct api_route routes[] = {
	{ HTTP_PATCH, "/v1/sessions/{s}", SCOPE_SESSION, api_session_update, &update_table, NULL, 0,
	  "Change a session, several parts at once or none; If-Match guards against a stale writer", 200, "SessionWithMessages" },
	{ HTTP_POST, "/v1/sessions/{s}/resume", SCOPE_SESSION, api_session_resume, &dispatch_no_fields, NULL, ROUTE_BODY_OPTIONAL,
	  "Make an ended or archived session active again", 200, "Session" },
	{ HTTP_POST, "/v1/sessions/{s}/archive", SCOPE_SESSION, api_session_archive, &dispatch_no_fields, NULL, ROUTE_BODY_OPTIONAL,
	  "Archive a session: it stays for good, and takes no messages (secret key only)", 200, "Session" },
};

const struct feature session_update_api_feature = { .name = "session_update_api", .routes = routes, .n_routes = COUNT(routes) };
