/* SPDX-License-Identifier: Apache-2.0 */
/*
 * metrics.h - the daemon's counters as Prometheus reads them: GET /metrics.
 *
 * Layer: daemon. Threads: loop. Source: Prometheus text exposition format 0.0.4.
 */
#ifndef LCM_METRICS_H
#define LCM_METRICS_H

#include "src/base/buf.h"
#include "src/daemon/session.h"

#define LCM_METRICS_TYPE "text/plain; version=0.0.4; charset=utf-8"

/** lcm_metrics_write - append everything to @out. Return: 0, -ENOMEM, -EFBIG, -errno of the store.
 */
LCM_MUST_USE int lcm_metrics_write(struct lcm_host *h, struct lcm_buf *out);

#endif
