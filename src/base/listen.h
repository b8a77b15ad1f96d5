/* SPDX-License-Identifier: Apache-2.0 */
/*
 * listen.h - sockets that services listen on.
 *
 * Layer: base. Threads: any. Source: unix(7); sd_listen_fds(3), sd_notify(3).
 */
#ifndef LCM_LISTEN_H
#define LCM_LISTEN_H

#include "src/base/err.h"

/**
 * lcm_listen_unix - a non-blocking stream socket at @path, for its owner only
 *
 * One that nobody listens on any more is replaced. Return: 0; -EADDRINUSE (somebody listens);
 * -ENAMETOOLONG; -errno (text names @path).
 */
LCM_MUST_USE int lcm_listen_unix(const char *path, int *ret_fd, struct lcm_err *err);
/** lcm_listen_inherited - the listening socket that a service manager has passed, non-blocking.
 * Return: its descriptor; -ENOENT: it has passed none; -EINVAL: not just one. */
LCM_MUST_USE int lcm_listen_inherited(void);
/** lcm_listen_stored - each descriptor that a service manager hands back with its name (LISTEN_FDS,
 * LISTEN_FDNAMES), close-on-exec. @fn: owns @fd. Once. */
void lcm_listen_stored(void (*fn)(void *arg, const char *name, int fd), void *arg);
/** lcm_notify_fds - as lcm_notify(), with at most 2 descriptors. Return: 0; -ENOENT: there is none;
 * -errno. */
LCM_MUST_USE int lcm_notify_fds(const char *state, const int *fds, size_t n);
/** lcm_notify - tell the service manager, if there is one, e.g. "READY=1". */
void lcm_notify(const char *state);

#endif
