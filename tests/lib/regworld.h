/* SPDX-License-Identifier: Apache-2.0 */
/*
 * regworld.h - one registry with two mirrors, and the client that asks them.
 *
 * Layer: tests.
 */
#ifndef LCM_REGWORLD_H
#define LCM_REGWORLD_H

#include "tests/lib/regblob.h"
#include "tests/lib/regtest.h"

#define UP 2 /* index of the registry itself; 0 and 1 are its mirrors */

extern const char manifest[]; /* what world_manifest() gets */

/* Three servers and the file that makes mirrors of two of them. */
struct world {
	char *dir;
	struct badserver *s[3];
	struct regtest t;
	struct lcm_reference ref;
	struct lcm_digest manifest_digest;
};

/* The servers' handlers get the world as their argument. @cfg: NULL for the default; one retry
 * unless it says otherwise. */
void world_init(struct world *w, bad_handler_fn one, bad_handler_fn two, bad_handler_fn up,
		const struct lcm_registry_config *cfg);
void world_fini(struct world *w);
/* The registry's hosts.toml. */
void write_hosts(const struct world *w, const char *text);
/* @first and @second: what that file says of the mirrors; NULL: there is no such mirror. */
void world_files(const struct world *w, const char *first, const char *second);

/* A part of the blob, and that it is right. Return: its status; @ret may be NULL. */
int fetch_blob(struct world *w, uint64_t off, uint64_t len, struct lcm_fetch_result *ret);
int fetch_manifest(struct world *w, bool by_digest, struct lcm_fetch_result *ret);
/* How often each was asked. */
void assert_counts(const struct world *w, unsigned int one, unsigned int two, unsigned int up);
/* The last request to one. */
const struct bad_request *last_of(const struct world *w, int i);

/* What is told of the registry and of its hosts, in the order of the file. */
struct host_state {
	char state[3][16];
	char last[3][600];
	char error[600];
	uint64_t moves;
	size_t n;
};
struct host_state look(struct world *w);

/* The blob, or the manifest. */
bool h_all(struct bad_conn *c, const struct bad_request *req, void *arg);
bool h_500(struct bad_conn *c, const struct bad_request *req, void *arg);

#endif
