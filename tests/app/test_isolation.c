/* SPDX-License-Identifier: MIT */
/*
 * test_isolation: every route of the product against every identity that is not the one it should be: nothing is shown, nothing is changed,
 * and what belongs to somebody else looks like what never was (SEC-1, SEC-2, SIT-3). The routes come from the features themselves, so that a new one
 * is tried without being named here.
 */
#include "harness.h"

#include "app/call.h"

struct victim {
	struct api *h;
	const char *session, *name, *turn, *token; /* its session, by two names, a turn and its token */
	const char *twin_token;                    /* of another session of the same site */
	const char *foreign_sk, *foreign_token;    /* of another site */
	const char *before;
};

/* What the victim's own server sees of everything it has. */
static const char *snapshot(struct victim *v)
{
	struct api *h = v->h;
	struct answer s = api_get(h, h->sk, "/v1/sessions/%s?messages=100", v->session), list = api_get(h, h->sk, "/v1/sessions?limit=100");
	struct answer agents = api_get(h, h->sk, "/v1/agents?limit=100"), templates = api_get(h, h->sk, "/v1/templates?limit=100"),
		      tools = api_get(h, h->sk, "/v1/tools?limit=100"), turn = api_get(h, h->sk, "/v1/sessions/%s/turns/%s", v->session, v->turn);
	must_be(s, 200);
	must_be(list, 200);
	must_be(agents, 200);
	must_be(templates, 200);
	must_be(tools, 200);
	must_be(turn, 200);
	return api_text(h, "%s\n%s\n%s\n%s\n%s\n%s", s.body.p, list.body.p, agents.body.p, templates.body.p, tools.body.p, turn.body.p);
}

#define TOOL(name) "{\"name\":\"" name "\",\"description\":\"d\",\"url\":\"https://tools.example/\"}"

static void prepare(struct victim *v)
{
	struct api *h = v->h = api_open();
	struct api_site other = api_add_site(h, "https://other.example");
	struct answer agent = api_post(h, h->sk, "{\"name\":\"vault\"}", "/v1/agents"), tpl = api_post(h, h->sk, "{\"name\":\"vault\"}", "/v1/templates"),
		      tool = api_post(h, h->sk, TOOL("vault"), "/v1/tools");
	must_be(agent, 201);
	must_be(tpl, 201);
	must_be(tool, 201);
	v->session = new_session(h, h->sk, "{\"agent\":\"vault\",\"user\":\"ann\",\"state\":{\"secret\":\"canary\"}}", &v->token);
	struct answer turn = api_post(h, h->sk, "{\"message\":\"canary\"}", "/v1/sessions/%s/turns", v->session);
	must_be(turn, 200);
	v->turn = str_at(&turn, "turn_id");
	struct answer s = api_get(h, h->sk, "/v1/sessions/%s", v->session);
	v->name = str_at(&s, "name");
	new_session(h, h->sk, "{\"agent\":\"guide\",\"user\":\"bob\"}", &v->twin_token);
	v->foreign_sk = other.sk;
	new_session(h, other.sk, "{\"agent\":\"guide\",\"user\":\"ann\"}", &v->foreign_token);
	v->before = snapshot(v);
}

/* A route's path with its {names} filled in. */
static const char *path_of(struct victim *v, const struct api_route *r, const char *session, const char *agent)
{
	struct buf b;
	buf_init(&b, v->h->arena, 200);
	for (const char *p = r->path; *p; p++) {
		if (*p != '{') {
			buf_add_char(&b, *p);
			continue;
		}
		buf_add_str(&b, p[1] == 's' ? session : strncmp(p, "{t}", 3) == 0 ? v->turn : p[1] == 'u' ? "ann" : agent);
		p = strchr(p, '}');
	}
	return b.p;
}

/* A body that the route would take from the right caller. */
static const char *body_of(struct victim *v, const struct api_route *r)
{
	if (r->method != HTTP_POST && r->method != HTTP_PATCH)
		return NULL;
	if (strstr(r->path, "/messages"))
		return "{\"role\":\"user\",\"content\":\"intruder\"}";
	if (strstr(r->path, "/turns"))
		return "{\"message\":\"intruder\"}";
	if (strstr(r->path, "/v1/chat/"))
		return api_text(v->h, "{\"message\":\"intruder\",\"session_id\":\"%s\"}", v->session);
	if (strcmp(r->path, "/v1/sessions") == 0)
		return "{\"agent\":\"vault\"}";
	if (r->flags & ROUTE_RAW_BODY) /* an export of nothing */
		return "{\"parley_export\":1,\"scope\":\"site\",\"site\":\"x\",\"sessions\":0,\"conversations\":0,\"messages\":0,\"lines\":0,"
		       "\"checksum\":\"0e5751c026e543b2e8ab2eb06099daa1d1e5df47778f7787faab45cdf12fe3a8\"}\n";
	if (strcmp(r->path, "/v1/agents") == 0 || strcmp(r->path, "/v1/templates") == 0)
		return "{\"name\":\"intruder\"}";
	if (strncmp(r->path, "/v1/tools", 9) == 0)
		return strstr(r->path, "/secret") ? NULL : r->method == HTTP_POST ? TOOL("intruder") : "{\"description\":\"intruder\"}";
	return strstr(r->path, "/end") || strstr(r->path, "/token") ? "{}" : "{\"title\":\"intruder\"}";
}

static struct answer try_route(struct victim *v, const struct api_route *r, const char *key, const char *session, const char *agent)
{
	return ask(v->h, .method = http_method_name(r->method), .to = path_of(v, r, session, agent), .key = key, .body = body_of(v, r),
		   .type = r->flags & ROUTE_RAW_BODY ? "application/x-ndjson" : NULL, .origin = key && strncmp(key, "pk_", 3) == 0 ? ORIGIN : NULL);
}

static bool is_open(const struct api_route *r)
{
	return r->scope == SCOPE_PUBLIC || r->scope == SCOPE_LOCAL;
}

#define each_route(r)                                                                                                  \
	for (const struct feature *const *f_ = app_features; *f_; f_++)                                                \
		for (const struct api_route *r = (*f_)->routes; r < (*f_)->routes + (*f_)->n_routes; r++)

static void finish(struct victim *v)
{
	cr_assert_str_eq(snapshot(v), v->before);
	api_close(&v->h);
}

static const char *tampered(struct api *h, const char *token, size_t at)
{
	char *t = api_text(h, "%s", token);
	t[at] = t[at] == 'A' ? 'B' : 'A';
	return t;
}

/* SEC-1 */
Test(isolation, no_route_answers_without_a_genuine_credential)
{
	struct victim v;
	prepare(&v);
	struct api *h = v.h;
	const char *const keys[] = {
		NULL, "", "x", "sk_", "st_", "sk_0000000000000000000000000000000000000", tampered(h, h->sk, 10), tampered(h, v.token, 5), tampered(h, v.token, strlen(v.token) - 2),
		tampered(h, v.token, 40), api_text(h, "%sA", v.token), api_text(h, "%.*s", (int)strlen(v.token) - 1, v.token), api_text(h, "%s x", h->sk),
		api_text(h, "pk_%s", h->sk + 3), api_text(h, "sk_%s", h->pk + 3),
	};
	each_route(r) {
		if (is_open(r))
			continue;
		for (size_t i = 0; i < COUNT(keys); i++) {
			struct answer a = try_route(&v, r, keys[i], v.session, "vault");
			assert_code(a, 401, "unauthenticated");
			cr_assert_not_null(header_of(&a, "WWW-Authenticate"));
			cr_assert_null(strstr(a.body.p, "canary"));
		}
		struct answer basic = ask(h, .method = http_method_name(r->method), .to = path_of(&v, r, v.session, "vault"), .authorization = api_text(h, "Basic %s", h->sk));
		assert_code(basic, 401, "unauthenticated");
	}
	finish(&v);
}

static const char *expired_token(struct victim *v)
{
	struct token tk;
	char text[TOKEN_SIZE];
	cr_assert_eq(token_parse(bytes_of(v->token), v->h->app->token_key, stamp_now(), &tk), ERR_OK);
	tk.expires_at = stamp_now() - 1;
	token_format(&tk, v->h->app->token_key, text);
	return api_text(v->h, "%s", text);
}

Test(isolation, no_route_answers_an_expired_token)
{
	struct victim v;
	prepare(&v);
	const char *key = expired_token(&v);
	each_route(r) {
		if (is_open(r))
			continue;
		struct answer a = try_route(&v, r, key, v.session, "vault");
		assert_code(a, 401, "token_expired");
	}
	finish(&v);
}

/* SEC-3: a token whose user is not the session's any more opens nothing. */
Test(isolation, no_route_answers_a_token_of_another_user)
{
	struct victim v;
	prepare(&v);
	struct token tk;
	char text[TOKEN_SIZE];
	cr_assert_eq(token_parse(bytes_of(v.token), v.h->app->token_key, stamp_now(), &tk), ERR_OK);
	tk.user.b[3] ^= 1;
	token_format(&tk, v.h->app->token_key, text);
	each_route(r) {
		if (r->scope != SCOPE_SESSION)
			continue;
		struct answer a = try_route(&v, r, text, v.session, "vault");
		assert_code(a, 404, "not_found");
	}
	struct answer chat = api_post(v.h, text, "{\"message\":\"intruder\"}", "/v1/chat/vault/message");
	assert_code(chat, 404, "not_found");
	finish(&v);
}

/* SEC-2, SIT-3: byte for byte what a session that never was looks like. */
Test(isolation, a_foreign_session_looks_like_none)
{
	struct victim v;
	prepare(&v);
	const char *const keys[] = { v.foreign_sk, v.foreign_token, v.twin_token };
	const char *const names[] = { v.session, v.name };
	each_route(r) {
		if (r->scope != SCOPE_SESSION)
			continue;
		for (size_t i = 0; i < COUNT(keys); i++)
			for (size_t k = 0; k < COUNT(names); k++) {
				struct answer a = try_route(&v, r, keys[i], names[k], "vault");
				struct answer none = try_route(&v, r, keys[i], k ? "web_ann_default_20260101_000000_0badcafe" : "ses_00000000000000000000000000", "vault");
				assert_code(a, 404, "not_found");
				assert_code(none, 404, "not_found");
				cr_assert_str_eq(masked(&a), masked(&none), "%s %s", http_method_name(r->method), r->path);
				cr_assert_null(header_of(&a, "ETag"));
			}
	}
	finish(&v);
}

/* SES-6: a user's list or history shows another token nothing of it; the site's own publishable key is no user. */
Test(isolation, user_routes_show_a_token_its_own_user_alone)
{
	struct victim v;
	prepare(&v);
	const char *const keys[] = { v.foreign_token, v.twin_token };
	each_route(r) {
		if (r->scope != SCOPE_USER)
			continue;
		for (size_t i = 0; i < COUNT(keys); i++) {
			struct answer a = try_route(&v, r, keys[i], v.session, "vault");
			cr_assert(a.status == 200 || a.status == 400 || a.status == 403 || a.status == 404, "%s: %d", r->path, a.status);
			cr_assert_null(strstr(a.body.p, "canary"));
			cr_assert_null(strstr(a.body.p, v.session));
		}
		struct answer server = try_route(&v, r, v.foreign_sk, v.session, "vault"), by_public = try_route(&v, r, v.h->pk, v.session, "vault");
		cr_assert_null(strstr(server.body.p, v.session));
		assert_code(by_public, 403, "forbidden");
	}
	finish(&v);
}

/* The same before the body is looked at: what is wrong with it tells nothing about the session either. */
Test(isolation, a_bad_body_tells_nothing_of_a_foreign_session)
{
	struct victim v;
	prepare(&v);
	const char *const bodies[] = { "{", "{\"x\":1}", "[]", "" };
	each_route(r) {
		if (r->scope != SCOPE_SESSION || r->method == HTTP_GET)
			continue;
		for (size_t i = 0; i < COUNT(bodies); i++) {
			struct answer a = ask(v.h, .method = http_method_name(r->method), .to = path_of(&v, r, v.session, "vault"), .key = v.foreign_sk, .body = bodies[i]);
			assert_code(a, 404, "not_found");
		}
	}
	finish(&v);
}

/* SEC-2 */
Test(isolation, site_routes_are_for_the_sites_own_secret_key)
{
	struct victim v;
	prepare(&v);
	struct api *h = v.h;
	const char *const keys[] = { v.token, v.foreign_token, h->pk };
	each_route(r) {
		if (r->scope != SCOPE_SITE)
			continue;
		for (size_t i = 0; i < COUNT(keys); i++) {
			struct answer a = try_route(&v, r, keys[i], v.session, "vault");
			assert_code(a, 403, "forbidden");
		}
		struct answer a = try_route(&v, r, v.foreign_sk, v.session, "vault");
		if (strchr(r->path, '{')) {
			struct answer none = try_route(&v, r, v.foreign_sk, v.session, "never-was");
			assert_code(a, 404, "not_found");
			cr_assert_str_eq(masked(&a), masked(&none));
		} else {
			cr_assert_lt(a.status, 300, "its own: %d", a.status);
			cr_assert(strstr(a.body.p, "vault") == NULL && strstr(a.body.p, v.session) == NULL);
		}
	}
	struct answer by_id = api_get(h, h->sk, "/v1/agents/vault");
	struct answer foreign = api_get(h, v.foreign_sk, "/v1/agents/%s", str_at(&by_id, "id"));
	assert_code(foreign, 404, "not_found");
	struct answer filter = api_get(h, v.foreign_sk, "/v1/sessions?agent=%s", str_at(&by_id, "id"));
	must_be(filter, 400);
	finish(&v);
}

/* SEC-1 */
Test(isolation, a_publishable_key_only_starts)
{
	struct victim v;
	prepare(&v);
	each_route(r) {
		if (r->scope != SCOPE_SESSION)
			continue;
		struct answer a = try_route(&v, r, v.h->pk, v.session, "vault"), none = try_route(&v, r, v.h->pk, "never-was", "vault");
		assert_code(a, 403, "forbidden");
		cr_assert_str_eq(masked(&a), masked(&none));
	}
	finish(&v);
}

/* A foreign agent cannot be used either, nor a foreign session in a chat. */
Test(isolation, starting_reaches_nothing_foreign)
{
	struct victim v;
	prepare(&v);
	struct api *h = v.h;
	struct answer agent = api_get(h, h->sk, "/v1/agents/vault");
	const char *id = str_at(&agent, "id");
	const char *const names[] = { "vault", id };
	for (size_t i = 0; i < COUNT(names); i++) {
		struct answer s = api_post(h, v.foreign_sk, api_text(h, "{\"agent\":\"%s\"}", names[i]), "/v1/sessions");
		must_be(s, 400);
		cr_assert(blames(&s, "agent", "value"));
		struct answer c = api_post(h, v.foreign_sk, "{\"message\":\"x\"}", "/v1/chat/%s/message", names[i]);
		assert_code(c, 404, "not_found");
	}
	struct answer chat = api_post(h, v.foreign_sk, api_text(h, "{\"message\":\"x\",\"session_id\":\"%s\"}", v.session), "/v1/chat/guide/message");
	assert_code(chat, 404, "not_found");
	struct answer by_token = api_post(h, v.foreign_token, api_text(h, "{\"message\":\"x\",\"session_id\":\"%s\"}", v.session), "/v1/chat/guide/message");
	assert_code(by_token, 404, "not_found");
	struct answer start = api_post(h, v.token, "{\"agent\":\"vault\"}", "/v1/sessions");
	assert_code(start, 403, "forbidden");
	finish(&v);
}

/* SIT-3: one browser, one visitor, two sites. */
Test(isolation, the_same_visitor_on_two_sites_has_two_sessions)
{
	struct api *h = api_open();
	struct api_site other = api_add_site(h, "https://other.example");
	struct answer a = ask(h, .method = "POST", .to = "/v1/chat/guide/message", .key = h->pk, .origin = ORIGIN, .body = "{\"message\":\"here\"}");
	struct answer b = ask(h, .method = "POST", .to = "/v1/chat/guide/message", .key = other.pk, .origin = "https://other.example", .body = "{\"message\":\"there\"}");
	must_be(a, 200);
	must_be(b, 200);
	cr_assert_str_neq(str_at(&a, "session_id"), str_at(&b, "session_id"));
	struct answer crossed = ask(h, .method = "GET", .to = api_text(h, "/v1/sessions/%s/messages", str_at(&a, "session_id")), .key = str_at(&b, "token"),
				    .origin = "https://other.example");
	assert_code(crossed, 404, "not_found");
	struct answer mixed = ask(h, .method = "POST", .to = "/v1/chat/guide/message", .key = str_at(&b, "token"), .origin = ORIGIN, .body = "{\"message\":\"x\"}");
	assert_code(mixed, 403, "origin_refused");
	struct answer own = api_get(h, h->sk, "/v1/sessions/%s/messages", str_at(&a, "session_id"));
	cr_assert_eq(count_at(&own, "data"), 2);
	assert_str(own, "data[0].content", "here");
	api_close(&h);
}
