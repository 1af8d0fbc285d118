"""Reserved and provisioned concurrency."""

import threading
import time

from kit import (
    CONFLICT,
    NOT_FOUND,
    PARAMETER,
    THROTTLED,
    VALIDATION,
    code_of,
    equal,
    holds,
    pages,
    refused,
    saying,
    together,
    until,
)

SLEEP = """
import time

def handler(event, context):
    begin = time.time()
    time.sleep(event)
    return [begin, time.time()]
"""
RESERVED = "ReservedFunctionConcurrentInvocationLimitExceeded"
NO_CONFIG = "ProvisionedConcurrencyConfigNotFoundException"


def test_reserved(case):
    """Put, read in both ways, put anew, taken away."""
    name = case.function()
    client, named = case.lambda_, {"FunctionName": name}
    for count in (5, 1, 0):
        told = client.put_function_concurrency(**named, ReservedConcurrentExecutions=count)
        equal(told["ReservedConcurrentExecutions"], count, "told")
        read = client.get_function_concurrency(**named)
        equal(read["ReservedConcurrentExecutions"], count, "read")
        whole = client.get_function(**named)
        equal(whole["Concurrency"], {"ReservedConcurrentExecutions": count}, "in the function")
    gone = client.delete_function_concurrency(**named)
    equal(gone["ResponseMetadata"]["HTTPStatusCode"], 204, "status")
    assert "ReservedConcurrentExecutions" not in client.get_function_concurrency(**named)
    assert "Concurrency" not in client.get_function(**named)
    client.delete_function_concurrency(**named)


def test_reserved_refusals(case):
    """Only functions have it, only so much is there, and less than nothing is nothing."""
    name = case.function(Publish=True)
    put = case.unchecked.put_function_concurrency
    for target in (f"{name}:1", case.cloud.arn(f"{name}:$LATEST")):
        refused(PARAMETER, put, FunctionName=target, ReservedConcurrentExecutions=1)
    refused(VALIDATION, put, FunctionName=name, ReservedConcurrentExecutions=-1)
    limit = case.lambda_.get_account_settings()["AccountLimit"]["ConcurrentExecutions"]
    refused(
        PARAMETER,
        put,
        message="UnreservedConcurrentExecution",
        FunctionName=name,
        ReservedConcurrentExecutions=limit + 1,
    )
    assert "ReservedConcurrentExecutions" not in case.lambda_.get_function_concurrency(
        FunctionName=name
    )


def test_none_reserved_runs_nothing(case):
    """At 0 every call is throttled, with the reason that AWS gives, and then they run again."""
    name = case.function(saying("ran"), Publish=True)
    case.lambda_.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=0)
    for call, more in (
        (case.lambda_.invoke, {}),
        (case.lambda_.invoke, {"Qualifier": "1"}),
        (case.lambda_.invoke_with_response_stream, {}),
    ):
        error = refused(THROTTLED, call, message="Rate Exceeded", FunctionName=name, **more)
        equal(error["Reason"], RESERVED, "reason")
        equal(error["Type"], "User", "type")
    case.lambda_.delete_function_concurrency(FunctionName=name)
    equal(case.call(name), "ran", "answer")


def test_reserved_is_the_most(case):
    """Of more calls at once than are reserved, the reserved run and the others are throttled."""
    name = case.function(SLEEP)
    case.lambda_.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=2)
    results = together(6, lambda _: case.call(name, 2))
    codes = [code_of(result) for result in results]
    equal(sorted(code or "ran" for code in codes), [THROTTLED] * 4 + ["ran"] * 2, "results")
    for error in results:
        if code_of(error):
            equal(error.response["Reason"], RESERVED, "reason")
    until(lambda: code_of(together(1, lambda _: case.call(name, 0))[0]) is None, 5, "a free place")


def test_throttling_ends_with_the_call(case):
    """With one reserved, a second call is throttled exactly while the first runs."""
    name = case.function(SLEEP)
    case.call(name, 0)
    case.lambda_.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=1)
    first = []
    thread = threading.Thread(target=lambda: first.append(case.call(name, 3)))
    thread.start()
    time.sleep(1)
    refused(THROTTLED, case.lambda_.invoke, FunctionName=name, Payload=b"0")
    thread.join(30)
    assert first, "the first call failed"
    equal(len(case.call(name, 0)), 2, "answer")


def test_functions_do_not_share(case):
    """What one function reserves is not taken by another."""
    busy, calm = case.function(SLEEP), case.function(saying("ran"))
    case.lambda_.put_function_concurrency(FunctionName=busy, ReservedConcurrentExecutions=1)
    case.lambda_.put_function_concurrency(FunctionName=calm, ReservedConcurrentExecutions=1)
    thread = threading.Thread(target=lambda: case.call(busy, 2))
    thread.start()
    time.sleep(0.5)
    equal([case.call(calm) for _ in range(3)], ["ran"] * 3, "answers")
    thread.join(30)


def test_provisioned(case):
    """Instances of a version that are made ahead, until they are taken away."""
    name = case.function(saying("ran"), Publish=True)
    client, named = case.lambda_, {"FunctionName": name, "Qualifier": "1"}
    refused(NO_CONFIG, client.get_provisioned_concurrency_config, status=404, **named)
    told = client.put_provisioned_concurrency_config(**named, ProvisionedConcurrentExecutions=2)
    equal(told["ResponseMetadata"]["HTTPStatusCode"], 202, "status")
    equal(told["RequestedProvisionedConcurrentExecutions"], 2, "requested")
    assert told["Status"] in ("IN_PROGRESS", "READY"), told
    assert told["LastModified"], told

    def ready():
        read = client.get_provisioned_concurrency_config(**named)
        assert read["Status"] != "FAILED", read
        return read if read["Status"] == "READY" else None

    read = until(ready, 60, "ready")
    holds(
        read,
        {
            "RequestedProvisionedConcurrentExecutions": 2,
            "AllocatedProvisionedConcurrentExecutions": 2,
            "AvailableProvisionedConcurrentExecutions": 2,
        },
    )
    equal(case.call(name, Qualifier="1"), "ran", "answer")
    listed = client.list_provisioned_concurrency_configs(FunctionName=name)
    entries = listed["ProvisionedConcurrencyConfigs"]
    equal([entry["FunctionArn"] for entry in entries], [case.cloud.arn(f"{name}:1")], "ARNs")
    holds(entries[0], {"RequestedProvisionedConcurrentExecutions": 2, "Status": "READY"})
    gone = client.delete_provisioned_concurrency_config(**named)
    equal(gone["ResponseMetadata"]["HTTPStatusCode"], 204, "status")
    refused(NO_CONFIG, client.get_provisioned_concurrency_config, status=404, **named)
    listed = client.list_provisioned_concurrency_configs(FunctionName=name)
    equal(listed["ProvisionedConcurrencyConfigs"], [], "configs")
    equal(case.call(name, Qualifier="1"), "ran", "answer")


def test_provisioned_list_has_pages(case):
    """Versions and aliases are listed, each once."""
    name = case.function(saying("0"))
    want = set()
    for number in range(1, 4):
        version = case.version(name, str(number))
        case.lambda_.put_provisioned_concurrency_config(
            FunctionName=name, Qualifier=version, ProvisionedConcurrentExecutions=1
        )
        want.add(case.cloud.arn(f"{name}:{version}"))
    for size in (1, 2, 50):
        listed, _ = pages(
            case.lambda_,
            "list_provisioned_concurrency_configs",
            "ProvisionedConcurrencyConfigs",
            size=size,
            FunctionName=name,
        )
        equal(len(listed), 3, "configs")
        equal({entry["FunctionArn"] for entry in listed}, want, "ARNs")


def test_provisioned_refusals(case):
    """What is not published, what is not there, and what is taken."""
    name = case.function(Publish=True)
    case.lambda_.create_alias(FunctionName=name, Name="live", FunctionVersion="1")
    put, named = case.unchecked.put_provisioned_concurrency_config, {"FunctionName": name}
    for code, qualifier, count in (
        (PARAMETER, "$LATEST", 1),
        (VALIDATION, "1", 0),
        (NOT_FOUND, "9", 1),
        (NOT_FOUND, "none", 1),
    ):
        refused(code, put, **named, Qualifier=qualifier, ProvisionedConcurrentExecutions=count)
    limit = case.lambda_.get_account_settings()["AccountLimit"]["ConcurrentExecutions"]
    refused(PARAMETER, put, **named, Qualifier="1", ProvisionedConcurrentExecutions=limit + 1)
    for qualifier, code, status in (
        ("none", NOT_FOUND, 404),
        ("9", NOT_FOUND, 404),
        ("$LATEST", PARAMETER, 400),
        ("1", NO_CONFIG, 404),
    ):
        refused(
            code,
            case.lambda_.get_provisioned_concurrency_config,
            status=status,
            **named,
            Qualifier=qualifier,
        )
    put(**named, Qualifier="1", ProvisionedConcurrentExecutions=1)
    refused(
        CONFLICT,
        put,
        message="already Provisioned version",
        **named,
        Qualifier="live",
        ProvisionedConcurrentExecutions=1,
    )
