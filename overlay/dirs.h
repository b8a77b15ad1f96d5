/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dirs.h - the directories a tar has made so far, and what they are to become.
 *
 * Layer: overlay, private to it. A directory gets its owner, mode, xattrs and time only when
 * nothing is made in it any more. Invariant: record 0 is the root. Threads: one owner.
 */
#ifndef LCM_DIRS_H
#define LCM_DIRS_H

#include "decode/tar.h"
#include "overlay/layer_dir.h"
#include "src/base/buf.h"

struct lcm_dir_record {
	size_t path; /* offset in the arena of paths */
	uint32_t path_len;
	bool opaque, whiteouts;
	bool links;  /* the root: as LCM_DIR_LINKS */
	bool listed; /* has metadata of its own, or nothing below it to take any from */
	bool gone;   /* replaced by something that is no directory */
	struct lcm_layer_attr attr; /* attr.xattrs: owned, one allocation with names and values */
};

struct lcm_dirs {
	struct lcm_dir_record *recs; /* owned */
	size_t n, cap;
	uint32_t *slots; /* owned; record index + 1, 0: free; n_slots is a power of two */
	size_t n_slots;
	uint64_t seed; /* nobody outside can choose names that collide */
	struct lcm_buf paths;
};

/** lcm_dirs_init - holds the root, implicit. Return: 0, -ENOMEM; lcm_dirs_fini() in any case. */
LCM_MUST_USE int lcm_dirs_init(struct lcm_dirs *t);
void lcm_dirs_fini(struct lcm_dirs *t);
/** lcm_dirs_find - the record of a directory that is there, or NULL; valid until the next
 * lcm_dirs_add(). */
struct lcm_dir_record *lcm_dirs_find(const struct lcm_dirs *t, const char *path, size_t len);
/** lcm_dirs_add - record a directory, 0755 root and time 0 until described; one that is there stays
 * as it is. Return: 0, -ENOMEM, -EFBIG. */
LCM_MUST_USE int lcm_dirs_add(struct lcm_dirs *t, const char *path, size_t len,
			      struct lcm_dir_record **ret);
/** lcm_dirs_describe - take over what the tar lists; opaque stays. Return: 0, -ENOMEM. */
LCM_MUST_USE int lcm_dirs_describe(struct lcm_dir_record *rec, const struct lcm_tar_entry *e);
/** lcm_dirs_gone - forget @path and all below it. */
void lcm_dirs_gone(struct lcm_dirs *t, const char *path, size_t len);
/** lcm_dirs_apply - give every directory its metadata. */
LCM_MUST_USE int lcm_dirs_apply(const struct lcm_dirs *t, struct lcm_layer_dir *d,
				struct lcm_err *err);
/** lcm_dir_apply - the same for one, @marks of enum lcm_dir_mark. Return: 0 or -errno. */
LCM_MUST_USE int lcm_dir_apply(struct lcm_layer_dir *d, const char *path,
			       const struct lcm_layer_attr *a, unsigned int marks,
			       struct lcm_err *err);

#endif
