"""Sells the seats of shows, each at most once: a sold seat is an object that only one buyer can
make, since it is written with `If-None-Match: *`.

    fractus bucket create ticketing
    fractus deploy examples/lambdabench/ticketing
"""

import secrets

from kit import web
from kit.store import Bucket

BUCKET = "ticketing"
SEATS = [f"{row}{number}" for row in "ABCDEF" for number in range(1, 9)]


@web.route("GET", "/")
def page(request):
    return web.page("Tickets", "index.html")


@web.route("GET", "/shows/{show}")
def seats(request, show):
    with Bucket(BUCKET) as bucket:
        sold = [seat for seat in SEATS if bucket.get(f"{show}/{seat}")[0]]
    return web.answer(200, {"show": show, "seats": SEATS, "sold": sold})


@web.route("POST", "/shows/{show}/seats/{seat}")
def buy(request, show, seat):
    if seat not in SEATS:
        raise web.Refused(404, f"there is no seat {seat}")
    holder, ticket = web.text_of(request.json(), "holder"), secrets.token_hex(12)
    with Bucket(BUCKET) as bucket:
        if not bucket.put(f"{show}/{seat}", {"holder": holder, "ticket": ticket}):
            raise web.Refused(409, f"seat {seat} is sold")
    return web.answer(201, {"show": show, "seat": seat, "ticket": ticket})


def sale(bucket, request, show, seat):
    """Who bought a seat, shown only to who has the ticket, and the object's tag."""
    found, tag = bucket.get(f"{show}/{seat}") if seat in SEATS else (None, None)
    if found is None:
        raise web.Refused(404, f"seat {seat} is not sold")
    shown = request.query.get("ticket", "")
    if not secrets.compare_digest(shown.encode(), found["ticket"].encode()):
        raise web.Refused(403, "this is not the ticket for that seat")
    return found, tag


@web.route("GET", "/shows/{show}/seats/{seat}")
def check(request, show, seat):
    with Bucket(BUCKET) as bucket:
        found, _ = sale(bucket, request, show, seat)
    return web.answer(200, {"show": show, "seat": seat, "holder": found["holder"]})


@web.route("DELETE", "/shows/{show}/seats/{seat}")
def give_back(request, show, seat):
    with Bucket(BUCKET) as bucket:
        _, tag = sale(bucket, request, show, seat)
        if not bucket.delete(f"{show}/{seat}", tag):
            raise web.Refused(409, f"seat {seat} was given back already")
    return web.answer(200, {"show": show, "seat": seat})


def lambda_handler(event, context):
    return web.serve(event)
