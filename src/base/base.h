/* SPDX-License-Identifier: Apache-2.0 */
/*
 * base.h - attributes, ownership helpers and cleanup used everywhere.
 *
 * Layer: base. Threads: everything here is pure.
 */
#ifndef LCM_BASE_H
#define LCM_BASE_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#define LCM_MUST_USE __attribute__((warn_unused_result))
#define LCM_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#define LCM_CLEANUP(fn) __attribute__((cleanup(fn)))

/* Roles of functions (see HACKING.md); documentation checked by eye and TSan. */
#define LCM_ON(role)

#define LCM_ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define LCM_MIN(a, b) ((a) < (b) ? (a) : (b))
#define LCM_MAX(a, b) ((a) > (b) ? (a) : (b))

/* Ignore a must-use result on purpose. */
static inline void lcm_ignore(int r)
{
	(void)r;
}

static inline void lcm_freep(void *p)
{
	free(*(void **)p);
}

/* Closes and forgets a descriptor; keeps errno; -EBADF is never closed. */
static inline void lcm_closep(int *fd)
{
	int saved = errno;

	if (*fd >= 0)
		(void)close(*fd);
	*fd = -EBADF;
	errno = saved;
}

#define lcm_autofree LCM_CLEANUP(lcm_freep)
#define lcm_autoclose LCM_CLEANUP(lcm_closep)

/* Define lcm_auto(type) support for "struct type" with type##_free(struct type *). */
#define LCM_DEFINE_AUTO(type)                                                                      \
	static inline void type##_freep(struct type **p)                                           \
	{                                                                                          \
		type##_free(*p);                                                                   \
	}
#define lcm_auto(type) LCM_CLEANUP(type##_freep) struct type *

/* Move ownership out of a variable. */
#define lcm_steal(p)                                                                               \
	({                                                                                         \
		__typeof__(p) p_ = (p);                                                            \
		__typeof__(*p_) v_ = *p_;                                                          \
		*p_ = NULL;                                                                        \
		v_;                                                                                \
	})

static inline int lcm_steal_fd(int *fd)
{
	int v = *fd;

	*fd = -EBADF;
	return v;
}

#define lcm_container_of(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))

#endif
