/* SPDX-License-Identifier: Apache-2.0 */
/* fn_box.c - what a function gives up before it looks at the first byte. */
#include <grp.h>
#include <linux/landlock.h>
#include <seccomp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "decode/fn.h"
#include "src/base/sys.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

static long landlock_abi(void)
{
	return syscall(SYS_landlock_create_ruleset, NULL, 0UL, LANDLOCK_CREATE_RULESET_VERSION);
}

/* Every right that the first version knows, granted nowhere. */
static int file_system(void)
{
	struct landlock_ruleset_attr a = { .handled_access_fs = (LANDLOCK_ACCESS_FS_MAKE_SYM << 1) -
								1 };
	lcm_autoclose int fd = -EBADF;

	if (landlock_abi() < 1)
		return 0;
	fd = (int)lcm_errno(syscall(SYS_landlock_create_ruleset, &a, sizeof(a), 0UL));
	return fd < 0 ? fd : (int)lcm_errno(syscall(SYS_landlock_restrict_self, fd, 0UL));
}

/* Without landlock: the emptiest directory there is. No name can be opened anyway, see calls(). */
static int root(void)
{
	int r;

	if (geteuid() != 0 || landlock_abi() >= 1)
		return 0;
	r = (int)lcm_errno(chroot("/proc/self/fdinfo"));
	return r < 0 ? r : (int)lcm_errno(chdir("/"));
}

static int limits(void)
{
	static const struct {
		int what;
		rlim_t to;
	} rows[] = {
		{ RLIMIT_CORE, 0 },  { RLIMIT_FSIZE, 0 },          { RLIMIT_NOFILE, 8 },
		{ RLIMIT_NPROC, 1 }, { RLIMIT_AS, LCM_FN_AS_MAX },
	};
	int r = 0;

	for (size_t i = 0; r == 0 && i < LCM_ARRAY_SIZE(rows); i++) {
		const struct rlimit l = { .rlim_cur = rows[i].to, .rlim_max = rows[i].to };

		/* The sanitizers' shadow is larger than any limit. */
		if (!SANITIZED || rows[i].what != RLIMIT_AS)
			r = (int)lcm_errno(setrlimit((__rlimit_resource_t)rows[i].what, &l));
	}
	return r;
}

static int user(uint32_t uid)
{
	int r;

	if (!uid || geteuid() != 0)
		return 0;
	r = (int)lcm_errno(setgroups(0, NULL));
	if (r == 0)
		r = (int)lcm_errno(setresgid(uid, uid, uid));
	return r < 0 ? r : (int)lcm_errno(setresuid(uid, uid, uid));
}

/* After the user: a change of user forgets PDEATHSIG. It reaches one that is stopped, too. */
static int no_privileges(void)
{
	int r = (int)lcm_errno(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));

	if (r == 0)
		r = (int)lcm_errno(prctl(PR_SET_DUMPABLE, 0));
	return r < 0 ? r : (int)lcm_errno(prctl(PR_SET_PDEATHSIG, SIGKILL));
}

/* Default: death. */
static int calls(void)
{
	static const int allowed[] = {
		SCMP_SYS(read),       SCMP_SYS(write),        SCMP_SYS(close),
		SCMP_SYS(recvfrom),   SCMP_SYS(recvmsg),      SCMP_SYS(sendto),
		SCMP_SYS(munmap),     SCMP_SYS(mremap),       SCMP_SYS(brk),
		SCMP_SYS(madvise),    SCMP_SYS(futex),        SCMP_SYS(clock_gettime),
		SCMP_SYS(getrandom),  SCMP_SYS(rt_sigreturn), SCMP_SYS(exit),
		SCMP_SYS(exit_group),
	};
	/* A library that looks for a file, or asks how much memory there is (qsort), learns
	 * nothing. */
	static const int refused[] = { SCMP_SYS(openat), SCMP_SYS(sysinfo) };
	static const int sanitizers[] = {
		SCMP_SYS(getpid),      SCMP_SYS(gettid),       SCMP_SYS(sigaltstack),
		SCMP_SYS(sched_yield), SCMP_SYS(rt_sigaction), SCMP_SYS(rt_sigprocmask),
		SCMP_SYS(mprotect),
	};
	scmp_filter_ctx c = seccomp_init(SANITIZED ? SCMP_ACT_ERRNO(EPERM) : SCMP_ACT_KILL_PROCESS);
	int r = c ? 0 : -ENOMEM;

	for (size_t i = 0; r == 0 && i < LCM_ARRAY_SIZE(allowed); i++)
		r = seccomp_rule_add(c, SCMP_ACT_ALLOW, allowed[i], 0);
	for (size_t i = 0; r == 0 && i < LCM_ARRAY_SIZE(refused); i++)
		r = seccomp_rule_add(c, SCMP_ACT_ERRNO(EACCES), refused[i], 0);
	for (size_t i = 0; r == 0 && SANITIZED && i < LCM_ARRAY_SIZE(sanitizers); i++)
		r = seccomp_rule_add(c, SCMP_ACT_ALLOW, sanitizers[i], 0);
	if (r == 0)
		r = seccomp_rule_add(c, SCMP_ACT_ALLOW, SCMP_SYS(mmap), 1,
				     SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
	if (r == 0)
		r = seccomp_load(c);
	seccomp_release(c);
	return r;
}

int lcm_fn_confine(uint32_t uid, const char **ret_what)
{
	int r;

	*ret_what = "chroot";
	r = root();
	if (r == 0) {
		*ret_what = "setresuid";
		r = user(uid);
	}
	if (r == 0) {
		*ret_what = "prctl";
		r = no_privileges();
	}
	if (r == 0) {
		*ret_what = "landlock";
		r = file_system();
	}
	if (r == 0) {
		*ret_what = "setrlimit";
		r = limits();
	}
	if (r == 0) {
		*ret_what = "seccomp";
		r = calls();
	}
	return r;
}
