"""tour.py - reads the whole image again and again, for as long as it lives.

Says "ready PID" at once. Each line on standard input starts a tour: every regular file of the root file system that
may be read, in order of its name, is hashed; the answer is one line "tour N FILES BYTES SHA256". Ends with the input.
"""
import hashlib
import os
import sys

SKIP = ("/proc", "/sys", "/dev", "/run", "/tmp", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf")


def files():
    top = os.lstat("/").st_dev
    for directory, subs, names in os.walk("/"):
        subs[:] = sorted(s for s in subs if os.path.join(directory, s) not in SKIP
                         and os.lstat(os.path.join(directory, s)).st_dev == top)
        for name in sorted(names):
            path = os.path.join(directory, name)
            if path not in SKIP and os.path.isfile(path) and not os.path.islink(path):
                yield path


def tour():
    total = hashlib.sha256()
    n = size = 0
    for path in files():
        try:
            with open(path, "rb") as f:
                data = f.read()
        except PermissionError:
            continue
        total.update(path.encode("utf-8", "surrogateescape") + b"\0" + hashlib.sha256(data).digest())
        n += 1
        size += len(data)
    return n, size, total.hexdigest()


print("ready", os.getpid(), flush=True)
for number, _ in enumerate(sys.stdin, 1):
    print("tour", number, *tour(), flush=True)
