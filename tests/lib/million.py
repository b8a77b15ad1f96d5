#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""million.py OCI N  makes an OCI layout (tag t) of one zstd:chunked layer whose table of contents has N files in
N / 1000 directories; d0/f0 has the text "locum\\n", the others are empty. Needs zstd(1)."""
import hashlib
import json
import os
import subprocess
import sys


def sha(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def zstd(data):
    return subprocess.run(["zstd", "-q", "-1", "-c"], input=data, stdout=subprocess.PIPE, check=True).stdout


def skippable(data):
    return b"\x50\x2a\x4d\x18" + len(data).to_bytes(4, "little") + data


def main():
    oci, n = sys.argv[1], int(sys.argv[2])
    os.makedirs(oci + "/blobs/sha256")

    def put(data, media):
        with open("%s/blobs/%s" % (oci, sha(data).replace(":", "/")), "wb") as f:
            f.write(data)
        return {"mediaType": media, "digest": sha(data), "size": len(data)}

    head = zstd(b"a tar's header")
    frame = zstd(b"locum\n")
    time = "2020-01-01T00:00:00Z"
    rows = ['{"type":"reg","name":"d0/f0","mode":420,"size":6,"modtime":"%s","digest":"%s","offset":%d,"endOffset":%d}' %
            (time, sha(b"locum\n"), len(head), len(head) + len(frame))]
    for i in range(1, n):
        if i % 1000 == 0:
            rows.append('{"type":"dir","name":"d%d/","mode":493,"modtime":"%s"}' % (i // 1000, time))
        rows.append('{"type":"reg","name":"d%d/f%d","mode":420,"modtime":"%s"}' % (i // 1000, i, time))
    toc = ('{"version":1,"entries":[' + ",".join(rows) + "]}").encode()
    packed = zstd(toc)
    data = head + frame
    layer = put(data + skippable(packed), "application/vnd.oci.image.layer.v1.tar+zstd")
    layer["annotations"] = {
        "io.github.containers.zstd-chunked.manifest-checksum": sha(packed),
        "io.github.containers.zstd-chunked.manifest-position": "%d:%d:%d:1" % (len(data) + 8, len(packed), len(toc))}
    arch = {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)
    config = put(json.dumps({"os": "linux", "architecture": arch, "rootfs": {
        "type": "layers", "diff_ids": [sha(b"never proven here")]}}).encode(), "application/vnd.oci.image.config.v1+json")
    manifest = put(json.dumps({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
                               "config": config, "layers": [layer]}).encode(),
                   "application/vnd.oci.image.manifest.v1+json")
    manifest["annotations"] = {"org.opencontainers.image.ref.name": "t"}
    with open(oci + "/oci-layout", "w") as f:
        json.dump({"imageLayoutVersion": "1.0.0"}, f)
    with open(oci + "/index.json", "w") as f:
        json.dump({"schemaVersion": 2, "manifests": [manifest]}, f)
    print(len(rows), len(toc), len(packed))


main()
