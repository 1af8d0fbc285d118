//! A 304 renews what is stored (RFC 9111 §4.3.4).

use http::header::{
    AGE, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, DATE, ETAG, HeaderName, HeaderValue,
    LAST_MODIFIED,
};
use http::{HeaderMap, Method};

use crate::conditional::{is_weak, strong_match, weak_match};
use crate::hop::strip_hop_by_hop;
use crate::policy::Policy;
use crate::storable::{Exchange, NotStored, storable};

/// A stored response after a 304: the same body under new headers.
#[derive(Debug)]
pub struct Refreshed {
    /// The header fields to serve, and to store.
    pub headers: HeaderMap,
    /// How to go on reusing it. If it may not be stored as it is now, serve it this once, and
    /// remove what is stored unless the reason [is this request's](NotStored::is_of_request).
    pub policy: Result<Policy, NotStored>,
}

impl Policy {
    /// Renews the response whose headers are `stored` with the 304 in `exchange`. `None` if the 304
    /// is about another representation: then the stored one is of no use for this request, and the
    /// edge asks again without conditions.
    ///
    /// Every field of the 304 replaces the stored one of that name, but for those of the connection
    /// and those that describe the stored body as it is: Content-Length, Content-Encoding,
    /// Content-Range (§3.2). Stored Age and Date never outlive a validation.
    pub fn on_not_modified(
        &self,
        stored: &HeaderMap,
        exchange: &Exchange<'_>,
    ) -> Option<Refreshed> {
        if !self.is_subject_of(exchange.response) {
            return None;
        }
        let headers = merge(stored, exchange.response);
        let renewed = Exchange {
            method: &Method::GET,
            status: self.status(),
            response: &headers,
            ..*exchange
        };
        let policy = storable(&renewed);
        Some(Refreshed { headers, policy })
    }

    fn is_subject_of(&self, not_modified: &HeaderMap) -> bool {
        let own_tag = self.validators().etag.map(HeaderValue::as_bytes);
        match (not_modified.get(ETAG).map(HeaderValue::as_bytes), own_tag) {
            (Some(tag), Some(own)) if is_weak(tag) => weak_match(tag, own),
            (Some(tag), Some(own)) => strong_match(tag, own),
            (Some(tag), None) if !is_weak(tag) => self
                .last_modified()
                .is_some_and(|own| not_modified.get(LAST_MODIFIED) == Some(own)),
            _ => match (not_modified.get(LAST_MODIFIED), self.last_modified()) {
                (Some(date), Some(own)) => date == own,
                _ => true,
            },
        }
    }
}

fn merge(stored: &HeaderMap, not_modified: &HeaderMap) -> HeaderMap {
    const OF_THE_BODY: [HeaderName; 3] = [CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE];
    let mut update = not_modified.clone();
    strip_hop_by_hop(&mut update);
    for name in &OF_THE_BODY {
        update.remove(name);
    }
    let mut merged = stored.clone();
    for name in update.keys().chain(&[AGE, DATE]) {
        merged.remove(name);
    }
    for (name, value) in &update {
        merged.append(name.clone(), value.clone());
    }
    merged
}
