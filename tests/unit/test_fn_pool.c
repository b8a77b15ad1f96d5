/* SPDX-License-Identifier: Apache-2.0 */
/* The pool of isolated functions: what a process has given up, whose memory it sees, who gets
 * which. */
#include <limits.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "decode/fn_host.h"
#include "tests/unit/test.h"

#define PROGRAM "./locum-decode"

struct fixture {
	struct lcm_fn_pool *pool;
	struct lcm_fn *fn;
	struct lcm_fn_mem *m;
	struct lcm_err err;
};

static int setup(void **state)
{
	const struct lcm_fn_config cfg = {
		.path = PROGRAM, .spare = 1, .max = 8, .first_uid = 1900000000
	};
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	if (lcm_fn_pool_new(&cfg, &f->pool, &f->err) < 0)
		fail_msg("%s", f->err.msg);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	lcm_fn_put(f->pool, f->fn);
	lcm_fn_mem_free(f->m);
	lcm_fn_pool_free(f->pool);
	free(f);
	return 0;
}

/* ---- isolation ---- */

static void proc_file(pid_t pid, const char *name, char **ret)
{
	char path[64];
	size_t len;

	(void)snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, name);
	assert_int_equal(lcm_read_file_at(AT_FDCWD, path, 1 << 20, ret, &len), 0);
}

static void it_has_given_up_everything(void **state)
{
	struct fixture *f = *state;
	lcm_autofree char *status = NULL, *maps = NULL;
	char path[64], link[64];
	pid_t pid;

	assert_int_equal(lcm_fn_take(f->pool, 1, &f->fn, &f->err), 0);
	pid = lcm_fn_pid(f->fn);
	proc_file(pid, "status", &status);
	assert_non_null(strstr(status, "NoNewPrivs:\t1"));
	assert_non_null(strstr(status, "Seccomp:\t2"));
	assert_non_null(strstr(status, "CapEff:\t0000000000000000"));
	assert_non_null(strstr(status, "CapBnd:\t") ? status : NULL);
	if (geteuid() == 0)
		assert_non_null(strstr(status, "Uid:\t19000000"));
	for (int fd = 4; fd < 64; fd++) {
		(void)snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)pid, fd);
		assert_true(readlink(path, link, sizeof(link)) < 0);
	}
	proc_file(pid, "maps", &maps);
	assert_null(strstr(maps, "memfd"));
}

/* Many tenants come and go: no function ever has the memory of another's job, and all memory is
 * new. */
static void memory_is_never_shared(void **state)
{
	struct fixture *f = *state;
	struct {
		struct lcm_fn *fn;
		struct lcm_fn_mem *m;
		uint64_t tenant;
		ino_t inode;
	} s[4] = { 0 };
	unsigned int seed = 7;

	for (int step = 0; step < 150; step++) {
		size_t i = (size_t)rand_r(&seed) % LCM_ARRAY_SIZE(s);

		if (s[i].fn) {
			memset(lcm_fn_mem_in(s[i].m), 0x5a, 4096);
			lcm_fn_put(f->pool, s[i].fn);
			lcm_fn_tenant_end(f->pool, s[i].tenant);
			lcm_fn_mem_free(s[i].m);
			s[i].fn = NULL;
			s[i].m = NULL;
		} else {
			struct stat st;

			s[i].tenant = (uint64_t)step + 1;
			assert_int_equal(lcm_fn_take(f->pool, s[i].tenant, &s[i].fn, &f->err), 0);
			assert_int_equal(lcm_fn_mem_new(8192, 8192, &s[i].m), 0);
			for (size_t k = 0; k < 8192; k++)
				assert_int_equal(lcm_fn_mem_in(s[i].m)[k], 0);
			assert_int_equal(lcm_fn_bind(s[i].fn, s[i].m, &f->err), 0);
			assert_int_equal(lcm_sys_fstat(s[i].m->in_fd, &st), 0);
			s[i].inode = st.st_ino;
		}
		for (size_t k = 0; k < LCM_ARRAY_SIZE(s); k++) {
			lcm_autofree char *maps = NULL;
			char ino[32];

			if (!s[k].fn)
				continue;
			proc_file(lcm_fn_pid(s[k].fn), "maps", &maps);
			for (size_t n = 0; n < LCM_ARRAY_SIZE(s); n++) {
				(void)snprintf(ino, sizeof(ino), " %llu ",
					       (unsigned long long)s[n].inode);
				if (s[n].fn)
					assert_int_equal(strstr(maps, ino) != NULL, n == k);
			}
		}
	}
	for (size_t i = 0; i < LCM_ARRAY_SIZE(s); i++) {
		lcm_fn_put(f->pool, s[i].fn);
		lcm_fn_mem_free(s[i].m);
	}
}

/* What the daemon gives cannot be changed behind its back. */
static void the_blobs_memory_is_read_only(void **state)
{
	struct lcm_fn_mem *m;
	(void)state;

	assert_int_equal(lcm_fn_mem_new(4096, 4096, &m), 0);
	assert_ptr_equal(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, m->in_fd, 0),
			 MAP_FAILED);
	assert_true(pwrite(m->in_fd, "x", 1, 0) < 0);
	assert_true(ftruncate(m->in_fd, 0) < 0);
	assert_true(ftruncate(m->out_fd, 0) < 0);
	lcm_fn_mem_free(m);
}

static void a_program_that_is_not_there(void **state)
{
	const struct lcm_fn_config cfg = { .path = "/nonexistent/locum-decode", .max = 1 };
	struct lcm_fn_pool *p = NULL;
	struct lcm_err err = { 0 };
	(void)state;

	assert_int_equal(lcm_fn_pool_new(&cfg, &p, &err), -ENOENT);
	assert_non_null(strstr(err.msg, "/nonexistent/locum-decode"));
	assert_null(p);
}

/* A function that cannot begin says nothing about the layer that it was wanted for. */
static void one_that_cannot_begin_blames_nobody(void **state)
{
	static const struct {
		const char *program, *says;
	} rows[] = { { "/bin/sleep", "hung" }, { "/bin/false", "ended" } };
	char *dir = test_mkdir();
	char path[PATH_MAX], good[PATH_MAX];
	(void)state;

	assert_non_null(realpath(PROGRAM, good));
	(void)snprintf(path, sizeof(path), "%s/locum-decode", dir);
	for (size_t i = 0; i < LCM_ARRAY_SIZE(rows); i++) {
		const struct lcm_fn_config cfg = {
			.path = path, .max = 4, .first_uid = 1900000000, .hang_ns = 200000000
		};
		lcm_auto(lcm_fn_pool) p = NULL;
		struct lcm_err err = { 0 };
		struct lcm_fn *fn, *none = NULL;

		assert_int_equal(symlink(good, path), 0);
		assert_int_equal(lcm_fn_pool_new(&cfg, &p, &err), 0);
		assert_int_equal(lcm_fn_take(p, 1, &fn, &err), 0);
		assert_int_equal(unlink(path), 0);
		assert_int_equal(symlink(rows[i].program, path), 0);
		assert_int_equal(lcm_fn_take(p, 2, &none, &err), -EAGAIN);
		assert_int_equal(err.code, -EAGAIN);
		if (!strstr(err.msg, rows[i].says))
			fail_msg("%s: %s", rows[i].program, err.msg);
		lcm_fn_put(p, fn);
		assert_int_equal(unlink(path), 0);
	}
	test_rmdir(dir);
}

/* What ends an idle one (an operator, the OOM killer) does not end the next job. */
static void a_dead_idle_one_is_not_handed_out(void **state)
{
	struct fixture *f = *state;
	siginfo_t i;
	pid_t pid;

	assert_int_equal(lcm_fn_take(f->pool, 1, &f->fn, &f->err), 0);
	pid = lcm_fn_pid(f->fn);
	lcm_fn_put(f->pool, f->fn);
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitid(P_PID, (id_t)pid, &i, WEXITED | WNOWAIT), 0);
	assert_int_equal(lcm_fn_take(f->pool, 1, &f->fn, &f->err), 0);
	assert_int_not_equal(lcm_fn_pid(f->fn), pid);
	assert_int_equal(lcm_fn_mem_new(4096, 4096, &f->m), 0);
	assert_int_equal(lcm_fn_bind(f->fn, f->m, &f->err), 0);
}

/* The only slot belongs to one that is about to die: who waits for it gets it. */
static void the_slot_of_a_dying_one_is_waited_for(void **state)
{
	const struct lcm_fn_config cfg = { .path = PROGRAM, .max = 1, .first_uid = 1900000000 };
	lcm_auto(lcm_fn_pool) p = NULL;
	struct lcm_err err = { 0 };
	(void)state;

	assert_int_equal(lcm_fn_pool_new(&cfg, &p, &err), 0);
	for (uint64_t tenant = 1; tenant <= 60; tenant++) {
		struct lcm_fn *fn;

		assert_int_equal(lcm_fn_take(p, tenant, &fn, &err), 0);
		lcm_fn_tenant_end(p, tenant);
		lcm_fn_put(p, fn);
	}
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(it_has_given_up_everything),
		T(memory_is_never_shared),
		cmocka_unit_test(the_blobs_memory_is_read_only),
		cmocka_unit_test(a_program_that_is_not_there),
		cmocka_unit_test(one_that_cannot_begin_blames_nobody),
		T(a_dead_idle_one_is_not_handed_out),
		cmocka_unit_test(the_slot_of_a_dying_one_is_waited_for),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
