/* SPDX-License-Identifier: Apache-2.0 */
/*
 * check.h - whether a reply's head promises what was asked for.
 *
 * Layer: registry. Pure. Invariant: nothing of a body is used before its head passed here.
 * Source: RFC 9110 s. 14 (Range, Content-Range), s. 15.3.7 (206); distribution-spec "Pulling
 * blobs".
 */
#ifndef LCM_CHECK_H
#define LCM_CHECK_H

#include "src/base/base.h"
#include "src/base/err.h"

/* Bytes before the wanted range that a 200 may cost. */
#define LCM_SKIP_MAX (1ULL << 20)

/* The fields of a 200 or 206 that matter. */
struct lcm_head {
	long status;
	const char *content_range; /* NULL: none */
	const char *content_type;  /* NULL: none */
	int64_t content_length;    /* -1: not given */
};

/* What is still wanted of a blob. */
struct lcm_want {
	uint64_t size;     /* of the whole blob */
	uint64_t off, len; /* wanted now; off + len <= size, len >= 1 */
	bool ranged;       /* the request had a Range field */
	bool whole; /* the caller asked for all of it, so that skipping after a retry may cost
		       anything */
};

/* How the body is to be read. */
struct lcm_plan {
	uint64_t skip; /* bytes to drop unseen */
	uint64_t take; /* then bytes for the sink */
	bool exact;    /* the body must end there; otherwise the rest is not read */
};

/**
 * lcm_check_blob - check a 200 or 206 against what is wanted
 * Return: 0; -EPROTO (text says what was asked and what came, without naming the URL).
 */
LCM_MUST_USE int lcm_check_blob(const struct lcm_head *h, const struct lcm_want *w,
				struct lcm_plan *ret, struct lcm_err *err);
/** lcm_check_manifest - check a manifest's head. Return: 0; -EPROTO (not 200); -EFBIG over
 * LCM_MANIFEST_MAX. */
LCM_MUST_USE int lcm_check_manifest(const struct lcm_head *h, struct lcm_err *err);

#endif
