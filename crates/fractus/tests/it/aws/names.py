"""What stands for a function: names, ARNs and parts of them, with qualifiers in both places."""

import json

from kit import CONFLICT, NOT_FOUND, PARAMETER, VALIDATION, equal, refused, saying

MISMATCH = "The derived qualifier from the function name does not match the specified qualifier"


def forms(case, name):
    """Every way to write a function."""
    account, region = case.cloud.account, case.cloud.region
    return (
        name,
        f"function:{name}",
        f"{account}:function:{name}",
        f"{account}:{name}",
        f"{region}:{account}:function:{name}",
        f"arn:aws:lambda:{region}:{account}:function:{name}",
    )


def two_versions(case):
    """A function with versions 1 and 2 and an alias `live` of 1."""
    name = case.function(saying("1"), Publish=True)
    case.version(name, "2")
    case.lambda_.create_alias(FunctionName=name, Name="live", FunctionVersion="1")
    return name


def test_every_form(case):
    """All of them find the function."""
    name = two_versions(case)
    for form in forms(case, name):
        told = case.lambda_.get_function_configuration(FunctionName=form)
        equal(told["FunctionArn"], case.cloud.arn(name), f"ARN of {form}")
        equal(case.call(form), "2", f"answer of {form}")
        equal(case.lambda_.get_alias(FunctionName=form, Name="live")["FunctionVersion"], "1")


def test_qualifiers_in_both_places(case):
    """A qualifier may be in the name or beside it, or in both if they are the same."""
    name = two_versions(case)
    for form in forms(case, name):
        for qualifier, said in (("1", "1"), ("2", "2"), ("live", "1"), ("$LATEST", "2")):
            for named in (
                {"FunctionName": f"{form}:{qualifier}"},
                {"FunctionName": form, "Qualifier": qualifier},
                {"FunctionName": f"{form}:{qualifier}", "Qualifier": qualifier},
            ):
                answer = case.lambda_.invoke(**named)
                equal(json.loads(answer["Payload"].read()), said, f"answer of {named}")
                told = case.lambda_.get_function_configuration(**named)
                equal(told["FunctionArn"], case.cloud.arn(f"{name}:{qualifier}"), "ARN")


def test_qualifiers_that_differ(case):
    """Two qualifiers that say different things are refused, even if both mean one version."""
    name = two_versions(case)
    client = case.lambda_
    for first, second in (("1", "2"), ("live", "1"), ("$LATEST", "1"), ("1", "$LATEST")):
        for form in (f"{name}:{first}", case.cloud.arn(f"{name}:{first}")):
            for call, more in (
                (client.invoke, {}),
                (client.get_function, {}),
                (client.get_function_configuration, {}),
                (client.delete_function, {}),
                (client.get_policy, {}),
                (client.get_function_event_invoke_config, {}),
                (client.put_function_event_invoke_config, {"MaximumRetryAttempts": 1}),
            ):
                refused(
                    PARAMETER,
                    call,
                    message=MISMATCH,
                    FunctionName=form,
                    Qualifier=second,
                    **more,
                )
    equal(case.call(name, Qualifier="1"), "1", "answer of 1")
    equal(case.call(name), "2", "answer of $LATEST")


def test_create_by_arn(case):
    """A function can be made by any form without a qualifier, and is one function."""
    for place in range(6):
        name = case.name()
        form = forms(case, name)[place]
        told = case.lambda_.create_function(FunctionName=form, **case.settings(saying(place)))
        equal(told["FunctionName"], name, f"name of {form}")
        equal(told["FunctionArn"], case.cloud.arn(name), f"ARN of {form}")
        case.settled(name)
        equal(case.call(name), place, "answer")
        refused(CONFLICT, case.lambda_.create_function, FunctionName=name, **case.settings())


def test_other_regions(case):
    """Functions of another region are not found, and the refusal says why."""
    name = case.function()
    elsewhere = case.cloud.arn(name, region="eu-north-1")
    message = (
        f"Functions from 'eu-north-1' are not reachable in this region ('{case.cloud.region}')"
    )
    client, named = case.lambda_, {"FunctionName": elsewhere}
    for call, more in (
        (client.get_function, {}),
        (client.get_function_configuration, {}),
        (client.invoke, {}),
        (client.delete_function, {}),
        (client.get_function_url_config, {}),
        (client.get_function_concurrency, {}),
        (client.update_function_configuration, {"Timeout": 5}),
        (client.create_function, case.settings()),
    ):
        refused(NOT_FOUND, call, message=message, **named, **more)
    equal(case.call(name, 1), 1, "answer")


def test_other_accounts(case):
    """What belongs to another account is denied, or not found, never ours."""
    name = case.function()
    other = "123456789012" if case.cloud.account != "123456789012" else "210987654321"
    client = case.lambda_
    for form in (case.cloud.arn(name, account=other), f"{other}:function:{name}"):
        for call, more in (
            (client.get_function, {}),
            (client.invoke, {}),
            (client.delete_function, {}),
            (client.update_function_configuration, {"Timeout": 5}),
        ):
            try:
                call(FunctionName=form, **more)
            except client.exceptions.ClientError as error:
                code = error.response["Error"]["Code"]
                status = error.response["ResponseMetadata"]["HTTPStatusCode"]
                pair = (code, status)
                assert pair in (("AccessDeniedException", 403), (NOT_FOUND, 404)), pair
            else:
                raise AssertionError(f"{form} was ours")
    equal(case.call(name, 1), 1, "answer")


def test_names_that_are_none(case):
    """What does not have the form is refused, whatever is to be done with it."""
    account, region = case.cloud.account, case.cloud.region
    name = case.function()
    for bad in (
        "my-function!",
        "*",
        "ü",
        "a b",
        "invalid:function:name",
        "invalid-account:function:my-function",
        f"arn:aws:lambda:invalid-region:{account}:function:{name}",
        f"arn:aws:lambda::{account}:function:{name}",
        f"arn:aws:lambda:{region}::function:{name}",
        f"arn:aws:lambda:{region}:{account}:function:{name}:1:2",
        f"arn:aws:lambda:{region}:{account}:function:{name}:$LATES",
        f"arn:aws:ec2:{region}:{account}:instance:i-1234567890abcdef0",
        f"function:{name}:$LATEST:extra",
        f"12345:function:{name}",
    ):
        for call, more in (
            (case.unchecked.get_function, {}),
            (case.unchecked.delete_function, {}),
            (case.unchecked.invoke, {}),
            (case.unchecked.create_function, case.settings()),
        ):
            error = refused(VALIDATION, call, FunctionName=bad, **more)
            message = error["Error"]["Message"]
            assert "at 'functionName' failed to satisfy constraint" in message, message
    equal(case.call(name, 1), 1, "answer")


def test_case_matters(case):
    """Names that differ in case only are two functions."""
    name = case.name() + "-a"
    other = name[:-1] + "A"
    case.function(saying("small"), named=name)
    case.function(saying("large"), named=other)
    equal((case.call(name), case.call(other)), ("small", "large"), "answers")
    case.lambda_.delete_function(FunctionName=name)
    equal(case.call(other), "large", "answer of the other one")


def test_every_letter(case):
    """All letters, digits, dashes and underscores can be in a name, at each end too."""
    for text in ("-{}-", "_{}_", "0{}9", "Z{}z"):
        name = text.format(case.name())
        case.function(saying("ran"), named=name)
        equal(case.call(name), "ran", "answer")
        equal(case.call(case.cloud.arn(name)), "ran", "answer by ARN")
