/* SPDX-License-Identifier: MIT */
/* stats: how much there is of everything, for the operator. */
#ifndef PARLEY_APP_STATS_H
#define PARLEY_APP_STATS_H

#include "app/site.h"
#include "app/spend.h"

/* What one site has. */
struct site_stats {
	int64_t active, ended, archived; /* sessions */
	int64_t due;                     /* sessions that the next sweep looks at */
	int64_t users;
	int64_t conversations;
	int64_t messages;                /* each where it is stored: what clones and branches share counts once */
	int64_t turns_running, turns_done, turns_failed, turns_cancelled;
	struct spend_sum month;          /* what was spent since this month began (UTC) */
	int64_t deletions;               /* conversations that wait to be removed, or for others that need their rows */
};

/* Counts what a site has. Costs a look at each of its sessions and conversations, none at its messages. */
enum err stats_site(struct task *t, struct app *app, const struct ident *site, struct site_stats *stats_r) MUST_CHECK;

/* Bytes that the database takes up, all sites together. */
enum err stats_bytes(struct task *t, struct app *app, int64_t *bytes_r) MUST_CHECK;

extern const struct feature stats_feature;

#endif
