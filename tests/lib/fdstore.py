# SPDX-License-Identifier: Apache-2.0
"""A service manager's part of sd_notify(3) with FDSTORE: runs a program, keeps the descriptors it hands over, and starts it again with
them when it dies by a signal. Usage: fdstore.py SOCKET COMMAND...; each event is a line on stdout; ends when the program ends by itself."""
import os
import select
import signal
import socket
import subprocess
import sys


def start(argv, path, store):
    fds = [(name, fd) for name, both in store.items() for fd in both]
    env = dict(os.environ, NOTIFY_SOCKET=path, LISTEN_FDS=str(len(fds)), LISTEN_FDNAMES=":".join(n for n, _ in fds))

    def child():
        high = [os.dup2(fd, 200 + i) for i, (_, fd) in enumerate(fds)]
        for i, fd in enumerate(high):
            os.dup2(fd, 3 + i, inheritable=True)
        os.environ["LISTEN_PID"] = env["LISTEN_PID"] = str(os.getpid())
        os.execvpe(argv[0], argv, env)

    pid = os.fork()
    if pid == 0:
        child()
    print("started", pid, len(fds), flush=True)
    return pid


def main():
    path, argv, store = sys.argv[1], sys.argv[2:], {}
    s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    s.bind(path)
    pid = start(argv, path, store)
    while True:
        pidfd = os.pidfd_open(pid)
        died = False
        while not died:
            for fd in select.select([s, pidfd], [], [])[0]:
                if fd == pidfd:
                    died = True
                    continue
                data, fds, _, _ = socket.recv_fds(s, 4096, 2)
                said = dict(line.split("=", 1) for line in data.decode().splitlines())
                if said.get("FDSTORE") == "1":
                    store[said["FDNAME"]] = fds
                if said.get("FDSTOREREMOVE") == "1":
                    for fd in store.pop(said["FDNAME"], []):
                        os.close(fd)
                print(*[f"{k}={v}" for k, v in said.items()], len(fds), flush=True)
        os.close(pidfd)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        print("ended", status, flush=True)
        if status >= 0:
            sys.exit(status)
        pid = start(argv, path, store)


signal.signal(signal.SIGINT, signal.SIG_IGN)
main()
