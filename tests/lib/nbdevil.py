# SPDX-License-Identifier: Apache-2.0
"""A client of NBD that does not keep to it. Raw sockets; what is refused is told from what is done.

usage: nbdevil.py refused SOCKET SIZE         requests that no disk of SIZE bytes has: each is refused, the connection lives on
       nbdevil.py names SOCKET NAME...        exports that must not exist: each is refused
       nbdevil.py broken SOCKET               what is no protocol at all: the next client is served
       nbdevil.py fuzz SOCKET CONNECTIONS SEED
"""

import random
import socket
import struct
import sys

READ, WRITE, DISC, FLUSH, TRIM, CACHE, ZERO, STATUS = range(8)
EPERM, EINVAL, ENOSPC, ENOTSUP = 1, 22, 28, 95
IHAVEOPT = 0x49484156454F5054
REQUEST, REPLY = 0x25609513, 0x67446698
GO, LIST, EXPORT_NAME, STARTTLS, INFO, STRUCTURED, LIST_META, SET_META = 7, 3, 1, 5, 6, 8, 9, 10
TOP = 2**64


class Gone(Exception):
    pass


class Client:
    def __init__(self, path, seconds=10):
        self.s = socket.socket(socket.AF_UNIX)
        self.s.settimeout(seconds)
        self.s.connect(path)
        magic, opt, flags = struct.unpack(">QQH", self.take(18))
        assert (magic, opt) == (0x4E42444D41474943, IHAVEOPT) and flags & 1
        self.cookie = 0

    def take(self, n):
        got = b""
        while len(got) < n:
            try:
                more = self.s.recv(n - len(got))
            except ConnectionResetError:
                more = b""
            if not more:
                raise Gone()
            got += more
        return got

    def send(self, data):
        try:
            self.s.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            raise Gone() from None

    def flags(self, value=3):
        self.send(struct.pack(">I", value))

    def option(self, opt, data=b"", length=None, magic=IHAVEOPT):
        self.send(struct.pack(">QII", magic, opt, len(data) if length is None else length) + data)

    def answer(self):
        magic, opt, kind, n = struct.unpack(">QIII", self.take(20))
        assert magic == 0x3E889045565A9
        return kind, self.take(n)

    def go(self, name=b"disk", opt=GO):
        """None, or the error."""
        self.option(opt, struct.pack(">I", len(name)) + name + struct.pack(">H", 0))
        while True:
            kind, _ = self.answer()
            if kind == 1:
                return None
            if kind & 1 << 31:
                return kind

    def ready(self, name=b"disk"):
        self.flags()
        assert self.go(name) is None
        return self

    def request(self, cmd, off=0, n=0, flags=0, payload=b"", magic=REQUEST):
        self.cookie += 1
        self.send(struct.pack(">IHHQQI", magic, flags, cmd, self.cookie, off % TOP, n) + payload)

    def reply(self):
        magic, err, cookie = struct.unpack(">IIQ", self.take(16))
        assert magic == REPLY and cookie == self.cookie
        return err

    def do(self, *args, **kw):
        self.request(*args, **kw)
        return self.reply()


def served(path):
    """An honest client: reads, and leaves in order."""
    c = Client(path).ready()
    assert c.do(READ, 0, 4096) == 0
    c.take(4096)
    c.request(DISC)


def refused(path, size):
    def both(cmd, off, n):
        return [(cmd, off, n, {"payload": b"x" * n} if cmd == WRITE else {})]

    rows = []
    for cmd in READ, WRITE, TRIM, CACHE, ZERO:
        for off, n in (size, 1), (size - 1, 2), (1 << 62, 512), (1 << 63, 512), (TOP - 1, 1), (TOP - 1, 2), (TOP - 512, 512):
            rows += both(cmd, off, n)
    for cmd in READ, TRIM, CACHE, ZERO:
        rows += both(cmd, 1, 0xFFFFFFFF) + both(cmd, TOP - 0xFFFFFFFF, 0xFFFFFFFF)
    rows += [(READ, 0, 0, {}), (200, 0, 512, {}), (FLUSH, 1, 0, {}), (FLUSH, 0, 1, {}), (READ, 0, 512, {"flags": 0x8000})]
    rows += [(STATUS, 0, 512, {})]
    c = Client(path).ready()
    for cmd, off, n, kw in rows:
        err = c.do(cmd, off, n, **kw)
        wanted = (ENOSPC, EINVAL) if cmd in (WRITE, ZERO) else (EINVAL,)
        assert err in wanted, (cmd, hex(off), n, err)
    assert c.do(FLUSH) == 0
    print(len(rows), "requests refused on one connection")


def names(path, wanted):
    for name in wanted:
        for opt in GO, INFO:
            c = Client(path)
            c.flags()
            assert c.go(name.encode(), opt) == 1 << 31 | 6, name
        c = Client(path)
        c.flags()
        c.option(EXPORT_NAME, name.encode())
        try:
            c.take(10)
            raise AssertionError(name)
        except Gone:
            pass
    print(len(wanted), "names refused")


def broken_options():
    def long_name(c):
        c.option(GO, struct.pack(">I", 5000) + b"x" * 5000 + b"\0\0")
        assert c.answer()[0] & 1 << 31

    yield "flags of another protocol", lambda c: c.flags(0xFFFFFFFF)
    yield "options without magic", lambda c: (c.flags(), c.option(GO, b"", magic=0))
    yield "an option of 4 GB", lambda c: (c.flags(), c.option(GO, b"", length=0xFFFFFFFF))
    yield "an export's name of 4 GB", lambda c: (c.flags(), c.option(GO, struct.pack(">I", 0xFFFFFFFF) + b"\0\0"))
    yield "a name longer than its option", lambda c: (c.flags(), c.option(GO, struct.pack(">I", 9) + b"disk\0\0"))
    yield "a name of 5000 bytes", lambda c: (c.flags(), long_name(c))
    yield "half an option", lambda c: (c.flags(), c.send(struct.pack(">QI", IHAVEOPT, GO)))
    yield "nothing", lambda c: None


def broken_requests():
    yield "a request without magic", lambda c: c.request(READ, 0, 512, magic=0xDEADBEEF)
    yield "half a request", lambda c: c.send(struct.pack(">IHH", REQUEST, 0, READ))
    yield "half of what is to be written", lambda c: c.request(WRITE, 0, 1 << 20, payload=b"x" * 1000)
    yield "4 GB to be written", lambda c: c.request(WRITE, 0, 0xFFFFFFFF, payload=b"x" * 100000)
    yield "a read whose answer nobody takes", lambda c: [c.request(READ, 0, 32 << 20) for _ in range(4)]
    yield "a read of 4 GB", lambda c: c.request(READ, 0, 0xFFFFFFFF)
    yield "no goodbye", lambda c: c.do(FLUSH)


def broken(path):
    n = 0
    for ready, cases in (False, broken_options()), (True, broken_requests()):
        for name, case in cases:
            c = Client(path)
            try:
                case(c.ready() if ready else c)
            except Gone:
                pass
            served(path)  # while the other is still there
            c.s.close()
            served(path)
            n += 1
            print("#", name)
    # options that nobody knows are answered, and it goes on
    c = Client(path)
    c.flags()
    for opt in 0, 4, 11, 99, 0xFFFFFFFF:
        c.option(opt, b"x" * 10)
        assert c.answer()[0] == 1 << 31 | 1, opt
    assert c.go() is None and c.do(FLUSH) == 0
    print(n, "ways to break it, and the next was served")


INTERESTING = [0, 1, 2, 511, 512, 4095, 4096, 65536, 1 << 20, 1 << 31, 1 << 32, 1 << 62, 1 << 63, TOP - 1, TOP - 4096]


def noise(r, most=200):
    return bytes(r.getrandbits(8) for _ in range(r.randrange(most)))


def number(r):
    return max(0, r.choice(INTERESTING) + r.choice([0, 0, -1, 1, r.randrange(1 << 20)])) % TOP


def fuzz_options(r, c):
    c.flags(r.choice([1, 3, 3, 3, r.getrandbits(32)]))
    for _ in range(r.randrange(1, 20)):
        opt = r.choice([GO, LIST, EXPORT_NAME, STARTTLS, INFO, STRUCTURED, LIST_META, SET_META, r.getrandbits(32)])
        name = r.choice([b"disk", b"", b"nvram", b"../disk", noise(r)])
        data = r.choice([b"", noise(r), struct.pack(">I", number(r) % 2**32) + name + noise(r, 8),
                         struct.pack(">I", len(name)) + name + struct.pack(">I", number(r) % 2**32) + noise(r, 40)])
        c.option(opt, data, r.choice([None] * 8 + [number(r) % 2**32]), r.choice([IHAVEOPT] * 9 + [r.getrandbits(64)]))


def fuzz_requests(r, c):
    c.flags()
    if r.random() < 0.5:
        c.option(STRUCTURED)
        c.answer()
    if c.go() is not None:
        raise AssertionError("no disk")
    for _ in range(r.randrange(1, 40)):
        cmd = r.choice([READ, WRITE, FLUSH, TRIM, CACHE, ZERO, STATUS, r.getrandbits(16)])
        n = number(r) % 2**32
        length = r.choice([n, n % 65536])
        payload = bytes(r.choice([length, length, r.randrange(1000)]) % (1 << 17)) if cmd == WRITE else b""
        c.request(cmd, number(r), length, r.choice([0, 0, 0, 1, 2, 4, 8, 16, r.getrandbits(16)]), payload,
                  r.choice([REQUEST] * 30 + [r.getrandbits(32)]))


def fuzz(path, connections, seed):
    for i in range(connections):
        r = random.Random(seed * 1000003 + i)
        c = Client(path)
        try:
            r.choice([fuzz_options, fuzz_requests, fuzz_requests, lambda r, c: c.send(noise(r, 2000))])(r, c)
            if r.random() < 0.5:
                c.s.shutdown(socket.SHUT_WR)
            c.s.settimeout(0.1)  # it may well wait for more
            while r.random() < 0.9 and c.s.recv(1 << 16):
                pass
        except (Gone, socket.timeout, OSError):
            pass
        c.s.close()
        if i % 50 == 0:
            served(path)
    served(path)
    print(connections, "connections, and the next was served")


if __name__ == "__main__":
    what, where, *rest = sys.argv[1:]
    if what == "refused":
        refused(where, int(rest[0]))
    elif what == "names":
        names(where, rest)
    elif what == "broken":
        broken(where)
    elif what == "fuzz":
        fuzz(where, int(rest[0]), int(rest[1]))
