/* SPDX-License-Identifier: Apache-2.0 */
/*
 * quiet.c - a container that wants processors, as bench/quiet.sh and tests/integration/idle.sh use
 * it.
 *
 *   locum-bench-quiet burn MS N     N threads count for MS milliseconds; prints how far they came,
 * in millions locum-bench-quiet tick MS US    one thread wakes every US microseconds; prints
 * median, p99 and most lateness in us
 *
 * It stays in the cgroup that it is started in.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "src/base/number.h"
#include "src/base/sys.h"

#define THREADS_MAX 256U
#define TICKS_MAX 1000000U

static atomic_bool over;

static void sleep_until(uint64_t ns)
{
	const struct timespec ts = { .tv_sec = (time_t)(ns / 1000000000U),
				     .tv_nsec = (long)(ns % 1000000000U) };

	(void)clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL);
}

static void *burner(void *arg)
{
	uint64_t *ret = arg, n = 0;

	while (!atomic_load_explicit(&over, memory_order_relaxed))
		n++;
	*ret = n;
	return NULL;
}

static int burn(uint64_t ms, uint64_t n)
{
	static uint64_t counts[THREADS_MAX];
	pthread_t threads[THREADS_MAX];
	uint64_t sum = 0, end = lcm_now_ns() + ms * 1000000;

	if (n < 1 || n > THREADS_MAX)
		return 2;
	for (uint64_t i = 0; i < n; i++)
		if (pthread_create(&threads[i], NULL, burner, &counts[i]) != 0)
			return 1;
	sleep_until(end);
	atomic_store(&over, true);
	for (uint64_t i = 0; i < n; i++) {
		(void)pthread_join(threads[i], NULL);
		sum += counts[i];
	}
	return printf("%.1f\n", (double)sum / 1e6) < 0;
}

static int by_size(const void *a, const void *b)
{
	const double *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

static int tick(uint64_t ms, uint64_t us)
{
	lcm_autofree double *late = calloc(TICKS_MAX, sizeof(*late));
	uint64_t due = lcm_now_ns(), end = due + ms * 1000000;
	size_t n = 0;

	if (!late || us < 1)
		return 2;
	while (due < end && n < TICKS_MAX) {
		due += us * 1000;
		sleep_until(due);
		late[n++] = (double)(lcm_now_ns() - due) / 1e3;
	}
	qsort(late, n, sizeof(*late), by_size);
	return printf("%.0f %.0f %.0f\n", late[n / 2], late[n * 99 / 100], late[n - 1]) < 0;
}

int main(int argc, char **argv)
{
	uint64_t ms, n;

	if (argc != 4 || lcm_number_parse(argv[2], false, &ms) < 0 ||
	    lcm_number_parse(argv[3], false, &n) < 0)
		return 2;
	if (strcmp(argv[1], "burn") == 0)
		return burn(ms, n);
	return strcmp(argv[1], "tick") == 0 ? tick(ms, n) : 2;
}
