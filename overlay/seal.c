/* SPDX-License-Identifier: Apache-2.0 */
/* seal.c - what a seal says of one file or directory. */
#include <endian.h>
#include <isa-l/crc64.h>
#include <isa-l/mem_routines.h>
#include <limits.h>
#include <linux/limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "overlay/seal_impl.h"
#include "src/base/limits.h"
#include "src/base/sys.h"

/* As large as all layers' names of directories may be together. */
#define QUEUE_MAX ((size_t)1 << 30)

int seal_walk_init(struct seal_walk *w, const struct lcm_seal_ops *ops, bool direct)
{
	static const struct lcm_seal_ops none;

	*w = (struct seal_walk){ .ops = ops ? ops : &none,
				 .direct = direct,
				 .block = aligned_alloc(4096, SEAL_BLOCK),
				 .list = malloc(XATTR_LIST_MAX),
				 .value = malloc(XATTR_SIZE_MAX),
				 .to = LCM_BUF(QUEUE_MAX) };
	return w->block && w->list && w->value ? 0 : -ENOMEM;
}

void seal_walk_fini(struct seal_walk *w)
{
	free(w->block);
	free(w->list);
	free(w->value);
	lcm_buf_fini(&w->to);
}

int seal_checkpoint(struct seal_walk *w)
{
	return w->ops->checkpoint ? w->ops->checkpoint(w->ops->arg) : 0;
}

uint64_t seal_crc(uint64_t crc, const void *p, size_t len)
{
	return crc64_ecma_refl(crc, p, len);
}

uint64_t seal_header_crc(uint64_t crc, const struct seal_header *h)
{
	struct seal_header plain = *h;

	plain.checksum = 0;
	return seal_crc(crc, &plain, sizeof(plain));
}

/* ---- attributes ---- */

/* What a security module or the kernel writes by itself is not the layer's. */
static bool xattr_counts(const char *name)
{
	return strncmp(name, "security.", 9) != 0 || strcmp(name, "security.capability") == 0;
}

/* Their order in the list means nothing, so that their sums are added. */
static int xattrs_sum(struct seal_walk *w, const char *path, uint64_t *ret)
{
	ssize_t len = lcm_sys_listxattr(path, w->list, XATTR_LIST_MAX), n;

	*ret = 0;
	if (len < 0)
		return len == -ENOTSUP ? 0 : (int)len;
	for (const char *x = w->list; x < w->list + len; x += strlen(x) + 1) {
		if (!xattr_counts(x))
			continue;
		n = lcm_sys_getxattr(path, x, w->value, XATTR_SIZE_MAX);
		if (n < 0)
			return (int)n;
		*ret += seal_crc(seal_crc(0, x, strlen(x) + 1), w->value, (size_t)n);
	}
	return 0;
}

static int attr_sum(struct seal_walk *w, int fd, const struct stat *st, uint64_t *ret)
{
	char path[32];
	uint64_t words[6] = { 0 };
	int r;

	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	r = xattrs_sum(w, path, &words[0]);
	words[1] = htole64(st->st_uid);
	words[2] = htole64(st->st_gid);
	words[3] = htole64((uint64_t)st->st_mtim.tv_sec);
	words[4] = htole64((uint64_t)st->st_mtim.tv_nsec);
	words[5] = S_ISCHR(st->st_mode) || S_ISBLK(st->st_mode) ? htole64(st->st_rdev) : 0;
	words[0] = htole64(words[0]);
	*ret = seal_crc(0, words, sizeof(words));
	return r;
}

/* ---- data ---- */

static int file_open(const struct seal_walk *w, int dirfd, const char *name)
{
	const int flags = O_RDONLY | O_NOFOLLOW | O_NOATIME | O_NONBLOCK;
	int fd = w->direct ? lcm_sys_openat(dirfd, name, flags | O_DIRECT, 0) : -EINVAL;

	return fd == -EINVAL ? lcm_sys_openat(dirfd, name, flags, 0) : fd;
}

/* Makes *@off the begin of the next block with data; @size: there is none. */
static int next_data(int fd, uint64_t *off, uint64_t size)
{
	int64_t at;

	if (size <= SEAL_BLOCK || *off >= size)
		return 0;
	at = lcm_sys_lseek(fd, *off, SEEK_DATA);
	if (at < 0 && at != -ENXIO)
		return (int)at;
	*off = at < 0 ? size : (uint64_t)at & ~(uint64_t)(SEAL_BLOCK - 1);
	return 0;
}

static int block_sum(struct seal_walk *w, int fd, uint64_t off, size_t len, uint64_t *crc)
{
	/* O_DIRECT has whole blocks, so that the last one is asked for in full, too. */
	ssize_t got = lcm_sys_pread(fd, w->block, SEAL_BLOCK, off);
	uint64_t pair[2];

	if (got < 0 || (size_t)got < len)
		return got < 0 ? (int)got : -EIO;
	w->result.bytes += len;
	if (isal_zero_detect(w->block, len) != 0) {
		pair[0] = htole64(off);
		pair[1] = htole64(seal_crc(0, w->block, len));
		*crc = seal_crc(*crc, pair, sizeof(pair));
	}
	return seal_checkpoint(w);
}

static int data_sum(struct seal_walk *w, int fd, uint64_t size, uint64_t *ret)
{
	uint64_t crc = 0, off = 0;
	int r = next_data(fd, &off, size);

	while (r == 0 && off < size) {
		r = block_sum(w, fd, off, (size_t)LCM_MIN(size - off, (uint64_t)SEAL_BLOCK), &crc);
		off += LCM_MIN(size - off, (uint64_t)SEAL_BLOCK);
		if (r == 0)
			r = next_data(fd, &off, size);
	}
	*ret = crc;
	return r;
}

static int file_sum(struct seal_walk *w, int dirfd, const char *name, struct seal_record *rec)
{
	lcm_autoclose int fd = -EBADF;

	if (!rec->size)
		return 0;
	fd = file_open(w, dirfd, name);
	return fd < 0 ? fd : data_sum(w, fd, rec->size, &rec->data);
}

static int link_sum(int fd, struct seal_record *rec)
{
	char target[PATH_MAX];
	ssize_t n = readlinkat(fd, "", target, sizeof(target));

	if (n < 0)
		return (int)lcm_errno(n);
	rec->data = seal_crc(0, target, (size_t)n);
	return 0;
}

int seal_take(struct seal_walk *w, int dirfd, const char *name, struct seal_record *ret)
{
	lcm_autoclose int fd = lcm_sys_openat(dirfd, name[0] ? name : ".", O_PATH | O_NOFOLLOW, 0);
	struct stat st;
	int r = fd < 0 ? fd : lcm_sys_fstat(fd, &st);

	if (r < 0)
		return r;
	*ret = (struct seal_record){ .mode = st.st_mode };
	w->result.entries++;
	r = attr_sum(w, fd, &st, &ret->attr);
	if (r == 0 && S_ISREG(st.st_mode)) {
		ret->size = (uint64_t)st.st_size;
		r = file_sum(w, dirfd, name, ret);
	}
	if (r == 0 && S_ISLNK(st.st_mode))
		r = link_sum(fd, ret);
	return r == 0 ? seal_checkpoint(w) : r;
}

/* ---- directories ---- */

static int name_add(void *arg, int dirfd, const char *name)
{
	struct seal_names *n = arg;

	(void)dirfd;
	if (n->n == n->cap) {
		size_t cap = n->cap ? n->cap * 2 : 64;
		void *p = reallocarray(n->v, cap, sizeof(*n->v));

		if (!p)
			return -ENOMEM;
		n->v = p;
		n->cap = cap;
	}
	if (n->n == LCM_TOC_ENTRIES_MAX)
		return -EFBIG;
	n->v[n->n] = strdup(name);
	return n->v[n->n++] ? 0 : -ENOMEM;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

int seal_names_get(int dirfd, struct seal_names *ret)
{
	int r = lcm_dir_each(dirfd, name_add, ret);

	if (r == 0 && ret->n)
		qsort(ret->v, ret->n, sizeof(*ret->v), by_name);
	return r;
}

void seal_names_fini(struct seal_names *n)
{
	for (size_t i = 0; i < n->n; i++)
		free(n->v[i]);
	free(n->v);
	*n = (struct seal_names){ .n = 0 };
}

int seal_dir(int root, const char *path)
{
	return lcm_sys_open_beneath(root, path[0] ? path : ".", O_RDONLY | O_DIRECTORY | O_NOATIME,
				    0);
}

int seal_join(const char *dir, const char *name, char *out, size_t cap)
{
	int n = snprintf(out, cap, "%s%s%s", dir, dir[0] ? "/" : "", name);

	return n < 0 || (size_t)n >= cap ? -ENAMETOOLONG : 0;
}
