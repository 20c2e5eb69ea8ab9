/* SPDX-License-Identifier: MIT */
/* test_session_update: several parts of a session in one call, all or nothing; versions; its way from active to ended, archived and back. */
#include "harness.h"

#include <stdio.h>

static const char *get(struct api *h, const char *id)
{
	struct answer a = api_get(h, h->sk, "/v1/sessions/%s?messages=100", id);
	must_be(a, 200);
	return a.body.p;
}

/* A second conversation of a session, which stays inactive. */
static const char *second_conversation(struct api *h, const char *id)
{
	struct answer a = api_post(h, h->sk, "{\"active\":false}", "/v1/sessions/%s/conversations", id);
	must_be(a, 201);
	return str_at(&a, "id");
}

/* 61 bytes: of two of them, the 64th is in the middle of a character */
#define GLOBE "\xf0\x9f\x8c\x8d"
#define GLOBES "x" GLOBE GLOBE GLOBE GLOBE GLOBE GLOBE GLOBE GLOBE GLOBE GLOBE GLOBE GLOBE GLOBE GLOBE GLOBE

/* SES-10 */
Test(session_update, changes_every_part_in_one_call)
{
	struct api *h = api_open();
	const char *id = new_session(h, h->sk, "{\"agent\":\"guide\",\"state\":{\"a\":1},\"tags\":[\"old\"]}", NULL);
	add_messages(h, id, 1, 3);
	const char *other = second_conversation(h, id);
	struct answer before = api_get(h, h->sk, "/v1/sessions/%s", id);
	struct answer a = api_patch(h, h->sk,
				    api_text(h, "{\"title\":\"T\",\"context\":\"C\",\"tags\":[\"new\"],\"metadata\":{\"k\":\"v\"},\"state\":{\"b\":2},\"config\":{\"temperature\":0.5},"
						"\"preferences\":{\"tone\":\"short\"},\"metrics\":{\"clicks\":2},\"conversation_id\":\"%s\","
						"\"messages\":[{\"role\":\"user\",\"content\":\"one\"},{\"role\":\"assistant\",\"content\":\"two\",\"tokens_used\":7}]}", other),
				    "/v1/sessions/%s", id);
	must_be(a, 200);
	assert_str(a, "title", "T");
	assert_str(a, "context", "C");
	assert_str(a, "tags[0]", "new");
	assert_str(a, "metadata.k", "v");
	assert_int(a, "state.a", 1);
	assert_int(a, "state.b", 2);
	assert_str(a, "state.preferences.tone", "short");
	assert_int(a, "state.metrics.clicks", 2);
	assert_str(a, "conversation_id", other);
	assert_int(a, "message_count", 2);
	cr_assert_eq(count_at(&a, "messages"), 2);
	assert_int(a, "messages[0].seq", 1);
	assert_int(a, "messages[1].seq", 2);
	assert_str(a, "messages[1].conversation_id", other);
	assert_int(a, "version", int_at(&before, "version") + 1);
	cr_assert_str_eq(header_of(&a, "ETag"), api_text(h, "\"%lld\"", (long long)int_at(&a, "version")));
	struct answer again = api_get(h, h->sk, "/v1/sessions/%s?messages=2", id);
	cr_assert(bytes_equal(raw_at(&again, "messages"), raw_at(&a, "messages")));
	struct answer back = api_patch(h, h->sk, api_text(h, "{\"conversation_id\":\"%s\"}", str_at(&before, "conversation_id")), "/v1/sessions/%s", id);
	must_be(back, 200);
	assert_int(back, "message_count", 3);
	cr_assert(raw_at(&back, "messages").p == NULL);
	api_close(&h);
}

/* SES-10: whichever part is wrong, nothing of the others is stored. */
Test(session_update, stores_nothing_when_one_part_is_wrong)
{
	struct api *h = api_open();
	struct buf many, tags;
	char key[66];
	const char *id = new_session(h, h->sk, "{\"agent\":\"guide\",\"metadata\":{\"a\":\"1\"},\"state\":{\"metrics\":{\"text\":\"x\"}},\"tags\":[\"t\"]}", NULL);
	const char *foreign = new_session(h, h->sk, NULL, NULL);
	struct answer f = api_get(h, h->sk, "/v1/sessions/%s", foreign);
	add_messages(h, id, 1, 2);
	memset(key, 'k', 65);
	key[65] = 0;
	buf_init(&many, h->arena, 1000);
	buf_init(&tags, h->arena, 1000);
	for (int i = 0; i < 16; i++)
		buf_addf(&many, "%s\"m%d\":\"v\"", i ? "," : "", i);
	for (int i = 0; i < 33; i++)
		buf_addf(&tags, "%s\"t%d\"", i ? "," : "", i);
	const struct {
		const char *part, *field, *code;
	} bad[] = {
		{ api_text(h, "\"metadata\":{%s}", many.p), "metadata", "range" },
		{ api_text(h, "\"metadata\":{\"%s\":\"v\"}", key), NULL, NULL },
		{ "\"metadata\":{\"k\":1}", NULL, NULL },
		{ api_text(h, "\"tags\":[%s]", tags.p), "tags", "range" },
		{ "\"config\":{\"temperature\":3}", "config.temperature", NULL },
		{ "\"state\":7", "state", "type" },
		{ api_text(h, "\"conversation_id\":\"%s\"", str_at(&f, "conversation_id")), "conversation_id", "value" },
		{ "\"conversation_id\":\"cnv_00000000000000000000000000\"", "conversation_id", "value" },
		{ "\"conversation_id\":\"nonsense\"", "conversation_id", "value" },
		{ "\"messages\":[{\"role\":\"user\",\"content\":\"x\"},{\"role\":\"user\"}]", "messages[1].content", "required" },
		{ "\"messages\":[]", "messages", "range" },
		{ "\"metrics\":{\"a\":\"1\"}", "metrics.a", "type" },
		{ "\"metrics\":{\"a\":null}", "metrics.a", "type" },
		{ "\"metrics\":{\"" GLOBES GLOBES "\":null}", "metrics." GLOBES "x...", "type" }, /* cut between characters */
		{ "\"metrics\":{\"a\":1,\"text\":1}", "metrics.text", "type" },
		{ "\"metrics\":[1]", "metrics", "type" },
		{ "\"preferences\":\"x\"", "preferences", "type" },
		{ "\"memories\":[]", "memories", "unknown" },
	};
	const char *before = get(h, id);
	for (size_t i = 0; i < COUNT(bad); i++) {
		const char *more = strstr(bad[i].part, "messages") ? "" : ",\"messages\":[{\"role\":\"user\",\"content\":\"lost?\"}]";
		struct answer a = api_patch(h, h->sk, api_text(h, "{\"title\":\"no\",%s%s}", bad[i].part, more), "/v1/sessions/%s", id);
		cr_assert_eq(a.status, 400, "%s: %s", bad[i].part, a.body.p);
		cr_assert(!bad[i].field || blames(&a, bad[i].field, bad[i].code), "%s: %s", bad[i].part, a.body.p);
		cr_assert_str_eq(get(h, id), before);
	}
	cr_assert_eq(sql_int(h, "SELECT COUNT(*) FROM session_tags WHERE site = ?", DB_ARGS(db_ident(&h->home.id))), 1);
	cr_assert_eq(sql_int(h, "SELECT COUNT(*) FROM messages WHERE site = ?", DB_ARGS(db_ident(&h->home.id))), 2);
	api_close(&h);
}

/* SES-10: an ended session may be renamed, but a call that also adds messages does neither. */
Test(session_update, messages_need_an_active_session)
{
	struct api *h = api_open();
	const char *id = new_session(h, h->sk, NULL, NULL), *body = "{\"title\":\"no\",\"messages\":[{\"role\":\"user\",\"content\":\"late\"}]}";
	struct answer ended = api_post(h, h->sk, NULL, "/v1/sessions/%s/end", id);
	must_be(ended, 200);
	struct answer late = api_patch(h, h->sk, body, "/v1/sessions/%s", id);
	assert_code(late, 409, "session_ended");
	struct answer renamed = api_patch(h, h->sk, "{\"title\":\"yes\"}", "/v1/sessions/%s", id);
	must_be(renamed, 200);
	assert_int(renamed, "version", 3);
	struct answer resumed = api_post(h, h->sk, NULL, "/v1/sessions/%s/resume", id);
	must_be(resumed, 200);
	struct answer a = api_patch(h, h->sk, body, "/v1/sessions/%s", id);
	must_be(a, 200);
	assert_int(a, "message_count", 1);
	api_close(&h);
}

Test(session_update, a_token_adds_messages_of_the_user_and_its_own_parts)
{
	struct api *h = api_open();
	const char *token;
	const char *id = new_session(h, h->sk, NULL, &token);
	struct answer a = api_patch(h, token, "{\"preferences\":{\"x\":1},\"metrics\":{\"n\":1},\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}", "/v1/sessions/%s", id);
	must_be(a, 200);
	cr_assert(raw_at(&a, "ip_address").p == NULL);
	struct answer forged = api_patch(h, token, "{\"title\":\"no\",\"messages\":[{\"role\":\"assistant\",\"content\":\"I said so\"}]}", "/v1/sessions/%s", id);
	must_be(forged, 400);
	cr_assert(blames(&forged, "messages[0].role", "value"));
	struct answer found = api_get(h, h->sk, "/v1/sessions/%s", id);
	assert_str(found, "title", "");
	assert_int(found, "message_count", 1);
	api_close(&h);
}

/* SES-10 */
Test(session_update, metrics_are_added_up)
{
	struct api *h = api_open();
	const char *id = new_session(h, h->sk, NULL, NULL);
	static const struct {
		const char *given, *wanted;
	} steps[] = {
		{ "{\"a\":1}", "{\"a\":1}" }, { "{\"a\":2,\"b\":-5}", "{\"a\":3,\"b\":-5}" }, { "{\"a\":0.5}", "{\"a\":3.5,\"b\":-5}" }, { "{}", "{\"a\":3.5,\"b\":-5}" },
		{ "{\"b\":9223372036854775807}", "{\"a\":3.5,\"b\":9223372036854775802}" }, { "{\"b\":100}", "{\"a\":3.5,\"b\":9.223372036854776e+18}" },
		{ "{\"\\u0061\":0.1}", "{\"a\":3.6,\"b\":9.223372036854776e+18}" },
	};
	for (size_t i = 0; i < COUNT(steps); i++) {
		struct answer a = api_patch(h, h->sk, api_text(h, "{\"metrics\":%s}", steps[i].given), "/v1/sessions/%s", id);
		must_be(a, 200);
		struct bytes got = raw_at(&a, "state.metrics");
		cr_assert(bytes_equal(got, bytes_of(steps[i].wanted)), "%.*s instead of %s", (int)got.n, got.p, steps[i].wanted);
	}
	struct answer past = api_patch(h, h->sk, "{\"metrics\":{\"c\":1.7e308}}", "/v1/sessions/%s", id);
	must_be(past, 200);
	past = api_patch(h, h->sk, "{\"metrics\":{\"c\":1.7e308}}", "/v1/sessions/%s", id);
	cr_assert(blames(&past, "metrics.c", "range"));
	struct answer reset = api_patch(h, h->sk, "{\"state\":{\"metrics\":null},\"metrics\":{\"c\":1}}", "/v1/sessions/%s", id);
	must_be(reset, 200);
	cr_assert(bytes_equal(raw_at(&reset, "state.metrics"), BYTES("{\"c\":1}")), "the patch of the state comes first");
	struct answer odd = api_patch(h, h->sk, "{\"state\":{\"metrics\":\"text\"}}", "/v1/sessions/%s", id);
	must_be(odd, 200);
	odd = api_patch(h, h->sk, "{\"metrics\":{\"c\":1}}", "/v1/sessions/%s", id);
	must_be(odd, 200);
	assert_int(odd, "state.metrics.c", 1);
	api_close(&h);
}

/* An object in an object, n of them. */
static const char *nested(struct api *h, int n)
{
	struct buf b;
	buf_init(&b, h->arena, 512);
	for (int i = 1; i < n; i++)
		buf_add_str(&b, "{\"a\":");
	buf_add_str(&b, "{}");
	for (int i = 1; i < n; i++)
		buf_add_char(&b, '}');
	return b.p;
}

/* MOV-1: a member of the state goes deeper than it came. */
Test(session_update, what_is_stored_can_be_moved_however_deep_it_is)
{
	struct api *h = api_open();
	const char *id = new_session(h, h->sk, NULL, NULL);
	static const struct {
		const char *part;
		int deepest;
	} parts[] = { { "preferences", JSONX_DEPTH - 2 }, { "state", JSONX_DEPTH - 1 }, { "config", JSONX_DEPTH - 1 } };
	for (size_t i = 0; i < COUNT(parts); i++) {
		struct answer deep = api_patch(h, h->sk, api_text(h, "{\"%s\":%s}", parts[i].part, nested(h, parts[i].deepest + 1)), "/v1/sessions/%s", id);
		cr_assert_eq(deep.status, 400, "%s", parts[i].part);
		struct answer fine = api_patch(h, h->sk, api_text(h, "{\"%s\":%s}", parts[i].part, nested(h, parts[i].deepest)), "/v1/sessions/%s", id);
		must_be(fine, 200);
		struct answer all = api_get(h, h->sk, "/v1/sessions/%s/export", id);
		must_be(all, 200);
		struct answer copy = api_post(h, h->sk, NULL, "/v1/sessions/%s/clone", id);
		must_be(copy, 201);
	}
	api_close(&h);
}

struct race {
	struct api *h, *twin;
	const char *id;
	const char *method, *suffix, *body, *if_match;
	int status[16];
	int64_t version[16];
	_Atomic int answered[64]; /* how often each version was */
};

static void act(void *arg, int i)
{
	struct race *r = arg;
	struct answer a = ask(i % 2 ? r->twin : r->h, .method = r->method, .to = api_text(r->h, "/v1/sessions/%s%s", r->id, r->suffix), .key = r->h->sk, .body = r->body,
			      .if_match = r->if_match);
	r->status[i] = a.status;
	r->version[i] = a.status == 200 ? int_at(&a, "version") : 0;
}

static void count_metric(void *arg, int i)
{
	struct race *r = arg;
	for (int k = 0; k < 4; k++) {
		struct answer a = ask(i % 2 ? r->twin : r->h, .method = "PATCH", .to = api_text(r->h, "/v1/sessions/%s", r->id), .key = r->h->sk,
				      .body = "{\"metrics\":{\"n\":1},\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]}");
		r->status[i] = a.status;
		if (a.status == 200)
			r->answered[int_at(&a, "version") % 64]++;
	}
}

/* SES-10: sums and messages of writers at once are all there. */
Test(session_update, parallel_batches_lose_nothing, .timeout = 60)
{
	struct api *h = api_open_with(API_FILE, NULL);
	struct race r = { .h = h, .twin = api_twin(h, 0, NULL), .id = new_session(h, h->sk, NULL, NULL) };
	in_parallel(8, count_metric, &r);
	for (int i = 0; i < 8; i++)
		cr_assert_eq(r.status[i], 200, "%d", r.status[i]);
	for (int version = 2; version <= 33; version++)
		cr_assert_eq(r.answered[version], 1, "each is answered what came of its own change: %d for version %d", r.answered[version], version);
	struct answer a = api_get(h, h->sk, "/v1/sessions/%s?messages=100", r.id);
	assert_int(a, "state.metrics.n", 32);
	assert_int(a, "version", 33);
	cr_assert_eq(count_at(&a, "messages"), 32);
	for (int i = 0; i < 32; i++)
		assert_int(a, api_text(h, "messages[%d].seq", i), i + 1);
	api_close(&r.twin);
	api_close(&h);
}

/* MSG-11: of eight writers who read the same version exactly one wins, whatever it is that they do; versions have no gap. */
Test(session_update, one_version_is_written_once_by_any_call, .timeout = 60)
{
	struct api *h = api_open_with(API_FILE, NULL);
	struct race r = { .h = h, .twin = api_twin(h, 0, NULL), .id = new_session(h, h->sk, NULL, NULL) };
	static const struct {
		const char *method, *suffix, *body;
	} calls[] = {
		{ "PATCH", "", "{\"title\":\"x\",\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]}" }, { "PATCH", "", "{\"metrics\":{\"n\":1}}" },
		{ "POST", "/end", NULL }, { "POST", "/archive", NULL }, { "POST", "/resume", NULL }, { "DELETE", "", NULL },
	};
	for (size_t k = 0; k < COUNT(calls); k++) {
		int n_won = 0, won = calls[k].method[0] == 'D' ? 204 : 200;
		r.method = calls[k].method;
		r.suffix = calls[k].suffix;
		r.body = calls[k].body;
		r.if_match = api_text(h, "\"%zu\"", k + 1);
		in_parallel(8, act, &r);
		for (int i = 0; i < 8; i++) {
			cr_assert(r.status[i] == won || r.status[i] == 412 || (won == 204 && r.status[i] == 404), "%s %s: %d", r.method, r.suffix, r.status[i]);
			n_won += r.status[i] == won;
			cr_assert(r.status[i] != 200 || r.version[i] == (int64_t)k + 2, "%s %s", r.method, r.suffix);
		}
		cr_assert_eq(n_won, 1, "%s %s: %d", r.method, r.suffix, n_won);
	}
	api_close(&r.twin);
	api_close(&h);
}

/* MSG-11 */
Test(session_update, every_change_heeds_if_match)
{
	struct api *h = api_open();
	const char *id = new_session(h, h->sk, NULL, NULL);
	static const char *const to[] = { "PATCH ", "DELETE ", "POST /end", "POST /resume", "POST /archive" };
	static const char *const stale[] = { "\"2\"", "\"x\"", "1", "W/\"1\"", "" };
	const char *before = get(h, id);
	for (size_t i = 0; i < COUNT(to); i++)
		for (size_t k = 0; k < COUNT(stale); k++) {
			const char *space = strchr(to[i], ' ');
			struct answer a = ask(h, .method = api_text(h, "%.*s", (int)(space - to[i]), to[i]), .to = api_text(h, "/v1/sessions/%s%s", id, space + 1), .key = h->sk,
					      .body = to[i][1] == 'A' ? "{\"title\":\"no\"}" : NULL, .if_match = stale[k]);
			assert_code(a, 412, "precondition_failed");
			cr_assert_str_eq(get(h, id), before);
		}
	struct answer deleted = ask(h, .method = "DELETE", .to = api_text(h, "/v1/sessions/%s", id), .key = h->sk, .if_match = "\"1\"");
	must_be(deleted, 204);
	api_close(&h);
}

static struct answer step(struct api *h, const char *id, const char *verb)
{
	return api_post(h, h->sk, NULL, "/v1/sessions/%s/%s", id, verb);
}

/* SES-8 */
Test(session_update, goes_from_active_to_ended_to_archived_and_back)
{
	struct api *h = api_open();
	const char *id = new_session(h, h->sk, NULL, NULL);
	static const struct {
		const char *verb, *status;
		int grows; /* the version */
	} steps[] = {
		{ "resume", "active", 0 }, { "end", "ended", 1 }, { "end", "ended", 0 }, { "archive", "archived", 1 }, { "archive", "archived", 0 }, { "end", "archived", 0 },
		{ "resume", "active", 1 }, { "resume", "active", 0 }, { "archive", "archived", 1 }, { "resume", "active", 1 }, { "end", "ended", 1 }, { "resume", "active", 1 },
	};
	int64_t version = 1;
	for (size_t i = 0; i < COUNT(steps); i++) {
		struct answer a = step(h, id, steps[i].verb);
		must_be(a, 200);
		version += steps[i].grows;
		assert_str(a, "status", steps[i].status);
		assert_int(a, "version", version);
		cr_assert_eq(is_null_at(&a, "ended_at"), steps[i].status[1] == 'c', "%s", a.body.p);
		struct answer found = api_get(h, h->sk, "/v1/sessions/%s", id);
		cr_assert_str_eq(found.body.p, a.body.p);
		struct answer m = api_post(h, h->sk, "{\"role\":\"user\",\"content\":\"x\"}", "/v1/sessions/%s/messages", id);
		must_be(m, steps[i].status[1] == 'c' ? 201 : 409);
	}
	api_close(&h);
}

/* SES-8: what is added to an archived session is refused in words that say why. */
Test(session_update, an_archived_session_takes_nothing_and_says_so)
{
	struct api *h = api_open();
	const char *id = new_session(h, h->sk, NULL, NULL);
	add_messages(h, id, 1, 2);
	struct answer archived = step(h, id, "archive");
	must_be(archived, 200);
	const struct answer refused[] = {
		api_post(h, h->sk, "{\"role\":\"user\",\"content\":\"x\"}", "/v1/sessions/%s/messages", id),
		api_post_once(h, h->sk, "key", "{\"role\":\"user\",\"content\":\"x\"}", "/v1/sessions/%s/messages", id),
		api_post(h, h->sk, "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]}", "/v1/sessions/%s/messages", id),
		api_post(h, h->sk, "{\"message\":\"x\"}", "/v1/sessions/%s/turns", id),
		api_post(h, h->sk, "{}", "/v1/sessions/%s/conversations", id),
		api_patch(h, h->sk, "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]}", "/v1/sessions/%s", id),
	};
	for (size_t i = 0; i < COUNT(refused); i++) {
		assert_code(refused[i], 409, "session_ended");
		cr_assert(strstr(str_at(&refused[i], "detail"), "archived"), "%zu: %s", i, refused[i].body.p);
	}
	struct answer found = api_get(h, h->sk, "/v1/sessions/%s?messages=10", id);
	cr_assert_eq(count_at(&found, "messages"), 2);
	struct answer resumed = step(h, id, "resume");
	must_be(resumed, 200);
	add_messages(h, id, 3, 1);
	api_close(&h);
}

/* MSG-10 */
Test(session_update, resume_and_archive_are_replayed_by_their_key)
{
	struct api *h = api_open();
	const char *id = new_session(h, h->sk, NULL, NULL);
	static const char *const verbs[] = { "archive", "resume" };
	for (size_t i = 0; i < COUNT(verbs); i++) {
		struct answer a = api_post_once(h, h->sk, verbs[i], "{}", "/v1/sessions/%s/%s", id, verbs[i]);
		must_be(a, 200);
		struct answer changed = api_patch(h, h->sk, "{\"title\":\"later\"}", "/v1/sessions/%s", id);
		must_be(changed, 200);
		struct answer again = api_post_once(h, h->sk, verbs[i], "{}", "/v1/sessions/%s/%s", id, verbs[i]);
		must_be(again, 200);
		cr_assert_str_eq(header_of(&again, "Idempotent-Replayed"), "true");
		cr_assert_str_eq(again.body.p, a.body.p);
	}
	api_close(&h);
}

/* SES-6: another user's token steps nowhere. */
Test(session_update, another_users_token_changes_nothing)
{
	struct api *h = api_open();
	const char *bob, *id = new_session(h, h->sk, "{\"agent\":\"guide\",\"user\":\"ann\"}", NULL);
	new_session(h, h->sk, "{\"agent\":\"guide\",\"user\":\"bob\"}", &bob);
	const char *before = get(h, id);
	static const char *const verbs[] = { "resume", "archive", "end" };
	for (size_t i = 0; i < COUNT(verbs); i++) {
		struct answer a = api_post(h, bob, NULL, "/v1/sessions/%s/%s", id, verbs[i]);
		assert_code(a, 404, "not_found");
	}
	struct answer p = api_patch(h, bob, "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]}", "/v1/sessions/%s", id);
	assert_code(p, 404, "not_found");
	cr_assert_str_eq(get(h, id), before);
	api_close(&h);
}
