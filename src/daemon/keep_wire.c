/* SPDX-License-Identifier: Apache-2.0 */
/* keep_wire.c - the holder's messages, for both sides. */
#include <string.h>
#include <sys/socket.h>

#include "src/base/sys.h"
#include "src/daemon/keep.h"

int lcm_keep_send(int sock, const struct lcm_keep_msg *m, const int *fds)
{
	return lcm_sys_send_fds(sock, NULL, 0, m, sizeof(*m), fds, fds ? 2 : 0);
}

static void take_fds(struct msghdr *h, int fds[2])
{
	struct cmsghdr *c = CMSG_FIRSTHDR(h);

	fds[0] = fds[1] = -EBADF;
	if (!c || c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
		return;
	memcpy(fds, CMSG_DATA(c), LCM_MIN(c->cmsg_len - CMSG_LEN(0), 2 * sizeof(int)));
}

int lcm_keep_receive(int sock, struct lcm_keep_msg *ret, int fds[2])
{
	struct iovec iov = { ret, sizeof(*ret) };
	union {
		char buf[CMSG_SPACE(2 * sizeof(int))];
		struct cmsghdr h;
	} c;
	struct msghdr h = { .msg_iov = &iov,
			    .msg_iovlen = 1,
			    .msg_control = c.buf,
			    .msg_controllen = sizeof(c.buf) };
	ssize_t n;

	do
		n = lcm_errno(recvmsg(sock, &h, MSG_CMSG_CLOEXEC));
	while (n == -EINTR);
	if (n <= 0)
		return (int)n;
	take_fds(&h, fds);
	if (n == (ssize_t)sizeof(*ret) && !(h.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) &&
	    memchr(ret->name, '\0', sizeof(ret->name)) && (fds[0] < 0) == (fds[1] < 0))
		return 1;
	lcm_closep(&fds[0]);
	lcm_closep(&fds[1]);
	return h.msg_flags & MSG_CTRUNC ? -EMFILE : -EPROTO;
}
