# SPDX-License-Identifier: Apache-2.0
"""A greedy container beside a modest one. Usage: neighbours.py GREEDY MODEST THREADS OPENS PAUSE-MS, or neighbours.py --image OCI FILES SEED
THREADS threads open missing small files below GREEDY one after the other; meanwhile OPENS files below MODEST are opened, with a pause
between two. Prints median, p99 and most milliseconds of those, and how many files the greedy one read in that time; p99 is "-" where it
would be the most (below 101). Status 1: MODEST has too few files, a read failed, or a thread had read all of its own before the end.
--image makes an OCI layout (tag t) of one layer with FILES small files, others by another SEED, for mounts without background: its blob
is sparse, and the files lie so far apart in it that each is a request of its own. Needs zstd(1)."""
import hashlib
import json
import math
import os
import random
import statistics
import struct
import subprocess
import sys
import threading
import time

SPACING = 320 << 10  # more than demand reads ahead and joins


def small_files(top):
    out = [os.path.join(d, f) for d, _, fs in os.walk(os.fsencode(top)) for f in fs]
    out = [f for f in out if not os.path.islink(f) and os.path.isfile(f) and 0 < os.path.getsize(f) < 65536]
    random.Random(1).shuffle(out)
    return out


def read(path):
    with open(path, "rb") as f:
        f.read()


def p99(ordered):
    """Nearest rank."""
    return f"{ordered[math.ceil(len(ordered) * 0.99) - 1]:.1f}" if len(ordered) > 100 else "-"


def sha(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def frame(data):
    """A zstd frame of one raw block; 256 bytes at least."""
    return struct.pack("<IBH", 0xFD2FB528, 0x60, len(data) - 256) + struct.pack("<I", len(data) << 3 | 1)[:3] + data


def image(oci, n, seed):
    rng = random.Random(seed)
    os.makedirs(oci + "/blobs/sha256")

    def put(data, media):
        with open(f"{oci}/blobs/{sha(data).replace(':', '/')}", "wb") as f:
            f.write(data)
        return {"mediaType": media, "digest": sha(data), "size": len(data)}

    name = sha(f"never proven {seed}".encode())
    time_ = "2020-01-01T00:00:00Z"
    rows = []
    with open(f"{oci}/blobs/{name.replace(':', '/')}", "wb") as f:
        for i in range(n):
            if i % 500 == 0:
                rows.append({"type": "dir", "name": f"d{i // 500}/", "mode": 0o755, "modtime": time_})
            data = rng.randbytes(rng.randrange(300, 3000))
            packed = frame(data)
            f.seek(4096 + i * SPACING)
            rows.append({"type": "reg", "name": f"d{i // 500}/f{i}", "mode": 0o644, "size": len(data), "modtime": time_, "digest": sha(data),
                         "offset": f.tell(), "endOffset": f.tell() + len(packed)})
            f.write(packed)
        toc = json.dumps({"version": 1, "entries": rows}).encode()
        packed = subprocess.run(["zstd", "-q", "-1", "-c"], input=toc, stdout=subprocess.PIPE, check=True).stdout
        at = f.tell() + 8
        f.write(struct.pack("<II", 0x184D2A50, len(packed)) + packed)
        size = f.tell()
    layer = {"mediaType": "application/vnd.oci.image.layer.v1.tar+zstd", "digest": name, "size": size, "annotations": {
        "io.github.containers.zstd-chunked.manifest-checksum": sha(packed),
        "io.github.containers.zstd-chunked.manifest-position": f"{at}:{len(packed)}:{len(toc)}:1"}}
    arch = {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)
    config = put(json.dumps({"os": "linux", "architecture": arch, "rootfs": {"type": "layers", "diff_ids": [name]}}).encode(),
                 "application/vnd.oci.image.config.v1+json")
    media = "application/vnd.oci.image.manifest.v1+json"
    manifest = put(json.dumps({"schemaVersion": 2, "mediaType": media, "config": config, "layers": [layer]}).encode(), media)
    manifest["annotations"] = {"org.opencontainers.image.ref.name": "t"}
    with open(oci + "/oci-layout", "w") as f:
        json.dump({"imageLayoutVersion": "1.0.0"}, f)
    with open(oci + "/index.json", "w") as f:
        json.dump({"schemaVersion": 2, "manifests": [manifest]}, f)


def main():
    if sys.argv[1] == "--image":
        image(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
        return
    greedy, modest = sys.argv[1:3]
    threads, opens, pause = int(sys.argv[3]), int(sys.argv[4]), float(sys.argv[5]) / 1000
    many, few = small_files(greedy), small_files(modest)[:opens]
    if len(few) < opens:
        sys.exit(f"neighbours: {len(few)} small files below {modest}, {opens} are to be opened")
    end, done = threading.Event(), [0] * max(threads, 1)

    def hog(i):
        for path in many[i::threads]:
            if end.is_set():
                return
            read(path)
            done[i] += 1

    hogs = [threading.Thread(target=hog, args=(i,)) for i in range(threads)]
    for t in hogs:
        t.start()
    took = []
    for path in few:
        start = time.monotonic()
        read(path)
        took.append((time.monotonic() - start) * 1e3)
        time.sleep(pause)
    ended = sum(not t.is_alive() for t in hogs)
    got = sum(done)
    end.set()
    for t in hogs:
        t.join()
    if ended:
        sys.exit(f"neighbours: {ended} of {threads} greedy threads had ended (all: {got} of {len(many)} files) before {opens} files were opened")
    took.sort()
    print(f"{statistics.median(took):.1f} {p99(took)} {took[-1]:.1f} {got}")


main()
