/* SPDX-License-Identifier: Apache-2.0 */
#include "store/blob.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "src/base/log.h"
#include "src/base/sys.h"
#include "store/ranges.h"

struct lcm_blob {
	int dirfd; /* owned duplicate */
	int fd;    /* owned */
	int64_t id;
	uint64_t size; /* bytes */
	char map_name[32];
	pthread_mutex_t sync_lock; /* one lcm_blob_sync() at a time; taken before @lock */
	pthread_mutex_t lock;      /* guards what follows */
	struct lcm_ranges present;
	bool dirty; /* @present differs from the map file */
};

static void blob_free(struct lcm_blob *b)
{
	lcm_closep(&b->fd);
	lcm_closep(&b->dirfd);
	lcm_ranges_fini(&b->present);
	(void)pthread_mutex_destroy(&b->lock);
	(void)pthread_mutex_destroy(&b->sync_lock);
	free(b);
}

/* The blob file at its full size. Return: 1 when it was there before, 0 when it is new, -errno. */
static int file_open(struct lcm_blob *b)
{
	char name[24];
	struct stat st;
	int r;

	(void)snprintf(name, sizeof(name), "%lld", (long long)b->id);
	b->fd = lcm_sys_openat(b->dirfd, name, O_RDWR | O_CREAT | O_NOFOLLOW, 0600);
	if (b->fd < 0)
		return b->fd;
	r = lcm_sys_fstat(b->fd, &st);
	if (r < 0)
		return r;
	if (!S_ISREG(st.st_mode))
		return -EUCLEAN;
	if ((uint64_t)st.st_size == b->size && b->size > 0)
		return 1;
	/* Cut to nothing first: no byte of something else may be taken for this blob's. */
	r = st.st_size ? lcm_sys_ftruncate(b->fd, 0) : 0;
	return r < 0 ? r : lcm_sys_ftruncate(b->fd, b->size);
}

static int map_load(struct lcm_blob *b)
{
	lcm_autofree char *p = NULL;
	size_t len = 0;
	int r = lcm_read_file_at(b->dirfd, b->map_name, LCM_RANGES_FILE_MAX, &p, &len);

	if (r == 0)
		r = lcm_ranges_decode(p, len, (uint64_t)b->id, b->size, &b->present);
	if (r == -EUCLEAN || r == -EFBIG)
		lcm_debug("blob: id=%lld map is damaged, starting empty", (long long)b->id);
	return r == -ENOMEM ? r : 0;
}

static int blob_load(struct lcm_blob *b)
{
	int r;

	(void)snprintf(b->map_name, sizeof(b->map_name), "%lld.map", (long long)b->id);
	r = file_open(b);
	if (r == 1)
		return map_load(b);
	if (r == 0) {
		r = lcm_sys_unlinkat(b->dirfd, b->map_name, 0);
		r = r == -ENOENT ? 0 : r;
	}
	return r;
}

int lcm_blob_open(int dirfd, int64_t id, uint64_t size, struct lcm_blob **ret, struct lcm_err *err)
{
	struct lcm_blob *b;
	int r;

	if (id <= 0 || size > INT64_MAX)
		return lcm_err_set(err, -EINVAL, "blob %lld of %llu bytes: out of range",
				   (long long)id, (unsigned long long)size);
	b = calloc(1, sizeof(*b));
	if (!b)
		return -ENOMEM;
	*b = (struct lcm_blob){ .fd = -EBADF, .id = id, .size = size };
	(void)pthread_mutex_init(&b->lock, NULL);
	(void)pthread_mutex_init(&b->sync_lock, NULL);
	b->dirfd = lcm_sys_openat(dirfd, ".", O_RDONLY | O_DIRECTORY, 0);
	r = b->dirfd < 0 ? b->dirfd : blob_load(b);
	if (r < 0) {
		blob_free(b);
		return lcm_err_set(err, r, "blob file %lld of %llu bytes: %s", (long long)id,
				   (unsigned long long)size, strerror(-r));
	}
	*ret = b;
	return 0;
}

void lcm_blob_close(struct lcm_blob *b)
{
	struct stat st;

	if (!b)
		return;
	/* The file of a finished or dropped layer has no name any more: it needs no map either. */
	if (lcm_sys_fstat(b->fd, &st) == 0 && st.st_nlink > 0 && lcm_blob_sync(b) < 0)
		lcm_debug("blob: id=%lld map was not saved; the bytes since the last sync are "
			  "fetched again",
			  (long long)b->id);
	blob_free(b);
}

static bool in_range(const struct lcm_blob *b, uint64_t off, uint64_t len)
{
	return off <= b->size && len <= b->size - off;
}

int lcm_blob_write(struct lcm_blob *b, uint64_t off, const void *p, size_t len)
{
	int r;

	if (!in_range(b, off, len))
		return -EINVAL;
	r = lcm_sys_pwrite_full(b->fd, p, len, off);
	if (r < 0)
		return r;
	(void)pthread_mutex_lock(&b->lock);
	r = lcm_ranges_add(&b->present, off, len);
	b->dirty = true;
	(void)pthread_mutex_unlock(&b->lock);
	return r;
}

int lcm_blob_read(struct lcm_blob *b, uint64_t off, void *p, size_t len)
{
	if (!in_range(b, off, len))
		return -EINVAL;
	return lcm_blob_has(b, off, len) ? lcm_sys_pread_full(b->fd, p, len, off) : -ENODATA;
}

bool lcm_blob_has(struct lcm_blob *b, uint64_t off, uint64_t len)
{
	bool has;

	(void)pthread_mutex_lock(&b->lock);
	has = in_range(b, off, len) && lcm_ranges_has(&b->present, off, len);
	(void)pthread_mutex_unlock(&b->lock);
	return has;
}

bool lcm_blob_next(struct lcm_blob *b, uint64_t off, uint64_t *ret_len)
{
	bool in;

	(void)pthread_mutex_lock(&b->lock);
	in = lcm_ranges_next(&b->present, off, b->size, ret_len);
	(void)pthread_mutex_unlock(&b->lock);
	return in;
}

void lcm_blob_forget(struct lcm_blob *b, uint64_t off, uint64_t len)
{
	(void)pthread_mutex_lock(&b->lock);
	lcm_ranges_remove(&b->present, off, len);
	b->dirty = true;
	(void)pthread_mutex_unlock(&b->lock);
}

uint64_t lcm_blob_present(struct lcm_blob *b)
{
	uint64_t total;

	(void)pthread_mutex_lock(&b->lock);
	total = b->present.total;
	(void)pthread_mutex_unlock(&b->lock);
	return total;
}

/* What the map will say; everything in it was written before this returns. Return: 1, 0 (nothing
 * new), -errno. */
static int map_encode(struct lcm_blob *b, struct lcm_buf *ret)
{
	int r = 0;

	(void)pthread_mutex_lock(&b->lock);
	if (b->dirty) {
		r = lcm_ranges_encode(&b->present, (uint64_t)b->id, b->size, ret);
		b->dirty = r < 0;
		r = r < 0 ? r : 1;
	}
	(void)pthread_mutex_unlock(&b->lock);
	return r;
}

int lcm_blob_sync(struct lcm_blob *b)
{
	lcm_autobuf struct lcm_buf map = LCM_BUF(LCM_RANGES_FILE_MAX);
	int r;

	(void)pthread_mutex_lock(&b->sync_lock);
	r = map_encode(b, &map);
	if (r > 0) {
		r = lcm_sys_fsync(b->fd);
		if (r == 0)
			r = lcm_write_file_at(b->dirfd, b->map_name, map.data, map.len, 0600);
		if (r < 0) {
			(void)pthread_mutex_lock(&b->lock);
			b->dirty = true;
			(void)pthread_mutex_unlock(&b->lock);
		}
	}
	(void)pthread_mutex_unlock(&b->sync_lock);
	return r;
}
