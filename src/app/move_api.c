/* SPDX-License-Identifier: MIT */
/* move_api: an export is written to a file without a name first, since its header is known last, and sent from there piece by piece. */
#include "app/move_api.h"

#include <stddef.h>
#include <unistd.h>

#include "app/dispatch.h"
#include "app/head.h"
#include "app/idem.h"
#include "app/move_export.h"
#include "app/site.h"

struct export_in {
	struct bytes user;
};
static const struct field export_fields[] = {
	{ .name = "user", .type = FIELD_STRING, .min = 1, .max = 128, .offset = offsetof(struct export_in, user), .help = "Only this user's sessions; without it, all of the site" },
	{ .name = NULL },
};
static const struct field_table export_table = { export_fields, sizeof(struct export_in) };

struct import_in {
	bool dry_run, skip_existing;
};
static const struct field import_fields[] = {
	{ .name = "dry_run", .type = FIELD_BOOL, .offset = offsetof(struct import_in, dry_run), .help = "Check everything and change nothing" },
	{ .name = "skip_existing", .type = FIELD_BOOL, .offset = offsetof(struct import_in, skip_existing), .help = "Leave out sessions that are there; otherwise they are an error" },
	{ .name = NULL },
};
static const struct field_table import_table = { import_fields, sizeof(struct import_in) };

static void close_fd(void *fd)
{
	close(*(int *)fd);
}

static enum err reply_export(struct call *c, struct move_export *x)
{
	struct move_counts counts;
	struct site s;
	int64_t size;
	int *fd = arena_alloc(c->task->arena, sizeof *fd);
	x->site = c->who.site;
	enum err e = site_find(c->task, c->app, &c->who.site, &s);
	if (!e)
		e = move_spool(c->task, fd);
	if (e)
		return e;
	arena_defer(c->task->arena, close_fd, fd);
	x->site_name = s.name;
	e = move_export(c->task, c->app, x, *fd, &counts, &size);
	if (e)
		return e;
	c->rs->content_type = "application/x-ndjson";
	http_header(c->rs, "Content-Disposition", "attachment; filename=\"%.*s.jsonl\"", (int)s.name.n, s.name.p);
	http_header(c->rs, "Cache-Control", "no-store");
	http_send_file(c->rs, *fd, size);
	return ERR_OK;
}

static enum err api_export_session(struct call *c)
{
	return reply_export(c, &(struct move_export){ .session = c->head->session, .is_public = c->who.who != WHO_SECRET_KEY });
}

static enum err api_export_get(struct call *c)
{
	const struct export_in *in = c->query;
	return reply_export(c, &(struct move_export){ .user = in->user });
}

void move_import_render(struct buf *b, const struct move_import *m)
{
	buf_add_char(b, '{');
	buf_member_int(b, "sessions", m->done.sessions);
	buf_member_int(b, "conversations", m->done.conversations);
	buf_member_int(b, "messages", m->done.messages);
	buf_member_int(b, "agents_created", m->n_agents);
	buf_member_int(b, "templates_created", m->n_templates);
	buf_member_int(b, "skipped", m->n_skipped);
	buf_member_bool(b, "dry_run", m->is_dry);
	buf_add_char(b, '}');
}

/* The answer goes with the transaction that completes the import. */
static enum err store_answer(struct task *t, struct db_conn *conn, struct move_import *m)
{
	struct call *c = m->arg;
	buf_clear(&c->rs->body);
	move_import_render(&c->rs->body, m);
	return idem_store(t, conn, &c->idem, c->app, &c->who.site, NULL, 200, buf_bytes(&c->rs->body));
}

static enum err api_import_create(struct call *c)
{
	const struct import_in *in = c->query;
	struct move_import m = { .site = c->who.site, .is_dry = in->dry_run, .skips_existing = in->skip_existing, .arg = c, .at_end = store_answer };
	enum err e = move_import(c->task, c->app, &m, -1, c->rq->body);
	if (e)
		return e;
	if (m.is_dry)
		move_import_render(&c->rs->body, &m);
	dispatch_reply(c, 200);
	return ERR_OK;
}

static const struct api_route routes[] = {
	{ HTTP_GET, "/v1/sessions/{s}/export", SCOPE_SESSION, api_export_session, NULL, NULL, 0, "Export a session as JSON lines", 200, NULL },
	{ HTTP_GET, "/v1/export", SCOPE_SITE, api_export_get, NULL, &export_table, 0, "Export the site's sessions, or a user's, as JSON lines", 200, NULL },
	{ HTTP_POST, "/v1/import", SCOPE_SITE, api_import_create, NULL, &import_table, ROUTE_RAW_BODY,
	  "Import an export; one that was interrupted goes on when it is sent again", 200, "Import" },
};

const struct feature move_api_feature = { .name = "move_api", .routes = routes, .n_routes = COUNT(routes) };
