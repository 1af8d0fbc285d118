//! A single byte range of a representation of known length (RFC 9110 §14).

use http::HeaderMap;
use http::header::{IF_RANGE, RANGE};

use crate::conditional::Validators;

/// What a GET with Range gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RangeAnswer {
    /// The whole, as 200: no Range, one not understood, several ranges, or If-Range not met.
    Full,
    /// 206 with these bytes, both ends included.
    Partial {
        /// Offset of the first byte.
        first: u64,
        /// Offset of the last byte; at least `first` and less than the length.
        last: u64,
    },
    /// 416 with `Content-Range: bytes */LENGTH`.
    NotSatisfiable,
}

/// Answers the Range of a GET for a representation of `length` bytes. Conditionals come first:
/// call it only when [`Conditional`](crate::Conditional) says `Full`. A HEAD has no ranges
/// (RFC 9110 §14.2).
///
/// Several ranges get the whole: a server may ignore Range, and many small ranges of one file are
/// an old way to make a server sweat.
pub fn range_answer(headers: &HeaderMap, validators: Validators<'_>, length: u64) -> RangeAnswer {
    let mut lines = headers.get_all(RANGE).iter();
    let (Some(line), None) = (lines.next(), lines.next()) else {
        return RangeAnswer::Full;
    };
    if headers
        .get(IF_RANGE)
        .is_some_and(|condition| !validators.meets_if_range(condition))
    {
        return RangeAnswer::Full;
    }
    let Some(spec) = line.to_str().ok().and_then(byte_range_spec) else {
        return RangeAnswer::Full;
    };
    match spec {
        Spec::Suffix(0) => RangeAnswer::NotSatisfiable,
        Spec::Suffix(_) if length == 0 => RangeAnswer::NotSatisfiable,
        Spec::Suffix(count) => RangeAnswer::Partial {
            first: length.saturating_sub(count),
            last: length - 1,
        },
        Spec::From(first, _) if first >= length => RangeAnswer::NotSatisfiable,
        Spec::From(first, last) => RangeAnswer::Partial {
            first,
            last: last.min(length - 1),
        },
    }
}

enum Spec {
    From(u64, u64),
    Suffix(u64),
}

fn byte_range_spec(range: &str) -> Option<Spec> {
    let (unit, spec) = range.split_once('=')?;
    let (first, last) = spec.trim_ascii().split_once('-')?;
    if !unit.trim_ascii().eq_ignore_ascii_case("bytes") {
        return None;
    }
    match (first, last) {
        ("", count) => Some(Spec::Suffix(number(count)?)),
        (first, "") => Some(Spec::From(number(first)?, u64::MAX)),
        (first, last) => {
            let (first, last) = (number(first)?, number(last)?);
            (first <= last).then_some(Spec::From(first, last))
        }
    }
}

/// Digits; saturates, since what lies beyond any length need not be told apart.
fn number(digits: &str) -> Option<u64> {
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some(digits.parse().unwrap_or(u64::MAX))
}
