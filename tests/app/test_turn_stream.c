/* SPDX-License-Identifier: MIT */
/* test_turn_stream: readers of a turn come and go, on any worker; each is given exactly what it missed (TRN-4). */
#include "turn_help.h"

static const char *stream_of(struct api *h, const char *session, const char *turn)
{
	return api_text(h, "/v1/sessions/%s/turns/%s/stream", session, turn);
}

/* Sends a message and returns the turn; its answer is in *a. */
static const char *say(struct api *h, const char *session, const char *body, struct answer *a)
{
	*a = api_post(h, h->sk, body, "/v1/sessions/%s/turns", session);
	must_be(*a, 200);
	return api_text(h, "%s", str_at(a, "turn_id"));
}

Test(turn_stream, a_finished_turn_is_told_again_from_its_beginning)
{
	struct api *h = api_open();
	struct answer said;
	const char *id = new_session(h, h->sk, NULL, NULL), *turn = say(h, id, "{\"message\":\"h\\u00e9 \\ud83c\\udf0d\"}", &said);
	struct answer a = api_get(h, h->sk, "%s", stream_of(h, id, turn));
	must_be(a, 200);
	cr_assert_str_eq(header_of(&a, "Content-Type"), "text/event-stream");
	cr_assert_str_eq(a.events[0].event, "turn");
	cr_assert_str_eq(event_text(h, &a, &a.events[0], "user_message.content"), "h\xc3\xa9 \xf0\x9f\x8c\x8d");
	cr_assert_str_eq(stream_text(h, &a, "", NULL), "You said: h\xc3\xa9 \xf0\x9f\x8c\x8d");
	cr_assert_str_eq(last_event(&a)->event, "done");
	cr_assert(bytes_equal(last_event(&a)->data, said.body), "%s is not %s", last_event(&a)->data.p, said.body.p);
	api_close(&h);
}

/* From every position: a place gives the rest, anything else all of it behind a reset. */
Test(turn_stream, a_reader_is_given_exactly_what_it_missed)
{
	struct api *h = api_open();
	struct answer said;
	const char *id = new_session(h, h->sk, NULL, NULL), *turn = say(h, id, "{\"message\":\"h\\u00e9 \\ud83c\\udf0d!\"}", &said);
	static const char whole[] = "You said: h\xc3\xa9 \xf0\x9f\x8c\x8d!";
	for (size_t at = 1; at < sizeof whole + 2; at++) {
		struct answer a = ask(h, .method = "GET", .key = h->sk, .to = stream_of(h, id, turn), .last_event_id = api_text(h, "%s:%zu", turn, at));
		must_be(a, 200);
		bool is_place = at < sizeof whole && ((unsigned char)whole[at] & 0xc0) != 0x80;
		cr_assert_str_neq(a.events[0].event, "turn");
		cr_assert_eq(strcmp(a.events[0].event, "reset") == 0, !is_place, "%zu %s", at, a.body.p);
		cr_assert_str_eq(stream_text(h, &a, is_place ? api_text(h, "%.*s", (int)at, whole) : "x", NULL), whole);
		cr_assert_str_eq(last_event(&a)->event, "done");
		struct answer same = api_get(h, h->sk, "%s?after=%zu", stream_of(h, id, turn), at);
		cr_assert(bytes_equal(same.body, a.body), "%s is not %s", same.body.p, a.body.p);
	}
	api_close(&h);
}

Test(turn_stream, a_wrong_position_is_refused_by_name)
{
	struct api *h = api_open();
	struct answer said;
	const char *id = new_session(h, h->sk, NULL, NULL), *turn = say(h, id, "{\"message\":\"hi\"}", &said), *other = say(h, id, "{\"message\":\"ho\"}", &said);
	const char *bad[] = { "7", "x:7", api_text(h, "%s:", turn), api_text(h, "%s:-1", turn), api_text(h, "%s:1x", turn), api_text(h, "%s: 1", turn),
			      api_text(h, "%s:3", other), turn };
	for (size_t i = 0; i < COUNT(bad); i++) {
		struct answer a = ask(h, .method = "GET", .key = h->sk, .to = stream_of(h, id, turn), .last_event_id = bad[i]);
		assert_code(a, 400, "invalid_request");
		cr_assert(blames(&a, "Last-Event-ID", "value"), "%s: %s", bad[i], a.body.p);
	}
	struct answer a = api_get(h, h->sk, "%s?after=-1", stream_of(h, id, turn));
	assert_code(a, 400, "invalid_request");
	a = ask(h, .method = "GET", .key = h->sk, .to = api_text(h, "%s?after=2", stream_of(h, id, turn)), .last_event_id = api_text(h, "%s:3", turn));
	cr_assert(blames(&a, "after", "conflict"));
	a = api_get(h, h->sk, "%s", stream_of(h, id, "trn_01jcx3f2m8e4a6s9h1k3q7v5xy"));
	assert_code(a, 404, "not_found");
	const char *stranger = new_session(h, h->sk, NULL, NULL);
	a = api_get(h, h->sk, "%s", stream_of(h, stranger, turn));
	assert_code(a, 404, "not_found");
	struct api_site foreign = api_add_site(h, "https://other.example");
	a = api_get(h, foreign.sk, "%s", stream_of(h, id, turn));
	assert_code(a, 404, "not_found");
	api_close(&h);
}

/* Two readers on two workers, one from the middle, while a third has the POST's own stream. */
Test(turn_stream, any_number_of_readers_follow_a_running_turn, .timeout = 60)
{
	struct api *h = api_open_with(API_FILE, NULL), *twin = api_twin(h, 0, NULL);
	add_slow(h, 60);
	const char *id = new_session(h, h->sk, "{\"agent\":\"slow\"}", NULL);
	struct background post = { .h = h, .to = api_text(h, "/v1/sessions/%s/turns", id),
				   .body = "{\"message\":\"1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\",\"stream\":true}" };
	background_begin(&post, 4);
	struct answer list = api_get(twin, h->sk, "/v1/sessions/%s/turns?status=running", id);
	cr_assert_eq(count_at(&list, "data"), 1);
	const char *turn = api_text(h, "%s", str_at(&list, "data[0].id"));
	struct background first = { .h = h, .key = h->sk, .to = stream_of(h, id, turn) };
	struct background second = { .h = twin, .key = h->sk, .to = api_text(h, "%s?after=4", stream_of(h, id, turn)) };
	background_start(&first);
	background_start(&second);
	background_end(&first);
	background_end(&second);
	background_end(&post);
	static const char whole[] = "You said: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16";
	cr_assert_str_eq(stream_text(h, &post.answer, "", NULL), whole);
	cr_assert_str_eq(stream_text(h, &first.answer, "", NULL), whole);
	cr_assert_str_eq(stream_text(h, &second.answer, "You ", NULL), whole);
	cr_assert_gt(first.answer.n_events, 4, "it followed, piece by piece");
	cr_assert(bytes_equal(last_event(&first.answer)->data, last_event(&post.answer)->data));
	cr_assert(bytes_equal(last_event(&second.answer)->data, last_event(&post.answer)->data));
	cr_assert_str_eq(last_event(&second.answer)->id, last_event(&post.answer)->id);
	list = api_get(twin, h->sk, "/v1/sessions/%s/turns?status=running", id);
	cr_assert_eq(count_at(&list, "data"), 0);
	api_close(&twin);
	api_close(&h);
}

/* TRN-8: its worker was lost; what was saved is told, and then why there is no more. A reader that had seen more starts anew. */
Test(turn_stream, a_lost_turn_ends_its_readers_streams)
{
	struct api *h = api_open();
	struct answer said;
	const char *id = new_session(h, h->sk, NULL, NULL), *turn = say(h, id, "{\"message\":\"hi\"}", &said);
	struct ident t;
	cr_assert(ident_parse("trn_", bytes_of(turn), &t));
	sql_run(h, "UPDATE turns SET status = 1, answer_seq = 0, partial = ? WHERE id = ?",
		DB_ARGS(db_blob("\xa7\0\0\0You sa", 10), db_ident(&t)));
	struct answer a = ask(h, .method = "GET", .key = h->sk, .to = stream_of(h, id, turn), .last_event_id = api_text(h, "%s:4", turn));
	must_be(a, 200);
	cr_assert_str_eq(stream_text(h, &a, "You ", NULL), "You sa");
	cr_assert_str_eq(last_event(&a)->event, "error");
	cr_assert_str_eq(event_text(h, &a, last_event(&a), "code"), "worker_lost");
	a = ask(h, .method = "GET", .key = h->sk, .to = stream_of(h, id, turn), .last_event_id = api_text(h, "%s:9", turn));
	cr_assert_str_eq(a.events[0].event, "reset");
	cr_assert_str_eq(stream_text(h, &a, "You said:", NULL), "You sa");
	api_close(&h);
}

Test(turn_stream, lists_turns_page_by_page)
{
	struct api *h = api_open();
	struct answer said;
	const char *id = new_session(h, h->sk, NULL, NULL), *turns[5];
	for (size_t i = 0; i < COUNT(turns); i++)
		turns[i] = say(h, id, api_text(h, "{\"message\":\"%zu\"}", i), &said);
	const char *after = "";
	size_t n = 0;
	for (bool has_more = true; has_more;) {
		struct answer page = api_get(h, h->sk, "/v1/sessions/%s/turns?limit=2%s", id, after);
		must_be(page, 200);
		for (size_t i = 0; i < count_at(&page, "data"); i++, n++)
			cr_assert_str_eq(str_at(&page, api_text(h, "data[%zu].id", i)), turns[COUNT(turns) - 1 - n]);
		cr_assert(is_null_at(&page, "data[0].result"));
		has_more = bool_at(&page, "has_more");
		if (has_more)
			after = api_text(h, "&after=%s", str_at(&page, "next"));
	}
	cr_assert_eq(n, COUNT(turns));
	struct answer none = api_get(h, h->sk, "/v1/sessions/%s/turns?status=failed", id);
	cr_assert_eq(count_at(&none, "data"), 0);
	struct answer bad = api_get(h, h->sk, "/v1/sessions/%s/turns?after=x", id);
	cr_assert(blames(&bad, "after", "value"));
	bad = api_get(h, h->sk, "/v1/sessions/%s/turns?status=gone", id);
	cr_assert(blames(&bad, "status", NULL));
	api_close(&h);
}

/* HEAD has nothing to wait for. */
Test(turn_stream, a_head_request_ends_at_once, .timeout = 60)
{
	struct api *h = api_open_with(API_FILE, NULL);
	add_slow(h, 100);
	const char *id = new_session(h, h->sk, "{\"agent\":\"slow\"}", NULL);
	struct background post = { .h = h, .to = api_text(h, "/v1/sessions/%s/turns", id), .body = "{\"message\":\"1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18\",\"stream\":true}" };
	background_begin(&post, 2);
	struct answer list = api_get(h, h->sk, "/v1/sessions/%s/turns?status=running", id);
	int64_t began = stamp_mono_ms();
	struct answer a = ask(h, .method = "HEAD", .key = h->sk, .to = stream_of(h, id, str_at(&list, "data[0].id")));
	must_be(a, 200);
	cr_assert_lt(stamp_mono_ms() - began, 1500);
	background_end(&post);
	api_close(&h);
}

/* Whoever had seen a part of what is gone starts anew: old and new text are not mixed. */
Test(turn_stream, a_reader_of_a_redacted_answer_starts_anew)
{
	struct api *h = api_open();
	struct answer said;
	const char *id = new_session(h, h->sk, NULL, NULL), *turn = say(h, id, "{\"message\":\"hi\"}", &said);
	must_be(api_post(h, h->sk, "{\"text\":\"this is not told any more\"}", "/v1/sessions/%s/messages/%s/redact", id, str_at(&said, "message.id")), 200);
	struct answer a = api_get(h, h->sk, "%s?after=4", stream_of(h, id, turn));
	must_be(a, 200);
	cr_assert_str_eq(stream_text(h, &a, "You ", NULL), event_text(h, &a, last_event(&a), "result"));
	must_be(api_post(h, h->sk, "{\"name\":\"clock\",\"tools\":[\"current_time\"]}", "/v1/agents"), 201);
	id = new_session(h, h->sk, "{\"agent\":\"clock\"}", NULL);
	turn = say(h, id, "{\"message\":\"/call current_time {}\"}", &said);
	struct answer list = api_get(h, h->sk, "/v1/sessions/%s/messages", id);
	must_be(api_post(h, h->sk, "{\"text\":\"gone\"}", "/v1/sessions/%s/messages/%s/redact", id, str_at(&list, "data[2].id")), 200);
	a = api_get(h, h->sk, "%s?after=2", stream_of(h, id, turn));
	cr_assert_str_eq(stream_text(h, &a, "xx", NULL), event_text(h, &a, last_event(&a), "result"));
	api_close(&h);
}
