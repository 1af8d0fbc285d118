//! What a refused request of the control plane is answered with.

use std::fmt;

use http::HeaderName;
use serde::Serialize;
use thiserror::Error;

use super::route::Operation;
use crate::limits::REFUSED_VALUE_MAX;
use crate::sigv4::SigError;

#[cfg(test)]
mod tests;

/// The header field of an answer that names the error: [`ServiceError::kind`].
pub const ERROR_TYPE_HEADER: HeaderName = HeaderName::from_static("x-amzn-errortype");

/// An error of the API, as AWS Lambda's model has it.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[error("{kind}: {message}")]
pub struct ServiceError {
    /// HTTP status of the answer.
    pub status: u16,
    /// Name of the exception, such as `ResourceNotFoundException`.
    pub kind: &'static str,
    /// What happened, for people.
    pub message: String,
    /// Why a request was throttled, if it was: one of the model's `ThrottleReason`.
    pub reason: Option<&'static str>,
    /// When to try again, in seconds: goes to the header field `Retry-After`.
    pub retry_after_s: Option<u32>,
}

/// What a value must be and is not. Displays as AWS says it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Constraint<'a> {
    /// Text of this regular expression.
    Pattern(&'a str),
    /// One of these texts.
    Enum(&'a [&'a str]),
    /// At most so many characters or members.
    LengthMax(usize),
    /// At least so many characters or members.
    LengthMin(usize),
    /// At most this number.
    ValueMax(i64),
    /// At least this number.
    ValueMin(i64),
    /// There at all.
    NotNull,
}

#[derive(Serialize)]
struct Body<'a> {
    #[serde(rename = "Type")]
    fault: &'static str,
    // The model has the one for some exceptions and the other for others; clients read either.
    #[serde(rename = "Message")]
    message_upper: &'a str,
    message: &'a str,
    #[serde(rename = "Reason", skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
}

/// A constructor for each exception: its function, HTTP status, name, and when it fits.
macro_rules! exceptions {
    ($($function:ident $status:literal $kind:literal $doc:literal;)*) => {
        impl ServiceError {
            $(
                #[doc = concat!("`", $kind, "`, ", stringify!($status), ": ", $doc, ".")]
                pub fn $function(message: impl Into<String>) -> Self {
                    Self::new($status, $kind, message)
                }
            )*
        }
    };
}

exceptions! {
    not_found 404 "ResourceNotFoundException" "there is no such thing";
    conflict 409 "ResourceConflictException" "it exists already, or is being changed";
    in_use 400 "ResourceInUseException" "something else needs it";
    not_ready 502 "ResourceNotReadyException" "it cannot be called yet";
    invalid_parameter 400 "InvalidParameterValueException" "a parameter does not fit";
    invalid_content 400 "InvalidRequestContentException" "the body is not JSON";
    serialization 400 "SerializationException" "the body does not have the operation's form";
    validation 400 "ValidationException" "a parameter breaks the model";
    request_too_large 413 "RequestTooLargeException" "the payload is longer than it may be";
    request_entity_too_large 413 "RequestEntityTooLargeException"
        "the request is longer than it may be";
    unsupported_media_type 415 "UnsupportedMediaTypeException" "the body is not JSON by its type";
    service 500 "ServiceException" "it is our fault";
    invalid_zip 502 "InvalidZipFileException" "the code's archive cannot be opened";
    invalid_runtime 502 "InvalidRuntimeException" "the runtime does not exist";
    precondition_failed 412 "PreconditionFailedException" "the revision is another";
    policy_length 400 "PolicyLengthExceededException" "the policy would be too long";
    code_storage 400 "CodeStorageExceededException" "the code would be too much";
    quota_exceeded 402 "ServiceQuotaExceededException" "there are as many as there may be";
    no_provisioned_concurrency 404 "ProvisionedConcurrencyConfigNotFoundException"
        "nothing is provisioned";
    code_signing_not_found 404 "CodeSigningConfigNotFoundException" "there is no such config";
    recursive_invocation 400 "RecursiveInvocationException" "the function calls itself";
    access_denied 403 "AccessDeniedException" "the caller may not";
    unknown_operation 404 "UnknownOperationException" "no operation has this path";
    method_not_allowed 405 "MethodNotAllowedException" "no operation has this path and method";
}

impl ServiceError {
    /// Any other exception.
    pub fn new(status: u16, kind: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            kind,
            message: message.into(),
            reason: None,
            retry_after_s: None,
        }
    }

    /// `TooManyRequestsException`, 429; `reason` is one of the model's `ThrottleReason`, such as
    /// `ReservedFunctionConcurrentInvocationLimitExceeded`.
    pub fn too_many_requests(reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            reason: Some(reason),
            ..Self::new(429, "TooManyRequestsException", message)
        }
    }

    /// An operation that AWS Lambda has and we have not.
    pub fn not_implemented(operation: Operation) -> Self {
        let message = format!("{} is not implemented here", operation.name());
        Self::new(501, "NotImplementedException", message)
    }

    /// A `ValidationException`: the member's value breaks the constraint. `member` is named as the
    /// model names it, with a small first letter. What is long in the value is cut.
    pub fn constraint(member: &str, value: &str, constraint: Constraint<'_>) -> Self {
        let value = match constraint {
            Constraint::NotNull => "null".to_owned(),
            _ => format!(
                "'{}'",
                &value[..value.floor_char_boundary(REFUSED_VALUE_MAX)]
            ),
        };
        Self::validation(format!(
            "1 validation error detected: Value {value} at '{member}' failed to satisfy \
             constraint: {constraint}"
        ))
    }

    /// Body of the answer: JSON, to be sent as `application/json`.
    pub fn to_body(&self) -> Vec<u8> {
        let body = Body {
            fault: if self.status < 500 { "User" } else { "Service" },
            message_upper: &self.message,
            message: &self.message,
            reason: self.reason,
        };
        serde_json::to_vec(&body).expect("texts are always JSON")
    }
}

impl From<SigError> for ServiceError {
    fn from(error: SigError) -> Self {
        Self::new(403, error.kind(), error.to_string())
    }
}

impl fmt::Display for Constraint<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Member must ")?;
        match self {
            Self::Pattern(pattern) => write!(f, "satisfy regular expression pattern: {pattern}"),
            Self::Enum(all) => write!(f, "satisfy enum value set: [{}]", all.join(", ")),
            Self::LengthMax(max) => write!(f, "have length less than or equal to {max}"),
            Self::LengthMin(min) => write!(f, "have length greater than or equal to {min}"),
            Self::ValueMax(max) => write!(f, "have value less than or equal to {max}"),
            Self::ValueMin(min) => write!(f, "have value greater than or equal to {min}"),
            Self::NotNull => f.write_str("not be null"),
        }
    }
}
