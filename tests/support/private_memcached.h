/* SPDX-License-Identifier: MIT */
/* private_memcached: a memcached of the test's own on a Unix socket, which it may stop, continue and kill. */
#ifndef PARLEY_TESTS_PRIVATE_MEMCACHED_H
#define PARLEY_TESTS_PRIVATE_MEMCACHED_H

#include <stdbool.h>
#include <sys/types.h>

struct private_memcached {
	char dir[64];
	char path[96];     /* of the socket */
	char setting[112]; /* as the setting `cache` wants it */
	pid_t pid;         /* 0: not running */
};

/* Makes the directory and names the socket; starts nothing. */
void private_memcached_init(struct private_memcached *m);

/* Starts it and waits for its socket. False when there is no memcached on this machine. It dies with the calling thread. */
bool private_memcached_start(struct private_memcached *m);

/* Stops it, and returns when it really stands still; lets it go on. */
void private_memcached_pause(const struct private_memcached *m);
void private_memcached_resume(const struct private_memcached *m);

/* Sends it SIGKILL and waits for its end. It may be started again: empty, on the same socket. */
void private_memcached_kill(struct private_memcached *m);

/* Kills it if it runs and removes the directory. */
void private_memcached_clear(struct private_memcached *m);

#endif
