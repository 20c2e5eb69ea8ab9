/* SPDX-License-Identifier: MIT */
/* test_migrate: the schema is brought up to date once, whoever asks and how many do (OPS-4). */
#include "fixture.h"

#include <pthread.h>
#include <sys/wait.h>

static int n_known(void)
{
	int n = 0;

	while (db_migrations[n].number)
		n++;
	return n;
}

static int migrate(struct fixture *f, bool dry_run)
{
	int n = -1;

	must(f, db_migrate(&f->task, f->db, dry_run, &n));
	return n;
}

static void check_fresh(struct fixture *f)
{
	cr_assert_eq(migrate(f, true), n_known(), "a dry run counts what is missing");
	cr_assert_eq(migrate(f, true), n_known(), "and changes nothing");
	cr_assert_eq(migrate(f, false), n_known());
	cr_assert_eq(migrate(f, false), 0, "a second run finds nothing to do");
	cr_assert_eq(migrate(f, true), 0);
	cr_assert_eq(fixture_int(f, "SELECT COUNT(*) FROM schema_migrations"), n_known());
	cr_assert_eq(fixture_int(f, "SELECT COUNT(*) FROM schema_migrations WHERE applied_at < 1700000000000 OR name = ''"), 0);
	cr_assert_eq(fixture_int(f, "SELECT COUNT(*) FROM messages"), 0);
	cr_assert_eq(fixture_int(f, "SELECT COUNT(*) FROM locks"), 0);
}

Test(migrate, a_fresh_database_gets_every_change_once)
{
	on_each(check_fresh);
}

static void check_interrupted(struct fixture *f)
{
	migrate(f, false);
	fixture_run(f, "INSERT INTO sites (id, name, title, domains, origins, is_paused, created_at, updated_at) "
		       "VALUES ('0123456789abcdef', 'a', '', '', '', 0, 0, 0)");
	fixture_run(f, "DELETE FROM schema_migrations WHERE number IN (1, 2, 15)");
	cr_assert_eq(migrate(f, true), 3);
	cr_assert_eq(migrate(f, false), 3, "what was made but not recorded is made again, harmlessly");
	cr_assert_eq(fixture_int(f, "SELECT COUNT(*) FROM sites"), 1);
	cr_assert_eq(fixture_int(f, "SELECT COUNT(*) FROM schema_migrations"), n_known());
}

Test(migrate, a_run_that_was_cut_off_is_taken_up_again)
{
	on_each(check_interrupted);
}

static void check_newer(struct fixture *f)
{
	int newest = db_migrations[n_known() - 1].number, n = 0;

	migrate(f, false);
	must(f, db_run_once(&f->task, f->db, STMT("INSERT INTO schema_migrations (number, name, applied_at) VALUES (?, 'later', 1)"),
			    DB_ARGS(db_int(newest + 7)), NULL));
	cr_assert_eq(db_migrate(&f->task, f->db, false, &n), ERR_CONFIG);
	cr_assert_not_null(strstr(f->task.fault.detail, arena_printf(f->arena, " %d", newest + 7)), "%s", f->task.fault.detail);
	cr_assert_not_null(strstr(f->task.fault.detail, arena_printf(f->arena, " %d:", newest)), "%s", f->task.fault.detail);
	cr_assert_eq(db_migrate(&f->task, f->db, true, &n), ERR_CONFIG);
	cr_assert_eq(n, 0);
}

Test(migrate, a_newer_schema_is_refused_by_both_numbers)
{
	on_each(check_newer);
}

struct racer {
	struct fixture *f;
	pthread_barrier_t *gate;
	pthread_t thread;
	enum err err;
	int n_applied;
	char why[300];
};

static void *race(void *arg)
{
	struct racer *r = arg;
	struct arena *a = arena_open(0);
	struct task t;

	task_init(&t, a);
	pthread_barrier_wait(r->gate);
	r->err = db_migrate(&t, r->f->db, false, &r->n_applied);
	if (r->err)
		snprintf(r->why, sizeof r->why, "%s", t.fault.internal ? t.fault.internal : t.fault.detail);
	arena_close(&a);
	return NULL;
}

static void check_threads(struct fixture *f)
{
	enum { RACERS = 4 };
	struct racer racers[RACERS];
	pthread_barrier_t gate;
	int sum = 0;

	pthread_barrier_init(&gate, NULL, RACERS);
	for (int i = 0; i < RACERS; i++) {
		racers[i] = (struct racer){ .f = f, .gate = &gate };
		cr_assert_eq(pthread_create(&racers[i].thread, NULL, race, &racers[i]), 0);
	}
	for (int i = 0; i < RACERS; i++) {
		pthread_join(racers[i].thread, NULL);
		cr_assert_eq(racers[i].err, ERR_OK, "%s: %s", f->dsn, racers[i].why);
		sum += racers[i].n_applied;
	}
	pthread_barrier_destroy(&gate);
	cr_assert_eq(sum, n_known(), "%s: each change was applied by one of them", f->dsn);
	cr_assert_eq(fixture_int(f, "SELECT COUNT(*) FROM schema_migrations"), n_known());
}

Test(migrate, threads_that_migrate_at_once_apply_each_change_once)
{
	on_each(check_threads);
}

/* A child's whole life: opens the database, migrates, and tells how many changes it made. */
static int migrate_in_child(struct fixture *f)
{
	int n = 0;

	if (db_open(&f->task, &f->conf, &f->db) || db_migrate(&f->task, f->db, false, &n)) {
		fprintf(stderr, "%s\n", f->task.fault.internal ? f->task.fault.internal : f->task.fault.detail);
		return 255;
	}
	return n;
}

static void race_processes(enum backend backend)
{
	enum { RACERS = 4 };
	struct fixture f;
	int sum = 0;

	fixture_init(&f, backend);
	for (int i = 0; i < RACERS; i++)
		if (fork() == 0)
			_exit(migrate_in_child(&f));
	for (int i = 0; i < RACERS; i++) {
		int status;

		wait(&status);
		cr_assert(WIFEXITED(status) && WEXITSTATUS(status) != 255);
		sum += WEXITSTATUS(status);
	}
	cr_assert_eq(sum, n_known());
	must(&f, db_open(&f.task, &f.conf, &f.db));
	cr_assert_eq(fixture_int(&f, "SELECT COUNT(*) FROM schema_migrations"), n_known());
	fixture_close(&f);
}

Test(migrate, processes_that_migrate_at_once_apply_each_change_once)
{
	race_processes(SQLITE_FILE);
	if (fixture_mariadb())
		race_processes(MARIADB);
}

Test(migrate, a_running_migration_is_waited_for)
{
	struct fixture f;
	struct db_conn *c;
	struct db_rows *rows;
	struct racer r;
	pthread_barrier_t gate;

	fixture_open_mariadb(&f);
	migrate(&f, false);
	fixture_run(&f, "DELETE FROM schema_migrations WHERE number = 22");
	must(&f, db_take(&f.task, f.db, &c));
	must(&f, db_begin(&f.task, c));
	must(&f, db_query(&f.task, c, STMT("SELECT id FROM schema_lock WHERE id = 1 FOR UPDATE"), NULL, 0, &rows));
	cr_assert_eq(rows->n_rows, 1);
	pthread_barrier_init(&gate, NULL, 1);
	r = (struct racer){ .f = &f, .gate = &gate };
	cr_assert_eq(pthread_create(&r.thread, NULL, race, &r), 0);
	usleep(300000);
	cr_assert_eq(fixture_int(&f, "SELECT COUNT(*) FROM schema_migrations WHERE number = 22"), 0, "it waits for the lock");
	db_give(&c);
	pthread_join(r.thread, NULL);
	cr_assert_eq(r.err, ERR_OK, "%s", r.why);
	cr_assert_eq(r.n_applied, 1);
	fixture_close(&f);
}

/* Every table must keep four-byte characters and compare them byte by byte, whatever the database's own character set is. */
Test(migrate, every_text_column_is_utf8mb4)
{
	struct fixture f;

	fixture_open_mariadb(&f);
	fixture_admin("ALTER DATABASE %s CHARACTER SET latin1", f.schema);
	migrate(&f, false);
	cr_assert_eq(fixture_int(&f, "SELECT COUNT(*) FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = DATABASE() "
				     "AND COLLATION_NAME IS NOT NULL AND COLLATION_NAME <> 'utf8mb4_bin'"),
		     0);
	fixture_close(&f);
}

static void add_old_session(struct fixture *f, const char *id, const char *tags)
{
	static const struct db_stmt insert = {
		"INSERT INTO sessions (id, site, own_id, name, agent, agent_name, user_id, client_type, context, title, status, tags, metadata, state, config,"
		" conversation, website_domain, ip_address, version, created_at, updated_at, active_at, ended_at, expires_at) VALUES (?, 'sitesitesitesite',"
		" NULL, ?, 'agentagentagenta', 'a', 'u', 'api', 'c', '', 1, ?, '{}', '{}', '{}', 'convconvconvconv', '', '', 1, 5, 5, 5, 0, 0)",
		NULL, "a test" };
	must(f, db_run_once(&f->task, f->db, &insert, DB_ARGS(db_text(bytes_of(id)), db_text(bytes_of(id)), db_text(bytes_of(tags))), NULL));
}

/* A database as the release with 24 changes left it. */
static void make_old(struct fixture *f)
{
	struct db_conn *c;
	must(f, db_take(&f->task, f->db, &c));
	for (int i = 0; db_migrations[i].number <= 24; i++)
		must(f, db_script(&f->task, c, f->backend != MARIADB && db_migrations[i].sqlite ? db_migrations[i].sqlite : db_migrations[i].sql));
	db_give(&c);
	add_old_session(f, "session000000000", "[\"red\", \"\xf0\x9f\x8d\x9e \\u00fc \\ud83c\\udf5e\"]");
	add_old_session(f, "session000000001", "[]");
	add_old_session(f, "session000000002", "no JSON");
	add_old_session(f, "session000000003", "[\"red\"]");
	fixture_run(f, "INSERT INTO conversations VALUES ('conv000000000000', 'sitesitesitesite', 'session000000000', NULL, 0, '', 5)");
	fixture_run(f, "INSERT INTO conversations VALUES ('conv000000000009', 'sitesitesitesite', 'session000000009', NULL, 0, '', 5)");
	fixture_run(f, "INSERT INTO deletions VALUES ('conv000000000009', 'sitesitesitesite', 5)");
}

static void check_old(struct fixture *f)
{
	if (f->schema[0])
		fixture_admin("ALTER DATABASE %s CHARACTER SET latin1", f->schema);
	make_old(f);
	migrate(f, false);
	cr_assert_eq(fixture_int(f, "SELECT COUNT(*) FROM session_tags"), 3, "%s", f->dsn);
	cr_assert_eq(fixture_int(f, "SELECT COUNT(*) FROM session_tags WHERE tag = 'red' AND site = 'sitesitesitesite' AND created_at = 5"
				    " AND session IN ('session000000000', 'session000000003')"), 2);
	cr_assert_eq(fixture_int(f, "SELECT COUNT(*) FROM session_tags WHERE tag = '\xf0\x9f\x8d\x9e \xc3\xbc \xf0\x9f\x8d\x9e' AND session = 'session000000000'"), 1);
	cr_assert_eq(fixture_int(f, "SELECT COUNT(*) FROM sessions WHERE flags = 0 AND idle_ttl = 0"), 4);
	cr_assert_eq(fixture_int(f, "SELECT COUNT(*) FROM conversations WHERE session = 'session000000000' AND lineage IS NULL"), 1, "it stays whose it is");
	cr_assert_eq(fixture_int(f, "SELECT COUNT(*) FROM conversations WHERE session = X'00000000000000000000000000000000'"), 1);
	cr_assert_eq(fixture_int(f, "SELECT COUNT(*) FROM deletions WHERE waits = 0"), 1, "and is still to go");
	fixture_run(f, "DELETE FROM schema_migrations WHERE number IN (44, 45)"); /* those that change rows */
	cr_assert_eq(migrate(f, false), 2);
	cr_assert_eq(fixture_int(f, "SELECT COUNT(*) FROM session_tags"), 3, "a second run adds nothing");
}

Test(migrate, what_an_older_release_stored_is_found_by_its_tags_and_what_it_was_deleting_is_out_of_reach)
{
	on_each(check_old);
}
