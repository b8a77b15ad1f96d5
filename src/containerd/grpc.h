/* SPDX-License-Identifier: Apache-2.0 */
/*
 * grpc.h - a gRPC server for a few unary calls, on a listening socket.
 *
 * Layer: containerd. HTTP/2 is nghttp2's; this is the framing of messages, the status in trailers,
 * and the way from the loop to a thread and back. Calls whose stream was reset are run to their end
 * and their answers dropped. Threads: the loop's, but for the handler.
 * Source: grpc/grpc doc/PROTOCOL-HTTP2.md.
 */
#ifndef LCM_GRPC_H
#define LCM_GRPC_H

#include "src/base/buf.h"
#include "src/base/err.h"
#include "src/base/pool.h"

/* A request's message: labels of 4096 bytes, some of them. */
#define LCM_GRPC_MESSAGE_MAX (4U << 20)
#define LCM_GRPC_REPLY_MAX (64U << 20)

/* grpc/grpc doc/statuscodes.md */
enum lcm_grpc_status {
	LCM_GRPC_OK = 0,
	LCM_GRPC_CANCELLED = 1,
	LCM_GRPC_UNKNOWN = 2,
	LCM_GRPC_INVALID_ARGUMENT = 3,
	LCM_GRPC_NOT_FOUND = 5,
	LCM_GRPC_ALREADY_EXISTS = 6,
	LCM_GRPC_PERMISSION_DENIED = 7,
	LCM_GRPC_RESOURCE_EXHAUSTED = 8,
	LCM_GRPC_FAILED_PRECONDITION = 9,
	LCM_GRPC_UNIMPLEMENTED = 12,
	LCM_GRPC_INTERNAL = 13,
	LCM_GRPC_UNAVAILABLE = 14,
};

struct lcm_grpc_reply {
	enum lcm_grpc_status status;
	struct lcm_buf body; /* of lcm_grpc_message(); sent when the status is OK */
	struct lcm_err err;  /* text for any other */
};
/** lcm_grpc_message - room for the next message of @len bytes in the reply. NULL: too long or out
 * of memory. */
uint8_t *lcm_grpc_message(struct lcm_grpc_reply *r, size_t len);

/** Answers one call. @method: "/package.Service/Method"; @p: the message, borrowed. Thread: the
 * pool's; several at once. */
typedef void (*lcm_grpc_fn)(void *arg, const char *method, const uint8_t *p, size_t len,
			    struct lcm_grpc_reply *ret);

struct lcm_grpc;
/** lcm_grpc_new - serve @fd (listening, taken also on failure) from @loop; handlers run on @pool.
 */
LCM_MUST_USE int lcm_grpc_new(struct lcm_loop *loop, struct lcm_pool *pool, int fd, lcm_grpc_fn fn,
			      void *arg, struct lcm_grpc **ret);
/** lcm_grpc_set_slow - calls of which @is_slow says that they wait for others are run on @slow
 * instead, so that those others find a thread. Before the loop runs. */
void lcm_grpc_set_slow(struct lcm_grpc *g, struct lcm_pool *slow,
		       bool (*is_slow)(const char *method));
/** lcm_grpc_stop - close the socket and every connection. What handlers still do is dropped. */
void lcm_grpc_stop(struct lcm_grpc *g);
/** lcm_grpc_free - after lcm_pool_free() of both pools and lcm_loop_drain(): no handler runs any
 * more. */
void lcm_grpc_free(struct lcm_grpc *g);

#endif
