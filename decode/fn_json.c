/* SPDX-License-Identifier: Apache-2.0 */
/* fn_json.c - JSON documents, both halves: the function parses, the daemon reads the tree and
 * writes the text anew. */
#include <string.h>

#include "decode/fn_host.h"
#include "decode/fn_serve.h"
#include "image/json_wire.h"
#include "src/base/sys.h"

/* ---- the function ---- */

static int parse(struct lcm_fn_side *f, const struct fn_json *q, uint64_t *ret_len,
		 struct lcm_err *err)
{
	struct lcm_buf wire = LCM_BUF((size_t)(f->out_size - FN_PAGE));
	lcm_autojson json_t *root = NULL;
	int r = lcm_json_parse(lcm_fn_side_in(f), q->len, q->len, q->what, &root, err);

	if (r == 0)
		r = lcm_json_wire_put(root, &wire);
	if (r == 0) {
		memcpy(lcm_fn_side_out(f), wire.data, wire.len);
		*ret_len = wire.len;
	}
	lcm_buf_fini(&wire);
	return r;
}

void lcm_fn_side_json(struct lcm_fn_side *f, const struct fn_json *q, struct fn_reply *ret)
{
	struct fn_json job = *q;
	struct lcm_err err = { 0 };

	if (q->len > f->in_size - FN_PAGE) {
		ret->status = -EINVAL;
		return;
	}
	job.what[sizeof(job.what) - 1] = '\0';
	ret->status = parse(f, &job, &ret->total, &err);
	memccpy(ret->msg, err.msg, '\0', sizeof(ret->msg) - 1);
}

/* ---- the daemon ---- */

int lcm_fn_json_mem(const void *p, size_t len, struct lcm_fn_mem **ret)
{
	int r = lcm_fn_mem_new(len, LCM_JSON_WIRE_MAX(len), ret);

	if (r == 0)
		memcpy(lcm_fn_mem_in(*ret), p, len);
	return r;
}

/* The function may still write: what is read is a copy. */
static int tree_take(struct lcm_fn *fn, uint64_t len, json_t **ret, struct lcm_err *err)
{
	const struct lcm_fn_mem *m = fn->mem;
	lcm_autofree uint8_t *copy = NULL;
	int r;

	if (len > m->out_size - FN_PAGE)
		return lcm_fn_broke(fn, err, "returned malformed results");
	copy = malloc(len + 1);
	if (!copy)
		return -ENOMEM;
	memcpy(copy, (const uint8_t *)m->out + FN_PAGE, len);
	r = lcm_json_wire_get(copy, len, ret);
	explicit_bzero(copy, len);
	return r == -EPROTO ? lcm_fn_broke(fn, err, "returned malformed results") : r;
}

int lcm_fn_json(struct lcm_fn *fn, size_t len, const char *what, char **ret, struct lcm_err *err)
{
	struct fn_request q = { .op = FN_JSON, .json = { .len = len } };
	lcm_autojson json_t *root = NULL;
	struct fn_reply reply;
	int r;

	memccpy(q.json.what, what, '\0', sizeof(q.json.what) - 1);
	r = lcm_fn_call(fn, &q, NULL, &reply, err);
	if (r == 0)
		r = tree_take(fn, reply.total, &root, err);
	return r < 0 ? r : lcm_json_text_of(root, ret);
}
