/* SPDX-License-Identifier: MIT */
/* cli: finds the command, reads the settings, opens what it needs, runs it. */
#include "main/cli.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "app/call.h"
#include "app/openapi.h"
#include "base/log.h"
#include "base/secret.h"
#include "main/cmd_chat.h"
#include "main/cmd_move.h"
#include "main/cmd_session.h"
#include "main/janitor.h"
#include "main/main.h"
#include "main/terminal.h"
#include "main/worker.h"

#define CONF_DEFAULT "/etc/parley/parley.conf"
#define OVERRIDES_MAX 64
#define SECRET_RANDOM 32

static void print(const struct buf *b)
{
	fwrite(b->p, 1, b->n, stdout);
}

/* What is said of input may repeat it. */
static const char *shown(struct cli *c, const char *text)
{
	struct bytes clean = terminal_clean(c->task->arena, bytes_of(text));
	return arena_copy(c->task->arena, clean.p, clean.n);
}

int cli_fail(struct cli *c, enum err e)
{
	const struct fault *f = &c->task->fault;
	terminal_init();
	fprintf(stderr, "parley: %s\n", shown(c, f->detail ? f->detail : f->fields ? f->fields->detail : err_title(e)));
	for (const struct fault_field *ff = f->fields; ff; ff = ff->next)
		fprintf(stderr, "  %s: %s\n", shown(c, ff->field), shown(c, ff->detail));
	if (f->internal)
		fprintf(stderr, "  (%s)\n", f->internal);
	return e == ERR_CONFIG ? EXIT_CONF : e == ERR_USAGE || e == ERR_INVALID ? EXIT_USAGE : EXIT_FAILED;
}

static struct cli_option *find_option(struct cli_option *options, const char *name)
{
	for (struct cli_option *o = options; o->name; o++)
		if (strcmp(o->name, name) == 0)
			return o;
	return NULL;
}

bool cli_parse(struct cli *c, struct cli_option *options, struct bytes *words, size_t max, size_t *n_words_r)
{
	*n_words_r = 0;
	for (int i = 0; i < c->argc; i++) {
		const char *arg = c->argv[i];
		if (strncmp(arg, "--", 2) != 0) {
			if (*n_words_r == max) {
				fprintf(stderr, "parley: \"%s\" is one word too many\n", arg);
				return false;
			}
			words[(*n_words_r)++] = bytes_of(arg);
			continue;
		}
		if (strcmp(arg, "--json") == 0) { /* the one global option that is as clear behind the command */
			c->wants_json = true;
			continue;
		}
		struct cli_option *o = find_option(options, arg);
		if (!o || o->n == CLI_VALUES || (!o->is_flag && i + 1 == c->argc)) {
			fprintf(stderr, "parley: %s %s\n", arg, !o ? "is no option of this command" : o->n == CLI_VALUES ? "was given too often" : "needs a value");
			return false;
		}
		o->values[o->n++] = o->is_flag ? BYTES("") : bytes_of(c->argv[++i]);
	}
	return true;
}

static int cmd_serve(struct cli *c)
{
	return master_main(c->task, &c->conf, &c->source);
}

static int cmd_worker(struct cli *c)
{
	return worker_alone(c->task, &c->conf);
}

static int cmd_sweep(struct cli *c)
{
	struct sweep_report report;
	struct buf b;
	enum err e = janitor_sweep(c->task, &c->conf, &report);
	if (e)
		return cli_fail(c, e);
	if (report.is_elsewhere)
		fputs("parley: another process sweeps this install\n", stderr);
	buf_init(&b, c->task->arena, 512);
	if (c->wants_json)
		buf_addf(&b, "{\"total\":%lld,\"kinds\":{", (long long)report.total);
	else
		buf_addf(&b, "%lld\n", (long long)report.total);
	for (size_t i = 0; i < report.n; i++) {
		if (c->wants_json)
			buf_member_int(&b, report.kinds[i].name, report.kinds[i].n);
		else if (report.kinds[i].n)
			buf_addf(&b, "%10lld  %s\n", (long long)report.kinds[i].n, report.kinds[i].help);
	}
	if (c->wants_json)
		buf_add_str(&b, "}}\n");
	print(&b);
	return EXIT_OK;
}

static int cmd_migrate(struct cli *c)
{
	struct cli_option options[] = { { .name = "--dry-run", .is_flag = true }, { .name = NULL } };
	struct bytes none[1];
	size_t n_words;
	struct db *db;
	int n = 0;
	if (!cli_parse(c, options, none, 0, &n_words))
		return EXIT_USAGE;
	struct db_conf conf = { .dsn = c->conf.database, .password_file = c->conf.database_password_file, .tls_ca = c->conf.database_tls_ca, .pool = 2,
				.connect_timeout_ms = (int)c->conf.database_connect_timeout, .timeout_ms = (int)c->conf.database_timeout,
				.retries = (int)c->conf.database_retries };
	enum err e = db_open(c->task, &conf, &db);
	if (e)
		return cli_fail(c, e);
	e = db_migrate(c->task, db, options[0].n > 0, &n);
	db_close(&db);
	if (e)
		return cli_fail(c, e);
	printf("%d migrations %s\n", n, options[0].n ? "would run" : "ran");
	return EXIT_OK;
}

static int cmd_config(struct cli *c)
{
	struct cli_option options[] = { { .name = "--sample", .is_flag = true }, { .name = NULL } };
	struct bytes none[1];
	size_t n_words;
	struct buf b;
	if (!cli_parse(c, options, none, 0, &n_words))
		return EXIT_USAGE;
	buf_init(&b, c->task->arena, 8192);
	if (options[0].n)
		conf_format_sample(&b);
	else
		conf_format(&c->conf, &b);
	print(&b);
	return EXIT_OK;
}

static int cmd_routes(struct cli *c)
{
	struct cli_option options[] = { { .name = "--openapi", .is_flag = true }, { .name = NULL } };
	struct bytes none[1];
	size_t n_words;
	struct buf b;
	if (!cli_parse(c, options, none, 0, &n_words))
		return EXIT_USAGE;
	buf_init(&b, c->task->arena, 16384);
	if (options[0].n)
		openapi_format(&b);
	else
		openapi_format_routes(&b);
	print(&b);
	return EXIT_OK;
}

static int cmd_secret(struct cli *c)
{
	unsigned char random[SECRET_RANDOM];
	char hex[2 * SECRET_RANDOM + 1];
	(void)c;
	secret_init();
	secret_random(random, sizeof random);
	secret_hex(random, sizeof random, hex);
	puts(hex);
	secret_wipe(random, sizeof random);
	secret_wipe(hex, sizeof hex);
	return EXIT_OK;
}

/* Says of each part whether it would serve: settings, secret and database are open when this runs. */
static int cmd_selftest(struct cli *c)
{
	struct db *db;
	enum err e = store_open(c->task, c->app, &db);
	printf("%-12s %s\n", "settings", "ok");
	for (const struct feature *const *f = app_features; !e && *f; f++)
		e = db_prepare_all(c->task, db, (*f)->stmts, (*f)->n_stmts);
	if (e)
		return cli_fail(c, e);
	printf("%-12s ok (%s, every statement prepared)\n", "database", db_driver(db));
	bool is_up = cache_is_up(c->task, c->app->cache);
	printf("%-12s %s\n", "cache", c->conf.cache[0] == 0 ? "none" : is_up ? "ok" : "unavailable");
	return is_up || c->conf.cache[0] == 0 ? EXIT_OK : EXIT_FAILED;
}

static int cmd_version(struct cli *c)
{
	(void)c;
	puts("parley " PARLEY_VERSION);
	return EXIT_OK;
}

static int cmd_help(struct cli *c);

static const struct cli_command commands[] = {
	{ "serve", "", "Run the master, its workers and the janitor in the foreground", CLI_NEEDS_CONF, cmd_serve },
	{ "worker", "", "Be a worker on descriptor 0, a listening socket", CLI_NEEDS_CONF, cmd_worker },
	{ "migrate", "[--dry-run]", "Bring the database schema up to date", CLI_NEEDS_CONF, cmd_migrate },
	{ "sweep", "", "Do the janitor's work once; prints how much was ended or removed, in all and of each kind", CLI_NEEDS_CONF, cmd_sweep },
	{ "secret", "", "Print a new random secret for secret_file", CLI_NEEDS_NOTHING, cmd_secret },
	{ "config", "[--sample]", "Print the settings in force, or the commented sample file", CLI_NEEDS_CONF, cmd_config },
	{ "routes", "[--openapi]", "Print the routes of the API, or its OpenAPI document", CLI_NEEDS_NOTHING, cmd_routes },
	{ "selftest", "", "Check settings, database and cache, and prepare every statement", CLI_NEEDS_APP, cmd_selftest },
	{ "version", "", "Print the version", CLI_NEEDS_NOTHING, cmd_version },
	{ "help", "", "Print this", CLI_NEEDS_NOTHING, cmd_help },
	{ .name = NULL },
};

/* In the order in which help shows them. */
static const struct cli_command *const tables[] = { commands, cmd_site_commands, cmd_template_commands, cmd_tool_commands, cmd_stats_commands, cmd_session_commands, cmd_move_commands,
						  cmd_chat_commands };

static void print_commands(FILE *to, const struct cli_command *list)
{
	for (const struct cli_command *k = list; k->name; k++)
		fprintf(to, "  %s%s%s\n      %s\n", k->name, *k->usage ? " " : "", k->usage, k->help);
}

static void print_usage(FILE *to)
{
	fputs("usage: parley [-c FILE] [-o NAME=VALUE]... [--json] COMMAND\n\n"
	      "  -c FILE         read the settings from FILE (or name it in PARLEY_CONFIG; else " CONF_DEFAULT " when it exists)\n"
	      "  -o NAME=VALUE   set one setting\n"
	      "  --json          print JSON\n\ncommands:\n", to);
	for (size_t i = 0; i < COUNT(tables); i++)
		print_commands(to, tables[i]);
}

static int cmd_help(struct cli *c)
{
	(void)c;
	print_usage(stdout);
	return EXIT_OK;
}

/* How many of the arguments are the command's name: 0 when it is another. */
static int match(const char *name, int argc, char **argv)
{
	const char *space = strchr(name, ' ');
	if (!space)
		return strcmp(name, argv[0]) == 0 ? 1 : 0;
	size_t n = (size_t)(space - name);
	bool is_first = strlen(argv[0]) == n && memcmp(argv[0], name, n) == 0;
	return is_first && argc > 1 && strcmp(argv[1], space + 1) == 0 ? 2 : 0;
}

static const struct cli_command *find_command(int argc, char **argv, int *words_r)
{
	for (size_t i = 0; i < COUNT(tables); i++)
		for (const struct cli_command *k = tables[i]; k->name; k++) {
			*words_r = match(k->name, argc, argv);
			if (*words_r)
				return k;
		}
	return NULL;
}

enum err cli_open(struct cli *c, enum cli_need need, const char *log)
{
	enum err e = ERR_OK;
	if (need != CLI_NEEDS_NOTHING)
		e = conf_load(c->task, c->task->arena, c->source.conf_path, c->source.overrides, c->source.n_overrides, &c->conf);
	if (!e && need == CLI_NEEDS_APP)
		e = log_open(c->task, log, LOG_WARN_LEVEL);
	if (!e && need == CLI_NEEDS_APP)
		e = app_open(c->task, &c->conf, NULL, false, &c->app);
	return e;
}

static int run_command(struct cli *c, const struct cli_command *k)
{
	enum err e = cli_open(c, k->need, NULL);
	if (e)
		return cli_fail(c, e);
	int status = k->run(c);
	app_close(&c->app);
	return status;
}

/* Global options in front of the command. Returns the index of the command's first word, or -1 after saying what is wrong. */
static int parse_global(struct cli *c, int argc, char **argv, const char **overrides)
{
	int i = 1;
	for (; i < argc && argv[i][0] == '-'; i++) {
		bool has_value = i + 1 < argc;
		if (strcmp(argv[i], "--json") == 0) {
			c->wants_json = true;
		} else if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
			argv[i] = (char *)"help";
			return i;
		} else if (strcmp(argv[i], "--version") == 0) {
			argv[i] = (char *)"version";
			return i;
		} else if (strcmp(argv[i], "-c") == 0 && has_value) {
			c->source.conf_path = argv[++i];
		} else if (strcmp(argv[i], "-o") == 0 && has_value && c->source.n_overrides < OVERRIDES_MAX) {
			overrides[c->source.n_overrides++] = argv[++i];
		} else {
			fprintf(stderr, "parley: %s is no option, or its value is missing; try `parley help`\n", argv[i]);
			return -1;
		}
	}
	return i;
}

int cli_main(int argc, char **argv)
{
	const char *overrides[OVERRIDES_MAX];
	struct arena *a = arena_open(16384);
	struct task t;
	struct cli c = { .task = &t, .source = { .overrides = overrides, .conf_path = getenv("PARLEY_CONFIG") } };
	int words = 0, status = EXIT_USAGE;
	task_init(&t, a);
	if (!c.source.conf_path && access(CONF_DEFAULT, R_OK) == 0)
		c.source.conf_path = CONF_DEFAULT;
	int at = parse_global(&c, argc, argv, overrides);
	if (at >= argc) {
		print_usage(stderr);
	} else if (at > 0) {
		const struct cli_command *k = find_command(argc - at, argv + at, &words);
		c.argc = argc - at - words;
		c.argv = argv + at + words;
		if (k)
			status = run_command(&c, k);
		else
			fprintf(stderr, "parley: there is no command \"%s\"; try `parley help`\n", argv[at]);
	}
	arena_close(&a);
	return status;
}
