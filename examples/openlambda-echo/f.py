"""A function as OpenLambda takes it: `f` in `f.py` gets what was posted, as Python values, and what
it returns is the answer.

    fractus deploy examples/openlambda-echo
    curl -d '{"words": ["to", "and", "fro"]}' http://127.0.0.1:8080/run/openlambda-echo
"""


def f(event):
    return {"echo": event, "kind": type(event).__name__}
