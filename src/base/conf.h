/* SPDX-License-Identifier: MIT */
/* conf: every setting, from one table (conf.def): built-in default, then file, then environment, then command line. */
#ifndef PARLEY_BASE_CONF_H
#define PARLEY_BASE_CONF_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/task.h"

/* One member for each row of conf.def: const char * for STRING and PATH, int64_t for INT, SIZE (bytes) and MS, bool for BOOL. */
struct conf {
#define CONF_STRING(name, def, secret, help) const char *name;
#define CONF_INT(name, def, min, max, unit, help) int64_t name;
#define CONF_BOOL(name, def, help) bool name;
#define CONF_SECTION(title)
#include "base/conf.def"
#undef CONF_STRING
#undef CONF_INT
#undef CONF_BOOL
#undef CONF_SECTION
};

/*
 * Reads the settings into *c, whose strings live in `a`, which must outlive it. `path` is the file ("name = value" lines, # comments, values
 * may be quoted), NULL for none. Environment: PARLEY_<NAME IN CAPITALS>. `overrides` are "name=value" strings from the command line, later ones
 * win; a setting marked secret is refused there. Every problem is reported (unknown name, wrong type, out of bounds, line number);
 * returns ERR_CONFIG with all of them in fault.detail, one a line. INT rows take suffixes where their unit says so: bytes (k, m, g), ms (ms, s, m, h, d).
 */
enum err conf_load(struct task *t, struct arena *a, const char *path, const char *const *overrides, size_t n_overrides,
		   struct conf *c) MUST_CHECK;

/* As conf_load, with the text of a file (`name` is said in problems), without the environment and the command line. */
enum err conf_parse(struct task *t, struct arena *a, const char *name, struct bytes text, struct conf *c) MUST_CHECK;

/* Writes the commented sample file: every section and setting with help, bounds, unit and default. */
void conf_format_sample(struct buf *out);

/* Writes the settings in force as "name = value" lines; secrets show as "(set)" or "(not set)". */
void conf_format(const struct conf *c, struct buf *out);

#endif
