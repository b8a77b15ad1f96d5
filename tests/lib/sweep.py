#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""sweep.py LOCUM DIR IMAGE TREE MODE POINTS [SEED] - whole runs of a daemon, each with one fault.

A run: daemon, lazy mount, every file read by a process of its own, native. MODE is kill (SIGKILL at the n-th of all calls
of src/base/sys.c), ENOSPC or EIO (the n-th call that writes to a disk fails so), or full (a file system that has room for
n KiB only). POINTS of all points there are, chosen by SEED, or "all", or "FROM-TO/STEP". After each, the same root:

  the reader      has every byte right, or an error where the fault was
  the daemon      answers still (but when it was killed, or said why it does not start)
  a next run      without a fault: mounted, native, the tree is TREE; verify finds nothing
  what is left    after umount and drop-cache: no mount, layer, container or temporary file

DIR is on a file system without disk, if it goes. Prints outcomes, counted, and with status 1 the points that went wrong.
"""
import errno, http.client, json, os, random, shutil, signal, socket, subprocess, sys, time

WRITES = ("openat open_beneath mkdirat renameat renameat2 linkat symlinkat mknodat fsetxattr lsetxattr ftruncate fallocate "
          "fsync syncfs fdatasync pwrite_full pwrite_durable unlinkat")
LOCUM, DIR, IMAGE, TREE, MODE, POINTS = sys.argv[1:7]
SEED = int(sys.argv[7]) if len(sys.argv) > 7 else random.SystemRandom().randrange(1000000)
CALLS = []  # functions whose calls are points
ROOT, RUN, MNT = DIR + "/root", DIR + "/run", DIR + "/mnt"


class Gone(Exception):
    """the daemon is"""


class Wrong(Exception):
    """what must not be"""


class Unix(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(60)
        self.sock.connect(RUN + "/locum.sock")


def call(method, path, body=None):
    c = Unix("locum")
    try:
        c.request(method, path, json.dumps(body) if body is not None else None)
        answer = c.getresponse()
        return answer.status, json.loads(answer.read() or b"{}")
    except (OSError, http.client.HTTPException) as e:
        raise Gone(str(e))
    finally:
        c.close()


def until(what, text, tries=400):
    for _ in range(tries):
        if what():
            return
        time.sleep(0.05)
    raise Wrong(text)


class Daemon:
    def __init__(self, env, patience=20):
        self.log = open(DIR + "/log", "a")
        self.p = subprocess.Popen([LOCUM, "daemon", "--verbose", "--hold", "0", "--deadline", str(patience)], stdin=subprocess.DEVNULL, stdout=self.log,
                                  stderr=self.log, env=dict(os.environ, LOCUM_ROOT=ROOT, LOCUM_RUN=RUN, **env))

    def up(self):
        """True: it answers; False: it has ended"""
        def ready():
            try:
                return self.p.poll() is not None or call("GET", "/v1/daemon")[1].get("pid") == self.p.pid
            except Gone:
                return False
        until(ready, "the daemon neither answers nor ends")
        return self.p.poll() is None

    def stop(self):
        if self.p.poll() is None:
            self.p.terminate()
        status = self.p.wait(60)
        self.log.close()
        with open(DIR + "/log") as f:
            text = f.read()
        if "Sanitizer" in text or "runtime error" in text or status not in (0, 1, -signal.SIGKILL):
            raise Wrong("the daemon ended with %d: %s" % (status, text[-2000:]))
        return status, text


def files(top):
    for base, _, names in os.walk(top):
        for name in names:
            path = os.path.join(base, name)
            if not os.path.islink(path):
                yield os.path.relpath(path, top)


WANTED = {}
for name in files(TREE):
    with open(os.path.join(TREE, name), "rb") as f:
        WANTED[name] = f.read()


def read_all():
    """A process: exit status 0: all right; 3: right or an error; 4: wrong bytes; 100: another error"""
    open(DIR + "/reader", "w").close()
    pid = os.fork()
    if pid:
        return pid
    status = 0
    try:
        for name in random.Random(SEED).sample(sorted(WANTED), len(WANTED)):
            try:
                with open(os.path.join(MNT, name), "rb") as f:
                    if f.read() != WANTED[name]:
                        status = 4
                        break
            except OSError as e:
                with open(DIR + "/reader", "a") as f:
                    f.write("%s: %s; " % (name, errno.errorcode[e.errno]))
                status = 3 if e.errno in (errno.EIO, errno.ENOTCONN) else 100
                if status == 100 or MODE == "full":  # there every file waits for its deadline
                    break
    finally:
        os._exit(status)


def reader_end(pid, may_fail):
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if status not in ((0, 3) if may_fail else (0,)):
        raise Wrong("the reader ended with %d: %s" % (status, open(DIR + "/reader").read()))
    return status


def mounted():
    with open("/proc/self/mountinfo") as f:
        return [line.split()[4] for line in f if " - overlay locum:" in line and line.split()[4] == MNT]


def mount():
    """Return: how it went: ok, or the error's text"""
    status, answer = call("POST", "/v1/mounts", {"image": IMAGE, "id": "k", "target": MNT})
    if status != 202:
        return answer.get("error", "?")
    status, answer = call("GET", "/v1/mounts/k/wait?for=ready&timeout_ms=30000")
    if answer.get("phase") not in ("lazy", "draining", "native"):
        return answer.get("error", "?")
    return "ok"


def same_tree():
    if sorted(files(MNT)) != sorted(WANTED):
        raise Wrong("other files")
    for name, data in WANTED.items():
        with open(os.path.join(MNT, name), "rb") as f:
            if f.read() != data:
                raise Wrong("wrong bytes in " + name)


def away():
    status, answer = call("DELETE", "/v1/mounts/k?lazy=1&remove=1")
    if status not in (200, 404):
        raise Wrong("umount: " + str(answer))


def goes_on():
    """Without a fault everything works, in the daemon that had one and in the next."""
    if phase() is None:
        if mounted():
            raise Wrong("mounted, and unknown to the daemon")
        how = mount()
        if how != "ok":
            raise Wrong("mount: " + how)
    status, answer = call("GET", "/v1/mounts/k/wait?for=native&timeout_ms=40000")
    if answer.get("phase") != "native":
        raise Wrong("it stays %s: %s" % (answer.get("phase"), answer.get("error")))
    same_tree()


def nothing_left():
    call("POST", "/v1/drop-cache", {"all": True})
    left = []
    for d in ("real", "containers", "tmp", "blobs", "tocs"):
        if os.path.isdir(os.path.join(ROOT, d)):
            left += [d + "/" + n for n in os.listdir(os.path.join(ROOT, d)) if n != ".trash"]
    return not left and not mounted() and not (os.path.isdir(RUN + "/m") and os.listdir(RUN + "/m"))


def verify():
    after = 0
    while True:
        status, answer = call("POST", "/v1/verify", {"after": after})
        if status != 200 or answer.get("state") == "damaged":
            raise Wrong("verify: %s" % answer)
        if answer["layer"] is None:
            return
        after = answer["layer"]


def phase():
    return call("GET", "/v1/mounts/k")[1].get("phase")


def run(d):
    """Return: the reader, how the mount went; what a daemon that has ended could not do is None"""
    reader = how = None
    try:
        if d.up():
            how = mount()
            if how == "ok":
                reader = read_all()
                call("GET", "/v1/mounts/k/wait?for=native&timeout_ms=%d" % (40000 if MODE == "kill" else 0))
    except Gone:
        until(lambda: d.p.poll() is not None, "it does not answer, and has not ended")
    return reader, how


def killed(d, reader):
    """Return: the outcome, and a reader that waits for the next daemon"""
    if d.p.poll() is None:
        reader_end(reader, False)
        d.stop()
        return "the point was not reached", None
    d.stop()
    return "killed under a reader" if reader else "killed before there was a reader", reader


def failed(d, reader, how):
    """The daemon that had the fault goes on. Return: the outcome"""
    if d.p.poll() is not None:
        status, text = d.stop()
        if status != 1 or "locum: daemon: " not in text:
            raise Wrong("it ended with %d: %s" % (status, text[-1000:]))
        return "it does not start, and says why"
    outcome = "the mount fails, and says why"
    if reader:
        outcome = "a reader gets an error" if reader_end(reader, True) else "it is made good"
    space()
    if phase() == "failed":
        outcome = "the mount fails, and says why"
        away()
    goes_on()
    d.stop()
    return outcome


def one(env):
    """One run and what comes after. Return: the outcome in words."""
    d = Daemon(env, 20 if MODE == "kill" else 2)
    reader, how = run(d)
    if MODE == "kill":
        outcome, reader = killed(d, reader)
    else:
        outcome, reader = failed(d, reader, how), None
    space()
    d = Daemon({})
    if not d.up():
        raise Wrong("the next daemon does not start: " + d.stop()[1][-1000:])
    if reader:
        reader_end(reader, phase() is None)
    if phase() == "failed":
        away()
    goes_on()
    verify()
    away()
    until(nothing_left, "something is left of it: " + str([os.listdir(ROOT + "/" + x) for x in ("real", "containers", "tmp")]))
    d.stop()
    return outcome


def space(kib=None):
    if MODE == "full":
        subprocess.run(["mount", "-o", "remount,size=%s" % ("%dk" % kib if kib else "100%"), ROOT], check=True)


def fresh():
    subprocess.run(["umount", "-l", MNT], stderr=subprocess.DEVNULL)
    if MODE == "full":
        subprocess.run(["umount", "-l", ROOT], stderr=subprocess.DEVNULL)
    open(DIR + "/log", "w").close()
    for p in (ROOT, RUN, MNT):
        shutil.rmtree(p, ignore_errors=True)
        os.makedirs(p, exist_ok=True)
    if MODE == "full":
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=100%,mode=700", "none", ROOT], check=True)


def counted():
    """How many points a whole run has."""
    fresh()
    d = Daemon({"LCM_FAULT_LOG": DIR + "/calls"})
    if not d.up() or mount() != "ok":
        raise Wrong("not even without a fault: " + d.stop()[1])
    reader = read_all()
    call("GET", "/v1/mounts/k/wait?for=native&timeout_ms=40000")
    reader_end(reader, False)
    used = sum(os.lstat(os.path.join(b, n)).st_blocks for b, _, ns in os.walk(ROOT) for n in ns) // 2
    d.stop()
    with open(DIR + "/calls") as f:
        calls = {n: int(k) for n, k in (line.split() for line in f)}
    d = Daemon({})
    d.up()
    away()
    until(nothing_left, "something is left")
    d.stop()
    if MODE == "full":
        return used + used // 4, calls
    CALLS[:] = [n for n in calls if not n.startswith("json_")] if MODE == "kill" else ["lcm_sys_" + w for w in WRITES.split()]
    if MODE == "kill":
        return sum(calls[n] for n in CALLS), calls
    return sum(calls.get("lcm_sys_" + w, 0) for w in WRITES.split()), calls


def chosen(total):
    if POINTS == "all":
        return range(1, total + 1)
    if "/" in POINTS:
        ends, step = POINTS.split("/")
        first, last = (int(x) for x in ends.split("-"))
        return range(first, min(last, total) + 1, int(step))
    return sorted(random.Random(SEED).sample(range(1, total + 1), min(int(POINTS), total)))


def env_of(n):
    if MODE == "full":
        return {}
    return {"LCM_FAULT_NTH": str(n), "LCM_FAULT_ERRNO": "0" if MODE == "kill" else str(getattr(errno, MODE)),
            "LCM_FAULT_CALL": ",".join(CALLS)}


def end_all():
    """Of a point that went wrong: nobody is to be in the way of the next."""
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open("/proc/%s/environ" % pid, "rb") as f, open("/proc/%s/cmdline" % pid, "rb") as g:
                if ("LOCUM_RUN=" + RUN).encode() in f.read().split(b"\0") or (RUN + "/holder.sock").encode() in g.read():
                    if int(pid) != os.getpid():
                        os.kill(int(pid), signal.SIGKILL)
        except OSError:
            pass


def main():
    total, calls = counted()
    print("%s: %d points in a run (%s), seed %d" % (MODE, total, ", ".join(
        "%s %d" % (k.replace("lcm_sys_", ""), v) for k, v in sorted(calls.items(), key=lambda x: -x[1])[:8]), SEED), flush=True)
    outcomes, bad, n_done = {}, [], 0
    for n in chosen(total):
        fresh()
        space(n)
        began = time.monotonic()
        try:
            what = one(env_of(n))
        except (Wrong, Gone, subprocess.TimeoutExpired) as e:
            what = "WRONG"
            with open(DIR + "/log") as f:
                bad.append("%s at %d: %s\n%s" % (MODE, n, e, f.read()[-3000:]))
            print(bad[-1], flush=True)
            end_all()
        n_done += 1
        if "SWEEP_TIMES" in os.environ:
            print("%s %d %.1f s %s" % (MODE, n, time.monotonic() - began, what), flush=True)
        outcomes[what] = outcomes.get(what, 0) + 1
    fresh()
    print("%s: %d points: %s" % (MODE, n_done, ", ".join("%d %s" % (v, k) for k, v in sorted(outcomes.items(), key=lambda x: -x[1]))))
    return 1 if bad or not n_done else 0


sys.exit(main())
