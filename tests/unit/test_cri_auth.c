/* SPDX-License-Identifier: Apache-2.0 */
/* The auth file of pull secrets: whose entry is there while pulls run, end well and fail, and what
 * a file that is full, damaged or cannot be read does. */
#include "tests/unit/test.h"

#include "src/base/limits.h"
#include "src/base/log.h"
#include "src/containerd/cri_auth.h"

static char *dir, path[4096];

static int setup(void **state)
{
	(void)state;
	lcm_log_set_level(LCM_LOG_ERR);
	dir = test_mkdir();
	(void)snprintf(path, sizeof(path), "%s/auth.json", dir);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	test_rmdir(dir);
	return 0;
}

static void begin(struct lcm_cri_pull *p, const char *key, const char *secret)
{
	*p = (struct lcm_cri_pull){ .entry = json_pack("{s:s}", "auth", secret) };
	(void)snprintf(p->key, sizeof(p->key), "%s", key);
	lcm_cri_auth_begin(path, p);
}

static void end(struct lcm_cri_pull *p, bool pulled)
{
	lcm_cri_auth_end(path, p, pulled);
	assert_null(p->entry);
	assert_null(p->before);
}

static void pull(const char *key, const char *secret, bool pulled)
{
	struct lcm_cri_pull p;

	begin(&p, key, secret);
	end(&p, pulled);
}

static json_t *file(void)
{
	json_t *root = json_load_file(path, 0, NULL);

	assert_non_null(root);
	return root;
}

/* "": no entry */
static void secret_is(const char *key, const char *want)
{
	json_t *root = file();
	const json_t *e = json_object_get(json_object_get(root, "auths"), key);
	const char *s = json_string_value(json_object_get(e, "auth"));

	assert_string_equal(s ? s : "", want);
	json_decref(root);
}

static void write_text(const char *text)
{
	assert_int_equal(lcm_write_file_at(AT_FDCWD, path, text, strlen(text), 0600), 0);
}

static void one_pull(void **state)
{
	struct lcm_cri_pull p, none = { .key = "h/r" };

	(void)state;
	lcm_cri_auth_begin(path, &none);
	lcm_cri_auth_end(path, &none, true);
	assert_int_equal(access(path, F_OK), -1);
	begin(&p, "h/r", "wrong");
	secret_is("h/r", "wrong");
	end(&p, false);
	secret_is("h/r", "");
	pull("h/r", "right", true);
	pull("h/r", "wrong", false);
	pull("h/other", "wrong", false);
	secret_is("h/r", "right");
	secret_is("h/other", "");
}

/* Two with the same secret, one of which fails for a reason of its own */
static void same_secret(void **state)
{
	struct lcm_cri_pull a, b;

	(void)state;
	begin(&a, "h/r", "right");
	begin(&b, "h/r", "right");
	end(&a, false);
	secret_is("h/r", "right");
	end(&b, true);
	secret_is("h/r", "right");

	pull("h/s", "old", true);
	begin(&a, "h/s", "right");
	begin(&b, "h/s", "right");
	end(&b, false);
	secret_is("h/s", "right");
	end(&a, true);
	secret_is("h/s", "right");
}

/* Whatever the order in which they begin and end: the right one stays, no wrong one does. */
static void right_and_wrong(void **state)
{
	(void)state;
	for (unsigned int order = 0; order < 8; order++) {
		struct lcm_cri_pull p[2];
		unsigned int first = order & 1, ends = order >> 1 & 1;
		bool known = order >> 2;
		char key[16];

		(void)snprintf(key, sizeof(key), "h/%u", order);
		if (known)
			pull(key, "known", true);
		begin(&p[first], key, first ? "wrong" : "right");
		begin(&p[!first], key, first ? "right" : "wrong");
		end(&p[ends], !ends);
		end(&p[!ends], ends);
		secret_is(key, "right");
	}
}

static void both_wrong(void **state)
{
	(void)state;
	pull("h/r", "known", true);
	for (unsigned int order = 0; order < 2; order++) {
		struct lcm_cri_pull p[2];

		begin(&p[0], "h/r", "wrong");
		begin(&p[1], "h/r", "wrong, too");
		end(&p[order], false);
		secret_is("h/r", order ? "wrong" : "wrong, too");
		end(&p[!order], false);
		secret_is("h/r", "known");
	}
}

static void damaged(void **state)
{
	static const char *const rows[] = { "", "{", "[]", "{\"auths\":[]}" };

	(void)state;
	for (size_t i = 0; i < LCM_ARRAY_SIZE(rows); i++) {
		write_text(rows[i]);
		pull("h/r", "right", true);
		secret_is("h/r", "right");
	}
}

/* What cannot be read for another reason is not replaced. */
static void unreadable(void **state)
{
	char at[4096];
	ssize_t n;

	(void)state;
	assert_int_equal(unlink(path), 0);
	assert_int_equal(symlink("auth.json", path), 0);
	pull("h/r", "right", true);
	pull("h/r", "wrong", false);
	n = readlink(path, at, sizeof(at));
	assert_int_equal(n, strlen("auth.json"));
	assert_int_equal(unlink(path), 0);
}

/* When it is full those go that were pulled the longest time ago. */
static void full_of_bytes(void **state)
{
	char *big = calloc(1, 30001), key[16];
	json_t *root;

	(void)state;
	assert_non_null(big);
	memset(big, 'x', 30000);
	pull("h/old", "old", true);
	for (unsigned int i = 0; i < 40; i++) {
		(void)snprintf(key, sizeof(key), "h/%u", i);
		pull(key, big, true);
		if (i == 10)
			pull("h/0", "again", true);
	}
	secret_is("h/old", "");
	secret_is("h/0", "again");
	secret_is("h/1", "");
	secret_is("h/39", big);
	root = file();
	assert_in_range(json_object_size(json_object_get(root, "auths")), 30, 36);
	assert_in_range(json_dumpb(root, NULL, 0, JSON_COMPACT), LCM_AUTH_FILE_MAX - 40000,
			LCM_AUTH_FILE_MAX);
	json_decref(root);
	free(big);
}

static void too_long(void **state)
{
	char *big = calloc(1, LCM_AUTH_FILE_MAX + 1);

	(void)state;
	assert_non_null(big);
	memset(big, 'x', LCM_AUTH_FILE_MAX);
	pull("h/r", "right", true);
	pull("h/r", big, false);
	pull("h/s", big, true);
	secret_is("h/r", "right");
	secret_is("h/s", "");
	free(big);
}

static void full_of_entries(void **state)
{
	json_t *root = json_pack("{s:{}}", "auths"), *auths = json_object_get(root, "auths");
	char key[16];

	(void)state;
	for (unsigned int i = 0; i < 4096; i++) {
		(void)snprintf(key, sizeof(key), "h/%u", i);
		(void)json_object_set_new(auths, key, json_pack("{s:s}", "auth", "x"));
	}
	assert_int_equal(json_dump_file(root, path, 0), 0);
	json_decref(root);
	pull("h/r", "right", true);
	secret_is("h/r", "right");
	secret_is("h/0", "");
	secret_is("h/1", "x");
	root = file();
	assert_int_equal(json_object_size(json_object_get(root, "auths")), 4096);
	json_decref(root);
}

static void entries(void **state)
{
	static const struct {
		struct lcm_cri_secret secret;
		const char *host, *key, *value; /* NULL: no entry */
	} rows[] = {
		{ { "", "", "", "", "" }, "h", NULL, NULL },
		{ { "u", "p", "YTpi", "t", "" }, "h", "auth", "dTpw" },
		{ { "", "p", "YTpi", "t", "" }, "h", "identitytoken", "t" },
		{ { "", "", "YTpi", "", "" }, "h", "auth", "YTpi" },
		{ { "u", "p", "", "", "h:5000" }, "h:5000", "auth", "dTpw" },
		{ { "u", "p", "", "", "https://h:5000/v2/" }, "h:5000", "auth", "dTpw" },
		{ { "u", "p", "", "", "https://index.docker.io/v1/" },
		  "docker.io",
		  "auth",
		  "dTpw" },
		{ { "u", "p", "", "", "other" }, "h", NULL, NULL },
		{ { "", "", "YTpi", "", "https://other" }, "h", NULL, NULL },
		{ { "", "", "", "t", "h" }, "h.evil", NULL, NULL },
	};

	(void)state;
	for (size_t i = 0; i < LCM_ARRAY_SIZE(rows); i++) {
		json_t *o = lcm_cri_auth_entry(&rows[i].secret, rows[i].host);

		assert_int_equal(o != NULL, rows[i].key != NULL);
		if (o)
			assert_string_equal(json_string_value(json_object_get(o, rows[i].key)),
					    rows[i].value);
		json_decref(o);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_pull),        cmocka_unit_test(same_secret),
		cmocka_unit_test(right_and_wrong), cmocka_unit_test(both_wrong),
		cmocka_unit_test(damaged),         cmocka_unit_test(unreadable),
		cmocka_unit_test(full_of_bytes),   cmocka_unit_test(too_long),
		cmocka_unit_test(full_of_entries), cmocka_unit_test(entries),
	};

	return cmocka_run_group_tests_name("cri_auth", tests, setup, teardown);
}
