/* SPDX-License-Identifier: Apache-2.0 */
/* layer_verify.c - is a file of REAL that was never synced still what its TOC says? */
#include <stdlib.h>
#include <string.h>

#include "overlay/layer_dir.h"
#include "src/base/sys.h"

#define READ_BYTES ((size_t)256 << 10)

/* Bytes [@off, @off + @len) of @fd have this digest. */
static int range_same(int fd, uint64_t off, uint64_t len, const struct lcm_digest *want,
		      struct lcm_hash *h, uint8_t *buf)
{
	struct lcm_digest is;

	lcm_hash_reset(h);
	while (len) {
		size_t n = (size_t)LCM_MIN(len, (uint64_t)READ_BYTES);
		int r = lcm_sys_pread_full(fd, buf, n, off);

		if (r < 0)
			return r;
		lcm_hash_update(h, buf, n);
		off += n;
		len -= n;
	}
	lcm_hash_final(h, &is);
	return lcm_digest_equal(&is, want) ? 0 : -EBADMSG;
}

static int content_same(int fd, const struct lcm_toc *toc, const struct lcm_toc_entry *e)
{
	lcm_auto(lcm_hash) h = lcm_hash_new();
	lcm_autofree uint8_t *buf = malloc(READ_BYTES);
	int r = 0;

	if (!h || !buf)
		return -ENOMEM;
	if (!lcm_digest_is_zero(&e->digest))
		return range_same(fd, 0, e->size, &e->digest, h, buf);
	for (uint32_t i = 0; r == 0 && i < e->n_chunks; i++) {
		const struct lcm_toc_chunk *c = lcm_toc_chunk(toc, e->first_chunk + i);

		r = lcm_digest_is_zero(&c->digest)
			? -ENODATA
			: range_same(fd, c->file_off, c->file_len, &c->digest, h, buf);
	}
	return r < 0 ? r : e->n_chunks ? 0 : -ENODATA;
}

int lcm_layer_verify(struct lcm_layer_dir *d, const struct lcm_toc *toc, uint32_t entry)
{
	const struct lcm_toc_entry *e = lcm_toc_entry(toc, entry);
	lcm_autofree struct lcm_xattr *xattrs = NULL;
	lcm_autoclose int fd = lcm_layer_open_file(d, toc, entry);
	struct lcm_layer_attr a;
	struct stat st;
	int r = fd < 0 ? fd : lcm_sys_fstat(fd, &st);

	if (r < 0)
		return r == -ENOENT || r == -ENOTDIR ? 0 : r;
	if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size != e->size)
		return -EBADMSG;
	r = content_same(fd, toc, e);
	if (r == 0)
		r = lcm_layer_attr_of(toc, e, &a, &xattrs);
	if (r == 0)
		r = lcm_layer_attr_set(fd, &a, "", NULL);
	return r < 0 ? r : 1;
}

int lcm_layer_unplace(struct lcm_layer_dir *d, const struct lcm_toc *toc, uint32_t entry)
{
	lcm_autoclose int dirfd = -EBADF;
	char path[LCM_PATH_MAX + 1];
	const char *slash;
	int r = lcm_toc_path(toc, entry, path, sizeof(path));

	if (r < 0)
		return r;
	slash = strrchr(path, '/');
	dirfd = lcm_layer_parent(d, path, slash ? (size_t)(slash - path) : 0, NULL);
	return dirfd < 0 ? dirfd : lcm_rmtree_at(dirfd, slash ? slash + 1 : path);
}
