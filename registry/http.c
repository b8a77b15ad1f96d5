/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "registry/http.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>

#include <openssl/crypto.h>

#include "registry/retry.h"
#include "src/base/sys.h"

#define MS 1000000ULL

static void wipe_request(struct lcm_http *h)
{
	for (struct curl_slist *s = h->fields; s; s = s->next)
		OPENSSL_cleanse(s->data, strlen(s->data));
	curl_slist_free_all(h->fields);
	h->fields = NULL;
	if (h->form)
		OPENSSL_cleanse(h->form, strlen(h->form));
	free(h->form);
	h->form = NULL;
}

static void http_end(struct lcm_http *h, CURLcode code)
{
	h->running = false;
	lcm_timer_clear(h->stall);
	wipe_request(h);
	h->ops->done(h->arg, code); /* may free h */
}

static void on_job_done(void *arg, CURLcode code)
{
	http_end(arg, code);
}

/* Byte by byte it would never end. Waiting for the reader does not count. */
static bool is_drip(struct lcm_http *h, uint64_t now)
{
	uint64_t window = LCM_HTTP_SLOW_STALLS * h->env->stall_timeout_ms * MS;
	bool few = h->window_bytes < LCM_HTTP_SLOW_BYTES;

	if (h->window_ns && !h->paused && now < h->window_ns + window)
		return false;
	few = few && h->window_ns && !h->paused;
	h->window_ns = now;
	h->window_bytes = 0;
	return few;
}

/* CURLOPT_LOW_SPEED_TIME counts whole seconds and averages; a stall is: not one byte. */
static void on_stall_timer(void *arg)
{
	struct lcm_http *h = arg;
	uint64_t limit = h->env->stall_timeout_ms * MS;
	uint64_t now = lcm_now_ns(), since = h->last_ns;
	bool drip = h->connected && is_drip(h, now);

	if (!h->connected) {
		limit += h->env->connect_timeout_ms * MS;
		since = h->start_ns;
	}
	if (!drip && (h->paused || now < since + limit)) {
		lcm_timer_set(h->stall, h->paused ? limit : since + limit - now);
		return;
	}
	h->stalled = true;
	if (drip)
		(void)snprintf(h->error, sizeof(h->error), "less than %u bytes in %u ms",
			       LCM_HTTP_SLOW_BYTES,
			       LCM_HTTP_SLOW_STALLS * h->env->stall_timeout_ms);
	else
		(void)snprintf(h->error, sizeof(h->error), "no byte for %u ms",
			       h->env->stall_timeout_ms);
	(void)curl_easy_setopt(h->easy, CURLOPT_FORBID_REUSE, 1L);
	lcm_multi_remove(h->env->multi, h->pool, h->easy);
	http_end(h, CURLE_OPERATION_TIMEDOUT);
}

int lcm_http_init(struct lcm_http *h, struct lcm_http_env *env, const struct lcm_http_ops *ops,
		  void *arg)
{
	int r;

	*h = (struct lcm_http){ .env = env, .ops = ops, .arg = arg };
	h->job = (struct lcm_multi_job){ .done = on_job_done, .arg = h };
	r = lcm_timer_new(env->loop, on_stall_timer, h, &h->stall);
	if (r < 0)
		return r;
	h->easy = curl_easy_init();
	return h->easy ? 0 : -ENOMEM;
}

void lcm_http_stop(struct lcm_http *h)
{
	if (!h->running)
		return;
	h->running = false;
	lcm_timer_clear(h->stall);
	lcm_multi_remove(h->env->multi, h->pool, h->easy);
	wipe_request(h);
}

void lcm_http_fini(struct lcm_http *h)
{
	if (!h->env)
		return;
	lcm_http_stop(h);
	if (h->easy)
		curl_easy_cleanup(h->easy);
	lcm_timer_free(h->stall);
	wipe_request(h);
	h->env = NULL;
}

static size_t header_cb(char *p, size_t size, size_t n, void *arg)
{
	struct lcm_http *h = arg;

	h->last_ns = lcm_now_ns();
	h->head_bytes += size * n;
	h->window_bytes += size * n;
	if (h->head_bytes > LCM_HTTP_HEAD_MAX) {
		h->head_too_big = true;
		return 0;
	}
	if (*p == '\r' && lcm_http_status(h) >= 200)
		h->head_done = true;
	return size * n;
}

static size_t write_cb(char *p, size_t size, size_t n, void *arg)
{
	struct lcm_http *h = arg;
	int r;

	h->last_ns = lcm_now_ns();
	h->window_bytes += size * n;
	r = h->ops->body(h->arg, p, size * n);
	if (r == 1) {
		h->paused = true;
		return CURL_WRITEFUNC_PAUSE;
	}
	return r < 0 ? size * n + 1 : size * n;
}

static size_t read_cb(char *p, size_t size, size_t n, void *arg)
{
	struct lcm_http *h = arg;

	n = LCM_MIN(size * n, h->body_len - h->body_at);
	h->last_ns = lcm_now_ns();
	h->window_bytes += n;
	if (n)
		memcpy(p, h->body + h->body_at, n);
	h->body_at += n;
	return n;
}

/* libcurl sends a body anew when the connection it chose turns out to be dead. */
static int seek_cb(void *arg, curl_off_t off, int origin)
{
	struct lcm_http *h = arg;

	if (origin != SEEK_SET || off < 0 || (uint64_t)off > h->body_len)
		return CURL_SEEKFUNC_FAIL;
	h->body_at = (size_t)off;
	return CURL_SEEKFUNC_OK;
}

static int prereq_cb(void *arg, char *remote, char *local, int remote_port, int local_port)
{
	struct lcm_http *h = arg;

	(void)remote, (void)local, (void)remote_port, (void)local_port;
	h->connected = true;
	h->last_ns = lcm_now_ns();
	return CURL_PREREQFUNC_OK;
}

/* A dead path is the kernel's to find: unacknowledged requests end the connection, and every stream
 * on it at once. */
static int sockopt_cb(void *arg, curl_socket_t fd, curlsocktype purpose)
{
	struct lcm_http *h = arg;
	unsigned int ms = h->env->stall_timeout_ms;

	if (purpose == CURLSOCKTYPE_IPCXN)
		(void)setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &ms, sizeof(ms));
	return CURL_SOCKOPT_OK;
}

static int copy_request(struct lcm_http *h, const struct lcm_http_req *req)
{
	for (const char *const *f = req->fields; f && *f; f++) {
		struct curl_slist *s = curl_slist_append(h->fields, *f);

		if (!s)
			return -ENOMEM;
		h->fields = s;
	}
	if (!req->form)
		return 0;
	h->form = strdup(req->form);
	return h->form ? 0 : -ENOMEM;
}

static void set_callbacks(struct lcm_http *h)
{
	CURL *e = h->easy;

	(void)curl_easy_setopt(e, CURLOPT_PRIVATE, &h->job);
	(void)curl_easy_setopt(e, CURLOPT_HEADERFUNCTION, header_cb);
	(void)curl_easy_setopt(e, CURLOPT_HEADERDATA, h);
	(void)curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, write_cb);
	(void)curl_easy_setopt(e, CURLOPT_WRITEDATA, h);
	(void)curl_easy_setopt(e, CURLOPT_PREREQFUNCTION, prereq_cb);
	(void)curl_easy_setopt(e, CURLOPT_PREREQDATA, h);
	(void)curl_easy_setopt(e, CURLOPT_SOCKOPTFUNCTION, sockopt_cb);
	(void)curl_easy_setopt(e, CURLOPT_SOCKOPTDATA, h);
	(void)curl_easy_setopt(e, CURLOPT_ERRORBUFFER, h->error);
	(void)curl_easy_setopt(e, CURLOPT_SHARE, lcm_multi_share(h->env->multi));
}

/* libcurl adds the system's directory of CAs to either. */
static int set_tls(struct lcm_http *h, const struct lcm_tls *t)
{
	CURL *e = h->easy;
	struct curl_blob ca = { .flags = CURL_BLOB_COPY };

	if (h->env->ca_file && curl_easy_setopt(e, CURLOPT_CAINFO, h->env->ca_file))
		return -ENOMEM;
	if (!t)
		return 0;
	ca.data = t->ca;
	ca.len = t->ca_len;
	if (t->ca && curl_easy_setopt(e, CURLOPT_CAINFO_BLOB, &ca))
		return -ENOMEM;
	if (t->cert && (curl_easy_setopt(e, CURLOPT_SSLCERT, t->cert) ||
			curl_easy_setopt(e, CURLOPT_SSLKEY, t->key)))
		return -ENOMEM;
	(void)curl_easy_setopt(e, CURLOPT_SSL_VERIFYPEER, t->skip_verify ? 0L : 1L);
	(void)curl_easy_setopt(e, CURLOPT_SSL_VERIFYHOST, t->skip_verify ? 0L : 2L);
	return 0;
}

static int set_network(struct lcm_http *h, const struct lcm_http_req *req)
{
	CURL *e = h->easy;

	(void)curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
#if LIBCURL_VERSION_NUM >= 0x075700
	/* Else the end of a transfer whose name is not resolved waits for the resolver: 10 s and
	 * more of the loop. */
	(void)curl_easy_setopt(e, CURLOPT_QUICK_EXIT, 1L);
#endif
	(void)curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT_MS, (long)h->env->connect_timeout_ms);
	(void)curl_easy_setopt(e, CURLOPT_TCP_NODELAY, 1L);
	(void)curl_easy_setopt(e, CURLOPT_TCP_KEEPALIVE, 1L);
	(void)curl_easy_setopt(e, CURLOPT_BUFFERSIZE, (long)req->buffer);
	(void)curl_easy_setopt(e, CURLOPT_FRESH_CONNECT, req->fresh ? 1L : 0L);
	/* A body with a connection of its own gains nothing from HTTP/2 and loses its framing's
	 * cost. */
	(void)curl_easy_setopt(
	    e, CURLOPT_HTTP_VERSION,
	    (long)(req->pool == LCM_MULTI_DEMAND ? CURL_HTTP_VERSION_2TLS : CURL_HTTP_VERSION_1_1));
	/* Waiting for a connection that may multiplex pays only where HTTP/2 can be. */
	(void)curl_easy_setopt(
	    e, CURLOPT_PIPEWAIT,
	    req->pool == LCM_MULTI_DEMAND && strncmp(req->url, "https:", 6) == 0 ? 1L : 0L);
	(void)curl_easy_setopt(e, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
	if ((req->direct || h->env->proxy) &&
	    curl_easy_setopt(e, CURLOPT_PROXY, req->direct ? "" : h->env->proxy))
		return -ENOMEM;
	return 0;
}

static void set_method(struct lcm_http *h, const struct lcm_http_req *req)
{
	CURL *e = h->easy;

	if (h->form)
		(void)curl_easy_setopt(e, CURLOPT_POSTFIELDS, h->form);
	if (!req->method)
		return;
	if (strcmp(req->method, "HEAD") == 0) {
		(void)curl_easy_setopt(e, CURLOPT_NOBODY, 1L);
		return;
	}
	h->body = req->body;
	h->body_len = req->body_len;
	(void)curl_easy_setopt(e, CURLOPT_UPLOAD, 1L);
	(void)curl_easy_setopt(e, CURLOPT_CUSTOMREQUEST, req->method);
	(void)curl_easy_setopt(e, CURLOPT_INFILESIZE_LARGE, (curl_off_t)req->body_len);
	(void)curl_easy_setopt(e, CURLOPT_READFUNCTION, read_cb);
	(void)curl_easy_setopt(e, CURLOPT_READDATA, h);
	(void)curl_easy_setopt(e, CURLOPT_SEEKFUNCTION, seek_cb);
	(void)curl_easy_setopt(e, CURLOPT_SEEKDATA, h);
}

static int set_request(struct lcm_http *h, const struct lcm_http_req *req)
{
	CURL *e = h->easy;

	if (curl_easy_setopt(e, CURLOPT_URL, req->url) ||
	    curl_easy_setopt(e, CURLOPT_USERAGENT, "locum/" PACKAGE_VERSION) ||
	    curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http,https"))
		return -ENOMEM;
	(void)curl_easy_setopt(e, CURLOPT_FOLLOWLOCATION, 0L);
	(void)curl_easy_setopt(e, CURLOPT_HTTPHEADER, h->fields);
	set_method(h, req);
	return 0;
}

int lcm_http_start(struct lcm_http *h, const struct lcm_http_req *req)
{
	int r = copy_request(h, req);

	curl_easy_reset(h->easy);
	h->head_bytes = h->body_at = h->body_len = 0;
	h->connected = h->paused = h->head_done = h->head_too_big = h->stalled = false;
	h->error[0] = '\0';
	h->pool = req->pool;
	h->start_ns = h->last_ns = lcm_now_ns();
	h->window_ns = h->window_bytes = 0;
	set_callbacks(h);
	if (r == 0)
		r = set_network(h, req);
	if (r == 0)
		r = set_tls(h, req->tls);
	if (r == 0)
		r = set_request(h, req);
	if (r == 0)
		r = lcm_multi_add(h->env->multi, h->pool, h->easy);
	if (r < 0) {
		wipe_request(h);
		return r;
	}
	h->running = true;
	h->env->requests++;
	lcm_timer_set(h->stall, h->env->stall_timeout_ms * MS);
	return 0;
}

void lcm_http_resume(struct lcm_http *h)
{
	CURLcode code;

	if (!h->running || !h->paused)
		return;
	h->paused = false;
	h->last_ns = lcm_now_ns();
	code = curl_easy_pause(h->easy, CURLPAUSE_CONT);
	if (code == CURLE_OK) {
		lcm_multi_kick(h->env->multi, h->pool);
		return;
	}
	/* body() stopped it; libcurl tells only this caller. */
	lcm_multi_remove(h->env->multi, h->pool, h->easy);
	http_end(h, code);
}

long lcm_http_status(const struct lcm_http *h)
{
	long status = 0;

	(void)curl_easy_getinfo(h->easy, CURLINFO_RESPONSE_CODE, &status);
	return status;
}

int64_t lcm_http_length(const struct lcm_http *h)
{
	curl_off_t n = -1;

	(void)curl_easy_getinfo(h->easy, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &n);
	return n;
}

const char *lcm_http_field(const struct lcm_http *h, const char *name, size_t i)
{
	struct curl_header *f;

	if (curl_easy_header(h->easy, name, i, CURLH_HEADER, -1, &f) != CURLHE_OK)
		return NULL;
	return f->value;
}

int lcm_http_error(const struct lcm_http *h, CURLcode code, const char *peer, struct lcm_err *err)
{
	long os_errno = 0;

	if (h->head_too_big)
		return lcm_err_set(err, -EPROTO, "%s sent a head of over %u bytes", peer,
				   LCM_HTTP_HEAD_MAX);
	(void)curl_easy_getinfo(h->easy, CURLINFO_OS_ERRNO, &os_errno);
	return lcm_retry_code(code, peer, h->error, os_errno, err);
}
