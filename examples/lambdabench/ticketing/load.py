#!/usr/bin/env python3
"""Many buyers want the same seats: each must be sold once, and no ticket may stop to be valid."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench import Scenario, expect, main

HALLS = 4


class Ticketing(Scenario):
    app = "ticketing"

    def prepare(self, client):
        self.seats = client.get(f"shows/{self.name}-0").json()["seats"]
        # By show and seat, the ticket of whoever has it. A seat is given up before it is given
        # back, since the next buyer may be quicker than the answer.
        self.tickets = {}

    def step(self, client):
        show = f"{self.name}-{client.random.randrange(HALLS)}"
        seat, kind = client.random.choice(self.seats), client.random.random()
        if kind < 0.05:
            self.look(client, show)
        elif kind < 0.1:
            client.get("").expect(200)
        elif kind < 0.4:
            self.give_back(client, show, seat)
        else:
            self.buy(client, show, seat)

    def look(self, client, show):
        hall = client.ask("hall", "GET", f"shows/{show}").json()
        expect(set(hall["sold"]) <= set(self.seats), "seats that there are not:", hall["sold"])

    def buy(self, client, show, seat):
        path = f"shows/{show}/seats/{seat}"
        answer = client.ask("buy", "POST", path, {"holder": f"client {client.number}"})
        value = answer.json(201, 409)
        if answer.status == 201:
            with self.lock:
                had = self.tickets.setdefault((show, seat), value["ticket"])
            expect(had == value["ticket"], seat, "was sold twice: tickets", had, value["ticket"])
            query = {"ticket": value["ticket"]}
            if client.random.random() < 0.5:
                holder = client.ask("check", "GET", path, query=query)
                # Somebody may have given it back.
                with self.lock:
                    is_still_ours = self.tickets.get((show, seat)) == value["ticket"]
                holder.expect(*([200] if is_still_ours else [200, 403, 404]))

    def give_back(self, client, show, seat):
        path = f"shows/{show}/seats/{seat}"
        with self.lock:
            ticket = self.tickets.pop((show, seat), None)
        if ticket is None:
            client.ask("forged", "DELETE", path, query={"ticket": "none"}).json(403, 404)
        else:
            client.ask("give back", "DELETE", path, query={"ticket": ticket}).json(200)

    def finish(self, client):
        for hall in range(HALLS):
            show = f"{self.name}-{hall}"
            sold = set(client.ask("hall", "GET", f"shows/{show}").json()["sold"])
            held = {seat for name, seat in self.tickets if name == show}
            expect(sold == held, show, "has sold", sorted(sold), "but tickets are", sorted(held))
        for (show, seat), ticket in list(self.tickets.items())[:20]:
            query = {"ticket": ticket}
            client.ask("check", "GET", f"shows/{show}/seats/{seat}", query=query).json(200)


if __name__ == "__main__":
    main(Ticketing)
