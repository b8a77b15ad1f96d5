/* SPDX-License-Identifier: Apache-2.0 */
#include "decode/stream.h"

#include <isa-l/igzip_lib.h>
#include <limits.h>
#include <string.h>
#include <zstd.h>
#include <zstd_errors.h>

#include "decode/hasher.h"

/*
 * With the digest of the tar on a thread of its own a block is handed over for each of these; at
 * 256 KiB the wake-ups take back half of what the thread gains (measured with locum-bench-unpack,
 * gzip, 2 cores).
 */
#define OUT_BYTES ((size_t)1 << 20)
/* isal_inflate counts in 32 bits; sources may lend more than that at once. */
#define IN_MAX ((size_t)1 << 30)
/*
 * Near a place where it would like one, deflate is fed in steps of so many bytes: a block's
 * boundary shows when the input ends inside the header of the block, which is some 60 bytes long.
 */
#define STEP 64U
#define MAGIC_LEN 4                 /* bytes that tell gzip and zstd */
#define ZSTD_STEP ((size_t)4 << 10) /* the same: less than most blocks */

struct lcm_stream {
	enum lcm_compression comp;
	lcm_source_fn fn;
	void *arg;                 /* borrowed */
	uint64_t max_plain;        /* 0: by ratio */
	uint64_t plain, blob;      /* bytes so far */
	struct lcm_hasher *hasher; /* owned; of the compressed side */
	const uint8_t *in;         /* lent by the source */
	size_t in_len;             /* of @in, not consumed yet */
	bool in_end;               /* the source has nothing more */
	bool begun;                /* inside a member or frame */
	uint8_t head[262];         /* first bytes of the blob */
	size_t head_len;
	bool head_done;                 /* they have been judged */
	struct inflate_state *inflate;  /* owned; gzip */
	struct isal_gzip_header header; /* of the member being read */
	bool in_header;
	ZSTD_DStream *zstd; /* owned */
	uint8_t *buf;       /* owned; a window, then OUT_BYTES; NULL for plain */
	uint8_t *out;       /* behind the window, or the caller's */
	size_t out_cap;
	size_t out_len;  /* plain bytes there, of this read */
	size_t last_len; /* of the read before */
	/* boundaries */
	uint64_t every; /* 0: nobody wants them */
	lcm_boundary_fn boundary;
	void *boundary_arg;               /* borrowed */
	uint64_t bound_blob, bound_plain; /* the last one */
	bool bounded;                     /* there has been one */
	bool flushed;                     /* zstd has nothing left to give of what it had */
	bool done;
	int status;               /* sticky -errno */
	struct lcm_digest digest; /* when done */
	struct lcm_err err;
};

static const char *comp_name(enum lcm_compression comp)
{
	switch (comp) {
	case LCM_COMP_GZIP:
		return "gzip";
	case LCM_COMP_ZSTD:
		return "zstd";
	default:
		return "plain tar";
	}
}

static int stream_fail(struct lcm_stream *s, int code, const char *what)
{
	s->status = lcm_err_set(&s->err, code, "%s layer, compressed byte %llu: %s",
				comp_name(s->comp), (unsigned long long)(s->blob - s->in_len),
				what);
	return s->status;
}

static int stream_alloc(struct lcm_stream *s)
{
	s->hasher = lcm_hasher_new();
	if (!s->hasher)
		return -ENOMEM;
	if (s->comp == LCM_COMP_NONE)
		return 0;
	s->buf = calloc(1, LCM_TOC_WINDOW + OUT_BYTES);
	if (!s->buf)
		return -ENOMEM;
	s->out = s->buf + LCM_TOC_WINDOW;
	s->out_cap = OUT_BYTES;
	if (s->comp == LCM_COMP_GZIP) {
		s->inflate = malloc(sizeof(*s->inflate));
		return s->inflate ? 0 : -ENOMEM;
	}
	s->zstd = ZSTD_createDStream();
	if (!s->zstd || ZSTD_isError(ZSTD_DCtx_setParameter(s->zstd, ZSTD_d_windowLogMax,
							    LCM_ZSTD_WINDOW_LOG_MAX)))
		return -ENOMEM;
	return 0;
}

int lcm_stream_new(enum lcm_compression comp, lcm_source_fn fn, void *arg, uint64_t max_plain,
		   struct lcm_stream **ret)
{
	lcm_auto(lcm_stream) s = NULL;

	if (comp != LCM_COMP_NONE && comp != LCM_COMP_GZIP && comp != LCM_COMP_ZSTD)
		return -EINVAL;
	s = calloc(1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	s->comp = comp;
	s->fn = fn;
	s->arg = arg;
	s->max_plain = max_plain;
	if (stream_alloc(s) < 0)
		return -ENOMEM;
	*ret = lcm_steal(&s);
	return 0;
}

void lcm_stream_free(struct lcm_stream *s)
{
	if (!s)
		return;
	lcm_hasher_free(s->hasher);
	ZSTD_freeDStream(s->zstd);
	free(s->inflate);
	free(s->buf);
	free(s);
}

void lcm_stream_no_digest(struct lcm_stream *s)
{
	lcm_hasher_free(s->hasher);
	s->hasher = NULL;
}

int lcm_stream_boundaries(struct lcm_stream *s, uint64_t every, lcm_boundary_fn fn, void *arg)
{
	if (!every || s->blob)
		return -EINVAL;
	s->every = every;
	s->boundary = fn;
	s->boundary_arg = arg;
	return 0;
}

static enum lcm_compression magic_of(const uint8_t *p)
{
	static const uint8_t gzip[] = { 0x1f, 0x8b, 0x08 }, zstd[] = { 0x28, 0xb5, 0x2f, 0xfd },
			     skippable[] = { 0x2a, 0x4d, 0x18 };

	if (memcmp(p, gzip, sizeof(gzip)) == 0)
		return LCM_COMP_GZIP;
	if (memcmp(p, zstd, sizeof(zstd)) == 0 ||
	    ((p[0] & 0xf0) == 0x50 && memcmp(p + 1, skippable, 3) == 0))
		return LCM_COMP_ZSTD;
	return LCM_COMP_NONE;
}

/* A tar whose first name happens to begin like a compressed file is still a tar. */
static bool is_ustar(const uint8_t *p, size_t len)
{
	return len >= 262 && memcmp(p + 257, "ustar", 5) == 0;
}

/*
 * Whatever the sizes of the source's pieces: a tar that begins like something compressed is told by
 * what stands further on in its first header.
 */
static int head_check(struct lcm_stream *s)
{
	enum lcm_compression is;
	size_t n = LCM_MIN(sizeof(s->head) - s->head_len, s->in_len);

	if (s->head_done)
		return 0;
	if (n)
		memcpy(s->head + s->head_len, s->in, n);
	s->head_len += n;
	if (s->head_len < MAGIC_LEN)
		return 0;
	is = magic_of(s->head);
	if (is != s->comp && s->comp == LCM_COMP_NONE && s->head_len < sizeof(s->head) &&
	    !s->in_end)
		return 0;
	s->head_done = true;
	if (is == s->comp || (s->comp == LCM_COMP_NONE && is_ustar(s->head, s->head_len)))
		return 0;
	s->status =
	    lcm_err_set(&s->err, -EUCLEAN,
			"layer is said to be %s, but its first bytes (%02x %02x %02x %02x) are %s",
			comp_name(s->comp), s->head[0], s->head[1], s->head[2], s->head[3],
			is == LCM_COMP_NONE ? "not" : comp_name(is));
	return s->status;
}

/* Makes s->in non-empty, or s->in_end true. */
static int stream_fill(struct lcm_stream *s)
{
	const void *p = NULL;
	ssize_t n;

	if (s->in_len || s->in_end)
		return 0;
	lcm_hasher_wait(s->hasher);
	n = s->fn(s->arg, &p);
	if (n < 0)
		return stream_fail(s, (int)n, strerror((int)-n));
	if (n == 0) {
		s->in_end = true;
		return head_check(s);
	}
	s->in = p;
	s->in_len = (size_t)n;
	s->blob += (uint64_t)n;
	lcm_hasher_add(s->hasher, p, (size_t)n);
	return head_check(s);
}

static int gzip_fail(struct lcm_stream *s, int r)
{
	switch (r) {
	case ISAL_INCORRECT_CHECKSUM:
		return stream_fail(s, -EUCLEAN,
				   "CRC or length at the end of the gzip member is wrong");
	case ISAL_INVALID_WRAPPER:
		return stream_fail(s, -EUCLEAN,
				   s->plain ? "garbage after the last gzip member"
					    : "not a gzip header");
	case ISAL_UNSUPPORTED_METHOD:
		return stream_fail(s, -EUCLEAN, "gzip method other than deflate");
	default:
		return stream_fail(s, -EUCLEAN, "damaged deflate data");
	}
}

/* ---- boundaries ---- */

/* Plain bytes so far, with those that this read has not returned yet. */
static uint64_t plain_now(const struct lcm_stream *s)
{
	return s->plain + s->out_len;
}

static bool boundary_due(const struct lcm_stream *s)
{
	return s->every && (!s->bounded || plain_now(s) - s->bound_plain >= s->every);
}

/* Output of the next call of a decoder: it ends where a boundary becomes due. */
static size_t out_room(const struct lcm_stream *s)
{
	size_t room = s->out_cap - s->out_len;

	if (s->every && s->bounded && !boundary_due(s))
		room = (size_t)LCM_MIN(room, s->bound_plain + s->every - plain_now(s));
	return room;
}

/* The read before goes in front of this one: deflate looks back so far. */
static void window_keep(struct lcm_stream *s)
{
	size_t len = s->last_len, n = LCM_MIN(len, (size_t)LCM_TOC_WINDOW);

	if (!s->every || s->comp != LCM_COMP_GZIP || !n)
		return;
	memmove(s->buf, s->buf + n, LCM_TOC_WINDOW - n);
	memcpy(s->out - n, s->out + len - n, n);
}

static int boundary_at(struct lcm_stream *s, uint64_t blob_off, enum lcm_toc_start start,
		       unsigned int bits)
{
	const struct lcm_boundary b = {
		.blob_off = blob_off,
		.plain_off = plain_now(s),
		.start = start,
		.bits = bits,
		.window = start == LCM_TOC_START_DEFLATE ? s->out + s->out_len - LCM_TOC_WINDOW
							 : NULL,
	};
	int r;

	if (s->bounded && (blob_off <= s->bound_blob || b.plain_off <= s->bound_plain))
		return 0;
	s->bounded = true;
	s->bound_blob = blob_off;
	s->bound_plain = b.plain_off;
	r = s->boundary(s->boundary_arg, &b);
	return r < 0 ? stream_fail(s, r, strerror(-r)) : 0;
}

/* Bytes of the blob that the decoder has had. */
static uint64_t blob_now(const struct lcm_stream *s)
{
	return s->blob - s->in_len;
}

/* ---- gzip ---- */

/*
 * The header is read on its own: isal_inflate() can do it, but (2.30) forgets the header's
 * flags when the input ends in the middle of it.
 */
static int gzip_begin(struct lcm_stream *s)
{
	isal_inflate_init(s->inflate);
	isal_gzip_header_init(&s->header);
	s->inflate->crc_flag = ISAL_GZIP_NO_HDR_VER;
	s->begun = true;
	s->in_header = true;
	return boundary_due(s) && s->in_len ? boundary_at(s, blob_now(s), LCM_TOC_START_MEMBER, 0)
					    : 0;
}

/*
 * Input for the next call. ISA-L takes some bytes in advance; those of a stored block are counted,
 * so that the call ends with the block.
 */
static size_t gzip_portion(const struct lcm_stream *s)
{
	const struct inflate_state *z = s->inflate;
	size_t all = LCM_MIN(s->in_len, IN_MAX), ahead = (size_t)z->read_in_length / 8;

	if (s->in_header || !boundary_due(s))
		return all;
	if (z->block_state == ISAL_BLOCK_TYPE0 && z->type0_block_len > (int32_t)ahead)
		return LCM_MIN(all, (size_t)z->type0_block_len - ahead);
	return LCM_MIN(all, (size_t)STEP);
}

/* One call of ISA-L with what is there: header or data. Return: its status. */
static int gzip_step(struct lcm_stream *s)
{
	struct inflate_state *z = s->inflate;
	size_t given = gzip_portion(s);
	uint32_t room = (uint32_t)out_room(s);
	int r;

	z->next_in = (uint8_t *)(uintptr_t)s->in;
	z->avail_in = (uint32_t)given;
	z->next_out = s->out + s->out_len;
	z->avail_out = room;
	if (s->in_header) {
		r = isal_read_gzip_header(z, &s->header);
		s->in_header = r == ISAL_END_INPUT;
	} else {
		r = isal_inflate(z);
	}
	if (r != ISAL_DECOMP_OK && r != ISAL_END_INPUT)
		return r; /* what it has left of its input is no number then */
	s->in += given - z->avail_in;
	s->in_len -= given - z->avail_in;
	s->out_len += room - z->avail_out;
	return r == ISAL_END_INPUT ? ISAL_DECOMP_OK : r;
}

/*
 * Between two blocks: all input is used up, all output is out, and what ISA-L holds back are bits
 * of the next block's header.
 */
static int gzip_boundary(struct lcm_stream *s)
{
	const struct inflate_state *z = s->inflate;
	uint64_t bit;

	if (!boundary_due(s) || s->in_header || z->avail_in || !z->avail_out ||
	    (z->block_state != ISAL_BLOCK_HDR && z->block_state != ISAL_BLOCK_NEW_HDR))
		return 0;
	bit = (blob_now(s) - (z->block_state == ISAL_BLOCK_HDR ? (uint64_t)z->tmp_in_size : 0)) *
		  8 -
	      (uint64_t)z->read_in_length;
	return boundary_at(s, bit / 8, LCM_TOC_START_DEFLATE, (unsigned int)(-bit & 7));
}

static const char *gzip_cut_text(const struct lcm_stream *s)
{
	return s->in_header && s->plain
		   ? "garbage after the last gzip member, or a member cut off in its header"
		   : "ends in the middle of a gzip member";
}

/* Return: plain bytes in s->out, 0 at the end, -errno. */
static ssize_t gzip_read(struct lcm_stream *s)
{
	struct inflate_state *z = s->inflate;
	int r;

	for (;;) {
		size_t had = s->out_len;

		/* The source may take its bytes away: first what was made of them. */
		if (!s->in_len && !s->in_end && had)
			return (ssize_t)had;
		r = stream_fill(s);
		if (r < 0)
			return r;
		if (s->in_end && !s->begun)
			return s->blob ? (ssize_t)had
				       : stream_fail(s, -EUCLEAN, "empty, not even a gzip header");
		if (!s->begun) {
			r = gzip_begin(s);
			if (r < 0)
				return r;
		}
		r = gzip_step(s);
		if (r != ISAL_DECOMP_OK)
			return gzip_fail(s, r);
		r = gzip_boundary(s);
		if (r < 0)
			return r;
		if (z->block_state == ISAL_BLOCK_FINISH)
			s->begun = false;
		else if (s->in_end && s->out_len == had)
			return had ? (ssize_t)had : stream_fail(s, -EUCLEAN, gzip_cut_text(s));
		if (s->out_len && (!boundary_due(s) || s->out_len == s->out_cap))
			return (ssize_t)s->out_len;
	}
}

static int zstd_fail(struct lcm_stream *s, size_t r)
{
	if (ZSTD_getErrorCode(r) == ZSTD_error_memory_allocation)
		return stream_fail(s, -ENOMEM, "out of memory for the zstd window");
	if (ZSTD_getErrorCode(r) == ZSTD_error_prefix_unknown && plain_now(s))
		return stream_fail(s, -EUCLEAN, "garbage after the last zstd frame");
	return stream_fail(s, -EUCLEAN, ZSTD_getErrorName(r));
}

/* All that could be made of the bytes so far is out. */
static int zstd_boundary(struct lcm_stream *s)
{
	if (!boundary_due(s) || (s->begun && !s->flushed) || (s->in_end && !s->begun))
		return 0;
	return boundary_at(s, blob_now(s), s->begun ? LCM_TOC_START_CONTINUES : LCM_TOC_START_FRAME,
			   0);
}

/* One call of libzstd with what is there. */
static int zstd_step(struct lcm_stream *s)
{
	ZSTD_outBuffer out = { .dst = s->out + s->out_len, .size = out_room(s) };
	ZSTD_inBuffer in = {
		.src = s->in,
		.size = boundary_due(s) ? LCM_MIN(s->in_len, ZSTD_STEP) : s->in_len,
	};
	size_t left = ZSTD_decompressStream(s->zstd, &out, &in);

	if (ZSTD_isError(left))
		return zstd_fail(s, left);
	s->in += in.pos;
	s->in_len -= in.pos;
	s->begun = left != 0;
	s->flushed = out.pos < out.size;
	s->out_len += out.pos;
	if (!out.pos && s->begun && s->in_end)
		return s->out_len ? 1
				  : stream_fail(s, -EUCLEAN, "ends in the middle of a zstd frame");
	return 0;
}

/* Return: plain bytes in s->out, 0 at the end, -errno. */
static ssize_t zstd_read(struct lcm_stream *s)
{
	int r = 0;

	while (r == 0 && s->out_len < s->out_cap) {
		/* As in gzip_read(). */
		if (!s->in_len && !s->in_end && s->out_len)
			break;
		r = zstd_boundary(s);
		if (r == 0)
			r = stream_fill(s);
		if (r == 0 && s->in_end && !s->begun) {
			if (!s->blob)
				return stream_fail(s, -EUCLEAN, "empty, not even a zstd frame");
			break;
		}
		if (r == 0)
			r = zstd_step(s);
	}
	return r < 0 ? r : (ssize_t)s->out_len;
}

static ssize_t plain_read(struct lcm_stream *s)
{
	int r = stream_fill(s);
	size_t n;

	if (r < 0)
		return r;
	if (!s->in_len)
		return 0;
	if (boundary_due(s)) {
		r = boundary_at(s, blob_now(s), LCM_TOC_START_PLAIN, 0);
		if (r < 0)
			return r;
	}
	n = LCM_MIN(s->in_len, (size_t)SSIZE_MAX);
	if (s->every)
		n = LCM_MIN(
		    n, (size_t)LCM_MIN(s->bound_plain + s->every - s->plain, (uint64_t)SSIZE_MAX));
	s->in += n;
	s->in_len -= n;
	return (ssize_t)n;
}

uint64_t lcm_stream_plain_max(uint64_t blob)
{
	uint64_t max;

	if (__builtin_mul_overflow(blob, LCM_PLAIN_RATIO, &max) ||
	    __builtin_add_overflow(max, LCM_PLAIN_FREE, &max))
		return UINT64_MAX;
	return max;
}

static int plain_count(struct lcm_stream *s, size_t n)
{
	uint64_t max = s->max_plain;

	if (!max)
		max = lcm_stream_plain_max(s->blob);
	s->plain += n;
	if (s->plain <= max)
		return 0;
	s->status = lcm_err_set(
	    &s->err, -EFBIG, "%s layer: unpacks to more than %llu bytes, which is the limit for it",
	    comp_name(s->comp), (unsigned long long)max);
	return s->status;
}

ssize_t lcm_stream_read(struct lcm_stream *s, const void **ret)
{
	const uint8_t *at;
	ssize_t n;
	int r;

	if (s->status < 0)
		return s->status;
	if (s->done)
		return 0;
	window_keep(s);
	s->out_len = 0;
	if (s->comp == LCM_COMP_NONE) {
		n = plain_read(s);
		at = n > 0 ? s->in - n : s->in;
	} else {
		n = s->comp == LCM_COMP_GZIP ? gzip_read(s) : zstd_read(s);
		at = s->out;
	}
	s->out_len = 0;
	s->last_len = n > 0 ? (size_t)n : 0;
	if (n < 0)
		return n;
	if (n == 0) {
		lcm_hasher_final(s->hasher, &s->digest);
		s->done = true;
		return 0;
	}
	r = plain_count(s, (size_t)n);
	if (r < 0)
		return r;
	*ret = at;
	return n;
}

bool lcm_stream_reads_into(const struct lcm_stream *s)
{
	return s->comp != LCM_COMP_NONE && !(s->comp == LCM_COMP_GZIP && s->every);
}

ssize_t lcm_stream_read_into(struct lcm_stream *s, void *buf, size_t cap)
{
	const void *at;
	ssize_t n;

	s->out = buf;
	s->out_cap = cap;
	n = lcm_stream_read(s, &at);
	s->out = s->buf + LCM_TOC_WINDOW;
	s->out_cap = OUT_BYTES;
	return n;
}

void lcm_stream_blob_digest(struct lcm_stream *s, struct lcm_digest *ret, uint64_t *ret_len)
{
	*ret = s->digest;
	*ret_len = s->blob;
}

bool lcm_stream_is_plain(const struct lcm_stream *s)
{
	return s->comp == LCM_COMP_NONE;
}

const struct lcm_err *lcm_stream_err(const struct lcm_stream *s)
{
	return &s->err;
}
