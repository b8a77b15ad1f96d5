#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Layers that mean harm, or that readers differ about. One function per case, below.

evil.py make OCI           makes an OCI layout, a tag per case; prints "NAME tree", "NAME lazy" (a tree, at once), "NAME eio"
                           (as lazy, but files may be EIO until the layer is here), "NAME refused TEXT" (an ERE) or "NAME
                           useless TEXT" (as refused, but each layer is good, and stays)
evil.py check NAME DIR     is the mounted image at DIR what the case says? With --eio, files may be EIO
evil.py innocent DIR N     is the mounted image "innocent" what it was? The first N of its files are read
evil.py table              the table of doc/evil.md"""
import errno
import gzip
import hashlib
import json
import os
import stat
import struct
import subprocess
import sys

import eviltoc

GZIP = "application/vnd.oci.image.layer.v1.tar+gzip"
PLAIN = "application/vnd.oci.image.layer.v1.tar"
ZSTD = "application/vnd.oci.image.layer.v1.tar+zstd"
CASES = {}
BIG = 10 ** 9


def case(what, why, refused=None, tree=None, how=None):
    """tree: {path: content, or a type letter and what belongs to it}; "-" is: not there."""
    def add(fn):
        name = fn.__name__.replace("_", "-")
        CASES[name] = {"make": fn, "what": what, "why": why, "refused": refused, "tree": tree,
                       "how": how or ("refused" if refused else "tree")}
        return fn
    return add


# ---- bytes of a tar ----

def octal(n, width):
    return b"%0*o\0" % (width - 1, n)


def base256(n, width):
    """The number as GNU tar writes what octal cannot: the first bit says so, the rest is two's complement."""
    return (n % (1 << 8 * width) | 1 << 8 * width - 1).to_bytes(width, "big")


def header(name, size=0, kind=b"0", link=b"", mode=0o644, uid=0, mtime=b"", major=0, minor=0, raw_size=None):
    h = bytearray(512)
    h[0:len(name[:100])] = name[:100]
    h[100:108] = octal(mode & 0o7777777, 8)
    h[108:116] = octal(uid, 8) if isinstance(uid, int) else uid
    h[116:124] = octal(0, 8)
    h[124:136] = raw_size if raw_size is not None else octal(size, 12)
    h[136:148] = mtime or octal(1600000000, 12)
    h[156:157] = kind
    h[157:157 + len(link[:100])] = link[:100]
    h[257:265] = b"ustar\x0000"
    h[329:337] = octal(major, 8) if isinstance(major, int) else major
    h[337:345] = octal(minor, 8) if isinstance(minor, int) else minor
    h[148:156] = b" " * 8
    h[148:156] = b"%06o\0 " % sum(h)
    return bytes(h)


def pad(data):
    return data + bytes(-len(data) % 512)


def entry(name, data=b"", **kw):
    return header(name, len(data), **kw) + pad(data)


def directory(name, **kw):
    return header(name, kind=b"5", **dict({"mode": 0o755}, **kw))


def old_sparse(name, size, pieces, stored, more=b"", extended=0):
    """GNU tar's first sparse format: four pieces in the header, each (offset, length); @more: blocks of further ones."""
    h = bytearray(header(name, stored, kind=b"S"))
    h[257:265] = b"ustar  \0"
    h[386:482] = b"".join(octal(n, 12) for piece in pieces for n in piece).ljust(96, b"\0")
    h[482] = extended
    h[483:495] = octal(size, 12)
    h[148:156] = b" " * 8
    h[148:156] = b"%06o\0 " % sum(h)
    return bytes(h) + more


def pax(**records):
    body = b""
    for key, value in records.items():
        key = key.replace("__", ".").encode()
        value = value if isinstance(value, bytes) else str(value).encode()
        n = len(key) + len(value) + 3
        while len(b"%d %s=%s\n" % (n, key, value)) != n:
            n = len(b"%d %s=%s\n" % (n, key, value))
        body += b"%d %s=%s\n" % (n, key, value)
    return header(b"pax", len(body), kind=b"x") + pad(body)


def longname(name):
    return header(b"././@LongLink", len(name) + 1, kind=b"L") + pad(name + b"\0")


END = bytes(1024)
TXT = b"text\n"


def zstd(data, *options):
    return subprocess.run(["zstd", "-q", "-c", *options], input=data, stdout=subprocess.PIPE, check=True).stdout


# ---- names and links ----

@case("a name with `..`", "OCI layer.md; nothing may leave the root", refused="'\\.\\.' in a path")
def dotdot():
    return entry(b"../outside", TXT) + END


@case("`..` in the middle of a name", "as above, also when it would stay inside", refused="'\\.\\.' in a path")
def dotdot_inside():
    return directory(b"a/") + entry(b"a/../b", TXT) + END


@case("an absolute name", "tar(1): the leading `/` goes", tree={"etc/x": TXT})
def absolute():
    return entry(b"/etc/x", TXT) + END


@case("a file below a symbolic link to `/`", "nothing is written through a link", refused="not a directory but a symbolic link")
def below_symlink():
    return entry(b"l", kind=b"2", link=b"/") + entry(b"l/tmp/locum-evil", TXT) + END


@case("a symbolic link to anywhere", "links are data", tree={"l": "l/../../../etc/shadow"})
def symlink_out():
    return entry(b"l", kind=b"2", link=b"/../../../etc/shadow") + END


@case("a hardlink to `../../etc/shadow`", "nothing may leave the root", refused="'\\.\\.' in a path")
def hardlink_out():
    return entry(b"h", kind=b"1", link=b"../../etc/shadow") + END


@case("a hardlink to `/etc/passwd`, which the layer has not", "POSIX: a link in the archive's own tree",
      refused="hardlink to 'etc/passwd', which is no file of this layer or of those below", how="useless")
def hardlink_absolute():
    return entry(b"h", kind=b"1", link=b"/etc/passwd") + END


@case("a hardlink to itself", "it has no content", refused="hardlink to itself")
def hardlink_self():
    return entry(b"h", kind=b"1", link=b"h") + END


@case("hardlinks in a circle", "none has content", refused="leads in a circle")
def hardlink_circle():
    return entry(b"a", kind=b"1", link=b"b") + entry(b"b", kind=b"1", link=b"a") + END


@case("a hardlink to an entry that comes later", "the entries are one tree", tree={"h": TXT, "later": TXT})
def hardlink_later():
    return entry(b"h", kind=b"1", link=b"later") + entry(b"later", TXT) + END


@case("a hardlink to a directory", "no file system has that", refused="hardlink to 'd', which is a directory")
def hardlink_directory():
    return directory(b"d/") + entry(b"h", kind=b"1", link=b"d") + END


@case("a name of 70,000 characters", "PATH_MAX", refused="path longer than 4000 bytes")
def name_70000():
    return pax(path=b"n" * 70000) + entry(b"x", TXT) + END


@case("a component of 255 bytes", "NAME_MAX", tree={"n" * 255: TXT})
def name_255():
    return pax(path=b"n" * 255) + entry(b"x", TXT) + END


@case("a component of 256 bytes", "NAME_MAX", refused="name longer than 255 bytes")
def name_256():
    return pax(path=b"n" * 256) + entry(b"x", TXT) + END


@case("a path over 4,000 bytes", "PATH_MAX, less what locum puts in front", refused="path longer than 4000 bytes")
def path_5000():
    return longname(b"/".join([b"d" * 99] * 50)) + entry(b"x", TXT) + END


@case("names that are not UTF-8, with newline and control characters", "POSIX: any byte but `/` and NUL",
      tree={os.fsdecode(b"\xff\xfe"): TXT, "a\nb": TXT, "\x01\x1b[31m": TXT})
def bytes_in_names():
    return entry(b"\xff\xfe", TXT) + entry(b"a\nb", TXT) + entry(b"\x01\x1b[31m", TXT) + END


@case("a NUL inside a pax name", "libarchive: it ends the name; readers in Go refuse it", tree={"a": TXT, "b": "-"})
def nul_in_name():
    return pax(path=b"a\0b") + entry(b"x", TXT) + END


@case("`./`, `.` and doubled slashes", "one normal form", tree={"a/b": TXT})
def dots():
    return directory(b"./") + directory(b"./a//") + entry(b".//a/./b", TXT) + END


@case("directories that nobody lists", "0755 root, as every reader makes them", tree={"a/b/c": TXT, "a": "d755", "a/b": "d755"})
def implied():
    return entry(b"a/b/c", TXT) + END


# ---- entries over entries ----

@case("a file twice", "tar: the later wins", tree={"f": b"second"})
def twice():
    return entry(b"f", TXT) + entry(b"f", b"second") + END


@case("a directory over a file", "the later wins", tree={"x": "d755"})
def directory_over_file():
    return entry(b"x", TXT) + directory(b"x/") + END


@case("a file over a directory with files in it", "the later wins, as in containerd and umoci", tree={"x": TXT})
def file_over_directory():
    return directory(b"x/") + entry(b"x/f", TXT) + entry(b"x", TXT) + END


@case("a file below a file", "no tree has that", refused="below 'f', which is not a directory")
def below_file():
    return entry(b"f", TXT) + entry(b"f/g", TXT) + END


@case("an opaque whiteout in the root", "OCI layer.md: hides all of lower layers", tree={"new": TXT, "old": "-", "d": "-"})
def whiteout_all():
    return [entry(b"old", TXT) + directory(b"d/") + END, entry(b".wh..wh..opq") + entry(b"new", TXT) + END]


@case("a whiteout with content", "OCI layer.md: the name counts", tree={"old": "-", ".wh.old": "-"})
def whiteout_content():
    return [entry(b"old", TXT) + END, entry(b".wh.old", b"x" * 5000) + END]


@case("a whiteout that is a directory", "the name counts", tree={"old": "-", ".wh.old": "-"})
def whiteout_directory():
    return [entry(b"old", TXT) + END, directory(b".wh.old/") + END]


@case("a whiteout of `d`, then a new `d/`", "OCI layer.md: hides everything older", tree={"d/new": TXT, "d/old": "-"})
def whiteout_then_new():
    return [directory(b"d/") + entry(b"d/old", TXT) + END,
            entry(b".wh.d") + directory(b"d/") + entry(b"d/new", TXT) + END]


@case("a new `d/`, then the whiteout of `d`", "as above: order does not matter", tree={"d/new": TXT, "d/old": "-"})
def new_then_whiteout():
    return [directory(b"d/") + entry(b"d/old", TXT) + END,
            directory(b"d/") + entry(b"d/new", TXT) + entry(b".wh.d") + END]


@case("a whiteout of no name", "it means nothing", refused="whiteout of no name")
def whiteout_nothing():
    return entry(b".wh.", TXT) + END


@case("the same, empty and further down", "it means nothing", refused="layer entry 'd/\\.wh\\.': whiteout of no name")
def whiteout_nothing_below():
    return directory(b"d/") + entry(b"d/.wh.") + END


@case("a whiteout of `.`", "it means nothing", refused="layer entry '\\.wh\\.\\.': whiteout of no name")
def whiteout_dot():
    return entry(b".wh..") + END


@case("the same further down", "it means nothing", refused="layer entry 'd/\\.wh\\.\\.': whiteout of no name")
def whiteout_dot_below():
    return entry(b"d/.wh..") + END


@case("aufs' own files: `.wh..wh.plnk/` and `.wh..wh.aufs`", "as in containerd: dropped",
      tree={"old": TXT, ".wh..wh.plnk": "-", ".wh..wh.aufs": "-", "d": "d755"})
def whiteout_aufs():
    return [entry(b"old", TXT) + END,
            directory(b".wh..wh.plnk/") + entry(b".wh..wh.plnk/1.2", TXT) + entry(b".wh..wh.aufs") + directory(b"d/") + END]


@case("a whiteout of `..`", "it means nothing", refused="whiteout of no name")
def whiteout_dotdot():
    return entry(b".wh...", TXT) + END


@case("a file below a whiteout", "a whiteout is no directory", refused="below a whiteout")
def below_whiteout():
    return entry(b".wh.d/f", TXT) + END


@case("a hardlink to a file whited out in the same layer", "the whiteout is for lower layers", tree={"f": TXT, "h": TXT})
def hardlink_whited_out():
    return [entry(b"f", b"old") + END, entry(b"f", TXT) + entry(b".wh.f") + entry(b"h", kind=b"1", link=b"f") + END]


def below(*tars):
    return [entry(b"f", TXT) + entry(b"d/g", b"g") + entry(b"g2", kind=b"1", link=b"d/g") + END] + [t + END for t in tars]


def hard(name, target):
    return entry(name, kind=b"1", link=target)


@case("a hardlink to a file of the layer below", "OCI layer.md: one tree, layer upon layer",
      tree={"f": TXT, "h": "=f", "d/g": b"g", "g2": "=d/g", "n/h2": "=d/g"})
def hardlink_below():
    return below(hard(b"h", b"f") + hard(b"n/h2", b"./d/g"))


@case("the same, to a link to a link to it, listed before", "the entries are one tree", tree={
    "f": TXT, "d/g": b"g", "g2": "=d/g", "a": "=f", "b": "=f", "c": "=f"})
def hardlink_below_chain():
    return below(hard(b"c", b"b") + hard(b"b", b"a") + hard(b"a", b"f"))


@case("the same, with the file whited out by a later layer", "the other name stays", tree={"d/g": b"g", "g2": "=d/g", "h": TXT})
def hardlink_below_gone():
    return below(hard(b"h", b"f"), entry(b".wh.f"))


@case("the same, with the file replaced by a later layer", "the other name has the old content",
      tree={"f": b"new", "h": TXT, "d/g": b"g", "g2": "=d/g"})
def hardlink_below_replaced():
    return below(hard(b"h", b"f"), entry(b"f", b"new"))


@case("the same, with the link whited out by a later layer", "it is a name like others", tree={"f": TXT, "d/g": b"g", "g2": "=d/g"})
def hardlink_below_hidden():
    return below(hard(b"h", b"f"), entry(b".wh.h"))


@case("a hardlink to a hardlink of the layer below to the one below that", "the entries are one tree",
      tree={"f": TXT, "h": "=f", "i": "=f", "d/g": b"g", "g2": "=d/g"})
def hardlink_below_twice():
    return below(hard(b"h", b"f"), hard(b"i", b"h"))


@case("a hardlink to a file below in the place of another file below", "it replaces it", tree={"f": TXT, "d/g": "=f", "g2": b"g"})
def hardlink_below_over():
    return below(hard(b"d/g", b"f"))


@case("a file, then a hardlink to a file below, of one name", "the later wins", tree={"f": TXT, "h": "=f", "d/g": b"g", "g2": "=d/g"})
def hardlink_below_later():
    return below(entry(b"h", b"not this") + hard(b"h", b"f"))


@case("a hardlink to a file below, then a file, of one name", "the later wins", tree={"f": TXT, "h": b"this", "d/g": b"g", "g2": "=d/g"})
def hardlink_below_earlier():
    return below(hard(b"h", b"f") + entry(b"h", b"this"))


@case("a hardlink to a symlink of the layer below", "a symlink is a file", tree={
    "f": TXT, "d/g": b"g", "g2": "=d/g", "s": "lnowhere", "h": "=s"})
def hardlink_below_symlink():
    return below(entry(b"s", kind=b"2", link=b"nowhere"), hard(b"h", b"s"))


@case("a hardlink to a file that the same layer whites out", "nothing is left to link to",
      refused="hardlink to 'f', which this layer hides", how="useless")
def hardlink_below_whiteout():
    return below(entry(b".wh.f") + hard(b"h", b"f"))


@case("a hardlink to a file of a directory that the same layer makes opaque", "nothing is left to link to",
      refused="hardlink to 'd/g', which this layer does not have, and it hides what lower layers have there", how="useless")
def hardlink_below_opaque():
    return below(entry(b"d/.wh..wh..opq") + hard(b"h", b"d/g"))


@case("a hardlink to a file that a layer between whites out", "nothing is left to link to",
      refused="hardlink to 'f', which is no file of this layer or of those below", how="useless")
def hardlink_below_cut():
    return below(entry(b".wh.f"), hard(b"h", b"f"))


@case("a hardlink to a directory of the layer below", "no file system has that",
      refused="hardlink to 'd', which is no file of this layer or of those below", how="useless")
def hardlink_below_directory():
    return below(hard(b"h", b"d"))


@case("a character device 0:0", "on the disk it is overlayfs' whiteout: it hides", tree={"old": "-"})
def device_0_0():
    return [entry(b"old", TXT) + END, header(b"old", kind=b"3") + END]


@case("devices and a FIFO", "OCI layer.md", tree={"c": "c1,3", "b": "b8,1", "p": "p"})
def devices():
    return (header(b"c", kind=b"3", major=1, minor=3) + header(b"b", kind=b"4", major=8, minor=1) +
            header(b"p", kind=b"6") + END)


@case("a type nobody knows", "POSIX: a regular file", tree={"f": TXT})
def unknown_type():
    return entry(b"f", TXT, kind=b"Z") + END


# ---- numbers ----

@case("a pax size that is not the header's", "POSIX: the pax record counts", tree={"f": TXT, "g": TXT})
def pax_size():
    return pax(size=5) + header(b"f", 77) + pad(TXT) + entry(b"g", TXT) + END


@case("a pax name beside a GNU long name", "as in Go's reader and libarchive, the GNU name counts", tree={"gnu": TXT, "pax": "-"})
def pax_and_gnu():
    return longname(b"gnu") + pax(path="pax") + entry(b"x", TXT) + END


@case("a size beyond the archive", "POSIX", refused="Truncated tar archive")
def size_beyond():
    return header(b"f", 10 ** 9) + TXT + END


@case("a negative size", "nothing has that", refused="Tar entry has negative size")
def size_negative():
    return header(b"f", raw_size=b"\xff" * 12) + END


@case("a negative size in pax", "nothing has that", refused="Tar size attribute is negative")
def pax_size_negative():
    return pax(size=-5) + header(b"f") + END


@case("a size of 2^63", "nothing has that", refused="Tar entry size overflow")
def size_huge():
    return header(b"f", raw_size=b"\x80" + b"\0" * 3 + b"\x80" + b"\0" * 7) + END


@case("a size in base 256", "GNU tar manual, \"Extensions\"", tree={"f": TXT, "g": TXT})
def base256_size():
    return header(b"f", raw_size=base256(len(TXT), 12)) + pad(TXT) + entry(b"g", TXT) + END


@case("a size in base 256 that is negative", "nothing has that", refused="Tar entry has negative size")
def base256_size_negative():
    return header(b"f", raw_size=base256(-5, 12)) + pad(TXT) + END


@case("a size in base 256 of over 64 bits", "nothing has that", refused="Tar entry size overflow")
def base256_size_huge():
    return header(b"f", raw_size=base256(2 ** 80, 12)) + pad(TXT) + END


@case("an owner in base 256", "as above", tree={"f": "u4000000000"})
def base256_uid():
    return entry(b"f", TXT, uid=base256(4000000000, 8)) + END


@case("a negative owner in base 256", "no owner is negative", refused="layer entry 'f': owner out of range")
def base256_uid_negative():
    return entry(b"f", TXT, uid=base256(-2, 8)) + END


@case("an owner in base 256 of 2^40", "chown(2)", refused="layer entry 'f': owner out of range")
def base256_uid_huge():
    return entry(b"f", TXT, uid=base256(2 ** 40, 8)) + END


@case("mtime in base 256: after 2242, before 1970", "GNU tar writes these so", tree={"f": "t9000000000.0", "g": "t-86400.0"})
def base256_mtime():
    return entry(b"f", TXT, mtime=base256(9000000000, 12)) + entry(b"g", TXT, mtime=base256(-86400, 12)) + END


@case("mtime in base 256 of 2^80", "no 64 bits hold it", refused="layer entry 'f': time out of range")
def base256_mtime_huge():
    return entry(b"f", TXT, mtime=base256(2 ** 80, 12)) + END


@case("mtime in base 256 of -2^80", "no 64 bits hold it", refused="layer entry 'f': time out of range")
def base256_mtime_negative():
    return entry(b"f", TXT, mtime=base256(-2 ** 80, 12)) + END


@case("an owner over 32 bits", "chown(2)", refused="owner out of range")
def owner_huge():
    return pax(uid=2 ** 33) + entry(b"f", TXT) + END


@case("a device number out of range", "the kernel's dev_t has 12 and 20 bits", 
      refused="layer entry 'c': device number 2147483648:3 is out of range, Linux has 0:0 to 4095:1048575")
def device_huge():
    return pax(SCHILY__devmajor=2 ** 31) + header(b"c", kind=b"3", minor=3) + END


@case("a device number that 32 bits would make 1:3 of", "as above", refused="layer entry 'c': device number 4294967297:3 is")
def device_64():
    return header(b"c", kind=b"3", major=base256(2 ** 32 + 1, 8), minor=3) + END


@case("a device number that is negative", "as above", refused="layer entry 'd/b': device number 8:-1 is out of range")
def device_negative():
    return header(b"d/b", kind=b"4", major=8, minor=base256(-1, 8)) + END


@case("mtime to the nanosecond, and before 1970", "POSIX pax", tree={"f": "t1.000000001", "g": "t-2.750000000"})
def times():
    return (pax(mtime="1.000000001") + entry(b"f", TXT) + pax(mtime="-1.25") + entry(b"g", TXT) + END)


@case("setuid, sticky and bits that no mode has", "07777 count", tree={"f": "m6755"})
def modes():
    return entry(b"f", TXT, mode=0o176755) + END


# ---- sparse files, xattrs ----

@case("a PAX 1.0 sparse file", "GNU tar manual, \"Sparse Formats\"", tree={"s": bytes(4096) + TXT + bytes(4096 - 5)})
def sparse_1_0():
    data = pad(b"1\n4096\n5\n") + TXT
    return (pax(GNU__sparse__major=1, GNU__sparse__minor=0, GNU__sparse__name="s", GNU__sparse__realsize=8192) +
            header(b"GNUSparseFile.0/s", len(data)) + pad(data) + END)


@case("a PAX 0.1 sparse file", "as above", tree={"s": bytes(4096) + TXT + bytes(4096 - 5)})
def sparse_0_1():
    return (pax(GNU__sparse__size=8192, GNU__sparse__numblocks=1, GNU__sparse__map="4096,5", GNU__sparse__name="s") +
            entry(b"GNUSparseFile.0/s", TXT) + END)


@case("a sparse map beyond the file", "data outside of the file is nowhere", refused="data outside of the file")
def sparse_outside():
    return (pax(GNU__sparse__size=100, GNU__sparse__numblocks=1, GNU__sparse__map="4096,5", GNU__sparse__name="s") +
            entry(b"GNUSparseFile.0/s", TXT) + END)


@case("an old GNU sparse file", "as above, \"Old GNU Format\"", tree={"s": bytes(4096) + TXT + bytes(4096 - 5), "g": TXT})
def sparse_old():
    return old_sparse(b"s", 8192, [(4096, 5)], 5) + pad(TXT) + entry(b"g", TXT) + END


@case("an old GNU sparse file of seven pieces", "as above: more than four are in blocks of their own",
      tree={"s": b"".join(bytes(512) + TXT[:4] + bytes(508) for _ in range(7)), "g": TXT})
def sparse_old_extended():
    pieces = [(i * 1024 + 512, 4) for i in range(7)]
    more = b"".join(octal(n, 12) for piece in pieces[4:] for n in piece).ljust(512, b"\0")
    return old_sparse(b"s", 7168, pieces[:4], 28, more, 1) + pad(TXT[:4] * 7) + entry(b"g", TXT) + END


@case("an old GNU sparse file whose pieces overlap", "a byte has one value", refused="layer entry 's': data outside of the file")
def sparse_old_overlap():
    return old_sparse(b"s", 8192, [(0, 512), (256, 512)], 1024) + bytes(1024) + END


@case("an old GNU sparse file whose pieces descend", "a map ascends", refused="layer entry 's': data outside of the file")
def sparse_old_descending():
    return old_sparse(b"s", 8192, [(4096, 512), (0, 512)], 1024) + bytes(1024) + END


@case("an old GNU sparse file with a piece behind its end", "data outside of the file is nowhere",
      refused="layer entry 's': data outside of the file")
def sparse_old_beyond():
    return old_sparse(b"s", 100, [(4096, 512)], 512) + bytes(512) + END


@case("an old GNU sparse file with more data than its map: an entry", "libarchive takes the rest for headers, others do not",
      refused="layer entry 's': its sparse map has fewer bytes than its header")
def sparse_old_more():
    return old_sparse(b"s", 8192, [(0, 512)], 2048) + bytes(512) + entry(b"hidden", TXT) + bytes(512) + entry(b"g", TXT) + END


@case("the same with zeros", "as above: they would be the end of the archive",
      refused="layer entry 's': its sparse map has fewer bytes than its header")
def sparse_old_more_zeros():
    return old_sparse(b"s", 8192, [(0, 5)], 2048) + bytes(2048) + entry(b"g", TXT) + END


@case("a PAX 0.1 sparse file with more data than its map: an entry", "as above",
      refused="layer entry 's': its sparse map has fewer bytes than its header")
def sparse_0_1_more():
    return (pax(GNU__sparse__size=512, GNU__sparse__numblocks=1, GNU__sparse__map="0,512", GNU__sparse__name="s") +
            header(b"GNUSparseFile.0/s", 1536) + bytes(512) + entry(b"hidden", TXT) + entry(b"g", TXT) + END)


@case("a PAX 1.0 sparse file with more data than its map: an entry", "as above",
      refused="layer entry 's': its sparse map has fewer bytes than its header")
def sparse_1_0_more():
    data = pad(b"1\n0\n512\n") + bytes(512) + entry(b"hidden", TXT)
    return (pax(GNU__sparse__major=1, GNU__sparse__minor=0, GNU__sparse__name="s", GNU__sparse__realsize=512) +
            header(b"GNUSparseFile.0/s", len(data)) + data + entry(b"g", TXT) + END)


@case("an old GNU sparse file with less data than its map", "a piece without its bytes",
      refused="layer entry 's': its sparse map has more bytes than the tar")
def sparse_old_less():
    return old_sparse(b"s", 8192, [(0, 512), (4096, 512)], 512) + bytes(512) + entry(b"g", TXT) + END


@case("an old GNU sparse file cut off in its map", "POSIX", refused="Truncated tar archive detected while reading sparse file data")
def sparse_old_cut():
    return PLAIN, old_sparse(b"s", 8192, [(0, 5)], 5, b"", 1), b""


@case("xattrs that steer overlayfs", "dropped: they are this host's, not the image's", tree={"d/f": TXT, "d": "x:user.ok"})
def xattr_overlay():
    return [directory(b"d/") + entry(b"d/f", TXT) + END,
            pax(**{"SCHILY__xattr__trusted__overlay__opaque": "y", "SCHILY__xattr__user__overlay__opaque": "y",
                   "SCHILY__xattr__user__ok": "1"}) + directory(b"d/") + END]


@case("an xattr of 100 MB", "libarchive reads extended headers of up to 1 MiB; XATTR_SIZE_MAX is 64 KiB", refused="Special header too large")
def xattrs_100mb():
    return pax(SCHILY__xattr__user__big=b"x" * 100_000_000) + entry(b"f", TXT) + END


XATTR_FILES = 26000


def xattr_value(i):
    return (b"%06d " % i) * 550  # with the name, what one block of ext4 holds


@case("100 MB of xattrs in 26,000 files", "each is within the limits of Linux", tree={"d": "X%d" % XATTR_FILES})
def xattrs_many():
    return directory(b"d/") + b"".join(pax(SCHILY__xattr__user__big=xattr_value(i)) + entry(b"d/%d" % i)
                                       for i in range(XATTR_FILES)) + END


# ---- compression ----

@case("no byte at all, said to be gzip", "RFC 1952: a member has a header", refused="layers\\[0\\]: size 0, a layer has at least one byte")
def gzip_empty():
    return GZIP, b"", b""


@case("no byte at all, said to be zstd", "RFC 8878: a frame has a header", refused="layers\\[0\\]: size 0, a layer has at least one byte")
def zstd_empty():
    return ZSTD, b"", b""


@case("no byte at all, said to be a tar", "POSIX: an archive ends with two blocks",
      refused="layers\\[1\\]: size 0, a layer has at least one byte")
def tar_empty():
    return [entry(b"old", TXT) + END, (PLAIN, b"", b"")]


@case("gzip of no byte", "some builders write it: a layer without changes", tree={"old": TXT})
def gzip_of_nothing():
    return [entry(b"old", TXT) + END, b""]


@case("zstd of no byte", "as above", tree={"old": TXT})
def zstd_of_nothing():
    return [entry(b"old", TXT) + END, (ZSTD, zstd(b""), b"")]


@case("gzip cut short", "RFC 1952", refused="middle of a gzip member")
def gzip_cut():
    data = gzip.compress(entry(b"f", os.urandom(9000)) + END, mtime=0)
    return GZIP, data[:len(data) // 2], b""


@case("gzip with a wrong CRC", "RFC 1952", refused="CRC or length")
def gzip_crc():
    data = bytearray(gzip.compress(entry(b"f", TXT) + END, mtime=0))
    data[-6] ^= 1
    return GZIP, bytes(data), b""


@case("garbage behind the gzip member", "RFC 1952: members only", refused="garbage after the last gzip member")
def gzip_garbage():
    return GZIP, gzip.compress(entry(b"f", TXT) + END, mtime=0) + b"garbage" * 9, b""


@case("zeros behind the gzip member", "RFC 1952; Go's compress/gzip, so containerd and podman: \"invalid header\"",
      refused="garbage after the last gzip member")
def gzip_zeros():
    plain = entry(b"f", TXT) + END
    return GZIP, gzip.compress(plain, mtime=0) + bytes(512), plain


@case("less than a header behind the gzip member", "as above", refused="garbage after the last gzip member")
def gzip_few():
    plain = entry(b"f", TXT) + END
    return GZIP, gzip.compress(plain, mtime=0) + bytes(3), plain


@case("several gzip members", "RFC 1952: one stream", tree={"f": TXT, "g": TXT})
def gzip_members():
    plain = entry(b"f", TXT) + entry(b"g", TXT) + END
    return GZIP, b"".join(gzip.compress(plain[i:i + 100], mtime=0) for i in range(0, len(plain), 100)), plain


@case("a gzip bomb: 2 GB of zeros in one file", "what deflate can do is taken; nothing of it is in memory",
      tree={"zeros": "s2000000000"})
def gzip_bomb():
    plain_head = header(b"zeros", 2 * BIG)
    pipe = subprocess.run("{ cat; head -c 2000002560 /dev/zero; } | gzip -1n", shell=True, input=plain_head,
                          stdout=subprocess.PIPE, check=True).stdout
    h = hashlib.sha256(plain_head)
    for _ in range(2000):
        h.update(bytes(1000000))
    h.update(bytes(2560))
    return GZIP, pipe, "sha256:" + h.hexdigest()


@case("a zstd bomb: 40 GB of zeros", "more than 1,100 times its bytes and 1 GiB", refused="unpacks to more than")
def zstd_bomb():
    block = zstd(bytes(4 << 20), "-19")
    return ZSTD, block * 10000, b""


@case("zstd with a window of 2 GiB", "RFC 8878: readers may refuse over 8 MiB; locum takes 128 MiB",
      refused="[Ff]rame requires too much memory|window")
def zstd_window():
    return ZSTD, zstd(entry(b"f", os.urandom(1000)) + END, "--ultra", "--long=31", "--no-content-size"), b""


@case("zstd cut short", "RFC 8878", refused="middle of a zstd frame")
def zstd_cut():
    data = zstd(entry(b"f", os.urandom(9000)) + END)
    return ZSTD, data[:len(data) // 2], b""


@case("skippable zstd frames", "RFC 8878", tree={"f": TXT})
def zstd_skippable():
    plain = entry(b"f", TXT) + END
    skip = b"\x50\x2a\x4d\x18\x05\0\0\0abcde"
    return ZSTD, skip + zstd(plain) + skip, plain


@case("garbage behind the zstd frame", "RFC 8878: frames only", refused="garbage after the last zstd frame")
def zstd_garbage():
    plain = entry(b"f", TXT) + END
    return ZSTD, zstd(plain) + b"garbage" * 9, plain


@case("zeros behind the zstd frame", "as above", refused="garbage after the last zstd frame")
def zstd_zeros():
    plain = entry(b"f", TXT) + END
    return ZSTD, zstd(plain) + bytes(512), plain


@case("a skippable frame cut short", "RFC 8878", refused="middle of a zstd frame")
def zstd_skippable_cut():
    plain = entry(b"f", TXT) + END
    return ZSTD, zstd(plain) + b"\x50\x2a\x4d\x18\x05\0\0\0abc", plain


@case("gzip that is said to be zstd", "the media type counts", refused="said to be zstd, but its first bytes .* are gzip")
def wrong_media():
    return ZSTD, gzip.compress(entry(b"f", TXT) + END, mtime=0), b""


@case("a layer that is no archive", "POSIX", refused="Unrecognized archive format")
def no_archive():
    return PLAIN, b"this is not an archive " * 100, b""


@case("an archive cut off in a header", "POSIX", refused="Truncated tar archive")
def tar_cut():
    return PLAIN, entry(b"f", TXT) + header(b"g", 5)[:300], b""


@case("garbage behind the end of the archive", "POSIX: what follows two zero blocks is nothing; the diffID has it",
      tree={"f": TXT, "g": "-"})
def tar_garbage():
    return entry(b"f", TXT) + END + entry(b"g", TXT)


@case("another diffID than the config's", "OCI config.md", refused="layer diffID mismatch")
def diffid():
    return PLAIN, entry(b"f", TXT) + END, b"something else"


# ---- tables of contents ----

F, G = eviltoc.noise("f", 150000), eviltoc.noise("g", 3000)
HONEST = {"d/f": F, "d/g": G, "h": F, "last": TXT}


def honest():
    return (directory(b"d/") + entry(b"d/f", F) + entry(b"d/g", G) + entry(b"h", kind=b"1", link=b"d/f") +
            entry(b"last", TXT) + END)


def entry_of(entries, name):
    return next(e for e in entries if e["name"] == name)


def json_outside(entries):
    entry_of(entries, "d/g").update(offset=BIG, endOffset=BIG + 100)


def json_overlap(entries):
    next(e for e in entries if e["type"] == "chunk")["chunkOffset"] -= 100


def json_shared(entries):
    f, g = entry_of(entries, "d/f"), entry_of(entries, "d/g")
    g["offset"] = f["offset"]
    if "endOffset" in g:
        g["endOffset"] = next(e for e in entries if e["type"] == "chunk")["offset"]


def json_dotdot(entries):
    entry_of(entries, "d/g")["name"] = "d/../../g"


def json_hardlink(entries):
    entry_of(entries, "h")["linkName"] = "nothing"


def json_name(entries):
    entry_of(entries, "d/g")["name"] = "n" * (1 << 20)


JSON_SINS = {
    "good": (lambda entries: None, "that tells the truth", "the others are this one with one thing changed", "lazy"),
    "outside": (json_outside, "with a file outside of the blob", "a range has to be within", "entry 'd/g': bad offset or endOffset"),
    "overlap": (json_overlap, "with chunks over one another", "a byte has one value",
                "entry 'd/f': chunks overlap, leave a gap or pass the end of the file"),
    "shared": (json_shared, "with a file at another's bytes", "the digest of a chunk is of the file's own bytes", "eio"),
    "dotdot": (json_dotdot, "with a name with `..`", "nothing may leave the root", "entry 'd/\\.\\./\\.\\./g': '\\.\\.' in a path"),
    "hardlink": (json_hardlink, "with a hardlink to nothing", "it has no content", "/h in layer [0-9]*: hardlink to 'nothing', which"),
    "name": (json_name, "with a name of 1 MiB", "PATH_MAX", "layer entry 'n+': path longer than 4000 bytes"),
}
for sin, (change, what, why, text) in JSON_SINS.items():
    for kind, writer, title in (("chunked", eviltoc.chunked, "a zstd:chunked table"), ("estargz", eviltoc.stargz, "an eStargz table")):
        how = {"how": text, "tree": HONEST} if text in ("lazy", "eio") else {"refused": "table of contents.*(%s)" % text}
        if sin == "hardlink":
            how = {"refused": "metadata image: " + text, "how": "useless"}

        @case("%s %s" % (title, what), why, **how)
        def lying(writer=writer, change=change, media=ZSTD if kind == "chunked" else GZIP):
            blob, diffid, notes = writer(honest(), change)
            return media, blob, diffid, notes
        CASES["%s-%s" % (kind, sin)] = CASES.pop("lying")


def ztoc_set(path, **new):
    def change(infos):
        for i in infos:
            if i.name == path:
                for k, v in new.items():
                    setattr(i, k, v)
    return change


def ztoc_points(points):
    return points[:12] + struct.pack("<q", BIG) + points[20:]


WHOLE = "an index beside a layer is an offer: it is pulled whole"
ZTOC_SINS = {
    "good": ("that tells the truth", "the others are this one with one thing changed", {}),
    "outside": ("with a file outside of the tar", WHOLE, {"change": ztoc_set("d/g", offset_data=BIG)}),
    "overlap": ("with files over one another", WHOLE, {"change": ztoc_set("d/g", offset_data=2048)}),
    "dotdot": ("with a name with `..`", WHOLE, {"change": ztoc_set("d/g", name="d/../../g")}),
    "hardlink": ("with a hardlink to nothing", "it has no content", {"change": ztoc_set("h", linkname="nothing")}),
    "name": ("with a name of 1 MiB", WHOLE, {"change": ztoc_set("d/g", name="n" * (1 << 20))}),
    "checkpoint": ("with a checkpoint outside of the blob", WHOLE, {"change_points": ztoc_points}),
    "flat": ("that is no FlatBuffer", WHOLE, None),
}
for sin, (what, why, changes) in ZTOC_SINS.items():
    how = {"how": "lazy" if sin == "good" else "tree", "tree": HONEST}
    if sin == "hardlink":
        how = {"how": "useless", "refused": "metadata image: /h in layer [0-9]*: hardlink to 'nothing', which"}

    @case("a zTOC " + what, why, **how)
    def lying(changes=changes):
        blob = gzip.compress(honest(), 1, mtime=0)
        return GZIP, blob, honest(), {}, b"\xff" * 4096 if changes is None else eviltoc.soci_ztoc(blob, **changes)
    CASES["soci-" + sin] = CASES.pop("lying")


# ---- images ----

INNOCENT = {"%s/%d" % (d, i): eviltoc.noise("%s/%d" % (d, i), 3000 + i) for d in ("pulled", "lazy") for i in range(40)}


def innocent():
    pulled, lazy = (b"".join(entry(n.encode(), v) for n, v in INNOCENT.items() if n.startswith(d)) + END for d in ("pulled", "lazy"))
    return [pulled, (ZSTD,) + eviltoc.chunked(lazy, lambda entries: None)]


def innocent_check(where, count):
    found = {os.path.relpath(os.path.join(at, n), where) for at, _, names in os.walk(where) for n in names}
    assert found == set(INNOCENT), found ^ set(INNOCENT)
    for i, (name, want) in enumerate(sorted(INNOCENT.items(), key=lambda nv: sha(nv[0].encode()))):
        path = os.path.join(where, name)
        assert os.stat(path).st_size == len(want), name
        if i < count:
            with open(path, "rb") as f:
                assert f.read() == want, name


def layer_of(lay, made):
    """made: a tar; or media type, blob, diffID or the tar that has it, annotations, the layer's zTOC."""
    if isinstance(made, bytes):
        made = (GZIP, gzip.compress(made, 1, mtime=0), made)
    media, blob, plain, notes, table = made + ({}, None)[len(made) - 3:]
    layer = lay.put(blob, media)
    if notes:
        layer["annotations"] = notes
    return layer, plain if isinstance(plain, str) else sha(plain), table


def sha(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


class Layout:
    def __init__(self, oci):
        self.oci = oci
        os.makedirs(oci + "/blobs/sha256")
        self.manifests = []

    def put(self, data, media):
        with open("%s/blobs/%s" % (self.oci, sha(data).replace(":", "/")), "wb") as f:
            f.write(data)
        return {"mediaType": media, "digest": sha(data), "size": len(data)}

    def image(self, name, made):
        layers, diffids, tables = zip(*[layer_of(self, m) for m in (made if isinstance(made, list) else [made])])
        arch = {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)
        config = self.put(json.dumps({"os": "linux", "architecture": arch, "rootfs": {
            "type": "layers", "diff_ids": diffids}}).encode(), "application/vnd.oci.image.config.v1+json")
        manifest = {"schemaVersion": 2, "mediaType": eviltoc.MANIFEST, "config": config, "layers": layers}
        if tables[0]:
            index = eviltoc.soci_index(self.put, layers[0], tables[0])
            manifest["annotations"] = {eviltoc.SOCI + "index-digest": index["digest"]}
            self.manifests.append(index)
        m = self.put(json.dumps(manifest).encode(), eviltoc.MANIFEST)
        self.manifests.append(dict(m, annotations={"org.opencontainers.image.ref.name": name}))

    def end(self):
        with open(self.oci + "/oci-layout", "w") as f:
            json.dump({"imageLayoutVersion": "1.0.0"}, f)
        with open(self.oci + "/index.json", "w") as f:
            json.dump({"schemaVersion": 2, "manifests": self.manifests}, f)


def is_so(where, path, want, eio):
    try:
        st = os.lstat(path)
    except FileNotFoundError:
        return want == "-"
    if isinstance(want, bytes):
        try:
            with open(path, "rb") as f:
                return stat.S_ISREG(st.st_mode) and st.st_size == len(want) and f.read() == want
        except OSError as e:
            return eio and e.errno == errno.EIO
    kind, rest = want[0], want[1:]
    if kind == "d":
        return stat.S_ISDIR(st.st_mode) and st.st_mode & 0o7777 == int(rest, 8) and st.st_uid == 0
    if kind == "l":
        return os.readlink(path) == rest
    if kind == "=":
        other = os.lstat(os.path.join(where, rest))
        return (st.st_dev, st.st_ino, st.st_nlink) == (other.st_dev, other.st_ino, other.st_nlink) and st.st_nlink > 1
    if kind in "cb":
        ok = stat.S_ISCHR(st.st_mode) if kind == "c" else stat.S_ISBLK(st.st_mode)
        return ok and "%d,%d" % (os.major(st.st_rdev), os.minor(st.st_rdev)) == rest
    if kind == "p":
        return stat.S_ISFIFO(st.st_mode)
    if kind == "m":
        return st.st_mode & 0o7777 == int(rest, 8)
    if kind == "s":
        with open(path, "rb") as f:
            ends = [f.read(1 << 20), f.seek(-1 << 20, 2) and f.read()]
        return st.st_size == int(rest) and ends == [bytes(1 << 20)] * 2
    if kind == "t":
        sec, nsec = rest.split(".")
        want_ns = int(sec) * 10**9 + int(nsec)
        return st.st_mtime_ns == want_ns
    if kind == "u":
        return st.st_uid == int(rest)
    if kind == "X":
        return len(os.listdir(path)) == int(rest) and all(
            os.getxattr("%s/%d" % (path, i), "user.big") == xattr_value(i) for i in range(int(rest)))
    if kind == "x":
        return os.listxattr(path) == [rest[1:]]
    return False


def check(name, where, eio):
    bad = 0
    tree = CASES[name]["tree"]
    for at, dirs, files in os.walk(where):
        for n in dirs + files:
            path = os.path.relpath(os.path.join(at, n), where)
            if path not in tree and tree.get(os.path.dirname(path), "-")[:1] != "X" and not any(
                    p.startswith(path + "/") for p in tree):
                print("%s: %r should not be there" % (name, path))
                bad = 1
    for path, want in tree.items():
        if not is_so(where, os.path.join(where, path), want, eio):
            print("%s: %r is not %r" % (name, path, want if len(want) < 60 else want[:60]))
            bad = 1
    return bad


def table():
    for name, c in CASES.items():
        result = "refused" if c["refused"] else "taken"
        print("| `%s` | %s | %s | %s |" % (name, c["what"], result, c["why"]))


def main():
    if sys.argv[1] == "check":
        sys.exit(check(sys.argv[2], sys.argv[3], "--eio" in sys.argv))
    if sys.argv[1] == "innocent":
        innocent_check(sys.argv[2], int(sys.argv[3]))
        return
    if sys.argv[1] == "table":
        table()
        return
    lay = Layout(sys.argv[2])
    for name, c in CASES.items():
        lay.image(name, c["make"]())
        print(name, c["how"], c["refused"] or "")
    lay.image("innocent", innocent())
    lay.end()


main()
