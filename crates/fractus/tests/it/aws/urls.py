"""Function URLs: kept by the control plane, served by the edge."""

import base64
import datetime
import http.client
import json
import re
import time
import urllib.parse

from dateutil.parser import isoparse

from kit import (
    CONFLICT,
    NODE,
    NOT_FOUND,
    PARAMETER,
    VALIDATION,
    equal,
    holds,
    pages,
    refused,
    saying,
)

# A function that answers with the event it got, or with what the event's body holds.
MIRROR = """
import base64, json

def handler(event, context):
    if event["rawPath"].startswith("/as-told"):
        return json.loads(event["body"])
    event["id"] = context.aws_request_id
    headers = {"content-type": "application/json"}
    return {"statusCode": 200, "headers": headers, "body": json.dumps(event)}
"""

FORBIDDEN = "Forbidden"


def public(case, code=MIRROR, **more):
    """A function that anyone may visit; gives its name and URL."""
    settings = {key: more.pop(key) for key in ("Runtime",) if key in more}
    name = case.function(code, **settings)
    told = case.lambda_.create_function_url_config(FunctionName=name, AuthType="NONE", **more)
    opened(case, name)
    return name, told["FunctionUrl"]


def opened(case, name, **more):
    """Lets anyone visit a function: by its URL, and only that way."""
    case.lambda_.add_permission(
        FunctionName=name,
        StatementId="url",
        Action="lambda:InvokeFunctionUrl",
        Principal="*",
        FunctionUrlAuthType="NONE",
        **more,
    )
    case.lambda_.add_permission(
        FunctionName=name,
        StatementId="call",
        Action="lambda:InvokeFunction",
        Principal="*",
        InvokedViaFunctionUrl=True,
        **more,
    )


def test_config(case):
    """Made, read, changed, listed and deleted."""
    name = case.function()
    client, named = case.lambda_, {"FunctionName": name}
    made = client.create_function_url_config(**named, AuthType="NONE")
    equal(made["ResponseMetadata"]["HTTPStatusCode"], 201, "status")
    holds(made, {"AuthType": "NONE", "FunctionArn": case.cloud.arn(name)})
    port = urllib.parse.urlsplit(case.cloud.edge).port
    form = rf"http://[a-z0-9]{{1,63}}\.lambda-url\.{case.cloud.region}\.localhost:{port}/"
    assert re.fullmatch(form, made["FunctionUrl"]), made["FunctionUrl"]
    age = datetime.datetime.now(datetime.timezone.utc) - isoparse(made["CreationTime"])
    assert abs(age) < datetime.timedelta(minutes=10), made["CreationTime"]

    read = client.get_function_url_config(**named)
    holds(read, {"InvokeMode": "BUFFERED", "FunctionUrl": made["FunctionUrl"], "AuthType": "NONE"})
    isoparse(read["LastModifiedTime"])
    refused(
        CONFLICT,
        client.create_function_url_config,
        message="FunctionUrlConfig exists for this Lambda function",
        **named,
        AuthType="AWS_IAM",
    )
    told = client.update_function_url_config(
        **named, AuthType="AWS_IAM", InvokeMode="RESPONSE_STREAM"
    )
    want = {"AuthType": "AWS_IAM", "InvokeMode": "RESPONSE_STREAM"}
    holds(told, {**want, "FunctionUrl": made["FunctionUrl"]})
    told = client.update_function_url_config(**named)
    holds(told, want)
    listed = client.list_function_url_configs(**named)["FunctionUrlConfigs"]
    equal([entry["FunctionUrl"] for entry in listed], [made["FunctionUrl"]], "URLs")

    gone = client.delete_function_url_config(**named)
    equal(gone["ResponseMetadata"]["HTTPStatusCode"], 204, "status")
    for call in (
        client.get_function_url_config,
        client.update_function_url_config,
        client.delete_function_url_config,
    ):
        refused(NOT_FOUND, call, **named)
    equal(client.list_function_url_configs(**named)["FunctionUrlConfigs"], [], "URLs")


def test_config_of_an_alias(case):
    """An alias has a URL of its own, a version and `$LATEST` have none."""
    name = case.function(saying("1"), Publish=True)
    client, named = case.unchecked, {"FunctionName": name}
    client.create_alias(**named, Name="live", FunctionVersion="1")
    case.recode(name, saying("2"))
    own = client.create_function_url_config(**named, AuthType="NONE")
    alias = client.create_function_url_config(**named, AuthType="NONE", Qualifier="live")
    equal(alias["FunctionArn"], case.cloud.arn(f"{name}:live"), "ARN")
    assert alias["FunctionUrl"] != own["FunctionUrl"], alias
    for qualifier in ("1", "$LATEST"):
        for call, more in (
            (client.create_function_url_config, {"AuthType": "NONE"}),
            (client.get_function_url_config, {}),
        ):
            refused(VALIDATION, call, **named, Qualifier=qualifier, **more)
    refused(
        NOT_FOUND, client.create_function_url_config, **named, AuthType="NONE", Qualifier="none"
    )
    refused(
        PARAMETER,
        client.create_function_url_config,
        FunctionName=f"{name}:live",
        AuthType="NONE",
        Qualifier="other",
    )
    listed, _ = pages(
        case.lambda_, "list_function_url_configs", "FunctionUrlConfigs", size=1, **named
    )
    arns = {entry["FunctionArn"] for entry in listed}
    equal(arns, {case.cloud.arn(name), case.cloud.arn(f"{name}:live")}, "ARNs")

    opened(case, name)
    opened(case, name, Qualifier="live")
    equal(case.cloud.visit(own["FunctionUrl"]).body, b"2", "answer of the function")
    equal(case.cloud.visit(alias["FunctionUrl"]).body, b"1", "answer of the alias")
    client.delete_alias(**named, Name="live")
    equal(case.cloud.visit(alias["FunctionUrl"]).status, 404, "status without the alias")
    equal(case.cloud.visit(own["FunctionUrl"]).body, b"2", "answer of the function")


def test_config_refusals(case):
    """Types and modes that are none."""
    name = case.function()
    make = case.unchecked.create_function_url_config
    for bad in (
        {"AuthType": "SOME"},
        {"AuthType": "NONE", "InvokeMode": "UNKNOWN"},
        {"AuthType": "NONE", "Cors": {"MaxAge": 86401}},
        {"AuthType": "NONE", "Cors": {"MaxAge": -1}},
        {"AuthType": "NONE", "Cors": {"AllowMethods": ["GET"] * 7}},
        {"AuthType": "NONE", "Cors": {"AllowMethods": ["OPTIONS"]}},
        {"AuthType": "NONE", "Cors": {"AllowHeaders": ["x"] * 101}},
        {"AuthType": "NONE", "Cors": {"AllowOrigins": ["https://a"] * 101}},
        {"AuthType": "NONE", "Cors": {"AllowOrigins": ["x" * 254]}},
    ):
        refused(VALIDATION, make, FunctionName=name, **bad)
    refused(NOT_FOUND, case.lambda_.get_function_url_config, FunctionName=name)


def forbidden(answer):
    """Asserts that a visit was refused as AWS refuses it."""
    equal(answer.status, 403, f"status of {answer}")
    equal(answer.header("x-amzn-errortype"), "AccessDeniedException", "type")
    equal(answer.header("content-type"), "application/json", "content type")
    return answer.json()["Message"]


def test_nobody_may_visit_without_a_policy(case):
    """Type NONE means no signature, not no policy; and statements for others do not help."""
    name = case.function(MIRROR)
    url = case.lambda_.create_function_url_config(FunctionName=name, AuthType="NONE")["FunctionUrl"]
    assert forbidden(case.cloud.visit(url)).startswith(FORBIDDEN)
    case.lambda_.add_permission(
        FunctionName=name,
        StatementId="iam",
        Action="lambda:InvokeFunctionUrl",
        Principal="*",
        FunctionUrlAuthType="AWS_IAM",
    )
    case.lambda_.add_permission(
        FunctionName=name,
        StatementId="service",
        Action="lambda:InvokeFunction",
        Principal="s3.amazonaws.com",
    )
    assert forbidden(case.cloud.visit(url)).startswith(FORBIDDEN)
    opened(case, name)
    equal(case.cloud.visit(url).status, 200, "status")
    for statement in ("url", "call"):
        case.lambda_.remove_permission(FunctionName=name, StatementId=statement)
    assert forbidden(case.cloud.visit(url)).startswith(FORBIDDEN)


def test_urls_of_nothing(case):
    """A host that is no function's URL any more, or never was."""
    name, url = public(case)
    port = urllib.parse.urlsplit(url).port
    equal(case.cloud.visit(url).status, 200, "status")
    case.lambda_.delete_function_url_config(FunctionName=name)
    # AWS answers 403; the edge says of every host that it does not know that nothing is there.
    equal(case.cloud.visit(url).status, 404, "status of a deleted URL")
    unknown = f"http://{'0' * 32}.lambda-url.{case.cloud.region}.localhost:{port}/"
    equal(case.cloud.visit(unknown).status, 404, "status of a URL that never was")
    made = case.lambda_.create_function_url_config(FunctionName=name, AuthType="NONE")
    equal(case.cloud.visit(made["FunctionUrl"]).status, 200, "status of a new one")
    case.lambda_.delete_function(FunctionName=name)
    equal(case.cloud.visit(made["FunctionUrl"]).status, 404, "status without the function")


def test_event(case):
    """The event has payload format 2.0, with each part of the request where AWS puts it."""
    name, url = public(case)
    host = urllib.parse.urlsplit(url).netloc
    target = url + "a%20b/c%2Fd/ü?x=1&x=2&y=a%20b&z=&e=%C3%BC".replace("ü", "%C3%BC")
    answer = case.cloud.visit(
        target,
        "POST",
        b'{"a": 1}',
        {
            "Content-Type": "application/json",
            "X-Some": ["one", "two"],
            "User-Agent": "tester/1",
            "Cookie": "a=1; b=2",
        },
    )
    equal(answer.status, 200, f"status of {answer}")
    event = answer.json()
    holds(
        event,
        {
            "version": "2.0",
            "routeKey": "$default",
            "rawQueryString": "x=1&x=2&y=a%20b&z=&e=%C3%BC",
            "queryStringParameters": {"x": "1,2", "y": "a b", "z": "", "e": "ü"},
            "cookies": ["a=1", "b=2"],
            "body": '{"a": 1}',
            "isBase64Encoded": False,
        },
    )
    assert event["rawPath"].endswith("/%C3%BC") and event["rawPath"].startswith("/a%20b/"), event
    headers = event["headers"]
    holds(
        headers,
        {
            "host": host,
            "content-type": "application/json",
            "content-length": "8",
            "x-some": "one,two",
            "user-agent": "tester/1",
            "x-forwarded-proto": "http",
        },
    )
    assert headers["x-forwarded-for"], headers
    equal([field for field in headers if field != field.lower()], [], "fields not in lower case")
    context = event["requestContext"]
    identifier = host.split(".")[0]
    holds(
        context,
        {
            "accountId": "anonymous",
            "apiId": identifier,
            "domainName": host.split(":")[0],
            "domainPrefix": identifier,
            "routeKey": "$default",
            "stage": "$default",
            "requestId": event["id"],
        },
    )
    holds(context["http"], {"method": "POST", "protocol": "HTTP/1.1", "userAgent": "tester/1"})
    assert context["http"]["sourceIp"].startswith("127."), context
    equal(context["http"]["path"], event["rawPath"], "path")
    form = r"\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d \+0000"
    assert re.fullmatch(form, context["time"]), context["time"]
    assert abs(context["timeEpoch"] / 1000 - time.time()) < 600, context["timeEpoch"]
    assert "authorizer" not in context, context
    equal(answer.header("x-amzn-requestid"), event["id"], "request id")


def test_event_without_anything(case):
    """What a request does not have is not in the event."""
    _, url = public(case)
    event = case.cloud.visit(url).json()
    holds(event, {"rawPath": "/", "rawQueryString": "", "isBase64Encoded": False})
    equal([part for part in ("body", "cookies", "queryStringParameters") if part in event], [])


def test_bodies_that_are_no_text(case):
    """Bytes travel in base64, both ways; what is said to be text does not."""
    _, url = public(case)
    raw = bytes(range(256))
    event = case.cloud.visit(url, "PUT", raw, {"Content-Type": "image/png"}).json()
    equal(event["isBase64Encoded"], True, "isBase64Encoded")
    equal(base64.b64decode(event["body"]), raw, "body")
    for kind in ("text/plain", "application/json", "application/xml", "text/html; charset=utf-8"):
        event = case.cloud.visit(url, "POST", "ü".encode(), {"Content-Type": kind}).json()
        holds(event, {"isBase64Encoded": False, "body": "ü"})
    told = {
        "statusCode": 200,
        "headers": {"content-type": "image/png"},
        "body": base64.b64encode(raw).decode(),
        "isBase64Encoded": True,
    }
    answer = as_told(case, url, told)
    equal(answer.body, raw, "body")
    equal(answer.header("content-type"), "image/png", "content type")


def as_told(case, url, answer):
    """What a visitor gets when the function gives this answer."""
    headers = {"Content-Type": "application/json"}
    return case.cloud.visit(url + "as-told", "POST", json.dumps(answer).encode(), headers)


def test_answers(case):
    """Status, header fields, cookies and body are the function's."""
    _, url = public(case)
    answer = as_told(
        case,
        url,
        {
            "statusCode": 201,
            "headers": {"Content-Type": "text/plain; charset=utf-8", "X-Own": "Value"},
            "cookies": ["a=1; Path=/", "b=2; HttpOnly"],
            "body": "ü",
        },
    )
    equal((answer.status, answer.body.decode()), (201, "ü"), "answer")
    equal(answer.header("content-type"), "text/plain; charset=utf-8", "content type")
    equal(answer.header("x-own"), "Value", "field")
    cookies = [value for name, value in answer.fields if name == "set-cookie"]
    equal(cookies, ["a=1; Path=/", "b=2; HttpOnly"], "cookies")
    equal(as_told(case, url, {"statusCode": "418", "body": "tea"}).status, 418, "status as text")
    equal(as_told(case, url, {"statusCode": 204}).status, 204, "status without a body")
    moved = as_told(case, url, {"statusCode": 302, "headers": {"Location": "/there"}})
    equal((moved.status, moved.header("location")), (302, "/there"), "answer")


def test_answers_that_are_only_values(case):
    """Without a `statusCode` the value is the body, as JSON; a text as it is."""
    _, url = public(case)
    for value, body in (
        ({"hello": "world"}, b'{"hello":"world"}'),
        (["hello", 3, True], b'["hello",3,true]'),
        ("hello", b"hello"),
        (3, b"3"),
        (3.1, b"3.1"),
        (True, b"true"),
    ):
        answer = as_told(case, url, value)
        equal((answer.status, answer.header("content-type")), (200, "application/json"), value)
        same = answer.body == body or json.loads(answer.body) == json.loads(body)
        assert same, f"{answer.body} for {value!r}"


def test_functions_that_fail(case):
    """A visitor sees 502 and nothing of the function's error."""
    name, url = public(case, "def handler(event, context):\n    raise ValueError('secret')\n")
    answer = case.cloud.visit(url)
    equal((answer.status, answer.body), (502, b"Internal Server Error"), "answer")
    assert b"secret" not in answer.body and b"Traceback" not in answer.body, answer
    case.recode(name, saying({"statusCode": "no number"}))
    assert case.cloud.visit(url).status in (500, 502), "status of a malformed answer"


def test_methods(case):
    """Every method reaches the function, OPTIONS too where no CORS is set."""
    _, url = public(case)
    for method in ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"):
        answer = case.cloud.visit(url + "m", method)
        equal(answer.json()["requestContext"]["http"]["method"], method, "method")
    answer = case.cloud.visit(url, "HEAD")
    equal((answer.status, answer.body), (200, b""), "answer to HEAD")


def test_iam(case):
    """Type AWS_IAM lets in whoever signs with the account's key, and says who it is."""
    name = case.function(MIRROR)
    told = case.lambda_.create_function_url_config(FunctionName=name, AuthType="AWS_IAM")
    url = told["FunctionUrl"]
    forbidden(case.cloud.visit(url))
    answer = case.cloud.visit(url + "p/q?x=1&y=a%20b", "POST", b"{}", signed=True)
    equal(answer.status, 200, f"status of {answer}")
    event = answer.json()
    equal(event["requestContext"]["accountId"], case.cloud.account, "account")
    who = event["requestContext"]["authorizer"]["iam"]
    holds(who, {"accessKey": case.cloud.key, "accountId": case.cloud.account})
    assert who["userArn"].startswith(f"arn:aws:iam::{case.cloud.account}:"), who
    for how in (
        {"secret": "x" * 40},
        {"key": "AKIAXXXXXXXXXXXXXXXX"},
        {"service": "execute-api"},
        {"region": "eu-north-1"},
        {"at": datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(minutes=16)},
    ):
        answer = case.cloud.visit(url, signed=True, **how)
        equal(answer.status, 403, f"status with {list(how)}: {answer}")
    # A signature is of one URL, one method and one body.
    headers = case.cloud.sign("POST", url + "a", b"{}")
    for target, method, body in (
        (url + "b", "POST", b"{}"),
        (url + "a", "PUT", b"{}"),
        (url + "a", "POST", b"[]"),
        (url + "a?x", "POST", b"{}"),
    ):
        equal(case.cloud.visit(target, method, body, headers).status, 403, "status")
    equal(case.cloud.visit(url + "a", "POST", b"{}", headers).status, 200, "status")
    case.lambda_.update_function_url_config(FunctionName=name, AuthType="NONE")
    opened(case, name)
    equal(case.cloud.visit(url).status, 200, "status when anyone may")


def test_signatures_are_not_for_others(case):
    """A visit of one function is not signed for another one."""
    urls = []
    for _ in range(2):
        name = case.function(MIRROR)
        told = case.lambda_.create_function_url_config(FunctionName=name, AuthType="AWS_IAM")
        urls.append(told["FunctionUrl"])
    headers = case.cloud.sign("GET", urls[0])
    equal(case.cloud.visit(urls[0], headers=headers).status, 200, "status of its own")
    equal(case.cloud.visit(urls[1], headers=headers).status, 403, "status of the other")


CORS = {
    "AllowOrigins": ["https://www.example.com", "http://localhost:60905"],
    "AllowMethods": ["GET", "POST"],
    "AllowHeaders": ["content-type", "x-custom"],
    "ExposeHeaders": ["x-own", "date"],
    "AllowCredentials": True,
    "MaxAge": 300,
}


def preflight(case, url, origin, method="POST", headers="content-type"):
    """The question of a browser before a request."""
    asked = {
        "Origin": origin,
        "Access-Control-Request-Method": method,
        "Access-Control-Request-Headers": headers,
    }
    return case.cloud.visit(url, "OPTIONS", b"", asked)


def listed(answer, field):
    """What a field of an answer lists."""
    return {part.strip() for part in (answer.header(field) or "").split(",")}


def test_cors_config(case):
    """CORS settings are told as they were given, and replaced as a whole."""
    name = case.function()
    client, named = case.lambda_, {"FunctionName": name}
    made = client.create_function_url_config(**named, AuthType="NONE", Cors=CORS)
    equal(made["Cors"], CORS, "CORS")
    equal(client.get_function_url_config(**named)["Cors"], CORS, "CORS")
    told = client.update_function_url_config(**named, Cors={"AllowOrigins": ["*"]})
    equal(told["Cors"], {"AllowOrigins": ["*"]}, "CORS")
    told = client.update_function_url_config(**named, AuthType="AWS_IAM")
    equal(told["Cors"], {"AllowOrigins": ["*"]}, "CORS")


def test_cors_preflight(case):
    """The edge answers preflight requests itself, for origins that are allowed."""
    name, url = public(case, "def handler(e, c):\n    print('ran')\n    return 'x'\n", Cors=CORS)
    answer = preflight(case, url, "https://www.example.com")
    equal(answer.status, 200, f"status of {answer}")
    equal(answer.header("access-control-allow-origin"), "https://www.example.com", "origin")
    equal(answer.header("access-control-allow-credentials"), "true", "credentials")
    equal(answer.header("access-control-max-age"), "300", "age")
    assert "POST" in listed(answer, "access-control-allow-methods"), answer
    assert "content-type" in listed(answer, "access-control-allow-headers"), answer
    answer = preflight(case, url, "https://elsewhere.example.com")
    equal(answer.header("access-control-allow-origin"), None, "origin that is not allowed")
    case.cloud.visit(url)
    equal(len(case.lines(name, 1, "ran")), 1, "calls")


def test_cors_of_answers(case):
    """An answer to an allowed origin says so; what the function says of CORS is replaced."""
    own = {
        "statusCode": 200,
        "headers": {"access-control-allow-origin": "https://by-the-function", "x-own": "1"},
        "body": "x",
    }
    _, url = public(case, saying(own), Cors=CORS)
    answer = case.cloud.visit(url, headers={"Origin": "http://localhost:60905"})
    equal(answer.header("access-control-allow-origin"), "http://localhost:60905", "origin")
    equal(answer.header("access-control-allow-credentials"), "true", "credentials")
    assert {"x-own", "date"} <= listed(answer, "access-control-expose-headers"), answer
    answer = case.cloud.visit(url, headers={"Origin": "https://elsewhere.example.com"})
    assert answer.header("access-control-allow-origin") != "https://elsewhere.example.com", answer


def test_cors_of_everybody(case):
    """With `*` any origin is allowed."""
    _, url = public(case, saying("x"), Cors={"AllowOrigins": ["*"], "AllowMethods": ["*"]})
    answer = preflight(case, url, "https://anywhere.example.com", "DELETE")
    assert answer.header("access-control-allow-origin") in ("*", "https://anywhere.example.com")
    answer = case.cloud.visit(url, headers={"Origin": "https://anywhere.example.com"})
    equal((answer.status, answer.body), (200, b"x"), "answer")
    assert answer.header("access-control-allow-origin") in ("*", "https://anywhere.example.com")


def test_streamed_answers(case):
    """In mode RESPONSE_STREAM a visitor gets what was written when it was written."""
    code = """
export const handler = awslambda.streamifyResponse(async (event, stream) => {
  const head = { statusCode: 203, headers: { 'content-type': 'text/plain', 'x-own': 'v' } }
  stream = awslambda.HttpResponseStream.from(stream, head)
  for (let number = 0; number < 4; number += 1) {
    stream.write(`chunk ${number};`)
    await new Promise((done) => setTimeout(done, 250))
  }
  stream.end()
})
"""
    _, url = public(case, code, Runtime=NODE, InvokeMode="RESPONSE_STREAM")
    case.cloud.visit(url)
    edge = urllib.parse.urlsplit(case.cloud.edge)
    connection = http.client.HTTPConnection(edge.hostname, edge.port, timeout=30)
    connection.request("GET", "/", headers={"Host": urllib.parse.urlsplit(url).netloc})
    response = connection.getresponse()
    equal((response.status, response.headers["x-own"]), (203, "v"), "head")
    equal(response.headers["content-type"], "text/plain", "content type")
    parts = []
    while part := response.read1(1000):
        parts.append((time.monotonic(), part))
    connection.close()
    whole = b"".join(part for _, part in parts)
    equal(whole, b"chunk 0;chunk 1;chunk 2;chunk 3;", "body")
    assert parts[-1][0] - parts[0][0] > 0.4, f"all at once: {parts}"


def test_no_capacity(case):
    """A function that may not run answers visitors 429."""
    name, url = public(case)
    case.lambda_.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=0)
    equal(case.cloud.visit(url).status, 429, "status")
    case.lambda_.delete_function_concurrency(FunctionName=name)
    equal(case.cloud.visit(url).status, 200, "status")


def test_new_code_is_seen_at_once(case):
    """Answers of old code are not served after an update, cached or not."""
    told = {"statusCode": 200, "headers": {"cache-control": "public, max-age=600"}}
    name, url = public(case, saying({**told, "body": "0"}))
    for number in range(1, 4):
        equal(case.cloud.visit(url).body, str(number - 1).encode(), "answer")
        case.recode(name, saying({**told, "body": str(number)}))
    equal(case.cloud.visit(url).body, b"3", "answer")
