/* SPDX-License-Identifier: Apache-2.0 */
/*
 * layer_mount.h - one layer that containers/storage asks for, as a mount of the daemon's.
 *
 * Nothing is kept that the daemon does not know: after a restart of either the mount is found, or
 * made again, by its id. How many used it before is not known; it counts as one, so that who comes
 * and goes later does not end the mount. Layer: cmd. Threads: any, unless a function says
 * otherwise.
 */
#ifndef LCM_LAYER_MOUNT_H
#define LCM_LAYER_MOUNT_H

#include <pthread.h>

#include "src/base/buf.h"
#include "src/base/digest.h"

#define LAYER_MOUNT_PART (1U << 20) /* bytes of a blob that are asked for at once */

struct layer_mount {
	char *image;              /* owned; reference */
	struct lcm_digest digest; /* of the blob, or of the table of contents */
	char id[40];              /* of the mount */
	pthread_mutex_t lock;     /* of what follows */
	bool met;       /* the daemon has been asked once whether it was there before us */
	bool mounted;   /* or not known to be gone */
	uint32_t users; /* whoever had it before us is one */
	char *blob;     /* owned; digest of the blob; NULL: not known yet */
	uint64_t blob_size;
};

/* What the daemon says of it; a copy. */
struct layer_mount_info {
	char *target, *json; /* owned; mount point; what "info" says */
	uint64_t blob_size;  /* bytes */
};

/** layer_mount_new - NULL: out of memory. */
struct layer_mount *layer_mount_new(const char *image, const struct lcm_digest *digest);
void layer_mount_free(struct layer_mount *l);
/** layer_mount_get - have it mounted; waits for that, and so for the network. Return: 0 (*ret to
 * be given to layer_mount_info_fini()); -errno of the daemon's, logged. What somebody else has made
 * is not ended when that fails. */
LCM_MUST_USE int layer_mount_get(struct layer_mount *l, struct layer_mount_info *ret);
void layer_mount_info_fini(struct layer_mount_info *info);
/** layer_mount_read - the part of the blob from @off on, appended to @out. Return: 0, -errno. */
LCM_MUST_USE int layer_mount_read(struct layer_mount *l, uint64_t off, struct lcm_buf *out);
void layer_mount_use(struct layer_mount *l);
/** layer_mount_release - one user less; the mount goes with the last, unless it is in use. */
void layer_mount_release(struct layer_mount *l);

#endif
