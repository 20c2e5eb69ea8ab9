/* SPDX-License-Identifier: MIT */
/* store: the one way from the features to the database. */
#include "app/store.h"

#include "base/stamp.h"

#define REOPEN_MS 500

static enum err open_now(struct task *t, struct app *app, struct db **db_r)
{
	const struct conf *c = app->conf;
	struct db_conf conf = {
		.dsn = c->database,
		.password_file = c->database_password_file,
		.tls_ca = c->database_tls_ca,
		.pool = (int)c->database_pool,
		.connect_timeout_ms = (int)c->database_connect_timeout,
		.timeout_ms = (int)c->database_timeout,
		.retries = (int)c->database_retries,
	};
	struct db *db;
	enum err e = db_open(t, &conf, &db);
	if (e)
		return e;
	int n;
	e = db_migrate(t, db, !c->database_migrate, &n);
	if (!e && !c->database_migrate && n > 0)
		e = task_fail(t, ERR_CONFIG, "the database schema is %d steps behind this program: run `parley migrate`", n);
	if (e) {
		db_close(&db);
		return e;
	}
	*db_r = db;
	return ERR_OK;
}

enum err store_open(struct task *t, struct app *app, struct db **db_r)
{
	*db_r = atomic_load_explicit(&app->db, memory_order_acquire);
	if (*db_r)
		return ERR_OK;
	if (stamp_mono_ms() < atomic_load(&app->db_retry_at))
		return task_fail_internal(t, ERR_UNAVAILABLE, "the database could not be opened a moment ago");
	pthread_mutex_lock(&app->db_lock);
	enum err e = ERR_OK;
	struct db *db = atomic_load(&app->db);
	if (!db)
		e = open_now(t, app, &db);
	if (e)
		atomic_store(&app->db_retry_at, stamp_mono_ms() + REOPEN_MS);
	else
		atomic_store_explicit(&app->db, db, memory_order_release);
	pthread_mutex_unlock(&app->db_lock);
	*db_r = db;
	return e;
}

/* Keeps account of whether the database is there. */
static enum err note(struct app *app, enum err e)
{
	bool is_down = e == ERR_UNAVAILABLE;
	if (is_down != atomic_load_explicit(&app->db_is_down, memory_order_relaxed))
		atomic_store(&app->db_is_down, is_down);
	return e;
}

enum err store_run(struct task *t, struct app *app, const struct db_stmt *s, const struct db_arg *args, size_t n_args, int64_t *changed_r)
{
	struct db *db;
	enum err e = store_open(t, app, &db);
	return note(app, e ? e : db_run_once(t, db, s, args, n_args, changed_r));
}

enum err store_query(struct task *t, struct app *app, const struct db_stmt *s, const struct db_arg *args, size_t n_args,
		     struct db_rows **rows_r)
{
	struct db *db;
	enum err e = store_open(t, app, &db);
	return note(app, e ? e : db_query_once(t, db, s, args, n_args, rows_r));
}

enum err store_read(struct task *t, struct app *app, struct db_conn *c, const struct db_stmt *s, const struct db_arg *args, size_t n_args,
		    struct db_rows **rows_r)
{
	return c ? db_query(t, c, s, args, n_args, rows_r) : store_query(t, app, s, args, n_args, rows_r);
}

enum err store_transact(struct task *t, struct app *app, enum err (*fn)(struct task *t, struct db_conn *c, void *arg), void *arg)
{
	struct db *db;
	enum err e = store_open(t, app, &db);
	return note(app, e ? e : db_transact(t, db, fn, arg));
}

bool store_is_down(const struct app *app)
{
	return atomic_load_explicit(&app->db_is_down, memory_order_relaxed);
}
