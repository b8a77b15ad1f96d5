/* SPDX-License-Identifier: Apache-2.0 */
#include "image/json.h"
#include "image/manifest.h"
#include "src/base/buf.h"
#include "tests/unit/test.h"

#define DIGEST "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#define OCI "application/vnd.oci.image."
#define DOCKER "application/vnd.docker."
#define DESC(type, size, more)                                                                     \
	"{\"mediaType\":\"" type "\",\"digest\":\"" DIGEST "\",\"size\":" size more "}"
#define CONFIG "\"config\":" DESC(OCI "config.v1+json", "100", "")
#define LAYER(type, size) DESC(type, size, "")
#define ONE_LAYER "\"layers\":[" LAYER(OCI "layer.v1.tar", "1") "]"
#define HEAD "{\"schemaVersion\":2,"
#define GOOD HEAD CONFIG "," ONE_LAYER "}"
#define TYPED(type, rest) HEAD "\"mediaType\":\"" type "\"," rest

static void parses_a_manifest(void **state)
{
	static const char text[] = TYPED(OCI "manifest.v1+json", CONFIG ",\"layers\":[")
	    DESC(OCI "layer.v1.tar+zstd", "7", ",\"annotations\":{\"a\":\"1\",\"b\":\"\"}") "," LAYER(
		DOCKER "image.rootfs.diff.tar.gzip",
		"9223372036854775700") "," LAYER(OCI "layer.v1.tar", "3") "],\"annotations\":null}";
	lcm_auto(lcm_manifest) m = NULL;
	char out[LCM_DIGEST_STR];

	(void)state;
	assert_int_equal(
	    lcm_manifest_parse(text, strlen(text), OCI "manifest.v1+json; charset=utf-8", &m, NULL),
	    0);
	assert_int_equal(m->media, LCM_MEDIA_MANIFEST);
	assert_int_equal(m->n_layers, 3);
	assert_int_equal(m->config.size, 100);
	assert_int_equal(m->layers[0].media, LCM_MEDIA_LAYER_ZSTD);
	assert_int_equal(m->layers[1].media, LCM_MEDIA_LAYER_GZIP);
	assert_true(m->layers[1].size == 9223372036854775700);
	assert_int_equal(m->layers[2].media, LCM_MEDIA_LAYER_TAR);
	assert_string_equal(lcm_digest_str(&m->layers[0].digest, out), DIGEST);
	assert_string_equal(lcm_descriptor_annotation(&m->layers[0], "a"), "1");
	assert_string_equal(lcm_descriptor_annotation(&m->layers[0], "b"), "");
	assert_null(lcm_descriptor_annotation(&m->layers[0], "c"));
	assert_null(lcm_descriptor_annotation(&m->layers[1], "a"));
}

struct row {
	const char *text, *content_type;
	int r;
	const char *why;
};

static const struct row rows[] = {
	{ GOOD, NULL, 0, "" },
	{ GOOD, "application/json", 0, "" },
	{ GOOD, DOCKER "distribution.manifest.v2+json", 0, "" },
	{ TYPED(OCI "manifest.v1+json", CONFIG "," ONE_LAYER "}"),
	  "Application/vnd.OCI.image.manifest.v1+json ;x", 0, "" },
	{ TYPED(DOCKER "distribution.manifest.v2+json", CONFIG "," ONE_LAYER "}"),
	  OCI "manifest.v1+json", -EUCLEAN, "contradicts" },
	{ TYPED(OCI "manifest.v1+json", CONFIG "," ONE_LAYER "}"), "text/html", -EUCLEAN,
	  "contradicts" },
	{ GOOD, "text/html", -ENOTSUP, "text/html" },
	{ GOOD, OCI "index.v1+json", -EUCLEAN, "an index has \"config\"" },
	{ HEAD CONFIG "," ONE_LAYER ",\"manifests\":[]}", OCI "manifest.v1+json", -EUCLEAN,
	  "a manifest has \"manifests\"" },
	{ HEAD CONFIG "," ONE_LAYER ",\"fsLayers\":[]}", NULL, -EUCLEAN, "fsLayers" },
	{ "{\"schemaVersion\":1,\"fsLayers\":[]}", NULL, -ENOTSUP, "schema 1" },
	{ GOOD, DOCKER "distribution.manifest.v1+prettyjws", -ENOTSUP, "schema 1" },
	{ "{\"schemaVersion\":3," CONFIG "," ONE_LAYER "}", NULL, -ENOTSUP, "schemaVersion 3" },
	{ "{" CONFIG "," ONE_LAYER "}", NULL, -EUCLEAN, "schemaVersion" },
	{ TYPED("application/vnd.oci.artifact.manifest.v1+json", "\"blobs\":[]}"), NULL, -ENOTSUP,
	  "artifact" },
	{ HEAD "\"artifactType\":\"text/spdx\",\"config\":" DESC(
	      "application/vnd.oci.empty.v1+json", "2", "") "," ONE_LAYER "}",
	  NULL, -ENOTSUP, "artifact (text/spdx)" },
	{ HEAD ONE_LAYER "}", NULL, -EUCLEAN, "config: missing" },
	{ HEAD "\"config\":" DESC(OCI "config.v1+json", "0", "") "," ONE_LAYER "}", NULL, -EFBIG,
	  "size 0" },
	{ HEAD "\"config\":" DESC(OCI "config.v1+json", "8388609", "") "," ONE_LAYER "}", NULL,
	  -EFBIG, "8388609" },
	{ HEAD CONFIG "}", NULL, -EUCLEAN, "layers is missing" },
	{ HEAD CONFIG ",\"layers\":[]}", NULL, -ENOTSUP, "no layers" },
	{ HEAD CONFIG ",\"layers\":[7]}", NULL, -EUCLEAN, "layers[0]" },
	{ HEAD CONFIG ",\"layers\":[" LAYER("application/vnd.example", "1") "]}", NULL, -ENOTSUP,
	  "vnd.example" },
	{ HEAD CONFIG ",\"layers\":[" LAYER(OCI "layer.nondistributable.v1.tar+gzip", "1") "]}",
	  NULL, 0, "" },
	{ HEAD CONFIG ",\"layers\":[" LAYER(DOCKER "image.rootfs.foreign.diff.tar.gzip", "1") "]}",
	  NULL, 0, "" },
	{ HEAD CONFIG ",\"layers\":[" LAYER(OCI "layer.v1.tar+gzip+encrypted", "1") "]}", NULL,
	  -ENOTSUP, "encrypted" },
	{ HEAD CONFIG ",\"layers\":[" LAYER(OCI "layer.v1.tar", "0") "]}", NULL, -EUCLEAN,
	  "size 0" },
	{ HEAD CONFIG ",\"layers\":[" LAYER(OCI "layer.v1.tar", "-1") "]}", NULL, -EUCLEAN,
	  "layers[0]: size" },
	{ HEAD CONFIG ",\"layers\":[" LAYER(OCI "layer.v1.tar", "1.5") "]}", NULL, -EUCLEAN,
	  "layers[0]: size" },
	{ HEAD CONFIG ",\"layers\":[" LAYER(OCI "layer.v1.tar", "9223372036854775808") "]}", NULL,
	  -EUCLEAN, "64 bits" },
	{ HEAD CONFIG ",\"layers\":[" LAYER(OCI "layer.v1.tar", "9223372036854775807") "," LAYER(
	      OCI "layer.v1.tar", "1") "]}",
	  NULL, -EUCLEAN, "add up" },
	{ HEAD CONFIG ",\"layers\":[{\"mediaType\":\"x/y\",\"size\":1}]}", NULL, -EUCLEAN,
	  "digest" },
	{ HEAD CONFIG ",\"layers\":[{\"mediaType\":\"x/y\",\"size\":1,\"digest\":\"sha512:00\"}]}",
	  NULL, -ENOTSUP, "sha512" },
	{ HEAD CONFIG ",\"layers\":[{\"size\":1,\"digest\":\"" DIGEST "\"}]}", NULL, -EUCLEAN,
	  "mediaType" },
	{ HEAD CONFIG
	  ",\"layers\":[" DESC(OCI "layer.v1.tar", "1", ",\"annotations\":{\"k\":1}") "]}",
	  NULL, -EUCLEAN, "annotation \"k\"" },
	{ HEAD CONFIG ",\"layers\":[" DESC(OCI "layer.v1.tar", "1", ",\"annotations\":[]") "]}",
	  NULL, -EUCLEAN, "annotations" },
	{ HEAD "\"schemaVersion\":2," CONFIG "," ONE_LAYER "}", NULL, -EUCLEAN, "given twice" },
	{ HEAD CONFIG ",\"layers\":[" DESC(OCI "layer.v1.tar", "1", ",\"size\":2") "]}", NULL,
	  -EUCLEAN, "given twice" },
	{ GOOD "x", NULL, -EUCLEAN, "something follows" },
	{ "{\"a\":\"\\u0000\"}", NULL, -EUCLEAN, "NUL" },
	{ "{\"a\":\"\xff\"}", NULL, -EUCLEAN, "UTF-8" },
	{ "{\"a\":", NULL, -EUCLEAN, "too early" },
	{ "[]", NULL, -EUCLEAN, "not an object" },
	{ "", NULL, -EUCLEAN, "empty" },
};

static void judges_manifests(void **state)
{
	(void)state;
	for (size_t i = 0; i < LCM_ARRAY_SIZE(rows); i++) {
		lcm_auto(lcm_manifest) m = NULL;
		struct lcm_err err = { 0 };
		int r = lcm_manifest_parse(rows[i].text, strlen(rows[i].text), rows[i].content_type,
					   &m, &err);

		if (r != rows[i].r || !strstr(err.msg, rows[i].why))
			fail_msg("row %zu: %d \"%s\", wanted %d \"%s\"", i, r, err.msg, rows[i].r,
				 rows[i].why);
		assert_true(!m == (r < 0));
	}
}

static int parse_layers(size_t n, struct lcm_err *err)
{
	lcm_autobuf struct lcm_buf b = LCM_BUF(LCM_MANIFEST_MAX);
	lcm_auto(lcm_manifest) m = NULL;
	int r;

	assert_int_equal(lcm_buf_printf(&b, "%s,\"layers\":[", HEAD CONFIG), 0);
	for (size_t i = 0; i < n; i++)
		assert_int_equal(
		    lcm_buf_printf(&b, "%s%s", i ? "," : "", LAYER(OCI "layer.v1.tar", "1")), 0);
	assert_int_equal(lcm_buf_printf(&b, "]}"), 0);
	r = lcm_manifest_parse(b.data, b.len, NULL, &m, err);
	assert_true(r < 0 || m->n_layers == n);
	return r;
}

static void layers_are_counted(void **state)
{
	struct lcm_err err = { 0 };

	(void)state;
	assert_int_equal(parse_layers(LCM_LAYERS_MAX, &err), 0);
	assert_int_equal(parse_layers(LCM_LAYERS_MAX + 1, &err), -EFBIG);
	assert_non_null(strstr(err.msg, "500 layers"));
}

/* One below, at and above each of the bounds of JSON. */
static void json_is_bounded(void **state)
{
	char text[400];
	json_t *root = NULL;
	lcm_autobuf struct lcm_buf b = LCM_BUF(1 << 20);

	(void)state;
	for (size_t depth = LCM_JSON_DEPTH_MAX; depth <= LCM_JSON_DEPTH_MAX + 1; depth++) {
		size_t n = depth - 1;

		memcpy(text, "{\"a\":", 5);
		memset(text + 5, '[', n);
		memset(text + 5 + n, ']', n);
		text[5 + 2 * n] = '}';
		assert_int_equal(lcm_json_parse(text, 6 + 2 * n, 1000, "t", &root, NULL),
				 depth > LCM_JSON_DEPTH_MAX ? -EFBIG : 0);
	}
	json_decref(root);
	assert_int_equal(lcm_json_parse("{\"[[\\\"[[\":1}", 12, 12, "t", &root, NULL), 0);
	json_decref(root);
	assert_int_equal(lcm_json_parse("{\"[[\\\"[[\":1}", 12, 11, "t", &root, NULL), -EFBIG);
	assert_int_equal(lcm_buf_printf(&b, "{\"a\":[0"), 0);
	for (size_t i = 0; i < LCM_JSON_VALUES_MAX; i++)
		assert_int_equal(lcm_buf_add(&b, ",0", 2), 0);
	assert_int_equal(lcm_buf_printf(&b, "]}"), 0);
	assert_int_equal(lcm_json_parse(b.data, b.len, b.len, "t", &root, NULL), -EFBIG);
}

static void parses_platforms(void **state)
{
	static const struct {
		const char *s;
		int r;
		struct lcm_platform p;
	} table[] = {
		{ "linux/amd64", 0, { "linux", "amd64", "" } },
		{ "linux/x86_64", 0, { "linux", "amd64", "" } },
		{ "linux/amd64/v1", 0, { "linux", "amd64", "" } },
		{ "Linux/aarch64", 0, { "linux", "arm64", "" } },
		{ "linux/arm64/v8", 0, { "linux", "arm64", "" } },
		{ "linux/arm64/8", 0, { "linux", "arm64", "" } },
		{ "linux/arm", 0, { "linux", "arm", "v7" } },
		{ "linux/armel", 0, { "linux", "arm", "v6" } },
		{ "linux/arm/6", 0, { "linux", "arm", "v6" } },
		{ "linux", -EINVAL, { "", "", "" } },
		{ "linux/", -EINVAL, { "", "", "" } },
		{ "/amd64", -EINVAL, { "", "", "" } },
		{ "linux/a/b/c", -EINVAL, { "", "", "" } },
		{ "linux/a/b/", -EINVAL, { "", "", "" } },
		{ "linux/a/", -EINVAL, { "", "", "" } },
		{ "linux/a b", -EINVAL, { "", "", "" } },
		{ "linux/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", -EINVAL, { "", "", "" } },
	};
	struct lcm_platform host;

	(void)state;
	for (size_t i = 0; i < LCM_ARRAY_SIZE(table); i++) {
		struct lcm_platform p = { 0 };

		assert_int_equal(lcm_platform_parse(table[i].s, &p), table[i].r);
		assert_string_equal(p.os, table[i].p.os);
		assert_string_equal(p.arch, table[i].p.arch);
		assert_string_equal(p.variant, table[i].p.variant);
	}
	lcm_platform_host(&host);
	assert_string_equal(host.os, "linux");
	assert_true(host.arch[0] != '\0');
}

/* @entries: space separated "os/arch[/variant]", "-" for none; the size says which one it is. */
static void make_index(const char *entries, struct lcm_manifest **ret)
{
	lcm_autobuf struct lcm_buf b = LCM_BUF(LCM_MANIFEST_MAX);
	lcm_autofree char *copy = strdup(entries);
	char *save = NULL, *part = NULL;
	int i = 0;

	assert_int_equal(lcm_buf_printf(&b, "%s\"manifests\":[", HEAD), 0);
	for (char *e = strtok_r(copy, " ", &save); e; e = strtok_r(NULL, " ", &save), i++) {
		const char *os = strtok_r(e, "/", &part), *arch = strtok_r(NULL, "/", &part);
		const char *variant = strtok_r(NULL, "/", &part);

		assert_int_equal(
		    lcm_buf_printf(
			&b, "%s{\"mediaType\":\"%smanifest.v1+json\",\"digest\":\"%s\",\"size\":%d",
			i ? "," : "", OCI, DIGEST, i),
		    0);
		if (arch)
			assert_int_equal(
			    lcm_buf_printf(&b,
					   ",\"platform\":{\"os\":\"%s\",\"architecture\":\"%s\","
					   "\"variant\":\"%s\"}",
					   os, arch, variant ? variant : ""),
			    0);
		assert_int_equal(lcm_buf_add(&b, "}", 1), 0);
	}
	assert_int_equal(lcm_buf_printf(&b, "]}"), 0);
	assert_int_equal(lcm_manifest_parse(b.data, b.len, NULL, ret, NULL), 0);
	assert_int_equal((*ret)->media, LCM_MEDIA_INDEX);
}

static void selects_as_containerd(void **state)
{
	static const struct {
		const char *want, *entries;
		int which; /* index of the entry, or -errno */
	} table[] = {
		{ "linux/amd64", "linux/arm64/v8 linux/amd64", 1 },
		{ "linux/amd64", "windows/amd64 linux/amd64/v2", -ENOEXEC },
		{ "linux/amd64/v3", "linux/amd64 linux/amd64/v2 linux/amd64/v4", 1 },
		{ "linux/amd64", "linux/386 linux/amd64/v1", 1 },
		{ "linux/amd64", "linux/arm64 linux/386", 1 },
		{ "linux/386", "linux/amd64", -ENOEXEC },
		{ "linux/arm64/v8", "linux/arm/v7 linux/arm64", 1 },
		{ "linux/arm64", "linux/arm64/v8", 0 },
		{ "linux/arm64", "linux/arm/v6 linux/arm/v7", 1 },
		{ "linux/arm/v7", "linux/arm/v5 linux/arm/v6 linux/arm64", 1 },
		{ "linux/arm/v6", "linux/arm/v7 linux/arm", -ENOEXEC },
		{ "linux/s390x", "unknown/unknown linux/amd64", -ENOEXEC },
		{ "linux/amd64", "linux/arm64 -", 1 },
		{ "linux/amd64", "- linux/amd64", 1 },
		{ "linux/amd64", "linux/amd64 linux/amd64", 0 },
		{ "linux/amd64", "", -ENOEXEC },
	};

	(void)state;
	for (size_t i = 0; i < LCM_ARRAY_SIZE(table); i++) {
		lcm_auto(lcm_manifest) m = NULL;
		const struct lcm_descriptor *d = NULL;
		struct lcm_platform want;
		struct lcm_err err = { 0 };
		int r;

		make_index(table[i].entries, &m);
		assert_int_equal(lcm_platform_parse(table[i].want, &want), 0);
		r = lcm_manifest_select(m, &want, &d, &err);
		if (r == 0)
			r = (int)(d - m->layers);
		if (r != table[i].which)
			fail_msg("row %zu: %d, wanted %d", i, r, table[i].which);
		if (r < 0)
			assert_null(d);
	}
}

static void select_says_what_there_is(void **state)
{
	lcm_auto(lcm_manifest) m = NULL;
	const struct lcm_descriptor *d = NULL;
	const struct lcm_platform want = { "linux", "riscv64", "" };
	struct lcm_err err = { 0 };

	(void)state;
	make_index("linux/arm/v7 unknown/unknown windows/amd64", &m);
	assert_int_equal(lcm_manifest_select(m, &want, &d, &err), -ENOEXEC);
	assert_string_equal(err.msg,
			    "no image for linux/riscv64; there is: linux/arm/v7, windows/amd64");
	m->media = LCM_MEDIA_MANIFEST;
	assert_int_equal(lcm_manifest_select(m, &want, &d, &err), -EINVAL);
}

static void embedded_data_is_proven(void **state)
{
	static const struct {
		const char *more;
		int r;
		const char *says;
	} table[] = {
		{ ",\"data\":\"\"", 0, "" },
		{ ",\"data\":\"aGVsbG8K\"", 0, "" },
		{ ",\"data\":\"aGVsbG8=\"", -EUCLEAN, "layers[0]: data is not what" },
		{ ",\"data\":\"aGVsbG8L\"", -EUCLEAN, "layers[0]: data is not what" },
		{ ",\"data\":\"aGVsbG8\"", -EUCLEAN, "layers[0]: data is not base64" },
		{ ",\"data\":7", -EUCLEAN, "layers[0]: data is not a string" },
	};

	(void)state;
	for (size_t i = 0; i < LCM_ARRAY_SIZE(table); i++) {
		lcm_auto(lcm_manifest) m = NULL;
		struct lcm_err err = { 0 };
		char text[1024];
		int n = snprintf(text, sizeof(text),
				 HEAD CONFIG
				 ",\"layers\":[{\"mediaType\":\"" OCI
				 "layer.v1.tar\",\"digest\":\"sha256:"
				 "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846"
				 "f6be03\",\"size\":6%s}]}",
				 table[i].more);

		assert_int_equal(lcm_manifest_parse(text, (size_t)n, NULL, &m, &err), table[i].r);
		if (!strstr(err.msg, table[i].says))
			fail_msg("row %zu: %s", i, err.msg);
		if (i == 1)
			assert_memory_equal(m->layers[0].data, "hello\n", 6);
	}
}

/* Indexes inside of an index: those that could have something for us, in their order. */
static void nested_indexes_are_found(void **state)
{
	lcm_auto(lcm_manifest) m = NULL;
	const struct lcm_platform want = { "linux", "amd64", "" };
	size_t at = 0;

	(void)state;
	make_index("linux/arm64 windows/amd64 linux/386 linux/amd64 -", &m);
	assert_null(lcm_manifest_nested(m, &want, &at));
	for (size_t i = 0; i < 5; i++)
		if (i != 3)
			m->layers[i].media = LCM_MEDIA_INDEX;
	at = 0;
	assert_ptr_equal(lcm_manifest_nested(m, &want, &at), &m->layers[2]);
	assert_ptr_equal(lcm_manifest_nested(m, &want, &at), &m->layers[4]);
	assert_null(lcm_manifest_nested(m, &want, &at));
}

#define ROOTFS "\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[\"" DIGEST "\"]}"

static void parses_a_config(void **state)
{
	static const char text[] =
	    "{\"os\":\"linux\",\"architecture\":\"arm64\",\"variant\":\"v8\",\"config\":{\"Env\":["
	    "\"A=1\"],"
	    "\"Entrypoint\":null,\"Cmd\":[\"sh\",\"\"],\"User\":\"u:g\",\"WorkingDir\":\"/w\","
	    "\"StopSignal\":\"SIGINT\"}," ROOTFS "}";
	lcm_auto(lcm_image_config) c = NULL;

	(void)state;
	assert_int_equal(lcm_image_config_parse(text, strlen(text), &c, NULL), 0);
	assert_string_equal(c->platform.variant, "v8");
	assert_int_equal(c->n_diffids, 1);
	assert_string_equal(c->env[0], "A=1");
	assert_null(c->env[1]);
	assert_null(c->entrypoint[0]);
	assert_string_equal(c->cmd[1], "");
	assert_null(c->cmd[2]);
	assert_string_equal(c->user, "u:g");
	assert_string_equal(c->working_dir, "/w");
	assert_string_equal(c->stop_signal, "SIGINT");
}

static void judges_configs(void **state)
{
	static const struct row table[] = {
		{ "{" ROOTFS "}", NULL, 0, "" },
		{ "{" ROOTFS ",\"config\":null}", NULL, 0, "" },
		{ "{}", NULL, -EUCLEAN, "rootfs is missing" },
		{ "{\"rootfs\":{\"type\":\"disk\"}}", NULL, -EUCLEAN, "disk" },
		{ "{\"rootfs\":{\"type\":\"layers\"}}", NULL, -EUCLEAN, "diff_ids" },
		{ "{\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[1]}}", NULL, -EUCLEAN,
		  "diff_ids[0]" },
		{ "{\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[\"sha256:x\"]}}", NULL, -EUCLEAN,
		  "diff_ids[0]" },
		{ "{\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[\"sha512:x\"]}}", NULL, -ENOTSUP,
		  "diff_ids[0]" },
		{ "{" ROOTFS ",\"config\":[]}", NULL, -EUCLEAN, "config is not an object" },
		{ "{" ROOTFS ",\"config\":{\"Env\":{}}}", NULL, -EUCLEAN, "Env" },
		{ "{" ROOTFS ",\"config\":{\"Cmd\":[\"a\",null]}}", NULL, -EUCLEAN, "Cmd[1]" },
		{ "{" ROOTFS ",\"config\":{\"User\":7}}", NULL, -EUCLEAN, "User" },
		{ "{" ROOTFS ",\"config\":{\"WorkingDir\":\"/a\\nb\"}}", NULL, -EUCLEAN,
		  "WorkingDir" },
		{ "{" ROOTFS ",\"os\":\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"}", NULL, -EUCLEAN,
		  "os" },
	};

	(void)state;
	for (size_t i = 0; i < LCM_ARRAY_SIZE(table); i++) {
		lcm_auto(lcm_image_config) c = NULL;
		struct lcm_err err = { 0 };
		int r = lcm_image_config_parse(table[i].text, strlen(table[i].text), &c, &err);

		if (r != table[i].r || !strstr(err.msg, table[i].why))
			fail_msg("row %zu: %d \"%s\", wanted %d \"%s\"", i, r, err.msg, table[i].r,
				 table[i].why);
		assert_true(!c == (r < 0));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(parses_a_manifest),
		cmocka_unit_test(judges_manifests),
		cmocka_unit_test(layers_are_counted),
		cmocka_unit_test(json_is_bounded),
		cmocka_unit_test(parses_platforms),
		cmocka_unit_test(selects_as_containerd),
		cmocka_unit_test(select_says_what_there_is),
		cmocka_unit_test(embedded_data_is_proven),
		cmocka_unit_test(nested_indexes_are_found),
		cmocka_unit_test(parses_a_config),
		cmocka_unit_test(judges_configs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
