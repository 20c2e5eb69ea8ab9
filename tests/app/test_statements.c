/* SPDX-License-Identifier: MIT */
/* test_statements: every statement of every feature is good SQL on this database and names the site, or says why not (SEC-2). */
#include "harness.h"

#include <ctype.h>

#include "app/call.h"

Test(statements, all_prepare)
{
	struct api *h = api_open();
	struct db *db;
	cr_assert_eq(store_open(&h->task, h->app, &db), ERR_OK);
	size_t n = 0;
	for (const struct feature *const *f = app_features; *f; f++) {
		cr_assert_eq(db_prepare_all(&h->task, db, (*f)->stmts, (*f)->n_stmts), ERR_OK, "%s: %s", (*f)->name, h->task.fault.internal);
		n += (*f)->n_stmts;
	}
	cr_assert_gt(n, 40);
	api_close(&h);
}

static bool names_site(const char *sql)
{
	for (const char *at = sql; (at = strstr(at, "site")); at++) {
		bool begins = at == sql || !(isalnum((unsigned char)at[-1]) || at[-1] == '_');
		bool ends = !(isalnum((unsigned char)at[4]) || at[4] == '_');
		if (begins && ends)
			return true;
	}
	return false;
}

/* SEC-2: in a condition, not only among the columns; an INSERT gives it as a value. */
static bool is_bound(const char *sql)
{
	const char *where = strstr(sql, "WHERE");
	if (strncmp(sql, "INSERT", 6) == 0 && !where)
		return names_site(sql);
	return where && names_site(where);
}

Test(statements, each_names_the_site_or_says_why_not)
{
	for (const struct feature *const *f = app_features; *f; f++)
		for (size_t i = 0; i < (*f)->n_stmts; i++) {
			const struct db_stmt *s = &(*f)->stmts[i];
			cr_assert_not_null(s->sql, "%s %zu", (*f)->name, i);
			if (s->global) {
				cr_assert_gt(strlen(s->global), 8, "%s: %s", (*f)->name, s->sql);
				continue;
			}
			cr_assert(is_bound(s->sql), "%s: %s", (*f)->name, s->sql);
			cr_assert(!s->sqlite || is_bound(s->sqlite), "%s: %s", (*f)->name, s->sqlite);
		}
}

/* Neither dialect's traps: || is a logical OR in MariaDB, REPLACE deletes first. */
Test(statements, none_uses_what_the_other_database_reads_differently)
{
	static const char *const traps[] = { "||", "REPLACE", "INSERT IGNORE", "CONCAT", "AUTO_INCREMENT", "NOW()", "SELECT *" };
	for (const struct feature *const *f = app_features; *f; f++)
		for (size_t i = 0; i < (*f)->n_stmts; i++)
			for (size_t k = 0; k < COUNT(traps); k++)
				cr_assert_null(strstr((*f)->stmts[i].sql, traps[k]), "%s: %s", (*f)->name, (*f)->stmts[i].sql);
}

Test(statements, every_route_names_its_scope)
{
	size_t n = 0;
	for (const struct feature *const *f = app_features; *f; f++)
		for (size_t i = 0; i < (*f)->n_routes; i++, n++) {
			const struct api_route *r = &(*f)->routes[i];
			cr_assert(r->scope != SCOPE_UNSET && r->handler && r->help && r->help[0]);
			cr_assert(r->scope != SCOPE_SESSION || strncmp(r->path, "/v1/sessions/{s}", 16) == 0, "%s has no session to guard", r->path);
			cr_assert(r->body == NULL || r->method != HTTP_GET);
		}
	cr_assert_geq(n, 20);
}
