/* SPDX-License-Identifier: MIT */
/*
 * fuzz_chat: what a server answers to `parley chat`: a status byte, then pieces with a length byte each; each request gets the rest of the input. Whatever
 * comes, the terminal is given nothing but printable characters and line ends.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/secret.h"
#include "main/chat_talk.h"
#include "main/chat_view.h"
#include "main/terminal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static enum err ask(void *arg, struct task *t, const struct chat_ask *q, const struct chat_taker *to)
{
	static const int statuses[] = { 200, 200, 200, 409, 502, 404, 204, 201 };
	struct bytes *in = arg;
	if (in->n == 0)
		return task_fail(t, ERR_INTERNAL, "no more");
	int status = statuses[(unsigned char)in->p[0] % 8];
	for (const char *p = q->path; *p; p++)
		if (*p <= ' ' || *p > '~')
			abort();
	if (q->last_event_id && strpbrk(q->last_event_id, "\r\n"))
		abort();
	*in = (struct bytes){ in->p + 1, in->n - 1 };
	enum err e = to->on_status(to->arg, status, 0);
	while (!e && in->n > 1 && in->p[0] != 0) {
		size_t n = (unsigned char)in->p[0];
		n = n < in->n - 1 ? n : in->n - 1;
		e = to->on_body(to->arg, (struct bytes){ in->p + 1, n });
		*in = (struct bytes){ in->p + 1 + n, in->n - 1 - n };
	}
	if (in->n)
		*in = (struct bytes){ in->p + 1, in->n - 1 };
	return e;
}

static void check(const char *text, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		unsigned char c = (unsigned char)text[i];
		if ((c < ' ' && c != '\n' && c != '\t') || c == 0x7f || (c == 0xc2 && i + 1 < n && (unsigned char)text[i + 1] < 0xa0))
			abort();
	}
}

static void converse(struct arena *a, struct chat_talk *talk, struct chat_view *v)
{
	struct task t;
	struct bytes json;
	struct chat_watch watch = { v, chat_view_event };
	task_init(&t, a);
	chat_view_begin(v, a);
	enum err e = chat_talk_say(talk, &t, BYTES("a"), &watch);
	chat_view_end(v);
	if (e)
		chat_view_failure(v, &t, e, talk);
	if (chat_talk_history(talk, &t, 20, &json) == ERR_OK)
		chat_view_history(v, a, json);
	chat_view_begin(v, a);
	if (chat_talk_regenerate(talk, &t, &watch) != ERR_OK)
		chat_view_failure(v, &t, ERR_INTERNAL, talk);
	chat_view_end(v);
	(void)!chat_talk_branch(talk, &t, 1, &json);
	(void)!chat_talk_cancel(talk, &t);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *out = NULL, *notes = NULL;
	size_t out_n = 0, notes_n = 0;
	struct bytes in = { (const char *)data, size };
	struct chat_link link = { &in, ask };
	struct chat_talk talk;
	struct task t;
	struct arena *a = arena_open(0);
	struct chat_view v = { .out = open_memstream(&out, &out_n), .notes = open_memstream(&notes, &notes_n), .is_json = size && data[size - 1] % 4 == 0,
			       .is_terminal = true };
	secret_init();
	terminal_init();
	task_init(&t, a);
	enum err e = chat_talk_open(&talk, &t, &link, "pk_x", BYTES("agent"), (struct bytes){ NULL, 0 }, BYTES("title"),
				    size && data[size - 1] % 8 == 1 ? BYTES("own id") : (struct bytes){ NULL, 0 });
	talk.pause_ms = 0;
	if (!e)
		converse(a, &talk, &v);
	chat_talk_close(&talk);
	fclose(v.out);
	fclose(v.notes);
	check(out, out_n);
	check(notes, notes_n);
	free(out);
	free(notes);
	arena_close(&a);
	return 0;
}
