/* SPDX-License-Identifier: MIT */
/* test_response: what goes out for an answer and for a stream. */
#include <criterion/criterion.h>
#include <sys/mman.h>
#include <unistd.h>

#include "http/http.h"

static struct arena *arena;
static struct task task;
static struct buf sent;
static int n_writes, n_flushes, writes_left;

static bool sink_write(void *arg, struct bytes b)
{
	(void)arg;
	n_writes++;
	if (writes_left-- <= 0)
		return false;
	buf_add_bytes(&sent, b);
	return true;
}

static bool sink_flush(void *arg)
{
	(void)arg;
	n_flushes++;
	return true;
}

static int sink_client_fd(void *arg)
{
	(void)arg;
	return -1;
}

static struct http_response rs;

static void setup(void)
{
	arena = arena_open(4096);
	task_init(&task, arena);
	buf_init(&sent, arena, 0);
	writes_left = 1000;
	http_response_init(&rs, &task, (struct http_sink){ NULL, sink_write, sink_flush, sink_client_fd, NULL });
}

static void teardown(void)
{
	arena_close(&arena);
}

TestSuite(response, .init = setup, .fini = teardown);

static void assert_sent(const char *expected)
{
	cr_assert_str_eq(buf_bytes(&sent).p, expected);
}

Test(response, an_answer_has_status_type_length_headers_and_body)
{
	http_header(&rs, "X-Request-Id", "%s", "req_1");
	buf_add_str(&rs.body, "{}");
	http_send(&rs);
	assert_sent("Status: 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\nX-Request-Id: req_1\r\n\r\n{}");
}

Test(response, an_empty_body_says_so)
{
	rs.status = 201;
	http_send(&rs);
	assert_sent("Status: 201 Created\r\nContent-Type: application/json\r\nContent-Length: 0\r\n\r\n");
}

Test(response, a_head_answer_measures_the_body_and_keeps_it)
{
	rs.is_head = true;
	buf_add_str(&rs.body, "12345");
	http_send(&rs);
	assert_sent("Status: 200 OK\r\nContent-Type: application/json\r\nContent-Length: 5\r\n\r\n");
}

Test(response, statuses_without_content_have_no_body_type_or_length)
{
	rs.status = 204;
	buf_add_str(&rs.body, "never");
	http_header(&rs, "ETag", "\"%d\"", 7);
	http_send(&rs);
	assert_sent("Status: 204 No Content\r\nETag: \"7\"\r\n\r\n");
	buf_clear(&sent);
	rs.status = 304;
	http_send(&rs);
	assert_sent("Status: 304 Not Modified\r\nETag: \"7\"\r\n\r\n");
}

Test(response, no_content_type_means_no_body)
{
	rs.content_type = NULL;
	rs.status = 401;
	buf_add_str(&rs.body, "never");
	http_send(&rs);
	assert_sent("Status: 401 Unauthorized\r\nContent-Length: 0\r\n\r\n");
}

/* HTTP response splitting. */
Test(response, no_value_can_add_a_header_or_end_the_head)
{
	rs.content_type = "text/plain\r\nX-C: 3";
	http_header(&rs, "X-A\r\nX-B", "%s", "1\r\nSet-Cookie: a=b\n\rX: y\r\n\r\n<html>");
	http_header(&rs, "X-N", "a%cb", '\0');
	http_send(&rs);
	assert_sent("Status: 200 OK\r\nContent-Type: text/plainX-C: 3\r\nContent-Length: 0\r\nX-AX-B: 1Set-Cookie: a=bX: y<html>\r\nX-N: a\r\n\r\n");
}

Test(response, every_status_of_the_error_table_has_a_reason)
{
	for (int e = 0; e < ERR_COUNT; e++)
		cr_assert_str_not_empty(http_reason(err_status((enum err)e)), "%d", err_status((enum err)e));
	cr_assert_str_empty(http_reason(299));
}

Test(response, a_client_that_is_gone_gets_nothing_more)
{
	writes_left = 0;
	buf_add_str(&rs.body, "{}");
	http_send(&rs);
	cr_assert(rs.is_client_gone);
	cr_assert_eq(n_writes, 1);
}

Test(response, a_stream_begins_with_its_head_unbuffered_and_uncached)
{
	http_header(&rs, "X-Request-Id", "r");
	cr_assert(http_stream_begin(&rs));
	cr_assert_eq(n_flushes, 1);
	cr_assert(rs.is_streaming);
	assert_sent("Status: 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-store\r\nX-Accel-Buffering: no\r\n"
		    "X-Request-Id: r\r\n\r\n");
	buf_clear(&sent);
	http_send(&rs);
	cr_assert_eq(sent.n, 0, "nothing after a stream began");
	cr_assert(http_stream_begin(&rs), "a second begin sends nothing");
	cr_assert_eq(sent.n, 0);
}

Test(response, an_event_is_written_and_flushed_at_once)
{
	cr_assert(http_stream_begin(&rs));
	buf_clear(&sent);
	cr_assert(http_stream_event(&rs, "trn:1", "delta", BYTES("{\"text\":\"a\"}")));
	assert_sent("id: trn:1\nevent: delta\ndata: {\"text\":\"a\"}\n\n");
	cr_assert_eq(n_flushes, 2);
	cr_assert_eq(n_writes, 2);
}

Test(response, data_is_split_at_every_kind_of_line_end)
{
	cr_assert(http_stream_begin(&rs));
	buf_clear(&sent);
	cr_assert(http_stream_event(&rs, NULL, NULL, BYTES("a\nb\r\nc\rd\n")));
	assert_sent("data: a\ndata: b\ndata: c\ndata: d\ndata: \n\n");
	buf_clear(&sent);
	cr_assert(http_stream_event(&rs, NULL, "done", (struct bytes){ "", 0 }));
	assert_sent("event: done\ndata: \n\n");
	buf_clear(&sent);
	cr_assert(http_stream_event(&rs, NULL, NULL, BYTES("x\r\n\r\ny")));
	assert_sent("data: x\ndata: \ndata: y\n\n");
}

Test(response, neither_id_nor_event_can_add_a_field)
{
	cr_assert(http_stream_begin(&rs));
	buf_clear(&sent);
	cr_assert(http_stream_event(&rs, "1\ndata: forged", "e\r\n\r\nevent: x", BYTES("d")));
	assert_sent("id: 1data: forged\nevent: eevent: x\ndata: d\n\n");
}

Test(response, a_heartbeat_is_a_comment)
{
	cr_assert(http_stream_begin(&rs));
	buf_clear(&sent);
	cr_assert(http_stream_heartbeat(&rs));
	assert_sent(":\n\n");
}

Test(response, a_stream_whose_client_is_gone_says_so_and_stops_writing)
{
	writes_left = 2;
	cr_assert(http_stream_begin(&rs));
	cr_assert(http_stream_event(&rs, "1", "delta", BYTES("x")));
	cr_assert_not(http_stream_event(&rs, "2", "delta", BYTES("x")));
	cr_assert(rs.is_client_gone);
	cr_assert_not(http_stream_heartbeat(&rs));
	cr_assert_not(http_stream_event(&rs, "3", "delta", BYTES("x")));
	cr_assert_eq(n_writes, 3);
}

Test(response, the_head_of_a_stream_answers_a_head_request)
{
	rs.is_head = true;
	cr_assert_not(http_stream_begin(&rs));
	cr_assert_gt(sent.n, 0);
	buf_clear(&sent);
	cr_assert_not(http_stream_event(&rs, "1", "delta", BYTES("x")));
	cr_assert_not(http_stream_heartbeat(&rs));
	cr_assert_eq(sent.n, 0);
}

Test(response, a_long_stream_does_not_grow_the_arena)
{
	char text[2000];
	size_t before;

	memset(text, 'x', sizeof(text));
	buf_init(&sent, arena, 0);
	cr_assert(http_stream_begin(&rs));
	writes_left = 3;
	cr_assert(http_stream_event(&rs, "1", "delta", (struct bytes){ text, sizeof(text) }));
	buf_clear(&sent);
	before = arena_used(arena);
	writes_left = 100000;
	for (int i = 0; i < 1000; i++) {
		cr_assert(http_stream_event(&rs, "1", "delta", (struct bytes){ text, sizeof(text) }));
		buf_clear(&sent);
	}
	cr_assert_eq(arena_used(arena), before);
}

static int file_of(size_t n)
{
	int fd = memfd_create("answer", MFD_CLOEXEC);

	for (size_t i = 0; i < n; i++)
		cr_assert_eq(write(fd, &"0123456789"[i % 10], 1), 1);
	return fd;
}

Test(response, a_file_goes_out_piece_by_piece)
{
	int fd = file_of(200000);

	rs.content_type = "application/x-ndjson";
	http_header(&rs, "X-A", "b");
	cr_assert(http_send_file(&rs, fd, 200000));
	cr_assert_eq(n_writes, 5);
	struct bytes all = buf_bytes(&sent);
	static const char head[] = "Status: 200 OK\r\nContent-Type: application/x-ndjson\r\nContent-Length: 200000\r\nX-A: b\r\n\r\n";
	cr_assert_eq(memcmp(all.p, head, sizeof head - 1), 0);
	cr_assert_eq(all.n, sizeof head - 1 + 200000);
	for (size_t i = 0; i < 200000; i++)
		cr_assert_eq(all.p[sizeof head - 1 + i], "0123456789"[i % 10]);
	size_t before = sent.n;
	http_send(&rs);
	cr_assert_eq(sent.n, before, "nothing follows a file");
	close(fd);
}

Test(response, a_file_for_head_is_measured_alone)
{
	int fd = file_of(10);

	rs.is_head = true;
	cr_assert(http_send_file(&rs, fd, 10));
	assert_sent("Status: 200 OK\r\nContent-Type: application/json\r\nContent-Length: 10\r\n\r\n");
	close(fd);
}

Test(response, a_file_stops_with_the_client_and_with_its_end)
{
	int fd = file_of(200000);

	writes_left = 2;
	cr_assert_not(http_send_file(&rs, fd, 200000));
	cr_assert(rs.is_client_gone);
	close(fd);
	setup();
	fd = file_of(5);
	cr_assert_not(http_send_file(&rs, fd, 10), "cut short");
	close(fd);
}
