/* SPDX-License-Identifier: MIT */
/*
 * fuzz_fcgi_records: sequences of FastCGI records, well-formed or not, on a kept connection: never more requests than were begun, and where a
 * web server could have sent them, every body that counts as whole is as long as was declared. Lengths inside parameters stay below 128: past what can be allocated libfcgi
 * ends the process, which is why only the web server may reach the socket.
 */
#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "../support/fcgi_client.h"
#include "http/fcgi.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
const char *__lsan_default_suppressions(void);

/* It loses a few bytes for each management record it does not know. */
const char *__lsan_default_suppressions(void)
{
	return "leak:libfcgi.so";
}

static struct sockaddr_un address;
static socklen_t address_len;
static atomic_int n_handled;
static atomic_bool is_honest; /* only whole requests were sent; libfcgi lets contents of odd records slip into parameters */

static void handler(void *arg, struct task *t, const struct http_request *rq, struct http_response *rs)
{
	(void)arg, (void)t;
	atomic_fetch_add(&n_handled, 1);
	assert(rq->body.n <= 512);
	if (rq->body_state == HTTP_BODY_OK && is_honest)
		assert((size_t)atoi(rq->idempotency_key.p) == rq->body.n);
	if (rq->method == HTTP_PUT) {
		if (http_stream_begin(rs))
			http_stream_event(rs, NULL, NULL, rq->body);
		return;
	}
	http_send(rs);
}

static void server_start(void)
{
	struct fcgi_conf conf = { .threads = 2, .max_body = 512, .keep_conn = true, .arena_bytes = 4096, .handler = handler };
	struct arena *a = arena_open(1024);
	struct fcgi_server *server;
	struct task t;

	task_init(&t, a);
	address.sun_family = AF_UNIX; /* and an abstract name: no file */
	address_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 +
				  (size_t)snprintf(address.sun_path + 1, 64, "fuzz_fcgi_records.%d", (int)getpid()));
	conf.listen_fd = socket(AF_UNIX, SOCK_STREAM, 0);
	if (bind(conf.listen_fd, (struct sockaddr *)&address, address_len) != 0 || listen(conf.listen_fd, 64) != 0 ||
	    fcgi_open(&t, &conf, &server) != ERR_OK)
		abort();
	arena_close(&a);
}

/* An honest request whose body may or may not be as long as it says. */
static void put_request(struct buf *wire, unsigned declared, unsigned sent)
{
	static const char body[1024];
	struct buf params;
	char text[16];

	buf_init(&params, wire->arena, 256);
	snprintf(text, sizeof(text), "%u", declared);
	fcgi_put_pair(&params, BYTES("REQUEST_METHOD"), declared % 2 ? BYTES("PUT") : BYTES("POST"));
	fcgi_put_pair(&params, BYTES("REQUEST_URI"), BYTES("/a"));
	fcgi_put_pair(&params, BYTES("CONTENT_LENGTH"), bytes_of(text));
	fcgi_put_pair(&params, BYTES("HTTP_IDEMPOTENCY_KEY"), bytes_of(text));
	fcgi_put_begin(wire, 1, true);
	fcgi_put_stream(wire, FCGI_PARAMS, 1, buf_bytes(&params));
	fcgi_put_stream(wire, FCGI_STDIN, 1, (struct bytes){ body, sent });
}

/* Turns the input into records; returns how many BEGIN records there are at most, those hidden in contents included. */
static int put_records(struct buf *wire, const uint8_t *data, size_t size)
{
	static const uint8_t types[] = { FCGI_BEGIN, FCGI_ABORT, FCGI_PARAMS, FCGI_STDIN, FCGI_DATA, FCGI_GET_VALUES, 0, 200 };
	int n_begun = 0;

	is_honest = true;
	while (size >= 4) {
		size_t n = data[2] < size - 4 ? data[2] : size - 4;
		unsigned kind = data[0] % 10;
		char content[256];

		is_honest = is_honest && kind >= 8;
		for (size_t i = 0; i < n; i++)
			content[i] = (char)(data[4 + i] & 0x7f);
		if (kind >= 8) {
			put_request(wire, data[2] * 4u, data[3] * 4u);
			n_begun++;
		} else if (kind == 0 && data[1] % 4) {
			fcgi_put_begin(wire, data[1] % 3, true);
			n_begun++;
		} else {
			fcgi_put_record(wire, (enum fcgi_type)types[kind], data[1] % 3, content, n, data[3] % 16);
			n_begun += kind == 0;
		}
		data += 4 + n;
		size -= 4 + n;
	}
	return n_begun;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct arena *arena;
	struct timeval patience = { .tv_sec = 5 };
	char answer[8192];
	struct buf wire;
	ssize_t n;
	int fd;

	if (!arena) {
		arena = arena_open(65536);
		server_start();
	}
	buf_init(&wire, arena, 8192);
	int n_begun = put_records(&wire, data, size);

	n_handled = 0;
	fd = socket(AF_UNIX, SOCK_STREAM, 0);
	if (connect(fd, (struct sockaddr *)&address, address_len) != 0)
		abort();
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	(void)fcgi_write(fd, buf_bytes(&wire));
	shutdown(fd, SHUT_WR);
	while ((n = recv(fd, answer, sizeof(answer), 0)) > 0)
		;
	/* The connection has ended by now, it does not hang. */
	if (n < 0 && errno == EAGAIN)
		abort();
	close(fd);
	assert(n_handled <= n_begun && (!is_honest || (n_handled > 0) == (n_begun > 0)));
	arena_reset(arena);
	return 0;
}
