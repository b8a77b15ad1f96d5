/* SPDX-License-Identifier: Apache-2.0 */
/*
 * disk_io.h - requests to a virtual disk: translated, decided upon, and only then transmitted.
 *
 * Layer: unit. What is refused by lcm_disk_translate() leads to no call of struct lcm_disk_io; what
 * comes back in terms of the storage is translated back. Ranges are bytes of the virtual disk.
 * Every function returns 0 or -errno: that of lcm_disk_translate(), or of the storage.
 * Threads: any number may use one struct lcm_disk, if the lcm_disk_io allows it;
 * requests that overlap and are under way at the same time are done in any order.
 */
#ifndef LCM_DISK_IO_H
#define LCM_DISK_IO_H

#include "unit/disk.h"

#define LCM_DISK_DURABLE (1U << 0)  /* NBD's FUA: done means that it survives a power cut */
#define LCM_DISK_MAY_HOLE (1U << 1) /* zero: the space may be given back */
#define LCM_DISK_ONE (1U << 2)      /* map: one extent is enough */

/** struct lcm_disk_io - how storage is asked, by translated location; all return 0 or -errno */
struct lcm_disk_io {
	int (*read)(const struct lcm_disk_loc *l, void *p);
	int (*write)(const struct lcm_disk_loc *l, const void *p, unsigned int flags);
	int (*sync)(const struct lcm_disk_loc *l);
	int (*trim)(const struct lcm_disk_loc *l, unsigned int flags);
	/* -EOPNOTSUPP: it cannot; zeros have to be written. */
	int (*zero)(const struct lcm_disk_loc *l, unsigned int flags);
	/* What is at the first byte of @l: @ret_data, up to @ret_end, a byte of the object. */
	int (*extent)(const struct lcm_disk_loc *l, bool *ret_data, uint64_t *ret_end);
	int (*cache)(const struct lcm_disk_loc *l);
};

/** lcm_disk_file_io - objects are regular files, lcm_disk_object.handle is the descriptor. Threads:
 * any. */
extern const struct lcm_disk_io lcm_disk_file_io;

/** struct lcm_disk - one virtual disk in use; everything is borrowed */
struct lcm_disk {
	const struct lcm_disk_map *map;
	struct lcm_disk_who who;
	const char *name;
	const struct lcm_disk_io *io;
};

LCM_MUST_USE int lcm_disk_read(const struct lcm_disk *d, void *p, size_t len, uint64_t off);
/** lcm_disk_write - @flags: LCM_DISK_DURABLE. */
LCM_MUST_USE int lcm_disk_write(const struct lcm_disk *d, const void *p, size_t len, uint64_t off,
				unsigned int flags);
/** lcm_disk_flush - what was done before survives a power cut. */
LCM_MUST_USE int lcm_disk_flush(const struct lcm_disk *d);
/** lcm_disk_trim - these bytes are of no use any more; @flags: LCM_DISK_DURABLE. What is read there
 * afterwards is zeros or what was there. */
LCM_MUST_USE int lcm_disk_trim(const struct lcm_disk *d, uint64_t len, uint64_t off,
			       unsigned int flags);
/** lcm_disk_zero - zeros are read there from now on; @flags: LCM_DISK_DURABLE, LCM_DISK_MAY_HOLE.
 * Return: also -EOPNOTSUPP: nothing was changed, and zeros have to be written. */
LCM_MUST_USE int lcm_disk_zero(const struct lcm_disk *d, uint64_t len, uint64_t off,
			       unsigned int flags);
typedef int (*lcm_disk_extent_fn)(void *arg, uint64_t off, uint64_t len, bool data);
/** lcm_disk_extents - where data and holes are, in order, without gaps, none beyond what was asked
 * for; @fn returning other than 0 stops and is returned. @flags: LCM_DISK_ONE. */
LCM_MUST_USE int lcm_disk_extents(const struct lcm_disk *d, uint64_t len, uint64_t off,
				  unsigned int flags, lcm_disk_extent_fn fn, void *arg);
LCM_MUST_USE int lcm_disk_cache(const struct lcm_disk *d, uint64_t len, uint64_t off);

#endif
