/* SPDX-License-Identifier: MIT */
/*
 * db: what both back ends share: opening, the statement cache of a connection, transactions, and the retries. A transaction that
 * met any error but a duplicate key is doomed: nothing more runs in it, so that no statement commits by itself after the server
 * undid the rest.
 */
#include "db/db.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/metrics.h"
#include "base/secret.h"
#include "base/stamp.h"
#include "db/db_private.h"

#define BACKOFF_FIRST_MS 4
#define BACKOFF_MOST_MS 250
#define PASSWORD_MOST 1024
#define FIRST_SLOTS 64

/* ---- answers ---- */

const struct db_cell *db_cell(const struct db_rows *rows, size_t row, size_t col)
{
	assert(row < rows->n_rows && col < rows->n_cols);
	return &rows->cells[row * rows->n_cols + col];
}

int64_t db_cell_int(const struct db_rows *rows, size_t row, size_t col)
{
	const struct db_cell *cell = db_cell(rows, row, col);

	assert(cell->type == DB_INT || cell->type == DB_REAL || cell->type == DB_NULL);
	return cell->type == DB_REAL ? (int64_t)cell->real : cell->i;
}

struct bytes db_cell_bytes(const struct db_rows *rows, size_t row, size_t col)
{
	return db_cell(rows, row, col)->b;
}

bool db_cell_ident(const struct db_rows *rows, size_t row, size_t col, struct ident *id_r)
{
	const struct db_cell *cell = db_cell(rows, row, col);

	memset(id_r, 0, sizeof *id_r);
	if (cell->type != DB_BLOB || cell->b.n != sizeof id_r->b)
		return false;
	memcpy(id_r->b, cell->b.p, sizeof id_r->b);
	return true;
}

struct db_cell *db_rows_add(struct arena *a, struct db_rows *rows, size_t *room)
{
	if (rows->n_rows == *room) {
		size_t grown = *room ? *room * 2 : 8;
		struct db_cell *cells = arena_array(a, grown, rows->n_cols * sizeof *cells);

		if (rows->n_rows)
			memcpy(cells, rows->cells, rows->n_rows * rows->n_cols * sizeof *cells);
		rows->cells = cells;
		*room = grown;
	}
	return &rows->cells[rows->n_rows++ * rows->n_cols];
}

/* ---- opening ---- */

/* Reads the password's file into the DSN: the whole file without its last newline. */
static enum err read_password(struct task *t, struct db *db)
{
	const char *path = db->conf.password_file;
	char text[PASSWORD_MOST + 1];
	struct stat st;
	ssize_t n;
	int fd;

	if (!path[0] || db->dsn.path)
		return ERR_OK;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return task_fail(t, ERR_CONFIG, "database_password_file: cannot open %s: %s", path, strerror(errno));
	if (fstat(fd, &st) == 0 && (st.st_mode & S_IRWXO)) {
		close(fd);
		return task_fail(t, ERR_CONFIG, "database_password_file: others may read %s; chmod o= it", path);
	}
	n = read(fd, text, sizeof text);
	close(fd);
	if (n < 0 || n > PASSWORD_MOST)
		return task_fail(t, ERR_CONFIG, "database_password_file: %s cannot be read, or is too long", path);
	if (n > 0 && text[n - 1] == '\n')
		n--;
	db->dsn.password = arena_copy(db->arena, text, (size_t)n);
	secret_wipe(text, sizeof text);
	return ERR_OK;
}

static const char *text_or_empty(struct arena *a, const char *s)
{
	return s ? arena_strdup(a, s) : "";
}

enum err db_open(struct task *t, const struct db_conf *conf, struct db **db_r)
{
	struct arena *a = arena_open(4096);
	struct db *db = arena_alloc(a, sizeof *db);
	struct db_conn *first = NULL;
	enum err e;

	db->arena = a;
	db->conf = *conf;
	db->conf.pool = conf->pool > 0 ? conf->pool : 1;
	db->conf.dsn = NULL; /* it may hold the password, and is parsed here */
	db->conf.password_file = text_or_empty(a, conf->password_file);
	db->conf.tls_ca = text_or_empty(a, conf->tls_ca);
	db_pool_init(db);
	e = dsn_parse(t, a, conf->dsn, &db->dsn);
	db->driver = db->dsn.path ? &db_sqlite : &db_mariadb;
	if (!e)
		e = read_password(t, db);
	if (!e) {
		db->driver->init(db);
		e = db_conn_open(t, db, db->conf.timeout_ms, &first);
	}
	if (e) {
		db_close(&db);
		return e;
	}
	db->is_checked = true;
	if (db->dsn.path && strcmp(db->dsn.path, ":memory:") == 0) {
		db->anchor = first;
	} else {
		db->n_open = 1;
		db_give(&first);
	}
	*db_r = db;
	return ERR_OK;
}

void db_close(struct db **dbp)
{
	struct db *db = *dbp;
	struct arena *a;

	if (!db)
		return;
	*dbp = NULL;
	db_pool_close(db);
	db_conn_close(&db->anchor);
	if (db->dsn.password)
		secret_wipe((char *)db->dsn.password, strlen(db->dsn.password));
	a = db->arena;
	arena_close(&a);
}

const char *db_driver(const struct db *db)
{
	return db->driver->name;
}

/* ---- one connection ---- */

enum err db_conn_open(struct task *t, struct db *db, int timeout_ms, struct db_conn **c_r)
{
	struct db_conn *c;
	void *link;
	enum err e = db->driver->connect(t, db, timeout_ms, &link);

	if (e) {
		if (e == ERR_UNAVAILABLE)
			t->fault.retry_after_s = 2;
		return e;
	}
	metric_add(METRIC_db_connects_total, 1);
	c = calloc(1, sizeof *c);
	if (!c)
		abort();
	c->db = db;
	c->link = link;
	c->idle_since_ms = stamp_mono_ms();
	*c_r = c;
	return ERR_OK;
}

void db_conn_close(struct db_conn **cp)
{
	struct db_conn *c = *cp;

	if (!c)
		return;
	*cp = NULL;
	/* In this order no statement is told to a server that forgets them all anyway, or no longer listens. */
	c->db->driver->disconnect(c->link);
	for (size_t i = 0; i < c->n_slots; i++)
		if (c->cached[i].sql)
			c->db->driver->finish(c->cached[i].stmt);
	free(c->cached);
	free(c);
}

/* Where a text is, or would go, in the cache of a connection. */
static struct db_cached *slot_of(struct db_cached *slots, size_t n_slots, const char *sql)
{
	size_t i = ((uintptr_t)sql * UINT64_C(0x9e3779b97f4a7c15)) >> 32 & (n_slots - 1);

	while (slots[i].sql && slots[i].sql != sql)
		i = (i + 1) & (n_slots - 1);
	return &slots[i];
}

static void grow_cache(struct db_conn *c)
{
	size_t n_slots = c->n_slots ? c->n_slots * 2 : FIRST_SLOTS;
	struct db_cached *slots = calloc(n_slots, sizeof *slots);

	if (!slots)
		abort();
	for (size_t i = 0; i < c->n_slots; i++)
		if (c->cached[i].sql)
			*slot_of(slots, n_slots, c->cached[i].sql) = c->cached[i];
	free(c->cached);
	c->cached = slots;
	c->n_slots = n_slots;
}

static const char *text_of(const struct db_conn *c, const struct db_stmt *s)
{
	return c->db->driver == &db_sqlite && s->sqlite ? s->sqlite : s->sql;
}

/* The prepared statement of a text: from the cache, or prepared now. A connection lost here ran nothing. */
static enum err find_prepared(struct task *t, struct db_conn *c, const char *sql, void **stmt_r)
{
	struct db_cached *slot;
	enum err e;

	if (c->n_cached * 4 >= c->n_slots * 3)
		grow_cache(c);
	slot = slot_of(c->cached, c->n_slots, sql);
	if (!slot->sql) {
		e = c->db->driver->prepare(t, c, sql, &slot->stmt);
		if (e) {
			if (c->loss)
				c->loss = DB_LOST_UNSENT;
			return e;
		}
		slot->sql = sql;
		c->n_cached++;
	}
	*stmt_r = slot->stmt;
	return ERR_OK;
}

/* Prepares a cached statement again. */
static enum err renew_prepared(struct task *t, struct db_conn *c, const char *sql, void **stmt_r)
{
	struct db_cached *slot = slot_of(c->cached, c->n_slots, sql);
	void *renewed;
	enum err e = c->db->driver->prepare(t, c, sql, &renewed);

	if (e) {
		if (c->loss)
			c->loss = DB_LOST_UNSENT;
		return e;
	}
	c->db->driver->finish(slot->stmt);
	slot->stmt = renewed;
	*stmt_r = renewed;
	return ERR_OK;
}

/* ---- running ---- */

/* Whether a text only reads, so that running it twice does no harm. In doubt it does not. */
static bool is_read(const char *sql)
{
	if (strncasecmp(sql, "WITH", 4) == 0)
		return !strcasestr(sql, "INSERT") && !strcasestr(sql, "UPDATE") && !strcasestr(sql, "DELETE");
	return strncasecmp(sql, "SELECT", 6) == 0;
}

/*
 * Turns what the driver said into what the caller must know: `decides` marks a statement whose effect is final when it succeeds, a
 * write outside a transaction or a COMMIT, so that losing the connection in it leaves the outcome unknown.
 */
static enum err settle(struct task *t, struct db_conn *c, enum err e, bool decides)
{
	if (!e)
		return ERR_OK;
	if (e != ERR_DUPLICATE && e != ERR_NOT_FOUND) {
		metric_add(METRIC_db_errors_total, 1);
		if (c->in_transaction)
			c->doom = e;
	}
	if (c->loss == DB_LOST_UNKNOWN && decides)
		e = task_fail_internal(t, ERR_COMMIT_UNKNOWN, "%s", t->fault.internal);
	if (e == ERR_UNAVAILABLE || e == ERR_COMMIT_UNKNOWN)
		t->fault.retry_after_s = 2;
	return e;
}

/* Refuses what could only do harm: a statement in a transaction that is already undone, or on a connection that is gone. */
static enum err refuse_late(struct task *t, const struct db_conn *c)
{
	if (c->loss) {
		enum err e = task_fail_internal(t, ERR_UNAVAILABLE, "the connection was lost in an earlier statement");

		t->fault.retry_after_s = 2;
		return e;
	}
	if (c->doom)
		return task_fail_internal(t, c->doom, "an earlier statement of the transaction has failed");
	return ERR_OK;
}

static enum err execute(struct task *t, struct db_conn *c, const char *sql, const struct db_arg *args, size_t n_args,
			struct db_rows **rows_r, int64_t *changed_r)
{
	int64_t start = stamp_mono_us();
	void *stmt;
	enum err e;

	metric_add(METRIC_db_queries_total, 1);
	e = find_prepared(t, c, sql, &stmt);
	if (!e)
		e = c->db->driver->execute(t, c, stmt, args, n_args, rows_r, changed_r);
	if (c->is_stale) {
		c->is_stale = false;
		e = renew_prepared(t, c, sql, &stmt);
		if (!e)
			e = c->db->driver->execute(t, c, stmt, args, n_args, rows_r, changed_r);
		c->is_stale = false;
	}
	metric_observe(METRIC_db_seconds, stamp_mono_us() - start);
	return e;
}

enum err db_run(struct task *t, struct db_conn *c, const struct db_stmt *s, const struct db_arg *args, size_t n_args,
		int64_t *changed_r)
{
	const char *sql = text_of(c, s);
	int64_t changed = 0;
	enum err e = refuse_late(t, c);

	if (e)
		return e;
	e = execute(t, c, sql, args, n_args, NULL, &changed);
	if (changed_r)
		*changed_r = changed;
	return settle(t, c, e, !c->in_transaction && !is_read(sql));
}

enum err db_query(struct task *t, struct db_conn *c, const struct db_stmt *s, const struct db_arg *args, size_t n_args,
		  struct db_rows **rows_r)
{
	const char *sql = text_of(c, s);
	int64_t changed = 0;
	enum err e = refuse_late(t, c);

	if (e)
		return e;
	e = execute(t, c, sql, args, n_args, rows_r, &changed);
	return settle(t, c, e, !c->in_transaction && !is_read(sql));
}

static enum err run_text(struct task *t, struct db_conn *c, const char *sql, bool decides)
{
	int64_t start = stamp_mono_us();
	enum err e = refuse_late(t, c);

	if (e)
		return e;
	metric_add(METRIC_db_queries_total, 1);
	e = c->db->driver->script(t, c, sql);
	metric_observe(METRIC_db_seconds, stamp_mono_us() - start);
	return settle(t, c, e, decides);
}

enum err db_script(struct task *t, struct db_conn *c, const char *sql)
{
	return run_text(t, c, sql, !c->in_transaction);
}

enum err db_begin(struct task *t, struct db_conn *c)
{
	enum err e;

	assert(!c->in_transaction);
	e = run_text(t, c, c->db->driver->begin, false);
	c->in_transaction = !e;
	return e;
}

enum err db_commit(struct task *t, struct db_conn *c)
{
	enum err e;

	assert(c->in_transaction);
	e = run_text(t, c, "COMMIT", true);
	if (!e)
		c->in_transaction = false;
	return e;
}

void db_rollback(struct db_conn *c)
{
	struct arena *a;
	struct task t;

	if (!c->in_transaction)
		return;
	c->in_transaction = false;
	c->doom = ERR_OK;
	if (c->loss)
		return;
	/* A task of its own: what the caller failed with must stay. A connection that cannot roll back is dropped. */
	a = arena_open(512);
	task_init(&t, a);
	if (run_text(&t, c, "ROLLBACK", false) != ERR_OK && !c->loss)
		c->loss = DB_LOST_UNKNOWN;
	arena_close(&a);
}

/* ---- retries ---- */

struct retry {
	int64_t deadline_ms;
	int n_runs;
	int n_lost;
};

static struct retry retry_begin(const struct db *db)
{
	return (struct retry){ .deadline_ms = stamp_mono_ms() + db->conf.timeout_ms };
}

void db_backoff(int attempt)
{
	int64_t most_us = 1000 * (attempt < 6 ? BACKOFF_FIRST_MS << attempt : BACKOFF_MOST_MS);
	uint64_t random;
	struct timespec pause;

	secret_random(&random, sizeof random);
	pause.tv_sec = 0;
	pause.tv_nsec = (long)(random % (uint64_t)most_us) * 1000;
	nanosleep(&pause, NULL);
}

/*
 * Whether the work that failed may be run again; sleeps first. A lost connection is tried again once, a collision as often as
 * the settings say; neither once the time for an answer is used up. If not, *e_r is what the caller returns.
 */
static bool retry_again(struct task *t, const struct db *db, struct retry *r, bool was_lost, enum err *e_r)
{
	bool in_time = stamp_mono_ms() < r->deadline_ms;

	if (was_lost) {
		if (!in_time || r->n_lost++)
			return false;
	} else if (!in_time || r->n_runs >= db->conf.retries) {
		*e_r = task_fail_internal(t, ERR_BUSY, "given up after %d runs: %s", r->n_runs + 1,
					  t->fault.internal ? t->fault.internal : "it asked to be run again");
		t->fault.retry_after_s = 1;
		return false;
	} else {
		db_backoff(r->n_runs++);
	}
	metric_add(METRIC_db_retries_total, 1);
	task_clear_fault(t);
	return true;
}

/* One run of a transaction. *was_lost_r: the connection is gone, and nothing was committed. */
static enum err transact_once(struct task *t, struct db *db, enum err (*fn)(struct task *t, struct db_conn *c, void *arg),
			      void *arg, bool *was_lost_r)
{
	struct db_conn *c;
	enum err e;

	*was_lost_r = false;
	e = db_take(t, db, &c);
	if (e)
		return e;
	e = db_begin(t, c);
	if (!e) {
		e = fn(t, c, arg);
		if (!e)
			e = db_commit(t, c);
		else if (c->doom == ERR_RETRY)
			e = ERR_RETRY; /* whatever fn made of it: it saw a state that is undone */
	}
	*was_lost_r = c->loss && e != ERR_COMMIT_UNKNOWN && (e == ERR_UNAVAILABLE || c->doom == ERR_UNAVAILABLE);
	db_give(&c);
	return e;
}

enum err db_transact(struct task *t, struct db *db, enum err (*fn)(struct task *t, struct db_conn *c, void *arg), void *arg)
{
	struct retry r = retry_begin(db);

	for (;;) {
		bool was_lost;
		enum err e = transact_once(t, db, fn, arg, &was_lost);

		if (e != ERR_RETRY && !was_lost)
			return e;
		if (!retry_again(t, db, &r, was_lost, &e))
			return e;
	}
}

/* One autocommitted statement, run again after a collision, or after a loss that surely changed nothing. */
static enum err run_once(struct task *t, struct db *db, const struct db_stmt *s, const struct db_arg *args, size_t n_args,
			 struct db_rows **rows_r, int64_t *changed_r)
{
	struct retry r = retry_begin(db);

	for (;;) {
		struct db_conn *c;
		bool was_lost;
		enum err e = db_take(t, db, &c);

		if (e)
			return e;
		e = rows_r ? db_query(t, c, s, args, n_args, rows_r) : db_run(t, c, s, args, n_args, changed_r);
		was_lost = c->loss && e == ERR_UNAVAILABLE;
		db_give(&c);
		if (e != ERR_RETRY && !was_lost)
			return e;
		if (!retry_again(t, db, &r, was_lost, &e))
			return e;
	}
}

enum err db_run_once(struct task *t, struct db *db, const struct db_stmt *s, const struct db_arg *args, size_t n_args,
		     int64_t *changed_r)
{
	return run_once(t, db, s, args, n_args, NULL, changed_r);
}

enum err db_query_once(struct task *t, struct db *db, const struct db_stmt *s, const struct db_arg *args, size_t n_args,
		       struct db_rows **rows_r)
{
	return run_once(t, db, s, args, n_args, rows_r, NULL);
}

/* ---- checks ---- */

enum err db_ping(struct task *t, struct db *db)
{
	struct db_conn *c;
	enum err e = db_take(t, db, &c);

	if (e)
		return e;
	e = settle(t, c, db->driver->ping(t, c), false);
	db_give(&c);
	return e;
}

enum err db_prepare_all(struct task *t, struct db *db, const struct db_stmt *stmts, size_t n)
{
	struct db_conn *c = NULL;
	enum err e = db_take(t, db, &c);

	for (size_t i = 0; !e && i < n; i++) {
		const char *sql = text_of(c, &stmts[i]);
		void *stmt;

		e = db->driver->prepare(t, c, sql, &stmt);
		if (e)
			e = task_fail_internal(t, e, "%s: in: %s", t->fault.internal, sql);
		else
			db->driver->finish(stmt);
	}
	db_give(&c);
	return e;
}
