/* SPDX-License-Identifier: Apache-2.0 */
#include "src/hook/client.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

#include "image/json.h"
#include "src/base/buf.h"
#include "src/base/limits.h"
#include "src/base/sys.h"

/* connect(2) waits as long as the daemon's backlog is full, write(2) while its buffer is. */
static int set_patience(const struct lcm_hook_client *c, int fd)
{
	uint64_t now = lcm_now_ns(), left_us;
	struct timeval tv;

	if (now >= c->deadline_ns)
		return -ETIMEDOUT;
	left_us = (c->deadline_ns - now) / 1000 + 1; /* 0 would be for ever */
	tv = (struct timeval){ .tv_sec = (time_t)(left_us / 1000000),
			       .tv_usec = (suseconds_t)(left_us % 1000000) };
	return (int)lcm_errno(setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv)));
}

static int dial(const struct lcm_hook_client *c, struct lcm_err *err)
{
	lcm_autoclose int fd = (int)lcm_errno(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	int n = snprintf(sa.sun_path, sizeof(sa.sun_path), "%s/locum.sock", c->run_dir), r;

	if (fd < 0)
		return lcm_err_set(err, fd, "socket: %s", strerror(-fd));
	if (n < 0 || (size_t)n >= sizeof(sa.sun_path))
		return lcm_err_set(err, -ENAMETOOLONG, "%s is too long a name", c->run_dir);
	r = set_patience(c, fd);
	if (r == 0)
		r = (int)lcm_errno(connect(fd, (const struct sockaddr *)&sa, sizeof(sa)));
	if (r == -EAGAIN || r == -ETIMEDOUT)
		return lcm_err_set(err, -ETIMEDOUT, "the daemon takes no connection on %s: %s",
				   sa.sun_path, strerror(ETIMEDOUT));
	if (r < 0)
		return lcm_err_set(
		    err, -ECONNREFUSED,
		    "no daemon answers on %s: %s (systemctl start locum, or locum daemon)",
		    sa.sun_path, strerror(-r));
	return lcm_steal_fd(&fd);
}

static int receive(const struct lcm_hook_client *c, int fd, struct lcm_buf *in)
{
	for (;;) {
		uint64_t now = lcm_now_ns();
		struct pollfd p = { .fd = fd, .events = POLLIN };
		char part[4096];
		ssize_t n;
		int r;

		if (now >= c->deadline_ns)
			return -ETIMEDOUT;
		r = (int)lcm_errno(poll(&p, 1, (int)((c->deadline_ns - now) / 1000000) + 1));
		if (r == -EINTR || r == 0)
			continue;
		n = r < 0 ? r : lcm_sys_read(fd, part, sizeof(part));
		if (n <= 0)
			return (int)n;
		r = lcm_buf_add(in, part, (size_t)n);
		if (r < 0)
			return r;
	}
}

/* "HTTP/1.x NNN", header lines, an empty line, the body up to the end of the connection. */
static int parse_reply(const struct lcm_buf *in, json_t **ret, struct lcm_err *err)
{
	const char *text = lcm_buf_str(in), *body = strstr(text, "\r\n\r\n"), *why = "";
	lcm_autojson json_t *doc = NULL;
	int status = 0, r;

	if (!body || sscanf(text, "HTTP/1.%*1[01] %3d", &status) != 1)
		return lcm_err_set(err, -EPROTO, "the daemon's answer is not HTTP");
	body += 4;
	r = lcm_json_parse(body, in->len - (size_t)(body - text), LCM_CONTROL_REPLY_MAX,
			   "the daemon's answer", &doc, err);
	if (r < 0)
		return r;
	if (status >= 400) {
		json_int_t code = json_integer_value(lcm_json_member(doc, "code"));

		lcm_ignore(lcm_json_string(doc, "error", "answer", &why, NULL));
		return lcm_err_set(err, code < 0 && code > -4096 ? (int)code : -EIO, "%s", why);
	}
	if (ret)
		*ret = lcm_steal(&doc);
	return 0;
}

int lcm_hook_call(const struct lcm_hook_client *c, const char *method, const char *path,
		  json_t *body, json_t **ret, struct lcm_err *err)
{
	lcm_autofree char *text = body ? json_dumps(body, JSON_COMPACT) : strdup("");
	lcm_autobuf struct lcm_buf out = LCM_BUF(LCM_CONTROL_BODY_MAX),
				   in = LCM_BUF(LCM_CONTROL_REPLY_MAX);
	lcm_autoclose int fd = -EBADF;
	int r;

	json_decref(body);
	r = text ? lcm_buf_printf(&out,
				  "%s %s HTTP/1.0\r\nHost: locum\r\nContent-Length: %zu\r\n\r\n%s",
				  method, path, strlen(text), text)
		 : -ENOMEM;
	if (r == 0)
		r = fd = dial(c, err);
	if (r < 0)
		return r;
	r = lcm_sys_write_full(fd, out.data, out.len);
	if (r == -EAGAIN)
		r = -ETIMEDOUT;
	if (r == 0)
		r = receive(c, fd, &in);
	if (r < 0)
		return lcm_err_set(err, r, "the daemon does not answer: %s", strerror(-r));
	return parse_reply(&in, ret, err);
}
