/* SPDX-License-Identifier: MIT */
/* test_tool_run: the calls of one answer, against a server in threads that answers by the path it is asked for. */
#include "harness.h"

#include <arpa/inet.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "app/tool_run.h"

#define KEPT 128 /* requests that are kept */
#define HUGE ((size_t)1 << 20) /* bytes of a large answer */

/* The site's server. */
struct shop {
	int listener, port;
	pthread_t thread;
	pthread_mutex_t lock;
	char *requests[KEPT];
	size_t n, n_at_once, most_at_once;
	_Atomic int n_visits; /* connections that are open */
};

/* One connection of it. */
struct visit {
	struct shop *shop;
	int fd;
};

struct scene {
	struct api *h;
	struct shop shop;
	struct tool_set *set;
	struct agent agent;
	struct ident session, conversation, turn;
	struct tool_env env;
	struct tool_outcome *out;
	size_t n;
	int n_told, n_ticks;
	enum err fail_tick;
};

/* ---- the server ---- */

static void say(int fd, const char *text)
{
	size_t n = strlen(text);
	while (n > 0) {
		ssize_t sent = send(fd, text, n, MSG_NOSIGNAL);
		if (sent <= 0)
			return;
		text += sent;
		n -= (size_t)sent;
	}
}

static void say_body(int fd, const char *body)
{
	char head[128];
	snprintf(head, sizeof head, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %zu\r\n\r\n", strlen(body));
	say(fd, head);
	say(fd, body);
}

static void answer_path(struct shop *s, int fd, const char *path)
{
	char c, text[3000];
	if (strcmp(path, "/object") == 0)
		say_body(fd, " {\n \"status\": \"sent \\n \\\" it\",\r\n\t\"items\": [1, 2.50]\n}\n");
	else if (strcmp(path, "/number") == 0)
		say_body(fd, "42");
	else if (strcmp(path, "/text") == 0)
		say_body(fd, "It was \"sent\".\nYesterday");
	else if (strcmp(path, "/twice") == 0)
		say_body(fd, "{\"a\":1,\"a\":2}");
	else if (strcmp(path, "/none") == 0)
		say(fd, "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n");
	else if (strcmp(path, "/bytes") == 0)
		say_body(fd, "\xff\xfe\x01");
	else if (strcmp(path, "/500") == 0)
		say(fd, "HTTP/1.1 500 Oh\r\nConnection: close\r\nContent-Length: 24\r\n\r\nDatabase db7.inner is down");
	else if (strcmp(path, "/302") == 0) {
		snprintf(text, sizeof text, "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:%d/elsewhere\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", s->port);
		say(fd, text);
	} else if (strcmp(path, "/cut") == 0)
		say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"half");
	else if (strcmp(path, "/noise") == 0)
		say(fd, "220 mail.inner ESMTP\r\n");
	else if (strcmp(path, "/slow") == 0) {
		nap(200);
		say_body(fd, "\"done\"");
	} else if (strcmp(path, "/hang") == 0) {
		while (recv(fd, &c, 1, 0) > 0)
			;
	} else if (strcmp(path, "/drip") == 0) {
		say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n");
		for (int i = 0; i < 100 && send(fd, "x", 1, MSG_NOSIGNAL) == 1; i++)
			nap(50);
	} else if (strcmp(path, "/large") == 0 || strcmp(path, "/long") == 0) {
		memset(text, 'x', sizeof text);
		text[0] = '"';
		for (int i = 1; i + 2 < (path[2] == 'a' ? 2900 : 1900); i += 2)
			memcpy(text + i, "ä", 2);
		strcpy(text + (path[2] == 'a' ? 2901 : 1901), "\"");
		say_body(fd, text);
	} else if (strcmp(path, "/huge") == 0) {
		char *huge = malloc(HUGE + 3);
		memset(huge, 'x', HUGE + 2);
		huge[0] = huge[HUGE + 1] = '"';
		huge[HUGE + 2] = 0;
		say_body(fd, huge);
		free(huge);
	} else if (strcmp(path, "/deep") == 0) {
		memset(text, '[', 50);
		memset(text + 50, ']', 50);
		text[100] = 0;
		say_body(fd, text);
	} else {
		say_body(fd, "\"ok\"");
	}
}

/* Reads a whole request; NULL when it does not come. The caller frees it. */
static char *read_request(int fd)
{
	size_t n = 0, room = 70000;
	char *text = malloc(room);
	while (n < room - 1) {
		ssize_t got = recv(fd, text + n, room - 1 - n, 0);
		if (got <= 0 || text[0] == 0x16) /* it is told goodbye, or greeted with TLS */
			break;
		n += (size_t)got;
		text[n] = 0;
		const char *body = strstr(text, "\r\n\r\n"), *length = strcasestr(text, "content-length:");
		if (body && length && n >= (size_t)(body + 4 - text) + (size_t)atoi(length + 15))
			return text;
	}
	free(text);
	return NULL;
}

static void *visit(void *arg)
{
	struct visit v = *(struct visit *)arg;
	struct shop *s = v.shop;
	char path[64] = "", *request = read_request(v.fd);
	free(arg);
	if (request) {
		sscanf(request, "POST %63s", path);
		pthread_mutex_lock(&s->lock);
		if (s->n < KEPT)
			s->requests[s->n++] = request;
		if (++s->n_at_once > s->most_at_once)
			s->most_at_once = s->n_at_once;
		pthread_mutex_unlock(&s->lock);
		answer_path(s, v.fd, path);
		pthread_mutex_lock(&s->lock);
		s->n_at_once--;
		pthread_mutex_unlock(&s->lock);
	}
	close(v.fd);
	atomic_fetch_sub(&s->n_visits, 1);
	return NULL;
}

static void *accept_all(void *arg)
{
	struct shop *s = arg;
	for (;;) {
		struct visit *v = malloc(sizeof *v);
		pthread_t thread;
		*v = (struct visit){ s, accept(s->listener, NULL, NULL) };
		if (v->fd < 0) {
			free(v);
			return NULL;
		}
		atomic_fetch_add(&s->n_visits, 1);
		cr_assert_eq(pthread_create(&thread, NULL, visit, v), 0);
		pthread_detach(thread);
	}
}

static void open_shop(struct shop *s)
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t n = sizeof at;
	pthread_mutex_init(&s->lock, NULL);
	s->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	cr_assert(s->listener >= 0 && bind(s->listener, (struct sockaddr *)&at, sizeof at) == 0 && listen(s->listener, 64) == 0);
	cr_assert_eq(getsockname(s->listener, (struct sockaddr *)&at, &n), 0);
	s->port = ntohs(at.sin_port);
	cr_assert_eq(pthread_create(&s->thread, NULL, accept_all, s), 0);
}

static void close_shop(struct shop *s)
{
	shutdown(s->listener, SHUT_RDWR);
	pthread_join(s->thread, NULL);
	close(s->listener);
	while (atomic_load(&s->n_visits) > 0)
		nap(5);
}

/* ---- the site ---- */

static void set_limits(struct conf *c)
{
	c->tool_allow_hosts = "127.0.0.1";
	c->tool_max_bytes = 1024;
	c->tool_timeout = 2000;
	c->tool_parallel = 8;
}

static enum err on_tick(void *arg)
{
	struct scene *s = arg;
	s->n_ticks++;
	return s->fail_tick ? task_fail(&s->h->task, s->fail_tick, "the test says so") : ERR_OK;
}

static enum err on_outcome(void *arg, const struct tool_outcome *o)
{
	struct scene *s = arg;
	cr_assert(o->result.n > 0);
	s->n_told++;
	return ERR_OK;
}

/* Adds a tool at a path of the shop and gives the answer. */
static struct answer add_tool(struct scene *s, const char *name, const char *path, const char *more)
{
	struct answer a = api_post(s->h, s->h->sk, api_text(s->h, "{\"name\":\"%s\",\"description\":\"About %s\",\"url\":\"http://127.0.0.1:%d%s\"%s}",
							     name, name, s->shop.port, path, more), "/v1/tools");
	must_be(a, 201);
	return a;
}

/* Opens the set of an agent with these tools, a JSON array. */
static void use_tools(struct scene *s, const char *names)
{
	s->agent = (struct agent){ .site = s->h->home.id, .name = BYTES("clerk"), .tools = bytes_of(names) };
	cr_assert_eq(tool_set_open(&s->h->task, s->h->app, &s->h->home.id, &s->agent, &s->set), ERR_OK, "%s", s->h->task.fault.internal);
}

static void open_scene_with(struct scene *s, void (*tune)(struct conf *c))
{
	memset(s, 0, sizeof *s);
	s->h = api_open_with(0, tune);
	open_shop(&s->shop);
	s->session = ident_new();
	s->conversation = ident_new();
	s->turn = ident_new();
	s->env = (struct tool_env){ .site = &s->h->home.id, .session = &s->session, .conversation = &s->conversation, .turn = &s->turn,
				    .user = BYTES("ann"), .agent = BYTES("clerk"), .client_fd = -1, .on_tick = on_tick, .on_outcome = on_outcome, .arg = s };
}

static void open_scene(struct scene *s)
{
	open_scene_with(s, set_limits);
}

static void close_scene(struct scene *s)
{
	api_close(&s->h);
	close_shop(&s->shop);
	for (size_t i = 0; i < s->shop.n; i++)
		free(s->shop.requests[i]);
}

static enum err call_all(struct scene *s, const char *calls)
{
	enum err e = tool_call_all(&s->h->task, s->h->app, s->set, &s->env, bytes_of(calls), &s->out, &s->n);
	for (size_t i = 0; !e && i < s->n; i++) {
		struct jsonx_flaw flaw;
		cr_assert(jsonx_check_strict(s->h->task.arena, s->out[i].result, &flaw), "%s", flaw.reason);
		cr_assert(!memchr(s->out[i].result.p, '\n', s->out[i].result.n), "a result is one line");
		cr_assert(!memmem(s->out[i].result.p, s->out[i].result.n, "127.0.0", 7) || !s->out[i].is_error, "%s", s->out[i].result.p);
	}
	cr_assert_eq(s->h->task.fault.code, e, "no fault stays behind");
	return e;
}

/* Makes one call and gives its result. */
static const char *call(struct scene *s, const char *name, const char *arguments)
{
	struct buf b;
	buf_init(&b, s->h->arena, 256);
	buf_add_str(&b, "[{");
	buf_member_str(&b, "id", "call_1");
	buf_member_str(&b, "name", name);
	buf_member_str(&b, "arguments", arguments);
	buf_add_str(&b, "}]");
	cr_assert_eq(call_all(s, b.p), ERR_OK, "%s", s->h->task.fault.internal);
	cr_assert_eq(s->n, 1);
	return api_text(s->h, "%.*s", (int)s->out[0].result.n, s->out[0].result.p);
}

static void expect_failure(struct scene *s, const char *name, const char *arguments, const char *text)
{
	const char *result = call(s, name, arguments);
	cr_expect(s->out[0].is_error, "%s: %s", name, result);
	cr_expect(strncmp(result, "\"Error: ", 8) == 0 && strstr(result, text), "%s: %s", name, result);
}

/* ---- what is sent ---- */

static struct bytes header(struct scene *s, const char *request, const char *name)
{
	const char *at = strcasestr(request, api_text(s->h, "\r\n%s: ", name));
	if (!at)
		return (struct bytes){ NULL, 0 };
	at += strlen(name) + 4;
	return (struct bytes){ at, strcspn(at, "\r") };
}

/* What a site's server does: https://www.standardwebhooks.com, with nothing of ours. */
static bool verifies(struct scene *s, const char *request, const char *secret)
{
	unsigned char key[64], mac[32];
	char text[64];
	size_t n;
	struct bytes id = header(s, request, "webhook-id"), at = header(s, request, "webhook-timestamp"), given = header(s, request, "webhook-signature");
	const char *body = strstr(request, "\r\n\r\n") + 4;
	const char *signed_text = api_text(s->h, "%.*s.%.*s.%s", (int)id.n, id.p, (int)at.n, at.p, body);
	cr_assert_eq(sodium_base642bin(key, sizeof key, secret + 6, strlen(secret + 6), NULL, &n, NULL, sodium_base64_VARIANT_ORIGINAL), 0);
	crypto_auth_hmacsha256_state st;
	crypto_auth_hmacsha256_init(&st, key, n);
	crypto_auth_hmacsha256_update(&st, (const unsigned char *)signed_text, strlen(signed_text));
	crypto_auth_hmacsha256_final(&st, mac);
	strcpy(text, "v1,");
	sodium_bin2base64(text + 3, sizeof text - 3, mac, sizeof mac, sodium_base64_VARIANT_ORIGINAL);
	return memmem(given.p, given.n, text, strlen(text)) != NULL;
}

Test(tool_run, posts_a_signed_call)
{
	struct scene s;
	open_scene(&s);
	struct answer tool = add_tool(&s, "find", "/object", ",\"parameters\":{\"type\":\"object\",\"properties\":{\"order\":{\"type\":\"integer\"}}}"),
		      other = add_tool(&s, "other", "/object", "");
	use_tools(&s, "[\"find\"]");
	const char *result = call(&s, "find", "{\"order\": 7}");
	cr_assert_str_eq(result, "{\"status\":\"sent \\n \\\" it\",\"items\":[1,2.50]}");
	cr_assert(!s.out[0].is_error && bytes_equal(s.out[0].id, BYTES("call_1")) && bytes_equal(s.out[0].name, BYTES("find")));
	cr_assert_eq(s.shop.n, 1);
	const char *rq = s.shop.requests[0];
	char session[IDENT_SIZE], conversation[IDENT_SIZE], turn[IDENT_SIZE];
	ident_format("ses_", &s.session, session);
	ident_format("cnv_", &s.conversation, conversation);
	ident_format("trn_", &s.turn, turn);
	cr_assert_str_eq(strstr(rq, "\r\n\r\n") + 4,
			 api_text(s.h, "{\"type\":\"tool_call\",\"tool\":\"find\",\"arguments\":{\"order\": 7},\"call_id\":\"call_1\",\"site\":\"%s\",\"session_id\":\"%s\","
				       "\"conversation_id\":\"%s\",\"turn_id\":\"%s\",\"user\":\"ann\",\"agent\":\"clerk\"}",
				  s.h->home.name, session, conversation, turn));
	cr_assert(bytes_equal(header(&s, rq, "Content-Type"), BYTES("application/json")));
	struct bytes id = header(&s, rq, "webhook-id"), at = header(&s, rq, "webhook-timestamp");
	cr_assert(id.n > 20 && !memchr(id.p, '.', id.n));
	cr_assert(llabs(atoll(at.p) - stamp_now() / 1000) <= 2);
	cr_assert(verifies(&s, rq, str_at(&tool, "secret")) && !verifies(&s, rq, str_at(&other, "secret")));
	char *forged = api_text(s.h, "%s", rq);
	forged[strlen(forged) - 3] ^= 1;
	cr_assert(!verifies(&s, forged, str_at(&tool, "secret")));
	cr_assert(!strstr(rq, "whsec") && !strstr(rq, s.h->sk));
	close_scene(&s);
}

Test(tool_run, sends_the_sites_own_id_of_a_session)
{
	struct scene s;
	open_scene(&s);
	add_tool(&s, "find", "/object", "");
	use_tools(&s, "[\"find\"]");
	s.env.session_id = BYTES("basket-7");
	s.env.conversation = NULL;
	call(&s, "find", "{}");
	cr_assert(strstr(s.shop.requests[0], "\"session_id\":\"basket-7\",\"turn_id\""), "%s", s.shop.requests[0]);
	close_scene(&s);
}

Test(tool_run, signs_with_the_secret_before_the_last_as_well)
{
	struct scene s;
	open_scene(&s);
	struct answer first = add_tool(&s, "find", "/object", ""), second = api_post(s.h, s.h->sk, NULL, "/v1/tools/find/secret");
	use_tools(&s, "[\"find\"]");
	call(&s, "find", "{}");
	cr_assert(verifies(&s, s.shop.requests[0], str_at(&first, "secret")) && verifies(&s, s.shop.requests[0], str_at(&second, "secret")));
	struct answer third = api_post(s.h, s.h->sk, NULL, "/v1/tools/find/secret");
	use_tools(&s, "[\"find\"]");
	call(&s, "find", "{}");
	cr_assert(!verifies(&s, s.shop.requests[1], str_at(&first, "secret")));
	cr_assert(verifies(&s, s.shop.requests[1], str_at(&second, "secret")) && verifies(&s, s.shop.requests[1], str_at(&third, "secret")));
	close_scene(&s);
}

Test(tool_run, each_call_has_an_id_of_its_own)
{
	struct scene s;
	struct bytes ids[4];
	open_scene(&s);
	add_tool(&s, "find", "/object", "");
	use_tools(&s, "[\"find\"]");
	for (size_t i = 0; i < 3; i++) { /* models use the same id again */
		call(&s, "find", "{}");
		ids[i] = header(&s, s.shop.requests[i], "webhook-id");
	}
	cr_assert(!bytes_equal(ids[0], ids[1]) && !bytes_equal(ids[1], ids[2]) && !bytes_equal(ids[0], ids[2]));
	use_tools(&s, "[\"find\"]");
	call(&s, "find", "{}"); /* the first one of the same turn */
	ids[3] = header(&s, s.shop.requests[3], "webhook-id");
	cr_assert(bytes_equal(ids[0], ids[3]));
	close_scene(&s);
}

/* ---- what comes back ---- */

Test(tool_run, takes_json_or_text)
{
	struct scene s;
	open_scene(&s);
	static const struct {
		const char *path, *result;
	} rows[] = {
		{ "number", "42" },
		{ "text", "\"It was \\\"sent\\\".\\nYesterday\"" },
		{ "twice", "\"{\\\"a\\\":1,\\\"a\\\":2}\"" },
		{ "none", "null" },
		{ "deep", "\"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]\"" },
	};
	for (size_t i = 0; i < COUNT(rows); i++)
		add_tool(&s, rows[i].path, api_text(s.h, "/%s", rows[i].path), "");
	use_tools(&s, "[\"number\",\"text\",\"twice\",\"none\",\"deep\"]");
	for (size_t i = 0; i < COUNT(rows); i++) {
		cr_assert_str_eq(call(&s, rows[i].path, ""), rows[i].result);
		cr_assert(!s.out[0].is_error);
	}
	close_scene(&s);
}

Test(tool_run, cuts_what_is_too_long_for_a_model_between_characters)
{
	struct scene s;
	open_scene(&s);
	add_tool(&s, "long", "/long", ",\"max_bytes\":100000");
	use_tools(&s, "[\"long\"]");
	const char *result = call(&s, "long", "{}");
	cr_assert(!s.out[0].is_error);
	cr_assert_leq(strlen(result), 1024 + 4);
	cr_assert_gt(strlen(result), 900);
	cr_assert(strstr(result, "ä\\n[cut: 960 of 1900 bytes]"), "%s", result + strlen(result) - 60);
	close_scene(&s);
}

/* Each kind of failure, told without a word of where and why inside. */
Test(tool_run, tells_the_model_what_failed)
{
	struct scene s;
	open_scene(&s);
	add_tool(&s, "e500", "/500", "");
	add_tool(&s, "e302", "/302", "");
	add_tool(&s, "cut", "/cut", "");
	add_tool(&s, "noise", "/noise", "");
	add_tool(&s, "bytes", "/bytes", "");
	add_tool(&s, "large", "/large", "");
	add_tool(&s, "limited", "/object", ",\"max_bytes\":20");
	add_tool(&s, "hang", "/hang", ",\"timeout_ms\":300");
	add_tool(&s, "drip", "/drip", ",\"timeout_ms\":300");
	add_tool(&s, "closed", "/x", "");
	add_tool(&s, "tls", "/x", "");
	sql_run(s.h, "UPDATE tools SET url = 'http://127.0.0.1:1/x' WHERE site = ? AND name = 'closed'", DB_ARGS(db_ident(&s.h->home.id)));
	struct answer p = api_patch(s.h, s.h->sk, api_text(s.h, "{\"url\":\"https://127.0.0.1:%d/x\"}", s.shop.port), "/v1/tools/tls");
	must_be(p, 200);
	use_tools(&s, "[\"e500\",\"e302\",\"cut\",\"noise\",\"bytes\",\"large\",\"limited\",\"hang\",\"drip\",\"closed\",\"tls\"]");
	int64_t failures = metric_get(METRIC_tool_failures_total), calls = metric_get(METRIC_tool_calls_total);
	expect_failure(&s, "e500", "{}", "answered with status 500");
	expect_failure(&s, "e302", "{}", "answered with status 302");
	expect_failure(&s, "cut", "{}", "broke off");
	expect_failure(&s, "noise", "{}", "made no sense");
	expect_failure(&s, "bytes", "{}", "neither JSON nor text");
	expect_failure(&s, "large", "{}", "more than 1024 bytes");
	expect_failure(&s, "limited", "{}", "more than 20 bytes");
	expect_failure(&s, "hang", "{}", "not answer in time");
	cr_assert(s.out[0].duration_ms >= 290 && s.out[0].duration_ms < 1500, "%d ms", (int)s.out[0].duration_ms);
	expect_failure(&s, "drip", "{}", "not answer in time");
	expect_failure(&s, "closed", "{}", "cannot be reached");
	expect_failure(&s, "tls", "{}", "cannot be reached");
	cr_assert_eq(metric_get(METRIC_tool_failures_total) - failures, 11);
	cr_assert_eq(metric_get(METRIC_tool_calls_total) - calls, 11);
	for (size_t i = 0; i < s.shop.n; i++)
		cr_assert(!strstr(s.shop.requests[i], "/elsewhere"), "a redirect is not followed");
	close_scene(&s);
}

static void set_limits_without_hosts(struct conf *c)
{
	set_limits(c);
	c->tool_allow_hosts = "";
}

/* SEC-4: a name that leads inside, or an address that came into the table by another way. */
Test(tool_run, reaches_no_private_address)
{
	struct scene s;
	open_scene_with(&s, set_limits_without_hosts);
	static const char *const names[] = { "a", "b", "c", "d" };
	const char *urls[] = { api_text(s.h, "https://127.0.0.1:%d/x", s.shop.port), api_text(s.h, "https://localhost:%d/x", s.shop.port),
			       api_text(s.h, "http://127.0.0.1:%d/x", s.shop.port), "https://[::ffff:10.0.0.1]/" };
	for (size_t i = 0; i < COUNT(names); i++) {
		struct answer a = api_post(s.h, s.h->sk, api_text(s.h, "{\"name\":\"%s\",\"description\":\"d\",\"url\":\"https://tools.example/\"}", names[i]), "/v1/tools");
		must_be(a, 201);
		sql_run(s.h, "UPDATE tools SET url = ? WHERE site = ? AND name = ?",
			DB_ARGS(db_text(bytes_of(urls[i])), db_ident(&s.h->home.id), db_text(bytes_of(names[i]))));
	}
	use_tools(&s, "[\"a\",\"b\",\"c\",\"d\"]");
	for (size_t i = 0; i < COUNT(names); i++)
		expect_failure(&s, names[i], "{}", "cannot be reached");
	cr_assert_eq(s.shop.n, 0);
	close_scene(&s);
}

/* ---- what is not sent ---- */

Test(tool_run, calls_nothing_with_wrong_arguments)
{
	struct scene s;
	open_scene(&s);
	add_tool(&s, "find", "/object", ",\"parameters\":{\"type\":\"object\",\"properties\":{\"order\":{\"type\":\"integer\"},\"to\":{\"enum\":[\"a\",\"b\"]}},"
					"\"required\":[\"order\"],\"additionalProperties\":false}");
	use_tools(&s, "[\"find\",\"current_time\"]");
	expect_failure(&s, "find", "{\"order\":\"7\"}", "\\n/order: must be integer");
	expect_failure(&s, "find", "{\"order\":7,\"to\":\"c\",\"x\":1}", "\\n/x: is not known here; known names: order, to");
	expect_failure(&s, "find", "{}", "\\n/order: is required");
	expect_failure(&s, "find", "", "\\n/order: is required");
	expect_failure(&s, "find", "[]", "must be object");
	expect_failure(&s, "find", "null", "must be object");
	expect_failure(&s, "find", "{\"order\":", "not JSON");
	expect_failure(&s, "find", "{\"order\":1,\"order\":2}", "a key appears twice");
	expect_failure(&s, "find", "order 7", "not JSON");
	expect_failure(&s, "lose", "{}", "there is no tool named \\\"lose\\\". The tools are: find, current_time");
	expect_failure(&s, "", "{}", "there is no tool named");
	expect_failure(&s, "FIND", "{}", "there is no tool named");
	cr_assert_eq(s.shop.n, 0);
	cr_assert_str_eq(call(&s, "find", "{\"order\":7}"), "{\"status\":\"sent \\n \\\" it\",\"items\":[1,2.50]}");
	close_scene(&s);
}

Test(tool_run, reads_calls_as_providers_write_them)
{
	struct scene s;
	open_scene(&s);
	add_tool(&s, "find", "/number", "");
	use_tools(&s, "[\"find\"]");
	cr_assert_eq(call_all(&s, "[{\"name\":\"find\",\"arguments\":{\"as\":\"an object\"}},{\"id\":\"x\",\"name\":\"find\"},{\"id\":7,\"arguments\":\"{}\"},{}]"), ERR_OK);
	cr_assert_eq(s.n, 4);
	cr_assert(!s.out[0].is_error && !s.out[1].is_error && s.out[2].is_error && s.out[3].is_error);
	cr_assert(s.out[0].id.p && s.out[0].id.n == 0 && bytes_equal(s.out[1].id, BYTES("x")));
	cr_assert_eq(call_all(&s, "[]"), ERR_OK);
	cr_assert_eq(s.n, 0);
	close_scene(&s);
}

Test(tool_run, knows_the_agents_tools_alone)
{
	struct scene s;
	open_scene(&s);
	add_tool(&s, "find", "/number", "");
	add_tool(&s, "hidden", "/number", "");
	add_tool(&s, "bent", "/number", "");
	struct api_site other = api_add_site(s.h, "https://other.example");
	struct answer foreign = api_post(s.h, other.sk, "{\"name\":\"foreign\",\"description\":\"d\",\"url\":\"https://other.example/\"}", "/v1/tools");
	must_be(foreign, 201);
	sql_run(s.h, "UPDATE tools SET parameters = '{broken' WHERE site = ? AND name = 'bent'", DB_ARGS(db_ident(&s.h->home.id)));
	use_tools(&s, "[\"current_time\",\"gone\",\"find\",\"bent\",\"foreign\"]");
	size_t n;
	const struct llm_tool *list = tool_set_list(s.set, &n);
	cr_assert_eq(n, 2);
	cr_assert(bytes_equal(list[0].name, BYTES("current_time")) && bytes_equal(list[1].name, BYTES("find")));
	cr_assert(bytes_equal(list[1].description, BYTES("About find")) && jsonx_type(list[1].parameters) == JSONX_OBJECT);
	expect_failure(&s, "hidden", "{}", "there is no tool named");
	expect_failure(&s, "foreign", "{}", "there is no tool named");
	expect_failure(&s, "bent", "{}", "there is no tool named");
	cr_assert_eq(s.shop.n, 0);
	use_tools(&s, "[]");
	tool_set_list(s.set, &n);
	cr_assert_eq(n, 0);
	expect_failure(&s, "find", "{}", "The tools are: none");
	close_scene(&s);
}

/* ---- several ---- */

static const char *many_calls(struct scene *s, const char *name, int n)
{
	struct buf b;
	buf_init(&b, s->h->arena, 4096);
	buf_add_char(&b, '[');
	for (int i = 0; i < n; i++)
		buf_addf(&b, "%s{\"id\":\"c%d\",\"name\":\"%s\",\"arguments\":\"{}\"}", i ? "," : "", i, name);
	buf_add_char(&b, ']');
	return buf_bytes(&b).p;
}

Test(tool_run, calls_run_at_the_same_time_and_fail_alone)
{
	struct scene s;
	open_scene(&s);
	add_tool(&s, "slow", "/slow", "");
	add_tool(&s, "hang", "/hang", ",\"timeout_ms\":400");
	add_tool(&s, "e500", "/500", "");
	use_tools(&s, "[\"slow\",\"hang\",\"e500\",\"current_time\"]");
	int64_t began = stamp_mono_ms();
	cr_assert_eq(call_all(&s, "[{\"id\":\"1\",\"name\":\"slow\",\"arguments\":\"{}\"},{\"id\":\"2\",\"name\":\"hang\",\"arguments\":\"{}\"},"
				  "{\"id\":\"3\",\"name\":\"nothing\",\"arguments\":\"{}\"},{\"id\":\"4\",\"name\":\"e500\",\"arguments\":\"{}\"},"
				  "{\"id\":\"5\",\"name\":\"current_time\",\"arguments\":\"{}\"},{\"id\":\"6\",\"name\":\"slow\",\"arguments\":\"{}\"},"
				  "{\"id\":\"7\",\"name\":\"slow\",\"arguments\":\"{}\"}]"), ERR_OK);
	int64_t ms = stamp_mono_ms() - began;
	cr_assert(ms >= 390 && ms < 1200, "%d ms", (int)ms);
	cr_assert_eq(s.n, 7);
	static const bool fails[] = { false, true, true, true, false, false, false };
	for (size_t i = 0; i < 7; i++) {
		cr_assert_eq(s.out[i].is_error, fails[i], "%zu", i);
		cr_assert_eq(s.out[i].id.p[0], (char)('1' + i));
	}
	cr_assert(bytes_equal(s.out[6].result, BYTES("\"done\"")) && s.out[6].duration_ms >= 190 && s.out[6].duration_ms < 800);
	cr_assert_eq(s.n_told, 7, "each is told as it ends");
	cr_assert_geq(s.shop.most_at_once, 3);
	close_scene(&s);
}

static void allow_three(struct conf *c)
{
	set_limits(c);
	c->tool_parallel = 3;
}

Test(tool_run, more_calls_than_may_run_wait)
{
	struct scene s;
	open_scene_with(&s, allow_three);
	add_tool(&s, "slow", "/slow", ",\"timeout_ms\":900");
	use_tools(&s, "[\"slow\"]");
	int64_t began = stamp_mono_ms();
	cr_assert_eq(call_all(&s, many_calls(&s, "slow", 9)), ERR_OK);
	cr_assert_geq(stamp_mono_ms() - began, 590);
	for (size_t i = 0; i < 9; i++)
		cr_assert(!s.out[i].is_error, "%s", s.out[i].result.p);
	cr_assert_leq(s.shop.most_at_once, 3);
	close_scene(&s);
}

static void allow_one(struct conf *c)
{
	set_limits(c);
	c->tool_parallel = 1;
}

/* Sites refuse what was signed long ago. */
Test(tool_run, a_call_that_waited_is_signed_when_it_is_made)
{
	struct scene s;
	open_scene_with(&s, allow_one);
	struct answer made = add_tool(&s, "slow", "/slow", "");
	use_tools(&s, "[\"slow\"]");
	cr_assert_eq(call_all(&s, many_calls(&s, "slow", 7)), ERR_OK);
	cr_assert_eq(s.shop.n, 7);
	struct bytes first = header(&s, s.shop.requests[0], "webhook-timestamp"), last = header(&s, s.shop.requests[6], "webhook-timestamp");
	cr_assert_gt(atoll(last.p), atoll(first.p));
	cr_assert(verifies(&s, s.shop.requests[6], str_at(&made, "secret")));
	close_scene(&s);
}

Test(tool_run, carries_out_no_more_than_an_answer_may_ask)
{
	struct scene s;
	open_scene(&s);
	add_tool(&s, "find", "/number", "");
	use_tools(&s, "[\"find\"]");
	cr_assert_eq(call_all(&s, many_calls(&s, "find", 70)), ERR_OK);
	cr_assert_eq(s.n, 70);
	for (size_t i = 0; i < 70; i++)
		cr_assert_eq(s.out[i].is_error, i >= 64, "%zu: %.*s", i, (int)s.out[i].result.n, s.out[i].result.p);
	cr_assert_eq(s.shop.n, 64);
	close_scene(&s);
}

/* A turn keeps what the model is given, and no answer of a site's server as it came. */
Test(tool_run, large_answers_are_not_kept)
{
	struct scene s;
	open_scene(&s);
	add_tool(&s, "huge", "/huge", ",\"max_bytes\":4194304");
	use_tools(&s, "[\"huge\"]");
	const char *calls = many_calls(&s, "huge", 16);
	size_t before = arena_used(s.h->task.arena);
	cr_assert_eq(call_all(&s, calls), ERR_OK);
	for (size_t i = 0; i < s.n; i++)
		cr_assert(!s.out[i].is_error && strstr(s.out[i].result.p, "of 1048576 bytes]"), "%s", s.out[i].result.p);
	size_t kept = arena_used(s.h->task.arena) - before;
	cr_assert_lt(kept, HUGE / 2, "%zu bytes", kept);
	close_scene(&s);
}

Test(tool_run, whoever_waits_may_end_all)
{
	struct scene s;
	open_scene(&s);
	add_tool(&s, "hang", "/hang", "");
	use_tools(&s, "[\"hang\"]");
	s.fail_tick = ERR_CANCELLED;
	int64_t began = stamp_mono_ms();
	cr_assert_eq(call_all(&s, many_calls(&s, "hang", 12)), ERR_CANCELLED);
	cr_assert_lt(stamp_mono_ms() - began, 1000);
	cr_assert_eq(s.n_ticks, 1);
	close_scene(&s);
}

/* TRN-5 */
Test(tool_run, a_client_that_is_gone_ends_all)
{
	struct scene s;
	int pair[2];
	open_scene(&s);
	add_tool(&s, "hang", "/hang", "");
	use_tools(&s, "[\"hang\"]");
	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	close(pair[1]);
	s.env.client_fd = pair[0];
	cr_assert_eq(call_all(&s, many_calls(&s, "hang", 2)), ERR_CANCELLED);
	close(pair[0]);
	close_scene(&s);
}

Test(tool_run, a_deadline_ends_what_has_not_ended)
{
	struct scene s;
	open_scene(&s);
	add_tool(&s, "hang", "/hang", "");
	add_tool(&s, "find", "/number", "");
	use_tools(&s, "[\"hang\",\"find\"]");
	s.env.deadline = stamp_mono_ms() + 300;
	cr_assert_eq(call_all(&s, "[{\"id\":\"1\",\"name\":\"hang\",\"arguments\":\"\"},{\"id\":\"2\",\"name\":\"find\",\"arguments\":\"\"}]"), ERR_OK);
	cr_assert(s.out[0].is_error && strstr(s.out[0].result.p, "in time") && !s.out[1].is_error);
	cr_assert_lt(s.out[0].duration_ms, 1000);
	close_scene(&s);
}

/* ---- built in ---- */

Test(tool_run, tells_the_time)
{
	struct scene s;
	open_scene(&s);
	use_tools(&s, "[\"current_time\"]");
	struct bytes result = bytes_of(call(&s, "current_time", "{\"utc_offset_minutes\":-330}"));
	cr_assert(!s.out[0].is_error, "%s", result.p);
	int64_t utc, local;
	struct bytes text = jsonx_string(s.h->arena, jsonx_member(result, "local"));
	cr_assert(stamp_parse(jsonx_string(s.h->arena, jsonx_member(result, "utc")), &utc) && stamp_parse(text, &local));
	cr_assert(llabs(utc - stamp_now()) < 5000 && llabs(utc - local) < 1000, "%s", result.p);
	cr_assert(text.n == 25 && memcmp(text.p + 19, "-05:30", 6) == 0, "%s", result.p);
	cr_assert(strstr(result.p, "day\""));
	expect_failure(&s, "current_time", "{\"utc_offset_minutes\":900}", "/utc_offset_minutes: must be at most 840");
	expect_failure(&s, "current_time", "{\"zone\":\"Europe/Berlin\"}", "/zone: is not known here");
	cr_assert_eq(s.shop.n, 0);
	close_scene(&s);
}

Test(tool_run, built_in_tools_are_sound)
{
	size_t n = 0;
	for (const struct feature *const *f = app_features; *f; f++)
		for (size_t i = 0; i < (*f)->n_tools; i++, n++) {
			const struct tool_builtin *b = &(*f)->tools[i];
			struct arena *a = arena_open(4096);
			struct jsonx_flaw flaw;
			cr_assert(b->name && b->call && strlen(b->description) > 8);
			cr_assert_eq(tool_find_builtin(bytes_of(b->name)), b, "no other one has its name");
			cr_assert(jsonx_check_strict(a, bytes_of(b->parameters), &flaw), "%s: %s", b->name, flaw.reason);
			arena_close(&a);
		}
	cr_assert_gt(n, 0);
}

/* ---- in a turn ---- */

/* TRN-10: the whole way, from a user's message over the site's server to the answer and the stored messages. */
Test(tool_run, works_in_a_turn)
{
	struct scene s;
	open_scene(&s);
	struct answer tool = add_tool(&s, "find", "/object", ",\"parameters\":{\"type\":\"object\",\"properties\":{\"order\":{\"type\":\"integer\"}}}");
	struct answer agent = api_post(s.h, s.h->sk, "{\"name\":\"clerk\",\"tools\":[\"find\",\"current_time\"]}", "/v1/agents");
	must_be(agent, 201);
	const char *session = new_session(s.h, s.h->sk, "{\"agent\":\"clerk\",\"user\":\"ann\",\"id\":\"basket-7\"}", NULL);
	struct answer a = api_post(s.h, s.h->sk, "{\"message\":\"/call find {\\\"order\\\":7}\\n/call find {\\\"order\\\":\\\"x\\\"}\\n/call current_time {}\"}",
				   "/v1/sessions/%s/turns", session);
	must_be(a, 200);
	cr_assert(bool_at(&a, "success"), "%s", a.body.p);
	cr_assert_eq(count_at(&a, "steps"), 1);
	cr_assert_eq(count_at(&a, "steps[0].results"), 3);
	assert_str(a, "steps[0].results[0].result.status", "sent \n \" it");
	cr_assert(!bool_at(&a, "steps[0].results[0].is_error") && bool_at(&a, "steps[0].results[1].is_error"));
	cr_assert(strstr(str_at(&a, "steps[0].results[1].result"), "/order: must be integer"));
	cr_assert(raw_at(&a, "steps[0].results[2].result.weekday").n);
	cr_assert_eq(s.shop.n, 1);
	cr_assert(verifies(&s, s.shop.requests[0], str_at(&tool, "secret")));
	cr_assert(strstr(s.shop.requests[0], "\"user\":\"ann\",\"agent\":\"clerk\"}"), "%s", s.shop.requests[0]);
	cr_assert(strstr(s.shop.requests[0], "\"session_id\":\"basket-7\""));
	cr_assert(strstr(s.shop.requests[0], api_text(s.h, "\"turn_id\":\"%s\"", str_at(&a, "turn_id"))));
	struct answer m = api_get(s.h, s.h->sk, "/v1/sessions/%s/messages", session);
	cr_assert_eq(count_at(&m, "data"), 6, "user, calls, three results, answer: %s", m.body.p);
	close_scene(&s);
}
