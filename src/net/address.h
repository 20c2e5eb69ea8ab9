/* SPDX-License-Identifier: MIT */
/* address: which addresses outgoing calls may reach, and the operator's list of exceptions. */
#ifndef PARLEY_NET_ADDRESS_H
#define PARLEY_NET_ADDRESS_H

#include <stdbool.h>
#include <sys/socket.h>

#include "base/bytes.h"

/*
 * Whether a socket address belongs to the public internet: not private, loopback, link-local, shared (CGNAT), multicast,
 * documentation, benchmarking, reserved or unspecified. An IPv4 address inside an IPv6 one (mapped, NAT64) is judged by itself.
 * Anything that is neither IPv4 nor IPv6, or shorter than its family needs, is not public.
 */
bool address_is_public(const struct sockaddr *sa, socklen_t n);

/* As address_is_public for an address as text ("203.0.113.9", "2001:db8::1", without brackets); false if it is none. */
bool address_text_is_public(const char *text);

/*
 * Whether `list` ("HOST" or "HOST:PORT", separated by commas or blanks; IPv6 bare or in brackets, with a port only in brackets)
 * names this host, without regard to case, for this port. NULL and "" name none. `host` may have its brackets.
 */
bool address_list_has(const char *list, struct bytes host, int port);

#endif
