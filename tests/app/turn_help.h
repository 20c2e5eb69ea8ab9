/* SPDX-License-Identifier: MIT */
/* turn_help: turns that run while a test goes on. */
#ifndef PARLEY_TESTS_APP_TURN_HELP_H
#define PARLEY_TESTS_APP_TURN_HELP_H

#include "harness.h"

/* A call in a thread of its own. */
struct background {
	struct api *h;
	const char *to, *body, *idem, *key;
	size_t gone_after;
	int fd;
	struct pace pace;
	struct answer answer;
	pthread_t thread;
};

static inline void turn_nap(int ms)
{
	nanosleep(&(struct timespec){ .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L }, NULL);
}

static inline void *background_ask(void *arg)
{
	struct background *b = arg;
	b->answer = ask(b->h, .method = b->body ? "POST" : "GET", .to = b->to, .key = b->key ? b->key : b->h->sk, .body = b->body, .idem = b->idem, .pace = &b->pace,
			.gone_after = b->gone_after, .fd = b->fd);
	return NULL;
}

static inline void background_start(struct background *b)
{
	cr_assert_eq(pthread_create(&b->thread, NULL, background_ask, b), 0);
}

/* Starts a streamed call and returns when its first n events are out. */
static inline void background_begin(struct background *b, int n)
{
	background_start(b);
	for (int i = 0; i < 10000 && b->pace.n_flushes < n && !b->pace.is_over; i++)
		turn_nap(1);
	cr_assert_geq(b->pace.n_flushes, n);
}

static inline void background_end(struct background *b)
{
	pthread_join(b->thread, NULL);
}

/* An agent "slow" that pauses so many milliseconds before each word. */
static inline void add_slow(struct api *h, int ms)
{
	must_be(api_post(h, h->sk, api_text(h, "{\"name\":\"slow\",\"model\":\"slow:%d\"}", ms), "/v1/agents"), 201);
}

/* The text of a stream as a reader has it, who starts anew at each reset and step; *at_r: the position of its last event. */
static inline const char *stream_text(struct api *h, const struct answer *a, const char *before, int64_t *at_r)
{
	struct buf text;
	buf_init(&text, h->arena, 256);
	buf_add_str(&text, before);
	for (size_t i = 0; i < a->n_events; i++) {
		const struct event *e = &a->events[i];
		if (strcmp(e->event, "reset") == 0 || strcmp(e->event, "step") == 0)
			buf_clear(&text);
		if (strcmp(e->event, "delta") == 0)
			buf_add_bytes(&text, jsonx_string(a->arena, json_at(e->data, "text")));
		if (at_r && e->id && strchr(e->id, ':'))
			*at_r = strtoll(strchr(e->id, ':') + 1, NULL, 10);
	}
	return api_text(h, "%.*s", (int)text.n, text.n ? text.p : "");
}

static inline const struct event *last_event(const struct answer *a)
{
	cr_assert_gt(a->n_events, 0, "%d %s", a->status, a->body.p);
	return &a->events[a->n_events - 1];
}

static inline const char *event_text(struct api *h, const struct answer *a, const struct event *e, const char *path)
{
	struct bytes s = jsonx_string(a->arena, json_at(e->data, path));
	return api_text(h, "%.*s", (int)s.n, s.n ? s.p : "");
}

#endif
