"""Who the caller is, as AWS's tools ask first."""

import re

from kit import equal


def test_get_caller_identity(case):
    """The account is the one in the ARNs of functions."""
    told = case.cloud.client("sts").get_caller_identity()
    equal(told["ResponseMetadata"]["HTTPStatusCode"], 200, "status")
    assert re.fullmatch(r"\d{12}", told["Account"]), told
    assert told["UserId"], told
    assert re.fullmatch(rf"arn:aws:(iam|sts)::{told['Account']}:\S+", told["Arn"]), told
    arn = case.lambda_.get_function(FunctionName=case.function())["Configuration"]["FunctionArn"]
    equal(arn.split(":")[4], told["Account"], "account of a function")


def test_wrong_secret(case):
    """A wrong signature is refused in the protocol of STS, which is XML."""
    cloud = case.cloud
    body = b"Action=GetCallerIdentity&Version=2011-06-15"
    kind = {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}
    good = cloud.signed("POST", "/", body, kind, service="sts")
    equal(good.status, 200, f"status of {good}")
    assert b"<GetCallerIdentityResult>" in good.body, good
    assert cloud.account.encode() in good.body, good
    for how in ({"secret": "x" * 40}, {"service": "lambda"}, {"region": "eu-north-1"}):
        answer = cloud.signed("POST", "/", body, kind, **{"service": "sts", **how})
        equal(answer.status, 403, f"status with {how}: {answer}")
    answer = cloud.request("POST", "/", body, kind)
    equal(answer.status, 403, f"status without a signature: {answer}")


def test_other_actions(case):
    """Actions that are not there are refused by a type that botocore understands."""
    client = case.cloud.client("sts")
    for call, arguments in (
        (client.get_session_token, {}),
        (client.assume_role, {"RoleArn": case.cloud.role(), "RoleSessionName": "session"}),
    ):
        try:
            call(**arguments)
        except client.exceptions.ClientError as error:
            code = error.response["Error"]["Code"]
            assert code and not code.isdigit(), error.response
            assert error.response["ResponseMetadata"]["HTTPStatusCode"] >= 400
        else:
            raise AssertionError(f"{call} was done")
