/* SPDX-License-Identifier: MIT */
/* cli: the command line: global options, the table of commands, and what they share. */
#ifndef PARLEY_MAIN_CLI_H
#define PARLEY_MAIN_CLI_H

#include <stdbool.h>

#include "app/app.h"
#include "base/conf.h"
#include "main/master.h"

#define CLI_VALUES 16 /* most values of one repeated option */

/* One command's call. */
struct cli {
	struct task *task;
	struct conf conf;
	struct master_source source; /* for serve */
	struct app *app;             /* open when the command's row asks for it */
	bool wants_json;
	int argc;                    /* what follows the command's words */
	char **argv;
};

enum cli_need { CLI_NEEDS_NOTHING, CLI_NEEDS_CONF, CLI_NEEDS_APP };

struct cli_command {
	const char *name;  /* "site add": one or two words */
	const char *usage; /* what follows the name */
	const char *help;
	enum cli_need need;
	int (*run)(struct cli *c); /* returns an exit status of main.h */
};

/* The commands of cmd_<name>.c; each ends with a row whose name is NULL. */
extern const struct cli_command cmd_site_commands[];     /* sites, keys, providers, agents */
extern const struct cli_command cmd_template_commands[];
extern const struct cli_command cmd_tool_commands[];
extern const struct cli_command cmd_stats_commands[];

/* Runs the program's command line; returns an exit status of main.h. */
int cli_main(int argc, char **argv);

/*
 * Reads the settings and opens the application, as far as `need` says, with the log in the file `log` (NULL: standard error). Done for each command
 * by its row; a command whose need shows late does it itself. The application is closed behind the command.
 */
enum err cli_open(struct cli *c, enum cli_need need, const char *log) MUST_CHECK;

/* One option of a command. */
struct cli_option {
	const char *name; /* "--origin" */
	bool is_flag;     /* takes no value */
	struct bytes values[CLI_VALUES];
	size_t n; /* how often it was given */
};

/*
 * Splits the command's arguments into options (the table ends with a NULL name) and at most `max` plain words. A problem is printed; false then.
 */
bool cli_parse(struct cli *c, struct cli_option *options, struct bytes *words, size_t max, size_t *n_words_r);

/* Prints a fault to standard error, with each wrong field on its line, and gives the exit status that goes with it. */
int cli_fail(struct cli *c, enum err e);

#endif
