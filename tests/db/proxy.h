/* SPDX-License-Identifier: MIT */
/* proxy: stands between the driver and the test server, counts what is asked, and loses connections at a chosen moment. */
#ifndef PARLEY_TESTS_DB_PROXY_H
#define PARLEY_TESTS_DB_PROXY_H

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum proxy_mode {
	PROXY_FORWARD,
	PROXY_CUT_REQUEST, /* the next request is dropped and its connection closed */
	PROXY_CUT_ANSWER,  /* the next request arrives, its answer does not */
	PROXY_HANG,        /* nothing is forwarded any more */
};

#define PROXY_LINKS 32

struct proxy {
	char path[80], server[108];
	int listener, port;
	atomic_int mode, n_requests, n_connects, is_ended;
	atomic_int commits, at_commit; /* how many COMMITs until one meets this mode; 0: none does */
	int client[PROXY_LINKS], backend[PROXY_LINKS], n;
	pthread_t thread;
};

static inline int proxy_socket(const char *path, struct sockaddr_un *at_r)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	*at_r = (struct sockaddr_un){ .sun_family = AF_UNIX };
	snprintf(at_r->sun_path, sizeof at_r->sun_path, "%s", path);
	cr_assert_geq(fd, 0);
	return fd;
}

static inline void proxy_accept(struct proxy *p)
{
	struct sockaddr_un at;
	int client = accept(p->listener, NULL, NULL);

	cr_assert(client >= 0 && p->n < PROXY_LINKS);
	p->client[p->n] = client;
	p->backend[p->n] = proxy_socket(p->server, &at);
	cr_assert_eq(connect(p->backend[p->n], (struct sockaddr *)&at, sizeof at), 0);
	p->n++;
	p->n_connects++;
}

static inline void proxy_close(struct proxy *p, int i)
{
	close(p->client[i]);
	close(p->backend[i]);
	p->n--;
	p->client[i] = p->client[p->n];
	p->backend[i] = p->backend[p->n];
}

/* Moves what is there from one side to the other; false: the link is to be closed. */
static inline bool proxy_move(struct proxy *p, int from, int to, bool is_request)
{
	static char data[1 << 16];
	int cut = is_request ? PROXY_CUT_REQUEST : PROXY_CUT_ANSWER;
	ssize_t n = read(from, data, sizeof data);

	if (n <= 0)
		return false;
	if (is_request)
		p->n_requests++;
	if (is_request && p->commits > 0 && memmem(data, (size_t)n, "COMMIT", 6) && --p->commits == 0)
		p->mode = p->at_commit;
	if (atomic_compare_exchange_strong(&p->mode, &cut, PROXY_FORWARD))
		return false;
	for (ssize_t done = 0; done < n;) {
		ssize_t w = send(to, data + done, (size_t)(n - done), MSG_NOSIGNAL);

		if (w <= 0)
			return false;
		done += w;
	}
	return true;
}

static inline void *proxy_main(void *arg)
{
	struct proxy *p = arg;

	while (!p->is_ended) {
		struct pollfd fds[1 + 2 * PROXY_LINKS] = { { .fd = p->listener, .events = POLLIN } };
		int n = p->n;

		for (int i = 0; i < n; i++) {
			fds[1 + 2 * i] = (struct pollfd){ .fd = p->client[i], .events = POLLIN };
			fds[2 + 2 * i] = (struct pollfd){ .fd = p->backend[i], .events = POLLIN };
		}
		if (p->mode == PROXY_HANG) {
			usleep(5000);
			continue;
		}
		if (poll(fds, (nfds_t)(1 + 2 * n), 20) <= 0 || p->mode == PROXY_HANG)
			continue;
		for (int i = n - 1; i >= 0; i--)
			if ((fds[1 + 2 * i].revents && !proxy_move(p, p->client[i], p->backend[i], true)) ||
			    (fds[2 + 2 * i].revents && !proxy_move(p, p->backend[i], p->client[i], false)))
				proxy_close(p, i);
		if (fds[0].revents)
			proxy_accept(p);
	}
	while (p->n)
		proxy_close(p, 0);
	close(p->listener);
	return NULL;
}

static inline void proxy_run(struct proxy *p)
{
	cr_assert_eq(listen(p->listener, 64), 0);
	cr_assert_eq(pthread_create(&p->thread, NULL, proxy_main, p), 0);
}

/* Listens on the socket `path` in front of the server whose socket is named. */
static inline void proxy_start(struct proxy *p, const char *server_socket, const char *path)
{
	struct sockaddr_un at;

	memset(p, 0, sizeof *p);
	snprintf(p->server, sizeof p->server, "%s", server_socket);
	snprintf(p->path, sizeof p->path, "%s", path);
	p->listener = proxy_socket(p->path, &at);
	cr_assert_eq(bind(p->listener, (struct sockaddr *)&at, sizeof at), 0);
	proxy_run(p);
}

/* The same on a port of the loopback interface, left in p->port. */
static inline void proxy_start_tcp(struct proxy *p, const char *server_socket)
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t size = sizeof at;

	memset(p, 0, sizeof *p);
	snprintf(p->server, sizeof p->server, "%s", server_socket);
	p->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	cr_assert_eq(bind(p->listener, (struct sockaddr *)&at, sizeof at), 0);
	cr_assert_eq(getsockname(p->listener, (struct sockaddr *)&at, &size), 0);
	p->port = ntohs(at.sin_port);
	proxy_run(p);
}

/* Closes every connection and refuses new ones. */
static inline void proxy_stop(struct proxy *p)
{
	p->is_ended = 1;
	pthread_join(p->thread, NULL);
	if (p->path[0])
		unlink(p->path);
}

#endif
