//! An HTTP request as the event of a function URL, written straight into one buffer.

use std::borrow::Cow;
use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use fractus_func::{RequestId, SignedBy};
use http::header::{CONTENT_TYPE, COOKIE, HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use http::request::Parts;
use http::{Uri, Version};

use super::time::common_log;

/// What an event says besides the request.
#[derive(Clone, Copy, Debug)]
pub struct UrlContext<'a> {
    /// The invocation.
    pub request_id: RequestId,
    /// Who signed the request, where that was asked for.
    pub signed_by: Option<&'a SignedBy>,
    /// Stands for the function in its URL.
    pub api_id: &'a str,
    /// The host that was asked, without a port.
    pub domain: &'a str,
    /// The client's address.
    pub source_ip: &'a str,
    /// When the request came, in UNIX milliseconds.
    pub now_ms: u64,
}

/// The event, as JSON. Body bytes become text if the request's `Content-Type` is one of text (or
/// absent) and they are UTF-8, and base64 otherwise.
pub fn url_event(head: &Parts, body: &[u8], context: &UrlContext<'_>) -> Bytes {
    // The head comes twice, in parts, and what is around it takes half a kilobyte.
    let mut out = Vec::with_capacity(1536 + body.len() + body.len() / 3);
    out.extend_from_slice(br#"{"version":"2.0","routeKey":"$default","rawPath":"#);
    string(&mut out, head.uri.path());
    out.extend_from_slice(br#","rawQueryString":"#);
    string(&mut out, head.uri.query().unwrap_or(""));
    cookies(&mut out, &head.headers);
    headers(&mut out, &head.headers);
    query(&mut out, &head.uri);
    request_context(&mut out, head, context);
    write_body(&mut out, &head.headers, body);
    out.push(b'}');
    Bytes::from(out)
}

fn cookies(out: &mut Vec<u8>, headers: &HeaderMap) {
    let all = headers.get_all(COOKIE);
    let texts: Vec<_> = all.iter().map(value_text).collect();
    let mut each = texts
        .iter()
        .flat_map(|text| text.split(';'))
        .map(str::trim)
        .filter(|cookie| !cookie.is_empty())
        .peekable();
    if each.peek().is_none() {
        return;
    }
    out.extend_from_slice(br#","cookies":"#);
    list(out, b'[', b']', each, string);
}

fn headers(out: &mut Vec<u8>, headers: &HeaderMap) {
    out.extend_from_slice(br#","headers":"#);
    list(out, b'{', b'}', headers.keys(), |out, name| {
        string(out, name.as_str());
        out.push(b':');
        string(out, &joined(headers, name));
    });
}

/// All values of a header field as one text.
fn joined<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Cow<'a, str> {
    let separator = if name == COOKIE { "; " } else { "," };
    let mut values = headers.get_all(name).iter().map(value_text);
    let first = values.next().unwrap_or_default();
    values.fold(first, |mut all, value| {
        let text = all.to_mut();
        text.push_str(separator);
        text.push_str(&value);
        all
    })
}

/// A field's value: UTF-8, or else each byte a character, as in ISO 8859-1.
fn value_text(value: &HeaderValue) -> Cow<'_, str> {
    match str::from_utf8(value.as_bytes()) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => value
            .as_bytes()
            .iter()
            .map(|&byte| char::from(byte))
            .collect(),
    }
}

fn query(out: &mut Vec<u8>, uri: &Uri) {
    let Some(raw) = uri.query().filter(|raw| !raw.is_empty()) else {
        return;
    };
    let mut all: BTreeMap<Cow<'_, str>, Cow<'_, str>> = BTreeMap::new();
    for pair in raw.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = decoded(value);
        all.entry(decoded(name))
            .and_modify(|values| {
                let values = values.to_mut();
                values.push(',');
                values.push_str(&value);
            })
            .or_insert(value);
    }
    out.extend_from_slice(br#","queryStringParameters":"#);
    list(out, b'{', b'}', all, |out, (name, value)| {
        string(out, &name);
        out.push(b':');
        string(out, &value);
    });
}

/// A part of a query without its percent-encoding; what is not encoded rightly stays as it is.
fn decoded(part: &str) -> Cow<'_, str> {
    if !part.bytes().any(|byte| matches!(byte, b'%' | b'+')) {
        return Cow::Borrowed(part);
    }
    let bytes = part.as_bytes();
    let digit = |at: usize| bytes.get(at).and_then(|&b| char::from(b).to_digit(16));
    let mut plain = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let escaped = match (byte, digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => u8::try_from(high * 16 + low).ok(),
            _ => None,
        };
        plain.push(escaped.unwrap_or(if byte == b'+' { b' ' } else { byte }));
        at += if escaped.is_some() { 3 } else { 1 };
    }
    Cow::Owned(String::from_utf8_lossy(&plain).into_owned())
}

fn request_context(out: &mut Vec<u8>, head: &Parts, context: &UrlContext<'_>) {
    let prefix = context.domain.split('.').next().unwrap_or("");
    let agent = head.headers.get(USER_AGENT).map(value_text);
    let id = context.request_id.to_ascii();
    let id = str::from_utf8(&id).expect("hexadecimal digits and dashes are ASCII");
    let time = common_log(context.now_ms);
    let mut field = |name: &str, value: &str| {
        out.extend_from_slice(name.as_bytes());
        string(out, value);
    };
    let account = context.signed_by.map_or("anonymous", |by| &by.account);
    field(r#","requestContext":{"accountId":"#, account);
    field(r#","apiId":"#, context.api_id);
    if let Some(by) = context.signed_by {
        field(r#","authorizer":{"iam":{"accessKey":"#, &by.access_key_id);
        field(r#","accountId":"#, &by.account);
        field(r#","callerId":"#, &by.account);
        field(
            r#","cognitoIdentity":null,"principalOrgId":null,"userArn":"#,
            &root(&by.account),
        );
        field(r#","userId":"#, &by.account);
        field("}},\"domainName\":", context.domain);
    } else {
        field(r#","domainName":"#, context.domain);
    }
    field(r#","domainPrefix":"#, prefix);
    field(r#","http":{"method":"#, head.method.as_str());
    field(r#","path":"#, head.uri.path());
    field(r#","protocol":"#, protocol(head.version));
    field(r#","sourceIp":"#, context.source_ip);
    field(r#","userAgent":"#, agent.as_deref().unwrap_or(""));
    field(r#"},"requestId":"#, id);
    field(r#","routeKey":"#, "$default");
    field(r#","stage":"#, "$default");
    field(r#","time":"#, &time);
    out.extend_from_slice(format!(r#","timeEpoch":{}}}"#, context.now_ms).as_bytes());
}

/// Whoever has an account's keys is the account.
fn root(account: &str) -> String {
    format!("arn:aws:iam::{account}:root")
}

fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2.0",
        Version::HTTP_3 => "HTTP/3.0",
        _ => "HTTP/1.1",
    }
}

fn write_body(out: &mut Vec<u8>, headers: &HeaderMap, body: &[u8]) {
    if body.is_empty() {
        out.extend_from_slice(br#","isBase64Encoded":false"#);
        return;
    }
    out.extend_from_slice(br#","body":"#);
    match str::from_utf8(body) {
        Ok(text) if has_text(headers) => {
            string(out, text);
            out.extend_from_slice(br#","isBase64Encoded":false"#);
        }
        _ => {
            out.push(b'"');
            base64(out, body);
            out.extend_from_slice(br#"","isBase64Encoded":true"#);
        }
    }
}

fn base64(out: &mut Vec<u8>, bytes: &[u8]) {
    let at = out.len();
    let length = base64::encoded_len(bytes.len(), true).expect("a body is far from usize::MAX");
    out.resize(at + length, 0);
    STANDARD
        .encode_slice(bytes, &mut out[at..])
        .expect("there is room for just this length");
}

/// Whether the body below these fields is passed on as text.
pub(super) fn has_text(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_none_or(is_text)
}

/// Whether a body of this type is passed on as text. A form is not: AWS Lambda encodes those.
fn is_text(content_type: &HeaderValue) -> bool {
    let Ok(value) = content_type.to_str() else {
        return false;
    };
    let kind = value
        .split(';')
        .next()
        .unwrap_or("")
        .trim()
        .to_ascii_lowercase();
    let known = [
        "application/json",
        "application/javascript",
        "application/xml",
    ];
    kind.is_empty()
        || kind.starts_with("text/")
        || known.contains(&&*kind)
        || kind.ends_with("+json")
        || kind.ends_with("+xml")
}

/// Writes a JSON string.
fn string(out: &mut Vec<u8>, text: &str) {
    serde_json::to_writer(out, text).expect("text is JSON, and a vector takes all");
}

/// Writes items between brackets, with commas.
fn list<T>(
    out: &mut Vec<u8>,
    open: u8,
    close: u8,
    items: impl IntoIterator<Item = T>,
    mut write: impl FnMut(&mut Vec<u8>, T),
) {
    out.push(open);
    for (at, item) in items.into_iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        write(out, item);
    }
    out.push(close);
}
