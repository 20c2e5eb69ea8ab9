/* SPDX-License-Identifier: MIT */
/* idem: owns the table idempotency. Invariant: a row with an answer was committed together with the change it answers for. */
#include "app/idem.h"

#include "app/codec.h"
#include "base/secret.h"
#include "base/stamp.h"

#define KEY_MAX 255
#define KEY_MIN_PUBLIC 16
#define SWEEP_ROUNDS 50

enum { FIND, STORE, TAKE_OVER, FINISH, FORGET, OLD, REMOVE, ERASE };
static const struct db_stmt stmts[] = {
	[ERASE] = { "UPDATE idempotency SET status = 2, body = ? WHERE session = ? AND site = ? AND status >= 200", NULL, NULL },
	[FIND] = { "SELECT body_hash, session, turn, status, body, expires_at FROM idempotency WHERE hash = ? AND site = ?", NULL, NULL },
	[STORE] = { "INSERT INTO idempotency (hash, site, body_hash, session, turn, status, body, created_at, expires_at)"
		    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", NULL, NULL },
	[TAKE_OVER] = { "UPDATE idempotency SET turn = ?, status = 0 WHERE hash = ? AND site = ? AND turn = ? AND status = 1", NULL, NULL },
	[FINISH] = { "UPDATE idempotency SET status = ?, body = ? WHERE hash = ? AND site = ? AND turn = ? AND status = 0", NULL, NULL },
	[FORGET] = { "DELETE FROM idempotency WHERE session = ? AND site = ?", NULL, NULL },
	[OLD] = { "SELECT hash FROM idempotency WHERE expires_at <= ? ORDER BY expires_at LIMIT ?", NULL, "the janitor's, of all sites" },
	[REMOVE] = { "DELETE FROM idempotency WHERE hash = ? AND expires_at <= ?", NULL, "the janitor's, of all sites" },
};

/* The header's value: visible characters, as they are or as a quoted string (the draft's form). */
static bool read_key(struct bytes header, struct bytes *key_r)
{
	*key_r = header;
	if (header.n >= 2 && header.p[0] == '"' && header.p[header.n - 1] == '"')
		*key_r = (struct bytes){ header.p + 1, header.n - 2 };
	if (key_r->n == 0 || key_r->n > KEY_MAX)
		return false;
	for (size_t i = 0; i < key_r->n; i++)
		if (key_r->p[i] <= ' ' || key_r->p[i] > '~')
			return false;
	return true;
}

/*
 * A key is its credential's own: the site's server's, or one session's. All visitors share the publishable key, so theirs is bound to their
 * address as well and must be long: an answer holds a session token, and nobody may get another's by choosing the same key.
 */
static void hash_request(struct call *c, struct bytes key)
{
	struct bytes reach = BYTES("site");
	if (c->who.who == WHO_SESSION)
		reach = (struct bytes){ (const char *)c->who.session.b, sizeof c->who.session.b };
	else if (c->who.who == WHO_PUBLISHABLE_KEY)
		reach = bytes_of(arena_printf(c->task->arena, "public %.*s", (int)c->remote_addr.n, c->remote_addr.p));
	struct bytes parts[] = { { (const char *)c->who.site.b, sizeof c->who.site.b }, reach, key };
	secret_hash(parts, COUNT(parts), c->idem.hash);
	struct bytes request[] = { c->rq->method_text, c->rq->path, c->rq->body, c->rq->query };
	secret_hash(request, COUNT(request) - (c->rq->query.n == 0), c->idem.body_hash);
}

enum err idem_begin(struct call *c, struct idem_record *record_r)
{
	struct bytes key;
	struct db_rows *r;
	memset(record_r, 0, sizeof *record_r);
	if (!c->rq->idempotency_key.p)
		return ERR_OK;
	if (!read_key(c->rq->idempotency_key, &key))
		return task_fail_field(c->task, "Idempotency-Key", "format", "must be 1 to %d visible characters", KEY_MAX);
	if (c->who.who == WHO_PUBLISHABLE_KEY && key.n < KEY_MIN_PUBLIC)
		return task_fail_field(c->task, "Idempotency-Key", "format", "must be at least %d random characters with a publishable key", KEY_MIN_PUBLIC);
	hash_request(c, key);
	c->idem.is_active = true;
	struct db_arg hash = db_blob(c->idem.hash, sizeof c->idem.hash);
	enum err e = store_query(c->task, c->app, &stmts[FIND], DB_ARGS(hash, db_ident(&c->who.site)), &r);
	if (e || r->n_rows == 0)
		return e;
	int64_t now = stamp_now();
	if (db_cell_int(r, 0, 5) <= now) /* past its time, not swept yet */
		return store_run(c->task, c->app, &stmts[REMOVE], DB_ARGS(hash, db_int(now)), NULL);
	struct bytes body_hash = db_cell_bytes(r, 0, 0);
	if (body_hash.n != sizeof c->idem.body_hash || memcmp(body_hash.p, c->idem.body_hash, body_hash.n) != 0)
		return task_fail(c->task, ERR_KEY_REUSED, "this Idempotency-Key came with another request before");
	if (db_cell_int(r, 0, 3) == IDEM_ERASED)
		return task_fail(c->task, ERR_CONFLICT, "the request with this Idempotency-Key was answered; its answer was erased with messages of its session");
	record_r->is_found = true;
	db_cell_ident(r, 0, 1, &record_r->session);
	db_cell_ident(r, 0, 2, &record_r->turn);
	record_r->status = (int)db_cell_int(r, 0, 3);
	if (!codec_unpack(c->task->arena, db_cell_bytes(r, 0, 4), &record_r->body))
		return task_fail(c->task, ERR_CORRUPT, "the stored answer cannot be read");
	return ERR_OK;
}

static enum err insert(struct task *t, struct db_conn *c, const struct idem *idem, const struct app *app, const struct ident *site,
		       const struct ident *session, const struct ident *turn, int status, struct bytes body)
{
	int64_t now = stamp_now();
	struct bytes packed = codec_pack(t->arena, body);
	enum err e = db_run(t, c, &stmts[STORE],
			    DB_ARGS(db_blob(idem->hash, sizeof idem->hash), db_ident(site), db_blob(idem->body_hash, sizeof idem->body_hash),
				    db_ident(session), db_ident(turn), db_int(status), db_blob(packed.p, packed.n), db_int(now),
				    db_int(now + app->conf->idempotency_ttl)), NULL);
	if (e == ERR_DUPLICATE)
		return task_fail(t, ERR_REQUEST_RUNNING, "a request with this Idempotency-Key is running");
	return e;
}

enum err idem_store(struct task *t, struct db_conn *c, const struct idem *idem, const struct app *app, const struct ident *site,
		    const struct ident *session, int status, struct bytes body)
{
	return idem->is_active ? insert(t, c, idem, app, site, session, NULL, status, body) : ERR_OK;
}

enum err idem_reserve(struct task *t, struct db_conn *c, const struct idem *idem, const struct app *app, const struct ident *site,
		      const struct ident *session, const struct ident *turn, const struct ident *released)
{
	int64_t n;
	if (!idem->is_active)
		return ERR_OK;
	if (!released)
		return insert(t, c, idem, app, site, session, turn, IDEM_RUNNING, (struct bytes){ NULL, 0 });
	enum err e = db_run(t, c, &stmts[TAKE_OVER],
			    DB_ARGS(db_ident(turn), db_blob(idem->hash, sizeof idem->hash), db_ident(site), db_ident(released)), &n);
	return !e && n == 0 ? task_fail(t, ERR_REQUEST_RUNNING, "a request with this Idempotency-Key is running") : e;
}

enum err idem_finish(struct task *t, struct db_conn *c, const unsigned char hash[SECRET_HASH_SIZE], const struct ident *site,
		     const struct ident *turn, int status, struct bytes body)
{
	struct bytes packed = codec_pack(t->arena, body);
	return db_run(t, c, &stmts[FINISH],
		      DB_ARGS(db_int(status), db_blob(packed.p, packed.n), db_blob(hash, SECRET_HASH_SIZE), db_ident(site), db_ident(turn)), NULL);
}

enum err idem_erase(struct task *t, struct db_conn *c, const struct ident *site, const struct ident *session)
{
	struct bytes nothing = codec_pack(t->arena, (struct bytes){ NULL, 0 });
	return db_run(t, c, &stmts[ERASE], DB_ARGS(db_blob(nothing.p, nothing.n), db_ident(session), db_ident(site)), NULL);
}

enum err idem_forget(struct task *t, struct db_conn *c, const struct ident *site, const struct ident *session)
{
	return db_run(t, c, &stmts[FORGET], DB_ARGS(db_ident(session), db_ident(site)), NULL);
}

/* Removes answers past their time, a batch at a time, one short statement each, so that no lock is held for long. */
static enum err sweep(struct task *t, struct app *app, int64_t *n_r)
{
	int64_t now = stamp_now();
	for (int round = 0; round < SWEEP_ROUNDS; round++) {
		struct db_rows *r;
		enum err e = store_query(t, app, &stmts[OLD], DB_ARGS(db_int(now), db_int(app->conf->sweep_batch)), &r);
		if (e || r->n_rows == 0)
			return e;
		for (size_t i = 0; i < r->n_rows; i++) {
			int64_t n;
			struct bytes hash = db_cell_bytes(r, i, 0);
			e = store_run(t, app, &stmts[REMOVE], DB_ARGS(db_blob(hash.p, hash.n), db_int(now)), &n);
			if (e)
				return e;
			*n_r += n;
		}
	}
	return ERR_OK;
}

const struct feature idem_feature = { .name = "idem", .stmts = stmts, .n_stmts = COUNT(stmts), .sweep = sweep, .swept = "old answers removed" };
