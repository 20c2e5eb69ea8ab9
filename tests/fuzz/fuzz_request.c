/* SPDX-License-Identifier: MIT */
/* fuzz_request: any environment makes a request whose texts lie within it; any text is unescaped or refused, and events stay one event. */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "http/http.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define VARIABLES 32

static struct buf written;

static bool sink_write(void *arg, struct bytes b)
{
	(void)arg;
	buf_add_bytes(&written, b);
	return true;
}

static bool sink_flush(void *arg)
{
	(void)arg;
	return true;
}

static int sink_client_fd(void *arg)
{
	(void)arg;
	return -1;
}

/* Each line of the input becomes a variable. */
static void check_environment(struct task *t, struct bytes in)
{
	char *env[VARIABLES + 1];
	struct http_request rq;
	size_t n = 0;

	while (n < VARIABLES && in.n > 0) {
		const char *end = memchr(in.p, '\n', in.n);
		size_t len = end ? (size_t)(end - in.p) : in.n;

		env[n] = malloc(len + 1);
		memcpy(env[n], in.p, len);
		env[n++][len] = '\0';
		in.p += len;
		in.n -= len;
		if (in.n > 0) {
			in.p++;
			in.n--;
		}
	}
	env[n] = NULL;
	http_request_from_env(t, env, &rq);
	assert(rq.method <= HTTP_METHOD_COUNT && rq.path.p && rq.query.p);
	assert(!memchr(rq.path.p, '?', rq.path.n) || !rq.query.n);
	assert(http_content_length(env) >= -2);
	while (n > 0)
		free(env[--n]);
}

static void check_unescape(struct task *t, struct bytes in)
{
	struct bytes out;

	for (int plus = 0; plus <= 1; plus++) {
		if (!http_unescape(t->arena, in, plus, &out))
			continue;
		assert(out.n <= in.n && !memchr(out.p, '\0', out.n));
	}
}

/* No text makes a header or an event end early. */
static void check_response(struct task *t, struct bytes in)
{
	char *text = arena_copy(t->arena, in.p, in.n);
	struct http_response rs;
	size_t lines = 0;

	buf_init(&written, t->arena, 0);
	http_response_init(&rs, t, (struct http_sink){ NULL, sink_write, sink_flush, sink_client_fd, NULL });
	http_header(&rs, "X-Text", "%s", text);
	http_send(&rs);
	struct bytes head = buf_bytes(&written);

	for (size_t i = 0; i < head.n; i++)
		lines += head.p[i] == '\n';
	assert(lines == 5 && head.n > 4 && memcmp(head.p + head.n - 4, "\r\n\r\n", 4) == 0);
	http_response_init(&rs, t, (struct http_sink){ NULL, sink_write, sink_flush, sink_client_fd, NULL });
	assert(http_stream_begin(&rs));
	buf_clear(&written);
	assert(http_stream_event(&rs, text, text, in));
	struct bytes event = buf_bytes(&written);

	assert(event.n > 2 && !memmem(event.p, event.n - 1, "\n\n", 2) && memcmp(event.p + event.n - 2, "\n\n", 2) == 0);
	assert(!memchr(event.p, '\r', event.n));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct arena *arena;
	struct bytes in = { (const char *)data, size };
	struct task t;

	if (!arena)
		arena = arena_open(65536);
	task_init(&t, arena);
	check_environment(&t, in);
	check_unescape(&t, in);
	check_response(&t, in);
	arena_reset(arena);
	return 0;
}
