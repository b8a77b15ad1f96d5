/* SPDX-License-Identifier: Apache-2.0 */
/* What a fetch does with the bytes that come. All of it runs inside libcurl. */
#include "registry/internal.h"

#include <inttypes.h>

#include "src/base/limits.h"
#include "src/base/sys.h"

static int body_stop(struct lcm_fetch *f, int code)
{
	f->verdict = LCM_VERDICT_FAIL;
	f->code = code;
	return -1;
}

/* Another host could not do better. */
static int body_end(struct lcm_fetch *f, int code)
{
	f->final = true;
	return body_stop(f, code);
}

/* A piece that is not taken stops the flow until lcm_fetch_attend(). */
static int body_wait(struct lcm_fetch *f)
{
	lcm_fetch_flow(f, false);
	return 1;
}

static void count(struct lcm_fetch *f, size_t taken, size_t came)
{
	f->pos += taken;
	f->try_bytes += taken;
	f->bytes += came;
	f->reg->stats.bytes += came;
	if (taken && f->try_bytes == taken && f->kind == LCM_FETCH_BLOB) {
		lcm_endpoint_served(f->ep, &f->digest);
		f->mirrored |= !f->ep->upstream;
	}
	lcm_peer_bytes(f->ep->peer, came, lcm_now_ns());
	lcm_fetch_weigh(f);
}

static int take_blob(struct lcm_fetch *f, const uint8_t *p, size_t len)
{
	size_t skip = (size_t)LCM_MIN(f->plan.skip, (uint64_t)len);
	size_t n = (size_t)LCM_MIN(f->plan.take, (uint64_t)(len - skip));
	int r = 0;

	if (skip + n < len && f->plan.exact)
		return body_stop(f, lcm_err_set(&f->err, -EPROTO,
						"the body is longer than the %" PRIu64
						" bytes asked for",
						f->len));
	if (n && f->hold)
		return body_wait(f);
	if (n)
		r = f->sink(f->arg, f->off + f->pos, p + skip, n);
	if (r > 0)
		return body_wait(f);
	if (r < 0)
		return body_end(
		    f, lcm_err_set(&f->err, r, "the receiver stopped: %s", lcm_err_text(NULL, r)));
	f->plan.skip -= skip;
	f->plan.take -= n;
	count(f, n, len);
	f->complete = f->pos == f->len;
	return f->complete && !f->plan.exact ? -1 : 0;
}

static int take_manifest(struct lcm_fetch *f, const void *p, size_t len)
{
	int r = lcm_buf_add(&f->body, p, len);

	if (r < 0)
		return body_stop(f, lcm_err_set(&f->err, r, "manifest of over %u bytes: %s",
						LCM_MANIFEST_MAX, lcm_err_text(NULL, r)));
	count(f, 0, len);
	return 0;
}

void lcm_fetch_head(struct lcm_fetch *f)
{
	uint64_t now = lcm_now_ns();

	lcm_fetch_judge(f);
	if (f->verdict != LCM_VERDICT_BODY)
		return;
	lcm_peer_answered(f->ep->peer, now - f->sent_ns, now);
	if (!lcm_fetch_go(f, LCM_FETCH_BODY)) {
		body_end(f, -EIO);
		return;
	}
	lcm_fetch_flow(f, true);
	if (f->kind == LCM_FETCH_BLOB && f->url && f->away && !f->cached)
		lcm_location_put(&f->ep->locations, f->ref.repo, &f->digest, f->url, now);
}

int lcm_fetch_on_body(void *fetch, const void *p, size_t len)
{
	struct lcm_fetch *f = fetch;

	if (f->cancel)
		return body_end(f, -ECANCELED);
	if (f->verdict == LCM_VERDICT_NONE)
		lcm_fetch_head(f);
	if (f->verdict == LCM_VERDICT_BODY)
		return f->kind == LCM_FETCH_BLOB ? take_blob(f, p, len) : take_manifest(f, p, len);
	if (f->verdict == LCM_VERDICT_FAIL)
		return -1;
	f->drained += len;
	return f->drained > LCM_HTTP_DRAIN_MAX ? -1 : 0;
}
