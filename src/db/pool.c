/* SPDX-License-Identifier: MIT */
/*
 * pool: the connections of one process. A thread waits a bounded time for a free one; a database that is down is tried by one thread
 * every 250 ms while all others are refused at once, so that an outage costs microseconds a request and not a timeout.
 */
#include "db/db_private.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <time.h>

#include "base/metrics.h"
#include "base/stamp.h"

#define PING_AFTER_IDLE_MS 10000
#define CONNECT_AGAIN_AFTER_MS 250

void db_pool_init(struct db *db)
{
	pthread_condattr_t monotonic;

	pthread_mutex_init(&db->lock, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&db->freed, &monotonic);
	pthread_condattr_destroy(&monotonic);
}

/* Closes a list of idle connections and returns how many they were. */
static int close_list(struct db_conn *list)
{
	int n = 0;

	while (list) {
		struct db_conn *c = list;

		list = c->next;
		db_conn_close(&c);
		n++;
	}
	return n;
}

void db_pool_close(struct db *db)
{
	db->n_open -= close_list(db->idle);
	db->idle = NULL;
	assert(db->n_open == 0);
	pthread_cond_destroy(&db->freed);
	pthread_mutex_destroy(&db->lock);
}

/* With the lock: n connections are gone; whoever waits may make one. */
static void forget(struct db *db, int n)
{
	db->n_open -= n;
	if (db->n_waiting)
		pthread_cond_broadcast(&db->freed);
}

/* With the lock: waits until something was given back or the deadline is past (false). */
static bool wait_until(struct db *db, int64_t deadline_ms)
{
	struct timespec at = { .tv_sec = deadline_ms / 1000, .tv_nsec = deadline_ms % 1000 * 1000000 };
	int rc;

	db->n_waiting++;
	rc = pthread_cond_timedwait(&db->freed, &db->lock, &at);
	db->n_waiting--;
	return rc != ETIMEDOUT;
}

/* With the lock: whether a connect may not even be tried right now. */
static bool is_refused(const struct db *db)
{
	return db->is_down && (db->is_probing || stamp_mono_ms() < db->retry_at_ms);
}

/* With the lock, which it gives up: makes a connection for the place that the caller found free. */
static enum err connect_new(struct task *t, struct db *db, struct db_conn **c_r)
{
	enum err e;

	db->n_open++;
	if (db->is_down)
		db->is_probing = true;
	pthread_mutex_unlock(&db->lock);

	e = db_conn_open(t, db, db->conf.timeout_ms, c_r);

	pthread_mutex_lock(&db->lock);
	db->is_down = e != ERR_OK;
	db->is_probing = false;
	if (e) {
		const char *why = t->fault.internal ? t->fault.internal : t->fault.detail;

		db->retry_at_ms = stamp_mono_ms() + CONNECT_AGAIN_AFTER_MS;
		snprintf(db->down_text, sizeof db->down_text, "%s", why ? why : "");
		/* What was refused to us as a mistake in the settings was none when the database was opened. */
		e = task_fail_internal(t, ERR_UNAVAILABLE, "%s", db->down_text);
		t->fault.retry_after_s = 2;
		forget(db, 1);
	}
	pthread_mutex_unlock(&db->lock);
	return e;
}

/* Whether an idle connection may be used. It is asked only after long idling, or when others were lost meanwhile. */
static bool is_usable(struct task *t, struct db_conn *c, int64_t n_lost)
{
	if (!c->db->driver->is_open(c->link))
		return false;
	if (c->n_lost_before == n_lost && stamp_mono_ms() - c->idle_since_ms < PING_AFTER_IDLE_MS)
		return true;
	if (c->db->driver->ping(t, c) == ERR_OK)
		return true;
	task_clear_fault(t);
	return false;
}

/* With the lock, which it gives up and takes again: an idle connection that turned out dead puts all others in doubt. */
static void discard(struct db *db, struct db_conn *c)
{
	struct db_conn *others = NULL;
	int n;

	if (c->loss) { /* no answer to a ping, which may have taken long: the others would take as long, one by one */
		others = db->idle;
		db->idle = NULL;
	}
	pthread_mutex_unlock(&db->lock);
	db_conn_close(&c);
	n = 1 + close_list(others);
	pthread_mutex_lock(&db->lock);
	forget(db, n);
}

/* With the lock, which it gives up: refuses a caller, who may come again after so many seconds. */
static enum err refuse(struct task *t, struct db *db, enum err code, int retry_after_s, const char *why)
{
	enum err e = task_fail_internal(t, code, "%s", why);

	t->fault.retry_after_s = retry_after_s;
	pthread_mutex_unlock(&db->lock);
	return e;
}

enum err db_take(struct task *t, struct db *db, struct db_conn **c_r)
{
	int64_t deadline_ms = 0;

	pthread_mutex_lock(&db->lock);
	for (;;) {
		if (db->idle) {
			struct db_conn *c = db->idle;
			int64_t n_lost = db->n_lost;

			db->idle = c->next;
			pthread_mutex_unlock(&db->lock);
			if (is_usable(t, c, n_lost)) {
				*c_r = c;
				return ERR_OK;
			}
			pthread_mutex_lock(&db->lock);
			discard(db, c);
			continue;
		}
		if (is_refused(db))
			return refuse(t, db, ERR_UNAVAILABLE, 2, db->down_text);
		if (db->n_open < db->conf.pool)
			return connect_new(t, db, c_r);
		if (!deadline_ms) {
			deadline_ms = stamp_mono_ms() + db->conf.timeout_ms;
			metric_add(METRIC_db_pool_waits_total, 1);
		}
		if (!wait_until(db, deadline_ms) && !db->idle)
			return refuse(t, db, ERR_BUSY, 1, "all database connections of the pool stayed in use");
	}
}

void db_give(struct db_conn **cp)
{
	struct db_conn *c = *cp;
	struct db *db;

	if (!c)
		return;
	*cp = NULL;
	db = c->db;
	db_rollback(c);
	if (c->loss) {
		db_conn_close(&c);
		pthread_mutex_lock(&db->lock);
		db->n_lost++;
		forget(db, 1);
		pthread_mutex_unlock(&db->lock);
		return;
	}
	c->idle_since_ms = stamp_mono_ms();
	pthread_mutex_lock(&db->lock);
	c->n_lost_before = db->n_lost;
	c->next = db->idle;
	db->idle = c;
	if (db->n_waiting)
		pthread_cond_signal(&db->freed);
	pthread_mutex_unlock(&db->lock);
}
