/* SPDX-License-Identifier: Apache-2.0 */
#include "src/cmd/progress.h"

#include <stdio.h>

#include "src/base/sys.h"
#include "src/cmd/client.h"
#include "src/cmd/cmd.h"

#define BAR 30

void progress_draw(struct progress *p, json_t *status)
{
	double total = client_number(status, "blob_bytes_total"),
	       local = client_number(status, "blob_bytes_local");
	char have[24], all[24], bar[BAR + 1];
	const char *phase = json_string_value(json_object_get(status, "phase"));
	int full = total > 0 ? (int)(LCM_MIN(local / total, 1.0) * BAR) : 0;

	if (!p->start_ns)
		p->start_ns = lcm_now_ns();
	if (!isatty(STDERR_FILENO) || lcm_now_ns() - p->start_ns < 1000000000ULL)
		return;
	for (int i = 0; i < BAR; i++)
		bar[i] = i < full ? '#' : '.';
	bar[BAR] = '\0';
	(void)fprintf(stderr, "\r\033[K%-9s [%s] %s of %s", phase ? phase : "", bar,
		      cmd_bytes(local, have), cmd_bytes(total, all));
	p->drawn = true;
}

void progress_end(struct progress *p)
{
	if (p->drawn)
		(void)fprintf(stderr, "\r\033[K");
	p->drawn = false;
}
