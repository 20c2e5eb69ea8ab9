/* SPDX-License-Identifier: MIT */
/* agent_api: a site's agents over HTTP, for its secret key. */
#include "app/agent_api.h"

#include <stddef.h>

#include "app/agent.h"
#include "app/dispatch.h"
#include "app/idem.h"
#include "app/render.h"

#define MEMBER(name) offsetof(struct agent_change, name)
#define AGENT_FIELDS(name_flags)                                                                                                            \
	{ .name = "name", .type = FIELD_STRING, .flags = FIELD_NAME | (name_flags), .min = 1, .max = 64, .offset = MEMBER(name), .help = "Lower-case letters, digits and -", .example = "\"baker\"" }, \
	{ .name = "title", .type = FIELD_STRING, .max = 200, .offset = MEMBER(title), .help = "What visitors see" },                       \
	{ .name = "instructions", .type = FIELD_STRING, .max = 65536, .offset = MEMBER(instructions), .help = "The system text", .example = "\"Answer briefly.\"" }, \
	{ .name = "provider", .type = FIELD_STRING, .min = 1, .max = 64, .offset = MEMBER(provider), .help = "echo, or one the operator defined", .example = "\"echo\"" }, \
	{ .name = "model", .type = FIELD_STRING, .max = 128, .offset = MEMBER(model), .help = "The provider's name of the model" },        \
	{ .name = "language", .type = FIELD_STRING, .max = 35, .offset = MEMBER(language), .help = "BCP 47 tag" },                         \
	{ .name = "temperature", .type = FIELD_REAL, .flags = FIELD_NULLABLE, .min = 0, .max = 2, .offset = MEMBER(temperature),           \
	  .given_offset = MEMBER(has_temperature), .help = "0 to 2, or null: not sent" },                                                  \
	{ .name = "max_output_tokens", .type = FIELD_INT, .min = 0, .max = 1000000, .offset = MEMBER(max_output_tokens),                   \
	  .given_offset = MEMBER(has_max_output_tokens), .help = "0: the provider's own limit" },                                          \
	{ .name = "tools", .type = FIELD_STRINGS, .max = 64, .offset = MEMBER(tools), .help = "Names of the tools it may call" }, \
	{ .name = "tool_mode", .type = FIELD_ENUM, .choices = "native|text", .offset = MEMBER(tool_mode), .help = "text: for models that know no tools, which are asked to write their calls as JSON" }, \
	{ .name = "max_iterations", .type = FIELD_INT, .min = 0, .max = 50, .offset = MEMBER(max_iterations),                              \
	  .given_offset = MEMBER(has_max_iterations), .help = "Most answers of the model in one turn; 0: the setting's" },                 \
	{ .name = "fallbacks", .type = FIELD_LIST, .max = AGENT_FALLBACKS, .offset = MEMBER(fallback_list), .sub = &agent_fallback_table,                     \
	  .help = "Who answers when the provider cannot, in this order" },                                       \
	{ .name = NULL }

static const struct field create_fields[] = { AGENT_FIELDS(FIELD_REQUIRED) };
static const struct field_table create_table = { create_fields, sizeof(struct agent_change) };
static const struct field update_fields[] = { AGENT_FIELDS(0) };
static const struct field_table update_table = { update_fields, sizeof(struct agent_change) };

/* A temperature that was given as null reads as absent and zero: the raw body tells the difference. */
static struct agent_change change_of(const struct call *c)
{
	struct agent_change in = *(const struct agent_change *)c->body;
	if (in.fallback_list.raw.p)
		in.fallbacks = agent_format_fallbacks(c->task, in.fallback_list.items, in.fallback_list.n);
	in.is_temperature_null = jsonx_type(jsonx_member(c->rq->body, "temperature")) == JSONX_NULL;
	return in;
}

struct create {
	struct call *c;
	struct agent_change in;
};

static enum err create_in(struct task *t, struct db_conn *conn, void *arg)
{
	struct create *cr = arg;
	struct call *c = cr->c;
	struct agent a;
	enum err e = agent_create(t, conn, &c->who.site, &cr->in, &a);
	if (e)
		return e;
	buf_clear(&c->rs->body);
	agent_render(&c->rs->body, &a);
	return idem_store(t, conn, &c->idem, c->app, &c->who.site, NULL, 201, buf_bytes(&c->rs->body));
}

static enum err api_agent_create(struct call *c)
{
	struct create cr = { c, change_of(c) };
	enum err e = store_transact(c->task, c->app, create_in, &cr);
	if (!e)
		dispatch_reply(c, 201);
	return e;
}

static enum err api_agent_list(struct call *c)
{
	const struct dispatch_page *in = c->query;
	int64_t limit = in->has_limit ? in->limit : 20;
	struct agent *list;
	size_t n;
	enum err e = agent_list(c->task, c->app, &c->who.site, in->after, limit + 1, &list, &n);
	if (e)
		return e;
	bool has_more = (int64_t)n > limit;
	struct buf *b = &c->rs->body;
	n -= has_more;
	render_list_begin(b);
	for (size_t i = 0; i < n; i++) {
		render_list_next(b);
		agent_render(b, &list[i]);
	}
	render_list_end(b, has_more, has_more ? list[n - 1].name : (struct bytes){ NULL, 0 });
	dispatch_reply(c, 200);
	return ERR_OK;
}

static enum err reply_agent(struct call *c, const struct agent *a)
{
	dispatch_add_etag(c, a->version);
	agent_render(&c->rs->body, a);
	dispatch_reply(c, 200);
	return ERR_OK;
}

static enum err api_agent_get(struct call *c)
{
	struct agent a;
	enum err e = agent_find(c->task, c->app, &c->who.site, c->params[0], &a);
	return e ? e : reply_agent(c, &a);
}

static enum err api_agent_update(struct call *c)
{
	struct agent a, next;
	struct agent_change in = change_of(c);
	int64_t version;
	enum err e = dispatch_read_if_match(c, &version);
	if (!e)
		e = agent_find(c->task, c->app, &c->who.site, c->params[0], &a);
	if (!e && version && version != a.version)
		e = task_fail(c->task, ERR_PRECONDITION, "the agent has changed since it was read");
	if (!e)
		e = agent_update(c->task, c->app, &a, &in, &next);
	return e ? e : reply_agent(c, &next);
}

static enum err api_agent_delete(struct call *c)
{
	struct agent a;
	enum err e = agent_find(c->task, c->app, &c->who.site, c->params[0], &a);
	if (!e)
		e = agent_delete(c->task, c->app, &c->who.site, &a.id);
	if (!e)
		dispatch_reply(c, 204);
	return e;
}

static const struct api_route routes[] = {
	{ HTTP_POST, "/v1/agents", SCOPE_SITE, api_agent_create, &create_table, NULL, 0, "Create an agent", 201, "Agent" },
	{ HTTP_GET, "/v1/agents", SCOPE_SITE, api_agent_list, NULL, &dispatch_page_table, 0, "List the site's agents by name", 200, "AgentList" },
	{ HTTP_GET, "/v1/agents/{a}", SCOPE_SITE, api_agent_get, NULL, NULL, 0, "Get an agent by name or id", 200, "Agent" },
	{ HTTP_PATCH, "/v1/agents/{a}", SCOPE_SITE, api_agent_update, &update_table, NULL, 0, "Change an agent; If-Match guards against a stale writer", 200, "Agent" },
	{ HTTP_DELETE, "/v1/agents/{a}", SCOPE_SITE, api_agent_delete, NULL, NULL, 0, "Delete an agent; its sessions stay and can be read", 204, NULL },
};

const struct feature agent_api_feature = { .name = "agent_api", .routes = routes, .n_routes = COUNT(routes) };
