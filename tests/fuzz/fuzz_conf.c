/* SPDX-License-Identifier: MIT */
/* fuzz_conf: a settings file of any bytes is read or refused; what is read prints as a file that gives the same. */
#include <assert.h>
#include <string.h>

#include "base/conf.h"

int LLVMFuzzerTestOneInput(const unsigned char *bytes, size_t n);

static const char *printed(struct arena *a, const struct conf *c)
{
	struct buf b;
	buf_init(&b, a, 0);
	conf_format(c, &b);
	return buf_bytes(&b).p;
}

int LLVMFuzzerTestOneInput(const unsigned char *bytes, size_t n)
{
	static struct arena *a;
	struct task t;
	struct conf c, again;
	if (!a)
		a = arena_open(65536);
	arena_reset(a);
	t = (struct task){ .arena = a };
	enum err e = conf_parse(&t, a, "input", (struct bytes){ (const char *)bytes, n }, &c);
	assert((e == ERR_OK) == (t.fault.code == ERR_OK));
	if (e) {
		assert(t.fault.detail && *t.fault.detail);
		return 0;
	}
	const char *first = printed(a, &c);
	e = conf_parse(&t, a, "printed", bytes_of(first), &again);
	assert(e == ERR_OK);
	assert(strcmp(printed(a, &again), first) == 0 || !*c.database);
	return 0;
}
