"""Runs the conformance tests against a node.

    python3 conformance.py --endpoint URL --edge URL --data DIR [--only NAME]... [--list]

NAME is a group (`invoke`), a test (`invoke.test_event`), or the beginning of a test's name.
"""

import argparse
import importlib
import signal
import sys
import time
import traceback
from pathlib import Path

GROUPS = [
    "functions",
    "invoke",
    "versions_aliases",
    "urls",
    "concurrency",
    "async_",
    "mappings",
    "layers",
    "tags_policy",
    "signatures",
    "limits",
    "malformed",
    "names",
    "cli",
    "sts",
]

HERE = Path(__file__).resolve().parent

# What a test may take unless it says otherwise, in seconds.
SECONDS = 120


class TookTooLong(Exception):
    """A test did not end."""


def tests(only):
    """Names and functions of the tests that are asked for."""
    found = {}
    for group in GROUPS:
        module = importlib.import_module(group)
        for name, function in vars(module).items():
            if name.startswith("test_") and callable(function):
                found[f"{group}.{name}"] = function
    for wanted in only:
        if not any(chosen(name, [wanted]) for name in found):
            sys.exit(f"there is no test {wanted!r}")
    return {name: test for name, test in found.items() if not only or chosen(name, only)}


def chosen(name, only):
    """Whether a test is one of those."""
    return any(name.split(".")[0] == wanted or name.startswith(wanted) for wanted in only)


def run(cloud, name, test):
    """Runs one test; gives what went wrong."""
    from kit import Case

    def ring(*_):
        raise TookTooLong(name)

    case = Case(cloud, name)
    signal.signal(signal.SIGALRM, ring)
    signal.alarm(getattr(test, "seconds", SECONDS))
    wrong = None
    try:
        test(case)
    except Exception as error:  # noqa: BLE001 - whatever it is, the test failed
        wrong = told(error)
    finally:
        signal.alarm(SECONDS)
    try:
        left = case.end()
    except Exception as error:  # noqa: BLE001
        left = [told(error)]
    finally:
        signal.alarm(0)
    if wrong is None and left:
        wrong = "cleaning up: " + "\n".join(str(error) for error in left)
    return wrong


def told(error):
    """An error, and where it was in these files."""
    whole = traceback.TracebackException.from_exception(error)
    ours = [frame for frame in whole.stack if Path(frame.filename).resolve().parent == HERE]
    whole.stack = traceback.StackSummary.from_list(ours)
    return "".join(whole.format(chain=False))


def main():
    """Runs what the command line says; fails if any test does, or none was run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--endpoint", help="URL of the node's listener for AWS's protocols")
    parser.add_argument("--edge", help="URL of the node's edge")
    parser.add_argument("--data", help="data directory of the node")
    parser.add_argument("--only", action="append", default=[], metavar="NAME")
    parser.add_argument("--list", action="store_true", help="name the tests and end")
    arguments = parser.parse_args()
    selected = tests(arguments.only)
    if arguments.list:
        print("\n".join(selected))
        return 0
    if not (arguments.endpoint and arguments.edge and arguments.data):
        parser.error("--endpoint, --edge and --data are needed")

    from kit import Cloud

    cloud = Cloud(arguments.endpoint, arguments.edge, arguments.data)
    failed = []
    for name, test in selected.items():
        begin = time.monotonic()
        wrong = run(cloud, name, test)
        print(f"{'FAILED' if wrong else 'ok':6} {time.monotonic() - begin:6.1f} s  {name}")
        if wrong:
            failed.append(name)
            print("    " + wrong.rstrip().replace("\n", "\n    "))
        sys.stdout.flush()
    for name in failed:
        print(f"failed: {name}")
    print(f"{len(selected) - len(failed)} passed, {len(failed)} failed")
    return 1 if failed or not selected else 0


if __name__ == "__main__":
    sys.exit(main())
