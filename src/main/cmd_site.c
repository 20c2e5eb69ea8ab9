/* SPDX-License-Identifier: MIT */
/* cmd_site: the operator's commands: sites, keys, providers, agents. */
#include <stdio.h>
#include <stdlib.h>

#include "app/agent.h"
#include "app/price.h"
#include "app/render.h"
#include "app/site.h"
#include "base/stamp.h"
#include "llm/llm.h"
#include "main/cli.h"
#include "main/main.h"

static void print_ident(const char *prefix, const struct ident *id)
{
	char text[IDENT_SIZE];
	ident_format(prefix, id, text);
	puts(text);
}

static struct bytes last_value(const struct cli_option *o)
{
	return o->n ? o->values[o->n - 1] : (struct bytes){ NULL, 0 };
}

static int usage(const char *text)
{
	fprintf(stderr, "usage: parley %s\n", text);
	return EXIT_USAGE;
}

static int cmd_site_add(struct cli *c)
{
	struct cli_option o[] = { { .name = "--title" }, { .name = "--domain" }, { .name = "--origin" }, { .name = "--if-absent", .is_flag = true }, { .name = NULL } };
	struct bytes name;
	size_t n;
	struct ident id;
	if (!cli_parse(c, o, &name, 1, &n) || n != 1)
		return usage("site add NAME [--title T] [--domain D]... [--origin O]... [--if-absent]");
	struct site_new in = { .name = name, .title = last_value(&o[0]), .domains = o[1].values, .n_domains = o[1].n, .origins = o[2].values, .n_origins = o[2].n };
	enum err e = site_create(c->task, c->app, &in, &id);
	if (e == ERR_CONFLICT && o[3].n) {
		task_clear_fault(c->task);
		e = site_extend(c->task, c->app, &in, &id);
	}
	if (e)
		return cli_fail(c, e);
	print_ident(PREFIX_SITE, &id);
	return EXIT_OK;
}

static void print(const struct buf *b)
{
	fwrite(b->n ? b->p : "", 1, b->n, stdout);
}

static int cmd_site_list(struct cli *c)
{
	struct site *list;
	size_t n;
	struct buf b;
	enum err e = site_list(c->task, c->app, &list, &n);
	if (e)
		return cli_fail(c, e);
	buf_init(&b, c->task->arena, 1024);
	for (size_t i = 0; i < n; i++) {
		const struct site *s = &list[i];
		if (c->wants_json)
			site_render(&b, &c->conf, s);
		else
			buf_addf(&b, "%-24.*s %-8s %.*s", (int)s->name.n, s->name.p, s->is_paused ? "paused" : "active", (int)s->origins.n, s->origins.p);
		buf_add_char(&b, '\n');
	}
	print(&b);
	return EXIT_OK;
}

static const struct {
	const char *text;
	int64_t ms;
} units[] = { { "d", 86400000 }, { "h", 3600000 }, { "m", 60000 }, { "s", 1000 } };

/* A time in the largest unit that divides it, or "never". */
static void add_time(struct buf *b, int64_t ms)
{
	size_t i = 0;
	while (i + 1 < COUNT(units) && ms % units[i].ms != 0)
		i++;
	if (ms == 0)
		buf_add_str(b, "never");
	else if (ms % units[i].ms != 0)
		buf_addf(b, "%lldms", (long long)ms);
	else
		buf_addf(b, "%lld%s", (long long)(ms / units[i].ms), units[i].text);
}

/* "12h": a whole number and s, m, h or d; "0" is never. Past any bound it is what site_change refuses. */
static bool read_time(struct bytes text, int64_t *ms_r)
{
	size_t i = 0;
	int64_t n = 0;
	for (; i < text.n && text.p[i] >= '0' && text.p[i] <= '9'; i++)
		n = n > TTL_MAX ? n : n * 10 + (text.p[i] - '0');
	*ms_r = 0;
	if (i == 0)
		return false;
	if (i == text.n)
		return n == 0;
	for (size_t u = 0; u < COUNT(units); u++)
		if (bytes_equal((struct bytes){ text.p + i, text.n - i }, bytes_of(units[u].text))) {
			*ms_r = n > TTL_MAX / units[u].ms ? TTL_MAX + 1 : n * units[u].ms;
			return true;
		}
	return false;
}

/* "session=12h", "history=0", "memory=default". */
static bool read_ttl(struct bytes text, struct site_change *in)
{
	const char *equals = memchr(text.p, '=', text.n);
	if (!equals)
		return false;
	enum ttl_class k = site_ttl_find((struct bytes){ text.p, (size_t)(equals - text.p) });
	struct bytes value = { equals + 1, (size_t)(text.p + text.n - equals - 1) };
	if (k == TTL_COUNT)
		return false;
	in->ttl[k].is_given = true;
	in->ttl[k].is_default = bytes_equal(value, BYTES("default"));
	return in->ttl[k].is_default || read_time(value, &in->ttl[k].ms);
}

/* "user_month=5", "session=none", "site_day=default". */
static bool read_cap(struct bytes text, struct site_change *in)
{
	const char *equals = memchr(text.p, '=', text.n);
	if (!equals)
		return false;
	enum cap k = site_cap_find((struct bytes){ text.p, (size_t)(equals - text.p) });
	struct bytes value = { equals + 1, (size_t)(text.p + text.n - equals - 1) };
	if (k == CAP_COUNT)
		return false;
	in->caps[k].is_given = true;
	in->caps[k].nano = bytes_equal(value, BYTES("default")) ? CAP_UNSET : CAP_NONE;
	return in->caps[k].nano == CAP_UNSET || bytes_equal(value, BYTES("none")) || price_read_amount(value, &in->caps[k].nano);
}

static int cmd_site_set(struct cli *c)
{
	struct cli_option o[] = { { .name = "--title" }, { .name = "--ttl" }, { .name = "--cap" }, { .name = NULL } };
	struct site_change in = { .title = { NULL, 0 } };
	struct bytes name;
	size_t n;
	bool is_parsed = cli_parse(c, o, &name, 1, &n) && n == 1 && o[0].n + o[1].n + o[2].n > 0;
	for (size_t i = 0; is_parsed && i < o[1].n; i++)
		is_parsed = read_ttl(o[1].values[i], &in);
	for (size_t i = 0; is_parsed && i < o[2].n; i++)
		is_parsed = read_cap(o[2].values[i], &in);
	if (!is_parsed)
		return usage("site set NAME [--title T] [--ttl session|memory|knowledge|history=TIME]...\n"
			     "                     [--cap session|user_day|user_month|site_day|site_month=AMOUNT]...\n"
			     "       TIME: a number and s, m, h or d, as in 12h; 0: never; default: the install's\n"
			     "       AMOUNT: what may be spent, as in 2.50; none: any amount; default: the install's");
	in.title = last_value(&o[0]);
	enum err e = site_change(c->task, c->app, name, &in);
	return e ? cli_fail(c, e) : EXIT_OK;
}

static void add_cap(struct buf *b, const struct conf *conf, const struct site *s, enum cap k)
{
	int64_t nano = site_cap(conf, s, k);
	buf_addf(b, "cap %-10s ", site_cap_name(k));
	if (nano == CAP_NONE) {
		buf_add_str(b, "none\n");
		return;
	}
	price_add_amount(b, nano);
	buf_addf(b, " %s\n", conf->currency);
}

static int cmd_site_show(struct cli *c)
{
	struct cli_option o[] = { { .name = NULL } };
	struct bytes name;
	size_t n;
	struct site s;
	struct buf b;
	if (!cli_parse(c, o, &name, 1, &n) || n != 1)
		return usage("site show NAME");
	enum err e = site_find_by_name(c->task, c->app, name, &s);
	if (e)
		return cli_fail(c, e);
	buf_init(&b, c->task->arena, 1024);
	if (c->wants_json) {
		site_render(&b, &c->conf, &s);
		buf_add_char(&b, '\n');
	} else {
		char id[IDENT_SIZE];
		ident_format(PREFIX_SITE, &s.id, id);
		buf_addf(&b, "name           %.*s\nid             %s\ntitle          %.*s\nstatus         %s\ndomains        %.*s\norigins        %.*s\n", (int)s.name.n, s.name.p, id,
			 (int)s.title.n, s.title.p, s.is_paused ? "paused" : "active", (int)s.domains.n, s.domains.p, (int)s.origins.n, s.origins.p);
		for (enum ttl_class k = TTL_SESSION; k < TTL_COUNT; k++) {
			buf_addf(&b, "ttl %-10s ", site_ttl_name(k));
			add_time(&b, site_ttl(&c->conf, &s, k));
			buf_add_char(&b, '\n');
		}
		for (enum cap k = CAP_SESSION; k < CAP_COUNT; k++)
			add_cap(&b, &c->conf, &s, k);
	}
	print(&b);
	return EXIT_OK;
}

/* `site pause NAME` and `site resume NAME`. */
static int set_paused(struct cli *c, bool is_paused)
{
	struct cli_option o[] = { { .name = NULL } };
	struct bytes name;
	size_t n;
	struct site s;
	if (!cli_parse(c, o, &name, 1, &n) || n != 1)
		return usage("site pause|resume NAME");
	enum err e = site_find_by_name(c->task, c->app, name, &s);
	if (!e)
		e = site_pause(c->task, c->app, &s.id, is_paused);
	return e ? cli_fail(c, e) : EXIT_OK;
}

static int cmd_site_pause(struct cli *c)
{
	return set_paused(c, true);
}

static int cmd_site_resume(struct cli *c)
{
	return set_paused(c, false);
}

static int cmd_key_add(struct cli *c)
{
	struct cli_option o[] = { { .name = "--kind" }, { .name = "--label" }, { .name = NULL } };
	struct bytes name, kind;
	size_t n;
	struct site s;
	char key[API_KEY_SIZE];
	bool is_parsed = cli_parse(c, o, &name, 1, &n) && n == 1;
	kind = last_value(&o[0]);
	bool is_secret = bytes_equal(kind, BYTES("secret")), is_public = bytes_equal(kind, BYTES("publishable"));
	if (!is_parsed || (!is_secret && !is_public))
		return usage("key add SITE --kind secret|publishable [--label TEXT]");
	enum err e = site_find_by_name(c->task, c->app, name, &s);
	if (!e)
		e = site_create_key(c->task, c->app, &s.id, is_secret ? KEY_SECRET : KEY_PUBLISHABLE, last_value(&o[1]), key);
	if (e)
		return cli_fail(c, e);
	puts(key);
	secret_wipe(key, sizeof key);
	return EXIT_OK;
}

static int cmd_key_list(struct cli *c)
{
	struct cli_option o[] = { { .name = NULL } };
	struct bytes name;
	size_t n, n_rows;
	struct site s;
	struct key_row *rows;
	if (!cli_parse(c, o, &name, 1, &n) || n != 1)
		return usage("key list SITE");
	enum err e = site_find_by_name(c->task, c->app, name, &s);
	if (!e)
		e = site_list_keys(c->task, c->app, &s.id, &rows, &n_rows);
	if (e)
		return cli_fail(c, e);
	for (size_t i = 0; i < n_rows; i++) {
		char id[IDENT_SIZE], created[STAMP_SIZE];
		ident_format(PREFIX_KEY, &rows[i].id, id);
		stamp_format(rows[i].created_at, created);
		printf("%s  %-11s  %.*s...  %s  %-7s  %.*s\n", id, rows[i].kind == KEY_SECRET ? "secret" : "publishable", (int)rows[i].hint.n, rows[i].hint.p,
		       created, rows[i].revoked_at ? "revoked" : "live", (int)rows[i].label.n, rows[i].label.p);
	}
	return EXIT_OK;
}

static int cmd_key_revoke(struct cli *c)
{
	struct cli_option o[] = { { .name = NULL } };
	struct bytes words[2];
	size_t n;
	struct site s;
	struct ident key;
	if (!cli_parse(c, o, words, 2, &n) || n != 2 || !ident_parse(PREFIX_KEY, words[1], &key))
		return usage("key revoke SITE key_...");
	enum err e = site_find_by_name(c->task, c->app, words[0], &s);
	if (!e)
		e = site_revoke_key(c->task, c->app, &s.id, &key);
	return e ? cli_fail(c, e) : EXIT_OK;
}

static int cmd_provider_add(struct cli *c)
{
	struct cli_option o[] = { { .name = "--kind" }, { .name = "--base-url" }, { .name = "--key-file" }, { .name = "--if-absent", .is_flag = true }, { .name = NULL } };
	struct bytes name;
	size_t n;
	if (!cli_parse(c, o, &name, 1, &n) || n != 1)
		return usage("provider add NAME [--kind openai|anthropic|gemini] [--base-url URL] [--key-file FILE] [--if-absent]");
	struct provider in = { .name = name, .kind = o[0].n ? last_value(&o[0]) : BYTES("openai"), .base_url = last_value(&o[1]), .key_file = last_value(&o[2]) };
	const char *own = llm_default_url(in.kind);
	if (!o[1].n && own)
		in.base_url = bytes_of(own);
	enum err e = provider_create(c->task, c->app, &in);
	if (e == ERR_CONFLICT && o[3].n)
		e = ERR_OK;
	if (e)
		return cli_fail(c, e);
	printf("%.*s\n", (int)name.n, name.p);
	return EXIT_OK;
}

static int cmd_provider_list(struct cli *c)
{
	struct provider *list;
	size_t n;
	enum err e = provider_list(c->task, c->app, &list, &n);
	if (e)
		return cli_fail(c, e);
	printf("%-24s %-10s %s\n", "echo", "echo", "(built in)");
	for (size_t i = 0; i < n; i++)
		printf("%-24.*s %-10.*s %.*s\n", (int)list[i].name.n, list[i].name.p, (int)list[i].kind.n, list[i].kind.p, (int)list[i].base_url.n,
		       list[i].base_url.p);
	return EXIT_OK;
}

struct agent_add {
	const struct ident *site;
	struct agent_change in;
	struct agent agent;
};

static enum err agent_add_in(struct task *t, struct db_conn *conn, void *arg)
{
	struct agent_add *a = arg;
	return agent_create(t, conn, a->site, &a->in, &a->agent);
}

/* A number as the whole of a text, within bounds. */
static bool read_number(struct bytes text, double min, double max, double *value_r)
{
	char *end;
	*value_r = strtod(text.p, &end);
	return text.n > 0 && end == text.p + text.n && *value_r >= min && *value_r <= max;
}

/* "PROVIDER:MODEL" or "PROVIDER", which has the agent's model. A name has no colon, a model may. */
static bool read_fallbacks(struct cli *c, const struct cli_option *o, struct bytes *fallbacks_r)
{
	struct agent_fallback list[AGENT_FALLBACKS];
	if (o->n > AGENT_FALLBACKS)
		return false;
	for (size_t i = 0; i < o->n; i++) {
		struct bytes text = o->values[i];
		const char *colon = memchr(text.p, ':', text.n);
		size_t name = colon ? (size_t)(colon - text.p) : text.n;
		list[i] = (struct agent_fallback){ { text.p, name }, { colon ? colon + 1 : NULL, colon ? text.n - name - 1 : 0 } };
		if (name < 1 || name > 64 || list[i].model.n > 128)
			return false;
	}
	if (o->n)
		*fallbacks_r = agent_format_fallbacks(c->task, list, o->n);
	return true;
}

/* The values of a repeated option as a JSON array; absent when it was not given. */
static struct bytes list_of(struct cli *c, const struct cli_option *o)
{
	struct buf b;
	if (!o->n)
		return (struct bytes){ NULL, 0 };
	buf_init(&b, c->task->arena, 256);
	for (size_t i = 0; i < o->n; i++) {
		buf_add_char(&b, i ? ',' : '[');
		buf_add_json(&b, o->values[i]);
	}
	buf_add_char(&b, ']');
	return buf_bytes(&b);
}

static int cmd_agent_add(struct cli *c)
{
	struct cli_option o[] = { { .name = "--title" }, { .name = "--provider" }, { .name = "--model" }, { .name = "--instructions" },
				  { .name = "--language" }, { .name = "--temperature" }, { .name = "--max-output-tokens" },
				  { .name = "--if-absent", .is_flag = true }, { .name = "--tool" }, { .name = "--tool-mode" },
				  { .name = "--max-iterations" }, { .name = "--fallback" }, { .name = NULL } };
	struct bytes words[2];
	size_t n;
	struct site s;
	double tokens = 0, iterations = 0;
	bool is_parsed = cli_parse(c, o, words, 2, &n) && n == 2;
	struct agent_add a = { .site = &s.id, .in = { .name = words[1], .title = last_value(&o[0]), .provider = last_value(&o[1]), .model = last_value(&o[2]),
						      .instructions = last_value(&o[3]), .language = last_value(&o[4]), .has_temperature = o[5].n > 0,
						      .has_max_output_tokens = o[6].n > 0, .tools = list_of(c, &o[8]), .tool_mode = last_value(&o[9]),
						      .has_max_iterations = o[10].n > 0 } };
	if (is_parsed && o[5].n)
		is_parsed = read_number(last_value(&o[5]), 0, 2, &a.in.temperature);
	if (is_parsed && o[6].n)
		is_parsed = read_number(last_value(&o[6]), 0, 1000000, &tokens);
	if (is_parsed)
		is_parsed = read_fallbacks(c, &o[11], &a.in.fallbacks);
	if (is_parsed && o[9].n)
		is_parsed = bytes_equal(a.in.tool_mode, BYTES("native")) || bytes_equal(a.in.tool_mode, BYTES("text"));
	if (is_parsed && o[10].n)
		is_parsed = read_number(last_value(&o[10]), 0, 50, &iterations);
	if (!is_parsed)
		return usage("agent add SITE NAME [--title T] [--provider echo|NAME] [--model M] [--instructions TEXT] [--language TAG]\n"
			     "                              [--temperature 0..2] [--max-output-tokens N] [--tool NAME]... [--tool-mode native|text]\n"
			     "                              [--max-iterations N] [--fallback PROVIDER[:MODEL]]... [--if-absent]");
	a.in.max_output_tokens = (int64_t)tokens;
	a.in.max_iterations = (int64_t)iterations;
	enum err e = site_find_by_name(c->task, c->app, words[0], &s);
	if (!e)
		e = store_transact(c->task, c->app, agent_add_in, &a);
	if (e == ERR_CONFLICT && o[7].n)
		e = agent_find(c->task, c->app, &s.id, words[1], &a.agent);
	if (e)
		return cli_fail(c, e);
	print_ident(PREFIX_AGENT, &a.agent.id);
	return EXIT_OK;
}

static int cmd_agent_list(struct cli *c)
{
	struct cli_option o[] = { { .name = NULL } };
	struct bytes name, after = BYTES("");
	size_t n;
	struct site s;
	if (!cli_parse(c, o, &name, 1, &n) || n != 1)
		return usage("agent list SITE");
	enum err e = site_find_by_name(c->task, c->app, name, &s);
	while (!e) {
		struct agent *list;
		e = agent_list(c->task, c->app, &s.id, after, 100, &list, &n);
		for (size_t i = 0; !e && i < n; i++)
			printf("%-24.*s %-12.*s %-24.*s %.*s\n", (int)list[i].name.n, list[i].name.p, (int)list[i].provider.n, list[i].provider.p,
			       (int)list[i].model.n, list[i].model.p, (int)list[i].title.n, list[i].title.p);
		if (e || n < 100)
			break;
		after = list[n - 1].name;
	}
	return e ? cli_fail(c, e) : EXIT_OK;
}

const struct cli_command cmd_site_commands[] = {
	{ "site add", "NAME [--title T] [--domain D]... [--origin O]... [--if-absent]", "Create a site; prints its id. --if-absent: one that is there gets the domains and origins it lacks", CLI_NEEDS_APP, cmd_site_add },
	{ "site list", "", "List the sites", CLI_NEEDS_APP, cmd_site_list },
	{ "site show", "NAME", "Show a site, how long it keeps things and what may be spent", CLI_NEEDS_APP, cmd_site_show },
	{ "site set", "NAME [--title T] [--ttl session|memory|knowledge|history=TIME]... [--cap session|user_day|user_month|site_day|site_month=AMOUNT]...", "Change a site. TIME is a number and s, m, h or d; 0: never; AMOUNT is what may be spent, none: any; default: the install's", CLI_NEEDS_APP, cmd_site_set },
	{ "site pause", "NAME", "Refuse every request of a site", CLI_NEEDS_APP, cmd_site_pause },
	{ "site resume", "NAME", "Serve it again", CLI_NEEDS_APP, cmd_site_resume },
	{ "key add", "SITE --kind secret|publishable [--label TEXT]", "Create a key; prints it, once", CLI_NEEDS_APP, cmd_key_add },
	{ "key list", "SITE", "List a site's keys", CLI_NEEDS_APP, cmd_key_list },
	{ "key revoke", "SITE KEY_ID", "Revoke a key", CLI_NEEDS_APP, cmd_key_revoke },
	{ "provider add", "NAME [--kind openai|anthropic|gemini] [--base-url URL] [--key-file FILE] [--if-absent]", "Define a provider that agents can name", CLI_NEEDS_APP, cmd_provider_add },
	{ "provider list", "", "List the providers", CLI_NEEDS_APP, cmd_provider_list },
	{ "agent add", "SITE NAME [--title T] [--provider P] [--model M] [--instructions TEXT] [--fallback PROVIDER[:MODEL]]... ...", "Create an agent; prints its id", CLI_NEEDS_APP, cmd_agent_add },
	{ "agent list", "SITE", "List a site's agents", CLI_NEEDS_APP, cmd_agent_list },
	{ .name = NULL },
};
