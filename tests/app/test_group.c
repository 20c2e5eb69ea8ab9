/* SPDX-License-Identifier: MIT */
/*
 * test_group: appends that are stored together. group.c is compiled in once more under other names, on a store of the test's own: one whose
 * statements last as long as the test says and fail for the rows it says. The last tests ask the whole application.
 */
#include "harness.h"

#include <semaphore.h>

static enum err fake_run(struct task *t, struct app *app, const struct db_stmt *s, const struct db_arg *args, size_t n_args, int64_t *changed_r);
static int slow_post(sem_t *s);

#define store_run fake_run
#define sem_post slow_post
#define group_open own_group_open
#define group_close own_group_close
#define group_insert own_group_insert
#define group_feature own_group_feature
#include "../../src/app/group.c"
#undef store_run
#undef sem_post
#undef group_open
#undef group_close
#undef group_insert
#undef group_feature

#define THREADS 32
#define ROUNDS 40

/* What the store of the tests holds and does. */
static struct {
	pthread_mutex_t lock;
	int64_t last[THREADS + 1];   /* the newest seq of each conversation */
	enum err refuse[THREADS + 1]; /* what a row of it fails with, alone or not */
	int n_statements, n_rows, n_running, most_at_once;
	int pause_ms, post_ms;
	bool is_gated;               /* statements wait until the gate opens */
	enum err always;             /* every statement fails so */
} db = { .lock = PTHREAD_MUTEX_INITIALIZER };

/* Gives a waiter time to be late. */
static int slow_post(sem_t *s)
{
	if (db.post_ms)
		nap(db.post_ms);
	return sem_post(s);
}

static int number_of(const struct db_arg *row)
{
	return ((const struct ident *)row[0].p)->b[0];
}

/* As a database does: all rows or none; dense seqs of conversations that are there. */
static enum err store(const struct db_arg *args, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		const struct db_arg *row = args + i * GROUP_COLUMNS;
		for (size_t k = 0; k < i; k++)
			cr_assert_neq(number_of(args + k * GROUP_COLUMNS), number_of(row), "one conversation twice in a statement");
		if (db.refuse[number_of(row)])
			return db.refuse[number_of(row)];
		if (row[1].i != db.last[number_of(row)] + 1)
			return ERR_DUPLICATE;
	}
	for (size_t i = 0; i < n; i++)
		db.last[number_of(args + i * GROUP_COLUMNS)]++;
	db.n_rows += (int)n;
	return ERR_OK;
}

static enum err fake_run(struct task *t, struct app *app, const struct db_stmt *s, const struct db_arg *args, size_t n_args, int64_t *changed_r)
{
	(void)app, (void)s, (void)changed_r;
	pthread_mutex_lock(&db.lock);
	db.n_statements++;
	if (++db.n_running > db.most_at_once)
		db.most_at_once = db.n_running;
	while (db.is_gated) {
		pthread_mutex_unlock(&db.lock);
		nap(1);
		pthread_mutex_lock(&db.lock);
	}
	pthread_mutex_unlock(&db.lock);
	if (db.pause_ms)
		nap(db.pause_ms);
	pthread_mutex_lock(&db.lock);
	enum err e = db.always ? db.always : store(args, n_args / GROUP_COLUMNS);
	db.n_running--;
	pthread_mutex_unlock(&db.lock);
	return e ? task_fail_internal(t, e, "the test says so") : ERR_OK;
}

/* One thread's part: `rounds` appends to conversation number `to`, as message.c does them. */
struct party {
	struct group *group;
	int rounds;
	bool is_one; /* all on one conversation */
	_Atomic int stored[THREADS + 1], refused[THREADS + 1];
	enum err last[THREADS + 1];
};

static int64_t next_seq(int conversation)
{
	pthread_mutex_lock(&db.lock);
	int64_t next = db.last[conversation] + 1;
	pthread_mutex_unlock(&db.lock);
	return next;
}

static void insert(void *arg, int i)
{
	struct party *p = arg;
	struct app app = { .group = p->group };
	struct arena *a = arena_open(4096);
	struct ident conversation = { .b = { (unsigned char)(p->is_one ? 0 : i) } };
	for (int r = 0; r < p->rounds; r++) {
		struct task t;
		task_init(&t, a);
		const struct db_arg args[GROUP_COLUMNS] = { db_ident(&conversation), db_int(next_seq(conversation.b[0])) };
		enum err e = own_group_insert(&t, &app, args);
		p->last[i] = e;
		p->stored[i] += !e;
		p->refused[i] += e != ERR_OK;
		if (e)
			cr_assert_eq(t.fault.code, e);
		r -= p->is_one && e == ERR_DUPLICATE; /* somebody was faster: again */
		arena_reset(a);
	}
	arena_close(&a);
}

static void expect_idle(const struct group *g)
{
	cr_assert_null(g->first);
	cr_assert_eq(g->last, &g->first);
	cr_assert_eq(g->leaders, 0, "%d leaders are left over", g->leaders);
}

Test(group, many_conversations_lose_nothing_and_share_statements, .timeout = 60)
{
	struct party p = { .group = own_group_open(GROUP_MAX), .rounds = ROUNDS };
	db.pause_ms = 1;
	in_parallel(THREADS, insert, &p);
	for (int i = 0; i < THREADS; i++) {
		cr_assert_eq(p.stored[i], ROUNDS);
		cr_assert_eq(db.last[i], ROUNDS);
	}
	cr_assert_eq(db.n_rows, THREADS * ROUNDS);
	cr_assert_lt(db.n_statements, THREADS * ROUNDS / 2, "%d statements", db.n_statements);
	cr_assert_leq(db.most_at_once, LEADERS);
	expect_idle(p.group);
	own_group_close(&p.group);
}

Test(group, many_threads_on_one_conversation_make_a_dense_line, .timeout = 60)
{
	struct party p = { .group = own_group_open(GROUP_MAX), .rounds = 10, .is_one = true };
	in_parallel(THREADS, insert, &p);
	int n = 0;
	for (int i = 0; i < THREADS; i++)
		n += p.stored[i];
	cr_assert_eq(n, THREADS * 10);
	cr_assert_eq(db.last[0], THREADS * 10);
	expect_idle(p.group);
	own_group_close(&p.group);
}

Test(group, a_lone_append_is_one_statement)
{
	struct party p = { .group = own_group_open(GROUP_MAX), .rounds = 5 };
	insert(&p, 3);
	cr_assert_eq(db.n_statements, 5);
	cr_assert_eq(db.last[3], 5);
	expect_idle(p.group);
	own_group_close(&p.group);
}

struct opener {
	struct party *p;
	int n_parties, after_ms;
};

/* The last thread opens the gate when the others have queued behind the first statement. */
static void insert_or_open(void *arg, int i)
{
	struct opener *o = arg;
	if (i < o->n_parties) {
		nap(i == 0 ? 0 : 10);
		insert(o->p, i);
		return;
	}
	nap(o->after_ms);
	pthread_mutex_lock(&db.lock);
	db.is_gated = false;
	pthread_mutex_unlock(&db.lock);
}

static void run_gated(struct party *p, int n, int after_ms)
{
	struct opener o = { p, n, after_ms };
	p->group = own_group_open(GROUP_MAX);
	p->rounds = 1;
	db.is_gated = true;
	in_parallel(n + 1, insert_or_open, &o);
}

/* One row's error is its own: the others of its statement are stored. */
static void insert_beside_a_wrong_one(enum err wrong)
{
	struct party p = { 0 };
	db.refuse[4] = wrong;
	run_gated(&p, GROUP_MAX, 35);
	for (int i = 0; i < GROUP_MAX; i++) {
		cr_assert_eq(p.last[i], i == 4 ? wrong : ERR_OK, "%d: %s", i, err_code(p.last[i]));
		cr_assert_eq(db.last[i], i != 4);
	}
	cr_assert_eq(db.n_rows, GROUP_MAX - 1);
	expect_idle(p.group);
	own_group_close(&p.group);
}

Test(group, a_seq_that_is_taken_spoils_no_other_row)
{
	insert_beside_a_wrong_one(ERR_DUPLICATE);
}

Test(group, a_conversation_that_is_gone_spoils_no_other_row)
{
	insert_beside_a_wrong_one(ERR_NOT_FOUND);
}

/* What is wrong with the database is not tried again row by row: a write of unknown outcome might be stored twice. */
Test(group, an_outcome_that_is_unknown_is_told_to_all)
{
	struct party p = { 0 };
	db.always = ERR_COMMIT_UNKNOWN;
	run_gated(&p, GROUP_MAX, 35);
	for (int i = 0; i < GROUP_MAX; i++)
		cr_assert_eq(p.last[i], ERR_COMMIT_UNKNOWN);
	cr_assert_eq(db.n_statements, 2);
	expect_idle(p.group);
	own_group_close(&p.group);
}

/* The first statement is held up: a second leader comes, and only one. */
Test(group, a_statement_that_waits_for_a_lock_holds_up_no_other, .timeout = 20)
{
	struct party p = { 0 };
	run_gated(&p, 3 * GROUP_MAX, 3 * PATIENCE_MS);
	for (int i = 0; i < 3 * GROUP_MAX; i++)
		cr_assert_eq(p.stored[i], 1);
	cr_assert_eq(db.most_at_once, LEADERS);
	expect_idle(p.group);
	own_group_close(&p.group);
}

/* Both leaders end before the one that waits has heard of the first: it takes over once, and the other lead is given back. */
Test(group, two_leaders_that_end_together_hand_over_once, .timeout = 20)
{
	for (int round = 0; round < 3; round++) {
		struct party p = { 0 };
		memset(db.last, 0, sizeof db.last);
		db.post_ms = 20;
		run_gated(&p, 3 * GROUP_MAX, 3 * PATIENCE_MS);
		for (int i = 0; i < 3 * GROUP_MAX; i++)
			cr_assert_eq(p.stored[i], 1);
		expect_idle(p.group);
		own_group_close(&p.group);
	}
}

/* ---- the whole application ---- */

#define SESSIONS 8

struct writers {
	struct api *h;
	const char *sessions[SESSIONS];
	_Atomic int n_stored[SESSIONS], n_gone, n_other;
};

/* Four threads for each session; the first one's is deleted in the middle. */
static void append_all(void *arg, int i)
{
	struct writers *w = arg;
	int s = i % SESSIONS;
	for (int r = 0; r < 15; r++) {
		if (i == 0 && r == 5)
			must_be(api_delete(w->h, w->h->sk, "/v1/sessions/%s", w->sessions[0]), 204);
		struct answer a = api_post(w->h, w->h->sk, "{\"role\":\"user\",\"content\":\"x\"}", "/v1/sessions/%s/messages", w->sessions[s]);
		w->n_stored[s] += a.status == 201;
		w->n_gone += a.status == 404;
		w->n_other += a.status != 201 && a.status != 404;
	}
}

/* MSG-1, SES-9 */
Test(group, deleting_one_session_leaves_the_others_dense, .timeout = 60)
{
	struct writers w = { .h = api_open_with(API_FILE, NULL) };
	for (int s = 0; s < SESSIONS; s++)
		w.sessions[s] = new_session(w.h, w.h->sk, NULL, NULL);
	in_parallel(4 * SESSIONS, append_all, &w);
	cr_assert_eq(w.n_other, 0);
	cr_assert_gt(w.n_gone, 0);
	for (int s = 1; s < SESSIONS; s++) {
		struct ident id = ident_of(PREFIX_SESSION, w.sessions[s]);
		cr_assert_eq(w.n_stored[s], 60);
		cr_assert_eq(sql_int(w.h, "SELECT COUNT(*) FROM messages m JOIN conversations c ON c.id = m.conversation WHERE c.session = ?",
				     DB_ARGS(db_ident(&id))), 60);
		cr_assert_eq(sql_int(w.h, "SELECT MAX(m.seq) FROM messages m JOIN conversations c ON c.id = m.conversation WHERE c.session = ?",
				     DB_ARGS(db_ident(&id))), 60);
	}
	api_close(&w.h);
}
