/* SPDX-License-Identifier: MIT */
/* err: the rows of err.def, looked up by error or by wire code. */
#include "base/err.h"

#include <assert.h>
#include <string.h>

struct row {
	int status;
	const char *code;
	const char *title;
};

static const struct row rows[ERR_COUNT] = {
#define ERR(name, status_, code_, title_) [ERR_##name] = { status_, code_, title_ },
#include "base/err.def"
#undef ERR
};

static const struct row *row_of(enum err e)
{
	assert((unsigned)e < ERR_COUNT);
	return &rows[e];
}

int err_status(enum err e)
{
	return row_of(e)->status;
}

const char *err_code(enum err e)
{
	return row_of(e)->code;
}

const char *err_title(enum err e)
{
	return row_of(e)->title;
}

enum err err_find(const char *code)
{
	for (unsigned e = 0; code && e < ERR_COUNT; e++) {
		if (strcmp(rows[e].code, code) == 0)
			return (enum err)e;
	}
	return ERR_COUNT;
}
