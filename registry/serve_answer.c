/* SPDX-License-Identifier: Apache-2.0 */
#include "registry/serve_answer.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "registry/serve_layout.h"
#include "src/base/limits.h"
#include "src/base/sys.h"

/* Read and write unit of an altered body. */
#define BLOCK (64U << 10)

enum stage {
	STAGE_NEW,
	STAGE_DELAY,
	STAGE_HOLD,
	STAGE_SEND,
};

/* One request, from its headers to lcm_serve_answered(). */
struct request {
	struct lcm_serve *serve;     /* borrowed */
	struct MHD_Connection *conn; /* borrowed */
	struct lcm_held held;
	enum stage stage;
	struct lcm_serve_request info; /* method and path: owned copies */
	struct lcm_serve_route route;
	struct lcm_serve_fault fault;
	unsigned int status;
	uint64_t sent; /* bytes of the object given to the socket */
	int fd;        /* the object; -EBADF: the answer is text */
	char *text;    /* owned; answer without an object */
	bool head;
	char type[LCM_SERVE_TYPE_MAX + 1]; /* Content-Type */
	char etag[LCM_DIGEST_STR + 2];
	char link[2 * LCM_SERVE_REPO_MAX]; /* Link header, "" none */
};

static void request_free(struct request *q)
{
	if (!q)
		return;
	lcm_closep(&q->fd);
	free(q->text);
	free((char *)q->info.method);
	free((char *)q->info.path);
	free(q);
}

/* An answer that is the serialized @j (stolen). */
static int set_json(struct request *q, unsigned int status, json_t *j)
{
	char *text = json_dumps(j, JSON_COMPACT);

	json_decref(j);
	if (!text)
		return -ENOMEM;
	free(q->text);
	q->text = text;
	q->status = status;
	lcm_closep(&q->fd);
	(void)snprintf(q->type, sizeof(q->type), "application/json");
	return 0;
}

/* distribution-spec "Error Codes" */
static int set_error(struct request *q, unsigned int status, const char *code, const char *message)
{
	q->info.len = 0;
	return set_json(q, status,
			json_pack("{s:[{s:s,s:s}]}", "errors", "code", code, "message", message));
}

static int set_errno(struct request *q, int r)
{
	if (r == -EMFILE || r == -ENFILE || r == -ENOMEM)
		return set_error(q, MHD_HTTP_SERVICE_UNAVAILABLE, "UNAVAILABLE", strerror(-r));
	return set_error(q, MHD_HTTP_INTERNAL_SERVER_ERROR, "UNKNOWN", strerror(-r));
}

static const char *header(struct request *q, const char *name)
{
	return MHD_lookup_connection_value(q->conn, MHD_HEADER_KIND, name);
}

static const char *query(struct request *q, const char *name)
{
	return MHD_lookup_connection_value(q->conn, MHD_GET_ARGUMENT_KIND, name);
}

/* An answer from the open object; the digest names it. */
static void set_object(struct request *q, int fd, uint64_t size, const struct lcm_digest *d)
{
	char text[LCM_DIGEST_STR];

	q->fd = fd;
	q->status = MHD_HTTP_OK;
	q->info.digest = *d;
	q->info.size = size;
	q->info.len = size;
	(void)snprintf(q->etag, sizeof(q->etag), "\"%s\"", lcm_digest_str(d, text));
}

/* RFC 9110 s. 13.1.2, 13.1.5: our tags are strong and contain no comma or quote. */
static bool not_modified(struct request *q)
{
	const char *h = header(q, MHD_HTTP_HEADER_IF_NONE_MATCH);

	return h && (strcmp(h, "*") == 0 || strstr(h, q->etag));
}

static int prepare_blob(struct request *q)
{
	const char *range = header(q, MHD_HTTP_HEADER_RANGE),
		   *only = header(q, MHD_HTTP_HEADER_IF_RANGE);
	uint64_t size;
	int fd, r;

	fd = lcm_serve_layout_blob(q->serve->dir, &q->route.digest, &size);
	if (fd == -ENOENT)
		return set_error(q, MHD_HTTP_NOT_FOUND, "BLOB_UNKNOWN", "blob unknown to registry");
	if (fd < 0)
		return set_errno(q, fd);
	set_object(q, fd, size, &q->route.digest);
	(void)snprintf(q->type, sizeof(q->type), "application/octet-stream");
	/* RFC 9110 s. 14.2: "A server MUST ignore a Range header field received with a request
	 * method that is [not GET]" */
	if (!range || q->head || (only && strcmp(only, q->etag) != 0))
		return 0;
	r = lcm_serve_range_parse(range, size, &q->info.off, &q->info.len);
	if (r == -ERANGE)
		return set_error(q, MHD_HTTP_RANGE_NOT_SATISFIABLE, "RANGE_INVALID",
				 "range is beyond the blob");
	if (r == 0)
		q->status = MHD_HTTP_PARTIAL_CONTENT;
	return 0;
}

/* The manifest's own bytes say its type. */
static int manifest_type(struct request *q, int fd, uint64_t size, const struct lcm_digest *d)
{
	lcm_autofree char *text = NULL;
	int r;

	if (size > LCM_MANIFEST_MAX)
		return -EUCLEAN;
	text = malloc(size + 1);
	if (!text)
		return -ENOMEM;
	r = lcm_sys_pread_full(fd, text, size, 0);
	return r < 0 ? r : lcm_serve_layout_type(q->serve->dir, d, text, size, q->type);
}

static int prepare_manifest(struct request *q)
{
	struct lcm_digest d = q->route.digest;
	lcm_autoclose int fd = -EBADF;
	uint64_t size = 0;
	int r = 0;

	if (q->route.tag[0])
		r = lcm_serve_layout_tag(q->serve->dir, q->route.tag, &d);
	if (r == 0)
		fd = r = lcm_serve_layout_blob(q->serve->dir, &d, &size);
	if (r >= 0)
		r = manifest_type(q, fd, size, &d);
	if (r == -ENOENT || r == -EUCLEAN)
		return set_error(q, MHD_HTTP_NOT_FOUND, "MANIFEST_UNKNOWN",
				 r == -ENOENT ? "manifest unknown to registry"
					      : "not a manifest, or index.json is damaged");
	if (r < 0)
		return set_errno(q, r);
	set_object(q, lcm_steal_fd(&fd), size, &d);
	return 0;
}

/* distribution-spec "Listing Tags": at most n, after last, in order; Link tells that there is more.
 */
static int page_tags(struct request *q, json_t *all, json_t *page)
{
	const char *n = query(q, "n"), *last = query(q, "last");
	uint64_t left = UINT64_MAX;
	json_t *tag, *end = NULL;
	size_t i;

	if (n && lcm_serve_number(n, strlen(n), &left) == -EINVAL)
		return -EINVAL;
	json_array_foreach (all, i, tag) {
		if (last && strcmp(json_string_value(tag), last) <= 0)
			continue;
		if (left-- == 0) {
			if (end)
				(void)snprintf(q->link, sizeof(q->link),
					       "</v2/%s/tags/list?n=%s&last=%s>; rel=\"next\"",
					       q->route.repo, n, json_string_value(end));
			return 0;
		}
		end = tag;
		if (json_array_append(page, tag) < 0)
			return -ENOMEM;
	}
	return 0;
}

static int prepare_tags(struct request *q)
{
	json_t *all = NULL, *page = json_array();
	int r;

	r = page ? lcm_serve_layout_tags(q->serve->dir, &all) : -ENOMEM;
	if (r == 0)
		r = page_tags(q, all, page);
	json_decref(all);
	if (r == 0)
		return set_json(q, MHD_HTTP_OK,
				json_pack("{s:s,s:o}", "name", q->route.repo, "tags", page));
	json_decref(page);
	if (r == -EINVAL)
		return set_error(q, MHD_HTTP_BAD_REQUEST, "PAGINATION_NUMBER_INVALID",
				 "n is not a number");
	return set_errno(q, r);
}

static int prepare_route(struct request *q)
{
	switch (q->route.kind) {
	case LCM_SERVE_PING:
		return set_json(q, MHD_HTTP_OK, json_object());
	case LCM_SERVE_CATALOG:
		return set_json(q, MHD_HTTP_OK,
				json_pack("{s:[s]}", "repositories", q->serve->repo));
	case LCM_SERVE_TAGS:
		return prepare_tags(q);
	case LCM_SERVE_MANIFEST:
		return prepare_manifest(q);
	case LCM_SERVE_BLOB:
		return prepare_blob(q);
	default:
		return set_error(q, MHD_HTTP_NOT_FOUND, "NOT_FOUND", "no such endpoint");
	}
}

/* Finds out what a well-behaved server answers. */
static int prepare(struct request *q)
{
	int r = lcm_serve_route_parse(q->info.path, &q->route);

	q->info.kind = r < 0 ? LCM_SERVE_OTHER : q->route.kind;
	if (strcmp(q->info.method, "GET") != 0 && !q->head)
		return set_error(q, MHD_HTTP_METHOD_NOT_ALLOWED, "UNSUPPORTED",
				 "this registry is read-only");
	if (r == -EINVAL)
		return set_error(q, MHD_HTTP_BAD_REQUEST, "NAME_INVALID",
				 "invalid repository name or tag");
	if (r == -EBADMSG)
		return set_error(q, MHD_HTTP_BAD_REQUEST, "DIGEST_INVALID",
				 "digest is not sha256: and 64 hex digits");
	if (r < 0)
		q->route.kind = LCM_SERVE_OTHER;
	r = prepare_route(q);
	if (r == 0 && q->fd >= 0 && not_modified(q)) {
		q->status = MHD_HTTP_NOT_MODIFIED;
		q->info.len = 0;
		lcm_closep(&q->fd);
	}
	return r;
}

/* Lets the hook look at the answer and spoil it. */
static int run_hook(struct request *q)
{
	struct lcm_serve *s = q->serve;

	q->info.status = q->status;
	if (q->head)
		q->info.len = 0;
	if (s->hooked && s->hook.request)
		s->hook.request(s->hook.arg, &q->info, &q->fault);
	if (q->fault.ignore_range && q->status == MHD_HTTP_PARTIAL_CONTENT) {
		q->status = MHD_HTTP_OK;
		q->info.off = 0;
		q->info.len = q->info.size;
	}
	if (q->fault.status)
		return set_error(q, q->fault.status,
				 q->fault.status == 429 ? "TOOMANYREQUESTS" : "UNKNOWN",
				 "as asked for");
	return 0;
}

/* MHD_ContentReaderCallback: the object's bytes with the fault applied. */
static ssize_t read_body(void *cls, uint64_t pos, char *buf, size_t max)
{
	struct request *q = cls;
	const struct lcm_serve_fault *f = &q->fault;
	uint64_t at = q->info.off + pos;

	max = (size_t)LCM_MIN((uint64_t)max, q->info.len - pos);
	if (at < f->hold_below && lcm_holder_on(&q->serve->holder)) {
		if (lcm_holder_wait(&q->serve->holder, &q->held, q->conn, UINT64_MAX))
			return 0;
	} else if (at < f->hold_below) {
		max = (size_t)LCM_MIN((uint64_t)max, f->hold_below - at);
	}
	if (f->truncate) {
		if (at >= f->truncate_at)
			return MHD_CONTENT_READER_END_WITH_ERROR;
		max = (size_t)LCM_MIN((uint64_t)max, f->truncate_at - at);
	}
	if (lcm_sys_pread_full(q->fd, buf, max, at) < 0)
		return MHD_CONTENT_READER_END_WITH_ERROR;
	if (f->flip && f->flip_off >= at && f->flip_off - at < max)
		buf[f->flip_off - at] = (char)~buf[f->flip_off - at];
	q->sent += max;
	return (ssize_t)max;
}

static struct MHD_Response *make_body(struct request *q)
{
	struct MHD_Response *r;
	size_t len;

	if (q->fd >= 0 && q->serve->hooked)
		return MHD_create_response_from_callback(q->head ? q->info.size : q->info.len,
							 BLOCK, read_body, q, NULL);
	if (q->fd >= 0) {
		r = MHD_create_response_from_fd_at_offset64(
		    q->info.len ? q->info.len : q->info.size, q->fd, q->info.off);
		if (r)
			q->fd = -EBADF; /* closed by the response */
		return r;
	}
	len = q->text ? strlen(q->text) : 0;
	r = MHD_create_response_from_buffer(len, q->text ? q->text : (char *)"",
					    q->text ? MHD_RESPMEM_MUST_FREE
						    : MHD_RESPMEM_PERSISTENT);
	if (r)
		q->text = NULL;
	return r;
}

static bool add_headers(struct request *q, struct MHD_Response *r)
{
	char text[96];
	bool ok = MHD_add_response_header(r, "Docker-Distribution-API-Version", "registry/2.0") ==
		  MHD_YES;

	if (q->type[0])
		ok = ok && MHD_add_response_header(r, MHD_HTTP_HEADER_CONTENT_TYPE, q->type);
	if (q->etag[0] && q->status < 400) {
		ok = ok && MHD_add_response_header(r, MHD_HTTP_HEADER_ETAG, q->etag);
		(void)snprintf(text, sizeof(text), "%.*s", LCM_DIGEST_STR - 1, q->etag + 1);
		ok = ok && MHD_add_response_header(r, "Docker-Content-Digest", text);
	}
	if (q->info.kind == LCM_SERVE_BLOB && q->status < 400)
		ok = ok && MHD_add_response_header(r, MHD_HTTP_HEADER_ACCEPT_RANGES, "bytes");
	if (q->status == MHD_HTTP_PARTIAL_CONTENT) {
		(void)snprintf(text, sizeof(text), "bytes %llu-%llu/%llu",
			       (unsigned long long)q->info.off,
			       (unsigned long long)(q->info.off + q->info.len - 1),
			       (unsigned long long)q->info.size);
		ok = ok && MHD_add_response_header(r, MHD_HTTP_HEADER_CONTENT_RANGE, text);
	}
	if (q->status == MHD_HTTP_RANGE_NOT_SATISFIABLE && !q->fault.status) {
		(void)snprintf(text, sizeof(text), "bytes */%llu",
			       (unsigned long long)q->info.size);
		ok = ok && MHD_add_response_header(r, MHD_HTTP_HEADER_CONTENT_RANGE, text);
	}
	if (q->status == MHD_HTTP_METHOD_NOT_ALLOWED)
		ok = ok && MHD_add_response_header(r, MHD_HTTP_HEADER_ALLOW, "GET, HEAD");
	if (q->link[0])
		ok = ok && MHD_add_response_header(r, MHD_HTTP_HEADER_LINK, q->link);
	for (size_t i = 0; i < LCM_SERVE_FAULT_HEADERS && q->fault.header[i].name; i++)
		ok = ok &&
		     MHD_add_response_header(r, q->fault.header[i].name, q->fault.header[i].value);
	return ok;
}

static enum MHD_Result send_answer(struct request *q)
{
	struct MHD_Response *r = make_body(q);
	enum MHD_Result ret = MHD_NO;

	if (!r)
		return MHD_NO;
	if (add_headers(q, r))
		ret = MHD_queue_response(q->conn, q->status, r);
	MHD_destroy_response(r);
	q->info.status = ret == MHD_YES ? q->status : 0;
	return ret;
}

static struct request *request_new(struct lcm_serve *s, struct MHD_Connection *c, const char *url,
				   const char *method)
{
	struct request *q = calloc(1, sizeof(*q));

	if (!q)
		return NULL;
	q->serve = s;
	q->conn = c;
	q->fd = -EBADF;
	q->info.id = atomic_fetch_add(&s->ids, 1) + 1;
	q->info.method = strdup(method);
	q->info.path = strdup(url);
	q->head = strcmp(method, "HEAD") == 0;
	if (!q->info.method || !q->info.path || prepare(q) < 0 || run_hook(q) < 0) {
		request_free(q);
		return NULL;
	}
	return q;
}

enum MHD_Result lcm_serve_answer(void *cls, struct MHD_Connection *c, const char *url,
				 const char *method, const char *version, const char *upload,
				 size_t *upload_len, void **con_cls)
{
	struct lcm_serve *s = cls;
	struct request *q = *con_cls;

	(void)version;
	(void)upload;
	(void)upload_len;
	if (!q) {
		q = request_new(s, c, url, method);
		if (!q)
			return MHD_NO;
		*con_cls = q;
	}
	if (q->stage == STAGE_NEW) {
		q->stage = STAGE_DELAY;
		/* libmicrohttpd closes a connection that is answered at its first call, which is
		 * right for an unread body only. */
		if (q->status != MHD_HTTP_METHOD_NOT_ALLOWED)
			return MHD_YES;
	}
	if (q->stage == STAGE_DELAY) {
		q->stage = STAGE_HOLD;
		if (q->fault.delay_ms &&
		    lcm_holder_wait(&s->holder, &q->held, c,
				    lcm_now_ns() + q->fault.delay_ms * 1000000ULL))
			return MHD_YES;
	}
	if (q->stage == STAGE_HOLD) {
		if (q->info.off < q->fault.hold_below &&
		    lcm_holder_wait(&s->holder, &q->held, c, UINT64_MAX))
			return MHD_YES;
		q->stage = STAGE_SEND;
	}
	return send_answer(q);
}

void lcm_serve_answered(void *cls, struct MHD_Connection *c, void **con_cls,
			enum MHD_RequestTerminationCode code)
{
	struct lcm_serve *s = cls;
	struct request *q = *con_cls;

	(void)c;
	(void)code;
	if (!q)
		return;
	if (q->stage != STAGE_SEND)
		q->info.status = 0;
	if (s->hooked && s->hook.done)
		s->hook.done(s->hook.arg, &q->info, q->sent);
	request_free(q);
	*con_cls = NULL;
}
