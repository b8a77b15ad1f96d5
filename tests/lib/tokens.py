#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""tokens.py KEY CERT USER:PASSWORD  a token service as docker-registry's "auth: token" wants one (issuer "tests").

Prints its port. Without the password it refuses. Tokens are RS256, their x5c is CERT. Only what is asked for is granted."""
import base64
import http.server
import json
import re
import subprocess
import sys
import time
import urllib.parse

KEY, CERT, PASSWORD = sys.argv[1:4]


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def der():
    with open(CERT) as f:
        return re.sub(r"-----[^-]+-----|\s", "", f.read())


def token(service, scopes):
    access = []
    for s in scopes:
        kind, name, actions = s.split(":")
        access.append({"type": kind, "name": name, "actions": actions.split(",")})
    now = int(time.time())
    claims = {"iss": "tests", "sub": "user", "aud": service, "exp": now + 300, "nbf": now - 5, "iat": now, "jti": "1",
              "access": access}
    head = {"typ": "JWT", "alg": "RS256", "x5c": [der()]}
    text = b64(json.dumps(head).encode()) + "." + b64(json.dumps(claims).encode())
    signed = subprocess.run(["openssl", "dgst", "-sha256", "-sign", KEY], input=text.encode(), capture_output=True,
                            check=True)
    return text + "." + b64(signed.stdout)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def answer(self, status, doc):
        body = json.dumps(doc).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        query = urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query)
        given = self.headers.get("Authorization", "").removeprefix("Basic ")
        if given != base64.b64encode(PASSWORD.encode()).decode():
            self.answer(401, {"details": "who are you?"})
            return
        self.answer(200, {"token": token(query["service"][0], query.get("scope", [])), "expires_in": 300})


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
