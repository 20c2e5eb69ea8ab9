/* SPDX-License-Identifier: MIT */
/* null_app: an application for the tests of what carries one: echoes, waits, streams, and dies on demand. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "app/app.h"
#include "base/metrics.h"
#include "base/stamp.h"

struct app {
	const struct conf *conf;
	struct shared *shared;
};

/* What the processes share: enough to see from one what another did. */
struct shared {
	_Atomic int64_t answered, sweeps;
};

size_t app_shared_size(void)
{
	return sizeof(struct shared);
}

static void nap(int64_t ms)
{
	struct timespec ts = { ms / 1000, ms % 1000 * 1000000 };

	nanosleep(&ts, NULL);
}

/* Takes secret_file for its orders: "!refuse" refuses these settings, "!die" dies at once, "!slow" takes its time. */
enum err app_open(struct task *t, const struct conf *conf, void *shared, bool may_wait, struct app **app_r)
{
	struct app *app;

	(void)may_wait;
	*app_r = NULL;
	if (strcmp(conf->secret_file, "!refuse") == 0)
		return task_fail(t, ERR_CONFIG, "secret_file: refused");
	if (strcmp(conf->secret_file, "!die") == 0)
		raise(SIGKILL);
	if (strcmp(conf->secret_file, "!slow") == 0)
		nap(300);
	app = calloc(1, sizeof(*app));
	if (!app)
		abort();
	app->conf = conf;
	app->shared = shared;
	*app_r = app;
	return ERR_OK;
}

void app_close(struct app **app)
{
	free(*app);
	*app = NULL;
}

static int64_t query_number(const struct http_request *rq)
{
	const char *equals = rq->query.n ? memchr(rq->query.p, '=', rq->query.n) : NULL;

	return equals ? atoll(equals + 1) : 0;
}

static void stream(const struct http_request *rq, struct http_response *rs)
{
	if (!http_stream_begin(rs))
		return;
	for (int64_t i = 1; i <= query_number(rq); i++) {
		char id[24];

		snprintf(id, sizeof(id), "%lld", (long long)i);
		if (!http_stream_event(rs, id, "delta", BYTES("{\"text\":\"word \"}")))
			return;
		nap(1);
	}
}

static void echo(const struct app *app, const struct http_request *rq, struct buf *b)
{
	static const char *const states[] = { "ok", "too_large", "incomplete", "bad_length" };

	buf_add_char(b, '{');
	buf_member_string(b, "method", rq->method_text);
	buf_member_string(b, "path", rq->path);
	buf_member_str(b, "body_state", states[rq->body_state]);
	buf_member_int(b, "body_length", (int64_t)rq->body.n);
	buf_member_int(b, "pid", getpid());
	buf_member_int(b, "max_body", app->conf->max_body);
	if (app->shared) {
		buf_member_int(b, "answered", app->shared->answered);
		buf_member_int(b, "sweeps", app->shared->sweeps);
	}
	buf_add_char(b, '}');
}

void app_answer(void *arg, struct task *t, const struct http_request *rq, struct http_response *rs)
{
	struct app *app = arg;

	(void)t;
	metric_add(METRIC_requests_total, 1);
	if (app->shared)
		app->shared->answered++;
	if (bytes_equal(rq->path, BYTES("/stream"))) {
		stream(rq, rs);
		return;
	}
	if (bytes_equal(rq->path, BYTES("/die")))
		abort();
	if (bytes_equal(rq->path, BYTES("/slow")))
		nap(query_number(rq));
	if (bytes_equal(rq->path, BYTES("/metrics"))) {
		rs->content_type = "text/plain; version=0.0.4";
		metrics_format(&rs->body);
	} else {
		echo(app, rq, &rs->body);
	}
	if (rq->body_state != HTTP_BODY_OK)
		rs->status = rq->body_state == HTTP_BODY_TOO_LARGE ? 413 : 400;
	http_send(rs);
}

void app_answer_operator(struct app *app, const struct ident *site, struct task *t, const struct http_request *rq, struct http_response *rs)
{
	(void)site;
	app_answer(app, t, rq, rs);
}

enum err app_sweep(struct task *t, struct app *app, int64_t *n_r)
{
	(void)t;
	*n_r = app->shared ? ++app->shared->sweeps : 0;
	return ERR_OK;
}

enum err app_sweep_report(struct task *t, struct app *app, struct sweep_report *report_r)
{
	memset(report_r, 0, sizeof *report_r);
	return app_sweep(t, app, &report_r->total);
}
