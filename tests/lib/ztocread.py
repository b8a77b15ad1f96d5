#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""ztocread.py ZTOC LAYER  reads a zTOC as SOCI's snapshotter does, by its sources alone, and prints its entries.

What it insists on: the digest of every span; the window of every checkpoint; and what fs/reader/reader.go Verify()
compares when a file is opened: behind the end of the entry before there are the headers of this one, they end where its
data begin, and say the same as the zTOC."""
import argparse
import hashlib
import io
import os
import struct
import sys
import tarfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import ztoc  # noqa: E402

TYPES = {v: k for k, v in ztoc.TYPES.items() if k != tarfile.AREGTYPE}


class Table:
    def __init__(self, buf, at):
        self.buf, self.at = buf, at
        self.vtable = at - struct.unpack_from("<i", buf, at)[0]
        self.size = struct.unpack_from("<H", buf, self.vtable)[0]

    def where(self, slot):
        if 4 + 2 * slot >= self.size:
            return 0
        off = struct.unpack_from("<H", self.buf, self.vtable + 4 + 2 * slot)[0]
        return off and self.at + off

    def number(self, slot, form):
        at = self.where(slot)
        if at and at % struct.calcsize(form):
            raise ValueError("a number that is not aligned")
        return struct.unpack_from("<" + form, self.buf, at)[0] if at else 0

    def follow(self, slot):
        at = self.where(slot)
        return at and at + struct.unpack_from("<I", self.buf, at)[0]

    def octets(self, slot):
        return octets(self.buf, self.follow(slot))

    def items(self, slot):
        at = self.follow(slot)
        if not at:
            return []
        n = struct.unpack_from("<I", self.buf, at)[0]
        return [p + struct.unpack_from("<I", self.buf, p)[0] for p in range(at + 4, at + 4 + 4 * n, 4)]

    def table(self, slot):
        return Table(self.buf, self.follow(slot))


def octets(buf, at):
    return buf[at + 4:at + 4 + struct.unpack_from("<I", buf, at)[0]] if at else b""


def need(good, what):
    if not good:
        raise ValueError(what)


def spans(info, blob, plain):
    points = info.octets(3)
    count, size = struct.unpack_from("<iq", points)
    need(size > 0 and len(points) == 12 + count * (17 + ztoc.WINDOW), "length of the checkpoints")
    digests = [octets(info.buf, at).decode() for at in info.items(2)]
    need(info.number(0, "b") == 1 and info.number(1, "i") == count - 1 == len(digests) - 1, "number of spans")
    at = [struct.unpack_from("<qqB", points, 12 + i * (17 + ztoc.WINDOW)) for i in range(count)]
    for i, (begin, out, bits) in enumerate(at):
        end = at[i + 1][0] if i + 1 < count else len(blob)
        need(ztoc.sha(blob[begin - (bits > 0):end]) == digests[i], "digest of span %d" % i)
        window = points[12 + i * (17 + ztoc.WINDOW) + 17:][:ztoc.WINDOW]
        # in front of a gzip member nothing is referred to
        need(not any(window) or window == plain[max(0, out - ztoc.WINDOW):out].rjust(ztoc.WINDOW, b"\0"), "window %d" % i)


def pax(entry):
    records = (Table(entry.buf, at) for at in entry.items(13))
    return {r.octets(0).decode("utf-8", "surrogateescape"): r.octets(1) for r in records}


def header(plain, begin, data, entry, name):
    with tarfile.open(fileobj=io.BytesIO(plain[begin:data] + bytes(1 << 20)), ignore_zeros=False) as t:
        info = t.next()
    need(info is not None and info.offset_data == data - begin, "%s: headers at %d do not end at %d" % (name, begin, data))
    need(info.name + ("/" if info.isdir() else "") == name, "%s: another name: %s" % (name, info.name))
    need(ztoc.TYPES[info.type] == entry.octets(1).decode(), "%s: type" % name)
    need(info.size == entry.number(3, "q") and info.mode & 0o7777 == entry.number(5, "q"), "%s: size or mode" % name)
    need((info.uid, info.gid) == (entry.number(6, "I"), entry.number(7, "I")), "%s: owner" % name)
    link = info.linkname.removeprefix("./") if info.islnk() else info.linkname  # the target of a hardlink is looked up
    need(link == entry.octets(4).decode("utf-8", "surrogateescape"), "%s: link" % name)
    need(ztoc.when(info).encode() == entry.octets(10), "%s: time %s" % (name, entry.octets(10)))
    records = {k: v.encode("utf-8", "surrogateescape") for k, v in info.pax_headers.items()
               if k.startswith("SCHILY.xattr.")}
    need({k: v for k, v in pax(entry).items() if k.startswith("SCHILY.xattr.")} == records, "%s: xattrs" % name)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("ztoc")
    parser.add_argument("layer")
    opt = parser.parse_args()
    with open(opt.ztoc, "rb") as f:
        buf = f.read()
    with open(opt.layer, "rb") as f:
        blob = f.read()
    root = Table(buf, struct.unpack_from("<I", buf)[0])
    plain, _ = ztoc.checkpoints(blob, 1 << 40)
    need(root.octets(0) == b"0.9" and root.number(2, "q") == len(blob), "version or size")
    need(root.number(3, "q") == len(plain), "size of the tar")
    spans(root.table(5), blob, plain)
    at = 0
    for where in root.table(4).items(0):
        e = Table(buf, where)
        name, off, size = e.octets(0).decode("utf-8", "surrogateescape"), e.number(2, "q"), e.number(3, "q")
        need(off >= at, "%s: out of order" % name)
        header(plain, at, off, e, name)
        at = off + -(-size // 512) * 512
        sys.stdout.buffer.write(b"%d %d %s\n" % (off, size, e.octets(0)))
    need(not any(plain[at:]), "something follows the last entry")
    sys.stdout.flush()


main()
