/* SPDX-License-Identifier: MIT */
/* openapi_answers: which answers a route can give, by its row and by the few facts that no row tells. */
#ifndef PARLEY_APP_OPENAPI_ANSWERS_H
#define PARLEY_APP_OPENAPI_ANSWERS_H

#include "app/call.h"

/* What the document says of a route beside its row. */
struct route_notes {
	enum http_method method;
	const char *path;
	const char *codes;   /* wire codes of its own errors, separated by |; one with - before it is never given after all */
	int also;              /* another status with the same schema: of a create that found what there was, say; 0: none */
	const char *also_help; /* what that one means */
	const char *body;    /* what the table cannot say of the body: further members of its schema, written as in openapi_schemas.c; NULL: nothing */
	const char *media;   /* type of an answer that is not JSON; NULL: application/json */
	const char *media_help, *media_example; /* what such an answer holds */
};

/* A {name} in a path. */
struct path_parameter {
	const char *name, *help;
	const char *pattern; /* NULL: any text */
	const char *example;
};

/* The notes on a route; those of one without any say nothing. */
const struct route_notes *route_notes_find(const struct api_route *r);
/* All notes, ending with a path of NULL. */
const struct route_notes *route_notes_list(void);

/* Whether the route can fail like this. */
bool route_may_fail(const struct api_route *r, enum err e);

/* The parameter of this name, or NULL. */
const struct path_parameter *path_parameter_find(struct bytes name);

#endif
