/* SPDX-License-Identifier: MIT */
/* privilege: groups first, user last, then a check that there is no way back. */
#include "main/privilege.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <sys/prctl.h>
#include <unistd.h>

enum err privilege_find(struct task *t, const char *user, struct privilege *p_r)
{
	const struct passwd *pw;

	*p_r = (struct privilege){ 0 };
	if (!*user || geteuid() != 0)
		return ERR_OK;
	pw = getpwnam(user);
	if (!pw)
		return task_fail(t, ERR_CONFIG, "user: there is no user %s", user);
	*p_r = (struct privilege){ arena_strdup(t->arena, pw->pw_name), pw->pw_uid, pw->pw_gid };
	return ERR_OK;
}

bool privilege_drop(const struct privilege *p)
{
	if (p->user) {
		if (initgroups(p->user, p->gid) != 0 || setgid(p->gid) != 0 || setuid(p->uid) != 0)
			return false;
		if (p->uid != 0 && setuid(0) == 0) {
			errno = EPERM;
			return false;
		}
	}
	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0;
}
