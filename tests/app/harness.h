/* SPDX-License-Identifier: MIT */
/*
 * harness: the application in the test's own process, asked as a web server would ask it, with no server between. On SQLite in memory; where
 * PARLEY_TEST_MARIADB holds a DSN and PARLEY_TEST_CACHE a value of the setting `cache`, the very same tests run on those. Tests share one
 * MariaDB database in a run, each with a site of its own: none may rely on an empty install unless it asks for API_OWN.
 */
#ifndef PARLEY_TESTS_APP_HARNESS_H
#define PARLEY_TESTS_APP_HARNESS_H

#include <criterion/criterion.h>
#include <pthread.h>

#include "app/agent.h"
#include "app/render.h"
#include "app/site.h"
#include "app/store.h"
#include "base/metrics.h"
#include "base/stamp.h"

#define ORIGIN "https://shop.example"

/* A site with its two keys; its agent is named "guide" and answers with the echo provider. */
struct api_site {
	struct ident id;
	const char *name, *sk, *pk;
};

/* One open application. */
struct api {
	struct arena *arena;
	struct task task; /* for set-up calls of the test's main thread */
	struct conf conf;
	struct app *app;
	int secret_fd;
	bool is_twin;
	char dsn[400];
	char dir[64];    /* of the SQLite file */
	char schema[64]; /* of a MariaDB database of its own */
	pthread_mutex_t lock;
	struct arena *arenas[20000]; /* of the answers, until the end */
	size_t n_arenas;
	struct api_site home;
	const char *sk, *pk; /* of home */
};

enum api_flag {
	API_FILE = 1,     /* other applications and processes can open the database too */
	API_OWN = 2,      /* nobody else is in the database */
	API_NO_CACHE = 4, /* without memcached even where there is one */
};

struct api *api_open(void);
/* `tune` may change the settings before the application opens; NULL: none. */
struct api *api_open_with(unsigned flags, void (*tune)(struct conf *c));
/* A second application on the same database and cache, as in another worker; close it first. */
struct api *api_twin(struct api *h, unsigned flags, void (*tune)(struct conf *c));
void api_close(struct api **h);

/* A further site that allows `origin`. */
struct api_site api_add_site(struct api *h, const char *origin);

/* What to ask; absent strings are absent headers. `to` is path and query. */
struct ask {
	const char *method, *to, *key, *body;
	size_t body_n; /* 0: up to the NUL */
	const char *type, *origin, *idem, *if_match, *request_id, *authorization, *remote, *forwarded, *acr_method, *last_event_id;
	bool has_no_type;
	enum http_body state;
	size_t gone_after; /* the client hangs up after so many bytes; 0: it stays */
	int fd;            /* whose hang-up is the client's; 0: none */
	struct pace *pace;
};

/* Lets a test see a stream while it runs: the thread that reads signals at each write. */
struct pace {
	_Atomic int n_flushes;
	_Atomic bool is_over;
};

struct event {
	const char *id, *event;
	struct bytes data;
};

struct answer {
	int status;
	struct arena *arena;
	struct bytes head, body;
	struct event *events;
	size_t n_events, n_comments;
	int n_flushes;
};

struct answer api_ask(struct api *h, const struct ask *q);
#define ask(h, ...) api_ask((h), &(const struct ask){ __VA_ARGS__ })

struct answer api_get(struct api *h, const char *key, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
struct answer api_delete(struct api *h, const char *key, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
struct answer api_post(struct api *h, const char *key, const char *body, const char *fmt, ...) __attribute__((format(printf, 4, 5)));
struct answer api_patch(struct api *h, const char *key, const char *body, const char *fmt, ...) __attribute__((format(printf, 4, 5)));
/* POST with an Idempotency-Key. */
struct answer api_post_once(struct api *h, const char *key, const char *idem, const char *body, const char *fmt, ...)
	__attribute__((format(printf, 5, 6)));

/* A string that lives as long as the application. */
char *api_text(struct api *h, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#define must_be(a, wanted)                                                                                             \
	cr_assert_eq((a).status, (wanted), "%d instead of %d: %.*s", (a).status, (wanted), (int)(a).body.n, (a).body.p)

/* Checks what holds for every answer, whatever was asked, and parts event streams; of one that the client cut off only the head. */
void answer_check(struct answer *a, bool is_cut);

/* A header of an answer, or NULL. */
const char *header_of(const struct answer *a, const char *name);

/* A value by its path, such as "data[3].content" or "usage.total_tokens"; no bytes when it is absent. */
struct bytes json_at(struct bytes json, const char *path);
struct bytes raw_at(const struct answer *a, const char *path);
/* The same unescaped, as a number, as a truth; they assert that it is there and of that type. */
const char *str_at(const struct answer *a, const char *path);
int64_t int_at(const struct answer *a, const char *path);
bool bool_at(const struct answer *a, const char *path);
/* The number of members or elements. */
size_t count_at(const struct answer *a, const char *path);
bool is_null_at(const struct answer *a, const char *path);
/* "code" of a problem, and whether its errors name a field with that code. */
const char *code_of(const struct answer *a);
bool blames(const struct answer *a, const char *field, const char *code);
/* The body without the values of members that differ from call to call: request_id, token, token_expires_at. */
const char *masked(const struct answer *a);

#define assert_str(a, path, wanted) cr_assert_str_eq(str_at(&(a), (path)), (wanted))
#define assert_int(a, path, wanted) cr_assert_eq(int_at(&(a), (path)), (wanted), "%s is %lld", (path), (long long)int_at(&(a), (path)))
#define assert_code(a, wanted_status, wanted_code)                                                                     \
	do {                                                                                                           \
		must_be((a), (wanted_status));                                                                         \
		cr_assert_str_eq(code_of(&(a)), (wanted_code));                                                        \
	} while (0)

/* SQL past the application; the text must live as long as it. */
int64_t sql_int(struct api *h, const char *sql, const struct db_arg *args, size_t n);
int64_t sql_run(struct api *h, const char *sql, const struct db_arg *args, size_t n);

/* Makes a session and returns its id; the token of the one made last is in token_r unless NULL. */
const char *new_session(struct api *h, const char *key, const char *body, const char **token_r);
/* Appends n messages "<from>", "<from + 1>", ... of the user, in batches. */
void add_messages(struct api *h, const char *session, int from, int n);
/* An id's 16 bytes. */
struct ident ident_of(const char *prefix, const char *text);

/* Runs n threads of fn(arg, i) at once. */
void in_parallel(int n, void (*fn)(void *arg, int i), void *arg);
void nap(int ms);

#endif
