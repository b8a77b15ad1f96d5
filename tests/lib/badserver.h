/* SPDX-License-Identifier: Apache-2.0 */
/*
 * badserver.h - an HTTP server in the test process that misbehaves on request.
 *
 * Layer: tests. Each connection has a thread; a handler writes raw bytes.
 * Every request is kept for the test to look at.
 */
#ifndef LCM_BADSERVER_H
#define LCM_BADSERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BAD_HEAD_MAX 65536
#define BAD_REQUESTS_MAX 4096

struct bad_conn;
struct badserver;

struct bad_request {
	char method[16];
	char target[4096]; /* path and query */
	char *head;        /* all fields, NUL-terminated; owned by the server */
	char body[4096];   /* of a POST */
	unsigned int nth;  /* requests of this server before it */
	uint64_t at_ns;    /* CLOCK_MONOTONIC */
};

/* Return: true keeps the connection for another request. Runs on the connection's thread. */
typedef bool (*bad_handler_fn)(struct bad_conn *c, const struct bad_request *req, void *arg);

struct badserver *badserver_start(bad_handler_fn fn, void *arg);
/* Ends every connection and thread. */
void badserver_stop(struct badserver *s);
unsigned int badserver_port(const struct badserver *s);
unsigned int badserver_count(struct badserver *s);       /* requests so far */
unsigned int badserver_connections(struct badserver *s); /* connections so far */
/* The n-th request; valid until badserver_stop(); NULL beyond the last. */
const struct bad_request *badserver_request(struct badserver *s, unsigned int n);

/* Value of a field, copied into @out; NULL when it was not sent. */
const char *bad_field(const struct bad_request *req, const char *name, char *out, size_t cap);
/* first and last of "Range: bytes=a-b"; false: none. */
bool bad_range(const struct bad_request *req, uint64_t *first, uint64_t *last);

void bad_printf(struct bad_conn *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void bad_send(struct bad_conn *c, const void *p, size_t len);
/* A status, perhaps fields after it ("401 x\r\nName: value"), and no body. Return: true. */
bool bad_reply(struct bad_conn *c, const char *status);
/* The head of a good registry's answer: 206 with the range asked for, else 200. The body is to be
 * *ret_first to *ret_last of @size. */
void bad_head(struct bad_conn *c, const struct bad_request *req, uint64_t size, uint64_t *ret_first,
	      uint64_t *ret_last);
/* The whole of that answer. */
void bad_blob(struct bad_conn *c, const struct bad_request *req, const void *blob, size_t size);
/* Wait until the client goes away, the server stops, or @ms went by. */
void bad_wait(struct bad_conn *c, int ms);
/* RST instead of FIN when the handler returns false. */
void bad_reset(struct bad_conn *c);

#endif
