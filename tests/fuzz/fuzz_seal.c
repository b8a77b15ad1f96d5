/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Covers lcm_seal_check(): the input is what follows a seal's header, which gets the right
 * checksum. The tree that it is compared with is "d/f" and a link. No descriptor may stay open, and
 * what is damaged must be below the tree by its path.
 */
#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "overlay/seal_impl.h"
#include "src/base/sys.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char base[64];
static int tree = -1, seal = -1;

static void base_remove(void)
{
	lcm_ignore(lcm_rmtree_at(AT_FDCWD, base));
}

static void base_make(void)
{
	if (tree >= 0)
		return;
	(void)snprintf(base, sizeof(base), "%s", "/dev/shm/locum-fuzz.XXXXXX");
	if (!mkdtemp(base))
		abort();
	(void)atexit(base_remove);
	tree = lcm_sys_openat(AT_FDCWD, base, O_RDONLY | O_DIRECTORY, 0);
	seal = memfd_create("seal", MFD_CLOEXEC);
	if (tree < 0 || seal < 0 || lcm_sys_mkdirat(tree, "d", 0755) < 0 ||
	    lcm_write_file_at(tree, "d/f", "content", 7, 0644) < 0 ||
	    lcm_sys_symlinkat("d", tree, "l") < 0)
		abort();
}

static unsigned int count_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	unsigned int n = 0;

	while (d && readdir(d))
		n++;
	(void)closedir(d);
	return n;
}

static void on_damage(void *arg, const char *path, const char *what)
{
	(void)arg;
	if (path[0] == '/' || strcmp(path, "..") == 0 || strncmp(path, "../", 3) == 0 ||
	    strstr(path, "/../") || !*what)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct lcm_seal_ops ops = { .damage = on_damage };
	struct seal_header h = { .magic = SEAL_MAGIC };
	struct lcm_seal_result res;
	struct lcm_err err = { 0 };
	unsigned int fds;
	int r;

	base_make();
	fds = count_fds();
	h.len = size;
	h.checksum = seal_header_crc(seal_crc(0, data, size), &h);
	if (lcm_sys_ftruncate(seal, 0) < 0 || lcm_sys_pwrite_full(seal, &h, sizeof(h), 0) < 0 ||
	    lcm_sys_pwrite_full(seal, data, size, sizeof(h)) < 0)
		abort();
	r = lcm_seal_check(tree, seal, &ops, &res, &err);
	if (r != 0 && (r != -EUCLEAN || !err.code))
		abort();
	if (count_fds() != fds)
		abort();
	return 0;
}
