/* SPDX-License-Identifier: MIT */
/*
 * stub_stream: a model's server for load, on 127.0.0.1: streamed chat completions for some thousand connections on one thread.
 *
 *   stub_stream [--port N] [--portfile FILE]      prints its port
 *   POST .../chat/completions with the model "rate:R:N": N tokens, R a second and the first at once; R = 0: as fast as they are taken
 *   ... "rate:R:N:marked": each token with "#" and the number of the call behind it
 *   GET /stats, GET /calls (each call with the user's text, times and end), POST /reset
 *
 * A token comes at began + i / R whatever became of those before it, so that nothing drifts. The answer's text is that of stub_text.h. A call is
 * completed when the kernel has taken its last byte, aborted when the caller closed before.
 */
#include <arpa/inet.h>
#include <err.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "stub_text.h"

#define REQUEST_MAX (8 << 20)
#define BATCH 16384 /* bytes of tokens that one connection gets at a time when there is no rate */
#define EVENTS 512
#define GRID_US 1000 /* wakes at most so often: at thousands of connections each wake serves several */
#define MODEL_MAX 64

enum end { RUNNING, COMPLETED, ABORTED };
static const char *const end_names[] = { "running", "completed", "aborted" };

struct bytes_out {
	char *p;
	size_t n, cap;
};

/* One call of the model, kept for the judges. */
struct note {
	char echo[STUB_ECHO_MAX + 1];
	int64_t began_us, ended_us; /* since 1970 */
	long tokens;
	enum end end;
};

struct conn {
	int fd; /* -1: closed, and freed when the loop comes round */
	struct bytes_out in, out; /* what is not parsed yet; what the socket has not taken yet */
	size_t sent;              /* of out */
	char mark[24];
	bool is_answering, is_chunked, is_kept, is_blocked, is_last;
	double rate;
	long token, n_tokens;
	int64_t began_us, due_us; /* monotonic */
	size_t heap_at;           /* place in the heap, from 1; 0: not there */
	size_t note;
	struct conn *next_dead;
};

struct stub {
	int epoll_fd, listen_fd;
	struct conn **heap; /* heap[1] is due first */
	size_t n_heap, heap_cap;
	struct note *notes;
	size_t n_notes, notes_cap;
	struct conn *dead;
	long requests, ended[3];
};

static int64_t clock_us(clockid_t id)
{
	struct timespec ts;
	clock_gettime(id, &ts);
	return ts.tv_sec * INT64_C(1000000) + ts.tv_nsec / 1000;
}

static void *grown(void *p, size_t *cap, size_t need, size_t size)
{
	if (need <= *cap)
		return p;
	*cap = need < 2 * *cap ? 2 * *cap : need < 64 ? 64 : need;
	p = realloc(p, *cap * size);
	if (!p)
		err(1, "realloc");
	return p;
}

static void add(struct bytes_out *b, const char *p, size_t n)
{
	b->p = grown(b->p, &b->cap, b->n + n + 1, 1);
	memcpy(b->p + b->n, p, n);
	b->n += n;
	b->p[b->n] = '\0';
}

static void add_str(struct bytes_out *b, const char *s)
{
	add(b, s, strlen(s));
}

/* The heap of connections by the time at which their next token is due. */

static void heap_put(struct stub *s, struct conn *c, size_t at)
{
	s->heap[at] = c;
	c->heap_at = at;
}

static void heap_sift(struct stub *s, size_t at)
{
	struct conn *c = s->heap[at];
	for (; at > 1 && s->heap[at / 2]->due_us > c->due_us; at /= 2)
		heap_put(s, s->heap[at / 2], at);
	for (size_t child; (child = 2 * at) <= s->n_heap; at = child) {
		if (child < s->n_heap && s->heap[child + 1]->due_us < s->heap[child]->due_us)
			child++;
		if (s->heap[child]->due_us >= c->due_us)
			break;
		heap_put(s, s->heap[child], at);
	}
	heap_put(s, c, at);
}

static void heap_add(struct stub *s, struct conn *c, int64_t due_us)
{
	c->due_us = due_us;
	if (!c->heap_at) {
		s->heap = grown(s->heap, &s->heap_cap, s->n_heap + 2, sizeof *s->heap);
		heap_put(s, c, ++s->n_heap);
	}
	heap_sift(s, c->heap_at);
}

static void heap_remove(struct stub *s, struct conn *c)
{
	size_t at = c->heap_at;
	if (!at)
		return;
	struct conn *last = s->heap[s->n_heap--];
	c->heap_at = 0;
	if (last == c)
		return;
	heap_put(s, last, at);
	heap_sift(s, at);
}

/* Answers. */

static void add_chunk(struct conn *c, const char *p, size_t n)
{
	char head[24];
	if (c->is_chunked)
		add(&c->out, head, (size_t)snprintf(head, sizeof head, "%zx\r\n", n));
	add(&c->out, p, n);
	if (c->is_chunked)
		add_str(&c->out, "\r\n");
}

static void add_token(struct conn *c, const char *echo)
{
	char text[STUB_TOKEN_MAX], data[STUB_TOKEN_MAX + 256];
	stub_token(text, echo, c->token++, c->mark);
	int n = snprintf(data, sizeof data,
			 "data: {\"id\":\"chatcmpl-stub\",\"object\":\"chat.completion.chunk\",\"created\":1767225600,\"model\":\"stub\","
			 "\"choices\":[{\"index\":0,\"delta\":{\"content\":\"%s\"},\"logprobs\":null,\"finish_reason\":null}]}\n\n", text);
	add_chunk(c, data, (size_t)n);
}

static void add_tail(struct conn *c)
{
	char data[512];
	int n = snprintf(data, sizeof data,
			 "data: {\"id\":\"chatcmpl-stub\",\"object\":\"chat.completion.chunk\",\"model\":\"stub\","
			 "\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n"
			 "data: {\"id\":\"chatcmpl-stub\",\"object\":\"chat.completion.chunk\",\"model\":\"stub\",\"choices\":[],"
			 "\"usage\":{\"prompt_tokens\":10,\"completion_tokens\":%ld,\"total_tokens\":%ld}}\n\ndata: [DONE]\n\n", c->n_tokens, c->n_tokens + 10);
	add_chunk(c, data, (size_t)n);
	if (c->is_chunked)
		add_str(&c->out, "0\r\n\r\n");
	c->is_last = true;
}

static void end_call(struct stub *s, struct conn *c, enum end end)
{
	struct note *note = &s->notes[c->note];
	if (!c->is_answering)
		return;
	c->is_answering = false;
	heap_remove(s, c);
	if (c->note >= s->n_notes) /* reset meanwhile */
		return;
	note->ended_us = clock_us(CLOCK_REALTIME);
	note->tokens = c->token;
	note->end = end;
	s->ended[RUNNING]--;
	s->ended[end]++;
}

static void conn_close(struct stub *s, struct conn *c)
{
	if (c->fd < 0)
		return;
	end_call(s, c, ABORTED);
	close(c->fd);
	c->fd = -1;
	c->next_dead = s->dead;
	s->dead = c;
}

static void bury(struct stub *s)
{
	while (s->dead) {
		struct conn *c = s->dead;
		s->dead = c->next_dead;
		free(c->in.p);
		free(c->out.p);
		free(c);
	}
}

/* Sends what there is. */
static void conn_flush(struct stub *s, struct conn *c)
{
	while (c->sent < c->out.n) {
		ssize_t n = send(c->fd, c->out.p + c->sent, c->out.n - c->sent, MSG_NOSIGNAL);
		if (n < 0 && errno == EAGAIN) {
			c->is_blocked = true;
			return;
		}
		if (n < 0) {
			conn_close(s, c);
			return;
		}
		c->sent += (size_t)n;
	}
	c->is_blocked = false;
	c->out.n = c->sent = 0;
	if (!c->is_last)
		return;
	end_call(s, c, COMPLETED);
	c->is_last = false;
	if (!c->is_kept)
		conn_close(s, c);
}

/* Whether the caller has closed although its event is still to come: the end of an answer to nobody is not the completion of a call. */
static bool is_gone(const struct conn *c)
{
	char byte;
	return recv(c->fd, &byte, 1, MSG_PEEK) == 0;
}

/* Makes the tokens that are due and says when the next one is. */
static void conn_advance(struct stub *s, struct conn *c, int64_t now)
{
	const char *echo = s->notes[c->note].echo;
	if (c->rate == 0) {
		while (c->out.n < BATCH && c->token < c->n_tokens)
			add_token(c, echo);
	} else {
		while (c->token < c->n_tokens && c->began_us + (int64_t)((double)c->token * 1e6 / c->rate) <= now)
			add_token(c, echo);
	}
	heap_remove(s, c);
	if (c->token >= c->n_tokens && is_gone(c)) {
		conn_close(s, c);
		return;
	}
	if (c->token >= c->n_tokens)
		add_tail(c);
	conn_flush(s, c);
	if (!c->is_answering || c->token >= c->n_tokens)
		return;
	if (c->rate > 0)
		heap_add(s, c, c->began_us + (int64_t)((double)c->token * 1e6 / c->rate));
	else if (!c->is_blocked)
		heap_add(s, c, now);
}

/* Requests. */

static void reply_json(struct stub *s, struct conn *c, int status, const char *body, size_t n)
{
	char head[160];
	add(&c->out, head, (size_t)snprintf(head, sizeof head, "HTTP/1.1 %d Stub\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n", status, n));
	add(&c->out, body, n);
	if (!c->is_kept)
		c->is_last = true;
	conn_flush(s, c);
}

/* Copies the JSON string that begins behind `key`, up to its first escape; false when there is none. */
static bool copy_string(const char *p, const char *key, char *out, size_t size)
{
	p = p ? strstr(p, key) : NULL;
	size_t n = 0;
	if (p)
		p += strlen(key);
	while (p && (*p == ' ' || *p == ':'))
		p++;
	if (!p || *p++ != '"')
		return false;
	while (n + 1 < size && p[n] && p[n] != '"' && p[n] != '\\')
		n++;
	while (n > 0 && ((unsigned char)p[n] & 0xC0) == 0x80)
		n--; /* whole characters only */
	memcpy(out, p, n);
	out[n] = '\0';
	return true;
}

static const char *last_user(const char *body)
{
	const char *last = NULL;
	for (const char *p = body; (p = strstr(p, "\"role\":\"user\"")); p++)
		last = p;
	return last;
}

static void begin_call(struct stub *s, struct conn *c, const char *body)
{
	char model[MODEL_MAX];
	s->requests++;
	if (!copy_string(body, "\"model\"", model, sizeof model) || sscanf(model, "rate:%lf:%ld", &c->rate, &c->n_tokens) != 2 || c->n_tokens < 1) {
		static const char text[] = "{\"error\":{\"message\":\"the model must be rate:R:N\"}}";
		reply_json(s, c, 404, text, sizeof text - 1);
		return;
	}
	s->notes = grown(s->notes, &s->notes_cap, s->n_notes + 1, sizeof *s->notes);
	struct note *note = &s->notes[s->n_notes];
	*note = (struct note){ .began_us = clock_us(CLOCK_REALTIME) };
	copy_string(last_user(body), "\"content\"", note->echo, sizeof note->echo);
	c->note = s->n_notes++;
	c->mark[0] = '\0';
	if (strstr(model, ":marked"))
		snprintf(c->mark, sizeof c->mark, "#%zu", c->note);
	s->ended[RUNNING]++;
	c->is_answering = true;
	c->token = 0;
	c->began_us = clock_us(CLOCK_MONOTONIC);
	add_str(&c->out, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\n");
	add_str(&c->out, c->is_chunked ? "Transfer-Encoding: chunked\r\n" : "");
	add_str(&c->out, c->is_kept ? "\r\n" : "Connection: close\r\n\r\n");
	conn_advance(s, c, c->began_us);
}

static void reply_stats(struct stub *s, struct conn *c, bool with_calls)
{
	struct bytes_out b = { NULL, 0, 0 };
	char line[STUB_ECHO_MAX + 256];
	snprintf(line, sizeof line, "{\"requests\":%ld,\"running\":%ld,\"completed\":%ld,\"aborted\":%ld", s->requests, s->ended[RUNNING], s->ended[COMPLETED],
		 s->ended[ABORTED]);
	add_str(&b, line);
	if (with_calls)
		add_str(&b, ",\"calls\":[");
	for (size_t i = 0; with_calls && i < s->n_notes; i++) {
		const struct note *n = &s->notes[i];
		snprintf(line, sizeof line, "%s{\"number\":%zu,\"text\":\"%s\",\"end\":\"%s\",\"tokens\":%ld,\"began_ms\":%.3f,\"ended_ms\":%.3f}\n", i ? "," : "", i, n->echo,
			 end_names[n->end], n->tokens, (double)n->began_us / 1e3, (double)n->ended_us / 1e3);
		add_str(&b, line);
	}
	add_str(&b, with_calls ? "]}" : "}");
	reply_json(s, c, 200, b.p, b.n);
	free(b.p);
}

static void serve_request(struct stub *s, struct conn *c, const char *head, const char *body)
{
	if (strncmp(head, "GET /stats", 10) == 0 || strncmp(head, "GET /calls", 10) == 0) {
		reply_stats(s, c, head[5] == 'c');
	} else if (strncmp(head, "POST /reset", 11) == 0) {
		memset(s->ended, 0, sizeof s->ended);
		s->requests = 0;
		s->n_notes = 0;
		reply_json(s, c, 200, "{}", 2);
	} else if (strncmp(head, "POST ", 5) == 0 && strstr(head, "/chat/completions ")) {
		begin_call(s, c, body);
	} else {
		reply_json(s, c, 404, "{}", 2);
	}
}

/* Takes one whole request from what was read, if there is one and none is being answered. */
static bool take_request(struct stub *s, struct conn *c)
{
	char *end = c->in.n && !c->is_answering ? strstr(c->in.p, "\r\n\r\n") : NULL;
	if (!end)
		return false;
	*end = '\0';
	const char *length = strcasestr(c->in.p, "\r\nContent-Length:");
	size_t n_body = length ? (size_t)atol(length + 17) : 0, n_head = (size_t)(end - c->in.p) + 4, n = n_head + n_body;
	if (c->in.n < n) {
		*end = '\r';
		return false;
	}
	c->is_chunked = strstr(c->in.p, " HTTP/1.1\r\n") != NULL;
	c->is_kept = c->is_chunked && !strcasestr(c->in.p, "\r\nConnection: close");
	char *text = strndup(c->in.p + n_head, n_body), *head = strdup(c->in.p);
	if (!text || !head)
		err(1, "strdup");
	memmove(c->in.p, c->in.p + n, c->in.n - n + 1);
	c->in.n -= n;
	serve_request(s, c, head, text);
	free(text);
	free(head);
	return c->fd >= 0;
}

static void conn_read(struct stub *s, struct conn *c)
{
	for (;;) {
		c->in.p = grown(c->in.p, &c->in.cap, c->in.n + 4097, 1);
		ssize_t n = recv(c->fd, c->in.p + c->in.n, c->in.cap - c->in.n - 1, 0);
		if (n < 0 && errno == EAGAIN)
			break;
		if (n <= 0 || c->in.n > REQUEST_MAX) {
			conn_close(s, c);
			return;
		}
		c->in.n += (size_t)n;
		c->in.p[c->in.n] = '\0';
	}
	while (take_request(s, c))
		;
}

static void conn_accept(struct stub *s)
{
	int fd, one = 1;
	while ((fd = accept4(s->listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
		struct conn *c = calloc(1, sizeof *c);
		if (!c)
			err(1, "calloc");
		c->fd = fd;
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
		struct epoll_event ev = { .events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = c };
		if (epoll_ctl(s->epoll_fd, EPOLL_CTL_ADD, fd, &ev))
			err(1, "epoll_ctl");
	}
}

static void conn_event(struct stub *s, struct conn *c, uint32_t events)
{
	if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) {
		conn_close(s, c);
		return;
	}
	if (c->is_blocked && events & EPOLLOUT) {
		conn_flush(s, c);
		if (c->is_answering && !c->is_blocked && c->rate == 0 && c->token < c->n_tokens)
			heap_add(s, c, clock_us(CLOCK_MONOTONIC));
	}
	if (c->fd >= 0 && events & EPOLLIN)
		conn_read(s, c);
}

/* Sleeps until the next token, rounded up to the grid. */
static int wait_events(struct stub *s, struct epoll_event *events)
{
	struct timespec ts = { 0, 0 };
	if (!s->n_heap)
		return epoll_wait(s->epoll_fd, events, EVENTS, -1);
	int64_t now = clock_us(CLOCK_MONOTONIC), due = s->heap[1]->due_us, wait = (due + GRID_US - 1) / GRID_US * GRID_US - now;
	if (due <= now)
		wait = 0;
	ts.tv_sec = wait / 1000000;
	ts.tv_nsec = wait % 1000000 * 1000;
	return epoll_pwait2(s->epoll_fd, events, EVENTS, &ts, NULL);
}

static void serve(struct stub *s)
{
	struct epoll_event events[EVENTS];
	for (;;) {
		int n = wait_events(s, events);
		for (int i = 0; i < n; i++) {
			if (events[i].data.ptr)
				conn_event(s, events[i].data.ptr, events[i].events);
			else
				conn_accept(s);
		}
		int64_t now = clock_us(CLOCK_MONOTONIC);
		for (size_t i = 0; i < EVENTS && s->n_heap && s->heap[1]->due_us <= now; i++)
			conn_advance(s, s->heap[1], now);
		bury(s);
	}
}

static int listen_on(struct stub *s, int port)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t n = sizeof a;
	int one = 1;
	s->listen_fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	s->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	struct epoll_event ev = { .events = EPOLLIN, .data.ptr = NULL };
	setsockopt(s->listen_fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	setsockopt(s->listen_fd, IPPROTO_TCP, TCP_CONGESTION, "reno", 4); /* others pace with timers, which costs more than the tokens */
	if (bind(s->listen_fd, (struct sockaddr *)&a, sizeof a) || listen(s->listen_fd, 4096) || getsockname(s->listen_fd, (struct sockaddr *)&a, &n) ||
	    epoll_ctl(s->epoll_fd, EPOLL_CTL_ADD, s->listen_fd, &ev))
		err(1, "listen");
	return ntohs(a.sin_port);
}

/* Whoever waits for the file never sees half of it. */
static void write_port(const char *path, int port)
{
	char temporary[4096];
	snprintf(temporary, sizeof temporary, "%s.new", path);
	FILE *f = fopen(temporary, "w");
	if (!f || fprintf(f, "%d\n", port) < 0 || fclose(f) || rename(temporary, path))
		err(1, "%s", path);
}

int main(int argc, char **argv)
{
	struct stub s = { .epoll_fd = -1 };
	struct rlimit files;
	const char *portfile = NULL;
	int port = 0;
	for (int i = 1; i + 1 < argc; i += 2) {
		if (strcmp(argv[i], "--port") == 0)
			port = atoi(argv[i + 1]);
		else if (strcmp(argv[i], "--portfile") == 0)
			portfile = argv[i + 1];
	}
	getrlimit(RLIMIT_NOFILE, &files);
	files.rlim_cur = files.rlim_max;
	setrlimit(RLIMIT_NOFILE, &files);
	signal(SIGPIPE, SIG_IGN);
	port = listen_on(&s, port);
	if (portfile)
		write_port(portfile, port);
	printf("%d\n", port);
	fflush(stdout);
	serve(&s);
	return 0;
}
