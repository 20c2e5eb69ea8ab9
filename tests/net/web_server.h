/* SPDX-License-Identifier: MIT */
/* web_server: small servers on threads of the test itself, most of them ill-behaved. */
#ifndef PARLEY_TESTS_NET_WEB_SERVER_H
#define PARLEY_TESTS_NET_WEB_SERVER_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* A server whose `serve` answers one request on one connection and says whether to keep it. */
struct server {
	int fd, port;
	pthread_t thread;
	bool (*serve)(struct server *s, int fd);
	const void *arg;
	atomic_int accepted, requests, finished;
	char request[70000];
	size_t request_n;
};

/* Starts one on a free port of the loopback address; it has one connection at a time. */
struct server *server_start(bool (*serve)(struct server *, int), const void *arg);
/* Ends it, and fetch with it: its kept connections are what the server waits for. fetch is started anew. */
void server_stop(struct server *s);

/* Listens on a free port of the loopback address. */
int listen_on_loopback(int backlog, int *port_r);
/* Sends all of a text, unless the client is gone. */
void send_text(int fd, const char *text);

/* What a server may do: sends the arg and closes. A text that is followed by another call has to announce that, or the call may come in between. */
bool serve_text(struct server *s, int fd);
/* Sends the arg and keeps the connection. */
bool serve_and_keep(struct server *s, int fd);
/* Sends the arg, if any, and then nothing until the client goes away. */
bool serve_and_hang(struct server *s, int fd);

/* One that speaks TLS for "localhost", with a certificate that nobody vouches for. It listens some moments after the start. */
struct tls_server {
	pid_t pid;
	int port;
	char dir[32];
};
void tls_server_start(struct tls_server *s);
/* False when there was none, as openssl is not installed. */
bool tls_server_stop(struct tls_server *s);

#endif
