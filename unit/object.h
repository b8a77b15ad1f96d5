/* SPDX-License-Identifier: Apache-2.0 */
/*
 * object.h - what the backends share: error texts, exchange, commits.
 *
 * Layer: unit, private to this folder. Threads: any.
 */
#ifndef LCM_UNIT_OBJECT_H
#define LCM_UNIT_OBJECT_H

#include "src/base/err.h"

#define LCM_OBJECT_PATH (LCM_ERR_MSG_MAX / 2) /* for texts only: longer ones are cut */

/** lcm_object_path - the path of @name below the directory descriptor @dir, for texts. Return:
 * @out.
 */
const char *lcm_object_path(int dir, const char *name, char out[LCM_OBJECT_PATH]);
/** lcm_object_fail - record "PATH: @doing: strerror". Return: @r. */
int lcm_object_fail(int dir, const char *name, int r, const char *doing, struct lcm_err *err);
/** lcm_object_exchange - lcm_unit_ops.exchange() by renameat2(2), for every kind. */
int lcm_object_exchange(int dir, const char *name, const char *with, struct lcm_err *err);
/** lcm_btrfs_commit - of the btrfs that @fd is on: what was done is on the disk, what was deleted
 * starts to be freed. */
LCM_MUST_USE int lcm_btrfs_commit(int fd);

#endif
