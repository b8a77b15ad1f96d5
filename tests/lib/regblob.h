/* SPDX-License-Identifier: Apache-2.0 */
/*
 * regblob.h - the blob that tests of the registry client ask for.
 *
 * Layer: tests.
 */
#ifndef LCM_REGBLOB_H
#define LCM_REGBLOB_H

#include "registry/registry.h"
#include "tests/lib/badserver.h"

#define MIB (1U << 20)
#define BLOB_SIZE (5 * MIB)

extern uint8_t blob[BLOB_SIZE];
extern struct lcm_digest blob_digest;

/* Fills it; for cmocka. */
int blob_setup(void **state);
/* For [@off, @off + @len) of it. @ref is borrowed. */
struct lcm_fetch_req blob_req(const struct lcm_reference *ref, uint64_t off, uint64_t len);
/* Handlers: as asked; and all of it, whatever was asked. */
bool h_good(struct bad_conn *c, const struct bad_request *req, void *arg);
bool h_no_ranges(struct bad_conn *c, const struct bad_request *req, void *arg);
/* What a handler may do: a good head, at most 1 MiB of the body, and its end, cleanly (chunked) or
 * the connection's. Return: a handler's. */
bool blob_short(struct bad_conn *c, const struct bad_request *req, bool chunked);

#endif
