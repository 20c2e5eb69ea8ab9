/* SPDX-License-Identifier: MIT */
/* search_help: how the tests of the search ask and read its answers. */
#ifndef PARLEY_TESTS_APP_SEARCH_HELP_H
#define PARLEY_TESTS_APP_SEARCH_HELP_H

#include "harness.h"

/* A text as the value of a query's parameter. */
static inline const char *encoded(struct api *h, const char *text)
{
	struct buf b;
	buf_init(&b, h->arena, 64);
	for (const char *p = text; *p; p++)
		buf_addf(&b, "%%%02X", (unsigned char)*p);
	return buf_bytes(&b).p;
}

static inline struct answer search_as(struct api *h, const char *key, const char *q, const char *more)
{
	return api_get(h, key, "/v1/search?q=%s%s", encoded(h, q), more);
}

static inline struct answer search(struct api *h, const char *q)
{
	struct answer a = search_as(h, h->sk, q, "");
	must_be(a, 200);
	return a;
}

static inline void say(struct api *h, const char *session, const char *role, const char *text)
{
	struct buf b;
	buf_init(&b, h->arena, 256);
	buf_add_char(&b, '{');
	buf_member_str(&b, "role", role);
	buf_member_str(&b, "content", text);
	buf_add_char(&b, '}');
	struct answer a = api_post(h, h->sk, buf_bytes(&b).p, "/v1/sessions/%s/messages", session);
	must_be(a, 201);
}

static inline const char *begin(struct api *h, const char *user, const char **token_r)
{
	return new_session(h, h->sk, api_text(h, "{\"agent\":\"guide\",\"user\":\"%s\"}", user), token_r);
}

static inline size_t n_found(struct api *h, const char *q)
{
	struct answer a = search(h, q);
	return count_at(&a, "data");
}

/* The session and seq of each hit, best first: "a:1 b:7", where names[] are the sessions' letters. */
static inline const char *places(struct api *h, const struct answer *a, const char *const *sessions, size_t n)
{
	struct buf b;
	buf_init(&b, h->arena, 64);
	for (size_t i = 0; i < count_at(a, "data"); i++) {
		const char *id = str_at(a, api_text(h, "data[%zu].session_id", i));
		char letter = '?';
		for (size_t k = 0; k < n; k++)
			if (strcmp(sessions[k], id) == 0)
				letter = (char)('a' + k);
		buf_addf(&b, "%s%c:%lld", i ? " " : "", letter, (long long)int_at(a, api_text(h, "data[%zu].message.seq", i)));
	}
	return buf_bytes(&b).p;
}

#define assert_places(h, a, wanted, ...)                                                                               \
	do {                                                                                                           \
		const char *const sessions_[] = { __VA_ARGS__ };                                                       \
		cr_assert_str_eq(places((h), &(a), sessions_, COUNT(sessions_)), (wanted));                            \
	} while (0)

#endif
