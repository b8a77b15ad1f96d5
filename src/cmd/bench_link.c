/* SPDX-License-Identifier: Apache-2.0 */
#include "src/cmd/bench_link.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <netdb.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>

#include "src/base/sys.h"
#include "src/cmd/bench_relay.h"

/* ---- the registries' addresses ---- */

struct names {
	struct bench_relay_door doors[2 * BENCH_LINK_HOSTS_MAX];
	size_t n;
	char text[BENCH_LINK_HOSTS_MAX * 300]; /* of /etc/hosts */
};

static int add_door(struct names *n, struct in_addr ip, uint16_t port)
{
	struct bench_relay_door *d = &n->doors[n->n];

	for (size_t i = 0; i < n->n; i++)
		if (n->doors[i].to.sin_addr.s_addr == ip.s_addr &&
		    n->doors[i].to.sin_port == htons(port))
			return 0;
	if (n->n == LCM_ARRAY_SIZE(n->doors))
		return -E2BIG;
	d->to =
	    (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons(port), .sin_addr = ip };
	d->listener = -EBADF;
	n->n++;
	return 0;
}

static int resolve(const char *name, struct in_addr *ret)
{
	const struct addrinfo hints = { .ai_family = AF_INET, .ai_socktype = SOCK_STREAM };
	struct addrinfo *a = NULL;

	if (getaddrinfo(name, NULL, &hints, &a) != 0 || !a)
		return -ENOENT;
	*ret = ((const struct sockaddr_in *)(const void *)a->ai_addr)->sin_addr;
	freeaddrinfo(a);
	return 0;
}

static int add_host(struct names *n, const char *host, struct lcm_err *err)
{
	char name[264], ip[INET_ADDRSTRLEN];
	size_t len = strcspn(host, ":"), used = strlen(n->text);
	unsigned int port = 0;
	struct in_addr in;
	int r;

	(void)snprintf(name, sizeof(name), "%.*s", (int)len, host);
	if (host[len] && (sscanf(host + len, ":%5u", &port) != 1 || !port || port > UINT16_MAX))
		return lcm_err_set(err, -EINVAL, "registry %s: no IPv4 address and port", host);
	if (resolve(name, &in) < 0)
		return lcm_err_set(
		    err, -ENOTSUP,
		    "registry %s has no IPv4 address here: --rate and --rtt need one", name);
	r = add_door(n, in, port ? (uint16_t)port : 443);
	if (r == 0 && !port)
		r = add_door(n, in, 80);
	if (r < 0)
		return lcm_err_set(err, r, "more than %d registries", BENCH_LINK_HOSTS_MAX);
	if (inet_addr(name) == INADDR_NONE)
		(void)snprintf(n->text + used, sizeof(n->text) - used, "%s %s\n",
			       inet_ntop(AF_INET, &in, ip, sizeof(ip)), name);
	return 0;
}

/* ---- the namespace ---- */

/* The loopback device has it, as alias @i; 127.0.0.0/8 it has anyway. */
static int add_address(int sock, struct in_addr ip, unsigned int i)
{
	struct ifreq q = { .ifr_flags = 0 };
	struct sockaddr_in *in = (struct sockaddr_in *)(void *)&q.ifr_addr;

	if (ntohl(ip.s_addr) >> 24 == 127)
		return 0;
	(void)snprintf(q.ifr_name, sizeof(q.ifr_name), "lo:%u", (i + 1) % 1000);
	in->sin_family = AF_INET;
	in->sin_addr = ip;
	return (int)lcm_errno(ioctl(sock, SIOCSIFADDR, &q));
}

static int loopback_up(int sock)
{
	struct ifreq q = { .ifr_name = "lo", .ifr_flags = 0 };
	int r = (int)lcm_errno(ioctl(sock, SIOCGIFFLAGS, &q));

	q.ifr_flags |= IFF_UP;
	return r < 0 ? r : (int)lcm_errno(ioctl(sock, SIOCSIFFLAGS, &q));
}

static int listen_at(const struct sockaddr_in *at, int *ret)
{
	lcm_autoclose int fd =
	    (int)lcm_errno(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
	int r = fd;

	if (r >= 0)
		r = (int)lcm_errno(bind(fd, (const struct sockaddr *)at, sizeof(*at)));
	if (r >= 0)
		r = (int)lcm_errno(listen(fd, SOMAXCONN));
	if (r >= 0)
		*ret = lcm_steal_fd(&fd);
	return LCM_MIN(r, 0);
}

static int open_doors(struct names *n)
{
	lcm_autoclose int sock = (int)lcm_errno(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
	int r = sock < 0 ? sock : loopback_up(sock);

	for (unsigned int i = 0; r == 0 && i < n->n; i++) {
		r = add_address(sock, n->doors[i].to.sin_addr, i);
		if (r == 0)
			r = listen_at(&n->doors[i].to, &n->doors[i].listener);
	}
	return r;
}

static int hide_hosts(const struct names *n, const char *dir)
{
	char path[300], text[sizeof(n->text) + 32];
	int r, len = snprintf(text, sizeof(text), "127.0.0.1 localhost\n%s", n->text);

	if (!n->text[0])
		return 0;
	(void)snprintf(path, sizeof(path), "%s/hosts", dir);
	r = lcm_write_file_at(AT_FDCWD, path, text, (size_t)len, 0644);
	return r < 0 ? r : (int)lcm_errno(mount(path, "/etc/hosts", NULL, MS_BIND, NULL));
}

static void relay_and_exit(const struct bench_link *link, struct names *n, int host_ns)
{
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (setns(host_ns, CLONE_NEWNET) < 0)
		_exit(1);
	bench_relay(link, n->doors, n->n);
	_exit(1);
}

int bench_link_enter(const struct bench_link *link, const char *const *hosts, size_t n_hosts,
		     const char *dir, struct lcm_err *err)
{
	lcm_autoclose int host_ns = lcm_sys_openat(AT_FDCWD, "/proc/self/ns/net", O_RDONLY, 0);
	struct names n = { .n = 0 };
	pid_t pid;
	int r = host_ns < 0 ? host_ns : 0;

	for (size_t i = 0; r == 0 && i < n_hosts; i++) {
		r = add_host(&n, hosts[i], err);
		if (r < 0)
			return r;
	}
	if (r == 0)
		r = (int)lcm_errno(unshare(CLONE_NEWNET));
	if (r == 0)
		r = open_doors(&n);
	if (r == 0)
		r = hide_hosts(&n, dir);
	if (r < 0)
		return lcm_err_set(err, r, "no network namespace behind a link: %s", strerror(-r));
	(void)fflush(NULL);
	pid = fork();
	if (pid == 0)
		relay_and_exit(link, &n, host_ns);
	for (size_t i = 0; i < n.n; i++)
		lcm_closep(&n.doors[i].listener);
	return pid < 0 ? lcm_err_set(err, -EAGAIN, "no process for the link") : 0;
}
