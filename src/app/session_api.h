/* SPDX-License-Identifier: MIT */
/* session_api: the routes of sessions, and what the chat route shares with them. */
#ifndef PARLEY_APP_SESSION_API_H
#define PARLEY_APP_SESSION_API_H

#include "app/session.h"

/* Refuses, field by field, what a publishable key may not choose (SEC-1). */
enum err session_api_check_public(struct call *c, struct bytes id, struct bytes user) MUST_CHECK;

/* Fills what a browser's session records of its origin: website_domain and ip_address (SIT-4), and the default client type. */
void session_api_add_origin(struct call *c, struct session_new *in);

/* The user of the call's session token, by name: a token holds a hash, the name stands in its session. ERR_NOT_FOUND when that is gone. */
enum err session_api_own_user(struct call *c, struct bytes *user_r) MUST_CHECK;

/* Adds the session object as the call's principal may see it. */
void session_api_write(const struct call *c, struct buf *b, const struct head *h);

/* Sends the answer with the version as its ETag, and with a token of the session where the route gives one. */
void session_api_reply(struct call *c, const struct head *h, int status);

/* The answer when the own id is taken: ERR_SESSION_EXISTS, or with if_exists "return" what there is. */
enum err session_api_reply_existing(struct call *c, struct bytes own_id, struct bytes if_exists) MUST_CHECK;

extern const struct feature session_api_feature;

#endif
