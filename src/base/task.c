/* SPDX-License-Identifier: MIT */
/* task: starts a task and keeps its fault, in the task's own arena. */
#include "base/task.h"

#include <assert.h>
#include <string.h>

#include "base/ident.h"

static_assert(sizeof(((struct task *)0)->id) >= IDENT_SIZE, "a request id must fit");

void task_init(struct task *t, struct arena *a)
{
	*t = (struct task){ .arena = a };
	struct ident id = ident_new();
	ident_format("req_", &id, t->id);
}

enum err task_fail(struct task *t, enum err code, const char *fmt, ...)
{
	assert(code != ERR_OK);
	/* Formatted first: the arguments may come from the fault that is replaced. */
	va_list ap;
	va_start(ap, fmt);
	const char *detail = arena_vprintf(t->arena, fmt, ap);
	va_end(ap);
	t->fault = (struct fault){ .code = code, .detail = detail };
	return code;
}

enum err task_fail_internal(struct task *t, enum err code, const char *fmt, ...)
{
	assert(code != ERR_OK);
	va_list ap;
	va_start(ap, fmt);
	const char *internal = arena_vprintf(t->arena, fmt, ap);
	va_end(ap);
	t->fault = (struct fault){ .code = code, .detail = err_title(code), .internal = internal };
	return code;
}

enum err task_fail_field(struct task *t, const char *field, const char *code, const char *fmt, ...)
{
	struct fault_field *f = arena_alloc(t->arena, sizeof(*f));
	f->field = arena_strdup(t->arena, field);
	f->code = arena_strdup(t->arena, code);
	va_list ap;
	va_start(ap, fmt);
	f->detail = arena_vprintf(t->arena, fmt, ap);
	va_end(ap);

	struct fault_field **last = &t->fault.fields;
	while (*last)
		last = &(*last)->next;
	if (last == &t->fault.fields) {
		/* The first wrong field speaks for the request, to a client that shows one sentence. */
		t->fault = (struct fault){ .code = ERR_INVALID };
		t->fault.detail = arena_printf(t->arena, "%s: %s", f->field, f->detail);
	}
	*last = f;
	return ERR_INVALID;
}

void task_open_part(struct task *part, const struct task *whole)
{
	*part = (struct task){ .arena = arena_open(65536) };
	memcpy(part->id, whole->id, sizeof part->id);
}

void task_reset_part(struct task *part)
{
	task_clear_fault(part);
	arena_reset(part->arena);
}

void task_close_part(struct task *part)
{
	task_clear_fault(part);
	arena_close(&part->arena);
}

enum err task_take_fault(struct task *whole, const struct task *part, enum err e)
{
	if (!e)
		return e;
	const struct fault *f = &part->fault;
	task_clear_fault(whole);
	for (const struct fault_field *ff = f->fields; ff; ff = ff->next)
		task_fail_field(whole, ff->field, ff->code, "%s", ff->detail);
	whole->fault.code = e;
	whole->fault.detail = arena_strdup(whole->arena, f->detail);
	whole->fault.internal = arena_strdup(whole->arena, f->internal);
	whole->fault.retry_after_s = f->retry_after_s;
	return e;
}

void task_clear_fault(struct task *t)
{
	t->fault = (struct fault){ 0 };
}
