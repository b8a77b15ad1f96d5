/* SPDX-License-Identifier: Apache-2.0 */
#include "src/base/digest.h"

#include <openssl/evp.h>
#include <string.h>
#include <sys/random.h>

#include "src/base/sys.h"

struct lcm_hash {
	EVP_MD_CTX *ctx; /* owned */
	EVP_MD *md;      /* owned; fetched once, so that reset costs nothing */
};

#define HEX_OK 0x10 /* set in the table for what is a digit */

/* By table, not by comparing: the digits are random, and a layer's TOC has 100,000 digests. */
static const uint8_t hex_values[256] = {
	['0'] = 0x10, ['1'] = 0x11, ['2'] = 0x12, ['3'] = 0x13, ['4'] = 0x14, ['5'] = 0x15,
	['6'] = 0x16, ['7'] = 0x17, ['8'] = 0x18, ['9'] = 0x19, ['a'] = 0x1a, ['b'] = 0x1b,
	['c'] = 0x1c, ['d'] = 0x1d, ['e'] = 0x1e, ['f'] = 0x1f,
};

int lcm_digest_parse(const char *s, size_t len, struct lcm_digest *ret)
{
	static const char prefix[] = "sha256:";
	const size_t plen = sizeof(prefix) - 1;
	const uint8_t *p;
	uint8_t ok = HEX_OK;
	struct lcm_digest d;

	if (len < plen || memcmp(s, prefix, plen) != 0)
		return memchr(s, ':', len) ? -ENOTSUP : -EINVAL;
	if (len != plen + 64)
		return -EINVAL;
	p = (const uint8_t *)s + plen;
	for (size_t i = 0; i < 32; i++) {
		uint8_t hi = hex_values[p[2 * i]], lo = hex_values[p[2 * i + 1]];

		ok &= hi & lo;
		d.b[i] = (uint8_t)(hi << 4 | (lo & 15));
	}
	if (!ok)
		return -EINVAL;
	*ret = d;
	return 0;
}

static void write_hex(const uint8_t *b, size_t n, char *out)
{
	static const char hex[] = "0123456789abcdef";

	for (size_t i = 0; i < n; i++) {
		out[2 * i] = hex[b[i] >> 4];
		out[2 * i + 1] = hex[b[i] & 15];
	}
	out[2 * n] = '\0';
}

const char *lcm_digest_str(const struct lcm_digest *d, char out[LCM_DIGEST_STR])
{
	memcpy(out, "sha256:", 7);
	write_hex(d->b, sizeof(d->b), out + 7);
	return out;
}

const char *lcm_digest_hex(const struct lcm_digest *d, char out[LCM_DIGEST_STR])
{
	return lcm_digest_str(d, out) + 7;
}

bool lcm_digest_equal(const struct lcm_digest *a, const struct lcm_digest *b)
{
	return memcmp(a->b, b->b, sizeof(a->b)) == 0;
}

bool lcm_digest_is_zero(const struct lcm_digest *d)
{
	static const struct lcm_digest zero;

	return lcm_digest_equal(d, &zero);
}

int lcm_digest_of(const void *p, size_t len, struct lcm_digest *ret)
{
	lcm_auto(lcm_hash) h = lcm_hash_new();

	if (!h)
		return -ENOMEM;
	lcm_hash_update(h, p, len);
	lcm_hash_final(h, ret);
	return 0;
}

struct lcm_hash *lcm_hash_new(void)
{
	struct lcm_hash *h = calloc(1, sizeof(*h));

	if (!h)
		return NULL;
	h->md = EVP_MD_fetch(NULL, "SHA256", NULL);
	h->ctx = EVP_MD_CTX_new();
	if (!h->md || !h->ctx || EVP_DigestInit_ex2(h->ctx, h->md, NULL) != 1) {
		lcm_hash_free(h);
		return NULL;
	}
	return h;
}

void lcm_hash_free(struct lcm_hash *h)
{
	if (!h)
		return;
	EVP_MD_CTX_free(h->ctx);
	EVP_MD_free(h->md);
	free(h);
}

void lcm_hash_reset(struct lcm_hash *h)
{
	(void)EVP_DigestInit_ex2(h->ctx, NULL, NULL);
}

void lcm_hash_update(struct lcm_hash *h, const void *p, size_t len)
{
	if (len)
		(void)EVP_DigestUpdate(h->ctx, p, len);
}

void lcm_hash_final(struct lcm_hash *h, struct lcm_digest *ret)
{
	unsigned int n = sizeof(ret->b);

	(void)EVP_DigestFinal_ex(h->ctx, ret->b, &n);
}

int lcm_random_hex(char *out, size_t n)
{
	uint8_t raw[32];
	ssize_t got = n / 2 > sizeof(raw) ? -EINVAL : (ssize_t)lcm_errno(getrandom(raw, n / 2, 0));

	if (got < 0)
		return (int)got;
	write_hex(raw, n / 2, out);
	return 0;
}
