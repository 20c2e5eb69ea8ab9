/* SPDX-License-Identifier: MIT */
/* health: what load balancers and Prometheus ask. */
#include "app/health.h"

#include "app/dispatch.h"
#include "base/log.h"
#include "base/metrics.h"

static enum err api_health_live(struct call *c)
{
	buf_add_str(&c->rs->body, "{\"status\":\"ok\"}");
	dispatch_reply(c, 200);
	return ERR_OK;
}

/* Ready as long as the database answers; a cache that is away makes things slower, not unready. */
static enum err api_health_ready(struct call *c)
{
	struct db *db;
	enum err e = store_open(c->task, c->app, &db);
	if (!e)
		e = db_ping(c->task, db);
	if (e) /* the reply is made here, so the reason is logged here */
		log_warn(c->task, "not_ready", { "code", err_code(e), 0 }, { "internal", c->task->fault.internal ? c->task->fault.internal : "", 0 });
	const char *cache = c->app->conf->cache[0] == 0 ? "none" : cache_is_up(c->task, c->app->cache) ? "ok" : "unavailable";
	task_clear_fault(c->task);
	struct buf *b = &c->rs->body;
	buf_add_char(b, '{');
	buf_member_str(b, "status", e ? "unavailable" : "ok");
	buf_member_str(b, "database", e ? "unavailable" : "ok");
	buf_member_str(b, "cache", cache);
	buf_add_char(b, '}');
	if (e)
		http_header(c->rs, "Retry-After", "2");
	dispatch_reply(c, e ? 503 : 200);
	return ERR_OK;
}

static enum err api_health_metrics(struct call *c)
{
	c->rs->content_type = "text/plain; version=0.0.4; charset=utf-8";
	metrics_format(&c->rs->body);
	dispatch_reply(c, 200);
	return ERR_OK;
}

static const struct api_route routes[] = {
	{ HTTP_GET, "/healthz", SCOPE_PUBLIC, api_health_live, NULL, NULL, 0, "Whether the worker lives", 200, "Health" },
	{ HTTP_GET, "/readyz", SCOPE_PUBLIC, api_health_ready, NULL, NULL, 0, "Whether requests can be answered, and what is missing", 200, "Readiness" },
	{ HTTP_GET, "/metrics", SCOPE_LOCAL, api_health_metrics, NULL, NULL, 0, "Metrics in the Prometheus text format", 200, NULL },
};

const struct feature health_feature = { .name = "health", .routes = routes, .n_routes = COUNT(routes) };
