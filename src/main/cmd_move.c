/* SPDX-License-Identifier: MIT */
/* cmd_move: `parley export` and `parley import`. */
#include "main/cmd_move.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "app/head.h"
#include "app/move_api.h"
#include "app/site.h"
#include "base/stamp.h"
#include "main/main.h"

#define COPY_STEP 65536
#define METER_MS 100
#define USERS_FILE_MAX (64 << 20)

/* The site named by --site, or the only one. */
static enum err find_site(struct cli *c, const struct cli_option *o, struct site *s_r)
{
	struct site *list;
	size_t n;
	if (o->n)
		return site_find_by_name(c->task, c->app, o->values[o->n - 1], s_r);
	enum err e = site_list(c->task, c->app, &list, &n);
	if (!e && n != 1)
		e = task_fail(c->task, ERR_USAGE, "there are %zu sites: name one with --site", n);
	if (!e)
		*s_r = list[0];
	return e;
}

/* One line on a terminal, rewritten. */
struct meter {
	bool is_terminal;
	bool has_line;
	int64_t next_at; /* monotonic ms at which it is written again */
};

static bool is_due(struct meter *m)
{
	if (!m->is_terminal || stamp_mono_ms() < m->next_at)
		return false;
	m->next_at = stamp_mono_ms() + METER_MS;
	return m->has_line = true;
}

static void end_line(struct meter *m)
{
	if (m->has_line)
		fputs("\r\033[K", stderr);
	m->has_line = false;
}

static void show_export(void *arg, const struct move_counts *done)
{
	struct meter *m = arg;
	if (is_due(m))
		fprintf(stderr, "\r\033[K%lld sessions, %lld messages", (long long)done->sessions, (long long)done->messages);
}

static void show_import(void *arg, const struct move_counts *done, const struct move_counts *all)
{
	struct meter *m = arg;
	if (all->lines && is_due(m))
		fprintf(stderr, "\r\033[K%lld %%", (long long)(done->lines * 100 / all->lines));
}

static enum err fail_file(struct task *t, const char *path)
{
	return task_fail(t, ERR_USAGE, "%s: %s", path, strerror(errno));
}

/* Copies all of a descriptor that can only be read on, or n bytes of a file from its beginning. */
static enum err copy(struct task *t, int from, bool is_file, int to, const char *path)
{
	char *p = arena_alloc(t->arena, COPY_STEP);
	for (int64_t at = 0;;) {
		ssize_t got = is_file ? pread(from, p, COPY_STEP, at) : read(from, p, COPY_STEP);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return fail_file(t, path);
		if (got == 0)
			return ERR_OK;
		for (ssize_t done = 0, n; done < got; done += n) {
			n = write(to, p + done, (size_t)(got - done));
			if (n < 0 && errno == EINTR)
				n = 0;
			if (n < 0)
				return fail_file(t, path);
		}
		at += got;
	}
}

/* ---- export ---- */

/* A file gets its name when it is whole: it is written beside it and renamed. */
static enum err open_output(struct task *t, const char *path, const char **beside_r, int *fd_r)
{
	*beside_r = NULL;
	if (strcmp(path, "-") == 0)
		return move_spool(t, fd_r);
	*beside_r = arena_printf(t->arena, "%s.part", path);
	*fd_r = open(*beside_r, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	return *fd_r < 0 ? fail_file(t, *beside_r) : ERR_OK;
}

static enum err close_output(struct task *t, enum err e, const char *path, const char *beside, int fd)
{
	if (!beside) {
		if (!e)
			e = copy(t, fd, true, STDOUT_FILENO, "standard output");
	} else if (e) {
		unlink(beside);
	} else if (fsync(fd) != 0 || rename(beside, path) != 0) {
		e = fail_file(t, path);
		unlink(beside);
	}
	close(fd);
	return e;
}

int cmd_move_export(struct cli *c, struct move_export *x, struct bytes output)
{
	struct meter m = { .is_terminal = isatty(STDERR_FILENO) };
	struct move_counts n;
	const char *path = output.p ? output.p : "-", *beside;
	int64_t size;
	int fd;
	if (!output.p && isatty(STDOUT_FILENO)) {
		fputs("parley: an export is not for a terminal: name a file with --output, or send it on\n", stderr);
		return EXIT_USAGE;
	}
	x->progress = show_export;
	x->arg = &m;
	enum err e = open_output(c->task, path, &beside, &fd);
	if (e)
		return cli_fail(c, e);
	e = move_export(c->task, c->app, x, fd, &n, &size);
	end_line(&m);
	e = close_output(c->task, e, path, beside, fd);
	if (e)
		return cli_fail(c, e);
	FILE *to = beside ? stdout : stderr; /* the file itself went to standard output */
	if (c->wants_json)
		fprintf(to, "{\"sessions\":%lld,\"conversations\":%lld,\"messages\":%lld,\"bytes\":%lld,\"unreadable\":%lld}\n", (long long)n.sessions,
			(long long)n.conversations, (long long)n.messages, (long long)size, (long long)x->n_corrupt);
	else if (beside)
		printf("%lld sessions, %lld conversations, %lld messages, %lld bytes\n", (long long)n.sessions, (long long)n.conversations,
		       (long long)n.messages, (long long)size);
	if (x->n_corrupt)
		fprintf(stderr, "parley: %lld records could not be read: messages are without content, sessions were left out\n", (long long)x->n_corrupt);
	return x->n_corrupt ? EXIT_FAILED : EXIT_OK;
}

static struct bytes last_value(const struct cli_option *o)
{
	return o->n ? o->values[o->n - 1] : (struct bytes){ NULL, 0 };
}

static int cmd_export(struct cli *c)
{
	struct cli_option o[] = { { .name = "--site" }, { .name = "--user" }, { .name = "--session" }, { .name = "--output" }, { .name = NULL } };
	struct bytes none[1];
	size_t n_words;
	struct site s;
	struct head h;
	if (!cli_parse(c, o, none, 0, &n_words) || (o[1].n && o[2].n)) {
		fputs("usage: parley export [--site S] [--user U | --session ID] [--output FILE|-]\n", stderr);
		return EXIT_USAGE;
	}
	enum err e = find_site(c, &o[0], &s);
	if (e)
		return cli_fail(c, e);
	struct move_export x = { .site = s.id, .site_name = s.name, .user = last_value(&o[1]) };
	if (o[2].n) {
		e = head_find(c->task, c->app, &s.id, last_value(&o[2]), &h);
		if (e)
			return cli_fail(c, e);
		x.session = h.session;
	}
	return cmd_move_export(c, &x, last_value(&o[3]));
}

/* ---- import ---- */

static enum err add_user(struct task *t, struct move_import *m, struct bytes from, struct bytes to)
{
	if (from.n < 1 || from.n > 128 || to.n < 1 || to.n > 128)
		return task_fail(t, ERR_USAGE, "a user's name has 1 to 128 bytes: %.*s=%.*s", (int)from.n, from.p, (int)to.n, to.p);
	for (size_t i = 0; i < m->n_users && m->n_users <= CLI_VALUES; i++)
		if (bytes_equal(m->users[i].from, from))
			return task_fail(t, ERR_USAGE, "the user %.*s is mapped twice", (int)from.n, from.p);
	m->users = arena_grow(t->arena, m->users, m->n_users * sizeof *m->users, (m->n_users + 1) * sizeof *m->users);
	m->users[m->n_users++] = (struct move_user){ from, to };
	return ERR_OK;
}

/* A JSON object: {"old name":"new name"}. */
static enum err read_users(struct task *t, const char *path, struct move_import *m)
{
	struct jsonx_flaw flaw;
	struct jsonx_walk w;
	struct buf b;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return fail_file(t, path);
	buf_init(&b, t->arena, COPY_STEP);
	ssize_t got;
	while ((got = read(fd, buf_room(&b, COPY_STEP), COPY_STEP)) > 0 && b.n < USERS_FILE_MAX)
		b.n += (size_t)got;
	close(fd);
	if (got != 0)
		return task_fail(t, ERR_USAGE, "%s: cannot be read, or is too large", path);
	if (!jsonx_check_strict(t->arena, buf_bytes(&b), &flaw) || jsonx_type(buf_bytes(&b)) != JSONX_OBJECT)
		return task_fail(t, ERR_USAGE, "%s: is no JSON object of names", path);
	enum err e = ERR_OK;
	jsonx_walk_begin(&w, buf_bytes(&b));
	while (!e && jsonx_walk_next(&w)) {
		if (jsonx_type(w.value) != JSONX_STRING)
			return task_fail(t, ERR_USAGE, "%s: %.*s is mapped to no string", path, (int)w.raw_key.n, w.raw_key.p);
		e = add_user(t, m, jsonx_string(t->arena, w.raw_key), jsonx_string(t->arena, w.value));
	}
	return e;
}

static enum err read_maps(struct task *t, const struct cli_option *maps, const struct cli_option *files, struct move_import *m)
{
	enum err e = ERR_OK;
	for (size_t i = 0; !e && i < maps->n; i++) {
		struct bytes v = maps->values[i];
		const char *equals = memchr(v.p, '=', v.n);
		if (!equals)
			return task_fail(t, ERR_USAGE, "--map-user takes OLD=NEW, not %s", v.p);
		e = add_user(t, m, (struct bytes){ v.p, (size_t)(equals - v.p) }, (struct bytes){ equals + 1, (size_t)(v.p + v.n - equals - 1) });
	}
	for (size_t i = 0; !e && i < files->n; i++)
		e = read_users(t, files->values[i].p, m);
	return e;
}

/* What comes in on standard input is kept, since it is read twice. */
static enum err open_input(struct task *t, const char *path, int *fd_r)
{
	if (strcmp(path, "-") == 0) {
		enum err e = move_spool(t, fd_r);
		return e ? e : copy(t, STDIN_FILENO, false, *fd_r, "standard input");
	}
	*fd_r = open(path, O_RDONLY | O_CLOEXEC);
	return *fd_r < 0 ? fail_file(t, path) : ERR_OK;
}

static void print_import(const struct cli *c, const struct move_import *m, bool is_discard)
{
	const char *what = is_discard ? "removed" : m->is_dry ? "would be imported" : "imported";
	if (c->wants_json) {
		struct buf b;
		buf_init(&b, c->task->arena, 256);
		move_import_render(&b, m);
		printf("%s\n", buf_bytes(&b).p);
		return;
	}
	printf("%lld sessions, %lld conversations, %lld messages %s", (long long)m->done.sessions, (long long)m->done.conversations,
	       (long long)m->done.messages, what);
	if (m->n_agents || m->n_templates)
		printf("; %lld agents, %lld templates made", (long long)m->n_agents, (long long)m->n_templates);
	if (m->n_skipped)
		printf("; %lld sessions left out that were there", (long long)m->n_skipped);
	if (m->resumed_at)
		printf("; went on behind line %lld", (long long)m->resumed_at + 1);
	putchar('\n');
}

static int cmd_import(struct cli *c)
{
	struct cli_option o[] = { { .name = "--site" }, { .name = "--dry-run", .is_flag = true }, { .name = "--map-user" }, { .name = "--map-users" },
				  { .name = "--skip-existing", .is_flag = true }, { .name = "--discard", .is_flag = true }, { .name = NULL } };
	struct meter meter = { .is_terminal = isatty(STDERR_FILENO) };
	struct bytes path, nothing = { NULL, 0 };
	size_t n_words;
	struct site s;
	int fd = -1;
	if (!cli_parse(c, o, &path, 1, &n_words) || n_words != 1 || (o[1].n && o[5].n)) {
		fputs("usage: parley import FILE|- [--site S] [--dry-run | --discard] [--map-user OLD=NEW]... [--map-users FILE] [--skip-existing]\n", stderr);
		return EXIT_USAGE;
	}
	enum err e = find_site(c, &o[0], &s);
	if (e)
		return cli_fail(c, e);
	struct move_import m = { .site = s.id, .is_dry = o[1].n > 0, .skips_existing = o[4].n > 0, .progress = show_import, .arg = &meter };
	e = read_maps(c->task, &o[2], &o[3], &m);
	if (!e)
		e = open_input(c->task, path.p, &fd);
	if (!e)
		e = o[5].n ? move_discard(c->task, c->app, &m, fd, nothing) : move_import(c->task, c->app, &m, fd, nothing);
	end_line(&meter);
	if (fd >= 0)
		close(fd);
	if (e)
		return cli_fail(c, e);
	print_import(c, &m, o[5].n > 0);
	return EXIT_OK;
}

const struct cli_command cmd_move_commands[] = {
	{ "export", "[--site S] [--user U | --session ID] [--output FILE|-]", "Write a site's sessions, a user's or one as JSON lines", CLI_NEEDS_APP, cmd_export },
	{ "import", "FILE|- [--site S] [--dry-run | --discard] [--map-user OLD=NEW]... [--map-users FILE] [--skip-existing]",
	  "Read what export wrote; one that was interrupted goes on when repeated, or is taken back with --discard", CLI_NEEDS_APP, cmd_import },
	{ .name = NULL },
};
