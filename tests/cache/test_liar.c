/* SPDX-License-Identifier: MIT */
/* test_liar: a server that hangs, talks rubbish, breaks off or answers something else does no harm. OPS-2 */
#include <criterion/criterion.h>

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "../support/fake_server.h"
#include "base/metrics.h"
#include "base/secret.h"
#include "base/stamp.h"
#include "cache/cache.h"

static bool say_nothing(void *context, int client, const char *line)
{
	(void)context, (void)client, (void)line;
	return true;
}

static bool hang_up(void *context, int client, const char *line)
{
	(void)context, (void)client, (void)line;
	return false;
}

static bool say_rubbish(void *context, int client, const char *line)
{
	(void)context, (void)line;
	static const char rubbish[] = "\x00\xff hello\r\n\r\n250 OK\r\n";
	fake_server_say(client, rubbish, sizeof rubbish - 1);
	return true;
}

static bool say_error(void *context, int client, const char *line)
{
	(void)context, (void)line;
	fake_server_say(client, "SERVER_ERROR out of memory writing get response\r\n", 49);
	return true;
}

static bool close_inside_a_value(void *context, int client, const char *line)
{
	(void)context;
	char text[200];
	int n = snprintf(text, sizeof text, "VALUE %.64s 0 5000 7\r\nbeginning", strlen(line) > 5 ? line + 5 : "");
	fake_server_say(client, text, (size_t)n);
	return false;
}

static bool answer_another_key(void *context, int client, const char *line)
{
	(void)context;
	if (strncmp(line, "get", 3) != 0)
		return true;
	char text[200];
	int n = snprintf(text, sizeof text, "VALUE %064d 0 5 7\r\nhello\r\nEND\r\n", 1);
	fake_server_say(client, text, (size_t)n);
	return true;
}

/* Answers after the client has given up, with what would suit its next command. */
static bool answer_late(void *context, int client, const char *line)
{
	(void)context, (void)line;
	nanosleep(&(struct timespec){ .tv_nsec = 120000000 }, NULL);
	fake_server_say(client, "DELETED\r\nDELETED\r\nDELETED\r\n", 27);
	return true;
}

static void expect_no_harm(fake_answer_fn answer, bool counts_as_error)
{
	secret_init();
	struct arena *arena = arena_open(4096);
	struct task task;
	task_init(&task, arena);
	struct fake_server f;
	fake_server_start(&f, answer, NULL);
	struct cache *c;
	struct cache_conf conf = { .servers = f.setting, .timeout_ms = 50, .ttl_ms = 30000 };
	cr_assert_eq(cache_open(&task, &conf, &c), ERR_OK);
	static const struct cache_key key = { { 1, 2, 3 } };
	struct cache_entry e;
	int64_t start = stamp_mono_ms();
	cr_assert_eq(cache_find(&task, c, &key, false, &e), CACHE_SKIP);
	cr_assert_lt(stamp_mono_ms() - start, 1500);
	cr_assert_eq(e.value.n, 0);
	if (counts_as_error)
		cr_assert_gt(metric_get(METRIC_cache_errors_total), 0);
	cache_drop(&task, c, &key);
	cr_assert_eq(metric_get(METRIC_cache_suspect), 1, "what it says is no confirmation");
	cr_assert_eq(cache_find(&task, c, &key, true, &e), CACHE_SKIP);
	cr_assert_not(cache_is_up(&task, c));
	cache_close(&c);
	fake_server_stop(&f);
	arena_close(&arena);
}

Test(liar, a_server_that_says_nothing_is_bypassed)
{
	expect_no_harm(say_nothing, true);
}

Test(liar, a_server_that_hangs_up_is_bypassed)
{
	expect_no_harm(hang_up, true);
}

Test(liar, a_server_that_talks_rubbish_is_bypassed)
{
	expect_no_harm(say_rubbish, true);
}

Test(liar, a_server_that_reports_errors_is_bypassed)
{
	expect_no_harm(say_error, false);
}

Test(liar, a_value_that_breaks_off_is_no_value)
{
	expect_no_harm(close_inside_a_value, true);
}

Test(liar, a_value_under_another_key_is_no_value)
{
	expect_no_harm(answer_another_key, true);
}

Test(liar, a_late_answer_is_not_taken_for_the_next_ones)
{
	expect_no_harm(answer_late, true);
}
