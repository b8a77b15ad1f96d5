/* SPDX-License-Identifier: Apache-2.0 */
/* Documents that isolated functions read: what comes back is ours, and a function that breaks or
 * lies fails its document only. */
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>

#include "decode/doc.h"
#include "decode/fn_host.h"
#include "image/json_wire.h"
#include "tests/unit/test.h"

struct fixture {
	struct lcm_loop *loop;
	struct lcm_pool *pool;
	struct lcm_fn_pool *fns;
	struct lcm_docs docs;
	int answers, status;
	char *text;
	struct lcm_err err;
};

static int setup(void **state)
{
	const struct lcm_fn_config cfg = {
		.path = "./locum-decode", .spare = 1, .max = 4, .first_uid = 1900000000
	};
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	assert_int_equal(lcm_loop_new(&f->loop), 0);
	assert_int_equal(lcm_pool_new(2, "test", &f->pool), 0);
	if (lcm_fn_pool_new(&cfg, &f->fns, &f->err) < 0)
		fail_msg("%s", f->err.msg);
	f->docs = (struct lcm_docs){ f->loop, f->pool, f->fns };
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	lcm_pool_free(f->pool);
	lcm_loop_free(f->loop);
	lcm_fn_pool_free(f->fns);
	free(f->text);
	free(f);
	return 0;
}

static const struct row {
	const char *json, *text; /* text: what comes, or is said */
	size_t max;
	int r;
} rows[] = {
	{ "{ \"a\" : [ 1, 2.0, \"\\u0041\\/\" ], \"b\":null }", "{\"a\":[1,2.0,\"A/\"],\"b\":null}",
	  100, 0 },
	{ "{}", "{}", 2, 0 },
	{ "{} ", "doc: 3 bytes, the limit is 2", 2, -EFBIG },
	{ "", "doc: empty", 100, -EUCLEAN },
	{ "[]", "doc: the JSON text is not an object", 100, -EUCLEAN },
	{ "{\"a\":1,\"a\":1}", "doc: a key is given twice, line 1", 100, -EUCLEAN },
	{ "{\"a\":\"\\u0000\"}", "doc: a NUL character in a string", 100, -EUCLEAN },
	{ "{\"a\":\"\xff\"}", "doc: not valid UTF-8", 100, -EUCLEAN },
	{ "{\"a\":1e999}", "doc: a number beyond 64 bits", 100, -EUCLEAN },
	{ "{\"a\":\n", "doc: the JSON text ends too early, line 2", 100, -EUCLEAN },
};

static void check(const struct row *row, int r, const char *text, const struct lcm_err *err)
{
	if (r != row->r || (r == 0) != (text != NULL) ||
	    (r == 0 ? strcmp(text, row->text) != 0 : !strstr(err->msg, row->text)))
		fail_msg("%s: %d %s %s", row->json, r, text ? text : "", err->msg);
}

/* In functions and without the same comes out. */
static void reads(void **state)
{
	struct fixture *f = *state;
	const struct lcm_docs here = { .loop = f->loop };

	for (size_t i = 0; i < 2 * LCM_ARRAY_SIZE(rows); i++) {
		const struct row *row = &rows[i / 2];
		lcm_autofree char *text = NULL;
		struct lcm_err err = { 0 };
		int r = lcm_doc_read(i % 2 ? &here : &f->docs, i % 3, row->json, strlen(row->json),
				     row->max, "doc", &text, &err);

		check(row, r, text, &err);
	}
}

static void on_doc(void *arg, int r, char *text, const struct lcm_err *err)
{
	struct fixture *f = arg;

	f->answers++;
	f->status = r;
	f->text = text;
	f->err = *err;
	lcm_loop_stop(f->loop);
}

static void answers_once(void **state)
{
	struct fixture *f = *state;

	for (size_t i = 0; i < LCM_ARRAY_SIZE(rows); i++) {
		const struct row *row = &rows[i];
		struct lcm_doc *doc;

		assert_int_equal(lcm_doc_start(&f->docs, 0, row->json, strlen(row->json), row->max,
					       "doc", on_doc, f, &doc),
				 0);
		assert_int_equal(lcm_loop_run(f->loop), 0);
		assert_int_equal(f->answers, (int)i + 1);
		check(row, f->status, f->text, &f->err);
		free(lcm_steal(&f->text));
	}
}

/* Neither is anybody told, nor does its function stay. */
static void cancelled(void **state)
{
	struct fixture *f = *state;
	struct lcm_fn_stats before, after;
	struct lcm_doc *doc;

	lcm_fn_pool_stats(f->fns, &before);
	for (int i = 0; i < 20; i++) {
		assert_int_equal(
		    lcm_doc_start(&f->docs, lcm_docs_tenant(), "{}", 2, 2, "doc", on_doc, f, &doc),
		    0);
		lcm_doc_cancel(doc);
	}
	lcm_doc_cancel(NULL);
	lcm_pool_free(lcm_steal(&f->pool));
	lcm_loop_drain(f->loop);
	assert_int_equal(f->answers, 0);
	lcm_fn_pool_stats(f->fns, &after);
	assert_int_equal(after.failed, before.failed);
	/* All are spare or on their way out: a new tenant finds a place. */
	for (int i = 0; i < 4; i++) {
		lcm_autofree char *text = NULL;

		assert_int_equal(lcm_doc_read(&f->docs, 0, "{}", 2, 2, "doc", &text, &f->err), 0);
	}
}

/* ---- broken ones ---- */

static void kill_it(struct lcm_fn *fn)
{
	assert_int_equal(kill(lcm_fn_pid(fn), SIGKILL), 0);
}

static void dead(void **state)
{
	struct fixture *f = *state;
	lcm_auto(lcm_fn_mem) m = NULL;
	lcm_autofree char *text = NULL;
	struct lcm_fn *fn = NULL;

	assert_int_equal(lcm_fn_json_mem("{}", 2, &m), 0);
	assert_int_equal(lcm_fn_take(f->fns, 1, &fn, &f->err), 0);
	assert_int_equal(lcm_fn_bind(fn, m, &f->err), 0);
	kill_it(fn);
	assert_int_equal(lcm_fn_json(fn, 2, "doc", &text, &f->err), -ENOTRECOVERABLE);
	assert_non_null(strstr(f->err.msg, "its decoder died of signal 9"));
	lcm_fn_put(f->fns, fn);
	assert_null(text);
	assert_int_equal(lcm_doc_read(&f->docs, 1, "{}", 2, 2, "doc", &text, &f->err), 0);
}

/* What stands at the other end of the socket instead of locum-decode. */
struct liar {
	int sock;
	struct lcm_fn_mem *m; /* borrowed */
	const char *bytes;    /* the tree it claims */
	size_t len;
	struct fn_reply reply;
};

static void *liar_main(void *arg)
{
	struct liar *l = arg;
	struct fn_request q;

	if (recv(l->sock, &q, sizeof(q), 0) == (ssize_t)sizeof(q)) {
		memcpy((uint8_t *)l->m->out + FN_PAGE, l->bytes, l->len);
		(void)send(l->sock, &l->reply, sizeof(l->reply), MSG_NOSIGNAL);
	}
	return NULL;
}

static int lied_to(struct liar *l, struct lcm_err *err)
{
	lcm_autofree char *text = NULL;
	lcm_auto(lcm_fn_mem) m = NULL;
	int sv[2], r;
	struct lcm_fn fn = { .hang_ns = LCM_FN_HANG_NS };
	pthread_t thread;

	assert_int_equal(lcm_fn_json_mem("{}", 2, &m), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sv), 0);
	fn.sock = sv[0];
	fn.mem = m;
	l->sock = sv[1];
	l->m = m;
	assert_int_equal(pthread_create(&thread, NULL, liar_main, l), 0);
	r = lcm_fn_json(&fn, 2, "doc", &text, err);
	(void)pthread_join(thread, NULL);
	lcm_closep(&sv[0]);
	lcm_closep(&sv[1]);
	assert_true(r == 0 || (!text && (fn.broken || r != -ENOTRECOVERABLE)));
	return r;
}

static void lies_are_found(void **state)
{
	static const char tree[] = "\10\0\0\0\0", twice[] = "\10\2\0\0\0\0\0\0\0\1\0\0\0\0\1";
	const struct {
		struct liar l;
		int r;
		const char *says;
	} lies[] = {
		{ { .bytes = tree, .len = 5, .reply = { .op = FN_JSON, .total = 5 } }, 0, "" },
		{ { .bytes = tree, .len = 5, .reply = { .op = FN_JSON, .total = 4 } },
		  -ENOTRECOVERABLE,
		  "malformed" },
		{ { .bytes = tree, .len = 5, .reply = { .op = FN_JSON, .total = 1ULL << 40 } },
		  -ENOTRECOVERABLE,
		  "malformed" },
		{ { .bytes = tree, .len = 5, .reply = { .op = FN_JSON, .total = UINT64_MAX } },
		  -ENOTRECOVERABLE,
		  "malformed" },
		{ { .bytes = twice, .len = 15, .reply = { .op = FN_JSON, .total = 15 } },
		  -ENOTRECOVERABLE,
		  "malformed" },
		{ { .bytes = tree, .len = 5, .reply = { .op = FN_TOC, .total = 5 } },
		  -ENOTRECOVERABLE,
		  "protocol" },
		{ { .bytes = tree, .len = 5, .reply = { .op = FN_JSON, .status = -EPERM } },
		  -ENOTRECOVERABLE,
		  "makes no sense" },
		{ { .bytes = tree, .len = 5, .reply = { .op = FN_JSON, .status = -EUCLEAN } },
		  -EUCLEAN,
		  "" },
	};

	(void)state;
	for (size_t i = 0; i < LCM_ARRAY_SIZE(lies); i++) {
		struct liar l = lies[i].l;
		struct lcm_err err = { 0 };
		int r = lied_to(&l, &err);

		if (r != lies[i].r || !strstr(err.msg, lies[i].says))
			fail_msg("lie %zu: %d %s", i, r, err.msg);
	}
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(reads), T(answers_once), T(cancelled), T(dead), T(lies_are_found),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
