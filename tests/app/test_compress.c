/* SPDX-License-Identifier: MIT */
/* test_compress: a summary takes the place of older messages for the model alone; whatever fails or changes, nothing wrong is left (MSG-8). */
#include "harness.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "app/compress.h"
#include "app/extract.h"
#include "base/tokens.h"

static int64_t count_of(struct api *h, const char *table)
{
	return sql_int(h, api_text(h, "SELECT COUNT(*) FROM %s WHERE site = ?", table), DB_ARGS(db_ident(&h->home.id)));
}

/* `turns` questions and answers about different things. */
static void talk(struct api *h, const char *session, int turns)
{
	struct buf b;
	buf_init(&b, h->arena, 8192);
	for (int i = 0; i < turns; i++) {
		buf_addf(&b, "%s{\"role\":\"user\",\"content\":\"Question %d: what does the blue bicycle number %d cost? I want to know it soon.\"},"
			 "{\"role\":\"assistant\",\"content\":\"The blue bicycle number %d costs %d euros. Delivery takes three days.\"}",
			 b.n ? "," : "{\"messages\":[", i, i, i, 200 + i);
		if (i % 40 < 39 && i + 1 < turns)
			continue;
		buf_add_str(&b, "]}");
		struct answer a = api_post(h, h->sk, buf_bytes(&b).p, "/v1/sessions/%s/messages", session);
		must_be(a, 201);
		buf_clear(&b);
	}
}

static struct answer compress(struct api *h, const char *session, const char *body)
{
	return api_post(h, h->sk, body, "/v1/sessions/%s/compress", session);
}

static struct answer context(struct api *h, const char *session)
{
	struct answer a = api_get(h, h->sk, "/v1/sessions/%s/context", session);
	must_be(a, 200);
	return a;
}

static bool says(const struct answer *a, const char *path, const char *word)
{
	return strstr(str_at(a, path), word) != NULL;
}

Test(compress, shortens_what_the_model_sees_and_nothing_else)
{
	struct api *h = api_open();
	const char *id = new_session(h, h->sk, NULL, NULL);
	talk(h, id, 30);
	struct answer before = context(h, id), all = api_get(h, h->sk, "/v1/sessions/%s/messages?limit=100", id);
	struct answer a = compress(h, id, "{\"keep_messages\":9}");
	must_be(a, 200);
	assert_str(a, "method", "extract");
	assert_int(a, "upto_seq", 50);
	assert_int(a, "messages", 50);
	cr_assert_lt(int_at(&a, "tokens_after") * 3, int_at(&a, "tokens_before"));
	cr_assert_eq(int_at(&a, "tokens_after"), tokens_of_text(bytes_of(str_at(&a, "summary"))));
	cr_assert(says(&a, "summary", "bicycle"));
	struct answer after = context(h, id), again = api_get(h, h->sk, "/v1/sessions/%s/messages?limit=100", id);
	assert_int(after, "first_seq", 51);
	assert_int(after, "summary_upto_seq", 50);
	cr_assert_eq(count_at(&after, "messages"), 10);
	cr_assert_str_eq(str_at(&after, "summary"), str_at(&a, "summary"));
	cr_assert_lt(int_at(&after, "tokens"), int_at(&before, "tokens"));
	cr_assert(bytes_equal(all.body, again.body), "what is stored stays");
	struct answer turn = api_post(h, h->sk, "{\"message\":\"hi\"}", "/v1/sessions/%s/turns", id);
	must_be(turn, 200);
	/* the next one is made of the summary and what is behind it */
	struct answer more = compress(h, id, "{\"keep_messages\":2,\"method\":\"extract\"}");
	must_be(more, 200);
	assert_int(more, "upto_seq", 60);
	assert_int(more, "messages", 10);
	after = context(h, id);
	assert_int(after, "first_seq", 61);
	/* and then there is nothing more to do */
	struct answer none = compress(h, id, "{\"keep_messages\":2}");
	must_be(none, 200);
	assert_int(none, "messages", 0);
	assert_int(none, "upto_seq", 60);
	cr_assert_str_eq(str_at(&none, "summary"), str_at(&more, "summary"));
	cr_assert_eq(count_of(h, "summaries"), 2);
	api_close(&h);
}

Test(compress, says_what_is_wrong)
{
	struct api *h = api_open();
	const char *token, *other_token;
	const char *id = new_session(h, h->sk, NULL, &token);
	new_session(h, h->sk, NULL, &other_token);
	talk(h, id, 20);
	static const struct {
		const char *body, *field;
	} bad[] = {
		{ "{\"keep_messages\":0}", "keep_messages" }, { "{\"keep_messages\":\"9\"}", "keep_messages" }, { "{\"keep_days\":-1}", "keep_days" },
		{ "{\"keep_days\":36501}", "keep_days" }, { "{\"keep_messages\":4,\"keep_days\":1}", "keep_days" }, { "{\"method\":\"magic\"}", "method" },
		{ "{\"keep\":1}", "keep" }, { "{\"conversation\":\"\"}", "conversation" },
	};
	for (size_t i = 0; i < COUNT(bad); i++) {
		struct answer a = compress(h, id, bad[i].body);
		assert_code(a, 400, "invalid_request");
		cr_assert(blames(&a, bad[i].field, NULL), "%s: %s", bad[i].body, a.body.p);
	}
	struct answer nowhere = compress(h, id, "{\"conversation\":\"cnv_00000000000000000000000001\"}");
	assert_code(nowhere, 404, "not_found");
	struct answer foreign = api_post(h, other_token, "{}", "/v1/sessions/%s/compress", id);
	assert_code(foreign, 404, "not_found");
	struct answer seen = api_get(h, other_token, "/v1/sessions/%s/context", id);
	assert_code(seen, 404, "not_found");
	static const char *const queries[] = { "tokens=0", "tokens=x", "tokens=1&tokens=2", "format=word", "conversation=", "what=1" };
	for (size_t i = 0; i < COUNT(queries); i++) {
		struct answer a = api_get(h, h->sk, "/v1/sessions/%s/context?%s", id, queries[i]);
		assert_code(a, 400, "invalid_request");
	}
	cr_assert_eq(count_of(h, "summaries"), 0);
	struct answer ok = api_post(h, token, "", "/v1/sessions/%s/compress", id);
	must_be(ok, 200);
	cr_assert_eq(count_of(h, "summaries"), 1);
	api_close(&h);
}

/* The instructions are the site's, not the visitor's. */
Test(compress, a_visitor_sees_no_instructions)
{
	struct api *h = api_open();
	const char *token;
	struct answer agent = api_post(h, h->sk, "{\"name\":\"secretive\",\"instructions\":\"The word is swordfish.\"}", "/v1/agents");
	must_be(agent, 201);
	const char *id = new_session(h, h->sk, "{\"agent\":\"secretive\"}", &token);
	struct answer site = api_get(h, h->sk, "/v1/sessions/%s/context", id), visitor = api_get(h, token, "/v1/sessions/%s/context", id);
	assert_str(site, "system", "The word is swordfish.");
	must_be(visitor, 200);
	cr_assert(is_null_at(&visitor, "system"));
	assert_int(visitor, "tokens", 0);
	cr_assert_gt(int_at(&site, "tokens"), 4);
	struct answer gone = api_delete(h, h->sk, "/v1/agents/secretive");
	must_be(gone, 204);
	struct answer left = api_get(h, h->sk, "/v1/sessions/%s/context", id);
	must_be(left, 200);
	cr_assert(is_null_at(&left, "system"));
	api_close(&h);
}

Test(compress, keeps_days_and_whole_turns)
{
	struct api *h = api_open();
	const char *id = new_session(h, h->sk, NULL, NULL);
	talk(h, id, 12);
	struct answer s = api_get(h, h->sk, "/v1/sessions/%s", id);
	struct ident conversation = ident_of(PREFIX_CONVERSATION, str_at(&s, "conversation_id"));
	struct answer none = compress(h, id, "{\"keep_days\":1}");
	must_be(none, 200);
	assert_int(none, "messages", 0);
	cr_assert(is_null_at(&none, "summary"));
	cr_assert(is_null_at(&none, "method"));
	/* the first 11 are old: the 11th is a question whose answer is new, so its turn stays whole */
	sql_run(h, "UPDATE messages SET created_at = created_at - 259200000 WHERE conversation = ? AND seq <= 11", DB_ARGS(db_ident(&conversation)));
	struct answer a = compress(h, id, "{\"keep_days\":2}");
	must_be(a, 200);
	assert_int(a, "upto_seq", 10);
	/* everything is older than no time at all, yet the newest turn stays */
	nap(10); /* the clock ticks */
	a = compress(h, id, "{\"keep_days\":0}");
	must_be(a, 200);
	assert_int(a, "upto_seq", 22);
	api_close(&h);
}

/* A cut never parts a tool call from its result, wherever it is asked for. */
Test(compress, ends_where_a_turn_ends)
{
	struct api *h = api_open();
	const char *id = new_session(h, h->sk, NULL, NULL);
	struct answer a = api_post(h, h->sk,
				   "{\"messages\":[{\"role\":\"user\",\"content\":\"First question about boats\"},{\"role\":\"assistant\",\"content\":\"An answer\"},"
				   "{\"role\":\"user\",\"content\":\"Second question about trains\"},"
				   "{\"role\":\"assistant\",\"content\":\"I look\",\"tool_calls\":[{\"id\":\"1\",\"name\":\"f\"}]},"
				   "{\"role\":\"user\",\"content\":\"Are you there?\"},{\"role\":\"tool\",\"content\":\"r\",\"tool_call_id\":\"1\"},"
				   "{\"role\":\"assistant\",\"content\":\"Here\"},{\"role\":\"user\",\"content\":\"Thanks\"}]}",
				   "/v1/sessions/%s/messages", id);
	must_be(a, 201);
	static const int kept[] = { 7, 6, 5, 4, 3, 2 };
	for (size_t i = 0; i < COUNT(kept); i++) {
		struct answer c = compress(h, id, api_text(h, "{\"keep_messages\":%d}", kept[i]));
		must_be(c, 200);
		assert_int(c, "upto_seq", kept[i] == 7 ? 0 : 2);
	}
	struct answer last = compress(h, id, "{\"keep_messages\":1}");
	assert_int(last, "upto_seq", 7);
	api_close(&h);
}

/* MSG-10 */
Test(compress, a_key_replays_its_answer)
{
	struct api *h = api_open();
	const char *id = new_session(h, h->sk, NULL, NULL);
	talk(h, id, 20);
	struct answer a = api_post_once(h, h->sk, "k1", "{\"keep_messages\":4}", "/v1/sessions/%s/compress", id);
	must_be(a, 200);
	talk(h, id, 10);
	struct answer b = api_post_once(h, h->sk, "k1", "{\"keep_messages\":4}", "/v1/sessions/%s/compress", id);
	cr_assert(bytes_equal(a.body, b.body));
	cr_assert_str_eq(header_of(&b, "Idempotent-Replayed"), "true");
	struct answer c = api_post_once(h, h->sk, "k1", "{\"keep_messages\":5}", "/v1/sessions/%s/compress", id);
	assert_code(c, 422, "idempotency_key_reused");
	cr_assert_eq(count_of(h, "summaries"), 1);
	api_close(&h);
}

/* ---- what becomes of a summary when its messages change ---- */

static const char *message_id(struct api *h, const char *session, int64_t seq)
{
	struct answer a = api_get(h, h->sk, "/v1/sessions/%s/messages?after=%lld&limit=1", session, (long long)seq - 1);
	return str_at(&a, "data[0].id");
}

Test(compress, a_summary_does_not_outlive_its_messages)
{
	struct api *h = api_open();
	const char *id = new_session(h, h->sk, NULL, NULL);
	talk(h, id, 20);
	struct answer first = compress(h, id, "{\"keep_messages\":30}"), second = compress(h, id, "{\"keep_messages\":10}");
	assert_int(first, "upto_seq", 10);
	assert_int(second, "upto_seq", 30);
	struct answer gone = api_delete(h, h->sk, "/v1/sessions/%s/messages/%s", id, message_id(h, id, 20));
	must_be(gone, 204);
	struct answer c = context(h, id);
	assert_int(c, "summary_upto_seq", 10);
	struct answer redacted = api_post(h, h->sk, "{}", "/v1/sessions/%s/messages/%s/redact", id, message_id(h, id, 5));
	must_be(redacted, 200);
	c = context(h, id);
	cr_assert(is_null_at(&c, "summary"));
	assert_int(c, "first_seq", 1);
	cr_assert_eq(count_of(h, "summaries"), 0);
	struct answer again = compress(h, id, "{\"keep_messages\":10}");
	assert_int(again, "upto_seq", 30);
	api_close(&h);
}

Test(compress, a_branch_sees_the_summaries_of_what_it_inherits)
{
	struct api *h = api_open();
	const char *id = new_session(h, h->sk, NULL, NULL);
	talk(h, id, 20);
	struct answer s = api_get(h, h->sk, "/v1/sessions/%s", id);
	const char *trunk = str_at(&s, "conversation_id");
	struct answer first = compress(h, id, "{\"keep_messages\":30}"), second = compress(h, id, "{\"keep_messages\":10}");
	must_be(first, 200);
	must_be(second, 200);
	struct answer branch = api_post(h, h->sk, "{\"at\":24,\"active\":false}", "/v1/sessions/%s/conversations/%s/branch", id, trunk);
	must_be(branch, 201);
	const char *leaf = str_at(&branch, "id");
	struct answer c = api_get(h, h->sk, "/v1/sessions/%s/context?conversation=%s", id, leaf);
	must_be(c, 200);
	assert_int(c, "summary_upto_seq", 10);
	assert_int(c, "first_seq", 11);
	assert_int(c, "last_seq", 24);
	/* what is compressed in the branch within the common part serves the trunk as well; what is behind it does not */
	struct answer own = compress(h, id, api_text(h, "{\"keep_messages\":5,\"conversation\":\"%s\"}", leaf));
	must_be(own, 200);
	assert_int(own, "upto_seq", 18);
	c = api_get(h, h->sk, "/v1/sessions/%s/context?conversation=%s", id, trunk);
	assert_int(c, "summary_upto_seq", 30);
	/* the common part changes: neither keeps a summary of it */
	struct answer gone = api_delete(h, h->sk, "/v1/sessions/%s/messages/%s?conversation=%s", id, message_id(h, id, 3), trunk);
	must_be(gone, 204);
	cr_assert_eq(count_of(h, "summaries"), 0);
	api_close(&h);
}

Test(compress, a_clone_and_its_original_do_not_disturb_each_other)
{
	struct api *h = api_open();
	const char *id = new_session(h, h->sk, NULL, NULL);
	talk(h, id, 20);
	struct answer first = compress(h, id, "{\"keep_messages\":30}");
	must_be(first, 200);
	struct answer clone = api_post(h, h->sk, "{}", "/v1/sessions/%s/clone", id);
	must_be(clone, 201);
	const char *copy = str_at(&clone, "id");
	struct answer c = context(h, copy);
	assert_int(c, "summary_upto_seq", 10);
	cr_assert_str_eq(str_at(&c, "summary"), str_at(&first, "summary"));
	/* the clone's own summary of what they share is not the original's */
	struct answer own = compress(h, copy, "{\"keep_messages\":10}");
	must_be(own, 200);
	assert_int(own, "upto_seq", 30);
	c = context(h, copy);
	assert_int(c, "summary_upto_seq", 30);
	c = context(h, id);
	assert_int(c, "summary_upto_seq", 10);
	/* what the clone hides for itself is in none of the summaries that it uses, and the original keeps its own */
	struct answer gone = api_delete(h, h->sk, "/v1/sessions/%s/messages/%s", copy, message_id(h, copy, 7));
	must_be(gone, 204);
	c = context(h, copy);
	assert_int(c, "summary_upto_seq", 0);
	c = context(h, id);
	assert_int(c, "summary_upto_seq", 10);
	own = compress(h, copy, "{\"keep_messages\":10}");
	must_be(own, 200);
	cr_assert(!says(&own, "summary", "number 3 "), "what was hidden is not in the summary: %s", own.body.p);
	c = context(h, copy);
	assert_int(c, "summary_upto_seq", 30);
	/* what the original takes back from all is in nobody's summary */
	struct answer redacted = api_post(h, h->sk, "{}", "/v1/sessions/%s/messages/%s/redact", id, message_id(h, id, 9));
	must_be(redacted, 200);
	c = context(h, copy);
	assert_int(c, "summary_upto_seq", 0);
	c = context(h, id);
	assert_int(c, "summary_upto_seq", 0);
	cr_assert_eq(count_of(h, "summaries"), 0);
	api_close(&h);
}

Test(compress, a_deleted_session_leaves_no_summary)
{
	struct api *h = api_open();
	const char *id = new_session(h, h->sk, NULL, NULL);
	talk(h, id, 20);
	struct answer a = compress(h, id, "{\"keep_messages\":4}");
	must_be(a, 200);
	struct answer gone = api_delete(h, h->sk, "/v1/sessions/%s", id);
	must_be(gone, 204);
	cr_assert_eq(count_of(h, "summaries"), 0);
	cr_assert_eq(count_of(h, "messages"), 0);
	api_close(&h);
}

/* ---- providers ---- */

/* A provider in a thread: answers each request with a stream of its text, and keeps what it was asked. */
struct provider_stub {
	struct api *h;
	int listener, port;
	const char *text;
	void (*meanwhile)(struct provider_stub *p); /* called while the request waits */
	const char *session;
	char asked[65536];
	pthread_t thread;
};

static void answer_one(struct provider_stub *p, int fd)
{
	size_t n = 0, length = 0;
	char *body = NULL;
	while (n + 1 < sizeof p->asked) {
		ssize_t got = read(fd, p->asked + n, sizeof p->asked - 1 - n);
		if (got <= 0)
			return;
		n += (size_t)got;
		p->asked[n] = 0;
		body = strstr(p->asked, "\r\n\r\n");
		const char *at = strcasestr(p->asked, "content-length:");
		if (at)
			length = (size_t)atoi(at + 15);
		if (body && at && n >= (size_t)(body + 4 - p->asked) + length)
			break;
	}
	if (p->meanwhile)
		p->meanwhile(p);
	if (p->text)
		dprintf(fd, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
			    "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"%s\"},\"finish_reason\":null}]}\n\n"
			    "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n", p->text);
	else
		dprintf(fd, "HTTP/1.1 500 Oh\r\nContent-Type: application/json\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}");
}

static void *serve(void *arg)
{
	struct provider_stub *p = arg;
	for (;;) {
		int fd = accept(p->listener, NULL, NULL);
		if (fd < 0)
			return NULL;
		answer_one(p, fd);
		close(fd);
	}
}

static void allow_local(struct conf *c)
{
	c->provider_allow_hosts = "127.0.0.1";
}

/* Starts it, and adds an agent "writer" that uses it. */
static void start_provider(struct api *h, struct provider_stub *p)
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t n = sizeof at;
	struct ident random = ident_new();
	char name[IDENT_SIZE];
	p->h = h;
	p->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	cr_assert(p->listener >= 0 && bind(p->listener, (struct sockaddr *)&at, sizeof at) == 0 && listen(p->listener, 16) == 0);
	cr_assert_eq(getsockname(p->listener, (struct sockaddr *)&at, &n), 0);
	p->port = ntohs(at.sin_port);
	ident_format("stub-", &random, name);
	struct provider made = { bytes_of(name), BYTES("openai"), bytes_of(api_text(h, "http://127.0.0.1:%d/v1", p->port)), BYTES("") };
	cr_assert_eq(provider_create(&h->task, h->app, &made), ERR_OK, "%s", h->task.fault.detail);
	struct answer a = api_post(h, h->sk, api_text(h, "{\"name\":\"writer\",\"provider\":\"%s\",\"model\":\"m\"}", name), "/v1/agents");
	must_be(a, 201);
	cr_assert_eq(pthread_create(&p->thread, NULL, serve, p), 0);
}

static void stop_provider(struct provider_stub *p)
{
	shutdown(p->listener, SHUT_RDWR);
	pthread_join(p->thread, NULL);
	close(p->listener);
}

Test(compress, the_agents_provider_writes_the_summary)
{
	struct api *h = api_open_with(0, allow_local);
	static struct provider_stub p = { .text = "  The user asked for prices of blue bicycles; all were given.  " };
	start_provider(h, &p);
	const char *id = new_session(h, h->sk, "{\"agent\":\"writer\"}", NULL);
	talk(h, id, 20);
	struct answer a = compress(h, id, "{\"keep_messages\":10}");
	must_be(a, 200);
	assert_str(a, "method", "provider");
	assert_str(a, "summary", "The user asked for prices of blue bicycles; all were given.");
	assert_int(a, "upto_seq", 30);
	cr_assert_not_null(strstr(p.asked, "user: Question 0: what does the blue bicycle number 0 cost"));
	cr_assert_not_null(strstr(p.asked, "number 14 costs 214 euros"));
	cr_assert_null(strstr(p.asked, "number 15"), "what stays is not summarised");
	/* the next one is given the summary, and the turn's prompt has it behind the instructions */
	a = compress(h, id, "{\"keep_messages\":2,\"method\":\"provider\"}");
	must_be(a, 200);
	cr_assert_not_null(strstr(p.asked, "summary of what came before: The user asked for prices"));
	cr_assert_null(strstr(p.asked, "number 14 "));
	struct answer turn = api_post(h, h->sk, "{\"message\":\"and now?\"}", "/v1/sessions/%s/turns", id);
	must_be(turn, 200);
	cr_assert_not_null(strstr(p.asked, "The user asked for prices of blue bicycles"));
	cr_assert_null(strstr(p.asked, "number 10 "));
	/* whoever wants the rule gets the rule */
	talk(h, id, 10);
	a = compress(h, id, "{\"keep_messages\":2,\"method\":\"extract\"}");
	assert_str(a, "method", "extract");
	stop_provider(&p);
	api_close(&h);
}

static void priced(struct conf *c)
{
	allow_local(c);
	c->key_ttl = 0;
	c->prices = "m=1000/1000";
	c->spend_cap_site_day = "0.000000001";
}

static int64_t spent(struct api *h)
{
	return sql_int(h, "SELECT nano FROM spend WHERE site = ? AND scope = 3 AND turns = 0", DB_ARGS(db_ident(&h->home.id)));
}

/* TRN-11: a summary is paid for as a turn is, though it is none. */
Test(compress, costs_what_the_provider_takes_and_stops_at_a_cap)
{
	struct api *h = api_open_with(0, priced);
	static struct provider_stub p = { .text = NULL };
	start_provider(h, &p);
	const char *id = new_session(h, h->sk, "{\"agent\":\"writer\"}", NULL);
	talk(h, id, 20);
	struct answer a = compress(h, id, "{\"keep_messages\":30}");
	assert_code(a, 502, "provider_failed");
	cr_assert_eq(sql_int(h, "SELECT COUNT(*) FROM spend WHERE site = ?", DB_ARGS(db_ident(&h->home.id))), 0, "what refuses takes nothing");
	p.text = "Bicycles.";
	a = compress(h, id, "{\"keep_messages\":30}");
	must_be(a, 200);
	assert_str(a, "method", "provider");
	cr_assert_gt(spent(h), 100 * 1000000, "the provider said no usage: its prompt of more than 100 tokens is estimated");
	struct answer stats = api_get(h, h->sk, "/v1/sessions/%s/stats", id);
	assert_int(stats, "usage.turns", 0);
	cr_assert_gt(int_at(&stats, "usage.input_tokens"), 100);
	a = compress(h, id, "{\"keep_messages\":20,\"method\":\"provider\"}");
	assert_code(a, 429, "spend_cap_reached");
	cr_assert_not_null(header_of(&a, "Retry-After"));
	a = compress(h, id, "{\"keep_messages\":10}");
	must_be(a, 200);
	assert_str(a, "method", "extract");
	stop_provider(&p);
	api_close(&h);
}

/* MSG-8: a failed compression leaves history and summary as they were. */
Test(compress, a_failure_leaves_everything_as_it_was)
{
	struct api *h = api_open_with(0, allow_local);
	static struct provider_stub p = { .text = "A good summary." };
	start_provider(h, &p);
	const char *id = new_session(h, h->sk, "{\"agent\":\"writer\"}", NULL);
	talk(h, id, 20);
	struct answer first = compress(h, id, "{\"keep_messages\":20}");
	must_be(first, 200);
	struct answer before = context(h, id);
	static char endless[20000];
	memset(endless, 'x', sizeof endless - 1);
	for (size_t i = 0; i < sizeof endless - 1; i += 7)
		endless[i] = ' ';
	static const struct {
		const char *text, *code;
		int status;
	} faults[] = { { NULL, "provider_failed", 502 }, { "   ", "provider_invalid", 502 }, { endless, "provider_invalid", 502 } };
	for (size_t i = 0; i < COUNT(faults); i++) {
		p.text = faults[i].text;
		struct answer a = api_post_once(h, h->sk, "once", "{\"keep_messages\":4}", "/v1/sessions/%s/compress", id);
		assert_code(a, faults[i].status, faults[i].code);
		struct answer after = context(h, id);
		cr_assert(bytes_equal(before.body, after.body));
		cr_assert_eq(count_of(h, "summaries"), 1);
	}
	p.text = "A better summary.";
	struct answer a = api_post_once(h, h->sk, "once", "{\"keep_messages\":4}", "/v1/sessions/%s/compress", id);
	must_be(a, 200);
	assert_str(a, "summary", "A better summary.");
	stop_provider(&p);
	api_close(&h);
}

Test(compress, an_agent_that_only_echoes_is_not_asked)
{
	struct api *h = api_open();
	const char *id = new_session(h, h->sk, NULL, NULL);
	talk(h, id, 20);
	struct answer none = compress(h, id, "{\"method\":\"provider\"}");
	assert_code(none, 409, "conflict");
	struct answer rule = compress(h, id, "{}");
	assert_str(rule, "method", "extract");
	api_close(&h);
}

Test(compress, a_deleted_agent_is_not_asked)
{
	struct api *h = api_open();
	const char *id = new_session(h, h->sk, NULL, NULL);
	talk(h, id, 20);
	struct answer gone = api_delete(h, h->sk, "/v1/agents/guide");
	must_be(gone, 204);
	struct answer none = compress(h, id, "{\"method\":\"provider\"}");
	assert_code(none, 409, "conflict");
	struct answer rule = compress(h, id, "{}");
	must_be(rule, 200);
	assert_str(rule, "method", "extract");
	api_close(&h);
}

static void redact_meanwhile(struct provider_stub *p)
{
	p->meanwhile = NULL;
	struct answer a = api_post(p->h, p->h->sk, "{}", "/v1/sessions/%s/messages/%s/redact", p->session, message_id(p->h, p->session, 4));
	must_be(a, 200);
}

static void append_meanwhile(struct provider_stub *p)
{
	p->meanwhile = NULL;
	talk(p->h, p->session, 1);
}

static void delete_meanwhile(struct provider_stub *p)
{
	p->meanwhile = NULL;
	struct answer a = api_delete(p->h, p->h->sk, "/v1/sessions/%s", p->session);
	must_be(a, 204);
}

/* What is taken back while the provider reads it never gets into a summary. */
Test(compress, a_change_meanwhile_is_noticed)
{
	struct api *h = api_open_with(0, allow_local);
	static struct provider_stub p = { .text = "A good summary." };
	start_provider(h, &p);
	const char *id = p.session = new_session(h, h->sk, "{\"agent\":\"writer\"}", NULL);
	talk(h, id, 20);
	p.meanwhile = redact_meanwhile;
	struct answer a = compress(h, id, "{\"keep_messages\":10}");
	assert_code(a, 409, "conflict");
	cr_assert_eq(count_of(h, "summaries"), 0);
	p.meanwhile = append_meanwhile; /* what comes behind does not matter */
	a = compress(h, id, "{\"keep_messages\":10}");
	must_be(a, 200);
	cr_assert_eq(count_of(h, "summaries"), 1);
	p.meanwhile = delete_meanwhile;
	a = compress(h, id, "{\"keep_messages\":2}");
	assert_code(a, 404, "not_found");
	cr_assert_eq(count_of(h, "summaries"), 0);
	stop_provider(&p);
	api_close(&h);
}

static void compress_and_redact(void *arg, int i)
{
	struct api *h = ((void **)arg)[0];
	const char *id = ((void **)arg)[1];
	for (int k = 0; k < 6; k++) {
		if (i == 0) {
			struct answer a = api_post(h, h->sk, "{}", "/v1/sessions/%s/messages/%s/redact", id, message_id(h, id, 1 + k * 2));
			cr_assert(a.status == 200 || a.status == 503, "%d %s", a.status, a.body.p);
		} else {
			struct answer a = compress(h, id, api_text(h, "{\"keep_messages\":%d}", 30 - 4 * k));
			cr_assert(a.status == 200 || a.status == 409 || a.status == 503, "%d %s", a.status, a.body.p);
		}
	}
}

/* No summary is left that says what was taken back, however the two meet. */
Test(compress, races_with_redaction_leave_no_trace)
{
	struct api *h = api_open_with(API_FILE, NULL);
	for (int round = 0; round < 3; round++) {
		const char *id = new_session(h, h->sk, NULL, NULL);
		talk(h, id, 20);
		void *args[] = { h, (void *)(uintptr_t)id };
		in_parallel(3, compress_and_redact, args);
		struct answer c = context(h, id);
		for (int k = 0; k < 6 && !is_null_at(&c, "summary"); k++)
			cr_assert(!says(&c, "summary", api_text(h, "Question %d:", k)), "%s", c.body.p);
	}
	api_close(&h);
}

/* ---- the rule ---- */

static const char *rule(struct api *h, const char *const *texts, size_t n, int64_t tokens)
{
	struct extract_text *list = arena_array(h->arena, n, sizeof *list);
	for (size_t i = 0; i < n; i++)
		list[i] = (struct extract_text){ i % 2 ? ROLE_ASSISTANT : ROLE_USER, bytes_of(texts[i]) };
	struct bytes s = extract_summary(h->arena, list, n, tokens), again = extract_summary(h->arena, list, n, tokens);
	cr_assert(bytes_equal(s, again), "the same each time");
	cr_assert_leq(tokens_of_text(s), tokens, "%s", s.p);
	return s.p;
}

Test(compress, the_rule_picks_what_says_most_in_any_script)
{
	struct api *h = api_open();
	static const char *const english[] = {
		"Hello. I need a cargo bike for two children. The budget is 3500 euros.", "Sure! The Atlas cargo bike carries two children and costs 3290 euros.",
		"Ok.", "Fine.", "Does the Atlas cargo bike fit into a lift?", "Yes. The Atlas is 2.1 metres long.", "Thanks.", "You are welcome.",
	};
	const char *s = rule(h, english, COUNT(english), 40);
	cr_assert(strstr(s, "cargo bike"), "%s", s);
	cr_assert(strstr(s, "Atlas"), "%s", s);
	cr_assert(strncmp(s, "user: ", 6) == 0 || strncmp(s, "assistant: ", 11) == 0);
	static const char *const chinese[] = {
		"\xe4\xbd\xa0\xe5\xa5\xbd\xe3\x80\x82\xe6\x88\x91\xe6\x83\xb3\xe4\xb9\xb0\xe4\xb8\x80\xe8\xbe\x86\xe8\x87\xaa\xe8\xa1\x8c\xe8\xbd\xa6\xe3\x80\x82",
		"\xe5\xa5\xbd\xe7\x9a\x84\xe3\x80\x82\xe8\xbf\x99\xe8\xbe\x86\xe8\x87\xaa\xe8\xa1\x8c\xe8\xbd\xa6\xe5\xbe\x88\xe5\xa5\xbd\xe3\x80\x82",
	};
	s = rule(h, chinese, COUNT(chinese), 40);
	cr_assert(strstr(s, "\xe8\x87\xaa\xe8\xa1\x8c\xe8\xbd\xa6"), "%s", s);
	static const char *const empty[] = { "", "  \n ", "!?", "\xf0\x9f\x98\x80" };
	cr_assert_str_eq(rule(h, empty, COUNT(empty), 40), "");
	cr_assert_str_eq(rule(h, empty, 0, 40), "");
	api_close(&h);
}

/* One sentence without an end, any bytes of text, budgets down to nothing: always within bounds and whole characters. */
Test(compress, the_rule_takes_any_text)
{
	struct api *h = api_open();
	char text[3001];
	unsigned seed = 11;
	for (int round = 0; round < 300; round++) {
		static const char *const pieces[] = { "a", "Bc", " ", ". ", "\n", "\xc3\xa4", "\xe4\xbd\xa0", "\xe3\x80\x82", "\xf0\x9f\x98\x80", "7", "?", "\xd8\x9f" };
		size_t n = 0;
		int kinds = 1 + (int)(rand_r(&seed) % COUNT(pieces));
		while (n < (size_t)(rand_r(&seed) % 2900)) {
			const char *p = pieces[(rand_r(&seed) >> 3) % (unsigned)kinds];
			memcpy(text + n, p, strlen(p));
			n += strlen(p);
		}
		text[n] = 0;
		const char *texts[] = { text, text };
		const char *s = rule(h, texts, 2, (int64_t)(rand_r(&seed) % 200));
		struct buf b;
		struct jsonx_flaw flaw;
		buf_init(&b, h->arena, 64);
		buf_add_json_str(&b, s);
		cr_assert(jsonx_check(h->arena, buf_bytes(&b), &flaw), "%s", flaw.reason);
	}
	api_close(&h);
}

/* SES-14: what a hybrid session keeps at its end. */
Test(compress, the_whole_conversation_can_be_put_in_a_nutshell)
{
	struct api *h = api_open();
	const char *id = new_session(h, h->sk, NULL, NULL);
	struct head head;
	struct bytes text;
	cr_assert_eq(head_find(&h->task, h->app, &h->home.id, bytes_of(id), &head), ERR_OK);
	cr_assert_eq(compress_extract(&h->task, h->app, NULL, &head, 0, &text), ERR_OK);
	cr_assert_eq(text.n, 0);
	talk(h, id, 30);
	cr_assert_eq(head_find(&h->task, h->app, &h->home.id, bytes_of(id), &head), ERR_OK);
	cr_assert_eq(compress_extract(&h->task, h->app, NULL, &head, 200, &text), ERR_OK);
	cr_assert(text.n > 50 && tokens_of_text(text) <= 200);
	cr_assert_eq(count_of(h, "summaries"), 0);
	api_close(&h);
}

/* SES-14, SES-15: the session's own settings reach the provider in place of the agent's. */
Test(compress, the_sessions_temperature_reaches_the_provider)
{
	struct api *h = api_open_with(0, allow_local);
	static struct provider_stub p = { .text = "Hello." };
	start_provider(h, &p);
	const char *own = new_session(h, h->sk, "{\"agent\":\"writer\",\"config\":{\"temperature\":0.25}}", NULL);
	const char *plain = new_session(h, h->sk, "{\"agent\":\"writer\"}", NULL);
	struct answer a = api_post(h, h->sk, "{\"message\":\"hi\"}", "/v1/sessions/%s/turns", own);
	must_be(a, 200);
	cr_assert_not_null(strstr(p.asked, "\"temperature\":0.25"));
	a = api_post(h, h->sk, "{\"message\":\"hi\"}", "/v1/sessions/%s/turns", plain);
	must_be(a, 200);
	cr_assert_null(strstr(p.asked, "temperature"));
	struct answer changed = api_patch(h, h->sk, "{\"temperature\":1.5}", "/v1/agents/writer");
	must_be(changed, 200);
	a = api_post(h, h->sk, "{\"message\":\"hi\"}", "/v1/sessions/%s/turns", plain);
	cr_assert_not_null(strstr(p.asked, "\"temperature\":1.5"));
	stop_provider(&p);
	api_close(&h);
}
