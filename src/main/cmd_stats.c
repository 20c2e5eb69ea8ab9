/* SPDX-License-Identifier: MIT */
/* cmd_stats: how much there is of everything, a line for each site. */
#include <stddef.h>
#include <stdio.h>

#include "app/stats.h"
#include "main/cli.h"
#include "main/main.h"

#define SPENT_WIDTH 12 /* of what was spent since the month began */
#define IN(member) offsetof(struct site_stats, member)

/* One row a figure: its name in JSON, its column's head and width. */
static const struct {
	const char *name, *head;
	int width;
	size_t offset;
} figures[] = {
	{ "active", "ACTIVE", 8, IN(active) },
	{ "ended", "ENDED", 8, IN(ended) },
	{ "archived", "ARCHIVED", 8, IN(archived) },
	{ "due", "DUE", 6, IN(due) },
	{ "users", "USERS", 8, IN(users) },
	{ "conversations", "CONVERS.", 8, IN(conversations) },
	{ "messages", "MESSAGES", 10, IN(messages) },
	{ "turns_running", "TURNING", 7, IN(turns_running) },
	{ "turns_done", "TURNS", 8, IN(turns_done) },
	{ "turns_failed", "FAILED", 7, IN(turns_failed) },
	{ "turns_cancelled", "STOPPED", 7, IN(turns_cancelled) },
	{ "deletions", "DELETIONS", 9, IN(deletions) },
};

static int64_t figure(const struct site_stats *stats, size_t i)
{
	return *(const int64_t *)((const char *)stats + figures[i].offset);
}

static void add_json(struct buf *b, const struct site *s, const struct site_stats *stats)
{
	buf_add_str(b, b->p[b->n - 1] == '[' ? "{" : ",{");
	buf_member_string(b, "site", s->name);
	for (size_t i = 0; i < COUNT(figures); i++)
		buf_member_int(b, figures[i].name, figure(stats, i));
	buf_member_json(b, "month", BYTES("{"));
	spend_render(b, &stats->month);
	buf_add_str(b, "}}");
}

static void add_line(struct buf *b, int width, const struct site *s, const struct site_stats *stats)
{
	buf_addf(b, "%-*.*s", width, (int)s->name.n, s->name.p);
	for (size_t i = 0; i < COUNT(figures); i++)
		buf_addf(b, " %*lld", figures[i].width, (long long)figure(stats, i));
	buf_addf(b, " %*.4f\n", SPENT_WIDTH, (double)stats->month.nano / PRICE_NANO);
}

static void add_head(struct buf *b, int width)
{
	buf_addf(b, "%-*s", width, "SITE");
	for (size_t i = 0; i < COUNT(figures); i++)
		buf_addf(b, " %*s", figures[i].width, figures[i].head);
	buf_addf(b, " %*s\n", SPENT_WIDTH, "SPENT");
}

static int name_width(const struct site *list, size_t n)
{
	size_t width = strlen("SITE");
	for (size_t i = 0; i < n; i++)
		width = list[i].name.n > width ? list[i].name.n : width;
	return (int)width;
}

static void add_size(struct buf *b, int64_t bytes)
{
	static const char *const units[] = { "bytes", "KB", "MB", "GB", "TB" };
	double size = (double)bytes;
	size_t u = 0;
	for (; size >= 1000 && u + 1 < COUNT(units); u++)
		size /= 1000;
	buf_addf(b, "The database takes up %.*f %s.\n", u ? 1 : 0, size, units[u]);
}

static enum err find_sites(struct cli *c, const struct cli_option *name, struct site **list_r, size_t *n_r)
{
	if (!name->n)
		return site_list(c->task, c->app, list_r, n_r);
	*list_r = arena_alloc(c->task->arena, sizeof **list_r);
	*n_r = 1;
	return site_find_by_name(c->task, c->app, name->values[0], *list_r);
}

static int cmd_stats(struct cli *c)
{
	struct cli_option o[] = { { .name = "--site" }, { .name = NULL } };
	struct bytes none[1];
	struct site *list;
	size_t n, n_words;
	int64_t bytes;
	struct buf b;
	if (!cli_parse(c, o, none, 0, &n_words))
		return EXIT_USAGE;
	enum err e = find_sites(c, &o[0], &list, &n);
	if (!e)
		e = stats_bytes(c->task, c->app, &bytes);
	if (e)
		return cli_fail(c, e);
	buf_init(&b, c->task->arena, 4096);
	if (c->wants_json)
		buf_addf(&b, "{\"bytes\":%lld,\"currency\":\"%s\",\"sites\":[", (long long)bytes, c->conf.currency);
	else
		add_head(&b, name_width(list, n));
	for (size_t i = 0; i < n; i++) {
		struct site_stats stats;
		e = stats_site(c->task, c->app, &list[i].id, &stats);
		if (e)
			return cli_fail(c, e);
		if (c->wants_json)
			add_json(&b, &list[i], &stats);
		else
			add_line(&b, name_width(list, n), &list[i], &stats);
	}
	if (c->wants_json)
		buf_add_str(&b, "]}\n");
	else
		add_size(&b, bytes);
	fwrite(b.p, 1, b.n, stdout);
	return EXIT_OK;
}

const struct cli_command cmd_stats_commands[] = {
	{ "stats", "[--site NAME]", "Count sessions, users, conversations, messages and turns of each site, and what it spent since the month began", CLI_NEEDS_APP, cmd_stats },
	{ .name = NULL },
};
