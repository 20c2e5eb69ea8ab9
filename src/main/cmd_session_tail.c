/* SPDX-License-Identifier: MIT */
/* cmd_session_tail: a conversation's newest messages as text, and those that come as long as one looks. */
#include "main/cmd_session.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "app/conversation.h"
#include "app/message.h"
#include "base/stamp.h"
#include "main/main.h"
#include "main/terminal.h"

#define LINES_DEFAULT 10
#define LINES_MAX 1000 /* at once; what is more comes with the next look */
#define POLL_MS 500

/* What is being looked at, and how far. */
struct tail {
	struct ident site, session;
	struct bytes conversation; /* NULL p: the active one, whichever that is */
	struct ident seen_in;
	int64_t seen;
	int64_t lines;
};

/* A message's content as text: parts that are not text by their type. */
static void add_content(struct arena *a, struct buf *b, struct bytes content)
{
	struct jsonx_walk w;
	if (jsonx_type(content) == JSONX_STRING)
		buf_add_bytes(b, jsonx_string(a, content));
	else if (jsonx_type(content) != JSONX_ARRAY)
		buf_add_str(b, content.n ? "(deleted)" : "(cannot be read)");
	else
		for (jsonx_walk_begin(&w, content); jsonx_walk_next(&w);) {
			struct bytes text = jsonx_member(w.value, "text"), type = jsonx_member(w.value, "type");
			if (b->n)
				buf_add_char(b, ' ');
			if (jsonx_type(text) == JSONX_STRING)
				buf_add_bytes(b, jsonx_string(a, text));
			else
				buf_addf(b, "[%.*s]", type.n > 2 ? (int)type.n - 2 : 0, type.n > 2 ? type.p + 1 : "");
		}
}

/* Each line of a text cleaned by itself, the later ones indented. */
static void print_text(struct arena *a, struct bytes text, int indent)
{
	for (size_t at = 0, n; at <= text.n; at += n + 1) {
		const char *end = at < text.n ? memchr(text.p + at, '\n', text.n - at) : NULL;
		n = end ? (size_t)(end - text.p) - at : text.n - at;
		struct bytes line = terminal_clean(a, (struct bytes){ text.p + at, n });
		printf("%*s%.*s\n", at ? indent : 0, "", (int)line.n, line.p);
	}
}

static void print_message(struct cli *c, struct arena *a, const struct message_row *m)
{
	struct buf b;
	char when[STAMP_SIZE];
	buf_init(&b, a, 256 + m->content.n);
	if (c->wants_json) {
		render_message(&b, m);
		struct bytes json = isatty(STDOUT_FILENO) ? terminal_clean_json(a, buf_bytes(&b)) : buf_bytes(&b);
		printf("%.*s\n", (int)json.n, json.p);
		return;
	}
	stamp_format(m->created_at, when);
	when[10] = ' ';
	when[19] = 0;
	printf("%5lld  %s  %-9s  ", (long long)m->seq, when, role_name(m->role));
	add_content(a, &b, m->content);
	print_text(a, buf_bytes(&b), 39);
}

/* Prints what came since the last look; after another conversation became the active one, that one's newest. */
static enum err look(struct cli *c, struct task *t, struct tail *x)
{
	struct head h;
	struct message_row *rows;
	size_t n = 0;
	enum err e = head_load(t, c->app, &x->site, &x->session, &h);
	if (e)
		return e;
	head_settle(t, c->app, &h);
	e = conversation_enter(t, c->app, &h, x->conversation);
	if (e)
		return e;
	if (!ident_equal(&h.conversation, &x->seen_in) || h.last_seq < x->seen)
		x->seen = h.last_seq > x->lines ? h.last_seq - x->lines : 0;
	x->seen_in = h.conversation;
	struct rows_line line = head_line(&h);
	if (h.last_seq > x->seen)
		e = rows_read(t, c->app, NULL, &line, x->seen + 1, h.last_seq, LINES_MAX, false, &rows, &n);
	for (size_t i = 0; !e && i < n; i++) {
		print_message(c, t->arena, &rows[i]);
		x->seen = rows[i].seq;
	}
	fflush(stdout);
	return e;
}

/* Each look has memory of its own, so that one may look for days. */
static enum err follow(struct cli *c, struct tail *x)
{
	struct arena *a = arena_open(1 << 16);
	struct task t;
	enum err e = ERR_OK;
	while (!e && !ferror(stdout)) {
		nanosleep(&(struct timespec){ .tv_nsec = POLL_MS * 1000000 }, NULL);
		task_init(&t, a);
		e = look(c, &t, x);
		if (e)
			e = task_fail(c->task, e, "%s", t.fault.detail ? t.fault.detail : err_title(e));
		arena_reset(a);
	}
	arena_close(&a);
	return e;
}

int cmd_session_tail(struct cli *c)
{
	struct cli_option o[] = { { .name = "--site" }, { .name = "--lines" }, { .name = "--conversation" }, { .name = "--follow", .is_flag = true }, { .name = NULL } };
	struct bytes ref;
	size_t n;
	struct head h;
	struct tail x = { .lines = LINES_DEFAULT };
	char *end = NULL;
	bool is_parsed = cli_parse(c, o, &ref, 1, &n) && n == 1;
	if (is_parsed && o[1].n)
		x.lines = strtoll(o[1].values[o[1].n - 1].p, &end, 10);
	if (!is_parsed || (end && *end) || x.lines < 1 || x.lines > LINES_MAX) {
		fputs("usage: parley session tail SESSION [--site S] [--lines 1..1000] [--conversation CNV] [--follow]\n", stderr);
		return EXIT_USAGE;
	}
	enum err e = cmd_session_find(c, &o[0], ref, &h);
	if (!e) {
		x.site = h.site;
		x.session = h.session;
		if (o[2].n)
			x.conversation = o[2].values[o[2].n - 1];
		e = look(c, c->task, &x);
	}
	if (!e && o[3].n)
		e = follow(c, &x);
	return e ? cli_fail(c, e) : EXIT_OK;
}
