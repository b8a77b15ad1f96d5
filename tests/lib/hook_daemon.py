#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# A daemon for locum-hook that answers as it is told and notes what it is asked.
# Usage: hook_daemon.py SOCKET LOG ANSWERS
# ANSWERS: JSON, "METHOD PATH" (up to a "?") to [STATUS, BODY], or to null: no answer ever. What is not in it gets 200 {}.
# It ends with the shell that started it.
import json
import os
import socket
import sys
import threading

answers = json.loads(sys.argv[3])


def serve(conn):
    text = b""
    while b"\r\n\r\n" not in text:
        part = conn.recv(65536)
        if not part:
            return
        text += part
    asked = " ".join(text.decode().split(" ")[:2]).split("?")[0]
    with open(sys.argv[2], "a", encoding="utf-8") as log:
        log.write(asked + "\n")
    answer = answers.get(asked, [200, {}])
    if answer:
        body = json.dumps(answer[1])
        conn.sendall(f"HTTP/1.1 {answer[0]} X\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
        conn.close()
    else:
        held.append(conn)


held = []
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1] + ".new")
listener.listen(16)
listener.settimeout(0.5)
parent = os.getppid()
os.rename(sys.argv[1] + ".new", sys.argv[1])
while os.getppid() == parent:
    try:
        conn = listener.accept()[0]
    except socket.timeout:
        continue
    conn.setblocking(True)
    threading.Thread(target=serve, args=(conn,), daemon=True).start()
