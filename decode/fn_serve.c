/* SPDX-License-Identifier: Apache-2.0 */
/* fn_serve.c - a function's main loop: bind, decode, answer. */
#include "decode/fn_serve.h"

#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "decode/fn.h"
#include "decode/unit.h"
#include "src/base/sys.h"

static void give_up(void) __attribute__((noreturn));
static void give_up(void)
{
	_exit(1);
}

void lcm_fn_side_kick(struct lcm_fn_side *f)
{
	uint32_t waits = atomic_load(&f->in->waits);

	if (!(waits & 1) || waits == f->kicked)
		return;
	f->kicked = waits;
	/* A full socket has bytes that wake the daemon already. */
	lcm_ignore((int)send(FN_SOCK, "", 1, MSG_DONTWAIT | MSG_NOSIGNAL));
}

void lcm_fn_side_wait(struct lcm_fn_side *f, bool (*ready)(void *arg), void *arg)
{
	char byte;

	lcm_fn_side_kick(f);
	atomic_fetch_add(&f->out->waits, 1);
	while (!ready(arg)) {
		if (atomic_load(&f->in->stop) || lcm_errno(recv(FN_SOCK, &byte, 1, 0)) <= 0)
			give_up();
		atomic_fetch_add(&f->out->waits, 2);
	}
	atomic_fetch_add(&f->out->waits, 1);
}

static void unbind(struct lcm_fn_side *f)
{
	if (f->in)
		(void)munmap((void *)(uintptr_t)f->in, f->in_size);
	if (f->out)
		(void)munmap(f->out, f->out_size);
	*f = (struct lcm_fn_side){ 0 };
}

static int bind_memory(struct lcm_fn_side *f, const struct fn_bind *b, const int fds[2])
{
	void *in, *out;

	unbind(f);
	if (b->in_size < FN_PAGE || b->out_size < FN_PAGE || fds[0] < 0 || fds[1] < 0)
		return -EINVAL;
	in = mmap(NULL, b->in_size, PROT_READ, MAP_SHARED, fds[0], 0);
	if (in == MAP_FAILED)
		return (int)lcm_errno(-1);
	f->in = in;
	f->in_size = b->in_size;
	out = mmap(NULL, b->out_size, PROT_READ | PROT_WRITE, MAP_SHARED, fds[1], 0);
	if (out == MAP_FAILED)
		return (int)lcm_errno(-1);
	f->out = out;
	f->out_size = b->out_size;
	return 0;
}

static int unit(struct lcm_fn_side *f, const struct fn_unit *q)
{
	uint64_t room = f->in_size - FN_PAGE;
	const uint8_t *in = lcm_fn_side_in(f);
	struct lcm_unit u = {
		.comp = (enum lcm_compression)q->comp,
		.start = (enum lcm_toc_start)q->start,
		.bits = q->bits,
		.in_len = q->in_len,
		.skip = q->skip,
		.len = q->len,
	};

	if (!f->out || q->in_off > room || q->in_len > room - q->in_off ||
	    q->len > f->out_size - FN_PAGE)
		return -EINVAL;
	u.in = in + q->in_off;
	if (q->has_window) {
		if (room < LCM_TOC_WINDOW)
			return -EINVAL;
		u.window = in + room - LCM_TOC_WINDOW;
	}
	return lcm_unit_decode(&u, lcm_fn_side_out(f));
}

static void serve_one(struct lcm_fn_side *f, const struct fn_request *q, const int fds[2])
{
	struct fn_reply r = { .op = q->op, .status = -EINVAL };

	switch (q->op) {
	case FN_BIND:
		r.status = bind_memory(f, &q->bind, fds);
		break;
	case FN_UNIT:
		r.status = unit(f, &q->unit);
		break;
	case FN_STREAM:
		if (f->out)
			lcm_fn_side_stream(f, &q->stream, &r);
		break;
	case FN_TOC:
		if (f->out)
			lcm_fn_side_toc(f, &q->toc, &r);
		break;
	case FN_JSON:
		if (f->out)
			lcm_fn_side_json(f, &q->json, &r);
		break;
	default:
		break;
	}
	if (lcm_errno(send(FN_SOCK, &r, sizeof(r), MSG_NOSIGNAL)) < 0)
		give_up();
}

/* One message, with up to two descriptors. Return: its length, 0 at the end. */
static ssize_t receive(struct fn_request *q, int fds[2])
{
	union {
		struct cmsghdr h;
		char space[CMSG_SPACE(2 * sizeof(int))];
	} c;
	struct iovec v = { .iov_base = q, .iov_len = sizeof(*q) };
	struct msghdr m = {
		.msg_iov = &v, .msg_iovlen = 1, .msg_control = &c, .msg_controllen = sizeof(c)
	};
	ssize_t n = recvmsg(FN_SOCK, &m, MSG_CMSG_CLOEXEC);
	struct cmsghdr *h = n > 0 ? CMSG_FIRSTHDR(&m) : NULL;

	if (h && h->cmsg_type == SCM_RIGHTS && h->cmsg_len == CMSG_LEN(2 * sizeof(int)))
		memcpy(fds, CMSG_DATA(h), 2 * sizeof(int));
	return n;
}

void lcm_fn_serve(void)
{
	struct lcm_fn_side f = { 0 };
	struct fn_request q;
	ssize_t n;

	for (;;) {
		int fds[2] = { -EBADF, -EBADF };

		memset(&q, 0, sizeof(q));
		n = receive(&q, fds);
		if (n <= 0)
			return;
		if (n == sizeof(q))
			serve_one(&f, &q, fds);
		lcm_closep(&fds[0]);
		lcm_closep(&fds[1]);
	}
}
