/* SPDX-License-Identifier: MIT */
/* test_naughty: the strings that break things elsewhere come back byte for byte through API, store and cache, twice. */
#include "harness.h"

#include <stdio.h>
#include <stdlib.h>

/* The strings of the list, as JSON texts as they stand there. */
static struct bytes read_list(struct api *h)
{
	const char *shared = getenv("PARLEY_SHARED");
	const char *path = api_text(h, "%s/data/naughty-strings/blns.json", shared && shared[0] ? shared : "../shared");
	FILE *f = fopen(path, "r");
	struct jsonx_flaw flaw;
	if (!f) {
		api_close(&h);
		cr_skip_test("there is no list of naughty strings at ../shared");
	}
	char *text = arena_alloc(h->arena, 1 << 20);
	size_t n = fread(text, 1, 1 << 20, f);
	fclose(f);
	while (n && (text[n - 1] == '\n' || text[n - 1] == ' '))
		n--;
	cr_assert(jsonx_check(h->arena, (struct bytes){ text, n }, &flaw), "%s at %zu", flaw.reason, flaw.offset);
	return (struct bytes){ text, n };
}

static bool is_same(struct api *h, struct bytes got, struct bytes sent)
{
	struct arena *a = arena_open(0);
	bool is_equal = jsonx_type(got) == JSONX_STRING && bytes_equal(jsonx_string(a, got), jsonx_string(a, sent));
	(void)h;
	arena_close(&a);
	return is_equal;
}

/* As message content: the very bytes that were sent, from the write, the tail, the database and another worker. */
Test(naughty, message_contents_come_back_byte_for_byte, .timeout = 120)
{
	struct api *h = api_open_with(API_FILE, NULL), *plain = api_twin(h, API_NO_CACHE, NULL);
	struct bytes list = read_list(h);
	const char *id = new_session(h, h->sk, NULL, NULL);
	struct jsonx_walk w;
	int seq = 0;
	jsonx_walk_begin(&w, list);
	while (jsonx_walk_next(&w)) {
		struct answer a = api_post(h, h->sk, api_text(h, "{\"role\":\"user\",\"content\":%.*s}", (int)w.value.n, w.value.p), "/v1/sessions/%s/messages", id);
		must_be(a, 201);
		cr_assert(bytes_equal(raw_at(&a, "content"), w.value));
		seq++;
		struct answer cached = api_get(h, h->sk, "/v1/sessions/%s/messages?order=desc&limit=1", id);
		cr_assert(bytes_equal(raw_at(&cached, "data[0].content"), w.value), "%.*s", (int)w.value.n, w.value.p);
	}
	cr_assert_gt(seq, 400);
	struct api *const both[] = { h, plain };
	for (int k = 0; k < 2; k++) {
		int at = 0;
		struct answer page = { 0 };
		jsonx_walk_begin(&w, list);
		while (jsonx_walk_next(&w)) {
			if (at % 100 == 0)
				page = api_get(both[k], h->sk, "/v1/sessions/%s/messages?limit=100&after=%d", id, at);
			struct bytes got = raw_at(&page, api_text(h, "data[%d].content", at % 100));
			cr_assert(bytes_equal(got, w.value), "%d: %.*s", at, (int)w.value.n, w.value.p);
			at++;
		}
	}
	api_close(&plain);
	api_close(&h);
}

/* As state, title, tag, user and metadata: what is taken comes back the same, what is not is refused by name. */
Test(naughty, session_texts_come_back_or_are_refused, .timeout = 120)
{
	struct api *h = api_open_with(API_FILE, NULL), *plain = api_twin(h, API_NO_CACHE, NULL);
	struct bytes list = read_list(h);
	struct jsonx_walk w;
	int n_taken = 0, n_refused = 0;
	jsonx_walk_begin(&w, list);
	while (jsonx_walk_next(&w)) {
		const char *s = api_text(h, "%.*s", (int)w.value.n, w.value.p);
		struct answer a = api_post(h, h->sk, api_text(h, "{\"agent\":\"guide\",\"title\":%s,\"user\":%s,\"context\":%s,\"tags\":[%s],\"metadata\":{\"k\":%s},\"state\":{\"v\":%s}}", s, s, s, s, s, s),
					   "/v1/sessions");
		if (a.status != 201) {
			assert_code(a, 400, "invalid_request");
			cr_assert_geq(count_at(&a, "errors"), 1);
			a = api_post(h, h->sk, api_text(h, "{\"agent\":\"guide\",\"state\":{\"v\":%s}}", s), "/v1/sessions");
			must_be(a, 201);
			n_refused++;
		} else {
			n_taken++;
		}
		struct api *const both[] = { h, plain };
		for (int k = 0; k < 2; k++) {
			struct answer got = api_get(both[k], h->sk, "/v1/sessions/%s", str_at(&a, "id"));
			must_be(got, 200);
			cr_assert(bytes_equal(raw_at(&got, "state.v"), w.value));
			if (raw_at(&a, "metadata.k").n) {
				static const char *const members[] = { "title", "user", "context", "tags[0]", "metadata.k" };
				for (size_t m = 0; m < COUNT(members); m++)
					cr_assert(is_same(h, raw_at(&got, members[m]), w.value), "%s: %s", members[m], s);
				struct answer by_name = api_get(both[k], h->sk, "/v1/sessions/%s", str_at(&a, "name"));
				must_be(by_name, 200);
			}
		}
	}
	cr_assert(n_taken > 300 && n_refused > 5, "%d taken, %d refused", n_taken, n_refused);
	api_close(&plain);
	api_close(&h);
}

/* Through a turn, whose answer is made from them. */
Test(naughty, turns_echo_them, .timeout = 120)
{
	struct api *h = api_open();
	struct bytes list = read_list(h);
	const char *id = new_session(h, h->sk, NULL, NULL);
	struct jsonx_walk w;
	jsonx_walk_begin(&w, list);
	for (int i = 0; jsonx_walk_next(&w); i++) {
		if (w.value.n == 2)
			continue; /* the empty one says nothing */
		struct answer a = api_post(h, h->sk, api_text(h, "{\"message\":%.*s,\"stream\":%s}", (int)w.value.n, w.value.p, i % 2 ? "true" : "false"), "/v1/sessions/%s/turns", id);
		must_be(a, 200);
		struct bytes answer = i % 2 ? a.events[a.n_events - 1].data : a.body, said = jsonx_string(h->arena, w.value);
		struct bytes result = jsonx_string(h->arena, json_at(answer, "result"));
		cr_assert_eq(result.n, said.n + 10);
		cr_assert_eq(memcmp(result.p + 10, said.p, said.n), 0);
		cr_assert(bytes_equal(jsonx_string(h->arena, json_at(answer, "message.content")), result));
		cr_assert(bytes_equal(json_at(answer, "user_message.content"), w.value));
	}
	api_close(&h);
}

/* NUL, lone escapes, the longest characters, and what could close a JavaScript or HTML string. */
Test(naughty, further_texts_come_back)
{
	struct api *h = api_open();
	static const char *const texts[] = { "\"a\\u0000b\"", "\"\\ud83d\\ude00\"", "\"\xf4\x8f\xbf\xbf\"", "\"\xef\xbf\xbf\"", "\"\\u2028\\u2029\"", "\"\\/\\\\\\\"\"", "\"<\\/script>\"", "\"\\u007f\\u0080\"" };
	const char *id = new_session(h, h->sk, NULL, NULL);
	for (size_t i = 0; i < COUNT(texts); i++) {
		struct answer a = api_post(h, h->sk, api_text(h, "{\"role\":\"user\",\"content\":%s,\"metadata\":{\"k\":%s}}", texts[i], texts[i]), "/v1/sessions/%s/messages", id);
		must_be(a, 201);
		struct answer list = api_get(h, h->sk, "/v1/sessions/%s/messages?order=desc&limit=1", id);
		cr_assert(bytes_equal(raw_at(&list, "data[0].content"), bytes_of(texts[i])));
		cr_assert(bytes_equal(raw_at(&list, "data[0].metadata.k"), bytes_of(texts[i])));
	}
	api_close(&h);
}
