/* SPDX-License-Identifier: MIT */
/* privilege: what a process started by root gives up before it looks at anything from outside. */
#ifndef PARLEY_MAIN_PRIVILEGE_H
#define PARLEY_MAIN_PRIVILEGE_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/task.h"

struct privilege {
	const char *user; /* in the task's arena; NULL: nobody is changed */
	uid_t uid;
	gid_t gid;
};

/* Looks up a user. Leaves user NULL for "" and when the process is not root's. ERR_CONFIG for one that does not exist. */
enum err privilege_find(struct task *t, const char *user, struct privilege *p_r) MUST_CHECK;

/* Becomes that user for good and can never gain privileges again. False with errno; the process must then end. */
bool privilege_drop(const struct privilege *p);

#endif
