"""What handlers of HTTP events share: routes, JSON answers and pages."""

import base64
import json
import re
from pathlib import Path

from kit.store import Busy

HERE = Path(__file__).parent
ROUTES = []


class Refused(Exception):
    """An answer that is an error, with its status."""

    def __init__(self, status, why):
        super().__init__(why)
        self.status = status


class Request:
    """What a handler wants of an event in payload format 2.0."""

    def __init__(self, event):
        self.method = event["requestContext"]["http"]["method"].replace("HEAD", "GET")
        self.path = event["rawPath"]
        self.query = event.get("queryStringParameters") or {}
        body = event.get("body") or ""
        self.body = base64.b64decode(body) if event.get("isBase64Encoded") else body.encode()

    def json(self):
        """The body's fields."""
        try:
            fields = json.loads(self.body)
        except ValueError as error:
            raise Refused(400, f"the body is not JSON: {error}") from error
        if not isinstance(fields, dict):
            raise Refused(400, "the body is not a JSON object")
        return fields

    def number(self, name, default, least, most):
        """A whole number of the query, between bounds."""
        try:
            number = int(self.query.get(name, default))
        except ValueError as error:
            raise Refused(400, f"{name} is not a whole number") from error
        if not least <= number <= most:
            raise Refused(400, f"{name} is not between {least} and {most}")
        return number


def text_of(fields, name, most=200):
    """A field that must be text."""
    text = fields.get(name)
    if not isinstance(text, str) or not 0 < len(text.strip()) <= most:
        raise Refused(400, f"{name} must be text of 1 to {most} characters")
    return text.strip()


def route(method, path):
    """Makes a function answer a path; `{name}` in it stands for letters, digits and `-`."""
    pattern = re.compile(re.sub(r"{(\w+)}", r"(?P<\1>[A-Za-z0-9-]{1,64})", path))

    def add(function):
        ROUTES.append((method, pattern, function))
        return function

    return add


def answer(status, value):
    """A JSON answer."""
    return {
        "statusCode": status,
        "headers": {"content-type": "application/json", "cache-control": "no-store"},
        "body": json.dumps(value),
    }


def page(title, file):
    """A page: what `file` beside `kit` holds, with the head that all have."""
    head = (HERE / "head.html").read_text().replace("TITLE", title)
    headers = {"content-type": "text/html; charset=utf-8", "cache-control": "public, max-age=60"}
    body = head + (HERE.parent / file).read_text()
    return {"statusCode": 200, "headers": headers, "body": body}


def serve(event):
    """Answers an event by the route that fits."""
    request, allowed = Request(event), set()
    for method, pattern, function in ROUTES:
        match = pattern.fullmatch(request.path)
        if match and method != request.method:
            allowed.add(method)
        elif match:
            try:
                return function(request, **match.groupdict())
            except Refused as refused:
                return answer(refused.status, {"error": str(refused)})
            except Busy as busy:
                return answer(503, {"error": str(busy)})
    if allowed:
        return answer(405, {"error": f"use {' or '.join(sorted(allowed))}"})
    return answer(404, {"error": "no such path"})
