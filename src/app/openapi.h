/* SPDX-License-Identifier: MIT */
/* openapi: the OpenAPI 3.1 document and the plain list of routes, both made from the route tables. */
#ifndef PARLEY_APP_OPENAPI_H
#define PARLEY_APP_OPENAPI_H

#include "app/call.h"

/* Writes the document. */
void openapi_format(struct buf *out);

/* Writes one line for each route: method, path, scope, help. */
void openapi_format_routes(struct buf *out);

extern const struct feature openapi_feature;

#endif
