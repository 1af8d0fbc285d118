//! List-based fields (RFC 9110 §5.6.1), read as recipients must: empty members skipped, commas in
//! quoted strings respected.

use http::header::{GetAll, HeaderValue};

/// The trimmed, non-empty members of one field line.
pub(crate) fn members(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = line;
    std::iter::from_fn(move || {
        while !rest.is_empty() {
            let (member, tail) = split_member(rest);
            rest = tail;
            let member = member.trim_ascii();
            if !member.is_empty() {
                return Some(member);
            }
        }
        None
    })
}

/// The members of all lines of a field, in order.
pub(crate) fn all_members(lines: GetAll<'_, HeaderValue>) -> impl Iterator<Item = &[u8]> {
    lines.into_iter().flat_map(|line| members(line.as_bytes()))
}

/// Cuts at the first comma outside a quoted string. An unterminated string runs to the end.
fn split_member(bytes: &[u8]) -> (&[u8], &[u8]) {
    let (mut quoted, mut escaped) = (false, false);
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b',' if !quoted => return (&bytes[..at], &bytes[at + 1..]),
            _ => {}
        }
    }
    (bytes, &[])
}
