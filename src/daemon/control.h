/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control.h - the control API: HTTP/1.1 and JSON on a unix socket (doc/control-api.md).
 *
 * Layer: daemon. Threads: loop. The socket is 0600 and owned by the daemon's user;
 * whoever may connect may do everything. A second door for looking only is web.h.
 */
#ifndef LCM_CONTROL_H
#define LCM_CONTROL_H

#include "src/daemon/session.h"
#include "src/daemon/web.h"

struct lcm_control;

/** lcm_control_listen - make and lock the socket. A stale one is replaced; a live one is
 * -EADDRINUSE (text says what to do). */
LCM_MUST_USE int lcm_control_listen(const char *path, int *ret_fd, struct lcm_err *err);
/** lcm_control_new - serve @fd (taken) on the host's loop. */
LCM_MUST_USE int lcm_control_new(struct lcm_host *h, int fd, struct lcm_control **ret,
				 struct lcm_err *err);
/** lcm_control_add_web - serve @fd (taken) too, as lcm_web_check() allows; @web is copied. Once. */
LCM_MUST_USE int lcm_control_add_web(struct lcm_control *c, const struct lcm_web *web, int fd,
				     struct lcm_err *err);
/** lcm_control_free - frees every session, answers what is waiting (lcm_api_shutdown()), closes the
 * socket. NULL is allowed. */
void lcm_control_free(struct lcm_control *c);

#endif
