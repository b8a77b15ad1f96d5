/* SPDX-License-Identifier: Apache-2.0 */
/*
 * disk_unit.h - the virtual disks of an attached unit.
 *
 * Layer: unit. One owner's unit, found and opened once; after that nothing of the unit is looked up
 * by name, so that the process may give its privileges away. The unit stays busy until
 * lcm_disk_unit_free(). Threads: any number once it is open.
 */
#ifndef LCM_DISK_UNIT_H
#define LCM_DISK_UNIT_H

#include "unit/disk.h"

struct lcm_disk_unit;
/**
 * lcm_disk_unit_open - the disks of the unit of @who->owner, as far as that side may have them
 * @root, @run_dir: as lcm_units_open()
 *
 * The guest's is "disk". State that is a file is a disk too, the host side's: "nvram", "memory",
 * "console.log", "config.json". What this side may not have is not opened.
 * Return: 0; -ENOENT (no unit, or no disk in it); -EACCES (what is called @who->owner is
 * another's); -ENOTCONN (not attached); -errno.
 */
LCM_MUST_USE int lcm_disk_unit_open(const char *root, const char *run_dir,
				    const struct lcm_disk_who *who, struct lcm_disk_unit **ret,
				    struct lcm_err *err);
void lcm_disk_unit_free(struct lcm_disk_unit *u);
LCM_DEFINE_AUTO(lcm_disk_unit)
/** lcm_disk_unit_map - where its disks are and how large they are now; handles are descriptors,
 * valid as long as @u. Return: 0; -ENOMEM; -errno. */
LCM_MUST_USE int lcm_disk_unit_map(const struct lcm_disk_unit *u, struct lcm_disk_map **ret);
/** lcm_disk_unit_each - the disks that are open, by name; @fn returning other than 0 stops and is
 * returned. */
LCM_MUST_USE int lcm_disk_unit_each(const struct lcm_disk_unit *u,
				    int (*fn)(void *arg, const char *name), void *arg);

#endif
