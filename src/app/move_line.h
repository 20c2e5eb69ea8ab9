/* SPDX-License-Identifier: MIT */
/*
 * move_line: the lines of an export, as text and as structs. A file is JSON lines: a header, then agents and templates, then each session with
 * its conversations (a parent before its branches), their messages by conversation and seq, and their summaries. Ids are kept, times are
 * milliseconds since 1970, JSON is what was stored.
 */
#ifndef PARLEY_APP_MOVE_LINE_H
#define PARLEY_APP_MOVE_LINE_H

#include "app/agent.h"
#include "app/render.h"
#include "app/template.h"

#define MOVE_VERSION 1
#define MOVE_HEADER_SIZE 384 /* bytes of the header line: it is written last, into a place kept free for it */

enum move_type { MOVE_AGENT = 1, MOVE_TEMPLATE, MOVE_SESSION, MOVE_CONVERSATION, MOVE_MESSAGE, MOVE_SUMMARY };

/* What a file holds, counted. */
struct move_counts {
	int64_t sessions, conversations, messages, lines;
};

struct move_header {
	int64_t version;
	struct bytes scope, site, checksum; /* checksum: 64 hexadecimal digits, BLAKE2b-256 of everything behind the header line */
	struct move_counts counts;
};

struct move_session {
	struct ident id;           /* zero when it has an own id: the target makes it from that */
	struct bytes own_id, name, user, client_type, context, title, website_domain, ip_address;
	struct bytes agent;        /* name of the agent it belongs to; NULL p: that one is gone */
	struct bytes agent_name;   /* as it was when the session began */
	int status;                /* enum session_status */
	struct bytes tags, metadata, state, config; /* raw JSON */
	struct ident conversation; /* the active one */
	int64_t version, created_at, updated_at, active_at, ended_at, expires_at, idle_ttl;
};

struct move_conversation {
	struct ident id, parent; /* parent zero: none */
	struct bytes title;
	int64_t base_seq;        /* it sees its parent's messages up to here */
	int64_t created_at;
};

struct move_message {
	struct ident conversation, id, turn; /* turn zero: none */
	int64_t seq, tokens, created_at;
	int role;
	struct bytes content, metadata, extra; /* raw JSON; metadata and extra may be absent */
};

struct move_summary {
	struct ident conversation;
	int64_t upto_seq, tokens_before, tokens_after, created_at;
	struct bytes method, content;
};

struct move_line {
	enum move_type type;
	union {
		struct agent agent;       /* without ids */
		struct template template; /* likewise */
		struct move_session session;
		struct move_conversation conversation;
		struct move_message message;
		struct move_summary summary;
	};
};

/*
 * Reads one line behind the header: whole and strict JSON, every field known, of its type and within the limits that the API has too. Texts are
 * in the arena or in `text`. ERR_INVALID with the wrong fields, or with what is wrong with the JSON.
 */
enum err move_line_parse(struct task *t, struct bytes text, struct move_line *line_r) MUST_CHECK;

/* Reads the header line. ERR_INVALID when it is none, or of a version that this program does not know. */
enum err move_header_parse(struct task *t, struct bytes text, struct move_header *h_r) MUST_CHECK;

/* Adds a line with its newline. What is raw JSON stays on the line: line breaks between its tokens become spaces. */
void move_line_format(struct buf *b, const struct move_line *line);

/* Writes the header line, MOVE_HEADER_SIZE bytes with its newline. */
void move_header_format(const struct move_header *h, char out[MOVE_HEADER_SIZE]);

/* Whether a message's id leads to its seq, as every id that was given here does. */
bool move_message_id_fits(const struct ident *id, int64_t seq);

#endif
