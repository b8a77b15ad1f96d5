/* SPDX-License-Identifier: Apache-2.0 */
#include "image/toc_chunked.h"

#include <string.h>
#include <zstd.h>
#include <zstd_errors.h>

#include "image/toc_json.h"

#define STARGZ_DIGEST "containerd.io/snapshot/stargz/toc.digest"
#define TYPE_CRFS 1 /* the only "manifest type" there is */

/* The two generations of annotations; the current one first. */
static const struct dialect {
	const char *position, *checksum;
	bool stargz; /* STARGZ_DIGEST may stand beside them and then counts instead of the checksum
		      */
} dialects[] = {
	{ "io.github.containers.zstd-chunked.manifest-position",
	  "io.github.containers.zstd-chunked.manifest-checksum", false },
	{ "io.containers.zstd-chunked.manifest-position",
	  "io.containers.zstd-chunked.manifest-checksum", true },
};

/* ---- annotations ---- */

/* "offset:length:uncompressedLength:type" */
static bool position_parse(const char *s, uint64_t v[4])
{
	for (size_t i = 0; i < 4; i++) {
		size_t n = strcspn(s, ":");

		if (!lcm_value_u63(s, n, &v[i]) || (s[n] == ':') != (i < 3))
			return false;
		s += n + 1;
	}
	return true;
}

static int position_check(const uint64_t v[4], const struct lcm_descriptor *layer, const char *key,
			  struct lcm_err *err)
{
	if (v[3] != TYPE_CRFS)
		return lcm_err_set(err, -EUCLEAN, "annotation %s: type %llu, only 1 is known", key,
				   (unsigned long long)v[3]);
	if (v[1] < 1 || v[2] < 1 || v[0] > layer->size || v[1] > layer->size - v[0])
		return lcm_err_set(err, -EUCLEAN,
				   "annotation %s: not within the layer's %llu bytes", key,
				   (unsigned long long)layer->size);
	if (v[1] > LCM_TOC_JSON_MAX || v[2] > LCM_TOC_JSON_MAX)
		return lcm_err_set(err, -EUCLEAN,
				   "annotation %s: table of contents over %llu bytes", key,
				   (unsigned long long)LCM_TOC_JSON_MAX);
	return 0;
}

static int dialect_find(const struct lcm_descriptor *layer, const struct dialect *d,
			struct lcm_chunked_ref *ret, struct lcm_err *err)
{
	const char *pos = lcm_descriptor_annotation(layer, d->position);
	const char *sum = lcm_descriptor_annotation(layer, d->checksum), *key = d->checksum;
	const char *plain = d->stargz ? lcm_descriptor_annotation(layer, STARGZ_DIGEST) : NULL;
	struct lcm_chunked_ref ref = { .digest_of_plain = plain != NULL };
	uint64_t v[4];
	int r;

	if (!pos && !sum)
		return 0;
	if (plain) {
		sum = plain;
		key = STARGZ_DIGEST;
	}
	if (!pos || !sum)
		return lcm_err_set(err, -EUCLEAN, "annotation %s is missing",
				   pos ? d->checksum : d->position);
	if (!position_parse(pos, v))
		return lcm_err_set(err, -EUCLEAN, "annotation %s: '%.100s' is not four numbers",
				   d->position, pos);
	r = position_check(v, layer, d->position, err);
	if (r < 0)
		return r;
	if (lcm_digest_parse(sum, strlen(sum), &ref.digest) < 0)
		return lcm_err_set(err, -EUCLEAN, "annotation %s: '%.100s' is no sha256 digest",
				   key, sum);
	ref.off = v[0];
	ref.len = v[1];
	ref.plain_len = v[2];
	*ret = ref;
	return 1;
}

int lcm_chunked_find(const struct lcm_descriptor *layer, struct lcm_chunked_ref *ret,
		     struct lcm_err *err)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < LCM_ARRAY_SIZE(dialects); i++)
		r = dialect_find(layer, &dialects[i], ret, err);
	return r;
}

/* ---- zstd ---- */

static void dctx_freep(ZSTD_DCtx **d)
{
	(void)ZSTD_freeDCtx(*d);
}

static int zstd_failed(size_t code, struct lcm_err *err)
{
	if (ZSTD_getErrorCode(code) == ZSTD_error_memory_allocation)
		return -ENOMEM;
	return lcm_err_set(err, -EUCLEAN, "table of contents: zstd: %s", ZSTD_getErrorName(code));
}

static int length_differs(const struct lcm_chunked_ref *ref, struct lcm_err *err)
{
	return lcm_err_set(err, -EUCLEAN,
			   "table of contents: not the %llu plain bytes that its annotation says",
			   (unsigned long long)ref->plain_len);
}

/* Inflates @toc and hands every piece to @fn. */
static int plain_each(const struct lcm_chunked_ref *ref, const void *toc, size_t len,
		      lcm_toc_plain_fn fn, void *arg, struct lcm_err *err)
{
	LCM_CLEANUP(dctx_freep) ZSTD_DCtx *d = ZSTD_createDCtx();
	const size_t cap = ZSTD_DStreamOutSize();
	lcm_autofree char *buf = malloc(cap);
	ZSTD_inBuffer in = { .src = toc, .size = len };
	uint64_t total = 0;
	size_t z = 1;

	if (!d || !buf ||
	    ZSTD_isError(ZSTD_DCtx_setParameter(d, ZSTD_d_windowLogMax, LCM_ZSTD_WINDOW_LOG_MAX)))
		return -ENOMEM;
	for (;;) {
		ZSTD_outBuffer out = { .dst = buf, .size = cap };
		size_t was = in.pos;
		int r;

		z = ZSTD_decompressStream(d, &out, &in);
		if (ZSTD_isError(z))
			return zstd_failed(z, err);
		total += out.pos;
		if (total > ref->plain_len)
			return length_differs(ref, err);
		r = out.pos ? fn(arg, buf, out.pos, err) : 0;
		if (r < 0)
			return r;
		if (z == 0 && in.pos == in.size)
			break;
		if (out.pos == 0 && in.pos == was)
			return lcm_err_set(err, -EUCLEAN,
					   "table of contents: its zstd frame is cut short");
	}
	return total == ref->plain_len ? 0 : length_differs(ref, err);
}

/* ---- parsing ---- */

/* The TOC's JSON: in zstd, or plain in steps. */
struct source {
	struct lcm_toc_json_source base;
	const struct lcm_chunked_ref *ref;
	const void *p;
	size_t len;
	size_t step; /* 0: zstd */
};

static int source_each(const struct lcm_toc_json_source *base, lcm_toc_plain_fn fn, void *arg,
		       struct lcm_err *err)
{
	const struct source *s = lcm_container_of(base, const struct source, base);
	int r = 0;

	if (s->step == 0)
		return plain_each(s->ref, s->p, s->len, fn, arg, err);
	for (size_t at = 0; r == 0 && at < s->len; at += LCM_MIN(s->step, s->len - at))
		r = fn(arg, (const char *)s->p + at, LCM_MIN(s->step, s->len - at), err);
	return r;
}

static int digest_check(const struct source *s, struct lcm_err *err)
{
	char want[LCM_DIGEST_STR], got[LCM_DIGEST_STR];
	struct lcm_digest d;
	int r;

	if (s->ref->digest_of_plain)
		return lcm_toc_json_digest(&s->base, &s->ref->digest, err);
	r = lcm_digest_of(s->p, s->len, &d);
	if (r < 0 || lcm_digest_equal(&d, &s->ref->digest))
		return r;
	return lcm_err_set(err, -EBADMSG, "table of contents: digest is %s, the manifest says %s",
			   lcm_digest_str(&d, got), lcm_digest_str(&s->ref->digest, want));
}

static int source_build(const struct source *s, uint64_t blob_size, struct lcm_toc_builder *b,
			struct lcm_err *err)
{
	const uint64_t frame_header = 8; /* of the skippable frame around the TOC */
	uint64_t data_end = LCM_MIN(blob_size, s->ref->off);

	data_end -= LCM_MIN(data_end, frame_header);
	return lcm_toc_json_build(&s->base, s->ref->digest_of_plain, data_end, b, err);
}

int lcm_chunked_parse(const struct lcm_chunked_ref *ref, const void *toc, size_t len,
		      uint64_t blob_size, struct lcm_toc_builder *b, struct lcm_err *err)
{
	const struct source s = { .base = { source_each }, .ref = ref, .p = toc, .len = len };
	int r;

	if (len != ref->len)
		return lcm_err_set(err, -EUCLEAN, "table of contents: %zu bytes instead of %llu",
				   len, (unsigned long long)ref->len);
	r = digest_check(&s, err);
	return r < 0 ? r : source_build(&s, blob_size, b, err);
}

int lcm_chunked_parse_json(const struct lcm_chunked_ref *ref, const void *json, size_t len,
			   size_t step, uint64_t blob_size, struct lcm_toc_builder *b,
			   struct lcm_err *err)
{
	const struct source s = { .base = { source_each },
				  .ref = ref,
				  .p = json,
				  .len = len,
				  .step = LCM_MAX(step, (size_t)1) };

	return source_build(&s, blob_size, b, err);
}
