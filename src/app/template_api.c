/* SPDX-License-Identifier: MIT */
/* template_api: a site's templates over HTTP, for its secret key. */
#include "app/template_api.h"

#include <stddef.h>

#include "app/dispatch.h"
#include "app/idem.h"
#include "app/policy.h"
#include "app/preset.h"
#include "app/render.h"
#include "app/template.h"

#define MEMBER(name) offsetof(struct template_change, name)
#define TEMPLATE_FIELDS(name_flags)                                                                                                         \
	{ .name = "name", .type = FIELD_STRING, .flags = FIELD_NAME | (name_flags), .min = 1, .max = 64, .offset = MEMBER(name), .help = "Lower-case letters, digits and -" }, \
	{ .name = "title", .type = FIELD_STRING, .max = 200, .offset = MEMBER(title), .help = "What it is for" },                          \
	{ .name = "preset", .type = FIELD_ENUM, .flags = FIELD_NULLABLE, .choices = PRESET_CHOICES, .offset = MEMBER(preset),              \
	  .given_offset = MEMBER(is_preset_given), .help = "The preset below its config, or null" },                                       \
	{ .name = "config", .type = FIELD_OBJECT, .max = TEMPLATE_CONFIG_MAX, .offset = MEMBER(config), .sub = &policy_config_table,     \
	  .help = "Base of its sessions' config; a merge patch where it is changed" }, \
	{ .name = "required_context", .type = FIELD_STRINGS, .max = 32, .offset = MEMBER(required_context), .help = "Keys that a session's state must have when it begins" }, \
	{ .name = "memory_categories", .type = FIELD_STRINGS, .max = 32, .offset = MEMBER(memory_categories), .help = "Kinds of memory its sessions use" }, \
	{ .name = NULL }

static const struct field create_fields[] = { TEMPLATE_FIELDS(FIELD_REQUIRED) };
const struct field_table template_create_table = { create_fields, sizeof(struct template_change) };
static const struct field update_fields[] = { TEMPLATE_FIELDS(0) };
static const struct field_table update_table = { update_fields, sizeof(struct template_change) };

static enum err create_in(struct task *t, struct db_conn *conn, void *arg)
{
	struct call *c = arg;
	struct template tpl;
	enum err e = template_create(t, conn, &c->who.site, c->body, &tpl);
	if (e)
		return e;
	buf_clear(&c->rs->body);
	template_render(&c->rs->body, &tpl);
	return idem_store(t, conn, &c->idem, c->app, &c->who.site, NULL, 201, buf_bytes(&c->rs->body));
}

static enum err api_template_create(struct call *c)
{
	enum err e = store_transact(c->task, c->app, create_in, c);
	if (e)
		return e;
	dispatch_add_etag(c, 1);
	dispatch_reply(c, 201);
	return ERR_OK;
}

static enum err api_template_list(struct call *c)
{
	const struct dispatch_page *in = c->query;
	int64_t limit = in->has_limit ? in->limit : 20;
	struct template *list;
	size_t n;
	enum err e = template_list(c->task, c->app, &c->who.site, in->after, limit + 1, &list, &n);
	if (e)
		return e;
	bool has_more = (int64_t)n > limit;
	struct buf *b = &c->rs->body;
	n -= has_more;
	render_list_begin(b);
	for (size_t i = 0; i < n; i++) {
		render_list_next(b);
		template_render(b, &list[i]);
	}
	render_list_end(b, has_more, has_more ? list[n - 1].name : (struct bytes){ NULL, 0 });
	dispatch_reply(c, 200);
	return ERR_OK;
}

static enum err reply_template(struct call *c, const struct template *tpl)
{
	dispatch_add_etag(c, tpl->version);
	template_render(&c->rs->body, tpl);
	dispatch_reply(c, 200);
	return ERR_OK;
}

static enum err api_template_get(struct call *c)
{
	struct template tpl;
	enum err e = template_find(c->task, c->app, &c->who.site, c->params[0], &tpl);
	return e ? e : reply_template(c, &tpl);
}

static enum err api_template_update(struct call *c)
{
	struct template_change *in = c->body;
	struct template tpl;
	enum err e = dispatch_read_if_match(c, &in->if_version);
	if (!e)
		e = template_update(c->task, c->app, &c->who.site, c->params[0], in, &tpl);
	return e ? e : reply_template(c, &tpl);
}

static enum err api_template_delete(struct call *c)
{
	enum err e = template_delete(c->task, c->app, &c->who.site, c->params[0]);
	if (!e)
		dispatch_reply(c, 204);
	return e;
}

static const struct api_route routes[] = {
	{ HTTP_POST, "/v1/templates", SCOPE_SITE, api_template_create, &template_create_table, NULL, 0, "Create a template of sessions", 201, "Template" },
	{ HTTP_GET, "/v1/templates", SCOPE_SITE, api_template_list, NULL, &dispatch_page_table, 0, "List the site's templates by name", 200, "TemplateList" },
	{ HTTP_GET, "/v1/templates/{name}", SCOPE_SITE, api_template_get, NULL, NULL, 0, "Get a template", 200, "Template" },
	{ HTTP_PATCH, "/v1/templates/{name}", SCOPE_SITE, api_template_update, &update_table, NULL, 0,
	  "Change a template; If-Match guards against a stale writer", 200, "Template" },
	{ HTTP_DELETE, "/v1/templates/{name}", SCOPE_SITE, api_template_delete, NULL, NULL, 0, "Delete a template; its sessions stay", 204, NULL },
};

const struct feature template_api_feature = { .name = "template_api", .routes = routes, .n_routes = COUNT(routes) };
