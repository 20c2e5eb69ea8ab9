/* SPDX-License-Identifier: MIT */
/* err: the one table of error codes, with their HTTP status and wire code. */
#ifndef PARLEY_BASE_ERR_H
#define PARLEY_BASE_ERR_H

/* 0 is success. */
enum err {
#define ERR(name, status, code, title) ERR_##name,
#include "base/err.def"
#undef ERR
	ERR_COUNT
};

#define MUST_CHECK __attribute__((warn_unused_result))

/* HTTP status, wire code ("not_found") and title of an error. */
int err_status(enum err e);
const char *err_code(enum err e);
const char *err_title(enum err e);

/* The error with this wire code, or ERR_COUNT. */
enum err err_find(const char *code);

#endif
