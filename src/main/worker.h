/* SPDX-License-Identifier: MIT */
/* worker: one process that answers FastCGI requests with some threads until it is told to stop. */
#ifndef PARLEY_MAIN_WORKER_H
#define PARLEY_MAIN_WORKER_H

#include <stdbool.h>

#include "base/conf.h"
#include "base/task.h"

/* What a worker gets from whoever starts it. */
struct worker_start {
	int listen_fd;
	void *app_shared; /* from worker_shared_open */
	int ready_fd;     /* the pid (a pid_t) is written here once requests are served; -1: there is no master */
};

/*
 * Serves until SIGTERM or SIGINT, then finishes what runs within conf->drain_ms. USR1 opens the log again. Blocks every signal. Starts with the
 * database down. Returns an exit status of main.h; with threads still busy after the drain it does not return but ends the process.
 */
int worker_main(struct task *t, const struct conf *conf, const struct worker_start *start);

/*
 * The same as the child of spawn-fcgi or mod_fcgid, or as `parley worker`: opens the log, takes descriptor 0 as the listening Unix socket and
 * conf->shared_file as the shared memory.
 */
int worker_alone(struct task *t, const struct conf *conf);

/* Answers the one request of a CGI process: opens the log, answers from the environment and descriptor 0. */
int worker_cgi(struct task *t, const struct conf *conf);

/* Whether fd is a listening socket of any kind. */
bool worker_is_listener(int fd);

/*
 * Maps the memory shared by the processes of an install (conf->shared_file, or anonymous for those forked later), starts the metrics in
 * it and gives the application's part.
 */
enum err worker_shared_open(struct task *t, const struct conf *conf, void **app_shared_r) MUST_CHECK;

/* Opens the log as the settings say; for a log that was moved away, again. */
enum err worker_log_open(struct task *t, const struct conf *conf) MUST_CHECK;

/* Writes the task's fault to the log as an error called `event`, and gives the exit status that goes with `e`. */
int worker_report(const struct task *t, enum err e, const char *event);

#endif
