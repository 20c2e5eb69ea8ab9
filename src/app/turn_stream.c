/* SPDX-License-Identifier: MIT */
/* turn_stream: events out of a turn's log, as it is made or as it was saved. A follower looks into the database; it shares nothing with who runs the turn. */
#include "app/turn_stream.h"

#include <stdio.h>

#include "app/dispatch.h"
#include "app/turn_log.h"
#include "base/stamp.h"

#define EVENT_ID_SIZE (IDENT_SIZE + 24)
#define LOOK_MS 200

void turn_stream_init(struct turn_stream *s, struct call *c, const struct head *h, struct turn *turn)
{
	*s = (struct turn_stream){ .c = c, .head = h, .turn = turn, .waited_at = stamp_mono_ms() };
	buf_init(&s->data, c->task->arena, 512);
}

void turn_stream_begin(struct turn_stream *s)
{
	struct http_response *rs = s->c->rs;
	if (rs->is_streaming)
		return;
	/* Whoever waits for a reader that takes nothing holds up the turn's provider. */
	http_stream_hurry(rs, s->c->app->conf->turn_lease / 4);
	http_stream_begin(rs);
}

void turn_stream_send(struct turn_stream *s, const char *event, struct bytes data, int64_t at)
{
	char id[EVENT_ID_SIZE], turn[IDENT_SIZE];
	ident_format(PREFIX_TURN, &s->turn->id, turn);
	snprintf(id, sizeof id, "%s:%lld", turn, (long long)at);
	s->waited_at = stamp_mono_ms();
	if (!s->c->rs->is_client_gone)
		http_stream_event(s->c->rs, at < 0 ? NULL : id, event, data);
}

void turn_stream_text(struct turn_stream *s, struct bytes text, int64_t at)
{
	buf_clear(&s->data);
	buf_add_char(&s->data, '{');
	buf_member_string(&s->data, "text", text);
	buf_add_char(&s->data, '}');
	turn_stream_send(s, "delta", buf_bytes(&s->data), at);
}

void turn_stream_add_names(struct buf *b, const struct head *h, const struct turn *turn)
{
	buf_member_string(b, "session_id", head_id(h));
	if (!ident_is_zero(&turn->id))
		render_ident(b, "turn_id", PREFIX_TURN, &turn->id);
}

struct buf *turn_stream_open(struct turn_stream *s)
{
	buf_clear(&s->data);
	buf_add_char(&s->data, '{');
	turn_stream_add_names(&s->data, s->head, s->turn);
	return &s->data;
}

void turn_stream_close(struct turn_stream *s, const char *event, int64_t at)
{
	buf_add_char(&s->data, '}');
	turn_stream_send(s, event, buf_bytes(&s->data), at);
}

static void add_error(struct buf *b, struct bytes code, int status, struct bytes detail, int retry_after_s)
{
	buf_member_string(b, "code", code);
	buf_member_int(b, "status", status);
	buf_member_string(b, "detail", detail);
	if (retry_after_s > 0)
		buf_member_int(b, "retry_after", retry_after_s);
}

void turn_stream_error(struct turn_stream *s, enum err e, int64_t at)
{
	const struct fault *f = &s->c->task->fault;
	struct buf *b = turn_stream_open(s);
	add_error(b, bytes_of(err_code(e)), err_status(e), bytes_of(f->detail ? f->detail : err_title(e)), dispatch_retry_after(s->c->task, e));
	turn_stream_close(s, "error", at);
}

/* `error`, as it was stored. */
static void send_failure(struct turn_stream *s, int64_t at)
{
	const struct turn *u = s->turn;
	enum err e = err_find(arena_copy(s->c->task->arena, u->error_code.p, u->error_code.n));
	struct buf *b = turn_stream_open(s);
	add_error(b, u->error_code, e == ERR_COUNT ? 502 : err_status(e), u->error_detail, 0);
	turn_stream_close(s, "error", at);
}

size_t turn_stream_replay(struct turn_stream *s, struct bytes log, size_t from)
{
	struct turn_log_item item;
	if (!turn_log_is_place(log, from)) {
		turn_stream_send(s, TURN_LOG_RESET, BYTES("{\"reason\":\"position\"}"), 0);
		from = 0;
	}
	while (turn_log_read(log, from, &item)) {
		char event[16];
		snprintf(event, sizeof event, "%.*s", (int)item.event.n, item.event.n ? item.event.p : "");
		if (item.event.n)
			turn_stream_send(s, event, item.data, (int64_t)item.end);
		else
			turn_stream_text(s, item.data, (int64_t)item.end);
		from = item.end;
	}
	return from;
}

bool turn_stream_wait(struct turn_stream *s, int ms)
{
	struct http_response *rs = s->c->rs;
	if (!http_stream_wait(rs, ms))
		return false;
	if (rs->is_streaming && stamp_mono_ms() - s->waited_at >= s->c->app->conf->sse_heartbeat) {
		http_stream_heartbeat(rs);
		s->waited_at = stamp_mono_ms();
	}
	return !rs->is_client_gone;
}

/*
 * Whether the log that readers' positions are in may have been erased with messages, and what stands there now is another text: the answer was redacted, or
 * there were steps, of which the log always tells.
 */
static bool is_erased(const struct turn *u, struct bytes answer)
{
	struct bytes message = jsonx_member(answer, "message");
	return u->answer_seq - u->user_seq > 1 || jsonx_member(message, "redacted_at").p || jsonx_member(message, "deleted_at").p;
}

/* Sends the end of a turn that has ended: what of its log is missing, then `done` or `error`. */
static enum err send_end(struct turn_stream *s, struct head *h, size_t from)
{
	struct task *t = s->c->task;
	struct turn *u = s->turn;
	struct bytes answer, log = u->log;
	if (u->status == TURN_FAILED) {
		send_failure(s, (int64_t)turn_stream_replay(s, log, from));
		return ERR_OK;
	}
	enum err e = turn_read_answer(t, s->c->app, h, u, &answer);
	if (e)
		return e;
	if (log.n == 0) {
		log = jsonx_string(t->arena, jsonx_member(answer, "result"));
		if (from > 0 && is_erased(u, answer))
			from = SIZE_MAX; /* no place of it */
	}
	turn_stream_send(s, "done", answer, (int64_t)turn_stream_replay(s, log, from));
	return ERR_OK;
}

/* Looks until the turn runs no more, and sends what comes; *is_gone_r: the client is. */
static enum err look(struct turn_stream *s, size_t *at, bool *is_gone_r)
{
	struct app *app = s->c->app;
	struct task part;
	int status = TURN_RUNNING;
	size_t known_n = 0;
	enum err e = ERR_OK;
	task_open_part(&part, s->c->task);
	while (!e && status == TURN_RUNNING && !*is_gone_r) {
		struct bytes log;
		bool is_lost;
		e = turn_peek(&part, app, &s->turn->site, &s->turn->id, known_n, &status, &is_lost, &log);
		if (!e && is_lost)
			break;
		if (!e && status == TURN_RUNNING && log.n >= *at) /* who saw it come may know more than was saved */
			*at = turn_stream_replay(s, log, *at);
		if (log.n)
			known_n = log.n;
		e = task_take_fault(s->c->task, &part, e);
		task_reset_part(&part);
		*is_gone_r = !turn_stream_wait(s, status == TURN_RUNNING ? LOOK_MS : 0);
	}
	task_close_part(&part);
	return e;
}

enum err turn_stream_follow(struct turn_stream *s, struct head *h, size_t from)
{
	struct app *app = s->c->app;
	struct task *t = s->c->task;
	bool is_gone = false;
	enum err e = ERR_OK;
	turn_stream_begin(s);
	if (s->c->rs->is_head)
		return ERR_OK;
	if (s->turn->status == TURN_RUNNING)
		e = look(s, &from, &is_gone);
	if (!e && !is_gone && s->turn->status == TURN_RUNNING)
		e = turn_get(t, app, h, &s->turn->id, s->turn);
	if (!e && !is_gone)
		e = send_end(s, h, from);
	if (e)
		turn_stream_error(s, e, (int64_t)from);
	return e;
}
