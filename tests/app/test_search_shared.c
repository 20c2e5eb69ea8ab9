/* SPDX-License-Identifier: MIT */
/* test_search_shared: messages that several conversations show are found once, by those who see them; pages of a search see everything once. */
#include "search_help.h"

static const char *clone_of(struct api *h, const char *session, const char *body)
{
	struct answer a = api_post(h, h->sk, body, "/v1/sessions/%s/clone", session);
	must_be(a, 201);
	return str_at(&a, "id");
}

static const char *branch_at(struct api *h, const char *session, int at)
{
	struct answer s = api_get(h, h->sk, "/v1/sessions/%s", session);
	struct answer a = api_post(h, h->sk, api_text(h, "{\"at\":%d}", at), "/v1/sessions/%s/conversations/%s/branch", session, str_at(&s, "conversation_id"));
	must_be(a, 201);
	return str_at(&a, "id");
}

static const char *message_id(struct api *h, const char *session, int seq)
{
	struct answer a = api_get(h, h->sk, "/v1/sessions/%s/messages?limit=1&after=%d", session, seq - 1);
	must_be(a, 200);
	return str_at(&a, "data[0].id");
}

static void delete_message(struct api *h, const char *session, int seq)
{
	struct answer a = api_delete(h, h->sk, "/v1/sessions/%s/messages/%s", session, message_id(h, session, seq));
	must_be(a, 204);
}

/* Branches that are not the active ones count too; what they share is found once. */
Test(search_shared, looks_into_every_branch)
{
	struct api *h = api_open();
	const char *s = begin(h, "ann", NULL);
	say(h, s, "user", "plum one");
	say(h, s, "user", "plum two");
	say(h, s, "user", "plum three");
	branch_at(h, s, 2);
	say(h, s, "user", "plum three of the branch");
	say(h, s, "user", "plum four of the branch");
	struct answer a = search(h, "plum");
	cr_assert_eq(count_at(&a, "data"), 5);
	assert_int(a, "scanned", 5);
	struct answer list = api_get(h, h->sk, "/v1/sessions/%s/conversations", s);
	const char *trunk = str_at(&list, "data[0].id");
	struct answer gone = api_delete(h, h->sk, "/v1/sessions/%s/conversations/%s", s, trunk);
	must_be(gone, 204);
	a = search(h, "plum");
	assert_int(a, "scanned", 4);
	cr_assert_eq(count_at(&a, "data"), 4, "what the branch still shows of the deleted trunk, and no more");
	cr_assert_null(strstr(a.body.p, "\"plum three\""));
	cr_assert_null(strstr(a.body.p, trunk), "a conversation that is gone is named nowhere");
	api_close(&h);
}

/* What a clone inherits belongs to its user as well, and is searched where it was written when the asker may look there. */
Test(search_shared, finds_in_a_clone_what_its_original_hides_or_took_along)
{
	struct api *h = api_open();
	const char *ann = begin(h, "ann", NULL);
	say(h, ann, "user", "pear one");
	say(h, ann, "user", "pear two");
	const char *twin = clone_of(h, ann, "{}"), *bob = clone_of(h, ann, "{\"user\":\"bob\"}");
	say(h, ann, "user", "pear three of Ann");
	say(h, bob, "user", "pear three of Bob");
	struct answer all = search(h, "pear"), anns = search_as(h, h->sk, "pear", "&user=ann"), bobs = search_as(h, h->sk, "pear", "&user=bob");
	cr_assert_eq(count_at(&all, "data"), 4);
	cr_assert_eq(count_at(&anns, "data"), 3);
	cr_assert_eq(count_at(&bobs, "data"), 3);
	cr_assert_null(strstr(bobs.body.p, "Ann"));
	cr_assert_null(strstr(bobs.body.p, ann));
	cr_assert_null(strstr(anns.body.p, bob));
	struct answer alone = search_as(h, h->sk, "pear", api_text(h, "&session=%s", twin));
	cr_assert_eq(count_at(&alone, "data"), 2);
	cr_assert_null(strstr(alone.body.p, ann));
	/* The original hides one: its clones still have it. */
	delete_message(h, ann, 1);
	struct answer hidden = search_as(h, h->sk, "\"pear one\"", "&user=ann");
	assert_places(h, hidden, "b:1", ann, twin);
	struct answer in_original = search_as(h, h->sk, "\"pear one\"", api_text(h, "&session=%s", ann));
	cr_assert_eq(count_at(&in_original, "data"), 0);
	/* The clone hides one: the original still has it, the clone only what stands there now. */
	struct answer r = api_post(h, h->sk, "{\"text\":\"blacked out\"}", "/v1/sessions/%s/messages/%s/redact", twin, message_id(h, twin, 2));
	must_be(r, 200);
	struct answer two = search_as(h, h->sk, "\"pear two\"", "&user=ann"), black = search_as(h, h->sk, "blacked", "&user=ann");
	assert_places(h, two, "a:2", ann, twin);
	assert_places(h, black, "b:2", ann, twin);
	struct answer in_twin = search_as(h, h->sk, "pear two", api_text(h, "&session=%s", twin));
	assert_places(h, in_twin, "b:1", ann, twin);
	/* The original goes: what clones show of it stays. */
	struct answer d = api_delete(h, h->sk, "/v1/sessions/%s", ann);
	must_be(d, 204);
	anns = search_as(h, h->sk, "pear", "&user=ann");
	assert_places(h, anns, "b:1", ann, twin);
	bobs = search_as(h, h->sk, "pear", "&user=bob");
	cr_assert_eq(count_at(&bobs, "data"), 3);
	all = search(h, "pear");
	cr_assert_eq(count_at(&all, "data"), 3, "two shared ones, once each, and Bob's own");
	api_close(&h);
}

static void read_little(struct conf *c)
{
	c->search_messages = 100;
}

/* Ids that were met, and how often. */
struct ids {
	const char *id[2000];
	int n_seen[2000];
	size_t n;
};

static void see(struct ids *ids, const char *id, int by)
{
	size_t i = 0;
	while (i < ids->n && strcmp(ids->id[i], id) != 0)
		i++;
	cr_assert_lt(i, COUNT(ids->id));
	if (i == ids->n)
		ids->id[ids->n++] = id;
	ids->n_seen[i] += by;
}

/* Every message with a content that a session's conversations show. */
static void see_session(struct api *h, const char *session, struct ids *ids)
{
	struct answer list = api_get(h, h->sk, "/v1/sessions/%s/conversations?limit=100", session);
	must_be(list, 200);
	for (size_t i = 0; i < count_at(&list, "data"); i++)
		for (int64_t after = 0, is_more = 1; is_more;) {
			struct answer a = api_get(h, h->sk, "/v1/sessions/%s/messages?conversation=%s&limit=100&after=%lld", session, str_at(&list, api_text(h, "data[%zu].id", i)),
						  (long long)after);
			must_be(a, 200);
			for (size_t k = 0; k < count_at(&a, "data"); k++)
				if (!is_null_at(&a, api_text(h, "data[%zu].content", k)))
					see(ids, str_at(&a, api_text(h, "data[%zu].id", k)), 0);
			is_more = bool_at(&a, "has_more");
			after += 100;
		}
}

/* Goes through all pages; a page never reads more than it may. */
static int see_pages(struct api *h, const char *key, const char *filter, struct ids *ids)
{
	const char *next = NULL;
	for (int pages = 1; pages < 50; pages++) {
		struct answer a = search_as(h, key, "fig", api_text(h, "&limit=100%s%s%s", filter, next ? "&after=" : "", next ? next : ""));
		must_be(a, 200);
		cr_assert_leq(int_at(&a, "scanned"), 100);
		for (size_t i = 0; i < count_at(&a, "data"); i++)
			see(ids, str_at(&a, api_text(h, "data[%zu].message.id", i)), 1);
		if (bool_at(&a, "complete"))
			return pages;
		next = str_at(&a, "next");
	}
	cr_assert_fail("the search has no end");
	return 0;
}

static void add_figs(struct api *h, const char *session, int n)
{
	for (int done = 0; done < n; done += 50) {
		struct buf b;
		buf_init(&b, h->arena, 4096);
		for (int i = 0; i < 50 && done + i < n; i++)
			buf_addf(&b, "%s{\"role\":\"user\",\"content\":\"fig %d\"}", i ? "," : "{\"messages\":[", done + i);
		buf_add_str(&b, "]}");
		struct answer a = api_post(h, h->sk, buf_bytes(&b).p, "/v1/sessions/%s/messages", session);
		must_be(a, 201);
	}
}

/* A large session, small and empty ones, branches, clones of clones, of a deleted original and of another user's: everything once. */
Test(search_shared, pages_see_everything_once)
{
	struct api *h = api_open_with(0, read_little);
	const char *token, *ann[40], *bob = begin(h, "bob", NULL);
	static struct ids ids, by_token, site;
	size_t n = 0;
	add_figs(h, bob, 130);
	ann[n++] = begin(h, "ann", &token);
	add_figs(h, ann[0], 250);
	branch_at(h, ann[0], 120);
	add_figs(h, ann[0], 60);
	for (; n < 30; n++) {
		ann[n] = begin(h, "ann", NULL);
		add_figs(h, ann[n], (int)n % 7);
	}
	const char *gone = begin(h, "ann", NULL);
	add_figs(h, gone, 110);
	ann[n++] = clone_of(h, ann[0], "{}");
	add_figs(h, ann[n - 1], 5);
	ann[n++] = clone_of(h, gone, "{}");
	ann[n++] = clone_of(h, gone, "{}");
	add_figs(h, ann[n - 1], 90);
	ann[n] = clone_of(h, ann[n - 1], "{}");
	n++;
	add_figs(h, ann[n - 1], 3);
	ann[n++] = clone_of(h, bob, "{\"user\":\"ann\"}");
	delete_message(h, ann[0], 7);
	delete_message(h, ann[n - 1], 9);
	struct answer d = api_delete(h, h->sk, "/v1/sessions/%s", gone);
	must_be(d, 204);
	for (size_t i = 0; i < n; i++)
		see_session(h, ann[i], &ids);
	site = by_token = ids;
	cr_assert_gt(see_pages(h, h->sk, "&user=ann", &ids), 5);
	for (size_t i = 0; i < ids.n; i++)
		cr_assert_eq(ids.n_seen[i], 1, "%s: %d", ids.id[i], ids.n_seen[i]);
	see_pages(h, token, "", &by_token);
	cr_assert_eq(by_token.n, ids.n);
	for (size_t i = 0; i < ids.n; i++)
		cr_assert_eq(by_token.n_seen[i], 1, "%s: %d", ids.id[i], by_token.n_seen[i]);
	see_session(h, bob, &site);
	see_pages(h, h->sk, "", &site);
	for (size_t i = 0; i < site.n; i++)
		cr_assert_eq(site.n_seen[i], 1, "%s: %d", site.id[i], site.n_seen[i]);
	api_close(&h);
}

/* Branches that say nothing of their own cost too: many of them are more than one answer's work. */
Test(search_shared, empty_branches_count_as_work)
{
	struct api *h = api_open_with(0, read_little);
	const char *s = begin(h, "ann", NULL);
	struct answer first = api_get(h, h->sk, "/v1/sessions/%s", s);
	const char *trunk = str_at(&first, "conversation_id");
	static struct ids ids;
	add_figs(h, s, 3);
	for (int i = 0; i < 230; i++) {
		struct answer b = api_post(h, h->sk, "{\"at\":2}", "/v1/sessions/%s/conversations/%s/branch", s, trunk);
		must_be(b, 201);
	}
	see_session(h, s, &ids);
	cr_assert_eq(see_pages(h, h->sk, "", &ids), 3);
	struct answer all = api_get(h, h->sk, "/v1/sessions/%s/messages?conversation=%s", s, trunk);
	cr_assert_eq(count_at(&all, "data"), 3);
	for (size_t i = 0; i < ids.n; i++)
		cr_assert_eq(ids.n_seen[i], 1, "%s: %d", ids.id[i], ids.n_seen[i]);
	api_close(&h);
}

Test(search_shared, a_cursor_fits_its_own_search_only)
{
	struct api *h = api_open_with(0, read_little);
	struct api_site other = api_add_site(h, "https://other.example");
	const char *token, *ann = begin(h, "ann", &token), *bob = begin(h, "bob", NULL);
	add_figs(h, ann, 150);
	add_figs(h, bob, 150);
	struct answer a = search_as(h, h->sk, "fig", "");
	cr_assert(!bool_at(&a, "complete"));
	const char *cursor = str_at(&a, "next");
	static const char *const filters[] = { "&user=ann", "&agent=guide", "&role=user", "&status=active", "&from=2020-01-01T00:00:00Z", "&to=2099-01-01T00:00:00Z" };
	for (size_t i = 0; i < COUNT(filters); i++) {
		struct answer bad = search_as(h, h->sk, "fig", api_text(h, "%s&after=%s", filters[i], cursor));
		must_be(bad, 400);
		cr_assert(blames(&bad, "after", "value"));
	}
	struct answer words = search_as(h, h->sk, "figs", api_text(h, "&after=%s", cursor)), foreign = search_as(h, other.sk, "fig", api_text(h, "&after=%s", cursor)),
		      by_token = search_as(h, token, "fig", api_text(h, "&after=%s", cursor)), fine = search_as(h, h->sk, "fig", api_text(h, "&limit=3&after=%s", cursor));
	cr_assert(blames(&words, "after", "value") && blames(&foreign, "after", "value") && blames(&by_token, "after", "value"));
	must_be(fine, 200);
	struct answer d = api_delete(h, h->sk, "/v1/sessions/%s", bob);
	must_be(d, 204);
	struct answer gone = search_as(h, h->sk, "fig", api_text(h, "&after=%s", cursor));
	must_be(gone, 400);
	cr_assert(blames(&gone, "after", "value"), "it led into what was deleted");
	api_close(&h);
}
