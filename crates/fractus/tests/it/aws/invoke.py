"""Invocations: synchronous, asynchronous, streamed and only tried."""

import base64
import json
import re
import time

from kit import (
    CONTENT,
    NODE,
    NOT_FOUND,
    UUID,
    equal,
    holds,
    package,
    refused,
    saying,
    together,
)

CONTEXT = """
import json, os, time

def handler(event, context):
    client = context.client_context
    return {
        "function_name": context.function_name,
        "function_version": context.function_version,
        "invoked_function_arn": context.invoked_function_arn,
        "memory_limit_in_mb": context.memory_limit_in_mb,
        "aws_request_id": context.aws_request_id,
        "log_group_name": context.log_group_name,
        "log_stream_name": context.log_stream_name,
        "left": context.get_remaining_time_in_millis(),
        "client": client and {
            "custom": client.custom, "env": client.env, "title": client.client.app_title,
        },
        "environment": dict(os.environ),
    }
"""

LOUD = """
print("while it starts")

def handler(event, context):
    print("hello from", event["who"])
    print("x" * event.get("much", 0))
    print("the end")
    if event.get("fail"):
        raise ValueError("as was asked")
"""

FAULTS = """
import ctypes, os, sys, time

class Refused(Exception):
    pass

def handler(event, context):
    what = event["do"]
    if what == "raise":
        raise Refused("as was asked: ü")
    if what == "exit":
        os._exit(3)
    if what == "sys.exit":
        sys.exit(4)
    if what == "crash":
        ctypes.string_at(0)
    if what == "sleep":
        time.sleep(60)
    if what == "unserialisable":
        return {1, 2}
    if what == "large":
        return "x" * (6 << 20 | 200)
    return "well"
"""

STREAM = """
export const handler = awslambda.streamifyResponse(async (event, stream, context) => {
  stream.setContentType('text/plain')
  for (let number = 0; number < event.chunks; number += 1) {
    stream.write(`chunk ${number};`)
    await new Promise((done) => setTimeout(done, 150))
    if (number + 1 === event.fail) throw new Error('as was asked')
  }
  stream.end()
})
"""

BOOTSTRAP = """#!/usr/bin/env python3
import http.client, json, os

api = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
while True:
    api.request("GET", "/2018-06-01/runtime/invocation/next")
    event = api.getresponse()
    body = event.read()
    number = event.headers["Lambda-Runtime-Aws-Request-Id"]
    answer = json.dumps({"handler": os.environ["_HANDLER"], "event": json.loads(body)})
    api.request("POST", f"/2018-06-01/runtime/invocation/{number}/response", answer)
    api.getresponse().read()
"""


def failure(case, name, event):
    """What a function fails with."""
    answer = case.invoke(name, event)
    equal(answer["StatusCode"], 200, "status")
    equal(answer["FunctionError"], "Unhandled", "FunctionError")
    equal(answer["ExecutedVersion"], "$LATEST", "version")
    return json.loads(answer["Payload"])


def tail(answer):
    """The lines of the log that came with an answer."""
    return base64.b64decode(answer["LogResult"], validate=True).decode().splitlines()


def test_answer(case):
    """A result, its version, and nothing about errors or logs that were not asked for."""
    name = case.function(saying({"a": [1, 2.5, None, "ü"]}))
    answer = case.invoke(name)
    equal(json.loads(answer["Payload"]), {"a": [1, 2.5, None, "ü"]}, "payload")
    holds(answer, {"StatusCode": 200, "ExecutedVersion": "$LATEST"})
    assert "FunctionError" not in answer and "LogResult" not in answer, answer
    headers = answer["ResponseMetadata"]["HTTPHeaders"]
    equal(headers["content-type"], "application/json", "content type")
    equal(int(headers["content-length"]), len(answer["Payload"]), "length")


def test_payloads_arrive_as_they_are(case):
    """Any JSON goes in and comes out; no payload is an empty object."""
    name = case.function()
    for event in (
        {},
        [],
        None,
        "",
        0,
        False,
        "text",
        1.5,
        -(2**53),
        {"a": {"b": [[], {}, None]}},
        'ü 日本 \U0001f600 \u0000 \\ " / \u2028',
        {"": "", " ": " ", "ü": "日本"},
        ["x" * 1000] * 1000,
    ):
        answer = case.lambda_.invoke(FunctionName=name, Payload=json.dumps(event).encode())
        equal(json.loads(answer["Payload"].read()), event, "event")
    raw = '  { "a" : "ü" }\n'.encode()
    answer = case.lambda_.invoke(FunctionName=name, Payload=raw)
    equal(json.loads(answer["Payload"].read()), {"a": "ü"}, "event with spaces")
    equal(json.loads(case.lambda_.invoke(FunctionName=name)["Payload"].read()), {}, "no event")


def test_nothing_is_null(case):
    """A handler that returns nothing answers null."""
    name = case.function("def handler(event, context):\n    pass\n")
    equal(case.invoke(name)["Payload"], b"null", "payload")


def test_context(case):
    """The context says what AWS's does, and the request's id is the function's too."""
    name = case.function(CONTEXT, MemorySize=256, Timeout=30)
    answer = case.invoke(name)
    context = json.loads(answer["Payload"])
    environment = context.pop("environment")
    holds(
        context,
        {
            "function_name": name,
            "function_version": "$LATEST",
            "invoked_function_arn": case.cloud.arn(name),
            "memory_limit_in_mb": "256",
            "log_group_name": f"/aws/lambda/{name}",
            "client": None,
        },
    )
    assert UUID.fullmatch(context["aws_request_id"]), context
    equal(answer["ResponseMetadata"]["RequestId"], context["aws_request_id"], "request id")
    assert 25_000 < context["left"] <= 30_000, context["left"]
    holds(
        environment,
        {
            "AWS_LAMBDA_FUNCTION_NAME": name,
            "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "256",
            "AWS_LAMBDA_LOG_GROUP_NAME": f"/aws/lambda/{name}",
            "AWS_REGION": case.cloud.region,
            "_HANDLER": "app.handler",
            "LAMBDA_TASK_ROOT": "/var/task",
        },
    )
    assert case.cloud.secret not in environment.values(), "the node's secret is in there"


def test_arn_is_the_one_that_was_called(case):
    """The ARN has the qualifier of the call; the version is what ran."""
    name = case.function(CONTEXT, Publish=True)
    case.lambda_.create_alias(FunctionName=name, Name="live", FunctionVersion="1")
    for qualifier, arn, version in (
        ("$LATEST", f"{name}:$LATEST", "$LATEST"),
        ("1", f"{name}:1", "1"),
        ("live", f"{name}:live", "1"),
    ):
        answer = case.invoke(name, Qualifier=qualifier)
        context = json.loads(answer["Payload"])
        equal(answer["ExecutedVersion"], version, "ExecutedVersion")
        equal(context["function_version"], version, "version")
        equal(context["invoked_function_arn"], case.cloud.arn(arn), "ARN")
        equal(context["environment"]["AWS_LAMBDA_FUNCTION_VERSION"], version, "variable")


def test_client_context(case):
    """What the caller says of itself reaches the handler."""
    name = case.function(CONTEXT)
    said = {
        "custom": {"foo": "bar", "ü": "日本"},
        "env": {"locale": "de"},
        "client": {"app_title": "title", "installation_id": "id"},
    }
    encoded = base64.b64encode(json.dumps(said).encode()).decode()
    context = case.call(name, ClientContext=encoded)
    want = {"custom": said["custom"], "env": said["env"], "title": "title"}
    equal(context["client"], want, "client context")
    equal(case.call(name)["client"], None, "client context of the next call")
    for bad in ("%%%", base64.b64encode(b"no json").decode()):
        refused(CONTENT, case.lambda_.invoke, FunctionName=name, ClientContext=bad)


def test_errors_have_a_form(case):
    """What a handler raises is told with type, message and stack, and the next call works."""
    name = case.function(FAULTS)
    error = failure(case, name, {"do": "raise"})
    holds(error, {"errorType": "Refused", "errorMessage": "as was asked: ü"})
    assert any("line 10, in handler" in line for line in error["stackTrace"]), error
    assert 'File "/var/task/app.py"' in error["stackTrace"][-1], error
    equal(case.call(name, {"do": "well"}), "well", "next answer")


def test_errors_name_the_request(case):
    """AWS's Python says which request failed."""
    name = case.function(FAULTS)
    answer = case.invoke(name, {"do": "raise"})
    told = json.loads(answer["Payload"])["requestId"]
    equal(told, answer["ResponseMetadata"]["RequestId"], "request id")


def test_ends_of_the_process_are_told(case):
    """A runtime that exits or crashes fails its call only."""
    name = case.function(FAULTS)
    for do, message in (
        ("exit", "exit status 3"),
        ("sys.exit", ""),
        ("crash", "signal: segmentation fault"),
    ):
        error = failure(case, name, {"do": do})
        equal(error["errorType"], "Runtime.ExitError", "type")
        assert re.match(f"RequestId: {UUID.pattern} Error: ", error["errorMessage"]), error
        assert message in error["errorMessage"], error
        equal(case.call(name, {"do": "well"}), "well", "next answer")


def test_time_out(case):
    """A call is ended when its time is over, neither before nor much later."""
    name = case.function(FAULTS, Timeout=1)
    case.call(name, {"do": "well"})
    begin = time.monotonic()
    error = failure(case, name, {"do": "sleep"})
    took = time.monotonic() - begin
    equal(error["errorType"], "Sandbox.Timedout", "type")
    assert error["errorMessage"].endswith("Task timed out after 1.00 seconds"), error
    assert 0.9 < took < 5, f"{took} s"
    equal(case.call(name, {"do": "well"}), "well", "next answer")


def test_answers_that_are_none(case):
    """What is no JSON, and what is too long, is an error of the function's."""
    name = case.function(FAULTS)
    error = failure(case, name, {"do": "unserialisable"})
    equal(error["errorType"], "Runtime.MarshalError", "type")
    error = failure(case, name, {"do": "large"})
    equal(error["errorType"], "Function.ResponseSizeTooLarge", "type")
    assert "exceeded maximum allowed payload size" in error["errorMessage"], error
    equal(case.call(name, {"do": "well"}), "well", "next answer")


def test_memory_that_is_not_there(case):
    """A function that wants more than its memory is ended."""
    code = "def handler(event, context):\n    return len(bytearray(event << 20))\n"
    name = case.function(code, MemorySize=128)
    error = failure(case, name, 512)
    assert error["errorType"] in ("Runtime.ExitError", "Runtime.OutOfMemory", "MemoryError"), error
    equal(case.call(name, 1), 1 << 20, "next answer")


def test_code_that_does_not_start(case):
    """Whatever is wrong with the code is told in the words of AWS's runtime, on each call."""
    good = saying(1)
    for code, handler, kind, message in (
        (
            "import nothing_of_that_name\n" + good,
            "app.handler",
            "Runtime.ImportModuleError",
            "Unable to import module 'app': No module named 'nothing_of_that_name'",
        ),
        (
            good,
            "other.handler",
            "Runtime.ImportModuleError",
            "Unable to import module 'other': No module named 'other'",
        ),
        (
            good,
            "app.missing",
            "Runtime.HandlerNotFound",
            "Handler 'missing' missing on module 'app'",
        ),
        (good, "app", "Runtime.MalformedHandlerName", "Bad handler 'app'"),
        ("def handler(:\n", "app.handler", "Runtime.UserCodeSyntaxError", "Syntax error in module"),
        ("raise RuntimeError('at once')\n" + good, "app.handler", "RuntimeError", "at once"),
    ):
        name = case.function(code, Handler=handler)
        for _ in range(2):
            error = failure(case, name, {})
            equal(error["errorType"], kind, f"type of {error}")
            assert message in error["errorMessage"], error


def test_log_tail(case):
    """With `Tail` the log of this call comes back: its frame, its lines, its figures."""
    name = case.function(LOUD, MemorySize=192)
    answer = case.invoke(name, {"who": "Ü"}, LogType="Tail")
    number = answer["ResponseMetadata"]["RequestId"]
    lines = tail(answer)
    start = lines.index(f"START RequestId: {number} Version: $LATEST")
    assert lines.index("hello from Ü") > start, lines
    end = lines.index(f"END RequestId: {number}")
    assert lines.index("the end") < end, lines
    report = lines[end + 1]
    figures = re.fullmatch(
        rf"REPORT RequestId: {number}\tDuration: (\d+\.\d\d) ms\tBilled Duration: (\d+) ms"
        r"\tMemory Size: 192 MB\tMax Memory Used: (\d+) MB(\tInit Duration: \d+\.\d\d ms)?\s*",
        report,
    )
    assert figures, report
    assert int(figures[2]) >= float(figures[1]) > 0 and int(figures[3]) > 0, report

    second = case.invoke(name, {"who": "two"}, LogType="Tail")
    text = "\n".join(tail(second))
    assert "hello from two" in text and "hello from Ü" not in text, text
    assert "LogResult" not in case.invoke(name, {"who": "three"}, LogType="None")


def test_log_tail_of_an_error(case):
    """A failed call has its log too, with what was raised."""
    name = case.function(LOUD)
    answer = case.invoke(name, {"who": "me", "fail": True}, LogType="Tail")
    text = "\n".join(tail(answer))
    for part in ("hello from me", "[ERROR] ValueError: as was asked", "END RequestId", "REPORT"):
        assert part in text, text


def test_log_tail_is_the_end(case):
    """Of a long log the last 4 KB are told."""
    name = case.function(LOUD)
    answer = case.invoke(name, {"who": "me", "much": 7000}, LogType="Tail")
    told = base64.b64decode(answer["LogResult"])
    assert 3000 < len(told) <= 4096, len(told)
    assert b"the end" in told and b"REPORT" in told and b"hello from" not in told, told


def test_dry_run(case):
    """A call that is only tried answers 204 and runs nothing."""
    name = case.function(LOUD)
    answer = case.invoke(name, {"who": "nobody"}, InvocationType="DryRun")
    equal((answer["StatusCode"], answer["Payload"]), (204, b""), "answer")
    refused(NOT_FOUND, case.lambda_.invoke, FunctionName=case.name(), InvocationType="DryRun")
    refused(
        NOT_FOUND,
        case.lambda_.invoke,
        FunctionName=name,
        Qualifier="9",
        InvocationType="DryRun",
    )
    case.call(name, {"who": "somebody"})
    lines = case.lines(name, 1, "hello from")
    equal([line for line in lines if "hello from" in line], ["hello from somebody"], "log")


def test_event(case):
    """An asynchronous call answers 202 at once, and is made once."""
    name = case.function(
        "import time\ndef handler(e, c):\n    time.sleep(1)\n    print('did', e)\n"
    )
    begin = time.monotonic()
    answer = case.invoke(name, 7, InvocationType="Event")
    took = time.monotonic() - begin
    equal((answer["StatusCode"], answer["Payload"]), (202, b""), "answer")
    assert took < 0.9, f"{took} s"
    assert "FunctionError" not in answer and "LogResult" not in answer, answer
    case.lines(name, 1, "did 7")
    time.sleep(1)
    equal(len(case.lines(name, 1, "did 7")), 1, "calls")
    refused(NOT_FOUND, case.lambda_.invoke, FunctionName=case.name(), InvocationType="Event")


def test_invoke_async(case):
    """The old way to call asynchronously."""
    name = case.function("def handler(event, context):\n    print('did', event)\n")
    answer = case.lambda_.invoke_async(FunctionName=name, InvokeArgs=b"8")
    equal(answer["Status"], 202, "status")
    case.lines(name, 1, "did 8")


def test_unknown_kinds_of_calls(case):
    """Invocation and log types that are none."""
    name = case.function()
    for bad in ({"InvocationType": "Sometimes"}, {"LogType": "Head"}):
        refused("ValidationException", case.unchecked.invoke, FunctionName=name, **bad)


def streamed(answer):
    """Chunks of a streamed answer, when each came, and how it ended."""
    chunks, completed, begin = [], None, time.monotonic()
    for event in answer["EventStream"]:
        assert completed is None, f"{event} after the end"
        if "PayloadChunk" in event:
            chunks.append((time.monotonic() - begin, event["PayloadChunk"]["Payload"]))
        else:
            completed = event["InvokeComplete"]
    assert completed is not None, "no InvokeComplete"
    return chunks, completed


def test_stream_of_a_buffered_function(case):
    """A handler that does not stream comes as a whole, with its log if that was asked for."""
    name = case.function(LOUD.replace("fail", "never") + "    return {'who': event['who']}\n")
    answer = case.lambda_.invoke_with_response_stream(
        FunctionName=name, Payload=b'{"who": "me"}', LogType="Tail"
    )
    holds(answer, {"StatusCode": 200, "ExecutedVersion": "$LATEST"})
    headers = answer["ResponseMetadata"]["HTTPHeaders"]
    equal(headers["content-type"], "application/vnd.amazon.eventstream", "content type")
    chunks, completed = streamed(answer)
    equal(json.loads(b"".join(data for _, data in chunks)), {"who": "me"}, "payload")
    assert not completed.get("ErrorCode"), completed
    text = base64.b64decode(completed["LogResult"]).decode()
    assert "hello from me" in text and "REPORT" in text, text


def test_stream(case):
    """Chunks come when they are written, not all at the end."""
    name = case.function(STREAM, Runtime=NODE)
    answer = case.lambda_.invoke_with_response_stream(FunctionName=name, Payload=b'{"chunks": 6}')
    chunks, completed = streamed(answer)
    whole = b"".join(data for _, data in chunks)
    equal(whole, b"".join(b"chunk %d;" % number for number in range(6)), "payload")
    assert len(chunks) >= 3, f"{len(chunks)} chunks"
    assert chunks[-1][0] - chunks[0][0] > 0.3, f"all at once: {chunks}"
    assert not completed.get("ErrorCode") and "LogResult" not in completed, completed


def test_stream_that_fails(case):
    """What was written arrives, and the end says what went wrong."""
    name = case.function(STREAM, Runtime=NODE)
    answer = case.lambda_.invoke_with_response_stream(
        FunctionName=name, Payload=b'{"chunks": 6, "fail": 2}'
    )
    chunks, completed = streamed(answer)
    whole = b"".join(data for _, data in chunks)
    assert whole.startswith(b"chunk 0;chunk 1;") and b"chunk 2" not in whole, whole
    equal(completed.get("ErrorCode"), "Unhandled", f"code of {completed}")
    assert completed["ErrorDetails"], completed


def test_stream_of_a_failing_function(case):
    """An error before anything was written is told at the end of the stream too."""
    name = case.function(FAULTS)
    answer = case.lambda_.invoke_with_response_stream(FunctionName=name, Payload=b'{"do": "raise"}')
    equal(answer["StatusCode"], 200, "status")
    _, completed = streamed(answer)
    assert completed.get("ErrorCode"), completed
    assert "as was asked" in completed["ErrorDetails"], completed


def test_stream_that_is_only_tried(case):
    """`DryRun` of a streamed call, and one of a function that is not there."""
    name = case.function(FAULTS)
    answer = case.lambda_.invoke_with_response_stream(
        FunctionName=name, Payload=b'{"do": "raise"}', InvocationType="DryRun"
    )
    equal(answer["StatusCode"], 204, "status")
    refused(NOT_FOUND, case.lambda_.invoke_with_response_stream, FunctionName=case.name())


def test_a_long_stream(case):
    """More than a buffered answer may have goes through a stream, byte for byte."""
    code = """
export const handler = awslambda.streamifyResponse(async (event, stream) => {
  const block = Buffer.alloc(1 << 20, 'x')
  for (let number = 0; number < 8; number += 1) {
    if (!stream.write(block)) await new Promise((done) => stream.once('drain', done))
  }
  stream.end('end')
})
"""
    name = case.function(code, Runtime=NODE, Timeout=30)
    chunks, completed = streamed(case.lambda_.invoke_with_response_stream(FunctionName=name))
    whole = b"".join(data for _, data in chunks)
    assert whole == b"x" * (8 << 20) + b"end", (len(whole), whole[-10:])
    assert not completed.get("ErrorCode"), completed


def test_calls_at_once_do_not_mix(case):
    """Each of many calls gets its own answer and its own id."""
    code = """
import time
def handler(event, context):
    time.sleep(0.2)
    return [event, context.aws_request_id]
"""
    name = case.function(code)

    def one(place):
        answer = case.invoke(name, place)
        return [*json.loads(answer["Payload"]), answer["ResponseMetadata"]["RequestId"]]

    results = together(24, one)
    equal([result[0] for result in results], list(range(24)), "answers")
    for _, inside, outside in results:
        equal(inside, outside, "request id")
    equal(len({result[1] for result in results}), 24, "ids")


def test_an_instance_is_used_again(case):
    """Calls in a row run in one instance, and new code or settings in a new one."""
    code = "n = 0\ndef handler(e, c):\n    global n\n    n += 1\n    return n\n"
    name = case.function(code)
    equal([case.call(name) for _ in range(3)], [1, 2, 3], "calls")
    case.configure(name, Environment={"Variables": {"NEW": "1"}})
    equal(case.call(name), 1, "call after new settings")
    case.recode(name, code + "# new\n")
    equal(case.call(name), 1, "call after new code")


def test_custom_runtime(case):
    """A program of the user's, named `bootstrap`, speaks the Runtime API."""
    for runtime in ("provided.al2023", "provided.al2"):
        name = case.function(
            package({"bootstrap": BOOTSTRAP}), Runtime=runtime, Handler="whatever.it.is"
        )
        want = {"handler": "whatever.it.is", "event": {"a": 1}}
        equal(case.call(name, {"a": 1}), want, runtime)


def test_node(case):
    """Handlers in JavaScript, of both kinds of modules, and their errors."""
    module = "export const handler = async (event, context) => [event, context.awsRequestId]\n"
    common = "exports.handler = (event, context, done) => done(null, event.a)\n"
    fails = "export const handler = async () => { throw new TypeError('as was asked') }\n"
    name = case.function(package(module, "app.mjs"), Runtime=NODE)
    answer = case.invoke(name, {"a": 1})
    number = answer["ResponseMetadata"]["RequestId"]
    equal(json.loads(answer["Payload"]), [{"a": 1}, number], "answer of a module")
    name = case.function(package(common, "app.js"), Runtime=NODE)
    equal(case.call(name, {"a": "ü"}), "ü", "answer of a script")
    name = case.function(package(fails, "app.mjs"), Runtime=NODE)
    error = failure(case, name, {})
    holds(error, {"errorType": "TypeError", "errorMessage": "as was asked"})
    assert any("app.mjs" in line for line in error["trace" if "trace" in error else "stackTrace"])


def test_files_beside_the_code(case):
    """A package's other files, folders and rights are there, and `/tmp` can be written to."""
    code = """
import os, subprocess, pathlib, stat, sys
import lib.inner

def handler(event, context):
    pathlib.Path("/tmp/kept").write_text("kept")
    try:
        pathlib.Path("/var/task/new").write_text("no")
        code = "written"
    except OSError:
        code = "read-only"
    return {
        "inner": lib.inner.VALUE,
        "data": pathlib.Path("data/ü.txt").read_text(),
        "rights": [stat.S_IMODE(os.stat(name).st_mode) & 0o111 for name in ("run.sh", "app.py")],
        # There is no shell.
        "run": subprocess.run([sys.executable, "run.sh"], capture_output=True, text=True).stdout,
        "tmp": pathlib.Path("/tmp/kept").read_text(),
        "code": code,
        "folder": os.getcwd(),
    }
"""
    files = {
        "app.py": code,
        "lib/__init__.py": "",
        "lib/inner.py": "VALUE = 42\n",
        "data/ü.txt": "data",
        "run.sh": "print('ran')\n",
    }
    want = {
        "inner": 42,
        "data": "data",
        "rights": [0o111, 0],
        "run": "ran\n",
        "tmp": "kept",
        "code": "read-only",
        "folder": "/var/task",
    }
    equal(case.call(case.function(package(files))), want, "files")
