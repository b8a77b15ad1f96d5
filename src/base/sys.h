/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sys.h - the only place that reads errno: system calls that return -errno.
 *
 * Layer: base. Every descriptor made here is O_CLOEXEC; EINTR is retried.
 * Each call is a fault point: built with --enable-faults, the n-th call can be
 * made to fail or to kill the process (lcm_fault_*()). Threads: any.
 */
#ifndef LCM_SYS_H
#define LCM_SYS_H

#include <fcntl.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "src/base/base.h"

struct lcm_file_id {
	dev_t dev;
	ino_t ino;
};

/** lcm_errno - turn the result of a call that sets errno into 0.. or -errno. */
long lcm_errno(long r);

LCM_MUST_USE int lcm_sys_openat(int dirfd, const char *path, int flags, mode_t mode);
/** lcm_sys_open_beneath - openat2(2) with RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS |
 * RESOLVE_NO_MAGICLINKS. */
LCM_MUST_USE int lcm_sys_open_beneath(int dirfd, const char *path, int flags, mode_t mode);
/** lcm_sys_open_in_root - openat2(2) with RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS: links are
 * followed inside @rootfd. */
LCM_MUST_USE int lcm_sys_open_in_root(int rootfd, const char *path, int flags);
LCM_MUST_USE int lcm_sys_mkdirat(int dirfd, const char *path, mode_t mode);
LCM_MUST_USE int lcm_sys_unlinkat(int dirfd, const char *path, int flags);
LCM_MUST_USE int lcm_sys_renameat(int odir, const char *old, int ndir, const char *new);
/** lcm_sys_renameat2 - @flags as renameat2(2): RENAME_NOREPLACE, RENAME_EXCHANGE. */
LCM_MUST_USE int lcm_sys_renameat2(int odir, const char *old, int ndir, const char *new,
				   unsigned int flags);
LCM_MUST_USE int lcm_sys_linkat(int odir, const char *old, int ndir, const char *new, int flags);
LCM_MUST_USE int lcm_sys_symlinkat(const char *target, int dirfd, const char *path);
LCM_MUST_USE int lcm_sys_mknodat(int dirfd, const char *path, mode_t mode, dev_t dev);
LCM_MUST_USE int lcm_sys_fstatat(int dirfd, const char *path, struct stat *ret, int flags);
LCM_MUST_USE int lcm_sys_fstat(int fd, struct stat *ret);
/** lcm_sys_file_id - which file it is, from what the kernel knows already, without waiting for a
 * FUSE or network server. @flags: AT_SYMLINK_NOFOLLOW, AT_EMPTY_PATH. */
LCM_MUST_USE int lcm_sys_file_id(int dirfd, const char *path, struct lcm_file_id *ret, int flags);
LCM_MUST_USE int lcm_sys_fchown(int fd, uid_t uid, gid_t gid);
LCM_MUST_USE int lcm_sys_fchownat(int dirfd, const char *path, uid_t uid, gid_t gid, int flags);
LCM_MUST_USE int lcm_sys_fchmod(int fd, mode_t mode);
LCM_MUST_USE int lcm_sys_fchmodat(int dirfd, const char *path, mode_t mode);
LCM_MUST_USE int lcm_sys_futimens(int fd, const struct timespec ts[2]);
LCM_MUST_USE int lcm_sys_utimensat(int dirfd, const char *path, const struct timespec ts[2],
				   int flags);
LCM_MUST_USE int lcm_sys_fsetxattr(int fd, const char *name, const void *value, size_t len);
LCM_MUST_USE int lcm_sys_lsetxattr(const char *path, const char *name, const void *value,
				   size_t len);
/** lcm_sys_fgetxattr - Return: bytes, -ENODATA (no such attribute), -errno. */
LCM_MUST_USE ssize_t lcm_sys_fgetxattr(int fd, const char *name, void *value, size_t cap);
/** lcm_sys_getxattr - the same, of what @path leads to. */
LCM_MUST_USE ssize_t lcm_sys_getxattr(const char *path, const char *name, void *value, size_t cap);
/** lcm_sys_listxattr - names, each with its NUL. Return: bytes, -errno. */
LCM_MUST_USE ssize_t lcm_sys_listxattr(const char *path, char *list, size_t cap);
LCM_MUST_USE int lcm_sys_ftruncate(int fd, uint64_t len);
LCM_MUST_USE int lcm_sys_fallocate(int fd, int mode, uint64_t off, uint64_t len);
/** lcm_sys_lseek - @whence: SEEK_DATA, SEEK_HOLE. Return: offset; -ENXIO (no data behind @off);
 * -errno. */
LCM_MUST_USE int64_t lcm_sys_lseek(int fd, uint64_t off, int whence);
/**
 * lcm_sys_lock - lock the whole file, for its open file description
 * @type: F_RDLCK, F_WRLCK (@fd must be open so), F_UNLCK
 * @wait_ms: how long to try
 * It goes with the last descriptor of the same open(2): also one of another process, or of a loop
 * device. Return: 0; -EAGAIN (somebody has it); -errno. Source: fcntl(2) F_OFD_SETLK.
 */
LCM_MUST_USE int lcm_sys_lock(int fd, short type, int wait_ms);
/** lcm_sys_ioctl - Return: what the driver says, 0 or more; -errno. */
LCM_MUST_USE int lcm_sys_ioctl(int fd, unsigned long request, void *arg);
LCM_MUST_USE int lcm_sys_fsync(int fd);
LCM_MUST_USE int lcm_sys_syncfs(int fd);
LCM_MUST_USE int lcm_sys_fdatasync(int fd);
/** lcm_sys_readahead - ask for these bytes to be in memory soon; does not wait for them. */
LCM_MUST_USE int lcm_sys_readahead(int fd, uint64_t off, uint64_t len);
/** lcm_sys_pread_full - exactly @len bytes. Return: 0, -EIO at end of file, -errno. */
LCM_MUST_USE int lcm_sys_pread_full(int fd, void *p, size_t len, uint64_t off);
/** lcm_sys_pwrite_full - exactly @len bytes. Return: 0 or -errno. */
LCM_MUST_USE int lcm_sys_pwrite_full(int fd, const void *p, size_t len, uint64_t off);
/** lcm_sys_fd_path - the path that the kernel has for @fd, " (deleted)" and all. Return: 0,
 * -ENAMETOOLONG, -errno. */
LCM_MUST_USE int lcm_sys_fd_path(int fd, char *out, size_t cap);
/** lcm_sys_pipe - pipe2(2). Return: 0, -errno. */
LCM_MUST_USE int lcm_sys_pipe(int *ret_from, int *ret_to);
/** lcm_sys_pwrite_durable - the same, and these bytes survive a power cut (RWF_DSYNC). */
LCM_MUST_USE int lcm_sys_pwrite_durable(int fd, const void *p, size_t len, uint64_t off);
/** lcm_sys_pread - one pread(2). Return: bytes, 0 at end, -errno. */
LCM_MUST_USE ssize_t lcm_sys_pread(int fd, void *p, size_t len, uint64_t off);
/** lcm_sys_read - one read(2). Return: bytes, 0 at end, -errno. */
LCM_MUST_USE ssize_t lcm_sys_read(int fd, void *p, size_t len);
/** lcm_sys_read_full - read(2) until @len bytes are there, or the end. Return: bytes, -errno. */
LCM_MUST_USE ssize_t lcm_sys_read_full(int fd, void *p, size_t len);
/** lcm_sys_write_full - exactly @len bytes at the file position. */
LCM_MUST_USE int lcm_sys_write_full(int fd, const void *p, size_t len);

/** lcm_read_file_at - whole file of at most @max bytes; *ret is NUL-terminated, free(3) it. Return:
 * 0, -EFBIG, -errno. */
LCM_MUST_USE int lcm_read_file_at(int dirfd, const char *path, size_t max, char **ret,
				  size_t *ret_len);
typedef int (*lcm_dir_each_fn)(void *arg, int dirfd, const char *name);
/** lcm_dir_each - call @fn for each name in the directory @fd (borrowed, its offset is not used)
 * but
 * "." and "..", until it returns other than 0; @dirfd is valid during the call. Return: 0, -errno,
 * what @fn returned. */
LCM_MUST_USE int lcm_dir_each(int fd, lcm_dir_each_fn fn, void *arg);
/** lcm_write_file_at - create or replace @path atomically and durably (tmp + fsync + rename + fsync
 * of the directory). */
LCM_MUST_USE int lcm_write_file_at(int dirfd, const char *path, const void *p, size_t len,
				   mode_t mode);
/** lcm_fsync_parent_at - make a rename to @path durable: fsync of its directory. */
LCM_MUST_USE int lcm_fsync_parent_at(int dirfd, const char *path);
/** lcm_mkdir_p - @path and its missing parents (absolute or relative to cwd). An existing directory
 * is success. */
LCM_MUST_USE int lcm_mkdir_p(const char *path, mode_t mode);
/** lcm_rmtree_at - remove @path below @dirfd and all in it; stays on one file system, follows no
 * link. Missing is success. */
LCM_MUST_USE int lcm_rmtree_at(int dirfd, const char *path);

/**
 * lcm_sys_send_fds - one message with @n (0 to 2) descriptors, SCM_RIGHTS
 * @to: address for a socket that is not connected; NULL: none
 * Return: 0; -EPIPE (no signal); -errno. Source: unix(7).
 */
LCM_MUST_USE int lcm_sys_send_fds(int sock, const struct sockaddr *to, socklen_t to_len,
				  const void *p, size_t len, const int *fds, size_t n);
/**
 * lcm_sys_spawn - start @path with @fd as its descriptor @at, /dev/null as those below it, no
 * environment, no signal blocked, in a session of its own: a terminal's signals are for the daemon
 * @argv: ends with NULL
 * Return: 0; -errno, also of execve(2). Source: posix_spawn(3).
 */
LCM_MUST_USE int lcm_sys_spawn(const char *path, char *const argv[], int fd, int at, pid_t *ret);
/** lcm_sys_spawn_with - as lcm_sys_spawn(), with the environment @envp and the descriptors that @fa
 * makes. */
LCM_MUST_USE int lcm_sys_spawn_with(const char *path, char *const argv[], char *const envp[],
				    const posix_spawn_file_actions_t *fa, pid_t *ret);

/** lcm_sys_idle_class - whether the thread @id (0: the calling one) has what processor time others
 * of its cgroup have left, or is as any other. Return: 0, -EPERM, -ESRCH. Source: sched(7). */
LCM_MUST_USE int lcm_sys_idle_class(pid_t id, bool idle);
/** lcm_sys_idle_io - from now on the calling thread has what the disk has left, where its scheduler
 * knows that. */
void lcm_sys_idle_io(void);

uint64_t lcm_now_ns(void);      /* CLOCK_MONOTONIC */
uint64_t lcm_realtime_ns(void); /* CLOCK_REALTIME, for records only */

/*
 * Fault injection (fault.c). Without --enable-faults lcm_fault_check() is 0 at compile time.
 * LCM_FAULT_NTH=n and LCM_FAULT_ERRNO=e (0: SIGKILL oneself) arm it from the
 * environment at the first call, for sweeps over whole programs; LCM_FAULT_CALL=NAME,NAME: only
 * calls of these functions count; LCM_FAULT_LOG=FILE: at the end, how often each was called.
 */
#ifdef LCM_FAULTS
void lcm_fault_arm(long nth, int error); /* nth >= 1; error: positive errno, 0 = SIGKILL */
void lcm_fault_disarm(void);
long lcm_fault_count(void);         /* calls seen since arm/disarm */
int lcm_fault_at(const char *call); /* 0, or the -errno to return */
#define lcm_fault_check() lcm_fault_at(__func__)
#else
static inline int lcm_fault_check(void)
{
	return 0;
}
#endif

#endif
