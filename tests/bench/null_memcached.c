/* SPDX-License-Identifier: MIT */
/* null_memcached: fetches one value of 4 KB from memcached over its Unix socket (ARGUMENT) and answers with it; nothing else. */
#include <err.h>
#include <libmemcached/memcached.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "serve.h"

#define VALUE_KEY "parley-bench-value"

static void *cache_open(const char *argument)
{
	memcached_st *mc = memcached_create(NULL);
	if (!mc || !argument || memcached_server_add_unix_socket(mc, argument) != MEMCACHED_SUCCESS)
		errx(1, "memcached: no socket");
	memcached_behavior_set(mc, MEMCACHED_BEHAVIOR_POLL_TIMEOUT, 1000);
	static char value[4096];
	memset(value, 'v', sizeof value);
	memcached_return_t rc = memcached_set(mc, VALUE_KEY, strlen(VALUE_KEY), value, sizeof value, 0, 0);
	if (rc != MEMCACHED_SUCCESS)
		errx(1, "memcached: %s", memcached_strerror(mc, rc));
	return mc;
}

static void cache_answer(void *state, FCGX_Request *rq)
{
	size_t n;
	uint32_t flags;
	memcached_return_t rc;
	char *value = memcached_get(state, VALUE_KEY, strlen(VALUE_KEY), &n, &flags, &rc);
	if (!value) {
		FCGX_PutS("Status: 503 Service Unavailable\r\n\r\n", rq->out);
		return;
	}
	char head[96];
	int n_head = snprintf(head, sizeof head, "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n", n);
	FCGX_PutStr(head, n_head, rq->out);
	FCGX_PutStr(value, (int)n, rq->out);
	free(value);
}

int main(int argc, char **argv)
{
	return serve_main(argc, argv, &(const struct serve_program){ cache_open, cache_answer });
}
