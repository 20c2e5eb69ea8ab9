/* SPDX-License-Identifier: MIT */
/*
 * spend: owns the table spend and the process's prices. A row is a session's (period 0), or a user's or the site's on one day (period YYYYMMDD, UTC);
 * months are added up from days. Invariants: a turn is entered in all of its rows in the transaction that ends it, so once; rows are locked in the
 * order session, user, site, behind every other lock of that transaction. The site's row of the day is the one that all turns of a site share, and
 * therefore the last. Counters stay at COUNT_MAX when they would go past it.
 */
#include "app/spend.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "app/render.h"
#include "base/log.h"
#include "base/metrics.h"
#include "base/stamp.h"
#include "base/tokens.h"

#define FILE_MAX ((size_t)1 << 20)
#define CURRENCY_MAX 16
#define DAY_MS INT64_C(86400000)
#define KEEP_MS (62 * DAY_MS) /* a user's days: this month and the one before */

enum scope_of { OF_SESSION = 1, OF_USER = 2, OF_SITE = 3 }; /* stored */

#define COUNT_MAX "9000000000000000000"
#define ROW "(?, ?, ?, ?, ?, ?, ?, ?, ?)"
#define ROW_ARGS 9
#define INTO "INSERT INTO spend (site, scope, subject, period, nano, input_tokens, output_tokens, turns, updated_at) VALUES "
#define RAISE_MARIADB(c) #c " = " #c " + LEAST(VALUES(" #c "), " COUNT_MAX " - " #c ")"
#define RAISE_SQLITE(c) #c " = " #c " + MIN(excluded." #c ", " COUNT_MAX " - " #c ")"
#define ADD(rows)                                                                                                      \
	{ INTO rows " ON DUPLICATE KEY UPDATE " RAISE_MARIADB(nano) ", " RAISE_MARIADB(input_tokens) ", " RAISE_MARIADB(output_tokens)  \
	  ", turns = turns + VALUES(turns), updated_at = VALUES(updated_at)",                                                      \
	  INTO rows " ON CONFLICT (site, scope, subject, period) DO UPDATE SET " RAISE_SQLITE(nano) ", " RAISE_SQLITE(input_tokens) ", " \
	  RAISE_SQLITE(output_tokens) ", turns = turns + excluded.turns, updated_at = excluded.updated_at", NULL }
#define SESSION_SQL "SELECT status FROM sessions WHERE id = ? AND site = ?"
#define SPENT(scope) "SELECT scope, period, nano FROM spend WHERE site = ? AND scope = " #scope " AND subject = ? AND period BETWEEN ? AND ?"

enum { ADD_ONE, ADD_TWO, ADD_THREE, CHECK, DAYS, FORGET, OLD, SESSION };
static const struct db_stmt stmts[] = {
	[ADD_ONE] = ADD(ROW),
	[ADD_TWO] = ADD(ROW ", " ROW),
	[ADD_THREE] = ADD(ROW ", " ROW ", " ROW),
	[CHECK] = { SPENT(1) " UNION ALL " SPENT(2) " UNION ALL " SPENT(3), NULL, NULL },
	[DAYS] = { "SELECT period, turns, input_tokens, output_tokens, nano FROM spend WHERE site = ? AND scope = ? AND subject = ? AND period BETWEEN ? AND ?"
		   " ORDER BY period", NULL, NULL },
	[FORGET] = { "DELETE FROM spend WHERE site = ? AND scope = 1 AND subject = ? AND period = 0", NULL, NULL },
	[SESSION] = { SESSION_SQL " LOCK IN SHARE MODE", SESSION_SQL, NULL },
	[OLD] = { "DELETE FROM spend WHERE scope = 2 AND period < ? ORDER BY period LIMIT ?",
		  "DELETE FROM spend WHERE (site, scope, subject, period) IN"
		  " (SELECT site, scope, subject, period FROM spend WHERE scope = 2 AND period < ? ORDER BY period LIMIT ?)", "the janitor's, of all sites" },
};

static const struct ident no_subject; /* the site's */

struct spend_prices {
	struct arena *arena;
	struct price_table table;
};

/* ---- prices ---- */

static enum err read_file(struct task *t, const char *path, struct bytes *text_r)
{
	char *text = arena_alloc(t->arena, FILE_MAX + 1);
	FILE *f = fopen(path, "re");
	if (!f)
		return task_fail(t, ERR_CONFIG, "price_file: %s cannot be read: %s", path, strerror(errno));
	*text_r = (struct bytes){ text, fread(text, 1, FILE_MAX + 1, f) };
	bool is_broken = ferror(f) != 0;
	fclose(f);
	if (is_broken)
		return task_fail(t, ERR_CONFIG, "price_file: %s cannot be read", path);
	return text_r->n > FILE_MAX ? task_fail(t, ERR_CONFIG, "price_file: %s is larger than %zu bytes", path, FILE_MAX) : ERR_OK;
}

static bool is_currency(const char *name)
{
	size_t n = 0;
	for (; (name[n] >= 'A' && name[n] <= 'Z') || (name[n] >= 'a' && name[n] <= 'z'); n++)
		;
	return n >= 1 && n <= CURRENCY_MAX && !name[n];
}

static enum err check_settings(struct task *t, const struct conf *conf)
{
	int64_t nano;
	if (!is_currency(conf->currency))
		return task_fail(t, ERR_CONFIG, "currency: must be 1 to %d letters", CURRENCY_MAX);
	for (enum cap k = CAP_SESSION; k < CAP_COUNT; k++)
		if (!site_cap_of_install(conf, k, &nano))
			return task_fail(t, ERR_CONFIG, "spend_cap_%s: must be a decimal number such as 2.5, or empty", site_cap_name(k));
	return ERR_OK;
}

static enum err read_prices(struct task *t, const struct conf *conf, struct spend_prices *p)
{
	struct bytes text;
	enum err e = price_parse(t, p->arena, "prices", 0, bytes_of(conf->prices), &p->table);
	if (e || !*conf->price_file)
		return e;
	e = read_file(t, conf->price_file, &text);
	return e ? e : price_parse(t, p->arena, conf->price_file, 1, text, &p->table);
}

enum err spend_open(struct task *t, const struct conf *conf, struct spend_prices **p_r)
{
	struct spend_prices *p = calloc(1, sizeof *p);
	if (!p)
		abort();
	p->arena = arena_open(1024);
	*p_r = p;
	enum err e = check_settings(t, conf);
	return e ? e : read_prices(t, conf, p);
}

void spend_close(struct spend_prices **p)
{
	if (!*p)
		return;
	arena_close(&(*p)->arena);
	free(*p);
	*p = NULL;
}

/* The built-in echo costs nothing unless the table says otherwise. */
static bool find_price(const struct app *app, struct bytes provider, struct bytes model, struct bytes answered, struct price *price_r)
{
	if (price_find(&app->prices->table, provider, model, answered, price_r))
		return true;
	memset(price_r, 0, sizeof *price_r);
	return bytes_equal(provider, BYTES("echo"));
}

static bool is_free(const struct price *p)
{
	return p->input == 0 && p->output == 0 && p->cached == 0;
}

/* ---- one turn's bill ---- */

static int64_t plus(int64_t a, int64_t b)
{
	int64_t sum;
	return b <= 0 ? a : __builtin_add_overflow(a, b, &sum) ? INT64_MAX : sum;
}

void spend_charge(const struct app *app, struct spend_bill *bill, struct bytes provider, struct bytes model, struct bytes answered,
		  const struct llm_usage *usage)
{
	struct price price;
	int64_t nano = 0, input = usage->input_tokens;
	bool is_known = find_price(app, provider, model, answered, &price);
	if (usage->cached_tokens > input && input >= 0) /* some servers leave out of the input what they had read before */
		input = plus(input, usage->cached_tokens);
	if (is_known && !is_free(&price))
		is_known = usage->is_known && price_cost(&price, input, usage->cached_tokens, usage->output_tokens, &nano);
	bill->input_tokens = plus(bill->input_tokens, input);
	bill->output_tokens = plus(bill->output_tokens, usage->output_tokens);
	bill->nano = plus(bill->nano, nano);
	bill->is_unknown = bill->is_unknown || !is_known;
	if (is_known)
		metric_add(METRIC_cost_nano_total, nano);
	else
		metric_add(METRIC_calls_unpriced_total, 1);
}

/* What a call may have used that was cut off: all of its prompt, and the text that came. */
static struct llm_usage estimate(struct task *t, const struct llm_request *rq, const struct llm_result *result)
{
	struct llm_usage u = { .input_tokens = tokens_of_text(rq->instructions), .is_known = true };
	for (size_t i = 0; i < rq->n_messages; i++)
		u.input_tokens += TOKENS_MESSAGE + tokens_of_content(t->arena, rq->messages[i].content) + tokens_of_text(rq->messages[i].extra);
	for (size_t i = 0; i < rq->n_tools; i++)
		u.input_tokens += TOKENS_MESSAGE + tokens_of_text(rq->tools[i].description) + tokens_of_text(rq->tools[i].parameters);
	u.output_tokens = tokens_of_text(result->text) + tokens_of_text(result->tool_calls);
	return u;
}

void spend_charge_call(struct task *t, const struct app *app, struct spend_bill *bill, struct bytes provider, struct bytes model,
		       const struct llm_request *rq, const struct llm_result *result)
{
	struct llm_usage usage = result->usage, guess;
	if (!usage.is_known || usage.is_partial) {
		guess = estimate(t, rq, result);
		if (!usage.is_known)
			usage = guess;
		else if (guess.output_tokens > usage.output_tokens)
			usage.output_tokens = guess.output_tokens;
	}
	spend_charge(app, bill, provider, model, result->model, &usage);
}

int64_t spend_cost(const struct spend_bill *bill)
{
	return bill->is_unknown ? PRICE_UNKNOWN : bill->nano;
}

/* ---- periods ---- */

static struct tm day_of(int64_t unix_ms)
{
	struct tm tm;
	time_t s = (time_t)(unix_ms / 1000);
	gmtime_r(&s, &tm);
	return tm;
}

int64_t spend_date(int64_t unix_ms)
{
	struct tm tm = day_of(unix_ms);
	return (tm.tm_year + 1900) * INT64_C(10000) + (tm.tm_mon + 1) * 100 + tm.tm_mday;
}

static int64_t first_of_month(int64_t date)
{
	return date - date % 100 + 1;
}

/* When what is capped begins anew, in milliseconds. */
static int64_t next_day(int64_t now)
{
	return (now / DAY_MS + 1) * DAY_MS;
}

static int64_t next_month(int64_t now)
{
	struct tm tm = day_of(now);
	struct tm next = { .tm_year = tm.tm_year, .tm_mon = tm.tm_mon + 1, .tm_mday = 1 };
	return (int64_t)timegm(&next) * 1000;
}

/* ---- caps ---- */

/* A reached cap of those further up keeps the others from mattering: it lasts longer. */
static const struct {
	enum cap cap;
	const char *of;
	int64_t (*free_at)(int64_t now); /* NULL: never */
} caps[] = {
	{ CAP_SESSION, "this session", NULL },
	{ CAP_SITE_MONTH, "the site in this month", next_month },
	{ CAP_USER_MONTH, "this user in this month", next_month },
	{ CAP_SITE_DAY, "the site today", next_day },
	{ CAP_USER_DAY, "this user today", next_day },
};

static enum err refuse(struct task *t, size_t i, int64_t now)
{
	char text[STAMP_SIZE];
	metric_add(METRIC_turns_capped_total, 1);
	if (!caps[i].free_at)
		return task_fail(t, ERR_SPEND_CAP, "what %s may cost is spent", caps[i].of);
	int64_t at = caps[i].free_at(now);
	stamp_format(at, text);
	enum err e = task_fail(t, ERR_SPEND_CAP, "what %s may cost is spent; it goes on at %s", caps[i].of, text);
	t->fault.retry_after_s = (int)((at - now + 999) / 1000);
	return e;
}

/* What is spent, by cap. */
static enum err read_spent(struct task *t, struct app *app, const struct spend_who *who, const int64_t limit[CAP_COUNT], int64_t now, int64_t spent_r[CAP_COUNT])
{
	int64_t today = spend_date(now), first = first_of_month(today);
	const struct ident *session = who->session ? who->session : &no_subject, *user = who->user ? who->user : &no_subject;
	bool has_session = who->session && limit[CAP_SESSION] != CAP_NONE;
	bool has_user = who->user && (limit[CAP_USER_DAY] != CAP_NONE || limit[CAP_USER_MONTH] != CAP_NONE);
	bool has_site = limit[CAP_SITE_DAY] != CAP_NONE || limit[CAP_SITE_MONTH] != CAP_NONE;
	struct db_rows *r;
	/* What nobody asks for is read from no days at all, and of a month that has no cap only this one. */
	enum err e = store_query(t, app, &stmts[CHECK],
				 DB_ARGS(db_ident(who->site), db_ident(session), db_int(has_session ? 0 : 1), db_int(0),
					 db_ident(who->site), db_ident(user), db_int(limit[CAP_USER_MONTH] != CAP_NONE ? first : today), db_int(has_user ? today : 0),
					 db_ident(who->site), db_ident(&no_subject), db_int(limit[CAP_SITE_MONTH] != CAP_NONE ? first : today),
					 db_int(has_site ? today : 0)), &r);
	memset(spent_r, 0, CAP_COUNT * sizeof *spent_r);
	for (size_t i = 0; !e && i < r->n_rows; i++) {
		int64_t scope = db_cell_int(r, i, 0), nano = db_cell_int(r, i, 2);
		bool is_today = db_cell_int(r, i, 1) == today;
		enum cap day = scope == OF_USER ? CAP_USER_DAY : CAP_SITE_DAY, month = scope == OF_USER ? CAP_USER_MONTH : CAP_SITE_MONTH;
		if (scope == OF_SESSION) {
			spent_r[CAP_SESSION] = nano;
			continue;
		}
		spent_r[month] = plus(spent_r[month], nano);
		spent_r[day] = is_today ? nano : spent_r[day];
	}
	return e;
}

/* What is known of an agent's prices, its fallbacks included. */
struct pricing {
	bool is_known, is_free;
};

static void add_model(const struct app *app, struct bytes provider, struct bytes model, struct pricing *p)
{
	struct price price;
	bool is_known = find_price(app, provider, model, (struct bytes){ NULL, 0 }, &price);
	p->is_known = p->is_known && is_known;
	p->is_free = p->is_free && is_known && is_free(&price);
}

static struct pricing pricing_of(struct task *t, const struct app *app, const struct agent *agent)
{
	struct pricing p = { true, true };
	struct jsonx_walk w;
	add_model(app, agent->provider, agent->model, &p);
	if (!agent->fallbacks.n || !render_is_sound(t, agent->fallbacks, JSONX_ARRAY))
		return p;
	for (jsonx_walk_begin(&w, agent->fallbacks); jsonx_walk_next(&w);) {
		struct bytes provider = jsonx_member(w.value, "provider"), model = jsonx_member(w.value, "model");
		if (jsonx_type(provider) != JSONX_STRING)
			continue;
		add_model(app, jsonx_string(t->arena, provider), jsonx_type(model) == JSONX_STRING ? jsonx_string(t->arena, model) : BYTES(""), &p);
	}
	return p;
}

enum err spend_check(struct task *t, struct app *app, const struct agent *agent, const struct spend_who *who, int64_t now)
{
	struct site site;
	int64_t limit[CAP_COUNT], spent[CAP_COUNT];
	bool has_cap = false;
	enum err e = site_find(t, app, who->site, &site);
	if (e)
		return e;
	for (enum cap k = CAP_SESSION; k < CAP_COUNT; k++) {
		limit[k] = site_cap(app->conf, &site, k);
		has_cap = has_cap || limit[k] != CAP_NONE;
	}
	if (!has_cap)
		return ERR_OK;
	struct pricing p = pricing_of(t, app, agent);
	if (p.is_free)
		return ERR_OK;
	if (!p.is_known && app->conf->price_required) {
		metric_add(METRIC_turns_capped_total, 1);
		return task_fail(t, ERR_SPEND_CAP, "there is a cap on spending, and what the agent's model costs is not known");
	}
	e = read_spent(t, app, who, limit, now, spent);
	for (size_t i = 0; !e && i < COUNT(caps); i++)
		if (limit[caps[i].cap] != CAP_NONE && spent[caps[i].cap] >= limit[caps[i].cap])
			return refuse(t, i, now);
	return e;
}

/* ---- counters ---- */

static struct db_arg *put_row(struct db_arg *at, enum scope_of scope, const struct spend_who *who, const struct ident *subject, int64_t period,
			      const struct spend_bill *bill, int turns, int64_t now)
{
	*at++ = db_ident(who->site);
	*at++ = db_int(scope);
	*at++ = db_ident(subject);
	*at++ = db_int(period);
	*at++ = db_int(bill->nano);
	*at++ = db_int(bill->input_tokens);
	*at++ = db_int(bill->output_tokens);
	*at++ = db_int(turns);
	*at++ = db_int(now);
	return at;
}

static bool is_nothing(const struct spend_bill *bill)
{
	return bill->nano == 0 && bill->input_tokens == 0 && bill->output_tokens == 0 && !bill->is_unknown;
}

static enum err add_rows(struct task *t, struct db_conn *c, const struct spend_who *who, const struct spend_bill *bill, int turns, int64_t now)
{
	struct db_arg args[3 * ROW_ARGS], *end = args;
	int64_t today = spend_date(now);
	if (who->session)
		end = put_row(end, OF_SESSION, who, who->session, 0, bill, turns, now);
	if (who->user)
		end = put_row(end, OF_USER, who, who->user, today, bill, turns, now);
	end = put_row(end, OF_SITE, who, &no_subject, today, bill, turns, now);
	size_t n = (size_t)(end - args);
	return db_run(t, c, &stmts[ADD_ONE + n / ROW_ARGS - 1], args, n, NULL);
}

enum err spend_add(struct task *t, struct db_conn *c, const struct spend_who *who, const struct spend_bill *bill, int64_t now)
{
	return is_nothing(bill) ? ERR_OK : add_rows(t, c, who, bill, 1, now);
}

struct payment {
	struct spend_who who;
	const struct spend_bill *bill;
	int turns;
};

/* Holds the session's row, so that a deletion comes either before this or behind it and takes its row of spending along. */
static enum err pay_in(struct task *t, struct db_conn *c, void *arg)
{
	const struct payment *x = arg;
	struct spend_who who = x->who;
	struct db_rows *r;
	enum err e = ERR_OK;
	if (who.session)
		e = db_query(t, c, &stmts[SESSION], DB_ARGS(db_ident(who.session), db_ident(who.site)), &r);
	if (!e && who.session && r->n_rows == 0)
		who.session = NULL;
	return e ? e : add_rows(t, c, &who, x->bill, x->turns, stamp_now());
}

void spend_pay(struct task *t, struct app *app, const struct spend_who *who, const struct spend_bill *bill, int turns)
{
	struct fault kept = t->fault;
	struct payment x = { *who, bill, turns };
	enum err e = is_nothing(bill) ? ERR_OK : store_transact(t, app, pay_in, &x);
	if (e)
		log_error(t, "spend_not_counted", { "nano", NULL, bill->nano }, { "code", err_code(e), 0 }, { "internal", t->fault.internal ? t->fault.internal : "", 0 });
	t->fault = kept;
}

enum err spend_forget(struct task *t, struct db_conn *c, const struct ident *site, const struct ident *session)
{
	return db_run(t, c, &stmts[FORGET], DB_ARGS(db_ident(site), db_ident(session)), NULL);
}

static enum err read_days(struct task *t, struct app *app, const struct ident *site, enum scope_of scope, const struct ident *subject, int64_t from, int64_t to,
			  struct spend_day **days_r, size_t *n_r)
{
	struct db_rows *r;
	*n_r = 0;
	enum err e = store_query(t, app, &stmts[DAYS], DB_ARGS(db_ident(site), db_int(scope), db_ident(subject), db_int(from), db_int(to)), &r);
	if (e)
		return e;
	*days_r = arena_array(t->arena, r->n_rows, sizeof **days_r);
	for (size_t i = 0; i < r->n_rows; i++)
		(*days_r)[i] = (struct spend_day){ db_cell_int(r, i, 0), { db_cell_int(r, i, 1), db_cell_int(r, i, 2), db_cell_int(r, i, 3), db_cell_int(r, i, 4) } };
	*n_r = r->n_rows;
	return ERR_OK;
}

enum err spend_read_session(struct task *t, struct app *app, const struct ident *site, const struct ident *session, struct spend_sum *sum_r)
{
	struct spend_day *life;
	size_t n;
	enum err e = read_days(t, app, site, OF_SESSION, session, 0, 0, &life, &n);
	*sum_r = e ? (struct spend_sum){ 0 } : spend_total(life, n);
	return e;
}

enum err spend_read_month(struct task *t, struct app *app, const struct ident *site, const struct ident *user, int64_t month, struct spend_day **days_r,
			  size_t *n_r)
{
	return read_days(t, app, site, user ? OF_USER : OF_SITE, user ? user : &no_subject, month * 100 + 1, month * 100 + 31, days_r, n_r);
}

struct spend_sum spend_total(const struct spend_day *days, size_t n)
{
	struct spend_sum s = { 0 };
	for (size_t i = 0; i < n; i++) {
		s.turns = plus(s.turns, days[i].sum.turns);
		s.input_tokens = plus(s.input_tokens, days[i].sum.input_tokens);
		s.output_tokens = plus(s.output_tokens, days[i].sum.output_tokens);
		s.nano = plus(s.nano, days[i].sum.nano);
	}
	return s;
}

void spend_render(struct buf *b, const struct spend_sum *s)
{
	buf_member_int(b, "turns", s->turns);
	buf_member_int(b, "input_tokens", s->input_tokens);
	buf_member_int(b, "output_tokens", s->output_tokens);
	buf_add_member(b, "cost");
	price_add_amount(b, s->nano);
}

/* Days of users that no cap looks at any more. */
static enum err sweep(struct task *t, struct app *app, int64_t *n_r)
{
	int64_t n;
	enum err e = store_run(t, app, &stmts[OLD], DB_ARGS(db_int(spend_date(stamp_now() - KEEP_MS)), db_int(app->conf->sweep_batch)), &n);
	*n_r += e ? 0 : n;
	return e;
}

const struct feature spend_feature = { .name = "spend", .stmts = stmts, .n_stmts = COUNT(stmts), .sweep = sweep, .swept = "users' days of spending forgotten" };
