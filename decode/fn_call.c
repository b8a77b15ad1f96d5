/* SPDX-License-Identifier: Apache-2.0 */
/* fn_call.c - one function: its process, its memory, a request and the answer. */
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "decode/fn_host.h"
#include "src/base/sys.h"

/* ---- errors ---- */

int lcm_fn_broke(struct lcm_fn *fn, struct lcm_err *err, const char *what)
{
	fn->broken = true;
	return lcm_err_set(err, -ENOTRECOVERABLE, "its decoder %s (process %d, killed)", what,
			   (int)fn->pid);
}

int lcm_fn_blameless(int r, struct lcm_err *err)
{
	if (r != -ENOTRECOVERABLE)
		return r;
	if (err)
		err->code = -EAGAIN;
	return -EAGAIN;
}

/* Its socket has ended. How it died is known once it is waited for; the zombie stays for the pool.
 */
static int died(struct lcm_fn *fn, struct lcm_err *err)
{
	siginfo_t i = { 0 };
	char text[80] = "ended";

	if (fn->pid > 0)
		(void)kill(fn->pid, SIGKILL);
	if (fn->pid > 0 && waitid(P_PID, (id_t)fn->pid, &i, WEXITED | WNOWAIT) == 0 &&
	    i.si_code != CLD_EXITED)
		(void)snprintf(text, sizeof(text), "died of signal %d", i.si_status);
	return lcm_fn_broke(fn, err, text);
}

int lcm_fn_status(const struct fn_reply *r, struct lcm_err *err)
{
	static const int may[] = { -EUCLEAN, -EBADMSG, -EFBIG,       -ENOMEM,
				   -EILSEQ,  -ENOTSUP, -ENAMETOOLONG };

	if (r->status == 0)
		return 0;
	for (size_t i = 0; i < LCM_ARRAY_SIZE(may); i++) {
		if (r->status != may[i])
			continue;
		return r->msg[0] ? lcm_err_set(err, may[i], "%.*s", (int)sizeof(r->msg) - 1, r->msg)
				 : may[i];
	}
	return lcm_err_set(err, -ENOTRECOVERABLE, "its decoder answered %d, which makes no sense",
			   r->status);
}

/* ---- the socket ---- */

bool lcm_fn_gone(struct lcm_fn *fn)
{
	struct pollfd pf = { .fd = fn->sock };

	return poll(&pf, 1, 0) != 0;
}

int lcm_fn_receive(struct lcm_fn *fn, struct fn_reply *ret, struct lcm_err *err)
{
	struct fn_reply r;

	for (;;) {
		ssize_t n = lcm_errno(recv(fn->sock, &r, sizeof(r), MSG_DONTWAIT));

		if (n == -EAGAIN)
			return 0;
		if (n == -EINTR || n == 1)
			continue;
		if (n <= 0)
			return died(fn, err);
		if (n != sizeof(r) || !fn->busy)
			return lcm_fn_broke(fn, err, "broke the protocol");
		fn->busy = false;
		r.msg[sizeof(r.msg) - 1] = '\0';
		*ret = r;
		return 1;
	}
}

int lcm_fn_reply(struct lcm_fn *fn, struct fn_reply *ret, struct lcm_err *err)
{
	uint64_t end = lcm_now_ns() + fn->hang_ns;

	for (;;) {
		struct pollfd pf = { .fd = fn->sock, .events = POLLIN };
		uint64_t now;
		int r = lcm_fn_receive(fn, ret, err);

		if (r)
			return r < 0 ? r : 0;
		now = lcm_now_ns();
		if (now >= end)
			return lcm_fn_broke(fn, err, "hung");
		(void)poll(&pf, 1, (int)((end - now) / 1000000) + 1);
	}
}

int lcm_fn_send(struct lcm_fn *fn, const struct fn_request *q, const struct lcm_fn_mem *m,
		struct lcm_err *err)
{
	union {
		struct cmsghdr h;
		char space[CMSG_SPACE(2 * sizeof(int))];
	} c = { 0 };
	struct iovec v = { .iov_base = (void *)(uintptr_t)q, .iov_len = sizeof(*q) };
	struct msghdr msg = { .msg_iov = &v, .msg_iovlen = 1 };

	if (m) {
		const int fds[2] = { m->in_fd, m->out_fd };

		msg.msg_control = &c;
		msg.msg_controllen = sizeof(c);
		c.h.cmsg_level = SOL_SOCKET;
		c.h.cmsg_type = SCM_RIGHTS;
		c.h.cmsg_len = CMSG_LEN(sizeof(fds));
		memcpy(CMSG_DATA(&c.h), fds, sizeof(fds));
	}
	fn->busy = true;
	if (lcm_errno(sendmsg(fn->sock, &msg, MSG_NOSIGNAL | MSG_DONTWAIT)) < 0)
		return died(fn, err);
	return 0;
}

void lcm_fn_kick(struct lcm_fn *fn)
{
	uint32_t waits = atomic_load(&fn->mem->out->waits);

	if (!(waits & 1) || waits == fn->kicked)
		return;
	fn->kicked = waits;
	lcm_ignore((int)send(fn->sock, "", 1, MSG_DONTWAIT | MSG_NOSIGNAL));
}

/* ---- the process ---- */

static int confined(struct lcm_fn *fn, struct lcm_err *err)
{
	struct fn_reply r;
	int st;

	fn->busy = true;
	st = lcm_fn_reply(fn, &r, err);
	if (st < 0 || r.status == 0)
		return st;
	return lcm_err_set(err, -ENOTRECOVERABLE,
			   "locum-decode cannot confine itself: %.40s: %s; see locum-daemon(8)",
			   r.msg, strerror(-r.status));
}

int lcm_fn_spawn(const char *path, uint32_t uid, struct lcm_fn *fn, struct lcm_err *err)
{
	char name[] = "locum-decode", arg[16];
	char *const argv[] = { name, arg, NULL };
	lcm_autoclose int theirs = -EBADF;
	int sv[2], r;

	r = (int)lcm_errno(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sv));
	if (r < 0)
		return lcm_err_set(err, r, "no socket for a decoder: %s", strerror(-r));
	fn->sock = sv[0];
	theirs = sv[1];
	(void)snprintf(arg, sizeof(arg), "%u", uid);
	r = lcm_sys_spawn(path, argv, theirs, FN_SOCK, &fn->pid);
	if (r < 0) {
		lcm_closep(&fn->sock);
		return lcm_err_set(err, r, "%s cannot be started: %s; install locum whole", path,
				   strerror(-r));
	}
	lcm_closep(&theirs);
	r = confined(fn, err);
	if (r < 0) {
		(void)kill(fn->pid, SIGKILL);
		(void)waitpid(fn->pid, NULL, 0);
		lcm_closep(&fn->sock);
	}
	return r;
}

/* ---- memory ---- */

/* After the seal nobody but who has mapped it already can ever write to it. */
static int area_new(const char *name, uint64_t size, int seals, int *ret_fd, void **ret)
{
	lcm_autoclose int fd = (int)lcm_errno(memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING));
	void *p;
	int r = fd < 0 ? fd : lcm_sys_ftruncate(fd, size);

	if (r < 0)
		return r;
	p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED)
		return (int)lcm_errno(-1);
	r = (int)lcm_errno(
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL | seals));
	if (r < 0) {
		(void)munmap(p, size);
		return r;
	}
	*ret_fd = lcm_steal_fd(&fd);
	*ret = p;
	return 0;
}

static uint64_t area_size(uint64_t len)
{
	return FN_PAGE + ((len + FN_PAGE - 1) & ~(uint64_t)(FN_PAGE - 1));
}

int lcm_fn_mem_new(uint64_t in, uint64_t out, struct lcm_fn_mem **ret)
{
	lcm_auto(lcm_fn_mem) m = NULL;
	void *p;
	int r;

	if (in > LCM_FN_AS_MAX || out > LCM_FN_AS_MAX)
		return -EFBIG;
	m = calloc(1, sizeof(*m));
	if (!m)
		return -ENOMEM;
	m->in_fd = m->out_fd = -EBADF;
	r = area_new("locum-in", area_size(in), F_SEAL_FUTURE_WRITE, &m->in_fd, &p);
	if (r < 0)
		return r;
	m->in = p;
	m->in_size = area_size(in);
	r = area_new("locum-out", area_size(out), 0, &m->out_fd, &p);
	if (r < 0)
		return r;
	m->out = p;
	m->out_size = area_size(out);
	*ret = lcm_steal(&m);
	return 0;
}

void lcm_fn_mem_free(struct lcm_fn_mem *m)
{
	if (!m)
		return;
	if (m->in)
		(void)munmap(m->in, m->in_size);
	if (m->out)
		(void)munmap(m->out, m->out_size);
	lcm_closep(&m->in_fd);
	lcm_closep(&m->out_fd);
	free(m);
}

uint8_t *lcm_fn_mem_in(struct lcm_fn_mem *m)
{
	return (uint8_t *)m->in + FN_PAGE;
}

/* ---- requests ---- */

int lcm_fn_call(struct lcm_fn *fn, const struct fn_request *q, const struct lcm_fn_mem *m,
		struct fn_reply *ret, struct lcm_err *err)
{
	int st = lcm_fn_send(fn, q, m, err);

	if (st == 0)
		st = lcm_fn_reply(fn, ret, err);
	if (st < 0)
		return st;
	if (ret->op != q->op)
		return lcm_fn_broke(fn, err, "broke the protocol");
	st = lcm_fn_status(ret, err);
	if (st == -ENOTRECOVERABLE)
		fn->broken = true;
	return st;
}

int lcm_fn_bind(struct lcm_fn *fn, struct lcm_fn_mem *m, struct lcm_err *err)
{
	const struct fn_request q = {
		.op = FN_BIND,
		.bind = { .in_size = m->in_size, .out_size = m->out_size },
	};
	struct fn_reply reply;
	int r;

	fn->mem = m;
	fn->kicked = 0;
	r = lcm_fn_call(fn, &q, m, &reply, err);
	if (r < 0)
		fn->broken = true;
	return lcm_fn_blameless(r, err);
}

int lcm_fn_unit(struct lcm_fn *fn, const struct lcm_fn_unit *u, void *out, struct lcm_err *err)
{
	struct lcm_fn_mem *m = fn->mem;
	const struct fn_request q = {
		.op = FN_UNIT,
		.unit = { .comp = u->comp,
			  .start = u->start,
			  .bits = u->bits,
			  .has_window = u->window != NULL,
			  .in_off = u->in_off,
			  .in_len = u->in_len,
			  .skip = u->skip,
			  .len = u->len },
	};
	uint64_t room = m->in_size - FN_PAGE - (u->window ? LCM_TOC_WINDOW : 0);
	struct fn_reply reply;
	int r;

	if (u->in_off + u->in_len > room || u->len > m->out_size - FN_PAGE)
		return -EFBIG;
	if (u->window)
		memcpy(lcm_fn_mem_in(m) + room, u->window, LCM_TOC_WINDOW);
	r = lcm_fn_call(fn, &q, NULL, &reply, err);
	if (r == 0)
		memcpy(out, (const uint8_t *)m->out + FN_PAGE, u->len);
	return r;
}
