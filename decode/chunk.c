/* SPDX-License-Identifier: Apache-2.0 */
#include <isa-l/igzip_lib.h>
#include <pthread.h>
#include <string.h>
#include <zstd.h>
#include <zstd_errors.h>

#include "decode/stream.h"

/* What one thread needs to decode and check chunks; kept for the thread's life. */
struct chunk_tools {
	ZSTD_DCtx *zstd;               /* owned */
	struct inflate_state *inflate; /* owned */
	struct lcm_hash *hash;         /* owned */
};

static pthread_once_t tools_once = PTHREAD_ONCE_INIT;
static pthread_key_t tools_key;
static int tools_key_status;

static void tools_free(void *p)
{
	struct chunk_tools *t = p;

	ZSTD_freeDCtx(t->zstd);
	free(t->inflate);
	lcm_hash_free(t->hash);
	free(t);
}

static void tools_key_make(void)
{
	tools_key_status = -pthread_key_create(&tools_key, tools_free);
}

static struct chunk_tools *tools_get(void)
{
	struct chunk_tools *t;

	(void)pthread_once(&tools_once, tools_key_make);
	if (tools_key_status < 0)
		return NULL;
	t = pthread_getspecific(tools_key);
	if (t)
		return t;
	t = calloc(1, sizeof(*t));
	if (!t)
		return NULL;
	t->zstd = ZSTD_createDCtx();
	t->inflate = malloc(sizeof(*t->inflate));
	t->hash = lcm_hash_new();
	if (!t->zstd || !t->inflate || !t->hash || pthread_setspecific(tools_key, t) != 0) {
		tools_free(t);
		return NULL;
	}
	return t;
}

static int chunk_zstd(struct chunk_tools *t, const void *in, size_t in_len, void *out,
		      size_t out_len)
{
	size_t n = ZSTD_decompressDCtx(t->zstd, out, out_len, in, in_len);

	if (!ZSTD_isError(n))
		return n == out_len ? 0 : -EBADMSG;
	switch (ZSTD_getErrorCode(n)) {
	case ZSTD_error_dstSize_tooSmall:
		return -EBADMSG;
	case ZSTD_error_memory_allocation:
		return -ENOMEM;
	default:
		return -EUCLEAN;
	}
}

/*
 * One call of the inflater into what is left of the chunk. When nothing is left it gets one spare
 * byte, which tells a member that ends exactly here from one that has more to give.
 */
static int inflate_step(struct inflate_state *z, uint8_t **to, size_t *left)
{
	uint32_t had = z->avail_in;
	uint8_t spare;
	size_t room = *left ? *left : 1;

	z->next_out = *left ? *to : &spare;
	z->avail_out = (uint32_t)room;
	if (isal_inflate(z) != ISAL_DECOMP_OK)
		return -EUCLEAN;
	if (*left) {
		*to += room - z->avail_out;
		*left = z->avail_out;
	} else if (z->avail_out == 0) {
		return -EBADMSG;
	}
	if (z->block_state != ISAL_BLOCK_FINISH && z->avail_in == had && z->avail_out == room)
		return -EUCLEAN;
	return 0;
}

/* One member after the other; all input must be used and all output made. */
static int chunk_gzip(struct chunk_tools *t, const void *in, size_t in_len, void *out,
		      size_t out_len)
{
	struct inflate_state *z = t->inflate;
	uint8_t *to = out;
	int r = 0;

	if (in_len > UINT32_MAX || out_len > UINT32_MAX)
		return -EUCLEAN;
	z->next_in = (uint8_t *)(uintptr_t)in;
	z->avail_in = (uint32_t)in_len;
	do {
		const uint8_t *next = z->next_in;
		uint32_t avail = z->avail_in;

		isal_inflate_init(z);
		z->crc_flag = ISAL_GZIP;
		z->next_in = (uint8_t *)(uintptr_t)next;
		z->avail_in = avail;
		while (r == 0 && z->block_state != ISAL_BLOCK_FINISH)
			r = inflate_step(z, &to, &out_len);
		if (r < 0)
			return r;
	} while (z->avail_in);
	return out_len ? -EBADMSG : 0;
}

static int chunk_plain(const void *in, size_t in_len, void *out, size_t out_len)
{
	if (in_len != out_len)
		return -EBADMSG;
	if (in_len)
		memcpy(out, in, in_len);
	return 0;
}

int lcm_decode_chunk(enum lcm_compression comp, const void *in, size_t in_len, void *out,
		     size_t out_len, const struct lcm_digest *want)
{
	struct chunk_tools *t = tools_get();
	struct lcm_digest is;
	int r;

	if (!t)
		return -ENOMEM;
	switch (comp) {
	case LCM_COMP_NONE:
		r = chunk_plain(in, in_len, out, out_len);
		break;
	case LCM_COMP_GZIP:
		r = chunk_gzip(t, in, in_len, out, out_len);
		break;
	case LCM_COMP_ZSTD:
		r = chunk_zstd(t, in, in_len, out, out_len);
		break;
	default:
		return -EINVAL;
	}
	if (r < 0)
		return r;
	lcm_hash_reset(t->hash);
	lcm_hash_update(t->hash, out, out_len);
	lcm_hash_final(t->hash, &is);
	return lcm_digest_equal(&is, want) ? 0 : -EBADMSG;
}
