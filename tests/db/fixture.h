/* SPDX-License-Identifier: MIT */
/* fixture: a database of its own for one test, on each back end that is at hand. MariaDB: where PARLEY_TEST_MARIADB holds a DSN. */
#ifndef PARLEY_TESTS_DB_FIXTURE_H
#define PARLEY_TESTS_DB_FIXTURE_H

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/stamp.h"
#include "db/db_private.h"

enum backend { SQLITE_FILE, SQLITE_MEMORY, MARIADB, N_BACKENDS };

struct fixture {
	enum backend backend;
	struct arena *arena;
	struct task task;
	struct db_conf conf;
	struct db *db;
	char dsn[400];
	char dir[64];    /* of the SQLite file */
	char schema[64]; /* the name of the MariaDB database */
};

#define STMT(text) (&(const struct db_stmt){ (text), NULL, "a test" })
#define STMT2(text, sqlite_text) (&(const struct db_stmt){ (text), (sqlite_text), "a test" })

static inline const char *fixture_mariadb(void)
{
	const char *dsn = getenv("PARLEY_TEST_MARIADB");

	return dsn && dsn[0] ? dsn : NULL;
}

/* The DSN of the test server with another database name, and another socket unless NULL. */
static inline void fixture_dsn(char *out, size_t size, const char *schema, const char *socket)
{
	const char *base = fixture_mariadb();
	const char *slash = strchr(base + strlen("mariadb://"), '/');
	const char *options = strchr(slash, '?');

	if (socket)
		snprintf(out, size, "%.*s/%s?socket=%s", (int)(slash - base), base, schema, socket);
	else
		snprintf(out, size, "%.*s/%s%s", (int)(slash - base), base, schema, options ? options : "");
}

/* Runs one text on the test server, on a connection of its own. */
static inline void __attribute__((format(printf, 1, 2))) fixture_admin(const char *fmt, ...)
{
	struct arena *a = arena_open(0);
	struct db_conf conf = { .dsn = fixture_mariadb(), .pool = 1, .connect_timeout_ms = 5000, .timeout_ms = 30000 };
	struct db *db;
	struct db_conn *c;
	struct task t;
	va_list ap;
	const char *sql;

	task_init(&t, a);
	va_start(ap, fmt);
	sql = arena_vprintf(a, fmt, ap);
	va_end(ap);
	cr_assert_eq(db_open(&t, &conf, &db), ERR_OK, "%s", t.fault.internal);
	cr_assert_eq(db_take(&t, db, &c), ERR_OK);
	cr_assert_eq(db_script(&t, c, sql), ERR_OK, "%s: %s", sql, t.fault.internal);
	db_give(&c);
	db_close(&db);
	arena_close(&a);
}

/* Makes an empty database and settings for it, and does not open it yet. */
static inline void fixture_init(struct fixture *f, enum backend backend)
{
	static int n;

	*f = (struct fixture){ .backend = backend, .arena = arena_open(0) };
	task_init(&f->task, f->arena);
	switch (backend) {
	case SQLITE_FILE:
		snprintf(f->dir, sizeof f->dir, "/tmp/parley-db-XXXXXX");
		cr_assert(mkdtemp(f->dir));
		snprintf(f->dsn, sizeof f->dsn, "sqlite:%s/test.db", f->dir);
		break;
	case SQLITE_MEMORY:
		snprintf(f->dsn, sizeof f->dsn, "sqlite::memory:");
		break;
	default:
		snprintf(f->schema, sizeof f->schema, "parley_test_%d_%d", (int)getpid(), n++);
		fixture_admin("CREATE DATABASE %s CHARACTER SET utf8mb4 COLLATE utf8mb4_bin", f->schema);
		fixture_dsn(f->dsn, sizeof f->dsn, f->schema, NULL);
	}
	f->conf = (struct db_conf){ .dsn = f->dsn, .pool = 4, .connect_timeout_ms = 3000, .timeout_ms = 8000, .retries = 8 };
}

static inline void fixture_open(struct fixture *f, enum backend backend)
{
	fixture_init(f, backend);
	cr_assert_eq(db_open(&f->task, &f->conf, &f->db), ERR_OK, "%s / %s", f->task.fault.detail, f->task.fault.internal);
}

static inline void fixture_close(struct fixture *f)
{
	char command[128];

	db_close(&f->db);
	if (f->schema[0])
		fixture_admin("DROP DATABASE IF EXISTS %s", f->schema);
	if (f->dir[0]) {
		snprintf(command, sizeof command, "rm -rf %s", f->dir);
		cr_assert_eq(system(command), 0);
	}
	arena_close(&f->arena);
}

/* Runs a check on a fresh database of every back end. */
static inline void on_each(void (*check)(struct fixture *f))
{
	for (enum backend b = SQLITE_FILE; b < N_BACKENDS; b++) {
		struct fixture f;

		if (b == MARIADB && !fixture_mariadb())
			continue;
		fixture_open(&f, b);
		check(&f);
		fixture_close(&f);
	}
}

/* Opens a fixture on MariaDB, or skips the test. */
static inline void fixture_open_mariadb(struct fixture *f)
{
	if (!fixture_mariadb())
		cr_skip_test("PARLEY_TEST_MARIADB is not set");
	fixture_open(f, MARIADB);
}

#define must(f, call)                                                                                                  \
	do {                                                                                                           \
		enum err must_e = (call);                                                                              \
		cr_assert_eq(must_e, ERR_OK, "%s: %s: %s / %s", (f)->dsn, #call, (f)->task.fault.detail,              \
			     (f)->task.fault.internal);                                                                \
	} while (0)

/* One row changed or read by a text without parameters. */
static inline void fixture_run(struct fixture *f, const char *sql)
{
	must(f, db_run_once(&f->task, f->db, STMT(sql), NULL, 0, NULL));
}

static inline int64_t fixture_int(struct fixture *f, const char *sql)
{
	struct db_rows *rows;

	must(f, db_query_once(&f->task, f->db, STMT(sql), NULL, 0, &rows));
	cr_assert_eq(rows->n_rows, 1);
	return db_cell_int(rows, 0, 0);
}

static inline void fixture_table(struct fixture *f, const char *columns)
{
	struct db_conn *c;

	must(f, db_take(&f->task, f->db, &c));
	must(f, db_script(&f->task, c, arena_printf(f->arena, "CREATE TABLE t (%s)", columns)));
	db_give(&c);
}

#endif
