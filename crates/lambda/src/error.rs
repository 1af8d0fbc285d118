//! What a failed invocation looks like: a guest's own report, and what the node says of it.

use std::fmt;

use fractus_func::RequestId;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use thiserror::Error;

use crate::limits::{
    ERROR_BODY_MAX, ERROR_MESSAGE_MAX, ERROR_TYPE_MAX, STACK_LINE_MAX, STACK_LINES_MAX,
};

#[cfg(test)]
mod tests;

/// A failure in the form that AWS Lambda gives it: `{"errorType", "errorMessage", "stackTrace"}`.
#[derive(Clone, Debug, Eq, Error, PartialEq, Serialize)]
#[error("{error_type}: {error_message}")]
#[serde(rename_all = "camelCase")]
pub struct ErrorShape {
    /// A name for programs, such as `ValueError` or `Sandbox.Timedout`.
    pub error_type: String,
    /// What happened, for people.
    pub error_message: String,
    /// Where it happened, outermost first or last as the guest's language has it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub stack_trace: Vec<String>,
}

/// How a guest's process ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Exit {
    /// By itself, with this status.
    Status(i32),
    /// By this signal.
    Signal(i32),
}

/// What a report holds, as lenient as can be.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    error_type: Option<Value>,
    error_message: Option<Value>,
    stack_trace: Option<Value>,
    /// What the Node.js runtime calls the stack trace.
    trace: Option<Value>,
}

impl ErrorShape {
    /// An error of this type and message; both are cut to their bounds.
    pub fn new(error_type: impl Into<String>, error_message: impl Into<String>) -> Self {
        Self {
            error_type: cut(error_type.into(), ERROR_TYPE_MAX),
            error_message: cut(error_message.into(), ERROR_MESSAGE_MAX),
            stack_trace: Vec::new(),
        }
    }

    /// Reads what a guest reported. Anything else than the usual shape becomes an error whose
    /// message is the text.
    pub fn from_json(bytes: &[u8]) -> Self {
        Self::from_report(bytes, None)
    }

    /// As [`ErrorShape::from_json`]; `named` is the type if the report has none.
    pub(crate) fn from_report(bytes: &[u8], named: Option<&str>) -> Self {
        let unknown = || {
            let shown = &bytes[..bytes.len().min(ERROR_MESSAGE_MAX)];
            let text = String::from_utf8_lossy(shown).into_owned();
            Self::new(named.unwrap_or("Runtime.Unknown"), text)
        };
        if bytes.len() > ERROR_BODY_MAX {
            return unknown();
        }
        let Ok(report) = serde_json::from_slice::<Report>(bytes) else {
            return unknown();
        };
        if report.error_type.is_none() && report.error_message.is_none() {
            return unknown();
        }
        let kind = report.error_type.map(text).filter(|t| !t.is_empty());
        let kind = kind.or_else(|| named.map(str::to_owned));
        let mut shape = Self::new(
            kind.unwrap_or_else(|| "UnhandledError".to_owned()),
            report.error_message.map(text).unwrap_or_default(),
        );
        shape.stack_trace = lines(report.stack_trace.or(report.trace));
        shape
    }

    /// As JSON.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("strings and lists of strings are always JSON")
    }

    /// The guest's process ended before it answered `id`.
    pub fn exited(id: RequestId, exit: Exit) -> Self {
        let what = match exit {
            Exit::Status(0) => "Runtime exited without providing a reason".to_owned(),
            exit => format!("Runtime exited with error: {exit}"),
        };
        Self::new(
            "Runtime.ExitError",
            format!("RequestId: {id} Error: {what}"),
        )
    }

    /// The guest was ended because it needed more memory than it may have.
    pub fn out_of_memory(id: RequestId) -> Self {
        Self::new(
            "Runtime.OutOfMemory",
            format!("RequestId: {id} Error: Runtime exited with error: signal: killed"),
        )
    }

    /// The guest was ended because `id` took longer than its function's timeout.
    pub fn timed_out(id: RequestId, timeout_ms: u64) -> Self {
        let (seconds, hundredths) = (timeout_ms / 1000, timeout_ms % 1000 / 10);
        Self::new(
            "Sandbox.Timedout",
            format!(
                "RequestId: {id} Error: Task timed out after {seconds}.{hundredths:02} seconds"
            ),
        )
    }

    /// The answer is larger than it may be.
    pub fn response_too_large(max: u64) -> Self {
        Self::new(
            "Function.ResponseSizeTooLarge",
            format!("Response payload size exceeded maximum allowed payload size ({max} bytes)."),
        )
    }

    /// A streamed answer broke off.
    pub fn truncated() -> Self {
        Self::new(
            "Runtime.TruncatedResponse",
            "The connection was lost before the response was complete",
        )
    }

    /// What the function answered is no HTTP answer.
    pub fn malformed(why: impl fmt::Display) -> Self {
        Self::new(
            "Function.MalformedResponse",
            format!("The function's answer is not a valid HTTP response: {why}"),
        )
    }

    /// What the caller sent cannot be an event.
    pub fn invalid_request(why: impl fmt::Display) -> Self {
        Self::new(
            "InvalidRequestContentException",
            format!("Could not parse request body into json: {why}"),
        )
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Status(status) => write!(f, "exit status {status}"),
            Self::Signal(number) => match signal_name(number) {
                Some(name) => write!(f, "signal: {name}"),
                None => write!(f, "signal: signal {number}"),
            },
        }
    }
}

/// The names of Linux signals as AWS Lambda prints them.
fn signal_name(number: i32) -> Option<&'static str> {
    Some(match number {
        1 => "hangup",
        2 => "interrupt",
        3 => "quit",
        4 => "illegal instruction",
        5 => "trace/breakpoint trap",
        6 => "aborted",
        7 => "bus error",
        8 => "floating point exception",
        9 => "killed",
        11 => "segmentation fault",
        13 => "broken pipe",
        14 => "alarm clock",
        15 => "terminated",
        24 => "CPU time limit exceeded",
        25 => "file size limit exceeded",
        31 => "bad system call",
        _ => return None,
    })
}

/// A JSON string's text, any other value as JSON.
fn text(value: Value) -> String {
    match value {
        Value::String(text) => text,
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

/// A stack trace: a list of lines, or one text of lines.
fn lines(trace: Option<Value>) -> Vec<String> {
    match trace {
        Some(Value::Array(list)) => list
            .into_iter()
            .take(STACK_LINES_MAX)
            .map(|line| cut(text(line), STACK_LINE_MAX))
            .collect(),
        Some(Value::String(all)) => all
            .lines()
            .take(STACK_LINES_MAX)
            .map(|line| cut(line.to_owned(), STACK_LINE_MAX))
            .collect(),
        _ => Vec::new(),
    }
}

/// `text` without what is beyond `max` bytes, cut between characters.
fn cut(mut text: String, max: usize) -> String {
    text.truncate(text.floor_char_boundary(max));
    text
}
