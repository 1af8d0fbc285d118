#!/usr/bin/env python3
"""Has bands of a picture computed, and compares every point to what it reckons itself: both use the
same arithmetic, so all must be equal to the last bit."""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench import Scenario, expect, main

WIDTH, HEIGHT, STEPS = 96, 64, 120


def steps_of(x, y):
    a = b = 0.0
    steps = 0
    while steps < STEPS and a * a + b * b <= 4:
        a, b = a * a - b * b + x, 2 * a * b + y
        steps += 1
    return steps


def picture():
    rows = [-1.25 + 2.5 * row / HEIGHT for row in range(HEIGHT)]
    return [[steps_of(-2.25 + 3 * at / WIDTH, y) for at in range(WIDTH)] for y in rows]


class Scientific(Scenario):
    app = "scientific"

    def prepare(self, client):
        self.rows = picture()

    def step(self, client):
        kind = client.random.random()
        if kind < 0.05:
            client.get("").expect(200)
        elif kind < 0.1:
            client.ask("refused", "GET", "rows", query={"width": "many"}).json(400)
        else:
            start = client.random.randrange(HEIGHT)
            self.band(client, start, client.random.randint(start + 1, min(HEIGHT, start + 16)))

    def band(self, client, start, end):
        query = {"width": WIDTH, "height": HEIGHT, "from": start, "to": end, "steps": STEPS}
        answer = client.ask("rows", "GET", "rows", query=query).expect(200)
        rows = [json.loads(line) for line in answer.body.splitlines()]
        expect([row["row"] for row in rows] == list(range(start, end)), "rows are missing:", rows)
        for row in rows:
            expect(row["steps"] == self.rows[row["row"]], "row", row["row"], "is wrong:", row)


if __name__ == "__main__":
    main(Scientific)
