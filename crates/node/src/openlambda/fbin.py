"""Runs `f.bin`, a program, as `OpenLambda` does: what was sent is its only argument, and its answer
is what it leaves in /tmp/output."""

import errno
import os
import subprocess

PROGRAM = os.path.join(os.path.dirname(os.path.abspath(__file__)), "f.bin")
OUTPUT = "/tmp/output"


def call(argument):
    """The status and the body of the answer."""
    try:
        # What a call before left is no answer of this one.
        os.unlink(OUTPUT)
    except FileNotFoundError:
        pass
    try:
        done = subprocess.run(
            [PROGRAM, argument], stdin=subprocess.DEVNULL, env={**os.environ, "RUST_LOG": "info"})
    except ValueError:
        return "400 Bad Request", b"the body holds a NUL, which no argument of a program may"
    except OSError as error:
        if error.errno == errno.E2BIG:
            return "413 Content Too Large", b"the body is too long to be an argument of a program"
        return "500 Internal Server Error", b"f.bin cannot be started: %s" % str(error).encode()
    if done.returncode > 0:
        told = b"Function failed with error_code: %d" % done.returncode
        return "500 Internal Server Error", told
    if done.returncode < 0:
        return "500 Internal Server Error", b"Function failed with signal: %d" % -done.returncode
    try:
        with open(OUTPUT, "rb") as output:
            return "200 OK", output.read()
    except FileNotFoundError:
        return "200 OK", b""


def app(environ, start_response):
    status, body = call(environ["wsgi.input"].read())
    start_response(status, [
        ("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(body)))])
    return [body]
