/* SPDX-License-Identifier: MIT */
/* log: one JSON object a line, to stderr or a file; the only way anything internal leaves the process. */
#ifndef PARLEY_BASE_LOG_H
#define PARLEY_BASE_LOG_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/task.h"

enum log_level { LOG_ERROR_LEVEL, LOG_WARN_LEVEL, LOG_INFO_LEVEL, LOG_DEBUG_LEVEL };

/* One extra member of a line: text, or a number when text is NULL. Ends with {0}. */
struct log_item {
	const char *name;
	const char *text;
	int64_t number;
};

/*
 * Sets where lines go (path; NULL or "" is stderr; opened O_APPEND) and the lowest level written. Before the fork; again on
 * HUP to reopen. Returns ERR_CONFIG with a fault if the file cannot be opened.
 */
enum err log_open(struct task *t, const char *path, enum log_level level) MUST_CHECK;

/*
 * Writes {"time","level","event","pid","request_id",...items} with one write(2), so that lines of several processes never
 * mix; a line past 8 KB is cut inside its longest texts and stays valid JSON. t may be NULL. Anything in a text that
 * looks like one of our credentials (sk_, pk_, st_, sh_ or "Bearer ") is replaced by its first 7 characters and "...".
 */
void log_write(const struct task *t, enum log_level level, const char *event, const struct log_item *items);

#define LOG_ITEMS(...) ((const struct log_item[]){ __VA_ARGS__, { 0 } })
#define log_error(t, event, ...) log_write((t), LOG_ERROR_LEVEL, (event), LOG_ITEMS(__VA_ARGS__))
#define log_warn(t, event, ...) log_write((t), LOG_WARN_LEVEL, (event), LOG_ITEMS(__VA_ARGS__))
#define log_info(t, event, ...) log_write((t), LOG_INFO_LEVEL, (event), LOG_ITEMS(__VA_ARGS__))

/* Whether lines of this level are written: for callers whose items cost something to make. */
bool log_wants(enum log_level level);

/* The level with this name ("error", "warn", "info", "debug"); false if there is none. */
bool log_level_find(const char *name, enum log_level *level_r);

#endif
