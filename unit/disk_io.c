/* SPDX-License-Identifier: Apache-2.0 */
#include "unit/disk_io.h"

#include "src/base/sys.h"

static int translate(const struct lcm_disk *d, enum lcm_disk_op op, uint64_t off, uint64_t len,
		     struct lcm_disk_loc *ret)
{
	return lcm_disk_translate(d->map, &d->who, d->name, op, off, len, ret);
}

int lcm_disk_read(const struct lcm_disk *d, void *p, size_t len, uint64_t off)
{
	struct lcm_disk_loc l;
	int r = translate(d, LCM_DISK_READ, off, len, &l);

	return r < 0 ? r : d->io->read(&l, p);
}

int lcm_disk_write(const struct lcm_disk *d, const void *p, size_t len, uint64_t off,
		   unsigned int flags)
{
	struct lcm_disk_loc l;
	int r = translate(d, LCM_DISK_WRITE, off, len, &l);

	return r < 0 ? r : d->io->write(&l, p, flags);
}

int lcm_disk_flush(const struct lcm_disk *d)
{
	struct lcm_disk_loc l;
	int r = translate(d, LCM_DISK_FLUSH, 0, 0, &l);

	return r < 0 ? r : d->io->sync(&l);
}

int lcm_disk_trim(const struct lcm_disk *d, uint64_t len, uint64_t off, unsigned int flags)
{
	struct lcm_disk_loc l;
	int r = translate(d, LCM_DISK_TRIM, off, len, &l);

	return r < 0 ? r : d->io->trim(&l, flags);
}

int lcm_disk_zero(const struct lcm_disk *d, uint64_t len, uint64_t off, unsigned int flags)
{
	struct lcm_disk_loc l;
	int r = translate(d, LCM_DISK_ZERO, off, len, &l);

	return r < 0 ? r : d->io->zero(&l, flags);
}

int lcm_disk_cache(const struct lcm_disk *d, uint64_t len, uint64_t off)
{
	struct lcm_disk_loc l;
	int r = translate(d, LCM_DISK_CACHE, off, len, &l);

	return r < 0 ? r : d->io->cache(&l);
}

int lcm_disk_extents(const struct lcm_disk *d, uint64_t len, uint64_t off, unsigned int flags,
		     lcm_disk_extent_fn fn, void *arg)
{
	struct lcm_disk_loc l;
	int r = translate(d, LCM_DISK_MAP, off, len, &l);

	while (r == 0 && l.len) {
		struct lcm_disk_loc part = l;
		uint64_t end, at, n;
		bool data;

		r = d->io->extent(&l, &data, &end);
		if (r < 0)
			return r;
		if (end <= l.off)
			return -EIO;
		part.len = LCM_MIN(l.len, end - l.off);
		r = lcm_disk_untranslate(d->map, &d->who, d->name, &part, &at, &n);
		if (r == 0)
			r = fn(arg, at, n, data);
		l.off += part.len;
		l.len -= part.len;
		if (flags & LCM_DISK_ONE)
			break;
	}
	return r;
}

/* ---- regular files ---- */

static int file_read(const struct lcm_disk_loc *l, void *p)
{
	return lcm_sys_pread_full(l->object->handle, p, l->len, l->off);
}

static int file_write(const struct lcm_disk_loc *l, const void *p, unsigned int flags)
{
	if (flags & LCM_DISK_DURABLE)
		return lcm_sys_pwrite_durable(l->object->handle, p, l->len, l->off);
	return lcm_sys_pwrite_full(l->object->handle, p, l->len, l->off);
}

static int file_sync(const struct lcm_disk_loc *l)
{
	return lcm_sys_fdatasync(l->object->handle);
}

static int file_allocate(const struct lcm_disk_loc *l, int mode, unsigned int flags)
{
	int r = lcm_sys_fallocate(l->object->handle, mode | FALLOC_FL_KEEP_SIZE, l->off, l->len);

	return r == 0 && (flags & LCM_DISK_DURABLE) ? file_sync(l) : r;
}

static int file_trim(const struct lcm_disk_loc *l, unsigned int flags)
{
	int r = file_allocate(l, FALLOC_FL_PUNCH_HOLE, flags);

	/* It is advice. */
	return r == -EOPNOTSUPP ? 0 : r;
}

static int file_zero(const struct lcm_disk_loc *l, unsigned int flags)
{
	int r = -EOPNOTSUPP;

	if (flags & LCM_DISK_MAY_HOLE)
		r = file_allocate(l, FALLOC_FL_PUNCH_HOLE, flags);
	if (r == -EOPNOTSUPP)
		r = file_allocate(l, FALLOC_FL_ZERO_RANGE, flags);
	return r;
}

static int file_extent(const struct lcm_disk_loc *l, bool *ret_data, uint64_t *ret_end)
{
	int64_t at = lcm_sys_lseek(l->object->handle, l->off, SEEK_DATA);

	if (at == -ENXIO)
		at = (int64_t)l->object->size; /* a hole up to the end */
	if (at < 0)
		return (int)at;
	*ret_data = (uint64_t)at <= l->off;
	if (*ret_data)
		at = lcm_sys_lseek(l->object->handle, l->off, SEEK_HOLE);
	if (at < 0)
		return (int)at;
	/* Punched since: to call it data is never wrong. */
	*ret_end = (uint64_t)at > l->off ? (uint64_t)at : l->off + l->len;
	return 0;
}

static int file_cache(const struct lcm_disk_loc *l)
{
	return lcm_sys_readahead(l->object->handle, l->off, l->len);
}

const struct lcm_disk_io lcm_disk_file_io = {
	.read = file_read,
	.write = file_write,
	.sync = file_sync,
	.trim = file_trim,
	.zero = file_zero,
	.extent = file_extent,
	.cache = file_cache,
};
