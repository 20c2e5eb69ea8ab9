/* SPDX-License-Identifier: MIT */
/* chat_link: how a chat reaches the API: in this process, straight on the store, or over HTTP. What is asked is the same. */
#ifndef PARLEY_MAIN_CHAT_LINK_H
#define PARLEY_MAIN_CHAT_LINK_H

#include "app/app.h"
#include "base/ident.h"

/* One request. */
struct chat_ask {
	const char *method;
	const char *path;            /* from /v1 on, with its query behind a ? */
	struct bytes body;           /* JSON, or none */
	const char *credential;      /* the key or token that it goes with; a link on the store needs none */
	const char *idempotency_key; /* NULL: none */
	const char *last_event_id;   /* NULL: none */
};

/* Who takes the answer, on the thread that asked. on_status comes once, before the body's pieces; what is not ERR_OK ends the request. */
struct chat_taker {
	void *arg;
	enum err (*on_status)(void *arg, int status, int retry_after_s);
	enum err (*on_body)(void *arg, struct bytes piece);
};

/* A way to the API. Several threads may ask at the same time, each with a task of its own. */
struct chat_link {
	void *arg;
	/*
	 * Makes one request and returns when its answer has ended; any status is a success here. ERR_UNAVAILABLE: the server could not be reached, with
	 * the reason as the fault's detail. ERR_PROVIDER_CUT: the answer broke off. Else what the taker returned.
	 */
	enum err (*ask)(void *arg, struct task *t, const struct chat_ask *q, const struct chat_taker *to);
};

/* A site of the open application, with the operator's reach. */
struct chat_local {
	struct app *app;
	struct ident site;
};
struct chat_link chat_local_link(struct chat_local *l);

/* A server. */
struct chat_remote {
	const char *base;        /* URL without a slash at its end */
	const char *allow_hosts; /* its host: the one that is called, wherever it is */
	const char *origin;      /* header for a publishable key */
};

/*
 * Reads the server's URL: https, or http to this machine alone. `origin` NULL takes the URL's own. ERR_USAGE with a text. fetch_init and secret_init
 * come before.
 */
enum err chat_remote_init(struct task *t, const char *url, const char *origin, struct chat_remote *r_r) MUST_CHECK;
struct chat_link chat_remote_link(struct chat_remote *r);

#endif
