/* SPDX-License-Identifier: Apache-2.0 */
#include "image/toc_estargz.h"

#include <string.h>
#include <zlib.h>

#include "image/toc_json.h"

#define DIGEST_KEY "containerd.io/snapshot/stargz/toc.digest"
#define LAYER_KEY "containerd.io/snapshot/stargz/layer.digest"
#define LEGACY_FOOTER 47
#define EXTERNAL_FOOTER 46
#define OFFSET_DIGITS 16
#define BLOCK 512 /* of a tar */
#define PIECE ((size_t)64 << 10)

int lcm_estargz_find(const struct lcm_descriptor *layer, struct lcm_estargz_ref *ret,
		     struct lcm_err *err)
{
	const char *s = lcm_descriptor_annotation(layer, DIGEST_KEY);
	struct lcm_digest d;

	if (!s)
		return 0;
	if (lcm_digest_parse(s, strlen(s), &d) < 0)
		return lcm_err_set(err, -EUCLEAN,
				   "annotation " DIGEST_KEY ": '%.100s' is no sha256 digest", s);
	*ret = (struct lcm_estargz_ref){ .digest = d };
	return 1;
}

/* ---- footer ---- */

static bool hex_parse(const uint8_t *p, uint64_t *ret)
{
	uint64_t v = 0;

	for (size_t i = 0; i < OFFSET_DIGITS; i++) {
		uint8_t c = p[i];

		if (c >= '0' && c <= '9')
			v = v << 4 | (uint64_t)(c - '0');
		else if (c >= 'a' && c <= 'f')
			v = v << 4 | (uint64_t)(c - 'a' + 10);
		else
			return false;
	}
	*ret = v;
	return true;
}

/* An empty gzip member whose extra field has "%016xSTARGZ", in a subfield "SG" or, before eStargz,
 * bare. Return: its length, 0 when it is no such thing. */
static size_t footer_parse(const uint8_t *tail, size_t len, uint64_t *ret_off)
{
	static const uint8_t sg[] = { 26, 0, 'S', 'G', 22, 0 }, bare[] = { 22, 0 };
	const uint8_t *p = tail + len - LEGACY_FOOTER;

	if (len >= LCM_ESTARGZ_FOOTER) {
		const uint8_t *q = tail + len - LCM_ESTARGZ_FOOTER;

		if (q[0] == 0x1f && q[1] == 0x8b && q[3] == 4 &&
		    memcmp(q + 10, sg, sizeof(sg)) == 0 && memcmp(q + 32, "STARGZ", 6) == 0 &&
		    hex_parse(q + 16, ret_off))
			return LCM_ESTARGZ_FOOTER;
	}
	if (len >= LEGACY_FOOTER && p[0] == 0x1f && p[1] == 0x8b && p[3] == 4 &&
	    memcmp(p + 10, bare, sizeof(bare)) == 0 && memcmp(p + 28, "STARGZ", 6) == 0 &&
	    hex_parse(p + 12, ret_off))
		return LEGACY_FOOTER;
	return 0;
}

static bool footer_is_external(const uint8_t *tail, size_t len)
{
	static const char sg[] = "\25\0SG\21\0STARGZEXTERNALTOC";
	const uint8_t *p;

	if (len < EXTERNAL_FOOTER)
		return false;
	p = tail + len - EXTERNAL_FOOTER;
	return p[0] == 0x1f && p[1] == 0x8b && p[3] == 4 && memcmp(p + 10, sg, sizeof(sg) - 1) == 0;
}

int lcm_estargz_footer(const uint8_t *tail, size_t len, uint64_t blob_size,
		       struct lcm_estargz_ref *ret, struct lcm_err *err)
{
	uint64_t off = 0;
	size_t n = footer_parse(tail, len, &off);

	if (!n && blob_size >= EXTERNAL_FOOTER && footer_is_external(tail, len)) {
		ret->off = blob_size - EXTERNAL_FOOTER;
		ret->len = 0;
		return 1;
	}
	if (!n)
		return -ENODATA;
	if (blob_size < n || off >= blob_size - n || blob_size - n - off > LCM_TOC_JSON_MAX)
		return lcm_err_set(err, -EUCLEAN,
				   "eStargz footer: a table of contents from byte %llu on is not "
				   "within the layer's %llu bytes, or over %llu",
				   (unsigned long long)off, (unsigned long long)blob_size,
				   (unsigned long long)LCM_TOC_JSON_MAX);
	ret->off = off;
	ret->len = blob_size - n - off;
	return 0;
}

const struct lcm_descriptor *lcm_estargz_external(const struct lcm_manifest *manifest,
						  const struct lcm_digest *layer)
{
	char want[LCM_DIGEST_STR];

	(void)lcm_digest_str(layer, want);
	for (size_t i = 0; i < manifest->n_layers; i++) {
		const char *s = lcm_descriptor_annotation(&manifest->layers[i], LAYER_KEY);

		if (s && strcmp(s, want) == 0)
			return &manifest->layers[i];
	}
	return NULL;
}

/* ---- the member ---- */

struct source {
	struct lcm_toc_json_source base;
	const uint8_t *p;
	size_t len;
};

/* The tar's one file, as it passes. */
struct passing {
	uint8_t header[BLOCK];
	size_t header_len;
	uint64_t left; /* of the file */
	lcm_toc_plain_fn fn;
	void *arg;
};

static int bad(struct lcm_err *err, const char *rule)
{
	return lcm_err_set(err, -EUCLEAN, "eStargz table of contents: %s", rule);
}

static int header_read(struct passing *t, struct lcm_err *err)
{
	const uint8_t *h = t->header;
	uint64_t size = 0;
	size_t i = 124;

	if (memcmp(h, LCM_STARGZ_INDEX, sizeof(LCM_STARGZ_INDEX)) != 0 ||
	    (h[156] != '0' && h[156] != '\0'))
		return bad(err, "its tar does not begin with " LCM_STARGZ_INDEX);
	while (i < 136 && h[i] == ' ')
		i++;
	for (; i < 136 && h[i] >= '0' && h[i] <= '7'; i++)
		size = size * 8 + (uint64_t)(h[i] - '0');
	if (size < 1 || size > LCM_TOC_JSON_MAX)
		return bad(err, LCM_STARGZ_INDEX " is empty or too large");
	t->left = size;
	return 0;
}

static int pass(struct passing *t, const uint8_t *p, size_t len, struct lcm_err *err)
{
	size_t n = LCM_MIN(len, BLOCK - t->header_len);
	int r = 0;

	if (n) {
		memcpy(t->header + t->header_len, p, n);
		t->header_len += n;
		p += n;
		len -= n;
		if (t->header_len == BLOCK)
			r = header_read(t, err);
	}
	n = (size_t)LCM_MIN((uint64_t)len, t->left);
	if (r == 0 && n)
		r = t->fn(t->arg, p, n, err);
	t->left -= n;
	return r;
}

static void inflate_fini(z_stream *z)
{
	(void)inflateEnd(z);
}

static int each(const struct lcm_toc_json_source *base, lcm_toc_plain_fn fn, void *arg,
		struct lcm_err *err)
{
	const struct source *s = lcm_container_of(base, const struct source, base);
	lcm_autofree uint8_t *out = malloc(PIECE);
	LCM_CLEANUP(inflate_fini) z_stream z = { 0 };
	struct passing t = { .fn = fn, .arg = arg };
	int r = 0, zr = Z_OK;

	if (!out || inflateInit2(&z, 31) != Z_OK)
		return -ENOMEM;
	z.next_in = (uint8_t *)(uintptr_t)s->p;
	z.avail_in = (uInt)s->len;
	while (r == 0 && zr != Z_STREAM_END && (t.left || t.header_len < BLOCK)) {
		z.next_out = out;
		z.avail_out = PIECE;
		zr = inflate(&z, Z_NO_FLUSH);
		if (zr == Z_MEM_ERROR)
			return -ENOMEM;
		if (zr != Z_OK && zr != Z_STREAM_END)
			return bad(err, "its gzip member is damaged or cut short");
		r = pass(&t, out, PIECE - z.avail_out, err);
	}
	if (r == 0 && (t.left || t.header_len < BLOCK))
		return bad(err, "its gzip member ends before " LCM_STARGZ_INDEX " does");
	return r;
}

int lcm_estargz_parse(const struct lcm_estargz_ref *ref, const void *toc, size_t len,
		      struct lcm_toc_builder *b, struct lcm_err *err)
{
	const struct source s = { .base = { each }, .p = toc, .len = len };
	int r;

	if (len != ref->len || len > LCM_TOC_JSON_MAX)
		return bad(err, "of another length than its footer says");
	r = lcm_toc_json_digest(&s.base, &ref->digest, err);
	return r < 0 ? r : lcm_toc_json_build(&s.base, true, ref->off, b, err);
}
