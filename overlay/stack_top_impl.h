/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stack_top_impl.h - what stack_top.c and stack_links.c share.
 *
 * Layer: overlay, private to them. Threads: one owner.
 */
#ifndef LCM_STACK_TOP_IMPL_H
#define LCM_STACK_TOP_IMPL_H

#include <limits.h>

#include "overlay/stack_top.h"

struct lcm_stack {
	const int *layers; /* borrowed */
	size_t n;
	int out;        /* borrowed */
	size_t at;      /* the layer that is walked */
	bool needed;    /* something is in @out */
	uint64_t steps; /* directories opened to look for something */
	struct lcm_err *err;
};

/* Some ten seconds, whatever the layers say. */
#define LCM_STACK_STEPS_MAX (1U << 24)

enum lcm_stack_found {
	LCM_STACK_NOT,
	LCM_STACK_FOUND,
	LCM_STACK_END, /* lower layers are hidden here */
};

/**
 * lcm_stack_look - looks for @path ("": the root) in one layer
 * @ret_dir:  the directory it is in, for the caller to close; untouched unless found
 * @ret_name: its name there, in @path; "." for the root
 * @hides:    a directory above it is opaque there
 */
enum lcm_stack_found lcm_stack_look(struct lcm_stack *m, size_t layer, const char *path,
				    int *ret_dir, const char **ret_name, bool *hides);
/** lcm_stack_steps - Return: 0; -EFBIG once it has been looked for too much. */
LCM_MUST_USE int lcm_stack_steps(struct lcm_stack *m, const char *path);
/** lcm_stack_marked - does directory @fd have @xattr? */
bool lcm_stack_marked(int fd, const char *xattr);
/** lcm_stack_make - directory @path in @m->out, with those above it. */
LCM_MUST_USE int lcm_stack_make(struct lcm_stack *m, const char *path);

typedef int (*lcm_stack_fn)(struct lcm_stack *m, int fd, const char *path, void *arg);
/** lcm_stack_walk - @fn for every directory below and with @root, before or after what is in it.
 * Return: 0; what @fn returned; -errno. */
LCM_MUST_USE int lcm_stack_walk(struct lcm_stack *m, int root, bool after, lcm_stack_fn fn,
				void *arg);

/** lcm_stack_links - in @m->out every file that has a hardlink in a higher layer. */
LCM_MUST_USE int lcm_stack_links(struct lcm_stack *m);
/** lcm_stack_copy_attr - lcm_dir_copy_attr() for any type of file, no link followed. */
LCM_MUST_USE int lcm_stack_copy_attr(int from_dir, const char *from, int to_dir, const char *to);

#endif
