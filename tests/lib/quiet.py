# SPDX-License-Identifier: Apache-2.0
"""An image that takes a while to unpack. Usage: quiet.py OCI MIB
Makes an OCI layout (tag t) of one zstd:chunked layer with MIB files of 1 MiB, which compression halves. Needs zstd(1)."""
import hashlib
import json
import os
import random
import struct
import subprocess
import sys
import tarfile

TIME = "2020-01-01T00:00:00Z"


def sha(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def zstd(data):
    return subprocess.run(["zstd", "-q", "-1", "-c"], input=data, stdout=subprocess.PIPE, check=True).stdout


def main():
    oci, mib = sys.argv[1], int(sys.argv[2])
    os.makedirs(oci + "/blobs/sha256")

    def put(data, media):
        with open(f"{oci}/blobs/{sha(data).replace(':', '/')}", "wb") as f:
            f.write(data)
        return {"mediaType": media, "digest": sha(data), "size": len(data)}

    rng = random.Random(5)
    rows = []
    plain, blob = hashlib.sha256(), hashlib.sha256()
    with open(oci + "/layer", "wb") as f:

        def write(packed):
            blob.update(packed)
            f.write(packed)
            return f.tell() - len(packed)

        def tar(data):
            plain.update(data)
            return write(zstd(data))

        for i in range(mib):
            info = tarfile.TarInfo(f"f{i}")
            info.size, info.mode, info.mtime = 1 << 20, 0o644, 1577836800
            tar(info.tobuf(tarfile.USTAR_FORMAT))
            data = rng.randbytes(1 << 19).hex().encode()
            at = tar(data)
            rows.append({"type": "reg", "name": info.name, "mode": info.mode, "size": info.size, "modtime": TIME, "digest": sha(data),
                         "offset": at, "endOffset": f.tell()})
        tar(bytes(1024))
        toc = json.dumps({"version": 1, "entries": rows}).encode()
        packed = zstd(toc)
        at = write(struct.pack("<II", 0x184D2A50, len(packed)) + packed) + 8
        size = f.tell()
    name = "sha256:" + blob.hexdigest()
    os.rename(oci + "/layer", f"{oci}/blobs/{name.replace(':', '/')}")
    layer = {"mediaType": "application/vnd.oci.image.layer.v1.tar+zstd", "digest": name, "size": size, "annotations": {
        "io.github.containers.zstd-chunked.manifest-checksum": sha(packed),
        "io.github.containers.zstd-chunked.manifest-position": f"{at}:{len(packed)}:{len(toc)}:1"}}
    arch = {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)
    config = put(json.dumps({"os": "linux", "architecture": arch, "rootfs": {
        "type": "layers", "diff_ids": ["sha256:" + plain.hexdigest()]}}).encode(), "application/vnd.oci.image.config.v1+json")
    manifest = put(json.dumps({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "config": config,
                               "layers": [layer]}).encode(), "application/vnd.oci.image.manifest.v1+json")
    manifest["annotations"] = {"org.opencontainers.image.ref.name": "t"}
    with open(oci + "/index.json", "w") as f:
        json.dump({"schemaVersion": 2, "manifests": [manifest]}, f)
    with open(oci + "/oci-layout", "w") as f:
        f.write('{"imageLayoutVersion": "1.0.0"}')


main()
