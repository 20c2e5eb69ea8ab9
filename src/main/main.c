/* SPDX-License-Identifier: MIT */
/* main: one binary, four ways to be started: by a FastCGI process manager, as CGI, with a command, or by mistake. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/conf.h"
#include "main/cli.h"
#include "main/main.h"
#include "main/worker.h"

#define CONF_DEFAULT "/etc/parley/parley.conf"

/* A web server may start us without some of them: a file opened later must not become one that others write to. */
static void standard_descriptors_open(void)
{
	int fd;

	do
		fd = open("/dev/null", O_RDWR);
	while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd >= 0)
		close(fd);
}

/* Runs a program that gets no command line, and so no -c: the settings come from PARLEY_CONFIG, the usual file, or the environment alone. */
static int run_configured(int (*program)(struct task *t, const struct conf *conf))
{
	struct arena *a = arena_open(16384);
	const char *path = getenv("PARLEY_CONFIG");
	struct conf conf;
	struct task t;
	int status;

	task_init(&t, a);
	if (!path && access(CONF_DEFAULT, F_OK) == 0)
		path = CONF_DEFAULT;
	if (conf_load(&t, a, path && *path ? path : NULL, NULL, 0, &conf) == ERR_OK) {
		status = program(&t, &conf);
	} else {
		fprintf(stderr, "parley: the settings are not valid:\n%s\n", t.fault.detail ? t.fault.detail : "");
		status = EXIT_CONF;
	}
	arena_close(&a);
	return status;
}

int main(int argc, char **argv)
{
	bool is_listener;

	standard_descriptors_open();
	is_listener = worker_is_listener(STDIN_FILENO);
	if (is_listener && argc == 1)
		return run_configured(worker_alone);
	/* The arguments of a CGI program are words of the query: whoever sends the request chooses them. They are never looked at. */
	if (!is_listener && getenv("GATEWAY_INTERFACE"))
		return run_configured(worker_cgi);
	return cli_main(argc, argv);
}
