/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control.c - the HTTP side: sockets, bodies, waiting answers. What is asked is in api.c.
 */
#include "src/daemon/control.h"

#include <microhttpd.h>
#include <stdio.h>
#include <string.h>

#include "src/base/buf.h"
#include "src/base/listen.h"
#include "src/base/log.h"
#include "src/daemon/api.h"

struct lcm_control {
	struct lcm_host *host;  /* borrowed */
	struct MHD_Daemon *mhd; /* owned */
	struct lcm_loop_fd *watch;
	struct lcm_timer *run; /* owned; MHD wants another turn */
};

struct request {
	struct lcm_control *c;
	struct MHD_Connection *conn;
	struct lcm_buf body;
	struct lcm_api_call call;
	bool started, suspended;
};

static void run(void *arg)
{
	struct lcm_control *c = arg;

	(void)MHD_run(c->mhd);
}

static void on_ready(void *arg, uint32_t events)
{
	(void)events;
	run(arg);
}

static enum MHD_Result reply(struct request *rq)
{
	lcm_autofree char *json = rq->call.reply ? json_dumps(rq->call.reply, JSON_COMPACT) : NULL;
	const char *type = rq->call.type ? rq->call.type : "application/json", *text = json;
	struct MHD_Response *resp;
	enum MHD_Result ok;

	if (rq->call.type)
		text = lcm_buf_str(&rq->call.text);
	resp = MHD_create_response_from_buffer(
	    text ? strlen(text) : 0, (void *)(uintptr_t)(text ? text : ""), MHD_RESPMEM_MUST_COPY);
	if (!resp)
		return MHD_NO;
	(void)MHD_add_response_header(resp, "Content-Type", type);
	ok = MHD_queue_response(rq->conn, (unsigned int)rq->call.status, resp);
	MHD_destroy_response(resp);
	return ok;
}

static void on_answer(void *arg)
{
	struct request *rq = arg;

	if (!rq->suspended)
		return;
	rq->suspended = false;
	MHD_resume_connection(rq->conn);
	lcm_timer_set(rq->c->run, 0);
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
	rq->call.host = rq->c->host;
	rq->call.answered = on_answer;
	rq->call.arg = rq;
	if (rq->c->host->e->closing) {
		lcm_api_error(&rq->call, 503, -ESHUTDOWN, "the daemon is ending");
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

static enum MHD_Result on_request(void *arg, struct MHD_Connection *conn, const char *url,
				  const char *method, const char *version, const char *data,
				  size_t *len, void **state)
{
	struct request *rq = *state;

	(void)version;
	if (!rq) {
		rq = calloc(1, sizeof(*rq));
		if (!rq)
			return MHD_NO;
		rq->c = arg;
		rq->conn = conn;
		rq->body = LCM_BUF(LCM_CONTROL_BODY_MAX);
		*state = rq;
		return MHD_YES;
	}
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

int lcm_control_new(struct lcm_host *h, int fd, struct lcm_control **ret, struct lcm_err *err)
{
	struct lcm_control *c = calloc(1, sizeof(*c));
	const union MHD_DaemonInfo *info;
	int r = -ENOMEM;

	if (c)
		r = lcm_timer_new(h->e->loop, run, c, &c->run);
	if (r < 0) {
		free(c);
		return r;
	}
	c->host = h;
	c->mhd = MHD_start_daemon(MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME, 0, NULL, NULL,
				  on_request, c, MHD_OPTION_LISTEN_SOCKET, fd,
				  MHD_OPTION_NOTIFY_COMPLETED, on_completed, NULL,
				  MHD_OPTION_CONNECTION_LIMIT, 1024U, MHD_OPTION_END);
	info = c->mhd ? MHD_get_daemon_info(c->mhd, MHD_DAEMON_INFO_EPOLL_FD) : NULL;
	if (!info) {
		lcm_control_free(c);
		return lcm_err_set(err, -EIO, "HTTP server could not be started");
	}
	r = lcm_loop_add_fd(h->e->loop, info->epoll_fd, EPOLLIN, on_ready, c, &c->watch);
	if (r < 0) {
		lcm_control_free(c);
		return r;
	}
	*ret = c;
	return 0;
}

void lcm_control_free(struct lcm_control *c)
{
	if (!c)
		return;
	lcm_api_shutdown(c->host);
	lcm_loop_del_fd(c->watch);
	if (c->mhd) {
		(void)MHD_run(c->mhd);
		MHD_stop_daemon(c->mhd);
	}
	lcm_timer_free(c->run);
	free(c);
}
