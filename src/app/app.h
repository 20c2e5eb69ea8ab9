/* SPDX-License-Identifier: MIT */
/* app: the product, assembled: opens database and cache, lists the features, answers requests, runs jobs. */
#ifndef PARLEY_APP_APP_H
#define PARLEY_APP_APP_H

#include <stdbool.h>

#include "base/conf.h"
#include "base/ident.h"
#include "base/task.h"
#include "http/http.h"

struct app;

/* Bytes of memory that the processes of an install share for the application (cache state); metrics have their own. */
size_t app_shared_size(void);

/*
 * Opens database, cache and routes for this process; after any fork. `shared` is app_shared_size() zeroed bytes common to all processes of
 * this host, or NULL. Migrates the schema when conf->database_migrate. Errors: ERR_CONFIG, ERR_UNAVAILABLE (the database cannot be reached: with
 * may_wait the application opens all the same, answers 503 and connects when it can).
 */
enum err app_open(struct task *t, const struct conf *conf, void *shared, bool may_wait, struct app **app_r) MUST_CHECK;
void app_close(struct app **app);

/* Answers one request: an http_handler whose arg is the struct app. */
void app_answer(void *app, struct task *t, const struct http_request *rq, struct http_response *rs);

/*
 * The same for the operator, who calls from a command on the store itself: with the reach of the site's secret key and without a credential. Never
 * for a request that came from outside.
 */
void app_answer_operator(struct app *app, const struct ident *site, struct task *t, const struct http_request *rq, struct http_response *rs);

#define SWEEP_KINDS 32

/* What a sweep did. */
struct sweep_report {
	bool is_elsewhere; /* nothing: another process has the janitor's lease */
	int64_t total;     /* rows and sessions ended or removed */
	size_t n;
	struct {
		const char *name, *help; /* "expire", "idle sessions ended" */
		int64_t n;
	} kinds[SWEEP_KINDS];
};

/*
 * Runs the jobs once (expired turn leases, old idempotency answers, idle sessions, ...), in small batches. Takes the install's janitor lease
 * first and keeps it for the next round; *n_r, how much was ended or removed, is 0 when another process holds it.
 */
enum err app_sweep(struct task *t, struct app *app, int64_t *n_r) MUST_CHECK;
/* The same for a run of its own, with a report: the lease is given back at the end. */
enum err app_sweep_report(struct task *t, struct app *app, struct sweep_report *report_r) MUST_CHECK;

#endif
