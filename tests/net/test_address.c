/* SPDX-License-Identifier: MIT */
/* test_address: every closed range at both of its edges, and the operator's list. */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <netinet/in.h>

#include "net/address.h"

static bool is_public(const char *text)
{
	struct sockaddr_in in = { .sin_family = AF_INET };
	struct sockaddr_in6 in6 = { .sin6_family = AF_INET6 };
	bool by_text = address_text_is_public(text), by_address;

	if (inet_pton(AF_INET, text, &in.sin_addr) == 1) {
		by_address = address_is_public((struct sockaddr *)&in, sizeof(in));
	} else {
		cr_assert_eq(inet_pton(AF_INET6, text, &in6.sin6_addr), 1, "%s", text);
		by_address = address_is_public((struct sockaddr *)&in6, sizeof(in6));
	}
	cr_assert_eq(by_text, by_address, "%s", text);
	return by_text;
}

Test(address, closed_ranges_end_where_the_registries_say)
{
	static const char *const closed[] = {
		"0.0.0.0", "0.255.255.255", "10.0.0.0", "10.255.255.255", "100.64.0.0", "100.127.255.255", "127.0.0.1", "127.255.255.255",
		"169.254.0.0", "169.254.169.254", "169.254.255.255", "172.16.0.0", "172.31.255.255", "192.0.0.0", "192.0.0.255", "192.0.2.1",
		"192.88.99.1", "192.168.0.0", "192.168.255.255", "198.18.0.0", "198.19.255.255", "198.51.100.7", "203.0.113.255", "224.0.0.1",
		"239.255.255.255", "240.0.0.1", "255.255.255.255",
		"::", "::1", "::7f00:1", "::ffff:127.0.0.1", "::ffff:10.1.2.3", "::ffff:169.254.169.254", "64:ff9b::10.0.0.1", "64:ff9b::7f00:1",
		"64:ff9b:1::8.8.8.8", "100::1", "2001::1", "2001:1ff:ffff::1", "2001:db8::1", "2002:7f00:1::1", "2002:808:808::1", "3fff:fff::1",
		"4000::1", "5f00::1", "fc00::1", "fdff::1", "fe80::1", "febf::1", "fec0::1", "ff02::1", "1fff::1",
	};
	static const char *const open[] = {
		"1.0.0.0", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255", "128.0.0.0", "169.253.255.255",
		"169.255.0.0", "172.15.255.255", "172.32.0.0", "192.0.1.0", "192.0.3.0", "192.167.255.255", "192.169.0.0", "198.17.255.255",
		"198.20.0.0", "198.51.101.0", "203.0.112.255", "203.0.114.0", "223.255.255.255",
		"::ffff:8.8.8.8", "64:ff9b::8.8.8.8", "2000::1", "2001:200::1", "2001:db7::1", "2001:db9::1", "2001:4860:4860::8888", "2003::1",
		"2606:4700::1111", "3ffe::1", "3fff:1000::1",
	};

	for (size_t i = 0; i < sizeof(closed) / sizeof(closed[0]); i++)
		cr_expect_not(is_public(closed[i]), "%s is closed", closed[i]);
	for (size_t i = 0; i < sizeof(open) / sizeof(open[0]); i++)
		cr_expect(is_public(open[i]), "%s is open", open[i]);
}

Test(address, what_is_no_internet_address_is_not_public)
{
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(0x08080808) };
	struct sockaddr_storage local = { .ss_family = AF_UNIX };

	cr_expect(address_is_public((struct sockaddr *)&in, sizeof(in)));
	cr_expect_not(address_is_public((struct sockaddr *)&in, sizeof(in) - 1), "too short for its family");
	cr_expect_not(address_is_public((struct sockaddr *)&local, sizeof(local)));
	cr_expect_not(address_text_is_public(""));
	cr_expect_not(address_text_is_public("8.8.8"));
	cr_expect_not(address_text_is_public("[2606:4700::1111]"));
	cr_expect_not(address_text_is_public("example.org"));
}

Test(address, a_list_names_hosts_with_or_without_a_port)
{
	static const char list[] = " llm.example:8080,\tLocalhost  10.0.0.5:80,, [::1]:9000 fd00::2 [fd00::3] ";

	cr_expect(address_list_has(list, BYTES("llm.example"), 8080));
	cr_expect(address_list_has(list, BYTES("LLM.Example"), 8080), "without regard to case");
	cr_expect_not(address_list_has(list, BYTES("llm.example"), 8081));
	cr_expect(address_list_has(list, BYTES("localhost"), 1), "no port: any port");
	cr_expect(address_list_has(list, BYTES("10.0.0.5"), 80));
	cr_expect_not(address_list_has(list, BYTES("10.0.0.5"), 8));
	cr_expect(address_list_has(list, BYTES("[::1]"), 9000));
	cr_expect_not(address_list_has(list, BYTES("::1"), 9001));
	cr_expect(address_list_has(list, BYTES("[fd00::2]"), 443));
	cr_expect(address_list_has(list, BYTES("fd00::3"), 443));
}

Test(address, a_list_names_nothing_by_halves)
{
	cr_expect_not(address_list_has(NULL, BYTES("a"), 80));
	cr_expect_not(address_list_has("", BYTES("a"), 80));
	cr_expect_not(address_list_has(" , ", BYTES(""), 80));
	cr_expect_not(address_list_has("example.org", BYTES("evil-example.org"), 80));
	cr_expect_not(address_list_has("example.org", BYTES("example.org.evil"), 80));
	cr_expect_not(address_list_has("a:", BYTES("a"), 80), "an empty port is no port");
	cr_expect_not(address_list_has("a:80x", BYTES("a"), 80));
	cr_expect_not(address_list_has("a:000080", BYTES("a"), 80));
	cr_expect_not(address_list_has(":80", BYTES(""), 80));
	cr_expect_not(address_list_has("a:4294967376", BYTES("a"), 80));
}
