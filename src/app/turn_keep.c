/* SPDX-License-Identifier: MIT */
/*
 * turn_keep: looks after the turns of a process. A round is: save in one transaction what was said, ask who is to stop, and, when a third of their time
 * is gone, renew the leases. A turn that proves to be somebody else's, since its lease ran out while the database was away, is told to stop.
 */
#include "app/turn_keep.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>

#include "app/codec.h"
#include "app/turn_log.h"
#include "base/stamp.h"

#define SLOWER_BYTES 8192 /* a log is written whole: one of so many bytes is written half as often ... */
#define CROWD 100         /* among so many turns of the process as well, since the database has the same to do for a few words as for many ... */
#define SLOWEST_MS 2000   /* ... but never less often than this: it is how far readers may be behind */
#define RENEW_AT_ONCE 8   /* leases of one statement */
#define ARENA_BYTES 65536

enum { SAVE, RENEW, HELD, CANCELLED, CANCEL, INTERRUPT };
static const struct db_stmt stmts[] = {
	[SAVE] = { "UPDATE turns SET partial = ? WHERE id = ? AND site = ? AND status = 1", NULL, NULL },
	[RENEW] = { "UPDATE turn_leases SET lease_until = ? WHERE conversation IN (?, ?, ?, ?, ?, ?, ?, ?) AND owner = ?", NULL,
		    "the worker's own turns, of all sites" },
	[HELD] = { "SELECT turn FROM turn_leases WHERE conversation = ? AND site = ?", NULL, NULL },
	[CANCELLED] = { "SELECT turn FROM turn_leases WHERE owner = ? AND cancel = 1", NULL, "the worker's own turns, of all sites" },
	[CANCEL] = { "UPDATE turn_leases SET cancel = 1 WHERE conversation = ? AND site = ? AND turn = ?", NULL, NULL },
	[INTERRUPT] = { "UPDATE turn_leases SET cancel = 1 WHERE conversation = ? AND site = ? AND turn < ?", NULL, NULL },
};

struct turn_live {
	struct ident id, site, conversation;
	pthread_mutex_t lock; /* of the log */
	struct buf log;
	size_t saved_n;
	int64_t saved_at; /* monotonic ms */
	atomic_bool is_cancelled, is_lost;
	struct turn_live *next;
};

struct turn_keep {
	struct app *app;
	struct ident owner;
	pthread_mutex_t lock; /* of the list and the flags; taken before a turn's own */
	pthread_cond_t changed;
	struct turn_live *first;
	bool is_started, is_ending;
	pthread_t thread;
	int64_t renewed_at; /* monotonic ms */
};

struct turn_keep *turn_keep_open(struct app *app)
{
	struct turn_keep *k = calloc(1, sizeof *k);
	pthread_condattr_t monotonic;
	if (!k)
		abort();
	k->app = app;
	k->owner = ident_new();
	pthread_mutex_init(&k->lock, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&k->changed, &monotonic);
	pthread_condattr_destroy(&monotonic);
	return k;
}

void turn_keep_close(struct turn_keep **kp)
{
	struct turn_keep *k = *kp;
	if (!k)
		return;
	*kp = NULL;
	pthread_mutex_lock(&k->lock);
	k->is_ending = true;
	pthread_cond_signal(&k->changed);
	pthread_mutex_unlock(&k->lock);
	if (k->is_started)
		pthread_join(k->thread, NULL);
	pthread_cond_destroy(&k->changed);
	pthread_mutex_destroy(&k->lock);
	free(k);
}

const struct ident *turn_keep_owner(const struct app *app)
{
	return &app->turns->owner;
}

/* ---- one round ---- */

/* What the round found of a turn; a copy, so that the turn may end meanwhile. */
struct seen {
	struct ident id, site, conversation;
	struct bytes log; /* packed; no bytes: nothing new */
	size_t n;
	bool is_cancelled, is_lost;
};

struct round {
	struct turn_keep *k;
	struct seen *turns;
	size_t n, n_dirty;
};

/* A long log is written less often: what is written in all grows with its square. And one of many turns, which the database notices. */
static bool is_due(const struct turn_live *live, size_t n_live, int64_t now)
{
	int64_t pause = TURN_KEEP_MS * (int64_t)(1 + live->log.n / SLOWER_BYTES + n_live / CROWD);
	return live->log.n > live->saved_n && now - live->saved_at >= (pause < SLOWEST_MS ? pause : SLOWEST_MS);
}

static int compare_seen(const void *a, const void *b)
{
	return memcmp(((const struct seen *)a)->id.b, ((const struct seen *)b)->id.b, sizeof(struct ident));
}

/* Leaves them in the order of ids, so that two workers' transactions never wait for each other. */
static void look(struct task *t, struct round *r)
{
	struct turn_keep *k = r->k;
	int64_t now = stamp_mono_ms();
	size_t room = 0;
	pthread_mutex_lock(&k->lock);
	for (const struct turn_live *live = k->first; live; live = live->next)
		room++;
	r->turns = arena_array(t->arena, room, sizeof *r->turns);
	for (struct turn_live *live = k->first; live; live = live->next) {
		struct seen *s = &r->turns[r->n++];
		*s = (struct seen){ .id = live->id, .site = live->site, .conversation = live->conversation };
		pthread_mutex_lock(&live->lock);
		if (is_due(live, room, now)) {
			s->log = codec_pack_plain(t->arena, buf_bytes(&live->log));
			s->n = live->log.n;
			live->saved_at = now;
			r->n_dirty++;
		}
		pthread_mutex_unlock(&live->lock);
	}
	pthread_mutex_unlock(&k->lock);
	qsort(r->turns, r->n, sizeof *r->turns, compare_seen);
}

static enum err save_in(struct task *t, struct db_conn *c, void *arg)
{
	struct round *r = arg;
	enum err e = ERR_OK;
	for (size_t i = 0; !e && i < r->n; i++) {
		struct seen *s = &r->turns[i];
		int64_t n;
		if (!s->log.n)
			continue;
		e = db_run(t, c, &stmts[SAVE], DB_ARGS(db_blob(s->log.p, s->log.n), db_ident(&s->id), db_ident(&s->site)), &n);
		s->is_lost = !e && n == 0;
	}
	return e;
}

static enum err save(struct task *t, struct round *r)
{
	if (r->n_dirty == 0)
		return ERR_OK;
	return store_transact(t, r->k->app, save_in, r);
}

static struct seen *find_seen(const struct round *r, const struct ident *id)
{
	struct seen wanted = { .id = *id };
	return bsearch(&wanted, r->turns, r->n, sizeof *r->turns, compare_seen);
}

static enum err ask_cancelled(struct task *t, struct round *r)
{
	struct db_rows *rows;
	enum err e = store_query(t, r->k->app, &stmts[CANCELLED], DB_ARGS(db_ident(&r->k->owner)), &rows);
	for (size_t i = 0; !e && i < rows->n_rows; i++) {
		struct ident id;
		struct seen *s = db_cell_ident(rows, i, 0, &id) ? find_seen(r, &id) : NULL;
		if (s)
			s->is_cancelled = true;
	}
	return e;
}

/* Which of a few turns no longer hold their conversation's lease. */
static enum err find_lost(struct task *t, struct app *app, struct seen *turns, size_t n)
{
	enum err e = ERR_OK;
	for (size_t i = 0; !e && i < n; i++) {
		struct db_rows *rows;
		struct ident holder;
		e = store_query(t, app, &stmts[HELD], DB_ARGS(db_ident(&turns[i].conversation), db_ident(&turns[i].site)), &rows);
		if (!e && (rows->n_rows == 0 || !db_cell_ident(rows, 0, 0, &holder) || !ident_equal(&holder, &turns[i].id)))
			turns[i].is_lost = true;
	}
	return e;
}

static enum err renew(struct task *t, struct round *r)
{
	static const struct ident nobody;
	struct turn_keep *k = r->k;
	int64_t now = stamp_mono_ms(), until = stamp_now() + k->app->conf->turn_lease, n;
	enum err e = ERR_OK;
	if (now - k->renewed_at < k->app->conf->turn_lease / 3)
		return ERR_OK;
	for (size_t i = 0; !e && i < r->n; i += RENEW_AT_ONCE) {
		struct db_arg args[RENEW_AT_ONCE + 2] = { db_int(until), [RENEW_AT_ONCE + 1] = db_ident(&k->owner) };
		size_t some = r->n - i < RENEW_AT_ONCE ? r->n - i : RENEW_AT_ONCE;
		for (size_t j = 0; j < RENEW_AT_ONCE; j++)
			args[1 + j] = db_ident(j < some ? &r->turns[i + j].conversation : &nobody);
		e = store_run(t, k->app, &stmts[RENEW], args, COUNT(args), &n);
		if (!e && (size_t)n < some)
			e = find_lost(t, k->app, &r->turns[i], some);
	}
	if (!e)
		k->renewed_at = now;
	return e;
}

/* Tells the turns that still run what the round found. */
static void tell(struct round *r, bool is_saved)
{
	struct turn_keep *k = r->k;
	pthread_mutex_lock(&k->lock);
	for (struct turn_live *live = k->first; live; live = live->next) {
		const struct seen *s = find_seen(r, &live->id);
		if (!s)
			continue;
		if (s->is_cancelled)
			atomic_store(&live->is_cancelled, true);
		if (s->is_lost)
			atomic_store(&live->is_lost, true);
		if (s->log.n && is_saved)
			live->saved_n = s->n;
	}
	pthread_mutex_unlock(&k->lock);
}

/* While the database is away nothing is lost but the renewal: the leases outlive two that fail. */
static void go_round(struct task *t, struct turn_keep *k)
{
	struct round r = { .k = k };
	look(t, &r);
	bool is_saved = save(t, &r) == ERR_OK;
	task_clear_fault(t);
	if (is_saved)
		(void)(ask_cancelled(t, &r) || renew(t, &r));
	task_clear_fault(t);
	tell(&r, is_saved);
}

/* With the lock: sleeps until the next round, or for as long as nothing runs; false when it is to end. */
static bool wait_round(struct turn_keep *k)
{
	struct timespec at;
	while (!k->first && !k->is_ending)
		pthread_cond_wait(&k->changed, &k->lock);
	clock_gettime(CLOCK_MONOTONIC, &at);
	at.tv_nsec += TURN_KEEP_MS * 1000000L;
	at.tv_sec += at.tv_nsec / 1000000000L;
	at.tv_nsec %= 1000000000L;
	while (!k->is_ending && pthread_cond_timedwait(&k->changed, &k->lock, &at) != ETIMEDOUT)
		;
	return !k->is_ending;
}

static void *run(void *arg)
{
	struct turn_keep *k = arg;
	struct arena *a = arena_open(ARENA_BYTES);
	for (;;) {
		struct task t;
		pthread_mutex_lock(&k->lock);
		bool goes_on = wait_round(k);
		pthread_mutex_unlock(&k->lock);
		if (!goes_on)
			break;
		task_init(&t, a);
		go_round(&t, k);
		arena_reset(a);
	}
	arena_close(&a);
	return NULL;
}

/* ---- the turns ---- */

/* With the lock. Signals are for the process's other threads. */
static void start_thread(struct turn_keep *k)
{
	sigset_t all, before;
	if (k->is_started)
		return;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	if (pthread_create(&k->thread, NULL, run, k))
		abort();
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	k->is_started = true;
}

struct turn_live *turn_keep_add(struct task *t, struct app *app, const struct turn *turn)
{
	struct turn_keep *k = app->turns;
	struct turn_live *live = arena_alloc(t->arena, sizeof *live);
	*live = (struct turn_live){ .id = turn->id, .site = turn->site, .conversation = turn->conversation, .saved_at = stamp_mono_ms() };
	pthread_mutex_init(&live->lock, NULL);
	buf_init(&live->log, t->arena, 2048);
	pthread_mutex_lock(&k->lock);
	if (!k->first) /* it has slept, with no lease to renew: this one is fresh */
		k->renewed_at = stamp_mono_ms();
	live->next = k->first;
	k->first = live;
	start_thread(k);
	pthread_cond_signal(&k->changed);
	pthread_mutex_unlock(&k->lock);
	return live;
}

void turn_keep_remove(struct app *app, struct turn_live *live)
{
	struct turn_keep *k = app->turns;
	pthread_mutex_lock(&k->lock);
	for (struct turn_live **at = &k->first; *at; at = &(*at)->next)
		if (*at == live) {
			*at = live->next;
			break;
		}
	pthread_mutex_unlock(&k->lock);
	pthread_mutex_destroy(&live->lock);
}

size_t turn_live_say(struct turn_live *live, struct bytes text)
{
	pthread_mutex_lock(&live->lock);
	buf_add_bytes(&live->log, text);
	pthread_mutex_unlock(&live->lock);
	return live->log.n;
}

size_t turn_live_tell(struct turn_live *live, const char *event, struct bytes data)
{
	pthread_mutex_lock(&live->lock);
	turn_log_format(&live->log, event, data);
	pthread_mutex_unlock(&live->lock);
	return live->log.n;
}

struct bytes turn_live_log(const struct turn_live *live)
{
	return buf_bytes(&live->log);
}

enum err turn_live_check(struct task *t, const struct turn_live *live)
{
	if (atomic_load(&live->is_lost))
		return task_fail(t, ERR_CONFLICT, "the turn was ended meanwhile");
	return atomic_load(&live->is_cancelled) ? task_fail(t, ERR_CANCELLED, "the turn was cancelled") : ERR_OK;
}

enum err turn_keep_cancel(struct task *t, struct app *app, const struct turn *turn)
{
	struct turn_keep *k = app->turns;
	pthread_mutex_lock(&k->lock);
	for (struct turn_live *live = k->first; live; live = live->next)
		if (ident_equal(&live->id, &turn->id))
			atomic_store(&live->is_cancelled, true);
	pthread_mutex_unlock(&k->lock);
	return store_run(t, app, &stmts[CANCEL], DB_ARGS(db_ident(&turn->conversation), db_ident(&turn->site), db_ident(&turn->id)), NULL);
}

enum err turn_keep_interrupt(struct task *t, struct app *app, const struct ident *site, const struct ident *conversation,
			     const struct ident *before)
{
	struct ident last;
	memset(last.b, 0xff, sizeof last.b);
	return store_run(t, app, &stmts[INTERRUPT], DB_ARGS(db_ident(conversation), db_ident(site), db_ident(before ? before : &last)), NULL);
}

const struct feature turn_keep_feature = { .name = "turn_keep", .stmts = stmts, .n_stmts = COUNT(stmts) };
