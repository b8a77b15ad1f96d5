/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/regworld.h"

const char manifest[] = "{\"schemaVersion\":2}";

bool h_all(struct bad_conn *c, const struct bad_request *req, void *arg)
{
	if (!strstr(req->target, "/manifests/"))
		return h_good(c, req, arg);
	bad_printf(c,
		   "HTTP/1.1 200 OK\r\nContent-Type: application/vnd.oci.image.manifest.v1+json\r\n"
		   "Content-Length: %zu\r\n\r\n%s",
		   strlen(manifest), manifest);
	return true;
}

bool h_500(struct bad_conn *c, const struct bad_request *req, void *arg)
{
	(void)req, (void)arg;
	return bad_reply(c, "500 x");
}

void write_hosts(const struct world *w, const char *text)
{
	char path[400], reg[64];

	(void)snprintf(reg, sizeof(reg), "127.0.0.1:%u", badserver_port(w->s[UP]));
	(void)snprintf(path, sizeof(path), "%s/%s", w->dir, reg);
	assert_int_equal(lcm_mkdir_p(path, 0755), 0);
	(void)snprintf(path, sizeof(path), "%s/%s/hosts.toml", w->dir, reg);
	assert_int_equal(lcm_write_file_at(AT_FDCWD, path, text, strlen(text), 0600), 0);
}

void world_files(const struct world *w, const char *first, const char *second)
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

void world_init(struct world *w, bad_handler_fn one, bad_handler_fn two, bad_handler_fn up,
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
	assert_int_equal(lcm_digest_of(manifest, strlen(manifest), &w->manifest_digest), 0);
	regtest_init(&w->t, &c);
}

void world_fini(struct world *w)
{
	regtest_fini(&w->t);
	for (int i = 0; i < 3; i++)
		badserver_stop(w->s[i]);
	test_rmdir(w->dir);
}

int fetch_blob(struct world *w, uint64_t off, uint64_t len, struct lcm_fetch_result *ret)
{
	struct lcm_fetch_req req = blob_req(&w->ref, off, len);
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

int fetch_manifest(struct world *w, bool by_digest, struct lcm_fetch_result *ret)
{
	struct lcm_fetch_req req = { .kind = LCM_FETCH_MANIFEST, .ref = &w->ref };
	struct regfetch f = { 0 };
	int r;

	if (by_digest)
		req.digest = w->manifest_digest;
	r = regtest_fetch(&w->t, &f, &req);
	if (r == 0)
		assert_string_equal(lcm_buf_str(&f.body), manifest);
	if (ret)
		*ret = f.res;
	regfetch_fini(&f);
	return r;
}

void assert_counts(const struct world *w, unsigned int one, unsigned int two, unsigned int up)
{
	assert_int_equal(badserver_count(w->s[0]), one);
	assert_int_equal(badserver_count(w->s[1]), two);
	assert_int_equal(badserver_count(w->s[UP]), up);
}

const struct bad_request *last_of(const struct world *w, int i)
{
	return badserver_request(w->s[i], badserver_count(w->s[i]) - 1);
}

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

struct host_state look(struct world *w)
{
	struct host_state s = { .n = 0 };

	lcm_registry_hosts(w->t.reg, on_host, &s);
	return s;
}
