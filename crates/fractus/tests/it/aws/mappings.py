"""Event source mappings."""

import time
import uuid

from kit import (
    CONFLICT,
    NOT_FOUND,
    PARAMETER,
    UUID,
    VALIDATION,
    equal,
    holds,
    pages,
    refused,
    until,
)

KINDS = ("Creating", "Enabling", "Enabled", "Disabling", "Disabled", "Updating", "Deleting")


def event_source(case):
    """The ARN of a queue that a function can be fed from, and that is gone when the test ends.

    AWS wants the queue to be there. Where the node wants that too, this is the one place to make
    one. The ARN is that of SQS, the one kind of source with the defaults that are tested here.
    """
    return f"arn:aws:sqs:{case.cloud.region}:{case.cloud.account}:{case.name()}"


def mapping(case, name, **settings):
    """Makes a mapping; it is deleted when the test ends."""
    made = case.lambda_.create_event_source_mapping(
        FunctionName=name, EventSourceArn=settings.pop("source", event_source(case)), **settings
    )
    case.later(remove, case, made["UUID"])
    return made


def remove(case, number):
    """Deletes a mapping that may be on its way out already."""
    try:
        case.lambda_.delete_event_source_mapping(UUID=number)
    except case.lambda_.exceptions.ResourceInUseException:
        gone(case, number)


def gone(case, number):
    """Waits until a mapping is not there any more."""

    def missing():
        try:
            case.lambda_.get_event_source_mapping(UUID=number)
        except case.lambda_.exceptions.ResourceNotFoundException:
            return True
        return False

    until(missing, 30, f"{number} gone")


def state(case, number, want):
    """Waits until a mapping has a state; gives it."""

    def reached():
        told = case.lambda_.get_event_source_mapping(UUID=number)
        assert told["State"] in KINDS, told
        return told if told["State"] == want else None

    return until(reached, 30, want)


def test_mapping(case):
    """Made, read, changed and deleted."""
    name, source = case.function(), event_source(case)
    made = mapping(case, name, source=source)
    equal(made["ResponseMetadata"]["HTTPStatusCode"], 202, "status")
    number = made["UUID"]
    assert UUID.fullmatch(number), number
    want = {
        "EventSourceArn": source,
        "FunctionArn": case.cloud.arn(name),
        "BatchSize": 10,
        "MaximumBatchingWindowInSeconds": 0,
        "FunctionResponseTypes": [],
        "EventSourceMappingArn": (
            f"arn:aws:lambda:{case.cloud.region}:{case.cloud.account}:event-source-mapping:{number}"
        ),
    }
    holds(made, want)
    assert made["State"] in ("Creating", "Enabling", "Enabled"), made
    assert made["StateTransitionReason"], made
    assert abs(time.time() - made["LastModified"].timestamp()) < 600, made["LastModified"]
    told = state(case, number, "Enabled")
    holds(told, {**want, "UUID": number})

    told = case.lambda_.update_event_source_mapping(UUID=number, BatchSize=5, Enabled=False)
    equal(told["ResponseMetadata"]["HTTPStatusCode"], 202, "status")
    equal(told["BatchSize"], 5, "batch")
    assert told["State"] in ("Updating", "Disabling", "Disabled"), told
    holds(state(case, number, "Disabled"), {**want, "BatchSize": 5})
    other = case.function()
    case.lambda_.update_event_source_mapping(UUID=number, FunctionName=other, Enabled=True)
    holds(state(case, number, "Enabled"), {"FunctionArn": case.cloud.arn(other), "BatchSize": 5})

    told = case.lambda_.delete_event_source_mapping(UUID=number)
    equal(told["ResponseMetadata"]["HTTPStatusCode"], 202, "status")
    holds(told, {"UUID": number, "State": "Deleting"})
    gone(case, number)


def test_settings(case):
    """What is set in creation is kept."""
    name = case.function()
    asked = {
        "BatchSize": 7,
        "MaximumBatchingWindowInSeconds": 2,
        "FunctionResponseTypes": ["ReportBatchItemFailures"],
        "ScalingConfig": {"MaximumConcurrency": 3},
    }
    made = mapping(case, name, Enabled=False, **asked)
    holds(made, asked)
    holds(state(case, made["UUID"], "Disabled"), asked)


def test_targets(case):
    """Functions are named in every way, with qualifiers."""
    name = case.function(Publish=True)
    case.lambda_.create_alias(FunctionName=name, Name="live", FunctionVersion="1")
    for target, arn in (
        (name, name),
        (case.cloud.arn(name), name),
        (f"{name}:live", f"{name}:live"),
        (case.cloud.arn(f"{name}:1"), f"{name}:1"),
        (f"{case.cloud.account}:function:{name}", name),
    ):
        made = mapping(case, target, Enabled=False)
        equal(made["FunctionArn"], case.cloud.arn(arn), "ARN")


def test_list_has_pages(case):
    """Mappings are listed by function and by source, each once."""
    name, other = case.function(), case.function()
    sources = [event_source(case) for _ in range(4)]
    made = {mapping(case, name, source=source, Enabled=False)["UUID"] for source in sources}
    twin = mapping(case, other, source=sources[0], Enabled=False)["UUID"]

    def listed(size, **only):
        found, _ = pages(
            case.lambda_, "list_event_source_mappings", "EventSourceMappings", size=size, **only
        )
        numbers = [entry["UUID"] for entry in found]
        equal(len(numbers), len(set(numbers)), "mappings listed twice")
        return set(numbers)

    for size in (1, 3, 100):
        equal(listed(size, FunctionName=name), made, "mappings of a function")
        assert made | {twin} <= listed(size), "mappings are missing"
    by_source = listed(2, EventSourceArn=sources[0])
    assert twin in by_source and len(by_source) == 2, by_source
    equal(listed(2, EventSourceArn=sources[0], FunctionName=other), {twin}, "mappings of both")


def test_refusals(case):
    """Functions and sources that are not there, and settings out of range."""
    name = case.function()
    make, source = case.unchecked.create_event_source_mapping, event_source(case)
    refused(PARAMETER, make, FunctionName=name)
    refused(PARAMETER, make, FunctionName="does-not-exist", EventSourceArn=source)
    refused(VALIDATION, make, FunctionName=name, EventSourceArn="no ARN")
    for bad in (
        {"BatchSize": 0},
        {"BatchSize": 10_001},
        {"MaximumBatchingWindowInSeconds": -1},
        {"MaximumBatchingWindowInSeconds": 301},
        {"FunctionResponseTypes": ["Something"]},
    ):
        refused(VALIDATION, make, FunctionName=name, EventSourceArn=source, **bad)
    for call in (
        case.lambda_.get_event_source_mapping,
        case.lambda_.delete_event_source_mapping,
        case.lambda_.update_event_source_mapping,
    ):
        refused(NOT_FOUND, call, UUID=str(uuid.uuid4()))
    listed = case.lambda_.list_event_source_mappings(FunctionName=name)["EventSourceMappings"]
    equal(listed, [], "mappings")


def test_twice_is_a_conflict(case):
    """A source feeds a function once; the refusal says which mapping is there."""
    name, source = case.function(), event_source(case)
    made = mapping(case, name, source=source, Enabled=False)
    refused(
        CONFLICT,
        case.lambda_.create_event_source_mapping,
        message=made["UUID"],
        FunctionName=name,
        EventSourceArn=source,
    )


def test_tags(case):
    """A mapping has tags, from its creation on."""
    made = mapping(case, case.function(), Enabled=False, Tags={"a": "1"})
    arn = made["EventSourceMappingArn"]
    equal(case.lambda_.list_tags(Resource=arn)["Tags"], {"a": "1"}, "tags")
    case.lambda_.tag_resource(Resource=arn, Tags={"b": "2"})
    case.lambda_.untag_resource(Resource=arn, TagKeys=["a"])
    equal(case.lambda_.list_tags(Resource=arn)["Tags"], {"b": "2"}, "tags")
