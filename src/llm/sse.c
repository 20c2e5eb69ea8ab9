/* SPDX-License-Identifier: MIT */
/* sse: the event stream grammar of the HTML standard, one line at a time; a line that is whole in its piece is never copied. */
#include "llm/sse.h"

#define FIELD_ROOM 64 /* what a line may hold besides its data: the field's name, colon, blank, BOM */

void sse_init(struct sse *s, struct task *t, size_t max_event, sse_on_event on_event, void *arg)
{
	*s = (struct sse){ .task = t, .on_event = on_event, .arg = arg, .max_event = max_event };
	buf_init(&s->line, t->arena, 0);
	buf_init(&s->data, t->arena, 0);
	buf_init(&s->name, t->arena, 0);
	buf_init(&s->id, t->arena, 0);
}

static enum err fail_size(struct sse *s)
{
	return task_fail_internal(s->task, ERR_PROVIDER_INVALID, "an event of the stream has more than %zu bytes", s->max_event);
}

/* A blank line ends the event; without a data line there is none. */
static enum err deliver(struct sse *s)
{
	enum err e = ERR_OK;

	if (s->has_data) {
		struct sse_event event = { buf_bytes(&s->name), buf_bytes(&s->data), buf_bytes(&s->id) };

		e = s->on_event(s->arg, &event);
	}
	s->has_data = false;
	buf_clear(&s->data);
	buf_clear(&s->name);
	return e;
}

static enum err add_data(struct sse *s, struct bytes value)
{
	size_t joint = s->has_data ? 1 : 0;

	if (value.n + joint > s->max_event - s->data.n)
		return fail_size(s);
	if (joint)
		buf_add_char(&s->data, '\n');
	buf_add_bytes(&s->data, value);
	s->has_data = true;
	return ERR_OK;
}

static void set_text(struct buf *b, struct bytes value)
{
	buf_clear(b);
	buf_add_bytes(b, value);
}

static enum err take_line(struct sse *s, struct bytes line)
{
	struct bytes name = line, value = { 0 };
	const char *colon;

	if (!s->started && line.n >= 3 && memcmp(line.p, "\xef\xbb\xbf", 3) == 0)
		name = line = (struct bytes){ line.p + 3, line.n - 3 };
	s->started = true;
	if (line.n == 0)
		return deliver(s);
	colon = memchr(line.p, ':', line.n);
	if (colon) {
		name.n = (size_t)(colon - line.p);
		value = (struct bytes){ colon + 1, line.n - name.n - 1 };
		if (value.n > 0 && value.p[0] == ' ')
			value = (struct bytes){ value.p + 1, value.n - 1 };
	}
	if (bytes_equal(name, BYTES("data")))
		return add_data(s, value);
	if (bytes_equal(name, BYTES("event")))
		set_text(&s->name, value);
	else if (bytes_equal(name, BYTES("id")) && (value.n == 0 || !memchr(value.p, '\0', value.n)))
		set_text(&s->id, value);
	return ERR_OK; /* comments, retry and unknown fields */
}

/* The length of the run before the next line end, or all of it. */
static size_t find_line_end(struct bytes piece)
{
	const char *lf = memchr(piece.p, '\n', piece.n);
	size_t n = lf ? (size_t)(lf - piece.p) : piece.n;
	const char *cr = memchr(piece.p, '\r', n);

	return cr ? (size_t)(cr - piece.p) : n;
}

enum err sse_take(struct sse *s, struct bytes piece)
{
	while (piece.n > 0) {
		size_t n;
		enum err e;

		if (s->after_cr && piece.p[0] == '\n') { /* the second half of \r\n */
			piece = (struct bytes){ piece.p + 1, piece.n - 1 };
			s->after_cr = false;
			continue;
		}
		s->after_cr = false;
		n = find_line_end(piece);
		if (n > s->max_event + FIELD_ROOM - s->line.n)
			return fail_size(s);
		if (n == piece.n) {
			buf_add(&s->line, piece.p, n);
			return ERR_OK;
		}
		if (s->line.n > 0) {
			buf_add(&s->line, piece.p, n);
			e = take_line(s, buf_bytes(&s->line));
			buf_clear(&s->line);
		} else {
			e = take_line(s, (struct bytes){ piece.p, n });
		}
		if (e != ERR_OK)
			return e;
		s->after_cr = piece.p[n] == '\r';
		piece = (struct bytes){ piece.p + n + 1, piece.n - n - 1 };
	}
	return ERR_OK;
}

enum err sse_finish(struct sse *s)
{
	if (s->line.n > 0) {
		enum err e = take_line(s, buf_bytes(&s->line));

		buf_clear(&s->line);
		if (e != ERR_OK)
			return e;
	}
	return deliver(s);
}
