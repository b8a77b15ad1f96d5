/* SPDX-License-Identifier: Apache-2.0 */
/*
 * backend.h - what a kind of unit must be able to do.
 *
 * Layer: unit, private to this folder. Objects ("data", "snap/NAME") are named below a directory
 * descriptor; what was made is durable when the call returns; what fails leaves nothing behind that
 * lcm_unit_ops.remove() does not take. Errors are -errno with a text that names the thing. Threads:
 * any.
 */
#ifndef LCM_UNIT_BACKEND_H
#define LCM_UNIT_BACKEND_H

#include "src/base/err.h"

#define LCM_UNIT_BLOCK 4096 /* sizes are multiples of it */

typedef int (*lcm_unit_send_fn)(void *arg, uint64_t offset, const void *p, size_t len);

struct lcm_unit_ops {
	/* Does it work on the file system of this directory? -ENOTSUP: no, and the text says why.
	 */
	int (*probe)(int pool, const char *path, struct lcm_err *err);
	/* An empty object for @size bytes; @thin: without taking them from the pool now. */
	int (*create)(int dir, const char *name, uint64_t size, bool thin, struct lcm_err *err);
	/* @to is what @from is now, writable or not. @live: @from is attached (it was synced), so
	 * the copy must be made in one instant, else -EBUSY. */
	int (*copy)(int from_dir, const char *from, int to_dir, const char *to, bool read_only,
		    bool live, struct lcm_err *err);
	/* Both are objects in the same directory; from now on @name is what @with was, and what it
	 * was is called @with. Atomic. */
	int (*exchange)(int dir, const char *name, const char *with, struct lcm_err *err);
	/* @mnt: a descriptor of the file system's root when it is attached, else -EBADF. Run again
	 * with the same @size after it was interrupted, it finishes. */
	int (*resize)(int dir, const char *name, int mnt, uint64_t size, struct lcm_err *err);
	/* A detached mount of the object, nosuid, nodev, noexec: the overlay on it has flags of its
	 * own. */
	int (*mount)(int dir, const char *name, struct lcm_err *err);
	/* Is it mounted, in whatever namespace? 1, 0, -errno. */
	int (*busy)(int dir, const char *name);
	/* Size as made or resized; -EUCLEAN: it is no such object. */
	int (*size)(int dir, const char *name, uint64_t *ret, struct lcm_err *err);
	/* @ret_used: bytes of the pool, shared ones included. @ret_promised: what it may still take
	 * of the pool's free space, given that @reserved may be written anew. */
	int (*usage)(int dir, const char *name, uint64_t reserved, uint64_t *ret_used,
		     uint64_t *ret_promised, struct lcm_err *err);
	/* @fn is called with the bytes of a read-only copy, in order, 1 to LCM_FRAME_PLAIN_MAX at a
	 * time; holes may be left out. Other than 0 from it stops and is returned. */
	int (*send)(int dir, const char *name, lcm_unit_send_fn fn, void *arg, struct lcm_err *err);
	/* A file to write such bytes into, where they were; also the one of an earlier call. Its
	 * room is taken unless @thin. Return: a descriptor to read and write. */
	int (*receive)(int dir, const char *name, uint64_t size, bool thin, struct lcm_err *err);
	/* All is there: what was received becomes the object @name, writable, of @size bytes. */
	int (*received)(int dir, const char *name, int fd, uint64_t size, struct lcm_err *err);
	/* Missing is success. */
	int (*remove)(int dir, const char *name, struct lcm_err *err);
	bool thick; /* create() takes all of its bytes, so that only copies promise any */
};

/* dir has only a probe, which says why not. */
extern const struct lcm_unit_ops lcm_unit_image_ops, lcm_unit_subvol_ops, lcm_unit_dir_ops;

#endif
