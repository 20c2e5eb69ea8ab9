/* SPDX-License-Identifier: MIT */
/* http: a request as the application sees it and the answer it builds, whatever carried them (FastCGI, CGI, a test). */
#ifndef PARLEY_HTTP_HTTP_H
#define PARLEY_HTTP_HTTP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/task.h"

enum http_method { HTTP_GET, HTTP_HEAD, HTTP_POST, HTTP_PUT, HTTP_PATCH, HTTP_DELETE, HTTP_OPTIONS, HTTP_METHOD_COUNT };

/* Why a body cannot be used; the application answers with it after the body was read to its end (or the connection given up). */
enum http_body { HTTP_BODY_OK, HTTP_BODY_TOO_LARGE, HTTP_BODY_INCOMPLETE, HTTP_BODY_BAD_LENGTH };

/* All in the task's arena or borrowed from the carrier; absent headers have NULL p. */
struct http_request {
	enum http_method method;      /* HTTP_METHOD_COUNT: one we do not know */
	struct bytes method_text;
	struct bytes path;            /* as sent, without the query, not decoded */
	struct bytes query;           /* without the ? */
	struct bytes content_type, authorization, origin, host, user_agent, referer;
	struct bytes idempotency_key, if_match, if_none_match, last_event_id, request_id, forwarded_for;
	struct bytes acr_method, acr_headers; /* Access-Control-Request-* */
	struct bytes remote_addr;
	bool is_https;
	enum http_body body_state;
	struct bytes body;
};

/* Takes the bytes of an answer to the client. `arg` is the carrier's. */
struct http_sink {
	void *arg;
	/* Writes; false when the client is gone. */
	bool (*write)(void *arg, struct bytes b);
	/* Pushes what was written to the client now; false when it is gone. */
	bool (*flush)(void *arg);
	/* The descriptor on which a hang-up of the client shows, or -1. */
	int (*client_fd)(void *arg);
	/* The answer takes seconds: nobody should count on this thread meanwhile. NULL: nobody does. */
	void (*will_last)(void *arg);
};

struct http_response {
	struct task *task;
	struct http_sink sink;
	int status;              /* 200 at first */
	const char *content_type; /* "application/json" at first; NULL: no body */
	struct buf headers;      /* further "Name: value\r\n" lines */
	struct buf body;
	bool is_head;            /* body is measured, not sent */
	bool is_streaming;       /* the head has gone out */
	bool is_client_gone;     /* a write failed */
};

/* Starts an answer in the task's arena. */
void http_response_init(struct http_response *rs, struct task *t, struct http_sink sink);

/* Adds a header; CR, LF and NUL in the value are dropped, so that no value can add another header. */
void http_header(struct http_response *rs, const char *name, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* Sends status, headers and body at once ("Status: 200 OK" first, as CGI says). Nothing after a stream began. */
void http_send(struct http_response *rs);

/*
 * Sends status and headers, and n bytes of a file from its beginning as the body, piece by piece: an answer that need not fit in memory. Nothing can
 * be sent behind it. A file that proves shorter cuts the answer off. False: the client is gone.
 */
bool http_send_file(struct http_response *rs, int fd, int64_t n);

/* Says that the answer takes seconds, before whatever takes them. A stream and a wait say it themselves. */
void http_will_last(struct http_response *rs);

/* Begins a text/event-stream answer: sends the head with Cache-Control: no-store and X-Accel-Buffering: no, and flushes. False: client gone. */
bool http_stream_begin(struct http_response *rs);
/* From now on a client that takes nothing for so long counts as gone: whoever streams has more to do than to wait for it. Without a socket: nothing. */
void http_stream_hurry(struct http_response *rs, int64_t ms);
/* Sends and flushes one event; id may be NULL; data is split at newlines into data: lines. False: client gone. */
bool http_stream_event(struct http_response *rs, const char *id, const char *event, struct bytes data);
/* Sends and flushes a comment, so that silence is not taken for death. */
bool http_stream_heartbeat(struct http_response *rs);

/* Waits so many ms; false at once when the client hangs up. For whoever has nothing to send yet, streaming or not. */
bool http_stream_wait(struct http_response *rs, int ms);

/* Reads one of the words GET, POST, ... */
enum http_method http_method_parse(struct bytes text);
const char *http_method_name(enum http_method m);
/* Standard reason phrase of a status, "" for one we never send. */
const char *http_reason(int status);

/* Percent-decodes into the arena; false on a bad escape, NUL, or text that is not UTF-8. `plus` also turns + into a space (queries). */
bool http_unescape(struct arena *a, struct bytes in, bool plus, struct bytes *out_r);

/*
 * Steps through the variables of a CGI or FastCGI environment ("NAME=value", NULL at the end) into a request. Understands REQUEST_URI, else
 * SCRIPT_NAME + PATH_INFO. Reads no body. Unknown variables are skipped; of one given twice the first counts.
 */
void http_request_from_env(struct task *t, char *const *env, struct http_request *rq_r);

/* The declared body length: -1 when absent, -2 when it is not a plain decimal number. */
int64_t http_content_length(char *const *env);

#endif
