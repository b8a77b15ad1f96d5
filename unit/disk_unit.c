/* SPDX-License-Identifier: Apache-2.0 */
#include "unit/disk_unit.h"

#include <stdio.h>

#include "src/base/sys.h"

/* What a unit holds that can be addressed by byte. */
static const struct {
	const char *name;
	unsigned int flags;
} kinds[] = {
	{ "disk", LCM_DISK_FOR_GUEST | LCM_DISK_WRITABLE },
	{ "nvram", LCM_DISK_WRITABLE },
	{ "memory", LCM_DISK_WRITABLE },
	{ "console.log", 0 },
	{ "config.json", 0 },
};

struct lcm_disk_unit {
	char owner[LCM_UUID]; /* who asked */
	struct lcm_unit unit;
	int fds[LCM_ARRAY_SIZE(kinds)]; /* owned; -EBADF: not for this side, or not there */
	bool read_only[LCM_ARRAY_SIZE(kinds)];
};

void lcm_disk_unit_free(struct lcm_disk_unit *u)
{
	if (!u)
		return;
	for (size_t i = 0; i < LCM_ARRAY_SIZE(kinds); i++)
		lcm_closep(&u->fds[i]);
	free(u);
}

/* One row of each table: what is in the unit is its owner's, whoever asks for it. */
static int map_kind(const struct lcm_disk_unit *u, size_t i, struct lcm_disk_map *m)
{
	struct lcm_disk_object o = { .flags = kinds[i].flags, .handle = u->fds[i] };
	struct lcm_disk_vdisk v = { .start = 0, .len = UINT64_MAX, .writable = true };
	struct stat st = { .st_size = 0 };
	int r = u->fds[i] < 0 ? 0 : lcm_sys_fstat(u->fds[i], &st);

	if (r < 0)
		return r;
	o.size = (uint64_t)st.st_size;
	if (u->read_only[i])
		o.flags &= ~LCM_DISK_WRITABLE;
	(void)snprintf(o.unit, sizeof(o.unit), "%s", u->unit.id);
	(void)snprintf(o.owner, sizeof(o.owner), "%s", u->unit.owner);
	(void)snprintf(o.name, sizeof(o.name), "%s", kinds[i].name);
	(void)snprintf(v.owner, sizeof(v.owner), "%s", u->owner);
	(void)snprintf(v.name, sizeof(v.name), "%s", kinds[i].name);
	(void)snprintf(v.unit, sizeof(v.unit), "%s", u->unit.id);
	(void)snprintf(v.object, sizeof(v.object), "%s", kinds[i].name);
	r = lcm_disk_map_object(m, &o);
	return r < 0 ? r : lcm_disk_map_vdisk(m, &v);
}

int lcm_disk_unit_map(const struct lcm_disk_unit *u, struct lcm_disk_map **ret)
{
	lcm_auto(lcm_disk_map) m = lcm_disk_map_new();
	int r = m ? 0 : -ENOMEM;

	for (size_t i = 0; r == 0 && i < LCM_ARRAY_SIZE(kinds); i++)
		r = map_kind(u, i, m);
	if (r == 0)
		*ret = lcm_steal(&m);
	return r;
}

int lcm_disk_unit_each(const struct lcm_disk_unit *u, int (*fn)(void *arg, const char *name),
		       void *arg)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < LCM_ARRAY_SIZE(kinds); i++)
		if (u->fds[i] >= 0)
			r = fn(arg, kinds[i].name);
	return r;
}

static int open_kind(struct lcm_disk_unit *u, int dir, size_t i, struct lcm_err *err)
{
	int flags = O_NONBLOCK | O_NOCTTY, fd, r;
	lcm_autoclose int own = -EBADF;
	struct stat st;

	fd = lcm_sys_open_beneath(dir, kinds[i].name, flags | O_RDWR, 0);
	if (fd == -EROFS || fd == -EACCES || fd == -ETXTBSY) {
		u->read_only[i] = true;
		fd = lcm_sys_open_beneath(dir, kinds[i].name, flags | O_RDONLY, 0);
	}
	if (fd == -ENOENT)
		return 0;
	if (fd < 0)
		return lcm_err_set(err, fd, "%s of unit %s cannot be opened", kinds[i].name,
				   u->unit.id);
	own = fd;
	r = lcm_sys_fstat(fd, &st);
	if (r == 0 && !S_ISREG(st.st_mode))
		r = -EINVAL;
	if (r < 0)
		return lcm_err_set(err, r, "%s of unit %s is not a regular file", kinds[i].name,
				   u->unit.id);
	u->fds[i] = lcm_steal_fd(&own);
	return 0;
}

/* Decided by the map, and before anything is opened. */
static int open_all(struct lcm_disk_unit *u, const struct lcm_disk_who *who, const char *path,
		    struct lcm_err *err)
{
	lcm_autoclose int dir = lcm_sys_openat(AT_FDCWD, path, O_PATH | O_DIRECTORY, 0);
	lcm_auto(lcm_disk_map) m = NULL;
	struct lcm_disk_loc loc;
	int r = dir < 0 ? dir : lcm_disk_unit_map(u, &m), any = 0;

	if (r < 0)
		return lcm_err_set(err, r, "%s cannot be opened", path);
	for (size_t i = 0; i < LCM_ARRAY_SIZE(kinds); i++) {
		int may = lcm_disk_translate(m, who, kinds[i].name, LCM_DISK_OPEN, 0, 0, &loc);

		if (may < 0)
			continue;
		any++;
		r = open_kind(u, dir, i, err);
		if (r < 0)
			return r;
	}
	if (!any)
		return lcm_err_set(err, -EACCES, "unit %s is not that of %s, but of %s", u->unit.id,
				   who->owner, u->unit.owner);
	return 0;
}

static int count_one(void *arg, const char *name)
{
	(void)arg;
	(void)name;
	return 1;
}

int lcm_disk_unit_open(const char *root, const char *run_dir, const struct lcm_disk_who *who,
		       struct lcm_disk_unit **ret, struct lcm_err *err)
{
	lcm_auto(lcm_units) units = NULL;
	lcm_auto(lcm_disk_unit) u = calloc(1, sizeof(*u));
	int r;

	if (!u)
		return -ENOMEM;
	for (size_t i = 0; i < LCM_ARRAY_SIZE(kinds); i++)
		u->fds[i] = -EBADF;
	r = lcm_units_open(root, run_dir, &units, err);
	if (r < 0)
		return r;
	if (snprintf(u->owner, sizeof(u->owner), "%s", who->owner) != LCM_UUID - 1)
		return lcm_err_set(err, -EINVAL, "owner %s is not a UUID", who->owner);
	r = lcm_unit_get(units, who->owner, &u->unit, err);
	if (r < 0)
		return r;
	if (!u->unit.attached)
		return lcm_err_set(err, -ENOTCONN, "unit %s is not attached; locum unit attach %s",
				   u->unit.id, u->unit.id);
	r = open_all(u, who, lcm_unit_path(units, &u->unit), err);
	if (r == 0 && lcm_disk_unit_each(u, count_one, NULL) == 0)
		r = lcm_err_set(err, -ENOENT, "unit %s has no disk", u->unit.id);
	if (r == 0)
		*ret = lcm_steal(&u);
	return r;
}
