/* SPDX-License-Identifier: Apache-2.0 */
/*
 * snapshot.h - containerd's snapshots: a tree of layers by name.
 *
 * Layer: store. A snapshot is ordinary (its files are in snapshots/<id>/upper) or remote: the first
 * layers of an image, which the store can mount whatever it has of them. The whole chain below a
 * remote one is in it, too. Crash order as for everything here: the row goes before the files do,
 * and the files come before the row is committed to; snapshots/<id> without a row is garbage.
 * Threads: as store.h. Source: containerd core/snapshots/snapshotter.go.
 */
#ifndef LCM_SNAPSHOT_STORE_H
#define LCM_SNAPSHOT_STORE_H

#include "store/store.h"

/* The numbers are those of the protocol (api/services/snapshots/v1). */
enum lcm_snapshot_kind {
	LCM_SNAPSHOT_VIEW = 1,
	LCM_SNAPSHOT_ACTIVE = 2,
	LCM_SNAPSHOT_COMMITTED = 3,
};

#define LCM_SNAPSHOT_NAME_MAX 4096U
#define LCM_SNAPSHOT_LABELS_MAX (512U << 10)

struct lcm_snapshot_row {
	int64_t id;     /* > 0; names the directory; never reused */
	char *name;     /* owned; unique */
	char *parent;   /* owned; "": none */
	char *labels;   /* owned; a JSON object of strings */
	char *image;    /* owned; canonical reference by digest; "": ordinary */
	uint32_t depth; /* remote: so many layers of the image, this one included */
	enum lcm_snapshot_kind kind;
	uint64_t created_ns, updated_ns; /* CLOCK_REALTIME */
	bool measured;                   /* size and inodes are known and do not change any more */
	uint64_t size, inodes;           /* bytes on disk */
};
void lcm_snapshot_row_fini(struct lcm_snapshot_row *row);

/** lcm_store_snapshot_add - @row's id, created_ns and updated_ns are set. Return: 0; -EEXIST (the
 * name); -EINVAL (too long); -errno. */
LCM_MUST_USE int lcm_store_snapshot_add(struct lcm_store *s, struct lcm_snapshot_row *row,
					struct lcm_err *err);
/** lcm_store_snapshot_get - Return: 0 (*ret to be given to lcm_snapshot_row_fini()), -ENOENT,
 * -errno. */
LCM_MUST_USE int lcm_store_snapshot_get(struct lcm_store *s, const char *name,
					struct lcm_snapshot_row *ret);
/** lcm_store_snapshot_each - rows by id; @fn returning non-zero stops and is returned. */
LCM_MUST_USE int lcm_store_snapshot_each(struct lcm_store *s,
					 int (*fn)(void *arg, const struct lcm_snapshot_row *row),
					 void *arg);
/** lcm_store_snapshot_children - how many have @name as parent. Return: number, -errno. */
LCM_MUST_USE int lcm_store_snapshot_children(struct lcm_store *s, const char *name);
/** lcm_store_snapshot_label - replace the labels. Return: 0, -ENOENT, -errno. */
LCM_MUST_USE int lcm_store_snapshot_label(struct lcm_store *s, const char *name,
					  const char *labels);
/** lcm_store_snapshot_commit - the active @key becomes committed @name. Return: 0; -EEXIST (the
 * name); -ENOENT (no active @key); -errno. */
LCM_MUST_USE int lcm_store_snapshot_commit(struct lcm_store *s, const char *key, const char *name,
					   const char *parent, const char *labels);
/** lcm_store_snapshot_measured - its size and inodes, for good. */
LCM_MUST_USE int lcm_store_snapshot_measured(struct lcm_store *s, int64_t id, uint64_t size,
					     uint64_t inodes);
/** lcm_store_snapshot_remove - the row, then snapshots/<id> into the trash. The caller has seen
 * that nothing has it as parent and nothing is mounted there. Return: 0, -ENOENT, -errno. */
LCM_MUST_USE int lcm_store_snapshot_remove(struct lcm_store *s, const char *name);
/** lcm_store_snapshot_image_add - @image came into the store for snapshots: once none names it any
 * more, it is among lcm_store_snapshot_images_unused(). */
LCM_MUST_USE int lcm_store_snapshot_image_add(struct lcm_store *s, const char *image);
/** lcm_store_snapshot_images_unused - @fn, which may not change the store, for each such image;
 * non-zero stops and is returned. */
LCM_MUST_USE int lcm_store_snapshot_images_unused(struct lcm_store *s,
						  int (*fn)(void *arg, const char *image),
						  void *arg);
LCM_MUST_USE int lcm_store_snapshot_image_forget(struct lcm_store *s, const char *image);

int lcm_store_snapshots_fd(const struct lcm_store *s); /* borrowed; below it "<id>/upper" */

#endif
