/* SPDX-License-Identifier: MIT */
/* move_file: the file of an export: written line by line with its checksum, and read back line by line. */
#ifndef PARLEY_APP_MOVE_FILE_H
#define PARLEY_APP_MOVE_FILE_H

#include "app/move_line.h"
#include "base/secret.h"

/* A file being written. Offsets count from behind the header's place. */
struct move_out {
	int fd;            /* a regular file; the caller's */
	struct buf ahead;  /* lines that are not in the file yet */
	int64_t written;   /* bytes that are */
	struct secret_digest digest;
	struct move_counts counts;
};

/* A place in it to go back to. */
struct move_mark {
	int64_t written;
	size_t ahead;
	struct secret_digest digest;
	struct move_counts counts;
};

/* A file without a name for what is to be handed on, gone with its descriptor; in the directory that TMPDIR names, or /tmp. ERR_UNAVAILABLE. */
enum err move_spool(struct task *t, int *fd_r) MUST_CHECK;

/* Starts to write to an empty file; lines that wait are in the task's arena, about 64 KB of them and the longest line. */
void move_out_begin(struct task *t, struct move_out *out, int fd);
enum err move_out_add(struct task *t, struct move_out *out, const struct move_line *line) MUST_CHECK;

/* Where it stands, and back there: what was added since is taken out again. */
struct move_mark move_out_mark(const struct move_out *out);
enum err move_out_return(struct task *t, struct move_out *out, const struct move_mark *mark) MUST_CHECK;

/* Writes what waits, and the header with counts and checksum. size_r: bytes of the whole file. */
enum err move_out_end(struct task *t, struct move_out *out, struct bytes scope, struct bytes site, int64_t *size_r) MUST_CHECK;

/* A file being read, from a descriptor or from memory. */
struct move_in {
	int fd;          /* -1: from memory */
	char *p;         /* what was read and not handed out: begin..end */
	size_t begin, end, room;
	int64_t offset;  /* of the file's next byte to read */
	int64_t n_lines; /* handed out behind the header */
	struct secret_digest digest;
	struct move_header header;
};

/*
 * Begins at the file's first byte and reads its header; the buffer is in the task's arena. ERR_INVALID when the header is none, or the file is
 * cut inside it.
 */
enum err move_in_begin(struct task *t, struct move_in *in, int fd, struct bytes memory) MUST_CHECK;

/*
 * The next line without its newline, valid until the next call; no bytes (NULL p) at the end. ERR_INVALID for a last line without its newline,
 * or one of more than 64 MB.
 */
enum err move_in_next(struct task *t, struct move_in *in, struct bytes *line_r) MUST_CHECK;

/* At the end: whether lines and checksum are those of the header. ERR_INVALID. */
enum err move_in_check(struct task *t, struct move_in *in) MUST_CHECK;

#endif
