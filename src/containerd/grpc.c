/* SPDX-License-Identifier: Apache-2.0 */
#include "src/containerd/grpc.h"

#include <nghttp2/nghttp2.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "src/base/log.h"
#include "src/base/sys.h"

#define METHOD_MAX 256
#define STREAMS_MAX 256U
#define CONNECTIONS_MAX 256U
#define PREFIX 5U /* of a message: compressed or not, and its length */
#define ACCEPT_AGAIN_NS 100000000ULL
#define READ_BYTES ((size_t)64 << 10)

struct lcm_grpc {
	struct lcm_loop *loop; /* borrowed */
	struct lcm_pool *pool; /* borrowed */
	struct lcm_pool *slow; /* borrowed; NULL: nothing is slow */
	bool (*is_slow)(const char *method);
	int fd; /* owned; listening */
	struct lcm_loop_fd *watch;
	struct lcm_timer *again; /* owned; accept() failed, and would again at once */
	lcm_grpc_fn fn;
	void *arg;         /* borrowed */
	struct conn *head; /* connections */
	unsigned int n_conns;
};

struct conn {
	struct conn *next;
	struct lcm_grpc *g; /* borrowed */
	int fd;             /* owned */
	struct lcm_loop_fd *watch;
	nghttp2_session *h2;    /* owned */
	struct stream *streams; /* list */
	const uint8_t *out;     /* nghttp2's; what the socket did not take */
	size_t out_len;
	bool wants_out;
};

/* One request; it stays until its stream is closed. */
struct stream {
	struct stream *next;
	struct conn *c; /* borrowed */
	int32_t id;
	char method[METHOD_MAX];
	bool post, grpc, too_long;
	struct lcm_buf body;
	struct call *call; /* borrowed while it runs */
	struct lcm_grpc_reply reply;
	size_t sent;
};

/* What a handler's thread has; it outlives its stream if need be. */
struct call {
	struct lcm_task task;
	struct lcm_grpc *g;
	struct stream *st; /* borrowed; NULL: reset meanwhile */
	char method[METHOD_MAX];
	struct lcm_buf body; /* owned */
	struct lcm_grpc_reply reply;
};

uint8_t *lcm_grpc_message(struct lcm_grpc_reply *r, size_t len)
{
	const uint8_t prefix[PREFIX] = { 0, (uint8_t)(len >> 24), (uint8_t)(len >> 16),
					 (uint8_t)(len >> 8), (uint8_t)len };
	uint8_t *at;

	if (len > LCM_GRPC_REPLY_MAX || lcm_buf_reserve(&r->body, len + PREFIX) < 0 ||
	    lcm_buf_add(&r->body, prefix, PREFIX) < 0)
		return NULL;
	at = (uint8_t *)r->body.data + r->body.len;
	r->body.len += len;
	r->body.data[r->body.len] = '\0';
	return at;
}

/* ---- answers ---- */

#define HEADER(n, v, v_len)                                                                        \
	((nghttp2_nv){ (uint8_t *)(uintptr_t)(n), (uint8_t *)(uintptr_t)(v), strlen(n), (v_len),   \
		       NGHTTP2_NV_FLAG_NONE })

/* The text of an error, as trailers take it. */
static void percent_encode(const char *s, char *out, size_t cap)
{
	size_t n = 0;

	for (; *s && n + 4 < cap; s++) {
		if (*s >= ' ' && *s <= '~' && *s != '%')
			out[n++] = *s;
		else
			n += (size_t)snprintf(out + n, 4, "%%%02X", (unsigned char)*s);
	}
	out[n] = '\0';
}

static size_t status_headers(const struct lcm_grpc_reply *r, nghttp2_nv *nv, char *code,
			     size_t code_cap, char *text, size_t text_cap)
{
	int n = snprintf(code, code_cap, "%d", (int)r->status);

	percent_encode(r->err.msg, text, text_cap);
	nv[0] = HEADER("grpc-status", code, (size_t)n);
	nv[1] = HEADER("grpc-message", text, strlen(text));
	return *text ? 2 : 1;
}

#define TEXT_CAP (3 * LCM_ERR_MSG_MAX + 4)

static ssize_t on_send_body(nghttp2_session *h2, int32_t id, uint8_t *buf, size_t len,
			    uint32_t *flags, nghttp2_data_source *src, void *arg)
{
	struct stream *st = src->ptr;
	size_t n = LCM_MIN(len, st->reply.body.len - st->sent);
	char code[12], text[TEXT_CAP];
	nghttp2_nv nv[2];

	(void)arg;
	if (n)
		memcpy(buf, st->reply.body.data + st->sent, n);
	st->sent += n;
	if (st->sent < st->reply.body.len)
		return (ssize_t)n;
	*flags |= NGHTTP2_DATA_FLAG_EOF | NGHTTP2_DATA_FLAG_NO_END_STREAM;
	if (nghttp2_submit_trailer(
		h2, id, nv,
		status_headers(&st->reply, nv, code, sizeof(code), text, sizeof(text))) != 0)
		return NGHTTP2_ERR_CALLBACK_FAILURE;
	return (ssize_t)n;
}

static void conn_close(struct conn *c);
static int conn_flush(struct conn *c);

/* Errors come in one frame: headers that are trailers, too. */
static int submit_reply(struct stream *st)
{
	const nghttp2_data_provider body = { .source = { .ptr = st },
					     .read_callback = on_send_body };
	char code[12], text[TEXT_CAP];
	nghttp2_nv nv[4] = { HEADER(":status", "200", 3),
			     HEADER("content-type", "application/grpc", 16) };
	size_t n = 2;

	if (st->reply.status == LCM_GRPC_OK)
		return nghttp2_submit_response(st->c->h2, st->id, nv, n, &body);
	n += status_headers(&st->reply, nv + 2, code, sizeof(code), text, sizeof(text));
	return nghttp2_submit_response(st->c->h2, st->id, nv, n, NULL);
}

static int refuse(struct stream *st, enum lcm_grpc_status status, const char *why)
{
	st->reply.status = status;
	lcm_err_set(&st->reply.err, -EPROTO, "%s", why);
	return submit_reply(st);
}

/* ---- calls ---- */

static void call_free(struct call *k)
{
	lcm_buf_fini(&k->body);
	lcm_buf_fini(&k->reply.body);
	free(k);
}

static void on_handled(void *arg)
{
	struct call *k = arg;
	struct stream *st = k->st;
	struct conn *c = st ? st->c : NULL;

	if (st) {
		st->call = NULL;
		st->reply = k->reply;
		k->reply.body = (struct lcm_buf){ 0 };
	}
	call_free(k);
	if (st && (submit_reply(st) != 0 || conn_flush(c) < 0))
		conn_close(c);
}

static void handle(void *arg)
{
	struct call *k = arg;

	k->g->fn(k->g->arg, k->method, (const uint8_t *)k->body.data + PREFIX, k->body.len - PREFIX,
		 &k->reply);
	if (k->reply.status == LCM_GRPC_OK && !k->reply.body.len) {
		k->reply.status = LCM_GRPC_RESOURCE_EXHAUSTED;
		lcm_err_set(&k->reply.err, -ENOMEM, "the answer is too long or there is no memory");
	}
	k->task.fn = on_handled;
	lcm_loop_post_task(k->g->loop, &k->task);
}

/* Exactly one message, not compressed: these calls have no other. */
static const char *body_fault(const struct lcm_buf *b)
{
	const uint8_t *p = (const uint8_t *)b->data;
	size_t len;

	if (b->len < PREFIX)
		return "request without a message";
	if (p[0])
		return "compressed message";
	len = (size_t)p[1] << 24 | (size_t)p[2] << 16 | (size_t)p[3] << 8 | p[4];
	return len == b->len - PREFIX ? NULL : "message of another length than it says";
}

static int start_call(struct stream *st)
{
	struct lcm_grpc *g = st->c->g;
	const char *fault;
	struct call *k;

	if (st->too_long)
		return refuse(st, LCM_GRPC_RESOURCE_EXHAUSTED, "message of more than 4 MiB");
	if (!st->post || !st->grpc)
		return refuse(st, LCM_GRPC_UNIMPLEMENTED, "not a gRPC call");
	fault = body_fault(&st->body);
	if (fault)
		return refuse(st, LCM_GRPC_UNIMPLEMENTED, fault);
	k = calloc(1, sizeof(*k));
	if (!k)
		return refuse(st, LCM_GRPC_RESOURCE_EXHAUSTED, "out of memory");
	k->g = g;
	k->st = st;
	memcpy(k->method, st->method, sizeof(k->method));
	k->body = st->body;
	st->body = (struct lcm_buf){ 0 };
	k->reply.body = LCM_BUF(LCM_GRPC_REPLY_MAX + (1U << 20));
	k->task = (struct lcm_task){ .fn = handle, .arg = k };
	st->call = k;
	lcm_pool_submit(g->slow && g->is_slow(k->method) ? g->slow : g->pool, LCM_POOL_DEMAND,
			&k->task);
	return 0;
}

/* ---- HTTP/2 ---- */

static int on_begin_headers(nghttp2_session *h2, const nghttp2_frame *frame, void *arg)
{
	struct conn *c = arg;
	struct stream *st;

	if (frame->hd.type != NGHTTP2_HEADERS || frame->headers.cat != NGHTTP2_HCAT_REQUEST)
		return 0;
	st = calloc(1, sizeof(*st));
	if (!st)
		return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
	st->c = c;
	st->id = frame->hd.stream_id;
	st->body = LCM_BUF(LCM_GRPC_MESSAGE_MAX + PREFIX);
	st->next = c->streams;
	c->streams = st;
	return nghttp2_session_set_stream_user_data(h2, st->id, st);
}

static bool is(const uint8_t *p, size_t len, const char *text)
{
	return len == strlen(text) && memcmp(p, text, len) == 0;
}

static int on_header(nghttp2_session *h2, const nghttp2_frame *frame, const uint8_t *name,
		     size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags,
		     void *arg)
{
	static const char grpc[] = "application/grpc";
	struct stream *st = nghttp2_session_get_stream_user_data(h2, frame->hd.stream_id);

	(void)flags;
	(void)arg;
	if (!st)
		return 0;
	if (is(name, name_len, ":method"))
		st->post = is(value, value_len, "POST");
	else if (is(name, name_len, ":path") && value_len < METHOD_MAX)
		memcpy(st->method, value, value_len);
	else if (is(name, name_len, "content-type"))
		st->grpc = value_len >= sizeof(grpc) - 1 &&
			   memcmp(value, grpc, sizeof(grpc) - 1) == 0;
	return 0;
}

static int on_data(nghttp2_session *h2, uint8_t flags, int32_t id, const uint8_t *p, size_t len,
		   void *arg)
{
	struct stream *st = nghttp2_session_get_stream_user_data(h2, id);

	(void)flags;
	(void)arg;
	if (st && !st->too_long && lcm_buf_add(&st->body, p, len) < 0)
		st->too_long = true;
	return 0;
}

static int on_frame(nghttp2_session *h2, const nghttp2_frame *frame, void *arg)
{
	struct stream *st;

	(void)arg;
	if ((frame->hd.type != NGHTTP2_DATA && frame->hd.type != NGHTTP2_HEADERS) ||
	    !(frame->hd.flags & NGHTTP2_FLAG_END_STREAM))
		return 0;
	st = nghttp2_session_get_stream_user_data(h2, frame->hd.stream_id);
	return st && start_call(st) != 0 ? NGHTTP2_ERR_CALLBACK_FAILURE : 0;
}

static void stream_free(struct stream *st)
{
	for (struct stream **at = &st->c->streams; *at; at = &(*at)->next) {
		if (*at != st)
			continue;
		*at = st->next;
		break;
	}
	if (st->call)
		st->call->st = NULL;
	lcm_buf_fini(&st->body);
	lcm_buf_fini(&st->reply.body);
	free(st);
}

static int on_stream_close(nghttp2_session *h2, int32_t id, uint32_t code, void *arg)
{
	struct stream *st = nghttp2_session_get_stream_user_data(h2, id);

	(void)code;
	(void)arg;
	if (st)
		stream_free(st);
	return 0;
}

/* ---- connections ---- */

static void conn_close(struct conn *c)
{
	for (struct conn **at = &c->g->head; *at; at = &(*at)->next) {
		if (*at != c)
			continue;
		*at = c->next;
		break;
	}
	c->g->n_conns--;
	while (c->streams)
		stream_free(c->streams);
	nghttp2_session_del(c->h2);
	lcm_loop_del_fd(c->watch);
	lcm_closep(&c->fd);
	free(c);
}

static int watch_out(struct conn *c, bool out)
{
	if (c->wants_out == out)
		return 0;
	c->wants_out = out;
	return lcm_loop_mod_fd(c->watch, EPOLLIN | (out ? EPOLLOUT : 0));
}

/* Sends what there is to be sent. Return: 0; -errno: the connection is of no use any more. */
static int conn_flush(struct conn *c)
{
	for (;;) {
		ssize_t n;

		if (!c->out_len) {
			n = nghttp2_session_mem_send(c->h2, &c->out);
			if (n < 0)
				return -EPROTO;
			c->out_len = (size_t)n;
		}
		if (!c->out_len)
			break;
		n = lcm_errno(send(c->fd, c->out, c->out_len, MSG_NOSIGNAL));
		if (n == -EAGAIN)
			return watch_out(c, true);
		if (n < 0)
			return (int)n;
		c->out += n;
		c->out_len -= (size_t)n;
	}
	if (!nghttp2_session_want_read(c->h2) && !nghttp2_session_want_write(c->h2))
		return -ECONNRESET;
	return watch_out(c, false);
}

static int conn_read(struct conn *c)
{
	uint8_t buf[READ_BYTES];
	ssize_t n = lcm_errno(recv(c->fd, buf, sizeof(buf), 0));

	if (n == -EAGAIN || n == -EINTR)
		return 0;
	if (n <= 0)
		return n < 0 ? (int)n : -ECONNRESET;
	return nghttp2_session_mem_recv(c->h2, buf, (size_t)n) < 0 ? -EPROTO : 0;
}

static void on_conn(void *arg, uint32_t events)
{
	struct conn *c = arg;
	int r = 0;

	if (events & (EPOLLIN | EPOLLHUP | EPOLLERR))
		r = conn_read(c);
	if (r == 0)
		r = conn_flush(c);
	if (r < 0)
		conn_close(c);
}

static int session_new(struct conn *c)
{
	static const nghttp2_settings_entry settings[] = {
		{ NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, STREAMS_MAX },
	};
	nghttp2_session_callbacks *cb;
	int r = nghttp2_session_callbacks_new(&cb);

	if (r != 0)
		return -ENOMEM;
	nghttp2_session_callbacks_set_on_begin_headers_callback(cb, on_begin_headers);
	nghttp2_session_callbacks_set_on_header_callback(cb, on_header);
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, on_data);
	nghttp2_session_callbacks_set_on_frame_recv_callback(cb, on_frame);
	nghttp2_session_callbacks_set_on_stream_close_callback(cb, on_stream_close);
	r = nghttp2_session_server_new(&c->h2, cb, c);
	nghttp2_session_callbacks_del(cb);
	if (r == 0)
		r = nghttp2_submit_settings(c->h2, NGHTTP2_FLAG_NONE, settings,
					    LCM_ARRAY_SIZE(settings));
	return r == 0 ? 0 : -ENOMEM;
}

static int conn_new(struct lcm_grpc *g, int fd)
{
	struct conn *c = calloc(1, sizeof(*c));
	int r = c ? 0 : -ENOMEM;

	if (r < 0) {
		lcm_closep(&fd);
		return r;
	}
	c->g = g;
	c->fd = fd;
	c->next = g->head;
	g->head = c;
	g->n_conns++;
	r = session_new(c);
	if (r == 0)
		r = lcm_loop_add_fd(g->loop, fd, EPOLLIN, on_conn, c, &c->watch);
	if (r == 0)
		r = conn_flush(c);
	if (r < 0)
		conn_close(c);
	return r;
}

static void on_accept(void *arg, uint32_t events)
{
	struct lcm_grpc *g = arg;
	int fd = (int)lcm_errno(accept4(g->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK));
	bool accepted = fd >= 0;
	int r = fd;

	(void)events;
	if (fd >= 0 && g->n_conns == CONNECTIONS_MAX) {
		lcm_closep(&fd);
		r = -EMFILE;
	} else if (fd >= 0) {
		r = conn_new(g, fd);
	}
	if (r >= 0 || r == -EAGAIN || r == -EPIPE || r == -ECONNRESET)
		return;
	lcm_log(LCM_LOG_WARNING, "a connection is refused: %s", strerror(-r));
	if (accepted)
		return;
	lcm_ignore(lcm_loop_mod_fd(g->watch, 0));
	lcm_timer_set(g->again, ACCEPT_AGAIN_NS);
}

static void on_again(void *arg)
{
	struct lcm_grpc *g = arg;

	lcm_ignore(lcm_loop_mod_fd(g->watch, EPOLLIN));
}

int lcm_grpc_new(struct lcm_loop *loop, struct lcm_pool *pool, int fd, lcm_grpc_fn fn, void *arg,
		 struct lcm_grpc **ret)
{
	struct lcm_grpc *g = calloc(1, sizeof(*g));
	int r = g ? 0 : -ENOMEM;

	if (r == 0) {
		*g =
		    (struct lcm_grpc){ .loop = loop, .pool = pool, .fd = fd, .fn = fn, .arg = arg };
		r = lcm_timer_new(loop, on_again, g, &g->again);
	}
	if (r == 0)
		r = lcm_loop_add_fd(loop, fd, EPOLLIN, on_accept, g, &g->watch);
	if (r < 0) {
		if (g)
			lcm_timer_free(g->again);
		lcm_closep(&fd);
		free(g);
		return r;
	}
	*ret = g;
	return 0;
}

void lcm_grpc_set_slow(struct lcm_grpc *g, struct lcm_pool *slow,
		       bool (*is_slow)(const char *method))
{
	g->slow = slow;
	g->is_slow = is_slow;
}

void lcm_grpc_stop(struct lcm_grpc *g)
{
	if (!g)
		return;
	lcm_timer_free(g->again);
	g->again = NULL;
	lcm_loop_del_fd(g->watch);
	g->watch = NULL;
	lcm_closep(&g->fd);
	while (g->head)
		conn_close(g->head);
}

void lcm_grpc_free(struct lcm_grpc *g)
{
	free(g);
}
