/* SPDX-License-Identifier: Apache-2.0 */
/*
 * treecmp A B [OPTION]... - print every difference between two trees.
 *
 *   --ignore-dir-times
 *   --rounded-times        B's times may be A's rounded to the nearest second, halves up
 *   --no-empty-xattrs      those without a value are not compared
 *
 * Compared: names, type, mode, owner, size, mtime with nanoseconds, xattrs (not trusted.overlay.*,
 * but for opaque), hardlink groups, device numbers, symlink targets, SHA-256 of contents. Whiteouts
 * (character devices 0:0) are equal whatever else they carry. Exit status: 0 equal, 1 different or
 * nothing compared, 2 trouble.
 */
#include <dirent.h>
#include <limits.h>
#include <search.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#include "src/base/digest.h"
#include "src/base/sys.h"

#define READ_BYTES ((size_t)1 << 20)

/* The first path at which an inode with several links was met. */
struct seen_inode {
	dev_t dev;
	ino_t ino;
	char *path; /* owned */
};

struct compare {
	const char *root[2];
	bool ignore_dir_times, rounded_times, no_empty_xattrs;
	void *inodes[2]; /* tsearch(3) trees of struct seen_inode */
	unsigned long entries, differences;
	char *read_buf;
};

static void trouble(const char *what, const char *path, long r)
{
	fprintf(stderr, "treecmp: %s: %s (%s)\n", path, what, strerror((int)-r));
	exit(2);
}

/* Names may hold any byte; a report is one line. */
static void print_path(const char *s)
{
	for (; *s; s++)
		if ((unsigned char)*s < 0x20 || (unsigned char)*s > 0x7e || *s == '\\')
			printf("\\%03o", (unsigned char)*s);
		else
			putchar(*s);
}

LCM_PRINTF(3, 4)
static void report(struct compare *c, const char *path, const char *fmt, ...)
{
	va_list ap;

	c->differences++;
	print_path(path[0] ? path : "/");
	printf(": ");
	va_start(ap, fmt);
	(void)vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
}

static char *join(const char *a, const char *b)
{
	char *s = NULL;

	if (asprintf(&s, "%s%s%s", a, a[0] ? "/" : "", b) < 0)
		trouble("out of memory", b, -ENOMEM);
	return s;
}

static int inode_cmp(const void *pa, const void *pb)
{
	const struct seen_inode *a = pa, *b = pb;

	if (a->dev != b->dev)
		return a->dev < b->dev ? -1 : 1;
	return a->ino < b->ino ? -1 : a->ino > b->ino;
}

/* The first path of this inode, @path itself when it is the first. */
static const char *first_path(struct compare *c, int side, const struct stat *st, const char *path)
{
	struct seen_inode *n = calloc(1, sizeof(*n)), **at;

	if (!n)
		trouble("out of memory", path, -ENOMEM);
	n->dev = st->st_dev;
	n->ino = st->st_ino;
	at = tsearch(n, &c->inodes[side], inode_cmp);
	if (!at)
		trouble("out of memory", path, -ENOMEM);
	if (*at == n)
		n->path = strdup(path);
	else
		free(n);
	return (*at)->path;
}

static void digest_file(struct compare *c, const char *path, struct lcm_digest *ret)
{
	lcm_autoclose int fd = lcm_sys_openat(AT_FDCWD, path, O_RDONLY | O_NOFOLLOW, 0);
	lcm_auto(lcm_hash) h = lcm_hash_new();
	ssize_t n;

	if (fd < 0 || !h)
		trouble("cannot open", path, fd < 0 ? fd : -ENOMEM);
	while ((n = lcm_sys_read(fd, c->read_buf, READ_BYTES)) > 0)
		lcm_hash_update(h, c->read_buf, (size_t)n);
	if (n < 0)
		trouble("cannot read", path, n);
	lcm_hash_final(h, ret);
}

static bool xattr_counts(const char *name)
{
	return strncmp(name, "trusted.overlay.", 16) != 0 ||
	       strcmp(name, "trusted.overlay.opaque") == 0;
}

static ssize_t xattr_list(const char *path, char **ret)
{
	long n;

	*ret = malloc(XATTR_LIST_MAX);
	if (!*ret)
		trouble("out of memory", path, -ENOMEM);
	n = lcm_errno(llistxattr(path, *ret, XATTR_LIST_MAX));
	if (n == -ENOTSUP)
		n = 0;
	if (n < 0)
		trouble("cannot list xattrs", path, n);
	return n;
}

/* xattrs of side @a that side @b lacks, and, when @values, those that differ. */
static void xattrs_one_way(struct compare *c, const char *path, char *const full[2], int a, int b,
			   bool values)
{
	static char va[XATTR_SIZE_MAX], vb[XATTR_SIZE_MAX];
	lcm_autofree char *list = NULL;
	ssize_t n = xattr_list(full[a], &list);

	for (const char *name = list; name < list + n; name += strlen(name) + 1) {
		long la, lb;

		if (!xattr_counts(name))
			continue;
		la = lcm_errno(lgetxattr(full[a], name, va, sizeof(va)));
		lb = lcm_errno(lgetxattr(full[b], name, vb, sizeof(vb)));
		if (c->no_empty_xattrs && la == 0)
			continue;
		if (la < 0)
			trouble(name, full[a], la);
		if (lb == -ENODATA || lb == -ENOTSUP)
			report(c, path, "xattr %s only in %s", name, c->root[a]);
		else if (lb < 0)
			trouble(name, full[b], lb);
		else if (values && (la != lb || memcmp(va, vb, (size_t)la) != 0))
			report(c, path, "xattr %s differs (%ld and %ld bytes)", name, la, lb);
	}
}

static void link_targets(struct compare *c, const char *path, char *const full[2])
{
	char t[2][PATH_MAX];
	long n[2];

	for (int i = 0; i < 2; i++) {
		n[i] = lcm_errno(readlink(full[i], t[i], sizeof(t[i])));
		if (n[i] < 0)
			trouble("cannot read the link", full[i], n[i]);
	}
	if (n[0] != n[1] || memcmp(t[0], t[1], (size_t)n[0]) != 0)
		report(c, path, "symlink target %.*s / %.*s", (int)n[0], t[0], (int)n[1], t[1]);
}

static bool is_whiteout(const struct stat *st)
{
	return S_ISCHR(st->st_mode) && st->st_rdev == 0;
}

static void attributes(struct compare *c, const char *path, const struct stat st[2])
{
	const struct stat *a = &st[0], *b = &st[1];

	if ((a->st_mode & 07777) != (b->st_mode & 07777))
		report(c, path, "mode %04o / %04o", a->st_mode & 07777, b->st_mode & 07777);
	if (a->st_uid != b->st_uid || a->st_gid != b->st_gid)
		report(c, path, "owner %u:%u / %u:%u", a->st_uid, a->st_gid, b->st_uid, b->st_gid);
	if ((S_ISREG(a->st_mode) || S_ISLNK(a->st_mode)) && a->st_size != b->st_size)
		report(c, path, "size %lld / %lld", (long long)a->st_size, (long long)b->st_size);
	if ((S_ISCHR(a->st_mode) || S_ISBLK(a->st_mode)) && a->st_rdev != b->st_rdev)
		report(c, path, "device %u:%u / %u:%u", major(a->st_rdev), minor(a->st_rdev),
		       major(b->st_rdev), minor(b->st_rdev));
	if (S_ISDIR(a->st_mode) && c->ignore_dir_times)
		return;
	if (c->rounded_times && !b->st_mtim.tv_nsec &&
	    b->st_mtim.tv_sec == a->st_mtim.tv_sec + (a->st_mtim.tv_nsec >= 500000000))
		return;
	if (a->st_mtim.tv_sec != b->st_mtim.tv_sec || a->st_mtim.tv_nsec != b->st_mtim.tv_nsec)
		report(c, path, "mtime %lld.%09ld / %lld.%09ld", (long long)a->st_mtim.tv_sec,
		       a->st_mtim.tv_nsec, (long long)b->st_mtim.tv_sec, b->st_mtim.tv_nsec);
}

static void contents(struct compare *c, const char *path, char *const full[2])
{
	struct lcm_digest d[2];

	digest_file(c, full[0], &d[0]);
	digest_file(c, full[1], &d[1]);
	if (!lcm_digest_equal(&d[0], &d[1]))
		report(c, path, "content differs");
}

/* Return: both are directories to go into. */
static bool compare_entry(struct compare *c, const char *path, char *const full[2])
{
	const char *first[2];
	struct stat st[2];

	c->entries++;
	for (int i = 0; i < 2; i++) {
		int r = lcm_sys_fstatat(AT_FDCWD, full[i], &st[i], AT_SYMLINK_NOFOLLOW);

		if (r < 0)
			trouble("cannot stat", full[i], r);
	}
	if ((st[0].st_mode & S_IFMT) != (st[1].st_mode & S_IFMT)) {
		report(c, path, "type %06o / %06o", st[0].st_mode & S_IFMT, st[1].st_mode & S_IFMT);
		return false;
	}
	if (is_whiteout(&st[0]) && is_whiteout(&st[1]))
		return false;
	attributes(c, path, st);
	xattrs_one_way(c, path, full, 0, 1, true);
	xattrs_one_way(c, path, full, 1, 0, false);
	if (S_ISDIR(st[0].st_mode))
		return true;
	for (int i = 0; i < 2; i++)
		first[i] = first_path(c, i, &st[i], path);
	if (strcmp(first[0], first[1]) != 0)
		report(c, path, "hardlink of %s / of %s", first[0], first[1]);
	if (S_ISLNK(st[0].st_mode))
		link_targets(c, path, full);
	/* Links of one inode have one content. */
	if (S_ISREG(st[0].st_mode) && st[0].st_size == st[1].st_size && strcmp(first[0], path) == 0)
		contents(c, path, full);
	return false;
}

static int is_name(const struct dirent *e)
{
	return strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0;
}

static int by_bytes(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

static void compare_dir(struct compare *c, const char *path);

static void compare_child(struct compare *c, const char *dir, const char *name)
{
	lcm_autofree char *path = join(dir, name);
	char *full[2];

	for (int i = 0; i < 2; i++)
		full[i] = join(c->root[i], path);
	if (compare_entry(c, path, full))
		compare_dir(c, path);
	free(full[0]);
	free(full[1]);
}

static void compare_dir(struct compare *c, const char *path)
{
	struct dirent **list[2];
	int n[2], at[2] = { 0, 0 };

	for (int i = 0; i < 2; i++) {
		lcm_autofree char *full = join(c->root[i], path);

		n[i] = scandir(full, &list[i], is_name, by_bytes);
		if (n[i] < 0)
			trouble("cannot list", full, lcm_errno(-1));
	}
	while (at[0] < n[0] || at[1] < n[1]) {
		int order = at[0] == n[0] ? 1
			    : at[1] == n[1]
				? -1
				: strcmp(list[0][at[0]]->d_name, list[1][at[1]]->d_name);
		int side = order > 0;
		const char *name = list[side][at[side]]->d_name;

		if (order == 0) {
			compare_child(c, path, name);
		} else {
			lcm_autofree char *p = join(path, name);

			report(c, p, "only in %s", c->root[side]);
		}
		at[0] += order <= 0;
		at[1] += order >= 0;
	}
	for (int i = 0; i < 2; i++) {
		while (n[i] > 0)
			free(list[i][--n[i]]);
		free(list[i]);
	}
}

static void inode_free(void *p)
{
	struct seen_inode *n = p;

	free(n->path);
	free(n);
}

int main(int argc, char **argv)
{
	struct compare c = { 0 };
	char *roots[2];
	int n = 0;

	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--ignore-dir-times") == 0)
			c.ignore_dir_times = true;
		else if (strcmp(argv[i], "--rounded-times") == 0)
			c.rounded_times = true;
		else if (strcmp(argv[i], "--no-empty-xattrs") == 0)
			c.no_empty_xattrs = true;
		else if (n < 2 && argv[i][0] != '-')
			c.root[n++] = argv[i];
		else
			n = 3;
	}
	if (n != 2) {
		fprintf(stderr, "usage: treecmp A B [OPTION]...\n");
		return 2;
	}
	c.read_buf = malloc(READ_BYTES);
	if (!c.read_buf)
		return 2;
	roots[0] = join(c.root[0], ".");
	roots[1] = join(c.root[1], ".");
	if (compare_entry(&c, "", roots))
		compare_dir(&c, "");
	free(roots[0]);
	free(roots[1]);
	free(c.read_buf);
	tdestroy(c.inodes[0], inode_free);
	tdestroy(c.inodes[1], inode_free);
	c.entries--; /* the roots are no find */
	printf("treecmp: %lu entries compared, %lu differences\n", c.entries, c.differences);
	return c.differences || c.entries == 0;
}
