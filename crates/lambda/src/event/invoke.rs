//! Invocations with an event of handlers that know only HTTP: the event as a request, and the
//! response as what an invocation returns.

use std::borrow::Cow;
use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, COOKIE, HOST, HeaderMap, HeaderName, HeaderValue, SET_COOKIE};
use http::response::Parts;
use http::{Method, Request};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Map, Value, json};

use super::url::has_text;
use crate::ErrorShape;

/// An event of payload format 2.0, as far as a request is made from it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct HttpEvent<'a> {
    #[serde(default)]
    raw_path: Option<Cow<'a, str>>,
    #[serde(default)]
    raw_query_string: Option<Cow<'a, str>>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    cookies: Vec<String>,
    request_context: RequestContext,
    #[serde(default)]
    body: Option<Cow<'a, str>>,
    #[serde(default)]
    is_base64_encoded: bool,
}

#[derive(Deserialize)]
struct RequestContext {
    http: HttpContext,
}

#[derive(Deserialize)]
struct HttpContext {
    method: String,
}

/// Tells events of payload format 2.0 from others.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Probe {
    #[expect(dead_code, reason = "that it is there is all that counts")]
    request_context: ProbeContext,
}

#[derive(Deserialize)]
struct ProbeContext {
    #[expect(dead_code, reason = "that it is there is all that counts")]
    http: IgnoredAny,
}

/// Whether an event describes an HTTP request, as function URLs make them.
pub fn is_http_event(event: &[u8]) -> bool {
    serde_json::from_slice::<Probe>(event).is_ok()
}

/// The request that an event stands for: the one that it describes, or `POST /` with the event as
/// its body. `host` is asked if the event names none.
pub fn event_request(event: &Bytes, host: &str) -> Result<Request<Bytes>, ErrorShape> {
    let mut request = if is_http_event(event) {
        described(event)?
    } else {
        let mut request = Request::new(event.clone());
        *request.method_mut() = Method::POST;
        let json = HeaderValue::from_static("application/json");
        request.headers_mut().insert(CONTENT_TYPE, json);
        request
    };
    let host = HeaderValue::from_str(host).map_err(ErrorShape::invalid_request)?;
    request.headers_mut().entry(HOST).or_insert(host);
    Ok(request)
}

fn described(event: &[u8]) -> Result<Request<Bytes>, ErrorShape> {
    let wrong = |why: &dyn std::fmt::Display| ErrorShape::invalid_request(why);
    let event: HttpEvent<'_> = serde_json::from_slice(event).map_err(|e| wrong(&e))?;
    let mut target = event.raw_path.as_deref().unwrap_or("/").to_owned();
    if !target.starts_with('/') {
        target.insert(0, '/');
    }
    if let Some(query) = event.raw_query_string.as_deref().filter(|q| !q.is_empty()) {
        target.push('?');
        target.push_str(query);
    }
    let body = match event.body.as_deref() {
        Some(text) if event.is_base64_encoded => {
            Bytes::from(STANDARD.decode(text).map_err(|e| wrong(&e))?)
        }
        Some(text) => Bytes::copy_from_slice(text.as_bytes()),
        None => Bytes::new(),
    };
    let mut request = Request::new(body);
    *request.method_mut() = event.request_context.http.method.parse().map_err(|e| {
        let error: http::method::InvalidMethod = e;
        wrong(&error)
    })?;
    *request.uri_mut() = target.parse().map_err(|e| {
        let error: http::uri::InvalidUri = e;
        wrong(&error)
    })?;
    let headers = request.headers_mut();
    for (name, value) in &event.headers {
        append(headers, name, value)?;
    }
    if !event.cookies.is_empty() {
        headers.remove(COOKIE);
        append(headers, COOKIE.as_str(), &event.cookies.join("; "))?;
    }
    Ok(request)
}

fn append(headers: &mut HeaderMap, name: &str, value: &str) -> Result<(), ErrorShape> {
    let name: HeaderName = name.parse().map_err(ErrorShape::invalid_request)?;
    let value = HeaderValue::from_str(value).map_err(ErrorShape::invalid_request)?;
    headers.append(name, value);
    Ok(())
}

/// What an invocation returns for an HTTP answer to an event that describes a request: status,
/// header fields, cookies and body, as payload format 2.0 has them.
pub fn http_answer(head: &Parts, body: &[u8]) -> Vec<u8> {
    let mut headers = Map::new();
    let mut cookies = Vec::new();
    for (name, value) in &head.headers {
        let text = String::from_utf8_lossy(value.as_bytes()).into_owned();
        if name == SET_COOKIE {
            cookies.push(text);
            continue;
        }
        let joined = match headers.get(name.as_str()) {
            Some(Value::String(before)) => format!("{before},{text}"),
            _ => text,
        };
        headers.insert(name.as_str().to_owned(), Value::String(joined));
    }
    let text = str::from_utf8(body)
        .ok()
        .filter(|_| has_text(&head.headers));
    let mut answer = json!({
        "statusCode": head.status.as_u16(),
        "headers": headers,
        "body": text.map_or_else(|| STANDARD.encode(body), str::to_owned),
        "isBase64Encoded": text.is_none(),
    });
    if !cookies.is_empty() {
        answer["cookies"] = cookies.into();
    }
    answer.to_string().into_bytes()
}

/// What an invocation returns for an HTTP answer to any other event: the body if it is JSON, its
/// text as a JSON string, or its bytes in base64.
pub fn plain_answer(body: Bytes) -> Bytes {
    match str::from_utf8(&body) {
        Ok(text) if serde_json::from_str::<IgnoredAny>(text).is_ok() => body,
        Ok(text) => Value::from(text).to_string().into(),
        Err(_) => Value::from(STANDARD.encode(&body)).to_string().into(),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::Response;
    use serde_json::{Value, json};

    use super::{event_request, http_answer, is_http_event, plain_answer};

    fn bytes(value: &Value) -> Bytes {
        value.to_string().into()
    }

    #[test]
    fn an_http_event_is_the_request_it_describes() {
        let event = bytes(&json!({
            "version": "2.0", "rawPath": "/a%20b", "rawQueryString": "x=1&x=2",
            "headers": {"x-a": "1", "host": "h.example"}, "cookies": ["a=b", "c=d"],
            "requestContext": {"http": {"method": "PUT"}},
            "body": "aGk=", "isBase64Encoded": true,
        }));
        assert!(is_http_event(&event));
        let request = event_request(&event, "f").unwrap();
        assert_eq!((request.method().as_str(), request.uri().to_string()), {
            ("PUT", "/a%20b?x=1&x=2".to_owned())
        });
        let headers = request.headers().clone();
        let header = |name: &str| headers[name].to_str().unwrap();
        assert_eq!((header("x-a"), header("host"), header("cookie")), {
            ("1", "h.example", "a=b; c=d")
        });
        assert_eq!(request.body(), "hi");
    }

    #[test]
    fn any_other_event_is_posted() {
        for event in [
            json!({}),
            json!([1]),
            json!({"requestContext": {}}),
            json!("x"),
        ] {
            let event = bytes(&event);
            assert!(!is_http_event(&event));
            let request = event_request(&event, "f").unwrap();
            assert_eq!(
                (request.method().as_str(), request.uri().path()),
                ("POST", "/")
            );
            assert_eq!(request.headers()["content-type"], "application/json");
            assert_eq!(request.headers()["host"], "f");
            assert_eq!(request.body(), &event);
        }
    }

    #[test]
    fn events_that_describe_no_request_are_refused() {
        for (key, value) in [
            ("rawPath", json!("/a b")),
            ("headers", json!({"a b": "c"})),
            ("headers", json!({"a": "b\nc"})),
            ("cookies", json!(["a\r\nb"])),
            ("requestContext", json!({"http": {"method": "G T"}})),
            ("isBase64Encoded", json!(true)),
        ] {
            let mut event = json!({
                "requestContext": {"http": {"method": "GET"}}, "body": "!",
            });
            event[key] = value;
            let error = event_request(&bytes(&event), "f").unwrap_err();
            assert_eq!(
                error.error_type, "InvalidRequestContentException",
                "{event}"
            );
        }
    }

    #[test]
    fn answers_take_the_form_of_their_event() {
        let response = Response::builder()
            .status(201)
            .header("content-type", "text/plain")
            .header("set-cookie", "a=b")
            .header("set-cookie", "c=d")
            .header("x-a", "1")
            .header("x-a", "2")
            .body(())
            .unwrap();
        let (head, ()) = response.into_parts();
        let answer: Value = serde_json::from_slice(&http_answer(&head, b"hi")).unwrap();
        assert_eq!(
            answer,
            json!({
                "statusCode": 201, "body": "hi", "isBase64Encoded": false,
                "headers": {"content-type": "text/plain", "x-a": "1,2"},
                "cookies": ["a=b", "c=d"],
            })
        );
        let answer: Value = serde_json::from_slice(&http_answer(&head, b"\xff")).unwrap();
        assert_eq!(answer["body"], "/w==");
        assert_eq!(answer["isBase64Encoded"], true);
        assert_eq!(
            plain_answer(Bytes::from_static(b"{\"a\": 1}")),
            "{\"a\": 1}"
        );
        assert_eq!(plain_answer(Bytes::from_static(b"a \"b\"")), r#""a \"b\"""#);
        assert_eq!(plain_answer(Bytes::new()), "\"\"");
        assert_eq!(plain_answer(Bytes::from_static(b"\xff")), "\"/w==\"");
    }
}
