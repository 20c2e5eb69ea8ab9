/* SPDX-License-Identifier: MIT */
/*
 * turns: a load of streamed turns, and reads beside it; one thread, so that thousands of streams cost little of what is measured.
 *
 *   turns stream [options]   turns with an agent whose model is stub_stream's "rate:R:N"; each stream is checked to its end, each text to its last byte
 *   turns direct [options]   the same calls to the stub itself, by the path /direct/ of the same web server
 *   turns pairs  [options]   both in turn, one at a time
 *   turns read   [options]   GET of one session in a closed loop
 *
 * --port N --turns N --clients N --tokens N (what an answer has) --agent NAME --model rate:R:N (direct) --run TAG (sessions are TAG-i) --sessions N
 * --ramp MS (the first ones begin spread over it) --tell FILE (made once as many streams run as there are clients) --path P --think MS --seconds N
 * Environment SK: the key. Prints lines "name value"; times are ms. Ends with 1 when anything was not as it should be.
 */
#include <arpa/inet.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
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

#include "../support/stub_text.h"

#define EVENTS 256
#define SILENCE_US 30000000 /* a stream that says nothing for so long has failed */
#define SHOWN 5             /* failures that are told in words */

struct options {
	const char *mode, *agent, *model, *run, *tell, *path, *key;
	int port, sessions;
	long turns, clients, tokens, ramp, think, seconds;
};

/* What one kind of stream was measured to do. */
struct figures {
	double *first, *rate; /* ms to the first token; tokens a second of each whole stream */
	long n, failed;
};

struct text {
	char *p;
	size_t n, cap;
};

struct stream {
	int fd;
	bool is_direct, has_head, is_chunked, is_done;
	long number;
	int64_t began_us, first_us, heard_us;
	size_t chunk_left; /* of the chunk that is being read */
	struct text in;    /* not parsed yet */
	struct text line;  /* of the body: the line that has begun */
	struct text said;  /* the text of all deltas */
	char event[16];
};

struct load {
	const struct options *o;
	int epoll_fd;
	struct stream *streams;
	long started, ended, running, speaking;
	struct figures figures[2]; /* parley's, the direct ones */
	bool is_told;
};

static int64_t now_us(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * INT64_C(1000000) + ts.tv_nsec / 1000;
}

static void add(struct text *t, const char *p, size_t n)
{
	if (t->n + n + 1 > t->cap) {
		t->cap = 2 * (t->n + n + 1);
		t->p = realloc(t->p, t->cap);
		if (!t->p)
			err(1, "realloc");
	}
	memcpy(t->p + t->n, p, n);
	t->n += n;
	t->p[t->n] = '\0';
}

static void *zeroed(size_t n, size_t size)
{
	void *p = calloc(n ? n : 1, size);
	if (!p)
		err(1, "calloc");
	return p;
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return x < y ? -1 : x > y;
}

/* The value below which that part of the list lies; sorts it. */
static double quantile(double *list, long n, double part)
{
	if (!n)
		return 0;
	qsort(list, (size_t)n, sizeof *list, by_value);
	if (part == 0.5 && n % 2 == 0)
		return (list[n / 2 - 1] + list[n / 2]) / 2;
	return list[(long)fmin((double)n - 1, floor(part * (double)n))];
}

static int connect_to(int port, int flags)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;
	if (fd < 0 || connect(fd, (struct sockaddr *)&a, sizeof a))
		err(1, "connect");
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	fcntl(fd, F_SETFL, flags);
	return fd;
}

/* What number `i` says, which its answer begins with. */
static void message_of(const struct options *o, long number, char out[STUB_ECHO_MAX])
{
	snprintf(out, STUB_ECHO_MAX, "%s says %ld", o->run, number);
}

static void send_request(const struct options *o, const struct stream *st)
{
	char body[512], request[1024], message[STUB_ECHO_MAX];
	message_of(o, st->number, message);
	if (st->is_direct)
		snprintf(body, sizeof body, "{\"model\":\"%s\",\"stream\":true,\"messages\":[{\"role\":\"user\",\"content\":\"%s\"}]}", o->model, message);
	else
		snprintf(body, sizeof body, "{\"message\":\"%s\",\"stream\":true,\"session_id\":\"%s-%ld\"}", message, o->run,
			 o->sessions ? st->number % o->sessions : st->number);
	int n = snprintf(request, sizeof request,
			 "POST %s%s%s HTTP/1.1\r\nHost: bench\r\nConnection: close\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\n"
			 "Content-Length: %zu\r\n\r\n%s", st->is_direct ? "/direct/v1/chat/completions" : "/v1/chat/", st->is_direct ? "" : o->agent,
			 st->is_direct ? "" : "/message", o->key, strlen(body), body);
	if (send(st->fd, request, (size_t)n, MSG_NOSIGNAL) != n)
		err(1, "send");
}

/* Streams. */

static void begin_stream(struct load *l, struct stream *st, bool is_direct)
{
	char *kept[3] = { st->in.p, st->line.p, st->said.p };
	size_t caps[3] = { st->in.cap, st->line.cap, st->said.cap };
	*st = (struct stream){ .is_direct = is_direct, .number = l->started++, .in = { kept[0], 0, caps[0] }, .line = { kept[1], 0, caps[1] },
			       .said = { kept[2], 0, caps[2] }, .began_us = now_us() };
	st->heard_us = st->began_us;
	st->fd = connect_to(l->o->port, O_NONBLOCK);
	struct epoll_event ev = { .events = EPOLLIN, .data.ptr = st };
	if (epoll_ctl(l->epoll_fd, EPOLL_CTL_ADD, st->fd, &ev))
		err(1, "epoll_ctl");
	send_request(l->o, st);
	l->running++;
}

/* Whether the text is what the stub said, all of it. */
static bool is_whole(const struct load *l, const struct stream *st)
{
	char message[STUB_ECHO_MAX], token[STUB_TOKEN_MAX];
	size_t at = 0;
	message_of(l->o, st->number, message);
	for (long i = 0; i < l->o->tokens; i++) {
		size_t n = stub_token(token, message, i, "");
		if (at + n > st->said.n || memcmp(st->said.p + at, token, n) != 0)
			return false;
		at += n;
	}
	return at == st->said.n;
}

static void end_stream(struct load *l, struct stream *st, const char *failure, const char *words)
{
	struct figures *f = &l->figures[st->is_direct];
	close(st->fd);
	st->fd = -1;
	l->running--;
	l->ended++;
	if (st->first_us)
		l->speaking--;
	if (failure) {
		if (f->failed++ < SHOWN)
			fprintf(stderr, "turns: number %ld: %s: %.300s\n", st->number, failure, words);
		return;
	}
	f->first[f->n] = (double)(st->first_us - st->began_us) / 1e3;
	f->rate[f->n++] = (double)l->o->tokens * 1e6 / (double)(st->heard_us - st->began_us);
}

/* Adds the JSON string behind `key` to what was said. The stub says nothing that JSON escapes. */
static bool take_string(struct stream *st, const char *data, const char *key)
{
	const char *p = strstr(data, key);
	if (!p)
		return false;
	p += strlen(key);
	const char *end = strchr(p, '"');
	if (!end)
		return false;
	add(&st->said, p, (size_t)(end - p));
	return end > p;
}

static void hear_delta(struct load *l, struct stream *st, const char *data, const char *key)
{
	if (!take_string(st, data, key) || st->first_us)
		return;
	st->first_us = now_us();
	l->speaking++;
}

/* True when the answer that `done` brings is the text of the deltas. */
static bool is_same_answer(const struct stream *st, const char *data)
{
	static const char key[] = "\"result\":\"";
	const char *p = strstr(data, key);
	return p && strncmp(p + sizeof key - 1, st->said.p, st->said.n) == 0 && p[sizeof key - 1 + st->said.n] == '"';
}

/* One data line. False: the stream has ended. */
static bool hear_data(struct load *l, struct stream *st, const char *data)
{
	if (st->is_direct && strcmp(data, "[DONE]") != 0) {
		hear_delta(l, st, data, "\"content\":\"");
		return true;
	}
	if (!st->is_direct && strcmp(st->event, "delta") == 0) {
		hear_delta(l, st, data, "\"text\":\"");
		return true;
	}
	if (!st->is_direct && (strcmp(st->event, "reset") == 0 || strcmp(st->event, "step") == 0)) {
		st->said.n = 0;
		return true;
	}
	if (!st->is_direct && strcmp(st->event, "done") != 0 && strcmp(st->event, "error") != 0)
		return true;
	if (!st->is_direct && st->event[0] == 'e')
		end_stream(l, st, "it failed", data);
	else if (!is_whole(l, st))
		end_stream(l, st, "the text is not what was said", st->said.n ? st->said.p : "");
	else if (!st->is_direct && !is_same_answer(st, data))
		end_stream(l, st, "the answer is not the text", data);
	else
		end_stream(l, st, NULL, NULL);
	return false;
}

static bool hear_line(struct load *l, struct stream *st, const char *line)
{
	if (strncmp(line, "event: ", 7) == 0)
		snprintf(st->event, sizeof st->event, "%s", line + 7);
	return strncmp(line, "data: ", 6) != 0 || hear_data(l, st, line + 6);
}

/* Body bytes, whatever pieces they come in. False: the stream has ended. */
static bool hear_body(struct load *l, struct stream *st, const char *p, size_t n)
{
	while (n) {
		const char *end = memchr(p, '\n', n);
		size_t part = end ? (size_t)(end - p) : n;
		add(&st->line, p, part);
		if (!end)
			return true;
		st->line.n = 0;
		if (!hear_line(l, st, st->line.p))
			return false;
		p += part + 1;
		n -= part + 1;
	}
	return true;
}

/* Takes whole pieces of a chunked body off `in`. False: the stream has ended. */
static bool hear_chunks(struct load *l, struct stream *st)
{
	size_t at = 0;
	bool goes_on = true;
	while (goes_on && at < st->in.n) {
		if (!st->chunk_left) {
			char *end = memmem(st->in.p + at, st->in.n - at, "\r\n", 2);
			if (!end)
				break;
			st->chunk_left = strtoul(st->in.p + at, NULL, 16) + 2; /* and the line's end behind it */
			at = (size_t)(end - st->in.p) + 2;
			continue;
		}
		size_t n = st->in.n - at < st->chunk_left ? st->in.n - at : st->chunk_left;
		size_t data = st->chunk_left <= 2 ? 0 : st->chunk_left - 2 < n ? st->chunk_left - 2 : n;
		goes_on = hear_body(l, st, st->in.p + at, data);
		st->chunk_left -= n;
		at += n;
	}
	memmove(st->in.p, st->in.p + at, st->in.n - at + 1);
	st->in.n -= at;
	return goes_on;
}

static void hear(struct load *l, struct stream *st)
{
	char piece[16384];
	ssize_t n = recv(st->fd, piece, sizeof piece, 0);
	if (n < 0 && errno == EAGAIN)
		return;
	if (n <= 0) {
		end_stream(l, st, "it broke off", st->in.n ? st->in.p : st->said.n ? st->said.p : "");
		return;
	}
	st->heard_us = now_us();
	add(&st->in, piece, (size_t)n);
	if (!st->has_head) {
		char *end = strstr(st->in.p, "\r\n\r\n");
		if (!end)
			return;
		if (strncmp(st->in.p, "HTTP/1.1 200 ", 13) != 0) {
			end_stream(l, st, "it is refused", st->in.p);
			return;
		}
		*end = '\0';
		st->has_head = true;
		st->is_chunked = strcasestr(st->in.p, "\r\ntransfer-encoding: chunked");
		size_t n_head = (size_t)(end - st->in.p) + 4;
		memmove(st->in.p, st->in.p + n_head, st->in.n - n_head + 1);
		st->in.n -= n_head;
	}
	if (st->is_chunked) {
		hear_chunks(l, st);
		return;
	}
	size_t all = st->in.n;
	st->in.n = 0;
	hear_body(l, st, st->in.p, all);
}

static void tell(struct load *l)
{
	if (l->is_told || !l->o->tell || l->speaking < l->o->clients)
		return;
	l->is_told = true;
	int fd = open(l->o->tell, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
	if (fd >= 0)
		close(fd);
}

/* Begins what may begin now: at most `clients` at a time, the first ones spread over the ramp. */
static void begin_streams(struct load *l, int64_t began)
{
	const struct options *o = l->o;
	bool is_pairs = strcmp(o->mode, "pairs") == 0, is_direct = strcmp(o->mode, "direct") == 0;
	for (long i = 0; i < o->clients && l->started < o->turns && l->running < o->clients; i++) {
		if (l->streams[i].fd >= 0)
			continue;
		if (l->started < o->clients && now_us() < began + l->started * o->ramp * 1000 / o->clients)
			return;
		begin_stream(l, &l->streams[i], is_pairs ? l->started % 2 == 0 : is_direct);
	}
}

static void check_silence(struct load *l)
{
	int64_t now = now_us();
	for (long i = 0; i < l->o->clients; i++)
		if (l->streams[i].fd >= 0 && now - l->streams[i].heard_us > SILENCE_US)
			end_stream(l, &l->streams[i], "it is silent", "");
}

static void print_figures(const char *prefix, struct figures *f)
{
	printf("%sturns %ld\n%serrors %ld\n", prefix, f->n, prefix, f->failed);
	printf("%sfirst_token_ms %.3f\n", prefix, quantile(f->first, f->n, 0.5));
	printf("%sfirst_token_p99_ms %.3f\n", prefix, quantile(f->first, f->n, 0.99));
	printf("%stokens_per_s %.3f\n", prefix, quantile(f->rate, f->n, 0.5));
}

static int run_streams(const struct options *o)
{
	struct load l = { .o = o, .epoll_fd = epoll_create1(EPOLL_CLOEXEC), .streams = zeroed((size_t)o->clients, sizeof(struct stream)) };
	struct epoll_event events[EVENTS];
	int64_t began = now_us(), swept = began;
	for (int i = 0; i < 2; i++) {
		l.figures[i].first = zeroed((size_t)o->turns, sizeof(double));
		l.figures[i].rate = zeroed((size_t)o->turns, sizeof(double));
	}
	for (long i = 0; i < o->clients; i++)
		l.streams[i].fd = -1;
	while (l.ended < o->turns) {
		begin_streams(&l, began);
		int n = epoll_wait(l.epoll_fd, events, EVENTS, l.started < o->turns && l.started < o->clients ? 2 : 1000);
		for (int i = 0; i < n; i++)
			hear(&l, events[i].data.ptr);
		tell(&l);
		if (now_us() - swept > 1000000) {
			swept = now_us();
			check_silence(&l);
		}
	}
	if (l.figures[0].n + l.figures[0].failed)
		print_figures("", &l.figures[0]);
	if (l.figures[1].n + l.figures[1].failed)
		print_figures("direct_", &l.figures[1]);
	return l.figures[0].failed + l.figures[1].failed > 0;
}

/* Reads. */

struct reader {
	int fd;
	int64_t at_us; /* when the next request goes, or when the running one went */
	bool is_waiting;
	struct text in;
};

/* Whether the answer is whole. */
static bool is_answered(const struct text *in)
{
	const char *end = in->n ? strstr(in->p, "\r\n\r\n") : NULL, *length = end ? strcasestr(in->p, "\r\nContent-Length:") : NULL;
	return length && length < end && in->n >= (size_t)(end + 4 - in->p) + (size_t)atol(length + 17);
}

static void begin_read(const struct options *o, struct reader *r)
{
	char request[512];
	int n = snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer %s\r\n\r\n", o->path, o->key);
	r->in.n = 0;
	r->is_waiting = true;
	r->at_us = now_us();
	if (send(r->fd, request, (size_t)n, MSG_NOSIGNAL) != n)
		err(1, "send");
}

/* Takes what came; returns the ms that the read took when it is whole, else 0. */
static double end_read(const struct options *o, struct reader *r, long *failed)
{
	char piece[16384];
	ssize_t n = recv(r->fd, piece, sizeof piece, 0);
	if (n <= 0)
		errx(1, "a read broke off");
	add(&r->in, piece, (size_t)n);
	if (!is_answered(&r->in))
		return 0;
	int64_t now = now_us();
	double ms = (double)(now - r->at_us) / 1e3;
	if (strncmp(r->in.p, "HTTP/1.1 200 ", 13) != 0 && ++*failed <= SHOWN)
		fprintf(stderr, "turns: a read is answered with %.100s\n", r->in.p);
	r->is_waiting = false;
	r->at_us = now + o->think * 1000;
	return ms;
}

static int run_reads(const struct options *o)
{
	int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	struct reader *readers = zeroed((size_t)o->clients, sizeof *readers);
	long n = 0, cap = 1 << 20, failed = 0;
	double *times = zeroed((size_t)cap, sizeof *times);
	int64_t until = now_us() + o->seconds * 1000000;
	for (long i = 0; i < o->clients; i++) {
		readers[i].fd = connect_to(o->port, 0);
		readers[i].at_us = now_us() + i * o->think * 1000 / o->clients;
		struct epoll_event ev = { .events = EPOLLIN, .data.ptr = &readers[i] };
		epoll_ctl(epoll_fd, EPOLL_CTL_ADD, readers[i].fd, &ev);
	}
	while (now_us() < until && n < cap) {
		struct epoll_event events[EVENTS];
		int64_t now = now_us(), next = until;
		for (long i = 0; i < o->clients; i++) {
			if (!readers[i].is_waiting && readers[i].at_us <= now)
				begin_read(o, &readers[i]);
			else if (!readers[i].is_waiting && readers[i].at_us < next)
				next = readers[i].at_us;
		}
		struct timespec ts = { (next - now) / 1000000, (next - now) % 1000000 * 1000 };
		int n_events = epoll_pwait2(epoll_fd, events, EVENTS, next > now ? &ts : &(struct timespec){ 0, 0 }, NULL);
		for (int i = 0; i < n_events; i++) {
			double ms = end_read(o, events[i].data.ptr, &failed);
			if (ms > 0)
				times[n++] = ms;
		}
	}
	printf("reads %ld\nread_errors %ld\nread_ms %.3f\nread_p99_ms %.3f\n", n, failed, quantile(times, n, 0.5), quantile(times, n, 0.99));
	return failed > 0;
}

static void parse(int argc, char **argv, struct options *o)
{
	const struct { const char *name; long *number; const char **text; } known[] = {
		{ "turns", &o->turns, NULL }, { "clients", &o->clients, NULL }, { "tokens", &o->tokens, NULL }, { "ramp", &o->ramp, NULL },
		{ "think", &o->think, NULL }, { "seconds", &o->seconds, NULL }, { "agent", NULL, &o->agent }, { "model", NULL, &o->model },
		{ "run", NULL, &o->run }, { "tell", NULL, &o->tell }, { "path", NULL, &o->path },
	};
	const size_t n_known = sizeof known / sizeof known[0];
	for (int i = 2; i + 1 < argc; i += 2) {
		size_t k = 0;
		while (k < n_known && strcmp(argv[i] + 2, known[k].name) != 0)
			k++;
		if (strcmp(argv[i], "--port") == 0)
			o->port = atoi(argv[i + 1]);
		else if (strcmp(argv[i], "--sessions") == 0)
			o->sessions = atoi(argv[i + 1]);
		else if (k == n_known)
			errx(2, "unknown option %s", argv[i]);
		else if (known[k].number)
			*known[k].number = atol(argv[i + 1]);
		else
			*known[k].text = argv[i + 1];
	}
}

int main(int argc, char **argv)
{
	struct options o = { .mode = argc > 1 ? argv[1] : "", .agent = "load", .model = "rate:20:20", .run = "run", .path = "/healthz", .turns = 1, .clients = 1,
			     .tokens = 20, .seconds = 1, .key = getenv("SK") };
	struct rlimit files;
	parse(argc, argv, &o);
	o.key = o.key ? o.key : "";
	getrlimit(RLIMIT_NOFILE, &files);
	files.rlim_cur = files.rlim_max;
	setrlimit(RLIMIT_NOFILE, &files);
	signal(SIGPIPE, SIG_IGN);
	if (strcmp(o.mode, "read") == 0)
		return run_reads(&o);
	if (strcmp(o.mode, "stream") != 0 && strcmp(o.mode, "direct") != 0 && strcmp(o.mode, "pairs") != 0)
		errx(2, "usage: turns stream|direct|pairs|read [options]");
	return run_streams(&o);
}
