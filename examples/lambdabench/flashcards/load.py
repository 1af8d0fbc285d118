#!/usr/bin/env python3
"""Every client learns a deck of its own for many days, beside one who reckons the days by the rules
of SuperMemo 2 too; and all add cards to one deck, none of which may be lost."""

import datetime
import math
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench import Scenario, expect, main

START, CARDS = datetime.date(2030, 1, 1), 5


def review(card, quality, day):
    """What must come out."""
    ease, interval, repetitions = card["ease"], card["interval"], card["repetitions"]
    if quality < 3:
        interval, repetitions = 1, 0
    else:
        missing = 5 - quality
        ease = max(130, ease + 10 - missing * (8 + 2 * missing))
        interval = [1, 6][repetitions] if repetitions < 2 else math.ceil(interval * ease / 100)
        interval, repetitions = min(interval, 36_500), repetitions + 1
    due = day + datetime.timedelta(days=interval)
    return {**card, "ease": ease, "interval": interval, "repetitions": repetitions,
            "due": due.isoformat()}


class Flashcards(Scenario):
    app = "flashcards"

    def prepare(self, client):
        self.decks, self.shared = {}, set()

    def step(self, client):
        kind = client.random.random()
        if kind < 0.03:
            client.get("").expect(200)
        elif kind < 0.3:
            fields = {"front": f"by {client.number}", "back": "x", "on": START.isoformat()}
            with self.lock:
                is_full = len(self.shared) >= 300
            if not is_full:
                card = client.ask("add shared", "POST", f"decks/{self.name}/cards", fields)
                with self.lock:
                    self.shared.add(card.json(201)["id"])
        else:
            self.learn(client)

    def learn(self, client):
        """A day of a deck: what is due is what must be, and each review comes out right."""
        deck = f"decks/{self.name}-{client.number}"
        own = self.decks.setdefault(client.number, {"day": START, "cards": {}})
        day = own["day"].isoformat()
        while len(own["cards"]) < CARDS:
            number = len(own["cards"])
            fields = {"front": f"{number} + {number}", "back": str(2 * number), "on": day}
            card = client.ask("add", "POST", f"{deck}/cards", fields).json(201)
            own["cards"][card["id"]] = card
        due = client.ask("due", "GET", f"{deck}/due", query={"on": day}).json()["cards"]
        right = [card for card in own["cards"].values() if card["due"] <= day]
        right.sort(key=lambda card: card["due"])
        expect(due == right, "due on", day, "are", due, "not", right)
        for card in due:
            quality = client.random.choice([0, 2, 3, 4, 4, 5, 5])
            path = f"{deck}/cards/{card['id']}/review"
            fields = {"quality": quality, "on": day}
            learnt = client.ask("review", "POST", path, fields).json()
            card = review(card, quality, own["day"])
            expect(learnt == card, "a review made", learnt, "not", card)
            own["cards"][card["id"]] = card
        next_due = min(card["due"] for card in own["cards"].values())
        own["day"] = datetime.date.fromisoformat(next_due)
        if own["day"].year > 2900:
            self.forget(client, deck, own)

    def forget(self, client, deck, own):
        for card in own["cards"]:
            client.ask("remove", "DELETE", f"{deck}/cards/{card}").json()
        own.update(day=START, cards={})

    def finish(self, client):
        cards = client.ask("deck", "GET", f"decks/{self.name}").json()["cards"]
        there = {card["id"] for card in cards}
        expect(there == self.shared, "lost or strange:", there ^ self.shared)
        for number, own in self.decks.items():
            cards = client.ask("deck", "GET", f"decks/{self.name}-{number}").json()["cards"]
            expect(cards == list(own["cards"].values()), "deck", number, "is not as it was learnt")


if __name__ == "__main__":
    main(Flashcards)
