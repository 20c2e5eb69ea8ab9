/* SPDX-License-Identifier: MIT */
/* cmd_tool: a site's tools. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "app/render.h"
#include "app/site.h"
#include "app/tool.h"
#include "app/tool_api.h"
#include "main/cli.h"
#include "main/main.h"
#include "main/terminal.h"

static int usage(const char *text)
{
	fprintf(stderr, "usage: parley %s\n", text);
	return EXIT_USAGE;
}

static struct bytes last_value(const struct cli_option *o)
{
	return o->n ? o->values[o->n - 1] : (struct bytes){ NULL, 0 };
}

/* The value, or what is in the file that it names with @. */
static enum err read_json(struct cli *c, struct bytes value, struct bytes *json_r)
{
	struct jsonx_flaw flaw;
	*json_r = value;
	if (value.n > 0 && value.p[0] == '@') {
		const char *path = arena_copy(c->task->arena, value.p + 1, value.n - 1);
		char *text = arena_alloc(c->task->arena, TOOL_PARAMETERS_MAX + 1);
		int fd = open(path, O_RDONLY | O_CLOEXEC);
		ssize_t n = fd < 0 ? -1 : read(fd, text, TOOL_PARAMETERS_MAX + 1);
		int problem = errno;
		if (fd >= 0)
			close(fd);
		if (n < 0)
			return task_fail(c->task, ERR_INVALID, "%s cannot be read: %s", path, strerror(problem));
		*json_r = (struct bytes){ text, (size_t)n };
	}
	if (!jsonx_check_strict(c->task->arena, *json_r, &flaw))
		return task_fail_field(c->task, "parameters", "format", "is not JSON: %s, at byte %zu", flaw.reason, flaw.offset);
	return ERR_OK;
}

enum { URL, DESCRIPTION, PARAMETERS, TIMEOUT, IF_ABSENT };

/* The options as the body that the API takes, checked as such a body is. */
static enum err read_tool(struct cli *c, struct bytes name, const struct cli_option *o, struct tool_change *in_r)
{
	struct jsonx_flaw flaw;
	struct bytes parameters;
	struct buf b;
	enum err e = ERR_OK;
	buf_init(&b, c->task->arena, 1024);
	buf_add_char(&b, '{');
	buf_member_string(&b, "name", name);
	if (o[DESCRIPTION].n)
		buf_member_string(&b, "description", last_value(&o[DESCRIPTION]));
	if (o[URL].n)
		buf_member_string(&b, "url", last_value(&o[URL]));
	if (o[PARAMETERS].n) {
		e = read_json(c, last_value(&o[PARAMETERS]), &parameters);
		buf_member_json(&b, "parameters", parameters);
	}
	if (o[TIMEOUT].n)
		buf_member_json(&b, "timeout_ms", last_value(&o[TIMEOUT]));
	buf_add_char(&b, '}');
	if (e)
		return e;
	if (!jsonx_check_strict(c->task->arena, buf_bytes(&b), &flaw)) /* an argument may be any bytes */
		return task_fail(c->task, ERR_INVALID, "an option is not what it should be: %s", flaw.reason);
	return field_parse(c->task, &tool_create_table, buf_bytes(&b), "", in_r);
}

struct add {
	const struct app *app;
	const struct ident *site;
	const struct tool_change *in;
	struct tool tool;
};

static enum err add_in(struct task *t, struct db_conn *conn, void *arg)
{
	struct add *x = arg;
	return tool_create(t, conn, x->app, x->site, x->in, &x->tool);
}

/* The secret alone, or with all else as JSON. */
static void print_added(struct cli *c, const struct tool *tool)
{
	struct buf b;
	buf_init(&b, c->task->arena, 1024);
	tool_render(&b, tool);
	tool_add_secret(c->app, &tool->site, &b);
	struct bytes secret = jsonx_string(c->task->arena, jsonx_member(buf_bytes(&b), "secret"));
	if (c->wants_json)
		printf("%s\n", b.p);
	else
		printf("%.*s\n", (int)secret.n, secret.p);
}

static int cmd_tool_add(struct cli *c)
{
	struct cli_option o[] = { [URL] = { .name = "--url" }, [DESCRIPTION] = { .name = "--description" }, [PARAMETERS] = { .name = "--parameters" },
				  [TIMEOUT] = { .name = "--timeout" }, [IF_ABSENT] = { .name = "--if-absent", .is_flag = true }, { .name = NULL } };
	struct bytes words[2];
	size_t n;
	struct site s;
	struct tool_change in = { .if_version = 0 };
	if (!cli_parse(c, o, words, 2, &n) || n != 2)
		return usage("tool add SITE NAME --url URL --description TEXT [--parameters JSON|@FILE] [--timeout MS] [--if-absent]");
	enum err e = read_tool(c, words[1], o, &in);
	if (!e)
		e = site_find_by_name(c->task, c->app, words[0], &s);
	struct add x = { .app = c->app, .site = &s.id, .in = &in };
	if (!e)
		e = store_transact(c->task, c->app, add_in, &x);
	if (e == ERR_CONFLICT && o[IF_ABSENT].n)
		e = tool_find(c->task, c->app, &s.id, words[1], &x.tool);
	if (e)
		return cli_fail(c, e);
	print_added(c, &x.tool);
	return EXIT_OK;
}

static int cmd_tool_list(struct cli *c)
{
	struct cli_option o[] = { { .name = NULL } };
	struct bytes name, after = { NULL, 0 };
	size_t n;
	struct site s;
	struct buf b;
	if (!cli_parse(c, o, &name, 1, &n) || n != 1)
		return usage("tool list SITE");
	buf_init(&b, c->task->arena, 4096);
	enum err e = site_find_by_name(c->task, c->app, name, &s);
	do {
		struct tool *list;
		if (!e)
			e = tool_list(c->task, c->app, &s.id, after, 100, &list, &n);
		if (e)
			return cli_fail(c, e);
		for (size_t i = 0; i < n; i++) {
			if (c->wants_json)
				tool_render(&b, &list[i]);
			else
				buf_addf(&b, "%-24.*s %.*s", (int)list[i].name.n, list[i].name.p, (int)list[i].url.n, list[i].url.p);
			buf_add_char(&b, '\n');
			after = list[i].name;
		}
	} while (n == 100);
	terminal_init();
	struct bytes text = isatty(STDOUT_FILENO) ? terminal_clean_json(c->task->arena, buf_bytes(&b)) : buf_bytes(&b);
	fwrite(text.n ? text.p : "", 1, text.n, stdout);
	return EXIT_OK;
}

static int cmd_tool_remove(struct cli *c)
{
	struct cli_option o[] = { { .name = NULL } };
	struct bytes words[2];
	size_t n;
	struct site s;
	if (!cli_parse(c, o, words, 2, &n) || n != 2)
		return usage("tool remove SITE NAME");
	enum err e = site_find_by_name(c->task, c->app, words[0], &s);
	if (!e)
		e = tool_delete(c->task, c->app, &s.id, words[1]);
	return e ? cli_fail(c, e) : EXIT_OK;
}

const struct cli_command cmd_tool_commands[] = {
	{ "tool add", "SITE NAME --url URL --description TEXT [--parameters JSON|@FILE] [--timeout MS] [--if-absent]",
	  "Define a tool that agents can name; prints the secret that its calls are signed with", CLI_NEEDS_APP, cmd_tool_add },
	{ "tool list", "SITE", "List a site's tools", CLI_NEEDS_APP, cmd_tool_list },
	{ "tool remove", "SITE NAME", "Remove a tool; agents that name it go on without it", CLI_NEEDS_APP, cmd_tool_remove },
	{ .name = NULL },
};
