/* SPDX-License-Identifier: MIT */
/* test_log: every line is one JSON object under 8 KB, without credentials, whatever it is given (OPS-3). */
#include <criterion/criterion.h>
#include <errno.h>
#include <json-c/json.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/log.h"

static struct arena *a;
static struct task t;
static char directory[] = "/tmp/parley-log-XXXXXX";
static char path[64];

static void setup(void)
{
	a = arena_open(0);
	task_init(&t, a);
	cr_assert_not_null(mkdtemp(directory));
	snprintf(path, sizeof(path), "%s/log", directory);
	cr_assert_eq(log_open(&t, path, LOG_INFO_LEVEL), ERR_OK);
}

static void teardown(void)
{
	unlink(path);
	rmdir(directory);
	arena_close(&a);
}

TestSuite(log, .init = setup, .fini = teardown);

static const char *content_of(const char *file)
{
	struct buf b;
	size_t n;
	FILE *f = fopen(file, "r");
	cr_assert_not_null(f);
	buf_init(&b, a, 0);
	while ((n = fread(buf_room(&b, 65536), 1, 65536, f)) > 0)
		b.n += n;
	fclose(f);
	return buf_bytes(&b).p;
}

static void release_tree(void *tree)
{
	json_object_put(tree);
}

/* The only line of the log, which must be whole. */
static struct json_object *line(void)
{
	const char *text = content_of(path);
	size_t n = strlen(text);
	cr_assert(n > 0 && n <= 8192, "%zu bytes", n);
	cr_assert_eq(strchr(text, '\n'), text + n - 1);
	struct json_tokener *tok = json_tokener_new_ex(4);
	json_tokener_set_flags(tok, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
	struct json_object *o = json_tokener_parse_ex(tok, text, (int)n);
	cr_assert_not_null(o, "%s: %s", json_tokener_error_desc(json_tokener_get_error(tok)), text);
	json_tokener_free(tok);
	arena_defer(a, release_tree, o);
	return o;
}

static const char *text_of(struct json_object *o, const char *name)
{
	return json_object_get_string(json_object_object_get(o, name));
}

/* Logs one text and returns what the line holds of it. */
static const char *logged(const char *text)
{
	cr_assert_eq(truncate(path, 0), 0);
	log_info(&t, "test", { "text", text, 0 });
	return text_of(line(), "text");
}

Test(log, a_line_says_when_how_grave_what_who_and_for_which_request)
{
	log_error(&t, "db_failed", { "detail", "no \"host\"", 0 }, { "ms", NULL, -12 });
	struct json_object *o = line();
	cr_assert_eq(strlen(text_of(o, "time")), 24);
	cr_assert_str_eq(text_of(o, "level"), "error");
	cr_assert_str_eq(text_of(o, "event"), "db_failed");
	cr_assert_eq(json_object_get_int(json_object_object_get(o, "pid")), getpid());
	cr_assert_str_eq(text_of(o, "request_id"), t.id);
	cr_assert_str_eq(text_of(o, "detail"), "no \"host\"");
	cr_assert(json_object_is_type(json_object_object_get(o, "ms"), json_type_int));
	cr_assert_eq(json_object_get_int(json_object_object_get(o, "ms")), -12);
}

Test(log, no_task_and_no_items_are_fine)
{
	log_write(NULL, LOG_WARN_LEVEL, "started", NULL);
	struct json_object *o = line();
	cr_assert_str_eq(text_of(o, "level"), "warn");
	cr_assert_null(json_object_object_get(o, "request_id"));
}

Test(log, a_level_that_is_not_wanted_writes_nothing)
{
	log_write(&t, LOG_DEBUG_LEVEL, "detail", NULL);
	cr_assert_str_eq(content_of(path), "");
	cr_assert(log_wants(LOG_INFO_LEVEL));
	cr_assert(!log_wants(LOG_DEBUG_LEVEL));
	cr_assert_eq(log_open(&t, path, LOG_DEBUG_LEVEL), ERR_OK);
	log_write(&t, LOG_DEBUG_LEVEL, "detail", NULL);
	cr_assert_str_eq(text_of(line(), "event"), "detail");
}

Test(log, levels_have_names)
{
	enum log_level level = LOG_INFO_LEVEL;
	cr_assert(log_level_find("error", &level) && level == LOG_ERROR_LEVEL);
	cr_assert(log_level_find("debug", &level) && level == LOG_DEBUG_LEVEL);
	cr_assert(!log_level_find("verbose", &level));
	cr_assert(!log_level_find("", &level));
}

Test(log, credentials_show_seven_characters)
{
	static const struct {
		const char *given, *expected;
	} cases[] = {
		{ "sk_0123456789abcdefghijABCDEFGHIJ012345", "sk_0123..." },
		{ "key=pk_0123456789abcdefghij&x=1", "key=pk_0123...&x=1" },
		{ "a\nst_AAECAwQFBgcICQ-_AAECAwQFBgcICQ b", "a\nst_AAEC... b" },
		{ "\"sh_0123456789\"", "\"sh_0123...\"" },
		{ "Authorization: Bearer abc.def-ghi/jkl+mno=; q", "Authorization: Bearer ...; q" },
		{ "bearer   xyz", "bearer ..." },
		{ "Bearer sk_0123456789abcdef", "Bearer ..." },
		{ "q=%20sk_0123456789abcdefghijABCDEFGHIJ012345", "q=%20sk_0123..." },
		{ "Incorrect API key: sk-proj-0123456789", "Incorrect API key: sk-proj..." },
		{ "sk_01234567 and pk_01234567", "sk_0123... and pk_0123..." },
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		cr_assert_str_eq(logged(cases[i].given), cases[i].expected);
}

Test(log, what_is_no_credential_stays)
{
	static const char *const texts[] = {
		"task_init task_fail_internal", "sk_ sk", "s", "p", "Bearer", "Bearer ", "a bearer of news", "desk_top", "st_1",
	};
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		const char *expected = strcmp(texts[i], "a bearer of news") == 0 ? "a bearer ... news" : texts[i];
		cr_assert_str_eq(logged(texts[i]), expected);
	}
}

Test(log, a_credential_in_the_event_or_a_name_is_masked_too)
{
	log_write(&t, LOG_INFO_LEVEL, "got sk_0123456789abcdef", (const struct log_item[]){ { "sk_0123456789abcdef", "x", 0 }, { 0 } });
	cr_assert_null(strstr(content_of(path), "89abcdef"));
	cr_assert_str_eq(text_of(line(), "event"), "got sk_0123...");
}

Test(log, control_characters_are_escaped_and_wrong_utf_8_is_replaced)
{
	cr_assert_str_eq(logged("a\x01\n\t\r\x1b[0m\x7f\\\""), "a\x01\n\t\r\x1b[0m\x7f\\\"");
	cr_assert_null(strchr(content_of(path), '\x1b'));
	cr_assert_str_eq(logged("h\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80"), "h\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80");
	cr_assert_str_eq(logged("a\xff" "b"), "a\xef\xbf\xbd" "b");
	cr_assert_str_eq(logged("\xc0\xaf"), "\xef\xbf\xbd\xef\xbf\xbd");
	cr_assert_str_eq(logged("\xe2\x82"), "\xef\xbf\xbd\xef\xbf\xbd");
	cr_assert_str_eq(logged("\xed\xa0\x80"), "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd");
	cr_assert_str_eq(logged("\xf5\x80"), "\xef\xbf\xbd\xef\xbf\xbd");
}

Test(log, only_the_longest_texts_of_a_long_line_are_cut)
{
	char *first = arena_alloc(a, 100001), *second = arena_alloc(a, 20001);
	memset(first, 'x', 100000);
	memset(second, '"', 20000); /* each takes two bytes */
	log_info(&t, "long", { "first", first, 0 }, { "short", "kept whole", 0 }, { "second", second, 0 }, { "n", NULL, 7 });
	struct json_object *o = line();
	cr_assert_gt(strlen(content_of(path)), 8100, "the room must be used");
	cr_assert_str_eq(text_of(o, "short"), "kept whole");
	cr_assert_eq(json_object_get_int(json_object_object_get(o, "n")), 7);
	const char *cut = text_of(o, "first");
	cr_assert_gt(strlen(cut), 3900);
	cr_assert_str_eq(cut + strlen(cut) - 3, "...");
}

Test(log, a_line_is_cut_between_characters_whatever_its_length)
{
	for (size_t n = 7700; n < 8400; n += 3) {
		char *text = arena_alloc(a, n + 8);
		memset(text, 'y', n);
		const char *back = logged(text);
		cr_assert(strcmp(back, text) == 0 || strlen(back) > 7900);
		for (size_t i = n % 4; i + 4 <= n; i += 4)
			memcpy(text + i, i % 3 ? "\xf0\x9f\x98\x80" : "\n\x01\"e", 4);
		logged(text); /* line() has checked that it is JSON and UTF-8 */
	}
}

Test(log, more_items_than_fit_leave_a_valid_line)
{
	enum { COUNT = 2000 };
	struct log_item *items = arena_array(a, COUNT + 1, sizeof(*items));
	for (int i = 0; i < COUNT; i++)
		items[i] = (struct log_item){ arena_printf(a, "n%d", i), "some text", 0 };
	log_write(&t, LOG_INFO_LEVEL, "many", items);
	cr_assert_str_eq(text_of(line(), "n0"), "some text");
}

Test(log, logging_keeps_errno)
{
	errno = ENOENT;
	log_info(&t, "x", { "n", NULL, 1 });
	cr_assert_eq(errno, ENOENT);
}

Test(log, opening_again_follows_a_moved_file)
{
	char *moved = arena_printf(a, "%s.1", path);
	log_info(&t, "before", { "n", NULL, 1 });
	cr_assert_eq(rename(path, moved), 0);
	cr_assert_eq(log_open(&t, path, LOG_INFO_LEVEL), ERR_OK);
	log_info(&t, "after", { "n", NULL, 1 });
	cr_assert_str_eq(text_of(line(), "event"), "after");
	cr_assert_not_null(strstr(content_of(moved), "before"));
	unlink(moved);
}

Test(log, a_file_that_cannot_be_opened_is_a_fault_and_the_old_one_stays)
{
	cr_assert_eq(log_open(&t, "/nonexistent/log", LOG_INFO_LEVEL), ERR_CONFIG);
	cr_assert_not_null(strstr(t.fault.detail, "/nonexistent/log"));
	log_info(&t, "still", { "n", NULL, 1 });
	cr_assert_str_eq(text_of(line(), "event"), "still");
}

static void *write_lines(void *letter)
{
	char text[3000];
	memset(text, *(char *)letter, sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	for (int i = 0; i < 200; i++)
		log_info(NULL, "many", { "text", text, 0 });
	return NULL;
}

Test(log, lines_of_several_writers_never_mix)
{
	char letters[] = "abc";
	pthread_t threads[2];
	pid_t child = fork();
	if (child == 0) {
		write_lines(&letters[2]);
		_exit(0);
	}
	pthread_create(&threads[0], NULL, write_lines, &letters[0]);
	pthread_create(&threads[1], NULL, write_lines, &letters[1]);
	pthread_join(threads[0], NULL);
	pthread_join(threads[1], NULL);
	waitpid(child, NULL, 0);
	int lines = 0;
	for (char *save, *l = strtok_r(arena_strdup(a, content_of(path)), "\n", &save); l; l = strtok_r(NULL, "\n", &save)) {
		struct json_object *o = json_tokener_parse(l);
		cr_assert_not_null(o);
		const char *text = text_of(o, "text");
		cr_assert_eq(strlen(text), 2999);
		cr_assert_eq(strspn(text, (const char[]){ text[0], '\0' }), 2999);
		json_object_put(o);
		lines++;
	}
	cr_assert_eq(lines, 600);
}
