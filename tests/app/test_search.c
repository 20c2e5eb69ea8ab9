/* SPDX-License-Identifier: MIT */
/* test_search: messages are found by what they say, in any script, best first; by those who may read them, and nobody else. */
#include <stdio.h>
#include <time.h>

#include "search_help.h"

/* MSG-9 */
Test(search, finds_words_and_shows_where)
{
	struct api *h = api_open();
	const char *s = begin(h, "ann", NULL);
	say(h, s, "user", "When do you open on Sunday?");
	say(h, s, "assistant", "We open at nine, every Morning but Monday.");
	struct answer a = search(h, "morning");
	cr_assert_eq(count_at(&a, "data"), 1);
	assert_str(a, "data[0].session_id", s);
	assert_int(a, "data[0].message.seq", 2);
	assert_str(a, "data[0].message.role", "assistant");
	assert_str(a, "data[0].snippet", "We open at nine, every Morning but Monday.");
	cr_assert(bytes_equal(raw_at(&a, "data[0].highlights"), BYTES("[[23,7]]")));
	assert_int(a, "scanned", 2);
	cr_assert(bool_at(&a, "complete") && is_null_at(&a, "next"));
	struct answer m = api_get(h, h->sk, "/v1/sessions/%s/messages", s);
	assert_str(m, "data[1].id", str_at(&a, "data[0].message.id"));
	assert_str(m, "data[1].conversation_id", str_at(&a, "data[0].conversation_id"));
	cr_assert_eq(n_found(h, "open"), 2);
	cr_assert_eq(n_found(h, "pen"), 0, "words are found by their beginning");
	api_close(&h);
}

/* MSG-9: any language. */
Test(search, finds_any_script)
{
	static const struct {
		const char *said, *asked, *highlights;
	} texts[] = {
		{ "私は東京タワーの近くに住んでいます。", "東京タワー", "[[2,5]]" },
		{ "我想退订这个月的咖啡。", "咖啡", "[[8,2]]" },
		{ "ฉันอยากกินข้าวผัดกับไข่ดาว", "ข้าวผัด", "[[10,7]]" },
		{ "저는 서울에서 한국어를 배워요", "한국어", "[[8,3]]" },
		{ "Когда привезут мой заказ?", "ЗАКАЗ", "[[19,5]]" },
		{ "أين طلبي؟ وصلت الرسالة", "الرسالة", "[[15,7]]" },
		{ "Die Größe paßt, schöne Grüße", "GRÖSSE", "[[4,5]]" },
		{ "party at nine 🎉🎂", "🎂", "[[15,1]]" },
		{ "un cafe\u0301 noir", "Café", "[[3,5]]" },
		{ "मुझे हिन्दी आती है", "हिन्दी", "[[5,6]]" },
	};
	struct api *h = api_open();
	const char *s = begin(h, "ann", NULL);
	for (size_t i = 0; i < COUNT(texts); i++)
		say(h, s, "user", texts[i].said);
	for (size_t i = 0; i < COUNT(texts); i++) {
		struct answer a = search(h, texts[i].asked);
		cr_assert_eq(count_at(&a, "data"), 1, "%s", texts[i].asked);
		assert_int(a, "data[0].message.seq", (int64_t)i + 1);
		assert_str(a, "data[0].snippet", texts[i].said);
		struct bytes found = raw_at(&a, "data[0].highlights");
		cr_assert(bytes_equal(found, bytes_of(texts[i].highlights)), "%s: %.*s", texts[i].asked, (int)found.n, found.p);
	}
	api_close(&h);
}

Test(search, puts_the_best_first)
{
	struct api *h = api_open();
	const char *s = begin(h, "ann", NULL);
	say(h, s, "user", "The delivery of the parcel and of everything else that was ordered in the shop on that day is late.");
	say(h, s, "user", "A parcel.");
	say(h, s, "user", "My parcel was broken, a broken parcel!");
	say(h, s, "user", "Parcels come on Monday.");
	say(h, s, "user", "Broken glass");
	say(h, s, "user", "Nothing of the kind");
	struct answer a = search(h, "broken parcel");
	assert_places(h, a, "a:3 a:5 a:2 a:4 a:1", s);
	for (size_t i = 0; i + 1 < count_at(&a, "data"); i++)
		cr_assert_geq(jsonx_real(raw_at(&a, api_text(h, "data[%zu].score", i))), jsonx_real(raw_at(&a, api_text(h, "data[%zu].score", i + 1))));
	struct answer one = search(h, "parcel");
	assert_places(h, one, "a:2 a:3 a:4 a:1", s);
	struct answer phrase = search(h, "\"broken parcel\" glass");
	assert_places(h, phrase, "a:5 a:3", s);
	struct answer without = search(h, "broken parcel -glass -late");
	assert_places(h, without, "a:3 a:2 a:4", s);
	struct answer best = search_as(h, h->sk, "broken parcel", "&limit=2");
	assert_places(h, best, "a:3 a:5", s);
	say(h, s, "user", "A parcel.");
	struct answer equal = search_as(h, h->sk, "\"a parcel\"", "&limit=2");
	assert_places(h, equal, "a:7 a:2", s); /* of equals the newer */
	api_close(&h);
}

Test(search, looks_at_what_is_said_and_not_at_how_it_is_stored)
{
	struct api *h = api_open();
	const char *s = begin(h, "ann", NULL);
	static const char *const contents[] = {
		"[{\"type\":\"text\",\"text\":\"apple tart\"},{\"type\":\"text\",\"text\":\"plum cake\"}]",
		"[{\"type\":\"image\",\"url\":\"https://orchard.example/apple.png\"},{\"type\":\"image\",\"data\":\"YXBwbGU=\",\"media_type\":\"image/png\"},{\"type\":\"thinking\",\"thinking\":\"apple\"}]",
		"[{\"type\":\"tool_result\",\"content\":[{\"type\":\"text\",\"text\":\"quince \\u00e0 la carte\"}]}]",
		"\"line one\\nline two \\ud83c\\udf4f \\\"quoted\\\" back\\\\slash\"",
		"[{\"type\":\"refusal\",\"refusal\":\"I cannot say that\"}]",
	};
	for (size_t i = 0; i < COUNT(contents); i++) {
		struct answer a = api_post(h, h->sk, api_text(h, "{\"role\":\"tool\",\"content\":%s,\"metadata\":{\"apple\":\"apple\"}}", contents[i]), "/v1/sessions/%s/messages", s);
		must_be(a, 201);
	}
	struct answer apple = search(h, "apple");
	assert_places(h, apple, "a:1", s);
	assert_str(apple, "data[0].snippet", "apple tart\nplum cake");
	cr_assert_eq(n_found(h, "text"), 0);
	cr_assert_eq(n_found(h, "type"), 0);
	cr_assert_eq(n_found(h, "YXBwbGU"), 0);
	cr_assert_eq(n_found(h, "orchard"), 0);
	cr_assert_eq(n_found(h, "quince"), 1);
	cr_assert_eq(n_found(h, "\"à la\""), 1);
	cr_assert_eq(n_found(h, "\"one line\""), 1);
	cr_assert_eq(n_found(h, "🍏"), 1);
	cr_assert_eq(n_found(h, "nline"), 0);
	cr_assert_eq(n_found(h, "cannot"), 1);
	api_close(&h);
}

/* Long texts come compressed; what is shown of them is short. */
Test(search, shows_the_part_of_a_long_text_that_matters)
{
	struct api *h = api_open();
	const char *s = begin(h, "ann", NULL);
	struct buf b;
	buf_init(&b, h->arena, 200000);
	for (int i = 0; i < 20000; i++)
		buf_addf(&b, "%s ", i == 15000 ? "der Schlüssel liegt" : i % 7 ? "viel" : "Text");
	say(h, s, "assistant", buf_bytes(&b).p);
	struct answer a = search(h, "schlussel");
	const char *snippet = str_at(&a, "data[0].snippet");
	cr_assert_not_null(strstr(snippet, "der Schlüssel liegt"));
	cr_assert_lt(strlen(snippet), 200);
	cr_assert_eq(strncmp(snippet, "…", 3), 0);
	cr_assert_eq(count_at(&a, "data[0].highlights"), 1);
	assert_int(a, "data[0].highlights[0][1]", 9);
	api_close(&h);
}

/* SEC-2, SEC-3: what a search gives is its asker's own. */
Test(search, gives_nobody_what_is_not_theirs)
{
	struct api *h = api_open();
	struct api_site other = api_add_site(h, "https://other.example");
	const char *ann_token, *bob_token;
	const char *ann = begin(h, "ann", &ann_token), *bob = begin(h, "bob", &bob_token), *ann_too = begin(h, "ann", NULL), *blank = begin(h, "ann ", NULL);
	const char *foreign = new_session(h, other.sk, "{\"agent\":\"guide\",\"user\":\"ann\"}", NULL);
	say(h, ann, "user", "the canary of Ann");
	say(h, bob, "user", "the canary of Bob");
	say(h, ann_too, "user", "Ann's second canary");
	say(h, blank, "user", "a canary of somebody whose name ends in a blank");
	struct answer f = api_post(h, other.sk, "{\"role\":\"user\",\"content\":\"a foreign canary\"}", "/v1/sessions/%s/messages", foreign);
	must_be(f, 201);
	struct answer all = search_as(h, h->sk, "canary", ""), a = search_as(h, ann_token, "canary", ""), b = search_as(h, bob_token, "canary", "");
	cr_assert_eq(count_at(&all, "data"), 4);
	cr_assert_eq(count_at(&a, "data"), 2);
	assert_int(a, "scanned", 2);
	assert_places(h, b, "b:1", ann, bob);
	struct answer named = search_as(h, h->sk, "canary", "&user=ann");
	cr_assert_eq(count_at(&named, "data"), 2);
	struct answer theirs = search_as(h, other.sk, "canary", "");
	assert_places(h, theirs, "a:1", foreign);
	assert_str(theirs, "data[0].snippet", "a foreign canary");
	struct answer none = search_as(h, h->sk, "canary", "&user=nobody");
	cr_assert_eq(count_at(&none, "data"), 0);
	assert_int(none, "scanned", 0);
	const char *const foreign_sessions[] = { bob, foreign, "ses_00000000000000000000000000", "never-was" };
	for (size_t i = 0; i < COUNT(foreign_sessions); i++) {
		struct answer x = search_as(h, ann_token, "canary", api_text(h, "&session=%s", foreign_sessions[i]));
		must_be(x, 400);
		cr_assert(blames(&x, "session", "value"));
		cr_assert_null(strstr(x.body.p, "canary of"));
	}
	struct answer crossed = search_as(h, h->sk, "canary", api_text(h, "&session=%s", foreign));
	cr_assert(blames(&crossed, "session", "value"));
	struct answer chosen = search_as(h, ann_token, "canary", "&user=bob");
	cr_assert(blames(&chosen, "user", "forbidden"));
	struct answer public = ask(h, .method = "GET", .to = "/v1/search?q=canary", .key = h->pk, .origin = ORIGIN);
	assert_code(public, 403, "forbidden");
	struct answer nobody = api_get(h, NULL, "/v1/search?q=canary");
	must_be(nobody, 401);
	api_close(&h);
}

Test(search, can_be_narrowed)
{
	struct api *h = api_open();
	struct answer made = api_post(h, h->sk, "{\"name\":\"clerk\"}", "/v1/agents");
	must_be(made, 201);
	const char *a = begin(h, "ann", NULL), *b = new_session(h, h->sk, "{\"agent\":\"clerk\",\"user\":\"ann\",\"id\":\"order-7\"}", NULL);
	say(h, a, "user", "tea please");
	say(h, a, "assistant", "one tea comes");
	nap(3);
	struct answer last = api_post(h, h->sk, "{\"role\":\"user\",\"content\":\"more tea\"}", "/v1/sessions/%s/messages", a);
	must_be(last, 201);
	say(h, b, "user", "tea or coffee");
	struct answer end = api_post(h, h->sk, NULL, "/v1/sessions/%s/end", b);
	must_be(end, 200);
	const char *from = encoded(h, str_at(&last, "created_at"));
	const struct {
		const char *filter, *wanted;
		int64_t scanned;
	} cases[] = {
		{ "", "b:1 a:3 a:1 a:2", 4 },          { "&role=assistant", "a:2", 4 },    { "&session=order-7", "b:1", 1 }, { "&agent=clerk", "b:1", 1 },
		{ "&agent=guide&user=ann", "a:3 a:1 a:2", 3 }, { "&status=ended", "b:1", 1 }, { "&status=archived", "", 0 },   { "&agent=guide&status=ended", "", 0 },
		{ api_text(h, "&to=%s", from), "a:1 a:2", 4 }, { api_text(h, "&from=%s", from), "b:1 a:3", 4 }, { "&to=1970-01-01T00:00:00Z", "", 4 },
	};
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct answer x = search_as(h, h->sk, "tea", cases[i].filter);
		must_be(x, 200);
		cr_assert_eq(int_at(&x, "scanned"), cases[i].scanned, "%s", cases[i].filter);
		const char *const sessions[] = { a, "order-7" };
		size_t n = strlen(cases[i].wanted);
		const char *got = places(h, &x, sessions, 2);
		cr_assert_eq(strlen(got), n, "%s: %s", cases[i].filter, got);
		for (const char *p = cases[i].wanted; *p; p += *p == ' ' ? 1 : 3 + (p[3] == ' '))
			cr_assert_not_null(strstr(got, api_text(h, "%.3s", p)), "%s: %s", cases[i].filter, got);
	}
	api_close(&h);
}

Test(search, refuses_what_makes_no_sense_by_name)
{
	struct api *h = api_open();
	struct { char text[1000]; } long_word = { "" }, too_long = { "" }, emoji = { "" };
	memset(long_word.text, 'a', 200);
	memset(too_long.text, 'a', 201);
	for (int i = 0; i < 201; i++)
		strcat(emoji.text, i < 200 ? "é" : "e");
	const struct {
		const char *q, *more, *field, *code;
	} bad[] = {
		{ "", "", "q", "value" },  { "  ", "", "q", "value" },  { "!?", "", "q", "value" }, { "-a -b", "", "q", "value" }, { too_long.text, "", "q", "range" },
		{ emoji.text, "", "q", "range" }, { "a b c d e f g h i j k l m n o p q", "", "q", "range" }, { "a", "&limit=0", "limit", "range" },
		{ "a", "&limit=101", "limit", "range" }, { "a", "&after=x", "after", "value" }, { "a", "&agent=nobody", "agent", "value" },
		{ "a", "&session=nobody", "session", "value" }, { "a", "&from=yesterday", "from", "format" }, { "a", "&nonsense=1", "nonsense", "unknown" },
	};
	for (size_t i = 0; i < COUNT(bad); i++) {
		struct answer a = search_as(h, h->sk, bad[i].q, bad[i].more);
		must_be(a, 400);
		cr_assert(blames(&a, bad[i].field, bad[i].code), "%zu: %s", i, a.body.p);
	}
	static const char *const words[] = { "role=boss", "status=open" };
	for (size_t i = 0; i < COUNT(words); i++) {
		struct answer a = search_as(h, h->sk, "a", api_text(h, "&%s", words[i]));
		must_be(a, 400);
	}
	struct answer none = api_get(h, h->sk, "/v1/search");
	must_be(none, 400);
	cr_assert(blames(&none, "q", "required"));
	struct answer fine = search_as(h, h->sk, long_word.text, "");
	must_be(fine, 200);
	api_close(&h);
}

/* What was deleted is found no more, at once; what was redacted by its new text. */
Test(search, finds_nothing_that_was_deleted)
{
	struct api *h = api_open();
	const char *s = begin(h, "ann", NULL), *gone = begin(h, "ann", NULL);
	say(h, s, "user", "secret one");
	say(h, s, "user", "secret two");
	say(h, s, "user", "secret three");
	say(h, gone, "user", "secret four");
	cr_assert_eq(n_found(h, "secret"), 4);
	struct answer list = api_get(h, h->sk, "/v1/sessions/%s/messages", s);
	struct answer d = api_delete(h, h->sk, "/v1/sessions/%s/messages/%s", s, str_at(&list, "data[0].id"));
	cr_assert_lt(d.status, 300, "%d", d.status);
	cr_assert_eq(n_found(h, "secret"), 3);
	struct answer r = api_post(h, h->sk, "{\"text\":\"removed by request\"}", "/v1/sessions/%s/messages/%s/redact", s, str_at(&list, "data[1].id"));
	cr_assert_lt(r.status, 300, "%d: %s", r.status, r.body.p);
	cr_assert_eq(n_found(h, "secret"), 2);
	cr_assert_eq(n_found(h, "removed"), 1);
	struct answer g = api_delete(h, h->sk, "/v1/sessions/%s", gone);
	must_be(g, 204);
	cr_assert_eq(n_found(h, "secret"), 1);
	struct answer c = api_delete(h, h->sk, "/v1/sessions/%s/messages", s);
	cr_assert_lt(c.status, 300, "%d: %s", c.status, c.body.p);
	cr_assert_eq(n_found(h, "secret"), 0);
	say(h, s, "user", "a new secret");
	cr_assert_eq(n_found(h, "secret"), 1);
	api_close(&h);
}

#define N_TIMED 5000
/* What this thread has computed, whatever else the machine does; a server's part is not in it. */
static int64_t cpu_us(void)
{
	struct timespec t;
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

/* The figure: 5,000 messages of a user. */
Test(search, reads_five_thousand_messages_in_little_time)
{
	static const char *const words[] = { "order", "parcel", "refund", "delivery", "Monday", "invoice", "please", "thank", "you", "the", "a", "is", "was", "can",
					     "we", "your", "address", "street", "number", "arrived", "broken", "coffee", "grinder", "Zürich", "für", "колесо", "和" };
	struct api *h = api_open();
	uint32_t seed = 7;
	for (int i = 0; i < N_TIMED / 100; i++) {
		const char *s = begin(h, "ann", NULL);
		struct buf b;
		buf_init(&b, h->arena, 60000);
		buf_add_str(&b, "{\"messages\":[");
		for (int k = 0; k < 100; k++) {
			buf_addf(&b, "%s{\"role\":\"%s\",\"content\":\"", k ? "," : "", k % 2 ? "assistant" : "user");
			int n = k % 2 ? 60 : 20;
			for (int w = 0; w < n; w++) {
				seed = seed * 1664525 + 1013904223;
				buf_addf(&b, "%s%s", words[(seed >> 16) % COUNT(words)], w % 17 == 16 ? ".\\n" : " ");
			}
			buf_add_str(&b, "\"}");
		}
		buf_add_str(&b, "]}");
		struct answer a = api_post(h, h->sk, buf_bytes(&b).p, "/v1/sessions/%s/messages", s);
		must_be(a, 201);
	}
	static const char *const queries[] = { "refund", "coffee grinder", "broken parcel -monday", "\"your address\"", "zürich", "колесо", "nowhere" };
	for (size_t i = 0; i < COUNT(queries); i++) {
		int64_t took[15], cpu = cpu_us();
		struct answer a = search_as(h, h->sk, queries[i], "&user=ann");
		for (size_t k = 0; k < COUNT(took); k++) {
			int64_t from = stamp_mono_us();
			a = search_as(h, h->sk, queries[i], "&user=ann");
			took[k] = stamp_mono_us() - from;
			for (size_t m = k; m > 0 && took[m] < took[m - 1]; m--) {
				int64_t t = took[m];
				took[m] = took[m - 1];
				took[m - 1] = t;
			}
		}
		must_be(a, 200);
		assert_int(a, "scanned", N_TIMED);
		fprintf(stderr, "search of %d messages for %s: median %.1f ms, fastest %.1f ms, processor %.1f ms\n", N_TIMED, queries[i],
			(double)took[COUNT(took) / 2] / 1000, (double)took[0] / 1000, (double)(cpu_us() - cpu) / 1000 / (COUNT(took) + 1));
	}
	api_close(&h);
}

static void read_few_bytes(struct conf *c)
{
	c->search_bytes = 65536;
}

/* MSG-9: large messages cost a search no more than it may spend, and the cursor goes on with the rest. */
Test(search, looks_at_so_many_bytes_and_goes_on_behind_them)
{
	struct api *h = api_open_with(0, read_few_bytes);
	char *text = arena_alloc(h->arena, 9000);
	memset(text, 'x', 8990);
	memcpy(text, "quince ", 7);
	int n_sent = 0, n_found = 0, pages = 0;
	for (int s = 0; s < 4; s++) {
		const char *id = begin(h, "ann", NULL);
		for (int i = 0; i < (s == 1 ? 400 : 30); i++, n_sent++)
			say(h, id, "user", text);
	}
	const char *more = "&limit=100";
	for (; more && pages < 200; pages++) {
		struct answer a = search_as(h, h->sk, "quince", more);
		must_be(a, 200);
		n_found += (int)int_at(&a, "scanned");
		cr_assert_leq(int_at(&a, "scanned"), 260, "little more than a batch beyond the bound");
		more = bool_at(&a, "complete") ? NULL : api_text(h, "&limit=100&after=%s", str_at(&a, "next"));
	}
	cr_assert_eq(n_found, n_sent, "%d of %d", n_found, n_sent);
	cr_assert_gt(pages, 2);
	api_close(&h);
}
