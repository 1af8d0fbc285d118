"""Layers: published, listed, mounted and deleted."""

import json
import urllib.request

from dateutil.parser import isoparse

from kit import (
    CONFLICT,
    NOT_FOUND,
    PARAMETER,
    PRECONDITION,
    PYTHON,
    UUID,
    VALIDATION,
    equal,
    holds,
    package,
    pages,
    refused,
    sha256,
)

READ = """
import importlib

def handler(event, context):
    return importlib.import_module(event).VALUE
"""


def published(case, files, name=None, **settings):
    """Publishes a layer, which is deleted when the test ends; gives the answer."""
    layer = name or case.name()
    content = files if isinstance(files, bytes) else package(files)
    told = case.lambda_.publish_layer_version(
        LayerName=layer, Content={"ZipFile": content}, **settings
    )
    case.later(case.lambda_.delete_layer_version, LayerName=layer, VersionNumber=told["Version"])
    return told


def module(value, name="shared"):
    """A layer with one module of Python."""
    return {f"python/{name}.py": f"VALUE = {value!r}\n"}


def arn_of(case, layer):
    """The ARN of a layer; `layer` may have a version."""
    return f"arn:aws:lambda:{case.cloud.region}:{case.cloud.account}:layer:{layer}"


def test_layer(case):
    """Published, read in both ways, listed and deleted."""
    layer, content = case.name(), package(module(1))
    settings = {
        "Description": "said",
        "CompatibleRuntimes": [PYTHON, "python3.11"],
        "CompatibleArchitectures": ["x86_64"],
        "LicenseInfo": "MIT",
    }
    told = published(case, content, layer, **settings)
    equal(told.pop("ResponseMetadata")["HTTPStatusCode"], 201, "status")
    want = {
        **settings,
        "LayerArn": arn_of(case, layer),
        "LayerVersionArn": arn_of(case, f"{layer}:1"),
        "Version": 1,
    }
    holds(told, want)
    holds(told["Content"], {"CodeSha256": sha256(content), "CodeSize": len(content)})
    isoparse(told["CreatedDate"])
    second = published(case, module(2), layer)
    equal(second["Version"], 2, "version")
    equal(second["Description"], "", "description")

    for read in (
        case.lambda_.get_layer_version(LayerName=layer, VersionNumber=1),
        case.lambda_.get_layer_version(LayerName=arn_of(case, layer), VersionNumber=1),
        case.lambda_.get_layer_version_by_arn(Arn=arn_of(case, f"{layer}:1")),
    ):
        equal(read["ResponseMetadata"]["HTTPStatusCode"], 200, "status")
        holds(read, {**want, "CreatedDate": told["CreatedDate"]})
        equal(read["Content"]["CodeSha256"], sha256(content), "hash")

    listed = case.lambda_.list_layer_versions(LayerName=layer)["LayerVersions"]
    equal([entry["Version"] for entry in listed], [2, 1], "versions")
    holds(listed[1], {key: want[key] for key in (*settings, "LayerVersionArn")})
    layers, _ = pages(case.lambda_, "list_layers", "Layers", size=50)
    (ours,) = (entry for entry in layers if entry["LayerName"] == layer)
    equal(ours["LayerArn"], arn_of(case, layer), "ARN")
    equal(ours["LatestMatchingVersion"]["Version"], 2, "latest version")

    gone = case.lambda_.delete_layer_version(LayerName=layer, VersionNumber=1)
    equal(gone["ResponseMetadata"]["HTTPStatusCode"], 204, "status")
    refused(NOT_FOUND, case.lambda_.get_layer_version, LayerName=layer, VersionNumber=1)
    listed = case.lambda_.list_layer_versions(LayerName=layer)["LayerVersions"]
    equal([entry["Version"] for entry in listed], [2], "versions")
    # What is not there can be deleted again.
    case.lambda_.delete_layer_version(LayerName=layer, VersionNumber=1)
    case.lambda_.delete_layer_version(LayerName=layer, VersionNumber=2)
    equal(case.lambda_.list_layer_versions(LayerName=layer)["LayerVersions"], [], "versions")
    equal(published(case, module(3), layer)["Version"], 3, "version after all were deleted")


def test_content_location_gives_the_layer_back(case):
    """`Content.Location` leads to the very bytes."""
    content = package(module(1))
    told = published(case, content)["Content"]
    with urllib.request.urlopen(told["Location"], timeout=30) as answer:
        assert answer.read() == content, "other bytes"


def test_lists_have_pages(case):
    """Layers and their versions, each once, and only those that fit what is asked for."""
    names = [case.name() for _ in range(3)]
    for name in names:
        published(case, module(1), name, CompatibleRuntimes=[PYTHON])
    for number in range(2, 6):
        published(case, module(number), names[0], CompatibleRuntimes=["nodejs20.x"])
    for size in (1, 2, 50):
        layers, _ = pages(case.lambda_, "list_layers", "Layers", size=size)
        listed = [entry["LayerName"] for entry in layers]
        equal(len(listed), len(set(listed)), "layers listed twice")
        assert set(names) <= set(listed), set(names) - set(listed)
        versions, _ = pages(
            case.lambda_, "list_layer_versions", "LayerVersions", size=size, LayerName=names[0]
        )
        equal([entry["Version"] for entry in versions], [5, 4, 3, 2, 1], "versions")
    versions = case.lambda_.list_layer_versions(LayerName=names[0], CompatibleRuntime=PYTHON)
    equal([entry["Version"] for entry in versions["LayerVersions"]], [1], "versions for Python")
    layers, _ = pages(
        case.lambda_, "list_layers", "Layers", size=50, CompatibleRuntime="nodejs20.x"
    )
    listed = {entry["LayerName"] for entry in layers}
    assert names[0] in listed and not listed & set(names[1:]), listed


def test_functions_see_their_layers(case):
    """A layer's modules can be imported; of two that have the same one the later counts."""
    one = published(case, {**module("one"), **module("only one", "single")})
    two = published(case, module("two"))
    arns = [told["LayerVersionArn"] for told in (one, two)]
    name = case.function(READ, Layers=arns)
    told = case.lambda_.get_function_configuration(FunctionName=name)["Layers"]
    equal([layer["Arn"] for layer in told], arns, "layers")
    equal(told[0]["CodeSize"], one["Content"]["CodeSize"], "size")
    equal(case.call(name, "shared"), "two", "module of both")
    equal(case.call(name, "single"), "only one", "module of the first")
    case.configure(name, Layers=[arns[1], arns[0]])
    equal(case.call(name, "shared"), "one", "module of both, the other way round")
    case.configure(name, Layers=[])
    assert not case.lambda_.get_function_configuration(FunctionName=name).get("Layers")
    error = json.loads(case.invoke(name, "shared")["Payload"])
    equal(error["errorType"], "ModuleNotFoundError", "type")


def test_files_of_a_layer(case):
    """A layer lies in `/opt`, with its rights, and cannot be written to."""
    code = """
import os, stat, subprocess, sys

def handler(event, context):
    try:
        open("/opt/new", "w")
        rights = "written"
    except OSError:
        rights = "read-only"
    tool = "/opt/bin/tool.sh"
    # There is no shell.
    ran = subprocess.run([sys.executable, tool], capture_output=True, text=True).stdout
    mode = stat.S_IMODE(os.stat(tool).st_mode) & 0o111
    is_found = "/opt/bin" in os.environ["PATH"].split(":")
    return [open("/opt/data.txt").read(), mode, ran, rights, is_found]
"""
    files = {"data.txt": "data", "bin/tool.sh": "print('ran')\n"}
    layer = published(case, files)["LayerVersionArn"]
    want = ["data", 0o111, "ran\n", "read-only", True]
    equal(case.call(case.function(code, Layers=[layer])), want, "files")


def test_modules_of_node(case):
    """Modules of JavaScript are found in a layer too."""
    files = {"nodejs/node_modules/shared/index.js": "module.exports = 'shared'\n"}
    layer = published(case, files)["LayerVersionArn"]
    code = package("exports.handler = async () => require('shared')\n", "app.js")
    name = case.function(code, Runtime="nodejs20.x", Layers=[layer])
    equal(case.call(name), "shared", "answer")


def test_a_deleted_layer_stays_with_its_functions(case):
    """Functions and versions that have a layer keep it; new ones cannot have it."""
    told = published(case, module("kept"))
    arn = told["LayerVersionArn"]
    name = case.function(READ, Layers=[arn], Publish=True)
    case.lambda_.delete_layer_version(LayerName=told["LayerArn"], VersionNumber=told["Version"])
    case.configure(name, Environment={"Variables": {"NEW": "instance"}})
    equal(case.call(name, "shared"), "kept", "answer")
    equal(case.call(name, "shared", Qualifier="1"), "kept", "answer of 1")
    refused(
        PARAMETER,
        case.lambda_.create_function,
        message=f"Layer version {arn} does not exist",
        FunctionName=case.name(),
        **case.settings(READ, Layers=[arn]),
    )


def test_versions_keep_their_layers(case):
    """Layers of `$LATEST` may change, those of a version do not."""
    first = published(case, module("first"))["LayerVersionArn"]
    second = published(case, module("second"))["LayerVersionArn"]
    name = case.function(READ, Layers=[first], Publish=True)
    case.configure(name, Layers=[second])
    equal(case.call(name, "shared"), "second", "answer of $LATEST")
    equal(case.call(name, "shared", Qualifier="1"), "first", "answer of 1")


def test_refusals_of_functions(case):
    """Layers that are not there, elsewhere, twice, or without a version."""
    layer = case.name()
    for number in range(2):
        published(case, module(number), layer)
    name = case.function()
    arn = arn_of(case, layer)
    elsewhere = arn.replace(case.cloud.region, "eu-north-1") + ":1"
    for code, layers in (
        (PARAMETER, [f"{arn}:1", f"{arn}:2"]),
        (PARAMETER, [f"{arn}:1", f"{arn}:1"]),
        (PARAMETER, [f"{arn}:9"]),
        (PARAMETER, [arn_of(case, "does-not-exist:1")]),
        (PARAMETER, [elsewhere]),
        (VALIDATION, [arn]),
        (VALIDATION, [layer]),
        (VALIDATION, [f"{arn}:one"]),
    ):
        refused(
            code,
            case.unchecked.update_function_configuration,
            FunctionName=name,
            Layers=layers,
        )
    assert not case.lambda_.get_function_configuration(FunctionName=name).get("Layers")


def test_refusals(case):
    """Layers that are not there, versions and archives that are none."""
    client, layer = case.unchecked, case.name()
    refused(NOT_FOUND, client.get_layer_version, LayerName=layer, VersionNumber=1)
    published(case, module(1), layer)
    refused(NOT_FOUND, client.get_layer_version, LayerName=layer, VersionNumber=2)
    for number in (0, -1):
        refused(
            PARAMETER,
            client.get_layer_version,
            message="Layer Version Cannot be less than 1",
            LayerName=layer,
            VersionNumber=number,
        )
    refused(NOT_FOUND, client.get_layer_version_by_arn, Arn=arn_of(case, f"{layer}:2"))
    refused(VALIDATION, client.get_layer_version_by_arn, Arn=arn_of(case, layer))
    publish = client.publish_layer_version
    refused(PARAMETER, publish, LayerName=layer, Content={"ZipFile": b"no zip"})
    refused((PARAMETER, VALIDATION), publish, LayerName=layer, Content={})
    good = {"ZipFile": package(module(1))}
    # A slash is none of the path's, however it is written: there is no such path.
    refused((VALIDATION, "UnknownOperationException"), publish, LayerName="no/name", Content=good)
    for bad in (
        {"CompatibleRuntimes": ["python0.1"]},
        {"CompatibleArchitectures": ["pdp11"]},
        {"CompatibleRuntimes": [PYTHON] * 16},
    ):
        refused(VALIDATION, publish, LayerName=layer, Content=good, **bad)
    refused(VALIDATION, client.list_layers, CompatibleRuntime="python0.1")
    equal(len(client.list_layer_versions(LayerName=layer)["LayerVersions"]), 1, "versions")


def test_policy(case):
    """Who else may use a version of a layer is kept, with revisions."""
    told = published(case, module(1))
    layer = {"LayerName": told["LayerArn"].split(":")[-1], "VersionNumber": 1}
    client = case.unchecked
    refused(NOT_FOUND, client.get_layer_version_policy, **layer)
    asked = {"Action": "lambda:GetLayerVersion", "Principal": "*"}
    made = client.add_layer_version_permission(**layer, StatementId="s1", **asked)
    equal(made["ResponseMetadata"]["HTTPStatusCode"], 201, "status")
    assert UUID.fullmatch(made["RevisionId"]), made
    statement = {
        "Sid": "s1",
        "Effect": "Allow",
        "Principal": "*",
        "Action": "lambda:GetLayerVersion",
        "Resource": told["LayerVersionArn"],
    }
    equal(json.loads(made["Statement"]), statement, "statement")
    read = client.get_layer_version_policy(**layer)
    equal(read["RevisionId"], made["RevisionId"], "revision")
    want = {"Version": "2012-10-17", "Id": "default", "Statement": [statement]}
    equal(json.loads(read["Policy"]), want, "policy")
    add = client.add_layer_version_permission
    refused(CONFLICT, add, **layer, StatementId="s1", **asked)
    refused(VALIDATION, add, **layer, StatementId="s2", Action="*", Principal="*")
    wrong = "00000000-0000-4000-8000-000000000000"
    refused(PRECONDITION, add, **layer, StatementId="s2", RevisionId=wrong, **asked)
    take = client.remove_layer_version_permission
    refused(NOT_FOUND, take, **layer, StatementId="none")
    refused(PRECONDITION, take, **layer, StatementId="s1", RevisionId=wrong)
    take(**layer, StatementId="s1", RevisionId=made["RevisionId"])
    refused(NOT_FOUND, take, **layer, StatementId="s1")
