"""An HTTP function as it would be deployed to AWS Lambda, behind a function URL or an HTTP API.

    fractus deploy examples/python-lambda
    curl 'http://127.0.0.1:8080/run/python-lambda/hello?name=Ada'
"""

import base64
import json
import os

# What stands here runs once for each instance, what stands in the handler for each request.
GREETING = os.environ["GREETING"]
ROUTES = {}


def route(method, path):
    def add(function):
        ROUTES[method, path] = function
        return function
    return add


def answer(status, value):
    return {
        "statusCode": status,
        "headers": {"content-type": "application/json"},
        "body": json.dumps(value),
    }


def body_of(event):
    body = event.get("body", "")
    return base64.b64decode(body) if event.get("isBase64Encoded") else body.encode()


@route("GET", "/hello")
def hello(event, context):
    name = event.get("queryStringParameters", {}).get("name", "you")
    return answer(200, {"greeting": f"{GREETING}, {name}!"})


@route("POST", "/sum")
def add_up(event, context):
    try:
        numbers = json.loads(body_of(event))
        total = sum(numbers)
    except (ValueError, TypeError) as error:
        return answer(400, {"error": f"a list of numbers is needed: {error}"})
    return answer(200, {"sum": total, "of": len(numbers)})


@route("GET", "/about")
def about(event, context):
    return answer(200, {
        "function": context.function_name,
        "request": context.aws_request_id,
        "remaining_ms": context.get_remaining_time_in_millis(),
    })


def lambda_handler(event, context):
    request = event["requestContext"]["http"]
    print("asked for", request["method"], event["rawPath"])
    function = ROUTES.get((request["method"], event["rawPath"]))
    if function is None:
        return answer(404, {"error": "no such page", "pages": [path for _, path in ROUTES]})
    return function(event, context)
