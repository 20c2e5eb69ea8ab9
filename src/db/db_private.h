/* SPDX-License-Identifier: MIT */
/* db_private: what db.c, the pool, the migrations and the drivers share. */
#ifndef PARLEY_DB_DB_PRIVATE_H
#define PARLEY_DB_DB_PRIVATE_H

#include <pthread.h>

#include "db/db.h"
#include "db/dsn.h"

/* Whether a connection still stands, and what is known of the statement it was lost in. */
enum db_loss {
	DB_ALIVE,
	DB_LOST_UNSENT,  /* lost before the server had the whole statement: it surely did not run */
	DB_LOST_UNKNOWN, /* lost while the answer was awaited */
};

struct db_cached {
	const char *sql; /* the key: the address of the text */
	void *stmt;
};

struct db_conn {
	struct db *db;
	void *link; /* the driver's own */
	enum db_loss loss;
	bool in_transaction;
	bool is_stale; /* set by execute: the server asks for the statement to be prepared again; it did not run */
	enum err doom; /* why the open transaction can only be rolled back; 0: it is fine */
	struct db_cached *cached; /* open addressing, n_slots a power of two */
	size_t n_cached, n_slots;
	int64_t idle_since_ms;
	int64_t n_lost_before; /* db->n_lost when it came back to the pool */
	struct db_conn *next;  /* in the pool */
};

/*
 * One SQL back end. A function that fails fills the fault with the server's number and message as internal text, and sets
 * c->loss when the connection is no longer of use (the code is then ERR_UNAVAILABLE; db.c knows when that means "unknown").
 */
struct db_driver {
	const char *name;
	const char *begin;          /* the text that opens a transaction */
	bool has_transactional_ddl; /* a schema change can be rolled back */

	/* Once in db_open, before the first connection: sets db->state, in the arena of the db. */
	void (*init)(struct db *db);
	/* ERR_CONFIG (what an operator must mend; text for him in the fault's detail) or ERR_UNAVAILABLE. */
	enum err (*connect)(struct task *t, struct db *db, int timeout_ms, void **link_r);
	/* Statements that were prepared on it are finished after it. */
	void (*disconnect)(void *link);
	/* Whether an idle connection looks open, without asking the server. */
	bool (*is_open)(void *link);
	enum err (*ping)(struct task *t, struct db_conn *c);
	enum err (*prepare)(struct task *t, struct db_conn *c, const char *sql, void **stmt_r);
	void (*finish)(void *stmt);
	/* rows_r may be NULL (an answer is read and dropped); *changed_r is set where the statement answers no rows. */
	enum err (*execute)(struct task *t, struct db_conn *c, void *stmt, const struct db_arg *args, size_t n_args,
			    struct db_rows **rows_r, int64_t *changed_r);
	/* One statement without parameters, not prepared: transactions and schema changes. */
	enum err (*script)(struct task *t, struct db_conn *c, const char *sql);
};

extern const struct db_driver db_mariadb;
extern const struct db_driver db_sqlite;

struct db {
	const struct db_driver *driver;
	struct arena *arena;    /* of everything here that is set once in db_open */
	struct db_conf conf;
	struct dsn dsn;
	void *state;            /* the driver's, set once in db_open */
	bool is_checked;        /* the first connection was made: nothing above changes any more */
	struct db_conn *anchor; /* a connection kept from db_open on, or NULL: a database in memory lives as long as it */

	pthread_mutex_t lock; /* of all below */
	pthread_cond_t freed;
	struct db_conn *idle; /* newest first */
	int n_open;           /* connections that exist or are being made */
	int n_waiting;
	bool is_down;         /* the last connect failed */
	bool is_probing;      /* a thread is trying whether it still is */
	int64_t retry_at_ms;  /* no connect before, while is_down */
	int64_t n_lost;       /* connections lost so far: whoever has idled since before the last is asked first */
	char down_text[200];  /* why the last connect failed */
};

/* db.c: a connection outside the pool. *c_r is set only on success. */
enum err db_conn_open(struct task *t, struct db *db, int timeout_ms, struct db_conn **c_r) MUST_CHECK;
void db_conn_close(struct db_conn **c);

/* db.c: runs one text without parameters, outside the prepared statements. */
enum err db_script(struct task *t, struct db_conn *c, const char *sql) MUST_CHECK;

/* db.c: for drivers: adds a row to an answer whose n_cols is set and returns its zeroed cells. *room is the rows there is room for. */
struct db_cell *db_rows_add(struct arena *a, struct db_rows *rows, size_t *room);

/* db.c: sleeps a random time up to min(250 ms, 4 ms << attempt): whoever collided does not meet again. */
void db_backoff(int attempt);

/* pool.c */
void db_pool_init(struct db *db);
void db_pool_close(struct db *db);

#endif
