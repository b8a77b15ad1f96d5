/* SPDX-License-Identifier: Apache-2.0 */
#include "registry/check.h"

#include <inttypes.h>
#include <string.h>

#include "image/content_range.h"
#include "src/base/limits.h"

static int check_length(int64_t got, uint64_t want, const char *what, struct lcm_err *err)
{
	if (got < 0 || (uint64_t)got == want)
		return 0;
	return lcm_err_set(err, -EPROTO,
			   "%s has Content-Length %" PRId64 ", %" PRIu64 " bytes were expected",
			   what, got, want);
}

/*
 * RFC 9110 s. 15.3.7: "A client MUST inspect a 206 response's Content-Type and
 * Content-Range field(s) to determine what parts are enclosed".
 */
static int check_partial(const struct lcm_head *h, const struct lcm_want *w, struct lcm_plan *ret,
			 struct lcm_err *err)
{
	struct lcm_content_range cr;
	int r;

	if (!w->ranged)
		return lcm_err_set(err, -EPROTO,
				   "the registry sent 206 (a part) though all was asked for");
	if (!h->content_range)
		return lcm_err_set(
		    err, -EPROTO,
		    "the registry sent 206 without Content-Range (Content-Type %.60s)",
		    h->content_type ? h->content_type : "none");
	r = lcm_content_range_parse(h->content_range, strlen(h->content_range), &cr);
	if (r < 0 || !cr.has_range)
		return lcm_err_set(err, -EPROTO,
				   "the registry sent 206 with a malformed Content-Range \"%.60s\"",
				   h->content_range);
	if (cr.first != w->off || cr.last != w->off + w->len - 1)
		return lcm_err_set(err, -EPROTO,
				   "the registry sent another range, \"%.60s\", than bytes %" PRIu64
				   "-%" PRIu64,
				   h->content_range, w->off, w->off + w->len - 1);
	if (cr.has_size && cr.size != w->size)
		return lcm_err_set(err, -EPROTO,
				   "the registry says the blob has %" PRIu64
				   " bytes, the manifest says %" PRIu64,
				   cr.size, w->size);
	r = check_length(h->content_length, w->len, "the range", err);
	if (r < 0)
		return r;
	*ret = (struct lcm_plan){ .take = w->len, .exact = true };
	return 0;
}

static int check_full(const struct lcm_head *h, const struct lcm_want *w, struct lcm_plan *ret,
		      struct lcm_err *err)
{
	int r = check_length(h->content_length, w->size, "the blob", err);

	if (r < 0)
		return r;
	if (!w->whole && w->off > LCM_SKIP_MAX)
		return lcm_err_set(err, -ESPIPE,
				   "the registry does not serve ranges (200 for bytes %" PRIu64
				   "-%" PRIu64 ")",
				   w->off, w->off + w->len - 1);
	*ret = (struct lcm_plan){ .skip = w->off,
				  .take = w->len,
				  .exact = w->off + w->len == w->size };
	return 0;
}

int lcm_check_blob(const struct lcm_head *h, const struct lcm_want *w, struct lcm_plan *ret,
		   struct lcm_err *err)
{
	if (h->status == 206)
		return check_partial(h, w, ret, err);
	if (h->status == 200)
		return check_full(h, w, ret, err);
	return lcm_err_set(err, -EPROTO, "the registry answered with status %ld", h->status);
}

int lcm_check_manifest(const struct lcm_head *h, struct lcm_err *err)
{
	if (h->status != 200)
		return lcm_err_set(err, -EPROTO, "the registry answered with status %ld",
				   h->status);
	if (h->content_length > (int64_t)LCM_MANIFEST_MAX)
		return lcm_err_set(err, -EFBIG,
				   "the manifest has %" PRId64 " bytes, the maximum is %u",
				   h->content_length, LCM_MANIFEST_MAX);
	return 0;
}
