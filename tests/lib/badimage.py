#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""badimage.py where LAYOUT PATH          prints "BLOB OFFSET LENGTH" of the file's first chunk (zstd:chunked)
badimage.py layer LAYOUT N             prints "BLOB SIZE" of the layer N (0 is the lowest, -1 the last)
badimage.py toc LAYOUT N               prints where the data of the layer N ends and its TOC begins
badimage.py damage KIND SRC DEST       copies an OCI layout (tag t) with one thing wrong, every digest above it right

KIND:
  toc-digest PATH  the TOC says another digest of this file        toc-mode PATH    another mode
  toc-swap A B     A's chunks are those of B, also its digest      toc-missing PATH the file is not in the TOC
  toc-extra        a file in the TOC that the layer has not        toc-garbage      the TOC is no JSON
  toc-checksum     the TOC is not what its annotation promises     toc-position     its position is beyond the blob
  diffid           the config's last diffID is of something else   diffids          the config has one diffID too few
  config           the config is no JSON                           manifest         the manifest's layers are a number
  arch             the image is for another platform               index-arch       an index without our platform
  media            a layer of an unknown media type                truncated        gzip: the last layer ends early
"""
import hashlib
import json
import os
import shutil
import struct
import subprocess
import sys

OLD = "io.containers.zstd-chunked.manifest-"
NEW = "io.github.containers.zstd-chunked.manifest-"
FRAME = struct.Struct("<II")


class Layout:
    def __init__(self, path):
        self.path = path
        with open(path + "/index.json", "rb") as f:
            self.index = json.load(f)
        self.descriptor = self.index["manifests"][0]
        self.manifest = json.loads(self.get(self.descriptor["digest"]))

    def blob(self, digest):
        return "%s/blobs/%s" % (self.path, digest.replace(":", "/"))

    def get(self, digest):
        with open(self.blob(digest), "rb") as f:
            return f.read()

    def put(self, data):
        digest = "sha256:" + hashlib.sha256(data).hexdigest()
        with open(self.blob(digest), "wb") as f:
            f.write(data)
        return digest

    def save(self, raw=None):
        data = raw if raw is not None else json.dumps(self.manifest).encode()
        self.descriptor.update(digest=self.put(data), size=len(data))
        with open(self.path + "/index.json", "w") as f:
            json.dump(self.index, f)

    def config(self):
        return json.loads(self.get(self.manifest["config"]["digest"]))

    def set_config(self, data):
        self.manifest["config"].update(digest=self.put(data), size=len(data))


class Chunked:
    """One zstd:chunked layer: data, a skippable frame with the TOC, a footer."""

    def __init__(self, layout, n):
        self.layout = layout
        self.layer = layout.manifest["layers"][n]
        notes = self.layer["annotations"]
        self.key = NEW if NEW + "position" in notes else OLD
        self.off, self.len, self.plain_len, _ = (int(v) for v in notes[self.key + "position"].split(":"))
        self.data = layout.get(self.layer["digest"])
        raw = self.data[self.off : self.off + self.len]
        self.toc = json.loads(subprocess.run(["zstd", "-dc"], input=raw, stdout=subprocess.PIPE, check=True).stdout)

    def entry(self, path):
        for e in self.toc["entries"]:
            if e["name"].strip("/").removeprefix("./") == path.strip("/") and e["type"] == "reg":
                return e
        raise KeyError(path)

    def save(self, plain=None, checksum=None):
        plain = plain if plain is not None else json.dumps(self.toc).encode()
        toc = subprocess.run(["zstd", "-c", "-q"], input=plain, stdout=subprocess.PIPE, check=True).stdout
        at = self.off - FRAME.size
        footer = self.data[self.off + self.len :]
        fields = FRAME.size + struct.calcsize("<QQQQ")
        assert footer[:4] == struct.pack("<I", 0x184D2A50) and len(footer) >= fields
        old = struct.unpack_from("<QQQQ", footer, FRAME.size)
        assert old[0] == self.off and old[1] == self.len
        footer = footer[: FRAME.size] + struct.pack("<QQQQ", self.off, len(toc), len(plain), old[3]) + footer[fields:]
        data = self.data[:at] + FRAME.pack(0x184D2A50, len(toc)) + toc + footer
        notes = self.layer["annotations"]
        notes.pop("containerd.io/snapshot/stargz/toc.digest", None)
        notes[self.key + "checksum"] = checksum or "sha256:" + hashlib.sha256(toc).hexdigest()
        notes[self.key + "position"] = "%d:%d:%d:1" % (self.off, len(toc), len(plain))
        self.layer.update(digest=self.layout.put(data), size=len(data))
        self.layout.save()


def find(layout, path):
    # the topmost layer that has it
    for n in reversed(range(len(layout.manifest["layers"]))):
        c = Chunked(layout, n)
        try:
            return c, c.entry(path)
        except KeyError:
            pass
    sys.exit("badimage: no file %s" % path)


def damage_toc(kind, lay, args):
    c, e = find(lay, args[0]) if args else (Chunked(lay, 0), None)
    plain = checksum = None
    if kind == "toc-digest":
        e["digest"] = "sha256:" + hashlib.sha256(b"something else").hexdigest()
        e.pop("chunkDigest", None)
    elif kind == "toc-mode":
        e["mode"] = e["mode"] ^ 0o4111
    elif kind == "toc-swap":
        other = c.entry(args[1])
        name, e2 = e["name"], dict(other)
        e.clear()
        e.update(e2, name=name)
    elif kind == "toc-missing":
        c.toc["entries"].remove(e)
    elif kind == "toc-extra":
        new = dict(c.entry("many/10"), name="many/only-in-the-toc")
        c.toc["entries"].append(new)
    elif kind == "toc-garbage":
        plain = b"{\"version\": 1, \"entries\": [" + b"{" * 100
    elif kind == "toc-checksum":
        checksum = "sha256:" + "0" * 64
    elif kind == "toc-position":
        c.layer["annotations"][c.key + "position"] = "%d:100:100:1" % c.layer["size"]
        lay.save()
        return
    c.save(plain, checksum)


def damage(kind, lay, args):
    m = lay.manifest
    if kind.startswith("toc-"):
        damage_toc(kind, lay, args)
        return
    if kind in ("diffid", "diffids", "arch"):
        cfg = lay.config()
        if kind == "diffid":
            cfg["rootfs"]["diff_ids"][-1] = "sha256:" + hashlib.sha256(b"something else").hexdigest()
        elif kind == "diffids":
            cfg["rootfs"]["diff_ids"].pop()
        else:
            cfg["architecture"] = "s390x"
        lay.set_config(json.dumps(cfg).encode())
    elif kind == "config":
        lay.set_config(b'{"architecture": "amd64", "rootfs": ')
    elif kind == "media":
        m["layers"][-1]["mediaType"] = "application/vnd.example.layer.v1.tar+lzma"
    elif kind == "truncated":
        data = lay.get(m["layers"][0]["digest"])
        data = data[: len(data) // 2]
        m["layers"][0].update(digest=lay.put(data), size=len(data))
    if kind == "manifest":
        lay.save(b'{"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "config": {}, "layers": 7}')
        return
    lay.save()
    if kind == "index-arch":
        inner = {k: lay.descriptor[k] for k in ("mediaType", "digest", "size")}
        inner["platform"] = {"os": "linux", "architecture": "s390x"}
        kind_index = "application/vnd.oci.image.index.v1+json"
        data = json.dumps({"schemaVersion": 2, "mediaType": kind_index, "manifests": [inner]}).encode()
        lay.descriptor["mediaType"] = kind_index
        lay.save(data)


def main():
    cmd = sys.argv[1:]
    if len(cmd) == 3 and cmd[0] == "where":
        c, e = find(Layout(cmd[1]), cmd[2])
        length = (e.get("endOffset") or c.off - FRAME.size) - e["offset"]
        print(c.layer["digest"], e["offset"], length)
    elif len(cmd) == 3 and cmd[0] == "layer":
        layer = Layout(cmd[1]).manifest["layers"][int(cmd[2])]
        print(layer["digest"], layer["size"])
    elif len(cmd) == 3 and cmd[0] == "toc":
        print(Chunked(Layout(cmd[1]), int(cmd[2])).off - FRAME.size)
    elif len(cmd) >= 4 and cmd[0] == "damage":
        kind, args, src, dest = cmd[1], cmd[2:-2], cmd[-2], cmd[-1]
        shutil.copytree(src, dest, copy_function=os.link)
        os.unlink(dest + "/index.json")
        shutil.copy(src + "/index.json", dest + "/index.json")
        damage(kind, Layout(dest), args)
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main()
