/* SPDX-License-Identifier: MIT */
/* test_db: values, answers, errors and the pool, on every back end. What happens when connections are lost is in test_retry. */
#include "fixture.h"

#include <math.h>
#include <mysql.h>
#include <pthread.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/log.h"
#include "base/metrics.h"

#define EMOJI "na\xc3\xafve \xf0\x9f\x90\x98\xf0\x9f\xa7\xa0"

static const struct db_stmt insert_all = { "INSERT INTO t (id, i, r, s, b, k) VALUES (?, ?, ?, ?, ?, ?)", NULL, "a test" };
static const struct db_stmt select_all = { "SELECT i, r, s, b, k FROM t WHERE id = ?", NULL, "a test" };

static void values_table(struct fixture *f)
{
	fixture_table(f, "id INT NOT NULL PRIMARY KEY, i BIGINT, r DOUBLE, s LONGTEXT, b LONGBLOB, k BINARY(16)");
}

static struct db_rows *round_trip(struct fixture *f, int id, struct db_arg i, struct db_arg r, struct db_arg s, struct db_arg b,
				  struct db_arg k)
{
	struct db_rows *rows;

	must(f, db_run_once(&f->task, f->db, &insert_all, DB_ARGS(db_int(id), i, r, s, b, k), NULL));
	must(f, db_query_once(&f->task, f->db, &select_all, DB_ARGS(db_int(id)), &rows));
	cr_assert_eq(rows->n_rows, 1);
	cr_assert_eq(rows->n_cols, 5);
	return rows;
}

static void check_values(struct fixture *f)
{
	static const char nuls[] = "a\0b\0";
	const struct ident id = ident_new();
	struct ident back;
	struct db_rows *rows;

	values_table(f);
	rows = round_trip(f, 1, db_int(INT64_MAX), db_real(-0.1), db_text(BYTES(EMOJI)), db_blob(nuls, sizeof nuls), db_ident(&id));
	cr_assert_eq(db_cell(rows, 0, 0)->type, DB_INT);
	cr_assert_eq(db_cell_int(rows, 0, 0), INT64_MAX);
	cr_assert_eq(db_cell(rows, 0, 1)->type, DB_REAL);
	cr_assert_eq(db_cell(rows, 0, 1)->real, -0.1);
	cr_assert_eq(db_cell(rows, 0, 2)->type, DB_TEXT);
	cr_assert(bytes_equal(db_cell_bytes(rows, 0, 2), BYTES(EMOJI)));
	cr_assert_eq(db_cell_bytes(rows, 0, 2).p[strlen(EMOJI)], 0, "a NUL stands behind a text");
	cr_assert_eq(db_cell(rows, 0, 3)->type, DB_BLOB);
	cr_assert_eq(db_cell_bytes(rows, 0, 3).n, sizeof nuls);
	cr_assert_eq(memcmp(db_cell_bytes(rows, 0, 3).p, nuls, sizeof nuls), 0);
	cr_assert(db_cell_ident(rows, 0, 4, &back));
	cr_assert(ident_equal(&id, &back));
	cr_assert_not(db_cell_ident(rows, 0, 3, &back), "five bytes are no id");
	cr_assert(ident_is_zero(&back));

	rows = round_trip(f, 2, db_int(INT64_MIN), db_real(1e300), db_text((struct bytes){ nuls, 4 }), db_blob("", 0), db_null());
	cr_assert_eq(db_cell_int(rows, 0, 0), INT64_MIN);
	cr_assert_eq(db_cell(rows, 0, 1)->real, 1e300);
	cr_assert_eq(db_cell_bytes(rows, 0, 2).n, 4, "a text may hold a NUL");
	cr_assert_eq(db_cell(rows, 0, 3)->type, DB_BLOB);
	cr_assert_eq(db_cell_bytes(rows, 0, 3).n, 0);
	cr_assert_not_null(db_cell_bytes(rows, 0, 3).p, "empty is not NULL");

	rows = round_trip(f, 3, db_null(), db_null(), db_text((struct bytes){ NULL, 0 }), db_blob(NULL, 0), db_ident(NULL));
	for (size_t col = 0; col < 5; col++)
		cr_assert_eq(db_cell(rows, 0, col)->type, DB_NULL);
	cr_assert_eq(db_cell_int(rows, 0, 0), 0);
	cr_assert_null(db_cell_bytes(rows, 0, 2).p);
}

Test(db, values_come_back_as_they_went)
{
	on_each(check_values);
}

static void check_many_rows(struct fixture *f)
{
	struct db_rows *rows;

	values_table(f);
	for (int i = 0; i < 100; i++) {
		char text[200];
		int n = i * 2;

		memset(text, 'a' + i % 26, sizeof text);
		must(f, db_run_once(&f->task, f->db, &insert_all,
				    DB_ARGS(db_int(i), i % 3 ? db_int(-i) : db_null(), db_null(),
					    db_text((struct bytes){ text, (size_t)n }), db_null(), db_null()),
				    NULL));
	}
	must(f, db_query_once(&f->task, f->db, STMT("SELECT i, s FROM t ORDER BY id"), NULL, 0, &rows));
	cr_assert_eq(rows->n_rows, 100);
	for (size_t i = 0; i < 100; i++) {
		cr_assert_eq(db_cell(rows, i, 0)->type, i % 3 ? DB_INT : DB_NULL);
		cr_assert_eq(db_cell_int(rows, i, 0), i % 3 ? -(int64_t)i : 0);
		cr_assert_eq(db_cell_bytes(rows, i, 1).n, i * 2);
		for (size_t k = 0; k < i * 2; k++)
			cr_assert_eq(db_cell_bytes(rows, i, 1).p[k], (char)('a' + i % 26));
	}
	must(f, db_query_once(&f->task, f->db, STMT("SELECT i, s FROM t WHERE id > 1000"), NULL, 0, &rows));
	cr_assert_eq(rows->n_rows, 0);
}

Test(db, rows_of_different_lengths_do_not_mix)
{
	on_each(check_many_rows);
}

static void check_types(struct fixture *f)
{
	static const struct db_stmt echo = { "SELECT ?", NULL, "a test" };
	const struct db_arg args[] = { db_int(7), db_text(BYTES("seven")), db_null(), db_real(7.5), db_blob("\1\2", 2), db_int(-7) };
	struct db_conn *c;

	values_table(f);
	fixture_run(f, "INSERT INTO t (id, i, r) VALUES (1, 40, 0.5), (2, 2, 1)");
	cr_assert_eq(fixture_int(f, "SELECT SUM(i) FROM t"), 42, "a sum of integers is one");
	cr_assert_eq(fixture_int(f, "SELECT COUNT(*) FROM t"), 2);
	cr_assert_eq(fixture_int(f, "SELECT COALESCE(MAX(i), 0) + 1 FROM t"), 41);
	cr_assert_eq(fixture_int(f, "SELECT i = 40 FROM t WHERE id = 1"), 1);
	must(f, db_take(&f->task, f->db, &c));
	for (size_t i = 0; i < sizeof args / sizeof args[0]; i++) {
		struct db_rows *rows;
		const struct db_cell *cell;

		must(f, db_query(&f->task, c, &echo, &args[i], 1, &rows));
		cell = db_cell(rows, 0, 0);
		cr_assert_eq(cell->type, args[i].type, "argument %zu came back as type %d", i, cell->type);
		cr_assert_eq(cell->i, args[i].i);
		cr_assert_eq(cell->real, args[i].real);
		cr_assert(bytes_equal(cell->b, (struct bytes){ args[i].p, args[i].n }));
	}
	db_give(&c);
}

Test(db, an_expression_has_the_type_of_its_value)
{
	on_each(check_types);
}

static void check_found_rows(struct fixture *f)
{
	int64_t changed;

	values_table(f);
	must(f, db_run_once(&f->task, f->db, STMT("INSERT INTO t (id, i) VALUES (1, 5), (2, 5), (3, 6)"), NULL, 0, &changed));
	cr_assert_eq(changed, 3);
	must(f, db_run_once(&f->task, f->db, STMT("UPDATE t SET i = 5 WHERE i = 5"), NULL, 0, &changed));
	cr_assert_eq(changed, 2, "matched rows count, also where nothing changed");
	must(f, db_run_once(&f->task, f->db, STMT("UPDATE t SET i = 9 WHERE id = 99"), NULL, 0, &changed));
	cr_assert_eq(changed, 0);
	must(f, db_run_once(&f->task, f->db, STMT("DELETE FROM t WHERE id < 3"), NULL, 0, &changed));
	cr_assert_eq(changed, 2);
	must(f, db_run_once(&f->task, f->db,
			    STMT("INSERT INTO t (id, i) SELECT 10, i FROM t WHERE id = 77"), NULL, 0, &changed));
	cr_assert_eq(changed, 0, "an INSERT ... SELECT that finds nothing is no error");
}

Test(db, matched_rows_are_counted)
{
	on_each(check_found_rows);
}

static void check_duplicate(struct fixture *f)
{
	struct db_conn *c;

	values_table(f);
	fixture_run(f, "INSERT INTO t (id, i) VALUES (1, 1)");
	cr_assert_eq(db_run_once(&f->task, f->db, STMT("INSERT INTO t (id, i) VALUES (1, 2)"), NULL, 0, NULL), ERR_DUPLICATE);
	cr_assert_null(strstr(f->task.fault.detail, "PRIMARY"), "the client learns nothing of the schema");
	must(f, db_take(&f->task, f->db, &c));
	must(f, db_begin(&f->task, c));
	must(f, db_run(&f->task, c, STMT("INSERT INTO t (id, i) VALUES (2, 2)"), NULL, 0, NULL));
	cr_assert_eq(db_run(&f->task, c, STMT("INSERT INTO t (id, i) VALUES (1, 2)"), NULL, 0, NULL), ERR_DUPLICATE);
	must(f, db_run(&f->task, c, STMT("INSERT INTO t (id, i) VALUES (3, 3)"), NULL, 0, NULL));
	must(f, db_commit(&f->task, c));
	db_give(&c);
	cr_assert_eq(fixture_int(f, "SELECT COUNT(*) FROM t"), 3, "a duplicate undoes its statement, not the transaction");
}

Test(db, a_duplicate_key_is_an_answer)
{
	on_each(check_duplicate);
}

static void check_mistakes(struct fixture *f)
{
	static const struct db_stmt good[] = { { "SELECT i FROM t", NULL, "a test" }, { "NONSENSE", "SELECT 1", "a test" } };
	static const struct db_stmt bad[] = { { "SELECT i FROM t", NULL, "a test" }, { "SELECT nothing FROM t", NULL, "a test" } };
	bool is_sqlite = f->backend != MARIADB;

	values_table(f);
	cr_assert_eq(db_run_once(&f->task, f->db, STMT("INSERT INTO"), NULL, 0, NULL), ERR_INTERNAL);
	cr_assert_str_eq(f->task.fault.detail, err_title(ERR_INTERNAL));
	cr_assert_not_null(strstr(f->task.fault.internal, is_sqlite ? "sqlite 1" : "mariadb 1064"), "%s", f->task.fault.internal);
	cr_assert_eq(db_run_once(&f->task, f->db, STMT("UPDATE t SET i = ?"), NULL, 0, NULL), ERR_INTERNAL);
	cr_assert_eq(db_run_once(&f->task, f->db, STMT("UPDATE t SET i = 1"), DB_ARGS(db_int(1)), NULL), ERR_INTERNAL);
	cr_assert_eq(db_run_once(&f->task, f->db, STMT("INSERT INTO t (id) VALUES (NULL)"), NULL, 0, NULL),
		     ERR_INTERNAL, "NOT NULL is no duplicate");
	cr_assert_eq(db_prepare_all(&f->task, f->db, bad, 2), ERR_INTERNAL);
	cr_assert_not_null(strstr(f->task.fault.internal, "SELECT nothing FROM t"), "%s", f->task.fault.internal);
	cr_assert_eq(db_prepare_all(&f->task, f->db, good, 2), is_sqlite ? ERR_OK : ERR_INTERNAL);
	cr_assert_eq(fixture_int(f, "SELECT COUNT(*) FROM t"), 0, "the connection is as good as before");
}

Test(db, a_wrong_statement_is_told_to_the_log_alone)
{
	on_each(check_mistakes);
}

static void check_dialect(struct fixture *f)
{
	values_table(f);
	fixture_run(f, "INSERT INTO t (id, s) VALUES (1, 'Ab' || 'c')");
	cr_assert_eq(fixture_int(f, "SELECT COUNT(*) FROM t WHERE s = 'Abc'"), 1);
	cr_assert_eq(fixture_int(f, "SELECT COUNT(*) FROM t WHERE s = 'abc'"), 0);
	cr_assert_eq(fixture_int(f, "SELECT COUNT(*) FROM t WHERE s LIKE 'A%'"), 1);
	cr_assert_eq(fixture_int(f, "SELECT COUNT(*) FROM t WHERE s LIKE 'a%'"), 0);
	cr_assert_eq(fixture_int(f, "SELECT 'a' = 'A'"), 0);
	fixture_run(f, "INSERT INTO t (id, s) VALUES (2, '\\n')");
	cr_assert_eq(fixture_int(f, "SELECT LENGTH(s) FROM t WHERE id = 2"), 2, "a backslash is a backslash");
	cr_assert_eq(db_run_once(&f->task, f->db, STMT("UPDATE t SET i = nothing WHERE id = 1"), NULL, 0, NULL), ERR_INTERNAL);
}

Test(db, both_dialects_mean_the_same)
{
	on_each(check_dialect);
}

static void check_large(struct fixture *f)
{
	size_t n = 15 << 20;
	char *large = arena_alloc(f->arena, n);
	struct db_rows *rows;

	values_table(f);
	for (size_t i = 0; i < n; i++)
		large[i] = (char)(i * 2654435761u >> 13);
	rows = round_trip(f, 1, db_null(), db_null(), db_null(), db_blob(large, n), db_null());
	cr_assert_eq(db_cell_bytes(rows, 0, 3).n, n);
	cr_assert_eq(memcmp(db_cell_bytes(rows, 0, 3).p, large, n), 0);
	if (f->backend != MARIADB)
		return;
	large = arena_alloc(f->arena, 17 << 20);
	cr_assert_eq(db_run_once(&f->task, f->db, &insert_all,
				 DB_ARGS(db_int(2), db_null(), db_null(), db_null(), db_blob(large, 17 << 20), db_null()), NULL),
		     ERR_TOO_LARGE);
	cr_assert_eq(fixture_int(f, "SELECT COUNT(*) FROM t"), 1);
}

Test(db, sixteen_megabytes_pass_and_more_is_refused)
{
	on_each(check_large);
}

/* What a server does whose limit is smaller than the first one's was. */
Test(db, a_packet_that_only_the_server_finds_too_big_is_an_error_and_not_an_outage)
{
	struct fixture f;
	struct db_conn *c;
	char *large;
	enum err e;

	fixture_open_mariadb(&f);
	values_table(&f);
	must(&f, db_take(&f.task, f.db, &c));
	*(size_t *)((char *)c->link + sizeof(void *)) = 0; /* max_packet of the link: unknown */
	large = arena_alloc(f.arena, 20 << 20);
	e = db_run(&f.task, c, &insert_all,
		   DB_ARGS(db_int(2), db_null(), db_null(), db_null(), db_blob(large, 20 << 20), db_null()), NULL);
	cr_assert(e == ERR_TOO_LARGE || e == ERR_UNAVAILABLE || e == ERR_COMMIT_UNKNOWN, "%s", f.task.fault.internal);
	cr_assert_neq(c->loss, DB_ALIVE);
	db_give(&c);
	cr_assert_eq(fixture_int(&f, "SELECT COUNT(*) FROM t"), 0);
	fixture_close(&f);
}

Test(db, a_session_is_set_to_what_the_statements_rely_on)
{
	struct fixture f;

	fixture_open_mariadb(&f);
	cr_assert_eq(fixture_int(&f, "SELECT @@tx_isolation = 'READ-COMMITTED'"), 1);
	cr_assert_eq(fixture_int(&f, "SELECT @@innodb_lock_wait_timeout"), 5);
	cr_assert_eq(fixture_int(&f, "SELECT @@innodb_snapshot_isolation"), 1);
	cr_assert_eq(fixture_int(&f, "SELECT @@time_zone = '+00:00'"), 1);
	cr_assert_eq(fixture_int(&f, "SELECT @@sql_mode LIKE '%STRICT_ALL_TABLES%'"), 1);
	cr_assert_eq(fixture_int(&f, "SELECT @@collation_connection = 'utf8mb4_bin'"), 1);
	cr_assert_eq(fixture_int(&f, "SELECT @@character_set_results = 'utf8mb4'"), 1);
	cr_assert_eq(fixture_int(&f, "SELECT @@autocommit"), 1);
	cr_assert_eq(fixture_int(&f, "SELECT @@max_statement_time > 7 AND @@max_statement_time < 8"), 1);
	cr_assert_eq(db_run_once(&f.task, f.db, STMT("SET @x = LOAD_FILE('/etc/hostname')"), NULL, 0, NULL), ERR_OK);
	cr_assert_eq(db_run_once(&f.task, f.db, STMT("SELECT 1; SELECT 2"), NULL, 0, NULL), ERR_INTERNAL, "one statement at a time");
	fixture_close(&f);
}

Test(db, a_number_that_does_not_fit_is_an_error)
{
	struct fixture f;

	fixture_open_mariadb(&f);
	fixture_table(&f, "u BIGINT UNSIGNED");
	fixture_run(&f, "INSERT INTO t VALUES (18446744073709551615), (1)");
	cr_assert_eq(db_run_once(&f.task, f.db, STMT("SELECT u FROM t"), NULL, 0, NULL), ERR_INTERNAL, "%s", f.task.fault.internal);
	cr_assert_eq(db_run_once(&f.task, f.db, STMT("SELECT SUM(u) FROM t"), NULL, 0, NULL), ERR_INTERNAL);
	cr_assert_eq(fixture_int(&f, "SELECT MIN(u) FROM t"), 1, "and the rest of the answer is out of the way");
	fixture_close(&f);
}

/* ---- transactions ---- */

static void check_transaction(struct fixture *f)
{
	struct db_conn *c, *other;

	values_table(f);
	must(f, db_take(&f->task, f->db, &c));
	must(f, db_begin(&f->task, c));
	must(f, db_run(&f->task, c, STMT("INSERT INTO t (id) VALUES (1)"), NULL, 0, NULL));
	db_rollback(c);
	must(f, db_begin(&f->task, c));
	must(f, db_run(&f->task, c, STMT("INSERT INTO t (id) VALUES (2)"), NULL, 0, NULL));
	must(f, db_commit(&f->task, c));
	must(f, db_begin(&f->task, c));
	must(f, db_run(&f->task, c, STMT("INSERT INTO t (id) VALUES (3)"), NULL, 0, NULL));
	db_give(&c);
	cr_assert_null(c);
	must(f, db_take(&f->task, f->db, &other));
	cr_assert_not(other->in_transaction);
	db_give(&other);
	cr_assert_eq(fixture_int(f, "SELECT SUM(id) FROM t"), 2, "only what was committed is there");
}

Test(db, a_connection_given_back_is_rolled_back)
{
	on_each(check_transaction);
}

static void check_doomed(struct fixture *f)
{
	struct db_conn *c;

	values_table(f);
	must(f, db_take(&f->task, f->db, &c));
	must(f, db_begin(&f->task, c));
	must(f, db_run(&f->task, c, STMT("INSERT INTO t (id) VALUES (1)"), NULL, 0, NULL));
	cr_assert_eq(db_run(&f->task, c, STMT("INSERT INTO nothing (id) VALUES (1)"), NULL, 0, NULL), ERR_INTERNAL);
	cr_assert_eq(db_run(&f->task, c, STMT("INSERT INTO t (id) VALUES (2)"), NULL, 0, NULL), ERR_INTERNAL);
	cr_assert_eq(db_commit(&f->task, c), ERR_INTERNAL);
	db_rollback(c);
	must(f, db_run(&f->task, c, STMT("INSERT INTO t (id) VALUES (3)"), NULL, 0, NULL));
	db_give(&c);
	cr_assert_eq(fixture_int(f, "SELECT SUM(id) FROM t"), 3);
}

Test(db, nothing_runs_in_a_transaction_that_has_failed)
{
	on_each(check_doomed);
}

/* ---- the pool ---- */

static void check_exhaustion(struct fixture *f)
{
	struct db_conn *taken[4], *one_more = NULL;
	int64_t start, waits = metric_get(METRIC_db_pool_waits_total);

	for (int i = 0; i < 4; i++)
		must(f, db_take(&f->task, f->db, &taken[i]));
	f->db->conf.timeout_ms = 100;
	start = stamp_mono_ms();
	cr_assert_eq(db_take(&f->task, f->db, &one_more), ERR_BUSY);
	cr_assert(stamp_mono_ms() - start >= 100 && stamp_mono_ms() - start < 2000);
	cr_assert_eq(f->task.fault.retry_after_s, 1);
	cr_assert_null(one_more);
	cr_assert_eq(metric_get(METRIC_db_pool_waits_total), waits + 1);
	db_give(&taken[2]);
	must(f, db_take(&f->task, f->db, &taken[2]));
	for (int i = 0; i < 4; i++)
		db_give(&taken[i]);
	cr_assert_eq(f->db->n_open, 4);
}

Test(db, an_exhausted_pool_says_busy_in_time)
{
	on_each(check_exhaustion);
}

struct worker {
	struct fixture *f;
	pthread_t thread;
	int runs;
};

static void *take_and_count(void *arg)
{
	struct worker *w = arg;
	struct arena *a = arena_open(4096);
	struct task t;

	for (int i = 0; i < w->runs; i++) {
		task_init(&t, a);
		cr_assert_eq(db_run_once(&t, w->f->db, STMT("UPDATE t SET i = i + 1 WHERE id = 1"), NULL, 0, NULL), ERR_OK, "%s",
			     t.fault.internal);
		arena_reset(a);
	}
	arena_close(&a);
	return NULL;
}

static void check_threads(struct fixture *f)
{
	struct worker w[8];
	int runs = f->backend == MARIADB ? 100 : 40;

	values_table(f);
	fixture_run(f, "INSERT INTO t (id, i) VALUES (1, 0)");
	f->db->conf.pool = 2;
	for (int i = 0; i < 8; i++) {
		w[i] = (struct worker){ .f = f, .runs = runs };
		cr_assert_eq(pthread_create(&w[i].thread, NULL, take_and_count, &w[i]), 0);
	}
	for (int i = 0; i < 8; i++)
		pthread_join(w[i].thread, NULL);
	cr_assert_eq(fixture_int(f, "SELECT i FROM t"), 8 * runs);
	cr_assert_leq(f->db->n_open, 2);
}

Test(db, eight_threads_share_two_connections)
{
	on_each(check_threads);
}

static void check_metrics(struct fixture *f)
{
	int64_t queries, errors, seconds, connects;

	values_table(f);
	connects = metric_get(METRIC_db_connects_total);
	cr_assert_gt(connects, 0);
	queries = metric_get(METRIC_db_queries_total);
	errors = metric_get(METRIC_db_errors_total);
	seconds = metric_get(METRIC_db_seconds);
	fixture_run(f, "INSERT INTO t (id) VALUES (1)");
	cr_assert_eq(db_run_once(&f->task, f->db, STMT("INSERT INTO t (id) VALUES (1)"), NULL, 0, NULL), ERR_DUPLICATE);
	cr_assert_eq(db_run_once(&f->task, f->db, STMT("NONSENSE"), NULL, 0, NULL), ERR_INTERNAL);
	cr_assert_eq(metric_get(METRIC_db_queries_total), queries + 3);
	cr_assert_eq(metric_get(METRIC_db_seconds), seconds + 3);
	cr_assert_eq(metric_get(METRIC_db_errors_total), errors + 1, "a duplicate is no error");
	cr_assert_eq(metric_get(METRIC_db_connects_total), connects, "the pool's connection was used again");
	must(f, db_ping(&f->task, f->db));
}

Test(db, statements_are_counted)
{
	on_each(check_metrics);
}

/* ---- opening ---- */

static enum err open_with(struct task *t, const char *dsn, const char *password_file)
{
	struct db_conf conf = {
		.dsn = dsn, .password_file = password_file, .pool = 1, .connect_timeout_ms = 1000, .timeout_ms = 2000,
	};
	struct db *db = NULL;
	enum err e = db_open(t, &conf, &db);

	db_close(&db);
	return e;
}

Test(db, a_missing_directory_is_named)
{
	struct arena *a = arena_open(0);
	struct task t;

	task_init(&t, a);
	cr_assert_eq(open_with(&t, "sqlite:/nowhere/at/all/x.db", NULL), ERR_CONFIG);
	cr_assert_not_null(strstr(t.fault.detail, "/nowhere/at/all/x.db"), "%s", t.fault.detail);
	cr_assert_not_null(strstr(t.fault.detail, "the directory /nowhere/at/all"), "%s", t.fault.detail);
	cr_assert_eq(open_with(&t, "sqlite:/tmp", NULL), ERR_CONFIG, "a directory is no database");
	cr_assert_eq(open_with(&t, "nonsense", NULL), ERR_CONFIG);
	arena_close(&a);
}

Test(db, a_new_file_is_private_and_synced)
{
	struct fixture f;
	struct stat st;

	fixture_open(&f, SQLITE_FILE);
	fixture_table(&f, "id INT");
	cr_assert_eq(stat(f.dsn + strlen("sqlite:"), &st), 0);
	cr_assert_eq(st.st_mode & 0777, 0600);
	cr_assert_eq(stat(arena_printf(f.arena, "%s-wal", f.dsn + strlen("sqlite:")), &st), 0, "there is a write-ahead log");
	cr_assert_eq(st.st_mode & 0777, 0600);
	cr_assert_eq(fixture_int(&f, "SELECT synchronous FROM pragma_synchronous"), 2);
	fixture_close(&f);
}

Test(db, a_file_that_is_no_database_is_refused)
{
	struct fixture f;
	FILE *file;

	fixture_init(&f, SQLITE_FILE);
	file = fopen(f.dsn + strlen("sqlite:"), "w");
	for (int i = 0; i < 1000; i++)
		fprintf(file, "this is no database, whatever its name says\n");
	fclose(file);
	cr_assert_eq(open_with(&f.task, f.dsn, NULL), ERR_CONFIG);
	cr_assert_not_null(strstr(f.task.fault.detail, "no SQLite database"), "%s", f.task.fault.detail);
	fixture_close(&f);
}

Test(db, a_damaged_file_says_corrupt)
{
	struct fixture f;
	FILE *file;
	enum err e = ERR_OK;

	fixture_open(&f, SQLITE_FILE);
	fixture_table(&f, "id INT PRIMARY KEY, s LONGTEXT");
	fixture_run(&f, "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000) "
			"INSERT INTO t SELECT i, 'some text that takes room in the file, number ' || i FROM n");
	db_close(&f.db);
	file = fopen(f.dsn + strlen("sqlite:"), "r+");
	for (long page = 2; page < 12; page++) {
		fseek(file, page * 4096, SEEK_SET);
		fwrite("\xde\xad\xbe\xef\xde\xad\xbe\xef\xde\xad\xbe\xef", 1, 12, file);
	}
	fclose(file);
	must(&f, db_open(&f.task, &f.conf, &f.db));
	e = db_run_once(&f.task, f.db, STMT("SELECT COUNT(*), MAX(s) FROM t"), NULL, 0, NULL);
	cr_assert_eq(e, ERR_CORRUPT, "%s", f.task.fault.internal);
	fixture_close(&f);
}

Test(db, a_full_or_read_only_file_is_an_outage)
{
	struct fixture f;
	struct db_conn *c;
	char *large;

	fixture_open(&f, SQLITE_FILE);
	values_table(&f);
	must(&f, db_take(&f.task, f.db, &c));
	must(&f, db_script(&f.task, c, "PRAGMA query_only = 1"));
	cr_assert_eq(db_run(&f.task, c, STMT("INSERT INTO t (id) VALUES (1)"), NULL, 0, NULL), ERR_UNAVAILABLE);
	must(&f, db_script(&f.task, c, "PRAGMA query_only = 0"));
	must(&f, db_script(&f.task, c, "PRAGMA max_page_count = 20"));
	large = arena_alloc(f.arena, 1 << 20);
	must(&f, db_begin(&f.task, c));
	cr_assert_eq(db_run(&f.task, c, &insert_all,
			    DB_ARGS(db_int(2), db_null(), db_null(), db_null(), db_blob(large, 1 << 20), db_null()), NULL),
		     ERR_UNAVAILABLE);
	cr_assert_eq(f.task.fault.retry_after_s, 2);
	cr_assert_eq(db_run(&f.task, c, STMT("INSERT INTO t (id) VALUES (3)"), NULL, 0, NULL), ERR_UNAVAILABLE,
		     "SQLite rolled back by itself: nothing may commit alone");
	db_rollback(c);
	cr_assert_eq(c->loss, DB_ALIVE);
	db_give(&c);
	cr_assert_eq(fixture_int(&f, "SELECT COUNT(*) FROM t"), 0);
	fixture_close(&f);
}

Test(db, a_file_that_vanished_is_not_made_anew)
{
	struct fixture f;
	struct db_conn *c[2] = { NULL, NULL };
	struct stat st;

	fixture_open(&f, SQLITE_FILE);
	must(&f, db_take(&f.task, f.db, &c[0]));
	cr_assert_eq(unlink(f.dsn + strlen("sqlite:")), 0);
	cr_assert_eq(db_take(&f.task, f.db, &c[1]), ERR_UNAVAILABLE);
	cr_assert_neq(stat(f.dsn + strlen("sqlite:"), &st), 0);
	db_give(&c[0]);
	fixture_close(&f);
}

Test(db, several_processes_write_one_file)
{
	struct fixture f;
	enum { WRITERS = 4, RUNS = 25 };

	fixture_open(&f, SQLITE_FILE);
	fixture_table(&f, "seq BIGINT NOT NULL PRIMARY KEY, pid BIGINT");
	db_close(&f.db);
	for (int w = 0; w < WRITERS; w++) {
		if (fork() == 0) {
			if (db_open(&f.task, &f.conf, &f.db))
				_exit(1);
			for (int i = 0; i < RUNS; i++)
				if (db_run_once(&f.task, f.db,
						STMT("INSERT INTO t (seq, pid) SELECT COALESCE(MAX(seq), 0) + 1, ? FROM t"),
						DB_ARGS(db_int(w)), NULL))
					_exit(2);
			_exit(0);
		}
	}
	for (int w = 0; w < WRITERS; w++) {
		int status;

		wait(&status);
		cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "a writer ended with %d", WEXITSTATUS(status));
	}
	must(&f, db_open(&f.task, &f.conf, &f.db));
	cr_assert_eq(fixture_int(&f, "SELECT COUNT(*) FROM t"), WRITERS * RUNS);
	cr_assert_eq(fixture_int(&f, "SELECT MAX(seq) FROM t"), WRITERS * RUNS, "the numbers have no gaps");
	fixture_close(&f);
}

Test(db, many_processes_may_start_on_a_new_file)
{
	struct fixture f;

	fixture_init(&f, SQLITE_FILE);
	for (int w = 0; w < 8; w++)
		if (fork() == 0)
			_exit(open_with(&f.task, f.dsn, NULL));
	for (int w = 0; w < 8; w++) {
		int status;

		wait(&status);
		cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "one ended with %d", WEXITSTATUS(status));
	}
	fixture_close(&f);
}

static void write_file(const char *path, const char *text, mode_t mode)
{
	FILE *file = fopen(path, "w");

	fputs(text, file);
	fclose(file);
	cr_assert_eq(chmod(path, mode), 0);
}

Test(db, a_password_is_read_from_its_file_and_shown_nowhere)
{
	struct fixture f;
	char dsn[500], with[500], path[64];
	const char *socket;

	fixture_open_mariadb(&f);
	socket = strstr(f.dsn, "?socket=");
	if (!socket)
		cr_skip_test("the test server is not on a socket");
	snprintf(path, sizeof path, "/tmp/parley-password-%d", (int)getpid());
	fixture_admin("CREATE OR REPLACE USER %s@localhost IDENTIFIED BY 'hunter 2/@:%%'", f.schema);
	fixture_admin("GRANT ALL ON %s.* TO %s@localhost", f.schema, f.schema);
	snprintf(dsn, sizeof dsn, "mariadb://%s@/%s%s", f.schema, f.schema, socket);

	snprintf(with, sizeof with, "mariadb://%s:hunter%%202%%2f@:%%25@/%s%s", f.schema, f.schema, socket);
	must(&f, open_with(&f.task, with, NULL));
	write_file(path, "hunter 2/@:%\n", 0600);
	must(&f, open_with(&f.task, dsn, path));
	write_file(path, "hunter 2/@:%", 0640);
	must(&f, open_with(&f.task, dsn, path));
	write_file(path, "hunter 2/@:%", 0644);
	cr_assert_eq(open_with(&f.task, dsn, path), ERR_CONFIG, "others may read it");
	write_file(path, "wrong-secret", 0600);
	cr_assert_eq(open_with(&f.task, dsn, path), ERR_CONFIG);
	cr_assert_null(strstr(f.task.fault.detail, "wrong-secret"));
	cr_assert_not_null(strstr(f.task.fault.detail, "refuses"), "%s", f.task.fault.detail);
	cr_assert_eq(open_with(&f.task, dsn, "/nowhere"), ERR_CONFIG);
	unlink(path);
	fixture_admin("DROP USER %s@localhost", f.schema);
	fixture_close(&f);
}

/* ---- a server of its own, set as it should not be ---- */

static void run_script(const char *arguments, const char *dir, const char *more)
{
	const char *top = getenv("srcdir");
	char command[600];

	snprintf(command, sizeof command, "sh %s/tests/support/mariadb.sh %s %s %s", top ? top : ".", arguments, dir, more);
	cr_assert_eq(system(command), 0, "%s", command);
}

static void set_globally(const char *socket, const char *sql)
{
	MYSQL *my = mysql_init(NULL);

	cr_assert(mysql_real_connect(my, NULL, "root", "", NULL, 0, socket, 0), "%s", mysql_error(my));
	cr_assert_eq(mysql_query(my, sql), 0, "%s", mysql_error(my));
	mysql_close(my);
}

static bool file_has(const char *path, const char *text)
{
	char all[8192] = "";
	FILE *file = fopen(path, "r");

	if (file) {
		cr_assert_leq(fread(all, 1, sizeof all - 1, file), sizeof all);
		fclose(file);
	}
	return strstr(all, text);
}

Test(db, a_lax_server_is_refused_and_an_undurable_one_is_warned_of)
{
	char dir[] = "/tmp/parley-maria-XXXXXX", dsn[200], socket[100], log[100];
	struct arena *a = arena_open(0);
	struct task t;

	if (!fixture_mariadb())
		cr_skip_test("PARLEY_TEST_MARIADB is not set");
	task_init(&t, a);
	cr_assert(mkdtemp(dir));
	run_script("start", dir, "--sql-mode= --innodb-flush-log-at-trx-commit=2 >/dev/null");
	snprintf(socket, sizeof socket, "%s/sock", dir);
	snprintf(log, sizeof log, "%s/log", dir);
	snprintf(dsn, sizeof dsn, "mariadb://root@/parley?socket=%s", socket);
	cr_assert_eq(log_open(&t, log, LOG_WARN_LEVEL), ERR_OK);

	cr_assert_eq(open_with(&t, dsn, NULL), ERR_CONFIG);
	cr_assert_not_null(strstr(t.fault.detail, "sql_mode"), "%s", t.fault.detail);
	set_globally(socket, "SET GLOBAL sql_mode = 'STRICT_TRANS_TABLES'");
	cr_assert_eq(open_with(&t, dsn, NULL), ERR_OK, "%s", t.fault.internal);
	cr_assert(file_has(log, "innodb_flush_log_at_trx_commit"));
	cr_assert_not(file_has(log, "sync_binlog"), "there is no binlog");
	unlink(log);
	set_globally(socket, "SET GLOBAL innodb_flush_log_at_trx_commit = 1");
	cr_assert_eq(log_open(&t, log, LOG_WARN_LEVEL), ERR_OK);
	cr_assert_eq(open_with(&t, dsn, NULL), ERR_OK);
	cr_assert_not(file_has(log, "database_not_durable"));
	run_script("stop", dir, arena_printf(a, "&& rm -rf %s", dir));
	arena_close(&a);
}

/* ---- TLS ---- */

static void make_certificates(const char *dir)
{
	static const char *const commands[] = {
		"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=ca -keyout ca.key -out ca.pem",
		"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=other -keyout o.key -out other.pem",
		"openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=localhost -keyout s.key -out s.csr",
		"openssl x509 -req -in s.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -out s.pem",
	};

	for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
		char command[400];

		snprintf(command, sizeof command, "cd %s && %s 2>/dev/null", dir, commands[i]);
		cr_assert_eq(system(command), 0, "%s", command);
	}
}

static enum err open_tls(struct task *t, const char *dsn, const char *dir, const char *ca, bool *is_reused_r)
{
	struct db_conf conf = { .dsn = dsn, .tls_ca = arena_printf(t->arena, "%s/%s", dir, ca), .pool = 2, .connect_timeout_ms = 2000,
				.timeout_ms = 4000 };
	struct db *db = NULL;
	struct db_rows *rows;
	int64_t connects = metric_get(METRIC_db_connects_total);
	enum err e = db_open(t, &conf, &db);

	for (int i = 0; !e && i < 3; i++)
		e = db_query_once(t, db, STMT("SELECT VARIABLE_VALUE <> '' FROM information_schema.SESSION_STATUS "
					      "WHERE VARIABLE_NAME = 'Ssl_cipher'"), NULL, 0, &rows);
	if (!e)
		cr_assert_eq(db_cell_int(rows, 0, 0), 1);
	*is_reused_r = metric_get(METRIC_db_connects_total) == connects + 1;
	db_close(&db);
	return e;
}

Test(db, with_a_ca_only_a_server_that_it_vouches_for_is_spoken_to)
{
	char dir[] = "/tmp/parley-maria-XXXXXX", port[16];
	struct arena *a = arena_open(0);
	const char *dsn, *by_address, *by_socket;
	bool is_reused;
	struct task t;

	if (!fixture_mariadb() || system("command -v openssl >/dev/null") != 0)
		cr_skip_test("PARLEY_TEST_MARIADB is not set, or there is no openssl");
	task_init(&t, a);
	cr_assert(mkdtemp(dir));
	make_certificates(dir);
	snprintf(port, sizeof port, "%d", 20000 + (int)getpid() % 20000);
	run_script("start", dir,
		   arena_printf(a, "--skip-networking=0 --bind-address=127.0.0.1 --port=%s --ssl-cert=%s/s.pem --ssl-key=%s/s.key "
				   "--ssl-ca=%s/ca.pem >/dev/null", port, dir, dir, dir));
	set_globally(arena_printf(a, "%s/sock", dir), "GRANT ALL ON *.* TO p@'%' IDENTIFIED BY 'x'");
	dsn = arena_printf(a, "mariadb://p:x@localhost:%s/parley", port);
	by_address = arena_printf(a, "mariadb://p:x@127.0.0.1:%s/parley", port);
	by_socket = fixture_mariadb();

	cr_assert_eq(open_tls(&t, dsn, dir, "ca.pem", &is_reused), ERR_OK, "%s", t.fault.internal);
	cr_assert(is_reused, "an idle connection with TLS looks open");
	cr_assert_neq(open_tls(&t, dsn, dir, "other.pem", &is_reused), ERR_OK, "signed by somebody else");
	cr_assert_neq(open_tls(&t, by_address, dir, "ca.pem", &is_reused), ERR_OK, "made out to another name");
	cr_assert_neq(open_tls(&t, by_socket, dir, "ca.pem", &is_reused), ERR_OK, "a server without TLS");
	cr_assert_neq(open_tls(&t, dsn, dir, "absent.pem", &is_reused), ERR_OK);
	run_script("stop", dir, arena_printf(a, "&& rm -rf %s", dir));
	arena_close(&a);
}
