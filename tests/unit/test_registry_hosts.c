/* SPDX-License-Identifier: Apache-2.0 */
/* Several hosts of one registry: who is asked, who takes over, what is told to whom. */
#include <inttypes.h>
#include <stdatomic.h>

#include "registry/hosts.h"
#include "tests/lib/badserver.h"
#include "tests/lib/regtest.h"

#define BLOB_SIZE (6U << 20)
#define MIB (1U << 20)
#define UP 2 /* index of the registry itself; 0 and 1 are its mirrors */

static uint8_t blob[BLOB_SIZE];
static struct lcm_digest blob_digest, manifest_digest;
static const char manifest[] = "{\"schemaVersion\":2}";

/* Three servers and the file that makes mirrors of two of them. */
struct world {
	char *dir;
	struct badserver *s[3];
	struct regtest t;
	struct lcm_reference ref;
};

static bool reply(struct bad_conn *c, const char *head)
{
	bad_printf(c, "HTTP/1.1 %s\r\nContent-Length: 0\r\n\r\n", head);
	return true;
}

static bool h_good(struct bad_conn *c, const struct bad_request *req, void *arg)
{
	(void)arg;
	if (!strstr(req->target, "/manifests/")) {
		bad_blob(c, req, blob, sizeof(blob));
		return true;
	}
	bad_printf(c,
		   "HTTP/1.1 200 OK\r\nContent-Type: application/vnd.oci.image.manifest.v1+json\r\n"
		   "Content-Length: %zu\r\n\r\n%s",
		   strlen(manifest), manifest);
	return true;
}

static bool h_404(struct bad_conn *c, const struct bad_request *req, void *arg)
{
	(void)req, (void)arg;
	return reply(c, "404 Not Found");
}

static bool h_500(struct bad_conn *c, const struct bad_request *req, void *arg)
{
	(void)req, (void)arg;
	return reply(c, "500 x");
}

static bool h_403(struct bad_conn *c, const struct bad_request *req, void *arg)
{
	(void)req, (void)arg;
	return reply(c, "403 x");
}

static bool h_garbage(struct bad_conn *c, const struct bad_request *req, void *arg)
{
	(void)req, (void)arg;
	bad_printf(c, "\x01\x02 this is no HTTP\r\n\r\n");
	return false;
}

static bool h_other_range(struct bad_conn *c, const struct bad_request *req, void *arg)
{
	(void)req, (void)arg;
	bad_printf(c,
		   "HTTP/1.1 206 P\r\nContent-Range: bytes 0-9/%u\r\nContent-Length: 10\r\n\r\n"
		   "0123456789",
		   BLOB_SIZE);
	return true;
}

static bool h_no_ranges(struct bad_conn *c, const struct bad_request *req, void *arg)
{
	(void)req, (void)arg;
	bad_printf(c, "HTTP/1.1 200 OK\r\nContent-Length: %u\r\n\r\n", BLOB_SIZE);
	return false;
}

static bool h_closed(struct bad_conn *c, const struct bad_request *req, void *arg)
{
	(void)req, (void)arg;
	bad_reset(c);
	return false;
}

static bool h_loop(struct bad_conn *c, const struct bad_request *req, void *arg)
{
	(void)arg;
	bad_printf(c, "HTTP/1.1 307 x\r\nLocation: %s\r\nContent-Length: 0\r\n\r\n", req->target);
	return true;
}

static bool h_other_manifest(struct bad_conn *c, const struct bad_request *req, void *arg)
{
	(void)req, (void)arg;
	bad_printf(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}");
	return true;
}

/* A good head for the bytes from *ret_a to *ret_b, which is the last. */
static void head_of_range(struct bad_conn *c, const struct bad_request *req, uint64_t *ret_a,
			  uint64_t *ret_b)
{
	*ret_a = 0;
	*ret_b = BLOB_SIZE - 1;
	if (!bad_range(req, ret_a, ret_b))
		bad_printf(c, "HTTP/1.1 200 OK\r\n");
	else
		bad_printf(c,
			   "HTTP/1.1 206 P\r\nContent-Range: bytes %" PRIu64 "-%" PRIu64 "/%u\r\n",
			   *ret_a, *ret_b, BLOB_SIZE);
	bad_printf(c, "Content-Length: %" PRIu64 "\r\n\r\n", *ret_b - *ret_a + 1);
}

/* A good head, a megabyte of the body, and the end of the connection. */
static bool h_dies(struct bad_conn *c, const struct bad_request *req, void *arg)
{
	uint64_t a, b;

	(void)arg;
	head_of_range(c, req, &a, &b);
	bad_send(c, blob + a, LCM_MIN(b - a + 1, (uint64_t)MIB));
	return false;
}

/* @piece bytes twice a second, as long as it is wanted. */
static bool trickle(struct bad_conn *c, const struct bad_request *req, uint64_t piece)
{
	uint64_t a = 0, b = 0;

	for (head_of_range(c, req, &a, &b); a <= b; a += piece) {
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

/* The answer comes when the test says so. */
static atomic_bool gate_open;

static bool h_gated(struct bad_conn *c, const struct bad_request *req, void *arg)
{
	while (!atomic_load(&gate_open))
		bad_wait(c, 1);
	return h_good(c, req, arg);
}

/* ---- the world ---- */

static void write_hosts(const struct world *w, const char *text)
{
	char path[400], reg[64];

	(void)snprintf(reg, sizeof(reg), "127.0.0.1:%u", badserver_port(w->s[UP]));
	(void)snprintf(path, sizeof(path), "%s/%s", w->dir, reg);
	assert_int_equal(lcm_mkdir_p(path, 0755), 0);
	(void)snprintf(path, sizeof(path), "%s/%s/hosts.toml", w->dir, reg);
	assert_int_equal(lcm_write_file_at(AT_FDCWD, path, text, strlen(text), 0600), 0);
}

/* @first and @second: what the file says of the mirrors; NULL: there is no such mirror. */
static void world_files(const struct world *w, const char *first, const char *second)
{
	char text[2000], one[900] = "", two[900] = "";

	if (first)
		(void)snprintf(one, sizeof(one), "[host.\"http://127.0.0.1:%u\"]\n%s\n",
			       badserver_port(w->s[0]), first);
	if (second)
		(void)snprintf(two, sizeof(two), "[host.\"http://127.0.0.1:%u\"]\n%s\n",
			       badserver_port(w->s[1]), second);
	(void)snprintf(text, sizeof(text), "%s%s", one, two);
	write_hosts(w, text);
}

static void world_init(struct world *w, bad_handler_fn one, bad_handler_fn two, bad_handler_fn up,
		       const struct lcm_registry_config *cfg)
{
	struct lcm_registry_config c = cfg ? *cfg : (struct lcm_registry_config){ 0 };
	const char *dirs[2] = { NULL };

	w->dir = test_mkdir();
	dirs[0] = w->dir;
	c.hosts_dirs = dirs;
	if (!c.retries)
		c.retries = 1;
	w->s[0] = badserver_start(one, w);
	w->s[1] = badserver_start(two, w);
	w->s[UP] = badserver_start(up, w);
	w->ref = regtest_ref(badserver_port(w->s[UP]), "r/x:latest");
	regtest_init(&w->t, &c);
}

static void world_fini(struct world *w)
{
	regtest_fini(&w->t);
	for (int i = 0; i < 3; i++)
		badserver_stop(w->s[i]);
	test_rmdir(w->dir);
}

static struct lcm_fetch_req blob_req(const struct world *w, uint64_t off, uint64_t len)
{
	return (struct lcm_fetch_req){ .kind = LCM_FETCH_BLOB,
				       .ref = &w->ref,
				       .digest = blob_digest,
				       .size = BLOB_SIZE,
				       .off = off,
				       .len = len };
}

/* A part of the blob, and that it is right. */
static int fetch_blob(struct world *w, uint64_t off, uint64_t len, struct lcm_fetch_result *ret)
{
	struct lcm_fetch_req req = blob_req(w, off, len);
	struct regfetch f = { 0 };
	int r = regtest_fetch(&w->t, &f, &req);

	if (r == 0) {
		assert_int_equal(f.got.len, len);
		assert_memory_equal(f.got.data, blob + off, len);
	}
	if (ret)
		*ret = f.res;
	regfetch_fini(&f);
	return r;
}

static int fetch_manifest(struct world *w, bool by_digest, struct lcm_fetch_result *ret)
{
	struct lcm_fetch_req req = { .kind = LCM_FETCH_MANIFEST, .ref = &w->ref };
	struct regfetch f = { 0 };
	int r;

	if (by_digest)
		req.digest = manifest_digest;
	r = regtest_fetch(&w->t, &f, &req);
	if (r == 0)
		assert_string_equal(lcm_buf_str(&f.body), manifest);
	if (ret)
		*ret = f.res;
	regfetch_fini(&f);
	return r;
}

static void assert_counts(const struct world *w, unsigned int one, unsigned int two,
			  unsigned int up)
{
	assert_int_equal(badserver_count(w->s[0]), one);
	assert_int_equal(badserver_count(w->s[1]), two);
	assert_int_equal(badserver_count(w->s[UP]), up);
}

static const struct bad_request *last_of(const struct world *w, int i)
{
	return badserver_request(w->s[i], badserver_count(w->s[i]) - 1);
}

/* ---- the order ---- */

static void test_mirror_first(void **state)
{
	struct lcm_fetch_result res;
	char ns[64];
	struct world w;

	(void)state;
	for (int i = 0; i < 2; i++) {
		world_init(&w, h_good, h_good, h_good, NULL);
		world_files(&w, "", "");
		if (i)
			assert_int_equal(fetch_manifest(&w, false, &res), 0);
		else
			assert_int_equal(fetch_blob(&w, 100, 1000, &res), 0);
		assert_int_equal(res.mirrored, i == 0);
		assert_counts(&w, 1, 0, 0);
		/* It is told which registry is meant. */
		(void)snprintf(ns, sizeof(ns), "?ns=127.0.0.1:%u", badserver_port(w.s[UP]));
		assert_non_null(strstr(last_of(&w, 0)->target, ns));
		world_fini(&w);
	}
}

static void test_no_file_no_mirror(void **state)
{
	struct lcm_fetch_result res;
	struct world w;

	(void)state;
	world_init(&w, h_good, h_good, h_good, NULL);
	assert_int_equal(fetch_blob(&w, 0, 1000, &res), 0);
	assert_false(res.mirrored);
	assert_counts(&w, 0, 0, 1);
	assert_null(strstr(last_of(&w, UP)->target, "ns="));
	world_fini(&w);
}

static void test_capabilities(void **state)
{
	struct lcm_fetch_result res;
	struct world w;

	(void)state;
	world_init(&w, h_good, h_good, h_good, NULL);
	world_files(&w, "capabilities = [\"pull\"]", "capabilities = [\"push\"]");
	assert_int_equal(fetch_manifest(&w, false, NULL), 0);
	assert_counts(&w, 0, 0, 1);
	assert_int_equal(fetch_manifest(&w, true, NULL), 0);
	assert_int_equal(fetch_blob(&w, 0, 10, NULL), 0);
	assert_counts(&w, 2, 0, 1);
	world_fini(&w);
	world_init(&w, h_good, h_good, h_good, NULL);
	write_hosts(&w, "capabilities = [\"push\"]\n[host.\"http://127.0.0.1:1\"]\n"
			"capabilities = [\"pull\"]\n");
	assert_int_equal(fetch_manifest(&w, false, &res), -EINVAL);
	assert_non_null(strstr(res.err.msg, "resolve tags"));
	assert_counts(&w, 0, 0, 0);
	world_fini(&w);
}

static void test_paths(void **state)
{
	struct world w;
	char text[300];

	(void)state;
	world_init(&w, h_good, h_good, h_good, NULL);
	(void)snprintf(text, sizeof(text),
		       "[host.\"http://127.0.0.1:%u/proxy/\"]\noverride_path = true\n",
		       badserver_port(w.s[0]));
	write_hosts(&w, text);
	assert_int_equal(fetch_blob(&w, 0, 10, NULL), 0);
	assert_int_equal(strncmp(last_of(&w, 0)->target, "/proxy/r/x/blobs/sha256:", 24), 0);
	world_fini(&w);
	world_init(&w, h_good, h_good, h_good, NULL);
	(void)snprintf(text, sizeof(text), "[host.\"http://127.0.0.1:%u/proxy\"]\n",
		       badserver_port(w.s[0]));
	write_hosts(&w, text);
	assert_int_equal(fetch_blob(&w, 0, 10, NULL), 0);
	assert_int_equal(strncmp(last_of(&w, 0)->target, "/proxy/v2/r/x/blobs/", 20), 0);
	world_fini(&w);
}

/* ---- a host that fails ---- */

/* Whatever the first does, the second goes on, at the byte where it stopped. */
static void test_fallback(void **state)
{
	static const struct {
		const char *name;
		bad_handler_fn fn;
		unsigned int asked;  /* requests to the first */
		uint64_t second_off; /* first byte that the second is asked for */
	} rows[] = {
		{ "404", h_404, 1, 100 },
		{ "500", h_500, 1, 100 },
		{ "403", h_403, 1, 100 },
		{ "garbage", h_garbage, 1, 100 },
		{ "another range", h_other_range, 1, 100 },
		{ "no ranges", h_no_ranges, 1, 2 * MIB },
		{ "reset", h_closed, 1, 100 },
		{ "redirect loop", h_loop, 6, 100 },
		{ "dies mid-body", h_dies, 1, 100 + MIB },
	};

	(void)state;
	for (size_t i = 0; i < LCM_ARRAY_SIZE(rows); i++) {
		uint64_t first = 0, last = 0, off = rows[i].fn == h_no_ranges ? 2 * MIB : 100;
		struct lcm_fetch_result res;
		struct world w;

		print_message("# %s\n", rows[i].name);
		world_init(&w, rows[i].fn, h_good, h_good, NULL);
		world_files(&w, "", "");
		assert_int_equal(fetch_blob(&w, off, 3 * MIB, &res), 0);
		assert_counts(&w, rows[i].asked, 1, 0);
		assert_true(bad_range(last_of(&w, 1), &first, &last));
		assert_true(first == rows[i].second_off);
		world_fini(&w);
	}
}

static void test_mirror_is_down(void **state)
{
	struct world w;

	(void)state;
	world_init(&w, h_good, h_good, h_good, NULL);
	write_hosts(&w, "[host.\"http://127.0.0.1:1\"]\n[host.\"https://no-such-host.invalid\"]\n");
	assert_int_equal(fetch_manifest(&w, false, NULL), 0);
	assert_int_equal(fetch_blob(&w, 0, BLOB_SIZE, NULL), 0);
	assert_counts(&w, 0, 0, 2);
	world_fini(&w);
}

static void test_manifest_that_lies(void **state)
{
	struct world w;

	(void)state;
	world_init(&w, h_other_manifest, h_good, h_good, NULL);
	world_files(&w, "", NULL);
	assert_int_equal(fetch_manifest(&w, true, NULL), 0);
	assert_counts(&w, 1, 0, 1);
	world_fini(&w);
}

/* What the registry itself refuses is final, and its mirrors' troubles are told beside it. */
static void test_last_word(void **state)
{
	struct lcm_fetch_result res;
	struct world w;

	(void)state;
	world_init(&w, h_500, h_good, h_404, &(struct lcm_registry_config){ .retries = 3 });
	world_files(&w, "", NULL);
	assert_int_equal(fetch_blob(&w, 0, 10, &res), -ENOENT);
	assert_counts(&w, 1, 0, 1);
	assert_non_null(strstr(res.err.msg, "(404)"));
	assert_non_null(strstr(res.err.msg, "before that 127.0.0.1"));
	world_fini(&w);
	/* Trouble that may pass is tried again, everywhere. */
	world_init(&w, h_404, h_good, h_500, &(struct lcm_registry_config){ .retries = 3 });
	world_files(&w, "", NULL);
	assert_int_equal(fetch_blob(&w, 0, 10, &res), -EHOSTUNREACH);
	assert_int_equal(badserver_count(w.s[UP]), 4);
	world_fini(&w);
}

/* Who has not got a blob, or not for us, or serves no ranges of it, is asked last for it, for a
 * while. */
static void test_absent_is_remembered(void **state)
{
	static const bad_handler_fn rows[] = { h_404, h_403, h_no_ranges };

	(void)state;
	for (size_t k = 0; k < LCM_ARRAY_SIZE(rows); k++) {
		struct world w;

		world_init(&w, rows[k], h_good, h_good, NULL);
		world_files(&w, "", NULL);
		for (unsigned int i = 1; i < 5; i++) {
			assert_int_equal(fetch_blob(&w, 2 * MIB + i, 10, NULL), 0);
			assert_counts(&w, 1, 0, i);
		}
		world_fini(&w);
	}
}

static void test_blame(void **state)
{
	struct lcm_fetch_result res;
	struct world w;

	(void)state;
	world_init(&w, h_good, h_good, h_good, NULL);
	world_files(&w, "", NULL);
	assert_false(lcm_registry_blame(w.t.reg, &w.ref, &blob_digest));
	assert_int_equal(fetch_blob(&w, 0, 10, &res), 0);
	assert_true(res.mirrored);
	/* The bytes were wrong, somebody found out. */
	assert_true(lcm_registry_blame(w.t.reg, &w.ref, &blob_digest));
	assert_false(lcm_registry_blame(w.t.reg, &w.ref, &blob_digest));
	assert_int_equal(fetch_blob(&w, 0, 10, &res), 0);
	assert_false(res.mirrored);
	/* It is the registry's own then. */
	assert_false(lcm_registry_blame(w.t.reg, &w.ref, &blob_digest));
	assert_int_equal(fetch_manifest(&w, true, NULL), 0);
	assert_counts(&w, 2, 0, 1);
	world_fini(&w);
}

/* ---- left alone ---- */

struct host_state {
	char state[3][16];
	char last[3][600];
	char error[600];
	uint64_t moves;
	size_t n;
};

static void on_host(void *arg, const struct lcm_registry_host *h)
{
	struct host_state *s = arg;

	(void)snprintf(s->error, sizeof(s->error), "%s", h->error ? h->error : "");
	s->moves = h->moves;
	if (!h->host)
		return;
	(void)snprintf(s->state[s->n], sizeof(s->state[0]), "%s", h->state);
	(void)snprintf(s->last[s->n++], sizeof(s->last[0]), "%s", h->last ? h->last : "");
}

static struct host_state look(struct world *w)
{
	struct host_state s = { .n = 0 };

	lcm_registry_hosts(w->t.reg, on_host, &s);
	return s;
}

static atomic_bool well;

static bool h_when_well(struct bad_conn *c, const struct bad_request *req, void *arg)
{
	if (!atomic_load(&well))
		return reply(c, "503 x");
	return strcmp(req->target, "/v2/") == 0 ? reply(c, "401 x") : h_good(c, req, arg);
}

static void test_breaker(void **state)
{
	unsigned int asked;
	struct world w;

	(void)state;
	atomic_store(&well, false);
	world_init(&w, h_when_well, h_good, h_good, NULL);
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
	world_init(&w, h_good, h_good, h_500, &(struct lcm_registry_config){ .retries = 4 });
	for (unsigned int i = 1; i < 4; i++) {
		assert_int_equal(fetch_blob(&w, 0, 10, NULL), -EHOSTUNREACH);
		assert_int_equal(badserver_count(w.s[UP]), 5 * i);
	}
	assert_string_equal(look(&w).state[0], "open");
	world_fini(&w);
}

/* ---- the file ---- */

static void test_damaged_file(void **state)
{
	struct lcm_fetch_result res;
	struct lcm_reference other;
	struct world w;

	(void)state;
	world_init(&w, h_good, h_good, h_good, NULL);
	write_hosts(&w, "server = 5\n");
	assert_int_equal(fetch_blob(&w, 0, 10, &res), -EINVAL);
	assert_non_null(strstr(res.err.msg, "hosts.toml: line 1: server"));
	assert_non_null(strstr(look(&w).error, "hosts.toml: line 1"));
	assert_counts(&w, 0, 0, 0);
	/* Others are none of its business. */
	other = w.ref;
	w.ref = regtest_ref(badserver_port(w.s[0]), "r/x:latest");
	assert_int_equal(fetch_blob(&w, 0, 10, NULL), 0);
	w.ref = other;
	/* Mended, it is read within a second or so. */
	world_files(&w, NULL, "");
	while (fetch_blob(&w, 0, 10, &res) != 0)
		assert_int_equal(res.status, -EINVAL);
	assert_counts(&w, 1, 1, 0);
	assert_string_equal(look(&w).error, "");
	/* Damaged again, what was read before goes on, and that is told. */
	write_hosts(&w, "[host");
	while (!look(&w).error[0])
		assert_int_equal(fetch_blob(&w, 0, 10, NULL), 0);
	assert_non_null(strstr(look(&w).error, "hosts.toml: line 1"));
	assert_int_equal(badserver_count(w.s[UP]), 0);
	world_fini(&w);
}

static void test_changed_file(void **state)
{
	struct world w;

	(void)state;
	world_init(&w, h_good, h_good, h_good, NULL);
	world_files(&w, "", NULL);
	assert_int_equal(fetch_blob(&w, 0, 10, NULL), 0);
	world_files(&w, NULL, "");
	while (badserver_count(w.s[1]) == 0)
		assert_int_equal(fetch_blob(&w, 0, 10, NULL), 0);
	assert_int_equal(badserver_count(w.s[UP]), 0);
	world_fini(&w);
}

/* ---- secrets ---- */

static bool h_basic(struct bad_conn *c, const struct bad_request *req, void *arg)
{
	char auth[200];

	if (!bad_field(req, "Authorization", auth, sizeof(auth)))
		return reply(c, "401 x\r\nWWW-Authenticate: Basic realm=\"x\"");
	return h_good(c, req, arg);
}

static bool h_refuses_all(struct bad_conn *c, const struct bad_request *req, void *arg)
{
	(void)req, (void)arg;
	return reply(c, "401 x\r\nWWW-Authenticate: Basic realm=\"x\"");
}

static bool h_redirects(struct bad_conn *c, const struct bad_request *req, void *arg)
{
	const struct world *w = arg;

	(void)req;
	bad_printf(c,
		   "HTTP/1.1 307 x\r\nLocation: http://127.0.0.1:%u/elsewhere\r\n"
		   "Content-Length: 0\r\n\r\n",
		   badserver_port(w->s[1]));
	return true;
}

/* Each gets its own and nothing else, also when one refuses and the next is asked. */
static void test_secrets_stay(void **state)
{
	char text[700], path[400], got[300];
	const char *files[] = { path, NULL };
	struct world w;

	(void)state;
	(void)snprintf(path, sizeof(path), "/tmp/locum-hosts-auth.%d", (int)getpid());
	world_init(&w, h_refuses_all, h_basic, h_basic,
		   &(struct lcm_registry_config){ .auth_files = files });
	/* mirror:one is not let in, mirror:two and up:three are. */
	(void)snprintf(text, sizeof(text),
		       "{\"auths\":{\"127.0.0.1:%u\":{\"auth\":\"bWlycm9yOm9uZQ==\"},"
		       "\"127.0.0.1:%u\":{\"auth\":\"bWlycm9yOnR3bw==\"},"
		       "\"127.0.0.1:%u\":{\"auth\":\"dXA6dGhyZWU=\"}}}",
		       badserver_port(w.s[0]), badserver_port(w.s[1]), badserver_port(w.s[UP]));
	assert_int_equal(lcm_write_file_at(AT_FDCWD, path, text, strlen(text), 0600), 0);
	world_files(&w, "header = {x-secret = \"first\"}", "header = {x-secret = \"second\"}");
	assert_int_equal(fetch_blob(&w, 0, 10, NULL), 0);
	assert_counts(&w, 2, 2, 0);
	assert_string_equal(bad_field(last_of(&w, 0), "Authorization", got, sizeof(got)),
			    "Basic bWlycm9yOm9uZQ==");
	assert_string_equal(bad_field(last_of(&w, 0), "x-secret", got, sizeof(got)), "first");
	assert_string_equal(bad_field(last_of(&w, 1), "Authorization", got, sizeof(got)),
			    "Basic bWlycm9yOnR3bw==");
	assert_string_equal(bad_field(last_of(&w, 1), "x-secret", got, sizeof(got)), "second");
	world_files(&w, NULL, NULL);
	while (badserver_count(w.s[UP]) < 2)
		assert_int_equal(fetch_blob(&w, 0, 10, NULL), 0);
	assert_string_equal(bad_field(last_of(&w, UP), "Authorization", got, sizeof(got)),
			    "Basic dXA6dGhyZWU=");
	assert_null(bad_field(last_of(&w, UP), "x-secret", got, sizeof(got)));
	world_fini(&w);
	assert_int_equal(unlink(path), 0);
}

static void test_secrets_stay_on_redirects(void **state)
{
	char got[300];
	struct world w;

	(void)state;
	world_init(&w, h_redirects, h_good, h_good, NULL);
	world_files(&w, "header = {x-secret = \"first\", authorization = \"Bearer x\"}", NULL);
	assert_int_equal(fetch_blob(&w, 0, 10, NULL), 0);
	assert_counts(&w, 1, 1, 0);
	assert_string_equal(bad_field(last_of(&w, 0), "x-secret", got, sizeof(got)), "first");
	assert_string_equal(bad_field(last_of(&w, 0), "authorization", got, sizeof(got)),
			    "Bearer x");
	assert_null(bad_field(last_of(&w, 1), "x-secret", got, sizeof(got)));
	assert_null(bad_field(last_of(&w, 1), "authorization", got, sizeof(got)));
	world_fini(&w);
}

/* ---- load ---- */

/* The second takes what is too much for the first, the registry itself nothing. */
static void test_mirrors_share(void **state)
{
	struct lcm_fetch_req req;
	struct regfetch f[8] = { 0 };
	unsigned int total = 0;
	struct world w;

	(void)state;
	atomic_store(&gate_open, false);
	world_init(&w, h_gated, h_gated, h_good, NULL);
	world_files(&w, "", "");
	for (size_t i = 0; i < LCM_ARRAY_SIZE(f); i++) {
		req = blob_req(&w, i * 1000, 4 * MIB);
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

/* A transfer that crawls goes on elsewhere, at the byte it has come to. The sink checks that no
 * byte comes twice. */
static void test_move(void **state)
{
	uint64_t first = 0, last = 0;
	struct lcm_fetch_result res;
	struct world w;

	(void)state;
	world_init(&w, h_trickle, h_good, h_good, NULL);
	world_files(&w, "", "");
	assert_int_equal(fetch_blob(&w, 0, BLOB_SIZE, &res), 0);
	assert_counts(&w, 1, 1, 0);
	assert_true(bad_range(last_of(&w, 1), &first, &last));
	assert_true(first > 0 && first < BLOB_SIZE && last == BLOB_SIZE - 1);
	assert_int_equal(look(&w).moves, 1);
	assert_true(res.bytes == BLOB_SIZE);
	world_fini(&w);
	/* The only mirror is overloaded: the registry helps out. */
	world_init(&w, h_trickle, h_good, h_good, NULL);
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
	world_init(&w, h_crawl, h_good, h_good, NULL);
	world_files(&w, "", "");
	assert_int_equal(fetch_blob(&w, 0, 64 << 10, NULL), 0);
	assert_counts(&w, 1, 1, 0);
	assert_true(bad_range(last_of(&w, 1), &first, &last));
	assert_true(first > 0 && first < 48 << 10 && last == (64 << 10) - 1);
	assert_int_equal(look(&w).moves, 1);
	world_fini(&w);
	/* The registry, for an overloaded mirror. */
	world_init(&w, h_crawl, h_good, h_good, NULL);
	world_files(&w, "", NULL);
	assert_int_equal(fetch_blob(&w, 0, 200 << 10, NULL), 0);
	assert_counts(&w, 1, 0, 1);
	assert_int_equal(look(&w).moves, 1);
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
	world_init(&w, h_silent, h_good, h_good,
		   &(struct lcm_registry_config){ .stall_timeout_ms = 60000 });
	world_files(&w, "", NULL);
	assert_int_equal(fetch_blob(&w, 0, 10, &res), 0);
	assert_counts(&w, 1, 0, 1);
	assert_non_null(strstr(look(&w).last[0], "no byte for"));
	world_fini(&w);
}

static int setup(void **state)
{
	(void)state;
	regtest_fill(blob, sizeof(blob), 7);
	assert_int_equal(lcm_digest_of(manifest, strlen(manifest), &manifest_digest), 0);
	return lcm_digest_of(blob, sizeof(blob), &blob_digest);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_mirror_first),
		cmocka_unit_test(test_no_file_no_mirror),
		cmocka_unit_test(test_capabilities),
		cmocka_unit_test(test_paths),
		cmocka_unit_test(test_fallback),
		cmocka_unit_test(test_mirror_is_down),
		cmocka_unit_test(test_manifest_that_lies),
		cmocka_unit_test(test_last_word),
		cmocka_unit_test(test_absent_is_remembered),
		cmocka_unit_test(test_blame),
		cmocka_unit_test(test_breaker),
		cmocka_unit_test(test_breaker_of_the_only_one),
		cmocka_unit_test(test_damaged_file),
		cmocka_unit_test(test_changed_file),
		cmocka_unit_test(test_secrets_stay),
		cmocka_unit_test(test_secrets_stay_on_redirects),
		cmocka_unit_test(test_mirrors_share),
		cmocka_unit_test(test_move),
		cmocka_unit_test(test_move_of_little),
		cmocka_unit_test(test_silent),
	};

	return cmocka_run_group_tests(tests, setup, NULL);
}
