/* SPDX-License-Identifier: Apache-2.0 */
/* keep_wire.c - the holder's messages, for both sides. */
#include <string.h>
#include <sys/socket.h>

#include "src/base/sys.h"
#include "src/daemon/keep.h"

union control {
	char buf[CMSG_SPACE(2 * sizeof(int))];
	struct cmsghdr align;
};

int lcm_keep_send(int sock, const struct lcm_keep_msg *m, const int *fds)
{
	struct iovec iov = { (void *)(uintptr_t)m, sizeof(*m) };
	union control c = { .buf = { 0 } };
	struct msghdr h = { .msg_iov = &iov, .msg_iovlen = 1 };
	ssize_t n;

	if (fds) {
		h.msg_control = c.buf;
		h.msg_controllen = sizeof(c.buf);
		c.align.cmsg_level = SOL_SOCKET;
		c.align.cmsg_type = SCM_RIGHTS;
		c.align.cmsg_len = CMSG_LEN(2 * sizeof(int));
		memcpy(CMSG_DATA(&c.align), fds, 2 * sizeof(int));
	}
	do
		n = lcm_errno(sendmsg(sock, &h, MSG_NOSIGNAL));
	while (n == -EINTR);
	return (int)LCM_MIN(n, (ssize_t)0);
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
	union control c;
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
	if (n != (ssize_t)sizeof(*ret) || (h.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) ||
	    !memchr(ret->name, '\0', sizeof(ret->name)) || (fds[0] < 0) != (fds[1] < 0)) {
		lcm_closep(&fds[0]);
		lcm_closep(&fds[1]);
		return -EPROTO;
	}
	return 1;
}
