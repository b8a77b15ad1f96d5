/* SPDX-License-Identifier: Apache-2.0 */
#include <linux/fuse.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/wait.h>

#include "overlay/mount_sys.h"
#include "src/base/sys.h"

#define PROBE_TIMEOUT_NS 10000000000ULL /* all of it takes some 50 ms on an idle machine */

static const char probe_text[] = "local";

/* Everything below is done by the child, inside its scratch directory @dir. */

static void put_le(uint8_t *at, uint64_t v, unsigned int bytes)
{
	for (unsigned int i = 0; i < bytes; i++)
		at[i] = (uint8_t)(v >> (8 * i));
}

/* The smallest EROFS: superblock at 1024, an empty root directory right behind it (Linux
 * erofs_fs.h). */
static int write_erofs(int dir)
{
	uint8_t b[4096] = { 0 }, *sb = b + 1024, *inode = b + 1152, *dirents = inode + 32;
	lcm_autoclose int fd = lcm_sys_openat(dir, "erofs", O_WRONLY | O_CREAT | O_EXCL, 0600);

	if (fd < 0)
		return fd;
	put_le(sb, 0xE0F5E1E2, 4);     /* magic */
	sb[12] = 12;                   /* blkszbits */
	put_le(sb + 14, 1152 / 32, 2); /* root_nid */
	put_le(sb + 16, 1, 8);         /* inos */
	put_le(sb + 36, 1, 4);         /* blocks */
	put_le(inode, 2 << 1, 2);      /* i_format: compact, EROFS_INODE_FLAT_INLINE */
	put_le(inode + 4, S_IFDIR | 0755, 2);
	put_le(inode + 6, 2, 2);  /* i_nlink */
	put_le(inode + 8, 27, 4); /* i_size: two dirents and "..." */
	put_le(inode + 20, 1, 4); /* i_ino */
	for (unsigned int i = 0; i < 2; i++) {
		put_le(dirents + 12 * i, 1152 / 32, 8);  /* nid */
		put_le(dirents + 12 * i + 8, 24 + i, 2); /* nameoff */
		dirents[12 * i + 10] = 2;                /* EROFS_FT_DIR */
	}
	memcpy(dirents + 24, "...", 3); /* "." and ".." */
	return lcm_sys_write_full(fd, b, sizeof(b));
}

static int write_file(int dir, const char *path, bool placeholder)
{
	lcm_autoclose int fd = lcm_sys_openat(dir, path, O_WRONLY | O_CREAT | O_EXCL, 0644);
	int r;

	if (fd < 0)
		return fd;
	if (!placeholder)
		return lcm_sys_write_full(fd, probe_text, sizeof(probe_text));
	r = lcm_sys_ftruncate(fd, sizeof(probe_text));
	if (r == 0)
		r = lcm_sys_fsetxattr(fd, "trusted.overlay.metacopy", "", 0);
	return r < 0 ? r : lcm_sys_fsetxattr(fd, "trusted.overlay.redirect", "/l/f", 4);
}

static int write_layers(int dir)
{
	static const char *const dirs[] = { "plain", "meta", "real", "real/l", "upper", "work" };
	int r = 0;

	for (size_t i = 0; r == 0 && i < LCM_ARRAY_SIZE(dirs); i++)
		r = lcm_sys_mkdirat(dir, dirs[i], 0755);
	if (r == 0)
		r = write_file(dir, "plain/f", false);
	if (r == 0)
		r = write_file(dir, "real/l/f", false);
	return r < 0 ? r : write_erofs(dir);
}

static bool reads_text(int mount_fd)
{
	char got[sizeof(probe_text)];
	lcm_autoclose int fd = lcm_sys_openat(mount_fd, "f", O_RDONLY, 0);

	return fd >= 0 && lcm_sys_pread_full(fd, got, sizeof(got), 0) == 0 &&
	       memcmp(got, probe_text, sizeof(got)) == 0;
}

static int open_dir(int dir, const char *name)
{
	return lcm_sys_openat(dir, name, O_PATH | O_DIRECTORY, 0);
}

/* Mounts @lower (consumed; a negative one fails) with the usual upper and reads the file through
 * the overlay. */
static bool overlay_reads(int dir, int lower, const char *data, bool metacopy,
			  enum lcm_mount_how how)
{
	lcm_autoclose int low = lower, dat = data ? open_dir(dir, data) : -EBADF, mount_fd = -EBADF;
	lcm_autoclose int upper = open_dir(dir, "upper"), work = open_dir(dir, "work");
	struct lcm_overlay_spec spec = {
		.lowers = &low,
		.n_lowers = 1,
		.data = &dat,
		.n_data = data ? 1 : 0,
		.upper = upper,
		.work = work,
		.metacopy = metacopy,
		.source = "locum-probe",
	};

	if (low < 0)
		return false;
	mount_fd = lcm_mount_overlay_how(&spec, how, NULL);
	return mount_fd >= 0 && reads_text(mount_fd);
}

static bool fd_ok(int fd)
{
	bool ok = fd >= 0;

	lcm_closep(&fd);
	return ok;
}

#define FUSE_HAS_RESEND_2 (1U << 7) /* FUSE_HAS_RESEND, of flags2; not in old headers */

/* What the kernel offers is in its first request, which is there as soon as it is mounted. */
static bool offers_resend(int fuse)
{
	static uint8_t first[FUSE_MIN_READ_BUFFER];
	struct fuse_init_in init;
	ssize_t n = lcm_sys_read(fuse, first, sizeof(first));

	if (n < (ssize_t)(sizeof(struct fuse_in_header) + sizeof(init)))
		return false;
	memcpy(&init, first + sizeof(struct fuse_in_header), sizeof(init));
	return (init.flags & FUSE_INIT_EXT) && (init.flags2 & FUSE_HAS_RESEND_2);
}

static void probe_fuse(struct lcm_mount_features *f)
{
	lcm_autoclose int fuse = lcm_sys_openat(AT_FDCWD, "/dev/fuse", O_RDWR | O_NONBLOCK, 0);
	lcm_autoclose int mount_fd = fuse < 0 ? fuse : lcm_mount_gate(fuse, NULL);

	f->fuse = mount_fd >= 0;
	f->fuse_resend = f->fuse && offers_resend(fuse);
}

/* A detached mount that holds the probe's file. */
static int detached_layer(void)
{
	lcm_autoclose int fd = lcm_mount_tmpfs(NULL);

	if (fd >= 0 && write_file(fd, "f", false) < 0)
		return -EIO;
	return lcm_steal_fd(&fd);
}

static int probe_all(int dir, const char *path, struct lcm_mount_features *f)
{
	char image[4096];
	int r = write_layers(dir);

	if (r < 0)
		return r;
	(void)snprintf(image, sizeof(image), "%s/erofs", path);
	f->overlay = overlay_reads(dir, open_dir(dir, "plain"), NULL, false, LCM_MOUNT_ANY);
	f->layer_fds = overlay_reads(dir, detached_layer(), NULL, false, LCM_MOUNT_BY_FD);
	f->erofs_file = fd_ok(lcm_mount_erofs_file(image, NULL));
	f->erofs_loop = fd_ok(lcm_mount_erofs_loop(image, NULL));
	probe_fuse(f);
	/* Without trusted xattrs there is no placeholder and no overlay worth the name. */
	if (write_file(dir, "meta/f", true) < 0)
		return 0;
	f->redirect_no_metacopy = overlay_reads(dir, open_dir(dir, "meta"), "real", false,
						LCM_MOUNT_ANY);
	f->data_only = overlay_reads(dir, open_dir(dir, "meta"), "real", true, LCM_MOUNT_ANY);
	return 0;
}

struct answer {
	int r;
	struct lcm_mount_features features;
};

static void child_main(const char *path, int out)
{
	struct answer a = { 0 };
	lcm_autoclose int dir = -EBADF;

	a.r = (int)lcm_errno(unshare(CLONE_NEWNS));
	if (a.r == 0)
		a.r = lcm_sys_mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL);
	/* Opened after unshare(2): overlayfs takes layers from the caller's own mount namespace
	 * only. */
	if (a.r == 0) {
		dir = lcm_sys_openat(AT_FDCWD, path, O_RDONLY | O_DIRECTORY, 0);
		a.r = LCM_MIN(dir, 0);
	}
	if (a.r == 0)
		a.r = probe_all(dir, path, &a.features);
	lcm_ignore(lcm_sys_write_full(out, &a, sizeof(a)));
}

/* Reads the child's answer; a child that hangs in the kernel or dies has none. */
static int answer_wait(int fd, struct answer *ret)
{
	uint64_t end = lcm_now_ns() + PROBE_TIMEOUT_NS;
	struct answer a;
	size_t have = 0;

	while (have < sizeof(a)) {
		struct pollfd p = { .fd = fd, .events = POLLIN };
		uint64_t now = lcm_now_ns();
		ssize_t n;

		if (now >= end)
			return -ETIMEDOUT;
		n = lcm_errno(poll(&p, 1, (int)((end - now) / 1000000) + 1));
		if (n == 0 || n == -EINTR)
			continue;
		if (n > 0)
			n = lcm_sys_read(fd, (char *)&a + have, sizeof(a) - have);
		if (n <= 0)
			return n < 0 ? (int)n : -EPIPE;
		have += (size_t)n;
	}
	*ret = a;
	return 0;
}

static int probe_in_child(const char *path, struct answer *ret)
{
	int fds[2], r = lcm_sys_pipe(&fds[0], &fds[1]);
	pid_t pid;

	if (r < 0)
		return r;
	pid = (pid_t)lcm_errno(fork());
	if (pid == 0) {
		child_main(path, fds[1]);
		_exit(0);
	}
	(void)close(fds[1]);
	r = pid < 0 ? (int)pid : answer_wait(fds[0], ret);
	(void)close(fds[0]);
	if (pid < 0)
		return r;
	if (r < 0)
		(void)kill(pid, SIGKILL);
	while (lcm_errno(waitpid(pid, NULL, 0)) == -EINTR)
		;
	return r;
}

int lcm_mount_probe(const char *dir, struct lcm_mount_features *ret, struct lcm_err *err)
{
	struct answer a = { 0 };
	char path[4000];
	int r;

	if (snprintf(path, sizeof(path), "%s/locum-probe.XXXXXX", dir) >= (int)sizeof(path))
		return lcm_err_set(err, -ENAMETOOLONG, "%s: path too long", dir);
	if (!mkdtemp(path)) {
		r = (int)lcm_errno(-1);
		return lcm_err_set(err, r, "%s: cannot write there: %s", dir, strerror(-r));
	}
	r = probe_in_child(path, &a);
	lcm_ignore(lcm_rmtree_at(AT_FDCWD, path));
	if (r < 0)
		return lcm_err_set(err, r, "probe of the kernel's mounts below %s: %s", dir,
				   r == -EPIPE ? "the child died" : strerror(-r));
	if (a.r == -EPERM)
		return lcm_err_set(err, a.r,
				   "mount namespaces and mounts need root (CAP_SYS_ADMIN)");
	if (a.r < 0)
		return lcm_err_set(err, a.r, "probe of the kernel's mounts below %s: %s", dir,
				   strerror(-a.r));
	*ret = a.features;
	return 0;
}
