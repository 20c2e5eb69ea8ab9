/* SPDX-License-Identifier: MIT */
/* web_server: small servers on threads of the test itself, most of them ill-behaved. */
#include "web_server.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "net/fetch.h"

void send_text(int fd, const char *text)
{
	size_t n = strlen(text), done = 0;

	while (done < n) {
		ssize_t r = send(fd, text + done, n - done, MSG_NOSIGNAL);

		if (r <= 0)
			return;
		done += (size_t)r;
	}
}

/* Reads one request, head and body by Content-Length; false when the client closed. */
static bool read_request(struct server *s, int fd)
{
	s->request_n = 0;
	for (;;) {
		char *end, *length;
		ssize_t n = recv(fd, s->request + s->request_n, sizeof(s->request) - 1 - s->request_n, 0);

		if (n <= 0)
			return false;
		s->request_n += (size_t)n;
		s->request[s->request_n] = '\0';
		end = strstr(s->request, "\r\n\r\n");
		length = strstr(s->request, "Content-Length: ");
		if (end && s->request_n >= (size_t)(end + 4 - s->request) + (length ? strtoul(length + 16, NULL, 10) : 0))
			return true;
	}
}

static void *server_loop(void *arg)
{
	struct server *s = arg;
	int fd;

	while ((fd = accept(s->fd, NULL, NULL)) >= 0) {
		atomic_fetch_add(&s->accepted, 1);
		while (read_request(s, fd)) {
			atomic_fetch_add(&s->requests, 1);
			if (!s->serve(s, fd))
				break;
		}
		close(fd);
		atomic_fetch_add(&s->finished, 1);
	}
	return NULL;
}

int listen_on_loopback(int backlog, int *port_r)
{
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t n = sizeof(in);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	cr_assert(fd >= 0 && bind(fd, (struct sockaddr *)&in, sizeof(in)) == 0 && listen(fd, backlog) == 0);
	cr_assert_eq(getsockname(fd, (struct sockaddr *)&in, &n), 0);
	*port_r = ntohs(in.sin_port);
	return fd;
}

struct server *server_start(bool (*serve)(struct server *, int), const void *arg)
{
	struct server *s = calloc(1, sizeof(*s));

	s->serve = serve;
	s->arg = arg;
	s->fd = listen_on_loopback(16, &s->port);
	cr_assert_eq(pthread_create(&s->thread, NULL, server_loop, s), 0);
	return s;
}

void server_stop(struct server *s)
{
	shutdown(s->fd, SHUT_RDWR);
	fetch_cleanup(); /* closes kept connections, on which the server waits */
	pthread_join(s->thread, NULL);
	close(s->fd);
	free(s);
	fetch_init();
}

bool serve_text(struct server *s, int fd)
{
	send_text(fd, s->arg);
	return false;
}

bool serve_and_keep(struct server *s, int fd)
{
	send_text(fd, s->arg);
	return true;
}

bool serve_and_hang(struct server *s, int fd)
{
	char c;

	if (s->arg)
		send_text(fd, s->arg);
	while (recv(fd, &c, 1, 0) > 0)
		;
	return false;
}

/* ---- with TLS ---- */

void tls_server_start(struct tls_server *s)
{
	char command[1024];
	int fd = listen_on_loopback(1, &s->port);

	close(fd);
	strcpy(s->dir, "/tmp/fetch-tls-XXXXXX");
	cr_assert_neq(mkdtemp(s->dir), NULL);
	snprintf(command, sizeof(command),
		 "cd %s && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout k -out c -subj /CN=localhost -days 2 "
		 "-addext subjectAltName=DNS:localhost >log 2>&1 && exec openssl s_server -key k -cert c -accept %d -www >log 2>&1",
		 s->dir, s->port);
	s->pid = fork();
	if (s->pid == 0) {
		execl("/bin/sh", "sh", "-c", command, (char *)NULL);
		_exit(127);
	}
}

bool tls_server_stop(struct tls_server *s)
{
	char command[100];
	int status;

	kill(s->pid, SIGTERM);
	waitpid(s->pid, &status, 0);
	snprintf(command, sizeof(command), "rm -rf %s", s->dir);
	cr_assert_eq(system(command), 0);
	return !(WIFEXITED(status) && WEXITSTATUS(status) == 127);
}
