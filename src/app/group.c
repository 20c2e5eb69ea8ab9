/* SPDX-License-Identifier: MIT */
/*
 * group: joins single-row inserts. Whoever comes while no statement runs leads: it takes what waits, runs one statement for all, and tells the
 * others. While it waits for the disk the next group gathers by itself. A second statement runs beside the first when a whole group
 * waits, or when the first takes so long that it must be waiting for somebody's lock. A statement that fails for one row's sake has stored
 * nothing, so each of its rows is then tried by its own thread.
 */
#include "app/group.h"

#include <stdlib.h>
#include <time.h>

#define LEADERS 2
#define PATIENCE_MS 50 /* what a statement takes at most when nothing is wrong */

#define ROW "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
#define SQL(rows) { "INSERT INTO messages (conversation, seq, id, site, role, content, metadata, extra, turn, created_at) VALUES " rows, NULL, NULL }
#define ROW2 ROW ", " ROW
#define ROW4 ROW2 ", " ROW2
static const struct db_stmt stmts[GROUP_MAX] = {
	SQL(ROW), SQL(ROW2), SQL(ROW2 ", " ROW), SQL(ROW4), SQL(ROW4 ", " ROW), SQL(ROW4 ", " ROW2), SQL(ROW4 ", " ROW2 ", " ROW), SQL(ROW4 ", " ROW4),
};

/* One waiting row; lives on its thread's stack. */
struct item {
	const struct db_arg *args;
	struct item *next;
	pthread_cond_t wake;
	bool is_done;
	bool is_alone; /* its statement failed for some row's sake: try again by itself */
	enum err result;
};

struct group {
	pthread_mutex_t lock;
	struct item *first, **last;
	size_t n; /* rows that wait */
	int leaders;
	size_t most;
};

struct group *group_open(int most)
{
	struct group *g = calloc(1, sizeof *g);
	if (!g || pthread_mutex_init(&g->lock, NULL) != 0)
		abort();
	g->last = &g->first;
	g->most = (size_t)most < GROUP_MAX ? (size_t)most : GROUP_MAX;
	return g;
}

void group_close(struct group **g)
{
	if (!*g)
		return;
	pthread_mutex_destroy(&(*g)->lock);
	free(*g);
	*g = NULL;
}

static bool has_conversation(struct item *const *items, size_t n, const struct item *other)
{
	for (size_t i = 0; i < n; i++)
		if (memcmp(items[i]->args[0].p, other->args[0].p, sizeof(struct ident)) == 0)
			return true;
	return false;
}

/* Takes waiting rows off the queue, one of each conversation: a second one would want the same seq and spoil the statement. */
static size_t take(struct group *g, struct item *items[GROUP_MAX])
{
	size_t n = 0;
	struct item **at = &g->first;
	while (*at && n < g->most) {
		if (has_conversation(items, n, *at)) {
			at = &(*at)->next;
			continue;
		}
		items[n++] = *at;
		*at = (*at)->next;
	}
	g->n -= n;
	g->last = &g->first;
	while (*g->last)
		g->last = &(*g->last)->next;
	return n;
}

/* Whether an error is that of one row, not of the database. */
static bool is_one_rows(enum err e)
{
	return e != ERR_UNAVAILABLE && e != ERR_COMMIT_UNKNOWN;
}

static enum err run(struct task *t, struct app *app, struct item *const *items, size_t n)
{
	struct db_arg args[GROUP_MAX * GROUP_COLUMNS];
	for (size_t i = 0; i < n; i++)
		memcpy(args + i * GROUP_COLUMNS, items[i]->args, GROUP_COLUMNS * sizeof *args);
	return store_run(t, app, &stmts[n - 1], args, n * GROUP_COLUMNS, NULL);
}

/* Runs one statement for what waits. Called and left with the lock held; it is free while the statement runs. */
static void lead(struct task *t, struct app *app, struct group *g)
{
	struct item *items[GROUP_MAX];
	size_t n = take(g, items);
	g->leaders++;
	pthread_mutex_unlock(&g->lock);
	enum err e = run(t, app, items, n);
	pthread_mutex_lock(&g->lock);
	g->leaders--;
	for (size_t i = 0; i < n; i++) {
		items[i]->result = e;
		items[i]->is_alone = e && n > 1 && is_one_rows(e);
		items[i]->is_done = true;
		pthread_cond_signal(&items[i]->wake);
	}
	if (g->first)
		pthread_cond_signal(&g->first->wake);
}

/* Something must wait: the caller's own row may be under way with another that leads. */
static bool may_lead(const struct group *g, bool is_late)
{
	if (g->n == 0)
		return false;
	return g->leaders == 0 || (g->leaders < LEADERS && (is_late || g->n >= g->most));
}

/* False when nothing happened for PATIENCE_MS. */
static bool wait_for_turn(struct group *g, struct item *own)
{
	struct timespec until;
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_nsec += PATIENCE_MS * 1000000L;
	until.tv_sec += until.tv_nsec / 1000000000L;
	until.tv_nsec %= 1000000000L;
	return pthread_cond_timedwait(&own->wake, &g->lock, &until) == 0;
}

enum err group_insert(struct task *t, struct app *app, const struct db_arg args[GROUP_COLUMNS])
{
	struct group *g = app->group;
	struct item own = { .args = args };
	struct item *alone = &own;
	pthread_cond_init(&own.wake, NULL);
	pthread_mutex_lock(&g->lock);
	*g->last = &own;
	g->last = &own.next;
	g->n++;
	bool is_late = false;
	while (!own.is_done) {
		if (may_lead(g, is_late))
			lead(t, app, g);
		else
			is_late = !wait_for_turn(g, &own);
	}
	pthread_mutex_unlock(&g->lock);
	pthread_cond_destroy(&own.wake);
	task_clear_fault(t); /* that of a statement this thread led may be another row's */
	if (own.is_alone)
		return run(t, app, &alone, 1);
	return own.result ? task_fail_internal(t, own.result, "in a statement for several appends") : ERR_OK;
}

const struct feature group_feature = { .name = "group", .stmts = stmts, .n_stmts = COUNT(stmts) };
