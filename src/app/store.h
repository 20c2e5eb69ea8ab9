/* SPDX-License-Identifier: MIT */
/* store: what every feature works on: settings, database, cache; and the one way to the database, which notices when it is gone. */
#ifndef PARLEY_APP_STORE_H
#define PARLEY_APP_STORE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "app/app.h"
#include "base/secret.h"
#include "cache/cache.h"
#include "db/db.h"
#include "http/router.h"

struct site_copies; /* site.c */
struct group;       /* group.c */
struct breakers;    /* base/breakers.h */
struct turn_keep;   /* turn_keep.c */
struct spend_prices; /* spend.c */

struct app {
	const struct conf *conf;
	struct db *_Atomic db; /* NULL until the database could be opened */
	pthread_mutex_t db_lock;
	_Atomic int64_t db_retry_at; /* monotonic ms before which opening is not tried again */
	atomic_bool db_is_down;      /* the last call found the database out of reach */
	struct cache *cache;
	struct router *router;
	struct site_copies *sites;
	struct group *group;
	struct breakers *breakers; /* of providers, in the memory that the processes share */
	void *private_breakers;    /* the same where none is shared, or NULL */
	struct turn_keep *turns;
	struct spend_prices *prices;
	unsigned char token_key[SECRET_KEY_SIZE];
	atomic_int turns_running;
};

/* Opens the database if that has not been done; migrates when the settings say so. ERR_UNAVAILABLE, ERR_CONFIG. */
enum err store_open(struct task *t, struct app *app, struct db **db_r) MUST_CHECK;

/* db_run_once, db_query_once and db_transact on the application's database. */
enum err store_run(struct task *t, struct app *app, const struct db_stmt *s, const struct db_arg *args, size_t n_args, int64_t *changed_r) MUST_CHECK;
enum err store_query(struct task *t, struct app *app, const struct db_stmt *s, const struct db_arg *args, size_t n_args,
		     struct db_rows **rows_r) MUST_CHECK;
/* store_query, or on the caller's own connection when it has one. */
enum err store_read(struct task *t, struct app *app, struct db_conn *c, const struct db_stmt *s, const struct db_arg *args, size_t n_args,
		    struct db_rows **rows_r) MUST_CHECK;
enum err store_transact(struct task *t, struct app *app, enum err (*fn)(struct task *t, struct db_conn *c, void *arg), void *arg) MUST_CHECK;

/* Whether the last call found the database out of reach. */
bool store_is_down(const struct app *app);

#endif
