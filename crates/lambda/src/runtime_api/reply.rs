//! What the Runtime API says to the guest.

use std::fmt::Write as _;

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE, HeaderName, HeaderValue};
use http::{Response, StatusCode};
use http_body_util::Full;

use super::Invocation;
use crate::ErrorShape;
use crate::limits::FIELD_MAX;

const REQUEST_ID: HeaderName = HeaderName::from_static("lambda-runtime-aws-request-id");
const DEADLINE_MS: HeaderName = HeaderName::from_static("lambda-runtime-deadline-ms");
const FUNCTION_ARN: HeaderName = HeaderName::from_static("lambda-runtime-invoked-function-arn");
const TRACE_ID: HeaderName = HeaderName::from_static("lambda-runtime-trace-id");
const CLIENT_CONTEXT: HeaderName = HeaderName::from_static("lambda-runtime-client-context");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// An answer of the Runtime API.
pub(super) type Reply = Response<Full<Bytes>>;

/// Why a request of the guest's is refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Refusal {
    /// No such path.
    UnknownPath,
    /// A path of the Extensions, Telemetry or Logs API.
    NoExtensions,
    /// Another method than the path's, which is given.
    Method(&'static str),
    /// It names no invocation that the guest has, or one that was withdrawn.
    UnknownId,
    /// It answers an invocation once more.
    AlreadyAnswered,
    /// It asks for the next invocation and has not answered the last one.
    NotAnswered,
    /// It reports that it cannot start after it had started.
    NotStarting,
    /// It asks for an invocation after it reported that it cannot start.
    InitFailed,
    /// It speaks of a snapshot, of which there is none.
    NoSnapshot,
    /// Its body is larger than so many bytes.
    TooLarge(u64),
    /// Its body broke off.
    Truncated,
}

impl Refusal {
    fn status(self) -> StatusCode {
        match self {
            Self::UnknownPath => StatusCode::NOT_FOUND,
            Self::Method(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::UnknownId | Self::Truncated => StatusCode::BAD_REQUEST,
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::NoExtensions
            | Self::AlreadyAnswered
            | Self::NotAnswered
            | Self::NotStarting
            | Self::InitFailed
            | Self::NoSnapshot => StatusCode::FORBIDDEN,
        }
    }

    fn shape(self) -> ErrorShape {
        let (kind, message) = match self {
            Self::UnknownPath => ("NotFound", "There is no such path in the Runtime API"),
            Self::NoExtensions => (
                "Extension.NotSupported",
                "The Extensions, Telemetry and Logs APIs are not offered",
            ),
            Self::Method(_) => ("MethodNotAllowed", "This path has another method"),
            Self::UnknownId => ("InvalidRequestID", "Invalid request ID"),
            Self::AlreadyAnswered => (
                "InvalidStateTransition",
                "This invocation has been answered already",
            ),
            Self::NotAnswered => (
                "InvalidStateTransition",
                "The last invocation has not been answered yet",
            ),
            Self::NotStarting => (
                "InvalidStateTransition",
                "An init error after initialization had ended",
            ),
            Self::InitFailed => (
                "InvalidStateTransition",
                "No invocation after an init error",
            ),
            Self::NoSnapshot => (
                "InvalidStateTransition",
                "This sandbox was not made from a snapshot",
            ),
            Self::TooLarge(max) => {
                let message = format!("Exceeded maximum allowed payload size ({max} bytes).");
                return ErrorShape::new("RequestEntityTooLarge", message);
            }
            Self::Truncated => ("TruncatedHTTPRequest", "HTTP request detected as truncated"),
        };
        ErrorShape::new(kind, message)
    }

    pub(super) fn reply(self) -> Reply {
        let mut reply = json(self.status(), Bytes::from(self.shape().to_json()));
        if let Self::Method(method) = self {
            let allow = HeaderValue::from_static(method);
            reply.headers_mut().insert(ALLOW, allow);
        }
        reply
    }
}

/// 202, as all that is posted rightly is answered.
pub(super) fn accepted() -> Reply {
    json(
        StatusCode::ACCEPTED,
        Bytes::from_static(br#"{"status":"OK"}"#),
    )
}

/// An invocation. Its head and its event leave in one write: clients on loopback would otherwise
/// wait for a delayed acknowledgement.
pub(super) fn invocation(invocation: Invocation) -> Reply {
    let id = HeaderValue::from_bytes(&invocation.id.to_ascii())
        .expect("hexadecimal digits and dashes make a field");
    let mut reply = json(StatusCode::OK, invocation.event);
    let headers = reply.headers_mut();
    headers.insert(REQUEST_ID, id);
    headers.insert(DEADLINE_MS, HeaderValue::from(invocation.deadline_ms));
    headers.insert(FUNCTION_ARN, field(&invocation.arn));
    if let Some(trace) = &invocation.trace_id {
        headers.insert(TRACE_ID, field(trace));
    }
    if let Some(context) = &invocation.client_context
        && let Some(value) = json_field(context)
    {
        headers.insert(CLIENT_CONTEXT, value);
    }
    reply
}

fn json(status: StatusCode, body: Bytes) -> Reply {
    let mut reply = Response::new(Full::new(body));
    *reply.status_mut() = status;
    reply.headers_mut().insert(CONTENT_TYPE, JSON);
    reply
}

/// Text as a field's value. Clients expect printable ASCII; anything else becomes a `?`.
fn field(text: &str) -> HeaderValue {
    HeaderValue::from_str(text)
        .ok()
        .filter(|value| value.len() <= FIELD_MAX)
        .unwrap_or_else(|| {
            let ascii: String = text
                .chars()
                .take(FIELD_MAX)
                .map(|c| if matches!(c, ' '..='~') { c } else { '?' })
                .collect();
            HeaderValue::from_str(&ascii).expect("printable ASCII makes a field")
        })
}

/// JSON as a field's value: control characters, which are white space there, become spaces, and
/// what is not ASCII, which is within strings there, is escaped.
fn json_field(json: &str) -> Option<HeaderValue> {
    let mut ascii = String::with_capacity(json.len());
    for c in json.chars() {
        match c {
            ' '..='~' => ascii.push(c),
            c if c.is_ascii() => ascii.push(' '),
            c => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    write!(ascii, "\\u{unit:04x}").expect("a string takes all");
                }
            }
        }
    }
    HeaderValue::from_str(&ascii)
        .ok()
        .filter(|value| value.len() <= FIELD_MAX)
}
