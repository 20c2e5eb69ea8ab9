/* SPDX-License-Identifier: MIT */
/* render: rows as the JSON that answers and the cache carry. */
#ifndef PARLEY_APP_RENDER_H
#define PARLEY_APP_RENDER_H

#include "base/buf.h"
#include "base/ident.h"
#include "base/jsonx.h"
#include "db/db.h"

#define PREFIX_SESSION "ses_"
#define PREFIX_CONVERSATION "cnv_"
#define PREFIX_MESSAGE "msg_"
#define PREFIX_TURN "trn_"
#define PREFIX_SITE "sit_"
#define PREFIX_AGENT "agt_"
#define PREFIX_KEY "key_"
#define PREFIX_TOOL "tol_"

/* Stored as numbers; never renumbered. */
enum role { ROLE_SYSTEM = 1, ROLE_DEVELOPER, ROLE_USER, ROLE_ASSISTANT, ROLE_TOOL };
enum session_status { SESSION_ACTIVE = 1, SESSION_ENDED = 2, SESSION_ARCHIVED = 3 };

/* Word of a stored number ("user", "active"); "unknown" for one we never wrote. And back: 0 for an unknown word, or none. */
const char *role_name(int role);
int role_find(struct bytes name);
const char *session_status_name(int status);
int session_status_find(struct bytes name);

/* The words of role_find, for field tables. */
#define ROLE_CHOICES "system|developer|user|assistant|tool"

/* Adds a member with an id in text form; a zero id is written as null. */
void render_ident(struct buf *b, const char *name, const char *prefix, const struct ident *id);

/*
 * Whether stored text is JSON of this type. It was when it was stored; what came of it since must not break the answers it stands in (OPS-6).
 */
bool render_is_sound(struct task *t, struct bytes json, enum jsonx_type type);

/* The frame of a page: {"data":[ items, joined by render_list_next ],"has_more":...,"next":...}; `next` without bytes is null. */
void render_list_begin(struct buf *b);
void render_list_next(struct buf *b);
void render_list_end(struct buf *b, bool has_more, struct bytes next);

/* A stored message, unpacked. Raw members are JSON text; empty ones are left out. */
struct message_row {
	struct ident conversation, id, turn; /* turn may be zero */
	struct ident stored_in; /* the conversation whose row it is: an ancestor's, or `conversation` */
	int64_t seq;
	int role;
	struct bytes content;  /* raw JSON, null when it was deleted; empty when the record was corrupt */
	struct bytes metadata; /* raw JSON object or empty */
	struct bytes extra;    /* raw JSON object whose members are spliced in, or empty */
	int64_t created_at;
	int64_t tokens; /* what it cost, as counted or told; 0: unknown */
};

/* Whether the message was deleted: its place is kept, its content is gone. */
bool message_is_deleted(const struct message_row *m);

/* The columns that message_from_row reads, in its order. */
#define MESSAGE_COLUMNS "m.conversation, m.seq, m.id, m.role, m.content, m.metadata, m.extra, m.turn, m.created_at, m.tokens"
#define MESSAGE_N_COLUMNS 10

/*
 * Unpacks a row of MESSAGE_COLUMNS. A record that cannot be read is reported to the log and counted, and comes with empty
 * content: the rest of the conversation works (OPS-6).
 */
void message_from_row(struct task *t, const struct db_rows *rows, size_t row, struct message_row *m_r);

/*
 * Reads back what render_message wrote of a message of this conversation: validated JSON, as a cached tail holds it. `stored_in` and `tokens` are
 * not in it: they come as the conversation and 0.
 */
void message_from_json(struct task *t, struct bytes json, const struct ident *conversation, struct message_row *m_r);

/* The message as clients see it; a corrupt one has "content":null and "corrupt":true. */
void render_message(struct buf *b, const struct message_row *m);

#endif
