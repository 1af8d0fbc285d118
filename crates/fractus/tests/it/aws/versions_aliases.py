"""Versions, which never change, and aliases, which move."""

import json
import threading

from functions import well_formed
from kit import (
    CONFLICT,
    NOT_FOUND,
    PARAMETER,
    PRECONDITION,
    UUID,
    VALIDATION,
    code_of,
    equal,
    holds,
    package,
    pages,
    refused,
    saying,
    sha256,
    together,
)


def two_versions(case):
    """A function with versions 1 and 2 that answer with their numbers."""
    name = case.function(saying("1"), Publish=True)
    equal(case.version(name, "2"), "2", "version")
    return name


def test_publish(case):
    """A version has a number, an ARN and a revision of its own; the rest is `$LATEST`'s."""
    name = case.function(saying("one"), Description="of the function")
    latest = case.lambda_.get_function_configuration(FunctionName=name)
    told = case.lambda_.publish_version(FunctionName=name, Description="of the version")
    equal(told["ResponseMetadata"]["HTTPStatusCode"], 201, "status")
    well_formed(told)
    holds(
        told,
        {
            "Version": "1",
            "FunctionArn": case.cloud.arn(f"{name}:1"),
            "Description": "of the version",
            "CodeSha256": latest["CodeSha256"],
            "Timeout": latest["Timeout"],
        },
    )
    assert told["RevisionId"] != latest["RevisionId"], "one revision for both"
    quick = {"Delay": 1, "MaxAttempts": 10}
    case.lambda_.get_waiter("published_version_active").wait(
        FunctionName=name, Qualifier="1", WaiterConfig=quick
    )
    kept = case.lambda_.get_function_configuration(FunctionName=name)
    holds(kept, {"Version": "$LATEST", "Description": "of the function"})
    for read in (case.cloud.arn(f"{name}:1"), f"{name}:1"):
        version = case.lambda_.get_function_configuration(FunctionName=read)
        version.pop("ResponseMetadata")
        holds(told, version)


def test_publish_without_a_change(case):
    """Publishing the same again gives the same version."""
    name = case.function(saying("one"))
    first = case.lambda_.publish_version(FunctionName=name)
    again = case.lambda_.publish_version(FunctionName=name)
    equal((first["Version"], again["Version"]), ("1", "1"), "versions")
    equal(again["RevisionId"], first["RevisionId"], "revision")
    equal(again["ResponseMetadata"]["HTTPStatusCode"], 201, "status")
    case.configure(name, Timeout=5)
    equal(case.lambda_.publish_version(FunctionName=name)["Version"], "2", "after a setting")
    case.recode(name, saying("two"))
    equal(case.lambda_.publish_version(FunctionName=name)["Version"], "3", "after code")
    listed = case.lambda_.list_versions_by_function(FunctionName=name)["Versions"]
    equal([entry["Version"] for entry in listed], ["$LATEST", "1", "2", "3"], "versions")


def test_publish_only_if(case):
    """With a hash or a revision, only what has them is published."""
    code = package(saying("one"))
    name = case.function(code)
    revision = case.lambda_.get_function_configuration(FunctionName=name)["RevisionId"]
    refused(
        PARAMETER,
        case.lambda_.publish_version,
        message="is different from current CodeSHA256",
        FunctionName=name,
        CodeSha256=sha256(b"other"),
    )
    refused(
        PRECONDITION,
        case.lambda_.publish_version,
        message="The Revision Id provided does not match",
        FunctionName=name,
        RevisionId="00000000-0000-4000-8000-000000000000",
    )
    listed = case.lambda_.list_versions_by_function(FunctionName=name)["Versions"]
    equal(len(listed), 1, "versions")
    told = case.lambda_.publish_version(
        FunctionName=name, CodeSha256=sha256(code), RevisionId=revision
    )
    equal(told["Version"], "1", "version")


def test_versions_do_not_change(case):
    """Code, settings and variables of a version stay, whatever becomes of `$LATEST`."""
    code = """
import os
def handler(event, context):
    return ["old", os.environ["WHEN"], context.memory_limit_in_mb]
"""
    name = case.function(code, Environment={"Variables": {"WHEN": "old"}}, MemorySize=128)
    told = case.lambda_.publish_version(FunctionName=name)
    before = case.lambda_.get_function(FunctionName=name, Qualifier="1")["Configuration"]
    case.recode(name, code.replace('"old"', '"new"'))
    case.configure(
        name,
        Environment={"Variables": {"WHEN": "new"}},
        MemorySize=256,
        Timeout=9,
        Description="new",
    )
    equal(case.call(name, Qualifier="1"), ["old", "old", "128"], "answer of 1")
    equal(case.call(name), ["new", "new", "256"], "answer of $LATEST")
    equal(case.call(name, Qualifier="$LATEST"), ["new", "new", "256"], "answer of $LATEST")
    after = case.lambda_.get_function(FunctionName=name, Qualifier="1")["Configuration"]
    equal(after, before, "configuration of 1")
    equal(after["RevisionId"], told["RevisionId"], "revision of 1")


def test_versions_cannot_be_changed(case):
    """Updates of a version or an alias are refused, in every way to name one."""
    name = two_versions(case)
    case.lambda_.create_alias(FunctionName=name, Name="live", FunctionVersion="1")
    for target in (f"{name}:1", case.cloud.arn(f"{name}:1"), f"{name}:live"):
        refused(
            PARAMETER,
            case.lambda_.update_function_configuration,
            FunctionName=target,
            Timeout=9,
        )
        refused(
            PARAMETER,
            case.lambda_.update_function_code,
            FunctionName=target,
            ZipFile=package(saying("changed")),
        )
    equal(case.call(name, Qualifier="1"), "1", "answer of 1")
    equal(case.call(name), "2", "answer of $LATEST")


def test_list_of_versions_has_pages(case):
    """`$LATEST` first, then by number, each once, whatever the size of the pages."""
    name = case.function(saying(0))
    for number in range(1, 6):
        equal(case.version(name, str(number)), str(number), "version")
    want = ["$LATEST", "1", "2", "3", "4", "5"]
    for size, fewest in ((1, 6), (4, 2), (50, 1)):
        listed, seen = pages(
            case.lambda_, "list_versions_by_function", "Versions", size=size, FunctionName=name
        )
        equal([entry["Version"] for entry in listed], want, "versions")
        assert seen >= fewest, f"{seen} pages"
    for entry in listed:
        well_formed(entry, active=False)
        equal(entry["FunctionArn"], case.cloud.arn(f"{name}:{entry['Version']}"), "ARN")


def test_numbers_are_never_used_again(case):
    """Neither the number of a deleted version, nor those of a deleted function."""
    name = two_versions(case)
    case.lambda_.delete_function(FunctionName=name, Qualifier="2")
    equal(case.version(name, "3"), "3", "version after 2 was deleted")
    case.lambda_.delete_function(FunctionName=name)
    case.function(saying("4"), named=name)
    equal(case.lambda_.publish_version(FunctionName=name)["Version"], "4", "version of a new one")


def test_publishing_at_once_makes_one_version(case):
    """Many that publish the same get the same version."""
    name = case.function(saying("one"))

    def publish(_):
        return case.lambda_.publish_version(FunctionName=name)["Version"]

    results = together(8, publish)
    versions = [result for result in results if code_of(result) is None]
    assert versions and set(versions) == {"1"}, results
    assert {code_of(result) for result in results} <= {None, CONFLICT}, results
    listed = case.lambda_.list_versions_by_function(FunctionName=name)["Versions"]
    equal([entry["Version"] for entry in listed], ["$LATEST", "1"], "versions")


def test_versions_are_whole(case):
    """Published while code is replaced, each version has the code that its hash says."""
    name = case.function(saying(0))
    texts = {sha256(package(saying(number))): number for number in range(1, 13)}
    over = threading.Event()

    def update(_):
        try:
            for number in range(1, 13):
                case.lambda_.update_function_code(
                    FunctionName=name, ZipFile=package(saying(number))
                )
                case.settled(name)
        finally:
            over.set()

    def publish(_):
        made = {}
        while not over.is_set():
            try:
                told = case.lambda_.publish_version(FunctionName=name)
            except case.lambda_.exceptions.ResourceConflictException:
                continue
            made[told["Version"]] = told["CodeSha256"]
        return made

    results = together(3, lambda place: update(place) if place == 0 else publish(place))
    made = {}
    for result in results[1:]:
        assert code_of(result) is None, result
        for version, digest in result.items():
            equal(made.setdefault(version, digest), digest, f"hash of version {version}")
    assert code_of(results[0]) is None and len(made) > 1, results
    texts[sha256(package(saying(0)))] = 0
    for version, digest in made.items():
        equal(case.call(name, Qualifier=version), texts[digest], f"answer of version {version}")


def test_alias(case):
    """Made, read, listed, moved and deleted."""
    name = two_versions(case)
    client, named = case.lambda_, {"FunctionName": name}
    made = client.create_alias(**named, Name="live", FunctionVersion="1", Description="said")
    equal(made.pop("ResponseMetadata")["HTTPStatusCode"], 201, "status")
    assert UUID.fullmatch(made["RevisionId"]), made
    want = {
        "AliasArn": case.cloud.arn(f"{name}:live"),
        "Name": "live",
        "FunctionVersion": "1",
        "Description": "said",
    }
    equal({**made, "RevisionId": None}, {**want, "RevisionId": None}, "alias")
    read = client.get_alias(**named, Name="live")
    read.pop("ResponseMetadata")
    equal(read, made, "alias that was read")

    plain = client.create_alias(**named, Name="plain", FunctionVersion="2")
    equal(plain["Description"], "", "description")
    client.create_alias(**named, Name="latest", FunctionVersion="$LATEST")
    listed = client.list_aliases(**named)["Aliases"]
    equal(sorted(alias["Name"] for alias in listed), ["latest", "live", "plain"], "aliases")
    only = client.list_aliases(**named, FunctionVersion="1")["Aliases"]
    equal([alias["Name"] for alias in only], ["live"], "aliases of version 1")

    moved = client.update_alias(**named, Name="live", FunctionVersion="2")
    equal(moved["ResponseMetadata"]["HTTPStatusCode"], 200, "status")
    holds(moved, {"FunctionVersion": "2", "Description": "said"})
    assert moved["RevisionId"] != made["RevisionId"], "the revision is the same"
    kept = client.update_alias(**named, Name="live", Description="changed")
    holds(kept, {"FunctionVersion": "2", "Description": "changed"})

    gone = client.delete_alias(**named, Name="live")
    equal(gone["ResponseMetadata"]["HTTPStatusCode"], 204, "status")
    refused(NOT_FOUND, client.get_alias, **named, Name="live")
    refused(NOT_FOUND, client.invoke, **named, Qualifier="live")
    # What is not there can be deleted again.
    client.delete_alias(**named, Name="live")


def test_list_of_aliases_has_pages(case):
    """Each alias once, whatever the size of the pages."""
    name = case.function(saying("1"), Publish=True)
    want = {f"alias-{number}" for number in range(5)}
    for alias in want:
        case.lambda_.create_alias(FunctionName=name, Name=alias, FunctionVersion="1")
    for size in (1, 2, 50):
        listed, _ = pages(case.lambda_, "list_aliases", "Aliases", size=size, FunctionName=name)
        equal(len(listed), 5, "aliases")
        equal({alias["Name"] for alias in listed}, want, "aliases")


def test_alias_refusals(case):
    """Names that are none, versions that are not there, and names that are taken."""
    name = two_versions(case)
    make, named = case.unchecked.create_alias, {"FunctionName": name}
    refused(VALIDATION, make, **named, Name="2024", FunctionVersion="1")
    refused(VALIDATION, make, **named, Name="with space", FunctionVersion="1")
    refused(VALIDATION, make, **named, Name="$LATEST", FunctionVersion="1")
    refused(VALIDATION, make, **named, Name="live", FunctionVersion="one")
    refused(
        NOT_FOUND,
        make,
        message=f"Function not found: {case.cloud.arn(name)}:9",
        **named,
        Name="live",
        FunctionVersion="9",
    )
    make(**named, Name="live", FunctionVersion="1")
    refused(
        CONFLICT,
        make,
        message=f"Alias already exists: {case.cloud.arn(name)}:live",
        **named,
        Name="live",
        FunctionVersion="2",
    )
    update = case.lambda_.update_alias
    refused(
        NOT_FOUND,
        update,
        message=f"Alias not found: {case.cloud.arn(name)}:none",
        **named,
        Name="none",
        FunctionVersion="1",
    )
    refused(NOT_FOUND, update, **named, Name="live", FunctionVersion="9")
    refused(
        NOT_FOUND,
        case.lambda_.get_alias,
        message=f"Cannot find alias arn: {case.cloud.arn(name)}:none",
        **named,
        Name="none",
    )
    equal(case.call(name, Qualifier="live"), "1", "answer of the alias")


def test_revisions_guard_aliases(case):
    """An update for another revision changes nothing; of many at once one wins."""
    name = two_versions(case)
    named = {"FunctionName": name, "Name": "live"}
    stale = case.lambda_.create_alias(**named, FunctionVersion="1")["RevisionId"]
    case.lambda_.update_alias(**named, Description="newer")
    refused(
        PRECONDITION,
        case.lambda_.update_alias,
        **named,
        FunctionVersion="2",
        RevisionId=stale,
    )
    current = case.lambda_.get_alias(**named)
    equal(current["FunctionVersion"], "1", "version")

    def update(place):
        case.lambda_.update_alias(
            **named, Description=f"by {place}", RevisionId=current["RevisionId"]
        )

    codes = [code_of(result) for result in together(8, update)]
    equal(codes.count(None), 1, f"winners in {codes}")
    assert set(codes) <= {None, PRECONDITION, CONFLICT}, codes
    kept = case.lambda_.get_alias(**named)
    equal(kept["Description"], f"by {codes.index(None)}", "description")


def test_alias_moves_at_once(case):
    """The call after a move runs the new version, every time."""
    name = two_versions(case)
    named = {"FunctionName": name, "Name": "live"}
    case.lambda_.create_alias(**named, FunctionVersion="1")
    for number in range(12):
        version = "12"[number % 2]
        case.lambda_.update_alias(**named, FunctionVersion=version)
        for target in (
            {"FunctionName": name, "Qualifier": "live"},
            {"FunctionName": case.cloud.arn(f"{name}:live")},
        ):
            answer = case.lambda_.invoke(**target)
            equal(json.loads(answer["Payload"].read()), version, "answer")
            equal(answer["ExecutedVersion"], version, "version")


def test_alias_of_latest(case):
    """An alias of `$LATEST` follows it."""
    name = case.function(saying("old"))
    case.lambda_.create_alias(FunctionName=name, Name="dev", FunctionVersion="$LATEST")
    case.recode(name, saying("new"))
    answer = case.invoke(name, Qualifier="dev")
    equal(json.loads(answer["Payload"]), "new", "answer")
    equal(answer["ExecutedVersion"], "$LATEST", "version")


def test_configuration_by_alias(case):
    """Read by an alias, a configuration has the version's number and the alias's ARN."""
    name = two_versions(case)
    case.lambda_.create_alias(FunctionName=name, Name="live", FunctionVersion="1")
    told = case.lambda_.get_function_configuration(FunctionName=name, Qualifier="live")
    holds(told, {"Version": "1", "FunctionArn": case.cloud.arn(f"{name}:live")})
    whole = case.lambda_.get_function(FunctionName=name, Qualifier="live")["Configuration"]
    holds(whole, {"Version": "1", "FunctionArn": case.cloud.arn(f"{name}:live")})
    told = case.lambda_.get_function_configuration(FunctionName=name, Qualifier="$LATEST")
    holds(told, {"Version": "$LATEST", "FunctionArn": case.cloud.arn(f"{name}:$LATEST")})


def test_weights_are_kept(case):
    """A routing configuration is told, replaced, and taken away."""
    name = two_versions(case)
    named = {"FunctionName": name, "Name": "live"}
    made = case.lambda_.create_alias(
        **named, FunctionVersion="1", RoutingConfig={"AdditionalVersionWeights": {"2": 0.2}}
    )
    equal(made["RoutingConfig"], {"AdditionalVersionWeights": {"2": 0.2}}, "routing")
    told = case.lambda_.update_alias(**named, Description="other")
    equal(told["RoutingConfig"], {"AdditionalVersionWeights": {"2": 0.2}}, "routing")
    told = case.lambda_.update_alias(**named, RoutingConfig={"AdditionalVersionWeights": {}})
    assert not told.get("RoutingConfig", {}).get("AdditionalVersionWeights"), told
    told = case.lambda_.get_alias(**named)
    assert not told.get("RoutingConfig", {}).get("AdditionalVersionWeights"), told


def test_weights_that_are_none(case):
    """Weights out of range, versions that are not there, and more than one of them."""
    name = two_versions(case)
    equal(case.version(name, "3"), "3", "version")
    refusals = (
        (VALIDATION, "1", {"2": 1.1}),
        (VALIDATION, "1", {"2": -0.1}),
        (VALIDATION, "1", {"$LATEST": 0.5}),
        (VALIDATION, "1", {"live": 0.5}),
        (PARAMETER, "1", {"2": 0.5, "3": 0.2}),
        (PARAMETER, "1", {"1": 0.5}),
        (PARAMETER, "$LATEST", {"1": 0.5}),
        (NOT_FOUND, "1", {"9": 0.5}),
    )
    for code, version, weights in refusals:
        refused(
            code,
            case.unchecked.create_alias,
            FunctionName=name,
            Name="live",
            FunctionVersion=version,
            RoutingConfig={"AdditionalVersionWeights": weights},
        )
    equal(case.lambda_.list_aliases(FunctionName=name)["Aliases"], [], "aliases")


def test_weights_route(case):
    """Calls are shared as the weights say: exactly at the ends, about so between."""
    name = two_versions(case)
    named = {"FunctionName": name, "Name": "live"}
    case.lambda_.create_alias(**named, FunctionVersion="1")

    def share(weight, calls):
        case.lambda_.update_alias(
            **named, RoutingConfig={"AdditionalVersionWeights": {"2": weight}}
        )

        def some(_):
            second = 0
            for _ in range(calls // 8):
                answer = case.invoke(name, Qualifier="live")
                said = json.loads(answer["Payload"])
                equal(answer["ExecutedVersion"], said, "version")
                second += said == "2"
            return second

        results = together(8, some)
        assert {code_of(result) for result in results} == {None}, results
        return sum(results)

    equal(share(0.0, 80), 0, "calls of version 2 at 0.0")
    equal(share(1.0, 80), 80, "calls of version 2 at 1.0")
    # Six standard deviations to either side.
    half, tenth = share(0.5, 400), share(0.1, 400)
    assert 140 <= half <= 260, half
    assert 4 <= tenth <= 76, tenth
    case.lambda_.update_alias(**named, RoutingConfig={"AdditionalVersionWeights": {}})
    said = {case.call(name, Qualifier="live") for _ in range(30)}
    equal(said, {"1"}, "answers without weights")


def test_unknown_qualifiers(case):
    """Qualifiers of nothing, and what cannot be one."""
    name = two_versions(case)
    for call in (case.lambda_.invoke, case.lambda_.get_function):
        for qualifier in ("3", "99999999999999999999", "0", "none", "$latest"):
            refused(NOT_FOUND, call, FunctionName=name, Qualifier=qualifier)
        for qualifier in ("no!", "a b", "ü", "a/b", "-?"):
            refused(VALIDATION, call, FunctionName=name, Qualifier=qualifier)
