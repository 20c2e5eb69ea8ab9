/* SPDX-License-Identifier: MIT */
/* shm: memory shared by the processes of an install, made before the fork or mapped from a file. */
#ifndef PARLEY_BASE_SHM_H
#define PARLEY_BASE_SHM_H

#include <stddef.h>

#include "base/task.h"

/*
 * Maps `size` zeroed bytes, shared with processes forked later. With a path (shared_file) the mapping is that file, made with mode
 * 0600 when absent, so that unrelated processes of one user share it; a file of another size or format version is replaced.
 * ERR_CONFIG with a fault on failure.
 */
enum err shm_map(struct task *t, const char *path, size_t size, void **region_r) MUST_CHECK;

#endif
