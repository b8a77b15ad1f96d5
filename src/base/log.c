/* SPDX-License-Identifier: Apache-2.0 */
#include "src/base/log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static _Atomic int log_level = LCM_LOG_NOTICE;

void lcm_log_set_level(enum lcm_log_level level)
{
	atomic_store(&log_level, (int)level);
}

void lcm_log(enum lcm_log_level level, const char *fmt, ...)
{
	static const char *const names[] = { "",        "",       "",     "error",
					     "warning", "notice", "info", "debug" };
	char line[1200];
	struct timespec ts;
	struct tm tm;
	va_list ap;
	int n, m;

	if ((int)level > atomic_load_explicit(&log_level, memory_order_relaxed))
		return;
	(void)clock_gettime(CLOCK_REALTIME, &ts);
	(void)gmtime_r(&ts.tv_sec, &tm);
	n = (int)strftime(line, sizeof(line), "%Y-%m-%dT%H:%M:%S", &tm);
	n += snprintf(line + n, sizeof(line) - (size_t)n, ".%03ldZ %s ", ts.tv_nsec / 1000000,
		      names[level]);
	va_start(ap, fmt);
	m = vsnprintf(line + n, sizeof(line) - (size_t)n - 1, fmt, ap);
	va_end(ap);
	n = LCM_MIN(n + LCM_MAX(m, 0), (int)sizeof(line) - 2);
	for (int i = 0; i < n; i++)
		if ((unsigned char)line[i] < 0x20 || line[i] == 0x7f)
			line[i] = '?';
	line[n++] = '\n';
	if (write(STDERR_FILENO, line, (size_t)n) < 0)
		return;
}

const char *lcm_log_redact(const char *url, char *out, size_t len)
{
	const char *host = strstr(url, "://");
	const char *scheme_end = host ? host + 3 : url;
	size_t authority = strcspn(scheme_end, "/?#");
	const char *at = memchr(scheme_end, '@', authority);
	const char *start = at ? at + 1 : scheme_end;

	(void)snprintf(out, len, "%.*s%.*s", (int)(scheme_end - url), url,
		       (int)strcspn(start, "?#"), start);
	return out;
}
