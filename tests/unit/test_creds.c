/* SPDX-License-Identifier: Apache-2.0 */
/* Which files are looked into for credentials, and in which order. */
#include "registry/creds.h"

#include "src/base/sys.h"
#include "tests/unit/dir_fixture.h"

/* "user:secret" */
#define USER_ENTRY "\"auth\":\"dXNlcjpzZWNyZXQ=\""

static void put(const char *name, const char *text)
{
	char path[300];

	(void)snprintf(path, sizeof(path), "%s/%s", dir, name);
	assert_int_equal(lcm_write_file_at(AT_FDCWD, path, text, strlen(text), 0600), 0);
}

static void test_creds_files(void **state)
{
	char **found = NULL;

	(void)state;
	assert_int_equal(setenv("HOME", "/h", 1), 0);
	assert_int_equal(setenv("XDG_RUNTIME_DIR", "/run/u", 1), 0);
	assert_int_equal(unsetenv("REGISTRY_AUTH_FILE"), 0);
	assert_int_equal(unsetenv("XDG_CONFIG_HOME"), 0);
	assert_int_equal(unsetenv("DOCKER_CONFIG"), 0);
	assert_int_equal(lcm_creds_files(NULL, NULL, &found), 0);
	assert_string_equal(found[0], "/run/u/containers/auth.json");
	assert_string_equal(found[1], "/h/.config/containers/auth.json");
	assert_string_equal(found[2], "/h/.docker/config.json");
	assert_null(found[3]);
	lcm_creds_files_free(found);
	assert_int_equal(setenv("REGISTRY_AUTH_FILE", "/mine", 1), 0);
	assert_int_equal(lcm_creds_files(NULL, NULL, &found), 0);
	assert_string_equal(found[0], "/mine");
	assert_null(found[1]);
	lcm_creds_files_free(found);
}

/* Nothing is said of it when it is missing, and it goes before the others when it is there. */
static void test_creds_first(void **state)
{
	char first[300], helper[LCM_HELPER_NAME_MAX + 1], **files = NULL;
	const char *const given[] = { "/no/such/file", NULL };
	struct lcm_buf where = LCM_BUF(4096);
	struct lcm_credentials *c = NULL;
	lcm_creds_place at = 0;

	(void)state;
	(void)snprintf(first, sizeof(first), "%s/first.json", dir);
	assert_int_equal(lcm_creds_files(first, given, &files), 0);
	assert_int_equal(
	    lcm_creds_next(files, "127.0.0.1:5000", "r/x", &at, &c, helper, &where, NULL), -ENOENT);
	assert_string_equal(lcm_buf_str(&where), "/no/such/file (not there)");
	put("first.json", "{\"auths\":{\"127.0.0.1:5000/r/x\":{" USER_ENTRY "}}}");
	at = 0;
	assert_int_equal(
	    lcm_creds_next(files, "127.0.0.1:5000", "r/x", &at, &c, helper, NULL, NULL), 0);
	assert_string_equal(c->username, "user");
	lcm_credentials_free(c);
	lcm_creds_files_free(files);
	lcm_buf_fini(&where);
}

/* Each file's helper for the host, its entries, its helper for all. */
static void test_creds_order(void **state)
{
	char one[300], two[300], helper[LCM_HELPER_NAME_MAX + 1];
	char *files[] = { (char *)"/no/such/file", one, two, NULL };
	struct lcm_credentials *c = NULL;
	struct lcm_buf where = LCM_BUF(4096);
	lcm_creds_place at = 0;

	(void)state;
	(void)snprintf(one, sizeof(one), "%s/one.json", dir);
	(void)snprintf(two, sizeof(two), "%s/two.json", dir);
	put("one.json", "{\"auths\":{\"127.0.0.1:5000\":{" USER_ENTRY "}}}");
	put("two.json",
	    "{\"auths\":{\"127.0.0.1:5000\":{" USER_ENTRY "}},\"credHelpers\":{\"127.0.0.1:5000\":"
	    "\"a-b\",\"bad\":\"../x\"},\"credsStore\":\"all\"}");
	for (int i = 0; i < 2; i++) {
		assert_int_equal(
		    lcm_creds_next(files, "127.0.0.1:5000", "r/x", &at, &c, helper, &where, NULL),
		    i);
		if (i == 0) {
			assert_string_equal(c->username, "user");
			assert_string_equal(c->password, "secret");
			lcm_credentials_free(lcm_steal(&c));
		}
	}
	assert_string_equal(helper, "a-b");
	assert_int_equal(
	    lcm_creds_next(files, "127.0.0.1:5000", "r/x", &at, &c, helper, &where, NULL), 0);
	lcm_credentials_free(lcm_steal(&c));
	assert_int_equal(
	    lcm_creds_next(files, "127.0.0.1:5000", "r/x", &at, &c, helper, &where, NULL), 1);
	assert_string_equal(helper, "all");
	assert_int_equal(
	    lcm_creds_next(files, "127.0.0.1:5000", "r/x", &at, &c, helper, &where, NULL), -ENOENT);
	assert_null(c);
	assert_non_null(strstr(lcm_buf_str(&where), "/no/such/file (not there), "));
	assert_non_null(strstr(lcm_buf_str(&where), "two.json (asks docker-credential-a-b), "));
	/* No program's name: as if there were none. */
	at = 0;
	assert_int_equal(lcm_creds_next(files, "bad", "r/x", &at, &c, helper, &where, NULL), 1);
	assert_string_equal(helper, "all");
	assert_non_null(strstr(lcm_buf_str(&where), "that is no program's name"));
	put("two.json", "{");
	at = 0;
	assert_int_equal(lcm_creds_next(files, "other", "r/x", &at, &c, helper, NULL, NULL),
			 -EACCES);
	lcm_buf_fini(&where);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_creds_files),
		cmocka_unit_test(test_creds_first),
		cmocka_unit_test(test_creds_order),
	};

	return cmocka_run_group_tests(tests, dir_setup, dir_teardown);
}
