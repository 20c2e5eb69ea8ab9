/* SPDX-License-Identifier: MIT */
/* chat_view: events as text or as lines of JSON. */
#include "main/chat_view.h"

#include <stdarg.h>
#include <stdlib.h>

#include "base/jsonx.h"
#include "main/terminal.h"

#define NOTE_COLUMNS 160 /* of a tool's arguments or result */
#define HISTORY_INDENT "       " /* of the second line of a message and those behind it */
#define DIM "\x1b[2m"
#define PLAIN "\x1b[0m"

static struct bytes text_member(struct arena *a, struct bytes json, const char *name)
{
	struct bytes raw = jsonx_member(json, name);
	return jsonx_type(raw) == JSONX_STRING ? jsonx_string(a, raw) : (struct bytes){ NULL, 0 };
}

static int64_t int_member(struct bytes json, const char *name)
{
	struct bytes raw = jsonx_member(json, name);
	return jsonx_type(raw) == JSONX_INT ? jsonx_int(raw) : 0;
}

static void put(struct chat_view *v, struct bytes text)
{
	if (text.n == 0)
		return;
	struct bytes clean = terminal_clean_lines(v->arena, text);
	fwrite(clean.p, 1, clean.n, v->out);
	fflush(v->out);
	v->is_mid_line = clean.n ? clean.p[clean.n - 1] != '\n' : v->is_mid_line;
}

static void end_line(struct chat_view *v)
{
	if (v->is_mid_line)
		fputc('\n', v->out);
	fflush(v->out);
	v->is_mid_line = false;
}

void chat_view_note(struct chat_view *v, const char *fmt, ...)
{
	va_list ap;
	end_line(v);
	fputs(v->has_colour ? DIM : "", v->notes);
	va_start(ap, fmt);
	vfprintf(v->notes, fmt, ap);
	va_end(ap);
	fputs(v->has_colour ? PLAIN "\n" : "\n", v->notes);
	fflush(v->notes);
}

/* Text from outside as part of a note: one line, cut. */
static const char *brief(struct arena *a, struct bytes text)
{
	struct bytes cut = terminal_cut(a, terminal_clean(a, text), NOTE_COLUMNS);
	return arena_copy(a, cut.p, cut.n);
}

/* The text begins anew: what was shown of it came to nothing. */
static void begin_anew(struct chat_view *v, struct bytes why)
{
	if (v->shown.n)
		chat_view_note(v, "[the answer begins anew%s%s]", why.n ? ": " : "", why.n ? brief(v->arena, why) : "");
	buf_clear(&v->shown);
}

/* ---- events ---- */

static void on_turn(struct chat_view *v, struct bytes data)
{
	(void)data;
	begin_anew(v, (struct bytes){ NULL, 0 });
}

static void on_delta(struct chat_view *v, struct bytes data)
{
	struct bytes text = text_member(v->arena, data, "text");
	buf_add_bytes(&v->shown, text);
	put(v, text);
}

static const struct {
	const char *reason, *text;
} reasons[] = {
	{ "retry", "the provider failed and is asked again" },
	{ "failover", "another provider is asked" },
	{ "position", "not all that was shown was stored" },
};

static void on_reset(struct chat_view *v, struct bytes data)
{
	struct bytes reason = text_member(v->arena, data, "reason");
	for (size_t i = 0; i < sizeof reasons / sizeof reasons[0]; i++)
		if (bytes_equal(reason, bytes_of(reasons[i].reason))) {
			begin_anew(v, bytes_of(reasons[i].text));
			return;
		}
	begin_anew(v, reason);
}

/* Makes what is shown the text that it was in the end: adds what is missing, or shows it anew. */
static void settle(struct chat_view *v, struct bytes text)
{
	size_t n = v->shown.n;
	text = bytes_or(text, BYTES(""));
	if (text.n < n || memcmp(text.p, buf_bytes(&v->shown).p, n) != 0) {
		begin_anew(v, (struct bytes){ NULL, 0 });
		n = 0;
	}
	struct bytes rest = { text.p + n, text.n - n };
	buf_add_bytes(&v->shown, rest);
	put(v, rest);
}

static void on_step(struct chat_view *v, struct bytes data)
{
	struct jsonx_walk w;
	struct bytes calls = jsonx_member(data, "tool_calls");
	if (jsonx_type(jsonx_member(data, "text")) == JSONX_STRING)
		settle(v, text_member(v->arena, data, "text"));
	end_line(v);
	if (jsonx_type(calls) == JSONX_ARRAY)
		for (jsonx_walk_begin(&w, calls); jsonx_walk_next(&w);) {
			if (jsonx_type(w.value) != JSONX_OBJECT)
				continue;
			struct bytes arguments = jsonx_member(w.value, "arguments");
			if (jsonx_type(arguments) == JSONX_STRING)
				arguments = jsonx_string(v->arena, arguments);
			chat_view_note(v, "-> %s %s", brief(v->arena, text_member(v->arena, w.value, "name")), brief(v->arena, arguments));
		}
	buf_clear(&v->shown);
}

static void on_tool(struct chat_view *v, struct bytes data)
{
	struct bytes failed = jsonx_member(data, "is_error"), result = jsonx_member(data, "result");
	bool is_error = jsonx_type(failed) == JSONX_BOOL && jsonx_bool(failed);
	if (jsonx_type(result) == JSONX_STRING)
		result = jsonx_string(v->arena, result);
	chat_view_note(v, "<- %s%s %s (%lld ms)", brief(v->arena, text_member(v->arena, data, "name")), is_error ? " failed:" : "", brief(v->arena, result),
		       (long long)int_member(data, "duration_ms"));
}

static void on_queued(struct chat_view *v, struct bytes data)
{
	chat_view_note(v, "[waiting for the turns before this one: %lld]", (long long)int_member(data, "position"));
}

static void on_broken(struct chat_view *v, struct bytes data)
{
	chat_view_note(v, "[%s; taking it up again]", brief(v->arena, text_member(v->arena, data, "detail")));
}

static const struct {
	const char *finish, *note;
} endings[] = {
	{ "cancelled", "[stopped]" },
	{ "length", "[cut off at the agent's limit of length]" },
	{ "filter", "[ended by the provider's filter]" },
	{ "iterations", "[ended after as many steps as the agent may take]" },
	{ "budget", "[ended at a spend cap]" },
};

static void on_done(struct chat_view *v, struct bytes data)
{
	struct bytes finish = text_member(v->arena, data, "finish");
	settle(v, text_member(v->arena, data, "result"));
	end_line(v);
	for (size_t i = 0; i < sizeof endings / sizeof endings[0]; i++)
		if (bytes_equal(finish, bytes_of(endings[i].finish)))
			chat_view_note(v, "%s", endings[i].note);
}

/* Adds up what the turns of this chat took. */
static void count_usage(struct chat_view *v, struct bytes data)
{
	struct bytes usage = jsonx_member(data, "usage");
	if (jsonx_type(usage) != JSONX_OBJECT)
		return;
	struct bytes cost = jsonx_member(usage, "cost");
	v->turns++;
	v->input_tokens += int_member(usage, "input_tokens");
	v->output_tokens += int_member(usage, "output_tokens");
	if (jsonx_type(cost) == JSONX_INT || jsonx_type(cost) == JSONX_REAL)
		v->cost += jsonx_real(cost);
}

static const struct {
	const char *name;
	void (*show)(struct chat_view *v, struct bytes data);
} events[] = {
	{ "turn", on_turn }, { "delta", on_delta }, { "reset", on_reset }, { "step", on_step },
	{ "tool", on_tool }, { "queued", on_queued }, { "broken", on_broken }, { "done", on_done },
};

void chat_view_begin(struct chat_view *v, struct arena *a)
{
	v->arena = a;
	buf_init(&v->shown, a, 1024);
	v->is_mid_line = false;
}

void chat_view_end(struct chat_view *v)
{
	end_line(v);
	v->arena = NULL;
}

/* One line of JSON, whatever blanks its data has; inside of strings there is no line's end. */
static void print_json(struct chat_view *v, struct arena *a, struct bytes name, struct bytes id, struct bytes data)
{
	struct buf b;
	buf_init(&b, a, data.n + 256);
	buf_add_char(&b, '{');
	buf_member_string(&b, "event", name);
	if (id.n)
		buf_member_string(&b, "id", id);
	buf_add_member(&b, "data");
	for (size_t i = 0; i < data.n; i++)
		buf_add_char(&b, data.p[i] == '\n' || data.p[i] == '\r' ? ' ' : data.p[i]);
	if (data.n == 0)
		buf_add_str(&b, "null");
	buf_add_char(&b, '}');
	struct bytes line = buf_bytes(&b);
	if (v->is_terminal)
		line = terminal_clean_json(a, line);
	fwrite(line.p, 1, line.n, v->out);
	fputc('\n', v->out);
	fflush(v->out);
}

void chat_view_event(void *view, const struct chat_event *event)
{
	struct chat_view *v = view;
	if (bytes_equal(event->name, BYTES("done")))
		count_usage(v, event->data);
	if (v->is_json) {
		print_json(v, v->arena, event->name, event->id, event->data);
		return;
	}
	for (size_t i = 0; i < sizeof events / sizeof events[0]; i++)
		if (bytes_equal(event->name, bytes_of(events[i].name)))
			events[i].show(v, event->data);
}

bool chat_view_json(struct chat_view *v, struct arena *a, const char *name, struct bytes json)
{
	if (v->is_json)
		print_json(v, a, bytes_of(name), (struct bytes){ NULL, 0 }, json);
	return v->is_json;
}

/* ---- failures ---- */

static const struct {
	const char *code, *advice;
} advices[] = {
	{ "turn_running", "wait until that one has ended, then send it again" },
	{ "session_ended", "begin another session: leave, and start without --session" },
	{ "spend_cap_reached", "nothing more is sent to the model until the cap is raised or its period is over" },
	{ "unauthenticated", "is the key right, and has it not been revoked?" },
	{ "token_expired", "leave, and begin again with a fresh token or a key" },
	{ "worker_lost", "/regenerate asks again" },
	{ "provider_refused", "the agent's provider, its key or model may be wrong" },
	{ "provider_rate_limited", "/regenerate asks again" },
	{ "provider_failed", "/regenerate asks again" },
	{ "provider_cut", "/regenerate asks again" },
	{ "provider_invalid", "/regenerate asks again" },
	{ "provider_timeout", "/regenerate asks again" },
	{ "provider_unreachable", "/regenerate asks again" },
	{ "busy", "send it again in a moment" },
	{ "unavailable", "send it again in a moment" },
};

void chat_view_failure(struct chat_view *v, struct task *t, enum err e, const struct chat_talk *talk)
{
	const struct fault *f = &t->fault;
	const char *why = f->detail && f->detail[0] ? f->detail : f->fields ? f->fields->detail : err_title(e), *advice = NULL;
	end_line(v);
	for (size_t i = 0; i < sizeof advices / sizeof advices[0]; i++)
		if (strcmp(talk->code, advices[i].code) == 0)
			advice = advices[i].advice;
	if (v->is_json) {
		struct buf b;
		buf_init(&b, t->arena, 256);
		buf_add_char(&b, '{');
		buf_member_str(&b, "code", talk->code[0] ? talk->code : err_code(e));
		buf_member_str(&b, "detail", why);
		buf_add_char(&b, '}');
		print_json(v, t->arena, BYTES("failed"), (struct bytes){ NULL, 0 }, buf_bytes(&b));
		return;
	}
	fprintf(v->notes, "parley: %s", brief(t->arena, bytes_of(why)));
	if (talk->retry_after_s > 0)
		fprintf(v->notes, " (try again in %d s)", talk->retry_after_s);
	fprintf(v->notes, "%s%s\n", advice ? "; " : "", advice ? advice : "");
	fflush(v->notes);
}

/* ---- history ---- */

/* A message's content: its text, the other parts by their type. */
static void put_content(struct chat_view *v, struct arena *a, struct bytes content)
{
	struct jsonx_walk w;
	struct buf b;
	buf_init(&b, a, content.n + 32);
	if (jsonx_type(content) == JSONX_STRING)
		buf_add_bytes(&b, jsonx_string(a, content));
	else if (jsonx_type(content) != JSONX_ARRAY)
		buf_add_str(&b, "(deleted)");
	else
		for (jsonx_walk_begin(&w, content); jsonx_walk_next(&w);) {
			struct bytes text = jsonx_type(w.value) == JSONX_OBJECT ? text_member(a, w.value, "text") : (struct bytes){ NULL, 0 };
			struct bytes type = jsonx_type(w.value) == JSONX_OBJECT ? text_member(a, w.value, "type") : (struct bytes){ NULL, 0 };
			struct bytes json = jsonx_type(w.value) == JSONX_OBJECT ? jsonx_member(w.value, "json") : (struct bytes){ NULL, 0 };
			if (text.p || json.n)
				buf_add_bytes(&b, text.p ? text : json);
			else
				buf_addf(&b, "[%.*s]", (int)type.n, type.n ? type.p : "");
		}
	struct bytes clean = terminal_clean_lines(a, buf_bytes(&b));
	for (size_t i = 0; i < clean.n; i++) {
		fputc(clean.p[i], v->out);
		if (clean.p[i] == '\n')
			fputs(HISTORY_INDENT, v->out);
	}
	fputc('\n', v->out);
}

void chat_view_history(struct chat_view *v, struct arena *a, struct bytes list)
{
	struct jsonx_walk w;
	struct bytes data = jsonx_type(list) == JSONX_OBJECT ? jsonx_member(list, "data") : list, rows[CHAT_VIEW_ROWS];
	size_t n = 0;
	if (jsonx_type(data) != JSONX_ARRAY)
		return;
	for (jsonx_walk_begin(&w, data); n < CHAT_VIEW_ROWS && jsonx_walk_next(&w);)
		if (jsonx_type(w.value) == JSONX_OBJECT)
			rows[n++] = w.value;
	while (n-- > 0) {
		struct bytes role = terminal_clean(a, text_member(a, rows[n], "role"));
		fprintf(v->out, "%5lld  %.*s: ", (long long)int_member(rows[n], "seq"), (int)role.n, role.p);
		put_content(v, a, jsonx_member(rows[n], "content"));
	}
	fflush(v->out);
}
