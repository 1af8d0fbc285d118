"""Tags of functions, and who else may call them."""

import json

from kit import (
    CONFLICT,
    NOT_FOUND,
    PARAMETER,
    PRECONDITION,
    UUID,
    VALIDATION,
    equal,
    refused,
    saying,
)

CALL = {"Action": "lambda:InvokeFunction"}


def test_tags(case):
    """Given in creation, added to, overwritten and taken away."""
    name = case.function(Tags={"a": "1", "ü:/=+-@._ ": "日本"})
    arn = case.cloud.arn(name)
    client = case.lambda_
    first = {"a": "1", "ü:/=+-@._ ": "日本"}
    equal(client.list_tags(Resource=arn)["Tags"], first, "tags")
    equal(client.get_function(FunctionName=name)["Tags"], first, "tags of the function")
    done = client.tag_resource(Resource=arn, Tags={"a": "2", "b": "", "c": "3"})
    equal(done["ResponseMetadata"]["HTTPStatusCode"], 204, "status")
    want = {**first, "a": "2", "b": "", "c": "3"}
    equal(client.list_tags(Resource=arn)["Tags"], want, "tags")
    done = client.untag_resource(Resource=arn, TagKeys=["ü:/=+-@._ ", "b", "never was"])
    equal(done["ResponseMetadata"]["HTTPStatusCode"], 204, "status")
    equal(client.list_tags(Resource=arn)["Tags"], {"a": "2", "c": "3"}, "tags")
    client.untag_resource(Resource=arn, TagKeys=["a", "c"])
    equal(client.list_tags(Resource=arn)["Tags"], {}, "tags")
    assert not client.get_function(FunctionName=name).get("Tags")
    equal(case.call(name, 1), 1, "answer")


def test_tag_refusals(case):
    """Only functions have tags, and only those that are there."""
    name = case.function(Publish=True)
    arn = case.cloud.arn(name)
    case.lambda_.create_alias(FunctionName=name, Name="live", FunctionVersion="1")
    client = case.unchecked
    for qualifier in ("1", "live", "$LATEST"):
        refused(PARAMETER, client.tag_resource, Resource=f"{arn}:{qualifier}", Tags={"a": "1"})
    missing = case.cloud.arn("does-not-exist")
    refused(NOT_FOUND, client.list_tags, Resource=missing)
    refused(NOT_FOUND, client.tag_resource, Resource=missing, Tags={"a": "1"})
    refused(NOT_FOUND, client.untag_resource, Resource=missing, TagKeys=["a"])
    for bad in ("arn:aws:something", arn.replace(":function:", ":foobar:"), name):
        refused(VALIDATION, client.list_tags, Resource=bad)
    refused(PARAMETER, client.tag_resource, Resource=arn, Tags={})
    refused(VALIDATION, client.untag_resource, Resource=arn, TagKeys=[])
    for bad in ({"": "v"}, {"k" * 129: "v"}, {"k": "v" * 257}):
        refused((PARAMETER, VALIDATION), client.tag_resource, Resource=arn, Tags=bad)
    equal(client.list_tags(Resource=arn)["Tags"], {}, "tags")


def test_policy(case):
    """Statements are added, told as a policy, and taken away."""
    name = case.function()
    client, named = case.lambda_, {"FunctionName": name}
    refused(NOT_FOUND, client.get_policy, **named)
    arn = case.cloud.arn(name)
    made = client.add_permission(
        **named,
        StatementId="s3",
        **CALL,
        Principal="s3.amazonaws.com",
        SourceArn="arn:aws:s3:::bucket",
        SourceAccount=case.cloud.account,
    )
    equal(made["ResponseMetadata"]["HTTPStatusCode"], 201, "status")
    first = {
        "Sid": "s3",
        "Effect": "Allow",
        "Principal": {"Service": "s3.amazonaws.com"},
        "Action": "lambda:InvokeFunction",
        "Resource": arn,
        "Condition": {
            "StringEquals": {"AWS:SourceAccount": case.cloud.account},
            "ArnLike": {"AWS:SourceArn": "arn:aws:s3:::bucket"},
        },
    }
    equal(json.loads(made["Statement"]), first, "statement")
    client.add_permission(**named, StatementId="logs", **CALL, Principal="logs.amazonaws.com")
    read = client.get_policy(**named)
    policy = json.loads(read["Policy"])
    equal(
        {**policy, "Statement": None},
        {
            "Version": "2012-10-17",
            "Id": "default",
            "Statement": None,
        },
        "policy",
    )
    equal(policy["Statement"][0], first, "first statement")
    equal([statement["Sid"] for statement in policy["Statement"]], ["s3", "logs"], "statements")
    assert UUID.fullmatch(read["RevisionId"]), read

    refused(
        CONFLICT,
        client.add_permission,
        message="The statement id (s3) provided already exists",
        **named,
        StatementId="s3",
        **CALL,
        Principal="sqs.amazonaws.com",
    )
    gone = client.remove_permission(**named, StatementId="s3")
    equal(gone["ResponseMetadata"]["HTTPStatusCode"], 204, "status")
    left = json.loads(client.get_policy(**named)["Policy"])["Statement"]
    equal([statement["Sid"] for statement in left], ["logs"], "statements")
    refused(
        NOT_FOUND,
        client.remove_permission,
        message="Statement s3 is not found in resource policy",
        **named,
        StatementId="s3",
    )
    client.remove_permission(**named, StatementId="logs")
    refused(NOT_FOUND, client.get_policy, **named)
    refused(NOT_FOUND, client.remove_permission, **named, StatementId="logs")


def test_principals_and_conditions(case):
    """Each form of a principal and a condition becomes what AWS makes of it."""
    name, account = case.function(), case.cloud.account
    user = f"arn:aws:iam::{account}:user/somebody"
    for number, (asked, part) in enumerate(
        (
            ({"Principal": "*"}, {"Principal": "*"}),
            ({"Principal": account}, {"Principal": {"AWS": f"arn:aws:iam::{account}:root"}}),
            ({"Principal": user}, {"Principal": {"AWS": user}}),
            (
                {"Principal": "lambda.amazonaws.com", "SourceAccount": account},
                {
                    "Principal": {"Service": "lambda.amazonaws.com"},
                    "Condition": {"StringEquals": {"AWS:SourceAccount": account}},
                },
            ),
            (
                {
                    "Principal": "*",
                    "Action": "lambda:InvokeFunctionUrl",
                    "FunctionUrlAuthType": "NONE",
                },
                {
                    "Principal": "*",
                    "Action": "lambda:InvokeFunctionUrl",
                    "Condition": {"StringEquals": {"lambda:FunctionUrlAuthType": "NONE"}},
                },
            ),
            (
                {"Principal": "*", "EventSourceToken": "amzn1.ask.skill.x"},
                {"Condition": {"StringEquals": {"lambda:EventSourceToken": "amzn1.ask.skill.x"}}},
            ),
            (
                {"Principal": "*", "PrincipalOrgID": "o-1234567890"},
                {"Condition": {"StringEquals": {"aws:PrincipalOrgID": "o-1234567890"}}},
            ),
            ({"Principal": account, "Action": "*"}, {"Action": "*"}),
        )
    ):
        made = case.lambda_.add_permission(
            FunctionName=name, StatementId=f"s{number}", **{**CALL, **asked}
        )
        statement = json.loads(made["Statement"])
        for member, want in part.items():
            equal(statement.get(member), want, f"{member} of {asked}")
        if "Condition" not in part:
            assert "Condition" not in statement, statement


def test_policies_are_of_qualifiers(case):
    """A function, its versions and its aliases have policies of their own."""
    name = case.function(saying("1"), Publish=True)
    client, named = case.lambda_, {"FunctionName": name, "Principal": "s3.amazonaws.com", **CALL}
    client.create_alias(FunctionName=name, Name="live", FunctionVersion="1")
    for qualifier in ("1", "live"):
        made = client.add_permission(**named, StatementId="s", Qualifier=qualifier)
        statement = json.loads(made["Statement"])
        equal(statement["Resource"], case.cloud.arn(f"{name}:{qualifier}"), "resource")
    refused(NOT_FOUND, client.get_policy, FunctionName=name)
    client.add_permission(**named, StatementId="s")
    for read in ({}, {"Qualifier": "1"}, {"Qualifier": "live"}):
        policy = json.loads(client.get_policy(FunctionName=name, **read)["Policy"])
        equal(len(policy["Statement"]), 1, "statements")
    client.remove_permission(FunctionName=name, StatementId="s", Qualifier="live")
    refused(NOT_FOUND, client.get_policy, FunctionName=name, Qualifier="live")
    client.get_policy(FunctionName=name)
    client.get_policy(FunctionName=name, Qualifier="1")


def test_revisions_guard_policies(case):
    """A change for another revision than the current one is not made."""
    name = case.function()
    named = {"FunctionName": name, "Principal": "s3.amazonaws.com", **CALL}
    add, take = case.lambda_.add_permission, case.lambda_.remove_permission
    add(**named, StatementId="one")
    stale = case.lambda_.get_policy(FunctionName=name)["RevisionId"]
    add(**named, StatementId="two", RevisionId=stale)
    current = case.lambda_.get_policy(FunctionName=name)["RevisionId"]
    assert current != stale, "the revision is the same"
    refused(PRECONDITION, add, **named, StatementId="three", RevisionId=stale)
    refused(PRECONDITION, take, FunctionName=name, StatementId="one", RevisionId=stale)
    take(FunctionName=name, StatementId="one", RevisionId=current)
    left = json.loads(case.lambda_.get_policy(FunctionName=name)["Policy"])["Statement"]
    equal([statement["Sid"] for statement in left], ["two"], "statements")


def test_policy_refusals(case):
    """Statements, actions, principals and qualifiers that are none."""
    name = case.function()
    named = {"FunctionName": name, "StatementId": "s", "Principal": "s3.amazonaws.com", **CALL}
    add = case.unchecked.add_permission
    for code, change in (
        (VALIDATION, {"StatementId": "example.com"}),
        (VALIDATION, {"StatementId": "s" * 101}),
        (VALIDATION, {"Action": "s3:GetObject"}),
        (VALIDATION, {"Principal": "has a space"}),
        (VALIDATION, {"SourceArn": "no ARN"}),
        (VALIDATION, {"SourceAccount": "12"}),
        (VALIDATION, {"Qualifier": "invalid-qualifier-with-?-char"}),
        (VALIDATION, {"FunctionUrlAuthType": "SOME", "Action": "lambda:InvokeFunctionUrl"}),
        (PARAMETER, {"Qualifier": "$LATEST"}),
        (NOT_FOUND, {"Qualifier": "42"}),
        (NOT_FOUND, {"Qualifier": "none"}),
        (NOT_FOUND, {"FunctionName": "does-not-exist"}),
        (PARAMETER, {"FunctionName": f"{name}:one", "Qualifier": "two"}),
    ):
        refused(code, add, **{**named, **change})
    refused(NOT_FOUND, case.lambda_.get_policy, FunctionName=name)
