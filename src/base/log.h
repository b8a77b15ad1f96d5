/* SPDX-License-Identifier: Apache-2.0 */
/*
 * log.h - leveled log lines on stderr, syslog(3) levels.
 *
 * Layer: base. Threads: any. Modules log at LCM_LOG_DEBUG; only src/ and the
 * loop's top handler log at error level. No secrets: pass URLs through
 * lcm_log_redact().
 */
#ifndef LCM_LOG_H
#define LCM_LOG_H

#include "src/base/base.h"

enum lcm_log_level {
	LCM_LOG_ERR = 3,
	LCM_LOG_WARNING = 4,
	LCM_LOG_NOTICE = 5,
	LCM_LOG_INFO = 6,
	LCM_LOG_DEBUG = 7,
};

/** lcm_log_set_level - lines above @level are dropped; default LCM_LOG_NOTICE. Thread: any. */
void lcm_log_set_level(enum lcm_log_level level);
/** lcm_log - one line; values as key=value in @fmt. Control characters become '?'. */
void lcm_log(enum lcm_log_level level, const char *fmt, ...) LCM_PRINTF(2, 3);
/** lcm_log_redact - @url without user info and query, into @out (@len > 0); returns @out. */
const char *lcm_log_redact(const char *url, char *out, size_t len);

#define lcm_debug(...) lcm_log(LCM_LOG_DEBUG, __VA_ARGS__)

#endif
