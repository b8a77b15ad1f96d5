/* SPDX-License-Identifier: Apache-2.0 */
#include "registry/helper.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <openssl/crypto.h>

#include "src/base/buf.h"
#include "src/base/sys.h"

#define HUB "https://index.docker.io/v1/"
#define NOT_FOUND "credentials not found"
#define DEFAULT_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
#define SAID_MAX 200 /* of its output in an error text */

struct lcm_helper {
	char name[96];
	lcm_helper_fn fn;
	void *arg;
	pid_t pid;
	int pidfd, out;                /* owned */
	struct lcm_loop_fd *ends, *in; /* owned */
	struct lcm_timer *timeout;     /* owned */
	struct lcm_buf said;           /* secret */
};

/* It has ended, or was killed. Return: as waitpid(2) has it. */
static int reap(struct lcm_helper *h)
{
	int status = 0;

	while (lcm_errno(waitpid(h->pid, &status, 0)) == -EINTR)
		;
	h->pid = 0;
	return status;
}

void lcm_helper_free(struct lcm_helper *h)
{
	if (!h)
		return;
	lcm_loop_del_fd(h->ends);
	lcm_loop_del_fd(h->in);
	lcm_timer_free(h->timeout);
	if (h->pid > 0) {
		(void)kill(-h->pid, SIGKILL);
		(void)reap(h);
	}
	lcm_closep(&h->pidfd);
	lcm_closep(&h->out);
	if (h->said.data)
		OPENSSL_cleanse(h->said.data, h->said.cap);
	lcm_buf_fini(&h->said);
	free(h);
}

/* ---- its end ---- */

/* A helper that fails says why on its output: one line, and nothing that a terminal obeys. */
static int failed(struct lcm_helper *h, int status, struct lcm_err *err)
{
	char said[SAID_MAX + 1];
	size_t n = LCM_MIN(h->said.len, (size_t)SAID_MAX);

	memcpy(said, lcm_buf_str(&h->said), n);
	said[n] = '\0';
	said[strcspn(said, "\r\n")] = '\0';
	for (char *p = said; *p; p++)
		if ((unsigned char)*p < ' ' || *p == 0x7f)
			*p = '?';
	if (strstr(said, NOT_FOUND))
		return lcm_err_set(err, -ENOENT, "%s has none", h->name);
	if (WIFSIGNALED(status))
		return lcm_err_set(err, -EACCES, "%s was killed by signal %d", h->name,
				   WTERMSIG(status));
	return lcm_err_set(err, -EACCES, "%s: %s (status %d)", h->name,
			   said[0] ? said : "it failed", WEXITSTATUS(status));
}

static void done(struct lcm_helper *h, int r, struct lcm_credentials *c, const struct lcm_err *err)
{
	lcm_loop_del_fd(lcm_steal(&h->ends));
	lcm_loop_del_fd(lcm_steal(&h->in));
	lcm_timer_clear(h->timeout);
	h->fn(h->arg, r, c, err);
}

/* Return: false: it has said all, or there is nothing now. */
static bool read_some(struct lcm_helper *h, int *ret)
{
	char buf[4096];
	ssize_t n = lcm_sys_read(h->out, buf, sizeof(buf));

	*ret = n == -EAGAIN ? 0 : (int)LCM_MIN(n, 0);
	if (n > 0)
		*ret = lcm_buf_add(&h->said, buf, (size_t)n);
	OPENSSL_cleanse(buf, sizeof(buf));
	if (n == 0) {
		lcm_loop_del_fd(lcm_steal(&h->in));
		lcm_closep(&h->out);
	}
	return n > 0 && *ret == 0;
}

static void too_much(struct lcm_helper *h, int r)
{
	struct lcm_err err = { 0 };

	r = lcm_err_set(&err, -EACCES, "%s: %s", h->name,
			r == -EFBIG ? "it says too much" : strerror(-r));
	done(h, r, NULL, &err);
}

static void on_out(void *arg, uint32_t events)
{
	struct lcm_helper *h = arg;
	int r;

	(void)events;
	(void)read_some(h, &r);
	if (r < 0)
		too_much(h, r);
}

/* What it started may have its output still: what is there now is all. */
static void on_end(void *arg, uint32_t events)
{
	struct lcm_helper *h = arg;
	struct lcm_credentials *c = NULL;
	struct lcm_err err = { 0 };
	int status, r = 0;

	(void)events;
	while (h->out >= 0 && read_some(h, &r))
		;
	if (r < 0) {
		too_much(h, r);
		return;
	}
	(void)kill(-h->pid, SIGKILL);
	status = reap(h);
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
		r = failed(h, status, &err);
	else
		r = lcm_credentials_of_helper(lcm_buf_str(&h->said), h->said.len, &c, &err);
	if (r == -EUCLEAN || r == -EFBIG)
		r = lcm_err_prefix(&err, -EACCES, "%s", h->name);
	done(h, r, c, &err);
}

static void on_timeout(void *arg)
{
	struct lcm_helper *h = arg;
	struct lcm_err err = { 0 };
	int r = lcm_err_set(&err, -ETIMEDOUT, "%s does not answer", h->name);

	done(h, r, NULL, &err);
}

/* ---- its begin ---- */

static int spawn_at(const char *dir, size_t len, struct lcm_helper *h,
		    const posix_spawn_file_actions_t *fa)
{
	char path[4096], get[] = "get";
	char *argv[] = { h->name, get, NULL };

	if (dir[0] != '/' ||
	    snprintf(path, sizeof(path), "%.*s/%s", (int)len, dir, h->name) >= (int)sizeof(path))
		return -ENOENT;
	return lcm_sys_spawn_with(path, argv, environ, fa, &h->pid);
}

static int spawn(struct lcm_helper *h, int in, int out)
{
	const char *path = getenv("PATH");
	posix_spawn_file_actions_t fa;
	int r = -posix_spawn_file_actions_init(&fa);

	if (r < 0)
		return r;
	r = -posix_spawn_file_actions_adddup2(&fa, in, 0);
	if (r == 0)
		r = -posix_spawn_file_actions_adddup2(&fa, out, 1);
	if (r == 0)
		r = -posix_spawn_file_actions_addopen(&fa, 2, "/dev/null", O_WRONLY, 0);
	if (!path || !*path)
		path = DEFAULT_PATH;
	for (const char *end; r == 0; path = end + 1) {
		end = strchrnul(path, ':');
		r = spawn_at(path, (size_t)(end - path), h, &fa);
		if ((r != -ENOENT && r != -ENOTDIR && r != -EACCES) || !*end)
			break;
		r = 0;
	}
	(void)posix_spawn_file_actions_destroy(&fa);
	return r;
}

/* The name fits into the pipe, so that it is written before there is somebody to read it. Both of
 * the program's ends are above those that it gets, as dup2(2) of one would overwrite the other. */
static int start(struct lcm_helper *h, const char *server)
{
	lcm_autoclose int in = -EBADF, to = -EBADF, out = -EBADF, low_in = -EBADF, low_out = -EBADF;
	int r = lcm_sys_pipe(&low_in, &to);

	if (r == 0)
		r = lcm_sys_write_full(to, server, strlen(server));
	if (r == 0)
		r = lcm_sys_pipe(&h->out, &low_out);
	if (r == 0)
		r = in = (int)lcm_errno(fcntl(low_in, F_DUPFD_CLOEXEC, 3));
	if (r >= 0)
		r = out = (int)lcm_errno(fcntl(low_out, F_DUPFD_CLOEXEC, 3));
	if (r >= 0)
		r = (int)lcm_errno(fcntl(h->out, F_SETFL, O_NONBLOCK));
	return r < 0 ? r : spawn(h, in, out);
}

static int watch(struct lcm_helper *h, struct lcm_loop *loop, uint32_t timeout_ms)
{
	int r = h->pidfd = (int)lcm_errno(syscall(SYS_pidfd_open, h->pid, 0));

	if (r >= 0)
		r = lcm_loop_add_fd(loop, h->pidfd, EPOLLIN, on_end, h, &h->ends);
	if (r >= 0)
		r = lcm_loop_add_fd(loop, h->out, EPOLLIN, on_out, h, &h->in);
	if (r >= 0)
		r = lcm_timer_new(loop, on_timeout, h, &h->timeout);
	if (r >= 0)
		lcm_timer_set(h->timeout, (uint64_t)timeout_ms * 1000000);
	return r;
}

int lcm_helper_start(struct lcm_loop *loop, const char *name, const char *host, uint32_t timeout_ms,
		     lcm_helper_fn fn, void *arg, struct lcm_helper **ret, struct lcm_err *err)
{
	struct lcm_helper *h = calloc(1, sizeof(*h));
	int r;

	if (!h)
		return -ENOMEM;
	*h = (struct lcm_helper){ .fn = fn,
				  .arg = arg,
				  .pidfd = -EBADF,
				  .out = -EBADF,
				  .said = LCM_BUF(LCM_AUTH_FILE_MAX) };
	(void)snprintf(h->name, sizeof(h->name), "docker-credential-%s", name);
	/* At once: growing would leave copies of secrets behind. */
	r = lcm_buf_reserve(&h->said, LCM_AUTH_FILE_MAX);
	if (r == 0)
		r = start(h, strcmp(host, "docker.io") == 0 ? HUB : host);
	if (r >= 0)
		r = watch(h, loop, timeout_ms);
	if (r < 0) {
		r = lcm_err_set(err, r, "%s: %s", h->name,
				r == -ENOENT ? "it is not installed" : strerror(-r));
		lcm_helper_free(h);
		return r;
	}
	*ret = h;
	return 0;
}
