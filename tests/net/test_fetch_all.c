/* SPDX-License-Identifier: MIT */
/* test_fetch_all: several calls at once; none may harm another. */
#include <criterion/criterion.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/secret.h"
#include "base/stamp.h"
#include "net/fetch.h"
#include "web_server.h"

#define OK_HEAD "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n"
#define MANY 20

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

TestSuite(fetch_all, .init = setup, .fini = teardown, .timeout = 30);

struct answer {
	struct buf body;
	int status;
};

static enum err on_status(void *arg, int status, int retry_after_s)
{
	(void)retry_after_s;
	((struct answer *)arg)->status = status;
	return ERR_OK;
}

static enum err on_body(void *arg, struct bytes piece)
{
	buf_add_bytes(&((struct answer *)arg)->body, piece);
	return ERR_OK;
}

/* Jobs with their answers, all to be made alike and then changed. */
struct batch {
	struct fetch_job jobs[MANY];
	struct answer answers[MANY];
	size_t n;
	struct fetch_watch watch;
	int n_ticks;
	enum err fail_tick;
	int failed_at;
	size_t ended[MANY], n_ended;
};

static struct fetch_job *add_url(struct batch *b, const char *url)
{
	struct answer *a = &b->answers[b->n];
	struct fetch_job *j = &b->jobs[b->n++];

	buf_init(&a->body, arena, 64);
	*j = (struct fetch_job){
		.conf = { .connect_timeout_ms = 3000, .idle_timeout_ms = 3000, .total_timeout_ms = 8000, .max_bytes = 1000, .allow_hosts = "127.0.0.1" },
		.request = { "POST", url, NULL, BYTES("{}"), -1, 0 },
		.events = { a, on_status, on_body, NULL },
	};
	return j;
}

static struct fetch_job *add(struct batch *b, const struct server *s)
{
	return add_url(b, arena_printf(arena, "http://127.0.0.1:%d/call", s->port));
}

static int64_t run(struct batch *b, enum err wanted)
{
	int64_t began = stamp_mono_ms();
	enum err e;

	if (b->watch.at_once == 0)
		b->watch.at_once = MANY;
	if (b->watch.client_fd == 0)
		b->watch.client_fd = -1;
	e = fetch_run_all(&task, &b->watch, b->jobs, b->n);
	cr_assert_eq(e, wanted, "%s: %s", err_code(e), task.fault.internal);
	for (size_t i = 0; i < b->n; i++) {
		cr_expect(b->jobs[i].result == ERR_OK || e != ERR_OK || b->jobs[i].task.fault.code == b->jobs[i].result, "%zu", i);
	}
	return stamp_mono_ms() - began;
}

static bool is_hello(const struct answer *a)
{
	return a->status == 200 && bytes_equal(buf_bytes(&a->body), BYTES("hello"));
}

static void nap_ms(int ms)
{
	nanosleep(&(struct timespec){ .tv_nsec = ms * 1000000L }, NULL);
}

/* Takes 200 ms for its answer. */
static bool serve_slowly(struct server *s, int fd)
{
	nap_ms(200);
	send_text(fd, s->arg);
	return true;
}

Test(fetch_all, calls_run_at_the_same_time)
{
	struct server *s[6];
	struct batch b = { .n = 0 };
	int64_t ms;

	for (size_t i = 0; i < 6; i++)
		add(&b, s[i] = server_start(serve_slowly, OK_HEAD "\r\nhello"));
	ms = run(&b, ERR_OK);
	cr_expect(ms >= 195 && ms < 1150, "%d ms: one after the other they take 1200", (int)ms);
	for (size_t i = 0; i < 6; i++) {
		cr_expect_eq(b.jobs[i].result, ERR_OK);
		cr_expect(is_hello(&b.answers[i]));
	}
	for (size_t i = 0; i < 6; i++)
		server_stop(s[i]);
}

Test(fetch_all, no_calls_are_done_at_once)
{
	struct batch b = { .n = 0 };

	cr_expect_lt(run(&b, ERR_OK), 100);
}

Test(fetch_all, what_is_more_than_may_run_at_once_waits_its_turn)
{
	struct server *s = server_start(serve_and_keep, OK_HEAD "\r\nhello");
	struct batch b = { .watch = { .at_once = 1 } }; /* the server has one connection at a time */

	for (size_t i = 0; i < MANY; i++) {
		struct fetch_job *j = add(&b, s);

		j->conf.total_timeout_ms = 2000; /* of the call, not of its wait */
	}
	run(&b, ERR_OK);
	for (size_t i = 0; i < MANY; i++)
		cr_expect(b.jobs[i].result == ERR_OK && is_hello(&b.answers[i]), "%zu", i);
	cr_expect_eq(atomic_load(&s->accepted), 1, "they follow each other on one connection");
	cr_expect_eq(atomic_load(&s->requests), MANY);
	server_stop(s);
}

Test(fetch_all, a_waiting_calls_clock_begins_with_its_turn)
{
	struct server *s[3];
	struct batch b = { .watch = { .at_once = 1 } };
	int64_t ms;

	for (size_t i = 0; i < 3; i++) {
		s[i] = server_start(serve_slowly, OK_HEAD "\r\nhello");
		add(&b, s[i])->conf.total_timeout_ms = 400;
	}
	ms = run(&b, ERR_OK);
	cr_expect(ms >= 595, "%d ms", (int)ms);
	for (size_t i = 0; i < 3; i++)
		cr_expect_eq(b.jobs[i].result, ERR_OK, "%s", b.jobs[i].task.fault.internal);
	for (size_t i = 0; i < 3; i++)
		server_stop(s[i]);
}

/* A byte each 50 ms, for 600 ms. */
static bool serve_drip(struct server *s, int fd)
{
	(void)s;
	send_text(fd, "HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n");
	for (int i = 0; i < 12; i++) {
		nap_ms(50);
		send_text(fd, "x");
	}
	return false;
}

/* All that can go wrong with one of them, and those beside it. */
Test(fetch_all, a_call_that_fails_leaves_the_others_alone)
{
	struct server *good = server_start(serve_slowly, OK_HEAD "\r\nhello"), *last = server_start(serve_text, OK_HEAD "\r\nhello"),
		      *hangs = server_start(serve_and_hang, OK_HEAD "\r\nhe"),
		      *moved = server_start(serve_text, "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"),
		      *drips = server_start(serve_drip, NULL), *closed = server_start(serve_text, ""),
		      *large = server_start(serve_text, "HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\nhello hello"),
		      *hidden = server_start(serve_text, OK_HEAD "\r\nhello");
	struct batch b = { .n = 0 };
	int port, fd = listen_on_loopback(1, &port);
	const char *refused = arena_printf(arena, "http://127.0.0.1:%d/", port);
	int64_t ms;

	close(fd);
	add(&b, good);
	add(&b, hangs)->conf.idle_timeout_ms = 300;
	add_url(&b, refused);
	add(&b, moved);
	add(&b, drips)->conf.total_timeout_ms = 250;
	add(&b, closed);
	add(&b, large)->conf.max_bytes = 10;
	add_url(&b, arena_printf(arena, "https://127.0.0.1:%d/", hidden->port))->conf.allow_hosts = "";
	add_url(&b, "http://example.org/")->conf.allow_hosts = "";
	add_url(&b, "no url");
	add(&b, last);
	ms = run(&b, ERR_OK);
	cr_expect(ms >= 295 && ms < 2500, "%d ms", (int)ms);
	cr_expect(b.jobs[0].result == ERR_OK && is_hello(&b.answers[0]));
	cr_expect_eq(b.jobs[1].result, ERR_PROVIDER_TIMEOUT);
	cr_expect(strstr(b.jobs[1].task.fault.internal, "silent for 300 ms"));
	cr_expect_eq(b.jobs[2].result, ERR_PROVIDER_DOWN);
	cr_expect(b.jobs[3].result == ERR_OK && b.answers[3].status == 302);
	cr_expect_eq(b.jobs[4].result, ERR_PROVIDER_TIMEOUT);
	cr_expect(strstr(b.jobs[4].task.fault.internal, "not done after 250 ms"));
	cr_expect_eq(b.jobs[5].result, ERR_PROVIDER_CUT);
	cr_expect_eq(b.jobs[6].result, ERR_PROVIDER_INVALID);
	cr_expect_eq(b.jobs[7].result, ERR_PROVIDER_DOWN);
	cr_expect(strstr(b.jobs[7].task.fault.internal, "not public"));
	cr_expect_eq(atomic_load(&hidden->accepted), 0);
	cr_expect_eq(b.jobs[8].result, ERR_PROVIDER_DOWN);
	cr_expect_eq(b.jobs[9].result, ERR_PROVIDER_DOWN);
	cr_expect(b.jobs[10].result == ERR_OK && is_hello(&b.answers[10]));
	cr_expect_eq(task.fault.code, ERR_OK, "no fault of one of them is the whole's");
	server_stop(good);
	server_stop(last);
	server_stop(hangs);
	server_stop(moved);
	server_stop(drips);
	server_stop(closed);
	server_stop(large);
	server_stop(hidden);
}

/* The target of the redirect listens, and is allowed: nobody comes. */
Test(fetch_all, a_redirect_leads_nowhere)
{
	struct server *target = server_start(serve_text, OK_HEAD "\r\nhello");
	const char *text = arena_printf(arena, "HTTP/1.1 307 Moved\r\nLocation: http://127.0.0.1:%d/\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", target->port);
	struct server *s = server_start(serve_text, text);
	struct batch b = { .n = 0 };

	add(&b, s);
	add(&b, s);
	b.watch.at_once = 1;
	run(&b, ERR_OK);
	cr_expect(b.answers[0].status == 307 && b.answers[1].status == 307);
	cr_expect_eq(atomic_load(&target->accepted), 0);
	server_stop(s);
	server_stop(target);
}

Test(fetch_all, a_certificate_that_nobody_vouches_for_is_refused)
{
	struct server *good = server_start(serve_and_keep, OK_HEAD "\r\nhello");
	struct tls_server s;
	struct batch b = { .n = 0 };
	bool was_there;

	tls_server_start(&s);
	for (int i = 0; i < 50; i++) {
		b.n = 0;
		add_url(&b, arena_printf(arena, "https://localhost:%d/", s.port))->conf.allow_hosts = "localhost";
		add(&b, good);
		run(&b, ERR_OK);
		cr_assert(b.jobs[0].result == ERR_PROVIDER_DOWN && b.jobs[1].result == ERR_OK);
		if (!strstr(b.jobs[0].task.fault.internal, "onnect"))
			break;
		nap_ms(100); /* it is not listening yet */
	}
	was_there = tls_server_stop(&s);
	server_stop(good);
	if (!was_there)
		cr_skip_test("openssl is not installed");
	cr_expect(strstr(b.jobs[0].task.fault.internal, "certificate"), "%s", b.jobs[0].task.fault.internal);
	cr_expect_eq(b.answers[0].status, 0);
}

/* ---- what ends all of them ---- */

static enum err on_tick(void *arg)
{
	struct batch *b = arg;

	b->n_ticks++;
	/* not before the quick one is over, which takes its time on a busy machine */
	if (!b->fail_tick || (!is_hello(&b->answers[0]) && b->n_ticks < 40))
		return ERR_OK;
	b->failed_at = b->n_ticks;
	return task_fail_internal(&task, b->fail_tick, "the test says so");
}

Test(fetch_all, ticks_come_once_for_all_and_may_end_them)
{
	struct server *a = server_start(serve_and_hang, NULL), *c = server_start(serve_and_hang, NULL), *quick = server_start(serve_text, OK_HEAD "\r\nhello");
	struct batch b = { .watch = { .tick_ms = 50, .on_tick = on_tick } }, ended = { .watch = b.watch, .fail_tick = ERR_CANCELLED };
	int64_t ms;

	b.watch.arg = &b;
	add(&b, a)->conf.idle_timeout_ms = 320;
	add(&b, c)->conf.idle_timeout_ms = 320;
	run(&b, ERR_OK);
	cr_expect(b.n_ticks >= 4 && b.n_ticks <= 7, "%d ticks", b.n_ticks);
	ended.watch.arg = &ended;
	ended.watch.at_once = 3;
	add(&ended, quick);
	for (int i = 0; i < 5; i++)
		add(&ended, i % 2 ? a : c);
	ms = run(&ended, ERR_CANCELLED);
	cr_expect(ms < 2500 && ended.failed_at > 0 && ended.n_ticks == ended.failed_at, "%d ms, %d ticks", (int)ms, ended.n_ticks);
	cr_expect(ended.jobs[0].result == ERR_OK && is_hello(&ended.answers[0]), "it was over before");
	for (size_t i = 1; i < 6; i++)
		cr_expect_eq(ended.jobs[i].result, ERR_CANCELLED, "running or waiting: %zu", i);
	server_stop(a);
	server_stop(c);
	server_stop(quick);
}

static void *leave_soon(void *arg)
{
	nap_ms(100);
	close(*(int *)arg);
	return NULL;
}

/* TRN-5 */
Test(fetch_all, a_client_that_hangs_up_cancels_all)
{
	struct server *s[3];
	struct batch b = { .n = 0 };
	pthread_t thread;
	int pair[2];
	int64_t ms;

	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	b.watch.client_fd = pair[0];
	for (size_t i = 0; i < 3; i++)
		add(&b, s[i] = server_start(serve_and_hang, OK_HEAD "\r\nhe"));
	cr_assert_eq(pthread_create(&thread, NULL, leave_soon, &pair[1]), 0);
	ms = run(&b, ERR_CANCELLED);
	cr_expect(ms >= 95 && ms < 2500, "%d ms", (int)ms);
	pthread_join(thread, NULL);
	for (size_t i = 0; i < 3; i++) {
		for (int k = 0; k < 1000 && atomic_load(&s[i]->finished) == 0; k++)
			nap_ms(1);
		cr_expect_eq(atomic_load(&s[i]->finished), 1, "its connection is closed");
	}
	close(pair[0]);
	for (size_t i = 0; i < 3; i++)
		server_stop(s[i]);
}

Test(fetch_all, a_deadline_ends_what_runs_and_what_waits)
{
	struct server *a = server_start(serve_and_hang, NULL), *quick = server_start(serve_text, OK_HEAD "\r\nhello");
	struct batch b = { .watch = { .at_once = 2, .deadline = stamp_mono_ms() + 250 } };
	int64_t ms;

	add(&b, quick);
	add(&b, a);
	add(&b, a);
	add(&b, a);
	ms = run(&b, ERR_OK);
	cr_expect(ms >= 240 && ms < 2500, "%d ms", (int)ms);
	cr_expect_eq(b.jobs[0].result, ERR_OK);
	for (size_t i = 1; i < 4; i++)
		cr_expect_eq(b.jobs[i].result, ERR_PROVIDER_TIMEOUT, "%zu: %s", i, err_code(b.jobs[i].result));
	server_stop(a);
	server_stop(quick);
}

static enum err on_end(void *arg, size_t i)
{
	struct batch *b = arg;

	b->ended[b->n_ended++] = i;
	return i == 2 && b->fail_tick ? task_fail_internal(&task, b->fail_tick, "enough") : ERR_OK;
}

Test(fetch_all, tells_each_end_as_it_comes)
{
	struct server *slow = server_start(serve_slowly, OK_HEAD "\r\nhello"), *quick = server_start(serve_text, OK_HEAD "\r\nhello"),
		      *hangs = server_start(serve_and_hang, NULL);
	struct batch b = { .watch = { .on_end = on_end } }, stopped = { .watch = { .on_end = on_end }, .fail_tick = ERR_CANCELLED };

	b.watch.arg = &b;
	add(&b, slow);
	add_url(&b, "no url");
	add(&b, quick);
	run(&b, ERR_OK);
	cr_assert_eq(b.n_ended, 3);
	cr_expect(b.ended[0] == 1 && b.ended[1] == 2 && b.ended[2] == 0);
	cr_expect(b.jobs[0].duration_ms >= 195 && b.jobs[0].duration_ms < 2500, "%d ms", (int)b.jobs[0].duration_ms);
	cr_expect_lt(b.jobs[2].duration_ms, b.jobs[0].duration_ms);
	stopped.watch.arg = &stopped;
	add(&stopped, hangs);
	add(&stopped, hangs);
	add(&stopped, quick);
	run(&stopped, ERR_CANCELLED);
	cr_expect_eq(stopped.n_ended, 1, "what is ended from outside is not told");
	cr_expect_eq(stopped.jobs[0].result, ERR_CANCELLED);
	cr_expect_eq(stopped.jobs[2].result, ERR_OK);
	server_stop(slow);
	server_stop(quick);
	server_stop(hangs);
}

Test(fetch_all, judges_urls_by_their_text)
{
	static const struct {
		const char *url, *flaw;
	} rows[] = {
		{ "https://shop.example/tools?x=1", NULL },       { "https://1.1.1.1/", NULL },
		{ "http://local.example:8080/", NULL },           { "https://10.0.0.5/", NULL },
		{ "http://shop.example/", "plain http" },         { "http://local.example/", "plain http" },
		{ "ftp://shop.example/", "neither" },             { "shop.example", "not valid" },
		{ "", "not valid" },                              { "https://u:p@shop.example/", "credentials" },
		{ "https://127.0.0.1/", "not public" },           { "https://0x7f.1/", "not public" },
		{ "https://[::1]/", "not public" },               { "https://[::ffff:10.0.0.1]/", "not public" },
		{ "https://169.254.169.254/latest", "not public" }, { "https://a b/", "not valid" },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const char *flaw = fetch_url_flaw(rows[i].url, "local.example:8080, 10.0.0.5");

		cr_expect(rows[i].flaw ? flaw && strstr(flaw, rows[i].flaw) : !flaw, "%s: %s", rows[i].url, flaw ? flaw : "");
	}
}

static enum err refuse_status(void *arg, int status, int retry_after_s)
{
	struct fetch_job *j = arg;

	(void)retry_after_s;
	return task_fail_internal(&j->task, ERR_NOT_FOUND, "status %d", status);
}

Test(fetch_all, a_callback_ends_its_own_call)
{
	struct server *a = server_start(serve_text, OK_HEAD "\r\nhello"), *c = server_start(serve_slowly, OK_HEAD "\r\nhello");
	struct batch b = { .n = 0 };
	struct fetch_job *j = add(&b, a);

	j->events = (struct fetch_events){ j, refuse_status, NULL, NULL };
	add(&b, c);
	run(&b, ERR_OK);
	cr_expect_eq(b.jobs[0].result, ERR_NOT_FOUND);
	cr_expect_str_eq(b.jobs[0].task.fault.internal, "status 200");
	cr_expect_eq(b.jobs[1].result, ERR_OK);
	server_stop(a);
	server_stop(c);
}

Test(fetch_all, a_single_call_afterwards_finds_a_kept_connection)
{
	struct server *s = server_start(serve_and_keep, OK_HEAD "\r\nhello"), *other = server_start(serve_and_keep, OK_HEAD "\r\nhello");
	struct batch b = { .n = 0 };
	struct fetch_job *one;

	add(&b, other);
	add(&b, s); /* on a handle that goes with it */
	run(&b, ERR_OK);
	b.n = 0;
	one = add(&b, s);
	cr_assert_eq(fetch_run(&task, &one->conf, &one->request, &one->events), ERR_OK);
	cr_expect(is_hello(&b.answers[0]));
	cr_expect_eq(atomic_load(&s->accepted), 1);
	server_stop(s);
	server_stop(other);
}
