/* SPDX-License-Identifier: Apache-2.0 */
/*
 * locum-bench-meta [FILES] - time and size of META, beside mkfs.erofs on the same tree.
 *
 * Five layers of FILES (50,000) regular files in all, directories and symlinks in proportion,
 * the same in every run. The tree for mkfs.erofs is made of sparse files with the two overlay
 * xattrs below $TMPDIR (or /tmp); making it is timed apart. Mounting and the tree need root.
 */
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "overlay/erofs_plan.h"
#include "overlay/mount.h"
#include "src/base/sys.h"

#define LAYERS 5
#define ROUNDS 5

extern char **environ;

struct bench {
	char dir[256];
	int fd;
	struct lcm_meta_layer l[LAYERS];
	struct lcm_merge m;
	struct lcm_erofs_plan plan;
	uint64_t payload; /* bytes of names and of xattr names and values */
	double merge, layout, write, mount, tree, mkfs; /* ms */
	uint64_t mkfs_bytes;
};

static void die(const char *what, int r, const struct lcm_err *err)
{
	fprintf(stderr, "locum-bench-meta: %s: %s\n", what, lcm_err_text(err, r));
	exit(1);
}

static double since(uint64_t start)
{
	return (double)(lcm_now_ns() - start) / 1e6;
}

static uint64_t mix(uint64_t x)
{
	x ^= x >> 31;
	x *= 0x9E3779B97F4A7C15ULL;
	return x ^ x >> 29;
}

static void add(struct lcm_toc_builder *b, struct lcm_toc_item *it, const char *path)
{
	struct lcm_err err = { 0 };
	int r;

	it->path = path;
	it->path_len = strlen(path);
	r = lcm_toc_builder_add(b, it, &err);
	if (r < 0)
		die(path, r, &err);
}

/* Packages of some 40 files; all files of a package have the time it was built. Every tenth file
 * replaces one of the layer below. */
static void add_files(struct lcm_toc_builder *b, unsigned int layer, unsigned int files)
{
	static const char *const places[] = { "usr/lib/x86_64-linux-gnu", "usr/share/doc",
					      "usr/lib/python3/dist-packages", "usr/include",
					      "usr/share/locale" };

	for (unsigned int i = 0; i < files; i++) {
		unsigned int owner = layer > 0 && i % 10 == 0 ? layer - 1 : layer, package = i / 40;
		uint64_t h = mix((uint64_t)owner << 32 | i);
		struct lcm_toc_item it = { .type = LCM_TOC_REG,
					   .mode = 0644,
					   .size = 1 + h % 20000,
					   .mtime = 1600000000 + mix(package) % 90000000 };
		char path[256];

		if (layer == LAYERS - 1)
			it.mtime = 1700000000; /* one COPY: one time */
		(void)snprintf(path, sizeof(path), "%s/package-%u-%u/%s%06x-%u.%s",
			       places[package % LCM_ARRAY_SIZE(places)], owner, package,
			       i % 40 < 10 ? "sub/" : "", (unsigned int)(h & 0xffffff), i,
			       h & 1 ? "py" : "so.1");
		add(b, &it, path);
		if (i % 25 == 0) {
			it = (struct lcm_toc_item){ .type = LCM_TOC_SYMLINK,
						    .mode = 0777,
						    .size = 12,
						    .link = "target.so.12",
						    .link_len = 12,
						    .mtime = it.mtime };
			(void)snprintf(path, sizeof(path), "usr/lib/x86_64-linux-gnu/lib%u-%u.so",
				       layer, i);
			add(b, &it, path);
		}
	}
}

static void make_layers(struct bench *s, unsigned int files)
{
	static const char *const names[LAYERS] = { "l1", "l2", "l3", "l4", "l5" };
	struct lcm_toc_id id = { .compression = LCM_COMP_GZIP, .blob_size = 1, .blob = { { 1 } } };
	struct lcm_err err = { 0 };

	for (unsigned int i = 0; i < LAYERS; i++) {
		lcm_auto(lcm_toc_builder) b = NULL;
		struct lcm_toc *toc = NULL;
		int r = lcm_toc_builder_new(&b);

		if (r == 0) {
			add_files(b, i, files / LAYERS);
			r = lcm_toc_builder_finish(b, &id, s->fd, names[i], false, &err);
		}
		if (r == 0)
			r = lcm_toc_open(s->fd, names[i], &toc, &err);
		if (r < 0)
			die("layer", r, &err);
		s->l[i] = (struct lcm_meta_layer){ names[i], toc };
	}
}

static double least(double a, double b)
{
	return a == 0 || b < a ? b : a;
}

/* The best of a few rounds; the last one's merge and plan stay. */
static void measure(struct bench *s, const char *image)
{
	struct lcm_err err = { 0 };

	for (int i = 0; i < ROUNDS; i++) {
		lcm_autoclose int fd = lcm_sys_openat(AT_FDCWD, image, O_RDWR | O_CREAT | O_TRUNC,
						      0600),
				  mnt = -EBADF;
		uint64_t start = lcm_now_ns();
		int r;

		lcm_erofs_plan_fini(&s->plan);
		lcm_merge_fini(&s->m);
		r = lcm_merge_init(s->l, LAYERS, &s->m, &err);
		s->merge = least(s->merge, since(start));
		start = lcm_now_ns();
		if (r == 0)
			r = lcm_erofs_plan_init(&s->m, &s->plan, &err);
		s->layout = least(s->layout, since(start));
		start = lcm_now_ns();
		if (r == 0)
			r = lcm_erofs_write(&s->plan, fd, &err);
		if (r < 0)
			die("META", r, &err);
		s->write = least(s->write, since(start));
		start = lcm_now_ns();
		mnt = lcm_mount_erofs(image, false, &err);
		if (mnt < 0)
			die("mount", mnt, &err);
		s->mount = least(s->mount, since(start));
	}
}

static int count_xattrs(void *arg, uint32_t node, const char *redirect, size_t len)
{
	struct bench *s = arg;

	(void)node;
	if (redirect)
		s->payload += strlen(EROFS_REDIRECT_NAME) + len;
	return 0;
}

static void count_payload(struct bench *s)
{
	for (uint32_t i = 0; i < s->m.n_names; i++) {
		size_t len;

		(void)lcm_merge_name(&s->m, &s->m.names[i], &len);
		s->payload += len;
	}
	lcm_ignore(lcm_merge_walk(&s->m, count_xattrs, s, NULL));
}

/* ---- the same by mkfs.erofs ---- */

static int placeholder(const char *path, const struct lcm_toc_entry *e, const char *redirect,
		       size_t len)
{
	lcm_autoclose int fd = lcm_sys_openat(AT_FDCWD, path, O_WRONLY | O_CREAT | O_EXCL, 0644);
	int r = fd < 0 ? fd : lcm_sys_ftruncate(fd, e->size);

	if (r == 0)
		r = lcm_sys_fsetxattr(fd, "trusted.overlay.metacopy", "", 0);
	if (r == 0)
		r = lcm_sys_fsetxattr(fd, "trusted.overlay.redirect", redirect, len);
	return r;
}

/* Breadth first by names, as the merge is; a directory's path is found from its parents. */
static void make_tree(struct bench *s, uint32_t dir, char *path, size_t at)
{
	const struct lcm_merge_node *n = &s->m.nodes[dir];

	for (uint32_t i = 0; i < n->count; i++) {
		const struct lcm_merge_name *name = &s->m.names[n->first + i];
		const struct lcm_toc_entry *e = lcm_merge_entry(&s->m, name->node);
		const struct lcm_toc *toc = s->l[s->m.nodes[name->node].layer].toc;
		char rel[1024], redirect[1200];
		size_t len;
		const char *text = lcm_merge_name(&s->m, name, &len);
		int r;

		(void)snprintf(path + at, 1024 - at, "/%s", text);
		if (e->type == LCM_TOC_DIR) {
			r = lcm_sys_mkdirat(AT_FDCWD, path, 0755);
			if (r == 0)
				make_tree(s, name->node, path, at + 1 + len);
		} else if (e->type == LCM_TOC_SYMLINK) {
			r = lcm_sys_symlinkat(lcm_toc_link(toc, e), AT_FDCWD, path);
		} else {
			r = lcm_toc_path(toc, s->m.nodes[name->node].entry, rel, sizeof(rel));
			(void)snprintf(redirect, sizeof(redirect), "/%s/%s",
				       s->l[s->m.nodes[name->node].layer].name, rel);
			r = r < 0 ? r : placeholder(path, e, redirect, strlen(redirect));
		}
		if (r < 0)
			die(path, r, NULL);
	}
}

static int run(char *const argv[])
{
	posix_spawn_file_actions_t fa;
	int status = -1, r;
	pid_t pid;

	r = posix_spawn_file_actions_init(&fa);
	if (r == 0)
		r = posix_spawn_file_actions_addopen(&fa, 1, "/dev/null", O_WRONLY, 0);
	if (r == 0)
		r = posix_spawnp(&pid, argv[0], &fa, NULL, argv, environ);
	if (r != 0)
		return -r;
	return waitpid(pid, &status, 0) == pid && status == 0 ? 0 : -EIO;
}

static void measure_mkfs(struct bench *s)
{
	char tree[1024], image[300];
	char *argv[] = { (char *)(uintptr_t) "mkfs.erofs", image, tree, NULL };
	uint64_t start = lcm_now_ns();
	struct stat st;
	int r;

	(void)snprintf(tree, sizeof(tree), "%s/tree", s->dir);
	(void)snprintf(image, sizeof(image), "%s/mkfs.erofs", s->dir);
	r = lcm_sys_mkdirat(AT_FDCWD, tree, 0755);
	if (r < 0)
		die(tree, r, NULL);
	make_tree(s, 0, tree, strlen(tree));
	s->tree = since(start);
	(void)snprintf(tree, sizeof(tree), "%s/tree", s->dir);
	start = lcm_now_ns();
	r = run(argv);
	if (r < 0)
		die("mkfs.erofs", r, NULL);
	s->mkfs = since(start);
	r = lcm_sys_fstatat(AT_FDCWD, image, &st, 0);
	if (r < 0)
		die(image, r, NULL);
	s->mkfs_bytes = (uint64_t)st.st_size;
}

static void report(const struct bench *s)
{
	const struct lcm_meta_stats *st = &s->plan.stats;
	double ours = s->merge + s->layout + s->write;

	printf("files %llu inodes %llu image_bytes %llu\n", (unsigned long long)st->regular,
	       (unsigned long long)st->inodes, (unsigned long long)st->image_bytes);
	printf("merge_ms %.2f layout_ms %.2f write_ms %.2f total_ms %.2f mount_ms %.2f\n", s->merge,
	       s->layout, s->write, ours, s->mount);
	printf("bytes_per_inode %.1f beyond_names_and_xattrs %.1f\n",
	       (double)st->image_bytes / (double)st->inodes,
	       (double)(st->image_bytes - s->payload) / (double)st->inodes);
	printf("mkfs_ms %.0f (tree of placeholders %.0f) mkfs_bytes %llu\n", s->mkfs, s->tree,
	       (unsigned long long)s->mkfs_bytes);
	printf("ratio_time %.1f ratio_time_with_tree %.1f ratio_bytes %.2f\n", s->mkfs / ours,
	       (s->mkfs + s->tree) / ours, (double)s->mkfs_bytes / (double)st->image_bytes);
}

int main(int argc, char **argv)
{
	const char *tmp = getenv("TMPDIR");
	unsigned int files = 50000;
	struct bench s = { 0 };
	char image[300];

	if (argc > 2 || (argc == 2 && (sscanf(argv[1], "%u", &files) != 1 || files < LAYERS))) {
		fprintf(stderr, "usage: locum-bench-meta [FILES]\n");
		return 2;
	}
	(void)snprintf(s.dir, sizeof(s.dir), "%s/locum-bench.XXXXXX", tmp ? tmp : "/tmp");
	if (!mkdtemp(s.dir))
		die(s.dir, (int)lcm_errno(-1), NULL);
	s.fd = lcm_sys_openat(AT_FDCWD, s.dir, O_RDONLY | O_DIRECTORY, 0);
	(void)snprintf(image, sizeof(image), "%s/meta.erofs", s.dir);
	make_layers(&s, files);
	measure(&s, image);
	count_payload(&s);
	measure_mkfs(&s);
	report(&s);
	lcm_erofs_plan_fini(&s.plan);
	lcm_merge_fini(&s.m);
	for (int i = 0; i < LAYERS; i++)
		lcm_toc_close((struct lcm_toc *)(uintptr_t)s.l[i].toc);
	(void)close(s.fd);
	return lcm_rmtree_at(AT_FDCWD, s.dir) < 0;
}
