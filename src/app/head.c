/* SPDX-License-Identifier: MIT */
/*
 * head: a session as it is read. Owns the format of the cache entry: a fixed header, then the very JSON that answers carry, so that a
 * cached read splices bytes and parses nothing. Invariant: the tail is dense and ends at last_seq.
 */
#include "app/head.h"

#include "app/codec.h"
#include "app/lineage.h"
#include "base/jsonx.h"
#include "base/log.h"
#include "base/metrics.h"
#include "base/secret.h"

#define ENTRY_MAGIC 0x32454850u /* "PHE2": a change of the format changes the digit */

enum { FIND, FIND_NAME };
static const struct db_stmt stmts[] = {
	[FIND] = { "SELECT " HEAD_COLUMNS " FROM sessions s LEFT JOIN conversations c ON c.id = s.conversation WHERE s.site = ? AND s.id = ?",
		   NULL, NULL },
	[FIND_NAME] = { "SELECT id FROM sessions WHERE site = ? AND name = ?", NULL, NULL },
};

/* What precedes the JSON in a cache entry; copied in and out, never pointed at, since the bytes are not aligned. */
struct entry_header {
	uint32_t magic;
	uint32_t n_tail;
	uint32_t json_n;
	uint32_t tail_n;
	struct ident site, session, conversation, agent, user;
	int64_t version, last_seq, last_at, idle_ttl, expires_at;
	int32_t status;
	int32_t flags;
	uint32_t lineage_n;
	char ip_address[64];
};

struct ident head_own_ident(const struct ident *site, struct bytes own_id)
{
	struct bytes parts[] = { BYTES("session"), { (const char *)site->b, sizeof site->b }, own_id };
	return secret_ident(parts, COUNT(parts));
}

struct ident head_user_ident(const struct ident *site, struct bytes user)
{
	struct bytes parts[] = { BYTES("user"), { (const char *)site->b, sizeof site->b }, user };
	return secret_ident(parts, COUNT(parts));
}

struct cache_key head_key(const struct ident *site, const struct ident *session)
{
	struct cache_key key;
	memcpy(key.b, site->b, sizeof site->b);
	memcpy(key.b + sizeof site->b, session->b, sizeof session->b);
	return key;
}

/* The entry's bytes for a head. */
static struct bytes encode(struct arena *a, const struct head *h)
{
	struct entry_header eh = {
		.magic = ENTRY_MAGIC, .n_tail = (uint32_t)h->n_tail, .json_n = (uint32_t)h->json.n, .tail_n = (uint32_t)h->tail.n,
		.site = h->site, .session = h->session, .conversation = h->conversation, .agent = h->agent, .user = h->user,
		.version = h->version, .last_seq = h->last_seq, .last_at = h->last_at, .status = h->status,
		.flags = h->flags, .idle_ttl = h->idle_ttl, .expires_at = h->expires_at, .lineage_n = (uint32_t)h->lineage.n,
	};
	memcpy(eh.ip_address, h->ip_address, sizeof eh.ip_address);
	struct buf b;
	buf_init(&b, a, sizeof eh + h->n_tail * sizeof(uint32_t) + h->lineage.n + h->json.n + h->tail.n + 1);
	buf_add(&b, &eh, sizeof eh);
	buf_add(&b, h->offsets, h->n_tail * sizeof(uint32_t));
	buf_add_bytes(&b, h->lineage);
	buf_add_bytes(&b, h->json);
	buf_add_bytes(&b, h->tail);
	return buf_bytes(&b);
}

/* Reads an entry back; false when it is not one of ours, not of this session, or its lengths do not add up. */
static bool decode(struct arena *a, struct bytes value, const struct ident *site, const struct ident *session, struct head *h_r)
{
	struct entry_header eh;
	if (value.n < sizeof eh)
		return false;
	memcpy(&eh, value.p, sizeof eh);
	if (eh.magic != ENTRY_MAGIC || !ident_equal(&eh.site, site) || !ident_equal(&eh.session, session))
		return false;
	size_t offsets_n = (size_t)eh.n_tail * sizeof(uint32_t);
	if (eh.n_tail > HEAD_TAIL_MAX || value.n != sizeof eh + offsets_n + eh.lineage_n + (size_t)eh.json_n + eh.tail_n)
		return false;
	h_r->lineage = (struct bytes){ value.p + sizeof eh + offsets_n, eh.lineage_n };
	if (!lineage_is_sound(h_r->lineage))
		return false;
	uint32_t *offsets = arena_alloc(a, offsets_n);
	memcpy(offsets, value.p + sizeof eh, offsets_n);
	for (size_t i = 0; i < eh.n_tail; i++)
		if (offsets[i] >= eh.tail_n || (i > 0 && offsets[i] <= offsets[i - 1]))
			return false;
	h_r->site = eh.site;
	h_r->session = eh.session;
	h_r->conversation = eh.conversation;
	h_r->agent = eh.agent;
	h_r->user = eh.user;
	h_r->version = eh.version;
	h_r->last_seq = eh.last_seq;
	h_r->last_at = eh.last_at;
	h_r->status = eh.status;
	h_r->flags = eh.flags;
	h_r->idle_ttl = eh.idle_ttl;
	h_r->expires_at = eh.expires_at;
	memcpy(h_r->ip_address, eh.ip_address, sizeof eh.ip_address);
	h_r->ip_address[sizeof h_r->ip_address - 1] = 0;
	h_r->json = (struct bytes){ h_r->lineage.p + eh.lineage_n, eh.json_n };
	h_r->n_tail = eh.n_tail;
	h_r->offsets = offsets;
	h_r->tail = (struct bytes){ h_r->json.p + eh.json_n, eh.tail_n };
	return true;
}

static enum err corrupt_session(struct task *t, const struct head *h)
{
	char id[IDENT_SIZE];
	ident_format(PREFIX_SESSION, &h->session, id);
	metric_add(METRIC_corrupt_records_total, 1);
	log_error(t, "corrupt_record", { "table", "sessions", 0 }, { "session", id, 0 });
	return task_fail(t, ERR_CORRUPT, "this session's record cannot be read; it was reported");
}

/* The row's unchanging part as JSON. */
static enum err render_row(struct task *t, const struct db_rows *r, size_t row, struct head *h)
{
	struct bytes tags = db_cell_bytes(r, row, 9), metadata = db_cell_bytes(r, row, 10), state, config;
	if (!codec_unpack(t->arena, db_cell_bytes(r, row, 11), &state) || !codec_unpack(t->arena, db_cell_bytes(r, row, 12), &config))
		return corrupt_session(t, h);
	if (!render_is_sound(t, tags, JSONX_ARRAY) || !render_is_sound(t, metadata, JSONX_OBJECT) || !render_is_sound(t, state, JSONX_OBJECT) ||
	    !render_is_sound(t, config, JSONX_OBJECT))
		return corrupt_session(t, h);
	struct buf b;
	buf_init(&b, t->arena, 1024 + state.n + config.n);
	buf_add_char(&b, '{');
	struct bytes own_id = db_cell_bytes(r, row, 0);
	if (own_id.p)
		buf_member_string(&b, "id", own_id);
	else
		render_ident(&b, "id", PREFIX_SESSION, &h->session);
	buf_member_string(&b, "name", db_cell_bytes(r, row, 1));
	buf_member_string(&b, "agent", db_cell_bytes(r, row, 3));
	buf_member_string(&b, "user", db_cell_bytes(r, row, 4));
	buf_member_string(&b, "client_type", db_cell_bytes(r, row, 5));
	buf_member_string(&b, "context", db_cell_bytes(r, row, 6));
	buf_member_string(&b, "title", db_cell_bytes(r, row, 7));
	buf_member_str(&b, "status", session_status_name(h->status));
	buf_member_json(&b, "tags", tags);
	buf_member_json(&b, "metadata", metadata);
	buf_member_json(&b, "state", state);
	buf_member_json(&b, "config", config);
	render_ident(&b, "conversation_id", PREFIX_CONVERSATION, &h->conversation);
	buf_member_string(&b, "website_domain", db_cell_bytes(r, row, 14));
	buf_member_int(&b, "version", h->version);
	buf_member_time(&b, "created_at", db_cell_int(r, row, 17));
	buf_member_time(&b, "updated_at", db_cell_int(r, row, 18));
	buf_member_time(&b, "ended_at", db_cell_int(r, row, 20));
	h->json = buf_bytes(&b);
	return ERR_OK;
}

enum err head_from_row(struct task *t, const struct db_rows *r, size_t row, struct head *h_r)
{
	h_r->status = (int)db_cell_int(r, row, 8);
	h_r->version = db_cell_int(r, row, 16);
	h_r->last_at = db_cell_int(r, row, 19);
	h_r->expires_at = db_cell_int(r, row, 21);
	h_r->last_seq = db_cell_int(r, row, 22);
	h_r->lineage = db_cell_bytes(r, row, 23);
	h_r->flags = (int)db_cell_int(r, row, 24);
	h_r->idle_ttl = db_cell_int(r, row, 25);
	h_r->user = head_user_ident(&h_r->site, db_cell_bytes(r, row, 4));
	db_cell_ident(r, row, 2, &h_r->agent);
	struct bytes ip = db_cell_bytes(r, row, 15);
	memset(h_r->ip_address, 0, sizeof h_r->ip_address);
	if (ip.n)
		memcpy(h_r->ip_address, ip.p, ip.n < sizeof h_r->ip_address ? ip.n : sizeof h_r->ip_address - 1);
	if (!db_cell_ident(r, row, 13, &h_r->conversation) || !lineage_is_sound(h_r->lineage))
		return corrupt_session(t, h_r);
	return render_row(t, r, row, h_r);
}

/* Turns tail rows (newest first) into joined JSON (oldest first), as many of the newest as fit and follow each other. */
static void render_tail(struct task *t, const struct message_row *rows, size_t n_rows, size_t max_bytes, struct head *h)
{
	struct bytes *json = arena_array(t->arena, n_rows, sizeof *json);
	size_t n = 0, total = 0;
	for (; n < n_rows && (n == 0 || rows[n].seq == rows[n - 1].seq - 1); n++) {
		struct buf b;
		buf_init(&b, t->arena, 256 + rows[n].content.n);
		render_message(&b, &rows[n]);
		json[n] = buf_bytes(&b);
		total += json[n].n + 1;
		if (total > max_bytes)
			break;
	}
	uint32_t *offsets = arena_array(t->arena, n, sizeof *offsets);
	struct buf tail;
	buf_init(&tail, t->arena, total + 1);
	for (size_t i = 0; i < n; i++) {
		if (i > 0)
			buf_add_char(&tail, ',');
		offsets[i] = (uint32_t)tail.n;
		buf_add_bytes(&tail, json[n - 1 - i]);
	}
	h->n_tail = n;
	h->offsets = offsets;
	h->tail = buf_bytes(&tail);
}

/* Reads h->session of h->site from the database, on the caller's connection if it has one. */
static enum err read_rows(struct task *t, struct app *app, struct db_conn *c, struct head *h)
{
	struct db_rows *r;
	struct message_row *rows;
	size_t n;
	enum err e = store_read(t, app, c, &stmts[FIND], DB_ARGS(db_ident(&h->site), db_ident(&h->session)), &r);
	if (e)
		return e;
	if (r->n_rows == 0)
		return task_fail(t, ERR_NOT_FOUND, "there is no such session");
	e = head_from_row(t, r, 0, h);
	if (e)
		return e;
	struct rows_line line = head_line(h);
	e = rows_read(t, app, c, &line, 1, INT64_MAX, HEAD_TAIL_FILL, true, &rows, &n);
	if (e)
		return e;
	if (n)
		h->last_seq = rows[0].seq;
	if (n && rows[0].created_at > h->last_at && ident_equal(&rows[0].stored_in, &h->conversation))
		h->last_at = rows[0].created_at; /* an inherited message is no activity */
	render_tail(t, rows, n, (size_t)app->conf->cache_tail_bytes, h);
	return ERR_OK;
}

enum err head_read(struct task *t, struct app *app, struct db_conn *c, const struct ident *site, const struct ident *session, struct head *h_r)
{
	memset(h_r, 0, sizeof *h_r);
	h_r->site = *site;
	h_r->session = *session;
	h_r->key = head_key(site, session);
	h_r->found = CACHE_SKIP;
	return read_rows(t, app, c, h_r);
}

/* Looks into the cache alone; what cannot be read there is removed. h_r has ids and key, and a lease perhaps, where nothing was found. */
static bool find_cached(struct task *t, struct app *app, const struct ident *site, const struct ident *session, bool may_fill, struct head *h_r)
{
	memset(h_r, 0, sizeof *h_r);
	h_r->key = head_key(site, session);
	h_r->found = cache_find(t, app->cache, &h_r->key, may_fill, &h_r->entry);
	bool is_hit = h_r->found == CACHE_HIT && decode(t->arena, h_r->entry.value, site, session, h_r);
	if (h_r->found == CACHE_HIT && !is_hit) {
		cache_drop(t, app->cache, &h_r->key);
		h_r->found = CACHE_SKIP;
	}
	h_r->site = *site;
	h_r->session = *session;
	return is_hit;
}

enum err head_load(struct task *t, struct app *app, const struct ident *site, const struct ident *session, struct head *h_r)
{
	if (find_cached(t, app, site, session, true, h_r))
		return ERR_OK;
	enum err e = read_rows(t, app, NULL, h_r);
	if (e) /* nothing to leave in the cache */
		h_r->found = CACHE_SKIP;
	return e;
}

void head_refresh(struct task *t, struct app *app, struct head *h)
{
	struct head fresh;
	if (!h->is_elsewhere && find_cached(t, app, &h->site, &h->session, false, &fresh) && ident_equal(&fresh.conversation, &h->conversation))
		*h = fresh;
}

void head_settle(struct task *t, struct app *app, struct head *h)
{
	if (h->found == CACHE_LEASED)
		cache_fill(t, app->cache, &h->key, &h->entry, encode(t->arena, h));
	h->found = CACHE_SKIP;
}

enum err head_find(struct task *t, struct app *app, const struct ident *site, struct bytes ref, struct head *h_r)
{
	struct ident id;
	if (ident_parse(PREFIX_SESSION, ref, &id))
		return head_load(t, app, site, &id, h_r);
	id = head_own_ident(site, ref);
	enum err e = head_load(t, app, site, &id, h_r);
	if (e != ERR_NOT_FOUND)
		return e;
	struct db_rows *r;
	e = store_query(t, app, &stmts[FIND_NAME], DB_ARGS(db_ident(site), db_text(ref)), &r);
	if (e)
		return e;
	if (r->n_rows == 0 || !db_cell_ident(r, 0, 0, &id))
		return task_fail(t, ERR_NOT_FOUND, "there is no such session");
	task_clear_fault(t);
	return head_load(t, app, site, &id, h_r);
}

enum err head_catch_up(struct task *t, struct app *app, struct head *h, int64_t min_seq)
{
	if (h->last_seq >= min_seq || h->found != CACHE_HIT)
		return ERR_OK;
	cache_drop(t, app->cache, &h->key);
	return head_reload(t, app, h);
}

enum err head_reload(struct task *t, struct app *app, struct head *h)
{
	h->found = CACHE_SKIP;
	return read_rows(t, app, NULL, h);
}

enum err head_follow(struct task *t, struct app *app, struct head *h)
{
	struct ident old = h->conversation;
	if (h->is_elsewhere)
		return ERR_NOT_FOUND; /* the fault stands */
	task_clear_fault(t);
	enum err e = head_reload(t, app, h);
	return !e && ident_equal(&old, &h->conversation) ? task_fail(t, ERR_NOT_FOUND, "there is no such session") : e;
}

/* h with n more messages behind its tail, which is shortened from the front when it grew past its bounds. */
static struct head extended(struct task *t, struct app *app, const struct head *h, const struct bytes *json, size_t n)
{
	size_t added = 0;
	for (size_t i = 0; i < n; i++)
		added += json[i].n + 1;
	size_t keep = h->n_tail + n > HEAD_TAIL_MAX ? HEAD_TAIL_FILL - n : h->n_tail;
	while (keep > 0 && h->tail.n - h->offsets[h->n_tail - keep] + added > (size_t)app->conf->cache_tail_bytes)
		keep--;
	size_t from = keep ? h->offsets[h->n_tail - keep] : h->tail.n;
	uint32_t *offsets = arena_array(t->arena, keep + n, sizeof *offsets);
	struct buf b;
	buf_init(&b, t->arena, h->tail.n - from + added + 1);
	if (h->tail.n > from)
		buf_add(&b, h->tail.p + from, h->tail.n - from);
	for (size_t i = 0; i < keep; i++)
		offsets[i] = h->offsets[h->n_tail - keep + i] - (uint32_t)from;
	for (size_t i = 0; i < n; i++) {
		if (b.n)
			buf_add_char(&b, ',');
		offsets[keep + i] = (uint32_t)b.n;
		buf_add_bytes(&b, json[i]);
	}
	struct head next = *h;
	next.n_tail = keep + n;
	next.offsets = offsets;
	next.tail = buf_bytes(&b);
	return next;
}

void head_appended(struct task *t, struct app *app, struct head *h, int64_t first_seq, const struct bytes *json, size_t n, int64_t at)
{
	bool is_next = first_seq == h->last_seq + 1;
	size_t bytes = 0;
	for (size_t i = 0; i < n; i++)
		bytes += json[i].n + 1;
	bool fits = n < HEAD_TAIL_FILL && bytes <= (size_t)app->conf->cache_tail_bytes;
	if (is_next && fits)
		*h = extended(t, app, h, json, n);
	else
		h->n_tail = 0;
	h->last_seq = first_seq + (int64_t)n - 1;
	if (at > h->last_at)
		h->last_at = at;
	/* A writer's lease is no reader's: when it was lost, whoever filled meanwhile did not see this change, so what it left must go. */
	if ((h->found == CACHE_HIT || h->found == CACHE_LEASED) && is_next && fits)
		cache_replace(t, app->cache, &h->key, &h->entry, encode(t->arena, h));
	else
		cache_drop(t, app->cache, &h->key);
	h->found = CACHE_SKIP; /* the copy that was found is used up */
}

void head_changed(struct task *t, struct app *app, const struct ident *site, const struct ident *session)
{
	struct cache_key key = head_key(site, session);
	cache_drop(t, app->cache, &key);
}

struct bytes head_tail_message(const struct head *h, size_t i)
{
	size_t end = i + 1 < h->n_tail ? h->offsets[i + 1] - 1 : h->tail.n;
	return (struct bytes){ h->tail.p + h->offsets[i], end - h->offsets[i] };
}

struct rows_line head_line(const struct head *h)
{
	return (struct rows_line){ .site = h->site, .session = h->session, .conversation = h->conversation, .lineage = h->lineage,
				   .has_masks = h->flags & SESSION_HAS_MASKS };
}

enum err head_check_active(struct task *t, int status, const char *what)
{
	if (status == SESSION_ARCHIVED)
		return task_fail(t, ERR_SESSION_ENDED, "the session is archived; no %s can be added until it is resumed", what);
	return status == SESSION_ACTIVE ? ERR_OK : task_fail(t, ERR_SESSION_ENDED, "the session has ended; no %s can be added", what);
}

int64_t head_expiry(const struct head *h)
{
	if (h->status == SESSION_ACTIVE)
		return h->idle_ttl > 0 ? h->last_at + h->idle_ttl : 0;
	return h->status == SESSION_ENDED ? h->expires_at : 0;
}

bool head_newest(const struct head *h, int64_t limit, struct bytes *json_r)
{
	size_t n = (size_t)limit;
	if (n == 0) {
		*json_r = (struct bytes){ h->tail.p, 0 };
		return true;
	}
	if (n >= h->n_tail) {
		*json_r = h->tail;
		return (int64_t)h->n_tail >= limit || (int64_t)h->n_tail == h->last_seq;
	}
	uint32_t from = h->offsets[h->n_tail - n];
	*json_r = (struct bytes){ h->tail.p + from, h->tail.n - from };
	return true;
}

struct bytes head_id(const struct head *h)
{
	const char *from = h->json.p + strlen("{\"id\":\""); /* no id needs an escape */
	return (struct bytes){ from, (size_t)((const char *)memchr(from, '"', h->json.n) - from) };
}

void head_render(struct buf *b, const struct head *h, bool with_private)
{
	buf_add_bytes(b, h->json);
	buf_member_int(b, "message_count", h->last_seq);
	buf_member_time(b, "last_activity_at", h->last_at);
	buf_member_time(b, "expires_at", head_expiry(h));
	if (with_private)
		buf_member_str(b, "ip_address", h->ip_address);
}

const struct feature head_feature = { .name = "head", .stmts = stmts, .n_stmts = COUNT(stmts) };
