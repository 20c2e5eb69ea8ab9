/* SPDX-License-Identifier: MIT */
/* cmd_session: the operator's commands on sessions, straight on the store. On a terminal: tables and plain text; with --json what the API says. */
#include "main/cmd_session.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "app/agent.h"
#include "app/clone.h"
#include "app/expire.h"
#include "app/lineage.h"
#include "app/purge.h"
#include "app/session_list.h"
#include "app/session_stats.h"
#include "app/session_update.h"
#include "app/site.h"
#include "base/stamp.h"
#include "main/cmd_move.h"
#include "main/main.h"
#include "main/terminal.h"

#define LIMIT_DEFAULT 20
#define LIMIT_MAX 100000
#define PAGE_MAX 100
#define SHOWN_CONVERSATIONS 100

static struct bytes last_value(const struct cli_option *o)
{
	return o->n ? o->values[o->n - 1] : (struct bytes){ NULL, 0 };
}

static int usage(const char *text)
{
	fprintf(stderr, "usage: parley session %s\n", text);
	return EXIT_USAGE;
}

/* Prints JSON; a terminal gets no character that it would act on. */
static void print_json(struct cli *c, struct bytes json)
{
	if (isatty(STDOUT_FILENO))
		json = terminal_clean_json(c->task->arena, json);
	fwrite(json.p, 1, json.n, stdout);
	fputc('\n', stdout);
}

/* Text from the store as standard output may have it. */
static struct bytes shown(struct cli *c, struct bytes text)
{
	return terminal_clean(c->task->arena, text);
}

/* The site of --site, or the only one there is. */
static enum err find_site(struct cli *c, const struct cli_option *o, struct site *s_r)
{
	struct site *list;
	size_t n;
	terminal_init(); /* every command comes by here before it prints */
	if (o->n)
		return site_find_by_name(c->task, c->app, last_value(o), s_r);
	enum err e = site_list(c->task, c->app, &list, &n);
	if (!e && n != 1)
		e = task_fail(c->task, ERR_USAGE, n ? "there are %zu sites: name one with --site" : "there are %zu sites: make one with `parley site add`", n);
	if (!e)
		*s_r = list[0];
	return e;
}

enum err cmd_session_find(struct cli *c, const struct cli_option *site, struct bytes ref, struct head *h_r)
{
	struct site s;
	enum err e = find_site(c, site, &s);
	if (!e)
		e = head_find(c->task, c->app, &s.id, ref, h_r);
	if (!e)
		head_settle(c->task, c->app, h_r);
	return e;
}

static struct bytes session_json(struct arena *a, const struct head *h)
{
	struct buf b;
	buf_init(&b, a, h->json.n + 256);
	head_render(&b, h, true);
	buf_add_char(&b, '}');
	return buf_bytes(&b);
}

/* A member of a JSON object as text: a string unescaped, anything else as it is written. */
static struct bytes text_of(struct arena *a, struct bytes json, const char *name)
{
	struct bytes value = jsonx_member(json, name);
	return jsonx_type(value) == JSONX_STRING ? jsonx_string(a, value) : jsonx_type(value) == JSONX_NULL ? BYTES("") : value;
}

/* ---- list ---- */

/* A whole number from 1 on, as an option has it; 0 when it is none. */
static int64_t read_number(struct bytes text, int64_t max)
{
	char *end;
	long long v = strtoll(text.p, &end, 10);
	return text.n && end == text.p + text.n && v >= 1 && v <= max ? v : 0;
}

static enum err read_time(struct task *t, const struct cli_option *o, int64_t *at_r)
{
	if (!o->n || stamp_parse(last_value(o), at_r))
		return ERR_OK;
	struct bytes day = last_value(o);
	struct bytes midnight = bytes_of(arena_printf(t->arena, "%.*sT00:00:00Z", (int)day.n, day.p));
	return stamp_parse(midnight, at_r) ? ERR_OK : task_fail(t, ERR_USAGE, "%s takes a day (2026-01-31) or an RFC 3339 time", o->name);
}

enum { L_SITE, L_USER, L_AGENT, L_CLIENT_TYPE, L_STATUS, L_TAG, L_CONTEXT, L_FROM, L_TO, L_LIMIT, L_AFTER, L_OLDEST };

static enum err read_filter(struct cli *c, const struct cli_option *o, const struct ident *site, struct session_filter *f)
{
	struct task *t = c->task;
	struct agent agent;
	*f = (struct session_filter){ .user = last_value(&o[L_USER]), .client_type = last_value(&o[L_CLIENT_TYPE]), .tag = last_value(&o[L_TAG]),
				      .context = last_value(&o[L_CONTEXT]), .status = session_status_find(last_value(&o[L_STATUS])),
				      .has_created_to = o[L_TO].n > 0, .is_ascending = o[L_OLDEST].n > 0, .after = last_value(&o[L_AFTER]) };
	if (o[L_STATUS].n && !f->status)
		return task_fail(t, ERR_USAGE, "--status takes active, ended or archived");
	f->limit = o[L_LIMIT].n ? read_number(last_value(&o[L_LIMIT]), LIMIT_MAX) : LIMIT_DEFAULT;
	if (!f->limit)
		return task_fail(t, ERR_USAGE, "--limit takes a number from 1 to %d", LIMIT_MAX);
	enum err e = read_time(t, &o[L_FROM], &f->created_from);
	if (!e)
		e = read_time(t, &o[L_TO], &f->created_to);
	if (e || !o[L_AGENT].n)
		return e;
	e = agent_find(t, c->app, site, last_value(&o[L_AGENT]), &agent);
	f->agent = agent.id;
	return e;
}

static void add_row(struct arena *a, struct table *tb, const struct head *h)
{
	struct bytes json = session_json(a, h), active = text_of(a, json, "last_activity_at");
	char *when = arena_copy(a, active.p, active.n < 16 ? active.n : 16);
	if (strlen(when) == 16)
		when[10] = ' ';
	table_add(tb, text_of(a, json, "id"));
	table_add(tb, text_of(a, json, "user"));
	table_add(tb, text_of(a, json, "agent"));
	table_add(tb, text_of(a, json, "status"));
	table_add(tb, text_of(a, json, "message_count"));
	table_add(tb, bytes_of(when));
	table_add(tb, text_of(a, json, "title"));
}

/* Reads as many pages as the limit asks for; each row goes to the table or into the JSON. */
static enum err read_list(struct cli *c, const struct ident *site, struct session_filter *f, struct table *tb, struct buf *json, const char **next_r)
{
	int64_t left = f->limit;
	*next_r = NULL;
	do {
		struct session_page page;
		f->limit = left < PAGE_MAX ? left : PAGE_MAX;
		enum err e = session_list(c->task, c->app, site, f, &page);
		if (e)
			return e;
		for (size_t i = 0; i < page.n; i++) {
			add_row(c->task->arena, tb, &page.list[i]);
			if (json->n && json->p[json->n - 1] == '}')
				buf_add_char(json, ',');
			buf_add_bytes(json, session_json(c->task->arena, &page.list[i]));
		}
		left -= (int64_t)page.n;
		*next_r = page.next;
		f->after = bytes_of(page.next);
	} while (*next_r && left > 0);
	return ERR_OK;
}

static int cmd_session_list(struct cli *c)
{
	static const struct table_column columns[] = { { "ID", false, false }, { "USER", false, true }, { "AGENT", false, true }, { "STATUS", false, false },
						       { "MESSAGES", true, false }, { "ACTIVE (UTC)", false, false }, { "TITLE", false, true } };
	struct cli_option o[] = { { .name = "--site" }, { .name = "--user" }, { .name = "--agent" }, { .name = "--client-type" }, { .name = "--status" },
				  { .name = "--tag" }, { .name = "--context" }, { .name = "--from" }, { .name = "--to" }, { .name = "--limit" },
				  { .name = "--after" }, { .name = "--oldest-first", .is_flag = true }, { .name = NULL } };
	struct bytes none[1];
	size_t n;
	struct site s;
	struct session_filter f;
	struct table tb;
	struct buf json;
	const char *next;
	if (!cli_parse(c, o, none, 0, &n))
		return usage("list [--site S] [--user U] [--agent A] [--client-type T] [--status active|ended|archived] [--tag T] [--context C]\n"
			     "                           [--from TIME] [--to TIME] [--oldest-first] [--limit N] [--after CURSOR]");
	enum err e = find_site(c, &o[L_SITE], &s);
	if (!e)
		e = read_filter(c, o, &s.id, &f);
	table_init(&tb, c->task->arena, columns, COUNT(columns));
	buf_init(&json, c->task->arena, 4096);
	buf_add_str(&json, "{\"data\":[");
	if (!e)
		e = read_list(c, &s.id, &f, &tb, &json, &next);
	if (e)
		return cli_fail(c, e);
	buf_add_char(&json, ']');
	buf_member_bool(&json, "has_more", next != NULL);
	buf_member_str(&json, "next", next);
	buf_add_char(&json, '}');
	if (c->wants_json) {
		print_json(c, buf_bytes(&json));
		return EXIT_OK;
	}
	table_print(&tb, stdout, terminal_columns(STDOUT_FILENO));
	if (next)
		fprintf(stderr, "there are more: --after %s\n", next);
	return EXIT_OK;
}

/* ---- show ---- */

static void print_line(struct cli *c, const char *name, struct bytes value)
{
	struct bytes text = shown(c, value);
	if (text.n)
		printf("%-18s %.*s\n", name, (int)text.n, text.p);
}

static void print_conversations(struct cli *c, const struct head *h, const struct conversation *list, size_t n)
{
	static const struct table_column columns[] = { { "CONVERSATION", false, false }, { "MESSAGES", true, false }, { "BRANCHED AT", true, false },
						       { "BEGUN", false, false }, { "TITLE", false, true } };
	struct table tb;
	table_init(&tb, c->task->arena, columns, COUNT(columns));
	for (size_t i = 0; i < n; i++) {
		char id[IDENT_SIZE], begun[STAMP_SIZE];
		bool is_active = ident_equal(&list[i].id, &h->conversation);
		ident_format(PREFIX_CONVERSATION, &list[i].id, id);
		stamp_format(list[i].created_at, begun);
		begun[16] = 0;
		begun[10] = ' ';
		table_add(&tb, bytes_of(arena_printf(c->task->arena, "%s%s", id, is_active ? " *" : "")));
		table_add(&tb, bytes_of(arena_printf(c->task->arena, "%lld", (long long)list[i].last_seq)));
		table_add(&tb, bytes_of(arena_printf(c->task->arena, "%lld", (long long)lineage_base(list[i].lineage))));
		table_add(&tb, bytes_of(begun));
		table_add(&tb, list[i].title);
	}
	fputc('\n', stdout);
	table_print(&tb, stdout, terminal_columns(STDOUT_FILENO));
}

static void print_session(struct cli *c, struct bytes json, struct bytes stats)
{
	static const char *const names[] = { "id", "name", "agent", "user", "client_type", "context", "title", "status", "tags", "metadata", "state", "config",
					     "website_domain", "ip_address", "version", "created_at", "updated_at", "last_activity_at", "ended_at", "expires_at" };
	static const char *const figures[] = { "message_count", "conversations", "messages", "turns", "tokens", "content_bytes", "first_message_at", "last_message_at" };
	for (size_t i = 0; i < COUNT(names); i++)
		print_line(c, names[i], text_of(c->task->arena, json, names[i]));
	fputc('\n', stdout);
	for (size_t i = 0; i < COUNT(figures); i++)
		print_line(c, figures[i], text_of(c->task->arena, stats, figures[i]));
}

static int cmd_session_show(struct cli *c)
{
	struct cli_option o[] = { { .name = "--site" }, { .name = NULL } };
	struct bytes ref;
	size_t n, n_list;
	struct head h;
	struct session_stats stats;
	struct conversation *list;
	struct buf b;
	if (!cli_parse(c, o, &ref, 1, &n) || n != 1)
		return usage("show SESSION [--site S]");
	enum err e = cmd_session_find(c, &o[0], ref, &h);
	if (!e)
		e = session_stats_read(c->task, c->app, &h, &stats);
	if (!e)
		e = conversation_list(c->task, c->app, &h, &(struct ident){ { 0 } }, SHOWN_CONVERSATIONS, &list, &n_list);
	if (e)
		return cli_fail(c, e);
	struct bytes json = session_json(c->task->arena, &h);
	buf_init(&b, c->task->arena, 512);
	session_stats_render(&b, &h, &stats);
	if (!c->wants_json) {
		print_session(c, json, buf_bytes(&b));
		print_conversations(c, &h, list, n_list);
		return EXIT_OK;
	}
	struct buf all;
	buf_init(&all, c->task->arena, json.n + b.n + 4096);
	buf_add_char(&all, '{');
	buf_member_json(&all, "session", json);
	buf_member_json(&all, "stats", buf_bytes(&b));
	buf_add_str(&all, ",\"conversations\":[");
	for (size_t i = 0; i < n_list; i++) {
		if (i > 0)
			buf_add_char(&all, ',');
		conversation_render(&all, &list[i], ident_equal(&list[i].id, &h.conversation));
	}
	buf_add_str(&all, "]}");
	print_json(c, buf_bytes(&all));
	return EXIT_OK;
}

/* ---- end, resume, archive, delete ---- */

static int print_changed(struct cli *c, const struct head *h)
{
	struct bytes json = session_json(c->task->arena, h);
	if (c->wants_json) {
		print_json(c, json);
		return EXIT_OK;
	}
	struct bytes id = shown(c, head_id(h));
	printf("%.*s is %s\n", (int)id.n, id.p, session_status_name(h->status));
	return EXIT_OK;
}

static int cmd_session_end(struct cli *c)
{
	struct cli_option o[] = { { .name = "--site" }, { .name = NULL } };
	struct bytes ref;
	size_t n;
	struct head h;
	struct expire_rest rest = { 0 };
	if (!cli_parse(c, o, &ref, 1, &n) || n != 1)
		return usage("end SESSION [--site S]");
	enum err e = cmd_session_find(c, &o[0], ref, &h);
	if (!e)
		e = expire_session(c->task, c->app, &h, &rest);
	if (e)
		return cli_fail(c, e);
	if (purge_conversations(c->task, c->app, &h.site, rest.detached, rest.n) != ERR_OK)
		task_clear_fault(c->task); /* the janitor's */
	return print_changed(c, &h);
}

struct step {
	const struct head *h;
	enum err (*take)(struct task *t, struct db_conn *c, const struct ident *site, const struct ident *session);
};

static enum err step_in(struct task *t, struct db_conn *conn, void *arg)
{
	const struct step *s = arg;
	return s->take(t, conn, &s->h->site, &s->h->session);
}

static int step(struct cli *c, const char *text, enum err (*take)(struct task *t, struct db_conn *c, const struct ident *site, const struct ident *session))
{
	struct cli_option o[] = { { .name = "--site" }, { .name = NULL } };
	struct bytes ref;
	size_t n;
	struct head h;
	if (!cli_parse(c, o, &ref, 1, &n) || n != 1)
		return usage(text);
	enum err e = cmd_session_find(c, &o[0], ref, &h);
	if (!e) {
		e = store_transact(c->task, c->app, step_in, &(struct step){ &h, take });
		head_changed(c->task, c->app, &h.site, &h.session);
	}
	if (!e)
		e = head_reload(c->task, c->app, &h);
	return e ? cli_fail(c, e) : print_changed(c, &h);
}

static int cmd_session_resume(struct cli *c)
{
	return step(c, "resume SESSION [--site S]", session_resume);
}

static int cmd_session_archive(struct cli *c)
{
	return step(c, "archive SESSION [--site S]", session_archive);
}

/* Asks on the terminal; without one only --yes will do. */
static enum err confirm(struct cli *c, const struct head *h)
{
	char answer[16];
	struct bytes id = shown(c, head_id(h));
	if (!isatty(STDIN_FILENO))
		return task_fail(c->task, ERR_USAGE, "give --yes to delete without being asked");
	fprintf(stderr, "delete %.*s and its %lld messages? [y/N] ", (int)id.n, id.p, (long long)h->last_seq);
	bool is_yes = fgets(answer, sizeof answer, stdin) && (answer[0] == 'y' || answer[0] == 'Y');
	return is_yes ? ERR_OK : task_fail(c->task, ERR_USAGE, "nothing was deleted");
}

static int cmd_session_delete(struct cli *c)
{
	struct cli_option o[] = { { .name = "--site" }, { .name = "--yes", .is_flag = true }, { .name = NULL } };
	struct bytes ref;
	size_t n;
	struct head h;
	if (!cli_parse(c, o, &ref, 1, &n) || n != 1)
		return usage("delete SESSION [--site S] [--yes]");
	enum err e = cmd_session_find(c, &o[0], ref, &h);
	if (e == ERR_CORRUPT) { /* its ids are known, which is all that a deletion needs */
		task_clear_fault(c->task);
		e = ERR_OK;
	}
	if (!e && !o[1].n)
		e = confirm(c, &h);
	if (!e)
		e = purge_session(c->task, c->app, &h, 0);
	if (e)
		return cli_fail(c, e);
	if (c->wants_json)
		puts("{\"deleted\":true}");
	return EXIT_OK;
}

/* ---- clone ---- */

struct cloning {
	const struct head *h;
	const struct conversation *from;
	const struct clone_new *in;
	struct head made;
};

static enum err clone_in(struct task *t, struct db_conn *conn, void *arg)
{
	struct cloning *x = arg;
	return clone_insert(t, conn, x->h, x->from, x->in, &x->made);
}

static int cmd_session_clone(struct cli *c)
{
	struct cli_option o[] = { { .name = "--site" }, { .name = "--id" }, { .name = "--user" }, { .name = "--context" }, { .name = "--title" },
				  { .name = "--at" }, { .name = NULL } };
	struct bytes ref;
	size_t n;
	struct head h;
	struct conversation from;
	struct clone_new in = { 0 };
	struct cloning x = { .h = &h, .from = &from, .in = &in };
	if (!cli_parse(c, o, &ref, 1, &n) || n != 1 || (o[5].n && !read_number(last_value(&o[5]), INT64_MAX)))
		return usage("clone SESSION [--site S] [--id ID] [--user U] [--context C] [--title T] [--at SEQ]");
	enum err e = cmd_session_find(c, &o[0], ref, &h);
	if (!e)
		e = conversation_read(c->task, c->app, NULL, &h, &h.conversation, &from);
	if (e)
		return cli_fail(c, e);
	in = (struct clone_new){ .own_id = last_value(&o[1]), .user = last_value(&o[2]), .context = last_value(&o[3]), .title = last_value(&o[4]),
				 .at = o[5].n ? read_number(last_value(&o[5]), INT64_MAX) : from.last_seq };
	if (in.own_id.p && !session_is_own_id(in.own_id))
		e = task_fail(c->task, ERR_USAGE, "an id has letters, digits and . _ : @ -, and does not begin with ses_");
	else if (in.at > from.last_seq)
		e = task_fail(c->task, ERR_USAGE, "the newest message is %lld", (long long)from.last_seq);
	if (!e)
		e = store_transact(c->task, c->app, clone_in, &x);
	if (e == ERR_DUPLICATE)
		e = task_fail(c->task, ERR_SESSION_EXISTS, "a session with this id exists");
	if (e)
		return cli_fail(c, e);
	head_changed(c->task, c->app, &h.site, &h.session); /* it is marked as cloned */
	head_changed(c->task, c->app, &h.site, &x.made.session);
	if (c->wants_json)
		print_json(c, session_json(c->task->arena, &x.made));
	else
		printf("%.*s\n", (int)head_id(&x.made).n, head_id(&x.made).p);
	return EXIT_OK;
}

/* ---- export ---- */

static int cmd_session_export(struct cli *c)
{
	struct cli_option o[] = { { .name = "--site" }, { .name = "--output" }, { .name = NULL } };
	struct bytes ref;
	size_t n;
	struct site s;
	struct head h;
	if (!cli_parse(c, o, &ref, 1, &n) || n != 1)
		return usage("export SESSION [--site S] [--output FILE|-]");
	enum err e = find_site(c, &o[0], &s);
	if (!e)
		e = head_find(c->task, c->app, &s.id, ref, &h);
	if (e)
		return cli_fail(c, e);
	head_settle(c->task, c->app, &h);
	struct move_export x = { .site = s.id, .site_name = s.name, .session = h.session };
	return cmd_move_export(c, &x, last_value(&o[1]));
}

const struct cli_command cmd_session_commands[] = {
	{ "session list", "[--site S] [--user U] [--agent A] [--status ST] [--tag T] [--from TIME] [--to TIME] [--limit N] ...", "List sessions, the newest first", CLI_NEEDS_APP, cmd_session_list },
	{ "session show", "SESSION [--site S]", "Show a session with its numbers and conversations", CLI_NEEDS_APP, cmd_session_show },
	{ "session tail", "SESSION [--site S] [--lines N] [--conversation CNV] [--follow]", "Print its newest messages, and go on with those that come", CLI_NEEDS_APP, cmd_session_tail },
	{ "session end", "SESSION [--site S]", "End a session as its memory policy says", CLI_NEEDS_APP, cmd_session_end },
	{ "session resume", "SESSION [--site S]", "Make an ended or archived session active again", CLI_NEEDS_APP, cmd_session_resume },
	{ "session archive", "SESSION [--site S]", "Archive a session: it stays, and takes no messages", CLI_NEEDS_APP, cmd_session_archive },
	{ "session delete", "SESSION [--site S] [--yes]", "Delete a session and everything below it", CLI_NEEDS_APP, cmd_session_delete },
	{ "session clone", "SESSION [--site S] [--id ID] [--user U] [--context C] [--title T] [--at SEQ]", "Make an independent session with the same history; prints its id", CLI_NEEDS_APP, cmd_session_clone },
	{ "session export", "SESSION [--site S] [--output FILE|-]", "Write a session as JSON lines, which import reads", CLI_NEEDS_APP, cmd_session_export },
	{ .name = NULL },
};
