/* SPDX-License-Identifier: MIT */
/*
 * migrate: brings the schema up to date. Owns the tables schema_migrations (what was applied) and schema_lock (MariaDB: one row that
 * whoever migrates holds locked). Where a schema change commits by itself, the lock is held by a second connection.
 */
#include <assert.h>

#include "base/stamp.h"
#include "db/db_private.h"

#define STATEMENT_TIMEOUT_MS 3600000 /* a schema change of a large table takes its time */
#define PATIENCE_MS 600000           /* for another process that migrates, or for its statements to let a table go */

#define NO_TENANT "the schema belongs to no site"

static const struct db_stmt has_table = {
	"SELECT COUNT(*) FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = ?",
	"SELECT COUNT(*) FROM sqlite_master WHERE type = 'table' AND name = ?", NO_TENANT };
static const struct db_stmt list_applied = { "SELECT number FROM schema_migrations ORDER BY number", NULL, NO_TENANT };
static const struct db_stmt add_applied = { "INSERT INTO schema_migrations (number, name, applied_at) VALUES (?, ?, ?)", NULL,
					    NO_TENANT };
static const struct db_stmt add_lock = { "INSERT INTO schema_lock (id) VALUES (1)", NULL, NO_TENANT };
static const struct db_stmt take_lock = { "SELECT id FROM schema_lock WHERE id = 1 FOR UPDATE",
					  "SELECT id FROM schema_lock WHERE id = 1", NO_TENANT };

#define MARIADB_TABLE " ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin"
#define MIGRATIONS_TABLE                                                                                               \
	"CREATE TABLE IF NOT EXISTS schema_migrations (number INT NOT NULL, name VARCHAR(200) NOT NULL,"               \
	" applied_at BIGINT NOT NULL, PRIMARY KEY (number))"
#define LOCK_TABLE "CREATE TABLE IF NOT EXISTS schema_lock (id INT NOT NULL, PRIMARY KEY (id))" MARIADB_TABLE

/* Which of db_migrations were applied; as many as there are rows. */
struct schema {
	size_t n;
	bool *applied;
	int n_pending;
};

static enum err find_table(struct task *t, struct db_conn *c, const char *name, bool *exists_r)
{
	struct db_rows *rows;
	enum err e = db_query(t, c, &has_table, DB_ARGS(db_text(bytes_of(name))), &rows);

	if (!e)
		*exists_r = db_cell_int(rows, 0, 0) > 0;
	return e;
}

static void init_schema(struct arena *a, struct schema *s)
{
	*s = (struct schema){ 0 };
	while (db_migrations[s->n].number)
		s->n++;
	s->applied = arena_array(a, s->n, sizeof *s->applied);
	s->n_pending = (int)s->n;
}

/* Reads what was applied; refuses a schema that a newer parley has been at. */
static enum err read_schema(struct task *t, struct db_conn *c, struct schema *s)
{
	int newest_known = 0, newest_applied = 0;
	struct db_rows *rows;
	bool exists;
	enum err e = find_table(t, c, "schema_migrations", &exists);

	init_schema(t->arena, s);
	if (e || !exists)
		return e;
	e = db_query(t, c, &list_applied, NULL, 0, &rows);
	if (e)
		return e;
	for (size_t i = 0; i < s->n; i++) {
		newest_known = db_migrations[i].number;
		for (size_t r = 0; r < rows->n_rows; r++)
			s->applied[i] |= db_cell_int(rows, r, 0) == newest_known;
		s->n_pending -= s->applied[i];
	}
	if (rows->n_rows)
		newest_applied = (int)db_cell_int(rows, rows->n_rows - 1, 0);
	if (newest_applied > newest_known)
		return task_fail(t, ERR_CONFIG,
				 "database: its schema is at number %d, and this parley only knows up to %d: run the newer one", newest_applied,
				 newest_known);
	return ERR_OK;
}

/*
 * Makes one change and records it. That another recorded it meanwhile is no failure: each change is safe to run twice, and the lock is
 * only there to save the work.
 */
static enum err apply_one(struct task *t, struct db_conn *c, const struct db_migration *m, int *n_applied_r)
{
	bool is_sqlite = strcmp(db_driver(c->db), "sqlite") == 0;
	enum err e = db_script(t, c, is_sqlite && m->sqlite ? m->sqlite : m->sql);

	if (!e)
		e = db_run(t, c, &add_applied, DB_ARGS(db_int(m->number), db_text(bytes_of(m->name)), db_int(stamp_now())), NULL);
	if (e == ERR_DUPLICATE) {
		task_clear_fault(t);
		return ERR_OK;
	}
	if (!e)
		++*n_applied_r;
	else if (e == ERR_INTERNAL)
		e = task_fail_internal(t, e, "migration %d (%s): %s", m->number, m->name, t->fault.internal);
	return e;
}

/* Looks again, now that nobody else is at it, and applies what is missing. */
static enum err apply_pending(struct task *t, struct db_conn *c, int *n_applied_r)
{
	struct schema s;
	enum err e = read_schema(t, c, &s);

	for (size_t i = 0; !e && i < s.n; i++)
		if (!s.applied[i])
			e = apply_one(t, c, &db_migrations[i], n_applied_r);
	return e;
}

/* All changes in one transaction: they happen all or none. */
static enum err migrate_in_transaction(struct task *t, struct db_conn *c, int *n_applied_r)
{
	int n = 0;
	enum err e = db_begin(t, c);

	if (!e)
		e = db_script(t, c, MIGRATIONS_TABLE);
	if (!e)
		e = apply_pending(t, c, &n);
	if (!e)
		e = db_commit(t, c);
	db_rollback(c);
	if (!e)
		*n_applied_r = n;
	return e;
}

/* Takes the lock row in a transaction of its own that stays open, making table and row where they are missing. */
static enum err lock_schema(struct task *t, struct db_conn *lock)
{
	struct db_rows *rows;
	bool exists;
	enum err e = find_table(t, lock, "schema_lock", &exists);

	if (!e && !exists)
		e = db_script(t, lock, LOCK_TABLE);
	if (!e)
		e = db_begin(t, lock);
	if (!e)
		e = db_query(t, lock, &take_lock, NULL, 0, &rows);
	if (e || rows->n_rows)
		return e;
	db_rollback(lock);
	e = db_run(t, lock, &add_lock, NULL, 0, NULL);
	if (e && e != ERR_DUPLICATE)
		return e;
	task_clear_fault(t);
	e = db_begin(t, lock);
	return e ? e : db_query(t, lock, &take_lock, NULL, 0, &rows);
}

/* Each change commits by itself. What was applied before a failure stays, and is counted. */
static enum err migrate_under_lock(struct task *t, struct db_conn *c, int *n_applied_r)
{
	struct db_conn *lock = NULL;
	enum err e = db_conn_open(t, c->db, STATEMENT_TIMEOUT_MS, &lock);

	if (e)
		return e;
	e = lock_schema(t, lock);
	if (!e)
		e = db_script(t, c, MIGRATIONS_TABLE MARIADB_TABLE);
	if (!e)
		e = apply_pending(t, c, n_applied_r);
	db_rollback(lock);
	db_conn_close(&lock);
	return e;
}

/* One run over a connection of its own: the pool's give up too early. */
static enum err migrate_once(struct task *t, struct db *db, bool dry_run, int *n_applied_r)
{
	struct db_conn *c = NULL;
	struct schema s;
	enum err e = db_conn_open(t, db, STATEMENT_TIMEOUT_MS, &c);

	if (e)
		return e;
	e = read_schema(t, c, &s);
	if (!e && dry_run)
		*n_applied_r = s.n_pending;
	else if (!e && s.n_pending && db->driver->has_transactional_ddl)
		e = migrate_in_transaction(t, c, n_applied_r);
	else if (!e && s.n_pending)
		e = migrate_under_lock(t, c, n_applied_r);
	db_conn_close(&c);
	return e;
}

enum err db_migrate(struct task *t, struct db *db, bool dry_run, int *n_applied_r)
{
	int64_t deadline_ms = stamp_mono_ms() + PATIENCE_MS;

	*n_applied_r = 0;
	for (int attempt = 0;; attempt++) {
		enum err e = migrate_once(t, db, dry_run, n_applied_r);

		if (e != ERR_RETRY)
			return e;
		if (stamp_mono_ms() >= deadline_ms)
			return task_fail_internal(t, ERR_BUSY, "the schema was locked for %d s: %s", PATIENCE_MS / 1000, t->fault.internal);
		task_clear_fault(t);
		db_backoff(attempt);
	}
}
