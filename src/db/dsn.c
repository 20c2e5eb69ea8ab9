/* SPDX-License-Identifier: MIT */
/* dsn: parses the setting `database`. */
#include "db/dsn.h"

#include <stdbool.h>

#define SQLITE_SCHEME "sqlite:"
#define MARIADB_SCHEME "mariadb://"
#define DEFAULT_PORT 3306
#define MAX_HOSTS 16

static struct bytes span(const char *from, const char *to)
{
	return (struct bytes){ from, (size_t)(to - from) };
}

static const char *find(struct bytes s, char c)
{
	return s.n ? memchr(s.p, c, s.n) : NULL;
}

/* Cuts s at the first c and returns what is in front of it; *rest_r is what follows, with NULL p when there is no c. */
static struct bytes cut(struct bytes s, char c, struct bytes *rest_r)
{
	const char *at = find(s, c);

	if (!at) {
		*rest_r = (struct bytes){ NULL, 0 };
		return s;
	}
	*rest_r = span(at + 1, s.p + s.n);
	return span(s.p, at);
}

/* Undoes percent-encoding; `what` names the part in the error. */
static enum err decode(struct task *t, struct arena *a, const char *what, struct bytes s, const char **out_r)
{
	char *out = arena_alloc(a, s.n + 1);
	size_t n = 0;

	for (size_t i = 0; i < s.n; i++) {
		char c = s.p[i];

		if (c == '%') {
			int high = i + 2 < s.n ? bytes_hex_value(s.p[i + 1]) : -1;
			int low = i + 2 < s.n ? bytes_hex_value(s.p[i + 2]) : -1;

			if (high < 0 || low < 0)
				return task_fail(t, ERR_CONFIG, "database: the %s has a '%%' that no two hex digits follow (write %%25)", what);
			c = (char)(high * 16 + low);
			i += 2;
		}
		if ((unsigned char)c < 0x20 || c == 0x7f)
			return task_fail(t, ERR_CONFIG, "database: the %s has a control character in it", what);
		out[n++] = c;
	}
	*out_r = out;
	return ERR_OK;
}

static bool is_host_char(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '-' || c == '_' ||
	       c == ':' || c == '%';
}

static enum err parse_port(struct task *t, struct bytes s, unsigned int *port_r)
{
	unsigned int port = 0;

	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] < '0' || s.p[i] > '9' || port > 65535)
			return task_fail(t, ERR_CONFIG, "database: a port must be a number from 1 to 65535");
		port = port * 10 + (unsigned int)(s.p[i] - '0');
	}
	if (port < 1 || port > 65535)
		return task_fail(t, ERR_CONFIG, "database: a port must be a number from 1 to 65535");
	*port_r = port;
	return ERR_OK;
}

/* One of `name`, `name:port`, `[v6]`, `[v6]:port`. */
static enum err parse_host(struct task *t, struct arena *a, struct bytes s, struct dsn_host *host_r)
{
	struct bytes name, port = { NULL, 0 };

	if (s.n && s.p[0] == '[') {
		const char *end = find(s, ']');

		if (!end)
			return task_fail(t, ERR_CONFIG, "database: a host that starts with '[' must end with ']'");
		name = span(s.p + 1, end);
		if (end + 1 < s.p + s.n) {
			if (end[1] != ':')
				return task_fail(t, ERR_CONFIG, "database: only ':PORT' may follow a host in brackets");
			port = span(end + 2, s.p + s.n);
		}
	} else {
		name = cut(s, ':', &port);
	}
	if (!name.n)
		return task_fail(t, ERR_CONFIG, "database: a host has no name");
	for (size_t i = 0; i < name.n; i++)
		if (!is_host_char(name.p[i]))
			return task_fail(t, ERR_CONFIG, "database: a host has a character that no host name has");
	host_r->name = arena_copy(a, name.p, name.n);
	host_r->port = DEFAULT_PORT;
	return port.p ? parse_port(t, port, &host_r->port) : ERR_OK;
}

static enum err parse_hosts(struct task *t, struct arena *a, struct bytes s, struct dsn *dsn)
{
	dsn->hosts = arena_array(a, MAX_HOSTS, sizeof *dsn->hosts);
	while (s.p) {
		enum err e;

		if (dsn->n_hosts == MAX_HOSTS)
			return task_fail(t, ERR_CONFIG, "database: at most %d hosts", MAX_HOSTS);
		e = parse_host(t, a, cut(s, ',', &s), &dsn->hosts[dsn->n_hosts]);
		if (e)
			return e;
		dsn->n_hosts++;
	}
	return ERR_OK;
}

/* USER[:PASSWORD]@HOSTS; the last '@' ends the user's part, so that a password may hold one. */
static enum err parse_authority(struct task *t, struct arena *a, struct bytes s, struct dsn *dsn)
{
	struct bytes user, password;
	const char *at = NULL;
	enum err e;

	for (size_t i = 0; i < s.n; i++)
		if (s.p[i] == '@')
			at = s.p + i;
	if (!at)
		return task_fail(t, ERR_CONFIG, "database: a user is missing: mariadb://USER:PASSWORD@HOST/NAME");
	user = cut(span(s.p, at), ':', &password);
	e = decode(t, a, "user", user, &dsn->user);
	if (!e)
		e = decode(t, a, "password", password, &dsn->password);
	if (!e && at + 1 < s.p + s.n)
		e = parse_hosts(t, a, span(at + 1, s.p + s.n), dsn);
	return e;
}

static enum err parse_options(struct task *t, struct arena *a, struct bytes s, struct dsn *dsn)
{
	while (s.p) {
		struct bytes value, name = cut(cut(s, '&', &s), '=', &value);
		enum err e;

		if (!bytes_equal(name, BYTES("socket")))
			return task_fail(t, ERR_CONFIG, "database: the only option behind '?' is socket=PATH");
		e = decode(t, a, "socket", value, &dsn->socket);
		if (e)
			return e;
		if (dsn->socket[0] != '/')
			return task_fail(t, ERR_CONFIG, "database: socket must be an absolute path");
	}
	return ERR_OK;
}

static enum err parse_mariadb(struct task *t, struct arena *a, struct bytes s, struct dsn *dsn)
{
	struct bytes path, options, authority = cut(s, '/', &path);
	enum err e = parse_authority(t, a, authority, dsn);

	if (e)
		return e;
	path = cut(path, '?', &options);
	e = decode(t, a, "name", path, &dsn->schema);
	if (!e && !dsn->schema[0])
		e = task_fail(t, ERR_CONFIG, "database: the name is missing: mariadb://USER:PASSWORD@HOST/NAME");
	if (!e)
		e = parse_options(t, a, options, dsn);
	if (!e && !dsn->socket && !dsn->n_hosts)
		e = task_fail(t, ERR_CONFIG, "database: a host or ?socket=PATH is missing");
	if (!e && dsn->socket && dsn->n_hosts)
		e = task_fail(t, ERR_CONFIG, "database: give hosts or ?socket=PATH, not both");
	return e;
}

enum err dsn_parse(struct task *t, struct arena *a, const char *text, struct dsn *dsn_r)
{
	struct bytes s = bytes_of(text);

	memset(dsn_r, 0, sizeof *dsn_r);
	if (strncmp(s.p, SQLITE_SCHEME, strlen(SQLITE_SCHEME)) == 0) {
		dsn_r->path = arena_strdup(a, text + strlen(SQLITE_SCHEME));
		return dsn_r->path[0] ? ERR_OK : task_fail(t, ERR_CONFIG, "database: sqlite: needs the path of a file");
	}
	if (strncmp(s.p, MARIADB_SCHEME, strlen(MARIADB_SCHEME)) == 0)
		return parse_mariadb(t, a, span(s.p + strlen(MARIADB_SCHEME), s.p + s.n), dsn_r);
	return task_fail(t, ERR_CONFIG, "database: must start with " SQLITE_SCHEME " or " MARIADB_SCHEME);
}
