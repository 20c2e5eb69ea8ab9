/* SPDX-License-Identifier: MIT */
/* test_session_commands: `parley session ...` as an operator types it, on SQLite and, where PARLEY_TEST_MARIADB is set, on MariaDB. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <pty.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/arena.h"

static struct {
	char dir[64], site[40], key[100];
	struct arena *arena;
} it;

/* What a command printed on both outputs, and how it ended. */
struct outcome {
	int status;
	const char *text;
};

static struct outcome read_all(FILE *from)
{
	struct outcome o = { .text = "" };
	char chunk[4096];
	for (size_t n; (n = fread(chunk, 1, sizeof chunk - 1, from)) > 0;) {
		chunk[n] = 0;
		o.text = arena_printf(it.arena, "%s%s", o.text, chunk);
	}
	int status = pclose(from);
	o.status = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
	return o;
}

/* parley with the test's settings; `words` is for the shell. */
static struct outcome run(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static struct outcome run(const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	const char *words = arena_vprintf(it.arena, fmt, ap);
	va_end(ap);
	FILE *p = popen(arena_printf(it.arena, "'%s' -c %s/conf %s 2>&1 </dev/null", getenv("PARLEY"), it.dir, words), "r");
	cr_assert(p);
	return read_all(p);
}

/* The API by way of a CGI request; the answer's body. */
static const char *post(const char *path, const char *body)
{
	char file[100];
	snprintf(file, sizeof file, "%s/body", it.dir);
	FILE *f = fopen(file, "w");
	fputs(body, f);
	fclose(f);
	FILE *p = popen(arena_printf(it.arena, "env -i PARLEY_CONFIG=%s/conf GATEWAY_INTERFACE=CGI/1.1 REQUEST_METHOD=POST SCRIPT_NAME= PATH_INFO=%s REQUEST_URI=%s"
					       " HTTP_AUTHORIZATION='Bearer %s' CONTENT_TYPE=application/json CONTENT_LENGTH=%zu '%s' 2>/dev/null <%s",
				     it.dir, path, path, it.key, strlen(body), getenv("PARLEY"), file), "r");
	struct outcome o = read_all(p);
	const char *at = strstr(o.text, "\r\n\r\n");
	cr_assert(at && strstr(o.text, "Status: 20"), "%s: %s", path, o.text);
	return at + 4;
}

static void make_site(void)
{
	struct outcome o = run("migrate");
	cr_assert_eq(o.status, 0, "%s", o.text);
	snprintf(it.site, sizeof it.site, "cmd-%d", (int)getpid());
	cr_assert_eq(run("site add %s", it.site).status, 0);
	cr_assert_eq(run("agent add %s guide --provider echo", it.site).status, 0);
	o = run("key add %s --kind secret", it.site);
	cr_assert_eq(o.status, 0);
	snprintf(it.key, sizeof it.key, "%.*s", (int)strcspn(o.text, "\n"), o.text);
}

static void begin(void)
{
	const char *dsn = getenv("PARLEY_TEST_MARIADB");
	char path[100];
	it.arena = arena_open(0);
	strcpy(it.dir, "/tmp/parley-cmd-XXXXXX");
	cr_assert(mkdtemp(it.dir));
	snprintf(path, sizeof path, "%s/conf", it.dir);
	FILE *f = fopen(path, "w");
	if (dsn)
		fprintf(f, "database = %s\n", dsn);
	else
		fprintf(f, "database = sqlite:%s/db\n", it.dir);
	fprintf(f, "secret_file = %s/secret\n", it.dir);
	fclose(f);
	snprintf(path, sizeof path, "%s/secret", it.dir);
	int fd = open(path, O_WRONLY | O_CREAT, 0600);
	cr_assert(write(fd, "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef", 64) == 64);
	close(fd);
	make_site();
}

static void end(void)
{
	cr_assert_eq(system(arena_printf(it.arena, "rm -rf %s", it.dir)), 0);
	arena_close(&it.arena);
}

TestSuite(session_commands, .init = begin, .fini = end, .timeout = 60);

#define must_say(o, wanted)                                                                                            \
	do {                                                                                                           \
		struct outcome o_ = (o);                                                                               \
		cr_assert_eq(o_.status, 0, "%d: %s", o_.status, o_.text);                                              \
		cr_assert(strstr(o_.text, (wanted)), "no \"%s\" in: %s", (wanted), o_.text);                           \
	} while (0)
#define must_fail(o, wanted_status, wanted)                                                                            \
	do {                                                                                                           \
		struct outcome o_ = (o);                                                                               \
		cr_assert_eq(o_.status, (wanted_status), "%d: %s", o_.status, o_.text);                                \
		cr_assert(strstr(o_.text, (wanted)), "no \"%s\" in: %s", (wanted), o_.text);                           \
	} while (0)

Test(session_commands, lists_by_every_filter)
{
	post("/v1/sessions", "{\"agent\":\"guide\",\"id\":\"first\",\"user\":\"ann\",\"tags\":[\"hot\"],\"context\":\"c 1\",\"client_type\":\"kiosk\",\"title\":\"one\"}");
	post("/v1/sessions", "{\"agent\":\"guide\",\"id\":\"second\",\"user\":\"bob\",\"title\":\"two\"}");
	post("/v1/sessions/second/end", "{}");
	static const char *const finds_first[] = { "--user ann", "--tag hot", "--context 'c 1'", "--client-type kiosk", "--status active", "--user ann --tag hot --status active --agent guide",
						   "--oldest-first --limit 1", "--user ann --from 2020-01-01 --to 2099-01-01T00:00:00Z" };
	for (size_t i = 0; i < sizeof finds_first / sizeof *finds_first; i++) {
		struct outcome o = run("session list --site %s %s", it.site, finds_first[i]);
		must_say(o, "first");
		cr_assert_null(strstr(o.text, "second"), "%s: %s", finds_first[i], o.text);
	}
	must_say(run("session list --site %s --limit 1", it.site), "there are more: --after ");
	must_say(run("--json session list --site %s --user ann", it.site), "{\"data\":[{\"id\":\"first\",");
	must_say(run("session list --json --site %s --to 2020-01-01", it.site), "{\"data\":[],\"has_more\":false,\"next\":null}");
	must_say(run("--json session list --site %s --to 2020-01-01", it.site), "{\"data\":[],\"has_more\":false,\"next\":null}");
	must_fail(run("session list --site %s --status gone", it.site), 64, "active, ended or archived");
	must_fail(run("session list --site %s --limit 0", it.site), 64, "--limit takes");
	must_fail(run("session list --site %s --from soon", it.site), 64, "--from takes");
	must_fail(run("session list --site %s --after nonsense", it.site), 64, "cursor");
	must_fail(run("session list --site no-such-site"), 1, "no site");
	must_fail(run("session list --site %s --colour", it.site), 64, "no option");
}

/* The only site needs no name; of several one must be named. */
Test(session_commands, find_the_only_site)
{
	if (getenv("PARLEY_TEST_MARIADB"))
		cr_skip_test("its database is shared");
	must_say(run("session list"), "TITLE");
	cr_assert_eq(run("site add other").status, 0);
	must_fail(run("session list"), 64, "there are 2 sites");
}

Test(session_commands, shows_pages_of_many)
{
	post("/v1/sessions", "{\"agent\":\"guide\",\"id\":\"a\"}");
	for (int i = 0; i < 8; i++)
		cr_assert_eq(run("session clone a --site %s", it.site).status, 0);
	struct outcome o = run("session list --site %s --limit 9", it.site);
	int lines = 0;
	for (const char *p = o.text; (p = strchr(p, '\n')); p++)
		lines++;
	cr_assert_eq(lines, 10, "%s", o.text);
}

Test(session_commands, shows_tails_steps_and_deletes)
{
	post("/v1/sessions", "{\"agent\":\"guide\",\"id\":\"s\",\"user\":\"ann\",\"state\":{\"k\":1}}");
	post("/v1/sessions/s/turns", "{\"message\":\"hello \\u001b[31mthere\\nsecond line\"}");
	must_say(run("session show s --site %s", it.site), "state              {\"k\":1}");
	must_say(run("session show s --site %s", it.site), "\"assistant\":1");
	must_say(run("--json session show s --site %s", it.site), "\"stats\":{\"session_id\":\"s\"");
	struct outcome tail = run("session tail s --site %s --lines 2", it.site);
	must_say(tail, "user       hello");
	must_say(tail, "second line\n");
	cr_assert_null(strchr(tail.text, 0x1b));
	cr_assert_null(strstr(run("session tail s --site %s --lines 1", it.site).text, "user "));
	must_say(run("--json session tail s --site %s --lines 1", it.site), "\"seq\":2");
	must_fail(run("session tail s --site %s --lines 0", it.site), 64, "usage");
	must_say(run("session end s --site %s", it.site), "s is ended");
	must_say(run("session archive s --site %s", it.site), "s is archived");
	must_say(run("--json session resume s --site %s", it.site), "\"status\":\"active\"");
	must_say(run("session clone s --site %s --id copy --title 'The copy' --at 1", it.site), "copy\n");
	must_fail(run("session clone s --site %s --id copy", it.site), 1, "exists");
	must_fail(run("session clone s --site %s --at 9", it.site), 64, "newest");
	must_fail(run("session delete s --site %s", it.site), 64, "--yes");
	must_say(run("session show s --site %s", it.site), "status             active");
	must_say(run("session delete s --site %s --yes", it.site), "");
	must_fail(run("session show s --site %s", it.site), 1, "no such session");
	must_say(run("session tail copy --site %s", it.site), "second line");
	static const char *const verbs[] = { "show", "tail", "end", "resume", "archive", "delete --yes", "clone", "export" };
	for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++) {
		must_fail(run("session %s nobody --site %s", verbs[i], it.site), 1, "no such session");
		must_fail(run("session %s --site %s", verbs[i], it.site), 64, "usage");
	}
}

/* A command on the test's own site. */
static const char *at_site(const char *words)
{
	return arena_printf(it.arena, "%s --site %s", words, it.site);
}

/* A terminal of so many columns; `typed` is what somebody answers. */
static struct outcome run_on_terminal(unsigned short columns, const char *typed, const char *words)
{
	struct winsize size = { .ws_row = 24, .ws_col = columns };
	struct outcome o = { .text = "" };
	int fd, status;
	pid_t child = forkpty(&fd, NULL, NULL, &size);
	if (child < 0)
		cr_skip_test("this machine has no pseudo terminals");
	if (child == 0) {
		execl("/bin/sh", "sh", "-c", arena_printf(it.arena, "exec '%s' -c %s/conf %s", getenv("PARLEY"), it.dir, words), (char *)NULL);
		_exit(127);
	}
	cr_assert_gt(child, 0);
	cr_assert_eq(write(fd, typed, strlen(typed)), (ssize_t)strlen(typed));
	char chunk[4096];
	for (ssize_t n; (n = read(fd, chunk, sizeof chunk - 1)) > 0;) {
		chunk[n] = 0;
		o.text = arena_printf(it.arena, "%s%s", o.text, chunk);
	}
	close(fd);
	cr_assert_eq(waitpid(child, &status, 0), child);
	o.status = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
	return o;
}

Test(session_commands, a_terminal_gets_what_fits_and_is_asked)
{
	post("/v1/sessions", "{\"agent\":\"guide\",\"id\":\"s\",\"user\":\"somebody\",\"title\":\"a title that is longer than the terminal is wide, so that it is cut \\u202e there\"}");
	struct outcome o = run_on_terminal(72, "", at_site("session list"));
	cr_assert_eq(o.status, 0);
	cr_assert(strstr(o.text, "\xe2\x80\xa6"), "%s", o.text);
	cr_assert_null(strstr(o.text, "wide, so"));
	struct outcome json = run_on_terminal(72, "", at_site("--json session list"));
	cr_assert(strstr(json.text, "\\u202e"), "%s", json.text);
	cr_assert_null(strstr(json.text, "\xe2\x80\xae"));
	post("/v1/templates", "{\"name\":\"t\",\"config\":{\"k\":\"\xc2\x9b\xe2\x80\xae\"}}");
	struct outcome tpl = run_on_terminal(80, "", arena_printf(it.arena, "template show %s t", it.site));
	cr_assert(strstr(tpl.text, "\\u009b\\u202e"), "%s", tpl.text);
	must_say(run("template show %s t", it.site), "\xc2\x9b\xe2\x80\xae");
	struct outcome no = run_on_terminal(80, "n\n", at_site("session delete s"));
	cr_assert_eq(no.status, 64);
	cr_assert(strstr(no.text, "[y/N]") && strstr(no.text, "nothing was deleted"), "%s", no.text);
	must_say(run("session show s --site %s", it.site), "status");
	struct outcome yes = run_on_terminal(80, "y\n", at_site("session delete s"));
	cr_assert_eq(yes.status, 0, "%s", yes.text);
	must_fail(run("session show s --site %s", it.site), 1, "no such session");
}

/* What is written can be read, into another site, with the same history. */
Test(session_commands, exports_what_import_reads)
{
	post("/v1/sessions", "{\"agent\":\"guide\",\"id\":\"s\",\"title\":\"The original\",\"tags\":[\"kept\"]}");
	post("/v1/sessions/s/messages", "{\"messages\":[{\"role\":\"user\",\"content\":\"one\"},{\"role\":\"assistant\",\"content\":\"two\"}]}");
	must_say(run("session export s --site %s --output %s/out", it.site, it.dir), "1 sessions, 1 conversations, 2 messages");
	must_say(run("session export s --site %s", it.site), "\"The original\"");
	cr_assert_eq(run("site add %s-2", it.site).status, 0);
	cr_assert_eq(run("agent add %s-2 guide --provider echo", it.site).status, 0);
	must_say(run("session delete s --site %s --yes", it.site), "");
	must_say(run("import %s/out --site %s-2", it.dir, it.site), "2 messages imported");
	must_say(run("session list --site %s-2 --tag kept", it.site), "The original");
	must_say(run("session tail s --site %s-2", it.site), "assistant  two");
	must_fail(run("session export nobody --site %s", it.site), 1, "no such session");
}

/* TRN-9: a model's name may have colons. */
Test(session_commands, agents_get_others_in_their_providers_place)
{
	cr_assert_eq(run("agent add %s two --fallback echo:m:1 --fallback echo", it.site).status, 0);
	post("/v1/sessions", "{\"agent\":\"two\",\"id\":\"f\"}");
	must_say(run("session export f --site %s", it.site), "\"fallbacks\":[{\"provider\":\"echo\",\"model\":\"m:1\"},{\"provider\":\"echo\"}]");
	must_fail(run("agent add %s three --fallback echo --fallback nobody:m", it.site), 64, "fallbacks[1].provider");
	must_fail(run("agent add %s three --fallback :m", it.site), 64, "usage:");
	must_fail(run("agent add %s three --fallback echo --fallback echo --fallback echo --fallback echo --fallback echo", it.site), 64, "usage:");
}

/* --follow prints what comes, and ends when the session goes. */
Test(session_commands, follows_a_session_until_it_is_gone)
{
	post("/v1/sessions", "{\"agent\":\"guide\",\"id\":\"live\"}");
	post("/v1/sessions/live/messages", "{\"role\":\"user\",\"content\":\"old\"}");
	FILE *p = popen(arena_printf(it.arena, "'%s' -c %s/conf session tail live --follow --site %s 2>&1", getenv("PARLEY"), it.dir, it.site), "r");
	char line[300];
	cr_assert(fgets(line, sizeof line, p) && strstr(line, "old"), "%s", line);
	post("/v1/sessions/live/messages", "{\"messages\":[{\"role\":\"user\",\"content\":\"new 1\"},{\"role\":\"user\",\"content\":\"new 2\"}]}");
	cr_assert(fgets(line, sizeof line, p) && strstr(line, "new 1"), "%s", line);
	cr_assert(fgets(line, sizeof line, p) && strstr(line, "new 2"), "%s", line);
	post("/v1/sessions/live/conversations", "{}");
	post("/v1/sessions/live/messages", "{\"role\":\"user\",\"content\":\"elsewhere\"}");
	cr_assert(fgets(line, sizeof line, p) && strstr(line, "elsewhere"), "%s", line);
	cr_assert_eq(run("session delete live --site %s --yes", it.site).status, 0);
	cr_assert(fgets(line, sizeof line, p) && strstr(line, "no such session"), "%s", line);
	int status = pclose(p);
	cr_assert_eq(WEXITSTATUS(status), 1);
}
