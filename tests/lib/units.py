#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Verbs of `locum unit`, many at once or killed, for tests/integration/unit_many.sh.

units.py at-once UNIT PROCESSES VERBS SEED  PROCESSES that each run VERBS random verbs on the one UNIT and on clones of it, checks and gc
                                            between them. Each succeeds, or says in one line why not; a check never finds anything.
units.py killed POOL VERBS SEED             VERBS verbs, each killed after a random part of the time it takes; after each, gc, and then the
                                            pool has neither half units nor half rows. Every unit that is there can be used.

LOCUM: the program. UNIT is detached and holds "text" with "one". The last line says what was done; status 1 after what ought not to be.
"""
import json
import os
import random
import subprocess
import sys
import threading
import time

LOCUM = os.environ["LOCUM"]
MB = 1 << 20
bad = []


def unit(*args):
    r = subprocess.run([LOCUM, "unit", *args], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    return r.returncode, r.stdout, r.stderr


def wrong(args, status, out, err):
    bad.append(f"{' '.join(args)}: status {status}: {(out + err).strip()}")


def fine(*args):
    status, out, err = unit(*args)
    if status != 0:
        wrong(args, status, out, err)
    return out.strip()


def find(key):
    status, out, _ = unit("show", "--json", key)
    return json.loads(out) if status == 0 else None


class Counts:
    def __init__(self):
        self.lock = threading.Lock()
        self.of = {}

    def add(self, verb, what):
        with self.lock:
            one = self.of.setdefault(verb, {})
            one[what] = one.get(what, 0) + 1

    def text(self):
        return ", ".join(f"{verb} {'/'.join(f'{n} {what}' for what, n in sorted(one.items()))}" for verb, one in sorted(self.of.items()))


# ---- at once ----

def holds(key, text):
    """What the file "text" of a unit of our own says, while nobody else has it."""
    status, out, err = unit("attach", key)
    if status != 0:
        return wrong(("attach", key), status, out, err)
    with open(out.strip() + "/text") as f:
        got = f.read().strip()
    if got != text:
        bad.append(f"{key} holds \"{got}\", not \"{text}\"")
    fine("detach", key)
    return None


def one_verb(rnd, key, me, counts):
    snap = f"{key}@s{rnd.randrange(3)}"
    clone = f"{key}-{me}"
    args = rnd.choice([
        ("snapshot", snap), ("snapshot", snap), ("delete", snap), ("rollback", snap), ("attach", key), ("detach", key), ("detach", key),
        ("clone", key, "--name", clone), ("clone", snap, "--name", clone), ("grow", key, f"{rnd.choice((48, 52, 56))}M"),
        ("check",), ("gc",), ("list", "--json"), ("show", "--json", key)])
    status, out, err = unit(*args)
    said = err.splitlines()
    counts.add(args[0], "done" if status == 0 else "refused")
    if status not in (0, 1) or (status == 0 and err) or (status == 1 and not (len(said) == 1 and said[0].startswith("locum: "))):
        wrong(args, status, out, err)
    elif status == 1 and args[0] in ("check", "gc", "list", "show"):
        wrong(args, status, out, err)
    if args[0] == "clone" and status == 0:
        holds(clone, "one")
        fine("delete", clone)


def at_once(key, processes, verbs, seed):
    counts = Counts()

    def go(me):
        rnd = random.Random(seed * 1000 + me)
        for _ in range(verbs):
            try:
                one_verb(rnd, key, me, counts)
            except Exception as e:  # a thread's would only be printed
                bad.append(repr(e))

    threads = [threading.Thread(target=go, args=(me,)) for me in range(processes)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    return counts.text()


# ---- killed ----

class Killer:
    """Verbs that are killed after a random part of what they usually take."""

    def __init__(self, pool, rnd):
        self.pool = pool
        self.rnd = rnd
        self.usual = {}
        self.counts = Counts()

    def run(self, *args):
        verb = args[0]
        p = subprocess.Popen([LOCUM, "unit", *args], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        start = time.monotonic()
        try:
            _, err = p.communicate(timeout=self.usual.get(verb, 0.1) * self.rnd.uniform(0, 1.4))
        except subprocess.TimeoutExpired:
            p.kill()
            p.wait()  # what it started may have its stderr, and lives on
            p.stderr.close()
            self.counts.add(verb, "killed")
            return
        took = time.monotonic() - start
        self.usual[verb] = took if verb not in self.usual else (self.usual[verb] * 3 + took) / 4
        self.counts.add(verb, "done" if p.returncode == 0 else "refused")
        if p.returncode != 0 and (p.returncode != 1 or len(err.splitlines()) != 1):
            wrong(args, p.returncode, "", err)

    def learn(self, *args):
        """How long it takes when nobody kills it."""
        start = time.monotonic()
        fine(*args)
        self.usual[args[0]] = time.monotonic() - start


def half(path):
    """What is in the pool's directories for what is being made or removed."""
    return [f"{d}/{name}" for d in (".tmp", ".trash") for name in os.listdir(f"{path}/{d}")]


def killed(pool, verbs, seed):
    rnd = random.Random(seed)
    k = Killer(pool, rnd)
    path = next(p["path"] for p in json.loads(fine("pool", "list", "--json")) if p["name"] == pool)
    for args in (("create", "--pool", pool, "--name", "k0", "--size", "48M"), ("snapshot", "k0@s0"), ("rollback", "k0@s0"), ("grow", "k0", "50M"),
                 ("attach", "k0"), ("detach", "k0"), ("clone", "k0", "--name", "k1"), ("delete", "k1")):
        k.learn(*args)
    for i in range(verbs):
        key = f"k{rnd.randrange(3)}"
        v = find(key)
        snap = f"{key}@s{rnd.randrange(2)}"
        if not v:
            other = find("k0")
            k.run(*(("clone", "k0", "--name", key) if other and rnd.randrange(2) else ("create", "--pool", pool, "--name", key, "--size", "48M")))
        elif v["attached"]:
            k.run("detach", key)
        else:
            k.run(*rnd.choice([("attach", key), ("delete", key), ("snapshot", snap), ("delete", snap), ("rollback", snap),
                               ("grow", key, str(v["size"] + 2 * MB) if v["size"] < 80 * MB else str(v["size"]))]))
        fine("gc")
        left = half(path)
        if left:
            bad.append(f"after {i + 1} verbs and gc: {' '.join(left)}")
        fine("check", *(["--deep"] if i % 8 == 7 else []))
    for key in ("k0", "k1", "k2"):
        if find(key):
            fine("detach", key)
            fine("attach", key)
            fine("detach", key)
            fine("delete", key)
    return k.counts.text()


def main():
    if sys.argv[1] == "at-once":
        said = at_once(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5]))
    else:
        said = killed(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
    for line in bad[:20]:
        print(line)
    print(f"{said}; {len(bad)} wrong")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
