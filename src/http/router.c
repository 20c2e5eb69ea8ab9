/* SPDX-License-Identifier: MIT */
/* router: a tree with one level for each path segment; each node has its literal children by name and at most one {name} child. */
#include "http/router.h"

#include <assert.h>

#define ROUTER_SEGMENTS 16 /* deepest path looked at */

struct node {
	struct bytes name;    /* of a literal */
	struct node *child;   /* first literal child */
	struct node *param;   /* the {name} child */
	struct node *sibling; /* next literal of the same parent */
	const void *rows[HTTP_METHOD_COUNT];
	unsigned allowed;
};

struct router {
	struct arena *arena;
	struct node root;
};

/* The decoded segments of the path that is looked for. */
struct segments {
	struct bytes s[ROUTER_SEGMENTS];
	size_t n;
};

struct router *router_open(void)
{
	struct arena *a = arena_open(16384);
	struct router *r = arena_alloc(a, sizeof(*r));

	r->arena = a;
	return r;
}

void router_close(struct router **r)
{
	struct arena *a;

	if (!*r)
		return;
	a = (*r)->arena;
	*r = NULL;
	arena_close(&a);
}

static struct node *literal_find(const struct node *parent, struct bytes name)
{
	struct node *n = parent->child;

	while (n && !bytes_equal(n->name, name))
		n = n->sibling;
	return n;
}

static struct node *child_make(struct router *r, struct node *parent, struct bytes name)
{
	struct node *n = name.p[0] == '{' ? parent->param : literal_find(parent, name);

	if (n)
		return n;
	n = arena_alloc(r->arena, sizeof(*n));
	n->name = arena_bytes(r->arena, name);
	if (name.p[0] == '{') {
		parent->param = n;
	} else {
		n->sibling = parent->child;
		parent->child = n;
	}
	return n;
}

void router_add(struct router *r, enum http_method method, const char *pattern, const void *row)
{
	struct node *n = &r->root;
	size_t n_segments = 0, n_params = 0;

	assert(pattern[0] == '/' && method < HTTP_METHOD_COUNT && row);
	for (const char *p = pattern; *p;) {
		struct bytes name = { p + 1, strcspn(p + 1, "/") };

		assert(name.n > 0);
		n_segments++;
		n_params += name.p[0] == '{';
		assert(n_segments <= ROUTER_SEGMENTS && n_params <= ROUTER_PARAMS);
		n = child_make(r, n, name);
		p = name.p + name.n;
	}
	assert(!n->rows[method]);
	n->rows[method] = row;
	n->allowed |= 1u << method;
	if (method == HTTP_GET)
		n->allowed |= 1u << HTTP_HEAD;
}

static bool is_plain(struct bytes s)
{
	for (size_t i = 0; i < s.n; i++) {
		unsigned char c = (unsigned char)s.p[i];

		if (c == '%' || c == '\0' || c >= 0x80)
			return false;
	}
	return true;
}

/* Splits and decodes. False when no pattern could match it. */
static bool segments_split(struct arena *a, struct bytes path, struct segments *out)
{
	size_t i = 0;

	out->n = 0;
	if (path.n == 0 || path.p[0] != '/')
		return false;
	while (i < path.n) {
		struct bytes raw = { path.p + i + 1, 0 };

		while (i + 1 + raw.n < path.n && raw.p[raw.n] != '/')
			raw.n++;
		i += 1 + raw.n;
		if (raw.n == 0 || raw.n > 3 * ROUTER_PARAM_BYTES || out->n == ROUTER_SEGMENTS)
			return false;
		struct bytes *s = &out->s[out->n++];

		*s = raw;
		if (!is_plain(raw) && !http_unescape(a, raw, false, s))
			return false;
		if (s->n > ROUTER_PARAM_BYTES || bytes_equal(*s, BYTES(".")) || bytes_equal(*s, BYTES("..")))
			return false;
	}
	return true;
}

/* The node that segments[at..] lead to, literals tried first at every level; parameter values are left in m. */
static const struct node *node_find(const struct node *n, const struct segments *path, size_t at, size_t n_params, struct router_match *m)
{
	const struct node *found = NULL;
	const struct node *literal;

	if (at == path->n) {
		m->n_params = n_params;
		return n->allowed ? n : NULL;
	}
	literal = literal_find(n, path->s[at]);
	if (literal)
		found = node_find(literal, path, at + 1, n_params, m);
	if (!found && n->param) {
		m->params[n_params] = path->s[at];
		found = node_find(n->param, path, at + 1, n_params + 1, m);
	}
	return found;
}

enum err router_find(const struct router *r, struct task *t, enum http_method method, struct bytes path, struct router_match *m_r)
{
	struct segments segments;
	const struct node *n;

	memset(m_r, 0, sizeof(*m_r));
	if (!segments_split(t->arena, path, &segments))
		return task_fail(t, ERR_NOT_FOUND, "There is nothing at this path.");
	n = node_find(&r->root, &segments, 0, 0, m_r);
	if (!n) {
		memset(m_r, 0, sizeof(*m_r));
		return task_fail(t, ERR_NOT_FOUND, "There is nothing at this path.");
	}
	m_r->allowed = n->allowed;
	if (method < HTTP_METHOD_COUNT)
		m_r->row = n->rows[method];
	if (!m_r->row && method == HTTP_HEAD)
		m_r->row = n->rows[HTTP_GET];
	if (!m_r->row)
		return task_fail(t, ERR_METHOD_NOT_ALLOWED, "This path does not have this method.");
	return ERR_OK;
}
