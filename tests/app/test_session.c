/* SPDX-License-Identifier: MIT */
/* test_session: sessions are made, found, changed, ended, listed and deleted. */
#include "harness.h"

#include <regex.h>
#include <stdio.h>

static bool matches(const char *text, const char *pattern)
{
	regex_t re;
	cr_assert_eq(regcomp(&re, pattern, REG_EXTENDED | REG_NOSUB), 0);
	bool is_match = regexec(&re, text, 0, NULL, 0) == 0;
	regfree(&re);
	return is_match;
}

/* SES-1 */
Test(session, has_an_unguessable_id_and_a_readable_name_and_either_finds_it)
{
	struct api *h = api_open();
	struct answer a = api_post(h, h->sk, "{\"agent\":\"guide\",\"client_type\":\"web\",\"user\":\"ann\",\"context\":\"order 7\"}", "/v1/sessions");
	must_be(a, 201);
	cr_assert(matches(str_at(&a, "id"), "^ses_[0-9a-hjkmnp-tv-z]{26}$"));
	cr_assert(matches(str_at(&a, "name"), "^web_ann_order-7_[0-9]{8}_[0-9]{6}_[0-9a-f]{8}$"), "%s", str_at(&a, "name"));
	struct answer by_id = api_get(h, h->sk, "/v1/sessions/%s", str_at(&a, "id"));
	struct answer by_name = api_get(h, h->sk, "/v1/sessions/%s", str_at(&a, "name"));
	must_be(by_id, 200);
	must_be(by_name, 200);
	cr_assert_str_eq(by_id.body.p, by_name.body.p);
	struct answer upper = api_get(h, h->sk, "/v1/sessions/ses_%s", str_at(&a, "id") + 4);
	must_be(upper, 200);
	api_close(&h);
}

static const char *const full_body =
	"{\"agent\":\"guide\",\"user\":\"ann\",\"client_type\":\"kiosk\",\"context\":\"order 7\",\"title\":\"Hello\",\"tags\":[\"a\",\"b\"],"
	"\"metadata\":{\"k\":\"v\"},\"state\":{\"n\":1,\"deep\":{\"x\":[1,2.50,\"\\u00e9\"]}},\"config\":{\"temperature\":0.30}}";

/* SES-3 */
Test(session, carries_everything_it_was_made_with)
{
	struct api *h = api_open();
	struct answer a = api_post(h, h->sk, full_body, "/v1/sessions");
	must_be(a, 201);
	assert_str(a, "agent", "guide");
	assert_str(a, "user", "ann");
	assert_str(a, "client_type", "kiosk");
	assert_str(a, "context", "order 7");
	assert_str(a, "title", "Hello");
	assert_str(a, "status", "active");
	cr_assert(bytes_equal(raw_at(&a, "tags"), BYTES("[\"a\",\"b\"]")));
	assert_str(a, "metadata.k", "v");
	cr_assert(bytes_equal(raw_at(&a, "state"), BYTES("{\"n\":1,\"deep\":{\"x\":[1,2.50,\"\\u00e9\"]}}")), "the bytes that came");
	cr_assert(bytes_equal(raw_at(&a, "config"), BYTES("{\"temperature\":0.30}")));
	assert_int(a, "message_count", 0);
	assert_int(a, "version", 1);
	cr_assert(is_null_at(&a, "ended_at"));
	cr_assert(matches(str_at(&a, "created_at"), "^20[0-9]{2}-[0-9]{2}-[0-9]{2}T[0-9:]{8}\\.[0-9]{3}Z$"));
	cr_assert_str_eq(str_at(&a, "created_at"), str_at(&a, "updated_at"));
	cr_assert_str_eq(str_at(&a, "created_at"), str_at(&a, "last_activity_at"));
	cr_assert(strncmp(str_at(&a, "conversation_id"), "cnv_", 4) == 0);
	cr_assert(strncmp(str_at(&a, "token"), "st_", 3) == 0);
	cr_assert_str_eq(header_of(&a, "ETag"), "\"1\"");
	struct answer again = api_get(h, h->sk, "/v1/sessions/%s", str_at(&a, "id"));
	must_be(again, 200);
	cr_assert(raw_at(&again, "token").p == NULL);
	cr_assert(bytes_equal(raw_at(&a, "state"), raw_at(&again, "state")));
	cr_assert_str_eq(header_of(&again, "ETag"), "\"1\"");
	api_close(&h);
}

/* SES-3 */
Test(session, gets_defaults_for_what_is_not_given)
{
	struct api *h = api_open();
	struct answer a = api_post(h, h->sk, "{\"agent\":\"guide\"}", "/v1/sessions");
	struct answer b = api_post(h, h->sk, "{\"agent\":\"guide\"}", "/v1/sessions");
	must_be(a, 201);
	must_be(b, 201);
	assert_str(a, "client_type", "api");
	assert_str(a, "context", "default");
	assert_str(a, "title", "");
	cr_assert(bytes_equal(raw_at(&a, "tags"), BYTES("[]")));
	cr_assert(bytes_equal(raw_at(&a, "metadata"), BYTES("{}")));
	cr_assert(bytes_equal(raw_at(&a, "state"), BYTES("{}")));
	cr_assert(matches(str_at(&a, "user"), "^anon_[0-9a-hjkmnp-tv-z]{26}$"));
	cr_assert_str_neq(str_at(&a, "user"), str_at(&b, "user"));
	api_close(&h);
}

/* SES-1: a name stays a path segment whatever its parts hold. */
Test(session, has_a_plain_name_whatever_its_parts_hold)
{
	struct api *h = api_open();
	static const char *const users[] = { "a/b", "..", "\\u65e5\\u672c\\u8a9e", "%2e%2e", "a b\\tc", "???",
					     "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx" };
	for (size_t i = 0; i < COUNT(users); i++) {
		struct answer a = api_post(h, h->sk, api_text(h, "{\"agent\":\"guide\",\"user\":\"%s\",\"context\":\"%s\"}", users[i], users[i]), "/v1/sessions");
		must_be(a, 201);
		cr_assert(matches(str_at(&a, "name"), "^[A-Za-z0-9._:@-]{1,255}$"), "%s", str_at(&a, "name"));
		struct answer found = api_get(h, h->sk, "/v1/sessions/%s", str_at(&a, "name"));
		must_be(found, 200);
		cr_assert_str_eq(str_at(&found, "id"), str_at(&a, "id"));
	}
	api_close(&h);
}

/* SES-2 */
Test(session, takes_the_callers_own_id_and_refuses_it_twice)
{
	struct api *h = api_open();
	const char *body = "{\"agent\":\"guide\",\"id\":\"order-7@shop\",\"title\":\"first\"}";
	struct answer a = api_post(h, h->sk, body, "/v1/sessions");
	must_be(a, 201);
	assert_str(a, "id", "order-7@shop");
	struct answer found = api_get(h, h->sk, "/v1/sessions/order-7%%40shop");
	must_be(found, 200);
	assert_str(found, "title", "first");
	struct answer twice = api_post(h, h->sk, body, "/v1/sessions");
	assert_code(twice, 409, "session_exists");
	struct answer error = api_post(h, h->sk, "{\"agent\":\"guide\",\"id\":\"order-7@shop\",\"if_exists\":\"error\"}", "/v1/sessions");
	assert_code(error, 409, "session_exists");
	struct answer got = api_post(h, h->sk, "{\"agent\":\"guide\",\"id\":\"order-7@shop\",\"title\":\"second\",\"if_exists\":\"return\"}", "/v1/sessions");
	must_be(got, 200);
	assert_str(got, "title", "first");
	cr_assert_str_eq(str_at(&got, "conversation_id"), str_at(&a, "conversation_id"));
	cr_assert(strncmp(str_at(&got, "token"), "st_", 3) == 0);
	api_close(&h);
}

/* SES-2: the same own id on two sites is two sessions. */
struct churn {
	struct api *h, *twin;
	int worst[4];
};

static void make_and_delete(void *arg, int i)
{
	struct churn *x = arg;
	for (int k = 0; k < 60; k++) {
		struct answer a = ask(i % 2 ? x->twin : x->h, .method = "POST", .to = "/v1/sessions", .key = x->h->sk, .body = "{\"agent\":\"guide\",\"id\":\"churn\",\"if_exists\":\"return\"}");
		x->worst[i] = a.status > x->worst[i] ? a.status : x->worst[i];
		ask(i % 2 ? x->twin : x->h, .method = "DELETE", .to = "/v1/sessions/churn", .key = x->h->sk);
	}
}

/* SES-2, SES-9: whoever creates or loads gets a session, also when the one that was in its way is deleted at that moment. */
Test(session, create_or_load_finds_or_makes_one_while_others_delete_it, .timeout = 60)
{
	struct churn x = { .h = api_open_with(API_FILE, NULL) };
	x.twin = api_twin(x.h, 0, NULL);
	in_parallel(4, make_and_delete, &x);
	for (int i = 0; i < 4; i++)
		cr_assert_leq(x.worst[i], 201, "%d", x.worst[i]);
	api_close(&x.twin);
	api_close(&x.h);
}

Test(session, keeps_own_ids_of_two_sites_apart)
{
	struct api *h = api_open();
	struct api_site other = api_add_site(h, "https://other.example");
	new_session(h, h->sk, "{\"agent\":\"guide\",\"id\":\"same\",\"title\":\"here\"}", NULL);
	new_session(h, other.sk, "{\"agent\":\"guide\",\"id\":\"same\",\"title\":\"there\"}", NULL);
	struct answer here = api_get(h, h->sk, "/v1/sessions/same"), there = api_get(h, other.sk, "/v1/sessions/same");
	assert_str(here, "title", "here");
	assert_str(there, "title", "there");
	api_close(&h);
}

/* SES-2 */
Test(session, refuses_ids_that_could_be_mistaken)
{
	struct api *h = api_open();
	static const char *const bad[] = { "ses_x", "a/b", "a b", "", "\\u00e9", "a\\u0000b", "x?y" };
	for (size_t i = 0; i < COUNT(bad); i++) {
		struct answer a = api_post(h, h->sk, api_text(h, "{\"agent\":\"guide\",\"id\":\"%s\"}", bad[i]), "/v1/sessions");
		assert_code(a, 400, "invalid_request");
		cr_assert(blames(&a, "id", NULL), "%s: %s", bad[i], a.body.p);
	}
	char longest[130];
	memset(longest, 'x', 129);
	longest[129] = 0;
	struct answer a = api_post(h, h->sk, api_text(h, "{\"agent\":\"guide\",\"id\":\"%s\"}", longest), "/v1/sessions");
	cr_assert(blames(&a, "id", "range"));
	longest[128] = 0;
	new_session(h, h->sk, api_text(h, "{\"agent\":\"guide\",\"id\":\"%s\"}", longest), NULL);
	struct answer found = api_get(h, h->sk, "/v1/sessions/%s", longest);
	must_be(found, 200);
	api_close(&h);
}

/* An absent id may be looked up, and cached as absent nowhere, before it is made. */
Test(session, is_found_at_once_after_it_was_looked_for_in_vain)
{
	struct api *h = api_open();
	for (int i = 0; i < 3; i++) {
		struct answer absent = api_get(h, h->sk, "/v1/sessions/soon-%d", i);
		assert_code(absent, 404, "not_found");
		new_session(h, h->sk, api_text(h, "{\"agent\":\"guide\",\"id\":\"soon-%d\"}", i), NULL);
		struct answer found = api_get(h, h->sk, "/v1/sessions/soon-%d", i);
		must_be(found, 200);
	}
	api_close(&h);
}

/* What is not there is not there either when it is asked for again, and nothing of it is left in the cache. */
Test(session, is_absent_every_time)
{
	struct api *h = api_open();
	const char *id = new_session(h, h->sk, NULL, NULL);
	struct answer deleted = api_delete(h, h->sk, "/v1/sessions/%s", id);
	must_be(deleted, 204);
	const char *const ids[] = { id, "ses_0123456789abcdefghjkmnpqrs", "an-own-id", "web_ann_x_20260101_000000_01234567" };
	for (size_t i = 0; i < COUNT(ids); i++)
		for (int k = 0; k < 3; k++) {
			struct answer a = api_get(h, h->sk, "/v1/sessions/%s", ids[i]), m = api_get(h, h->sk, "/v1/sessions/%s/messages", ids[i]);
			assert_code(a, 404, "not_found");
			assert_code(m, 404, "not_found");
			struct answer w = api_post(h, h->sk, "{\"role\":\"user\",\"content\":\"x\"}", "/v1/sessions/%s/messages", ids[i]);
			assert_code(w, 404, "not_found");
		}
	api_close(&h);
}

Test(session, names_an_agent_that_is_not_there)
{
	struct api *h = api_open();
	struct answer a = api_post(h, h->sk, "{\"agent\":\"nobody\"}", "/v1/sessions");
	assert_code(a, 400, "invalid_request");
	cr_assert(blames(&a, "agent", "value"));
	cr_assert_eq(sql_int(h, "SELECT COUNT(*) FROM sessions WHERE site = ?", DB_ARGS(db_ident(&h->home.id))), 0);
	api_close(&h);
}

/* SES-5 */
Test(session, metadata_patch_sets_and_deletes_keys)
{
	struct api *h = api_open();
	const char *id = new_session(h, h->sk, "{\"agent\":\"guide\",\"metadata\":{\"a\":\"1\",\"b\":\"2\"}}", NULL);
	struct answer a = api_patch(h, h->sk, "{\"metadata\":{\"b\":null,\"c\":\"3\",\"a\":\"9\",\"zz\":null}}", "/v1/sessions/%s", id);
	must_be(a, 200);
	cr_assert_eq(count_at(&a, "metadata"), 2);
	assert_str(a, "metadata.a", "9");
	assert_str(a, "metadata.c", "3");
	assert_int(a, "version", 2);
	struct answer again = api_get(h, h->sk, "/v1/sessions/%s", id);
	cr_assert(bytes_equal(raw_at(&a, "metadata"), raw_at(&again, "metadata")));
	api_close(&h);
}

/* SES-5 */
Test(session, metadata_has_limits_that_are_named)
{
	struct api *h = api_open();
	char key[65], value[513];
	struct buf b;
	memset(key, 'k', sizeof key);
	memset(value, 'v', sizeof value);
	struct answer fits = api_post(h, h->sk, api_text(h, "{\"agent\":\"guide\",\"metadata\":{\"%.64s\":\"%.512s\"}}", key, value), "/v1/sessions");
	must_be(fits, 201);
	struct answer long_key = api_post(h, h->sk, api_text(h, "{\"agent\":\"guide\",\"metadata\":{\"%.65s\":\"v\"}}", key), "/v1/sessions");
	must_be(long_key, 400);
	struct answer long_value = api_post(h, h->sk, api_text(h, "{\"agent\":\"guide\",\"metadata\":{\"k\":\"%.513s\"}}", value), "/v1/sessions");
	must_be(long_value, 400);
	struct answer not_string = api_post(h, h->sk, "{\"agent\":\"guide\",\"metadata\":{\"k\":1}}", "/v1/sessions");
	must_be(not_string, 400);
	struct answer null_in_new = api_post(h, h->sk, "{\"agent\":\"guide\",\"metadata\":{\"k\":null}}", "/v1/sessions");
	must_be(null_in_new, 400);
	buf_init(&b, h->arena, 1000);
	for (int i = 0; i < 16; i++)
		buf_addf(&b, "%s\"k%d\":\"v\"", i ? "," : "", i);
	const char *id = new_session(h, h->sk, api_text(h, "{\"agent\":\"guide\",\"metadata\":{%s}}", b.p), NULL);
	struct answer seventeen = api_post(h, h->sk, api_text(h, "{\"agent\":\"guide\",\"metadata\":{%s,\"more\":\"v\"}}", b.p), "/v1/sessions");
	must_be(seventeen, 400);
	struct answer patched = api_patch(h, h->sk, "{\"metadata\":{\"more\":\"v\"}}", "/v1/sessions/%s", id);
	must_be(patched, 400);
	cr_assert(blames(&patched, "metadata", "range"));
	struct answer swapped = api_patch(h, h->sk, "{\"metadata\":{\"more\":\"v\",\"k0\":null}}", "/v1/sessions/%s", id);
	must_be(swapped, 200);
	cr_assert_eq(count_at(&swapped, "metadata"), 16);
	api_close(&h);
}

/* SES-5 */
Test(session, state_takes_a_json_merge_patch)
{
	struct api *h = api_open();
	const char *id = new_session(h, h->sk, "{\"agent\":\"guide\",\"state\":{\"cart\":{\"a\":1,\"b\":2},\"list\":[1,2],\"gone\":true}}", NULL);
	struct answer a = api_patch(h, h->sk, "{\"state\":{\"cart\":{\"b\":null,\"c\":3},\"list\":[9],\"gone\":null,\"new\":{\"x\":null,\"y\":1}}}", "/v1/sessions/%s", id);
	must_be(a, 200);
	cr_assert_eq(count_at(&a, "state"), 3);
	cr_assert_eq(count_at(&a, "state.cart"), 2);
	assert_int(a, "state.cart.c", 3);
	cr_assert(bytes_equal(raw_at(&a, "state.list"), BYTES("[9]")));
	cr_assert(bytes_equal(raw_at(&a, "state.new"), BYTES("{\"y\":1}")));
	struct answer kept = api_patch(h, h->sk, "{\"config\":{\"x\":1}}", "/v1/sessions/%s", id);
	cr_assert(bytes_equal(raw_at(&a, "state"), raw_at(&kept, "state")));
	struct answer bad = api_patch(h, h->sk, "{\"state\":[1]}", "/v1/sessions/%s", id);
	cr_assert(blames(&bad, "state", "type"));
	api_close(&h);
}

/* SES-5 */
Test(session, state_is_bounded)
{
	struct api *h = api_open();
	char *big = arena_alloc(h->arena, 200001);
	memset(big, 'x', 200000);
	const char *id = new_session(h, h->sk, api_text(h, "{\"agent\":\"guide\",\"state\":{\"a\":\"%s\"}}", big), NULL);
	struct answer a = api_patch(h, h->sk, api_text(h, "{\"state\":{\"b\":\"%s\"}}", big), "/v1/sessions/%s", id);
	must_be(a, 400);
	cr_assert(blames(&a, "state", "range"));
	struct answer found = api_get(h, h->sk, "/v1/sessions/%s", id);
	cr_assert_eq(count_at(&found, "state"), 1);
	cr_assert_eq(raw_at(&found, "state.a").n, 200002);
	api_close(&h);
}

/* MSG-11 */
Test(session, a_stale_writer_gets_412)
{
	struct api *h = api_open();
	const char *id = new_session(h, h->sk, NULL, NULL), *to = api_text(h, "/v1/sessions/%s", id);
	struct answer a = ask(h, .method = "PATCH", .to = to, .key = h->sk, .body = "{\"title\":\"one\"}", .if_match = "\"1\"");
	must_be(a, 200);
	cr_assert_str_eq(header_of(&a, "ETag"), "\"2\"");
	struct answer stale = ask(h, .method = "PATCH", .to = to, .key = h->sk, .body = "{\"title\":\"two\"}", .if_match = "\"1\"");
	assert_code(stale, 412, "precondition_failed");
	static const char *const bad[] = { "1", "\"x\"", "\"\"", "\"-1\"", "\"0\"", "W/\"2\"", "\"99999999999999999999\"", "\"2", "", "\"1\", \"2\"" };
	for (size_t i = 0; i < COUNT(bad); i++) {
		struct answer refused = ask(h, .method = "PATCH", .to = to, .key = h->sk, .body = "{\"title\":\"two\"}", .if_match = bad[i]);
		assert_code(refused, 412, "precondition_failed");
	}
	struct answer any = ask(h, .method = "PATCH", .to = to, .key = h->sk, .body = "{\"title\":\"three\"}", .if_match = "*");
	must_be(any, 200);
	struct answer found = api_get(h, h->sk, "%s", to);
	assert_str(found, "title", "three");
	assert_int(found, "version", 3);
	api_close(&h);
}

struct race {
	struct api *h;
	const char *to;
	int status[16];
};

static void patch_state(void *arg, int i)
{
	struct race *r = arg;
	char body[64];
	snprintf(body, sizeof body, "{\"state\":{\"k%d\":%d}}", i, i);
	r->status[i] = ask(r->h, .method = "PATCH", .to = r->to, .key = r->h->sk, .body = body).status;
}

static void patch_once(void *arg, int i)
{
	struct race *r = arg;
	r->status[i] = ask(r->h, .method = "PATCH", .to = r->to, .key = r->h->sk, .body = "{\"title\":\"x\"}", .if_match = "\"1\"").status;
}

/* SES-5: patches that do not overlap are all there; MSG-11: of writers with one version exactly one wins. */
Test(session, parallel_patches_lose_nothing_and_one_version_is_written_once)
{
	struct api *h = api_open_with(API_FILE, NULL);
	const char *id = new_session(h, h->sk, NULL, NULL);
	struct race r = { .h = h, .to = api_text(h, "/v1/sessions/%s", id) };
	in_parallel(12, patch_once, &r);
	int won = 0;
	for (int i = 0; i < 12; i++) {
		cr_assert(r.status[i] == 200 || r.status[i] == 412, "%d", r.status[i]);
		won += r.status[i] == 200;
	}
	cr_assert_eq(won, 1);
	in_parallel(12, patch_state, &r);
	struct answer a = api_get(h, h->sk, "%s", r.to);
	cr_assert_eq(count_at(&a, "state"), 12);
	assert_int(a, "version", 14);
	api_close(&h);
}

Test(session, ends_once_and_takes_no_message_afterwards)
{
	struct api *h = api_open();
	const char *id = new_session(h, h->sk, NULL, NULL);
	add_messages(h, id, 1, 1);
	struct answer a = api_post(h, h->sk, NULL, "/v1/sessions/%s/end", id);
	must_be(a, 200);
	assert_str(a, "status", "ended");
	assert_int(a, "version", 2);
	const char *ended_at = str_at(&a, "ended_at");
	nap(3);
	struct answer again = api_post(h, h->sk, "{}", "/v1/sessions/%s/end", id);
	must_be(again, 200);
	cr_assert_str_eq(str_at(&again, "ended_at"), ended_at);
	assert_int(again, "version", 2);
	struct answer one = api_post(h, h->sk, "{\"role\":\"user\",\"content\":\"late\"}", "/v1/sessions/%s/messages", id);
	assert_code(one, 409, "session_ended");
	struct answer keyed = api_post_once(h, h->sk, "k", "{\"role\":\"user\",\"content\":\"late\"}", "/v1/sessions/%s/messages", id);
	assert_code(keyed, 409, "session_ended");
	struct answer batch = api_post(h, h->sk, "{\"messages\":[{\"role\":\"user\",\"content\":\"late\"}]}", "/v1/sessions/%s/messages", id);
	assert_code(batch, 409, "session_ended");
	struct answer turn = api_post(h, h->sk, "{\"message\":\"late\"}", "/v1/sessions/%s/turns", id);
	assert_code(turn, 409, "session_ended");
	struct answer found = api_get(h, h->sk, "/v1/sessions/%s?messages=10", id);
	must_be(found, 200);
	cr_assert_eq(count_at(&found, "messages"), 1);
	cr_assert_eq(sql_int(h, "SELECT COUNT(*) FROM turns WHERE site = ?", DB_ARGS(db_ident(&h->home.id))), 0);
	struct answer extra = api_post(h, h->sk, "{\"x\":1}", "/v1/sessions/%s/end", id);
	cr_assert(blames(&extra, "x", "unknown"));
	api_close(&h);
}

/* SES-11: opening a session costs the same statements whatever its history. */
Test(session, opening_one_does_not_read_its_history)
{
	struct api *h = api_open_with(API_NO_CACHE, NULL);
	const char *small = new_session(h, h->sk, NULL, NULL), *large = new_session(h, h->sk, NULL, NULL);
	add_messages(h, small, 1, 1);
	add_messages(h, large, 1, 400);
	int64_t before = metric_get(METRIC_db_queries_total);
	struct answer a = api_get(h, h->sk, "/v1/sessions/%s", small);
	int64_t cost_small = metric_get(METRIC_db_queries_total) - before;
	before = metric_get(METRIC_db_queries_total);
	struct answer b = api_get(h, h->sk, "/v1/sessions/%s", large);
	int64_t cost_large = metric_get(METRIC_db_queries_total) - before;
	assert_int(a, "message_count", 1);
	assert_int(b, "message_count", 400);
	cr_assert_eq(cost_small, cost_large);
	cr_assert_leq(cost_large, 2);
	cr_assert(raw_at(&b, "messages").p == NULL);
	api_close(&h);
}

/* SES-11 */
Test(session, a_cached_session_costs_no_statement)
{
	if (!getenv("PARLEY_TEST_CACHE"))
		cr_skip_test("PARLEY_TEST_CACHE is not set");
	struct api *h = api_open();
	const char *id = new_session(h, h->sk, NULL, NULL);
	add_messages(h, id, 1, 30);
	struct answer first = api_get(h, h->sk, "/v1/sessions/%s?messages=20", id);
	int64_t before = metric_get(METRIC_db_queries_total);
	struct answer second = api_get(h, h->sk, "/v1/sessions/%s?messages=20", id);
	must_be(second, 200);
	cr_assert_eq(metric_get(METRIC_db_queries_total), before);
	cr_assert_str_eq(first.body.p, second.body.p);
	api_close(&h);
}

/* SES-6 */
Test(session, another_identity_or_none_finds_nothing)
{
	struct api *h = api_open();
	struct api_site other = api_add_site(h, "https://other.example");
	const char *token_a, *token_b;
	const char *a = new_session(h, h->sk, "{\"agent\":\"guide\",\"user\":\"ann\"}", &token_a);
	const char *b = new_session(h, h->sk, "{\"agent\":\"guide\",\"user\":\"bob\"}", &token_b);
	struct answer own = api_get(h, token_a, "/v1/sessions/%s", a), server = api_get(h, h->sk, "/v1/sessions/%s", a);
	must_be(own, 200);
	must_be(server, 200);
	cr_assert(raw_at(&own, "ip_address").p == NULL, "only the site's server sees addresses");
	struct answer by_bob = api_get(h, token_b, "/v1/sessions/%s", a), by_site = api_get(h, other.sk, "/v1/sessions/%s", a);
	assert_code(by_bob, 404, "not_found");
	assert_code(by_site, 404, "not_found");
	struct answer absent = api_get(h, token_b, "/v1/sessions/ses_00000000000000000000000000");
	cr_assert_str_eq(masked(&absent), masked(&by_bob));
	cr_assert_str_eq(masked(&absent), masked(&by_site));
	struct answer nobody = api_get(h, NULL, "/v1/sessions/%s", a);
	assert_code(nobody, 401, "unauthenticated");
	struct answer own_b = api_get(h, token_b, "/v1/sessions/%s", b);
	must_be(own_b, 200);
	api_close(&h);
}

/* SES-6: a client that holds a token of one session opens the others of the same user of the same site, and writes to them. */
Test(session, any_client_of_the_same_user_opens_it)
{
	struct api *h = api_open();
	struct api_site other = api_add_site(h, "https://other.example");
	const char *phone, *desk, *foreign;
	const char *a = new_session(h, h->sk, "{\"agent\":\"guide\",\"user\":\"ann\",\"client_type\":\"phone\"}", &phone);
	const char *b = new_session(h, h->sk, "{\"agent\":\"guide\",\"user\":\"ann\",\"client_type\":\"desk\"}", &desk);
	const char *c = new_session(h, other.sk, "{\"agent\":\"guide\",\"user\":\"ann\"}", &foreign);
	struct answer said = api_post(h, phone, "{\"role\":\"user\",\"content\":\"from the phone\"}", "/v1/sessions/%s/messages", b);
	must_be(said, 201);
	struct answer seen = api_get(h, desk, "/v1/sessions/%s?messages=1", b), crossed = api_get(h, desk, "/v1/sessions/%s", a);
	must_be(seen, 200);
	must_be(crossed, 200);
	assert_str(seen, "messages[0].content", "from the phone");
	struct answer chat = api_post(h, phone, api_text(h, "{\"message\":\"and a turn\",\"session_id\":\"%s\"}", b), "/v1/chat/guide/message");
	must_be(chat, 200);
	assert_str(chat, "session_id", b);
	struct answer by_namesake = api_get(h, foreign, "/v1/sessions/%s", a), of_namesake = api_get(h, phone, "/v1/sessions/%s", c);
	assert_code(by_namesake, 404, "not_found");
	assert_code(of_namesake, 404, "not_found");
	struct answer fresh = api_post(h, phone, NULL, "/v1/sessions/%s/token", b);
	must_be(fresh, 200);
	api_close(&h);
}

/* SES-6: a visitor without a name is nobody else. */
Test(session, two_anonymous_visitors_share_nothing)
{
	struct api *h = api_open();
	struct answer a = ask(h, .method = "POST", .to = "/v1/sessions", .key = h->pk, .origin = ORIGIN, .body = "{\"agent\":\"guide\"}");
	struct answer b = ask(h, .method = "POST", .to = "/v1/sessions", .key = h->pk, .origin = ORIGIN, .body = "{\"agent\":\"guide\"}");
	must_be(a, 201);
	must_be(b, 201);
	struct answer crossed = ask(h, .method = "GET", .to = api_text(h, "/v1/sessions/%s", str_at(&a, "id")), .key = str_at(&b, "token"), .origin = ORIGIN);
	assert_code(crossed, 404, "not_found");
	api_close(&h);
}

/* SES-6: every client of the session opens it. */
Test(session, is_the_same_through_every_token_of_it)
{
	struct api *h = api_open();
	const char *first;
	const char *id = new_session(h, h->sk, NULL, &first);
	struct answer fresh = api_post(h, first, NULL, "/v1/sessions/%s/token", id);
	must_be(fresh, 200);
	cr_assert_eq(count_at(&fresh, ""), 2);
	struct answer a = api_get(h, str_at(&fresh, "token"), "/v1/sessions/%s", id), b = api_get(h, first, "/v1/sessions/%s", id);
	must_be(a, 200);
	cr_assert_str_eq(a.body.p, b.body.p);
	struct answer by_server = api_post(h, h->sk, "{}", "/v1/sessions/%s/token", id);
	must_be(by_server, 200);
	struct answer by_public = ask(h, .method = "POST", .to = api_text(h, "/v1/sessions/%s/token", id), .key = h->pk, .origin = ORIGIN);
	assert_code(by_public, 403, "forbidden");
	api_close(&h);
}

/* What decides how a session is treated is the site's to change. */
Test(session, a_visitor_changes_only_what_is_its_own)
{
	struct api *h = api_open();
	const char *token;
	const char *id = new_session(h, h->sk, NULL, &token);
	struct answer title = api_patch(h, token, "{\"title\":\"mine\",\"state\":{\"a\":1}}", "/v1/sessions/%s", id);
	must_be(title, 200);
	static const char *const reserved[] = { "config", "metadata", "tags", "context" };
	static const char *const values[] = { "{\"a\":1}", "{\"a\":\"1\"}", "[\"a\"]", "\"x\"" };
	for (size_t i = 0; i < COUNT(reserved); i++) {
		struct answer a = api_patch(h, token, api_text(h, "{\"title\":\"no\",\"%s\":%s}", reserved[i], values[i]), "/v1/sessions/%s", id);
		must_be(a, 400);
		cr_assert(blames(&a, reserved[i], "forbidden"));
	}
	struct answer found = api_get(h, h->sk, "/v1/sessions/%s", id);
	assert_str(found, "title", "mine");
	assert_int(found, "version", 2);
	api_close(&h);
}

Test(session, shows_its_newest_messages_on_request)
{
	struct api *h = api_open();
	const char *id = new_session(h, h->sk, NULL, NULL);
	add_messages(h, id, 1, 120);
	static const int limits[] = { 0, 1, 20, 31, 32, 33, 48, 49, 100 };
	for (size_t i = 0; i < COUNT(limits); i++) {
		struct answer a = api_get(h, h->sk, "/v1/sessions/%s?messages=%d", id, limits[i]);
		must_be(a, 200);
		cr_assert_eq(count_at(&a, "messages"), (size_t)limits[i]);
		for (int k = 0; k < limits[i]; k++)
			assert_int(a, api_text(h, "messages[%d].seq", k), 120 - limits[i] + 1 + k);
	}
	static const char *const bad[] = { "101", "-1", "x", "", "1.5", "1&messages=2" };
	for (size_t i = 0; i < COUNT(bad); i++) {
		struct answer a = api_get(h, h->sk, "/v1/sessions/%s?messages=%s", id, bad[i]);
		assert_code(a, 400, "invalid_request");
		cr_assert(blames(&a, "messages", NULL));
	}
	struct answer unknown = api_get(h, h->sk, "/v1/sessions/%s?mesages=1", id);
	cr_assert(blames(&unknown, "mesages", "unknown"));
	api_close(&h);
}

Test(session, bad_values_are_named_and_nothing_is_stored)
{
	struct api *h = api_open();
	static const struct {
		const char *members, *field, *code;
	} bad[] = {
		{ "\"agent\":7", "agent", "type" }, { "\"agent\":\"\"", "agent", "range" }, { "\"agent\":null", "agent", NULL },
		{ "\"agent\":\"guide\",\"tags\":\"x\"", "tags", "type" }, { "\"agent\":\"guide\",\"tags\":[1]", NULL, NULL },
		{ "\"agent\":\"guide\",\"tags\":[\"a\",\"a\"]", NULL, NULL }, { "\"agent\":\"guide\",\"client_type\":\"a b\"", "client_type", "format" },
		{ "\"agent\":\"guide\",\"if_exists\":\"maybe\"", "if_exists", NULL }, { "\"agent\":\"guide\",\"agnet\":1", "agnet", "unknown" },
		{ "\"agent\":\"guide\",\"user\":\"a\\u0001\"", "user", "format" }, { "\"agent\":\"guide\",\"status\":\"ended\"", "status", "unknown" },
		{ "\"agent\":\"guide\",\"site\":\"x\"", "site", "unknown" }, { "", "agent", "required" },
	};
	for (size_t i = 0; i < COUNT(bad); i++) {
		struct answer a = api_post(h, h->sk, api_text(h, "{%s}", bad[i].members), "/v1/sessions");
		assert_code(a, 400, "invalid_request");
		cr_assert(!bad[i].field || blames(&a, bad[i].field, bad[i].code), "%s: %s", bad[i].members, a.body.p);
	}
	cr_assert_eq(sql_int(h, "SELECT COUNT(*) FROM sessions WHERE site = ?", DB_ARGS(db_ident(&h->home.id))), 0);
	api_close(&h);
}
