/* SPDX-License-Identifier: Apache-2.0 */
#include "image/manifest.h"

#include <stdio.h>
#include <string.h>

/* Source: containerd/platforms: database.go (spellings), compare.go platformVector() (what else
 * runs here). */

#if defined(__x86_64__)
#define HOST_ARCH "amd64"
#elif defined(__aarch64__)
#define HOST_ARCH "arm64"
#define HOST_VARIANT "v8"
#elif defined(__arm__) && __ARM_ARCH >= 7
#define HOST_ARCH "arm"
#define HOST_VARIANT "v7"
#elif defined(__arm__) && __ARM_ARCH == 6
#define HOST_ARCH "arm"
#define HOST_VARIANT "v6"
#elif defined(__arm__)
#define HOST_ARCH "arm"
#define HOST_VARIANT "v5"
#elif defined(__i386__)
#define HOST_ARCH "386"
#elif defined(__s390x__)
#define HOST_ARCH "s390x"
#elif defined(__powerpc64__) && defined(__LITTLE_ENDIAN__)
#define HOST_ARCH "ppc64le"
#elif defined(__riscv) && __riscv_xlen == 64
#define HOST_ARCH "riscv64"
#elif defined(__loongarch64)
#define HOST_ARCH "loong64"
#elif defined(__mips64) && defined(__MIPSEL__)
#define HOST_ARCH "mips64le"
#else
#error "name this architecture as Go does (GOARCH)"
#endif
#ifndef HOST_VARIANT
#define HOST_VARIANT ""
#endif

#define PLATFORM_STR_MAX 100 /* three parts of 31 bytes, two slashes, NUL */

/* Ways to write an architecture; variant NULL: keep what was given. */
static const struct {
	const char *alias, *arch, *variant;
} spellings[] = {
	{ "x86_64", "amd64", NULL }, { "x86-64", "amd64", NULL },  { "i386", "386", NULL },
	{ "i686", "386", NULL },     { "aarch64", "arm64", NULL }, { "armhf", "arm", "v7" },
	{ "armel", "arm", "v6" },
};

static const char *platform_str(const struct lcm_platform *p, char out[PLATFORM_STR_MAX])
{
	snprintf(out, PLATFORM_STR_MAX, "%s/%s%s%s", p->os, p->arch, *p->variant ? "/" : "",
		 p->variant);
	return out;
}

static void set(char out[32], const char *s)
{
	snprintf(out, 32, "%s", s);
}

static void lower(char *s)
{
	for (; *s; s++)
		if (*s >= 'A' && *s <= 'Z')
			*s = (char)(*s - 'A' + 'a');
}

/* One spelling for each platform: arm64/v8 and amd64/v1 are written without variant, arm always has
 * one. */
static struct lcm_platform normalize(const struct lcm_platform *in)
{
	struct lcm_platform p = *in;

	lower(p.os);
	lower(p.arch);
	lower(p.variant);
	for (size_t i = 0; i < LCM_ARRAY_SIZE(spellings); i++) {
		if (strcmp(p.arch, spellings[i].alias) != 0)
			continue;
		set(p.arch, spellings[i].arch);
		if (spellings[i].variant)
			set(p.variant, spellings[i].variant);
		break;
	}
	if (strcmp(p.arch, "arm") == 0 && !*p.variant)
		set(p.variant, "v7");
	if (p.variant[0] >= '0' && p.variant[0] <= '9' && strlen(p.variant) < 31) {
		memmove(p.variant + 1, p.variant, strlen(p.variant) + 1);
		p.variant[0] = 'v';
	}
	if ((strcmp(p.arch, "arm64") == 0 &&
	     (strcmp(p.variant, "v8") == 0 || strcmp(p.variant, "v8.0") == 0)) ||
	    (strcmp(p.arch, "amd64") == 0 && strcmp(p.variant, "v1") == 0))
		p.variant[0] = '\0';
	return p;
}

void lcm_platform_host(struct lcm_platform *ret)
{
	*ret = (struct lcm_platform){ .os = "linux", .arch = HOST_ARCH, .variant = HOST_VARIANT };
}

static bool take_part(const char **s, char out[32])
{
	size_t n = strcspn(*s, "/");

	if (n == 0 || n >= 32)
		return false;
	for (size_t i = 0; i < n; i++) {
		char c = (*s)[i];

		/* containerd/platforms: [A-Za-z0-9_.-]+ */
		if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
		      c == '_' || c == '.' || c == '-'))
			return false;
		out[i] = c;
	}
	out[n] = '\0';
	*s += n + ((*s)[n] == '/' && (*s)[n + 1] != '\0');
	return true;
}

int lcm_platform_parse(const char *s, struct lcm_platform *ret)
{
	struct lcm_platform p = { 0 };

	if (!take_part(&s, p.os) || !take_part(&s, p.arch))
		return -EINVAL;
	if (*s && (*s == '/' || !take_part(&s, p.variant)))
		return -EINVAL;
	if (*s)
		return -EINVAL;
	*ret = normalize(&p);
	return 0;
}

/* "v3" is 3; -1 for anything else. */
static int level(const char *variant)
{
	if (variant[0] == 'v' && variant[1] >= '1' && variant[1] <= '9' && !variant[2])
		return variant[1] - '0';
	return -1;
}

/*
 * How well @have (normalized) runs on @want (normalized): 0 is exact, larger is
 * worse, negative not at all. A lower level of the same architecture runs; so
 * do 386 on amd64 and arm on arm64, after everything native.
 */
static int distance(const struct lcm_platform *want, const struct lcm_platform *have)
{
	bool same = strcmp(want->arch, have->arch) == 0;
	int w, h;

	if (strcmp(want->os, have->os) != 0)
		return -1;
	if (same && strcmp(want->variant, have->variant) == 0)
		return 0;
	if (same && (strcmp(want->arch, "amd64") == 0 || strcmp(want->arch, "arm") == 0)) {
		w = level(want->variant);
		h = *have->variant ? level(have->variant) : 1;
		if (strcmp(want->arch, "arm") == 0 && h < 5)
			return -1;
		return w > h && h > 0 ? w - h : -1;
	}
	if (same && strcmp(want->arch, "arm64") == 0)
		return *have->variant ? -1 : 1;
	if (strcmp(want->arch, "amd64") == 0 && strcmp(have->arch, "386") == 0 && !*have->variant)
		return 20;
	if (strcmp(want->arch, "arm64") == 0 && strcmp(have->arch, "arm") == 0) {
		h = level(have->variant);
		return h >= 5 && h <= 8 ? 30 - h : -1;
	}
	return -1;
}

/* Attestations of BuildKit are entries for "unknown/unknown"; they are not images. */
static bool is_image(const struct lcm_descriptor *d)
{
	return d->media == LCM_MEDIA_MANIFEST && strcmp(d->platform.os, "unknown") != 0;
}

const struct lcm_descriptor *lcm_manifest_nested(const struct lcm_manifest *index,
						 const struct lcm_platform *want, size_t *at)
{
	struct lcm_platform w = normalize(want);

	while (*at < index->n_layers) {
		const struct lcm_descriptor *d = &index->layers[(*at)++];
		struct lcm_platform have = normalize(&d->platform);

		if (d->media == LCM_MEDIA_INDEX && (!*have.os || distance(&w, &have) >= 0))
			return d;
	}
	return NULL;
}

static int none_fits(const struct lcm_manifest *index, const struct lcm_platform *want,
		     struct lcm_err *err)
{
	char list[320] = "", name[PLATFORM_STR_MAX];
	size_t used = 0;

	for (size_t i = 0; i < index->n_layers; i++) {
		const struct lcm_descriptor *d = &index->layers[i];
		int n;

		if (!is_image(d) || !*d->platform.os)
			continue;
		n = snprintf(list + used, sizeof(list) - used, "%s%s", used ? ", " : "",
			     platform_str(&d->platform, name));
		if (n < 0 || (size_t)n >= sizeof(list) - used - 5) {
			snprintf(list + used, sizeof(list) - used, ", ...");
			break;
		}
		used += (size_t)n;
	}
	return lcm_err_set(err, -ENOEXEC, "no image for %s; there is: %s", platform_str(want, name),
			   *list ? list : "none for any platform");
}

int lcm_manifest_select(const struct lcm_manifest *index, const struct lcm_platform *want,
			const struct lcm_descriptor **ret, struct lcm_err *err)
{
	struct lcm_platform w = normalize(want);
	const struct lcm_descriptor *best = NULL, *unnamed = NULL;
	int best_distance = 0;

	if (index->media != LCM_MEDIA_INDEX)
		return lcm_err_set(err, -EINVAL, "not an image index");
	for (size_t i = 0; i < index->n_layers; i++) {
		const struct lcm_descriptor *d = &index->layers[i];
		struct lcm_platform have;
		int n;

		if (!is_image(d))
			continue;
		if (!*d->platform.os) {
			unnamed = unnamed ? unnamed : d;
			continue;
		}
		have = normalize(&d->platform);
		n = distance(&w, &have);
		if (n >= 0 && (!best || n < best_distance)) {
			best = d;
			best_distance = n;
		}
	}
	if (!best)
		best = unnamed;
	if (!best)
		return none_fits(index, want, err);
	*ret = best;
	return 0;
}
