/* SPDX-License-Identifier: Apache-2.0 */
#include "src/base/listen.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "src/base/sys.h"

#define PASSED_FD 3 /* SD_LISTEN_FDS_START */

static int connect_probe(const struct sockaddr_un *sa)
{
	lcm_autoclose int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return (int)lcm_errno(-1);
	return (int)lcm_errno(connect(fd, (const struct sockaddr *)sa, sizeof(*sa)));
}

int lcm_listen_unix(const char *path, int *ret_fd, struct lcm_err *err)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	lcm_autoclose int fd = -EBADF;
	mode_t old;
	int r;

	if (strlen(path) >= sizeof(sa.sun_path))
		return lcm_err_set(err, -ENAMETOOLONG, "socket path %s is longer than %zu bytes",
				   path, sizeof(sa.sun_path) - 1);
	(void)snprintf(sa.sun_path, sizeof(sa.sun_path), "%s", path);
	r = connect_probe(&sa);
	if (r == 0)
		return lcm_err_set(err, -EADDRINUSE, "somebody already listens on %s", path);
	if (r == -ECONNREFUSED)
		lcm_ignore(lcm_sys_unlinkat(AT_FDCWD, path, 0));
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return lcm_err_set(err, -EMFILE, "socket: no descriptor");
	old = umask(0177);
	r = (int)lcm_errno(bind(fd, (const struct sockaddr *)&sa, sizeof(sa)));
	(void)umask(old);
	if (r == 0)
		r = (int)lcm_errno(listen(fd, 128));
	if (r < 0)
		return lcm_err_set(err, r, "socket %s: %s", path, strerror(-r));
	*ret_fd = lcm_steal_fd(&fd);
	return 0;
}

int lcm_listen_inherited(void)
{
	const char *pid = getenv("LISTEN_PID"), *n = getenv("LISTEN_FDS");
	char self[24];
	int flags;

	(void)snprintf(self, sizeof(self), "%d", (int)getpid());
	if (!pid || !n || strcmp(pid, self) != 0)
		return -ENOENT;
	if (strcmp(n, "1") != 0)
		return -EINVAL;
	flags = fcntl(PASSED_FD, F_GETFL);
	if (flags < 0 || fcntl(PASSED_FD, F_SETFL, flags | O_NONBLOCK) < 0 ||
	    fcntl(PASSED_FD, F_SETFD, FD_CLOEXEC) < 0)
		return (int)lcm_errno(-1);
	return PASSED_FD;
}

void lcm_listen_stored(void (*fn)(void *arg, const char *name, int fd), void *arg)
{
	const char *pid = getenv("LISTEN_PID"), *n = getenv("LISTEN_FDS"),
		   *names = getenv("LISTEN_FDNAMES");
	char self[24], name[256];
	unsigned int count = 0;

	(void)snprintf(self, sizeof(self), "%d", (int)getpid());
	if (!pid || !n || !names || strcmp(pid, self) != 0 || sscanf(n, "%5u", &count) != 1)
		return;
	for (unsigned int i = 0; i < count; i++) {
		size_t len = strcspn(names, ":");

		(void)snprintf(name, sizeof(name), "%.*s", (int)LCM_MIN(len, sizeof(name) - 1),
			       names);
		names += len + (names[len] == ':');
		if (fcntl(PASSED_FD + (int)i, F_SETFD, FD_CLOEXEC) == 0)
			fn(arg, name, PASSED_FD + (int)i);
	}
}

int lcm_notify_fds(const char *state, const int *fds, size_t n)
{
	const char *path = getenv("NOTIFY_SOCKET");
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	size_t len = path ? strlen(path) : 0;
	lcm_autoclose int fd = -EBADF;

	if (len < 2 || len >= sizeof(sa.sun_path) || (*path != '/' && *path != '@') || n > 2)
		return -ENOENT;
	memcpy(sa.sun_path, path, len);
	if (*path == '@')
		sa.sun_path[0] = '\0';
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return (int)lcm_errno(-1);
	return lcm_sys_send_fds(fd, (const struct sockaddr *)&sa,
				(socklen_t)(offsetof(struct sockaddr_un, sun_path) + len), state,
				strlen(state), fds, n);
}

void lcm_notify(const char *state)
{
	lcm_ignore(lcm_notify_fds(state, NULL, 0));
}
