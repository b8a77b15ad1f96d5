/* SPDX-License-Identifier: Apache-2.0 */
/*
 * regtest.h - run fetches of a registry client to their end.
 *
 * Layer: tests. One thread; a watchdog ends a test that hangs.
 */
#ifndef LCM_REGTEST_H
#define LCM_REGTEST_H

#include "registry/registry.h"
#include "src/base/buf.h"
#include "tests/unit/test.h"

struct regtest {
	struct lcm_loop *loop;
	struct lcm_registry *reg;
	struct lcm_timer *watchdog;
	unsigned int pending; /* fetches without a done call */
};

/* One fetch and what came of it. */
struct regfetch {
	struct regtest *t;
	uint64_t id;
	struct lcm_buf got;          /* what the sink took */
	uint64_t first;              /* expected offset of the first byte */
	unsigned int done;           /* calls */
	unsigned int sinks;          /* calls that took bytes */
	struct lcm_fetch_result res; /* pointers in it are not valid any more */
	char content_type[128];
	struct lcm_buf body;
	int (*hook)(struct regfetch *f, uint64_t off,
		    size_t len); /* before bytes are taken; its result is the sink's unless 0 */
	void (*on_done)(struct regfetch *f);
	void *user;
};

void regtest_init(struct regtest *t, const struct lcm_registry_config *cfg);
void regtest_fini(struct regtest *t);
/* Until every fetch has ended. */
void regtest_run(struct regtest *t);
void regtest_start(struct regtest *t, struct regfetch *f, struct lcm_fetch_req *req);
/* Start, run, and give the status. */
int regtest_fetch(struct regtest *t, struct regfetch *f, struct lcm_fetch_req *req);
void regfetch_fini(struct regfetch *f);
/* Push to the end. @req: without done and arg. */
struct lcm_push_result regtest_push(struct regtest *t, struct lcm_push_req *req);
/* "127.0.0.1:port/repo:tag". */
struct lcm_reference regtest_ref(unsigned int port, const char *rest);
/* A row of a table of faults: outcome (-errno), requests made, and the time since @since_ns, which
 * is for reading only. */
void regtest_say(const char *fault, int status, unsigned int requests, uint64_t since_ns);
/* Repeatable noise. */
void regtest_fill(uint8_t *p, size_t len, uint32_t seed);

#endif
