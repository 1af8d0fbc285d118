"""A blog in Flask: posts and comments in a bucket, an Atom feed, and pages that caches may keep.

    fractus bucket create blog
    fractus deploy examples/lambdabench/blog
"""

import re
import uuid
from datetime import UTC, datetime
from pathlib import Path

from flask import Flask, abort, make_response, redirect, render_template, request, url_for

from kit.store import Bucket, Busy

BUCKET = "blog"
POSTS_MAX, COMMENTS_MAX, SHOWN = 500, 1000, 20

app = Flask(__name__)
HEAD = Path(__file__).with_name("kit").joinpath("head.html").read_text()


def cached(template, seconds, kind="text/html", **values):
    """An answer that caches keep for so long, and ask for again with its tag."""
    answer = make_response(render_template(template, **values))
    answer.headers["content-type"] = f"{kind}; charset=utf-8"
    answer.headers["cache-control"] = f"public, max-age={seconds}"
    answer.add_etag()
    return answer.make_conditional(request)


def field(name, most):
    """What a form or JSON says."""
    fields = request.get_json() if request.is_json else request.form
    if not isinstance(fields, dict):
        abort(400, "the body is not a JSON object")
    text = str(fields.get(name, "")).strip()
    if not 0 < len(text) <= most:
        abort(400, f"{name} must have 1 to {most} characters")
    return text


def now():
    return datetime.now(UTC).isoformat(timespec="seconds")


@app.template_filter()
def paragraphs(text):
    return [part.strip() for part in re.split(r"\r?\n\s*\r?\n", text) if part.strip()]


@app.context_processor
def head():
    return {"head": HEAD}


@app.errorhandler(Busy)
def busy(error):
    return str(error), 503, {"retry-after": "1"}


@app.get("/")
def index():
    with Bucket(BUCKET) as bucket:
        posts = bucket.get("index")[0] or []
    return cached("index.html", 2, posts=posts[:SHOWN], all=len(posts))


@app.get("/feed.xml")
def feed():
    with Bucket(BUCKET) as bucket:
        posts = bucket.get("index")[0] or []
        full = [bucket.get(f"posts/{post['slug']}")[0] for post in posts[:SHOWN]]
    return cached("feed.xml", 10, "application/atom+xml", posts=full)


@app.get("/posts/<slug>")
def post(slug):
    with Bucket(BUCKET) as bucket:
        found, _ = bucket.get(f"posts/{slug}") if re.fullmatch("[a-z0-9-]+", slug) else (None, None)
        if found is None:
            abort(404, "there is no such post")
        comments = bucket.get(f"comments/{slug}")[0] or []
    return cached("post.html", 2, post=found, comments=comments)


@app.post("/posts")
def write():
    title, text = field("title", 200), field("text", 50_000)
    words = re.sub("[^a-z0-9]+", "-", title.lower()).strip("-")[:60]
    slug = f"{words}-{uuid.uuid4().hex[:8]}".lstrip("-")
    entry = {"slug": slug, "title": title, "at": now()}
    with Bucket(BUCKET) as bucket:
        if not bucket.put(f"posts/{slug}", {**entry, "text": text}):
            abort(503, "another post has taken this address just now: try again")
        # Last, so that the list names nothing that is not there.
        bucket.update("index", lambda posts: [entry, *(posts or [])][:POSTS_MAX])
    return redirect(url_for("post", slug=slug), 303)


@app.post("/posts/<slug>/comments")
def comment(slug):
    entry = {"by": field("by", 80), "text": field("text", 2000), "at": now()}

    def change(comments):
        comments = comments or []
        if len(comments) >= COMMENTS_MAX:
            abort(409, "there is no room for more comments")
        return [*comments, entry]

    with Bucket(BUCKET) as bucket:
        if not re.fullmatch("[a-z0-9-]+", slug) or bucket.get(f"posts/{slug}")[0] is None:
            abort(404, "there is no such post")
        bucket.update(f"comments/{slug}", change)
    # An address of its own, so that no cache shows the page as it was before.
    return redirect(url_for("post", slug=slug, after=uuid.uuid4().hex[:8]), 303)
