#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""manyimages.py DIR N  makes DIR/oci, an OCI layout with N images of one gzip layer each, none like another
(tags i0, i1, ...), and DIR/trees/0, 1, ..., what is in them. Prints the digests of the layers."""
import gzip
import hashlib
import io
import json
import os
import random
import sys
import tarfile


def put(oci, data):
    digest = hashlib.sha256(data).hexdigest()
    with open("%s/blobs/sha256/%s" % (oci, digest), "wb") as f:
        f.write(data)
    return {"digest": "sha256:" + digest, "size": len(data)}


def tree(path, rng):
    """Files of all sizes: text that compresses and noise that does not."""
    for d in range(8):
        os.makedirs("%s/d%d" % (path, d))
        for f in range(12):
            size = rng.choice([0, 1, 511, 512, 5000, 70000, 200000])
            noise = rng.randbytes(size // 2)
            text = (b"%d locum tenens " % rng.randrange(100)) * (size // 16 + 1)
            with open("%s/d%d/f%d" % (path, d, f), "wb") as out:
                out.write((noise + text)[:size])
        os.symlink("f1", "%s/d%d/link" % (path, d))
        os.link("%s/d%d/f4" % (path, d), "%s/d%d/hard" % (path, d))
    for d, _, names in os.walk(path, topdown=False):
        for name in names + ["."]:  # tarfile keeps times as floating point numbers
            os.utime("%s/%s" % (d, name), (1, 1600000000), follow_symlinks=False)


def image(oci, path, name):
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.PAX_FORMAT) as t:
        t.add(path, arcname=".")
    plain = raw.getvalue()
    layer = put(oci, gzip.compress(plain, 6, mtime=0))
    print(layer["digest"])
    layer["mediaType"] = "application/vnd.oci.image.layer.v1.tar+gzip"
    arch = {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)
    config = put(oci, json.dumps({"os": "linux", "architecture": arch, "config": {"Cmd": ["/bin/true"]}, "rootfs": {
        "type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(plain).hexdigest()]}}).encode())
    config["mediaType"] = "application/vnd.oci.image.config.v1+json"
    manifest = put(oci, json.dumps({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
                                    "config": config, "layers": [layer]}).encode())
    manifest["mediaType"] = "application/vnd.oci.image.manifest.v1+json"
    manifest["annotations"] = {"org.opencontainers.image.ref.name": name}
    return manifest


def main():
    base, n = sys.argv[1], int(sys.argv[2])
    oci = base + "/oci"
    os.makedirs(oci + "/blobs/sha256")
    manifests = []
    for i in range(n):
        path = "%s/trees/%d" % (base, i)
        os.makedirs(path)
        tree(path, random.Random(i))
        manifests.append(image(oci, path, "i%d" % i))
    with open(oci + "/oci-layout", "w") as f:
        json.dump({"imageLayoutVersion": "1.0.0"}, f)
    with open(oci + "/index.json", "w") as f:
        json.dump({"schemaVersion": 2, "manifests": manifests}, f)


main()
