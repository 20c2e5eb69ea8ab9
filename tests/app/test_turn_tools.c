/* SPDX-License-Identifier: MIT */
/* test_turn_tools: the model asks for tools, they answer, and it is asked again (TRN-3); whoever reads the turn sees the same steps. */
#include "provider_help.h"
#include "turn_help.h"

#define TIME_CALL "{\"message\":\"/call current_time {\\\"utc_offset_minutes\\\":60}\",\"stream\":%s}"

static const char *tool_session(struct api *h)
{
	must_be(api_post(h, h->sk, "{\"name\":\"clock\",\"tools\":[\"current_time\"]}", "/v1/agents"), 201);
	return new_session(h, h->sk, "{\"agent\":\"clock\"}", NULL);
}

Test(turn_tools, a_step_is_told_stored_and_given_to_the_model)
{
	struct api *h = api_open();
	const char *id = tool_session(h);
	struct answer a = api_post(h, h->sk, api_text(h, TIME_CALL, "false"), "/v1/sessions/%s/turns", id);
	must_be(a, 200);
	cr_assert(bool_at(&a, "success"));
	cr_assert_eq(count_at(&a, "steps"), 1);
	assert_int(a, "steps[0].index", 1);
	assert_str(a, "steps[0].tool_calls[0].name", "current_time");
	assert_int(a, "steps[0].tool_calls[0].arguments.utc_offset_minutes", 60);
	cr_assert_str_eq(str_at(&a, "steps[0].results[0].tool_call_id"), str_at(&a, "steps[0].tool_calls[0].id"));
	cr_assert(!bool_at(&a, "steps[0].results[0].is_error"));
	const char *weekday = str_at(&a, "steps[0].results[0].result.weekday");
	cr_assert_not_null(strstr(str_at(&a, "result"), weekday), "%s", a.body.p);
	struct answer list = api_get(h, h->sk, "/v1/sessions/%s/messages", id);
	cr_assert_eq(count_at(&list, "data"), 4);
	assert_str(list, "data[1].role", "assistant");
	cr_assert_str_eq(str_at(&list, "data[1].tool_calls[0].id"), str_at(&a, "steps[0].tool_calls[0].id"));
	assert_str(list, "data[2].role", "tool");
	assert_str(list, "data[2].content[0].json.weekday", weekday);
	cr_assert_str_eq(str_at(&list, "data[2].tool_call_id"), str_at(&a, "steps[0].tool_calls[0].id"));
	cr_assert_str_eq(str_at(&list, "data[3].content"), str_at(&a, "result"));
	for (int i = 0; i < 4; i++)
		cr_assert_str_eq(str_at(&list, api_text(h, "data[%d].turn_id", i)), str_at(&a, "turn_id"));
	struct answer turn = api_get(h, h->sk, "/v1/sessions/%s/turns/%s", id, str_at(&a, "turn_id"));
	cr_assert(bytes_equal(raw_at(&turn, "steps"), raw_at(&a, "steps")));
	assert_int(turn, "answer_seq", 4);
	api_close(&h);
}

static const char *events_of(struct api *h, const struct answer *a, size_t from)
{
	struct buf b;
	buf_init(&b, h->arena, 256);
	for (size_t i = from; i < a->n_events; i++) {
		bool is_again = i > from && strcmp(a->events[i].event, "delta") == 0 && strcmp(a->events[i - 1].event, "delta") == 0;
		if (!is_again) {
			buf_add_str(&b, a->events[i].event);
			buf_add_char(&b, ' ');
		}
	}
	return b.p;
}

/* TRN-4: from the position behind every event the rest is the same, frames and all. */
Test(turn_tools, readers_see_the_steps_from_wherever_they_are)
{
	struct api *h = api_open();
	const char *id = tool_session(h);
	struct answer a = ask(h, .method = "POST", .to = api_text(h, "/v1/sessions/%s/turns", id), .key = h->sk, .body = api_text(h, TIME_CALL, "true"), .idem = "k");
	must_be(a, 200);
	cr_assert_str_eq(events_of(h, &a, 0), "turn step tool delta done ");
	const char *text = stream_text(h, &a, "", NULL), *turn = event_text(h, &a, &a.events[0], "turn_id");
	cr_assert_str_eq(event_text(h, &a, last_event(&a), "result"), text);
	struct buf before;
	buf_init(&before, h->arena, 64);
	for (size_t i = 0; i + 1 < a.n_events; i++) {
		if (strcmp(a.events[i].event, "delta") == 0)
			buf_add_bytes(&before, jsonx_string(a.arena, json_at(a.events[i].data, "text")));
		struct answer rest = ask(h, .method = "GET", .key = h->sk, .to = api_text(h, "/v1/sessions/%s/turns/%s/stream", id, turn),
					 .last_event_id = a.events[i].id);
		must_be(rest, 200);
		cr_assert_str_eq(events_of(h, &rest, i == 0), events_of(h, &a, i + 1), "behind %s", a.events[i].id);
		cr_assert_str_eq(stream_text(h, &rest, before.n ? before.p : "", NULL), text);
	}
	struct answer inside = api_get(h, h->sk, "/v1/sessions/%s/turns/%s/stream?after=3", id, turn);
	cr_assert_str_eq(events_of(h, &inside, 0), "reset step tool delta done ");
	struct answer again = ask(h, .method = "POST", .to = api_text(h, "/v1/sessions/%s/turns", id), .key = h->sk, .body = api_text(h, TIME_CALL, "true"), .idem = "k");
	cr_assert_str_eq(events_of(h, &again, 0), "turn step tool delta done ");
	cr_assert(bytes_equal(last_event(&again)->data, last_event(&a)->data));
	api_close(&h);
}

Test(turn_tools, a_loop_without_end_ends)
{
	struct api *h = api_open();
	const char *id = tool_session(h);
	struct answer a = api_post(h, h->sk, "{\"message\":\"/loop current_time {}\",\"max_iterations\":3}", "/v1/sessions/%s/turns", id);
	must_be(a, 200);
	cr_assert(!bool_at(&a, "success"));
	assert_str(a, "finish", "iterations");
	cr_assert_eq(count_at(&a, "steps"), 2);
	cr_assert(is_null_at(&a, "message"));
	struct answer list = api_get(h, h->sk, "/v1/sessions/%s/messages", id);
	cr_assert_eq(count_at(&list, "data"), 5);
	must_be(api_patch(h, h->sk, "{\"max_iterations\":2}", "/v1/agents/clock"), 200);
	a = api_post(h, h->sk, "{\"message\":\"/loop current_time {}\"}", "/v1/sessions/%s/turns", id);
	cr_assert_eq(count_at(&a, "steps"), 1);
	a = api_post(h, h->sk, "{\"message\":\"and now\"}", "/v1/sessions/%s/turns", id);
	must_be(a, 200);
	assert_str(a, "result", "You said: and now");
	api_close(&h);
}

#define LOOP "{\"message\":\"/loop current_time {}\",\"max_iterations\":%d}"

/* What a visitor's turn may cost is the site's to say. */
Test(turn_tools, a_visitor_may_ask_for_fewer_iterations_alone)
{
	struct api *h = api_open();
	const char *token;
	must_be(api_post(h, h->sk, "{\"name\":\"clock\",\"tools\":[\"current_time\"],\"max_iterations\":3}", "/v1/agents"), 201);
	const char *id = new_session(h, h->sk, "{\"agent\":\"clock\"}", &token);
	struct answer a = api_post(h, token, api_text(h, LOOP, 50), "/v1/sessions/%s/turns", id);
	must_be(a, 200);
	cr_assert_eq(count_at(&a, "steps"), 2);
	a = api_post(h, token, api_text(h, LOOP, 2), "/v1/sessions/%s/turns", id);
	cr_assert_eq(count_at(&a, "steps"), 1);
	a = api_post(h, h->sk, api_text(h, LOOP, 5), "/v1/sessions/%s/turns", id);
	cr_assert_eq(count_at(&a, "steps"), 4);
	api_close(&h);
}

/* What a message said is nowhere else once it is redacted: neither in the steps of its turn nor in what readers are given. */
Test(turn_tools, redacting_a_message_takes_it_out_of_its_turn)
{
	struct api *h = api_open();
	const char *id = tool_session(h);
	struct answer a = api_post(h, h->sk, api_text(h, TIME_CALL, "false"), "/v1/sessions/%s/turns", id);
	const char *weekday = str_at(&a, "steps[0].results[0].result.weekday"), *turn = str_at(&a, "turn_id");
	struct answer list = api_get(h, h->sk, "/v1/sessions/%s/messages", id);
	must_be(api_post(h, h->sk, "{\"text\":\"gone\"}", "/v1/sessions/%s/messages/%s/redact", id, str_at(&list, "data[2].id")), 200);
	must_be(api_post(h, h->sk, "{\"text\":\"gone\"}", "/v1/sessions/%s/messages/%s/redact", id, str_at(&list, "data[3].id")), 200);
	struct answer seen[] = { api_get(h, h->sk, "/v1/sessions/%s/turns/%s", id, turn), api_get(h, h->sk, "/v1/sessions/%s/turns/%s/stream", id, turn),
				 api_get(h, h->sk, "/v1/sessions/%s/turns", id) };
	for (size_t i = 0; i < COUNT(seen); i++) {
		must_be(seen[i], 200);
		cr_assert_null(strstr(seen[i].body.p, weekday), "%zu: %s", i, seen[i].body.p);
	}
	api_close(&h);
}

#define OPENAI_CALLS(one, two) \
	"data: {\"model\":\"gpt-x\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Let me see.\"}}]}\n\n" \
	"data: {\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":0,\"id\":\"c1\",\"type\":\"function\",\"function\":{\"name\":\"current_time\",\"arguments\":\"{\\\"utc_\"}}]}}]}\n\n" \
	"data: {\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":\"" one "\"}}]}}]}\n\n" \
	"data: {\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":1,\"id\":\"c2\",\"type\":\"function\",\"function\":" two "}]}}]}\n\n" \
	"data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"tool_calls\"}]}\n\ndata: {\"choices\":[],\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":3}}\n\n" \
	"data: [DONE]\n\n"
#define OPENAI_SAYS(text) "data: {\"model\":\"gpt-x\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"" text "\"}}]}\n\n" \
	"data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: {\"choices\":[],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":2}}\n\ndata: [DONE]\n\n"
#define ANTHROPIC_STREAM(blocks, reason) \
	"event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"type\":\"message\",\"model\":\"claude-x\",\"content\":[],\"usage\":{\"input_tokens\":5,\"output_tokens\":1}}}\n\n" blocks \
	"event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"" reason "\"},\"usage\":{\"output_tokens\":6}}\n\n" \
	"event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"
#define ANTHROPIC_CALL ANTHROPIC_STREAM( \
	"data: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"thinking\",\"thinking\":\"\",\"signature\":\"\"}}\n\n" \
	"data: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"thinking_delta\",\"thinking\":\"Hm\"}}\n\n" \
	"data: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"signature_delta\",\"signature\":\"SigA==\"}}\n\n" \
	"data: {\"type\":\"content_block_stop\",\"index\":0}\n\n" \
	"data: {\"type\":\"content_block_start\",\"index\":1,\"content_block\":{\"type\":\"tool_use\",\"id\":\"toolu_1\",\"name\":\"current_time\",\"input\":{}}}\n\n" \
	"data: {\"type\":\"content_block_delta\",\"index\":1,\"delta\":{\"type\":\"input_json_delta\",\"partial_json\":\"{}\"}}\n\n" \
	"data: {\"type\":\"content_block_stop\",\"index\":1}\n\n", "tool_use")
#define ANTHROPIC_SAYS(text) ANTHROPIC_STREAM( \
	"data: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"" text "\"}}\n\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\n", "end_turn")
#define GEMINI_CALL "data: {\"candidates\":[{\"content\":{\"role\":\"model\",\"parts\":[{\"functionCall\":{\"name\":\"current_time\",\"args\":{}},\"thoughtSignature\":\"SigG==\"}]}," \
	"\"finishReason\":\"STOP\"}],\"usageMetadata\":{\"promptTokenCount\":4,\"candidatesTokenCount\":2},\"modelVersion\":\"gemini-x\"}\n\n"
#define GEMINI_SAYS(text) "data: {\"candidates\":[{\"content\":{\"role\":\"model\",\"parts\":[{\"text\":\"" text "\"}]},\"finishReason\":\"STOP\"}]," \
	"\"usageMetadata\":{\"promptTokenCount\":5,\"candidatesTokenCount\":1},\"modelVersion\":\"gemini-x\"}\n\n"

/* TRN-2, TRN-3: tools in each provider's form, and one conversation through all of them; what one signed goes back to it alone. */
Test(turn_tools, a_conversation_with_tools_goes_on_over_all_forms)
{
	struct api *h = api_open_with(0, allow_local);
	static struct fake_provider p;
	start_provider(&p);
	const char *kinds[] = { "openai", "anthropic", "gemini", "anthropic", "openai" };
	const char *calls[] = { OPENAI_CALLS("offset_minutes\\\":0}", "{\"name\":\"current_time\",\"arguments\":\"\"}"), ANTHROPIC_CALL, GEMINI_CALL, ANTHROPIC_CALL,
				OPENAI_CALLS("offset_minutes\\\":0}", "{\"name\":\"current_time\",\"arguments\":\"\"}") };
	const char *says[] = { OPENAI_SAYS("One."), ANTHROPIC_SAYS("Two."), GEMINI_SAYS("Three."), ANTHROPIC_SAYS("Four."), OPENAI_SAYS("Five.") };
	const char *results[] = { "One.", "Two.", "Three.", "Four.", "Five." };
	must_be(api_post(h, h->sk, "{\"name\":\"poly\",\"tools\":[\"current_time\"]}", "/v1/agents"), 201);
	const char *id = new_session(h, h->sk, "{\"agent\":\"poly\"}", NULL);
	for (size_t i = 0; i < COUNT(kinds); i++) {
		must_be(api_patch(h, h->sk, api_text(h, "{\"provider\":\"%s\",\"model\":\"m-1\"}", add_provider(h, &p, kinds[i])), "/v1/agents/poly"), 200);
		p.stream = calls[i];
		p.next = says[i];
		struct answer a = api_post(h, h->sk, "{\"message\":\"When?\"}", "/v1/sessions/%s/turns", id);
		must_be(a, 200);
		assert_str(a, "result", results[i]);
		cr_assert_eq(count_at(&a, "steps"), 1);
		cr_assert_eq(count_at(&a, "steps[0].results"), strcmp(kinds[i], "openai") == 0 ? 2 : 1);
		cr_assert(!bool_at(&a, "steps[0].results[0].is_error"), "%s", a.body.p);
		cr_assert(was_asked(&p, "weekday"), "the model was told: %s", p.asked);
		bool is_anthropic = strcmp(kinds[i], "anthropic") == 0;
		cr_assert_eq(was_asked(&p, "SigA=="), is_anthropic, "%zu: %s", i, p.asked);
		cr_assert_eq(was_asked(&p, "SigG=="), strcmp(kinds[i], "gemini") == 0, "%zu: %s", i, p.asked);
	}
	/* the last prompt has every step of those before, in its own form */
	size_t n = 0;
	for (const char *at = p.asked; (at = strstr(at, "\"tool_call_id\"")); at++)
		n++;
	cr_assert_eq(n, 7, "%zu in %s", n, p.asked);
	struct answer list = api_get(h, h->sk, "/v1/sessions/%s/messages?limit=100", id);
	cr_assert_eq(count_at(&list, "data"), 22);
	stop_provider(&p);
	api_close(&h);
}

/* A call that cannot be made is an answer for the model, and the turn goes on. */
Test(turn_tools, a_bad_call_is_told_to_the_model)
{
	static const struct {
		const char *calls, *told;
	} rows[] = {
		{ OPENAI_CALLS("offset\\\":0}", "{\"name\":\"no_such\",\"arguments\":\"{}\"}"), "no_such" },
		{ OPENAI_CALLS("off", "{\"name\":\"current_time\",\"arguments\":\"{\\\"utc_offset_minutes\\\":\\\"x\\\"}\"}"), "utc_offset_minutes" },
	};
	struct api *h = api_open_with(0, allow_local);
	static struct fake_provider p;
	start_provider(&p);
	must_be(api_post(h, h->sk, api_text(h, "{\"name\":\"poly\",\"tools\":[\"current_time\"],\"provider\":\"%s\",\"model\":\"m-1\"}",
					    add_provider(h, &p, "openai")), "/v1/agents"), 201);
	const char *id = new_session(h, h->sk, "{\"agent\":\"poly\"}", NULL);
	for (size_t i = 0; i < COUNT(rows); i++) {
		p.stream = rows[i].calls;
		p.next = OPENAI_SAYS("Sorry.");
		struct answer a = api_post(h, h->sk, "{\"message\":\"When?\"}", "/v1/sessions/%s/turns", id);
		must_be(a, 200);
		assert_str(a, "result", "Sorry.");
		cr_assert(bool_at(&a, "steps[0].results[0].is_error"));
		cr_assert(bool_at(&a, "steps[0].results[1].is_error"));
		cr_assert_not_null(strstr(str_at(&a, "steps[0].results[1].result"), rows[i].told), "%s", a.body.p);
		assert_int(a, "usage.input_tokens", 16);
		assert_int(a, "usage.output_tokens", 5);
	}
	stop_provider(&p);
	api_close(&h);
}

/* TRN-3, as an option: a model that knows no tools writes its calls as JSON; readers see the answer's text and none of that. */
Test(turn_tools, a_model_that_only_writes_text_can_use_them_too)
{
	struct api *h = api_open_with(0, allow_local);
	static struct fake_provider p;
	start_provider(&p);
	must_be(api_post(h, h->sk, api_text(h, "{\"name\":\"plain\",\"tools\":[\"current_time\"],\"tool_mode\":\"text\",\"provider\":\"%s\",\"model\":\"m-1\"}",
					    add_provider(h, &p, "openai")), "/v1/agents"), 201);
	const char *id = new_session(h, h->sk, "{\"agent\":\"plain\"}", NULL);
	p.stream = OPENAI_SAYS("{\\\"thought\\\":\\\"the clock\\\",\\\"tool\\\":\\\"current_time\\\",\\\"arguments\\\":{}}");
	p.next = OPENAI_SAYS("{\\\"thought\\\":\\\"so\\\",\\\"answer\\\":\\\"It is late.\\\"}");
	struct answer a = api_post(h, h->sk, "{\"message\":\"When?\",\"stream\":true}", "/v1/sessions/%s/turns", id);
	must_be(a, 200);
	cr_assert_str_eq(stream_text(h, &a, "", NULL), "It is late.");
	cr_assert_str_eq(event_text(h, &a, last_event(&a), "result"), "It is late.");
	cr_assert_null(strstr(p.asked, "\"tools\":["));
	cr_assert(was_asked(&p, "weekday"));
	struct answer list = api_get(h, h->sk, "/v1/sessions/%s/messages", id);
	assert_str(list, "data[3].content", "It is late.");
	stop_provider(&p);
	api_close(&h);
}

/* TRN-9: what came before the break is taken back, and the answer begins anew. */
Test(turn_tools, an_answer_that_breaks_off_begins_anew)
{
	struct api *h = api_open_with(0, allow_local);
	static struct fake_provider p;
	start_provider(&p);
	must_be(api_post(h, h->sk, api_text(h, "{\"name\":\"poly\",\"provider\":\"%s\",\"model\":\"m-1\"}", add_provider(h, &p, "openai")), "/v1/agents"), 201);
	const char *id = new_session(h, h->sk, "{\"agent\":\"poly\"}", NULL);
	p.stream = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Half of it\"}}]}\n\n";
	p.next = OPENAI_SAYS("All of it");
	struct answer a = api_post(h, h->sk, "{\"message\":\"Well?\",\"stream\":true}", "/v1/sessions/%s/turns", id);
	must_be(a, 200);
	cr_assert_str_eq(events_of(h, &a, 0), "turn delta reset delta done ");
	cr_assert_str_eq(stream_text(h, &a, "", NULL), "All of it");
	struct answer late = api_get(h, h->sk, "/v1/sessions/%s/turns/%s/stream?after=4", id, event_text(h, &a, &a.events[0], "turn_id"));
	cr_assert_str_eq(stream_text(h, &late, "Half", NULL), "All of it");
	cr_assert_str_eq(events_of(h, &late, 0), "delta reset delta done ");
	stop_provider(&p);
	api_close(&h);
}

/* Also where that happens while the turn runs: neither the answer that its key replays nor anything else has the text again. */
Test(turn_tools, redacting_a_message_while_its_turn_runs_takes_it_out_of_the_answer, .timeout = 60)
{
	struct api *h = api_open_with(API_FILE, NULL);
	add_slow(h, 100);
	const char *id = new_session(h, h->sk, "{\"agent\":\"slow\"}", NULL), *body = "{\"message\":\"a b c d e f secret\",\"stream\":true}";
	struct background b = { .h = h, .to = api_text(h, "/v1/sessions/%s/turns", id), .body = body, .idem = "k" };
	background_begin(&b, 3);
	struct answer list = api_get(h, h->sk, "/v1/sessions/%s/messages", id);
	must_be(api_post(h, h->sk, "{\"text\":\"gone\"}", "/v1/sessions/%s/messages/%s/redact", id, str_at(&list, "data[0].id")), 200);
	background_end(&b);
	struct answer again = ask(h, .method = "POST", .to = b.to, .key = h->sk, .body = body, .idem = "k");
	must_be(again, 200);
	cr_assert_str_eq(event_text(h, &again, &again.events[0], "user_message.content"), "gone");
	cr_assert_str_eq(event_text(h, &again, last_event(&again), "user_message.content"), "gone");
	api_close(&h);
}

static void allow_local_tools(struct conf *c)
{
	allow_local(c);
	c->tool_allow_hosts = "127.0.0.1";
}

/* TRN-5: a turn that is stopped while its tools run says of those that had ended what readers were told. */
Test(turn_tools, a_stop_keeps_the_results_that_came, .timeout = 60)
{
	struct api *h = api_open_with(API_FILE, allow_local_tools);
	static struct fake_provider p;
	start_provider(&p);
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t n = sizeof at;
	int silent = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	cr_assert(bind(silent, (struct sockaddr *)&at, sizeof at) == 0 && listen(silent, 4) == 0 && getsockname(silent, (struct sockaddr *)&at, &n) == 0);
	must_be(api_post(h, h->sk, api_text(h, "{\"name\":\"silent\",\"description\":\"x\",\"parameters\":{\"type\":\"object\"},\"url\":\"http://127.0.0.1:%d/\"}",
					    ntohs(at.sin_port)), "/v1/tools"), 201);
	must_be(api_post(h, h->sk, api_text(h, "{\"name\":\"poly\",\"tools\":[\"current_time\",\"silent\"],\"provider\":\"%s\",\"model\":\"m-1\"}",
					    add_provider(h, &p, "openai")), "/v1/agents"), 201);
	p.stream = OPENAI_CALLS("offset_minutes\\\":0}", "{\"name\":\"silent\",\"arguments\":\"{}\"}");
	const char *id = new_session(h, h->sk, "{\"agent\":\"poly\"}", NULL);
	struct background b = { .h = h, .to = api_text(h, "/v1/sessions/%s/turns", id), .body = "{\"message\":\"When?\",\"stream\":true}" };
	background_begin(&b, 5); /* head, turn, delta, step, tool */
	struct answer list = api_get(h, h->sk, "/v1/sessions/%s/turns?status=running", id);
	struct answer a = api_post(h, h->sk, "{}", "/v1/sessions/%s/turns/%s/cancel", id, str_at(&list, "data[0].id"));
	must_be(a, 200);
	assert_str(a, "status", "cancelled");
	background_end(&b);
	cr_assert_str_eq(events_of(h, &b.answer, 0), "turn delta step tool done ");
	cr_assert_eq(count_at(&a, "steps"), 1);
	cr_assert_eq(count_at(&a, "steps[0].results"), 1, "%s", a.body.p);
	assert_str(a, "steps[0].results[0].name", "current_time");
	/* and the next prompt knows what was asked for, what came, and that the rest did not */
	struct answer messages = api_get(h, h->sk, "/v1/sessions/%s/messages", id);
	cr_assert_eq(count_at(&messages, "data"), 3, "%s", str_at(&messages, "data[3].role"));
	cr_assert_eq(count_at(&messages, "data[1].tool_calls"), 2);
	assert_str(messages, "data[2].tool_call_id", "c1");
	p.stream = OPENAI_SAYS("Never mind.");
	a = api_post(h, h->sk, "{\"message\":\"Well?\"}", "/v1/sessions/%s/turns", id);
	must_be(a, 200);
	cr_assert(was_asked(&p, "weekday") && was_asked(&p, "\"tool_call_id\":\"c2\""), "%s", p.asked);
	stop_provider(&p);
	close(silent);
	api_close(&h);
}
