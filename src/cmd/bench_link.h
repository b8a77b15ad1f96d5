/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench_link.h - a link of a given rate and round trip between the measured programs and their
 * registries.
 *
 *   new network namespace:  client --> 127.0.0.1:5000 --.
 *                                                       | relay process
 *   the host's:                          registry  <----'  (delays, paces)
 *
 * The worker goes on in a network namespace of its own, in which only the registries' addresses
 * are there, and the relay answers at them. Bytes of all connections share the rate, in each
 * direction; each arrives half a round trip after it was sent, and the first of a connection a
 * whole one later, as after a handshake. TCP itself sees a fast and short link: there is no slow
 * start and no loss.
 *
 * Layer: cmd. Threads: one in each process. Source: network_namespaces(7), netdevice(7).
 */
#ifndef LCM_BENCH_LINK_H
#define LCM_BENCH_LINK_H

#include "src/base/err.h"

#define BENCH_LINK_MBIT_MAX 100000U
#define BENCH_LINK_RTT_MS_MAX 2000U
#define BENCH_LINK_HOSTS_MAX 8

struct bench_link {
	uint64_t bytes_per_s; /* 0: as fast as it goes */
	uint64_t rtt_ns;
};

/* One direction of the link. All zero before use. */
struct bench_lane {
	uint64_t free_ns; /* when what was sent last has left */
};

/** bench_lane_send - @len bytes are sent at @now. Return: when they arrive, ns. Pure. */
uint64_t bench_lane_send(struct bench_lane *lane, const struct bench_link *link, uint64_t now,
			 size_t len);

/**
 * bench_link_enter - this process, and all it starts from now on, is behind the link
 * @hosts: "host[:port]" of registries, without a port 443 and 80; IPv4 addresses, or names that
 *         resolve to one; the same one may be there twice
 * @dir:   for a file of names, which hides /etc/hosts here
 *
 * The calling process has a mount namespace of its own. The relay ends with it. Return: 0; -EINVAL,
 * -ENOTSUP, -E2BIG, -errno (text).
 */
LCM_MUST_USE int bench_link_enter(const struct bench_link *link, const char *const *hosts,
				  size_t n_hosts, const char *dir, struct lcm_err *err);

#endif
