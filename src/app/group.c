/* SPDX-License-Identifier: MIT */
/*
 * group: joins single-row inserts. Whoever comes while no statement runs leads: it takes what waits, runs one statement for all, and tells the
 * others. While it waits for the disk the next group gathers by itself. A second statement runs beside the first only when that takes so long
 * that it must be waiting for somebody's lock. A statement that fails for one row's sake has stored
 * nothing, so each of its rows is then tried by its own thread.
 */
#include "app/group.h"

#include <errno.h>
#include <semaphore.h>
#include <stdlib.h>
#include <time.h>

#define LEADERS 2
#define PATIENCE_MS 50 /* what a statement takes at most when nothing is wrong */

#define ROW "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
#define SQL(rows) { "INSERT INTO messages (conversation, seq, id, site, role, content, metadata, extra, turn, created_at, tokens) VALUES " rows, NULL, NULL }
#define ROW2 ROW ", " ROW
#define ROW4 ROW2 ", " ROW2
static const struct db_stmt stmts[GROUP_MAX] = {
	SQL(ROW), SQL(ROW2), SQL(ROW2 ", " ROW), SQL(ROW4), SQL(ROW4 ", " ROW), SQL(ROW4 ", " ROW2), SQL(ROW4 ", " ROW2 ", " ROW), SQL(ROW4 ", " ROW4),
};

/*
 * One waiting row; lives on its thread's stack, so its owner leaves only when every post it was promised has come. Whoever waits holds no
 * lock: those that a leader wakes do not queue for one.
 */
struct item {
	const struct db_arg *args;
	struct item *next;
	sem_t wake;
	int promised;   /* posts of `wake`, counted under the lock before they are made */
	bool must_lead; /* a leader that ended has handed over */
	bool is_taken;  /* a statement runs with it */
	bool is_done;
	bool is_alone;  /* its statement failed for some row's sake: try again by itself */
	enum err result;
};

struct group {
	pthread_mutex_t lock;
	struct item *first, **last;
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
		(*at)->is_taken = true;
		items[n++] = *at;
		*at = (*at)->next;
	}
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

/*
 * With the lock: gives the lead to the first that waits, or gives it back. One that was given the other lead and has not woken yet takes what
 * waits with that one; a second lead would be lost on it, and with the last of them every append to come.
 */
static struct item *hand_over(struct group *g)
{
	struct item *next = g->first;
	if (!next || next->must_lead) {
		g->leaders--;
		return NULL;
	}
	next->must_lead = true;
	next->promised++;
	return next;
}

/* Runs one statement for what waits, tells those it served, and hands the lead over. */
static void lead(struct task *t, struct app *app, struct group *g, struct item *own)
{
	struct item *items[GROUP_MAX];
	pthread_mutex_lock(&g->lock);
	size_t n = take(g, items); /* 0: another leader was faster */
	pthread_mutex_unlock(&g->lock);
	enum err e = n ? run(t, app, items, n) : ERR_OK;
	pthread_mutex_lock(&g->lock);
	for (size_t i = 0; i < n; i++) {
		items[i]->result = e;
		items[i]->is_alone = e && n > 1 && is_one_rows(e);
		items[i]->is_done = true;
		items[i]->promised += items[i] != own;
	}
	struct item *next = hand_over(g);
	pthread_mutex_unlock(&g->lock);
	if (next)
		sem_post(&next->wake);
	for (size_t i = 0; i < n; i++)
		if (items[i] != own)
			sem_post(&items[i]->wake);
}

/* Waits for a post; false when none came for PATIENCE_MS. */
static bool wait_for_post(struct item *own)
{
	struct timespec until;
	int failed;
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_nsec += PATIENCE_MS * 1000000L;
	until.tv_sec += until.tv_nsec / 1000000000L;
	until.tv_nsec %= 1000000000L;
	do
		failed = sem_timedwait(&own->wake, &until);
	while (failed && errno == EINTR);
	return !failed;
}

/* Waits until the row is stored or this thread is to lead; true when it is to lead. *taken_r counts the posts that were taken. */
static bool wait_for_lead(struct group *g, struct item *own, int *taken_r)
{
	for (;;) {
		bool is_posted = wait_for_post(own);
		*taken_r += is_posted;
		pthread_mutex_lock(&g->lock);
		bool leads = own->must_lead;
		own->must_lead = false;
		if (!leads && !is_posted && !own->is_taken && g->leaders < LEADERS) {
			g->leaders++; /* the statement that runs takes too long: it may be waiting for somebody's lock */
			leads = true;
		}
		bool is_over = own->is_done;
		pthread_mutex_unlock(&g->lock);
		if (leads || is_over)
			return leads;
	}
}

static bool join(struct group *g, struct item *own)
{
	pthread_mutex_lock(&g->lock);
	*g->last = own;
	g->last = &own->next;
	bool leads = g->leaders == 0;
	g->leaders += leads;
	pthread_mutex_unlock(&g->lock);
	return leads;
}

enum err group_insert(struct task *t, struct app *app, const struct db_arg args[GROUP_COLUMNS])
{
	struct group *g = app->group;
	struct item own = { .args = args };
	struct item *alone = &own;
	int taken = 0;
	sem_init(&own.wake, 0, 0);
	bool leads = join(g, &own);
	for (;;) {
		if (leads)
			lead(t, app, g, &own);
		pthread_mutex_lock(&g->lock);
		bool is_over = own.is_done && !own.must_lead;
		pthread_mutex_unlock(&g->lock);
		if (is_over)
			break;
		leads = wait_for_lead(g, &own, &taken);
	}
	for (; taken < own.promised; taken++)
		while (sem_wait(&own.wake) != 0)
			continue;
	sem_destroy(&own.wake);
	task_clear_fault(t); /* that of a statement this thread led may be another row's */
	if (own.is_alone)
		return run(t, app, &alone, 1);
	return own.result ? task_fail_internal(t, own.result, "in a statement for several appends") : ERR_OK;
}

const struct feature group_feature = { .name = "group", .stmts = stmts, .n_stmts = COUNT(stmts) };
