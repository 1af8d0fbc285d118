//! What a request says of its signature.

use std::borrow::Cow;

use http::HeaderMap;
use http::header::{AUTHORIZATION, DATE as HTTP_DATE, HOST};
use http::request::Parts;
use subtle::ConstantTimeEq as _;

use super::canonical::{Content, canonical_request};
use super::encoding::{decoded, hex, unhex};
use super::time::Timestamp;
use super::{
    ALGORITHM, CONTENT_SHA256, ContentHash, DATE, Scope, SigError, Signed, SigningKeys, TERMINATOR,
    UNSIGNED_PAYLOAD, is_amz,
};
use crate::limits::{
    AUTHORIZATION_MAX, CLOCK_SKEW_S, PRESIGNED_MAX_S, QUERY_PARAMETERS_MAX, SIGNED_HEADERS_MAX,
};

/// A request's signature, well-formed and of our time, but not yet known to be right.
#[derive(Clone, Debug)]
pub struct Signature<'a> {
    head: &'a Parts,
    /// `access key/date/region/service/aws4_request`.
    credential: Cow<'a, str>,
    signed_headers: Cow<'a, str>,
    /// What it should be, by what the client says.
    claimed: [u8; 32],
    time: Cow<'a, str>,
    /// What stands for the body, if it is told.
    content: Option<Cow<'a, str>>,
    is_presigned: bool,
}

/// The parts of a signature, of which each must be there.
#[derive(Default)]
struct Raw<'a> {
    credential: Option<Cow<'a, str>>,
    signed_headers: Option<Cow<'a, str>>,
    signature: Option<Cow<'a, str>>,
    // Only in a query.
    algorithm: Option<Cow<'a, str>>,
    date: Option<Cow<'a, str>>,
    expires: Option<Cow<'a, str>>,
    content: Option<Cow<'a, str>>,
}

impl<'a> Signature<'a> {
    /// Reads the signature of a request at `now_s`, in UNIX seconds. None if it has none: neither
    /// an `Authorization` of this scheme nor a query of a presigned URL.
    pub fn parse(head: &'a Parts, now_s: u64) -> Result<Option<Self>, SigError> {
        let query = in_query(head.uri.query().unwrap_or(""))?;
        let (raw, is_presigned) = match (in_header(&head.headers)?, query) {
            (None, None) => return Ok(None),
            (Some(raw), None) => (raw, false),
            (None, Some(raw)) => (raw, true),
            (Some(_), Some(_)) => return Err(incomplete("Only one signature is allowed.")),
        };
        let missing =
            |part: &str| incomplete(format!("Authorization requires '{part}' parameter."));
        let credential = raw.credential.ok_or_else(|| missing("Credential"))?;
        let signed_headers = raw.signed_headers.ok_or_else(|| missing("SignedHeaders"))?;
        let signature = raw.signature.ok_or_else(|| missing("Signature"))?;

        let (at, time) = if is_presigned {
            let time = raw.date.ok_or_else(|| missing("X-Amz-Date"))?;
            let at = Timestamp::parse(&time).ok_or_else(bad_date)?;
            let expires_s = raw.expires.ok_or_else(|| missing("X-Amz-Expires"))?;
            check_span(at, &expires_s, now_s)?;
            (at, time)
        } else {
            let (at, time) = time_of(&head.headers)?;
            let earliest_s = now_s.saturating_sub(CLOCK_SKEW_S);
            if at.0 < earliest_s {
                return Err(SigError::Expired {
                    at_s: at.0,
                    earliest_s,
                });
            }
            (at, time)
        };
        let latest_s = now_s.saturating_add(CLOCK_SKEW_S);
        if at.0 > latest_s {
            return Err(SigError::NotYetCurrent {
                at_s: at.0,
                latest_s,
            });
        }
        let [_, date, _, service, _] = check_credential(&credential)?;
        if *date != time[..8] {
            return Err(SigError::WrongScope(format!(
                "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date \
                 from HTTP: '{date}' != '{}', from '{time}'.",
                &time[..8]
            )));
        }
        check_signed_headers(head, &signed_headers)?;
        let content = match one(&head.headers, CONTENT_SHA256)? {
            Some(text) => Some(Cow::Borrowed(text)),
            None if is_presigned && service == "s3" => {
                Some(raw.content.unwrap_or(Cow::Borrowed(UNSIGNED_PAYLOAD)))
            }
            None => raw.content,
        };
        let claimed = unhex(signature.as_bytes()).ok_or(SigError::Mismatch)?;
        Ok(Some(Self {
            head,
            credential,
            signed_headers,
            claimed,
            time,
            content,
            is_presigned,
        }))
    }

    /// Whose signature it claims to be.
    pub fn access_key_id(&self) -> &str {
        self.parts()[0]
    }

    /// The service that it claims to be for.
    pub fn service(&self) -> &str {
        self.parts()[3]
    }

    /// Whether [`Signature::check`] cannot do without the body's SHA-256.
    pub fn needs_body(&self) -> bool {
        self.content.is_none()
    }

    /// Whether the signature is right, made with one of the keys, and for us. Without the body's
    /// SHA-256, the answer is about the head alone: [`Signed::content_sha256`] is what the body
    /// must still be compared with.
    pub fn check(
        &self,
        body_sha256: Option<&[u8; 32]>,
        keys: &SigningKeys,
        accepted: &Scope<'_>,
    ) -> Result<Signed, SigError> {
        let [access_key_id, _, region, service, _] = self.parts();
        let credential = &*self.credential;
        let scope = &credential[access_key_id.len() + 1..];
        let (key, is_new) = match keys.kept(credential) {
            Some(key) => (key, false),
            None => (keys.derive(access_key_id, scope)?, true),
        };
        check_scope(region, service, accepted)?;
        let content_sha256 = self.content(body_sha256)?;
        let computed;
        let text = match (&content_sha256, self.content.as_deref()) {
            (ContentHash::Absent(hash), _) => {
                computed = hex(hash);
                &*computed
            }
            (_, told) => told.unwrap_or(UNSIGNED_PAYLOAD),
        };
        let content = Content {
            text,
            is_presigned: self.is_presigned,
        };
        let request = canonical_request(self.head, &self.signed_headers, service, content)?;
        let right = key.sign(&self.time, scope, &request);
        if !bool::from(right.ct_eq(&self.claimed)) {
            return Err(SigError::Mismatch);
        }
        if is_new {
            keys.keep(credential, key);
        }
        Ok(Signed {
            access_key_id: access_key_id.to_owned(),
            service: service.to_owned(),
            content_sha256,
            is_presigned: self.is_presigned,
        })
    }

    fn parts(&self) -> [&str; 5] {
        split_credential(&self.credential).expect("it was split before")
    }

    /// What the signature says of the body, which must be so if the body is known.
    fn content(&self, body_sha256: Option<&[u8; 32]>) -> Result<ContentHash, SigError> {
        let hash = match self.content.as_deref() {
            None => ContentHash::Absent(*body_sha256.ok_or(SigError::BodyUnknown)?),
            Some(UNSIGNED_PAYLOAD) => ContentHash::Unsigned,
            Some(text) if text.starts_with("STREAMING-") => ContentHash::Streaming(text.to_owned()),
            Some(text) => ContentHash::Hex(
                unhex(text.as_bytes())
                    .ok_or_else(|| incomplete("x-amz-content-sha256 is not a SHA-256."))?,
            ),
        };
        if body_sha256.is_some_and(|body| !hash.admits(body)) {
            return Err(SigError::BodyMismatch);
        }
        Ok(hash)
    }
}

fn incomplete(why: impl Into<String>) -> SigError {
    SigError::Incomplete(why.into())
}

fn bad_date() -> SigError {
    incomplete("Date must be in ISO-8601 'basic format', as in '20150830T123600Z'.")
}

/// The parts of an `Authorization` header field, if it is of our scheme.
fn in_header(headers: &HeaderMap) -> Result<Option<Raw<'_>>, SigError> {
    let all = headers.get_all(AUTHORIZATION);
    if !all
        .iter()
        .any(|value| value.as_bytes().starts_with(b"AWS4-"))
    {
        return Ok(None);
    }
    let mut all = all.iter();
    let (Some(value), None) = (all.next(), all.next()) else {
        return Err(incomplete("Only one Authorization header is allowed."));
    };
    let Ok(text) = value.to_str() else {
        return Err(incomplete("Authorization header must be ASCII."));
    };
    if text.len() > AUTHORIZATION_MAX {
        return Err(SigError::TooLarge);
    }
    let separators = [',', ' ', '\t'];
    let (algorithm, rest) = text.split_once(separators).unwrap_or((text, ""));
    if algorithm != ALGORITHM {
        return Err(incomplete(format!(
            "Authorization must be of '{ALGORITHM}'."
        )));
    }
    let mut raw = Raw::default();
    for pair in rest.split(separators).filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let part = match name {
            "Credential" => &mut raw.credential,
            "SignedHeaders" => &mut raw.signed_headers,
            "Signature" => &mut raw.signature,
            _ => return Err(incomplete("Authorization header has an unknown parameter.")),
        };
        if value.is_empty() || part.replace(Cow::Borrowed(value)).is_some() {
            return Err(incomplete(format!(
                "Authorization header requires one '{name}'."
            )));
        }
    }
    Ok(Some(raw))
}

/// The parts of a presigned URL's query, if it is one.
fn in_query(query: &str) -> Result<Option<Raw<'_>>, SigError> {
    if !query.contains("X-Amz-Algorithm") && !query.contains("X-Amz-Signature") {
        return Ok(None);
    }
    let mut raw = Raw::default();
    for (at, pair) in query.split('&').enumerate() {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let part = match name {
            "X-Amz-Algorithm" => &mut raw.algorithm,
            "X-Amz-Credential" => &mut raw.credential,
            "X-Amz-Date" => &mut raw.date,
            "X-Amz-Expires" => &mut raw.expires,
            "X-Amz-SignedHeaders" => &mut raw.signed_headers,
            "X-Amz-Signature" => &mut raw.signature,
            _ if name.eq_ignore_ascii_case(CONTENT_SHA256) => &mut raw.content,
            _ => continue,
        };
        if at >= QUERY_PARAMETERS_MAX || value.len() > AUTHORIZATION_MAX {
            return Err(SigError::TooLarge);
        }
        let value = decoded(value).filter(|value| !value.is_empty());
        if value.is_none() || part.replace(value.unwrap_or_default()).is_some() {
            return Err(incomplete(format!("Query requires one '{name}'.")));
        }
    }
    match (raw.algorithm.as_deref(), &raw.signature) {
        (None, None) => Ok(None),
        (Some(ALGORITHM), _) => Ok(Some(raw)),
        _ => Err(incomplete(format!(
            "X-Amz-Algorithm must be '{ALGORITHM}'."
        ))),
    }
}

/// The value of a header field that may be there once.
fn one<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, SigError> {
    let mut all = headers.get_all(name).iter();
    match (all.next(), all.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => match value.to_str() {
            Ok(text) => Ok(Some(text.trim())),
            Err(_) => Err(incomplete(format!("'{name}' must be ASCII."))),
        },
        (Some(_), Some(_)) => Err(incomplete(format!("Only one '{name}' is allowed."))),
    }
}

/// When a request was signed, and as the text that was signed.
fn time_of(headers: &HeaderMap) -> Result<(Timestamp, Cow<'_, str>), SigError> {
    if let Some(text) = one(headers, DATE)? {
        let at = Timestamp::parse(text).ok_or_else(bad_date)?;
        return Ok((at, Cow::Borrowed(text)));
    }
    let Some(text) = one(headers, HTTP_DATE.as_str())? else {
        return Err(incomplete(
            "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header.",
        ));
    };
    if let Some(at) = Timestamp::parse(text) {
        return Ok((at, Cow::Borrowed(text)));
    }
    let at = Timestamp::parse_http(text).ok_or_else(bad_date)?;
    Ok((at, Cow::Owned(at.to_string())))
}

/// Whether a presigned URL still holds.
fn check_span(at: Timestamp, expires_s: &str, now_s: u64) -> Result<(), SigError> {
    let is_number = expires_s.bytes().all(|byte| byte.is_ascii_digit());
    let expires_s = expires_s.parse().ok().filter(|_| is_number);
    let Some(expires_s) = expires_s.filter(|span| (1..=PRESIGNED_MAX_S).contains(span)) else {
        return Err(incomplete(format!(
            "X-Amz-Expires must be between 1 and {PRESIGNED_MAX_S} seconds (a week)."
        )));
    };
    let end_s = at.0 + expires_s;
    if end_s < now_s {
        return Err(SigError::Expired {
            at_s: end_s,
            earliest_s: now_s,
        });
    }
    Ok(())
}

fn split_credential(credential: &str) -> Option<[&str; 5]> {
    let mut parts = credential.split('/');
    let split = [
        parts.next()?,
        parts.next()?,
        parts.next()?,
        parts.next()?,
        parts.next()?,
    ];
    parts.next().is_none().then_some(split)
}

fn check_credential(credential: &str) -> Result<[&str; 5], SigError> {
    let parts = split_credential(credential).filter(|parts| !parts.contains(&""));
    let Some(parts) = parts else {
        return Err(incomplete(
            "Credential must have exactly 5 slash-delimited elements, e.g. \
             keyid/date/region/service/term.",
        ));
    };
    if parts[4] != TERMINATOR {
        return Err(SigError::WrongScope(format!(
            "Credential should be scoped with a valid terminator: '{TERMINATOR}'."
        )));
    }
    Ok(parts)
}

fn check_scope(region: &str, service: &str, accepted: &Scope<'_>) -> Result<(), SigError> {
    if region != accepted.region {
        return Err(SigError::WrongScope(format!(
            "Credential should be scoped to a valid region, not '{region}': '{}'.",
            accepted.region
        )));
    }
    if !accepted.services.contains(&service) {
        return Err(SigError::WrongScope(format!(
            "Credential should be scoped to correct service: '{}'.",
            accepted.services.join("', '")
        )));
    }
    Ok(())
}

/// The names must be in order, and there must be the host and all that has a meaning for AWS.
fn check_signed_headers(head: &Parts, signed: &str) -> Result<(), SigError> {
    let mut last = "";
    for (at, name) in signed.split(';').enumerate() {
        if at == SIGNED_HEADERS_MAX {
            return Err(SigError::TooLarge);
        }
        if name <= last || name.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err(incomplete(
                "SignedHeaders must be in lower case, sorted, each once.",
            ));
        }
        last = name;
    }
    let is_signed = |wanted: &str| signed.split(';').any(|name| name == wanted);
    if !is_signed(HOST.as_str()) {
        return Err(SigError::NotSigned("Host".to_owned()));
    }
    let mut present = head.headers.keys().map(http::HeaderName::as_str);
    match present.find(|name| is_amz(name) && !is_signed(name)) {
        Some(name) => Err(SigError::NotSigned(name.to_owned())),
        None => Ok(()),
    }
}
