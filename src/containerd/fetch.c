/* SPDX-License-Identifier: Apache-2.0 */
#include "src/containerd/fetch.h"

#include <stdio.h>
#include <string.h>

#include "image/manifest.h"
#include "image/reference.h"
#include "src/cmd/client.h"
#include "src/cmd/cmd.h"
#include "src/containerd/content.pb-c.h"

#define CONTENT "/containerd.services.content.v1.Content/"
#define IMAGES "/containerd.services.images.v1.Images/"
#define PART (2U << 20)
#define DEPTH_MAX 4U /* indexes in indexes */

/* ---- what containerd has ---- */

static int one_answer(const struct lcm_buf *b, const ProtobufCMessageDescriptor *type,
		      ProtobufCMessage **ret, struct lcm_err *err)
{
	size_t at = 0, len = 0;
	const uint8_t *p = NULL;

	if (lcm_caller_answer(b, &at, &p, &len) > 0)
		*ret = protobuf_c_message_unpack(type, NULL, len, p);
	return *ret ? 0 : lcm_err_set(err, -EPROTO, "containerd's answer is malformed");
}

static int read_blob(const struct lcm_caller *c, const char *digest, struct lcm_buf *ret,
		     struct lcm_err *err)
{
	lcm_autobuf struct lcm_buf answers = LCM_BUF(2 * LCM_MANIFEST_MAX);
	Ctd__ReadRequest q = CTD__READ_REQUEST__INIT;
	size_t at = 0, len;
	const uint8_t *p;
	int r;

	q.digest = (char *)(uintptr_t)digest;
	r = lcm_caller_call(c, CONTENT "Read", &q.base, &answers, err);
	while (r == 0 && (r = lcm_caller_answer(&answers, &at, &p, &len)) > 0) {
		Ctd__ReadResponse *m = ctd__read_response__unpack(NULL, len, p);

		r = m ? lcm_buf_add(ret, m->data.data, m->data.len) : -EPROTO;
		if (m)
			ctd__read_response__free_unpacked(m, NULL);
	}
	return r;
}

/* Return: 1, 0 (it is missing), -errno. */
static int has_blob(const struct lcm_caller *c, const char *digest, struct lcm_err *err)
{
	Ctd__InfoRequest q = CTD__INFO_REQUEST__INIT;
	int r;

	q.digest = (char *)(uintptr_t)digest;
	r = lcm_caller_call(c, CONTENT "Info", &q.base, NULL, err);
	return r == 0 ? 1 : r == -ENOENT ? 0 : r;
}

/* ---- writing ---- */

struct writer {
	const struct lcm_caller *c;
	const char *digest;
	char ref[LCM_DIGEST_STR + 16];
	uint64_t size, off;
	char source[300], repo[LCM_REFERENCE_STR_MAX]; /* a label: where it is from */
	char *image;                                   /* owned; the daemon's that has it */
	bool committed;
};

static int read_part(const struct writer *w, uint64_t len, struct lcm_buf *out, struct lcm_err *err)
{
	lcm_autofree char *of = NULL, *path = NULL;
	char blob[LCM_DIGEST_STR + 16];

	(void)snprintf(blob, sizeof(blob), "/v1/blobs/%s", w->digest);
	of = client_path_query(blob, "image", w->image);
	if (!of || asprintf(&path, "%s&offset=%llu&length=%llu", of, (unsigned long long)w->off,
			    (unsigned long long)len) < 0) {
		path = NULL;
		return -ENOMEM;
	}
	return client_bytes(path, out, err);
}

static int next_part(void *arg, struct lcm_buf *out, struct lcm_err *err)
{
	struct writer *w = arg;
	lcm_autobuf struct lcm_buf data = LCM_BUF(PART);
	Ctd__WriteRequest q = CTD__WRITE_REQUEST__INIT;
	Ctd__Label label = CTD__LABEL__INIT, *labels = &label;
	uint64_t len = LCM_MIN(w->size - w->off, (uint64_t)PART);
	int r;

	if (w->committed)
		return 0;
	r = len ? read_part(w, len, &data, err) : 0;
	if (r == 0 && data.len != len)
		r = lcm_err_set(err, -EPROTO, "the daemon sent %zu of %llu bytes", data.len,
				(unsigned long long)len);
	if (r < 0)
		return r;
	q.action = CTD__ACTION__WRITE;
	q.ref = w->ref;
	q.total = (int64_t)w->size;
	q.expected = (char *)(uintptr_t)w->digest;
	q.offset = (int64_t)w->off;
	q.data = (ProtobufCBinaryData){ .len = data.len, .data = (uint8_t *)data.data };
	w->off += len;
	if (w->off == w->size) {
		label.key = w->source;
		label.value = w->repo;
		q.action = CTD__ACTION__COMMIT;
		q.labels = &labels;
		q.n_labels = 1;
		w->committed = true;
	}
	r = lcm_caller_pack(&q.base, out);
	return r < 0 ? lcm_err_set(err, r, "%s", strerror(-r)) : 1;
}

/* From which image of the daemon's the blob is, and how long that says it is. */
static int find_source(struct writer *w, struct lcm_err *err)
{
	lcm_autofree char *path = NULL;
	struct lcm_reference ref;
	json_t *o = NULL;
	int r;

	if (asprintf(&path, "/v1/blobs/%s", w->digest) < 0) {
		path = NULL;
		return -ENOMEM;
	}
	r = client_call("GET", path, NULL, true, &o, err);
	if (r < 0)
		return r;
	w->size = (uint64_t)client_integer(o, "size");
	w->image = strdup(client_text(o, "image"));
	json_decref(o);
	r = w->image ? lcm_reference_parse(w->image, &ref, err) : -ENOMEM;
	if (r < 0)
		return r;
	/* As containerd's own pulls say it: without the port. */
	(void)snprintf(w->source, sizeof(w->source), "containerd.io/distribution.source.%.*s",
		       (int)strcspn(ref.host, ":"), ref.host);
	(void)snprintf(w->repo, sizeof(w->repo), "%s", ref.repo);
	return 0;
}

static int write_blob(const struct lcm_caller *c, const char *digest, uint64_t *ret_size,
		      struct lcm_err *err)
{
	struct writer w = { .c = c, .digest = digest };
	Ctd__AbortRequest q = CTD__ABORT_REQUEST__INIT;
	int r = find_source(&w, err);

	(void)snprintf(w.ref, sizeof(w.ref), "locum-%s", digest);
	if (r == 0)
		r = lcm_caller_stream(c, CONTENT "Write", next_part, &w, err);
	free(w.image);
	if (r == 0 || r == -EEXIST) {
		*ret_size = w.size;
		return 0;
	}
	/* Somebody else writes it: what he has written is not ours to throw away. */
	if (r == -EBUSY)
		return lcm_err_prefix(err, r, "not written (by another fetch now? try again)");
	q.ref = w.ref;
	lcm_ignore(lcm_caller_call(c, CONTENT "Abort", &q.base, NULL, NULL));
	return r;
}

/* ---- images ---- */

/* containerd's garbage collection keeps what a manifest's labels name. */
static int keep_layer(const struct lcm_caller *c, const char *manifest, size_t i,
		      const char *digest, struct lcm_err *err)
{
	char key[64], path[80];
	Ctd__Label label = CTD__LABEL__INIT, *labels = &label;
	Ctd__ContentInfo info = CTD__CONTENT_INFO__INIT;
	Ctd__FieldMask mask = CTD__FIELD_MASK__INIT;
	Ctd__UpdateRequest q = CTD__UPDATE_REQUEST__INIT;
	char *paths = path;

	(void)snprintf(key, sizeof(key), "containerd.io/gc.ref.content.l.%zu", i);
	(void)snprintf(path, sizeof(path), "labels.%s", key);
	label.key = key;
	label.value = (char *)(uintptr_t)digest;
	info.digest = (char *)(uintptr_t)manifest;
	info.labels = &labels;
	info.n_labels = 1;
	mask.paths = &paths;
	mask.n_paths = 1;
	q.info = &info;
	q.update_mask = &mask;
	return lcm_caller_call(c, CONTENT "Update", &q.base, NULL, err);
}

static int fetch_layers(const struct lcm_caller *c, const char *manifest,
			const struct lcm_manifest *m, struct lcm_err *err)
{
	char digest[LCM_DIGEST_STR], bytes[24];
	int r = 0;

	for (size_t i = 0; r == 0 && i < m->n_layers; i++) {
		uint64_t size = m->layers[i].size;
		int here = has_blob(c, lcm_digest_str(&m->layers[i].digest, digest), err);

		r = LCM_MIN(here, 0);
		if (here == 0)
			r = keep_layer(c, manifest, i, digest, err);
		if (r == 0 && here == 0)
			r = write_blob(c, digest, &size, err);
		if (r < 0)
			return lcm_err_prefix(err, r, "layer %s", digest);
		(void)printf("%s %s %s\n", digest, cmd_bytes((double)size, bytes),
			     here ? "was here" : "fetched");
	}
	return r;
}

static int fetch_target(const struct lcm_caller *c, const char *digest, unsigned int depth,
			struct lcm_err *err)
{
	lcm_autobuf struct lcm_buf text = LCM_BUF(LCM_MANIFEST_MAX);
	lcm_auto(lcm_manifest) m = NULL;
	char child[LCM_DIGEST_STR];
	int r = read_blob(c, digest, &text, err);

	if (r == 0)
		r = lcm_manifest_parse(text.data, text.len, NULL, &m, err);
	if (r < 0)
		return r;
	if (m->media != LCM_MEDIA_INDEX)
		return fetch_layers(c, digest, m, err);
	if (depth == DEPTH_MAX)
		return lcm_err_set(err, -EUCLEAN, "indexes in indexes, too deep");
	/* Of other platforms containerd has not even the manifests. */
	for (size_t i = 0; r >= 0 && i < m->n_layers; i++) {
		r = has_blob(c, lcm_digest_str(&m->layers[i].digest, child), err);
		if (r > 0)
			r = fetch_target(c, child, depth + 1, err);
	}
	return LCM_MIN(r, 0);
}

static int fetch_image(const struct lcm_caller *c, const char *name, struct lcm_err *err)
{
	lcm_autobuf struct lcm_buf answer = LCM_BUF(LCM_MANIFEST_MAX);
	Ctd__GetImageRequest q = CTD__GET_IMAGE_REQUEST__INIT;
	const Ctd__GetImageResponse *m;
	ProtobufCMessage *got = NULL;
	int r;

	q.name = (char *)(uintptr_t)name;
	r = lcm_caller_call(c, IMAGES "Get", &q.base, &answer, err);
	if (r == -ENOENT)
		return lcm_err_set(err, r,
				   "containerd has no image %s in namespace %s (ctr -n %s "
				   "images ls lists them)",
				   name, c->ns, c->ns);
	if (r == 0)
		r = one_answer(&answer, &ctd__get_image_response__descriptor, &got, err);
	if (r < 0)
		return r;
	m = (const void *)got;
	r = m->image && m->image->target
		? fetch_target(c, m->image->target->digest, 0, err)
		: lcm_err_set(err, -EPROTO, "containerd's answer is malformed");
	protobuf_c_message_free_unpacked(got, NULL);
	return r;
}

int fetch_images(const struct lcm_caller *c, char *const *names, struct lcm_err *err)
{
	int r = 0;

	for (; r == 0 && *names; names++) {
		r = fetch_image(c, *names, err);
		if (r < 0)
			lcm_err_prefix(err, r, "%s", *names);
	}
	return r == 0 && fflush(stdout) != 0 ? lcm_err_set(err, -EIO, "standard output") : r;
}
