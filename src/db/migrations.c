/* SPDX-License-Identifier: MIT */
/* migrations: the schema, one change a row, in both dialects. Rows are only ever added at the end. */
#include "db/db.h"

/*
 * Ids are 16 bytes made by us, times are milliseconds, JSON that no statement looks into is kept as the bytes that came. No auto-increment,
 * trigger or procedure. The one foreign key keeps late messages from below a conversation that is gone; it costs an append half of
 * what asking for the conversation does.
 */
#define MARIADB " ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin"
#define CLUSTERED " WITHOUT ROWID"

#define SITES                                                                                                          \
	"CREATE TABLE IF NOT EXISTS sites ("                                                                           \
	" id BINARY(16) NOT NULL, name VARCHAR(64) NOT NULL, title VARCHAR(200) NOT NULL,"                             \
	" domains LONGTEXT NOT NULL, origins LONGTEXT NOT NULL, is_paused SMALLINT NOT NULL,"                          \
	" created_at BIGINT NOT NULL, updated_at BIGINT NOT NULL, PRIMARY KEY (id))"

#define API_KEYS                                                                                                       \
	"CREATE TABLE IF NOT EXISTS api_keys ("                                                                        \
	" hash BINARY(32) NOT NULL, id BINARY(16) NOT NULL, site BINARY(16) NOT NULL, kind SMALLINT NOT NULL,"         \
	" hint VARCHAR(16) NOT NULL, label VARCHAR(100) NOT NULL, created_at BIGINT NOT NULL,"                         \
	" expires_at BIGINT NOT NULL, revoked_at BIGINT NOT NULL, PRIMARY KEY (hash))"

#define PROVIDERS                                                                                                      \
	"CREATE TABLE IF NOT EXISTS providers ("                                                                       \
	" name VARCHAR(64) NOT NULL, kind VARCHAR(32) NOT NULL, base_url VARCHAR(1000) NOT NULL,"                      \
	" key_file VARCHAR(200) NOT NULL, created_at BIGINT NOT NULL, PRIMARY KEY (name))"

#define AGENTS                                                                                                         \
	"CREATE TABLE IF NOT EXISTS agents ("                                                                          \
	" id BINARY(16) NOT NULL, site BINARY(16) NOT NULL, name VARCHAR(64) NOT NULL, title VARCHAR(200) NOT NULL,"   \
	" instructions LONGTEXT NOT NULL, provider VARCHAR(64) NOT NULL, model VARCHAR(128) NOT NULL,"                 \
	" temperature DOUBLE, max_output_tokens BIGINT NOT NULL, language VARCHAR(35) NOT NULL,"                       \
	" version BIGINT NOT NULL, created_at BIGINT NOT NULL, updated_at BIGINT NOT NULL, PRIMARY KEY (id))"

#define SESSIONS                                                                                                       \
	"CREATE TABLE IF NOT EXISTS sessions ("                                                                        \
	" id BINARY(16) NOT NULL, site BINARY(16) NOT NULL, own_id VARCHAR(128), name VARCHAR(255) NOT NULL,"          \
	" agent BINARY(16) NOT NULL, agent_name VARCHAR(64) NOT NULL, user_id VARCHAR(128) NOT NULL,"                  \
	" client_type VARCHAR(32) NOT NULL, context VARCHAR(128) NOT NULL, title VARCHAR(200) NOT NULL,"               \
	" status SMALLINT NOT NULL, tags LONGTEXT NOT NULL, metadata LONGTEXT NOT NULL, state LONGBLOB NOT NULL,"      \
	" config LONGBLOB NOT NULL, conversation BINARY(16) NOT NULL, website_domain VARCHAR(255) NOT NULL,"           \
	" ip_address VARCHAR(64) NOT NULL, version BIGINT NOT NULL, created_at BIGINT NOT NULL,"                       \
	" updated_at BIGINT NOT NULL, active_at BIGINT NOT NULL, ended_at BIGINT NOT NULL,"                            \
	" expires_at BIGINT NOT NULL, PRIMARY KEY (id))"

#define CONVERSATIONS                                                                                                  \
	"CREATE TABLE IF NOT EXISTS conversations ("                                                                   \
	" id BINARY(16) NOT NULL, site BINARY(16) NOT NULL, session BINARY(16) NOT NULL, parent BINARY(16),"           \
	" base_seq BIGINT NOT NULL, title VARCHAR(200) NOT NULL, created_at BIGINT NOT NULL, PRIMARY KEY (id))"

#define MESSAGES                                                                                                       \
	"CREATE TABLE IF NOT EXISTS messages ("                                                                        \
	" conversation BINARY(16) NOT NULL, seq BIGINT NOT NULL, id BINARY(16) NOT NULL, site BINARY(16) NOT NULL,"    \
	" role SMALLINT NOT NULL, content LONGBLOB NOT NULL, metadata LONGBLOB, extra LONGBLOB,"                       \
	" turn BINARY(16), created_at BIGINT NOT NULL, PRIMARY KEY (conversation, seq),"                               \
	" CONSTRAINT messages_conversation FOREIGN KEY (conversation) REFERENCES conversations (id))"

#define TURNS                                                                                                          \
	"CREATE TABLE IF NOT EXISTS turns ("                                                                           \
	" id BINARY(16) NOT NULL, site BINARY(16) NOT NULL, session BINARY(16) NOT NULL,"                              \
	" conversation BINARY(16) NOT NULL, status SMALLINT NOT NULL, user_seq BIGINT NOT NULL,"                       \
	" answer_seq BIGINT NOT NULL, model VARCHAR(128) NOT NULL, finish VARCHAR(16) NOT NULL,"                       \
	" error_code VARCHAR(40) NOT NULL, error_detail VARCHAR(500) NOT NULL, input_tokens BIGINT NOT NULL,"          \
	" output_tokens BIGINT NOT NULL, partial LONGBLOB, idem BINARY(32), created_at BIGINT NOT NULL,"               \
	" ended_at BIGINT NOT NULL, PRIMARY KEY (id))"

#define TURN_LEASES                                                                                                    \
	"CREATE TABLE IF NOT EXISTS turn_leases ("                                                                     \
	" conversation BINARY(16) NOT NULL, site BINARY(16) NOT NULL, turn BINARY(16) NOT NULL,"                       \
	" lease_until BIGINT NOT NULL, PRIMARY KEY (conversation))"

#define IDEMPOTENCY                                                                                                    \
	"CREATE TABLE IF NOT EXISTS idempotency ("                                                                     \
	" hash BINARY(32) NOT NULL, site BINARY(16) NOT NULL, body_hash BINARY(32) NOT NULL,"                         \
	" session BINARY(16), turn BINARY(16), status SMALLINT NOT NULL, body LONGBLOB NOT NULL,"                      \
	" created_at BIGINT NOT NULL, expires_at BIGINT NOT NULL, PRIMARY KEY (hash))"

/* Conversations whose session is gone; they go as well once what is below them was removed, batch by batch. */
#define DELETIONS                                                                                                      \
	"CREATE TABLE IF NOT EXISTS deletions ("                                                                       \
	" conversation BINARY(16) NOT NULL, site BINARY(16) NOT NULL, created_at BIGINT NOT NULL,"                     \
	" PRIMARY KEY (conversation))"

#define LOCKS                                                                                                          \
	"CREATE TABLE IF NOT EXISTS locks ("                                                                           \
	" name VARCHAR(64) NOT NULL, owner BINARY(16) NOT NULL, held_until BIGINT NOT NULL, PRIMARY KEY (name))"

/* A tag's sessions in the order of lists. */
#define SESSION_TAGS                                                                                                   \
	"CREATE TABLE IF NOT EXISTS session_tags ("                                                                    \
	" site BINARY(16) NOT NULL, tag VARCHAR(64) NOT NULL, created_at BIGINT NOT NULL, session BINARY(16) NOT NULL,"\
	" PRIMARY KEY (site, tag, created_at, session))"

/* What one session hides of messages that it shares with the session it was cloned from. */
#define MESSAGE_MASKS                                                                                                  \
	"CREATE TABLE IF NOT EXISTS message_masks ("                                                                   \
	" session BINARY(16) NOT NULL, conversation BINARY(16) NOT NULL, seq BIGINT NOT NULL, site BINARY(16) NOT NULL,"\
	" content LONGBLOB NOT NULL, extra LONGBLOB, created_at BIGINT NOT NULL, PRIMARY KEY (session, conversation, seq))"

/* The summary of a conversation's messages up to upto_seq, which stay as they are. */
#define SUMMARIES                                                                                                      \
	"CREATE TABLE IF NOT EXISTS summaries ("                                                                       \
	" conversation BINARY(16) NOT NULL, upto_seq BIGINT NOT NULL, site BINARY(16) NOT NULL, method VARCHAR(16) NOT NULL,"\
	" content LONGBLOB NOT NULL, tokens_before BIGINT NOT NULL, tokens_after BIGINT NOT NULL, created_at BIGINT NOT NULL,"\
	" PRIMARY KEY (conversation, upto_seq))"

#define TEMPLATES                                                                                                      \
	"CREATE TABLE IF NOT EXISTS templates ("                                                                       \
	" id BINARY(16) NOT NULL, site BINARY(16) NOT NULL, name VARCHAR(64) NOT NULL, title VARCHAR(200) NOT NULL,"   \
	" preset VARCHAR(64) NOT NULL, config LONGBLOB NOT NULL, required_context LONGTEXT NOT NULL,"                  \
	" memory_categories LONGTEXT NOT NULL, version BIGINT NOT NULL, created_at BIGINT NOT NULL,"                   \
	" updated_at BIGINT NOT NULL, PRIMARY KEY (id))"

/* How far an import of a file came, so that it can go on and is not done twice. */
#define IMPORTS                                                                                                        \
	"CREATE TABLE IF NOT EXISTS imports ("                                                                         \
	" site BINARY(16) NOT NULL, checksum BINARY(32) NOT NULL, lines_done BIGINT NOT NULL, n_lines BIGINT NOT NULL,"\
	" started_at BIGINT NOT NULL, ended_at BIGINT NOT NULL, PRIMARY KEY (site, checksum))"

/* Sessions from before there were rows of tags have theirs in the column alone. */
#define FILL_TAGS(ignore, tag, from)                                                                                   \
	"INSERT " ignore " INTO session_tags (site, tag, created_at, session) SELECT s.site, " tag ", s.created_at, s.id FROM sessions s, " from
#define SOUND_TAGS "CASE WHEN JSON_VALID(s.tags) THEN s.tags ELSE '[]' END"

/* A session made anew with the id of one whose deletion is not over must not find that one's conversations. */
#define DETACH_DELETED                                                                                                 \
	"UPDATE conversations SET session = X'00000000000000000000000000000000' WHERE id IN (SELECT conversation FROM deletions)"

/* Who waits for a conversation's lease, in order. */
#define TURN_QUEUE                                                                                                     \
	"CREATE TABLE IF NOT EXISTS turn_queue ("                                                                      \
	" conversation BINARY(16) NOT NULL, ticket BIGINT NOT NULL, site BINARY(16) NOT NULL, until BIGINT NOT NULL,"  \
	" PRIMARY KEY (conversation, ticket))"

#define TOOLS                                                                                                          \
	"CREATE TABLE IF NOT EXISTS tools ("                                                                           \
	" id BINARY(16) NOT NULL, site BINARY(16) NOT NULL, name VARCHAR(64) NOT NULL, description LONGTEXT NOT NULL," \
	" parameters LONGTEXT NOT NULL, url VARCHAR(2000) NOT NULL, timeout_ms BIGINT NOT NULL, max_bytes BIGINT NOT NULL,"\
	" generation BIGINT NOT NULL, version BIGINT NOT NULL, created_at BIGINT NOT NULL, updated_at BIGINT NOT NULL,"\
	" PRIMARY KEY (id))"

/* What was spent: of a session, a user or the whole site, in all or in a period. */
#define SPEND                                                                                                          \
	"CREATE TABLE IF NOT EXISTS spend ("                                                                           \
	" site BINARY(16) NOT NULL, scope SMALLINT NOT NULL, subject BINARY(16) NOT NULL, period BIGINT NOT NULL,"     \
	" nano BIGINT NOT NULL, input_tokens BIGINT NOT NULL, output_tokens BIGINT NOT NULL, turns BIGINT NOT NULL,"   \
	" updated_at BIGINT NOT NULL, PRIMARY KEY (site, scope, subject, period))"

#define ADD_COLUMN(to, column) "ALTER TABLE " to " ADD COLUMN IF NOT EXISTS " column, "ALTER TABLE " to " ADD COLUMN " column
#define BOTH(columns) columns MARIADB, columns CLUSTERED
#define INDEX(unique, name, on) "CREATE " unique "INDEX IF NOT EXISTS " name " ON " on, NULL

const struct db_migration db_migrations[] = {
	{ 1, "sites", BOTH(SITES) },
	{ 2, "sites by name", INDEX("UNIQUE ", "sites_name", "sites (name)") },
	{ 3, "api keys", BOTH(API_KEYS) },
	{ 4, "api keys of a site", INDEX("", "api_keys_site", "api_keys (site, created_at)") },
	{ 5, "providers", BOTH(PROVIDERS) },
	{ 6, "agents", BOTH(AGENTS) },
	{ 7, "agents by name", INDEX("UNIQUE ", "agents_name", "agents (site, name)") },
	{ 8, "sessions", BOTH(SESSIONS) },
	{ 9, "sessions by name", INDEX("UNIQUE ", "sessions_name", "sessions (site, name)") },
	{ 10, "sessions by time", INDEX("", "sessions_time", "sessions (site, created_at, id)") },
	{ 11, "sessions of a user", INDEX("", "sessions_user", "sessions (site, user_id, created_at, id)") },
	{ 12, "sessions of an agent", INDEX("", "sessions_agent", "sessions (site, agent, created_at, id)") },
	{ 13, "conversations", BOTH(CONVERSATIONS) },
	{ 14, "conversations of a session", INDEX("", "conversations_session", "conversations (session, id)") },
	{ 15, "messages", BOTH(MESSAGES) },
	{ 16, "turns", BOTH(TURNS) },
	{ 17, "turns of a conversation", INDEX("", "turns_conversation", "turns (conversation, id)") },
	{ 18, "turn leases", BOTH(TURN_LEASES) },
	{ 19, "turn leases by age", INDEX("", "turn_leases_age", "turn_leases (lease_until)") },
	{ 20, "idempotency", BOTH(IDEMPOTENCY) },
	{ 21, "idempotency by age", INDEX("", "idempotency_age", "idempotency (expires_at)") },
	{ 22, "idempotency of a session", INDEX("", "idempotency_session", "idempotency (session)") },
	{ 23, "deletions", BOTH(DELETIONS) },
	{ 24, "locks", BOTH(LOCKS) },
	{ 25, "flags of a session", ADD_COLUMN("sessions", "flags SMALLINT NOT NULL DEFAULT 0") },
	{ 26, "idle time of a session", ADD_COLUMN("sessions", "idle_ttl BIGINT NOT NULL DEFAULT 0") },
	{ 27, "sessions by client type", INDEX("", "sessions_client_type", "sessions (site, client_type, created_at, id)") },
	{ 28, "sessions by status", INDEX("", "sessions_status", "sessions (site, status, created_at, id)") },
	{ 29, "sessions by context", INDEX("", "sessions_context", "sessions (site, context, created_at, id)") },
	{ 30, "sessions by expiry", INDEX("", "sessions_expiry", "sessions (expires_at)") },
	{ 31, "tags of sessions", BOTH(SESSION_TAGS) },
	{ 32, "tags of a session", INDEX("", "session_tags_session", "session_tags (session)") },
	{ 33, "lineage of a conversation", ADD_COLUMN("conversations", "lineage LONGBLOB") },
	{ 34, "branches of a conversation", INDEX("", "conversations_parent", "conversations (parent)") },
	{ 35, "tokens of a message", ADD_COLUMN("messages", "tokens BIGINT NOT NULL DEFAULT 0") },
	{ 36, "masked messages", BOTH(MESSAGE_MASKS) },
	{ 37, "summaries", BOTH(SUMMARIES) },
	{ 38, "templates", BOTH(TEMPLATES) },
	{ 39, "templates by name", INDEX("UNIQUE ", "templates_name", "templates (site, name)") },
	{ 40, "settings of a site", ADD_COLUMN("sites", "settings LONGTEXT") },
	{ 41, "imports", BOTH(IMPORTS) },
	{ 42, "deletions that wait for descendants", ADD_COLUMN("deletions", "waits SMALLINT NOT NULL DEFAULT 0") },
	{ 43, "deletions that are due", INDEX("", "deletions_due", "deletions (waits, created_at)") },
	{ 44, "tags of older sessions",
	  FILL_TAGS("IGNORE", "g.tag", "JSON_TABLE(" SOUND_TAGS ", '$[*]' COLUMNS (tag VARCHAR(64) CHARACTER SET utf8mb4 PATH '$')) g WHERE g.tag IS NOT NULL"),
	  FILL_TAGS("OR IGNORE", "g.value", "json_each(" SOUND_TAGS ") g WHERE g.type = 'text'") },
	{ 45, "conversations of sessions deleted before", DETACH_DELETED, NULL },
	{ 46, "worker of a turn", ADD_COLUMN("turn_leases", "owner BINARY(16)") },
	{ 47, "turns to be cancelled", ADD_COLUMN("turn_leases", "cancel SMALLINT NOT NULL DEFAULT 0") },
	{ 48, "turns of a worker", INDEX("", "turn_leases_owner", "turn_leases (owner, cancel)") },
	{ 49, "who waits for a turn's end", BOTH(TURN_QUEUE) },
	{ 50, "steps of a turn", ADD_COLUMN("turns", "steps LONGBLOB") },
	{ 51, "provider of a turn", ADD_COLUMN("turns", "provider VARCHAR(64) NOT NULL DEFAULT ''") },
	{ 52, "cost of a turn", ADD_COLUMN("turns", "cost BIGINT") },
	{ 53, "turns of a session", INDEX("", "turns_session", "turns (session, id)") },
	{ 54, "tools of an agent", ADD_COLUMN("agents", "tools LONGTEXT") },
	{ 55, "other providers of an agent", ADD_COLUMN("agents", "fallbacks LONGTEXT") },
	{ 56, "iterations of an agent", ADD_COLUMN("agents", "max_iterations BIGINT NOT NULL DEFAULT 0") },
	{ 57, "tool mode of an agent", ADD_COLUMN("agents", "tool_mode VARCHAR(16) NOT NULL DEFAULT 'native'") },
	{ 58, "tools", BOTH(TOOLS) },
	{ 59, "tools by name", INDEX("UNIQUE ", "tools_name", "tools (site, name)") },
	{ 60, "spend", BOTH(SPEND) },
	{ 61, "spend by age", INDEX("", "spend_age", "spend (scope, period)") },
	{ 0, NULL, NULL, NULL },
};
