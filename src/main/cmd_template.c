/* SPDX-License-Identifier: MIT */
/* cmd_template: a site's templates and the presets below them. */
#include <stdio.h>
#include <unistd.h>

#include "app/site.h"
#include "app/template.h"
#include "app/template_api.h"
#include "main/cli.h"
#include "main/main.h"
#include "main/terminal.h"

static int usage(const char *text)
{
	fprintf(stderr, "usage: parley %s\n", text);
	return EXIT_USAGE;
}

/* Prints what sites made of their templates; a terminal gets no character that it would act on. */
static void print(struct cli *c, const struct buf *b)
{
	struct bytes text = buf_bytes(b);
	terminal_init();
	if (isatty(STDOUT_FILENO))
		text = terminal_clean_json(c->task->arena, text);
	fwrite(text.n ? text.p : "", 1, text.n, stdout);
}

static struct bytes last_value(const struct cli_option *o)
{
	return o->n ? o->values[o->n - 1] : (struct bytes){ NULL, 0 };
}

static void add_strings(struct buf *b, const char *name, const struct cli_option *o)
{
	if (!o->n)
		return;
	buf_add_member(b, name);
	buf_add_char(b, '[');
	for (size_t i = 0; i < o->n; i++) {
		if (i > 0)
			buf_add_char(b, ',');
		buf_add_json(b, o->values[i]);
	}
	buf_add_char(b, ']');
}

enum { TITLE, PRESET, CONFIG, REQUIRE, CATEGORY, IF_ABSENT };

/* The options as the body that the API takes, checked as such a body is. */
static enum err read_template(struct cli *c, struct bytes name, const struct cli_option *o, struct template_change *in_r)
{
	struct jsonx_flaw flaw;
	struct buf b;
	struct bytes config = last_value(&o[CONFIG]);
	if (config.p && !jsonx_check_strict(c->task->arena, config, &flaw))
		return task_fail_field(c->task, "config", "format", "is not JSON: %s, at byte %zu", flaw.reason, flaw.offset);
	buf_init(&b, c->task->arena, 1024);
	buf_add_char(&b, '{');
	buf_member_string(&b, "name", name);
	if (o[TITLE].n)
		buf_member_string(&b, "title", last_value(&o[TITLE]));
	if (o[PRESET].n)
		buf_member_string(&b, "preset", last_value(&o[PRESET]));
	if (config.p)
		buf_member_json(&b, "config", config);
	add_strings(&b, "required_context", &o[REQUIRE]);
	add_strings(&b, "memory_categories", &o[CATEGORY]);
	buf_add_char(&b, '}');
	if (!jsonx_check_strict(c->task->arena, buf_bytes(&b), &flaw)) /* an argument may be any bytes */
		return task_fail(c->task, ERR_INVALID, "an option is not text: %s", flaw.reason);
	return field_parse(c->task, &template_create_table, buf_bytes(&b), "", in_r);
}

struct add {
	const struct ident *site;
	const struct template_change *in;
	struct template tpl;
};

static enum err add_in(struct task *t, struct db_conn *conn, void *arg)
{
	struct add *x = arg;
	return template_create(t, conn, x->site, x->in, &x->tpl);
}

static int cmd_template_add(struct cli *c)
{
	struct cli_option o[] = { [TITLE] = { .name = "--title" }, [PRESET] = { .name = "--preset" }, [CONFIG] = { .name = "--config" },
				  [REQUIRE] = { .name = "--require" }, [CATEGORY] = { .name = "--category" },
				  [IF_ABSENT] = { .name = "--if-absent", .is_flag = true }, { .name = NULL } };
	struct bytes words[2];
	size_t n;
	struct site s;
	struct template_change in = { .if_version = 0 };
	if (!cli_parse(c, o, words, 2, &n) || n != 2)
		return usage("template add SITE NAME [--title T] [--preset P] [--config JSON] [--require KEY]... [--category WORD]... [--if-absent]");
	enum err e = read_template(c, words[1], o, &in);
	if (!e)
		e = site_find_by_name(c->task, c->app, words[0], &s);
	struct add x = { .site = &s.id, .in = &in };
	if (!e)
		e = store_transact(c->task, c->app, add_in, &x);
	if (e == ERR_CONFLICT && o[IF_ABSENT].n)
		e = ERR_OK;
	if (e)
		return cli_fail(c, e);
	printf("%.*s\n", (int)words[1].n, words[1].p);
	return EXIT_OK;
}

static int cmd_template_list(struct cli *c)
{
	struct cli_option o[] = { { .name = NULL } };
	struct bytes name, after = { NULL, 0 };
	size_t n;
	struct site s;
	struct buf b;
	if (!cli_parse(c, o, &name, 1, &n) || n != 1)
		return usage("template list SITE");
	buf_init(&b, c->task->arena, 4096);
	enum err e = site_find_by_name(c->task, c->app, name, &s);
	do {
		struct template *list;
		if (!e)
			e = template_list(c->task, c->app, &s.id, after, 100, &list, &n);
		if (e)
			return cli_fail(c, e);
		for (size_t i = 0; i < n; i++) {
			if (c->wants_json)
				template_render(&b, &list[i]);
			else
				buf_addf(&b, "%-24.*s %-18.*s %.*s", (int)list[i].name.n, list[i].name.p, (int)list[i].preset.n, list[i].preset.p,
					 (int)list[i].title.n, list[i].title.p);
			buf_add_char(&b, '\n');
			after = list[i].name;
		}
	} while (n == 100);
	print(c, &b);
	return EXIT_OK;
}

static int cmd_template_show(struct cli *c)
{
	struct cli_option o[] = { { .name = NULL } };
	struct bytes words[2];
	size_t n;
	struct site s;
	struct template tpl;
	struct buf b;
	if (!cli_parse(c, o, words, 2, &n) || n != 2)
		return usage("template show SITE NAME");
	enum err e = site_find_by_name(c->task, c->app, words[0], &s);
	if (!e)
		e = template_find(c->task, c->app, &s.id, words[1], &tpl);
	if (e)
		return cli_fail(c, e);
	buf_init(&b, c->task->arena, 1024);
	template_render(&b, &tpl);
	buf_add_char(&b, '\n');
	print(c, &b);
	return EXIT_OK;
}

static int cmd_template_delete(struct cli *c)
{
	struct cli_option o[] = { { .name = NULL } };
	struct bytes words[2];
	size_t n;
	struct site s;
	if (!cli_parse(c, o, words, 2, &n) || n != 2)
		return usage("template delete SITE NAME");
	enum err e = site_find_by_name(c->task, c->app, words[0], &s);
	if (!e)
		e = template_delete(c->task, c->app, &s.id, words[1]);
	return e ? cli_fail(c, e) : EXIT_OK;
}

const struct cli_command cmd_template_commands[] = {
	{ "template add", "SITE NAME [--title T] [--preset P] [--config JSON] [--require KEY]... [--category WORD]... [--if-absent]",
	  "Create a template that sessions can begin with; prints its name", CLI_NEEDS_APP, cmd_template_add },
	{ "template list", "SITE", "List a site's templates", CLI_NEEDS_APP, cmd_template_list },
	{ "template show", "SITE NAME", "Print a template as JSON", CLI_NEEDS_APP, cmd_template_show },
	{ "template delete", "SITE NAME", "Delete a template; its sessions stay", CLI_NEEDS_APP, cmd_template_delete },
	{ .name = NULL },
};
