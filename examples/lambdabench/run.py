#!/usr/bin/env python3
"""Deploys all applications to a running node, loads each in turn, and prints one table."""

import argparse
import json
import subprocess
import sys
import tomllib
from pathlib import Path

from bench import table

HERE = Path(__file__).resolve().parent
APPS = sorted(manifest.parent.name for manifest in HERE.glob("*/fractus.toml"))
# How long a load may take beyond its time: its first calls start instances.
SLACK_S = 120


def arguments():
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="Exit code 0 if every answer of every application was right, 1 otherwise.",
    )
    parser.add_argument("apps", nargs="*", metavar="APP", help=f"some of {', '.join(APPS)}")
    parser.add_argument("--fractus", default="fractus", metavar="PATH",
                        help="the binary [default: fractus]")
    parser.add_argument("--data", default="fractus-data", type=Path, metavar="DIR",
                        help="the node's data directory [default: fractus-data]")
    parser.add_argument("--seconds", type=float, default=10, help="of each load [default: 10]")
    parser.add_argument("--clients", type=int, default=8, help="of each load [default: 8]")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    asked = parser.parse_args()
    if unknown := sorted(set(asked.apps) - set(APPS)):
        parser.error(f"no such application: {', '.join(unknown)}")
    if not (asked.data / "node.json").is_file():
        parser.error(f"no node runs on {asked.data}: `fractus up`, or name its directory by --data")
    return asked


def run(command):
    """What a command prints; why it failed, if it did, as an exception."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError((done.stderr or done.stdout).strip())
    return done.stdout


def deploy(asked, app):
    """Makes an application's buckets, and a version of it."""
    fractus = [asked.fractus, "--data", str(asked.data)]
    manifest = tomllib.loads((HERE / app / "fractus.toml").read_text())
    access = manifest.get("access", {})
    for bucket in access.get("buckets", []) + access.get("writes", []):
        run([*fractus, "bucket", "create", bucket])
    run([*fractus, "deploy", str(HERE / app)])


def load(asked, edge, app):
    """The figures of a load."""
    command = [sys.executable, str(HERE / app / "load.py"), f"http://{edge}/run/{app}/", "--json",
               "--seconds", str(asked.seconds), "--clients", str(asked.clients)]
    done = subprocess.run(command, capture_output=True, text=True, check=False,
                          timeout=asked.seconds + SLACK_S)
    if not done.stdout:
        raise RuntimeError(done.stderr.strip())
    return json.loads(done.stdout)


def tried(asked, edge, app):
    """The same, with whatever went wrong on the way as a figure too."""
    try:
        deploy(asked, app)
        return load(asked, edge, app)
    except (RuntimeError, OSError, ValueError, subprocess.TimeoutExpired) as error:
        return {"app": app, "is_right": False, "wrong": str(error)}


def row(figures):
    names = ("requests", "per_second", "p50_ms", "p99_ms", "errors")
    cells = [str(figures.get(name, "–")) for name in names]
    return [figures["app"], *cells, "right" if figures["is_right"] else "WRONG"]


def main():
    asked = arguments()
    edge = json.loads((asked.data / "node.json").read_text())["edge"]
    every = []
    for app in asked.apps or APPS:
        every.append(tried(asked, edge, app))
        if not every[-1]["is_right"]:
            why = every[-1]["wrong"] or every[-1]["first_error"] or "nothing was answered"
            print(f"{app}: {why}", file=sys.stderr)
    if asked.json:
        print(json.dumps(every, indent=2))
    else:
        heads = ["APPLICATION", "REQUESTS", "PER SECOND", "P50 MS", "P99 MS", "ERRORS", "ANSWERS"]
        table([heads, *map(row, every)])
    sys.exit(0 if all(figures["is_right"] for figures in every) else 1)


if __name__ == "__main__":
    main()
