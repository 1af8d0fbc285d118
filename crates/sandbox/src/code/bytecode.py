"""Compiles Python files to bytecode, without running any of them.

Arguments: the folder, where it will be seen by the function, and CPU seconds. Ends when its
standard input does, so that it does not outlive whoever started it.
"""

import compileall
import os
import py_compile
import resource
import signal
import sys
import threading

MEMORY = 2 << 30


def leave_with_parent():
    while os.read(0, 4096):
        pass
    os.killpg(0, signal.SIGKILL)


def main():
    folder, seen_as, seconds = sys.argv[1], sys.argv[2], int(sys.argv[3])
    # A file that is made to be hard to compile harms nobody else.
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    sys.setrecursionlimit(2000)
    threading.Thread(target=leave_with_parent, daemon=True).start()
    compileall.compile_dir(
        folder,
        quiet=2,
        force=True,
        stripdir=folder,
        prependdir=seen_as,
        workers=1,
        invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
    )


main()
