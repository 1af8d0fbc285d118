"""Runs the Python of the event; answers what that leaves in `answer`."""

import ctypes
import errno
import os
import socket
import struct
import sys
import threading
import time

TOKEN = os.urandom(8).hex()
CALLS = 0

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long


def syscall(number, *arguments):
    """What a system call answers, or minus errno."""
    ctypes.set_errno(0)
    arguments = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    result = libc.syscall(ctypes.c_long(number), *arguments)
    return -ctypes.get_errno() if result == -1 else result


def attempt(call, *arguments):
    """What a call answers, or the name of its error."""
    try:
        return call(*arguments)
    except OSError as error:
        return errno.errorcode.get(error.errno, str(error))


def read(path):
    with open(path, "rb") as file:
        return file.read().decode("utf-8", "replace")


def frame(kind, payload=b""):
    """A frame to the node."""
    return struct.pack("<BI", ord(kind), len(payload)) + payload


def f(event):
    global CALLS
    CALLS += 1
    scope = dict(globals())
    exec(compile(event["code"], "<test>", "exec"), scope)
    return scope.get("answer")
