/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Covers lcm_tar_*, lcm_tar_window_mtime, lcm_tar_path_normal and lcm_unpack without a TOC:
 * tar bytes into a temporary directory. First byte: how many bytes the source gives at a
 * time. Nothing may appear or change outside of the layer's directory, and no descriptor
 * may stay open. Files are limited to 1 MiB (RLIMIT_FSIZE). Device nodes need root; without
 * it they fail, which is covered too.
 */
#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include "overlay/unpack.h"
#include "src/base/sys.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char base[64];
static int base_fd = -1, tmp_fd = -1;

static void base_remove(void)
{
	lcm_ignore(lcm_rmtree_at(AT_FDCWD, base));
}

static void base_make(void)
{
	const struct rlimit limit = { .rlim_cur = 1 << 20, .rlim_max = 1 << 20 };

	if (base_fd >= 0)
		return;
	(void)snprintf(base, sizeof(base), "%s", "/dev/shm/locum-fuzz.XXXXXX");
	if (!mkdtemp(base))
		abort();
	(void)atexit(base_remove);
	(void)signal(SIGXFSZ, SIG_IGN);
	(void)setrlimit(RLIMIT_FSIZE, &limit);
	base_fd = lcm_sys_openat(AT_FDCWD, base, O_RDONLY | O_DIRECTORY, 0);
	if (base_fd < 0 || lcm_sys_mkdirat(base_fd, "tmp", 0700) < 0)
		abort();
	tmp_fd = lcm_sys_openat(base_fd, "tmp", O_RDONLY | O_DIRECTORY, 0);
}

struct bytes {
	const uint8_t *p;
	size_t len, step;
	uint8_t *block;
	unsigned int checkpoints;
};

static ssize_t bytes_read(void *arg, const void **ret)
{
	struct bytes *b = arg;
	size_t n = LCM_MIN(b->len, b->step);

	free(b->block);
	b->block = malloc(n ? n : 1);
	if (!b->block)
		abort();
	if (n)
		memcpy(b->block, b->p, n);
	b->p += n;
	b->len -= n;
	*ret = b->block;
	return (ssize_t)n;
}

static int enough(void *arg)
{
	struct bytes *b = arg;

	return ++b->checkpoints > 1000 ? -ECANCELED : 0;
}

static unsigned int count_in(const char *path)
{
	DIR *d = opendir(path);
	unsigned int n = 0;

	if (!d)
		abort();
	while (readdir(d))
		n++;
	(void)closedir(d);
	return n;
}

static void unpack(struct bytes *b)
{
	const struct lcm_unpack_ops ops = { .checkpoint = enough, .arg = b };
	struct lcm_layer_dir *d = NULL;
	struct lcm_stream *s = NULL;
	struct lcm_unpack_result res;
	struct lcm_err err = { 0 };
	int r;

	if (lcm_layer_dir_open(base_fd, "l", tmp_fd, &d, NULL) < 0 ||
	    lcm_stream_new(LCM_COMP_NONE, bytes_read, b, 16 << 20, &s) < 0)
		abort();
	r = lcm_unpack_stream(d, s, NULL, &ops, &res, &err);
	if (r > 0 || (r < 0 && r != -ECANCELED && r != -ENOMEM && !err.msg[0]))
		abort();
	lcm_stream_free(s);
	lcm_layer_dir_close(d);
	free(b->block);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct bytes b = { .p = data + 1, .len = size - 1 };
	unsigned int fds;

	if (size < 1)
		return 0;
	base_make();
	b.step = data[0] * 8U + 1;
	if (lcm_sys_mkdirat(base_fd, "l", 0700) < 0)
		abort();
	fds = count_in("/proc/self/fd");
	unpack(&b);
	if (count_in("/proc/self/fd") != fds)
		abort();
	if (lcm_rmtree_at(base_fd, "l") < 0)
		abort();
	/* ".", ".." and tmp */
	if (count_in(base) != 3)
		abort();
	return 0;
}
