/* SPDX-License-Identifier: Apache-2.0 */
#include "src/daemon/index_ztoc.h"

#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>

#include "image/ztoc_write.h"

#define STEP (1U << 20)
#define GZIP_HEADER_MAX (64U << 10)
#define NAME_LEN 64

struct making {
	struct lcm_engine *e;            /* borrowed */
	const struct lcm_layer_row *row; /* borrowed */
	int fd, wake;                    /* wake: owned */
	uint64_t given, plain;
	struct lcm_fn_mem *mem;        /* owned */
	struct lcm_ztoc_writer *w;     /* owned */
	struct lcm_toc_builder *index; /* owned; gets the spans */
	struct lcm_err *err;           /* borrowed */
};

static int fill(void *arg, uint64_t done, uint64_t *ret_until)
{
	struct making *m = arg;
	const uint64_t ring = lcm_fn_mem_ring(m->mem), at = m->given % ring, one = 1;
	uint64_t n = LCM_MIN(LCM_MIN(done + ring - m->given, ring - at),
			     LCM_MIN(m->row->blob_size - m->given, (uint64_t)STEP));
	int r = n ? lcm_sys_pread_full(m->fd, lcm_fn_mem_in(m->mem) + at, n, m->given) : 0;

	if (r < 0)
		return r;
	m->given += n;
	*ret_until = m->given;
	return n ? lcm_sys_write_full(m->wake, &one, sizeof(one)) : 0;
}

/* ---- files ---- */

static int unknown(struct making *m, const struct lcm_tar_entry *e, const char *what)
{
	return lcm_err_set(m->err, -ENOTSUP, "entry '%.200s': %s; zTOCs have no words for it",
			   e->path, what);
}

/* A file of SOCI's is one run of the tar, right behind its headers. */
static int data_check(struct making *m, struct lcm_tar *tar, const struct lcm_tar_entry *e)
{
	struct lcm_tar_piece d;
	uint64_t at = 0;
	int r;

	while ((r = lcm_tar_data(tar, &d, m->err)) > 0) {
		if (d.off != at || d.tar_off != e->tar_off + at)
			return unknown(m, e, "a sparse file");
		at += d.len;
	}
	return r == 0 && at != e->size ? unknown(m, e, "a sparse file") : r;
}

static int file_add(struct making *m, struct lcm_tar *tar, const struct lcm_tar_entry *e)
{
	static const char *const prefixes[] = { [LCM_TAR_PREFIX_NONE] = "",
						[LCM_TAR_PREFIX_DOT] = "./",
						[LCM_TAR_PREFIX_SLASH] = "/" };
	const struct lcm_toc_item it = lcm_tar_item(e);
	int r;

	if (e->prefix == LCM_TAR_PREFIX_OTHER)
		return unknown(m, e, "a path that is not in normal form");
	r = lcm_ztoc_writer_file(m->w, &it, prefixes[e->prefix], e->tar_off, m->err);
	return r == 0 && e->type == LCM_TOC_REG ? data_check(m, tar, e) : r;
}

static int digests_check(struct making *m, struct lcm_tar *tar)
{
	struct lcm_digest diffid, blob;
	uint64_t len;
	int r = lcm_tar_finish(tar, &diffid, m->err);

	if (r < 0)
		return r;
	lcm_fn_stream_blob_digest(tar, &blob, &len);
	if (!lcm_digest_equal(&blob, &m->row->key.blob) ||
	    !lcm_digest_equal(&diffid, &m->row->key.diffid))
		return lcm_err_set(m->err, -EBADMSG, "digest mismatch");
	if (!lcm_fn_stream_indexed(tar))
		return lcm_err_set(m->err, -ENOTSUP, "its stream cannot be entered in the middle");
	return 0;
}

static int stream(struct making *m, struct lcm_fn *fn)
{
	const struct lcm_fn_stream_opt opt = {
		.comp = LCM_COMP_GZIP,
		.blob_size = m->row->blob_size,
		.index = m->index,
		.fill = fill,
		.arg = m,
		.wake_fd = m->wake,
	};
	lcm_auto(lcm_tar) tar = NULL;
	struct lcm_tar_entry e;
	int r = lcm_fn_stream(fn, m->mem, &opt, &tar, m->err);

	while (r == 0) {
		r = lcm_tar_next(tar, &e, m->err);
		if (r == 0)
			return digests_check(m, tar);
		r = r > 0 ? file_add(m, tar, &e) : r;
	}
	return r;
}

/* ---- points ---- */

static int skip_text(const uint8_t *p, size_t len, size_t *at)
{
	const uint8_t *end = *at < len ? memchr(p + *at, '\0', len - *at) : NULL;

	if (!end)
		return -ENOTSUP;
	*at = (size_t)(end - p) + 1;
	return 0;
}

/* Bytes of the gzip header at @off. Source: RFC 1952 section 2.3. */
static int header_len(const struct making *m, uint64_t off, size_t *ret)
{
	lcm_autofree uint8_t *p = malloc(GZIP_HEADER_MAX);
	size_t len = (size_t)LCM_MIN(m->row->blob_size - off, (uint64_t)GZIP_HEADER_MAX), at = 10;
	int r = p ? lcm_sys_pread_full(m->fd, p, len, off) : -ENOMEM;

	if (r < 0)
		return r;
	if (len < at)
		return -EUCLEAN;
	if (p[3] & 4) /* FEXTRA */
		at += len < at + 2 ? len : 2U + p[10] + ((size_t)p[11] << 8);
	if (p[3] & 8) /* FNAME */
		r = skip_text(p, len, &at);
	if (r == 0 && p[3] & 16) /* FCOMMENT */
		r = skip_text(p, len, &at);
	at += p[3] & 2 ? 2 : 0; /* FHCRC */
	if (r < 0 || at >= len)
		return lcm_err_set(m->err, -ENOTSUP, "a gzip header of over %u bytes",
				   GZIP_HEADER_MAX);
	*ret = at;
	return 0;
}

/* Where SOCI begins to inflate for this span: behind a header, never at it. */
static int point_of(const struct making *m, const struct lcm_toc *toc, const struct lcm_toc_span *s,
		    struct lcm_ztoc_point *ret)
{
	size_t head = 0;
	int r = s->start == LCM_TOC_START_MEMBER ? header_len(m, s->blob_off, &head) : 0;

	*ret = (struct lcm_ztoc_point){
		.in = s->blob_off + head + (s->bits ? 1 : 0),
		.out = s->plain_off,
		.bits = s->bits,
		.window = lcm_toc_window(toc, s),
	};
	return r;
}

static int range_digest(const struct making *m, uint64_t from, uint64_t to, struct lcm_digest *ret)
{
	lcm_autofree uint8_t *buf = malloc(STEP);
	struct lcm_hash *h = buf ? lcm_hash_new() : NULL;
	int r = h ? 0 : -ENOMEM;

	while (r == 0 && from < to) {
		size_t n = (size_t)LCM_MIN(to - from, (uint64_t)STEP);

		r = lcm_sys_pread_full(m->fd, buf, n, from);
		lcm_hash_update(h, buf, r < 0 ? 0 : n);
		from += n;
	}
	if (r == 0)
		lcm_hash_final(h, ret);
	lcm_hash_free(h);
	return r;
}

/* The bytes of a point end where those of the next begin to be inflated. */
static int point_write(struct making *m, struct lcm_ztoc_point *p, uint64_t end)
{
	int r = range_digest(m, p->in - (p->bits ? 1 : 0), end, &p->digest);

	return r < 0 ? r : lcm_ztoc_writer_point(m->w, p);
}

static int points(struct making *m, const struct lcm_toc *toc)
{
	struct lcm_ztoc_point p = { 0 }, next;
	uint32_t n = lcm_toc_span_count(toc);
	int r = 0;

	for (uint32_t i = 0; r == 0 && i < n; i++) {
		const struct lcm_toc_span *s = lcm_toc_span(toc, i);

		m->plain = s->plain_off + s->plain_len;
		if (s->start == LCM_TOC_START_CONTINUES)
			continue;
		r = point_of(m, toc, s, &next);
		if (r == 0 && p.in)
			r = point_write(m, &p, next.in);
		p = next;
	}
	return r < 0 ? r : point_write(m, &p, m->row->blob_size);
}

/* ---- the whole ---- */

/* The spans become readable as a TOC file, which nobody else needs. */
static int write_out(struct making *m, struct lcm_buf *out)
{
	const struct lcm_toc_id id = { .blob = m->row->key.blob,
				       .diffid = m->row->key.diffid,
				       .blob_size = m->row->blob_size,
				       .compression = LCM_COMP_GZIP };
	int dir = lcm_store_tmp_fd(m->e->store), r;
	lcm_auto(lcm_toc) toc = NULL;
	char name[NAME_LEN];

	/* Two images may have the layer, and be pushed at the same time. */
	(void)snprintf(name, sizeof(name), "spans-%lld-%llu", (long long)m->row->id,
		       (unsigned long long)lcm_now_ns());
	r = lcm_toc_builder_finish(m->index, &id, dir, name, false, m->err);
	if (r == 0)
		r = lcm_toc_open(dir, name, &toc, m->err);
	lcm_ignore(lcm_sys_unlinkat(dir, name, 0));
	if (r == 0 && !lcm_toc_span_count(toc))
		return lcm_err_set(m->err, -ENOTSUP, "an empty layer");
	if (r == 0)
		r = points(m, toc);
	return r < 0 ? r
		     : lcm_ztoc_writer_finish(m->w, m->row->blob_size, m->plain,
					      lcm_toc_span(toc, 0)->plain_len, out);
}

int lcm_index_ztoc(struct lcm_engine *e, const struct lcm_layer_row *row, int fd,
		   struct lcm_buf *out, struct lcm_err *err)
{
	lcm_autoclose int wake = (int)lcm_errno(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
	lcm_auto(lcm_ztoc_writer) w = NULL;
	lcm_auto(lcm_toc_builder) index = NULL;
	lcm_auto(lcm_fn_mem) mem = NULL;
	struct making m = { .e = e, .row = row, .fd = fd, .wake = wake, .err = err };
	struct lcm_fn *fn = NULL;
	int r = wake < 0 ? wake : lcm_ztoc_writer_new(&w);

	if (r == 0)
		r = lcm_toc_builder_new(&index);
	if (r == 0)
		r = lcm_fn_stream_mem(NULL, &mem);
	m.w = w;
	m.index = index;
	m.mem = mem;
	if (r == 0)
		r = lcm_fn_take(e->fns, (uint64_t)row->id, &fn, err);
	if (r == 0)
		r = stream(&m, fn);
	lcm_fn_put(e->fns, fn);
	return r < 0 ? r : write_out(&m, out);
}
