/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A script of store operations that is killed, or meets an error, at every single system
 * call; then the directory is opened again. Needs --enable-faults, is skipped without.
 */
#include <signal.h>
#include <sys/wait.h>

#include "tests/unit/test_store.h"

#ifdef LCM_FAULTS

#define CALLS_MAX 2000 /* the script makes some hundred */

static const struct lcm_digest manifest = { .b = { 3 } };

/* What the script has been promised is durable; told through a pipe, as the teller dies. */
enum promise {
	PROMISE_LAYER = 'l',
	PROMISE_TOC = 't',
	PROMISE_IMAGE = 'i',
	PROMISE_MOUNT = 'm',
	PROMISE_COMPLETE = 'c',
	PROMISE_UNMOUNT = 'u',
	PROMISE_DROP = 'd',
};

/* In memory: a killed process loses nothing that a disk would keep, and thousands of syncs cost
 * nothing. */
static char *fast_mkdir(void)
{
	char *p = strdup("/dev/shm/locum-test.XXXXXX");

	assert_non_null(p);
	if (mkdtemp(p))
		return p;
	free(p);
	return test_mkdir();
}

static int promise(int fd, int r, char what)
{
	if (r == 0 && fd >= 0 && write(fd, &what, 1) != 1)
		return -EPIPE;
	return r;
}

static int pull(struct lcm_store *s, int tell)
{
	struct lcm_mount_row m = {
		.id = "web", .image = (char *)"a", .target = (char *)"/t", .n_layers = 2
	};
	struct lcm_layer_key one = test_key(1), two = test_key(2);
	struct lcm_layer_row a, b;
	int64_t ids[2];
	int r = promise(tell, lcm_store_layer_add(s, &one, TEST_BLOB_SIZE, &a, NULL),
			PROMISE_LAYER);

	if (r == 0)
		r = lcm_store_layer_add(s, &two, TEST_BLOB_SIZE, &b, NULL);
	if (r == 0)
		r = test_layer_write(s, a.id);
	if (r == 0)
		r = promise(tell, lcm_store_layer_set_toc(s, a.id), PROMISE_TOC);
	if (r == 0)
		r = test_layer_write(s, b.id);
	if (r == 0)
		r = promise(tell,
			    test_image_put(s, "a", &manifest, "manifest", 8, "config", 6, NULL),
			    PROMISE_IMAGE);
	if (r < 0)
		return r;
	ids[0] = a.id;
	ids[1] = b.id;
	m.layers = ids;
	r = lcm_store_image_set_layers(s, "a", ids, 2);
	if (r == 0)
		r = promise(tell, lcm_store_mount_put(s, &m, NULL), PROMISE_MOUNT);
	if (r == 0)
		r = lcm_sys_mkdirat(lcm_store_containers_fd(s), "web", 0700);
	if (r == 0)
		r = promise(tell, lcm_store_layer_complete(s, a.id, 4), PROMISE_COMPLETE);
	if (r == 0)
		r = lcm_store_layer_complete(s, b.id, 4);
	if (r == 0)
		r = promise(tell, lcm_store_mount_remove(s, "web"), PROMISE_UNMOUNT);
	return r < 0 ? r : promise(tell, lcm_store_layer_drop(s, b.id, false, NULL), PROMISE_DROP);
}

static int script(const char *root, int tell)
{
	struct lcm_store *s = NULL;
	int r = lcm_store_open(root, &s, NULL);

	if (r < 0)
		return r;
	r = pull(s, tell);
	if (r == 0)
		r = lcm_store_sweep(s);
	lcm_store_close(s);
	return r;
}

static void check_promises(const char *root, const char *said)
{
	struct lcm_layer_key one = test_key(1), two = test_key(2);
	struct lcm_image_row image = { 0 };
	struct lcm_mount_row m = { 0 };
	struct lcm_layer_row row = { 0 };
	struct lcm_store *s = NULL;
	int r;

	assert_int_equal(lcm_store_open(root, &s, NULL), 0);
	if (strchr(said, PROMISE_LAYER))
		assert_int_equal(lcm_store_layer_find(s, &one, &row), 0);
	if (strchr(said, PROMISE_TOC))
		assert_true(row.has_toc);
	if (strchr(said, PROMISE_COMPLETE))
		assert_int_equal(row.state, LCM_LAYER_COMPLETE);
	if (strchr(said, PROMISE_IMAGE)) {
		assert_int_equal(lcm_store_image_get(s, "a", &image), 0);
		assert_string_equal(image.manifest_json, "manifest");
		assert_string_equal(image.config_json, "config");
		lcm_image_row_fini(&image);
	}
	r = lcm_store_mount_get(s, "web", &m);
	if (strchr(said, PROMISE_UNMOUNT))
		assert_int_equal(r, -ENOENT);
	else if (strchr(said, PROMISE_MOUNT) && !strchr(said, PROMISE_COMPLETE))
		assert_int_equal(r, 0);
	lcm_mount_row_fini(&m);
	if (strchr(said, PROMISE_DROP))
		assert_int_equal(lcm_store_layer_find(s, &two, &row), -ENOENT);
	lcm_store_close(s);
}

/* Runs the script in a child that dies at its @n-th call. Return: was it killed? */
static bool killed_at(const char *root, long n, char said[16])
{
	int fds[2], status = 0;
	ssize_t len;
	pid_t pid;

	assert_int_equal(pipe(fds), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		(void)close(fds[0]);
		lcm_fault_arm(n, 0);
		_exit(script(root, fds[1]) == 0 ? 0 : 1);
	}
	(void)close(fds[1]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	len = read(fds[0], said, 15);
	assert_true(len >= 0);
	said[len] = '\0';
	(void)close(fds[0]);
	assert_true((WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) ||
		    (WIFEXITED(status) && WEXITSTATUS(status) == 0));
	return WIFSIGNALED(status);
}

static void killed_everywhere(void **state)
{
	long n = 0;
	bool killed;

	(void)state;
	do {
		char *root = fast_mkdir(), said[16];

		killed = killed_at(root, ++n, said);
		test_invariants(root);
		check_promises(root, said);
		test_rmdir(root);
	} while (killed && n < CALLS_MAX);
	print_message("killed at %ld calls\n", n - 1);
	assert_in_range(n, 50, CALLS_MAX - 1);
}

static void errors_everywhere(void **state)
{
	static const int errors[] = { ENOSPC, EIO };

	(void)state;
	for (size_t e = 0; e < LCM_ARRAY_SIZE(errors); e++) {
		long n = 0, seen, failed = 0;

		do {
			char *root = fast_mkdir();
			int r;

			lcm_fault_arm(++n, errors[e]);
			r = script(root, -1);
			seen = lcm_fault_count();
			lcm_fault_disarm();
			failed += r < 0;
			/* The error comes out as it is, or somebody could do without that call. */
			assert_true(r == 0 || r == -errors[e]);
			test_invariants(root);
			test_rmdir(root);
		} while (seen >= n && n < CALLS_MAX);
		print_message("error %d at %ld calls, %ld of them failed the script\n", errors[e],
			      n - 1, failed);
		assert_in_range(n, 50, CALLS_MAX - 1);
		assert_true(failed > n / 2);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(killed_everywhere),
		cmocka_unit_test(errors_everywhere),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

#else

int main(void)
{
	return 77; /* built without --enable-faults */
}

#endif
