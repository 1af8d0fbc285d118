"""What the tests share: clients of one node, functions to try, and how a refusal is looked at.

What is expected comes from the service model in botocore, from AWS's documentation, and, where
those are silent, from answers of AWS that the tests of LocalStack (Apache-2.0) recorded.
"""

import base64
import contextlib
import datetime
import hashlib
import http.client
import io
import json
import os
import pathlib
import re
import socket
import threading
import time
import urllib.parse
import zipfile
from unittest import mock

import boto3
import botocore.auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

PYTHON = "python3.12"
NODE = "nodejs20.x"
MIB = 1 << 20

# Codes of a value that breaks the service model, and of one that the service itself refuses.
VALIDATION = "ValidationException"
PARAMETER = "InvalidParameterValueException"
NOT_FOUND = "ResourceNotFoundException"
CONFLICT = "ResourceConflictException"
PRECONDITION = "PreconditionFailedException"
CONTENT = "InvalidRequestContentException"
THROTTLED = "TooManyRequestsException"
STATUS = {
    VALIDATION: 400,
    PARAMETER: 400,
    CONTENT: 400,
    NOT_FOUND: 404,
    CONFLICT: 409,
    PRECONDITION: 412,
    THROTTLED: 429,
    "UnknownOperationException": 404,
}

UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
MODIFIED = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+0000")

ECHO = """
def handler(event, context):
    return event
"""


class Cloud:
    """One node, as its clients know it."""

    def __init__(self, endpoint, edge, data):
        self.endpoint = endpoint.rstrip("/")
        self.edge = edge.rstrip("/")
        self.data = pathlib.Path(data)
        kept = {}
        if (self.data / "credentials.json").exists():
            kept = json.loads((self.data / "credentials.json").read_text())
        self.admin_token = kept.get("admin_token")
        self.key = os.environ.get("AWS_ACCESS_KEY_ID") or kept["access_key_id"]
        self.secret = os.environ.get("AWS_SECRET_ACCESS_KEY") or kept["secret_access_key"]
        self.region = (
            os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or kept["region"]
        )
        self.lambda_ = self.client("lambda")
        # One that sends what breaks the service model, rather than refuse it itself.
        self.unchecked = self.client("lambda", parameter_validation=False)
        self._account = None

    @property
    def account(self):
        """The twelve digits of the account, as STS tells them."""
        if self._account is None:
            self._account = self.client("sts").get_caller_identity()["Account"]
        return self._account

    @property
    def admin(self):
        """The address of the node's own API."""
        return json.loads((self.data / "node.json").read_text())["admin"]

    def client(self, service, **config):
        """A client that tells the first answer, whatever it is, and waits a minute for it."""
        return boto3.client(
            service,
            endpoint_url=self.endpoint,
            region_name=self.region,
            aws_access_key_id=self.key,
            aws_secret_access_key=self.secret,
            config=Config(
                retries={"total_max_attempts": 1},
                connect_timeout=5,
                read_timeout=60,
                max_pool_connections=64,
                **config,
            ),
        )

    def environment(self):
        """Variables with which AWS's tools find the node, and nothing of the user's."""
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.data),
            "AWS_ACCESS_KEY_ID": self.key,
            "AWS_SECRET_ACCESS_KEY": self.secret,
            "AWS_DEFAULT_REGION": self.region,
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_MAX_ATTEMPTS": "1",
            "AWS_PAGER": "",
            "LC_ALL": "C.UTF-8",
        }

    def arn(self, name, *, region=None, account=None):
        """The ARN of a function; `name` may have a qualifier."""
        return f"arn:aws:lambda:{region or self.region}:{account or self.account}:function:{name}"

    def role(self):
        """A role that any function may have."""
        return f"arn:aws:iam::{self.account}:role/any"

    def sign(self, method, target, body=b"", headers=None, **how):
        """Header fields with which a request to the API is signed.

        `target` is a path with its query, or a URL. Of `how`: `key`, `secret`, `region`, `service`,
        `at` (a time), and `auth`, the class that signs.
        """
        url = target if "://" in target else self.endpoint + target
        request = AWSRequest(method=method, url=url, data=body, headers=dict(headers or {}))
        signer = how.get("auth", botocore.auth.SigV4Auth)(
            Credentials(how.get("key", self.key), how.get("secret", self.secret)),
            how.get("service", "lambda"),
            how.get("region", self.region),
        )
        at = how.get("at") or datetime.datetime.now(datetime.timezone.utc)
        with mock.patch.object(botocore.auth, "get_current_datetime", lambda: at):
            signer.add_auth(request)
        return dict(request.headers.items())

    def presign(self, method, target, *, expires=300, **how):
        """A target with the signature in its query."""

        class Auth(botocore.auth.SigV4QueryAuth):
            def __init__(self, *signer):
                super().__init__(*signer, expires=expires)

        url = self.endpoint + target
        request = AWSRequest(method=method, url=url)
        at = how.get("at") or datetime.datetime.now(datetime.timezone.utc)
        signer = Auth(
            Credentials(how.get("key", self.key), how.get("secret", self.secret)),
            "lambda",
            self.region,
        )
        with mock.patch.object(botocore.auth, "get_current_datetime", lambda: at):
            signer.add_auth(request)
        return request.url[len(self.endpoint) :]

    def request(self, method, target, body=b"", headers=None):
        """Sends exactly this to the API."""
        return exchange(self.endpoint, method, target, body, headers or {})

    def signed(self, method, target, body=b"", headers=None, **how):
        """Signs a request to the API and sends it."""
        return self.request(method, target, body, self.sign(method, target, body, headers, **how))

    def visit(self, url, method="GET", body=b"", headers=None, *, signed=False, **how):
        """A request to a function URL: its host need not resolve, all of them are on the edge."""
        parts = urllib.parse.urlsplit(url)
        headers = dict(headers or {})
        if signed:
            headers = self.sign(method, url, body, headers, **how)
        target = (parts.path or "/") + ("?" + parts.query if parts.query else "")
        return exchange(self.edge, method, target, body, {"Host": parts.netloc, **headers})

    def logs(self, name):
        """Lines of a function's log, oldest first, out of the node's own API."""
        headers = {"Authorization": f"Bearer {self.admin_token}"}
        path = f"/v1/functions/{name}/logs?limit=10000"
        answer = exchange(f"http://{self.admin}", "GET", path, b"", headers)
        assert answer.status == 200, answer
        return [json.loads(line)["line"] for line in answer.body.decode().splitlines()]


class Answer:
    """An answer to a request that was made by hand."""

    def __init__(self, response):
        self.status = response.status
        self.fields = [(name.lower(), value) for name, value in response.getheaders()]
        self.body = response.read()

    def __repr__(self):
        return f"{self.status} {self.fields} {self.body[:500]!r}"

    def header(self, name):
        """The values of a field, joined, or None."""
        values = [value for field, value in self.fields if field == name.lower()]
        return ", ".join(values) if values else None

    def json(self):
        """The body, which must be JSON."""
        return json.loads(self.body)

    def error(self):
        """The type of an error, which must be told in JSON with an id to ask about."""
        assert self.status >= 400, self
        kind = self.header("x-amzn-errortype")
        assert kind, f"no type: {self}"
        assert "json" in (self.header("content-type") or ""), self
        assert isinstance(self.json(), dict), self
        assert self.header("x-amzn-requestid"), f"no request id: {self}"
        return kind.split(":")[0]


def exchange(address, method, target, body=b"", headers=None, *, timeout=60):
    """One request on a connection of its own; `Host` and lengths are added if they are missing."""
    parts = urllib.parse.urlsplit(address)
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=timeout)
    with contextlib.closing(connection):
        names = {name.lower() for name in headers or {}}
        connection.putrequest(method, target, skip_host="host" in names, skip_accept_encoding=True)
        for name, value in (headers or {}).items():
            for one in value if isinstance(value, list) else [value]:
                connection.putheader(name, one)
        if "content-length" not in names and (body or method in ("POST", "PUT", "PATCH")):
            connection.putheader("Content-Length", str(len(body)))
        # A server that refuses by the head may close before it has read the body.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.endheaders(body or None)
        return Answer(connection.getresponse())


class Case:
    """One test at work. What it makes has names that are its own, and is gone when it ends."""

    count = 0

    def __init__(self, cloud, test):
        self.cloud = cloud
        self.lambda_ = cloud.lambda_
        self.unchecked = cloud.unchecked
        self.test = re.sub("[^a-z0-9]+", "-", test.split(".")[-1].removeprefix("test_"))
        self.undo = []

    def name(self):
        """A name that nobody had before. A function of that name is deleted in the end."""
        Case.count += 1
        name = f"{self.test[:36]}-{os.getpid():x}-{Case.count}"
        self.later(self.lambda_.delete_function, FunctionName=name)
        return name

    def later(self, call, *arguments, **named):
        """Called when the test has ended. That something is gone already is no error."""
        self.undo.append(lambda: call(*arguments, **named))

    def end(self):
        """Takes away what the test made; gives the errors of that."""
        errors = []
        for undo in reversed(self.undo):
            try:
                undo()
            except ClientError as error:
                if error.response["Error"]["Code"] != NOT_FOUND:
                    errors.append(error)
        return errors

    def settings(self, code=ECHO, **settings):
        """What `create_function` is told, but for the name.

        Functions have more time than AWS gives by default: a test machine may be slow.
        """
        runtime = settings.get("Runtime", PYTHON)
        file = "app.mjs" if runtime.startswith("nodejs") else "app.py"
        given = code if isinstance(code, bytes) else package(code, file)
        return {
            "Runtime": runtime,
            "Handler": "app.handler",
            "Role": self.cloud.role(),
            "Code": {"ZipFile": given},
            "Timeout": 20,
            **settings,
        }

    def function(self, code=ECHO, *, named=None, **settings):
        """Makes a function that can be called; gives its name."""
        name = named or self.name()
        if named:
            self.later(self.lambda_.delete_function, FunctionName=name)
        self.lambda_.create_function(FunctionName=name, **self.settings(code, **settings))
        self.settled(name)
        return name

    def settled(self, name):
        """Waits until a function's last change is in force."""
        for waiter in ("function_active_v2", "function_updated_v2"):
            self.lambda_.get_waiter(waiter).wait(
                FunctionName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 30}
            )

    def recode(self, name, code, **settings):
        """Gives a function other code; tells what the service answered."""
        given = code if isinstance(code, bytes) else package(code)
        answer = self.lambda_.update_function_code(FunctionName=name, ZipFile=given, **settings)
        self.settled(name)
        return answer

    def configure(self, name, **settings):
        """Gives a function other settings; tells what the service answered."""
        answer = self.lambda_.update_function_configuration(FunctionName=name, **settings)
        self.settled(name)
        return answer

    def version(self, name, text):
        """Gives a function code that answers with this text, and publishes it; gives the number."""
        self.recode(name, saying(text))
        return self.lambda_.publish_version(FunctionName=name)["Version"]

    def call(self, name, event=None, **named):
        """What a function answers; it must not fail."""
        answer = self.invoke(name, event, **named)
        assert "FunctionError" not in answer, answer["Payload"]
        return json.loads(answer["Payload"])

    def invoke(self, name, event=None, **named):
        """The whole answer, its payload read."""
        payload = json.dumps(event if event is not None else {}).encode()
        answer = self.lambda_.invoke(FunctionName=name, **{"Payload": payload, **named})
        return {**answer, "Payload": answer["Payload"].read()}

    def lines(self, name, count, holding="", *, seconds=20):
        """Lines of a function's log that hold a text, as soon as there are so many of them."""
        found = []

        def enough():
            found[:] = [line for line in self.cloud.logs(name) if holding in line]
            return len(found) >= count

        until(enough, seconds, lambda: f"{len(found)} of {count} lines with {holding!r}")
        return list(found)


def package(code, file="app.py"):
    """The bytes of a deployment package: one file of code, or a dictionary of files."""
    files = code if isinstance(code, dict) else {file: code}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            info = zipfile.ZipInfo(name, (2026, 1, 1, 0, 0, 0))
            executable = name == "bootstrap" or name.endswith(".sh")
            info.external_attr = (0o100755 if executable else 0o100644) << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, text)
    return buffer.getvalue()


def saying(text):
    """Code of a function that answers with a text."""
    return f"def handler(event, context):\n    return {text!r}\n"


def sha256(data):
    """What AWS calls the SHA-256 of a package."""
    return base64.b64encode(hashlib.sha256(data).digest()).decode()


def equal(got, want, what=""):
    """Says both sides if they differ."""
    assert got == want, f"{what or 'got'}: {got!r}, not {want!r}"


def holds(whole, part):
    """Each member of `part` is in `whole` with the same value."""
    for name, want in part.items():
        assert name in whole, f"no {name} in {whole!r}"
        equal(whole[name], want, name)


def refused(code, call, *, status=None, message=None, **arguments):
    """The call must be refused with this code, or one of these, in AWS's form; gives the error."""
    codes = (code,) if isinstance(code, str) else tuple(code)
    try:
        answer = call(**arguments)
    except ClientError as error:
        answer = error.response
    else:
        answer.pop("ResponseMetadata", None)
        raise AssertionError(f"{codes} expected, but it was done: {answer!r:.600}")
    told, metadata = answer["Error"], answer["ResponseMetadata"]
    assert told["Code"] in codes, f"{told!r}, not {codes}"
    equal(metadata["HTTPStatusCode"], status or STATUS[told["Code"]], f"status of {told}")
    equal(metadata["HTTPHeaders"].get("x-amzn-errortype"), told["Code"], "x-amzn-errortype")
    assert metadata.get("RequestId"), f"no request id: {metadata}"
    assert told.get("Message"), f"no message: {answer}"
    if message is not None:
        assert message in told["Message"], f"{told['Message']!r} does not say {message!r}"
    return answer


def until(condition, seconds, what="it"):
    """Waits until a condition holds; gives what it gave."""
    end = time.monotonic() + seconds
    while True:
        held = condition()
        if held:
            return held
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds} s: {what() if callable(what) else what}")
        time.sleep(0.1)


def together(count, work):
    """Calls `work(0)`, `work(1)`, … at the same time; gives what each gave, or its error."""
    gate = threading.Barrier(count)
    results = [None] * count

    def one(place):
        gate.wait()
        try:
            results[place] = work(place)
        except Exception as error:  # noqa: BLE001 - told to the caller
            results[place] = error

    threads = [threading.Thread(target=one, args=(place,), daemon=True) for place in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive(), "a request hangs"
    return results


def code_of(result):
    """The code of an error of AWS's; other errors are raised, results are None."""
    if isinstance(result, ClientError):
        return result.response["Error"]["Code"]
    if isinstance(result, Exception):
        raise result
    return None


def pages(client, operation, key, *, size, **arguments):
    """All items of a list, asked for in pages of this size, which no page may exceed."""
    items, seen = [], 0
    settings = {"PageSize": size}
    for page in client.get_paginator(operation).paginate(PaginationConfig=settings, **arguments):
        assert len(page[key]) <= size, f"{len(page[key])} items on a page of {size}"
        items += page[key]
        seen += 1
        assert seen <= 200, "pages without an end"
    return items, seen


def patient(seconds):
    """Marks a test that may take so long."""

    def mark(test):
        test.seconds = seconds
        return test

    return mark


def free_socket(address):
    """A plain connection to the host of a URL."""
    parts = urllib.parse.urlsplit(address)
    return socket.create_connection((parts.hostname, parts.port), timeout=30)
