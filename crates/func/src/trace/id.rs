//! Identifiers of traces and spans, as the W3C has them (Trace Context §2.2.2): hexadecimal, and
//! never all zeros.

use std::fmt;
use std::num::{NonZeroU64, NonZeroU128};
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Identifies a trace: 128 bits, shown as 32 hexadecimal digits.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TraceId(NonZeroU128);

/// Identifies a span within its trace: 64 bits, shown as 16 hexadecimal digits.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SpanId(NonZeroU64);

/// A text that is not an id.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[error("not the id of a {0}: expected hexadecimal digits that are not all 0")]
pub struct TraceIdError(&'static str);

impl TraceId {
    /// Makes an id of the time and 96 random bits, as AWS X-Ray wants it; `unix_ms` in
    /// milliseconds since the UNIX epoch.
    pub fn new(unix_ms: u64, random: u128) -> Self {
        // Seconds fit until the year 2106 and start again then.
        let seconds = u128::from(unix_ms / 1000) << 96;
        Self(NonZeroU128::new(seconds | random & !(u128::MAX << 96)).unwrap_or(NonZeroU128::MIN))
    }
}

impl SpanId {
    /// Makes an id of 64 random bits.
    pub fn new(random: u64) -> Self {
        Self(NonZeroU64::new(random).unwrap_or(NonZeroU64::MIN))
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// Whether a text is nothing but so many hexadecimal digits.
fn is_hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

impl FromStr for TraceId {
    type Err = TraceIdError;

    fn from_str(text: &str) -> Result<Self, TraceIdError> {
        let bits = u128::from_str_radix(text, 16).ok();
        let bits = bits.filter(|_| is_hex(text, 32)).and_then(NonZeroU128::new);
        bits.map(Self).ok_or(TraceIdError("trace"))
    }
}

impl FromStr for SpanId {
    type Err = TraceIdError;

    fn from_str(text: &str) -> Result<Self, TraceIdError> {
        let bits = u64::from_str_radix(text, 16).ok();
        let bits = bits.filter(|_| is_hex(text, 16)).and_then(NonZeroU64::new);
        bits.map(Self).ok_or(TraceIdError("span"))
    }
}

impl TryFrom<String> for TraceId {
    type Error = TraceIdError;

    fn try_from(text: String) -> Result<Self, TraceIdError> {
        text.parse()
    }
}

impl TryFrom<String> for SpanId {
    type Error = TraceIdError;

    fn try_from(text: String) -> Result<Self, TraceIdError> {
        text.parse()
    }
}

impl From<TraceId> for String {
    fn from(id: TraceId) -> Self {
        id.to_string()
    }
}

impl From<SpanId> for String {
    fn from(id: SpanId) -> Self {
        id.to_string()
    }
}
