/* SPDX-License-Identifier: MIT */
/* openapi_schemas: the shapes of all answers, by the names that the routes give them. */
#ifndef PARLEY_APP_OPENAPI_SCHEMAS_H
#define PARLEY_APP_OPENAPI_SCHEMAS_H

#include "base/buf.h"

/* JSON written with ' where JSON has ", so that it can be read here; no text in it holds either. */
struct openapi_schema {
	const char *name;
	const char *schema;
	const char *example; /* of such an answer; NULL for what only stands inside others */
};

/* All of them by name, ending with a name of NULL. */
const struct openapi_schema *openapi_schemas(void);

/* Adds such JSON as JSON. */
void openapi_add_quoted(struct buf *b, const char *text);

#endif
