/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench_relay.h - the process between the two ends of bench_link.h.
 *
 * Each connection has two pipes; a pipe reads while its queue has room, gives what it has read a
 * time of arrival, and writes what has arrived.
 *
 * Layer: cmd. Threads: one.
 */
#ifndef LCM_BENCH_RELAY_H
#define LCM_BENCH_RELAY_H

#include <netinet/in.h>

#include "src/cmd/bench_link.h"

struct bench_relay_door {
	int listener;          /* non-blocking */
	struct sockaddr_in to; /* where what comes here goes */
};

/** bench_relay - relay what comes to @doors, until a signal ends the process; returns when memory
 * or descriptors for that are missing. */
void bench_relay(const struct bench_link *link, const struct bench_relay_door *doors, size_t n);

#endif
