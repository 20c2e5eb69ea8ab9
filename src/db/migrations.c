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
	{ 0, NULL, NULL, NULL },
};
