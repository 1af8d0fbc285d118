"""Requests that make no sense: archives, bodies, types and qualifiers."""

import base64
import io
import json
import struct
import time
import zipfile

from kit import (
    CONTENT,
    NOT_FOUND,
    PARAMETER,
    PYTHON,
    VALIDATION,
    equal,
    exchange,
    package,
    refused,
    saying,
    together,
)

FUNCTIONS = "/2015-03-31/functions"
SERIALIZATION = "SerializationException"


def archive(entries):
    """A zip archive of pairs of names and contents; a name may be a `ZipInfo`."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in entries:
            file.writestr(name, content)
    return buffer.getvalue()


def link(name, target):
    """An entry that is a symbolic link."""
    info = zipfile.ZipInfo(name)
    info.create_system = 3
    info.external_attr = 0o120777 << 16
    return info, target


def bad_archives():
    """Names and bytes of archives that are none, or that would do harm."""
    good = package(saying("ran"))
    app = ("app.py", saying("ran"))
    flipped = bytearray(good)
    # Within the compressed data of the first file.
    flipped[45] ^= 0xFF
    far = bytearray(good)
    # The end says that the directory begins where nothing is.
    struct.pack_into("<I", far, len(far) - 6, 0x7FFFFFF0)
    yield "no bytes", b""
    yield "a text", b"this is no archive"
    yield "a tar", b"app.py" + bytes(100) + b"ustar" + bytes(512)
    yield "the first half", good[: len(good) // 2]
    yield "all but the end", good[:-1]
    yield "only the end", good[-22:-1]
    yield "other data", bytes(flipped)
    yield "a directory that is elsewhere", bytes(far)
    yield "a way out", archive([app, ("../escaped.py", "x = 1\n")])
    yield "a long way out", archive([app, ("a/../../escaped.py", "x = 1\n")])
    yield "an absolute path", archive([app, ("/etc/escaped.py", "x = 1\n")])


def test_archives(case):
    """None of them makes a function, changes one, or takes the node along."""
    name = case.function(saying("kept"))
    before = case.lambda_.get_function_configuration(FunctionName=name)
    for what, data in bad_archives():
        new = case.name()
        asked = case.settings(data)
        codes = (PARAMETER, VALIDATION) if not data else PARAMETER
        try:
            refused(codes, case.unchecked.create_function, FunctionName=new, **asked)
            refused(codes, case.unchecked.update_function_code, FunctionName=name, ZipFile=data)
        except AssertionError as error:
            raise AssertionError(f"{what}: {error}") from error
        refused(NOT_FOUND, case.lambda_.get_function, FunctionName=new)
    after = case.lambda_.get_function_configuration(FunctionName=name)
    equal(after["CodeSha256"], before["CodeSha256"], "hash")
    equal(case.call(name), "kept", "answer")


def test_links_in_archives(case):
    """Links are refused, be it within the package or to the node's files."""
    secret = case.cloud.data / "credentials.json"
    for target in ("data", str(secret), "/etc/shadow", "../../../../../../etc/shadow"):
        data = archive([("app.py", saying(1)), ("data", "inside"), link("bad", target)])
        asked = case.settings(data)
        refused(
            PARAMETER,
            case.lambda_.create_function,
            message="symbolic link",
            FunctionName=case.name(),
            **asked,
        )
    over = archive([("app.py", saying(1)), link("d", "/tmp"), ("d/escaped", "x")])
    refused(
        PARAMETER, case.lambda_.create_function, FunctionName=case.name(), **case.settings(over)
    )


def test_an_archive_that_grows(case):
    """A bomb is refused soon, and costs neither the memory nor the disk that it claims."""
    layer = bytes(64 << 20)
    bomb = archive([("app.py", saying(1)), *((f"zeros-{number}", layer) for number in range(8))])
    begin = time.monotonic()
    refused(
        PARAMETER, case.lambda_.create_function, FunctionName=case.name(), **case.settings(bomb)
    )
    assert time.monotonic() - begin < 30, "it took too long"
    equal(case.call(case.function(saying("well"))), "well", "answer of another function")


def test_many_small_files(case):
    """An archive of thousands of files is taken."""
    entries = [("app.py", saying("ran")), *((f"d{n % 50}/f{n}", "x") for n in range(3000))]
    equal(case.call(case.function(archive(entries))), "ran", "answer")


def post(case, body, path=FUNCTIONS, method="POST", **headers):
    """A signed request with these bytes."""
    return case.cloud.signed(method, path, body, headers)


def test_bodies(case):
    """Bodies that are no JSON, or JSON of another form, are refused with 400 and a type."""
    name = case.name()
    good = {
        "FunctionName": name,
        "Runtime": PYTHON,
        "Role": case.cloud.role(),
        "Handler": "app.handler",
        "Code": {"ZipFile": base64.b64encode(package(saying(1))).decode()},
    }
    for body in (
        b"",
        b"{",
        b"[]",
        b"null",
        b'"text"',
        b"1",
        b"\xff\xfe",
        b"{'FunctionName': 'x'}",
        json.dumps(good).encode()[:-1],
        json.dumps(good).encode() + b"}",
        json.dumps({**good, "Code": "text"}).encode(),
        json.dumps({**good, "Code": []}).encode(),
        json.dumps({**good, "Code": {"ZipFile": 1}}).encode(),
        json.dumps({**good, "Code": {"ZipFile": "%%% no base64 %%%"}}).encode(),
        json.dumps({**good, "FunctionName": 1}).encode(),
        json.dumps({**good, "FunctionName": None}).encode(),
        json.dumps({**good, "FunctionName": [name]}).encode(),
        json.dumps({**good, "Timeout": "ten"}).encode(),
        json.dumps({**good, "Timeout": 1e300}).encode(),
        json.dumps({**good, "Timeout": {}}).encode(),
        json.dumps({**good, "MemorySize": True}).encode(),
        json.dumps({**good, "Environment": []}).encode(),
        json.dumps({**good, "Environment": {"Variables": ["a"]}}).encode(),
        json.dumps({**good, "Environment": {"Variables": {"AB": 1}}}).encode(),
        json.dumps({**good, "Environment": {"Variables": {"AB": None}}}).encode(),
        json.dumps({**good, "Layers": "one"}).encode(),
        json.dumps({**good, "Layers": [1]}).encode(),
        json.dumps({**good, "Layers": [None]}).encode(),
        json.dumps({**good, "Tags": ["a"]}).encode(),
        json.dumps({**good, "Tags": {"a": {}}}).encode(),
        json.dumps({**good, "Publish": "maybe"}).encode(),
        json.dumps({**good, "Architectures": "x86_64"}).encode(),
        json.dumps({**good, "EphemeralStorage": 512}).encode(),
        b"[" * 100_000,
        b'{"a":' * 100_000,
    ):
        answer = post(case, body)
        equal(answer.status, 400, f"status of {answer} to {body[:80]!r}…{body[-80:]!r}")
        kind = answer.error()
        assert kind in (SERIALIZATION, CONTENT, VALIDATION, PARAMETER), f"{kind} to {body[:200]!r}"
    refused(NOT_FOUND, case.lambda_.get_function, FunctionName=name)


def test_what_is_not_known_is_passed_over(case):
    """Members that the service does not know are no error, nor are nulls for what is optional."""
    name = case.name()
    body = {
        "FunctionName": name,
        "Runtime": PYTHON,
        "Role": case.cloud.role(),
        "Handler": "app.handler",
        "Code": {"ZipFile": base64.b64encode(package(saying("ran"))).decode()},
        "Description": None,
        "Layers": None,
        "FromTheFuture": {"a": [1]},
    }
    answer = post(case, json.dumps(body).encode())
    equal(answer.status, 201, f"status of {answer}")
    case.settled(name)
    equal(case.call(name), "ran", "answer")


def test_bodies_of_other_operations(case):
    """The same for changes, aliases, policies, URLs, concurrency, events and layers."""
    name = case.function(saying("kept"), Publish=True)
    one = f"{FUNCTIONS}/{name}"
    for method, path in (
        ("PUT", f"{one}/code"),
        ("PUT", f"{one}/configuration"),
        ("POST", f"{one}/aliases"),
        ("POST", f"{one}/policy"),
        ("POST", f"/2021-10-31/functions/{name}/url"),
        ("PUT", f"/2017-10-31/functions/{name}/concurrency"),
        ("PUT", f"/2019-09-25/functions/{name}/event-invoke-config"),
        ("PUT", f"/2019-09-30/functions/{name}/provisioned-concurrency?Qualifier=1"),
        ("POST", "/2015-03-31/event-source-mappings"),
        ("POST", f"/2018-10-31/layers/{case.name()}/versions"),
        ("POST", "/2017-03-31/tags/" + case.cloud.arn(name).replace(":", "%3A")),
    ):
        for body in (b"{", b"[]", b"null", b'"text"', b"\xff", b"[" * 50_000):
            answer = post(case, body, path, method)
            equal(answer.status, 400, f"status of {answer} to {method} {path} {body[:20]!r}")
            answer.error()
    equal(case.call(name), "kept", "answer")


def test_payloads(case):
    """Payloads that are no JSON do not reach the function."""
    name = case.function(saying("ran"))
    for payload in (b"{", b"\x80", b"{'a': 1}", b"a", b"{} {}", b"[1,]", b"\xef\xbb\xbf{", b"NaN"):
        refused(CONTENT, case.lambda_.invoke, FunctionName=name, Payload=payload)
        refused(
            CONTENT,
            case.lambda_.invoke_with_response_stream,
            FunctionName=name,
            Payload=payload,
        )
    equal(case.call(name), "ran", "answer")


def test_queries(case):
    """Parameters that are no numbers, twice there, or of nothing."""
    for query in ("MaxItems=ten", "MaxItems=1.5", "MaxItems=99999999999999999999"):
        answer = case.cloud.signed("GET", f"{FUNCTIONS}?{query}")
        equal(answer.status, 400, f"status of {answer} to {query}")
        answer.error()
    for query in ("Unknown=1", "MaxItems=50&Unknown", ""):
        answer = case.cloud.signed("GET", f"{FUNCTIONS}?{query}")
        equal(answer.status, 200, f"status of {answer} to {query}")
    for path in ("layers/name/versions/one", "layers/name/versions/1.5"):
        answer = case.cloud.signed("GET", f"/2018-10-31/{path}")
        assert 400 <= answer.status < 500, answer
        answer.error()


def test_paths(case):
    """Names with what no name has, encoded in every way, are refused with a type."""
    for name in (
        "a%2Fb",
        "..%2F..%2Fetc%2Fpasswd",
        "%00",
        "a%0Ab",
        "%FF",
        "%C3%BC",
        "%",
        "%zz",
        "a%20b",
        "x" * 5000,
        "%78" * 3000,
        "arn%3Aaws%3Alambda",
        "*",
        "$LATEST",
        ":1",
        "a:",
        "a:b:c:d:e:f:g:h",
    ):
        for method, path in (("GET", f"{FUNCTIONS}/{name}"), ("DELETE", f"{FUNCTIONS}/{name}")):
            answer = exchange(case.cloud.endpoint, method, path, b"", case.cloud.sign(method, path))
            assert 400 <= answer.status < 500, f"{answer} to {path[:200]}"
            if answer.status not in (414, 431):
                answer.error()


def test_many_bad_requests_at_once(case):
    """A flood of nonsense does not keep others from their work."""
    name = case.function(saying("ran"))

    def nonsense(place):
        for _ in range(20):
            answer = post(case, b"[" * 10_000 * (1 + place % 3))
            equal(answer.status, 400, "status")

    def work(_):
        for _ in range(20):
            equal(case.call(name), "ran", "answer")

    results = together(8, lambda place: work(place) if place < 2 else nonsense(place))
    errors = [result for result in results if result is not None]
    assert not errors, errors
