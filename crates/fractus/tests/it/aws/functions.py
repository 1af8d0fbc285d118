"""Functions: made, read, changed, listed and deleted."""

import datetime
import json
import threading
import time
import urllib.request

from kit import (
    CONFLICT,
    MODIFIED,
    NOT_FOUND,
    PARAMETER,
    PRECONDITION,
    PYTHON,
    UUID,
    VALIDATION,
    code_of,
    equal,
    exchange,
    holds,
    package,
    pages,
    refused,
    saying,
    sha256,
    together,
)

# Members of every configuration, with the type that each has.
MEMBERS = {
    "FunctionName": str,
    "FunctionArn": str,
    "Runtime": str,
    "Role": str,
    "Handler": str,
    "CodeSize": int,
    "Description": str,
    "Timeout": int,
    "MemorySize": int,
    "LastModified": str,
    "CodeSha256": str,
    "Version": str,
    "TracingConfig": dict,
    "RevisionId": str,
    "PackageType": str,
    "Architectures": list,
    "EphemeralStorage": dict,
    "SnapStart": dict,
    "LoggingConfig": dict,
}
STATES = ("State", "LastUpdateStatus")


def well_formed(configuration, *, active=True):
    """Asserts that nothing is missing in a function's configuration, and of the right form."""
    for member, kind in MEMBERS.items():
        assert member in configuration, f"no {member}"
        assert isinstance(configuration[member], kind), f"{member}: {configuration[member]!r}"
    assert MODIFIED.fullmatch(configuration["LastModified"]), configuration["LastModified"]
    assert UUID.fullmatch(configuration["RevisionId"]), configuration["RevisionId"]
    stamp = datetime.datetime.strptime(configuration["LastModified"], "%Y-%m-%dT%H:%M:%S.%f%z")
    age = datetime.datetime.now(datetime.timezone.utc) - stamp
    assert abs(age) < datetime.timedelta(minutes=10), configuration["LastModified"]
    if active:
        holds(configuration, {"State": "Active", "LastUpdateStatus": "Successful"})


def test_create_tells_all_that_was_asked_for(case):
    """Every setting comes back in the answer, and later from both ways to read it."""
    name, code = case.name(), package(saying("all"))
    asked = {
        "Runtime": PYTHON,
        "Role": case.cloud.role().replace("any", "path/to/some+role=,.@-_"),
        "Handler": "app.handler",
        "Description": 'Says “all”, and more: \\ " <&> ü 日本',
        "Timeout": 7,
        "MemorySize": 200,
        "Environment": {"Variables": {"NAME": "value", "OTHER_1": "ü=\"'\\ \n日本"}},
        "EphemeralStorage": {"Size": 600},
        "Architectures": ["x86_64"],
        "TracingConfig": {"Mode": "Active"},
        "PackageType": "Zip",
    }
    made = case.lambda_.create_function(
        FunctionName=name, Code={"ZipFile": code}, Tags={"of": "test"}, **asked
    )
    want = {
        **asked,
        "FunctionName": name,
        "FunctionArn": case.cloud.arn(name),
        "CodeSize": len(code),
        "CodeSha256": sha256(code),
        "Version": "$LATEST",
        "SnapStart": {"ApplyOn": "None", "OptimizationStatus": "Off"},
        "LoggingConfig": {"LogFormat": "Text", "LogGroup": f"/aws/lambda/{name}"},
    }
    equal(made["ResponseMetadata"]["HTTPStatusCode"], 201, "status")
    assert made["State"] in ("Pending", "Active"), made["State"]
    well_formed(made, active=False)
    holds(made, want)

    case.settled(name)
    whole = case.lambda_.get_function(FunctionName=name)
    equal(whole["ResponseMetadata"]["HTTPStatusCode"], 200, "status")
    well_formed(whole["Configuration"])
    holds(whole["Configuration"], want)
    equal(whole["Tags"], {"of": "test"}, "tags")
    equal(whole["Code"]["RepositoryType"], "S3", "repository")
    assert "Concurrency" not in whole, whole["Concurrency"]

    alone = case.lambda_.get_function_configuration(FunctionName=name)
    alone.pop("ResponseMetadata")
    equal(alone, whole["Configuration"], "configuration read alone")
    equal(case.call(name), "all", "answer")


def test_create_has_defaults(case):
    """What is not said is what AWS says it is."""
    asked, name = case.settings(), case.name()
    del asked["Timeout"]
    case.lambda_.create_function(FunctionName=name, **asked)
    case.settled(name)
    made = case.lambda_.get_function_configuration(FunctionName=name)
    well_formed(made)
    holds(
        made,
        {
            "Description": "",
            "Timeout": 3,
            "MemorySize": 128,
            "EphemeralStorage": {"Size": 512},
            "Architectures": ["x86_64"],
            "TracingConfig": {"Mode": "PassThrough"},
            "PackageType": "Zip",
            "Version": "$LATEST",
        },
    )
    for absent in ("Layers", "DeadLetterConfig", "KMSKeyArn", "ImageConfigResponse"):
        assert not made.get(absent), f"{absent}: {made[absent]!r}"
    assert made.get("Environment", {}).get("Variables", {}) == {}, made["Environment"]
    whole = case.lambda_.get_function(FunctionName=name)
    assert not whole.get("Tags"), whole


def test_create_twice_is_a_conflict(case):
    """The second loses, and changes nothing."""
    name = case.function(saying("first"))
    refused(
        CONFLICT,
        case.lambda_.create_function,
        message="already exist",
        FunctionName=name,
        **case.settings(saying("second")),
    )
    equal(case.call(name), "first", "answer")


def test_create_at_once_makes_one(case):
    """Of many that make the same function at the same time one succeeds."""
    name = case.name()

    def create(place):
        case.lambda_.create_function(FunctionName=name, **case.settings(saying(place)))

    codes = [code_of(result) for result in together(8, create)]
    equal(sorted(code or "made" for code in codes), [CONFLICT] * 7 + ["made"], "results")
    case.settled(name)
    equal(case.call(name), codes.index(None), "answer")


def test_create_names_what_is_missing(case):
    """A Zip function has a runtime, a handler and code; each is missed by name."""
    for member, code in (
        ("Runtime", PARAMETER),
        ("Handler", PARAMETER),
        ("Role", VALIDATION),
        ("Code", VALIDATION),
    ):
        asked = case.settings()
        del asked[member]
        error = refused(
            (code, VALIDATION), case.unchecked.create_function, FunctionName=case.name(), **asked
        )
        assert member.lower() in error["Error"]["Message"].lower(), error["Error"]
    for source in (
        {},
        {"ZipFile": package(saying(1)), "S3Bucket": "bucket", "S3Key": "key"},
        {"S3Bucket": "bucket-without-key"},
        {"S3Bucket": "no-such-bucket-of-ours", "S3Key": "app.zip"},
    ):
        asked = {**case.settings(), "Code": source}
        refused(PARAMETER, case.lambda_.create_function, FunctionName=case.name(), **asked)


def test_create_refuses_what_it_does_not_know(case):
    """Runtimes, roles and architectures that are none."""
    for change, code in (
        ({"Runtime": "python0.1"}, PARAMETER),
        ({"Runtime": "PYTHON3.12"}, PARAMETER),
        ({"Role": "r1"}, VALIDATION),
        ({"Role": "arn:aws:iam::1:role/short-account"}, VALIDATION),
        ({"Architectures": ["x86_64", "arm64"]}, VALIDATION),
        ({"Architectures": ["X86_64"]}, VALIDATION),
        ({"Handler": "has a space"}, VALIDATION),
        ({"PackageType": "Tarball"}, VALIDATION),
        ({"TracingConfig": {"Mode": "Sometimes"}}, VALIDATION),
        ({"SnapStart": {"ApplyOn": "Sometimes"}}, VALIDATION),
    ):
        name = case.name()
        asked = {**case.settings(), **change}
        refused(code, case.unchecked.create_function, FunctionName=name, **asked)
        refused(NOT_FOUND, case.lambda_.get_function, FunctionName=name)


def test_reserved_variables_are_refused(case):
    """What the runtime sets is not the user's to set."""
    for key in ("AWS_REGION", "_HANDLER", "AWS_LAMBDA_FUNCTION_NAME", "LAMBDA_TASK_ROOT"):
        refused(
            (PARAMETER, VALIDATION),
            case.lambda_.create_function,
            FunctionName=case.name(),
            **case.settings(Environment={"Variables": {key: "mine"}}),
        )


def test_images_are_refused_by_type(case):
    """Container images are not run here, and that is said."""
    asked = {"Role": case.cloud.role(), "PackageType": "Image"}
    refused(
        PARAMETER,
        case.lambda_.create_function,
        FunctionName=case.name(),
        Code={"ImageUri": f"{case.cloud.account}.dkr.ecr.{case.cloud.region}.example/i:1"},
        **asked,
    )


def test_code_location_gives_the_code_back(case):
    """`Code.Location` of a function and of its version lead to the very bytes."""
    first, second = package(saying("first")), package(saying("second"))
    name = case.function(first)
    case.lambda_.publish_version(FunctionName=name)
    case.recode(name, second)
    for qualifier, want in (("1", first), ("$LATEST", second)):
        told = case.lambda_.get_function(FunctionName=name, Qualifier=qualifier)["Code"]
        with urllib.request.urlopen(told["Location"], timeout=30) as answer:
            assert answer.read() == want, f"other bytes for {qualifier}"


def test_what_is_not_there_is_not_found(case):
    """Every operation on a function that does not exist says so."""
    name = case.name()
    client, named = case.lambda_, {"FunctionName": name}
    for call, more in (
        (client.get_function, {}),
        (client.get_function_configuration, {}),
        (client.delete_function, {}),
        (client.invoke, {}),
        (client.update_function_code, {"ZipFile": package(saying(1))}),
        (client.update_function_configuration, {"Timeout": 4}),
        (client.publish_version, {}),
        (client.list_versions_by_function, {}),
        (client.list_aliases, {}),
        (client.get_alias, {"Name": "a"}),
        (client.create_alias, {"Name": "a", "FunctionVersion": "1"}),
        (client.update_alias, {"Name": "a", "FunctionVersion": "1"}),
        (client.get_policy, {}),
        (client.remove_permission, {"StatementId": "s"}),
        (client.get_function_concurrency, {}),
        (client.put_function_concurrency, {"ReservedConcurrentExecutions": 1}),
        (client.delete_function_concurrency, {}),
        (client.get_function_url_config, {}),
        (client.create_function_url_config, {"AuthType": "NONE"}),
        (client.delete_function_url_config, {}),
        (client.list_function_url_configs, {}),
        (client.get_function_event_invoke_config, {}),
        (client.put_function_event_invoke_config, {"MaximumRetryAttempts": 1}),
        (client.list_function_event_invoke_configs, {}),
        (client.get_function_code_signing_config, {}),
        (client.get_runtime_management_config, {}),
        (client.get_function_recursion_config, {}),
        (client.list_provisioned_concurrency_configs, {}),
    ):
        error = refused(NOT_FOUND, call, **named, **more)
        equal(error.get("Type"), "User", f"Type of {error}")
    refused(
        NOT_FOUND,
        client.get_function,
        message=f"Function not found: {case.cloud.arn(name)}",
        **named,
    )
    refused(
        NOT_FOUND,
        client.add_permission,
        **named,
        StatementId="s",
        Action="lambda:InvokeFunction",
        Principal="s3.amazonaws.com",
    )


def test_new_code_is_seen_at_once(case):
    """After `update_function_code` no call runs the old code, for many updates in a row."""
    name = case.function(saying(0))
    before = case.lambda_.get_function_configuration(FunctionName=name)
    for number in range(1, 8):
        code = package(saying(number))
        told = case.recode(name, code)
        holds(told, {"CodeSha256": sha256(code), "CodeSize": len(code), "Version": "$LATEST"})
        assert told["RevisionId"] != before["RevisionId"], "the revision is the same"
        assert [case.call(name) for _ in range(3)] == [number] * 3
        before = told
    well_formed(case.lambda_.get_function_configuration(FunctionName=name))


def test_update_code_can_be_tried(case):
    """With `DryRun` nothing changes, and bad code is still refused."""
    name = case.function(saying("old"))
    before = case.lambda_.get_function_configuration(FunctionName=name)
    code = package(saying("new"))
    case.lambda_.update_function_code(FunctionName=name, ZipFile=code, DryRun=True)
    refused(
        PARAMETER,
        case.lambda_.update_function_code,
        FunctionName=name,
        ZipFile=b"no zip",
        DryRun=True,
    )
    after = case.lambda_.get_function_configuration(FunctionName=name)
    for member in ("CodeSha256", "RevisionId", "LastModified"):
        equal(after[member], before[member], member)
    equal(case.call(name), "old", "answer")


def test_update_code_can_publish(case):
    """`Publish` makes a version of the new code, in creation too."""
    name = case.function(saying("first"), Publish=True)
    listed = case.lambda_.list_versions_by_function(FunctionName=name)["Versions"]
    equal([version["Version"] for version in listed], ["$LATEST", "1"], "versions")
    told = case.recode(name, saying("second"), Publish=True)
    equal(told["Version"], "2", "version")
    equal(told["FunctionArn"], case.cloud.arn(f"{name}:2"), "ARN")
    equal(case.call(name, Qualifier="1"), "first", "answer of 1")
    equal(case.call(name, Qualifier="2"), "second", "answer of 2")


def test_update_code_without_code(case):
    """There must be code in an update of code."""
    name = case.function()
    refused(PARAMETER, case.lambda_.update_function_code, FunctionName=name)


def test_each_setting_can_be_changed(case):
    """Each alone; all others stay."""
    files = {"app.py": saying("app"), "other.py": saying("other")}
    name = case.function(package(files), Environment={"Variables": {"KEPT": "yes"}})
    for change in (
        {"Description": "changed"},
        {"Timeout": 9},
        {"MemorySize": 256},
        {"Handler": "other.handler"},
        {"Runtime": "python3.11"},
        {"Role": case.cloud.role() + "-other"},
        {"Environment": {"Variables": {"ONE": "1", "TWO": "2"}}},
        {"EphemeralStorage": {"Size": 1024}},
        {"TracingConfig": {"Mode": "Active"}},
    ):
        before = case.lambda_.get_function_configuration(FunctionName=name)
        told = case.configure(name, **change)
        holds(told, change)
        after = case.lambda_.get_function_configuration(FunctionName=name)
        well_formed(after)
        assert after["RevisionId"] != before["RevisionId"], "the revision is the same"
        differ = {member for member in MEMBERS if before[member] != after[member]}
        allowed = set(change) | {"RevisionId", "LastModified"}
        assert differ <= allowed, f"{differ - allowed} changed with {change}"
    equal(case.call(name), "other", "answer of the other handler")


def test_variables_are_replaced_as_a_whole(case):
    """What an update does not name is gone, for the function too."""
    code = "import os\ndef handler(event, c):\n    return [os.environ.get(k) for k in event]\n"
    name = case.function(code, Environment={"Variables": {"OLD": "1", "BOTH": "1"}})
    equal(case.call(name, ["OLD", "BOTH", "NEW"]), ["1", "1", None], "variables")
    case.configure(name, Environment={"Variables": {"BOTH": "2", "NEW": "2"}})
    equal(case.call(name, ["OLD", "BOTH", "NEW"]), [None, "2", "2"], "variables")
    case.configure(name, Environment={"Variables": {}})
    equal(case.call(name, ["OLD", "BOTH", "NEW"]), [None, None, None], "variables")
    told = case.lambda_.get_function_configuration(FunctionName=name)
    equal(told.get("Environment", {}).get("Variables", {}), {}, "variables")


def test_revisions_guard_updates(case):
    """An update for another revision than the current one changes nothing."""
    name = case.function(saying("old"))
    stale = case.lambda_.get_function_configuration(FunctionName=name)["RevisionId"]
    case.configure(name, Description="newer")
    current = case.lambda_.get_function_configuration(FunctionName=name)["RevisionId"]
    message = "The Revision Id provided does not match the latest Revision Id"
    for revision in (stale, "00000000-0000-4000-8000-000000000000"):
        refused(
            PRECONDITION,
            case.lambda_.update_function_configuration,
            message=message,
            FunctionName=name,
            Description="lost",
            RevisionId=revision,
        )
        refused(
            PRECONDITION,
            case.lambda_.update_function_code,
            message=message,
            FunctionName=name,
            ZipFile=package(saying("lost")),
            RevisionId=revision,
        )
    kept = case.lambda_.get_function_configuration(FunctionName=name)
    holds(kept, {"Description": "newer", "RevisionId": current})
    equal(case.call(name), "old", "answer")
    told = case.configure(name, Description="newest", RevisionId=current)
    equal(told["Description"], "newest", "description")
    current = case.lambda_.get_function_configuration(FunctionName=name)["RevisionId"]
    case.recode(name, saying("new"), RevisionId=current)
    equal(case.call(name), "new", "answer")


def test_of_updates_at_once_one_wins(case):
    """With one revision in many hands, exactly one update is made, and it is made whole."""
    name = case.function()
    for _ in range(5):
        revision = case.lambda_.get_function_configuration(FunctionName=name)["RevisionId"]

        def update(place, revision=revision):
            case.lambda_.update_function_configuration(
                FunctionName=name,
                Description=f"by {place}",
                Environment={"Variables": {"BY": str(place)}},
                RevisionId=revision,
            )

        codes = [code_of(result) for result in together(8, update)]
        # AWS refuses an update during another with a conflict as well.
        assert set(codes) <= {None, PRECONDITION, CONFLICT}, codes
        equal(codes.count(None), 1, f"winners in {codes}")
        winner = codes.index(None)
        case.settled(name)
        now = case.lambda_.get_function_configuration(FunctionName=name)
        equal(now["Description"], f"by {winner}", "description")
        equal(now["Environment"]["Variables"], {"BY": str(winner)}, "variables")


def test_delete_takes_everything(case):
    """A deleted function is gone with all that hung on it, and its name is free."""
    name = case.function(saying("old"), Tags={"of": "old"})
    client, named = case.lambda_, {"FunctionName": name}
    client.publish_version(**named)
    client.create_alias(**named, Name="live", FunctionVersion="1")
    client.put_function_concurrency(**named, ReservedConcurrentExecutions=3)
    client.put_function_event_invoke_config(**named, MaximumRetryAttempts=0)
    client.create_function_url_config(**named, AuthType="NONE")
    client.add_permission(
        **named, StatementId="s", Action="lambda:InvokeFunction", Principal="s3.amazonaws.com"
    )
    gone = client.delete_function(**named)
    assert gone["ResponseMetadata"]["HTTPStatusCode"] in (200, 204), gone
    for call, more in (
        (client.get_function, {}),
        (client.get_function, {"Qualifier": "1"}),
        (client.invoke, {}),
        (client.invoke, {"Qualifier": "live"}),
        (client.delete_function, {}),
    ):
        refused(NOT_FOUND, call, **named, **more)

    case.function(saying("new"), named=name)
    equal(case.call(name), "new", "answer")
    whole = client.get_function(**named)
    assert not whole.get("Tags") and "Concurrency" not in whole, whole
    versions = client.list_versions_by_function(**named)["Versions"]
    equal([version["Version"] for version in versions], ["$LATEST"], "versions")
    equal(client.list_aliases(**named)["Aliases"], [], "aliases")
    refused(NOT_FOUND, client.get_policy, **named)
    refused(NOT_FOUND, client.get_function_url_config, **named)
    refused(NOT_FOUND, client.get_function_event_invoke_config, **named)


def test_delete_of_versions(case):
    """A version goes alone; what an alias needs, and `$LATEST`, do not."""
    name = case.function(saying("1"), Publish=True)
    case.version(name, "2")
    case.lambda_.create_alias(FunctionName=name, Name="live", FunctionVersion="2")
    refused(
        CONFLICT,
        case.lambda_.delete_function,
        message="live",
        FunctionName=name,
        Qualifier="2",
    )
    refused(PARAMETER, case.lambda_.delete_function, FunctionName=name, Qualifier="$LATEST")
    refused(PARAMETER, case.lambda_.delete_function, FunctionName=name, Qualifier="live")
    case.lambda_.delete_function(FunctionName=name, Qualifier="1")
    refused(NOT_FOUND, case.lambda_.get_function, FunctionName=name, Qualifier="1")
    refused(NOT_FOUND, case.lambda_.invoke, FunctionName=name, Qualifier="1")
    # A version that is not there can be deleted again.
    case.lambda_.delete_function(FunctionName=name, Qualifier="1")
    equal(case.call(name, Qualifier="live"), "2", "answer of the alias")
    equal(case.call(name), "2", "answer of $LATEST")


def test_delete_under_load(case):
    """Calls of a function that is deleted end well or find it gone; none is broken."""
    name = case.function("import time\ndef handler(e, c):\n    time.sleep(0.05)\n    return e\n")
    over = threading.Event()

    def caller(place):
        answers = []
        while not over.is_set():
            try:
                equal(case.call(name, place), place, "answer")
                answers.append("answered")
            except case.lambda_.exceptions.ResourceNotFoundException:
                answers.append("gone")
        return answers

    def deleter(_):
        time.sleep(1)
        try:
            case.lambda_.delete_function(FunctionName=name)
            time.sleep(1)
        finally:
            over.set()

    results = together(7, lambda place: deleter(place) if place == 6 else caller(place))
    assert code_of(results[6]) is None, results[6]
    for result in results[:6]:
        assert code_of(result) is None, result
        assert "answered" in result and result[-1] == "gone", result
        first = result.index("gone")
        assert set(result[first:]) == {"gone"}, "answered after it was gone"


def test_list_has_pages(case):
    """Every function is listed once, whatever the size of the pages."""
    made = {case.function() for _ in range(5)}
    for size in (1, 2, 50):
        listed, _ = pages(case.lambda_, "list_functions", "Functions", size=size)
        names = [function["FunctionName"] for function in listed]
        equal(len(names), len(set(names)), "functions listed twice")
        assert made <= set(names), made - set(names)
    for function in listed:
        if function["FunctionName"] in made:
            well_formed(function, active=False)
            holds(function, {"Version": "$LATEST", "Handler": "app.handler"})
    answer = case.lambda_.list_functions(MaxItems=1)
    assert len(answer["Functions"]) == 1 and answer["NextMarker"], answer
    refused(PARAMETER, case.lambda_.list_functions, Marker="no marker of ours", status=400)


def test_list_can_hold_versions(case):
    """With `FunctionVersion` ALL each version is an entry, and ARNs are qualified."""
    name = case.function(saying("1"), Publish=True)
    case.version(name, "2")
    listed, _ = pages(case.lambda_, "list_functions", "Functions", size=3, FunctionVersion="ALL")
    ours = [entry for entry in listed if entry["FunctionName"] == name]
    equal(sorted(entry["Version"] for entry in ours), ["$LATEST", "1", "2"], "versions")
    for entry in ours:
        equal(entry["FunctionArn"], case.cloud.arn(f"{name}:{entry['Version']}"), "ARN")
    refused(VALIDATION, case.unchecked.list_functions, FunctionVersion="SOME")


def test_waiters_end(case):
    """All waiters of botocore, on a function that is there, and on one that comes later."""
    name = case.function(Publish=True)
    quick = {"Delay": 1, "MaxAttempts": 10}
    for waiter, more in (
        ("function_exists", {}),
        ("function_active", {}),
        ("function_active_v2", {}),
        ("function_updated", {}),
        ("function_updated_v2", {}),
        ("published_version_active", {"Qualifier": "1"}),
    ):
        case.lambda_.get_waiter(waiter).wait(FunctionName=name, WaiterConfig=quick, **more)
    later = case.name()
    timer = threading.Timer(1.5, lambda: case.function(named=later))
    timer.start()
    case.lambda_.get_waiter("function_exists").wait(FunctionName=later, WaiterConfig=quick)
    timer.join()


def test_account_settings(case):
    """Limits are AWS's, and functions and their code are counted."""

    def told():
        return case.lambda_.get_account_settings()

    before = told()
    limit = before["AccountLimit"]
    for member in ("TotalCodeSize", "CodeSizeUnzipped", "CodeSizeZipped"):
        assert isinstance(limit[member], int) and limit[member] > 0, limit
    assert 0 <= limit["UnreservedConcurrentExecutions"] <= limit["ConcurrentExecutions"], limit
    code = package(saying("counted"))
    name = case.function(code)
    usage = told()["AccountUsage"]
    equal(usage["FunctionCount"], before["AccountUsage"]["FunctionCount"] + 1, "functions")
    assert usage["TotalCodeSize"] > before["AccountUsage"]["TotalCodeSize"], usage
    case.lambda_.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=7)
    left = told()["AccountLimit"]["UnreservedConcurrentExecutions"]
    equal(left, limit["UnreservedConcurrentExecutions"] - 7, "unreserved")
    case.lambda_.delete_function(FunctionName=name)
    equal(told()["AccountUsage"]["FunctionCount"], before["AccountUsage"]["FunctionCount"])


def test_settings_that_tools_read_back(case):
    """What Terraform and others read of each function is there."""
    name = case.function()
    signing = case.lambda_.get_function_code_signing_config(FunctionName=name)
    equal(signing["ResponseMetadata"]["HTTPStatusCode"], 200, "status")
    assert not signing.get("CodeSigningConfigArn"), signing
    runtime = case.lambda_.get_runtime_management_config(FunctionName=name)
    holds(runtime, {"UpdateRuntimeOn": "Auto", "FunctionArn": case.cloud.arn(name)})
    # AWS says Terminate; a node does not look for loops, and does not say that it ends them.
    recursion = case.lambda_.get_function_recursion_config(FunctionName=name)
    equal(recursion["RecursiveLoop"], "Allow", "recursion")
    concurrency = case.lambda_.get_function_concurrency(FunctionName=name)
    assert "ReservedConcurrentExecutions" not in concurrency, concurrency


def test_recursion_is_allowed(case):
    """Functions may call themselves; that they are to be stopped from it is refused."""
    name = case.function()
    told = case.lambda_.put_function_recursion_config(FunctionName=name, RecursiveLoop="Allow")
    equal(told["RecursiveLoop"], "Allow", "told")
    kept = case.lambda_.get_function_recursion_config(FunctionName=name)
    equal(kept["RecursiveLoop"], "Allow", "kept")
    refused(
        PARAMETER,
        case.lambda_.put_function_recursion_config,
        message="RecursiveLoop",
        FunctionName=name,
        RecursiveLoop="Terminate",
    )
    refused(
        VALIDATION,
        case.unchecked.put_function_recursion_config,
        FunctionName=name,
        RecursiveLoop="Sometimes",
    )


def test_what_is_not_offered_is_said(case):
    """An operation that the node does not have is refused by name, in JSON, at once."""
    client, name = case.unchecked, case.function()
    signing = f"arn:aws:lambda:{case.cloud.region}:{case.cloud.account}:code-signing-config:csc-"
    signing += "0123456789abcdefg"
    durable = case.cloud.arn(f"{name}:1") + "/durable-execution/a/b"
    for operation, arguments in (
        ("create_capacity_provider", {"CapacityProviderName": "c"}),
        ("get_capacity_provider", {"CapacityProviderName": "c"}),
        ("create_code_signing_config", {"AllowedPublishers": {"SigningProfileVersionArns": []}}),
        (
            "put_function_code_signing_config",
            {
                "FunctionName": name,
                "CodeSigningConfigArn": signing,
            },
        ),
        ("get_durable_execution", {"DurableExecutionArn": durable}),
        ("stop_durable_execution", {"DurableExecutionArn": durable}),
        ("list_durable_executions_by_function", {"FunctionName": name}),
        ("send_durable_execution_callback_success", {"CallbackId": "a"}),
        ("put_function_scaling_config", {"FunctionName": name, "Qualifier": "1"}),
        ("put_resource_policy", {"ResourceArn": case.cloud.arn(name), "Policy": "{}"}),
    ):
        spoken = "".join(part.title() for part in operation.split("_"))
        try:
            getattr(client, operation)(**arguments)
        except client.exceptions.ClientError as error:
            told, metadata = error.response["Error"], error.response["ResponseMetadata"]
        else:
            raise AssertionError(f"{spoken} was done")
        assert not told["Code"].isdigit(), f"{spoken}: no type, only {told}"
        assert 400 <= metadata["HTTPStatusCode"] < 600, metadata
        assert "json" in metadata["HTTPHeaders"].get("content-type", ""), metadata
        assert spoken in told["Message"], f"{told} does not name {spoken}"


def test_unknown_paths_are_typed_errors(case):
    """Paths that no operation has, and methods that a path does not have."""
    for method, target in (
        ("GET", "/2099-01-01/functions"),
        ("GET", "/"),
        ("PATCH", "/2015-03-31/functions/name"),
        ("DELETE", "/2015-03-31/functions"),
        ("GET", "/2015-03-31/functions/name/nothing"),
        ("GET", "/index.html"),
    ):
        answer = case.cloud.signed(method, target)
        assert 400 <= answer.status < 502, f"{method} {target}: {answer}"
        answer.error()


def test_answers_are_json_with_an_id(case):
    """Every answer has an id, and a body says what it is."""
    name = case.function()
    answer = case.cloud.signed("GET", f"/2015-03-31/functions/{name}")
    equal(answer.status, 200, "status")
    equal(answer.header("content-type"), "application/json", "content type")
    assert UUID.fullmatch(answer.header("x-amzn-requestid")), answer
    equal(answer.json()["Configuration"]["FunctionName"], name, "name")
    # One connection serves many requests, errors among them.
    other = exchange(
        case.cloud.endpoint,
        "GET",
        "/2015-03-31/functions/none",
        b"",
        case.cloud.sign("GET", "/2015-03-31/functions/none"),
    )
    equal(other.error(), NOT_FOUND, "type")
    body = json.loads(other.body)
    holds(body, {"Type": "User"})
    assert "Function not found" in body["Message"], body
