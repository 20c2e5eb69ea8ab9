/* SPDX-License-Identifier: MIT */
/* test_db: values, answers, errors and the pool, on every back end. */
#include "fixture.h"

#include <pthread.h>

#include "base/metrics.h"
#include "db/db_mariadb_private.h"

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
	((struct maria_link *)c->link)->max_packet = 0;
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
