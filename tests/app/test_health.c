/* SPDX-License-Identifier: MIT */
/* test_health: what load balancers and Prometheus ask (OPS-3). */
#include "harness.h"

#include <stdio.h>

Test(health, lives_and_is_ready)
{
	struct api *h = api_open();
	struct answer live = api_get(h, NULL, "/healthz"), ready = api_get(h, NULL, "/readyz");
	must_be(live, 200);
	cr_assert_str_eq(live.body.p, "{\"status\":\"ok\"}");
	must_be(ready, 200);
	assert_str(ready, "status", "ok");
	assert_str(ready, "database", "ok");
	assert_str(ready, "cache", h->conf.cache[0] ? "ok" : "none");
	struct answer head = ask(h, .method = "HEAD", .to = "/healthz");
	must_be(head, 200);
	cr_assert_eq(head.body.n, 0);
	cr_assert_str_eq(header_of(&head, "Content-Length"), header_of(&live, "Content-Length"));
	struct answer post = ask(h, .method = "POST", .to = "/healthz");
	assert_code(post, 405, "method_not_allowed");
	api_close(&h);
}

static void nowhere(struct conf *c)
{
	c->cache = "unix:/nonexistent/memcached.sock";
}

/* OPS-2: a cache that is away makes things slower, not unready. */
Test(health, is_ready_without_its_cache)
{
	struct api *h = api_open_with(API_NO_CACHE, nowhere);
	struct answer ready = api_get(h, NULL, "/readyz");
	must_be(ready, 200);
	assert_str(ready, "cache", "unavailable");
	const char *id = new_session(h, h->sk, NULL, NULL);
	add_messages(h, id, 1, 3);
	struct answer s = api_get(h, h->sk, "/v1/sessions/%s?messages=10", id);
	cr_assert_eq(count_at(&s, "messages"), 3);
	api_close(&h);
}

Test(health, metrics_are_for_loopback_and_count)
{
	struct api *h = api_open();
	static const char *const near[] = { "127.0.0.1", "127.9.9.9", "::1", "unix:", "" };
	static const char *const far[] = { "203.0.113.9", "10.0.0.1", "1127.0.0.1", "::2", "128.0.0.1", "localhost" };
	for (size_t i = 0; i < COUNT(near); i++) {
		struct answer a = ask(h, .method = "GET", .to = "/metrics", .remote = near[i]);
		must_be(a, 200);
		cr_assert(strstr(a.body.p, "\nparley_requests_total "));
		cr_assert(strncmp(header_of(&a, "Content-Type"), "text/plain", 10) == 0);
	}
	for (size_t i = 0; i < COUNT(far); i++) {
		struct answer a = ask(h, .method = "GET", .to = "/metrics", .remote = far[i]);
		assert_code(a, 403, "forbidden");
		/* Whoever is believed to be a proxy is not asked here: the header alone moves nobody. */
		struct answer b = ask(h, .method = "GET", .to = "/metrics", .remote = far[i], .forwarded = "127.0.0.1");
		assert_code(b, 403, "forbidden");
	}
	int64_t requests = metric_get(METRIC_requests_total), bad = metric_get(METRIC_responses_4xx_total), good = metric_get(METRIC_responses_2xx_total);
	api_get(h, NULL, "/healthz");
	api_get(h, NULL, "/nothing");
	cr_assert_eq(metric_get(METRIC_requests_total), requests + 2);
	cr_assert_eq(metric_get(METRIC_responses_4xx_total), bad + 1);
	cr_assert_eq(metric_get(METRIC_responses_2xx_total), good + 1);
	api_close(&h);
}

static void open_metrics(struct conf *c)
{
	c->metrics_public = true;
}

static void proxied(struct conf *c)
{
	c->trusted_proxies = "10.0.0.1, 10.0.0.2";
}

Test(health, metrics_may_be_opened)
{
	struct api *h = api_open_with(0, open_metrics);
	struct answer a = ask(h, .method = "GET", .to = "/metrics");
	must_be(a, 200);
	api_close(&h);
}

Test(health, metrics_see_through_trusted_proxies)
{
	struct api *h = api_open_with(0, proxied);
	struct answer a = ask(h, .method = "GET", .to = "/metrics", .remote = "10.0.0.1", .forwarded = "203.0.113.9");
	assert_code(a, 403, "forbidden");
	struct answer b = ask(h, .method = "GET", .to = "/metrics", .remote = "10.0.0.1", .forwarded = "127.0.0.1, 203.0.113.9, 10.0.0.2");
	assert_code(b, 403, "forbidden");
	struct answer c = ask(h, .method = "GET", .to = "/metrics", .remote = "10.0.0.1", .forwarded = "127.0.0.1,10.0.0.2");
	must_be(c, 200);
	api_close(&h);
}
