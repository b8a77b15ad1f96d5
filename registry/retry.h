/* SPDX-License-Identifier: Apache-2.0 */
/*
 * retry.h - what is tried again, and after how long.
 *
 * Layer: registry. Pure. Source: RFC 9110 s. 10.2.3 (Retry-After), s. 15.
 */
#ifndef LCM_RETRY_H
#define LCM_RETRY_H

#include <curl/curl.h>

#include "src/base/base.h"
#include "src/base/err.h"

/* Pauses double up to here. */
#define LCM_BACKOFF_MAX_MS 15000U
/* A Retry-After is honoured up to here: a waiter gives up after 60 s by default. */
#define LCM_RETRY_AFTER_CAP_MS 30000U
/* A try that brought so many bytes gives all tries back: long transfers over bad lines end. */
#define LCM_RETRY_PROGRESS_BYTES (1ULL << 20)
/* An unknown name rarely becomes known, a server rarely learns TLS: tries after the first. */
#define LCM_RETRY_UNLIKELY_MAX 2U

/* How a transfer failed below HTTP. */
enum lcm_transport {
	LCM_TRANSPORT_RETRY,    /* may go better next time */
	LCM_TRANSPORT_UNLIKELY, /* name lookup, TLS handshake; at most LCM_RETRY_UNLIKELY_MAX tries
				   more */
	LCM_TRANSPORT_FATAL,    /* certificate, URL, memory */
};

/** lcm_retry_status - whether an HTTP status is worth another try: 408, 425, 429, 5xx but 501 and
 * 505. */
bool lcm_retry_status(long status);
/** lcm_retry_transport - classify a libcurl error. */
enum lcm_transport lcm_retry_transport(CURLcode code);
/**
 * lcm_retry_delay_ms - pause before try @attempt + 1
 * @attempt: 1 after the first failure
 * @base_ms: pause after the first failure, doubled each time
 * @rnd:     random bits; half of the pause is jitter
 * @after_s: Retry-After of the reply, or -1
 *
 * Return: between pause/2 and pause of the doubling, at least a capped Retry-After (plus jitter of
 * up to an eighth).
 */
uint64_t lcm_retry_delay_ms(uint32_t attempt, uint32_t base_ms, uint64_t rnd, int64_t after_s);
/**
 * lcm_retry_code - errno and text of a transport error
 * @host:     "host:port" that was talked to
 * @detail:   libcurl's own words, "" when none
 * @os_errno: CURLINFO_OS_ERRNO
 *
 * Return: -ECONNREFUSED, -EHOSTUNREACH, -ETIMEDOUT, -EPROTO (TLS trust), -ENOMEM.
 */
int lcm_retry_code(CURLcode code, const char *host, const char *detail, long os_errno,
		   struct lcm_err *err);

#endif
