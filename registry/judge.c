/* SPDX-License-Identifier: Apache-2.0 */
#include "registry/internal.h"

#include <string.h>

#include "image/content_range.h"
#include "registry/retry.h"
#include "src/base/sys.h"

int lcm_fetch_url(const struct lcm_fetch *f, struct lcm_buf *ret)
{
	static const char *const kinds[] = { [LCM_FETCH_MANIFEST] = "manifests",
					     [LCM_FETCH_BLOB] = "blobs",
					     [LCM_FETCH_REFERRERS] = "referrers" };
	lcm_autobuf struct lcm_buf rest = LCM_BUF(LCM_URL_MAX);
	char hex[LCM_DIGEST_STR];
	bool by_digest = !lcm_digest_is_zero(&f->digest);
	int r = lcm_buf_printf(&rest, "%s/%s/%s", f->ref.repo, kinds[f->kind],
			       by_digest ? lcm_digest_str(&f->digest, hex) : f->ref.tag);

	if (r == 0 && f->page)
		r = lcm_buf_printf(&rest, "?%s", f->page);
	/* A mirror of several registries is told which one is meant. */
	if (r == 0 && f->ep->proxy)
		r = lcm_buf_printf(&rest, "%cns=%s", f->page ? '&' : '?', f->host->list.registry);
	return r < 0 ? r : lcm_endpoint_url(f->ep, f->tls, lcm_buf_str(&rest), ret);
}

static void fail(struct lcm_fetch *f, int code)
{
	f->verdict = LCM_VERDICT_FAIL;
	f->code = code;
}

static void judge_body(struct lcm_fetch *f, long status)
{
	struct lcm_head head = { .status = status,
				 .content_range = lcm_http_field(&f->http, "Content-Range", 0),
				 .content_type = lcm_http_field(&f->http, "Content-Type", 0),
				 .content_length = lcm_http_length(&f->http) };
	struct lcm_want want = { .size = f->size,
				 .off = f->off + f->pos,
				 .len = f->len - f->pos,
				 .ranged = f->ranged,
				 .whole = f->skip || (f->off == 0 && f->len == f->size) };
	int r;

	if (f->kind == LCM_FETCH_BLOB)
		r = lcm_check_blob(&head, &want, &f->plan, &f->err);
	else
		r = lcm_check_manifest(&head, &f->err);
	f->verdict = LCM_VERDICT_BODY;
	if (r < 0)
		fail(f, r);
}

static void judge_missing(struct lcm_fetch *f)
{
	char ref[LCM_REFERENCE_STR_MAX], hex[LCM_DIGEST_STR];

	(void)lcm_reference_str(&f->ref, ref, sizeof(ref));
	if (lcm_digest_is_zero(&f->digest))
		fail(f, lcm_err_set(&f->err, -ENOENT,
				    "%s is not in the registry (404); check name and tag", ref));
	else
		fail(f,
		     lcm_err_set(&f->err, -ENOENT,
				 "%s %s of %s is not in the registry (404); is the image complete?",
				 f->kind == LCM_FETCH_BLOB ? "blob" : "manifest",
				 lcm_digest_str(&f->digest, hex), ref));
}

static void judge_retry(struct lcm_fetch *f, long status)
{
	const char *after = lcm_http_field(&f->http, "Retry-After", 0);
	int64_t now_s = (int64_t)(lcm_realtime_ns() / 1000000000);
	uint32_t s;

	if (after && lcm_retry_after_parse(after, strlen(after), now_s, &s) == 0)
		f->after_s = s;
	f->verdict = LCM_VERDICT_RETRY;
	if (status == 429)
		f->code = lcm_err_set(
		    &f->err, -ETIMEDOUT,
		    "the registry asks to slow down (429, Retry-After %s); log in or try later",
		    after ? after : "none");
	else
		f->code = lcm_err_set(&f->err, -EHOSTUNREACH,
				      "the registry answers with status %ld; try later", status);
}

#define CERTIFICATE_HINT "; does it want a client certificate (client in its hosts.toml)?"

/* What nginx says to TLS without one. */
static bool wants_certificate(const struct lcm_fetch *f, long status)
{
	return status == 400 && !f->away && f->ep->tls && !f->ep->entry->tls.cert;
}

static bool is_redirect(long status)
{
	return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

void lcm_fetch_judge(struct lcm_fetch *f)
{
	long status = lcm_http_status(&f->http);

	f->after_s = -1;
	/* What TLS servers of Go, nginx and Apache say to plain http. Another fetch may know by
	 * now. */
	if (status == 400 && f->ep->loopback && (!f->ep->answered || f->ep->tls) && !f->tls &&
	    !f->url && !f->flipped) {
		f->verdict = LCM_VERDICT_SCHEME;
		return;
	}
	if (!f->url)
		f->ep->answered = true;
	if (status >= 200 && status < 300)
		judge_body(f, status);
	else if (is_redirect(status))
		f->verdict = LCM_VERDICT_REDIRECT;
	else if (f->cached || (f->away && (status == 401 || status == 403)))
		f->verdict = LCM_VERDICT_BACK;
	else if (status == 401)
		f->verdict = LCM_VERDICT_AUTH;
	else if (status == 403)
		f->verdict = LCM_VERDICT_FORBIDDEN;
	else if (status == 404)
		judge_missing(f);
	else if (lcm_retry_status(status))
		judge_retry(f, status);
	else if (status == 416)
		fail(f, lcm_err_set(&f->err, -EPROTO,
				    "the registry says the range is beyond its blob (416)"));
	else
		fail(f, lcm_err_set(&f->err, -EPROTO, "the registry answered with status %ld%s",
				    status, wants_certificate(f, status) ? CERTIFICATE_HINT : ""));
}
