/* SPDX-License-Identifier: MIT */
/* harness: opens the application in process, asks it, reads its answers. */
#include "harness.h"

#include <criterion/hooks.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "net/fetch.h"

#define RUN_DATABASE "PARLEY_TEST_RUN_DATABASE" /* set by the hook below for the processes of the tests */

/* ---- databases ---- */

static const char *mariadb_dsn(void)
{
	const char *dsn = getenv("PARLEY_TEST_MARIADB");
	return dsn && dsn[0] ? dsn : NULL;
}

/* Runs one text on the test server, on a connection of its own. */
static void admin(const char *sql)
{
	struct arena *a = arena_open(0);
	struct db_conf conf = { .dsn = mariadb_dsn(), .pool = 1, .connect_timeout_ms = 5000, .timeout_ms = 30000 };
	struct db_stmt stmt = { sql, NULL, "a test" };
	struct db *db;
	struct task t;

	task_init(&t, a);
	if (db_open(&t, &conf, &db) != ERR_OK || db_run_once(&t, db, &stmt, NULL, 0, NULL) != ERR_OK) {
		fprintf(stderr, "%s: %s / %s\n", sql, t.fault.detail, t.fault.internal);
		abort();
	}
	db_close(&db);
	arena_close(&a);
}

static void admin_on(const char *format_before, const char *schema, const char *format_after)
{
	char sql[300];

	snprintf(sql, sizeof sql, "%s%s%s", format_before, schema, format_after);
	admin(sql);
}

static void create_schema(const char *schema)
{
	admin_on("CREATE DATABASE ", schema, " CHARACTER SET utf8mb4 COLLATE utf8mb4_bin");
}

static void drop_schema(const char *schema)
{
	admin_on("DROP DATABASE IF EXISTS ", schema, "");
}

/* The DSN of the test server with another database name. */
static void schema_dsn(char *out, size_t size, const char *schema)
{
	const char *base = mariadb_dsn(), *slash = strchr(base + strlen("mariadb://"), '/'), *options = strchr(slash, '?');

	snprintf(out, size, "%.*s/%s%s", (int)(slash - base), base, schema, options ? options : "");
}

static void migrate(const char *dsn)
{
	struct arena *a = arena_open(0);
	struct db_conf conf = { .dsn = dsn, .pool = 1, .connect_timeout_ms = 5000, .timeout_ms = 30000 };
	struct db *db;
	struct task t;
	int n;

	task_init(&t, a);
	if (db_open(&t, &conf, &db) != ERR_OK || db_migrate(&t, db, false, &n) != ERR_OK)
		abort();
	db_close(&db);
	arena_close(&a);
}

/* One migrated database for all tests of a run. */
ReportHook(PRE_ALL)(struct criterion_test_set *tests)
{
	char schema[64], dsn[400];

	(void)tests;
	if (!mariadb_dsn())
		return;
	snprintf(schema, sizeof schema, "parley_app_%d", (int)getpid());
	create_schema(schema);
	schema_dsn(dsn, sizeof dsn, schema);
	migrate(dsn);
	setenv(RUN_DATABASE, schema, 1);
}

ReportHook(POST_ALL)(struct criterion_global_stats *stats)
{
	(void)stats;
	if (getenv(RUN_DATABASE))
		drop_schema(getenv(RUN_DATABASE));
}

static void choose_database(struct api *h, unsigned flags)
{
	if (mariadb_dsn()) {
		const char *schema = getenv(RUN_DATABASE);

		if ((flags & API_OWN) || !schema) {
			snprintf(h->schema, sizeof h->schema, "parley_app_%d_own", (int)getpid());
			create_schema(h->schema);
			schema = h->schema;
		}
		schema_dsn(h->dsn, sizeof h->dsn, schema);
	} else if (flags & API_FILE) {
		snprintf(h->dir, sizeof h->dir, "/tmp/parley-app-XXXXXX");
		cr_assert_not_null(mkdtemp(h->dir));
		snprintf(h->dsn, sizeof h->dsn, "sqlite:%s/parley.db", h->dir);
	} else {
		snprintf(h->dsn, sizeof h->dsn, "sqlite::memory:");
	}
}

/* ---- open and close ---- */

static int make_secret(void)
{
	static const char text[] = "0123456789abcdef0123456789abcdef0123456789abcdef";
	int fd = memfd_create("secret", 0);

	cr_assert(fd >= 0 && fchmod(fd, 0600) == 0);
	cr_assert_eq(write(fd, text, sizeof text - 1), (ssize_t)sizeof text - 1);
	return fd;
}

static void open_app(struct api *h, unsigned flags, void (*tune)(struct conf *c))
{
	static const char text[] = "workers = 1\nkey_ttl = 60000\n";
	const char *cache = getenv("PARLEY_TEST_CACHE"), *log = getenv("PARLEY_TEST_LOG");

	cr_assert_eq(log_open(&h->task, log ? log : "/dev/null", LOG_DEBUG_LEVEL), ERR_OK);
	cr_assert_eq(conf_parse(&h->task, h->arena, "test", BYTES(text), &h->conf), ERR_OK, "%s", h->task.fault.detail);
	h->conf.database = h->dsn;
	h->conf.secret_file = api_text(h, "/proc/self/fd/%d", h->secret_fd);
	h->conf.cache = cache && !(flags & API_NO_CACHE) ? cache : "";
	h->conf.cache_timeout = 2000; /* a busy machine is no outage here */
	if (tune)
		tune(&h->conf);
	fetch_cleanup(); /* an application starts it once in a process; here there may be several */
	cr_assert_eq(app_open(&h->task, &h->conf, NULL, false, &h->app), ERR_OK, "%s / %s", h->task.fault.detail, h->task.fault.internal);
}

static struct api *new_api(void)
{
	struct api *h = calloc(1, sizeof *h);

	cr_assert_not_null(h);
	h->arena = arena_open(16384);
	pthread_mutex_init(&h->lock, NULL);
	task_init(&h->task, h->arena);
	return h;
}

struct api *api_open_with(unsigned flags, void (*tune)(struct conf *c))
{
	struct api *h = new_api();

	h->secret_fd = make_secret();
	choose_database(h, flags);
	open_app(h, flags, tune);
	h->home = api_add_site(h, ORIGIN);
	h->sk = h->home.sk;
	h->pk = h->home.pk;
	return h;
}

struct api *api_open(void)
{
	return api_open_with(0, NULL);
}

struct api *api_twin(struct api *h, unsigned flags, void (*tune)(struct conf *c))
{
	struct api *twin = new_api();

	cr_assert(strcmp(h->dsn, "sqlite::memory:") != 0, "a database in memory has no twin");
	snprintf(twin->dsn, sizeof twin->dsn, "%s", h->dsn);
	twin->secret_fd = h->secret_fd;
	twin->is_twin = true;
	open_app(twin, flags, tune);
	twin->home = h->home;
	twin->sk = h->sk;
	twin->pk = h->pk;
	return twin;
}

static void remove_files(const char *dir)
{
	static const char *const names[] = { "parley.db", "parley.db-wal", "parley.db-shm" };
	char path[128];

	for (size_t i = 0; i < COUNT(names); i++) {
		snprintf(path, sizeof path, "%s/%s", dir, names[i]);
		unlink(path);
	}
	rmdir(dir);
}

void api_close(struct api **hp)
{
	struct api *h = *hp;

	*hp = NULL;
	app_close(&h->app);
	if (h->schema[0])
		drop_schema(h->schema);
	if (h->dir[0])
		remove_files(h->dir);
	if (!h->is_twin)
		close(h->secret_fd);
	for (size_t i = 0; i < h->n_arenas; i++)
		arena_close(&h->arenas[i]);
	pthread_mutex_destroy(&h->lock);
	arena_close(&h->arena);
	free(h);
}

static const char *new_key(struct api *h, const struct ident *site, enum key_kind kind)
{
	char key[API_KEY_SIZE];

	cr_assert_eq(site_create_key(&h->task, h->app, site, kind, BYTES("test"), key), ERR_OK);
	return api_text(h, "%s", key);
}

struct api_site api_add_site(struct api *h, const char *origin)
{
	struct ident random;
	char name[IDENT_SIZE];
	struct bytes origins[] = { bytes_of(origin) }, domains[] = { BYTES("shop.example") };
	struct api_site s;

	secret_random(random.b, sizeof random.b);
	ident_format("site-", &random, name);
	s.name = api_text(h, "%s", name);
	struct site_new in = { .name = bytes_of(s.name), .domains = domains, .n_domains = 1, .origins = origins, .n_origins = 1 };

	cr_assert_eq(site_create(&h->task, h->app, &in, &s.id), ERR_OK, "%s / %s", h->task.fault.detail, h->task.fault.internal);
	s.sk = new_key(h, &s.id, KEY_SECRET);
	s.pk = new_key(h, &s.id, KEY_PUBLISHABLE);
	struct answer a = api_post(h, s.sk, "{\"name\":\"guide\"}", "/v1/agents");

	must_be(a, 201);
	return s;
}

/* ---- the client's end ---- */

struct client {
	struct buf got;
	size_t gone_after;
	int n_flushes, fd;
	struct pace *pace;
};

static bool client_write(void *arg, struct bytes b)
{
	struct client *c = arg;

	if (c->gone_after && c->got.n + b.n > c->gone_after)
		return false;
	buf_add_bytes(&c->got, b);
	return true;
}

static bool client_flush(void *arg)
{
	struct client *c = arg;

	c->n_flushes++;
	if (c->pace)
		c->pace->n_flushes++;
	return !c->gone_after || c->got.n <= c->gone_after;
}

static int client_fd(void *arg)
{
	const struct client *c = arg;

	return c->fd > 0 ? c->fd : -1;
}

static struct arena *answer_arena(struct api *h)
{
	struct arena *a = arena_open(8192);

	pthread_mutex_lock(&h->lock);
	cr_assert(h->n_arenas < COUNT(h->arenas));
	h->arenas[h->n_arenas++] = a;
	pthread_mutex_unlock(&h->lock);
	return a;
}

static void make_request(struct arena *a, const struct ask *q, struct http_request *rq)
{
	const char *question = strchr(q->to, '?');
	size_t body_n = q->body_n ? q->body_n : q->body ? strlen(q->body) : 0;

	*rq = (struct http_request){
		.method_text = bytes_of(q->method), .method = http_method_parse(bytes_of(q->method)), .path = bytes_of(q->to),
		.query = question ? bytes_of(question + 1) : BYTES(""), .origin = bytes_of(q->origin), .idempotency_key = bytes_of(q->idem), .last_event_id = bytes_of(q->last_event_id),
		.if_match = bytes_of(q->if_match), .request_id = bytes_of(q->request_id), .forwarded_for = bytes_of(q->forwarded),
		.acr_method = bytes_of(q->acr_method), .remote_addr = bytes_of(q->remote ? q->remote : "203.0.113.9"), .body_state = q->state,
		.body = { q->body ? q->body : "", body_n },
	};
	if (question)
		rq->path.n = (size_t)(question - q->to);
	if (q->authorization)
		rq->authorization = bytes_of(q->authorization);
	else if (q->key)
		rq->authorization = bytes_of(arena_printf(a, "Bearer %s", q->key));
	if (!q->has_no_type && (q->type || q->body))
		rq->content_type = bytes_of(q->type ? q->type : "application/json");
}

struct answer api_ask(struct api *h, const struct ask *q)
{
	struct answer r = { .arena = answer_arena(h) };
	struct client client = { .gone_after = q->gone_after, .fd = q->fd, .pace = q->pace };
	struct http_request rq;
	struct http_response rs;
	struct task t;

	buf_init(&client.got, r.arena, 2048);
	task_init(&t, r.arena);
	make_request(r.arena, q, &rq);
	http_response_init(&rs, &t, (struct http_sink){ &client, client_write, client_flush, client_fd, NULL });
	app_answer(h->app, &t, &rq, &rs);
	if (q->pace)
		q->pace->is_over = true;
	struct bytes all = buf_bytes(&client.got);
	const char *blank = memmem(all.p, all.n, "\r\n\r\n", 4);

	cr_assert(blank && memcmp(all.p, "Status: ", 8) == 0, "no answer: %s", all.p);
	r.status = atoi(all.p + 8);
	r.head = (struct bytes){ all.p, (size_t)(blank + 2 - all.p) };
	r.body = bytes_of(arena_copy(r.arena, blank + 4, all.n - r.head.n - 2));
	r.body.n = all.n - r.head.n - 2;
	r.n_flushes = client.n_flushes;
	answer_check(&r, q->gone_after > 0);
	return r;
}

static struct answer ask_formatted(struct api *h, struct ask *q, const char *fmt, va_list ap) __attribute__((format(printf, 3, 0)));
static struct answer ask_formatted(struct api *h, struct ask *q, const char *fmt, va_list ap)
{
	struct arena *a = answer_arena(h);

	q->to = arena_vprintf(a, fmt, ap);
	return api_ask(h, q);
}

#define ASK_FORMATTED(...)                                                                                             \
	struct ask q = { __VA_ARGS__ };                                                                                \
	va_list ap;                                                                                                    \
	va_start(ap, fmt);                                                                                             \
	struct answer r = ask_formatted(h, &q, fmt, ap);                                                               \
	va_end(ap);                                                                                                    \
	return r

struct answer api_get(struct api *h, const char *key, const char *fmt, ...)
{
	ASK_FORMATTED(.method = "GET", .key = key);
}

struct answer api_delete(struct api *h, const char *key, const char *fmt, ...)
{
	ASK_FORMATTED(.method = "DELETE", .key = key);
}

struct answer api_post(struct api *h, const char *key, const char *body, const char *fmt, ...)
{
	ASK_FORMATTED(.method = "POST", .key = key, .body = body);
}

struct answer api_patch(struct api *h, const char *key, const char *body, const char *fmt, ...)
{
	ASK_FORMATTED(.method = "PATCH", .key = key, .body = body);
}

struct answer api_post_once(struct api *h, const char *key, const char *idem, const char *body, const char *fmt, ...)
{
	ASK_FORMATTED(.method = "POST", .key = key, .idem = idem, .body = body);
}

char *api_text(struct api *h, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	pthread_mutex_lock(&h->lock);
	char *text = arena_vprintf(h->arena, fmt, ap);
	pthread_mutex_unlock(&h->lock);
	va_end(ap);
	return text;
}

/* ---- past the application ---- */

int64_t sql_int(struct api *h, const char *sql, const struct db_arg *args, size_t n)
{
	struct db_stmt stmt = { sql, NULL, "a test" };
	struct db_rows *rows;
	enum err e = store_query(&h->task, h->app, &stmt, args, n, &rows);

	cr_assert_eq(e, ERR_OK, "%s: %s", sql, h->task.fault.internal);
	cr_assert_eq(rows->n_rows, 1, "%s", sql);
	return db_cell_int(rows, 0, 0);
}

int64_t sql_run(struct api *h, const char *sql, const struct db_arg *args, size_t n)
{
	struct db_stmt stmt = { sql, NULL, "a test" };
	int64_t changed;
	enum err e = store_run(&h->task, h->app, &stmt, args, n, &changed);

	cr_assert_eq(e, ERR_OK, "%s: %s", sql, h->task.fault.internal);
	return changed;
}

/* ---- what many tests begin with ---- */

const char *new_session(struct api *h, const char *key, const char *body, const char **token_r)
{
	struct answer a = ask(h, .method = "POST", .to = "/v1/sessions", .key = key, .body = body ? body : "{\"agent\":\"guide\"}",
			      .origin = strncmp(key, "pk_", 3) == 0 ? ORIGIN : NULL);

	must_be(a, 201);
	if (token_r)
		*token_r = api_text(h, "%s", str_at(&a, "token"));
	return api_text(h, "%s", str_at(&a, "id"));
}

void add_messages(struct api *h, const char *session, int from, int n)
{
	while (n > 0) {
		int batch = n > 50 ? 50 : n;
		struct buf b;

		buf_init(&b, answer_arena(h), 4096);
		buf_add_str(&b, "{\"messages\":[");
		for (int i = 0; i < batch; i++)
			buf_addf(&b, "%s{\"role\":\"user\",\"content\":\"%d\"}", i ? "," : "", from + i);
		buf_add_str(&b, "]}");
		struct answer a = api_post(h, h->sk, b.p, "/v1/sessions/%s/messages", session);

		must_be(a, 201);
		from += batch;
		n -= batch;
	}
}

struct ident ident_of(const char *prefix, const char *text)
{
	struct ident id;

	cr_assert(ident_parse(prefix, bytes_of(text), &id), "%s is no %s", text, prefix);
	return id;
}

struct parallel {
	void (*fn)(void *arg, int i);
	void *arg;
	int i;
	pthread_barrier_t *start;
};

static void *parallel_run(void *arg)
{
	struct parallel *p = arg;

	pthread_barrier_wait(p->start);
	p->fn(p->arg, p->i);
	return NULL;
}

void in_parallel(int n, void (*fn)(void *arg, int i), void *arg)
{
	pthread_barrier_t start;
	pthread_t threads[64];
	struct parallel p[64];

	cr_assert(n <= 64);
	pthread_barrier_init(&start, NULL, (unsigned)n);
	for (int i = 0; i < n; i++) {
		p[i] = (struct parallel){ fn, arg, i, &start };
		cr_assert_eq(pthread_create(&threads[i], NULL, parallel_run, &p[i]), 0);
	}
	for (int i = 0; i < n; i++)
		pthread_join(threads[i], NULL);
	pthread_barrier_destroy(&start);
}

void nap(int ms)
{
	nanosleep(&(struct timespec){ ms / 1000, ms % 1000 * 1000000L }, NULL);
}
