/* SPDX-License-Identifier: Apache-2.0 */
/*
 * keep.h - who has a gate's descriptors when the daemon is gone.
 *
 * The holder is a process of a few dozen lines (locum_holder.c), started by the first daemon, which
 * ends when it holds nothing and nobody is connected. Under systemd its descriptor store does the
 * same (FileDescriptorStoreMax=). Each name has two descriptors: /dev/fuse and the gate's record.
 *
 *   daemon ----put/del, by one connection----> holder      descriptors: SCM_RIGHTS
 *   next daemon --list--> holder: all entries, then the end mark
 *
 * When its daemon's connection ends the holder has the kernel take back what was read and not
 * answered (FUSE_NOTIFY_RESEND): such requests can then be killed, and wait for the next daemon.
 *
 * Layer: daemon. Threads: any for put and del, the loop's for the rest. Source: sd_notify(3)
 * FDSTORE=1; unix(7) SCM_RIGHTS; Linux fs/fuse/dev.c.
 */
#ifndef LCM_KEEP_H
#define LCM_KEEP_H

#include "src/base/err.h"

enum lcm_keep_by {
	LCM_KEEP_HOLDER,
	LCM_KEEP_SYSTEMD,
	LCM_KEEP_NONE,
};
/** lcm_keep_parse - "holder", "systemd" or "none". Return: 0, -EINVAL. */
LCM_MUST_USE int lcm_keep_parse(const char *name, enum lcm_keep_by *ret);

struct lcm_keep;

/**
 * lcm_keep_open - find who keeps, start the holder when there is none
 * @program: of the holder
 * Call before threads exist (it forks). Return: 0; -errno (text).
 */
LCM_MUST_USE int lcm_keep_open(enum lcm_keep_by by, const char *run_dir, const char *program,
			       struct lcm_keep **ret, struct lcm_err *err);
void lcm_keep_close(struct lcm_keep *k); /* what is kept stays kept; NULL is allowed */

/** lcm_keep_name - who keeps, as lcm_keep_parse() takes it; NULL is "none". */
const char *lcm_keep_name(const struct lcm_keep *k);
/** lcm_keep_put - have both kept under @name (1 to 64 bytes without '/'), in place of what was.
 * Return: 0; -EPIPE (the holder is gone: lcm_keep_again()); -errno. */
LCM_MUST_USE int lcm_keep_put(struct lcm_keep *k, const char *name, int fuse, int record);
/** lcm_keep_del - let them go. */
void lcm_keep_del(struct lcm_keep *k, const char *name);
/** lcm_keep_fd - readable when the holder is gone; -EBADF: there is none. Borrowed. */
int lcm_keep_fd(const struct lcm_keep *k);
/** lcm_keep_generation - changes with lcm_keep_again(): what was put before is not kept. Thread:
 * any. */
uint32_t lcm_keep_generation(const struct lcm_keep *k);
/** lcm_keep_again - another holder in place of one that is gone; it holds nothing yet. Return: 0;
 * -errno (text). */
LCM_MUST_USE int lcm_keep_again(struct lcm_keep *k, struct lcm_err *err);

struct lcm_kept {
	char name[65];
	int fuse, record; /* owned */
};
/** lcm_keep_take - what earlier daemons left. @ret: owned array of *@ret_n; they stay kept.
 * Return: 0; -errno (text). */
LCM_MUST_USE int lcm_keep_take(struct lcm_keep *k, struct lcm_kept **ret, size_t *ret_n,
			       struct lcm_err *err);

/* ---- the holder's protocol: SOCK_SEQPACKET, one message each ---- */

#define LCM_KEEP_LISTEN_FD 3 /* the holder's, from its start */
#define LCM_KEEP_MAX 8192    /* gates: libfuse makes no more than some 1,000 sessions */

enum lcm_keep_op {
	LCM_KEEP_HELLO = 'H', /* answered by the same: it is there and does not end now */
	LCM_KEEP_PUT = 'P',   /* with two descriptors */
	LCM_KEEP_DEL = 'D',
	LCM_KEEP_LIST = 'L', /* answered by an LCM_KEEP_PUT for each entry and an LCM_KEEP_END */
	LCM_KEEP_END = 'E',
};

struct lcm_keep_msg {
	char op;
	char name[65]; /* ends with NUL */
};

/** lcm_keep_send - one message, with two descriptors unless @fds is NULL. Return: 0, -errno. */
LCM_MUST_USE int lcm_keep_send(int sock, const struct lcm_keep_msg *m, const int *fds);
/** lcm_keep_receive - @fds: owned by the caller, -EBADF: none came. Return: 1, 0 (the end),
 * -EMFILE (descriptors came, and there was no room for them), -EPROTO, -errno. */
LCM_MUST_USE int lcm_keep_receive(int sock, struct lcm_keep_msg *ret, int fds[2]);

#endif
