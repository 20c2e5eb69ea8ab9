/* SPDX-License-Identifier: MIT */
/* fetch_call: one call as curl sees it: what may be reached, its options, what its callbacks do, how it ended. */
#include <arpa/inet.h>
#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <time.h>

#include "base/secret.h"
#include "base/stamp.h"
#include "net/address.h"
#include "net/fetch_private.h"

#define MAX_HEADER_BYTES (256 * 1024)
#define MAX_RETRY_AFTER_S 86400
/* A provider's server closes idle connections after 5 s or more; those are seen and dropped before reuse. */
#define KEPT_IDLE_S 60L
#define TRANSFER_BUFFER (16 * 1024L)

/* Ends the call from inside one of curl's callbacks. */
static void stop(struct fetch_call *c, enum err e)
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
static void end_headers(struct fetch_call *c)
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
	struct fetch_call *c = arg;
	size_t n = size * count, name = sizeof(retry_after) - 1;

	c->last_byte = stamp_mono_ms();
	c->header_bytes += n;
	if (c->header_bytes > MAX_HEADER_BYTES) { /* trailers too: curl keeps them all */
		stop(c, task_fail_internal(c->task, ERR_PROVIDER_INVALID, "%s: more than %d bytes of headers", c->host, MAX_HEADER_BYTES));
		return 0;
	}
	if (c->has_status) /* a trailer */
		return n;
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
	struct fetch_call *c = arg;
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
	struct fetch_call *c = arg;
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
	struct fetch_call *c = arg;

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
	struct fetch_call *c = arg;

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

void fetch_call_clear(struct fetch_call *c)
{
	for (struct curl_slist *h = c->headers; h; h = h->next)
		secret_wipe(h->data, strlen(h->data));
	curl_slist_free_all(c->headers);
	curl_url_cleanup(c->url);
}

static void set_method(CURL *easy, struct fetch_call *c)
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

/* Whether a file of this name is a certificate that can be found by its subject: "5273a94c.0". */
static bool is_found_by_subject(const char *name)
{
	return strspn(name, "0123456789abcdef") == 8 && name[8] == '.' && name[9] >= '0' && name[9] <= '9' && !name[10];
}

static size_t count_in_directory(const char *path)
{
	DIR *d = opendir(path);
	size_t n = 0;

	for (const struct dirent *entry; d && (entry = readdir(d)) != NULL;)
		n += is_found_by_subject(entry->d_name);
	if (d)
		closedir(d);
	return n;
}

static size_t count_in_file(const char *path)
{
	FILE *f = fopen(path, "re");
	char line[256];
	size_t n = 0;

	while (f && fgets(line, sizeof(line), f))
		n += strncmp(line, "-----BEGIN ", 11) == 0;
	if (f)
		fclose(f);
	return n;
}

static pthread_once_t certificates_once = PTHREAD_ONCE_INIT;
static bool has_directory; /* of certificates */

/*
 * The system's certificates are in one file and, where each can be found by its subject, in a directory. Reading the whole file takes each thread 20 ms
 * and 150 KB, which it keeps; of the directory only what is needed is read. It is taken if it has as many.
 */
static void look_for_certificates(void)
{
	CURL *easy = curl_easy_init();
	char *file = NULL, *directory = NULL;

	if (!easy)
		abort();
	if (curl_easy_getinfo(easy, CURLINFO_CAINFO, &file) == CURLE_OK && curl_easy_getinfo(easy, CURLINFO_CAPATH, &directory) == CURLE_OK && directory) {
		size_t n = count_in_directory(directory);

		has_directory = n > 0 && (!file || n >= count_in_file(file));
	}
	curl_easy_cleanup(easy);
}

void fetch_call_set_options(struct fetch_call *c)
{
	CURL *easy = c->easy;

	c->headers = make_headers(c->rq->headers);
	must(curl_easy_setopt(easy, CURLOPT_CURLU, c->url));
	must(curl_easy_setopt(easy, CURLOPT_HTTPHEADER, c->headers));
	set_method(easy, c);
	must(curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L));
	must(curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L)); /* a call that ends early does not wait for its DNS thread */
	must(curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https"));
	must(curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1));
	must(curl_easy_setopt(easy, CURLOPT_PROXY, ""));
	must(curl_easy_setopt(easy, CURLOPT_NOPROXY, "*"));
	must(curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L));
	pthread_once(&certificates_once, look_for_certificates);
	if (has_directory)
		must(curl_easy_setopt(easy, CURLOPT_CAINFO, NULL));
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
	must(curl_easy_setopt(easy, CURLOPT_PRIVATE, c));
}

/* What a URL says about where it leads. */
struct target {
	const char *host;
	int port;
	bool is_allowed;
};

/* Copies one part of the URL into the arena; NULL if the URL has none. */
static char *url_part(struct arena *a, CURLU *url, CURLUPart part, unsigned flags)
{
	char *text = NULL, *copy;

	if (curl_url_get(url, part, &text, flags) != CURLUE_OK)
		return NULL;
	copy = arena_strdup(a, text);
	curl_free(text);
	return copy;
}

/* Reads a URL; what is wrong with it, or NULL. */
static const char *read_url(struct arena *a, CURLU *url, const char *text, const char *allow_hosts, struct target *t_r)
{
	const char *scheme, *port;

	memset(t_r, 0, sizeof(*t_r));
	if (curl_url_set(url, CURLUPART_URL, text, 0) != CURLUE_OK)
		return "is not valid";
	scheme = url_part(a, url, CURLUPART_SCHEME, 0);
	t_r->host = url_part(a, url, CURLUPART_HOST, 0);
	port = url_part(a, url, CURLUPART_PORT, CURLU_DEFAULT_PORT);
	if (!scheme || !t_r->host || !port || (strcmp(scheme, "https") != 0 && strcmp(scheme, "http") != 0))
		return "is neither https nor http";
	if (url_part(a, url, CURLUPART_USER, 0) || url_part(a, url, CURLUPART_PASSWORD, 0))
		return "holds credentials";
	t_r->port = atoi(port);
	t_r->is_allowed = address_list_has(allow_hosts, bytes_of(t_r->host), t_r->port);
	if (strcmp(scheme, "http") == 0 && !t_r->is_allowed)
		return "is plain http, which the operator has to allow for its host";
	return NULL;
}

static CURLU *new_url(void)
{
	CURLU *url = curl_url();

	if (!url)
		abort();
	return url;
}

/* Parses the URL once, for our checks and for curl alike, so that they cannot disagree about its host. */
enum err fetch_call_read_url(struct fetch_call *c)
{
	struct target target;
	const char *flaw;

	c->url = new_url();
	flaw = read_url(c->task->arena, c->url, c->rq->url, c->conf->allow_hosts, &target);
	c->host = target.host;
	c->port = target.port;
	c->is_allowed = target.is_allowed;
	if (flaw)
		return task_fail_internal(c->task, ERR_PROVIDER_DOWN, "%s%sthe URL %s", c->host ? c->host : "", c->host ? ": " : "", flaw);
	return ERR_OK;
}

/* Whether the host is an address as it stands, and none that may be reached. */
static bool is_closed_address(struct arena *a, const char *host)
{
	struct bytes name = bytes_of(host);
	struct in6_addr any;
	const char *text;

	if (name.n >= 2 && name.p[0] == '[')
		name = (struct bytes){ name.p + 1, name.n - 2 };
	text = arena_copy(a, name.p, name.n);
	return (inet_pton(AF_INET, text, &any) == 1 || inet_pton(AF_INET6, text, &any) == 1) && !address_text_is_public(text);
}

const char *fetch_url_flaw(const char *url, const char *allow_hosts)
{
	struct arena *a = arena_open(1024);
	CURLU *parsed = new_url();
	struct target target;
	const char *flaw = read_url(a, parsed, url, allow_hosts, &target);

	if (!flaw && !target.is_allowed && is_closed_address(a, target.host))
		flaw = "leads to an address that is not public";
	curl_url_cleanup(parsed);
	arena_close(&a);
	return flaw;
}

/* Maps how curl ended. Whatever breaks before the connection stands cannot have reached the provider. */
enum err fetch_call_finish(struct fetch_call *c, CURLcode rc)
{
	const char *why = c->reason[0] ? c->reason : curl_easy_strerror(rc);
	enum err e;

	if (c->stopped != ERR_OK)
		return c->stopped;
	if (c->is_refused && !c->is_connected)
		return task_fail_internal(c->task, ERR_PROVIDER_DOWN, "%s: its address is not public and the list of allowed hosts does not have it", c->host);
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
