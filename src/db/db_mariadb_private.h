/* SPDX-License-Identifier: MIT */
/* db_mariadb_private: what the two files of the MariaDB back end share. */
#ifndef PARLEY_DB_DB_MARIADB_PRIVATE_H
#define PARLEY_DB_DB_MARIADB_PRIVATE_H

#include <mysql.h>

#include "db/db_private.h"

struct maria_link {
	MYSQL *my;
	size_t max_packet; /* what the server takes in one piece; 0: unknown */
};

/* Members of struct db_driver. */
void maria_init(struct db *db);
enum err maria_connect(struct task *t, struct db *db, int timeout_ms, void **link_r) MUST_CHECK;
void maria_disconnect(void *link);
bool maria_is_open(void *link);

/* Runs a text whose answer, if any, is handed to `row` (may be NULL) row by row. False: mysql_errno says why. */
bool maria_ask(struct maria_link *l, const char *sql, void (*row)(MYSQL_ROW cells, void *arg), void *arg);

#endif
