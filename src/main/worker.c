/* SPDX-License-Identifier: MIT */
/* worker: opens the application, serves, and ends when it is told to. One thread takes the signals, the others answer. */
#include "main/worker.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "app/app.h"
#include "base/log.h"
#include "base/metrics.h"
#include "base/secret.h"
#include "base/shm.h"
#include "http/fcgi.h"
#include "main/main.h"

#define ARENA_BYTES 65536 /* first block of a thread: a usual request and its answer fit */
#define CACHE_LINE 64

bool worker_is_listener(int fd)
{
	int is_listening = 0;
	socklen_t len = sizeof(is_listening);

	return getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &is_listening, &len) == 0 && is_listening;
}

enum err worker_shared_open(struct task *t, const struct conf *conf, void **app_shared_r)
{
	size_t metrics = (metrics_size() + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE;
	void *region = NULL;
	enum err e = shm_map(t, *conf->shared_file ? conf->shared_file : NULL, metrics + app_shared_size(), &region);

	*app_shared_r = NULL;
	if (e != ERR_OK)
		return e;
	metrics_open(region);
	*app_shared_r = (char *)region + metrics;
	return ERR_OK;
}

enum err worker_log_open(struct task *t, const struct conf *conf)
{
	enum log_level level = LOG_INFO_LEVEL;

	(void)log_level_find(conf->log_level, &level); /* conf has checked it */
	return log_open(t, conf->log_file, level);
}

int worker_report(const struct task *t, enum err e, const char *event)
{
	log_error(t, event, { "code", err_code(e), 0 }, { "detail", t->fault.detail ? t->fault.detail : "", 0 },
		  { "internal", t->fault.internal ? t->fault.internal : "", 0 });
	return e == ERR_CONFIG ? EXIT_CONF : EXIT_FAILED;
}

static void signals_block(sigset_t *all_r)
{
	sigfillset(all_r);
	sigprocmask(SIG_SETMASK, all_r, NULL);
}

/* Takes signals until one asks to stop. */
static void stop_wait(const struct conf *conf, const sigset_t *all, bool has_master)
{
	for (;;) {
		int signo = 0;

		if (sigwait(all, &signo) != 0)
			continue;
		if (signo == SIGTERM || signo == SIGINT || signo == SIGQUIT)
			return;
		if (signo == SIGHUP && !has_master)
			return; /* with one, a HUP is the master's to act on */
		if (signo == SIGUSR1) {
			struct arena *a = arena_open(1024);
			struct task t;

			task_init(&t, a);
			enum err e = worker_log_open(&t, conf);

			if (e != ERR_OK)
				(void)worker_report(&t, e, "log_not_reopened");
			arena_close(&a);
		}
	}
}

static void ready_tell(int fd)
{
	pid_t pid = getpid();

	if (fd < 0)
		return;
	if (write(fd, &pid, sizeof(pid)) != sizeof(pid))
		log_warn(NULL, "master_not_told", { "pid", NULL, pid });
	close(fd);
}

int worker_main(struct task *t, const struct conf *conf, const struct worker_start *start)
{
	struct fcgi_conf fcgi = { .listen_fd = start->listen_fd, .threads = (int)conf->threads, .max_body = conf->max_body,
				  .keep_conn = conf->fcgi_keep_conn, .arena_bytes = ARENA_BYTES, .handler = app_answer };
	struct fcgi_server *server = NULL;
	struct app *app = NULL;
	sigset_t all;
	enum err e;

	signals_block(&all);
	secret_init();
	e = app_open(t, conf, start->app_shared, true, &app);
	if (e != ERR_OK)
		return worker_report(t, e, "worker_not_started");
	fcgi.arg = app;
	e = fcgi_open(t, &fcgi, &server);
	if (e != ERR_OK) {
		app_close(&app);
		return worker_report(t, e, "worker_not_started");
	}
	ready_tell(start->ready_fd);
	stop_wait(conf, &all, start->ready_fd >= 0);
	fcgi_drain(server);
	if (!fcgi_wait(server, conf->drain_ms)) {
		/* Threads still use the application: it cannot be closed under them. */
		log_warn(NULL, "drain_cut", { "after_ms", NULL, conf->drain_ms });
		_exit(EXIT_OK);
	}
	fcgi_close(&server);
	app_close(&app);
	return EXIT_OK;
}

/* As worker_shared_open, for a process that no master started: with a cache it must share what the others know of it. */
static enum err shared_open_alone(struct task *t, const struct conf *conf, void **app_shared_r)
{
	if (*conf->cache && !*conf->shared_file)
		return task_fail(t, ERR_CONFIG, "shared_file: is needed with a cache where no master starts the workers; "
						"without it one process could not tell the others what it failed to remove from the cache");
	return worker_shared_open(t, conf, app_shared_r);
}

int worker_alone(struct task *t, const struct conf *conf)
{
	struct worker_start start = { .listen_fd = STDIN_FILENO, .ready_fd = -1 };
	struct sockaddr_storage sa;
	socklen_t len = sizeof(sa);
	enum err e = worker_log_open(t, conf);

	if (e != ERR_OK)
		return worker_report(t, e, "worker_not_started");
	if (!worker_is_listener(STDIN_FILENO) || getsockname(STDIN_FILENO, (struct sockaddr *)&sa, &len) != 0 || sa.ss_family != AF_UNIX) {
		log_error(t, "worker_not_started", { "detail", "descriptor 0 must be a listening Unix socket; `parley serve` makes one", 0 });
		return EXIT_USAGE;
	}
	e = shared_open_alone(t, conf, &start.app_shared);
	if (e != ERR_OK)
		return worker_report(t, e, "worker_not_started");
	return worker_main(t, conf, &start);
}

int worker_cgi(struct task *t, const struct conf *conf)
{
	struct app *app = NULL;
	void *shared = NULL;
	enum err e;

	signal(SIGPIPE, SIG_IGN); /* a client that went away shows as a failed write */
	secret_init();
	e = worker_log_open(t, conf);
	if (e == ERR_OK)
		e = shared_open_alone(t, conf, &shared);
	if (e == ERR_OK)
		e = app_open(t, conf, shared, true, &app);
	if (e != ERR_OK) {
		fputs("Status: 500 Internal Server Error\r\nContent-Type: application/problem+json\r\n\r\n"
		      "{\"type\":\"about:blank\",\"title\":\"Something failed on our side\",\"status\":500,\"code\":\"internal_error\"}",
		      stdout);
		return worker_report(t, e, "cgi_not_started");
	}
	e = cgi_run(t, conf->max_body, app_answer, app);
	app_close(&app);
	return e == ERR_OK ? EXIT_OK : EXIT_FAILED;
}
