/* SPDX-License-Identifier: MIT */
/*
 * spend: what turns cost, added up for each session, for each user and day, and for each site and day (UTC); and the caps that end it (TRN-11).
 * A cap is looked at before a turn. One that has begun is finished, so spending goes past a cap by the turns that run at that moment, and no further.
 */
#ifndef PARLEY_APP_SPEND_H
#define PARLEY_APP_SPEND_H

#include "app/agent.h"
#include "app/price.h"
#include "app/site.h"
#include "llm/llm.h"

/* Prices as this process read them at its start. */
struct spend_prices;

/* Reads the settings prices and price_file and checks those of spending. ERR_CONFIG says what is wrong. Done by app_open. */
enum err spend_open(struct task *t, const struct conf *conf, struct spend_prices **p_r) MUST_CHECK;
void spend_close(struct spend_prices **p);

/* Whose spending it is. */
struct spend_who {
	const struct ident *site;
	const struct ident *user;    /* head_user_ident of the user's name; NULL: nobody yet (an anonymous visitor's first turn) */
	const struct ident *session; /* NULL: not there yet, or gone */
};

/* What a turn has cost so far: its calls added up. Starts zeroed. */
struct spend_bill {
	int64_t input_tokens, output_tokens;
	int64_t nano;    /* of the calls whose cost is known */
	bool is_unknown; /* that of some call is not: the turn's cost is null, and caps count the rest alone */
};

/*
 * Adds a call of a provider, which may have failed, to a bill: `provider` and `model` as the agent (or its fallback) names them, `answered` the model
 * as the provider named it, or empty. Counts metrics: once for each call, so never inside a transaction.
 */
void spend_charge(const struct app *app, struct spend_bill *bill, struct bytes provider, struct bytes model, struct bytes answered,
		  const struct llm_usage *usage);

/*
 * The same for what an attempt's on_call tells. A call whose usage was not told, since it broke off or since the provider does not say, is charged with
 * an estimate from the request and the text; one that broke off with no less than its text: who hangs up in time does not go free.
 */
void spend_charge_call(struct task *t, const struct app *app, struct spend_bill *bill, struct bytes provider, struct bytes model,
		       const struct llm_request *rq, const struct llm_result *result);

/* The cost of the whole, for turns.cost and clients: nano, or PRICE_UNKNOWN. */
int64_t spend_cost(const struct spend_bill *bill);

/*
 * Before a turn: whether a cap forbids it. No query unless the site has caps and the agent may cost something, then one. ERR_SPEND_CAP: a cap is reached (the
 * detail says which, and when it is free again; retry_after_s for one of a day or month), or price_required and the agent or a fallback has no price.
 */
enum err spend_check(struct task *t, struct app *app, const struct agent *agent, const struct spend_who *who, int64_t now) MUST_CHECK;

/*
 * Within the transaction that ends a turn, finished or failed, as its last statement: one round trip. Rows are taken in the order session, user, site, so
 * that no two of these wait for each other. A bill of nothing is not entered. `now` decides the day.
 */
enum err spend_add(struct task *t, struct db_conn *c, const struct spend_who *who, const struct spend_bill *bill, int64_t now) MUST_CHECK;

/*
 * The same in a transaction of its own, for calls that are no turn, and for turns that failed: their session may be gone, and is left out then. `turns` is what
 * they count as, 0 or 1. A failure is only logged: what was paid for goes on. The task keeps its fault.
 */
void spend_pay(struct task *t, struct app *app, const struct spend_who *who, const struct spend_bill *bill, int turns);

/* Within the transaction that removes a session, behind the detaching of its conversations: forgets what it cost. Its user's and site's stay. */
enum err spend_forget(struct task *t, struct db_conn *c, const struct ident *site, const struct ident *session) MUST_CHECK;

/* What was counted. */
struct spend_sum {
	int64_t turns, input_tokens, output_tokens, nano;
};
struct spend_day {
	int64_t date; /* YYYYMMDD */
	struct spend_sum sum;
};

/* A session's whole life, cleared histories included. */
enum err spend_read_session(struct task *t, struct app *app, const struct ident *site, const struct ident *session, struct spend_sum *sum_r) MUST_CHECK;
/* The days of a month (YYYYMM) on which something was spent, in order, of the site or of one of its users. */
enum err spend_read_month(struct task *t, struct app *app, const struct ident *site, const struct ident *user, int64_t month, struct spend_day **days_r,
			  size_t *n_r) MUST_CHECK;
/* All of them together; and the date and month of a time. */
struct spend_sum spend_total(const struct spend_day *days, size_t n);
int64_t spend_date(int64_t unix_ms);

/* Adds "turns", "input_tokens", "output_tokens" and "cost" as members. */
void spend_render(struct buf *b, const struct spend_sum *s);

extern const struct feature spend_feature;

#endif
