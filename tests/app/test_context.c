/* SPDX-License-Identifier: MIT */
/* test_context: what a model is given of a conversation keeps its rules whatever is stored, and costs the same however much that is (MSG-7). */
#include "harness.h"

#include <stdlib.h>

#include "app/codec.h"
#include "app/context.h"
#include "app/exchange.h"
#include "app/message.h"
#include "base/tokens.h"

static struct head head_of(struct api *h, const char *session)
{
	struct head head;
	cr_assert_eq(head_find(&h->task, h->app, &h->home.id, bytes_of(session), &head), ERR_OK, "%s", h->task.fault.detail);
	head_settle(&h->task, h->app, &head);
	return head;
}

static struct context build(struct api *h, const char *session, int64_t tokens, const char *system)
{
	struct head head = head_of(h, session);
	struct context_options options = { .tokens = tokens, .system = bytes_of(system) };
	struct context x;
	cr_assert_eq(context_build(&h->task, h->app, &head, &options, &x), ERR_OK, "%s / %s", h->task.fault.detail, h->task.fault.internal);
	return x;
}

static void append(struct api *h, const char *session, const char *body)
{
	struct answer a = api_post(h, h->sk, body, "/v1/sessions/%s/messages", session);
	must_be(a, 201);
}

/* Roles and contents of a context in short: "user one|assistant two|...". */
static const char *script_of(struct api *h, const struct context *x)
{
	struct buf b;
	buf_init(&b, h->arena, 256);
	for (size_t i = 0; i < x->n; i++) {
		struct bytes text = jsonx_type(x->rows[i].content) == JSONX_STRING ? jsonx_string(h->arena, x->rows[i].content) : x->rows[i].content;
		buf_addf(&b, "%s%s %.*s", i ? "|" : "", role_name(x->rows[i].role), (int)text.n, text.p);
	}
	return buf_bytes(&b).p;
}

#define MISSING "No result of this call was stored."

Test(context, is_everything_when_that_fits)
{
	struct api *h = api_open();
	const char *id = new_session(h, h->sk, NULL, NULL);
	append(h, id, "{\"messages\":[{\"role\":\"assistant\",\"content\":\"Hello\"},{\"role\":\"user\",\"content\":\"Hi\"},"
		      "{\"role\":\"assistant\",\"content\":[{\"type\":\"text\",\"text\":\"x\"}],\"client_id\":\"c\"}]}");
	struct context x = build(h, id, 0, "Be kind.");
	cr_assert_eq(x.n, 3);
	cr_assert_eq(x.first_seq, 1);
	cr_assert_eq(x.last_seq, 3);
	cr_assert_not(x.is_truncated);
	cr_assert_eq(x.summary.upto_seq, 0);
	cr_assert(bytes_equal(context_instructions(h->arena, &x), BYTES("Be kind.")));
	cr_assert(bytes_equal(x.rows[2].content, BYTES("[{\"type\":\"text\",\"text\":\"x\"}]")));
	cr_assert(bytes_equal(x.rows[2].extra, BYTES("{\"client_id\":\"c\"}")));
	cr_assert(x.tokens > 15 && x.tokens < 50, "%lld", (long long)x.tokens);
	const char *empty = new_session(h, h->sk, NULL, NULL);
	struct context none = build(h, empty, 100, NULL);
	cr_assert(none.n == 0 && none.tokens == 0 && none.first_seq == 0 && none.last_seq == 0 && !none.is_truncated);
	api_close(&h);
}

/* A tail's row is the row that the database holds. */
Test(context, rows_from_the_cache_are_those_of_the_database)
{
	struct api *h = api_open();
	const char *id = new_session(h, h->sk, NULL, NULL);
	append(h, id, "{\"role\":\"user\",\"content\":\"a \\u00e4 \\\"q\\\"\",\"metadata\":{\"k\":[1,2]},\"name\":\"ann\",\"tokens_used\":5}");
	append(h, id, "{\"role\":\"assistant\",\"content\":\"b\",\"tool_calls\":[{\"id\":\"t1\",\"name\":\"f\",\"arguments\":\"{}\"}],\"model\":\"m\"}");
	append(h, id, "{\"role\":\"tool\",\"content\":\"r\",\"tool_call_id\":\"t1\"}");
	struct answer turn = api_post(h, h->sk, "{\"message\":\"on\"}", "/v1/sessions/%s/turns", id);
	must_be(turn, 200);
	struct head with = head_of(h, id), without = with;
	struct context_options o = { .tokens = 0 };
	struct context x, y;
	without.n_tail = 0;
	cr_assert_geq(with.n_tail, 5);
	cr_assert_eq(context_build(&h->task, h->app, &with, &o, &x), ERR_OK);
	cr_assert_eq(context_build(&h->task, h->app, &without, &o, &y), ERR_OK);
	cr_assert_eq(x.n, 5);
	cr_assert_eq(y.n, 5);
	cr_assert_eq(x.tokens, y.tokens);
	for (size_t i = 0; i < x.n; i++) {
		const struct message_row *m = &x.rows[i], *n = &y.rows[i];
		cr_assert(ident_equal(&m->id, &n->id) && ident_equal(&m->turn, &n->turn) && ident_equal(&m->conversation, &n->conversation));
		cr_assert(m->seq == n->seq && m->role == n->role && m->created_at == n->created_at);
		cr_assert(bytes_equal(m->content, n->content) && bytes_equal(m->metadata, n->metadata) && bytes_equal(m->extra, n->extra));
	}
	api_close(&h);
}

Test(context, a_call_is_followed_by_its_results)
{
	struct api *h = api_open();
	static const struct {
		const char *messages, *script;
	} cases[] = {
		/* stored late: moved to its call */
		{ "{\"role\":\"user\",\"content\":\"a\"},{\"role\":\"assistant\",\"content\":\"c\",\"tool_calls\":[{\"id\":\"1\",\"name\":\"f\"}]},"
		  "{\"role\":\"user\",\"content\":\"b\"},{\"role\":\"tool\",\"content\":\"r\",\"tool_call_id\":\"1\"}",
		  "user a|assistant c|tool r|user b" },
		/* in another order than the calls, one missing, one without a call, one twice; OpenAI's form of a call */
		{ "{\"role\":\"user\",\"content\":\"a\"},{\"role\":\"assistant\",\"content\":\"c\",\"tool_calls\":[{\"id\":\"1\",\"type\":\"function\","
		  "\"function\":{\"name\":\"f\",\"arguments\":\"{}\"}},{\"id\":\"2\",\"name\":\"g\"},{\"id\":\"3\",\"name\":\"h\"}]},"
		  "{\"role\":\"tool\",\"content\":\"three\",\"tool_call_id\":\"3\"},{\"role\":\"tool\",\"content\":\"one\",\"tool_call_id\":\"1\"},"
		  "{\"role\":\"tool\",\"content\":\"again\",\"tool_call_id\":\"1\"},{\"role\":\"tool\",\"content\":\"nobody's\",\"tool_call_id\":\"9\"},"
		  "{\"role\":\"assistant\",\"content\":\"d\"}",
		  "user a|assistant c|tool one|tool " MISSING "|tool three|assistant d" },
		/* the same id used again belongs to the nearer call */
		{ "{\"role\":\"assistant\",\"content\":\"c\",\"tool_calls\":[{\"id\":\"1\",\"name\":\"f\"}]},{\"role\":\"tool\",\"content\":\"x\",\"tool_call_id\":\"1\"},"
		  "{\"role\":\"assistant\",\"content\":\"d\",\"tool_calls\":[{\"id\":\"1\",\"name\":\"f\"}]},{\"role\":\"tool\",\"content\":\"y\",\"tool_call_id\":\"1\"}",
		  "assistant c|tool x|assistant d|tool y" },
		/* only results, and nothing at all */
		{ "{\"role\":\"tool\",\"content\":\"x\",\"tool_call_id\":\"1\"},{\"role\":\"tool\",\"content\":\"y\"}", "" },
	};
	for (size_t i = 0; i < COUNT(cases); i++) {
		const char *id = new_session(h, h->sk, NULL, NULL);
		append(h, id, api_text(h, "{\"messages\":[%s]}", cases[i].messages));
		struct context x = build(h, id, 0, NULL);
		cr_expect_str_eq(script_of(h, &x), cases[i].script, "case %zu: %s", i, script_of(h, &x));
		struct head cold = head_of(h, id);
		cold.n_tail = 0;
		struct context y;
		cr_assert_eq(context_build(&h->task, h->app, &cold, &(struct context_options){ .tokens = 0 }, &y), ERR_OK);
		cr_expect_str_eq(script_of(h, &y), cases[i].script);
	}
	api_close(&h);
}

Test(context, the_repair_names_its_call)
{
	struct api *h = api_open();
	const char *id = new_session(h, h->sk, NULL, NULL);
	append(h, id, "{\"role\":\"assistant\",\"content\":\"c\",\"tool_calls\":[{\"id\":\"call_7\",\"name\":\"weather\",\"arguments\":\"{}\"}]}");
	struct context x = build(h, id, 0, NULL);
	cr_assert_eq(x.n, 2);
	cr_assert_eq(x.rows[1].seq, 0);
	cr_assert(bytes_equal(x.rows[1].extra, BYTES("{\"tool_call_id\":\"call_7\",\"name\":\"weather\"}")));
	cr_assert_eq(x.last_seq, 1);
	cr_assert_eq(sql_int(h, "SELECT COUNT(*) FROM messages WHERE site = ?", DB_ARGS(db_ident(&h->home.id))), 1, "nothing was stored");
	api_close(&h);
}

static void set_content(struct api *h, const struct head *head, int64_t seq, struct bytes stored)
{
	sql_run(h, "UPDATE messages SET content = ? WHERE conversation = ? AND seq = ?",
		DB_ARGS(db_blob(stored.p, stored.n), db_ident(&head->conversation), db_int(seq)));
	head_changed(&h->task, h->app, &head->site, &head->session);
}

Test(context, deleted_and_corrupt_messages_are_left_out)
{
	struct api *h = api_open();
	const char *id = new_session(h, h->sk, NULL, NULL);
	append(h, id, "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"},{\"role\":\"assistant\",\"content\":\"b\"},{\"role\":\"user\",\"content\":\"c\"},"
		      "{\"role\":\"assistant\",\"content\":\"d\",\"tool_calls\":[{\"id\":\"1\",\"name\":\"f\"}]},"
		      "{\"role\":\"tool\",\"content\":\"e\",\"tool_call_id\":\"1\"},{\"role\":\"user\",\"content\":\"f\"}]}");
	struct head head = head_of(h, id);
	set_content(h, &head, 2, codec_pack(h->arena, BYTES("null")));
	set_content(h, &head, 3, BYTES("rubbish"));
	struct context x = build(h, id, 0, NULL);
	cr_assert_str_eq(script_of(h, &x), "user a|assistant d|tool e|user f");
	set_content(h, &head, 4, codec_pack(h->arena, BYTES("null")));
	x = build(h, id, 0, NULL);
	cr_assert_str_eq(script_of(h, &x), "user a|user f", "the result has lost its call");
	api_close(&h);
}

Test(context, the_newest_turn_is_given_even_if_it_does_not_fit)
{
	struct api *h = api_open();
	const char *id = new_session(h, h->sk, NULL, NULL);
	append(h, id, "{\"messages\":[{\"role\":\"user\",\"content\":\"old\"},{\"role\":\"assistant\",\"content\":\"old\"},{\"role\":\"user\",\"content\":\"new\"},"
		      "{\"role\":\"assistant\",\"content\":\"c\",\"tool_calls\":[{\"id\":\"1\",\"name\":\"f\"}]},{\"role\":\"tool\",\"content\":\"r\",\"tool_call_id\":\"1\"},"
		      "{\"role\":\"assistant\",\"content\":\"done\"}]}");
	struct context x = build(h, id, 3, "System text that alone is more than the budget.");
	cr_assert(x.is_truncated);
	cr_assert_gt(x.tokens, 3);
	cr_assert_str_eq(script_of(h, &x), "user new|assistant c|tool r|assistant done");
	/* a conversation in which the user never spoke has no turn: it is cut where nothing is parted */
	const char *silent = new_session(h, h->sk, NULL, NULL);
	for (int i = 0; i < 15; i++) {
		struct buf b;
		buf_init(&b, h->arena, 8192);
		buf_add_str(&b, "{\"messages\":[");
		for (int k = 0; k < 100; k++)
			buf_addf(&b, "%s{\"role\":\"assistant\",\"content\":\"%d\"}", k ? "," : "", i * 100 + k);
		buf_add_str(&b, "]}");
		append(h, silent, buf_bytes(&b).p);
	}
	x = build(h, silent, 100, NULL);
	cr_assert(x.is_truncated);
	cr_assert_leq(x.tokens, 100);
	cr_assert_geq(x.n, 10);
	cr_assert_eq(x.last_seq, 1500);
	api_close(&h);
}

static void tune_small(struct conf *c)
{
	c->context_messages = 12;
	c->context_bytes = 2000;
}

/* SES-14: the session's own bound counts, never more than the install's. */
Test(context, settings_and_config_bound_it)
{
	struct api *h = api_open_with(0, tune_small);
	const char *id = new_session(h, h->sk, NULL, NULL);
	add_messages(h, id, 1, 40);
	struct context x = build(h, id, 0, NULL);
	cr_assert(x.n <= 12 && x.n >= 6, "%zu", x.n);
	cr_assert_eq(x.last_seq, 40);
	static const int64_t bounds[] = { 1, 2, 5, 500 };
	for (size_t i = 0; i < COUNT(bounds); i++) {
		struct answer a = api_patch(h, h->sk, api_text(h, "{\"config\":{\"max_context_messages\":%lld}}", (long long)bounds[i]), "/v1/sessions/%s", id);
		must_be(a, 200);
		x = build(h, id, 0, NULL);
		cr_assert(x.n >= 1 && (int64_t)x.n <= bounds[i] && x.n <= 12, "%zu of %lld", x.n, (long long)bounds[i]);
		cr_assert_not(x.is_truncated);
	}
	const char *large = new_session(h, h->sk, NULL, NULL);
	char text[601];
	memset(text, 'x', 600);
	text[600] = 0;
	for (int i = 0; i < 8; i++)
		append(h, large, api_text(h, "{\"role\":\"user\",\"content\":\"%s\"}", text));
	x = build(h, large, 0, NULL);
	cr_assert(x.n >= 2 && x.n <= 3, "%zu", x.n);
	api_close(&h);
}

/* ---- generated histories ---- */

/* What was stored, as the test knows it. */
struct story {
	struct api *h;
	const char *session;
	unsigned seed;
	int n;          /* messages so far */
	int next_call;
	int open[256];  /* ids of calls without a result */
	int n_open;
	int large;      /* one in so many messages is large; 0: none */
	int user;       /* of ten messages, so many are the user's */
};

static int dice(struct story *s, int sides)
{
	return (int)(rand_r(&s->seed) >> 4) % sides;
}

static void add_words(struct story *s, struct buf *b)
{
	int n = s->large && dice(s, s->large) == 0 ? 100 + dice(s, 300) : 1 + dice(s, 12);
	for (int i = 0; i < n; i++)
		buf_addf(b, "%sword%d", i ? " " : "", dice(s, 50));
}

/* Adds the JSON of one more message. */
static void tell(struct story *s, struct buf *b)
{
	int what = dice(s, 10);
	s->n++;
	if (s->n_open && dice(s, 3)) {
		int k = dice(s, s->n_open);
		buf_addf(b, "{\"role\":\"tool\",\"tool_call_id\":\"call_%d\",\"content\":\"", s->open[k]);
		if (dice(s, 20)) /* else it may come twice */
			s->open[k] = s->open[--s->n_open];
	} else if (what < s->user) {
		buf_add_str(b, "{\"role\":\"user\",\"content\":\"");
	} else if (what < 8) {
		buf_add_str(b, "{\"role\":\"assistant\",");
		if (dice(s, 3) == 0) {
			int n = 1 + dice(s, 3);
			buf_add_str(b, "\"tool_calls\":[");
			for (int i = 0; i < n; i++) {
				buf_addf(b, "%s{\"id\":\"call_%d\",\"name\":\"f\",\"arguments\":\"{}\"}", i ? "," : "", s->next_call);
				if (s->n_open < 200 && dice(s, 8)) /* else nobody answers it */
					s->open[s->n_open++] = s->next_call;
				s->next_call++;
			}
			buf_add_str(b, "],");
		}
		buf_add_str(b, "\"content\":\"");
	} else if (what == 8) {
		buf_addf(b, "{\"role\":\"tool\",\"tool_call_id\":\"nobody_%d\",\"content\":\"", dice(s, 5));
	} else {
		buf_add_str(b, "{\"role\":\"system\",\"content\":\"");
	}
	add_words(s, b);
	buf_add_str(b, "\"}");
}

static void tell_some(struct story *s, int n)
{
	struct arena *a = arena_open(16384);
	struct buf b;
	buf_init(&b, a, 4096);
	buf_add_str(&b, "{\"messages\":[");
	for (int i = 0; i < n; i++) {
		if (i)
			buf_add_char(&b, ',');
		tell(s, &b);
	}
	buf_add_str(&b, "]}");
	append(s->h, s->session, buf_bytes(&b).p);
	arena_close(&a);
}

/* Everything that is stored, for checks. */
static struct exchange whole(struct api *h, struct task *t, const struct head *head)
{
	struct message_row *rows;
	struct exchange x;
	size_t n;
	struct rows_line line = head_line(head);
	cr_assert_eq(rows_read(t, h->app, NULL, &line, 1, INT64_MAX, 100000, false, &rows, &n), ERR_OK);
	exchange_read(t->arena, rows, n, &x);
	return x;
}

static int64_t tokens_from(const struct exchange *x, int64_t seq)
{
	int64_t n = 0;
	for (size_t i = (size_t)seq - 1; i < x->n; i++)
		n += x->items[i].tokens;
	return n;
}

/* Every call has its results behind it, and no result stands alone. */
static void check_calls(struct arena *a, const struct context *x)
{
	for (size_t i = 0; i < x->n;) {
		const struct message_row *m = &x->rows[i++];
		struct jsonx_walk w;
		cr_assert_neq(m->role, ROLE_TOOL, "seq %lld has no call", (long long)m->seq);
		struct bytes calls = m->extra.n ? jsonx_member(m->extra, "tool_calls") : (struct bytes){ NULL, 0 };
		if (!calls.n)
			continue;
		jsonx_walk_begin(&w, calls);
		while (jsonx_walk_next(&w)) {
			cr_assert(i < x->n && x->rows[i].role == ROLE_TOOL, "a call of seq %lld has no result", (long long)m->seq);
			struct bytes id = jsonx_string(a, jsonx_member(w.value, "id")), to = jsonx_string(a, jsonx_member(x->rows[i].extra, "tool_call_id"));
			cr_assert(bytes_equal(id, to));
			i++;
		}
	}
}

/* What is stored from the start on is there, once, in order but for results; and nothing that is left out. */
static void check_rows(const struct exchange *all, const struct context *x)
{
	size_t n = 0, given = 0;
	int64_t last = 0;
	for (size_t i = 0; i < x->n; i++) {
		const struct message_row *m = &x->rows[i];
		given += m->seq > 0;
		if (m->role == ROLE_TOOL)
			continue;
		cr_assert_gt(m->seq, last);
		last = m->seq;
	}
	for (size_t i = x->first_seq ? (size_t)x->first_seq - 1 : all->n; i < all->n; i++)
		n += !all->items[i].is_out;
	cr_assert_eq(given, n);
}

static void check_start(const struct exchange *all, const struct context *x, int64_t budget)
{
	if (x->n == 0)
		return;
	const struct exchange_item *item = &all->items[x->first_seq - 1];
	size_t boundaries = 0;
	for (size_t i = 0; i < all->n; i++)
		boundaries += all->items[i].is_boundary;
	cr_assert(!item->is_inside && x->rows[0].seq == x->first_seq);
	cr_assert_eq(x->tokens, tokens_from(all, x->first_seq));
	if (!x->is_truncated) {
		cr_assert_leq(x->tokens, budget);
		for (int64_t seq = 1; seq < x->first_seq; seq++)
			if (!all->items[seq - 1].is_out) {
				cr_assert(item->is_boundary, "seq %lld", (long long)x->first_seq);
				break;
			}
		return;
	}
	for (size_t i = (size_t)x->first_seq; i < all->n; i++)
		cr_assert(boundaries == 0 || !all->items[i].is_boundary, "truncated, but there is a newer turn");
	cr_assert(boundaries == 0 || item->is_boundary);
	cr_assert_gt(tokens_from(all, x->first_seq) + (boundaries == 0), budget * (boundaries > 0));
}

struct run {
	int64_t start;
	int n_jumps, n_steps;
	int64_t used; /* percent of the budget, summed up */
};

/* The start moves only when what it began no longer fits, or is no longer a place to begin. */
static void check_stable(struct run *r, const struct exchange *all, const struct context *x, int64_t budget)
{
	if (r->start && x->first_seq != r->start) {
		const struct exchange_item *old = &all->items[r->start - 1];
		cr_assert(x->first_seq > r->start || !old->is_boundary, "the start went back from %lld to %lld", (long long)r->start, (long long)x->first_seq);
		cr_assert(tokens_from(all, r->start) > budget || (!old->is_boundary && r->start > 1) || x->is_truncated,
			  "the start left %lld for %lld though %lld tokens fit into %lld", (long long)r->start, (long long)x->first_seq,
			  (long long)tokens_from(all, r->start), (long long)budget);
		r->n_jumps++;
	}
	r->start = x->first_seq;
	r->n_steps++;
	r->used += x->tokens * 100 / budget;
}

static void live(struct api *h, unsigned seed, int64_t budget, int user, int large, int steps, struct run *run_r)
{
	struct story s = { .h = h, .seed = seed * 7919 + 1, .user = user, .large = large };
	s.session = new_session(h, h->sk, NULL, NULL);
	for (int i = 0; i < steps; i++) {
		struct arena *a = arena_open(65536);
		struct task t;
		struct head head;
		struct context x;
		struct context_options o = { .tokens = budget };
		task_init(&t, a);
		tell_some(&s, 1 + dice(&s, 3));
		cr_assert_eq(head_find(&t, h->app, &h->home.id, bytes_of(s.session), &head), ERR_OK);
		head_settle(&t, h->app, &head);
		cr_assert_eq(head.last_seq, s.n);
		if (dice(&s, 4) == 0)
			head.n_tail = 0; /* what is cached makes no difference */
		cr_assert_eq(context_build(&t, h->app, &head, &o, &x), ERR_OK);
		struct exchange all = whole(h, &t, &head);
		check_calls(a, &x);
		check_rows(&all, &x);
		check_start(&all, &x, budget);
		check_stable(run_r, &all, &x, budget);
		arena_close(&a);
	}
}

/* Only tokens bound it. */
static void tune_wide(struct conf *c)
{
	c->context_messages = 1000;
}

/* MSG-7: the rules hold at every step of 20 generated histories, for budgets from a few messages to many. */
Test(context, generated_histories_keep_the_rules)
{
	struct api *h = api_open_with(0, tune_wide);
	static const struct {
		int64_t budget;
		int user, large, steps;
	} kinds[] = { { 60, 4, 0, 80 }, { 300, 4, 10, 100 }, { 1000, 3, 10, 150 }, { 1000, 1, 0, 100 }, { 3000, 5, 0, 200 } };
	for (size_t k = 0; k < COUNT(kinds); k++)
		for (unsigned seed = 0; seed < 4; seed++) {
			struct run r = { .start = 0 };
			live(h, seed * 10 + (unsigned)k, kinds[k].budget, kinds[k].user, kinds[k].large, kinds[k].steps, &r);
		}
	api_close(&h);
}

/* What a provider has cached stays of use: the start jumps seldom, and the budget is used. */
Test(context, the_start_jumps_seldom_and_the_budget_is_used)
{
	struct api *h = api_open_with(0, tune_wide);
	struct run r = { .start = 0 };
	live(h, 5, 2000, 5, 0, 300, &r);
	cr_assert(r.n_jumps >= 4 && r.n_jumps <= r.n_steps / 8, "%d jumps in %d steps", r.n_jumps, r.n_steps);
	cr_assert_geq(r.used / r.n_steps, 65, "%lld%% used", (long long)(r.used / r.n_steps));
	api_close(&h);
}

/* ---- over HTTP ---- */

static struct answer get_context(struct api *h, const char *session, const char *query)
{
	struct answer a = api_get(h, h->sk, "/v1/sessions/%s/context%s", session, query);
	must_be(a, 200);
	return a;
}

/* Each provider gets the system text, with the summary behind it, where it wants it; calls and results are in its form. */
Test(context, is_given_in_any_providers_form)
{
	struct api *h = api_open();
	struct answer agent = api_post(h, h->sk, "{\"name\":\"baker\",\"instructions\":\"You bake.\"}", "/v1/agents");
	must_be(agent, 201);
	const char *id = new_session(h, h->sk, "{\"agent\":\"baker\"}", NULL);
	append(h, id, "{\"messages\":[{\"role\":\"user\",\"content\":\"Do you bake rye bread for weddings?\"},{\"role\":\"assistant\",\"content\":\"Every morning rye bread.\"},"
		      "{\"role\":\"user\",\"content\":\"Order one\"},"
		      "{\"role\":\"assistant\",\"content\":\"\",\"tool_calls\":[{\"id\":\"t1\",\"name\":\"order\",\"arguments\":\"{\\\"n\\\":1}\"}]},"
		      "{\"role\":\"user\",\"content\":\"And?\",\"metadata\":{\"page\":3}}]}");
	struct answer c = api_post(h, h->sk, "{\"keep_messages\":3}", "/v1/sessions/%s/compress", id);
	must_be(c, 200);
	assert_int(c, "upto_seq", 2);
	struct answer own = get_context(h, id, "?format=parley");
	assert_str(own, "system", "You bake.");
	cr_assert_eq(count_at(&own, "messages"), 4);
	cr_assert(bool_at(&own, "messages[2].repaired"));
	assert_str(own, "messages[2].tool_call_id", "t1");
	cr_assert_not(raw_at(&own, "messages[2].id").n);
	struct answer o = get_context(h, id, "?format=openai"), a = get_context(h, id, "?format=anthropic"), g = get_context(h, id, "?format=gemini");
	static const char *const texts[] = { "document.messages[0].content", "document.system", "document.systemInstruction.parts[0].text" };
	const struct answer *forms[] = { &o, &a, &g };
	for (size_t i = 0; i < COUNT(texts); i++) {
		struct bytes raw = raw_at(forms[i], texts[i]);
		cr_assert(memmem(raw.p, raw.n, "You bake.", 9), "%s: %s", texts[i], forms[i]->body.p);
		cr_assert(memmem(raw.p, raw.n, "rye bread", 9), "the summary is behind it");
		assert_int(*forms[i], "tokens", int_at(&own, "tokens"));
		assert_int(*forms[i], "first_seq", 3);
		assert_int(*forms[i], "last_seq", 5);
	}
	assert_str(o, "format", "openai");
	assert_str(o, "document.messages[0].role", "system");
	assert_str(o, "document.messages[2].tool_calls[0].function.name", "order");
	assert_str(o, "document.messages[3].tool_call_id", "t1");
	assert_str(a, "document.messages[1].content[0].type", "tool_use");
	assert_str(a, "document.messages[2].content[0].type", "tool_result");
	assert_str(g, "document.contents[1].parts[0].functionCall.name", "order");
	cr_assert_not(is_null_at(&o, "aside"), "metadata is in no provider's form");
	api_close(&h);
}

Test(context, reads_other_conversations_and_catches_up)
{
	struct api *h = api_open();
	const char *id = new_session(h, h->sk, NULL, NULL);
	add_messages(h, id, 1, 6);
	struct answer s = api_get(h, h->sk, "/v1/sessions/%s", id);
	struct answer branch = api_post(h, h->sk, "{\"at\":3}", "/v1/sessions/%s/conversations/%s/branch", id, str_at(&s, "conversation_id"));
	must_be(branch, 201);
	struct answer now = get_context(h, id, ""), then = get_context(h, id, api_text(h, "?conversation=%s&min_seq=2", str_at(&s, "conversation_id")));
	assert_int(now, "last_seq", 3);
	assert_int(then, "last_seq", 6);
	struct answer few = get_context(h, id, api_text(h, "?tokens=12&conversation=%s", str_at(&s, "conversation_id")));
	cr_assert_leq(int_at(&few, "tokens"), 12);
	cr_assert_geq(count_at(&few, "messages"), 1);
	cr_assert_not(bool_at(&few, "truncated"));
	struct answer tiny = get_context(h, id, "?tokens=1");
	cr_assert(bool_at(&tiny, "truncated"));
	cr_assert_eq(count_at(&tiny, "messages"), 1);
	api_close(&h);
}
