//! Answers: the refusals, and the caching headers of the rest.

use crate::accept::{Accept, Format};
use crate::picture::Picture;
use crate::request::Params;

/// Counts changes of the pixels or bytes that one source and one request give, so that a client
/// never takes a picture of the old function for one of the new.
const RECIPE: u32 = 1;

/// A picture may be a minute old, as its source may, and for a day an old one is good enough while
/// the edge asks behind the client's back whether it still holds; the answer to that is cheap.
const FRESH: &str = "public, max-age=60, stale-while-revalidate=86400";

/// An answer, ready to be sent.
#[derive(Debug, PartialEq, Eq)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
}

/// Why there is no picture: a status of HTTP and a sentence.
#[derive(Debug, PartialEq, Eq)]
pub struct Refusal {
    pub status: u16,
    pub text: String,
}

/// What the store says of the source, and what identifies an answer made from it.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Validators {
    etag: Option<String>,
    last_modified: Option<String>,
}

impl Refusal {
    pub fn new(status: u16, text: impl Into<String>) -> Self {
        let text = text.into();
        Self { status, text }
    }
}

impl From<Refusal> for Reply {
    /// Refusals are kept for a moment: a page full of broken pictures is worked out once.
    fn from(refusal: Refusal) -> Self {
        let caching = if refusal.status < 500 {
            "public, max-age=10"
        } else {
            "no-store"
        };
        let body = format!("{}\n", refusal.text).into_bytes();
        let mut headers = vec![
            ("content-type", "text/plain; charset=utf-8".to_owned()),
            ("content-length", body.len().to_string()),
            ("cache-control", caching.to_owned()),
        ];
        if refusal.status == 405 {
            headers.push(("allow", "GET, HEAD".to_owned()));
        }
        Self {
            status: refusal.status,
            headers,
            body,
        }
    }
}

impl Validators {
    /// Those of the answer, from those of the source. A source without an `ETag` gives none.
    #[must_use]
    pub fn derive(
        source_etag: Option<&str>,
        last_modified: Option<String>,
        params: &Params,
        accept: Accept,
    ) -> Self {
        let etag = source_etag.and_then(|tag| {
            let weak = if tag.starts_with("W/") { "W/" } else { "" };
            let opaque = tag
                .trim_start_matches("W/")
                .strip_prefix('"')?
                .strip_suffix('"')?;
            Some(format!(
                "{weak}\"{opaque}-{params}-{}-{RECIPE}\"",
                accept.letters()
            ))
        });
        Self {
            etag,
            last_modified,
        }
    }

    /// Whether the client has the answer already (RFC 9110, section 13.1.2).
    #[must_use]
    pub fn held(&self, if_none_match: Option<&str>) -> bool {
        let (Some(mine), Some(theirs)) = (&self.etag, if_none_match) else {
            return false;
        };
        let opaque = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
        theirs.trim() == "*" || theirs.split(',').any(|tag| opaque(tag) == opaque(mine))
    }

    /// The answer to a client that has the picture.
    #[must_use]
    pub fn not_modified(self) -> Reply {
        Reply {
            status: 304,
            headers: self.headers(),
            body: Vec::new(),
        }
    }

    /// The answer with the picture.
    #[must_use]
    pub fn picture(self, picture: Picture) -> Reply {
        let Picture { format, bytes } = picture;
        let mut headers = self.headers();
        headers.push(("content-type", Format::media_type(format).to_owned()));
        headers.push(("content-length", bytes.len().to_string()));
        Reply {
            status: 200,
            headers,
            body: bytes,
        }
    }

    fn headers(self) -> Vec<(&'static str, String)> {
        let mut headers = vec![
            ("cache-control", FRESH.to_owned()),
            ("vary", "Accept".to_owned()),
        ];
        headers.extend(self.etag.map(|tag| ("etag", tag)));
        headers.extend(self.last_modified.map(|date| ("last-modified", date)));
        headers
    }
}

#[cfg(test)]
mod tests;
