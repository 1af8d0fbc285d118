use serde_json::{Value, json};

use super::{Constraint, ERROR_TYPE_HEADER, ServiceError};
use crate::control::Operation;
use crate::limits::REFUSED_VALUE_MAX;
use crate::sigv4::SigError;

fn body(error: &ServiceError) -> Value {
    serde_json::from_slice(&error.to_body()).unwrap()
}

#[test]
fn bodies_are_of_the_models_members() {
    let error = ServiceError::not_found("Function not found: \"x\"");
    assert_eq!(
        (error.status, error.kind),
        (404, "ResourceNotFoundException")
    );
    assert_eq!(
        body(&error),
        json!({
            "Type": "User",
            "Message": "Function not found: \"x\"",
            "message": "Function not found: \"x\"",
        })
    );
    assert_eq!(body(&ServiceError::service("no"))["Type"], "Service");
    assert_eq!(body(&ServiceError::invalid_zip("no"))["Type"], "Service");

    let error = ServiceError::too_many_requests("CallerRateLimitExceeded", "Rate exceeded");
    assert_eq!(
        (error.status, error.kind),
        (429, "TooManyRequestsException")
    );
    assert_eq!(body(&error)["Reason"], "CallerRateLimitExceeded");
    assert_eq!(error.to_string(), "TooManyRequestsException: Rate exceeded");
    assert_eq!(ERROR_TYPE_HEADER, "x-amzn-errortype");
}

#[test]
fn names_what_is_not_there() {
    let error = ServiceError::not_implemented(Operation::CreateCapacityProvider);
    assert_eq!((error.status, error.kind), (501, "NotImplementedException"));
    assert_eq!(
        error.message,
        "CreateCapacityProvider is not implemented here"
    );
}

#[test]
fn constraints_are_told_as_aws_tells_them() {
    let told = |value: &str, constraint| ServiceError::constraint("name", value, constraint);
    let prefix = "1 validation error detected: Value 'x' at 'name' failed to satisfy constraint: ";
    for (constraint, text) in [
        (
            Constraint::Pattern("[a-w]+"),
            "Member must satisfy regular expression pattern: [a-w]+",
        ),
        (
            Constraint::Enum(&["a", "b"]),
            "Member must satisfy enum value set: [a, b]",
        ),
        (
            Constraint::LengthMax(0),
            "Member must have length less than or equal to 0",
        ),
        (
            Constraint::LengthMin(2),
            "Member must have length greater than or equal to 2",
        ),
        (
            Constraint::ValueMax(3),
            "Member must have value less than or equal to 3",
        ),
        (
            Constraint::ValueMin(-1),
            "Member must have value greater than or equal to -1",
        ),
    ] {
        let error = told("x", constraint);
        assert_eq!(error.message, format!("{prefix}{text}"));
        assert_eq!((error.status, error.kind), (400, "ValidationException"));
    }
    let null = told("", Constraint::NotNull).message;
    assert!(null.contains("Value null at 'name'"));
    assert!(null.ends_with("Member must not be null"));
    // Cut between characters.
    let long = told(
        &format!("a{}", "\u{e9}".repeat(REFUSED_VALUE_MAX)),
        Constraint::LengthMax(1),
    );
    assert!(long.message.len() < REFUSED_VALUE_MAX + 200);
}

#[test]
fn signatures_are_refused_with_403() {
    for (error, kind) in [
        (SigError::Missing, "MissingAuthenticationTokenException"),
        (
            SigError::Incomplete("x".to_owned()),
            "IncompleteSignatureException",
        ),
        (SigError::UnknownKey, "UnrecognizedClientException"),
        (SigError::Mismatch, "InvalidSignatureException"),
        (SigError::BodyMismatch, "InvalidSignatureException"),
    ] {
        let text = error.to_string();
        let error = ServiceError::from(error);
        assert_eq!((error.status, error.kind, error.message), (403, kind, text));
    }
}
