/* SPDX-License-Identifier: MIT */
/* chat_local: requests to the application in this process, by the very way that a web server's take. */
#include <stdlib.h>

#include "main/chat_link.h"

#define HEAD_MAX 65536

/* An answer on its way: head first, then the body. */
struct answer {
	const struct chat_taker *to;
	struct buf head;
	bool is_body;
	enum err stopped;
};

/* The value of a header in an answer's head, as a number; 0 when it is not there. */
static int read_header(struct bytes head, const char *name)
{
	size_t n = strlen(name);
	for (const char *line = head.p; line && line + n < head.p + head.n; line = line ? line + 1 : NULL) {
		if (memcmp(line, name, n) == 0)
			return atoi(line + n);
		line = memchr(line, '\n', (size_t)(head.p + head.n - line));
	}
	return 0;
}

static void take_head(struct answer *a, struct bytes piece, struct bytes *rest_r)
{
	size_t before = a->head.n;
	buf_add_bytes(&a->head, piece);
	struct bytes head = buf_bytes(&a->head);
	const char *end = memmem(head.p, head.n, "\r\n\r\n", 4);
	*rest_r = (struct bytes){ NULL, 0 };
	if (!end) {
		a->stopped = head.n > HEAD_MAX ? ERR_INTERNAL : ERR_OK;
		return;
	}
	a->is_body = true;
	size_t n = (size_t)(end + 4 - head.p);
	*rest_r = (struct bytes){ piece.p + (n - before), piece.n - (n - before) };
	a->stopped = a->to->on_status(a->to->arg, read_header(head, "Status: "), read_header(head, "Retry-After: "));
}

/* A taker that wants no more is a client that is gone. */
static bool on_write(void *arg, struct bytes piece)
{
	struct answer *a = arg;
	if (!a->stopped && !a->is_body)
		take_head(a, piece, &piece);
	if (!a->stopped && a->is_body && piece.n)
		a->stopped = a->to->on_body(a->to->arg, piece);
	return a->stopped == ERR_OK;
}

static bool on_flush(void *arg)
{
	const struct answer *a = arg;
	return a->stopped == ERR_OK;
}

static int on_client_fd(void *arg)
{
	(void)arg;
	return -1;
}

static enum err ask(void *arg, struct task *t, const struct chat_ask *q, const struct chat_taker *to)
{
	struct chat_local *l = arg;
	struct task own; /* the application's faults are told in its answer */
	struct answer a = { .to = to };
	struct http_response rs;
	const char *query = strchr(q->path, '?');
	struct http_request rq = { .method = http_method_parse(bytes_of(q->method)), .method_text = bytes_of(q->method),
				   .path = { q->path, query ? (size_t)(query - q->path) : strlen(q->path) }, .query = bytes_of(query ? query + 1 : NULL),
				   .idempotency_key = bytes_of(q->idempotency_key), .last_event_id = bytes_of(q->last_event_id), .body = q->body };
	if (q->body.n)
		rq.content_type = BYTES("application/json");
	task_init(&own, t->arena);
	buf_init(&a.head, t->arena, 1024);
	http_response_init(&rs, &own, (struct http_sink){ &a, on_write, on_flush, on_client_fd, NULL });
	app_answer_operator(l->app, &l->site, &own, &rq, &rs);
	if (a.stopped)
		return a.stopped;
	return a.is_body ? ERR_OK : task_fail(t, ERR_PROVIDER_CUT, "there was no answer");
}

struct chat_link chat_local_link(struct chat_local *l)
{
	return (struct chat_link){ l, ask };
}
