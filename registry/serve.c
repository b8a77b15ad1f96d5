/* SPDX-License-Identifier: Apache-2.0 */
#include "registry/serve.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "registry/serve_answer.h"
#include "registry/serve_layout.h"
#include "src/base/sys.h"

/* Answers are prepared (open, stat, read of a manifest) on these; bodies too. */
#define THREADS 4
#define CONNECTIONS_MAX 1000
/* Seconds without a byte in either direction; held connections do not count. */
#define IDLE_S 120

/* Splits "ADDR:PORT" or "[ADDR]:PORT". */
static int split_listen(const char *s, char *addr, size_t addr_len, char port[6])
{
	const char *colon = strrchr(s, ':');
	size_t len = colon ? (size_t)(colon - s) : 0;
	uint64_t n;

	if (!colon || lcm_serve_number(colon + 1, strlen(colon + 1), &n) < 0 || n > 65535)
		return -EINVAL;
	if (len >= 2 && s[0] == '[' && s[len - 1] == ']') {
		s++;
		len -= 2;
	} else if (memchr(s, ':', len)) {
		return -EINVAL;
	}
	if (len == 0 || len >= addr_len)
		return -EINVAL;
	memcpy(addr, s, len);
	addr[len] = '\0';
	if (strcmp(addr, "localhost") == 0)
		(void)snprintf(addr, addr_len, "127.0.0.1");
	(void)snprintf(port, 6, "%u", (unsigned int)n);
	return 0;
}

static bool is_loopback(const struct sockaddr *sa)
{
	const struct sockaddr_in *in = (const void *)sa;
	const struct sockaddr_in6 *in6 = (const void *)sa;

	if (sa->sa_family == AF_INET)
		return ntohl(in->sin_addr.s_addr) >> 24 == 127;
	return sa->sa_family == AF_INET6 && IN6_IS_ADDR_LOOPBACK(&in6->sin6_addr);
}

static int listen_on(const struct addrinfo *ai)
{
	lcm_autoclose int fd =
	    (int)lcm_errno(socket(ai->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
	int one = 1, r;

	if (fd < 0)
		return fd;
	r = (int)lcm_errno(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)));
	if (r == 0)
		r = (int)lcm_errno(bind(fd, ai->ai_addr, ai->ai_addrlen));
	if (r == 0)
		r = (int)lcm_errno(listen(fd, 512));
	return r < 0 ? r : lcm_steal_fd(&fd);
}

/* The bound address, with the port that the kernel chose. */
static int set_url(struct lcm_serve *s, int fd)
{
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);
	char addr[INET6_ADDRSTRLEN], port[6];
	int r = (int)lcm_errno(getsockname(fd, (struct sockaddr *)&ss, &len));

	if (r < 0)
		return r;
	if (getnameinfo((struct sockaddr *)&ss, len, addr, sizeof(addr), port, sizeof(port),
			NI_NUMERICHOST | NI_NUMERICSERV))
		return -EINVAL;
	(void)snprintf(s->url, sizeof(s->url),
		       ss.ss_family == AF_INET6 ? "http://[%s]:%s" : "http://%s:%s", addr, port);
	s->host = s->url + strlen("http://");
	return 0;
}

static int open_socket(struct lcm_serve *s, const struct lcm_serve_config *cfg, struct lcm_err *err)
{
	const char *where = cfg->listen ? cfg->listen : "127.0.0.1:0";
	struct addrinfo hints = { .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE,
				  .ai_socktype = SOCK_STREAM };
	char addr[INET6_ADDRSTRLEN], port[6];
	struct addrinfo *ai;
	int fd, r;

	r = split_listen(where, addr, sizeof(addr), port);
	if (r < 0 || getaddrinfo(addr, port, &hints, &ai) != 0)
		return lcm_err_set(
		    err, -EINVAL,
		    "%s: not an address; write ADDR:PORT or [ADDR]:PORT, port 0 for a free one",
		    where);
	if (!cfg->public && !is_loopback(ai->ai_addr)) {
		freeaddrinfo(ai);
		return lcm_err_set(
		    err, -EPERM,
		    "%s: not a loopback address; others could read the images: --public allows it",
		    where);
	}
	fd = listen_on(ai);
	freeaddrinfo(ai);
	if (fd < 0)
		return lcm_err_set(err, fd, "%s: %s; port 0 takes a free one", where,
				   strerror(-fd));
	r = set_url(s, fd);
	if (r < 0) {
		lcm_closep(&fd);
		return lcm_err_set(err, r, "%s: %s", where, strerror(-r));
	}
	return fd;
}

/* The directory's own name when it may stand in a reference. */
static void set_repo(struct lcm_serve *s, const char *dir)
{
	lcm_autofree char *real = realpath(dir, NULL);
	const char *base = real ? strrchr(real, '/') + 1 : "";

	if (!lcm_serve_repo_valid(base, strlen(base)))
		base = "image";
	(void)snprintf(s->repo, sizeof(s->repo), "%s", base);
}

/* MHD's own complaints are of no use to a user; a client that goes away is not an event. */
static void no_log(void *arg, const char *fmt, va_list ap)
{
	(void)arg;
	(void)fmt;
	(void)ap;
}

static struct MHD_Daemon *start_mhd(struct lcm_serve *s, int fd)
{
	return MHD_start_daemon(
	    MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG, 0, NULL,
	    NULL, lcm_serve_answer, s, MHD_OPTION_EXTERNAL_LOGGER, no_log, NULL,
	    MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_THREAD_POOL_SIZE, (unsigned int)THREADS,
	    MHD_OPTION_CONNECTION_LIMIT, (unsigned int)CONNECTIONS_MAX,
	    MHD_OPTION_CONNECTION_TIMEOUT, (unsigned int)IDLE_S, MHD_OPTION_NOTIFY_COMPLETED,
	    lcm_serve_answered, s, MHD_OPTION_END);
}

int lcm_serve_new(const struct lcm_serve_config *cfg, struct lcm_serve **ret, struct lcm_err *err)
{
	lcm_auto(lcm_serve) s = calloc(1, sizeof(*s));
	lcm_autoclose int fd = -EBADF;
	int r;

	if (!s)
		return -ENOMEM;
	s->dir = lcm_serve_layout_open(cfg->dir, err);
	if (s->dir < 0)
		return s->dir;
	set_repo(s, cfg->dir);
	if (cfg->hook) {
		s->hook = *cfg->hook;
		s->hooked = true;
		r = lcm_holder_init(&s->holder);
		if (r < 0)
			return lcm_err_set(err, r, "%s: cannot start a thread: %s", cfg->dir,
					   strerror(-r));
		s->holder_live = true;
	}
	fd = open_socket(s, cfg, err);
	if (fd < 0)
		return fd;
	s->mhd = start_mhd(s, fd);
	if (!s->mhd)
		return lcm_err_set(err, -ENOMEM, "%s: cannot start the server's threads", cfg->dir);
	(void)lcm_steal_fd(&fd); /* closed by MHD_stop_daemon() */
	*ret = lcm_steal(&s);
	return 0;
}

void lcm_serve_free(struct lcm_serve *s)
{
	if (!s)
		return;
	if (s->holder_live)
		lcm_holder_close(&s->holder);
	if (s->mhd)
		MHD_stop_daemon(s->mhd);
	if (s->holder_live)
		lcm_holder_fini(&s->holder);
	lcm_closep(&s->dir);
	free(s);
}

const char *lcm_serve_url(const struct lcm_serve *s)
{
	return s->url;
}

const char *lcm_serve_host(const struct lcm_serve *s)
{
	return s->host;
}

void lcm_serve_hold(struct lcm_serve *s, bool on)
{
	if (s->holder_live)
		lcm_holder_set(&s->holder, on);
}

unsigned int lcm_serve_held(struct lcm_serve *s)
{
	return s->holder_live ? lcm_holder_count(&s->holder) : 0;
}
