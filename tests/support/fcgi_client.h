/* SPDX-License-Identifier: MIT */
/* fcgi_client: speaks FastCGI to a Unix socket as a web server does, or record by record as none should. */
#ifndef PARLEY_TESTS_FCGI_CLIENT_H
#define PARLEY_TESTS_FCGI_CLIENT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/buf.h"

enum fcgi_type {
	FCGI_BEGIN = 1, FCGI_ABORT = 2, FCGI_END = 3, FCGI_PARAMS = 4, FCGI_STDIN = 5, FCGI_STDOUT = 6, FCGI_STDERR = 7, FCGI_DATA = 8,
	FCGI_GET_VALUES = 9
};

struct fcgi_param {
	const char *name, *value;
};

/* A request as a web server sends it. REQUEST_METHOD, REQUEST_URI, CONTENT_LENGTH and REMOTE_ADDR are made from the members. */
struct fcgi_call {
	const char *method; /* NULL: GET */
	const char *uri;
	const struct fcgi_param *params; /* further ones, up to one with a NULL name; may be NULL */
	struct bytes body;
	bool keep_conn;
};

/* What came back, in the caller's arena. */
struct fcgi_answer {
	bool is_ended;       /* the END_REQUEST record came */
	int status;          /* of the Status: line, 200 without one, 0 without a head */
	struct bytes head;   /* up to the empty line */
	struct bytes body;
};

/* Connects; -1 with errno. */
int fcgi_connect(const char *path);

/* Puts records into a buffer: hand-made requests. */
void fcgi_put_record(struct buf *wire, enum fcgi_type type, int id, const void *content, size_t n, int padding);
void fcgi_put_begin(struct buf *wire, int id, bool keep_conn);
/* One name-value pair, to be wrapped into FCGI_PARAMS records by fcgi_put_stream. */
void fcgi_put_pair(struct buf *params, struct bytes name, struct bytes value);
/* Content of any length in records of at most 32 KB padded to 8 bytes as nginx pads them, and the empty record that ends the stream. */
void fcgi_put_stream(struct buf *wire, enum fcgi_type type, int id, struct bytes content);
/* A whole request, with id 1. */
void fcgi_put_call(struct buf *wire, const struct fcgi_call *call);

/* Writes all of it; false when the peer has gone. */
bool fcgi_write(int fd, struct bytes wire);

/* Reads to END_REQUEST or the end of the connection. False when not even a head came, or what came are no records. */
bool fcgi_read(int fd, struct arena *a, struct fcgi_answer *answer_r);

/* Connects, calls, reads, closes. False as fcgi_read, or when there was no connection. */
bool fcgi_call(const char *path, struct arena *a, const struct fcgi_call *call, struct fcgi_answer *answer_r);

/* The value of a header of the answer, compared without case; NULL p when absent. */
struct bytes fcgi_header(const struct fcgi_answer *answer, const char *name);

#endif
