/* SPDX-License-Identifier: MIT */
/* serve: prefork, and threads that wait in an epoll of their own with EPOLLEXCLUSIVE: the fastest way found to serve with libfcgi. */
#include <err.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "serve.h"

static struct {
	const struct serve_program *program;
	const char *argument;
	int listen_fd;
	bool keep;
} serve;

static int listen_on(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	if (strlen(path) >= sizeof address.sun_path)
		errx(2, "%s: too long for a socket", path);
	strcpy(address.sun_path, path);
	unlink(path);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
	if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) || chmod(path, 0666) || listen(fd, 4096))
		err(1, "%s", path);
	return fd;
}

/* Waits until the listener may have a connection; another thread of any process may be faster. */
static int waiter_open(void)
{
	int fd = epoll_create1(EPOLL_CLOEXEC);
	struct epoll_event event = { .events = EPOLLIN | EPOLLEXCLUSIVE };
	if (fd < 0 || epoll_ctl(fd, EPOLL_CTL_ADD, serve.listen_fd, &event))
		err(1, "epoll");
	return fd;
}

static void *serve_thread(void *unused)
{
	(void)unused;
	void *state = serve.program->open(serve.argument);
	FCGX_Request rq;
	if (FCGX_InitRequest(&rq, serve.listen_fd, 0))
		errx(1, "FCGX_InitRequest failed");
	int waiter = waiter_open();
	bool is_kept = false;
	for (;;) {
		struct epoll_event event;
		if (!is_kept && epoll_wait(waiter, &event, 1, -1) < 1)
			continue;
		/* On a kept connection this reads its next request, or fails when it was closed. */
		if (FCGX_Accept_r(&rq) < 0) {
			is_kept = false;
			continue;
		}
		if (!serve.keep)
			rq.keepConnection = 0;
		serve.program->answer(state, &rq);
		is_kept = rq.keepConnection;
		FCGX_Finish_r(&rq);
	}
	return NULL;
}

static void serve_process(int threads)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	signal(SIGPIPE, SIG_IGN);
	if (FCGX_Init())
		errx(1, "FCGX_Init failed");
	for (int i = 1; i < threads; i++) {
		pthread_t thread;
		if (pthread_create(&thread, NULL, serve_thread, NULL))
			errx(1, "pthread_create failed");
	}
	serve_thread(NULL);
}

int serve_main(int argc, char **argv, const struct serve_program *program)
{
	if (argc < 5) {
		fprintf(stderr, "usage: %s SOCKET PROCESSES THREADS KEEP [ARGUMENT]\n", argv[0]);
		return 2;
	}
	serve.program = program;
	serve.listen_fd = listen_on(argv[1]);
	serve.keep = atoi(argv[4]) != 0;
	serve.argument = argc > 5 ? argv[5] : NULL;
	for (int i = atoi(argv[2]); i > 0; i--) {
		pid_t pid = fork();
		if (pid < 0)
			err(1, "fork");
		if (pid == 0)
			serve_process(atoi(argv[3]));
	}
	while (wait(NULL) > 0)
		warnx("a process ended");
	return 1;
}
