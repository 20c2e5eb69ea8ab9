/* SPDX-License-Identifier: MIT */
/* cache_private: what cache.c asks of the driver that speaks to one server over one connection, and what only tests may call. */
#ifndef PARLEY_CACHE_CACHE_PRIVATE_H
#define PARLEY_CACHE_CACHE_PRIVATE_H

#include "cache/cache.h"
#include "cache/pending.h"

#define CACHE_VALUE_MAX 1000000 /* header and value; memcached's own limit is 1 MB with its item header */
#define CACHE_KEY_TEXT 64       /* hex characters */

/* How a question to a server ended. */
enum cache_answer {
	CACHE_DONE,    /* found, stored, deleted */
	CACHE_ABSENT,  /* the server has no such entry */
	CACHE_REFUSED, /* the server answered that it will not: it exists already, has changed, is too large */
	CACHE_LOST,    /* a connection that had worked was closed: worth asking again on a new one */
	CACHE_FAILED,  /* no connection, or no answer in time: whether the command is carried out, now or later, is unknown */
};

struct cache_server {
	char host[256];  /* of a Unix socket its path */
	uint16_t port;   /* 0: a Unix socket */
	uint64_t hash;   /* of its name: decides with a key's bytes which keys it holds */
};

/* One thread's connection to one server; made on first use, again after a failure. */
struct cache_link;

/* Reads "HOST[:PORT],unix:PATH,..." Returns ERR_CONFIG with a fault when it is not that. */
enum err cache_parse_servers(struct task *t, const char *text, struct cache_server servers_r[PENDING_SERVERS], size_t *n_r) MUST_CHECK;

struct cache_link *cache_link_open(const struct cache_server *server, int timeout_ms);
void cache_link_close(struct cache_link **l);

/* Names the link's present connection; never the same for two connections of this process. */
uint64_t cache_link_connection(const struct cache_link *l);

/* One round trip. The value is valid until the link's next call. `key` is CACHE_KEY_TEXT hex characters and a NUL. */
enum cache_answer cache_link_get(struct cache_link *l, const char *key, struct bytes *value_r, uint64_t *cas_r);
enum cache_answer cache_link_add(struct cache_link *l, const char *key, struct bytes value, int64_t expiry_s);
/* A `cas` of 0 is refused without asking: the library would send a line that makes memcached run the value as commands. */
enum cache_answer cache_link_cas(struct cache_link *l, const char *key, struct bytes value, int64_t expiry_s, uint64_t cas);
enum cache_answer cache_link_delete(struct cache_link *l, const char *key);
/* For tests of what must not be done: an unconditional store. */
enum cache_answer cache_link_set(struct cache_link *l, const char *key, struct bytes value, int64_t expiry_s);

/* For tests only: stores a value as plain look-aside caching would, whatever a writer did meanwhile. */
void cache_set_blindly(struct task *t, struct cache *c, const struct cache_key *key, struct bytes value);

/* For tests only: the server (its place in the list) that holds a key. */
size_t cache_server_of(const struct cache *c, const struct cache_key *key);

#endif
