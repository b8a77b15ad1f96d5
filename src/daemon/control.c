/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control.c - the HTTP side: sockets, bodies, waiting answers. What is asked is in api.c.
 */
#include "src/daemon/control.h"

#include <microhttpd.h>
#include <stdio.h>
#include <string.h>
#include <sys/queue.h>

#include "src/base/buf.h"
#include "src/base/listen.h"
#include "src/base/log.h"
#include "src/daemon/api.h"

#define ENDING "the daemon is ending"
/* Of strangers on this host: few, and none for ever. */
#define WEB_CONNECTIONS 64U
#define WEB_IDLE_SECONDS 60U

/* One listening socket. */
struct door {
	struct lcm_host *host;     /* borrowed */
	const struct lcm_web *web; /* borrowed; NULL: the control socket */
	struct MHD_Daemon *mhd;    /* owned */
	struct lcm_loop_fd *watch;
	struct lcm_timer *run; /* owned; MHD wants another turn */
	LIST_HEAD(, request) suspended;
};

struct lcm_control {
	struct door socket, tcp;
	struct lcm_web web; /* of tcp */
};

struct request {
	struct door *door;
	struct MHD_Connection *conn;
	struct lcm_buf body;
	struct lcm_api_call call;
	bool started, suspended;
	LIST_ENTRY(request) link; /* while suspended */
};

static void run(void *arg)
{
	struct door *d = arg;
	MHD_UNSIGNED_LONG_LONG ms;

	(void)MHD_run(d->mhd);
	/* Idle connections are closed without an event. */
	if (MHD_get_timeout(d->mhd, &ms) == MHD_YES)
		lcm_timer_set(d->run, ms * 1000000);
}

static void on_ready(void *arg, uint32_t events)
{
	(void)events;
	run(arg);
}

static enum MHD_Result respond(struct MHD_Connection *conn, int status, const char *type,
			       const void *data, size_t len, enum MHD_ResponseMemoryMode mode)
{
	struct MHD_Response *resp = MHD_create_response_from_buffer(len, (void *)(uintptr_t)data,
								    mode);
	enum MHD_Result ok;

	if (!resp)
		return MHD_NO;
	(void)MHD_add_response_header(resp, "Content-Type", type);
	for (const struct lcm_web_header *h = lcm_web_headers; h->name; h++)
		(void)MHD_add_response_header(resp, h->name, h->value);
	if (status == 401)
		(void)MHD_add_response_header(resp, "WWW-Authenticate", "Bearer realm=\"locum\"");
	ok = MHD_queue_response(conn, (unsigned int)status, resp);
	MHD_destroy_response(resp);
	return ok;
}

static enum MHD_Result reply(struct request *rq)
{
	lcm_autofree char *json = rq->call.reply ? json_dumps(rq->call.reply, JSON_COMPACT) : NULL;
	const char *type = rq->call.type ? rq->call.type : "application/json", *text = json;
	size_t len = json ? strlen(json) : 0;

	if (rq->call.reply && !json)
		rq->call.status = 500;
	if (rq->call.type) {
		text = lcm_buf_str(&rq->call.text);
		len = rq->call.text.len;
	}
	return respond(rq->conn, rq->call.status, type, text ? text : "", len,
		       MHD_RESPMEM_MUST_COPY);
}

static void on_answer(void *arg)
{
	struct request *rq = arg;

	if (!rq->suspended)
		return;
	rq->suspended = false;
	LIST_REMOVE(rq, link);
	MHD_resume_connection(rq->conn);
	lcm_timer_set(rq->door->run, 0);
}

static enum MHD_Result on_query(void *arg, enum MHD_ValueKind kind, const char *key,
				const char *value)
{
	(void)kind;
	if (json_object_set_new(arg, key, value ? json_string(value) : json_true()) < 0)
		return MHD_NO;
	return MHD_YES;
}

static void start_call(struct request *rq, const char *method, const char *url)
{
	json_t *args = json_object();

	rq->started = true;
	rq->call.host = rq->door->host;
	rq->call.answered = on_answer;
	rq->call.arg = rq;
	if (rq->door->host->e->closing) {
		lcm_api_error(&rq->call, 503, -ESHUTDOWN, ENDING);
		json_decref(args);
		return;
	}
	(void)MHD_get_connection_values(rq->conn, MHD_GET_ARGUMENT_KIND, on_query, args);
	if (rq->body.len) {
		json_t *body = json_loadb(rq->body.data, rq->body.len, JSON_REJECT_DUPLICATES,
					  NULL);

		if (!json_is_object(body)) {
			json_decref(body);
			json_decref(args);
			lcm_api_error(&rq->call, 400, -EINVAL, "request body is not a JSON object");
			return;
		}
		(void)json_object_update(args, body);
		json_decref(body);
	}
	lcm_api_start(&rq->call, method, url, args);
	json_decref(args);
}

static const char *header(struct MHD_Connection *conn, const char *name)
{
	return MHD_lookup_connection_value(conn, MHD_HEADER_KIND, name);
}

/* Before anything of a body is read. */
static int refuse(struct request *rq, const char *method, const char *url)
{
	struct lcm_web_request asked = {
		.method = method,
		.url = url,
		.host = header(rq->conn, "Host"),
		.origin = header(rq->conn, "Origin"),
		.fetch_site = header(rq->conn, "Sec-Fetch-Site"),
		.authorization = header(rq->conn, "Authorization"),
	};
	const char *why;
	int status = lcm_web_check(rq->door->web, &asked, &why);

	if (status)
		lcm_api_error(&rq->call, status, -EACCES, "%s", why);
	return status;
}

static enum MHD_Result begin(struct door *d, struct MHD_Connection *conn, const char *url,
			     const char *method, void **state)
{
	const struct lcm_web_file *file = strcmp(method, "GET") == 0 ? lcm_web_file(url) : NULL;
	struct request *rq = calloc(1, sizeof(*rq));

	if (!rq)
		return MHD_NO;
	rq->door = d;
	rq->conn = conn;
	rq->body = LCM_BUF(LCM_CONTROL_BODY_MAX);
	*state = rq;
	if (refuse(rq, method, url))
		return reply(rq);
	if (file)
		return respond(conn, 200, file->type, file->data, file->len,
			       MHD_RESPMEM_PERSISTENT);
	return MHD_YES;
}

static enum MHD_Result on_request(void *arg, struct MHD_Connection *conn, const char *url,
				  const char *method, const char *version, const char *data,
				  size_t *len, void **state)
{
	struct request *rq = *state;

	(void)version;
	if (!rq)
		return begin(arg, conn, url, method, state);
	if (*len) {
		int r = lcm_buf_add(&rq->body, data, *len);

		*len = 0;
		return r < 0 ? MHD_NO : MHD_YES;
	}
	if (!rq->started)
		start_call(rq, method, url);
	if (rq->call.status)
		return reply(rq);
	rq->suspended = true;
	LIST_INSERT_HEAD(&rq->door->suspended, rq, link);
	MHD_suspend_connection(conn);
	return MHD_YES;
}

static void on_completed(void *arg, struct MHD_Connection *conn, void **state,
			 enum MHD_RequestTerminationCode code)
{
	struct request *rq = *state;

	(void)arg;
	(void)conn;
	(void)code;
	if (!rq)
		return;
	lcm_api_end(&rq->call);
	lcm_buf_fini(&rq->body);
	free(rq);
	*state = NULL;
}

int lcm_control_listen(const char *path, int *ret_fd, struct lcm_err *err)
{
	int r = lcm_listen_unix(path, ret_fd, err);

	return r == -EADDRINUSE ? lcm_err_set(err, r,
					      "a daemon already listens on %s (locum daemon --stop "
					      "ends it)",
					      path)
				: r;
}

static int open_door(struct door *d, int fd, struct lcm_err *err)
{
	const union MHD_DaemonInfo *info;
	int r = lcm_timer_new(d->host->e->loop, run, d, &d->run);

	if (r < 0)
		return r;
	d->mhd = MHD_start_daemon(
	    MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME, 0, NULL, NULL, on_request, d,
	    MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_NOTIFY_COMPLETED, on_completed, NULL,
	    MHD_OPTION_CONNECTION_LIMIT, d->web ? WEB_CONNECTIONS : 1024U,
	    MHD_OPTION_CONNECTION_TIMEOUT, d->web ? WEB_IDLE_SECONDS : 0U, MHD_OPTION_END);
	info = d->mhd ? MHD_get_daemon_info(d->mhd, MHD_DAEMON_INFO_EPOLL_FD) : NULL;
	if (!info)
		return lcm_err_set(err, -EIO, "HTTP server could not be started");
	return lcm_loop_add_fd(d->host->e->loop, info->epoll_fd, EPOLLIN, on_ready, d, &d->watch);
}

/* MHD ends the process when it is stopped while a connection is suspended. */
static void answer_all(struct door *d)
{
	struct request *rq;

	while ((rq = LIST_FIRST(&d->suspended))) {
		lcm_api_end(&rq->call);
		lcm_api_error(&rq->call, 503, -ESHUTDOWN, ENDING);
		on_answer(rq);
	}
}

static void close_door(struct door *d)
{
	lcm_loop_del_fd(d->watch);
	if (d->mhd) {
		answer_all(d);
		(void)MHD_run(d->mhd);
		MHD_stop_daemon(d->mhd);
	}
	lcm_timer_free(d->run);
}

int lcm_control_new(struct lcm_host *h, int fd, struct lcm_control **ret, struct lcm_err *err)
{
	struct lcm_control *c = calloc(1, sizeof(*c));
	int r;

	if (!c)
		return -ENOMEM;
	c->socket.host = c->tcp.host = h;
	r = open_door(&c->socket, fd, err);
	if (r < 0) {
		lcm_control_free(c);
		return r;
	}
	*ret = c;
	return 0;
}

int lcm_control_add_web(struct lcm_control *c, const struct lcm_web *web, int fd,
			struct lcm_err *err)
{
	c->web = *web;
	c->tcp.web = &c->web;
	return open_door(&c->tcp, fd, err);
}

void lcm_control_free(struct lcm_control *c)
{
	if (!c)
		return;
	lcm_api_shutdown(c->socket.host);
	close_door(&c->tcp);
	close_door(&c->socket);
	free(c);
}
