/* SPDX-License-Identifier: MIT */
/* site: the websites of an install, their allowed origins and their keys. */
#ifndef PARLEY_APP_SITE_H
#define PARLEY_APP_SITE_H

#include "app/call.h"

enum key_kind { KEY_SECRET = 1, KEY_PUBLISHABLE = 2 };

/* What is kept for a time of its own (SES-17); each site may set them, else the settings ttl_session, ttl_memory, ... hold. */
enum ttl_class {
	TTL_SESSION,   /* idle time after which an active session ends */
	TTL_MEMORY,
	TTL_KNOWLEDGE,
	TTL_HISTORY,   /* how long an ended session is kept */
	TTL_COUNT
};

/* What may be spent: of a session in its whole life, of a user and of the site in a day and in a calendar month (UTC). See spend.h. */
enum cap { CAP_SESSION, CAP_USER_DAY, CAP_USER_MONTH, CAP_SITE_DAY, CAP_SITE_MONTH, CAP_COUNT };

#define CAP_NONE (-1)
#define CAP_UNSET (-2)

#define TTL_MAX 315360000000 /* ms: ten years */
#define TTL_UNSET (-1)

/* A site, and the key it was found by (zero when found by id). Strings are in the task's arena. */
struct site {
	struct ident id;
	struct bytes name, title;
	struct bytes domains, origins; /* JSON arrays of strings */
	int64_t created_at;
	int64_t ttl[TTL_COUNT]; /* ms, 0: for ever; TTL_UNSET: the install's */
	int64_t caps[CAP_COUNT]; /* nano of the currency, CAP_NONE; CAP_UNSET: the install's */
	bool is_paused;
	struct ident key;
	int key_kind; /* enum key_kind */
	int64_t key_expires_at; /* 0: never */
};

struct site_new {
	struct bytes name, title;
	const struct bytes *domains, *origins;
	size_t n_domains, n_origins;
};

/* What `site set` changes. */
struct site_change {
	struct bytes title; /* NULL p: stays */
	struct {
		bool is_given, is_default; /* is_default: the install's again */
		int64_t ms;                /* 0: for ever */
	} ttl[TTL_COUNT];
	struct {
		bool is_given;
		int64_t nano; /* or CAP_NONE, CAP_UNSET */
	} caps[CAP_COUNT];
};

/* One row of a list of keys. */
struct key_row {
	struct ident id;
	int kind;
	struct bytes hint, label;
	int64_t created_at, expires_at, revoked_at;
};

/* The copies a process may use for key_ttl, so that a request costs no query for them. */
struct site_copies *site_copies_open(void);
void site_copies_close(struct site_copies **c);

/*
 * The site of an API key, by the key's hash: ERR_UNAUTHENTICATED for an unknown, revoked or expired key. From a copy at most key_ttl
 * old; while the database is out of reach (no key can be revoked then) at most 5 minutes old.
 */
enum err site_find_by_key(struct task *t, struct app *app, const unsigned char hash[SECRET_HASH_SIZE], struct site *s_r) MUST_CHECK;
/* The site with this id, in the same way. ERR_NOT_FOUND. */
enum err site_find(struct task *t, struct app *app, const struct ident *id, struct site *s_r) MUST_CHECK;
/* By its name, always from the database. ERR_NOT_FOUND. */
enum err site_find_by_name(struct task *t, struct app *app, struct bytes name, struct site *s_r) MUST_CHECK;

/* Whether the site lists this very origin. */
bool site_allows_origin(const struct site *s, struct bytes origin);
/* Whether any site does, for a preflight, which carries no credential. */
enum err site_any_allows_origin(struct task *t, struct app *app, struct bytes origin, bool *is_allowed_r) MUST_CHECK;

/* Creates a site. ERR_INVALID for a bad name, domain or origin; ERR_CONFLICT when the name is taken. */
enum err site_create(struct task *t, struct app *app, const struct site_new *in, struct ident *id_r) MUST_CHECK;
/* Adds domains and origins that the site does not list yet; the others stay. ERR_INVALID, ERR_NOT_FOUND. */
enum err site_extend(struct task *t, struct app *app, const struct site_new *in, struct ident *id_r) MUST_CHECK;
/* Changes what is given. ERR_NOT_FOUND, ERR_INVALID (a time past TTL_MAX). Workers know after key_ttl at the latest. */
enum err site_change(struct task *t, struct app *app, struct bytes name, const struct site_change *in) MUST_CHECK;
/* All sites by name, without keys. */
enum err site_list(struct task *t, struct app *app, struct site **list_r, size_t *n_r) MUST_CHECK;

/* Word of a class: "session", "memory", "knowledge", "history"; TTL_COUNT for an unknown word. */
const char *site_ttl_name(enum ttl_class k);
enum ttl_class site_ttl_find(struct bytes word);
/* How long this site keeps things of a class, in milliseconds; 0: for ever. */
int64_t site_ttl(const struct conf *conf, const struct site *s, enum ttl_class k);
/* The same for a site that is found first, from a copy at most key_ttl old. ERR_NOT_FOUND. */
enum err site_find_ttl(struct task *t, struct app *app, const struct ident *id, enum ttl_class k, int64_t *ms_r) MUST_CHECK;

/* Word of a cap: "session", "user_day", "user_month", "site_day", "site_month"; CAP_COUNT for an unknown word. */
const char *site_cap_name(enum cap k);
enum cap site_cap_find(struct bytes word);
/* What may be spent, in nano; CAP_NONE: any amount. */
int64_t site_cap(const struct conf *conf, const struct site *s, enum cap k);
/* The install's alone; false when the setting is no amount. */
bool site_cap_of_install(const struct conf *conf, enum cap k, int64_t *nano_r);

/* Adds the members "spend_caps" and "currency". */
void site_render_caps(struct buf *b, const struct conf *conf, const struct site *s);

/* Adds the site as a JSON object: what it is, how long it keeps things, in seconds (0: for ever), and what may be spent (null: any amount). */
void site_render(struct buf *b, const struct conf *conf, const struct site *s);
enum err site_pause(struct task *t, struct app *app, const struct ident *id, bool is_paused) MUST_CHECK;

/* Creates a key and returns its only copy. */
enum err site_create_key(struct task *t, struct app *app, const struct ident *site, enum key_kind kind, struct bytes label, char key_r[API_KEY_SIZE]) MUST_CHECK;
enum err site_list_keys(struct task *t, struct app *app, const struct ident *site, struct key_row **rows_r, size_t *n_r) MUST_CHECK;
/* Revokes a key; workers refuse it after key_ttl at the latest. ERR_NOT_FOUND. */
enum err site_revoke_key(struct task *t, struct app *app, const struct ident *site, const struct ident *key) MUST_CHECK;

/* Whether this is a name for a site, agent or provider: lower-case letters, digits and -, 1 to 64, no - in front. */
bool site_is_name(struct bytes name);

extern const struct feature site_feature;

#endif
