/* SPDX-License-Identifier: Apache-2.0 */
/*
 * locum_holder.c - keeps the gates' descriptors while there is no daemon (keep.h).
 *
 * It reads nothing from them and decides nothing. Started with the listening socket as descriptor
 * 3; its argument, the socket's path, is for those who look at processes.
 */
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <linux/fuse.h>

#include "src/base/sys.h"
#include "src/daemon/keep.h"

#define CLIENTS_MAX 4
#define NOTIFY_RESEND 7 /* FUSE_NOTIFY_RESEND; not in old headers */

struct entry {
	char name[65];
	int fds[2]; /* owned */
};

static struct entry entries[LCM_KEEP_MAX];
static size_t n_entries;
static int clients[CLIENTS_MAX];
static size_t n_clients;
/* the listening socket, clients, and of each entry /dev/fuse, which says when its mount is gone */
static struct pollfd polled[1 + CLIENTS_MAX + LCM_KEEP_MAX];

static void drop(size_t i)
{
	lcm_closep(&entries[i].fds[0]);
	lcm_closep(&entries[i].fds[1]);
	entries[i] = entries[--n_entries];
}

static void drop_name(const char *name)
{
	for (size_t i = 0; i < n_entries; i++)
		if (strcmp(entries[i].name, name) == 0)
			drop(i--);
}

static void put(const struct lcm_keep_msg *m, int fds[2])
{
	drop_name(m->name);
	if (fds[0] < 0 || n_entries == LCM_KEEP_MAX) {
		lcm_closep(&fds[0]);
		lcm_closep(&fds[1]);
		return;
	}
	memcpy(entries[n_entries].name, m->name, sizeof(m->name));
	memcpy(entries[n_entries].fds, fds, sizeof(entries[0].fds));
	n_entries++;
}

static int list(int sock)
{
	struct lcm_keep_msg m = { .op = LCM_KEEP_PUT };
	int r = 0;

	for (size_t i = 0; r == 0 && i < n_entries; i++) {
		memcpy(m.name, entries[i].name, sizeof(m.name));
		r = lcm_keep_send(sock, &m, entries[i].fds);
	}
	m = (struct lcm_keep_msg){ .op = LCM_KEEP_END };
	return r < 0 ? r : lcm_keep_send(sock, &m, NULL);
}

/* Requests that a dead daemon has read wait again, and their waiters can be killed. */
static void give_back(void)
{
	const struct fuse_out_header out = { .len = sizeof(out), .error = NOTIFY_RESEND };

	for (size_t i = 0; i < n_entries; i++)
		lcm_ignore(lcm_sys_write_full(entries[i].fds[0], &out, sizeof(out)));
}

/* Returns false when the client is gone. */
static bool serve(int sock)
{
	struct lcm_keep_msg m;
	int fds[2], r = lcm_keep_receive(sock, &m, fds);

	if (r == -EMFILE)
		return true; /* all others stay */
	if (r <= 0)
		return false;
	if (m.op == LCM_KEEP_PUT) {
		put(&m, fds);
		return true;
	}
	lcm_closep(&fds[0]);
	lcm_closep(&fds[1]);
	if (m.op == LCM_KEEP_DEL)
		drop_name(m.name);
	return m.op == LCM_KEEP_DEL || (m.op == LCM_KEEP_LIST && list(sock) == 0) ||
	       (m.op == LCM_KEEP_HELLO && lcm_keep_send(sock, &m, NULL) == 0);
}

/* All that it has said. Returns false when the client is gone. */
static bool serve_all(int sock)
{
	struct pollfd p = { .fd = sock, .events = POLLIN };

	while (poll(&p, 1, 0) > 0)
		if (!serve(sock))
			return false;
	return true;
}

static void accept_client(void)
{
	int fd = accept4(LCM_KEEP_LISTEN_FD, NULL, NULL, SOCK_CLOEXEC);

	if (fd >= 0 && n_clients < CLIENTS_MAX)
		clients[n_clients++] = fd;
	else
		lcm_closep(&fd);
}

/* The older first: what a dead daemon has said counts before the next one asks. */
static void serve_clients(void)
{
	size_t left = 0, had = n_clients;

	for (size_t i = 0; i < had; i++) {
		if (serve_all(clients[i]))
			clients[left++] = clients[i];
		else
			(void)close(clients[i]);
	}
	n_clients = left;
	if (left < had && left == 0)
		give_back();
}

static void turn(void)
{
	size_t had = n_entries, n = 0;

	polled[n++] = (struct pollfd){ .fd = LCM_KEEP_LISTEN_FD, .events = POLLIN };
	for (size_t i = 0; i < n_clients; i++)
		polled[n++] = (struct pollfd){ .fd = clients[i], .events = POLLIN };
	for (size_t i = 0; i < had; i++)
		polled[n++] = (struct pollfd){ .fd = entries[i].fds[0] };
	if (poll(polled, n, -1) < 0)
		return;
	/* From the end, so that what was polled keeps its place. */
	for (size_t i = had; i > 0; i--)
		if (polled[n_clients + i].revents)
			drop(i - 1);
	serve_clients();
	if (polled[0].revents)
		accept_client();
}

int main(void)
{
	struct rlimit rl;

	(void)signal(SIGPIPE, SIG_IGN);
	(void)signal(SIGHUP, SIG_IGN);
	(void)signal(SIGINT, SIG_IGN);
	(void)prctl(PR_SET_DUMPABLE, 0);
	if (getrlimit(RLIMIT_NOFILE, &rl) == 0) {
		rl.rlim_cur = rl.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &rl);
	}
	/* The first client is waited for: the daemon that has started us. */
	do
		turn();
	while (n_entries || n_clients);
	return 0;
}
