/* SPDX-License-Identifier: MIT */
/*
 * db_mariadb_link: a connection to MariaDB and the state of its session. Every timeout is set, nothing reconnects by itself, and
 * a session is brought to the same state whatever the server's own settings are.
 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

#include <errmsg.h>
#include <mysqld_error.h>

#include "base/buf.h"
#include "base/log.h"
#include "db/db_mariadb_private.h"

#define ROW_LOCK_WAIT_S 5
#define TABLE_LOCK_WAIT_S 10 /* a schema change that waits lets nobody else at the table meanwhile */

/* What the first connection learned of the server; read only afterwards. */
struct profile {
	bool is_known;
	bool is_galera;
	bool has_snapshot_isolation;
	bool has_statement_time;
	const char *isolation_name; /* of the variable that holds the isolation level */
	size_t max_packet;
};

/* Refusals that no waiting mends. */
static bool is_refusal(unsigned int code)
{
	return code == ER_ACCESS_DENIED_ERROR || code == ER_DBACCESS_DENIED_ERROR || code == ER_BAD_DB_ERROR ||
	       code == ER_ACCESS_DENIED_NO_PASSWORD_ERROR || code == CR_AUTH_PLUGIN_CANNOT_LOAD;
}

static enum err fail_connect(struct task *t, struct maria_link *l, const char *where)
{
	unsigned int code = mysql_errno(l->my);

	if (is_refusal(code))
		return task_fail(t, ERR_CONFIG, "database: mariadb at %s refuses: %s", where, mysql_error(l->my));
	return task_fail_internal(t, ERR_UNAVAILABLE, "mariadb at %s: %u: %s", where, code, mysql_error(l->my));
}

bool maria_ask(struct maria_link *l, const char *sql, void (*row)(MYSQL_ROW cells, void *arg), void *arg)
{
	MYSQL_RES *res;
	MYSQL_ROW cells;

	if (mysql_real_query(l->my, sql, strlen(sql)))
		return false;
	if (!mysql_field_count(l->my))
		return true;
	res = mysql_store_result(l->my);
	if (!res)
		return false;
	while (row && (cells = mysql_fetch_row(res)))
		row(cells, arg);
	mysql_free_result(res);
	return true;
}

/* What SHOW VARIABLES says of what matters here; empty where the server does not know a variable. */
struct server {
	char sql_mode[512], flush[8], log_bin[8], sync_binlog[16], snapshot[8], statement_time[32], wsrep_on[8], packet[32];
	char old_isolation[32];
};

static const struct {
	const char *name;
	size_t at, size;
} variables[] = {
#define VARIABLE(name, member) { name, offsetof(struct server, member), sizeof(((struct server *)0)->member) }
	VARIABLE("sql_mode", sql_mode),
	VARIABLE("innodb_flush_log_at_trx_commit", flush),
	VARIABLE("log_bin", log_bin),
	VARIABLE("sync_binlog", sync_binlog),
	VARIABLE("innodb_snapshot_isolation", snapshot),
	VARIABLE("max_statement_time", statement_time),
	VARIABLE("wsrep_on", wsrep_on),
	VARIABLE("max_allowed_packet", packet),
	VARIABLE("tx_isolation", old_isolation),
#undef VARIABLE
};

#define N_VARIABLES (sizeof variables / sizeof variables[0])

static void note_variable(MYSQL_ROW cells, void *arg)
{
	struct server *server = arg;

	for (size_t i = 0; i < N_VARIABLES; i++)
		if (strcmp(cells[0], variables[i].name) == 0)
			snprintf((char *)server + variables[i].at, variables[i].size, "%s", cells[1] ? cells[1] : "");
}

static void note_ready(MYSQL_ROW cells, void *arg)
{
	*(bool *)arg = strcmp(cells[1], "ON") == 0;
}

static bool is_strict(const char *sql_mode)
{
	return strstr(sql_mode, "STRICT_TRANS_TABLES") || strstr(sql_mode, "STRICT_ALL_TABLES");
}

/* An acknowledged write must survive a crash: says so, loudly, where the server is set not to care. */
static void warn_of_losses(const struct task *t, const struct server *server)
{
	const char *why = "a crash of the server can lose acknowledged writes; set it to 1";

	if (strcmp(server->flush, "1") != 0)
		log_warn(t, "database_not_durable", { "variable", "innodb_flush_log_at_trx_commit", 0 },
			 { "value", server->flush, 0 }, { "detail", why, 0 });
	if (strcmp(server->log_bin, "ON") == 0 && strcmp(server->sync_binlog, "1") != 0)
		log_warn(t, "database_not_durable", { "variable", "sync_binlog", 0 }, { "value", server->sync_binlog, 0 },
			 { "detail", why, 0 });
}

/* Learns what kind of server this is, and refuses one that would store less than it is given. */
static enum err learn(struct task *t, struct maria_link *l, const char *where, struct profile *p)
{
	struct server server = { .flush = "" };
	struct buf sql;

	buf_init(&sql, t->arena, 512);
	buf_add_str(&sql, "SHOW VARIABLES WHERE Variable_name IN (");
	for (size_t i = 0; i < N_VARIABLES; i++)
		buf_addf(&sql, "%s'%s'", i ? "," : "", variables[i].name);
	buf_add_char(&sql, ')');
	if (!maria_ask(l, sql.p, note_variable, &server))
		return fail_connect(t, l, where);
	if (!is_strict(server.sql_mode))
		return task_fail(t, ERR_CONFIG,
				 "database: sql_mode of the server at %s is not strict ('%s'), so that it would cut off what does not "
				 "fit; add STRICT_TRANS_TABLES",
				 where, server.sql_mode);
	warn_of_losses(t, &server);
	*p = (struct profile){
		.is_known = true,
		.is_galera = strcmp(server.wsrep_on, "ON") == 0,
		.has_snapshot_isolation = server.snapshot[0],
		.has_statement_time = server.statement_time[0],
		.isolation_name = server.old_isolation[0] ? "tx_isolation" : "transaction_isolation",
		.max_packet = strtoul(server.packet, NULL, 10),
	};
	return ERR_OK;
}

static int smaller(int a, int b)
{
	return a < b ? a : b;
}

/*
 * Brings a session to what the statements rely on, in one statement: the server's own sql_mode, time zone, collation or
 * autocommit change nothing, and || and backslashes mean what they mean to SQLite. `all` adds what only some servers know. A
 * statement that runs longer than we wait is stopped by the server a little before, so that its outcome is known.
 */
static bool set_session(struct task *t, struct maria_link *l, const struct profile *p, int timeout_ms, bool all)
{
	int timeout_s = (timeout_ms + 999) / 1000;
	struct buf sql;

	buf_init(&sql, t->arena, 512);
	buf_addf(&sql,
		 "SET NAMES utf8mb4 COLLATE utf8mb4_bin, SESSION sql_mode='STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION,"
		 "PIPES_AS_CONCAT,NO_BACKSLASH_ESCAPES', SESSION time_zone='+00:00', SESSION autocommit=1, SESSION %s='READ-COMMITTED', "
		 "SESSION innodb_lock_wait_timeout=%d, SESSION lock_wait_timeout=%d",
		 p->isolation_name, smaller(timeout_s, ROW_LOCK_WAIT_S), smaller(timeout_s, TABLE_LOCK_WAIT_S));
	if (all && p->has_statement_time)
		buf_addf(&sql, ", SESSION max_statement_time=%.3f", timeout_ms * 0.9 / 1000);
	if (all && p->has_snapshot_isolation)
		buf_add_str(&sql, ", SESSION innodb_snapshot_isolation=ON");
	if (all && p->is_galera)
		buf_add_str(&sql, ", SESSION wsrep_sync_wait=1");
	return maria_ask(l, sql.p, NULL, NULL);
}

/* The link is up: learns the server when it is the first, checks a Galera node, sets the session. */
static enum err prepare_session(struct task *t, struct db *db, struct maria_link *l, const char *where, int timeout_ms)
{
	struct profile *p = db->state;
	enum err e;

	if (!p->is_known) {
		e = learn(t, l, where, p);
		if (e)
			return e;
	}
	l->max_packet = p->max_packet;
	if (p->is_galera) {
		bool is_ready = false;

		if (!maria_ask(l, "SHOW STATUS LIKE 'wsrep_ready'", note_ready, &is_ready))
			return fail_connect(t, l, where);
		if (!is_ready)
			return task_fail_internal(t, ERR_UNAVAILABLE, "mariadb at %s: the Galera node is not ready", where);
	}
	if (set_session(t, l, p, timeout_ms, true))
		return ERR_OK;
	/* Another host may be older than the first that was met. */
	if (mysql_errno(l->my) == ER_UNKNOWN_SYSTEM_VARIABLE && set_session(t, l, p, timeout_ms, false))
		return ERR_OK;
	return fail_connect(t, l, where);
}

static void set_options(const struct db *db, MYSQL *my, int timeout_ms)
{
	unsigned int connect_s = (unsigned int)(db->conf.connect_timeout_ms + 999) / 1000;
	unsigned int answer_s = (unsigned int)(timeout_ms + 999) / 1000;
	unsigned int off = 0;
	enum mysql_protocol_type protocol = db->dsn.socket ? MYSQL_PROTOCOL_SOCKET : MYSQL_PROTOCOL_TCP;
	my_bool no = 0, yes = 1;

	mysql_options(my, MYSQL_OPT_CONNECT_TIMEOUT, &connect_s);
	mysql_options(my, MYSQL_OPT_READ_TIMEOUT, &answer_s);
	mysql_options(my, MYSQL_OPT_WRITE_TIMEOUT, &answer_s);
	mysql_options(my, MYSQL_OPT_LOCAL_INFILE, &off);
	mysql_options(my, MYSQL_OPT_RECONNECT, &no);
	mysql_options(my, MYSQL_OPT_PROTOCOL, &protocol);
	mysql_options(my, MYSQL_SET_CHARSET_NAME, "utf8mb4");
	mysql_options(my, MYSQL_REPORT_DATA_TRUNCATION, &yes);
	/* No plugin that would send the password in the clear because a server asks for it. */
	mysql_options(my, MARIADB_OPT_RESTRICTED_AUTH,
		      "mysql_native_password,client_ed25519,caching_sha2_password,unix_socket");
	mysql_optionsv(my, MYSQL_OPT_CONNECT_ATTR_ADD, "program_name", "parley");
	if (db->conf.tls_ca[0]) {
		mysql_options(my, MYSQL_OPT_SSL_ENFORCE, &yes);
		mysql_options(my, MYSQL_OPT_SSL_VERIFY_SERVER_CERT, &yes);
		mysql_options(my, MYSQL_OPT_SSL_CA, db->conf.tls_ca);
	}
}

/* Connects to one host (NULL: the socket). */
static enum err connect_host(struct task *t, struct db *db, const struct dsn_host *host, int timeout_ms, struct maria_link *l)
{
	const struct dsn *dsn = &db->dsn;
	const char *where = host ? arena_printf(t->arena, "%s:%u", host->name, host->port) : dsn->socket;
	enum err e;

	l->my = mysql_init(NULL);
	if (!l->my)
		abort();
	set_options(db, l->my, timeout_ms);
	if (!mysql_real_connect(l->my, host ? host->name : NULL, dsn->user, dsn->password, dsn->schema, host ? host->port : 0,
				dsn->socket, CLIENT_FOUND_ROWS))
		e = fail_connect(t, l, where);
	else if (db->conf.tls_ca[0] && !mysql_get_ssl_cipher(l->my))
		e = task_fail(t, ERR_CONFIG, "database: mariadb at %s offers no TLS, and database_tls_ca asks for it", where);
	else
		e = prepare_session(t, db, l, where, timeout_ms);
	if (e) {
		mysql_close(l->my);
		l->my = NULL;
	}
	return e;
}

/* Tries the hosts in their order; the reasons of all are told, and a mistake in the settings only if no host is merely down. */
enum err maria_connect(struct task *t, struct db *db, int timeout_ms, void **link_r)
{
	struct maria_link *l = calloc(1, sizeof *l);
	size_t n = db->dsn.socket ? 1 : db->dsn.n_hosts;
	bool may_be_down = false;
	struct buf why;

	if (!l)
		abort();
	buf_init(&why, t->arena, 0);
	for (size_t i = 0; i < n; i++) {
		enum err e = connect_host(t, db, db->dsn.socket ? NULL : &db->dsn.hosts[i], timeout_ms, l);

		if (!e) {
			task_clear_fault(t);
			*link_r = l;
			return ERR_OK;
		}
		may_be_down |= e != ERR_CONFIG;
		buf_addf(&why, "%s%s", i ? "; " : "", e == ERR_CONFIG ? t->fault.detail : t->fault.internal);
	}
	free(l);
	if (may_be_down)
		return task_fail_internal(t, ERR_UNAVAILABLE, "%s", why.p);
	return task_fail(t, ERR_CONFIG, "%s", why.p);
}

void maria_init(struct db *db)
{
	db->state = arena_alloc(db->arena, sizeof(struct profile));
}

void maria_disconnect(void *link)
{
	struct maria_link *l = link;

	mysql_close(l->my);
	free(l);
}

/* A server that hung up, or said anything while nothing was asked, has ended the session. */
bool maria_is_open(void *link)
{
	struct pollfd p = { .fd = mysql_get_socket(((struct maria_link *)link)->my), .events = POLLIN | POLLRDHUP };

	return poll(&p, 1, 0) == 0;
}
