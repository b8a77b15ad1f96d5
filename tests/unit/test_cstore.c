/* SPDX-License-Identifier: Apache-2.0 */
/* The image store's files: what is added is found, names move, what is removed is gone. */
#include "tests/unit/test.h"

#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "src/base/base64.h"
#include "src/base/limits.h"
#include "src/base/sys.h"
#include "src/cmd/cstore.h"

static char dir[] = "/tmp/locum-cstore-XXXXXX";

static void open_store(struct lcm_cstore *c)
{
	struct lcm_err err = { 0 };

	if (lcm_cstore_open(dir, c, &err) < 0)
		fail_msg("%s", err.msg);
}

static void add(const char *name, const char *config, int want, char layer[LCM_CSTORE_LAYER])
{
	const struct lcm_cstore_image img = { name, config, "{\"manifest\":1}", 12345 };
	lcm_autofree char *diff = NULL;
	struct lcm_err err = { 0 };
	struct lcm_cstore c;
	struct stat st;

	open_store(&c);
	assert_int_equal(lcm_cstore_new_layer(&c, layer, &diff, &err), 0);
	assert_int_equal(stat(diff, &st), 0);
	assert_true(S_ISDIR(st.st_mode));
	assert_int_equal(lcm_cstore_add(&c, layer, &img, &err), want);
	if (want < 0)
		lcm_cstore_drop_layer(dir, layer);
	lcm_cstore_close(&c);
}

static size_t names_of(const char *name)
{
	struct lcm_cstore c;
	size_t n;

	open_store(&c);
	n = json_array_size(json_object_get(lcm_cstore_find(&c, name), "names"));
	lcm_cstore_close(&c);
	return n;
}

static void images_come_and_go(void **state)
{
	char one[LCM_CSTORE_LAYER], two[LCM_CSTORE_LAYER], none[LCM_CSTORE_LAYER], path[256];
	struct lcm_err err = { 0 };
	struct lcm_cstore c;
	json_t *image;

	(void)state;
	add("h/x:1", "{\"a\":1}", 0, one);
	add("h/x:1", "{\"a\":1}", -EEXIST, none);
	add("h/x:2", "{\"a\":1}", -EEXIST, none); /* the same image gets a second name */
	assert_int_equal(names_of("h/x:1"), 2);
	add("h/x:1", "{\"a\":2}", 0, two); /* the tag has moved */
	assert_int_equal(names_of("h/x:2"), 1);
	open_store(&c);
	assert_int_equal(json_array_size(c.images), 2);
	assert_int_equal(json_array_size(c.layers), 2);
	image = lcm_cstore_find(&c, "h/x:1");
	assert_string_equal(lcm_cstore_layer(image), two);
	/* sha256 of {"a":1}: by the first digits of its id, but not by fewer than 12 */
	assert_ptr_equal(
	    lcm_cstore_find(&c, "015abd7f5cc57a2dd94b7590f04ad8084273905ee33ec5cebeae62276a97f862"),
	    lcm_cstore_find(&c, "h/x:2"));
	assert_ptr_equal(lcm_cstore_find(&c, "015abd7f5cc5"), lcm_cstore_find(&c, "h/x:2"));
	assert_null(lcm_cstore_find(&c, "015abd7f5cc"));
	assert_int_equal(lcm_cstore_in_use(two, &err), 0);
	assert_int_equal(lcm_cstore_remove(&c, image, &err), 0);
	lcm_cstore_drop_layer(dir, two);
	lcm_cstore_close(&c);
	open_store(&c);
	assert_null(lcm_cstore_find(&c, "h/x:1"));
	assert_int_equal(json_array_size(c.layers), 1);
	(void)snprintf(path, sizeof(path), "%s/overlay/%s", dir, two);
	assert_int_equal(access(path, F_OK), -1);
	(void)snprintf(path, sizeof(path), "%s/overlay/%s/link", dir, one);
	assert_int_equal(access(path, F_OK), 0);
	lcm_cstore_close(&c);
}

static void damaged_lists_are_named(void **state)
{
	static const char *const bad[] = { "", "{}", "[", "\"x\"", "[1]" };
	struct lcm_err err = { 0 };
	struct lcm_cstore c;
	char path[256];

	(void)state;
	(void)snprintf(path, sizeof(path), "%s/overlay-images/images.json", dir);
	for (size_t i = 0; i < LCM_ARRAY_SIZE(bad); i++) {
		int r;

		assert_int_equal(lcm_write_file_at(AT_FDCWD, path, bad[i], strlen(bad[i]), 0600),
				 0);
		r = lcm_cstore_open(dir, &c, &err);
		if (i + 1 < LCM_ARRAY_SIZE(bad)) {
			assert_int_equal(r, -EUCLEAN);
			assert_non_null(strstr(err.msg, "images.json"));
			continue;
		}
		/* what is no image has no name, no layer, and can be removed */
		assert_int_equal(r, 0);
		assert_null(lcm_cstore_find(&c, "x"));
		assert_string_equal(lcm_cstore_layer(json_array_get(c.images, 0)), "");
		lcm_cstore_close(&c);
	}
}

#ifdef LCM_FAULTS
/* An overlay on @layer in a mount namespace of our own, which a second process shares. */
static pid_t mount_on(const char *layer)
{
	char options[256], target[64];
	pid_t pid;

	(void)snprintf(target, sizeof(target), "%s/m", dir);
	(void)snprintf(options, sizeof(options), "lowerdir=%s/overlay/%s/diff:%s/overlay/l", dir,
		       layer, dir);
	assert_int_equal(lcm_mkdir_p(target, 0700), 0);
	assert_int_equal(unshare(CLONE_NEWNS), 0);
	assert_int_equal(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), 0);
	assert_int_equal(mount("overlay", target, "overlay", MS_RDONLY, options), 0);
	pid = fork();
	if (pid == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		(void)pause();
		_exit(0);
	}
	assert_true(pid > 0);
	return pid;
}

/* Whatever read fails: one that shows the mount is enough, and none is not the same as no mount. */
static void unread_is_not_unused(void **state)
{
	static const int gone[] = { ENOENT, ESRCH, EINVAL }, broken[] = { EACCES, EIO, EMFILE };
	char layer[LCM_CSTORE_LAYER], target[64];
	struct lcm_err err = { 0 };
	long n;
	pid_t pid;

	(void)state;
	if (geteuid() != 0)
		skip();
	add("h/used:1", "{\"used\":1}", 0, layer);
	pid = mount_on(layer);
	lcm_fault_disarm();
	assert_int_equal(lcm_cstore_in_use(layer, &err), 1);
	n = lcm_fault_count();
	assert_true(n >= 2);
	for (size_t i = 0; i < LCM_ARRAY_SIZE(gone); i++)
		for (long nth = 1; nth <= n; nth++) {
			lcm_fault_arm(nth, gone[i]);
			if (lcm_cstore_in_use(layer, &err) != 1)
				fail_msg("error %d of call %ld", gone[i], nth);
		}
	for (size_t i = 0; i < LCM_ARRAY_SIZE(broken); i++)
		for (long nth = 1; nth <= n; nth++) {
			int r;

			lcm_fault_arm(nth, broken[i]);
			r = lcm_cstore_in_use(layer, &err);
			if (r == 0 || (r < 0 && !strstr(err.msg, "/proc/")))
				fail_msg("error %d of call %ld: %d, %s", broken[i], nth, r,
					 err.msg);
		}
	lcm_fault_disarm();
	(void)kill(pid, SIGKILL);
	(void)waitpid(pid, NULL, 0);
	(void)snprintf(target, sizeof(target), "%s/m", dir);
	assert_int_equal(umount2(target, MNT_DETACH), 0);
}
#endif

static void a_list_has_a_maximum(void **state)
{
	struct lcm_err err = { 0 };
	struct lcm_cstore c;
	char path[256];

	(void)state;
	(void)snprintf(path, sizeof(path), "%s/overlay-images/images.json", dir);
	assert_int_equal(lcm_write_file_at(AT_FDCWD, path, "[]", 2, 0600), 0);
	assert_int_equal(truncate(path, (off_t)LCM_CSTORE_LIST_MAX + 1), 0);
	assert_int_equal(lcm_cstore_open(dir, &c, &err), -EFBIG);
	assert_non_null(strstr(err.msg, path));
	assert_int_equal(lcm_write_file_at(AT_FDCWD, path, "[]", 2, 0600), 0);
}

static void base64_of_names(void **state)
{
	static const char *const rows[][2] = {
		{ "", "" },        { "f", "Zg==" },        { "fo", "Zm8=" },
		{ "foo", "Zm9v" }, { "foob", "Zm9vYg==" }, { "\xff\xfe\xfd", "//79" }
	};
	char out[16];

	(void)state;
	for (size_t i = 0; i < LCM_ARRAY_SIZE(rows); i++) {
		lcm_base64_encode(rows[i][0], strlen(rows[i][0]), out, sizeof(out));
		assert_string_equal(out, rows[i][1]);
	}
	lcm_base64_encode("foob", 4, out, 8);
	assert_string_equal(out, "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(images_come_and_go),
#ifdef LCM_FAULTS
		cmocka_unit_test(unread_is_not_unused),
#endif
		cmocka_unit_test(damaged_lists_are_named), cmocka_unit_test(a_list_has_a_maximum),
		cmocka_unit_test(base64_of_names),
	};
	int r;

	if (!mkdtemp(dir))
		return 1;
	r = cmocka_run_group_tests(tests, NULL, NULL);
	lcm_ignore(lcm_rmtree_at(AT_FDCWD, dir));
	return r;
}
