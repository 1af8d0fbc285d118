"""The command line of AWS, as a user types it.

It is the one of requirements.txt, version 1, unless the variable AWS_CLI names another program,
which may be of version 2.
"""

import base64
import json
import os
import pathlib
import subprocess
import sys
import tempfile

from kit import PYTHON, equal, holds, package, saying, sha256

LOUD = """
def handler(event, context):
    print("hello from", event.get("who"))
    return {"hello": event.get("who")}
"""


class Shell:
    """A folder in which `aws` is called."""

    def __init__(self, case):
        self.case = case
        folder = tempfile.TemporaryDirectory()
        case.later(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        given = os.environ.get("AWS_CLI")
        self.command = [given] if given else [sys.executable, "-m", "awscli"]
        said = self.run("--version")
        self.is_first = (said.stdout + said.stderr).startswith("aws-cli/1.")
        if not self.is_first:
            # Early ones of version 2 do not look at the variable AWS_ENDPOINT_URL.
            self.command += ["--endpoint-url", case.cloud.endpoint]

    def run(self, *words):
        """Calls `aws …`; gives how it ended."""
        environment = {**os.environ, **self.case.cloud.environment()}
        return subprocess.run(
            [*self.command, *words],
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def aws(self, *words):
        """What `aws lambda …` prints, which must be JSON or nothing."""
        ended = self.run("lambda", *words)
        equal(ended.returncode, 0, f"aws lambda {' '.join(words)}: {ended.stderr}")
        return json.loads(ended.stdout) if ended.stdout.strip() else None

    def fails(self, code, *words):
        """Calls `aws lambda …`, which must fail with this code."""
        ended = self.run("lambda", *words)
        assert ended.returncode != 0, f"aws lambda {' '.join(words)}: {ended.stdout}"
        assert f"({code})" in ended.stderr, ended.stderr
        return ended.stderr

    def write(self, name, data):
        """A file in the folder; gives what stands for it in an option of bytes."""
        (self.folder / name).write_bytes(data)
        return f"fileb://{name}"

    def read(self, name):
        """The JSON in a file of the folder."""
        return json.loads((self.folder / name).read_text())


def created(case, shell, code=LOUD, *more):
    """Makes a function with the command line; gives its name."""
    name, data = case.name(), package(code)
    told = shell.aws(
        "create-function",
        "--function-name", name,
        "--runtime", PYTHON,
        "--handler", "app.handler",
        "--role", case.cloud.role(),
        "--zip-file", shell.write("app.zip", data),
        *more,
    )  # fmt: skip
    holds(told, {"FunctionName": name, "CodeSha256": sha256(data), "Version": "$LATEST"})
    shell.aws("wait", "function-active-v2", "--function-name", name)
    return name


def test_life_of_a_function(case):
    """Made from a zip file, waited for, called, updated, read and deleted."""
    shell = Shell(case)
    name = created(
        case, shell, LOUD,
        "--timeout", "10",
        "--memory-size", "256",
        "--environment", "Variables={FIRST=1,SECOND=two words}",
        "--tags", "of=test",
        "--description", "said",
    )  # fmt: skip
    told = shell.aws("get-function-configuration", "--function-name", name)
    holds(told, {"Timeout": 10, "MemorySize": 256, "Description": "said", "State": "Active"})
    equal(told["Environment"]["Variables"], {"FIRST": "1", "SECOND": "two words"}, "variables")
    arn = shell.aws("get-function", "--function-name", name, "--query", "Configuration.FunctionArn")
    equal(arn, case.cloud.arn(name), "ARN")
    text = shell.run(
        "lambda", "get-function", "--function-name", name,
        "--query", "[Tags.of, Configuration.Runtime]", "--output", "text",
    )  # fmt: skip
    equal(text.stdout.split(), ["test", PYTHON], "text")

    event = shell.write("event.json", b'{"who": "a file"}')
    told = shell.aws(
        "invoke", "--function-name", name, "--payload", event, "--log-type", "Tail", "out.json"
    )
    holds(told, {"StatusCode": 200, "ExecutedVersion": "$LATEST"})
    equal(shell.read("out.json"), {"hello": "a file"}, "answer")
    log = base64.b64decode(told["LogResult"]).decode()
    for part in ("START RequestId", "hello from a file", "END RequestId", "REPORT RequestId"):
        assert part in log, log

    told = shell.aws(
        "update-function-code",
        "--function-name", name,
        "--zip-file", shell.write("new.zip", package(saying("new"))),
    )  # fmt: skip
    equal(told["CodeSha256"], sha256(package(saying("new"))), "hash")
    shell.aws("wait", "function-updated-v2", "--function-name", name)
    shell.aws("invoke", "--function-name", name, "out.json")
    equal(shell.read("out.json"), "new", "answer")
    told = shell.aws("update-function-configuration", "--function-name", name, "--timeout", "4")
    equal(told["Timeout"], 4, "timeout")
    shell.aws("wait", "function-updated", "--function-name", name)

    shell.aws("delete-function", "--function-name", name)
    shell.fails("ResourceNotFoundException", "get-function", "--function-name", name)


def test_payloads(case):
    """Text, base64 and files; in version 2 as `--cli-binary-format` says."""
    shell = Shell(case)
    name = created(case, shell)
    raw = ["--payload", '{"who": "raw"}']
    options = [
        (["--payload", shell.write("event.json", '{"who": "ü"}'.encode())], "ü"),
        ([], None),
    ]
    if shell.is_first:
        options.append((raw, "raw"))
    else:
        encoded = ["--payload", base64.b64encode(b'{"who": "base64"}').decode()]
        options += [
            (["--cli-binary-format", "raw-in-base64-out", *raw], "raw"),
            (["--cli-binary-format", "base64", *encoded], "base64"),
            (encoded, "base64"),
        ]
    for words, want in options:
        shell.aws("invoke", "--function-name", name, *words, "out.json")
        equal(shell.read("out.json"), {"hello": want}, f"answer with {words}")
    told = shell.aws("invoke", "--function-name", name, "--invocation-type", "DryRun", "out.json")
    equal(told["StatusCode"], 204, "status")
    told = shell.aws("invoke", "--function-name", name, "--invocation-type", "Event", "out.json")
    equal(told["StatusCode"], 202, "status")


def test_errors(case):
    """A function's error is in the answer, the service's one ends the command."""
    shell = Shell(case)
    name = created(case, shell, "def handler(event, context):\n    raise ValueError('asked')\n")
    told = shell.aws("invoke", "--function-name", name, "out.json")
    equal(told["FunctionError"], "Unhandled", "error")
    holds(shell.read("out.json"), {"errorType": "ValueError", "errorMessage": "asked"})
    said = shell.fails("ResourceNotFoundException", "invoke", "--function-name", "none", "o.json")
    assert "when calling the Invoke operation" in said and "Function not found" in said, said
    shell.fails(
        "InvalidRequestContentException",
        "invoke", "--function-name", name, "--payload", shell.write("bad", b"{"), "o.json",
    )  # fmt: skip
    shell.fails(
        "ResourceConflictException",
        "create-function", "--function-name", name, "--runtime", PYTHON,
        "--handler", "app.handler", "--role", case.cloud.role(), "--zip-file", "fileb://app.zip",
    )  # fmt: skip


def test_versions_and_aliases(case):
    """Published, aliased, weighted, and called by both."""
    shell = Shell(case)
    name = created(case, shell, saying("1"))
    told = shell.aws("publish-version", "--function-name", name, "--description", "first")
    holds(told, {"Version": "1", "Description": "first"})
    shell.aws("wait", "published-version-active", "--function-name", name, "--qualifier", "1")
    shell.aws(
        "update-function-code", "--function-name", name, "--publish",
        "--zip-file", shell.write("two.zip", package(saying("2"))),
    )  # fmt: skip
    listed = shell.aws(
        "list-versions-by-function", "--function-name", name, "--query", "Versions[].Version"
    )
    equal(listed, ["$LATEST", "1", "2"], "versions")
    told = shell.aws(
        "create-alias", "--function-name", name, "--name", "live", "--function-version", "1"
    )
    equal(told["AliasArn"], case.cloud.arn(f"{name}:live"), "ARN")
    shell.aws("invoke", "--function-name", f"{name}:live", "out.json")
    equal(shell.read("out.json"), "1", "answer")
    told = shell.aws(
        "update-alias", "--function-name", name, "--name", "live",
        "--routing-config", "AdditionalVersionWeights={2=1.0}",
    )  # fmt: skip
    equal(told["RoutingConfig"], {"AdditionalVersionWeights": {"2": 1.0}}, "weights")
    told = shell.aws("invoke", "--function-name", name, "--qualifier", "live", "out.json")
    equal((shell.read("out.json"), told["ExecutedVersion"]), ("2", "2"), "answer")
    told = shell.aws(
        "update-alias", "--function-name", name, "--name", "live",
        "--function-version", "2", "--routing-config", "AdditionalVersionWeights={}",
    )  # fmt: skip
    equal(told["FunctionVersion"], "2", "version")
    shell.aws("delete-alias", "--function-name", name, "--name", "live")
    equal(shell.aws("list-aliases", "--function-name", name)["Aliases"], [], "aliases")


def test_pages(case):
    """`--max-items` gives a token, and with it the rest."""
    shell = Shell(case)
    made = {created(case, shell) for _ in range(3)}
    found, token = [], []
    for _ in range(100):
        told = shell.aws("list-functions", "--max-items", "2", *token)
        found += [function["FunctionName"] for function in told["Functions"]]
        if "NextToken" not in told:
            break
        token = ["--starting-token", told["NextToken"]]
    equal(len(found), len(set(found)), "functions listed twice")
    assert made <= set(found), made - set(found)
    told = shell.aws("list-functions", "--page-size", "1", "--query", "Functions[].FunctionName")
    assert made <= set(told), made - set(told)


def test_permissions_urls_and_concurrency(case):
    """The rest of what a tutorial does."""
    shell = Shell(case)
    name = created(case, shell, saying("public"))
    told = shell.aws(
        "create-function-url-config", "--function-name", name, "--auth-type", "NONE",
        "--cors", "AllowOrigins=https://a.example.com,AllowMethods=GET,MaxAge=60",
    )  # fmt: skip
    url = told["FunctionUrl"]
    equal(case.cloud.visit(url).status, 403, "status without a policy")
    told = shell.aws(
        "add-permission", "--function-name", name, "--statement-id", "url",
        "--action", "lambda:InvokeFunctionUrl", "--principal", "*",
        "--function-url-auth-type", "NONE",
    )  # fmt: skip
    equal(json.loads(told["Statement"])["Sid"], "url", "statement")
    # Early ones of version 2 have no option for this.
    case.lambda_.add_permission(
        FunctionName=name,
        StatementId="call",
        Action="lambda:InvokeFunction",
        Principal="*",
        InvokedViaFunctionUrl=True,
    )
    equal(case.cloud.visit(url).body, b"public", "answer")
    policy = json.loads(shell.aws("get-policy", "--function-name", name)["Policy"])
    equal([part["Sid"] for part in policy["Statement"]], ["url", "call"], "statements")
    shell.aws("remove-permission", "--function-name", name, "--statement-id", "url")
    equal(case.cloud.visit(url).status, 403, "status without the statement")
    shell.aws("delete-function-url-config", "--function-name", name)

    told = shell.aws(
        "put-function-concurrency",
        "--function-name", name,
        "--reserved-concurrent-executions", "0",
    )  # fmt: skip
    equal(told["ReservedConcurrentExecutions"], 0, "reserved")
    shell.fails("TooManyRequestsException", "invoke", "--function-name", name, "out.json")
    shell.aws("delete-function-concurrency", "--function-name", name)
    shell.aws("invoke", "--function-name", name, "out.json")
    equal(shell.read("out.json"), "public", "answer")
    arn = case.cloud.arn(name)
    shell.aws("tag-resource", "--resource", arn, "--tags", "a=1,b=2")
    shell.aws("untag-resource", "--resource", arn, "--tag-keys", "a")
    equal(shell.aws("list-tags", "--resource", arn)["Tags"], {"b": "2"}, "tags")


def test_layers(case):
    """A layer from a zip file, used by a function."""
    shell = Shell(case)
    layer = case.name()
    told = shell.aws(
        "publish-layer-version", "--layer-name", layer, "--compatible-runtimes", PYTHON,
        "--zip-file", shell.write("layer.zip", package({"python/shared.py": "VALUE = 'layer'\n"})),
    )  # fmt: skip
    case.later(case.lambda_.delete_layer_version, LayerName=layer, VersionNumber=1)
    code = "import shared\ndef handler(event, context):\n    return shared.VALUE\n"
    name = created(case, shell, code, "--layers", told["LayerVersionArn"])
    shell.aws("invoke", "--function-name", name, "out.json")
    equal(shell.read("out.json"), "layer", "answer")
    listed = shell.aws("list-layers", "--query", f"Layers[?LayerName=='{layer}'].LayerArn")
    equal(listed, [told["LayerArn"]], "layers")
    shell.aws("delete-layer-version", "--layer-name", layer, "--version-number", "1")


def test_who_am_i(case):
    """`aws sts get-caller-identity`, with which users try their credentials."""
    ended = Shell(case).run("sts", "get-caller-identity")
    equal(ended.returncode, 0, ended.stderr)
    equal(json.loads(ended.stdout)["Account"], case.cloud.account, "account")
