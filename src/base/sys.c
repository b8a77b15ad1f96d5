/* SPDX-License-Identifier: Apache-2.0 */
#include "src/base/sys.h"

#include <dirent.h>
#include <linux/ioprio.h>
#include <linux/openat2.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <time.h>

#define LOCK_POLL_MS 10
#define RESOLVE_TRIES 128

long lcm_errno(long r)
{
	return r < 0 ? -(long)errno : r;
}

/* Runs a call as a fault point and retries EINTR. */
#define SYS(call)                                                                                  \
	({                                                                                         \
		long sys_r = lcm_fault_check();                                                    \
		if (sys_r == 0)                                                                    \
			do                                                                         \
				sys_r = lcm_errno(call);                                           \
			while (sys_r == -EINTR);                                                   \
		sys_r;                                                                             \
	})

int lcm_sys_openat(int dirfd, const char *path, int flags, mode_t mode)
{
	return (int)SYS(openat(dirfd, path, flags | O_CLOEXEC, mode));
}

/* openat2(2): EAGAIN when a ".." met a rename or a mount anywhere in the system; to be tried again.
 */
static int open_resolved(int dirfd, const char *path, struct open_how *how)
{
	int r = -EAGAIN;

	for (int i = 0; i < RESOLVE_TRIES; i++) {
		r = (int)SYS(syscall(SYS_openat2, dirfd, path, how, sizeof(*how)));
		if (r != -EAGAIN)
			break;
	}
	return r;
}

int lcm_sys_open_beneath(int dirfd, const char *path, int flags, mode_t mode)
{
	struct open_how how = {
		.flags = (uint64_t)(uint32_t)(flags | O_CLOEXEC),
		.mode = (flags & (O_CREAT | __O_TMPFILE)) ? mode : 0,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS,
	};

	return open_resolved(dirfd, path, &how);
}

int lcm_sys_open_in_root(int rootfd, const char *path, int flags)
{
	struct open_how how = { .flags = (uint64_t)(uint32_t)(flags | O_CLOEXEC),
				.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS };

	return open_resolved(rootfd, path, &how);
}

int lcm_sys_mkdirat(int dirfd, const char *path, mode_t mode)
{
	return (int)SYS(mkdirat(dirfd, path, mode));
}

int lcm_sys_unlinkat(int dirfd, const char *path, int flags)
{
	return (int)SYS(unlinkat(dirfd, path, flags));
}

int lcm_sys_renameat(int odir, const char *old, int ndir, const char *new)
{
	return (int)SYS(renameat(odir, old, ndir, new));
}

int lcm_sys_renameat2(int odir, const char *old, int ndir, const char *new, unsigned int flags)
{
	return (int)SYS(renameat2(odir, old, ndir, new, flags));
}

int lcm_sys_linkat(int odir, const char *old, int ndir, const char *new, int flags)
{
	return (int)SYS(linkat(odir, old, ndir, new, flags));
}

int lcm_sys_symlinkat(const char *target, int dirfd, const char *path)
{
	return (int)SYS(symlinkat(target, dirfd, path));
}

int lcm_sys_mknodat(int dirfd, const char *path, mode_t mode, dev_t dev)
{
	return (int)SYS(mknodat(dirfd, path, mode, dev));
}

int lcm_sys_fstatat(int dirfd, const char *path, struct stat *ret, int flags)
{
	return (int)SYS(fstatat(dirfd, path, ret, flags));
}

int lcm_sys_file_id(int dirfd, const char *path, struct lcm_file_id *ret, int flags)
{
	struct statx stx;
	/* With nothing asked for, a file system has nothing to ask its server for; device and inode
	 * come all the same. */
	int r = (int)SYS(statx(dirfd, path, flags | AT_STATX_DONT_SYNC | AT_NO_AUTOMOUNT, 0, &stx));

	if (r == 0)
		*ret = (struct lcm_file_id){ .dev = makedev(stx.stx_dev_major, stx.stx_dev_minor),
					     .ino = stx.stx_ino };
	return r;
}

int lcm_sys_fstat(int fd, struct stat *ret)
{
	return (int)SYS(fstat(fd, ret));
}

int lcm_sys_fchown(int fd, uid_t uid, gid_t gid)
{
	return (int)SYS(fchown(fd, uid, gid));
}

int lcm_sys_fchownat(int dirfd, const char *path, uid_t uid, gid_t gid, int flags)
{
	return (int)SYS(fchownat(dirfd, path, uid, gid, flags));
}

int lcm_sys_fchmod(int fd, mode_t mode)
{
	return (int)SYS(fchmod(fd, mode));
}

int lcm_sys_fchmodat(int dirfd, const char *path, mode_t mode)
{
	return (int)SYS(fchmodat(dirfd, path, mode, 0));
}

int lcm_sys_futimens(int fd, const struct timespec ts[2])
{
	return (int)SYS(futimens(fd, ts));
}

int lcm_sys_utimensat(int dirfd, const char *path, const struct timespec ts[2], int flags)
{
	return (int)SYS(utimensat(dirfd, path, ts, flags));
}

int lcm_sys_fsetxattr(int fd, const char *name, const void *value, size_t len)
{
	return (int)SYS(fsetxattr(fd, name, value, len, 0));
}

int lcm_sys_lsetxattr(const char *path, const char *name, const void *value, size_t len)
{
	return (int)SYS(lsetxattr(path, name, value, len, 0));
}

ssize_t lcm_sys_fgetxattr(int fd, const char *name, void *value, size_t cap)
{
	return SYS(fgetxattr(fd, name, value, cap));
}

ssize_t lcm_sys_getxattr(const char *path, const char *name, void *value, size_t cap)
{
	return SYS(getxattr(path, name, value, cap));
}

ssize_t lcm_sys_listxattr(const char *path, char *list, size_t cap)
{
	return SYS(listxattr(path, list, cap));
}

int lcm_sys_ftruncate(int fd, uint64_t len)
{
	return (int)SYS(ftruncate(fd, (off_t)len));
}

int lcm_sys_fallocate(int fd, int mode, uint64_t off, uint64_t len)
{
	return (int)SYS(fallocate(fd, mode, (off_t)off, (off_t)len));
}

int64_t lcm_sys_lseek(int fd, uint64_t off, int whence)
{
	return SYS(lseek(fd, (off_t)off, whence));
}

int lcm_sys_lock(int fd, short type, int wait_ms)
{
	struct flock whole = { .l_type = type, .l_whence = SEEK_SET };
	int r = (int)SYS(fcntl(fd, F_OFD_SETLK, &whole));

	for (; r == -EAGAIN && wait_ms > 0; wait_ms -= LOCK_POLL_MS) {
		(void)poll(NULL, 0, LOCK_POLL_MS);
		r = (int)SYS(fcntl(fd, F_OFD_SETLK, &whole));
	}
	return r;
}

int lcm_sys_ioctl(int fd, unsigned long request, void *arg)
{
	return (int)SYS(ioctl(fd, request, arg));
}

int lcm_sys_fsync(int fd)
{
	return (int)SYS(fsync(fd));
}

int lcm_sys_syncfs(int fd)
{
	return (int)SYS(syncfs(fd));
}

int lcm_sys_fdatasync(int fd)
{
	return (int)SYS(fdatasync(fd));
}

int lcm_sys_readahead(int fd, uint64_t off, uint64_t len)
{
	return (int)SYS(readahead(fd, (off_t)off, len));
}

int lcm_sys_pread_full(int fd, void *p, size_t len, uint64_t off)
{
	char *at = p;

	while (len) {
		long n = SYS(pread(fd, at, len, (off_t)off));

		if (n < 0)
			return (int)n;
		if (n == 0)
			return -EIO;
		at += n;
		off += (uint64_t)n;
		len -= (size_t)n;
	}
	return 0;
}

int lcm_sys_pwrite_full(int fd, const void *p, size_t len, uint64_t off)
{
	const char *at = p;

	while (len) {
		long n = SYS(pwrite(fd, at, len, (off_t)off));

		if (n < 0)
			return (int)n;
		at += n;
		off += (uint64_t)n;
		len -= (size_t)n;
	}
	return 0;
}

int lcm_sys_fd_path(int fd, char *out, size_t cap)
{
	char link[32];
	ssize_t n;

	(void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = SYS(readlink(link, out, cap));
	if (n < 0 || (size_t)n >= cap)
		return n < 0 ? (int)n : -ENAMETOOLONG;
	out[n] = '\0';
	return 0;
}

int lcm_sys_pipe(int *ret_from, int *ret_to)
{
	int fds[2], r = lcm_fault_check();

	if (r == 0)
		r = (int)lcm_errno(pipe2(fds, O_CLOEXEC));
	if (r < 0)
		return r;
	*ret_from = fds[0];
	*ret_to = fds[1];
	return 0;
}

ssize_t lcm_sys_pread(int fd, void *p, size_t len, uint64_t off)
{
	return SYS(pread(fd, p, len, (off_t)off));
}

ssize_t lcm_sys_read(int fd, void *p, size_t len)
{
	return SYS(read(fd, p, len));
}

int lcm_sys_pwrite_durable(int fd, const void *p, size_t len, uint64_t off)
{
	struct iovec iov = { (void *)(uintptr_t)p, len };

	while (iov.iov_len) {
		long n = SYS(pwritev2(fd, &iov, 1, (off_t)off, RWF_DSYNC));

		if (n < 0)
			return (int)n;
		iov.iov_base = (char *)iov.iov_base + n;
		iov.iov_len -= (size_t)n;
		off += (uint64_t)n;
	}
	return 0;
}

ssize_t lcm_sys_read_full(int fd, void *p, size_t len)
{
	size_t at = 0;

	while (at < len) {
		ssize_t n = lcm_sys_read(fd, (char *)p + at, len - at);

		if (n < 0)
			return n;
		if (n == 0)
			break;
		at += (size_t)n;
	}
	return (ssize_t)at;
}

int lcm_sys_write_full(int fd, const void *p, size_t len)
{
	const char *at = p;

	while (len) {
		long n = SYS(write(fd, at, len));

		if (n < 0)
			return (int)n;
		at += n;
		len -= (size_t)n;
	}
	return 0;
}

int lcm_read_file_at(int dirfd, const char *path, size_t max, char **ret, size_t *ret_len)
{
	lcm_autoclose int fd = lcm_sys_openat(dirfd, path, O_RDONLY, 0);
	lcm_autofree char *p = NULL;
	size_t len = 0, cap = 4096;

	if (fd < 0)
		return fd;
	for (;;) {
		char *q = realloc(p, cap + 1);
		ssize_t n;

		if (!q)
			return -ENOMEM;
		p = q;
		n = lcm_sys_read(fd, p + len, cap - len);
		if (n < 0)
			return (int)n;
		if (n == 0)
			break;
		len += (size_t)n;
		if (len > max)
			return -EFBIG;
		if (len == cap)
			cap *= 2;
	}
	p[len] = '\0';
	*ret = lcm_steal(&p);
	*ret_len = len;
	return 0;
}

int lcm_fsync_parent_at(int dirfd, const char *path)
{
	char dir[4096];
	const char *slash = strrchr(path, '/');
	lcm_autoclose int fd = -EBADF;

	if (!slash)
		(void)snprintf(dir, sizeof(dir), ".");
	else if (slash - path >= (long)sizeof(dir))
		return -ENAMETOOLONG;
	else
		(void)snprintf(dir, sizeof(dir), "%.*s", (int)LCM_MAX(slash - path, 1L), path);
	fd = lcm_sys_openat(dirfd, dir, O_RDONLY | O_DIRECTORY, 0);
	if (fd < 0)
		return fd;
	return lcm_sys_fsync(fd);
}

int lcm_write_file_at(int dirfd, const char *path, const void *p, size_t len, mode_t mode)
{
	static _Atomic unsigned int serial;
	lcm_autoclose int fd = -EBADF;
	char tmp[4096];
	int r;

	r = snprintf(tmp, sizeof(tmp), "%s.%d.%u.tmp", path, (int)getpid(),
		     atomic_fetch_add(&serial, 1));
	if (r >= (int)sizeof(tmp))
		return -ENAMETOOLONG;
	fd = lcm_sys_openat(dirfd, tmp, O_WRONLY | O_CREAT | O_EXCL, mode);
	if (fd < 0)
		return fd;
	r = lcm_sys_write_full(fd, p, len);
	if (r == 0)
		r = lcm_sys_fsync(fd);
	if (r == 0)
		r = lcm_sys_renameat(dirfd, tmp, dirfd, path);
	if (r < 0) {
		lcm_ignore(lcm_sys_unlinkat(dirfd, tmp, 0));
		return r;
	}
	return lcm_fsync_parent_at(dirfd, path);
}

int lcm_mkdir_p(const char *path, mode_t mode)
{
	char tmp[4096];
	size_t len = strlen(path);
	struct stat st;
	int r = 0;

	if (len == 0 || len >= sizeof(tmp))
		return len ? -ENAMETOOLONG : -EINVAL;
	memcpy(tmp, path, len + 1);
	for (size_t i = 1; i <= len; i++) {
		if (tmp[i] != '/' && tmp[i] != '\0')
			continue;
		tmp[i] = '\0';
		r = lcm_sys_mkdirat(AT_FDCWD, tmp, mode);
		if (r < 0 && r != -EEXIST)
			return r;
		tmp[i] = i < len ? '/' : '\0';
	}
	if (r == -EEXIST) {
		r = lcm_sys_fstatat(AT_FDCWD, path, &st, 0);
		if (r == 0 && !S_ISDIR(st.st_mode))
			r = -ENOTDIR;
	}
	return r;
}

int lcm_dir_each(int fd, lcm_dir_each_fn fn, void *arg)
{
	lcm_autoclose int own = lcm_sys_openat(fd, ".", O_RDONLY | O_DIRECTORY, 0);
	DIR *d = own < 0 ? NULL : fdopendir(own);
	struct dirent *e;
	int r = own < 0 ? own : d ? 0 : -ENOMEM;

	if (!d)
		return r;
	(void)lcm_steal_fd(&own);
	while (r == 0 && (errno = 0, e = readdir(d)))
		if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
			r = fn(arg, dirfd(d), e->d_name);
	if (r == 0)
		r = -errno;
	(void)closedir(d);
	return r;
}

/* Removes the children of the directory @fd (consumed). Depth is bounded by open descriptors. */
static int rmtree_children(int fd, dev_t dev)
{
	DIR *d = fdopendir(fd);
	struct dirent *e;
	int r = 0;

	if (!d) {
		r = (int)lcm_errno(-1);
		(void)close(fd);
		return r;
	}
	while (r == 0 && (e = readdir(d))) {
		struct stat st;
		int sub;

		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;
		r = lcm_sys_unlinkat(dirfd(d), e->d_name, 0);
		if (r != -EISDIR && r != -EPERM)
			continue;
		sub = lcm_sys_openat(dirfd(d), e->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
		if (sub < 0) {
			r = sub;
			continue;
		}
		r = lcm_sys_fstat(sub, &st);
		if (r == 0 && st.st_dev != dev)
			r = -EXDEV;
		if (r < 0) {
			(void)close(sub);
			continue;
		}
		r = rmtree_children(sub, dev);
		if (r == 0)
			r = lcm_sys_unlinkat(dirfd(d), e->d_name, AT_REMOVEDIR);
	}
	(void)closedir(d);
	return r;
}

int lcm_rmtree_at(int dirfd, const char *path)
{
	struct stat st;
	int fd, r;

	r = lcm_sys_fstatat(dirfd, path, &st, AT_SYMLINK_NOFOLLOW);
	if (r < 0)
		return r == -ENOENT ? 0 : r;
	if (!S_ISDIR(st.st_mode))
		return lcm_sys_unlinkat(dirfd, path, 0);
	fd = lcm_sys_openat(dirfd, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
	if (fd < 0)
		return fd;
	r = rmtree_children(fd, st.st_dev);
	return r < 0 ? r : lcm_sys_unlinkat(dirfd, path, AT_REMOVEDIR);
}

static uint64_t clock_ns(clockid_t id)
{
	struct timespec ts;

	(void)clock_gettime(id, &ts);
	return (uint64_t)ts.tv_sec * 1000000000ULL + (uint64_t)ts.tv_nsec;
}

int lcm_sys_send_fds(int sock, const struct sockaddr *to, socklen_t to_len, const void *p,
		     size_t len, const int *fds, size_t n)
{
	union {
		char buf[CMSG_SPACE(2 * sizeof(int))];
		struct cmsghdr h;
	} c = { .buf = { 0 } };
	struct iovec iov = { (void *)(uintptr_t)p, len };
	struct msghdr m = { .msg_name = (void *)(uintptr_t)to,
			    .msg_namelen = to_len,
			    .msg_iov = &iov,
			    .msg_iovlen = 1 };
	long r = lcm_fault_check();

	if (n > 2)
		return -EINVAL;
	if (n) {
		m.msg_control = c.buf;
		m.msg_controllen = CMSG_SPACE(n * sizeof(int));
		c.h.cmsg_level = SOL_SOCKET;
		c.h.cmsg_type = SCM_RIGHTS;
		c.h.cmsg_len = CMSG_LEN(n * sizeof(int));
		memcpy(CMSG_DATA(&c.h), fds, n * sizeof(int));
	}
	if (r < 0)
		return (int)r;
	do
		r = lcm_errno(sendmsg(sock, &m, MSG_NOSIGNAL));
	while (r == -EINTR);
	return (int)LCM_MIN(r, 0L);
}

static int spawn_actions(posix_spawn_file_actions_t *fa, int fd, int at)
{
	/* Onto itself it loses close-on-exec. */
	int r = -posix_spawn_file_actions_adddup2(fa, fd, at);

	for (int low = 0; r == 0 && low < at; low++)
		r = -posix_spawn_file_actions_addopen(fa, low, "/dev/null", O_RDWR, 0);
	return r;
}

int lcm_sys_spawn_with(const char *path, char *const argv[], char *const envp[],
		       const posix_spawn_file_actions_t *fa, pid_t *ret)
{
	posix_spawnattr_t attr;
	sigset_t no_signals;
	int r = lcm_fault_check();

	if (r < 0)
		return r;
	(void)sigemptyset(&no_signals);
	(void)posix_spawnattr_init(&attr);
	(void)posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK);
	(void)posix_spawnattr_setsigmask(&attr, &no_signals);
	r = -posix_spawn(ret, path, fa, &attr, argv, envp);
	(void)posix_spawnattr_destroy(&attr);
	return r;
}

int lcm_sys_spawn(const char *path, char *const argv[], int fd, int at, pid_t *ret)
{
	char *none[] = { NULL };
	posix_spawn_file_actions_t fa;
	int r = -posix_spawn_file_actions_init(&fa);

	if (r < 0)
		return r;
	r = spawn_actions(&fa, fd, at);
	if (r == 0)
		r = lcm_sys_spawn_with(path, argv, none, &fa, ret);
	(void)posix_spawn_file_actions_destroy(&fa);
	return r;
}

int lcm_sys_idle_class(pid_t id, bool idle)
{
	const struct sched_param none = { .sched_priority = 0 };

	return (int)lcm_errno(sched_setscheduler(id, idle ? SCHED_IDLE : SCHED_OTHER, &none));
}

void lcm_sys_idle_io(void)
{
	(void)syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0,
		      IOPRIO_PRIO_VALUE(IOPRIO_CLASS_IDLE, 0));
}

uint64_t lcm_now_ns(void)
{
	return clock_ns(CLOCK_MONOTONIC);
}

uint64_t lcm_realtime_ns(void)
{
	return clock_ns(CLOCK_REALTIME);
}
