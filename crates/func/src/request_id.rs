//! Identifiers of calls.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Identifies one call: 128 random bits, shown as a UUID version 4 (RFC 9562 §5.4), as AWS
/// Lambda's request ids are.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RequestId(u128);

/// A text that is not a request id.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[error("not a request id: expected 32 hexadecimal digits in groups of 8-4-4-4-12")]
pub struct RequestIdError;

impl RequestId {
    /// Makes an id of 128 random bits, six of which give way to the UUID's version and variant.
    pub fn from_random(bits: u128) -> Self {
        let version = 0x4_u128 << 76;
        let variant = 0b10_u128 << 62;
        Self(bits & !(0xf_u128 << 76) & !(0b11_u128 << 62) | version | variant)
    }

    /// The 36 bytes of its textual form, without an allocation.
    pub fn to_ascii(self) -> [u8; 36] {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = [b'-'; 36];
        let mut shift = 128;
        for (at, byte) in text.iter_mut().enumerate() {
            if !matches!(at, 8 | 13 | 18 | 23) {
                shift -= 4;
                *byte = DIGITS[(self.0 >> shift) as usize & 0xf];
            }
        }
        text
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.to_ascii();
        f.pad(str::from_utf8(&text).expect("hexadecimal digits and dashes are ASCII"))
    }
}

impl FromStr for RequestId {
    type Err = RequestIdError;

    fn from_str(text: &str) -> Result<Self, RequestIdError> {
        let bytes = text.as_bytes();
        let shape = |(at, b): (usize, &u8)| match at {
            8 | 13 | 18 | 23 => *b == b'-',
            _ => b.is_ascii_hexdigit(),
        };
        if bytes.len() != 36 || !bytes.iter().enumerate().all(shape) {
            return Err(RequestIdError);
        }
        let digits = text.replace('-', "");
        u128::from_str_radix(&digits, 16)
            .map(Self)
            .or(Err(RequestIdError))
    }
}

impl TryFrom<String> for RequestId {
    type Error = RequestIdError;

    fn try_from(text: String) -> Result<Self, RequestIdError> {
        text.parse()
    }
}

impl From<RequestId> for String {
    fn from(id: RequestId) -> Self {
        id.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::RequestId;

    #[test]
    fn reads_what_it_shows() {
        let id = RequestId::from_random(u128::MAX);
        assert_eq!(id.to_string(), "ffffffff-ffff-4fff-bfff-ffffffffffff");
        assert_eq!(id.to_string().parse(), Ok(id));
        let zero = RequestId::from_random(0);
        assert_eq!(zero.to_string(), "00000000-0000-4000-8000-000000000000");
        for wrong in [
            "",
            "x",
            "00000000-0000-4000-8000-00000000000",
            "0000000000004000-8000-0000-0000000000",
        ] {
            assert!(wrong.parse::<RequestId>().is_err(), "{wrong}");
        }
    }
}
