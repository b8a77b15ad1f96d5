/* SPDX-License-Identifier: Apache-2.0 */
/*
 * disk.h - where a virtual disk is, and who may go there.
 *
 * Layer: unit; pure: no I/O, no system call. Guests and containers address (virtual disk,
 * location). A *map* holds two tables that do not trust each other:
 *
 *   virtual disks  (owner, disk) -> (unit, object of the unit, first byte, length, writable?)
 *   objects        (unit, object) -> (whose, for the guest?, writable?, size)
 *
 * A request is translated by the first and decided upon by the second, on the translated location:
 * a row of the first that leads into another's unit, into state, or beyond the object, gives
 * nobody anything. An object of a unit is either its guest's (a disk) or *state* (NVRAM, memory
 * image, console log, configuration), which is the host side's and never the guest's.
 *
 * Errors are those NBD gives a request: -EINVAL or, for what would write, -ENOSPC beyond the end.
 * Threads: a map that nobody changes may be used by any number.
 */
#ifndef LCM_DISK_H
#define LCM_DISK_H

#include "unit/unit.h"

#define LCM_DISK_NAME 64   /* of virtual disks and objects: 63 and a NUL */
#define LCM_DISK_ROWS 4096 /* of either table */

enum lcm_disk_op {
	LCM_DISK_OPEN,  /* may this disk be used at all? Offset and length are 0 */
	LCM_DISK_FLUSH, /* the whole disk: offset and length are 0 */
	LCM_DISK_READ,
	LCM_DISK_MAP,   /* where is data, where are holes? */
	LCM_DISK_CACHE, /* will be read soon */
	LCM_DISK_WRITE,
	LCM_DISK_TRIM,
	LCM_DISK_ZERO,
	LCM_DISK_OP_MAX,
};

enum lcm_disk_side {
	LCM_DISK_GUEST, /* whoever runs inside: a kernel nobody vouches for */
	LCM_DISK_HOST,  /* what runs the guest */
	LCM_DISK_SIDE_MAX,
};

/** struct lcm_disk_who - who asks; strings borrowed during the call */
struct lcm_disk_who {
	const char *owner; /* UUID */
	enum lcm_disk_side side;
};

#define LCM_DISK_FOR_GUEST (1U << 0) /* else it is state */
#define LCM_DISK_WRITABLE (1U << 1)
#define LCM_DISK_FLAGS (LCM_DISK_FOR_GUEST | LCM_DISK_WRITABLE)

struct lcm_disk_object {
	char unit[LCM_UUID], owner[LCM_UUID], name[LCM_DISK_NAME];
	uint64_t size; /* bytes */
	unsigned int flags;
	int handle; /* what the I/O functions know it by, say a descriptor; the map does not look */
};

struct lcm_disk_vdisk {
	char owner[LCM_UUID], name[LCM_DISK_NAME];  /* as its owner calls it */
	char unit[LCM_UUID], object[LCM_DISK_NAME]; /* where it is */
	uint64_t start, len;                        /* bytes of the object */
	bool writable;
};

/** struct lcm_disk_loc - a translated location; @object is borrowed from the map */
struct lcm_disk_loc {
	const struct lcm_disk_object *object;
	uint64_t off, len; /* bytes of the object; all of them are below its size */
};

struct lcm_disk_map;
/** lcm_disk_map_new - an empty map; NULL: no memory. */
struct lcm_disk_map *lcm_disk_map_new(void);
void lcm_disk_map_free(struct lcm_disk_map *m);
LCM_DEFINE_AUTO(lcm_disk_map)

/**
 * lcm_disk_map_object - say what an object is; copied
 * Return: 0; -EINVAL (no names, unknown flags); -EEXIST (this unit has this object, or it has
 * another owner: a unit has one); -E2BIG; -ENOMEM. Locations given before are void.
 */
LCM_MUST_USE int lcm_disk_map_object(struct lcm_disk_map *m, const struct lcm_disk_object *o);
/**
 * lcm_disk_map_vdisk - say where a virtual disk is; copied
 *
 * It need not be there: lcm_disk_translate() decides anew for each request.
 * Return: 0; -EINVAL (no names); -EEXIST (the owner has a disk of that name); -E2BIG; -ENOMEM.
 */
LCM_MUST_USE int lcm_disk_map_vdisk(struct lcm_disk_map *m, const struct lcm_disk_vdisk *v);

/**
 * lcm_disk_translate - a request's location in the unit, if @who may do this there
 * @disk: the name its owner gives it
 * @off, @len: bytes of the virtual disk, as they came from outside
 *
 * Return: 0; -ENOENT (this owner has no such disk, or it leads to nothing); -EACCES (another's, or
 * state asked for by the guest); -EROFS; beyond the end or beyond 64 bits: -ENOSPC for
 * LCM_DISK_WRITE and LCM_DISK_ZERO, else -EINVAL; -EINVAL (nothing asked for, unknown @op).
 * Source: the NBD protocol, "Error values".
 */
LCM_MUST_USE int lcm_disk_translate(const struct lcm_disk_map *m, const struct lcm_disk_who *who,
				    const char *disk, enum lcm_disk_op op, uint64_t off,
				    uint64_t len, struct lcm_disk_loc *ret);
/**
 * lcm_disk_untranslate - which part of @who's @disk a location of the storage is
 * @loc: as storage names it; what of it is not in this disk is cut off
 * @ret_off, @ret_len: bytes of the virtual disk, at least one
 *
 * Return: 0; -ERANGE (no byte of it is in this disk); as lcm_disk_translate() for LCM_DISK_OPEN.
 */
LCM_MUST_USE int lcm_disk_untranslate(const struct lcm_disk_map *m, const struct lcm_disk_who *who,
				      const char *disk, const struct lcm_disk_loc *loc,
				      uint64_t *ret_off, uint64_t *ret_len);
/** lcm_disk_size - bytes that @who may address. @ret_writable may be NULL. Return: as
 * lcm_disk_translate() for LCM_DISK_OPEN. */
LCM_MUST_USE int lcm_disk_size(const struct lcm_disk_map *m, const struct lcm_disk_who *who,
			       const char *disk, uint64_t *ret, bool *ret_writable);

#endif
