#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""nasty.py [--big BYTES] [--raw-names] [--overlay-xattrs] LAYOUT TAG

Writes an OCI layout with one image of four uncompressed layers that holds everything a layer may hold and most
tools get wrong. Nothing of it touches the file system but the layout's own files, so no privilege is needed, and
the result is the same bytes on every machine. The tar headers are made here because no tar program writes all of them.

--big N           size of /sizes/big, default 4402341478 (4.1 GiB): zeros with islands of data, also across 4 GiB
--raw-names       names and link targets that are not UTF-8. The JSON index of zstd:chunked cannot hold them (writers
                  put U+FFFD there), so only images without such an index may be tested with them.
--overlay-xattrs  trusted.overlay.* and user.overlay.* attributes, which must not reach overlayfs as such. Other
                  tools unpack them as they are.
"""
import argparse
import datetime
import hashlib
import json
import os

ZEROS = bytes(1 << 20)
# struct vfs_cap_data revision 2: cap_net_raw+ep, what setcap(8) writes for ping
CAP_NET_RAW = bytes.fromhex("0100000200200000000000000000000000000000")


def pax_record(key, value):
    body = b" " + key + b"=" + value + b"\n"
    n = len(body)
    while len(b"%d" % n) + len(body) != n:
        n = len(b"%d" % n) + len(body)
    return b"%d" % n + body


class Layer:
    """One tar file, written to a temporary name; long runs of zeros become holes of the file."""

    def __init__(self, layout):
        self.layout = layout
        self.tmp = os.path.join(layout, "layer.tmp")
        self.file = open(self.tmp, "wb")
        self.hash = hashlib.sha256()
        self.size = 0

    def put(self, data):
        self.file.write(data)
        self.hash.update(data)
        self.size += len(data)

    def zeros(self, n):
        self.file.seek(n, os.SEEK_CUR)
        self.size += n
        while n:
            k = min(n, len(ZEROS))
            self.hash.update(memoryview(ZEROS)[:k])
            n -= k

    def header(self, name, kind, size, mode, uid, gid, mtime, link, dev):
        # POSIX ustar: fields that do not fit are 0 here and right in the pax header before
        h = bytearray(512)

        def octal(at, width, value):
            if not 0 <= value < 8 ** (width - 1):
                value = 0
            h[at:at + width] = b"%0*o\0" % (width - 1, value)

        h[0:min(len(name), 100)] = name[:100]
        octal(100, 8, mode)
        octal(108, 8, uid)
        octal(116, 8, gid)
        octal(124, 12, size)
        octal(136, 12, mtime)
        h[148:156] = b"        "
        h[156:157] = kind
        h[157:157 + min(len(link), 100)] = link[:100]
        h[257:265] = b"ustar\00000"
        octal(329, 8, dev[0])
        octal(337, 8, dev[1])
        h[148:156] = b"%06o\0 " % sum(h)
        self.put(bytes(h))

    def add(self, name, kind, size=0, mode=0o644, uid=0, gid=0, mtime=1600000000, link=b"", dev=(0, 0), xattrs=()):
        """mtime: int, or a string of seconds with a fraction. Content of @size bytes must follow."""
        name = name.encode() if isinstance(name, str) else name
        link = link.encode() if isinstance(link, str) else link
        records = []
        if len(name) > 100 or not name.isascii():
            records.append((b"path", name))
        if len(link) > 100 or not link.isascii():
            records.append((b"linkpath", link))
        for key, value in ((b"uid", uid), (b"gid", gid)):
            if value >= 8 ** 7:
                records.append((key, b"%d" % value))
        if isinstance(mtime, str) or not 0 <= mtime < 8 ** 11:
            records.append((b"mtime", str(mtime).encode()))
        if size >= 8 ** 11:
            records.append((b"size", b"%d" % size))
        for key, value in xattrs:
            records.append((b"SCHILY.xattr." + key.encode(), value))
        if records:
            text = b"".join(pax_record(k, v) for k, v in records)
            self.header(b"PaxHeaders/x", b"x", len(text), 0o644, 0, 0, 0, b"", (0, 0))
            self.put(text + bytes(-len(text) % 512))
        seconds = 0 if isinstance(mtime, str) else mtime
        self.header(name, kind, size, mode, uid, gid, seconds, link, dev)

    def dir(self, name, mode=0o755, **kw):
        self.add(name + ("/" if isinstance(name, str) else b"/"), b"5", mode=mode, **kw)

    def reg(self, name, data=b"", **kw):
        data = data.encode() if isinstance(data, str) else data
        self.add(name, b"0", size=len(data), **kw)
        self.put(data + bytes(-len(data) % 512))

    def sym(self, name, target, **kw):
        self.add(name, b"2", mode=0o777, link=target, **kw)

    def hard(self, name, target, **kw):
        self.add(name, b"1", link=target, **kw)

    def wh(self, directory, name):
        self.reg(os.path.join(directory, ".wh." + name))

    def opaque(self, directory):
        self.wh(directory, ".wh..opq")

    def islands(self, name, size, islands, **kw):
        """A regular file of zeros with (offset, data) in it."""
        self.add(name, b"0", size=size, **kw)
        at = 0
        for off, data in islands:
            if off < at or off + len(data) > size:
                continue
            self.zeros(off - at)
            self.put(data)
            at = off + len(data)
        self.zeros(size - at)
        self.put(bytes(-size % 512))

    def close(self):
        self.put(bytes(1024))
        self.file.truncate(self.size)
        self.file.close()
        digest = self.hash.hexdigest()
        os.rename(self.tmp, os.path.join(self.layout, "blobs/sha256", digest))
        return {"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": "sha256:" + digest, "size": self.size}


def pattern(n, seed):
    """Bytes that do not compress."""
    return b"".join(hashlib.sha256(b"%d %d" % (seed, i)).digest() for i in range(n // 32 + 1))[:n]


def names(raw):
    yield from (b"byte-" + bytes([c]) for c in range(1, 128) if c != ord("/"))
    yield from (bytes([c]) for c in range(1, 128) if c not in b"./")
    yield from (b"...", b"..x", b"-rf", b"--", b" lead", b"trail ", b"a\nb", b".whale", b"a.wh.b", b".wh", b"<&>\"'", b"\\u0041", b"%2e%2e")
    # every lead byte of two and three byte sequences, and four byte ones
    yield from (chr(c).encode() for c in range(0x80, 0x800, 0x40))
    yield from (chr(c).encode() for c in list(range(0x800, 0xd800, 0x1000)) + [0xfffe, 0xffff, 0x1f600, 0x10ffff])
    # composed and decomposed forms of one text are two names
    yield from ("\u00e9".encode(), "e\u0301".encode())
    yield from (b"n" * 255, "\u00e9".encode() * 127 + b"x")
    if raw:
        yield from (b"byte-" + bytes([c]) for c in range(0x80, 0x100))
        yield from (bytes([c]) for c in range(0x80, 0x100))
        yield from (b"\xff" * 255, b"\xed\xa0\x80", b"\xc0\xaf", b"\xe2\x82")


def put_names(t, raw):
    t.dir("names")
    for n in names(raw):
        t.reg(b"names/" + n, b"name " + n + b"\n")
    t.dir("names-dirs")
    for n in list(names(raw))[-12:]:
        t.dir(b"names-dirs/" + n)
        t.reg(b"names-dirs/" + n + b"/f", n)
        t.sym(b"names-dirs/" + n + b"/s", n)
    t.dir("many")
    for i in range(5000):
        t.reg("many/entry-%05d" % i, "%d" % i if i % 10 == 0 else b"")
    deep = "deep"
    t.dir(deep)
    while len(deep) < 3500:
        deep += "/" + chr(ord("a") + len(deep) % 26) * (200 if len(deep) > 400 else 2)
        t.dir(deep)
    t.reg(deep + "/bottom", "bottom\n")


def put_sizes(t, big):
    t.dir("sizes")
    for n in (0, 1, 511, 512, 513, 4095, 4096, 4097, 65535, 65536, 65537, 1048575, 1048577, 3000000):
        t.reg("sizes/%d" % n, pattern(n, n))
    t.islands("sizes/zeros", 16 << 20, [])
    t.islands("sizes/islands", 40000001, [(0, b"first"), (5000000, pattern(3000, 1)), (40000000, b"x")])
    four = 1 << 32
    t.islands("sizes/big", big, [(0, pattern(100, 2)), (1 << 20, b"one MiB"), ((1 << 31) - 3, b"across"),
                                 (four - 4, b"across 4 GiB"), (max(big - 5, four + 100), b"end!\n")])


def put_metadata(t):
    t.dir("modes")
    for m in (0, 0o1, 0o400, 0o644, 0o755, 0o1644, 0o2755, 0o4755, 0o6755, 0o7777):
        t.reg("modes/f%04o" % m, "%o" % m, mode=m)
        t.dir("modes/d%04o" % m, mode=m)
    t.reg("modes/setuid-other", "s", mode=0o6755, uid=1000, gid=70000)
    t.dir("owners")
    for uid, gid in ((1, 2), (65534, 65535), (65536, 70000), (2097151, 2097152), (3000000000, 4294967294)):
        t.reg("owners/%d-%d" % (uid, gid), "o", uid=uid, gid=gid)
        t.sym("owners/s%d-%d" % (uid, gid), "x", uid=uid, gid=gid)
        t.dir("owners/d%d-%d" % (uid, gid), uid=uid, gid=gid)
    t.dir("times")
    for i, when in enumerate((0, 1, -1, "-1.5", "-0.000000001", "-2000000000.25", "1600000000.123456789", "1.000000001",
                              "2147483647.999999999", 2147483648, 4294967296, "4294967301.5")):
        t.reg("times/f%d" % i, str(when), mtime=when)
        t.dir("times/d%d" % i, mtime=when)
        t.sym("times/s%d" % i, "x", mtime=when)
    t.dir("xattrs", xattrs=[("user.on-dir", b"d"), ("trusted.on-dir", b"\0\1\2")])
    t.reg("xattrs/capability", "\x7fELF", mode=0o755, xattrs=[("security.capability", CAP_NET_RAW)])
    t.reg("xattrs/empty", "e", xattrs=[("user.empty", b"")])
    t.dir("xattrs/empty-dir", xattrs=[("user.empty", b"")])
    t.reg("xattrs/binary", "b", xattrs=[("user.binary", bytes(range(256))), ("user.newline", b"a\n=b\n")])
    t.reg("xattrs/long", "l", xattrs=[("user." + "n" * 200, pattern(1500, 3)), ("trusted.t", b"t")])
    t.reg("xattrs/many", "m", xattrs=[("user.a%02d" % i, b"%d" % i) for i in range(40)])
    t.reg("xattrs/same-1", "1", xattrs=[("user.shared", b"shared value")])
    t.reg("xattrs/same-2", "2", xattrs=[("user.shared", b"shared value")])
    t.sym("xattrs/symlink", "empty", xattrs=[("trusted.on-symlink", b"s")])


def put_kinds(t):
    t.dir("kinds")
    t.add("kinds/null", b"3", mode=0o666, dev=(1, 3))
    t.add("kinds/char-large", b"3", mode=0o600, dev=(4095, 1048575))
    t.add("kinds/char-odd", b"3", mode=0o600, dev=(300, 70000), uid=5, gid=6)
    t.add("kinds/block", b"4", mode=0o660, gid=6, dev=(8, 0))
    t.add("kinds/block-large", b"4", mode=0o660, dev=(259, 65536))
    t.add("kinds/fifo", b"6", mode=0o640, uid=7)
    t.dir("kinds/empty-dir")
    t.dir("kinds/empty-dir/empty-dir")
    t.dir("links")
    t.reg("links/target", "target\n")
    t.sym("links/relative", "target")
    t.sym("links/dangling", "nowhere/at/all")
    t.sym("links/absolute", "/links/target")
    t.sym("links/outside", "../../../../../../etc/passwd")
    t.sym("links/self", "self")
    t.sym("links/to-dir", "../kinds")
    t.sym("links/newline", "a\nb")
    t.sym("links/long", "/".join(["l" * 99] * 40))
    t.dir("hard")
    t.dir("hard/sub")
    t.reg("hard/a", "one inode", xattrs=[("user.hard", b"h")])
    for n in ("b", "c", "d", "sub/e"):
        t.hard("hard/" + n, "hard/a", xattrs=[("user.hard", b"h")])
    t.reg("hard/lone", "two names, one goes")
    t.hard("hard/lone-2", "hard/lone")
    t.reg("hard/gone", "both names go")
    t.hard("hard/gone-2", "hard/gone")
    t.sym("hard/s", "a")
    t.hard("hard/s-2", "hard/s")
    t.add("hard/fifo", b"6", mode=0o600)
    t.hard("hard/fifo-2", "hard/fifo")
    t.reg("hard/first-goes", "the first name goes")
    t.hard("hard/first-goes-2", "hard/first-goes")


def put_victims(t):
    """What the upper layers take away or replace."""
    t.dir("victims")
    for n in ("file", "file-to-dir", "file-to-symlink", "file-to-fifo", "file-changed", "file-back"):
        t.reg("victims/" + n, "lower " + n)
    t.sym("victims/symlink-to-dir", "dir")
    t.sym("victims/symlink-to-file", "dir/1")
    for n in ("dir", "dir-to-file", "dir-to-symlink", "dir-opaque", "dir-back", "dir-back-same", "dir-merged", "dir-opaque-late"):
        t.dir("victims/" + n)
        t.reg("victims/" + n + "/1", "lower 1")
        t.reg("victims/" + n + "/2", "lower 2")
        t.dir("victims/" + n + "/sub")
        t.reg("victims/" + n + "/sub/3", "lower 3")


def layer_one(t, raw):
    t.dir(".", mtime=1600000001)
    # a place for every mount point that a runtime wants
    for n in ("proc", "sys", "dev", "etc", "tmp"):
        t.dir(n)
    t.reg("etc/passwd", "root:x:0:0:root:/:/bin/sh\n")
    put_names(t, raw)
    put_metadata(t)
    put_kinds(t)
    put_victims(t)


def layer_two(t, big):
    put_sizes(t, big)
    t.dir("victims", mtime=1600000100)
    for n in ("file", "dir", "dir-back", "file-back"):
        t.wh("victims", n)
    t.dir("victims/file-to-dir")
    t.reg("victims/file-to-dir/in", "now a directory")
    t.sym("victims/file-to-symlink", "file-changed")
    t.add("victims/file-to-fifo", b"6", mode=0o600)
    t.reg("victims/file-changed", "upper file-changed", mode=0o600, uid=12)
    t.dir("victims/symlink-to-dir")
    t.reg("victims/symlink-to-dir/in", "was a symlink")
    t.reg("victims/symlink-to-file", "was a symlink")
    t.reg("victims/dir-to-file", "was a directory")
    t.sym("victims/dir-to-symlink", "dir-merged")
    t.dir("victims/dir-opaque", mode=0o700)
    t.opaque("victims/dir-opaque")
    t.reg("victims/dir-opaque/new", "new")
    t.dir("victims/dir-opaque/sub", mode=0o711)
    # the marker may come after what it does not hide: it speaks of lower layers only
    t.dir("victims/dir-opaque-late")
    t.reg("victims/dir-opaque-late/new", "new")
    t.opaque("victims/dir-opaque-late")
    # whiteout and new directory in one layer: what was below is gone
    t.wh("victims", "dir-back-same")
    t.dir("victims/dir-back-same", mode=0o750)
    t.reg("victims/dir-back-same/new", "new")
    t.dir("victims/dir-merged", mode=0o755, mtime=1600000200, xattrs=[("user.merged", b"upper")])
    t.reg("victims/dir-merged/2", "upper 2")
    t.dir("victims/dir-merged/sub")
    t.wh("victims/dir-merged/sub", "3")


def layer_three(t):
    t.dir("victims", mtime=1600000300)
    t.dir("victims/dir-back", mode=0o751)
    t.reg("victims/dir-back/only", "only this")
    t.reg("victims/file-back", "back again")
    t.dir("hard")
    for n in ("b", "gone", "gone-2", "lone-2", "first-goes"):
        t.wh("hard", n)
    t.dir("hard-upper")
    t.reg("hard-upper/x", "linked in the upper layer")
    t.hard("hard-upper/y", "hard-upper/x")
    t.dir("kinds")
    t.wh("kinds", "block-large")
    t.reg("kinds/char-odd", "was a device")


def layer_four(t, overlay_xattrs):
    # a layer that removes only, but for the marker file
    t.dir("many")
    for i in range(0, 5000, 50):
        t.wh("many", "entry-%05d" % i)
    t.reg("marker", "the last layer\n")
    if overlay_xattrs:
        t.dir("overlay", xattrs=[("trusted.overlay.opaque", b"y"), ("user.overlay.opaque", b"y")])
        t.reg("overlay/f", "f", xattrs=[("trusted.overlay.metacopy", b""), ("trusted.overlay.redirect", b"/etc/passwd")])


def put_blob(layout, media, obj):
    text = json.dumps(obj, sort_keys=True, separators=(",", ":")).encode()
    digest = hashlib.sha256(text).hexdigest()
    with open(os.path.join(layout, "blobs/sha256", digest), "wb") as f:
        f.write(text)
    return {"mediaType": media, "digest": "sha256:" + digest, "size": len(text)}


def put_index(layout, tag, desc):
    path = os.path.join(layout, "index.json")
    index = {"schemaVersion": 2, "manifests": []}
    if os.path.exists(path):
        with open(path, encoding="utf-8") as f:
            index = json.load(f)
    key = "org.opencontainers.image.ref.name"
    index["manifests"] = [m for m in index["manifests"] if m.get("annotations", {}).get(key) != tag]
    index["manifests"].append(dict(desc, annotations={key: tag}))
    with open(os.path.join(layout, "oci-layout"), "w", encoding="utf-8") as f:
        f.write('{"imageLayoutVersion":"1.0.0"}')
    with open(path + ".tmp", "w", encoding="utf-8") as f:
        json.dump(index, f)
    os.rename(path + ".tmp", path)


def architecture():
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--big", type=int, default=4402341478)
    p.add_argument("--raw-names", action="store_true")
    p.add_argument("--overlay-xattrs", action="store_true")
    p.add_argument("layout")
    p.add_argument("tag")
    a = p.parse_args()
    os.makedirs(os.path.join(a.layout, "blobs/sha256"), exist_ok=True)
    layers = []
    for write in (lambda t: layer_one(t, a.raw_names), lambda t: layer_two(t, a.big), layer_three,
                  lambda t: layer_four(t, a.overlay_xattrs)):
        t = Layer(a.layout)
        write(t)
        layers.append(t.close())
    created = datetime.datetime.fromtimestamp(1600000000, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    config = put_blob(a.layout, "application/vnd.oci.image.config.v1+json", {
        "created": created, "architecture": architecture(), "os": "linux",
        "config": {"Env": ["PATH=/bin"], "Cmd": ["/bin/sh"]},
        "rootfs": {"type": "layers", "diff_ids": [d["digest"] for d in layers]},
        "history": [{"created": created, "created_by": "nasty layer %d" % i} for i in range(len(layers))]})
    manifest = put_blob(a.layout, "application/vnd.oci.image.manifest.v1+json", {
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "config": config, "layers": layers})
    put_index(a.layout, a.tag, manifest)


main()
