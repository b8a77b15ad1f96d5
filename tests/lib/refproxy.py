#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""refproxy.py HOST:PORT  a registry with the referrers API of OCI Distribution 1.1 before one that has it not (Debian's).

Prints its own port. Manifests with a subject are remembered and answered with OCI-Subject; GET referrers lists them,
one a page."""
import hashlib
import http.client
import http.server
import json
import re
import sys
import threading

BACK = sys.argv[1]
referrers = {}
lock = threading.Lock()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def answer(self, status, body, **fields):
        self.send_response(status)
        for k, v in fields.items():
            self.send_header(k.replace("_", "-"), v)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def listed(self, digest, at):
        with lock:
            rows = referrers.get(digest, [])
        fields = {"Content_Type": "application/vnd.oci.image.index.v1+json"}
        if at + 1 < len(rows):
            fields["Link"] = '<%s?at=%d>; rel="next"' % (self.path.partition("?")[0], at + 1)
        body = json.dumps({"schemaVersion": 2, "mediaType": fields["Content_Type"], "manifests": rows[at:at + 1]})
        self.answer(200, body.encode(), **fields)

    def note(self, body):
        """The subject of a manifest, if it has one."""
        doc = json.loads(body)
        subject = doc.get("subject", {}).get("digest")
        if subject:
            row = {"mediaType": self.headers["Content-Type"], "digest": "sha256:" + hashlib.sha256(body).hexdigest(),
                   "size": len(body), "artifactType": doc.get("artifactType") or doc["config"]["mediaType"]}
            with lock:
                referrers.setdefault(subject, []).append(row)
        return subject

    def forward(self):
        found = re.fullmatch(r"/v2/.+/referrers/(sha256:[0-9a-f]{64})(?:[?]at=([0-9]+))?", self.path)
        if found:
            self.listed(found.group(1), int(found.group(2) or 0))
            return
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        fields = {k: v for k, v in self.headers.items() if k not in ("Connection", "Content-Length", "Transfer-Encoding")}
        back = http.client.HTTPConnection(BACK)
        back.request(self.command, self.path, body, fields)
        reply = back.getresponse()
        data = reply.read()
        out = {k.replace("-", "_"): v for k, v in reply.getheaders()
               if k not in ("Content-Length", "Connection", "Transfer-Encoding")}
        if self.command == "PUT" and "/manifests/" in self.path and reply.status == 201:
            subject = self.note(body)
            if subject:
                out["OCI_Subject"] = subject
        if self.command == "HEAD":
            self.send_response(reply.status)
            for k, v in reply.getheaders():
                self.send_header(k, v)
            self.end_headers()
        else:
            self.answer(reply.status, data, **out)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = forward


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
