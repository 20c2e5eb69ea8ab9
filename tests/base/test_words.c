/* SPDX-License-Identifier: MIT */
/* test_words: one text, however it is written, is found; what is no part of it is not; and a cut shows it. */
#include <criterion/criterion.h>
#include <stdio.h>

#include "base/words.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static struct words_query parsed(struct arena *a, const char *query)
{
	struct words_query q;
	cr_assert_eq(words_parse(a, bytes_of(query), &q), WORDS_SOUND, "%s", query);
	return q;
}

/* The weight of the first term of a query in a text, 0 when the text does not match. */
static int weight_of(const char *query, const char *text)
{
	struct arena *a = arena_open(4096);
	struct words_query q = parsed(a, query);
	unsigned char weights[WORDS_TERMS_MAX];
	bool is_match = words_count(&q, words_fold(a, &q, bytes_of(text)).folded, weights);
	int weight = is_match ? weights[0] : 0;
	arena_close(&a);
	return weight;
}

static bool finds(const char *query, const char *text)
{
	struct arena *a = arena_open(4096);
	struct words_query q = parsed(a, query);
	unsigned char weights[WORDS_TERMS_MAX];
	bool is_match = words_count(&q, words_fold(a, &q, bytes_of(text)).folded, weights);
	arena_close(&a);
	return is_match;
}

struct pair {
	const char *query, *text;
};

Test(words, finds_one_text_however_it_is_written)
{
	static const struct pair pairs[] = {
		{ "coffee", "One COFFEE, please" },
		{ "STRASSE", "in der Hauptstraße? Straße!" },
		{ "straße", "STRASSE 7" },
		{ "Zürich", "zu\xcc\x88rich" }, /* decomposed */
		{ "Zu\xcc\x88rich", "ZÜRICH" },
		{ "zurich", "Zürich" },
		{ "cafe", "un café" },
		{ "naive", "na\xc3\xafve" },
		{ "ＡＢＣ１", "abc1" }, /* full width */
		{ "abc", "ＡＢＣ" },
		{ "ﬁne", "fine" },
		{ "κόσμος", "ΚΌΣΜΟΣ" },
		{ "колесо", "КОЛЕСО" },
		{ "елка", "Ёлка" },
		{ "мой", "МОИ\xcc\x86 дом" }, /* й in two */
		{ "мои\xcc\x86", "мой" },
		{ "東京", "私は東京に住んでいます" },
		{ "東京タワー", "昨日、東京タワーへ行った" },
		{ "ガス", "\xef\xbd\xb6\xef\xbe\x9e\xef\xbd\xbd" },                     /* half width */
		{ "が", "か\xe3\x82\x99" },                                             /* two characters */
		{ "中文", "我在学中文，不难" },
		{ "한국", "저는 한국에서 왔어요" },
		{ "\xe1\x84\x92\xe1\x85\xa1\xe1\x86\xab국", "한국" }, /* conjoining jamo */
		{ "ประเทศไทย", "ฉันอยู่ในประเทศไทยมานาน" },
		{ "ข้าว", "กินข้าวหรือยัง" },
		{ "ສະບາຍດີ", "ສະບາຍດີຕອນເຊົ້າ" },
		{ "ភាសា", "ខ្ញុំរៀនភាសាខ្មែរ" },
		{ "မြန်မာ", "ကျွန်တော်မြန်မာစကားပြောတယ်" },
		{ "سلام", "وقال سَلَامٌ عليكم" },
		{ "احمد", "اسمي أحمد" },
		{ "שלום", "שָׁלוֹם" },
		{ "हिन्दी", "मैं हिन्दी बोलता हूँ" },
		{ "tiếng", "tôi nói tiê\xcc\x81ng việt" },
		{ "🎉", "done🎉🎉" },
		{ "👍", "👍🏽" },
		{ "❤", "love ❤️" },
		{ "👨‍👩‍👧", "the family 👨‍👩‍👧 here" },
		{ "don't", "I don\xe2\x80\x99t" },
		{ "foo", "foo" },
	};
	for (size_t i = 0; i < COUNT(pairs); i++)
		cr_expect(finds(pairs[i].query, pairs[i].text), "%s in %s", pairs[i].query, pairs[i].text);
}

Test(words, finds_nothing_that_is_not_there)
{
	static const struct pair pairs[] = {
		{ "pen", "open the door" },
		{ "café", "cafe" },   /* the query has an accent, so accents count */
		{ "cafés", "cafes" },
		{ "schön", "schon" },
		{ "й", "и" },
		{ "и", "й" },
		{ "мои", "мой" },
		{ "か", "が" },
		{ "が", "か" },
		{ "하", "한국" }, /* no syllable, but its beginning */
		{ "東京", "東の京" },
		{ "🎉", "🎊" },
		{ "中", "日本" },
		{ "coffee", "" },
		{ "coffee", "cof fee" },
		{ "coffee", "coffe" },
	};
	for (size_t i = 0; i < COUNT(pairs); i++)
		cr_expect(!finds(pairs[i].query, pairs[i].text), "%s in %s", pairs[i].query, pairs[i].text);
}

Test(words, weighs_the_whole_word_more_than_a_longer_one)
{
	cr_expect_eq(weight_of("car", "car"), 2);
	cr_expect_eq(weight_of("car", "carpet"), 1);
	cr_expect_eq(weight_of("car", "car, cars; oscar (Car)"), 5);
	cr_expect_eq(weight_of("車", "車庫と自転車"), 4);
	cr_expect_eq(weight_of("x1", "x1 x12"), 3);
	struct arena *a = arena_open(4096);
	char *many = arena_alloc(a, 4001);
	memset(many, 'a', 4000);
	for (int i = 1; i < 4000; i += 2)
		many[i] = ' ';
	cr_expect_eq(weight_of("a", many), WORDS_WEIGHT_MAX);
	arena_close(&a);
}

Test(words, phrases_are_found_in_their_order_with_separators_alone_between)
{
	cr_expect(finds("\"new york\"", "in New  York!"));
	cr_expect(finds("\"new york\"", "new-york, new\nyork"));
	cr_expect(finds("“new york”", "New York"));
	cr_expect(!finds("\"new york\"", "york new"));
	cr_expect(!finds("\"new york\"", "new in york"));
	cr_expect(!finds("\"new york\"", "new yorker"));
	cr_expect(!finds("\"new york\"", "renew york"));
	cr_expect(finds("\"new york", "new york"), "a quote that is not closed ends at the end");
	cr_expect(finds("\"東京 タワー\"", "東京タワー"));
	cr_expect(finds("\"iPhone用ケース\"", "赤いiPhone用ケースです"));
	cr_expect(!finds("\"car\"", "cars"));
	cr_expect(finds("\"a b\"", "a a b"), "a false start");
}

Test(words, leaves_out_what_has_a_minus_in_front)
{
	cr_expect(finds("apple -pie", "an apple"));
	cr_expect(!finds("apple -pie", "an apple PIE"));
	cr_expect(finds("apple -pie", "apple pies"), "the whole word is meant");
	cr_expect(!finds("apple -\"pie chart\"", "apple: pie chart"));
	cr_expect(finds("apple -\"pie chart\"", "apple chart pie"));
	cr_expect(!finds("東京 -タワー", "東京タワー"));
	cr_expect(finds("well-known", "a known thing"), "a hyphen inside of a word leaves nothing out");
}

Test(words, optional_terms_are_counted_one_by_one)
{
	struct arena *a = arena_open(4096);
	struct words_query q = parsed(a, "red green BLUE red");
	unsigned char weights[WORDS_TERMS_MAX];
	cr_assert_eq(q.n_terms, 3, "red is one term");
	cr_assert(words_count(&q, words_fold(a, &q, BYTES("blue blue redder")).folded, weights));
	cr_assert_eq(weights[0], 1);
	cr_assert_eq(weights[1], 0);
	cr_assert_eq(weights[2], 4);
	q = parsed(a, "iPhone用ケース🎉ok");
	cr_assert_eq(q.n_terms, 4, "%zu", q.n_terms);
	arena_close(&a);
}

Test(words, refuses_queries_that_ask_for_nothing_or_too_much)
{
	static const struct {
		const char *query;
		enum words_flaw flaw;
	} bad[] = {
		{ "", WORDS_NONE },          { "  \t ", WORDS_NONE },       { "?!,;- \"\"", WORDS_NONE },  { "\xe2\x80\x8b", WORDS_NONE },
		{ "-a", WORDS_ONLY_EXCLUDED }, { "-a -\"b c\"", WORDS_ONLY_EXCLUDED }, { "a b c d e f g h i j k l m n o p q", WORDS_TOO_MANY },
		{ "a b c d e f g h i j k l m n o p -q", WORDS_TOO_MANY }, { "a b c d e f g h i j k l m n o p", WORDS_SOUND },
		{ "a a a a a a a a a a a a a a a a a a a a", WORDS_SOUND },
	};
	struct arena *a = arena_open(4096);
	struct words_query q;
	for (size_t i = 0; i < COUNT(bad); i++)
		cr_expect_eq(words_parse(a, bytes_of(bad[i].query), &q), bad[i].flaw, "%s", bad[i].query);
	struct { char text[4 * (WORDS_QUERY_MAX + 1) + 1]; } emoji = { "" };
	for (int i = 0; i < WORDS_QUERY_MAX; i++)
		strcat(emoji.text, "🎉");
	cr_expect_eq(words_parse(a, bytes_of(emoji.text), &q), WORDS_SOUND);
	strcat(emoji.text, "🎉");
	cr_expect_eq(words_parse(a, bytes_of(emoji.text), &q), WORDS_TOO_LONG);
	arena_close(&a);
}

/* What is not UTF-8 parts words and breaks nothing. */
Test(words, takes_any_bytes)
{
	cr_expect(finds("b", "a\xff" "b"));
	cr_expect(finds("b", "\xc3" "b\xe6\x9d"));
	cr_expect(!finds("ab", "a\xff" "b"));
	cr_expect(finds("x", "\xed\xa0\x80 x \xf4\x90\x80\x80"));
}

/* A cut with its highlights in brackets. */
static const char *cut(struct arena *a, const char *query, const char *text, size_t size)
{
	struct words_query q = parsed(a, query);
	struct words_snippet s = words_cut(a, &q, bytes_of(text), size);
	char *out = arena_alloc(a, s.text.n + 2 * s.n_highlights + 1);
	size_t n = 0, at = 0;
	for (size_t i = 0, k = 0; i <= s.text.n; i++) {
		bool begins = i == s.text.n || ((unsigned char)s.text.p[i] & 0xc0) != 0x80;
		if (begins && k < s.n_highlights && at == s.highlights[k].at + s.highlights[k].n) {
			out[n++] = ']';
			k++;
		}
		if (begins && k < s.n_highlights && at == s.highlights[k].at)
			out[n++] = '[';
		at += begins;
		if (i < s.text.n)
			out[n++] = s.text.p[i];
	}
	return out;
}

/* `piece` many times, then `end`. */
static const char *many(struct arena *a, const char *piece, size_t n, const char *end)
{
	size_t size = strlen(piece);
	char *p = arena_alloc(a, n * size + strlen(end) + 1);
	for (size_t i = 0; i < n; i++)
		memcpy(p + i * size, piece, size);
	strcpy(p + n * size, end);
	return p;
}

/* Texts and queries made to be slow take about as long as others. */
Test(words, no_text_makes_a_term_slow_to_find, .timeout = 20)
{
	struct arena *a = arena_open(4096);
	const char *marks = many(a, "\xcc\x81", 500000, ""), *words = many(a, "a ", 500000, "");
	const char *phrase = arena_printf(a, "\"%s\"", many(a, "a ", 97, "b"));
	cr_assert(!finds("\xcc\x81x", marks));
	cr_assert(!finds("\xcc\x81", many(a, "\xcc\x81", 500000, "x")));
	for (int i = 0; i < 10; i++)
		cr_assert(!finds(phrase, words));
	cr_assert(finds(phrase, many(a, "a ", 97, "b")));
	cr_assert(finds(phrase, many(a, "a ", 105, "b")), "near enough to the beginning");
	cr_assert(finds("\"a b\"", many(a, "a ", 5000, "b")), "nothing is given up for a phrase of few words");
	arena_close(&a);
}

Test(words, a_cut_shows_the_matches)
{
	struct arena *a = arena_open(65536);
	cr_expect_str_eq(cut(a, "coffee", "One Coffee, please", 160), "One [Coffee], please");
	cr_expect_str_eq(cut(a, "cof", "One Coffee, please", 160), "One [Cof]fee, please");
	cr_expect_str_eq(cut(a, "nowhere", "One Coffee, please", 160), "One Coffee, please");
	cr_expect_str_eq(cut(a, "\"new york\" big", "a big New  York trip", 160), "a [big] [New  York] trip");
	cr_expect_str_eq(cut(a, "東京 京都", "昨日、東京都へ行った", 160), "昨日、[東京都]へ行った"); /* they overlap */
	cr_expect_str_eq(cut(a, "cafe", "le cafe\xcc\x81 noir", 160), "le [cafe\xcc\x81] noir");
	cr_expect_str_eq(cut(a, "zurich", "nach Zürich!", 160), "nach [Zürich]!");
	cr_expect_str_eq(cut(a, "strasse", "die Straße da", 160), "die [Straße] da");
	cr_expect_str_eq(cut(a, "👩", "x👩‍🚀y", 160), "x[👩‍🚀]y");
	cr_expect_str_eq(cut(a, "x", "", 160), "");
	arena_close(&a);
}

Test(words, a_cut_is_around_the_best_spot_and_ends_at_words)
{
	struct arena *a = arena_open(65536);
	struct { char text[4000]; } t = { "needle at first, " };
	for (int i = 0; i < 40; i++)
		strcat(t.text, "some hay in between ");
	strcat(t.text, "the needle in its haystack ");
	for (int i = 0; i < 40; i++)
		strcat(t.text, "and yet more straw ");
	cr_expect_str_eq(cut(a, "needle haystack", t.text, 60), "…hay in between the [needle] in its [haystack] and yet more straw…");
	cr_expect_str_eq(cut(a, "first", t.text, 40), "needle at [first], some hay in between…");
	arena_close(&a);
}

/* In scripts without blanks, and in clusters, a cut still never parts what is seen as one character. */
Test(words, a_cut_parts_no_character)
{
	static const char *const pieces[] = { "👨‍👩‍👧‍👦", "e\xcc\x81\xcc\x82", "🇩🇪", "กำ้", "각", "漢" };
	struct arena *a = arena_open(65536);
	for (size_t p = 0; p < COUNT(pieces); p++)
		for (size_t size = 5; size < 40; size++) {
			struct { char text[8000]; } t = { "" };
			for (int i = 0; i < 60; i++)
				strcat(t.text, pieces[p]);
			strcat(t.text, "京");
			for (int i = 0; i < 60; i++)
				strcat(t.text, pieces[p]);
			struct words_query q = parsed(a, "京");
			struct words_snippet s = words_cut(a, &q, bytes_of(t.text), size);
			cr_assert_eq(s.n_highlights, 1);
			struct bytes body = { s.text.p + 3, s.text.n - 6 };
			size_t n = strlen(pieces[p]);
			const char *mark = memmem(body.p, body.n, "京", 3);
			cr_assert_not_null(mark);
			cr_assert_eq((size_t)(mark - body.p) % n, 0, "%s %zu: %.*s", pieces[p], size, (int)s.text.n, s.text.p);
			cr_assert_eq((body.n - 3) % n, 0, "%s %zu: %.*s", pieces[p], size, (int)s.text.n, s.text.p);
			cr_assert_lt(body.n, n * (size + 12), "%s %zu: %.*s", pieces[p], size, (int)s.text.n, s.text.p);
		}
	arena_close(&a);
}
