/* SPDX-License-Identifier: MIT */
/* fetch: outgoing HTTP calls, streamed, over libcurl; refuses private addresses and watches the client that waits for them. */
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
	const char *allow_hosts; /* hosts that may be private or speak plain http: see the setting provider_allow_hosts */
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

/* One of several calls. */
struct fetch_job {
	struct fetch_conf conf;       /* its own limits */
	struct fetch_request request; /* client_fd and tick_ms are not looked at */
	struct fetch_events events;   /* on_tick is not looked at */
	struct task task;             /* on return: its fault, in the arena of the whole; callbacks that fail fill this one */
	enum err result;              /* on return: as fetch_run gives it */
	int64_t duration_ms;          /* on return: from its turn to its end */
};

/* What several calls have in common. */
struct fetch_watch {
	size_t at_once; /* how many run at the same time; the others wait for their turn, and their times begin with it */
	int client_fd;  /* as in fetch_request, for all */
	int tick_ms;
	enum err (*on_tick)(void *arg);
	void (*on_begin)(void *arg, size_t i);   /* it is the turn of jobs[i], whose headers may be filled in until now. NULL: nobody asks */
	enum err (*on_end)(void *arg, size_t i); /* jobs[i] has ended by itself; an error ends all. NULL: nobody asks */
	void *arg;
	int64_t deadline; /* stamp_mono_ms() past which every call that has not ended ends with ERR_PROVIDER_TIMEOUT; 0: none */
};

/*
 * Makes n calls on this thread and returns when the last has ended; one that fails or hangs does not touch the others. The error returned is
 * what ended all of them, the client's hang-up, on_tick or on_end, with a fault in t; those that had not ended then have it as their result. One easy
 * handle and connection for each that runs, kept no longer than the call but for the thread's own.
 */
enum err fetch_run_all(struct task *t, const struct fetch_watch *watch, struct fetch_job *jobs, size_t n) MUST_CHECK;

/*
 * Whether a call to this URL can be made as far as its text tells: its form, its scheme and, where the host is an address, that one. NULL if so, else what
 * is wrong with it, for whoever gave it: "is neither https nor http". A host that is a name is judged when it is called.
 */
const char *fetch_url_flaw(const char *url, const char *allow_hosts);

#endif
