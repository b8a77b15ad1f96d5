/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tar_remote.c - the daemon's half of FN_STREAM: an archive that an isolated function reads.
 *
 * Bytes of the blob are hashed and then shown to the function; the plain bytes it makes are
 * hashed where they lie, and what its records say lies among them is handed to the reader.
 * The rings are freed behind whoever is last. How the two wait for each other is in fn_turn.c.
 */
#include <string.h>

#include "decode/fn_remote.h"
#include "image/toc_format.h"
#include "src/base/sys.h"

#define PIECE_MAX ((uint64_t)512 << 10) /* of a file, at once */

static struct lcm_fn_remote *remote_of(struct lcm_tar *t)
{
	return lcm_container_of(t, struct lcm_fn_remote, base);
}

/* ---- entries ---- */

/* A string of @len bytes and its NUL at *at, none inside. */
static const char *text(const uint8_t **at, const uint8_t *end, size_t len)
{
	const char *s = (const char *)*at;

	if ((size_t)(end - *at) <= len || s[len] || memchr(s, '\0', len))
		return NULL;
	*at += len + 1;
	return s;
}

static bool is_normal(const char *path, size_t len)
{
	size_t n = len;

	/* In place, and it changes nothing when the path is in normal form. */
	return !lcm_tar_path_normal((char *)(uintptr_t)path, &n) && n == len;
}

static bool xattr_ok(const struct lcm_xattr *v, uint32_t n)
{
	const struct lcm_xattr *x = &v[n];

	if (x->name_len < 1 || x->name_len > LCM_NAME_LEN_MAX ||
	    x->value_len > LCM_XATTR_VALUE_MAX || lcm_tar_is_overlay_xattr(x->name))
		return false;
	for (uint32_t i = 0; i < n; i++)
		if (strcmp(v[i].name, x->name) == 0)
			return false;
	return true;
}

static bool xattrs_read(struct lcm_fn_remote *r, const struct fn_entry *w, const uint8_t *at,
			const uint8_t *end)
{
	if (w->n_xattrs > LCM_XATTRS_MAX)
		return false;
	for (uint32_t i = 0; i < w->n_xattrs; i++) {
		struct fn_xattr h;
		const char *name;

		if ((size_t)(end - at) < sizeof(h))
			return false;
		memcpy(&h, at, sizeof(h));
		at += sizeof(h);
		name = text(&at, end, h.name_len);
		if (!name || h.name_len > LCM_NAME_LEN_MAX || h.value_len > (size_t)(end - at))
			return false;
		r->xattrs[i] = (struct lcm_xattr){ .name = name,
						   .name_len = (uint16_t)h.name_len,
						   .value_len = h.value_len,
						   .value = at };
		at += h.value_len;
		if (!xattr_ok(r->xattrs, i))
			return false;
	}
	return true;
}

static bool link_ok(const struct fn_entry *w, const char *link)
{
	switch (w->type) {
	case LCM_TOC_SYMLINK:
		return w->link_len >= 1 && w->link_len <= LCM_TOC_LINK_MAX;
	case LCM_TOC_HARDLINK:
		return w->link_len >= 1 && w->link_len <= LCM_PATH_MAX &&
		       is_normal(link, w->link_len);
	default:
		return w->link_len == 0;
	}
}

static bool numbers_ok(const struct fn_entry *w)
{
	if (w->type < LCM_TOC_DIR || w->type >= LCM_TOC_WHITEOUT || w->mode & ~07777U)
		return false;
	if (w->rdev_major > LCM_TOC_MAJOR_MAX || w->rdev_minor > LCM_TOC_MINOR_MAX)
		return false;
	if (w->prefix >= LCM_TAR_PREFIX_MAX || w->tar_off > INT64_MAX)
		return false;
	return w->uid != UINT32_MAX && w->gid != UINT32_MAX && w->mtime_nsec <= 999999999 &&
	       w->size <= (w->type == LCM_TOC_REG ? (uint64_t)INT64_MAX : 0);
}

/* The record in r->rec as an entry. */
static bool entry_read(struct lcm_fn_remote *r, struct lcm_tar_entry *ret)
{
	const struct fn_entry *w = (const void *)r->rec;
	const uint8_t *at = (const void *)(w + 1), *end = (const uint8_t *)w + w->rec.len;
	const char *path, *link, *slash;

	if (w->rec.len < sizeof(*w) || !numbers_ok(w) || w->path_len > LCM_PATH_MAX)
		return false;
	path = text(&at, end, w->path_len);
	link = path ? text(&at, end, w->link_len) : NULL;
	if (!link || !is_normal(path, w->path_len) || !link_ok(w, link) ||
	    !xattrs_read(r, w, at, end))
		return false;
	slash = strrchr(path, '/');
	*ret = (struct lcm_tar_entry){
		.path = path,
		.path_len = w->path_len,
		.name_off = slash ? (size_t)(slash - path) + 1 : 0,
		.type = (enum lcm_toc_type)w->type,
		.mode = w->mode,
		.uid = w->uid,
		.gid = w->gid,
		.mtime_nsec = w->mtime_nsec,
		.mtime = w->mtime,
		.size = w->size,
		.tar_off = w->tar_off,
		.prefix = (enum lcm_tar_prefix)w->prefix,
		.link = w->link_len ? link : NULL,
		.link_len = w->link_len,
		.rdev_major = w->rdev_major,
		.rdev_minor = w->rdev_minor,
		.xattrs = r->xattrs,
		.n_xattrs = w->n_xattrs,
	};
	return true;
}

/* ---- the archive ---- */

/* The next data record, into r->data. Return: 1, 0 (no more for this file), -errno. */
static int data_next(struct lcm_fn_remote *r, struct lcm_err *err)
{
	int kind = lcm_fn_remote_peek(r, err);
	uint64_t made;

	if (kind != FN_REC_DATA)
		return LCM_MIN(kind, 0);
	lcm_fn_remote_take(r, &r->data, sizeof(r->data));
	made = atomic_load(&r->m->out->plain_head);
	if (r->data.rec.len < sizeof(r->data) || r->data.tar_off < r->piece_end ||
	    r->data.tar_off < r->released || r->data.tar_off > made ||
	    r->data.len > made - r->data.tar_off || made - r->released > FN_PLAIN_RING)
		return lcm_fn_remote_nonsense(r, err);
	return 1;
}

static int data_skip(struct lcm_fn_remote *r, struct lcm_err *err)
{
	int st = 1;

	while (st > 0) {
		if (r->data.len)
			r->piece_end = r->data.tar_off + r->data.len;
		lcm_fn_remote_pass(r, r->piece_end);
		r->data.len = 0;
		st = data_next(r, err);
	}
	return st;
}

static int remote_next(struct lcm_tar *t, struct lcm_tar_entry *ret, struct lcm_err *err)
{
	struct lcm_fn_remote *r = remote_of(t);
	int st = data_skip(r, err), kind;

	if (st < 0)
		return st;
	kind = lcm_fn_remote_peek(r, err);
	if (kind <= 0)
		return kind;
	lcm_fn_remote_take(r, r->rec, FN_REC_MAX);
	return entry_read(r, ret) ? 1 : lcm_fn_remote_nonsense(r, err);
}

static int remote_data(struct lcm_tar *t, struct lcm_tar_piece *ret, struct lcm_err *err)
{
	struct lcm_fn_remote *r = remote_of(t);
	const uint8_t *p;
	uint64_t at, n;
	int st = 1;

	lcm_fn_remote_pass(r, r->piece_end);
	while (st > 0 && !r->data.len)
		st = data_next(r, err);
	if (st <= 0)
		return st;
	at = r->data.tar_off % FN_PLAIN_RING;
	n = LCM_MIN(LCM_MIN(r->data.len, PIECE_MAX), FN_PLAIN_RING - at);
	p = lcm_fn_remote_plain(r) + at;
	if (r->piece)
		p = memcpy(r->piece, p, n);
	*ret = (struct lcm_tar_piece){
		.p = p, .len = n, .off = r->data.off, .tar_off = r->data.tar_off
	};
	r->data.tar_off += n;
	r->data.off += n;
	r->data.len -= n;
	r->piece_end = r->data.tar_off;
	return 1;
}

static int remote_finish(struct lcm_tar *t, struct lcm_digest *ret_diffid, struct lcm_err *err)
{
	struct lcm_fn_remote *r = remote_of(t);
	int st = data_skip(r, err);

	if (st == 0)
		st = lcm_fn_remote_peek(r, err);
	if (st)
		return st < 0 ? st : lcm_fn_remote_nonsense(r, err);
	lcm_hasher_final(r->blob, &r->blob_digest);
	if (r->tar)
		lcm_hasher_final(r->tar, ret_diffid);
	else
		*ret_diffid = r->blob_digest;
	return 0;
}

static void remote_close(struct lcm_tar *t)
{
	struct lcm_fn_remote *r = remote_of(t);

	atomic_store(&r->m->in->stop, 1);
	lcm_hasher_free(r->blob);
	lcm_hasher_free(r->tar);
	lcm_fn_spans_fini(&r->spans);
	free(r->rec);
	free(r->xattrs);
	free(r->piece);
	free(r);
}

static const struct lcm_tar_ops ops = {
	.next = remote_next,
	.data = remote_data,
	.finish = remote_finish,
	.close = remote_close,
};

/* ---- opening ---- */

static int request(struct lcm_fn_remote *r, struct lcm_err *err)
{
	const struct fn_request q = {
		.op = FN_STREAM,
		.stream = { .comp = r->opt.comp,
			    .blob_size = r->opt.blob_size,
			    .every = r->opt.index ? lcm_fn_index_step(r->opt.blob_size) : 0,
			    .in_cap = lcm_fn_mem_ring(r->m),
			    .rec_cap = FN_REC_RING,
			    .plain_cap = FN_PLAIN_RING },
	};
	int st = lcm_fn_bind(r->fn, r->m, err);

	return st < 0 ? st : lcm_fn_send(r->fn, &q, NULL, err);
}

static int remote_alloc(struct lcm_fn_remote *r)
{
	r->blob = lcm_hasher_new();
	r->rec = malloc(FN_REC_MAX);
	r->xattrs = calloc(LCM_XATTRS_MAX, sizeof(*r->xattrs));
	if (r->opt.copy)
		r->piece = malloc(PIECE_MAX);
	if (r->opt.comp != LCM_COMP_NONE)
		r->tar = lcm_hasher_new();
	if (!r->blob || !r->rec || !r->xattrs || (r->opt.copy && !r->piece) ||
	    (r->opt.comp != LCM_COMP_NONE && !r->tar))
		return -ENOMEM;
	return lcm_fn_spans_init(&r->spans, lcm_fn_mem_in(r->m), lcm_fn_mem_ring(r->m), r->opt.toc,
				 r->opt.index);
}

int lcm_fn_stream(struct lcm_fn *fn, struct lcm_fn_mem *m, const struct lcm_fn_stream_opt *opt,
		  struct lcm_tar **ret, struct lcm_err *err)
{
	struct lcm_fn_remote *r = calloc(1, sizeof(*r));
	int st;

	if (!r)
		return -ENOMEM;
	r->base.ops = &ops;
	r->fn = fn;
	r->m = m;
	r->opt = *opt;
	st = remote_alloc(r);
	if (st == 0)
		st = request(r, err);
	if (st < 0) {
		remote_close(&r->base);
		return st;
	}
	*ret = &r->base;
	return 0;
}

void lcm_fn_stream_blob_digest(struct lcm_tar *t, struct lcm_digest *ret, uint64_t *ret_len)
{
	struct lcm_fn_remote *r = remote_of(t);

	*ret = r->blob_digest;
	*ret_len = r->published;
}

bool lcm_fn_stream_indexed(struct lcm_tar *t)
{
	struct lcm_fn_remote *r = remote_of(t);

	return r->spans.index && r->spans.open;
}
