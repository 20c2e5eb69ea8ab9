/* SPDX-License-Identifier: MIT */
/* request: addresses, headers and prompts of providers' requests. */
#include "llm/request.h"

#include <math.h>

#include "llm/answer.h"

/* A key with a line end or blank in it would end its header and start another. */
static bool is_header_safe(const char *key)
{
	for (; *key; key++) {
		if (*key <= 0x20 || *key >= 0x7f)
			return false;
	}
	return true;
}

enum err request_make(struct task *t, const struct llm_provider *p, const char *path, const char *key_header, const char *version_header,
		      struct bytes body, struct fetch_request *fetch_r)
{
	const char **headers = arena_array(t->arena, 6, sizeof(*headers));
	size_t n = 0, url_n = strlen(p->base_url);

	while (url_n > 0 && p->base_url[url_n - 1] == '/')
		url_n--;
	headers[n++] = "Content-Type: application/json";
	headers[n++] = "Accept: text/event-stream";
	headers[n++] = "User-Agent: parley";
	if (version_header)
		headers[n++] = version_header;
	if (p->api_key && p->api_key[0]) {
		if (!is_header_safe(p->api_key))
			return task_fail_internal(t, ERR_PROVIDER_REFUSED, "the provider's API key holds a blank or a control character");
		headers[n++] = arena_printf(t->arena, "%s%s", key_header, p->api_key);
	}
	*fetch_r = (struct fetch_request){ .method = "POST", .headers = headers, .client_fd = -1, .body = body };
	fetch_r->url = arena_printf(t->arena, "%.*s%s", (int)url_n, p->base_url, path);
	return ERR_OK;
}

struct bytes request_host(const char *base_url)
{
	const char *host = strstr(base_url, "://");

	if (!host)
		return (struct bytes){ 0 };
	host += 3;
	return (struct bytes){ host, strcspn(host, "/?#") };
}

void request_add_prompt(struct buf *b, struct task *t, enum convert_kind kind, const struct llm_request *rq)
{
	struct convert_message *messages = arena_array(t->arena, rq->n_messages + 1, sizeof(*messages));
	struct bytes document;
	struct buf instructions;
	size_t n = 0;

	if (rq->instructions.n > 0) {
		buf_init(&instructions, t->arena, rq->instructions.n + 16);
		buf_add_json(&instructions, rq->instructions);
		messages[n++] = (struct convert_message){ .role = BYTES("system"), .content = buf_bytes(&instructions) };
	}
	for (size_t i = 0; i < rq->n_messages; i++) {
		const struct llm_message *m = &rq->messages[i];

		messages[n++] = (struct convert_message){ .role = m->role, .content = m->content, .extra = m->extra };
	}
	convert_format(t, kind, messages, n, &document, NULL);
	if (b->p[b->n - 1] != '{')
		buf_add_char(b, ',');
	buf_add(b, document.p + 1, document.n - 2); /* it has a member always */
}

void request_add_tool(struct buf *b, const struct llm_tool *tool, const char *schema_name)
{
	buf_add_char(b, '{');
	buf_member_string(b, "name", tool->name);
	if (tool->description.n > 0)
		buf_member_string(b, "description", tool->description);
	buf_member_json(b, schema_name, tool->parameters.n > 0 ? tool->parameters : BYTES("{\"type\":\"object\",\"properties\":{}}"));
	buf_add_char(b, '}');
}

void request_add_tools(struct buf *b, const struct llm_request *rq, const char *schema_name, const char *before, const char *after)
{
	for (size_t i = 0; i < rq->n_tools; i++) {
		add_comma(b);
		buf_add_str(b, before);
		request_add_tool(b, &rq->tools[i], schema_name);
		buf_add_str(b, after);
	}
}

void request_add_real(struct buf *b, const char *name, double v)
{
	buf_add_member(b, name);
	buf_addf(b, "%.15g", v);
}

bool request_has_temperature(const struct llm_request *rq)
{
	return isfinite(rq->temperature) && rq->temperature >= 0;
}
