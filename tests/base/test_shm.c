/* SPDX-License-Identifier: MIT */
/* test_shm: memory is zeroed and shared, through a fork or a file; a file that does not match is replaced, not changed. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/shm.h"

static struct arena *a;
static struct task t;
static char directory[] = "/tmp/parley-shm-XXXXXX";
static char path[64];

static void setup(void)
{
	a = arena_open(0);
	task_init(&t, a);
	cr_assert_not_null(mkdtemp(directory));
	snprintf(path, sizeof(path), "%s/shared", directory);
}

static void teardown(void)
{
	unlink(path);
	rmdir(directory);
	arena_close(&a);
}

TestSuite(shm, .init = setup, .fini = teardown);

static char *mapped(const char *file, size_t size)
{
	void *region = NULL;
	cr_assert_eq(shm_map(&t, file, size, &region), ERR_OK, "%s", t.fault.detail);
	cr_assert_eq((uintptr_t)region % 64, 0, "a region must begin on a cache line");
	return region;
}

static void write_file(const char *text, size_t n, mode_t mode)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, mode);
	cr_assert(fd >= 0 && write(fd, text, n) == (ssize_t)n && fchmod(fd, mode) == 0);
	close(fd);
}

Test(shm, memory_without_a_file_is_zeroed_and_shared_with_children)
{
	char *p = mapped("", 10000);
	for (int i = 0; i < 10000; i++)
		cr_assert_eq(p[i], 0);
	pid_t child = fork();
	if (child == 0) {
		p[9999] = 'x';
		_exit(0);
	}
	waitpid(child, NULL, 0);
	cr_assert_eq(p[9999], 'x');
	cr_assert_neq(mapped(NULL, 10000), p);
}

Test(shm, a_file_is_made_for_this_user_alone_and_shared_by_all_that_map_it)
{
	struct stat st;
	char *first = mapped(path, 5000);
	for (int i = 0; i < 5000; i++)
		cr_assert_eq(first[i], 0);
	cr_assert(stat(path, &st) == 0 && (st.st_mode & 0777) == 0600);
	char *second = mapped(path, 5000);
	cr_assert_neq(first, second);
	first[0] = 'a';
	second[4999] = 'z';
	cr_assert(second[0] == 'a' && first[4999] == 'z');
}

Test(shm, a_file_of_another_size_or_format_is_replaced_and_the_old_one_stays_usable)
{
	char *old = mapped(path, 5000);
	memset(old, 'o', 5000);
	char *new = mapped(path, 6000);
	for (int i = 0; i < 6000; i++)
		cr_assert_eq(new[i], 0);
	cr_assert_eq(old[4999], 'o');
	write_file("something else", 14, 0600);
	new = mapped(path, 6000);
	cr_assert_eq(new[0], 0);
	struct stat st;
	cr_assert_eq(stat(path, &st), 0);
	char *zeros = arena_alloc(a, (size_t)st.st_size);
	write_file(zeros, (size_t)st.st_size, 0600); /* as left by a crash before the header was written */
	new = mapped(path, 6000);
	new[0] = 'n';
	cr_assert_eq(mapped(path, 6000)[0], 'n');
}

Test(shm, a_file_that_others_may_use_is_refused)
{
	void *region;
	write_file("", 0, 0644);
	cr_assert_eq(shm_map(&t, path, 100, &region), ERR_CONFIG);
	cr_assert_not_null(strstr(t.fault.detail, path));
}

Test(shm, links_directories_and_impossible_paths_are_refused)
{
	void *region;
	char *link = arena_printf(a, "%s/link", directory);
	mapped(path, 100);
	cr_assert_eq(symlink(path, link), 0);
	cr_assert_eq(shm_map(&t, link, 100, &region), ERR_CONFIG);
	unlink(link);
	cr_assert_eq(shm_map(&t, directory, 100, &region), ERR_CONFIG);
	cr_assert_eq(shm_map(&t, "/nonexistent/shared", 100, &region), ERR_CONFIG);
}

Test(shm, processes_that_start_at_once_share_one_file)
{
	enum { CHILDREN = 12 };
	write_file("wrong", 5, 0600); /* which all of them want to replace */
	for (int i = 0; i < CHILDREN; i++) {
		if (fork() == 0) {
			void *region;
			if (shm_map(&t, path, 4096, &region))
				_exit(1);
			atomic_fetch_add((_Atomic int *)region, 1);
			_exit(0);
		}
	}
	for (int i = 0; i < CHILDREN; i++) {
		int status;
		wait(&status);
		cr_assert_eq(status, 0);
	}
	cr_assert_eq(atomic_load((_Atomic int *)(void *)mapped(path, 4096)), CHILDREN);
}
