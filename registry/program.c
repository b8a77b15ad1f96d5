/* SPDX-License-Identifier: Apache-2.0 */
#include "registry/program.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <openssl/crypto.h>

#include "src/base/buf.h"
#include "src/base/limits.h"
#include "src/base/sys.h"

#define DEFAULT_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
#define WHY_MAX 4096 /* of what it says on its standard error; more it cannot write */

struct lcm_program {
	char *name; /* owned; for texts */
	lcm_program_fn fn;
	void *arg;
	pid_t pid;
	int pidfd, out, why;           /* owned; why: a memfd, its standard error */
	struct lcm_loop_fd *ends, *in; /* owned */
	struct lcm_timer *timeout;     /* owned */
	struct lcm_buf said;           /* secret */
};

/* It has ended, or was killed. Return: as waitpid(2) has it. */
static int reap(struct lcm_program *h)
{
	int status = 0;

	while (lcm_errno(waitpid(h->pid, &status, 0)) == -EINTR)
		;
	h->pid = 0;
	return status;
}

void lcm_program_free(struct lcm_program *h)
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
	lcm_closep(&h->why);
	if (h->said.data)
		OPENSSL_cleanse(h->said.data, h->said.cap);
	lcm_buf_fini(&h->said);
	free(h->name);
	free(h);
}

/* ---- its end ---- */

void lcm_program_line(const char *p, size_t len, char out[LCM_PROGRAM_LINE + 1])
{
	size_t n = LCM_MIN(len, (size_t)LCM_PROGRAM_LINE);

	memcpy(out, p, n);
	out[n] = '\0';
	out[strcspn(out, "\r\n")] = '\0';
	for (char *c = out; *c; c++)
		if ((unsigned char)*c < ' ' || *c == 0x7f)
			*c = '?';
}

static void done(struct lcm_program *h, int r, const struct lcm_program_result *res,
		 const struct lcm_err *err)
{
	lcm_loop_del_fd(lcm_steal(&h->ends));
	lcm_loop_del_fd(lcm_steal(&h->in));
	lcm_timer_clear(h->timeout);
	h->fn(h->arg, r, res, err);
}

/* Return: false: it has said all, or there is nothing now. */
static bool read_some(struct lcm_program *h, int *ret)
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

static void too_much(struct lcm_program *h, int r)
{
	struct lcm_err err = { 0 };

	r = lcm_err_set(&err, -EACCES, "%s: %s", h->name,
			r == -EFBIG ? "it says too much" : strerror(-r));
	done(h, r, NULL, &err);
}

static void on_out(void *arg, uint32_t events)
{
	struct lcm_program *h = arg;
	int r;

	(void)events;
	(void)read_some(h, &r);
	if (r < 0)
		too_much(h, r);
}

/* What it started may have its output still: what is there now is all. */
static void on_end(void *arg, uint32_t events)
{
	struct lcm_program *h = arg;
	struct lcm_program_result res = { 0 };
	char why[WHY_MAX];
	ssize_t n;
	int r = 0;

	(void)events;
	while (h->out >= 0 && read_some(h, &r))
		;
	if (r < 0) {
		too_much(h, r);
		return;
	}
	(void)kill(-h->pid, SIGKILL);
	res.status = reap(h);
	n = lcm_sys_pread(h->why, why, sizeof(why), 0);
	lcm_program_line(why, n > 0 ? strnlen(why, (size_t)n) : 0, res.why);
	res.said = lcm_buf_str(&h->said);
	res.len = h->said.len;
	done(h, 0, &res, NULL);
}

static void on_timeout(void *arg)
{
	struct lcm_program *h = arg;
	struct lcm_err err = { 0 };
	int r = lcm_err_set(&err, -ETIMEDOUT, "%s does not answer", h->name);

	done(h, r, NULL, &err);
}

int lcm_program_failed(const char *name, int status, const char *why, struct lcm_err *err)
{
	if (WIFSIGNALED(status))
		return lcm_err_set(err, -EACCES, "%s was killed by signal %d", name,
				   WTERMSIG(status));
	return lcm_err_set(err, -EACCES, "%s: %s (status %d)", name, *why ? why : "it failed",
			   WEXITSTATUS(status));
}

/* ---- its begin ---- */

static int spawn_at(const char *dir, size_t len, const struct lcm_program_call *c,
		    struct lcm_program *h, const posix_spawn_file_actions_t *fa)
{
	char path[4096];

	if (dir[0] != '/' ||
	    snprintf(path, sizeof(path), "%.*s/%s", (int)len, dir, c->argv[0]) >= (int)sizeof(path))
		return -ENOENT;
	return lcm_sys_spawn_with(path, c->argv, c->envp ? c->envp : environ, fa, &h->pid);
}

static int spawn(struct lcm_program *h, const struct lcm_program_call *c, int in, int out, int why)
{
	const char *path = c->dir ? c->dir : getenv("PATH");
	posix_spawn_file_actions_t fa;
	int r = -posix_spawn_file_actions_init(&fa);

	if (r < 0)
		return r;
	r = -posix_spawn_file_actions_adddup2(&fa, in, 0);
	if (r == 0)
		r = -posix_spawn_file_actions_adddup2(&fa, out, 1);
	if (r == 0)
		r = -posix_spawn_file_actions_adddup2(&fa, why, 2);
	if (!path || !*path)
		path = DEFAULT_PATH;
	for (const char *end; r == 0; path = end + 1) {
		end = c->dir ? path + strlen(path) : strchrnul(path, ':');
		r = spawn_at(path, (size_t)(end - path), c, h, &fa);
		if ((r != -ENOENT && r != -ENOTDIR && r != -EACCES) || !*end)
			break;
		r = 0;
	}
	(void)posix_spawn_file_actions_destroy(&fa);
	return r;
}

/* A file of at most WHY_MAX bytes. */
static int open_why(void)
{
	lcm_autoclose int fd =
	    (int)lcm_errno(memfd_create("locum-program", MFD_CLOEXEC | MFD_ALLOW_SEALING));
	int r = fd < 0 ? fd : lcm_sys_ftruncate(fd, WHY_MAX);

	if (r == 0)
		r = (int)lcm_errno(fcntl(fd, F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK));
	return r < 0 ? r : lcm_steal_fd(&fd);
}

static int dup_high(int fd)
{
	return (int)lcm_errno(fcntl(fd, F_DUPFD_CLOEXEC, 3));
}

/* The input fits into the pipe, so that it is written before there is somebody to read it. All of
 * the program's ends are above those that it gets, as dup2(2) of one would overwrite another. */
static int start(struct lcm_program *h, const struct lcm_program_call *c)
{
	lcm_autoclose int in = -EBADF, to = -EBADF, out = -EBADF, why = -EBADF, low_in = -EBADF,
			  low_out = -EBADF;
	int r = c->len > LCM_PROGRAM_INPUT_MAX ? -EFBIG : lcm_sys_pipe(&low_in, &to);

	if (r == 0)
		r = lcm_sys_write_full(to, c->input, c->len);
	if (r == 0)
		r = lcm_sys_pipe(&h->out, &low_out);
	if (r == 0)
		r = h->why = open_why();
	if (r >= 0)
		r = in = dup_high(low_in);
	if (r >= 0)
		r = out = dup_high(low_out);
	if (r >= 0)
		r = why = dup_high(h->why);
	if (r >= 0)
		r = (int)lcm_errno(fcntl(h->out, F_SETFL, O_NONBLOCK));
	return r < 0 ? r : spawn(h, c, in, out, why);
}

static int watch(struct lcm_program *h, struct lcm_loop *loop, uint32_t timeout_ms)
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

int lcm_program_start(struct lcm_loop *loop, const struct lcm_program_call *c, lcm_program_fn fn,
		      void *arg, struct lcm_program **ret, struct lcm_err *err)
{
	struct lcm_program *h = calloc(1, sizeof(*h));
	int r;

	if (!h)
		return -ENOMEM;
	*h = (struct lcm_program){ .name = strdup(c->argv[0]),
				   .fn = fn,
				   .arg = arg,
				   .pidfd = -EBADF,
				   .out = -EBADF,
				   .why = -EBADF,
				   .said = LCM_BUF(LCM_AUTH_FILE_MAX) };
	/* At once: growing would leave copies of secrets behind. */
	r = h->name ? lcm_buf_reserve(&h->said, LCM_AUTH_FILE_MAX) : -ENOMEM;
	if (r == 0)
		r = start(h, c);
	if (r >= 0)
		r = watch(h, loop, c->timeout_ms);
	if (r < 0) {
		r = lcm_err_set(err, r, "%s: %s", c->argv[0],
				r == -ENOENT ? "it is not installed" : strerror(-r));
		lcm_program_free(h);
		return r;
	}
	*ret = h;
	return 0;
}
