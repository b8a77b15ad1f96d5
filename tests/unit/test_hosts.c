/* SPDX-License-Identifier: Apache-2.0 */
/* hosts.toml and directories of certificates: what is taken, what is refused and how that is told.
 */
#include "registry/hosts.h"

#include "registry/toml.h"
#include "src/base/buf.h"
#include "src/base/sys.h"
#include "tests/unit/dir_fixture.h"

#define PEM "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n"

static void put(const char *name, const char *text)
{
	char path[300], *slash;

	(void)snprintf(path, sizeof(path), "%s/%s", dir, name);
	slash = strrchr(path, '/');
	*slash = '\0';
	assert_int_equal(lcm_mkdir_p(path, 0755), 0);
	*slash = '/';
	assert_int_equal(lcm_write_file_at(AT_FDCWD, path, text, strlen(text), 0600), 0);
}

static struct lcm_hosts *parse(const char *text)
{
	struct lcm_hosts *h = NULL;
	struct lcm_err err = { 0 };

	if (lcm_hosts_parse(text, strlen(text), "/d", &h, &err) < 0)
		fail_msg("%s", err.msg);
	return h;
}

/* The example of containerd's documentation, and every key. */
static void test_all_keys(void **state)
{
	struct lcm_hosts *h = parse(
	    "server = \"https://registry-1.docker.io/\" # upstream\n"
	    "capabilities = [\"pull\", \"resolve\"]\n"
	    "ca = \"up.crt\"\n"
	    "[host.\"https://z.example:5000\"]\n"
	    "  capabilities = [\"pull\"]\n"
	    "  ca = [\"one.crt\", \"/abs/two.crt\"]\n"
	    "  client = [[\"c.cert\", \"c.key\"], [\"d.pem\", \"\"], \"e.pem\"]\n"
	    "  skip_verify = true\n"
	    "  dial_timeout = \"3s\"\n"
	    "  [host.\"https://z.example:5000\".header]\n"
	    "    x-one = \"1\"\n"
	    "    x-two = [\"a\", \"b\"]\n"
	    "    range = \"bytes=0-1\"\n"
	    "    x-none = \"\"\n"
	    "[host.\"http://a.example/proxy/v2/\"]\n"
	    "  client = \"/c.pem\"\n"
	    "[host.\"b.example/x\"]\n"
	    "  override_path = true\n");

	(void)state;
	assert_int_equal(h->n, 4);
	/* As written, not by name. */
	assert_string_equal(h->e[0].base, "https://z.example:5000/v2");
	assert_string_equal(h->e[1].base, "http://a.example/proxy/v2");
	assert_string_equal(h->e[2].base, "https://b.example/x");
	assert_string_equal(h->e[3].base, "https://registry-1.docker.io/v2");
	assert_false(h->e[0].upstream || h->e[1].upstream || h->e[2].upstream);
	assert_true(h->e[3].upstream);
	assert_int_equal(h->e[0].caps, LCM_CAP_PULL);
	assert_int_equal(h->e[1].caps, LCM_CAP_ALL);
	assert_int_equal(h->e[3].caps, LCM_CAP_PULL | LCM_CAP_RESOLVE);
	assert_true(h->e[0].tls.skip_verify);
	assert_false(h->e[1].tls.skip_verify);
	assert_string_equal(h->e[0].ca[0], "/d/one.crt");
	assert_string_equal(h->e[0].ca[1], "/abs/two.crt");
	assert_null(h->e[0].ca[2]);
	assert_string_equal(h->e[3].ca[0], "/d/up.crt");
	assert_string_equal(h->e[0].clients[0], "/d/c.cert");
	assert_string_equal(h->e[0].clients[1], "/d/c.key");
	assert_string_equal(h->e[0].clients[2], "/d/d.pem");
	assert_string_equal(h->e[0].clients[3], "/d/d.pem");
	assert_string_equal(h->e[0].clients[4], "/d/e.pem");
	assert_string_equal(h->e[1].clients[0], "/c.pem");
	assert_string_equal(h->e[1].clients[1], "/c.pem");
	assert_string_equal(h->e[0].fields[0], "x-one: 1");
	assert_string_equal(h->e[0].fields[1], "x-two: a");
	assert_string_equal(h->e[0].fields[2], "x-two: b");
	assert_string_equal(h->e[0].fields[3], "x-none;");
	assert_null(h->e[0].fields[4]);
	assert_true(h->e[0].origin.tls && h->e[0].origin.port == 5000);
	assert_string_equal(h->e[2].origin.host, "b.example");
	lcm_hosts_free(h);
}

static void test_nothing_in_it(void **state)
{
	struct lcm_hosts *h = parse("");

	(void)state;
	assert_int_equal(h->n, 1);
	assert_true(h->e[0].upstream);
	assert_null(h->e[0].base);
	assert_int_equal(h->e[0].caps, LCM_CAP_ALL);
	lcm_hosts_free(h);
	h = parse("[host]\n\"https://b\" = {}\n\"https://a\" = {capabilities = []}\n");
	assert_int_equal(h->n, 3);
	assert_string_equal(h->e[0].base, "https://b/v2");
	assert_int_equal(h->e[1].caps, LCM_CAP_ALL);
	lcm_hosts_free(h);
	h = parse("host = {\"https://b\" = {}, \"https://a\" = {}}");
	assert_string_equal(h->e[0].base, "https://b/v2");
	assert_string_equal(h->e[1].base, "https://a/v2");
	lcm_hosts_free(h);
}

static void test_refused(void **state)
{
	static const struct {
		const char *text, *says;
	} rows[] = {
		{ "server = \"https://x\"\nca = [\n", "line 2, column" },
		{ "server = 1", "line 1: server" },
		{ "\nserver = \"ftp://x\"", "line 2: server is not a URL" },
		{ "server = \"https://u:p@x\"", "server is not a URL" },
		{ "server = \"https://x/?a=b\"", "server is not a URL" },
		{ "host = 3", "line 1: host is not a table" },
		{ "[host]\n\"https://a\" = 1", "line 2: host.\"https://a\". is not a table" },
		{ "[host.\"https://a b\"]", "host.\"https://a b\". is not a URL" },
		{ "[host.\"\"]", "is not a URL" },
		{ "[host.\"https://a\"]\nskip_verify = \"yes\"",
		  "line 2: host.\"https://a\".skip_verify is not true or false" },
		{ "[host.\"https://a\"]\ncapabilities = [\"pull\",\n\"fetch\"]",
		  "line 3: host.\"https://a\".capabilities has something else" },
		{ "capabilities = \"pull\"", "capabilities is not an array" },
		{ "ca = 7", "ca is not a path" },
		{ "ca = [[\"x\"]]", "ca has what is not a path" },
		{ "client = [[\"a\", \"b\", \"c\"]]", "client has what is neither" },
		{ "client = 1.5", "client is not a path" },
		{ "override_path = 1", "override_path is not true or false" },
		{ "[header]\n\"a b\" = \"c\"", "header has what cannot be sent" },
		{ "[header]\na = \"b\\r\\nc: d\"", "header has what cannot be sent" },
		{ "header = []", "header is not a short table" },
		{ "a = \"\\u0000\"", "NUL" },
		{ "a = [[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]", "too deep" },
		{ "\xff", "line 1" },
		{ "a = 1\na = 2", "line 2" },
	};

	(void)state;
	for (size_t i = 0; i < LCM_ARRAY_SIZE(rows); i++) {
		struct lcm_hosts *h = NULL;
		struct lcm_err err = { 0 };
		int r = lcm_hosts_parse(rows[i].text, strlen(rows[i].text), "/d", &h, &err);

		assert_true(r == -EUCLEAN || r == -EFBIG);
		assert_null(h);
		if (!strstr(err.msg, rows[i].says))
			fail_msg("%s: \"%s\", not \"%s\"", rows[i].text, err.msg, rows[i].says);
	}
}

static void test_limits(void **state)
{
	struct lcm_buf b = LCM_BUF(1U << 20);
	struct lcm_hosts *h = NULL;
	struct lcm_err err = { 0 };
	char *big = calloc(1, LCM_TOML_MAX + 1);

	(void)state;
	assert_non_null(big);
	memset(big, '\n', LCM_TOML_MAX + 1);
	assert_int_equal(lcm_hosts_parse(big, LCM_TOML_MAX + 1, "/d", &h, &err), -EFBIG);
	assert_int_equal(lcm_hosts_parse(big, LCM_TOML_MAX, "/d", &h, &err), 0);
	lcm_hosts_free(h);
	free(big);
	for (int i = 0; i < LCM_HOSTS_MAX; i++)
		assert_int_equal(lcm_buf_printf(&b, "[host.\"https://h%d\"]\n", i), 0);
	h = NULL;
	assert_int_equal(lcm_hosts_parse(lcm_buf_str(&b), b.len, "/d", &h, &err), -EUCLEAN);
	assert_non_null(strstr(err.msg, "line 16: over 15 hosts"));
	assert_null(h);
	lcm_buf_fini(&b);
}

static struct lcm_hosts *load(const char *name)
{
	char one[300], two[300];
	const char *dirs[] = { "/no/such/dir", one, two, NULL };
	struct lcm_hosts *h = NULL;
	struct lcm_err err = { 0 };

	(void)snprintf(one, sizeof(one), "%s/one", dir);
	(void)snprintf(two, sizeof(two), "%s/two", dir);
	if (lcm_hosts_load(dirs, name, &h, &err) < 0) {
		print_message("# %s\n", err.msg);
		return NULL;
	}
	return h;
}

static void assert_dir(const char *name, const char *want)
{
	struct lcm_hosts *h = load(name);

	assert_non_null(h);
	if (!want)
		assert_null(h->dir);
	else
		assert_string_equal(h->dir + strlen(dir) + 1, want);
	assert_false(lcm_hosts_changed(h));
	lcm_hosts_free(h);
}

static void test_which_directory(void **state)
{
	(void)state;
	assert_dir("a.example", NULL);
	put("two/_default/hosts.toml", "");
	assert_dir("a.example", "two/_default");
	put("two/a.example/hosts.toml", "");
	put("two/a.example:5000/hosts.toml", "");
	assert_dir("a.example", "two/a.example");
	assert_dir("a.example:5000", "two/a.example:5000");
	put("two/a.example_5000_/hosts.toml", "");
	assert_dir("a.example:5000", "two/a.example_5000_");
	put("one/_default/hosts.toml", "");
	assert_dir("a.example", "two/a.example");
	assert_dir("other.example", "one/_default");
	put("one/a.example/hosts.toml", "");
	assert_dir("a.example", "one/a.example");
}

static void test_certificates_alone(void **state)
{
	const char *const more[] = { "you", "b", "a", "zz", "c", "n", NULL };
	struct lcm_hosts *h;
	char name[64];

	(void)state;
	put("one/r.example/ca.crt", PEM);
	put("one/r.example/more.crt", PEM);
	put("one/r.example/me.cert", PEM);
	put("one/r.example/me.key", "key");
	put("one/r.example/README", "not one of them");
	h = load("r.example");
	assert_non_null(h);
	assert_int_equal(h->n, 1);
	assert_true(h->e[0].upstream);
	assert_int_equal(h->e[0].tls.ca_len, 2 * (sizeof(PEM)));
	assert_non_null(strstr(h->e[0].tls.cert, "/one/r.example/me.cert"));
	assert_non_null(strstr(h->e[0].tls.key, "/one/r.example/me.key"));
	lcm_hosts_free(h);
	/* Of several the first by name. */
	for (const char *const *k = more; *k; k++) {
		(void)snprintf(name, sizeof(name), "one/r.example/%s.cert", *k);
		put(name, PEM);
		(void)snprintf(name, sizeof(name), "one/r.example/%s.key", *k);
		put(name, "key");
	}
	h = load("r.example");
	assert_non_null(h);
	assert_non_null(strstr(h->e[0].tls.cert, "/one/r.example/a.cert"));
	assert_non_null(strstr(h->e[0].tls.key, "/one/r.example/a.key"));
	lcm_hosts_free(h);
	put("one/r.example/lone.key", "key");
	assert_null(load("r.example"));
	put("one/s.example/lone.cert", PEM);
	assert_null(load("s.example"));
	put("one/t.example/x.crt", "nothing of that kind");
	assert_null(load("t.example"));
}

/* Whatever changes is seen: the file, one it names, one that was not there. */
static void test_changes(void **state)
{
	static const struct {
		const char *name, *text;
	} steps[] = {
		{ "one/c.example/hosts.toml", "ca = \"ca.pem\" # again\n" },
		{ "one/c.example/ca.pem", PEM PEM },
		{ "one/c.example/new", "" },
	};
	struct lcm_hosts *h;

	(void)state;
	put("two/c.example/hosts.toml", "");
	h = load("c.example");
	assert_non_null(h);
	put("one/c.example/ca.pem", PEM);
	put("one/c.example/hosts.toml", "ca = \"ca.pem\"\n");
	assert_true(lcm_hosts_changed(h));
	lcm_hosts_free(h);
	for (size_t i = 0; i < LCM_ARRAY_SIZE(steps); i++) {
		h = load("c.example");
		assert_non_null(h);
		assert_non_null(h->e[0].tls.ca);
		assert_false(lcm_hosts_changed(h));
		put(steps[i].name, steps[i].text);
		assert_true(lcm_hosts_changed(h));
		lcm_hosts_free(h);
	}
}

static void test_damaged_file_is_named(void **state)
{
	char one[300];
	const char *dirs[] = { one, NULL };
	struct lcm_hosts *h = NULL;
	struct lcm_err err = { 0 };

	(void)state;
	(void)snprintf(one, sizeof(one), "%s/one", dir);
	put("one/d.example/hosts.toml", "\n[host.\"https://m\"\n");
	put("one/e.example/hosts.toml", "ca = \"gone.crt\"");
	assert_int_equal(lcm_hosts_load(dirs, "d.example", &h, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "/one/d.example/hosts.toml: line 2"));
	assert_int_equal(lcm_hosts_load(dirs, "e.example", &h, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "/one/e.example/gone.crt"));
	assert_null(h);
	assert_int_equal(lcm_hosts_load(dirs, "f.example", &h, &err), 0);
	lcm_hosts_free(h);
}

static void test_toml(void **state)
{
	static const char text[] =
	    "z = \"1\"\n[b]\ny = true\nx = [1, \"two\", 2020-01-01]\n[a.c]\n";
	const struct lcm_toml *b;
	struct lcm_toml *t = NULL;
	struct lcm_err err = { 0 };

	(void)state;
	assert_int_equal(lcm_toml_parse(text, sizeof(text) - 1, &t, &err), 0);
	assert_int_equal(t->type, LCM_TOML_TABLE);
	assert_int_equal(t->n, 3);
	assert_string_equal(t->items[0].key, "z");
	assert_string_equal(t->items[1].key, "b");
	assert_string_equal(t->items[2].key, "a");
	b = lcm_toml_get(t, "b");
	assert_int_equal(b->line, 2);
	assert_true(lcm_toml_get(b, "y")->boolean);
	assert_int_equal(lcm_toml_get(b, "x")->items[0].type, LCM_TOML_OTHER);
	assert_string_equal(lcm_toml_get(b, "x")->items[1].string, "two");
	assert_int_equal(lcm_toml_get(b, "x")->line, 4);
	assert_null(lcm_toml_get(t, "y"));
	assert_null(lcm_toml_get(lcm_toml_get(t, "z"), "y"));
	lcm_toml_free(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_toml),
		cmocka_unit_test(test_all_keys),
		cmocka_unit_test(test_nothing_in_it),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_limits),
		cmocka_unit_test_setup_teardown(test_which_directory, dir_setup, dir_teardown),
		cmocka_unit_test_setup_teardown(test_certificates_alone, dir_setup, dir_teardown),
		cmocka_unit_test_setup_teardown(test_changes, dir_setup, dir_teardown),
		cmocka_unit_test_setup_teardown(test_damaged_file_is_named, dir_setup,
						dir_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
