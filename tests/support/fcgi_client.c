/* SPDX-License-Identifier: MIT */
/* fcgi_client: speaks FastCGI to a Unix socket. */
#include "fcgi_client.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define RECORD_MAX 32768 /* as nginx cuts them */
#define HEADER 8

int fcgi_connect(const char *path)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert(strlen(path) < sizeof(sa.sun_path));
	strcpy(sa.sun_path, path);
	if (fd >= 0 && connect(fd, (struct sockaddr *)&sa, sizeof(sa)) != 0) {
		int error = errno;

		close(fd);
		errno = error;
		return -1;
	}
	return fd;
}

void fcgi_put_record(struct buf *wire, enum fcgi_type type, int id, const void *content, size_t n, int padding)
{
	unsigned char h[HEADER] = { 1, (unsigned char)type, (unsigned char)(id >> 8), (unsigned char)id,
				    (unsigned char)(n >> 8), (unsigned char)n, (unsigned char)padding, 0 };
	static const char zeros[255];

	assert(n <= 65535 && padding >= 0 && padding <= 255);
	buf_add(wire, h, sizeof(h));
	if (n > 0)
		buf_add(wire, content, n);
	buf_add(wire, zeros, (size_t)padding);
}

void fcgi_put_begin(struct buf *wire, int id, bool keep_conn)
{
	const char body[8] = { 0, 1, keep_conn, 0, 0, 0, 0, 0 };

	fcgi_put_record(wire, FCGI_BEGIN, id, body, sizeof(body), 0);
}

static void put_length(struct buf *b, size_t n)
{
	if (n > 127) {
		buf_add_char(b, (char)(n >> 24 | 0x80));
		buf_add_char(b, (char)(n >> 16));
		buf_add_char(b, (char)(n >> 8));
	}
	buf_add_char(b, (char)n);
}

void fcgi_put_pair(struct buf *params, struct bytes name, struct bytes value)
{
	put_length(params, name.n);
	put_length(params, value.n);
	buf_add_bytes(params, name);
	if (value.n > 0)
		buf_add_bytes(params, value);
}

void fcgi_put_stream(struct buf *wire, enum fcgi_type type, int id, struct bytes content)
{
	while (content.n > 0) {
		size_t n = content.n < RECORD_MAX ? content.n : RECORD_MAX;

		fcgi_put_record(wire, type, id, content.p, n, (int)(-n & 7));
		content.p += n;
		content.n -= n;
	}
	fcgi_put_record(wire, type, id, NULL, 0, 0);
}

void fcgi_put_call(struct buf *wire, const struct fcgi_call *call)
{
	struct buf params;
	char length[24] = "";

	buf_init(&params, wire->arena, 512);
	if (call->body.n > 0)
		snprintf(length, sizeof(length), "%zu", call->body.n);
	fcgi_put_pair(&params, BYTES("REQUEST_METHOD"), bytes_of(call->method ? call->method : "GET"));
	fcgi_put_pair(&params, BYTES("REQUEST_URI"), bytes_of(call->uri));
	fcgi_put_pair(&params, BYTES("CONTENT_LENGTH"), bytes_of(length));
	fcgi_put_pair(&params, BYTES("REMOTE_ADDR"), BYTES("127.0.0.1"));
	for (const struct fcgi_param *p = call->params; p && p->name; p++)
		fcgi_put_pair(&params, bytes_of(p->name), bytes_of(p->value));
	fcgi_put_begin(wire, 1, call->keep_conn);
	fcgi_put_stream(wire, FCGI_PARAMS, 1, buf_bytes(&params));
	fcgi_put_stream(wire, FCGI_STDIN, 1, call->body);
}

bool fcgi_write(int fd, struct bytes wire)
{
	while (wire.n > 0) {
		ssize_t n = send(fd, wire.p, wire.n, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		wire.p += n;
		wire.n -= (size_t)n;
	}
	return true;
}

static bool read_full(int fd, void *p, size_t n)
{
	char *at = p;

	while (n > 0) {
		ssize_t got = recv(fd, at, n, 0);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return false;
		at += got;
		n -= (size_t)got;
	}
	return true;
}

struct bytes fcgi_header(const struct fcgi_answer *answer, const char *name)
{
	size_t n = strlen(name);
	const char *end = answer->head.p + answer->head.n;

	for (const char *p = answer->head.p; p && p < end;) {
		const char *line_end = memchr(p, '\r', (size_t)(end - p));

		line_end = line_end ? line_end : end;
		if ((size_t)(line_end - p) > n + 1 && strncasecmp(p, name, n) == 0 && p[n] == ':') {
			p += n + 1;
			p += *p == ' ';
			return (struct bytes){ p, (size_t)(line_end - p) };
		}
		p = line_end + 2;
	}
	return (struct bytes){ NULL, 0 };
}

static bool split_head(struct bytes text, struct fcgi_answer *answer)
{
	const char *gap = text.n ? memmem(text.p, text.n, "\r\n\r\n", 4) : NULL;
	struct bytes status;

	if (!gap)
		return false;
	answer->head = (struct bytes){ text.p, (size_t)(gap - text.p) };
	answer->body = (struct bytes){ gap + 4, text.n - answer->head.n - 4 };
	status = fcgi_header(answer, "Status");
	answer->status = status.p ? atoi(status.p) : 200;
	return true;
}

bool fcgi_read(int fd, struct arena *a, struct fcgi_answer *answer_r)
{
	unsigned char h[HEADER];
	struct buf text;

	*answer_r = (struct fcgi_answer){ 0 };
	buf_init(&text, a, 8192);
	while (!answer_r->is_ended && read_full(fd, h, sizeof(h))) {
		size_t n = (size_t)(h[4] << 8 | h[5]);
		char *p = buf_room(&text, n + h[6]);

		if (h[0] != 1 || !read_full(fd, p, n + h[6]))
			break;
		if (h[1] == FCGI_STDOUT)
			text.n += n;
		answer_r->is_ended = h[1] == FCGI_END;
	}
	return split_head(buf_bytes(&text), answer_r);
}

bool fcgi_call(const char *path, struct arena *a, const struct fcgi_call *call, struct fcgi_answer *answer_r)
{
	int fd = fcgi_connect(path);
	struct buf wire;
	bool is_answered;

	*answer_r = (struct fcgi_answer){ 0 };
	if (fd < 0)
		return false;
	buf_init(&wire, a, call->body.n + 2048);
	fcgi_put_call(&wire, call);
	/* The answer may come, and the connection end, before all was written. */
	(void)fcgi_write(fd, buf_bytes(&wire));
	is_answered = fcgi_read(fd, a, answer_r);
	close(fd);
	return is_answered;
}
