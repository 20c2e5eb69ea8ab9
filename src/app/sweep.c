/* SPDX-License-Identifier: MIT */
/* sweep: owns the table locks. A lock is a row with an expiry: a janitor that dies gives way by itself. */
#include "app/sweep.h"

#include "base/log.h"
#include "base/metrics.h"
#include "base/stamp.h"

#define JANITOR "janitor"
#define HOLD_ROUNDS 3 /* a lock is held for so many sweep intervals, so that one slow round does not lose it */

enum { INSERT, TAKE, RELEASE };
static const struct db_stmt stmts[] = {
	[INSERT] = { "INSERT INTO locks (name, owner, held_until) VALUES (?, ?, ?)", NULL, "the install's" },
	[RELEASE] = { "UPDATE locks SET held_until = 0 WHERE name = ? AND owner = ?", NULL, "the install's" },
	[TAKE] = { "UPDATE locks SET owner = ?, held_until = ? WHERE name = ? AND (owner = ? OR held_until < ?)", NULL, "the install's" },
};

static struct ident owner; /* made once in each process; only its own janitor uses it */

/* Takes or keeps the janitor's lock for this process. */
static enum err take_lock(struct task *t, struct app *app, bool *is_mine_r)
{
	int64_t n, now = stamp_now(), until = now + HOLD_ROUNDS * app->conf->sweep_interval;
	if (ident_is_zero(&owner))
		owner = ident_new();
	enum err e = store_run(t, app, &stmts[TAKE], DB_ARGS(db_ident(&owner), db_int(until), db_text(BYTES(JANITOR)), db_ident(&owner), db_int(now)), &n);
	*is_mine_r = !e && n > 0;
	if (e || n > 0)
		return e;
	e = store_run(t, app, &stmts[INSERT], DB_ARGS(db_text(BYTES(JANITOR)), db_ident(&owner), db_int(until)), NULL);
	*is_mine_r = !e;
	if (e == ERR_DUPLICATE) {
		task_clear_fault(t);
		return ERR_OK;
	}
	return e;
}

static enum err run_jobs(struct task *t, struct app *app, struct sweep_report *report_r)
{
	bool is_mine;
	memset(report_r, 0, sizeof *report_r);
	enum err e = take_lock(t, app, &is_mine), worst = e;
	report_r->is_elsewhere = !e && !is_mine;
	for (const struct feature *const *f = app_features; is_mine && *f; f++) {
		int64_t n = 0;
		if (!(*f)->sweep)
			continue;
		e = (*f)->sweep(t, app, &n);
		if (report_r->n < SWEEP_KINDS && (*f)->swept) {
			report_r->kinds[report_r->n].name = (*f)->name;
			report_r->kinds[report_r->n].help = (*f)->swept;
			report_r->kinds[report_r->n++].n = n;
		}
		report_r->total += n;
		if (e) { /* one job's trouble is not another's */
			log_error(t, "sweep_failed", { "job", (*f)->name, 0 }, { "code", err_code(e), 0 },
				  { "internal", t->fault.internal ? t->fault.internal : "", 0 });
			worst = e;
		}
	}
	metric_add(METRIC_swept_rows_total, report_r->total);
	return worst;
}

enum err app_sweep_report(struct task *t, struct app *app, struct sweep_report *report_r)
{
	enum err e = run_jobs(t, app, report_r);
	if (report_r->is_elsewhere)
		return e;
	enum err released = store_run(t, app, &stmts[RELEASE], DB_ARGS(db_text(BYTES(JANITOR)), db_ident(&owner)), NULL);
	return e ? e : released;
}

enum err app_sweep(struct task *t, struct app *app, int64_t *n_r)
{
	struct sweep_report report;
	enum err e = run_jobs(t, app, &report);
	*n_r = report.total;
	return e;
}

const struct feature sweep_feature = { .name = "sweep", .stmts = stmts, .n_stmts = COUNT(stmts) };
