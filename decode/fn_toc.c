/* SPDX-License-Identifier: Apache-2.0 */
/* fn_toc.c - tables of contents, both halves: the function parses and sorts, the daemon writes the
 * file as it comes. */
#include <poll.h>
#include <string.h>

#include "decode/fn_host.h"
#include "decode/fn_serve.h"
#include "image/ztoc.h"
#include "src/base/sys.h"

/* ---- the function ---- */

struct making {
	struct lcm_fn_side *f; /* borrowed */
	uint64_t cap, pos;     /* of the ring */
	uint8_t *head;         /* borrowed */
};

static uint64_t making_room(const struct making *m)
{
	return m->cap - (m->pos - atomic_load(&m->f->in->plain_tail));
}

static bool making_ready(void *arg)
{
	return making_room(arg) > 0;
}

static int making_add(void *arg, const void *p, size_t len)
{
	struct making *m = arg;
	const uint8_t *at = p;

	while (len) {
		uint64_t off = m->pos % m->cap;
		size_t n;

		if (!making_ready(m))
			lcm_fn_side_wait(m->f, making_ready, m);
		n = (size_t)LCM_MIN(LCM_MIN(making_room(m), m->cap - off), (uint64_t)len);
		memcpy(lcm_fn_side_out(m->f) + off, at, n);
		at += n;
		len -= n;
		m->pos += n;
		atomic_store(&m->f->out->plain_head, m->pos);
		lcm_fn_side_kick(m->f);
	}
	return 0;
}

static int making_head(void *arg, const void *p, size_t len)
{
	struct making *m = arg;

	memcpy(m->head, p, len);
	return 0;
}

static int parse(const struct lcm_fn_side *f, const struct lcm_fn_toc *t, struct lcm_toc_builder *b,
		 struct lcm_err *err)
{
	switch (t->kind) {
	case LCM_FN_TOC_CHUNKED:
		return lcm_chunked_parse(&t->chunked, lcm_fn_side_in(f), t->len, t->id.blob_size, b,
					 err);
	case LCM_FN_TOC_ESTARGZ:
		return lcm_estargz_parse(&t->estargz, lcm_fn_side_in(f), t->len, b, err);
	case LCM_FN_TOC_ZTOC:
		return lcm_ztoc_parse(lcm_fn_side_in(f), t->len, &t->id, b, err);
	default:
		return -EINVAL;
	}
}

void lcm_fn_side_toc(struct lcm_fn_side *f, const struct fn_toc *q, struct fn_reply *ret)
{
	struct making m = { .f = f, .cap = q->out_cap, .head = ret->head };
	const struct lcm_toc_sink sink = { making_add, making_head, &m };
	lcm_auto(lcm_toc_builder) b = NULL;
	struct lcm_err err = { 0 };

	if (q->t.len > f->in_size - FN_PAGE || !m.cap || m.cap > f->out_size - FN_PAGE) {
		ret->status = -EINVAL;
		return;
	}
	ret->status = lcm_toc_builder_new(&b);
	if (ret->status == 0)
		ret->status = parse(f, &q->t, b, &err);
	if (ret->status == 0)
		ret->status = lcm_toc_builder_write(b, &q->t.id, &sink, &err);
	ret->total = m.pos;
	memccpy(ret->msg, err.msg, '\0', sizeof(ret->msg) - 1);
}

/* ---- the daemon ---- */

/* Parsing gives nothing before it is done: a million entries take some seconds under load. */
#define PATIENCE 3U

/* Whatever can be in a TOC file: see limits.h. */
#define FILE_MAX                                                                                   \
	((uint64_t)LCM_TOC_ENTRIES_MAX * sizeof(struct lcm_toc_entry) +                            \
	 (uint64_t)LCM_TOC_CHUNKS_MAX * sizeof(struct lcm_toc_chunk) + 2ULL * UINT32_MAX +         \
	 LCM_TOC_WINDOWS_MAX)

struct taking {
	struct lcm_fn *fn;        /* borrowed */
	struct lcm_toc_sink sink; /* the file */
	uint64_t pos;
	struct fn_reply reply;
};

/* What the ring has. Return: 1 when there was something, 0, -errno. */
static int take_ring(struct taking *t, struct lcm_err *err)
{
	const struct lcm_fn_mem *m = t->fn->mem;
	uint64_t head = atomic_load(&m->out->plain_head), was = t->pos;

	if (head < t->pos || head - t->pos > LCM_FN_TOC_OUT || head > FILE_MAX)
		return lcm_fn_broke(t->fn, err, "returned malformed results");
	while (t->pos < head) {
		uint64_t off = t->pos % LCM_FN_TOC_OUT;
		uint64_t n = LCM_MIN(head - t->pos, LCM_FN_TOC_OUT - off);
		int r = t->sink.add(t->sink.arg, (const uint8_t *)m->out + FN_PAGE + off,
				    (size_t)n);

		if (r < 0)
			return lcm_err_set(err, r, "TOC file: %s", strerror(-r));
		t->pos += n;
		atomic_store(&m->in->plain_tail, t->pos);
	}
	lcm_fn_kick(t->fn);
	return t->pos != was;
}

static void take_sleep(struct taking *t, uint64_t end)
{
	struct pollfd pf = { .fd = t->fn->sock, .events = POLLIN };
	uint64_t now = lcm_now_ns();

	atomic_fetch_add(&t->fn->mem->in->waits, 1);
	if (atomic_load(&t->fn->mem->out->plain_head) == t->pos && now < end)
		(void)poll(&pf, 1, (int)((end - now) / 1000000) + 1);
	atomic_fetch_add(&t->fn->mem->in->waits, 1);
}

static int take_all(struct taking *t, struct lcm_err *err)
{
	uint64_t end = lcm_now_ns() + PATIENCE * t->fn->hang_ns;
	int r, answered;

	for (;;) {
		answered = lcm_fn_receive(t->fn, &t->reply, err);
		if (answered < 0)
			return answered;
		r = take_ring(t, err);
		if (r < 0)
			return r;
		if (answered)
			break;
		if (r)
			end = lcm_now_ns() + PATIENCE * t->fn->hang_ns;
		else if (lcm_now_ns() >= end)
			return lcm_fn_broke(t->fn, err, "hung");
		else
			take_sleep(t, end);
	}
	r = lcm_fn_status(&t->reply, err);
	if (r < 0)
		return r;
	if (t->reply.op != FN_TOC || t->reply.total != t->pos)
		return lcm_fn_broke(t->fn, err, "returned malformed results");
	return t->sink.head(t->sink.arg, t->reply.head, sizeof(t->reply.head));
}

int lcm_fn_toc(struct lcm_fn *fn, const struct lcm_fn_toc *toc, int dirfd, const char *name,
	       struct lcm_err *err)
{
	const struct fn_request q = { .op = FN_TOC,
				      .toc = { .out_cap = LCM_FN_TOC_OUT, .t = *toc } };
	struct taking t = { .fn = fn };
	char tmp[LCM_TOC_TMP_MAX];
	int fd = -EBADF, r;

	if (fn->mem->out_size - FN_PAGE < LCM_FN_TOC_OUT)
		return -EINVAL;
	r = lcm_toc_file_begin(dirfd, name, tmp, &t.sink, &fd);
	if (r == 0)
		r = lcm_fn_send(fn, &q, NULL, err);
	if (r == 0)
		r = take_all(&t, err);
	return lcm_toc_file_end(dirfd, name, tmp, &fd, r, false);
}
