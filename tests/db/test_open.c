/* SPDX-License-Identifier: MIT */
/* test_open: files, servers, passwords and certificates: what is opened, what is refused and what is said about it. */
#include "fixture.h"

#include <mysql.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/log.h"
#include "base/metrics.h"

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

Test(open, a_missing_directory_is_named)
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

Test(open, a_new_file_is_private_and_synced)
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

Test(open, a_file_that_is_no_database_is_refused)
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

Test(open, a_damaged_file_says_corrupt)
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

Test(open, a_full_or_read_only_file_is_an_outage)
{
	struct fixture f;
	struct db_conn *c;
	char *large;

	fixture_open(&f, SQLITE_FILE);
	fixture_table(&f, "id INT NOT NULL PRIMARY KEY, b LONGBLOB");
	must(&f, db_take(&f.task, f.db, &c));
	must(&f, db_script(&f.task, c, "PRAGMA query_only = 1"));
	cr_assert_eq(db_run(&f.task, c, STMT("INSERT INTO t (id) VALUES (1)"), NULL, 0, NULL), ERR_UNAVAILABLE);
	must(&f, db_script(&f.task, c, "PRAGMA query_only = 0"));
	must(&f, db_script(&f.task, c, "PRAGMA max_page_count = 20"));
	large = arena_alloc(f.arena, 1 << 20);
	must(&f, db_begin(&f.task, c));
	cr_assert_eq(db_run(&f.task, c, STMT("INSERT INTO t (id, b) VALUES (2, ?)"), DB_ARGS(db_blob(large, 1 << 20)), NULL),
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

Test(open, a_file_that_vanished_is_not_made_anew)
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

Test(open, several_processes_write_one_file)
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

Test(open, many_processes_may_start_on_a_new_file)
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

Test(open, a_password_is_read_from_its_file_and_shown_nowhere)
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

Test(open, a_lax_server_is_refused_and_an_undurable_one_is_warned_of)
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

Test(open, with_a_ca_only_a_server_that_it_vouches_for_is_spoken_to)
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
