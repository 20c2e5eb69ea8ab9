/* SPDX-License-Identifier: MIT */
/*
 * search_shared: rows that several conversations of a search's scope read. A message is searched once: where it was written when that session is in the
 * scope, otherwise with the first session of the scope that reads it.
 */
#ifndef PARLEY_APP_SEARCH_SHARED_H
#define PARLEY_APP_SEARCH_SHARED_H

#include "app/rows.h"
#include "base/ident_map.h"

/* Whose messages, and which of them. */
struct search_scope {
	struct ident site;
	struct bytes user;         /* NULL p: any */
	struct ident agent;        /* zero: any */
	struct ident session;      /* zero: any */
	int status;                /* enum session_status; 0: any */
	int role;                  /* enum role; 0: any */
	int64_t from, to;          /* created_at of the message, from inclusive, to exclusive */
};

/* A session as a search knows it. */
struct search_session {
	struct ident id, agent;
	int64_t created_at;
	struct bytes own_id, user;
	int status, flags;
};

#define SEARCH_SESSION_COLUMNS "s.id, s.created_at, s.own_id, s.user_id, s.agent, s.status, s.flags"
#define SEARCH_SESSION_N_COLUMNS 7

/* Reads a row that begins with SEARCH_SESSION_COLUMNS; its texts are copied to the arena. */
void search_session_read(struct arena *a, const struct db_rows *r, size_t row, struct search_session *s_r);

/* Whether the scope takes a session in. The database may compare names less strictly (blanks at the end), so this has the last word. */
bool search_scope_has(const struct search_scope *scope, const struct search_session *s);

/* The order of a search: newer sessions first, of one session the newer conversation. As memcmp. */
int search_compare(const struct search_session *a, const struct ident *a_conversation, const struct search_session *b, const struct ident *b_conversation);

struct search_claim;
struct search_ancestor;

/* What a search learns on its way about shared rows; zeroed but for the first three. */
struct search_shared {
	struct app *app;
	const struct search_scope *scope;
	struct arena *arena; /* that lives as long as the search */
	struct search_ancestor *ancestors;
	size_t n_ancestors, room;
	struct ident_map by_id; /* places in `ancestors`: a deep lineage is looked up ancestor by ancestor */
	const struct search_claim *claims; /* of the scope's user or session */
	size_t n_claims;
	bool has_claims;
};

/*
 * What a conversation that inherits the rows lo..hi of an ancestor has to search of them: all behind claimed_r, and up to there the seqs in masked_r
 * (falling), which look otherwise here than where they are searched, or which are hidden there. Memory is the task's.
 */
enum err search_shared_find(struct task *t, struct search_shared *x, const struct search_session *session, const struct rows_line *line,
			    const struct ident *ancestor, int64_t lo, int64_t hi, int64_t *claimed_r, int64_t **masked_r, size_t *n_masked_r) MUST_CHECK;

extern const struct feature search_shared_feature;

#endif
