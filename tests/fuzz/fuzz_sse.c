/* SPDX-License-Identifier: MIT */
/* fuzz_sse: any bytes, in any pieces, give the events that the bytes in one piece give. */
#include <assert.h>
#include <stdint.h>

#include "base/buf.h"
#include "llm/sse.h"

#define MAX_EVENT 64

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static enum err keep(void *arg, const struct sse_event *event)
{
	assert(event->data.n <= MAX_EVENT);
	buf_addf(arg, "%zu:%zu:%zu:", event->name.n, event->id.n, event->data.n);
	buf_add_bytes(arg, event->name);
	buf_add_bytes(arg, event->id);
	buf_add_bytes(arg, event->data);
	return ERR_OK;
}

static enum err parse(struct task *t, struct bytes in, size_t step, struct buf *out)
{
	struct sse s;
	enum err e = ERR_OK;

	buf_init(out, t->arena, 64);
	sse_init(&s, t, MAX_EVENT, keep, out);
	for (size_t at = 0; e == ERR_OK && at < in.n; at += step)
		e = sse_take(&s, (struct bytes){ in.p + at, in.n - at < step ? in.n - at : step });
	if (e == ERR_OK)
		e = sse_finish(&s);
	buf_addf(out, "%s", err_code(e));
	return e;
}

/* The first byte is the size of the pieces, the rest the stream. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct arena *arena;
	struct task t = { 0 };
	struct buf whole, pieces;
	struct bytes in;

	if (size < 1)
		return 0;
	if (!arena)
		arena = arena_open(65536);
	t.arena = arena;
	in = (struct bytes){ (const char *)data + 1, size - 1 };
	parse(&t, in, size, &whole);
	parse(&t, in, 1 + data[0] % 16u, &pieces);
	assert(bytes_equal(buf_bytes(&whole), buf_bytes(&pieces)));
	arena_reset(arena);
	return 0;
}
