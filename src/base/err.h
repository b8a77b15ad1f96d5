/* SPDX-License-Identifier: Apache-2.0 */
/*
 * err.h - the one error convention: -errno plus an optional text by value.
 *
 * Layer: base. Threads: an lcm_err belongs to whoever declared it; copy it to
 * cross threads. Functions never require it: NULL is always allowed.
 */
#ifndef LCM_ERR_H
#define LCM_ERR_H

#include <stdarg.h>

#include "src/base/base.h"

#define LCM_ERR_MSG_MAX 512 /* long enough for a reference, a digest and advice */

/** struct lcm_err - why a cold-path call failed
 * @code: negative errno, 0 when no error was recorded
 * @msg:  NUL-terminated English, names the thing and the way out, no newline
 */
struct lcm_err {
	int code;
	char msg[LCM_ERR_MSG_MAX];
};

/**
 * lcm_err_set - record an error and return its code
 * @err:  may be NULL
 * @code: negative errno
 * @fmt:  text; control characters in the result are replaced by '?'
 *
 * Return: @code, so that "return lcm_err_set(err, -EINVAL, ...)" reads well.
 */
int lcm_err_set(struct lcm_err *err, int code, const char *fmt, ...) LCM_PRINTF(3, 4);

/**
 * lcm_err_prefix - put "prefix: " before a recorded text
 *
 * Does nothing when @err is NULL. When no text was recorded, strerror(code) is used.
 * Return: @code.
 */
int lcm_err_prefix(struct lcm_err *err, int code, const char *fmt, ...) LCM_PRINTF(3, 4);

/** lcm_err_text - the recorded text, or strerror(-code); never NULL. Thread: any. */
const char *lcm_err_text(const struct lcm_err *err, int code);

#endif
