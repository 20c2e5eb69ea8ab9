/* SPDX-License-Identifier: MIT */
/* db: one SQL interface over MariaDB and SQLite: pool, prepared statements, transactions that are retried whole, migrations. */
#ifndef PARLEY_DB_DB_H
#define PARLEY_DB_DB_H

#include <stdbool.h>
#include <stdint.h>

#include "base/ident.h"
#include "base/task.h"

struct db;      /* one process's database: driver, settings, pool */
struct db_conn; /* one connection, taken from the pool by one thread at a time */

struct db_conf {
	const char *dsn;           /* see the setting `database`; "sqlite::memory:" is one private database for the whole pool (tests) */
	const char *password_file; /* "" or NULL: none */
	const char *tls_ca;        /* "" or NULL: no TLS */
	int pool;                  /* most connections */
	int connect_timeout_ms;
	int timeout_ms;            /* for an answer, and for a free connection of the pool */
	int retries;               /* of a transaction */
};

/*
 * One SQL statement, declared in a constant table at the top of the feature that owns it; the driver prepares it once per connection and
 * finds it again by its address. `sqlite` is the text for SQLite where it differs, else NULL. Every statement on tenant data
 * names the column `site`; one that does not must say why in `global`, and a test reads both.
 */
struct db_stmt {
	const char *sql;
	const char *sqlite;
	const char *global;
};

enum db_type { DB_NULL, DB_INT, DB_REAL, DB_TEXT, DB_BLOB };

struct db_arg {
	enum db_type type;
	int64_t i;
	double real;
	const void *p;
	size_t n;
};

static inline struct db_arg db_null(void) { return (struct db_arg){ .type = DB_NULL }; }
static inline struct db_arg db_int(int64_t v) { return (struct db_arg){ .type = DB_INT, .i = v }; }
static inline struct db_arg db_real(double v) { return (struct db_arg){ .type = DB_REAL, .real = v }; }
/* Text and blobs are borrowed until the call returns; NULL p gives SQL NULL. */
static inline struct db_arg db_text(struct bytes s) { return (struct db_arg){ .type = s.p ? DB_TEXT : DB_NULL, .p = s.p, .n = s.n }; }
static inline struct db_arg db_blob(const void *p, size_t n) { return (struct db_arg){ .type = p ? DB_BLOB : DB_NULL, .p = p, .n = n }; }
static inline struct db_arg db_ident(const struct ident *id) { return db_blob(id ? id->b : NULL, sizeof id->b); }

#define DB_ARGS(...) (const struct db_arg[]){ __VA_ARGS__ }, sizeof((const struct db_arg[]){ __VA_ARGS__ }) / sizeof(struct db_arg)

/* One value of an answer; text and blobs are in the task's arena, with a NUL behind them. */
struct db_cell {
	enum db_type type;
	int64_t i;
	double real;
	struct bytes b;
};

/* A whole answer: n_rows * n_cols cells, row by row. */
struct db_rows {
	size_t n_rows, n_cols;
	struct db_cell *cells;
};

/* The cell of a row and column (asserted to exist). */
const struct db_cell *db_cell(const struct db_rows *rows, size_t row, size_t col);
/* Its value as a number (0 for NULL), bytes (none for NULL), or id (false, zeroed, unless it is a 16-byte blob). */
int64_t db_cell_int(const struct db_rows *rows, size_t row, size_t col);
struct bytes db_cell_bytes(const struct db_rows *rows, size_t row, size_t col);
bool db_cell_ident(const struct db_rows *rows, size_t row, size_t col, struct ident *id_r);

/*
 * Opens the database: parses the DSN, makes one connection to check it (MariaDB: refuses a sql_mode that is not strict, warns
 * loudly in the log unless innodb_flush_log_at_trx_commit is 1 and, with a binlog, sync_binlog is 1). Errors: ERR_CONFIG (the DSN, the
 * mode), ERR_UNAVAILABLE (cannot connect). Connections are made when needed; nothing here survives a fork: open after it.
 */
enum err db_open(struct task *t, const struct db_conf *conf, struct db **db_r) MUST_CHECK;
void db_close(struct db **db);

/* "mariadb" or "sqlite". */
const char *db_driver(const struct db *db);

/*
 * Takes a connection, waiting at most timeout_ms for a free one (ERR_BUSY) and connecting when needed (ERR_UNAVAILABLE). A
 * connection that idled long is pinged first. Give it back with db_give, which rolls back an open transaction and drops a broken one.
 */
enum err db_take(struct task *t, struct db *db, struct db_conn **c_r) MUST_CHECK;
void db_give(struct db_conn **c);

/*
 * Runs one statement. changed_r (may be NULL): rows matched (both drivers count found rows, not changed ones). rows_r of
 * db_query: the whole answer, in the task's arena. Outside a transaction a statement commits by itself.
 * Errors: ERR_DUPLICATE (unique key), ERR_NOT_FOUND (the row that a foreign key names is gone), ERR_RETRY (deadlock, lock timeout, 1020, SQLITE_BUSY), ERR_UNAVAILABLE (connection lost; a
 * write outside a transaction, or a COMMIT, gives ERR_COMMIT_UNKNOWN instead), ERR_TOO_LARGE (packet), ERR_INTERNAL (anything else; a bug).
 */
enum err db_run(struct task *t, struct db_conn *c, const struct db_stmt *s, const struct db_arg *args, size_t n_args,
		int64_t *changed_r) MUST_CHECK;
enum err db_query(struct task *t, struct db_conn *c, const struct db_stmt *s, const struct db_arg *args, size_t n_args,
		  struct db_rows **rows_r) MUST_CHECK;

/* A transaction by hand: READ COMMITTED on MariaDB, BEGIN IMMEDIATE on SQLite. */
enum err db_begin(struct task *t, struct db_conn *c) MUST_CHECK;
enum err db_commit(struct task *t, struct db_conn *c) MUST_CHECK;
void db_rollback(struct db_conn *c);

/*
 * Runs fn inside a transaction on a connection of its own and commits. When fn or the COMMIT says ERR_RETRY (or the connection was lost before
 * COMMIT), everything is rolled back and the whole is run again with jitter, at most conf.retries times, then ERR_BUSY. Any
 * other error rolls back and is returned. fn may run several times: it must not change anything outside the transaction that it does not set anew.
 */
enum err db_transact(struct task *t, struct db *db, enum err (*fn)(struct task *t, struct db_conn *c, void *arg), void *arg) MUST_CHECK;

/* One autocommitted statement on a connection of its own, with the same retries. */
enum err db_run_once(struct task *t, struct db *db, const struct db_stmt *s, const struct db_arg *args, size_t n_args,
		     int64_t *changed_r) MUST_CHECK;
enum err db_query_once(struct task *t, struct db *db, const struct db_stmt *s, const struct db_arg *args, size_t n_args,
		       struct db_rows **rows_r) MUST_CHECK;

/* Whether the database answers at all right now (SELECT 1). */
enum err db_ping(struct task *t, struct db *db) MUST_CHECK;

/* Prepares every statement of a table, to find mistakes in tests and at `parley selftest`. */
enum err db_prepare_all(struct task *t, struct db *db, const struct db_stmt *stmts, size_t n) MUST_CHECK;

/* One migration: a single schema change in each dialect, safe to run again. */
struct db_migration {
	int number;
	const char *name;
	const char *sql;
	const char *sqlite; /* NULL: the same text */
};

/* All of them, in order of number; the last has number 0 (migrations.c). */
extern const struct db_migration db_migrations[];

/*
 * Brings the schema up to date: takes a lock (MariaDB: a row lock in its own table; SQLite: BEGIN IMMEDIATE), so that two that run at
 * once do no harm, and records each number. dry_run only looks. n_applied_r: how many ran, or would. ERR_CONFIG when the schema is newer than this binary.
 */
enum err db_migrate(struct task *t, struct db *db, bool dry_run, int *n_applied_r) MUST_CHECK;

#endif
