/* SPDX-License-Identifier: MIT */
/* tool_time: what models do not know: date, time and day of the week. */
#include "app/tool_time.h"

#include <stdlib.h>
#include <time.h>

#include "app/tool.h"
#include "base/stamp.h"

/* {"utc":"...Z","local":"...+02:00","weekday":"Friday"}; local and weekday are those of the offset, UTC unless said. */
static enum err current_time(struct task *t, struct app *app, const struct tool_env *env, struct bytes arguments, struct bytes *result_r)
{
	static const char *const days[] = { "Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday" };
	struct bytes given = jsonx_member(arguments, "utc_offset_minutes");
	int offset = given.n ? (int)jsonx_real(given) : 0;
	int64_t now = stamp_now();
	time_t local = (time_t)(now / 1000 + offset * 60);
	struct tm tm;
	char utc[STAMP_SIZE], text[32];
	struct buf b;
	(void)app;
	(void)env;
	gmtime_r(&local, &tm);
	strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &tm);
	stamp_format(now, utc);
	buf_init(&b, t->arena, 128);
	buf_add_char(&b, '{');
	buf_member_str(&b, "utc", utc);
	buf_member_str(&b, "local", arena_printf(t->arena, "%s%c%02d:%02d", text, offset < 0 ? '-' : '+', abs(offset) / 60, abs(offset) % 60));
	buf_member_str(&b, "weekday", days[tm.tm_wday]);
	buf_add_char(&b, '}');
	*result_r = buf_bytes(&b);
	return ERR_OK;
}

static const struct tool_builtin tools[] = {
	{ "current_time", "Tells the date, the time and the day of the week, in UTC and at an offset from it.",
	  "{\"type\":\"object\",\"properties\":{\"utc_offset_minutes\":{\"type\":\"integer\",\"minimum\":-840,\"maximum\":840,"
	  "\"description\":\"Minutes that the wanted local time is ahead of UTC; 0 unless given\"}},\"additionalProperties\":false}",
	  current_time },
};

const struct feature tool_time_feature = { .name = "tool_time", .tools = tools, .n_tools = COUNT(tools) };
