/* SPDX-License-Identifier: MIT */
/* test_conf: one table gives defaults, reads file, environment and command line, and writes the sample (OPS-5). */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/conf.h"

static struct arena *a, *strings;
static struct task t;
static struct conf c;

static void setup(void)
{
	a = arena_open(0);
	strings = arena_open(0);
	task_init(&t, a);
}

static void teardown(void)
{
	arena_close(&strings);
	arena_close(&a);
}

TestSuite(conf, .init = setup, .fini = teardown);

static enum err parse(const char *text)
{
	task_clear_fault(&t);
	return conf_parse(&t, strings, "f", bytes_of(text), &c);
}

static void expect_values(const char *text)
{
	cr_assert_eq(parse(text), ERR_OK, "%s\n%s", text, t.fault.detail);
}

/* Every problem, in order, one a line. */
static void expect_problems(const char *text, const char *problems)
{
	cr_assert_eq(parse(text), ERR_CONFIG, "%s", text);
	cr_assert_str_eq(t.fault.detail, problems);
}

static const char *in_force(void)
{
	struct buf b;
	buf_init(&b, a, 0);
	conf_format(&c, &b);
	return buf_bytes(&b).p;
}

static const char *sample(void)
{
	struct buf b;
	buf_init(&b, a, 0);
	conf_format_sample(&b);
	return buf_bytes(&b).p;
}

static enum err load(const char *path, const char *const *overrides, size_t n)
{
	task_clear_fault(&t);
	return conf_load(&t, strings, path, overrides, n, &c);
}

static const char *file_with(const char *text)
{
	char *path = arena_strdup(a, "/tmp/parley-conf-XXXXXX");
	int fd = mkstemp(path);
	cr_assert(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
	close(fd);
	return path;
}

Test(conf, nothing_given_gives_the_defaults)
{
	expect_values("");
	cr_assert_str_eq(c.database, "sqlite:/var/lib/parley/parley.db");
	cr_assert_str_eq(c.cache, "");
	cr_assert_eq(c.threads, 16);
	cr_assert_eq(c.token_ttl, 604800000);
	cr_assert(c.database_migrate && !c.fcgi_keep_conn);
	cr_assert_eq(load(NULL, NULL, 0), ERR_OK);
	cr_assert_eq(c.threads, 16);
}

Test(conf, lines_are_name_value_with_blanks_quotes_and_comments)
{
	expect_values("\xef\xbb\xbf# a comment\n\n  threads=20\r\n\tcache = unix:/a b   # two words\n"
		      "database = \"mariadb://u:p#w\\\"d\\\\@/n?socket=/s\" # why\nuser = 'it\"s'\nlisten_group=a#b\nlog_file =\npid_file = # none");
	cr_assert_eq(c.threads, 20);
	cr_assert_str_eq(c.cache, "unix:/a b");
	cr_assert_str_eq(c.database, "mariadb://u:p#w\"d\\@/n?socket=/s");
	cr_assert_str_eq(c.user, "it\"s");
	cr_assert_str_eq(c.listen_group, "a#b");
	cr_assert_str_eq(c.log_file, "");
	cr_assert_str_eq(c.pid_file, "");
}

Test(conf, numbers_take_the_suffixes_of_their_unit)
{
	expect_values("max_body = 2m\nmax_message=64K\nprovider_max_bytes=1g\ncache_tail_bytes = 100\n"
		      "cache_ttl = 30 s\ncache_timeout=25ms\ntoken_ttl=2d\nidempotency_ttl = 3h\nturn_timeout=5m\nturn_lease=2000");
	cr_assert_eq(c.max_body, 2 << 20);
	cr_assert_eq(c.max_message, 64 << 10);
	cr_assert_eq(c.provider_max_bytes, 1 << 30);
	cr_assert_eq(c.cache_tail_bytes, 100);
	cr_assert_eq(c.cache_ttl, 30000);
	cr_assert_eq(c.cache_timeout, 25);
	cr_assert_eq(c.token_ttl, 172800000);
	cr_assert_eq(c.idempotency_ttl, 10800000);
	cr_assert_eq(c.turn_timeout, 300000);
	cr_assert_eq(c.turn_lease, 2000);
}

Test(conf, switches_take_the_usual_words)
{
	static const char *const words[] = { "yes", "no", "true", "false", "on", "off", "1", "0" };
	for (size_t i = 0; i < 8; i++) {
		expect_values(arena_printf(a, "fcgi_keep_conn = %s", words[i]));
		cr_assert_eq(c.fcgi_keep_conn, i % 2 == 0, "%s", words[i]);
	}
	expect_problems("fcgi_keep_conn = maybe", "f:1: fcgi_keep_conn must be yes or no, not \"maybe\"");
	expect_problems("fcgi_keep_conn =", "f:1: fcgi_keep_conn must be yes or no, not \"\"");
}

Test(conf, bounds_are_inclusive)
{
	expect_values("threads = 1\nworkers = 256");
	expect_values("threads = 512\nworkers = 0");
	expect_problems("threads = 513", "f:1: threads must be a number from 1 to 512, not \"513\"");
	expect_problems("workers = -1", "f:1: workers must be a number from 0 to 256, not \"-1\"");
	expect_problems("cache_ttl = 31d", "f:1: cache_ttl must be a number from 1s to 30d, not \"31d\" (suffixes: ms, s, m, h, d)");
}

Test(conf, what_is_no_number_is_refused)
{
	static const char *const wrong[] = { "", "x", "12x", "1.5", "0x10", "+3", "--3", "1 2", "3s", "3k", "99999999999999999999",
					     "9223372036854775808", "-99999999999999999999" };
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		expect_problems(arena_printf(a, "workers = %s", wrong[i]),
				arena_printf(a, "f:1: workers must be a number from 0 to 256, not \"%s\"", wrong[i]));
	cr_assert_eq(parse("max_body = 9223372036854775807g"), ERR_CONFIG);
	cr_assert_eq(parse("max_body = 3s"), ERR_CONFIG);
	cr_assert_eq(parse("cache_ttl = 3k"), ERR_CONFIG);
	cr_assert_eq(parse("max_body = k"), ERR_CONFIG);
}

Test(conf, every_problem_is_said_with_its_line)
{
	expect_problems("threads = many\n\nnonsense\nworkers = 3\nlog_level = loud\ncache_ttl = 1ms\n",
			"f:1: threads must be a number from 1 to 512, not \"many\"\n"
			"f:3: a line must be name = value\n"
			"f:6: cache_ttl must be a number from 1s to 30d, not \"1ms\" (suffixes: ms, s, m, h, d)\n"
			"settings: log_level must be error, warn, info or debug");
	cr_assert_eq(c.workers, 3, "what was right is kept");
}

Test(conf, an_unknown_name_gets_the_nearest_one)
{
	expect_problems("thraeds = 3", "f:1: unknown setting \"thraeds\"; did you mean threads?");
	expect_problems("cache_tll = 3", "f:1: unknown setting \"cache_tll\"; did you mean cache_ttl?");
	expect_problems("Threads = 3", "f:1: unknown setting \"Threads\"; did you mean threads?");
	expect_problems("zebra = 3", "f:1: unknown setting \"zebra\"");
	expect_problems("= 3", "f:1: unknown setting \"\"");
	expect_problems("Where things are = 3", "f:1: unknown setting \"Where things are\"");
	char *name = arena_alloc(a, 5001);
	memset(name, 'n', 5000);
	cr_assert_eq(parse(arena_printf(a, "%s = 1", name)), ERR_CONFIG);
	cr_assert_lt(strlen(t.fault.detail), 200);
}

Test(conf, a_setting_given_twice_in_a_file_is_a_mistake)
{
	expect_problems("threads = 20\n\nthreads = 30", "f:3: threads was already set on line 1");
}

Test(conf, quotes_that_do_not_fit_are_refused)
{
	expect_problems("user = \"open", "f:1: user: the quotes do not fit");
	expect_problems("user = \"a\" b", "f:1: user: the quotes do not fit");
	expect_problems("user = \"a\\\"", "f:1: user: the quotes do not fit");
	expect_problems("user = \"", "f:1: user: the quotes do not fit");
	expect_values("user = \"\"");
}

Test(conf, control_characters_are_refused)
{
	cr_assert_eq(conf_parse(&t, strings, "f", BYTES("user = a\0b"), &c), ERR_CONFIG);
	cr_assert_str_eq(t.fault.detail, "f:1: user has a control character");
}

Test(conf, turn_threads_leave_one_thread_for_reads)
{
	expect_values("threads = 4\nturn_threads = 3");
	expect_values("threads = 1");
	expect_problems("threads = 4\nturn_threads = 4", "settings: turn_threads (4) must be less than threads (4)");
	expect_problems("threads = 12", "settings: turn_threads (12) must be less than threads (12)");
}

Test(conf, only_a_unix_socket_may_be_listened_on)
{
	expect_values("listen = unix:/tmp/s");
	expect_problems("listen = 127.0.0.1:9000", "settings: listen must be unix:PATH");
	expect_problems("listen = unix:", "settings: listen must be unix:PATH");
	expect_problems("listen =", "settings: listen must be unix:PATH");
}

Test(conf, the_environment_overrules_the_file_and_the_command_line_both)
{
	const char *path = file_with("threads = 20\nworkers = 2\nuser = file\n");
	setenv("PARLEY_THREADS", "30", 1);
	setenv("PARLEY_WORKERS", "3", 1);
	setenv("PARLEY_DATABASE", "sqlite:/env", 1);
	setenv("PARLEY_USER", "", 1);
	cr_assert_eq(load(path, (const char *const[]){ "threads=40", " threads = 50 ", "cache=h:1=2" }, 3), ERR_OK, "%s", t.fault.detail);
	cr_assert_eq(c.threads, 50, "the last one wins");
	cr_assert_eq(c.workers, 3);
	cr_assert_str_eq(c.database, "sqlite:/env");
	cr_assert_str_eq(c.user, "", "set and empty is a value");
	cr_assert_str_eq(c.cache, "h:1=2");
	unlink(path);
}

Test(conf, other_variables_of_the_environment_are_left_alone)
{
	setenv("PARLEY_CONFIG", "/etc/other", 1);
	setenv("PARLEY_URL", "http://x", 1);
	setenv("THREADS", "99999", 1);
	cr_assert_eq(load(NULL, NULL, 0), ERR_OK);
	cr_assert_eq(c.threads, 16);
}

Test(conf, problems_name_the_variable_or_the_command_line)
{
	setenv("PARLEY_THREADS", "x", 1);
	cr_assert_eq(load(NULL, (const char *const[]){ "workers=x", "workers", "wrokers=1" }, 3), ERR_CONFIG);
	cr_assert_str_eq(t.fault.detail, "environment PARLEY_THREADS: threads must be a number from 1 to 512, not \"x\"\n"
					 "command line: workers must be a number from 0 to 256, not \"x\"\n"
					 "command line: workers needs a value: workers=VALUE\n"
					 "command line: unknown setting \"wrokers\"; did you mean workers?");
}

Test(conf, a_secret_is_refused_on_the_command_line_and_never_repeated)
{
	cr_assert_eq(load(NULL, (const char *const[]){ "database=mariadb://u:hidden@h/n" }, 1), ERR_CONFIG);
	cr_assert_not_null(strstr(t.fault.detail, "database may hold a secret"));
	cr_assert_null(strstr(t.fault.detail, "hidden"));
	expect_values("database = mariadb://u:hidden@h/n");
	cr_assert_null(strstr(in_force(), "hidden"));
	cr_assert_not_null(strstr(in_force(), "database = (set)\n"));
	expect_values("database =");
	cr_assert_not_null(strstr(in_force(), "database = (not set)\n"));
}

Test(conf, a_file_that_cannot_be_read_is_a_problem)
{
	cr_assert_eq(load("/nonexistent/parley.conf", NULL, 0), ERR_CONFIG);
	cr_assert_str_eq(t.fault.detail, "/nonexistent/parley.conf: No such file or directory");
	cr_assert_eq(load("/", NULL, 0), ERR_CONFIG);
	cr_assert_eq(load("/dev/zero", NULL, 0), ERR_CONFIG);
	cr_assert_str_eq(t.fault.detail, "/dev/zero: the file is too large");
}

Test(conf, values_outlive_the_task_and_the_text)
{
	char text[] = "user = somebody\ncache = \"quoted value\"";
	expect_values(text);
	memset(text, 'x', sizeof(text) - 1);
	arena_reset(a);
	cr_assert_str_eq(c.user, "somebody");
	cr_assert_str_eq(c.cache, "quoted value");
}

Test(conf, what_is_printed_reads_back_as_the_same)
{
	expect_values("user = \" blanks \"\ncache = \"a # b\"\nlisten_group = '\"q'\nlog_file = \"back\\\\slash\"\npid_file = \"'\"\n"
		      "cache_ttl = 90s\nmax_body = 1537k\nturn_lease=1001\nfcgi_keep_conn = on\nworkers = 0");
	const char *first = in_force();
	cr_assert_not_null(strstr(first, "cache_ttl = 90s\n"));
	cr_assert_not_null(strstr(first, "turn_lease = 1001ms\n"));
	cr_assert_not_null(strstr(first, "max_body = 1537k\n"));
	cr_assert_not_null(strstr(first, "token_ttl = 7d\n"));
	expect_values(first);
	cr_assert_str_eq(in_force(), first);
	cr_assert_str_eq(c.user, " blanks ");
	cr_assert_str_eq(c.log_file, "back\\slash");
	cr_assert_str_eq(c.pid_file, "'");
}

Test(conf, the_sample_shows_the_defaults)
{
	expect_values("");
	const char *defaults = in_force();
	expect_values(sample());
	cr_assert_str_eq(in_force(), defaults);
	/* With the # taken from its settings it says the same. */
	char *open = arena_strdup(a, sample());
	for (char *p = open; (p = strstr(p, "\n#")); p += 2) {
		if (p[2] >= 'a' && p[2] <= 'z')
			p[1] = ' ';
	}
	expect_values(open);
	cr_assert_str_eq(in_force(), defaults);
	cr_assert_not_null(strstr(open, "\n threads = 16\n"));
}

Test(conf, the_sample_keeps_to_100_columns_but_for_values)
{
	char *save;
	for (char *l = strtok_r(arena_strdup(a, sample()), "\n", &save); l; l = strtok_r(NULL, "\n", &save)) {
		cr_assert_leq(strlen(l), 100, "%s", l);
		cr_assert_neq(l[strlen(l) - 1], ' ', "%s", l);
	}
}

Test(conf, the_committed_sample_is_the_one_that_is_printed)
{
	const char *root = getenv("PARLEY_SRCDIR");
	FILE *f = fopen(arena_printf(a, "%s/conf/parley.conf", root ? root : "."), "r");
	if (!f)
		cr_skip_test("conf/parley.conf is not here");
	struct buf b;
	size_t n;
	buf_init(&b, a, 0);
	while ((n = fread(buf_room(&b, 65536), 1, 65536, f)) > 0)
		b.n += n;
	fclose(f);
	cr_assert_str_eq(buf_bytes(&b).p, sample(), "make it anew: parley config --sample > conf/parley.conf");
}
