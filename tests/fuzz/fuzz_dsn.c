/* SPDX-License-Identifier: MIT */
/* fuzz_dsn: any text as the setting `database`: parsed whole or refused with a reason, and never half filled. */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#include "db/dsn.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct arena *a;
	struct task t = { 0 };
	struct dsn dsn;

	if (!a)
		a = arena_open(65536);
	t.arena = a;
	if (dsn_parse(&t, a, arena_copy(a, data, size), &dsn) != ERR_OK) {
		assert(t.fault.code == ERR_CONFIG && t.fault.detail[0]);
	} else if (dsn.path) {
		assert(dsn.path[0] && !dsn.n_hosts && !dsn.socket);
	} else {
		assert(dsn.user && dsn.password && dsn.schema[0]);
		assert((dsn.n_hosts > 0) == !dsn.socket);
		for (size_t i = 0; i < dsn.n_hosts; i++)
			assert(dsn.hosts[i].name[0] && dsn.hosts[i].port >= 1 && dsn.hosts[i].port <= 65535);
	}
	arena_reset(a);
	return 0;
}
