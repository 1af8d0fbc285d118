#!/usr/bin/env python3
"""Readers, writers and commenters: nothing written may be lost, all of it is shown as text, and
pages carry what caches need."""

import html
import sys
import xml.etree.ElementTree as xml
from pathlib import Path
from urllib.parse import urlsplit

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench import Scenario, expect, main

ATOM = "{http://www.w3.org/2005/Atom}"


class Blog(Scenario):
    app = "blog"

    def prepare(self, client):
        # By slug, the title and how many comments were made.
        self.posts = {}
        self.write(client)

    def step(self, client):
        kind = client.random.random()
        with self.lock:
            slug = client.random.choice(list(self.posts))
        if kind < 0.25:
            self.index(client)
        elif kind < 0.6:
            self.read(client, f"posts/{slug}", slug)
        elif kind < 0.7:
            self.feed(client)
        elif kind < 0.9:
            self.comment(client, slug)
        elif kind < 0.96:
            self.write(client)
        else:
            client.ask("missing", "GET", f"posts/{self.name}").expect(404)

    def follow(self, client, answer):
        """Where a form led to, below where the blog is."""
        target = urlsplit(answer.expect(303).headers["location"])
        expect(target.path.startswith(f"{client.root}/posts/"), "led out of the blog:", target)
        path = target.path.removeprefix(f"{client.root}/")
        return path + (f"?{target.query}" if target.query else "")

    def write(self, client):
        title = f"On <{self.name}> & {client.random.getrandbits(32)}"
        fields = {"title": title, "text": "The first.\n\nThe second, <b>not</b> bold."}
        path = self.follow(client, client.ask("write", "POST", "posts", fields))
        slug = path.removeprefix("posts/")
        with self.lock:
            self.posts[slug] = {"title": title, "comments": 0}
        page = self.read(client, path, slug)
        expect(page.count("<p>The ") == 2, "paragraphs are missing in", page)
        expect("&lt;b&gt;not&lt;/b&gt;" in page, "what was written is not shown as text:", page)

    def read(self, client, path, slug):
        """A page; and again with its tag, when nothing may come."""
        answer = client.ask("post", "GET", path).expect(200)
        text = answer.body.decode()
        title = html.escape(self.posts[slug]["title"])
        expect(f"<h1>{title}</h1>" in text, path, "has no title", title)
        expect(answer.headers["cache-control"] == "public, max-age=2", dict(answer.headers))
        if client.random.random() < 0.2:
            tag = answer.headers["etag"]
            again = client.ask("post again", "GET", path, if_none_match=tag).expect(200, 304)
            expect(again.status == 200 or not again.body, "304 with a body")
            expect(again.status == 304 or again.headers["etag"] != tag, "the same page again")
        return text

    def index(self, client):
        text = client.ask("index", "GET", "").expect(200).body.decode()
        expect(text.count("<article>") in range(1, 21), "articles:", text.count("<article>"))

    def feed(self, client):
        answer = client.ask("feed", "GET", "feed.xml").expect(200)
        expect(answer.headers.get_content_type() == "application/atom+xml", "not a feed")
        feed = xml.fromstring(answer.body)
        entries = feed.findall(f"{ATOM}entry")
        expect(len(entries) in range(1, 21), "the feed has", len(entries), "entries")
        for entry in entries:
            expect("/posts/" in entry.find(f"{ATOM}link").get("href"), "an entry without link")

    def comment(self, client, slug):
        text = f"{client.random.getrandbits(64):x} <i>"
        fields = {"by": f"client {client.number}", "text": text}
        answer = client.ask("comment", "POST", f"posts/{slug}/comments", fields)
        with self.lock:
            self.posts[slug]["comments"] += 1
        page = self.read(client, self.follow(client, answer), slug)
        expect(html.escape(text) in page, "a comment is not where its form led to:", text)

    def finish(self, client):
        for slug, post in self.posts.items():
            # An address that no cache has seen.
            page = client.ask("post", "GET", f"posts/{slug}", query={"at": "end"}).expect(200)
            there = page.body.count(b'<article class="comment">')
            expect(there == post["comments"], slug, "has", there, "comments, not", post)


if __name__ == "__main__":
    main(Blog)
