/* SPDX-License-Identifier: MIT */
/* site_api: a site as its own server sees it. Changing it is the operator's (`parley site set`). */
#include "app/site_api.h"

#include "app/dispatch.h"
#include "app/site.h"

static enum err api_site_get(struct call *c)
{
	struct site s;
	enum err e = site_find(c->task, c->app, &c->who.site, &s);
	if (e)
		return e;
	site_render(&c->rs->body, c->app->conf, &s);
	dispatch_reply(c, 200);
	return ERR_OK;
}

static const struct api_route routes[] = {
	{ HTTP_GET, "/v1/site", SCOPE_SITE, api_site_get, NULL, NULL, 0, "Get the site of the key, how long it keeps things and what may be spent", 200, "Site" },
};

const struct feature site_api_feature = { .name = "site_api", .routes = routes, .n_routes = COUNT(routes) };
