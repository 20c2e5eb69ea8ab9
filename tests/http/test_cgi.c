/* SPDX-License-Identifier: MIT */
/* test_cgi: one request from the environment and stdin. OPS-1 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "http/fcgi.h"

#define MAX_BODY 1000

static struct arena *arena;
static struct task task;

static void setup(void)
{
	arena = arena_open(4096);
	task_init(&task, arena);
}

static void teardown(void)
{
	arena_close(&arena);
}

TestSuite(cgi, .init = setup, .fini = teardown, .timeout = 10);

static void handler(void *arg, struct task *t, const struct http_request *rq, struct http_response *rs)
{
	(void)arg, (void)t;
	buf_addf(&rs->body, "%.*s %.*s %d [%.*s]", (int)rq->method_text.n, rq->method_text.p, (int)rq->path.n, rq->path.p, (int)rq->body_state,
		 (int)rq->body.n, rq->body.p);
	http_send(rs);
}

/* In the child: becomes the CGI program with this environment and stdin. */
static void become_cgi(int in, int out, const char *const *env)
{
	enum err e;

	dup2(in, STDIN_FILENO);
	dup2(out, STDOUT_FILENO);
	clearenv();
	for (; *env; env++)
		putenv((char *)(uintptr_t)*env);
	e = cgi_run(&task, MAX_BODY, handler, NULL);
	_exit(e == ERR_OK ? 0 : 1);
}

/* Runs one request; what it wrote to stdout. Stdin stays open behind `sent` when is_open. */
static const char *run(struct bytes sent, bool is_open, const char *const *env)
{
	int in[2], out[2], status;
	struct buf text;
	ssize_t n;
	pid_t pid;

	cr_assert(pipe(in) == 0 && pipe(out) == 0);
	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		close(in[1]);
		become_cgi(in[0], out[1], env);
	}
	close(out[1]);
	cr_assert_eq(write(in[1], sent.p, sent.n), (ssize_t)sent.n);
	close(in[0]);
	if (!is_open)
		close(in[1]);
	buf_init(&text, arena, 4096);
	while ((n = read(out[0], buf_room(&text, 4096), 4096)) > 0)
		text.n += (size_t)n;
	close(out[0]);
	if (is_open)
		close(in[1]);
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	cr_assert_eq(status, 0);
	return buf_bytes(&text).p;
}

#define ENV(...) ((const char *const[]){ "REQUEST_METHOD=POST", "REQUEST_URI=/a", __VA_ARGS__, NULL })

static void assert_answers(const char *text, const char *expected)
{
	char head[128];

	snprintf(head, sizeof(head), "Status: 200 OK\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s", strlen(expected), expected);
	cr_assert_str_eq(text, head);
}

Test(cgi, a_body_is_what_is_declared_and_no_byte_more)
{
	assert_answers(run(BYTES("hello"), true, ENV("CONTENT_LENGTH=5")), "POST /a 0 [hello]");
	assert_answers(run(BYTES("hello and more"), true, ENV("CONTENT_LENGTH=5")), "POST /a 0 [hello]");
}

Test(cgi, without_a_length_stdin_is_left_alone)
{
	assert_answers(run(BYTES("x"), true, ENV("A=b")), "POST /a 0 []");
	assert_answers(run(BYTES("x"), true, ENV("CONTENT_LENGTH=")), "POST /a 0 []");
	assert_answers(run(BYTES(""), true, ENV("CONTENT_LENGTH=0")), "POST /a 0 []");
}

Test(cgi, a_chunked_body_is_read_to_its_end)
{
	assert_answers(run(BYTES("12345"), false, ENV("HTTP_TRANSFER_ENCODING=chunked")), "POST /a 0 [12345]");
}

Test(cgi, a_body_that_ends_early_is_incomplete)
{
	assert_answers(run(BYTES("1234"), false, ENV("CONTENT_LENGTH=5")), "POST /a 2 [1234]");
}

Test(cgi, a_length_that_is_none_or_too_large_is_refused)
{
	static const char long_text[2000];
	const char *text;

	assert_answers(run(BYTES("1234"), true, ENV("CONTENT_LENGTH=4x")), "POST /a 3 []");
	/* It is read to its end all the same: a server that cannot hand it over may drop the answer. */
	assert_answers(run((struct bytes){ long_text, 1001 }, true, ENV("CONTENT_LENGTH=1001")), "POST /a 1 []");
	assert_answers(run(BYTES("1234"), false, ENV("CONTENT_LENGTH=1001")), "POST /a 1 []");
	text = run((struct bytes){ long_text, sizeof(long_text) }, false, ENV("HTTP_TRANSFER_ENCODING=chunked"));
	cr_assert_not_null(strstr(text, "POST /a 1 ["));
}

Test(cgi, a_head_request_gets_the_head)
{
	const char *text = run(BYTES(""), true, (const char *const[]){ "REQUEST_METHOD=HEAD", "PATH_INFO=/p", NULL });

	cr_assert_str_eq(text, "Status: 200 OK\r\nContent-Type: application/json\r\nContent-Length: 12\r\n\r\n");
}
