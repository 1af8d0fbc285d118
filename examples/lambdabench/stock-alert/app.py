"""Watches prices, every few minutes by its cron trigger: a rule whose price went past its limit
makes one alert, and is armed again when the price has come back.

Prices are objects of their own. Rules, whether each is armed, and alerts are one object, so that an
alert and the disarming of its rule are one change: checks that run at once make no alert twice.

    fractus bucket create stock-alert
    fractus deploy examples/lambdabench/stock-alert
"""

import datetime
import uuid

from kit import web
from kit.store import Bucket

BUCKET, BOOK = "stock-alert", "book"
RULES_MAX, ALERTS_MAX = 500, 1000


def opened(book):
    return book or {"rules": {}, "alerts": [], "alerts_ever": 0}


def positive(fields, name):
    number = fields.get(name)
    if type(number) not in (int, float) or not 0 < number < 1e12:
        raise web.Refused(400, f"{name} must be a number above 0")
    return number


def is_past(rule, price):
    return price > rule["limit"] if rule["when"] == "above" else price < rule["limit"]


def check():
    """Compares all prices to all rules; the alerts that this made."""
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    made = []

    def change(book):
        # The book is read before the prices. If another check changes it meanwhile, perhaps by
        # newer prices, this one is not written but made anew.
        book = opened(book)
        symbols = {rule["symbol"] for rule in book["rules"].values()}
        prices = {symbol: bucket.get(f"prices/{symbol}")[0] for symbol in sorted(symbols)}
        made.clear()
        is_same = True
        for name, rule in book["rules"].items():
            price = prices[rule["symbol"]]
            if price is None or is_past(rule, price) != rule["armed"]:
                continue
            is_same, rule["armed"] = False, not rule["armed"]
            if not rule["armed"]:
                book["alerts_ever"] += 1
                made.append({"number": book["alerts_ever"], "rule": name, "price": price,
                             "symbol": rule["symbol"], "at": now})
        book["alerts"] = (book["alerts"] + made)[-ALERTS_MAX:]
        return None if is_same else book

    with Bucket(BUCKET) as bucket:
        bucket.update(BOOK, change)
    for alert in made:
        print("alert:", alert["symbol"], "at", alert["price"])
    return made


@web.route("GET", "/")
def page(request):
    return web.page("Stock alerts", "index.html")


@web.route("POST", "/check")
def check_now(request):
    return web.answer(200, {"alerts": check()})


@web.route("PUT", "/prices/{symbol}")
def set_price(request, symbol):
    price = positive(request.json(), "price")
    with Bucket(BUCKET) as bucket:
        bucket.update(f"prices/{symbol}", lambda _: price)
    return web.answer(200, {"symbol": symbol, "price": price})


@web.route("GET", "/rules")
def rules(request):
    with Bucket(BUCKET) as bucket:
        book = opened(bucket.get(BOOK)[0])
    return web.answer(200, {"rules": book["rules"]})


@web.route("POST", "/rules")
def add_rule(request):
    fields, name = request.json(), str(uuid.uuid4())
    when, symbol = fields.get("when"), web.text_of(fields, "symbol", 16)
    if when not in ("above", "below") or not symbol.isalnum() or not symbol.isascii():
        raise web.Refused(400, "when is above or below, symbol letters and digits")
    rule = {"symbol": symbol, "when": when, "limit": positive(fields, "limit"), "armed": True}

    def change(book):
        book = opened(book)
        if len(book["rules"]) >= RULES_MAX:
            raise web.Refused(409, f"there are {RULES_MAX} rules already")
        book["rules"][name] = rule
        return book

    with Bucket(BUCKET) as bucket:
        bucket.update(BOOK, change)
    return web.answer(201, {"id": name, **rule})


@web.route("DELETE", "/rules/{name}")
def remove_rule(request, name):
    def change(book):
        book = opened(book)
        if book["rules"].pop(name, None) is None:
            raise web.Refused(404, "there is no such rule")
        return book

    with Bucket(BUCKET) as bucket:
        bucket.update(BOOK, change)
    return web.answer(200, {"id": name})


@web.route("GET", "/alerts")
def alerts(request):
    """The alerts after a number, or of one rule, the oldest first."""
    after, rule = request.number("after", 0, 0, 2**53), request.query.get("rule")
    with Bucket(BUCKET) as bucket:
        book = opened(bucket.get(BOOK)[0])
    found = [alert for alert in book["alerts"]
             if alert["number"] > after and rule in (None, alert["rule"])]
    return web.answer(200, {"alerts": found})


def lambda_handler(event, context):
    if "http" not in event.get("requestContext", {}):
        # Not a request, so the time has come.
        return {"alerts": len(check())}
    return web.serve(event)
