//! What is told of an event that is over, in AWS's forms. No IO, no clock.

use bytes::Bytes;
use fractus_func::FunctionName;
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};

use crate::events::policy::Condition;
use crate::events::{Destination, Event, EventsConfig, Letter, Policy, Verdict};
use crate::limits::{EVENT_MESSAGE_MAX, EVENT_RESPONSE_MAX};

/// The record of an asynchronous invocation (AWS Lambda, "Capturing records of Lambda asynchronous
/// invocations").
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Record<'a> {
    version: &'static str,
    timestamp: String,
    request_context: RequestContext,
    request_payload: Box<RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_context: Option<ResponseContext<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_payload: Option<Box<RawValue>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RequestContext {
    request_id: String,
    function_arn: String,
    condition: &'static str,
    approximate_invoke_count: u32,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ResponseContext<'a> {
    status_code: u16,
    executed_version: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    function_error: Option<&'static str>,
}

/// The letters that an event leaves: its last attempt's verdict, or none if it was too old for one.
pub(super) fn letters(
    event: &Event,
    condition: Condition,
    verdict: Option<&Verdict>,
    policy: &Policy,
    config: &EventsConfig,
    now_ms: u64,
) -> Vec<(Destination, Letter)> {
    let letter = |destination: &Option<Destination>, body, attributes| {
        let letter = Letter {
            event: event.id,
            function: event.function.clone(),
            body,
            attributes,
        };
        Some((destination.clone()?, letter))
    };
    let record = || record(event, condition, verdict, config, now_ms);
    let letters = match condition {
        Condition::Success => {
            let record = policy.on_success.as_ref().map(|_| record());
            [
                record.and_then(|body| letter(&policy.on_success, body, Vec::new())),
                None,
            ]
        }
        Condition::RetriesExhausted
        | Condition::EventAgeExceeded
        | Condition::ZeroReservedConcurrency => {
            let record = policy.on_failure.as_ref().map(|_| record());
            let attributes = dead_letter_attributes(event, condition, verdict);
            [
                record.and_then(|body| letter(&policy.on_failure, body, Vec::new())),
                letter(&policy.dead_letter, event.payload.clone(), attributes),
            ]
        }
    };
    letters.into_iter().flatten().collect()
}

fn record(
    event: &Event,
    condition: Condition,
    verdict: Option<&Verdict>,
    config: &EventsConfig,
    now_ms: u64,
) -> Bytes {
    let (ran, context, payload) = match verdict {
        Some(Verdict::Done {
            status,
            payload,
            executed_version,
        }) => (1, Some((*status, executed_version, None)), Some(payload)),
        Some(Verdict::Failed {
            payload,
            executed_version,
        }) => {
            let context = (200, executed_version, Some("Unhandled"));
            (1, Some(context), Some(payload))
        }
        Some(Verdict::Throttled | Verdict::Gone) | None => (0, None, None),
    };
    let record = Record {
        version: "1.0",
        timestamp: iso_ms(now_ms),
        request_context: RequestContext {
            request_id: event.id.to_string(),
            function_arn: function_arn(&event.function, event.qualifier.as_deref(), config),
            condition: condition.as_str(),
            approximate_invoke_count: event.attempts.saturating_add(ran),
        },
        request_payload: json(&event.payload),
        response_context: context.map(|(status_code, version, function_error)| ResponseContext {
            status_code,
            executed_version: version,
            function_error,
        }),
        response_payload: payload.map(|payload| {
            let fits = payload.len() <= EVENT_RESPONSE_MAX;
            json(if fits { payload } else { b"null" })
        }),
    };
    serde_json::to_vec(&record)
        .expect("texts, numbers and JSON are JSON")
        .into()
}

/// The attributes of a message in a dead letter queue (AWS Lambda, "Adding a dead-letter queue").
fn dead_letter_attributes(
    event: &Event,
    condition: Condition,
    verdict: Option<&Verdict>,
) -> Vec<(String, String)> {
    let (code, message) = match verdict {
        Some(Verdict::Failed { payload, .. }) => ("200", error_message(payload)),
        Some(Verdict::Gone) => ("404", "The function does not exist.".to_owned()),
        _ if condition == Condition::EventAgeExceeded => (
            "429",
            "The event is older than the function allows.".to_owned(),
        ),
        _ => ("500", "The function could not be called.".to_owned()),
    };
    let pairs = [
        ("RequestID", event.id.to_string()),
        ("ErrorCode", code.to_owned()),
        ("ErrorMessage", message),
    ];
    pairs.map(|(name, value)| (name.to_owned(), value)).into()
}

/// What a function's error says: its `errorMessage`, otherwise all of it.
fn error_message(payload: &[u8]) -> String {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Error {
        error_message: String,
    }
    let message = match serde_json::from_slice::<Error>(payload) {
        Ok(error) => error.error_message,
        Err(_) => String::from_utf8_lossy(payload).into_owned(),
    };
    let end = message.floor_char_boundary(EVENT_MESSAGE_MAX);
    message[..end].to_owned()
}

/// A payload inside of JSON: as it is when it is JSON, otherwise as a text.
fn json(payload: &[u8]) -> Box<RawValue> {
    let text = String::from_utf8_lossy(payload);
    match serde_json::from_str::<&RawValue>(&text) {
        Ok(value) => value.to_owned(),
        Err(_) => to_raw_value(&text).expect("a text is JSON"),
    }
}

/// A function's ARN, with its qualifier.
fn function_arn(name: &FunctionName, qualifier: Option<&str>, config: &EventsConfig) -> String {
    let EventsConfig {
        region, account, ..
    } = config;
    let qualifier = qualifier.unwrap_or("$LATEST");
    format!("arn:aws:lambda:{region}:{account}:function:{name}:{qualifier}")
}

/// AWS's scheduled event for a fire at `fire_ms`.
pub(super) fn scheduled(id: &str, rule: &str, fire_ms: u64, config: &EventsConfig) -> Bytes {
    let EventsConfig {
        region, account, ..
    } = config;
    let event = serde_json::json!({
        "version": "0",
        "id": id,
        "detail-type": "Scheduled Event",
        "source": "aws.events",
        "account": account,
        "time": iso_s(fire_ms),
        "region": region,
        "resources": [format!("arn:aws:events:{region}:{account}:rule/{rule}")],
        "detail": {},
    });
    event.to_string().into()
}

/// A time as ISO 8601 in UTC, to the second.
pub(super) fn iso_s(unix_ms: u64) -> String {
    let (year, month, day) = civil(unix_ms / 86_400_000);
    let s = unix_ms / 1_000 % 86_400;
    let (hour, minute, second) = (s / 3_600, s / 60 % 60, s % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// The same, to the millisecond.
fn iso_ms(unix_ms: u64) -> String {
    let seconds = iso_s(unix_ms);
    let seconds = seconds.trim_end_matches('Z');
    format!("{seconds}.{:03}Z", unix_ms % 1_000)
}

/// Year, month and day of the Gregorian calendar, of a day counted from 1970-01-01 (Howard
/// Hinnant, "chrono-Compatible Low-Level Date Algorithms").
fn civil(day: u64) -> (u64, u64, u64) {
    // Years begin in March, so that the leap day is their last one.
    let day = day + 719_468;
    let (era, day_of_era) = (day / 146_097, day % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 {
        from_march + 3
    } else {
        from_march - 9
    };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use fractus_func::RequestId;
    use serde_json::{Value, json};

    use super::{iso_ms, iso_s, letters, scheduled};
    use crate::events::policy::Condition;
    use crate::events::{Destination, Event, EventsConfig, Policy, Source, Verdict};
    use crate::limits::{EVENT_MESSAGE_MAX, EVENT_RESPONSE_MAX};

    fn event(payload: &'static str) -> Event {
        let id = RequestId::from_random(7);
        let payload = Bytes::from_static(payload.as_bytes());
        Event::new(id, "f".parse().unwrap(), payload, Source::Invoke, 5)
    }

    fn policy() -> Policy {
        Policy {
            on_success: Some(Destination("good".to_owned())),
            on_failure: Some(Destination("bad".to_owned())),
            dead_letter: Some(Destination("dead".to_owned())),
            ..Policy::default()
        }
    }

    fn failed(payload: impl Into<Bytes>) -> Verdict {
        Verdict::Failed {
            payload: payload.into(),
            executed_version: "3".to_owned(),
        }
    }

    fn parse(body: &[u8]) -> Value {
        serde_json::from_slice(body).unwrap()
    }

    #[test]
    fn a_success_leaves_one_record() {
        let verdict = Verdict::Done {
            status: 200,
            payload: Bytes::from_static(b"{\"b\":  2}"),
            executed_version: "$LATEST".to_owned(),
        };
        let mut event = event("{\"a\":1.50}");
        event.attempts = 1;
        event.qualifier = Some("live".to_owned());
        let config = EventsConfig::default();
        let left = letters(
            &event,
            Condition::Success,
            Some(&verdict),
            &policy(),
            &config,
            1_573_755_365_568,
        );
        assert_eq!(left.len(), 1);
        assert_eq!(left[0].0, Destination("good".to_owned()));
        assert!(left[0].1.attributes.is_empty());
        let expected = json!({
            "version": "1.0",
            "timestamp": "2019-11-14T18:16:05.568Z",
            "requestContext": {
                "requestId": "00000000-0000-4000-8000-000000000007",
                "functionArn": "arn:aws:lambda:us-east-1:000000000000:function:f:live",
                "condition": "Success",
                "approximateInvokeCount": 2
            },
            "requestPayload": {"a": 1.5},
            "responseContext": {"statusCode": 200, "executedVersion": "$LATEST"},
            "responsePayload": {"b": 2}
        });
        assert_eq!(parse(&left[0].1.body), expected);
        // JSON goes through as it was written.
        let text = String::from_utf8(left[0].1.body.to_vec()).unwrap();
        assert!(text.contains("{\"a\":1.50}"), "{text}");
    }

    #[test]
    fn a_failure_leaves_a_record_and_a_dead_letter() {
        let verdict = failed("{\"errorMessage\":\"boom\",\"errorType\":\"E\"}");
        let config = EventsConfig::default();
        let mut event = event("not JSON \"");
        event.attempts = 2;
        let condition = Condition::RetriesExhausted;
        let left = letters(&event, condition, Some(&verdict), &policy(), &config, 0);
        assert_eq!(left.len(), 2);
        let record = parse(&left[0].1.body);
        assert_eq!(record["requestContext"]["condition"], "RetriesExhausted");
        assert_eq!(record["requestContext"]["approximateInvokeCount"], 3);
        assert_eq!(record["responseContext"]["functionError"], "Unhandled");
        assert_eq!(record["responseContext"]["executedVersion"], "3");
        assert_eq!(record["responsePayload"]["errorMessage"], "boom");
        assert_eq!(record["requestPayload"], "not JSON \"");
        assert_eq!(left[1].0, Destination("dead".to_owned()));
        assert_eq!(left[1].1.body, event.payload);
        let attributes = [
            ("RequestID", "00000000-0000-4000-8000-000000000007"),
            ("ErrorCode", "200"),
            ("ErrorMessage", "boom"),
        ];
        let attributes = attributes.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(left[1].1.attributes, attributes);
    }

    #[test]
    fn an_event_that_grew_too_old_has_no_response() {
        let config = EventsConfig::default();
        let condition = Condition::EventAgeExceeded;
        for verdict in [None, Some(Verdict::Throttled)] {
            let left = letters(
                &event("1"),
                condition,
                verdict.as_ref(),
                &policy(),
                &config,
                0,
            );
            let record = parse(&left[0].1.body);
            assert_eq!(record["requestContext"]["condition"], "EventAgeExceeded");
            assert_eq!(record["requestContext"]["approximateInvokeCount"], 0);
            assert_eq!(record.get("responseContext"), None);
            assert_eq!(record.get("responsePayload"), None);
            assert_eq!(left[1].1.attributes[1].1, "429");
        }
        let nobody = Policy::default();
        assert!(letters(&event("1"), condition, None, &nobody, &config, 0).is_empty());
    }

    #[test]
    fn large_answers_and_messages_are_cut() {
        let config = EventsConfig::default();
        let long = "ä".repeat(EVENT_RESPONSE_MAX);
        let left = letters(
            &event("1"),
            Condition::RetriesExhausted,
            Some(&failed(long)),
            &policy(),
            &config,
            0,
        );
        assert_eq!(parse(&left[0].1.body)["responsePayload"], Value::Null);
        let message = &left[1].1.attributes[2].1;
        assert!(message.len() <= EVENT_MESSAGE_MAX && message.starts_with("ää"));
    }

    #[test]
    fn a_fire_looks_like_eventbridges() {
        let config = EventsConfig::default();
        let event = parse(&scheduled("x", "f-0", 1_456_789_500_999, &config));
        let expected = json!({
            "version": "0",
            "id": "x",
            "detail-type": "Scheduled Event",
            "source": "aws.events",
            "account": "000000000000",
            "time": "2016-02-29T23:45:00Z",
            "region": "us-east-1",
            "resources": ["arn:aws:events:us-east-1:000000000000:rule/f-0"],
            "detail": {}
        });
        assert_eq!(event, expected);
    }

    #[test]
    fn days_have_their_dates() {
        for (unix_s, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (4_107_542_399, "2100-02-28T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
            (1_798_761_599, "2026-12-31T23:59:59Z"),
        ] {
            assert_eq!(iso_s(unix_s * 1_000), text);
        }
        assert_eq!(iso_ms(1_007), "1970-01-01T00:00:01.007Z");
        // Whatever a clock says.
        assert!(iso_ms(u64::MAX).ends_with('Z'));
    }
}
