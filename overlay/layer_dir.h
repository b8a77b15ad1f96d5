/* SPDX-License-Identifier: Apache-2.0 */
/*
 * layer_dir.h - what unpack.h's functions share: attributes, parents, tmp files of one layer's
 * directory.
 *
 * Layer: overlay, private to it. Threads: any, unless said otherwise.
 */
#ifndef LCM_LAYER_DIR_H
#define LCM_LAYER_DIR_H

#include <limits.h>
#include <stdatomic.h>

#include "overlay/unpack.h"

#define LCM_LAYER_NAME_MAX 64 /* of a tmp file, with its NUL */

struct lcm_layer_dir {
	int root;                /* owned; REAL/<layer>, O_PATH */
	int tmp_fd;              /* borrowed */
	_Atomic bool no_tmpfile; /* the file system has no O_TMPFILE */
	char *name;              /* owned */
};

/* What a tar or a TOC says about an entry. */
struct lcm_layer_attr {
	uint32_t mode, uid, gid, mtime_nsec;
	int64_t mtime;
	const struct lcm_xattr *xattrs; /* borrowed */
	size_t n_xattrs;
};

/** lcm_layer_attr_of - attributes of a TOC entry; *@ret_xattrs is what ret->xattrs points to:
 * free(3) it. */
LCM_MUST_USE int lcm_layer_attr_of(const struct lcm_toc *toc, const struct lcm_toc_entry *e,
				   struct lcm_layer_attr *ret, struct lcm_xattr **ret_xattrs);
/**
 * lcm_layer_attr_set - owner, then xattrs, then mode, then mtime of the open file or directory @fd
 *
 * This order, because chown(2) clears setuid, setgid and security.capability. What is already right
 * is not set again.
 */
LCM_MUST_USE int lcm_layer_attr_set(int fd, const struct lcm_layer_attr *a, const char *path,
				    struct lcm_err *err);
/** lcm_layer_attr_set_at - the same for something that cannot be opened: symlink, device, FIFO
 * @name in @dirfd. */
LCM_MUST_USE int lcm_layer_attr_set_at(int dirfd, const char *name, bool symlink,
				       const struct lcm_layer_attr *a, const char *path,
				       struct lcm_err *err);

/*
 * Marks of directories in REAL. overlayfs hides its own xattrs and ignores those it does not know.
 * An origin, even an empty one, makes it leave out whiteouts when it lists a directory that is not
 * merged (fs/overlayfs/inode.c, ovl_get_inode()); else they would be seen where the layer replaced
 * a lower file or link.
 */
#define LCM_XATTR_OPAQUE "trusted.overlay.opaque"
#define LCM_XATTR_WHITEOUTS "trusted.overlay.origin"
#define LCM_XATTR_IMPLIED "trusted.overlay.locum.implied"
#define LCM_XATTR_LINKS "trusted.overlay.locum.links"
/* Not of a directory: of a whiteout in the place of a hardlink to a file of a lower layer. */
#define LCM_XATTR_LINK "trusted.overlay.locum.link"

enum lcm_dir_mark {
	LCM_DIR_OPAQUE = 1 << 0,
	LCM_DIR_WHITEOUTS = 1 << 1, /* has whiteouts in it */
	LCM_DIR_IMPLIED = 1 << 2,   /* not listed by the layer: lower layers' metadata wins */
	LCM_DIR_LINKS = 1 << 3,     /* the root: LCM_XATTR_LINK is somewhere below it */
};

/** lcm_layer_parent - O_PATH descriptor of directory @path (@len bytes, NUL not needed; "" is the
 * root). Return: fd, -ENOENT, -EUCLEAN (not a directory). */
LCM_MUST_USE int lcm_layer_parent(struct lcm_layer_dir *d, const char *path, size_t len,
				  struct lcm_err *err);
/** lcm_layer_parent_make - as lcm_layer_parent(), missing directories are made (0755). Several
 * threads may make the same. */
LCM_MUST_USE int lcm_layer_parent_make(struct lcm_layer_dir *d, const char *path, size_t len,
				       struct lcm_err *err);

/** lcm_layer_tmp_mode - lcm_layer_tmp() for a file that will be in the directory @dirfd, probably
 * with @mode. */
LCM_MUST_USE int lcm_layer_tmp_mode(struct lcm_layer_dir *d, int dirfd, mode_t mode,
				    char ret_name[LCM_LAYER_NAME_MAX]);
/** lcm_layer_tmp_link - give a finished tmp file its name. Return: 0, -EEXIST, -errno; the tmp name
 * is gone in any case. */
LCM_MUST_USE int lcm_layer_tmp_link(struct lcm_layer_dir *d, int fd, const char *tmp_name,
				    int dirfd, const char *name);
/** lcm_layer_tmp_drop - remove a tmp file that will not be placed. */
void lcm_layer_tmp_drop(struct lcm_layer_dir *d, const char *tmp_name);

/** lcm_layer_link_below - a whiteout that stands for a hardlink to @target of lower layers. Return:
 * 0, -EEXIST (no text), -errno. */
LCM_MUST_USE int lcm_layer_link_below(int dirfd, const char *name, const char *target,
				      const char *path, struct lcm_err *err);

/** lcm_layer_link_target - target of what lcm_layer_link_below() made. Return: its bytes, -ENODATA
 * or -ENOTSUP (it is no such thing), -errno. */
LCM_MUST_USE int lcm_layer_link_target(int dirfd, const char *name, char ret[PATH_MAX]);

/** lcm_layer_file_check - is the regular file @name of @size there? Return: 1, 0, -EUCLEAN
 * (something else is), -errno.
 */
LCM_MUST_USE int lcm_layer_file_check(int dirfd, const char *name, uint64_t size);

/** lcm_layer_fail - record "layer entry 'PATH': WHAT (strerror)" and return @code. */
int lcm_layer_fail(struct lcm_err *err, int code, const char *path, const char *what);

#endif
