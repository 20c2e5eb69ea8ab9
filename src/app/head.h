/* SPDX-License-Identifier: MIT */
/*
 * head: a session as it is read: its row and the newest messages of its active conversation, from one cache entry or from the
 * database. Everything that reads or changes a session starts here.
 */
#ifndef PARLEY_APP_HEAD_H
#define PARLEY_APP_HEAD_H

#include "app/call.h"
#include "app/render.h"
#include "app/rows.h"

#define HEAD_TAIL_MAX 24  /* most messages in a cached tail ... */
#define HEAD_TAIL_FILL 20 /* ... and how many it starts with, or shrinks to when full */

/* Facts of a session that decide how its messages are read; bits, stored. */
enum session_flag {
	SESSION_HAS_MASKS = 1,     /* message_masks has rows of it */
	SESSION_IS_CLONED = 2,     /* other sessions may descend from its conversations */
	SESSION_HAS_SUMMARIES = 4, /* summaries has rows of its conversations */
	SESSION_IS_SETTLING = 8,   /* a sweep ended it; what its memory policy does not keep is still there (expire.c) */
};

/* A session with its tail. All memory is the task's. */
struct head {
	struct ident site, session, conversation, agent;
	struct ident user;       /* head_user_ident of the user's id */
	int status;              /* enum session_status */
	int flags;               /* enum session_flag */
	int64_t idle_ttl;        /* ms without activity after which an active session ends; 0: never */
	int64_t expires_at;      /* when the janitor looks at it: active: no earlier than its end; ended: when it goes; 0: never */
	struct bytes lineage;    /* of the conversation: see lineage.h */
	bool is_elsewhere;       /* it describes another conversation than the active one: nothing here is for the cache */
	int64_t version;         /* counts changes of the row: the ETag */
	int64_t last_seq;        /* of the active conversation; its message count */
	int64_t last_at;         /* time of the newest message, or of the last other activity */
	char ip_address[64];
	struct bytes json;       /* the session object up to where the changing members go, without its closing brace */
	size_t n_tail;           /* the newest messages, dense, up to last_seq */
	const uint32_t *offsets; /* n_tail offsets into tail */
	struct bytes tail;       /* their JSON objects joined by commas, oldest first */
	/* Where it came from, for the writer that updates it. */
	enum cache_found found;
	struct cache_key key;
	struct cache_entry entry;
};

/* The id inside for a caller's own session id: fixed by site and text, so that the primary key keeps it unique (SES-2). */
struct ident head_own_ident(const struct ident *site, struct bytes own_id);

/* The id inside for a user's name, as tokens carry it. */
struct ident head_user_ident(const struct ident *site, struct bytes user);

/* The cache key of a session. */
struct cache_key head_key(const struct ident *site, const struct ident *session);

/*
 * Loads by id. After a miss h may hold the cache's lease: head_settle or head_appended then fills the cache, so that a reader leaves
 * its copy there and a writer the state after its own change. Errors: ERR_NOT_FOUND (also for another site's), ERR_CORRUPT, or the database's.
 */
enum err head_load(struct task *t, struct app *app, const struct ident *site, const struct ident *session, struct head *h_r) MUST_CHECK;

/* Loads by whatever names a session in a path: "ses_...", the caller's own id, or the readable name. */
enum err head_find(struct task *t, struct app *app, const struct ident *site, struct bytes ref, struct head *h_r) MUST_CHECK;

/*
 * For a caller that knows of a message min_seq: a cached copy that ends before it is removed and read again. 0: nothing is known.
 */
enum err head_catch_up(struct task *t, struct app *app, struct head *h, int64_t min_seq) MUST_CHECK;

/* Loads from the database alone, for a writer whose copy proved old; nothing is filled. */
enum err head_reload(struct task *t, struct app *app, struct head *h) MUST_CHECK;

/*
 * For a writer whose conversation proved to be gone (ERR_NOT_FOUND): loads anew. ERR_OK when the session has gone on in another one, where the writer
 * may try again; ERR_NOT_FOUND when it has not, or when h was not in the active one.
 */
enum err head_follow(struct task *t, struct app *app, struct head *h) MUST_CHECK;

/*
 * For a writer whose copy is used up, or old: takes the cached one in its place, if there is one and the session is still in h's conversation, so that
 * what it commits next can be put behind it. Before the commit.
 */
void head_refresh(struct task *t, struct app *app, struct head *h);

/*
 * Tells the cache of messages just committed behind h->last_seq, before they are acknowledged: updates the entry in place when h is the very
 * one it holds, removes it otherwise. `json` are the n message objects. h then describes the new state; its tail may be empty.
 */
void head_appended(struct task *t, struct app *app, struct head *h, int64_t first_seq, const struct bytes *json, size_t n, int64_t at);

/* Reads within the caller's transaction, past the cache. */
enum err head_read(struct task *t, struct app *app, struct db_conn *c, const struct ident *site, const struct ident *session, struct head *h_r) MUST_CHECK;

/* The columns that head_from_row reads, of sessions s and conversations c; the last is the newest seq when no tail is read. */
#define HEAD_COLUMNS                                                                                                   \
	"s.own_id, s.name, s.agent, s.agent_name, s.user_id, s.client_type, s.context, s.title, s.status,"             \
	" s.tags, s.metadata, s.state, s.config, s.conversation, s.website_domain, s.ip_address, s.version,"           \
	" s.created_at, s.updated_at, s.active_at, s.ended_at, s.expires_at, c.base_seq, c.lineage, s.flags, s.idle_ttl"
#define HEAD_N_COLUMNS 26

/* Fills a head, whose site and session the caller has set, from a row. ERR_CORRUPT (reported) when it cannot be read. */
enum err head_from_row(struct task *t, const struct db_rows *r, size_t row, struct head *h_r) MUST_CHECK;

/* Fills the cache with what was read, if h holds the lease for it: the dispatcher does so for the head of every call. */
void head_settle(struct task *t, struct app *app, struct head *h);

/* Tells the cache that the session was changed in any other way. */
void head_changed(struct task *t, struct app *app, const struct ident *site, const struct ident *session);

/*
 * The newest `limit` messages of the tail, oldest first, as JSON objects joined by commas; false when the tail does not hold that many
 * although the conversation does.
 */
bool head_newest(const struct head *h, int64_t limit, struct bytes *json_r);
/* JSON of the tail's i-th message. */
struct bytes head_tail_message(const struct head *h, size_t i);

/* The messages that h's conversation sees, for rows_read. */
struct rows_line head_line(const struct head *h);

/* ERR_SESSION_ENDED, in words that tell an ended session from an archived one, unless it is active. `what` cannot be added: "message". */
enum err head_check_active(struct task *t, int status, const char *what) MUST_CHECK;

/* When an active session ends unless something happens, or an ended one goes; 0: never. */
int64_t head_expiry(const struct head *h);

/* The id by which clients know the session: the caller's own, or "ses_...". */
struct bytes head_id(const struct head *h);

/* Adds the session object without its closing brace; with_private adds what only the site itself may see. */
void head_render(struct buf *b, const struct head *h, bool with_private);

extern const struct feature head_feature;

#endif
