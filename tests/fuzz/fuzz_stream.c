/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Covers lcm_stream_new/read/blob_digest and lcm_decode_chunk. First byte: bits 0-1 the
 * compression, the rest how many bytes the source gives at a time. What the blocks' size
 * is must not change what comes out.
 */
#include <string.h>

#include "decode/stream.h"

#define MAX_PLAIN (1U << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct bytes {
	const uint8_t *p;
	size_t len, step;
	uint8_t *block;
};

static ssize_t bytes_read(void *arg, const void **ret)
{
	struct bytes *b = arg;
	size_t n = LCM_MIN(b->len, b->step);

	free(b->block);
	b->block = malloc(n ? n : 1);
	if (!b->block)
		abort();
	if (n)
		memcpy(b->block, b->p, n);
	b->p += n;
	b->len -= n;
	*ret = b->block;
	return (ssize_t)n;
}

/* Return: status; *plain: SHA-256 of what came out. */
static int read_all(enum lcm_compression comp, const uint8_t *data, size_t size, size_t step,
		    struct lcm_digest *plain, uint64_t *len)
{
	struct bytes b = { .p = data, .len = size, .step = step };
	lcm_auto(lcm_hash) h = lcm_hash_new();
	struct lcm_stream *s = NULL;
	struct lcm_digest blob, want;
	const void *p;
	uint64_t blob_len;
	ssize_t n;

	if (!h || lcm_stream_new(comp, bytes_read, &b, MAX_PLAIN, &s) < 0)
		abort();
	*len = 0;
	while ((n = lcm_stream_read(s, &p)) > 0) {
		lcm_hash_update(h, p, (size_t)n);
		*len += (uint64_t)n;
	}
	lcm_hash_final(h, plain);
	if (*len > MAX_PLAIN)
		abort();
	if (n < 0 && (lcm_stream_err(s)->code != n || !lcm_stream_err(s)->msg[0]))
		abort();
	if (n == 0) {
		lcm_stream_blob_digest(s, &blob, &blob_len);
		if (lcm_digest_of(data, size, &want) < 0 || blob_len != size ||
		    !lcm_digest_equal(&blob, &want))
			abort();
	}
	lcm_stream_free(s);
	free(b.block);
	return (int)n;
}

static void chunk(enum lcm_compression comp, const uint8_t *data, size_t size,
		  const struct lcm_digest *plain, uint64_t len, int r)
{
	uint8_t *out = malloc(len + 1);
	int is;

	if (!out)
		abort();
	is = lcm_decode_chunk(comp, data, size, out, len, plain);
	if (r == 0 && is != 0)
		abort();
	if (r != 0 && is == 0 && comp == LCM_COMP_GZIP)
		abort();
	free(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct lcm_digest one, all;
	uint64_t len_one, len_all;
	enum lcm_compression comp;
	int a, b;

	if (size < 1 || (data[0] & 3) == 3)
		return 0;
	comp = (enum lcm_compression)(data[0] & 3);
	a = read_all(comp, data + 1, size - 1, (data[0] >> 2) + 1U, &one, &len_one);
	b = read_all(comp, data + 1, size - 1, SIZE_MAX / 2, &all, &len_all);
	if ((a == 0) != (b == 0) ||
	    (a == 0 && (len_one != len_all || !lcm_digest_equal(&one, &all))))
		abort();
	chunk(comp, data + 1, size - 1, &all, len_all, b);
	return 0;
}
