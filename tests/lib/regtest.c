/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/regtest.h"

#include <stdio.h>
#include <string.h>

#include "src/base/sys.h"

#define WATCHDOG_NS (60ULL * 1000000000)

static void on_watchdog(void *arg)
{
	(void)arg;
	fail_msg("a fetch did not end");
}

void regtest_init(struct regtest *t, const struct lcm_registry_config *cfg)
{
	struct lcm_registry_config c = cfg ? *cfg : (struct lcm_registry_config){ 0 };
	static const char *const none[] = { NULL };
	struct lcm_err err = { 0 };

	*t = (struct regtest){ 0 };
	if (!c.auth_files)
		c.auth_files = none;
	if (!c.backoff_ms)
		c.backoff_ms = 5;
	assert_int_equal(lcm_loop_new(&t->loop), 0);
	assert_int_equal(lcm_registry_new(t->loop, &c, &t->reg, &err), 0);
	assert_int_equal(lcm_timer_new(t->loop, on_watchdog, t, &t->watchdog), 0);
}

void regtest_fini(struct regtest *t)
{
	lcm_registry_free(t->reg);
	lcm_timer_free(t->watchdog);
	lcm_loop_free(t->loop);
	assert_int_equal(t->pending, 0);
}

void regtest_run(struct regtest *t)
{
	lcm_timer_set(t->watchdog, WATCHDOG_NS);
	if (t->pending)
		assert_int_equal(lcm_loop_run(t->loop), 0);
	lcm_timer_clear(t->watchdog);
	assert_int_equal(t->pending, 0);
}

static int sink(void *arg, uint64_t off, const void *p, size_t len)
{
	struct regfetch *f = arg;
	int r = f->hook ? f->hook(f, off, len) : 0;

	assert_int_equal(f->done, 0);
	if (r)
		return r;
	assert_true(off == f->first + f->got.len);
	assert_int_equal(lcm_buf_add(&f->got, p, len), 0);
	f->sinks++;
	return 0;
}

static void done(void *arg, const struct lcm_fetch_result *res)
{
	struct regfetch *f = arg;

	f->done++;
	f->res = *res;
	(void)snprintf(f->content_type, sizeof(f->content_type), "%s",
		       res->content_type ? res->content_type : "");
	if (res->body)
		assert_int_equal(lcm_buf_add(&f->body, res->body, res->body_len), 0);
	if (f->on_done)
		f->on_done(f);
	if (--f->t->pending == 0)
		lcm_loop_stop(f->t->loop);
}

void regtest_start(struct regtest *t, struct regfetch *f, struct lcm_fetch_req *req)
{
	f->t = t;
	f->first = req->off;
	f->got = LCM_BUF(64U << 20);
	f->body = LCM_BUF(64U << 20);
	if (req->kind == LCM_FETCH_BLOB || req->sink)
		req->sink = sink;
	req->done = done;
	req->arg = f;
	t->pending++;
	assert_int_equal(lcm_fetch_start(t->reg, req, &f->id), 0);
	assert_int_equal(f->done, 0);
}

int regtest_fetch(struct regtest *t, struct regfetch *f, struct lcm_fetch_req *req)
{
	regtest_start(t, f, req);
	regtest_run(t);
	assert_int_equal(f->done, 1);
	return f->res.status;
}

void regfetch_fini(struct regfetch *f)
{
	lcm_buf_fini(&f->got);
	lcm_buf_fini(&f->body);
}

struct lcm_reference regtest_ref(unsigned int port, const char *rest)
{
	struct lcm_reference ref;
	struct lcm_err err = { 0 };
	char s[512];

	(void)snprintf(s, sizeof(s), "127.0.0.1:%u/%s", port, rest);
	assert_int_equal(lcm_reference_parse(s, &ref, &err), 0);
	return ref;
}

void regtest_say(const char *fault, int status, unsigned int requests, uint64_t since_ns)
{
	print_message("# %-36s %-14s %3u requests %8.1f ms\n", fault,
		      status ? strerrorname_np(-status) : "whole", requests,
		      (double)(lcm_now_ns() - since_ns) / 1e6);
}

void regtest_fill(uint8_t *p, size_t len, uint32_t seed)
{
	for (size_t i = 0; i < len; i++) {
		seed = seed * 1664525 + 1013904223;
		p[i] = (uint8_t)(seed >> 24);
	}
}

struct push {
	struct regtest *t;
	struct lcm_push_result res;
};

static void on_pushed(void *arg, const struct lcm_push_result *res)
{
	struct push *p = arg;

	p->res = *res;
	p->t->pending--;
	if (!p->t->pending)
		lcm_loop_stop(p->t->loop);
}

struct lcm_push_result regtest_push(struct regtest *t, struct lcm_push_req *req)
{
	struct push p = { .t = t };

	req->done = on_pushed;
	req->arg = &p;
	t->pending++;
	assert_int_equal(lcm_push_start(t->reg, req), 0);
	regtest_run(t);
	return p.res;
}
