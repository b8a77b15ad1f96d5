/* SPDX-License-Identifier: Apache-2.0 */
/* The client against docker-registry: plain, with passwords, and with TLS and HTTP/2. */
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "tests/lib/regtest.h"

#define BLOB_SIZE (20U << 20)
#define REGISTRY "/usr/bin/docker-registry"
#define OPENSSL "/usr/bin/openssl"

extern char **environ;

static uint8_t *blob;
static struct lcm_digest blob_digest, manifest_digest;
static char *dir;
static const char manifest[] = "{\"schemaVersion\":2,\"mediaType\":\"application/"
			       "vnd.oci.image.index.v1+json\",\"manifests\":[]}";

static void put(const char *path, const void *p, size_t len)
{
	char full[1024], parent[1024];

	(void)snprintf(full, sizeof(full), "%s/%s", dir, path);
	(void)snprintf(parent, sizeof(parent), "%.*s", (int)(strrchr(full, '/') - full), full);
	assert_int_equal(lcm_mkdir_p(parent, 0755), 0);
	assert_int_equal(lcm_write_file_at(AT_FDCWD, full, p, len, 0644), 0);
}

/* As docker-registry keeps them; every link file holds a digest. */
static void store_blob(const void *p, size_t len, struct lcm_digest *ret)
{
	char s[LCM_DIGEST_STR], path[512];
	const char *hex;

	assert_int_equal(lcm_digest_of(p, len, ret), 0);
	hex = lcm_digest_hex(ret, s);
	(void)snprintf(path, sizeof(path), "data/docker/registry/v2/blobs/sha256/%.2s/%s/data", hex,
		       hex);
	put(path, p, len);
}

static void store_link(const char *where, const struct lcm_digest *d)
{
	char s[LCM_DIGEST_STR], path[512];

	(void)lcm_digest_str(d, s);
	(void)snprintf(path, sizeof(path), "data/docker/registry/v2/repositories/r/x/%s%s/link",
		       where, strstr(where, "current") ? "" : s + 7);
	put(path, s, strlen(s));
}

static pid_t spawn(const char *const *argv)
{
	posix_spawn_file_actions_t fa;
	pid_t pid;

	assert_int_equal(posix_spawn_file_actions_init(&fa), 0);
	assert_int_equal(posix_spawn_file_actions_addopen(&fa, 1, "/dev/null", O_WRONLY, 0), 0);
	assert_int_equal(posix_spawn_file_actions_addopen(&fa, 2, "/dev/null", O_WRONLY, 0), 0);
	assert_int_equal(posix_spawn(&pid, argv[0], &fa, NULL, (char *const *)argv, environ), 0);
	(void)posix_spawn_file_actions_destroy(&fa);
	return pid;
}

static void make_certificate(void)
{
	char key[512], crt[512];
	const char *const argv[] = { OPENSSL,
				     "req",
				     "-x509",
				     "-newkey",
				     "ec",
				     "-pkeyopt",
				     "ec_paramgen_curve:P-256",
				     "-nodes",
				     "-days",
				     "2",
				     "-subj",
				     "/CN=localhost",
				     "-addext",
				     "subjectAltName=DNS:localhost,IP:127.0.0.1",
				     "-keyout",
				     key,
				     "-out",
				     crt,
				     NULL };
	int status;

	(void)snprintf(key, sizeof(key), "%s/key.pem", dir);
	(void)snprintf(crt, sizeof(crt), "%s/crt.pem", dir);
	assert_int_equal(waitpid(spawn(argv), &status, 0) > 0, 1);
	assert_int_equal(status, 0);
}

static int setup(void **state)
{
	(void)state;
	dir = test_mkdir();
	blob = malloc(BLOB_SIZE);
	assert_non_null(blob);
	regtest_fill(blob, BLOB_SIZE, 3);
	store_blob(blob, BLOB_SIZE, &blob_digest);
	store_link("_layers/sha256/", &blob_digest);
	store_blob(manifest, strlen(manifest), &manifest_digest);
	store_link("_manifests/revisions/sha256/", &manifest_digest);
	store_link("_manifests/tags/v1/current", &manifest_digest);
	make_certificate();
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	free(blob);
	test_rmdir(dir);
	return 0;
}

struct real {
	pid_t pid;
	unsigned int port;
};

static unsigned int free_port(void)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(a);
	lcm_autoclose int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(bind(fd, (struct sockaddr *)&a, len), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &len), 0);
	return ntohs(a.sin_port);
}

static void wait_listening(unsigned int port)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };

	a.sin_port = htons((uint16_t)port);
	for (int i = 0; i < 1000; i++) {
		lcm_autoclose int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

		if (connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0)
			return;
		(void)poll(NULL, 0, 10);
	}
	fail_msg("docker-registry does not listen");
}

/* What other tests have pushed. */
static void pushed_remove(void)
{
	char path[512];
	int r;

	(void)snprintf(path, sizeof(path), "%s/data/docker/registry/v2/repositories/r/pushed", dir);
	r = lcm_rmtree_at(AT_FDCWD, path);
	assert_true(r == 0 || r == -ENOENT);
}

static struct real real_start(const char *http, const char *auth)
{
	char conf[512], text[2048];
	const char *const argv[] = { REGISTRY, "serve", conf, NULL };
	struct real r = { .port = free_port() };

	pushed_remove();
	(void)snprintf(conf, sizeof(conf), "%s/config.yml", dir);
	(void)snprintf(
	    text, sizeof(text),
	    "version: 0.1\nlog:\n  accesslog:\n    disabled: true\nstorage:\n  filesystem:\n"
	    "    rootdirectory: %s/data\nhttp:\n  addr: 127.0.0.1:%u\n%s%s",
	    dir, r.port, http, auth);
	put("config.yml", text, strlen(text));
	r.pid = spawn(argv);
	wait_listening(r.port);
	return r;
}

static void real_stop(struct real *r)
{
	int status;

	assert_int_equal(kill(r->pid, SIGKILL), 0);
	assert_int_equal(waitpid(r->pid, &status, 0), r->pid);
}

static struct lcm_fetch_req blob_req(const struct lcm_reference *ref, uint64_t off, uint64_t len)
{
	return (struct lcm_fetch_req){ .kind = LCM_FETCH_BLOB,
				       .ref = ref,
				       .digest = blob_digest,
				       .size = BLOB_SIZE,
				       .off = off,
				       .len = len };
}

static void fetch_manifest(struct regtest *t, struct lcm_reference *ref)
{
	struct lcm_fetch_req req = { .kind = LCM_FETCH_MANIFEST, .ref = ref };
	struct regfetch f = { 0 };
	int status = regtest_fetch(t, &f, &req);

	if (status)
		print_error("%s\n", f.res.err.msg);
	assert_int_equal(status, 0);
	assert_true(lcm_digest_equal(&f.res.digest, &manifest_digest));
	assert_string_equal(lcm_buf_str(&f.body), manifest);
	assert_string_equal(f.content_type, "application/vnd.oci.image.index.v1+json");
	regfetch_fini(&f);
}

static void fetch_range(struct regtest *t, const struct lcm_reference *ref, uint64_t off,
			uint64_t len)
{
	struct lcm_fetch_req req = blob_req(ref, off, len);
	struct regfetch f = { 0 };

	assert_int_equal(regtest_fetch(t, &f, &req), 0);
	assert_int_equal(f.got.len, len);
	assert_memory_equal(f.got.data, blob + off, len);
	regfetch_fini(&f);
}

/* Everything a good registry does. */
static void fetch_all(struct regtest *t, unsigned int port)
{
	struct lcm_reference tag = regtest_ref(port, "r/x:v1"), by_digest = tag;

	fetch_manifest(t, &tag);
	by_digest.has_digest = true;
	by_digest.digest = manifest_digest;
	by_digest.tag[0] = '\0';
	fetch_manifest(t, &by_digest);
	fetch_range(t, &tag, 0, BLOB_SIZE);
	fetch_range(t, &tag, 0, 1);
	fetch_range(t, &tag, 12345678, 65537);
	fetch_range(t, &tag, BLOB_SIZE - 1, 1);
}

static void push_blob(struct regtest *t, const struct lcm_reference *ref, const void *p, size_t len,
		      bool existed)
{
	struct lcm_push_req req = { .ref = ref, .data = p, .len = len };
	struct lcm_push_result res;

	assert_int_equal(lcm_digest_of(p, len, &req.digest), 0);
	res = regtest_push(t, &req);
	if (res.status)
		fail_msg("%s", res.err.msg);
	assert_int_equal(res.existed, existed);
}

/* Into a repository that does not exist yet; what is there already is not sent again. */
static void push_all(struct regtest *t, unsigned int port)
{
	static const char type[] = "application/vnd.oci.image.index.v1+json";
	struct lcm_reference ref = regtest_ref(port, "r/pushed:v2");
	struct lcm_push_req req = {
		.ref = &ref, .media_type = type, .data = manifest, .len = strlen(manifest)
	};
	struct lcm_fetch_req back = { .kind = LCM_FETCH_BLOB,
				      .ref = &ref,
				      .digest = blob_digest,
				      .size = BLOB_SIZE,
				      .len = BLOB_SIZE };
	struct lcm_push_result res;
	struct regfetch f = { 0 };

	push_blob(t, &ref, blob, BLOB_SIZE, false);
	push_blob(t, &ref, blob, BLOB_SIZE, true);
	push_blob(t, &ref, "{}", 2, false);
	assert_int_equal(regtest_fetch(t, &f, &back), 0);
	assert_memory_equal(f.got.data, blob, BLOB_SIZE);
	regfetch_fini(&f);
	for (int i = 0; i < 2; i++) {
		req.digest = manifest_digest;
		req.tag = i ? "v2" : NULL;
		res = regtest_push(t, &req);
		if (res.status)
			fail_msg("%s", res.err.msg);
		assert_false(res.subject);
	}
	fetch_manifest(t, &ref);
}

#define MANY 200

/* Demand ranges and whole background bodies at once. */
static void fetch_many(struct regtest *t, unsigned int port)
{
	struct lcm_reference ref = regtest_ref(port, "r/x:v1");
	struct regfetch *f = calloc(MANY, sizeof(*f));

	assert_non_null(f);
	for (size_t i = 0; i < MANY; i++) {
		struct lcm_fetch_req req = blob_req(&ref, i * 5000, 1 + i * 97);

		if (i % 50 == 0) {
			req = blob_req(&ref, 0, BLOB_SIZE);
			req.prio = LCM_PRIO_BACKGROUND;
		}
		regtest_start(t, &f[i], &req);
	}
	regtest_run(t);
	for (size_t i = 0; i < MANY; i++) {
		assert_int_equal(f[i].res.status, 0);
		assert_int_equal(f[i].got.len, i % 50 ? 1 + i * 97 : BLOB_SIZE);
		assert_memory_equal(f[i].got.data, blob + f[i].first, f[i].got.len);
		regfetch_fini(&f[i]);
	}
	free(f);
}

static void test_anonymous(void **state)
{
	struct real r = real_start("", "");
	struct regtest t;

	(void)state;
	regtest_init(&t, NULL);
	fetch_all(&t, r.port);
	fetch_many(&t, r.port);
	push_all(&t, r.port);
	regtest_fini(&t);
	real_stop(&r);
}

/* Bytes that are not what their digest says do not get in, and nobody being there is said. */
static void test_push_fails(void **state)
{
	struct real r = real_start("", "");
	struct lcm_reference ref = regtest_ref(r.port, "r/pushed");
	struct lcm_push_req req = { .ref = &ref, .digest = blob_digest, .data = "x", .len = 1 };
	struct lcm_push_result res;
	struct regtest t;

	(void)state;
	regtest_init(&t, &(struct lcm_registry_config){ .retries = 1, .backoff_ms = 1 });
	res = regtest_push(&t, &req);
	assert_int_equal(res.status, -EPROTO);
	assert_non_null(strstr(res.err.msg, "status 400"));
	real_stop(&r);
	res = regtest_push(&t, &req);
	assert_int_equal(res.status, -ECONNREFUSED);
	req.done = NULL;
	assert_int_equal(lcm_push_start(t.reg, &req), -EINVAL);
	regtest_fini(&t);
}

static void test_missing(void **state)
{
	struct real r = real_start("", "");
	struct lcm_reference ref = regtest_ref(r.port, "r/x:no-such-tag");
	struct lcm_fetch_req req = { .kind = LCM_FETCH_MANIFEST, .ref = &ref };
	struct regfetch f = { 0 }, g = { 0 };
	struct regtest t;

	(void)state;
	regtest_init(&t, NULL);
	assert_int_equal(regtest_fetch(&t, &f, &req), -ENOENT);
	assert_non_null(strstr(f.res.err.msg, "r/x:no-such-tag"));
	req = blob_req(&ref, 0, 10);
	req.digest.b[0] ^= 1;
	assert_int_equal(regtest_fetch(&t, &g, &req), -ENOENT);
	regfetch_fini(&f);
	regfetch_fini(&g);
	regtest_fini(&t);
	real_stop(&r);
}

static void refused_push(struct regtest *t, const struct lcm_reference *ref)
{
	struct lcm_push_req req = { .ref = ref, .digest = blob_digest, .data = "x", .len = 1 };
	struct lcm_push_result res = regtest_push(t, &req);

	assert_int_equal(res.status, -EACCES);
	assert_non_null(strstr(res.err.msg, "/v2/r/x/blobs/sha256:"));
}

/* "user" with "secret", bcrypt as docker-registry wants it. */
static const char htpasswd[] =
    "user:$2y$05$VjYPjso5hcapG7x7L2a7juNVKgpAUCC.RG1jZpA5hS6BHuG.yENXS\n";

static void test_htpasswd(void **state)
{
	static const char *const entries[] = { "dXNlcjpzZWNyZXQ=", "dXNlcjp3cm9uZw==" };
	char auth[600], file[512], text[512];
	const char *const files[] = { file, NULL };
	struct lcm_fetch_req req = { .kind = LCM_FETCH_MANIFEST };
	struct lcm_reference ref;
	struct regfetch f = { 0 };
	struct regtest t;
	struct real r;

	(void)state;
	put("htpasswd", htpasswd, strlen(htpasswd));
	(void)snprintf(auth, sizeof(auth),
		       "auth:\n  htpasswd:\n    realm: r\n    path: %s/htpasswd\n", dir);
	r = real_start("", auth);
	(void)snprintf(file, sizeof(file), "%s/auth.json", dir);
	for (size_t i = 0; i < LCM_ARRAY_SIZE(entries); i++) {
		(void)snprintf(text, sizeof(text),
			       "{\"auths\":{\"127.0.0.1:%u\":{\"auth\":\"%s\"}}}", r.port,
			       entries[i]);
		put("auth.json", text, strlen(text));
		regtest_init(&t, &(struct lcm_registry_config){ .auth_files = files });
		ref = regtest_ref(r.port, "r/x:v1");
		if (i == 0) {
			fetch_all(&t, r.port);
			push_all(&t, r.port);
		} else {
			refused_push(&t, &ref);
			req.ref = &ref;
			assert_int_equal(regtest_fetch(&t, &f, &req), -EACCES);
			assert_non_null(strstr(f.res.err.msg, file));
			regfetch_fini(&f);
		}
		regtest_fini(&t);
	}
	real_stop(&r);
}

static struct real tls_start(char *ca, size_t cap)
{
	char http[2048];

	(void)snprintf(ca, cap, "%s/crt.pem", dir);
	(void)snprintf(http, sizeof(http), "  tls:\n    certificate: %s\n    key: %s/key.pem\n", ca,
		       dir);
	return real_start(http, "");
}

static void test_tls(void **state)
{
	char ca[512];
	struct real r = tls_start(ca, sizeof(ca));
	struct regtest t;

	(void)state;
	regtest_init(&t, &(struct lcm_registry_config){ .ca_file = ca });
	push_all(&t, r.port); /* the first to find out that it is TLS */
	fetch_all(&t, r.port);
	fetch_many(&t, r.port);
	regtest_fini(&t);
	real_stop(&r);
}

static int pause_often(struct regfetch *f, uint64_t off, size_t len)
{
	unsigned int *n = f->user;

	(void)off, (void)len;
	if ((*n)++ % 8)
		return 0;
	lcm_fetch_resume(f->t->reg, f->id);
	return LCM_FETCH_PAUSE;
}

/* Sinks that pause all the time, on streams that share a connection. */
static void test_h2_pause(void **state)
{
	char ca[512];
	struct real r = tls_start(ca, sizeof(ca));
	struct lcm_reference ref = regtest_ref(r.port, "r/x:v1");
	struct regfetch f[20] = { 0 };
	unsigned int n = 0;
	struct regtest t;

	(void)state;
	regtest_init(&t, &(struct lcm_registry_config){ .ca_file = ca });
	for (size_t i = 0; i < LCM_ARRAY_SIZE(f); i++) {
		struct lcm_fetch_req req = blob_req(&ref, i * 500000, 1000000);

		req.prio = i % 5 ? LCM_PRIO_DEMAND : LCM_PRIO_BACKGROUND;
		f[i].hook = pause_often;
		f[i].user = &n;
		regtest_start(&t, &f[i], &req);
	}
	regtest_run(&t);
	for (size_t i = 0; i < LCM_ARRAY_SIZE(f); i++) {
		assert_int_equal(f[i].res.status, 0);
		assert_int_equal(f[i].res.tries, 1);
		assert_int_equal(f[i].got.len, 1000000);
		assert_memory_equal(f[i].got.data, blob + f[i].first, 1000000);
		regfetch_fini(&f[i]);
	}
	regtest_fini(&t);
	real_stop(&r);
}

static int count_sockets(void)
{
	int n = 0;

	for (int fd = 3; fd < 1024; fd++) {
		int type = 0;
		socklen_t len = sizeof(type);

		n += getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) == 0 && type == SOCK_STREAM;
	}
	return n;
}

static void note_sockets(struct regfetch *f)
{
	int *max = f->user;

	*max = LCM_MAX(*max, count_sockets());
}

/* HTTP/2: a hundred demand ranges share one connection, background bodies have their own. */
static void test_h2_connections(void **state)
{
	char ca[512];
	struct real r = tls_start(ca, sizeof(ca));
	struct lcm_reference ref = regtest_ref(r.port, "r/x:v1");
	struct regfetch *f = calloc(MANY, sizeof(*f));
	int before = count_sockets(), max = 0;
	struct regtest t;

	(void)state;
	assert_non_null(f);
	regtest_init(&t, &(struct lcm_registry_config){ .ca_file = ca, .connections_per_host = 2 });
	fetch_manifest(&t, &ref);
	for (size_t i = 0; i < MANY / 2; i++) {
		struct lcm_fetch_req req = blob_req(&ref, i * 5000, i % 25 ? 5000 : 1000000);

		req.prio = i % 25 ? LCM_PRIO_DEMAND : LCM_PRIO_BACKGROUND;
		f[i].on_done = note_sockets;
		f[i].user = &max;
		regtest_start(&t, &f[i], &req);
	}
	regtest_run(&t);
	for (size_t i = 0; i < MANY / 2; i++) {
		assert_int_equal(f[i].res.status, 0);
		regfetch_fini(&f[i]);
	}
	print_message("%d sockets\n", max - before);
	/* One for demand and two for background (and libcurl's own socket pairs). */
	assert_true(max - before >= 2);
	assert_true(max - before <= 8);
	free(f);
	regtest_fini(&t);
	real_stop(&r);
}

static void test_tls_untrusted(void **state)
{
	char ca[512];
	struct real r = tls_start(ca, sizeof(ca));
	struct lcm_reference ref = regtest_ref(r.port, "r/x:v1");
	struct lcm_fetch_req req = { .kind = LCM_FETCH_MANIFEST, .ref = &ref };
	struct regfetch f = { 0 };
	struct regtest t;

	(void)state;
	regtest_init(&t, NULL);
	assert_int_equal(regtest_fetch(&t, &f, &req), -EPROTO);
	assert_non_null(strstr(f.res.err.msg, "ca_file"));
	assert_int_equal(f.res.tries, 1);
	regfetch_fini(&f);
	regtest_fini(&t);
	real_stop(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_anonymous),     cmocka_unit_test(test_missing),
		cmocka_unit_test(test_push_fails),    cmocka_unit_test(test_htpasswd),
		cmocka_unit_test(test_tls),           cmocka_unit_test(test_h2_connections),
		cmocka_unit_test(test_tls_untrusted), cmocka_unit_test(test_h2_pause),
	};

	if (access(REGISTRY, X_OK) < 0 || access(OPENSSL, X_OK) < 0) {
		const char *must = getenv("LCM_TESTS_MUST_RUN");

		print_error("needs %s and %s\n", REGISTRY, OPENSSL);
		return must && must[0] == '1' ? 1 : 77;
	}
	return cmocka_run_group_tests(tests, setup, teardown);
}
