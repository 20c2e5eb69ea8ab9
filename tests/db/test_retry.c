/* SPDX-License-Identifier: MIT */
/* test_retry: collisions are run again whole, so often and so long. */
#include "fixture.h"

#include <pthread.h>

#include "base/metrics.h"

struct crossing {
	struct fixture *f;
	pthread_barrier_t *gate;
	pthread_t thread;
	int first, second; /* rows, in the order they are changed */
	int runs;
	enum err err;
};

static enum err change_both(struct task *t, struct db_conn *c, void *arg)
{
	static const struct db_stmt add = { "UPDATE t SET i = i + 1 WHERE id = ?", NULL, "a test" };
	struct crossing *x = arg;
	enum err e = db_run(t, c, &add, DB_ARGS(db_int(x->first)), NULL);

	if (++x->runs == 1)
		pthread_barrier_wait(x->gate); /* both hold their first row */
	return e ? e : db_run(t, c, &add, DB_ARGS(db_int(x->second)), NULL);
}

static void *cross(void *arg)
{
	struct crossing *x = arg;
	struct arena *a = arena_open(0);
	struct task t;

	task_init(&t, a);
	x->err = db_transact(&t, x->f->db, change_both, x);
	arena_close(&a);
	return NULL;
}

Test(retry, a_deadlock_is_run_again_whole)
{
	struct fixture f;
	pthread_barrier_t gate;
	struct crossing x[2];
	int64_t retries = metric_get(METRIC_db_retries_total);

	fixture_open_mariadb(&f);
	fixture_table(&f, "id INT PRIMARY KEY, i INT");
	fixture_run(&f, "INSERT INTO t VALUES (1, 0), (2, 0)");
	pthread_barrier_init(&gate, NULL, 2);
	for (int i = 0; i < 2; i++) {
		x[i] = (struct crossing){ .f = &f, .gate = &gate, .first = 1 + i, .second = 2 - i };
		cr_assert_eq(pthread_create(&x[i].thread, NULL, cross, &x[i]), 0);
	}
	for (int i = 0; i < 2; i++) {
		pthread_join(x[i].thread, NULL);
		cr_assert_eq(x[i].err, ERR_OK);
	}
	cr_assert_gt(x[0].runs + x[1].runs, 2, "one of them was the victim");
	cr_assert_eq(metric_get(METRIC_db_retries_total) - retries, x[0].runs + x[1].runs - 2);
	cr_assert_eq(fixture_int(&f, "SELECT i FROM t WHERE id = 1"), 2);
	cr_assert_eq(fixture_int(&f, "SELECT i FROM t WHERE id = 2"), 2);
	fixture_close(&f);
}

struct stubborn {
	int runs, give_way_after;
	enum err err;
};

static enum err ask_again(struct task *t, struct db_conn *c, void *arg)
{
	struct stubborn *s = arg;
	enum err e = db_run(t, c, STMT("INSERT INTO t (id) VALUES (1)"), NULL, 0, NULL);

	if (!e && s->runs++ < s->give_way_after)
		return task_fail_internal(t, s->err, "not yet");
	return e;
}

static void check_runs(struct fixture *f)
{
	struct stubborn s = { .give_way_after = 3, .err = ERR_RETRY };

	fixture_table(f, "id INT PRIMARY KEY");
	must(f, db_transact(&f->task, f->db, ask_again, &s));
	cr_assert_eq(s.runs, 4);
	cr_assert_eq(f->task.fault.code, ERR_OK, "what was recovered from is forgotten");
	cr_assert_eq(fixture_int(f, "SELECT COUNT(*) FROM t"), 1);
	fixture_run(f, "DELETE FROM t");

	f->db->conf.retries = 2;
	s = (struct stubborn){ .give_way_after = 100, .err = ERR_RETRY };
	cr_assert_eq(db_transact(&f->task, f->db, ask_again, &s), ERR_BUSY);
	cr_assert_eq(s.runs, 3);
	cr_assert_eq(f->task.fault.retry_after_s, 1);
	cr_assert_eq(fixture_int(f, "SELECT COUNT(*) FROM t"), 0);

	s = (struct stubborn){ .give_way_after = 100, .err = ERR_CONFLICT };
	cr_assert_eq(db_transact(&f->task, f->db, ask_again, &s), ERR_CONFLICT);
	cr_assert_eq(s.runs, 1, "only a collision is run again");
	cr_assert_eq(fixture_int(f, "SELECT COUNT(*) FROM t"), 0, "and the rest is undone");
}

Test(retry, a_transaction_is_run_again_as_often_as_the_settings_say)
{
	on_each(check_runs);
}

static enum err ignore_failure(struct task *t, struct db_conn *c, void *arg)
{
	int *runs = arg;
	enum err e = db_run(t, c, STMT("INSERT INTO t (id) VALUES (1)"), NULL, 0, NULL);

	++*runs;
	if (!e)
		e = db_run(t, c, STMT("SYNTAX ERROR"), NULL, 0, NULL);
	task_clear_fault(t);
	(void)e;
	return ERR_OK;
}

static void check_ignored(struct fixture *f)
{
	int runs = 0;

	fixture_table(f, "id INT PRIMARY KEY");
	cr_assert_eq(db_transact(&f->task, f->db, ignore_failure, &runs), ERR_INTERNAL);
	cr_assert_eq(runs, 1);
	cr_assert_eq(fixture_int(f, "SELECT COUNT(*) FROM t"), 0);
}

Test(retry, a_failure_that_was_ignored_still_undoes_the_transaction)
{
	on_each(check_ignored);
}

static void check_locked_out(struct fixture *f)
{
	struct db_conn *holder;
	int64_t start;
	enum err e;

	fixture_table(f, "id INT PRIMARY KEY, i INT");
	fixture_run(f, "INSERT INTO t VALUES (1, 0)");
	db_close(&f->db);
	f->conf.timeout_ms = 1000;
	f->conf.retries = 1;
	if (f->backend == SQLITE_MEMORY)
		return; /* it went with its last connection */
	must(f, db_open(&f->task, &f->conf, &f->db));
	must(f, db_take(&f->task, f->db, &holder));
	must(f, db_begin(&f->task, holder));
	must(f, db_run(&f->task, holder, STMT("UPDATE t SET i = 7"), NULL, 0, NULL));
	start = stamp_mono_ms();
	e = db_run_once(&f->task, f->db, STMT("UPDATE t SET i = 8 WHERE id = 1"), NULL, 0, NULL);
	cr_assert(e == ERR_BUSY || e == ERR_UNAVAILABLE, "%s: %s", f->dsn, f->task.fault.internal);
	cr_assert_lt(stamp_mono_ms() - start, 4000);
	must(f, db_commit(&f->task, holder));
	db_give(&holder);
	cr_assert_eq(fixture_int(f, "SELECT i FROM t"), 7);
}

Test(retry, a_row_that_stays_locked_is_given_up_in_time)
{
	on_each(check_locked_out);
}
