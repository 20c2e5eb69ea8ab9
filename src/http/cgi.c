/* SPDX-License-Identifier: MIT */
/* cgi: one request of a plain CGI process: variables from the environment, body from stdin, answer to stdout. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <unistd.h>

#include "base/metrics.h"
#include "http/fcgi.h"

#define BODY_STEP 65536
#define DISCARD_MAX (64 << 20)

static bool sink_write(void *arg, struct bytes b)
{
	return fwrite(b.p, 1, b.n, arg) == b.n;
}

static bool sink_flush(void *arg)
{
	return fflush(arg) == 0;
}

/* A server that loses its client closes our stdout, or kills us. */
static int sink_client_fd(void *arg)
{
	return fileno(arg);
}

/* Reads up to `limit` bytes of stdin, fewer at its end or on an error. */
static struct bytes body_read(struct arena *a, int64_t limit)
{
	struct buf b;

	if (limit <= 0)
		return (struct bytes){ "", 0 };
	buf_init(&b, a, limit < BODY_STEP ? (size_t)limit + 1 : BODY_STEP + 1);
	while ((int64_t)b.n < limit) {
		int64_t left = limit - (int64_t)b.n;
		size_t want = left < BODY_STEP ? (size_t)left : BODY_STEP;
		ssize_t got = read(STDIN_FILENO, buf_room(&b, want), want);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			break;
		b.n += (size_t)got;
	}
	return (struct bytes){ b.p, b.n };
}

/* Reads what the server still wants to send: one that cannot finish may drop the answer too. */
static void body_discard(int64_t n)
{
	char step[BODY_STEP];

	if (n > DISCARD_MAX)
		n = DISCARD_MAX;
	while (n > 0) {
		ssize_t got = read(STDIN_FILENO, step, n < BODY_STEP ? (size_t)n : sizeof(step));

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return;
		n -= got;
	}
}

static enum http_body body_take(struct arena *a, int64_t max_body, struct bytes *body_r)
{
	int64_t declared = http_content_length(environ);
	const char *coding = getenv("HTTP_TRANSFER_ENCODING");

	*body_r = (struct bytes){ "", 0 };
	if (declared == -2)
		return HTTP_BODY_BAD_LENGTH;
	if (declared > max_body) {
		body_discard(declared);
		return HTTP_BODY_TOO_LARGE;
	}
	if (declared == -1) {
		/* RFC 3875: without a length no body, and stdin may then never end; but Apache leaves it out for a chunked one. */
		if (!coding || strcasecmp(coding, "chunked") != 0)
			return HTTP_BODY_OK;
		*body_r = body_read(a, max_body + 1);
		if ((int64_t)body_r->n <= max_body)
			return HTTP_BODY_OK;
		body_discard(DISCARD_MAX);
		return HTTP_BODY_TOO_LARGE;
	}
	*body_r = body_read(a, declared);
	return (int64_t)body_r->n < declared ? HTTP_BODY_INCOMPLETE : HTTP_BODY_OK;
}

enum err cgi_run(struct task *t, int64_t max_body, http_handler handler, void *arg)
{
	struct http_sink sink = { stdout, sink_write, sink_flush, sink_client_fd, NULL };
	struct http_request rq;
	struct http_response rs;

	http_request_from_env(t, environ, &rq);
	rq.body_state = body_take(t->arena, max_body, &rq.body);
	http_response_init(&rs, t, sink);
	rs.is_head = rq.method == HTTP_HEAD;
	metric_add(METRIC_requests_running, 1);
	handler(arg, t, &rq, &rs);
	metric_add(METRIC_requests_running, -1);
	if (fflush(stdout) != 0 || rs.is_client_gone)
		return task_fail_internal(t, ERR_CANCELLED, "the answer could not be written to stdout");
	return ERR_OK;
}
