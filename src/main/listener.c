/* SPDX-License-Identifier: MIT */
/* listener: binds under a name of its own, sets owner and mode, listens, and only then moves the socket to its place. */
#include "main/listener.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

/* Room for ".<pid>" behind the path while the socket is being made. */
#define PATH_SPARE 12

static enum err fail(struct task *t, const char *path, const char *why)
{
	return task_fail(t, ERR_CONFIG, "listen: %s: %s", path, why);
}

static enum err path_parse(struct task *t, const char *address, struct listener *l)
{
	if (strncmp(address, "unix:", 5) != 0 || address[5] != '/')
		return fail(t, address, "only unix:/PATH is possible: whoever reaches a TCP port can forge any request");
	if (strlen(address + 5) + PATH_SPARE >= sizeof(l->path))
		return fail(t, address + 5, "is too long for a socket");
	strcpy(l->path, address + 5);
	return ERR_OK;
}

static enum err lock_take(struct task *t, struct listener *l)
{
	char path[sizeof(l->path) + 8];

	snprintf(path, sizeof(path), "%s.lock", l->path);
	l->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (l->lock_fd < 0)
		return fail(t, path, strerror(errno));
	if (flock(l->lock_fd, LOCK_EX | LOCK_NB) == 0)
		return ERR_OK;
	return fail(t, l->path, errno == EWOULDBLOCK ? "another master has it" : strerror(errno));
}

static void address_fill(struct sockaddr_un *sa, const char *path)
{
	memset(sa, 0, sizeof(*sa));
	sa->sun_family = AF_UNIX;
	memcpy(sa->sun_path, path, strnlen(path, sizeof(sa->sun_path) - 1));
}

/* Whether somebody who has no lock, such as spawn-fcgi, listens there, or something is there that must not be replaced. */
static enum err place_check(struct task *t, const struct listener *l)
{
	struct sockaddr_un sa;
	struct stat st;
	int fd, error = 0;

	if (lstat(l->path, &st) != 0)
		return errno == ENOENT ? ERR_OK : fail(t, l->path, strerror(errno));
	if (!S_ISSOCK(st.st_mode))
		return fail(t, l->path, "exists and is no socket");
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return fail(t, l->path, strerror(errno));
	address_fill(&sa, l->path);
	if (connect(fd, (const struct sockaddr *)&sa, sizeof(sa)) != 0)
		error = errno;
	close(fd);
	/* EAGAIN: a queue that is full belongs to somebody. */
	return error == ECONNREFUSED || error == ENOENT ? ERR_OK : fail(t, l->path, "another program listens on it");
}

static int queue_length(void)
{
	FILE *f = fopen("/proc/sys/net/core/somaxconn", "re");
	int n = SOMAXCONN;

	if (!f)
		return n;
	if (fscanf(f, "%d", &n) != 1 || n < 1)
		n = SOMAXCONN;
	fclose(f);
	return n;
}

static enum err socket_make(struct task *t, struct listener *l, gid_t group)
{
	struct sockaddr_un sa;
	char made[sizeof(l->path)];
	struct stat st;
	mode_t before;
	int failed;

	snprintf(made, sizeof(made), "%.*s.%d", (int)(sizeof(made) - PATH_SPARE), l->path, (int)getpid());
	unlink(made);
	address_fill(&sa, made);
	l->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (l->fd < 0)
		return fail(t, made, strerror(errno));
	before = umask(0117);
	failed = bind(l->fd, (const struct sockaddr *)&sa, sizeof(sa));
	umask(before);
	if (failed)
		return fail(t, made, strerror(errno));
	if ((group != (gid_t)-1 && chown(made, (uid_t)-1, group) != 0) || chmod(made, 0660) != 0 || listen(l->fd, queue_length()) != 0 ||
	    lstat(made, &st) != 0 || rename(made, l->path) != 0) {
		int error = errno;

		unlink(made);
		return fail(t, l->path, strerror(error));
	}
	l->device = st.st_dev;
	l->inode = st.st_ino;
	return ERR_OK;
}

enum err listener_open(struct task *t, const char *address, const char *group, struct listener *l_r)
{
	const struct group *g = NULL;
	enum err e;

	memset(l_r, 0, sizeof(*l_r));
	l_r->fd = l_r->lock_fd = -1;
	if (*group && !(g = getgrnam(group)))
		return task_fail(t, ERR_CONFIG, "listen_group: there is no group %s", group);
	e = path_parse(t, address, l_r);
	if (e == ERR_OK)
		e = lock_take(t, l_r);
	if (e == ERR_OK)
		e = place_check(t, l_r);
	if (e == ERR_OK)
		e = socket_make(t, l_r, g ? g->gr_gid : (gid_t)-1);
	if (e != ERR_OK)
		listener_close(l_r);
	return e;
}

void listener_close(struct listener *l)
{
	struct stat st;

	if (l->fd >= 0) {
		if (l->inode && lstat(l->path, &st) == 0 && st.st_dev == l->device && st.st_ino == l->inode)
			unlink(l->path);
		close(l->fd);
	}
	if (l->lock_fd >= 0)
		close(l->lock_fd);
	l->fd = l->lock_fd = -1;
}
