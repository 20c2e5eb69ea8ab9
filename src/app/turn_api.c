/* SPDX-License-Identifier: MIT */
/*
 * turn_api: turns over HTTP: begun, and watched as one JSON answer or as server-sent events.
 */
#include "app/turn_api.h"

#include <stddef.h>
#include <stdio.h>
#include <unistd.h>

#include "app/conversation.h"
#include "app/dispatch.h"
#include "app/session_api.h"
#include "app/site.h"
#include "app/turn_keep.h"
#include "app/turn_stream.h"
#include "base/stamp.h"

#define QUEUE_LOOK_MS 100

struct turn_in {
	struct bytes message, metadata, client_id, regenerate, on_busy, on_disconnect;
	int64_t max_iterations;
	bool is_stream;
};

struct chat_in {
	struct turn_in turn;
	struct bytes session_id;
	struct session_new session;
};

#define TURN_FIELDS(base, required)                                                                                                \
	{ .name = "message", .type = FIELD_TEXT_OR_ARRAY, .flags = (required), .min = 1, .offset = (base) + offsetof(struct turn_in, message), \
	  .help = "What the user says: a string, or an array of parts", .example = "\"Do you bake rye bread?\"" },                 \
	{ .name = "stream", .type = FIELD_BOOL, .offset = (base) + offsetof(struct turn_in, is_stream), .help = "Answer with server-sent events" }, \
	{ .name = "metadata", .type = FIELD_OBJECT, .max = 16384, .offset = (base) + offsetof(struct turn_in, metadata), .help = "Kept with the user's message" }, \
	{ .name = "client_id", .type = FIELD_STRING, .min = 1, .max = 128, .offset = (base) + offsetof(struct turn_in, client_id), .help = "The client's own id of the message" }, \
	{ .name = "on_busy", .type = FIELD_ENUM, .choices = "reject|queue|interrupt", .offset = (base) + offsetof(struct turn_in, on_busy),              \
	  .help = "While another turn runs in the conversation: refuse this one (the default), let it wait in order (ten may), or stop the other" },           \
	{ .name = "on_disconnect", .type = FIELD_ENUM, .choices = "continue|cancel", .offset = (base) + offsetof(struct turn_in, on_disconnect),          \
	  .help = "When the client hangs up: finish the turn (the default), or stop it" },                                                      \
	{ .name = "max_iterations", .type = FIELD_INT, .min = 1, .max = 50, .offset = (base) + offsetof(struct turn_in, max_iterations),                  \
	  .help = "Most answers of the model, tool calls included; the agent's or the setting's otherwise, which a browser cannot exceed" }

static const struct field turn_fields[] = {
	TURN_FIELDS(0, 0),
	{ .name = "regenerate", .type = FIELD_STRING, .min = 1, .max = 64, .offset = offsetof(struct turn_in, regenerate),
	  .help = "Instead of a message: the id of an answer to make anew, or of a message to answer anew; both answers are kept" },
	{ .name = NULL },
};
static const struct field_table turn_table = { turn_fields, sizeof(struct turn_in) };

#define SESSION(name) offsetof(struct chat_in, session) + offsetof(struct session_new, name)
static const struct field chat_fields[] = {
	TURN_FIELDS(offsetof(struct chat_in, turn), FIELD_REQUIRED),
	{ .name = "session_id", .type = FIELD_STRING, .min = 1, .max = 255, .offset = offsetof(struct chat_in, session_id), .help = "Go on in this session; with a secret key an own id that is not there yet starts one" },
	{ .name = "user", .type = FIELD_STRING, .min = 1, .max = 128, .offset = SESSION(user), .help = "Who talks, for a new session (secret key only)" },
	{ .name = "client_type", .type = FIELD_STRING, .flags = FIELD_IDENT, .min = 1, .max = 32, .offset = SESSION(client_type), .help = "Kind of client, for a new session" },
	{ .name = "context", .type = FIELD_STRING, .min = 1, .max = 128, .offset = SESSION(context), .help = "What a new session is about" },
	{ .name = NULL },
};
static const struct field_table chat_table = { chat_fields, sizeof(struct chat_in) };

/* A turn as its call serves it. */
struct serve {
	struct call *c;
	const struct turn_in *in;
	struct turn_start start;
	struct turn turn;
	struct agent agent;
	struct turn_stream stream;
	bool gives_token;
};

static bool is_word(struct bytes given, const char *word)
{
	return bytes_equal(given, bytes_of(word));
}

static void add_token(struct serve *s, struct buf *b)
{
	if (s->gives_token)
		dispatch_add_token(s->c, b, &s->start.head->session, &s->start.head->user);
}

static void on_text(void *arg, struct bytes text, size_t at)
{
	struct serve *s = arg;
	turn_stream_text(&s->stream, text, (int64_t)at);
}

static void on_event(void *arg, const char *event, struct bytes data, size_t at)
{
	struct serve *s = arg;
	turn_stream_send(&s->stream, event, data, (int64_t)at);
}

static void on_silence(void *arg)
{
	struct serve *s = arg;
	if (!s->c->rs->is_client_gone)
		http_stream_heartbeat(s->c->rs);
}

static bool is_gone(void *arg)
{
	const struct serve *s = arg;
	return s->c->rs->is_client_gone;
}

static void begin_stream(struct serve *s)
{
	turn_stream_init(&s->stream, s->c, s->start.head, &s->turn);
	turn_stream_begin(&s->stream);
	struct buf *b = turn_stream_open(&s->stream);
	buf_member_json(b, "user_message", s->start.user_json);
	add_token(s, b);
	turn_stream_close(&s->stream, "turn", 0);
}

/* The stored answer with a token of its session behind it, where this call made the session. */
static struct bytes with_token(struct serve *s, struct bytes answer)
{
	struct buf b;
	if (!s->gives_token)
		return answer;
	buf_init(&b, s->c->task->arena, answer.n + TOKEN_SIZE + 128);
	buf_add(&b, answer.p, answer.n - 1);
	add_token(s, &b);
	buf_add_char(&b, '}');
	return buf_bytes(&b);
}

static void reply_done(struct serve *s, struct bytes answer, size_t at)
{
	answer = with_token(s, answer);
	if (s->in->is_stream) {
		turn_stream_send(&s->stream, "done", answer, (int64_t)at);
		return;
	}
	buf_clear(&s->c->rs->body);
	buf_add_bytes(&s->c->rs->body, answer);
	dispatch_reply(s->c, 200);
}

/* Makes the user's message of the request. */
static enum err read_message(struct call *c, const struct turn_in *in, struct message_new *m_r)
{
	if (!in->message.p)
		return task_fail_field(c->task, "message", "required", "message is missing");
	*m_r = (struct message_new){ .role = ROLE_USER, .content = in->message, .metadata = in->metadata };
	if (in->message.n == 2)
		return task_fail_field(c->task, "message", "range", "must not be empty");
	if ((int64_t)in->message.n > c->app->conf->max_message)
		return task_fail_field(c->task, "message", "range", "must be at most %lld bytes", (long long)c->app->conf->max_message);
	if (in->client_id.p) {
		struct buf b;
		buf_init(&b, c->task->arena, 160);
		buf_add_char(&b, '{');
		buf_member_string(&b, "client_id", in->client_id);
		buf_add_char(&b, '}');
		m_r->extra = buf_bytes(&b);
	}
	return ERR_OK;
}

/* The agent's number of iterations is a bound of what a turn costs: the site's server may raise it, a browser only ask for fewer. */
static int64_t iterations_of(const struct serve *s)
{
	const struct call *c = s->c;
	int64_t own = s->agent.max_iterations ? s->agent.max_iterations : c->app->conf->turn_iterations, asked = s->in->max_iterations;
	bool is_site = c->who.is_operator || c->who.who == WHO_SECRET_KEY;
	return asked && (is_site || asked < own) ? asked : own;
}

static enum err run_begun(struct serve *s)
{
	struct call *c = s->c;
	struct bytes answer;
	struct turn_watch watch = { .arg = s, .client_fd = -1 };
	struct turn_order order = { s->start.head, &s->agent, s->start.user_json, iterations_of(s) };
	c->audit_session = s->start.head->session;
	if (is_word(s->in->on_disconnect, "cancel")) {
		watch.client_fd = c->rs->sink.client_fd(c->rs->sink.arg);
		watch.is_gone = is_gone;
	}
	if (s->in->is_stream) {
		watch.on_text = on_text;
		watch.on_event = on_event;
		watch.on_silence = on_silence;
		begin_stream(s);
	}
	http_will_last(c->rs);
	enum err e = turn_run(c->task, c->app, &order, &s->turn, &watch, &answer);
	if (!e) {
		reply_done(s, answer, s->turn.log.n);
		return ERR_OK;
	}
	if (s->in->is_stream) {
		turn_stream_error(&s->stream, e, (int64_t)s->turn.log.n);
		return e;
	}
	struct buf extra;
	buf_init(&extra, c->task->arena, 512);
	turn_stream_add_names(&extra, s->start.head, &s->turn);
	add_token(s, &extra);
	c->problem_extra = extra.p;
	return e;
}

/* Replays a key's finished answer, in the form this request asks for. */
static enum err replay(struct serve *s, const struct idem_record *rec, struct head *h)
{
	struct call *c = s->c;
	int64_t unused;
	size_t at = 0;
	enum err e = head_load(c->task, c->app, &c->who.site, &rec->session, h);
	if (!e)
		e = turn_read(c->task, c->app, NULL, &c->who.site, &rec->turn, &s->turn, &unused);
	if (e)
		return e;
	head_settle(c->task, c->app, h);
	http_header(c->rs, "Idempotent-Replayed", "true");
	s->start.head = h;
	s->start.user_json = jsonx_member(rec->body, "user_message");
	if (s->in->is_stream) {
		begin_stream(s);
		struct bytes text = jsonx_string(c->task->arena, jsonx_member(rec->body, "result"));
		at = turn_stream_replay(&s->stream, s->turn.log.n ? s->turn.log : text, 0);
	}
	reply_done(s, rec->body, at);
	return ERR_OK;
}

/* The turn of this key runs: whoever asks again can follow it. */
static enum err fail_running(struct serve *s, const struct head *h, const struct turn *turn)
{
	struct buf extra;
	buf_init(&extra, s->c->task->arena, 128);
	turn_stream_add_names(&extra, h, turn);
	s->c->problem_extra = extra.p;
	return task_fail(s->c->task, ERR_REQUEST_RUNNING, "the turn of this Idempotency-Key is running");
}

/* What is stored under the request's key: *is_answered_r when that was replayed. A key whose turn was lost is freed first. */
static enum err look_up_key(struct serve *s, struct head *h, bool *is_answered_r)
{
	struct call *c = s->c;
	struct idem_record rec;
	*is_answered_r = false;
	enum err e = idem_begin(c, &rec);
	if (e || !rec.is_found)
		return e;
	if (rec.status == IDEM_RUNNING) {
		struct head own;
		struct turn turn;
		e = head_load(c->task, c->app, &c->who.site, &rec.session, &own);
		if (!e)
			e = turn_get(c->task, c->app, &own, &rec.turn, &turn);
		if (!e && turn.status == TURN_RUNNING)
			return fail_running(s, &own, &turn);
		if (!e)
			e = idem_begin(c, &rec);
		if (e)
			return e;
		/* Another retry took the freed key over, or its session was deleted: either way there is no answer yet. */
		if (!rec.is_found || rec.status == IDEM_RUNNING)
			return task_fail(c->task, ERR_REQUEST_RUNNING, "the turn of this Idempotency-Key is running");
	}
	if (rec.status == IDEM_RELEASED) {
		s->start.retried = rec.turn;
		/* A session that the failed call made is the one to go on in. */
		if (!s->start.head || s->start.new_session) {
			s->start.new_session = NULL;
			s->start.head = h;
			return head_load(c->task, c->app, &c->who.site, &rec.session, h);
		}
		return ERR_OK;
	}
	head_changed(c->task, c->app, &c->who.site, &rec.session);
	*is_answered_r = true;
	return replay(s, &rec, h);
}

/* What is to be answered anew: the message of the user in front of an answer, or behind which one is wanted. */
static enum err find_regenerated(struct serve *s, struct conversation *from)
{
	struct call *c = s->c;
	struct message_row m;
	if (s->in->message.p || s->in->metadata.p || s->in->client_id.p)
		return task_fail_field(c->task, "regenerate", "conflict", "give either a message or regenerate, not both");
	enum err e = message_find(c->task, c->app, c->head, s->in->regenerate, &m);
	if (e == ERR_NOT_FOUND)
		return task_fail_field(c->task, "regenerate", "value", "there is no such message in the active conversation");
	if (!e && m.role != ROLE_USER && m.role != ROLE_ASSISTANT)
		return task_fail_field(c->task, "regenerate", "value", "must be an answer, or a message of the user");
	if (!e)
		e = conversation_read(c->task, c->app, NULL, c->head, &c->head->conversation, from);
	s->start.from = from;
	s->start.at = e ? 0 : m.role == ROLE_USER ? m.seq : m.seq - 1;
	if (!e && s->start.at < 1)
		return task_fail_field(c->task, "regenerate", "value", "there is nothing in front of this message to answer");
	return e;
}

/* Tells a stream how many are ahead. */
static void tell_ahead(struct serve *s, int64_t ahead)
{
	char data[48];
	if (!s->in->is_stream)
		return;
	turn_stream_begin(&s->stream);
	snprintf(data, sizeof data, "{\"position\":%lld}", (long long)ahead);
	turn_stream_send(&s->stream, "queued", bytes_of(data), -1);
}

/*
 * Waits until nobody is ahead. `since` was made when the place was taken, where that was to stop whoever ran then: a turn that took its lease at that very
 * moment may not have been seen, and is told now.
 */
static enum err wait_in_queue(struct serve *s, struct turn_ticket *ticket, const struct ident *since, int64_t deadline)
{
	struct call *c = s->c;
	struct task part;
	int64_t ahead = 0, told = -1;
	bool is_quitter = is_word(s->in->on_disconnect, "cancel");
	enum err e;
	task_open_part(&part, c->task);
	for (int n = 0; !(e = task_take_fault(c->task, &part, turn_queue_look(&part, c->app, ticket, &ahead))) && ahead > 0; n++) {
		if (ahead != told)
			tell_ahead(s, told = ahead);
		if (n == 1 && since)
			e = turn_keep_interrupt(c->task, c->app, &ticket->site, &ticket->conversation, since);
		bool is_there = turn_stream_wait(&s->stream, QUEUE_LOOK_MS);
		if (!e && stamp_mono_ms() > deadline)
			e = task_fail(c->task, ERR_TURN_RUNNING, "other turns run in this conversation for too long");
		else if (!e && !is_there && is_quitter)
			e = task_fail(c->task, ERR_CANCELLED, "the client hung up");
		if (e)
			break;
		if (!is_there) /* who is gone is not waited for */
			usleep(QUEUE_LOOK_MS * 1000);
		task_reset_part(&part);
	}
	task_close_part(&part);
	return e ? e : head_reload(c->task, c->app, s->start.head);
}

/* Begins the turn unless a cap on spending is reached: of its session, of its user, of the site. A new session has a user only if the call names one. */
static enum err begin_affordable(struct serve *s)
{
	struct call *c = s->c;
	const struct head *h = s->start.head;
	const struct session_new *new = s->start.new_session;
	struct ident user = new ? head_user_ident(&c->who.site, bytes_or(new->user, BYTES(""))) : h->user;
	struct spend_who who = { &c->who.site, (new && !new->user.p) || ident_is_zero(&user) ? NULL : &user, new ? NULL : &h->session };
	enum err e = spend_check(c->task, c->app, &s->agent, &who, stamp_now());
	return e ? e : turn_begin(c->task, c->app, &s->start, &s->turn);
}

/* A request that came twice neither waits for itself nor stops itself: the turn that runs may be that of its other copy. */
static enum err check_key(struct serve *s)
{
	struct idem_record rec;
	enum err e = idem_begin(s->c, &rec);
	bool is_taken = !e && rec.is_found && !(rec.status == IDEM_RELEASED && ident_equal(&rec.turn, &s->start.retried));
	return is_taken ? task_fail(s->c->task, ERR_REQUEST_RUNNING, "the turn of this Idempotency-Key is running") : e;
}

/* Takes a place in the line of the session's conversation and waits there; one who interrupts stands in front, and stops whoever runs. */
static enum err wait_for_turn(struct serve *s, struct turn_ticket *ticket, int64_t deadline)
{
	struct call *c = s->c;
	const struct head *h = s->start.head;
	struct ident since = ident_new();
	bool interrupts = is_word(s->in->on_busy, "interrupt");
	enum err e = check_key(s);
	if (e)
		return e;
	if (ticket->number && !ident_equal(&ticket->conversation, &h->conversation)) /* the session has gone on in another */
		turn_queue_leave(c->task, c->app, ticket);
	bool is_new = ticket->number == 0;
	if (is_new)
		e = turn_queue_enter(c->task, c->app, &h->site, &h->conversation, interrupts, ticket);
	if (!e && is_new && interrupts)
		e = turn_keep_interrupt(c->task, c->app, &h->site, &h->conversation, NULL);
	return e ? e : wait_in_queue(s, ticket, is_new && interrupts ? &since : NULL, deadline);
}

/* Begins the turn, when its time has come. */
static enum err begin_turn(struct serve *s)
{
	struct call *c = s->c;
	struct turn_ticket ticket = { .number = 0 };
	bool may_wait = (is_word(s->in->on_busy, "queue") || is_word(s->in->on_busy, "interrupt")) && !s->start.new_session;
	int64_t deadline = stamp_mono_ms() + c->app->conf->turn_timeout;
	s->start.ticket = &ticket;
	enum err e = begin_affordable(s);
	for (bool is_over = false; e == ERR_TURN_RUNNING && may_wait && !is_over;) {
		task_clear_fault(c->task);
		s->turn.id = (struct ident){ { 0 } };
		turn_stream_init(&s->stream, c, s->start.head, &s->turn);
		e = wait_for_turn(s, &ticket, deadline);
		is_over = e != ERR_OK;
		if (!e) /* those in front may have spent what there was */
			e = begin_affordable(s);
	}
	s->start.ticket = NULL;
	if (ticket.number && (e || !ident_equal(&ticket.conversation, &s->turn.conversation))) /* it went with the lease otherwise */
		turn_queue_leave(c->task, c->app, &ticket);
	if (e && c->rs->is_streaming) {
		s->turn.id = (struct ident){ { 0 } };
		turn_stream_error(&s->stream, e, -1);
	}
	return e;
}

/* Serves a turn whose session and agent are settled, but for its key. */
static enum err serve(struct serve *s, struct head *h)
{
	struct call *c = s->c;
	bool is_answered = false;
	struct conversation from;
	enum err e = ERR_OK;
	if (s->in->regenerate.p)
		e = look_up_key(s, h, &is_answered); /* the message may be out of sight of the conversation that the first call began */
	s->start.must_keep = s->in->regenerate.p && !ident_is_zero(&s->start.retried);
	if (!e && !is_answered && !s->start.must_keep)
		e = s->in->regenerate.p ? find_regenerated(s, &from) : read_message(c, s->in, &s->start.message);
	if (!e && !s->in->regenerate.p)
		e = look_up_key(s, h, &is_answered);
	if (e || is_answered)
		return e;
	s->start.agent = &s->agent;
	s->start.idem = &c->idem;
	e = turn_enter(c->task, c->app);
	if (e)
		return e;
	e = begin_turn(s);
	if (!e)
		e = run_begun(s);
	turn_leave(c->app);
	return e;
}

static enum err find_agent_of(struct call *c, const struct head *h, struct agent *agent_r)
{
	enum err e = agent_get(c->task, c->app, &c->who.site, &h->agent, agent_r);
	return e == ERR_NOT_FOUND ? task_fail(c->task, ERR_CONFLICT, "the session's agent was deleted") : e;
}

static enum err api_turn_create(struct call *c)
{
	struct serve s = { .c = c, .in = c->body, .start = { .head = c->head } };
	enum err e = find_agent_of(c, c->head, &s.agent);
	return e ? e : serve(&s, c->head);
}

/* The session a chat call names, or none yet: a secret key's unknown own id starts one. */
static enum err find_chat_session(struct call *c, struct chat_in *in, struct head *h, bool *is_new_r)
{
	*is_new_r = false;
	if (c->who.who == WHO_SESSION) {
		enum err e = in->session_id.p ? head_find(c->task, c->app, &c->who.site, in->session_id, h) :
						head_load(c->task, c->app, &c->who.site, &c->who.session, h);
		return !e && !ident_equal(&c->who.user, &h->user) ? task_fail(c->task, ERR_NOT_FOUND, "there is no such session") : e;
	}
	if (!in->session_id.p) {
		*is_new_r = true;
		return ERR_OK;
	}
	if (c->who.who == WHO_PUBLISHABLE_KEY)
		return task_fail_field(c->task, "session_id", "forbidden", "a publishable key may only start sessions; use the session's token");
	enum err e = head_find(c->task, c->app, &c->who.site, in->session_id, h);
	if (e != ERR_NOT_FOUND || !session_is_own_id(in->session_id))
		return e;
	task_clear_fault(c->task);
	in->session.own_id = in->session_id;
	*is_new_r = true;
	return ERR_OK;
}

static enum err check_chat_agent(struct call *c, const struct head *h, const struct agent *agent)
{
	if (ident_equal(&h->agent, &agent->id))
		return ERR_OK;
	return task_fail(c->task, ERR_CONFLICT, "the session belongs to another agent");
}

static enum err api_chat_message(struct call *c)
{
	struct chat_in *in = c->body;
	struct head h = { .found = CACHE_SKIP };
	struct serve s = { .c = c, .in = &in->turn };
	bool is_new;
	enum err e = agent_find(c->task, c->app, &c->who.site, c->params[0], &s.agent);
	if (!e)
		e = session_api_check_public(c, (struct bytes){ NULL, 0 }, in->session.user);
	if (!e)
		e = find_chat_session(c, in, &h, &is_new);
	if (!e && !is_new)
		e = check_chat_agent(c, &h, &s.agent);
	if (e)
		return e;
	session_api_add_origin(c, &in->session);
	if (is_new)
		e = site_find_ttl(c->task, c->app, &c->who.site, TTL_SESSION, &in->session.idle_ttl);
	if (e)
		return e;
	s.start.head = &h;
	s.start.new_session = is_new ? &in->session : NULL;
	s.gives_token = is_new;
	e = serve(&s, &h);
	if (e == ERR_DUPLICATE && in->session.own_id.p) { /* another first call was faster: go on in the session it made */
		task_clear_fault(c->task);
		e = head_find(c->task, c->app, &c->who.site, in->session_id, &h);
		s.start.new_session = NULL;
		if (!e)
			e = check_chat_agent(c, &h, &s.agent);
		if (!e)
			e = serve(&s, &h);
	}
	return e;
}

static const struct api_route routes[] = {
	{ HTTP_POST, "/v1/sessions/{s}/turns", SCOPE_SESSION, api_turn_create, &turn_table, NULL, ROUTE_OWN_IDEMPOTENCY | ROUTE_STREAMS,
	  "Send a message and get the agent's answer", 200, "Answer" },
	{ HTTP_POST, "/v1/chat/{agent}/message", SCOPE_START, api_chat_message, &chat_table, NULL, ROUTE_OWN_IDEMPOTENCY | ROUTE_STREAMS,
	  "Send a message in one call: the session is made on the first one", 200, "Answer" },
};

const struct feature turn_api_feature = { .name = "turn_api", .routes = routes, .n_routes = COUNT(routes) };
