/* SPDX-License-Identifier: MIT */
/* dsn: where the database is, parsed from the setting `database`. */
#ifndef PARLEY_DB_DSN_H
#define PARLEY_DB_DSN_H

#include <stddef.h>

#include "base/task.h"

struct dsn_host {
	const char *name; /* without the brackets of an IPv6 address */
	unsigned int port;
};

struct dsn {
	const char *path; /* SQLite: the file, or ":memory:". NULL: MariaDB, and the rest is filled */
	const char *user; /* "" when none was given, as is the password */
	const char *password;
	const char *schema;     /* never empty */
	const char *socket;     /* NULL: over TCP to the hosts */
	struct dsn_host *hosts; /* in the order they are to be tried */
	size_t n_hosts;
};

/*
 * Parses `sqlite:PATH`, `mariadb://USER:PASSWORD@HOST[:PORT][,HOST2...]/NAME` or `mariadb://USER:PASSWORD@/NAME?socket=PATH`, where
 * user, password, name and socket may be percent-encoded. All text is copied into `a`. ERR_CONFIG says what is wrong, and never
 * repeats the text, which may hold the password.
 */
enum err dsn_parse(struct task *t, struct arena *a, const char *text, struct dsn *dsn_r) MUST_CHECK;

#endif
