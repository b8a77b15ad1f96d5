/* SPDX-License-Identifier: Apache-2.0 */
/*
 * layer_fs.h - an additional layer store for containers/storage, as a small FUSE file system.
 *
 *   DIR/<base64 of a reference>/<digest>/diff  symlink to a lazy mount of that layer alone
 *                                       /info  what it is, as JSON
 *                                       /blob  the compressed layer, from the daemon
 *                                       /use   is never there; making it counts a user
 *
 * <digest> is that of the layer's blob or of its table of contents. Whoever looks at diff, info or
 * blob has the daemon mount the layer; a layer that cannot be lazy is not there. rmdir of the
 * digest's directory takes a user away, and with the last one the mount. No file data goes through
 * this process but that of blob: it may die, be replaced and lose its counts, and containers see
 * nothing of it. It is for the user who runs it, root: a lookup makes the daemon fetch and mount.
 * Layer: cmd. Source: containers/storage drivers/overlay/overlay.go (additional layer store),
 * containerd/stargz-snapshotter store/fs.go.
 */
#ifndef LCM_LAYER_FS_H
#define LCM_LAYER_FS_H

#include "src/base/err.h"

/**
 * layer_fs_serve - mount it at @dir and serve it until a signal
 * @dir: absolute, an empty directory; what a killed one has left there is taken away
 * Return: 0 (SIGTERM, SIGINT, or it was unmounted); -EBUSY (one is served there already); -errno.
 */
LCM_MUST_USE int layer_fs_serve(const char *dir, struct lcm_err *err);

#endif
