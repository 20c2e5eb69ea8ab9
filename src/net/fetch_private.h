/* SPDX-License-Identifier: MIT */
/* fetch_private: one call between fetch.c, which runs calls, and fetch_call.c, which knows what one is. */
#ifndef PARLEY_NET_FETCH_PRIVATE_H
#define PARLEY_NET_FETCH_PRIVATE_H

#include <curl/curl.h>

#include "net/fetch.h"

/* One call, from its beginning to its end. */
struct fetch_call {
	struct task *task;
	const struct fetch_conf *conf;
	const struct fetch_request *rq;
	const struct fetch_events *ev;
	struct fetch_job *job; /* NULL: the only call */
	const char *host;
	int port;
	bool is_allowed; /* the operator listed the host */
	bool is_running, is_connected, has_status, is_refused;
	enum err stopped; /* what a callback ended the call with */
	enum err result;  /* once it neither waits nor runs */
	size_t sent, header_bytes;
	int64_t body_bytes;
	int retry_after_s;
	int64_t began, last_byte;
	CURL *easy;
	CURLU *url;
	struct curl_slist *headers;
	char reason[CURL_ERROR_SIZE];
};

/* Parses the URL and checks what can be checked before its name is resolved. ERR_PROVIDER_DOWN with a fault. */
enum err fetch_call_read_url(struct fetch_call *c) MUST_CHECK;

/* Makes the headers and sets all options of c->easy. */
void fetch_call_set_options(struct fetch_call *c);

/* What comes of a call that curl ended. Whatever breaks before the connection stands cannot have reached the other side. */
enum err fetch_call_finish(struct fetch_call *c, CURLcode rc) MUST_CHECK;

/* Wipes the headers, and gives them and the URL back. */
void fetch_call_clear(struct fetch_call *c);

#endif
