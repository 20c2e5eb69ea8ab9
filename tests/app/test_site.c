/* SPDX-License-Identifier: MIT */
/* test_site: sites, their keys, and how long a revoked key or a paused site still works (SIT-1). */
#include "harness.h"

static void no_copies(struct conf *c)
{
	c->key_ttl = 0;
}

static void brief_copies(struct conf *c)
{
	c->key_ttl = 150;
}

static struct key_row *keys_of(struct api *h, size_t *n)
{
	struct key_row *rows;
	cr_assert_eq(site_list_keys(&h->task, h->app, &h->home.id, &rows, n), ERR_OK);
	return rows;
}

static struct ident secret_key_id(struct api *h)
{
	size_t n;
	struct key_row *rows = keys_of(h, &n);
	for (size_t i = 0; i < n; i++)
		if (rows[i].kind == KEY_SECRET)
			return rows[i].id;
	cr_assert_fail("no secret key");
	return rows[0].id;
}

Test(site, keys_are_listed_without_themselves)
{
	struct api *h = api_open();
	size_t n;
	struct key_row *rows = keys_of(h, &n);
	cr_assert_eq(n, 2);
	for (size_t i = 0; i < n; i++) {
		cr_assert_eq(rows[i].hint.n, 7);
		cr_assert(bytes_equal(rows[i].label, BYTES("test")));
		cr_assert(rows[i].revoked_at == 0 && rows[i].created_at > 1700000000000);
	}
	unsigned char hash[SECRET_HASH_SIZE];
	api_key_hash(bytes_of(h->sk), hash);
	cr_assert_eq(sql_int(h, "SELECT COUNT(*) FROM api_keys WHERE hash = ?", DB_ARGS(db_blob(hash, sizeof hash))), 1, "only a hash is stored");
	api_close(&h);
}

Test(site, a_revoked_key_is_refused)
{
	struct api *h = api_open_with(0, no_copies);
	struct answer a = api_get(h, h->sk, "/v1/agents");
	must_be(a, 200);
	struct ident id = secret_key_id(h), unknown = ident_new();
	cr_assert_eq(site_revoke_key(&h->task, h->app, &h->home.id, &unknown), ERR_NOT_FOUND);
	struct api_site other = api_add_site(h, "https://other.example");
	cr_assert_eq(site_revoke_key(&h->task, h->app, &other.id, &id), ERR_NOT_FOUND, "a key of another site");
	cr_assert_eq(site_revoke_key(&h->task, h->app, &h->home.id, &id), ERR_OK);
	struct answer b = api_get(h, h->sk, "/v1/agents");
	assert_code(b, 401, "unauthenticated");
	cr_assert_eq(site_revoke_key(&h->task, h->app, &h->home.id, &id), ERR_NOT_FOUND, "once");
	struct answer public = ask(h, .method = "POST", .to = "/v1/sessions", .key = h->pk, .origin = ORIGIN, .body = "{\"agent\":\"guide\"}");
	must_be(public, 201);
	api_close(&h);
}

/* The setting key_ttl is the promise. */
Test(site, a_copy_of_a_key_lives_no_longer_than_set)
{
	struct api *h = api_open_with(0, brief_copies);
	struct answer a = api_get(h, h->sk, "/v1/agents");
	must_be(a, 200);
	struct ident id = secret_key_id(h);
	cr_assert_eq(site_revoke_key(&h->task, h->app, &h->home.id, &id), ERR_OK);
	nap(170);
	struct answer b = api_get(h, h->sk, "/v1/agents");
	assert_code(b, 401, "unauthenticated");
	api_close(&h);
}

Test(site, an_expired_key_is_refused_even_from_a_copy)
{
	struct api *h = api_open_with(API_FILE, NULL);
	sql_run(h, "UPDATE api_keys SET expires_at = ? WHERE site = ?", DB_ARGS(db_int(stamp_now() + 300), db_ident(&h->home.id)));
	struct api *fresh = api_twin(h, 0, NULL); /* its copies know the time */
	struct answer a = api_get(fresh, h->sk, "/v1/agents");
	must_be(a, 200);
	nap(310);
	struct answer b = api_get(fresh, h->sk, "/v1/agents");
	assert_code(b, 401, "unauthenticated");
	api_close(&fresh);
	api_close(&h);
}

/* SIT-1: the pause switch */
Test(site, a_paused_one_answers_nobody_until_it_goes_on)
{
	struct api *h = api_open_with(0, no_copies);
	const char *token;
	const char *id = new_session(h, h->sk, NULL, &token);
	struct api_site other = api_add_site(h, "https://other.example");
	cr_assert_eq(site_pause(&h->task, h->app, &h->home.id, true), ERR_OK);
	const char *const keys[] = { h->sk, token };
	for (size_t i = 0; i < COUNT(keys); i++) {
		struct answer a = api_get(h, keys[i], "/v1/sessions/%s", id);
		assert_code(a, 403, "site_paused");
	}
	struct answer public = ask(h, .method = "POST", .to = "/v1/sessions", .key = h->pk, .origin = ORIGIN, .body = "{\"agent\":\"guide\"}");
	assert_code(public, 403, "site_paused");
	struct answer elsewhere = api_get(h, other.sk, "/v1/agents");
	must_be(elsewhere, 200);
	cr_assert_eq(site_pause(&h->task, h->app, &h->home.id, false), ERR_OK);
	struct answer a = api_get(h, h->sk, "/v1/sessions/%s", id);
	must_be(a, 200);
	struct ident unknown = ident_new();
	cr_assert_eq(site_pause(&h->task, h->app, &unknown, true), ERR_NOT_FOUND);
	api_close(&h);
}

static enum err try_site(struct api *h, const char *name, const char *origin, const char *domain)
{
	struct bytes origins[] = { bytes_of(origin) }, domains[] = { bytes_of(domain) };
	struct site_new in = { .name = bytes_of(name), .origins = origins, .n_origins = origin != NULL, .domains = domains, .n_domains = domain != NULL };
	struct ident id;
	task_clear_fault(&h->task);
	return site_create(&h->task, h->app, &in, &id);
}

Test(site, bad_names_origins_and_domains_are_refused)
{
	struct api *h = api_open();
	static const char *const names[] = { "", "A", "-a", "a b", "a_b", "a.b", "\xc3\xa9", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" };
	for (size_t i = 0; i < COUNT(names); i++)
		cr_assert_eq(try_site(h, names[i], NULL, NULL), ERR_INVALID, "%s", names[i]);
	static const char *const origins[] = { "", "shop.example", "https://", "ftp://shop.example", "https://shop.example/", "https://SHOP.example", "https://a\"b", "https://*.example",
					       "null", "*", "https://user@shop.example", "https://a b" };
	for (size_t i = 0; i < COUNT(origins); i++)
		cr_assert_eq(try_site(h, "good", origins[i], NULL), ERR_INVALID, "%s", origins[i]);
	static const char *const domains[] = { "", "https://shop.example", "shop/x", "Shop.example", "a b" };
	for (size_t i = 0; i < COUNT(domains); i++)
		cr_assert_eq(try_site(h, "good", NULL, domains[i]), ERR_INVALID, "%s", domains[i]);
	cr_assert_eq(try_site(h, h->home.name, NULL, NULL), ERR_CONFLICT, "the name is taken");
	api_close(&h);
}

Test(site, is_found_by_name_and_listed)
{
	struct api *h = api_open();
	struct site s, *list;
	size_t n;
	cr_assert_eq(site_find_by_name(&h->task, h->app, bytes_of(h->home.name), &s), ERR_OK);
	cr_assert(ident_equal(&s.id, &h->home.id));
	cr_assert(bytes_equal(s.origins, BYTES("[\"" ORIGIN "\"]")));
	cr_assert(site_allows_origin(&s, BYTES(ORIGIN)) && !site_allows_origin(&s, BYTES("https://shop.exampl")));
	cr_assert_eq(site_find_by_name(&h->task, h->app, BYTES("never-was"), &s), ERR_NOT_FOUND);
	cr_assert_eq(site_list(&h->task, h->app, &list, &n), ERR_OK);
	cr_assert_geq(n, 1);
	api_close(&h);
}

/* A token outlives no site; its signature is the install's. */
Test(site, a_token_of_no_site_is_refused)
{
	struct api *h = api_open();
	struct token tk = { .site = ident_new(), .session = ident_new(), .user = ident_new(), .expires_at = stamp_now() + 60000 };
	char text[TOKEN_SIZE];
	unsigned char wrong[SECRET_KEY_SIZE];
	token_format(&tk, h->app->token_key, text);
	struct answer a = api_get(h, text, "/v1/sessions/x");
	assert_code(a, 401, "unauthenticated");
	tk.site = h->home.id;
	memcpy(wrong, h->app->token_key, sizeof wrong);
	wrong[0] ^= 1;
	token_format(&tk, wrong, text);
	struct answer b = api_get(h, text, "/v1/sessions/x");
	assert_code(b, 401, "unauthenticated");
	cr_assert_str_eq(masked(&a), masked(&b));
	api_close(&h);
}

static void find_many(void *arg, int i)
{
	struct api *h = arg;
	for (int k = 0; k < 40; k++) {
		struct answer a = ask(h, .method = "GET", .to = "/v1/agents", .key = (i + k) % 3 ? h->sk : h->pk);
		if (a.status != ((i + k) % 3 ? 200 : 403))
			abort();
	}
}

/* The copies are shared by the threads of a worker and replaced under them. */
Test(site, copies_are_safe_between_threads)
{
	struct api *h = api_open_with(0, no_copies);
	in_parallel(8, find_many, h);
	api_close(&h);
}

static int64_t ttl_of(struct api *h, enum ttl_class k)
{
	struct site s;
	cr_assert_eq(site_find_by_name(&h->task, h->app, bytes_of(h->home.name), &s), ERR_OK);
	return site_ttl(&h->conf, &s, k);
}

/* SES-17 */
Test(site, keeps_things_as_long_as_the_install_unless_it_says_otherwise)
{
	struct api *h = api_open_with(0, no_copies);
	struct bytes name = bytes_of(h->home.name);
	cr_assert_eq(ttl_of(h, TTL_SESSION), 24 * 3600000);
	cr_assert_eq(ttl_of(h, TTL_MEMORY), 72 * 3600000);
	cr_assert_eq(ttl_of(h, TTL_KNOWLEDGE), 168 * 3600000);
	cr_assert_eq(ttl_of(h, TTL_HISTORY), 720 * (int64_t)3600000);
	struct site_change in = { .title = BYTES("Shop"), .ttl = { [TTL_SESSION] = { true, false, 5000 }, [TTL_HISTORY] = { true, false, 0 } } };
	cr_assert_eq(site_change(&h->task, h->app, name, &in), ERR_OK);
	cr_assert_eq(ttl_of(h, TTL_SESSION), 5000);
	cr_assert_eq(ttl_of(h, TTL_HISTORY), 0, "for ever is a time of its own");
	cr_assert_eq(ttl_of(h, TTL_MEMORY), 72 * 3600000, "the others stay");
	struct site_change back = { .ttl = { [TTL_SESSION] = { true, true, 0 }, [TTL_MEMORY] = { true, false, TTL_MAX } } };
	cr_assert_eq(site_change(&h->task, h->app, name, &back), ERR_OK);
	cr_assert_eq(ttl_of(h, TTL_SESSION), 24 * 3600000);
	cr_assert_eq(ttl_of(h, TTL_MEMORY), TTL_MAX);
	cr_assert_eq(ttl_of(h, TTL_HISTORY), 0);
	struct answer a = api_get(h, h->sk, "/v1/site");
	must_be(a, 200);
	assert_str(a, "name", h->home.name);
	assert_str(a, "title", "Shop");
	assert_int(a, "ttl.session", 86400);
	assert_int(a, "ttl.memory", TTL_MAX / 1000);
	assert_int(a, "ttl.history", 0);
	struct answer refused = ask(h, .method = "GET", .to = "/v1/site", .key = h->pk, .origin = ORIGIN);
	assert_code(refused, 403, "forbidden");
	api_close(&h);
}

/* SES-17 */
Test(site, refuses_times_past_any_use_and_unknown_names)
{
	struct api *h = api_open_with(0, no_copies);
	struct site_change late = { .ttl = { [TTL_SESSION] = { true, false, TTL_MAX + 1 } } }, negative = { .ttl = { [TTL_HISTORY] = { true, false, -1 } } };
	cr_assert_eq(site_change(&h->task, h->app, bytes_of(h->home.name), &late), ERR_INVALID);
	cr_assert_str_eq(h->task.fault.fields->field, "ttl.session");
	task_clear_fault(&h->task);
	cr_assert_eq(site_change(&h->task, h->app, bytes_of(h->home.name), &negative), ERR_INVALID);
	cr_assert_eq(ttl_of(h, TTL_SESSION), 24 * 3600000);
	struct site_change fine = { .title = BYTES("x") };
	cr_assert_eq(site_change(&h->task, h->app, BYTES("never-was"), &fine), ERR_NOT_FOUND);
	cr_assert_eq(site_ttl_find(BYTES("history")), TTL_HISTORY);
	cr_assert_eq(site_ttl_find(BYTES("sessions")), TTL_COUNT);
	api_close(&h);
}

/* A site whose settings hold what we never wrote keeps things as the install does. */
Test(site, takes_the_installs_times_where_its_own_cannot_be_read)
{
	struct api *h = api_open_with(0, no_copies);
	static const char *const odd[] = { "{}", "{\"ttl\":3}", "{\"ttl\":{}}", "{\"ttl\":{\"session\":\"x\"}}", "{\"ttl\":{\"session\":null}}", "", "[]", "{\"ttl\":{\"session\":-5}}", "{\"ttl\"" };
	for (size_t i = 0; i < COUNT(odd); i++) {
		sql_run(h, "UPDATE sites SET settings = ? WHERE id = ?", DB_ARGS(db_text(bytes_of(odd[i])), db_ident(&h->home.id)));
		cr_assert_eq(ttl_of(h, TTL_SESSION), 24 * 3600000, "%s", odd[i]);
	}
	api_close(&h);
}
