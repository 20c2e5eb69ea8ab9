/* SPDX-License-Identifier: MIT */
/* test_spend: what turns cost is counted once and for whom it should, and a cap ends it when it is reached (TRN-11). */
#include "harness.h"

#include <unistd.h>

#include "app/head.h"
#include "app/spend.h"

#define SECOND INT64_C(1000)
#define HOUR (3600 * SECOND)
#define DAY (24 * HOUR)
#define NOON INT64_C(1795262400000) /* 2026-11-21T12:00:00Z */
#define UNIT INT64_C(1000000000)

static void priced(struct conf *c)
{
	c->key_ttl = 0; /* caps hold at once */
	c->prices = "echo:*=1000/2000, local:*=0/0, cloud:big=10/20";
	c->sweep_batch = 100;
}

/* One of a site's users and sessions, made up: nothing here needs the rows themselves. */
struct person {
	struct ident user, session;
	struct spend_who who;
};

static void make_person(struct person *p, const struct ident *site)
{
	p->user = ident_new();
	p->session = ident_new();
	p->who = (struct spend_who){ site, &p->user, &p->session };
}

struct entry {
	const struct spend_who *who;
	struct spend_bill bill;
	int64_t now;
};

static enum err enter_in(struct task *t, struct db_conn *c, void *arg)
{
	const struct entry *x = arg;
	return spend_add(t, c, x->who, &x->bill, x->now);
}

static void spend(struct api *h, const struct person *p, int64_t nano, int64_t now)
{
	struct entry x = { &p->who, { .input_tokens = 10, .output_tokens = 20, .nano = nano }, now };
	cr_assert_eq(store_transact(&h->task, h->app, enter_in, &x), ERR_OK, "%s", h->task.fault.internal);
}

static struct agent agent_named(const char *provider, const char *model)
{
	return (struct agent){ .provider = bytes_of(provider), .model = bytes_of(model) };
}

static enum err check(struct api *h, const struct person *p, int64_t now)
{
	struct agent a = agent_named("echo", "");
	task_clear_fault(&h->task);
	return spend_check(&h->task, h->app, &a, &p->who, now);
}

static void set_cap(struct api *h, const struct api_site *s, enum cap k, int64_t nano)
{
	struct site_change in = { .title = { NULL, 0 } };
	in.caps[k].is_given = true;
	in.caps[k].nano = nano;
	cr_assert_eq(site_change(&h->task, h->app, bytes_of(s->name), &in), ERR_OK, "%s", h->task.fault.detail);
}

static struct spend_sum of_session(struct api *h, const struct person *p)
{
	struct spend_sum s;
	cr_assert_eq(spend_read_session(&h->task, h->app, p->who.site, &p->session, &s), ERR_OK);
	return s;
}

static struct spend_sum of_month(struct api *h, const struct ident *site, const struct ident *user, int64_t month)
{
	struct spend_day *days;
	size_t n;
	cr_assert_eq(spend_read_month(&h->task, h->app, site, user, month, &days, &n), ERR_OK);
	return spend_total(days, n);
}

Test(spend, is_counted_for_session_user_and_site)
{
	struct api *h = api_open_with(0, priced);
	struct api_site other = api_add_site(h, "https://other.example");
	struct person ann, bob, far;
	make_person(&ann, &h->home.id);
	make_person(&bob, &h->home.id);
	make_person(&far, &other.id);
	spend(h, &ann, 3, NOON);
	spend(h, &ann, 4, NOON + DAY);
	spend(h, &bob, 5, NOON);
	spend(h, &far, 100, NOON);
	struct spend_sum s = of_session(h, &ann);
	cr_assert(s.nano == 7 && s.turns == 2 && s.input_tokens == 20 && s.output_tokens == 40);
	cr_assert_eq(of_session(h, &bob).nano, 5);
	cr_assert_eq(of_month(h, &h->home.id, &ann.user, 202611).nano, 7);
	cr_assert_eq(of_month(h, &h->home.id, &ann.user, 202612).nano, 0);
	cr_assert_eq(of_month(h, &other.id, &ann.user, 202611).nano, 0, "another site's user of the same name is another");
	s = of_month(h, &h->home.id, NULL, 202611);
	cr_assert(s.nano == 12 && s.turns == 3);
	cr_assert_eq(of_month(h, &other.id, NULL, 202611).nano, 100);
	struct spend_day *days;
	size_t n;
	cr_assert_eq(spend_read_month(&h->task, h->app, &h->home.id, NULL, 202611, &days, &n), ERR_OK);
	cr_assert(n == 2 && days[0].date == 20261121 && days[0].sum.nano == 8 && days[1].date == 20261122 && days[1].sum.nano == 4);
	api_close(&h);
}

Test(spend, who_is_not_known_is_left_out)
{
	struct api *h = api_open_with(0, priced);
	struct person p;
	make_person(&p, &h->home.id);
	struct spend_who gone = { &h->home.id, &p.user, NULL }, nobody = { &h->home.id, NULL, NULL };
	struct entry entries[] = { { &gone, { .nano = 1 }, NOON }, { &nobody, { .nano = 2 }, NOON }, { &p.who, { 0 }, NOON },
				   { &p.who, { .is_unknown = true, .input_tokens = 7 }, NOON } };
	for (size_t i = 0; i < COUNT(entries); i++)
		cr_assert_eq(store_transact(&h->task, h->app, enter_in, &entries[i]), ERR_OK, "%s", h->task.fault.internal);
	struct spend_sum s = of_session(h, &p);
	cr_assert(s.turns == 1 && s.nano == 0 && s.input_tokens == 7, "a bill of nothing is not entered, one of unknown cost is");
	cr_assert_eq(of_month(h, &h->home.id, &p.user, 202611).nano, 1);
	cr_assert_eq(of_month(h, &h->home.id, NULL, 202611).nano, 3);
	api_close(&h);
}

struct crowd {
	struct api *h;
	struct person people[2];
};

static void spend_some(void *arg, int i)
{
	struct crowd *x = arg;
	struct arena *a = arena_open(4096);
	for (int k = 0; k < 25; k++) {
		struct person p = x->people[i % 2];
		struct ident own = ident_new();
		struct task t;
		task_init(&t, a);
		p.who.user = &p.user;
		p.who.session = k % 2 ? &p.session : &own; /* each turn a new row, or all the same */
		struct entry e = { &p.who, { .input_tokens = 1, .output_tokens = 1, .nano = 1 }, NOON };
		if (store_transact(&t, x->h->app, enter_in, &e) != ERR_OK)
			abort();
		arena_reset(a);
	}
	arena_close(&a);
}

/* Many turns of a user end at once, and of a site. */
Test(spend, nothing_is_lost_between_turns_that_end_together, .timeout = 60)
{
	struct crowd x = { .h = api_open_with(API_FILE, priced) };
	make_person(&x.people[0], &x.h->home.id);
	make_person(&x.people[1], &x.h->home.id);
	in_parallel(8, spend_some, &x);
	struct spend_sum s = of_month(x.h, &x.h->home.id, NULL, 202611);
	cr_assert(s.nano == 200 && s.turns == 200 && s.input_tokens == 200 && s.output_tokens == 200, "%lld", (long long)s.nano);
	for (int i = 0; i < 2; i++) {
		cr_assert_eq(of_month(x.h, &x.h->home.id, &x.people[i].user, 202611).nano, 100);
		cr_assert_eq(of_session(x.h, &x.people[i]).nano, 48);
	}
	api_close(&x.h);
}

static enum err enter_and_fail_in(struct task *t, struct db_conn *c, void *arg)
{
	enum err e = enter_in(t, c, arg);
	return e ? e : task_fail(t, ERR_CONFLICT, "the turn was ended meanwhile");
}

Test(spend, goes_with_its_transaction)
{
	struct api *h = api_open_with(0, priced);
	struct person p;
	make_person(&p, &h->home.id);
	struct entry x = { &p.who, { .nano = 5 }, NOON };
	cr_assert_eq(store_transact(&h->task, h->app, enter_and_fail_in, &x), ERR_CONFLICT);
	cr_assert_eq(of_session(h, &p).turns, 0);
	cr_assert_eq(of_month(h, &h->home.id, NULL, 202611).turns, 0);
	api_close(&h);
}

Test(spend, counters_end_where_they_would_overflow)
{
	struct api *h = api_open_with(0, priced);
	struct person p;
	make_person(&p, &h->home.id);
	for (int i = 0; i < 3; i++) {
		struct entry x = { &p.who, { .input_tokens = INT64_MAX, .output_tokens = INT64_MAX / 2, .nano = INT64_MAX / 3 * 2 }, NOON + i * DAY };
		cr_assert_eq(store_transact(&h->task, h->app, enter_in, &x), ERR_OK, "%s", h->task.fault.internal);
	}
	struct spend_sum s = of_session(h, &p);
	cr_assert_eq(s.turns, 3);
	cr_assert_geq(s.input_tokens, INT64_C(9000000000000000000));
	cr_assert_eq(s.nano, INT64_C(9000000000000000000));
	cr_assert_eq(of_month(h, &h->home.id, NULL, 202611).nano, INT64_MAX);
	set_cap(h, &h->home, CAP_SITE_MONTH, INT64_MAX);
	cr_assert_eq(check(h, &p, NOON + 2 * DAY), ERR_SPEND_CAP);
	api_close(&h);
}

/* ---- caps ---- */

Test(spend, no_cap_asks_nothing_of_the_database)
{
	struct api *h = api_open_with(0, priced);
	struct person p;
	make_person(&p, &h->home.id);
	spend(h, &p, 1000 * UNIT, NOON);
	cr_assert_eq(check(h, &p, NOON), ERR_OK);
	api_close(&h);
}

Test(spend, a_sessions_cap_is_for_its_whole_life)
{
	struct api *h = api_open_with(0, priced);
	struct person p, next;
	make_person(&p, &h->home.id);
	make_person(&next, &h->home.id);
	set_cap(h, &h->home, CAP_SESSION, 2 * UNIT);
	spend(h, &p, UNIT, NOON);
	spend(h, &p, UNIT - 1, NOON + 40 * DAY);
	cr_assert_eq(check(h, &p, NOON + 80 * DAY), ERR_OK, "it is not reached yet");
	spend(h, &p, 1, NOON + 80 * DAY);
	cr_assert_eq(check(h, &p, NOON + 400 * DAY), ERR_SPEND_CAP);
	cr_assert_eq(h->task.fault.retry_after_s, 0, "it never ends");
	cr_assert_not_null(strstr(h->task.fault.detail, "this session"));
	cr_assert_eq(check(h, &next, NOON), ERR_OK);
	next.who.session = NULL;
	cr_assert_eq(check(h, &next, NOON), ERR_OK, "one that is not there yet has cost nothing");
	api_close(&h);
}

Test(spend, a_users_caps_end_with_the_day_and_the_month)
{
	struct api *h = api_open_with(0, priced);
	struct person p, other;
	make_person(&p, &h->home.id);
	make_person(&other, &h->home.id);
	set_cap(h, &h->home, CAP_USER_DAY, 2 * UNIT);
	set_cap(h, &h->home, CAP_USER_MONTH, 5 * UNIT);
	spend(h, &p, 2 * UNIT, NOON);
	cr_assert_eq(check(h, &p, NOON), ERR_SPEND_CAP);
	cr_assert_eq(h->task.fault.retry_after_s, 12 * 3600);
	cr_assert_not_null(strstr(h->task.fault.detail, "this user today"), "%s", h->task.fault.detail);
	cr_assert_not_null(strstr(h->task.fault.detail, "2026-11-22T00:00:00.000Z"));
	struct ident elsewhere = ident_new();
	p.who.session = &elsewhere;
	cr_assert_eq(check(h, &p, NOON), ERR_SPEND_CAP, "in all sessions");
	cr_assert_eq(check(h, &other, NOON), ERR_OK);
	cr_assert_eq(check(h, &p, NOON + 12 * HOUR - 1), ERR_SPEND_CAP);
	cr_assert_eq(h->task.fault.retry_after_s, 1);
	cr_assert_eq(check(h, &p, NOON + 12 * HOUR), ERR_OK, "the next day");
	spend(h, &p, 3 * UNIT, NOON + DAY);
	cr_assert_eq(check(h, &p, NOON + 2 * DAY), ERR_SPEND_CAP);
	cr_assert_not_null(strstr(h->task.fault.detail, "this user in this month"));
	cr_assert_not_null(strstr(h->task.fault.detail, "2026-12-01T00:00:00.000Z"));
	cr_assert_eq(h->task.fault.retry_after_s, 7 * 86400 + 12 * 3600);
	cr_assert_eq(check(h, &p, NOON + DAY), ERR_SPEND_CAP);
	cr_assert_not_null(strstr(h->task.fault.detail, "month"), "the cap that lasts longer is told");
	cr_assert_eq(check(h, &p, NOON + 10 * DAY), ERR_OK, "the next month");
	api_close(&h);
}

Test(spend, a_sites_caps_hold_for_all_its_users_and_no_other_site)
{
	struct api *h = api_open_with(0, priced);
	struct api_site other = api_add_site(h, "https://other.example");
	struct person a, b, far, nobody;
	make_person(&a, &h->home.id);
	make_person(&b, &h->home.id);
	make_person(&far, &other.id);
	make_person(&nobody, &h->home.id);
	nobody.who = (struct spend_who){ &h->home.id, NULL, NULL };
	set_cap(h, &h->home, CAP_SITE_DAY, 3 * UNIT);
	set_cap(h, &h->home, CAP_SITE_MONTH, 4 * UNIT);
	set_cap(h, &other, CAP_SITE_DAY, UNIT);
	spend(h, &a, 2 * UNIT, NOON);
	cr_assert_eq(check(h, &b, NOON), ERR_OK);
	spend(h, &b, UNIT, NOON);
	const struct person *const all[] = { &a, &b, &nobody };
	for (size_t i = 0; i < COUNT(all); i++) {
		cr_assert_eq(check(h, all[i], NOON), ERR_SPEND_CAP);
		cr_assert_not_null(strstr(h->task.fault.detail, "the site today"));
	}
	cr_assert_eq(check(h, &far, NOON), ERR_OK);
	cr_assert_eq(check(h, &a, NOON + DAY), ERR_OK);
	spend(h, &a, UNIT, NOON + DAY);
	cr_assert_eq(check(h, &b, NOON + 5 * DAY), ERR_SPEND_CAP);
	cr_assert_not_null(strstr(h->task.fault.detail, "the site in this month"));
	cr_assert_eq(check(h, &b, NOON + 30 * DAY), ERR_OK);
	api_close(&h);
}

static void at_year_end(struct conf *c)
{
	priced(c);
	c->spend_cap_user_month = "1";
	c->spend_cap_session = "0.5";
}

/* The install's caps hold where a site says nothing, and a site may lift them. */
Test(spend, the_installs_caps_hold_unless_the_site_has_its_own)
{
	struct api *h = api_open_with(0, at_year_end);
	struct person p;
	int64_t silvester = INT64_C(1798718400000); /* 2026-12-31T12:00:00Z */
	make_person(&p, &h->home.id);
	spend(h, &p, UNIT, silvester);
	cr_assert_eq(check(h, &p, silvester), ERR_SPEND_CAP);
	cr_assert_eq(h->task.fault.retry_after_s, 0, "the session's");
	set_cap(h, &h->home, CAP_SESSION, CAP_NONE);
	cr_assert_eq(check(h, &p, silvester), ERR_SPEND_CAP);
	cr_assert_eq(h->task.fault.retry_after_s, 12 * 3600);
	cr_assert_not_null(strstr(h->task.fault.detail, "2027-01-01T00:00:00.000Z"));
	set_cap(h, &h->home, CAP_USER_MONTH, 2 * UNIT);
	cr_assert_eq(check(h, &p, silvester), ERR_OK);
	set_cap(h, &h->home, CAP_USER_MONTH, CAP_UNSET);
	cr_assert_eq(check(h, &p, silvester), ERR_SPEND_CAP);
	cr_assert_eq(check(h, &p, silvester + DAY), ERR_OK);
	struct site_change bad = { .caps = { [CAP_SITE_DAY] = { true, -3 } } };
	cr_assert_eq(site_change(&h->task, h->app, bytes_of(h->home.name), &bad), ERR_INVALID);
	struct answer a = api_get(h, h->sk, "/v1/site");
	must_be(a, 200);
	cr_assert(is_null_at(&a, "spend_caps.session") && is_null_at(&a, "spend_caps.site_day"));
	assert_int(a, "spend_caps.user_month", 1);
	assert_str(a, "currency", "USD");
	api_close(&h);
}

Test(spend, nothing_may_be_spent_where_the_cap_is_0_but_what_is_free_runs)
{
	struct api *h = api_open_with(0, priced);
	struct person p;
	make_person(&p, &h->home.id);
	set_cap(h, &h->home, CAP_SITE_MONTH, 0);
	cr_assert_eq(check(h, &p, NOON), ERR_SPEND_CAP);
	struct agent local = agent_named("local", "llama"), mixed = local;
	cr_assert_eq(spend_check(&h->task, h->app, &local, &p.who, NOON), ERR_OK);
	mixed.fallbacks = BYTES("[{\"provider\":\"local\",\"model\":\"x\"},{\"provider\":\"cloud\",\"model\":\"big\"}]");
	cr_assert_eq(spend_check(&h->task, h->app, &mixed, &p.who, NOON), ERR_SPEND_CAP, "a fallback may cost something");
	api_close(&h);
}

static void strict(struct conf *c)
{
	priced(c);
	c->price_required = true;
}

Test(spend, what_has_no_price_is_refused_on_request_where_a_cap_applies)
{
	struct api *strict_one = api_open_with(API_FILE, strict), *h = strict_one;
	struct person p;
	struct agent known = agent_named("cloud", "big"), unknown = agent_named("cloud", "small"), fallback = known;
	fallback.fallbacks = BYTES("[{\"provider\":\"cloud\",\"model\":\"small\"}]");
	make_person(&p, &h->home.id);
	cr_assert_eq(spend_check(&h->task, h->app, &unknown, &p.who, NOON), ERR_OK, "no cap, no harm");
	set_cap(h, &h->home, CAP_USER_DAY, UNIT);
	cr_assert_eq(spend_check(&h->task, h->app, &unknown, &p.who, NOON), ERR_SPEND_CAP);
	cr_assert_eq(h->task.fault.retry_after_s, 0);
	cr_assert_eq(spend_check(&h->task, h->app, &fallback, &p.who, NOON), ERR_SPEND_CAP);
	cr_assert_eq(spend_check(&h->task, h->app, &known, &p.who, NOON), ERR_OK);
	struct api *lax = api_twin(h, API_FILE, priced);
	cr_assert_eq(spend_check(&lax->task, lax->app, &unknown, &p.who, NOON), ERR_OK);
	spend(h, &p, UNIT, NOON);
	cr_assert_eq(spend_check(&lax->task, lax->app, &unknown, &p.who, NOON), ERR_SPEND_CAP, "a reached cap is one for all that may cost something");
	api_close(&lax);
	api_close(&h);
}

/* ---- bills ---- */

static struct spend_bill charged(struct api *h, struct spend_bill bill, const char *provider, const char *model, const char *answered, struct llm_usage usage)
{
	spend_charge(h->app, &bill, bytes_of(provider), bytes_of(model), bytes_of(answered), &usage);
	return bill;
}

Test(spend, a_bill_adds_up_calls_and_knows_what_it_does_not_know)
{
	struct api *h = api_open_with(0, priced);
	struct llm_usage usage = { .input_tokens = 100, .output_tokens = 10, .is_known = true }, silent = { .input_tokens = 0 };
	struct spend_bill none = { 0 }, bill = charged(h, none, "cloud", "big", "", usage);
	cr_assert_eq(spend_cost(&bill), 100 * 10000 + 10 * 20000);
	bill = charged(h, bill, "echo", "", "echo", usage);
	cr_assert_eq(spend_cost(&bill), 1200000 + 100 * 1000000 + 10 * 2000000);
	cr_assert(bill.input_tokens == 200 && bill.output_tokens == 20);
	bill = charged(h, bill, "local", "x", "", silent);
	cr_assert_neq(spend_cost(&bill), PRICE_UNKNOWN, "what is free costs nothing however much it was");
	struct spend_bill unpriced = charged(h, bill, "cloud", "small", "", usage), unsaid = charged(h, bill, "cloud", "big", "", silent);
	cr_assert_eq(spend_cost(&unpriced), PRICE_UNKNOWN);
	cr_assert_eq(spend_cost(&unsaid), PRICE_UNKNOWN);
	cr_assert_eq(unpriced.nano, bill.nano, "caps still count the rest");
	cr_assert_eq(unpriced.input_tokens, 300);
	struct llm_usage apart = { .input_tokens = 10, .cached_tokens = 90, .output_tokens = 10, .is_known = true };
	struct spend_bill beside = charged(h, none, "cloud", "big", "", apart);
	cr_expect_eq(spend_cost(&beside), 1200000, "some servers leave out of the input what they had read before");
	struct spend_bill named = charged(h, none, "cloud", "alias", "big", usage);
	cr_assert_eq(spend_cost(&named), 1200000);
	struct llm_usage odd = { .input_tokens = -5, .output_tokens = INT64_MAX, .is_known = true };
	bill = charged(h, bill, "cloud", "big", "", odd);
	bill = charged(h, bill, "cloud", "big", "", odd);
	cr_assert(bill.input_tokens == 200 && bill.output_tokens == INT64_MAX && bill.is_unknown);
	api_close(&h);
}

Test(spend, echo_is_free_unless_it_has_a_price)
{
	struct api *h = api_open();
	struct llm_usage usage = { .input_tokens = 100, .output_tokens = 10, .is_known = true };
	struct spend_bill none = { 0 }, echo = charged(h, none, "echo", "m", "", usage), cloud = charged(h, none, "cloud", "m", "", usage);
	cr_assert_eq(spend_cost(&echo), 0);
	cr_assert_eq(spend_cost(&cloud), PRICE_UNKNOWN);
	api_close(&h);
}

/* ---- settings ---- */

static enum err open_prices(struct api *h, struct conf conf)
{
	struct spend_prices *p;
	task_clear_fault(&h->task);
	enum err e = spend_open(&h->task, &conf, &p);
	spend_close(&p);
	return e;
}

Test(spend, wrong_settings_are_named_at_start)
{
	struct api *h = api_open();
	struct conf conf = h->conf;
	cr_assert_eq(open_prices(h, conf), ERR_OK);
	conf.prices = "a=1/2,b=1";
	cr_assert_eq(open_prices(h, conf), ERR_CONFIG);
	cr_assert_not_null(strstr(h->task.fault.detail, "prices: \"b=1\""));
	conf = h->conf;
	conf.spend_cap_user_day = "1,5";
	cr_assert_eq(open_prices(h, conf), ERR_CONFIG);
	cr_assert_not_null(strstr(h->task.fault.detail, "spend_cap_user_day"));
	conf = h->conf;
	static const char *const currencies[] = { "", "US$", "ABCDEFGHIJKLMNOPQ", "\"" };
	for (size_t i = 0; i < COUNT(currencies); i++) {
		conf.currency = currencies[i];
		cr_assert_eq(open_prices(h, conf), ERR_CONFIG, "%s", currencies[i]);
	}
	conf = h->conf;
	conf.price_file = "/nonexistent/prices";
	cr_assert_eq(open_prices(h, conf), ERR_CONFIG);
	cr_assert_not_null(strstr(h->task.fault.detail, "/nonexistent/prices"));
	conf.price_file = "/";
	cr_assert_eq(open_prices(h, conf), ERR_CONFIG, "a directory");
	conf.price_file = "/dev/zero";
	cr_assert_eq(open_prices(h, conf), ERR_CONFIG, "a file without end");
	api_close(&h);
}

static char price_path[] = "/tmp/parley-prices-XXXXXX";

static void from_file(struct conf *c)
{
	c->prices = "a=1/1";
	c->price_file = price_path;
}

Test(spend, prices_come_from_the_setting_and_the_file)
{
	static const char text[] = "# per million\na = 5/5\nb = 2/4 # cheap\n";
	int fd = mkstemp(price_path);
	cr_assert(fd >= 0 && write(fd, text, sizeof text - 1) == (ssize_t)sizeof text - 1);
	struct api *h = api_open_with(0, from_file);
	struct llm_usage usage = { .input_tokens = 1000000, .is_known = true };
	struct spend_bill none = { 0 }, a = charged(h, none, "p", "a", "", usage), b = charged(h, none, "p", "b", "", usage);
	cr_assert_eq(spend_cost(&a), UNIT, "the setting wins");
	cr_assert_eq(spend_cost(&b), 2 * UNIT);
	close(fd);
	unlink(price_path);
	api_close(&h);
}

/* ---- going ---- */

Test(spend, a_deleted_sessions_row_goes_and_its_users_stays)
{
	struct api *h = api_open_with(0, priced);
	const char *id = new_session(h, h->sk, "{\"agent\":\"guide\",\"user\":\"ann\"}", NULL), *kept = new_session(h, h->sk, NULL, NULL);
	struct person p = { .user = head_user_ident(&h->home.id, BYTES("ann")), .session = ident_of("ses_", id) }, other;
	p.who = (struct spend_who){ &h->home.id, &p.user, &p.session };
	other = p;
	other.session = ident_of("ses_", kept);
	other.who.session = &other.session;
	spend(h, &p, UNIT, stamp_now());
	spend(h, &other, UNIT, stamp_now());
	struct answer a = api_delete(h, h->sk, "/v1/sessions/%s", id);
	must_be(a, 204);
	cr_assert_eq(of_session(h, &p).turns, 0);
	cr_assert_eq(of_session(h, &other).turns, 1);
	cr_assert_eq(of_month(h, &h->home.id, &p.user, spend_date(stamp_now()) / 100).nano, 2 * UNIT, "deleting sessions frees no user of a cap");
	cr_assert_eq(of_month(h, &h->home.id, NULL, spend_date(stamp_now()) / 100).nano, 2 * UNIT);
	api_close(&h);
}

Test(spend, old_days_of_users_are_forgotten_and_sites_are_not)
{
	struct api *h = api_open_with(API_OWN, priced);
	struct person p;
	int64_t now = stamp_now(), old = now - 63 * DAY, young = now - 60 * DAY;
	make_person(&p, &h->home.id);
	spend(h, &p, 1, old);
	spend(h, &p, 1, young);
	spend(h, &p, 1, now);
	int64_t n = 0;
	cr_assert_eq(spend_feature.sweep(&h->task, h->app, &n), ERR_OK, "%s", h->task.fault.internal);
	cr_assert_eq(n, 1);
	cr_assert_eq(sql_int(h, "SELECT COUNT(*) FROM spend WHERE scope = 2", NULL, 0), 2);
	cr_assert_eq(sql_int(h, "SELECT COUNT(*) FROM spend WHERE scope = 3", NULL, 0), 3);
	cr_assert_eq(of_session(h, &p).turns, 3);
	api_close(&h);
}

/* ---- what is shown ---- */

Test(spend, a_session_shows_what_it_cost)
{
	struct api *h = api_open_with(0, priced);
	const char *id = new_session(h, h->sk, NULL, NULL);
	struct person p = { .user = ident_new(), .session = ident_of("ses_", id) };
	p.who = (struct spend_who){ &h->home.id, &p.user, &p.session };
	spend(h, &p, 37500000, NOON);
	spend(h, &p, UNIT, NOON);
	struct answer a = api_get(h, h->sk, "/v1/sessions/%s/stats", id);
	must_be(a, 200);
	assert_int(a, "usage.turns", 2);
	assert_int(a, "usage.input_tokens", 20);
	assert_int(a, "usage.output_tokens", 40);
	cr_assert(bytes_equal(raw_at(&a, "usage.cost"), BYTES("1.0375")));
	api_close(&h);
}

Test(spend, a_site_sees_its_months_and_its_users)
{
	struct api *h = api_open_with(0, priced);
	struct api_site other = api_add_site(h, "https://other.example");
	struct person ann = { .user = head_user_ident(&h->home.id, BYTES("ann")), .session = ident_new() }, bob;
	ann.who = (struct spend_who){ &h->home.id, &ann.user, &ann.session };
	make_person(&bob, &h->home.id);
	spend(h, &ann, UNIT, NOON);
	spend(h, &bob, UNIT / 2, NOON);
	spend(h, &ann, UNIT / 4, NOON + DAY);
	spend(h, &ann, UNIT, NOON + 20 * DAY);
	set_cap(h, &h->home, CAP_SITE_MONTH, 100 * UNIT);
	struct answer a = api_get(h, h->sk, "/v1/site/spend?month=2026-11");
	must_be(a, 200);
	assert_str(a, "month", "2026-11");
	cr_assert(is_null_at(&a, "user") && is_null_at(&a, "spend_caps.session"));
	assert_int(a, "spend_caps.site_month", 100);
	assert_int(a, "total.turns", 3);
	cr_assert(bytes_equal(raw_at(&a, "total.cost"), BYTES("1.75")));
	cr_assert_eq(count_at(&a, "days"), 2);
	assert_str(a, "days[0].date", "2026-11-21");
	assert_int(a, "days[0].turns", 2);
	cr_assert(bytes_equal(raw_at(&a, "days[1].cost"), BYTES("0.25")));
	struct answer b = api_get(h, h->sk, "/v1/site/spend?month=2026-11&user=ann"), c = api_get(h, h->sk, "/v1/site/spend?user=ann"),
		      d = api_get(h, other.sk, "/v1/site/spend?month=2026-11&user=ann");
	must_be(b, 200);
	assert_str(b, "user", "ann");
	cr_assert(bytes_equal(raw_at(&b, "total.cost"), BYTES("1.25")));
	must_be(c, 200);
	must_be(d, 200);
	assert_int(d, "total.cost", 0);
	cr_assert_eq(count_at(&d, "days"), 0);
	static const char *const bad[] = { "month=2026-13", "month=2026-00", "month=202601", "month=2026.01", "month=20260-1", "month=2026-1x", "user=", "x=1" };
	for (size_t i = 0; i < COUNT(bad); i++) {
		struct answer e = api_get(h, h->sk, "/v1/site/spend?%s", bad[i]);
		assert_code(e, 400, "invalid_request");
	}
	struct answer public = ask(h, .method = "GET", .to = "/v1/site/spend", .key = h->pk, .origin = ORIGIN);
	assert_code(public, 403, "forbidden");
	api_close(&h);
}

/* ---- calls, and what is paid outside of a turn's transaction ---- */

static struct spend_bill charged_call(struct api *h, const struct llm_result *result)
{
	static const struct llm_message message = { { "user", 4 }, { "\"four words of text\"", 20 }, { NULL, 0 } };
	struct llm_request rq = { .instructions = BYTES("Be brief."), .messages = &message, .n_messages = 1 };
	struct spend_bill bill = { 0 };
	spend_charge_call(&h->task, h->app, &bill, BYTES("cloud"), BYTES("big"), &rq, result);
	return bill;
}

/* Whoever cancels before the provider has told its usage does not go free. */
Test(spend, a_call_that_was_cut_off_is_estimated)
{
	struct api *h = api_open_with(0, priced);
	struct llm_result whole = { .text = BYTES("It was"), .usage = { .input_tokens = 10, .output_tokens = 1, .is_known = true } }, silent = { .finish = LLM_STOP },
			  cut = { .text = BYTES("It was a dark and stormy") };
	struct spend_bill said = charged_call(h, &whole), nothing = charged_call(h, &silent), some = charged_call(h, &cut);
	cr_assert_eq(spend_cost(&said), 10 * 10000 + 20000);
	cr_assert(nothing.input_tokens == some.input_tokens && nothing.output_tokens == 0, "what was asked was read");
	cr_assert(some.input_tokens >= 6 && some.input_tokens < 40, "%lld", (long long)some.input_tokens);
	cr_assert(some.output_tokens >= 6 && some.output_tokens < 20);
	cr_assert_eq(spend_cost(&some), some.input_tokens * 10000 + some.output_tokens * 20000);
	/* Anthropic counts one token of output before it begins. */
	cut.usage = (struct llm_usage){ .input_tokens = 500, .output_tokens = 1, .is_known = true, .is_partial = true };
	struct spend_bill begun = charged_call(h, &cut);
	cr_expect(begun.input_tokens == 500 && begun.output_tokens == some.output_tokens, "%lld", (long long)begun.output_tokens);
	cut.usage.output_tokens = 50;
	begun = charged_call(h, &cut);
	cr_expect_eq(begun.output_tokens, 50);
	api_close(&h);
}

Test(spend, is_paid_also_where_the_session_is_gone)
{
	struct api *h = api_open_with(0, priced);
	const char *id = new_session(h, h->sk, NULL, NULL);
	struct person p = { .user = ident_new(), .session = ident_of("ses_", id) };
	struct spend_bill bill = { .nano = 5, .input_tokens = 1 }, nothing = { 0 };
	p.who = (struct spend_who){ &h->home.id, &p.user, &p.session };
	cr_assert_eq(task_fail(&h->task, ERR_PROVIDER_CUT, "kept"), ERR_PROVIDER_CUT);
	spend_pay(&h->task, h->app, &p.who, &bill, 1);
	spend_pay(&h->task, h->app, &p.who, &bill, 0);
	spend_pay(&h->task, h->app, &p.who, &nothing, 1);
	cr_assert_str_eq(h->task.fault.detail, "kept");
	cr_assert(of_session(h, &p).nano == 10 && of_session(h, &p).turns == 1);
	struct answer a = api_delete(h, h->sk, "/v1/sessions/%s", id);
	must_be(a, 204);
	spend_pay(&h->task, h->app, &p.who, &bill, 1);
	cr_assert_eq(of_session(h, &p).turns, 0, "no row is left behind for nobody");
	struct spend_sum s = of_month(h, &h->home.id, &p.user, spend_date(stamp_now()) / 100);
	cr_assert(s.nano == 15 && s.turns == 2);
	api_close(&h);
}
