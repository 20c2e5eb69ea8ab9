/* SPDX-License-Identifier: MIT */
/* turn_log: frames between stretches of text. */
#include "app/turn_log.h"

#include <string.h>

#define MARK '\xff'

void turn_log_format(struct buf *b, const char *event, struct bytes data)
{
	buf_add_char(b, MARK);
	buf_add_str(b, event);
	buf_add_char(b, '\n');
	buf_add_bytes(b, data);
	buf_add_char(b, MARK);
}

/* Bytes up to the next mark, or to the end. */
static size_t until_mark(struct bytes log, size_t at)
{
	const char *found = memchr(log.p + at, MARK, log.n - at);

	return found ? (size_t)(found - log.p) : log.n;
}

bool turn_log_read(struct bytes log, size_t at, struct turn_log_item *item_r)
{
	size_t end;
	const char *line;

	if (at >= log.n)
		return false;
	if (log.p[at] != MARK) {
		end = until_mark(log, at);
		*item_r = (struct turn_log_item){ .data = { log.p + at, end - at }, .end = end };
		return true;
	}
	end = until_mark(log, at + 1);
	line = memchr(log.p + at, '\n', end - at);
	if (end == log.n || !line)
		return false;
	*item_r = (struct turn_log_item){ .event = { log.p + at + 1, (size_t)(line - log.p) - at - 1 },
					  .data = { line + 1, (size_t)(log.p + end - line) - 1 }, .end = end + 1 };
	return true;
}

bool turn_log_is_place(struct bytes log, size_t at)
{
	struct turn_log_item item;
	size_t from = 0;

	if (at >= log.n)
		return at == log.n;
	while (from < at && turn_log_read(log, from, &item)) {
		if (item.end > at) /* inside the item */
			return item.event.n == 0 && ((unsigned char)log.p[at] & 0xc0) != 0x80;
		from = item.end;
	}
	return from == at;
}

bool turn_log_is_plain(struct bytes log)
{
	return log.n == 0 || until_mark(log, 0) == log.n;
}

struct bytes turn_log_text(struct arena *a, struct bytes log)
{
	struct turn_log_item item;
	struct buf b;

	buf_init(&b, a, log.n + 1);
	for (size_t at = 0; turn_log_read(log, at, &item); at = item.end) {
		if (item.event.n == 0)
			buf_add_bytes(&b, item.data);
		else if (bytes_equal(item.event, BYTES(TURN_LOG_RESET)) || bytes_equal(item.event, BYTES(TURN_LOG_STEP)))
			buf_clear(&b);
	}
	return buf_bytes(&b);
}
