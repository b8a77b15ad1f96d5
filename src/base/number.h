/* SPDX-License-Identifier: Apache-2.0 */
/* number.h - numbers and sizes as people write them. Layer: base. Pure. Threads: any. */
#ifndef LCM_NUMBER_H
#define LCM_NUMBER_H

#include "src/base/base.h"

/** lcm_number_parse - "123", with @suffixes also "8K", "8M", "8G". Return: 0, -EINVAL. */
LCM_MUST_USE int lcm_number_parse(const char *s, bool suffixes, uint64_t *ret);

#endif
