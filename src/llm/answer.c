/* SPDX-License-Identifier: MIT */
/* answer: errors of providers, and answers that are streams of JSON events, in any pieces. */
#include "llm/answer.h"

#define MAX_ERROR_TEXT 2048 /* of an error's body in the log */
#define MAX_COUNT 1000000000000000 /* sums of a few counts are far from overflowing */

enum err answer_fail_protocol(struct task *t, const char *why)
{
	return task_fail_internal(t, ERR_PROVIDER_INVALID, "the provider's answer: %s", why);
}

/* ---- errors ---- */

static struct bytes cut_text(struct bytes text, size_t max)
{
	if (text.n <= max)
		return text;
	while (max > 0 && ((unsigned char)text.p[max] & 0xc0) == 0x80)
		max--;
	return (struct bytes){ text.p, max };
}

/* Bytes of unknown make, harmless in a log. */
static struct bytes plain_text(struct arena *a, struct bytes body)
{
	char *copy;

	body = cut_text(body, MAX_ERROR_TEXT);
	copy = arena_copy(a, body.p, body.n);
	for (size_t i = 0; i < body.n; i++) {
		if (copy[i] < 0x20 || copy[i] > 0x7e)
			copy[i] = copy[i] == '\n' || copy[i] == '\r' || copy[i] == '\t' ? ' ' : '?';
	}
	return (struct bytes){ copy, body.n };
}

/* Some servers wrap their error in a list. */
static struct bytes unwrap(struct bytes body)
{
	struct jsonx_walk w;

	if (jsonx_type(body) != JSONX_ARRAY)
		return body;
	jsonx_walk_begin(&w, body);
	return jsonx_walk_next(&w) ? w.value : body;
}

/* What an error's body says, for the log: its message where it has one. */
static struct bytes describe_error(struct task *t, struct bytes body)
{
	struct bytes error, object, text = { 0 };
	struct jsonx_flaw flaw;

	if (!jsonx_check_strict(t->arena, body, &flaw))
		return plain_text(t->arena, body);
	object = unwrap(body);
	error = member_of(object, "error");
	if (is_string(error))
		text = error;
	else if (is_string(member_of(error, "message")))
		text = member_of(error, "message");
	else if (is_string(member_of(object, "message")))
		text = member_of(object, "message");
	else
		return plain_text(t->arena, body);
	return cut_text(jsonx_string(t->arena, text), MAX_ERROR_TEXT);
}

static enum err error_of_status(int64_t status)
{
	if (status == 429)
		return ERR_PROVIDER_RATE;
	if (status >= 500 || status == 408 || status == 409 || status == 425) /* these pass too */
		return ERR_PROVIDER_FAILED;
	return status >= 400 ? ERR_PROVIDER_REFUSED : ERR_PROVIDER_INVALID;
}

enum err answer_fail_status(struct task *t, int status, int retry_after_s, struct bytes body)
{
	struct bytes text = describe_error(t, body);
	enum err e = error_of_status(status);

	task_fail_internal(t, e, "the provider answered %d: %.*s", status, (int)text.n, text.p ? text.p : "");
	t->fault.retry_after_s = retry_after_s;
	return e;
}

/* Three digits, as a number or, with some servers, as a string; 0 for anything else. */
static int64_t read_status(struct arena *a, struct bytes code)
{
	if (is_string(code)) {
		code = jsonx_string(a, code);
		if (code.n != 3 || code.p[0] < '1' || code.p[0] > '9' || !jsonx_check(a, code, &(struct jsonx_flaw){ 0 }))
			return 0;
	}
	return jsonx_type(code) == JSONX_INT ? jsonx_int(code) : 0;
}

/*
 * What an error inside an answer means: a failure, unless it says that the request was wrong or came too soon. Such a one is in the hands of whoever
 * wrote the prompt, and must count for no breaker.
 */
static enum err error_inside(struct arena *a, struct bytes data)
{
	static const char *const refusals[] = { "invalid_request_error", "authentication_error", "permission_error", "not_found_error", "billing_error" };
	struct bytes object = unwrap(data), error = member_of(object, "error"), type;
	int64_t status;

	error = jsonx_type(error) == JSONX_OBJECT ? error : object;
	status = read_status(a, member_of(error, "code"));
	type = member_of(error, "type");
	if (status >= 400 && status < 600)
		return error_of_status(status);
	for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++) {
		if (string_is(a, type, bytes_of(refusals[i])))
			return ERR_PROVIDER_REFUSED;
	}
	return string_is(a, type, BYTES("rate_limit_error")) ? ERR_PROVIDER_RATE : ERR_PROVIDER_FAILED;
}

enum err answer_fail_inside(struct task *t, struct bytes data)
{
	struct bytes text = describe_error(t, data);
	struct jsonx_flaw flaw;
	enum err e = jsonx_check_strict(t->arena, data, &flaw) ? error_inside(t->arena, data) : ERR_PROVIDER_FAILED;

	return task_fail_internal(t, e, "the provider's answer is an error: %.*s", (int)text.n, text.p ? text.p : "");
}

bool answer_count(struct bytes raw, int64_t *count_r)
{
	enum jsonx_type type = jsonx_type(raw);
	int64_t n = -1;

	if (type == JSONX_INT)
		n = jsonx_int(raw);
	else if (type == JSONX_REAL && jsonx_real(raw) >= 0 && jsonx_real(raw) < MAX_COUNT)
		n = (int64_t)jsonx_real(raw);
	if (n < 0 || n > MAX_COUNT)
		return false;
	*count_r = n;
	return true;
}

/* ---- the stream ---- */

static bool is_error(struct bytes value)
{
	struct bytes error = member_of(unwrap(value), "error");

	return error.n > 0 && jsonx_type(error) != JSONX_NULL;
}

/* Takes an event or a document that has passed the check. */
static enum err take_value(struct llm_answer *an, struct bytes value)
{
	struct jsonx_walk w;
	enum err e = ERR_OK;

	if (is_error(value))
		return answer_fail_inside(an->task, value);
	if (jsonx_type(value) == JSONX_OBJECT)
		return an->take(an->arg, value);
	if (jsonx_type(value) != JSONX_ARRAY || !an->is_bare)
		return answer_fail_protocol(an->task, "it is no JSON object");
	jsonx_walk_begin(&w, value);
	while (e == ERR_OK && !an->is_done && jsonx_walk_next(&w)) {
		if (is_error(w.value))
			e = answer_fail_inside(an->task, w.value);
		else if (jsonx_type(w.value) != JSONX_OBJECT)
			e = answer_fail_protocol(an->task, "it is no JSON object");
		else
			e = an->take(an->arg, w.value);
	}
	return e;
}

static enum err take_event(void *arg, const struct sse_event *event)
{
	struct llm_answer *an = arg;
	struct bytes data = event->data;
	struct jsonx_flaw flaw;

	while (data.n > 0 && is_blank(data.p[data.n - 1]))
		data.n--;
	if (an->is_done || data.n == 0)
		return ERR_OK;
	an->has_event = true;
	if (bytes_equal(event->name, BYTES("error")))
		return answer_fail_inside(an->task, data);
	if (an->end_mark.n > 0 && bytes_equal(data, an->end_mark)) {
		an->is_done = true;
		return ERR_OK;
	}
	arena_reset(an->scratch);
	if (!jsonx_check_strict(an->scratch, data, &flaw)) /* a line that was cut off is no nonsense */
		return an->is_ending ? ERR_OK : answer_fail_protocol(an->task, flaw.reason);
	return take_value(an, data);
}

static void close_scratch(void *arg)
{
	struct arena *scratch = arg;

	arena_close(&scratch);
}

void answer_begin(struct llm_answer *an, struct task *t, int status, int retry_after_s, const struct llm_events *ev, struct llm_result *result_r)
{
	an->task = t;
	an->ev = ev;
	an->result = result_r;
	an->status = status;
	an->retry_after_s = retry_after_s;
	an->scratch = arena_open(4096);
	arena_defer(t->arena, close_scratch, an->scratch);
	sse_init(&an->sse, t, ANSWER_MAX_EVENT, take_event, an);
	buf_init(&an->text, t->arena, 0);
	buf_init(&an->body, t->arena, 0);
}

/* Bytes of the piece in front of bare JSON: no line of an event stream starts with a bracket. */
static size_t find_bare(struct llm_answer *an, struct bytes piece)
{
	for (size_t i = 0; i < piece.n; i++) {
		char c = piece.p[i];

		if (c == '\n' || c == '\r') {
			an->is_in_line = false;
		} else if (!is_blank(c)) {
			an->has_bytes = true;
			an->is_bare = !an->is_in_line && (c == '{' || c == '[');
			if (an->is_bare)
				return i;
			an->is_in_line = true;
		}
	}
	return piece.n;
}

enum err answer_take(struct llm_answer *an, struct bytes piece)
{
	if (an->is_done)
		return ERR_OK;
	if (an->status >= 300) {
		size_t room = ANSWER_MAX_ERROR - an->body.n;

		buf_add(&an->body, piece.p, piece.n < room ? piece.n : room);
		return piece.n <= room ? ERR_OK : answer_fail_status(an->task, an->status, an->retry_after_s, buf_bytes(&an->body));
	}
	if (!an->is_bare) {
		size_t n = find_bare(an, piece);
		enum err e = sse_take(&an->sse, (struct bytes){ piece.p, n });

		if (an->is_done) {
			task_clear_fault(an->task);
			return ERR_OK;
		}
		if (e != ERR_OK)
			return e;
		piece = (struct bytes){ piece.p + n, piece.n - n };
	}
	buf_add_bytes(&an->body, piece);
	return ERR_OK;
}

bool answer_is_whole(const struct llm_answer *an)
{
	return an->is_done || an->has_finish;
}

/* What begins with a bracket: an error, or the whole answer of a server that does not stream. */
static enum err end_bare(struct llm_answer *an)
{
	struct bytes body = buf_bytes(&an->body);
	struct jsonx_flaw flaw;

	arena_reset(an->scratch);
	if (!jsonx_check_strict(an->scratch, body, &flaw))
		return an->has_finish ? ERR_OK : answer_fail_protocol(an->task, flaw.reason);
	if (an->has_event && !is_error(body))
		return an->has_finish ? ERR_OK : answer_fail_protocol(an->task, "a line of its stream is no event");
	return take_value(an, body);
}

enum err answer_end(struct llm_answer *an)
{
	enum err e = ERR_OK;

	if (an->status >= 300)
		return answer_fail_status(an->task, an->status, an->retry_after_s, buf_bytes(&an->body));
	an->is_ending = true;
	if (!an->is_done)
		e = sse_finish(&an->sse);
	if (e == ERR_OK && an->is_bare && !an->is_done)
		e = end_bare(an);
	if (e != ERR_OK)
		return e;
	if (answer_is_whole(an))
		return ERR_OK;
	if (an->has_bytes && (!an->has_event || an->is_bare))
		return answer_fail_protocol(an->task, an->is_bare ? "it has no end" : "it is no event stream");
	return task_fail_internal(an->task, ERR_PROVIDER_CUT, "the provider's stream ended without a finish");
}

enum err answer_add_text(struct llm_answer *an, struct bytes text)
{
	if (text.n == 0)
		return ERR_OK;
	buf_add_bytes(&an->text, text);
	an->result->text = buf_bytes(&an->text);
	return an->ev->on_text ? an->ev->on_text(an->ev->arg, text) : ERR_OK;
}
