/* SPDX-License-Identifier: Apache-2.0 */
#include "src/base/sys.h"

#ifdef LCM_FAULTS

#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#define NAMES_MAX 96 /* functions of sys.c */

static _Atomic long left = -1, seen;
static _Atomic int error_now;
static _Atomic bool env_read;
static const char *only; /* names that count, separated by commas; NULL: all */

/* How often each was called, by the address of its name. */
static struct {
	const char *_Atomic name;
	_Atomic long n;
} calls[NAMES_MAX];

void lcm_fault_arm(long nth, int error)
{
	atomic_store(&env_read, true);
	atomic_store(&error_now, error);
	atomic_store(&seen, 0);
	atomic_store(&left, nth);
}

void lcm_fault_disarm(void)
{
	lcm_fault_arm(-1, 0);
}

long lcm_fault_count(void)
{
	return atomic_load(&seen);
}

static void from_env(void)
{
	const char *n = getenv("LCM_FAULT_NTH"), *e = getenv("LCM_FAULT_ERRNO");
	long nth = -1;
	int error = 0;

	only = getenv("LCM_FAULT_CALL");
	if (n && sscanf(n, "%ld", &nth) == 1 && e && sscanf(e, "%d", &error) == 1)
		lcm_fault_arm(nth, error);
	atomic_store(&env_read, true);
}

static void note(const char *call)
{
	for (size_t i = 0; i < NAMES_MAX; i++) {
		const char *none = NULL;

		if (atomic_load(&calls[i].name) == call ||
		    atomic_compare_exchange_strong(&calls[i].name, &none, call) || none == call) {
			atomic_fetch_add(&calls[i].n, 1);
			return;
		}
	}
}

static bool counts(const char *call)
{
	size_t len = strlen(call);

	for (const char *p = only; p; p = strchr(p, ',') ? strchr(p, ',') + 1 : NULL)
		if (strncmp(p, call, len) == 0 && (p[len] == ',' || !p[len]))
			return true;
	return !only;
}

int lcm_fault_at(const char *call)
{
	if (!atomic_load(&env_read))
		from_env();
	note(call);
	if (!counts(call))
		return 0;
	atomic_fetch_add(&seen, 1);
	if (atomic_load(&left) < 0 || atomic_fetch_sub(&left, 1) != 1)
		return 0;
	if (!atomic_load(&error_now))
		(void)kill(getpid(), SIGKILL);
	return -atomic_load(&error_now);
}

/* "NAME CALLS" of each, for sweeps: how many points there are. */
__attribute__((destructor)) static void tell(void)
{
	const char *path = getenv("LCM_FAULT_LOG");
	FILE *out = path ? fopen(path, "we") : NULL;

	for (size_t i = 0; out && i < NAMES_MAX && atomic_load(&calls[i].name); i++)
		(void)fprintf(out, "%s %ld\n", atomic_load(&calls[i].name),
			      atomic_load(&calls[i].n));
	if (out)
		(void)fclose(out);
}

#endif
