//! CDN-Cache-Control (RFC 9213): response directives for caches like this one, as a dictionary of
//! structured fields (RFC 8941 §3.2). Where it is present and well-formed, Cache-Control and
//! Expires do not count.

use http::HeaderMap;
use http::header::HeaderName;

use crate::directives::{Name, ResponseDirectives};
use crate::limits::MAX_DELTA_SECONDS;

const CDN_CACHE_CONTROL: HeaderName = HeaderName::from_static("cdn-cache-control");

/// The directives of the targeted field; `None` if it is absent, empty or malformed, in which case
/// it counts as absent (RFC 9213 §2.1).
pub(crate) fn parse(headers: &HeaderMap) -> Option<ResponseDirectives> {
    let mut known = Vec::new();
    let mut is_empty = true;
    for line in headers.get_all(CDN_CACHE_CONTROL) {
        let mut rest = Cursor(line.as_bytes().trim_ascii());
        while let Some((key, item)) = rest.next_member()? {
            is_empty = false;
            if let Some(name) = Name::of(key) {
                // The last of several alike wins (RFC 8941 §3.2), unlike in Cache-Control.
                known.retain(|(other, _)| *other != name);
                known.push((name, item));
            }
        }
    }
    if is_empty {
        return None;
    }
    let mut read = ResponseDirectives::default();
    for (name, item) in known {
        match item {
            Item::Integer(seconds) if name.is_timed() => read.apply(name, delta_seconds(seconds)),
            // A directive of a wrong type is no directive, but a restriction stays one.
            Item::False => {}
            _ if name.is_timed() => {}
            _ => read.apply(name, 0),
        }
    }
    Some(read)
}

fn delta_seconds(integer: i64) -> u32 {
    let clamped = integer.clamp(0, i64::from(MAX_DELTA_SECONDS));
    u32::try_from(clamped).expect("clamped to 32 bits")
}

/// A member's value, as far as directives have use for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Item {
    False,
    Integer(i64),
    Other,
}

/// What is left to parse. Every method returns `None` for malformed input.
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    /// The next member, `Some(None)` after the last.
    #[expect(
        clippy::option_option,
        reason = "malformed and finished are different ends"
    )]
    fn next_member(&mut self) -> Option<Option<(&'a [u8], Item)>> {
        if self.0.is_empty() {
            return Some(None);
        }
        let key = self.key()?;
        let item = if self.eat(b'=') {
            self.item_or_inner_list()?
        } else {
            Item::Other
        };
        self.parameters()?;
        self.skip(|byte| matches!(byte, b' ' | b'\t'));
        if !self.0.is_empty() {
            self.eat(b',').then_some(())?;
            self.skip(|byte| matches!(byte, b' ' | b'\t'));
            // A trailing comma is an error.
            (!self.0.is_empty()).then_some(())?;
        }
        Some(Some((key, item)))
    }

    fn key(&mut self) -> Option<&'a [u8]> {
        self.0
            .first()
            .filter(|&&byte| byte.is_ascii_lowercase() || byte == b'*')?;
        Some(self.skip(|byte| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-.*".contains(&byte)
        }))
    }

    fn item_or_inner_list(&mut self) -> Option<Item> {
        if !self.eat(b'(') {
            return self.bare_item();
        }
        loop {
            self.skip(|byte| byte == b' ');
            if self.eat(b')') {
                return Some(Item::Other);
            }
            self.bare_item()?;
            self.parameters()?;
            let separated = matches!(self.0.first()?, b' ' | b')');
            separated.then_some(())?;
        }
    }

    fn parameters(&mut self) -> Option<()> {
        while self.eat(b';') {
            self.skip(|byte| byte == b' ');
            self.key()?;
            if self.eat(b'=') {
                self.bare_item()?;
            }
        }
        Some(())
    }

    fn bare_item(&mut self) -> Option<Item> {
        match *self.0.first()? {
            b'"' => self.string(),
            b'-' | b'0'..=b'9' => self.number(),
            b'?' => self.boolean(),
            b':' => self.byte_sequence(),
            b'*' | b'a'..=b'z' | b'A'..=b'Z' => {
                self.skip(|byte| {
                    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~:/".contains(&byte)
                });
                Some(Item::Other)
            }
            _ => None,
        }
    }

    fn string(&mut self) -> Option<Item> {
        self.0 = &self.0[1..];
        loop {
            self.skip(|byte| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\');
            if self.eat(b'"') {
                return Some(Item::Other);
            }
            self.eat(b'\\').then_some(())?;
            (self.eat(b'"') || self.eat(b'\\')).then_some(())?;
        }
    }

    fn number(&mut self) -> Option<Item> {
        let sign = if self.eat(b'-') { -1 } else { 1 };
        let digits = self.skip(|byte| byte.is_ascii_digit());
        if self.eat(b'.') {
            let fraction = self.skip(|byte| byte.is_ascii_digit());
            let fits = (1..=12).contains(&digits.len()) && (1..=3).contains(&fraction.len());
            return fits.then_some(Item::Other);
        }
        if !(1..=15).contains(&digits.len()) {
            return None;
        }
        let magnitude = digits
            .iter()
            .fold(0_i64, |n, byte| n * 10 + i64::from(byte - b'0'));
        Some(Item::Integer(sign * magnitude))
    }

    fn boolean(&mut self) -> Option<Item> {
        let (item, rest) = match self.0 {
            [b'?', b'0', rest @ ..] => (Item::False, rest),
            [b'?', b'1', rest @ ..] => (Item::Other, rest),
            _ => return None,
        };
        self.0 = rest;
        Some(item)
    }

    fn byte_sequence(&mut self) -> Option<Item> {
        self.0 = &self.0[1..];
        self.skip(|byte| byte.is_ascii_alphanumeric() || b"+/=".contains(&byte));
        self.eat(b':').then_some(Item::Other)
    }

    fn eat(&mut self, byte: u8) -> bool {
        let rest = self.0.strip_prefix(&[byte]);
        self.0 = rest.unwrap_or(self.0);
        rest.is_some()
    }

    fn skip(&mut self, wanted: impl Fn(u8) -> bool) -> &'a [u8] {
        let end = self
            .0
            .iter()
            .position(|&byte| !wanted(byte))
            .unwrap_or(self.0.len());
        let (skipped, rest) = self.0.split_at(end);
        self.0 = rest;
        skipped
    }
}
