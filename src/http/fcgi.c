/* SPDX-License-Identifier: MIT */
/*
 * fcgi: FastCGI on libfcgi. libfcgi parses records and frames the answer; accepting, waiting and closing are done here:
 * its accept drops a connection that is silent for a moment, its close waits for the peer, and neither can be woken for a drain. It
 * is handed each connection in the state in which it keeps one between two requests.
 */
#include "http/fcgi.h"

#include <assert.h>
#include <errno.h>
#include <fcgiapp.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "base/log.h"
#include "base/metrics.h"
#include "base/stamp.h"

#define ROLE_RESPONDER 1
#define DISCARD_MAX (64 << 20)  /* most bytes of a body read only to be thrown away */
#define FIRST_BYTE_MS 2000      /* a new connection must begin to speak within this */
#define SILENCE_S 60            /* a connection that stops in the middle of a record, or takes no answer, is dead after this */
#define DRAIN_QUEUE_MS 500      /* how long a draining server still takes what waits at the listening socket */
#define BACKOFF_MIN_MS 10
#define BACKOFF_MAX_MS 500
#define BODY_STEP 65536
#define STEP_BACK_MIN 8         /* see step_back */
#define KEEP_PLACE_MAX 16       /* see sink_will_last */

struct fcgi_thread {
	struct fcgi_server *server;
	pthread_t id;
	int epoll_fd; /* the listening socket and the drain */
	bool is_listening;      /* the listening socket is in it */
	atomic_bool is_waiting; /* for a connection */
	struct arena *arena;
	FCGX_Request request;
};

struct fcgi_server {
	struct fcgi_conf conf;
	struct arena *arena;
	int drain_fd;               /* an eventfd, readable from the drain on */
	atomic_bool is_draining;
	_Atomic int64_t drain_until; /* monotonic ms; written before is_draining */
	_Atomic int64_t logged_at;   /* monotonic ms of the last line about the listening socket */
	atomic_int n_busy;          /* threads that have a connection */
	atomic_int stepped_back_at; /* n_busy when this process went to the end of the queue for connections */
	pthread_mutex_t lock;
	pthread_cond_t ended;
	int n_running; /* under lock */
	struct fcgi_thread *threads;
};

static bool is_draining(const struct fcgi_server *s)
{
	return atomic_load_explicit(&s->is_draining, memory_order_acquire);
}

/* Connections. libfcgi's header asks to leave ipcFd, keepConnection alone; these functions are the only ones that do not. */

static void connection_attach(FCGX_Request *r, int fd)
{
	r->ipcFd = fd;
	r->keepConnection = 1; /* or FCGX_Accept_r would close it, as the end of a request that never was */
	FCGX_Detach(r);        /* closing is then a plain close, without a wait of up to 2 s for the peer to do the same */
}

static int connection_fd(const FCGX_Request *r)
{
	return r->ipcFd;
}

static void connection_give_up(FCGX_Request *r)
{
	r->keepConnection = 0;
}

static bool connection_has_unread(const FCGX_Request *r)
{
	int n = 0;

	return r->ipcFd >= 0 && ioctl(r->ipcFd, FIONREAD, &n) == 0 && n > 0;
}

/* What a handler writes to. */

static bool sink_write(void *arg, struct bytes b)
{
	FCGX_Request *r = &((struct fcgi_thread *)arg)->request;

	while (b.n > 0) {
		int n = b.n > INT_MAX ? INT_MAX : (int)b.n;

		if (FCGX_PutStr(b.p, n, r->out) != n)
			return false;
		b.p += n;
		b.n -= (size_t)n;
	}
	return true;
}

static bool sink_flush(void *arg)
{
	FCGX_Request *r = &((struct fcgi_thread *)arg)->request;

	return FCGX_FFlush(r->out) == 0;
}

static int sink_client_fd(void *arg)
{
	return connection_fd(&((struct fcgi_thread *)arg)->request);
}

/*
 * For each connection the kernel asks the threads in the order of their registration until one waits. Among a thousand that stream, whoever connects
 * would spend 0.2 ms on that: a thread that will not be back soon leaves the queue. While few are busy they keep their places, because it is good
 * that the same few serve: their connections to providers are open, their memory is warm.
 */
static void sink_will_last(void *arg)
{
	struct fcgi_thread *th = arg;
	struct epoll_event unused;

	if (!th->is_listening || atomic_load(&th->server->n_busy) <= KEEP_PLACE_MAX)
		return;
	(void)epoll_ctl(th->epoll_fd, EPOLL_CTL_DEL, th->server->conf.listen_fd, &unused);
	th->is_listening = false;
}

/* Bodies. */

static bool is_at_end(FCGX_Stream *in)
{
	int c = FCGX_GetChar(in);

	return c == EOF || FCGX_UnGetChar(c, in) == EOF;
}

/* Reads up to `limit` bytes into the arena. */
static struct bytes body_read(struct arena *a, FCGX_Stream *in, int64_t limit)
{
	struct buf b;

	if (limit <= 0 || is_at_end(in)) /* most requests: no room is made for them */
		return (struct bytes){ "", 0 };
	buf_init(&b, a, limit < BODY_STEP ? (size_t)limit + 1 : BODY_STEP + 1);
	while ((int64_t)b.n < limit) {
		int64_t left = limit - (int64_t)b.n;
		int want = left < BODY_STEP ? (int)left : BODY_STEP;
		int got = FCGX_GetStr(buf_room(&b, (size_t)want), want, in);

		b.n += (size_t)got;
		if (got < want)
			break;
	}
	return (struct bytes){ b.p, b.n };
}

/* Reads to the end of the stream, or past DISCARD_MAX; returns how many bytes there were. */
static int64_t body_discard(FCGX_Stream *in)
{
	char scratch[8192];
	int64_t n = 0;
	int got;

	do {
		got = FCGX_GetStr(scratch, sizeof(scratch), in);
		n += got;
	} while (got == (int)sizeof(scratch) && n <= DISCARD_MAX);
	return n;
}

/*
 * Reads the body, whatever was declared, to the end of its stream: what stayed unread on a kept connection would be taken for the next
 * request. The state tells the application; any state but OK also ends the connection.
 */
static enum http_body body_take(struct arena *a, FCGX_Request *r, int64_t max_body, struct bytes *body_r)
{
	int64_t declared = http_content_length(r->envp);
	bool is_too_large = declared > max_body;
	int64_t extra;

	*body_r = body_read(a, r->in, declared == -1 ? max_body : is_too_large ? 0 : declared);
	extra = body_discard(r->in);
	if (extra > DISCARD_MAX)
		return HTTP_BODY_TOO_LARGE;
	if (FCGX_GetError(r->in) != 0)
		return HTTP_BODY_INCOMPLETE; /* the stream broke off or was aborted: it must not look like a short body */
	if (declared == -2)
		return HTTP_BODY_BAD_LENGTH;
	if (is_too_large || (declared == -1 && extra > 0))
		return HTTP_BODY_TOO_LARGE;
	if (declared >= 0 && (int64_t)body_r->n < declared)
		return HTTP_BODY_INCOMPLETE;
	return extra > 0 ? HTTP_BODY_BAD_LENGTH : HTTP_BODY_OK;
}

/* Requests. */

static void request_answer(struct fcgi_thread *th)
{
	struct fcgi_server *s = th->server;
	FCGX_Request *r = &th->request;
	struct http_sink sink = { th, sink_write, sink_flush, sink_client_fd, sink_will_last };
	struct http_request rq;
	struct http_response rs;
	struct task t;

	if (r->role != ROLE_RESPONDER) {
		connection_give_up(r); /* a filter's data stream would stay unread */
		return;
	}
	task_init(&t, th->arena);
	http_request_from_env(&t, r->envp, &rq);
	rq.body_state = body_take(th->arena, r, s->conf.max_body, &rq.body);
	if (rq.body_state != HTTP_BODY_OK || !s->conf.keep_conn)
		connection_give_up(r);
	http_response_init(&rs, &t, sink);
	rs.is_head = rq.method == HTTP_HEAD;
	metric_add(METRIC_requests_running, 1);
	s->conf.handler(s->conf.arg, &t, &rq, &rs);
	metric_add(METRIC_requests_running, -1);
	/* libfcgi throws away what it has read ahead; the rest of it would then be read from its middle. */
	if (is_draining(s) || (r->keepConnection && connection_has_unread(r)))
		connection_give_up(r);
}

static void timeouts_set(int fd)
{
	struct timeval silence = { .tv_sec = SILENCE_S };

	/* A socket that refuses them is served without. */
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &silence, sizeof(silence));
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &silence, sizeof(silence));
}

/* Whether the connection has something to read; ends its wait with the drain, except for the first request, which is owed an answer. */
static bool connection_wait(const struct fcgi_thread *th, bool is_first)
{
	struct pollfd p[2] = { { .fd = connection_fd(&th->request), .events = POLLIN },
			       { .fd = th->server->drain_fd, .events = POLLIN } };
	int n;

	do
		n = poll(p, is_first ? 1 : 2, is_first ? FIRST_BYTE_MS : -1);
	while (n < 0 && errno == EINTR);
	return n > 0 && p[0].revents & POLLIN;
}

static void connection_serve(struct fcgi_thread *th, int fd)
{
	FCGX_Request *r = &th->request;
	bool is_first = true;

	timeouts_set(fd);
	connection_attach(r, fd);
	while (connection_wait(th, is_first)) {
		if (FCGX_Accept_r(r) != 0)
			return; /* it was no request; libfcgi has closed the connection and found no listening socket to go on with */
		request_answer(th);
		FCGX_Finish_r(r); /* the client has its answer before the arena is cleaned */
		arena_reset(th->arena);
		if (connection_fd(r) < 0)
			return;
		FCGX_Detach(r);
		is_first = false;
	}
	FCGX_Free(r, 1);
}

/* The listening socket. */

static bool is_lost_connection(int error)
{
	return error == EINTR || error == ECONNABORTED || error == EPROTO || error == ECONNRESET || error == ETIMEDOUT;
}

/* Sleeps a while, less when a drain begins. */
static void back_off(struct fcgi_server *s, int error, int ms)
{
	struct pollfd p = { .fd = s->drain_fd, .events = POLLIN };
	int64_t now = stamp_mono_ms();
	int64_t logged_at = atomic_load(&s->logged_at);

	if (now - logged_at >= 1000 && atomic_compare_exchange_strong(&s->logged_at, &logged_at, now))
		log_error(NULL, "accept_failed", { "error", strerror(error), 0 });
	(void)poll(&p, 1, ms);
}

/*
 * EPOLLEXCLUSIVE wakes one thread of all processes for a connection; poll() wakes all and costs most of the throughput. The thread itself and
 * step_back may both come to it.
 */
static void listener_watch(const struct fcgi_thread *th)
{
	struct epoll_event event = { .events = EPOLLIN | EPOLLEXCLUSIVE };

	if (epoll_ctl(th->epoll_fd, EPOLL_CTL_ADD, th->server->conf.listen_fd, &event) != 0 && errno != EEXIST)
		abort();
}

/*
 * The kernel wakes the waiting thread that was registered first, and so fills one process with streams while others are idle. A process that has
 * become busier by a step registers its waiting threads anew, behind those of all others.
 */
static void step_back(struct fcgi_server *s)
{
	struct epoll_event unused;

	for (int i = 0; i < s->conf.threads; i++) {
		struct fcgi_thread *th = &s->threads[i];

		if (atomic_load_explicit(&th->is_waiting, memory_order_relaxed) && epoll_ctl(th->epoll_fd, EPOLL_CTL_DEL, s->conf.listen_fd, &unused) == 0)
			listener_watch(th);
	}
}

static void count_begin(struct fcgi_server *s)
{
	int n = atomic_fetch_add(&s->n_busy, 1) + 1, before = atomic_load(&s->stepped_back_at);
	int step = s->conf.threads / 32 > STEP_BACK_MIN ? s->conf.threads / 32 : STEP_BACK_MIN;

	if (n >= before + step && atomic_compare_exchange_strong(&s->stepped_back_at, &before, n))
		step_back(s);
}

static void count_end(struct fcgi_server *s)
{
	int n = atomic_fetch_sub(&s->n_busy, 1) - 1, before = atomic_load(&s->stepped_back_at);

	if (n < before - STEP_BACK_MIN)
		(void)atomic_compare_exchange_strong(&s->stepped_back_at, &before, n);
}

/* The next connection, or -1 when the drain is over for this thread. */
static int connection_next(struct fcgi_thread *th)
{
	struct fcgi_server *s = th->server;
	int backoff = BACKOFF_MIN_MS;
	struct epoll_event event;

	for (;;) {
		bool is_ending = is_draining(s);

		if (is_ending && stamp_mono_ms() >= atomic_load(&s->drain_until))
			return -1;
		/* Trying first saves a call on a busy server; on an idle one it costs half a microsecond. */
		int fd = accept4(s->conf.listen_fd, NULL, NULL, SOCK_CLOEXEC);

		if (fd >= 0)
			return fd;
		if (errno == EAGAIN) {
			if (is_ending)
				return -1;
			backoff = BACKOFF_MIN_MS;
			if (!th->is_listening)
				listener_watch(th);
			th->is_listening = true;
			atomic_store_explicit(&th->is_waiting, true, memory_order_relaxed);
			(void)epoll_wait(th->epoll_fd, &event, 1, -1);
			atomic_store_explicit(&th->is_waiting, false, memory_order_relaxed);
		} else if (!is_lost_connection(errno)) {
			back_off(s, errno, backoff);
			backoff = backoff * 2 < BACKOFF_MAX_MS ? backoff * 2 : BACKOFF_MAX_MS;
		}
	}
}

static void *thread_main(void *arg)
{
	struct fcgi_thread *th = arg;
	struct fcgi_server *s = th->server;
	int fd;

	while ((fd = connection_next(th)) >= 0) {
		count_begin(s);
		connection_serve(th, fd);
		count_end(s);
	}
	pthread_mutex_lock(&s->lock);
	s->n_running--;
	pthread_cond_broadcast(&s->ended);
	pthread_mutex_unlock(&s->lock);
	return NULL;
}

/* Start and end. */

static void thread_start(struct fcgi_server *s, struct fcgi_thread *th)
{
	struct epoll_event on_drain = { .events = EPOLLIN };
	int error;

	th->server = s;
	th->arena = arena_open(s->conf.arena_bytes);
	th->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	error = th->epoll_fd < 0 || epoll_ctl(th->epoll_fd, EPOLL_CTL_ADD, s->drain_fd, &on_drain) != 0;
	assert(!error);
	/* -1: libfcgi shall never accept by itself, as it would after a connection that brought no request. */
	FCGX_InitRequest(&th->request, -1, 0);
	error = pthread_create(&th->id, NULL, thread_main, th);
	assert(!error);
}

/* FCGX_Init takes SIGTERM, SIGUSR1 and SIGPIPE for itself where they have their defaults; a program of ours decides about its signals alone. */
static int library_init(void)
{
	static const int taken[] = { SIGTERM, SIGUSR1, SIGPIPE };
	struct sigaction before[3];
	int error;

	for (int i = 0; i < 3; i++)
		sigaction(taken[i], NULL, &before[i]);
	error = FCGX_Init();
	for (int i = 0; i < 3; i++)
		sigaction(taken[i], &before[i], NULL);
	return error;
}

static struct fcgi_server *server_make(const struct fcgi_conf *conf)
{
	struct arena *a = arena_open(sizeof(struct fcgi_server) + (size_t)conf->threads * sizeof(struct fcgi_thread) + 256);
	struct fcgi_server *s = arena_alloc(a, sizeof(*s));
	pthread_condattr_t attr;

	s->conf = *conf;
	s->arena = a;
	s->threads = arena_array(a, (size_t)conf->threads, sizeof(*s->threads));
	s->drain_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	assert(s->drain_fd >= 0);
	pthread_mutex_init(&s->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&s->ended, &attr);
	pthread_condattr_destroy(&attr);
	atomic_store(&s->logged_at, INT64_MIN / 2);
	return s;
}

enum err fcgi_open(struct task *t, const struct fcgi_conf *conf, struct fcgi_server **s_r)
{
	int is_listening = 0, flags = fcntl(conf->listen_fd, F_GETFL);
	socklen_t len = sizeof(is_listening);
	struct fcgi_server *s;
	sigset_t all, before;
	int error;

	*s_r = NULL;
	assert(conf->threads > 0 && conf->handler);
	if (getsockopt(conf->listen_fd, SOL_SOCKET, SO_ACCEPTCONN, &is_listening, &len) != 0 || !is_listening ||
	    fcntl(conf->listen_fd, F_SETFL, flags | O_NONBLOCK) != 0)
		return task_fail_internal(t, ERR_CONFIG, "descriptor %d is not a listening socket", conf->listen_fd);
	error = library_init();
	if (error != 0)
		return task_fail_internal(t, ERR_CONFIG, "libfcgi does not start: %d", error);
	s = server_make(conf);
	s->n_running = conf->threads;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	for (int i = 0; i < conf->threads; i++)
		thread_start(s, &s->threads[i]);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	*s_r = s;
	return ERR_OK;
}

void fcgi_drain(struct fcgi_server *s)
{
	uint64_t one = 1;

	if (is_draining(s))
		return;
	atomic_store(&s->drain_until, stamp_mono_ms() + DRAIN_QUEUE_MS);
	atomic_store_explicit(&s->is_draining, true, memory_order_release);
	if (write(s->drain_fd, &one, sizeof(one)) != sizeof(one))
		abort();
}

bool fcgi_wait(struct fcgi_server *s, int64_t timeout_ms)
{
	int64_t until = stamp_mono_ms() + timeout_ms;
	struct timespec ts = { .tv_sec = until / 1000, .tv_nsec = until % 1000 * 1000000 };
	bool have_ended;

	pthread_mutex_lock(&s->lock);
	while (s->n_running > 0 && pthread_cond_timedwait(&s->ended, &s->lock, &ts) == 0)
		;
	have_ended = s->n_running == 0;
	pthread_mutex_unlock(&s->lock);
	return have_ended;
}

void fcgi_close(struct fcgi_server **s_r)
{
	struct fcgi_server *s = *s_r;
	struct arena *a;

	if (!s)
		return;
	*s_r = NULL;
	fcgi_drain(s);
	for (int i = 0; i < s->conf.threads; i++) {
		pthread_join(s->threads[i].id, NULL);
		close(s->threads[i].epoll_fd);
		arena_close(&s->threads[i].arena);
	}
	close(s->drain_fd);
	pthread_mutex_destroy(&s->lock);
	pthread_cond_destroy(&s->ended);
	a = s->arena;
	arena_close(&a);
}
