/* SPDX-License-Identifier: Apache-2.0 */
/* Several hosts of one registry, in the long run: who is left alone, who shares the load, what
 * moves to whom. */
#include <stdatomic.h>

#include "tests/lib/regworld.h"

/* ---- left alone ---- */

static atomic_bool well;

static bool h_when_well(struct bad_conn *c, const struct bad_request *req, void *arg)
{
	if (!atomic_load(&well))
		return bad_reply(c, "503 x");
	return strcmp(req->target, "/v2/") == 0 ? bad_reply(c, "401 x") : h_all(c, req, arg);
}

static void test_breaker(void **state)
{
	unsigned int asked;
	struct world w;

	(void)state;
	atomic_store(&well, false);
	world_init(&w, h_when_well, h_all, h_all, NULL);
	world_files(&w, "", NULL);
	for (int i = 0; i < 3; i++)
		assert_int_equal(fetch_blob(&w, 0, 10, NULL), 0);
	assert_counts(&w, 3, 0, 3);
	assert_string_equal(look(&w).state[0], "open");
	assert_non_null(strstr(look(&w).last[0], "503"));
	assert_string_equal(look(&w).state[1], "closed");
	/* Nobody asks it meanwhile but one probe per pause, for which nobody waits. */
	while (badserver_count(w.s[0]) == 3)
		assert_int_equal(fetch_blob(&w, 0, 10, NULL), 0);
	assert_string_equal(last_of(&w, 0)->target, "/v2/");
	while (strcmp(look(&w).state[0], "open") != 0)
		assert_int_equal(fetch_blob(&w, 0, 10, NULL), 0);
	assert_int_equal(badserver_count(w.s[0]), 4);
	/* It is back: it serves again. */
	atomic_store(&well, true);
	asked = badserver_count(w.s[UP]);
	while (!strstr(last_of(&w, 0)->target, "blobs") || badserver_count(w.s[0]) < 6)
		assert_int_equal(fetch_blob(&w, 0, 10, NULL), 0);
	assert_string_equal(look(&w).state[0], "closed");
	assert_true(badserver_count(w.s[UP]) > asked);
	world_fini(&w);
}

/* The only one is asked although it fails, as often as a fetch is worth it. */
static void test_breaker_of_the_only_one(void **state)
{
	struct world w;

	(void)state;
	world_init(&w, h_all, h_all, h_500, &(struct lcm_registry_config){ .retries = 4 });
	for (unsigned int i = 1; i < 4; i++) {
		assert_int_equal(fetch_blob(&w, 0, 10, NULL), -EHOSTUNREACH);
		assert_int_equal(badserver_count(w.s[UP]), 5 * i);
	}
	assert_string_equal(look(&w).state[0], "open");
	world_fini(&w);
}

/* ---- load ---- */

/* The answer comes when the test says so. */
static atomic_bool gate_open;

static bool h_gated(struct bad_conn *c, const struct bad_request *req, void *arg)
{
	while (!atomic_load(&gate_open))
		bad_wait(c, 1);
	return h_all(c, req, arg);
}

/* The second takes what is too much for the first, the registry itself nothing. */
static void test_mirrors_share(void **state)
{
	struct lcm_fetch_req req;
	struct regfetch f[8] = { 0 };
	unsigned int total = 0;
	struct world w;

	(void)state;
	atomic_store(&gate_open, false);
	world_init(&w, h_gated, h_gated, h_all, NULL);
	world_files(&w, "", "");
	for (size_t i = 0; i < LCM_ARRAY_SIZE(f); i++) {
		req = blob_req(&w.ref, i * 1000, 4 * MIB);
		req.prio = LCM_PRIO_DEMAND;
		regtest_start(&w.t, &f[i], &req);
	}
	lcm_loop_drain(w.t.loop);
	atomic_store(&gate_open, true);
	regtest_run(&w.t);
	for (size_t i = 0; i < LCM_ARRAY_SIZE(f); i++) {
		assert_int_equal(f[i].res.status, 0);
		assert_memory_equal(f[i].got.data, blob + i * 1000, 4 * MIB);
		regfetch_fini(&f[i]);
	}
	total = badserver_count(w.s[0]) + badserver_count(w.s[1]);
	print_message("# %u and %u\n", badserver_count(w.s[0]), badserver_count(w.s[1]));
	assert_int_equal(total, 8);
	assert_true(badserver_count(w.s[0]) >= 3 && badserver_count(w.s[1]) >= 3);
	assert_int_equal(badserver_count(w.s[UP]), 0);
	world_fini(&w);
}

/* @piece bytes twice a second, as long as it is wanted. */
static bool trickle(struct bad_conn *c, const struct bad_request *req, uint64_t piece)
{
	uint64_t a = 0, b = 0;

	for (bad_head(c, req, BLOB_SIZE, &a, &b); a <= b; a += piece) {
		bad_send(c, blob + a, LCM_MIN(b - a + 1, piece));
		bad_wait(c, 500);
	}
	return false;
}

static bool h_trickle(struct bad_conn *c, const struct bad_request *req, void *arg)
{
	(void)arg;
	return trickle(c, req, 64 << 10);
}

static bool h_crawl(struct bad_conn *c, const struct bad_request *req, void *arg)
{
	(void)arg;
	return trickle(c, req, 4 << 10);
}

/* A transfer that crawls goes on elsewhere, at the byte it has come to. The sink checks that no
 * byte comes twice. */
static void test_move(void **state)
{
	uint64_t first = 0, last = 0;
	struct lcm_fetch_result res;
	struct world w;

	(void)state;
	world_init(&w, h_trickle, h_all, h_all, NULL);
	world_files(&w, "", "");
	assert_int_equal(fetch_blob(&w, 0, BLOB_SIZE, &res), 0);
	assert_counts(&w, 1, 1, 0);
	assert_true(bad_range(last_of(&w, 1), &first, &last));
	assert_true(first > 0 && first < BLOB_SIZE && last == BLOB_SIZE - 1);
	assert_int_equal(look(&w).moves, 1);
	assert_true(res.bytes == BLOB_SIZE);
	world_fini(&w);
	/* The only mirror is overloaded: the registry helps out. */
	world_init(&w, h_trickle, h_all, h_all, NULL);
	world_files(&w, "", NULL);
	assert_int_equal(fetch_blob(&w, 0, BLOB_SIZE, &res), 0);
	assert_counts(&w, 1, 0, 1);
	assert_int_equal(look(&w).moves, 1);
	world_fini(&w);
}

/* Of what demand asks for there is never much left, but at such a host it takes long. */
static void test_move_of_little(void **state)
{
	uint64_t first = 0, last = 0;
	struct world w;

	(void)state;
	world_init(&w, h_crawl, h_all, h_all, NULL);
	world_files(&w, "", "");
	assert_int_equal(fetch_blob(&w, 0, 64 << 10, NULL), 0);
	assert_counts(&w, 1, 1, 0);
	assert_true(bad_range(last_of(&w, 1), &first, &last));
	assert_true(first > 0 && first < 48 << 10 && last == (64 << 10) - 1);
	assert_int_equal(look(&w).moves, 1);
	world_fini(&w);
	/* The registry, for an overloaded mirror. */
	world_init(&w, h_crawl, h_all, h_all, NULL);
	world_files(&w, "", NULL);
	assert_int_equal(fetch_blob(&w, 0, 200 << 10, NULL), 0);
	assert_counts(&w, 1, 0, 1);
	assert_int_equal(look(&w).moves, 1);
	/* It is not asked for as much again: now it is known what that would take. */
	assert_int_equal(fetch_blob(&w, 0, 200 << 10, NULL), 0);
	assert_counts(&w, 1, 0, 2);
	assert_int_equal(look(&w).moves, 1);
	/* For little it is. */
	assert_int_equal(fetch_blob(&w, 0, 4 << 10, NULL), 0);
	assert_counts(&w, 2, 0, 2);
	world_fini(&w);
}

static bool h_silent(struct bad_conn *c, const struct bad_request *req, void *arg)
{
	(void)req, (void)arg;
	bad_wait(c, 60000);
	return false;
}

/* A host that says nothing is left for another long before the stall timeout; the last one is not.
 */
static void test_silent(void **state)
{
	struct world w;
	struct lcm_fetch_result res;

	(void)state;
	world_init(&w, h_silent, h_all, h_all,
		   &(struct lcm_registry_config){ .stall_timeout_ms = 60000 });
	world_files(&w, "", NULL);
	assert_int_equal(fetch_blob(&w, 0, 10, &res), 0);
	assert_counts(&w, 1, 0, 1);
	assert_non_null(strstr(look(&w).last[0], "no byte for"));
	world_fini(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_breaker),
		cmocka_unit_test(test_breaker_of_the_only_one),
		cmocka_unit_test(test_mirrors_share),
		cmocka_unit_test(test_move),
		cmocka_unit_test(test_move_of_little),
		cmocka_unit_test(test_silent),
	};

	return cmocka_run_group_tests(tests, blob_setup, NULL);
}
