/* SPDX-License-Identifier: MIT */
/* retire: removes ended sessions when the time that their site keeps them is over. Archived ones stay. */
#include "app/retire.h"

#include "app/expire.h"

static const struct db_stmt stmts[] = {
	{ "SELECT id, site, expires_at, idle_ttl, active_at FROM sessions WHERE expires_at > 0 AND expires_at <= ? AND status = 2"
	  " AND expires_at >= ? AND (expires_at > ? OR id > ?) ORDER BY expires_at, id LIMIT ?", NULL, "the janitor's, of all sites" },
};

static enum err sweep(struct task *t, struct app *app, int64_t *n_r)
{
	return expire_each(t, app, &stmts[0], expire_remove, n_r);
}

const struct feature retire_feature = { .name = "retire", .stmts = stmts, .n_stmts = COUNT(stmts), .sweep = sweep, .swept = "ended sessions removed" };
