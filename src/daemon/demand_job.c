/* SPDX-License-Identifier: Apache-2.0 */
/* demand_job.c - a span in the pool: verify, decode, place. */
#include <string.h>

#include "src/daemon/demand_priv.h"

/* The compressed bytes of a chunk in spans that have digests. Return: 1 they are good, 0 there is
 * nothing to tell by, -EBADMSG. */
static int spans_verified(struct span *s, const struct lcm_toc_chunk *c)
{
	const struct lcm_toc *toc = s->layer->toc;
	uint32_t n = c->span == LCM_TOC_NONE ? 0 : lcm_toc_chunk_spans(toc, c);

	for (uint32_t i = 0; i < n; i++) {
		const struct lcm_toc_span *p = lcm_toc_span(toc, c->span + i);
		struct lcm_digest is;
		int r;

		if (lcm_digest_is_zero(&p->digest))
			return 0;
		r = lcm_digest_of(s->buf + (p->blob_off - s->off), p->blob_len, &is);
		if (r < 0)
			return r;
		if (!lcm_digest_equal(&is, &p->digest))
			return -EBADMSG;
	}
	return n > 0;
}

static int function_get(struct span *s)
{
	struct lcm_layer *l = s->layer;
	int r;

	if (s->fn)
		return 0;
	r = lcm_fn_take(l->e->fns, (uint64_t)l->row.id, &s->fn, &s->err);
	return r < 0 ? r : lcm_fn_bind(s->fn, s->mem, &s->err);
}

static int decode_chunk(struct span *s, const struct lcm_toc_chunk *c, uint8_t *out)
{
	const struct lcm_toc *toc = s->layer->toc;
	struct lcm_fn_unit u = {
		.comp = s->layer->comp,
		.in_off = c->blob_off - s->off,
		.in_len = c->blob_len,
		.skip = c->skip,
		.len = c->file_len,
	};
	int r;

	if (u.comp == LCM_COMP_NONE) { /* there is nothing to decode */
		if (u.skip > u.in_len || u.len > u.in_len - u.skip)
			return -EBADMSG;
		memcpy(out, s->buf + u.in_off + u.skip, u.len);
		return 0;
	}
	if (c->span != LCM_TOC_NONE) {
		const struct lcm_toc_span *p = lcm_toc_span(toc, c->span);

		u.start = (enum lcm_toc_start)p->start;
		u.bits = p->bits;
		u.window = lcm_toc_window(toc, p);
	}
	r = function_get(s);
	return r < 0 ? r : lcm_fn_unit(s->fn, &u, out, &s->err);
}

static int write_chunk(struct span *s, struct lcm_want *w, const struct lcm_toc_chunk *c,
		       uint8_t *out, int fd)
{
	const struct lcm_toc_entry *e = lcm_toc_entry(s->layer->toc, w->entry);
	const struct lcm_digest *want = lcm_digest_is_zero(&c->digest) && e->n_chunks == 1
					    ? &e->digest
					    : &c->digest;
	uint64_t t0 = lcm_now_ns(), t1;
	struct lcm_digest is;
	int r, good;

	if (c->flags & LCM_TOC_CHUNK_ZEROS)
		return 0;
	good = spans_verified(s, c);
	if (good < 0)
		return good;
	r = decode_chunk(s, c, out);
	if (r < 0)
		return r;
	w->cost.decoded_bytes += c->blob_len;
	if (!lcm_digest_is_zero(want)) {
		r = lcm_digest_of(out, c->file_len, &is);
		if (r == 0 && !lcm_digest_equal(&is, want))
			r = -EBADMSG;
	} else if (!good) {
		r = -EBADMSG;
	}
	t1 = lcm_now_ns();
	w->cost.decode_ns += t1 - t0;
	if (r == 0)
		r = lcm_sys_pwrite_full(fd, out, c->file_len, c->file_off);
	w->cost.write_ns += lcm_now_ns() - t1;
	w->cost.written_bytes += r == 0 ? c->file_len : 0;
	return r;
}

static int write_chunks(struct span *s, struct lcm_want *w, int fd)
{
	lcm_autofree uint8_t *out = NULL;
	uint64_t max = 1;
	int r = 0;

	for (uint32_t i = 0; i < w->n; i++) {
		const struct lcm_toc_chunk *c = lcm_toc_chunk(s->layer->toc, w->first + i);

		if (!(c->flags & LCM_TOC_CHUNK_ZEROS))
			max = LCM_MAX(max, c->file_len);
	}
	out = malloc(max);
	if (!out)
		return -ENOMEM;
	for (uint32_t i = 0; i < w->n && r == 0; i++)
		r = write_chunk(s, w, lcm_toc_chunk(s->layer->toc, w->first + i), out, fd);
	return r;
}

static int place_file(struct span *s, struct lcm_want *w)
{
	struct lcm_layer *l = s->layer;
	lcm_autoclose int fd = -EBADF;
	char tmp[64];
	int r;

	if (lcm_layer_is_local(l, w->entry))
		return 0;
	fd = lcm_layer_tmp(l->dir, l->toc, w->entry, tmp);
	if (fd < 0)
		return fd;
	r = lcm_sys_ftruncate(fd, lcm_toc_entry(l->toc, w->entry)->size);
	if (r == 0)
		r = write_chunks(s, w, fd);
	if (r < 0) {
		if (tmp[0])
			lcm_ignore(lcm_sys_unlinkat(lcm_store_tmp_fd(l->e->store), tmp, 0));
		return r;
	}
	r = lcm_layer_place(l->dir, l->toc, w->entry, fd, tmp, NULL);
	if (r < 0 && r != -EEXIST)
		return r;
	lcm_layer_mark_local(l, w->entry);
	return 0;
}

/* Wants first, since somebody waits for them; then the blob file, so that the pull finds the bytes.
 */
void demand_span_job(void *arg)
{
	struct span *s = arg;

	for (uint32_t i = 0; i < s->n_runs && s->status == 0; i++)
		if (s->runs[i].present)
			s->status = lcm_blob_read(s->layer->blob, s->runs[i].off,
						  s->buf + (s->runs[i].off - s->off),
						  s->runs[i].len);
	for (struct lcm_want *w = s->wants; w; w = w->next)
		w->status = s->status    ? s->status
			    : w->fd >= 0 ? write_chunks(s, w, w->fd)
					 : place_file(s, w);
	lcm_fn_put(s->layer->e->fns, s->fn);
	for (uint32_t i = 0; i < s->n_runs && s->status == 0; i++)
		if (!s->runs[i].present)
			lcm_ignore(lcm_blob_write(s->layer->blob, s->runs[i].off,
						  s->buf + (s->runs[i].off - s->off),
						  s->runs[i].len));
	s->task.fn = demand_span_done;
	lcm_loop_post_task(s->layer->e->loop, &s->task);
}
