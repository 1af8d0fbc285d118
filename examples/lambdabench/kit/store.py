"""A bucket's objects, as JSON, at `http://store.internal/`: through the proxy of the sandbox.

No change of anyone's is lost: what is new is written with `If-None-Match: *`, and what is changed
with `If-Match` and the tag that was read.
"""

import http.client
import json
import os
import random
import time
from urllib.parse import urlsplit

STORE = "http://store.internal"
# How long a change that others are quicker than is tried again.
PATIENCE_S = 10
PAUSE_MAX_S = 0.1


class Busy(Exception):
    """Others changed the object each time between reading and writing it."""


class Bucket:
    """To be used for one call, `with Bucket("blog") as bucket`: one connection that ends with it,
    since one that is kept may be closed while the instance waits."""

    def __init__(self, name):
        proxy = urlsplit(os.environ["HTTP_PROXY"]).netloc
        self.connection = http.client.HTTPConnection(proxy, timeout=10)
        self.name = name

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.connection.close()

    def _ask(self, method, key, good, body=None, **headers):
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        self.connection.request(method, f"{STORE}/{self.name}/{key}", body, headers)
        answer = self.connection.getresponse()
        text = answer.read()
        if answer.status not in good:
            why = text.decode(errors="replace").strip()
            raise RuntimeError(f"{method} {self.name}/{key}: {answer.status} {why}")
        return answer, text

    def get(self, key):
        """The object's value and its tag; None and None if there is none."""
        answer, text = self._ask("GET", key, {200, 404})
        if answer.status == 404:
            return None, None
        return json.loads(text), answer.headers["etag"]

    def put(self, key, value, tag=None):
        """Makes the object, or with a tag replaces the one that has it; False if it cannot."""
        condition = {"If_Match": tag} if tag else {"If_None_Match": "*"}
        body = json.dumps(value).encode()
        good = {200, 201, 204, 412}
        answer, _ = self._ask("PUT", key, good, body, Content_Type="application/json", **condition)
        return answer.status != 412

    def delete(self, key, tag):
        """Deletes the object that has this tag; False if another has taken its place."""
        answer, _ = self._ask("DELETE", key, {200, 204, 404, 412}, If_Match=tag)
        return answer.status < 300

    def update(self, key, change):
        """Replaces the object by what `change` makes of its value (None if there is none). It is
        called again whenever somebody else was quicker; None from it changes nothing."""
        pause, until = 0.002, time.monotonic() + PATIENCE_S
        while time.monotonic() < until:
            value, tag = self.get(key)
            value = change(value)
            if value is None or self.put(key, value, tag):
                return
            time.sleep(random.uniform(0, pause))
            pause = min(2 * pause, PAUSE_MAX_S)
        raise Busy(f"{key} is changed by too many at once: try again")
