/* SPDX-License-Identifier: MIT */
/* chat_remote: requests to a server over HTTP. */
#include <arpa/inet.h>
#include <curl/curl.h>
#include <stdlib.h>
#include <strings.h>

#include "main/chat_link.h"
#include "net/fetch.h"

#define CONNECT_TIMEOUT_MS 10000
#define IDLE_TIMEOUT_MS 60000 /* a server's heartbeat comes every 15 s unless it is set otherwise */
#define MAX_BYTES (256LL << 20)

/* Plain HTTP shows the key to whoever listens: it is for this machine alone. */
static bool is_own_machine(const char *host)
{
	struct in_addr v4;
	bool is_v4 = inet_pton(AF_INET, host, &v4) == 1;
	return strcasecmp(host, "localhost") == 0 || strcmp(host, "[::1]") == 0 || (is_v4 && ntohl(v4.s_addr) >> 24 == 127);
}

static char *part(struct arena *a, CURLU *url, CURLUPart which, unsigned flags)
{
	char *text = NULL;
	if (curl_url_get(url, which, &text, flags) != CURLUE_OK)
		return NULL;
	char *copy = arena_strdup(a, text);
	curl_free(text);
	return copy;
}

static enum err read_url(struct task *t, CURLU *url, const char *text, struct chat_remote *r)
{
	if (curl_url_set(url, CURLUPART_URL, text, 0) != CURLUE_OK)
		return task_fail(t, ERR_USAGE, "--url takes an address such as https://chat.example/base");
	const char *scheme = part(t->arena, url, CURLUPART_SCHEME, 0), *host = part(t->arena, url, CURLUPART_HOST, 0);
	const char *port = part(t->arena, url, CURLUPART_PORT, 0), *given = port ? port : part(t->arena, url, CURLUPART_PORT, CURLU_DEFAULT_PORT);
	bool is_plain = scheme && strcmp(scheme, "http") == 0;
	if (!host || !given || (!is_plain && strcmp(scheme, "https") != 0))
		return task_fail(t, ERR_USAGE, "--url takes an address such as https://chat.example/base");
	if (is_plain && !is_own_machine(host))
		return task_fail(t, ERR_USAGE, "--url takes https; plain http would show the key to the network, and is for this machine alone");
	if (part(t->arena, url, CURLUPART_USER, 0) || part(t->arena, url, CURLUPART_QUERY, 0) || part(t->arena, url, CURLUPART_FRAGMENT, 0))
		return task_fail(t, ERR_USAGE, "--url takes no user, query or fragment");
	size_t n = strlen(text);
	while (n > 0 && text[n - 1] == '/')
		n--;
	r->base = arena_copy(t->arena, text, n);
	r->allow_hosts = arena_printf(t->arena, "%s:%s", host, given);
	r->origin = arena_printf(t->arena, "%s://%s%s%s", scheme, host, port ? ":" : "", port ? port : "");
	return ERR_OK;
}

enum err chat_remote_init(struct task *t, const char *url, const char *origin, struct chat_remote *r_r)
{
	CURLU *u = curl_url();
	if (!u)
		abort();
	enum err e = read_url(t, u, url, r_r);
	curl_url_cleanup(u);
	if (!e && origin && strpbrk(origin, "\r\n"))
		return task_fail(t, ERR_USAGE, "--origin takes an origin such as https://shop.example");
	if (!e && origin)
		r_r->origin = origin;
	return e;
}

/* The headers of a request, NULL at the end. */
static const char *const *make_headers(struct arena *a, const struct chat_remote *r, const struct chat_ask *q)
{
	const char **list = arena_array(a, 8, sizeof *list);
	size_t n = 0;
	list[n++] = arena_printf(a, "Authorization: Bearer %s", q->credential ? q->credential : "");
	if (q->credential && strncmp(q->credential, "pk_", 3) == 0) /* a page's key; the others are not bound to an origin when they name none */
		list[n++] = arena_printf(a, "Origin: %s", r->origin);
	list[n++] = "Accept: text/event-stream, application/json";
	list[n++] = "Content-Type: application/json";
	if (q->idempotency_key)
		list[n++] = arena_printf(a, "Idempotency-Key: %s", q->idempotency_key);
	if (q->last_event_id)
		list[n++] = arena_printf(a, "Last-Event-ID: %s", q->last_event_id);
	return list;
}

static enum err ask(void *arg, struct task *t, const struct chat_ask *q, const struct chat_taker *to)
{
	const struct chat_remote *r = arg;
	struct fetch_conf conf = { .connect_timeout_ms = CONNECT_TIMEOUT_MS, .idle_timeout_ms = IDLE_TIMEOUT_MS, .max_bytes = MAX_BYTES,
				   .allow_hosts = r->allow_hosts };
	struct fetch_request rq = { .method = q->method, .url = arena_printf(t->arena, "%s%s", r->base, q->path), .headers = make_headers(t->arena, r, q),
				    .body = q->body, .client_fd = -1 };
	struct fetch_events ev = { .arg = to->arg, .on_status = to->on_status, .on_body = to->on_body };
	enum err e = fetch_run(t, &conf, &rq, &ev);
	const char *why = t->fault.internal ? t->fault.internal : err_title(e);
	if (e == ERR_PROVIDER_DOWN)
		return task_fail(t, ERR_UNAVAILABLE, "the server cannot be reached: %s", why);
	if (e == ERR_PROVIDER_CUT || e == ERR_PROVIDER_TIMEOUT)
		return task_fail(t, ERR_PROVIDER_CUT, "the connection broke: %s", why);
	return e == ERR_PROVIDER_INVALID && !t->fault.detail ? task_fail(t, e, "the server's answer made no sense: %s", why) : e;
}

struct chat_link chat_remote_link(struct chat_remote *r)
{
	return (struct chat_link){ r, ask };
}
