/* SPDX-License-Identifier: MIT */
/* test_chat_talk: a conversation with a server that follows a script, and breaks off where it says so. OPS-7, TRN-6 */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <netinet/in.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/secret.h"
#include "main/chat_talk.h"
#include "net/fetch.h"

#define REQUESTS 32
#define REQUEST_SIZE 4096

/* What the server says to its n-th request; NULL closes the connection without a word. */
struct line {
	const char *reply;
	int hold_until; /* keeps the connection open until so many requests came */
};

static struct {
	int fd, port;
	pthread_t thread;
	const struct line *script;
	size_t n_script;
	_Atomic int n; /* requests so far */
	char requests[REQUESTS][REQUEST_SIZE];
	struct arena *arena;
	struct task task;
	struct chat_remote remote;
	struct chat_link link;
	struct chat_talk talk;
	char seen[2000]; /* the names of the events, and the deltas' texts */
} it;

/* ---- the server ---- */

static bool read_request(int fd, char *to)
{
	size_t n = 0;
	for (;;) {
		ssize_t got = recv(fd, to + n, REQUEST_SIZE - 1 - n, 0);
		if (got <= 0)
			return false;
		n += (size_t)got;
		to[n] = 0;
		const char *end = strstr(to, "\r\n\r\n"), *length = strstr(to, "Content-Length: ");
		if (end && n >= (size_t)(end + 4 - to) + (length ? strtoul(length + 16, NULL, 10) : 0))
			return true;
	}
}

static void *answer(void *arg)
{
	int fd = (int)(intptr_t)arg;
	static char buffer[REQUESTS + 1][REQUEST_SIZE]; /* each thread its own by its number */
	static _Atomic int threads;
	char *request = buffer[atomic_fetch_add(&threads, 1) % REQUESTS];
	if (read_request(fd, request)) {
		int i = atomic_load(&it.n);
		strcpy(it.requests[i % REQUESTS], request);
		atomic_store(&it.n, i + 1);
		const struct line *l = (size_t)i < it.n_script ? &it.script[i] : NULL;
		if (l && l->reply)
			(void)!send(fd, l->reply, strlen(l->reply), MSG_NOSIGNAL);
		for (int k = 0; l && k < 1000 && atomic_load(&it.n) < l->hold_until; k++)
			usleep(5000);
	}
	close(fd);
	return NULL;
}

static void *serve(void *arg)
{
	(void)arg;
	for (;;) {
		pthread_t t;
		int fd = accept(it.fd, NULL, NULL);
		if (fd < 0)
			return NULL;
		if (pthread_create(&t, NULL, answer, (void *)(intptr_t)fd) == 0)
			pthread_detach(t);
	}
}

static void begin(void)
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t n = sizeof at;
	secret_init();
	fetch_init();
	it.arena = arena_open(0);
	task_init(&it.task, it.arena);
	it.fd = socket(AF_INET, SOCK_STREAM, 0);
	cr_assert(bind(it.fd, (struct sockaddr *)&at, sizeof at) == 0 && listen(it.fd, 16) == 0 && getsockname(it.fd, (struct sockaddr *)&at, &n) == 0);
	it.port = ntohs(at.sin_port);
	cr_assert_eq(pthread_create(&it.thread, NULL, serve, NULL), 0);
}

static void end(void)
{
	chat_talk_close(&it.talk);
	shutdown(it.fd, SHUT_RDWR);
	pthread_join(it.thread, NULL);
	close(it.fd);
	arena_close(&it.arena);
	fetch_cleanup();
}

TestSuite(chat_talk, .init = begin, .fini = end, .timeout = 30);
TestSuite(chat_remote, .timeout = 10);

#define STREAM "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
#define CHUNKED "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
#define EVENT(id, name, data) "id: trn_1:" id "\nevent: " name "\ndata: " data "\n\n"
#define TURN EVENT("0", "turn", "{\"session_id\":\"s 1\",\"turn_id\":\"trn_1\"}")
#define DONE EVENT("9", "done", "{\"result\":\"one two\",\"success\":true}")
#define PROBLEM(status, rest) "HTTP/1.1 " status " X\r\nContent-Type: application/problem+json\r\nConnection: close\r\nRetry-After: 7\r\n\r\n{\"status\":409," rest "}"

static void on_event(void *arg, const struct chat_event *event)
{
	(void)arg;
	size_t n = strlen(it.seen);
	bool is_delta = bytes_equal(event->name, BYTES("delta"));
	struct bytes what = is_delta ? event->data : event->name;
	snprintf(it.seen + n, sizeof it.seen - n, "%.*s ", (int)what.n, what.p);
}
static const struct chat_watch watch = { NULL, on_event };

static void open_talk(const char *key, const struct line *script, size_t n)
{
	it.script = script;
	it.n_script = n;
	cr_assert_eq(chat_remote_init(&it.task, arena_printf(it.arena, "http://127.0.0.1:%d/base/", it.port), NULL, &it.remote), ERR_OK);
	it.link = chat_remote_link(&it.remote);
	cr_assert_eq(chat_talk_open(&it.talk, &it.task, &it.link, key, BYTES("guide"), BYTES("ann"), (struct bytes){ NULL, 0 }, (struct bytes){ NULL, 0 }), ERR_OK);
	it.talk.pause_ms = 1;
}
#define begin_talk(key, ...)                                                                                           \
	static const struct line script_[] = { __VA_ARGS__ };                                                          \
	open_talk((key), script_, sizeof script_ / sizeof script_[0])

static enum err say(const char *text)
{
	it.seen[0] = 0;
	return chat_talk_say(&it.talk, &it.task, bytes_of(text), &watch);
}

/* A header of the n-th request, or "". */
static const char *header(int n, const char *name)
{
	const char *at = strstr(it.requests[n], arena_printf(it.arena, "\r\n%s: ", name));
	return at ? arena_copy(it.arena, at + 4 + strlen(name), strcspn(at + 4 + strlen(name), "\r")) : "";
}

static const char *body(int n)
{
	return strstr(it.requests[n], "\r\n\r\n") + 4;
}

#define must_begin(text, wanted) cr_assert_eq(strncmp((text), (wanted), strlen(wanted)), 0, "%s", (text))

/* ---- a turn that goes well ---- */

Test(chat_talk, a_message_makes_the_session_and_the_next_goes_on_in_it)
{
	begin_talk("sk_x", { STREAM TURN EVENT("4", "delta", "{\"text\":\"one two\"}") DONE, 0 }, { STREAM TURN DONE, 0 });
	cr_assert_eq(say("he\"llo"), ERR_OK, "%s", it.task.fault.detail);
	cr_assert_str_eq(it.seen, "turn {\"text\":\"one two\"} done ");
	must_begin(it.requests[0], "POST /base/v1/chat/guide/message HTTP/1.1\r\n");
	cr_assert_str_eq(body(0), "{\"message\":\"he\\\"llo\",\"stream\":true,\"user\":\"ann\",\"client_type\":\"terminal\"}");
	cr_assert_str_eq(header(0, "Authorization"), "Bearer sk_x");
	cr_assert_str_eq(header(0, "Origin"), "", "a secret key is not a page's");
	cr_assert_eq(strlen(header(0, "Idempotency-Key")), 32);
	cr_assert_eq(say("more"), ERR_OK);
	must_begin(it.requests[1], "POST /base/v1/sessions/s%201/turns HTTP/1.1\r\n");
	cr_assert_str_eq(body(1), "{\"message\":\"more\",\"stream\":true}");
	cr_assert_str_neq(header(0, "Idempotency-Key"), header(1, "Idempotency-Key"));
}

Test(chat_talk, a_publishable_key_is_for_the_first_message_and_the_token_for_the_rest)
{
	begin_talk("pk_x", { STREAM EVENT("0", "turn", "{\"session_id\":\"s\",\"turn_id\":\"trn_1\",\"token\":\"st_y\"}") DONE, 0 }, { STREAM TURN DONE, 0 });
	cr_assert_eq(say("a"), ERR_OK);
	cr_assert_eq(say("b"), ERR_OK);
	cr_assert_str_eq(header(0, "Authorization"), "Bearer pk_x");
	cr_assert_str_eq(header(0, "Origin"), arena_printf(it.arena, "http://127.0.0.1:%d", it.port));
	cr_assert_str_eq(header(1, "Authorization"), "Bearer st_y");
	cr_assert_str_eq(header(1, "Origin"), "");
}

Test(chat_talk, what_would_be_a_header_of_its_own_is_not_taken)
{
	begin_talk("pk_x", { STREAM EVENT("0", "turn", "{\"session_id\":\"s\",\"turn_id\":\"trn\\r\\nX: y\",\"token\":\"st_y\\r\\nX: y\"}") DONE, 0 }, { STREAM TURN DONE, 0 });
	cr_assert_eq(say("a"), ERR_OK);
	cr_assert_eq(say("b"), ERR_OK);
	cr_assert_str_eq(header(1, "Authorization"), "Bearer pk_x");
}

/* ---- answers that break off ---- */

Test(chat_talk, an_answer_that_breaks_off_is_followed_from_its_last_event)
{
	begin_talk("sk_x", { CHUNKED "80\r\n" TURN EVENT("4", "delta", "{\"text\":\"one \"}"), 0 }, { STREAM EVENT("8", "delta", "{\"text\":\"two\"}"), 0 }, { STREAM DONE, 0 });
	cr_assert_eq(say("a"), ERR_OK, "%s", it.task.fault.detail);
	cr_assert_str_eq(it.seen, "turn {\"text\":\"one \"} broken {\"text\":\"two\"} broken done ");
	must_begin(it.requests[1], "GET /base/v1/sessions/s%201/turns/trn_1/stream HTTP/1.1\r\n");
	cr_assert_str_eq(header(1, "Last-Event-ID"), "trn_1:4");
	cr_assert_str_eq(header(2, "Last-Event-ID"), "trn_1:8");
	cr_assert_str_eq(header(2, "Idempotency-Key"), "");
	cr_assert_eq(it.n, 3);
}

Test(chat_talk, a_message_whose_turn_is_not_known_is_sent_again_under_its_key)
{
	begin_talk("sk_x", { NULL, 0 }, { "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 6\r\n\r\n<html>", 0 }, { PROBLEM("409", "\"code\":\"request_running\",\"detail\":\"d\""), 0 }, { STREAM, 0 }, { STREAM TURN DONE, 0 });
	cr_assert_eq(say("a"), ERR_OK, "%s", it.task.fault.detail);
	cr_assert_str_eq(it.seen, "broken turn done ");
	cr_assert_eq(it.n, 5);
	for (int i = 1; i < 5; i++) {
		must_begin(it.requests[i], "POST /base/v1/chat/guide/message");
		cr_assert_str_eq(header(i, "Idempotency-Key"), header(0, "Idempotency-Key"));
		cr_assert_str_eq(body(i), body(0));
	}
}

Test(chat_talk, a_turn_that_cannot_be_followed_is_asked_for_again_by_the_very_same_request)
{
	begin_talk("pk_x", { STREAM EVENT("0", "turn", "{\"session_id\":\"s\",\"turn_id\":\"trn_1\",\"token\":\"st_y\"}"), 0 }, { PROBLEM("404", "\"code\":\"not_found\""), 0 }, { STREAM TURN DONE, 0 });
	cr_assert_eq(say("a"), ERR_OK, "%s", it.task.fault.detail);
	cr_assert_str_eq(header(1, "Authorization"), "Bearer st_y");
	cr_assert_str_eq(header(2, "Authorization"), "Bearer pk_x", "the key is bound to its credential");
	cr_assert_str_eq(header(2, "Idempotency-Key"), header(0, "Idempotency-Key"));
	must_begin(it.requests[2], "POST /base/v1/chat/guide/message");
}

Test(chat_talk, a_server_that_never_comes_back_is_given_up)
{
	begin_talk("sk_x", { NULL, 0 });
	cr_assert_eq(say("a"), ERR_PROVIDER_CUT);
	cr_assert_gt(it.n, 5);
	cr_assert_leq(it.n, 20);
	cr_assert_str_eq(it.seen, "broken ");
}

/* ---- refusals ---- */

Test(chat_talk, a_refusal_is_no_reason_to_send_it_again)
{
	begin_talk("sk_x", { PROBLEM("409", "\"code\":\"turn_running\",\"detail\":\"another turn is running\""), 0 }, { PROBLEM("503", "\"code\":\"busy\",\"detail\":\"no room\""), 0 },
		   { "HTTP/1.1 404 X\r\nContent-Length: 4\r\n\r\nnope", 0 }, { "HTTP/1.1 302 X\r\nLocation: https://elsewhere.example/\r\nContent-Length: 0\r\n\r\n", 0 },
		   { PROBLEM("429", "\"code\":\"later_than_this_program\",\"detail\":\"told\""), 0 });
	cr_assert_eq(say("a"), ERR_TURN_RUNNING);
	cr_assert_str_eq(it.task.fault.detail, "another turn is running");
	cr_assert_str_eq(it.talk.code, "turn_running");
	cr_assert_eq(it.talk.retry_after_s, 7);
	cr_assert_eq(say("a"), ERR_BUSY);
	cr_assert_eq(say("a"), ERR_INTERNAL);
	cr_assert(strstr(it.task.fault.detail, "404"));
	cr_assert_eq(say("a"), ERR_INTERNAL);
	cr_assert_eq(say("a"), ERR_INTERNAL);
	cr_assert_str_eq(it.task.fault.detail, "told");
	cr_assert_str_eq(it.talk.code, "later_than_this_program");
	cr_assert_eq(it.n, 5);
}

Test(chat_talk, a_turn_that_failed_has_failed)
{
	begin_talk("sk_x", { STREAM TURN EVENT("2", "error", "{\"code\":\"provider_cut\",\"detail\":\"it broke\",\"retry_after\":2}") DONE, 0 });
	cr_assert_eq(say("a"), ERR_PROVIDER_CUT);
	cr_assert_str_eq(it.seen, "turn error ");
	cr_assert_str_eq(it.task.fault.detail, "it broke");
	cr_assert_eq(it.talk.retry_after_s, 2);
	cr_assert_eq(it.n, 1);
	cr_assert_str_eq(it.talk.turn, "");
}

Test(chat_talk, events_that_make_no_sense_end_the_turn)
{
	begin_talk("sk_x", { STREAM TURN EVENT("1", "delta", "{\"text\":"), 0 }, { STREAM TURN EVENT("1", "delta", "[]"), 0 }, { STREAM TURN EVENT("1", "delta", "{\"text\":\"\xff\"}"), 0 });
	for (int i = 0; i < 3; i++)
		cr_assert_eq(say("a"), ERR_PROVIDER_INVALID);
	cr_assert_eq(it.n, 3);
}

/* ---- the other requests ---- */

Test(chat_talk, strange_answers_to_small_requests_are_refused)
{
	begin_talk("sk_x", { STREAM TURN DONE, 0 }, { "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n<html", 0 }, { "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]", 0 },
		   { "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", 0 }, { "HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n{\"data\":[7]}", 0 });
	struct bytes json;
	cr_assert_eq(chat_talk_stats(&it.talk, &it.task, &json), ERR_NOT_FOUND, "there is no session yet");
	cr_assert_eq(chat_talk_regenerate(&it.talk, &it.task, &watch), ERR_NOT_FOUND);
	cr_assert_eq(chat_talk_new(&it.talk, &it.task, &json), ERR_OK);
	cr_assert_eq(it.n, 0);
	cr_assert_eq(say("a"), ERR_OK);
	cr_assert_eq(chat_talk_stats(&it.talk, &it.task, &json), ERR_PROVIDER_INVALID);
	cr_assert_eq(chat_talk_stats(&it.talk, &it.task, &json), ERR_PROVIDER_INVALID);
	cr_assert_eq(chat_talk_regenerate(&it.talk, &it.task, &watch), ERR_PROVIDER_INVALID);
	cr_assert_eq(chat_talk_regenerate(&it.talk, &it.task, &watch), ERR_NOT_FOUND);
}

/* ---- cancel ---- */

/* Cancels as soon as there is something to cancel. */
static void *cancel(void *arg)
{
	enum err *e = arg;
	struct arena *a = arena_open(0);
	struct task t;
	do {
		task_init(&t, a);
		*e = chat_talk_cancel(&it.talk, &t);
		usleep(2000);
	} while (*e == ERR_NOT_FOUND);
	arena_close(&a);
	return NULL;
}

Test(chat_talk, a_turn_that_runs_can_be_cancelled_from_another_thread)
{
	begin_talk("sk_x", { STREAM TURN EVENT("4", "delta", "{\"text\":\"one\"}"), 2 }, { "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}", 0 },
		   { STREAM EVENT("9", "done", "{\"result\":\"one\",\"finish\":\"cancelled\"}"), 0 });
	pthread_t t;
	enum err cancelled = ERR_INTERNAL;
	cr_assert_eq(chat_talk_cancel(&it.talk, &it.task), ERR_NOT_FOUND);
	cr_assert_eq(pthread_create(&t, NULL, cancel, &cancelled), 0);
	cr_assert_eq(say("a"), ERR_OK, "%s", it.task.fault.detail);
	pthread_join(t, NULL);
	cr_assert_eq(cancelled, ERR_OK);
	must_begin(it.requests[1], "POST /base/v1/sessions/s%201/turns/trn_1/cancel HTTP/1.1\r\n");
	cr_assert_eq(chat_talk_cancel(&it.talk, &it.task), ERR_NOT_FOUND, "it has ended");
}

/* ---- where it may be ---- */

Test(chat_remote, https_anywhere_and_http_to_this_machine_alone)
{
	static const struct {
		const char *url, *base, *hosts, *origin; /* base NULL: refused */
	} cases[] = {
		{ "https://chat.example", "https://chat.example", "chat.example:443", "https://chat.example" },
		{ "https://chat.example:8443/a/b//", "https://chat.example:8443/a/b", "chat.example:8443", "https://chat.example:8443" },
		{ "http://127.0.0.1:80", "http://127.0.0.1:80", "127.0.0.1:80", "http://127.0.0.1:80" },
		{ "http://localhost/", "http://localhost", "localhost:80", "http://localhost" },
		{ "http://[::1]:8080", "http://[::1]:8080", "[::1]:8080", "http://[::1]:8080" },
		{ "http://chat.example", NULL, NULL, NULL },
		{ "http://127.evil.example", NULL, NULL, NULL },
		{ "http://10.0.0.1", NULL, NULL, NULL },
		{ "ftp://127.0.0.1", NULL, NULL, NULL },
		{ "https://user@chat.example", NULL, NULL, NULL },
		{ "https://chat.example/?x=1", NULL, NULL, NULL },
		{ "https://chat.example/#x", NULL, NULL, NULL },
		{ "https://chat.exa mple", NULL, NULL, NULL },
		{ "chat", NULL, NULL, NULL },
		{ "", NULL, NULL, NULL },
	};
	struct arena *a = arena_open(0);
	struct task t;
	struct chat_remote r;
	task_init(&t, a);
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		enum err e = chat_remote_init(&t, cases[i].url, NULL, &r);
		cr_assert_eq(e, cases[i].base ? ERR_OK : ERR_USAGE, "%s", cases[i].url);
		if (e)
			continue;
		cr_assert_str_eq(r.base, cases[i].base);
		cr_assert_str_eq(r.allow_hosts, cases[i].hosts);
		cr_assert_str_eq(r.origin, cases[i].origin);
	}
	cr_assert_eq(chat_remote_init(&t, "https://a.example", "https://b.example", &r), ERR_OK);
	cr_assert_str_eq(r.origin, "https://b.example");
	cr_assert_eq(chat_remote_init(&t, "https://a.example", "https://b.example\r\nX: y", &r), ERR_USAGE);
	arena_close(&a);
}
