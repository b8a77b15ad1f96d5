/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "registry/hosts.h"
#include "src/base/sys.h"
#include "src/cmd/doctor.h"

/* What is in all directories. */
struct found {
	const char *root;
	unsigned int good, damaged;
	struct lcm_err err; /* of the first that is damaged */
};

static int look_at(void *arg, int dirfd, const char *name)
{
	struct found *f = arg;
	const char *const dirs[] = { f->root, NULL };
	struct lcm_hosts *h = NULL;
	struct lcm_err err = { 0 };
	struct stat st;

	if (lcm_sys_fstatat(dirfd, name, &st, 0) < 0 || !S_ISDIR(st.st_mode))
		return 0;
	if (lcm_hosts_load(dirs, name, &h, &err) == 0)
		f->good++;
	else if (!f->damaged++)
		f->err = err;
	lcm_hosts_free(h);
	return 0;
}

void lcm_doctor_hosts(struct lcm_doctor *d, const char *const *dirs)
{
	struct lcm_doctor_item *it = &d->items[d->n];
	struct found f = { .good = 0 };

	for (; *dirs; dirs++) {
		lcm_autoclose int fd = lcm_sys_openat(AT_FDCWD, *dirs, O_RDONLY | O_DIRECTORY, 0);

		f.root = *dirs;
		if (fd >= 0)
			lcm_ignore(lcm_dir_each(fd, look_at, &f));
	}
	if (d->n + 1 < LCM_DOCTOR_ITEMS_MAX)
		d->n++;
	*it = (struct lcm_doctor_item){ .state = f.damaged ? LCM_DOCTOR_WARN : LCM_DOCTOR_OK,
					.name = "registries" };
	(void)snprintf(it->value, sizeof(it->value), "%u with hosts.toml or certificates",
		       f.good + f.damaged);
	if (f.damaged)
		(void)snprintf(it->text, sizeof(it->text),
			       "%u of them are refused until this is mended: %.200s", f.damaged,
			       f.err.msg);
}
