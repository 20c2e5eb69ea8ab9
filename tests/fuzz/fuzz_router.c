/* SPDX-License-Identifier: MIT */
/* fuzz_router: any path finds a row with decoded values within bounds, or nothing. */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "http/router.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const patterns[] = {
	"/healthz", "/v1/sessions", "/v1/sessions/{s}", "/v1/sessions/{s}/messages/{m}", "/v1/sessions/{s}/memory/search",
	"/v1/sessions/{s}/memory/{e}", "/v1/{a}/{b}/{c}/{d}", "/v1/users/{u}/context/{k}", "/a/b/{x}", "/a/{x}/b", "/{x}/a/b",
};

#define PATTERNS (sizeof(patterns) / sizeof(*patterns))

static size_t count_params(const char *pattern)
{
	size_t n = 0;

	for (; *pattern; pattern++)
		n += *pattern == '{';
	return n;
}

static void check(const struct router_match *m, struct bytes path)
{
	const char *const *row = m->row;

	assert(row >= patterns && row < patterns + PATTERNS);
	assert(m->n_params == count_params(*row));
	for (size_t i = 0; i < m->n_params; i++) {
		assert(m->params[i].n > 0 && m->params[i].n <= ROUTER_PARAM_BYTES && m->params[i].n <= path.n);
		assert(!memchr(m->params[i].p, '\0', m->params[i].n));
		assert(!bytes_equal(m->params[i], BYTES(".")) && !bytes_equal(m->params[i], BYTES("..")));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct router *router;
	static struct arena *arena;
	struct router_match m;
	struct task t;

	if (!router) {
		router = router_open();
		arena = arena_open(65536);
		for (size_t i = 0; i < PATTERNS; i++)
			router_add(router, i % 3 == 1 ? HTTP_POST : HTTP_GET, patterns[i], &patterns[i]);
	}
	if (size < 1)
		return 0;
	task_init(&t, arena);
	/* A copy of its exact size: reading past it shows. */
	char *copy = malloc(size);

	memcpy(copy, data, size);
	struct bytes path = { copy + 1, size - 1 };
	enum err e = router_find(router, &t, (enum http_method)(data[0] % (HTTP_METHOD_COUNT + 1)), path, &m);

	assert((e == ERR_OK) == (m.row != NULL));
	assert(e == ERR_OK || e == ERR_NOT_FOUND || e == ERR_METHOD_NOT_ALLOWED);
	assert((e == ERR_NOT_FOUND) == (m.allowed == 0));
	if (e == ERR_OK)
		check(&m, path);
	free(copy);
	arena_reset(arena);
	return 0;
}
