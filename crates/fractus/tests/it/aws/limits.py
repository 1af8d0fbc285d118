"""Every documented limit, at its edge and one beyond."""

import base64
import io
import json
import urllib.parse
import zipfile

from kit import (
    MIB,
    NOT_FOUND,
    PARAMETER,
    PYTHON,
    STATUS,
    VALIDATION,
    equal,
    free_socket,
    package,
    patient,
    refused,
    saying,
)

# Longest timeout in seconds. AWS's guide says 900; the service model of botocore 1.44 speaks of
# 1,800 and 5,400 for kinds of functions that are not offered here.
TIMEOUT_MAX = 900

# What is too large to be read is one error, a payload that is too large another one in the service
# model; AWS answers the first to both.
TOO_LARGE_ENTITY = "RequestEntityTooLargeException"
TOO_LARGE = (TOO_LARGE_ENTITY, "RequestTooLargeException")
STATUS.update(dict.fromkeys(TOO_LARGE, 413))

LENGTH = """
import json

def handler(event, context):
    return len(event)
"""


def edges(case, member, good, bad, code=VALIDATION):
    """Sets a member in creation and in an update: to what is good, and to what is not."""
    name = case.function()
    for value in good:
        told = case.configure(name, **{member: value})
        equal(told[member], value, member)
        made = case.function(**{member: value})
        case.lambda_.delete_function(FunctionName=made)
    for value in bad:
        refused(
            code,
            case.unchecked.update_function_configuration,
            FunctionName=name,
            **{member: value},
        )
        refused(
            code,
            case.unchecked.create_function,
            FunctionName=case.name(),
            **case.settings(**{member: value}),
        )
    kept = case.lambda_.get_function_configuration(FunctionName=name)[member]
    equal(kept, good[-1], f"{member} after what was refused")


def test_memory(case):
    """128 to 10,240 MB."""
    edges(case, "MemorySize", [128, 129, 10_240], [127, 10_241, 0, -1])


def test_timeout(case):
    """1 second to 15 minutes."""
    edges(case, "Timeout", [1, TIMEOUT_MAX], [0, TIMEOUT_MAX + 1, -1])


def test_ephemeral_storage(case):
    """512 to 10,240 MB."""
    good = [{"Size": 512}, {"Size": 10_240}]
    edges(case, "EphemeralStorage", good, [{"Size": 511}, {"Size": 10_241}])


def test_description(case):
    """256 characters, not bytes."""
    edges(case, "Description", ["", "x" * 256, "ü" * 256], ["x" * 257, "ü" * 257])


def test_handler(case):
    """128 characters without a space."""
    edges(case, "Handler", ["app." + "h" * 124], ["app." + "h" * 125, "app handler"])


def test_name(case):
    """64 characters; a longer one cannot be made, and is not found."""
    long = (case.name() + "-" + "x" * 64)[:64]
    case.function(saying("ran"), named=long)
    equal(case.call(long), "ran", "answer")
    equal(case.call(case.cloud.arn(long)), "ran", "answer by ARN")
    refused(
        PARAMETER,
        case.lambda_.create_function,
        message="Member must have length less than or equal to 64",
        FunctionName=long + "x",
        **case.settings(),
    )
    refused(NOT_FOUND, case.lambda_.get_function, FunctionName=long + "x")
    refused(
        VALIDATION,
        case.lambda_.create_function,
        message="Member must have length less than or equal to 140",
        FunctionName="x" * 141,
        **case.settings(),
    )


def test_environment(case):
    """4 KB for all variables together, measured as JSON, names, quotes and all."""

    def variables(size):
        empty = len(json.dumps({"FIRST": "1", "LARGE": ""}, separators=(",", ":")))
        return {"Variables": {"FIRST": "1", "LARGE": "x" * (size - empty)}}

    edges(
        case,
        "Environment",
        [variables(4096)],
        [variables(4097), variables(5000)],
        PARAMETER,
    )
    code = "import os\ndef handler(event, context):\n    return len(os.environ['LARGE'])\n"
    name = case.function(code, Environment=variables(4096))
    equal(case.call(name), len(variables(4096)["Variables"]["LARGE"]), "length in the function")


def test_names_of_variables(case):
    """Letters, digits and underscores, a letter first, two at least."""
    edges(
        case,
        "Environment",
        [{"Variables": {name: "1"}} for name in ("aB_9", "Ab", "A" * 200)],
        [{"Variables": {name: "1"}} for name in ("A", "1A", "A-B", "A B", "_A", "", "Ü", "A=B")],
    )


def test_role(case):
    """A role's ARN has its form."""
    base = f"arn:aws:iam::{case.cloud.account}:role/"
    edges(case, "Role", [base + "a", base + "p/" + "r" * 64], ["", base + "a b", "role"])


def test_layers(case):
    """Five layers."""
    arns = []
    for _ in range(6):
        layer = case.name()
        told = case.lambda_.publish_layer_version(
            LayerName=layer, Content={"ZipFile": package({"python/m.py": "VALUE = 1\n"})}
        )
        case.later(case.lambda_.delete_layer_version, LayerName=layer, VersionNumber=1)
        arns.append(told["LayerVersionArn"])
    name = case.function(Layers=arns[:5])
    refused(
        PARAMETER,
        case.lambda_.update_function_configuration,
        message="Cannot reference more than 5 layers",
        FunctionName=name,
        Layers=arns,
    )
    refused(
        PARAMETER,
        case.lambda_.create_function,
        FunctionName=case.name(),
        **case.settings(Layers=arns),
    )
    kept = case.lambda_.get_function_configuration(FunctionName=name)["Layers"]
    equal(len(kept), 5, "layers")


def test_texts_of_layers(case):
    """A layer's name, description and license."""
    content = {"ZipFile": package({"python/m.py": ""})}
    layer = (case.name() + "-" + "x" * 140)[:140]
    case.lambda_.publish_layer_version(
        LayerName=layer, Content=content, Description="x" * 256, LicenseInfo="x" * 512
    )
    case.later(case.lambda_.delete_layer_version, LayerName=layer, VersionNumber=1)
    publish = case.unchecked.publish_layer_version
    for bad in (
        {"LayerName": layer + "x"},
        {"Description": "x" * 257},
        {"LicenseInfo": "x" * 513},
        {"CompatibleRuntimes": [PYTHON] * 16},
        {"CompatibleArchitectures": ["x86_64"] * 3},
    ):
        refused(VALIDATION, publish, **{"LayerName": layer, "Content": content, **bad})


def test_payload(case):
    """6 MiB for who waits: in and out, to the byte."""
    name = case.function(LENGTH, Timeout=30)
    most = 6 * MIB
    event = json.dumps("x" * (most - 2)).encode()
    answer = case.lambda_.invoke(FunctionName=name, Payload=event)
    equal(json.loads(answer["Payload"].read()), most - 2, "length")
    for size in (most + 1, most + 100_000):
        refused(
            TOO_LARGE,
            case.lambda_.invoke,
            FunctionName=name,
            Payload=json.dumps("x" * (size - 2)).encode(),
        )
    equal(case.call(name, "x"), 1, "next answer")


def test_payload_of_an_answer(case):
    """6 MiB, and some bytes that AWS allows on top."""
    name = case.function("def handler(event, context):\n    return 'x' * event\n", Timeout=30)
    most = 6 * MIB
    equal(len(case.call(name, most - 2)), most - 2, "length")
    answer = case.invoke(name, most + 200)
    equal(answer["FunctionError"], "Unhandled", "error")
    equal(json.loads(answer["Payload"])["errorType"], "Function.ResponseSizeTooLarge", "type")
    equal(case.call(name, 1), "x", "next answer")


def test_payload_of_an_event(case):
    """1 MiB for who does not wait, to the byte."""
    name = case.function("def handler(event, context):\n    print('length', len(event))\n")
    event = json.dumps("x" * (MIB - 2)).encode()
    answer = case.lambda_.invoke(FunctionName=name, Payload=event, InvocationType="Event")
    equal(answer["StatusCode"], 202, "status")
    case.lines(name, 1, f"length {MIB - 2}")
    refused(
        TOO_LARGE,
        case.lambda_.invoke,
        FunctionName=name,
        Payload=json.dumps("x" * (MIB - 1)).encode(),
        InvocationType="Event",
    )
    equal(len(case.lines(name, 1, "length")), 1, "calls")


def test_client_context(case):
    """3,583 bytes of base64."""

    def context(length):
        whole = b'{"custom": {"k": "' + b"x" * length + b'"}}'
        return base64.b64encode(whole).decode()

    code = "def handler(event, context):\n    return len(context.client_context.custom['k'])\n"
    name = case.function(code)
    # 3,580 is the longest that base64 with padding can be.
    length = 3580 // 4 * 3 - len(b'{"custom": {"k": ""}}')
    equal(len(context(length)), 3580, "base64")
    equal(case.call(name, ClientContext=context(length)), length, "length in the function")
    status = None
    for more in (1, 1000):
        try:
            case.invoke(name, ClientContext=context(length + more))
        except case.lambda_.exceptions.ClientError as error:
            status = error.response["ResponseMetadata"]["HTTPStatusCode"]
            kind = error.response["Error"]["Code"]
            assert not kind.isdigit(), error.response
        else:
            raise AssertionError(f"{len(context(length + more))} bytes were taken")
        assert status in (400, 413), status


def test_alias(case):
    """128 characters for its name, 256 for its description."""
    name = case.function(Publish=True)
    make, named = case.unchecked.create_alias, {"FunctionName": name, "FunctionVersion": "1"}
    make(**named, Name="a" * 128, Description="x" * 256)
    read = case.lambda_.get_alias(FunctionName=name, Name="a" * 128)
    equal(read["AliasArn"], case.cloud.arn(f"{name}:{'a' * 128}"), "ARN")
    equal(case.call(name, 1, Qualifier="a" * 128), 1, "answer")
    for bad in (
        {"Name": "a" * 129},
        {"Name": ""},
        {"Name": "123"},
        {"Name": "a.b"},
        {"Name": "b", "Description": "x" * 257},
    ):
        refused(VALIDATION, make, **{**named, **bad})
    for call in (case.unchecked.invoke, case.unchecked.get_function):
        refused(VALIDATION, call, FunctionName=name, Qualifier="a" * 129)
        refused(NOT_FOUND, call, FunctionName=name, Qualifier="b" * 128)


def test_policy(case):
    """20 KB for a policy."""
    name = case.function()

    def add(number):
        case.lambda_.add_permission(
            FunctionName=name,
            StatementId=f"s{number:02}" + "x" * 97,
            Action="lambda:InvokeFunction",
            Principal="s3.amazonaws.com",
            SourceArn="arn:aws:s3:::" + "b" * 1000,
        )

    added = 0
    error = None
    while error is None and added < 40:
        try:
            add(added)
            added += 1
        except case.lambda_.exceptions.PolicyLengthExceededException as raised:
            error = raised.response
    assert error, f"{added} statements of more than 1 KB were taken"
    equal(error["ResponseMetadata"]["HTTPStatusCode"], 400, "status")
    policy = case.lambda_.get_policy(FunctionName=name)["Policy"]
    assert len(policy) <= 20 << 10, len(policy)
    statement = len(policy) / added
    assert len(policy) + statement > 18 << 10, f"refused at {len(policy)} bytes"
    equal(len(json.loads(policy)["Statement"]), added, "statements")


def test_statement_id(case):
    """100 characters."""
    name = case.function()
    asked = {
        "FunctionName": name,
        "Action": "lambda:InvokeFunction",
        "Principal": "s3.amazonaws.com",
    }
    case.lambda_.add_permission(**asked, StatementId="s" * 100)
    refused(VALIDATION, case.lambda_.add_permission, **asked, StatementId="s" * 101)
    case.lambda_.remove_permission(FunctionName=name, StatementId="s" * 100)


def test_tags(case):
    """50 tags of 128 and 256 characters."""

    def tags(first, end):
        return {f"key-{number}": "v" for number in range(first, end)}

    name = case.function(Tags=tags(0, 49))
    arn = case.cloud.arn(name)
    case.lambda_.tag_resource(Resource=arn, Tags={"k" * 128: "v" * 256})
    equal(len(case.lambda_.list_tags(Resource=arn)["Tags"]), 50, "tags")
    case.lambda_.tag_resource(Resource=arn, Tags=tags(0, 49))
    message = "Number of tags exceeds resource tag limit"
    refused(PARAMETER, case.lambda_.tag_resource, message=message, Resource=arn, Tags={"a": "1"})
    equal(len(case.lambda_.list_tags(Resource=arn)["Tags"]), 50, "tags")
    refused(
        PARAMETER,
        case.lambda_.create_function,
        message=message,
        FunctionName=case.name(),
        **case.settings(Tags=tags(0, 51)),
    )


def test_events(case):
    """No to two retries, ages of a minute to six hours."""
    name = case.function()
    put = case.unchecked.put_function_event_invoke_config
    for member, good, bad in (
        ("MaximumRetryAttempts", (0, 1, 2), (-1, 3)),
        ("MaximumEventAgeInSeconds", (60, 21_600), (0, 59, 21_601)),
    ):
        for value in good:
            equal(put(FunctionName=name, **{member: value})[member], value, member)
        for value in bad:
            refused(VALIDATION, put, FunctionName=name, **{member: value})


def test_pages(case):
    """Pages have 1 to 10,000 items when they are asked for, and 50 when they come."""
    name = case.function(Publish=True)
    for call, most, more in (
        (case.unchecked.list_functions, 10_000, {}),
        (case.unchecked.list_versions_by_function, 10_000, {"FunctionName": name}),
        (case.unchecked.list_aliases, 10_000, {"FunctionName": name}),
        (case.unchecked.list_event_source_mappings, 10_000, {}),
        (case.unchecked.list_layers, 50, {}),
        (case.unchecked.list_layer_versions, 50, {"LayerName": "none"}),
        (case.unchecked.list_function_url_configs, 50, {"FunctionName": name}),
        (case.unchecked.list_function_event_invoke_configs, 50, {"FunctionName": name}),
        (case.unchecked.list_provisioned_concurrency_configs, 50, {"FunctionName": name}),
    ):
        for count in (1, most):
            call(MaxItems=count, **more)
        for count in (0, most + 1, -1):
            refused(VALIDATION, call, MaxItems=count, **more)


@patient(300)
def test_pages_have_fifty(case):
    """More than 50 are not told at once, whatever is asked for."""
    name = case.function()
    for number in range(1, 52):
        case.configure(name, Description=str(number))
        told = case.lambda_.publish_version(FunctionName=name)
        equal(told["Version"], str(number), "version")
    for asked in ({}, {"MaxItems": 10_000}):
        page = case.lambda_.list_versions_by_function(FunctionName=name, **asked)
        assert page.get("NextMarker"), f"{len(page['Versions'])} versions and no marker"
        equal(len(page["Versions"]), 50, "versions")
        rest = case.lambda_.list_versions_by_function(FunctionName=name, Marker=page["NextMarker"])
        equal((len(rest["Versions"]), rest.get("NextMarker")), (2, None), "rest")
    equal(
        case.lambda_.get_function_configuration(FunctionName=name, Qualifier="1")["Description"],
        "1",
        "description of the first version",
    )


def test_request(case):
    """A request to make a function has 70,167,211 bytes at most; more is refused by its head."""
    cloud, body = case.cloud, b"{}"
    headers = {"Content-Length": "70167212", "Content-Type": "application/json"}
    for method, path, message in (
        ("POST", "/2015-03-31/functions", b"CreateFunction"),
        ("PUT", "/2015-03-31/functions/some-function/code", b"UpdateFunctionCode"),
    ):
        signed = cloud.sign(method, path, body, headers)
        host = urllib.parse.urlsplit(cloud.endpoint).netloc
        head = f"{method} {path} HTTP/1.1\r\nHost: {host}\r\n"
        head += "".join(f"{name}: {value}\r\n" for name, value in signed.items())
        connection = free_socket(cloud.endpoint)
        connection.sendall(head.encode() + b"\r\n" + body)
        connection.settimeout(20)
        answer = connection.recv(4000)
        connection.close()
        assert answer.startswith(b"HTTP/1.1 413 "), answer
        assert TOO_LARGE_ENTITY.encode() in answer and message in answer, answer


@patient(240)
def test_code_when_unpacked(case):
    """250 MB when it is unpacked; what would be more is refused."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("app.py", saying(1))
        zeros = zipfile.ZipInfo("zeros")
        zeros.compress_type = zipfile.ZIP_DEFLATED
        with archive.open(zeros, "w") as file:
            for _ in range(251):
                file.write(bytes(MIB))
    refused(
        PARAMETER,
        case.lambda_.create_function,
        message="Unzipped size must be smaller than 262144000 bytes",
        FunctionName=case.name(),
        **case.settings(buffer.getvalue()),
    )
