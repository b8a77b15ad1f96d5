/* SPDX-License-Identifier: Apache-2.0 */
/* progress.h - one line on a terminal for what takes over a second. Layer: cmd. */
#ifndef LCM_PROGRESS_H
#define LCM_PROGRESS_H

#include <jansson.h>

#include "src/base/base.h"

struct progress {
	uint64_t start_ns; /* of the first draw; 0: not yet */
	bool drawn;
};

/** progress_draw - redraw from a status; nothing unless stderr is a terminal and a second has
 * passed. */
void progress_draw(struct progress *p, json_t *status);
/** progress_end - clear the line. */
void progress_end(struct progress *p);

#endif
