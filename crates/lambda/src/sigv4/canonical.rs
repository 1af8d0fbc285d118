//! The one text of a request that its signature is made of.

use std::borrow::Cow;

use http::HeaderMap;
use http::header::HOST;
use http::request::Parts;

use super::SigError;
use super::encoding::{escape, is_plain, reescape};
use crate::limits::{CANONICAL_MAX, QUERY_PARAMETERS_MAX};

/// What a signature says of things outside of the head.
#[derive(Clone, Copy, Debug)]
pub(super) struct Content<'a> {
    /// The body's SHA-256 in hexadecimal digits, or what stands in its place.
    pub(super) text: &'a str,
    /// The signature is in the query, and does not cover itself.
    pub(super) is_presigned: bool,
}

/// The canonical request; `signed` are the names of header fields, in order, between semicolons.
pub(super) fn canonical_request(
    head: &Parts,
    signed: &str,
    service: &str,
    content: Content<'_>,
) -> Result<Vec<u8>, SigError> {
    let mut out = Vec::with_capacity(1024);
    out.extend_from_slice(head.method.as_str().as_bytes());
    out.push(b'\n');
    path(&mut out, head.uri.path().as_bytes(), service);
    out.push(b'\n');
    query(
        &mut out,
        head.uri.query().unwrap_or(""),
        content.is_presigned,
    )?;
    out.push(b'\n');
    for name in signed.split(';') {
        out.extend_from_slice(name.as_bytes());
        out.push(b':');
        match host_of_uri(head).filter(|_| name == HOST.as_str()) {
            Some(host) => out.extend_from_slice(host.as_bytes()),
            None => values(&mut out, &head.headers, name)?,
        }
        out.push(b'\n');
    }
    out.push(b'\n');
    out.extend_from_slice(signed.as_bytes());
    out.push(b'\n');
    out.extend_from_slice(content.text.as_bytes());
    if out.len() > CANONICAL_MAX {
        return Err(SigError::TooLarge);
    }
    Ok(out)
}

/// The host where no header field names it, as in HTTP/2.
fn host_of_uri(head: &Parts) -> Option<&str> {
    let authority = head.uri.authority()?.as_str();
    (!head.headers.contains_key(HOST)).then_some(authority)
}

/// S3 has the path encoded once. All others have it without empty segments and dots, and then
/// encoded once more than it is.
fn path(out: &mut Vec<u8>, path: &[u8], service: &str) {
    let mut segments: Vec<&[u8]> = Vec::new();
    if service == "s3" {
        segments.extend(path.split(|&byte| byte == b'/').skip(1));
    } else {
        for segment in path.split(|&byte| byte == b'/') {
            match segment {
                b"" | b"." => {}
                b".." => {
                    segments.pop();
                }
                segment => segments.push(segment),
            }
        }
        if path.ends_with(b"/") && !segments.is_empty() {
            segments.push(b"");
        }
    }
    if segments.is_empty() {
        out.push(b'/');
    }
    for segment in segments {
        out.push(b'/');
        if service == "s3" {
            reescape(out, segment, |byte| byte);
        } else {
            for &byte in segment {
                escape(out, byte);
            }
        }
    }
}

/// The parameters in order of name and value, each with an equals sign. A plus sign is a space, as
/// functions and S3 read it.
fn query(out: &mut Vec<u8>, raw: &str, is_presigned: bool) -> Result<(), SigError> {
    let mut pairs: Vec<[Cow<'_, [u8]>; 2]> = Vec::new();
    for pair in raw.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        if is_presigned && name == "X-Amz-Signature" {
            continue;
        }
        if pairs.len() == QUERY_PARAMETERS_MAX {
            return Err(SigError::TooLarge);
        }
        pairs.push([name, value].map(|part| encoded(part.as_bytes())));
    }
    pairs.sort_unstable();
    for (at, [name, value]) in pairs.iter().enumerate() {
        if at > 0 {
            out.push(b'&');
        }
        out.extend_from_slice(name);
        out.push(b'=');
        out.extend_from_slice(value);
    }
    Ok(())
}

fn encoded(part: &[u8]) -> Cow<'_, [u8]> {
    if is_plain(part) {
        return Cow::Borrowed(part);
    }
    let mut out = Vec::with_capacity(part.len() + 8);
    reescape(
        &mut out,
        part,
        |byte| if byte == b'+' { b' ' } else { byte },
    );
    Cow::Owned(out)
}

/// All values of a header field, each without the spaces around it and with one where there are
/// more. A field that is not there cannot be signed.
fn values(out: &mut Vec<u8>, headers: &HeaderMap, name: &str) -> Result<(), SigError> {
    let mut all = headers.get_all(name).iter().peekable();
    if all.peek().is_none() {
        return Err(SigError::Mismatch);
    }
    for (at, value) in all.enumerate() {
        if at > 0 {
            out.push(b',');
        }
        let words = value.as_bytes().split(u8::is_ascii_whitespace);
        for (at, word) in words.filter(|word| !word.is_empty()).enumerate() {
            if at > 0 {
                out.push(b' ');
            }
            out.extend_from_slice(word);
        }
    }
    Ok(())
}
