# SPDX-License-Identifier: Apache-2.0
"""What bench/units.sh measures. LOCUM: the program.

units.py verbs ROUNDS TOP NAME=POOL:FS...  create, snapshot, clone, grow and delete of a unit, beside qemu-img, cp --reflink=always, mkdir
units.py io ROUNDS TOP NAME=POOL:FS...     fio in an attached unit, and in a directory beside the pool
units.py beside ROUNDS TOP NAME=POOL:FS... a paced neighbour while another unit is full

FS is a directory below TOP, with the pool POOL in FS/pool and room for others in FS/plain.
"""
import errno
import json
import os
import shutil
import statistics
import subprocess
import sys
import threading
import time

LOCUM = os.environ["LOCUM"]
GB = 1 << 30
MB = 1 << 20


def run(*argv):
    r = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if r.returncode != 0:
        sys.exit(f"{' '.join(argv)}: status {r.returncode}: {r.stderr.strip()}")
    return r.stdout.strip()


def unit(*args):
    return run(LOCUM, "unit", *args)


def sync_path(path):
    for p in (path, os.path.dirname(path)):
        fd = os.open(p, os.O_RDONLY)
        os.fsync(fd)
        os.close(fd)


def ms(fn):
    start = time.perf_counter()
    fn()
    return (time.perf_counter() - start) * 1e3


def p99(values):
    return sorted(values)[min(len(values) * 99 // 100, len(values) - 1)]


def fill(path, size):
    with open(path, "wb") as f:
        for _ in range(size // MB):
            f.write(os.urandom(MB))
        f.flush()
        os.fsync(f.fileno())


# ---- verbs ----

DATA = 256 * MB
VERBS = ("create", "snapshot", "clone", "grow", "delete")


def of_units(pool, fs):
    def put():
        fill(unit("attach", "u") + "/data", DATA)
        unit("detach", "u")
    return {
        "create": lambda: unit("create", "--pool", pool, "--name", "u", "--size", "10G"),
        "put": put,
        "snapshot": lambda: unit("snapshot", "u@s"),
        "clone": lambda: unit("clone", "u@s", "--name", "c"),
        "grow": lambda: unit("grow", "c", "11G"),
        "delete": lambda: unit("delete", "c"),
        "end": lambda: unit("delete", "u"),
    }


def synced(path, *argv):
    def go():
        run(*argv)
        sync_path(path)
    return go


def removed(path):
    def go():
        run("rm", path)
        sync_path(os.path.dirname(path))
    return go


def of_qcow2(pool, fs):
    a, b = f"{fs}/plain/a.qcow2", f"{fs}/plain/b.qcow2"
    q = "qemu-img"
    return {
        "create": synced(a, q, "create", "-q", "-f", "qcow2", a, "10G"),
        "put": lambda: run("qemu-io", "-f", "qcow2", "-c", f"write 0 {DATA}", a),
        "snapshot": synced(a, q, "snapshot", "-c", "s", a),
        "clone": synced(b, q, "create", "-q", "-f", "qcow2", "-b", a, "-F", "qcow2", b),
        "grow": synced(b, q, "resize", "-q", b, "11G"),
        "delete": removed(b),
        "end": removed(a),
    }


def of_raw(pool, fs):
    a, s, b = (f"{fs}/plain/{x}.raw" for x in "asb")

    def put():
        with open(a, "r+b") as f:
            for _ in range(DATA // MB):
                f.write(os.urandom(MB))
            f.flush()
            os.fsync(f.fileno())

    def end():
        removed(s)()
        removed(a)()
    return {
        "create": synced(a, "qemu-img", "create", "-q", "-f", "raw", "-o", "preallocation=falloc", a, "10G"),
        "put": put,
        "snapshot": synced(s, "cp", "--reflink=always", a, s),
        "clone": synced(b, "cp", "--reflink=always", s, b),
        "grow": synced(b, "fallocate", "-l", "11G", b),
        "delete": removed(b),
        "end": end,
    }


def of_mkdir(pool, fs):
    d = f"{fs}/plain/dir"
    return {
        "create": synced(d, "mkdir", d),
        "put": lambda: None,
        "delete": lambda: run("rm", "-r", d),
        "end": lambda: None,
    }


def verbs(rounds, pools):
    rows = [(f"{name}", of_units(pool, fs)) for name, pool, fs in pools]
    of_fs = {}
    for name, pool, fs in pools:
        of_fs.setdefault(os.path.basename(fs), (pool, fs))
    for kind, (pool, fs) in of_fs.items():
        if shutil.which("qemu-img"):
            rows.append((f"qemu-img qcow2, {kind}", of_qcow2(pool, fs)))
            rows.append((f"raw, falloc; cp --reflink, {kind}", of_raw(pool, fs)))
        rows.append((f"mkdir; rm -r, {kind}", of_mkdir(pool, fs)))
    took = {(row, verb): [] for row, _ in rows for verb in VERBS}
    for i in range(rounds):
        for row, of in rows if i % 2 else rows[::-1]:
            for step in ("create", "put", "snapshot", "clone", "grow", "delete", "end"):
                if step not in of:
                    continue
                t = ms(of[step])
                if step in VERBS:
                    took[row, step].append(t)
            os.sync()
    print(f"a unit of 10 GiB with {DATA // MB} MiB in it, ms, median of {rounds}; all durable: fsync(2) after what others leave in the page cache")
    print(f"{'':34}" + "".join(f"{v:>10}" for v in VERBS))
    for row, _ in rows:
        print(f"{row:34}" + "".join(f"{statistics.median(took[row, v]):10.1f}" if took[row, v] else f"{'-':>10}" for v in VERBS))
    if not shutil.which("qemu-img"):
        print("no qemu-img here: nothing to compare with")
        return
    print("ratio to qemu-img qcow2 on the same file system, median of those of each round")
    for name, pool, fs in pools:
        base = f"qemu-img qcow2, {os.path.basename(fs)}"
        print(f"{name:34}" + "".join(f"{statistics.median(a / b for a, b in zip(took[name, v], took[base, v])):10.2f}" for v in VERBS))


# ---- I/O ----

FILE = 512 * MB
JOBS = (
    # name, fio options, which figure
    ("write 1M direct", ("--rw=write", "--bs=1M", "--direct=1"), "write"),
    ("read 1M direct", ("--rw=read", "--bs=1M", "--direct=1"), "read"),
    ("randwrite 4k direct", ("--rw=randwrite", "--bs=4k", "--direct=1", "--time_based=1"), "write"),
    ("randread 4k direct", ("--rw=randread", "--bs=4k", "--direct=1", "--time_based=1"), "read"),
    ("write 1M, fsync at end", ("--rw=write", "--bs=1M", "--end_fsync=1"), "write"),
    ("randwrite 4k, fsync each", ("--rw=randwrite", "--bs=4k", "--fsync=1", "--time_based=1"), "write"),
)


def fio(where, options, figure):
    out = run("fio", "--name=x", f"--filename={where}/fio", f"--size={FILE}", "--runtime=2", "--ioengine=libaio", "--iodepth=8", "--invalidate=1",
              "--randseed=1", "--output-format=json", *options)
    job = json.loads(out)["jobs"][0]
    return job[figure]["bw_bytes"] if "--end_fsync=1" not in options else job["write"]["io_bytes"] / (job["job_runtime"] / 1e3)


def io(rounds, pools):
    print(f"fio, {FILE >> 20} MiB file, MB/s in the unit / in its pool's own file system, median of {rounds}; the ratio is the median of each round's")
    for name, pool, fs in pools:
        unit("create", "--pool", pool, "--name", "io", "--size", "2G")
        inside, plain = unit("attach", "io"), f"{fs}/plain"
        got = {(job[0], where): [] for job in JOBS for where in (inside, plain)}
        for i in range(rounds):
            for where in (inside, plain) if i % 2 else (plain, inside):
                if os.path.exists(f"{where}/fio"):
                    os.unlink(f"{where}/fio")
            os.sync()
            for job, options, figure in JOBS:
                for where in (inside, plain) if i % 2 else (plain, inside):
                    got[job, where].append(fio(where, options, figure) / 1e6)
        for job, _, _ in JOBS:
            a, b = got[job, inside], got[job, plain]
            ratios = sorted(x / y for x, y in zip(a, b))
            print(f"{name:18} {job:26} {statistics.median(a):9.2f} / {statistics.median(b):9.2f}  x {statistics.median(ratios):.2f}"
                  f"  ({ratios[0]:.2f} to {ratios[-1]:.2f})")
        os.unlink(f"{plain}/fio")
        unit("detach", "io")
        unit("delete", "io")


# ---- beside a full one ----

PACE = 0.02  # s between two writes of the neighbour
WRITE = 16 << 10
SAMPLES = 300
HOG_PACE = 32 * MB  # bytes a second
FULL = (errno.ENOSPC, errno.EDQUOT)
ROOM = 16 * MB  # what the full one has, again and again


class Hog(threading.Thread):
    """Writes at one pace; @full: until there is no room, then from the beginning again. Else as much, where there is room."""

    def __init__(self, where, full):
        super().__init__()
        self.where, self.full, self.end, self.hits, self.error = where, full, threading.Event(), 0, None

    def run(self):
        try:
            self.go()
        except Exception as e:  # told by who waits
            self.error = e

    def go(self):
        block = os.urandom(MB)
        path, fd, due, at = f"{self.where}/more", -1, time.monotonic(), 0
        while not self.end.is_set():
            try:
                if fd < 0:
                    fd = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
                at += os.write(fd, block)
                os.fdatasync(fd)
            except OSError as e:
                if e.errno not in FULL or not self.full:
                    raise
                self.hits += 1
                at = 4 * ROOM
            if at >= (4 * ROOM if self.full else ROOM):
                if fd >= 0:
                    os.unlink(path)
                    os.close(fd)
                fd, at = -1, 0
            due = max(due + MB / HOG_PACE, time.monotonic() - 1)
            self.end.wait(max(0, due - time.monotonic()))
        if fd >= 0:
            os.close(fd)


def paced(where, lowest, fs):
    """Milliseconds from when each write was due until it was on the disk; a late one makes the next late, too."""
    fd = os.open(f"{where}/log", os.O_WRONLY | os.O_CREAT, 0o600)
    block = os.urandom(WRITE)
    took, start = [], time.monotonic()
    for i in range(SAMPLES):
        due = start + i * PACE
        time.sleep(max(0, due - time.monotonic()))
        os.pwrite(fd, block, i % 256 * WRITE)
        os.fsync(fd)
        took.append((time.monotonic() - due) * 1e3)
        v = os.statvfs(fs)
        lowest[0] = min(lowest[0], v.f_bavail * v.f_frsize)
    os.close(fd)
    return took, SAMPLES * WRITE / (time.monotonic() - start)


def pool_of(name):
    return next(p for p in json.loads(unit("pool", "list", "--json")) if p["name"] == name)


def until_full(where, room):
    """Files that leave only about @room. (What statvfs(3) says of a subvolume is its pool's, and in a full one no file can be truncated.)"""
    block = os.urandom(MB)
    for n in range(1 << 20):
        try:
            with open(f"{where}/ballast.{n}", "wb", buffering=0) as f:
                for _ in range(room // MB):
                    f.write(block)
                    os.fsync(f.fileno())
        except OSError as e:
            if e.errno not in FULL:
                raise
            break
    os.unlink(f"{where}/ballast.{n - 1}")
    sync_path(where)


def beside(rounds, pools):
    print(f"a neighbour writes {WRITE >> 10} KiB and calls fsync(2) every {PACE * 1e3:.0f} ms; ms from when it was due until it was durable; "
          f"{rounds} x {SAMPLES} of each, in turns")
    print(f"the other unit writes {HOG_PACE // MB} MiB/s with fdatasync(2), {ROOM // MB} MiB over and over: where there is room, or until ENOSPC each time")
    for name, pool, fs in pools:
        floor = pool_of(pool)["floor"]
        dirs = {}
        for key in ("neighbour", "room", "full"):
            unit("create", "--pool", pool, "--name", key, "--size", "320M")
            dirs[key] = unit("attach", key)
        until_full(dirs["full"], ROOM)
        # Its pool is as full: each block of the full one is shared and will be another, and the rest is somebody's.
        unit("snapshot", "full@s")
        left = pool_of(pool)["available"] - 256 * MB
        unit("create", "--pool", pool, "--name", "rest", "--size", str(left))
        took = {k: [] for k in ("alone", "room", "full")}
        rate, per_round, hits, lowest = {k: [] for k in took}, {k: [] for k in took}, 0, [1 << 62]
        for i in range(rounds):
            for k in list(took) if i % 2 else list(took)[::-1]:
                hog = None if k == "alone" else Hog(dirs[k], k == "full")
                if hog:
                    hog.start()
                t, r = paced(dirs["neighbour"], lowest, fs)
                if hog:
                    hog.end.set()
                    hog.join()
                    hits += hog.hits
                    if hog.error:
                        raise hog.error
                took[k] += t
                per_round[k].append((statistics.median(t), p99(t)))
                rate[k].append(r)
                os.sync()
        for k, text in (("alone", "alone"), ("room", "beside one with room"), ("full", "beside a full one")):
            print(f"{name:18} {text:22} median {statistics.median(took[k]):7.2f}, p99 {p99(took[k]):7.2f}, most {max(took[k]):7.2f} ms; "
                  f"{statistics.median(rate[k]) / 1024:6.1f} KiB/s")
        for k in ("alone", "room"):
            pairs = list(zip(per_round["full"], per_round[k]))
            print(f"{name:18} full / {k:15} median x {statistics.median(a[0] / b[0] for a, b in pairs):.2f}, "
                  f"p99 x {statistics.median(a[1] / b[1] for a, b in pairs):.2f}, "
                  f"throughput x {statistics.median(a / b for a, b in zip(rate['full'], rate[k])):.3f}")
        print(f"{name:18} ENOSPC {hits} times, the neighbour's writes all succeeded; the pool had given away all but 256 MiB; "
              f"least free in it {lowest[0] >> 20} MiB, floor {floor >> 20} MiB: {'held' if lowest[0] >= floor else 'NOT HELD'}")
        for key in (*dirs, "rest"):
            unit("detach", key)
            unit("delete", key)
        if hits < rounds or lowest[0] < floor:
            sys.exit("it was not full, or the floor did not hold")


def main():
    what, rounds = sys.argv[1], int(sys.argv[2])
    pools = []
    for arg in sys.argv[4:]:
        name, rest = arg.split("=")
        pool, fs = rest.split(":")
        pools.append((name, pool, f"{sys.argv[3]}/{fs}"))
    {"verbs": verbs, "io": io, "beside": beside}[what](rounds, pools)


main()
