/* SPDX-License-Identifier: MIT */
/* test_fetch: calls against small servers, most of them ill-behaved. */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <curl/curl.h>
#include <malloc.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/secret.h"
#include "base/stamp.h"
#include "net/fetch.h"
#include "web_server.h"

static struct arena *arena;
static struct task task;

static void setup(void)
{
	secret_init();
	fetch_init();
	arena = arena_open(4096);
	task_init(&task, arena);
}

static void teardown(void)
{
	arena_close(&arena);
	fetch_cleanup();
}

TestSuite(fetch, .init = setup, .fini = teardown, .timeout = 20);

/* ---- the client's side ---- */

struct answer {
	struct buf body;
	int status, retry_after_s, n_status, n_ticks;
	enum err fail_status, fail_body, fail_tick;
};

static enum err on_status(void *arg, int status, int retry_after_s)
{
	struct answer *a = arg;

	a->status = status;
	a->retry_after_s = retry_after_s;
	a->n_status++;
	return a->fail_status;
}

static enum err on_body(void *arg, struct bytes piece)
{
	struct answer *a = arg;

	buf_add_bytes(&a->body, piece);
	return a->fail_body;
}

static enum err on_tick(void *arg)
{
	struct answer *a = arg;

	a->n_ticks++;
	return a->fail_tick;
}

static struct fetch_conf conf_of(const char *allow)
{
	return (struct fetch_conf){ .connect_timeout_ms = 3000, .idle_timeout_ms = 3000, .total_timeout_ms = 10000, .max_bytes = 1 << 20,
				    .allow_hosts = allow };
}

static const char *const headers[] = { "Content-Type: application/json", "Authorization: Bearer sk-very-secret", NULL };

static enum err call_url(const char *url, const struct fetch_conf *conf, int client_fd, int tick_ms, struct answer *a)
{
	struct fetch_request rq = { "POST", url, headers, BYTES("{\"hello\":1}"), client_fd, tick_ms };
	struct fetch_events ev = { a, on_status, on_body, on_tick };
	enum err e;

	buf_init(&a->body, arena, 64);
	e = fetch_run(&task, conf, &rq, &ev);
	if (e != ERR_OK) {
		cr_assert_eq(task.fault.code, e, "the fault has the error's code");
		cr_assert(!task.fault.internal || !strstr(task.fault.internal, "secret"), "%s", task.fault.internal);
	}
	return e;
}

static const char *url_of(const struct server *s)
{
	return arena_printf(arena, "http://127.0.0.1:%d/v1/chat?x=1", s->port);
}

static enum err call(const struct server *s, struct answer *a)
{
	struct fetch_conf conf = conf_of("127.0.0.1");

	return call_url(url_of(s), &conf, -1, 0, a);
}

#define OK_HEAD "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n"

Test(fetch, sends_the_request_and_hands_out_status_and_body)
{
	struct server *s = server_start(serve_text, OK_HEAD "Retry-After: 12\r\n\r\nhello");
	struct answer a = { 0 };

	cr_assert_eq(call(s, &a), ERR_OK, "%s", task.fault.internal);
	cr_expect_eq(a.status, 200);
	cr_expect_eq(a.n_status, 1);
	cr_expect_eq(a.retry_after_s, 12);
	cr_expect(bytes_equal(buf_bytes(&a.body), BYTES("hello")));
	cr_expect_eq(strncmp(s->request, "POST /v1/chat?x=1 HTTP/1.1\r\n", 28), 0, "%s", s->request);
	cr_expect(strstr(s->request, "Authorization: Bearer sk-very-secret\r\n"));
	cr_expect(strstr(s->request, "\r\n\r\n{\"hello\":1}"));
	cr_expect_not(strstr(s->request, "Expect:"));
	server_stop(s);
}

Test(fetch, sends_a_get_and_other_methods)
{
	struct server *s = server_start(serve_text, OK_HEAD "Connection: close\r\n\r\nhello");
	struct fetch_conf conf = conf_of("127.0.0.1");
	struct answer a = { 0 };
	struct fetch_events ev = { &a, on_status, NULL, NULL };
	struct fetch_request get = { .method = "GET", .url = url_of(s), .client_fd = -1 };
	struct fetch_request put = { .method = "PUT", .url = url_of(s), .body = BYTES("abc"), .client_fd = -1 };

	cr_assert_eq(fetch_run(&task, &conf, &get, &ev), ERR_OK);
	cr_expect_eq(strncmp(s->request, "GET /v1/chat", 12), 0);
	cr_assert_eq(fetch_run(&task, &conf, &put, &ev), ERR_OK);
	cr_expect_eq(strncmp(s->request, "PUT /v1/chat", 12), 0);
	cr_expect(strstr(s->request, "\r\n\r\nabc"));
	server_stop(s);
}

Test(fetch, sends_a_large_body_whole)
{
	struct server *s = server_start(serve_text, OK_HEAD "\r\nhello");
	struct fetch_conf conf = conf_of("127.0.0.1");
	struct answer a = { 0 };
	struct fetch_events ev = { &a, on_status, NULL, NULL };
	char *body = arena_alloc(arena, 60000);
	struct fetch_request rq = { .method = "POST", .url = url_of(s), .body = { body, 60000 }, .client_fd = -1 };

	for (size_t i = 0; i < 60000; i++)
		body[i] = (char)('a' + i % 26);
	cr_assert_eq(fetch_run(&task, &conf, &rq, &ev), ERR_OK);
	cr_expect_eq(memcmp(strstr(s->request, "\r\n\r\n") + 4, body, 60000), 0);
	server_stop(s);
}

/* ---- what may be reached ---- */

Test(fetch, refuses_a_private_address_that_is_not_listed)
{
	struct server *s = server_start(serve_text, OK_HEAD "\r\nhello");
	static const char *const hosts[] = { "127.0.0.1", "localhost", "0x7f.1", "2130706433", "[::ffff:127.0.0.1]", "[::1]", "0" };
	struct fetch_conf conf = conf_of("127.0.0.1:1,other.example");

	for (size_t i = 0; i < sizeof(hosts) / sizeof(hosts[0]); i++) {
		const char *url = arena_printf(arena, "https://%s:%d/", hosts[i], s->port);
		struct answer a = { 0 };

		cr_expect_eq(call_url(url, &conf, -1, 0, &a), ERR_PROVIDER_DOWN, "%s", url);
		cr_expect(strstr(task.fault.internal, "not public"), "%s: %s", url, task.fault.internal);
	}
	cr_expect_eq(atomic_load(&s->accepted), 0);
	server_stop(s);
}

Test(fetch, refuses_plain_http_to_a_host_that_is_not_listed)
{
	struct answer a = { 0 };
	struct fetch_conf conf = conf_of("");

	cr_expect_eq(call_url("http://example.org/v1", &conf, -1, 0, &a), ERR_PROVIDER_DOWN);
	cr_expect(strstr(task.fault.internal, "plain http"));
}

Test(fetch, a_listed_port_opens_that_port_alone)
{
	struct server *s = server_start(serve_text, OK_HEAD "\r\nhello");
	struct fetch_conf right = conf_of(arena_printf(arena, "127.0.0.1:%d", s->port));
	struct fetch_conf wrong = conf_of(arena_printf(arena, "127.0.0.1:%d", s->port - 1));
	struct answer a = { 0 };

	cr_expect_eq(call_url(url_of(s), &wrong, -1, 0, &a), ERR_PROVIDER_DOWN);
	cr_expect_eq(call_url(url_of(s), &right, -1, 0, &a), ERR_OK);
	server_stop(s);
}

Test(fetch, a_listed_name_is_resolved_and_reached)
{
	struct server *s = server_start(serve_text, OK_HEAD "\r\nhello");
	struct fetch_conf conf = conf_of("localhost");
	struct answer a = { 0 };

	cr_expect_eq(call_url(arena_printf(arena, "http://LOCALHOST:%d/", s->port), &conf, -1, 0, &a), ERR_OK, "%s", task.fault.internal);
	server_stop(s);
}

Test(fetch, refuses_urls_that_are_no_plain_web_address)
{
	static const char *const urls[] = { "", "example.org/v1", "file:///etc/passwd", "ftp://127.0.0.1/x", "gopher://127.0.0.1/x",
					    "https://user:secret@127.0.0.1/", "https://user@127.0.0.1/", "https://", "http://127.0.0.1:99999/",
					    "http://127.0.0.1 /x", "http://127.0.0.1/\r\nX: y" };
	struct fetch_conf conf = conf_of("127.0.0.1,user");

	for (size_t i = 0; i < sizeof(urls) / sizeof(urls[0]); i++) {
		struct answer a = { 0 };

		cr_expect_eq(call_url(urls[i], &conf, -1, 0, &a), ERR_PROVIDER_DOWN, "%s", urls[i]);
		cr_expect_eq(a.n_status, 0);
	}
}

Test(fetch, follows_no_redirect)
{
	struct server *s = server_start(serve_text, "HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n");
	struct answer a = { 0 };

	cr_expect_eq(call(s, &a), ERR_OK);
	cr_expect_eq(a.status, 302);
	cr_expect_eq(atomic_load(&s->requests), 1);
	server_stop(s);
}

Test(fetch, takes_no_proxy_from_the_environment)
{
	struct server *s = server_start(serve_text, OK_HEAD "\r\nhello");
	struct answer a = { 0 };

	setenv("http_proxy", "http://127.0.0.1:1", 1);
	setenv("all_proxy", "http://127.0.0.1:1", 1);
	cr_expect_eq(call(s, &a), ERR_OK, "%s", task.fault.internal);
	unsetenv("http_proxy");
	unsetenv("all_proxy");
	server_stop(s);
}

Test(fetch, a_server_that_never_shakes_hands_ends_with_the_connect_timeout)
{
	struct server *s = server_start(serve_text, "");
	struct fetch_conf conf = conf_of("127.0.0.1");
	struct answer a = { 0 };

	conf.connect_timeout_ms = 200;
	cr_expect_eq(call_url(arena_printf(arena, "https://127.0.0.1:%d/", s->port), &conf, -1, 0, &a), ERR_PROVIDER_DOWN);
	cr_expect(strstr(task.fault.internal, "no connection"), "%s", task.fault.internal);
	cr_expect_eq(atomic_load(&s->accepted), 1);
	server_stop(s);
}

Test(fetch, a_certificate_that_nobody_vouches_for_is_refused)
{
	struct tls_server s;
	struct fetch_conf conf = conf_of("localhost");
	struct answer a = { 0 };

	tls_server_start(&s);
	for (int i = 0; i < 50 && (a.n_status = 0, call_url(arena_printf(arena, "https://localhost:%d/", s.port), &conf, -1, 0, &a)) != ERR_OK &&
			strstr(task.fault.internal, "onnect"); i++)
		nanosleep(&(struct timespec){ .tv_nsec = 100000000 }, NULL); /* it is not listening yet */
	if (!tls_server_stop(&s))
		cr_skip_test("openssl is not installed");
	cr_expect_eq(task.fault.code, ERR_PROVIDER_DOWN);
	cr_expect(strstr(task.fault.internal, "certificate"), "%s", task.fault.internal);
	cr_expect_eq(a.n_status, 0);
}

static void *call_over_tls(void *arg)
{
	struct arena *a = arena_open(1024);
	struct fetch_conf conf = conf_of("localhost");
	struct fetch_request rq = { .method = "POST", .url = arg, .body = BYTES("{}"), .client_fd = -1 };
	struct fetch_events ev = { NULL, NULL, NULL, NULL };
	struct task t;
	size_t before = mallinfo2().uordblks, kept;
	enum err e;

	task_init(&t, a);
	e = fetch_run(&t, &conf, &rq, &ev);
	kept = mallinfo2().uordblks - before;
	arena_close(&a);
	return (void *)(e == ERR_PROVIDER_DOWN ? kept : 0);
}

/* Each turn has a thread, and what a thread keeps of its calls counts for the turn: the certificates of all authorities would be most of it. */
Test(fetch, a_thread_keeps_little_of_a_call_over_tls)
{
	struct tls_server s;
	char *url, *directory = NULL;
	void *kept = NULL;
	pthread_t thread;
	CURL *easy;

#ifdef __SANITIZE_ADDRESS__
	cr_skip_test("its allocator tells no sizes");
#endif
	easy = curl_easy_init();
	if (curl_easy_getinfo(easy, CURLINFO_CAPATH, &directory) != CURLE_OK || !directory || system("ls /etc/ssl/certs/*.0 >/dev/null 2>&1") != 0)
		cr_skip_test("the system's certificates are in one file");
	curl_easy_cleanup(easy);
	tls_server_start(&s);
	nanosleep(&(struct timespec){ .tv_sec = 1 }, NULL); /* until it listens */
	url = arena_printf(arena, "https://localhost:%d/", s.port);
	for (int i = 0; i < 2; i++) { /* the first finds what all share */
		cr_assert_eq(pthread_create(&thread, NULL, call_over_tls, url), 0);
		cr_assert_eq(pthread_join(thread, &kept), 0);
	}
	if (!tls_server_stop(&s))
		cr_skip_test("openssl is not installed");
	cr_expect(kept && (size_t)kept < 80 << 10, "%zu bytes", (size_t)kept);
}

/* ---- kept connections ---- */

Test(fetch, a_thread_keeps_its_connection_for_the_next_call)
{
	struct server *s = server_start(serve_and_keep, OK_HEAD "\r\nhello");

	for (int i = 0; i < 3; i++) {
		struct answer a = { 0 };

		cr_assert_eq(call(s, &a), ERR_OK, "%s", task.fault.internal);
	}
	cr_expect_eq(atomic_load(&s->accepted), 1);
	cr_expect_eq(atomic_load(&s->requests), 3);
	server_stop(s);
}

Test(fetch, a_kept_connection_is_judged_by_the_settings_of_each_call)
{
	struct server *s = server_start(serve_and_keep, OK_HEAD "\r\nhello");
	struct fetch_conf conf = conf_of("");
	struct answer a = { 0 };

	cr_assert_eq(call(s, &a), ERR_OK);
	cr_expect_eq(call_url(url_of(s), &conf, -1, 0, &a), ERR_PROVIDER_DOWN);
	cr_expect_eq(atomic_load(&s->requests), 1);
	server_stop(s);
}

/* Answers the first request and resets the connection at the second, without an answer. */
static bool serve_once_then_reset(struct server *s, int fd)
{
	struct linger hard = { 1, 0 };

	if (atomic_load(&s->requests) == 1) {
		send_text(fd, OK_HEAD "\r\nhello");
		return true;
	}
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
	return false;
}

/* TRN-7 */
Test(fetch, a_request_is_not_sent_again_when_a_kept_connection_breaks)
{
	struct server *s = server_start(serve_once_then_reset, NULL);
	struct answer a = { 0 };

	cr_assert_eq(call(s, &a), ERR_OK);
	cr_expect_eq(call(s, &a), ERR_PROVIDER_CUT, "%s", task.fault.internal);
	cr_expect_eq(atomic_load(&s->requests), 2);
	server_stop(s);
}

/* Answers and closes, although nothing said so. */
static bool serve_then_close(struct server *s, int fd)
{
	send_text(fd, s->arg);
	return false;
}

Test(fetch, a_kept_connection_that_the_server_closed_is_not_used)
{
	struct server *s = server_start(serve_then_close, OK_HEAD "\r\nhello");
	struct answer a = { 0 };

	cr_assert_eq(call(s, &a), ERR_OK);
	while (atomic_load(&s->finished) < 1)
		nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
	cr_expect_eq(call(s, &a), ERR_OK, "%s", task.fault.internal);
	cr_expect_eq(atomic_load(&s->accepted), 2);
	server_stop(s);
}

/* ---- time ---- */

static int64_t timed_call(const struct server *s, const struct fetch_conf *conf, enum err expected)
{
	struct answer a = { 0 };
	int64_t began = stamp_mono_ms();
	enum err e = call_url(url_of(s), conf, -1, 0, &a);

	cr_expect_eq(e, expected, "%s: %s", err_code(e), task.fault.internal);
	return stamp_mono_ms() - began;
}

Test(fetch, silence_before_the_first_byte_ends_the_call)
{
	struct server *s = server_start(serve_and_hang, NULL);
	struct fetch_conf conf = conf_of("127.0.0.1");
	int64_t ms;

	conf.idle_timeout_ms = 200;
	ms = timed_call(s, &conf, ERR_PROVIDER_TIMEOUT);
	cr_expect(ms >= 195 && ms < 2500, "%d ms", (int)ms);
	cr_expect(strstr(task.fault.internal, "silent"));
	server_stop(s);
}

Test(fetch, silence_in_the_middle_of_the_body_ends_the_call)
{
	struct server *s = server_start(serve_and_hang, OK_HEAD "\r\nhe");
	struct fetch_conf conf = conf_of("127.0.0.1");
	int64_t ms;

	conf.idle_timeout_ms = 200;
	ms = timed_call(s, &conf, ERR_PROVIDER_TIMEOUT);
	cr_expect(ms >= 195 && ms < 2500, "%d ms", (int)ms);
	server_stop(s);
}

/* A byte each 50 ms, 12 of them. */
static bool serve_drip(struct server *s, int fd)
{
	(void)s;
	send_text(fd, "HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n");
	for (int i = 0; i < 12; i++) {
		nanosleep(&(struct timespec){ .tv_nsec = 50000000 }, NULL);
		send_text(fd, "x");
	}
	return false;
}

Test(fetch, a_drip_is_no_silence)
{
	struct server *s = server_start(serve_drip, NULL);
	struct fetch_conf conf = conf_of("127.0.0.1");
	int64_t ms;

	conf.idle_timeout_ms = 300;
	ms = timed_call(s, &conf, ERR_OK);
	cr_expect(ms >= 590, "%d ms", (int)ms);
	server_stop(s);
}

Test(fetch, the_whole_call_has_a_limit_that_a_drip_cannot_stretch)
{
	struct server *s = server_start(serve_drip, NULL);
	struct fetch_conf conf = conf_of("127.0.0.1");
	int64_t ms;

	conf.total_timeout_ms = 250;
	ms = timed_call(s, &conf, ERR_PROVIDER_TIMEOUT);
	cr_expect(ms >= 245 && ms < 560, "%d ms", (int)ms);
	server_stop(s);
}

Test(fetch, a_host_that_never_accepts_ends_with_the_connect_timeout)
{
	int port, fd = listen_on_loopback(0, &port), full[3];
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons((uint16_t)port) };
	struct fetch_conf conf = conf_of("127.0.0.1");
	struct answer a = { 0 };
	int64_t began, ms;

	for (size_t i = 0; i < 3; i++) { /* fill the queue */
		full[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		connect(full[i], (struct sockaddr *)&in, sizeof(in));
	}
	conf.connect_timeout_ms = 200;
	began = stamp_mono_ms();
	cr_expect_eq(call_url(arena_printf(arena, "http://127.0.0.1:%d/", port), &conf, -1, 0, &a), ERR_PROVIDER_DOWN, "%s", task.fault.internal);
	ms = stamp_mono_ms() - began;
	cr_expect(ms >= 195 && ms < 2500, "%d ms", (int)ms);
	for (size_t i = 0; i < 3; i++)
		close(full[i]);
	close(fd);
}

Test(fetch, a_port_where_nobody_listens_is_down)
{
	int port, fd = listen_on_loopback(1, &port);
	struct fetch_conf conf = conf_of("127.0.0.1");
	struct answer a = { 0 };

	close(fd);
	cr_expect_eq(call_url(arena_printf(arena, "http://127.0.0.1:%d/", port), &conf, -1, 0, &a), ERR_PROVIDER_DOWN);
	cr_expect(strstr(task.fault.internal, "127.0.0.1"));
}

Test(fetch, a_name_that_does_not_exist_is_down)
{
	struct fetch_conf conf = conf_of("");
	struct answer a = { 0 };

	conf.connect_timeout_ms = 500; /* also where no resolver answers */
	cr_expect_eq(call_url("https://no-such-host.invalid/", &conf, -1, 0, &a), ERR_PROVIDER_DOWN);
}

Test(fetch, ticks_come_while_it_waits_and_may_end_the_call)
{
	struct server *s = server_start(serve_and_hang, NULL);
	struct fetch_conf conf = conf_of("127.0.0.1");
	struct answer a = { 0 }, b = { .fail_tick = ERR_BUSY };

	conf.idle_timeout_ms = 320;
	cr_expect_eq(call_url(url_of(s), &conf, -1, 50, &a), ERR_PROVIDER_TIMEOUT);
	cr_expect(a.n_ticks >= 4 && a.n_ticks <= 7, "%d ticks", a.n_ticks);
	task.fault.code = ERR_BUSY; /* as the callback would */
	cr_expect_eq(call_url(url_of(s), &conf, -1, 50, &b), ERR_BUSY);
	cr_expect_eq(b.n_ticks, 1);
	server_stop(s);
}

/* ---- broken and hostile answers ---- */

Test(fetch, a_body_shorter_than_announced_is_cut)
{
	struct server *s = server_start(serve_text, "HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello");
	struct answer a = { 0 };

	cr_expect_eq(call(s, &a), ERR_PROVIDER_CUT);
	cr_expect(bytes_equal(buf_bytes(&a.body), BYTES("hello")));
	server_stop(s);
}

Test(fetch, a_chunked_body_without_its_end_is_cut)
{
	struct server *s = server_start(serve_text, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n");
	struct answer a = { 0 };

	cr_expect_eq(call(s, &a), ERR_PROVIDER_CUT);
	server_stop(s);
}

Test(fetch, a_connection_closed_before_the_status_is_cut)
{
	struct server *s = server_start(serve_text, "");
	struct answer a = { 0 };

	cr_expect_eq(call(s, &a), ERR_PROVIDER_CUT);
	cr_expect_eq(a.n_status, 0);
	server_stop(s);
}

Test(fetch, an_answer_that_is_not_http_is_invalid)
{
	struct server *s = server_start(serve_text, "220 mail.example ESMTP\r\n");
	struct answer a = { 0 };

	cr_expect_eq(call(s, &a), ERR_PROVIDER_INVALID, "%s", task.fault.internal);
	server_stop(s);
}

static bool serve_endless(struct server *s, int fd)
{
	static const char block[4096] = { 0 };

	send_text(fd, s->arg);
	while (send(fd, block, sizeof(block), MSG_NOSIGNAL) > 0)
		;
	return false;
}

Test(fetch, an_endless_body_is_cut_off_at_the_limit)
{
	struct server *s = server_start(serve_endless, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n");
	struct fetch_conf conf = conf_of("127.0.0.1");
	struct answer a = { 0 };

	conf.max_bytes = 100000;
	cr_expect_eq(call_url(url_of(s), &conf, -1, 0, &a), ERR_PROVIDER_INVALID);
	cr_expect(a.body.n <= 100000);
	server_stop(s);
}

static bool serve_endless_headers(struct server *s, int fd)
{
	(void)s;
	send_text(fd, "HTTP/1.1 200 OK\r\n");
	while (send(fd, "X-Header: some value of no use\r\n", 32, MSG_NOSIGNAL) > 0)
		;
	return false;
}

Test(fetch, endless_headers_are_cut_off)
{
	struct server *s = server_start(serve_endless_headers, NULL);
	struct answer a = { 0 };
	enum err e = call(s, &a);

	cr_expect(e == ERR_PROVIDER_INVALID || e == ERR_PROVIDER_CUT, "%s", task.fault.internal);
	cr_expect_eq(a.n_status, 0);
	server_stop(s);
}

static bool serve_endless_trailers(struct server *s, int fd)
{
	(void)s;
	send_text(fd, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nno\r\n0\r\n");
	for (int i = 0; i < 1000000 && send(fd, "X-Trailer: some value of no use\r\n", 33, MSG_NOSIGNAL) > 0; i++)
		;
	return false;
}

/* curl keeps each of them. */
Test(fetch, endless_trailers_are_cut_off)
{
	struct server *s = server_start(serve_endless_trailers, NULL);
	struct answer a = { 0 };

	cr_expect_eq(call(s, &a), ERR_PROVIDER_INVALID, "%s", task.fault.internal);
	server_stop(s);
}

Test(fetch, interim_answers_and_trailers_are_not_the_status)
{
	struct server *s = server_start(serve_text, "HTTP/1.1 103 Early Hints\r\nRetry-After: 9\r\n\r\n"
						    "HTTP/1.1 503 Busy\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nno\r\n0\r\nRetry-After: 8\r\n\r\n");
	struct answer a = { 0 };

	cr_expect_eq(call(s, &a), ERR_OK, "%s", task.fault.internal);
	cr_expect_eq(a.n_status, 1);
	cr_expect_eq(a.status, 503);
	cr_expect_eq(a.retry_after_s, 0);
	server_stop(s);
}

static int retry_after(const char *value)
{
	const char *text = arena_printf(arena, "HTTP/1.1 429 Slow\r\nConnection: close\r\nRetry-After:%s\r\nContent-Length: 0\r\n\r\n", value);
	struct server *s = server_start(serve_text, text);
	struct answer a = { 0 };

	cr_assert_eq(call(s, &a), ERR_OK, "%s", task.fault.internal);
	cr_assert_eq(a.status, 429);
	server_stop(s);
	return a.retry_after_s;
}

Test(fetch, retry_after_is_seconds_or_a_date_within_reason)
{
	time_t soon = time(NULL) + 120;
	struct tm tm;
	char date[64];
	int s;

	strftime(date, sizeof(date), " %a, %d %b %Y %H:%M:%S GMT", gmtime_r(&soon, &tm));
	s = retry_after(date);
	cr_expect(s >= 117 && s <= 120, "%d", s);
	cr_expect_eq(retry_after(" 30"), 30);
	cr_expect_eq(retry_after("0"), 0);
	cr_expect_eq(retry_after(" -5"), 0);
	cr_expect_eq(retry_after(" soon"), 0);
	cr_expect_eq(retry_after(""), 0);
	cr_expect_eq(retry_after(" 99999999999999999999"), 86400);
	cr_expect_eq(retry_after(" Sun, 06 Nov 1994 08:49:37 GMT"), 0);
}

/* ---- whoever waits ---- */

Test(fetch, a_callback_ends_the_call_with_its_own_error)
{
	struct server *s = server_start(serve_text, OK_HEAD "\r\nhello");
	struct answer by_status = { .fail_status = ERR_NOT_FOUND }, by_body = { .fail_body = ERR_CORRUPT };

	task.fault.code = ERR_NOT_FOUND; /* as the callback would */
	cr_expect_eq(call(s, &by_status), ERR_NOT_FOUND);
	cr_expect_eq(by_status.body.n, 0);
	task.fault.code = ERR_CORRUPT;
	cr_expect_eq(call(s, &by_body), ERR_CORRUPT);
	server_stop(s);
}

struct leaver {
	int fd;
	int after_ms;
};

static void *leave(void *arg)
{
	struct leaver *l = arg;

	nanosleep(&(struct timespec){ .tv_nsec = l->after_ms * 1000000L }, NULL);
	close(l->fd);
	return NULL;
}

/* TRN-5 */
Test(fetch, a_client_that_hangs_up_cancels_the_call_and_stops_the_provider)
{
	struct server *s = server_start(serve_and_hang, OK_HEAD "\r\nhe");
	struct fetch_conf conf = conf_of("127.0.0.1");
	struct answer a = { 0 };
	struct leaver l = { .after_ms = 100 };
	pthread_t thread;
	int pair[2];
	int64_t began = stamp_mono_ms(), ms;

	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	l.fd = pair[1];
	cr_assert_eq(pthread_create(&thread, NULL, leave, &l), 0);
	cr_expect_eq(call_url(url_of(s), &conf, pair[0], 0, &a), ERR_CANCELLED);
	ms = stamp_mono_ms() - began;
	cr_expect(ms >= 95 && ms < 2500, "%d ms", (int)ms);
	pthread_join(thread, NULL);
	for (int i = 0; i < 1000 && atomic_load(&s->finished) == 0; i++)
		nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
	cr_expect_eq(atomic_load(&s->finished), 1, "the provider saw its connection close");
	close(pair[0]);
	server_stop(s);
}

Test(fetch, a_client_that_is_gone_already_costs_no_call)
{
	struct server *s = server_start(serve_text, OK_HEAD "\r\nhello");
	struct fetch_conf conf = conf_of("127.0.0.1");
	struct answer a = { 0 };
	int pair[2];

	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	cr_assert_eq(write(pair[1], "left", 4), 4);
	close(pair[1]);
	cr_expect_eq(call_url(url_of(s), &conf, pair[0], 0, &a), ERR_CANCELLED, "also with unread bytes");
	cr_expect_eq(atomic_load(&s->accepted), 0);
	close(pair[0]);
	server_stop(s);
}

Test(fetch, bytes_from_the_client_are_no_hang_up_and_cost_no_time)
{
	struct server *s = server_start(serve_and_hang, OK_HEAD "\r\nhe");
	struct fetch_conf conf = conf_of("127.0.0.1");
	struct answer a = { 0 };
	struct rusage before, after;
	int pair[2];

	conf.idle_timeout_ms = 400;
	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	cr_assert_eq(write(pair[1], "next", 4), 4);
	getrusage(RUSAGE_THREAD, &before);
	cr_expect_eq(call_url(url_of(s), &conf, pair[0], 0, &a), ERR_PROVIDER_TIMEOUT);
	getrusage(RUSAGE_THREAD, &after);
	cr_expect(after.ru_nvcsw - before.ru_nvcsw < 40, "%ld wakeups", after.ru_nvcsw - before.ru_nvcsw);
	cr_expect((after.ru_utime.tv_sec - before.ru_utime.tv_sec) * 1000000 + after.ru_utime.tv_usec - before.ru_utime.tv_usec < 150000);
	close(pair[0]);
	close(pair[1]);
	server_stop(s);
}

Test(fetch, a_descriptor_that_cannot_hang_up_is_not_watched)
{
	struct server *s = server_start(serve_text, OK_HEAD "\r\nhello");
	struct fetch_conf conf = conf_of("127.0.0.1");
	struct answer a = { 0 };
	FILE *file = tmpfile();

	cr_assert_neq(file, NULL);
	cr_expect_eq(call_url(url_of(s), &conf, fileno(file), 0, &a), ERR_OK, "%s", task.fault.internal);
	fclose(file);
	server_stop(s);
}

/* ---- threads ---- */

static void *call_in_thread(void *arg)
{
	const struct server *s = arg;
	struct arena *own = arena_open(4096);
	struct fetch_conf conf = conf_of("127.0.0.1");
	char url[64];
	struct fetch_request rq = { "POST", url, headers, BYTES("{}"), -1, 0 };
	struct task t;
	size_t bad = 0;

	snprintf(url, sizeof(url), "http://127.0.0.1:%d/", s->port);
	for (int i = 0; i < 20; i++) {
		struct answer a = { 0 };
		struct fetch_events ev = { &a, on_status, on_body, NULL };

		task_init(&t, own);
		buf_init(&a.body, own, 64);
		bad += fetch_run(&t, &conf, &rq, &ev) != ERR_OK || a.status != 200 || a.body.n != 5;
		arena_reset(own);
	}
	arena_close(&own);
	return (void *)bad;
}

Test(fetch, threads_call_at_the_same_time_and_leave_nothing_behind)
{
	struct server *s[4];
	pthread_t thread[4];
	void *bad;

	for (size_t i = 0; i < 4; i++) {
		s[i] = server_start(serve_and_keep, OK_HEAD "\r\nhello");
		cr_assert_eq(pthread_create(&thread[i], NULL, call_in_thread, s[i]), 0);
	}
	for (size_t i = 0; i < 4; i++) {
		pthread_join(thread[i], &bad);
		cr_expect_eq((size_t)bad, 0);
		for (int ms = 0; ms < 2000 && atomic_load(&s[i]->finished) == 0; ms++)
			nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
		cr_expect_eq(atomic_load(&s[i]->accepted), 1);
		cr_expect_eq(atomic_load(&s[i]->finished), 1, "the thread's connection went with it");
	}
	for (size_t i = 0; i < 4; i++)
		server_stop(s[i]);
}
