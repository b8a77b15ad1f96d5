# SPDX-License-Identifier: Apache-2.0
# commit.py - what `nerdctl commit` does behind containerd's API, in parts. Usage:
#
#   commit.py image OCI LAYER DIR  OCI: the layout of the image below; LAYER: file with the new layer, tar+gzip. Writes
#                                  DIR/config and DIR/manifest, and prints their digests and the manifest's size
#   commit.py create NAME DIGEST SIZE  on stdout: the message of containerd's Images.Create
import gzip
import hashlib
import json
import struct
import sys


def digest(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def blob(oci, d):
    with open(oci + "/blobs/" + d.replace(":", "/"), "rb") as f:
        return json.load(f)


def image(oci, layer, to):
    with open(oci + "/index.json", "rb") as f:
        manifest = blob(oci, json.load(f)["manifests"][0]["digest"])
    config = blob(oci, manifest["config"]["digest"])
    with open(layer, "rb") as f:
        data = f.read()
    config["rootfs"]["diff_ids"].append(digest(gzip.decompress(data)))
    config.get("history", []).append({"created_by": "commit.py"})
    config = json.dumps(config).encode()
    manifest["config"].update(digest=digest(config), size=len(config))
    manifest["layers"].append({"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": digest(data), "size": len(data)})
    manifest["mediaType"] = "application/vnd.oci.image.manifest.v1+json"
    manifest = json.dumps(manifest).encode()
    for name, text in ("config", config), ("manifest", manifest):
        with open(to + "/" + name, "wb") as f:
            f.write(text)
    print(digest(config), digest(manifest), len(manifest))


def number(n):
    out = b""
    while n > 127:
        out += bytes([n & 127 | 128])
        n >>= 7
    return out + bytes([n])


def field(n, value):
    if isinstance(value, int):
        return number(n << 3) + number(value)
    return number(n << 3 | 2) + number(len(value)) + value


def create(name, d, size):
    target = field(1, b"application/vnd.oci.image.manifest.v1+json") + field(2, d.encode()) + field(3, int(size))
    message = field(1, field(1, name.encode()) + field(3, target))
    sys.stdout.buffer.write(b"\0" + struct.pack(">I", len(message)) + message)


{"image": image, "create": create}[sys.argv[1]](*sys.argv[2:])
