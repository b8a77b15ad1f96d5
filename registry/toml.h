/* SPDX-License-Identifier: Apache-2.0 */
/*
 * toml.h - TOML text as a tree of C structs.
 *
 * Layer: registry. Pure. Threads: any. Debian has no TOML library in C: toml.cc is the one file
 * here that is not, and no exception leaves it.
 * Source: TOML v1.0.0; parsed by toml++.
 */
#ifndef LCM_TOML_H
#define LCM_TOML_H

#include "src/base/base.h"
#include "src/base/err.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A few mirrors with their headers are less than 4 KB. */
#define LCM_TOML_MAX (64U << 10)
/* host.NAME.header.NAME[i] is 5 deep. */
#define LCM_TOML_DEPTH_MAX 16

enum lcm_toml_type {
	LCM_TOML_TABLE,
	LCM_TOML_ARRAY,
	LCM_TOML_STRING,
	LCM_TOML_BOOL,
	LCM_TOML_OTHER, /* number, date: nothing here has such a value */
};

struct lcm_toml {
	enum lcm_toml_type type;
	unsigned int line;      /* where it is written, from 1; 0: only its members are */
	unsigned int column;    /* from 1 */
	char *key;              /* owned; in a table, else NULL */
	char *string;           /* owned; no NUL inside; of LCM_TOML_STRING, else NULL */
	bool boolean;           /* of LCM_TOML_BOOL */
	struct lcm_toml *items; /* owned; of tables and arrays, in the order of the text */
	size_t n;
};

/**
 * lcm_toml_parse - parse a whole document
 * @text: UTF-8, need not end with NUL
 * @len:  bytes
 * @ret:  its root, a table; owned by the caller; untouched on failure
 *
 * Return: 0; -EUCLEAN (@err has "line N, column M: what"); -EFBIG (over LCM_TOML_MAX, or deeper
 * than LCM_TOML_DEPTH_MAX); -ENOMEM.
 */
LCM_MUST_USE int lcm_toml_parse(const char *text, size_t len, struct lcm_toml **ret,
				struct lcm_err *err);
void lcm_toml_free(struct lcm_toml *t);
/** lcm_toml_get - the member @key of a table; NULL: none; borrowed. */
const struct lcm_toml *lcm_toml_get(const struct lcm_toml *t, const char *key);

#ifdef __cplusplus
}
#else
LCM_DEFINE_AUTO(lcm_toml)
#endif

#endif
