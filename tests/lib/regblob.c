/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/regblob.h"

#include <inttypes.h>

#include "tests/lib/regtest.h"

uint8_t blob[BLOB_SIZE];
struct lcm_digest blob_digest;

int blob_setup(void **state)
{
	(void)state;
	regtest_fill(blob, sizeof(blob), 7);
	return lcm_digest_of(blob, sizeof(blob), &blob_digest);
}

struct lcm_fetch_req blob_req(const struct lcm_reference *ref, uint64_t off, uint64_t len)
{
	return (struct lcm_fetch_req){ .kind = LCM_FETCH_BLOB,
				       .ref = ref,
				       .digest = blob_digest,
				       .size = BLOB_SIZE,
				       .off = off,
				       .len = len };
}

bool h_good(struct bad_conn *c, const struct bad_request *req, void *arg)
{
	(void)arg;
	bad_blob(c, req, blob, sizeof(blob));
	return true;
}

bool h_no_ranges(struct bad_conn *c, const struct bad_request *req, void *arg)
{
	(void)arg, (void)req;
	bad_printf(c, "HTTP/1.1 200 OK\r\nContent-Length: %u\r\n\r\n", BLOB_SIZE);
	bad_send(c, blob, sizeof(blob));
	return true;
}

bool blob_short(struct bad_conn *c, const struct bad_request *req, bool chunked)
{
	uint64_t a = 0, b = BLOB_SIZE - 1, n;
	bool ranged = bad_range(req, &a, &b);

	n = LCM_MIN(b - a + 1, (uint64_t)MIB);
	bad_printf(c, "HTTP/1.1 %s\r\n", ranged ? "206 Partial Content" : "200 OK");
	if (ranged)
		bad_printf(c, "Content-Range: bytes %" PRIu64 "-%" PRIu64 "/%u\r\n", a, b,
			   BLOB_SIZE);
	if (chunked)
		bad_printf(c, "Transfer-Encoding: chunked\r\n\r\n%" PRIx64 "\r\n", n);
	else
		bad_printf(c, "Content-Length: %" PRIu64 "\r\n\r\n", b - a + 1);
	bad_send(c, blob + a, n);
	if (chunked)
		bad_printf(c, "\r\n0\r\n\r\n");
	return chunked;
}
