/* SPDX-License-Identifier: MIT */
/* response: puts an answer together and gives it to whatever carries it, at once or as a stream of events. */
#include "http/http.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#define HEADERS_HINT 512
#define BODY_HINT 1024
#define FILE_STEP 65536

const char *http_reason(int status)
{
	static const struct {
		int status;
		const char *reason;
	} reasons[] = {
		{ 200, "OK" }, { 201, "Created" }, { 202, "Accepted" }, { 204, "No Content" }, { 303, "See Other" }, { 304, "Not Modified" },
		{ 400, "Bad Request" }, { 401, "Unauthorized" }, { 403, "Forbidden" }, { 404, "Not Found" }, { 405, "Method Not Allowed" },
		{ 406, "Not Acceptable" }, { 408, "Request Timeout" }, { 409, "Conflict" }, { 410, "Gone" }, { 411, "Length Required" },
		{ 412, "Precondition Failed" }, { 413, "Content Too Large" }, { 414, "URI Too Long" }, { 415, "Unsupported Media Type" },
		{ 422, "Unprocessable Content" }, { 428, "Precondition Required" }, { 429, "Too Many Requests" },
		{ 431, "Request Header Fields Too Large" }, { 499, "Client Closed Request" }, { 500, "Internal Server Error" },
		{ 501, "Not Implemented" }, { 502, "Bad Gateway" }, { 503, "Service Unavailable" }, { 504, "Gateway Timeout" },
	};

	for (size_t i = 0; i < sizeof(reasons) / sizeof(*reasons); i++) {
		if (reasons[i].status == status)
			return reasons[i].reason;
	}
	return "";
}

void http_response_init(struct http_response *rs, struct task *t, struct http_sink sink)
{
	*rs = (struct http_response){ .task = t, .sink = sink, .status = 200, .content_type = "application/json" };
	buf_init(&rs->headers, t->arena, HEADERS_HINT);
	buf_init(&rs->body, t->arena, BODY_HINT);
}

/* Adds text to a line of a head or an event, without the bytes that would end the line. */
static void add_line_text(struct buf *b, struct bytes text)
{
	size_t from = 0;

	for (size_t i = 0; i < text.n; i++) {
		if (text.p[i] != '\r' && text.p[i] != '\n' && text.p[i] != '\0')
			continue;
		buf_add(b, text.p + from, i - from);
		from = i + 1;
	}
	if (from < text.n)
		buf_add(b, text.p + from, text.n - from);
}

void http_header(struct http_response *rs, const char *name, const char *fmt, ...)
{
	va_list ap;
	const char *value;

	va_start(ap, fmt);
	value = arena_vprintf(rs->task->arena, fmt, ap);
	va_end(ap);
	add_line_text(&rs->headers, bytes_of(name));
	buf_add(&rs->headers, ": ", 2);
	add_line_text(&rs->headers, bytes_of(value));
	buf_add(&rs->headers, "\r\n", 2);
}

static void add_status(struct buf *head, int status)
{
	buf_add_str(head, "Status: ");
	buf_add_int(head, status);
	buf_add_char(head, ' ');
	buf_add_str(head, http_reason(status));
	buf_add(head, "\r\n", 2);
}

static void add_content_type(struct buf *head, const char *content_type)
{
	buf_add_str(head, "Content-Type: ");
	add_line_text(head, bytes_of(content_type));
	buf_add(head, "\r\n", 2);
}

static bool sink_write(struct http_response *rs, struct bytes b)
{
	if (!rs->is_client_gone && !rs->sink.write(rs->sink.arg, b))
		rs->is_client_gone = true;
	return !rs->is_client_gone;
}

static bool sink_flush(struct http_response *rs)
{
	if (!rs->is_client_gone && !rs->sink.flush(rs->sink.arg))
		rs->is_client_gone = true;
	return !rs->is_client_gone;
}

void http_send(struct http_response *rs)
{
	/* RFC 9110: these never have content, and a Content-Length with 304 would speak of another answer. */
	bool is_bare = rs->status < 200 || rs->status == 204 || rs->status == 304;
	struct bytes body = rs->content_type ? buf_bytes(&rs->body) : (struct bytes){ "", 0 };
	struct buf head;

	if (rs->is_streaming)
		return;
	buf_init(&head, rs->task->arena, rs->headers.n + 160);
	add_status(&head, rs->status);
	if (!is_bare && rs->content_type)
		add_content_type(&head, rs->content_type);
	if (!is_bare) {
		buf_add_str(&head, "Content-Length: ");
		buf_add_int(&head, (int64_t)body.n);
		buf_add(&head, "\r\n", 2);
	}
	buf_add_bytes(&head, buf_bytes(&rs->headers));
	buf_add(&head, "\r\n", 2);
	/* The carrier collects both into one record: copying the body behind the head first would gain nothing. */
	if (sink_write(rs, buf_bytes(&head)) && !is_bare && !rs->is_head && body.n > 0)
		sink_write(rs, body);
}

/* Sends n bytes of a file. */
static bool send_pieces(struct http_response *rs, int fd, int64_t n)
{
	char *piece = arena_alloc(rs->task->arena, FILE_STEP);

	for (int64_t at = 0; at < n;) {
		ssize_t got = pread(fd, piece, n - at < FILE_STEP ? (size_t)(n - at) : FILE_STEP, at);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0 || !sink_write(rs, (struct bytes){ piece, (size_t)got }))
			return false;
		at += got;
	}
	return true;
}

bool http_send_file(struct http_response *rs, int fd, int64_t n)
{
	struct buf head;

	if (rs->is_streaming)
		return false;
	rs->is_streaming = true; /* whatever follows comes too late */
	buf_init(&head, rs->task->arena, rs->headers.n + 160);
	add_status(&head, rs->status);
	add_content_type(&head, rs->content_type);
	buf_addf(&head, "Content-Length: %lld\r\n", (long long)n);
	buf_add_bytes(&head, buf_bytes(&rs->headers));
	buf_add(&head, "\r\n", 2);
	return sink_write(rs, buf_bytes(&head)) && (rs->is_head || send_pieces(rs, fd, n));
}

void http_will_last(struct http_response *rs)
{
	if (rs->sink.will_last)
		rs->sink.will_last(rs->sink.arg);
}

bool http_stream_begin(struct http_response *rs)
{
	struct buf head;

	if (rs->is_streaming)
		return !rs->is_client_gone;
	http_will_last(rs);
	rs->is_streaming = true;
	rs->content_type = "text/event-stream";
	buf_init(&head, rs->task->arena, rs->headers.n + 160);
	add_status(&head, rs->status);
	add_content_type(&head, rs->content_type);
	buf_add_str(&head, "Cache-Control: no-store\r\nX-Accel-Buffering: no\r\n");
	buf_add_bytes(&head, buf_bytes(&rs->headers));
	buf_add(&head, "\r\n", 2);
	return sink_write(rs, buf_bytes(&head)) && sink_flush(rs) && !rs->is_head;
}

void http_stream_hurry(struct http_response *rs, int64_t ms)
{
	struct timeval most = { .tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000 };
	int fd = rs->sink.client_fd(rs->sink.arg);

	if (fd >= 0)
		(void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &most, sizeof(most)); /* a pipe has none, and is read by a server */
}

/* Adds one data: line for each line of the data; CR LF, CR and LF all end one, as the event stream format reads them. */
static void add_data_lines(struct buf *b, struct bytes data)
{
	size_t from = 0;

	for (;;) {
		size_t end = from;

		while (end < data.n && data.p[end] != '\n' && data.p[end] != '\r')
			end++;
		buf_add_str(b, "data: ");
		if (end > from)
			buf_add(b, data.p + from, end - from);
		buf_add_char(b, '\n');
		if (end >= data.n)
			return;
		from = end + 1;
		if (data.p[end] == '\r' && from < data.n && data.p[from] == '\n')
			from++;
	}
}

bool http_stream_event(struct http_response *rs, const char *id, const char *event, struct bytes data)
{
	/* The headers have gone out: their buffer is used again, so that a long stream does not grow the arena. */
	struct buf *b = &rs->headers;

	if (rs->is_client_gone || rs->is_head)
		return false;
	buf_clear(b);
	if (id) {
		buf_add_str(b, "id: ");
		add_line_text(b, bytes_of(id));
		buf_add_char(b, '\n');
	}
	if (event) {
		buf_add_str(b, "event: ");
		add_line_text(b, bytes_of(event));
		buf_add_char(b, '\n');
	}
	add_data_lines(b, data);
	buf_add_char(b, '\n');
	return sink_write(rs, buf_bytes(b)) && sink_flush(rs);
}

bool http_stream_heartbeat(struct http_response *rs)
{
	if (rs->is_head)
		return false;
	return sink_write(rs, BYTES(":\n\n")) && sink_flush(rs);
}

/* Bytes that wait there may be the next request of a kept connection: only a hang-up counts. */
bool http_stream_wait(struct http_response *rs, int ms)
{
	struct pollfd client = { .fd = rs->sink.client_fd(rs->sink.arg), .events = POLLRDHUP }; /* a negative one is passed over */

	http_will_last(rs);
	return !rs->is_client_gone && poll(&client, 1, ms) <= 0;
}
