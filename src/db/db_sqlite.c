/* SPDX-License-Identifier: MIT */
/*
 * db_sqlite: the back end for one SQLite file, shared by the threads and processes of one machine: a write-ahead log, so that
 * readers and the one writer do not wait for each other, synced at each commit. A database in memory has no such log: there a
 * reader waits for the writer, and a thread that reads over a second connection inside its own transaction waits in vain.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <sqlite3.h>

#include "base/ident.h"
#include "base/stamp.h"
#include "db/db_private.h"

/* Where the database is opened, in db->state. */
struct place {
	const char *name;
	bool is_memory;
};

static sqlite3 *handle_of(const struct db_conn *c)
{
	return c->link;
}

/* ---- errors ---- */

static enum err judge(int code)
{
	switch (code & 0xff) {
	case SQLITE_CONSTRAINT:
		if (code == SQLITE_CONSTRAINT_UNIQUE || code == SQLITE_CONSTRAINT_PRIMARYKEY || code == SQLITE_CONSTRAINT_ROWID)
			return ERR_DUPLICATE;
		return code == SQLITE_CONSTRAINT_FOREIGNKEY ? ERR_NOT_FOUND : ERR_INTERNAL;
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
		return ERR_RETRY;
	case SQLITE_FULL:
	case SQLITE_READONLY:
	case SQLITE_IOERR:
	case SQLITE_CANTOPEN:
	case SQLITE_PERM:
		return ERR_UNAVAILABLE;
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB:
		return ERR_CORRUPT;
	case SQLITE_TOOBIG:
		return ERR_TOO_LARGE;
	default:
		return ERR_INTERNAL;
	}
}

/*
 * After an I/O error the file may or may not hold what was being committed, and the connection's view of it is in doubt: it counts as
 * lost. SQLite itself has rolled back in every other case.
 */
static enum err fail(struct task *t, struct db_conn *c)
{
	sqlite3 *h = handle_of(c);
	int code = sqlite3_extended_errcode(h);

	if ((code & 0xff) == SQLITE_NOMEM)
		abort();
	if ((code & 0xff) == SQLITE_IOERR)
		c->loss = DB_LOST_UNKNOWN;
	return task_fail_internal(t, judge(code), "sqlite %d: %s", code, sqlite3_errmsg(h));
}

/* ---- connecting ---- */

static void sqlite_init(struct db *db)
{
	struct place *place = arena_alloc(db->arena, sizeof *place);

	place->is_memory = strcmp(db->dsn.path, ":memory:") == 0;
	place->name = db->dsn.path;
	if (place->is_memory) {
		/* The memdb file system shares a database between connections by name, and locks it as a file would be. */
		struct ident id = ident_new();
		char name[IDENT_SIZE];

		ident_format("mem_", &id, name);
		place->name = arena_printf(db->arena, "file:/%s?vfs=memdb", name);
	}
	db->state = place;
}

/* Makes the file before SQLite does, for it would let everybody read it; its log and index files follow its mode. */
static void create_private(const char *path)
{
	int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	if (fd >= 0)
		close(fd);
}

/* Says why a file could not be opened: the usual reason is its directory. */
static enum err fail_open(struct task *t, const char *path, sqlite3 *h, bool is_first)
{
	const char *slash = strrchr(path, '/');
	const char *dir = !slash ? "." : slash == path ? "/" : arena_copy(t->arena, path, (size_t)(slash - path));
	int os_error = h ? sqlite3_system_errno(h) : 0;
	const char *why = h ? sqlite3_errmsg(h) : "out of memory";
	struct stat st;

	if (!is_first)
		return task_fail_internal(t, ERR_UNAVAILABLE, "sqlite: cannot open %s: %s (%s)", path, why,
					  os_error ? strerror(os_error) : "no system error");
	if (stat(dir, &st) != 0)
		return task_fail(t, ERR_CONFIG, "database: cannot open %s: the directory %s: %s", path, dir, strerror(errno));
	return task_fail(t, ERR_CONFIG, "database: cannot open %s: %s (%s)", path, why,
			 os_error ? strerror(os_error) : "is it a file that this user may read and write, in such a directory?");
}

/* Runs one pragma and returns the first character of its answer, or 0 when it failed. */
static char pragma(sqlite3 *h, const char *sql)
{
	sqlite3_stmt *st;
	char first = 0;

	if (sqlite3_prepare_v2(h, sql, -1, &st, NULL) != SQLITE_OK)
		return 0;
	switch (sqlite3_step(st)) {
	case SQLITE_ROW:
		first = (char)sqlite3_column_text(st, 0)[0];
		break;
	case SQLITE_DONE:
		first = '-';
		break;
	}
	sqlite3_finalize(st);
	return first;
}

/*
 * Turns the write-ahead log on. Going over to it takes the file for itself, and SQLite does not wait for that by its own
 * timeout, so several processes that start on a new file need patience here.
 */
static enum err turn_on_wal(struct task *t, sqlite3 *h, const char *path, int timeout_ms)
{
	int64_t deadline_ms = stamp_mono_ms() + timeout_ms;

	for (int attempt = 0;; attempt++) {
		char mode = pragma(h, "PRAGMA journal_mode=WAL");
		int code = sqlite3_errcode(h);

		if (mode == 'w')
			return ERR_OK;
		if (code == SQLITE_CORRUPT || code == SQLITE_NOTADB)
			return task_fail(t, ERR_CONFIG, "database: %s is no SQLite database, or is damaged: %s", path, sqlite3_errmsg(h));
		if (mode)
			return task_fail(t, ERR_CONFIG, "database: %s is on a file system without shared memory, where SQLite has no "
					 "write-ahead log", path);
		if ((code != SQLITE_BUSY && code != SQLITE_LOCKED) || stamp_mono_ms() >= deadline_ms)
			return task_fail_internal(t, ERR_UNAVAILABLE, "sqlite %d: %s", sqlite3_extended_errcode(h), sqlite3_errmsg(h));
		db_backoff(attempt);
	}
}

static enum err set_connection(struct task *t, sqlite3 *h, const struct place *place, int timeout_ms)
{
	enum err e = ERR_OK;

	sqlite3_extended_result_codes(h, 1);
	sqlite3_busy_timeout(h, timeout_ms);
	/* A double-quoted string is a mistake that SQLite would take for a text; and no statement may write the schema's own tables. */
	sqlite3_db_config(h, SQLITE_DBCONFIG_DQS_DML, 0, NULL);
	sqlite3_db_config(h, SQLITE_DBCONFIG_DQS_DDL, 0, NULL);
	sqlite3_db_config(h, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
	sqlite3_db_config(h, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
	sqlite3_db_config(h, SQLITE_DBCONFIG_ENABLE_FKEY, 0, NULL);
	if (!place->is_memory)
		e = turn_on_wal(t, h, place->name, timeout_ms);
	/* LIKE tells case apart, as utf8mb4_bin does. */
	if (!e && (!pragma(h, "PRAGMA synchronous=FULL") || !pragma(h, "PRAGMA case_sensitive_like=ON") || !pragma(h, "PRAGMA foreign_keys=ON")))
		e = task_fail_internal(t, ERR_UNAVAILABLE, "sqlite %d: %s", sqlite3_extended_errcode(h), sqlite3_errmsg(h));
	return e;
}

static enum err sqlite_connect(struct task *t, struct db *db, int timeout_ms, void **link_r)
{
	const struct place *place = db->state;
	int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX;
	sqlite3 *h = NULL;
	enum err e;

	if (place->is_memory)
		flags |= SQLITE_OPEN_URI | SQLITE_OPEN_CREATE;
	else if (!db->is_checked)
		create_private(place->name);
	if (sqlite3_open_v2(place->name, &h, flags, NULL) != SQLITE_OK)
		e = fail_open(t, place->name, h, !db->is_checked);
	else
		e = set_connection(t, h, place, timeout_ms);
	if (e) {
		sqlite3_close(h);
		return e;
	}
	*link_r = h;
	return ERR_OK;
}

static void sqlite_disconnect(void *link)
{
	sqlite3_close_v2(link); /* waits for the statements */
}

static bool sqlite_is_open(void *link)
{
	(void)link;
	return true;
}

/* Reads the file, not only the parser's own tables. */
static enum err sqlite_ping(struct task *t, struct db_conn *c)
{
	return sqlite3_exec(handle_of(c), "PRAGMA schema_version", NULL, NULL, NULL) == SQLITE_OK ? ERR_OK : fail(t, c);
}

/* ---- statements ---- */

static enum err sqlite_prepare(struct task *t, struct db_conn *c, const char *sql, void **stmt_r)
{
	sqlite3_stmt *st;

	if (sqlite3_prepare_v3(handle_of(c), sql, -1, SQLITE_PREPARE_PERSISTENT, &st, NULL) != SQLITE_OK)
		return fail(t, c);
	if (!st)
		return task_fail_internal(t, ERR_INTERNAL, "an empty statement");
	*stmt_r = st;
	return ERR_OK;
}

static void sqlite_finish(void *stmt)
{
	sqlite3_finalize(stmt);
}

static int bind_one(sqlite3_stmt *st, int index, const struct db_arg *arg)
{
	switch (arg->type) {
	case DB_INT:
		return sqlite3_bind_int64(st, index, arg->i);
	case DB_REAL:
		return sqlite3_bind_double(st, index, arg->real);
	case DB_TEXT:
		return sqlite3_bind_text64(st, index, arg->p, arg->n, SQLITE_STATIC, SQLITE_UTF8);
	case DB_BLOB:
		return sqlite3_bind_blob64(st, index, arg->p, arg->n, SQLITE_STATIC);
	case DB_NULL:
		break;
	}
	return sqlite3_bind_null(st, index);
}

static enum err bind_params(struct task *t, struct db_conn *c, sqlite3_stmt *st, const struct db_arg *args, size_t n_args)
{
	if ((size_t)sqlite3_bind_parameter_count(st) != n_args)
		return task_fail_internal(t, ERR_INTERNAL, "a statement with %d parameters was given %zu",
					  sqlite3_bind_parameter_count(st), n_args);
	for (size_t i = 0; i < n_args; i++)
		if (bind_one(st, (int)i + 1, &args[i]) != SQLITE_OK)
			return fail(t, c);
	return ERR_OK;
}

static void read_cell(struct arena *a, sqlite3_stmt *st, int col, struct db_cell *cell)
{
	const void *p;

	switch (sqlite3_column_type(st, col)) {
	case SQLITE_INTEGER:
		cell->type = DB_INT;
		cell->i = sqlite3_column_int64(st, col);
		break;
	case SQLITE_FLOAT:
		cell->type = DB_REAL;
		cell->real = sqlite3_column_double(st, col);
		break;
	case SQLITE_TEXT:
	case SQLITE_BLOB:
		cell->type = sqlite3_column_type(st, col) == SQLITE_TEXT ? DB_TEXT : DB_BLOB;
		p = sqlite3_column_blob(st, col);
		cell->b.n = (size_t)sqlite3_column_bytes(st, col);
		cell->b.p = arena_copy(a, p ? p : "", cell->b.n);
		break;
	default:
		break;
	}
}

/* Steps to the end; rows are copied out where they are wanted. */
static enum err step_all(struct task *t, struct db_conn *c, sqlite3_stmt *st, struct db_rows *rows)
{
	size_t room = 0;
	int rc;

	while ((rc = sqlite3_step(st)) == SQLITE_ROW) {
		struct db_cell *cells;

		if (!rows)
			continue;
		cells = db_rows_add(t->arena, rows, &room);
		for (size_t i = 0; i < rows->n_cols; i++)
			read_cell(t->arena, st, (int)i, &cells[i]);
	}
	return rc == SQLITE_DONE ? ERR_OK : fail(t, c);
}

static enum err sqlite_execute(struct task *t, struct db_conn *c, void *stmt, const struct db_arg *args, size_t n_args,
			       struct db_rows **rows_r, int64_t *changed_r)
{
	sqlite3_stmt *st = stmt;
	struct db_rows *rows = NULL;
	enum err e = bind_params(t, c, st, args, n_args);

	if (rows_r) {
		rows = arena_alloc(t->arena, sizeof *rows);
		rows->n_cols = (size_t)sqlite3_column_count(st);
	}
	if (!e)
		e = step_all(t, c, st, rows);
	if (!e && !sqlite3_column_count(st) && !sqlite3_stmt_readonly(st))
		*changed_r = sqlite3_changes64(handle_of(c));
	sqlite3_reset(st);
	sqlite3_clear_bindings(st); /* they are only borrowed */
	if (!e && rows_r)
		*rows_r = rows;
	return e;
}

static enum err sqlite_script(struct task *t, struct db_conn *c, const char *sql)
{
	/* A full disk has already rolled back. */
	if (strcmp(sql, "ROLLBACK") == 0 && sqlite3_get_autocommit(handle_of(c)))
		return ERR_OK;
	return sqlite3_exec(handle_of(c), sql, NULL, NULL, NULL) == SQLITE_OK ? ERR_OK : fail(t, c);
}

const struct db_driver db_sqlite = {
	.name = "sqlite",
	.begin = "BEGIN IMMEDIATE",
	.has_transactional_ddl = true,
	.init = sqlite_init,
	.connect = sqlite_connect,
	.disconnect = sqlite_disconnect,
	.is_open = sqlite_is_open,
	.ping = sqlite_ping,
	.prepare = sqlite_prepare,
	.finish = sqlite_finish,
	.execute = sqlite_execute,
	.script = sqlite_script,
};
