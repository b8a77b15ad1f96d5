/* SPDX-License-Identifier: Apache-2.0 */
#include "decode/unit.h"

#include <isa-l/igzip_lib.h>
#include <pthread.h>
#include <string.h>
#include <zstd.h>
#include <zstd_errors.h>

#define SCRATCH ((size_t)256 << 10) /* where bytes that nobody wants go */
#define TRAILER 8                   /* RFC 1952: CRC32, ISIZE */

/* Kept for the thread's life. */
struct tools {
	ZSTD_DCtx *zstd;               /* owned */
	struct inflate_state *inflate; /* owned */
	uint8_t *scratch;              /* owned */
};

static pthread_once_t tools_once = PTHREAD_ONCE_INIT;
static pthread_key_t tools_key;
static int tools_key_status;

static void tools_free(void *p)
{
	struct tools *t = p;

	ZSTD_freeDCtx(t->zstd);
	free(t->inflate);
	free(t->scratch);
	free(t);
}

static void tools_key_make(void)
{
	tools_key_status = -pthread_key_create(&tools_key, tools_free);
}

static struct tools *tools_get(void)
{
	struct tools *t;

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
	t->scratch = malloc(SCRATCH);
	if (!t->zstd || !t->inflate || !t->scratch ||
	    ZSTD_isError(
		ZSTD_DCtx_setParameter(t->zstd, ZSTD_d_windowLogMax, LCM_ZSTD_WINDOW_LOG_MAX)) ||
	    pthread_setspecific(tools_key, t) != 0) {
		tools_free(t);
		return NULL;
	}
	return t;
}

/* Where the next plain bytes go: nowhere while there is something to skip, then to @out. */
struct sink {
	uint8_t *scratch, *out;
	uint64_t skip, len; /* left */
};

static uint8_t *sink_room(const struct sink *s, size_t *ret)
{
	*ret = (size_t)(s->skip ? LCM_MIN(s->skip, (uint64_t)SCRATCH)
				: LCM_MIN(s->len, (uint64_t)1 << 30));
	return s->skip ? s->scratch : s->out;
}

static void sink_had(struct sink *s, size_t n)
{
	if (s->skip) {
		s->skip -= n;
		return;
	}
	s->out += n;
	s->len -= n;
}

/* ---- gzip ---- */

/* What is left of the input, less what the inflater has taken in advance. */
static void input_set(struct inflate_state *z, const uint8_t *p, const uint8_t *end)
{
	z->next_in = (uint8_t *)(uintptr_t)p;
	z->avail_in = (uint32_t)(end - p);
}

/* Decodes to the end of the member or until the sink is full. */
static int member(struct inflate_state *z, struct sink *s)
{
	while (s->len && z->block_state != ISAL_BLOCK_FINISH) {
		uint32_t had = z->avail_in;
		size_t room;
		int r;

		z->next_out = sink_room(s, &room);
		z->avail_out = (uint32_t)room;
		r = isal_inflate(z);
		if (r != ISAL_DECOMP_OK && r != ISAL_END_INPUT)
			return -EUCLEAN;
		room -= z->avail_out;
		sink_had(s, room);
		if (!room && z->avail_in == had && z->block_state != ISAL_BLOCK_FINISH)
			return -EBADMSG;
	}
	return 0;
}

/* Begins in the middle of a member. Return: 0, with *@p behind that member, or -errno. */
static int deflate(struct inflate_state *z, const struct lcm_unit *u, struct sink *s,
		   const uint8_t **p, const uint8_t *end)
{
	int r;

	isal_inflate_init(z);
	z->crc_flag = ISAL_DEFLATE;
	if (u->window &&
	    isal_inflate_set_dict(z, (uint8_t *)(uintptr_t)u->window, LCM_TOC_WINDOW) != 0)
		return -EUCLEAN;
	if (u->bits) {
		z->read_in = *(*p)++ >> (8 - u->bits);
		z->read_in_length = (int32_t)u->bits;
	}
	input_set(z, *p, end);
	r = member(z, s);
	if (r < 0 || !s->len)
		return r;
	*p = z->next_in - z->read_in_length / 8;
	if (end - *p < TRAILER)
		return -EBADMSG;
	*p += TRAILER;
	return 0;
}

static int unit_gzip(struct tools *t, const struct lcm_unit *u, struct sink *s)
{
	struct inflate_state *z = t->inflate;
	const uint8_t *p = u->in, *end = p + u->in_len;
	int r = 0;

	if (u->in_len > UINT32_MAX || !u->in_len || u->bits > 7)
		return -EUCLEAN;
	if (u->start == LCM_TOC_START_DEFLATE)
		r = deflate(z, u, s, &p, end);
	while (r == 0 && s->len) {
		if (p == end)
			return -EBADMSG;
		isal_inflate_init(z);
		z->crc_flag = ISAL_GZIP;
		input_set(z, p, end);
		r = member(z, s);
		p = z->next_in;
	}
	return r;
}

/* ---- zstd, plain ---- */

static int unit_zstd(struct tools *t, const struct lcm_unit *u, struct sink *s)
{
	ZSTD_inBuffer in = { .src = u->in, .size = u->in_len };

	(void)ZSTD_DCtx_reset(t->zstd, ZSTD_reset_session_only);
	while (s->len) {
		ZSTD_outBuffer out = { 0 };
		size_t was = in.pos, z;

		out.dst = sink_room(s, &out.size);
		z = ZSTD_decompressStream(t->zstd, &out, &in);
		if (ZSTD_isError(z))
			return ZSTD_getErrorCode(z) == ZSTD_error_memory_allocation ? -ENOMEM
										    : -EUCLEAN;
		sink_had(s, out.pos);
		if (!out.pos && in.pos == was)
			return -EBADMSG;
	}
	return 0;
}

static int unit_plain(const struct lcm_unit *u, void *out)
{
	if (u->skip > u->in_len || u->len > u->in_len - u->skip)
		return -EBADMSG;
	memcpy(out, (const uint8_t *)u->in + u->skip, u->len);
	return 0;
}

int lcm_unit_decode(const struct lcm_unit *u, void *out)
{
	struct tools *t;
	struct sink s;

	if (!u->len)
		return 0;
	if (u->comp == LCM_COMP_NONE)
		return unit_plain(u, out);
	t = tools_get();
	if (!t)
		return -ENOMEM;
	s = (struct sink){ .scratch = t->scratch, .out = out, .skip = u->skip, .len = u->len };
	return u->comp == LCM_COMP_GZIP ? unit_gzip(t, u, &s) : unit_zstd(t, u, &s);
}
