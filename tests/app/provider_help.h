/* SPDX-License-Identifier: MIT */
/* provider_help: a provider in a thread that answers what a test wants, and what it was asked. */
#ifndef PARLEY_TESTS_APP_PROVIDER_HELP_H
#define PARLEY_TESTS_APP_PROVIDER_HELP_H

#include "harness.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

/* A provider in a thread: answers each request with the stream it is told, then with the next if there is one, and keeps what it was asked. */
struct fake_provider {
	int listener, port;
	const char *_Atomic stream, *_Atomic next;
	char asked[65536];
	pthread_t thread;
};

/* Reads a whole request; false when it does not come. */
static inline bool read_request(struct fake_provider *p, int fd)
{
	size_t n = 0;
	for (;;) {
		ssize_t got = read(fd, p->asked + n, sizeof p->asked - 1 - n);
		if (got <= 0)
			return false;
		n += (size_t)got;
		p->asked[n] = 0;
		const char *body = strstr(p->asked, "\r\n\r\n"), *length = strcasestr(p->asked, "content-length:");
		if (body && length && n >= (size_t)(body + 4 - p->asked) + (size_t)atoi(length + 15))
			return true;
	}
}

static inline void *serve(void *arg)
{
	struct fake_provider *p = arg;
	for (;;) {
		int fd = accept(p->listener, NULL, NULL);
		if (fd < 0)
			return NULL;
		if (read_request(p, fd))
			dprintf(fd, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n%s", p->stream);
		if (p->next) {
			p->stream = p->next;
			p->next = NULL;
		}
		close(fd);
	}
}

static inline void start_provider(struct fake_provider *p)
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t n = sizeof at;
	p->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	cr_assert(p->listener >= 0 && bind(p->listener, (struct sockaddr *)&at, sizeof at) == 0 && listen(p->listener, 16) == 0);
	cr_assert_eq(getsockname(p->listener, (struct sockaddr *)&at, &n), 0);
	p->port = ntohs(at.sin_port);
	cr_assert_eq(pthread_create(&p->thread, NULL, serve, p), 0);
}

static inline void stop_provider(struct fake_provider *p)
{
	shutdown(p->listener, SHUT_RDWR);
	pthread_join(p->thread, NULL);
	close(p->listener);
}

static inline void allow_local(struct conf *c)
{
	c->provider_allow_hosts = "127.0.0.1";
}

/* Defines a provider of a kind at the server's port and returns its name: providers are the install's, so it is a new one. */
static inline const char *add_provider(struct api *h, const struct fake_provider *p, const char *kind)
{
	struct ident random = ident_new();
	char name[IDENT_SIZE];
	ident_format("fake-", &random, name);
	struct provider made = { bytes_of(name), bytes_of(kind), bytes_of(api_text(h, "http://127.0.0.1:%d/v1", p->port)), BYTES("") };
	cr_assert_eq(provider_create(&h->task, h->app, &made), ERR_OK, "%s", h->task.fault.detail);
	return api_text(h, "%s", name);
}

static inline bool was_asked(const struct fake_provider *p, const char *words)
{
	return strstr(p->asked, words) != NULL;
}

#endif
