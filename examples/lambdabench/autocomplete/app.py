"""Completes words, the most frequent ones first: a plain WSGI application.

`words.txt` has the words of Fractus' own documents, each with how often it stands there. The index
is made once for each instance, and answers may be cached by anyone.

    fractus deploy examples/lambdabench/autocomplete
"""

import json
from collections import defaultdict
from pathlib import Path
from urllib.parse import parse_qs

HERE = Path(__file__).parent
SHOWN_MAX = 20
CACHED = ("cache-control", "public, max-age=300")


def index_of(lines):
    """For each prefix its best words: a word's place in the file is its rank."""
    index = defaultdict(list)
    for line in lines:
        word, count = line.split()
        for end in range(len(word) + 1):
            best = index[word[:end]]
            if len(best) < SHOWN_MAX:
                best.append({"word": word, "count": int(count)})
    return dict(index)


INDEX = index_of((HERE / "words.txt").read_text().splitlines())
PAGE = (HERE / "kit" / "head.html").read_text().replace("TITLE", "Words")
PAGE += (HERE / "index.html").read_text()


def complete(query):
    """What `?q=fun&n=5` asks for, as status and value."""
    prefix = query.get("q", [""])[0].strip().lower()
    shown = query.get("n", ["8"])[0]
    if not shown.isdecimal() or not 1 <= int(shown) <= SHOWN_MAX:
        return "400 Bad Request", {"error": f"n is a number from 1 to {SHOWN_MAX}"}
    return "200 OK", {"prefix": prefix, "words": INDEX.get(prefix, [])[: int(shown)]}


def app(environ, start_response):
    path, kind = environ["PATH_INFO"], "application/json"
    if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
        status, body = "405 Method Not Allowed", json.dumps({"error": "use GET"})
    elif path in ("", "/"):
        status, body, kind = "200 OK", PAGE, "text/html; charset=utf-8"
    elif path == "/complete":
        status, value = complete(parse_qs(environ["QUERY_STRING"]))
        body = json.dumps(value)
    else:
        status, body = "404 Not Found", json.dumps({"error": "no such path"})
    headers = [("content-type", kind)] + [CACHED] * status.startswith("200")
    start_response(status, headers)
    return [body.encode()]
