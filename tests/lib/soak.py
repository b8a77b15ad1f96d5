# SPDX-License-Identifier: Apache-2.0
"""soak.py LOCUM SECONDS SEED DIR HOST=FAULTY... - mounts, readers and trouble at random, for so long.

Workers mount images, compare what they read with DIR/rootfs, execute, write, and unmount, each on its own directory below DIR. Beside
them the daemon is killed and started, registries go away, stall and come back, and layers are dropped, verified and pulled. Each HOST is a
registry with the image, FAULTY the command that starts it again, as JSON; DIR/stall holds them all while it exists.

A wrong byte is an error at any time. So is a failed read while no registry is in trouble: that of the daemon is none to a reader. A verb
may fail only while there is trouble. Prints what was done; status 1 and what went wrong otherwise.
"""
import collections
import errno
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time

WORKERS = 6
DEADLINE = 4  # seconds that a reader waits for a registry
SETTLE = DEADLINE + 6  # seconds after trouble in which it still tells: retries have pauses
PHASE = 30  # seconds with all kinds of trouble, then as many in which registries are well
STEADY_MIN = 300  # of so long a run the last third has one daemon, so that its memory can be seen to grow

locum, seconds, seed, top = sys.argv[1], float(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
hosts = {h.partition("=")[0]: json.loads(h.partition("=")[2]) for h in sys.argv[5:]}
rootfs = top + "/rootfs"
done, failures = collections.Counter(), []
lock = threading.Lock()
over = threading.Event()


class Trouble:
    """Was there any of it between two moments?"""

    def __init__(self):
        self.now, self.last = 0, -1e9

    def __enter__(self):
        with lock:
            self.now += 1

    def __exit__(self, *_):
        with lock:
            self.now -= 1
            self.last = time.monotonic()

    def since(self, t):
        with lock:
            return self.now > 0 or self.last + SETTLE > t


registry, daemon = Trouble(), Trouble()


def fail(text):
    with lock:
        failures.append(text)
    over.set()


def count(what):
    with lock:
        done[what] += 1


def verb(*argv, may_fail=False):
    """Return: its output, or None when it failed, as it may in trouble."""
    begun = time.monotonic()
    p = subprocess.run([locum, *argv], capture_output=True, text=True, timeout=120)
    count(argv[0])
    if p.returncode == 0:
        return p.stdout
    if not (may_fail or registry.since(begun) or daemon.since(begun)):
        fail(f"locum {' '.join(argv)}: status {p.returncode}: {p.stderr.strip()}")
    count(argv[0] + " that failed")
    return None


def files():
    found = []
    for dir, _, names in os.walk(rootfs):
        for name in names:
            path = os.path.join(dir, name)
            if os.path.isfile(path) and not os.path.islink(path):
                found.append(os.path.relpath(path, rootfs))
    return sorted(found)


def read_one(mnt, name):
    begun = time.monotonic()
    try:
        with open(os.path.join(mnt, name), "rb") as f:
            got = f.read()
    except OSError as e:
        if e.errno != errno.EIO or not registry.since(begun):
            fail(f"{mnt}/{name}: {e}, and no registry was in trouble")
        count("reads that failed")
        return
    with open(os.path.join(rootfs, name), "rb") as f:
        if f.read() != got:
            fail(f"{mnt}/{name}: wrong bytes")
    count("reads")


def execute(mnt):
    begun = time.monotonic()
    p = subprocess.run(["chroot", mnt, "/bin/busybox", "true"], capture_output=True, text=True, timeout=120)
    if p.returncode != 0 and not registry.since(begun):
        fail(f"{mnt}: busybox: status {p.returncode} {p.stderr.strip()}, and no registry was in trouble")
    count("executed")


def gone(name):
    """Until it is: what the daemon was told before it was killed may have been done."""
    while True:
        left = verb("status", "--json", may_fail=True)
        if left is not None and not any(m["id"] == name for m in json.loads(left)):
            return
        verb("umount", "--lazy", "--remove", name, may_fail=True)


def one_mount(rnd, n, names):
    name, mnt = f"soak-{n}", f"{top}/m{n}"
    image = rnd.choice(list(hosts)) + "/x:t"
    how = ["--id", name, "--deadline", str(DEADLINE)] + rnd.choice([[], [], ["--full"]])
    os.makedirs(mnt, exist_ok=True)
    if verb("mount", *how, image, mnt) is None:
        gone(name)
        return
    for f in rnd.sample(names, min(len(names), rnd.randint(1, 30))):
        read_one(mnt, f)
    if rnd.random() < 0.5:
        execute(mnt)
    if rnd.random() < 0.5:
        with open(mnt + "/mine", "w") as f:
            f.write(name)
        if verb("umount", "--keep", name) is not None and verb("mount", *how, image, mnt) is not None:
            with open(mnt + "/mine") as f:
                if f.read() != name:
                    fail(f"{mnt}/mine: what was written is lost")
            count("kept")
    verb("umount", "--remove", name)
    gone(name)


def work(n, names):
    rnd = random.Random(f"{seed}/{n}")
    try:
        while not over.is_set():
            one_mount(rnd, n, names)
    except Exception as e:  # a thread's would be lost
        fail(f"worker {n}: {e!r}")


# ---- trouble ----


def pid():
    out = subprocess.run(
        ["curl", "-s", "--max-time", "20", "--unix-socket", os.environ["LOCUM_RUN"] + "/locum.sock", "http://locum/v1/daemon"],
        capture_output=True, text=True)
    return json.loads(out.stdout)["pid"] if out.stdout else 0


def kill_daemon(_):
    with daemon:
        was = pid()
        if was:
            os.kill(was, signal.SIGKILL)
        while pid() in (0, was):
            verb("status", may_fail=True)  # starts one
    count("daemons killed")


def registry_goes(rnd):
    host = rnd.choice(list(hosts))
    with registry:
        servers[host].kill()
        servers[host].wait()
        time.sleep(rnd.uniform(0.2, 3))  # the trouble's length is the point
        serve(host)
    count("registries gone")


def registries_stall(rnd):
    with registry:
        open(top + "/stall", "w").close()
        time.sleep(rnd.uniform(0.2, 3))
        os.unlink(top + "/stall")
    count("stalls")


def tidy(rnd):
    what = rnd.choice([["gc", "--to", "0"], ["drop-cache"], ["drop-cache", "--all"], ["verify", "--now"], ["images"], ["pull", rnd.choice(list(hosts)) + "/x:t"]])
    verb(*what)


servers = {}


def serve(host):
    servers[host] = subprocess.Popen(hosts[host], stdout=subprocess.PIPE, text=True)
    if not servers[host].stdout.readline().startswith("serving"):
        fail(f"{host} does not come back")


def memory(of):
    with open(f"/proc/{of}/status") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("VmRSS:"))


samples = []


def trouble():
    rnd = random.Random(f"{seed}/trouble")
    begin = time.monotonic()
    try:
        while time.monotonic() < begin + seconds and not over.is_set():
            well = (time.monotonic() - begin) % (2 * PHASE) > PHASE
            steady = seconds >= STEADY_MIN and time.monotonic() > begin + seconds * 2 / 3
            if steady and time.monotonic() > begin + seconds * (2 / 3 + len(samples) / 30):
                samples.append(memory(pid()))
            rnd.choice([tidy, tidy] + ([] if steady else [kill_daemon]) + ([] if well else [registry_goes, registries_stall]))(rnd)
            over.wait(rnd.uniform(0.1, 3))
    except Exception as e:
        fail(f"trouble: {e!r}")
    over.set()


def main():
    for host in hosts:
        serve(host)
    names = files()
    threads = [threading.Thread(target=work, args=(n, names)) for n in range(WORKERS)] + [threading.Thread(target=trouble)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    print(f"# seed {seed}: " + ", ".join(f"{n} {what}" for what, n in sorted(done.items())))
    for text in failures:
        print(text, file=sys.stderr)
    last = pid()
    if samples:
        print("# the last third with one daemon, kB resident at equal times: " + ", ".join(map(str, samples)))
    print(f"# the last daemon has {memory(last)} kB and {len(os.listdir(f'/proc/{last}/fd'))} descriptors")
    for s in servers.values():
        s.kill()
        s.wait()
    return 1 if failures else 0


sys.exit(main())
