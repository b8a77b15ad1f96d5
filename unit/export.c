/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>
#include <zstd.h>

#include "src/base/sys.h"
#include "unit/frame.h"
#include "unit/unit_priv.h"

#define ZSTD_LEVEL 3 /* the default: some 400 MB/s of plain bytes on one core */

struct export
{
	int fd;
	uint64_t from, frames;
	struct lcm_hash *all; /* owned; of all offsets and digests */
	ZSTD_CCtx *zstd;      /* owned */
	uint8_t *out;         /* owned; LCM_FRAME_STORED_MAX */
	bool broken;          /* the error is of @fd */
};

static int write_frame(struct export *x, const struct lcm_frame *f)
{
	uint8_t head[LCM_FRAME_BYTES];
	int r;

	lcm_frame_put(head, f);
	r = lcm_sys_write_full(x->fd, head, sizeof(head));
	if (r == 0 && f->stored)
		r = lcm_sys_write_full(x->fd, x->out, f->stored);
	x->broken = r < 0;
	return r;
}

static int on_bytes(void *arg, uint64_t offset, const void *p, size_t len)
{
	struct export *x = arg;
	struct lcm_frame f = { .type = LCM_FRAME_DATA, .plain = (uint32_t)len, .offset = offset };
	size_t stored;
	int r = lcm_digest_of(p, len, &f.digest);

	if (r < 0)
		return r;
	lcm_frame_count(x->all, &f);
	x->frames++;
	if (offset < x->from)
		return 0;
	stored = ZSTD_compressCCtx(x->zstd, x->out, LCM_FRAME_STORED_MAX, p, len, ZSTD_LEVEL);
	if (ZSTD_isError(stored))
		return -ENOMEM;
	f.stored = (uint32_t)stored;
	return write_frame(x, &f);
}

static int write_head(struct export *x, const struct unit_hold *h, const struct snap_row *s)
{
	const struct lcm_unit *v = &h->row.v;
	json_t *doc = json_pack(
	    "{s:s s:I s:s s:s s:s s:s s:I}", "backend", lcm_unit_backend_name(h->pool.row.backend),
	    "size", (json_int_t)s->v.size, "unit", v->id, "owner", v->owner, "name", v->name,
	    "snapshot", s->v.name, "created_ns", (json_int_t)s->v.created_ns);
	lcm_autofree char *text = json_dumps(doc, JSON_COMPACT | JSON_SORT_KEYS);
	uint8_t head[LCM_FRAME_HEAD];
	struct lcm_digest d;
	int r = text ? lcm_digest_of(text, strlen(text), &d) : -ENOMEM;

	json_decref(doc);
	if (r < 0)
		return r;
	lcm_frame_put_head(head, (uint32_t)strlen(text), &d);
	r = lcm_sys_write_full(x->fd, head, sizeof(head));
	if (r == 0)
		r = lcm_sys_write_full(x->fd, text, strlen(text));
	x->broken = r < 0;
	return r;
}

static int write_all(struct export *x, const struct unit_hold *h, const struct snap_row *s,
		     struct lcm_err *err)
{
	struct lcm_frame end = { .type = LCM_FRAME_END };
	int r = write_head(x, h, s);

	if (r == 0)
		r = h->pool.ops->send(h->dir, unit_snap_object(s->v.name).s, on_bytes, x, err);
	if (r < 0)
		return r;
	lcm_hash_final(x->all, &end.digest);
	end.offset = x->frames;
	return write_frame(x, &end);
}

int lcm_unit_export(struct lcm_units *u, const char *key, const char *snap, uint64_t from, int fd,
		    struct lcm_err *err)
{
	autohold struct unit_hold h = UNIT_HOLD_NONE;
	struct export x = { .fd = fd, .from = from };
	struct snap_row s;
	int r = unit_hold(u, key, &h, err);

	if (r == 0)
		r = unit_snap_get(&h, snap, &s, err);
	if (r < 0)
		return r;
	x.all = lcm_hash_new();
	x.zstd = ZSTD_createCCtx();
	x.out = malloc(LCM_FRAME_STORED_MAX);
	r = x.all && x.zstd && x.out ? write_all(&x, &h, &s, err) : -ENOMEM;
	if (x.broken)
		r = lcm_err_set(err, r, "the stream cannot be written: %s", strerror(-r));
	lcm_hash_free(x.all);
	(void)ZSTD_freeCCtx(x.zstd);
	free(x.out);
	return r;
}
