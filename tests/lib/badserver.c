/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/badserver.h"

#include <inttypes.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include "src/base/sys.h"

struct bad_conn {
	struct badserver *server;
	int fd;
	bool reset;
	pthread_t thread;
	struct bad_conn *next;
};

struct badserver {
	bad_handler_fn fn;
	void *arg;
	int listener, stop;
	unsigned int port;
	pthread_t thread;
	pthread_mutex_t mu; /* guards the rest */
	struct bad_conn *conns;
	struct bad_request *requests[BAD_REQUESTS_MAX];
	unsigned int n_requests, n_conns;
};

/* Ready to read: 1; stop or timeout: 0. */
static int wait_readable(struct badserver *s, int fd, int ms)
{
	struct pollfd p[2] = { { .fd = fd, .events = POLLIN },
			       { .fd = s->stop, .events = POLLIN } };

	if (poll(p, 2, ms) <= 0 || p[1].revents)
		return 0;
	return 1;
}

void bad_wait(struct bad_conn *c, int ms)
{
	if (wait_readable(c->server, c->fd, ms) && ms > 0) {
		char b;

		/* Only the end of the connection counts. */
		if (recv(c->fd, &b, 1, MSG_PEEK) > 0)
			(void)wait_readable(c->server, c->server->stop, ms);
	}
}

void bad_reset(struct bad_conn *c)
{
	c->reset = true;
}

void bad_send(struct bad_conn *c, const void *p, size_t len)
{
	const char *b = p;

	while (len) {
		ssize_t n = send(c->fd, b, len, MSG_NOSIGNAL);

		if (n <= 0)
			return;
		b += n;
		len -= (size_t)n;
	}
}

void bad_printf(struct bad_conn *c, const char *fmt, ...)
{
	char text[16384];
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	bad_send(c, text, LCM_MIN((size_t)n, sizeof(text) - 1));
}

const char *bad_field(const struct bad_request *req, const char *name, char *out, size_t cap)
{
	size_t len = strlen(name);

	for (const char *l = req->head; l && *l;
	     l = strstr(l, "\r\n") ? strstr(l, "\r\n") + 2 : NULL) {
		if (strncasecmp(l, name, len) || l[len] != ':')
			continue;
		l += len + 1;
		l += strspn(l, " ");
		(void)snprintf(out, cap, "%.*s", (int)strcspn(l, "\r"), l);
		return out;
	}
	return NULL;
}

bool bad_range(const struct bad_request *req, uint64_t *first, uint64_t *last)
{
	char v[128];

	return bad_field(req, "Range", v, sizeof(v)) &&
	       sscanf(v, "bytes=%" SCNu64 "-%" SCNu64, first, last) == 2;
}

bool bad_reply(struct bad_conn *c, const char *status)
{
	bad_printf(c, "HTTP/1.1 %s\r\nContent-Length: 0\r\n\r\n", status);
	return true;
}

void bad_head(struct bad_conn *c, const struct bad_request *req, uint64_t size, uint64_t *ret_first,
	      uint64_t *ret_last)
{
	*ret_first = 0;
	*ret_last = size - 1;
	if (bad_range(req, ret_first, ret_last))
		bad_printf(c,
			   "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes %" PRIu64
			   "-%" PRIu64 "/%" PRIu64 "\r\n",
			   *ret_first, *ret_last, size);
	else
		bad_printf(c, "HTTP/1.1 200 OK\r\n");
	bad_printf(c, "Content-Length: %" PRIu64 "\r\n\r\n", *ret_last - *ret_first + 1);
}

void bad_blob(struct bad_conn *c, const struct bad_request *req, const void *blob, size_t size)
{
	uint64_t first, last;

	bad_head(c, req, size, &first, &last);
	bad_send(c, (const char *)blob + first, (size_t)(last - first + 1));
}

/* Reads up to the empty line; one byte at a time is fast enough here. */
static bool read_head(struct bad_conn *c, char *head)
{
	size_t n = 0;

	while (n < BAD_HEAD_MAX - 1 && wait_readable(c->server, c->fd, -1) &&
	       recv(c->fd, head + n, 1, 0) == 1) {
		head[++n] = '\0';
		if (n == 1 && (head[0] < 'A' || head[0] > 'Z')) {
			/* A TLS hello: what every HTTP server says. */
			bad_printf(c, "HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n");
			return false;
		}
		if (n >= 4 && memcmp(head + n - 4, "\r\n\r\n", 4) == 0)
			return true;
	}
	return false;
}

static void read_body(struct bad_conn *c, struct bad_request *req)
{
	char v[32];
	size_t len, n = 0;

	if (!bad_field(req, "Content-Length", v, sizeof(v)) || sscanf(v, "%zu", &len) != 1)
		return;
	while (n < len && n < sizeof(req->body) - 1 && wait_readable(c->server, c->fd, -1) &&
	       recv(c->fd, req->body + n, 1, 0) == 1)
		n++;
}

static struct bad_request *read_request(struct bad_conn *c)
{
	struct badserver *s = c->server;
	struct bad_request *req = calloc(1, sizeof(*req));
	char *head = calloc(1, BAD_HEAD_MAX);
	char *eol;

	if (!req || !head || !read_head(c, head) ||
	    sscanf(head, "%15s %4095s", req->method, req->target) != 2) {
		free(req);
		free(head);
		return NULL;
	}
	eol = strstr(head, "\r\n") + 2;
	req->head = strdup(eol);
	free(head);
	read_body(c, req);
	req->at_ns = lcm_now_ns();
	(void)pthread_mutex_lock(&s->mu);
	req->nth = s->n_requests;
	if (s->n_requests < BAD_REQUESTS_MAX)
		s->requests[s->n_requests++] = req;
	(void)pthread_mutex_unlock(&s->mu);
	return req;
}

static void *conn_main(void *arg)
{
	struct bad_conn *c = arg;
	struct linger hard = { .l_onoff = 1 };
	struct bad_request *req;

	while ((req = read_request(c)) && c->server->fn(c, req, c->server->arg))
		;
	if (c->reset)
		(void)setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
	(void)pthread_mutex_lock(&c->server->mu);
	lcm_closep(&c->fd);
	(void)pthread_mutex_unlock(&c->server->mu);
	return NULL;
}

static void *accept_main(void *arg)
{
	struct badserver *s = arg;

	while (wait_readable(s, s->listener, -1)) {
		struct bad_conn *c = calloc(1, sizeof(*c));

		if (!c)
			return NULL;
		c->server = s;
		c->fd = accept(s->listener, NULL, NULL);
		(void)pthread_mutex_lock(&s->mu);
		c->next = s->conns;
		s->conns = c;
		s->n_conns++;
		(void)pthread_mutex_unlock(&s->mu);
		if (pthread_create(&c->thread, NULL, conn_main, c))
			abort();
	}
	return NULL;
}

struct badserver *badserver_start(bad_handler_fn fn, void *arg)
{
	struct badserver *s = calloc(1, sizeof(*s));
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(a);

	if (!s)
		abort();
	s->fn = fn;
	s->arg = arg;
	(void)pthread_mutex_init(&s->mu, NULL);
	s->stop = eventfd(0, EFD_CLOEXEC);
	s->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (s->stop < 0 || s->listener < 0 || bind(s->listener, (struct sockaddr *)&a, len) ||
	    listen(s->listener, 128) || getsockname(s->listener, (struct sockaddr *)&a, &len))
		abort();
	s->port = ntohs(a.sin_port);
	if (pthread_create(&s->thread, NULL, accept_main, s))
		abort();
	return s;
}

void badserver_stop(struct badserver *s)
{
	uint64_t one = 1;

	lcm_ignore(lcm_sys_write_full(s->stop, &one, sizeof(one)));
	(void)pthread_join(s->thread, NULL);
	(void)pthread_mutex_lock(&s->mu);
	for (struct bad_conn *c = s->conns; c; c = c->next)
		if (c->fd >= 0)
			(void)shutdown(c->fd, SHUT_RDWR);
	(void)pthread_mutex_unlock(&s->mu);
	while (s->conns) {
		struct bad_conn *c = s->conns;

		s->conns = c->next;
		(void)pthread_join(c->thread, NULL);
		free(c);
	}
	for (unsigned int i = 0; i < s->n_requests; i++) {
		free(s->requests[i]->head);
		free(s->requests[i]);
	}
	lcm_closep(&s->listener);
	lcm_closep(&s->stop);
	(void)pthread_mutex_destroy(&s->mu);
	free(s);
}

unsigned int badserver_port(const struct badserver *s)
{
	return s->port;
}

unsigned int badserver_count(struct badserver *s)
{
	unsigned int n;

	(void)pthread_mutex_lock(&s->mu);
	n = s->n_requests;
	(void)pthread_mutex_unlock(&s->mu);
	return n;
}

unsigned int badserver_connections(struct badserver *s)
{
	unsigned int n;

	(void)pthread_mutex_lock(&s->mu);
	n = s->n_conns;
	(void)pthread_mutex_unlock(&s->mu);
	return n;
}

const struct bad_request *badserver_request(struct badserver *s, unsigned int n)
{
	const struct bad_request *req;

	(void)pthread_mutex_lock(&s->mu);
	req = n < s->n_requests ? s->requests[n] : NULL;
	(void)pthread_mutex_unlock(&s->mu);
	return req;
}
