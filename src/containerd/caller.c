/* SPDX-License-Identifier: Apache-2.0 */
#include "src/containerd/caller.h"

#include <nghttp2/nghttp2.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "src/base/sys.h"
#include "src/containerd/grpc.h"

#define READ_BYTES ((size_t)64 << 10)

struct transfer {
	lcm_caller_next_fn next;
	void *arg;
	struct lcm_buf *answers; /* borrowed; NULL: thrown away */
	struct lcm_buf out;      /* what @next gave */
	size_t sent;
	int feed;   /* what @next returned last */
	int status; /* gRPC's; -1: none came */
	bool closed, too_long;
	struct lcm_err *err;
	struct lcm_err said; /* the server's text */
	int fd;              /* owned */
	nghttp2_session *h2; /* owned */
};

/* And room for the message. */
static int add_prefix(size_t len, struct lcm_buf *out)
{
	const uint8_t prefix[LCM_CALLER_PREFIX] = { 0, (uint8_t)(len >> 24), (uint8_t)(len >> 16),
						    (uint8_t)(len >> 8), (uint8_t)len };
	int r = len > UINT32_MAX ? -EFBIG : lcm_buf_reserve(out, len + sizeof(prefix));

	return r < 0 ? r : lcm_buf_add(out, prefix, sizeof(prefix));
}

int lcm_caller_pack(const ProtobufCMessage *m, struct lcm_buf *out)
{
	size_t len = protobuf_c_message_get_packed_size(m);
	int r = add_prefix(len, out);

	if (r < 0)
		return r;
	(void)protobuf_c_message_pack(m, (uint8_t *)out->data + out->len);
	out->len += len;
	return 0;
}

int lcm_caller_answer(const struct lcm_buf *b, size_t *at, const uint8_t **ret_p, size_t *ret_len)
{
	size_t left = b->len - *at, len;
	const uint8_t *p;

	if (left == 0)
		return 0;
	p = (const uint8_t *)b->data + *at;
	if (left < LCM_CALLER_PREFIX || p[0])
		return -EPROTO;
	len = (size_t)p[1] << 24 | (size_t)p[2] << 16 | (size_t)p[3] << 8 | p[4];
	if (len > left - LCM_CALLER_PREFIX)
		return -EPROTO;
	*ret_p = p + LCM_CALLER_PREFIX;
	*ret_len = len;
	*at += LCM_CALLER_PREFIX + len;
	return 1;
}

/* ---- HTTP/2 ---- */

static ssize_t on_send(nghttp2_session *h2, int32_t id, uint8_t *buf, size_t len, uint32_t *flags,
		       nghttp2_data_source *src, void *arg)
{
	struct transfer *t = arg;
	size_t n;

	(void)h2;
	(void)id;
	(void)src;
	if (t->sent == t->out.len && t->feed > 0) {
		t->out.len = t->sent = 0;
		t->feed = t->next(t->arg, &t->out, t->err);
	}
	if (t->feed < 0)
		return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
	n = LCM_MIN(len, t->out.len - t->sent);
	if (n)
		memcpy(buf, t->out.data + t->sent, n);
	t->sent += n;
	if (t->feed == 0 && t->sent == t->out.len)
		*flags |= NGHTTP2_DATA_FLAG_EOF;
	return (ssize_t)n;
}

static int on_data(nghttp2_session *h2, uint8_t flags, int32_t id, const uint8_t *p, size_t len,
		   void *arg)
{
	struct transfer *t = arg;

	(void)h2;
	(void)flags;
	(void)id;
	if (t->answers && !t->too_long && lcm_buf_add(t->answers, p, len) < 0)
		t->too_long = true;
	return 0;
}

static int hex(uint8_t c)
{
	return c >= '0' && c <= '9'   ? c - '0'
	       : c >= 'A' && c <= 'F' ? c - 'A' + 10
	       : c >= 'a' && c <= 'f' ? c - 'a' + 10
				      : -1;
}

/* The text of an error is percent-encoded. */
static void keep_text(struct transfer *t, const uint8_t *p, size_t len)
{
	char text[LCM_ERR_MSG_MAX];
	size_t n = 0;

	for (size_t i = 0; i < len && n + 1 < sizeof(text); i++) {
		bool coded = p[i] == '%' && i + 2 < len && hex(p[i + 1]) >= 0 && hex(p[i + 2]) >= 0;

		text[n++] = (char)(coded ? hex(p[i + 1]) << 4 | hex(p[i + 2]) : p[i]);
		i += coded ? 2 : 0;
	}
	text[n] = '\0';
	lcm_err_set(&t->said, -EIO, "%s", text);
}

/* Of headers and of trailers. */
static int on_header(nghttp2_session *h2, const nghttp2_frame *frame, const uint8_t *name,
		     size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags,
		     void *arg)
{
	struct transfer *t = arg;

	(void)h2;
	(void)frame;
	(void)flags;
	if (name_len == 11 && memcmp(name, "grpc-status", 11) == 0) {
		t->status = value_len ? 0 : -1;
		for (size_t i = 0; i < value_len && t->status >= 0; i++)
			t->status = value[i] >= '0' && value[i] <= '9' && t->status < 1000
					? t->status * 10 + (value[i] - '0')
					: -1;
	} else if (name_len == 12 && memcmp(name, "grpc-message", 12) == 0) {
		keep_text(t, value, value_len);
	}
	return 0;
}

static int on_stream_close(nghttp2_session *h2, int32_t id, uint32_t code, void *arg)
{
	struct transfer *t = arg;

	(void)h2;
	(void)id;
	(void)code;
	t->closed = true;
	return 0;
}

static int session_new(struct transfer *t)
{
	nghttp2_session_callbacks *cb;
	int r = nghttp2_session_callbacks_new(&cb);

	if (r != 0)
		return -ENOMEM;
	nghttp2_session_callbacks_set_on_header_callback(cb, on_header);
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, on_data);
	nghttp2_session_callbacks_set_on_stream_close_callback(cb, on_stream_close);
	r = nghttp2_session_client_new(&t->h2, cb, t);
	nghttp2_session_callbacks_del(cb);
	return r == 0 ? 0 : -ENOMEM;
}

#define HEADER(n, v)                                                                               \
	((nghttp2_nv){ (uint8_t *)(uintptr_t)(n), (uint8_t *)(uintptr_t)(v), strlen(n), strlen(v), \
		       NGHTTP2_NV_FLAG_NONE })

static int submit(struct transfer *t, const struct lcm_caller *c, const char *path)
{
	const nghttp2_data_provider body = { .read_callback = on_send };
	const nghttp2_nv nv[] = {
		HEADER(":method", "POST"),
		HEADER(":scheme", "http"),
		HEADER(":path", path),
		HEADER(":authority", "localhost"),
		HEADER("content-type", "application/grpc"),
		HEADER("te", "trailers"),
		HEADER("containerd-namespace", c->ns),
	};

	return nghttp2_submit_settings(t->h2, NGHTTP2_FLAG_NONE, NULL, 0) != 0 ||
		       nghttp2_submit_request(t->h2, NULL, nv, LCM_ARRAY_SIZE(nv), &body, NULL) < 0
		   ? -ENOMEM
		   : 0;
}

/* ---- the socket ---- */

static int dial(const char *path, int *ret, struct lcm_err *err)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	lcm_autoclose int fd = -EBADF;
	int r;

	if (strlen(path) >= sizeof(a.sun_path))
		return lcm_err_set(err, -ENAMETOOLONG, "%s: a socket's path has at most %zu bytes",
				   path, sizeof(a.sun_path) - 1);
	memcpy(a.sun_path, path, strlen(path));
	fd = (int)lcm_errno(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
	r = fd < 0 ? fd : (int)lcm_errno(connect(fd, (const struct sockaddr *)&a, sizeof(a)));
	if (r < 0)
		return lcm_err_set(err, -ECONNREFUSED,
				   "no containerd answers on %s: %s (--containerd SOCKET names it)",
				   path, strerror(-r));
	*ret = lcm_steal_fd(&fd);
	return 0;
}

/* Sends what the socket takes. Return: 1 (it takes no more now), 0, -errno. */
static int flush(struct transfer *t, const uint8_t **out, size_t *len)
{
	ssize_t n;

	for (;;) {
		if (*len == 0) {
			n = nghttp2_session_mem_send(t->h2, out);
			if (n < 0)
				return -EPROTO;
			*len = (size_t)n;
		}
		if (*len == 0)
			return 0;
		n = lcm_errno(send(t->fd, *out, *len, MSG_NOSIGNAL | MSG_DONTWAIT));
		if (n == -EAGAIN)
			return 1;
		if (n < 0)
			return (int)n;
		*out += n;
		*len -= (size_t)n;
	}
}

static int receive(struct transfer *t)
{
	uint8_t buf[READ_BYTES];
	ssize_t n = lcm_errno(recv(t->fd, buf, sizeof(buf), MSG_DONTWAIT));

	if (n == -EAGAIN || n == -EINTR)
		return 0;
	if (n <= 0)
		return n < 0 ? (int)n : -ECONNRESET;
	return nghttp2_session_mem_recv(t->h2, buf, (size_t)n) < 0 ? -EPROTO : 0;
}

static int pump(struct transfer *t, int stop_fd)
{
	const uint8_t *out = NULL;
	size_t len = 0;
	int r = 0;

	while (r == 0 && !t->closed) {
		struct pollfd p[] = { { .fd = t->fd, .events = POLLIN },
				      { .fd = stop_fd, .events = POLLIN } };

		r = flush(t, &out, &len);
		if (r < 0)
			break;
		p[0].events = (short)(p[0].events | (r ? POLLOUT : 0));
		r = t->closed ? 0 : (int)lcm_errno(poll(p, LCM_ARRAY_SIZE(p), -1));
		if (r > 0 && p[1].revents)
			return -ESHUTDOWN;
		if (r > 0 && (p[0].revents & (POLLIN | POLLHUP | POLLERR)))
			r = receive(t);
		r = r == -EINTR ? 0 : LCM_MIN(r, 0);
	}
	return r;
}

static int status_code(int status)
{
	switch (status) {
	case LCM_GRPC_OK:
		return 0;
	case LCM_GRPC_NOT_FOUND:
		return -ENOENT;
	case LCM_GRPC_ALREADY_EXISTS:
		return -EEXIST;
	case LCM_GRPC_UNAVAILABLE:
		return -EBUSY;
	default:
		return -EIO;
	}
}

/* Has the server answered? */
static int answered(const struct lcm_caller *c, const char *path, const struct transfer *t, int r,
		    struct lcm_err *err)
{
	if (t->feed < 0)
		return t->feed;
	if (r == -ESHUTDOWN)
		return lcm_err_set(err, r, "%s on %s: given up, for this program ends", path,
				   c->socket);
	if (t->status < 0)
		return lcm_err_set(err, -EPROTO, "%s on %s: %s", path, c->socket,
				   r < 0 ? strerror(-r) : "no gRPC server");
	if (t->too_long)
		return lcm_err_set(err, -EFBIG, "%s on %s: the answer is too long", path,
				   c->socket);
	return 0;
}

static int run(const struct lcm_caller *c, const char *path, struct transfer *t,
	       struct lcm_err *err)
{
	int r;

	t->out = LCM_BUF(LCM_GRPC_MESSAGE_MAX + (64U << 10));
	t->feed = 1;
	t->status = -1;
	t->err = err;
	r = dial(c->socket, &t->fd, err);
	if (r < 0)
		return r;
	r = session_new(t);
	if (r == 0)
		r = submit(t, c, path);
	if (r == 0)
		r = pump(t, c->stop_fd);
	r = r == -ENOMEM ? r : answered(c, path, t, r, err);
	nghttp2_session_del(t->h2);
	lcm_closep(&t->fd);
	lcm_buf_fini(&t->out);
	return r;
}

/* What containerd says, in our words. */
static int outcome(const struct transfer *t, int r, struct lcm_err *err)
{
	if (r == 0)
		r = status_code(t->status);
	else
		return r;
	return r < 0 ? lcm_err_set(err, r, "containerd: %s", t->said.msg) : 0;
}

struct one {
	const ProtobufCMessage *m;
	bool done;
};

static int next_one(void *arg, struct lcm_buf *out, struct lcm_err *err)
{
	struct one *o = arg;
	int r = o->done ? 0 : lcm_caller_pack(o->m, out);

	if (r < 0)
		return lcm_err_set(err, r, "a request that is too long");
	r = !o->done;
	o->done = true;
	return r;
}

int lcm_caller_call(const struct lcm_caller *c, const char *method, const ProtobufCMessage *m,
		    struct lcm_buf *ret, struct lcm_err *err)
{
	struct one o = { .m = m };
	struct transfer t = { .next = next_one, .arg = &o, .answers = ret };

	return outcome(&t, run(c, method, &t, err), err);
}

struct bytes {
	const uint8_t *p;
	size_t len;
	bool done;
};

static int next_bytes(void *arg, struct lcm_buf *out, struct lcm_err *err)
{
	struct bytes *b = arg;
	int r = b->done ? 0 : add_prefix(b->len, out);

	if (r == 0 && !b->done)
		r = lcm_buf_add(out, b->p, b->len);
	if (r < 0)
		return lcm_err_set(err, r, "a request that is too long");
	r = !b->done;
	b->done = true;
	return r;
}

int lcm_caller_forward(const struct lcm_caller *c, const char *method, const uint8_t *p, size_t len,
		       struct lcm_buf *ret, int *ret_status, struct lcm_err *err)
{
	struct bytes b = { .p = p, .len = len };
	struct transfer t = { .next = next_bytes, .arg = &b, .answers = ret };
	int r = run(c, method, &t, err);

	if (r < 0)
		return r;
	*ret_status = t.status;
	if (err)
		*err = t.said;
	return 0;
}

int lcm_caller_stream(const struct lcm_caller *c, const char *method, lcm_caller_next_fn next,
		      void *arg, struct lcm_err *err)
{
	struct transfer t = { .next = next, .arg = arg };

	return outcome(&t, run(c, method, &t, err), err);
}
