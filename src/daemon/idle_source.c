/* SPDX-License-Identifier: Apache-2.0 */
#include "src/daemon/idle_source.h"

#include <stdio.h>
#include <string.h>

#include "src/base/sys.h"

int lcm_idle_parse(const char *text, long hz, uint64_t *ret_ns)
{
	unsigned long long idle, iowait;

	if (hz < 1 || sscanf(text, "cpu %*u %*u %*u %19llu %19llu", &idle, &iowait) != 2 ||
	    idle > UINT64_MAX / 2000000000U || iowait > UINT64_MAX / 2000000000U)
		return -EUCLEAN;
	*ret_ns = (uint64_t)(idle + iowait) * (1000000000U / (uint64_t)hz);
	return 0;
}

static int kernel_read(void *arg, uint64_t *ret_ns)
{
	lcm_autoclose int fd = lcm_sys_openat(AT_FDCWD, "/proc/stat", O_RDONLY, 0);
	char text[256]; /* the first line */
	ssize_t n = fd < 0 ? fd : lcm_sys_read(fd, text, sizeof(text) - 1);

	(void)arg;
	if (n < 0)
		return (int)n;
	text[n] = '\0';
	return lcm_idle_parse(text, sysconf(_SC_CLK_TCK), ret_ns);
}

const struct lcm_idle_source lcm_idle_source_kernel = {
	.name = "idle time of the processors (/proc/stat)",
	.grain_ns = 10000000,
	.lags = true,
	.read = kernel_read,
};
