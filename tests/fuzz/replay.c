/* SPDX-License-Identifier: Apache-2.0 */
/*
 * replay.c - main() of a fuzz target in ordinary builds: runs every file of its corpus.
 *
 * The corpus of tests/fuzz/fuzz_NAME is $srcdir/tests/fuzz/corpus/NAME. Fails when it is empty.
 */
#include <dirent.h>
#include <stdio.h>
#include <string.h>

#include "src/base/sys.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int replay_dir(const char *path)
{
	DIR *d = opendir(path);
	struct dirent *e;
	int n = 0;

	if (!d)
		return 0;
	while ((e = readdir(d))) {
		lcm_autofree char *p = NULL, *exact = NULL;
		size_t len = 0;

		if (e->d_name[0] == '.')
			continue;
		if (lcm_read_file_at(dirfd(d), e->d_name, 64U << 20, &p, &len) < 0) {
			fprintf(stderr, "%s/%s: cannot be read\n", path, e->d_name);
			(void)closedir(d);
			return 0;
		}
		exact = malloc(len ? len : 1); /* no spare byte: overruns are seen */
		if (!exact)
			abort();
		memcpy(exact, p, len);
		(void)LLVMFuzzerTestOneInput((const uint8_t *)exact, len);
		n++;
	}
	(void)closedir(d);
	return n;
}

int main(int argc, char **argv)
{
	const char *src = getenv("srcdir"), *base = strrchr(argv[0], '/');
	char path[4096];
	int n;

	(void)argc;
	base = base ? base + 1 : argv[0];
	(void)snprintf(path, sizeof(path), "%s/tests/fuzz/corpus/%s", src ? src : ".",
		       base + strlen("fuzz_"));
	n = replay_dir(path);
	printf("%s: %d inputs replayed\n", base, n);
	return n > 0 ? 0 : 1;
}
