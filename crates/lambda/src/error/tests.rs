use fractus_func::RequestId;

use super::{ErrorShape, Exit};
use crate::limits::{ERROR_BODY_MAX, ERROR_MESSAGE_MAX, STACK_LINES_MAX};

#[test]
fn reads_the_shape_and_writes_it() {
    let json = br#"{"errorType":"ValueError","errorMessage":"no","stackTrace":["a","b"]}"#;
    let shape = ErrorShape::from_json(json);
    assert_eq!(shape.stack_trace, ["a", "b"]);
    assert_eq!(shape.to_json(), json);
    let node = ErrorShape::from_json(br#"{"errorType":"E","errorMessage":"m","trace":["t"]}"#);
    assert_eq!(node.stack_trace, ["t"]);
    let short = ErrorShape::new("E", "m");
    assert_eq!(short.to_json(), br#"{"errorType":"E","errorMessage":"m"}"#);
    assert_eq!(short.to_string(), "E: m");
}

#[test]
fn takes_anything_else_as_text() {
    let cases: [(&[u8], &str, &str); 8] = [
        (b"", "Runtime.Unknown", ""),
        (b"plain", "Runtime.Unknown", "plain"),
        (b"[1]", "Runtime.Unknown", "[1]"),
        (b"{}", "Runtime.Unknown", "{}"),
        (b"\xff\xfe", "Runtime.Unknown", "\u{fffd}\u{fffd}"),
        (br#"{"errorMessage":"m"}"#, "UnhandledError", "m"),
        (
            br#"{"errorType":7,"errorMessage":{"a":1}}"#,
            "7",
            r#"{"a":1}"#,
        ),
        (
            br#"{"errorType":null,"errorMessage":null}"#,
            "Runtime.Unknown",
            r#"{"errorType":null,"errorMessage":null}"#,
        ),
    ];
    for (bytes, kind, message) in cases {
        let shape = ErrorShape::from_json(bytes);
        assert_eq!((&*shape.error_type, &*shape.error_message), (kind, message));
    }
    assert_eq!(ErrorShape::from_report(b"x", Some("T")).error_type, "T");
    assert_eq!(
        ErrorShape::from_report(br#"{"errorMessage":"m"}"#, Some("T")).error_type,
        "T"
    );
}

#[test]
fn is_bounded() {
    let huge = "ä".repeat(ERROR_BODY_MAX);
    let shape = ErrorShape::from_json(huge.as_bytes());
    assert!(shape.error_message.len() <= ERROR_MESSAGE_MAX + 3);
    let trace = vec!["line"; 10_000];
    let message = "ä".repeat(40_000);
    let json = serde_json::json!({"errorType": "E", "errorMessage": message, "stackTrace": trace});
    let shape = ErrorShape::from_json(json.to_string().as_bytes());
    assert_eq!(shape.stack_trace.len(), STACK_LINES_MAX);
    assert_eq!(shape.error_message.len(), ERROR_MESSAGE_MAX);
    let deep = "[".repeat(100_000);
    assert_eq!(
        ErrorShape::from_json(deep.as_bytes()).error_type,
        "Runtime.Unknown"
    );
}

#[test]
fn says_what_lambda_says() {
    let id = RequestId::from_random(0);
    let at = "RequestId: 00000000-0000-4000-8000-000000000000 Error: ";
    let check = |shape: ErrorShape, kind: &str, message: &str| {
        assert_eq!(shape.error_type, kind);
        assert_eq!(shape.error_message, format!("{at}{message}"));
    };
    let exit = "Runtime.ExitError";
    check(
        ErrorShape::exited(id, Exit::Status(1)),
        exit,
        "Runtime exited with error: exit status 1",
    );
    check(
        ErrorShape::exited(id, Exit::Status(0)),
        exit,
        "Runtime exited without providing a reason",
    );
    check(
        ErrorShape::exited(id, Exit::Signal(9)),
        exit,
        "Runtime exited with error: signal: killed",
    );
    check(
        ErrorShape::exited(id, Exit::Signal(11)),
        exit,
        "Runtime exited with error: signal: segmentation fault",
    );
    check(
        ErrorShape::out_of_memory(id),
        "Runtime.OutOfMemory",
        "Runtime exited with error: signal: killed",
    );
    check(
        ErrorShape::timed_out(id, 3000),
        "Sandbox.Timedout",
        "Task timed out after 3.00 seconds",
    );
    check(
        ErrorShape::timed_out(id, 1_259),
        "Sandbox.Timedout",
        "Task timed out after 1.25 seconds",
    );
}
