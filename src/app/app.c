/* SPDX-License-Identifier: MIT */
/* app: the list of features, and the product's start and end in one process. */
#include "app/app.h"

#include <stdlib.h>
#include <string.h>

#include "app/agent.h"
#include "app/agent_api.h"
#include "app/attempt.h"
#include "app/clone.h"
#include "app/compress.h"
#include "app/compress_api.h"
#include "app/context.h"
#include "app/context_api.h"
#include "app/conversation.h"
#include "app/conversation_api.h"
#include "app/dispatch.h"
#include "app/expire.h"
#include "app/group.h"
#include "app/head.h"
#include "app/health.h"
#include "app/idem.h"
#include "app/message.h"
#include "app/message_api.h"
#include "app/message_edit.h"
#include "app/message_edit_api.h"
#include "app/move_api.h"
#include "app/move_batch.h"
#include "app/move_check.h"
#include "app/move_export.h"
#include "app/move_import.h"
#include "app/openapi.h"
#include "app/preset.h"
#include "app/purge.h"
#include "app/retire.h"
#include "app/rows.h"
#include "app/search.h"
#include "app/search_api.h"
#include "app/search_shared.h"
#include "app/session.h"
#include "app/session_api.h"
#include "app/session_list.h"
#include "app/session_list_api.h"
#include "app/session_stats.h"
#include "app/session_stats_api.h"
#include "app/session_update.h"
#include "app/session_update_api.h"
#include "app/site.h"
#include "app/site_api.h"
#include "app/spend.h"
#include "app/spend_api.h"
#include "app/summary.h"
#include "app/stats.h"
#include "app/sweep.h"
#include "app/template.h"
#include "app/template_api.h"
#include "app/tool.h"
#include "app/tool_api.h"
#include "app/tool_run.h"
#include "app/tool_time.h"
#include "app/turn.h"
#include "app/turn_api.h"
#include "app/turn_begin.h"
#include "app/turn_end.h"
#include "app/turn_keep.h"
#include "app/turn_queue.h"
#include "app/turn_view_api.h"
#include "base/breakers.h"
#include "base/secret.h"
#include "net/fetch.h"

#define CACHE_LINE 64

/* A feature may include those above it, never one below. */
const struct feature *const app_features[] = {
	&rows_feature, &head_feature, &site_feature, &preset_feature, &template_feature, &tool_feature, &agent_feature, &tool_run_feature, &tool_time_feature, &attempt_feature, &idem_feature, &group_feature, &summary_feature, &context_feature, &compress_feature, &message_feature, &conversation_feature, &message_edit_feature,
	&spend_feature, &session_feature, &session_list_feature, &search_shared_feature, &search_feature, &session_update_feature, &turn_feature, &turn_keep_feature, &turn_queue_feature, &turn_end_feature, &turn_begin_feature, &session_stats_feature, &expire_feature, &retire_feature, &purge_feature,
	&move_export_feature, &move_batch_feature, &move_check_feature, &move_import_feature,
	&sweep_feature, &stats_feature, &site_api_feature, &spend_api_feature, &template_api_feature, &agent_api_feature, &tool_api_feature, &session_api_feature, &session_list_api_feature, &session_update_api_feature, &session_stats_api_feature, &message_api_feature, &conversation_api_feature,
	&message_edit_api_feature, &clone_feature, &search_api_feature, &turn_api_feature, &turn_view_api_feature, &move_api_feature, &context_api_feature, &compress_api_feature, &health_feature, &openapi_feature,
	NULL,
};

/* Each part of the shared memory begins on a cache line. */
static size_t cache_part(void)
{
	return (cache_shared_size() + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE;
}

size_t app_shared_size(void)
{
	return cache_part() + breakers_size();
}

static void open_breakers(struct app *app, void *shared)
{
	if (shared) {
		app->breakers = (void *)((char *)shared + cache_part());
		return;
	}
	if (posix_memalign(&app->private_breakers, CACHE_LINE, breakers_size()) != 0)
		abort();
	app->breakers = memset(app->private_breakers, 0, breakers_size());
}

static enum err open_parts(struct task *t, struct app *app, void *shared, bool may_wait)
{
	struct cache_conf cache = { .servers = app->conf->cache, .timeout_ms = (int)app->conf->cache_timeout, .ttl_ms = (int)app->conf->cache_ttl,
				    .shared = shared };
	struct db *db;
	enum err e = secret_load(t, app->conf->secret_file, app->token_key);
	if (!e)
		e = spend_open(t, app->conf, &app->prices);
	if (!e)
		e = cache_open(t, &cache, &app->cache);
	if (!e)
		e = store_open(t, app, &db);
	if (e == ERR_UNAVAILABLE && may_wait) {
		task_clear_fault(t);
		return ERR_OK;
	}
	return e;
}

enum err app_open(struct task *t, const struct conf *conf, void *shared, bool may_wait, struct app **app_r)
{
	struct app *app = calloc(1, sizeof *app);
	if (!app)
		abort();
	secret_init();
	fetch_init();
	app->conf = conf;
	pthread_mutex_init(&app->db_lock, NULL);
	app->sites = site_copies_open();
	app->group = group_open((int)conf->append_group);
	app->turns = turn_keep_open(app);
	app->router = dispatch_open_router();
	open_breakers(app, shared);
	enum err e = open_parts(t, app, shared, may_wait);
	if (e)
		app_close(&app);
	*app_r = app;
	return e;
}

void app_close(struct app **app)
{
	struct app *a = *app;
	if (!a)
		return;
	turn_keep_close(&a->turns);
	struct db *db = atomic_load(&a->db);
	if (db)
		db_close(&db);
	if (a->cache)
		cache_close(&a->cache);
	router_close(&a->router);
	site_copies_close(&a->sites);
	group_close(&a->group);
	free(a->private_breakers);
	spend_close(&a->prices);
	secret_wipe(a->token_key, sizeof a->token_key);
	pthread_mutex_destroy(&a->db_lock);
	free(a);
	*app = NULL;
}

void app_answer(void *arg, struct task *t, const struct http_request *rq, struct http_response *rs)
{
	dispatch(arg, NULL, t, rq, rs);
}

void app_answer_operator(struct app *app, const struct ident *site, struct task *t, const struct http_request *rq, struct http_response *rs)
{
	dispatch(app, &(struct principal){ .who = WHO_SECRET_KEY, .site = *site, .is_operator = true }, t, rq, rs);
}
