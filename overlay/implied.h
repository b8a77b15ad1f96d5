/* SPDX-License-Identifier: Apache-2.0 */
/*
 * implied.h - metadata of directories that a layer does not list.
 *
 * A layer that holds var/lib/x need not list var and var/lib: the directories of lower layers are
 * meant. In REAL/<layer> they exist all the same, and in a stack of plain lower directories
 * overlayfs would show their metadata. A thin layer of such directories only, laid on top, carries
 * what is meant. It depends on the whole stack.
 *
 * Layer: overlay. Threads: any. Source: OCI Image Spec v1.1 layer.md; fs/overlayfs/namei.c.
 */
#ifndef LCM_IMPLIED_H
#define LCM_IMPLIED_H

#include "src/base/err.h"

/**
 * lcm_implied_write - make what the stack needs on top
 * @layers: directories as lcm_unpack() left them, bottom first, readable; borrowed
 * @dir:    an empty directory, filled only where needed; its own metadata is set when something is
 * Return: 1: mount @dir on top; 0: nothing is needed, @dir is empty; -errno.
 */
LCM_MUST_USE int lcm_implied_write(const int *layers, size_t n, int dir, struct lcm_err *err);

/**
 * lcm_dir_copy_attr - owner, xattrs (but overlay's and labels), mode and mtime of one readable
 * directory to another Return: 0 or -errno.
 */
LCM_MUST_USE int lcm_dir_copy_attr(int from, int to);

#endif
