#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""oddimages.py DIR  makes DIR/oci, an OCI layout of images that are right and unusual, and DIR/trees/TAG, what each is.
Prints the tags.

  many       499 layers, the most there may be: each with a file of its own, a shared one, and a whiteout of the one before
  twice      the same layer three times, with another between
  docker     Docker schema 2: manifest list, manifest, config, layers
  foreign    layers of media types that registries need not have
  history    fewer entries of history than layers
  nohistory  none at all
  empty      a layer without entries, and Docker's empty layer
  data       an index, a manifest and layers that the registry has not: their descriptors embed them
  nested     indexes inside of indexes, the first of them with nothing for this machine
  variants   an index with other platforms, variants of this one, and an attestation
  plain      uncompressed, gzip and several gzip members in one image"""
import base64
import gzip
import hashlib
import io
import json
import os
import sys
import tarfile

OCI = "application/vnd.oci.image."
DOCKER = "application/vnd.docker."
TIME = 1600000000
ARCH = {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)


def sha(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


class Layout:
    def __init__(self, base):
        self.oci = base + "/oci"
        self.trees = base + "/trees"
        self.manifests = []
        os.makedirs(self.oci + "/blobs/sha256")
        os.makedirs(self.trees)

    def put(self, data, media, embed=False):
        if embed:
            return {"mediaType": media, "digest": sha(data), "size": len(data), "data": base64.b64encode(data).decode()}
        with open("%s/blobs/%s" % (self.oci, sha(data).replace(":", "/")), "wb") as f:
            f.write(data)
        return {"mediaType": media, "digest": sha(data), "size": len(data)}

    def tag(self, name, descriptor):
        self.manifests.append(dict(descriptor, annotations={"org.opencontainers.image.ref.name": name}))
        print(name)

    def end(self):
        with open(self.oci + "/oci-layout", "w") as f:
            json.dump({"imageLayoutVersion": "1.0.0"}, f)
        with open(self.oci + "/index.json", "w") as f:
            json.dump({"schemaVersion": 2, "manifests": self.manifests}, f)


def tar(files):
    """{name: content}: None is a whiteout of it."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.PAX_FORMAT) as t:
        root = tarfile.TarInfo("./")
        root.type, root.mode, root.mtime = tarfile.DIRTYPE, 0o755, TIME
        t.addfile(root)
        for name, data in files.items():
            i = tarfile.TarInfo(".wh." + name if data is None else name)
            i.size, i.mtime, i.mode = len(data or b""), TIME, 0o644
            t.addfile(i, io.BytesIO(data or b""))
    return raw.getvalue()


def members(plain):
    return b"".join(gzip.compress(plain[i:i + 700], mtime=0) for i in range(0, len(plain), 700))


PACK = {"gzip": lambda p: gzip.compress(p, mtime=0), "": lambda p: p, "members": members}


def image(lay, layers, history=None, prefix=OCI, kinds=None, foreign=False, embed=False):
    """layers: plain tars. Returns the manifest's descriptor."""
    kinds = kinds or ["gzip"] * len(layers)
    rows = []
    for plain, kind in zip(layers, kinds):
        if prefix == OCI:
            media = OCI + "layer.%sv1.tar%s" % ("nondistributable." if foreign else "", "+gzip" if kind else "")
        else:
            media = DOCKER + "image.rootfs.%sdiff.tar.gzip" % ("foreign." if foreign else "")
        data = PACK[kind](plain)
        rows.append(lay.put(data, media, embed))
        if foreign:
            rows[-1]["urls"] = ["https://layers.invalid/" + rows[-1]["digest"]]
    config = {"os": "linux", "architecture": ARCH, "config": {"Cmd": ["/bin/true"]},
              "rootfs": {"type": "layers", "diff_ids": [sha(p) for p in layers]}}
    if history is not None:
        config["history"] = history
    raw = json.dumps(config).encode()
    cfg = lay.put(raw, OCI + "config.v1+json" if prefix == OCI else DOCKER + "container.image.v1+json", embed)
    media = OCI + "manifest.v1+json" if prefix == OCI else DOCKER + "distribution.manifest.v2+json"
    return lay.put(json.dumps({"schemaVersion": 2, "mediaType": media, "config": cfg, "layers": rows}).encode(), media,
                   embed)


def index_of(lay, rows):
    return lay.put(json.dumps({"schemaVersion": 2, "mediaType": OCI + "index.v1+json", "manifests": rows}).encode(),
                   OCI + "index.v1+json")


def tree(lay, name, layers):
    files = {}
    for layer in layers:
        for k, v in layer.items():
            files.pop(k, None)
            if v is not None:
                files[k] = v
    path = "%s/%s" % (lay.trees, name)
    os.makedirs(path)
    for k, v in files.items():
        with open("%s/%s" % (path, k), "wb") as f:
            f.write(v)
        os.utime("%s/%s" % (path, k), (TIME, TIME))
    os.utime(path, (TIME, TIME))


def simple(lay, name, files, **kw):
    tree(lay, name, files)
    return image(lay, [tar(f) for f in files], **kw)


def main():
    lay = Layout(sys.argv[1])
    many = [{"f%d" % i: b"%d\n" % i, "shared": b"of %d\n" % i} for i in range(499)]
    for i in range(1, 499, 2):
        many[i]["f%d" % (i - 1)] = None
    lay.tag("many", simple(lay, "many", many))
    a, b = {"a": b"a" * 5000, "c": b"from a"}, {"b": b"b", "c": b"from b", "a": None}
    lay.tag("twice", simple(lay, "twice", [a, b, a, a]))
    m = simple(lay, "docker", [a, b], prefix=DOCKER, history=[{"created_by": "x"}, {"empty_layer": True}, {}])
    index = {"schemaVersion": 2, "mediaType": DOCKER + "distribution.manifest.list.v2+json",
             "manifests": [dict(m, platform={"os": "linux", "architecture": ARCH})]}
    lay.tag("docker", lay.put(json.dumps(index).encode(), index["mediaType"]))
    lay.tag("foreign", simple(lay, "foreign", [a, b], foreign=True))
    lay.tag("history", simple(lay, "history", [a, b, {"d": b"d"}], history=[{"created_by": "one"}]))
    lay.tag("nohistory", simple(lay, "nohistory", [a, b], history=[]))
    tree(lay, "empty", [a, {}, {}])
    lay.tag("empty", image(lay, [tar(a), tar({}), bytes(1024)]))
    m = simple(lay, "data", [a, b], embed=True)
    lay.tag("data", index_of(lay, [dict(m, platform={"os": "linux", "architecture": ARCH})]))
    this = simple(lay, "variants", [a, {"right": b"yes\n"}])
    other = image(lay, [tar({"wrong": b"no\n"})])
    rows = [dict(other, platform={"os": "windows", "architecture": ARCH}),
            dict(other, platform={"os": "linux", "architecture": "s390x"}),
            dict(other, platform={"os": "unknown", "architecture": "unknown"},
                 annotations={"vnd.docker.reference.type": "attestation-manifest"}),
            dict(this, platform={"os": "linux", "architecture": ARCH, "variant": "v8" if ARCH == "arm64" else ""})]
    lay.tag("variants", index_of(lay, rows))
    this = simple(lay, "nested", [b, {"nested": b"yes\n"}])
    right = index_of(lay, [dict(this, platform={"os": "linux", "architecture": ARCH})])
    lay.tag("nested", index_of(lay, [dict(right, platform={"os": "plan9", "architecture": ARCH}),
                                     index_of(lay, rows[:3]), index_of(lay, [index_of(lay, rows[:2]), right])]))
    lay.tag("plain", simple(lay, "plain", [a, {"p": b"p" * 3000}, {"m": os.urandom(9000)}], kinds=["", "gzip", "members"]))
    lay.end()


main()
