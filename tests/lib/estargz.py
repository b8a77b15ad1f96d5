#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""estargz.py SRC DEST [KIND]  converts an OCI layout (tag t) into eStargz, by docs/estargz.md of stargz-snapshotter alone.

KIND: good (default)
      legacy       the 47-byte footer of stargz
      mixed        the last layer only; the others are plain gzip
      external     the tables of contents are layers of an image of their own, tag t-esgztoc
      external-lost  that image is not there
      external-other it has the tables of other layers
      no-footer    the annotation, but no footer: to be pulled whole
      digest       the annotation is of another TOC
      outside      the footer points behind the blob
      lie PATH     the TOC has the chunk and the digest of another file for PATH
      mode PATH    the TOC has another mode for PATH"""
import base64
import datetime
import decimal
import gzip
import hashlib
import io
import json
import os
import shutil
import sys
import tarfile

CHUNK = 64 << 10  # of a large file
SHARED = 4 << 10  # files up to this share a member, with innerOffset
TYPES = {tarfile.REGTYPE: "reg", tarfile.AREGTYPE: "reg", tarfile.DIRTYPE: "dir", tarfile.SYMTYPE: "symlink",
         tarfile.LNKTYPE: "hardlink", tarfile.CHRTYPE: "char", tarfile.BLKTYPE: "block", tarfile.FIFOTYPE: "fifo"}


def sha(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


class Writer:
    """Members of gzip; a new one begins where a chunk does."""

    def __init__(self):
        self.blob = bytearray()
        self.plain = hashlib.sha256()
        self.member = bytearray()

    def write(self, data):
        self.member += data
        self.plain.update(data)

    def cut(self):
        if self.member:
            self.blob += gzip.compress(bytes(self.member), 6, mtime=0)
            self.member = bytearray()
        return len(self.blob)


def when(info):
    s = info.pax_headers.get("mtime", str(int(info.mtime)))
    sec, nsec = divmod(int(decimal.Decimal(s) * 10**9), 10**9)
    t = datetime.datetime(1970, 1, 1) + datetime.timedelta(seconds=sec)
    return t.isoformat() + ((".%09d" % nsec).rstrip("0") if nsec else "") + "Z"


def toc_entry(info):
    e = {"name": info.name + ("/" if info.isdir() else ""), "type": TYPES[info.type], "mode": info.mode & 0o7777,
         "uid": info.uid, "gid": info.gid, "modtime": when(info)}
    if info.isreg() and info.size:
        e["size"] = info.size
    if info.linkname:
        e["linkName"] = info.linkname
    if info.ischr() or info.isblk():
        e["devMajor"], e["devMinor"] = info.devmajor, info.devminor
    xattrs = {k[len("SCHILY.xattr."):]: base64.b64encode(v.encode("utf-8", "surrogateescape")).decode()
              for k, v in info.pax_headers.items() if k.startswith("SCHILY.xattr.")}
    if xattrs:
        e["xattrs"] = xattrs
    return e


def add_file(w, e, data, entries):
    e["digest"] = sha(data)
    if len(data) <= SHARED:
        if len(w.member) > 4 * SHARED or not w.shared:
            w.at = w.cut()
            w.shared = True
        e["offset"] = w.at
        if w.member:
            e["innerOffset"] = len(w.member)
        e["chunkDigest"] = sha(data)
        entries.append(e)
        w.write(data)
        return
    w.shared = False
    for off in range(0, len(data), CHUNK):
        piece = data[off:off + CHUNK]
        c = e if off == 0 else {"name": e["name"], "type": "chunk", "chunkOffset": off}
        c["offset"] = w.cut()
        if off + CHUNK < len(data):
            c["chunkSize"] = CHUNK
        c["chunkDigest"] = sha(piece)
        entries.append(c)
        w.write(piece)
    w.cut()


def convert(plain, kind, path, change=None):
    w = Writer()
    w.shared = False
    w.at = 0
    entries = []
    lines = io.BytesIO(plain)
    landmark = tarfile.TarInfo(".no.prefetch.landmark")
    landmark.size = 1
    w.write(landmark.tobuf(tarfile.USTAR_FORMAT))
    add_file(w, toc_entry(landmark), b"\x0f", entries)
    w.write(bytes(511))
    end = 0
    with tarfile.open(fileobj=lines) as t:
        for info in t:
            w.write(plain[end:info.offset_data])
            end = info.offset_data
            if info.isreg() and info.size:
                add_file(w, toc_entry(info), plain[end:end + info.size], entries)
                end += info.size
            else:
                entries.append(toc_entry(info))
    if change:
        change(entries)
    by_name = {e["name"].removeprefix("./"): e for e in reversed(entries) if e["type"] == "reg"}
    if kind == "mode" and path in by_name:
        by_name[path]["mode"] ^= 0o111
    if kind == "lie" and path in by_name:
        size = by_name[path]["size"]
        other = next(e for e in by_name.values() if e.get("size", 0) == size and e["digest"] != by_name[path]["digest"])
        for k in ("offset", "innerOffset", "digest", "chunkDigest"):
            by_name[path].pop(k, None)
            if k in other:
                by_name[path][k] = other[k]
    w.write(plain[end:len(plain) - 1024] if plain.endswith(bytes(1024)) else plain[end:])
    toc = json.dumps({"version": 1, "entries": entries}).encode()
    info = tarfile.TarInfo("stargz.index.json")
    info.size = len(toc)
    member = info.tobuf(tarfile.USTAR_FORMAT) + toc + bytes(-len(toc) % 512) + bytes(1024)
    offset = w.cut()
    if kind.startswith("external"):
        w.write(bytes(1024))
        w.cut()
        w.blob += b"\x1f\x8b\x08\x04\0\0\0\0\0\xff" + b"\x15\0SG\x11\0STARGZEXTERNALTOC" + b"\x01\0\0\xff\xff" + bytes(8)
        return bytes(w.blob), "sha256:" + w.plain.hexdigest(), sha(toc), gzip.compress(member, 9, mtime=0)
    w.write(member)
    w.cut()
    if kind == "outside":
        offset += len(w.blob)
    text = b"%016xSTARGZ" % offset
    if kind == "legacy":
        w.blob += b"\x1f\x8b\x08\x04\0\0\0\0\0\xff" + b"\x16\0" + text + b"\x01\0\0\xff\xff" + bytes(8)
    elif kind != "no-footer":
        w.blob += b"\x1f\x8b\x08\x04\0\0\0\0\0\xff" + b"\x1a\0SG\x16\0" + text + b"\x01\0\0\xff\xff" + bytes(8)
    return bytes(w.blob), "sha256:" + w.plain.hexdigest(), sha(toc if kind != "digest" else b""), b""


def main():
    src, dest = sys.argv[1:3]
    kind = sys.argv[3] if len(sys.argv) > 3 else "good"
    path = sys.argv[4] if len(sys.argv) > 4 else ""
    shutil.copytree(src, dest)

    def get(digest):
        with open("%s/blobs/%s" % (dest, digest.replace(":", "/")), "rb") as f:
            return f.read()

    def put(data):
        with open("%s/blobs/%s" % (dest, sha(data).replace(":", "/")), "wb") as f:
            f.write(data)
        return {"digest": sha(data), "size": len(data)}

    with open(dest + "/index.json", "rb") as f:
        index = json.load(f)
    manifest = json.loads(get(index["manifests"][0]["digest"]))
    config = json.loads(get(manifest["config"]["digest"]))
    tables = []
    for i, layer in enumerate(manifest["layers"]):
        plain = get(layer["digest"])
        if plain[:2] == b"\x1f\x8b":
            plain = gzip.decompress(plain)
        os.unlink("%s/blobs/%s" % (dest, layer["digest"].replace(":", "/")))
        if kind == "mixed" and i + 1 < len(manifest["layers"]):
            layer.update(put(gzip.compress(plain, 6, mtime=0)), mediaType="application/vnd.oci.image.layer.v1.tar+gzip")
            continue
        blob, diffid, toc, member = convert(plain, kind, path)
        if member:
            of = sha(blob if kind != "external-other" else b"another")
            tables.append(dict(put(member), mediaType="application/vnd.oci.image.layer.v1.tar+gzip",
                               annotations={"containerd.io/snapshot/stargz/layer.digest": of}))
        layer.update(put(blob), mediaType="application/vnd.oci.image.layer.v1.tar+gzip",
                     annotations={"containerd.io/snapshot/stargz/toc.digest": toc})
        config["rootfs"]["diff_ids"][i] = diffid
    manifest["config"].update(put(json.dumps(config).encode()))
    index["manifests"][0].update(put(json.dumps(manifest).encode()))
    if tables and kind != "external-lost":
        media = "application/vnd.oci.image.manifest.v1+json"
        toc = {"schemaVersion": 2, "mediaType": media, "layers": tables,
               "config": dict(put(b"{}"), mediaType="application/vnd.oci.image.config.v1+json")}
        index["manifests"].append(dict(put(json.dumps(toc).encode()), mediaType=media,
                                       annotations={"org.opencontainers.image.ref.name": "t-esgztoc"}))
    with open(dest + "/index.json", "w") as f:
        json.dump(index, f)


if __name__ == "__main__":
    main()
