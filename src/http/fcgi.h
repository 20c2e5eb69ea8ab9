/* SPDX-License-Identifier: MIT */
/* fcgi: the only file that knows libfcgi: accepts, reads each body to its end, answers, and gives the connection up when in doubt. */
#ifndef PARLEY_HTTP_FCGI_H
#define PARLEY_HTTP_FCGI_H

#include "http/http.h"

/*
 * Answers one request; runs on a server thread with a task whose arena is reset afterwards. It must call http_send or stream. The texts of the
 * request that are not in the arena end with the call: a release deferred to the arena must not look at them.
 */
typedef void (*http_handler)(void *arg, struct task *t, const struct http_request *rq, struct http_response *rs);

struct fcgi_conf {
	int listen_fd;      /* made non-blocking; stays the caller's */
	int threads;
	int64_t max_body;   /* larger bodies are read to their end and not kept (HTTP_BODY_TOO_LARGE); past 64 MB the connection is given up instead */
	bool keep_conn;     /* honour the web server's wish to keep connections */
	size_t arena_bytes; /* first block of a thread's arena */
	http_handler handler;
	void *arg;
};

struct fcgi_server;

/*
 * Starts the threads, each with every signal blocked. Call secret_init and friends before. Signal dispositions stay as they were. What goes wrong with
 * the listening socket later (no descriptors left) is logged, at most once a second; the threads try again. ERR_CONFIG when the socket is none.
 */
enum err fcgi_open(struct task *t, const struct fcgi_conf *conf, struct fcgi_server **s_r) MUST_CHECK;

/*
 * Tells busy threads to end after their request and idle ones to end once nothing waits at the listening socket, or half a second later
 * when there is always something. async-signal-unsafe, call from the signal thread.
 */
void fcgi_drain(struct fcgi_server *s);

/* Waits until all threads ended, at most so long; true if they have. */
bool fcgi_wait(struct fcgi_server *s, int64_t timeout_ms);

/* Drains, waits for the threads however long they take, and clears the pointer. NULL is fine. */
void fcgi_close(struct fcgi_server **s);

/*
 * Answers the one request of a plain CGI process: environment, stdin, stdout. A body is what CONTENT_LENGTH declares; without it there is
 * one only when the request was chunked. ERR_CANCELLED when the answer could not be written.
 */
enum err cgi_run(struct task *t, int64_t max_body, http_handler handler, void *arg) MUST_CHECK;

#endif
