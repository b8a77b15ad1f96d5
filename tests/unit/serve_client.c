/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/serve_client.h"

#include <curl/curl.h>

#include "tests/unit/test.h"

void test_layout_file(const struct test_layout *l, const char *name, const char *text)
{
	char path[512];

	(void)snprintf(path, sizeof(path), "%s/%s", l->dir, name);
	assert_int_equal(lcm_write_file_at(AT_FDCWD, path, text, strlen(text), 0644), 0);
}

void test_layout_blob(const struct test_layout *l, const void *p, size_t len,
		      struct lcm_digest *ret)
{
	char path[512], hex[LCM_DIGEST_STR];

	assert_int_equal(lcm_digest_of(p, len, ret), 0);
	(void)snprintf(path, sizeof(path), "%s/blobs/sha256/%s", l->dir, lcm_digest_hex(ret, hex));
	assert_int_equal(lcm_write_file_at(AT_FDCWD, path, p, len, 0644), 0);
}

void test_layout_make(struct test_layout *l)
{
	static const char manifest[] = "{\"schemaVersion\":2,\"config\":{},\"layers\":[]}";
	char path[512], text[1024], digest[LCM_DIGEST_STR];

	l->dir = test_mkdir();
	(void)snprintf(path, sizeof(path), "%s/blobs/sha256", l->dir);
	assert_int_equal(lcm_mkdir_p(path, 0755), 0);
	l->bytes = malloc(TEST_BLOB_SIZE);
	assert_non_null(l->bytes);
	for (uint32_t i = 0; i < TEST_BLOB_SIZE; i++)
		l->bytes[i] = (char)(i * 2654435761U >> 24);
	test_layout_blob(l, l->bytes, TEST_BLOB_SIZE, &l->blob);
	test_layout_blob(l, manifest, strlen(manifest), &l->manifest);
	test_layout_file(l, "oci-layout", "{\"imageLayoutVersion\":\"1.0.0\"}");
	(void)lcm_digest_str(&l->manifest, digest);
	(void)snprintf(
	    text, sizeof(text),
	    "{\"schemaVersion\":2,\"manifests\":["
	    "{\"digest\":\"%s\",\"annotations\":{\"org.opencontainers.image.ref.name\":\"v1\"}},"
	    "{\"digest\":\"%s\",\"annotations\":{\"org.opencontainers.image.ref.name\":\"not/a/"
	    "tag\"}},"
	    "{\"digest\":\"%s\",\"annotations\":{\"org.opencontainers.image.ref.name\":\"a\"}}]}",
	    digest, digest, digest);
	test_layout_file(l, "index.json", text);
}

void test_layout_remove(struct test_layout *l)
{
	test_rmdir(l->dir);
	free(l->bytes);
}

static size_t collect(char *p, size_t one, size_t n, void *arg)
{
	return lcm_buf_add(arg, p, one * n) < 0 ? 0 : n;
}

void test_get(const struct test_get *g, struct test_reply *ret)
{
	struct curl_slist *headers = g->header ? curl_slist_append(NULL, g->header) : NULL;
	lcm_autofree char *url = NULL;
	CURL *c = curl_easy_init();

	assert_non_null(c);
	*ret = (struct test_reply){ .head = LCM_BUF(65536), .body = LCM_BUF(1U << 24) };
	assert_true(asprintf(&url, "%s%s", g->base, g->path) > 0);
	(void)curl_easy_setopt(c, CURLOPT_URL, url);
	(void)curl_easy_setopt(c, CURLOPT_PATH_AS_IS, 1L);
	(void)curl_easy_setopt(c, CURLOPT_PROXY, "");
	(void)curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
	(void)curl_easy_setopt(c, CURLOPT_TIMEOUT, 30L);
	(void)curl_easy_setopt(c, CURLOPT_HTTPHEADER, headers);
	(void)curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, collect);
	(void)curl_easy_setopt(c, CURLOPT_WRITEDATA, &ret->body);
	(void)curl_easy_setopt(c, CURLOPT_HEADERFUNCTION, collect);
	(void)curl_easy_setopt(c, CURLOPT_HEADERDATA, &ret->head);
	if (g->method && strcmp(g->method, "HEAD") == 0)
		(void)curl_easy_setopt(c, CURLOPT_NOBODY, 1L);
	else if (g->method)
		(void)curl_easy_setopt(c, CURLOPT_CUSTOMREQUEST, g->method);
	ret->curl = (int)curl_easy_perform(c);
	(void)curl_easy_getinfo(c, CURLINFO_RESPONSE_CODE, &ret->status);
	curl_easy_cleanup(c);
	curl_slist_free_all(headers);
}

void test_reply_fini(struct test_reply *r)
{
	lcm_buf_fini(&r->head);
	lcm_buf_fini(&r->body);
}

bool test_reply_has(const struct test_reply *r, const char *line)
{
	const char *at = strstr(lcm_buf_str(&r->head), line);

	return at && at[-1] == '\n' && at[strlen(line)] == '\r';
}
