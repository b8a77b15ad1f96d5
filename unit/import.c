/* SPDX-License-Identifier: Apache-2.0 */
/*
 * import.c - a unit from a stream.
 *
 * Beside the data, .tmp/ID/frames gets 48 bytes for each frame that was written: offset, length,
 * digest. An import that goes on reads back what these name and begins after the last that is
 * right; nothing needs to have been synced. Once all has come, and before the data is mounted, the
 * file becomes empty: who goes on then has a new file.
 */
#include <endian.h>
#include <stdio.h>
#include <string.h>
#include <zstd.h>

#include "src/base/buf.h"
#include "src/base/sys.h"
#include "unit/frame.h"
#include "unit/unit_priv.h"

#define FRAMES "frames"
#define STREAM_JSON "stream.json"
#define RECORD 48

struct import {
	struct lcm_units *u;
	struct unit_pool pool;
	struct unit_row row;
	char *json;     /* owned; of the stream's head */
	int in;         /* borrowed */
	int dir;        /* owned; .tmp/ID */
	int data, list; /* owned; what is received, FRAMES */
	uint64_t size, at, frames;
	enum lcm_unit_backend backend;
	char owner[LCM_UUID], name[LCM_UNIT_NAME];
	struct lcm_hash *all;    /* owned */
	uint8_t *plain, *stored; /* owned; LCM_FRAME_PLAIN_MAX, LCM_FRAME_STORED_MAX */
	ZSTD_DCtx *zstd;         /* owned */
	bool locked, begun;
};

/* ---- the head ---- */

static int read_full(int fd, void *p, size_t len)
{
	ssize_t n = lcm_sys_read_full(fd, p, len);

	return n < 0 ? (int)n : (size_t)n < len ? -ENODATA : 0;
}

static int take_json(struct import *m, const json_t *doc, struct lcm_err *err)
{
	json_t *size = lcm_json_member(doc, "size");
	char backend[16];
	int r = unit_json_text(doc, "backend", backend, sizeof(backend));

	if (r == 0)
		r = unit_json_text(doc, "owner", m->owner, sizeof(m->owner));
	if (r == 0)
		r = unit_json_text(doc, "name", m->name, sizeof(m->name));
	if (r == 0 && (!json_is_integer(size) || json_integer_value(size) <= 0 ||
		       lcm_unit_backend_parse(backend, &m->backend) < 0))
		r = -EPROTO;
	if (r < 0)
		return lcm_err_set(err, -EPROTO, "the stream's head does not say what it is of");
	m->size = (uint64_t)json_integer_value(size);
	return unit_size_ok(m->size, err);
}

static int read_head(struct import *m, struct lcm_err *err)
{
	uint8_t head[LCM_FRAME_HEAD];
	struct lcm_digest want, got;
	lcm_autojson json_t *doc = NULL;
	uint32_t len = 0;
	int r = read_full(m->in, head, sizeof(head));

	if (r == 0)
		r = lcm_frame_get_head(head, &len, &want);
	m->json = r < 0 ? NULL : malloc(len + 1);
	if (r == 0)
		r = m->json ? read_full(m->in, m->json, len) : -ENOMEM;
	if (r < 0)
		return lcm_err_set(err, r == -ENODATA ? -EPROTO : r,
				   "this is no stream of a unit, or of a newer locum");
	m->json[len] = '\0';
	r = lcm_digest_of(m->json, len, &got);
	if (r == 0 && !lcm_digest_equal(&got, &want))
		return lcm_err_set(err, -EUCLEAN, "the stream's head is damaged");
	if (r == 0)
		r = lcm_json_parse(m->json, len, LCM_FRAME_JSON_MAX, "the stream's head", &doc,
				   err);
	return r < 0 ? r : take_json(m, doc, err);
}

/* ---- beginning, and going on ---- */

static int open_files(struct import *m, struct lcm_err *err)
{
	int r = m->data = m->pool.ops->receive(m->dir, UNIT_DATA, m->size, m->pool.row.thin, err);

	if (r >= 0)
		r = m->list = lcm_sys_openat(m->dir, FRAMES, O_RDWR | O_CREAT, 0600);
	return LCM_MIN(r, 0);
}

static int begin(struct import *m, const struct lcm_unit_options *o, struct lcm_err *err)
{
	struct lcm_unit_options opt = *o;
	int r = unit_pool_open(m->u, o->pool, &m->pool, err);

	if (r < 0)
		return r;
	if (m->backend != m->pool.row.backend)
		return lcm_err_set(err, -ENOTSUP,
				   "the stream is of a unit of kind %s, pool %s has %s",
				   lcm_unit_backend_name(m->backend), m->pool.row.name,
				   lcm_unit_backend_name(m->pool.row.backend));
	opt.size = m->size;
	opt.owner = o->owner ? o->owner : m->owner;
	opt.name = o->name ? o->name : unit_uuid_ok(m->name) ? NULL : m->name;
	r = unit_begin(m->u, &m->pool, &opt, OP_IMPORT, &m->row, err);
	if (r < 0)
		return r;
	m->locked = m->begun = true;
	r = m->dir = unit_place_begin(&m->pool, &m->row.v, err);
	if (r >= 0)
		r = lcm_write_file_at(m->dir, STREAM_JSON, m->json, strlen(m->json), 0600);
	return r < 0 ? r : open_files(m, err);
}

static bool record_is_right(struct import *m, const uint8_t rec[RECORD], struct lcm_frame *f)
{
	uint64_t n[2];
	struct lcm_digest got;

	memcpy(n, rec, sizeof(n));
	*f = (struct lcm_frame){ .offset = le64toh(n[0]), .type = LCM_FRAME_DATA };
	memcpy(f->digest.b, rec + 16, sizeof(f->digest.b));
	if (le64toh(n[1]) == 0 || le64toh(n[1]) > LCM_FRAME_PLAIN_MAX || f->offset < m->at)
		return false;
	f->plain = (uint32_t)le64toh(n[1]);
	return lcm_sys_pread_full(m->data, m->plain, f->plain, f->offset) == 0 &&
	       lcm_digest_of(m->plain, f->plain, &got) == 0 && lcm_digest_equal(&got, &f->digest);
}

/* Reads back what has come. */
static int prove(struct import *m)
{
	uint8_t rec[RECORD];
	struct lcm_frame f;

	while (lcm_sys_pread_full(m->list, rec, RECORD, m->frames * RECORD) == 0 &&
	       record_is_right(m, rec, &f)) {
		lcm_frame_count(m->all, &f);
		m->at = f.offset + f.plain;
		m->frames++;
	}
	return lcm_sys_ftruncate(m->list, m->frames * RECORD);
}

/* Nothing of what is there is proven: it may be half a unit, with bytes where the stream has none.
 */
static int begin_again(struct import *m, struct lcm_err *err)
{
	int r;

	lcm_closep(&m->data);
	lcm_closep(&m->list);
	r = m->pool.ops->remove(m->dir, UNIT_DATA, err);
	return r < 0 ? r : open_files(m, err);
}

static int go_on(struct import *m, const char *key, struct lcm_err *err)
{
	autohold struct unit_hold h = UNIT_HOLD_NONE;
	lcm_autofree char *json = NULL;
	size_t len;
	int r = unit_lock_row(m->u, key, true, &h, err);

	if (r == 0)
		r = unit_pool_open(m->u, h.row.v.pool, &m->pool, err);
	if (r < 0)
		return r;
	if (strcmp(h.row.v.op, OP_IMPORT) != 0)
		return lcm_err_set(err, -EINVAL, "unit %s is not one whose import was interrupted",
				   h.row.v.name);
	m->row = h.row;
	h.u = NULL; /* its lock is ours */
	m->locked = true;
	r = m->dir = lcm_sys_openat(m->pool.tmp, m->row.v.id, O_RDONLY | O_DIRECTORY | O_NOFOLLOW,
				    0);
	if (r >= 0)
		r = lcm_read_file_at(m->dir, STREAM_JSON, LCM_FRAME_JSON_MAX, &json, &len);
	if (r < 0)
		return lcm_err_set(err, r,
				   "what came of unit %s is lost (%s); delete it and begin "
				   "again",
				   m->row.v.name, strerror(-r));
	if (strcmp(json, m->json) != 0)
		return lcm_err_set(err, -EINVAL, "unit %s was begun from another stream",
				   m->row.v.name);
	r = open_files(m, err);
	if (r == 0)
		r = prove(m);
	return r == 0 && m->frames == 0 ? begin_again(m, err) : r;
}

/* ---- frames ---- */

static int write_frame(struct import *m, const struct lcm_frame *f)
{
	uint8_t rec[RECORD];
	uint64_t n[2] = { htole64(f->offset), htole64(f->plain) };
	int r = lcm_sys_pwrite_full(m->data, m->plain, f->plain, f->offset);

	memcpy(rec, n, sizeof(n));
	memcpy(rec + 16, f->digest.b, sizeof(f->digest.b));
	if (r == 0)
		r = lcm_sys_pwrite_full(m->list, rec, RECORD, m->frames * RECORD);
	if (r < 0)
		return r;
	lcm_frame_count(m->all, f);
	m->at = f->offset + f->plain;
	m->frames++;
	return 0;
}

static int take_data(struct import *m, const struct lcm_frame *f, struct lcm_err *err)
{
	struct lcm_digest got;
	int r = read_full(m->in, m->stored, f->stored);

	if (r < 0)
		return r;
	if (f->offset < m->at)
		return 0; /* it is here already: the sender began earlier */
	if (ZSTD_decompressDCtx(m->zstd, m->plain, LCM_FRAME_PLAIN_MAX, m->stored, f->stored) !=
		f->plain ||
	    lcm_digest_of(m->plain, f->plain, &got) < 0 || !lcm_digest_equal(&got, &f->digest))
		return lcm_err_set(err, -EUCLEAN, "the stream is damaged at byte %llu",
				   (unsigned long long)f->offset);
	r = write_frame(m, f);
	return r < 0 ? lcm_err_set(err, r, "unit %s: %s", m->row.v.name, strerror(-r)) : 0;
}

static int take_end(struct import *m, const struct lcm_frame *f, struct lcm_err *err)
{
	struct lcm_digest got;

	lcm_hash_final(m->all, &got);
	if (f->offset != m->frames || !lcm_digest_equal(&got, &f->digest))
		return lcm_err_set(err, -EUCLEAN,
				   "%llu of %llu frames have come, or not the right ones",
				   (unsigned long long)m->frames, (unsigned long long)f->offset);
	return 1;
}

/* Return: 0 (all is here), -errno. */
static int take_frames(struct import *m, struct lcm_err *err)
{
	/* A subvolume's stream is of commands, not of the unit's own bytes. */
	uint64_t end = m->backend == LCM_UNIT_IMAGE ? m->size : LCM_UNIT_SIZE_MAX;
	uint64_t sent = 0;
	uint8_t head[LCM_FRAME_BYTES];
	struct lcm_frame f;
	int r = 0;

	while (r == 0) {
		r = read_full(m->in, head, sizeof(head));
		if (r == 0 && lcm_frame_get(head, sent, end, &f) < 0)
			return lcm_err_set(err, -EUCLEAN, "the stream is damaged after byte %llu",
					   (unsigned long long)m->at);
		if (r < 0)
			break;
		sent = f.offset;
		r = f.type == LCM_FRAME_END ? take_end(m, &f, err) : take_data(m, &f, err);
	}
	if (r > 0)
		return 0;
	return r == -ENODATA ? lcm_err_set(err, -EIO, "the stream ends early") : r;
}

static int finish(struct import *m, struct lcm_err *err)
{
	int r = m->pool.ops->received(m->dir, UNIT_DATA, m->data, m->size, err);

	/* From here on it is changed, and what has come is proven no more. */
	if (r == 0)
		r = lcm_sys_ftruncate(m->list, 0);
	if (r == 0)
		r = lcm_sys_fsync(m->list);
	if (r == 0)
		r = unit_place_mark(&m->pool, m->dir, &m->row.v, err);
	if (r == 0)
		r = lcm_sys_unlinkat(m->dir, FRAMES, 0);
	if (r == 0)
		r = lcm_sys_unlinkat(m->dir, STREAM_JSON, 0);
	if (r == 0)
		r = lcm_sys_fsync(m->dir);
	if (r == 0)
		r = unit_place_end(&m->pool, m->row.v.id, err);
	return r < 0 ? r : unit_end(m->u, &m->pool, &m->row, false, err);
}

static int import(struct import *m, const struct lcm_unit_options *o, const char *resume,
		  struct lcm_err *err)
{
	int r = read_head(m, err);

	if (r == 0)
		r = resume ? go_on(m, resume, err) : begin(m, o, err);
	if (r < 0)
		return r;
	m->begun = false; /* from here on it may be gone on with */
	r = take_frames(m, err);
	if (r == 0)
		return finish(m, err);
	lcm_ignore(lcm_err_prefix(err, r,
				  "unit %s has what lies before byte %llu; go on with: locum unit "
				  "export --from %llu ... | locum unit import --resume %s",
				  m->row.v.name, (unsigned long long)m->at,
				  (unsigned long long)m->at, m->row.v.name));
	return r;
}

static void import_fini(struct import *m)
{
	if (m->begun) {
		lcm_ignore(unit_place_remove(&m->pool, m->row.v.id, NULL));
		lcm_ignore(unit_db_remove(m->u, m->row.v.seq, NULL));
	}
	if (m->locked)
		unit_unlock(m->u, m->row.v.seq);
	lcm_closep(&m->data);
	lcm_closep(&m->list);
	lcm_closep(&m->dir);
	unit_pool_close(&m->pool);
	lcm_hash_free(m->all);
	(void)ZSTD_freeDCtx(m->zstd);
	free(m->plain);
	free(m->stored);
	free(m->json);
}

int lcm_unit_import(struct lcm_units *u, const struct lcm_unit_options *o, int fd,
		    const char *resume, struct lcm_unit *ret, struct lcm_err *err)
{
	struct import m = { .u = u,
			    .pool = UNIT_POOL_NONE,
			    .in = fd,
			    .dir = -EBADF,
			    .data = -EBADF,
			    .list = -EBADF,
			    .all = lcm_hash_new(),
			    .zstd = ZSTD_createDCtx(),
			    .plain = malloc(LCM_FRAME_PLAIN_MAX),
			    .stored = malloc(LCM_FRAME_STORED_MAX) };
	int r = m.all && m.zstd && m.plain && m.stored ? import(&m, o, resume, err) : -ENOMEM;

	if (r == 0)
		*ret = m.row.v;
	import_fini(&m);
	return r;
}
