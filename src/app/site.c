/* SPDX-License-Identifier: MIT */
/*
 * site: owns the tables sites and api_keys, and each process's short-lived copies of them. Invariant: a copy is used for key_ttl at
 * most, or for STALE_MS while the database is out of reach and so no revocation can have been acknowledged.
 */
#include "app/site.h"

#include <ctype.h>
#include <stdlib.h>

#include "app/price.h"
#include "app/render.h"
#include "base/stamp.h"

#define COPIES 1024
#define STALE_MS (5 * 60 * 1000)
#define NAME_MAX_BYTES 64

#define SITE_COLUMNS "s.id, s.name, s.title, s.domains, s.origins, s.is_paused, s.settings, s.created_at"
#define SITE_N_COLUMNS 8
#define LOCK_SQL "SELECT " SITE_COLUMNS " FROM sites s WHERE s.name = ?"
enum { BY_KEY, BY_ID, BY_NAME, LOCK, CHANGE, ORIGIN, CREATE, EXTEND, LIST, PAUSE, KEY_CREATE, KEY_LIST, KEY_REVOKE };
static const struct db_stmt stmts[] = {
	[BY_KEY] = { "SELECT " SITE_COLUMNS ", k.id, k.kind, k.expires_at, k.revoked_at FROM api_keys k JOIN sites s ON s.id = k.site WHERE k.hash = ?",
		     NULL, "the key decides the site" },
	[BY_ID] = { "SELECT " SITE_COLUMNS " FROM sites s WHERE s.id = ?", NULL, "the site itself" },
	[BY_NAME] = { LOCK_SQL, NULL, "for the operator's commands" },
	[LOCK] = { LOCK_SQL " FOR UPDATE", LOCK_SQL, "for the operator's commands" },
	[CHANGE] = { "UPDATE sites SET title = ?, settings = ?, updated_at = ? WHERE id = ?", NULL, "the site itself" },
	[ORIGIN] = { "SELECT 1 FROM sites s WHERE INSTR(s.origins, ?) > 0 LIMIT 1", NULL, "a preflight names no site" },
	[CREATE] = { "INSERT INTO sites (id, name, title, domains, origins, is_paused, created_at, updated_at) VALUES (?, ?, ?, ?, ?, 0, ?, ?)",
		     NULL, "makes the site" },
	[EXTEND] = { "UPDATE sites SET domains = ?, origins = ?, updated_at = ? WHERE id = ?", NULL, "the site itself" },
	[LIST] = { "SELECT " SITE_COLUMNS " FROM sites s ORDER BY s.name", NULL, "for the operator's commands" },
	[PAUSE] = { "UPDATE sites SET is_paused = ?, updated_at = ? WHERE id = ?", NULL, "the site itself" },
	[KEY_CREATE] = { "INSERT INTO api_keys (hash, id, site, kind, hint, label, created_at, expires_at, revoked_at)"
			 " VALUES (?, ?, ?, ?, ?, ?, ?, 0, 0)", NULL, NULL },
	[KEY_LIST] = { "SELECT id, kind, hint, label, created_at, expires_at, revoked_at FROM api_keys WHERE site = ? ORDER BY created_at, id", NULL, NULL },
	[KEY_REVOKE] = { "UPDATE api_keys SET revoked_at = ? WHERE site = ? AND id = ? AND revoked_at = 0", NULL, NULL },
};

/* One copy: the answer to a look-up by 32 bytes. Its strings are one malloc. */
struct copy {
	unsigned char hash[32];
	int64_t fetched_at; /* monotonic ms; 0: empty */
	struct site site;
	char *text;
};

struct site_copies {
	pthread_mutex_t lock;
	struct copy slots[COPIES];
};

struct site_copies *site_copies_open(void)
{
	struct site_copies *c = calloc(1, sizeof *c);
	if (!c || pthread_mutex_init(&c->lock, NULL) != 0)
		abort();
	return c;
}

void site_copies_close(struct site_copies **c)
{
	if (!*c)
		return;
	for (size_t i = 0; i < COPIES; i++)
		free((*c)->slots[i].text);
	pthread_mutex_destroy(&(*c)->lock);
	free(*c);
	*c = NULL;
}

static struct copy *slot_of(struct site_copies *c, const unsigned char hash[32])
{
	uint32_t n;
	memcpy(&n, hash, sizeof n);
	return &c->slots[n % COPIES];
}

/* The strings of a site, in the order in which they are kept. */
static void site_texts(struct site *s, struct bytes *texts[4])
{
	texts[0] = &s->name;
	texts[1] = &s->title;
	texts[2] = &s->domains;
	texts[3] = &s->origins;
}

static bool copy_get(struct task *t, struct site_copies *c, const unsigned char hash[32], int64_t max_age, struct site *s_r)
{
	pthread_mutex_lock(&c->lock);
	struct copy *slot = slot_of(c, hash);
	bool is_good = slot->fetched_at && memcmp(slot->hash, hash, 32) == 0 && stamp_mono_ms() - slot->fetched_at < max_age;
	if (is_good) {
		struct bytes *texts[4];
		*s_r = slot->site;
		site_texts(s_r, texts);
		for (size_t i = 0; i < COUNT(texts); i++)
			*texts[i] = arena_bytes(t->arena, *texts[i]);
	}
	pthread_mutex_unlock(&c->lock);
	return is_good;
}

static void copy_put(struct site_copies *c, const unsigned char hash[32], const struct site *s)
{
	struct site kept = *s;
	struct bytes *texts[4];
	size_t total = 1;
	site_texts(&kept, texts);
	for (size_t i = 0; i < COUNT(texts); i++)
		total += texts[i]->n;
	char *text = malloc(total), *at = text;
	if (!text)
		abort();
	for (size_t i = 0; i < COUNT(texts); i++) {
		if (texts[i]->n)
			memcpy(at, texts[i]->p, texts[i]->n);
		texts[i]->p = at;
		at += texts[i]->n;
	}
	pthread_mutex_lock(&c->lock);
	struct copy *slot = slot_of(c, hash);
	free(slot->text);
	memcpy(slot->hash, hash, 32);
	slot->fetched_at = stamp_mono_ms();
	slot->site = kept;
	slot->text = text;
	pthread_mutex_unlock(&c->lock);
}

static const char *const ttl_names[TTL_COUNT] = { "session", "memory", "knowledge", "history" };

/* The site's own times from its settings: {"ttl":{"session":ms,...}}. What cannot be read is not set. */
static void read_ttl(struct task *t, struct bytes settings, int64_t ttl[TTL_COUNT])
{
	struct bytes own = render_is_sound(t, settings, JSONX_OBJECT) ? jsonx_member(settings, "ttl") : (struct bytes){ NULL, 0 };
	for (enum ttl_class k = TTL_SESSION; k < TTL_COUNT; k++) {
		struct bytes value = jsonx_type(own) == JSONX_OBJECT ? jsonx_member(own, ttl_names[k]) : (struct bytes){ NULL, 0 };
		ttl[k] = jsonx_type(value) == JSONX_INT && jsonx_int(value) >= 0 ? jsonx_int(value) : TTL_UNSET;
	}
}

static const char *const cap_names[CAP_COUNT] = { "session", "user_day", "user_month", "site_day", "site_month" };

/* The same of its caps: {"caps":{"user_day":nano, or -1 for none,...}}. */
static void read_caps(struct task *t, struct bytes settings, int64_t caps[CAP_COUNT])
{
	struct bytes own = render_is_sound(t, settings, JSONX_OBJECT) ? jsonx_member(settings, "caps") : (struct bytes){ NULL, 0 };
	for (enum cap k = CAP_SESSION; k < CAP_COUNT; k++) {
		struct bytes value = jsonx_type(own) == JSONX_OBJECT ? jsonx_member(own, cap_names[k]) : (struct bytes){ NULL, 0 };
		caps[k] = jsonx_type(value) == JSONX_INT && jsonx_int(value) >= CAP_NONE ? jsonx_int(value) : CAP_UNSET;
	}
}

static void site_from_row(struct task *t, const struct db_rows *r, size_t row, struct site *s_r)
{
	memset(s_r, 0, sizeof *s_r);
	db_cell_ident(r, row, 0, &s_r->id);
	s_r->name = db_cell_bytes(r, row, 1);
	s_r->title = db_cell_bytes(r, row, 2);
	s_r->domains = db_cell_bytes(r, row, 3);
	s_r->origins = db_cell_bytes(r, row, 4);
	s_r->is_paused = db_cell_int(r, row, 5) != 0;
	read_ttl(t, db_cell_bytes(r, row, 6), s_r->ttl);
	read_caps(t, db_cell_bytes(r, row, 6), s_r->caps);
	s_r->created_at = db_cell_int(r, row, 7);
}

/* A fresh copy from the database, or an old one while there is no database. */
static enum err fetch(struct task *t, struct app *app, const unsigned char hash[32], const struct db_stmt *stmt, struct db_arg by, enum err absent,
		      struct site *s_r)
{
	if (copy_get(t, app->sites, hash, app->conf->key_ttl, s_r))
		return ERR_OK;
	struct db_rows *r;
	enum err e = store_query(t, app, stmt, &by, 1, &r);
	if (e == ERR_UNAVAILABLE && copy_get(t, app->sites, hash, STALE_MS, s_r)) {
		task_clear_fault(t);
		return ERR_OK;
	}
	if (e)
		return e;
	if (r->n_rows == 0)
		return task_fail(t, absent, absent == ERR_NOT_FOUND ? "there is no such site" : "the key is not valid");
	site_from_row(t, r, 0, s_r);
	if (r->n_cols > SITE_N_COLUMNS) {
		db_cell_ident(r, 0, SITE_N_COLUMNS, &s_r->key);
		s_r->key_kind = (int)db_cell_int(r, 0, SITE_N_COLUMNS + 1);
		s_r->key_expires_at = db_cell_int(r, 0, SITE_N_COLUMNS + 2);
		if (db_cell_int(r, 0, SITE_N_COLUMNS + 3) != 0)
			return task_fail(t, absent, "the key is not valid");
	}
	copy_put(app->sites, hash, s_r);
	return ERR_OK;
}

enum err site_find_by_key(struct task *t, struct app *app, const unsigned char hash[SECRET_HASH_SIZE], struct site *s_r)
{
	enum err e = fetch(t, app, hash, &stmts[BY_KEY], db_blob(hash, SECRET_HASH_SIZE), ERR_UNAUTHENTICATED, s_r);
	if (!e && s_r->key_expires_at && s_r->key_expires_at <= stamp_now())
		return task_fail(t, ERR_UNAUTHENTICATED, "the key is not valid");
	return e;
}

enum err site_find(struct task *t, struct app *app, const struct ident *id, struct site *s_r)
{
	unsigned char hash[32] = { 0 };
	memcpy(hash, id->b, sizeof id->b);
	memcpy(hash, id->b + 12, 4); /* the random end of an id spreads better than its time */
	memcpy(hash + 28, id->b, 4);
	return fetch(t, app, hash, &stmts[BY_ID], db_ident(id), ERR_NOT_FOUND, s_r);
}

enum err site_find_by_name(struct task *t, struct app *app, struct bytes name, struct site *s_r)
{
	struct db_rows *r;
	enum err e = store_query(t, app, &stmts[BY_NAME], DB_ARGS(db_text(name)), &r);
	if (e)
		return e;
	if (r->n_rows == 0)
		return task_fail(t, ERR_NOT_FOUND, "there is no site named %.*s", (int)name.n, name.p);
	site_from_row(t, r, 0, s_r);
	return ERR_OK;
}

bool site_allows_origin(const struct site *s, struct bytes origin)
{
	struct jsonx_walk w;
	jsonx_walk_begin(&w, s->origins);
	while (jsonx_walk_next(&w)) /* origins are stored without anything that would need an escape */
		if (w.value.n == origin.n + 2 && memcmp(w.value.p + 1, origin.p, origin.n) == 0)
			return true;
	return false;
}

enum err site_any_allows_origin(struct task *t, struct app *app, struct bytes origin, bool *is_allowed_r)
{
	struct db_rows *r;
	*is_allowed_r = false;
	if (origin.n > 300 || memchr(origin.p, '"', origin.n) || memchr(origin.p, '\\', origin.n))
		return ERR_OK;
	struct bytes quoted = bytes_of(arena_printf(t->arena, "\"%.*s\"", (int)origin.n, origin.p));
	enum err e = store_query(t, app, &stmts[ORIGIN], DB_ARGS(db_text(quoted)), &r);
	*is_allowed_r = !e && r->n_rows > 0;
	return e;
}

bool site_is_name(struct bytes name)
{
	if (name.n == 0 || name.n > NAME_MAX_BYTES || name.p[0] == '-')
		return false;
	for (size_t i = 0; i < name.n; i++)
		if (!(name.p[i] == '-' || (name.p[i] >= '0' && name.p[i] <= '9') || (name.p[i] >= 'a' && name.p[i] <= 'z')))
			return false;
	return true;
}

/* scheme://host[:port], lower case, nothing behind: exactly what a browser sends. */
static bool is_origin(struct bytes o)
{
	size_t scheme = o.n > 8 && memcmp(o.p, "https://", 8) == 0 ? 8 : o.n > 7 && memcmp(o.p, "http://", 7) == 0 ? 7 : 0;
	if (scheme == 0 || o.n > 300)
		return false;
	for (size_t i = scheme; i < o.n; i++)
		if (!(islower((unsigned char)o.p[i]) || isdigit((unsigned char)o.p[i]) || strchr("-.:[]", o.p[i])))
			return false;
	return true;
}

static bool is_domain(struct bytes d)
{
	if (d.n == 0 || d.n > 253)
		return false;
	for (size_t i = 0; i < d.n; i++)
		if (!(islower((unsigned char)d.p[i]) || isdigit((unsigned char)d.p[i]) || d.p[i] == '-' || d.p[i] == '.'))
			return false;
	return true;
}

static enum err check_new(struct task *t, const struct site_new *in)
{
	enum err e = ERR_OK;
	if (!site_is_name(in->name))
		e = task_fail_field(t, "name", "format", "a name has 1 to 64 lower-case letters, digits and -, and does not begin with -");
	for (size_t i = 0; i < in->n_origins; i++)
		if (!is_origin(in->origins[i]))
			e = task_fail_field(t, "origins", "format", "\"%.*s\" is not an origin such as https://www.example.com",
					    (int)in->origins[i].n, in->origins[i].p);
	for (size_t i = 0; i < in->n_domains; i++)
		if (!is_domain(in->domains[i]))
			e = task_fail_field(t, "domains", "format", "\"%.*s\" is not a domain such as www.example.com",
					    (int)in->domains[i].n, in->domains[i].p);
	return e;
}

static struct bytes json_array(struct arena *a, const struct bytes *items, size_t n)
{
	struct buf b;
	buf_init(&b, a, 64);
	buf_add_char(&b, '[');
	for (size_t i = 0; i < n; i++) {
		if (i > 0)
			buf_add_char(&b, ',');
		buf_add_json(&b, items[i]);
	}
	buf_add_char(&b, ']');
	return buf_bytes(&b);
}

enum err site_create(struct task *t, struct app *app, const struct site_new *in, struct ident *id_r)
{
	enum err e = check_new(t, in);
	if (e)
		return e;
	*id_r = ident_new();
	struct bytes title = in->title.n ? in->title : in->name;
	int64_t now = stamp_now();
	e = store_run(t, app, &stmts[CREATE],
		      DB_ARGS(db_ident(id_r), db_text(in->name), db_text(title), db_text(json_array(t->arena, in->domains, in->n_domains)),
			      db_text(json_array(t->arena, in->origins, in->n_origins)), db_int(now), db_int(now)), NULL);
	if (e == ERR_DUPLICATE)
		return task_fail(t, ERR_CONFLICT, "there is a site named %.*s", (int)in->name.n, in->name.p);
	return e;
}

/* A stored list with what of the items it lacks. */
static struct bytes extend_array(struct arena *a, struct bytes stored, const struct bytes *items, size_t n)
{
	struct bytes *all = arena_array(a, n + stored.n, sizeof *all);
	struct jsonx_walk w;
	size_t k = 0;
	jsonx_walk_begin(&w, stored);
	while (jsonx_walk_next(&w))
		all[k++] = jsonx_string(a, w.value);
	for (size_t i = 0; i < n; i++) {
		bool is_there = false;
		for (size_t j = 0; j < k; j++)
			is_there = is_there || bytes_equal(all[j], items[i]);
		if (!is_there)
			all[k++] = items[i];
	}
	return json_array(a, all, k);
}

enum err site_extend(struct task *t, struct app *app, const struct site_new *in, struct ident *id_r)
{
	struct site s;
	enum err e = check_new(t, in);
	if (!e)
		e = site_find_by_name(t, app, in->name, &s);
	if (e)
		return e;
	*id_r = s.id;
	struct bytes domains = extend_array(t->arena, s.domains, in->domains, in->n_domains);
	struct bytes origins = extend_array(t->arena, s.origins, in->origins, in->n_origins);
	return store_run(t, app, &stmts[EXTEND], DB_ARGS(db_text(domains), db_text(origins), db_int(stamp_now()), db_ident(&s.id)), NULL);
}

enum err site_list(struct task *t, struct app *app, struct site **list_r, size_t *n_r)
{
	struct db_rows *r;
	enum err e = store_query(t, app, &stmts[LIST], NULL, 0, &r);
	if (e)
		return e;
	*list_r = arena_array(t->arena, r->n_rows, sizeof **list_r);
	for (size_t i = 0; i < r->n_rows; i++)
		site_from_row(t, r, i, &(*list_r)[i]);
	*n_r = r->n_rows;
	return ERR_OK;
}

const char *site_ttl_name(enum ttl_class k)
{
	return ttl_names[k];
}

enum ttl_class site_ttl_find(struct bytes word)
{
	enum ttl_class k = TTL_SESSION;
	while (k < TTL_COUNT && !bytes_equal(word, bytes_of(ttl_names[k])))
		k++;
	return k;
}

int64_t site_ttl(const struct conf *conf, const struct site *s, enum ttl_class k)
{
	const int64_t installs[TTL_COUNT] = { conf->ttl_session, conf->ttl_memory, conf->ttl_knowledge, conf->ttl_history };
	return s->ttl[k] == TTL_UNSET ? installs[k] : s->ttl[k];
}

enum err site_find_ttl(struct task *t, struct app *app, const struct ident *id, enum ttl_class k, int64_t *ms_r)
{
	struct site s;
	enum err e = site_find(t, app, id, &s);
	*ms_r = e ? 0 : site_ttl(app->conf, &s, k);
	return e;
}

const char *site_cap_name(enum cap k)
{
	return cap_names[k];
}

enum cap site_cap_find(struct bytes word)
{
	enum cap k = CAP_SESSION;
	while (k < CAP_COUNT && !bytes_equal(word, bytes_of(cap_names[k])))
		k++;
	return k;
}

bool site_cap_of_install(const struct conf *conf, enum cap k, int64_t *nano_r)
{
	const char *const installs[CAP_COUNT] = { conf->spend_cap_session, conf->spend_cap_user_day, conf->spend_cap_user_month, conf->spend_cap_site_day,
						  conf->spend_cap_site_month };
	*nano_r = CAP_NONE;
	return !*installs[k] || price_read_amount(bytes_of(installs[k]), nano_r);
}

int64_t site_cap(const struct conf *conf, const struct site *s, enum cap k)
{
	int64_t nano = s->caps[k];
	if (nano == CAP_UNSET && !site_cap_of_install(conf, k, &nano))
		return 0; /* refused at start */
	return nano;
}

/* The stored settings with the change: its times and caps anew, whatever else they hold as it is. */
static struct bytes merge_settings(struct task *t, struct bytes settings, const struct site_change *in)
{
	struct buf patch;
	buf_init(&patch, t->arena, 128);
	buf_add_str(&patch, "{\"ttl\":{");
	for (enum ttl_class k = TTL_SESSION; k < TTL_COUNT; k++) {
		if (in->ttl[k].is_given && in->ttl[k].is_default)
			buf_member_json(&patch, ttl_names[k], BYTES("null"));
		else if (in->ttl[k].is_given)
			buf_member_int(&patch, ttl_names[k], in->ttl[k].ms);
	}
	buf_add_str(&patch, "},\"caps\":{");
	for (enum cap k = CAP_SESSION; k < CAP_COUNT; k++) {
		if (in->caps[k].is_given && in->caps[k].nano == CAP_UNSET)
			buf_member_json(&patch, cap_names[k], BYTES("null"));
		else if (in->caps[k].is_given)
			buf_member_int(&patch, cap_names[k], in->caps[k].nano);
	}
	buf_add_str(&patch, "}}");
	return jsonx_merge(t->arena, render_is_sound(t, settings, JSONX_OBJECT) ? settings : BYTES("{}"), buf_bytes(&patch));
}

struct change {
	struct bytes name;
	const struct site_change *in;
};

static enum err change_in(struct task *t, struct db_conn *c, void *arg)
{
	const struct change *x = arg;
	struct db_rows *r;
	struct site s;
	enum err e = db_query(t, c, &stmts[LOCK], DB_ARGS(db_text(x->name)), &r);
	if (e)
		return e;
	if (r->n_rows == 0)
		return task_fail(t, ERR_NOT_FOUND, "there is no site named %.*s", (int)x->name.n, x->name.p);
	site_from_row(t, r, 0, &s);
	return db_run(t, c, &stmts[CHANGE], DB_ARGS(db_text(bytes_or(x->in->title, s.title)), db_text(merge_settings(t, db_cell_bytes(r, 0, 6), x->in)), db_int(stamp_now()),
						    db_ident(&s.id)), NULL);
}

enum err site_change(struct task *t, struct app *app, struct bytes name, const struct site_change *in)
{
	enum err e = ERR_OK;
	for (enum ttl_class k = TTL_SESSION; k < TTL_COUNT; k++)
		if (in->ttl[k].is_given && (in->ttl[k].ms < 0 || in->ttl[k].ms > TTL_MAX))
			e = task_fail_field(t, arena_printf(t->arena, "ttl.%s", ttl_names[k]), "range", "must be at most 3650 days");
	for (enum cap k = CAP_SESSION; k < CAP_COUNT; k++)
		if (in->caps[k].is_given && in->caps[k].nano < CAP_UNSET)
			e = task_fail_field(t, arena_printf(t->arena, "caps.%s", cap_names[k]), "range", "must not be negative");
	if (in->title.n > 200)
		e = task_fail_field(t, "title", "range", "must be at most 200 bytes");
	return e ? e : store_transact(t, app, change_in, &(struct change){ name, in });
}

void site_render_caps(struct buf *b, const struct conf *conf, const struct site *s)
{
	buf_add_member(b, "spend_caps");
	buf_add_char(b, '{');
	for (enum cap k = CAP_SESSION; k < CAP_COUNT; k++) {
		int64_t nano = site_cap(conf, s, k);
		buf_add_member(b, cap_names[k]);
		if (nano == CAP_NONE)
			buf_add_str(b, "null");
		else
			price_add_amount(b, nano);
	}
	buf_add_char(b, '}');
	buf_member_str(b, "currency", conf->currency);
}

void site_render(struct buf *b, const struct conf *conf, const struct site *s)
{
	buf_add_char(b, '{');
	render_ident(b, "id", PREFIX_SITE, &s->id);
	buf_member_string(b, "name", s->name);
	buf_member_string(b, "title", s->title);
	buf_member_json(b, "domains", s->domains);
	buf_member_json(b, "origins", s->origins);
	buf_member_bool(b, "is_paused", s->is_paused);
	buf_add_str(b, ",\"ttl\":{");
	for (enum ttl_class k = TTL_SESSION; k < TTL_COUNT; k++)
		buf_member_int(b, ttl_names[k], site_ttl(conf, s, k) / 1000);
	buf_add_char(b, '}');
	site_render_caps(b, conf, s);
	buf_member_time(b, "created_at", s->created_at);
	buf_add_char(b, '}');
}

enum err site_pause(struct task *t, struct app *app, const struct ident *id, bool is_paused)
{
	int64_t n;
	enum err e = store_run(t, app, &stmts[PAUSE], DB_ARGS(db_int(is_paused), db_int(stamp_now()), db_ident(id)), &n);
	return !e && n == 0 ? task_fail(t, ERR_NOT_FOUND, "there is no such site") : e;
}

enum err site_create_key(struct task *t, struct app *app, const struct ident *site, enum key_kind kind, struct bytes label, char key_r[API_KEY_SIZE])
{
	unsigned char hash[SECRET_HASH_SIZE];
	struct ident id = ident_new();
	api_key_new(kind == KEY_SECRET ? "sk_" : "pk_", key_r);
	api_key_hash(bytes_of(key_r), hash);
	struct bytes hint = { key_r, 7 };
	return store_run(t, app, &stmts[KEY_CREATE],
			 DB_ARGS(db_blob(hash, sizeof hash), db_ident(&id), db_ident(site), db_int(kind), db_text(hint),
				 db_text(label.p ? label : BYTES("")), db_int(stamp_now())), NULL);
}

enum err site_list_keys(struct task *t, struct app *app, const struct ident *site, struct key_row **rows_r, size_t *n_r)
{
	struct db_rows *r;
	enum err e = store_query(t, app, &stmts[KEY_LIST], DB_ARGS(db_ident(site)), &r);
	if (e)
		return e;
	struct key_row *rows = arena_array(t->arena, r->n_rows, sizeof *rows);
	for (size_t i = 0; i < r->n_rows; i++) {
		db_cell_ident(r, i, 0, &rows[i].id);
		rows[i].kind = (int)db_cell_int(r, i, 1);
		rows[i].hint = db_cell_bytes(r, i, 2);
		rows[i].label = db_cell_bytes(r, i, 3);
		rows[i].created_at = db_cell_int(r, i, 4);
		rows[i].expires_at = db_cell_int(r, i, 5);
		rows[i].revoked_at = db_cell_int(r, i, 6);
	}
	*rows_r = rows;
	*n_r = r->n_rows;
	return ERR_OK;
}

enum err site_revoke_key(struct task *t, struct app *app, const struct ident *site, const struct ident *key)
{
	int64_t n;
	enum err e = store_run(t, app, &stmts[KEY_REVOKE], DB_ARGS(db_int(stamp_now()), db_ident(site), db_ident(key)), &n);
	return !e && n == 0 ? task_fail(t, ERR_NOT_FOUND, "there is no such live key") : e;
}

const struct feature site_feature = { .name = "site", .stmts = stmts, .n_stmts = COUNT(stmts) };
