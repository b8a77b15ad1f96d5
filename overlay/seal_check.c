/* SPDX-License-Identifier: Apache-2.0 */
#include <endian.h>
#include <stdio.h>
#include <string.h>

#include "overlay/seal_impl.h"
#include "src/base/limits.h"
#include "src/base/sys.h"

#define IN_CAP ((size_t)64 << 10)

struct in {
	int fd; /* borrowed */
	uint64_t at, end;
	size_t pos, len;
	uint8_t buf[IN_CAP];
};

struct checker {
	struct seal_walk w;
	struct in in;
	uint64_t entries;
	int root;            /* borrowed */
	struct lcm_err *err; /* borrowed; may be NULL */
};

/* A record of the seal with its name. */
struct sealed {
	struct seal_record rec;
	char name[LCM_NAME_LEN_MAX + 1];
};

static int bad_seal(struct checker *c, const char *why)
{
	return lcm_err_set(c->err, -EUCLEAN, "the seal is damaged: %s", why);
}

/* ---- reading the seal ---- */

static int in_fill(struct in *in)
{
	size_t n = (size_t)LCM_MIN(in->end - in->at, (uint64_t)sizeof(in->buf));
	int r = lcm_sys_pread_full(in->fd, in->buf, n, sizeof(struct seal_header) + in->at);

	in->at += n;
	in->pos = 0;
	in->len = n;
	return r;
}

static int in_get(struct checker *c, void *p, size_t len)
{
	uint8_t *to = p;
	struct in *in = &c->in;
	int r = 0;

	while (len && r == 0) {
		size_t n = LCM_MIN(len, in->len - in->pos);

		memcpy(to, in->buf + in->pos, n);
		in->pos += n;
		to += n;
		len -= n;
		if (!len)
			break;
		if (in->at == in->end)
			return bad_seal(c, "it ends too early");
		r = in_fill(in);
	}
	return r;
}

/* One pass for the checksum, before anything of it is believed. */
static int in_begin(struct checker *c, int fd)
{
	struct seal_header h;
	struct stat st;
	uint64_t crc = 0;
	int r = lcm_sys_fstat(fd, &st);

	if (r == 0)
		r = (uint64_t)st.st_size < sizeof(h) ? bad_seal(c, "it is too short")
						     : lcm_sys_pread_full(fd, &h, sizeof(h), 0);
	if (r < 0)
		return r;
	if (memcmp(h.magic, SEAL_MAGIC, sizeof(h.magic)) != 0 ||
	    le64toh(h.len) != (uint64_t)st.st_size - sizeof(h))
		return bad_seal(c, "it is none, or of another length");
	c->in = (struct in){ .fd = fd, .end = le64toh(h.len) };
	while (c->in.at < c->in.end && r == 0) {
		r = in_fill(&c->in);
		crc = seal_crc(crc, c->in.buf, c->in.len);
	}
	if (r == 0 && seal_header_crc(crc, &h) != le64toh(h.checksum))
		return bad_seal(c, "its checksum differs");
	c->in.at = 0;
	c->in.pos = c->in.len = 0;
	return r;
}

static bool name_ok(const char *name, size_t len)
{
	return len && strlen(name) == len && !strchr(name, '/') && strcmp(name, ".") != 0 &&
	       strcmp(name, "..") != 0;
}

static int sealed_get(struct checker *c, struct sealed *ret, const char *last)
{
	struct seal_record *rec = &ret->rec;
	int r = in_get(c, rec, sizeof(*rec));

	if (r < 0)
		return r;
	*rec = (struct seal_record){ .data = le64toh(rec->data),
				     .attr = le64toh(rec->attr),
				     .size = le64toh(rec->size),
				     .mode = le32toh(rec->mode),
				     .name_len = le32toh(rec->name_len) };
	if (rec->name_len > LCM_NAME_LEN_MAX)
		return bad_seal(c, "a name is too long");
	r = in_get(c, ret->name, rec->name_len);
	ret->name[rec->name_len] = '\0';
	if (r < 0)
		return r;
	if (c->entries++ == LCM_TOC_ENTRIES_MAX)
		return bad_seal(c, "too many entries");
	if (last ? !name_ok(ret->name, rec->name_len) || strcmp(last, ret->name) >= 0
		 : rec->name_len || !S_ISDIR(rec->mode))
		return bad_seal(c, "names out of order");
	return 0;
}

/* ---- comparing ---- */

static void damage(struct checker *c, const char *path, const char *what)
{
	c->w.result.damaged++;
	if (c->w.ops->damage)
		c->w.ops->damage(c->w.ops->arg, path, what);
}

/* Is it this process that cannot, and not the disk? */
static bool is_ours(int r)
{
	return r == -ENOMEM || r == -EMFILE || r == -ENFILE || r == -ECANCELED;
}

/* NULL, or in what they differ. */
static const char *difference(const struct seal_record *was, const struct seal_record *is)
{
	if ((was->mode & S_IFMT) != (is->mode & S_IFMT))
		return "type differs";
	if (was->size != is->size)
		return "size differs";
	if (was->data != is->data)
		return S_ISLNK(was->mode) ? "target differs" : "content differs";
	if (was->mode != is->mode)
		return "mode differs";
	return was->attr != is->attr ? "owner, time or xattrs differ" : NULL;
}

/* Return: 1: a directory to go into, as it was sealed; 0: not; -errno. */
static int compare(struct checker *c, int dirfd, const char *path, const struct sealed *was)
{
	struct seal_record is;
	const char *what;
	char text[64];
	int r = seal_take(&c->w, dirfd, was->name, &is);

	if (is_ours(r))
		return r;
	if (r < 0) {
		(void)snprintf(text, sizeof(text), "cannot be read: %.40s", strerror(-r));
		damage(c, path, r == -ENOENT ? "missing" : text);
		return 0;
	}
	what = difference(&was->rec, &is);
	if (what)
		damage(c, path, what);
	return S_ISDIR(is.mode);
}

/* A directory that is gone stays in the queue: its group has to be read past. */
static int enqueue(struct checker *c, const char *path, bool here)
{
	const char mark = here ? '+' : '-';
	int r = lcm_buf_add(&c->w.to, &mark, 1);

	return r < 0 ? r : lcm_buf_add(&c->w.to, path, strlen(path) + 1);
}

static int extra(struct checker *c, const char *dir, const char *name)
{
	char path[LCM_PATH_MAX + 1];
	int r = seal_join(dir, name, path, sizeof(path));

	if (r == 0)
		damage(c, path, "not in the layer");
	return r;
}

static int entry_check(struct checker *c, int fd, const char *dir, const struct sealed *was)
{
	char path[LCM_PATH_MAX + 1];
	int r = seal_join(dir, was->name, path, sizeof(path));

	if (r < 0)
		return bad_seal(c, "a path is too long");
	r = fd < 0 ? 0 : compare(c, fd, path, was);
	return r >= 0 && S_ISDIR(was->rec.mode) ? enqueue(c, path, r > 0) : LCM_MIN(r, 0);
}

/* @fd negative: the directory is gone, and that has been said. */
static int group_check(struct checker *c, int fd, const char *dir, const struct seal_names *names)
{
	struct sealed was;
	char last[LCM_NAME_LEN_MAX + 1] = "";
	uint32_t n;
	size_t i = 0;
	int r = in_get(c, &n, sizeof(n)), order = 0;

	n = r == 0 ? le32toh(n) : 0;
	for (; n && r == 0; n--) {
		r = sealed_get(c, &was, last);
		if (r < 0)
			return r;
		while (i < names->n && (order = strcmp(names->v[i], was.name)) < 0 && r == 0)
			r = extra(c, dir, names->v[i++]);
		i += i < names->n && order == 0;
		if (r == 0)
			r = entry_check(c, fd, dir, &was);
		memcpy(last, was.name, was.rec.name_len + 1);
	}
	while (i < names->n && r == 0)
		r = extra(c, dir, names->v[i++]);
	return r;
}

static int dir_check(struct checker *c, const char *dir, bool here)
{
	lcm_autoclose int fd = here ? seal_dir(c->root, dir) : -ENOENT;
	struct seal_names names = { .n = 0 };
	int r = fd < 0 ? 0 : seal_names_get(fd, &names);

	if (here && (is_ours(fd) || is_ours(r)))
		r = fd < 0 ? fd : r;
	else if (here && (fd < 0 || r < 0)) {
		damage(c, dir, "cannot be read");
		r = 0;
	}
	if (r == 0)
		r = group_check(c, fd, dir, &names);
	seal_names_fini(&names);
	return r;
}

static int tree_check(struct checker *c)
{
	char dir[LCM_PATH_MAX + 2];
	struct sealed was;
	uint32_t one;
	int r = in_get(c, &one, sizeof(one));

	if (r == 0)
		r = le32toh(one) == 1 ? sealed_get(c, &was, NULL) : bad_seal(c, "it has no root");
	if (r == 0)
		r = compare(c, c->root, "", &was);
	if (r >= 0)
		r = enqueue(c, "", r > 0);
	while (r == 0 && c->w.next < c->w.to.len) {
		size_t len = strlen(c->w.to.data + c->w.next) + 1;

		memcpy(dir, c->w.to.data + c->w.next, len); /* the queue may move */
		c->w.next += len;
		r = dir_check(c, dir + 1, dir[0] == '+');
	}
	if (r == 0 && (c->in.at != c->in.end || c->in.pos != c->in.len))
		return bad_seal(c, "there is more than the tree");
	return r;
}

int lcm_seal_check(int dirfd, int fd, const struct lcm_seal_ops *ops, struct lcm_seal_result *ret,
		   struct lcm_err *err)
{
	lcm_autofree struct checker *c = calloc(1, sizeof(*c));
	struct lcm_err why = { 0 };
	int r;

	if (!c)
		return -ENOMEM;
	c->root = dirfd;
	c->err = &why;
	r = seal_walk_init(&c->w, ops, true);
	if (r == 0)
		r = in_begin(c, fd);
	if (r == 0)
		r = tree_check(c);
	*ret = c->w.result;
	seal_walk_fini(&c->w);
	if (r >= 0)
		return r;
	return lcm_err_set(err, r, "%s", why.code ? why.msg : strerror(-r));
}
