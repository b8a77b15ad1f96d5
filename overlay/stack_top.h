/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stack_top.h - what a stack of plain layers needs on top of it.
 *
 * A layer that holds var/lib/x need not list var and var/lib: the directories of lower layers are
 * meant. In REAL/<layer> they exist all the same, and in a stack of plain lower directories
 * overlayfs would show their metadata. And a layer may have a hardlink to a file of a lower layer,
 * which no file system can hold: REAL/<layer> has a whiteout in its place that names the target.
 * A thin layer on top has such directories with the metadata that is meant, and such files, with
 * all of their names that can be seen. It depends on the whole stack.
 *
 * Layer: overlay. Threads: any. Source: OCI Image Spec v1.1 layer.md; fs/overlayfs/namei.c.
 */
#ifndef LCM_STACK_TOP_H
#define LCM_STACK_TOP_H

#include "src/base/err.h"

/**
 * lcm_stack_top_write - make what the stack needs on top
 * @layers: directories as lcm_unpack() left them, bottom first, readable; borrowed
 * @dir:    an empty directory, filled only where needed; its own metadata is set when something is;
 *          files in it are synced
 * Return: 1: mount @dir on top; 0: nothing is needed, @dir is empty; -EUCLEAN: a hardlink to what
 * is no file of a lower layer (the text names both); -errno.
 */
LCM_MUST_USE int lcm_stack_top_write(const int *layers, size_t n, int dir, struct lcm_err *err);

/** lcm_stack_top_none - is it plain at once that lcm_stack_top_write() would make nothing? */
bool lcm_stack_top_none(const int *layers, size_t n);

/**
 * lcm_dir_copy_attr - owner, xattrs (but overlay's and labels), mode and mtime of one readable
 * directory to another Return: 0 or -errno.
 */
LCM_MUST_USE int lcm_dir_copy_attr(int from, int to);

#endif
