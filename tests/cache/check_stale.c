/* SPDX-License-Identifier: MIT */
/*
 * check_stale: counts reads that are older than an acknowledged write.
 * check_stale [--seconds N] [--processes N] [--threads N] [--keys N] [--calm] [--broken-fill]
 * --processes 0 runs threads alone. Ends with 0 when no read was stale, or with --broken-fill when some were; 77 without memcached.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "stale_run.h"

static int usage(void)
{
	fputs("usage: check_stale [--seconds N] [--processes N] [--threads N] [--keys N] [--calm] [--broken-fill]\n", stderr);
	return 2;
}

static bool read_option(struct stale_options *o, const char *name, const char *value)
{
	double v = strtod(value, NULL);
	if (strcmp(name, "--seconds") == 0 && v > 0)
		o->seconds = v;
	else if (strcmp(name, "--processes") == 0 && v >= 0 && v <= 16)
		o->processes = (int)v;
	else if (strcmp(name, "--threads") == 0 && v >= 1 && v <= 64)
		o->threads = (int)v;
	else if (strcmp(name, "--keys") == 0 && v >= 1 && v <= STALE_KEYS_MAX)
		o->keys = (int)v;
	else
		return false;
	return true;
}

int main(int argc, char **argv)
{
	struct stale_options o = { .seconds = 4, .processes = 3, .threads = 4, .keys = 8 };
	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--broken-fill") == 0)
			o.is_broken = true;
		else if (strcmp(argv[i], "--calm") == 0)
			o.is_calm = true;
		else if (i + 1 < argc && read_option(&o, argv[i], argv[i + 1]))
			i++;
		else
			return usage();
	}
	struct stale_counts c;
	if (!stale_run(&o, &c)) {
		fputs("check_stale: no memcached on this machine\n", stderr);
		return 77;
	}
	printf("reads %" PRIu64 " stale %" PRIu64 "\n", c.reads, c.stale);
	printf("wrong %" PRIu64 " hits %" PRIu64 " filled %" PRIu64 " bypassed %" PRIu64 " writes %" PRIu64 "\n", c.wrong, c.hits, c.leased,
	       c.skipped, c.writes);
	printf("memcached stopped %" PRIu64 " killed %" PRIu64 ", workers killed %" PRIu64 "\n", c.stops, c.kills, c.worker_kills);
	return c.wrong == 0 && o.is_broken == (c.stale > 0) ? 0 : 1;
}
