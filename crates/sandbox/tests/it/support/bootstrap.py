"""A program that speaks the Runtime API by hand, and runs the Python of each event."""

import json
import os
import socket
import sys
import time

BASE = "/2018-06-01/runtime/"
HOST, _, PORT = os.environ["AWS_LAMBDA_RUNTIME_API"].partition(":")
CALLS = 0


class Connection:
    def __init__(self):
        self.socket = socket.create_connection((HOST, int(PORT)))
        self.file = self.socket.makefile("rb")

    def send(self, method, path, headers=(), body=b""):
        lines = ["%s %s HTTP/1.1" % (method, BASE + path), "Host: api"]
        lines += ["%s: %s" % header for header in headers]
        if not any(name == "Transfer-Encoding" for name, _ in headers):
            lines.append("Content-Length: %d" % len(body))
        self.socket.sendall("\r\n".join(lines + ["", ""]).encode() + body)

    def hear(self):
        line = self.file.readline().split()
        if not line:
            return 0, {}, b""
        headers = {}
        while True:
            field = self.file.readline().strip().decode()
            if not field:
                break
            name, _, value = field.partition(":")
            headers[name.lower()] = value.strip()
        return int(line[1]), headers, self.file.read(int(headers.get("content-length", 0)))

    def ask(self, *request):
        self.send(*request)
        return self.hear()

    def answer(self, request_id, value):
        """Answers an invocation, and tells with which status that was received."""
        path = "invocation/%s/response" % request_id
        return self.ask("POST", path, (), json.dumps(value).encode())[0]


def main():
    global CALLS
    api = Connection()
    while True:
        status, headers, event = api.ask("GET", "invocation/next")
        CALLS += 1
        request_id = headers["lambda-runtime-aws-request-id"]
        scope = dict(globals(), api=api, headers=headers, request_id=request_id)
        exec(compile(json.loads(event)["code"], "<test>", "exec"), scope)
        api = scope["api"]
        if "answer" in scope:
            api.answer(request_id, scope["answer"])
