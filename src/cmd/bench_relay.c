/* SPDX-License-Identifier: Apache-2.0 */
#include "src/cmd/bench_relay.h"

#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <sys/queue.h>
#include <time.h>

#include "src/base/sys.h"

#define CONNECTIONS_MAX 256
#define CHUNK 16384U
/* Of a pipe, for a reader that is slower than the link, beyond what is under way. */
#define QUEUE_MORE (256U << 10)
/* What a link holds before its bottleneck: a round trip's worth, and no less than this. */
#define BUFFER_MIN_NS 5000000U

struct chunk {
	STAILQ_ENTRY(chunk) next;
	uint64_t due;
	size_t len, off; /* len 0: the end */
	char data[];
};

struct pipe {
	STAILQ_HEAD(, chunk) queue;
	size_t queued;
	bool read_ended, ended;
};

struct connection {
	int fd[2];           /* owned; the client's, the registry's; -EBADF: this place is free */
	struct pipe pipe[2]; /* of what is read from fd[i]; goes to fd[1 - i] */
	bool fresh;          /* the handshake's round trip is still to be paid */
};

struct relay {
	struct bench_link link;
	struct bench_lane lanes[2];
	uint64_t buffer_ns;
	size_t queue_max;
	struct connection c[CONNECTIONS_MAX];
	struct pollfd polls[2 * CONNECTIONS_MAX + 2 * BENCH_LINK_HOSTS_MAX];
};

uint64_t bench_lane_send(struct bench_lane *lane, const struct bench_link *link, uint64_t now,
			 size_t len)
{
	uint64_t takes = link->bytes_per_s ? (uint64_t)len * 1000000000U / link->bytes_per_s : 0;

	lane->free_ns = LCM_MAX(lane->free_ns, now) + takes;
	return lane->free_ns + link->rtt_ns / 2;
}

static void forget(struct connection *c)
{
	for (int i = 0; i < 2; i++) {
		struct chunk *k;

		while ((k = STAILQ_FIRST(&c->pipe[i].queue))) {
			STAILQ_REMOVE_HEAD(&c->pipe[i].queue, next);
			free(k);
		}
		lcm_closep(&c->fd[i]);
	}
}

/* ---- reading ---- */

static void put(struct relay *r, struct connection *c, int i, struct chunk *k, uint64_t now)
{
	k->due = bench_lane_send(&r->lanes[i], &r->link, now, k->len);
	if (i == 0 && c->fresh) {
		k->due += r->link.rtt_ns;
		c->fresh = false;
	}
	STAILQ_INSERT_TAIL(&c->pipe[i].queue, k, next);
	c->pipe[i].queued += k->len;
}

/* Return: 0, -errno: the connection is broken. */
static int fill(struct relay *r, struct connection *c, int i, uint64_t now)
{
	struct chunk *k = malloc(sizeof(*k) + CHUNK);
	ssize_t n;

	if (!k)
		return -ENOMEM;
	n = lcm_sys_read(c->fd[i], k->data, CHUNK);
	if (n < 0) {
		free(k);
		return n == -EAGAIN ? 0 : (int)n;
	}
	k->len = (size_t)n;
	k->off = 0;
	c->pipe[i].read_ended = n == 0;
	put(r, c, i, k, now);
	return 0;
}

/* ---- writing ---- */

static int drain(struct connection *c, int i, uint64_t now)
{
	struct pipe *p = &c->pipe[i];
	struct chunk *k;

	while ((k = STAILQ_FIRST(&p->queue)) && k->due <= now) {
		ssize_t n = k->len ? lcm_errno(send(c->fd[1 - i], k->data + k->off, k->len - k->off,
						    MSG_NOSIGNAL))
				   : 0;

		if (n == -EAGAIN)
			return 0;
		if (n < 0)
			return (int)n;
		k->off += (size_t)n;
		p->queued -= (size_t)n;
		if (k->off < k->len)
			continue;
		if (!k->len) {
			(void)shutdown(c->fd[1 - i], SHUT_WR);
			p->ended = true;
		}
		STAILQ_REMOVE_HEAD(&p->queue, next);
		free(k);
	}
	return 0;
}

/* ---- connections ---- */

static int connect_to(const struct sockaddr_in *to)
{
	lcm_autoclose int fd = (int)lcm_errno(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
	const int one = 1;
	int r = fd < 0 ? fd : (int)lcm_errno(connect(fd, (const struct sockaddr *)to, sizeof(*to)));

	if (r >= 0)
		r = (int)lcm_errno(fcntl(fd, F_SETFL, O_NONBLOCK));
	if (r < 0)
		return r;
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	return lcm_steal_fd(&fd);
}

/* A registry that is not there shows as a connection that is closed. */
static void welcome(struct relay *r, const struct bench_relay_door *d)
{
	lcm_autoclose int fd =
	    (int)lcm_errno(accept4(d->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC));
	lcm_autoclose int there = fd < 0 ? fd : connect_to(&d->to);
	const int one = 1;

	if (there < 0)
		return;
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	for (size_t i = 0; i < CONNECTIONS_MAX; i++) {
		struct connection *c = &r->c[i];

		if (c->fd[0] >= 0)
			continue;
		*c = (struct connection){ .fd = { lcm_steal_fd(&fd), lcm_steal_fd(&there) },
					  .fresh = true };
		STAILQ_INIT(&c->pipe[0].queue);
		STAILQ_INIT(&c->pipe[1].queue);
		return;
	}
}

static short wanted(const struct relay *r, const struct connection *c, int i, uint64_t now,
		    uint64_t *wake)
{
	const struct pipe *in = &c->pipe[i], *out = &c->pipe[1 - i];
	const struct chunk *k = STAILQ_FIRST(&out->queue);
	uint64_t free_ns = r->lanes[i].free_ns;
	int events = 0;

	if (!in->read_ended && in->queued < r->queue_max) {
		if (free_ns < now + r->buffer_ns)
			events = POLLIN;
		else
			*wake = LCM_MIN(*wake, free_ns - r->buffer_ns + 1);
	}

	if (k && k->due <= now)
		events |= POLLOUT;
	else if (k)
		*wake = LCM_MIN(*wake, k->due);
	return (short)events;
}

static void serve(struct relay *r, struct connection *c, const struct pollfd p[2], uint64_t now)
{
	int s = 0;

	for (int i = 0; s == 0 && i < 2; i++) {
		if (p[i].revents & (POLLIN | POLLHUP | POLLERR) && p[i].events & POLLIN)
			s = fill(r, c, i, now);
		if (s == 0)
			s = drain(c, i, now);
	}
	if (s < 0 || (c->pipe[0].ended && c->pipe[1].ended))
		forget(c);
}

/* Return: how many of r->polls are connections'; @wake: when the next chunk arrives. */
static size_t ask(struct relay *r, uint64_t now, uint64_t *wake)
{
	size_t n = 0;

	*wake = UINT64_MAX;
	for (size_t i = 0; i < CONNECTIONS_MAX; i++) {
		if (r->c[i].fd[0] < 0)
			continue;
		for (int k = 0; k < 2; k++) {
			short events = wanted(r, &r->c[i], k, now, wake);

			/* One that has hung up would be told of again and again. */
			r->polls[n++] = (struct pollfd){ .fd = events ? r->c[i].fd[k] : -1,
							 .events = events };
		}
	}
	return n;
}

static int turn(struct relay *r, const struct bench_relay_door *doors, size_t n_doors)
{
	uint64_t now = lcm_now_ns(), wake, wait;
	size_t n = ask(r, now, &wake), at = 0;
	struct timespec ts;

	for (size_t i = 0; i < n_doors; i++)
		r->polls[n + i] = (struct pollfd){ .fd = doors[i].listener, .events = POLLIN };
	wait = wake > now ? wake - now : 0;
	ts = (struct timespec){ .tv_sec = (time_t)(wait / 1000000000U),
				.tv_nsec = (long)(wait % 1000000000U) };
	if (ppoll(r->polls, n + n_doors, wake == UINT64_MAX ? NULL : &ts, NULL) < 0)
		return -EIO;
	now = lcm_now_ns();
	for (size_t i = 0; i < CONNECTIONS_MAX && at < n; i++) {
		if (r->c[i].fd[0] < 0)
			continue;
		serve(r, &r->c[i], &r->polls[at], now);
		at += 2;
	}
	for (size_t i = 0; i < n_doors; i++)
		if (r->polls[n + i].revents)
			welcome(r, &doors[i]);
	return 0;
}

void bench_relay(const struct bench_link *link, const struct bench_relay_door *doors, size_t n)
{
	lcm_autofree struct relay *r = calloc(1, sizeof(*r));

	if (!r)
		return;
	r->link = *link;
	r->queue_max = QUEUE_MORE + (size_t)((double)link->bytes_per_s *
					     (double)(2 * link->rtt_ns + BUFFER_MIN_NS) / 1e9);
	r->buffer_ns = LCM_MAX(link->rtt_ns, (uint64_t)BUFFER_MIN_NS);
	for (size_t i = 0; i < CONNECTIONS_MAX; i++)
		r->c[i].fd[0] = r->c[i].fd[1] = -EBADF;
	while (turn(r, doors, n) == 0)
		;
}
