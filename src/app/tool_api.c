/* SPDX-License-Identifier: MIT */
/* tool_api: a site's tools over HTTP, for its secret key. */
#include "app/tool_api.h"

#include <stddef.h>

#include "app/dispatch.h"
#include "app/idem.h"
#include "app/render.h"
#include "app/tool.h"

#define MEMBER(name) offsetof(struct tool_change, name)
#define PARAMETERS_EXAMPLE "{\"type\":\"object\",\"properties\":{\"order\":{\"type\":\"string\"}},\"required\":[\"order\"]}"
#define CHANGEABLE(required)                                                                                                           \
	{ .name = "description", .type = FIELD_STRING, .flags = (required), .min = 1, .max = 4096, .offset = MEMBER(description),      \
	  .help = "What it does, for the model", .example = "\"Looks an order up\"" },                                                 \
	{ .name = "parameters", .type = FIELD_OBJECT, .max = TOOL_PARAMETERS_MAX, .offset = MEMBER(parameters),                        \
	  .help = "JSON Schema of its arguments, an object; keywords that cannot be checked are refused", .example = PARAMETERS_EXAMPLE }, \
	{ .name = "url", .type = FIELD_STRING, .flags = (required), .min = 1, .max = TOOL_URL_MAX, .offset = MEMBER(url),              \
	  .help = "Where calls are posted to; https", .example = "\"https://shop.example/tools/order\"" },                             \
	{ .name = "timeout_ms", .type = FIELD_INT, .min = 0, .max = 600000, .offset = MEMBER(timeout_ms), .given_offset = MEMBER(has_timeout_ms), \
	  .help = "Longest time of a call; 0, or more than the install allows: that of the install" },                                \
	{ .name = "max_bytes", .type = FIELD_INT, .min = 0, .max = 4194304, .offset = MEMBER(max_bytes), .given_offset = MEMBER(has_max_bytes), \
	  .help = "Largest answer that is taken; 0: that of the install" },                                                            \
	{ .name = NULL }

static const struct field create_fields[] = {
	{ .name = "name", .type = FIELD_STRING, .flags = FIELD_REQUIRED, .min = 1, .max = 64, .offset = MEMBER(name),
	  .help = "Letters, digits, _ and -; it stays", .example = "\"find_order\"" },
	CHANGEABLE(FIELD_REQUIRED)
};
const struct field_table tool_create_table = { create_fields, sizeof(struct tool_change) };
static const struct field update_fields[] = { CHANGEABLE(0) };
static const struct field_table update_table = { update_fields, sizeof(struct tool_change) };

/* Renders the tool and keeps it under the request's key: without its secret, which dispatch_reply adds. */
static enum err keep_answer(struct task *t, struct db_conn *conn, struct call *c, const struct tool *tool, int status)
{
	buf_clear(&c->rs->body);
	tool_render(&c->rs->body, tool);
	return idem_store(t, conn, &c->idem, c->app, &c->who.site, NULL, status, buf_bytes(&c->rs->body));
}

static enum err create_in(struct task *t, struct db_conn *conn, void *arg)
{
	struct call *c = arg;
	struct tool tool;
	enum err e = tool_create(t, conn, c->app, &c->who.site, c->body, &tool);
	return e ? e : keep_answer(t, conn, c, &tool, 201);
}

static enum err api_tool_create(struct call *c)
{
	enum err e = store_transact(c->task, c->app, create_in, c);
	if (e)
		return e;
	dispatch_add_etag(c, 1);
	dispatch_reply(c, 201);
	return ERR_OK;
}

static enum err rotate_in(struct task *t, struct db_conn *conn, void *arg)
{
	struct call *c = arg;
	struct tool tool;
	enum err e = tool_rotate(t, conn, &c->who.site, c->params[0], &tool);
	return e ? e : keep_answer(t, conn, c, &tool, 200);
}

static enum err api_tool_rotate(struct call *c)
{
	enum err e = store_transact(c->task, c->app, rotate_in, c);
	if (e)
		return e;
	dispatch_add_etag(c, jsonx_int(jsonx_member(buf_bytes(&c->rs->body), "version")));
	dispatch_reply(c, 200);
	return ERR_OK;
}

static enum err api_tool_list(struct call *c)
{
	const struct dispatch_page *in = c->query;
	int64_t limit = in->has_limit ? in->limit : 20;
	struct tool *list;
	size_t n;
	enum err e = tool_list(c->task, c->app, &c->who.site, in->after, limit + 1, &list, &n);
	if (e)
		return e;
	bool has_more = (int64_t)n > limit;
	struct buf *b = &c->rs->body;
	n -= has_more;
	render_list_begin(b);
	for (size_t i = 0; i < n; i++) {
		render_list_next(b);
		tool_render(b, &list[i]);
	}
	render_list_end(b, has_more, has_more ? list[n - 1].name : (struct bytes){ NULL, 0 });
	dispatch_reply(c, 200);
	return ERR_OK;
}

static enum err reply_tool(struct call *c, const struct tool *tool)
{
	dispatch_add_etag(c, tool->version);
	tool_render(&c->rs->body, tool);
	dispatch_reply(c, 200);
	return ERR_OK;
}

static enum err api_tool_get(struct call *c)
{
	struct tool tool;
	enum err e = tool_find(c->task, c->app, &c->who.site, c->params[0], &tool);
	return e ? e : reply_tool(c, &tool);
}

static enum err api_tool_update(struct call *c)
{
	struct tool_change *in = c->body;
	struct tool tool;
	enum err e = dispatch_read_if_match(c, &in->if_version);
	if (!e)
		e = tool_update(c->task, c->app, &c->who.site, c->params[0], in, &tool);
	return e ? e : reply_tool(c, &tool);
}

static enum err api_tool_delete(struct call *c)
{
	enum err e = tool_delete(c->task, c->app, &c->who.site, c->params[0]);
	if (!e)
		dispatch_reply(c, 204);
	return e;
}

static const struct api_route routes[] = {
	{ HTTP_POST, "/v1/tools", SCOPE_SITE, api_tool_create, &tool_create_table, NULL, ROUTE_GIVES_SECRET,
	  "Create a tool that agents can name; the answer has the secret that its calls are signed with", 201, "ToolWithSecret" },
	{ HTTP_GET, "/v1/tools", SCOPE_SITE, api_tool_list, NULL, &dispatch_page_table, 0, "List the site's tools by name", 200, "ToolList" },
	{ HTTP_GET, "/v1/tools/{tool}", SCOPE_SITE, api_tool_get, NULL, NULL, 0, "Get a tool by name or id", 200, "Tool" },
	{ HTTP_PATCH, "/v1/tools/{tool}", SCOPE_SITE, api_tool_update, &update_table, NULL, 0,
	  "Change a tool; If-Match guards against a stale writer", 200, "Tool" },
	{ HTTP_DELETE, "/v1/tools/{tool}", SCOPE_SITE, api_tool_delete, NULL, NULL, 0, "Delete a tool; agents that name it go on without it", 204, NULL },
	{ HTTP_POST, "/v1/tools/{tool}/secret", SCOPE_SITE, api_tool_rotate, NULL, NULL, ROUTE_GIVES_SECRET,
	  "Give a tool a new secret; until the next one, calls are signed with the one before as well", 200, "ToolWithSecret" },
};

const struct feature tool_api_feature = { .name = "tool_api", .routes = routes, .n_routes = COUNT(routes) };
