//! delta-seconds (RFC 9111 §1.2.2).

use crate::limits::MAX_DELTA_SECONDS;

/// Seconds written as digits; too large a number saturates, anything else is `None`.
pub(crate) fn parse(digits: &[u8]) -> Option<u32> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u32, |seconds, byte| {
        let digit = byte.is_ascii_digit().then(|| u32::from(byte - b'0'))?;
        Some(
            seconds
                .saturating_mul(10)
                .saturating_add(digit)
                .min(MAX_DELTA_SECONDS),
        )
    })
}

/// A directive's argument: digits, bare or quoted.
pub(crate) fn parse_argument(argument: &[u8]) -> Option<u32> {
    let unquoted = argument
        .strip_prefix(b"\"")
        .and_then(|tail| tail.strip_suffix(b"\""));
    parse(unquoted.unwrap_or(argument))
}
