/* SPDX-License-Identifier: Apache-2.0 */
/* The client's flow control: pausing, stopping, cancelling, shutting down; and hosts that are not
 * there. */
#include <inttypes.h>

#include "tests/lib/regblob.h"
#include "tests/lib/regtest.h"

static bool h_short(struct bad_conn *c, const struct bad_request *req, void *arg)
{
	(void)arg;
	return blob_short(c, req, true);
}

static bool h_500(struct bad_conn *c, const struct bad_request *req, void *arg)
{
	(void)req, (void)arg;
	return bad_reply(c, "500 x");
}

static bool h_429(struct bad_conn *c, const struct bad_request *req, void *arg)
{
	(void)arg;
	return req->nth ? h_good(c, req, arg) : bad_reply(c, "429 slow\r\nRetry-After: 1");
}

static bool h_stall_once(struct bad_conn *c, const struct bad_request *req, void *arg)
{
	(void)arg;
	if (req->nth)
		return h_good(c, req, arg);
	bad_printf(
	    c, "HTTP/1.1 206 P\r\nContent-Range: bytes 100-199/%u\r\nContent-Length: 100\r\n\r\n",
	    BLOB_SIZE);
	bad_send(c, blob + 100, 30);
	bad_wait(c, 20000);
	return false;
}

static bool h_stall(struct bad_conn *c, const struct bad_request *req, void *arg)
{
	(void)req, (void)arg;
	bad_wait(c, 20000);
	return false;
}

static int pause_then_take(struct regfetch *f, uint64_t off, size_t len)
{
	unsigned int *n = f->user;

	(void)off, (void)len;
	if ((*n)++ % 2)
		return 0;
	lcm_fetch_resume(f->t->reg, f->id);
	return LCM_FETCH_PAUSE;
}

static int hold_each(struct regfetch *f, uint64_t off, size_t len)
{
	(void)off, (void)len;
	lcm_fetch_pause(f->t->reg, f->id);
	lcm_fetch_resume(f->t->reg, f->id);
	return 0;
}

static int stop_at_mib(struct regfetch *f, uint64_t off, size_t len)
{
	(void)f, (void)len;
	return off >= MIB ? -ENOSPC : 0;
}

static int cancel_self(struct regfetch *f, uint64_t off, size_t len)
{
	(void)off, (void)len;
	lcm_fetch_cancel(f->t->reg, f->id);
	return 0;
}

static void test_sink_answers(void **state)
{
	static const struct {
		int (*hook)(struct regfetch *f, uint64_t off, size_t len);
		bad_handler_fn fn;
		int status;
	} flow[] = {
		{ pause_then_take, h_good, 0 },      { pause_then_take, h_short, 0 },
		{ pause_then_take, h_no_ranges, 0 }, { hold_each, h_good, 0 },
		{ stop_at_mib, h_good, -ENOSPC },    { cancel_self, h_good, -ECANCELED },
	};

	(void)state;
	for (size_t i = 0; i < LCM_ARRAY_SIZE(flow); i++) {
		struct badserver *s = badserver_start(flow[i].fn, NULL);
		struct lcm_reference ref = regtest_ref(badserver_port(s), "r/x:latest");
		struct lcm_fetch_req req = blob_req(&ref, 1000, BLOB_SIZE - 1000);
		unsigned int n = 0;
		struct regfetch f = { .hook = flow[i].hook, .user = &n };
		struct regtest t;

		regtest_init(&t, NULL);
		assert_int_equal(regtest_fetch(&t, &f, &req), flow[i].status);
		if (flow[i].status == 0)
			assert_int_equal(f.got.len, BLOB_SIZE - 1000);
		assert_memory_equal(f.got.data, blob + 1000, f.got.len);
		regfetch_fini(&f);
		regtest_fini(&t);
		badserver_stop(s);
	}
}

static void resume_other(void *arg)
{
	struct regfetch *f = arg;

	lcm_fetch_resume(f->t->reg, f->id);
}

/* Paused for longer than the stall timeout: that is no stall. */
static void test_pause_is_no_stall(void **state)
{
	struct badserver *s = badserver_start(h_good, NULL);
	struct lcm_reference ref = regtest_ref(badserver_port(s), "r/x:latest");
	struct lcm_fetch_req req = blob_req(&ref, 0, BLOB_SIZE);
	struct regfetch f = { 0 };
	struct lcm_timer *timer;
	struct regtest t;

	(void)state;
	regtest_init(&t, &(struct lcm_registry_config){ .stall_timeout_ms = 200 });
	assert_int_equal(lcm_timer_new(t.loop, resume_other, &f, &timer), 0);
	regtest_start(&t, &f, &req);
	lcm_fetch_pause(t.reg, f.id);
	lcm_timer_set(timer, 700 * 1000000ULL);
	regtest_run(&t);
	assert_int_equal(f.res.status, 0);
	assert_int_equal(f.res.tries, 1);
	assert_int_equal(f.got.len, BLOB_SIZE);
	lcm_timer_free(timer);
	regfetch_fini(&f);
	regtest_fini(&t);
	badserver_stop(s);
}

static void start_next(struct regfetch *f)
{
	struct regfetch *next = f->user;
	struct lcm_reference ref;
	struct lcm_fetch_req req;
	uint64_t id = 77;

	if (f->res.status == -ESHUTDOWN) {
		ref = regtest_ref(1, "r/x:latest");
		req = blob_req(&ref, 0, 1);
		req.sink = (lcm_fetch_sink_fn)(void *)1;
		req.done = (lcm_fetch_done_fn)(void *)1;
		assert_int_equal(lcm_fetch_start(f->t->reg, &req, &id), -ESHUTDOWN);
		assert_int_equal(id, 77);
		return;
	}
	ref = regtest_ref((unsigned int)next->first, "r/x:latest");
	req = blob_req(&ref, 5, 10);
	regtest_start(f->t, next, &req);
}

static void test_start_from_done(void **state)
{
	struct badserver *s = badserver_start(h_good, NULL);
	struct lcm_reference ref = regtest_ref(badserver_port(s), "r/x:latest");
	struct lcm_fetch_req req = blob_req(&ref, 0, 10);
	struct regfetch second = { .first = badserver_port(s) };
	struct regfetch f = { .on_done = start_next, .user = &second };
	struct regtest t;

	(void)state;
	regtest_init(&t, NULL);
	assert_int_equal(regtest_fetch(&t, &f, &req), 0);
	assert_int_equal(second.done, 1);
	assert_int_equal(second.res.status, 0);
	assert_memory_equal(second.got.data, blob + 5, 10);
	assert_int_equal(badserver_connections(s), 1);
	regfetch_fini(&f);
	regfetch_fini(&second);
	regtest_fini(&t);
	badserver_stop(s);
}

#define MANY 60

static void stop_loop(void *arg)
{
	lcm_loop_stop(arg);
}

/* Whatever their state is, free ends every fetch once. */
static void test_free_in_flight(void **state)
{
	struct badserver *s = badserver_start(h_stall, NULL);
	struct lcm_reference ref = regtest_ref(badserver_port(s), "r/x:latest");
	struct lcm_fetch_req req = blob_req(&ref, 0, 10);
	struct regfetch f[MANY] = { 0 };
	struct lcm_timer *timer;
	struct regtest t;

	(void)state;
	regtest_init(&t, &(struct lcm_registry_config){ .connections_per_host = 4 });
	assert_int_equal(lcm_timer_new(t.loop, stop_loop, t.loop, &timer), 0);
	for (size_t i = 0; i < MANY; i++) {
		req.prio = i % 2 ? LCM_PRIO_BACKGROUND : LCM_PRIO_DEMAND;
		f[i].on_done = start_next;
		regtest_start(&t, &f[i], &req);
	}
	lcm_timer_set(timer, 200 * 1000000ULL);
	assert_int_equal(lcm_loop_run(t.loop), 0);
	lcm_timer_free(timer);
	/* 30 demand transfers at once, 4 background ones. */
	assert_int_equal(badserver_count(s), 34);
	regtest_fini(&t);
	for (size_t i = 0; i < MANY; i++) {
		assert_int_equal(f[i].done, 1);
		assert_int_equal(f[i].res.status, -ESHUTDOWN);
		regfetch_fini(&f[i]);
	}
	badserver_stop(s);
}

static void test_cancel_in_every_state(void **state)
{
	static const struct {
		bad_handler_fn fn;
		uint64_t after_ms;
	} at[] = { { h_stall, 0 },
		   { h_stall, 100 },
		   { h_500, 60 },
		   { h_stall_once, 100 },
		   { h_429, 200 } };

	(void)state;
	for (size_t i = 0; i < LCM_ARRAY_SIZE(at); i++) {
		struct badserver *s = badserver_start(at[i].fn, NULL);
		struct lcm_reference ref = regtest_ref(badserver_port(s), "r/x:latest");
		struct lcm_fetch_req req = blob_req(&ref, 100, 100);
		struct regfetch f = { 0 };
		struct lcm_timer *timer;
		struct regtest t;

		regtest_init(&t, &(struct lcm_registry_config){ .backoff_ms = 5000 });
		assert_int_equal(lcm_timer_new(t.loop, stop_loop, t.loop, &timer), 0);
		regtest_start(&t, &f, &req);
		if (at[i].after_ms) {
			lcm_timer_set(timer, at[i].after_ms * 1000000);
			assert_int_equal(lcm_loop_run(t.loop), 0);
		}
		lcm_fetch_cancel(t.reg, f.id);
		lcm_fetch_cancel(t.reg, f.id + 1000);
		assert_int_equal(f.done, 0);
		regtest_run(&t);
		assert_int_equal(f.done, 1);
		assert_int_equal(f.res.status, -ECANCELED);
		lcm_timer_free(timer);
		regfetch_fini(&f);
		regtest_fini(&t);
		badserver_stop(s);
	}
}

/* ---- hosts ---- */

static void test_unreachable(void **state)
{
	static const struct {
		const char *ref;
		int status;
		const char *text;
	} hosts[] = {
		{ "127.0.0.1:1/r/x:latest", -ECONNREFUSED, "127.0.0.1:1 refused the connection" },
		{ "no-such-host.invalid/r/x:latest", -EHOSTUNREACH, "no-such-host.invalid" },
	};

	(void)state;
	for (size_t i = 0; i < LCM_ARRAY_SIZE(hosts); i++) {
		struct lcm_fetch_req req;
		struct lcm_reference ref;
		struct regfetch f = { 0 };
		struct regtest t;

		assert_int_equal(lcm_reference_parse(hosts[i].ref, &ref, NULL), 0);
		req = blob_req(&ref, 0, 10);
		regtest_init(&t, &(struct lcm_registry_config){ .retries = 1, .proxy = "" });
		assert_int_equal(regtest_fetch(&t, &f, &req), hosts[i].status);
		assert_non_null(strstr(f.res.err.msg, hosts[i].text));
		regfetch_fini(&f);
		regtest_fini(&t);
	}
}

/* "0.0.0.0" is this host, but not by the name of loopback. */
static void test_plain_http_hosts(void **state)
{
	static const char *const other[] = { "example.com", "0.0.0.0:1", NULL },
				 *const any_port[] = { "0.0.0.0", NULL };
	static const struct {
		const char *const *hosts;
		int status;
	} rows[] = { { NULL, -EHOSTUNREACH }, { other, -EHOSTUNREACH }, { any_port, 0 } };

	(void)state;
	for (size_t i = 0; i < LCM_ARRAY_SIZE(rows); i++) {
		struct badserver *s = badserver_start(h_good, NULL);
		struct lcm_reference ref;
		struct lcm_fetch_req req;
		struct regfetch f = { 0 };
		struct regtest t;
		char name[64];

		(void)snprintf(name, sizeof(name), "0.0.0.0:%u/r/x:v1", badserver_port(s));
		assert_int_equal(lcm_reference_parse(name, &ref, NULL), 0);
		req = blob_req(&ref, 0, 10);
		regtest_init(&t, &(struct lcm_registry_config){ .insecure_hosts = rows[i].hosts,
								.proxy = "" });
		assert_int_equal(regtest_fetch(&t, &f, &req), rows[i].status);
		if (rows[i].status)
			assert_non_null(strstr(f.res.err.msg, "insecure_hosts"));
		assert_int_equal(badserver_count(s), rows[i].status ? 0 : 1);
		regfetch_fini(&f);
		regtest_fini(&t);
		badserver_stop(s);
	}
}

static void test_bad_requests(void **state)
{
	struct lcm_reference ref = regtest_ref(1, "r/x:latest");
	struct lcm_fetch_req good = blob_req(&ref, 0, 10), q;
	struct regfetch f = { 0 };
	struct regtest t;
	uint64_t id = 5;

	(void)state;
	regtest_init(&t, NULL);
	good.sink = (lcm_fetch_sink_fn)(void *)1;
	good.done = (lcm_fetch_done_fn)(void *)1;
	good.arg = &f;
#define BAD(field, value) (q = good, q.field = value, lcm_fetch_start(t.reg, &q, &id))
	assert_int_equal(BAD(ref, NULL), -EINVAL);
	assert_int_equal(BAD(sink, NULL), -EINVAL);
	assert_int_equal(BAD(done, NULL), -EINVAL);
	assert_int_equal(BAD(len, 0), -EINVAL);
	assert_int_equal(BAD(off, BLOB_SIZE - 9), -EINVAL);
	assert_int_equal(BAD(off, UINT64_MAX - 5), -EINVAL);
	assert_int_equal(BAD(prio, (enum lcm_fetch_prio)7), -EINVAL);
	assert_int_equal(BAD(kind, (enum lcm_fetch_kind)7), -EINVAL);
	assert_int_equal(BAD(digest, ((struct lcm_digest){ 0 })), -EINVAL);
	assert_int_equal(id, 5);
	regtest_fini(&t);
}

static void test_bad_config(void **state)
{
	struct lcm_registry_config cfg = { .ca_file = "/no/such.pem" };
	struct lcm_registry *r = (void *)1;
	struct lcm_err err = { 0 };
	struct lcm_loop *loop;

	(void)state;
	assert_int_equal(lcm_loop_new(&loop), 0);
	assert_int_equal(lcm_registry_new(loop, &cfg, &r, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "/no/such.pem"));
	assert_ptr_equal(r, (void *)1);
	lcm_loop_free(loop);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sink_answers),
		cmocka_unit_test(test_pause_is_no_stall),
		cmocka_unit_test(test_start_from_done),
		cmocka_unit_test(test_free_in_flight),
		cmocka_unit_test(test_cancel_in_every_state),
		cmocka_unit_test(test_unreachable),
		cmocka_unit_test(test_plain_http_hosts),
		cmocka_unit_test(test_bad_requests),
		cmocka_unit_test(test_bad_config),
	};

	return cmocka_run_group_tests(tests, blob_setup, NULL);
}
