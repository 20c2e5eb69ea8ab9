/* SPDX-License-Identifier: MIT */
/* serve: the FastCGI part of the programs that parley is measured against: processes, threads, and nothing else. */
#ifndef PARLEY_BENCH_SERVE_H
#define PARLEY_BENCH_SERVE_H

#include <fcgiapp.h>

/* Answers one request on a server thread; `state` is what `open` returned for this thread. */
struct serve_program {
	void *(*open)(const char *argument);
	void (*answer)(void *state, FCGX_Request *rq);
};

/*
 * Runs a program: SOCKET PROCESSES THREADS KEEP [ARGUMENT], KEEP being 1 to honour the web server's wish to keep connections. Ends with
 * its parent's signal. Returns an exit status.
 */
int serve_main(int argc, char **argv, const struct serve_program *program);

#endif
