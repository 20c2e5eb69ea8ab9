/* SPDX-License-Identifier: MIT */
/*
 * shm: anonymous shared memory, or a file of one header and the region. A file that does not match is unlinked, never
 * shortened: processes that still map the old one keep it.
 */
#include "base/shm.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define FORMAT_VERSION 1 /* raise it when what the region holds changes its meaning but not its size */
#define ATTEMPTS 100

/* Fills a cache line, so that the region behind it begins on one. */
struct header {
	char magic[8];
	uint32_t version;
	uint32_t unused;
	uint64_t size;
	char reserved[40];
};

static enum err fail(struct task *t, const char *path, const char *why)
{
	return task_fail(t, ERR_CONFIG, "shared file %s: %s", path, why);
}

static enum err map(struct task *t, const char *path, int fd, size_t size, void **region_r)
{
	int flags = fd < 0 ? MAP_SHARED | MAP_ANONYMOUS : MAP_SHARED;
	char *p = mmap(NULL, sizeof(struct header) + size, PROT_READ | PROT_WRITE, flags, fd, 0);
	if (p == MAP_FAILED)
		return fail(t, path, strerror(errno));
	*region_r = p + sizeof(struct header);
	return ERR_OK;
}

/* Locks an open file; *current_r tells whether the path still names it, or somebody replaced it meanwhile. */
static enum err lock(struct task *t, const char *path, int fd, struct stat *st, bool *current_r)
{
	struct stat now;
	int locked;
	do
		locked = flock(fd, LOCK_EX);
	while (locked < 0 && errno == EINTR);
	if (locked < 0 || fstat(fd, st) < 0)
		return fail(t, path, strerror(errno));
	if (!S_ISREG(st->st_mode) || st->st_uid != geteuid() || (st->st_mode & 077) != 0)
		return fail(t, path, "is not a regular file that this user alone may use");
	*current_r = lstat(path, &now) == 0 && now.st_dev == st->st_dev && now.st_ino == st->st_ino;
	return ERR_OK;
}

/* Makes an empty file the right one. The blocks are taken now: a full disk must not kill whoever writes to them later. */
static enum err fill(struct task *t, const char *path, int fd, const struct header *h)
{
	int error = posix_fallocate(fd, 0, (off_t)(sizeof(*h) + h->size));
	if (error != 0)
		return fail(t, path, strerror(error));
	ssize_t n = pwrite(fd, h, sizeof(*h), 0);
	return n == (ssize_t)sizeof(*h) ? ERR_OK : fail(t, path, "cannot be written");
}

static bool matches(int fd, const struct stat *st, const struct header *h)
{
	struct header found;
	return (uint64_t)st->st_size == sizeof(*h) + h->size && pread(fd, &found, sizeof(found), 0) == sizeof(found) &&
	       memcmp(&found, h, sizeof(found)) == 0;
}

/* One attempt on an open file; leaves *region_r NULL when the path must be opened again. */
static enum err map_open_file(struct task *t, const char *path, int fd, const struct header *h, void **region_r)
{
	struct stat st;
	bool current = false;
	enum err e = lock(t, path, fd, &st, &current);
	if (e || !current)
		return e;
	if (st.st_size == 0)
		e = fill(t, path, fd, h);
	else if (!matches(fd, &st, h))
		return unlink(path) == 0 ? ERR_OK : fail(t, path, strerror(errno));
	return e ? e : map(t, path, fd, h->size, region_r);
}

enum err shm_map(struct task *t, const char *path, size_t size, void **region_r)
{
	struct header h = { .magic = "parley\n", .version = FORMAT_VERSION, .size = size };
	*region_r = NULL;
	if (!path || !*path)
		return map(t, "(none)", -1, size, region_r);
	for (int i = 0; i < ATTEMPTS; i++) {
		int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
		if (fd < 0)
			return fail(t, path, strerror(errno));
		enum err e = map_open_file(t, path, fd, &h, region_r);
		flock(fd, LOCK_UN); /* by hand: the mapping keeps the open file, and with it the lock, past the close */
		close(fd);
		if (e || *region_r)
			return e;
	}
	return fail(t, path, "is being replaced all the time");
}
