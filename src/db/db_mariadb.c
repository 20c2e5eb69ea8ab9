/* SPDX-License-Identifier: MIT */
/*
 * db_mariadb: the back end for MariaDB and Galera, over Connector/C: statements, answers, and what each of its errors means. A
 * statement costs one round trip once its connection has prepared it.
 */
#include <assert.h>
#include <stdlib.h>

#include <errmsg.h>
#include <mysqld_error.h>

#include "db/db_mariadb_private.h"

#define PACKET_SLACK 64 /* of a packet around its parameters */

static MYSQL *my_of(const struct db_conn *c)
{
	return ((const struct maria_link *)c->link)->my;
}

/* ---- errors ---- */

struct verdict {
	unsigned int code;
	enum err err;
	enum db_loss loss;
};

static const struct verdict verdicts[] = {
	{ ER_DUP_KEY, ERR_DUPLICATE, DB_ALIVE },
	{ ER_DUP_ENTRY, ERR_DUPLICATE, DB_ALIVE },
	{ ER_DUP_ENTRY_WITH_KEY_NAME, ERR_DUPLICATE, DB_ALIVE },
	{ ER_NO_REFERENCED_ROW, ERR_NOT_FOUND, DB_ALIVE },
	{ ER_NO_REFERENCED_ROW_2, ERR_NOT_FOUND, DB_ALIVE },

	{ ER_CHECKREAD, ERR_RETRY, DB_ALIVE },
	{ ER_LOCK_WAIT_TIMEOUT, ERR_RETRY, DB_ALIVE },
	{ ER_LOCK_DEADLOCK, ERR_RETRY, DB_ALIVE },
	{ ER_TABLE_DEF_CHANGED, ERR_RETRY, DB_ALIVE },
	/* A Galera node that is not, or no longer, part of the cluster: the same work may run on another. */
	{ ER_UNKNOWN_COM_ERROR, ERR_UNAVAILABLE, DB_LOST_UNSENT },

	{ ER_NET_PACKET_TOO_LARGE, ERR_TOO_LARGE, DB_LOST_UNSENT }, /* the server hangs up behind it */
	{ CR_NET_PACKET_TOO_LARGE, ERR_TOO_LARGE, DB_LOST_UNSENT },

	{ ER_NOT_FORM_FILE, ERR_CORRUPT, DB_ALIVE },
	{ ER_NOT_KEYFILE, ERR_CORRUPT, DB_ALIVE },
	{ ER_OLD_KEYFILE, ERR_CORRUPT, DB_ALIVE },
	{ ER_CRASHED_ON_USAGE, ERR_CORRUPT, DB_ALIVE },
	{ ER_CRASHED_ON_REPAIR, ERR_CORRUPT, DB_ALIVE },
	{ ER_INDEX_CORRUPT, ERR_CORRUPT, DB_ALIVE },
	{ ER_TABLE_CORRUPT, ERR_CORRUPT, DB_ALIVE },
	{ ER_INNODB_INDEX_CORRUPT, ERR_CORRUPT, DB_ALIVE },
	{ ER_FILE_CORRUPT, ERR_CORRUPT, DB_ALIVE },
	{ ER_NO_SUCH_TABLE_IN_ENGINE, ERR_CORRUPT, DB_ALIVE },

	{ ER_DISK_FULL, ERR_UNAVAILABLE, DB_ALIVE },
	{ ER_ERROR_ON_WRITE, ERR_UNAVAILABLE, DB_ALIVE },
	{ ER_GET_ERRNO, ERR_UNAVAILABLE, DB_ALIVE },
	{ ER_RECORD_FILE_FULL, ERR_UNAVAILABLE, DB_ALIVE },
	{ ER_LOCK_TABLE_FULL, ERR_UNAVAILABLE, DB_ALIVE },
	{ ER_OPTION_PREVENTS_STATEMENT, ERR_UNAVAILABLE, DB_ALIVE }, /* --read-only */
	{ ER_QUERY_INTERRUPTED, ERR_UNAVAILABLE, DB_ALIVE },
	{ ER_MAX_PREPARED_STMT_COUNT_REACHED, ERR_UNAVAILABLE, DB_ALIVE },
	{ ER_TOO_MANY_CONCURRENT_TRXS, ERR_UNAVAILABLE, DB_ALIVE },
	{ ER_CANT_EXECUTE_IN_READ_ONLY_TRANSACTION, ERR_UNAVAILABLE, DB_ALIVE },
	{ ER_STATEMENT_TIMEOUT, ERR_UNAVAILABLE, DB_ALIVE },

	/* The statement is not known there: another server took over behind a proxy, and knows nothing of this session. */
	{ ER_UNKNOWN_STMT_HANDLER, ERR_UNAVAILABLE, DB_LOST_UNSENT },
	/* Connector/C could not send the whole of it. */
	{ CR_SERVER_GONE_ERROR, ERR_UNAVAILABLE, DB_LOST_UNSENT },

	{ ER_ERROR_DURING_COMMIT, ERR_UNAVAILABLE, DB_LOST_UNKNOWN },
	{ ER_SERVER_SHUTDOWN, ERR_UNAVAILABLE, DB_LOST_UNKNOWN },
	{ ER_CONNECTION_KILLED, ERR_UNAVAILABLE, DB_LOST_UNKNOWN },
	{ ER_NEW_ABORTING_CONNECTION, ERR_UNAVAILABLE, DB_LOST_UNKNOWN },
	{ ER_NET_READ_ERROR, ERR_UNAVAILABLE, DB_LOST_UNKNOWN },
	{ ER_NET_READ_INTERRUPTED, ERR_UNAVAILABLE, DB_LOST_UNKNOWN },
	{ ER_NET_ERROR_ON_WRITE, ERR_UNAVAILABLE, DB_LOST_UNKNOWN },
	{ ER_NET_WRITE_INTERRUPTED, ERR_UNAVAILABLE, DB_LOST_UNKNOWN },
};

/* Numbers that Connector/C makes itself: whatever else happened, the stream of packets can no longer be trusted. */
static bool is_client_code(unsigned int code)
{
	return (code >= 2000 && code < 3000) || (code >= 5000 && code < 6000);
}

static struct verdict judge(unsigned int code)
{
	for (size_t i = 0; i < sizeof verdicts / sizeof verdicts[0]; i++)
		if (verdicts[i].code == code)
			return verdicts[i];
	if (is_client_code(code) || code == 0)
		return (struct verdict){ code, ERR_UNAVAILABLE, DB_LOST_UNKNOWN };
	return (struct verdict){ code, ERR_INTERNAL, DB_ALIVE };
}

static enum err fail(struct task *t, struct db_conn *c, unsigned int code, const char *state, const char *message)
{
	struct verdict v = judge(code);

	if (v.loss)
		c->loss = v.loss;
	if (code == ER_NEED_REPREPARE)
		c->is_stale = true;
	return task_fail_internal(t, v.err, "mariadb %u (%s): %s", code, state, message);
}

static enum err fail_my(struct task *t, struct db_conn *c)
{
	MYSQL *my = my_of(c);

	return fail(t, c, mysql_errno(my), mysql_sqlstate(my), mysql_error(my));
}

/* Some failures of a prepared statement are only told by its connection. */
static enum err fail_stmt(struct task *t, struct db_conn *c, MYSQL_STMT *st)
{
	if (!mysql_stmt_errno(st))
		return fail_my(t, c);
	return fail(t, c, mysql_stmt_errno(st), mysql_stmt_sqlstate(st), mysql_stmt_error(st));
}

static enum err maria_ping(struct task *t, struct db_conn *c)
{
	if (mysql_ping(my_of(c)) == 0)
		return ERR_OK;
	fail_my(t, c);
	c->loss = DB_LOST_UNSENT;
	return task_fail_internal(t, ERR_UNAVAILABLE, "%s", t->fault.internal);
}

/* ---- statements ---- */

static enum err maria_prepare(struct task *t, struct db_conn *c, const char *sql, void **stmt_r)
{
	MYSQL_STMT *st = mysql_stmt_init(my_of(c));

	if (!st)
		abort();
	if (mysql_stmt_prepare(st, sql, strlen(sql))) {
		enum err e = fail_stmt(t, c, st);

		mysql_stmt_close(st);
		return e;
	}
	*stmt_r = st;
	return ERR_OK;
}

static void maria_finish(void *stmt)
{
	mysql_stmt_close(stmt);
}

static MYSQL_BIND param_of(const struct db_arg *arg)
{
	static const enum enum_field_types types[] = {
		[DB_NULL] = MYSQL_TYPE_NULL,   [DB_INT] = MYSQL_TYPE_LONGLONG, [DB_REAL] = MYSQL_TYPE_DOUBLE,
		[DB_TEXT] = MYSQL_TYPE_STRING, [DB_BLOB] = MYSQL_TYPE_BLOB,
	};
	MYSQL_BIND b = { .buffer_type = types[arg->type], .buffer_length = arg->n };

	switch (arg->type) {
	case DB_NULL:
		break;
	case DB_INT:
		b.buffer = (void *)&arg->i;
		break;
	case DB_REAL:
		b.buffer = (void *)&arg->real;
		break;
	case DB_TEXT:
	case DB_BLOB:
		b.buffer = (void *)arg->p;
		break;
	}
	return b;
}

/* Binds the parameters; a packet past the server's limit is refused here, since the server would hang up on it. */
static enum err bind_params(struct task *t, struct db_conn *c, MYSQL_STMT *st, const struct db_arg *args, size_t n_args)
{
	size_t max_packet = ((struct maria_link *)c->link)->max_packet;
	size_t size = PACKET_SLACK;
	MYSQL_BIND *binds;

	if (mysql_stmt_param_count(st) != n_args)
		return task_fail_internal(t, ERR_INTERNAL, "a statement with %lu parameters was given %zu",
					  mysql_stmt_param_count(st), n_args);
	if (!n_args)
		return ERR_OK;
	binds = arena_array(t->arena, n_args, sizeof *binds);
	for (size_t i = 0; i < n_args; i++) {
		binds[i] = param_of(&args[i]);
		size += 16 + args[i].n;
	}
	if (max_packet && size > max_packet)
		return task_fail_internal(t, ERR_TOO_LARGE, "a statement of about %zu bytes, where max_allowed_packet is %zu", size,
					  max_packet);
	return mysql_stmt_bind_param(st, binds) ? fail_stmt(t, c, st) : ERR_OK;
}

/* Where one column of the current row arrives. Texts and blobs only tell their length, and are then fetched at their size. */
struct column {
	enum db_type type;
	int64_t i;
	double real;
	unsigned long n;
	my_bool is_null, is_cut;
};

#define BINARY_CHARSET 63

static enum db_type type_of(const MYSQL_FIELD *f)
{
	switch (f->type) {
	case MYSQL_TYPE_TINY:
	case MYSQL_TYPE_SHORT:
	case MYSQL_TYPE_INT24:
	case MYSQL_TYPE_LONG:
	case MYSQL_TYPE_LONGLONG:
	case MYSQL_TYPE_YEAR:
		return DB_INT;
	case MYSQL_TYPE_FLOAT:
	case MYSQL_TYPE_DOUBLE:
		return DB_REAL;
	case MYSQL_TYPE_DECIMAL:
	case MYSQL_TYPE_NEWDECIMAL: /* SUM of integers is one, without decimals */
		return f->decimals ? DB_REAL : DB_INT;
	case MYSQL_TYPE_NULL:
		return DB_NULL;
	default:
		return f->charsetnr == BINARY_CHARSET ? DB_BLOB : DB_TEXT;
	}
}

static MYSQL_BIND bind_of(struct column *col)
{
	MYSQL_BIND b = { .length = &col->n, .is_null = &col->is_null, .error = &col->is_cut };

	switch (col->type) {
	case DB_INT:
		b.buffer_type = MYSQL_TYPE_LONGLONG;
		b.buffer = &col->i;
		break;
	case DB_REAL:
		b.buffer_type = MYSQL_TYPE_DOUBLE;
		b.buffer = &col->real;
		break;
	case DB_TEXT:
	case DB_BLOB:
	case DB_NULL:
		b.buffer_type = col->type == DB_TEXT ? MYSQL_TYPE_STRING : MYSQL_TYPE_BLOB;
		break;
	}
	return b;
}

static enum err read_cell(struct task *t, struct db_conn *c, MYSQL_STMT *st, struct column *col, unsigned int index,
			  struct db_cell *cell)
{
	if (col->is_null || col->type == DB_NULL)
		return ERR_OK;
	cell->type = col->type;
	if (col->type == DB_INT || col->type == DB_REAL) {
		if (col->is_cut)
			return task_fail_internal(t, ERR_INTERNAL, "the number in column %u does not fit", index);
		cell->i = col->i;
		cell->real = col->real;
		return ERR_OK;
	}
	cell->b.n = col->n;
	cell->b.p = arena_alloc(t->arena, col->n + 1);
	if (col->n) {
		unsigned long n = 0;
		MYSQL_BIND b = {
			.buffer_type = col->type == DB_TEXT ? MYSQL_TYPE_STRING : MYSQL_TYPE_BLOB,
			.buffer = (char *)cell->b.p,
			.buffer_length = cell->b.n,
			.length = &n,
		};

		if (mysql_stmt_fetch_column(st, &b, index, 0))
			return fail_stmt(t, c, st);
		assert(n == cell->b.n);
	}
	return ERR_OK;
}

/* Reads row by row off the wire; a row that says "truncated" is one whose texts are still to be fetched. */
static enum err read_rows(struct task *t, struct db_conn *c, MYSQL_STMT *st, struct column *cols, struct db_rows *rows)
{
	size_t room = 0;
	enum err e = ERR_OK;

	while (!e) {
		int rc = mysql_stmt_fetch(st);
		struct db_cell *cells;

		if (rc == MYSQL_NO_DATA)
			return ERR_OK;
		if (rc != 0 && rc != MYSQL_DATA_TRUNCATED)
			return fail_stmt(t, c, st);
		cells = db_rows_add(t->arena, rows, &room);
		for (size_t i = 0; !e && i < rows->n_cols; i++)
			e = read_cell(t, c, st, &cols[i], (unsigned int)i, &cells[i]);
	}
	return e;
}

/* Columns are bound anew for each run: the type of an expression may depend on its parameters. */
static enum err read_answer(struct task *t, struct db_conn *c, MYSQL_STMT *st, struct db_rows **rows_r)
{
	size_t n = mysql_stmt_field_count(st);
	MYSQL_RES *meta = mysql_stmt_result_metadata(st);
	struct db_rows *rows = arena_alloc(t->arena, sizeof *rows);
	struct column *cols = arena_array(t->arena, n, sizeof *cols);
	MYSQL_BIND *binds = arena_array(t->arena, n, sizeof *binds);
	enum err e;

	if (!meta)
		return fail_stmt(t, c, st);
	for (size_t i = 0; i < n; i++) {
		cols[i].type = type_of(mysql_fetch_field_direct(meta, (unsigned int)i));
		binds[i] = bind_of(&cols[i]);
	}
	mysql_free_result(meta);
	rows->n_cols = n;
	e = mysql_stmt_bind_result(st, binds) ? fail_stmt(t, c, st) : read_rows(t, c, st, cols, rows);
	mysql_stmt_free_result(st);
	if (!e && rows_r)
		*rows_r = rows;
	return e;
}

static enum err maria_execute(struct task *t, struct db_conn *c, void *stmt, const struct db_arg *args, size_t n_args,
				struct db_rows **rows_r, int64_t *changed_r)
{
	MYSQL_STMT *st = stmt;
	enum err e = bind_params(t, c, st, args, n_args);

	if (e)
		return e;
	if (mysql_stmt_execute(st))
		return fail_stmt(t, c, st);
	if (mysql_stmt_field_count(st))
		return read_answer(t, c, st, rows_r);
	*changed_r = (int64_t)mysql_stmt_affected_rows(st);
	if (rows_r)
		*rows_r = arena_alloc(t->arena, sizeof **rows_r);
	return ERR_OK;
}

static enum err maria_script(struct task *t, struct db_conn *c, const char *sql)
{
	return maria_ask(c->link, sql, NULL, NULL) ? ERR_OK : fail_my(t, c);
}

const struct db_driver db_mariadb = {
	.name = "mariadb",
	.begin = "START TRANSACTION",
	.has_transactional_ddl = false,
	.init = maria_init,
	.connect = maria_connect,
	.disconnect = maria_disconnect,
	.is_open = maria_is_open,
	.ping = maria_ping,
	.prepare = maria_prepare,
	.finish = maria_finish,
	.execute = maria_execute,
	.script = maria_script,
};
