/* SPDX-License-Identifier: MIT */
/* test_chat_terminal: `parley chat` as somebody who types on a terminal meets it: prompt, editing, history, Ctrl-C and Ctrl-D. OPS-7 */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/stamp.h"

#define CTRL_C "\x03"
#define CTRL_D "\x04"
#define UP "\x1b[A"
#define PATIENCE_MS 20000

static struct {
	char dir[64];
	struct arena *arena;
	int fd;
	pid_t child;
	char seen[65536]; /* what the terminal was sent */
	size_t n, looked; /* up to where it was expected */
} it;

static int run(const char *words)
{
	return system(arena_printf(it.arena, "'%s' -c %s/conf %s >%s/out 2>&1 </dev/null", getenv("PARLEY"), it.dir, words, it.dir));
}

static void write_file(const char *name, const char *text)
{
	int fd = open(arena_printf(it.arena, "%s/%s", it.dir, name), O_WRONLY | O_CREAT | O_TRUNC, 0600);
	cr_assert(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
	close(fd);
}

static void begin(void)
{
	it.arena = arena_open(0);
	strcpy(it.dir, "/tmp/parley-chat-XXXXXX");
	cr_assert(mkdtemp(it.dir));
	write_file("secret", "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef");
	write_file("conf", arena_printf(it.arena, "database = sqlite:%s/db\nsecret_file = %s/secret\n", it.dir, it.dir));
	cr_assert_eq(run("migrate"), 0);
	cr_assert_eq(run("site add shop"), 0);
	cr_assert_eq(run("agent add shop echo --provider echo"), 0);
	cr_assert_eq(run("agent add shop slow --provider echo --model slow:200"), 0);
}

static void end(void)
{
	cr_assert_eq(system(arena_printf(it.arena, "rm -rf %s", it.dir)), 0);
	arena_close(&it.arena);
}

TestSuite(chat_terminal, .init = begin, .fini = end, .timeout = 60);

/* ---- somebody at a terminal ---- */

static void sit_down(const char *environment, const char *words)
{
	struct winsize size = { .ws_row = 24, .ws_col = 80 };
	it.n = it.looked = 0;
	it.child = forkpty(&it.fd, NULL, NULL, &size);
	if (it.child < 0)
		cr_skip_test("this machine has no pseudo terminals");
	if (it.child == 0) {
		execl("/bin/sh", "sh", "-c", arena_printf(it.arena, "exec env TERM=xterm XDG_STATE_HOME=%s/state %s '%s' -c %s/conf chat %s", it.dir, environment,
							  getenv("PARLEY"), it.dir, words), (char *)NULL);
		_exit(127);
	}
}

/* Waits until the terminal has shown a text behind the one expected last; false: it never did. */
static bool sees(const char *text)
{
	int64_t until = stamp_mono_ms() + PATIENCE_MS;
	for (;;) {
		it.seen[it.n] = 0;
		const char *at = strstr(it.seen + it.looked, text);
		if (at) {
			it.looked = (size_t)(at - it.seen) + strlen(text);
			return true;
		}
		struct pollfd p = { .fd = it.fd, .events = POLLIN };
		if (stamp_mono_ms() > until || poll(&p, 1, 100) < 0 || it.n == sizeof it.seen - 1)
			return false;
		ssize_t n = p.revents ? read(it.fd, it.seen + it.n, sizeof it.seen - 1 - it.n) : 0;
		if (n < 0)
			return false;
		it.n += (size_t)n;
	}
}
#define expect(text) cr_assert(sees(text), "no \"%s\" in: %s", (text), it.seen + it.looked)

static void type(const char *text)
{
	cr_assert_eq(write(it.fd, text, strlen(text)), (ssize_t)strlen(text));
}

/* The chat's exit status, once it has ended. */
static int leave(void)
{
	int status = 0;
	(void)sees("\x01never");
	cr_assert_eq(waitpid(it.child, &status, 0), it.child);
	close(it.fd);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static const char *history_file(void)
{
	return arena_printf(it.arena, "%s/state/parley/chat_history", it.dir);
}

Test(chat_terminal, lines_are_answered_until_ctrl_d)
{
	sit_down("", "shop echo");
	expect("> ");
	type("caf\xc3\xa9\r");
	expect("You said: caf\xc3\xa9");
	expect("> ");
	type("one\\\r");
	expect(". ");
	type("two\r");
	expect("You said: one\r\ntwo");
	expect("> ");
	type("/nope\r");
	expect("there is no command /nope");
	expect("> ");
	type(CTRL_D);
	cr_assert_eq(leave(), 0, "who types has seen what failed");
}

Test(chat_terminal, ctrl_c_at_the_prompt_leaves)
{
	sit_down("", "shop echo");
	expect("> ");
	type("half a li");
	expect("half a li");
	type(CTRL_C);
	cr_assert_eq(leave(), 0);
	cr_assert_null(strstr(it.seen, "You said"));
}

Test(chat_terminal, a_signal_at_the_prompt_leaves_the_terminal_as_it_was)
{
	struct termios before, after;
	sit_down("", "shop echo");
	cr_assert_eq(tcgetattr(it.fd, &before), 0);
	expect("> ");
	cr_assert_eq(kill(it.child, SIGTERM), 0);
	for (int i = 0; i < 500 && waitpid(it.child, NULL, WNOHANG) == 0; i++)
		(void)poll(NULL, 0, 10);
	cr_assert_eq(tcgetattr(it.fd, &after), 0);
	cr_assert_eq(after.c_lflag, before.c_lflag);
	close(it.fd);
}

Test(chat_terminal, clearing_is_asked_for)
{
	sit_down("", "shop echo");
	expect("> ");
	type("one\r");
	expect("You said: one");
	expect("> ");
	type("/clear\r");
	expect("[y/N] ");
	type("n\r");
	expect("> ");
	type("/count\r");
	expect("2 messages in this conversation");
	expect("> ");
	type("/clear\r");
	expect("[y/N] ");
	type("y\r");
	expect("cleared");
	expect("> ");
	type("/exit\r");
	cr_assert_eq(leave(), 0);
}

#ifdef HAVE_LIBEDIT
Test(chat_terminal, lines_are_kept_for_the_next_time_and_for_their_owner_alone)
{
	struct stat st;
	sit_down("", "shop echo");
	expect("> ");
	type("remember me\r");
	expect("You said: remember me");
	expect("> ");
	type(UP "!\r");
	expect("You said: remember me!");
	expect("> ");
	type(CTRL_D);
	cr_assert_eq(leave(), 0);
	cr_assert_eq(stat(history_file(), &st), 0);
	cr_assert_eq(st.st_mode & 0777, 0600);
	cr_assert_eq(chmod(history_file(), 0644), 0);
	sit_down("", "shop echo");
	expect("> ");
	type(UP UP "\r");
	expect("You said: remember me\r");
	expect("> ");
	type(CTRL_D);
	cr_assert_eq(leave(), 0);
	cr_assert_eq(stat(history_file(), &st), 0);
	cr_assert_eq(st.st_mode & 0777, 0600);
}
#endif

Test(chat_terminal, ctrl_c_stops_an_answer_and_the_chat_goes_on)
{
	sit_down("", "shop slow");
	expect("> ");
	type("a b c d e f g h i j k l m n o p q r s t u v w x y z\r");
	expect("You said: a b ");
	type(CTRL_C);
	expect("\x1b[2m[stopped]\x1b[0m");
	cr_assert_null(strstr(it.seen + 80, "y z\r\n"), "%s", it.seen);
	expect("> ");
	type("/history 1\r");
	expect("assistant: You said: a b");
	expect("> ");
	type(CTRL_D);
	cr_assert_eq(leave(), 0);
}

Test(chat_terminal, a_second_ctrl_c_leaves_whatever_the_server_does)
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t n = sizeof at;
	int server = socket(AF_INET, SOCK_STREAM, 0), status = 0; /* takes connections, and never says a word */
	cr_assert(bind(server, (struct sockaddr *)&at, sizeof at) == 0 && listen(server, 8) == 0 && getsockname(server, (struct sockaddr *)&at, &n) == 0);
	write_file("key", "sk_anything");
	for (size_t i = 0; i < 2; i++) {
		sit_down("", arena_printf(it.arena, "--url http://127.0.0.1:%d --key-file %s/key guide%s", ntohs(at.sin_port), it.dir, i ? " --session s" : ""));
		if (i == 0) {
			expect("> ");
			type("hello\r");
			expect("hello\r\n");
		}
		(void)poll(NULL, 0, 300);
		type(CTRL_C);
		(void)poll(NULL, 0, 300);
		if (i == 0)
			cr_assert_eq(waitpid(it.child, &status, WNOHANG), 0, "the first waits for a turn that can be cancelled");
		type(CTRL_C);
		for (int k = 0; k < 300 && waitpid(it.child, &status, WNOHANG) == 0; k++)
			(void)poll(NULL, 0, 10);
		cr_assert_neq(status, 0);
		close(it.fd);
	}
	close(server);
}

Test(chat_terminal, without_colours_there_are_none)
{
	sit_down("NO_COLOR=1", "shop slow");
	expect("> ");
	type("a b c d e f g h i j k l m n o p q r s t u v w x y z\r");
	expect("You said: a b ");
	type(CTRL_C);
	expect("[stopped]");
	expect("> ");
	cr_assert_null(strstr(it.seen, "\x1b[2m"), "%s", it.seen);
	type(CTRL_D);
	cr_assert_eq(leave(), 0);
}
