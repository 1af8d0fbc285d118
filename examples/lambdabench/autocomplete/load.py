#!/usr/bin/env python3
"""Types words letter by letter, and compares each answer to a search of the whole list."""

import functools
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench import Scenario, expect, main

LINES = Path(__file__).with_name("words.txt").read_text().splitlines()
WORDS = [{"word": word, "count": int(count)} for word, count in map(str.split, LINES)]


@functools.cache
def best(prefix, shown):
    return [entry for entry in WORDS if entry["word"].startswith(prefix)][:shown]


class Autocomplete(Scenario):
    app = "autocomplete"

    def step(self, client):
        kind = client.random.random()
        if kind < 0.02:
            expect(b"<datalist" in client.get("").expect(200).body, "no page")
        elif kind < 0.04:
            client.ask("refused", "GET", "complete", query={"q": "a", "n": "many"}).json(400)
        else:
            word = client.random.choice(WORDS)["word"]
            # Now and then one that there is not.
            word += client.random.choice(["", "", "", "q"])
            for end in range(1, min(len(word), 6) + 1):
                self.complete(client, word[:end], client.random.choice((5, 8)))
            self.complete(client, word, 8)

    def complete(self, client, prefix, shown):
        answer = client.ask("complete", "GET", "complete", query={"q": prefix, "n": shown})
        words, right = answer.json()["words"], best(prefix, shown)
        expect(words == right, prefix, "gave", words, "not", right)


if __name__ == "__main__":
    main(Autocomplete)
