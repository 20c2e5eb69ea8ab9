/* SPDX-License-Identifier: MIT */
/* cursor: opaque places in a list ordered by time and id, bound to the very list they came from. */
#ifndef PARLEY_APP_CURSOR_H
#define PARLEY_APP_CURSOR_H

#include "base/ident.h"
#include "base/task.h"

#define CURSOR_SIZE 40

struct cursor {
	int64_t at;
	struct ident id;
};

/* Text of a cursor; `list` names the list (site, filters, order), so that another list's cursor is refused. */
void cursor_format(const struct cursor *c, struct bytes list, char out[CURSOR_SIZE]);
bool cursor_parse(struct bytes text, struct bytes list, struct cursor *c_r);

#endif
