# SPDX-License-Identifier: Apache-2.0
"""A greedy container beside a modest one. Usage: neighbours.py GREEDY MODEST THREADS OPENS PAUSE-MS
THREADS threads open missing small files below GREEDY one after the other; meanwhile OPENS files below MODEST are opened, with a pause
between two. Prints median, p99 and most milliseconds of those, and how many files the greedy one read in that time."""
import os
import random
import statistics
import sys
import threading
import time


def small_files(top):
    out = [os.path.join(d, f) for d, _, fs in os.walk(os.fsencode(top)) for f in fs]
    out = [f for f in out if not os.path.islink(f) and os.path.isfile(f) and 0 < os.path.getsize(f) < 65536]
    random.Random(1).shuffle(out)
    return out


def read(path):
    with open(path, "rb") as f:
        f.read()


def main():
    greedy, modest = sys.argv[1:3]
    threads, opens, pause = int(sys.argv[3]), int(sys.argv[4]), float(sys.argv[5]) / 1000
    many, few = small_files(greedy), small_files(modest)[:opens]
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
    greedy_still = any(t.is_alive() for t in hogs)
    got = sum(done)
    end.set()
    for t in hogs:
        t.join()
    took.sort()
    print(f"{statistics.median(took):.1f} {took[min(len(took) - 1, len(took) * 99 // 100)]:.1f} {took[-1]:.1f} {got} {int(greedy_still)}")


main()
