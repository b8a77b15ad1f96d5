# SPDX-License-Identifier: Apache-2.0
"""Layers with a table of contents that lies, for evil.py: zstd:chunked, eStargz, and a zTOC of SOCI beside the layer.

Each function takes a tar and what changes the table's entries before it is written. The tar stays what it is, and every
digest above the table is right."""
import argparse
import hashlib
import io
import json
import struct
import subprocess
import tarfile

import estargz
import ztoc

CHUNK = 64 << 10
KEY = "io.github.containers.zstd-chunked.manifest-"
SOCI = "com.amazon.soci."
OCTETS = "application/octet-stream"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"


def sha(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def noise(name, size):
    """Bytes that do not shrink, the same each time."""
    return hashlib.shake_128(name.encode()).digest(size)


def frame(data):
    return subprocess.run(["zstd", "-q", "-c"], input=data, stdout=subprocess.PIPE, check=True).stdout


def add_chunks(out, e, data, entries):
    e["digest"] = sha(data)
    for off in range(0, len(data), CHUNK):
        piece = data[off:off + CHUNK]
        c = e if off == 0 else {"type": "chunk", "name": e["name"], "chunkOffset": off}
        c["offset"] = len(out)
        out += frame(piece)
        c["endOffset"] = e["endOffset"] = len(out)
        if len(data) > CHUNK:
            c["chunkSize"], c["chunkDigest"] = len(piece), sha(piece)
        entries.append(c)


def chunked(plain, change):
    """Return: blob, diffID, annotations."""
    out, entries, end = bytearray(), [], 0
    with tarfile.open(fileobj=io.BytesIO(plain)) as t:
        for info in t:
            e = estargz.toc_entry(info)
            out += frame(plain[end:info.offset_data])
            end = info.offset_data
            if info.isreg() and info.size:
                add_chunks(out, e, plain[end:end + info.size], entries)
                end += info.size
            else:
                entries.append(e)
    out += frame(plain[end:])
    change(entries)
    text = json.dumps({"version": 1, "entries": entries}).encode()
    toc = frame(text)
    at = len(out) + 8
    out += struct.pack("<II", 0x184D2A50, len(toc)) + toc
    out += struct.pack("<IIQQQQ", 0x184D2A50, 40, at, len(toc), len(text), 1) + b"GNUlInUx"
    return bytes(out), sha(plain), {KEY + "checksum": sha(toc), KEY + "position": "%d:%d:%d:1" % (at, len(toc), len(text))}


def stargz(plain, change):
    """Return: blob, diffID, annotations."""
    blob, diffid, toc, _ = estargz.convert(plain, "good", "", change)
    return blob, diffid, {"containerd.io/snapshot/stargz/toc.digest": toc}


def soci_ztoc(blob, change=None, change_points=None):
    opt = argparse.Namespace(span=CHUNK, min=0, mode="", lie="", digest=False, change=change, change_points=change_points)
    return ztoc.ztoc(blob, opt)


def soci_index(put, layer, table):
    """A SOCI index for one layer. Return: its descriptor."""
    notes = {SOCI + "image-layer-digest": layer["digest"], SOCI + "image-layer-mediaType": layer["mediaType"],
             SOCI + "span-size": str(CHUNK)}
    blobs = [dict(put(table, OCTETS), annotations=notes)]
    kind = ztoc.ARTIFACT % "v2"
    index = {"schemaVersion": 2, "mediaType": MANIFEST, "config": put(b"{}", kind), "layers": blobs,
             "annotations": {SOCI + "build-tool-identifier": "eviltoc.py"}}
    return dict(put(json.dumps(index).encode(), MANIFEST), artifactType=kind)
