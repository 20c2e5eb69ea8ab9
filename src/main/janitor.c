/* SPDX-License-Identifier: MIT */
/* janitor: one process sweeps for the whole host; a lease in the database keeps several hosts apart. */
#include "main/janitor.h"

#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <time.h>

#include "app/app.h"
#include "base/log.h"
#include "base/secret.h"
#include "main/main.h"
#include "main/worker.h"

/* Waits for the next sweep; false when it is time to stop. */
static bool interval_wait(const struct conf *conf, const sigset_t *all)
{
	struct timespec ts = { .tv_sec = conf->sweep_interval / 1000, .tv_nsec = conf->sweep_interval % 1000 * 1000000 };
	int signo = sigtimedwait(all, NULL, &ts);

	if (signo == SIGUSR1) {
		struct arena *a = arena_open(1024);
		struct task t;

		task_init(&t, a);
		enum err e = worker_log_open(&t, conf);

		if (e != ERR_OK)
			(void)worker_report(&t, e, "log_not_reopened");
		arena_close(&a);
	}
	return signo != SIGTERM && signo != SIGINT && signo != SIGQUIT;
}

static void sweep(struct arena *a, struct app *app)
{
	struct task t;
	int64_t n = 0;

	task_init(&t, a);
	enum err e = app_sweep(&t, app, &n);

	if (e != ERR_OK)
		(void)worker_report(&t, e, "sweep_failed");
	arena_reset(a);
}

int janitor_main(struct task *t, const struct conf *conf, void *app_shared)
{
	struct app *app = NULL;
	struct arena *a;
	sigset_t all;
	enum err e;

	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
	secret_init();
	e = app_open(t, conf, app_shared, true, &app);
	if (e != ERR_OK)
		return worker_report(t, e, "janitor_not_started");
	a = arena_open(16384);
	do
		sweep(a, app);
	while (interval_wait(conf, &all));
	arena_close(&a);
	app_close(&app);
	return EXIT_OK;
}

enum err janitor_sweep(struct task *t, const struct conf *conf, struct sweep_report *report_r)
{
	struct app *app = NULL;
	void *shared = NULL;
	enum err e;

	memset(report_r, 0, sizeof *report_r);
	secret_init();
	e = worker_shared_open(t, conf, &shared);
	if (e == ERR_OK)
		e = app_open(t, conf, shared, false, &app);
	if (e != ERR_OK)
		return e;
	e = app_sweep_report(t, app, report_r);
	app_close(&app);
	return e;
}
