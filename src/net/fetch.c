/* SPDX-License-Identifier: MIT */
/*
 * fetch: one outgoing HTTP call at a time on the calling thread. Each thread keeps one curl multi and easy handle, so that the next
 * call finds its connection, DNS answer and TLS session warm; all of it goes when the thread ends. Time is watched by our
 * own clock, because curl has no limit for silence.
 */
#include "net/fetch.h"

#include <assert.h>
#include <curl/curl.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#include "base/secret.h"
#include "base/stamp.h"
#include "net/address.h"

#define LONGEST_SLEEP_MS 1000
#define MAX_HEADER_BYTES (256 * 1024)
#define MAX_RETRY_AFTER_S 86400
#define KEPT_CONNECTIONS 4L
/* A provider's server closes idle connections after 5 s or more; those are seen and dropped before reuse. */
#define KEPT_IDLE_S 60L
#define TRANSFER_BUFFER (16 * 1024L)

struct fetch_thread {
	CURLM *multi;
	CURL *easy;
	int watch; /* an epoll that becomes readable when the client hangs up; curl's own poll cannot ask for that */
};

/* One running call. */
struct call {
	struct task *task;
	const struct fetch_conf *conf;
	const struct fetch_request *rq;
	const struct fetch_events *ev;
	const char *host;
	int port;
	bool is_allowed; /* the operator listed the host */
	bool is_connected, has_status, is_refused;
	enum err stopped; /* what a callback ended the call with */
	size_t sent, header_bytes;
	int64_t body_bytes;
	int retry_after_s;
	int64_t began, last_byte, next_tick;
	CURL *easy;
	char reason[CURL_ERROR_SIZE];
};

static pthread_key_t thread_key;
static bool is_started;

static void thread_close(void *arg)
{
	struct fetch_thread *th = arg;

	if (!th)
		return;
	curl_easy_cleanup(th->easy);
	curl_multi_cleanup(th->multi);
	close(th->watch);
	free(th);
}

void fetch_init(void)
{
	assert(!is_started);
	if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK || pthread_key_create(&thread_key, thread_close) != 0)
		abort();
	is_started = true;
}

void fetch_cleanup(void)
{
	if (!is_started)
		return;
	thread_close(pthread_getspecific(thread_key)); /* the main thread's, which no destructor sees */
	pthread_setspecific(thread_key, NULL);
	pthread_key_delete(thread_key);
	curl_global_cleanup();
	is_started = false;
}

static struct fetch_thread *thread_open(void)
{
	struct fetch_thread *th;

	assert(is_started);
	th = pthread_getspecific(thread_key);
	if (th)
		return th;
	th = calloc(1, sizeof(*th));
	if (!th)
		abort();
	th->multi = curl_multi_init();
	th->easy = curl_easy_init();
	th->watch = epoll_create1(EPOLL_CLOEXEC);
	if (!th->multi || !th->easy || th->watch < 0 || pthread_setspecific(thread_key, th) != 0)
		abort();
	curl_multi_setopt(th->multi, CURLMOPT_MAXCONNECTS, KEPT_CONNECTIONS);
	return th;
}

/* Ends the call from inside one of curl's callbacks. */
static void stop(struct call *c, enum err e)
{
	if (c->stopped == ERR_OK)
		c->stopped = e;
}

/* Retry-After: seconds or an HTTP date; 0 for anything else. */
static int read_retry_after(const char *value)
{
	char *end;
	long long s;

	errno = 0;
	s = strtoll(value, &end, 10);
	if (end == value || strchr("\r\n \t", *end) == NULL) {
		time_t at = curl_getdate(value, NULL);

		s = at < 0 ? 0 : (long long)at - stamp_now() / 1000;
	}
	if (s < 0)
		return 0;
	return s > MAX_RETRY_AFTER_S ? MAX_RETRY_AFTER_S : (int)s;
}

/* Tells the caller the status once the last header of the final (not 1xx) answer came. */
static void end_headers(struct call *c)
{
	long status = 0;

	curl_easy_getinfo(c->easy, CURLINFO_RESPONSE_CODE, &status);
	if (status < 200)
		return;
	c->has_status = true;
	if (c->ev->on_status)
		stop(c, c->ev->on_status(c->ev->arg, (int)status, c->retry_after_s));
}

static size_t on_header(char *p, size_t size, size_t count, void *arg)
{
	static const char retry_after[] = "retry-after:";
	struct call *c = arg;
	size_t n = size * count, name = sizeof(retry_after) - 1;

	c->last_byte = stamp_mono_ms();
	c->header_bytes += n;
	if (c->has_status) /* a trailer */
		return n;
	if (c->header_bytes > MAX_HEADER_BYTES) {
		stop(c, task_fail_internal(c->task, ERR_PROVIDER_INVALID, "%s: more than %d bytes of headers", c->host, MAX_HEADER_BYTES));
		return 0;
	}
	if (n >= 5 && memcmp(p, "HTTP/", 5) == 0) {
		c->retry_after_s = 0;
	} else if (n > name && n < name + 64 && strncasecmp(p, retry_after, name) == 0) {
		char value[64] = "";

		memcpy(value, p + name, n - name);
		c->retry_after_s = read_retry_after(value);
	} else if (n <= 2 && (p[0] == '\r' || p[0] == '\n')) {
		end_headers(c);
	}
	return c->stopped == ERR_OK ? n : 0;
}

static size_t on_body(char *p, size_t size, size_t count, void *arg)
{
	struct call *c = arg;
	size_t n = size * count;

	c->body_bytes += (int64_t)n;
	if (c->body_bytes > c->conf->max_bytes)
		stop(c, task_fail_internal(c->task, ERR_PROVIDER_INVALID, "%s: the answer has more than %lld bytes", c->host,
					   (long long)c->conf->max_bytes));
	else if (n > 0 && c->ev->on_body)
		stop(c, c->ev->on_body(c->ev->arg, (struct bytes){ p, n }));
	c->last_byte = stamp_mono_ms(); /* after the callback: a slow client is not the provider's silence */
	return c->stopped == ERR_OK ? n : CURL_WRITEFUNC_ERROR;
}

/*
 * The request's body is read through a callback that cannot rewind: otherwise curl silently sends it a second time when a kept
 * connection breaks before the answer, and the provider may bill twice.
 */
static size_t on_send(char *p, size_t size, size_t count, void *arg)
{
	struct call *c = arg;
	size_t n = size * count, left = c->rq->body.n - c->sent;

	if (n > left)
		n = left;
	if (n > 0)
		memcpy(p, c->rq->body.p + c->sent, n);
	c->sent += n;
	c->last_byte = stamp_mono_ms();
	return n;
}

/* Comes after DNS and before each connect, so that no name can point somewhere else a moment later. */
static curl_socket_t on_socket(void *arg, curlsocktype purpose, struct curl_sockaddr *a)
{
	struct call *c = arg;

	(void)purpose;
	if (!c->is_allowed && !address_is_public(&a->addr, a->addrlen)) {
		c->is_refused = true; /* not the end yet: the name may have another address */
		return CURL_SOCKET_BAD;
	}
	return socket(a->family, a->socktype | SOCK_CLOEXEC, a->protocol);
}

/* Comes when the connection stands, before the request; a kept connection is judged again, by the settings of this call. */
static int on_ready(void *arg, char *ip, char *local_ip, int port, int local_port)
{
	struct call *c = arg;

	(void)local_ip;
	(void)port;
	(void)local_port;
	if (!c->is_allowed && !address_text_is_public(ip)) {
		stop(c, task_fail_internal(c->task, ERR_PROVIDER_DOWN, "%s: its kept connection is to an address that is not public", c->host));
		return CURL_PREREQFUNC_ABORT;
	}
	c->is_connected = true;
	c->last_byte = stamp_mono_ms();
	return CURL_PREREQFUNC_OK;
}

static void must(CURLcode rc)
{
	if (rc != CURLE_OK)
		abort();
}

/* Headers end at a line's end: one inside would be a header of its own. */
static struct curl_slist *make_headers(const char *const *headers)
{
	struct curl_slist *list = curl_slist_append(NULL, "Expect:"); /* else curl waits a second before a large body */

	for (; list && headers && *headers; headers++) {
		struct curl_slist *longer;

		assert(strpbrk(*headers, "\r\n") == NULL);
		longer = curl_slist_append(list, *headers);
		if (!longer)
			abort();
		list = longer;
	}
	if (!list)
		abort();
	return list;
}

static void wipe_headers(struct curl_slist *list)
{
	for (struct curl_slist *h = list; h; h = h->next)
		secret_wipe(h->data, strlen(h->data));
	curl_slist_free_all(list);
}

static void set_method(CURL *easy, struct call *c)
{
	bool is_get = strcmp(c->rq->method, "GET") == 0;

	if (is_get && c->rq->body.n == 0) {
		must(curl_easy_setopt(easy, CURLOPT_HTTPGET, 1L));
		return;
	}
	must(curl_easy_setopt(easy, CURLOPT_POST, 1L));
	must(curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)c->rq->body.n));
	must(curl_easy_setopt(easy, CURLOPT_READFUNCTION, on_send));
	must(curl_easy_setopt(easy, CURLOPT_READDATA, c));
	if (strcmp(c->rq->method, "POST") != 0)
		must(curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, c->rq->method));
}

static void set_options(CURL *easy, struct call *c, CURLU *url, struct curl_slist *headers)
{
	must(curl_easy_setopt(easy, CURLOPT_CURLU, url));
	must(curl_easy_setopt(easy, CURLOPT_HTTPHEADER, headers));
	set_method(easy, c);
	must(curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L));
	must(curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L)); /* a call that ends early does not wait for its DNS thread */
	must(curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https"));
	must(curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1));
	must(curl_easy_setopt(easy, CURLOPT_PROXY, ""));
	must(curl_easy_setopt(easy, CURLOPT_NOPROXY, "*"));
	must(curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L));
	must(curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 1L));
	must(curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 2L));
	must(curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2));
	must(curl_easy_setopt(easy, CURLOPT_MAXAGE_CONN, KEPT_IDLE_S));
	must(curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L));
	must(curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, TRANSFER_BUFFER));
	must(curl_easy_setopt(easy, CURLOPT_UPLOAD_BUFFERSIZE, TRANSFER_BUFFER));
	must(curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, on_socket));
	must(curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, c));
	must(curl_easy_setopt(easy, CURLOPT_PREREQFUNCTION, on_ready));
	must(curl_easy_setopt(easy, CURLOPT_PREREQDATA, c));
	must(curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header));
	must(curl_easy_setopt(easy, CURLOPT_HEADERDATA, c));
	must(curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body));
	must(curl_easy_setopt(easy, CURLOPT_WRITEDATA, c));
	must(curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, c->reason));
}

/* Copies one part of the URL into the arena; NULL if the URL has none. */
static char *url_part(struct call *c, CURLU *url, CURLUPart part, unsigned flags)
{
	char *text = NULL, *copy;

	if (curl_url_get(url, part, &text, flags) != CURLUE_OK)
		return NULL;
	copy = arena_strdup(c->task->arena, text);
	curl_free(text);
	return copy;
}

/* Parses the URL once, for our checks and for curl alike, so that they cannot disagree about its host. */
static enum err read_url(struct call *c, CURLU *url)
{
	const char *scheme, *port;
	CURLUcode rc = curl_url_set(url, CURLUPART_URL, c->rq->url, 0);

	if (rc != CURLUE_OK)
		return task_fail_internal(c->task, ERR_PROVIDER_DOWN, "the provider's URL is not valid: %s", curl_url_strerror(rc));
	scheme = url_part(c, url, CURLUPART_SCHEME, 0);
	c->host = url_part(c, url, CURLUPART_HOST, 0);
	port = url_part(c, url, CURLUPART_PORT, CURLU_DEFAULT_PORT);
	if (!scheme || !c->host || !port || (strcmp(scheme, "https") != 0 && strcmp(scheme, "http") != 0))
		return task_fail_internal(c->task, ERR_PROVIDER_DOWN, "the provider's URL is neither https nor http");
	if (url_part(c, url, CURLUPART_USER, 0) || url_part(c, url, CURLUPART_PASSWORD, 0))
		return task_fail_internal(c->task, ERR_PROVIDER_DOWN, "the provider's URL holds credentials");
	c->port = atoi(port);
	c->is_allowed = address_list_has(c->conf->allow_hosts, bytes_of(c->host), c->port);
	if (strcmp(scheme, "http") == 0 && !c->is_allowed)
		return task_fail_internal(c->task, ERR_PROVIDER_DOWN, "%s: plain http needs an entry in provider_allow_hosts", c->host);
	return ERR_OK;
}

/* Maps how curl ended. Whatever breaks before the connection stands cannot have reached the provider. */
static enum err finish(struct call *c, CURLcode rc)
{
	const char *why = c->reason[0] ? c->reason : curl_easy_strerror(rc);
	enum err e;

	if (c->stopped != ERR_OK)
		return c->stopped;
	if (c->is_refused && !c->is_connected)
		return task_fail_internal(c->task, ERR_PROVIDER_DOWN, "%s: its address is not public and provider_allow_hosts does not list it",
					  c->host);
	if (rc == CURLE_SEND_FAIL_REWIND)
		why = "the kept connection broke before an answer; not sent again";
	if (rc == CURLE_OK && c->has_status)
		return ERR_OK;
	switch (rc) {
	case CURLE_OUT_OF_MEMORY:
		abort();
	case CURLE_OK: /* it ended with an interim answer */
	case CURLE_WEIRD_SERVER_REPLY:
	case CURLE_UNSUPPORTED_PROTOCOL:
	case CURLE_BAD_CONTENT_ENCODING:
		e = ERR_PROVIDER_INVALID;
		break;
	default:
		e = c->is_connected ? ERR_PROVIDER_CUT : ERR_PROVIDER_DOWN;
		break;
	}
	return task_fail_internal(c->task, e, "%s:%d: %s", c->host, c->port, why);
}

/* Shortens *wait_r to what is left until `at`; false when that has passed. A limit of 0 never passes. */
static bool is_within(int64_t now, int64_t since, int limit_ms, int64_t *wait_r)
{
	int64_t left = since + limit_ms - now;

	if (limit_ms <= 0)
		return true;
	if (left < *wait_r)
		*wait_r = left;
	return left > 0;
}

/* Ends the call when one of its times has passed, ticks when a tick is due, and says how long it may sleep. */
static enum err watch_clock(struct call *c, int64_t *wait_r)
{
	const struct fetch_conf *conf = c->conf;
	int64_t now = stamp_mono_ms();

	*wait_r = LONGEST_SLEEP_MS;
	if (c->rq->tick_ms > 0 && c->ev->on_tick && now >= c->next_tick) {
		enum err e = c->ev->on_tick(c->ev->arg);

		if (e != ERR_OK)
			return e;
		now = stamp_mono_ms();
		c->next_tick = now + c->rq->tick_ms;
	}
	if (!is_within(now, c->began, conf->total_timeout_ms, wait_r))
		return task_fail_internal(c->task, ERR_PROVIDER_TIMEOUT, "%s:%d: not done after %d ms", c->host, c->port, conf->total_timeout_ms);
	if (!c->is_connected && !is_within(now, c->began, conf->connect_timeout_ms, wait_r))
		return task_fail_internal(c->task, ERR_PROVIDER_DOWN, "%s:%d: no connection after %d ms", c->host, c->port, conf->connect_timeout_ms);
	if (c->is_connected && !is_within(now, c->last_byte, conf->idle_timeout_ms, wait_r))
		return task_fail_internal(c->task, ERR_PROVIDER_TIMEOUT, "%s:%d: silent for %d ms", c->host, c->port, conf->idle_timeout_ms);
	if (c->rq->tick_ms > 0 && c->ev->on_tick && c->next_tick - now < *wait_r)
		*wait_r = c->next_tick - now > 0 ? c->next_tick - now : 0;
	return ERR_OK;
}

static enum err check_client(struct call *c, const struct fetch_thread *th)
{
	struct epoll_event ev;

	if (c->rq->client_fd < 0 || epoll_wait(th->watch, &ev, 1, 0) <= 0)
		return ERR_OK;
	return task_fail_internal(c->task, ERR_CANCELLED, "the client hung up while %s answered", c->host);
}

/* Whether curl reports the end of the call, and how it ended. */
static bool take_result(CURLM *multi, CURLcode *rc_r)
{
	int left;
	CURLMsg *msg;

	while ((msg = curl_multi_info_read(multi, &left)) != NULL) {
		if (msg->msg == CURLMSG_DONE) {
			*rc_r = msg->data.result;
			return true;
		}
	}
	return false;
}

static enum err drive(struct call *c, const struct fetch_thread *th)
{
	struct curl_waitfd client = { .fd = th->watch, .events = CURL_WAIT_POLLIN };
	unsigned n_extra = c->rq->client_fd >= 0 ? 1 : 0;
	int running;
	int64_t wait;
	CURLcode rc;

	for (;;) {
		enum err e = check_client(c, th);

		if (e != ERR_OK)
			return e;
		if (curl_multi_perform(th->multi, &running) != CURLM_OK)
			abort();
		if (take_result(th->multi, &rc))
			return finish(c, rc);
		e = watch_clock(c, &wait);
		if (e != ERR_OK)
			return e;
		if (curl_multi_poll(th->multi, &client, n_extra, (int)wait, NULL) != CURLM_OK)
			abort();
	}
}

/* Watches for a hang-up only: bytes that wait there may be the next request of a kept connection. */
static bool watch_client(const struct fetch_thread *th, int fd)
{
	struct epoll_event ev = { .events = EPOLLRDHUP };

	return fd >= 0 && epoll_ctl(th->watch, EPOLL_CTL_ADD, fd, &ev) == 0;
}

static enum err run(struct call *c, CURLU *url)
{
	struct fetch_thread *th = thread_open();
	struct curl_slist *headers = make_headers(c->rq->headers);
	bool is_watched = watch_client(th, c->rq->client_fd);
	enum err e;

	c->easy = th->easy;
	set_options(th->easy, c, url, headers);
	if (curl_multi_add_handle(th->multi, th->easy) != CURLM_OK)
		abort();
	e = drive(c, th);
	curl_multi_remove_handle(th->multi, th->easy); /* closes the connection of an unfinished call, which stops the provider */
	curl_easy_reset(th->easy);
	if (is_watched)
		epoll_ctl(th->watch, EPOLL_CTL_DEL, c->rq->client_fd, NULL);
	wipe_headers(headers);
	return e;
}

enum err fetch_run(struct task *t, const struct fetch_conf *conf, const struct fetch_request *rq, const struct fetch_events *ev)
{
	struct call c = { .task = t, .conf = conf, .rq = rq, .ev = ev, .began = stamp_mono_ms() };
	CURLU *url = curl_url();
	enum err e;

	if (!url)
		abort();
	c.last_byte = c.began;
	c.next_tick = c.began + rq->tick_ms;
	e = read_url(&c, url);
	if (e == ERR_OK)
		e = run(&c, url);
	curl_url_cleanup(url);
	return e;
}
