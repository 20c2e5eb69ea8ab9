/* SPDX-License-Identifier: MIT */
/*
 * fetch: outgoing HTTP calls on the calling thread, one or several at once. Each thread keeps one curl multi and easy handle, so that the
 * next call finds its connection, DNS answer and TLS session warm; all of it goes when the thread ends. Further calls of the same time
 * get handles of their own, which go with them. Time is watched by our own clock, because curl has no limit for silence.
 */
#include "net/fetch.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/stamp.h"
#include "net/fetch_private.h"

#define LONGEST_SLEEP_MS 1000
#define KEPT_CONNECTIONS 4L

struct fetch_thread {
	CURLM *multi;
	CURL *easy;
	bool is_easy_taken;
	int watch; /* an epoll that becomes readable when the client hangs up; curl's own poll cannot ask for that */
};

/* Calls that run at the same time, in their order, and what they have in common. */
struct run {
	struct task *task;
	struct fetch_thread *thread;
	const struct fetch_watch *watch;
	struct fetch_call *calls;
	size_t n, n_begun, n_running;
	enum err stopped; /* what on_end ended all with */
	int64_t next_tick;
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

/* The error of a call whose time has passed; *wait_r becomes no longer than what is left of any of its times. */
static enum err watch_clock(struct fetch_call *c, int64_t now, int64_t deadline, int64_t *wait_r)
{
	const struct fetch_conf *conf = c->conf;

	if (!is_within(now, c->began, conf->total_timeout_ms, wait_r))
		return task_fail_internal(c->task, ERR_PROVIDER_TIMEOUT, "%s:%d: not done after %d ms", c->host, c->port, conf->total_timeout_ms);
	if (!c->is_connected && !is_within(now, c->began, conf->connect_timeout_ms, wait_r))
		return task_fail_internal(c->task, ERR_PROVIDER_DOWN, "%s:%d: no connection after %d ms", c->host, c->port, conf->connect_timeout_ms);
	if (c->is_connected && !is_within(now, c->last_byte, conf->idle_timeout_ms, wait_r))
		return task_fail_internal(c->task, ERR_PROVIDER_TIMEOUT, "%s:%d: silent for %d ms", c->host, c->port, conf->idle_timeout_ms);
	if (deadline && !is_within(now, deadline - 1, 1, wait_r))
		return task_fail_internal(c->task, ERR_PROVIDER_TIMEOUT, "%s:%d: not done when the time for all calls had passed", c->host, c->port);
	return ERR_OK;
}

/* A handle for a call: the thread's own, or one for this call alone. */
static CURL *take_easy(struct fetch_thread *th)
{
	CURL *easy = th->easy;

	if (th->is_easy_taken)
		easy = curl_easy_init();
	if (!easy)
		abort();
	th->is_easy_taken = true;
	return easy;
}

static void give_easy_back(struct fetch_thread *th, CURL *easy)
{
	if (easy != th->easy) {
		curl_easy_cleanup(easy);
		return;
	}
	curl_easy_reset(easy);
	th->is_easy_taken = false;
}

/* Notes how a call ended by itself, and says so. */
static void settle(struct run *r, struct fetch_call *c, enum err e)
{
	c->result = e;
	if (c->job) {
		c->job->result = e;
		c->job->duration_ms = c->began ? stamp_mono_ms() - c->began : 0;
	}
	if (r->watch->on_end && r->stopped == ERR_OK)
		r->stopped = r->watch->on_end(r->watch->arg, (size_t)(c - r->calls));
}

static void close_call(struct run *r, struct fetch_call *c)
{
	curl_multi_remove_handle(r->thread->multi, c->easy); /* closes the connection of an unfinished call, which stops the other side */
	give_easy_back(r->thread, c->easy);
	fetch_call_clear(c);
	c->is_running = false;
	r->n_running--;
}

static void end_call(struct run *r, struct fetch_call *c, enum err e)
{
	close_call(r, c);
	settle(r, c, e);
}

static void begin_call(struct run *r, struct fetch_call *c)
{
	enum err e = fetch_call_read_url(c);

	if (r->watch->on_begin)
		r->watch->on_begin(r->watch->arg, (size_t)(c - r->calls));
	c->began = c->last_byte = stamp_mono_ms();
	if (e != ERR_OK) {
		fetch_call_clear(c);
		settle(r, c, e);
		return;
	}
	c->easy = take_easy(r->thread);
	fetch_call_set_options(c);
	if (curl_multi_add_handle(r->thread->multi, c->easy) != CURLM_OK)
		abort();
	c->is_running = true;
	r->n_running++;
}

/* Begins calls while there is room, but none whose time is over. */
static void begin_calls(struct run *r)
{
	while (r->n_begun < r->n && r->n_running < r->watch->at_once) {
		struct fetch_call *c = &r->calls[r->n_begun++];

		if (r->watch->deadline && stamp_mono_ms() >= r->watch->deadline)
			settle(r, c, task_fail_internal(c->task, ERR_PROVIDER_TIMEOUT, "not begun when the time for all calls had passed"));
		else
			begin_call(r, c);
	}
}

/* Ends the calls that curl reports as over. */
static void take_results(struct run *r)
{
	int left;
	CURLMsg *msg;

	while ((msg = curl_multi_info_read(r->thread->multi, &left)) != NULL) {
		CURLcode rc = msg->data.result; /* msg goes with the handle */
		char *call = NULL;

		if (msg->msg != CURLMSG_DONE)
			continue;
		if (curl_easy_getinfo(msg->easy_handle, CURLINFO_PRIVATE, &call) != CURLE_OK)
			abort();
		end_call(r, (struct fetch_call *)(void *)call, fetch_call_finish((struct fetch_call *)(void *)call, rc));
	}
}

/* Ticks when a tick is due, ends each call one of whose times has passed, and says how long all may sleep. */
static enum err watch_clocks(struct run *r, int64_t *wait_r)
{
	const struct fetch_watch *w = r->watch;
	bool has_ticks = w->tick_ms > 0 && w->on_tick;
	int64_t now = stamp_mono_ms();

	*wait_r = LONGEST_SLEEP_MS;
	if (has_ticks && now >= r->next_tick) {
		enum err e = w->on_tick(w->arg);

		if (e != ERR_OK)
			return e;
		now = stamp_mono_ms();
		r->next_tick = now + w->tick_ms;
	}
	for (size_t i = 0; i < r->n_begun; i++) {
		struct fetch_call *c = &r->calls[i];
		int64_t wait = *wait_r;
		enum err e = c->is_running ? watch_clock(c, now, w->deadline, &wait) : ERR_OK;

		if (e != ERR_OK)
			end_call(r, c, e);
		else
			*wait_r = wait;
	}
	if (has_ticks && r->next_tick - now < *wait_r)
		*wait_r = r->next_tick - now > 0 ? r->next_tick - now : 0;
	return ERR_OK;
}

static enum err check_client(const struct run *r)
{
	struct epoll_event ev;

	if (r->watch->client_fd < 0 || epoll_wait(r->thread->watch, &ev, 1, 0) <= 0)
		return ERR_OK;
	return task_fail_internal(r->task, ERR_CANCELLED, "the client hung up while another server answered");
}

/* Runs until every call has ended, or something ends them all. */
static enum err drive(struct run *r)
{
	struct curl_waitfd client = { .fd = r->thread->watch, .events = CURL_WAIT_POLLIN };
	unsigned n_extra = r->watch->client_fd >= 0 ? 1 : 0;
	int running;
	int64_t wait = 0;

	for (;;) {
		enum err e = check_client(r);

		if (e != ERR_OK)
			return e;
		begin_calls(r);
		if (curl_multi_perform(r->thread->multi, &running) != CURLM_OK)
			abort();
		take_results(r);
		if (r->n_running > 0)
			e = watch_clocks(r, &wait);
		if (e != ERR_OK || r->stopped != ERR_OK)
			return e != ERR_OK ? e : r->stopped;
		if (r->n_begun == r->n && r->n_running == 0)
			return ERR_OK;
		if (r->n_begun < r->n && r->n_running < r->watch->at_once)
			continue;
		if (curl_multi_poll(r->thread->multi, &client, n_extra, (int)wait, NULL) != CURLM_OK)
			abort();
	}
}

/* Watches for a hang-up only: bytes that wait there may be the next request of a kept connection. */
static bool watch_client(const struct fetch_thread *th, int fd)
{
	struct epoll_event ev = { .events = EPOLLRDHUP };

	return fd >= 0 && epoll_ctl(th->watch, EPOLL_CTL_ADD, fd, &ev) == 0;
}

static enum err run_calls(struct run *r)
{
	bool is_watched;
	enum err e;

	r->thread = thread_open();
	r->next_tick = stamp_mono_ms() + r->watch->tick_ms;
	is_watched = watch_client(r->thread, r->watch->client_fd);
	e = drive(r);
	for (size_t i = 0; i < r->n; i++) {
		if (!r->calls[i].is_running && i < r->n_begun)
			continue;
		r->calls[i].result = e;
		if (r->calls[i].job)
			r->calls[i].job->result = e;
		if (r->calls[i].is_running)
			close_call(r, &r->calls[i]);
	}
	if (is_watched)
		epoll_ctl(r->thread->watch, EPOLL_CTL_DEL, r->watch->client_fd, NULL);
	return e;
}

enum err fetch_run(struct task *t, const struct fetch_conf *conf, const struct fetch_request *rq, const struct fetch_events *ev)
{
	struct fetch_watch watch = { .client_fd = rq->client_fd, .tick_ms = rq->tick_ms, .on_tick = ev->on_tick, .arg = ev->arg, .at_once = 1 };
	struct fetch_call c = { .task = t, .conf = conf, .rq = rq, .ev = ev };
	struct run r = { .task = t, .watch = &watch, .calls = &c, .n = 1 };
	enum err e = run_calls(&r);

	return e != ERR_OK ? e : c.result;
}

enum err fetch_run_all(struct task *t, const struct fetch_watch *watch, struct fetch_job *jobs, size_t n)
{
	struct run r = { .task = t, .watch = watch, .calls = arena_array(t->arena, n, sizeof(struct fetch_call)), .n = n };

	assert(watch->at_once > 0);
	for (size_t i = 0; i < n; i++) {
		jobs[i].task = *t;
		task_clear_fault(&jobs[i].task);
		r.calls[i] = (struct fetch_call){ .task = &jobs[i].task, .conf = &jobs[i].conf, .rq = &jobs[i].request, .ev = &jobs[i].events,
						   .job = &jobs[i] };
	}
	return n > 0 ? run_calls(&r) : ERR_OK;
}
