/* SPDX-License-Identifier: Apache-2.0 */
/*
 * snapshot_remote.c - layers that are committed before they are here.
 *
 * containerd names the layer it wants by its chainID, which says what is in all layers up to it.
 * Whether the image's first layers give that chainID is checked against the image's own config:
 * labels choose where to look and cannot change what is found.
 */
#include <stdio.h>
#include <string.h>

#include "src/base/log.h"
#include "src/daemon/snapshot_priv.h"

/* ---- which image ---- */

static const char *label(const struct lcm_snapshot_job *j, const char *name)
{
	return json_string_value(json_object_get(j->labels, name));
}

/* The image by digest where a label has it, else by the name the client was given. */
static int find_reference(struct lcm_snapshot_job *j)
{
	static const char *const names[] = { "containerd.io/snapshot/cri.image-ref",
					     "containerd.io/snapshot/remote/stargz.reference" };
	const char *text = NULL, *digest = label(j, "containerd.io/snapshot/cri.manifest-digest");
	struct lcm_err err = { 0 };
	int r;

	for (size_t i = 0; !text && i < LCM_ARRAY_SIZE(names); i++)
		text = label(j, names[i]);
	if (!text)
		return -ENOENT;
	r = lcm_reference_parse(text, &j->ref, &err);
	if (r == 0 && digest) {
		r = lcm_digest_parse(digest, strlen(digest), &j->ref.digest);
		j->ref.has_digest = r == 0;
	}
	if (r < 0)
		lcm_log(LCM_LOG_WARNING, "snapshot=%.100s image \"%.200s\": %s", j->target, text,
			err.msg);
	return r;
}

/* chainID of layer i: the diffID of the first, then SHA-256 of "chainID diffID" as text. */
static int chain_next(struct lcm_digest *chain, const struct lcm_digest *diffid, bool first)
{
	char text[2 * LCM_DIGEST_STR + 2], a[LCM_DIGEST_STR], b[LCM_DIGEST_STR];
	int n;

	if (first) {
		*chain = *diffid;
		return 0;
	}
	n = snprintf(text, sizeof(text), "%s %s", lcm_digest_str(chain, a),
		     lcm_digest_str(diffid, b));
	return lcm_digest_of(text, (size_t)n, chain);
}

/* How many of the image's layers have the target as chainID. Return: number, 0 none, -errno. */
static int find_depth(struct lcm_snapshot_job *j, struct lcm_err *err)
{
	const char *text = lcm_image_config_text(j->image);
	lcm_auto(lcm_image_config) cfg = NULL;
	struct lcm_digest want, chain;
	int r = lcm_digest_parse(j->target, strlen(j->target), &want);

	if (r == 0)
		r = lcm_image_config_parse(text, strlen(text), &cfg, err);
	for (size_t i = 0; r == 0 && i < cfg->n_diffids; i++) {
		r = chain_next(&chain, &cfg->diffids[i], i == 0);
		if (r == 0 && lcm_digest_equal(&chain, &want))
			return (int)i + 1;
	}
	return r;
}

/* ---- committing ---- */

static void answer_exists(struct lcm_snapshot_job *j)
{
	struct lcm_err err = { 0 };

	snapshot_fail(j, lcm_err_set(&err, -EEXIST, "snapshot %.200s exists", j->target), &err);
}

/* Is the target there, with this parent? Return: 1, 0 (not there), -EEXIST (with another), -errno.
 */
static int target_exists(struct lcm_snapshot_job *j)
{
	struct lcm_snapshot_row row = { 0 };
	int r = lcm_store_snapshot_get(j->host->e->store, j->target, &row);

	if (r == 0)
		r = strcmp(row.parent, j->row.parent) == 0 ? 1 : -EEXIST;
	lcm_snapshot_row_fini(&row);
	return r == -ENOENT ? 0 : r;
}

static int commit(struct lcm_snapshot_job *j, const char *image, uint32_t depth,
		  struct lcm_err *err)
{
	struct lcm_store *s = j->host->e->store;
	struct lcm_snapshot_row row = {
		.name = (char *)(uintptr_t)j->target,
		.parent = j->row.parent,
		.labels = j->row.labels,
		.image = (char *)(uintptr_t)image,
		.depth = depth,
		.kind = LCM_SNAPSHOT_COMMITTED,
	};
	int r = lcm_store_begin(s);

	if (r < 0)
		return r;
	r = lcm_store_snapshot_image_add(s, image);
	if (r == 0)
		r = lcm_store_snapshot_add(s, &row, err);
	return lcm_store_end(s, r);
}

/* Not lazily then: containerd unpacks this layer itself. */
static void ordinary(struct lcm_snapshot_job *j, const char *why)
{
	lcm_log(LCM_LOG_INFO, "snapshot=%.100s is containerd's to unpack: %s", j->target, why);
	lcm_image_free(j->image);
	j->image = NULL;
	snapshot_make(j);
}

static void take_image(struct lcm_snapshot_job *j, int depth)
{
	char image[LCM_REFERENCE_STR_MAX];
	struct lcm_err err = { 0 };
	int r;

	lcm_reference_str(&j->ref, image, sizeof(image));
	r = commit(j, image, (uint32_t)depth, &err);
	if (r < 0 && r != -EEXIST) {
		ordinary(j, lcm_err_text(&err, r));
		return;
	}
	if (r == 0)
		snapshot_pull(j->host, image);
	answer_exists(j);
}

static void resolve(struct lcm_snapshot_job *j);

static void on_image(void *arg, struct lcm_image *img, int status, const struct lcm_err *err)
{
	struct lcm_snapshot_job *j = arg;
	char text[LCM_REFERENCE_STR_MAX];
	struct lcm_err why = { 0 };
	int depth;

	if (status < 0) {
		ordinary(j, err->msg);
		return;
	}
	depth = find_depth(j, &why);
	if (depth <= 0) {
		ordinary(j, depth < 0 ? lcm_err_text(&why, depth)
				      : "the image's layers are not those that it wants");
		return;
	}
	if (j->ref.has_digest) {
		take_image(j, depth);
		return;
	}
	/* A tag may mean something else tomorrow: what is kept is kept by digest. */
	if (!j->tag_known)
		lcm_ignore(lcm_store_image_remove(j->host->e->store,
						  lcm_reference_str(&j->ref, text, sizeof(text))));
	j->ref.digest = *lcm_image_digest(img);
	j->ref.has_digest = true;
	lcm_image_free(j->image);
	j->image = NULL;
	resolve(j);
}

/* Did somebody else bring the image here under this name? */
static bool image_known(struct lcm_snapshot_job *j)
{
	char text[LCM_REFERENCE_STR_MAX];
	struct lcm_image_row row = { 0 };
	int r = lcm_store_image_get(j->host->e->store,
				    lcm_reference_str(&j->ref, text, sizeof(text)), &row);

	lcm_image_row_fini(&row);
	return r == 0;
}

static void resolve(struct lcm_snapshot_job *j)
{
	const struct lcm_index_where where = { .from = LCM_INDEX_FROM_DEFAULT };
	struct lcm_err err = { 0 };
	int r;

	if (j->ref.has_digest)
		j->ref.tag[0] = '\0';
	else
		j->tag_known = image_known(j);
	r = lcm_image_resolve(j->host->e, &j->ref, NULL,
			      j->ref.has_digest ? LCM_IMAGE_MISSING : LCM_IMAGE_ALWAYS, &where,
			      on_image, j, &j->image, &err);
	if (r < 0)
		ordinary(j, lcm_err_text(&err, r));
}

void snapshot_remote(struct lcm_snapshot_job *j)
{
	int r = target_exists(j);

	if (r > 0) {
		answer_exists(j);
		return;
	}
	if (r == 0)
		r = find_reference(j);
	if (r < 0)
		ordinary(j, r == -EEXIST ? "it is here with another parent"
					 : "no label says which image it is of");
	else
		resolve(j);
}

void snapshot_remote_cancel(struct lcm_snapshot_job *j)
{
	lcm_image_free(j->image);
	j->image = NULL;
}

/* ---- pulls ---- */

struct lcm_snapshot_pull {
	struct lcm_snapshot_pull *next; /* in the host's list */
	struct lcm_host *host;          /* borrowed */
	struct lcm_session *s;          /* NULL: gone */
	struct lcm_session_watch watch;
	struct lcm_task task; /* queued once ended */
	bool ended;
	char image[LCM_REFERENCE_STR_MAX];
};

static void pull_free(struct lcm_snapshot_pull *p)
{
	for (struct lcm_snapshot_pull **at = &p->host->pulls; *at; at = &(*at)->next) {
		if (*at != p)
			continue;
		*at = p->next;
		break;
	}
	free(p);
}

static void pull_close(void *arg)
{
	struct lcm_snapshot_pull *p = arg;

	if (p->s) {
		lcm_session_unwatch(p->s, &p->watch);
		lcm_ignore(lcm_session_close(p->s, false, 0, NULL));
	}
	pull_free(p);
}

/* The session must not be closed from inside its own change. */
static void pull_end(struct lcm_snapshot_pull *p)
{
	if (p->ended)
		return;
	p->ended = true;
	p->task = (struct lcm_task){ .fn = pull_close, .arg = p };
	lcm_loop_post_task(p->host->e->loop, &p->task);
}

static void on_pull(void *arg, struct lcm_session *s, bool gone)
{
	struct lcm_snapshot_pull *p = arg;
	enum lcm_phase phase = gone ? LCM_FAILED : lcm_session_phase(s);

	if (gone)
		p->s = NULL;
	if (phase == LCM_NATIVE || phase == LCM_FAILED)
		pull_end(p);
}

void snapshot_pull(struct lcm_host *h, const char *image)
{
	const struct lcm_session_options o = { .image = image,
					       .policy = LCM_IMAGE_MISSING,
					       .pull = true,
					       .patient = true,
					       .deadline_ns = h->deadline_ns };
	struct lcm_snapshot_pull *p;
	struct lcm_err err = { 0 };
	int r;

	if (!h->e->cfg.background)
		return;
	for (p = h->pulls; p; p = p->next)
		if (!p->ended && strcmp(p->image, image) == 0)
			return;
	p = calloc(1, sizeof(*p));
	r = p ? lcm_session_new(h, &o, &p->s, &err) : -ENOMEM;
	if (r < 0) {
		lcm_log(LCM_LOG_WARNING, "image=%s is not pulled ahead: %s", image,
			lcm_err_text(&err, r));
		free(p);
		return;
	}
	p->host = h;
	(void)snprintf(p->image, sizeof(p->image), "%s", image);
	p->watch = (struct lcm_session_watch){ .changed = on_pull, .arg = p };
	lcm_session_watch(p->s, &p->watch);
	p->next = h->pulls;
	h->pulls = p;
}

void snapshot_pull_end(struct lcm_host *h, const char *image)
{
	for (struct lcm_snapshot_pull *p = h->pulls; p; p = p->next)
		if (strcmp(p->image, image) == 0)
			pull_end(p);
}

/* Return: 1 when @row is that of the snapshot whose session's id is @arg. */
static int has_id(void *arg, const struct lcm_snapshot_row *row)
{
	return row->id == *(const int64_t *)arg;
}

static void unmount_orphans(struct lcm_host *h)
{
	struct lcm_session *next;

	for (struct lcm_session *s = h->sessions; s; s = next) {
		long long n;
		int64_t id;

		next = lcm_session_next(s);
		if (sscanf(lcm_session_id(s), LCM_SNAPSHOT_SESSION "%lld", &n) != 1)
			continue;
		id = n;
		if (lcm_store_snapshot_each(h->e->store, has_id, &id) == 0)
			lcm_ignore(lcm_session_close(s, true, 0, NULL));
	}
}

static int resume(void *arg, const struct lcm_snapshot_row *row)
{
	if (*row->image)
		snapshot_pull(arg, row->image);
	return 0;
}

void snapshot_resume(struct lcm_host *h)
{
	unmount_orphans(h);
	lcm_ignore(lcm_store_snapshot_each(h->e->store, resume, h));
}

void snapshot_pulls_free(struct lcm_host *h)
{
	while (h->pulls)
		pull_free(h->pulls);
}
