/* SPDX-License-Identifier: Apache-2.0 */
#include "src/base/err.h"

#include <stdio.h>
#include <string.h>

static void sanitize(char *s)
{
	for (; *s; s++)
		if ((unsigned char)*s < 0x20 || *s == 0x7f)
			*s = '?';
}

int lcm_err_set(struct lcm_err *err, int code, const char *fmt, ...)
{
	va_list ap;

	if (!err)
		return code;
	err->code = code;
	va_start(ap, fmt);
	(void)vsnprintf(err->msg, sizeof(err->msg), fmt, ap);
	va_end(ap);
	sanitize(err->msg);
	return code;
}

int lcm_err_prefix(struct lcm_err *err, int code, const char *fmt, ...)
{
	char head[LCM_ERR_MSG_MAX / 2], rest[LCM_ERR_MSG_MAX];
	va_list ap;

	if (!err)
		return code;
	va_start(ap, fmt);
	(void)vsnprintf(head, sizeof(head), fmt, ap);
	va_end(ap);
	(void)snprintf(rest, sizeof(rest), "%s", lcm_err_text(err, code));
	err->code = code;
	(void)snprintf(err->msg, sizeof(err->msg), "%s: %.*s", head,
		       (int)(sizeof(err->msg) - strlen(head) - 3), rest);
	sanitize(err->msg);
	return code;
}

const char *lcm_err_text(const struct lcm_err *err, int code)
{
	if (err && err->code && err->msg[0])
		return err->msg;
	return strerror(code < 0 ? -code : code);
}
