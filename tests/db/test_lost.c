/* SPDX-License-Identifier: MIT */
/* test_lost: lost connections are told apart by what may have happened, mended unseen where that is safe, and an outage is quick. */
#include "fixture.h"
#include "proxy.h"

static int64_t connection_id(struct fixture *f, struct db_conn *c)
{
	struct db_rows *rows;

	must(f, db_query(&f->task, c, STMT("SELECT CONNECTION_ID()"), NULL, 0, &rows));
	return db_cell_int(rows, 0, 0);
}

Test(lost, a_killed_idle_connection_is_replaced_unseen)
{
	struct fixture f;
	struct db_conn *c;
	int64_t id;

	fixture_open_mariadb(&f);
	fixture_table(&f, "id INT PRIMARY KEY");
	for (int i = 0; i < 2; i++) {
		must(&f, db_take(&f.task, f.db, &c));
		id = connection_id(&f, c);
		db_give(&c);
		fixture_admin("KILL %lld", (long long)id);
		usleep(100000);
		if (i == 0)
			cr_assert_eq(fixture_int(&f, "SELECT COUNT(*) FROM t"), 0);
		else
			fixture_run(&f, "INSERT INTO t (id) VALUES (1)");
	}
	cr_assert_eq(f.db->n_open, 1);
	fixture_close(&f);
}

struct victim {
	struct fixture *f;
	struct db_conn *c;
	const char *sql;
	pthread_t thread;
	enum err err;
};

static void *run_slowly(void *arg)
{
	struct victim *v = arg;
	struct arena *a = arena_open(0);
	struct task t;

	task_init(&t, a);
	v->err = db_run(&t, v->c, STMT(v->sql), NULL, 0, NULL);
	arena_close(&a);
	return NULL;
}

/* Runs a text on a connection that is killed meanwhile. */
static enum err run_and_kill(struct fixture *f, const char *sql)
{
	struct victim v = { .f = f, .sql = sql };
	int64_t id;

	must(f, db_take(&f->task, f->db, &v.c));
	id = connection_id(f, v.c);
	cr_assert_eq(pthread_create(&v.thread, NULL, run_slowly, &v), 0);
	usleep(200000);
	fixture_admin("KILL %lld", (long long)id);
	pthread_join(v.thread, NULL);
	cr_assert_neq(v.c->loss, DB_ALIVE);
	db_give(&v.c);
	return v.err;
}

Test(lost, a_connection_killed_in_a_write_leaves_it_unknown)
{
	struct fixture f;

	fixture_open_mariadb(&f);
	fixture_table(&f, "id INT PRIMARY KEY");
	cr_assert_eq(run_and_kill(&f, "INSERT INTO t (id) SELECT 1 + SLEEP(5)"), ERR_COMMIT_UNKNOWN);
	cr_assert_eq(run_and_kill(&f, "SELECT SLEEP(5)"), ERR_UNAVAILABLE);
	cr_assert_eq(fixture_int(&f, "SELECT COUNT(*) FROM t"), 0);
	fixture_close(&f);
}

/* The socket of the test server. */
static const char *socket_of(struct fixture *f)
{
	const char *option = strstr(f->dsn, "?socket=");

	if (!option)
		cr_skip_test("the test server is not on a socket");
	return option + strlen("?socket=");
}

/* A fixture whose connections pass the proxy. */
static void open_behind(struct fixture *f, struct proxy *p)
{
	char path[64];

	if (!fixture_mariadb())
		cr_skip_test("PARLEY_TEST_MARIADB is not set");
	fixture_init(f, MARIADB);
	snprintf(path, sizeof path, "/tmp/parley-proxy-%d", (int)getpid());
	proxy_start(p, socket_of(f), path);
	fixture_dsn(f->dsn, sizeof f->dsn, f->schema, p->path);
	f->conf.connect_timeout_ms = 1000;
	f->conf.timeout_ms = 2000;
	must(f, db_open(&f->task, &f->conf, &f->db));
	fixture_table(f, "id INT PRIMARY KEY");
}

static void close_behind(struct fixture *f, struct proxy *p)
{
	db_close(&f->db);
	proxy_stop(p);
	fixture_close(f);
}

Test(lost, a_statement_costs_one_round_trip)
{
	struct fixture f;
	struct proxy p;
	static const struct db_stmt append = { "INSERT INTO t (id) SELECT COALESCE(MAX(id), 0) + 1 FROM t", NULL, "a test" };
	static const struct db_stmt list = { "SELECT id FROM t WHERE id > ?", NULL, "a test" };
	struct db_rows *rows;
	int before;

	open_behind(&f, &p);
	must(&f, db_run_once(&f.task, f.db, &append, NULL, 0, NULL));
	must(&f, db_query_once(&f.task, f.db, &list, DB_ARGS(db_int(0)), &rows));
	before = p.n_requests;
	for (int i = 0; i < 10; i++)
		must(&f, db_run_once(&f.task, f.db, &append, NULL, 0, NULL));
	cr_assert_eq(p.n_requests - before, 10);
	before = p.n_requests;
	for (int i = 0; i < 10; i++)
		must(&f, db_query_once(&f.task, f.db, &list, DB_ARGS(db_int(i)), &rows));
	cr_assert_eq(p.n_requests - before, 10);
	cr_assert_eq(rows->n_rows, 2);
	close_behind(&f, &p);
}

Test(lost, a_lost_answer_to_a_read_is_asked_for_again)
{
	struct fixture f;
	struct proxy p;
	int connects;

	open_behind(&f, &p);
	connects = p.n_connects;
	p.mode = PROXY_CUT_ANSWER;
	cr_assert_eq(fixture_int(&f, "SELECT COUNT(*) FROM t"), 0);
	p.mode = PROXY_CUT_REQUEST;
	cr_assert_eq(fixture_int(&f, "SELECT COUNT(*) FROM t WHERE id > 1"), 0);
	cr_assert_eq(p.n_connects - connects, 2);
	close_behind(&f, &p);
}

Test(lost, a_lost_answer_to_a_write_is_unknown_and_may_have_happened)
{
	struct fixture f;
	struct proxy p;
	static const struct db_stmt add = { "INSERT INTO t (id) VALUES (?)", NULL, "a test" };

	open_behind(&f, &p);
	must(&f, db_run_once(&f.task, f.db, &add, DB_ARGS(db_int(1)), NULL));
	p.mode = PROXY_CUT_ANSWER;
	cr_assert_eq(db_run_once(&f.task, f.db, &add, DB_ARGS(db_int(2)), NULL), ERR_COMMIT_UNKNOWN);
	cr_assert_eq(f.task.fault.retry_after_s, 2);
	cr_assert_str_eq(f.task.fault.detail, err_title(ERR_COMMIT_UNKNOWN));
	must(&f, db_run_once(&f.task, f.db, &add, DB_ARGS(db_int(3)), NULL));
	p.mode = PROXY_CUT_REQUEST;
	cr_assert_eq(db_run_once(&f.task, f.db, &add, DB_ARGS(db_int(4)), NULL), ERR_COMMIT_UNKNOWN);
	cr_assert_eq(fixture_int(&f, "SELECT SUM(id) FROM t"), 6, "2 was stored, 4 was not: nobody here could know");
	close_behind(&f, &p);
}

struct lossy {
	struct proxy *p;
	int runs;
	enum proxy_mode in_second, at_commit;
};

static enum err lose(struct task *t, struct db_conn *c, void *arg)
{
	struct lossy *l = arg;
	enum err e = db_run(t, c, STMT("INSERT INTO t (id) VALUES (1)"), NULL, 0, NULL);

	if (!e && l->runs++ == 0 && l->in_second)
		l->p->mode = l->in_second;
	if (!e)
		e = db_run(t, c, STMT("INSERT INTO t (id) VALUES (2)"), NULL, 0, NULL);
	if (!e && l->runs == 1 && l->at_commit)
		l->p->mode = l->at_commit;
	return e;
}

Test(lost, a_connection_lost_before_the_commit_costs_nothing)
{
	struct fixture f;
	struct proxy p;
	struct lossy l = { .p = &p, .in_second = PROXY_CUT_ANSWER };

	open_behind(&f, &p);
	must(&f, db_transact(&f.task, f.db, lose, &l));
	cr_assert_eq(l.runs, 2);
	cr_assert_eq(fixture_int(&f, "SELECT COUNT(*) FROM t"), 2);
	close_behind(&f, &p);
}

Test(lost, a_connection_lost_in_the_commit_is_not_run_again)
{
	struct fixture f;
	struct proxy p;
	struct lossy l = { .p = &p, .at_commit = PROXY_CUT_ANSWER };

	open_behind(&f, &p);
	cr_assert_eq(db_transact(&f.task, f.db, lose, &l), ERR_COMMIT_UNKNOWN);
	cr_assert_eq(l.runs, 1);
	cr_assert_eq(fixture_int(&f, "SELECT COUNT(*) FROM t"), 2, "this time it was committed");
	fixture_run(&f, "DELETE FROM t");
	l = (struct lossy){ .p = &p, .at_commit = PROXY_CUT_REQUEST };
	cr_assert_eq(db_transact(&f.task, f.db, lose, &l), ERR_COMMIT_UNKNOWN);
	cr_assert_eq(fixture_int(&f, "SELECT COUNT(*) FROM t"), 0, "and this time not");
	close_behind(&f, &p);
}

Test(lost, a_lost_connection_answers_nothing_more)
{
	struct fixture f;
	struct proxy p;
	struct db_conn *c;
	struct db_rows *rows;

	open_behind(&f, &p);
	must(&f, db_take(&f.task, f.db, &c));
	p.mode = PROXY_CUT_ANSWER;
	cr_assert_eq(db_query(&f.task, c, STMT("SELECT 1"), NULL, 0, &rows), ERR_UNAVAILABLE);
	cr_assert_eq(db_run(&f.task, c, STMT("INSERT INTO t (id) VALUES (1)"), NULL, 0, NULL), ERR_UNAVAILABLE,
		     "surely not run, so not unknown");
	cr_assert_eq(db_begin(&f.task, c), ERR_UNAVAILABLE);
	db_give(&c);
	cr_assert_eq(f.db->n_open, 0);
	close_behind(&f, &p);
}

Test(lost, a_connection_that_idled_long_is_asked_first)
{
	struct fixture f;
	struct proxy p;
	int connects, requests;

	open_behind(&f, &p);
	fixture_run(&f, "INSERT INTO t (id) VALUES (1)");
	connects = p.n_connects;
	requests = p.n_requests;
	f.db->idle->idle_since_ms -= 10000;
	fixture_run(&f, "DELETE FROM t");
	cr_assert_eq(p.n_requests - requests, 3, "a ping, and the new statement with its preparation");
	f.db->idle->idle_since_ms -= 10000;
	p.mode = PROXY_CUT_ANSWER;
	fixture_run(&f, "INSERT INTO t (id) VALUES (1)");
	cr_assert_eq(p.n_connects - connects, 1, "the ping found it dead, the write came to no harm");
	close_behind(&f, &p);
}

/* What became of the rows that one thread tried to add. */
struct adder {
	struct fixture *f;
	pthread_t thread;
	int first, n;
	enum err results[200];
};

static void *add_rows(void *arg)
{
	static const struct db_stmt add = { "INSERT INTO t (id) VALUES (?)", NULL, "a test" };
	struct adder *x = arg;
	struct arena *a = arena_open(0);
	struct task t;

	for (int i = 0; i < x->n; i++) {
		task_init(&t, a);
		x->results[i] = db_run_once(&t, x->f->db, &add, DB_ARGS(db_int(x->first + i)), NULL);
		usleep(1000);
		arena_reset(a);
	}
	arena_close(&a);
	return NULL;
}

Test(lost, no_answer_is_wrong_while_connections_are_lost)
{
	enum { ADDERS = 4 };
	struct fixture f;
	struct proxy p;
	struct adder x[ADDERS];
	int n_ok = 0, n_unknown = 0;

	open_behind(&f, &p);
	for (int i = 0; i < ADDERS; i++) {
		x[i] = (struct adder){ .f = &f, .first = i * 1000, .n = 150 };
		cr_assert_eq(pthread_create(&x[i].thread, NULL, add_rows, &x[i]), 0);
	}
	for (int i = 0; i < 30; i++) {
		usleep(20000);
		p.mode = i % 2 ? PROXY_CUT_ANSWER : PROXY_CUT_REQUEST;
	}
	for (int i = 0; i < ADDERS; i++)
		pthread_join(x[i].thread, NULL);
	p.mode = PROXY_FORWARD;
	usleep(300000);
	for (int i = 0; i < ADDERS; i++)
		for (int k = 0; k < x[i].n; k++) {
			int64_t there = fixture_int(&f, arena_printf(f.arena, "SELECT COUNT(*) FROM t WHERE id = %d", x[i].first + k));

			if (x[i].results[k] == ERR_COMMIT_UNKNOWN)
				n_unknown++;
			else
				cr_assert_eq(there, x[i].results[k] == ERR_OK, "row %d: %s, and it is%s there", x[i].first + k,
					     err_code(x[i].results[k]), there ? "" : " not");
			n_ok += x[i].results[k] == ERR_OK;
		}
	cr_assert_gt(n_ok, 50);
	cr_assert_gt(n_unknown, 0);
	close_behind(&f, &p);
}

Test(lost, a_dead_server_is_noticed_in_microseconds)
{
	struct fixture f;
	struct proxy p;
	struct task t;
	char server[108], path[80];
	int64_t start;
	enum { TRIES = 1000 };

	open_behind(&f, &p);
	memcpy(server, p.server, sizeof server);
	memcpy(path, p.path, sizeof path);
	proxy_stop(&p);
	start = stamp_mono_ms();
	cr_assert_eq(db_run_once(&f.task, f.db, STMT("INSERT INTO t (id) VALUES (1)"), NULL, 0, NULL), ERR_UNAVAILABLE, "%s",
		     f.task.fault.internal);
	cr_assert_lt(stamp_mono_ms() - start, 1000);
	cr_assert_eq(f.task.fault.retry_after_s, 2);
	cr_assert_null(strstr(f.task.fault.detail, "proxy"), "the client learns no path");
	start = stamp_mono_us();
	for (int i = 0; i < TRIES; i++) {
		task_init(&t, f.arena);
		cr_assert_eq(db_ping(&t, f.db), ERR_UNAVAILABLE);
		cr_assert_eq(t.fault.retry_after_s, 2);
	}
	cr_assert_lt((stamp_mono_us() - start) / TRIES, 300);
	cr_assert_eq(f.db->n_open, 0);

	usleep(300000);
	proxy_start(&p, server, path);
	cr_assert_eq(fixture_int(&f, "SELECT COUNT(*) FROM t"), 0, "it is found again by itself");
	close_behind(&f, &p);
}

Test(lost, a_server_that_hangs_costs_one_timeout_and_no_retry)
{
	struct fixture f;
	struct proxy p;
	int64_t start;

	open_behind(&f, &p);
	p.mode = PROXY_HANG;
	start = stamp_mono_ms();
	cr_assert_eq(db_query_once(&f.task, f.db, STMT("SELECT 1"), NULL, 0, &(struct db_rows *){ NULL }), ERR_UNAVAILABLE);
	cr_assert(stamp_mono_ms() - start >= 1900 && stamp_mono_ms() - start < 3500, "%d ms", (int)(stamp_mono_ms() - start));
	start = stamp_mono_ms();
	cr_assert_eq(db_ping(&f.task, f.db), ERR_UNAVAILABLE);
	cr_assert_lt(stamp_mono_ms() - start, 3000, "connecting has its own timeout");
	start = stamp_mono_ms();
	cr_assert_eq(db_ping(&f.task, f.db), ERR_UNAVAILABLE);
	cr_assert_lt(stamp_mono_ms() - start, 900, "and is not tried again at once");
	p.mode = PROXY_FORWARD;
	usleep(300000);
	cr_assert_eq(fixture_int(&f, "SELECT COUNT(*) FROM t"), 0);
	close_behind(&f, &p);
}

Test(lost, a_slow_statement_is_stopped_by_the_server_and_its_outcome_known)
{
	struct fixture f;
	struct proxy p;

	open_behind(&f, &p);
	cr_assert_eq(db_run_once(&f.task, f.db, STMT("INSERT INTO t (id) SELECT 1 + SLEEP(9)"), NULL, 0, NULL), ERR_UNAVAILABLE);
	cr_assert_eq(fixture_int(&f, "SELECT COUNT(*) FROM t"), 0);
	cr_assert_eq(p.n_connects, 1, "the connection stays");
	close_behind(&f, &p);
}

Test(lost, hosts_are_tried_in_their_order)
{
	struct fixture f;
	struct proxy one, two;

	if (!fixture_mariadb())
		cr_skip_test("PARLEY_TEST_MARIADB is not set");
	fixture_init(&f, MARIADB);
	proxy_start_tcp(&one, socket_of(&f));
	proxy_start_tcp(&two, socket_of(&f));
	snprintf(f.dsn, sizeof f.dsn, "mariadb://root@127.0.0.1:%d,127.0.0.1:%d/%s", one.port, two.port, f.schema);
	must(&f, db_open(&f.task, &f.conf, &f.db));
	fixture_table(&f, "id INT PRIMARY KEY");
	cr_assert_eq(one.n_connects, 1);
	cr_assert_eq(two.n_connects, 0);
	proxy_stop(&one);
	usleep(50000);
	fixture_run(&f, "INSERT INTO t (id) VALUES (1)");
	cr_assert_eq(two.n_connects, 1, "the first is gone, the second takes over");
	proxy_stop(&two);
	usleep(50000);
	cr_assert_eq(db_ping(&f.task, f.db), ERR_UNAVAILABLE);
	cr_assert_lt(strstr(f.task.fault.internal, arena_printf(f.arena, ":%d:", one.port)),
		     strstr(f.task.fault.internal, arena_printf(f.arena, ":%d:", two.port)), "%s", f.task.fault.internal);
	fixture_close(&f);
}

#define GALERA "/usr/lib/galera/libgalera_smm.so"

Test(lost, a_galera_node_that_is_not_ready_is_passed_over)
{
	char dir[] = "/tmp/parley-galera-XXXXXX", command[600];
	const char *top = getenv("srcdir");
	struct fixture f = { .arena = arena_open(0), .conf = { .pool = 2, .connect_timeout_ms = 3000, .timeout_ms = 3000 } };
	struct db_conn *c;

	if (!fixture_mariadb() || access(GALERA, R_OK) != 0)
		cr_skip_test("PARLEY_TEST_MARIADB is not set, or there is no Galera");
	task_init(&f.task, f.arena);
	cr_assert(mkdtemp(dir));
	snprintf(command, sizeof command,
		 "sh %s/tests/support/mariadb.sh start %s --wsrep-on=ON --wsrep-provider=" GALERA " --wsrep-new-cluster "
		 "--wsrep-cluster-address=gcomm:// --binlog-format=ROW --wsrep-provider-options='gmcast.listen_addr=tcp://127.0.0.1:%d;"
		 "gcache.size=1M' >/dev/null",
		 top ? top : ".", dir, 20000 + (int)getpid() % 20000);
	cr_assert_eq(system(command), 0);
	snprintf(f.dsn, sizeof f.dsn, "mariadb://root@/parley?socket=%s/sock", dir);
	f.conf.dsn = f.dsn;
	must(&f, db_open(&f.task, &f.conf, &f.db));
	cr_assert_eq(fixture_int(&f, "SELECT @@wsrep_sync_wait"), 1);
	fixture_table(&f, "id INT PRIMARY KEY");
	must(&f, db_take(&f.task, f.db, &c));
	/* It looks for a cluster that is not there, and belongs to none meanwhile. */
	snprintf(command, sizeof command,
		 "mariadb --no-defaults -uroot -S %s/sock -e \"SET GLOBAL wsrep_cluster_address = 'gcomm://127.0.0.1:1'\" >/dev/null 2>&1 &",
		 dir);
	cr_assert_eq(system(command), 0);
	for (int i = 0; i < 100 && db_run(&f.task, c, STMT("SELECT id FROM t"), NULL, 0, NULL) == ERR_OK; i++)
		usleep(50000);
	cr_assert_eq(f.task.fault.code, ERR_UNAVAILABLE);
	cr_assert_neq(c->loss, DB_ALIVE, "refused (1047) or hung up on, it is of no use: %s", f.task.fault.internal);
	db_give(&c);
	cr_assert_eq(db_take(&f.task, f.db, &c), ERR_UNAVAILABLE);
	cr_assert_not_null(strstr(f.task.fault.internal, "not ready"), "%s", f.task.fault.internal);
	db_close(&f.db);
	/* It would look for the cluster long before it ends by itself. */
	snprintf(command, sizeof command, "kill -KILL $(cat %s/pid) && rm -rf %s", dir, dir);
	cr_assert_eq(system(command), 0);
	arena_close(&f.arena);
}
