/* SPDX-License-Identifier: MIT */
/* address: the special-purpose ranges of the IANA registries (RFC 6890 and its updates), and the operator's list. */
#include "net/address.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdint.h>
#include <strings.h>

struct range4 {
	uint32_t net;
	int bits;
};

static const struct range4 closed4[] = {
	{ 0x00000000, 8 },  /* 0.0.0.0/8 this network, unspecified */
	{ 0x0a000000, 8 },  /* 10.0.0.0/8 private */
	{ 0x64400000, 10 }, /* 100.64.0.0/10 shared address space */
	{ 0x7f000000, 8 },  /* 127.0.0.0/8 loopback */
	{ 0xa9fe0000, 16 }, /* 169.254.0.0/16 link-local, cloud metadata */
	{ 0xac100000, 12 }, /* 172.16.0.0/12 private */
	{ 0xc0000000, 24 }, /* 192.0.0.0/24 protocol assignments */
	{ 0xc0000200, 24 }, /* 192.0.2.0/24 documentation */
	{ 0xc0586300, 24 }, /* 192.88.99.0/24 6to4 relays */
	{ 0xc0a80000, 16 }, /* 192.168.0.0/16 private */
	{ 0xc6120000, 15 }, /* 198.18.0.0/15 benchmarking */
	{ 0xc6336400, 24 }, /* 198.51.100.0/24 documentation */
	{ 0xcb007100, 24 }, /* 203.0.113.0/24 documentation */
	{ 0xe0000000, 3 },  /* 224.0.0.0/4 multicast, 240.0.0.0/4 reserved, broadcast */
};

struct range6 {
	unsigned char net[16];
	int bits;
};

/* Only 2000::/3 is handed out as global unicast; these parts of it are not public. */
static const struct range6 global6 = { { 0x20 }, 3 };
static const struct range6 closed6[] = {
	{ { 0x20, 0x01, 0x00, 0x00 }, 23 }, /* 2001::/23 protocol assignments: Teredo, benchmarking, ORCHID */
	{ { 0x20, 0x01, 0x0d, 0xb8 }, 32 }, /* 2001:db8::/32 documentation */
	{ { 0x20, 0x02 }, 16 },             /* 2002::/16 6to4, which may wrap any IPv4 address */
	{ { 0x3f, 0xff }, 20 },             /* 3fff::/20 documentation */
};

static const struct range6 mapped6 = { { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff }, 96 };
static const struct range6 nat64 = { { 0x00, 0x64, 0xff, 0x9b }, 96 };

static bool is_public4(uint32_t a)
{
	for (size_t i = 0; i < sizeof(closed4) / sizeof(closed4[0]); i++) {
		if ((a ^ closed4[i].net) >> (32 - closed4[i].bits) == 0)
			return false;
	}
	return true;
}

static bool in_range6(const unsigned char *a, const struct range6 *r)
{
	int whole = r->bits / 8, rest = r->bits % 8;

	if (memcmp(a, r->net, (size_t)whole) != 0)
		return false;
	return rest == 0 || (a[whole] ^ r->net[whole]) >> (8 - rest) == 0;
}

static bool is_public6(const unsigned char *a)
{
	if (in_range6(a, &mapped6) || in_range6(a, &nat64))
		return is_public4((uint32_t)a[12] << 24 | (uint32_t)a[13] << 16 | (uint32_t)a[14] << 8 | a[15]);
	if (!in_range6(a, &global6))
		return false;
	for (size_t i = 0; i < sizeof(closed6) / sizeof(closed6[0]); i++) {
		if (in_range6(a, &closed6[i]))
			return false;
	}
	return true;
}

bool address_is_public(const struct sockaddr *sa, socklen_t n)
{
	if (n >= sizeof(struct sockaddr_in) && sa->sa_family == AF_INET) {
		struct sockaddr_in in;

		memcpy(&in, sa, sizeof(in));
		return is_public4(ntohl(in.sin_addr.s_addr));
	}
	if (n >= sizeof(struct sockaddr_in6) && sa->sa_family == AF_INET6) {
		struct sockaddr_in6 in6;

		memcpy(&in6, sa, sizeof(in6));
		return is_public6(in6.sin6_addr.s6_addr);
	}
	return false;
}

bool address_text_is_public(const char *text)
{
	struct in_addr in;
	struct in6_addr in6;

	if (inet_pton(AF_INET, text, &in) == 1)
		return is_public4(ntohl(in.s_addr));
	return inet_pton(AF_INET6, text, &in6) == 1 && is_public6(in6.s6_addr);
}

/* Takes the brackets off an IPv6 address. */
static struct bytes without_brackets(struct bytes host)
{
	if (host.n >= 2 && host.p[0] == '[' && host.p[host.n - 1] == ']')
		return (struct bytes){ host.p + 1, host.n - 2 };
	return host;
}

/* Splits "HOST:PORT" at its colon; port_r is empty for "HOST", also for a bare IPv6 address, whose colons are its own. */
static struct bytes split_port(struct bytes entry, struct bytes *port_r)
{
	const char *colon = memrchr(entry.p, ':', entry.n);
	size_t n;

	*port_r = (struct bytes){ 0 };
	if (!colon)
		return entry;
	n = (size_t)(colon - entry.p);
	if (n == 0 || (entry.p[n - 1] != ']' && memchr(entry.p, ':', n)) || (entry.p[0] == '[' && entry.p[n - 1] != ']'))
		return entry;
	*port_r = (struct bytes){ colon + 1, entry.n - n - 1 };
	return (struct bytes){ entry.p, n };
}

static bool is_port(struct bytes text, int port)
{
	int v = 0;

	for (size_t i = 0; i < text.n; i++) {
		if (text.p[i] < '0' || text.p[i] > '9' || i >= 5)
			return false;
		v = v * 10 + (text.p[i] - '0');
	}
	return text.n > 0 && v == port;
}

static bool entry_has(struct bytes entry, struct bytes host, int port)
{
	struct bytes port_text, name = split_port(entry, &port_text);
	bool has_port = name.n != entry.n;

	name = without_brackets(name);
	return name.n == host.n && name.n > 0 && strncasecmp(name.p, host.p, name.n) == 0 && (!has_port || is_port(port_text, port));
}

bool address_list_has(const char *list, struct bytes host, int port)
{
	static const char separators[] = ", \t\r\n";

	host = without_brackets(host);
	for (const char *p = list ? list : ""; *p;) {
		size_t n = strcspn(p, separators);

		if (n > 0 && entry_has((struct bytes){ p, n }, host, port))
			return true;
		p += n;
		p += strspn(p, separators);
	}
	return false;
}
