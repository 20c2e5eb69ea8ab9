/* SPDX-License-Identifier: MIT */
/* test_tool_commands: `parley tool ...` and an agent's tools as an operator types them. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/arena.h"

static struct {
	char dir[64], site[40];
	struct arena *arena;
} it;

/* What a command printed on both outputs, and how it ended. */
struct outcome {
	int status;
	const char *text;
};

/* parley with the test's settings; the words are for the shell. */
static struct outcome run(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static struct outcome run(const char *fmt, ...)
{
	struct outcome o = { .text = "" };
	char chunk[4096];
	va_list ap;
	va_start(ap, fmt);
	const char *words = arena_vprintf(it.arena, fmt, ap);
	va_end(ap);
	FILE *p = popen(arena_printf(it.arena, "'%s' -c %s/conf %s 2>&1 </dev/null", getenv("PARLEY"), it.dir, words), "r");
	cr_assert(p);
	for (size_t n; (n = fread(chunk, 1, sizeof chunk - 1, p)) > 0;) {
		chunk[n] = 0;
		o.text = arena_printf(it.arena, "%s%s", o.text, chunk);
	}
	int status = pclose(p);
	o.status = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
	return o;
}

static void write_file(const char *name, const char *text)
{
	int fd = open(arena_printf(it.arena, "%s/%s", it.dir, name), O_WRONLY | O_CREAT | O_TRUNC, 0600);
	cr_assert(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
	close(fd);
}

static void begin(void)
{
	const char *dsn = getenv("PARLEY_TEST_MARIADB");
	it.arena = arena_open(0);
	strcpy(it.dir, "/tmp/parley-tool-XXXXXX");
	cr_assert(mkdtemp(it.dir));
	write_file("conf", arena_printf(it.arena, "database = %s\nsecret_file = %s/secret\n", dsn ? dsn : arena_printf(it.arena, "sqlite:%s/db", it.dir), it.dir));
	write_file("secret", "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef");
	snprintf(it.site, sizeof it.site, "tool-%d", (int)getpid());
	cr_assert_eq(run("migrate").status, 0);
	cr_assert_eq(run("site add %s", it.site).status, 0);
}

static void end(void)
{
	cr_assert_eq(system(arena_printf(it.arena, "rm -rf %s", it.dir)), 0);
	arena_close(&it.arena);
}

TestSuite(tool_commands, .init = begin, .fini = end, .timeout = 60);

#define must_say(o, wanted)                                                                                            \
	do {                                                                                                           \
		struct outcome o_ = (o);                                                                               \
		cr_assert_eq(o_.status, 0, "%d: %s", o_.status, o_.text);                                              \
		cr_assert(strstr(o_.text, (wanted)), "no \"%s\" in: %s", (wanted), o_.text);                           \
	} while (0)
#define must_fail(o, wanted)                                                                                           \
	do {                                                                                                           \
		struct outcome o_ = (o);                                                                               \
		cr_assert_neq(o_.status, 0, "%s", o_.text);                                                            \
		cr_assert(strstr(o_.text, (wanted)), "no \"%s\" in: %s", (wanted), o_.text);                           \
	} while (0)

Test(tool_commands, makes_lists_and_removes)
{
	write_file("schema.json", "{\"type\":\"object\",\"properties\":{\"order\":{\"type\":\"integer\"}}}\n");
	struct outcome o = run("tool add %s find --url https://shop.example/find --description 'Finds \"it\"' --parameters @%s/schema.json --timeout 4000", it.site, it.dir);
	cr_assert_eq(o.status, 0, "%s", o.text);
	cr_assert(strncmp(o.text, "whsec_", 6) == 0 && strlen(o.text) == 51, "the secret and nothing else: %s", o.text);
	struct outcome again = run("tool add %s find --url https://shop.example/find --description d --if-absent", it.site);
	cr_assert_eq(again.status, 0);
	cr_assert_str_eq(again.text, o.text, "that of the one that is there");
	must_fail(run("tool add %s find --url https://shop.example/find --description d", it.site), "there is a tool named find");
	must_say(run("--json tool add %s other --url https://shop.example/other --description d --parameters '{\"type\":\"object\"}'", it.site), "\"secret\":\"whsec_");
	must_say(run("tool list %s", it.site), "find                     https://shop.example/find\nother");
	struct outcome json = run("--json tool list %s", it.site);
	cr_assert(strstr(json.text, "\"description\":\"Finds \\\"it\\\"\"") && strstr(json.text, "\"timeout_ms\":4000") && !strstr(json.text, "whsec_"), "%s", json.text);
	must_say(run("tool remove %s other", it.site), "");
	must_fail(run("tool remove %s other", it.site), "no such tool");
	cr_assert(!strstr(run("tool list %s", it.site).text, "other"));
}

Test(tool_commands, refuses_what_is_wrong_by_name)
{
	must_fail(run("tool add %s find", it.site), "description");
	must_fail(run("tool add %s find --url http://shop.example/ --description d", it.site), "plain http");
	must_fail(run("tool add %s find --url https://shop.example/ --description d --parameters '{'", it.site), "not JSON");
	must_fail(run("tool add %s find --url https://shop.example/ --description d --parameters @%s/none", it.site, it.dir), "cannot be read");
	must_fail(run("tool add %s find --url https://shop.example/ --description d --parameters '{\"type\":\"object\",\"if\":1}'", it.site), "#/if");
	must_fail(run("tool add %s find --url https://shop.example/ --description d --timeout soon", it.site), "option");
	must_fail(run("tool add %s find --url https://shop.example/ --description d --timeout -5", it.site), "timeout_ms");
	must_fail(run("tool add %s 'a b' --url https://shop.example/ --description d", it.site), "name");
	must_fail(run("tool add no-such-site find --url https://shop.example/ --description d"), "no site");
	must_fail(run("tool add"), "usage");
	cr_assert_str_eq(run("tool list %s", it.site).text, "");
}

Test(tool_commands, give_an_agent_its_tools)
{
	must_say(run("tool add %s find --url https://shop.example/find --description d", it.site), "whsec_");
	must_say(run("agent add %s clerk --tool find --tool current_time --tool-mode text --max-iterations 3", it.site), "agt_");
	must_fail(run("agent add %s other --tool find --tool lose", it.site), "tools[1]");
	must_fail(run("agent add %s other --tool-mode sometimes", it.site), "usage");
	must_fail(run("agent add %s other --max-iterations 51", it.site), "usage");
}
