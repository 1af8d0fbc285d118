"""What the load scripts share: clients, checks, figures. Each `load.py` describes its traffic as a
`Scenario` and hands it to `main`; nothing but Python's own library is needed.
"""

import argparse
import collections
import http.client
import json
import random
import sys
import threading
import time
from urllib.parse import urlencode, urlsplit

TIMEOUT_S = 60
# Answers that say that the platform or the application could not, rather than a wrong answer.
FAILED = {429, 500, 502, 503, 504}


class Wrong(Exception):
    """An answer that must not be: the load ends."""


class Failed(Exception):
    """No answer, or one that says so: counted as an error."""


def expect(is_right, *why):
    """Ends the load unless something holds."""
    if not is_right:
        raise Wrong(" ".join(str(part) for part in why))


class Answer:
    def __init__(self, what, status, headers, body):
        self.what, self.status, self.headers, self.body = what, status, headers, body

    def expect(self, *statuses):
        expect(self.status in statuses, self.what, "was answered", self.status, self.body[:300])
        return self

    def json(self, *statuses):
        """The body of an answer that has one of these statuses, 200 if none is named."""
        self.expect(*(statuses or (200,)))
        expect(self.headers.get_content_type() == "application/json", self.what, "is no JSON")
        return json.loads(self.body)


class Client:
    """One connection to the application, used for one request after the other."""

    def __init__(self, url, number):
        parts = urlsplit(url)
        self.host, self.root = parts.netloc, parts.path.rstrip("/")
        self.number, self.random = number, random.Random()
        self.connection, self.times = None, []

    def ask(self, label, method, path, body=None, query=None, **headers):
        """Sends bytes, or other values as JSON. `label` is what the figures call it."""
        if not isinstance(body, (bytes, type(None))):
            body = json.dumps(body).encode()
            headers.setdefault("content_type", "application/json")
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        target = f"{self.root}/{path}" + (f"?{urlencode(query)}" if query else "")
        start = time.perf_counter()
        try:
            if self.connection is None:
                self.connection = http.client.HTTPConnection(self.host, timeout=TIMEOUT_S)
            self.connection.request(method, target, body, headers)
            answer = self.connection.getresponse()
            content = answer.read()
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise Failed(f"{method} {target}: {type(error).__name__} {error}") from error
        self.times.append((label, time.perf_counter() - start))
        if answer.status in FAILED:
            raise Failed(f"{method} {target}: {answer.status} {content[:300]}")
        return Answer(f"{method} {target}", answer.status, answer.headers, content)

    def get(self, path, **more):
        return self.ask("page", "GET", path, **more)

    def close(self):
        if self.connection is not None:
            self.connection.close()
            self.connection = None


class Scenario:
    """The traffic of one application. What clients share is guarded by `lock`."""

    app = "the application"

    def __init__(self):
        self.lock = threading.Lock()
        # Every load has names of its own, so that loads do not meet.
        self.name = f"{random.SystemRandom().getrandbits(40):x}"

    def prepare(self, client):
        """Once, before the clients start."""

    def step(self, client):
        """What a client does again and again: some requests, and checks of their answers."""
        raise NotImplementedError

    def finish(self, client):
        """Once, after all: what must be true at the end."""


class Load:
    """A scenario under way."""

    def __init__(self, scenario, url, clients):
        self.scenario, self.stop = scenario, threading.Event()
        self.outside = Client(url, clients)
        self.clients = [Client(url, number) for number in range(clients)]
        self.errors, self.wrong, self.took = [], None, 0.0

    def guarded(self, run, client):
        try:
            run(client)
        except Failed as error:
            self.errors.append(str(error))
            # Who was refused does not ask again at once.
            self.stop.wait(0.05)
        except Exception as error:
            self.wrong = self.wrong or f"{type(error).__name__}: {error}"
            self.stop.set()

    def work(self, client, until):
        while time.perf_counter() < until and not self.stop.is_set():
            self.guarded(self.scenario.step, client)
        client.close()

    def run(self, seconds):
        self.guarded(self.scenario.prepare, self.outside)
        if self.wrong or self.errors:
            return
        start = time.perf_counter()
        threads = [threading.Thread(target=self.work, args=(client, start + seconds))
                   for client in self.clients]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.took = time.perf_counter() - start
        if not self.wrong:
            self.guarded(self.scenario.finish, self.outside)
        self.outside.close()

    def figures(self):
        """What came out, for `--json`."""
        by_label = collections.defaultdict(list)
        for client in self.clients:
            for label, took in client.times:
                by_label[label].append(took)
        every = [took for times in by_label.values() for took in times]
        return {
            "app": self.scenario.app,
            "clients": len(self.clients),
            "seconds": round(self.took, 3),
            "per_second": round(len(every) / self.took, 1) if self.took else 0.0,
            **figures_of(every),
            "errors": len(self.errors),
            "first_error": self.errors[0] if self.errors else None,
            "wrong": self.wrong,
            "is_right": not (self.wrong or self.errors) and bool(every),
            "requests_by_kind": {label: figures_of(by_label[label]) for label in sorted(by_label)},
        }


def figures_of(times):
    times = sorted(times)

    def at(part):
        return round(1000 * times[int((len(times) - 1) * part)], 2) if times else None

    return {"requests": len(times), "p50_ms": at(0.5), "p99_ms": at(0.99)}


def table(rows):
    """Rows of texts as columns, the first to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    for first, *others in rows:
        line = first.ljust(widths[0])
        print(line + "".join(f"  {cell:>{width}}" for cell, width in zip(others, widths[1:])))


def show(figures):
    rows = [("REQUEST", "COUNT", "P50 MS", "P99 MS")]
    kinds = {**figures["requests_by_kind"], "all": figures}
    rows += [(label, str(kind["requests"]), str(kind["p50_ms"]), str(kind["p99_ms"]))
             for label, kind in kinds.items()]
    table(rows)
    print(f"{figures['app']}: {figures['clients']} clients, {figures['seconds']} s, "
          f"{figures['per_second']} requests/s, {figures['errors']} errors")
    if figures["first_error"]:
        print("first error:", figures["first_error"], file=sys.stderr)
    if figures["wrong"]:
        print("WRONG ANSWER:", figures["wrong"], file=sys.stderr)
    if not figures["requests"]:
        print("no request was answered", file=sys.stderr)


def main(scenario):
    """The command line of a load script. Exit code 1 if anything was wrong or failed."""
    parser = argparse.ArgumentParser(
        description=f"Loads {scenario.app} with mixed traffic and checks every answer.",
        epilog="Exit code 0 if all was right, 1 if any answer was wrong or missing.",
    )
    parser.add_argument("url", help=f"where it is, as http://127.0.0.1:8080/run/{scenario.app}/")
    parser.add_argument("--seconds", type=float, default=10, help="how long [default: 10]")
    parser.add_argument("--clients", type=int, default=8, help="how many at once [default: 8]")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    asked = parser.parse_args()
    if urlsplit(asked.url).scheme != "http" or asked.clients < 1 or asked.seconds <= 0:
        parser.error("a URL with http://, at least one client and more than no time are needed")
    load = Load(scenario(), asked.url, asked.clients)
    load.run(asked.seconds)
    figures = load.figures()
    if asked.json:
        print(json.dumps(figures, indent=2))
    else:
        show(figures)
    sys.exit(0 if figures["is_right"] else 1)
