/* SPDX-License-Identifier: MIT */
/* spend_api: a month of a site's spending, or of one of its users', day by day, for the site's own server. */
#include "app/spend_api.h"

#include <stddef.h>

#include "app/dispatch.h"
#include "app/head.h"
#include "app/spend.h"
#include "base/stamp.h"

struct spend_in {
	struct bytes month, user;
};
static const struct field spend_fields[] = {
	{ .name = "month", .type = FIELD_STRING, .min = 7, .max = 7, .offset = offsetof(struct spend_in, month), .help = "As in 2026-01; this one unless said",
	  .example = "\"2026-01\"" },
	{ .name = "user", .type = FIELD_STRING, .min = 1, .max = 128, .offset = offsetof(struct spend_in, user),
	  .help = "One user's; those are kept for 62 days. Unless said, the whole site's" },
	{ .name = NULL },
};
static const struct field_table spend_table = { spend_fields, sizeof(struct spend_in) };

/* "2026-01" as 202601. */
static bool read_month(struct bytes text, int64_t *month_r)
{
	*month_r = 0;
	for (size_t i = 0; i < text.n; i++) {
		if (i == 4 && text.p[i] == '-')
			continue;
		if (i == 4 || text.p[i] < '0' || text.p[i] > '9')
			return false;
		*month_r = *month_r * 10 + (text.p[i] - '0');
	}
	return *month_r % 100 >= 1 && *month_r % 100 <= 12;
}

static void add_days(struct buf *b, const struct spend_day *days, size_t n)
{
	buf_add_member(b, "days");
	buf_add_char(b, '[');
	for (size_t i = 0; i < n; i++) {
		long long date = (long long)days[i].date;
		buf_addf(b, "%s{\"date\":\"%04lld-%02lld-%02lld\"", i ? "," : "", date / 10000, date / 100 % 100, date % 100);
		spend_render(b, &days[i].sum);
		buf_add_char(b, '}');
	}
	buf_add_char(b, ']');
}

static enum err api_spend_get(struct call *c)
{
	const struct spend_in *in = c->query;
	struct buf *b = &c->rs->body;
	struct site s;
	struct spend_day *days;
	size_t n;
	int64_t month = spend_date(stamp_now()) / 100;
	if (in->month.p && !read_month(in->month, &month))
		return task_fail_field(c->task, "month", "format", "must be a year and a month, as in 2026-01");
	struct ident user = head_user_ident(&c->who.site, bytes_or(in->user, BYTES("")));
	enum err e = site_find(c->task, c->app, &c->who.site, &s);
	if (!e)
		e = spend_read_month(c->task, c->app, &c->who.site, in->user.p ? &user : NULL, month, &days, &n);
	if (e)
		return e;
	struct spend_sum total = spend_total(days, n);
	buf_add_char(b, '{');
	buf_member_str(b, "object", "spend");
	buf_addf(b, ",\"month\":\"%04lld-%02lld\"", (long long)month / 100, (long long)month % 100);
	buf_member_string(b, "user", in->user);
	site_render_caps(b, c->app->conf, &s);
	buf_member_json(b, "total", BYTES("{"));
	spend_render(b, &total);
	buf_add_char(b, '}');
	add_days(b, days, n);
	buf_add_char(b, '}');
	dispatch_reply(c, 200);
	return ERR_OK;
}

static const struct api_route routes[] = {
	{ HTTP_GET, "/v1/site/spend", SCOPE_SITE, api_spend_get, NULL, &spend_table, 0, "Get what the site, or one of its users, spent in a month, by day", 200, "Spend" },
};

const struct feature spend_api_feature = { .name = "spend_api", .routes = routes, .n_routes = COUNT(routes) };
