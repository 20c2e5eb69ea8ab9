/* SPDX-License-Identifier: MIT */
/* listener: the master's Unix socket in the file system: never with wrong permissions, never two masters on one. */
#ifndef PARLEY_MAIN_LISTENER_H
#define PARLEY_MAIN_LISTENER_H

#include <sys/types.h>
#include <sys/un.h>

#include "base/task.h"

struct listener {
	int fd;      /* listening, non-blocking; -1: not open */
	int lock_fd; /* on PATH.lock; a child that shall not keep a dead master's lock alive closes it */
	char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
	dev_t device; /* of the socket in the file system, to recognise it at the end */
	ino_t inode;
};

/*
 * Listens on "unix:PATH" with mode 0660, owned by `group` unless that is empty, with the longest queue the system allows. A socket nobody
 * listens on is replaced; ERR_CONFIG when somebody does, when PATH is something else, or for any other address.
 */
enum err listener_open(struct task *t, const char *address, const char *group, struct listener *l_r) MUST_CHECK;

/* Stops listening and removes the socket, unless another has taken its place. Safe on one that is not open. */
void listener_close(struct listener *l);

#endif
