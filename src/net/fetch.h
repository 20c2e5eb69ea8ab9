/* SPDX-License-Identifier: MIT */
/* fetch: one outgoing HTTP call, streamed, over libcurl; refuses private addresses and watches the client that waits for it. */
#ifndef PARLEY_NET_FETCH_H
#define PARLEY_NET_FETCH_H

#include <stdbool.h>
#include <stdint.h>

#include "base/task.h"

struct fetch_conf {
	int connect_timeout_ms;
	int idle_timeout_ms;     /* longest silence, before the first byte and between two */
	int total_timeout_ms;    /* of the whole call; 0: none */
	int64_t max_bytes;       /* largest answer body */
	const char *allow_hosts; /* see the setting provider_allow_hosts */
};

struct fetch_request {
	const char *method;         /* "POST" */
	const char *url;            /* https, or http to an allowed host; no credentials in it */
	const char *const *headers; /* "Name: value", ends with NULL; never logged */
	struct bytes body;
	int client_fd;              /* the waiting client's socket: when it hangs up the call ends with ERR_CANCELLED; -1: none */
	int tick_ms;                /* call on_tick at least this often while waiting; 0: never */
};

/*
 * Callbacks run on the calling thread. on_status comes once, before any body, with the answer's status and Retry-After in seconds (0: none). on_body
 * gets the body as it arrives, in any pieces. A callback returns ERR_OK to go on; anything else ends the call with that error, whose
 * fault the callback has filled.
 */
struct fetch_events {
	void *arg;
	enum err (*on_status)(void *arg, int status, int retry_after_s);
	enum err (*on_body)(void *arg, struct bytes piece);
	enum err (*on_tick)(void *arg);
};

/* Starts libcurl; once, before threads. fetch_cleanup at the end, for leak checkers. */
void fetch_init(void);
void fetch_cleanup(void);

/*
 * Makes the call and returns when it ended. No redirects, no proxy from the environment, http and https only, certificates
 * verified, the resolved address checked before connecting. Errors, each with a fault (internal text has host and
 * reason): ERR_PROVIDER_DOWN (cannot resolve, connect, verify; address refused), ERR_PROVIDER_TIMEOUT, ERR_PROVIDER_CUT (body broke
 * off), ERR_PROVIDER_INVALID (too large), ERR_CANCELLED. A status such as 429 is not an error here.
 */
enum err fetch_run(struct task *t, const struct fetch_conf *conf, const struct fetch_request *rq, const struct fetch_events *ev) MUST_CHECK;

#endif
