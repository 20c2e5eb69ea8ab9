/* SPDX-License-Identifier: MIT */
/* session_list_api: the site's sessions with their filters, and a user's newest. A session token sees its own user's alone. */
#include "app/session_list_api.h"

#include <stddef.h>

#include "app/dispatch.h"
#include "app/session.h"
#include "app/session_api.h"
#include "app/session_list.h"

#define LIMIT_DEFAULT 20

struct list_in {
	int64_t limit, created_from, created_to;
	bool has_limit, has_created_to;
	struct bytes after, before, order, user, agent, client_type, status, tag, context;
};

#define IN(name) offsetof(struct list_in, name)
#define PAGE_FIELDS                                                                                                                                \
	{ .name = "limit", .type = FIELD_INT, .min = 1, .max = 100, .offset = IN(limit), .given_offset = IN(has_limit), .help = "How many, 20 unless said" }, \
	{ .name = "after", .type = FIELD_STRING, .max = 64, .offset = IN(after), .help = "`next` of the page before" },                           \
	{ .name = "before", .type = FIELD_STRING, .max = 64, .offset = IN(before), .help = "The page in front of this cursor" }
static const struct field list_fields[] = {
	PAGE_FIELDS,
	{ .name = "order", .type = FIELD_ENUM, .choices = "asc|desc", .offset = IN(order), .help = "desc: newest first, as unless said" },
	{ .name = "user", .type = FIELD_STRING, .min = 1, .max = 128, .offset = IN(user), .help = "Only this user's (secret key only)" },
	{ .name = "agent", .type = FIELD_STRING, .min = 1, .max = 64, .offset = IN(agent), .help = "Only this agent's, by name or id" },
	{ .name = "client_type", .type = FIELD_STRING, .min = 1, .max = 32, .offset = IN(client_type), .help = "Only of this kind of client" },
	{ .name = "status", .type = FIELD_ENUM, .choices = "active|ended|archived", .offset = IN(status), .help = "Only in this state" },
	{ .name = "tag", .type = FIELD_STRING, .min = 1, .max = 256, .offset = IN(tag), .help = "Only with this tag" },
	{ .name = "context", .type = FIELD_STRING, .min = 1, .max = 128, .offset = IN(context), .help = "Only of this context" },
	{ .name = "created_from", .type = FIELD_TIME, .offset = IN(created_from), .help = "Only created at this time or later" },
	{ .name = "created_to", .type = FIELD_TIME, .offset = IN(created_to), .given_offset = IN(has_created_to), .help = "Only created before this time" },
	{ .name = NULL },
};
static const struct field_table list_table = { list_fields, sizeof(struct list_in) };

static const struct field history_fields[] = { PAGE_FIELDS, { .name = NULL } };
static const struct field_table history_table = { history_fields, sizeof(struct list_in) };

static enum err reply_page(struct call *c, const struct session_filter *f)
{
	struct session_page page;
	struct buf *b = &c->rs->body;
	enum err e = session_list(c->task, c->app, &c->who.site, f, &page);
	if (e)
		return e;
	render_list_begin(b);
	for (size_t i = 0; i < page.n; i++) {
		render_list_next(b);
		session_api_write(c, b, &page.list[i]);
	}
	render_list_end(b, page.has_more, page.next ? bytes_of(page.next) : (struct bytes){ NULL, 0 });
	dispatch_reply(c, 200);
	return ERR_OK;
}

static enum err read_user(struct call *c, const struct list_in *in, struct session_filter *f)
{
	f->user = in->user;
	if (c->who.who == WHO_SECRET_KEY)
		return ERR_OK;
	if (in->user.p)
		return task_fail_field(c->task, "user", "forbidden", "only the site's secret key may name a user; a token lists its own user's sessions");
	return session_api_own_user(c, &f->user);
}

static enum err read_agent(struct call *c, const struct list_in *in, struct session_filter *f)
{
	struct agent a;
	if (!in->agent.p)
		return ERR_OK;
	enum err e = agent_find(c->task, c->app, &c->who.site, in->agent, &a);
	if (e == ERR_NOT_FOUND)
		e = task_fail_field(c->task, "agent", "value", "there is no agent named \"%.*s\"", (int)in->agent.n, in->agent.p);
	f->agent = a.id;
	return e;
}

static enum err api_session_list(struct call *c)
{
	const struct list_in *in = c->query;
	struct session_filter f = { .client_type = in->client_type, .tag = in->tag, .context = in->context, .status = session_status_find(in->status),
				    .created_from = in->created_from, .has_created_to = in->has_created_to, .created_to = in->created_to, .is_ascending = in->order.n == 3,
				    .after = in->after, .before = in->before, .limit = in->has_limit ? in->limit : LIMIT_DEFAULT };
	enum err e = read_user(c, in, &f);
	if (!e)
		e = read_agent(c, in, &f);
	return e ? e : reply_page(c, &f);
}

static enum err api_user_history(struct call *c)
{
	const struct list_in *in = c->query;
	struct session_filter f = { .user = c->params[0], .after = in->after, .before = in->before, .limit = in->has_limit ? in->limit : LIMIT_DEFAULT };
	struct ident user = head_user_ident(&c->who.site, f.user);
	if (c->who.who != WHO_SECRET_KEY && !ident_equal(&user, &c->who.user))
		return task_fail(c->task, ERR_NOT_FOUND, "there is no such user");
	return reply_page(c, &f);
}

static const struct api_route routes[] = {
	{ HTTP_GET, "/v1/sessions", SCOPE_USER, api_session_list, NULL, &list_table, 0, "List sessions by time of creation; a token lists its own user's", 200, "SessionList" },
	{ HTTP_GET, "/v1/users/{u}/history", SCOPE_USER, api_user_history, NULL, &history_table, 0, "List a user's newest sessions", 200, "SessionList" },
};

const struct feature session_list_api_feature = { .name = "session_list_api", .routes = routes, .n_routes = COUNT(routes) };
