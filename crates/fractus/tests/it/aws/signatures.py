"""Who may call the API: requests signed by botocore, as they are, and tampered with."""

import datetime
import hashlib
import json
import time
import urllib.parse

import botocore.auth

from kit import MIB, equal, exchange, free_socket, holds, package, saying

MISSING = "MissingAuthenticationTokenException"
UNKNOWN = "UnrecognizedClientException"
INVALID = "InvalidSignatureException"
INCOMPLETE = "IncompleteSignatureException"

FUNCTIONS = "/2015-03-31/functions"


def now(**ahead):
    """The time, or one that much ahead of it."""
    return datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(**ahead)


def denied(answer, *codes):
    """Asserts that a request was refused with 403, typed, and without telling secrets."""
    equal(answer.status, 403, f"status of {answer}")
    kind = answer.error()
    assert kind in codes, f"{kind} instead of {codes}: {answer}"
    assert answer.json().get("message") or answer.json().get("Message"), answer
    assert b"AWS4" not in answer.body.replace(b"AWS4-HMAC", b""), answer


def admitted(answer):
    """Asserts that the signature was taken."""
    equal(answer.status, 200, f"status of {answer}")
    assert "Functions" in answer.json(), answer


def test_good_signatures(case):
    """What botocore signs is taken: by header, with any query, body and path."""
    cloud = case.cloud
    admitted(cloud.signed("GET", FUNCTIONS))
    admitted(cloud.signed("GET", FUNCTIONS + "/"))
    admitted(cloud.signed("GET", FUNCTIONS + "?MaxItems=50"))
    admitted(cloud.signed("GET", FUNCTIONS + "?MaxItems=50&FunctionVersion=ALL"))
    name = case.function(saying("ran"))
    for stands_for in (name, cloud.arn(name)):
        quoted = urllib.parse.quote(stands_for, safe="")
        path = f"{FUNCTIONS}/{quoted}/invocations?Qualifier=%24LATEST"
        answer = cloud.signed("POST", path, b'{"a": "\xc3\xbc"}')
        equal((answer.status, answer.body), (200, b'"ran"'), "answer")


def test_good_headers(case):
    """Fields may come in any case and order, with spaces, more than once, and unsigned too."""
    cloud = case.cloud
    spaced = {"X-Amz-Meta": "  a   b  ", "x-amz-other": "1"}
    headers = cloud.sign("GET", FUNCTIONS, headers=spaced)
    admitted(cloud.request("GET", FUNCTIONS, headers={**headers, **spaced}))
    admitted(cloud.request("GET", FUNCTIONS, headers={**headers, **spaced, "X-Unsigned": "1"}))
    upside = {name.upper(): value for name, value in reversed(headers.items())}
    admitted(cloud.request("GET", FUNCTIONS, headers=upside))


def test_a_session_token_is_no_hindrance(case):
    """Tools send one if their environment has it; the field is signed like any other."""
    headers = case.cloud.sign("GET", FUNCTIONS, headers={"X-Amz-Security-Token": "token"})
    answer = case.cloud.request("GET", FUNCTIONS, headers=headers)
    assert answer.status in (200, 403), answer
    if answer.status == 403:
        denied(answer, UNKNOWN)


def test_no_signature(case):
    """Without a signature, or with what is none, nothing is done."""
    cloud = case.cloud
    denied(cloud.request("GET", FUNCTIONS), MISSING)
    denied(cloud.request("GET", FUNCTIONS, headers={"Authorization": ""}), MISSING, INCOMPLETE)
    for text in ("Basic dXNlcjpwYXNz", "Bearer token", "AWS4-HMAC-SHA256", "AWS4-HMAC-SHA256 x"):
        answer = cloud.request("GET", FUNCTIONS, headers={"Authorization": text})
        denied(answer, MISSING, INCOMPLETE, INVALID)


def test_unknown_keys(case):
    """A key that nobody has, and the right key with another secret."""
    cloud = case.cloud
    denied(cloud.signed("GET", FUNCTIONS, key="AKIAIOSFODNN7EXAMPLE"), UNKNOWN)
    denied(cloud.signed("GET", FUNCTIONS, key=cloud.key.lower()), UNKNOWN)
    denied(cloud.signed("GET", FUNCTIONS, key=cloud.key + "A"), UNKNOWN)
    denied(cloud.signed("GET", FUNCTIONS, secret="x" * 40), INVALID)
    denied(cloud.signed("GET", FUNCTIONS, secret=cloud.secret.swapcase()), INVALID)
    denied(cloud.signed("GET", FUNCTIONS, secret=""), INVALID)


def test_times(case):
    """A signature holds five minutes to either side, and no longer."""
    cloud = case.cloud
    for minutes in (-4, 0, 4):
        admitted(cloud.signed("GET", FUNCTIONS, at=now(minutes=minutes)))
    for ahead in ({"minutes": -6}, {"minutes": -16}, {"days": -1}, {"days": -3650}):
        denied(cloud.signed("GET", FUNCTIONS, at=now(**ahead)), INVALID)
    for ahead in ({"minutes": 6}, {"minutes": 16}, {"days": 1}, {"days": 3650}):
        denied(cloud.signed("GET", FUNCTIONS, at=now(**ahead)), INVALID)


def test_replay(case):
    """The same request can be sent again while its signature holds, not after."""
    cloud = case.cloud
    headers = cloud.sign("GET", FUNCTIONS, at=now(minutes=-5, seconds=3))
    admitted(cloud.request("GET", FUNCTIONS, headers=headers))
    admitted(cloud.request("GET", FUNCTIONS, headers=headers))
    time.sleep(4)
    denied(cloud.request("GET", FUNCTIONS, headers=headers), INVALID)


def test_dates_that_do_not_fit(case):
    """The date in the scope, in the field and in the signature are one."""
    cloud = case.cloud
    headers = cloud.sign("GET", FUNCTIONS)
    date = headers["X-Amz-Date"]
    later = now(minutes=1).strftime("%Y%m%dT%H%M%SZ")
    for change in (
        {"X-Amz-Date": later},
        {"X-Amz-Date": "yesterday"},
        {"X-Amz-Date": date[:-1]},
        {"X-Amz-Date": "99999999T999999Z"},
        {"X-Amz-Date": ""},
    ):
        denied(cloud.request("GET", FUNCTIONS, headers={**headers, **change}), INVALID, INCOMPLETE)
    without = {name: value for name, value in headers.items() if name != "X-Amz-Date"}
    denied(cloud.request("GET", FUNCTIONS, headers=without), INVALID, INCOMPLETE, MISSING)
    scope = headers["Authorization"].replace(date[:8], now(days=-1).strftime("%Y%m%d"))
    denied(cloud.request("GET", FUNCTIONS, headers={**headers, "Authorization": scope}), INVALID)


def test_scopes(case):
    """A signature is for one region and one service."""
    cloud = case.cloud
    denied(cloud.signed("GET", FUNCTIONS, region="eu-north-1"), INVALID)
    denied(cloud.signed("GET", FUNCTIONS, region=""), INVALID, INCOMPLETE)
    for service in ("s3", "execute-api", "iam", "Lambda", ""):
        denied(cloud.signed("GET", FUNCTIONS, service=service), INVALID, INCOMPLETE)
    headers = cloud.sign("GET", FUNCTIONS)
    ended = headers["Authorization"].replace("aws4_request", "aws5_request")
    answer = cloud.request("GET", FUNCTIONS, headers={**headers, "Authorization": ended})
    denied(answer, INVALID, INCOMPLETE)


def test_tampering(case):
    """Another method, path, query, field or body than what was signed."""
    cloud = case.cloud
    name = case.function(saying("ran"))
    path, body = f"{FUNCTIONS}/{name}/invocations?Qualifier=%24LATEST", b'{"a": 1}'
    signed = {"X-Amz-Invocation-Type": "DryRun", "Content-Type": "application/json"}
    headers = cloud.sign("POST", path, body, signed)
    equal(cloud.request("POST", path, body, headers).status, 204, "status of what was signed")
    for method, target, content, change in (
        ("PUT", path, body, {}),
        ("POST", path.replace(name, name + "x"), body, {}),
        ("POST", path.replace("invocations", "Invocations"), body, {}),
        ("POST", path.partition("?")[0], body, {}),
        ("POST", path + "&More=1", body, {}),
        ("POST", path.replace("%24LATEST", "1"), body, {}),
        ("POST", path, b'{"a": 2}', {}),
        ("POST", path, b'{"a": 1} ', {}),
        ("POST", path, b"", {}),
        ("POST", path, body, {"X-Amz-Invocation-Type": "RequestResponse"}),
        ("POST", path, body, {"X-Amz-Invocation-Type": "Event"}),
        ("POST", path, body, {"Content-Type": "text/plain"}),
        ("POST", path, body, {"Host": "lambda.example.com"}),
    ):
        answer = cloud.request(method, target, content, {**headers, **change})
        denied(answer, INVALID, INCOMPLETE)
    without = {field: value for field, value in headers.items() if field != "Content-Type"}
    denied(cloud.request("POST", path, body, without), INVALID, INCOMPLETE)
    equal([line for line in cloud.logs(name) if "START" in line], [], "calls")


def test_tampering_with_what_makes_things(case):
    """Code and settings that were changed on the way make nothing."""
    cloud, name = case.cloud, case.name()
    asked = case.settings()
    del asked["Code"]
    body = json.dumps({"FunctionName": name, **asked, "Code": {"ZipFile": "UEsF"}}).encode()
    headers = cloud.sign("POST", FUNCTIONS, body)
    other = body.replace(b"UEsF", b"UEsG")
    denied(cloud.request("POST", FUNCTIONS, other, headers), INVALID)
    answer = cloud.signed("GET", f"{FUNCTIONS}/{name}")
    equal(answer.status, 404, "status")


def test_what_must_be_signed(case):
    """A signature that does not cover the host is none, nor one that names what is not there."""

    class Careless(botocore.auth.SigV4Auth):
        def headers_to_sign(self, request):
            covered = super().headers_to_sign(request)
            del covered["host"]
            return covered

    cloud = case.cloud
    denied(cloud.signed("GET", FUNCTIONS, auth=Careless), INVALID, INCOMPLETE)
    headers = cloud.sign("GET", FUNCTIONS)
    more = headers["Authorization"].replace("host;", "host;x-amz-absent;")
    answer = cloud.request("GET", FUNCTIONS, headers={**headers, "Authorization": more})
    denied(answer, INVALID, INCOMPLETE)


def test_malformed_signatures(case):
    """Parts that are missing, twice there, or of another form."""
    cloud = case.cloud
    headers = cloud.sign("GET", FUNCTIONS)
    good = headers["Authorization"]
    signature = good.rsplit("=", 1)[1]
    flipped = ("0" if signature[0] != "0" else "1") + signature[1:]
    for bad in (
        good.replace("Credential=", "Kredential="),
        good.replace("SignedHeaders=", "Headers="),
        good.replace("Signature=", "Sig="),
        good.replace(signature, ""),
        good.replace(signature, signature[:-1]),
        good.replace(signature, signature + "0"),
        good.replace(signature, flipped),
        good.replace(signature, "g" * 64),
        good.replace(signature, "ü" * 32),
        good.replace("AWS4-HMAC-SHA256", "AWS4-HMAC-SHA1"),
        good.replace("AWS4-HMAC-SHA256", "AWS3"),
        good.replace("/aws4_request", ""),
        good.replace("/lambda", ""),
        good.replace(f"/{cloud.region}/", "/"),
        good.replace(", ", "; "),
        good.replace("host", ""),
        good[: len(good) // 2],
        good + ", " + good.split(" ", 1)[1],
        "AWS4-HMAC-SHA256 " + "x" * 8_000,
        "AWS4-HMAC-SHA256 Credential=" + "/" * 1_000,
    ):
        answer = cloud.request("GET", FUNCTIONS, headers={**headers, "Authorization": bad.encode()})
        denied(answer, INVALID, INCOMPLETE, MISSING, UNKNOWN)


def test_two_signatures(case):
    """Two fields, or a field and a query, are never taken for whichever is good."""
    cloud = case.cloud
    headers = cloud.sign("GET", FUNCTIONS)
    bad = headers["Authorization"][:-4] + "0000"
    for pair in ([headers["Authorization"], bad], [bad, headers["Authorization"]]):
        answer = cloud.request("GET", FUNCTIONS, headers={**headers, "Authorization": pair})
        assert answer.status in (400, 403), answer
    target = cloud.presign("GET", FUNCTIONS)
    answer = cloud.request("GET", target, headers={**headers, "Authorization": bad})
    assert answer.status in (400, 403), answer


def test_content_hash(case):
    """A field with the body's hash must fit the body, and is looked at before anything is done."""
    cloud = case.cloud
    name = case.function(saying("ran"))
    path, body = f"{FUNCTIONS}/{name}/invocations", b'{"a": 1}'
    for digest, status in (
        (hashlib.sha256(body).hexdigest(), 200),
        (hashlib.sha256(b"other").hexdigest(), 403),
        ("no hash", 403),
    ):
        headers = cloud.sign("POST", path, body, {"X-Amz-Content-SHA256": digest})
        answer = cloud.request("POST", path, body, headers)
        if status == 200:
            equal((answer.status, answer.body), (200, b'"ran"'), "answer")
        else:
            assert answer.status in (400, 403), answer
            answer.error()


def test_presigned(case):
    """A signature in the query holds as long as it says."""
    cloud = case.cloud
    admitted(cloud.request("GET", cloud.presign("GET", FUNCTIONS)))
    target = cloud.presign("GET", FUNCTIONS + "?MaxItems=50", expires=60)
    admitted(cloud.request("GET", target))
    old = cloud.presign("GET", FUNCTIONS, expires=3600, at=now(minutes=-50))
    admitted(cloud.request("GET", old))
    for bad in (
        cloud.presign("GET", FUNCTIONS, expires=60, at=now(minutes=-2)),
        cloud.presign("GET", FUNCTIONS, at=now(hours=1)),
        cloud.presign("GET", FUNCTIONS, secret="x" * 40),
        cloud.presign("GET", FUNCTIONS, expires=604_801),
        cloud.presign("GET", FUNCTIONS, expires=-1),
        target.replace("X-Amz-Expires=60", "X-Amz-Expires=6000"),
        target.replace("MaxItems=50", "MaxItems=49"),
        target.replace("X-Amz-Signature=", "X-Amz-Signature=0"),
        target + "&More=1",
    ):
        denied(cloud.request("GET", bad), INVALID, INCOMPLETE)
    denied(
        cloud.request("GET", cloud.presign("GET", FUNCTIONS, key="AKIAIOSFODNN7EXAMPLE")), UNKNOWN
    )
    name = case.function(saying("kept"))
    deletion = cloud.presign("GET", f"{FUNCTIONS}/{name}")
    denied(cloud.request("DELETE", deletion), INVALID)
    equal(case.call(name), "kept", "answer")


def test_every_operation_wants_a_signature(case):
    """Nothing is done or told without one, whatever the path."""
    cloud = case.cloud
    name = case.function(saying("kept"))
    for method, path in (
        ("GET", f"{FUNCTIONS}/{name}"),
        ("DELETE", f"{FUNCTIONS}/{name}"),
        ("PUT", f"{FUNCTIONS}/{name}/code"),
        ("PUT", f"{FUNCTIONS}/{name}/configuration"),
        ("POST", f"{FUNCTIONS}/{name}/invocations"),
        ("POST", f"/2021-11-15/functions/{name}/response-streaming-invocations"),
        ("POST", f"/2014-11-13/functions/{name}/invoke-async"),
        ("GET", f"{FUNCTIONS}/{name}/policy"),
        ("GET", "/2016-08-19/account-settings"),
        ("GET", "/2018-10-31/layers"),
        ("GET", "/2015-03-31/event-source-mappings"),
        ("GET", "/2017-03-31/tags/" + urllib.parse.quote(cloud.arn(name), safe="")),
        ("GET", f"{FUNCTIONS}/does-not-exist"),
    ):
        denied(cloud.request(method, path, b"{}"), MISSING)
        denied(cloud.signed(method, path, b"{}", secret="x" * 40), INVALID)
    equal(case.call(name), "kept", "answer")


def test_large_bodies_of_nobody(case):
    """Who has no signature is refused by the head, and need not send a body of megabytes."""
    connection = free_socket(case.cloud.endpoint)
    host = urllib.parse.urlsplit(case.cloud.endpoint).netloc
    head = f"POST {FUNCTIONS} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {64 * MIB}\r\n\r\n"
    connection.sendall(head.encode())
    connection.settimeout(20)
    answer = connection.recv(1000)
    connection.close()
    assert answer.startswith(b"HTTP/1.1 403 "), answer


def test_encodings_of_paths(case):
    """What is signed is what was sent: one path, encoded in several ways."""
    cloud = case.cloud
    name = case.function(saying("ran"))
    for path in (
        f"{FUNCTIONS}/{name}",
        f"{FUNCTIONS}/{name[0]}{name[1:]}",
        f"{FUNCTIONS}/%{ord(name[0]):02X}{name[1:]}",
        f"{FUNCTIONS}/{cloud.arn(name)}",
        f"{FUNCTIONS}/{urllib.parse.quote(cloud.arn(name), safe='')}",
    ):
        answer = cloud.signed("GET", path)
        equal(answer.status, 200, f"status of {path}: {answer}")
        holds(answer.json()["Configuration"], {"FunctionName": name})


def test_one_connection_many_signatures(case):
    """A refused request leaves its connection, or closes it, without harm to others."""
    cloud = case.cloud
    body = json.dumps({"FunctionName": "x", "Code": {"ZipFile": "A" * MIB}}).encode()
    for _ in range(5):
        denied(cloud.signed("POST", FUNCTIONS, body, secret="x" * 40), INVALID)
        admitted(exchange(cloud.endpoint, "GET", FUNCTIONS, b"", cloud.sign("GET", FUNCTIONS)))
    name = case.function(package(saying("ran")))
    equal(case.call(name), "ran", "answer")
