/* SPDX-License-Identifier: Apache-2.0 */
#include <endian.h>
#include <string.h>

#include "overlay/seal_impl.h"
#include "src/base/limits.h"
#include "src/base/sys.h"

#define OUT_CAP ((size_t)256 << 10)

struct out {
	int fd; /* borrowed */
	uint64_t at, crc;
	size_t len;
	uint8_t buf[OUT_CAP];
};

struct writer {
	struct seal_walk w;
	struct out out;
	uint64_t entries;
};

static int out_flush(struct out *o)
{
	int r = lcm_sys_pwrite_full(o->fd, o->buf, o->len, sizeof(struct seal_header) + o->at);

	o->crc = seal_crc(o->crc, o->buf, o->len);
	o->at += o->len;
	o->len = 0;
	return r;
}

static int out_put(struct out *o, const void *p, size_t len)
{
	int r = o->len + len > sizeof(o->buf) ? out_flush(o) : 0;

	memcpy(o->buf + o->len, p, len);
	o->len += len;
	return r;
}

static int out_end(struct out *o)
{
	struct seal_header h = { .magic = SEAL_MAGIC };
	int r = out_flush(o);

	h.len = htole64(o->at);
	h.checksum = htole64(seal_header_crc(o->crc, &h));
	return r < 0 ? r : lcm_sys_pwrite_full(o->fd, &h, sizeof(h), 0);
}

static int record_put(struct writer *x, int dirfd, const char *dir, const char *name)
{
	char path[LCM_PATH_MAX + 1];
	struct seal_record rec;
	size_t len = strlen(name);
	bool is_dir;
	int r = x->entries++ == LCM_TOC_ENTRIES_MAX ? -EFBIG : seal_take(&x->w, dirfd, name, &rec);

	if (r == 0)
		r = seal_join(dir, name, path, sizeof(path));
	if (r != 0)
		return r;
	is_dir = S_ISDIR(rec.mode);
	rec = (struct seal_record){ .data = htole64(rec.data),
				    .attr = htole64(rec.attr),
				    .size = htole64(rec.size),
				    .mode = htole32(rec.mode),
				    .name_len = htole32((uint32_t)len) };
	r = out_put(&x->out, &rec, sizeof(rec));
	if (r == 0)
		r = out_put(&x->out, name, len);
	if (r == 0 && is_dir)
		r = lcm_buf_add(&x->w.to, path, strlen(path) + 1);
	return r;
}

static int group_put(struct writer *x, int root, const char *dir)
{
	lcm_autoclose int fd = seal_dir(root, dir);
	struct seal_names names = { .n = 0 };
	uint32_t n;
	int r = fd < 0 ? fd : seal_names_get(fd, &names);

	n = htole32((uint32_t)names.n);
	if (r == 0)
		r = out_put(&x->out, &n, sizeof(n));
	for (size_t i = 0; i < names.n && r == 0; i++)
		r = record_put(x, fd, dir, names.v[i]);
	seal_names_fini(&names);
	return r;
}

static int tree_put(struct writer *x, int root)
{
	const uint32_t one = htole32(1);
	char dir[LCM_PATH_MAX + 1];
	int r = out_put(&x->out, &one, sizeof(one));

	if (r == 0)
		r = record_put(x, root, "", "");
	while (r == 0 && x->w.next < x->w.to.len) {
		size_t len = strlen(x->w.to.data + x->w.next) + 1;

		memcpy(dir, x->w.to.data + x->w.next, len); /* the queue may move */
		x->w.next += len;
		r = group_put(x, root, dir);
	}
	return r == 0 ? out_end(&x->out) : r;
}

int lcm_seal_write(int dirfd, int fd, const struct lcm_seal_ops *ops, struct lcm_seal_result *ret,
		   struct lcm_err *err)
{
	lcm_autofree struct writer *x = calloc(1, sizeof(*x));
	int r;

	if (!x)
		return -ENOMEM;
	x->out.fd = fd;
	r = seal_walk_init(&x->w, ops, false);
	if (r == 0)
		r = tree_put(x, dirfd);
	*ret = x->w.result;
	seal_walk_fini(&x->w);
	return r < 0 ? lcm_err_set(err, r, "the layer cannot be sealed: %s", strerror(-r)) : r;
}
