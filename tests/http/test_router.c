/* SPDX-License-Identifier: MIT */
/* test_router: which row a path finds, and what finds none. */
#include <criterion/criterion.h>
#include <signal.h>

#include "http/router.h"

static struct arena *arena;
static struct task task;
static struct router *router;
static struct router_match match;

static const char *const patterns[] = {
	"/healthz",
	"/v1/sessions",
	"/v1/sessions/{s}",
	"/v1/sessions/{s}/messages",
	"/v1/sessions/{s}/messages/{m}",
	"/v1/sessions/{s}/memory/search",
	"/v1/sessions/{s}/memory/{e}",
	"/v1/sessions/{s}/memory/{e}/history",
	"/v1/agents/{a}/memory/{k}",
};

static void setup(void)
{
	arena = arena_open(4096);
	task_init(&task, arena);
	router = router_open();
	for (size_t i = 0; i < sizeof(patterns) / sizeof(*patterns); i++)
		router_add(router, HTTP_GET, patterns[i], patterns[i]);
	router_add(router, HTTP_POST, "/v1/sessions", "POST sessions");
	router_add(router, HTTP_DELETE, "/v1/sessions/{s}", "DELETE session");
}

static void teardown(void)
{
	router_close(&router);
	arena_close(&arena);
}

TestSuite(router, .init = setup, .fini = teardown);

static enum err find(enum http_method m, const char *path)
{
	return router_find(router, &task, m, bytes_of(path), &match);
}

static void assert_finds(const char *path, const char *row, const char *p0, const char *p1)
{
	cr_assert_eq(find(HTTP_GET, path), ERR_OK, "%s", path);
	cr_assert_str_eq(match.row, row);
	cr_assert_eq(match.n_params, (size_t)!!p0 + (size_t)!!p1, "%s", path);
	if (p0)
		cr_assert(bytes_equal(match.params[0], bytes_of(p0)), "%s", path);
	if (p1)
		cr_assert(bytes_equal(match.params[1], bytes_of(p1)), "%s", path);
}

Test(router, every_pattern_is_found_with_its_values_in_order)
{
	assert_finds("/healthz", patterns[0], NULL, NULL);
	assert_finds("/v1/sessions", patterns[1], NULL, NULL);
	assert_finds("/v1/sessions/ses_1", patterns[2], "ses_1", NULL);
	assert_finds("/v1/sessions/ses_1/messages", patterns[3], "ses_1", NULL);
	assert_finds("/v1/sessions/ses_1/messages/9", patterns[4], "ses_1", "9");
	assert_finds("/v1/agents/helper/memory/city", patterns[8], "helper", "city");
}

Test(router, literals_win_over_names_and_names_are_tried_after_them)
{
	assert_finds("/v1/sessions/a/memory/search", patterns[5], "a", NULL);
	assert_finds("/v1/sessions/a/memory/other", patterns[6], "a", "other");
	assert_finds("/v1/sessions/a/memory/search/history", patterns[7], "a", "search");
}

Test(router, values_are_decoded_segment_by_segment)
{
	assert_finds("/v1/sessions/a%2Fb%20c", patterns[2], "a/b c", NULL);
	assert_finds("/v1/sessions/%C3%A9", patterns[2], "é", NULL);
	assert_finds("/v1/sessions/é", patterns[2], "é", NULL);
	assert_finds("/v1/sessions/a+b", patterns[2], "a+b", NULL);
	assert_finds("/v1/sess%69ons", patterns[1], NULL, NULL);
	assert_finds("/v1/sessions/{s}", patterns[2], "{s}", NULL);
}

Test(router, what_no_client_should_send_matches_nothing)
{
	static const char *const none[] = { "", "/", "v1/sessions", "/v1", "/v1/", "/v1/sessions/", "//v1/sessions", "/v1//sessions", "/v1/sessions//messages",
					    "/v1/sessions/.", "/v1/sessions/..", "/v1/sessions/%2e%2E", "/v1/sessions/../healthz", "/v1/sessions/%",
					    "/v1/sessions/%4", "/v1/sessions/%00", "/v1/sessions/a%00b", "/v1/sessions/%ff", "/v1/sessions/\xff", "/V1/sessions",
					    "/v1/sessions/a/b", "/healthz/", "/healthz?x", "http://host/healthz", "*",
					    "/a/b/c/d/e/f/g/h/i/j/k/l/m/n/o/p/q/r/s/t" };

	for (size_t i = 0; i < sizeof(none) / sizeof(*none); i++) {
		cr_assert_eq(find(HTTP_GET, none[i]), ERR_NOT_FOUND, "%s", none[i]);
		cr_assert_eq(match.allowed, 0);
		cr_assert_null(match.row);
	}
	cr_assert_eq(router_find(router, &task, HTTP_GET, (struct bytes){ "/v1/sessions/a\0b", 16 }, &match), ERR_NOT_FOUND);
	cr_assert_eq(router_find(router, &task, HTTP_GET, (struct bytes){ NULL, 0 }, &match), ERR_NOT_FOUND);
}

Test(router, a_value_may_have_512_decoded_bytes_and_no_more)
{
	char path[4000] = "/v1/sessions/";
	size_t prefix = strlen(path);

	memset(path + prefix, 'x', 512);
	cr_assert_eq(find(HTTP_GET, path), ERR_OK);
	cr_assert_eq(match.params[0].n, 512);
	path[prefix + 512] = 'x';
	cr_assert_eq(find(HTTP_GET, path), ERR_NOT_FOUND);
	for (int i = 0; i < 512; i++)
		memcpy(path + prefix + 3 * i, "%41", 4);
	cr_assert_eq(find(HTTP_GET, path), ERR_OK);
	cr_assert_eq(match.params[0].n, 512);
	strcat(path, "A");
	cr_assert_eq(find(HTTP_GET, path), ERR_NOT_FOUND);
}

Test(router, a_wrong_method_tells_the_right_ones)
{
	cr_assert_eq(find(HTTP_PUT, "/v1/sessions"), ERR_METHOD_NOT_ALLOWED);
	cr_assert_eq(match.allowed, 1u << HTTP_GET | 1u << HTTP_HEAD | 1u << HTTP_POST);
	cr_assert_null(match.row);
	cr_assert_eq(find(HTTP_METHOD_COUNT, "/v1/sessions/a"), ERR_METHOD_NOT_ALLOWED);
	cr_assert_eq(match.allowed, 1u << HTTP_GET | 1u << HTTP_HEAD | 1u << HTTP_DELETE);
	cr_assert_eq(find(HTTP_DELETE, "/v1/sessions/a/memory/search"), ERR_METHOD_NOT_ALLOWED, "the literal is the path, not its neighbour");
}

Test(router, each_method_has_its_row_and_head_falls_back_to_get)
{
	cr_assert_eq(find(HTTP_POST, "/v1/sessions"), ERR_OK);
	cr_assert_str_eq(match.row, "POST sessions");
	cr_assert_eq(find(HTTP_HEAD, "/v1/sessions"), ERR_OK);
	cr_assert_str_eq(match.row, patterns[1]);
	cr_assert_eq(find(HTTP_DELETE, "/v1/sessions/x"), ERR_OK);
	cr_assert_str_eq(match.row, "DELETE session");
}

Test(router, a_row_added_twice_is_a_broken_program, .signal = SIGABRT)
{
	router_add(router, HTTP_POST, "/v1/sessions", "again");
}

Test(router, an_empty_router_finds_nothing_and_closes)
{
	struct router *empty = router_open();

	cr_assert_eq(router_find(empty, &task, HTTP_GET, BYTES("/a"), &match), ERR_NOT_FOUND);
	router_close(&empty);
	cr_assert_null(empty);
	router_close(&empty);
}
