/* SPDX-License-Identifier: Apache-2.0 */
/* toc_json_build.c - from a source of plain JSON to its digest and to a TOC. */
#include "image/toc_json.h"

static int plain_hash(void *arg, const void *p, size_t len, struct lcm_err *err)
{
	(void)err;
	lcm_hash_update(arg, p, len);
	return 0;
}

int lcm_toc_json_digest(const struct lcm_toc_json_source *s, const struct lcm_digest *want,
			struct lcm_err *err)
{
	lcm_auto(lcm_hash) h = lcm_hash_new();
	char text[LCM_DIGEST_STR], got[LCM_DIGEST_STR];
	struct lcm_digest d;
	int r = h ? s->each(s, plain_hash, h, err) : -ENOMEM;

	if (r < 0)
		return r;
	lcm_hash_final(h, &d);
	if (lcm_digest_equal(&d, want))
		return 0;
	return lcm_err_set(err, -EBADMSG, "table of contents: digest is %s, the manifest says %s",
			   lcm_digest_str(&d, got), lcm_digest_str(want, text));
}

static int plain_feed(void *arg, const void *p, size_t len, struct lcm_err *err)
{
	return lcm_toc_json_feed(arg, p, len, err);
}

static int parse(const struct lcm_toc_json_source *s, const struct lcm_toc_json_opt *opt,
		 struct lcm_err *err)
{
	lcm_auto(lcm_toc_json) j = NULL;
	int r = lcm_toc_json_new(opt, &j);

	if (r == 0)
		r = s->each(s, plain_feed, j, err);
	return r < 0 ? r : lcm_toc_json_finish(j, err);
}

int lcm_toc_json_build(const struct lcm_toc_json_source *s, bool stargz, uint64_t data_end,
		       struct lcm_toc_builder *b, struct lcm_err *err)
{
	struct lcm_toc_offsets offsets = { 0 };
	struct lcm_toc_json_opt opt = { .data_end = data_end, .stargz = stargz };
	int r = 0;

	if (stargz) {
		opt.offsets = &offsets;
		r = parse(s, &opt, err);
		lcm_toc_offsets_sort(&offsets);
	}
	opt.b = b;
	if (r == 0)
		r = parse(s, &opt, err);
	free(offsets.v);
	return r;
}
