/* SPDX-License-Identifier: MIT */
/* move_file: the file of an export. Its header comes first and is known last, so its place is kept free and filled in at the end. */
#include "app/move_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define AHEAD 65536
#define READ_STEP 262144
#define LINE_MAX_SIZE ((size_t)64 << 20)

static enum err fail_errno(struct task *t, const char *what)
{
	return task_fail(t, ERR_UNAVAILABLE, "%s: %s", what, strerror(errno));
}

enum err move_spool(struct task *t, int *fd_r)
{
	const char *dir = getenv("TMPDIR");
	char *path = arena_printf(t->arena, "%s/parley-XXXXXX", dir && dir[0] ? dir : "/tmp");
	*fd_r = mkostemp(path, O_CLOEXEC);
	if (*fd_r < 0)
		return fail_errno(t, "a temporary file cannot be made");
	unlink(path);
	return ERR_OK;
}

static enum err write_at(struct task *t, int fd, const char *p, size_t n, int64_t offset)
{
	while (n > 0) {
		ssize_t done = pwrite(fd, p, n, offset);
		if (done < 0 && errno == EINTR)
			continue;
		if (done <= 0)
			return fail_errno(t, "the export cannot be written");
		p += done;
		n -= (size_t)done;
		offset += done;
	}
	return ERR_OK;
}

void move_out_begin(struct task *t, struct move_out *out, int fd)
{
	*out = (struct move_out){ .fd = fd };
	buf_init(&out->ahead, t->arena, AHEAD * 2);
	secret_digest_begin(&out->digest);
}

static enum err flush(struct task *t, struct move_out *out)
{
	enum err e = write_at(t, out->fd, out->ahead.p, out->ahead.n, MOVE_HEADER_SIZE + out->written);
	if (e)
		return e;
	out->written += (int64_t)out->ahead.n;
	buf_clear(&out->ahead);
	return ERR_OK;
}

enum err move_out_add(struct task *t, struct move_out *out, const struct move_line *line)
{
	size_t from = out->ahead.n;
	move_line_format(&out->ahead, line);
	secret_digest_add(&out->digest, out->ahead.p + from, out->ahead.n - from);
	out->counts.lines++;
	out->counts.sessions += line->type == MOVE_SESSION;
	out->counts.conversations += line->type == MOVE_CONVERSATION;
	out->counts.messages += line->type == MOVE_MESSAGE;
	return out->ahead.n >= AHEAD ? flush(t, out) : ERR_OK;
}

struct move_mark move_out_mark(const struct move_out *out)
{
	return (struct move_mark){ out->written, out->ahead.n, out->digest, out->counts };
}

enum err move_out_return(struct task *t, struct move_out *out, const struct move_mark *mark)
{
	if (out->written == mark->written) {
		out->ahead.n = mark->ahead;
	} else { /* what waited then has been written since */
		out->written = mark->written + (int64_t)mark->ahead;
		buf_clear(&out->ahead);
		if (ftruncate(out->fd, MOVE_HEADER_SIZE + out->written) != 0)
			return fail_errno(t, "the export cannot be written");
	}
	out->digest = mark->digest;
	out->counts = mark->counts;
	return ERR_OK;
}

enum err move_out_end(struct task *t, struct move_out *out, struct bytes scope, struct bytes site, int64_t *size_r)
{
	unsigned char hash[SECRET_HASH_SIZE];
	char hex[2 * SECRET_HASH_SIZE + 1], line[MOVE_HEADER_SIZE];
	enum err e = flush(t, out);
	if (e)
		return e;
	secret_digest_end(&out->digest, hash);
	secret_hex(hash, sizeof hash, hex);
	struct move_header h = { .version = MOVE_VERSION, .scope = scope, .site = site, .checksum = bytes_of(hex), .counts = out->counts };
	move_header_format(&h, line);
	*size_r = MOVE_HEADER_SIZE + out->written;
	return write_at(t, out->fd, line, sizeof line, 0);
}

/* Makes room behind what is held, then reads on; *got_r is 0 at the end. */
static enum err read_more(struct task *t, struct move_in *in, size_t *got_r)
{
	ssize_t got;
	*got_r = 0;
	if (in->fd < 0)
		return ERR_OK;
	if (in->begin > 0)
		memmove(in->p, in->p + in->begin, in->end - in->begin);
	in->end -= in->begin;
	in->begin = 0;
	if (in->end >= LINE_MAX_SIZE)
		return task_fail(t, ERR_INVALID, "a line of more than %zu bytes", LINE_MAX_SIZE);
	if (in->room - in->end < READ_STEP) {
		size_t room = in->room * 2;
		in->p = arena_grow(t->arena, in->p, in->room, room);
		in->room = room;
	}
	do
		got = pread(in->fd, in->p + in->end, in->room - in->end, in->offset);
	while (got < 0 && errno == EINTR);
	if (got < 0)
		return fail_errno(t, "the file cannot be read");
	in->end += (size_t)got;
	in->offset += got;
	*got_r = (size_t)got;
	return ERR_OK;
}

/* The next line with its newline; none at the end. */
static enum err next_line(struct task *t, struct move_in *in, struct bytes *line_r)
{
	size_t seen = 0, got = 1;
	*line_r = (struct bytes){ NULL, 0 };
	for (;;) {
		const char *from = in->p + in->begin, *eol = in->end > in->begin + seen ? memchr(from + seen, '\n', in->end - in->begin - seen) : NULL;
		if (eol) {
			*line_r = (struct bytes){ from, (size_t)(eol - from) + 1 };
			in->begin += line_r->n;
			return ERR_OK;
		}
		seen = in->end - in->begin;
		enum err e = got ? read_more(t, in, &got) : ERR_OK;
		if (e)
			return e;
		if (!got)
			return seen ? task_fail(t, ERR_INVALID, "the file is cut off inside its last line") : ERR_OK;
	}
}

enum err move_in_begin(struct task *t, struct move_in *in, int fd, struct bytes memory)
{
	struct bytes line;
	*in = (struct move_in){ .fd = fd };
	secret_digest_begin(&in->digest);
	if (fd < 0) {
		in->p = (char *)memory.p; /* nothing writes to it: there is never more to read */
		in->end = memory.n;
	} else {
		in->room = 2 * READ_STEP;
		in->p = arena_alloc(t->arena, in->room);
	}
	enum err e = next_line(t, in, &line);
	if (e)
		return e;
	if (!line.p)
		return task_fail(t, ERR_INVALID, "the file is empty");
	struct bytes copy = arena_bytes(t->arena, (struct bytes){ line.p, line.n - 1 }); /* the header outlives the buffer's content */
	return move_header_parse(t, copy, &in->header);
}

enum err move_in_next(struct task *t, struct move_in *in, struct bytes *line_r)
{
	enum err e = next_line(t, in, line_r);
	if (e || !line_r->p)
		return e;
	secret_digest_add(&in->digest, line_r->p, line_r->n);
	in->n_lines++;
	line_r->n--;
	return ERR_OK;
}

enum err move_in_check(struct task *t, struct move_in *in)
{
	unsigned char hash[SECRET_HASH_SIZE];
	char hex[2 * SECRET_HASH_SIZE + 1];
	secret_digest_end(&in->digest, hash);
	secret_hex(hash, sizeof hash, hex);
	if (in->n_lines != in->header.counts.lines)
		return task_fail(t, ERR_INVALID, "the file has %lld lines behind its header, which says %lld: it is cut off, or was changed",
				 (long long)in->n_lines, (long long)in->header.counts.lines);
	if (!bytes_equal(bytes_of(hex), in->header.checksum))
		return task_fail(t, ERR_INVALID, "the file is not as it was exported: its checksum is another");
	return ERR_OK;
}
