/* SPDX-License-Identifier: Apache-2.0 */
/*
 * digest.h - SHA-256 digests as OCI writes them ("sha256:" + 64 hex).
 *
 * Layer: base. Source: OCI Image Spec v1.1 descriptor.md "Digests". Only
 * sha256 is accepted; sha512 and others give -ENOTSUP. Hashing is OpenSSL's
 * (SHA-NI where the processor has it).
 */
#ifndef LCM_DIGEST_H
#define LCM_DIGEST_H

#include "src/base/base.h"
#include "src/base/err.h"

#define LCM_DIGEST_STR 72 /* "sha256:" + 64 + NUL */

struct lcm_digest {
	uint8_t b[32];
};

/** lcm_digest_parse - parse "sha256:<64 lower-case hex>". Return: 0, -EINVAL, -ENOTSUP (other
 * algorithm). */
LCM_MUST_USE int lcm_digest_parse(const char *s, size_t len, struct lcm_digest *ret);
/** lcm_digest_str - write the text form into @out; returns @out. */
const char *lcm_digest_str(const struct lcm_digest *d, char out[LCM_DIGEST_STR]);
/** lcm_digest_hex - the 64 hex digits alone (offset 7 of lcm_digest_str()). */
const char *lcm_digest_hex(const struct lcm_digest *d, char out[LCM_DIGEST_STR]);
bool lcm_digest_equal(const struct lcm_digest *a, const struct lcm_digest *b);
/** lcm_digest_is_zero - the all-zero value stands for "not known". */
bool lcm_digest_is_zero(const struct lcm_digest *d);

/** lcm_digest_of - SHA-256 of @len bytes. Return: 0, -ENOMEM. Thread: any. */
LCM_MUST_USE int lcm_digest_of(const void *p, size_t len, struct lcm_digest *ret);

struct lcm_hash; /* streaming SHA-256; one owner at a time */
/** lcm_hash_new - NULL on out of memory. */
struct lcm_hash *lcm_hash_new(void);
void lcm_hash_free(struct lcm_hash *h);
/** lcm_hash_reset - start over; the object is reused without allocation. */
void lcm_hash_reset(struct lcm_hash *h);
void lcm_hash_update(struct lcm_hash *h, const void *p, size_t len);
/** lcm_hash_final - the digest; the object must be reset before reuse. */
void lcm_hash_final(struct lcm_hash *h, struct lcm_digest *ret);
LCM_DEFINE_AUTO(lcm_hash)

/** lcm_random_hex - @n random hex digits (even, at most 64) and a NUL, from getrandom(2). Return:
 * 0, -errno. */
LCM_MUST_USE int lcm_random_hex(char *out, size_t n);

#endif
