/* SPDX-License-Identifier: MIT */
/* fake_server: a thread that plays a server on a Unix socket and misbehaves as it is told. */
#ifndef PARLEY_TESTS_FAKE_SERVER_H
#define PARLEY_TESTS_FAKE_SERVER_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

/* Answers one line from a client; returns false to close the connection. May take its time. */
typedef bool (*fake_answer_fn)(void *context, int client, const char *line);

struct fake_server {
	char dir[64];
	char path[96];
	char setting[112];
	int listener;
	fake_answer_fn answer;
	void *context;
	_Atomic int connections; /* taken so far */
	_Atomic int lines;
	pthread_t thread;
};

/* Starts it: one connection at a time, the next one when the last was closed. */
void fake_server_start(struct fake_server *f, fake_answer_fn answer, void *context);

/* Ends it, once its clients have closed their connections, and removes its files. */
void fake_server_stop(struct fake_server *f);

/* Sends text to the client; a client that has gone is no error. */
void fake_server_say(int client, const void *p, size_t n);

#endif
