/* SPDX-License-Identifier: MIT */
/* private_memcached: started with fork and exec, so that the test knows its process id. */
#include "private_memcached.h"

#include <assert.h>
#include <fcntl.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

void private_memcached_init(struct private_memcached *m)
{
	*m = (struct private_memcached){ .dir = "/tmp/parley-memcached-XXXXXX" };
	char *made = mkdtemp(m->dir);
	assert(made);
	snprintf(m->path, sizeof m->path, "%s/memcached.sock", m->dir);
	snprintf(m->setting, sizeof m->setting, "unix:%s", m->path);
}

static void become_memcached(const struct private_memcached *m, const char *user)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	int null = open("/dev/null", O_RDWR);
	dup2(null, 0);
	dup2(null, 1);
	dup2(null, 2);
	execlp("memcached", "memcached", "-s", m->path, "-a", "0600", "-u", user, "-c", "4096", "-t", "2", (char *)NULL);
	_exit(127);
}

static bool is_accepting(const struct private_memcached *m)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	snprintf(a.sun_path, sizeof a.sun_path, "%s", m->path);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert(fd >= 0);
	bool is = connect(fd, (struct sockaddr *)&a, sizeof a) == 0;
	close(fd);
	return is;
}

bool private_memcached_start(struct private_memcached *m)
{
	struct passwd *pw = getpwuid(getuid());
	unlink(m->path);
	m->pid = fork();
	assert(m->pid >= 0);
	if (m->pid == 0)
		become_memcached(m, pw ? pw->pw_name : "nobody");
	while (!is_accepting(m)) {
		if (waitpid(m->pid, NULL, WNOHANG) == m->pid) {
			m->pid = 0;
			return false;
		}
		nanosleep(&(struct timespec){ .tv_nsec = 2000000 }, NULL);
	}
	return true;
}

void private_memcached_pause(const struct private_memcached *m)
{
	kill(m->pid, SIGSTOP);
	waitpid(m->pid, NULL, WUNTRACED);
}

void private_memcached_resume(const struct private_memcached *m)
{
	kill(m->pid, SIGCONT);
}

void private_memcached_kill(struct private_memcached *m)
{
	if (m->pid == 0)
		return;
	kill(m->pid, SIGKILL);
	waitpid(m->pid, NULL, 0);
	m->pid = 0;
}

void private_memcached_clear(struct private_memcached *m)
{
	private_memcached_kill(m);
	unlink(m->path);
	rmdir(m->dir);
}
