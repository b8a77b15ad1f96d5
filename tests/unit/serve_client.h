/* SPDX-License-Identifier: Apache-2.0 */
/* serve_client.h - a small HTTP client (libcurl) and a layout to serve, for test_serve.c. */
#ifndef LCM_TEST_SERVE_CLIENT_H
#define LCM_TEST_SERVE_CLIENT_H

#include "src/base/buf.h"
#include "src/base/digest.h"

#define TEST_BLOB_SIZE 300000U

struct test_layout {
	char *dir;                        /* owned */
	struct lcm_digest blob, manifest; /* of TEST_BLOB_SIZE bytes; tagged "v1" and "a" */
	char *bytes;                      /* owned: the blob */
};

void test_layout_make(struct test_layout *l);
void test_layout_remove(struct test_layout *l);
/* Writes blobs/sha256/<digest of the bytes>. */
void test_layout_blob(const struct test_layout *l, const void *p, size_t len,
		      struct lcm_digest *ret);
void test_layout_file(const struct test_layout *l, const char *name, const char *text);

struct test_reply {
	int curl; /* CURLcode */
	long status;
	struct lcm_buf head, body;
};

struct test_get {
	const char *base, *path;
	const char *method; /* NULL: GET */
	const char *header; /* one more header line, or NULL */
};

/* The body of a reply that breaks off is what arrived. Free with test_reply_fini(). */
void test_get(const struct test_get *g, struct test_reply *ret);
void test_reply_fini(struct test_reply *r);
/* Is the header line "name: value" there? Names as our server writes them. */
bool test_reply_has(const struct test_reply *r, const char *line);

#endif
