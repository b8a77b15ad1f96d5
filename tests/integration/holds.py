# SPDX-License-Identifier: Apache-2.0
"""holds.py - runs in a container and holds everything that a switch of the root file system could break.

Commands on standard input, one line each: "check" checks all of it and answers "ok NAME" or "BAD NAME why" for each,
then "checked N"; "end" ends it. The 1 ms ticker's longest gap is printed with each check.
"""
import ctypes
import fcntl
import hashlib
import mmap
import os
import socket
import struct
import sys
import threading
import time

LIB = "/usr/lib/python3.11"
libc = ctypes.CDLL(None, use_errno=True)
held = {}
longest = [0.0]
kept = []


def ticker():
    last = time.monotonic()
    while True:
        time.sleep(0.001)
        now = time.monotonic()
        longest[0] = max(longest[0], now - last)
        last = now


def sha(data):
    return hashlib.sha256(data).hexdigest()


def child(code, *args):
    """Another process's view: exits with 0 when the code ran through."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            code(*args)
            status = 0
        except BaseException as e:
            print("child:", repr(e), file=sys.stderr, flush=True)
        os._exit(status)
    return os.waitpid(pid, 0)[1] == 0


def need(condition, *what):
    if not condition:
        raise AssertionError(" ".join(map(str, what)))


def expect_locked(call):
    try:
        call()
    except (BlockingIOError, PermissionError):
        return
    raise AssertionError("the lock is not held any more")


def hold_open():
    f = open(LIB + "/tarfile.py", "rb")
    want = sha(f.read())

    def check():
        f.seek(0)
        need(sha(f.read()) == want, "open file changed")
        with open(LIB + "/tarfile.py", "rb") as again:
            need(sha(again.read()) == want, "opened again it differs")
            need(os.fstat(again.fileno()).st_ino == os.fstat(f.fileno()).st_ino, "another inode")
            need(os.fstat(again.fileno()).st_dev == os.fstat(f.fileno()).st_dev, "another device")
    return check


def hold_copied_up():
    f = open(LIB + "/pickle.py", "r+b")
    old = f.read()
    f.write(b"# more\n")
    f.flush()
    n = [0]

    def check():
        n[0] += 1
        f.write(b"x")
        f.flush()
        with open(LIB + "/pickle.py", "rb") as again:
            need(again.read() == old + b"# more\n" + b"x" * n[0], "copied-up file differs")
    return check


def hold_unlinked():
    f = open(LIB + "/zipfile.py", "rb")
    want = sha(f.read())
    os.unlink(LIB + "/zipfile.py")

    def check():
        f.seek(0)
        need(sha(f.read()) == want, "unlinked file changed")
        need(not os.path.lexists(LIB + "/zipfile.py"), "it is back")
    return check


def hold_maps():
    maps = []
    for flags, prot, name in ((mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_WRITE, "/ast.py"), (mmap.MAP_SHARED, mmap.PROT_READ, "/cgi.py")):
        fd = os.open(LIB + name, os.O_RDONLY)
        m = mmap.mmap(fd, 0, flags=flags, prot=prot)
        maps.append((m, sha(m[4096:])))
        if flags == mmap.MAP_PRIVATE:
            m[0:4] = b"MINE"
        os.close(fd)

    def check():
        for m, want in maps:
            need(sha(m[4096:]) == want, "map changed")
        need(maps[0][0][0:4] == b"MINE", "private change lost")
    return check


def hold_flock():
    f = open(LIB + "/bdb.py", "rb")
    fcntl.flock(f, fcntl.LOCK_EX)
    kept.append(f)

    def other():
        with open(LIB + "/bdb.py", "rb") as g:
            expect_locked(lambda: fcntl.flock(g, fcntl.LOCK_EX | fcntl.LOCK_NB))

    return lambda: need(child(other), "flock")


def hold_posix_lock():
    f = open("/etc/locked", "w+b")
    f.write(b"0123456789")
    f.flush()
    fcntl.lockf(f, fcntl.LOCK_EX, 4, 2)
    kept.append(f)

    def other():
        with open("/etc/locked", "r+b") as g:
            fcntl.lockf(g, fcntl.LOCK_EX | fcntl.LOCK_NB, 2, 0)
            fcntl.lockf(g, fcntl.LOCK_UN, 2, 0)
            expect_locked(lambda: fcntl.lockf(g, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, 3))

    return lambda: need(child(other), "POSIX lock")


def hold_posix_lock_lower():
    # a read lock on a file that was never written
    f = open(LIB + "/pdb.py", "rb")
    fcntl.lockf(f, fcntl.LOCK_SH)
    kept.append(f)

    def other():
        with open(LIB + "/pdb.py", "rb") as g:
            lock = struct.pack("hhqqi", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
            got = fcntl.fcntl(g, fcntl.F_GETLK, lock)
            need(struct.unpack("hhqqi", got)[0] == fcntl.F_RDLCK, "not seen")

    return lambda: need(child(other), "POSIX read lock")


def hold_socket():
    s = socket.socket(socket.AF_UNIX)
    s.bind("/var/service.sock")
    s.listen(8)

    def serve():
        while True:
            c, _ = s.accept()
            c.sendall(c.recv(100)[::-1])
            c.close()
    threading.Thread(target=serve, daemon=True).start()

    def other():
        c = socket.socket(socket.AF_UNIX)
        c.connect("/var/service.sock")
        c.sendall(b"abc")
        need(c.recv(10) == b"cba", "no answer")
    return lambda: need(child(other), "unix socket")


def hold_fifo():
    os.mkfifo("/var/fifo")
    fd = os.open("/var/fifo", os.O_RDWR)

    def other():
        out = os.open("/var/fifo", os.O_WRONLY)
        os.write(out, b"through")

    def check():
        need(child(other), "FIFO writer")
        need(os.read(fd, 100) == b"through", "FIFO reader")
    return check


def hold_inotify():
    fd = libc.inotify_init1(os.O_NONBLOCK)
    watches = ((b"/usr/lib/python3.11", 0x100), (b"/usr/lib/python3.11/this.py", 0x20), (b"/etc", 0x100))
    wd = [libc.inotify_add_watch(fd, p, mask) for p, mask in watches]
    need(min(wd) > 0, "inotify_add_watch")
    n = [0]

    def check():
        n[0] += 1
        for d in (LIB, "/etc"):
            open("%s/new-%d" % (d, n[0]), "w").close()
        open(LIB + "/this.py", "rb").close()
        data = os.read(fd, 65536)
        seen = set()
        while data:
            w, _, _, length = struct.unpack_from("iIII", data)
            seen.add(w)
            data = data[16 + length:]
        need(seen == set(wd), "events of", seen, "not", wd)
    return check


def hold_cwd():
    os.chdir("/usr/share/doc")
    some = sorted(os.listdir("."))[0]

    def check():
        need(os.getcwd() == "/usr/share/doc", os.getcwd())
        need(os.path.samefile(".", "/usr/share/doc"), "another directory")
        os.stat(some)
        open("written-here", "w").close()
        os.unlink("written-here")
    return check


def hold_chroot():
    ask, answer = os.pipe(), os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            fd = os.open("/lib64", os.O_RDONLY | os.O_DIRECTORY)
            os.chroot("/usr")
            os.chdir("/lib")
            while os.read(ask[0], 1):
                ok = "python3.11" in os.listdir("/lib") and os.path.exists("/bin/python3.11") and not os.path.exists("/usr/bin")
                ok = ok and os.getcwd() == "/lib" and len(os.listdir(fd)) > 0
                with open("/lib/python3.11/types.py", "rb") as f:
                    ok = ok and b"Define names" in f.read()
                os.write(answer[1], b"y" if ok else b"n")
        except BaseException as e:
            print("chroot:", repr(e), file=sys.stderr, flush=True)
        os._exit(1)

    def check():
        os.write(ask[1], b"?")
        need(os.read(answer[0], 1) == b"y", "chroot")
    return check


def hold_new_files():
    """Files nobody has opened yet: missing before the switch, local after."""
    names = sorted(n for n in os.listdir(LIB) if n.endswith(".py"))
    at = [0]

    def check():
        for n in names[at[0]:at[0] + 5]:
            with open(LIB + "/" + n, "rb") as f:
                need(len(f.read()) == os.fstat(f.fileno()).st_size, n)
        at[0] += 5
    return check


for hold in (hold_open, hold_copied_up, hold_unlinked, hold_maps, hold_flock, hold_posix_lock, hold_posix_lock_lower, hold_socket,
             hold_fifo, hold_inotify, hold_cwd, hold_chroot, hold_new_files):
    held[hold.__name__[5:]] = hold()
threading.Thread(target=ticker, daemon=True).start()
print("holding", len(held), flush=True)
for line in sys.stdin:
    if line.strip() == "end":
        break
    for name, check in held.items():
        try:
            check()
            print("ok", name)
        except Exception as e:
            print("BAD", name, repr(e))
    print("gap %.1f ms" % (longest[0] * 1000))
    longest[0] = 0.0
    print("checked", len(held), flush=True)
