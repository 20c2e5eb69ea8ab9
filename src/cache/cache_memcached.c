/* SPDX-License-Identifier: MIT */
/*
 * cache_memcached: one connection to one memcached server, through libmemcached.
 *
 * A handle of the library holds one server here, so that it never hashes, ejects or retries elsewhere: which server has a key is decided in cache.c.
 * ASCII protocol, since the binary one is given up by memcached; every command waits for its answer. The library's sockets never
 * block, so its poll and connect time-outs are the only ones that count. It keeps a server it could not reach at arm's length for whole seconds;
 * closing the handle's connection after each failure clears that, and the breaker alone decides when to try again. That close also makes sure
 * that a late answer is never taken for the answer to the next command.
 */
#include "cache/cache_private.h"

#include <assert.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/un.h>

#include <libmemcached/memcached.h>

#include "base/secret.h"

#define DEFAULT_PORT 11211

struct cache_link {
	memcached_st *m;
	memcached_result_st value; /* kept, so that a read allocates nothing once it has grown */
	memcached_result_st end;
	uint64_t connection;
	bool has_worked; /* some answer came over this connection */
};

/* ---- server list ---- */

static enum err refuse_server(struct task *t, struct bytes text, const char *why)
{
	return task_fail(t, ERR_CONFIG, "cache: \"%.*s\": %s", (int)text.n, text.p, why);
}

static enum err parse_port(struct task *t, struct bytes whole, const char *text, const char *end, uint16_t *port_r)
{
	long port = 0;
	for (const char *p = text; p < end; p++) {
		if (*p < '0' || *p > '9' || (port = port * 10 + (*p - '0')) > UINT16_MAX)
			return refuse_server(t, whole, "the port must be a number from 1 to 65535");
	}
	if (port == 0)
		return refuse_server(t, whole, "the port must be a number from 1 to 65535");
	*port_r = (uint16_t)port;
	return ERR_OK;
}

static enum err parse_unix(struct task *t, struct bytes text, struct cache_server *s)
{
	size_t n = text.n - 5;
	if (n == 0 || text.p[5] != '/')
		return refuse_server(t, text, "unix: wants an absolute path");
	if (n >= sizeof ((struct sockaddr_un *)0)->sun_path)
		return refuse_server(t, text, "the path is too long for a socket");
	memcpy(s->host, text.p + 5, n);
	s->host[n] = '\0';
	s->port = 0;
	return ERR_OK;
}

/* HOST, HOST:PORT, [V6] or [V6]:PORT. */
static enum err parse_host(struct task *t, struct bytes text, struct cache_server *s)
{
	const char *end = text.p + text.n;
	const char *from = text.p;
	if (*from == '[') {
		from = memchr(text.p, ']', text.n);
		if (!from)
			return refuse_server(t, text, "the bracket is not closed");
		from++;
	}
	const char *colon = memchr(from, ':', (size_t)(end - from));
	const char *host_end = colon ? colon : end;
	size_t n = (size_t)(host_end - text.p);
	if (n == 0 || n >= sizeof s->host || (*text.p == '[' && host_end != from))
		return refuse_server(t, text, "wanted is HOST[:PORT] or unix:PATH");
	for (size_t i = 0; i < n; i++)
		if (!strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_[]:", text.p[i]))
			return refuse_server(t, text, "a host name has only letters, digits, dots and hyphens");
	memcpy(s->host, text.p, n);
	s->host[n] = '\0';
	s->port = DEFAULT_PORT;
	return colon ? parse_port(t, text, colon + 1, end, &s->port) : ERR_OK;
}

static void hash_name(struct cache_server *s)
{
	struct bytes parts[] = { bytes_of(s->host), { (const char *)&s->port, sizeof s->port } };
	unsigned char hash[SECRET_HASH_SIZE];
	secret_hash(parts, 2, hash);
	memcpy(&s->hash, hash, sizeof s->hash);
}

static bool is_listed(const struct cache_server *servers, size_t n, const struct cache_server *s)
{
	for (size_t i = 0; i < n; i++)
		if (servers[i].port == s->port && strcmp(servers[i].host, s->host) == 0)
			return true;
	return false;
}

static enum err parse_server(struct task *t, struct bytes text, struct cache_server *servers, size_t *n)
{
	if (*n == PENDING_SERVERS)
		return refuse_server(t, text, "more than 16 servers");
	struct cache_server *s = &servers[*n];
	bool is_unix = text.n >= 5 && memcmp(text.p, "unix:", 5) == 0;
	enum err e = is_unix ? parse_unix(t, text, s) : parse_host(t, text, s);
	if (e)
		return e;
	if (is_listed(servers, *n, s))
		return refuse_server(t, text, "is listed twice");
	hash_name(s);
	++*n;
	return ERR_OK;
}

enum err cache_parse_servers(struct task *t, const char *text, struct cache_server servers_r[PENDING_SERVERS], size_t *n_r)
{
	*n_r = 0;
	const char *p = text ? text : "";
	if (p[strspn(p, " \t")] == '\0')
		return ERR_OK;
	for (;;) {
		p += strspn(p, " \t");
		size_t n = strcspn(p, ",");
		struct bytes one = { p, n };
		while (one.n > 0 && (one.p[one.n - 1] == ' ' || one.p[one.n - 1] == '\t'))
			one.n--;
		if (one.n == 0)
			return refuse_server(t, bytes_of(text), "a name is missing");
		enum err e = parse_server(t, one, servers_r, n_r);
		if (e)
			return e;
		if (p[n] == '\0')
			return ERR_OK;
		p += n + 1;
	}
}

/* ---- connection ---- */

static uint64_t next_connection(void)
{
	static _Atomic uint64_t last;
	return atomic_fetch_add(&last, 1) + 1;
}

static void set_behavior(memcached_st *m, memcached_behavior_t what, uint64_t v)
{
	memcached_return_t rc = memcached_behavior_set(m, what, v);
	assert(rc == MEMCACHED_SUCCESS);
}

struct cache_link *cache_link_open(const struct cache_server *server, int timeout_ms)
{
	struct cache_link *l = calloc(1, sizeof *l);
	assert(l);
	l->m = memcached_create(NULL);
	assert(l->m);
	set_behavior(l->m, MEMCACHED_BEHAVIOR_BINARY_PROTOCOL, 0);
	set_behavior(l->m, MEMCACHED_BEHAVIOR_SUPPORT_CAS, 1);
	set_behavior(l->m, MEMCACHED_BEHAVIOR_VERIFY_KEY, 1);
	set_behavior(l->m, MEMCACHED_BEHAVIOR_TCP_NODELAY, 1);
	set_behavior(l->m, MEMCACHED_BEHAVIOR_POLL_TIMEOUT, (uint64_t)timeout_ms);
	set_behavior(l->m, MEMCACHED_BEHAVIOR_CONNECT_TIMEOUT, (uint64_t)timeout_ms);
	set_behavior(l->m, MEMCACHED_BEHAVIOR_SERVER_FAILURE_LIMIT, INT32_MAX);
	memcached_return_t rc = server->port ? memcached_server_add(l->m, server->host, server->port)
					     : memcached_server_add_unix_socket(l->m, server->host);
	assert(rc == MEMCACHED_SUCCESS);
	memcached_result_st *value = memcached_result_create(l->m, &l->value);
	memcached_result_st *end = memcached_result_create(l->m, &l->end);
	assert(value && end);
	l->connection = next_connection();
	return l;
}

void cache_link_close(struct cache_link **l)
{
	if (!*l)
		return;
	memcached_result_free(&(*l)->value);
	memcached_result_free(&(*l)->end);
	memcached_free((*l)->m);
	free(*l);
	*l = NULL;
}

uint64_t cache_link_connection(const struct cache_link *l)
{
	return l->connection;
}

/* Nothing on this connection can be relied on: leave it, and with it every CAS token it gave. */
static enum cache_answer abandon(struct cache_link *l, memcached_return_t rc)
{
	bool is_lost = l->has_worked && rc != MEMCACHED_TIMEOUT;
	memcached_quit(l->m);
	l->connection = next_connection();
	l->has_worked = false;
	return is_lost ? CACHE_LOST : CACHE_FAILED;
}

static enum cache_answer conclude(struct cache_link *l, memcached_return_t rc)
{
	/* A read that was answered with rubbish is reported as "not found"; only the noted error tells. */
	memcached_return_t noted = memcached_last_error(l->m);
	if (noted != MEMCACHED_SUCCESS && noted != MEMCACHED_NOTFOUND)
		return abandon(l, noted);
	switch (rc) {
	case MEMCACHED_SUCCESS:
		l->has_worked = true;
		return CACHE_DONE;
	case MEMCACHED_NOTFOUND:
		l->has_worked = true;
		return CACHE_ABSENT;
	case MEMCACHED_NOTSTORED:
	case MEMCACHED_DATA_EXISTS:
	case MEMCACHED_E2BIG:
	case MEMCACHED_SERVER_MEMORY_ALLOCATION_FAILURE:
		l->has_worked = true;
		return CACHE_REFUSED;
	default:
		return abandon(l, rc);
	}
}

enum cache_answer cache_link_get(struct cache_link *l, const char *key, struct bytes *value_r, uint64_t *cas_r)
{
	const size_t key_n = CACHE_KEY_TEXT;
	memcached_return_t rc = memcached_mget(l->m, &key, &key_n, 1);
	if (rc != MEMCACHED_SUCCESS)
		return abandon(l, rc);
	if (!memcached_fetch_result(l->m, &l->value, &rc))
		return conclude(l, rc == MEMCACHED_END ? MEMCACHED_NOTFOUND : rc);
	/* The line END must follow, or what is read next is not what was asked next. */
	if (memcached_fetch_result(l->m, &l->end, &rc))
		return abandon(l, MEMCACHED_PROTOCOL_ERROR);
	enum cache_answer end = conclude(l, rc == MEMCACHED_END ? MEMCACHED_NOTFOUND : rc);
	if (end != CACHE_ABSENT)
		return end == CACHE_LOST ? CACHE_LOST : abandon(l, MEMCACHED_PROTOCOL_ERROR);
	if (memcached_result_key_length(&l->value) != CACHE_KEY_TEXT ||
	    memcmp(memcached_result_key_value(&l->value), key, CACHE_KEY_TEXT) != 0)
		return abandon(l, MEMCACHED_PROTOCOL_ERROR);
	*value_r = (struct bytes){ memcached_result_value(&l->value), memcached_result_length(&l->value) };
	*cas_r = memcached_result_cas(&l->value);
	return CACHE_DONE;
}

enum cache_answer cache_link_add(struct cache_link *l, const char *key, struct bytes value, int64_t expiry_s)
{
	return conclude(l, memcached_add(l->m, key, CACHE_KEY_TEXT, value.p, value.n, (time_t)expiry_s, 0));
}

enum cache_answer cache_link_cas(struct cache_link *l, const char *key, struct bytes value, int64_t expiry_s, uint64_t cas)
{
	if (cas == 0)
		return CACHE_REFUSED;
	return conclude(l, memcached_cas(l->m, key, CACHE_KEY_TEXT, value.p, value.n, (time_t)expiry_s, 0, cas));
}

enum cache_answer cache_link_delete(struct cache_link *l, const char *key)
{
	return conclude(l, memcached_delete(l->m, key, CACHE_KEY_TEXT, 0));
}

enum cache_answer cache_link_set(struct cache_link *l, const char *key, struct bytes value, int64_t expiry_s)
{
	return conclude(l, memcached_set(l->m, key, CACHE_KEY_TEXT, value.p, value.n, (time_t)expiry_s, 0));
}
