/* SPDX-License-Identifier: Apache-2.0 */
/*
 * caller.h - gRPC calls to containerd over its unix socket, one at a time.
 *
 * HTTP/2 is nghttp2's. Layer: containerd. Threads: one.
 * Source: grpc/grpc doc/PROTOCOL-HTTP2.md.
 */
#ifndef LCM_CONTAINERD_CALLER_H
#define LCM_CONTAINERD_CALLER_H

#include <protobuf-c/protobuf-c.h>

#include "src/base/buf.h"
#include "src/base/err.h"

struct lcm_caller {
	const char *socket, *ns; /* borrowed; path, containerd's namespace */
	int stop_fd; /* borrowed; once it can be read calls end with -ESHUTDOWN; below 0: none */
};

/* A message's 5 bytes in front, and room for it. */
#define LCM_CALLER_PREFIX 5U

/** lcm_caller_pack - the message with its prefix, appended to @out. Return: 0, -EFBIG, -ENOMEM. */
LCM_MUST_USE int lcm_caller_pack(const ProtobufCMessage *m, struct lcm_buf *out);

/**
 * lcm_caller_call - one request, whatever answers there are
 * @method: "/package.Service/Method"
 * @ret: the answers with their prefixes, as they came; NULL: they are not wanted. At most its
 * maximum
 * Return: 0; -ENOENT, -EEXIST, -EBUSY (gRPC's UNAVAILABLE), -EIO and the server's text;
 * -ECONNREFUSED (no server); -ESHUTDOWN (@stop_fd); -EPROTO.
 */
LCM_MUST_USE int lcm_caller_call(const struct lcm_caller *c, const char *method,
				 const ProtobufCMessage *m, struct lcm_buf *ret,
				 struct lcm_err *err);

/** lcm_caller_forward - the same with a message as it is, and with the server's own answer
 * @ret_status: gRPC's; its text, if any, is in @err
 * Return: 0 (the server has answered); -ECONNREFUSED, -ESHUTDOWN, -EPROTO, -EFBIG, -ENOMEM.
 */
LCM_MUST_USE int lcm_caller_forward(const struct lcm_caller *c, const char *method,
				    const uint8_t *p, size_t len, struct lcm_buf *ret,
				    int *ret_status, struct lcm_err *err);

/** Puts the next messages into @out, which is empty. Return: 1, 0 (that was all), -errno. */
typedef int (*lcm_caller_next_fn)(void *arg, struct lcm_buf *out, struct lcm_err *err);
/** lcm_caller_stream - the same with many requests, each made when the one before is sent. Return:
 * as above; what @next returned. */
LCM_MUST_USE int lcm_caller_stream(const struct lcm_caller *c, const char *method,
				   lcm_caller_next_fn next, void *arg, struct lcm_err *err);

/** lcm_caller_answer - the next answer in @b from *@at on. Return: 1 (@ret_p, @ret_len: borrowed),
 * 0 (there is none), -EPROTO. */
LCM_MUST_USE int lcm_caller_answer(const struct lcm_buf *b, size_t *at, const uint8_t **ret_p,
				   size_t *ret_len);

#endif
