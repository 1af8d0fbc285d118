#!/usr/bin/env python3
"""Every client moves prices of its own across limits and checks, all in one book of rules: each
crossing must make one alert, however many check at once."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench import Scenario, expect, main


class StockAlert(Scenario):
    app = "stock-alert"

    def prepare(self, client):
        self.watched = []
        before = client.ask("alerts", "GET", "alerts").json()["alerts"]
        self.before = before[-1]["number"] if before else 0

    def step(self, client):
        kind = client.random.random()
        if kind < 0.05:
            client.get("").expect(200)
        elif kind < 0.1:
            client.ask("refused", "PUT", "prices/ACME", {"price": -1}).json(400)
        else:
            self.cross(client)

    def cross(self, client):
        """Moves a price to one side of a rule's limit, and sees whether an alert was made."""
        if not hasattr(client, "rule"):
            client.rule = self.watch(client)
        rule = client.rule
        is_past = client.random.random() < 0.5
        is_above = is_past == (rule["when"] == "above")
        price = 100 + (1 if is_above else -1) * client.random.randint(1, 5000) / 100
        client.ask("price", "PUT", f"prices/{rule['symbol']}", {"price": price}).json()
        made = client.ask("check", "POST", "check").json()["alerts"]
        if is_past and not rule["is_told"]:
            rule["alerts"] += 1
        rule["is_told"] = is_past
        own = [alert for alert in made if alert["rule"] == rule["id"]]
        expect(len(own) <= 1, "one check made several alerts of a rule:", own)
        if client.random.random() < 0.3:
            self.look(client, rule)

    def watch(self, client):
        symbol = f"{self.name}x{client.number}"[-16:]
        when = client.random.choice(["above", "below"])
        fields = {"symbol": symbol, "when": when, "limit": 100}
        rule = {**client.ask("rule", "POST", "rules", fields).json(201), "alerts": 0,
                "is_told": False}
        with self.lock:
            self.watched.append(rule)
        return rule

    def look(self, client, rule):
        query = {"rule": rule["id"]}
        alerts = client.ask("alerts", "GET", "alerts", query=query).json()["alerts"]
        expect(len(alerts) <= rule["alerts"], rule, "has", len(alerts), "alerts")
        numbers = [alert["number"] for alert in alerts]
        expect(numbers == sorted(set(numbers)), "alerts out of order:", numbers)
        past = [a["price"] > 100 if rule["when"] == "above" else a["price"] < 100 for a in alerts]
        expect(all(past), "an alert without cause:", alerts)
        return len(alerts)

    def finish(self, client):
        query = {"after": self.before}
        made = client.ask("alerts", "GET", "alerts", query=query).json()["alerts"]
        # The book keeps the newest thousand, of all rules.
        is_whole = len(made) < 1000
        for rule in self.watched:
            seen = self.look(client, rule)
            expect(not is_whole or seen == rule["alerts"], rule, "has", seen, "alerts")
            client.ask("remove", "DELETE", f"rules/{rule['id']}").json()
        left = client.ask("rules", "GET", "rules").json()["rules"]
        expect(not {rule["id"] for rule in self.watched} & set(left), "rules were not removed")


if __name__ == "__main__":
    main(StockAlert)
