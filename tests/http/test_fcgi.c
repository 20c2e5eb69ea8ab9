/* SPDX-License-Identifier: MIT */
/* test_fcgi: a server in process and hand-made FastCGI records: bodies, kept connections, smuggling, drain. OPS-1 */
#include <criterion/criterion.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "../support/fcgi_client.h"
#include "base/metrics.h"
#include "base/stamp.h"
#include "http/fcgi.h"

#define MAX_BODY 100000

static struct arena *arena;
static struct task task;
static char dir[64], path[96];
static int listen_fd;
static struct fcgi_server *server;

/* What the handler saw; written before the answer goes out. */
static atomic_int n_handled, n_smuggled, n_streaming_gone;
static struct {
	enum http_body state;
	struct bytes body;
	char uri[256], remote_addr[64], authorization[64], copy[8192];
	bool are_signals_blocked;
} seen;

static void nap(int ms)
{
	struct timespec ts = { ms / 1000, ms % 1000 * 1000000 };

	nanosleep(&ts, NULL);
}

static void copy_text(char *to, size_t size, struct bytes b)
{
	if (b.p)
		snprintf(to, size, "%.*s", (int)b.n, b.p);
	else
		snprintf(to, size, "(absent)");
}

static void stream_until_gone(struct http_response *rs)
{
	struct pollfd p = { .fd = rs->sink.client_fd(rs->sink.arg), .events = POLLIN | POLLRDHUP };

	if (http_stream_begin(rs) && poll(&p, 1, 5000) == 1 && p.revents & (POLLRDHUP | POLLHUP)) {
		for (int i = 0; i < 100 && http_stream_event(rs, NULL, NULL, BYTES("b")); i++)
			nap(1);
		atomic_fetch_add(&n_streaming_gone, rs->is_client_gone);
	}
}

static void handler(void *arg, struct task *t, const struct http_request *rq, struct http_response *rs)
{
	sigset_t set;

	(void)arg, (void)t;
	pthread_sigmask(SIG_SETMASK, NULL, &set);
	seen.are_signals_blocked = sigismember(&set, SIGTERM) && sigismember(&set, SIGUSR1) && sigismember(&set, SIGPIPE);
	seen.state = rq->body_state;
	seen.body = rq->body;
	copy_text(seen.uri, sizeof(seen.uri), rq->path);
	copy_text(seen.remote_addr, sizeof(seen.remote_addr), rq->remote_addr);
	copy_text(seen.authorization, sizeof(seen.authorization), rq->authorization);
	copy_text(seen.copy, sizeof(seen.copy), rq->body);
	if (bytes_equal(rq->path, BYTES("/SMUGGLED")))
		atomic_fetch_add(&n_smuggled, 1);
	atomic_fetch_add(&n_handled, 1);
	if (bytes_equal(rq->path, BYTES("/stream"))) {
		stream_until_gone(rs);
		return;
	}
	if (bytes_equal(rq->path, BYTES("/slow")))
		nap(300);
	if (bytes_equal(rq->path, BYTES("/large"))) {
		memset(buf_room(&rs->body, 300000), 'x', 300000);
		rs->body.n = 300000;
	} else {
		buf_addf(&rs->body, "%d %zu", (int)rq->body_state, rq->body.n);
	}
	rs->status = rq->body_state == HTTP_BODY_OK ? 200 : 400;
	http_send(rs);
}

static void setup(void)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };

	arena = arena_open(65536);
	task_init(&task, arena);
	snprintf(dir, sizeof(dir), "/tmp/test_fcgi.XXXXXX");
	cr_assert_not_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/sock", dir);
	strcpy(sa.sun_path, path);
	listen_fd = socket(AF_UNIX, SOCK_STREAM, 0);
	cr_assert_eq(bind(listen_fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	cr_assert_eq(listen(listen_fd, 64), 0);
}

static void teardown(void)
{
	fcgi_close(&server);
	close(listen_fd);
	unlink(path);
	rmdir(dir);
	arena_close(&arena);
}

TestSuite(fcgi, .init = setup, .fini = teardown, .timeout = 20);

static void serve(int threads, bool keep_conn)
{
	struct fcgi_conf conf = { .listen_fd = listen_fd, .threads = threads, .max_body = MAX_BODY, .keep_conn = keep_conn, .arena_bytes = 4096,
				  .handler = handler };

	cr_assert_eq(fcgi_open(&task, &conf, &server), ERR_OK);
}

static struct buf *wire_new(void)
{
	struct buf *wire = arena_alloc(arena, sizeof(*wire));

	buf_init(wire, arena, 4096);
	return wire;
}

/* Puts BEGIN and PARAMS of a POST; length NULL: none is declared. */
static void put_head(struct buf *wire, bool keep, const char *uri, const char *length)
{
	struct buf params;

	buf_init(&params, arena, 256);
	fcgi_put_pair(&params, BYTES("REQUEST_METHOD"), BYTES("POST"));
	fcgi_put_pair(&params, BYTES("REQUEST_URI"), bytes_of(uri));
	fcgi_put_pair(&params, BYTES("REMOTE_ADDR"), BYTES("192.0.2.1"));
	if (length)
		fcgi_put_pair(&params, BYTES("CONTENT_LENGTH"), bytes_of(length));
	fcgi_put_begin(wire, 1, keep);
	fcgi_put_stream(wire, FCGI_PARAMS, 1, buf_bytes(&params));
}

static struct bytes filler(size_t n)
{
	char *p = arena_alloc(arena, n + 1);

	for (size_t i = 0; i < n; i++)
		p[i] = (char)('a' + i % 26);
	return (struct bytes){ p, n };
}

/* Sends on fd, reads the answer. */
static bool exchange(int fd, const struct buf *wire, struct fcgi_answer *answer_r)
{
	(void)fcgi_write(fd, buf_bytes(wire));
	return fcgi_read(fd, arena, answer_r);
}

/* Whether the peer has closed the connection; waits for it a moment. */
static bool is_closed(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	char c;

	return poll(&p, 1, 500) == 1 && recv(fd, &c, 1, 0) <= 0;
}

static struct fcgi_answer answer_of(const struct buf *wire)
{
	struct fcgi_answer answer;
	int fd = fcgi_connect(path);

	cr_assert_geq(fd, 0);
	exchange(fd, wire, &answer);
	close(fd);
	return answer;
}

Test(fcgi, a_request_is_answered_and_its_connection_closed)
{
	struct fcgi_answer answer;
	struct buf *wire = wire_new();
	int fd;

	serve(2, false);
	fcgi_put_call(wire, &(struct fcgi_call){ .method = "POST", .uri = "/a?b", .body = BYTES("hello"), .keep_conn = true });
	fd = fcgi_connect(path);
	cr_assert(exchange(fd, wire, &answer));
	cr_assert(answer.is_ended);
	cr_assert_eq(answer.status, 200);
	cr_assert(bytes_equal(answer.body, BYTES("0 5")));
	cr_assert_str_eq(seen.copy, "hello");
	cr_assert_str_eq(seen.uri, "/a");
	cr_assert(seen.are_signals_blocked);
	cr_assert(is_closed(fd), "the wish to keep it is not honoured");
	cr_assert_eq(metric_get(METRIC_requests_running), 0);
	close(fd);
}

Test(fcgi, a_kept_connection_carries_many_requests)
{
	struct fcgi_answer answer;
	int fd;

	serve(1, true);
	fd = fcgi_connect(path);
	for (int i = 0; i < 50; i++) {
		struct buf *wire = wire_new();

		fcgi_put_call(wire, &(struct fcgi_call){ .method = "POST", .uri = "/a", .body = filler((size_t)i * 1000), .keep_conn = true });
		cr_assert(exchange(fd, wire, &answer));
		cr_assert_eq(seen.state, HTTP_BODY_OK);
		cr_assert_eq(seen.body.n, (size_t)i * 1000);
	}
	cr_assert_eq(n_handled, 50);
	close(fd);
}

Test(fcgi, an_answer_of_any_size_arrives_whole)
{
	struct fcgi_answer answer;

	serve(1, false);
	cr_assert(fcgi_call(path, arena, &(struct fcgi_call){ .uri = "/large" }, &answer));
	cr_assert_eq(answer.body.n, 300000);
	cr_assert(answer.is_ended);
	cr_assert(fcgi_call(path, arena, &(struct fcgi_call){ .uri = "/large", .method = "HEAD" }, &answer));
	cr_assert_eq(answer.body.n, 0);
	cr_assert(bytes_equal(fcgi_header(&answer, "content-length"), BYTES("300000")));
}

/* Bodies: what is declared against what comes. */

static void assert_body(const char *length, size_t n, enum http_body state, size_t kept)
{
	struct buf *wire = wire_new();

	seen.state = (enum http_body)99;
	put_head(wire, true, "/body", length);
	fcgi_put_stream(wire, FCGI_STDIN, 1, filler(n));
	cr_assert(answer_of(wire).is_ended);
	cr_assert_eq(seen.state, state, "%s declared, %zu sent: state %d", length ? length : "nothing", n, (int)seen.state);
	if (state == HTTP_BODY_OK)
		cr_assert_eq(seen.body.n, kept);
}

static void assert_bodies(void)
{
	assert_body("0", 0, HTTP_BODY_OK, 0);
	assert_body("", 0, HTTP_BODY_OK, 0);
	assert_body(NULL, 0, HTTP_BODY_OK, 0);
	assert_body("10", 10, HTTP_BODY_OK, 10);
	assert_body("100000", MAX_BODY, HTTP_BODY_OK, MAX_BODY);
	assert_body(NULL, 70000, HTTP_BODY_OK, 70000);
	assert_body("", 7, HTTP_BODY_OK, 7);
	assert_body(NULL, MAX_BODY, HTTP_BODY_OK, MAX_BODY);
	assert_body(NULL, MAX_BODY + 1, HTTP_BODY_TOO_LARGE, 0);
	assert_body("100001", MAX_BODY + 1, HTTP_BODY_TOO_LARGE, 0);
	assert_body("1000000", 1000000, HTTP_BODY_TOO_LARGE, 0);
	assert_body("9223372036854775806", 5, HTTP_BODY_BAD_LENGTH, 0);
	assert_body("10", 9, HTTP_BODY_INCOMPLETE, 0);
	assert_body("10", 0, HTTP_BODY_INCOMPLETE, 0);
	assert_body("10", 11, HTTP_BODY_BAD_LENGTH, 0);
	assert_body("0", 90000, HTTP_BODY_BAD_LENGTH, 0);
	assert_body("-1", 10, HTTP_BODY_BAD_LENGTH, 0);
	assert_body("10x", 10, HTTP_BODY_BAD_LENGTH, 0);
}

Test(fcgi, a_body_counts_only_when_it_is_as_long_as_declared)
{
	serve(2, false);
	assert_bodies();
}

Test(fcgi, a_body_counts_only_when_it_is_as_long_as_declared_on_kept_connections_too)
{
	serve(2, true);
	assert_bodies();
}

Test(fcgi, padding_is_no_content)
{
	struct buf *wire = wire_new();

	serve(1, true);
	put_head(wire, true, "/body", "6");
	fcgi_put_record(wire, FCGI_STDIN, 1, "abc", 3, 255);
	fcgi_put_record(wire, FCGI_STDIN, 1, "def", 3, 1);
	fcgi_put_record(wire, FCGI_STDIN, 1, NULL, 0, 8);
	cr_assert(answer_of(wire).is_ended);
	cr_assert_eq(seen.state, HTTP_BODY_OK);
	cr_assert_str_eq(seen.copy, "abcdef");
}

Test(fcgi, an_aborted_body_is_incomplete_and_its_connection_given_up)
{
	for (int keep = 0; keep <= 1; keep++) {
		struct buf *wire = wire_new();
		struct fcgi_answer answer;
		int fd;

		serve(1, keep);
		fd = fcgi_connect(path);
		put_head(wire, true, "/body", "10");
		fcgi_put_record(wire, FCGI_STDIN, 1, "01234", 5, 3);
		fcgi_put_record(wire, FCGI_ABORT, 1, NULL, 0, 0);
		cr_assert(exchange(fd, wire, &answer));
		cr_assert_eq(seen.state, HTTP_BODY_INCOMPLETE);
		cr_assert_eq(answer.status, 400);
		cr_assert(is_closed(fd));
		close(fd);
		fcgi_close(&server);
	}
}

/* PITFALLS: an abort where the declared length has just been reached looks like a whole body to who does not ask for the error. */
Test(fcgi, an_abort_behind_the_last_byte_is_incomplete_too)
{
	struct buf *wire = wire_new();

	serve(1, true);
	put_head(wire, true, "/body", "5");
	fcgi_put_record(wire, FCGI_STDIN, 1, "01234", 5, 3);
	fcgi_put_record(wire, FCGI_ABORT, 1, NULL, 0, 0);
	cr_assert(answer_of(wire).is_ended);
	cr_assert_eq(seen.state, HTTP_BODY_INCOMPLETE);
}

Test(fcgi, a_peer_that_ends_in_mid_body_is_incomplete)
{
	struct buf *wire = wire_new();
	struct fcgi_answer answer;
	int fd;

	serve(1, true);
	put_head(wire, true, "/body", "10");
	fcgi_put_record(wire, FCGI_STDIN, 1, "01234", 5, 3);
	fd = fcgi_connect(path);
	cr_assert(fcgi_write(fd, buf_bytes(wire)));
	shutdown(fd, SHUT_WR);
	cr_assert(fcgi_read(fd, arena, &answer));
	cr_assert_eq(seen.state, HTTP_BODY_INCOMPLETE);
	close(fd);
}

Test(fcgi, past_64_mb_nothing_more_is_read)
{
	struct buf *wire = wire_new();
	struct bytes chunk = filler(65528);
	struct fcgi_answer answer;
	size_t sent = 0;
	int fd;

	serve(1, true);
	put_head(wire, true, "/body", "500000000");
	fd = fcgi_connect(path);
	cr_assert(fcgi_write(fd, buf_bytes(wire)));
	buf_clear(wire);
	fcgi_put_record(wire, FCGI_STDIN, 1, chunk.p, chunk.n, 0);
	while (sent < 500000000 && fcgi_write(fd, buf_bytes(wire)))
		sent += chunk.n;
	cr_assert_gt(sent, 64 << 20);
	cr_assert_lt(sent, 80 << 20);
	cr_assert(fcgi_read(fd, arena, &answer), "the answer can still be read");
	cr_assert_eq(answer.status, 400);
	cr_assert_eq(seen.state, HTTP_BODY_TOO_LARGE);
	close(fd);
}

/* Parameters. */

Test(fcgi, of_a_parameter_given_twice_the_first_counts)
{
	struct fcgi_answer answer;
	const struct fcgi_param params[] = { { "REMOTE_ADDR", "203.0.113.9" }, { "CONTENT_LENGTH", "1" }, { NULL, NULL } };

	serve(1, false);
	cr_assert(fcgi_call(path, arena, &(struct fcgi_call){ .method = "POST", .uri = "/a", .params = params, .body = BYTES("12345") }, &answer));
	cr_assert_str_eq(seen.remote_addr, "127.0.0.1");
	cr_assert_eq(seen.state, HTTP_BODY_OK);
	cr_assert_eq(seen.body.n, 5);
}

Test(fcgi, a_nul_ends_a_value_and_adds_nothing)
{
	struct buf *wire = wire_new(), params;

	serve(1, false);
	buf_init(&params, arena, 256);
	fcgi_put_pair(&params, BYTES("REQUEST_METHOD"), BYTES("GET"));
	fcgi_put_pair(&params, BYTES("REQUEST_URI"), BYTES("/a\0/SMUGGLED"));
	fcgi_put_pair(&params, BYTES("HTTP_AUTHORIZATION\0=Bearer forged"), BYTES(""));
	fcgi_put_pair(&params, BYTES(""), BYTES("nothing"));
	fcgi_put_pair(&params, BYTES(""), BYTES(""));
	fcgi_put_begin(wire, 1, false);
	fcgi_put_stream(wire, FCGI_PARAMS, 1, buf_bytes(&params));
	fcgi_put_stream(wire, FCGI_STDIN, 1, BYTES(""));
	cr_assert(answer_of(wire).is_ended);
	cr_assert_str_eq(seen.uri, "/a");
	cr_assert_str_eq(seen.authorization, "(absent)");
}

Test(fcgi, very_long_values_arrive_whole)
{
	struct fcgi_answer answer;
	char *value = (char *)(uintptr_t)filler(200000).p;
	const struct fcgi_param params[] = { { "HTTP_X_LONG", value }, { "HTTP_AUTHORIZATION", "Bearer x" }, { NULL, NULL } };

	serve(1, false);
	cr_assert(fcgi_call(path, arena, &(struct fcgi_call){ .uri = "/a", .params = params }, &answer));
	cr_assert_str_eq(seen.authorization, "Bearer x");
}

/* The smuggling attack: a body that is itself FastCGI records. */

/*
 * A request with a forged identity, as often as fits, behind a slide: headers of another request's records, each with 8 bytes of content,
 * so that parsing may begin at any of them. The header that ends the slide is either the content of the last or a management record of its own.
 */
static struct bytes forged_body(size_t n)
{
	struct buf b, request, params;

	buf_init(&b, arena, n + 65536);
	buf_init(&request, arena, 1024);
	buf_init(&params, arena, 256);
	fcgi_put_pair(&params, BYTES("REQUEST_METHOD"), BYTES("GET"));
	fcgi_put_pair(&params, BYTES("REQUEST_URI"), BYTES("/SMUGGLED"));
	fcgi_put_pair(&params, BYTES("REMOTE_ADDR"), BYTES("10.0.0.1"));
	while (params.n % 8 != 0)
		fcgi_put_pair(&params, BYTES("A"), (struct bytes){ "xxxxxxx", (8 - (params.n + 3) % 8) % 8 });
	fcgi_put_begin(&request, 1, true);
	fcgi_put_stream(&request, FCGI_PARAMS, 1, buf_bytes(&params));
	fcgi_put_stream(&request, FCGI_STDIN, 1, BYTES(""));
	cr_assert_eq(request.n % 8, 0);
	while (b.n + request.n <= n) {
		for (int i = 0; i < 62 && b.n + 16 + request.n <= n; i++)
			buf_add(&b, "\1\5\0\115\0\10\0\0", 8);
		if (b.n + 8 + request.n <= n)
			fcgi_put_record(&b, (enum fcgi_type)200, 0, NULL, 0, 0);
		buf_add_bytes(&b, buf_bytes(&request));
	}
	while (b.n < n)
		buf_add_char(&b, 0);
	return buf_bytes(&b);
}

/* One attack on a connection of its own, then what remains of it is asked for an honest answer. */
static void attack(bool is_kept, const char *length, struct bytes body, bool is_ended)
{
	struct buf *wire = wire_new(), *honest = wire_new();
	struct fcgi_answer answer;
	int fd = fcgi_connect(path);
	int before = n_handled;

	put_head(wire, is_kept, "/early", length);
	if (is_ended)
		fcgi_put_stream(wire, FCGI_STDIN, 1, body);
	else
		fcgi_put_record(wire, FCGI_STDIN, 1, body.p, body.n & 0xfff8, 0);
	if (!is_ended)
		fcgi_put_record(wire, FCGI_ABORT, 1, NULL, 0, 0);
	exchange(fd, wire, &answer);
	cr_assert_eq(n_handled, before + 1, "one request, one call");
	put_head(honest, is_kept, "/honest", "0");
	fcgi_put_stream(honest, FCGI_STDIN, 1, BYTES(""));
	if (exchange(fd, honest, &answer) && answer.is_ended) {
		cr_assert_str_eq(seen.uri, "/honest");
		cr_assert_eq(n_handled, before + 2);
	}
	nap(2); /* time for a forged one to be run */
	cr_assert_eq(n_smuggled, 0, "length %s, %zu bytes, %s", length ? length : "none", body.n, is_ended ? "ended" : "aborted");
	close(fd);
}

static void attack_in_all_shapes(void)
{
	static const size_t sizes[] = { 4096, 8192, 8176, 20920, 32768, 65536, 99992 };

	for (int kept = 0; kept <= 1; kept++) {
		for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
			struct bytes body = forged_body(sizes[i]);
			char exact[24];

			snprintf(exact, sizeof(exact), "%zu", body.n);
			attack(kept, exact, body, true);
			attack(kept, "8", body, true);
			attack(kept, "0", body, true);
			attack(kept, NULL, body, true);
			attack(kept, "nonsense", body, true);
			attack(kept, "90000000", body, true);
			attack(kept, exact, body, false);
			attack(kept, "100000", body, false);
		}
		attack(kept, "300000", forged_body(300000), true);
		attack(kept, NULL, forged_body(300000), true);
	}
}

Test(fcgi, no_body_becomes_a_request)
{
	serve(2, false);
	attack_in_all_shapes();
}

Test(fcgi, no_body_becomes_a_request_on_a_kept_connection)
{
	serve(2, true);
	attack_in_all_shapes();
}

Test(fcgi, what_follows_the_end_of_a_request_before_its_answer_is_no_request)
{
	serve(2, true);
	for (size_t n = 64; n <= 60000; n += 4001) {
		struct buf *wire = wire_new();
		struct fcgi_answer answer;
		int fd = fcgi_connect(path);

		put_head(wire, true, "/slow", "3");
		fcgi_put_stream(wire, FCGI_STDIN, 1, BYTES("abc"));
		buf_add_bytes(wire, forged_body(n & ~(size_t)7));
		exchange(fd, wire, &answer);
		nap(5);
		close(fd);
	}
	cr_assert_eq(n_smuggled, 0);
}

Test(fcgi, a_role_other_than_responder_is_not_answered)
{
	const char filter[8] = { 0, 3, 1, 0, 0, 0, 0, 0 };
	struct buf *wire = wire_new();
	struct fcgi_answer answer;
	int fd;

	serve(1, true);
	fcgi_put_record(wire, FCGI_BEGIN, 1, filter, 8, 0);
	fcgi_put_stream(wire, FCGI_PARAMS, 1, BYTES(""));
	fcgi_put_stream(wire, FCGI_STDIN, 1, BYTES(""));
	fcgi_put_stream(wire, FCGI_DATA, 1, forged_body(4096));
	fd = fcgi_connect(path);
	cr_assert_not(exchange(fd, wire, &answer));
	cr_assert(answer.is_ended);
	cr_assert(is_closed(fd));
	cr_assert_eq(n_handled, 0);
	close(fd);
}

Test(fcgi, noise_harms_nobody)
{
	struct fcgi_answer answer;

	serve(1, true);
	for (int i = 0; i < 20; i++) {
		struct bytes noise = filler((size_t)i * 37);
		int fd = fcgi_connect(path);

		fcgi_write(fd, noise);
		shutdown(fd, SHUT_WR);
		cr_assert(is_closed(fd));
		close(fd);
	}
	cr_assert(fcgi_call(path, arena, &(struct fcgi_call){ .uri = "/a" }, &answer));
	cr_assert_eq(n_handled, 1);
}

/* Time. */

Test(fcgi, neither_a_silent_connection_nor_a_slow_closer_delays_others)
{
	struct fcgi_answer answer;
	struct buf *wire = wire_new();
	int silent, slow;
	int64_t start;

	serve(2, false);
	silent = fcgi_connect(path);
	slow = fcgi_connect(path);
	fcgi_put_call(wire, &(struct fcgi_call){ .uri = "/a" });
	cr_assert(exchange(slow, wire, &answer)); /* and stays open on our side */
	start = stamp_mono_ms();
	for (int i = 0; i < 20; i++)
		cr_assert(fcgi_call(path, arena, &(struct fcgi_call){ .uri = "/a" }, &answer));
	cr_assert_lt(stamp_mono_ms() - start, 1800);
	close(silent);
	close(slow);
}

Test(fcgi, a_request_that_begins_late_is_answered)
{
	struct fcgi_answer answer;
	struct buf *wire = wire_new();
	int fd;

	serve(1, false);
	fd = fcgi_connect(path);
	nap(400);
	fcgi_put_call(wire, &(struct fcgi_call){ .uri = "/late" });
	cr_assert(exchange(fd, wire, &answer));
	cr_assert_eq(answer.status, 200);
	close(fd);
}

Test(fcgi, a_stream_sees_its_client_go)
{
	struct buf *wire = wire_new();
	struct pollfd p = { .events = POLLIN };

	serve(1, false);
	p.fd = fcgi_connect(path);
	fcgi_put_call(wire, &(struct fcgi_call){ .uri = "/stream" });
	cr_assert(fcgi_write(p.fd, buf_bytes(wire)));
	cr_assert_eq(poll(&p, 1, 2000), 1);
	close(p.fd);
	for (int i = 0; i < 500 && n_streaming_gone == 0; i++)
		nap(10);
	cr_assert_eq(n_streaming_gone, 1);
}

/* How many threads the kernel asks for each connection: the epolls that have the listening socket. */
static int count_asked(void)
{
	char name[64], line[256];
	int n = 0;

	for (int fd = 0; fd < 1000; fd++) {
		FILE *f;

		snprintf(name, sizeof(name), "/proc/self/fdinfo/%d", fd);
		f = fopen(name, "re");
		while (f && fgets(line, sizeof(line), f)) {
			int target;

			n += sscanf(line, "tfd: %d", &target) == 1 && target == listen_fd;
		}
		if (f)
			fclose(f);
	}
	return n;
}

static void await_asked(int wanted)
{
	int n = -1;

	for (int i = 0; i < 500 && (n = count_asked()) != wanted; i++)
		nap(10);
	cr_assert_eq(n, wanted, "%d threads are asked instead of %d", n, wanted);
}

/* Whoever connects while a thousand stream would spend its time on asking each of them. */
Test(fcgi, of_many_threads_that_stream_few_stay_in_the_queue_for_connections)
{
	struct buf *wire = wire_new();
	struct fcgi_answer answer;
	int fds[96];

	serve(112, false);
	await_asked(112);
	fcgi_put_call(wire, &(struct fcgi_call){ .uri = "/stream" });
	for (int i = 0; i < 96; i++) {
		fds[i] = fcgi_connect(path);
		cr_assert(fcgi_write(fds[i], buf_bytes(wire)));
		for (int k = 0; k < 500 && n_handled <= i; k++)
			nap(1);
	}
	await_asked(112 - 96 + 16);
	cr_assert(fcgi_call(path, arena, &(struct fcgi_call){ .uri = "/a" }, &answer));
	cr_assert_eq(answer.status, 200);
	for (int i = 0; i < 96; i++)
		close(fds[i]);
	await_asked(112);
	cr_assert(fcgi_call(path, arena, &(struct fcgi_call){ .uri = "/b" }, &answer));
	cr_assert_eq(answer.status, 200);
}

Test(fcgi, a_drain_ends_idle_threads_at_once)
{
	int64_t start;

	serve(16, true);
	nap(20);
	start = stamp_mono_ms();
	fcgi_drain(server);
	fcgi_drain(server);
	cr_assert(fcgi_wait(server, 5000));
	cr_assert_lt(stamp_mono_ms() - start, 480);
}

Test(fcgi, a_drain_closes_idle_kept_connections)
{
	struct buf *wire = wire_new();
	struct fcgi_answer answer;
	int fd;

	serve(2, true);
	fd = fcgi_connect(path);
	fcgi_put_call(wire, &(struct fcgi_call){ .uri = "/a", .keep_conn = true });
	cr_assert(exchange(fd, wire, &answer));
	fcgi_drain(server);
	cr_assert(fcgi_wait(server, 1000));
	cr_assert(is_closed(fd));
	close(fd);
}

static void *drain_soon(void *arg)
{
	(void)arg;
	nap(100);
	fcgi_drain(server);
	return NULL;
}

Test(fcgi, a_drain_lets_a_running_request_finish)
{
	struct fcgi_answer answer;
	pthread_t thread;

	serve(2, true);
	pthread_create(&thread, NULL, drain_soon, NULL);
	cr_assert(fcgi_call(path, arena, &(struct fcgi_call){ .uri = "/slow", .keep_conn = true }, &answer));
	cr_assert(answer.is_ended);
	pthread_join(thread, NULL);
	cr_assert(fcgi_wait(server, 1000));
}

Test(fcgi, a_wait_gives_up_on_a_thread_that_is_busy)
{
	struct buf *wire = wire_new();
	int fd;

	serve(1, false);
	fd = fcgi_connect(path);
	fcgi_put_call(wire, &(struct fcgi_call){ .uri = "/slow" });
	cr_assert(fcgi_write(fd, buf_bytes(wire)));
	nap(50);
	fcgi_drain(server);
	cr_assert_not(fcgi_wait(server, 20));
	cr_assert(fcgi_wait(server, 2000));
	close(fd);
}

Test(fcgi, a_drain_still_answers_what_was_queued)
{
	struct fcgi_answer answer;
	struct buf *wire = wire_new();
	int fds[10];

	serve(1, false);
	fcgi_put_call(wire, &(struct fcgi_call){ .uri = "/slow" });
	fds[0] = fcgi_connect(path);
	cr_assert(fcgi_write(fds[0], buf_bytes(wire)));
	nap(50);
	buf_clear(wire);
	fcgi_put_call(wire, &(struct fcgi_call){ .uri = "/queued" });
	for (int i = 1; i < 10; i++) {
		fds[i] = fcgi_connect(path);
		cr_assert(fcgi_write(fds[i], buf_bytes(wire)));
	}
	fcgi_drain(server);
	for (int i = 0; i < 10; i++) {
		cr_assert(fcgi_read(fds[i], arena, &answer));
		cr_assert_eq(answer.status, 200);
		close(fds[i]);
	}
	cr_assert(fcgi_wait(server, 1000));
}

Test(fcgi, running_out_of_descriptors_ends_no_thread)
{
	struct rlimit limit, low;
	struct fcgi_answer answer;
	struct buf *wire = wire_new();
	int fd;

	serve(3, false);
	cr_assert_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
	fd = fcgi_connect(path);
	low = limit;
	low.rlim_cur = (rlim_t)fd;
	fcgi_put_call(wire, &(struct fcgi_call){ .uri = "/a" });
	nap(20);
	cr_assert_eq(setrlimit(RLIMIT_NOFILE, &low), 0);
	{
		int second = -1;
		/* Descriptors below the limit are used up; what is connected before still waits in the queue. */
		while ((second = dup(listen_fd)) >= 0)
			;
		cr_assert_eq(errno, EMFILE);
	}
	nap(300);
	cr_assert_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
	cr_assert(exchange(fd, wire, &answer));
	cr_assert_eq(answer.status, 200);
	for (int i = 0; i < 3; i++)
		cr_assert(fcgi_call(path, arena, &(struct fcgi_call){ .uri = "/a" }, &answer));
	close(fd);
}

Test(fcgi, a_descriptor_that_does_not_listen_is_refused)
{
	struct fcgi_conf conf = { .listen_fd = 0, .threads = 1, .max_body = 1, .arena_bytes = 256, .handler = handler };

	cr_assert_eq(fcgi_open(&task, &conf, &server), ERR_CONFIG);
	cr_assert_null(server);
}

Test(fcgi, signal_dispositions_stay_as_they_were)
{
	struct sigaction sa;

	serve(1, false);
	sigaction(SIGTERM, NULL, &sa);
	cr_assert_eq(sa.sa_handler, SIG_DFL);
	sigaction(SIGUSR1, NULL, &sa);
	cr_assert_eq(sa.sa_handler, SIG_DFL);
}

static void *client_main(void *arg)
{
	struct arena *a = arena_open(65536);
	struct fcgi_answer answer;
	intptr_t n_ok = 0;

	for (int i = 0; i < 300; i++) {
		n_ok += fcgi_call(path, a, &(struct fcgi_call){ .method = "POST", .uri = "/a", .body = BYTES("0123456789") }, &answer) &&
			answer.is_ended && bytes_equal(answer.body, BYTES("0 10"));
		arena_reset(a);
	}
	arena_close(&a);
	(void)arg;
	return (void *)n_ok;
}

Test(fcgi, many_clients_on_few_threads_all_get_their_own_answer)
{
	pthread_t clients[8];

	serve(3, false);
	for (int i = 0; i < 8; i++)
		pthread_create(&clients[i], NULL, client_main, NULL);
	for (int i = 0; i < 8; i++) {
		void *n_ok;

		pthread_join(clients[i], &n_ok);
		cr_assert_eq((intptr_t)n_ok, 300);
	}
	cr_assert_eq(n_handled, 2400);
}
