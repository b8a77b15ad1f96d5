#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes what SOCI makes, by its ztoc.fbs, gzip_zinfo.c and docs alone.

ztoc.py [OPTION...] LAYER OUT [v1|v2]      the zTOC of a layer (gzip or plain tar); v1, v2 (default): of its checkpoints
ztoc.py [OPTION...] index LAYOUT v1|v2     adds a SOCI index of that version to the OCI layout LAYOUT, for its first image.
        v2: the image's manifest gets the annotation; v1: the index has a subject, and LAYOUT a tag sha256-HEX for it
        Prints one line per zTOC: LAYER ZTOC, then: index DIGEST

--span N      bytes of the tar between checkpoints (default 4 MiB)
--min N       layers of fewer bytes get no zTOC (default 0)
--mode PATH   a lie: another mode for this file
--lie PATH    a lie: the data of another file of the same size for this one
--digest      a lie: the digest of the last span"""
import argparse
import ctypes
import datetime
import decimal
import hashlib
import io
import json
import struct
import tarfile

WINDOW = 32768
TYPES = {tarfile.REGTYPE: "reg", tarfile.AREGTYPE: "reg", tarfile.DIRTYPE: "dir", tarfile.SYMTYPE: "symlink",
         tarfile.LNKTYPE: "hardlink", tarfile.CHRTYPE: "char", tarfile.BLKTYPE: "block", tarfile.FIFOTYPE: "fifo"}
SOCI = "com.amazon.soci."
ARTIFACT = "application/vnd.amazon.soci.index.%s+json"


def sha(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


# ---- FlatBuffers: what is pointed to follows what points to it ----

class Flat:
    def __init__(self, root):
        self.out = bytearray(4)
        self.point(0, root)

    def align(self, n, ahead=0):
        self.out += bytes(-(len(self.out) + ahead) % n)

    def point(self, at, child):
        to = child(self)
        struct.pack_into("<I", self.out, at, to - at)


def text(s):
    if isinstance(s, str):
        s = s.encode("utf-8", "surrogateescape")

    def put(f):
        f.align(4)
        at = len(f.out)
        f.out += struct.pack("<I", len(s)) + s + b"\0"
        return at
    return put


def octets(data):
    def put(f):
        f.align(4)
        at = len(f.out)
        f.out += struct.pack("<I", len(data)) + data
        return at
    return put


def vector(children):
    def put(f):
        f.align(4)
        at = len(f.out)
        f.out += struct.pack("<I", len(children)) + bytes(4 * len(children))
        for i, child in enumerate(children):
            f.point(at + 4 + 4 * i, child)
        return at
    return put


def table(*fields):
    """Each field: None (absent), (struct format, number), or a function that puts a child."""
    def put(f):
        slots, body, children = [], bytearray(4), []
        for field in fields:
            if field is None or isinstance(field, tuple) and field[1] == 0:
                slots.append(0)
                continue
            form = field[0] if isinstance(field, tuple) else "I"
            body += bytes(-len(body) % struct.calcsize(form))
            slots.append(len(body))
            if not isinstance(field, tuple):
                children.append((len(body), field))
            body += struct.pack("<" + form, field[1] if isinstance(field, tuple) else 0)
        vtable = struct.pack("<HH%dH" % len(slots), 4 + 2 * len(slots), len(body), *slots)
        f.align(8, len(vtable))
        at = len(f.out) + len(vtable)
        struct.pack_into("<i", body, 0, len(vtable))
        f.out += vtable + body
        for off, child in children:
            f.point(at + off, child)
        return at
    return put


def flat(root):
    return bytes(Flat(root).out)


# ---- checkpoints ----

class ZStream(ctypes.Structure):
    _fields_ = [("next_in", ctypes.c_void_p), ("avail_in", ctypes.c_uint), ("total_in", ctypes.c_ulong),
                ("next_out", ctypes.c_void_p), ("avail_out", ctypes.c_uint), ("total_out", ctypes.c_ulong),
                ("msg", ctypes.c_char_p), ("state", ctypes.c_void_p), ("zalloc", ctypes.c_void_p),
                ("zfree", ctypes.c_void_p), ("opaque", ctypes.c_void_p), ("data_type", ctypes.c_int),
                ("adler", ctypes.c_ulong), ("reserved", ctypes.c_ulong)]


def checkpoints(blob, span):
    """The plain bytes, and (in, out, bits) of every place; zran.c's rule for where they are."""
    z = ctypes.CDLL("libz.so.1")
    s = ZStream()
    if z.inflateInit2_(ctypes.byref(s), 47, b"1", ctypes.sizeof(s)) != 0:
        raise MemoryError
    source = ctypes.create_string_buffer(blob, len(blob))
    room = ctypes.create_string_buffer(1 << 20)
    s.next_in = ctypes.addressof(source)
    s.avail_in = len(blob)
    plain, points, last = bytearray(), [], 0
    while True:
        s.next_out = ctypes.addressof(room)
        s.avail_out = len(room)
        r = z.inflate(ctypes.byref(s), 5)  # Z_BLOCK
        plain += ctypes.string_at(room, len(room) - s.avail_out)
        if r == 1:  # Z_STREAM_END
            if not s.avail_in:
                break
            z.inflateReset2(ctypes.byref(s), 47)
            continue
        if r != 0:
            raise ValueError("inflate: %d" % r)
        if s.data_type & 128 and not s.data_type & 64 and (not plain or len(plain) - last > span):
            points.append((len(blob) - s.avail_in, len(plain), s.data_type & 7))
            last = len(plain)
    z.inflateEnd(ctypes.byref(s))
    return bytes(plain), points


def gzip_info(blob, span, zinfo):
    plain, points = checkpoints(blob, span)
    begins = [i - (bits > 0) for i, _, bits in points]
    ends = [i for i, _, _ in points[1:]] + [len(blob)]
    records = b"".join(struct.pack("<qqB", i, out, bits) + plain[max(0, out - WINDOW):out].rjust(WINDOW, b"\0")
                       for i, out, bits in (points[1:] if zinfo == "v1" else points))
    return plain, [blob[a:b] for a, b in zip(begins, ends)], struct.pack("<iq", len(points), span) + records


# ---- files ----

def when(info):
    sec, nsec = divmod(int(decimal.Decimal(info.pax_headers.get("mtime", str(int(info.mtime)))) * 10**9), 10**9)
    t = datetime.datetime(1970, 1, 1) + datetime.timedelta(seconds=sec)
    return t.isoformat() + ((".%09d" % nsec).rstrip("0") if nsec else "") + "Z"


def metadata(info, off, mode):
    return table(text(info.name + ("/" if info.isdir() else "")), text(TYPES[info.type]), ("q", off), ("q", info.size),
                 text(info.linkname), ("q", mode), ("I", info.uid), ("I", info.gid), text(info.uname), text(info.gname),
                 text(when(info)), ("q", info.devmajor), ("q", info.devminor),
                 vector([table(text(k), text(v)) for k, v in sorted(info.pax_headers.items())]))


def files(plain, opt):
    with tarfile.open(fileobj=io.BytesIO(plain)) as t:
        infos = list(t)
    end = max((i.offset_data + (-(-i.size // 512) * 512 if i.isreg() else 0) for i in infos), default=0)
    entries = []
    if getattr(opt, "change", None):
        opt.change(infos)
    for i in infos:
        path = i.name.removeprefix("./")
        off, mode = i.offset_data, i.mode ^ (0o111 if path == opt.mode else 0)
        if path == opt.lie:
            return lied(infos, i, opt), min(len(plain), end + 1024)
        entries.append(metadata(i, off, mode))
    return entries, min(len(plain), end + 1024)


def lied(infos, liar, opt):
    """The order of the data is the order of the tar: the liar and another trade their names."""
    other = next(i for i in infos if i.isreg() and i.size == liar.size and i.mode == liar.mode and i is not liar)
    liar.name, other.name = other.name, liar.name
    return [metadata(i, i.offset_data, i.mode) for i in infos]


def ztoc(blob, opt, zinfo="v2"):
    gz = blob[:2] == b"\x1f\x8b"
    if gz:
        plain, spans, points = gzip_info(blob, opt.span, zinfo)
        if getattr(opt, "change_points", None):
            points = opt.change_points(points)
    else:
        plain = blob
        spans = [blob[i:i + opt.span] for i in range(0, len(blob), opt.span)]
        points = flat(table(("i", 2), ("q", opt.span), ("q", len(blob))))
    digests = [sha(s) for s in spans]
    if opt.digest:
        digests[-1] = sha(b"another")
    entries, size = files(plain, opt)
    info = table(("b", 1 if gz else 2), ("i", len(spans) - 1), vector([text(d) for d in digests]), octets(points))
    return flat(table(text("0.9"), text("ztoc.py"), ("q", len(blob)), ("q", size), table(vector(entries)), info))


# ---- an index ----

def index(layout, version, opt):
    def get(digest):
        with open("%s/blobs/%s" % (layout, digest.replace(":", "/")), "rb") as f:
            return f.read()

    def put(data, **more):
        if not isinstance(data, bytes):
            data = json.dumps(data).encode()
        with open("%s/blobs/%s" % (layout, sha(data).replace(":", "/")), "wb") as f:
            f.write(data)
        return dict(digest=sha(data), size=len(data), **more)

    with open(layout + "/index.json", "rb") as f:
        top = json.load(f)
    image = top["manifests"][0]
    manifest = json.loads(get(image["digest"]))
    subject = {k: image[k] for k in ("mediaType", "digest", "size")}
    kind, oci = ARTIFACT % version, "application/vnd.oci.image.manifest.v1+json"
    blobs = []
    for layer in manifest["layers"]:
        if layer["size"] < opt.min:
            continue
        notes = {SOCI + "image-layer-digest": layer["digest"], SOCI + "image-layer-mediaType": layer["mediaType"],
                 SOCI + "span-size": str(opt.span)}
        blobs.append(put(ztoc(get(layer["digest"]), opt), mediaType="application/octet-stream", annotations=notes))
        print(layer["digest"], blobs[-1]["digest"])
    soci = {"schemaVersion": 2, "mediaType": oci, "config": put(b"{}", mediaType=kind), "layers": blobs,
            "annotations": {SOCI + "build-tool-identifier": "ztoc.py"}}
    if version == "v1":
        soci["subject"] = subject
    entry = put(soci, mediaType=oci, artifactType=kind)
    if version == "v1":
        referrers = put({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [entry]},
                        mediaType="application/vnd.oci.image.index.v1+json",
                        annotations={"org.opencontainers.image.ref.name": image["digest"].replace(":", "-")})
        top["manifests"].append(referrers)
    else:
        manifest.setdefault("annotations", {})[SOCI + "index-digest"] = entry["digest"]
        image.update(put(manifest))
        entry["annotations"] = {SOCI + "image-manifest-digest": image["digest"]}
    top["manifests"].append(entry)
    with open(layout + "/index.json", "w") as f:
        json.dump(top, f)
    print("index", entry["digest"])


def main():
    p = argparse.ArgumentParser(usage=__doc__)
    p.add_argument("--span", type=int, default=4 << 20)
    p.add_argument("--min", type=int, default=0)
    p.add_argument("--mode", default="")
    p.add_argument("--lie", default="")
    p.add_argument("--digest", action="store_true")
    p.add_argument("what", nargs="+")
    opt = p.parse_intermixed_args()
    if opt.what[0] == "index":
        index(opt.what[1], opt.what[2], opt)
        return
    with open(opt.what[0], "rb") as f:
        data = ztoc(f.read(), opt, (opt.what[2:] or ["v2"])[0])
    with open(opt.what[1], "wb") as f:
        f.write(data)


if __name__ == "__main__":
    main()
