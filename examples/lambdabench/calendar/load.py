#!/usr/bin/env python3
"""Many people book few rooms: whatever overlaps must be refused, and nothing booked may be lost."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench import Scenario, expect, main

ROOMS, DAYS = 3, 2


def clock(minutes):
    return f"{minutes // 60:02}:{minutes % 60:02}"


def overlap(one, other):
    return one["start"] < other["end"] and other["start"] < one["end"]


class Calendar(Scenario):
    app = "calendar"

    def prepare(self, client):
        # By room and day, what was booked by id. What is cancelled is forgotten before.
        self.paths = [f"rooms/{self.name}-{room}/2030-01-{day + 1:02}"
                      for room in range(ROOMS) for day in range(DAYS)]
        self.booked = {path: {} for path in self.paths}

    def step(self, client):
        path, kind = client.random.choice(self.paths), client.random.random()
        if kind < 0.5:
            self.book(client, path)
        elif kind < 0.7:
            self.cancel(client, path)
        elif kind < 0.9:
            self.look(client, path)
        elif kind < 0.95:
            text = client.ask("ics", "GET", f"{path}.ics").expect(200).body.decode()
            expect(text.startswith("BEGIN:VCALENDAR\r\n"), "no calendar file:", text[:80])
            expect(text.count("BEGIN:VEVENT") == text.count("END:VEVENT"), "a half event")
        else:
            wrong = {"start": "10:00", "end": "09:00", "title": "backwards"}
            client.ask("refused", "POST", path, wrong).json(400)

    def book(self, client, path):
        start = 5 * client.random.randrange(0, 270)
        wanted = {
            "start": clock(start), "end": clock(start + 5 * client.random.randint(1, 6)),
            "title": f"of client {client.number}; a, b",
        }
        answer = client.ask("book", "POST", path, wanted)
        value = answer.json(201, 409)
        if answer.status == 409:
            expect(overlap(value["conflict"], wanted), value["conflict"], "is apart from", wanted)
            return
        with self.lock:
            for other in self.booked[path].values():
                expect(not overlap(other, wanted), path, "has both", other, "and", wanted)
            self.booked[path][value["id"]] = wanted

    def cancel(self, client, path):
        with self.lock:
            ids = list(self.booked[path])
            chosen = client.random.choice(ids) if ids else None
            self.booked[path].pop(chosen, None)
        if chosen:
            client.ask("cancel", "DELETE", f"{path}/{chosen}").json(200)

    def look(self, client, path):
        bookings = client.ask("day", "GET", path).json()["bookings"]
        for one, other in zip(bookings, bookings[1:]):
            expect(one["end"] <= other["start"], "out of order, or overlapping:", one, other)

    def finish(self, client):
        for path in self.paths:
            bookings = client.ask("day", "GET", path).json()["bookings"]
            there = {booking.pop("id"): booking for booking in bookings}
            expect(there == self.booked[path], path, "has", there, "not", self.booked[path])


if __name__ == "__main__":
    main(Calendar)
