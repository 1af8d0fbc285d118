//! Hexadecimal digits and percent-encoding, as signatures want them.

use std::borrow::Cow;

const UPPER: &[u8; 16] = b"0123456789ABCDEF";
const LOWER: &[u8; 16] = b"0123456789abcdef";

/// Bytes as lower-case hexadecimal digits.
pub(super) fn hex(bytes: &[u8; 32]) -> String {
    let digits = bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15].map(|digit| char::from(LOWER[usize::from(digit)])));
    digits.collect()
}

/// 64 lower-case hexadecimal digits as bytes.
pub(super) fn unhex(text: &[u8]) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if text.len() != 2 * bytes.len() || text.iter().any(u8::is_ascii_uppercase) {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

/// The byte that a `%XX` at the start of the text stands for, and what follows it.
fn unescape(text: &[u8]) -> Option<(u8, &[u8])> {
    match text {
        [b'%', high, low, rest @ ..] => Some((digit(*high)? << 4 | digit(*low)?, rest)),
        _ => None,
    }
}

/// Text without its percent-encoding; none if that is not right, or of no UTF-8.
pub(crate) fn decoded(text: &str) -> Option<Cow<'_, str>> {
    if !text.contains('%') {
        return Some(Cow::Borrowed(text));
    }
    let (mut bytes, mut rest) = (Vec::with_capacity(text.len()), text.as_bytes());
    while let [first, after @ ..] = rest {
        let byte;
        (byte, rest) = if *first == b'%' {
            unescape(rest)?
        } else {
            (*first, after)
        };
        bytes.push(byte);
    }
    String::from_utf8(bytes).ok().map(Cow::Owned)
}

/// Writes a byte as it is if RFC 3986 calls it unreserved, and as `%XX` otherwise.
pub(super) fn escape(out: &mut Vec<u8>, byte: u8) {
    if is_unreserved(byte) {
        out.push(byte);
    } else {
        out.extend([
            b'%',
            UPPER[usize::from(byte >> 4)],
            UPPER[usize::from(byte & 15)],
        ]);
    }
}

/// Writes text encoded anew: decoded, where it is encoded rightly, and then encoded.
pub(super) fn reescape(out: &mut Vec<u8>, mut text: &[u8], mut map: impl FnMut(u8) -> u8) {
    while let [first, after @ ..] = text {
        let byte;
        (byte, text) = unescape(text).unwrap_or_else(|| (map(*first), after));
        escape(out, byte);
    }
}

/// Whether [`reescape`] would change nothing, as far as can be told without doing it.
pub(super) fn is_plain(text: &[u8]) -> bool {
    text.iter().all(|&byte| is_unreserved(byte))
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}
