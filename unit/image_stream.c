/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <string.h>

#include "unit/frame.h"
#include "unit/image_impl.h"
#include "unit/object.h"

/* The data of [@off, @end). */
static int each_of_range(int fd, uint64_t off, uint64_t end, char *buf, lcm_unit_send_fn fn,
			 void *arg)
{
	int r = 0;

	while (r == 0 && off < end) {
		size_t n = (size_t)LCM_MIN(end - off, (uint64_t)LCM_FRAME_PLAIN_MAX);

		r = lcm_sys_pread_full(fd, buf, n, off);
		if (r == 0)
			r = fn(arg, off, buf, n);
		off += n;
	}
	return r;
}

int lcm_image_each_data(const struct lcm_image *i, lcm_unit_send_fn fn, void *arg)
{
	lcm_autofree char *buf = malloc(LCM_FRAME_PLAIN_MAX);
	uint64_t size = (uint64_t)i->st.st_size;
	int64_t off = 0, end;
	int r = buf ? 0 : -ENOMEM;

	/* What was allocated, never written, and then read ahead would count as data. */
	(void)posix_fadvise(i->fd, 0, 0, POSIX_FADV_RANDOM);
	(void)posix_fadvise(i->fd, 0, 0, POSIX_FADV_DONTNEED);
	while (r == 0) {
		off = lcm_sys_lseek(i->fd, (uint64_t)off, SEEK_DATA);
		if (off == -ENXIO)
			return 0;
		end = off < 0 ? off : lcm_sys_lseek(i->fd, (uint64_t)off, SEEK_HOLE);
		if (end < 0)
			return (int)end;
		r = each_of_range(i->fd, (uint64_t)off, LCM_MIN((uint64_t)end, size), buf, fn, arg);
		off = end;
	}
	return r;
}

int lcm_image_send(int dir, const char *name, lcm_unit_send_fn fn, void *arg, struct lcm_err *err)
{
	LCM_CLEANUP(lcm_image_close) struct lcm_image i = { .fd = -EBADF };
	int r = lcm_image_open(dir, name, O_RDONLY, &i, err);

	if (r == 0)
		r = lcm_image_each_data(&i, fn, arg);
	return r < 0 && i.fd >= 0 ? lcm_image_fail(&i, r, "send", err) : r;
}

int lcm_image_receive(int dir, const char *name, uint64_t size, bool thin, struct lcm_err *err)
{
	lcm_autoclose int fd = lcm_sys_openat(dir, name, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK,
					      0600);
	struct stat st;
	int r = fd < 0 ? fd : lcm_sys_fstat(fd, &st);

	if (r == 0 && (uint64_t)st.st_size != size)
		r = thin ? lcm_sys_ftruncate(fd, size) : lcm_image_make_thick(fd, size);
	return r < 0 ? lcm_object_fail(dir, name, r, "make room", err) : lcm_steal_fd(&fd);
}

int lcm_image_received(int dir, const char *name, int fd, uint64_t size, struct lcm_err *err)
{
	LCM_CLEANUP(lcm_image_close) struct lcm_image i = { .fd = -EBADF };
	int r = lcm_image_open(dir, name, O_RDONLY, &i, err);

	if (r < 0)
		return r;
	if ((uint64_t)i.st.st_size != size || i.fs_bytes > size)
		return lcm_image_fail(&i, -EUCLEAN, "its file system is larger than the unit", err);
	r = lcm_sys_fsync(fd);
	return r < 0 ? lcm_image_fail(&i, r, "sync", err) : 0;
}
