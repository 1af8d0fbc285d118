"""Asynchronous invocations: how often they are tried, and where their outcome goes."""

import json
import time

from kit import (
    NOT_FOUND,
    PARAMETER,
    UUID,
    VALIDATION,
    equal,
    holds,
    pages,
    patient,
    refused,
    saying,
)

# What AWS waits before the first retry and before the second one, and some time to spare. A node
# that waits less makes the tests faster.
FIRST_RETRY, SECOND_RETRY, SPARE = 60, 120, 30

FAIL = """
def handler(event, context):
    print("attempt of", context.aws_request_id, event)
    raise ValueError("as was asked")
"""
SUCCEED = """
def handler(event, context):
    print("attempt of", context.aws_request_id, event)
    return {"did": event}
"""
KEEP = """
import json

def handler(event, context):
    print("record", json.dumps(event))
"""


def destination(case):
    """Somewhere that records of invocations can be sent to: its ARN, and what reads it.

    It is a function that prints what it gets. Where destinations of another kind are to be tested,
    this is the one place to change, together with `destination_records`.
    """
    name = case.function(KEEP)
    return case.cloud.arn(name), name


def destination_records(case, kept, count, *, seconds=30):
    """The records that came to a destination, as soon as there are `count`, in order.

    `kept` is the second value of `destination`. Reads the log of the function that was the
    destination; nothing else of the node's is used.
    """
    lines = case.lines(kept, count, "record ", seconds=seconds)
    return [json.loads(line.split("record ", 1)[1]) for line in lines if "record " in line]


def send(case, name, event, **more):
    """Calls a function asynchronously; gives the id of the request."""
    answer = case.invoke(name, event, InvocationType="Event", **more)
    equal(answer["StatusCode"], 202, "status")
    return answer["ResponseMetadata"]["RequestId"]


def attempts(case, name, count, *, seconds=30):
    """Request ids of a function's attempts, as soon as there are so many."""
    lines = case.lines(name, count, "attempt of ", seconds=seconds)
    return [line.split("attempt of ", 1)[1].split()[0] for line in lines]


def test_config(case):
    """Put, updated, read, listed and deleted."""
    name = case.function(Publish=True)
    arn, _ = destination(case)
    client, named = case.lambda_, {"FunctionName": name}
    told = client.put_function_event_invoke_config(**named, MaximumRetryAttempts=0)
    told.pop("ResponseMetadata")
    age = time.time() - told.pop("LastModified").timestamp()
    assert abs(age) < 600, age
    want = {
        "FunctionArn": case.cloud.arn(f"{name}:$LATEST"),
        "MaximumRetryAttempts": 0,
        "DestinationConfig": {"OnSuccess": {}, "OnFailure": {}},
    }
    equal(told, want, "told")
    told = client.put_function_event_invoke_config(**named, MaximumEventAgeInSeconds=60)
    assert "MaximumRetryAttempts" not in told, told
    told = client.update_function_event_invoke_config(**named, MaximumRetryAttempts=1)
    holds(told, {"MaximumEventAgeInSeconds": 60, "MaximumRetryAttempts": 1})
    sent = {"OnSuccess": {"Destination": arn}, "OnFailure": {"Destination": arn}}
    told = client.update_function_event_invoke_config(**named, DestinationConfig=sent)
    holds(told, {"MaximumEventAgeInSeconds": 60, "DestinationConfig": sent})
    read = client.get_function_event_invoke_config(**named)
    holds(read, {"MaximumRetryAttempts": 1, "DestinationConfig": sent})
    read = client.get_function_event_invoke_config(**named, Qualifier="$LATEST")
    holds(read, {"MaximumRetryAttempts": 1, "FunctionArn": case.cloud.arn(f"{name}:$LATEST")})

    refused(NOT_FOUND, client.get_function_event_invoke_config, **named, Qualifier="1")
    told = client.put_function_event_invoke_config(
        **named, Qualifier="1", MaximumEventAgeInSeconds=120
    )
    equal(told["FunctionArn"], case.cloud.arn(f"{name}:1"), "ARN")
    listed, _ = pages(
        client,
        "list_function_event_invoke_configs",
        "FunctionEventInvokeConfigs",
        size=1,
        **named,
    )
    arns = {entry["FunctionArn"] for entry in listed}
    equal(arns, {case.cloud.arn(f"{name}:{version}") for version in ("$LATEST", "1")}, "ARNs")

    gone = client.delete_function_event_invoke_config(**named)
    equal(gone["ResponseMetadata"]["HTTPStatusCode"], 204, "status")
    for call, more in (
        (client.get_function_event_invoke_config, {}),
        (client.delete_function_event_invoke_config, {}),
        (client.update_function_event_invoke_config, {"MaximumRetryAttempts": 1}),
    ):
        refused(NOT_FOUND, call, message="doesn't have an EventInvokeConfig", **named, **more)
    listed = client.list_function_event_invoke_configs(**named)["FunctionEventInvokeConfigs"]
    equal([entry["FunctionArn"] for entry in listed], [case.cloud.arn(f"{name}:1")], "ARNs")


def test_config_refusals(case):
    """Nothing to set, destinations that are none, qualifiers that do not fit."""
    name = case.function()
    put, named = case.unchecked.put_function_event_invoke_config, {"FunctionName": name}
    refused(PARAMETER, put, **named)
    for kind in ("OnSuccess", "OnFailure"):
        for code, arn in (
            (PARAMETER, case.cloud.arn(name)),
            (PARAMETER, case.cloud.arn("does-not-exist")),
            (PARAMETER, f"arn:aws:iam:{case.cloud.region}:{case.cloud.account}:role/r"),
            (VALIDATION, "no ARN"),
        ):
            refused(code, put, **named, DestinationConfig={kind: {"Destination": arn}})
    refused(NOT_FOUND, put, **named, Qualifier="none", MaximumRetryAttempts=1)
    refused(
        PARAMETER,
        put,
        FunctionName=f"{name}:one",
        Qualifier="other",
        MaximumRetryAttempts=1,
    )
    refused(NOT_FOUND, case.lambda_.get_function_event_invoke_config, **named)


def test_success_is_told(case):
    """A record of a call that went well says what went in and came out."""
    arn, kept = destination(case)
    name = case.function(SUCCEED)
    case.lambda_.put_function_event_invoke_config(
        FunctionName=name, DestinationConfig={"OnSuccess": {"Destination": arn}}
    )
    number = send(case, name, {"a": "ü"})
    (record,) = destination_records(case, kept, 1)
    equal(record["version"], "1.0", "version")
    assert record["timestamp"].endswith("Z"), record
    equal(
        record["requestContext"],
        {
            "requestId": number,
            "functionArn": case.cloud.arn(f"{name}:$LATEST"),
            "condition": "Success",
            "approximateInvokeCount": 1,
        },
        "context",
    )
    holds(
        record,
        {
            "requestPayload": {"a": "ü"},
            "responseContext": {"statusCode": 200, "executedVersion": "$LATEST"},
            "responsePayload": {"did": {"a": "ü"}},
        },
    )
    assert UUID.fullmatch(number), number


def test_failure_is_told(case):
    """Without retries a call that fails is made once, and its record says why it failed."""
    arn, kept = destination(case)
    name = case.function(FAIL)
    case.lambda_.put_function_event_invoke_config(
        FunctionName=name,
        MaximumRetryAttempts=0,
        DestinationConfig={"OnFailure": {"Destination": arn}},
    )
    number = send(case, name, {"a": 1})
    (record,) = destination_records(case, kept, 1)
    holds(
        record["requestContext"],
        {"requestId": number, "condition": "RetriesExhausted", "approximateInvokeCount": 1},
    )
    equal(
        record["responseContext"],
        {"statusCode": 200, "executedVersion": "$LATEST", "functionError": "Unhandled"},
        "response",
    )
    equal(record["requestPayload"], {"a": 1}, "payload")
    holds(record["responsePayload"], {"errorType": "ValueError", "errorMessage": "as was asked"})
    time.sleep(3)
    equal(attempts(case, name, 1), [number], "attempts")


def test_configs_are_of_qualifiers(case):
    """A call by an alias goes where the alias's configuration says, and its record says so."""
    arn, kept = destination(case)
    name = case.function(SUCCEED, Publish=True)
    case.lambda_.create_alias(FunctionName=name, Name="live", FunctionVersion="1")
    case.lambda_.put_function_event_invoke_config(
        FunctionName=name,
        Qualifier="live",
        DestinationConfig={"OnSuccess": {"Destination": arn}},
    )
    send(case, name, "unqualified")
    send(case, name, "by alias", Qualifier="live")
    (record,) = destination_records(case, kept, 1)
    equal(record["requestPayload"], "by alias", "payload")
    equal(record["requestContext"]["functionArn"], case.cloud.arn(f"{name}:live"), "ARN")
    equal(record["responseContext"]["executedVersion"], "1", "version")
    attempts(case, name, 2)
    time.sleep(2)
    equal(len(destination_records(case, kept, 1)), 1, "records")


def test_nothing_may_run(case):
    """With no concurrency reserved an event goes to its destination without an attempt."""
    arn, kept = destination(case)
    name = case.function(SUCCEED)
    case.lambda_.put_function_event_invoke_config(
        FunctionName=name,
        MaximumRetryAttempts=0,
        DestinationConfig={"OnFailure": {"Destination": arn}},
    )
    case.lambda_.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=0)
    send(case, name, {"a": 1})
    (record,) = destination_records(case, kept, 1)
    holds(
        record["requestContext"],
        {"condition": "ZeroReservedConcurrency", "approximateInvokeCount": 0},
    )
    equal(record["requestPayload"], {"a": 1}, "payload")
    equal([line for line in case.cloud.logs(name) if "attempt of" in line], [], "attempts")


@patient(FIRST_RETRY + SECOND_RETRY + 4 * SPARE)
def test_retries(case):
    """A failed call is made again as often as was set, two times by default, under one id."""
    once, twice, default = (case.function(FAIL) for _ in range(3))
    kept = {}
    for name, settings in (
        (once, {"MaximumRetryAttempts": 1}),
        (twice, {"MaximumRetryAttempts": 2}),
        (default, {}),
    ):
        arn, kept[name] = destination(case)
        case.lambda_.put_function_event_invoke_config(
            FunctionName=name,
            DestinationConfig={"OnFailure": {"Destination": arn}},
            **settings,
        )
    numbers = {name: send(case, name, {"of": name}) for name in kept}
    for name, count in ((once, 2), (twice, 3), (default, 3)):
        found = attempts(case, name, count, seconds=FIRST_RETRY + SECOND_RETRY + SPARE)
        equal(found, [numbers[name]] * count, "attempts")
        (record,) = destination_records(case, kept[name], 1)
        holds(
            record["requestContext"],
            {
                "requestId": numbers[name],
                "condition": "RetriesExhausted",
                "approximateInvokeCount": count,
            },
        )
    time.sleep(2)
    equal(len(attempts(case, once, 2)), 2, "attempts")


@patient(FIRST_RETRY + 3 * SPARE)
def test_a_retry_runs_what_is_there_then(case):
    """Code that was mended before the retry makes it succeed."""
    arn, kept = destination(case)
    name = case.function(FAIL)
    case.lambda_.put_function_event_invoke_config(
        FunctionName=name,
        MaximumRetryAttempts=1,
        DestinationConfig={"OnSuccess": {"Destination": arn}, "OnFailure": {"Destination": arn}},
    )
    number = send(case, name, {"a": 1})
    attempts(case, name, 1)
    case.recode(name, SUCCEED)
    (record,) = destination_records(case, kept, 1, seconds=FIRST_RETRY + SPARE)
    holds(
        record["requestContext"],
        {"requestId": number, "condition": "Success", "approximateInvokeCount": 2},
    )
    equal(record["responsePayload"], {"did": {"a": 1}}, "answer")


def test_many_events_run_once_each(case):
    """Of a hundred events each runs, and none twice."""
    name = case.function("def handler(event, context):\n    print('did', event, 'once')\n")
    for number in range(100):
        send(case, name, number)
    case.lines(name, 100, "did ", seconds=60)
    time.sleep(1)
    did = sorted(int(line.split()[-2]) for line in case.lines(name, 100, "did "))
    equal(did, list(range(100)), "events")


def test_payloads_that_are_no_json(case):
    """They are refused when they come, not later."""
    name = case.function(saying(1))
    for bad in (b"{", b"\xff", b"'a'", b"{} {}"):
        refused(
            "InvalidRequestContentException",
            case.lambda_.invoke,
            FunctionName=name,
            InvocationType="Event",
            Payload=bad,
        )
