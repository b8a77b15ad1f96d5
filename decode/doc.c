/* SPDX-License-Identifier: Apache-2.0 */
#include "decode/doc.h"

#include <stdatomic.h>
#include <string.h>

#include "image/json.h"
#include "src/base/sys.h"

#define DOC_TENANTS (1ULL << 62) /* layers are rows of the database: far below */

struct lcm_doc {
	struct lcm_task task;
	struct lcm_docs docs;
	uint64_t tenant;
	uint8_t *copy; /* owned; wiped: it may be a token */
	size_t len, max;
	const char *what; /* a constant */
	lcm_doc_fn done;  /* NULL: cancelled */
	void *arg;
	int status;
	char *text; /* owned */
	struct lcm_err err;
};

uint64_t lcm_docs_tenant(void)
{
	static _Atomic uint64_t serial;

	return DOC_TENANTS + atomic_fetch_add(&serial, 1);
}

void lcm_docs_tenant_end(const struct lcm_docs *d, uint64_t tenant)
{
	if (d->fns)
		lcm_fn_tenant_end(d->fns, tenant);
}

static int read_here(const void *p, size_t len, size_t max, const char *what, char **ret,
		     struct lcm_err *err)
{
	lcm_autojson json_t *root = NULL;
	int r = lcm_json_parse(p, len, max, what, &root, err);

	return r < 0 ? r : lcm_json_text_of(root, ret);
}

int lcm_doc_read(const struct lcm_docs *d, uint64_t tenant, const void *p, size_t len, size_t max,
		 const char *what, char **ret, struct lcm_err *err)
{
	lcm_auto(lcm_fn_mem) m = NULL;
	bool own = tenant == 0;
	struct lcm_fn *fn = NULL;
	int r;

	if (!d->fns || len > max)
		return read_here(p, len, max, what, ret, err);
	if (own)
		tenant = lcm_docs_tenant();
	r = lcm_fn_json_mem(p, len, &m);
	if (r == 0)
		r = lcm_fn_take(d->fns, tenant, &fn, err);
	if (r < 0)
		return r;
	r = lcm_fn_bind(fn, m, err);
	if (r == 0)
		r = lcm_fn_json(fn, len, what, ret, err);
	if (own)
		lcm_docs_tenant_end(d, tenant);
	lcm_fn_put(d->fns, fn);
	return r == -ENOTRECOVERABLE ? lcm_err_prefix(err, r, "%s", what) : r;
}

static void doc_free(struct lcm_doc *doc)
{
	if (doc->copy)
		explicit_bzero(doc->copy, doc->len);
	if (doc->text)
		explicit_bzero(doc->text, strlen(doc->text));
	free(doc->copy);
	free(doc->text);
	free(doc);
}

static void on_read(void *arg)
{
	struct lcm_doc *doc = arg;

	if (doc->done)
		doc->done(doc->arg, doc->status, lcm_steal(&doc->text), &doc->err);
	else if (doc->tenant)
		lcm_docs_tenant_end(&doc->docs, doc->tenant);
	doc_free(doc);
}

static void read_job(void *arg)
{
	struct lcm_doc *doc = arg;

	doc->status = lcm_doc_read(&doc->docs, doc->tenant, doc->copy, doc->len, doc->max,
				   doc->what, &doc->text, &doc->err);
	doc->task.fn = on_read;
	lcm_loop_post_task(doc->docs.loop, &doc->task);
}

int lcm_doc_start(const struct lcm_docs *d, uint64_t tenant, const void *p, size_t len, size_t max,
		  const char *what, lcm_doc_fn done, void *arg, struct lcm_doc **ret)
{
	struct lcm_doc *doc = calloc(1, sizeof(*doc));

	if (!doc)
		return -ENOMEM;
	*doc = (struct lcm_doc){ .task = { .fn = read_job, .arg = doc },
				 .docs = *d,
				 .tenant = tenant,
				 .len = len,
				 .max = max,
				 .what = what,
				 .done = done,
				 .arg = arg };
	doc->copy = malloc(len + 1);
	if (!doc->copy) {
		free(doc);
		return -ENOMEM;
	}
	memcpy(doc->copy, p, len);
	*ret = doc;
	if (d->pool)
		lcm_pool_submit(d->pool, LCM_POOL_DEMAND, &doc->task);
	else
		lcm_loop_post_task(d->loop, &doc->task);
	return 0;
}

void lcm_doc_cancel(struct lcm_doc *doc)
{
	if (doc)
		doc->done = NULL;
}
