/* SPDX-License-Identifier: MIT */
/*
 * chat_talk: requests of a conversation over a link. A message keeps its path, body, credential and key through all tries, so that the server knows
 * it again. An answer that breaks off is first followed from its last event; when that cannot be done the message is sent again, which
 * gives the stored answer or runs the turn if it never began.
 */
#include "main/chat_talk.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/jsonx.h"
#include "base/secret.h"
#include "llm/sse.h"

#define ANSWER_MAX (64 << 20)
#define EVENT_MAX (64 << 20)
#define TRIES 12 /* without a single event in between: about half a minute */
#define PAUSE_MS 100
#define PAUSE_MAX_MS 4000

static const struct bytes nothing = { NULL, 0 };

/* A request's answer: a JSON document, or the events of a turn. */
struct reading {
	struct chat_talk *talk;
	struct task *task;
	const struct chat_watch *watch; /* NULL: no events are expected */
	int status;
	struct buf body;
	struct sse sse;
	bool has_event, is_ended; /* something came; done or error came */
	enum err outcome;         /* of an error event */
	char last_id[CHAT_EVENT_ID];
};

static void copy_text(char *to, size_t size, struct bytes text)
{
	size_t n = text.n < size ? text.n : size - 1;
	memcpy(to, text.n ? text.p : "", n);
	to[n] = 0;
}

static struct bytes string_member(struct arena *a, struct bytes json, const char *name)
{
	struct bytes raw = jsonx_type(json) == JSONX_OBJECT ? jsonx_member(json, name) : nothing;
	return jsonx_type(raw) == JSONX_STRING ? jsonx_string(a, raw) : nothing;
}

/* Fails as a problem or an error event says. */
static enum err fail_as_told(struct reading *r, struct bytes json)
{
	struct arena *a = r->task->arena;
	struct bytes code = string_member(a, json, "code"), detail = string_member(a, json, "detail"), after = jsonx_member(json, "retry_after");
	copy_text(r->talk->code, sizeof r->talk->code, code);
	if (jsonx_type(after) == JSONX_INT)
		r->talk->retry_after_s = (int)jsonx_int(after);
	enum err e = err_find(r->talk->code);
	if (e == ERR_OK || e == ERR_COUNT)
		e = ERR_INTERNAL;
	return task_fail(r->task, e, "%.*s", (int)detail.n, detail.n ? detail.p : "");
}

/* Fails with what an answer other than 2xx says: a problem, or a gateway's page. */
static enum err fail_with_status(struct reading *r)
{
	struct jsonx_flaw flaw;
	struct bytes body = buf_bytes(&r->body);
	if (jsonx_check(r->task->arena, body, &flaw) && jsonx_type(body) == JSONX_OBJECT && jsonx_member(body, "code").n)
		return fail_as_told(r, body);
	if (r->status >= 502 && r->status <= 504) /* the web server's own: parley restarts, or is not there */
		return task_fail(r->task, ERR_PROVIDER_CUT, "the server answered with status %d", r->status);
	return task_fail(r->task, ERR_INTERNAL, "the server answered with status %d%s", r->status, r->status == 404 ? ": is --url right?" : "");
}

/* Whether a text may go into a path or a header as it is. */
static bool is_visible(struct bytes text)
{
	for (size_t i = 0; i < text.n; i++)
		if (text.p[i] <= ' ' || text.p[i] > '~')
			return false;
	return text.n > 0;
}

/* Keeps what a `turn` event says of session and token. */
static void take_names(struct reading *r, struct bytes data)
{
	struct chat_talk *talk = r->talk;
	struct arena *a = r->task->arena;
	struct bytes session = string_member(a, data, "session_id"), turn = string_member(a, data, "turn_id"), token = string_member(a, data, "token");
	pthread_mutex_lock(&talk->lock);
	if (session.n && session.n < sizeof talk->session)
		copy_text(talk->session, sizeof talk->session, session);
	talk->is_made = talk->is_made || session.n > 0;
	if (turn.n < sizeof talk->turn && is_visible(turn))
		copy_text(talk->turn, sizeof talk->turn, turn);
	/* A publishable key starts sessions; its session goes on with the token. */
	if (strncmp(talk->credential, "pk_", 3) == 0 && token.n < sizeof talk->credential && is_visible(token))
		copy_text(talk->credential, sizeof talk->credential, token);
	pthread_mutex_unlock(&talk->lock);
}

static enum err on_event(void *arg, const struct sse_event *event)
{
	struct reading *r = arg;
	struct jsonx_flaw flaw;
	if (!jsonx_check(r->task->arena, event->data, &flaw) || jsonx_type(event->data) != JSONX_OBJECT)
		return task_fail(r->task, ERR_PROVIDER_INVALID, "an event of the server is no JSON object");
	if (r->is_ended)
		return ERR_OK;
	r->has_event = true;
	if (event->id.n < sizeof r->last_id && is_visible(event->id))
		copy_text(r->last_id, sizeof r->last_id, event->id);
	if (bytes_equal(event->name, BYTES("turn")))
		take_names(r, event->data);
	r->watch->on_event(r->watch->arg, &(struct chat_event){ event->name, event->data, event->id });
	if (bytes_equal(event->name, BYTES("error")))
		r->outcome = fail_as_told(r, event->data);
	r->is_ended = r->outcome || bytes_equal(event->name, BYTES("done"));
	return ERR_OK;
}

static enum err on_status(void *arg, int status, int retry_after_s)
{
	struct reading *r = arg;
	r->status = status;
	r->talk->retry_after_s = retry_after_s;
	return ERR_OK;
}

static enum err on_body(void *arg, struct bytes piece)
{
	struct reading *r = arg;
	if (r->status == 200 && r->watch)
		return sse_take(&r->sse, piece);
	if (r->body.n + piece.n > ANSWER_MAX)
		return task_fail(r->task, ERR_PROVIDER_INVALID, "the server's answer has more than %d bytes", ANSWER_MAX);
	buf_add_bytes(&r->body, piece);
	return ERR_OK;
}

static enum err run(struct reading *r, const struct chat_ask *q)
{
	struct chat_talk *talk = r->talk;
	struct chat_taker to = { r, on_status, on_body };
	r->status = 0;
	r->outcome = ERR_OK;
	talk->retry_after_s = 0;
	talk->code[0] = 0;
	buf_init(&r->body, r->task->arena, 512);
	sse_init(&r->sse, r->task, EVENT_MAX, on_event, r);
	enum err e = talk->link->ask(talk->link->arg, r->task, q, &to);
	if (!e && (r->status < 200 || r->status > 299))
		e = fail_with_status(r);
	if (e == ERR_PROVIDER_INVALID && !r->task->fault.detail)
		e = task_fail(r->task, e, "the server's answer made no sense");
	return e;
}

/* ---- a turn ---- */

/* A message on its way: what it is sent with stays the same. */
struct sending {
	struct reading r;
	struct chat_ask post;
	bool cannot_follow; /* the server knows no such turn, or no such route */
	bool was_sent;
};

static const char *turn_path(struct chat_talk *talk, struct arena *a, const char *rest);

/* Whether the same request may do better in a moment. */
static bool is_passing(const struct sending *s, enum err e)
{
	if (e == ERR_PROVIDER_CUT || (e == ERR_UNAVAILABLE && s->r.status == 0))
		return true;
	return s->was_sent && (e == ERR_REQUEST_RUNNING || e == ERR_BUSY || e == ERR_UNAVAILABLE || e == ERR_COMMIT_UNKNOWN);
}

/* One try: follows the turn when it is known, else sends the message. */
static enum err try_once(struct sending *s)
{
	struct chat_talk *talk = s->r.talk;
	struct chat_ask follow = { .method = "GET", .credential = talk->credential, .last_event_id = s->r.last_id[0] ? s->r.last_id : NULL };
	bool is_follow = talk->turn[0] && !s->cannot_follow;
	if (is_follow)
		follow.path = turn_path(talk, s->r.task->arena, "/stream");
	s->r.has_event = false;
	enum err e = run(&s->r, is_follow ? &follow : &s->post);
	if (is_follow && (e == ERR_NOT_FOUND || e == ERR_METHOD_NOT_ALLOWED)) {
		s->cannot_follow = true;
		return task_fail(s->r.task, ERR_PROVIDER_CUT, "the turn cannot be followed");
	}
	if (!e && !s->r.is_ended)
		e = task_fail(s->r.task, ERR_PROVIDER_CUT, "the answer broke off");
	return s->r.is_ended ? s->r.outcome : e;
}

static void tell_broken(struct sending *s)
{
	struct buf b;
	const char *detail = s->r.task->fault.detail;
	buf_init(&b, s->r.task->arena, 256);
	buf_add_char(&b, '{');
	buf_member_str(&b, "detail", detail ? detail : "");
	buf_add_char(&b, '}');
	s->r.watch->on_event(s->r.watch->arg, &(struct chat_event){ .name = BYTES("broken"), .data = buf_bytes(&b) });
}

static void pause_for(int ms)
{
	nanosleep(&(struct timespec){ ms / 1000, ms % 1000 * 1000000L }, NULL);
}

/* Sends it until its answer has ended or there is no hope. */
static enum err carry(struct sending *s)
{
	struct chat_talk *talk = s->r.talk;
	int pause = talk->pause_ms;
	enum err e = ERR_OK;
	for (int tries = 0; tries < TRIES; tries++) {
		e = try_once(s);
		if (s->r.is_ended || !is_passing(s, e) || (talk->is_stopping && !talk->turn[0]))
			break;
		s->was_sent = true;
		if (s->r.has_event) { /* it goes on; the count begins again */
			tries = 0;
			pause = talk->pause_ms;
		}
		if (tries == 0)
			tell_broken(s);
		pause_for(pause);
		pause = pause * 2 > PAUSE_MAX_MS ? PAUSE_MAX_MS : pause * 2;
		task_clear_fault(s->r.task);
	}
	pthread_mutex_lock(&talk->lock);
	talk->turn[0] = 0;
	pthread_mutex_unlock(&talk->lock);
	return e;
}

/* Sends a turn's request under a key of its own. */
static enum err send(struct chat_talk *talk, struct task *t, const char *path, struct bytes body, const struct chat_watch *watch)
{
	unsigned char random[16];
	char key[2 * sizeof random + 1];
	struct sending s = { .r = { .talk = talk, .task = t, .watch = watch } };
	secret_random(random, sizeof random);
	secret_hex(random, sizeof random, key);
	s.post = (struct chat_ask){ .method = "POST", .path = path, .body = body, .credential = arena_strdup(t->arena, talk->credential),
				    .idempotency_key = key };
	talk->is_stopping = false;
	return carry(&s);
}

/* ---- paths ---- */

/* Adds a segment of a path, percent-encoded. */
static void add_segment(struct buf *b, struct bytes text)
{
	for (size_t i = 0; i < text.n; i++) {
		unsigned char c = (unsigned char)text.p[i];
		bool is_plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || (c && strchr("-._~:@", c));
		if (is_plain)
			buf_add_char(b, (char)c);
		else
			buf_addf(b, "%%%02X", c);
	}
}

/* The path of the session with `rest` behind it. */
static const char *session_path(struct chat_talk *talk, struct arena *a, const char *rest)
{
	struct buf b;
	buf_init(&b, a, 128);
	buf_add_str(&b, "/v1/sessions/");
	add_segment(&b, bytes_of(talk->session));
	buf_add_str(&b, rest);
	return buf_bytes(&b).p;
}

static const char *turn_path(struct chat_talk *talk, struct arena *a, const char *rest)
{
	return session_path(talk, a, arena_printf(a, "/turns/%s%s", talk->turn, rest));
}

/* One small request; *json_r is its answer's body, checked. */
static enum err call(struct chat_talk *talk, struct task *t, const char *method, const char *path, struct bytes body, struct bytes *json_r)
{
	struct reading r = { .talk = talk, .task = t };
	struct jsonx_flaw flaw;
	struct chat_ask q = { .method = method, .path = path, .body = body, .credential = talk->credential };
	enum err e = run(&r, &q);
	*json_r = e || !r.body.n ? nothing : buf_bytes(&r.body);
	if (json_r->n && (!jsonx_check(t->arena, *json_r, &flaw) || jsonx_type(*json_r) != JSONX_OBJECT))
		return task_fail(t, ERR_PROVIDER_INVALID, "the server's answer is no JSON: is --url right?");
	return e;
}

static enum err need_session(struct chat_talk *talk, struct task *t)
{
	return talk->is_made ? ERR_OK : task_fail(t, ERR_NOT_FOUND, "nothing has been said yet");
}

/* ---- open ---- */

static enum err find_session(struct chat_talk *talk, struct task *t)
{
	struct bytes json;
	enum err e = call(talk, t, "GET", session_path(talk, t->arena, ""), nothing, &json);
	if (e == ERR_NOT_FOUND && strcmp(talk->code, "not_found") == 0 && strncmp(talk->session, "ses_", 4) != 0) {
		task_clear_fault(t);
		return ERR_OK;
	}
	if (e)
		return e;
	struct bytes agent = string_member(t->arena, json, "agent");
	bool is_id = talk->agent.n > 4 && memcmp(talk->agent.p, "agt_", 4) == 0;
	if (agent.n && !is_id && !bytes_equal(agent, talk->agent))
		return task_fail(t, ERR_CONFLICT, "this session belongs to the agent \"%.*s\"", (int)agent.n, agent.p);
	talk->is_made = true;
	return ERR_OK;
}

enum err chat_talk_open(struct chat_talk *talk_r, struct task *t, const struct chat_link *link, const char *credential, struct bytes agent,
			struct bytes user, struct bytes title, struct bytes session)
{
	*talk_r = (struct chat_talk){ .link = link, .agent = agent, .user = user, .title = title, .pause_ms = PAUSE_MS };
	pthread_mutex_init(&talk_r->lock, NULL);
	copy_text(talk_r->credential, sizeof talk_r->credential, bytes_of(credential));
	if (session.n >= sizeof talk_r->session || (credential && strlen(credential) >= sizeof talk_r->credential))
		return task_fail(t, ERR_USAGE, "the session's id or the key is too long to be one");
	copy_text(talk_r->session, sizeof talk_r->session, session);
	return session.n ? find_session(talk_r, t) : ERR_OK;
}

void chat_talk_close(struct chat_talk *talk)
{
	secret_wipe(talk->credential, sizeof talk->credential);
	pthread_mutex_destroy(&talk->lock);
}

/* ---- what one can ask for ---- */

/* The title comes with the first message's session; that it could not be given is no reason to fail. */
static void give_title(struct chat_talk *talk, struct task *t)
{
	struct buf b;
	struct bytes json;
	buf_init(&b, t->arena, 256);
	buf_add_char(&b, '{');
	buf_member_string(&b, "title", talk->title);
	buf_add_char(&b, '}');
	if (call(talk, t, "PATCH", session_path(talk, t->arena, ""), buf_bytes(&b), &json) != ERR_OK)
		task_clear_fault(t);
	talk->title = nothing;
}

enum err chat_talk_say(struct chat_talk *talk, struct task *t, struct bytes text, const struct chat_watch *watch)
{
	struct buf b, path;
	bool is_first = !talk->is_made;
	buf_init(&b, t->arena, text.n + 256);
	buf_init(&path, t->arena, 128);
	buf_add_char(&b, '{');
	buf_member_string(&b, "message", text);
	buf_member_bool(&b, "stream", true);
	if (is_first && talk->session[0])
		buf_member_str(&b, "session_id", talk->session);
	if (is_first && talk->user.p)
		buf_member_string(&b, "user", talk->user);
	if (is_first)
		buf_member_str(&b, "client_type", "terminal");
	buf_add_char(&b, '}');
	buf_add_str(&path, "/v1/chat/");
	add_segment(&path, talk->agent);
	buf_add_str(&path, "/message");
	enum err e = send(talk, t, is_first ? buf_bytes(&path).p : session_path(talk, t->arena, "/turns"), buf_bytes(&b), watch);
	if (is_first && talk->is_made && talk->title.n) {
		struct fault kept = t->fault;
		give_title(talk, t);
		t->fault = kept;
	}
	return e;
}

enum err chat_talk_regenerate(struct chat_talk *talk, struct task *t, const struct chat_watch *watch)
{
	struct bytes list;
	struct jsonx_walk w;
	struct buf b;
	enum err e = chat_talk_history(talk, t, 1, &list);
	if (e)
		return e;
	struct bytes data = jsonx_type(list) == JSONX_OBJECT ? jsonx_member(list, "data") : nothing;
	if (jsonx_type(data) != JSONX_ARRAY)
		return task_fail(t, ERR_PROVIDER_INVALID, "the server's answer is no list of messages");
	jsonx_walk_begin(&w, data);
	if (!jsonx_walk_next(&w) || jsonx_type(w.value) != JSONX_OBJECT)
		return task_fail(t, ERR_NOT_FOUND, "nothing has been said yet");
	buf_init(&b, t->arena, 128);
	buf_add_char(&b, '{');
	buf_member_json(&b, "regenerate", jsonx_member(w.value, "id"));
	buf_member_bool(&b, "stream", true);
	buf_add_char(&b, '}');
	return send(talk, t, session_path(talk, t->arena, "/turns"), buf_bytes(&b), watch);
}

enum err chat_talk_cancel(struct chat_talk *talk, struct task *t)
{
	struct chat_talk now = { .link = talk->link }; /* the other thread writes in the real one */
	struct bytes json;
	talk->is_stopping = true;
	pthread_mutex_lock(&talk->lock);
	memcpy(now.session, talk->session, sizeof now.session);
	memcpy(now.credential, talk->credential, sizeof now.credential);
	memcpy(now.turn, talk->turn, sizeof now.turn);
	pthread_mutex_unlock(&talk->lock);
	if (!now.turn[0])
		return task_fail(t, ERR_NOT_FOUND, "no turn is known to run");
	enum err e = call(&now, t, "POST", turn_path(&now, t->arena, "/cancel"), nothing, &json);
	return e == ERR_NOT_FOUND ? task_fail(t, ERR_CONFLICT, "this turn cannot be cancelled") : e;
}

enum err chat_talk_history(struct chat_talk *talk, struct task *t, int limit, struct bytes *list_r)
{
	*list_r = nothing;
	enum err e = need_session(talk, t);
	return e ? e : call(talk, t, "GET", session_path(talk, t->arena, arena_printf(t->arena, "/messages?order=desc&limit=%d", limit)), nothing, list_r);
}

enum err chat_talk_stats(struct chat_talk *talk, struct task *t, struct bytes *stats_r)
{
	*stats_r = nothing;
	enum err e = need_session(talk, t);
	return e ? e : call(talk, t, "GET", session_path(talk, t->arena, "/stats"), nothing, stats_r);
}

enum err chat_talk_new(struct chat_talk *talk, struct task *t, struct bytes *conversation_r)
{
	*conversation_r = nothing;
	if (!talk->is_made)
		return ERR_OK;
	return call(talk, t, "POST", session_path(talk, t->arena, "/conversations"), BYTES("{}"), conversation_r);
}

enum err chat_talk_branch(struct chat_talk *talk, struct task *t, int64_t at, struct bytes *conversation_r)
{
	struct bytes session;
	*conversation_r = nothing;
	enum err e = need_session(talk, t);
	if (!e)
		e = call(talk, t, "GET", session_path(talk, t->arena, ""), nothing, &session);
	if (e)
		return e;
	struct buf rest;
	buf_init(&rest, t->arena, 128);
	buf_add_str(&rest, "/conversations/");
	add_segment(&rest, string_member(t->arena, session, "conversation_id"));
	buf_add_str(&rest, "/branch");
	const char *path = session_path(talk, t->arena, buf_bytes(&rest).p);
	const char *body = at < 0 ? "{}" : arena_printf(t->arena, "{\"at\":%lld}", (long long)at);
	return call(talk, t, "POST", path, bytes_of(body), conversation_r);
}

enum err chat_talk_clear(struct chat_talk *talk, struct task *t)
{
	struct bytes none;
	enum err e = need_session(talk, t);
	return e ? e : call(talk, t, "DELETE", session_path(talk, t->arena, "/messages"), nothing, &none);
}
